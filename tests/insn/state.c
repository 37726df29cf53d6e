// SPDX-License-Identifier: MIT
/*
 * A state to run an instruction from, out of a seed: edge values in registers
 * and memory, and addresses that lead into the arena.
 */
#include <cpuid.h>
#include <string.h>

#include "judge.h"

/* ------------------------------------------------------------------ values */

static uint64_t integer(struct rng *r)
{
	static const uint64_t edges[] = {
		0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x7fffffffffffffff, 0x8000000000000000, ~0ULL, ~1ULL, 31, 32, 63, 64, 0x100000000,
	};
	uint64_t v = edges[below(r, sizeof(edges) / sizeof(edges[0]))];

	switch (below(r, 6)) {
	case 0:
		return v;
	case 1:
		return v + below(r, 5) - 2;
	case 2:
		return 1ULL << below(r, 64);
	case 3:
		return rnd(r) & 0xff;
	case 4:
		return (int64_t)(int32_t)rnd(r);
	default:
		return rnd(r);
	}
}

static uint64_t single(struct rng *r)
{
	static const uint32_t special[] = {
		0,	    0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
		0x7fc00000, 0xffc00000, 0x7f800001, 0xff900000, 1,	    0x80000001,
		0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x4f000000, 0xcf000000,
		0x5f000000, 0x3f000000, 0x3effffff, 0x40490fdb, 0x00ffffff, 0x4b800000,
	};

	return one_in(r, 3) ? (uint32_t)rnd(r) : special[below(r, sizeof(special) / sizeof(special[0]))];
}

static uint64_t wide(struct rng *r)
{
	static const uint64_t special[] = {
		0,
		1ULL << 63,
		0x3ff0000000000000,
		0xbff0000000000000,
		0x7ff0000000000000,
		0xfff0000000000000,
		0x7ff8000000000000,
		0xfff8000000000000,
		0x7ff0000000000001,
		0xfff4000000000000,
		1,
		0x8000000000000001,
		0x000fffffffffffff,
		0x0010000000000000,
		0x7fefffffffffffff,
		0x41e0000000000000,
		0xc1e0000000000000,
		0x43e0000000000000,
		0xc3e0000000000000,
		0x3fe0000000000000,
		0x380fffffffffffff,
		0x47efffffffffffff,
		0x36a0000000000000,
		0x4340000000000000,
	};

	return one_in(r, 3) ? rnd(r) : special[below(r, sizeof(special) / sizeof(special[0]))];
}

/* An extended-precision number, unsupported encodings included. */
static void extended(struct rng *r, uint8_t out[10])
{
	static const uint16_t exponents[] = { 0,      1,      0x3ffe, 0x3fff, 0x4000, 0x403e,
					      0x403f, 0x7ffe, 0x7fff, 0x3f80, 0x407f };
	static const uint64_t mantissas[] = { 0,
					      1,
					      1ULL << 63,
					      3ULL << 62,
					      ~0ULL,
					      (1ULL << 63) | 1,
					      1ULL << 62,
					      0xffffff0000000000,
					      0xfffffffffffff800 };
	uint64_t m = one_in(r, 3) ? rnd(r) | 1ULL << 63
				  : mantissas[below(r, sizeof(mantissas) / sizeof(mantissas[0]))];
	uint16_t e = one_in(r, 2) ? 0x3fff + below(r, 80) - 40 :
		     exponents[below(r, sizeof(exponents) / sizeof(exponents[0]))];

	if (!one_in(r, 6))
		m |= e ? 1ULL << 63 : 0;
	e |= one_in(r, 2) ? 0x8000 : 0;
	memcpy(out, &m, 8);
	memcpy(out + 8, &e, 2);
}

