/* SPDX-License-Identifier: MIT */
/*
 * MUL IMUL DIV IDIV.  SDM 1, 7.3.2.5.
 *
 * A division is judged before the host makes it: a #DE of the host's would be a
 * SIGFPE.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"

/*
 * One operand: RDX:RAX, or AX alone for bytes, by @s.  `acc` takes RAX's place
 * while AX carries the flags.
 */
#define WIDE_OP(name, op, bits)										\
static ALWAYS_INLINE void name##bits(struct x86_cpu *cpu, uint64_t s)					\
{													\
	uint64_t acc = cpu->regs[R_RAX], hi = cpu->regs[R_RDX];						\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD "movq %[acc], %%rax\n\t" op SFX_##bits " " REG_##bits(s) "\n\t"			\
	    "movq %%rax, %[acc]" FL_SAVE								\
	    : [acc] "+&r" (acc), "+&a" (fl), "+&d" (hi) : [s] "r" (s) : "cc");				\
	cpu->regs[R_RAX] = acc;										\
	cpu->regs[R_RDX] = hi;										\
	cpu->fl = (uint16_t)fl;										\
}

#define WIDE(name, op, bits, check)									\
	WIDE_OP(name, op, bits)										\
static void name##bits##_r(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t s = GET_##bits(cpu, i->dst);								\
	check(cpu, i, bits, s);										\
	name##bits(cpu, s);										\
	NEXT(cpu, i);											\
}													\
static void name##bits##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t s = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	check(cpu, i, bits, s);										\
	name##bits(cpu, s);										\
	NEXT(cpu, i);											\
}

#define WIDE_ALL(name, op, check)									\
	WIDE(name, op, 8, check)									\
	WIDE(name, op, 16, check)									\
	WIDE(name, op, 32, check)									\
	WIDE(name, op, 64, check)									\
static const struct insn_forms name##_forms = { {							\
	[FORM_R] = FORM_FNS(name, r), [FORM_M] = FORM_FNS(name, m), [FORM_M_SLOW] = FORM_FNS(name, m),	\
} };

#define NO_CHECK(cpu, i, bits, s) ((void)0)

WIDE_ALL(mul, "mul", NO_CHECK)
WIDE_ALL(imul, "imul", NO_CHECK)

/* ------------------------------------------------------------------ DIV */

/* The quotient overflows when the upper half of the dividend is not below the divisor. */
static ALWAYS_INLINE bool div_overflows(const struct x86_cpu *cpu, unsigned int bits, uint64_t s)
{
	uint64_t mask = bits == 64 ? ~0ULL : (1ULL << bits) - 1;
	uint64_t hi = bits == 8 ? cpu->regs[R_RAX] >> 8 : cpu->regs[R_RDX];

	return (hi & mask) >= (s & mask);
}

#define DIV_CHECK(cpu, i, bits, s)									\
	do {												\
		if (unlikely(div_overflows(cpu, bits, s))) {						\
			at(cpu, i);									\
			x86_raise(cpu, X86_DE);								\
		}											\
	} while (0)

WIDE_ALL(div, "div", DIV_CHECK)

/* ------------------------------------------------------------------ IDIV */

/* Does the quotient of the 128-bit @hi:@lo by @s lie outside 64 signed bits? */
SLOW_FN static bool idiv128_overflows(uint64_t hi, uint64_t lo, int64_t s)
{
	bool negative = ((int64_t)hi < 0) != (s < 0);
	uint64_t us = s < 0 ? -(uint64_t)s : (uint64_t)s, quotient, rest;

	if ((int64_t)hi < 0) {
		lo = -lo;
		hi = ~hi + !lo;
	}
	if (hi >= us)
		return true;
	asm("divq %[s]" : "=a" (quotient), "=d" (rest) : "a" (lo), "d" (hi), [s] "r" (us) : "cc");
	return quotient > (uint64_t)INT64_MAX + negative;
}

