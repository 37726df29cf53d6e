/* SPDX-License-Identifier: MIT */
/* What a thread does next. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"

#define RING_AT (KVM_DIRTY_LOG_PAGE_OFFSET * PAGE)
#define CHILD_SECONDS 60

/* --- kvm_run --- */

/* What the client may write, and what it should not. */
void act_scribble(struct fuzz_world *w)
{
	volatile struct kvm_run *run = pick(w->run);
	volatile uint8_t *bytes = (void *)run;

	switch (below(10)) {
	case 0: run->immediate_exit = (uint8_t)below(2); break;
	case 1: run->request_interrupt_window = (uint8_t)number(); break;
	case 2: run->cr8 = number(); break;
	case 3: run->apic_base = number(); break;
	case 4: run->kvm_valid_regs = one_in(2) ? below(8) : number(); break;
	case 5: run->kvm_dirty_regs = one_in(2) ? below(8) : number(); break;
	case 6: bytes[offsetof(struct kvm_run, s) + below(sizeof(run->s))] = (uint8_t)number(); break;
	case 7: bytes[offsetof(struct kvm_run, io) + below(256)] = (uint8_t)number(); break;
	case 8: bytes[below(3 * PAGE)] = (uint8_t)number(); break;
	default: run->flags = (uint16_t)number();
	}
}

static void act_run(struct fuzz_world *w)
{
	unsigned int i = (unsigned int)below(FUZZ_VCPUS);
	struct kvm_run *run = w->run[i];

	if (one_in(4))
		guest_state(w, w->vcpu[i]);
	if (one_in(4))
		act_scribble(w);
	__atomic_store_n(&run->immediate_exit, one_in(8), __ATOMIC_RELAXED);
	if (!one_in(8))
		run->kvm_valid_regs = run->kvm_dirty_regs = 0;
	atomic_fetch_add(&board->runs, 1);
	if (!fuzz_ioctl(w->vcpu[i], KVM_RUN, NULL))
		atomic_fetch_add(&board->exits, 1);
}

/* --- descriptors --- */

static int put(_Atomic int *place, int fd)
{
	int old = fd < 0 ? -1 : atomic_exchange(place, fd);

	if (old < 0)
		return 0;
	/*
	 * Sometimes behind the library's back.  A duplicate that was made while its number became another thing is
	 * none of the library's.
	 */
	return one_in(4) || fuzz_close(old) ? close(old) : 0;
}

