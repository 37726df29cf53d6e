/* SPDX-License-Identifier: MIT */
/*
 * Second-level translation: EPT (SDM 3C 28.3) and nested paging (APM 2, 15.25).
 * L2's guest-physical addresses to L1's, by tables that L1 has made.
 *
 * Translations are remembered, since every walk of L2's own tables needs one
 * for each of their entries.  What is remembered is L1's address, no host's, so
 * memslot changes do not matter; writes are remembered as allowed once the
 * dirty flag is set.  Of a large page 2 MiB are remembered at once.
 */
#include "x86/cpu/vec.h"
#include "x86/mmu/slat.h"

enum { RIGHT_R = 1 << MMU_READ, RIGHT_W = 1 << MMU_WRITE, RIGHT_X = 1 << MMU_EXEC, RIGHT_XU = 1 << 3 };

static uint8_t needed(const struct x86_cpu *cpu, enum mmu_access access, unsigned int how)
{
	if (access == MMU_EXEC && (cpu->nested.slat.flags & SLAT_MBEC) && (how & SLAT_OF_USER))
		return RIGHT_XU;
	return (uint8_t)(1u << access);
}

/* ------------------------------------------------------------------ what is remembered */

static struct slat_entry *small_slot(const struct x86_cpu *cpu, gfn_t gfn)
{
	return &cpu->mmu->slat[gfn % SLAT_SMALL];
}

static struct slat_entry *large_slot(const struct x86_cpu *cpu, gfn_t gfn)
{
	return &cpu->mmu->slat[SLAT_SMALL + gfn / SLAT_LARGE_PAGES % SLAT_LARGE];
}

static uint64_t entry_pages(const struct x86_cpu *cpu, const struct slat_entry *e)
{
	return e < cpu->mmu->slat + SLAT_SMALL ? 1 : SLAT_LARGE_PAGES;
}

/* ASIDs separate translations of nested paging; those of EPT belong to the table, whatever the VPID. */
static uint16_t cache_tag(const struct x86_slat *s)
{
	return s->kind == SLAT_NPT ? s->tag : 0;
}

static bool entry_fits(const struct x86_cpu *cpu, const struct slat_entry *e, gfn_t ngfn, uint8_t need)
{
	const struct x86_slat *s = &cpu->nested.slat;

	return e->ngfn == ngfn && e->rights && (e->rights & need) == need && e->root == s->root &&
	       e->tag == cache_tag(s) && e->flags == s->flags;
}

static bool cached(const struct x86_cpu *cpu, gpa_t gpa, uint8_t need, struct slat_result *r)
{
	gfn_t ngfn = gpa_to_gfn(gpa), within = ngfn % SLAT_LARGE_PAGES;
	const struct slat_entry *e = large_slot(cpu, ngfn);

	/* Large ones first: neighbours have one and the same. */
	if (!entry_fits(cpu, e, ngfn - within, need)) {
		e = small_slot(cpu, ngfn);
		if (!entry_fits(cpu, e, ngfn, need))
			return false;
		within = 0;
	}
	r->gpa = gfn_to_gpa(e->gfn + within) | (gpa & ~GUEST_PAGE_MASK);
	r->writable = e->rights & RIGHT_W;
	return true;
}

static void remember(struct x86_cpu *cpu, gpa_t gpa, const struct slat_result *r, uint8_t rights)
{
	const struct x86_slat *s = &cpu->nested.slat;
	gfn_t ngfn = gpa_to_gfn(gpa), within = r->large ? ngfn % SLAT_LARGE_PAGES : 0;

	*(r->large ? large_slot(cpu, ngfn) : small_slot(cpu, ngfn)) = (struct slat_entry){
		.root = s->root, .ngfn = ngfn - within, .gfn = gpa_to_gfn(r->gpa) - within, .tag = cache_tag(s),
		.flags = s->flags, .rights = rights,
	};
}

void slat_forget_range(struct x86_cpu *cpu, const struct mmu_slat_range *r)
{
	for (struct slat_entry *e = cpu->mmu->slat; e < cpu->mmu->slat + SLAT_ENTRIES; e++)
		if ((r->root == ~0ULL || e->root == r->root) &&
		    (!r->pages || (e->ngfn < r->first + r->pages && r->first < e->ngfn + entry_pages(cpu, e))))
			e->rights = 0;
}

void slat_forget(struct x86_cpu *cpu, uint64_t root)
{
	slat_forget_range(cpu, &(const struct mmu_slat_range){ .root = root });
}

void slat_forget_tag(struct x86_cpu *cpu, uint16_t tag)
{
	for (unsigned int n = 0; n < SLAT_ENTRIES; n++) {
		struct slat_entry *e = &cpu->mmu->slat[n];

		if (e->tag == tag && tag)
			e->rights = 0;
		else if (e->tag == tag && (e->flags & SLAT_AD))
			e->rights &= (uint8_t)~RIGHT_W;
	}
}

