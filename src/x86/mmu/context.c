/* SPDX-License-Identifier: MIT */
/*
 * Contexts: which one is current, and what each architectural event drops.
 * SDM 3A 4.10.4.1 lists the latter; an entry may always be dropped early.
 */
#include <stdlib.h>

#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/slat.h"

#define GEN_LAST 4094
#define JUMP_GEN_ONE (1ULL << 57)       /* jump keys: 57 address bits, 5 of generation, 2 of code mode */

static void clear_words(uint64_t *p, size_t n, uint64_t value)
{
	__asm__ volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(value) : "memory");
}

static void flush_jumps(struct mmu_ctx *c)
{
	c->jump_key = (c->jump_key + JUMP_GEN_ONE) & JUMP_GEN_MASK;
	if (!c->jump_key) {
		for (unsigned int i = 0; i < JUMP_SIZE; i++)
			c->jump[i].key = ~0ULL;
		c->jump_floor = 0;
	}
	clear_words(c->jump_bloom, ARRAY_SIZE(c->jump_bloom), 0);
	clear_words(c->jump_regions, ARRAY_SIZE(c->jump_regions), 0);
}

/* The jump cache stays, so the filters that tell which large pages it may know of stay too. */
static void flush_tags(struct mmu_ctx *c)
{
	if (++c->gen > GEN_LAST) {
		c->gen = 1;
		for (unsigned int i = 0; i < TLB_SIZE; i++)
			c->d[i].tag_r = c->d[i].tag_w = TLB_NO_TAG;
		for (unsigned int i = 0; i < XTLB_SIZE; i++)
			c->x[i].tag = TLB_NO_TAG;
	}
	clear_words(c->gfn_bloom, ARRAY_SIZE(c->gfn_bloom), 0);
	c->keys[0] = c->keys[1] = 0;
}

void mmu_ctx_flush(struct mmu_ctx *c)
{
	flush_tags(c);
	flush_jumps(c);
	clear_words(c->large_bloom, ARRAY_SIZE(c->large_bloom), 0);
	c->huge = false;
}

static bool same_region(uint64_t tag, uint64_t gen, gva_t gva, unsigned int shift)
{
	return (tag & ~GUEST_PAGE_MASK) == gen && tag >> shift == gva >> shift;
}

static void flush_data_slot(struct mmu_ctx *c, unsigned int slot, gva_t gva, unsigned int shift)
{
	struct tlb_entry *e = &c->d[slot];

	if (same_region(e->tag_r, c->gen, gva, shift))
		e->tag_r = TLB_NO_TAG;
	if (same_region(e->tag_w, c->gen, gva, shift))
		e->tag_w = TLB_NO_TAG;
}

static void flush_fetch_slot(struct mmu_ctx *c, unsigned int slot, gva_t gva, unsigned int shift)
{
	if (same_region(c->x[slot].tag, c->gen, gva, shift))
		c->x[slot].tag = TLB_NO_TAG;
}

static bool region_has_jumps(const struct mmu_ctx *c, gva_t gva, unsigned int shift)
{
	const unsigned int words = ARRAY_SIZE(c->jump_regions);

	return shift > 22 || bloom_test(c->jump_regions, words, gva >> 21) ||
	       bloom_test(c->jump_regions, words, gva >> 21 ^ 1);
}

/* Drops the pieces of large pages in the 2^@shift bytes around @gva; @shift is 22 or 30. */
static void flush_region(struct mmu_ctx *c, gva_t gva, unsigned int shift)
{
	for (unsigned int i = 0; c->large_gen == c->gen && i < ARRAY_SIZE(c->large_d); i++) {
		for (uint64_t left = c->large_d[i]; left; left &= left - 1)
			flush_data_slot(c, i * 64 + (unsigned int)__builtin_ctzll(left), gva, shift);
		for (uint64_t left = c->large_x[i]; left; left &= left - 1)
			flush_fetch_slot(c, i * 64 + (unsigned int)__builtin_ctzll(left), gva, shift);
	}
	if (region_has_jumps(c, gva, shift))
		flush_jumps(c);
}

