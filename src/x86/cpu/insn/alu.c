/* SPDX-License-Identifier: MIT */
/* ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT.  SDM 1, 7.3.2; SDM 2. */
#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"

/*
 * Two operands.  name##bits(d, s, &fl): the operation on registers;
 * name##bits##_at and _locked: on guest memory, the latter with LOCK.  @load:
 * what the instruction needs of the flags before, with @fl_io "+a"; else "=a",
 * which keeps successive instructions' flags independent of each other.
 */
#define BINARY_OP(name, op, load, fl_io, bits)								\
static ALWAYS_INLINE uint64_t name##bits(uint64_t d, uint64_t s, uint32_t *fl)				\
{													\
	asm(load op SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) FL_SAVE				\
	    : [d] "+r" (d), fl_io (*fl) : [s] "r" (s) : "cc");						\
	return d;											\
}													\
static ALWAYS_INLINE void name##bits##_at(volatile U_##bits *p, uint64_t s, uint32_t *fl)		\
{													\
	asm volatile(load op SFX_##bits " " REG_##bits(s) ", %[p]" FL_SAVE				\
		     : [p] "+m" (*p), fl_io (*fl) : [s] "r" (s) : "cc", "memory");			\
}													\
static ALWAYS_INLINE void name##bits##_locked(volatile U_##bits *p, uint64_t s, uint32_t *fl)		\
{													\
	asm volatile(load "lock " op SFX_##bits " " REG_##bits(s) ", %[p]" FL_SAVE			\
		     : [p] "+m" (*p), fl_io (*fl) : [s] "r" (s) : "cc", "memory");			\
}

#define DO_REG(name, bits, source)									\
	uint32_t fl = cpu->fl;										\
	uint64_t d = name##bits(GET_##bits(cpu, i->dst), source, &fl);					\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i)

#define REG_HANDLER(name, bits, form, source)								\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	DO_REG(name, bits, source);									\
}

#define RM_HANDLER(name, bits)										\
REG_HANDLER(name, bits, rm_slow, LD_##bits(cpu, ea(cpu, i, bits / 8, false)))				\
static void name##bits##_rm(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	FAST_READ(U_##bits, p, cpu, i, name##bits##_rm_slow);						\
	DO_REG(name, bits, *p);										\
}

#define MEM_HANDLER(name, bits, form, mem, f, source)							\
SLOW_FN static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem##_rmw(cpu, a, bits / 8);							\
	uint32_t fl = cpu->fl;										\
	f(p, source, &fl);										\
	mem##_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define FAST_MEM_HANDLER(name, bits, form, f, source)							\
