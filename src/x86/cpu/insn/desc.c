/* SPDX-License-Identifier: MIT */
/* Descriptor tables and what may be asked of a descriptor: LGDT, SGDT, LLDT, STR, LAR, VERR, ARPL... */
#include <Zydis/Zydis.h>
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/insn/plain.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/segment.h"
#include "x86/features.h"

static void umip_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if ((cpu->cr4 & CR4_UMIP) && cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
}

/* ------------------------------------------------------------- GDTR and IDTR */

static struct x86_dtable *dtable(struct x86_cpu *cpu, const struct insn *i)
{
	return i->aux ? &cpu->idt : &cpu->gdt;
}

/* 16-bit operand size: a base of 24 bits. */
static void load_table(struct x86_cpu *cpu, const struct insn *i)
{
	bool wide = cpu->mode == CODE64;
	const uint8_t *p = mem_read_ptr(cpu, ea(cpu, i, wide ? 10 : 6, false), wide ? 10 : 6);
	uint64_t base = wide ? *(const uint64_t *)(p + 2) : *(const uint32_t *)(p + 2);
	uint16_t limit = *(const uint16_t *)p;

	if (wide && !x86_canonical_max(cpu, base))
		x86_raise_ec(cpu, X86_GP, 0);
	if (!wide && i->opsize == 2)
		base &= 0xffffff;
	dtable(cpu, i)->base = base;
	dtable(cpu, i)->limit = limit;
	NEXT(cpu, i);
}

static void store_table(struct x86_cpu *cpu, const struct insn *i)
{
	const struct x86_dtable *t = dtable(cpu, i);
	unsigned int size = cpu->mode == CODE64 ? 10 : 6;
	gva_t a;
	uint8_t *p;

	umip_check(cpu, i);
	x86_intercept(cpu, i, i->aux ? ICPT_SIDT : ICPT_SGDT, 0);
	a = ea(cpu, i, size, true);
	p = mem_write_ptr(cpu, a, size);
	*(uint16_t *)p = t->limit;
	if (size == 10)
		*(uint64_t *)(p + 2) = t->base;
	else
		*(uint32_t *)(p + 2) = (uint32_t)(i->opsize == 2 ? t->base & 0xffffff : t->base);
	mem_commit(cpu, a, size, p);
	NEXT(cpu, i);
}

/* The row's argument: handler, and whether it is of the IDT. */
struct table_form {
	insn_fn *fn;
	uint16_t idt;
};

static int build_table(struct insn *i, const struct insn_build *b)
{
	const struct table_form *f = b->row->arg;

	if (!build_is_mem(b, 0))
		return -ENOENT;
	build_mem(i, b, 0);
	i->fn = f->fn;
	i->aux = f->idt;
	return 0;
}

/* -------------------------------------------------------------- LDTR and TR */

static uint16_t source16(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	return i->memsize ? ld16(cpu, ea(cpu, i, 2, false)) : reg16(cpu, i->src);
}

/* Not left to ROW_CPL0: virtual-8086 mode gets #UD, which comes before #GP. */
static void cpl0_check(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if (cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
}

static void lldt(struct x86_cpu *cpu, const struct insn *i)
{
	cpl0_check(cpu, i);
	x86_intercept(cpu, i, ICPT_LLDT, 0);
	x86_ldt_load(cpu, source16(cpu, i));
	NEXT(cpu, i);
}

static void ltr(struct x86_cpu *cpu, const struct insn *i)
{
	cpl0_check(cpu, i);
	x86_intercept(cpu, i, ICPT_LTR, 0);
	x86_tr_load(cpu, source16(cpu, i));
	NEXT(cpu, i);
}

/* One operand, read. */
static int build_source(struct insn *i, const struct insn_build *b)
{
	if (build_is_mem(b, 0))
		build_mem(i, b, 0);
	else
		i->src = build_gpr(b, 0);
	i->fn = *(insn_fn *const *)b->row->arg;
	return 0;
}

static void store_selector(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t sel = i->aux ? cpu->tr.seg.selector : cpu->ldt.seg.selector;

	umip_check(cpu, i);
	x86_intercept(cpu, i, i->aux ? ICPT_STR : ICPT_SLDT, 0);
	if (i->memsize)
		st16(cpu, ea(cpu, i, 2, true), sel);
	else if (i->opsize == 2)
		reg16(cpu, i->dst) = sel;
	else
		cpu->regs[i->dst] = sel;
	NEXT(cpu, i);
}

static int build_store_selector(struct insn *i, const struct insn_build *b)
{
	i->aux = *(const uint8_t *)b->row->arg;
	i->fn = store_selector;
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		return 0;
	}
	i->opsize = build_opsize(b, 0);
	i->dst = build_gpr(b, 0);
	return 0;
}

