/* SPDX-License-Identifier: MIT */
/*
 * x87 instructions that are about the state itself: environments, saves, FWAIT.
 * They work on the image, whose FXSAVE layout holds all that the older formats
 * do.  SDM 1, 8.1.10 and figures 8-9 to 8-12; 10.5.
 */
#include <Zydis/Zydis.h>

#include "x86/cpu/insn/vec.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"

#define FSW_ES_B 0x8080u
#define ENV_MAX 28

static struct xsave_image *image(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	x86_vec_put(cpu);
	vec_normalize(cpu);
	return &cpu->vec->image;
}

/* ------------------------------------------------------------------ tags */

static unsigned int classify(const uint8_t *st)
{
	uint64_t mantissa = *(const uint64_t *)st;
	unsigned int exponent = *(const uint16_t *)(st + 8) & 0x7fff;

	if (!exponent)
		return mantissa ? 2 : 1;
	return exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

static uint16_t full_tags(const struct xsave_image *m)
{
	unsigned int top = m->fsw >> 11 & 7;
	uint16_t tags = 0;

	for (unsigned int r = 0; r < 8; r++) {
		unsigned int tag = m->ftw >> r & 1 ? classify(m->st[(r - top) & 7]) : 3;

		tags |= tag << (2 * r);
	}
	return tags;
}

static uint8_t short_tags(uint16_t full)
{
	uint8_t tags = 0;

	for (unsigned int r = 0; r < 8; r++)
		if ((full >> (2 * r) & 3) != 3)
			tags |= 1u << r;
	return tags;
}

/* The registers of the image are counted from the top of the stack: a new top turns them. */
static void set_top(struct xsave_image *m, unsigned int top)
{
	unsigned int by = (top - (m->fsw >> 11)) & 7;
	uint64_t old[8][2];

	if (!by)
		return;
	for (unsigned int r = 0; r < 16; r++)
		old[r / 2][r & 1] = ((const uint64_t *)m->st)[r];
	for (unsigned int r = 0; r < 16; r++)
		((uint64_t *)m->st)[r] = old[(r / 2 + by) & 7][r & 1];
}

static void set_status(struct xsave_image *m, uint16_t fcw, uint16_t fsw)
{
	set_top(m, fsw >> 11);
	m->fcw = fcw;
	m->fsw = fsw;
	vec_settle_x87(m);
}

/* ------------------------------------------------------------------ environments */

static bool real_format(const struct x86_cpu *cpu)
{
	return !x86_protected(cpu) || x86_vm86(cpu);
}

/* Returns the bytes used: 14 or 28.  The selectors are not kept: they read as zero, as on CPUs that deprecate them. */
static unsigned int make_env(const struct x86_cpu *cpu, const struct xsave_image *m, bool op16, uint8_t *out)
{
	uint16_t w[7] = { m->fcw, m->fsw, full_tags(m), (uint16_t)m->fip, 0, (uint16_t)m->fdp, 0 };
	uint32_t d[7] = { 0xffff0000 | m->fcw, 0xffff0000 | m->fsw, 0xffff0000 | w[2], (uint32_t)m->fip,
			  (uint32_t)(m->fop & 0x7ff) << 16, (uint32_t)m->fdp, 0xffff0000 };

	if (real_format(cpu)) {
		w[4] = (m->fip >> 16 & 15) << 12 | (m->fop & 0x7ff);
		w[6] = (m->fdp >> 16 & 15) << 12;
		d[3] = 0xffff0000 | (uint16_t)m->fip;
		d[4] = (uint32_t)(m->fip >> 16 & 0xffff) << 12 | (m->fop & 0x7ff);
		d[5] = 0xffff0000 | (uint16_t)m->fdp;
		d[6] = (uint32_t)(m->fdp >> 16 & 0xffff) << 12;
	}
	for (unsigned int k = 0; k < 7; k++) {
		if (op16)
			((uint16_t *)out)[k] = w[k];
		else
			((uint32_t *)out)[k] = d[k];
	}
	return op16 ? 14 : 28;
}

static void take_env(const struct x86_cpu *cpu, struct xsave_image *m, bool op16, const uint8_t *in)
{
	uint32_t f[7];

	for (unsigned int k = 0; k < 7; k++)
		f[k] = op16 ? ((const uint16_t *)in)[k] : ((const uint32_t *)in)[k];
	set_status(m, f[0], f[1]);
	m->ftw = short_tags(f[2]);
	if (real_format(cpu)) {
		m->fip = (uint16_t)f[3] | (uint64_t)(f[4] >> 12 & (op16 ? 0xf : 0xffff)) << 16;
		m->fop = f[4] & 0x7ff;
		m->fdp = (uint16_t)f[5] | (uint64_t)(f[6] >> 12 & (op16 ? 0xf : 0xffff)) << 16;
	} else {
		m->fip = f[3];
		m->fop = op16 ? 0 : f[4] >> 16 & 0x7ff;
		m->fdp = f[5];
	}
	m->xstate_bv |= XFEATURE_X87;
}

static void init_x87(struct xsave_image *m)
{
	set_top(m, 0);
	m->fcw = 0x37f;
	m->fsw = m->fop = 0;
	m->ftw = 0;
	m->fip = m->fdp = 0;
	m->xstate_bv |= XFEATURE_X87;
}

/* FLDENV, FRSTOR and FLDCW wait; those named FN... do not. */
static void wait_x87(struct x86_cpu *cpu, const struct xsave_image *m)
{
	if (m->fsw & 0x80)
		x86_raise(cpu, X86_MF);
}

static void fnstenv(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i);
	uint8_t env[ENV_MAX];
	unsigned int n = make_env(cpu, m, i->opsize == 2, env);
	gva_t a = ea(cpu, i, n, true);

	mem_probe_write(cpu, a, n);
	mem_write_block(cpu, a, env, n);
	m->fcw |= 0x3f;         /* all exceptions masked, after the store */
	m->fsw &= ~FSW_ES_B;
	NEXT(cpu, i);
}

