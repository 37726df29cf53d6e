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

#define XSAVE_LEGACY 512
#define XSAVE_HEADER 64
#define XSAVE_AVX_OFFSET 576
#define XSAVE_PKRU_OFFSET 2688          /* SDM 1, 13.5.7: where every CPU that has it puts it */
#define XSAVE_IMAGE_SIZE 2752

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
	uint64_t moved;         /* components that XSAVE and XRSTOR move: a constant of the host, dear to ask for */
	bool undo_valid;        /* the instruction in hand has run, its memory write is still to come */
	/* What the host's own x87 would record is a stub's address: these are the guest's. */
	uint64_t fip, fdp;
	uint16_t fop;
	/* The host's control words, restored by x86_vec_put(). */
	uint32_t host_mxcsr;
	uint16_t host_fcw;
};

/** vec_normalize - writes the initial values of components that xstate_bv says are in their initial state. */
void vec_normalize(struct vec_state *v);

/** vec_settle_x87 - gives reserved bits of FCW their fixed values, and ES and B that of the pending exceptions. */
void vec_settle_x87(struct xsave_image *m);

/** vec_undo - the instruction is left after its stub ran: takes the stub's effect back. */
void vec_undo(struct x86_cpu *cpu);

#endif
