/* SPDX-License-Identifier: MIT */
/* What the files of mmu/ share and nobody else sees. */
#ifndef X86_MMU_INTERNAL_H
#define X86_MMU_INTERNAL_H

#include "kvm/dirty_ring.h"
#include "x86/cpu/cpu.h"
#include "x86/cpu/vec.h"
#include "x86/mmu/mmu.h"

#define MMU_SPACES 12           /* Linux has 6 PCIDs in use at a time, twice that with page-table isolation */
#define MMU_SPARES 2            /* contexts set aside: one to be current, and one to give */

/* Where the last table of a region's walks is, with what the entries above it allow; structures.h. */
#define PSC_ENTRIES 32
#define PSC_LEVELS 2            /* of tables that are remembered: the lowest */
#define PSC_GENS 4096
struct psc_entry {
	uint64_t tag;           /* region, level and the space's psc_gen */
	gpa_t table, ntable;    /* L1's address; with a second level below, L2's too */
	uint64_t all;           /* as of struct walk */
	bool no_exec;
};

/* An address space: what the root and the mode bits name.  Owns a context a privilege class. */
struct mmu_space {
	uint64_t root;          /* CR3 without PCID; ~0 with paging off */
	struct x86_slat slat;   /* what was below it */
	uint16_t pcid;
	uint32_t role;
	uint64_t used;          /* mmu->clock at the last selection */
	uint64_t slat_bloom[16];        /* of L2's 2 MiB regions that entries depend on; since the last recycling */
	struct mmu_ctx *ctx[MMU_CLASSES];
	uint64_t psc_gen;       /* from 1; entries of another match nothing */
	struct psc_entry psc[PSC_ENTRIES];
};

/*
 * A guest-physical page of L2's, or 2 MiB of them in one, as L1's tables have it;
 * rights 0: free.  Small ones come first.  See slat.c.
 */
#define SLAT_SMALL 512
#define SLAT_LARGE 256
#define SLAT_ENTRIES (SLAT_SMALL + SLAT_LARGE)
#define SLAT_LARGE_PAGES 512ULL
struct slat_entry {
	uint64_t root;
	gfn_t ngfn, gfn;
	uint16_t tag;
	uint8_t flags, rights;
};

/* Ranges that other vCPUs want forgotten: mmu_ask_flush_slat() puts them in, the vCPU's own thread takes them out. */
#define SLAT_ASKED 64
struct slat_queue {
	_Atomic uint32_t head, tail;
	_Atomic bool all;               /* there was no room: everything */
	struct mmu_slat_range range[SLAT_ASKED];
};

struct mmu {
	uint64_t clock;
	struct mmu_space *cur;
	struct mmu_space space[MMU_SPACES];
	struct mmu_ctx *spare[MMU_SPARES];
	unsigned int live;      /* contexts of all spaces */
	struct mmu_stats stats;
	struct slat_entry slat[SLAT_ENTRIES];
	struct slat_queue asked;
};

/*
 * @gfn of @slot is about to be written: into the dirty log, by whichever of the two
 * the VM has.  A ring that fills up ends the block; one that is full the instruction.
 */
static inline void mmu_mark_dirty(struct x86_cpu *cpu, const struct memslot *slot, gfn_t gfn)
{
	if (likely(!slot->dirty))
		return;
	if (!cpu->dirty_ring) {
		memslot_mark_dirty(slot, gfn);
		return;
	}
	if (unlikely(!kvm_mark_dirty(cpu->dirty_ring, slot, gfn)))
		x86_internal(cpu, "more pages written at once than the dirty ring holds");
	if (unlikely(kvm_dirty_ring_soft_full(cpu->dirty_ring)))
		x86_request(cpu, X86_REQ_EVENT);
}

/*
 * An access ends up in @slot, at @gpa.  The first to a page is what KVM would take
 * a fault for, and enter the page into its own tables.  Not looked at: the
 * walker's reads of page tables, which somebody has written before.
 */
