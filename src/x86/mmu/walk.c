/* SPDX-License-Identifier: MIT */
/*
 * The walker: one loop for every format.  SDM 3A chapter 4.
 *
 * It reads the tables where they are, in the client's memory, and sets accessed
 * and dirty bits by compare-and-exchange there, since another vCPU or the client
 * may write the same entry.  A table outside slots reads as not present, as it
 * does in KVM.
 */
#include "x86/cpu/block.h"
#include "x86/features.h"
#include "x86/mmu/format.h"
#include "x86/mmu/slat.h"
#include "x86/mmu/structures.h"

const struct pt_format *walk_format(uint64_t cr4, uint64_t efer)
{
	if (!(cr4 & CR4_PAE))
		return &pt_format_32;
	if (!(efer & EFER_LMA))
		return &pt_format_pae;
	return cr4 & CR4_LA57 ? &pt_format_long5 : &pt_format_long4;
}

/* Bits that must be zero in @entry at @level.  SDM 3A tables 4-4 to 4-20. */
uint64_t walk_reserved(const struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t entry)
{
	bool leaf = level > 1 && (entry & w->fmt->page_size);
	uint64_t r;

	if (w->fmt->entry_bytes == 4) {
		if (!leaf || level == 1 || !(w->cr4 & CR4_PSE))
			return 0;
		/* PSE-36: bits 20:13 are physical address 39:32, as far as MAXPHYADDR goes. */
		r = 1ULL << 21;
		if (!x86_has(cpu, X86_F_PSE36))
			r |= walk_bits(13, 20);
		else if (cpu->maxphyaddr < 40)
			r |= walk_bits(13 + cpu->maxphyaddr - 32, 20);
		return r;
	}
	r = cpu->maxphyaddr < 52 ? walk_bits(cpu->maxphyaddr, 51) : 0;
	if (w->nx_reserved)
		r |= PT_NX;
	if (w->fmt == &pt_format_pae)
		r |= walk_bits(52, 62);
	/* AMD's top two levels reserve G as well; APM 2, figures 5-19 and 5-20. */
	if (level >= 4 && !x86_is_intel(cpu))
		r |= PT_G;
	if (leaf && (!(w->fmt->leaf_levels >> level & 1) || (level == 3 && !x86_has(cpu, X86_F_PDPE1GB))))
		return r | PT_PS;
	if (leaf)
		r |= walk_bits(13, 12 + 9 * (level - 1) - 1);
	return r;
}

/* Are these address bits alone, which the host has and the guest has not? */
static bool beyond_guest_only(const struct x86_cpu *cpu, uint64_t reserved)
{
	return cpu->host_maxphyaddr > cpu->maxphyaddr &&
	       !(reserved & ~walk_bits(cpu->maxphyaddr, cpu->host_maxphyaddr - 1u));
}

bool walk_fetch(struct x86_cpu *cpu, struct walk *w, unsigned int level, gpa_t at, uint64_t *entry)
{
	const struct memslot *slot = memslots_find(cpu->slots, gpa_to_gfn(at));
	uint8_t *p;

	if (!slot)
		return false;
	p = memslot_hva(slot, gpa_to_gfn(at));
	mmu_await(cpu, p, at, false);
	p += at & ~GUEST_PAGE_MASK;
	*entry = w->fmt->entry_bytes == 4 ? *(volatile uint32_t *)p : *(volatile uint64_t *)p;
	w->entry[level - 1] = *entry;
	w->where[level - 1] = p;
	w->slot[level - 1] = slot;
	w->at[level - 1] = at;
	return true;
}

bool walk_is_leaf(const struct walk *w, unsigned int level, uint64_t entry)
{
	if (level == 1)
		return true;
	if (!(entry & w->fmt->page_size) || !(w->fmt->leaf_levels >> level & 1))
		return false;
	return w->fmt->entry_bytes == 8 || (w->cr4 & CR4_PSE);
}

/* Protection keys, SDM 3A 4.6.2: true where the key of this leaf forbids the access, whatever else does. */
static bool pkey_forbids(const struct x86_cpu *cpu, uint64_t leaf, bool user_page, enum mmu_access access,
			 bool user_access)
{
	unsigned int key = leaf >> PT_PKEY_SHIFT & 15;
	uint64_t rights;

	if (access == MMU_EXEC || !x86_long_mode(cpu))
		return false;
	if (user_page) {
		if (!(cpu->cr4 & CR4_PKE))
			return false;
		rights = cpu->pkru;
	} else {
		if (!(cpu->cr4 & CR4_PKS))
			return false;
		rights = cpu->pkrs;
	}
	rights = rights >> (2 * key) & 3;
	if (rights & 1)
		return true;
	return (rights & 2) && access == MMU_WRITE && ((user_page && user_access) || (cpu->cr0 & CR0_WP));
}

