/* SPDX-License-Identifier: MIT */
/*
 * MOVS STOS LODS CMPS SCAS, with and without a repeat prefix.  SDM 1, 7.3.9.
 *
 * 1. An iteration commits its registers when its accesses are done, so a fault in
 *    the next one leaves the state that the architecture asks for.
 * 2. A repeated one runs in bounded portions.  When it is not through, R_RIP
 *    stays on it and the run loop comes back, having looked at its requests.
 * 3. Runs of iterations inside a page on either side, both pages in the TLB, are
 *    made on host memory at once.  The first iteration of a page always goes the
 *    slow way, which fills the TLB.
 * 4. Host `rep movs` with the guest's element size has the guest's semantics for
 *    overlapping operands too.
 */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "x86/cpu/debug.h"
#include "x86/cpu/insn/string.h"

/* ------------------------------------------------------------------ pointers and counts */

void string_set(struct x86_cpu *cpu, const struct insn *i, unsigned int reg, uint64_t v)
{
	if (i->aux == 8)
		cpu->regs[reg] = v;
	else if (i->aux == 4)
		cpu->regs[reg] = (uint32_t)v;
	else
		PUT_16(cpu, reg, v);
}

gva_t string_ea_slow(struct x86_cpu *cpu, const struct insn *i, unsigned int reg, enum x86_seg_reg seg,
		     bool write)
{
	struct insn one = *i;

	one.base = (uint8_t)reg;
	one.index = R_ZERO;
	one.disp = 0;
	one.seg = (uint8_t)seg;
	one.segbase = cpu->mode != CODE64 || seg >= SEG_FS ? R_SEGBASE + seg : R_ZERO;
	one.ea_flags &= (uint8_t)~(EA_STACK | EA_WRITE);
	if (seg == SEG_SS)
		one.ea_flags |= EA_STACK;
	if (write)
		one.ea_flags |= EA_WRITE;
	return ea_slow(cpu, &one, i->opsize, write);
}

/*
 * How many elements from the one at @reg on lie in its page, at most @n; and in
 * the segment, without a wrap of the offset.  Its own access was checked before.
 */
static uint64_t run_length(const struct x86_cpu *cpu, const struct insn *i, unsigned int reg,
			   enum x86_seg_reg seg, gva_t gva, uint64_t n)
{
	uint64_t bytes = GUEST_PAGE_SIZE - (gva & (GUEST_PAGE_SIZE - 1)), off = cpu->regs[reg] & string_mask(i);

	if (cpu->rflags & FL_DF)
		bytes = (gva & (GUEST_PAGE_SIZE - 1)) + i->opsize;
	if (n > bytes / i->opsize)
		n = bytes / i->opsize;
	if (!n || !(i->ea_flags & EA_SLOW))
		return n;
	bytes = n * i->opsize;
	if (cpu->rflags & FL_DF)
		off -= bytes - i->opsize;
	if (off > string_mask(i) - bytes + 1)
		return 0;
	return cpu->mode == CODE64 || x86_seg_limit_ok(&cpu->seg[seg], off, (unsigned int)bytes) ? n : 0;
}

struct run {
	uint8_t *src, *dst;
	uint64_t n;
};

/* A run that reads at RSI and, if @to, touches ES:RDI; @write: writes there.  n is 0 where there is none. */
static struct run find_run(struct x86_cpu *cpu, const struct insn *i, uint64_t n, bool from, bool to,
			   bool write)
{
	struct run r = { .n = n };
	gva_t a;

	if (from) {
		a = string_ea(cpu, i, R_RSI, i->seg, false);
		r.src = tlb_hit_read(cpu->ctx, a, i->opsize);
		r.n = r.src ? run_length(cpu, i, R_RSI, i->seg, a, r.n) : 0;
	}
	if (to && r.n) {
		a = string_ea(cpu, i, R_RDI, SEG_ES, write);
		r.dst = write ? tlb_hit_write(cpu->ctx, a, i->opsize) : tlb_hit_read(cpu->ctx, a, i->opsize);
		r.n = r.dst ? run_length(cpu, i, R_RDI, SEG_ES, a, r.n) : 0;
	}
	return r;
}

