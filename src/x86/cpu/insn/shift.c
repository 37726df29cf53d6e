/* SPDX-License-Identifier: MIT */
/*
 * SHL SHR SAR ROL ROR RCL RCR SHLD SHRD.  SDM 1, 7.3.6.
 *
 * A count of 0 leaves the flags alone, rotates leave most of them alone: so the
 * flags are loaded before, except for a shift by an immediate that is not 0.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"

#define FL_CLEAR "xorl %%eax, %%eax\n\t"

/* ------------------------------------------------------------------ by one operand and a count */

#define SHIFT_REG(name, op, load, bits, form, count)							\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	uint64_t d = GET_##bits(cpu, i->dst);								\
	uint32_t fl = cpu->fl;										\
	asm(load op SFX_##bits " %%cl, " REG_##bits(d) FL_SAVE						\
	    : [d] "+r" (d), "+a" (fl) : "c" ((uint8_t)(count)) : "cc");					\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define SHIFT_MEM(name, op, bits, form, count)								\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem_rmw(cpu, a, bits / 8);							\
	uint32_t fl = cpu->fl;										\
	asm volatile(FL_LOAD op SFX_##bits " %%cl, %[p]" FL_SAVE					\
		     : [p] "+m" (*p), "+a" (fl) : "c" ((uint8_t)(count)) : "cc", "memory");		\
	mem_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define SHIFT(name, op, load, bits)									\
	SHIFT_REG(name, op, load, bits, ri, i->imm)							\
	SHIFT_REG(name, op, FL_LOAD, bits, rr, reg8(cpu, i->src))					\
	SHIFT_MEM(name, op, bits, mi, i->imm)								\
	SHIFT_MEM(name, op, bits, mr, reg8(cpu, i->src))

#define SHIFT_ALL(name, op, load)									\
	SHIFT(name, op, load, 8)									\
	SHIFT(name, op, load, 16)									\
	SHIFT(name, op, load, 32)									\
	SHIFT(name, op, load, 64)									\
static const struct insn_forms name##_forms = { {							\
	[FORM_RR] = FORM_FNS(name, rr), [FORM_RI] = FORM_FNS(name, ri),					\
	[FORM_MR] = FORM_FNS(name, mr), [FORM_MR_SLOW] = FORM_FNS(name, mr),				\
	[FORM_MI] = FORM_FNS(name, mi), [FORM_MI_SLOW] = FORM_FNS(name, mi),				\
} };

SHIFT_ALL(shl, "shl", FL_CLEAR)
SHIFT_ALL(shr, "shr", FL_CLEAR)
SHIFT_ALL(sar, "sar", FL_CLEAR)
SHIFT_ALL(rol, "rol", FL_LOAD)
SHIFT_ALL(ror, "ror", FL_LOAD)
SHIFT_ALL(rcl, "rcl", FL_LOAD)
SHIFT_ALL(rcr, "rcr", FL_LOAD)

static int build_shift(struct insn *i, const struct insn_build *b)
{
	const struct insn_forms *t = b->row->arg;
	int size = build_opsize(b, 0), err = build_forms(i, b);

	/* A count that is masked to 0, SDM 2B: as if by a CL that is 0. */
	if (!err && build_is_reg(b, 0) && build_is_imm(b, 1) && !(i->imm & (size == 8 ? 63 : 31))) {
		i->src = R_ZERO * 8;
		i->fn = t->fn[FORM_RR][build_width((unsigned int)size)];
	}
	return err;
}

/* ------------------------------------------------------------------ double shifts */

/* @aux: the count is in CL. */
#define DOUBLE_COUNT(cpu, i) ((uint8_t)((i)->aux ? (cpu)->regs[R_RCX] : (i)->imm))

#define DOUBLE_SHIFT(name, op, bits)									\
static void name##bits##_rr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t d = cpu->regs[i->dst];									\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op SFX_##bits " %%cl, " REG_##bits(s) ", " REG_##bits(d) FL_SAVE			\
	    : [d] "+r" (d), "+a" (fl) : "c" (DOUBLE_COUNT(cpu, i)), [s] "r" (cpu->regs[i->src]) : "cc"); \
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}													\
static void name##bits##_mr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem_rmw(cpu, a, bits / 8);							\
	uint32_t fl = cpu->fl;										\
	asm volatile(FL_LOAD op SFX_##bits " %%cl, " REG_##bits(s) ", %[p]" FL_SAVE			\
		     : [p] "+m" (*p), "+a" (fl)								\
		     : "c" (DOUBLE_COUNT(cpu, i)), [s] "r" (cpu->regs[i->src]) : "cc", "memory");	\
	mem_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define DOUBLE_SHIFT_ALL(name, op)									\
	DOUBLE_SHIFT(name, op, 16)									\
	DOUBLE_SHIFT(name, op, 32)									\
	DOUBLE_SHIFT(name, op, 64)									\
static const struct insn_forms name##_forms = { {							\
	[FORM_RR] = FORM_FNS_NO8(name, rr),								\
	[FORM_MR] = FORM_FNS_NO8(name, mr), [FORM_MR_SLOW] = FORM_FNS_NO8(name, mr),			\
} };

DOUBLE_SHIFT_ALL(shld, "shld")
DOUBLE_SHIFT_ALL(shrd, "shrd")

static int build_double_shift(struct insn *i, const struct insn_build *b)
{
	int err = build_forms(i, b);

	if (err)
		return err;
	if (build_is_imm(b, 2))
		i->imm = build_imm(b, 2);
	else
		i->aux = 1;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define ROW(name, MNEMONIC, build) { ZYDIS_MNEMONIC_##MNEMONIC, 0, 0, 0, build, &name##_forms }

static const struct insn_row rows[] = {
	ROW(shl, SHL, build_shift),
	ROW(shr, SHR, build_shift),
	ROW(sar, SAR, build_shift),
	ROW(rol, ROL, build_shift),
	ROW(ror, ROR, build_shift),
	ROW(rcl, RCL, build_shift),
	ROW(rcr, RCR, build_shift),
	ROW(shld, SHLD, build_double_shift),
	ROW(shrd, SHRD, build_double_shift),
};

const struct insn_rows insn_rows_shift = { rows, ARRAY_SIZE(rows) };
