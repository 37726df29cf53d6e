/* SPDX-License-Identifier: MIT */
/*
 * Which instructions L1 may intercept as such, once the checks that come before
 * (CPL 0, protected mode) are passed: the decoder plants op_intercept() before
 * them.  Those with checks of their own that come first, or with something to
 * tell, ask in their handlers.  SDM 3C 26.1; APM 2, 15.7 and table 15-7.
 */
#include <Zydis/Zydis.h>

#include "x86/cpu/decode.h"

static const struct {
	uint16_t mnemonic;
	uint8_t icpt;
} rows[] = {
	{ ZYDIS_MNEMONIC_CPUID, ICPT_CPUID },
	{ ZYDIS_MNEMONIC_HLT, ICPT_HLT },
	{ ZYDIS_MNEMONIC_PAUSE, ICPT_PAUSE },
	{ ZYDIS_MNEMONIC_RDPID, ICPT_RDPID },
	{ ZYDIS_MNEMONIC_INVD, ICPT_INVD },
	{ ZYDIS_MNEMONIC_WBINVD, ICPT_WBINVD },
	{ ZYDIS_MNEMONIC_INVLPG, ICPT_INVLPG },
	{ ZYDIS_MNEMONIC_INVPCID, ICPT_INVPCID },
	{ ZYDIS_MNEMONIC_XSAVES, ICPT_XSAVES },
	{ ZYDIS_MNEMONIC_XSAVES64, ICPT_XSAVES },
	{ ZYDIS_MNEMONIC_XRSTORS, ICPT_XRSTORS },
	{ ZYDIS_MNEMONIC_XRSTORS64, ICPT_XRSTORS },
	{ ZYDIS_MNEMONIC_RDRAND, ICPT_RDRAND },
	{ ZYDIS_MNEMONIC_RDSEED, ICPT_RDSEED },
	{ ZYDIS_MNEMONIC_LGDT, ICPT_LGDT },
	{ ZYDIS_MNEMONIC_LIDT, ICPT_LIDT },
	{ ZYDIS_MNEMONIC_PUSHF, ICPT_PUSHF },
	{ ZYDIS_MNEMONIC_PUSHFD, ICPT_PUSHF },
	{ ZYDIS_MNEMONIC_PUSHFQ, ICPT_PUSHF },
	{ ZYDIS_MNEMONIC_POPF, ICPT_POPF },
	{ ZYDIS_MNEMONIC_POPFD, ICPT_POPF },
	{ ZYDIS_MNEMONIC_POPFQ, ICPT_POPF },
	{ ZYDIS_MNEMONIC_IRET, ICPT_IRET },
	{ ZYDIS_MNEMONIC_IRETD, ICPT_IRET },
	{ ZYDIS_MNEMONIC_IRETQ, ICPT_IRET },
	{ ZYDIS_MNEMONIC_RSM, ICPT_RSM },
};

static void op_intercept(struct x86_cpu *cpu, const struct insn *i)
{
	if (x86_icpt(cpu, i->aux)) {
		at(cpu, i);
		x86_intercept_asked(cpu, i + 1, i->aux, 0);
	}
	NEXT(cpu, i);
}

struct insn *insn_plant_intercept(struct insn *out, uint16_t mnemonic)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		if (rows[n].mnemonic == mnemonic) {
			out[1] = out[0];
			out[0].fn = op_intercept;
			out[0].len = 0;
			out[0].aux = rows[n].icpt;
			return &out[1];
		}
	return out;
}
