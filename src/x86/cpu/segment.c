/* SPDX-License-Identifier: MIT */
#include "x86/cpu/control.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"

/* ---------------------------------------------------------------- descriptors */

static bool table_entry(struct x86_cpu *cpu, uint16_t sel, unsigned int bytes, gva_t *addr)
{
	uint32_t off = sel & ~7u;
	uint64_t base = cpu->gdt.base;
	uint32_t limit = cpu->gdt.limit;

	if (sel & 4) {
		if (cpu->ldt.seg.unusable)
			return false;
		base = cpu->ldt.base;
		limit = cpu->ldt.seg.limit;
	}
	if (off + bytes - 1 > limit)
		return false;
	*addr = base + off;
	if (!x86_long_mode(cpu))
		*addr = (uint32_t)*addr;
	return true;
}

bool x86_desc_fetch(struct x86_cpu *cpu, uint16_t sel, struct x86_desc *d)
{
	if (!table_entry(cpu, sel, 8, &d->addr))
		return false;
	d->raw = sys_load(cpu, d->addr, 8);
	d->high = 0;
	return true;
}

bool x86_desc_fetch16(struct x86_cpu *cpu, uint16_t sel, struct x86_desc *d)
{
	if (!table_entry(cpu, sel, 16, &d->addr))
		return false;
	d->raw = sys_load(cpu, d->addr, 8);
	d->high = sys_load(cpu, d->addr + 8, 8);
	return true;
}

void x86_desc_access(struct x86_cpu *cpu, struct x86_desc *d)
{
	if (desc_type(d) & SEG_ACCESSED)
		return;
	d->raw |= (uint64_t)SEG_ACCESSED << 40;
	sys_update(cpu, d->addr + 5, 0, SEG_ACCESSED);
}

void x86_seg_unpack(struct x86_seg *seg, uint16_t sel, const struct x86_desc *d)
{
	*seg = (struct x86_seg){
		.limit = desc_limit(d), .selector = sel, .type = desc_type(d), .s = desc_s(d),
		.present = desc_p(d), .l = desc_l(d), .db = desc_db(d), .g = (d->raw >> 55) & 1,
		.avl = (d->raw >> 52) & 1, .dpl = desc_dpl(d),
	};
}

/* -------------------------------------------------------------------- loading */

void x86_data_check(struct x86_cpu *cpu, uint16_t sel, const struct x86_seg_rule *rule,
		    struct x86_seg_load *load)
{
	uint32_t err = (sel & ~3u) | rule->ext;
	struct x86_desc *d = &load->d;
	unsigned int type;

	load->sel = sel;
	load->null = sel_null(sel);
	if (load->null)
		return;
	if (!x86_desc_fetch(cpu, sel, d) || !desc_s(d))
		x86_raise_ec(cpu, rule->vector, err);
	type = desc_type(d);
	if ((type & SEG_CODE) && !(type & SEG_READABLE))
		x86_raise_ec(cpu, rule->vector, err);
	if (!((type & SEG_CODE) && (type & SEG_CONFORMING)) &&
	    ((sel & 3) > desc_dpl(d) || rule->cpl > desc_dpl(d)))
		x86_raise_ec(cpu, rule->vector, err);
	if (!desc_p(d))
		x86_raise_ec(cpu, X86_NP, err);
	x86_desc_access(cpu, d);
}

void x86_stack_check(struct x86_cpu *cpu, uint16_t sel, const struct x86_seg_rule *rule,
		     struct x86_seg_load *load)
{
	uint32_t err = (sel & ~3u) | rule->ext;
	struct x86_desc *d = &load->d;