static void map_again(struct fuzz_world *w, unsigned int i)
{
	int fd = fcntl(w->vcpu[i], F_DUPFD_CLOEXEC, 0);
	struct stat st;

	/* By now it may be something else: then what is mapped stays. */
	if (fd >= 0 && !fstat(fd, &st) && st.st_size >= (off_t)(3 * PAGE))
		mmap(w->run[i], 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (fd >= 0)
		close(fd);
}

static void act_descriptors(struct fuzz_world *w)
{
	unsigned int i = (unsigned int)below(FUZZ_VCPUS);

	switch (below(9)) {
	case 0: put(&w->vcpu[i], fcntl(w->vcpu[i], F_DUPFD_CLOEXEC, 0)); break;
	case 1: put(&w->vm, fcntl(w->vm, F_DUPFD_CLOEXEC, (int)below(200))); break;
	case 2: put(&w->vm, fuzz_ioctl(w->sys, KVM_CREATE_VM, NULL)); break;
	case 3:
	case 4:
		put(&w->vcpu[i], fuzz_ioctl(w->vm, KVM_CREATE_VCPU, (void *)below(16)));
		map_again(w, i);
		break;
	case 5: put(&w->stats, fuzz_ioctl(one_in(2) ? w->vm : w->vcpu[i], KVM_GET_STATS_FD, NULL)); break;
	case 6: put(&w->sys, fuzz_open()); break;
	case 7: map_again(w, i); break;
	default: mmap(w->run[i], PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
}

static void act_read(struct fuzz_world *w)
{
	struct pollfd p = { .fd = one_in(2) ? w->vm : pick(w->vcpu), .events = POLLIN | POLLOUT };
	char text[512];

	if (pread(w->stats, text, sizeof(text), (off_t)below(PAGE)) < 0 && errno != EBADF && errno != ESPIPE &&
	    errno != EINVAL && errno != EISDIR && errno != EAGAIN)
		fuzz_complain("statistics cannot be read: %s", strerror(errno));
	poll(&p, 1, 0);
}

/* --- events --- */

static void act_events(struct fuzz_world *w)
{
	_Atomic int *place = &w->event[below(FUZZ_EVENTS)];
	uint64_t n = one_in(16) ? UINT64_MAX - 1 : 1;
	int old;

	switch (below(4)) {
	case 0:
		old = atomic_exchange(place, eventfd((unsigned int)below(3), EFD_NONBLOCK | EFD_CLOEXEC));
		if (old >= 0)
			close(old);
		break;
	case 1:
		if (read(*place, &n, sizeof(n)) < 0)
			errno = 0;
		break;
	default:
		if (write(*place, &n, sizeof(n)) < 0)
			errno = 0;
	}
}

static const uint32_t wiring[] = {
	(uint32_t)KVM_IRQFD, (uint32_t)KVM_IOEVENTFD, (uint32_t)KVM_IRQ_LINE, (uint32_t)KVM_SIGNAL_MSI,
	(uint32_t)KVM_HYPERV_EVENTFD,
	(uint32_t)KVM_SET_GSI_ROUTING, (uint32_t)KVM_IRQ_LINE_STATUS,
};

static const uint32_t moving[] = {
	(uint32_t)KVM_SET_USER_MEMORY_REGION, (uint32_t)KVM_SET_USER_MEMORY_REGION, (uint32_t)KVM_GET_DIRTY_LOG,
	(uint32_t)KVM_CLEAR_DIRTY_LOG, (uint32_t)KVM_RESET_DIRTY_RINGS,
};

static void request_to(struct fuzz_world *w, int fd, uint32_t request)
{
	const struct kvm_ioctl_row *row = request_row((unsigned int)request_number(request));
	void *arg = room(ROOM);

	shape(w, fd, row, arg);
	tame(w, request, arg);
	fuzz_ioctl(fd, request, _IOC_SIZE(request) ? arg : NULL);
}

static void request_of(struct fuzz_world *w, uint32_t request)
{
	request_to(w, w->vm, request);
}

static void act_wire(struct fuzz_world *w)
{
	request_of(w, pick(wiring));
}

static void act_slots(struct fuzz_world *w)
{
	request_of(w, pick(moving));
}

/* The slot that there was in the beginning, now and then: else no guest would find its code. */
static void act_restore(struct fuzz_world *w)
{
	struct kvm_userspace_memory_region r = {
		.flags = (uint32_t)below(2), .memory_size = ARENA, .userspace_addr = (uintptr_t)w->arena,
	};

	mmap(w->arena, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w->memory_fd, 0);
	for (unsigned int i = 1; i < 4; i++) {
		struct kvm_userspace_memory_region none = { .slot = i };

		fuzz_ioctl(w->vm, KVM_SET_USER_MEMORY_REGION, &none);
	}
	fuzz_ioctl(w->vm, KVM_SET_USER_MEMORY_REGION, &r);
	guest_code(w);
}

/* --- memory --- */

static void act_memory(struct fuzz_world *w)
{
	size_t first = below(ARENA_PAGES), count = 1 + below(ARENA_PAGES - first);
	char *at = w->arena + first * PAGE;

	switch (below(6)) {
	case 0: mprotect(at, count * PAGE, PROT_NONE); break;
	case 1: mprotect(at, count * PAGE, PROT_READ); break;
	case 2: madvise(at, count * PAGE, MADV_DONTNEED); break;
	/* Beyond the file's one page is SIGBUS. */
	case 3: mmap(at, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w->short_fd, 0); break;
	case 4: mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0); break;
	default:
		mmap(at, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w->memory_fd,
		     (off_t)(first * PAGE));
	}
}

static void act_code(struct fuzz_world *w)
{
	if (one_in(8))
		guest_code(w);
	else
		*(uint64_t *)(w->memory + below(ARENA / 8) * 8) = number();
}

static void scribble_ring(volatile struct kvm_dirty_gfn *ring, size_t size)
{
	for (unsigned int n = (unsigned int)below(200); n; n--) {
		volatile struct kvm_dirty_gfn *e = &ring[below(size)];

		e->flags = (uint32_t)below(4);
		if (one_in(8)) {
			e->slot = (uint32_t)number();
			e->offset = number();
		}
	}
}

static void act_ring(struct fuzz_world *w)
{
	int fd = fcntl(pick(w->vcpu), F_DUPFD_CLOEXEC, 0);
	size_t size;
	struct stat st;
	void *ring;

	if (fd < 0)
		return;
	size = fstat(fd, &st) || st.st_size <= (off_t)RING_AT ? 0 : (size_t)st.st_size - RING_AT;
	ring = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)RING_AT) : MAP_FAILED;
	close(fd);
	if (ring == MAP_FAILED)
		return;
	scribble_ring(ring, size / sizeof(struct kvm_dirty_gfn));
	munmap(ring, size);
	fuzz_ioctl(w->vm, KVM_RESET_DIRTY_RINGS, NULL);
}

