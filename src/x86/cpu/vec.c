/* SPDX-License-Identifier: MIT */
/*
 * Moving the guest's vector state between its XSAVE image and the host's
 * registers, and the gates in front of it.
 *
 * PKRU is not among the components that move: the engine checks protection keys
 * in software, and the host's own PKRU stays.
 */
#include "x86/cpu/vec.h"

#include <cpuid.h>
#include <stdlib.h>

#include "x86/cpu/exception.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"

#define MOVED (XFEATURE_X87 | XFEATURE_SSE | XFEATURE_AVX | XFEATURE_AVX512)

static uint64_t read_host_xcr0(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax | (uint64_t)edx << 32;
}

/* What a host without the component is given: Intel's.  SDM 1, 13.5. */
void vec_layout(struct xsave_layout *l)
{
	static const struct xsave_layout fallback = { {
		[XCOMP_AVX] = { XSAVE_AVX_OFFSET, 256 }, [XCOMP_OPMASK] = { 1088, 64 },
		[XCOMP_ZMM_HI256] = { 1152, 512 }, [XCOMP_HI16_ZMM] = { 1664, 1024 }, [XCOMP_PKRU] = { 2688, 8 },
	} };

	*l = fallback;
	for (unsigned int n = XCOMP_AVX; n < XCOMP_COUNT; n++) {
		uint32_t eax = 0, ebx = 0, ecx, edx;

		if (l->c[n].size && __get_cpuid_count(0xd, n, &eax, &ebx, &ecx, &edx) && eax == l->c[n].size)
			l->c[n].offset = ebx;
	}
}

/* AVX-512 as a whole, or not: what XSETBV takes. */
uint64_t vec_supported_xcr0(void)
{
	uint64_t host = read_host_xcr0() & MOVED;

	if ((host & XFEATURE_AVX512) != XFEATURE_AVX512)
		host &= ~XFEATURE_AVX512;
	/* PKRU needs no host support. */
	return host ? host | XFEATURE_PKRU : 0;
}

struct vec_state *vec_state_create(void)
{
	struct vec_state *v = aligned_alloc(64, sizeof(*v));

	if (v)
		vec_state_reset(v, false);
	return v;
}

void vec_state_destroy(struct vec_state *v)
{
	free(v);
}

/* SDM 3A table 9-1: INIT leaves the vector state alone. */
void vec_state_reset(struct vec_state *v, bool init)
{
	if (init)
		return;
	for (size_t i = 0; i < sizeof(*v) / 8; i++)
		((uint64_t *)v)[i] = 0;
	vec_layout(&v->layout);
	v->moved = vec_supported_xcr0() & MOVED;
	v->image.fcw = 0x37f;   /* as after FNINIT: what KVM hands out at creation */
	v->image.mxcsr = 0x1f80;
	v->image.mxcsr_mask = 0xffff;
	v->image.xstate_bv = XFEATURE_X87 | XFEATURE_SSE;
}

void *vec_xsave_image(struct vec_state *v)
{
	return &v->image;
}

static void load(struct x86_cpu *cpu)
{
	struct vec_state *v = cpu->vec;
	uint64_t mask = v->moved;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(v->host_mxcsr), "=m"(v->host_fcw));
	v->fip = v->image.fip;
	v->fdp = v->image.fdp;
	v->fop = v->image.fop;
	v->mm = v->image.mxcsr & MXCSR_MM;
	v->image.mxcsr &= ~MXCSR_MM;
	if (mask)
		__asm__ volatile("xrstor64 %0" : : "m"(v->image), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)));
	else
		__asm__ volatile("fxrstor64 %0" : : "m"(v->image));
	cpu->vec_live = true;
	x86_vec_update_gate(cpu);
}

void x86_vec_put(struct x86_cpu *cpu)
{
	struct vec_state *v = cpu->vec;
	uint64_t mask;

	if (!cpu->vec_live)
		return;
	x86_charge(cpu, 4);
	mask = v->moved;
	if (mask)
		__asm__ volatile("xsave64 %0" : "+m"(v->image) : "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
				 : "memory");
	else
		__asm__ volatile("fxsave64 %0" : "=m"(v->image));
	if (mask & XFEATURE_AVX)
		__asm__ volatile("vzeroupper");
	__asm__ volatile("fninit\n\tfldcw %0\n\tldmxcsr %1" : : "m"(v->host_fcw), "m"(v->host_mxcsr));
	v->image.fip = v->fip;
	v->image.fdp = v->fdp;
	v->image.fop = v->fop;
	v->image.mxcsr |= v->mm;
	cpu->vec_live = false;
	x86_vec_update_gate(cpu);
}

static void zero(void *p, size_t n)
{
	__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(0) : "memory");
}

uint32_t vec_mxcsr_mask(const struct x86_cpu *cpu)
{
	return x86_has(cpu, X86_F_MISALIGNSSE) ? 0xffff | MXCSR_MM : 0xffff;
}

