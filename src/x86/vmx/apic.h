/* SPDX-License-Identifier: MIT */
/*
 * APIC virtualization: L2's local APIC, as far as L1 leaves it to us, is a page of
 * L1's memory.  SDM 3C, chapter 29.
 */
#ifndef X86_VMX_APIC_H
#define X86_VMX_APIC_H

#include "x86/vmx/vmx.h"

/* Of the virtual-APIC page; 29.1.1. */
enum {
	VAPIC_TPR = 0x80, VAPIC_PPR = 0xa0, VAPIC_EOI = 0xb0, VAPIC_ISR = 0x100, VAPIC_IRR = 0x200, VAPIC_ICR = 0x300,
	VAPIC_ICR2 = 0x310, VAPIC_SELF_IPI = 0x3f0,
};

/** vapic_get, vapic_put - a register; one that is not there is 0. */
uint32_t vapic_get(struct x86_vcpu *v, unsigned int at);
void vapic_put(struct x86_vcpu *v, unsigned int at, uint32_t value);
/** vapic_written - what a write to the register, which is done, brings about; @at: where, for the exit.  29.4.3.2. */
void vapic_written(struct x86_vcpu *v, unsigned int at);
/** vapic_self_ipi - 29.1.5. */
void vapic_self_ipi(struct x86_vcpu *v, uint8_t vector);
/** vapic_evaluate - has L2 an interrupt of these to take?  29.2.1. */
void vapic_evaluate(struct x86_vcpu *v);

static inline uint8_t vapic_rvi(const struct vmcs *m)
{
	return (uint8_t)m->guest_intr_status;
}

static inline void vapic_set_rvi(struct vmcs *m, uint8_t vector)
{
	m->guest_intr_status = (uint16_t)((m->guest_intr_status & 0xff00) | vector);
}

#endif
