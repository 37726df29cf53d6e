/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions whose memory access a stub cannot make: masked moves,
 * which suppress the faults of masked-off elements, and gathers, which access
 * an element at a time and keep what is done when one faults (SDM 2,
 * VMASKMOVPS, VGATHERDPS).  They work on the state in its image.
 */
#include "x86/cpu/insn/vec.h"

#include <Zydis/Zydis.h>

#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"

static bool sign(uint64_t value, unsigned int size)
{
	return value >> (8 * size - 1) & 1;
}

/* The image with every component that the instruction may touch in use, so that what it holds counts. */
static struct xsave_image *image(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = &cpu->vec->image;

	at(cpu, i);
	vec_gate(cpu, i);
	x86_vec_put(cpu);
	if (!(m->xstate_bv & XFEATURE_AVX) && i->src2 == VEC_AVX)
		for (unsigned int k = 0; k < sizeof(m->ymm_high) / 8; k++)
			((uint64_t *)m->ymm_high)[k] = 0;
	if (!(m->xstate_bv & XFEATURE_SSE))
		for (unsigned int k = 0; k < sizeof(m->xmm) / 8; k++)
			((uint64_t *)m->xmm)[k] = 0;
	if (i->src2 == VEC_MMX) {
		vec_normalize(cpu);
		m->xstate_bv |= XFEATURE_X87;
		return m;
	}
	m->xstate_bv |= XFEATURE_SSE | (i->src2 == VEC_AVX ? XFEATURE_AVX : 0);
	return m;
}

/* Element @k of @size bytes: only those that are accessed are checked.  Each has an address, which wraps by itself. */
static gva_t lane(struct x86_cpu *cpu, const struct insn *i, unsigned int k, unsigned int size, bool write)
{
	struct insn one;

	if (likely(!(i->ea_flags & EA_SLOW)))
		return ea(cpu, i, size, write) + k * size;
	one = *i;
	one.disp = (int64_t)((uint64_t)i->disp + k * size);
	return ea_slow(cpu, &one, size, write);
}

/* dst: register; src: mask register; opsize: vector bytes; aux: element bytes. */
static void maskmov_load(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = cpu->vec;
	unsigned int size = i->aux, n = i->memsize / size;
	uint64_t value[8];

	image(cpu, i);
	for (unsigned int k = 0; k < n; k++) {
		value[k] = 0;
		if (sign(vec_get(v, i->src, k, size), size)) {
			gva_t a = lane(cpu, i, k, size, false);

			value[k] = size == 4 ? ld32(cpu, a) : ld64(cpu, a);
		}
	}
	for (unsigned int k = 0; k < n; k++)
		vec_set(v, i->dst, k, size, value[k]);
	vec_clear_from(v, i->dst, i->memsize);
	NEXT(cpu, i);
}

static void maskmov_store(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = cpu->vec;
	unsigned int size = i->aux, n = i->memsize / size;

	image(cpu, i);
	for (unsigned int k = 0; k < n; k++)
		if (sign(vec_get(v, i->src, k, size), size))
			mem_probe_write(cpu, lane(cpu, i, k, size, true), size);
	for (unsigned int k = 0; k < n; k++) {
		gva_t a;

		if (!sign(vec_get(v, i->src, k, size), size))
			continue;
		a = lane(cpu, i, k, size, true);
		if (size == 4)
			st32(cpu, a, vec_get(v, i->dst, k, 4));
		else
			st64(cpu, a, vec_get(v, i->dst, k, 8));
	}
	NEXT(cpu, i);
}

/* Any MMX instruction turns the x87 stack to register 0 and marks all of it used; SDM 3A 12.2. */
static void enter_mmx(struct xsave_image *m)
{
	unsigned int top = m->fsw >> 11 & 7;
	uint64_t old[8][2];

	for (unsigned int r = 0; r < 16; r++)
		old[r / 2][r & 1] = ((const uint64_t *)m->st)[r];
	for (unsigned int r = 0; r < 16; r++)
		((uint64_t *)m->st)[r] = old[(r / 2 - top) & 7][r & 1];
	m->fsw &= ~0x3800;
	m->ftw = 0xff;
}