/* @n bytes of one kind of data. */
static void fill(struct rng *r, uint8_t *p, unsigned int n)
{
	unsigned int kind = below(r, 6);

	while (n) {
		unsigned int size = kind == 1 ? 4 : 8, k;
		uint64_t v = kind == 0	 ? rnd(r)
			     : kind == 1 ? single(r)
			     : kind == 2 ? wide(r)
			     : kind == 3 ? integer(r)
			     : kind == 4 ? 0x0101010101010101ULL * (rnd(r) & 0xff)
					 : ((rnd(r) & 0xf) << 56) | ((rnd(r) & 0x8f0f) << 32) |
						   (rnd(r) & 0x80ff00ff);

		k = size < n ? size : n;
		memcpy(p, &v, k);
		p += k;
		n -= k;
	}
}

/* ------------------------------------------------------------------ vector registers */

static void control_words(struct rng *r, struct vregs *v)
{
	v->fcw = 0x37f;
	v->mxcsr = 0x1f80;
	if (!one_in(r, 3)) {
		v->mxcsr = (rnd(r) & 0x603f) | 0x1f80;
		if (one_in(r, 4))
			v->mxcsr |= 0x8040 & rnd(r);
		if (one_in(r, 8))
			v->mxcsr &= ~0x1f80u | (rnd(r) & 0x1f80);
	}
	if (!one_in(r, 3)) {
		v->fcw = 0x7f | (rnd(r) & 0xf00) | (one_in(r, 4) ? rnd(r) & 0x1000 : 0);
		if (one_in(r, 8))
			v->fcw &= ~0x3f | (rnd(r) & 0x3f);
	}
	v->fcw |= 0x40;
	v->fsw = rnd(r) & 0x7f00;                       /* condition codes, top, and ES by what is pending */
	if (one_in(r, 4))
		v->fsw |= rnd(r) & (one_in(r, 4) ? 0x7f : 0x7f & (v->fcw | 0x40));
	if (v->fsw & ~v->fcw & 0x3f)
		v->fsw |= 0x8080;
	v->mxcsr_mask = 0x2ffff;
}

static void vector_state(struct rng *r, struct vregs *v)
{
	memset(v, 0, sizeof(*v));
	control_words(r, v);
	v->ftw = one_in(r, 3) ? rnd(r) : one_in(r, 4) ? 0 : 0xff;
	if (one_in(r, 8))
		v->ftw = 0x7f;
	for (unsigned int k = 0; k < 8; k++) {
		extended(r, v->st[k]);
		if (one_in(r, 4)) {
			fill(r, v->st[k], 8);
			v->st[k][8] = v->st[k][9] = 0xff;
		}
	}
	for (unsigned int k = 0; k < 16; k++) {
		fill(r, v->xmm[k], 16);
		fill(r, v->ymm_high[k], 16);
	}
	if (one_in(r, 16))
		memset(v->ymm_high, 0, sizeof(v->ymm_high));
	v->header[0] = host_components();
}

static bool host_has_mm(void)
{
	uint32_t eax, ebx, ecx = 0, edx;

	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx >> 7 & 1);
}

/* Everything, nothing, one element, the first ones or the others, any. */
static uint64_t element_mask(struct rng *r)
{
	unsigned int n = below(r, one_in(r, 2) ? 17 : 65);
	uint64_t low = n < 64 ? (1ULL << n) - 1 : ~0ULL;

	switch (below(r, 8)) {
	case 0:
	case 1:
		return ~0ULL;
	case 2:
		return 0;
	case 3:
		return 1ULL << (n & 63);
	case 4:
		return low;
	case 5:
		return ~low;
	default:
		return rnd(r);
	}
}

