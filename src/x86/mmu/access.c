/* SPDX-License-Identifier: MIT */
/* Filling the software TLB: which rights an entry may grant without another look. */
#include "x86/cpu/block.h"
#include "x86/cpu/debug.h"
#include "x86/mmu/internal.h"

/*
 * A page that a logged slot holds keeps its write tag only while its dirty bit
 * is set: KVM_GET_DIRTY_LOG drops the tags when it clears the bits.
 */
static void fill(struct x86_cpu *cpu, struct mmu_ctx *c, gva_t gva, const struct mmu_result *r, uint8_t *page,
		 bool may_write)
{
	struct tlb_entry *e = tlb_slot(c, gva);
	uint64_t tag = tlb_tag(c, gva, 1);

	if (c->cls == MMU_USER_AC || x86_debug_data_page(cpu, gva))
		return;
	e->addend = (uintptr_t)page - (gva & GUEST_PAGE_MASK);
	e->gfn = gpa_to_gfn(r->gpa);
	e->tag_r = tag;
	e->tag_w = may_write ? tag : TLB_NO_TAG;
	if (may_write)
		bloom_set(c->gfn_bloom, ARRAY_SIZE(c->gfn_bloom), e->gfn);
	ctx_note_key(c, cpu, r);
	ctx_note_page(c, c->large_d, gva, r->page_shift);
	cpu->mmu->stats.fills++;
}

enum mmu_status mmu_access(struct x86_cpu *cpu, gva_t gva, enum mmu_access access, enum mmu_class cls,
			   struct mmu_target *t, uint32_t *error_code)
{
	struct mmu_result r = mmu_walk(cpu, gva, access, cls, true);
	gfn_t gfn = gpa_to_gfn(r.gpa);
	const struct memslot *slot;
	uint8_t *page;
	bool readonly;

	if (unlikely(r.status == MMU_SLAT))
		mmu_slat_fault(cpu);
	if (r.status != MMU_OK) {
		*error_code = r.error_code;
		return MMU_FAULT;
	}
	t->gpa = r.gpa;
	t->hva = NULL;
	t->guarded = false;
	slot = memslots_find(cpu->slots, gfn);
	if (!slot || mmu_is_apic_page(cpu, r.gpa))
		return MMU_OK;
	readonly = memslot_readonly(slot);
	if (readonly && access == MMU_WRITE)
		return MMU_OK;
	mmu_touch(cpu, slot, r.gpa, access);
	page = memslot_hva(slot, gfn);
	mmu_await(cpu, page, t->gpa, access == MMU_WRITE);
	t->hva = page + (gva & ~GUEST_PAGE_MASK);
	t->guarded = code_gfn_guarded(cpu->code, gfn);
	if (access == MMU_WRITE)
		mmu_mark_dirty(cpu, slot, gfn);
	if (cls == cpu->ctx->cls)
		fill(cpu, cpu->ctx, gva, &r, page, !readonly && !t->guarded &&
		     (access == MMU_WRITE || (r.writable && r.dirty && !slot->dirty)));
	return MMU_OK;
}