/* MASKMOVDQU, MASKMOVQ: bytes at DS:rDI.  dst: data register, src: mask. */
static void maskmov_bytes(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i);
	bool mmx = i->aux;
	const uint8_t *data = mmx ? m->st[i->dst] : m->xmm[i->dst];
	const uint8_t *mask = mmx ? m->st[i->src] : m->xmm[i->src];
	gva_t a;

	if (mmx && (m->fsw & 0x80))
		x86_raise(cpu, X86_MF);
	/* Now the registers are in the order of the MMX names.  The host turns them even if the store faults. */
	if (mmx)
		enter_mmx(m);
	a = ea(cpu, i, i->memsize, true);
	/* All of the operand is checked, whatever the mask; SDM 2 leaves it to the implementation. */
	mem_probe_write(cpu, a, i->memsize);
	for (unsigned int k = 0; k < i->memsize; k++)
		if (mask[k] & 0x80)
			st8(cpu, a + k, data[k]);
	NEXT(cpu, i);
}

static unsigned int reg_of(const struct insn_build *b, int n)
{
	return ZydisRegisterGetId(b->op[n].reg.value);
}

static int build_maskmov(struct insn *i, const struct insn_build *b)
{
	bool store = build_is_mem(b, 0);
	int m = store ? 0 : 2;

	i->src2 = VEC_AVX;
	build_mem(i, b, m);
	i->memsize = b->zi->avx.vector_length / 8;
	i->dst = reg_of(b, store ? 2 : 0);
	i->src = reg_of(b, 1);
	i->aux = (uintptr_t)b->row->arg;
	i->fn = store ? maskmov_store : maskmov_load;
	return 0;
}

static int build_maskmov_bytes(struct insn *i, const struct insn_build *b)
{
	bool mmx = ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_MMX;

	build_mem(i, b, 2);
	i->memsize = mmx ? 8 : 16;
	i->dst = reg_of(b, 0);
	i->src = reg_of(b, 1);
	i->aux = mmx;
	i->src2 = mmx ? VEC_MMX : b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? VEC_AVX : VEC_SSE;
	i->fn = maskmov_bytes;
	return 0;
}

/* --------------------------------------------------------------------- gathers */

/* What a gather's aux holds: index register 3:0, index bytes 7:4, element bytes 11:8, elements 15:12. */
#define GATHER(reg, index, size, n) ((reg) | (index) << 4 | (size) << 8 | (n) << 12)

/*
 * dst: destination, src: mask.  Each element is committed, and its mask cleared,
 * before the next is read: a fault leaves what the instruction goes on from.
 */
static void gather(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = cpu->vec;
	unsigned int vidx = i->aux & 15, isize = i->aux >> 4 & 15, size = i->aux >> 8 & 15, n = i->aux >> 12;

	image(cpu, i);
	for (unsigned int k = 0; k < n; k++) {
		gva_t a;

		if (!sign(vec_get(v, i->src, k, size), size)) {
			vec_set(v, i->src, k, size, 0);
			continue;
		}
		a = vec_index_ea(cpu, i, vec_get(v, vidx, k, isize), isize, size, false);
		vec_set(v, i->dst, k, size, size == 4 ? ld32(cpu, a) : ld64(cpu, a));
		vec_set(v, i->src, k, size, 0);
		/* It will not be asked for again, so what the client answered is used up. */
		x86_replay_done(cpu);
	}
	vec_clear_from(v, i->dst, n * size);
	vec_clear_from(v, i->src, 0);
}

static void gather_next(struct x86_cpu *cpu, const struct insn *i)
{
	gather(cpu, i);
	NEXT(cpu, i);
}