/* What AMD's CPUs take 16 bytes anywhere for without it too: they check these with AC by all 16, Intel's by 8. */
static bool needs_no_alignment(const struct code *c)
{
	static const uint16_t list[] = {
		ZYDIS_MNEMONIC_MOVUPS, ZYDIS_MNEMONIC_MOVUPD, ZYDIS_MNEMONIC_MOVDQU, ZYDIS_MNEMONIC_LDDQU,
		ZYDIS_MNEMONIC_PCMPESTRI, ZYDIS_MNEMONIC_PCMPESTRM, ZYDIS_MNEMONIC_PCMPISTRI,
		ZYDIS_MNEMONIC_PCMPISTRM,
	};

	if (c->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || c->zi.meta.isa_set == ZYDIS_ISA_SET_SHA)
		return true;
	for (unsigned int k = 0; k < sizeof(list) / sizeof(list[0]); k++)
		if (c->zi.mnemonic == list[k])
			return true;
	for (int k = 0; k < c->zi.operand_count_visible; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[k].size == 128)
			return false;
	return true;
}

/* From a stream of its own: the rest of a case is the same on hosts that have no MXCSR.MM. */
static void mm_state(const struct code *c, uint64_t seed, struct state *s)
{
	struct rng r = { seed ^ 0x2545f4914f6cdd1dULL };

	if (c->next || !host_has_mm() || !one_in(&r, 4))
		return;
	s->v.mxcsr |= 1u << 17;
	if (one_in(&r, 4) && !needs_no_alignment(c))
		s->rflags |= 1u << 18;
}

/* The same, for AVX-512. */
static void avx512_state(uint64_t seed, struct vregs *v)
{
	struct rng r = { seed ^ 0x9ddfea08eb382d69ULL };

	if (!(host_components() & AVX512_COMPONENTS))
		return;
	for (unsigned int k = 0; k < 8; k++)
		v->k[k] = element_mask(&r);
	for (unsigned int k = 0; k < 16; k++) {
		fill(&r, v->zmm_high[k], 32);
		fill(&r, v->zmm[k], 64);
	}
	if (one_in(&r, 16))
		memset(v->k, 0, sizeof(v->k));
	if (one_in(&r, 16))
		memset(v->zmm_high, 0, sizeof(v->zmm_high));
	if (one_in(&r, 16))
		memset(v->zmm, 0, sizeof(v->zmm));
}

/* Eight bytes of a vector register. */
static uint8_t *quad_of(struct vregs *v, unsigned int reg, unsigned int quad)
{
	if (reg >= 16)
		return v->zmm[reg - 16] + 8 * quad;
	if (quad >= 4)
		return v->zmm_high[reg] + 8 * (quad - 4);
	return quad >= 2 ? v->ymm_high[reg] + 8 * (quad - 2) : v->xmm[reg] + 8 * quad;
}

/* ------------------------------------------------------------------ memory operands */

struct making {
	const struct code *c;
	struct rng *r;
	struct state *s;
	uint8_t *arena;
};

/* Random data of the operand's kind at @at, as far as it lies in the arena. */
static void put_data(struct making *m, uint64_t at, unsigned int size)
{
	uint64_t off = at - ARENA_LIN;

	if (size > 576)
		size = 576;
	if (off >= ARENA_BYTES)
		return;
	fill(m->r, m->arena + off, size < ARENA_BYTES - off ? size : ARENA_BYTES - off);
	if (size == 10 && off + 10 <= ARENA_BYTES && !one_in(m->r, 4))
		extended(m->r, m->arena + off);
}

static uint64_t get_data(const struct making *m, uint64_t at)
{
	uint64_t off = at - ARENA_LIN, v = 0;

	if (off <= ARENA_BYTES - 8)
		memcpy(&v, m->arena + off, 8);
	return v;
}

static int gpr_number(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return ZydisRegisterGetId(reg);
	default:
		return -1;
	}
}

static uint64_t base_of_segment(const struct code *c, const struct state *s, ZydisRegister seg)
{
	if (c->mode == MODE16)
		return seg == ZYDIS_REGISTER_CS ? CODE_LIN : ARENA_LIN;
	if (seg == ZYDIS_REGISTER_FS)
		return s->fsbase;
	return seg == ZYDIS_REGISTER_GS ? s->gsbase : 0;
}

