/* SPDX-License-Identifier: MIT */
/*
 * PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE.  SDM 1, 6.2 and 7.3.1.4.
 *
 * In 64-bit mode the fast handlers use RSP as a linear address and look into the
 * TLB at once: a non-canonical address never hits.  Everything else goes through
 * stack_ea(), which knows SS and raises #SS.
 */
#include <errno.h>

#include <Zydis/Mnemonic.h>

#include "x86/cpu/insn/stack.h"

/* ------------------------------------------------------------------ PUSH */

/* The value is complete before RSP changes: PUSH RSP pushes what RSP was. */
#define PUSH(bits)											\
SLOW_FN static void push##bits##_r_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	at(cpu, i);											\
	stack_push(cpu, cpu->regs[i->dst], bits / 8);							\
	NEXT(cpu, i);											\
}													\
SLOW_FN static void push##bits##_i_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	at(cpu, i);											\
	stack_push(cpu, i->imm, bits / 8);								\
	NEXT(cpu, i);											\
}													\
static void push##bits##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	U_##bits v = LD_##bits(cpu, ea(cpu, i, bits / 8, false));					\
	stack_push(cpu, v, bits / 8);									\
	NEXT(cpu, i);											\
}

PUSH(16)
PUSH(32)
PUSH(64)

static void push64_r(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t sp = cpu->regs[R_RSP] - 8;
	uint64_t *p = (uint64_t *)tlb_hit_write(cpu->ctx, sp, 8);

	if (unlikely(!p))
		return push64_r_slow(cpu, i);
	at(cpu, i);
	*(volatile uint64_t *)p = cpu->regs[i->dst];
	cpu->regs[R_RSP] = sp;
	NEXT(cpu, i);
}

static void push64_i(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t sp = cpu->regs[R_RSP] - 8;
	uint64_t *p = (uint64_t *)tlb_hit_write(cpu->ctx, sp, 8);

	if (unlikely(!p))
		return push64_i_slow(cpu, i);
	at(cpu, i);
	*(volatile uint64_t *)p = i->imm;
	cpu->regs[R_RSP] = sp;
	NEXT(cpu, i);
}

static int build_push(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const fns[3][4] = {
		{ NULL, push16_r_slow, push32_r_slow, push64_r },
		{ NULL, push16_i_slow, push32_i_slow, push64_i },
		{ NULL, push16_m, push32_m, push64_m },
	};
	unsigned int width = build_width(i->opsize);
	int n;

	if (build_is_imm(b, 0)) {
		i->imm = build_imm(b, 0);
		i->fn = fns[1][width];
	} else if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = fns[2][width];
	} else {
		n = build_gpr(b, 0);
		if (n < 0)
			return -ENOENT;
		i->dst = (uint8_t)n;
		i->fn = fns[0][width];
	}
	return i->fn ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ POP */

/* The register is written after RSP: POP RSP leaves what was popped. */
#define POP(bits)											\
SLOW_FN static void pop##bits##_r_slow(struct x86_cpu *cpu, const struct insn *i)			\
{													\
	U_##bits v;											\
	at(cpu, i);											\
	v = (U_##bits)stack_top(cpu, bits / 8);								\
	stack_drop(cpu, bits / 8);									\
	PUT_##bits(cpu, i->dst, v);									\
	NEXT(cpu, i);											\
}													\
static void pop##bits##_m(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	U_##bits v;											\
	at(cpu, i);											\
	v = (U_##bits)stack_top(cpu, bits / 8);								\
	ST_##bits(cpu, ea(cpu, i, bits / 8, true), v);							\
	stack_drop(cpu, bits / 8);									\
	NEXT(cpu, i);											\
}

POP(16)
POP(32)
POP(64)

static void pop64_r(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t sp = cpu->regs[R_RSP];
	uint64_t v, *p = (uint64_t *)tlb_hit_read(cpu->ctx, sp, 8);

	if (unlikely(!p))
		return pop64_r_slow(cpu, i);
	at(cpu, i);
	v = *(volatile uint64_t *)p;
	cpu->regs[R_RSP] = sp + 8;
	cpu->regs[i->dst] = v;
	NEXT(cpu, i);
}

static int build_pop(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const fns[2][4] = {
		{ NULL, pop16_r_slow, pop32_r_slow, pop64_r }, { NULL, pop16_m, pop32_m, pop64_m },
	};
	unsigned int width = build_width(i->opsize);
	int n;

	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		/* The address is computed with RSP already incremented; SDM 2B, POP. */
		if (i->base == R_RSP)
			i->disp += i->opsize;
		i->fn = fns[1][width];
	} else {
		n = build_gpr(b, 0);
		if (n < 0)
			return -ENOENT;
		i->dst = (uint8_t)n;
		i->fn = fns[0][width];
	}
	return i->fn ? 0 : -ENOENT;
}