void mmu_ctx_flush_page(struct mmu_ctx *c, gva_t gva)
{
	struct tlb_entry *e = tlb_slot(c, gva);
	struct xtlb_entry *x = &c->x[(gva >> GUEST_PAGE_SHIFT) & (XTLB_SIZE - 1)];
	uint64_t tag = tlb_tag(c, gva & GUEST_PAGE_MASK, 1);

	if (e->tag_r == tag)
		e->tag_r = TLB_NO_TAG;
	if (e->tag_w == tag)
		e->tag_w = TLB_NO_TAG;
	if (x->tag == tag)
		x->tag = TLB_NO_TAG;
	if (bloom_test(c->jump_bloom, ARRAY_SIZE(c->jump_bloom), gva >> GUEST_PAGE_SHIFT))
		flush_jumps(c);
	/* The page may be a piece of a large one: then all pieces go. */
	if (c->huge)
		flush_region(c, gva, 30);
	else if (bloom_test(c->large_bloom, ARRAY_SIZE(c->large_bloom), gva >> 21))
		flush_region(c, gva, 22);       /* 4 MiB covers 2 MiB pages and those of 32-bit paging */
}

/* ---------------------------------------------------------------- selection */

static struct mmu_ctx *ctx_alloc(void)
{
	struct mmu_ctx *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	/* Zeroed entries are of generation 0, which no lookup has: their pages need not be touched. */
	c->gen = 1;
	c->jump_key = JUMP_GEN_ONE;
	return c;
}

struct mmu *mmu_create(struct x86_cpu *cpu)
{
	struct mmu *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	for (unsigned int i = 0; i < MMU_SPARES; i++) {
		m->spare[i] = ctx_alloc();
		if (!m->spare[i]) {
			mmu_destroy(m);
			return NULL;
		}
	}
	return m;
}

void mmu_destroy(struct mmu *m)
{
	if (!m)
		return;
	for (unsigned int s = 0; s < MMU_SPACES; s++)
		for (unsigned int c = 0; c < MMU_CLASSES; c++)
			free(m->space[s].ctx[c]);
	for (unsigned int i = 0; i < MMU_SPARES; i++)
		free(m->spare[i]);
	free(m);
}

/* Mode bits that an entry's rights were computed with. */
static uint32_t current_role(const struct x86_cpu *cpu)
{
	uint32_t role = 1;      /* a free slot has role 0 */

	if (cpu->cr0 & CR0_PG) {
		role |= (cpu->cr0 & CR0_WP) >> 15 | 1u << 2;
		role |= (cpu->cr4 & (CR4_PSE | CR4_PAE)) >> 1;                          /* bits 3, 4 */
		role |= (cpu->cr4 & (CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS)) >> 12;   /* 8 to 12 */
		role |= (cpu->cr4 & CR4_LA57) << 1;                                     /* 13 */
		role |= (cpu->efer & (EFER_LMA | EFER_NX)) << 5;                        /* 15, 16 */
	}
	return role;
}

static enum mmu_class current_class(const struct x86_cpu *cpu)
{
	if (cpu->cpl == 3)
		return (cpu->rflags & FL_AC) && (cpu->cr0 & CR0_AM) ? MMU_USER_AC : MMU_USER;
	return (cpu->rflags & FL_AC) && (cpu->cr4 & CR4_SMAP) ? MMU_SUPERVISOR_AC : MMU_SUPERVISOR;
}

static void drop_structures(struct mmu_space *s)
{
	if (++s->psc_gen < PSC_GENS)
		return;
	s->psc_gen = 1;
	for (unsigned int i = 0; i < PSC_ENTRIES; i++)
		s->psc[i].tag = 0;
}

static void space_recycle(struct mmu_space *s)
{
	drop_structures(s);
	clear_words(s->slat_bloom, ARRAY_SIZE(s->slat_bloom), 0);
	for (unsigned int c = 0; c < MMU_CLASSES; c++)
		if (s->ctx[c])
			mmu_ctx_flush(s->ctx[c]);
}

static bool same_slat(const struct x86_slat *a, const struct x86_slat *b)
{
	if (a->tag != b->tag || a->kind != b->kind || a->apic_page != b->apic_page)
		return false;
	return likely(a->kind == SLAT_NONE) || (a->root == b->root && a->flags == b->flags && a->levels == b->levels &&
						a->cr4 == b->cr4 && a->efer == b->efer);
}

