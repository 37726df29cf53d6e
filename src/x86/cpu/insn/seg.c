/* SPDX-License-Identifier: MIT */
/* Segment registers in and out: MOV, PUSH, POP, LDS and its kin; STAC and CLAC. */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"
#include "x86/features.h"

static int seg_operand(const struct insn_build *b, int n)
{
	static const uint8_t of_zydis[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

	if (!build_is_reg(b, n) || ZydisRegisterGetClass(b->op[n].reg.value) != ZYDIS_REGCLASS_SEGMENT)
		return -1;
	return of_zydis[b->op[n].reg.value - ZYDIS_REGISTER_ES];
}

/* ------------------------------------------------------------------ MOV */

static void mov_r_sreg(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t sel = cpu->seg[i->src].selector;

	if (i->opsize == 2)
		reg16(cpu, i->dst) = sel;
	else
		cpu->regs[i->dst] = sel;
	NEXT(cpu, i);
}

static void mov_m_sreg(struct x86_cpu *cpu, const struct insn *i)
{
	st16(cpu, ea(cpu, i, 2, true), cpu->seg[i->src].selector);
	NEXT(cpu, i);
}

static int build_mov_from(struct insn *i, const struct insn_build *b)
{
	int seg = seg_operand(b, 1);

	if (seg < 0)
		return -ENOENT;
	i->src = seg;
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = mov_m_sreg;
	} else {
		i->dst = build_gpr(b, 0);
		i->opsize = build_opsize(b, 0);
		i->fn = mov_r_sreg;
	}
	return 0;
}

static void mov_sreg_r(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_seg_set(cpu, i->dst, reg16(cpu, i->src));
	NEXT(cpu, i);
}

static void mov_sreg_m(struct x86_cpu *cpu, const struct insn *i)
{
	x86_seg_set(cpu, i->dst, ld16(cpu, ea(cpu, i, 2, false)));
	NEXT(cpu, i);
}

static void mov_ss_r(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_seg_set(cpu, SEG_SS, reg16(cpu, i->src));
	x86_set_shadow(cpu, SHADOW_MOV_SS);
	NEXT(cpu, i);
}

static void mov_ss_m(struct x86_cpu *cpu, const struct insn *i)
{
	x86_seg_set(cpu, SEG_SS, ld16(cpu, ea(cpu, i, 2, false)));
	x86_set_shadow(cpu, SHADOW_MOV_SS);
	NEXT(cpu, i);
}

static int build_mov_to_seg(struct insn *i, const struct insn_build *b, insn_fn *r, insn_fn *m)
{
	if (build_is_mem(b, 1)) {
		build_mem(i, b, 1);
		i->fn = m;
	} else {
		i->src = build_gpr(b, 1);
		i->fn = r;
	}
	return 0;
}

static int build_mov_to(struct insn *i, const struct insn_build *b)
{
	int seg = seg_operand(b, 0);

	if (seg < 0 || seg == SEG_CS || seg == SEG_SS)
		return -ENOENT;
	i->dst = seg;
	return build_mov_to_seg(i, b, mov_sreg_r, mov_sreg_m);
}

static int build_mov_to_ss(struct insn *i, const struct insn_build *b)
{
	return seg_operand(b, 0) == SEG_SS ? build_mov_to_seg(i, b, mov_ss_r, mov_ss_m) : -ENOENT;
}

/* ------------------------------------------------------------------ PUSH, POP */

static void push_sreg(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t sp = (cpu->regs[R_RSP] - i->opsize) & stack_mask(cpu);
	uint16_t sel = cpu->seg[i->src].selector;
	gva_t a;

	at(cpu, i);
	a = stack_ea(cpu, sp, i->opsize, true);
	/* Intel's 32-bit push writes the selector alone; SDM 2B, PUSH. */
	if (i->opsize == 2 || (i->opsize == 4 && x86_is_intel(cpu)))
		st16(cpu, a, sel);
	else if (i->opsize == 4)
		st32(cpu, a, sel);
	else
		st64(cpu, a, sel);
	stack_set_sp(cpu, sp);
	NEXT(cpu, i);
}

static int build_push_seg(struct insn *i, const struct insn_build *b)
{
	int seg = seg_operand(b, 0);

	if (seg < 0)
		return -ENOENT;
	i->src = seg;
	i->fn = push_sreg;
	return 0;
}

