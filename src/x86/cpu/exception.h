/* SPDX-License-Identifier: MIT */
/*
 * Delivery of exceptions and interrupts through the IVT, the IDT and task gates.
 *
 * The run loop calls x86_deliver_*() between instructions, with regs[R_RIP] the
 * address to save (of the faulting instruction, or of the next one after a trap
 * or before an interrupt) and the guard armed.  Delivery either completes or
 * leaves by a jump with nothing committed:
 *  - X86_LEAVE_EXCEPTION: the loop calls x86_merge_exception() and, if that says
 *    so, delivers cpu->exc;
 *  - X86_LEAVE_EXIT or _RESTART: the loop delivers cpu->delivering again.
 * cpu->is_delivering is set from the call until delivery has completed.
 */
#ifndef X86_CPU_EXCEPTION_H
#define X86_CPU_EXCEPTION_H

#include "x86/cpu/insn.h"

/** x86_deliver_exception - @exc may be cpu->exc itself.  Sets CR2 and DR6 first.  SDM 3A chapter 6. */
void x86_deliver_exception(struct x86_cpu *cpu, const struct x86_exception *exc);

/** x86_deliver_interrupt - an external interrupt; the caller has checked IF and the shadow. */
void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector);

/**
 * x86_iret_unblocks - the IRET in hand has ended, and with it the blocking of NMIs: whether it was executed or has
 * faulted.  SDM 3A, 6.7.1; 3C, 26.7.1.  Nothing if none is under way.
 */
void x86_iret_unblocks(struct x86_cpu *cpu);

/** x86_deliver_nmi - blocks further NMIs until IRET once it is delivered. */
void x86_deliver_nmi(struct x86_cpu *cpu);

/** x86_deliver_again - whatever cpu->delivering says, from the start. */
void x86_deliver_again(struct x86_cpu *cpu);

/**
 * x86_merge_exception - cpu->exc was raised.  While an event was being
 * delivered, turns the two into the one to deliver: cpu->exc itself, or #DF.
 * false: triple fault, shut down.  SDM 3A table 6-5.
 */
bool x86_merge_exception(struct x86_cpu *cpu) must_check;

/**
 * x86_raise_soft - INT n, INT3, INTO: the instruction @i leaves through @vector,
 * (with aux set for INT n) subject to the gate's DPL; the RIP saved is the next instruction's.
 */
void x86_raise_soft(struct x86_cpu *cpu, const struct insn *i, uint8_t vector) __attribute__((noreturn));

/** x86_raise_db_fault - #DB before the instruction in hand; @dr6: the bits to report. */
void x86_raise_db_fault(struct x86_cpu *cpu, uint64_t dr6) __attribute__((noreturn));

/** x86_note_db - DR6 and DR7 as #DB leaves them; @payload: the bits to report. */
void x86_note_db(struct x86_cpu *cpu, uint64_t payload);

/** x86_raise_db_trap - #DB after the instruction; regs[R_RIP] is already the next one. */
void x86_raise_db_trap(struct x86_cpu *cpu, uint64_t dr6) __attribute__((noreturn));

/** x86_no_insn - "between instructions", for at(): offset and length 0. */
extern const struct insn x86_no_insn;

#endif
