/* SPDX-License-Identifier: MIT */
/*
 * What string instructions share, those of port I/O included.  In their insn:
 * `aux` is the address size and `opsize` the element size, in bytes; `seg` is
 * the segment of RSI.
 */
#ifndef X86_CPU_INSN_STRING_H
#define X86_CPU_INSN_STRING_H

#include "x86/cpu/insn/ops.h"
#include "x86/cpu/segment.h"

/* Portions (single elements, or runs within a page) until the run loop has its say. */
#define STRING_PORTIONS 64
#define STRING_UNITS 8                  /* what one costs at worst, for x86_charge() */

/**
 * string_portion - makes at least one and at most @n iterations, pointers
 * advanced, RCX left alone.  Returns how many.
 */
typedef uint64_t string_portion(struct x86_cpu *cpu, const struct insn *i, uint64_t n);

/** string_repeat - the repeat prefix around @portion; sets R_RIP.  @compares: ends on ZF too. */
void string_repeat(struct x86_cpu *cpu, const struct insn *i, string_portion *portion, bool compares);

/** string_build - fills what this header promises; @mem: the memory operand that may have a segment prefix. */
int string_build(struct insn *i, const struct insn_build *b, unsigned int mem, insn_fn *one, insn_fn *rep);

/** string_set - a pointer or count register, as wide as the address size. */
void string_set(struct x86_cpu *cpu, const struct insn *i, unsigned int reg, uint64_t v);

/** string_writable - how many elements, at most @n, lie at ES:RDI in one page of memory that can be written at once. */
uint64_t string_writable(struct x86_cpu *cpu, const struct insn *i, uint64_t n);

gva_t string_ea_slow(struct x86_cpu *cpu, const struct insn *i, unsigned int reg, enum x86_seg_reg seg,
		     bool write);

/** string_mask - the bits of a register that the address size lets count. */
static inline uint64_t string_mask(const struct insn *i)
{
	return i->aux == 8 ? ~0ULL : i->aux == 4 ? 0xffffffffULL : 0xffffULL;
}

/** string_step - bytes from one element to the next. */
static inline int64_t string_step(const struct x86_cpu *cpu, const struct insn *i)
{
	return cpu->rflags & FL_DF ? -(int64_t)i->opsize : (int64_t)i->opsize;
}

/** string_ea - linear address of the element that @reg points to in @seg; checked outside 64-bit mode. */
static inline gva_t string_ea(struct x86_cpu *cpu, const struct insn *i, unsigned int reg,
			      enum x86_seg_reg seg, bool write)
{
	if (unlikely(i->ea_flags & EA_SLOW))
		return string_ea_slow(cpu, i, reg, seg, write);
	return cpu->regs[reg] + (seg >= SEG_FS ? cpu->regs[R_SEGBASE + seg] : 0);
}

#endif
