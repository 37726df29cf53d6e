/* SPDX-License-Identifier: MIT */
/*
 * Hardware task switches.  SDM 3A, 7.2 and 7.3.
 *
 * 1. Everything of the old task's side is judged and probed, and the new TSS is
 *    read: faults until here are the old task's and leave it as it was.
 * 2. Old state is stored and the new registers are set, segment registers by
 *    their selectors alone.
 * 3. The new segments' descriptors are loaded: faults are the new task's.
 */
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/task.h"
#include "x86/mmu/mmu.h"

/* Where a TSS keeps things; SDM 3A figures 7-2 and 7-10. */
struct tss_layout {
	uint8_t word;           /* bytes of EIP, EFLAGS and a general register */
	uint8_t seg_step;       /* from selector to selector */
	uint8_t segs;           /* ES CS SS DS, and FS GS */
	uint8_t min_limit;
	uint8_t ip, flags, gprs, seg, ldt;
	uint8_t save_end;       /* of the part that a switch saves, which begins at `ip` */
};

static const struct tss_layout tss16 = {
	.word = 2, .seg_step = 2, .segs = 4, .min_limit = 43,
	.ip = 14, .flags = 16, .gprs = 18, .seg = 34, .ldt = 42, .save_end = 42,
};

static const struct tss_layout tss32 = {
	.word = 4, .seg_step = 4, .segs = 6, .min_limit = 103,
	.ip = 32, .flags = 36, .gprs = 40, .seg = 72, .ldt = 96, .save_end = 96,
};

#define TSS32_CR3 28
#define TSS32_TRAP 100

static const struct tss_layout *tss_layout(unsigned int type)
{
	return type & 8 ? &tss32 : &tss16;
}

/* What a switch loads, read before anything is written. */
struct task_image {
	uint32_t cr3, ip, flags, gpr[8];
	uint16_t seg[SEG_COUNT], ldt;
	bool trap;
};

static uint64_t field(struct x86_cpu *cpu, uint64_t base, unsigned int off, unsigned int size)
{
	return sys_load(cpu, (uint32_t)(base + off), size);
}

static void read_image(struct x86_cpu *cpu, const struct tss_layout *l, uint64_t base, struct task_image *m)
{
	bool wide = l == &tss32;

	m->cr3 = wide ? (uint32_t)field(cpu, base, TSS32_CR3, 4) : 0;
	m->ip = (uint32_t)field(cpu, base, l->ip, l->word);
	m->flags = (uint32_t)field(cpu, base, l->flags, l->word);
	for (unsigned int n = 0; n < 8; n++)
		m->gpr[n] = (uint32_t)field(cpu, base, l->gprs + n * l->word, l->word);
	for (unsigned int n = 0; n < SEG_COUNT; n++)
		m->seg[n] = n < l->segs ? (uint16_t)field(cpu, base, l->seg + n * l->seg_step, 2) : 0;
	m->ldt = (uint16_t)field(cpu, base, l->ldt, 2);
	m->trap = wide && (field(cpu, base, TSS32_TRAP, 2) & 1);
}

static void save_image(struct x86_cpu *cpu, const struct tss_layout *l, uint64_t base, uint32_t ip,
		       uint32_t flags)
{
	sys_store(cpu, (uint32_t)(base + l->ip), l->word, ip);
	sys_store(cpu, (uint32_t)(base + l->flags), l->word, flags);
	for (unsigned int n = 0; n < 8; n++)
		sys_store(cpu, (uint32_t)(base + l->gprs + n * l->word), l->word, (uint32_t)cpu->regs[n]);
	for (unsigned int n = 0; n < l->segs; n++)
		sys_store(cpu, (uint32_t)(base + l->seg + n * l->seg_step), 2, cpu->seg[n].selector);
}

uint16_t x86_task_gate_target(struct x86_cpu *cpu, const struct x86_desc *gate, uint8_t ext)
{
	uint16_t sel = (uint16_t)(gate->raw >> 16);

	if (sel & 4)
		x86_raise_ec(cpu, X86_GP, (sel & ~3u) | ext);
	return sel;
}

