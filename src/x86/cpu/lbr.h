/* SPDX-License-Identifier: MIT */
/*
 * Last-branch recording, AMD's: one branch and the one before the last
 * exception or interrupt.  APM 2, 13.1.1.9 to 13.1.1.13 and 13.1.6.
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

/** x86_lbr_load - all five registers: WRMSR, VMRUN, #VMEXIT. */
void x86_lbr_load(struct x86_cpu *cpu, const struct x86_lbr_msrs *msrs);

/** x86_lbr_begin - @b is about to run; x86_lbr_end - it has, to its end: RIP is next. */
void x86_lbr_begin(struct x86_cpu *cpu, const struct block *b);
void x86_lbr_end(struct x86_cpu *cpu);

/** x86_lbr_event - exception or interrupt @vector was delivered from @from. */
void x86_lbr_event(struct x86_cpu *cpu, uint8_t vector, uint64_t from);

#endif