/* --- processes --- */

static int child(struct fuzz_world *w)
{
	struct kvm_regs regs;
	int vm;

	board_leave();
	alarm(CHILD_SECONDS);
	/* Everything but the system is the parent's. */
	if (fuzz_ioctl(w->vm, KVM_CREATE_VCPU, NULL) >= 0 || fuzz_ioctl(w->vcpu[0], KVM_GET_REGS, &regs) >= 0 ||
	    fuzz_ioctl(w->vcpu[0], KVM_RUN, NULL) >= 0)
		return 2;
	/* A sanitizer's allocator may have been locked by a thread that is not here. */
	if (SANITIZED)
		return 0;
	vm = one_in(2) ? fuzz_ioctl(w->sys, KVM_CREATE_VM, NULL) : -1;
	if (vm >= 0) {
		fuzz_ioctl(vm, KVM_CREATE_VCPU, NULL);
		fuzz_close(vm);
	}
	if (one_in(2)) {
		fuzz_close(w->vcpu[0]);
		fuzz_close(w->vm);
	}
	return 0;
}

static void act_fork(struct fuzz_world *w)
{
	int status = 0;
	pid_t pid;

	if (!one_in(8))
		return;
	pid = fork();
	if (!pid)
		_exit(child(w));
	if (pid < 0)
		return;
	board_doing("waitpid", pid);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	board_doing(NULL, -1);
	if (status)
		fuzz_complain("a fork()ed child ended with status %#x", (unsigned int)status);
}

static void act_state(struct fuzz_world *w)
{
	guest_state(w, pick(w->vcpu));
}

/* --- hypervisors --- */

static const uint32_t under_l2[] = {
	(uint32_t)KVM_SET_NESTED_STATE, (uint32_t)KVM_SET_NESTED_STATE, (uint32_t)KVM_GET_NESTED_STATE,
	(uint32_t)KVM_SET_VCPU_EVENTS, (uint32_t)KVM_SET_SREGS, (uint32_t)KVM_SET_MSRS, (uint32_t)KVM_SET_REGS,
	(uint32_t)KVM_NMI, (uint32_t)KVM_SMI, (uint32_t)KVM_INTERRUPT, (uint32_t)KVM_TRANSLATE,
};

static void act_hyper(struct fuzz_world *w)
{
	if (one_in(2))
		hyper_bend(w);
	else
		request_to(w, pick(w->vcpu), pick(under_l2));
}

/* --- what next --- */

static void (*const acts[])(struct fuzz_world *w) = {
	act_run, act_run, act_run, request_any, request_any, request_any, act_scribble, act_scribble, act_slots,
	act_slots, act_restore, act_wire, act_wire, act_events, act_events, act_memory, act_code, act_ring,
	act_descriptors, act_read, act_fork, act_state, act_hyper, act_hyper,
};

/* One that runs, one that moves memory, one that scribbles, one that closes. */
static void (*const preferred[FUZZ_THREADS])(struct fuzz_world *w) = {
	request_any, act_run, act_slots, act_run, act_scribble, act_descriptors, act_wire, act_memory,
};

void act(struct fuzz_world *w, unsigned int n)
{
	(one_in(2) ? pick(acts) : preferred[n % FUZZ_THREADS])(w);
}