/* ------------------------------------------------------------------ PUSHA, POPA */

/*
 * All eight are probed as one run of stores, so that a fault leaves no trace; a
 * stack that wraps in the middle of them is checked store by store before.
 */
static void pusha(struct x86_cpu *cpu, const struct insn *i)
{
	unsigned int size = i->opsize;
	uint64_t sp = cpu->regs[R_RSP];
	gva_t a[8];

	for (unsigned int n = 0; n < 8; n++) {
		sp = (sp - size) & stack_mask(cpu);
		a[n] = stack_ea(cpu, sp, size, true);
		mem_probe_write(cpu, a[n], size);
	}
	for (unsigned int n = 0; n < 8; n++)
		stack_store(cpu, a[n], cpu->regs[R_RAX + n], size);
	stack_set_sp(cpu, sp);
}

static void pusha_all(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	pusha(cpu, i);
	NEXT(cpu, i);
}

static void popa(struct x86_cpu *cpu, const struct insn *i)
{
	unsigned int size = i->opsize;
	uint64_t v[8], sp = cpu->regs[R_RSP];

	for (unsigned int n = 0; n < 8; n++) {
		v[n] = stack_load(cpu, stack_ea(cpu, sp & stack_mask(cpu), size, false), size);
		sp += size;
	}
	stack_set_sp(cpu, sp);
	for (unsigned int n = 0; n < 8; n++) {
		if (R_RDI - n == R_RSP)
			continue;
		if (size == 2)
			PUT_16(cpu, R_RDI - n, v[n]);
		else
			PUT_32(cpu, R_RDI - n, v[n]);
	}
}

