/* SPDX-License-Identifier: MIT */
/*
 * Exceptions: raising them, merging two into one, and delivery of every event
 * through the IVT, the IDT or a task gate.  SDM 3A chapter 6; 64-bit mode 6.14.
 *
 * Every delivery runs in this order, so that it is restartable as a whole:
 *  1. read and judge gate, code segment, TSS and new stack segment;
 *  2. set accessed bits;
 *  3. probe, then write, the frame on the stack;
 *  4. change registers.
 */
#include "x86/cpu/block.h"
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/lbr.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"
#include "x86/cpu/task.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

const struct insn x86_no_insn;

/* -------------------------------------------------------------------- raising */

/*
 * A request of the client's, outside the run loop, may meet what only the loop can bring about, as a page of L2's tables
 * that L1 does not map: its access has failed then.
 */
void x86_leave(struct x86_cpu *cpu, enum x86_leave how)
{
	if (unlikely(!cpu->in_run))
		host_guard_fail();
	host_jump_to(&cpu->guard.jump, how);
}

void x86_exit(struct x86_cpu *cpu)
{
	x86_leave(cpu, X86_LEAVE_EXIT);
}

void x86_internal(struct x86_cpu *cpu, const char *what)
{
	cpu->internal.what = what;
	x86_leave(cpu, X86_LEAVE_INTERNAL);
}