uint64_t string_writable(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	return find_run(cpu, i, n, false, true, true).n;
}

static void advance(struct x86_cpu *cpu, const struct insn *i, uint64_t n, bool from, bool to)
{
	int64_t step = (int64_t)n * string_step(cpu, i);

	if (from)
		string_set(cpu, i, R_RSI, cpu->regs[R_RSI] + (uint64_t)step);
	if (to)
		string_set(cpu, i, R_RDI, cpu->regs[R_RDI] + (uint64_t)step);
}

/* ------------------------------------------------------------------ elements */

static uint64_t load(struct x86_cpu *cpu, gva_t a, unsigned int size)
{
	return size == 8 ? ld64(cpu, a) : size == 4 ? ld32(cpu, a) : size == 2 ? ld16(cpu, a) : ld8(cpu, a);
}

static void store(struct x86_cpu *cpu, gva_t a, uint64_t v, unsigned int size)
{
	if (size == 8)
		st64(cpu, a, v);
	else if (size == 4)
		st32(cpu, a, (uint32_t)v);
	else if (size == 2)
		st16(cpu, a, (uint16_t)v);
	else
		st8(cpu, a, (uint8_t)v);
}

static uint64_t host_load(const uint8_t *p, unsigned int size)
{
	return size == 8 ? *(const volatile uint64_t *)p : size == 4 ? *(const volatile uint32_t *)p :
	       size == 2 ? *(const volatile uint16_t *)p : *(const volatile uint8_t *)p;
}

static void host_store(uint8_t *p, uint64_t v, unsigned int size)
{
	if (size == 8)
		*(volatile uint64_t *)p = v;
	else if (size == 4)
		*(volatile uint32_t *)p = (uint32_t)v;
	else if (size == 2)
		*(volatile uint16_t *)p = (uint16_t)v;
	else
		*p = (uint8_t)v;
}

#define COMPARE(bits, a, b, fl)										\
	asm("cmp" SFX_##bits " " REG_##bits(y) ", " REG_##bits(x) FL_SAVE				\
	    : "=a" (fl) : [x] "r" (a), [y] "r" (b) : "cc")

/* The flags of CMP @a, @b. */
static uint16_t compare(uint64_t a, uint64_t b, unsigned int size)
{
	uint32_t fl;

	if (size == 8)
		COMPARE(64, a, b, fl);
	else if (size == 4)
		COMPARE(32, a, b, fl);
	else if (size == 2)
		COMPARE(16, a, b, fl);
	else
		COMPARE(8, a, b, fl);
	return (uint16_t)fl;
}

/* Does a repeated comparison go on? */
static bool wanted(const struct insn *i, bool equal)
{
	return equal == !(i->ea_flags & EA_REPNE);
}

/* ------------------------------------------------------------------ portions */

static void host_movs(struct run *r, unsigned int size, uint64_t n)
{
	void *d = r->dst;
	const void *s = r->src;

	if (size == 8)
		asm volatile("rep movsq" : "+D" (d), "+S" (s), "+c" (n) : : "memory");
	else if (size == 4)
		asm volatile("rep movsl" : "+D" (d), "+S" (s), "+c" (n) : : "memory");
	else if (size == 2)
		asm volatile("rep movsw" : "+D" (d), "+S" (s), "+c" (n) : : "memory");
	else
		asm volatile("rep movsb" : "+D" (d), "+S" (s), "+c" (n) : : "memory");
}

static void host_movs_down(struct run *r, unsigned int size, uint64_t n)
{
	for (; n; n--, r->src -= size, r->dst -= size)
		host_store(r->dst, host_load(r->src, size), size);
}

