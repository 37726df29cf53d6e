/* SPDX-License-Identifier: MIT */
/*
 * Far JMP, CALL, RET and IRET: through descriptors, gates and tasks.
 * SDM 3A, 5.8 and 7.3; the order of the checks is that of the pseudocode in 2A
 * and 2B.  Everything is read, judged and probed before anything is changed.
 */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"
#include "x86/cpu/task.h"

#define IOPL(cpu) (((cpu)->rflags >> 12) & 3)

static uint64_t truncate_to(uint64_t v, unsigned int size)
{
	return size == 2 ? (uint16_t)v : size == 4 ? (uint32_t)v : v;
}

static uint64_t load_sized(struct x86_cpu *cpu, gva_t a, unsigned int size)
{
	return size == 2 ? ld16(cpu, a) : size == 4 ? ld32(cpu, a) : ld64(cpu, a);
}

/* The n-th item of @size bytes above the top of the stack. */
static uint64_t stack_item(struct x86_cpu *cpu, unsigned int n, unsigned int size, uint32_t skip)
{
	uint64_t off = (cpu->regs[R_RSP] + n * size + skip) & stack_mask(cpu);

	return load_sized(cpu, stack_ea(cpu, off, size, false), size);
}

/* --------------------------------------------------------------- JMP and CALL */

struct far_target {
	uint16_t sel;
	uint64_t off;
	uint8_t size;           /* operand size */
	bool call;
	uint64_t next;          /* RIP behind the instruction */
};

static void push_return(struct x86_cpu *cpu, struct x86_frame *f, const struct far_target *t)
{
	x86_frame_push(cpu, f, cpu->seg[SEG_CS].selector);
	x86_frame_push(cpu, f, t->next);
}

static void far_real(struct x86_cpu *cpu, const struct far_target *t)
{
	struct x86_frame f;

	if (t->off > cpu->seg[SEG_CS].limit)
		x86_raise_ec(cpu, X86_GP, 0);
	if (t->call) {
		x86_frame_here(cpu, &f, t->size, false, 0);
		push_return(cpu, &f, t);
		x86_frame_commit(cpu, &f);
		x86_frame_set_sp(cpu, &f);
	}
	x86_seg_load_real(cpu, SEG_CS, t->sel);
	cpu->regs[R_RIP] = t->off;
}

/* Not present, and a combination of L and D that long mode does not know. */
static void check_code_present(struct x86_cpu *cpu, uint16_t sel, const struct x86_desc *d)
{
	if (!desc_p(d))
		x86_raise_ec(cpu, X86_NP, sel & ~3u);
	if (x86_long_mode(cpu) && desc_l(d) && desc_db(d))
		x86_raise_ec(cpu, X86_GP, sel & ~3u);
}

static bool target_is_long(const struct x86_cpu *cpu, const struct x86_desc *d)
{
	return x86_long_mode(cpu) && desc_l(d);
}

/* A transfer that keeps CPL, with pushes of @size bytes for a CALL. */
static void far_same(struct x86_cpu *cpu, const struct far_target *t, struct x86_seg_load *cs, uint64_t off,
		     unsigned int size)
{
	struct x86_frame f;

	if (t->call) {
		x86_frame_here(cpu, &f, size, cpu->mode == CODE64 || size == 8, 0);
		push_return(cpu, &f, t);
	}
	x86_code_target(cpu, target_is_long(cpu, &cs->d), desc_limit(&cs->d), off, 0);
	x86_desc_access(cpu, &cs->d);
	if (t->call) {
		x86_frame_commit(cpu, &f);
		x86_frame_set_sp(cpu, &f);
	}
	cs->sel = (cs->sel & ~3u) | cpu->cpl;
	cs->null = false;
	x86_seg_commit(cpu, SEG_CS, cs);
	cpu->regs[R_RIP] = off;
	x86_update_priv(cpu);
}

static void far_code(struct x86_cpu *cpu, const struct far_target *t, struct x86_seg_load *cs)
{
	unsigned int dpl = desc_dpl(&cs->d), rpl = t->sel & 3;
	uint32_t err = t->sel & ~3u;

	if (desc_is_conforming(&cs->d) ? dpl > cpu->cpl : rpl > cpu->cpl || dpl != cpu->cpl)
		x86_raise_ec(cpu, X86_GP, err);
	check_code_present(cpu, t->sel, &cs->d);
	far_same(cpu, t, cs, t->off, t->size);
}

