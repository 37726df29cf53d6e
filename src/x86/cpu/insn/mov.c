/* SPDX-License-Identifier: MIT */
/*
 * Moves: MOV of general registers, MOVZX MOVSX MOVSXD, LEA, CMOVcc, SETcc, MOVBE,
 * BSWAP, XLAT, MOVNTI, and the CBW and CWD families.  SDM 1, 7.3.1.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"
#include "x86/features.h"

/* ------------------------------------------------------------------ MOV */

#define MOV(bits)											\
static void mov##bits##_rr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	PUT_##bits(cpu, i->dst, GET_##bits(cpu, i->src));						\
	NEXT(cpu, i);											\
}													\
static void mov##bits##_ri(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	PUT_##bits(cpu, i->dst, i->imm);								\
	NEXT(cpu, i);											\
}													\
SLOW_FN static void mov##bits##_rm_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	U_##bits v = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	PUT_##bits(cpu, i->dst, v);									\
	NEXT(cpu, i);											\
}													\
static void mov##bits##_rm(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	FAST_READ(U_##bits, p, cpu, i, mov##bits##_rm_slow);						\
	PUT_##bits(cpu, i->dst, *p);									\
	NEXT(cpu, i);											\
}													\
SLOW_FN static void mov##bits##_mr_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	ST_##bits(cpu, ea(cpu, i, bits / 8, true), (U_##bits)GET_##bits(cpu, i->src));			\
	NEXT(cpu, i);											\
}													\
static void mov##bits##_mr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	FAST_RMW(U_##bits, p, cpu, i, mov##bits##_mr_slow);						\
	*p = (U_##bits)GET_##bits(cpu, i->src);								\
	NEXT(cpu, i);											\
}													\
SLOW_FN static void mov##bits##_mi_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	ST_##bits(cpu, ea(cpu, i, bits / 8, true), (U_##bits)i->imm);					\
	NEXT(cpu, i);											\
}													\
static void mov##bits##_mi(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	FAST_RMW(U_##bits, p, cpu, i, mov##bits##_mi_slow);						\
	*p = (U_##bits)i->imm;										\
	NEXT(cpu, i);											\
}

MOV(8)
MOV(16)
MOV(32)
MOV(64)

/* Register and immediate forms of a 32-bit destination need no narrowing once the immediate has none. */
static void mov_ri_wide(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = i->imm;
	NEXT(cpu, i);
}

static const struct insn_forms mov_forms = { {
	[FORM_RR] = FORM_FNS(mov, rr), [FORM_RI] = FORM_FNS(mov, ri),
	[FORM_RM] = FORM_FNS(mov, rm), [FORM_RM_SLOW] = FORM_FNS(mov, rm_slow),
	[FORM_MR] = FORM_FNS(mov, mr), [FORM_MR_SLOW] = FORM_FNS(mov, mr_slow),
	[FORM_MI] = FORM_FNS(mov, mi), [FORM_MI_SLOW] = FORM_FNS(mov, mi_slow),
} };

static const struct insn_forms movnti_forms = { {
	[FORM_MR] = { NULL, NULL, mov32_mr, mov64_mr },
	[FORM_MR_SLOW] = { NULL, NULL, mov32_mr_slow, mov64_mr_slow },
} };

static int build_mov(struct insn *i, const struct insn_build *b)
{
	int err = build_forms(i, b);

	if (!err && build_is_reg(b, 0) && build_is_imm(b, 1) && build_opsize(b, 0) >= 4) {
		if (build_opsize(b, 0) == 4)
			i->imm = (uint32_t)i->imm;
		i->fn = mov_ri_wide;
	}
	return err;
}

/* ------------------------------------------------------------------ MOVZX, MOVSX */

/* @sign: U or S, how a value of @from bits is read before it is widened to @to. */
#define EXTEND_VALUE(sign, to, from, v) (U_##to)(sign##_##to)(sign##_##from)(v)

