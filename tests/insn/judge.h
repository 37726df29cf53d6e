/* SPDX-License-Identifier: MIT */
/*
 * The judge: every instruction form is run by the host CPU and by the engine
 * from the same state, and the two outcomes are compared.
 *
 *	forms.c    which forms there are: a walk over the opcode maps
 *	instance.c one instruction of a form: registers, addressing, immediates
 *	state.c    a state to run it from, out of a seed
 *	vregs.c    vector registers in XSAVE images of the host's layout
 *	native.c   the host's side (native.S: the way in and out)
 *	engine.c   the engine's side
 *	compare.c  what must agree
 *	exhaustive.c  8-bit arithmetic over all operands
 *	judge.c    options, workers, reports
 *
 * Both sides see the same linear addresses: CODE_LIN and ARENA_LIN.  A case is
 * determined by mode, instruction bytes and seed alone, which is what a
 * reproducer names.
 */
#ifndef TESTS_INSN_JUDGE_H
#define TESTS_INSN_JUDGE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "../rnd.h"
#include "layout.h"

enum jmode { MODE64, MODE32, MODE16, MODES };

#define PAGE 4096u
#define ARENA_BYTES (ARENA_PAGES * PAGE)
#define CODE_BYTES (2 * PAGE)
#define FILL 0xf4               /* HLT around the instruction: #GP(0) at CPL 3, so it ends every run */

/*
 * An XSAVE area: x87, SSE, AVX where every CPU has them (SDM 1, 13.4), then
 * AVX-512, of which only hosts that have it make use.
 */
struct vregs {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved1;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	uint8_t st[8][16];
	uint8_t xmm[16][16];
	uint8_t reserved2[96];
	uint64_t header[8];
	uint8_t ymm_high[16][16];
	uint64_t k[8];
	uint8_t zmm_high[16][32];       /* of ZMM0 to ZMM15 */
	uint8_t zmm[16][64];            /* ZMM16 to ZMM31 */
} __attribute__((aligned(64)));

struct state {
	uint64_t gpr[16];
	uint64_t rip;           /* offset in CS: linear but for 16-bit mode */
	uint64_t rflags;
	uint64_t fsbase, gsbase;
	struct vregs v;
};

/* How a run ended.  DONE: the instruction completed. */
#define DONE (-1)
#define BROKEN 0x100            /* the engine gave up; see engine_why() */
struct outcome {
	struct state s;
	int vector;
	uint32_t error;
	uint64_t cr2;
};

/* An instruction, decoded; or the first of a sequence, with the bytes of all. */
struct code {
	enum jmode mode;
	uint8_t len, bytes[160];
	uint16_t at;            /* where in the code pages */
	bool branch;            /* where it ends is to be found out */
	const struct code *next;        /* the following instruction of the sequence */
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

struct form {
	uint64_t key;
	enum jmode mode;
	uint16_t mnemonic;
	uint8_t category;
	unsigned int index;     /* in the list */
	uint8_t bytes[15], len; /* the plainest instruction of the form */
};

struct rng {
	uint64_t s;
};

static inline uint64_t rnd(struct rng *r)
{
	return splitmix64(&r->s);
}

static inline unsigned int below(struct rng *r, unsigned int n)
{
	return (rnd(r) >> 32) * n >> 32;
}

/* True once in @n times. */
static inline bool one_in(struct rng *r, unsigned int n)
{
	return !below(r, n);
}

/* forms.c */
bool decode(struct code *c, enum jmode mode, const uint8_t *bytes, unsigned int avail);
uint64_t form_key(const struct code *c);
uint64_t code_start(const struct code *c);              /* its RIP */
bool landed(const struct code *c, int vector, uint64_t rip);    /* on the fill: the instruction completed */
bool runnable(const struct code *c);
bool compares_strings(const struct code *c);
bool is_masked(const struct code *c);           /* elements, by a mask register */
bool wants_alignment(const struct code *c);     /* masked, and its operand in memory is to be aligned */
bool is_wide_gather(const struct code *c);
bool fits_sequence(const struct code *c);
struct form *forms_list(unsigned int *count);
void code_text(const struct code *c, char *buf, unsigned int n);

/* instance.c */
#define SEQUENCE_MAX 8
void place(struct code *c, struct rng *r);
void join_sequence(struct code *whole, const struct code *part, unsigned int n);
void make_instance(const struct form *f, struct rng *r, struct code *c);
uint64_t pick_address(struct rng *r, unsigned int size);

/* state.c: fills @s, and the arena through @arena. */
void make_state(const struct code *c, uint64_t seed, struct state *s, uint8_t *arena);

uint64_t operand_address(const struct code *c, const struct state *s, const ZydisDecodedOperand *o);

static inline unsigned int room(const struct code *c)
{
	return c->at + c->len > CODE_BYTES ? CODE_BYTES - c->at : c->len;
}

/* vregs.c.  Components are numbered as in XCR0. */
#define AVX512_COMPONENTS 0xe0u
uint64_t host_components(void);         /* those of struct vregs that the host has */
unsigned int xsave_area_bytes(void);    /* no XSAVE area of these components is larger */
void vregs_to_image(uint8_t *image, const struct vregs *v, uint64_t components);
void vregs_from_image(struct vregs *v, const uint8_t *image, uint64_t components);

/* native.c */
const char *native_missing(void);       /* what this host lacks for the judge, or NULL */
bool native_has(enum jmode mode);       /* may code of @mode run?  Not 16-bit code where LDTs are forbidden */
int native_init(void);
void native_code(const struct code *c);
uint8_t *native_arena(void);            /* a view that is always writable */
bool native_maps(uint64_t linear);      /* is there memory that is not the test's? */
void native_protect(unsigned int page, bool present, bool writable);
void native_run(const struct code *c, const struct state *s, struct outcome *o);

/* engine.c */
int engine_init(void);
uint64_t engine_components(void);       /* those that the engine has too */
void engine_code(const struct code *c);
uint8_t *engine_arena(void);
void engine_protect(unsigned int page, bool present, bool writable);
void engine_run(const struct code *c, const struct state *s, struct outcome *o);
const char *engine_why(void);

/* exhaustive.c: how many operations differ; adds to @cases. */
unsigned int exhaustive(uint64_t *cases);

/* compare.c: NULL, or what differs. */
const char *compare(const struct code *c, const struct state *before, const struct outcome *n,
		    const struct outcome *e, bool strict);
void explain(const struct code *c, const struct state *before, const struct outcome *n,
	     const struct outcome *e);

#endif
