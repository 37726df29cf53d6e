/* SPDX-License-Identifier: MIT */
/*
 * BMI1, BMI2, ADX and CRC32.  SDM 1, 7.3.7; SDM 2.
 *
 * Operands: dst, and `v`, the register or memory one; the other register, where
 * there is one, is src2.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"
#include "x86/features.h"

/* Handlers by register or memory operand, 32 or 64 bits. */
struct bmi_fns {
	insn_fn *fn[2][2];
	uint8_t v, other;               /* operand numbers; other 0: none */
};

#define BMI_HANDLERS(name, bits, body)									\
static void name##bits##_r(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t v = cpu->regs[i->src];									\
	body(bits);											\
	NEXT(cpu, i);											\
}													\
static void name##bits##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t v = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	body(bits);											\
	NEXT(cpu, i);											\
}

#define BMI_BOTH(name, body, v_operand, other_operand)							\
	BMI_HANDLERS(name, 32, body)									\
	BMI_HANDLERS(name, 64, body)									\
static const struct bmi_fns name##_fns = {								\
	.fn = { { name##32_r, name##64_r }, { name##32_m, name##64_m } },				\
	.v = v_operand, .other = other_operand,								\
};

/* dst = op(other, v), with flags. */
#define FLAGGED3(op, bits, first, second)								\
	uint64_t d;											\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op " " first ", " second ", " REG_##bits(d) FL_SAVE					\
	    : [d] "=&r" (d), "+a" (fl) : [v] "r" (v), [o] "r" (cpu->regs[i->src2]) : "cc");		\
	PUT_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl

#define ANDN(bits) FLAGGED3("andn", bits, REG_##bits(v), REG_##bits(o))
#define BEXTR(bits) FLAGGED3("bextr", bits, REG_##bits(o), REG_##bits(v))
#define BZHI(bits) FLAGGED3("bzhi", bits, REG_##bits(o), REG_##bits(v))

BMI_BOTH(andn, ANDN, 2, 1)
BMI_BOTH(bextr, BEXTR, 1, 2)
BMI_BOTH(bzhi, BZHI, 1, 2)

/* dst = op(v), with flags. */
#define FLAGGED2(op, bits)										\
	uint64_t d;											\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op " " REG_##bits(v) ", " REG_##bits(d) FL_SAVE					\
	    : [d] "=&r" (d), "+a" (fl) : [v] "r" (v) : "cc");						\
	PUT_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl

#define BLSI(bits) FLAGGED2("blsi", bits)
#define BLSMSK(bits) FLAGGED2("blsmsk", bits)
#define BLSR(bits) FLAGGED2("blsr", bits)

BMI_BOTH(blsi, BLSI, 1, 0)
BMI_BOTH(blsmsk, BLSMSK, 1, 0)
BMI_BOTH(blsr, BLSR, 1, 0)

/* The same without flags. */
#define QUIET3(op, bits, first, second)									\
	uint64_t d;											\
	asm(op " " first ", " second ", " REG_##bits(d)							\
	    : [d] "=r" (d) : [v] "r" (v), [o] "r" (cpu->regs[i->src2]));				\
	PUT_##bits(cpu, i->dst, d)

#define PDEP(bits) QUIET3("pdep", bits, REG_##bits(v), REG_##bits(o))
#define PEXT(bits) QUIET3("pext", bits, REG_##bits(v), REG_##bits(o))
#define SARX(bits) QUIET3("sarx", bits, REG_##bits(o), REG_##bits(v))
#define SHLX(bits) QUIET3("shlx", bits, REG_##bits(o), REG_##bits(v))
#define SHRX(bits) QUIET3("shrx", bits, REG_##bits(o), REG_##bits(v))

BMI_BOTH(pdep, PDEP, 2, 1)
BMI_BOTH(pext, PEXT, 2, 1)
BMI_BOTH(sarx, SARX, 1, 2)
BMI_BOTH(shlx, SHLX, 1, 2)
BMI_BOTH(shrx, SHRX, 1, 2)

#define RORX(bits) PUT_##bits(cpu, i->dst, ror##bits((U_##bits)v, (unsigned int)i->imm & (bits - 1)))

static ALWAYS_INLINE uint32_t ror32(uint32_t v, unsigned int n)
{
	return v >> n | v << (-n & 31);
}

static ALWAYS_INLINE uint64_t ror64(uint64_t v, unsigned int n)
{
	return v >> n | v << (-n & 63);
}

BMI_BOTH(rorx, RORX, 1, 0)

