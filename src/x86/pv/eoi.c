// SPDX-License-Identifier: MIT
/*
 * Paravirtual end of interrupt.  While `pending` is set the bit in the guest's
 * memory says whether its interrupt has ended: set, it has not.  KVM looks at it
 * at every exit; here everything that looks at the local APIC does so first.
 */
#include "x86/pv/eoi.h"

#include <errno.h>

#include "kvm/trace.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define EOI_ENABLED 1ULL        /* of the MSR */
#define EOI_BIT 1u              /* of the guest's byte */

static gpa_t byte_of(const struct x86_vcpu *v)
{
	return v->pv_eoi.msr & ~EOI_ENABLED;
}

int x86_pv_eoi_set(struct x86_vcpu *v, uint64_t value)
{
	gpa_t gpa = value & ~EOI_ENABLED;
	const struct memslot *slot;

	if (gpa & 3)
		return -EINVAL;
	x86_pv_eoi_collect(v);
	if (value & EOI_ENABLED) {
		slot = memslots_find(v->cpu.slots, gpa_to_gfn(gpa));
		if (!slot || memslot_readonly(slot))
			return -EINVAL;
	}
	v->pv_eoi.msr = value;
	return 0;
}

/* The bit was still set: it has been taken back, and the interrupt goes on. */
static bool take_back(struct x86_vcpu *v)
{
	uint8_t byte;

	if (x86_guest_read(v, byte_of(v), &byte, sizeof(byte)) || !(byte & EOI_BIT))
		return false;
	byte = 0;
	return !x86_guest_write(v, byte_of(v), &byte, sizeof(byte));
}

void x86_pv_eoi_collect(struct x86_vcpu *v)
{
	int vector;

	if (!v->pv_eoi.pending)
		return;
	v->pv_eoi.pending = false;
	if (take_back(v))
		return;
	vector = lapic_eoi(&v->lapic);
	x86_stat_inc(v->vcpu, X86_STAT_PV_EOIS);
	x86_request(&v->cpu, X86_REQ_EVENT);
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_pv_eoi", "apicid %x vector %d", v->vcpu->id, vector);
}

void x86_pv_eoi_publish(struct x86_vcpu *v)
{
	const uint8_t byte = EOI_BIT;
	int vector;

	if (!(v->pv_eoi.msr & EOI_ENABLED) || !v->has_lapic)
		return;
	if (!lapic_hw_enabled(&v->lapic) || !lapic_sw_enabled(&v->lapic))
		return;
	vector = lapic_highest_isr(&v->lapic);
	/* One that waits has to be let in at once, and an I/O APIC hear of the end. */
	if (vector < 0 || lapic_has_pending(&v->lapic) || lapic_eoi_wanted(&v->lapic, (uint8_t)vector))
		return;
	v->pv_eoi.pending = !x86_guest_write(v, byte_of(v), &byte, sizeof(byte));
}
