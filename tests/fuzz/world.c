/* SPDX-License-Identifier: MIT */
/* What is fuzzed: its memory, its descriptors, and calls on them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "anykvm.h"
#include "fuzz.h"
#include "kvm/types.h"
#include "kvm/vm.h"

#define RUN_PAGES 3

bool fuzz_preloaded;

int fuzz_open(void)
{
	return fuzz_preloaded ? open("/dev/kvm", O_RDWR | O_CLOEXEC) : anykvm_open(O_RDWR | O_CLOEXEC);
}

int fuzz_close(int fd)
{
	int r;

	board_doing("close", fd);
	r = fuzz_preloaded ? close(fd) : anykvm_close(fd);
	board_doing(NULL, -1);
	return r;
}

int fuzz_ioctl(int fd, unsigned long request, void *arg)
{
	int n = request_number((uint32_t)request), r;

	board_doing(n < 0 ? "an unknown request" : request_row((unsigned int)n)->name, fd);
	r = fuzz_preloaded ? ioctl(fd, request, arg) : anykvm_ioctl(fd, request, arg);
	board_doing(NULL, -1);
	if (r < 0 && !error_allowed((uint32_t)request, errno))
		fuzz_complain("%s: %s", n < 0 ? "an unknown request" : request_row((unsigned int)n)->name,
			      strerror(errno));
	if (n >= 0) {
		atomic_fetch_add(&board->called[n], 1);
		if (r >= 0)
			atomic_fetch_add(&board->succeeded[n], 1);
	}
	return r;
}

static void *must(void *p)
{
	if (p != MAP_FAILED)
		return p;
	perror("mmap");
	_exit(1);
}

/*
 * A slot may be as large as KVM allows: all that it can name is kept free of anything else.  Where that is more than
 * may be had (a sanitizer's own memory), slots are smaller.
 */
