/* SPDX-License-Identifier: MIT */
/* Second-level translation, and what it shares with the walker of the guest's own tables. */
#ifndef X86_MMU_SLAT_H
#define X86_MMU_SLAT_H

#include "x86/mmu/format.h"
#include "x86/mmu/internal.h"

/* ------------------------------------------------------------------ a walk */

struct walk {
	const struct pt_format *fmt;
	uint64_t cr4;                   /* that the tables are to be read with */
	unsigned int top;               /* level of the first entry that was read; what follows is of it and those below */
	uint64_t entry[5];              /* by level - 1 */
	uint8_t *where[5];
	const struct memslot *slot[5];
	gpa_t at[5];
	gpa_t ngpa[5];                  /* with `nested`: L2's addresses of the same */
	uint64_t all, above;            /* AND of the entries, and of all but the last: user and write must be set in each */
	bool no_exec, no_exec_above;
	bool nx_reserved;               /* EFER.NXE clear */
	bool nested;                    /* there is a second level below */
	bool resumed;                   /* the walk began at a table that was known, */
	gpa_t resumed_at;               /* at this address of L1's */
};

enum walk_ad {
	WALK_AD_DONE,
	WALK_AD_CHANGED,                /* an entry is not what it was: walk again */
	WALK_AD_FORBIDDEN,              /* the second level forbids it */
};

static inline uint64_t walk_bits(unsigned int lo, unsigned int hi)      /* lo..hi inclusive */
{
	return (~0ULL >> (63 - hi)) & (~0ULL << lo);
}

static inline uint64_t walk_address_mask(const struct x86_cpu *cpu)
{
	return cpu->maxphyaddr >= 52 ? walk_bits(12, 51) : walk_bits(12, cpu->maxphyaddr - 1u);
}

const struct pt_format *walk_format(uint64_t cr4, uint64_t efer);
/** walk_fetch - reads the entry of @level at @at, an address in slots; false: there are none there. */
bool walk_fetch(struct x86_cpu *cpu, struct walk *w, unsigned int level, gpa_t at, uint64_t *entry);
/** walk_reserved - bits that must be zero in @entry; SDM 3A tables 4-4 to 4-20. */
uint64_t walk_reserved(const struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t entry);
bool walk_is_leaf(const struct walk *w, unsigned int level, uint64_t entry);
gpa_t walk_leaf_address(const struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t leaf, uint64_t gva);
enum walk_ad walk_set_accessed_dirty(struct x86_cpu *cpu, struct walk *w, unsigned int leaf_level, enum mmu_access access);

/* ------------------------------------------------------------------ the second level */

#define SLAT_OF_TABLE 1u                /* the access is to one of the guest's page tables */
#define SLAT_OF_USER 2u                 /* to a user page */

struct slat_result {
	gpa_t gpa;
	bool writable;                  /* a write needs no other walk: dirty flag and all */
	bool large;                     /* L1's page has 2 MiB or more */
};

/**
 * slat_translate - L2's @gpa by cpu->nested.slat, setting accessed and dirty flags.
 * @how: SLAT_OF_*.  false: forbidden, cpu->nested.fault says so.
 */
bool slat_translate(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access, unsigned int how, struct slat_result *r);

/** slat_table_access - what reading one of the guest's page tables counts as. */
enum mmu_access slat_table_access(const struct x86_cpu *cpu);
/** slat_table_writable - may an accessed or dirty flag be set in the guest's table at @gpa? */
bool slat_table_writable(struct x86_cpu *cpu, gpa_t gpa);
/** slat_translate_table - *@gpa of one of the guest's tables, outside a walk of them. */
bool slat_translate_table(struct x86_cpu *cpu, gpa_t *gpa);
/** slat_forget - drops translations of guest-physical addresses: those below @root, or below any (~0). */
void slat_forget(struct x86_cpu *cpu, uint64_t root);
/** slat_forget_range - those of the range. */
void slat_forget_range(struct x86_cpu *cpu, const struct mmu_slat_range *r);
/**
 * slat_forget_tag - those of nested paging in the ASID @tag.  EPT's belong to no VPID; but where there is none (0), and
 * entries and exits drop what is above, L1 may clear dirty flags and expect to see them set again, as with KVM.
 */
void slat_forget_tag(struct x86_cpu *cpu, uint16_t tag);

#endif