#define EXTEND(name, sign, to, from)									\
static void name##to##_##from##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	PUT_##to(cpu, i->dst, EXTEND_VALUE(sign, to, from, GET_##from(cpu, i->src)));			\
	NEXT(cpu, i);											\
}													\
SLOW_FN static void name##to##_##from##_rm_slow(struct x86_cpu *cpu, const struct insn *i)		\
{													\
	U_##from v = LD_##from(cpu, ea(cpu, i, from / 8, false));					\
	PUT_##to(cpu, i->dst, EXTEND_VALUE(sign, to, from, v));						\
	NEXT(cpu, i);											\
}													\
static void name##to##_##from##_rm(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	FAST_READ(U_##from, p, cpu, i, name##to##_##from##_rm_slow);					\
	PUT_##to(cpu, i->dst, EXTEND_VALUE(sign, to, from, *p));					\
	NEXT(cpu, i);											\
}

#define EXTEND_TO(name, sign, to)									\
	EXTEND(name, sign, to, 8)									\
	EXTEND(name, sign, to, 16)									\
	EXTEND(name, sign, to, 32)

EXTEND_TO(movzx, U, 16)
EXTEND_TO(movzx, U, 32)
EXTEND_TO(movsx, S, 16)
EXTEND_TO(movsx, S, 32)
EXTEND_TO(movsx, S, 64)

/* By width of the destination (16, 32, 64), then of the source (8, 16, 32). */
struct extend_fns {
	insn_fn *fn[3][3][3];   /* ... and rr, rm, rm_slow */
};

#define EXTEND_FN(name, to, from)									\
	{ name##to##_##from##_rr, name##to##_##from##_rm, name##to##_##from##_rm_slow }

#define EXTEND_FNS(name, to) { EXTEND_FN(name, to, 8), EXTEND_FN(name, to, 16), EXTEND_FN(name, to, 32) }

/* Zeroing to 64 bits is zeroing to 32. */
static const struct extend_fns movzx_fns = { {
	EXTEND_FNS(movzx, 16), EXTEND_FNS(movzx, 32), EXTEND_FNS(movzx, 32)
} };

static const struct extend_fns movsx_fns = { {
	EXTEND_FNS(movsx, 16), EXTEND_FNS(movsx, 32), EXTEND_FNS(movsx, 64)
} };

static int build_extend(struct insn *i, const struct insn_build *b)
{
	const struct extend_fns *t = b->row->arg;
	unsigned int to = build_width((unsigned int)build_opsize(b, 0));
	unsigned int from = build_width((unsigned int)build_opsize(b, 1));
	int form = build_form(i, b);

	if ((form != FORM_RR && form != FORM_RM) || to < 1 || to > 3 || from > 2)
		return -ENOENT;
	i->fn = t->fn[to - 1][from][form == FORM_RR ? 0 : i->ea_flags & EA_SLOW ? 2 : 1];
	return 0;
}

/* To 16 bits: four bytes of memory are read all the same. */
static void movsxd16_rm(struct x86_cpu *cpu, const struct insn *i)
{
	PUT_16(cpu, i->dst, ld32(cpu, ea(cpu, i, 4, false)));
	NEXT(cpu, i);
}

/* MOVSXD to 32 or 16 bits widens nothing. */
static int build_movsxd(struct insn *i, const struct insn_build *b)
{
	unsigned int width = build_width((unsigned int)build_opsize(b, 0));
	int form;

	if (width == 3)
		return build_extend(i, b);
	form = build_form(i, b);
	if (form != FORM_RR && form != FORM_RM)
		return -ENOENT;
	if (form == FORM_RM && (i->ea_flags & EA_SLOW))
		form = FORM_RM_SLOW;
	i->fn = width == 1 && form != FORM_RR ? movsxd16_rm : mov_forms.fn[form][width];
	return 0;
}

/* ------------------------------------------------------------------ LEA */

#define LEA(bits)											\
static void lea##bits(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t v = cpu->regs[i->base] + (cpu->regs[i->index] << i->scale) + i->disp;			\
	PUT_##bits(cpu, i->dst, v);									\
	NEXT(cpu, i);											\
}													\
static void lea##bits##_slow(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	PUT_##bits(cpu, i->dst, ea_offset(cpu, i));							\
	NEXT(cpu, i);											\
}

LEA(16)
LEA(32)
LEA(64)

static void lea64_disp(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = cpu->regs[i->base] + i->disp;
	NEXT(cpu, i);
}