static void popa_all(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	popa(cpu, i);
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ PUSHF, POPF */

static unsigned int iopl(const struct x86_cpu *cpu)
{
	return (cpu->rflags & FL_IOPL) >> 12;
}

/* Virtual-8086 mode with IOPL below 3: only the 16-bit forms work, and only with CR4.VME.  SDM 3B, 20.3. */
static bool virtual_if(struct x86_cpu *cpu, unsigned int size)
{
	if (!x86_vm86(cpu) || iopl(cpu) == 3)
		return false;
	if (size != 2 || !(cpu->cr4 & CR4_VME))
		x86_raise_ec(cpu, X86_GP, 0);
	return true;
}

static void pushf_flags(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t v;

	at(cpu, i);
	v = x86_get_rflags(cpu) & ~(uint64_t)(FL_VM | FL_RF);
	if (virtual_if(cpu, i->opsize)) {
		v = (v | FL_IOPL) & ~(uint64_t)FL_IF;
		if (cpu->rflags & FL_VIF)
			v |= FL_IF;
	}
	stack_push(cpu, v, i->opsize);
	NEXT(cpu, i);
}

/* The flags POPF may change at this privilege.  SDM 2B, POPF; 1, 3.4.3.3. */
static uint64_t popf_mask(const struct x86_cpu *cpu, unsigned int size)
{
	uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT;

	if (size > 2)
		mask |= FL_AC | FL_ID;
	if (!cpu->cpl)
		mask |= FL_IOPL;
	if (cpu->cpl <= iopl(cpu))
		mask |= FL_IF;
	return mask;
}

static void popf_virtual(struct x86_cpu *cpu, uint64_t *v, uint64_t *mask)
{
	if ((*v & FL_TF) || ((*v & FL_IF) && (cpu->rflags & FL_VIP)))
		x86_raise_ec(cpu, X86_GP, 0);
	*v = *v & FL_IF ? *v | FL_VIF : *v & ~(uint64_t)FL_VIF;
	*mask = (*mask & ~(uint64_t)FL_IF) | FL_VIF;
}

static void popf_flags(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t v, mask;

	at(cpu, i);
	mask = popf_mask(cpu, i->opsize);
	if (virtual_if(cpu, i->opsize)) {
		v = stack_top(cpu, 2);
		popf_virtual(cpu, &v, &mask);
	} else {
		v = stack_top(cpu, i->opsize);
	}
	stack_drop(cpu, i->opsize);
	x86_set_rflags(cpu, (v & mask) | (x86_get_rflags(cpu) & ~(mask | FL_RF)));
}

static void popf_all(struct x86_cpu *cpu, const struct insn *i)
{
	popf_flags(cpu, i);
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ ENTER, LEAVE */

static void set_bp(struct x86_cpu *cpu, uint64_t v, unsigned int size)
{
	if (size == 2)
		PUT_16(cpu, R_RBP, v);
	else if (size == 4)
		PUT_32(cpu, R_RBP, v);
	else
		cpu->regs[R_RBP] = v;
}

/*
 * SDM 2A, ENTER.  Writes below RSP as it goes, which a restart writes again; the
 * registers change after the new top of the stack is known to be writable.
 */
static void enter(struct x86_cpu *cpu, const struct insn *i)
{
	unsigned int size = i->opsize, level = i->aux & 31;
	uint64_t mask = stack_mask(cpu), bp = cpu->regs[R_RBP], frame;
	uint64_t sp = (cpu->regs[R_RSP] - size) & mask;

	stack_store(cpu, stack_ea(cpu, sp, size, true), bp, size);
	/* With a 16-bit stack the frame pointer keeps the rest of ESP. */
	frame = (cpu->regs[R_RSP] & ~mask) | sp;
	for (unsigned int n = 1; n < level; n++) {
		uint64_t v;

		bp = (bp - size) & mask;
		v = stack_load(cpu, stack_ea(cpu, bp, size, false), size);
		sp = (sp - size) & mask;
		stack_store(cpu, stack_ea(cpu, sp, size, true), v, size);
	}
	if (level) {
		sp = (sp - size) & mask;
		stack_store(cpu, stack_ea(cpu, sp, size, true), frame, size);
	}
	sp = (sp - i->imm) & mask;
	mem_probe_write(cpu, stack_ea(cpu, sp, size, true), size);
	set_bp(cpu, frame, size);
	stack_set_sp(cpu, sp);
}

static void enter_frame(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	enter(cpu, i);
	NEXT(cpu, i);
}

static int build_enter(struct insn *i, const struct insn_build *b)
{
	i->imm = build_imm(b, 0) & 0xffff;
	i->aux = (uint16_t)build_imm(b, 1);
	i->fn = enter_frame;
	return 0;
}

static void leave_slow(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t bp = cpu->regs[R_RBP] & stack_mask(cpu), v;

	at(cpu, i);
	v = stack_load(cpu, stack_ea(cpu, bp, i->opsize, false), i->opsize);
	stack_set_sp(cpu, bp + i->opsize);
	set_bp(cpu, v, i->opsize);
	NEXT(cpu, i);
}

static void leave64(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t bp = cpu->regs[R_RBP];
	uint64_t *p = (uint64_t *)tlb_hit_read(cpu->ctx, bp, 8);

	if (unlikely(!p))
		return leave_slow(cpu, i);
	at(cpu, i);
	cpu->regs[R_RBP] = *(volatile uint64_t *)p;
	cpu->regs[R_RSP] = bp + 8;
	NEXT(cpu, i);
}

static int build_leave(struct insn *i, const struct insn_build *b)
{
	i->fn = i->opsize == 8 ? leave64 : leave_slow;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define PLAIN(MNEMONIC, flags, fn) { ZYDIS_MNEMONIC_##MNEMONIC, 0, flags, 0, build_plain, ROW_FN(fn) }

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_PUSH, 0, 0, 0, build_push, NULL },
	{ ZYDIS_MNEMONIC_POP, 0, 0, 0, build_pop, NULL },
	PLAIN(PUSHA, ROW_NO_64, pusha_all),
	PLAIN(PUSHAD, ROW_NO_64, pusha_all),
	PLAIN(POPA, ROW_NO_64, popa_all),
	PLAIN(POPAD, ROW_NO_64, popa_all),
	PLAIN(PUSHF, 0, pushf_flags),
	PLAIN(PUSHFD, 0, pushf_flags),
	PLAIN(PUSHFQ, 0, pushf_flags),
	PLAIN(POPF, ROW_BARRIER, popf_all),
	PLAIN(POPFD, ROW_BARRIER, popf_all),
	PLAIN(POPFQ, ROW_BARRIER, popf_all),
	{ ZYDIS_MNEMONIC_ENTER, 0, 0, 0, build_enter, NULL },
	{ ZYDIS_MNEMONIC_LEAVE, 0, 0, 0, build_leave, NULL },
};

const struct insn_rows insn_rows_stack = { rows, ARRAY_SIZE(rows) };