/* SDM 1 13.6: initial configurations. */
void vec_normalize(struct x86_cpu *cpu)
{
	struct vec_state *v = cpu->vec;
	struct xsave_image *m = &v->image;

	if (!(m->xstate_bv & XFEATURE_X87)) {
		zero(m, 24);
		m->fcw = 0x37f;
		zero(m->st, sizeof(m->st));
	}
	if (!(m->xstate_bv & XFEATURE_SSE))
		zero(m->xmm, sizeof(m->xmm));
	for (unsigned int n = XCOMP_AVX; n < XCOMP_PKRU; n++)
		if (!(m->xstate_bv >> n & 1))
			zero(vec_component(v, n), v->layout.c[n].size);
	m->mxcsr_mask = vec_mxcsr_mask(cpu);
}

void vec_clear_from(struct vec_state *v, unsigned int reg, unsigned int at)
{
	/* What is in its initial state is zero. */
	unsigned int end = reg >= 16 || (v->image.xstate_bv >> XCOMP_ZMM_HI256 & 1) ? 64 : 32;

	for (; at < end; at += 4)
		*(uint32_t *)vec_byte(v, reg, at) = 0;
}

void vec_settle_x87(struct xsave_image *m)
{
	m->fcw = (m->fcw & 0x1f7f) | 0x40;
	m->fsw &= ~0x8080;
	if (m->fsw & ~m->fcw & 0x3f)
		m->fsw |= 0x8080;
}

void vec_undo(struct x86_cpu *cpu)
{
	struct vec_state *v = cpu->vec;

	if (!v->undo_valid)
		return;
	v->undo_valid = false;
	x86_vec_put(cpu);
	for (size_t i = 0; i < sizeof(v->image) / 8; i++)
		((uint64_t *)&v->image)[i] = ((uint64_t *)&v->undo)[i];
}

/* ------------------------------------------------------------------ gates */

enum gate { GATE_OPEN, GATE_LOAD, GATE_NM, GATE_UD };

/* SDM 3A tables 9-2 (x87), 12-1 (MMX), 13-1 (SSE), SDM 1 14.x (AVX). */
static enum gate gate_of(const struct x86_cpu *cpu, enum vec_class c)
{
	bool ts = cpu->cr0 & CR0_TS, em = cpu->cr0 & CR0_EM;

	switch (c) {
	case VEC_X87:
		if (ts || em)
			return GATE_NM;
		break;
	case VEC_MMX:
		if (em)
			return GATE_UD;
		break;
	case VEC_SSE:
		if (em || !(cpu->cr4 & CR4_OSFXSR))
			return GATE_UD;
		break;
	default:
		if (!(cpu->cr4 & CR4_OSXSAVE) || !x86_protected(cpu) || x86_vm86(cpu))
			return GATE_UD;
		if ((cpu->xcr0 & (XFEATURE_SSE | XFEATURE_AVX)) != (XFEATURE_SSE | XFEATURE_AVX))
			return GATE_UD;
		if (c == VEC_AVX512 && (cpu->xcr0 & XFEATURE_AVX512) != XFEATURE_AVX512)
			return GATE_UD;
	}
	if (ts)
		return GATE_NM;
	return cpu->vec_live ? GATE_OPEN : GATE_LOAD;
}

void x86_vec_update_gate(struct x86_cpu *cpu)
{
	for (unsigned int c = 0; c < VEC_CLASSES; c++)
		cpu->vec_gate[c] = gate_of(cpu, c);
}

void x86_vec_enter(struct x86_cpu *cpu, enum vec_class c)
{
	switch (gate_of(cpu, c)) {
	case GATE_UD:
		x86_raise(cpu, X86_UD);
	case GATE_NM:
		x86_raise(cpu, X86_NM);
	case GATE_LOAD:
		load(cpu);
		break;
	case GATE_OPEN:
		break;
	}
}

/* An unmasked exception: the state, with its flags, is in the host's registers again. */
void x86_vec_fault(struct x86_cpu *cpu, enum vec_class c)
{
	x86_vec_put(cpu);
	/* Not the class: CVTTPS2PI waits for the x87 unit, and then may raise an exception of its own. */
	if (cpu->guard.trap == X86_MF)
		x86_raise(cpu, X86_MF);
	x86_raise(cpu, cpu->cr4 & CR4_OSXMMEXCPT ? X86_XM : X86_UD);
}

/* ------------------------------------------------------------------ sanitizers */

#if defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
/*
 * gcc calls this before each function that does not return, to take the poison
 * off the stack; no frame is poisoned (asan-stack=0, see meson.build), and the
 * runtime's own version would use vector registers while they are the guest's.
 */
void __asan_handle_no_return(void);
void __asan_handle_no_return(void)
{
}
#endif
