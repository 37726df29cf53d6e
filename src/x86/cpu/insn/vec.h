/* SPDX-License-Identifier: MIT */
/* Host stubs for vector instructions: what vec.c, fpu.c and vecmem.c share. */
#ifndef X86_CPU_INSN_VEC_H
#define X86_CPU_INSN_VEC_H

#include "x86/cpu/insn.h"
#include "x86/cpu/vec.h"

/* i->src2 is the enum vec_class of every instruction that a stub executes; i->aux: */
#define VEC_ALIGNED 0x8000u             /* the memory operand must be aligned to its size: #GP(0) */
#define VEC_FOP 0x07ffu                 /* x87: the last opcode, SDM 1 8.1.9 */

/*
 * @mem: the memory operand, or NULL.  @regs: cpu->regs.  @fl: flags in, AX_*.
 * Returns flags out in the same form, where the instruction writes them.
 */
typedef uint16_t vec_stub(void *mem, uint64_t *regs, uint16_t fl);

/**
 * vec_build - the build function of every plain vector row; row->arg is unused.
 * The class follows from the instruction's registers and ISA set.
 */
int vec_build(struct insn *i, const struct insn_build *b);

/** vec_make_stub - the stub of the instruction in @b, which touches memory only at @mem.  NULL: cannot be made. */
const void *vec_make_stub(const struct insn_build *b);

/** vec_gate - the state is in the host's registers after it, or it raises. */
static ALWAYS_INLINE void vec_gate(struct x86_cpu *cpu, const struct insn *i)
{
	if (unlikely(cpu->vec_gate[i->src2]))
		x86_vec_enter(cpu, i->src2);
}

/**
 * vec_wait_x87 - the state is live: raises #MF where an unmasked x87 exception is pending.  Comes before the
 * faults of a memory operand; SDM 3A table 6-2.
 */
static ALWAYS_INLINE void vec_wait_x87(struct x86_cpu *cpu)
{
	uint16_t fsw;

	__asm__ volatile("fnstsw %0" : "=a"(fsw));
	if (unlikely(fsw & 0x80))
		x86_raise(cpu, X86_MF);
}

/** vec_run_write - runs the stub on @p, which mem_write_ptr() or mem_rmw() gave for @gva, and commits. */
void vec_run_write(struct x86_cpu *cpu, const struct insn *i, gva_t gva, void *p);

#endif
