/* SPDX-License-Identifier: MIT */
/*
 * Near JMP CALL RET, Jcc, LOOPcc, JrCXZ.  SDM 1, 7.3.8.
 *
 * Each has a handler for 64-bit mode and a general one.  `disp` is the way from
 * the block's first instruction to the target of a relative branch, `imm` the
 * way to the next instruction, so that R_RIP moves by one addition.
 *
 * A target is judged before anything is committed: it must be canonical, or lie
 * within the limit of CS outside 64-bit mode; otherwise #GP(0), reported at the
 * branch.
 */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "x86/cpu/insn/stack.h"

#define BRANCH_MASK(size) ((size) == 2 ? 0xffffULL : (size) == 4 ? 0xffffffffULL : ~0ULL)

/* In any mode: the target truncated to the operand size, or #GP(0). */
static uint64_t branch_target(struct x86_cpu *cpu, const struct insn *i, uint64_t target)
{
	at(cpu, i);
	target &= BRANCH_MASK(i->opsize);
	if (cpu->mode == CODE64 ? !gva_canonical(cpu, target) : target > cpu->seg[SEG_CS].limit)
		x86_raise_ec(cpu, X86_GP, 0);
	return target;
}

SLOW_FN static void branch_slow(struct x86_cpu *cpu, const struct insn *i, uint64_t target)
{
	cpu->regs[R_RIP] = branch_target(cpu, i, target);
}

/* Goes to @target in 64-bit mode. */
static ALWAYS_INLINE void branch64(struct x86_cpu *cpu, const struct insn *i, uint64_t target)
{
	if (unlikely((uint64_t)((int64_t)target >> 47) + 1 > 1))
		return branch_slow(cpu, i, target);
	cpu->regs[R_RIP] = target;
}

/* ------------------------------------------------------------------ Jcc */

#define JCC(cc)												\
static void j##cc##_64(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	if (COND_##cc(cpu->fl))										\
		return branch64(cpu, i, cpu->regs[R_RIP] + i->disp);					\
	cpu->regs[R_RIP] += i->imm;									\
}													\
static void j##cc##_legacy(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	if (COND_##cc(cpu->fl))										\
		return branch_slow(cpu, i, cpu->regs[R_RIP] + i->disp);					\
	cpu->regs[R_RIP] += i->imm;									\
}													\
static insn_fn *const j##cc##_fns[2] = { j##cc##_legacy, j##cc##_64 };

FOR_CONDITIONS(JCC)

static void fill_relative(struct insn *i, const struct insn_build *b)
{
	i->imm = i->off + i->len;
	i->disp = (int64_t)(i->imm + build_imm(b, 0));
}

static int build_relative(struct insn *i, const struct insn_build *b)
{
	insn_fn *const *fns = b->row->arg;

	fill_relative(i, b);
	i->fn = fns[b->mode == CODE64];
	return 0;
}

/* ------------------------------------------------------------------ LOOPcc, JrCXZ */

static uint64_t count_mask(const struct insn *i)
{
	return BRANCH_MASK(i->aux);
}

static void count_down(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t v = cpu->regs[R_RCX] - 1;

	if (i->aux == 2)
		PUT_16(cpu, R_RCX, v);
	else
		cpu->regs[R_RCX] = v & count_mask(i);
}

/* RCX is decremented only once the target is known to be good. */
#define LOOP(name, condition)										\
static void name(struct x86_cpu *cpu, const struct insn *i)						\
{													\
	uint64_t rip = cpu->regs[R_RIP] + i->imm;							\
	if (((cpu->regs[R_RCX] - 1) & count_mask(i)) && (condition))					\
		rip = branch_target(cpu, i, cpu->regs[R_RIP] + i->disp);				\
	count_down(cpu, i);										\
	cpu->regs[R_RIP] = rip;										\
}

LOOP(loop_always, true)
LOOP(loop_e, cpu->fl & AX_ZF)
LOOP(loop_ne, !(cpu->fl & AX_ZF))

static void jump_cxz(struct x86_cpu *cpu, const struct insn *i)
{
	if (!(cpu->regs[R_RCX] & count_mask(i)))
		return branch_slow(cpu, i, cpu->regs[R_RIP] + i->disp);
	cpu->regs[R_RIP] += i->imm;
}

static int build_counted(struct insn *i, const struct insn_build *b)
{
	fill_relative(i, b);
	i->aux = b->zi->address_width / 8;
	i->fn = (insn_fn *)b->row->arg;
	return 0;
}

/* ------------------------------------------------------------------ JMP */

static void jmp_rel64(struct x86_cpu *cpu, const struct insn *i)
{
	return branch64(cpu, i, cpu->regs[R_RIP] + i->disp);
}

static void jmp_rel(struct x86_cpu *cpu, const struct insn *i)
{
	return branch_slow(cpu, i, cpu->regs[R_RIP] + i->disp);
}

static void jmp_reg64(struct x86_cpu *cpu, const struct insn *i)
{
	return branch64(cpu, i, cpu->regs[i->src]);
}

static void jmp_reg(struct x86_cpu *cpu, const struct insn *i)
{
	return branch_slow(cpu, i, cpu->regs[i->src]);
}

static void jmp_mem(struct x86_cpu *cpu, const struct insn *i)
{
	return branch_slow(cpu, i, stack_load(cpu, ea(cpu, i, i->opsize, false), i->opsize));
}

static void jmp_mem64(struct x86_cpu *cpu, const struct insn *i)
{
	FAST_READ(uint64_t, p, cpu, i, jmp_mem);
	return branch64(cpu, i, *p);
}

/* ------------------------------------------------------------------ CALL */

