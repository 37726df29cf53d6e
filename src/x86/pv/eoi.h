/* SPDX-License-Identifier: MIT */
/*
 * Paravirtual end of interrupt: a bit in guest memory that the guest clears in
 * place of a write to the local APIC.  Kernel documentation: virt/kvm/x86/msr.rst,
 * MSR_KVM_EOI_EN.
 */
#ifndef X86_PV_EOI_H
#define X86_PV_EOI_H

#include <stdint.h>

struct x86_vcpu;

#define MSR_PV_EOI_EN 0x4b564d04

/** x86_pv_eoi_set - WRMSR of MSR_PV_EOI_EN.  -EINVAL: #GP. */
int x86_pv_eoi_set(struct x86_vcpu *v, uint64_t value);

/** x86_pv_eoi_collect - ends the interrupt that the guest has ended, before anybody looks at the local APIC.  Owner. */
void x86_pv_eoi_collect(struct x86_vcpu *v);

/** x86_pv_eoi_publish - offers the bit to the guest where that is safe, before guest code runs.  Owner. */
void x86_pv_eoi_publish(struct x86_vcpu *v);

#endif
