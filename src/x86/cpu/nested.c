/* SPDX-License-Identifier: MIT */
/* The engine's side of nested virtualization: see nested.h. */
#include "x86/cpu/cpu.h"
#include "x86/cpu/vec.h"

void x86_vmexit(struct x86_cpu *cpu)
{
	x86_leave(cpu, X86_LEAVE_VMEXIT);
}

void x86_intercept_asked(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	x86_vec_put(cpu);
	cpu->nested.ops->insn(cpu, i, which, info);
}
