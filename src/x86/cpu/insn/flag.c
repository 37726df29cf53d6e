/* SPDX-License-Identifier: MIT */
/* CLC STC CMC CLD STD LAHF SAHF SALC, CLI STI.  SDM 1, 7.3.13. */
#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"
#include "x86/features.h"

static void clc(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->fl &= (uint16_t)~AX_CF;
	NEXT(cpu, i);
}

static void stc(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->fl |= AX_CF;
	NEXT(cpu, i);
}

static void cmc(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->fl ^= AX_CF;
	NEXT(cpu, i);
}

static void cld(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->rflags &= ~FL_DF;
	NEXT(cpu, i);
}

static void std(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->rflags |= FL_DF;
	NEXT(cpu, i);
}

/* `fl` has in its upper half what LAHF and SAHF move. */
static void lahf(struct x86_cpu *cpu, const struct insn *i)
{
	reg8(cpu, R_RAX * 8 + 1) = (uint8_t)(cpu->fl >> 8);
	NEXT(cpu, i);
}

static void sahf(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t ah = reg8(cpu, R_RAX * 8 + 1);

	cpu->fl = (uint16_t)((cpu->fl & AX_OF) | AX_ONE |
			     (ah << 8 & (AX_SF | AX_ZF | AX_AF | AX_PF | AX_CF)));
	NEXT(cpu, i);
}

static void salc(struct x86_cpu *cpu, const struct insn *i)
{
	reg8(cpu, R_RAX * 8) = cpu->fl & AX_CF ? 0xff : 0;
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ CLI, STI */

enum if_target { IF_REAL, IF_VIRTUAL };

/* Which flag CLI and STI act on; raises #GP(0) where neither.  SDM 2A, CLI, and 3B, 20.3 and 20.4. */
static enum if_target if_target(struct x86_cpu *cpu)
{
	unsigned int iopl = (cpu->rflags & FL_IOPL) >> 12;

	if (iopl >= cpu->cpl)
		return IF_REAL;
	if (x86_vm86(cpu) ? cpu->cr4 & CR4_VME : cpu->cpl == 3 && (cpu->cr4 & CR4_PVI))
		return IF_VIRTUAL;
	x86_raise_ec(cpu, X86_GP, 0);
}

static void do_cli(struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t flag;

	at(cpu, i);
	flag = if_target(cpu) == IF_REAL ? FL_IF : FL_VIF;
	if (cpu->rflags & flag)
		x86_set_rflags(cpu, x86_get_rflags(cpu) & ~(uint64_t)flag);
}

static void do_sti(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (if_target(cpu) == IF_VIRTUAL) {
		if (cpu->rflags & FL_VIP)
			x86_raise_ec(cpu, X86_GP, 0);
		x86_set_rflags(cpu, x86_get_rflags(cpu) | FL_VIF);
	} else if (!(cpu->rflags & FL_IF)) {
		x86_set_rflags(cpu, x86_get_rflags(cpu) | FL_IF);
		x86_set_shadow(cpu, SHADOW_STI);
	}
}

static void cli(struct x86_cpu *cpu, const struct insn *i)
{
	do_cli(cpu, i);
	NEXT(cpu, i);
}

static void sti(struct x86_cpu *cpu, const struct insn *i)
{
	do_sti(cpu, i);
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ rows */

#define PLAIN(MNEMONIC, flags, fn) { ZYDIS_MNEMONIC_##MNEMONIC, 0, flags, 0, build_plain, ROW_FN(fn) }

static const struct insn_row rows[] = {
	PLAIN(CLC, 0, clc), PLAIN(STC, 0, stc), PLAIN(CMC, 0, cmc),
	PLAIN(CLD, 0, cld), PLAIN(STD, 0, std),
	PLAIN(LAHF, ROW_NO_64, lahf), PLAIN(SAHF, ROW_NO_64, sahf),
	{ ZYDIS_MNEMONIC_LAHF, X86_F_LAHF_LM, ROW_ONLY_64, 0, build_plain, ROW_FN(lahf) },
	{ ZYDIS_MNEMONIC_SAHF, X86_F_LAHF_LM, ROW_ONLY_64, 0, build_plain, ROW_FN(sahf) },
	PLAIN(SALC, ROW_NO_64, salc),
	PLAIN(CLI, 0, cli),
	PLAIN(STI, ROW_BARRIER, sti),
};

const struct insn_rows insn_rows_flag = { rows, ARRAY_SIZE(rows) };
