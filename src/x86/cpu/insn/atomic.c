/* SPDX-License-Identifier: MIT */
/*
 * XCHG XADD CMPXCHG CMPXCHG8B CMPXCHG16B.  LOCKed ones are the host's own LOCK on
 * the guest's memory, so that they are atomic against everybody who maps it.
 * XCHG with memory is always locked; SDM 3A, 8.1.2.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/ops.h"
#include "x86/features.h"

/* ------------------------------------------------------------------ XCHG */

#define XCHG(bits)											\
static void xchg##bits##_rr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t d = GET_##bits(cpu, i->dst), s = GET_##bits(cpu, i->src);				\
	PUT_##bits(cpu, i->dst, s);									\
	PUT_##bits(cpu, i->src, d);									\
	NEXT(cpu, i);											\
}													\
static void xchg##bits##_mr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = locked_rmw(cpu, a, bits / 8);							\
	uint64_t s = GET_##bits(cpu, i->src);								\
	asm volatile("xchg" SFX_##bits " " REG_##bits(s) ", %[p]"					\
		     : [p] "+m" (*p), [s] "+r" (s) : : "memory");					\
	locked_commit(cpu, a, bits / 8, p);								\
	PUT_##bits(cpu, i->src, s);									\
	NEXT(cpu, i);											\
}

XCHG(8)
XCHG(16)
XCHG(32)
XCHG(64)

static const struct insn_forms xchg_forms = { {
	[FORM_RR] = FORM_FNS(xchg, rr), [FORM_LMR] = FORM_FNS(xchg, mr),
	[FORM_MR] = FORM_FNS(xchg, mr), [FORM_MR_SLOW] = FORM_FNS(xchg, mr),
} };

/* ------------------------------------------------------------------ XADD */

#define XADD_MEM(bits, form, lock, mem)									\
static void xadd##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem##_rmw(cpu, a, bits / 8);							\
	uint64_t s = GET_##bits(cpu, i->src);								\
	uint32_t fl;											\
	asm volatile(lock "xadd" SFX_##bits " " REG_##bits(s) ", %[p]" FL_SAVE				\
		     : [p] "+m" (*p), [s] "+&r" (s), "=a" (fl) : : "cc", "memory");			\
	mem##_commit(cpu, a, bits / 8, p);								\
	PUT_##bits(cpu, i->src, s);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

/* The source is written first: where both are one register the sum stays. */
#define XADD(bits)											\
static void xadd##bits##_rr(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t d = GET_##bits(cpu, i->dst), s = GET_##bits(cpu, i->src);				\
	uint32_t fl;											\
	asm("xadd" SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) FL_SAVE				\
	    : [d] "+&r" (d), [s] "+&r" (s), "=a" (fl) : : "cc");					\
	PUT_##bits(cpu, i->src, s);									\
	PUT_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}													\
XADD_MEM(bits, mr, "", mem)										\
XADD_MEM(bits, lmr, "lock ", locked)

XADD(8)
XADD(16)
XADD(32)
XADD(64)

static const struct insn_forms xadd_forms = { {
	[FORM_RR] = FORM_FNS(xadd, rr), [FORM_LMR] = FORM_FNS(xadd, lmr),
	[FORM_MR] = FORM_FNS(xadd, mr), [FORM_MR_SLOW] = FORM_FNS(xadd, mr),
} };

/* ------------------------------------------------------------------ CMPXCHG */

/*
 * Registers go in whole, so that the upper halves come out as the host leaves
 * them.  The destination is written last: one that is the accumulator compares
 * equal to itself and becomes the source.
 */
#define CMPXCHG_REG(bits)										\
static void cmpxchg##bits##_rr(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	uint64_t d = GET_##bits(cpu, i->dst), s = GET_##bits(cpu, i->src), acc = cpu->regs[R_RAX];	\
	uint32_t fl;											\
	asm("movq %[acc], %%rax\n\t"									\
	    "cmpxchg" SFX_##bits " " REG_##bits(s) ", " REG_##bits(d) "\n\t"				\
	    "movq %%rax, %[acc]" FL_SAVE								\
	    : [d] "+&r" (d), [acc] "+&r" (acc), "=&a" (fl) : [s] "r" (s) : "cc");			\
	cpu->regs[R_RAX] = acc;										\
	KEEP_##bits(cpu, i->dst, d);									\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