/* SDM 3A table 7-1, the rows about the TSS itself. */
static void check_tss(struct x86_cpu *cpu, const struct x86_task_switch *t, struct x86_desc *d)
{
	bool iret = t->reason == TASK_IRET;
	uint16_t types = iret ? 1u << SYS_TSS16_BUSY | 1u << SYS_TSS32_BUSY : 1u << SYS_TSS16 | 1u << SYS_TSS32;
	uint32_t err = (t->sel & ~3u) | t->ext;
	uint8_t bad = iret ? X86_TS : X86_GP;

	if (sel_null(t->sel) || (t->sel & 4) || !x86_desc_fetch(cpu, t->sel, d))
		x86_raise_ec(cpu, bad, err);
	if (desc_s(d) || !(types & 1u << desc_type(d)))
		x86_raise_ec(cpu, bad, err);
	if (!desc_p(d))
		x86_raise_ec(cpu, X86_NP, err);
	if (desc_limit(d) < tss_layout(desc_type(d))->min_limit)
		x86_raise_ec(cpu, X86_TS, err);
}

static gva_t desc_type_byte(struct x86_cpu *cpu, uint16_t sel)
{
	return (uint32_t)(cpu->gdt.base + (sel & ~7u) + 5);
}

static void set_busy(struct x86_cpu *cpu, uint16_t sel, bool busy)
{
	sys_update(cpu, desc_type_byte(cpu, sel), busy ? 0 : SYS_BUSY, busy ? SYS_BUSY : 0);
}

static bool nests(const struct x86_task_switch *t)
{
	return t->reason == TASK_CALL || t->reason == TASK_GATE;
}

/* Writes that step 2 will make must not fault there. */
static void probe(struct x86_cpu *cpu, const struct x86_task_switch *t, const struct tss_layout *old,
		  uint64_t new_base)
{
	sys_probe_write(cpu, (uint32_t)(cpu->tr.base + old->ip), old->save_end - old->ip);
	if (!nests(t))
		sys_probe_write(cpu, desc_type_byte(cpu, cpu->tr.seg.selector), 1);
	if (t->reason != TASK_IRET)
		sys_probe_write(cpu, desc_type_byte(cpu, t->sel), 1);
	if (nests(t))
		sys_probe_write(cpu, (uint32_t)new_base, 2);
}

/* Hidden parts follow in step 3; until then the segments cannot be used. */
static void set_selectors(struct x86_cpu *cpu, const struct task_image *m)
{
	for (unsigned int n = 0; n < SEG_COUNT; n++) {
		cpu->seg[n] = (struct x86_seg){ .selector = m->seg[n], .unusable = true };
		*seg_base(cpu, n) = 0;
	}
	cpu->seg[SEG_CS].db = true;
	cpu->seg[SEG_SS].dpl = m->flags & FL_VM ? 3 : m->seg[SEG_CS] & 3;
	cpu->ldt = (struct x86_sysseg){ .seg = { .selector = m->ldt, .unusable = true } };
}

static void set_registers(struct x86_cpu *cpu, const struct task_image *m, bool wide)
{
	for (unsigned int n = 0; n < 8; n++)
		cpu->regs[n] = m->gpr[n];
	cpu->regs[R_RIP] = m->ip;
	at(cpu, &x86_no_insn);
	set_selectors(cpu, m);
	cpu->cr0 |= CR0_TS;
	cpu->dr7 &= ~0x155ULL;          /* local breakpoints are the old task's */
	x86_dr7_changed(cpu);
	if (wide && (cpu->cr0 & CR0_PG)) {
		if ((cpu->cr4 & CR4_PAE) && mmu_load_pdptes(cpu, m->cr3))
			x86_raise_ec(cpu, X86_GP, 0);
		cpu->cr3 = m->cr3;
		mmu_load_cr3(cpu, false);
	}
	x86_set_rflags(cpu, m->flags & FL_DEFINED);
	x86_update_mode(cpu);
}

static void load_ldt(struct x86_cpu *cpu, uint16_t sel, uint8_t ext)
{
	uint32_t err = (sel & ~3u) | ext;
	struct x86_desc d;

	if (sel_null(sel))
		return;
	if ((sel & 4) || !x86_desc_fetch(cpu, sel, &d) || desc_s(&d) || desc_type(&d) != SYS_LDT || !desc_p(&d))
		x86_raise_ec(cpu, X86_TS, err);
	x86_seg_unpack(&cpu->ldt.seg, sel, &d);
	cpu->ldt.base = desc_base(&d);
}