/* ------------------------------------------------------------------ EPT */

/* Bits 6:3 are the memory type of a leaf and reserved elsewhere; types 2, 3 and 7 are none.  SDM 3C 28.3.3.1. */
static bool misconfigured(const struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t e)
{
	uint8_t flags = cpu->nested.slat.flags;
	uint64_t exec = EPT_X | (flags & SLAT_MBEC ? EPT_XU : 0);
	uint64_t reserved = cpu->maxphyaddr < 52 ? walk_bits(cpu->maxphyaddr, 51) : 0;
	bool leaf = walk_is_leaf(w, level, e);

	if ((e & (EPT_R | EPT_W)) == EPT_W)
		return true;
	if (!(e & EPT_R) && (e & exec) && !(flags & SLAT_EXEC_ONLY))
		return true;
	if (leaf && level > 1)
		reserved |= walk_bits(12, 12 + 9 * (level - 1) - 1);
	if (!leaf)
		reserved |= walk_bits(3, level > 3 ? 7 : 6);
	if (e & reserved)
		return true;
	return leaf && (0x8c >> (e >> EPT_TYPE_SHIFT & 7) & 1);
}

static uint8_t ept_rights(uint64_t e)
{
	return (e & EPT_R ? RIGHT_R : 0) | (e & EPT_W ? RIGHT_W : 0) | (e & EPT_X ? RIGHT_X : 0) |
	       (e & EPT_XU ? RIGHT_XU : 0);
}

/* Is there an entry, and is it one?  With *rights so far; false: the fault is noted. */
static bool ept_entry(struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t e, uint8_t *rights)
{
	struct x86_slat_fault *f = &cpu->nested.fault;
	uint64_t present = w->fmt->present | (cpu->nested.slat.flags & SLAT_MBEC ? EPT_XU : 0);

	f->entry = e;
	*rights &= ept_rights(e);
	f->rwxu = *rights;
	if (!(e & present))
		return false;
	f->misconfig = misconfigured(cpu, w, level, e);
	return !f->misconfig;
}

/* ------------------------------------------------------------------ nested paging */

/* Every access counts as one of user mode; APM 2, 15.25.5. */
static bool npt_entry(struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t e, uint8_t *rights)
{
	struct x86_slat_fault *f = &cpu->nested.fault;

	f->entry = e;
	f->present = e & PT_P;
	if (!f->present)
		return false;
	/* PAE's top entries have no rights; their reserved bits are looked at when they are loaded, which here is never. */
	if (w->fmt->root_in_regs && level == w->fmt->levels)
		return true;
	f->reserved = e & walk_reserved(cpu, w, level, e);
	if (f->reserved)
		return false;
	if (!(e & PT_U))
		*rights = 0;
	if (!(e & PT_W))
		*rights &= (uint8_t)~RIGHT_W;
	if (w->fmt->no_exec && (e & w->fmt->no_exec))
		*rights &= (uint8_t)~RIGHT_X;
	return true;
}

/* ------------------------------------------------------------------ the walk */

static const struct pt_format *format(const struct x86_slat *s)
{
	if (s->kind == SLAT_NPT)
		return walk_format(s->cr4, s->efer);
	return s->levels == 5 ? &pt_format_ept5 : &pt_format_ept4;
}

static enum walk_ad set_flags(struct x86_cpu *cpu, struct walk *w, unsigned int level, enum mmu_access access)
{
	if (cpu->nested.slat.kind == SLAT_EPT && !(cpu->nested.slat.flags & SLAT_AD))
		return WALK_AD_DONE;
	return walk_set_accessed_dirty(cpu, w, level, access);
}

/* Is the access to set the dirty flag of @leaf, and is there no room to log it? */
static bool log_full(struct x86_cpu *cpu, gpa_t gpa, uint64_t leaf, const struct walk *w, enum mmu_access access)
{
	if (likely(!cpu->nested.log_dirty) || access != MMU_WRITE || !(cpu->nested.slat.flags & SLAT_AD) ||
	    (leaf & w->fmt->dirty))
		return false;
	x86_vec_put(cpu);
	cpu->nested.fault.log_full = !cpu->nested.ops->log_dirty(cpu, gpa);
	return cpu->nested.fault.log_full;
}

/* The top table's address.  With PAE its four entries are read from memory each time; APM 2, 15.25.10. */
static gpa_t top_table(const struct x86_cpu *cpu, const struct pt_format *fmt)
{
	uint64_t root = cpu->nested.slat.root;

	if (fmt->entry_bytes == 4)
		return root & walk_bits(12, 31);
	return fmt->root_in_regs ? root & walk_bits(5, 31) : root & walk_address_mask(cpu);
}