MEM_HANDLER(name, bits, form##_slow, mem, f, source)							\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	FAST_RMW(U_##bits, p, cpu, i, name##bits##_##form##_slow);					\
	uint32_t fl = cpu->fl;										\
	f(p, source, &fl);										\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define BINARY(name, op, load, fl_io, bits)								\
	BINARY_OP(name, op, load, fl_io, bits)								\
	REG_HANDLER(name, bits, rr, GET_##bits(cpu, i->src))						\
	REG_HANDLER(name, bits, ri, i->imm)								\
	RM_HANDLER(name, bits)										\
	FAST_MEM_HANDLER(name, bits, mr, name##bits##_at, GET_##bits(cpu, i->src))			\
	FAST_MEM_HANDLER(name, bits, mi, name##bits##_at, i->imm)					\
	MEM_HANDLER(name, bits, lmr, locked, name##bits##_locked, GET_##bits(cpu, i->src))		\
	MEM_HANDLER(name, bits, lmi, locked, name##bits##_locked, i->imm)

#define BINARY_ALL(name, op, load, fl_io)								\
	BINARY(name, op, load, fl_io, 8)								\
	BINARY(name, op, load, fl_io, 16)								\
	BINARY(name, op, load, fl_io, 32)								\
	BINARY(name, op, load, fl_io, 64)								\
static const struct insn_forms name##_forms = { {							\
	[FORM_RR] = FORM_FNS(name, rr), [FORM_RI] = FORM_FNS(name, ri),					\
	[FORM_RM] = FORM_FNS(name, rm), [FORM_RM_SLOW] = FORM_FNS(name, rm_slow),			\
	[FORM_MR] = FORM_FNS(name, mr), [FORM_MR_SLOW] = FORM_FNS(name, mr_slow),			\
	[FORM_MI] = FORM_FNS(name, mi), [FORM_MI_SLOW] = FORM_FNS(name, mi_slow),			\
	[FORM_LMR] = FORM_FNS(name, lmr), [FORM_LMI] = FORM_FNS(name, lmi),				\
} };

BINARY_ALL(add, "add", "", "=a")
BINARY_ALL(or, "or", "", "=a")
BINARY_ALL(adc, "adc", FL_LOAD_CF, "+a")
BINARY_ALL(sbb, "sbb", FL_LOAD_CF, "+a")
BINARY_ALL(and, "and", "", "=a")
BINARY_ALL(sub, "sub", "", "=a")
BINARY_ALL(xor, "xor", "", "=a")

/* CMP and TEST: flags alone.  Memory is read, never written. */
#define COMPARE_HANDLER(name, bits, form, first, second)						\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	cpu->fl = name##bits(first, second);								\
	NEXT(cpu, i);											\
}

#define COMPARE_MEM_HANDLER(name, bits, form, first, second)						\
SLOW_FN static void name##bits##_##form##_slow(struct x86_cpu *cpu, const struct insn *i)		\
{													\
	U_##bits v = LD_##bits(cpu, ea(cpu, i, bits / 8, false)), *p = &v;				\
	cpu->fl = name##bits(first, second);								\
	NEXT(cpu, i);											\
}													\
static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	FAST_READ(U_##bits, p, cpu, i, name##bits##_##form##_slow);					\
	cpu->fl = name##bits(first, second);								\
	NEXT(cpu, i);											\
}

#define COMPARE(name, op, bits)										\
static ALWAYS_INLINE uint16_t name##bits(uint64_t d, uint64_t s)					\
{													\
	uint32_t fl;											\
	asm(op SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) FL_SAVE					\
	    : "=a" (fl) : [d] "r" (d), [s] "r" (s) : "cc");						\
	return (uint16_t)fl;										\
}													\
	COMPARE_HANDLER(name, bits, rr, GET_##bits(cpu, i->dst), GET_##bits(cpu, i->src))		\
	COMPARE_HANDLER(name, bits, ri, GET_##bits(cpu, i->dst), i->imm)				\
	COMPARE_MEM_HANDLER(name, bits, rm, GET_##bits(cpu, i->dst), *p)				\
	COMPARE_MEM_HANDLER(name, bits, mr, *p, GET_##bits(cpu, i->src))				\
	COMPARE_MEM_HANDLER(name, bits, mi, *p, i->imm)

#define COMPARE_ALL(name, op)										\
	COMPARE(name, op, 8)										\
	COMPARE(name, op, 16)										\
	COMPARE(name, op, 32)										\
	COMPARE(name, op, 64)										\
static const struct insn_forms name##_forms = { {							\
	[FORM_RR] = FORM_FNS(name, rr), [FORM_RI] = FORM_FNS(name, ri),					\
	[FORM_RM] = FORM_FNS(name, rm), [FORM_RM_SLOW] = FORM_FNS(name, rm_slow),			\
	[FORM_MR] = FORM_FNS(name, mr), [FORM_MR_SLOW] = FORM_FNS(name, mr_slow),			\
	[FORM_MI] = FORM_FNS(name, mi), [FORM_MI_SLOW] = FORM_FNS(name, mi_slow),			\
} };

COMPARE_ALL(cmp, "cmp")
COMPARE_ALL(test, "test")

/* One operand.  INC and DEC leave CF alone, NOT leaves all flags alone. */
#define UNARY_AT(lock, op, load, save, bits)								\
	uint32_t fl = cpu->fl;										\
	asm volatile(load lock op SFX_##bits " %[p]" save						\
		     : [p] "+m" (*p), "+a" (fl) : : "cc", "memory")

#define UNARY_MEM(name, form, mem, lock, op, load, save, bits)						\
SLOW_FN static void name##bits##_##form(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem##_rmw(cpu, a, bits / 8);							\
	UNARY_AT(lock, op, load, save, bits);								\
	mem##_commit(cpu, a, bits / 8, p);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define UNARY(name, op, load, save, bits)								\
static void name##bits##_r(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t d = GET_##bits(cpu, i->dst);								\
	uint32_t fl = cpu->fl;										\
	asm(load op SFX_##bits " " REG_##bits(d) save : [d] "+r" (d), "+a" (fl) : : "cc");		\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}													\
UNARY_MEM(name, m_slow, mem, "", op, load, save, bits)							\
UNARY_MEM(name, lm, locked, "lock ", op, load, save, bits)						\
static void name##bits##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	FAST_RMW(U_##bits, p, cpu, i, name##bits##_m_slow);						\
	UNARY_AT("", op, load, save, bits);								\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define UNARY_ALL(name, op, load, save)									\
	UNARY(name, op, load, save, 8)									\
	UNARY(name, op, load, save, 16)									\
	UNARY(name, op, load, save, 32)									\
	UNARY(name, op, load, save, 64)									\
static const struct insn_forms name##_forms = { {							\
	[FORM_R] = FORM_FNS(name, r), [FORM_LM] = FORM_FNS(name, lm),					\
	[FORM_M] = FORM_FNS(name, m), [FORM_M_SLOW] = FORM_FNS(name, m_slow),				\
} };

UNARY_ALL(inc, "inc", FL_LOAD_CF, FL_SAVE)
UNARY_ALL(dec, "dec", FL_LOAD_CF, FL_SAVE)
UNARY_ALL(neg, "neg", "", FL_SAVE)
UNARY_ALL(not, "not", "", "")

/* XOR and SUB of a register with itself: how compilers write zero. */
static void zero_r(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = 0;
	cpu->fl = AX_ZF | AX_PF | AX_ONE;
	NEXT(cpu, i);
}

static int build_zeroing(struct insn *i, const struct insn_build *b)
{
	int err = build_forms(i, b);

	if (!err && build_is_reg(b, 0) && build_is_reg(b, 1) && i->dst == i->src && build_opsize(b, 0) >= 4)
		i->fn = zero_r;
	return err;
}

#define ROW(name, MNEMONIC, flags, build) { ZYDIS_MNEMONIC_##MNEMONIC, 0, flags, 0, build, &name##_forms }

static const struct insn_row rows[] = {
	ROW(add, ADD, ROW_LOCK, build_forms),
	ROW(or, OR, ROW_LOCK, build_forms),
	ROW(adc, ADC, ROW_LOCK, build_forms),
	ROW(sbb, SBB, ROW_LOCK, build_forms),
	ROW(and, AND, ROW_LOCK, build_forms),
	ROW(sub, SUB, ROW_LOCK, build_zeroing),
	ROW(xor, XOR, ROW_LOCK, build_zeroing),
	ROW(cmp, CMP, 0, build_forms),
	ROW(test, TEST, 0, build_forms),
	ROW(inc, INC, ROW_LOCK, build_forms),
	ROW(dec, DEC, ROW_LOCK, build_forms),
	ROW(neg, NEG, ROW_LOCK, build_forms),
	ROW(not, NOT, ROW_LOCK, build_forms),
};

const struct insn_rows insn_rows_alu = { rows, ARRAY_SIZE(rows) };
