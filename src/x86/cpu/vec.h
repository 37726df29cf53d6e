/* SPDX-License-Identifier: MIT */
/*
 * x87, MMX, SSE, AVX, AVX-512: executed by the host itself.
 *
 * The guest's state is kept in XSAVE standard format in cpu->vec; while
 * cpu->vec_live is set it sits in the host's registers instead.  vec_gate[c]
 * is 0 while an instruction of class c needs nothing but its stub; otherwise
 * x86_vec_enter() raises #UD or #NM, or loads the state, first.
 */
#ifndef X86_CPU_VEC_H
#define X86_CPU_VEC_H

#include <stddef.h>

#include "x86/cpu/cpu.h"

/** vec_state_create - initial state as after reset.  NULL when out of memory. */
struct vec_state *vec_state_create(void);
void vec_state_destroy(struct vec_state *v);
void vec_state_reset(struct vec_state *v, bool init);

/** x86_vec_enter - makes class @c runnable, or raises; called when vec_gate[c] is not 0. */
void x86_vec_enter(struct x86_cpu *cpu, enum vec_class c);

/** x86_vec_put - the guest's state into cpu->vec, the host's own control words back.  Cheap if not live. */
void x86_vec_put(struct x86_cpu *cpu);

/** x86_vec_update_gate - after CR0, CR4, XCR0, CPUID or vec_live changed. */
void x86_vec_update_gate(struct x86_cpu *cpu);

/** x86_vec_fault - a SIGFPE in a stub of class @c: raises #XM or #MF for the guest, does not return. */
void x86_vec_fault(struct x86_cpu *cpu, enum vec_class c) __attribute__((noreturn));

/* Components of an XSAVE area behind the legacy ones, by number.  SDM 1, 13.1. */
enum {
	XCOMP_AVX = 2, XCOMP_OPMASK = 5, XCOMP_ZMM_HI256 = 6, XCOMP_HI16_ZMM = 7, XCOMP_PKRU = 9,
	XCOMP_COUNT
};

/* Where the components are in the standard format; size 0: there is none of that number. */
struct xsave_layout {
	struct {
		uint16_t offset, size;
	} c[XCOMP_COUNT];
};

/**
 * vec_layout - the layout of the images here, which is the host's own where the host has the component: its XSAVE
 * writes it so, and clients ask the host for it (vendors differ).
 */
void vec_layout(struct xsave_layout *l);

/** vec_xsave_image - the XSAVE image (standard format), 64-byte aligned; state must be put. */
void *vec_xsave_image(struct vec_state *v);
/** vec_supported_xcr0 - components that the host has and the engine can execute. */
uint64_t vec_supported_xcr0(void);

#endif