/* The stack pointer moves by the size that the stack had before. */
static void pop_into(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t mask = stack_mask(cpu), sp = cpu->regs[R_RSP] & mask;

	at(cpu, i);
	x86_seg_set(cpu, i->dst, ld16(cpu, stack_ea(cpu, sp, i->opsize, false)));
	sp = (sp + i->opsize) & mask;
	cpu->regs[R_RSP] = mask == 0xffff ? (cpu->regs[R_RSP] & ~mask) | sp : sp;
}

static void pop_sreg(struct x86_cpu *cpu, const struct insn *i)
{
	pop_into(cpu, i);
	NEXT(cpu, i);
}

static void pop_ss(struct x86_cpu *cpu, const struct insn *i)
{
	pop_into(cpu, i);
	x86_set_shadow(cpu, SHADOW_MOV_SS);
	NEXT(cpu, i);
}

static int build_pop_seg(struct insn *i, const struct insn_build *b)
{
	int seg = seg_operand(b, 0);

	if (seg < 0 || seg == SEG_CS || seg == SEG_SS)
		return -ENOENT;
	i->dst = seg;
	i->fn = pop_sreg;
	return 0;
}

static int build_pop_ss(struct insn *i, const struct insn_build *b)
{
	if (seg_operand(b, 0) != SEG_SS)
		return -ENOENT;
	i->dst = SEG_SS;
	i->fn = pop_ss;
	return 0;
}

/* ------------------------------------------------------------------ LDS and kin */

static void load_pointer(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a = ea(cpu, i, i->opsize + 2u, false);
	uint64_t off = i->opsize == 2 ? ld16(cpu, a) : i->opsize == 4 ? ld32(cpu, a) : ld64(cpu, a);

	x86_seg_set(cpu, i->src, ld16(cpu, a + i->opsize));
	if (i->opsize == 2)
		reg16(cpu, i->dst) = (uint16_t)off;
	else
		cpu->regs[i->dst] = off;
	NEXT(cpu, i);
}

static int build_load_pointer(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 1))
		return -ENOENT;
	i->dst = build_gpr(b, 0);
	i->opsize = build_opsize(b, 0);
	build_mem(i, b, 1);
	i->src = *(const uint8_t *)b->row->arg;
	i->fn = load_pointer;
	return 0;
}

#define SEG(s) (&(const uint8_t){ s })

/* ------------------------------------------------------------------ STAC, CLAC */

static void set_ac(struct x86_cpu *cpu, const struct insn *i, uint32_t ac)
{
	if (unlikely(cpu->cpl)) {
		at(cpu, i);
		x86_raise(cpu, X86_UD);
	}
	if ((cpu->rflags & FL_AC) != ac) {
		cpu->rflags ^= FL_AC;
		x86_update_priv(cpu);
	}
}

static void stac(struct x86_cpu *cpu, const struct insn *i)
{
	set_ac(cpu, i, FL_AC);
	NEXT(cpu, i);
}

static void clac(struct x86_cpu *cpu, const struct insn *i)
{
	set_ac(cpu, i, 0);
	NEXT(cpu, i);
}

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_MOV, 0, 0, 0, build_mov_from, NULL },
	{ ZYDIS_MNEMONIC_MOV, 0, 0, 0, build_mov_to, NULL },
	{ ZYDIS_MNEMONIC_MOV, 0, ROW_BARRIER, 0, build_mov_to_ss, NULL },
	{ ZYDIS_MNEMONIC_PUSH, 0, 0, 0, build_push_seg, NULL },
	{ ZYDIS_MNEMONIC_POP, 0, 0, 0, build_pop_seg, NULL },
	{ ZYDIS_MNEMONIC_POP, 0, ROW_BARRIER, 0, build_pop_ss, NULL },
	{ ZYDIS_MNEMONIC_LDS, 0, ROW_NO_64, 0, build_load_pointer, SEG(SEG_DS) },
	{ ZYDIS_MNEMONIC_LES, 0, ROW_NO_64, 0, build_load_pointer, SEG(SEG_ES) },
	{ ZYDIS_MNEMONIC_LSS, 0, ROW_BARRIER, 0, build_load_pointer, SEG(SEG_SS) },
	{ ZYDIS_MNEMONIC_LFS, 0, 0, 0, build_load_pointer, SEG(SEG_FS) },
	{ ZYDIS_MNEMONIC_LGS, 0, 0, 0, build_load_pointer, SEG(SEG_GS) },
	{ ZYDIS_MNEMONIC_STAC, X86_F_SMAP, 0, 0, build_plain, PLAIN(stac) },
	{ ZYDIS_MNEMONIC_CLAC, X86_F_SMAP, 0, 0, build_plain, PLAIN(clac) },
};

const struct insn_rows insn_rows_seg = { rows, ARRAY_SIZE(rows) };
