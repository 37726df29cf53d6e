/* SPDX-License-Identifier: MIT */
/*
 * The dirty ring of a vCPU (KVM_CAP_DIRTY_LOG_RING, api.rst 8.29): pages that it
 * has begun to write, in the order in which it did.  The client reads them in the
 * vCPU's memfd, marks those it has taken, and gives them back by
 * KVM_RESET_DIRTY_RINGS; from then on the next write to such a page is seen again.
 *
 * The bitmap of the slot tells which pages stand in some ring: a page stands in
 * one of them once, however often a vCPU makes a translation for it.
 *
 * One producer, the vCPU's own thread; one consumer, under slots_lock.  The flags
 * of an entry say whose it is: 0 the vCPU's, KVM_DIRTY_GFN_F_DIRTY the client's,
 * KVM_DIRTY_GFN_F_RESET the reset's.  They are written with release and read with
 * acquire, as api.rst asks of the client.
 */
#ifndef KVM_DIRTY_RING_H
#define KVM_DIRTY_RING_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "kvm/memslot.h"

struct vm;

/* Entries kept free: a block of guest code fills no more before the vCPU looks whether its ring is full. */
#define KVM_DIRTY_RING_RESERVED 576
#define KVM_DIRTY_RING_MAX_ENTRIES 65536u
#define KVM_DIRTY_RING_MAX_BYTES (KVM_DIRTY_RING_MAX_ENTRIES * sizeof(struct kvm_dirty_gfn))

struct kvm_dirty_ring {
	struct kvm_dirty_gfn *entry;    /* NULL: there is no ring.  The client's too: trust nothing in it */
	uint32_t size;                  /* entries, a power of 2 */
	_Atomic uint32_t next, reset;   /* free-running: where the vCPU writes, where the reset reads */
};

static inline struct kvm_dirty_gfn *kvm_dirty_ring_entry(struct kvm_dirty_ring *ring, uint32_t index)
{
	return &ring->entry[index & (ring->size - 1)];
}

/** kvm_dirty_ring_push - adds a page.  False: the ring is full, nothing was added. */
static inline bool kvm_dirty_ring_push(struct kvm_dirty_ring *ring, uint32_t slot, uint64_t offset)
{
	uint32_t next = atomic_load_explicit(&ring->next, memory_order_relaxed);
	struct kvm_dirty_gfn *e = kvm_dirty_ring_entry(ring, next);

	if (next - atomic_load_explicit(&ring->reset, memory_order_acquire) >= ring->size)
		return false;
	e->slot = slot;
	e->offset = offset;
	__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
	atomic_store_explicit(&ring->next, next + 1, memory_order_release);
	return true;
}

/** kvm_dirty_ring_soft_full - true: the vCPU must exit with KVM_EXIT_DIRTY_RING_FULL before it runs. */
static inline bool kvm_dirty_ring_soft_full(const struct kvm_dirty_ring *ring)
{
	return ring->entry && ring->next - ring->reset >= ring->size - KVM_DIRTY_RING_RESERVED;
}

/**
 * kvm_mark_dirty - the vCPU that owns @ring is about to write @gfn of @slot.
 * False: it cannot be logged, so it must not be done.
 */
static inline bool kvm_mark_dirty(struct kvm_dirty_ring *ring, const struct memslot *slot, gfn_t gfn)
{
	if (!memslot_mark_dirty(slot, gfn) || !ring->entry)
		return true;
	if (kvm_dirty_ring_push(ring, (uint32_t)slot->as_id << 16 | slot->id, gfn - slot->base_gfn))
		return true;
	memslot_clear_dirty(slot, gfn);
	return false;
}

/** kvm_dirty_ring_enable - KVM_CAP_DIRTY_LOG_RING with @bytes a ring.  0; -EINVAL, -E2BIG. */
int kvm_dirty_ring_enable(struct vm *vm, uint64_t bytes);

/** kvm_reset_dirty_rings - api.rst 4.134: how many entries were given back; -EINVAL: no rings. */
long kvm_reset_dirty_rings(struct vm *vm);

#endif