/* The upper half goes to dst, the lower to src2; dst wins where they are one register. */
#define MULX(bits)											\
	uint64_t lo, hi;										\
	asm("mulx " REG_##bits(v) ", " REG_##bits(lo) ", " REG_##bits(hi)				\
	    : [lo] "=r" (lo), [hi] "=r" (hi) : [v] "r" (v), "d" (cpu->regs[R_RDX]));			\
	PUT_##bits(cpu, i->src2, lo);									\
	PUT_##bits(cpu, i->dst, hi)

BMI_BOTH(mulx, MULX, 2, 1)

/* dst += v + CF, and dst += v + OF: the other flags stay. */
#define CARRY(op, bits)											\
	uint64_t d = cpu->regs[i->dst];									\
	uint32_t fl = cpu->fl;										\
	asm(FL_LOAD op " " REG_##bits(v) ", " REG_##bits(d) FL_SAVE					\
	    : [d] "+r" (d), "+a" (fl) : [v] "r" (v) : "cc");						\
	PUT_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl

#define ADCX(bits) CARRY("adcx", bits)
#define ADOX(bits) CARRY("adox", bits)

BMI_BOTH(adcx, ADCX, 1, 0)
BMI_BOTH(adox, ADOX, 1, 0)

static int build_bmi(struct insn *i, const struct insn_build *b)
{
	const struct bmi_fns *t = b->row->arg;
	bool mem = build_is_mem(b, t->v);
	int size = build_opsize(b, 0), dst = build_gpr(b, 0), n;

	if (dst < 0 || size < 4)
		return -ENOENT;
	i->dst = (uint8_t)dst;
	if (t->other) {
		n = build_gpr(b, t->other);
		if (n < 0)
			return -ENOENT;
		i->src2 = (uint8_t)n;
	}
	if (mem) {
		build_mem(i, b, t->v);
	} else {
		n = build_gpr(b, t->v);
		if (n < 0)
			return -ENOENT;
		i->src = (uint8_t)n;
	}
	if (build_is_imm(b, 2))
		i->imm = build_imm(b, 2);
	i->fn = t->fn[mem][size == 8];
	return 0;
}

/* ------------------------------------------------------------------ CRC32 */

#define CRC32(bits, op_suffix)										\
static void crc32_##bits##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	uint64_t d = cpu->regs[i->dst], s = GET_##bits(cpu, i->src);					\
	asm("crc32" SFX_##bits " " REG_##bits(s) ", " op_suffix(d) : [d] "+r" (d) : [s] "r" (s));	\
	cpu->regs[i->dst] = (uint32_t)d;								\
	NEXT(cpu, i);											\
}													\
static void crc32_##bits##_rm(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	uint64_t d = cpu->regs[i->dst], s = LD_##bits(cpu, ea(cpu, i, bits / 8, false));		\
	asm("crc32" SFX_##bits " " REG_##bits(s) ", " op_suffix(d) : [d] "+r" (d) : [s] "r" (s));	\
	cpu->regs[i->dst] = (uint32_t)d;								\
	NEXT(cpu, i);											\
}

CRC32(8, REG_32)
CRC32(16, REG_32)
CRC32(32, REG_32)
CRC32(64, REG_64)

static int build_crc32(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const fns[2][4] = {
		{ crc32_8_rr, crc32_16_rr, crc32_32_rr, crc32_64_rr },
		{ crc32_8_rm, crc32_16_rm, crc32_32_rm, crc32_64_rm },
	};
	int form = build_form(i, b);

	if (form != FORM_RR && form != FORM_RM)
		return -ENOENT;
	i->fn = fns[form == FORM_RM][build_width((unsigned int)build_opsize(b, 1))];
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define ROW(name, MNEMONIC, feature) \
	{ ZYDIS_MNEMONIC_##MNEMONIC, X86_F_##feature, 0, 0, build_bmi, &name##_fns }

static const struct insn_row rows[] = {
	ROW(andn, ANDN, BMI1),
	ROW(bextr, BEXTR, BMI1),
	ROW(blsi, BLSI, BMI1),
	ROW(blsmsk, BLSMSK, BMI1),
	ROW(blsr, BLSR, BMI1),
	ROW(bzhi, BZHI, BMI2),
	ROW(pdep, PDEP, BMI2),
	ROW(pext, PEXT, BMI2),
	ROW(sarx, SARX, BMI2),
	ROW(shlx, SHLX, BMI2),
	ROW(shrx, SHRX, BMI2),
	ROW(rorx, RORX, BMI2),
	ROW(mulx, MULX, BMI2),
	ROW(adcx, ADCX, ADX),
	ROW(adox, ADOX, ADX),
	{ ZYDIS_MNEMONIC_CRC32, X86_F_SSE4_2, 0, 0, build_crc32, NULL },
};

const struct insn_rows insn_rows_bmi = { rows, ARRAY_SIZE(rows) };
