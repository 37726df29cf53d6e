/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: the only bridge from a gpa to host memory.
 *
 * A `struct memslots` is one immutable snapshot of an address space, sorted by
 * base_gfn and never overlapping.  KVM_SET_USER_MEMORY_REGION builds a new
 * snapshot, publishes it, asks every vCPU to reload (KVM_REQ_RELOAD_SLOTS),
 * waits until none can hold the old one, and frees it.
 */
#ifndef KVM_MEMSLOT_H
#define KVM_MEMSLOT_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "kvm/types.h"

/* Internal flag beside KVM_MEM_LOG_DIRTY_PAGES and KVM_MEM_READONLY. */
struct memslot {
	gfn_t base_gfn;
	uint64_t npages;
	uint8_t *hva;                  /* of base_gfn, in the client's mapping; page aligned */
	uint32_t flags;                /* KVM_MEM_* as the client gave them */
	uint16_t id;
	uint16_t as_id;
	_Atomic uint64_t *dirty;       /* one bit a page while KVM_MEM_LOG_DIRTY_PAGES is set, else NULL;
					* owned by the VM, shared by successive snapshots of the slot */
};

struct memslots {
	uint64_t generation;           /* grows with every change */
	unsigned int count;
	struct memslot slot[];
};

/**
 * memslots_find - the slot that holds @gfn, or NULL.  Binary search; no lock:
 * the caller keeps the snapshot alive by being between two request checks.
 */
static inline const struct memslot *memslots_find(const struct memslots *s, gfn_t gfn)
{
	unsigned int lo = 0, hi = s->count;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (s->slot[mid].base_gfn <= gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || gfn - s->slot[lo - 1].base_gfn >= s->slot[lo - 1].npages)
		return NULL;
	return &s->slot[lo - 1];
}

/** memslot_hva - host address of the page @gfn, which must lie in @slot. */
static inline uint8_t *memslot_hva(const struct memslot *slot, gfn_t gfn)
{
	return slot->hva + ((gfn - slot->base_gfn) << GUEST_PAGE_SHIFT);
}

/** memslot_readonly - the guest's writes are a device's. */
static inline bool memslot_readonly(const struct memslot *slot)
{
	return slot->flags & KVM_MEM_READONLY;
}

/** memslot_mark_dirty - sets @gfn's bit in the dirty log where there is one.  True: it was not set before. */
static inline bool memslot_mark_dirty(const struct memslot *slot, gfn_t gfn)
{
	uint64_t n = gfn - slot->base_gfn, bit = 1ULL << (n % 64);

	return slot->dirty && !(atomic_fetch_or_explicit(&slot->dirty[n / 64], bit, memory_order_relaxed) & bit);
}

/** memslot_clear_dirty - takes @gfn's bit out; @slot has a log. */
static inline void memslot_clear_dirty(const struct memslot *slot, gfn_t gfn)
{
	uint64_t n = gfn - slot->base_gfn;

	atomic_fetch_and(&slot->dirty[n / 64], ~(1ULL << (n % 64)));
}

#endif