/* The destination is written in either case: a read-only one faults even when the comparison fails. */
#define CMPXCHG_MEM(bits, form, lock, mem)								\
static void cmpxchg##bits##_##form(struct x86_cpu *cpu, const struct insn *i)				\
{													\
	gva_t a = ea(cpu, i, bits / 8, true);								\
	U_##bits *p = mem##_rmw(cpu, a, bits / 8);							\
	uint64_t acc = cpu->regs[R_RAX];								\
	uint32_t fl;											\
	asm volatile("movq %[acc], %%rax\n\t"								\
		     lock "cmpxchg" SFX_##bits " " REG_##bits(s) ", %[p]\n\t"				\
		     "movq %%rax, %[acc]" FL_SAVE							\
		     : [p] "+m" (*p), [acc] "+&r" (acc), "=&a" (fl)					\
		     : [s] "r" (GET_##bits(cpu, i->src)) : "cc", "memory");				\
	mem##_commit(cpu, a, bits / 8, p);								\
	cpu->regs[R_RAX] = acc;										\
	cpu->fl = (uint16_t)fl;										\
	NEXT(cpu, i);											\
}

#define CMPXCHG(bits)											\
	CMPXCHG_REG(bits)										\
	CMPXCHG_MEM(bits, mr, "", mem)									\
	CMPXCHG_MEM(bits, lmr, "lock ", locked)

CMPXCHG(8)
CMPXCHG(16)
CMPXCHG(32)
CMPXCHG(64)

static const struct insn_forms cmpxchg_forms = { {
	[FORM_RR] = FORM_FNS(cmpxchg, rr), [FORM_LMR] = FORM_FNS(cmpxchg, lmr),
	[FORM_MR] = FORM_FNS(cmpxchg, mr), [FORM_MR_SLOW] = FORM_FNS(cmpxchg, mr),
} };

/* ------------------------------------------------------------------ CMPXCHG8B, CMPXCHG16B */

/*
 * Only ZF changes.  A failing comparison writes back what was there, so locking
 * always does no harm.
 */
#define CMPXCHG_PAIR(name, op, bytes)									\
static void name(struct x86_cpu *cpu, const struct insn *i)						\
{													\
	gva_t where = pair_ea(cpu, i, bytes);								\
	uint8_t (*p)[bytes] = locked_rmw(cpu, where, bytes);						\
	uint64_t a = cpu->regs[R_RAX], d = cpu->regs[R_RDX];						\
	bool equal;											\
	asm volatile("lock " op " %[p]"									\
		     : "=@ccz" (equal), "+a" (a), "+d" (d), [p] "+m" (*p)				\
		     : "b" (cpu->regs[R_RBX]), "c" (cpu->regs[R_RCX]) : "memory");			\
	locked_commit(cpu, where, bytes, p);								\
	cpu->regs[R_RAX] = a;										\
	cpu->regs[R_RDX] = d;										\
	cpu->fl = (uint16_t)(equal ? cpu->fl | AX_ZF : cpu->fl & ~AX_ZF);				\
	NEXT(cpu, i);											\
}

/* The 16-byte form must be aligned; SDM 2A. */
static ALWAYS_INLINE gva_t pair_ea(struct x86_cpu *cpu, const struct insn *i, unsigned int bytes)
{
	gva_t a = ea(cpu, i, bytes, true);

	if (bytes == 16 && unlikely(a & 15))
		x86_raise_ec(cpu, X86_GP, 0);
	return a;
}

CMPXCHG_PAIR(cmpxchg8b, "cmpxchg8b", 8)
CMPXCHG_PAIR(cmpxchg16b, "cmpxchg16b", 16)

static int build_pair(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 0))
		return -ENOENT;
	build_mem(i, b, 0);
	i->fn = (insn_fn *)b->row->arg;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define ROW(name, MNEMONIC, flags) { ZYDIS_MNEMONIC_##MNEMONIC, 0, flags, 0, build_forms, &name##_forms }
#define PAIR(MNEMONIC, feature, fn) \
	{ ZYDIS_MNEMONIC_##MNEMONIC, feature, ROW_LOCK, 0, build_pair, ROW_FN(fn) }

static const struct insn_row rows[] = {
	ROW(xchg, XCHG, ROW_LOCK),
	ROW(xadd, XADD, ROW_LOCK),
	ROW(cmpxchg, CMPXCHG, ROW_LOCK),
	PAIR(CMPXCHG8B, X86_F_CX8, cmpxchg8b),
	PAIR(CMPXCHG16B, X86_F_CX16, cmpxchg16b),
};

const struct insn_rows insn_rows_atomic = { rows, ARRAY_SIZE(rows) };