static void load_cs(struct x86_cpu *cpu, uint16_t sel, uint8_t ext)
{
	struct x86_seg_load cs = { .sel = sel };
	uint32_t err = (sel & ~3u) | ext;
	unsigned int rpl = sel & 3;

	if (sel_null(sel) || !x86_desc_fetch(cpu, sel, &cs.d) || !desc_is_code(&cs.d))
		x86_raise_ec(cpu, X86_TS, err);
	if (desc_is_conforming(&cs.d) ? desc_dpl(&cs.d) > rpl : desc_dpl(&cs.d) != rpl)
		x86_raise_ec(cpu, X86_TS, err);
	if (!desc_p(&cs.d))
		x86_raise_ec(cpu, X86_NP, err);
	x86_desc_access(cpu, &cs.d);
	x86_seg_commit(cpu, SEG_CS, &cs);
}

static void load_segments(struct x86_cpu *cpu, const struct task_image *m, uint8_t ext)
{
	static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	const struct x86_seg_rule rule = { .cpl = m->seg[SEG_CS] & 3, .vector = X86_TS, .ext = ext };
	struct x86_seg_load load;

	load_ldt(cpu, m->ldt, ext);
	if (m->flags & FL_VM) {
		for (unsigned int n = 0; n < SEG_COUNT; n++)
			x86_seg_load_real(cpu, n, m->seg[n]);
		x86_update_priv(cpu);
		return;
	}
	load_cs(cpu, m->seg[SEG_CS], ext);
	x86_stack_check(cpu, m->seg[SEG_SS], &rule, &load);
	x86_seg_commit(cpu, SEG_SS, &load);
	x86_update_priv(cpu);
	for (unsigned int n = 0; n < ARRAY_SIZE(data); n++) {
		x86_data_check(cpu, m->seg[data[n]], &rule, &load);
		x86_seg_commit(cpu, data[n], &load);
	}
}

static void push_error_code(struct x86_cpu *cpu, const struct x86_task_switch *t, const struct tss_layout *l)
{
	struct x86_frame f;

	x86_frame_here(cpu, &f, l->word, false, t->ext);
	x86_frame_push(cpu, &f, t->error_code);
	x86_frame_commit(cpu, &f);
	x86_frame_set_sp(cpu, &f);
}

void x86_task_switch(struct x86_cpu *cpu, const struct x86_task_switch *t)
{
	const struct tss_layout *old = tss_layout(cpu->tr.seg.type), *new;
	uint32_t old_flags = t->eflags;
	struct task_image m;
	struct x86_desc d;
	uint16_t old_sel = cpu->tr.seg.selector;

	if (x86_icpt(cpu, ICPT_TASK_SWITCH))
		x86_intercept_asked(cpu, cpu->cur, ICPT_TASK_SWITCH,
				    t->sel | (uint64_t)t->reason << 16 | (uint64_t)t->has_error_code << 24 |
				    (t->eflags & FL_RF ? 1ULL << 25 : 0) | (uint64_t)t->error_code << 32);
	check_tss(cpu, t, &d);
	new = tss_layout(desc_type(&d));
	if (cpu->tr.seg.limit < old->min_limit)
		x86_raise_ec(cpu, X86_TS, (old_sel & ~3u) | t->ext);
	read_image(cpu, new, desc_base(&d), &m);
	probe(cpu, t, old, desc_base(&d));

	if (t->reason == TASK_IRET)
		old_flags &= ~FL_NT;
	save_image(cpu, old, cpu->tr.base, (uint32_t)t->next_rip, old_flags);
	if (!nests(t))
		set_busy(cpu, old_sel, false);
	if (t->reason != TASK_IRET)
		set_busy(cpu, t->sel, true);
	if (nests(t)) {
		sys_store(cpu, (uint32_t)desc_base(&d), 2, old_sel);
		m.flags |= FL_NT;
	}

	d.raw |= (uint64_t)SYS_BUSY << 40;
	x86_seg_unpack(&cpu->tr.seg, t->sel, &d);
	cpu->tr.base = desc_base(&d);
	set_registers(cpu, &m, new == &tss32);
	load_segments(cpu, &m, t->ext);
	if (t->has_error_code)
		push_error_code(cpu, t, new);
	x86_code_target(cpu, false, cpu->seg[SEG_CS].limit, m.ip, t->ext);
	if (m.trap) {
		cpu->is_delivering = false;
		x86_raise_db_trap(cpu, DR6_BT);
	}
}
