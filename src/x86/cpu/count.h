/* SPDX-License-Identifier: MIT */
/*
 * Counting for performance counters.
 *
 * `insns` is always kept; all else is counted only while count.on is set.  The
 * run loop then goes over its slow path at every block and splits what a block
 * did by CPL.  At most one branch is in a block, its last instruction; whoever
 * turns counting on does so by WRMSR, which ends its block.  Where a counter is
 * about to overflow (count.left) instructions run one by one, so that the
 * overflow is seen at the right one.
 *
 * A predictor is modelled for "mispredicted branches": a direct-mapped table of
 * the last target of each branch; a branch that is not in it is predicted as
 * not taken.
 */
#ifndef X86_CPU_COUNT_H
#define X86_CPU_COUNT_H

#include "x86/cpu/cpu.h"

/**
 * x86_count_now - brings count.total up to date, the instruction in hand not
 * included.  By the vCPU's owner, with the vector state put away.
 */
void x86_count_now(struct x86_cpu *cpu);

/**
 * x86_count_set - counts from now on, or no longer; after x86_count_now().
 * @timed: the work done, too.  @left: what becomes count.left.
 */
void x86_count_set(struct x86_cpu *cpu, bool on, bool timed, const int64_t left[2]);

/** x86_count_forget - the predictor knows no branch any more (IBPB). */
void x86_count_forget(struct x86_cpu *cpu);

#endif