	load->sel = sel;
	load->null = sel_null(sel);
	if (load->null) {
		if (!rule->null_ss || (sel & 3) != rule->cpl)
			x86_raise_ec(cpu, rule->vector, rule->ext);
		return;
	}
	if (!x86_desc_fetch(cpu, sel, d) || (sel & 3) != rule->cpl)
		x86_raise_ec(cpu, rule->vector, err);
	if (!desc_s(d) || (desc_type(d) & SEG_CODE) || !(desc_type(d) & SEG_WRITABLE) ||
	    desc_dpl(d) != rule->cpl)
		x86_raise_ec(cpu, rule->vector, err);
	if (!desc_p(d))
		x86_raise_ec(cpu, X86_SS, err);
	x86_desc_access(cpu, d);
}

void x86_seg_commit(struct x86_cpu *cpu, enum x86_seg_reg reg, const struct x86_seg_load *load)
{
	if (load->null) {
		/* A null SS keeps CPL in its DPL. */
		cpu->seg[reg] = (struct x86_seg){
			.selector = load->sel, .unusable = true, .s = true, .type = SEG_WRITABLE | SEG_ACCESSED,
			.dpl = reg == SEG_SS ? load->sel & 3 : 0,
		};
		*seg_base(cpu, reg) = 0;
		return;
	}
	x86_seg_unpack(&cpu->seg[reg], load->sel, &load->d);
	*seg_base(cpu, reg) = desc_base(&load->d);
}

void x86_seg_load_real(struct x86_cpu *cpu, enum x86_seg_reg reg, uint16_t sel)
{
	struct x86_seg *seg = &cpu->seg[reg];

	/*
	 * Virtual-8086 mode starts from a clean segment.  Real mode changes selector
	 * and base alone, so that limits set in protected mode last; but what was
	 * made null there is usable again.
	 */
	if (x86_vm86(cpu))
		*seg = (struct x86_seg){ .limit = 0xffff, .type = 3, .s = true, .present = true, .dpl = 3 };
	else if (seg->unusable)
		*seg = (struct x86_seg){ .limit = 0xffff, .type = 3, .s = true, .present = true };
	seg->selector = sel;
	*seg_base(cpu, reg) = (uint32_t)sel << 4;
}

void x86_seg_set(struct x86_cpu *cpu, enum x86_seg_reg reg, uint16_t sel)
{
	struct x86_seg_rule rule = { .cpl = cpu->cpl, .vector = X86_GP };
	struct x86_seg_load load;

	if (x86_in_vm_or_real(cpu)) {
		x86_seg_load_real(cpu, reg, sel);
		return;
	}
	if (reg == SEG_SS) {
		rule.null_ss = cpu->mode == CODE64 && cpu->cpl < 3;
		x86_stack_check(cpu, sel, &rule, &load);
	} else {
		x86_data_check(cpu, sel, &rule, &load);
	}
	x86_seg_commit(cpu, reg, &load);
}

bool x86_seg_limit_ok(const struct x86_seg *seg, uint64_t off, unsigned int size)
{
	uint64_t last = off + size - 1;

	if (seg->s && !(seg->type & SEG_CODE) && (seg->type & SEG_EXPAND_DOWN))
		return off > seg->limit && last <= (seg->db ? 0xffffffffu : 0xffffu);
	return last <= seg->limit;
}

void x86_code_target(struct x86_cpu *cpu, bool l, uint32_t limit, uint64_t rip, uint8_t ext)
{
	if (l ? !gva_canonical(cpu, rip) : rip > limit)
		x86_raise_ec(cpu, X86_GP, ext);
}

void x86_seg_null_user(struct x86_cpu *cpu, uint8_t cpl)
{
	static const uint8_t regs[] = { SEG_ES, SEG_FS, SEG_GS, SEG_DS };

	for (unsigned int n = 0; n < ARRAY_SIZE(regs); n++) {
		struct x86_seg *seg = &cpu->seg[regs[n]];
		bool conforming = (seg->type & SEG_CODE) && (seg->type & SEG_CONFORMING);

		if (seg->unusable || conforming || seg->dpl >= cpl)
			continue;
		seg->selector = 0;
		seg->unusable = true;
		seg->present = false;
	}
}

/* -------------------------------------------------------- system descriptors */