static void fldenv(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i);
	uint8_t env[ENV_MAX];
	unsigned int n = i->opsize == 2 ? 14 : 28;

	wait_x87(cpu, m);
	mem_read_block(cpu, ea(cpu, i, n, false), env, n);
	take_env(cpu, m, i->opsize == 2, env);
	NEXT(cpu, i);
}

static void fnsave(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i);
	uint8_t area[ENV_MAX + 80];
	unsigned int n = make_env(cpu, m, i->opsize == 2, area);
	gva_t a;

	for (unsigned int r = 0; r < 8; r++)
		for (unsigned int k = 0; k < 10; k++)
			area[n++] = m->st[r][k];
	a = ea(cpu, i, n, true);
	mem_probe_write(cpu, a, n);
	mem_write_block(cpu, a, area, n);
	init_x87(m);
	NEXT(cpu, i);
}

static void frstor(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i);
	uint8_t area[ENV_MAX + 80];
	unsigned int n = i->opsize == 2 ? 14 : 28;

	wait_x87(cpu, m);
	mem_read_block(cpu, ea(cpu, i, n + 80, false), area, n + 80);
	take_env(cpu, m, i->opsize == 2, area);
	for (unsigned int r = 0; r < 8; r++) {
		for (unsigned int k = 0; k < 10; k++)
			m->st[r][k] = area[n + 10 * r + k];
		for (unsigned int k = 10; k < 16; k++)
			m->st[r][k] = 0;
	}
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ FXSAVE, FXRSTOR */

/*
 * An area that is not in memory is nothing that KVM gives to a client: em_fxsave() and em_fxrstor() do not get it,
 * which is no failure to the emulator, so the instruction runs again, for ever if nothing else happens.
 */
static gva_t fx_operand(struct x86_cpu *cpu, const struct insn *i, bool write)
{
	gva_t a = ea(cpu, i, 512, write);

	if (a & 15)
		x86_raise_ec(cpu, X86_GP, 0);
	if (unlikely(!mem_is_memory(cpu, a, 512, write))) {
		x86_charge(cpu, 16);
		x86_leave(cpu, X86_LEAVE_RETRY);
	}
	return a;
}

/* EFER.FFXSR: at CPL 0 in 64-bit mode the XMM registers stay out of it, MXCSR does not.  APM 2, 3.1.7. */
static unsigned int fx_bytes(const struct x86_cpu *cpu)
{
	if ((cpu->efer & EFER_FFXSR) && cpu->mode == CODE64 && !cpu->cpl)
		return 160;
	return cpu->mode == CODE64 ? 416 : 288;         /* XMM8 to 15 only in 64-bit mode */
}

static void fxsave(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image copy = *image(cpu, i);
	gva_t a = fx_operand(cpu, i, true);

	if (i->opsize != 8) {
		copy.fip = (uint32_t)copy.fip;
		copy.fdp = (uint32_t)copy.fdp;
	}
	mem_write_block(cpu, a, &copy, fx_bytes(cpu));
	NEXT(cpu, i);
}