/* Whether the rights that the walk collected allow @access, keys aside.  SDM 3A 4.6.1. */
static bool rights_permit(const struct x86_cpu *cpu, const struct walk *w, enum mmu_access access, enum mmu_class cls)
{
	bool user_page = w->all & PT_U, user = cls == MMU_USER || cls == MMU_USER_AC;

	if (user && !user_page)
		return false;
	if (access == MMU_EXEC) {
		if (w->no_exec)
			return false;
		return user || !user_page || !(cpu->cr4 & CR4_SMEP);
	}
	if (!user && user_page && (cpu->cr4 & CR4_SMAP) && cls == MMU_SUPERVISOR)
		return false;
	return access != MMU_WRITE || (w->all & PT_W) || !(user || (cpu->cr0 & CR0_WP));
}

/* *pk: a key forbade it; the error code says so even where something else did too.  SDM 3A 4.7. */
static bool permits(const struct x86_cpu *cpu, const struct walk *w, uint64_t leaf, enum mmu_access access,
		    enum mmu_class cls, bool *pk)
{
	*pk = pkey_forbids(cpu, leaf, w->all & PT_U, access, cls == MMU_USER || cls == MMU_USER_AC);
	return rights_permit(cpu, w, access, cls) && !*pk;
}

static struct mmu_result fault(const struct x86_cpu *cpu, enum mmu_access access, enum mmu_class cls, uint32_t ec)
{
	if (access == MMU_WRITE)
		ec |= PF_W;
	if (cls == MMU_USER || cls == MMU_USER_AC)
		ec |= PF_U;
	/* SDM 3A 4.7: the I/D flag only means something with NX or SMEP in use. */
	if (access == MMU_EXEC && (((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NX)) || (cpu->cr4 & CR4_SMEP)))
		ec |= PF_I;
	return (struct mmu_result){ .status = MMU_FAULT, .error_code = ec };
}

