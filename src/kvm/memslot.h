/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: the only bridge from a gpa to host memory.
 *
 * A `struct memslots` is one immutable snapshot of an address space, sorted by
 * base_gfn and never overlapping.  KVM_SET_USER_MEMORY_REGION builds a new
 * snapshot, publishes it, asks every vCPU to reload (KVM_REQ_RELOAD_SLOTS),
 * waits until none can hold the old one, and frees it.
 *
 * There may be 32764 slots, and a client that changes one after another: so they
 * stand in chunks, and successive snapshots share those that stayed the same.
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
	_Atomic uint64_t *touched;     /* one bit a page: has been used, or populated; what KVM would have an entry of
					* its page tables for.  Owned as `dirty` is.  NULL: nobody wants to know */
};

#define MEMSLOT_CHUNK 64

/* Never empty. */
struct memslot_chunk {
	unsigned int count;
	struct memslot slot[MEMSLOT_CHUNK];
};

struct memslots {
	uint64_t generation;           /* grows with every change */
	gfn_t *ids;                    /* base_gfn + 1 by id, 0: none; one for all snapshots, under slots_lock */
	unsigned int chunks;
	struct {
		gfn_t first;           /* base_gfn of the chunk's first slot */
		struct memslot_chunk *chunk;
	} at[];
};

/** memslots_chunks_upto - how many chunks begin at or below @gfn: the last of them is where it may be. */
static inline unsigned int memslots_chunks_upto(const struct memslots *s, gfn_t gfn)
{
	unsigned int lo = 0, hi = s->chunks;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (s->at[mid].first <= gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/** memslot_chunk_upto - how many of the chunk's slots begin at or below @gfn. */
static inline unsigned int memslot_chunk_upto(const struct memslot_chunk *c, gfn_t gfn)
{
	unsigned int lo = 0, hi = c->count;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (c->slot[mid].base_gfn <= gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/**
 * memslots_find - the slot that holds @gfn, or NULL.  Binary search; no lock:
 * the caller keeps the snapshot alive by being between two request checks.
 */
static inline const struct memslot *memslots_find(const struct memslots *s, gfn_t gfn)
{
	unsigned int n = memslots_chunks_upto(s, gfn);
	const struct memslot_chunk *c;
	const struct memslot *slot;

	if (!n)
		return NULL;
	c = s->at[n - 1].chunk;
	/* The chunk's first slot begins at or below. */
	slot = &c->slot[memslot_chunk_upto(c, gfn) - 1];
	return gfn - slot->base_gfn < slot->npages ? slot : NULL;
}

/** memslots_for_each - @m: each slot of the snapshot @s; @n, @i: counters. */
#define memslots_for_each(m, n, i, s)                                                           \
	for ((n) = 0; (n) < (s)->chunks; (n)++)                                                 \
		for ((i) = 0; (i) < (s)->at[n].chunk->count && ((m) = &(s)->at[n].chunk->slot[i], 1); (i)++)

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

/** memslot_touch - notes that @gfn is used.  True: for the first time. */
static inline bool memslot_touch(const struct memslot *slot, gfn_t gfn)
{
	uint64_t n = gfn - slot->base_gfn, bit = 1ULL << (n % 64);

	if (!slot->touched || (atomic_load_explicit(&slot->touched[n / 64], memory_order_relaxed) & bit))
		return false;
	return !(atomic_fetch_or_explicit(&slot->touched[n / 64], bit, memory_order_relaxed) & bit);
}

#endif