static struct mmu_space *space_find(struct mmu *m, uint64_t root, uint16_t pcid, uint32_t role,
				    const struct x86_slat *slat)
{
	struct mmu_space *oldest = &m->space[0];

	for (unsigned int i = 0; i < MMU_SPACES; i++) {
		struct mmu_space *s = &m->space[i];

		if (s->root == root && s->pcid == pcid && s->role == role && same_slat(&s->slat, slat))
			return s;
		if (s->used < oldest->used)
			oldest = s;
	}
	space_recycle(oldest);
	oldest->root = root;
	oldest->pcid = pcid;
	oldest->role = role;
	oldest->slat = *slat;
	m->stats.contexts++;
	return oldest;
}

/* The longest unused context, taken from its space.  Never the current one: cpu->ctx still points to it. */
static struct mmu_ctx *take_oldest(struct x86_cpu *cpu)
{
	struct mmu *m = cpu->mmu;
	struct mmu_space *victim = NULL;
	enum mmu_class cls = 0;
	struct mmu_ctx *c;

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		for (unsigned int k = 0; k < MMU_CLASSES; k++)
			if (m->space[i].ctx[k] && m->space[i].ctx[k] != cpu->ctx &&
			    (!victim || m->space[i].used < victim->used)) {
				victim = &m->space[i];
				cls = k;
			}
	c = victim->ctx[cls];
	victim->ctx[cls] = NULL;
	m->live--;
	m->stats.recycled++;
	return c;
}

static struct mmu_ctx *spare_ctx(struct mmu *m)
{
	for (unsigned int i = 0; i < MMU_SPARES; i++) {
		struct mmu_ctx *c = m->spare[i];

		m->spare[i] = NULL;
		if (c)
			return c;
	}
	return NULL;
}

/* What the client allows, which is never less than what is needed at a time. */
static unsigned int limit(const struct x86_cpu *cpu)
{
	unsigned int n = cpu->ctx_limit ? atomic_load_explicit(cpu->ctx_limit, memory_order_relaxed) : 0;

	return !n ? MMU_SPACES * MMU_CLASSES : n < MMU_SPARES ? MMU_SPARES : n;
}

/* As many as are over the limit, which may have come down. */
void mmu_trim(struct x86_cpu *cpu)
{
	while (cpu->mmu->live > limit(cpu))
		free(take_oldest(cpu));
}

/* A new one; where there may be none, or is no memory for it, one that was in use. */
static struct mmu_ctx *ctx_get(struct x86_cpu *cpu)
{
	struct mmu *m = cpu->mmu;
	struct mmu_ctx *c = NULL;

	mmu_trim(cpu);
	if (m->live < limit(cpu)) {
		c = ctx_alloc();
		if (!c)
			c = spare_ctx(m);
	}
	if (!c) {
		c = take_oldest(cpu);
		mmu_ctx_flush(c);
	}
	m->live++;
	return c;
}

static struct mmu_ctx *space_ctx(struct x86_cpu *cpu, struct mmu_space *s, enum mmu_class cls)
{
	struct mmu_ctx *c = s->ctx[cls];

	if (likely(c))
		return c;
	x86_vec_put(cpu);
	c = ctx_get(cpu);
	c->space = s;
	c->cls = cls;
	s->ctx[cls] = c;
	return c;
}

static struct mmu_space *current_space(struct x86_cpu *cpu)
{
	struct mmu *m = cpu->mmu;
	uint32_t role = current_role(cpu);
	uint64_t root = ~0ULL;
	uint16_t pcid = 0;

	if (cpu->cr0 & CR0_PG) {
		root = mmu_root(cpu);
		pcid = cpu->cr4 & CR4_PCIDE ? cpu->cr3 & 0xfff : 0;
	}
	if (likely(m->cur && m->cur->root == root && m->cur->pcid == pcid && m->cur->role == role &&
		   same_slat(&m->cur->slat, &cpu->nested.slat)))
		return m->cur;
	m->cur = space_find(m, root, pcid, role, &cpu->nested.slat);
	m->cur->used = ++m->clock;
	return m->cur;
}

