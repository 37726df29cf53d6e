/* SPDX-License-Identifier: MIT */
/*
 * Control registers: what may be written to them, and what a write entails.
 *
 * x86_set_*() check as MOV CR, WRMSR and XSETBV do and return -EINVAL where
 * those raise #GP(0); on 0 the register, the translations and the derived state
 * have been updated.  x86_apply_*() set a value that has been checked (or that
 * the client vouches for), with the same effects and no check.
 */
#ifndef X86_CPU_CONTROL_H
#define X86_CPU_CONTROL_H

#include "x86/cpu/cpu.h"
#include "x86/features.h"

int x86_set_cr0(struct x86_cpu *cpu, uint64_t value) must_check;
/** x86_set_cr3 - @value: the operand of MOV CR3, bit 63 (keep translations) included. */
int x86_set_cr3(struct x86_cpu *cpu, uint64_t value) must_check;
int x86_set_cr4(struct x86_cpu *cpu, uint64_t value) must_check;
/** x86_set_efer - LMA in @value is ignored: it follows CR0.PG. */
int x86_set_efer(struct x86_cpu *cpu, uint64_t value) must_check;
int x86_set_xcr(struct x86_cpu *cpu, uint32_t index, uint64_t value) must_check;

void x86_apply_cr0(struct x86_cpu *cpu, uint64_t value);
void x86_apply_cr4(struct x86_cpu *cpu, uint64_t value);
void x86_apply_efer(struct x86_cpu *cpu, uint64_t value);

/** x86_offered_cr4 - the bits of CR4 that CPUID offers. */
uint64_t x86_offered_cr4(const struct x86_cpu *cpu);
/** x86_valid_cr4 - no bit is set in @cr4 that CPUID does not offer. */
bool x86_valid_cr4(const struct x86_cpu *cpu, uint64_t cr4);
/** x86_valid_efer - the same for EFER. */
bool x86_valid_efer(const struct x86_cpu *cpu, uint64_t efer);
/** x86_valid_xcr0 - the components of @xcr0 are offered and consistent.  SDM 1, 13.3. */
bool x86_valid_xcr0(const struct x86_cpu *cpu, uint64_t xcr0);

/** x86_seen_cr0, x86_seen_cr4 - as the guest reads them: L2 sees L1's shadow of bits that L1 owns.  SDM 3C 26.3. */
static inline uint64_t x86_seen_cr0(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & ~cpu->nested.cr0_mask) | (cpu->nested.cr0_shadow & cpu->nested.cr0_mask);
}

static inline uint64_t x86_seen_cr4(const struct x86_cpu *cpu)
{
	return (cpu->cr4 & ~cpu->nested.cr4_mask) | (cpu->nested.cr4_shadow & cpu->nested.cr4_mask);
}

/** x86_update_priv - the part of x86_update_mode() that a change of privilege or code segment needs. */
void x86_update_priv(struct x86_cpu *cpu);

/**
 * x86_canonical_max - gva_canonical() with as many bits as the processor has, whatever CR4.LA57 says: for registers that
 * are loaded with an address without using it (LGDT, LTR, WRFSBASE, WRMSR, INVPCID, ...).  SDM 3A, 4.5.2.
 */
static inline bool x86_canonical_max(const struct x86_cpu *cpu, gva_t va)
{
	unsigned int shift = x86_has(cpu, X86_F_LA57) ? 7 : 16;

	return (gva_t)((int64_t)(va << shift) >> shift) == va;
}

#endif