static int build_lea(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const fns[2][4] = {
		{ NULL, lea16, lea32, lea64 }, { NULL, lea16_slow, lea32_slow, lea64_slow },
	};
	unsigned int width = build_width((unsigned int)build_opsize(b, 0));
	int form = build_form(i, b);

	if (form != FORM_RM)
		return -ENOENT;
	i->fn = fns[!!(i->ea_flags & EA_SLOW)][width];
	if (i->fn == lea64 && i->index == R_ZERO)
		i->fn = lea64_disp;
	return i->fn ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ CMOVcc */

/* The source is read, and a 32-bit destination zero-extended, whether or not the condition holds. */
#define CMOV_TO(cc, bits, v)										\
	uint64_t s = v;											\
	if (!COND_##cc(cpu->fl))									\
		s = cpu->regs[i->dst];									\
	PUT_##bits(cpu, i->dst, s);									\
	NEXT(cpu, i)

#define CMOV(cc, bits)											\
static void cmov##cc##_##bits##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	CMOV_TO(cc, bits, cpu->regs[i->src]);								\
}													\
SLOW_FN static void cmov##cc##_##bits##_rm_slow(struct x86_cpu *cpu, const struct insn *i)		\
{													\
	CMOV_TO(cc, bits, LD_##bits(cpu, ea(cpu, i, bits / 8, false)));					\
}													\
static void cmov##cc##_##bits##_rm(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	FAST_READ(U_##bits, p, cpu, i, cmov##cc##_##bits##_rm_slow);					\
	CMOV_TO(cc, bits, *p);										\
}

#define CMOV_FNS(cc, form) { NULL, cmov##cc##_16_##form, cmov##cc##_32_##form, cmov##cc##_64_##form }

#define CMOV_ALL(cc)											\
	CMOV(cc, 16)											\
	CMOV(cc, 32)											\
	CMOV(cc, 64)											\
static const struct insn_forms cmov##cc##_forms = { {							\
	[FORM_RR] = CMOV_FNS(cc, rr), [FORM_RM] = CMOV_FNS(cc, rm), [FORM_RM_SLOW] = CMOV_FNS(cc, rm_slow), \
} };

FOR_CONDITIONS(CMOV_ALL)

/* ------------------------------------------------------------------ SETcc */

#define SETCC(cc)											\
static void set##cc##_r(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	reg8(cpu, i->dst) = !!COND_##cc(cpu->fl);							\
	NEXT(cpu, i);											\
}													\
static void set##cc##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	st8(cpu, ea(cpu, i, 1, true), !!COND_##cc(cpu->fl));						\
	NEXT(cpu, i);											\
}													\
static const struct insn_forms set##cc##_forms = { {							\
	[FORM_R] = { set##cc##_r }, [FORM_M] = { set##cc##_m }, [FORM_M_SLOW] = { set##cc##_m },	\
} };

FOR_CONDITIONS(SETCC)

/* ------------------------------------------------------------------ bytes in another order */

#define SWAP_16(v) __builtin_bswap16(v)
#define SWAP_32(v) __builtin_bswap32(v)
#define SWAP_64(v) __builtin_bswap64(v)

#define MOVBE(bits)											\
static void movbe##bits##_rm(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	U_##bits v = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	PUT_##bits(cpu, i->dst, SWAP_##bits(v));							\
	NEXT(cpu, i);											\
}													\
static void movbe##bits##_mr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	ST_##bits(cpu, ea(cpu, i, bits / 8, true), SWAP_##bits((U_##bits)cpu->regs[i->src]));		\
	NEXT(cpu, i);											\
}

MOVBE(16)
MOVBE(32)
MOVBE(64)

static const struct insn_forms movbe_forms = { {
	[FORM_RM] = FORM_FNS_NO8(movbe, rm), [FORM_RM_SLOW] = FORM_FNS_NO8(movbe, rm),
	[FORM_MR] = FORM_FNS_NO8(movbe, mr), [FORM_MR_SLOW] = FORM_FNS_NO8(movbe, mr),
} };

/* Undefined for 16 bits; the host does what it does. */
static void bswap16_r(struct x86_cpu *cpu, const struct insn *i)
{
	asm(".byte 0x66\n\tbswap %%eax" : "+a" (cpu->regs[i->dst]));
	NEXT(cpu, i);
}

static void bswap32_r(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = __builtin_bswap32((uint32_t)cpu->regs[i->dst]);
	NEXT(cpu, i);
}

