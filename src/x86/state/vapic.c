// SPDX-License-Identifier: MIT
/*
 * The virtual-APIC page of KVM_SET_VAPIC_ADDR (api.rst, KVM_TPR_ACCESS_REPORTING).
 *
 * A word of guest memory stands for TPR while guest code runs: byte 0 is TPR,
 * which code that the client has patched reads and writes there; byte 1 is the
 * class in service and byte 3 the highest request, by which that code knows
 * whether lowering TPR lets an interrupt in.  The word is the truth from
 * x86_vapic_publish() to the next x86_vapic_collect(), the register is
 * otherwise.
 *
 * In the same way a bit of guest memory stands for the end of an interrupt: see
 * pv/eoi.c.
 */
#include <errno.h>

#include "kvm/memslot.h"
#include "x86/pv/eoi.h"
#include "x86/state/state.h"

#define CLASS 0xf0

long x86_ioctl_set_vapic_addr(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_vapic_addr addr;
	uint32_t word;

	if (!v->has_lapic)
		return -EINVAL;
	if (kvm_copy_in(&addr, c->arg, sizeof(addr)))
		return -EFAULT;
	if (addr.vapic_addr && x86_guest_read(v, addr.vapic_addr, &word, sizeof(word)))
		return -EINVAL;
	v->vapic_gpa = addr.vapic_addr;
	v->vapic_published = false;
	return 0;
}

bool x86_vapic_collect(struct x86_vcpu *v)
{
	bool eoi = v->pv_eoi.pending;
	uint32_t word;

	if (unlikely(eoi))
		x86_pv_eoi_collect(v);
	if (!v->vapic_published)
		return eoi;
	v->vapic_published = false;
	if (!x86_guest_read(v, v->vapic_gpa, &word, sizeof(word)))
		lapic_set_tpr(&v->lapic, (uint8_t)word);
	return true;
}

void x86_vapic_publish(struct x86_vcpu *v)
{
	int irr, isr;
	uint32_t word;

	x86_pv_eoi_publish(v);
	/* As KVM: the page is left alone while the local APIC is off. */
	if (!v->vapic_gpa || !lapic_hw_enabled(&v->lapic) || !lapic_sw_enabled(&v->lapic))
		return;
	irr = lapic_highest_irr(&v->lapic);
	isr = lapic_highest_isr(&v->lapic);
	word = (uint32_t)lapic_get_tpr(&v->lapic) | (isr < 0 ? 0 : (uint32_t)(isr & CLASS) << 8) |
	       (irr < 0 ? 0 : (uint32_t)irr << 24);
	v->vapic_published = !x86_guest_write(v, v->vapic_gpa, &word, sizeof(word));
}
