/* SPDX-License-Identifier: MIT */
/* The guest's vector state while it is put away: the XSAVE image, and what goes with it.  For vec.c, insn/{vec,fpu,xsave}.c. */
#ifndef X86_CPU_VEC_STATE_H
#define X86_CPU_VEC_STATE_H

#include "x86/cpu/vec.h"

#define XFEATURE_X87 (1ULL << 0)
#define XFEATURE_SSE (1ULL << 1)
#define XFEATURE_AVX (1ULL << 2)
#define XFEATURE_AVX512 (7ULL << 5)
#define XFEATURE_PKRU (1ULL << 9)

#define MXCSR_MM (1u << 17)             /* AMD's misaligned exception mask; APM 1, 4.2.2 */

#define XSAVE_LEGACY 512
#define XSAVE_HEADER 64
#define XSAVE_AVX_OFFSET 576
#define XSAVE_IMAGE_SIZE 2752           /* the largest of known layouts, in whole cache lines */

/* SDM 1, 10.5.1: the FXSAVE area, and 13.4: the header behind it. */
struct xsave_image {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved1;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t reserved2[96];
	uint64_t xstate_bv, xcomp_bv;
	uint8_t header_rest[48];
	uint8_t ymm_high[16][16];
	uint8_t rest[XSAVE_IMAGE_SIZE - XSAVE_AVX_OFFSET - 256];
};
_Static_assert(sizeof(struct xsave_image) == XSAVE_IMAGE_SIZE, "XSAVE image");
_Static_assert(__builtin_offsetof(struct xsave_image, xstate_bv) == 512, "XSAVE header");
_Static_assert(__builtin_offsetof(struct xsave_image, ymm_high) == XSAVE_AVX_OFFSET, "XSAVE AVX");

struct vec_state {
	struct xsave_image image __attribute__((aligned(64)));
	struct xsave_image undo __attribute__((aligned(64)));
	/* Constants of the host, dear to ask for: the layout, and the components that XSAVE and XRSTOR move. */
	struct xsave_layout layout;
	uint64_t moved;
	bool undo_valid;        /* the instruction in hand has run, its memory write is still to come */
	/* MXCSR.MM while the rest is in the host's registers: the host's CPU may not know it, and heeds no operand of ours. */
	uint32_t mm;
	/* What the host's own x87 would record is a stub's address: these are the guest's. */
	uint64_t fip, fdp;
	uint16_t fop;
	/* The host's control words, restored by x86_vec_put(). */
	uint32_t host_mxcsr;
	uint16_t host_fcw;
};

/** vec_component - where component @n (2 and up) of @v's image is. */
static inline void *vec_component(struct vec_state *v, unsigned int n)
{
	return (uint8_t *)&v->image + v->layout.c[n].offset;
}

/**
 * vec_byte - byte @at of vector register @reg, 0 to 31; aligned as @at is.  The parts of a register are in three
 * components, registers 16 and up in a fourth.  SDM 1, 13.5.
 */
static inline uint8_t *vec_byte(struct vec_state *v, unsigned int reg, unsigned int at)
{
	if (reg >= 16)
		return (uint8_t *)vec_component(v, XCOMP_HI16_ZMM) + (reg - 16) * 64 + at;
	if (at >= 32)
		return (uint8_t *)vec_component(v, XCOMP_ZMM_HI256) + reg * 32 + at - 32;
	return at < 16 ? &v->image.xmm[reg][at] : &v->image.ymm_high[reg][at - 16];
}

/** vec_get, vec_set - element @n of @reg, elements of @size bytes, 4 or 8. */
static inline uint64_t vec_get(struct vec_state *v, unsigned int reg, unsigned int n, unsigned int size)
{
	const uint8_t *p = vec_byte(v, reg, n * size);

	return size == 4 ? *(const uint32_t *)p : *(const uint64_t *)p;
}

static inline void vec_set(struct vec_state *v, unsigned int reg, unsigned int n, unsigned int size, uint64_t value)
{
	uint8_t *p = vec_byte(v, reg, n * size);

	if (size == 4)
		*(uint32_t *)p = value;
	else
		*(uint64_t *)p = value;
}

/** vec_clear_from - zeroes @reg from byte @at (a multiple of 4) up: what each VEX and EVEX instruction does. */
void vec_clear_from(struct vec_state *v, unsigned int reg, unsigned int at);

/** vec_opmask - mask register @k, in the image. */
static inline uint64_t *vec_opmask(struct vec_state *v, unsigned int k)
{
	return (uint64_t *)vec_component(v, XCOMP_OPMASK) + k;
}

/** vec_mxcsr_mask - the bits of MXCSR that @cpu's guest has: what FXSAVE tells it.  SDM 1, 11.6.6; APM 2, 11.5.10. */
uint32_t vec_mxcsr_mask(const struct x86_cpu *cpu);

/**
 * vec_normalize - writes the initial values of components that xstate_bv says are in their initial state, and the
 * MXCSR mask.
 */
void vec_normalize(struct x86_cpu *cpu);

/** vec_settle_x87 - gives reserved bits of FCW their fixed values, and ES and B that of the pending exceptions. */
void vec_settle_x87(struct xsave_image *m);

/** vec_undo - the instruction is left after its stub ran: takes the stub's effect back. */
void vec_undo(struct x86_cpu *cpu);

#endif