/* LLDT and LTR: reads the descriptor, 16 bytes in long mode, and checks what they share. */
static void system_check(struct x86_cpu *cpu, uint16_t sel, uint16_t types, struct x86_desc *d)
{
	uint32_t err = sel & ~3u;
	bool lma = x86_long_mode(cpu);

	if ((sel & 4) || !(lma ? x86_desc_fetch16(cpu, sel, d) : x86_desc_fetch(cpu, sel, d)))
		x86_raise_ec(cpu, X86_GP, err);
	if (desc_s(d) || !(types & 1u << desc_type(d)))
		x86_raise_ec(cpu, X86_GP, err);
	if (!desc_p(d))
		x86_raise_ec(cpu, X86_NP, err);
	if (lma && !x86_canonical_max(cpu, desc_base(d) | d->high << 32))
		x86_raise_ec(cpu, X86_GP, err);
}

static void system_commit(struct x86_sysseg *s, uint16_t sel, const struct x86_desc *d)
{
	x86_seg_unpack(&s->seg, sel, d);
	s->base = desc_base(d) | d->high << 32;
}

void x86_ldt_load(struct x86_cpu *cpu, uint16_t sel)
{
	struct x86_desc d;

	if (sel_null(sel)) {
		cpu->ldt = (struct x86_sysseg){ .seg = { .selector = sel, .unusable = true } };
		return;
	}
	system_check(cpu, sel, 1u << SYS_LDT, &d);
	system_commit(&cpu->ldt, sel, &d);
}

void x86_tr_load(struct x86_cpu *cpu, uint16_t sel)
{
	uint16_t types = 1u << SYS_TSS32 | (x86_long_mode(cpu) ? 0 : 1u << SYS_TSS16);
	struct x86_desc d;

	if (sel_null(sel))
		x86_raise_ec(cpu, X86_GP, 0);
	system_check(cpu, sel, types, &d);
	d.raw |= (uint64_t)SYS_BUSY << 40;
	/* Another processor may have taken it meanwhile. */
	if (sys_update(cpu, d.addr + 5, 0, SYS_BUSY) & SYS_BUSY)
		x86_raise_ec(cpu, X86_GP, sel & ~3u);
	system_commit(&cpu->tr, sel, &d);
}

void x86_tss_stack(struct x86_cpu *cpu, unsigned int cpl, uint8_t ext, uint16_t *ss, uint32_t *sp)
{
	bool wide = cpu->tr.seg.type & 8;
	uint32_t off = wide ? 4 + cpl * 8 : 2 + cpl * 4;
	uint32_t last = off + (wide ? 5 : 3);
	gva_t addr = (uint32_t)(cpu->tr.base + off);

	if (last > cpu->tr.seg.limit)
		x86_raise_ec(cpu, X86_TS, (cpu->tr.seg.selector & ~3u) | ext);
	*sp = (uint32_t)sys_load(cpu, addr, wide ? 4 : 2);
	*ss = (uint16_t)sys_load(cpu, (uint32_t)(addr + (wide ? 4 : 2)), 2);
}

uint64_t x86_tss_stack64(struct x86_cpu *cpu, unsigned int n, uint8_t ext)
{
	uint32_t off = n < 3 ? 4 + n * 8 : 36 + (n - 3) * 8;

	if (off + 7 > cpu->tr.seg.limit)
		x86_raise_ec(cpu, X86_TS, (cpu->tr.seg.selector & ~3u) | ext);
	return sys_load(cpu, cpu->tr.base + off, 8);
}

/* --------------------------------------------------------------- stack images */

void x86_frame_here(struct x86_cpu *cpu, struct x86_frame *f, unsigned int size, bool long_mode, uint8_t ext)
{
	f->base = long_mode ? 0 : *seg_base(cpu, SEG_SS);
	f->mask = long_mode ? ~0ULL : cpu->seg[SEG_SS].db ? 0xffffffff : 0xffff;
	f->sp = cpu->regs[R_RSP] & f->mask;
	f->seg = cpu->seg[SEG_SS];
	f->long_mode = long_mode;
	f->system = false;
	f->error_code = ext;
	f->count = 0;
	f->size = size;
}

