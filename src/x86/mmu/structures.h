/* SPDX-License-Identifier: MIT */
/*
 * Paging-structure caches: SDM 3A 4.10.3; APM 2, 5.5.2.  An address space knows where the last tables of recent walks
 * are, and a walk begins there.  context.c drops what it knows.
 */
#ifndef X86_MMU_STRUCTURES_H
#define X86_MMU_STRUCTURES_H

#include "x86/mmu/slat.h"

/* What one table of @level maps. */
static inline uint64_t psc_region(const struct walk *w, gva_t gva, unsigned int level)
{
	return gva >> (GUEST_PAGE_SHIFT + level * w->fmt->index_bits);
}

static inline struct psc_entry *psc_slot(struct mmu_space *s, uint64_t region, unsigned int level)
{
	return &s->psc[(region + (level - 1) * (PSC_ENTRIES / 2)) % PSC_ENTRIES];
}

static inline uint64_t psc_tag(const struct mmu_space *s, uint64_t region, unsigned int level)
{
	return (region * PSC_LEVELS + level - 1) * PSC_GENS + s->psc_gen;
}

/* Where a walk of the current address space can begin: *level and *table, if that is known. */
static inline bool psc_resume(struct x86_cpu *cpu, struct walk *w, gva_t gva, unsigned int *level, uint64_t *table)
{
	struct mmu_space *s = cpu->mmu->cur;

	if (unlikely(s->root != mmu_root(cpu)))
		return false;
	for (unsigned int n = 1; n <= PSC_LEVELS; n++) {
		uint64_t region = psc_region(w, gva, n);
		const struct psc_entry *e = psc_slot(s, region, n);

		if (e->tag != psc_tag(s, region, n))
			continue;
		w->resumed = true;
		w->all = e->all;
		w->no_exec = e->no_exec;
		w->resumed_at = e->table;
		*table = e->ntable;
		*level = n;
		return true;
	}
	return false;
}

/* A walk has come to its end in a table whose way from the top has every accessed flag set. */
static inline void psc_note(struct x86_cpu *cpu, const struct walk *w, gva_t gva, unsigned int level)
{
	struct mmu_space *s = cpu->mmu->cur;
	uint64_t region = psc_region(w, gva, level);

	/* Nothing new, or CR3's. */
	if ((w->resumed && level == w->top) || level > PSC_LEVELS || level == w->fmt->levels)
		return;
	*psc_slot(s, region, level) = (struct psc_entry){
		.tag = psc_tag(s, region, level), .table = w->at[level - 1] & GUEST_PAGE_MASK,
		.ntable = (w->nested ? w->ngpa : w->at)[level - 1] & GUEST_PAGE_MASK,
		.all = w->above, .no_exec = w->no_exec_above,
	};
}

#endif