static uint64_t movs(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	struct run r = { 0 };

	if (n > 1)
		r = find_run(cpu, i, n, true, true, true);
	if (r.n > 1) {
		if (cpu->rflags & FL_DF)
			host_movs_down(&r, i->opsize, r.n);
		else
			host_movs(&r, i->opsize, r.n);
		advance(cpu, i, r.n, true, true);
		return r.n;
	}
	uint64_t v = load(cpu, string_ea(cpu, i, R_RSI, i->seg, false), i->opsize);

	store(cpu, string_ea(cpu, i, R_RDI, SEG_ES, true), v, i->opsize);
	advance(cpu, i, 1, true, true);
	return 1;
}

static void host_stos(struct run *r, unsigned int size, uint64_t n, uint64_t v)
{
	void *d = r->dst;

	if (size == 8)
		asm volatile("rep stosq" : "+D" (d), "+c" (n) : "a" (v) : "memory");
	else if (size == 4)
		asm volatile("rep stosl" : "+D" (d), "+c" (n) : "a" (v) : "memory");
	else if (size == 2)
		asm volatile("rep stosw" : "+D" (d), "+c" (n) : "a" (v) : "memory");
	else
		asm volatile("rep stosb" : "+D" (d), "+c" (n) : "a" (v) : "memory");
}

static uint64_t stos(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	struct run r = { 0 };

	if (n > 1)
		r = find_run(cpu, i, n, false, true, true);
	if (r.n > 1) {
		if (cpu->rflags & FL_DF)
			r.dst -= (r.n - 1) * i->opsize;
		host_stos(&r, i->opsize, r.n, cpu->regs[R_RAX]);
		advance(cpu, i, r.n, false, true);
		return r.n;
	}
	store(cpu, string_ea(cpu, i, R_RDI, SEG_ES, true), cpu->regs[R_RAX], i->opsize);
	advance(cpu, i, 1, false, true);
	return 1;
}

static uint64_t lods(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	uint64_t v = load(cpu, string_ea(cpu, i, R_RSI, i->seg, false), i->opsize);

	if (i->opsize == 1)
		reg8(cpu, R_RAX * 8) = (uint8_t)v;
	else if (i->opsize == 2)
		PUT_16(cpu, R_RAX, v);
	else
		cpu->regs[R_RAX] = v;
	advance(cpu, i, 1, true, false);
	return 1;
}

/*
 * CMPS and SCAS: elements that do not end the repetition are skipped on host
 * memory; the last of a portion is compared for its flags.
 */
static uint64_t cmps(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	struct run r = { 0 };
	uint64_t a, b, done = 0;
	int64_t step = string_step(cpu, i);

	/* ES:RDI first, as below. */
	if (n > 1 && tlb_hit_read(cpu->ctx, string_ea(cpu, i, R_RDI, SEG_ES, false), i->opsize))
		r = find_run(cpu, i, n, true, true, false);
	if (r.n > 1) {
		do {
			a = host_load(r.src, i->opsize);
			b = host_load(r.dst, i->opsize);
			r.src += step;
			r.dst += step;
		} while (++done < r.n && wanted(i, a == b));
	} else {
		/* In the order of the host, which shows when both fault. */
		b = load(cpu, string_ea(cpu, i, R_RDI, SEG_ES, false), i->opsize);
		a = load(cpu, string_ea(cpu, i, R_RSI, i->seg, false), i->opsize);
		done = 1;
	}
	cpu->fl = compare(a, b, i->opsize);
	advance(cpu, i, done, true, true);
	return done;
}

static uint64_t scas(struct x86_cpu *cpu, const struct insn *i, uint64_t n)
{
	unsigned int up = 64 - i->opsize * 8;
	uint64_t a = cpu->regs[R_RAX] << up >> up, b, done = 0;
	struct run r = { 0 };
	int64_t step = string_step(cpu, i);

	if (n > 1)
		r = find_run(cpu, i, n, false, true, false);
	if (r.n > 1) {
		do {
			b = host_load(r.dst, i->opsize);
			r.dst += step;
		} while (++done < r.n && wanted(i, a == b));
	} else {
		b = load(cpu, string_ea(cpu, i, R_RDI, SEG_ES, false), i->opsize);
		done = 1;
	}
	cpu->fl = compare(a, b, i->opsize);
	advance(cpu, i, done, false, true);
	return done;
}

