/* SPDX-License-Identifier: MIT */
/* Pushes and pops of any operand size in any mode; cpu->cur must be set.  All may raise. */
#ifndef X86_CPU_INSN_STACK_H
#define X86_CPU_INSN_STACK_H

#include "x86/cpu/insn/ops.h"

/** stack_load / stack_store - @size 2, 4 or 8 bytes at the linear address that stack_ea() gave. */
static inline uint64_t stack_load(struct x86_cpu *cpu, gva_t a, unsigned int size)
{
	return size == 8 ? ld64(cpu, a) : size == 4 ? ld32(cpu, a) : ld16(cpu, a);
}

static inline void stack_store(struct x86_cpu *cpu, gva_t a, uint64_t v, unsigned int size)
{
	if (size == 8)
		st64(cpu, a, v);
	else if (size == 4)
		st32(cpu, a, (uint32_t)v);
	else
		st16(cpu, a, (uint16_t)v);
}

/** stack_push - @size bytes of @v; RSP changes only if the store succeeds. */
static inline void stack_push(struct x86_cpu *cpu, uint64_t v, unsigned int size)
{
	uint64_t sp = (cpu->regs[R_RSP] - size) & stack_mask(cpu);

	stack_store(cpu, stack_ea(cpu, sp, size, true), v, size);
	stack_set_sp(cpu, sp);
}

/** stack_top - the @size bytes that a pop would give; RSP stays. */
static inline uint64_t stack_top(struct x86_cpu *cpu, unsigned int size)
{
	return stack_load(cpu, stack_ea(cpu, cpu->regs[R_RSP] & stack_mask(cpu), size, false), size);
}

/** stack_drop - @n bytes off the stack. */
static inline void stack_drop(struct x86_cpu *cpu, uint64_t n)
{
	stack_set_sp(cpu, cpu->regs[R_RSP] + n);
}

#endif