#define OF_TR(n) (&(const uint8_t){ n })

/* ------------------------------------------------------ LAR, LSL, VERR, VERW */

static void set_zf(struct x86_cpu *cpu, bool zf)
{
	cpu->fl = (cpu->fl & ~AX_ZF) | (zf ? AX_ZF : 0);
}

static bool may_see(const struct x86_cpu *cpu, uint16_t sel, const struct x86_desc *d)
{
	if (desc_is_code(d) && desc_is_conforming(d))
		return true;
	return desc_dpl(d) >= cpu->cpl && desc_dpl(d) >= (sel & 3u);
}

/* System types that LAR and LSL know, in legacy and in long mode; SDM 2A tables of both. */
struct visible_types {
	uint16_t legacy, lma;
};

static const struct visible_types lar_types = {
	.legacy = 1u << SYS_TSS16 | 1u << SYS_LDT | 1u << SYS_TSS16_BUSY | 1u << SYS_CALL16 | 1u << SYS_TASK_GATE |
		  1u << SYS_TSS32 | 1u << SYS_TSS32_BUSY | 1u << SYS_CALL32,
	.lma = 1u << SYS_LDT | 1u << SYS_TSS32 | 1u << SYS_TSS32_BUSY | 1u << SYS_CALL32,
};

static const struct visible_types lsl_types = {
	.legacy = 1u << SYS_TSS16 | 1u << SYS_LDT | 1u << SYS_TSS16_BUSY | 1u << SYS_TSS32 | 1u << SYS_TSS32_BUSY,
	.lma = 1u << SYS_LDT | 1u << SYS_TSS32 | 1u << SYS_TSS32_BUSY,
};

static bool look_up(struct x86_cpu *cpu, uint16_t sel, const struct visible_types *v, struct x86_desc *d)
{
	uint16_t types = x86_long_mode(cpu) ? v->lma : v->legacy;

	if (sel_null(sel) || !x86_desc_fetch(cpu, sel, d))
		return false;
	if (!desc_s(d) && !(types & 1u << desc_type(d)))
		return false;
	return may_see(cpu, sel, d);
}

/* What LAR and LSL answer, apart from the handlers: locals whose address is taken. -1: ZF clear. */
static __attribute__((noinline)) int64_t lar_value(struct x86_cpu *cpu, uint16_t sel)
{
	struct x86_desc d;

	return look_up(cpu, sel, &lar_types, &d) ? (int64_t)(d.raw >> 32 & 0xf0ff00) : -1;
}

static __attribute__((noinline)) int64_t lsl_value(struct x86_cpu *cpu, uint16_t sel)
{
	struct x86_desc d;

	return look_up(cpu, sel, &lsl_types, &d) ? (int64_t)desc_limit(&d) : -1;
}

static void put_answer(struct x86_cpu *cpu, const struct insn *i, int64_t v)
{
	set_zf(cpu, v >= 0);
	if (v < 0)
		return;
	if (i->opsize == 2)
		reg16(cpu, i->dst) = (uint16_t)v;
	else
		cpu->regs[i->dst] = (uint64_t)v;
}

static void lar(struct x86_cpu *cpu, const struct insn *i)
{
	put_answer(cpu, i, lar_value(cpu, source16(cpu, i)));
	NEXT(cpu, i);
}

static void lsl(struct x86_cpu *cpu, const struct insn *i)
{
	put_answer(cpu, i, lsl_value(cpu, source16(cpu, i)));
	NEXT(cpu, i);
}

static int build_query(struct insn *i, const struct insn_build *b)
{
	i->dst = build_gpr(b, 0);
	i->opsize = build_opsize(b, 0);
	if (build_is_mem(b, 1))
		build_mem(i, b, 1);
	else
		i->src = build_gpr(b, 1);
	i->fn = *(insn_fn *const *)b->row->arg;
	return 0;
}