/* ----------------------------------------------------------------- call gates */

struct call_gate {
	uint16_t sel;           /* of the code segment */
	uint64_t off;
	uint8_t size;           /* of pushes */
	uint8_t params;
};

static void read_gate(struct x86_cpu *cpu, const struct far_target *t, const struct x86_desc *low,
		      struct call_gate *g)
{
	struct x86_desc d = *low;
	uint32_t err = t->sel & ~3u;

	if (x86_long_mode(cpu) && (!x86_desc_fetch16(cpu, t->sel, &d) || (d.high >> 8 & 0x1f)))
		x86_raise_ec(cpu, X86_GP, err);
	if (desc_dpl(&d) < cpu->cpl || desc_dpl(&d) < (t->sel & 3u))
		x86_raise_ec(cpu, X86_GP, err);
	if (!desc_p(&d))
		x86_raise_ec(cpu, X86_NP, err);
	g->sel = (uint16_t)(d.raw >> 16);
	g->off = d.raw & 0xffff;
	if (desc_type(&d) == SYS_CALL32)
		g->off |= d.raw >> 32 & 0xffff0000;
	g->off |= d.high << 32;
	g->size = x86_long_mode(cpu) ? 8 : desc_type(&d) == SYS_CALL32 ? 4 : 2;
	g->params = g->size == 8 ? 0 : d.raw >> 32 & 31;
}

/* CALL to more privilege: a new stack, with the parameters of the old one. */
static void gate_inner(struct x86_cpu *cpu, const struct far_target *t, const struct call_gate *g,
		       struct x86_seg_load *cs)
{
	const struct x86_seg_rule rule = { .cpl = desc_dpl(&cs->d), .vector = X86_TS };
	struct x86_seg_load ss = { .null = true, .sel = rule.cpl };
	struct x86_frame f;

	if (g->size == 8) {
		x86_frame_new(cpu, &f, 8, x86_tss_stack64(cpu, rule.cpl, 0), NULL, rule.cpl, 0);
	} else {
		uint32_t sp;

		x86_tss_stack(cpu, rule.cpl, 0, &ss.sel, &sp);
		x86_stack_check(cpu, ss.sel, &rule, &ss);
		x86_frame_new(cpu, &f, g->size, sp, &ss, rule.cpl, 0);
	}
	x86_frame_push(cpu, &f, cpu->seg[SEG_SS].selector);
	x86_frame_push(cpu, &f, cpu->regs[R_RSP]);
	for (unsigned int n = g->params; n--;)
		x86_frame_push(cpu, &f, stack_item(cpu, n, g->size, 0));
	push_return(cpu, &f, t);
	x86_code_target(cpu, g->size == 8, desc_limit(&cs->d), g->off, 0);
	x86_desc_access(cpu, &cs->d);
	x86_frame_commit(cpu, &f);

	cs->sel = (cs->sel & ~3u) | rule.cpl;
	cs->null = false;
	x86_seg_commit(cpu, SEG_CS, cs);
	x86_seg_commit(cpu, SEG_SS, &ss);
	x86_frame_set_sp(cpu, &f);
	cpu->regs[R_RIP] = g->off;
	x86_update_priv(cpu);
}

static void far_gate(struct x86_cpu *cpu, const struct far_target *t, const struct x86_desc *low)
{
	struct x86_seg_load cs;
	struct call_gate g;
	uint32_t err;

	read_gate(cpu, t, low, &g);
	err = g.sel & ~3u;
	cs.sel = g.sel;
	if (sel_null(g.sel))
		x86_raise_ec(cpu, X86_GP, 0);
	if (!x86_desc_fetch(cpu, g.sel, &cs.d) || !desc_is_code(&cs.d) || desc_dpl(&cs.d) > cpu->cpl)
		x86_raise_ec(cpu, X86_GP, err);
	if (!t->call && !desc_is_conforming(&cs.d) && desc_dpl(&cs.d) != cpu->cpl)
		x86_raise_ec(cpu, X86_GP, err);
	if (x86_long_mode(cpu) && (!desc_l(&cs.d) || desc_db(&cs.d)))
		x86_raise_ec(cpu, X86_GP, err);
	if (!desc_p(&cs.d))
		x86_raise_ec(cpu, X86_NP, err);
	if (t->call && !desc_is_conforming(&cs.d) && desc_dpl(&cs.d) < cpu->cpl)
		gate_inner(cpu, t, &g, &cs);
	else
		far_same(cpu, t, &cs, g.off, g.size);
}