struct mmu_ctx *mmu_select(struct x86_cpu *cpu)
{
	return space_ctx(cpu, current_space(cpu), current_class(cpu));
}

struct mmu_ctx *mmu_system_ctx(struct x86_cpu *cpu)
{
	return space_ctx(cpu, current_space(cpu), MMU_SUPERVISOR);
}

/* -------------------------------------------------------------------- flushes */

static void for_each_ctx(struct x86_cpu *cpu, void (*fn)(struct mmu_ctx *c))
{
	struct mmu *m = cpu->mmu;

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		for (unsigned int k = 0; k < MMU_CLASSES; k++)
			if (m->space[i].ctx[k])
				fn(m->space[i].ctx[k]);
	m->stats.flushes++;
	x86_charge(cpu, 32);
}

void mmu_drop_structures(struct x86_cpu *cpu)
{
	for (unsigned int i = 0; i < MMU_SPACES; i++)
		drop_structures(&cpu->mmu->space[i]);
}

void mmu_flush_all(struct x86_cpu *cpu)
{
	for_each_ctx(cpu, mmu_ctx_flush);
	mmu_drop_structures(cpu);
	slat_forget(cpu, ~0ULL);
}

/* Drops the spaces that @fits takes. */
static void flush_spaces(struct x86_cpu *cpu, bool (*fits)(const struct mmu_space *s, uint64_t what), uint64_t what)
{
	struct mmu *m = cpu->mmu;

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		if (m->space[i].role && fits(&m->space[i], what))
			space_recycle(&m->space[i]);
	m->stats.flushes++;
	x86_charge(cpu, 32);
}

static bool of_tag(const struct mmu_space *s, uint64_t tag)
{
	return s->slat.tag == tag;
}

static bool of_root(const struct mmu_space *s, uint64_t root)
{
	return s->slat.kind != SLAT_NONE && (root == ~0ULL || s->slat.root == root);
}

void mmu_flush_tag(struct x86_cpu *cpu, uint16_t tag)
{
	flush_spaces(cpu, of_tag, tag);
	slat_forget_tag(cpu, tag);
}

static bool tagged(const struct mmu_space *s, uint64_t unused)
{
	return s->slat.tag;
}

void mmu_flush_tags(struct x86_cpu *cpu)
{
	flush_spaces(cpu, tagged, 0);
}

void mmu_flush_eptp(struct x86_cpu *cpu, uint64_t root)
{
	flush_spaces(cpu, of_root, root);
	slat_forget(cpu, root);
}

/* Does an entry of the space depend on a page of the range? */
static bool depends(const struct mmu_space *s, const struct mmu_slat_range *r)
{
	uint64_t region = r->first / SLAT_LARGE_PAGES, last = (r->first + r->pages - 1) / SLAT_LARGE_PAGES;

	/* Of so many regions one is hit. */
	if (!r->pages || last - region >= 8 * sizeof(s->slat_bloom))
		return true;
	for (; region <= last; region++)
		if (bloom_test(s->slat_bloom, ARRAY_SIZE(s->slat_bloom), region))
			return true;
	return false;
}

void mmu_flush_slat(struct x86_cpu *cpu, const struct mmu_slat_range *r)
{
	struct mmu *m = cpu->mmu;
	bool any = false;

	for (unsigned int i = 0; i < MMU_SPACES; i++) {
		if (!m->space[i].role || !of_root(&m->space[i], r->root) || !depends(&m->space[i], r))
			continue;
		space_recycle(&m->space[i]);
		any = true;
	}
	m->stats.flushes += any;
	slat_forget_range(cpu, r);
	x86_charge(cpu, 32);
}

void mmu_ask_flush_slat(struct x86_cpu *cpu, const struct mmu_slat_range *r, unsigned int count)
{
	struct slat_queue *q = &cpu->mmu->asked;

	for (unsigned int i = 0; i < count; i++) {
		uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

		if (tail - atomic_load_explicit(&q->head, memory_order_acquire) == SLAT_ASKED) {
			atomic_store(&q->all, true);
			break;
		}
		q->range[tail % SLAT_ASKED] = r[i];
		atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
	}
	x86_request(cpu, X86_REQ_SLAT_FLUSH);
}