static bool walk_slat(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access, uint8_t need, struct slat_result *r,
		      uint8_t *rights, bool *again)
{
	const struct x86_slat *s = &cpu->nested.slat;
	const struct pt_format *fmt = format(s);
	gpa_t table = top_table(cpu, fmt);
	unsigned int level = fmt->levels;
	uint64_t e;
	enum walk_ad ad;
	struct walk w;

	/* Accessed flags begin below PAE's top entries, which have none. */
	w.top = fmt->root_in_regs ? level - 1 : level;
	w.fmt = fmt;
	w.cr4 = s->cr4;
	w.nx_reserved = s->kind == SLAT_NPT && !(s->efer & EFER_NX);
	w.nested = false;
	*rights = RIGHT_R | RIGHT_W | RIGHT_X | RIGHT_XU;
	/* Nested tables reach no further than L1's own addresses: nothing is present beyond. */
	if (s->kind == SLAT_NPT && gpa >> (fmt->levels < 4 ? 32 : GUEST_PAGE_SHIFT + fmt->levels * fmt->index_bits))
		return false;
	for (;; level--) {
		unsigned int shift = GUEST_PAGE_SHIFT + (level - 1) * fmt->index_bits;
		uint64_t index = gpa >> shift & ((1ULL << fmt->index_bits) - 1);

		/* A table where there is no memory reads as one without entries. */
		if (!walk_fetch(cpu, &w, level, table + index * fmt->entry_bytes, &e))
			e = 0;
		if (s->kind == SLAT_EPT ? !ept_entry(cpu, &w, level, e, rights) : !npt_entry(cpu, &w, level, e, rights))
			return false;
		if (walk_is_leaf(&w, level, e))
			break;
		table = e & (fmt->entry_bytes == 4 ? walk_bits(12, 31) : walk_address_mask(cpu));
	}
	if ((*rights & need) != need)
		return false;
	if (log_full(cpu, gpa, e, &w, access))
		return false;
	ad = set_flags(cpu, &w, level, access);
	*again = ad == WALK_AD_CHANGED;
	r->gpa = walk_leaf_address(cpu, &w, level, e, gpa);
	r->large = level > 1;
	if ((s->kind == SLAT_NPT || (s->flags & SLAT_AD)) && !(w.entry[level - 1] & fmt->dirty))
		*rights &= (uint8_t)~RIGHT_W;
	r->writable = *rights & RIGHT_W;
	return true;
}

/* Not in line: what is remembered is found without a stack. */
static __attribute__((noinline)) bool translate(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access, unsigned int how,
						uint8_t need, struct slat_result *r)
{
	uint8_t rights;
	bool again, ok;

	cpu->nested.fault = (struct x86_slat_fault){
		.gpa = gpa, .access = access, .table = how & SLAT_OF_TABLE,
		.table_write = (how & SLAT_OF_TABLE) && access == MMU_WRITE, .user = how & SLAT_OF_USER,
	};
	cpu->mmu->stats.slat_walks++;
	x86_charge(cpu, 4);
	do {
		again = false;
		ok = walk_slat(cpu, gpa, access, need, r, &rights, &again);
	} while (again);
	if (ok)
		remember(cpu, gpa, r, rights);
	return ok;
}

bool slat_translate(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access, unsigned int how, struct slat_result *r)
{
	uint8_t need = needed(cpu, access, how);

	/* EPT with accessed and dirty flags: a table is read and written. */
	if ((how & SLAT_OF_TABLE) && access == MMU_WRITE && cpu->nested.slat.kind == SLAT_EPT)
		need |= RIGHT_R;
	bloom_set(cpu->mmu->cur->slat_bloom, ARRAY_SIZE(cpu->mmu->cur->slat_bloom), gpa_to_gfn(gpa) / SLAT_LARGE_PAGES);
	return cached(cpu, gpa, need, r) || translate(cpu, gpa, access, how, need, r);
}

enum mmu_access slat_table_access(const struct x86_cpu *cpu)
{
	const struct x86_slat *s = &cpu->nested.slat;

	return s->kind == SLAT_NPT || (s->flags & SLAT_AD) ? MMU_WRITE : MMU_READ;
}

bool slat_table_writable(struct x86_cpu *cpu, gpa_t gpa)
{
	struct slat_result r;

	return slat_translate(cpu, gpa, MMU_WRITE, SLAT_OF_TABLE, &r);
}

bool slat_translate_table(struct x86_cpu *cpu, gpa_t *gpa)
{
	struct slat_result r;

	if (!slat_translate(cpu, *gpa, slat_table_access(cpu), SLAT_OF_TABLE, &r))
		return false;
	*gpa = r.gpa;
	return true;
}

gpa_t mmu_slat_gpa(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access)
{
	struct slat_result r;

	if (!slat_translate(cpu, gpa, access, 0, &r))
		mmu_slat_fault(cpu);
	return r.gpa;
}

void mmu_slat_fault(struct x86_cpu *cpu)
{
	x86_vec_put(cpu);
	cpu->nested.ops->slat_fault(cpu);
}