void x86_raise(struct x86_cpu *cpu, uint8_t vector)
{
	cpu->exc = (struct x86_exception){ .vector = vector };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

void x86_raise_ec(struct x86_cpu *cpu, uint8_t vector, uint32_t error_code)
{
	cpu->exc = (struct x86_exception){ .vector = vector, .has_error_code = true, .error_code = error_code };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

static bool is_prefix(uint8_t byte, enum x86_code_mode mode)
{
	static const uint8_t prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3 };

	for (unsigned int n = 0; n < ARRAY_SIZE(prefixes); n++)
		if (byte == prefixes[n])
			return true;
	return mode == CODE64 && byte >> 4 == 4;
}

/* x87 with a memory operand: but for FNSTCW and FNSTSW unknown to KVM's emulator. */
static bool is_x87_access(const struct x86_cpu *cpu)
{
	const struct block *b = cpu->running;
	unsigned int n, reg;

	if (!b || cpu->cur < b->insn || (const uint8_t *)cpu->cur >= b->bytes)
		return false;
	n = cpu->cur->off;
	while (n + 1u < b->len && is_prefix(b->bytes[n], cpu->mode))
		n++;
	if (n + 1u >= b->len || b->bytes[n] >> 3 != 0xd8 >> 3 || b->bytes[n + 1] >> 6 == 3)
		return false;
	reg = b->bytes[n + 1] >> 3 & 7;
	return !((b->bytes[n] == 0xd9 || b->bytes[n] == 0xdd) && reg == 7);
}

/*
 * An address beyond the guest's MAXPHYADDR and not the host's: KVM with EPT learns of it as it emulates the
 * instruction, and tells a client that wants to hear of what its emulator does not know.
 */
void x86_raise_pf(struct x86_cpu *cpu, gva_t gva, uint32_t error_code)
{
	if (unlikely(error_code & PF_BEYOND) && cpu->reports_unknown && is_x87_access(cpu))
		x86_internal(cpu, "x87 beyond MAXPHYADDR");
	cpu->exc = (struct x86_exception){
		.vector = X86_PF, .has_error_code = true, .error_code = error_code & ~PF_BEYOND, .payload = gva,
	};
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

void x86_raise_soft(struct x86_cpu *cpu, const struct insn *i, uint8_t vector)
{
	at(cpu, i);
	cpu->exc = (struct x86_exception){ .vector = vector, .soft = true, .insn_len = i->len, .intn = i->aux };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

void x86_raise_db_fault(struct x86_cpu *cpu, uint64_t dr6)
{
	cpu->exc = (struct x86_exception){ .vector = X86_DB, .payload = dr6 };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

void x86_raise_db_trap(struct x86_cpu *cpu, uint64_t dr6)
{
	at(cpu, &x86_no_insn);
	cpu->exc = (struct x86_exception){ .vector = X86_DB, .trap = true, .payload = dr6 };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

/* -------------------------------------------------------------------- merging */

enum exc_class { EXC_BENIGN, EXC_CONTRIBUTORY, EXC_PAGE_FAULT, EXC_DOUBLE_FAULT };

static enum exc_class exc_class(const struct x86_exception *e)
{
	static const uint8_t class_of[32] = {
		[X86_DE] = EXC_CONTRIBUTORY, [X86_TS] = EXC_CONTRIBUTORY, [X86_NP] = EXC_CONTRIBUTORY,
		[X86_SS] = EXC_CONTRIBUTORY, [X86_GP] = EXC_CONTRIBUTORY, [X86_CP] = EXC_CONTRIBUTORY,
		[X86_PF] = EXC_PAGE_FAULT, [X86_DF] = EXC_DOUBLE_FAULT,
	};

	return e->soft || e->vector >= 32 ? EXC_BENIGN : class_of[e->vector];
}

bool x86_merge_exception(struct x86_cpu *cpu)
{
	/* By the class of the first: the classes of a second that make a double fault.  SDM 3A table 6-5. */
	static const uint8_t doubles[] = {
		[EXC_BENIGN] = 0,
		[EXC_CONTRIBUTORY] = 1 << EXC_CONTRIBUTORY,
		[EXC_PAGE_FAULT] = 1 << EXC_CONTRIBUTORY | 1 << EXC_PAGE_FAULT,
		[EXC_DOUBLE_FAULT] = 1 << EXC_CONTRIBUTORY | 1 << EXC_PAGE_FAULT | 1 << EXC_DOUBLE_FAULT,
	};
	enum exc_class first;

	if (!cpu->is_delivering)
		return true;
	cpu->is_delivering = false;
	first = cpu->delivering_external ? EXC_BENIGN : exc_class(&cpu->delivering);
	if (!(doubles[first] & 1 << exc_class(&cpu->exc)))
		return true;
	if (first == EXC_DOUBLE_FAULT)
		return false;
	if (cpu->exc.vector == X86_PF)
		cpu->cr2 = cpu->exc.payload;
	cpu->exc = (struct x86_exception){ .vector = X86_DF, .has_error_code = true };
	return true;
}

/* ------------------------------------------------------------------- delivery */

/* The gate in hand, and how its event is to be saved. */
struct event {
	uint8_t vector;
	bool soft;
	bool injected;
	bool has_error_code;
	uint8_t ext;            /* bit 0 of error codes met on the way */
	uint32_t error_code;
	uint64_t rip;           /* to save */
	uint64_t rflags;        /* to save */
};

#define EC_IDT 2u

static uint32_t gate_error(const struct event *e)
{
	return e->vector * 8u | EC_IDT | e->ext;
}

/*
 * RF in the saved flags: set for faults, so that the instruction does not meet
 * its instruction breakpoint again; #DB decides in its handler.  SDM 3B, 17.3.1.1.
 */
static bool saves_rf(const struct x86_exception *x)
{
	const uint32_t not_faults = 1u << X86_DB | 1u << X86_NMI | 1u << X86_BP | 1u << X86_OF | 1u << X86_DF |
				    1u << X86_MC;

	return !x->soft && !x->trap && x->vector < 32 && !(not_faults & 1u << x->vector);
}

static void finish_flags(struct x86_cpu *cpu, bool interrupt_gate)
{
	uint64_t clear = FL_TF | FL_NT | FL_RF | FL_VM | (interrupt_gate ? FL_IF : 0);

	x86_set_rflags(cpu, x86_get_rflags(cpu) & ~clear);
}

/* 64-bit mode: gates of 16 bytes, IST, SS:RSP always saved.  SDM 3A, 6.14. */

struct gate64 {
	uint64_t lo, target;
	struct x86_seg_load cs;
	uint8_t cpl;            /* of the handler */
};

static void check_gate64(struct x86_cpu *cpu, const struct event *e, struct gate64 *g)
{
	uint32_t off = e->vector * 16u;
	unsigned int type;
	uint64_t lo;

	if (off + 15 > cpu->idt.limit)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	lo = sys_load(cpu, cpu->idt.base + off, 8);
	g->lo = lo;
	g->target = (lo & 0xffff) | ((lo >> 32) & 0xffff0000) | sys_load(cpu, cpu->idt.base + off + 8, 4) << 32;

	type = (lo >> 40) & 0x1f;
	if (type != SYS_INT32 && type != SYS_TRAP32)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	if (e->soft && ((lo >> 45) & 3) < cpu->cpl)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	if (!((lo >> 47) & 1))
		x86_raise_ec(cpu, X86_NP, gate_error(e));
}

/* The code segment of a gate: GP, NP as SDM 3A 6.12.1.1 and the pseudocode of INT n say. */
static void check_handler_cs(struct x86_cpu *cpu, const struct event *e, uint16_t sel,
			     struct x86_seg_load *cs, uint8_t *cpl)
{
	uint32_t err = (sel & ~3u) | e->ext;

	if (sel_null(sel))
		x86_raise_ec(cpu, X86_GP, e->ext);
	if (!x86_desc_fetch(cpu, sel, &cs->d))
		x86_raise_ec(cpu, X86_GP, err);
	if (!desc_is_code(&cs->d) || desc_dpl(&cs->d) > cpu->cpl)
		x86_raise_ec(cpu, X86_GP, err);
	if (!desc_p(&cs->d))
		x86_raise_ec(cpu, X86_NP, err);
	*cpl = desc_is_conforming(&cs->d) ? cpu->cpl : desc_dpl(&cs->d);
	cs->sel = (sel & ~3u) | *cpl;
	cs->null = false;
}

static void deliver64(struct x86_cpu *cpu, const struct event *e)
{
	struct x86_seg_load ss = { .null = true };
	struct x86_frame f;
	unsigned int ist;
	struct gate64 g;
	bool inner;

	check_gate64(cpu, e, &g);
	check_handler_cs(cpu, e, g.lo >> 16, &g.cs, &g.cpl);
	if (!desc_l(&g.cs.d) || desc_db(&g.cs.d))
		x86_raise_ec(cpu, X86_GP, (g.cs.sel & ~3u) | e->ext);
	inner = g.cpl < cpu->cpl;
	ist = (g.lo >> 32) & 7;
	ss.sel = g.cpl;

	if (ist)
		x86_frame_new(cpu, &f, 8, x86_tss_stack64(cpu, ist + 2, e->ext), NULL, g.cpl, e->ext);
	else if (inner)
		x86_frame_new(cpu, &f, 8, x86_tss_stack64(cpu, g.cpl, e->ext), NULL, g.cpl, e->ext);
	else
		x86_frame_here(cpu, &f, 8, true, e->ext);
	f.sp &= ~15ULL;
	x86_code_target(cpu, true, 0, g.target, e->ext);

	x86_frame_push(cpu, &f, cpu->seg[SEG_SS].selector);
	x86_frame_push(cpu, &f, cpu->regs[R_RSP]);
	x86_frame_push(cpu, &f, e->rflags);
	x86_frame_push(cpu, &f, cpu->seg[SEG_CS].selector);
	x86_frame_push(cpu, &f, e->rip);
	if (e->has_error_code)
		x86_frame_push(cpu, &f, e->error_code);
	x86_desc_access(cpu, &g.cs.d);
	x86_frame_commit(cpu, &f);

	x86_seg_commit(cpu, SEG_CS, &g.cs);
	if (inner) {
		x86_seg_commit(cpu, SEG_SS, &ss);
		cpu->seg[SEG_SS].dpl = g.cpl;
	}
	cpu->regs[R_RSP] = f.sp;
	cpu->regs[R_RIP] = g.target;
	x86_update_priv(cpu);
	finish_flags(cpu, ((g.lo >> 40) & 15) == SYS_INT32);
}

/* Protected mode: gates of 8 bytes, of 16 or 32 bits, and task gates. */

static void deliver_task(struct x86_cpu *cpu, const struct event *e, const struct x86_desc *gate)
{
	struct x86_task_switch t = {
		.reason = TASK_GATE, .next_rip = e->rip, .ext = e->ext, .eflags = (uint32_t)e->rflags,
		.has_error_code = e->has_error_code, .error_code = e->error_code,
	};

	t.sel = x86_task_gate_target(cpu, gate, e->ext);
	x86_task_switch(cpu, &t);
}

/* The data segments that virtual-8086 mode leaves behind are saved and become null. */
static void push_vm86_segs(struct x86_cpu *cpu, struct x86_frame *f)
{
	static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };

	for (unsigned int n = 0; n < ARRAY_SIZE(order); n++)
		x86_frame_push(cpu, f, cpu->seg[order[n]].selector);
}

static void null_data_segs(struct x86_cpu *cpu)
{
	static const uint8_t regs[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
	const struct x86_seg_load null = { .null = true };

	for (unsigned int n = 0; n < ARRAY_SIZE(regs); n++)
		x86_seg_commit(cpu, regs[n], &null);
}

static void deliver_gate32(struct x86_cpu *cpu, const struct event *e, const struct x86_desc *gate)
{
	unsigned int type = desc_type(gate), size = type & 8 ? 4 : 2;
	uint32_t target = (gate->raw & 0xffff) | (size == 4 ? (uint32_t)(gate->raw >> 32) & 0xffff0000 : 0);
	bool vm = x86_vm86(cpu), inner;
	struct x86_seg_load cs, ss;
	struct x86_frame f;
	uint8_t cpl;

	check_handler_cs(cpu, e, gate->raw >> 16, &cs, &cpl);
	if (vm && cpl)
		x86_raise_ec(cpu, X86_GP, (cs.sel & ~3u) | e->ext);
	inner = cpl < cpu->cpl;
	if (inner) {
		const struct x86_seg_rule rule = { .cpl = cpl, .vector = X86_TS, .ext = e->ext };
		uint16_t ss_sel;
		uint32_t sp;

		x86_tss_stack(cpu, cpl, e->ext, &ss_sel, &sp);
		x86_stack_check(cpu, ss_sel, &rule, &ss);
		x86_frame_new(cpu, &f, size, sp, &ss, cpl, e->ext);
		if (vm)
			push_vm86_segs(cpu, &f);
		x86_frame_push(cpu, &f, cpu->seg[SEG_SS].selector);
		x86_frame_push(cpu, &f, cpu->regs[R_RSP]);
	} else {
		x86_frame_here(cpu, &f, size, false, e->ext);
	}
	x86_frame_push(cpu, &f, e->rflags);
	x86_frame_push(cpu, &f, cpu->seg[SEG_CS].selector);
	x86_frame_push(cpu, &f, e->rip);
	if (e->has_error_code)
		x86_frame_push(cpu, &f, e->error_code);
	x86_code_target(cpu, false, desc_limit(&cs.d), target, e->ext);
	x86_desc_access(cpu, &cs.d);
	x86_frame_commit(cpu, &f);

	x86_seg_commit(cpu, SEG_CS, &cs);
	if (inner)
		x86_seg_commit(cpu, SEG_SS, &ss);
	x86_frame_set_sp(cpu, &f);
	if (vm)
		null_data_segs(cpu);
	cpu->regs[R_RIP] = target;
	/* VM must be gone before CPL is derived anew. */
	finish_flags(cpu, !(type & 1));
	x86_update_priv(cpu);
}

static void deliver_protected(struct x86_cpu *cpu, const struct event *e)
{
	/* What a gate of each type may be; others are #GP. */
	enum { BAD, TASK, GATE };
	static const uint8_t kind[32] = {
		[SYS_TASK_GATE] = TASK, [SYS_INT16] = GATE, [SYS_TRAP16] = GATE, [SYS_INT32] = GATE,
		[SYS_TRAP32] = GATE,
	};
	uint32_t off = e->vector * 8u;
	struct x86_desc gate;
	unsigned int type;

	if (off + 7 > cpu->idt.limit)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	gate.addr = cpu->idt.base + off;
	gate.raw = sys_load(cpu, gate.addr, 8);
	type = (gate.raw >> 40) & 0x1f;
	if (kind[type] == BAD)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	if (e->soft && desc_dpl(&gate) < cpu->cpl)
		x86_raise_ec(cpu, X86_GP, gate_error(e));
	if (!desc_p(&gate))
		x86_raise_ec(cpu, X86_NP, gate_error(e));
	if (kind[type] == TASK)
		deliver_task(cpu, e, &gate);
	else
		deliver_gate32(cpu, e, &gate);
}

/* Real mode: SDM 3A, 20.1.4.  No error code is saved. */
static void deliver_real(struct x86_cpu *cpu, const struct event *e)
{
	uint32_t off = e->vector * 4u, entry;
	struct x86_frame f;

	if (off + 3 > cpu->idt.limit)
		x86_raise(cpu, X86_GP);
	entry = (uint32_t)sys_load(cpu, cpu->idt.base + off, 4);
	x86_frame_here(cpu, &f, 2, false, 0);
	x86_frame_push(cpu, &f, e->rflags);
	x86_frame_push(cpu, &f, cpu->seg[SEG_CS].selector);
	x86_frame_push(cpu, &f, e->rip);
	x86_frame_commit(cpu, &f);

	x86_frame_set_sp(cpu, &f);
	x86_seg_load_real(cpu, SEG_CS, entry >> 16);
	cpu->regs[R_RIP] = entry & 0xffff;
	x86_set_rflags(cpu, x86_get_rflags(cpu) & ~(uint64_t)(FL_IF | FL_TF | FL_RF | FL_AC));
}

static void deliver(struct x86_cpu *cpu, const struct event *e)
{
	uint64_t from = cpu->regs[R_RIP];

	if (x86_long_mode(cpu))
		deliver64(cpu, e);
	else if (x86_protected(cpu))
		deliver_protected(cpu, e);
	else
		deliver_real(cpu, e);
	cpu->is_delivering = false;
	cpu->shadow = 0;
	x86_replay_done(cpu);
	if (unlikely(cpu->lbr.msrs.debugctl))
		x86_lbr_event(cpu, e->vector, e->injected, from);
}

/* A breakpoint on the frame, or from behind MOV SS, traps before the handler's first instruction. */
static void pending_trap(struct x86_cpu *cpu)
{
	uint64_t dr6 = cpu->pending_db;

	if (likely(!dr6))
		return;
	cpu->pending_db = 0;
	x86_raise_db_trap(cpu, dr6);
}

void x86_note_db(struct x86_cpu *cpu, uint64_t payload)
{
	uint64_t set = payload & (0xf | DR6_BD | DR6_BS | DR6_BT);

	cpu->dr6 &= ~0xfULL;
	cpu->dr6 |= DR6_FIXED_1 | DR6_RTM | set;
	cpu->dr6 &= ~(payload & DR6_RTM);
	cpu->dr7 &= ~(uint64_t)DR7_GD;
}

/* CR2, DR6 and DR7 as #PF and #DB leave them; twice does no harm. */
static void apply_payload(struct x86_cpu *cpu, const struct x86_exception *x)
{
	if (x->soft || x->injected)
		return;
	if (x->vector == X86_PF)
		cpu->cr2 = x->payload;
	if (x->vector == X86_DB)
		x86_note_db(cpu, x->payload);
}

static void start(struct x86_cpu *cpu, const struct x86_exception *x, bool external)
{
	at(cpu, &x86_no_insn);
	if (&cpu->delivering != x)
		cpu->delivering = *x;
	cpu->is_delivering = true;
	cpu->delivering_external = external;
}

void x86_deliver_exception(struct x86_cpu *cpu, const struct x86_exception *exc)
{
	const struct x86_exception x = *exc;
	struct event e = {
		/* AMD's processors set EXT for external events alone. */
		.vector = x.vector, .soft = x.soft, .injected = x.injected, .ext = !x.soft && x86_is_intel(cpu),
		.has_error_code = x.has_error_code, .error_code = x.error_code,
		.rip = cpu->regs[R_RIP] + (x.soft ? x.insn_len : 0), .rflags = x86_get_rflags(cpu),
	};

	start(cpu, &x, false);
	/* Breakpoints of an instruction that did not complete; those that MOV SS left behind it outlive INT n. */
	if (!x.soft)
		cpu->pending_db = 0;
	apply_payload(cpu, &x);
	if (cpu->mode != CODE64)
		e.rip = (uint32_t)e.rip;
	if (saves_rf(&x))
		e.rflags |= FL_RF;
	else if (x.soft)
		e.rflags &= ~(uint64_t)FL_RF;
	deliver(cpu, &e);
	pending_trap(cpu);
}

static void deliver_external(struct x86_cpu *cpu, uint8_t vector)
{
	const struct x86_exception x = { .vector = vector };
	const struct event e = {
		.vector = vector, .ext = 1, .rip = cpu->regs[R_RIP], .rflags = x86_get_rflags(cpu),
	};

	start(cpu, &x, true);
	deliver(cpu, &e);
}

void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector)
{
	deliver_external(cpu, vector);
}

void x86_deliver_nmi(struct x86_cpu *cpu)
{
	deliver_external(cpu, X86_NMI);
	cpu->nmi_blocked = true;
}

void x86_iret_unblocks(struct x86_cpu *cpu)
{
	if (likely(!cpu->iret_unblocks))
		return;
	cpu->iret_unblocks = cpu->nmi_blocked = false;
	x86_request(cpu, X86_REQ_EVENT);
}

void x86_deliver_again(struct x86_cpu *cpu)
{
	if (!cpu->delivering_external)
		x86_deliver_exception(cpu, &cpu->delivering);
	else if (cpu->delivering.vector == X86_NMI)
		x86_deliver_nmi(cpu);
	else
		x86_deliver_interrupt(cpu, cpu->delivering.vector);
}