void mmu_serve_flush_slat(struct x86_cpu *cpu)
{
	const struct mmu_slat_range all = { .root = ~0ULL };
	struct slat_queue *q = &cpu->mmu->asked;
	/* What comes in behind this has a request of its own. */
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_acquire), head = atomic_load(&q->head);

	if (atomic_exchange(&q->all, false))
		mmu_flush_slat(cpu, &all);
	else
		for (; head != tail; head++)
			mmu_flush_slat(cpu, &q->range[head % SLAT_ASKED]);
	atomic_store_explicit(&q->head, tail, memory_order_release);
}

void mmu_flush_current(struct x86_cpu *cpu)
{
	flush_spaces(cpu, of_tag, cpu->nested.slat.tag);
}

/* Which entries are global is not kept: they go as well. */
void mmu_flush_nonglobal(struct x86_cpu *cpu)
{
	mmu_flush_current(cpu);
}

void mmu_flush_pcid(struct x86_cpu *cpu, uint16_t pcid)
{
	struct mmu *m = cpu->mmu;

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		if (m->space[i].role && m->space[i].pcid == pcid && m->space[i].slat.tag == cpu->nested.slat.tag)
			space_recycle(&m->space[i]);
	m->stats.flushes++;
}

/* The page at @gva, and all paging structures, from the spaces of @tag: those of @pcid, or of any (-1). */
static void flush_page(struct x86_cpu *cpu, gva_t gva, uint16_t tag, int pcid)
{
	struct mmu *m = cpu->mmu;

	for (unsigned int i = 0; i < MMU_SPACES; i++) {
		struct mmu_space *s = &m->space[i];

		if (s->slat.tag != tag || (pcid >= 0 && s->pcid != pcid))
			continue;
		drop_structures(s);
		for (unsigned int k = 0; k < MMU_CLASSES; k++)
			if (s->ctx[k]) {
				/* A page of a large one is searched for. */
				x86_charge(cpu, s->ctx[k]->huge ? 32 : 2);
				mmu_ctx_flush_page(s->ctx[k], gva);
			}
	}
}

/* A global entry of the page may sit in any space of the guest's, so the page goes from each. */
void mmu_flush_page(struct x86_cpu *cpu, gva_t gva)
{
	flush_page(cpu, gva, cpu->nested.slat.tag, -1);
}

void mmu_flush_page_pcid(struct x86_cpu *cpu, gva_t gva, uint16_t pcid)
{
	flush_page(cpu, gva, cpu->nested.slat.tag, pcid);
}

void mmu_flush_tag_page(struct x86_cpu *cpu, uint16_t tag, gva_t gva)
{
	flush_page(cpu, gva, tag, -1);
	/* With nested paging what L1's tables said of that page must go, too; which it was is not kept. */
	slat_forget_tag(cpu, tag);
}

void mmu_load_cr3(struct x86_cpu *cpu, bool keep)
{
	if (!(cpu->cr4 & CR4_PCIDE))
		mmu_flush_pcid(cpu, 0);
	else if (!keep)
		mmu_flush_pcid(cpu, cpu->cr3 & 0xfff);
	cpu->ctx = mmu_select(cpu);
}

/* The keys of @c's entries whose two bits differ in @rights, as bits 2 * key. */
static uint32_t keys_changed(const struct mmu_ctx *c, unsigned int n, uint32_t rights)
{
	uint32_t differ = c->key_rights[n] ^ rights;

	return (differ | differ >> 1) & c->keys[n];
}

/* A program that gives itself a key and takes it back has seldom used pages of another meanwhile. */
void mmu_pkey_changed(struct x86_cpu *cpu)
{
	struct mmu *m = cpu->mmu;
	uint32_t rights[2] = { cpu->pkru, (uint32_t)cpu->pkrs };

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		for (unsigned int k = 0; k < MMU_CLASSES; k++) {
			struct mmu_ctx *c = m->space[i].ctx[k];

			if (!c || !(c->keys[0] | c->keys[1]))
				continue;
			if (keys_changed(c, 0, rights[0]) || keys_changed(c, 1, rights[1]))
				flush_tags(c);
			/* No entry depends on what else has changed. */
			c->key_rights[0] = rights[0];
			c->key_rights[1] = rights[1];
		}
	m->stats.flushes++;
	x86_charge(cpu, 8);
}