static inline void mmu_touch(struct x86_cpu *cpu, const struct memslot *slot, gpa_t gpa, enum mmu_access access)
{
	if (likely(!memslot_touch(slot, gpa_to_gfn(gpa))))
		return;
	cpu->mmu->stats.touched++;
	if (!cpu->env->first_touch)
		return;
	x86_vec_put(cpu);
	cpu->env->first_touch(cpu, gpa, access);
}

/* Is @gpa of the page that stands for L2's local APIC?  Every access to it is a device's. */
static inline bool mmu_is_apic_page(const struct x86_cpu *cpu, gpa_t gpa)
{
	return unlikely(cpu->nested.slat.apic_page) && !((cpu->nested.slat.apic_page ^ gpa) & GUEST_PAGE_MASK);
}

/* Asks env->page() for the page at @hva, unless that was done a moment ago.  May leave the instruction. */
void mmu_await_asked(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write);

/* A page of a slot is about to be used, where the guest wants to know of those that the host has to fetch. */
static inline void mmu_await(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write)
{
	if (unlikely(cpu->watch))
		mmu_await_asked(cpu, hva, gpa, write);
}

/* What names an address space with paging on, beside the PCID. */
static inline uint64_t mmu_root(const struct x86_cpu *cpu)
{
	return cpu->cr3 & ((cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LMA) ? ~0x1fULL : ~0xfffULL);
}

/* Empties the paging-structure caches. */
void mmu_drop_structures(struct x86_cpu *cpu);
/* Drops all of @c's entries. */
void mmu_ctx_flush(struct mmu_ctx *c);
/* Drops what @c knows of the page at @gva, large pages included. */
void mmu_ctx_flush_page(struct mmu_ctx *c, gva_t gva);

static inline void bloom_set(uint64_t *bloom, unsigned int words, uint64_t value)
{
	uint64_t h = (value * 0x9e3779b97f4a7c15ULL) >> 40;

	bloom[h / 64 % words] |= 1ULL << (h % 64);
}

static inline bool bloom_test(const uint64_t *bloom, unsigned int words, uint64_t value)
{
	uint64_t h = (value * 0x9e3779b97f4a7c15ULL) >> 40;

	return bloom[h / 64 % words] >> (h % 64) & 1;
}

/*
 * Notes that the entry for @gva, in the slot that @slots has the bit of, came
 * from a page of 2^@shift bytes.
 */
static inline void ctx_note_page(struct mmu_ctx *c, uint64_t *slots, gva_t gva, unsigned int shift)
{
	unsigned int slot = (gva >> GUEST_PAGE_SHIFT) % TLB_SIZE;

	if (shift == GUEST_PAGE_SHIFT)
		return;
	if (c->large_gen != c->gen) {
		c->large_gen = c->gen;
		for (unsigned int i = 0; i < ARRAY_SIZE(c->large_d); i++)
			c->large_d[i] = c->large_x[i] = 0;
	}
	slots[slot / 64] |= 1ULL << (slot % 64);
	bloom_set(c->large_bloom, ARRAY_SIZE(c->large_bloom), gva >> 21);
	if (shift == 22)        /* a 4 MiB page is two such regions */
		bloom_set(c->large_bloom, ARRAY_SIZE(c->large_bloom), gva >> 21 ^ 1);
	if (shift == 30)
		c->huge = true;
}

/* Notes the protection key that an entry depends on. */
static inline void ctx_note_key(struct mmu_ctx *c, const struct x86_cpu *cpu, const struct mmu_result *r)
{
	if (likely(!(cpu->cr4 & (CR4_PKE | CR4_PKS))))
		return;
	if (!c->keys[0] && !c->keys[1]) {
		c->key_rights[0] = cpu->pkru;
		c->key_rights[1] = (uint32_t)cpu->pkrs;
	}
	c->keys[!r->user] |= 1u << (2 * r->key);
}

_Static_assert(TLB_SIZE == XTLB_SIZE, "ctx_note_page() finds the slot for both");

#endif
