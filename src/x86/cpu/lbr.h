/* SPDX-License-Identifier: MIT */
/*
 * IA32_DEBUGCTL, AMD's DebugCtl, and what it asks for: last-branch recording,
 * AMD's, one branch and the one before the last exception or interrupt (APM 2,
 * 13.1.1.9 to 13.1.1.13 and 13.1.6), and single-stepping on branches (SDM 3B,
 * 17.4.3; APM 2, 13.1.1.6), which debug.h does: RFLAGS.TF steps anyway.
 *
 * While DebugCtl.LBR is set the run loop takes its slow path at every block,
 * as for performance counters, and notes the branch that the block ended with;
 * while it is clear, nothing is looked at.
 */
#ifndef X86_CPU_LBR_H
#define X86_CPU_LBR_H

#include "x86/cpu/cpu.h"

struct block;

#define DEBUGCTL_LBR 1ULL
#define DEBUGCTL_BTF 2ULL

/** x86_lbr_load - all five registers: WRMSR, VMRUN, #VMEXIT.  x86_debugctl_load - DebugCtl alone. */
void x86_lbr_load(struct x86_cpu *cpu, const struct x86_lbr_msrs *msrs);
void x86_debugctl_load(struct x86_cpu *cpu, uint64_t value);

/** x86_steps_branches - does RFLAGS.TF single-step branches alone? */
static inline bool x86_steps_branches(const struct x86_cpu *cpu)
{
	return cpu->lbr.msrs.debugctl & DEBUGCTL_BTF;
}

/** x86_lbr_begin - @b is about to run; x86_lbr_end - it has, to its end: RIP is next. */
void x86_lbr_begin(struct x86_cpu *cpu, const struct block *b);
void x86_lbr_end(struct x86_cpu *cpu);

/** x86_lbr_event - DebugCtl is not 0; event @vector, @injected by VM entry or not, was delivered from @from. */
void x86_lbr_event(struct x86_cpu *cpu, uint8_t vector, bool injected, uint64_t from);

#endif