static void drop_writes(struct mmu_ctx *c)
{
	for (unsigned int i = 0; i < TLB_SIZE; i++)
		c->d[i].tag_w = TLB_NO_TAG;
	clear_words(c->gfn_bloom, ARRAY_SIZE(c->gfn_bloom), 0);
}

void mmu_drop_writes(struct x86_cpu *cpu)
{
	for_each_ctx(cpu, drop_writes);
}

void mmu_guard_gfn(struct x86_cpu *cpu, gfn_t gfn)
{
	struct mmu *m = cpu->mmu;

	for (unsigned int i = 0; i < MMU_SPACES; i++)
		for (unsigned int k = 0; k < MMU_CLASSES; k++) {
			struct mmu_ctx *c = m->space[i].ctx[k];

			if (!c || !bloom_test(c->gfn_bloom, ARRAY_SIZE(c->gfn_bloom), gfn))
				continue;
			for (unsigned int n = 0; n < TLB_SIZE; n++)
				if (c->d[n].gfn == gfn)
					c->d[n].tag_w = TLB_NO_TAG;
		}
}

void mmu_debug_changed(struct x86_cpu *cpu)
{
	for_each_ctx(cpu, flush_tags);
}

static void forget_blocks(struct mmu_ctx *c)
{
	flush_jumps(c);
	c->jump_floor = c->jump_key;
}

void mmu_forget_blocks(struct x86_cpu *cpu)
{
	for_each_ctx(cpu, forget_blocks);
}

void mmu_note_jump(struct mmu_ctx *c, gva_t gva)
{
	bloom_set(c->jump_bloom, ARRAY_SIZE(c->jump_bloom), gva >> GUEST_PAGE_SHIFT);
	bloom_set(c->jump_regions, ARRAY_SIZE(c->jump_regions), gva >> 21);
}

size_t mmu_ctx_bytes(void)
{
	return sizeof(struct mmu_ctx);
}

const struct mmu_stats *mmu_stats(const struct x86_cpu *cpu)
{
	return &cpu->mmu->stats;
}

/* -------------------------------------------------------------------- fetches */

enum mmu_status mmu_fetch(struct x86_cpu *cpu, gva_t rip, uint8_t **hva, gfn_t *gfn, struct mmu_result *result)
{
	struct mmu_ctx *c = cpu->ctx;
	struct xtlb_entry *x = &c->x[(rip >> GUEST_PAGE_SHIFT) & (XTLB_SIZE - 1)];
	uint64_t tag = tlb_tag(c, rip, 1);
	const struct memslot *slot;

	if (likely(x->tag == tag)) {
		*hva = x->hva;
		*gfn = x->gfn;
		return MMU_OK;
	}
	*result = mmu_walk(cpu, rip, MMU_EXEC, c->cls, true);
	if (unlikely(result->status == MMU_SLAT))
		mmu_slat_fault(cpu);
	if (result->status != MMU_OK)
		return result->status;
	if (unlikely(mmu_is_apic_page(cpu, result->gpa))) {
		cpu->nested.fault = (struct x86_slat_fault){ .gpa = result->gpa, .apic_page = true };
		mmu_slat_fault(cpu);
	}
	cpu->mmu->stats.fills++;
	slot = memslots_find(cpu->slots, gpa_to_gfn(result->gpa));
	if (!slot)
		return MMU_MMIO;
	*gfn = gpa_to_gfn(result->gpa);
	*hva = memslot_hva(slot, *gfn);
	mmu_touch(cpu, slot, result->gpa, MMU_EXEC);
	mmu_await(cpu, *hva, result->gpa, false);
	x->tag = tag;
	x->gfn = *gfn;
	x->hva = *hva;
	ctx_note_page(c, c->large_x, rip, result->page_shift);
	return MMU_OK;
}