static void bswap64_r(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = __builtin_bswap64(cpu->regs[i->dst]);
	NEXT(cpu, i);
}

static const struct insn_forms bswap_forms = { { [FORM_R] = FORM_FNS_NO8(bswap, r) } };

/* ------------------------------------------------------------------ widening in place */

static void cbw(struct x86_cpu *cpu, const struct insn *i)
{
	PUT_16(cpu, R_RAX, (int8_t)cpu->regs[R_RAX]);
	NEXT(cpu, i);
}

static void cwde(struct x86_cpu *cpu, const struct insn *i)
{
	PUT_32(cpu, R_RAX, (int16_t)cpu->regs[R_RAX]);
	NEXT(cpu, i);
}

static void cdqe(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[R_RAX] = (uint64_t)(int32_t)cpu->regs[R_RAX];
	NEXT(cpu, i);
}

static void cwd(struct x86_cpu *cpu, const struct insn *i)
{
	PUT_16(cpu, R_RDX, (int16_t)cpu->regs[R_RAX] >> 15);
	NEXT(cpu, i);
}

static void cdq(struct x86_cpu *cpu, const struct insn *i)
{
	PUT_32(cpu, R_RDX, (int32_t)cpu->regs[R_RAX] >> 31);
	NEXT(cpu, i);
}

static void cqo(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[R_RDX] = (uint64_t)((int64_t)cpu->regs[R_RAX] >> 63);
	NEXT(cpu, i);
}

/* XLAT: the index is AL, zero-extended; it goes where the displacement is. */
SLOW_FN static void xlat(struct x86_cpu *cpu, const struct insn *i)
{
	struct insn at_al = *i;

	at_al.disp = (uint8_t)cpu->regs[R_RAX];
	at(cpu, i);
	if (i->ea_flags & EA_SLOW)
		reg8(cpu, 0) = ld8(cpu, ea_slow(cpu, &at_al, 1, false));
	else
		reg8(cpu, 0) = ld8(cpu, ea_fast(cpu, &at_al));
}

static void xlat_al(struct x86_cpu *cpu, const struct insn *i)
{
	xlat(cpu, i);
	NEXT(cpu, i);
}

static int build_xlat(struct insn *i, const struct insn_build *b)
{
	build_mem(i, b, 0);
	i->base = R_RBX;
	i->index = R_ZERO;
	i->fn = xlat_al;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define FORMS(name, MNEMONIC, feature, build) \
	{ ZYDIS_MNEMONIC_##MNEMONIC, feature, 0, 0, build, &name##_forms }

#define PLAIN(MNEMONIC, fn) { ZYDIS_MNEMONIC_##MNEMONIC, 0, 0, 0, build_plain, ROW_FN(fn) }
#define CMOV_ROW(cc, name) FORMS(cmov##cc, CMOV##name, X86_F_CMOV, build_forms),
#define SETCC_ROW(cc, name) FORMS(set##cc, SET##name, 0, build_forms),

static const struct insn_row rows[] = {
	FORMS(mov, MOV, 0, build_mov),
	FORMS(movnti, MOVNTI, X86_F_SSE2, build_forms),
	{ ZYDIS_MNEMONIC_MOVZX, 0, 0, 0, build_extend, &movzx_fns },
	{ ZYDIS_MNEMONIC_MOVSX, 0, 0, 0, build_extend, &movsx_fns },
	{ ZYDIS_MNEMONIC_MOVSXD, 0, ROW_ONLY_64, 0, build_movsxd, &movsx_fns },
	{ ZYDIS_MNEMONIC_LEA, 0, 0, 0, build_lea, NULL },
	FOR_CONDITION_NAMES(CMOV_ROW)
	FOR_CONDITION_NAMES(SETCC_ROW)
	FORMS(movbe, MOVBE, X86_F_MOVBE, build_forms),
	FORMS(bswap, BSWAP, 0, build_forms),
	PLAIN(CBW, cbw), PLAIN(CWDE, cwde), PLAIN(CDQE, cdqe),
	PLAIN(CWD, cwd), PLAIN(CDQ, cdq), PLAIN(CQO, cqo),
	{ ZYDIS_MNEMONIC_XLAT, 0, 0, 0, build_xlat, NULL },
};

const struct insn_rows insn_rows_mov = { rows, ARRAY_SIZE(rows) };