/* ---------------------------------------------------------------------- tasks */

static void far_task(struct x86_cpu *cpu, const struct far_target *t, const struct x86_desc *d)
{
	struct x86_task_switch sw = {
		.reason = t->call ? TASK_CALL : TASK_JMP, .sel = t->sel, .next_rip = t->next,
		.eflags = (uint32_t)x86_get_rflags(cpu),
	};

	if (desc_dpl(d) < cpu->cpl || desc_dpl(d) < (t->sel & 3u))
		x86_raise_ec(cpu, X86_GP, t->sel & ~3u);
	if (desc_type(d) == SYS_TASK_GATE) {
		if (!desc_p(d))
			x86_raise_ec(cpu, X86_NP, t->sel & ~3u);
		sw.sel = x86_task_gate_target(cpu, d, 0);
	}
	x86_task_switch(cpu, &sw);
}

static void far_protected(struct x86_cpu *cpu, const struct far_target *t)
{
	typedef void system_fn(struct x86_cpu *, const struct far_target *, const struct x86_desc *);
	static system_fn *const legacy[16] = {
		[SYS_TSS16] = far_task, [SYS_TSS32] = far_task, [SYS_TASK_GATE] = far_task,
		[SYS_CALL16] = far_gate, [SYS_CALL32] = far_gate,
	};
	static system_fn *const lma[16] = { [SYS_CALL32] = far_gate };
	struct x86_seg_load cs = { .sel = t->sel };
	system_fn *fn;

	if (sel_null(t->sel))
		x86_raise_ec(cpu, X86_GP, 0);
	if (!x86_desc_fetch(cpu, t->sel, &cs.d))
		x86_raise_ec(cpu, X86_GP, t->sel & ~3u);
	if (desc_is_code(&cs.d)) {
		far_code(cpu, t, &cs);
		return;
	}
	fn = desc_s(&cs.d) ? NULL : (x86_long_mode(cpu) ? lma : legacy)[desc_type(&cs.d)];
	if (!fn)
		x86_raise_ec(cpu, X86_GP, t->sel & ~3u);
	fn(cpu, t, &cs.d);
}

static void far_transfer(struct x86_cpu *cpu, const struct far_target *t)
{
	if (x86_in_vm_or_real(cpu))
		far_real(cpu, t);
	else
		far_protected(cpu, t);
}

#define FAR_CALL 1

static void far_imm(struct x86_cpu *cpu, const struct insn *i)
{
	const struct far_target t = {
		.sel = i->src | i->src2 << 8, .off = i->imm, .size = i->opsize, .call = i->aux == FAR_CALL,
		.next = insn_next_rip(cpu, i),
	};

	at(cpu, i);
	far_transfer(cpu, &t);
}

static void far_mem(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a = ea(cpu, i, i->opsize + 2u, false);
	struct far_target t = {
		.size = i->opsize, .call = i->aux == FAR_CALL, .next = insn_next_rip(cpu, i),
	};

	t.off = load_sized(cpu, a, i->opsize);
	t.sel = ld16(cpu, a + i->opsize);
	far_transfer(cpu, &t);
}

