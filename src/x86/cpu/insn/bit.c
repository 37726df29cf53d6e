/* SPDX-License-Identifier: MIT */
/*
 * BT BTS BTR BTC, BSF BSR, LZCNT TZCNT POPCNT.  SDM 1, 7.3.7.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"
#include "x86/features.h"

/* ------------------------------------------------------------------ bit tests */

/*
 * A bit offset in a register addresses memory on both sides of the operand, in
 * units of the operand size; an immediate one wraps.  The byte displacement is
 * added before the address is cut to the address size.  SDM 2A, BT.
 */
SLOW_FN static gva_t bit_ea_slow(struct x86_cpu *cpu, const struct insn *i, unsigned int bits, int64_t disp,
				 bool write)
{
	struct insn moved = *i;

	moved.disp += disp;
	return ea_slow(cpu, &moved, bits / 8, write);
}

static ALWAYS_INLINE gva_t bit_ea(struct x86_cpu *cpu, const struct insn *i, unsigned int bits,
				  int64_t offset, bool write)
{
	int64_t disp = (offset & -(int64_t)bits) >> 3;

	at(cpu, i);
	if (unlikely(i->ea_flags & EA_SLOW))
		return bit_ea_slow(cpu, i, bits, disp, write);
	return ea_fast(cpu, i) + (uint64_t)disp;
}

#define BIT_DO(op, bits, d, o)										\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op SFX_##bits " " REG_##bits(o) ", " REG_##bits(d) FL_SAVE				\
	    : [d] "+r" (d), "+a" (fl) : [o] "r" (o) : "cc")

#define BIT_LOCKED(op, bits, p, o)									\
	uint32_t fl = cpu->fl;										\
	asm volatile(FL_LOAD "lock " op SFX_##bits " " REG_##bits(o) ", %[m]" FL_SAVE			\
		     : [m] "+m" (*p), "+a" (fl) : [o] "r" (o) : "cc", "memory")

#define BIT_REG(name, op, bits, form, offset)								\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	uint64_t d = cpu->regs[i->dst], o = offset;							\
	BIT_DO(op, bits, d, o);										\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

/* BT reads, the others write back. */
#define BIT_READ(name, op, bits, form, offset)								\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	int64_t where = (S_##bits)(offset);								\
	uint64_t d = LD_##bits(cpu, bit_ea(cpu, i, bits, where, false)), o = (uint64_t)where & (bits - 1); \
	BIT_DO(op, bits, d, o);										\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define BIT_WRITE(name, op, bits, form, offset)								\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	int64_t where = (S_##bits)(offset);								\
	gva_t a = bit_ea(cpu, i, bits, where, true);							\
	U_##bits *p = mem_rmw(cpu, a, bits / 8);							\
	uint64_t d = *p, o = (uint64_t)where & (bits - 1);						\
	BIT_DO(op, bits, d, o);										\
	*p = (U_##bits)d;										\
	mem_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}													\
static void name##bits##_l##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	int64_t where = (S_##bits)(offset);								\
	gva_t a = bit_ea(cpu, i, bits, where, true);							\
	U_##bits *p = locked_rmw(cpu, a, bits / 8);							\
	uint64_t o = (uint64_t)where & (bits - 1);							\
	BIT_LOCKED(op, bits, p, o);									\
	locked_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define BIT(name, op, bits, MEM)									\
	BIT_REG(name, op, bits, rr, cpu->regs[i->src])							\
	BIT_REG(name, op, bits, ri, i->imm)								\
	MEM(name, op, bits, mr, cpu->regs[i->src])							\
	MEM(name, op, bits, mi, i->imm & (bits - 1))

#define BIT_ALL(name, op, MEM)										\
	BIT(name, op, 16, MEM)										\
	BIT(name, op, 32, MEM)										\
	BIT(name, op, 64, MEM)

#define BIT_FORMS(name)											\
	[FORM_RR] = FORM_FNS_NO8(name, rr), [FORM_RI] = FORM_FNS_NO8(name, ri),				\
	[FORM_MR] = FORM_FNS_NO8(name, mr), [FORM_MR_SLOW] = FORM_FNS_NO8(name, mr),			\
	[FORM_MI] = FORM_FNS_NO8(name, mi), [FORM_MI_SLOW] = FORM_FNS_NO8(name, mi)
#define BIT_LOCK_FORMS(name)										\
	[FORM_LMR] = FORM_FNS_NO8(name, lmr), [FORM_LMI] = FORM_FNS_NO8(name, lmi)

BIT_ALL(bt, "bt", BIT_READ)
BIT_ALL(bts, "bts", BIT_WRITE)
BIT_ALL(btr, "btr", BIT_WRITE)
BIT_ALL(btc, "btc", BIT_WRITE)

static const struct insn_forms bt_forms = { { BIT_FORMS(bt) } };
static const struct insn_forms bts_forms = { { BIT_FORMS(bts), BIT_LOCK_FORMS(bts) } };
static const struct insn_forms btr_forms = { { BIT_FORMS(btr), BIT_LOCK_FORMS(btr) } };
static const struct insn_forms btc_forms = { { BIT_FORMS(btc), BIT_LOCK_FORMS(btc) } };

/* ------------------------------------------------------------------ bit scans and counts */

/* The destination goes in whole: BSF and BSR of 0 leave it as it was. */
#define SCAN_DO(op, bits, source)									\
	uint64_t d = cpu->regs[i->dst], s = source;							\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) FL_SAVE				\
	    : [d] "+r" (d), "+a" (fl) : [s] "r" (s) : "cc");						\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i)

#define SCAN(name, op, bits)										\
static void name##bits##_rr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	SCAN_DO(op, bits, cpu->regs[i->src]);								\
}													\
static void name##bits##_rm(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	U_##bits v = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	SCAN_DO(op, bits, v);										\
}

#define SCAN_ALL(name, op)										\
	SCAN(name, op, 16)										\
	SCAN(name, op, 32)										\
	SCAN(name, op, 64)										\
static const struct insn_forms name##_forms = { {							\
	[FORM_RR] = FORM_FNS_NO8(name, rr),								\
	[FORM_RM] = FORM_FNS_NO8(name, rm), [FORM_RM_SLOW] = FORM_FNS_NO8(name, rm),			\
} };

SCAN_ALL(bsf, "bsf")
SCAN_ALL(bsr, "bsr")
SCAN_ALL(tzcnt, "tzcnt")
SCAN_ALL(lzcnt, "lzcnt")
SCAN_ALL(popcnt, "popcnt")

/* ------------------------------------------------------------------ rows */

#define ROW(name, MNEMONIC, feature, flags)								\
	{ ZYDIS_MNEMONIC_##MNEMONIC, feature, flags, 0, build_forms, &name##_forms }

static const struct insn_row rows[] = {
	ROW(bt, BT, 0, 0),
	ROW(bts, BTS, 0, ROW_LOCK),
	ROW(btr, BTR, 0, ROW_LOCK),
	ROW(btc, BTC, 0, ROW_LOCK),
	ROW(bsf, BSF, 0, 0),
	ROW(bsr, BSR, 0, 0),
	ROW(tzcnt, TZCNT, X86_F_BMI1, 0),
	ROW(lzcnt, LZCNT, X86_F_ABM, 0),
	/* Where these are not offered their prefix counts for nothing; SDM 2, LZCNT and TZCNT. */
	ROW(bsf, TZCNT, 0, 0),
	ROW(bsr, LZCNT, 0, 0),
	ROW(popcnt, POPCNT, X86_F_POPCNT, 0),
};

const struct insn_rows insn_rows_bit = { rows, ARRAY_SIZE(rows) };