/* ORs @set into the entry at @level, unless it has changed since it was read: then the walk is to be done again. */
static bool set_bits(struct x86_cpu *cpu, struct walk *w, unsigned int level, uint64_t set)
{
	uint64_t old = w->entry[level - 1];
	gpa_t at = w->at[level - 1];
	void *p = w->where[level - 1];

	if (code_gfn_guarded(cpu->code, gpa_to_gfn(at)))
		code_written(cpu, at, w->fmt->entry_bytes, NULL);
	if (w->fmt->entry_bytes == 4) {
		uint32_t old32 = old;

		if (!__atomic_compare_exchange_n((uint32_t *)p, &old32, old32 | (uint32_t)set, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return false;
	} else if (!__atomic_compare_exchange_n((uint64_t *)p, &old, old | set, false,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
		return false;
	}
	mmu_mark_dirty(cpu, w->slot[level - 1], gpa_to_gfn(at));
	return true;
}

/*
 * Sets what is missing.  Tables in a read-only slot stay as they are: they are
 * meant to have the bits already.
 */
enum walk_ad walk_set_accessed_dirty(struct x86_cpu *cpu, struct walk *w, unsigned int leaf_level, enum mmu_access access)
{
	for (unsigned int level = w->top; level >= leaf_level; level--) {
		uint64_t set = w->fmt->accessed;

		if (level == leaf_level && access == MMU_WRITE)
			set |= w->fmt->dirty;
		set &= ~w->entry[level - 1];
		if (!set)
			continue;
		if (memslot_readonly(w->slot[level - 1]))
			continue;
		if (w->nested && !slat_table_writable(cpu, w->ngpa[level - 1]))
			return WALK_AD_FORBIDDEN;
		if (!set_bits(cpu, w, level, set))
			return WALK_AD_CHANGED;
		w->entry[level - 1] |= set;
	}
	return WALK_AD_DONE;
}

gpa_t walk_leaf_address(const struct x86_cpu *cpu, const struct walk *w, unsigned int level, uint64_t leaf, uint64_t gva)
{
	unsigned int shift = GUEST_PAGE_SHIFT + (level - 1) * w->fmt->index_bits;
	uint64_t offset = gva & ((1ULL << shift) - 1);

	if (w->fmt->entry_bytes == 4 && level == 2)
		return (leaf & walk_bits(22, 31)) | (leaf & walk_bits(13, 20)) << 19 | offset;
	if (w->fmt->entry_bytes == 4)
		return (leaf & walk_bits(12, 31)) | offset;
	return (leaf & walk_address_mask(cpu) & ~((1ULL << shift) - 1)) | offset;
}

static struct mmu_result slat_failed(void)
{
	return (struct mmu_result){ .status = MMU_SLAT };
}

/* An entry of the guest's own tables; with a second level below them, where that lets it be read.  false: *r says why. */
static bool guest_entry(struct x86_cpu *cpu, struct walk *w, unsigned int level, gpa_t at, uint64_t *entry,
			struct mmu_result *r)
{
	struct slat_result s;

	if (unlikely(w->nested)) {
		w->ngpa[level - 1] = at;
		if (w->resumed && level == w->top)
			return walk_fetch(cpu, w, level, w->resumed_at | (at & ~GUEST_PAGE_MASK), entry);
		if (!slat_translate(cpu, at, slat_table_access(cpu), SLAT_OF_TABLE, &s)) {
			*r = slat_failed();
			return false;
		}
		at = s.gpa;
		if (unlikely(mmu_is_apic_page(cpu, at))) {
			cpu->nested.fault = (struct x86_slat_fault){ .gpa = at, .apic_page = true, .table = true };
			*r = slat_failed();
			return false;
		}
	}
	return walk_fetch(cpu, w, level, at, entry);
}

/* The page that a walk has found, below the second level: *r is changed to what both give together. */
static void through_slat(struct x86_cpu *cpu, struct mmu_result *r, enum mmu_access access)
{
	struct slat_result s;

	if (!slat_translate(cpu, r->gpa, access, r->user ? SLAT_OF_USER : 0, &s)) {
		*r = slat_failed();
		return;
	}
	r->gpa = s.gpa;
	r->writable &= s.writable;
}

/* What of a walk must be so before its first entry; the rest comes with them. */
static void walk_begin(const struct x86_cpu *cpu, struct walk *w)
{
	w->fmt = walk_format(cpu->cr4, cpu->efer);
	w->cr4 = cpu->cr4;
	w->no_exec = false;
	w->nx_reserved = w->fmt->no_exec && !(cpu->efer & EFER_NX);
	w->nested = cpu->nested.slat.kind;
	w->resumed = false;
}

/* The top table and its level: *r is a fault where there is none. */
static bool walk_top(struct x86_cpu *cpu, struct walk *w, gva_t gva, uint64_t *table, struct mmu_result *r)
{
	uint64_t e;

	w->top = w->fmt->levels;
	w->all = PT_W | PT_U;
	if (!w->fmt->root_in_regs) {
		*table = cpu->cr3 & (w->fmt->entry_bytes == 4 ? walk_bits(12, 31) : walk_address_mask(cpu));
		return true;
	}
	w->top--;
	e = cpu->pdpte[gva >> 30 & 3];
	*table = e & walk_address_mask(cpu);
	if (likely((e & PT_P) && mmu_pdpte_valid(cpu, e)))
		return true;
	r->error_code |= e & PT_P ? PF_P | PF_RSVD : 0;
	return false;
}

static bool entry_good(const struct x86_cpu *cpu, struct walk *w, unsigned int level, uint64_t e, struct mmu_result *r)
{
	uint64_t reserved;

	if (!(e & w->fmt->present))
		return false;
	reserved = e & walk_reserved(cpu, w, level, e);
	if (likely(!reserved))
		return true;
	r->error_code |= PF_P | PF_RSVD | (beyond_guest_only(cpu, reserved) ? PF_BEYOND : 0);
	return false;
}

/*
 * @resume: from where a paging-structure cache says.  w->resumed tells that it did: an end that is no success then
 * is none that the tables as they are need give.
 */
static struct mmu_result walk_once(struct x86_cpu *cpu, struct walk *w, gva_t gva, enum mmu_access access,
				   enum mmu_class cls, bool set_ad, bool resume, bool *again)
{
	struct mmu_result r = fault(cpu, access, cls, 0);
	enum walk_ad ad = WALK_AD_DONE;
	unsigned int level;
	uint64_t table, e;
	bool pk;

	if (!resume || !psc_resume(cpu, w, gva, &w->top, &table))
		if (!walk_top(cpu, w, gva, &table, &r))
			return r;
	for (level = w->top;; level--) {
		unsigned int shift = GUEST_PAGE_SHIFT + (level - 1) * w->fmt->index_bits;
		uint64_t index = gva >> shift & ((1ULL << w->fmt->index_bits) - 1);

		if (!guest_entry(cpu, w, level, table + index * w->fmt->entry_bytes, &e, &r) ||
		    !entry_good(cpu, w, level, e, &r))
			return r;
		w->above = w->all;
		w->no_exec_above = w->no_exec;
		w->all &= e;
		w->no_exec |= w->fmt->no_exec && (e & w->fmt->no_exec);
		if (walk_is_leaf(w, level, e))
			break;
		table = e & (w->fmt->entry_bytes == 4 ? walk_bits(12, 31) : walk_address_mask(cpu));
	}
	if (!permits(cpu, w, e, access, cls, &pk)) {
		r.error_code |= PF_P | (pk ? PF_PK : 0);
		return r;
	}
	if (set_ad)
		ad = walk_set_accessed_dirty(cpu, w, level, access);
	if (ad == WALK_AD_FORBIDDEN)
		return slat_failed();
	if (ad == WALK_AD_CHANGED) {
		*again = true;
		return r;
	}
	if (set_ad)
		psc_note(cpu, w, gva, level);
	r = (struct mmu_result){
		.status = MMU_OK,
		.gpa = walk_leaf_address(cpu, w, level, e, gva),
		.page_shift = GUEST_PAGE_SHIFT + (level - 1) * w->fmt->index_bits,
		.dirty = w->entry[level - 1] & w->fmt->dirty,
		.global = (e & w->fmt->global) && (cpu->cr4 & CR4_PGE),
		.user = w->all & PT_U,
		.key = w->fmt->entry_bytes == 8 ? e >> PT_PKEY_SHIFT & 15 : 0,
	};
	r.writable = permits(cpu, w, e, MMU_WRITE, cls, &pk);
	if (unlikely(w->nested))
		through_slat(cpu, &r, access);
	return r;
}

/*
 * Stale structures may give rights that are gone, until the guest drops them; never a fault that the tables do not give:
 * a processor forgets what it used for a translation that faults (SDM 3A 4.10.4.1), and walks again.
 */
static struct mmu_result walk_paged(struct x86_cpu *cpu, gva_t gva, enum mmu_access access, enum mmu_class cls,
				    bool set_ad)
{
	bool resume = set_ad, again;
	struct mmu_result r;

	cpu->mmu->stats.walks++;
	x86_charge(cpu, 4);
	do {
		struct walk w;

		walk_begin(cpu, &w);
		again = false;
		r = walk_once(cpu, &w, gva, access, cls, set_ad, resume, &again);
		if (w.resumed && r.status != MMU_OK) {
			again = true;
			resume = false;
		}
		cpu->mmu->stats.resumed += w.resumed && r.status == MMU_OK;
	} while (again);
	return r;
}

/* Without paging a linear address is the guest's physical one, and of a user page to the second level. */
static struct mmu_result unpaged(struct x86_cpu *cpu, gva_t gva, enum mmu_access access)
{
	struct mmu_result r = { .status = MMU_OK, .gpa = (uint32_t)gva, .page_shift = GUEST_PAGE_SHIFT,
				.writable = true, .dirty = true };

	if (unlikely(cpu->nested.slat.kind)) {
		r.user = true;
		through_slat(cpu, &r, access);
	}
	return r;
}

struct mmu_result mmu_walk(struct x86_cpu *cpu, gva_t gva, enum mmu_access access, enum mmu_class cls, bool set_ad)
{
	struct mmu_result r;

	r = cpu->cr0 & CR0_PG ? walk_paged(cpu, gva, access, cls, set_ad) : unpaged(cpu, gva, access);
	if (unlikely(r.status == MMU_SLAT)) {
		cpu->nested.fault.gva = gva;
		cpu->nested.fault.gva_valid = true;
	}
	return r;
}

bool mmu_pdpte_valid(const struct x86_cpu *cpu, uint64_t e)
{
	/* SDM 3A table 4-8: P, PWT, PCD, ignored 11:9 and the address may be set. */
	uint64_t allowed = PT_P | 1ULL << 3 | 1ULL << 4 | walk_bits(9, 11) | walk_address_mask(cpu);

	return !(e & PT_P) || !(e & ~allowed);
}

/* AMD's processors with nested paging look at an entry when they walk through it.  APM 2, 15.25.10. */
static bool checked_in_walks(const struct x86_cpu *cpu)
{
	return cpu->nested.slat.kind == SLAT_NPT;
}

int mmu_load_pdptes(struct x86_cpu *cpu, uint64_t cr3)
{
	gpa_t at = cr3 & walk_bits(5, 31);
	uint64_t e[4];

	if (unlikely(cpu->nested.slat.kind) && !slat_translate_table(cpu, &at))
		mmu_slat_fault(cpu);
	if (phys_read(cpu, at, e, sizeof(e)))
		return -22 /* EINVAL */;
	for (int i = 0; i < 4; i++)
		if (!checked_in_walks(cpu) && !mmu_pdpte_valid(cpu, e[i]))
			return -22;
	for (int i = 0; i < 4; i++)
		cpu->pdpte[i] = e[i];
	mmu_drop_structures(cpu);
	cpu->mmu->stats.pdpte_loads++;
	return 0;
}