void x86_frame_new(struct x86_cpu *cpu, struct x86_frame *f, unsigned int size, uint64_t sp,
		   const struct x86_seg_load *ss, uint8_t cpl, uint8_t ext)
{
	f->base = 0;
	f->mask = ~0ULL;
	f->error_code = ext;
	f->long_mode = !ss;
	if (ss) {
		x86_seg_unpack(&f->seg, ss->sel, &ss->d);
		f->base = desc_base(&ss->d);
		f->mask = f->seg.db ? 0xffffffff : 0xffff;
		f->error_code |= ss->sel & ~3u;
	}
	f->sp = sp & f->mask;
	f->system = cpu->cpl == 3 && cpl < 3;
	f->count = 0;
	f->size = size;
}

void x86_frame_push(struct x86_cpu *cpu, struct x86_frame *f, uint64_t value)
{
	gva_t addr;

	f->sp = (f->sp - f->size) & f->mask;
	addr = f->base + f->sp;
	if (f->long_mode) {
		if (!gva_canonical(cpu, addr) || !gva_canonical(cpu, addr + f->size - 1))
			x86_raise_ec(cpu, X86_SS, f->error_code);
	} else {
		addr = (uint32_t)addr;
		if (!x86_seg_limit_ok(&f->seg, f->sp, f->size))
			x86_raise_ec(cpu, X86_SS, f->error_code);
	}
	f->item[f->count].addr = addr;
	f->item[f->count++].value = value;
}

static bool frame_contiguous(const struct x86_frame *f)
{
	for (unsigned int n = 1; n < f->count; n++)
		if (f->item[n].addr != f->item[n - 1].addr - f->size)
			return false;
	return true;
}

static void put_sized(uint8_t *p, uint64_t value, unsigned int size)
{
	if (size == 8)
		*(uint64_t *)p = value;
	else if (size == 4)
		*(uint32_t *)p = (uint32_t)value;
	else
		*(uint16_t *)p = (uint16_t)value;
}

/* The common case: a short frame in one piece, written through one pointer. */
static void commit_small(struct x86_cpu *cpu, const struct x86_frame *f, unsigned int total)
{
	gva_t low = f->item[f->count - 1].addr;
	uint8_t *p = mem_write_ptr(cpu, low, total);

	for (unsigned int n = 0; n < f->count; n++)
		put_sized(p + (f->count - 1 - n) * f->size, f->item[n].value, f->size);
	mem_commit(cpu, low, total, p);
}

void x86_frame_commit(struct x86_cpu *cpu, const struct x86_frame *f)
{
	void (*probe)(struct x86_cpu *, gva_t, unsigned int) = f->system ? sys_probe_write : mem_probe_write;
	void (*store)(struct x86_cpu *, gva_t, unsigned int, uint64_t) = f->system ? sys_store : mem_store_slow;
	unsigned int total = f->count * f->size;

	if (!f->count)
		return;
	if (frame_contiguous(f)) {
		if (!f->system && total <= sizeof(cpu->rmw_buf)) {
			commit_small(cpu, f, total);
			return;
		}
		probe(cpu, f->item[f->count - 1].addr, total);
	} else {
		for (unsigned int n = 0; n < f->count; n++)
			probe(cpu, f->item[n].addr, f->size);
	}
	for (unsigned int n = 0; n < f->count; n++)
		store(cpu, f->item[n].addr, f->size, f->item[n].value);
}

void x86_frame_set_sp(struct x86_cpu *cpu, const struct x86_frame *f)
{
	if (f->mask == 0xffff)
		cpu->regs[R_RSP] = (cpu->regs[R_RSP] & ~0xffffULL) | (f->sp & 0xffff);
	else
		cpu->regs[R_RSP] = f->sp;
}
