/* SPDX-License-Identifier: MIT */
/*
 * A virtual CPU: its memfd with kvm_run, its mutex, and where its thread is.
 *
 * Where a vCPU is (`where`): outside, inside (an ioctl on it runs and may use
 * guest memory) or asleep within KVM_RUN.  Entering is `where = inside`, then
 * loading the VM's snapshots; replacing a snapshot is storing it, then looking
 * at `where`: so either the vCPU sees the new one, or it is asked to
 * kvm_vcpu_sync() and waited for.  Both are sequentially consistent.
 *
 * Signals.  In KVM_RUN all signals but those that faults raise are blocked, so
 * a client's kick stays pending instead of running its handler where nobody
 * notices.  The engine asks kvm_vcpu_interrupted() every 100 to 200 us of
 * guest work; a sleeping vCPU waits for a signalfd beside its eventfd.  The
 * mask comes back when KVM_RUN returns, and then the handler runs, as when an
 * ioctl is interrupted.  Which signals count is decided by the mask in effect:
 * KVM_SET_SIGNAL_MASK's, or the thread's own.
 */
#ifndef KVM_VCPU_H
#define KVM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "host/wait.h"
#include "kvm/dirty_ring.h"
#include "kvm/vm.h"

#define KVM_RUN_PAGE 0          /* pages of the memfd */
#define KVM_PIO_PAGE 1          /* data of port I/O: kvm_run.io.data_offset is GUEST_PAGE_SIZE */
#define KVM_COALESCED_PAGE 2    /* KVM_CAP_COALESCED_MMIO; the first vCPU's is the VM's ring */
#define KVM_VCPU_PAGES 3        /* KVM_GET_VCPU_MMAP_SIZE */

enum kvm_vcpu_where { KVM_VCPU_OUTSIDE, KVM_VCPU_INSIDE, KVM_VCPU_ASLEEP };

struct vcpu {
	struct kvm_object obj;
	struct vm *vm;
	uint32_t id;                    /* the client's number */
	unsigned int index;             /* in vm->vcpu[] */
	void *arch_data;                /* the architecture's, from arch->vcpu_create() */
	struct kvm_run *run;            /* shared with the client: read every field once, trust none */
	void *pio_data;                 /* the page behind it */
	size_t mapped;                  /* bytes from `run` on, of the memfd */
	struct kvm_dirty_ring dirty_ring;       /* its entries are in the memfd, from KVM_DIRTY_LOG_PAGE_OFFSET on */

	pthread_mutex_t mutex;          /* held by every ioctl on the vCPU */
	pthread_t thread;               /* the last one in KVM_RUN */
	bool has_run;
	bool sigmask_active;            /* KVM_SET_SIGNAL_MASK */
	uint64_t sigmask;               /* signal n is bit n - 1 */
	uint64_t effective_mask;        /* in KVM_RUN: signals that do not interrupt it */

	_Atomic uint32_t where;         /* enum kvm_vcpu_where */
	_Atomic uint32_t sync_pending;  /* enum kvm_sync bits */
	_Atomic uint64_t sync_seen;     /* vm->sync_gen that is done; 0: nothing yet */
	const struct memslots *slots[KVM_ADDRESS_SPACES_MAX];   /* snapshots in use; valid while inside */

	struct host_waiter waiter;
	struct kvm_stats stats;
};

/** kvm_vcpu_create - KVM_CREATE_VCPU: returns a descriptor or -errno. */
int kvm_vcpu_create(struct vm *vm, uint32_t id);

/** kvm_vcpu_destroy - frees all of it; only from the VM's end. */
void kvm_vcpu_destroy(struct vcpu *vcpu);

/** kvm_vcpu_run - KVM_RUN; the mutex is held, the vCPU entered, signals are blocked.  @sigmask: the mask before. */
long kvm_vcpu_run(struct vcpu *vcpu, uint64_t sigmask);

/** kvm_vcpu_enter, kvm_vcpu_leave - see above; around every ioctl on the vCPU, under its mutex. */
void kvm_vcpu_enter(struct vcpu *vcpu);
void kvm_vcpu_leave(struct vcpu *vcpu);

/**
 * kvm_vcpu_sync - does what is pending: updates slots[], calls
 * arch->vcpu_sync().  By the vCPU's own thread, at a point where it holds
 * nothing of a snapshot.
 */
void kvm_vcpu_sync(struct vcpu *vcpu);

/** kvm_vcpu_sync_needed - true if kvm_vcpu_sync() has work.  Two loads. */
static inline bool kvm_vcpu_sync_needed(struct vcpu *vcpu)
{
	return atomic_load(&vcpu->sync_seen) != atomic_load(&vcpu->vm->sync_gen);
}

/**
 * kvm_vcpu_entry_check - at the start of KVM_RUN, once the last exit is
 * completed: 0, or -EINTR where kvm_run.immediate_exit is set or a signal was
 * pending all along (exit_reason is then KVM_EXIT_INTR).
 */
int kvm_vcpu_entry_check(struct vcpu *vcpu) must_check;

/**
 * kvm_vcpu_interrupted - true if KVM_RUN should end with -EINTR: a signal that
 * counts is pending.  A system call: ask every 100 to 200 us.
 */
bool kvm_vcpu_interrupted(struct vcpu *vcpu);

/** kvm_vcpu_immediate_exit - kvm_run.immediate_exit, read once. */
static inline bool kvm_vcpu_immediate_exit(struct vcpu *vcpu)
{
	return __atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_RELAXED);
}

/**
 * kvm_vcpu_block - sleeps until kvm_vcpu_wake(), a signal or the deadline.
 * By the vCPU's own thread in KVM_RUN; it holds nothing of a snapshot.
 * @awake: asked once it is certain that a later kvm_vcpu_wake() is noticed;
 * true: do not sleep.  It must not touch guest memory.
 * @deadline_ns: CLOCK_MONOTONIC; UINT64_MAX: none.
 * Returns 0 (woken, timed out, or for no reason: look again); -EINTR: a signal
 * that counts is pending.  Work pending is synced when it returns.
 */
int kvm_vcpu_block(struct vcpu *vcpu, bool (*awake)(struct vcpu *vcpu), uint64_t deadline_ns);

/** kvm_vcpu_wake - ends kvm_vcpu_block(), now or next time.  Any thread; cheap where nobody sleeps. */
void kvm_vcpu_wake(struct vcpu *vcpu);

#endif