/* The linear address of memory operand @o, vector indices left out. */
uint64_t operand_address(const struct code *c, const struct state *s, const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperandMem *x = &o->mem;
	unsigned int width = c->zi.address_width;
	int base = gpr_number(x->base), index = gpr_number(x->index);
	uint64_t a = x->disp.has_displacement ? x->disp.value : 0;

	if (x->base == ZYDIS_REGISTER_RIP || x->base == ZYDIS_REGISTER_EIP)
		a += s->rip + c->zi.length;
	if (base >= 0)
		a += s->gpr[base];
	if (index >= 0)
		a += s->gpr[index] * x->scale;
	if (width < 64)
		a &= (1ULL << width) - 1;
	a += base_of_segment(c, s, x->segment);
	return c->mode == MODE64 ? a : (uint32_t)a;
}

static void set_address(struct making *m, int reg, uint64_t value)
{
	unsigned int width = m->c->zi.address_width;

	if (width == 64)
		m->s->gpr[reg] = value;
	else if (width == 32)
		m->s->gpr[reg] = (uint32_t)value | (m->c->mode == MODE64 ? rnd(m->r) << 32 : 0);
	else
		m->s->gpr[reg] = (uint16_t)value | (rnd(m->r) & 0xffff0000);
}

static void small_indices(struct making *m, const ZydisDecodedOperand *o)
{
	unsigned int reg = ZydisRegisterGetId(o->mem.index);
	unsigned int n = ZydisRegisterGetClass(o->mem.index) == ZYDIS_REGCLASS_ZMM ? 8 : 4;
	bool quads = one_in(m->r, 2);

	for (unsigned int k = 0; k < n; k++) {
		int64_t lo = (int64_t)below(m->r, 512) - 256, hi = (int64_t)below(m->r, 512) - 256;

		if (one_in(m->r, 12))
			lo = (int64_t)below(m->r, 2 * PAGE) - PAGE;
		if (!quads)
			lo = (lo & 0xffffffff) | (uint64_t)hi << 32;
		memcpy(quad_of(&m->s->v, reg, k), &lo, 8);
	}
}

static void aim_operand(struct making *m, const ZydisDecodedOperand *o)
{
	const ZydisDecodedOperandMem *x = &o->mem;
	uint64_t target = pick_address(m->r, o->size / 8), want, disp;
	int base = gpr_number(x->base), index = gpr_number(x->index);
	unsigned int area = xsave_area_bytes(), size = o->size > 512 * 8 ? area : o->size / 8;

	/* The end of the segment is also the end of a page: which comes first for a large operand is open. */
	if (m->c->mode == MODE16 && (o->size > 128 || o->size == 80) &&
	    target + size > ARENA_LIN + ARENA_BYTES)
		target = ARENA_LIN + ARENA_BYTES - size;
	/* A bit offset would lead from the last user address down to the stack. */
	if (m->c->zi.meta.category == ZYDIS_CATEGORY_BITBYTE && target > 1ULL << 46)
		target = ARENA_LIN + PAGE_NONE * PAGE;
	/* How much of an XSAVE area is looked at is the implementation's: it lies in good pages, or begins in
	 * a bad one. */
	if (o->size > 512 * 8) {
		uint64_t first = ARENA_LIN + PAGE_RW * PAGE, end = ARENA_LIN + PAGE_NONE * PAGE;

		target &= ~(m->c->mode == MODE16 || !one_in(m->r, 16) ? 63ULL : 0);
		if (target < end && target + area > end)
			target = end - area;
		if (target < first && target + area > first)
			target = first - area;
		if (target < ARENA_LIN && target + area > ARENA_LIN)
			target = ARENA_LIN - area;
	}
	/* The host asks for a canonical offset too, which far indices and a base would show. */
	if (x->type == ZYDIS_MEMOP_TYPE_VSIB) {
		small_indices(m, o);
		m->s->fsbase = m->s->gsbase = 0;
	}
	put_data(m, target, o->size / 8 ? o->size / 8 : 1);
	disp = x->disp.has_displacement ? x->disp.value : 0;
	want = target - base_of_segment(m->c, m->s, x->segment) - disp;
	if (base < 0) {
		/* The displacement has been aimed; an index stays near it. */
		if (index >= 0)
			set_address(m, index, below(m->r, 16));
		return;
	}
	if (x->type == ZYDIS_MEMOP_TYPE_VSIB)
		index = -1;
	if (base == index)
		want /= 1 + x->scale;
	else if (index >= 0)
		want -= m->s->gpr[index] * x->scale;
	set_address(m, base, want);
}