void world_room(struct fuzz_world *w)
{
	static const size_t sizes[] = { (KVM_MEM_MAX_NR_PAGES + 64) * PAGE, 1UL << 36, 2 * ARENA };

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]) && !w->arena; i++) {
		w->arena = mmap(NULL, sizes[i], PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		w->arena_size = sizes[i];
		if (w->arena == MAP_FAILED)
			w->arena = NULL;
	}
	w->memory_fd = memfd_create("fuzz-memory", MFD_CLOEXEC);
	w->short_fd = memfd_create("fuzz-short", MFD_CLOEXEC);
	if (!w->arena || w->memory_fd < 0 || w->short_fd < 0 || ftruncate(w->memory_fd, ARENA) ||
	    ftruncate(w->short_fd, PAGE)) {
		perror("no memory for guests");
		_exit(1);
	}
	w->memory = must(mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED, w->memory_fd, 0));
	for (unsigned int i = 0; i < FUZZ_VCPUS; i++)
		w->run[i] = must(mmap(NULL, RUN_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void map_run(struct fuzz_world *w, unsigned int i)
{
	int fd = atomic_load(&w->vcpu[i]);

	if (fd < 0 || mmap(w->run[i], RUN_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		fuzz_complain("kvm_run of vCPU %u cannot be mapped: %s", i, strerror(errno));
}

/* Hyper-V's leaves before all others: KVM's own stand at the same numbers. */
static void add_hyperv(int sys, struct kvm_cpuid2 *c)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[16];
	} hv = { .head.nent = 16 };

	if (fuzz_ioctl(sys, KVM_GET_SUPPORTED_HV_CPUID, &hv))
		return;
	memmove(c->entries + hv.head.nent, c->entries, c->nent * sizeof(c->entries[0]));
	memcpy(c->entries, hv.e, hv.head.nent * sizeof(c->entries[0]));
	c->nent += hv.head.nent;
}

static void choose_cpuid(int sys, int vcpu)
{
	struct kvm_cpuid2 *c = room(sizeof(*c) + 200 * sizeof(c->entries[0]));

	c->nent = 180;
	if (fuzz_ioctl(sys, KVM_GET_SUPPORTED_CPUID, c))
		return;
	if (one_in(2))
		add_hyperv(sys, c);
	fuzz_ioctl(vcpu, KVM_SET_CPUID2, c);
}

static void synic(int vcpu)
{
	struct kvm_enable_cap cap = { .cap = one_in(2) ? KVM_CAP_HYPERV_SYNIC : KVM_CAP_HYPERV_SYNIC2 };

	fuzz_ioctl(vcpu, KVM_ENABLE_CAP, &cap);
}

static void slot(struct fuzz_world *w)
{
	struct kvm_userspace_memory_region r = {
		.flags = one_in(2) ? KVM_MEM_LOG_DIRTY_PAGES : 0,
		.memory_size = ARENA,
		.userspace_addr = (uintptr_t)w->arena,
	};

	fuzz_ioctl(w->vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void rings(struct fuzz_world *w)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { PAGE << below(5) } };

	fuzz_ioctl(w->vm, KVM_ENABLE_CAP, &cap);
}

static void chips(struct fuzz_world *w)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_pit_config pit = { .flags = (uint32_t)below(2) };

	switch (below(4)) {
	case 0: return;
	case 1: fuzz_ioctl(w->vm, KVM_ENABLE_CAP, &split); return;
	default: fuzz_ioctl(w->vm, KVM_CREATE_IRQCHIP, NULL);
	}
	if (one_in(2))
		fuzz_ioctl(w->vm, KVM_CREATE_PIT2, &pit);
}

/* Whose CPU: chosen by us, or by 'anykvm exec'. */
static void choose_model(struct fuzz_world *w)
{
	struct kvm_cpuid2 *c;

	w->amd = one_in(2);
	if (!fuzz_preloaded) {
		anykvm_set_cpu(w->amd ? "amd" : "intel");
		return;
	}
	c = room(sizeof(*c) + 200 * sizeof(c->entries[0]));
	c->nent = 200;
	w->amd = !fuzz_ioctl(w->sys, KVM_GET_SUPPORTED_CPUID, c) && c->entries[0].ebx == 0x68747541;    /* "Auth" */
}

void world_make(struct fuzz_world *w)
{
	must(mmap(w->arena, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, w->memory_fd, 0));
	w->stop = false;
	w->sys = fuzz_open();
	choose_model(w);
	w->vm = fuzz_ioctl(w->sys, KVM_CREATE_VM, NULL);
	w->stats = fuzz_ioctl(w->vm, KVM_GET_STATS_FD, NULL);
	if (one_in(3))
		rings(w);
	chips(w);
	slot(w);
	for (unsigned int i = 0; i < FUZZ_EVENTS; i++)
		w->event[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned int i = 0; i < FUZZ_VCPUS; i++) {
		w->vcpu[i] = fuzz_ioctl(w->vm, KVM_CREATE_VCPU, (void *)(uintptr_t)i);
		map_run(w, i);
		if (!one_in(8))
			choose_cpuid(w->sys, w->vcpu[i]);
		if (one_in(2))
			synic(w->vcpu[i]);
	}
	guest_code(w);
	for (unsigned int i = 0; i < FUZZ_VCPUS; i++)
		guest_state(w, w->vcpu[i]);
	if (w->sys < 0 || w->vm < 0 || w->stats < 0 || w->vcpu[FUZZ_VCPUS - 1] < 0)
		fuzz_complain("no VM can be made: %s", strerror(errno));
}

static void close_at(_Atomic int *place)
{
	int fd = atomic_exchange(place, -1);

	if (fd >= 0 && fuzz_close(fd) && close(fd))
		fuzz_complain("close(%d): %s", fd, strerror(errno));
}

void world_end(struct fuzz_world *w)
{
	hyper_count(w);
	for (unsigned int i = 0; i < FUZZ_VCPUS; i++) {
		close_at(&w->vcpu[i]);
		must(mmap(w->run[i], RUN_PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	}
	close_at(&w->stats);
	close_at(&w->vm);
	close_at(&w->sys);
	for (unsigned int i = 0; i < FUZZ_EVENTS; i++)
		close_at(&w->event[i]);
	must(mmap(w->arena, ARENA, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0));
}