/* row->arg: index bytes and element bytes, as in GATHER. */
static int build_gather(struct insn *i, const struct insn_build *b)
{
	unsigned int isize = (uintptr_t)b->row->arg >> 4 & 15, size = (uintptr_t)b->row->arg >> 8 & 15;
	unsigned int vlen = b->zi->avx.vector_length / 8;
	unsigned int index = ZydisRegisterGetId(b->op[1].mem.index);

	if (b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return -2 /* ENOENT */;
	i->src2 = VEC_AVX;
	i->dst = reg_of(b, 0);
	i->src = reg_of(b, 2);
	/* SDM 2: any two of destination, index and mask the same: #UD. */
	if (i->dst == i->src || i->dst == index || i->src == index)
		return -2;
	build_mem(i, b, 1);
	i->index = R_ZERO;
	i->aux = GATHER(index, isize, size, vlen / (isize > size ? isize : size));
	i->fn = gather_next;
	return 0;
}

/* Outside 64-bit mode VZEROALL and VZEROUPPER leave registers 8 and up alone; SDM 2C.  aux: from which byte. */
static void vzero_low(struct x86_cpu *cpu, const struct insn *i)
{
	image(cpu, i);
	for (unsigned int reg = 0; reg < 8; reg++)
		vec_clear_from(cpu->vec, reg, i->aux);
	NEXT(cpu, i);
}

static int build_vzero(struct insn *i, const struct insn_build *b)
{
	if (b->mode == CODE64)
		return -2 /* ENOENT: the host's own will do */;
	i->src2 = VEC_AVX;
	i->aux = (uintptr_t)b->row->arg;
	i->fn = vzero_low;
	return 0;
}

/* LDMXCSR: a reserved bit is #GP(0), before anything else happens to the state. */
static void ldmxcsr(struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t value;

	at(cpu, i);
	vec_gate(cpu, i);
	value = ld32(cpu, ea(cpu, i, 4, false));
	if (value & ~vec_mxcsr_mask(cpu))
		x86_raise_ec(cpu, X86_GP, 0);
	vec_gate(cpu, i);
	cpu->vec->mm = value & MXCSR_MM;
	value &= ~MXCSR_MM;
	__asm__ volatile("ldmxcsr %0" : : "m"(value));
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

static void stmxcsr(struct x86_cpu *cpu, const struct insn *i)
{
	uint32_t value;

	at(cpu, i);
	vec_gate(cpu, i);
	__asm__ volatile("stmxcsr %0" : "=m"(value));
	st32(cpu, ea(cpu, i, 4, true), value | cpu->vec->mm);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

static int build_mxcsr(struct insn *i, const struct insn_build *b)
{
	build_mem(i, b, 0);
	i->src2 = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? VEC_AVX : VEC_SSE;
	i->fn = i->ea_flags & EA_WRITE ? stmxcsr : ldmxcsr;
	return 0;
}

#define MASKMOV(mn, feat, size) { ZYDIS_MNEMONIC_##mn, X86_F_##feat, 0, 0, build_maskmov, (const void *)size }
#define GATHER_ROW(mn, index, size) \
	{ ZYDIS_MNEMONIC_##mn, X86_F_AVX2, 0, 0, build_gather, (const void *)(index << 4 | size << 8) }

static const struct insn_row rows[] = {
	MASKMOV(VMASKMOVPS, AVX, 4), MASKMOV(VMASKMOVPD, AVX, 8),
	MASKMOV(VPMASKMOVD, AVX2, 4), MASKMOV(VPMASKMOVQ, AVX2, 8),
	{ ZYDIS_MNEMONIC_MASKMOVDQU, X86_F_SSE2, 0, 0, build_maskmov_bytes, NULL },
	{ ZYDIS_MNEMONIC_VMASKMOVDQU, X86_F_AVX, 0, 0, build_maskmov_bytes, NULL },
	{ ZYDIS_MNEMONIC_MASKMOVQ, X86_F_SSE, 0, 0, build_maskmov_bytes, NULL },
	GATHER_ROW(VGATHERDPS, 4, 4), GATHER_ROW(VGATHERQPS, 8, 4),
	GATHER_ROW(VGATHERDPD, 4, 8), GATHER_ROW(VGATHERQPD, 8, 8),
	GATHER_ROW(VPGATHERDD, 4, 4), GATHER_ROW(VPGATHERQD, 8, 4),
	GATHER_ROW(VPGATHERDQ, 4, 8), GATHER_ROW(VPGATHERQQ, 8, 8),
	{ ZYDIS_MNEMONIC_VZEROALL, X86_F_AVX, 0, 0, build_vzero, (const void *)0 },
	{ ZYDIS_MNEMONIC_VZEROUPPER, X86_F_AVX, 0, 0, build_vzero, (const void *)16 },
	{ ZYDIS_MNEMONIC_LDMXCSR, X86_F_SSE, 0, 0, build_mxcsr, NULL },
	{ ZYDIS_MNEMONIC_VLDMXCSR, X86_F_AVX, 0, 0, build_mxcsr, NULL },
	{ ZYDIS_MNEMONIC_STMXCSR, X86_F_SSE, 0, 0, build_mxcsr, NULL },
	{ ZYDIS_MNEMONIC_VSTMXCSR, X86_F_AVX, 0, 0, build_mxcsr, NULL },
};

const struct insn_rows insn_rows_vec = { rows, ARRAY_SIZE(rows) };