/* ------------------------------------------------------------------ what particular instructions like */

static uint64_t some_code(struct rng *r)
{
	return CODE_LIN + 0x400 + below(r, 0x300);
}

static void like_repeat(struct making *m)
{
	if (!one_in(m->r, 16))
		m->s->gpr[1] = one_in(m->r, 2) ? below(m->r, 8) : below(m->r, 600);
	if (!one_in(m->r, 4)) {
		uint8_t byte = rnd(m->r);

		memset(m->arena, byte, ARENA_BYTES);
		for (unsigned int k = 0; k < 8; k++)
			m->arena[below(m->r, ARENA_BYTES)] = rnd(m->r);
		if (one_in(m->r, 2))
			m->s->gpr[0] = byte * 0x0101010101010101ULL;
	}
}

static void like_divide(struct making *m)
{
	if (one_in(m->r, 2))
		m->s->gpr[2] = one_in(m->r, 2) ? 0 : -(m->s->gpr[0] >> 63);
	if (one_in(m->r, 3))
		m->s->gpr[0] = below(m->r, 1000);
}

static void like_compare(struct making *m)
{
	int base = m->c->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY ? gpr_number(m->c->op[0].mem.base) : -1;
	uint64_t at, rax;

	if (base < 0 || m->c->op[0].mem.index != ZYDIS_REGISTER_NONE || !one_in(m->r, 2))
		return;
	at = m->s->gpr[base] + (m->c->op[0].mem.disp.has_displacement ? m->c->op[0].mem.disp.value : 0);
	rax = get_data(m, at);
	if (base == 0 || base == 2)
		return;
	m->s->gpr[0] = rax;
	if (m->c->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG8B)
		m->s->gpr[2] = rax >> 32;
	if (m->c->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
		m->s->gpr[2] = get_data(m, at + 8);
}

/* A register bit offset reaches memory around the operand. */
static void like_bit(struct making *m)
{
	int reg = gpr_number(m->c->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER ? m->c->op[1].reg.value :
			     ZYDIS_REGISTER_NONE);

	if (reg < 0 || m->c->op[0].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return;
	if (reg == gpr_number(m->c->op[0].mem.base) || reg == gpr_number(m->c->op[0].mem.index))
		return;
	if (!one_in(m->r, 8))
		m->s->gpr[reg] = (int64_t)below(m->r, 4096) - 2048;
	if (m->c->zi.operand_width < 64 && one_in(m->r, 2))
		m->s->gpr[reg] = (m->s->gpr[reg] & 0xffff) | rnd(m->r) << 16;
}

/* Branch targets: the filled part of the code pages. */
static void like_branch(struct making *m)
{
	const ZydisDecodedOperand *o = &m->c->op[0];
	uint64_t target = one_in(m->r, 8) ? integer(m->r) : some_code(m->r);
	unsigned int width = m->c->mode == MODE64 ? 8 : m->c->mode == MODE32 ? 4 : 2;

	if (m->c->mode == MODE16)
		target -= CODE_LIN;
	/* Neither to itself, for ever, nor into its own middle. */
	if ((target & 0xffff) - m->c->at < 16)
		target += 16;
	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && gpr_number(o->reg.value) >= 0)
		m->s->gpr[gpr_number(o->reg.value)] = target;
	if (m->c->zi.meta.category != ZYDIS_CATEGORY_COND_BR && o->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		for (unsigned int k = 0; k < ARENA_BYTES; k += width)
			memcpy(m->arena + k, &target, width);
}

/* No single steps: the trap would come behind the instruction. */
static void like_flags(struct making *m)
{
	for (unsigned int k = 1; k < ARENA_BYTES; k++)
		m->arena[k] &= ~1;
	m->s->gpr[4] &= ~7ULL;
}

/* MXCSR.MM, AMD's alone: no case has it where the host has not. */
static void like_mxcsr(struct making *m)
{
	unsigned int at =
		m->c->zi.mnemonic == ZYDIS_MNEMONIC_LDMXCSR || m->c->zi.mnemonic == ZYDIS_MNEMONIC_VLDMXCSR
			? 0
			: 24;
	uint64_t off = operand_address(m->c, m->s, &m->c->op[0]) + at + 2 - ARENA_LIN;

	if (off < ARENA_BYTES && !host_has_mm())
		m->arena[off] &= ~2;
	if (off + 1 < ARENA_BYTES && one_in(m->r, 2))
		m->arena[off] = m->arena[off + 1] = 0;
}

static void like_clzero(struct making *m)
{
	set_address(m, 0, pick_address(m->r, 64) - (m->c->mode == MODE16 ? ARENA_LIN : 0));
}

/* Components that the judge compares, and a header that is valid more often than not. */
static void like_xsave(struct making *m)
{
	uint64_t off = operand_address(m->c, m->s, &m->c->op[0]) - ARENA_LIN, header[8] = { 0 };
	uint64_t all = engine_components();

	m->s->gpr[0] = (m->s->gpr[0] & ~0xffffffffULL) | (rnd(m->r) & all);
	m->s->gpr[2] &= ~0xffffffffULL;
	/* Whether a component with its initial value counts as in use is the host's affair. */
	m->s->v.ymm_high[0][0] |= 1;
	m->s->v.k[0] |= 1;
	m->s->v.zmm_high[0][0] |= 1;
	m->s->v.zmm[0][0] |= 1;
	if (one_in(m->r, 3))
		m->s->gpr[0] |= all;
	header[0] = rnd(m->r) & all;
	if (one_in(m->r, 3))
		header[1] = 1ULL << 63 | all | header[0];
	if (one_in(m->r, 10))
		header[below(m->r, 8)] = 1ULL << below(m->r, 64);
	if (off <= ARENA_BYTES - 576) {
		memcpy(m->arena + off + 512, header, sizeof(header));
		if (!host_has_mm())
			m->arena[off + 26] &= ~2;
		if (!one_in(m->r, 8))
			m->arena[off + 26] = m->arena[off + 27] = 0;
	}
}

static const struct liking {
	uint16_t mnemonic;
	void (*f)(struct making *m);
} likings[] = {
	{ ZYDIS_MNEMONIC_DIV, like_divide },
	{ ZYDIS_MNEMONIC_IDIV, like_divide },
	{ ZYDIS_MNEMONIC_CMPXCHG, like_compare },
	{ ZYDIS_MNEMONIC_CMPXCHG8B, like_compare },
	{ ZYDIS_MNEMONIC_CMPXCHG16B, like_compare },
	{ ZYDIS_MNEMONIC_BT, like_bit },
	{ ZYDIS_MNEMONIC_BTS, like_bit },
	{ ZYDIS_MNEMONIC_BTR, like_bit },
	{ ZYDIS_MNEMONIC_BTC, like_bit },
	{ ZYDIS_MNEMONIC_CLZERO, like_clzero },
	{ ZYDIS_MNEMONIC_XRSTOR, like_xsave },
	{ ZYDIS_MNEMONIC_XRSTOR64, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVE, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVE64, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVEC, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVEC64, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVEOPT, like_xsave },
	{ ZYDIS_MNEMONIC_XSAVEOPT64, like_xsave },
	{ ZYDIS_MNEMONIC_LDMXCSR, like_mxcsr },
	{ ZYDIS_MNEMONIC_VLDMXCSR, like_mxcsr },
	{ ZYDIS_MNEMONIC_FXRSTOR, like_mxcsr },
	{ ZYDIS_MNEMONIC_FXRSTOR64, like_mxcsr },
	{ ZYDIS_MNEMONIC_POPF, like_flags },
	{ ZYDIS_MNEMONIC_POPFD, like_flags },
	{ ZYDIS_MNEMONIC_POPFQ, like_flags },
};

static void please(struct making *m)
{
	if (m->c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP)
		like_repeat(m);
	if (m->c->branch)
		like_branch(m);
	for (unsigned int k = 0; k < sizeof(likings) / sizeof(likings[0]); k++)
		if (likings[k].mnemonic == m->c->zi.mnemonic)
			likings[k].f(m);
}

/* ------------------------------------------------------------------ all of it */

static void aim_instruction(struct making *m)
{
	const struct code *c = m->c;

	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && !(c->op[k].mem.base == ZYDIS_REGISTER_RSP &&
		    c->op[k].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN))
			aim_operand(m, &c->op[k]);
	please(m);
}

static uint64_t base_value(struct rng *r)
{
	static const uint64_t v[] = { 0, 0x1000, ARENA_LIN, 0x7ffffffff000, 0x12345678 };

	return v[below(r, sizeof(v) / sizeof(v[0]))];
}

/* Which vector accesses are checked for alignment differs between vendors: AC stays clear for them. */
static bool uses_vectors(const struct code *c)
{
	if (c->next)
		return true;
	if (c->zi.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || c->zi.meta.isa_set == ZYDIS_ISA_SET_X87)
		return true;
	for (int k = 0; k < c->zi.operand_count; k++) {
		ZydisRegisterClass k_class = c->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER ?
			ZydisRegisterGetClass(c->op[k].reg.value) : ZYDIS_REGCLASS_INVALID;

		if ((k_class >= ZYDIS_REGCLASS_X87 && k_class <= ZYDIS_REGCLASS_ZMM) || c->op[k].size > 128)
			return true;
	}
	return false;
}

void make_state(const struct code *c, uint64_t seed, struct state *s, uint8_t *arena)
{
	struct rng r = { seed };
	struct making m = { c, &r, s, arena };

	for (unsigned int k = 0; k < 16; k++)
		s->gpr[k] = integer(&r);
	s->rip = code_start(c);
	s->rflags = 0x202 | (rnd(&r) & 0xcd5);
	if (one_in(&r, 2))
		s->rflags &= ~0x400ULL;
	if (one_in(&r, 32) && !uses_vectors(c))
		s->rflags |= 1u << 18;
	s->fsbase = base_value(&r);
	s->gsbase = base_value(&r);
	/* AMD's CPUs want the offset to be canonical too: no base where it may be far off. */
	if (c->next || c->zi.meta.category == ZYDIS_CATEGORY_BITBYTE || c->zi.meta.category == ZYDIS_CATEGORY_XSAVE ||
	    c->zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT)
		s->fsbase = s->gsbase = 0;
	vector_state(&r, &s->v);
	avx512_state(seed, &s->v);
	mm_state(c, seed, s);
	s->gpr[4] = pick_address(&r, 8) + (one_in(&r, 2) ? 8 : 0) - (c->mode == MODE16 ? ARENA_LIN : 0);
	if (!one_in(&r, 8))
		s->gpr[4] &= ~7ULL;
	for (m.c = c; m.c; m.c = m.c->next)
		aim_instruction(&m);
	if (c->mode != MODE64)
		for (unsigned int k = 0; k < 16; k++)
			s->gpr[k] = k < 8 ? (uint32_t)s->gpr[k] : 0;
}
