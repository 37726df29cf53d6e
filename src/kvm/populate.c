/* SPDX-License-Identifier: MIT */
/*
 * KVM_PRE_FAULT_MEMORY (api.rst 4.143 of Linux 6.12): a range of guest memory
 * is made resident, as if the vCPU had read each of its pages.  There are no
 * tables below the guest's own to be filled: what an access finds then is memory
 * behind the slot, and a page that is not used for the first time.
 */
#include <errno.h>

#include "anykvm.h"
#include "host/populate.h"
#include "host/wait.h"
#include "kvm/arch.h"
#include "kvm/ioctl.h"
#include "kvm/populate.h"
#include "kvm/slots.h"
#include "kvm/vcpu.h"

_Static_assert(sizeof(struct kvm_pre_fault_memory) == 64, "UAPI");
_Static_assert((uint32_t)KVM_PRE_FAULT_MEMORY == 0xc040aed5, "UAPI");

#define PIECE_PAGES 512u        /* between two looks at signals, and at slots that change */

static const struct memslot *find(struct vcpu *vcpu, gfn_t gfn)
{
	const struct kvm_arch *arch = vcpu->vm->arch;
	unsigned int as = arch->vcpu_address_space ? arch->vcpu_address_space(vcpu) : 0;

	return memslots_find(vcpu->slots[as], gfn);
}

static int populate(struct vcpu *vcpu, const struct memslot *slot, gfn_t gfn, uint64_t pages)
{
	int r = host_populate(memslot_hva(slot, gfn), pages << GUEST_PAGE_SHIFT, false);

	/* A device's registers are there without being populated. */
	if (r && r != -EINVAL)
		return r;
	for (uint64_t n = 0; n < pages; n++)
		memslot_touch(slot, gfn + n);
	kvm_stat_add(&vcpu->stats, KVM_VCPU_STAT_PAGES_PREFAULTED, pages);
	return 0;
}

/* At most PIECE_PAGES of one slot, from @gfn on.  Returns how many, or -errno. */
static long populate_piece(struct vcpu *vcpu, gfn_t gfn, uint64_t pages)
{
	const struct memslot *slot = find(vcpu, gfn);
	int r;

	if (!slot)
		return -ENOENT;
	if (pages > slot->npages - (gfn - slot->base_gfn))
		pages = slot->npages - (gfn - slot->base_gfn);
	if (pages > PIECE_PAGES)
		pages = PIECE_PAGES;
	r = populate(vcpu, slot, gfn, pages);
	/* Something in there cannot be had: what is before it can. */
	if (r && pages > 1) {
		pages = 1;
		r = populate(vcpu, slot, gfn, pages);
	}
	return r ? r : (long)pages;
}

/* As often as there is more: another thread may wait for this vCPU to see its change of slots. */
static void let_others_in(struct vcpu *vcpu)
{
	kvm_vcpu_leave(vcpu);
	kvm_vcpu_enter(vcpu);
}

long kvm_pre_fault_memory(struct kvm_call *c)
{
	struct kvm_pre_fault_memory *range = c->data;
	uint64_t whole = range->size;
	long n = 0;

	if (range->flags || (range->gpa | range->size) % GUEST_PAGE_SIZE || range->gpa + range->size <= range->gpa)
		return -EINVAL;
	while (range->size) {
		n = -EINTR;
		if (host_signal_pending(c->sigmask))
			break;
		n = populate_piece(c->vcpu, gpa_to_gfn(range->gpa), range->size >> GUEST_PAGE_SHIFT);
		if (n < 0)
			break;
		range->gpa += (uint64_t)n << GUEST_PAGE_SHIFT;
		range->size -= (uint64_t)n << GUEST_PAGE_SHIFT;
		let_others_in(c->vcpu);
	}
	/* What is done is done: the range says what is left. */
	return range->size == whole ? n : 0;
}
