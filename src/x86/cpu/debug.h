/* SPDX-License-Identifier: MIT */
/*
 * Debug registers.  SDM 3B chapter 17.2.
 *
 * The engine pays for breakpoints only while DR7 enables one: x86_dr7_changed()
 * then asks for single instructions (instruction breakpoints) and withdraws the
 * TLB entries of watched pages (data breakpoints).
 */
#ifndef X86_CPU_DEBUG_H
#define X86_CPU_DEBUG_H

#include "x86/cpu/cpu.h"

#define DR6_B(n) (1u << (n))
#define DR6_BD (1u << 13)
#define DR6_BS (1u << 14)
#define DR6_BT (1u << 15)
#define DR6_RTM (1u << 16)
#define DR6_FIXED_1 0xffff0ff0u         /* bits that read as 1 (RTM is clear in it by a trap only) */
#define DR7_FIXED_1 0x400u
#define DR7_GD (1u << 13)
#define DR7_ENABLE_MASK 0xffu

/** x86_debug_dr7 - DR7 in force: the client's while it watches (KVM_GUESTDBG_USE_HW_BP), else the guest's. */
uint64_t x86_debug_dr7(const struct x86_cpu *cpu);

/** x86_debug_wants_step - must instructions run one by one (TF, instruction breakpoint, pending trap)? */
bool x86_debug_wants_step(const struct x86_cpu *cpu);

/**
 * x86_debug_check_insn - before the instruction at R_RIP: raises #DB if a
 * breakpoint is on it and RF is clear.  Clears RF here, not behind the
 * instruction, so that the RF which an IRET loads lasts for the next one.
 */
void x86_debug_check_insn(struct x86_cpu *cpu);

/**
 * x86_debug_check_data - an access of @size bytes at the linear address @gva is
 * about to be made: notes the breakpoints that it meets in cpu->pending_db.
 */
void x86_debug_check_data(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool write);

/** x86_debug_check_io - the same for a port access. */
void x86_debug_check_io(struct x86_cpu *cpu, uint16_t port, unsigned int size);

/** x86_debug_data_page - does a data breakpoint watch any byte of the page at @gva? */
bool x86_debug_data_page(const struct x86_cpu *cpu, gva_t gva);

/**
 * x86_debug_after_insn - after a complete instruction, R_RIP next: raises the
 * trap that TF (@tf: that it was set before the instruction calls for one,
 * which DebugCtl.BTF does of branches alone) or a data or I/O breakpoint calls
 * for.  Nothing while a MOV SS shadow has just begun.
 */
void x86_debug_after_insn(struct x86_cpu *cpu, bool tf);

/** x86_dr7_changed - after a write of DR0-3 or DR7. */
void x86_dr7_changed(struct x86_cpu *cpu);

/** x86_get_dr / x86_set_dr - as MOV DR; number 0-7, aliasing and GD are the caller's.  -EINVAL: #GP(0). */
uint64_t x86_get_dr(const struct x86_cpu *cpu, unsigned int n);
int x86_set_dr(struct x86_cpu *cpu, unsigned int n, uint64_t value) must_check;

#endif