/* The stack is judged before the target, as the host does. */
SLOW_FN static void call_slow(struct x86_cpu *cpu, const struct insn *i, uint64_t target)
{
	uint64_t sp = (cpu->regs[R_RSP] - i->opsize) & stack_mask(cpu);

	at(cpu, i);
	mem_probe_write(cpu, stack_ea(cpu, sp, i->opsize, true), i->opsize);
	target = branch_target(cpu, i, target);
	stack_push(cpu, cpu->regs[R_RIP] + i->off + i->len, i->opsize);
	cpu->regs[R_RIP] = target;
}

static ALWAYS_INLINE void call64(struct x86_cpu *cpu, const struct insn *i, uint64_t target)
{
	gva_t sp = cpu->regs[R_RSP] - 8;
	uint64_t *p = (uint64_t *)tlb_hit_write(cpu->ctx, sp, 8);

	if (unlikely(!p || (uint64_t)((int64_t)target >> 47) + 1 > 1))
		return call_slow(cpu, i, target);
	at(cpu, i);
	*(volatile uint64_t *)p = cpu->regs[R_RIP] + i->off + i->len;
	cpu->regs[R_RSP] = sp;
	cpu->regs[R_RIP] = target;
}

static void call_rel64(struct x86_cpu *cpu, const struct insn *i)
{
	return call64(cpu, i, cpu->regs[R_RIP] + i->disp);
}

static void call_rel(struct x86_cpu *cpu, const struct insn *i)
{
	return call_slow(cpu, i, cpu->regs[R_RIP] + i->disp);
}

static void call_reg64(struct x86_cpu *cpu, const struct insn *i)
{
	return call64(cpu, i, cpu->regs[i->src]);
}

static void call_reg(struct x86_cpu *cpu, const struct insn *i)
{
	return call_slow(cpu, i, cpu->regs[i->src]);
}

static void call_mem(struct x86_cpu *cpu, const struct insn *i)
{
	return call_slow(cpu, i, stack_load(cpu, ea(cpu, i, i->opsize, false), i->opsize));
}

static void call_mem64(struct x86_cpu *cpu, const struct insn *i)
{
	FAST_READ(uint64_t, p, cpu, i, call_mem);
	return call64(cpu, i, *p);
}

/* ------------------------------------------------------------------ RET */

/* `imm`: bytes of arguments to drop. */
static void ret_slow(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t target;

	at(cpu, i);
	target = branch_target(cpu, i, stack_top(cpu, i->opsize));
	stack_drop(cpu, i->opsize + i->imm);
	cpu->regs[R_RIP] = target;
}

static void ret64(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t sp = cpu->regs[R_RSP];
	uint64_t target, *p = (uint64_t *)tlb_hit_read(cpu->ctx, sp, 8);

	if (unlikely(!p))
		return ret_slow(cpu, i);
	at(cpu, i);
	target = *(volatile uint64_t *)p;
	if (unlikely((uint64_t)((int64_t)target >> 47) + 1 > 1))
		return ret_slow(cpu, i);
	cpu->regs[R_RSP] = sp + 8 + i->imm;
	cpu->regs[R_RIP] = target;
}

/* ------------------------------------------------------------------ forms */

struct branch_fns {
	insn_fn *rel[2], *reg[2], *mem[2];      /* general, 64-bit mode */
};

static const struct branch_fns jmp_fns = {
	{ jmp_rel, jmp_rel64 }, { jmp_reg, jmp_reg64 }, { jmp_mem, jmp_mem64 },
};

static const struct branch_fns call_fns = {
	{ call_rel, call_rel64 }, { call_reg, call_reg64 }, { call_mem, call_mem64 },
};

static bool is_far(const struct insn_build *b)
{
	return b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
}

static int build_branch(struct insn *i, const struct insn_build *b)
{
	const struct branch_fns *t = b->row->arg;
	bool long_mode = b->mode == CODE64;
	int n;

	if (is_far(b))
		return -ENOENT;
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = t->mem[long_mode && !(i->ea_flags & EA_SLOW)];
	} else if (build_is_imm(b, 0)) {
		fill_relative(i, b);
		i->fn = t->rel[long_mode];
	} else {
		n = build_gpr(b, 0);
		if (n < 0)
			return -ENOENT;
		i->src = (uint8_t)n;
		i->fn = t->reg[long_mode];
	}
	return 0;
}

static int build_ret(struct insn *i, const struct insn_build *b)
{
	if (is_far(b))
		return -ENOENT;
	i->imm = build_is_imm(b, 0) ? build_imm(b, 0) & 0xffff : 0;
	i->fn = b->mode == CODE64 ? ret64 : ret_slow;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define JCC_ROW(cc, name) { ZYDIS_MNEMONIC_J##name, 0, ROW_END, 0, build_relative, j##cc##_fns },
#define COUNTED(MNEMONIC, fn) { ZYDIS_MNEMONIC_##MNEMONIC, 0, ROW_END, 0, build_counted, ROW_FN(fn) }

static const struct insn_row rows[] = {
	FOR_CONDITION_NAMES(JCC_ROW)
	{ ZYDIS_MNEMONIC_JMP, 0, ROW_END, 0, build_branch, &jmp_fns },
	{ ZYDIS_MNEMONIC_CALL, 0, ROW_END, 0, build_branch, &call_fns },
	{ ZYDIS_MNEMONIC_RET, 0, ROW_END, 0, build_ret, NULL },
	COUNTED(LOOP, loop_always),
	COUNTED(LOOPE, loop_e),
	COUNTED(LOOPNE, loop_ne),
	COUNTED(JCXZ, jump_cxz),
	COUNTED(JECXZ, jump_cxz),
	COUNTED(JRCXZ, jump_cxz),
};

const struct insn_rows insn_rows_branch = { rows, ARRAY_SIZE(rows) };
