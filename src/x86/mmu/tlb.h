/* SPDX-License-Identifier: MIT */
/*
 * The software TLB: gva -> hva, per vCPU, per context.
 *
 * A context belongs to one address space (root and PCID) and one privilege
 * class, and owns its entries, so that a CR3 load with NOFLUSH, a ring crossing
 * or STAC changes a pointer and drops nothing.  A flush gives the context a new
 * generation; entries of another generation do not match.
 *
 * A tag is the page's gva with the generation in its low 12 bits.  The lookup
 * compares the tag with the page of the access's *last* byte, so that an access
 * split over two pages never hits.  tag_w is absent on a page whose writes need
 * work: not dirty in its PTE, logged, read-only slot, holding decoded code.
 */
#ifndef X86_MMU_TLB_H
#define X86_MMU_TLB_H

#include <stdbool.h>
#include <stddef.h>

#include "kvm/types.h"

#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)
#define XTLB_BITS 10
#define XTLB_SIZE (1u << XTLB_BITS)
#define JUMP_BITS 12
#define JUMP_SIZE (1u << JUMP_BITS)
#define JUMP_WAYS 2                     /* entries that an address may be in: neighbours, in one cache line */
#define JUMP_GEN_MASK (31ULL << 57)     /* in jump keys */
#define TLB_NO_TAG (~0ULL)

struct tlb_entry {
	uint64_t tag_r, tag_w;
	uintptr_t addend;       /* gva + addend = hva */
	gfn_t gfn;
};

struct xtlb_entry {             /* instruction fetches */
	uint64_t tag;
	uint8_t *hva;           /* of the page */
	gfn_t gfn;
	uint64_t pad;
};

struct block;

struct jump_entry {
	uint64_t key;           /* see block.h */
	struct block *block;
};

/* MMU_USER_AC: alignment checks are on, no data access ever hits. */
enum mmu_class { MMU_SUPERVISOR, MMU_SUPERVISOR_AC, MMU_USER, MMU_USER_AC, MMU_CLASSES };

struct mmu_ctx {
	uint64_t gen;           /* 1 to 4094, in the tags */
	uint64_t jump_key;      /* generation of jump[], in its keys */
	uint64_t jump_floor;    /* blocks in entries of earlier generations may be gone */
	struct mmu_space *space;
	enum mmu_class cls;
	/* Filters that spare most scans: bits by hash of what entries were made since the last flush. */
	uint64_t large_bloom[4];        /* 2 MiB regions that lie in large pages */
	bool huge;                      /* some entry is of a 1 GiB page */
	uint64_t jump_bloom[16];        /* pages that jump[] has targets in */
	uint64_t jump_regions[4];       /* the 2 MiB regions of these */
	uint64_t gfn_bloom[16];         /* gfns with a tag_w */
	/* Protection keys that entries of d[] depend on, as bits 2 * key, and PKRU and PKRS when these were made. */
	uint32_t keys[2], key_rights[2];
	/* Exact: the slots of d[] and x[] that were filled from large pages while gen was large_gen. */
	uint64_t large_gen;
	uint64_t large_d[TLB_SIZE / 64], large_x[XTLB_SIZE / 64];
	struct tlb_entry d[TLB_SIZE];
	struct xtlb_entry x[XTLB_SIZE];
	struct jump_entry jump[JUMP_SIZE];
};

static ALWAYS_INLINE uint64_t tlb_tag(const struct mmu_ctx *c, gva_t gva, unsigned int size)
{
	return ((gva + size - 1) & GUEST_PAGE_MASK) | c->gen;
}

static ALWAYS_INLINE struct tlb_entry *tlb_slot(struct mmu_ctx *c, gva_t gva)
{
	return &c->d[(gva >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
}

/** tlb_hit_read - host address of @size bytes at @gva, or NULL: take the slow path. */
static ALWAYS_INLINE uint8_t *tlb_hit_read(struct mmu_ctx *c, gva_t gva, unsigned int size)
{
	const struct tlb_entry *e = tlb_slot(c, gva);

	return likely(e->tag_r == tlb_tag(c, gva, size)) ? (uint8_t *)(gva + e->addend) : NULL;
}

/** tlb_hit_write - the same for a write, or a read that will be written. */
static ALWAYS_INLINE uint8_t *tlb_hit_write(struct mmu_ctx *c, gva_t gva, unsigned int size)
{
	const struct tlb_entry *e = tlb_slot(c, gva);

	return likely(e->tag_w == tlb_tag(c, gva, size)) ? (uint8_t *)(gva + e->addend) : NULL;
}

#endif
