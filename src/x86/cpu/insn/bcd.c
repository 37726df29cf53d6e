/* SPDX-License-Identifier: MIT */
/* AAA AAS DAA DAS AAM AAD.  SDM 1, 7.3.3; the operations are those of SDM 2A.  None exists in 64-bit mode. */
#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"

#define AL(cpu) reg8(cpu, R_RAX * 8)
#define AH(cpu) reg8(cpu, R_RAX * 8 + 1)

/*
 * The adjustments are additions and subtractions.  Their flags are the
 * host's, but for AF and CF where the manual says so; what it leaves undefined
 * then comes out as in hardware.
 */
static uint8_t add8(uint8_t a, uint8_t b, uint32_t *fl)
{
	asm("addb %[b], %[a]" FL_SAVE : [a] "+q" (a), "=a" (*fl) : [b] "q" (b) : "cc");
	return a;
}

static uint8_t sub8(uint8_t a, uint8_t b, uint32_t *fl)
{
	asm("subb %[b], %[a]" FL_SAVE : [a] "+q" (a), "=a" (*fl) : [b] "q" (b) : "cc");
	return a;
}

static void set_flags(struct x86_cpu *cpu, uint32_t fl, uint32_t carries)
{
	cpu->fl = (uint16_t)((fl & ~(AX_AF | AX_CF)) | carries);
}

static bool low_digit_adjusts(const struct x86_cpu *cpu, uint8_t al)
{
	return (al & 15) > 9 || (cpu->fl & AX_AF);
}

/* Additions to and subtractions from AX as a whole; then AL loses its upper digit. */
#define ASCII_ADJUST(name, op)										\
static void name(struct x86_cpu *cpu, const struct insn *i)						\
{													\
	bool adjust = low_digit_adjusts(cpu, AL(cpu));							\
	uint32_t fl;											\
	uint64_t ax = cpu->regs[R_RAX];									\
	asm(op " %w[n], %w[ax]" FL_SAVE : [ax] "+r" (ax), "=a" (fl) : [n] "r" (adjust ? 0x106 : 0) : "cc"); \
	cpu->regs[R_RAX] = ax & ~0xf0ULL;								\
	set_flags(cpu, fl, adjust ? AX_AF | AX_CF : 0);							\
	NEXT(cpu, i);											\
}

ASCII_ADJUST(aaa, "addw")
ASCII_ADJUST(aas, "subw")

static void daa(struct x86_cpu *cpu, const struct insn *i)
{
	bool low = low_digit_adjusts(cpu, AL(cpu)), high = AL(cpu) > 0x99 || (cpu->fl & AX_CF);
	uint32_t fl;

	AL(cpu) = add8(AL(cpu), (low ? 6 : 0) + (high ? 0x60 : 0), &fl);
	set_flags(cpu, fl, (low ? AX_AF : 0) | (high ? AX_CF : 0));
	NEXT(cpu, i);
}

static void das(struct x86_cpu *cpu, const struct insn *i)
{
	uint8_t old = AL(cpu);
	bool low = low_digit_adjusts(cpu, old), high = old > 0x99 || (cpu->fl & AX_CF);
	uint32_t fl;

	AL(cpu) = sub8(old, (low ? 6 : 0) + (high ? 0x60 : 0), &fl);
	set_flags(cpu, fl, (low ? AX_AF : 0) | (high || (low && old < 6) ? AX_CF : 0));
	NEXT(cpu, i);
}

static void aam(struct x86_cpu *cpu, const struct insn *i)
{
	uint8_t base = (uint8_t)i->imm, v = AL(cpu);
	uint32_t fl;

	if (!base) {
		at(cpu, i);
		x86_raise(cpu, X86_DE);
	}
	AH(cpu) = v / base;
	AL(cpu) = add8(v % base, 0, &fl);
	set_flags(cpu, fl, 0);
	NEXT(cpu, i);
}

static void aad(struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t fl;

	AL(cpu) = add8(AL(cpu), (uint8_t)(AH(cpu) * i->imm), &fl);
	AH(cpu) = 0;
	cpu->fl = (uint16_t)fl;
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