static void fxrstor(struct x86_cpu *cpu, const struct insn *i)
{
	struct xsave_image *m = image(cpu, i), in;
	unsigned int n = fx_bytes(cpu);

	/* The reserved end of the area is read too: it may fault. */
	mem_read_block(cpu, fx_operand(cpu, i, false), &in, 512);
	if (in.mxcsr & ~m->mxcsr_mask)
		x86_raise_ec(cpu, X86_GP, 0);
	in.mxcsr_mask = m->mxcsr_mask;
	if (i->opsize != 8) {
		in.fip = (uint32_t)in.fip;
		in.fdp = (uint32_t)in.fdp;
	}
	for (unsigned int k = 0; k < n / 8; k++)
		((uint64_t *)m)[k] = ((const uint64_t *)&in)[k];
	set_status(m, m->fcw, m->fsw);
	m->xstate_bv |= XFEATURE_X87 | XFEATURE_SSE;
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ control */

static void fninit(struct x86_cpu *cpu, const struct insn *i)
{
	init_x87(image(cpu, i));
	NEXT(cpu, i);
}

/* These neither wait for exceptions nor count as the last x87 instruction: a stub without the note. */
static void run_stub(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	((vec_stub *)(uintptr_t)i->ptr)(NULL, cpu->regs, cpu->fl);
#ifdef __SANITIZE_ADDRESS__
	x86_vec_put(cpu);
#endif
	NEXT(cpu, i);
}

static void run_stub_read(struct x86_cpu *cpu, const struct insn *i)
{
	const void *p;

	at(cpu, i);
	vec_gate(cpu, i);
	vec_wait_x87(cpu);
	p = mem_read_ptr(cpu, ea(cpu, i, i->memsize, false), i->memsize);
	vec_gate(cpu, i);
	((vec_stub *)(uintptr_t)i->ptr)((void *)p, cpu->regs, cpu->fl);
#ifdef __SANITIZE_ADDRESS__
	x86_vec_put(cpu);
#endif
	NEXT(cpu, i);
}

static void run_stub_write(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a;

	at(cpu, i);
	vec_gate(cpu, i);
	a = ea(cpu, i, i->memsize, true);
	vec_run_write(cpu, i, a, mem_write_ptr(cpu, a, i->memsize));
	NEXT(cpu, i);
}

/* FWAIT heeds CR0.MP and TS together, and not EM.  SDM 3A 2.5. */
static void fwait(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		x86_raise(cpu, X86_NM);
	x86_vec_put(cpu);
	if (cpu->vec->image.fsw & 0x80)
		x86_raise(cpu, X86_MF);
	NEXT(cpu, i);
}

static int build_area(struct insn *i, const struct insn_build *b)
{
	build_mem(i, b, 0);
	i->src2 = VEC_X87;
	i->fn = (insn_fn *)(uintptr_t)b->row->arg;
	return 0;
}

static int build_plain(struct insn *i, const struct insn_build *b)
{
	i->src2 = VEC_X87;
	i->fn = (insn_fn *)(uintptr_t)b->row->arg;
	return 0;
}

static int build_stub(struct insn *i, const struct insn_build *b)
{
	i->src2 = VEC_X87;
	i->fn = run_stub;
	if (build_is_mem(b, 0)) {
		build_mem(i, b, 0);
		i->fn = i->ea_flags & EA_WRITE ? run_stub_write : run_stub_read;
	}
	i->ptr = vec_make_stub(b);
	return i->ptr ? 0 : -2 /* ENOENT */;
}

#define AREA(mn, feat, fn) { ZYDIS_MNEMONIC_##mn, X86_F_##feat, 0, 0, build_area, (const void *)(uintptr_t)fn }
#define STUB(mn) { ZYDIS_MNEMONIC_##mn, X86_F_FPU, 0, 0, build_stub, NULL }

static const struct insn_row rows[] = {
	AREA(FNSTENV, FPU, fnstenv), AREA(FLDENV, FPU, fldenv), AREA(FNSAVE, FPU, fnsave), AREA(FRSTOR, FPU, frstor),
	AREA(FXSAVE, FXSR, fxsave), AREA(FXSAVE64, FXSR, fxsave),
	AREA(FXRSTOR, FXSR, fxrstor), AREA(FXRSTOR64, FXSR, fxrstor),
	{ ZYDIS_MNEMONIC_FNINIT, X86_F_FPU, 0, 0, build_plain, (const void *)(uintptr_t)fninit },
	{ ZYDIS_MNEMONIC_FWAIT, X86_F_FPU, 0, 0, build_plain, (const void *)(uintptr_t)fwait },
	STUB(FNCLEX), STUB(FNSTSW), STUB(FNSTCW), STUB(FLDCW),
};

const struct insn_rows insn_rows_fpu = { rows, ARRAY_SIZE(rows) };
