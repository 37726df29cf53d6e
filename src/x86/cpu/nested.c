/* SPDX-License-Identifier: MIT */
/* The engine's side of nested virtualization: see nested.h. */
#include "x86/cpu/cpu.h"
#include "x86/cpu/vec.h"

uint64_t x86_nested_tsc(const struct x86_nested *n, uint64_t tsc)
{
	if (n->tsc_shift)
		tsc = (uint64_t)((unsigned __int128)tsc * n->tsc_mul >> n->tsc_shift);
	return tsc + n->tsc_offset;
}

void x86_vmexit(struct x86_cpu *cpu)
{
	x86_leave(cpu, X86_LEAVE_VMEXIT);
}

void x86_intercept_asked(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	x86_vec_put(cpu);
	cpu->nested.ops->insn(cpu, i, which, info);
}
