/* SPDX-License-Identifier: MIT */
/* RDMSR, WRMSR and the instructions that read and write a single MSR or base. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"

/* What env->rdmsr() and env->wrmsr() return. */
static void msr_done(struct x86_cpu *cpu, int status)
{
	if (status == 1)
		x86_raise_ec(cpu, X86_GP, 0);
	if (status == 2)
		x86_exit(cpu);
}

/* Apart from its handler, which must not have a local whose address is taken when it ends. */
static __attribute__((noinline)) uint64_t read_msr(struct x86_cpu *cpu)
{
	uint64_t value = 0;

	x86_charge(cpu, 8);
	x86_vec_put(cpu);
	msr_done(cpu, cpu->env->rdmsr(cpu, (uint32_t)cpu->regs[R_RCX], &value));
	return value;
}

static void rdmsr(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t value;

	at(cpu, i);
	x86_intercept(cpu, i, ICPT_MSR, 0);
	value = read_msr(cpu);
	set_reg32(cpu, R_RAX, value);
	set_reg32(cpu, R_RDX, value >> 32);
	NEXT(cpu, i);
}

static void wrmsr(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t value = (uint32_t)cpu->regs[R_RAX] | cpu->regs[R_RDX] << 32;

	at(cpu, i);
	x86_intercept(cpu, i, ICPT_MSR, 1);
	x86_charge(cpu, 8);
	x86_vec_put(cpu);
	msr_done(cpu, cpu->env->wrmsr(cpu, (uint32_t)cpu->regs[R_RCX], value));
	NEXT(cpu, i);
}

static void swapgs(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t base = *seg_base(cpu, SEG_GS);

	*seg_base(cpu, SEG_GS) = cpu->kernel_gs_base;
	cpu->kernel_gs_base = base;
	NEXT(cpu, i);
}

/* ---------------------------------------------------------- FSGSBASE */

static void fsgsbase_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (!(cpu->cr4 & CR4_FSGSBASE))
		x86_raise(cpu, X86_UD);
}

static void rdbase(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t base = cpu->regs[R_SEGBASE + i->aux];

	fsgsbase_check(cpu, i);
	cpu->regs[i->dst] = i->opsize == 8 ? base : (uint32_t)base;
	NEXT(cpu, i);
}

static void wrbase(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t base = i->opsize == 8 ? cpu->regs[i->dst] : (uint32_t)cpu->regs[i->dst];

	fsgsbase_check(cpu, i);
	if (!x86_canonical_max(cpu, base))
		x86_raise_ec(cpu, X86_GP, 0);
	cpu->regs[R_SEGBASE + i->aux] = base;
	NEXT(cpu, i);
}

/* The row's argument: handler and segment. */
struct base_form {
	insn_fn *fn;
	uint8_t seg;
};

static int build_base(struct insn *i, const struct insn_build *b)
{
	const struct base_form *f = b->row->arg;

	i->fn = f->fn;
	i->aux = f->seg;
	i->dst = build_gpr(b, 0);
	i->opsize = build_opsize(b, 0);
	return 0;
}

#define BASE(fn, seg) (&(const struct base_form){ fn, seg })

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_RDMSR, X86_F_MSR, ROW_CPL0, 0, build_plain, PLAIN(rdmsr) },
	{ ZYDIS_MNEMONIC_WRMSR, X86_F_MSR, ROW_CPL0 | ROW_SERIAL, 0, build_plain, PLAIN(wrmsr) },
	{ ZYDIS_MNEMONIC_SWAPGS, X86_F_LM, ROW_CPL0 | ROW_ONLY_64, 0, build_plain, PLAIN(swapgs) },
	{ ZYDIS_MNEMONIC_RDFSBASE, X86_F_FSGSBASE, ROW_ONLY_64, 0, build_base, BASE(rdbase, SEG_FS) },
	{ ZYDIS_MNEMONIC_RDGSBASE, X86_F_FSGSBASE, ROW_ONLY_64, 0, build_base, BASE(rdbase, SEG_GS) },
	{ ZYDIS_MNEMONIC_WRFSBASE, X86_F_FSGSBASE, ROW_ONLY_64, 0, build_base, BASE(wrbase, SEG_FS) },
	{ ZYDIS_MNEMONIC_WRGSBASE, X86_F_FSGSBASE, ROW_ONLY_64, 0, build_base, BASE(wrbase, SEG_GS) },
};

const struct insn_rows insn_rows_msr = { rows, ARRAY_SIZE(rows) };
