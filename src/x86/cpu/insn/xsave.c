/* SPDX-License-Identifier: MIT */
/*
 * The XSAVE family, between the image and guest memory.  SDM 1, 13.7 to 13.12.
 * Where each component lies in the standard format is the image's own layout.
 */
#include <Zydis/Zydis.h>

#include "x86/cpu/insn/vec.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

#define XCOMP_COMPACT (1ULL << 63)
#define HEADER_OFFSET 512
#define MXCSR_OFFSET 24
#define MXCSR_INITIAL 0x1f80u

struct area {
	gva_t at;
	uint64_t rfbm;          /* requested-feature bitmap */
	struct xsave_image *m;
};

/* The checks that all forms share, and the image brought up to date. */
static struct area begin(struct x86_cpu *cpu, const struct insn *i, bool write, uint64_t enabled)
{
	struct area r;

	at(cpu, i);
	if (!(cpu->cr4 & CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	if (cpu->cr0 & CR0_TS)
		x86_raise(cpu, X86_NM);
	/* Alignment comes before the segment's limit. */
	if ((ea_offset(cpu, i) + cpu->regs[i->segbase]) & 63)
		x86_raise_ec(cpu, X86_GP, 0);
	r.at = ea(cpu, i, 64, write);
	x86_vec_put(cpu);
	vec_normalize(cpu);
	r.m = &cpu->vec->image;
	*(uint64_t *)vec_component(cpu->vec, XCOMP_PKRU) = cpu->pkru;
	r.rfbm = (cpu->regs[R_RDX] << 32 | (uint32_t)cpu->regs[R_RAX]) & enabled;
	return r;
}

static uint64_t in_use(const struct x86_cpu *cpu, const struct xsave_image *m)
{
	return (m->xstate_bv & ~XFEATURE_PKRU) | (cpu->pkru ? XFEATURE_PKRU : 0);
}

/* The extended components in @which; the legacy two have places of their own in both formats. */
#define FOR_COMPONENTS(n, which)                                \
	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++)  \
		if ((which) >> (n) & 1)

/*
 * What of component @n is saved and loaded: outside 64-bit mode the registers that can be named there.
 * SDM 1 13.5.2, 13.5.5, 13.7.
 */
static unsigned int length(const struct x86_cpu *cpu, unsigned int n)
{
	unsigned int size = cpu->vec->layout.c[n].size;

	if (cpu->mode == CODE64 || n == XCOMP_OPMASK || n == XCOMP_PKRU)
		return size;
	return n == XCOMP_HI16_ZMM ? 0 : size / 2;
}

/* Offset of @n in an area with the components @xcomp: standard if that has no XCOMP_COMPACT. */
static unsigned int place(const struct x86_cpu *cpu, unsigned int n, uint64_t xcomp)
{
	unsigned int at = HEADER_OFFSET + XSAVE_HEADER;

	if (!(xcomp & XCOMP_COMPACT))
		return cpu->vec->layout.c[n].offset;
	FOR_COMPONENTS(k, xcomp & ((1u << n) - 1))
		at += cpu->vec->layout.c[k].size;
	return at;
}

/* KVM's emulator knows none of the family: an area of a device is a failure, before the device is asked. */
static void in_memory(struct x86_cpu *cpu, gva_t at, bool write)
{
	if (unlikely(!mem_is_memory(cpu, at, 64, write)))
		x86_internal(cpu, "an XSAVE area that is not in memory");
}

static void probe(struct x86_cpu *cpu, gva_t at, unsigned int n)
{
	for (unsigned int done = 0; done < n; done += 64)
		in_memory(cpu, at + done, true);
}

static void put(struct x86_cpu *cpu, const struct area *r, unsigned int at, const void *from, unsigned int n)
{
	mem_write_block(cpu, r->at + at, from, n);
}

/* Writes the components in @save.  A 32-bit operand size keeps the pointers at 32 bits. */
static void save(struct x86_cpu *cpu, const struct insn *i, const struct area *r, uint64_t which, uint64_t mxcsr_with,
		 uint64_t xcomp)
{
	const uint8_t *m = (const uint8_t *)r->m;

	probe(cpu, r->at, HEADER_OFFSET + XSAVE_HEADER);
	FOR_COMPONENTS(n, which) {
		unsigned int at = place(cpu, n, xcomp);

		probe(cpu, r->at + (at & ~63u), (at & 63) + length(cpu, n));
	}
	if (which & XFEATURE_X87) {
		uint8_t head[24];

		for (unsigned int k = 0; k < 24; k++)
			head[k] = m[k];
		if (i->opsize != 8)
			*(uint32_t *)(head + 12) = *(uint32_t *)(head + 20) = 0;
		put(cpu, r, 0, head, 24);
		put(cpu, r, 32, r->m->st, 128);
	}
	if (mxcsr_with)
		put(cpu, r, MXCSR_OFFSET, m + MXCSR_OFFSET, 8);
	if (which & XFEATURE_SSE)
		put(cpu, r, 160, r->m->xmm, cpu->mode == CODE64 ? 256 : 128);
	FOR_COMPONENTS(n, which)
		put(cpu, r, place(cpu, n, xcomp), vec_component(cpu->vec, n), length(cpu, n));
}

static void xsave(struct x86_cpu *cpu, const struct insn *i)
{
	struct area r = begin(cpu, i, true, cpu->xcr0);
	uint64_t used = in_use(cpu, r.m);
	uint64_t bv;

	/* XSAVEOPT (aux) leaves out what is in its initial state.  MXCSR goes with SSE or AVX. */
	save(cpu, i, &r, i->aux ? r.rfbm & used : r.rfbm, r.rfbm & (XFEATURE_SSE | XFEATURE_AVX), 0);
	bv = (ld64(cpu, r.at + HEADER_OFFSET) & ~r.rfbm) | (used & r.rfbm);
	st64(cpu, r.at + HEADER_OFFSET, bv);
	NEXT(cpu, i);
}

/* XSAVEC, and XSAVES: no supervisor component exists. */
static void xsavec(struct x86_cpu *cpu, const struct insn *i)
{
	struct area r = begin(cpu, i, true, cpu->xcr0 | cpu->xss);
	uint64_t xcomp = XCOMP_COMPACT | r.rfbm;
	uint64_t used = in_use(cpu, r.m);

	if (r.m->mxcsr != MXCSR_INITIAL)
		used |= XFEATURE_SSE;
	save(cpu, i, &r, r.rfbm & used, r.rfbm & used & XFEATURE_SSE, xcomp);
	st64(cpu, r.at + HEADER_OFFSET, used & r.rfbm);
	st64(cpu, r.at + HEADER_OFFSET + 8, xcomp);
	NEXT(cpu, i);
}

static void zero(void *p, unsigned int bytes)
{
	for (unsigned int k = 0; k < bytes / 8; k++)
		((uint64_t *)p)[k] = 0;
}

static void take(struct x86_cpu *cpu, const struct area *r, unsigned int at, void *to, unsigned int n)
{
	mem_read_block(cpu, r->at + at, to, n);
}

static bool header_ok(const struct x86_cpu *cpu, const uint64_t *h, uint64_t enabled, bool compact_only)
{
	uint64_t rest = 0;

	for (unsigned int k = 2; k < 8; k++)
		rest |= h[k];
	if (h[1] & XCOMP_COMPACT) {
		if (!x86_has(cpu, X86_F_XSAVEC))
			return false;
		return !(h[1] & ~XCOMP_COMPACT & ~enabled) && !(h[0] & ~(h[1] & ~XCOMP_COMPACT)) && !rest;
	}
	/* Standard form: bytes 23:8 must be zero.  XRSTORS takes no standard form. */
	return !compact_only && !h[1] && !h[2] && !(h[0] & ~enabled);
}

/*
 * Commits @in, which differs from the image where a component was loaded.  Outside
 * 64-bit mode the registers that cannot be named there stay, so a component of which
 * the rest is initialized may still be in use.
 */
static void finish(struct x86_cpu *cpu, struct xsave_image *m, const struct xsave_image *in, uint64_t rfbm,
		   uint64_t bv)
{
	const uint64_t half = XFEATURE_SSE | 1u << XCOMP_AVX | 1u << XCOMP_ZMM_HI256 | 1u << XCOMP_HI16_ZMM;
	uint64_t init = rfbm & ~bv & ~XFEATURE_PKRU;

	*m = *in;
	vec_settle_x87(m);
	m->xstate_bv = (m->xstate_bv & ~(cpu->mode == CODE64 ? rfbm : rfbm & ~half)) |
		       (bv & rfbm & ~XFEATURE_PKRU);
	if (init & XFEATURE_SSE)
		zero(m->xmm, cpu->mode == CODE64 ? 256 : 128);
	FOR_COMPONENTS(n, init)
		zero(vec_component(cpu->vec, n), length(cpu, n));
	vec_normalize(cpu);
	if (rfbm & XFEATURE_PKRU) {
		uint32_t pkru = bv & XFEATURE_PKRU ? *(uint32_t *)vec_component(cpu->vec, XCOMP_PKRU) : 0;

		if (pkru != cpu->pkru) {
			cpu->pkru = pkru;
			mmu_pkey_changed(cpu);
		}
	}
}

static void xrstor(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t enabled = i->aux ? cpu->xcr0 | cpu->xss : cpu->xcr0;
	struct area r = begin(cpu, i, false, enabled);
	struct xsave_image in = *r.m;
	uint64_t h[8], load;
	bool compact;

	in_memory(cpu, r.at + HEADER_OFFSET, false);
	take(cpu, &r, HEADER_OFFSET, h, sizeof(h));
	if (!header_ok(cpu, h, enabled, i->aux))
		x86_raise_ec(cpu, X86_GP, 0);
	compact = h[1] & XCOMP_COMPACT;
	load = h[0] & r.rfbm;
	if (load & XFEATURE_X87) {
		take(cpu, &r, 0, &in, 24);
		take(cpu, &r, 32, in.st, 128);
		if (i->opsize != 8) {
			in.fip = (uint32_t)in.fip;
			in.fdp = (uint32_t)in.fdp;
		}
	}
	/* The standard form loads MXCSR whenever SSE or AVX is asked for, whatever XSTATE_BV says. */
	if (compact ? load & XFEATURE_SSE : r.rfbm & (XFEATURE_SSE | XFEATURE_AVX))
		take(cpu, &r, MXCSR_OFFSET, &in.mxcsr, 4);
	else if (compact && (r.rfbm & XFEATURE_SSE))
		in.mxcsr = MXCSR_INITIAL;
	if (in.mxcsr & ~r.m->mxcsr_mask)
		x86_raise_ec(cpu, X86_GP, 0);
	if (load & XFEATURE_SSE)
		take(cpu, &r, 160, in.xmm, cpu->mode == CODE64 ? 256 : 128);
	FOR_COMPONENTS(n, load)
		take(cpu, &r, place(cpu, n, h[1]), (uint8_t *)&in + cpu->vec->layout.c[n].offset, length(cpu, n));
	finish(cpu, r.m, &in, r.rfbm, h[0]);
	NEXT(cpu, i);
}

static int build_xsave(struct insn *i, const struct insn_build *b)
{
	build_mem(i, b, 0);
	i->fn = (insn_fn *)(uintptr_t)b->row->arg;
	return 0;
}

/* XSAVEOPT, XRSTORS: the same bodies with aux set. */
static int build_xsave_aux(struct insn *i, const struct insn_build *b)
{
	i->aux = 1;
	return build_xsave(i, b);
}

#define FN(f) (const void *)(uintptr_t)f
#define BOTH(mn, feat, flags, build, fn)                                                        \
	{ ZYDIS_MNEMONIC_##mn, X86_F_##feat, flags, 0, build, FN(fn) },                         \
	{ ZYDIS_MNEMONIC_##mn##64, X86_F_##feat, flags, 0, build, FN(fn) }

static const struct insn_row rows[] = {
	BOTH(XSAVE, XSAVE, 0, build_xsave, xsave),
	BOTH(XSAVEOPT, XSAVEOPT, 0, build_xsave_aux, xsave),
	BOTH(XSAVEC, XSAVEC, 0, build_xsave, xsavec),
	BOTH(XSAVES, XSAVES, ROW_CPL0, build_xsave, xsavec),
	BOTH(XRSTOR, XSAVE, 0, build_xsave, xrstor),
	BOTH(XRSTORS, XSAVES, ROW_CPL0, build_xsave_aux, xrstor),
};

const struct insn_rows insn_rows_xsave = { rows, ARRAY_SIZE(rows) };
