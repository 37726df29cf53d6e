/* SPDX-License-Identifier: MIT */
/* Host stubs for vector instructions: what vec.c, fpu.c and vecmem.c share. */
#ifndef X86_CPU_INSN_VEC_H
#define X86_CPU_INSN_VEC_H

#include "x86/cpu/insn.h"
#include "x86/cpu/vec.h"

/* i->src2 is the enum vec_class of every instruction that a stub executes; i->aux: */
#define VEC_ALIGNED 0x8000u             /* the memory operand must be aligned to its size: #GP(0) */
#define VEC_ALIGNED_UNASKED 0x2000u     /* even if the mask asks for no element of it */
#define VEC_UNSUPPRESSED 0x1000u        /* all of it must be accessible, whatever the mask */
#define VEC_PACKED 0x4000u              /* as many elements of memory as the mask has bits, side by side (expand, compress) */
#define VEC_MM 0x0800u                  /* ... but need not be where MXCSR.MM is set */
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

/**
 * vec_must_align - must the memory operand of @stub be aligned?  Asked of the host, once a form: an unaligned
 * access that must not be gives #GP, which Linux reports as a SIGSEGV.  The state must have been put away.
 */
bool vec_must_align(const void *stub);

/** vec_mem_operand - the number of the memory operand, or -1. */
int vec_mem_operand(const struct insn_build *b);

/** evex_build - for EVEX rows; evex_build_vl - for those whose 128 and 256-bit forms need AVX512VL. */
int evex_build(struct insn *i, const struct insn_build *b);
int evex_build_vl(struct insn *i, const struct insn_build *b);

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

static ALWAYS_INLINE uint16_t vec_call(struct x86_cpu *cpu, const struct insn *i, void *mem)
{
	return ((vec_stub *)(uintptr_t)i->ptr)(mem, cpu->regs, cpu->fl);
}

#ifdef __SANITIZE_ADDRESS__
/* A sanitizer's runtime may use vector registers between any two instructions. */
#define VEC_SETTLE(cpu) x86_vec_put(cpu)
#else
#define VEC_SETTLE(cpu) ((void)0)
#endif

/**
 * vec_index_ea - address of a gather's or scatter's element of @size bytes; @index is one of the vector of indices,
 * of @isize bytes (4: sign-extended).
 */
static ALWAYS_INLINE gva_t vec_index_ea(struct x86_cpu *cpu, const struct insn *i, uint64_t index, unsigned int isize,
					unsigned int size, bool write)
{
	struct insn one;

	if (isize == 4)
		index = (int64_t)(int32_t)index;
	if (!(i->ea_flags & EA_SLOW))
		return ea(cpu, i, size, write) + (index << i->scale);
	one = *i;
	one.disp = (int64_t)((uint64_t)i->disp + (index << i->scale));
	return ea_slow(cpu, &one, size, write);
}

/** vec_run_write - runs the stub on @p, which mem_write_ptr() or mem_rmw() gave for @gva, and commits. */
void vec_run_write(struct x86_cpu *cpu, const struct insn *i, gva_t gva, void *p);

#endif