static int build_far(struct insn *i, const struct insn_build *b, bool call)
{
	if (b->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
		return -ENOENT;
	i->aux = call ? FAR_CALL : 0;
	if (b->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		i->src = b->op[0].ptr.segment & 0xff;
		i->src2 = b->op[0].ptr.segment >> 8;
		i->imm = truncate_to(b->op[0].ptr.offset, i->opsize);
		i->fn = far_imm;
		return 0;
	}
	if (!build_is_mem(b, 0))
		return -ENOENT;
	build_mem(i, b, 0);
	i->opsize = build_opsize(b, 0) - 2;
	i->fn = far_mem;
	return 0;
}

static int build_far_jmp(struct insn *i, const struct insn_build *b)
{
	return build_far(i, b, false);
}

static int build_far_call(struct insn *i, const struct insn_build *b)
{
	return build_far(i, b, true);
}

/* ------------------------------------------------------------------ RET, IRET */

/* What a return pops, in the order in which it lies on the stack. */
struct far_return {
	uint8_t size;
	uint32_t release;       /* bytes of parameters, RET imm16 */
	uint16_t sel;
	uint64_t rip;
	struct x86_seg_load cs;
	bool outer, has_stack;
	uint64_t rsp;           /* of the outer stack */
	struct x86_seg_load ss;
};

static void return_cs(struct x86_cpu *cpu, struct far_return *r)
{
	struct x86_desc *d = &r->cs.d;
	unsigned int rpl = r->sel & 3;
	uint32_t err = r->sel & ~3u;

	if (sel_null(r->sel))
		x86_raise_ec(cpu, X86_GP, 0);
	if (!x86_desc_fetch(cpu, r->sel, d) || !desc_is_code(d) || rpl < cpu->cpl)
		x86_raise_ec(cpu, X86_GP, err);
	if (desc_is_conforming(d) ? desc_dpl(d) > rpl : desc_dpl(d) != rpl)
		x86_raise_ec(cpu, X86_GP, err);
	check_code_present(cpu, r->sel, d);
	r->cs.sel = r->sel;
	r->cs.null = false;
	r->outer = rpl > cpu->cpl;
}

/* SS:RSP of a return to another stack, @n items up. */
static void return_ss(struct x86_cpu *cpu, struct far_return *r, unsigned int n)
{
	struct x86_seg_rule rule = { .cpl = r->sel & 3, .vector = X86_GP };

	rule.null_ss = target_is_long(cpu, &r->cs.d) && rule.cpl < 3;
	r->rsp = stack_item(cpu, n, r->size, r->release);
	x86_stack_check(cpu, (uint16_t)stack_item(cpu, n + 1, r->size, r->release), &rule, &r->ss);
	r->has_stack = true;
}

/* The last part of both returns; @n items were popped when there is no other stack. */
static void return_commit(struct x86_cpu *cpu, const struct far_return *r, unsigned int n)
{
	uint64_t mask = stack_mask(cpu), sp = (cpu->regs[R_RSP] + n * r->size + r->release) & mask;

	if (r->has_stack) {
		sp = r->rsp + r->release;
		mask = target_is_long(cpu, &r->cs.d) ? ~0ULL : desc_db(&r->ss.d) ? 0xffffffff : 0xffff;
		x86_seg_commit(cpu, SEG_SS, &r->ss);
	}
	x86_seg_commit(cpu, SEG_CS, &r->cs);
	cpu->regs[R_RIP] = r->rip;
	if (mask == 0xffff)
		cpu->regs[R_RSP] = (cpu->regs[R_RSP] & ~0xffffULL) | (sp & 0xffff);
	else
		cpu->regs[R_RSP] = sp & mask;
	if (r->outer)
		x86_seg_null_user(cpu, r->sel & 3);
	x86_update_priv(cpu);
}

static void ret_real(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t ip = stack_item(cpu, 0, i->opsize, 0), cs = stack_item(cpu, 1, i->opsize, 0);

	if (ip > cpu->seg[SEG_CS].limit)
		x86_raise_ec(cpu, X86_GP, 0);
	x86_seg_load_real(cpu, SEG_CS, (uint16_t)cs);
	cpu->regs[R_RIP] = ip;
	stack_set_sp(cpu, cpu->regs[R_RSP] + 2u * i->opsize + i->imm);
}

static void op_retf(struct x86_cpu *cpu, const struct insn *i)
{
	struct far_return r = { .size = i->opsize };

	at(cpu, i);
	if (x86_in_vm_or_real(cpu)) {
		ret_real(cpu, i);
		return;
	}
	r.rip = stack_item(cpu, 0, r.size, 0);
	r.sel = (uint16_t)stack_item(cpu, 1, r.size, 0);
	return_cs(cpu, &r);
	r.release = (uint32_t)i->imm;
	if (r.outer)
		return_ss(cpu, &r, 2);
	x86_code_target(cpu, target_is_long(cpu, &r.cs.d), desc_limit(&r.cs.d), r.rip, 0);
	x86_desc_access(cpu, &r.cs.d);
	return_commit(cpu, &r, 2);
}

static int build_retf(struct insn *i, const struct insn_build *b)
{
	if (b->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
		return -ENOENT;
	i->imm = build_is_imm(b, 0) ? build_imm(b, 0) & 0xffff : 0;
	i->fn = op_retf;
	return 0;
}

#define IRET_ALWAYS (FL_ARITH | FL_TF | FL_DF | FL_NT)
#define IRET_32 (FL_RF | FL_AC | FL_ID)

static void iret_flags(struct x86_cpu *cpu, uint64_t flags, uint64_t may_change, unsigned int size)
{
	if (size == 2)
		may_change &= 0xffff;
	/* RF speaks to instruction breakpoints alone: without them it need not cost a step. */
	if (!(cpu->dr7 & DR7_ENABLE_MASK) && !cpu->client_debug.active)
		flags &= ~(uint64_t)FL_RF;
	x86_set_rflags(cpu, (x86_get_rflags(cpu) & ~may_change) | (flags & may_change));
}

static void iret_real(struct x86_cpu *cpu, const struct insn *i)
{
	unsigned int size = i->opsize;
	uint64_t ip = stack_item(cpu, 0, size, 0), cs = stack_item(cpu, 1, size, 0);
	uint64_t flags = stack_item(cpu, 2, size, 0);
	uint64_t may = IRET_ALWAYS | IRET_32 | FL_IF | (x86_vm86(cpu) ? 0 : FL_IOPL);

	if (ip > cpu->seg[SEG_CS].limit)
		x86_raise_ec(cpu, X86_GP, 0);
	x86_seg_load_real(cpu, SEG_CS, (uint16_t)cs);
	cpu->regs[R_RIP] = ip;
	stack_set_sp(cpu, cpu->regs[R_RSP] + 3 * size);
	iret_flags(cpu, flags, may, size);
}

/* Virtual-8086 mode with IOPL below 3: #GP, or with VME a 16-bit IRET that loads VIF.  SDM 3A, 20.3.3. */
static void iret_vme(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t ip, cs, flags;

	if (!(cpu->cr4 & CR4_VME) || i->opsize != 2)
		x86_raise_ec(cpu, X86_GP, 0);
	ip = stack_item(cpu, 0, 2, 0);
	cs = stack_item(cpu, 1, 2, 0);
	flags = stack_item(cpu, 2, 2, 0);
	if ((flags & FL_TF) || ((flags & FL_IF) && (cpu->rflags & FL_VIP)))
		x86_raise_ec(cpu, X86_GP, 0);
	x86_seg_load_real(cpu, SEG_CS, (uint16_t)cs);
	cpu->regs[R_RIP] = ip;
	stack_set_sp(cpu, cpu->regs[R_RSP] + 6);
	iret_flags(cpu, flags, IRET_ALWAYS, 2);
	cpu->rflags = (cpu->rflags & ~FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
}

/* NT: back to the task that the TSS links to. */
static void iret_task(struct x86_cpu *cpu, const struct insn *i)
{
	struct x86_task_switch sw = {
		.reason = TASK_IRET, .next_rip = insn_next_rip(cpu, i), .eflags = (uint32_t)x86_get_rflags(cpu),
	};

	if (x86_long_mode(cpu))
		x86_raise_ec(cpu, X86_GP, 0);
	sw.sel = (uint16_t)sys_load(cpu, cpu->tr.base, 2);
	x86_task_switch(cpu, &sw);
}

/* From CPL 0 into virtual-8086 mode; SDM 3A, 20.2.2. */
static void iret_to_vm86(struct x86_cpu *cpu, uint64_t eip, uint16_t cs, uint64_t flags)
{
	static const uint8_t order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	uint64_t esp = stack_item(cpu, 3, 4, 0), ss = stack_item(cpu, 4, 4, 0);
	uint16_t data[ARRAY_SIZE(order)];

	for (unsigned int n = 0; n < ARRAY_SIZE(order); n++)
		data[n] = (uint16_t)stack_item(cpu, 5 + n, 4, 0);
	x86_code_target(cpu, false, 0xffff, eip, 0);

	cpu->rflags |= FL_VM;           /* for the segments to be loaded as that mode has them */
	for (unsigned int n = 0; n < ARRAY_SIZE(order); n++)
		x86_seg_load_real(cpu, order[n], data[n]);
	x86_seg_load_real(cpu, SEG_CS, cs);
	x86_seg_load_real(cpu, SEG_SS, (uint16_t)ss);
	cpu->regs[R_RSP] = esp;
	cpu->regs[R_RIP] = eip;
	x86_set_rflags(cpu, flags & (IRET_ALWAYS | IRET_32 | FL_IF | FL_IOPL | FL_VM | FL_VIF | FL_VIP));
	x86_update_priv(cpu);
}

static void iret(struct x86_cpu *cpu, const struct insn *i)
{
	struct far_return r = { .size = i->opsize };
	uint64_t flags, may = IRET_ALWAYS | IRET_32;

	if (x86_in_vm_or_real(cpu)) {
		if (x86_vm86(cpu) && IOPL(cpu) < 3)
			iret_vme(cpu, i);
		else
			iret_real(cpu, i);
		return;
	}
	if (cpu->rflags & FL_NT) {
		iret_task(cpu, i);
		return;
	}
	r.rip = stack_item(cpu, 0, r.size, 0);
	r.sel = (uint16_t)stack_item(cpu, 1, r.size, 0);
	flags = stack_item(cpu, 2, r.size, 0);
	if ((flags & FL_VM) && !cpu->cpl && r.size == 4 && !x86_long_mode(cpu)) {
		iret_to_vm86(cpu, r.rip, r.sel, flags);
		return;
	}
	return_cs(cpu, &r);
	if (r.outer || cpu->mode == CODE64)
		return_ss(cpu, &r, 3);
	x86_code_target(cpu, target_is_long(cpu, &r.cs.d), desc_limit(&r.cs.d), r.rip, 0);
	x86_desc_access(cpu, &r.cs.d);

	if (cpu->cpl <= IOPL(cpu))
		may |= FL_IF;
	if (!cpu->cpl)
		may |= FL_IOPL | FL_VIF | FL_VIP;
	return_commit(cpu, &r, 3);
	iret_flags(cpu, flags, may, r.size);
}

/* It ends the blocking of NMIs; not before it is complete, since it may have to run again. */
static void op_iret(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (likely(!cpu->nmi_blocked)) {
		iret(cpu, i);
		return;
	}
	cpu->iret_unblocks = !cpu->nested.iret_keeps_nmis;
	iret(cpu, i);
	x86_iret_unblocks(cpu);
}

static int build_iret(struct insn *i, const struct insn_build *b)
{
	i->opsize = *(const uint8_t *)b->row->arg;
	i->fn = op_iret;
	return 0;
}

#define SIZE(n) (&(const uint8_t){ n })

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_JMP, 0, ROW_END, 0, build_far_jmp, NULL },
	{ ZYDIS_MNEMONIC_CALL, 0, ROW_END, 0, build_far_call, NULL },
	{ ZYDIS_MNEMONIC_RET, 0, ROW_END, 0, build_retf, NULL },
	{ ZYDIS_MNEMONIC_IRET, 0, ROW_END | ROW_SERIAL, 0, build_iret, SIZE(2) },
	{ ZYDIS_MNEMONIC_IRETD, 0, ROW_END | ROW_SERIAL, 0, build_iret, SIZE(4) },
	{ ZYDIS_MNEMONIC_IRETQ, 0, ROW_END | ROW_SERIAL | ROW_ONLY_64, 0, build_iret, SIZE(8) },
};

const struct insn_rows insn_rows_far = { rows, ARRAY_SIZE(rows) };
