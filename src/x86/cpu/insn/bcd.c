/* SPDX-License-Identifier: MIT */
/* AAA AAS DAA DAS AAM AAD.  SDM 1, 7.3.3; the operations are those of SDM 2A.  None exists in 64-bit mode. */
#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"

#define AL(cpu) reg8(cpu, R_RAX * 8)
#define AH(cpu) reg8(cpu, R_RAX * 8 + 1)

/* SF, ZF and PF of a byte, with @carries out of AX_AF and AX_CF; OF is left 0. */
static void set_flags(struct x86_cpu *cpu, uint8_t v, uint32_t carries)
{
	uint32_t fl;

	asm("testb %[v], %[v]" FL_SAVE : "=a" (fl) : [v] "q" (v) : "cc");
	cpu->fl = (uint16_t)((fl & (AX_SF | AX_ZF | AX_PF | AX_ONE)) | carries);
}

static bool low_digit_adjusts(const struct x86_cpu *cpu, uint8_t al)
{
	return (al & 15) > 9 || (cpu->fl & AX_AF);
}

static void aaa(struct x86_cpu *cpu, const struct insn *i)
{
	bool adjust = low_digit_adjusts(cpu, AL(cpu));

	if (adjust)
		PUT_16(cpu, R_RAX, cpu->regs[R_RAX] + 0x106);
	AL(cpu) &= 15;
	set_flags(cpu, AL(cpu), adjust ? AX_AF | AX_CF : 0);
	NEXT(cpu, i);
}

static void aas(struct x86_cpu *cpu, const struct insn *i)
{
	bool adjust = low_digit_adjusts(cpu, AL(cpu));

	if (adjust)
		PUT_16(cpu, R_RAX, cpu->regs[R_RAX] - 0x106);
	AL(cpu) &= 15;
	set_flags(cpu, AL(cpu), adjust ? AX_AF | AX_CF : 0);
	NEXT(cpu, i);
}

static void daa(struct x86_cpu *cpu, const struct insn *i)
{
	uint8_t old = AL(cpu), v = old;
	uint32_t carries = 0;

	if (low_digit_adjusts(cpu, old)) {
		v += 6;
		carries |= AX_AF;
	}
	if (old > 0x99 || (cpu->fl & AX_CF)) {
		v += 0x60;
		carries |= AX_CF;
	}
	AL(cpu) = v;
	set_flags(cpu, v, carries);
	NEXT(cpu, i);
}

static void das(struct x86_cpu *cpu, const struct insn *i)
{
	uint8_t old = AL(cpu), v = old;
	uint32_t carries = 0;

	if (low_digit_adjusts(cpu, old)) {
		v -= 6;
		carries |= AX_AF;
		if (old < 6)
			carries |= AX_CF;
	}
	if (old > 0x99 || (cpu->fl & AX_CF)) {
		v -= 0x60;
		carries |= AX_CF;
	}
	AL(cpu) = v;
	set_flags(cpu, v, carries);
	NEXT(cpu, i);
}

static void aam(struct x86_cpu *cpu, const struct insn *i)
{
	uint8_t base = (uint8_t)i->imm, v = AL(cpu);

	if (!base) {
		at(cpu, i);
		x86_raise(cpu, X86_DE);
	}
	AH(cpu) = v / base;
	AL(cpu) = v % base;
	set_flags(cpu, AL(cpu), 0);
	NEXT(cpu, i);
}

static void aad(struct x86_cpu *cpu, const struct insn *i)
{
	AL(cpu) = (uint8_t)(AL(cpu) + AH(cpu) * i->imm);
	AH(cpu) = 0;
	set_flags(cpu, AL(cpu), 0);
	NEXT(cpu, i);
}

static int build_base(struct insn *i, const struct insn_build *b)
{
	i->imm = (uint8_t)build_imm(b, 0);
	return build_plain(i, b);
}

#define ROW(MNEMONIC, build, fn) { ZYDIS_MNEMONIC_##MNEMONIC, 0, ROW_NO_64, 0, build, ROW_FN(fn) }

static const struct insn_row rows[] = {
	ROW(AAA, build_plain, aaa), ROW(AAS, build_plain, aas),
	ROW(DAA, build_plain, daa), ROW(DAS, build_plain, das),
	ROW(AAM, build_base, aam), ROW(AAD, build_base, aad),
};

const struct insn_rows insn_rows_bcd = { rows, ARRAY_SIZE(rows) };