/* Readable: data, or code with its R bit.  Writable: data with its W bit. */
static __attribute__((noinline)) bool verify(struct x86_cpu *cpu, uint16_t sel, bool write)
{
	struct x86_desc d;

	if (sel_null(sel) || !x86_desc_fetch(cpu, sel, &d) || !desc_s(&d))
		return false;
	if (write && (desc_is_code(&d) || !(desc_type(&d) & SEG_WRITABLE)))
		return false;
	if (!write && desc_is_code(&d) && !(desc_type(&d) & SEG_READABLE))
		return false;
	return may_see(cpu, sel, &d);
}

static void verr(struct x86_cpu *cpu, const struct insn *i)
{
	set_zf(cpu, verify(cpu, source16(cpu, i), false));
	NEXT(cpu, i);
}

static void verw(struct x86_cpu *cpu, const struct insn *i)
{
	set_zf(cpu, verify(cpu, source16(cpu, i), true));
	NEXT(cpu, i);
}

/* ----------------------------------------------------------------------- ARPL */

static void arpl_r(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t rpl = reg16(cpu, i->src) & 3, v = reg16(cpu, i->dst);
	bool raise = (v & 3) < rpl;

	if (raise)
		reg16(cpu, i->dst) = (v & ~3u) | rpl;
	set_zf(cpu, raise);
	NEXT(cpu, i);
}

static void arpl_m(struct x86_cpu *cpu, const struct insn *i)
{
	uint16_t v = ld16(cpu, ea(cpu, i, 2, false)), rpl = reg16(cpu, i->src) & 3;
	bool raise = (v & 3) < rpl;

	/* A selector that stays is not written. */
	if (raise)
		st16(cpu, ea(cpu, i, 2, true), (v & ~3u) | rpl);
	set_zf(cpu, raise);
	NEXT(cpu, i);
}

static int build_arpl(struct insn *i, const struct insn_build *b)
{
	i->src = build_gpr(b, 1);
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = arpl_m;
	} else {
		i->dst = build_gpr(b, 0);
		i->fn = arpl_r;
	}
	return 0;
}

#define TABLE(fn, idt) (&(const struct table_form){ fn, idt })

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_LGDT, 0, ROW_CPL0 | ROW_SERIAL, 0, build_table, TABLE(load_table, 0) },
	{ ZYDIS_MNEMONIC_LIDT, 0, ROW_CPL0 | ROW_SERIAL, 0, build_table, TABLE(load_table, 1) },
	{ ZYDIS_MNEMONIC_SGDT, 0, 0, 0, build_table, TABLE(store_table, 0) },
	{ ZYDIS_MNEMONIC_SIDT, 0, 0, 0, build_table, TABLE(store_table, 1) },
	{ ZYDIS_MNEMONIC_LLDT, 0, ROW_NO_VM86 | ROW_SERIAL, 0, build_source, PLAIN(lldt) },
	{ ZYDIS_MNEMONIC_LTR, 0, ROW_NO_VM86 | ROW_SERIAL, 0, build_source, PLAIN(ltr) },
	{ ZYDIS_MNEMONIC_SLDT, 0, ROW_NO_VM86, 0, build_store_selector, OF_TR(0) },
	{ ZYDIS_MNEMONIC_STR, 0, ROW_NO_VM86, 0, build_store_selector, OF_TR(1) },
	{ ZYDIS_MNEMONIC_LAR, 0, ROW_NO_VM86, 0, build_query, PLAIN(lar) },
	{ ZYDIS_MNEMONIC_LSL, 0, ROW_NO_VM86, 0, build_query, PLAIN(lsl) },
	{ ZYDIS_MNEMONIC_VERR, 0, ROW_NO_VM86, 0, build_source, PLAIN(verr) },
	{ ZYDIS_MNEMONIC_VERW, 0, ROW_NO_VM86, 0, build_source, PLAIN(verw) },
	{ ZYDIS_MNEMONIC_ARPL, 0, ROW_NO_64 | ROW_NO_VM86, 0, build_arpl, NULL },
};

const struct insn_rows insn_rows_desc = { rows, ARRAY_SIZE(rows) };
