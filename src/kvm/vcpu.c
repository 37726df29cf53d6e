/* SPDX-License-Identifier: MIT */
#include "kvm/vcpu.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/clock.h"
#include "host/fault.h"
#include "host/memfd.h"

#define MAP_SIZE (KVM_VCPU_PAGES * GUEST_PAGE_SIZE)

_Static_assert(sizeof(struct kvm_run) <= GUEST_PAGE_SIZE, "kvm_run is one page");
_Static_assert(offsetof(struct kvm_run, request_interrupt_window) == 0, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, immediate_exit) == 1, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, exit_reason) == 8, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, ready_for_interrupt_injection) == 12, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, if_flag) == 13, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, flags) == 14, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, cr8) == 16, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, apic_base) == 24, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, io) == 32, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, kvm_valid_regs) == 288, "kvm_run layout");
_Static_assert(offsetof(struct kvm_run, s) == 304, "kvm_run layout");
_Static_assert(sizeof(struct kvm_signal_mask) == 4, "UAPI");

/* --- where the vCPU is --- */

static void wake_waiters(struct vm *vm)
{
	if (!atomic_load(&vm->sync_waiters))
		return;
	atomic_fetch_add(&vm->sync_word, 1);
	syscall(SYS_futex, &vm->sync_word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void kvm_vcpu_sync(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	/* Before the bits: see kvm_vm_sync_vcpus(). */
	uint64_t gen = atomic_load(&vm->sync_gen);
	uint32_t what = atomic_exchange(&vcpu->sync_pending, 0);

	for (unsigned int as = 0; as < vm->arch->address_spaces; as++)
		vcpu->slots[as] = atomic_load(&vm->slots[as]);
	if (what)
		vm->arch->vcpu_sync(vcpu, what);
	atomic_store(&vcpu->sync_seen, gen);
	wake_waiters(vm);
}

static void go_inside(struct vcpu *vcpu)
{
	atomic_store(&vcpu->where, KVM_VCPU_INSIDE);
	if (kvm_vcpu_sync_needed(vcpu))
		kvm_vcpu_sync(vcpu);
}

static void go(struct vcpu *vcpu, enum kvm_vcpu_where where)
{
	atomic_store(&vcpu->where, where);
	wake_waiters(vcpu->vm);
}

void kvm_vcpu_enter(struct vcpu *vcpu)
{
	go_inside(vcpu);
}

void kvm_vcpu_leave(struct vcpu *vcpu)
{
	go(vcpu, KVM_VCPU_OUTSIDE);
}

/* --- running and sleeping --- */

static void thread_changed(struct vcpu *vcpu)
{
	if (vcpu->has_run && pthread_equal(vcpu->thread, pthread_self()))
		return;
	vcpu->thread = pthread_self();
	vcpu->has_run = true;
	if (vcpu->vm->arch->vcpu_thread_changed)
		vcpu->vm->arch->vcpu_thread_changed(vcpu);
}

long kvm_vcpu_run(struct vcpu *vcpu, uint64_t sigmask)
{
	thread_changed(vcpu);
	vcpu->effective_mask = vcpu->sigmask_active ? vcpu->sigmask : sigmask;
	return vcpu->vm->arch->vcpu_run(vcpu);
}

int kvm_vcpu_entry_check(struct vcpu *vcpu)
{
	if (kvm_vcpu_immediate_exit(vcpu))
		return -EINTR;
	/* What the thread's own mask lets through has been delivered before the call. */
	if (vcpu->sigmask_active && kvm_vcpu_interrupted(vcpu)) {
		vcpu->run->exit_reason = KVM_EXIT_INTR;
		return -EINTR;
	}
	return 0;
}

bool kvm_vcpu_interrupted(struct vcpu *vcpu)
{
	return host_signal_pending(vcpu->effective_mask);
}

/* Histogram bucket n holds [2^(n-1), 2^n), bucket 0 holds 0; api.rst 4.134. */
static void count_wait(struct vcpu *vcpu, uint64_t ns)
{
	unsigned int n = ns ? 64 - (unsigned int)__builtin_clzll(ns) : 0;

	if (n >= KVM_HALT_HIST_WORDS)
		n = KVM_HALT_HIST_WORDS - 1;
	kvm_stat_add(&vcpu->stats, KVM_VCPU_STAT_HALT_WAIT_NS, ns);
	kvm_stat_add(&vcpu->stats, KVM_VCPU_STAT_HALT_WAIT_HIST + n, 1);
	kvm_stat_add(&vcpu->stats, KVM_VCPU_STAT_HALT_WAKEUP, 1);
}

/* Out of descriptors: look again every millisecond. */
static int wait_without_descriptors(struct vcpu *vcpu, uint64_t deadline_ns)
{
	uint64_t now = host_now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	struct timespec ts = { 0, left < 1000000 ? (long)left : 1000000 };

	nanosleep(&ts, NULL);
	return kvm_vcpu_interrupted(vcpu) ? -EINTR : 0;
}

int kvm_vcpu_block(struct vcpu *vcpu, bool (*awake)(struct vcpu *vcpu), uint64_t deadline_ns)
{
	uint64_t start = host_now_ns();
	bool slept = false;
	int r = 0, prepared;

	go(vcpu, KVM_VCPU_ASLEEP);
	kvm_stat_set(&vcpu->stats, KVM_VCPU_STAT_BLOCKING, 1);
	prepared = host_wait_prepare(&vcpu->waiter);
	if (!awake(vcpu)) {
		slept = true;
		if (!prepared)
			r = host_wait(&vcpu->waiter, deadline_ns, vcpu->effective_mask);
		if (prepared || (r && r != -EINTR))
			r = wait_without_descriptors(vcpu, deadline_ns);
	}
	if (!prepared)
		host_wait_finish(&vcpu->waiter);
	/* Nobody who is awake already, and asks again and again, may miss a signal. */
	if (!slept && kvm_vcpu_interrupted(vcpu))
		r = -EINTR;
	kvm_stat_set(&vcpu->stats, KVM_VCPU_STAT_BLOCKING, 0);
	if (slept)
		count_wait(vcpu, host_now_ns() - start);
	go_inside(vcpu);
	return r;
}

void kvm_vcpu_wake(struct vcpu *vcpu)
{
	host_wake(&vcpu->waiter);
}

/* --- life --- */

static void release_vcpu(struct kvm_object *obj)
{
	/* The vCPU itself stays until the VM's end, as in KVM: its number cannot be used again. */
	kvm_vm_put(container_of(obj, struct vcpu, obj)->vm);
}

static size_t memfd_bytes(const struct vm *vm)
{
	if (!vm->dirty_ring_bytes)
		return MAP_SIZE;
	return KVM_DIRTY_LOG_PAGE_OFFSET * GUEST_PAGE_SIZE + vm->dirty_ring_bytes;
}

static void init_ring(struct vcpu *vcpu)
{
	if (!vcpu->vm->dirty_ring_bytes)
		return;
	vcpu->dirty_ring.entry = (void *)((char *)vcpu->run + KVM_DIRTY_LOG_PAGE_OFFSET * GUEST_PAGE_SIZE);
	vcpu->dirty_ring.size = vcpu->vm->dirty_ring_bytes / sizeof(struct kvm_dirty_gfn);
}

/* A vCPU with its shared pages, not yet the VM's.  *@fd: its descriptor. */
static int alloc_vcpu(struct vm *vm, uint32_t id, struct vcpu **out, int *fd)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	char name[KVM_STATS_NAME_MAX];
	int r;

	if (!vcpu)
		return -ENOMEM;
	snprintf(name, sizeof(name), "kvm-vcpu:%u", id);
	vcpu->mapped = memfd_bytes(vm);
	*fd = host_memfd(name, vcpu->mapped);
	if (*fd < 0) {
		r = *fd;
		goto no_fd;
	}
	r = -ENOMEM;
	vcpu->run = host_memfd_map(*fd, vcpu->mapped);
	if (!vcpu->run)
		goto no_map;
	snprintf(name, sizeof(name), "kvm-%d/vcpu-%u", getpid(), id);
	r = kvm_stats_init(&vcpu->stats, &kvm_stats_rows_vcpu, vm->arch->vcpu_stats, name);
	if (r)
		goto no_stats;
	vcpu->obj.kind = KVM_VCPU;
	vcpu->obj.owner = kvm_process_id();
	vcpu->obj.release = release_vcpu;
	vcpu->vm = vm;
	vcpu->id = id;
	init_ring(vcpu);
	vcpu->pio_data = (char *)vcpu->run + KVM_PIO_PAGE * GUEST_PAGE_SIZE;
	pthread_mutex_init(&vcpu->mutex, NULL);
	host_waiter_init(&vcpu->waiter);
	/* So that the first entry loads the snapshots. */
	atomic_init(&vcpu->sync_pending, KVM_SYNC_SLOTS);
	*out = vcpu;
	return 0;
no_stats:
	munmap(vcpu->run, vcpu->mapped);
no_map:
	close(*fd);
no_fd:
	free(vcpu);
	return r;
}

static void free_vcpu(struct vcpu *vcpu)
{
	host_waiter_destroy(&vcpu->waiter);
	kvm_stats_destroy(&vcpu->stats);
	pthread_mutex_destroy(&vcpu->mutex);
	munmap(vcpu->run, vcpu->mapped);
	free(vcpu);
}

void kvm_vcpu_destroy(struct vcpu *vcpu)
{
	vcpu->vm->arch->vcpu_destroy(vcpu);
	free_vcpu(vcpu);
}

/* Takes a place in the VM, which may be full. */
static int reserve(struct vm *vm, uint32_t id)
{
	int r = 0;

	pthread_mutex_lock(&vm->lock);
	if (vm->created_vcpus >= KVM_MAX_VCPUS)
		r = -EINVAL;
	else if (vm->arch->vcpu_precreate)
		r = vm->arch->vcpu_precreate(vm, id);
	if (!r)
		vm->created_vcpus++;
	pthread_mutex_unlock(&vm->lock);
	return r;
}

static void unreserve(struct vm *vm)
{
	pthread_mutex_lock(&vm->lock);
	vm->created_vcpus--;
	pthread_mutex_unlock(&vm->lock);
}

/*
 * Makes @vcpu one of the VM's, visible to every thread, and @fd its descriptor.  A thread that uses that number before
 * it was told waits for the mutex: whoever replaces a snapshot would not know of the vCPU yet.
 */
static int publish(struct vcpu *vcpu, int fd)
{
	struct vm *vm = vcpu->vm;
	int r = -EEXIST;

	pthread_mutex_lock(&vcpu->mutex);
	pthread_mutex_lock(&vm->lock);
	if (!kvm_vm_vcpu_by_id(vm, vcpu->id)) {
		kvm_vm_get(vm);
		vcpu->index = atomic_load(&vm->nvcpus);
		vm->vcpu[vcpu->index] = vcpu;
		r = kvm_object_add(&vcpu->obj, fd);
		if (r)
			kvm_vm_put(vm);
	}
	if (!r) {
		if (!vcpu->index)
			vm->ring = (void *)((char *)vcpu->run + KVM_COALESCED_PAGE * GUEST_PAGE_SIZE);
		atomic_store(&vm->nvcpus, vcpu->index + 1);
		if (vm->arch->vcpu_postcreate)
			vm->arch->vcpu_postcreate(vcpu);
	}
	pthread_mutex_unlock(&vm->lock);
	pthread_mutex_unlock(&vcpu->mutex);
	return r;
}

int kvm_vcpu_create(struct vm *vm, uint32_t id)
{
	struct vcpu *vcpu = NULL;
	int r, fd = -1;

	if (id >= KVM_MAX_VCPU_IDS)
		return -EINVAL;
	r = reserve(vm, id);
	if (r)
		return r;
	r = host_fault_init();
	if (!r)
		r = alloc_vcpu(vm, id, &vcpu, &fd);
	if (r)
		goto no_vcpu;
	r = vm->arch->vcpu_create(vcpu);
	if (r)
		goto no_arch;
	r = publish(vcpu, fd);
	if (r)
		goto not_published;
	return fd;
not_published:
	vm->arch->vcpu_destroy(vcpu);
no_arch:
	close(fd);
	free_vcpu(vcpu);
no_vcpu:
	unreserve(vm);
	return r;
}