/* ------------------------------------------------------------------ repetition */

void string_repeat(struct x86_cpu *cpu, const struct insn *i, string_portion *portion, bool compares)
{
	uint64_t n = cpu->regs[R_RCX] & string_mask(i);
	/* A trap is due after each iteration. */
	uint64_t at_once = (cpu->rflags & FL_TF) || cpu->client_debug.step || cpu->nested.monitor_trap ? 1 : ~0ULL;

	for (unsigned int budget = STRING_PORTIONS; n; budget--) {
		uint64_t done = portion(cpu, i, n < at_once ? n : at_once);

		n -= done;
		x86_charge(cpu, STRING_UNITS);
		string_set(cpu, i, R_RCX, n);
		x86_replay_done(cpu);
		if (compares && !wanted(i, cpu->fl & AX_ZF))
			break;
		if (n && (budget == 1 || at_once == 1 || cpu->pending_db ||
			  (atomic_load_explicit(&cpu->requests, memory_order_relaxed) & ~X86_REQ_COUNT))) {
			cpu->nested.iterated = true;
			/* It goes on at its next run, and retires then. */
			cpu->insns--;
			cpu->regs[R_RIP] = insn_rip(cpu, i);
			/* Its instruction breakpoint was met before the first iteration; SDM 3B, 17.3.1.1. */
			if (unlikely(x86_debug_dr7(cpu) & DR7_ENABLE_MASK))
				cpu->rflags |= FL_RF;
			return;
		}
	}
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);
}

int string_build(struct insn *i, const struct insn_build *b, unsigned int mem, insn_fn *one, insn_fn *rep)
{
	if (!build_is_mem(b, (int)mem))
		return -ENOENT;
	build_mem(i, b, (int)mem);
	i->aux = b->zi->address_width / 8;
	i->fn = i->ea_flags & (EA_REP | EA_REPNE) ? rep : one;
	return 0;
}

struct string_fns {
	insn_fn *one, *rep;
	uint8_t mem;            /* number of the operand whose segment may be overridden */
};

static int build_string(struct insn *i, const struct insn_build *b)
{
	const struct string_fns *t = b->row->arg;

	if (b->zi->meta.category != ZYDIS_CATEGORY_STRINGOP)
		return -ENOENT;
	return string_build(i, b, t->mem, t->one, t->rep);
}

#define STRING(name, operand, compares)									\
static void name##_one(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	at(cpu, i);											\
	name(cpu, i, 1);										\
	cpu->regs[R_RIP] = insn_next_rip(cpu, i);							\
}													\
static void name##_rep(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	at(cpu, i);											\
	string_repeat(cpu, i, name, compares);								\
}													\
static const struct string_fns name##_fns = { name##_one, name##_rep, operand };

STRING(movs, 1, false)
STRING(stos, 0, false)
STRING(lods, 1, false)
STRING(cmps, 0, true)
STRING(scas, 1, true)

/* ------------------------------------------------------------------ rows */

/* MOVSD and CMPSD are SSE's as well, in rows of their own: build_string() tells them apart. */
#define ROW(MNEMONIC, name) { ZYDIS_MNEMONIC_##MNEMONIC, 0, ROW_END, 0, build_string, &name##_fns }
#define ROWS(MNEMONIC, name)										\
	ROW(MNEMONIC##B, name), ROW(MNEMONIC##W, name), ROW(MNEMONIC##D, name), ROW(MNEMONIC##Q, name)

static const struct insn_row rows[] = {
	ROWS(MOVS, movs),
	ROWS(STOS, stos),
	ROWS(LODS, lods),
	ROWS(CMPS, cmps),
	ROWS(SCAS, scas),
};

const struct insn_rows insn_rows_string = { rows, ARRAY_SIZE(rows) };