/* The same for @n of twice @bits, up to 64. */
SLOW_FN static bool idiv64_overflows(int64_t n, int64_t s, unsigned int bits)
{
	int64_t max = (1LL << (bits - 1)) - 1, quotient;

	if (s == -1)
		return n < -max || n > max + 1;
	quotient = n / s;
	return quotient > max || quotient < -max - 1;
}

static ALWAYS_INLINE bool idiv_overflows(const struct x86_cpu *cpu, unsigned int bits, uint64_t divisor)
{
	uint64_t a = cpu->regs[R_RAX], d = cpu->regs[R_RDX];
	unsigned int up = 64 - bits;
	int64_t s = (int64_t)(divisor << up) >> up, n;

	if (!s)
		return true;
	if (bits == 64) {
		if (likely(d == (uint64_t)((int64_t)a >> 63) && s != -1))
			return false;
		return idiv128_overflows(d, a, s);
	}
	if (bits == 8)
		n = (int16_t)a;
	else if (bits == 16)
		n = (int32_t)((uint16_t)a | (uint32_t)d << 16);
	else
		n = (int64_t)((uint32_t)a | d << 32);
	if (likely(n == (int64_t)((uint64_t)n << up) >> up && s != -1))
		return false;
	return idiv64_overflows(n, s, bits);
}

#define IDIV_CHECK(cpu, i, bits, s)									\
	do {												\
		if (unlikely(idiv_overflows(cpu, bits, s))) {						\
			at(cpu, i);									\
			x86_raise(cpu, X86_DE);								\
		}											\
	} while (0)

WIDE_ALL(idiv, "idiv", IDIV_CHECK)

/* ------------------------------------------------------------------ IMUL with two and three operands */

#define IMUL_TO(bits, first, second)									\
	uint64_t d = first;										\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD "imul" SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) FL_SAVE			\
	    : [d] "+r" (d), "+a" (fl) : [s] "r" ((uint64_t)(second)) : "cc");				\
	PUT_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i)

#define IMUL(bits)											\
static void imul2_##bits##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	IMUL_TO(bits, cpu->regs[i->dst], cpu->regs[i->src]);						\
}													\
static void imul2_##bits##_rm(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	IMUL_TO(bits, LD_##bits(cpu, ea(cpu, i, bits / 8, false)), cpu->regs[i->dst]);			\
}													\
static void imul3_##bits##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	IMUL_TO(bits, cpu->regs[i->src], i->imm);							\
}													\
static void imul3_##bits##_rm(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	IMUL_TO(bits, LD_##bits(cpu, ea(cpu, i, bits / 8, false)), i->imm);				\
}

IMUL(16)
IMUL(32)
IMUL(64)

static int build_imul(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const fns[2][2][4] = {
		{ { NULL, imul2_16_rr, imul2_32_rr, imul2_64_rr }, { NULL, imul2_16_rm, imul2_32_rm, imul2_64_rm } },
		{ { NULL, imul3_16_rr, imul3_32_rr, imul3_64_rr }, { NULL, imul3_16_rm, imul3_32_rm, imul3_64_rm } },
	};
	bool three = build_op_count(b) == 3;
	int form;

	if (build_op_count(b) == 1)
		return build_forms(i, b);
	form = build_form(i, b);
	if (form != FORM_RR && form != FORM_RM)
		return -ENOENT;
	if (three)
		i->imm = build_imm(b, 2);
	i->fn = fns[three][form == FORM_RM][build_width((unsigned int)build_opsize(b, 0))];
	return i->fn ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ rows */

#define ROW(name, MNEMONIC, build) { ZYDIS_MNEMONIC_##MNEMONIC, 0, 0, 0, build, &name##_forms }

static const struct insn_row rows[] = {
	ROW(mul, MUL, build_forms),
	ROW(imul, IMUL, build_imul),
	ROW(div, DIV, build_forms),
	ROW(idiv, IDIV, build_forms),
};

const struct insn_rows insn_rows_muldiv = { rows, ARRAY_SIZE(rows) };
