/* SPDX-License-Identifier: MIT */
/*
 * What AVX-512 adds to host stubs (vec.c): memory operands under a mask.
 *
 * An element that is masked off is not accessed and cannot fault (SDM 2A 2.7.11),
 * but in the NF exception classes, where the whole operand must be accessible.  The host does the
 * same, so where the whole operand is memory at hand the stub works on that.  Else
 * it works on a copy, to and from which the elements that count are moved one by one.
 *
 * Gathers and scatters go an element at a time, and clear its bit in the mask
 * with it: a fault leaves what the instruction goes on from.
 */
#include "x86/cpu/insn/vec.h"

#include <Zydis/Zydis.h>

#include "x86/cpu/insn/ops.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"

#define NO_ENTRY (-2)           /* -ENOENT */

/*
 * Of a masked memory operand: src is the mask register, dst the number of its bits
 * that count, opsize the bytes of an element.  Several bits may ask for the same
 * element (broadcasts); VEC_PACKED.
 */

static uint64_t low_bits(unsigned int n)
{
	return n < 64 ? (1ULL << n) - 1 : ~0ULL;
}

/* Which elements of memory the mask asks for.  The state must have been put away. */
static uint64_t wanted(struct x86_cpu *cpu, const struct insn *i)
{
	unsigned int n = i->memsize / i->opsize;
	uint64_t mask = 0, asked = 0;

	if (!i->src)
		mask = low_bits(i->dst);        /* K0: no mask */
	else if (cpu->vec->image.xstate_bv >> XCOMP_OPMASK & 1)
		mask = *vec_opmask(cpu->vec, i->src) & low_bits(i->dst);
	if (i->aux & VEC_PACKED) {
		for (; mask; mask &= mask - 1)
			asked = asked << 1 | 1;
		return asked;
	}
	for (unsigned int at = 0; at < i->dst; at += n)
		asked |= mask >> at;
	return asked & low_bits(n);
}

/*
 * Which elements to move where the whole operand is not at hand.  The operand must
 * be aligned if any is; or, on some hosts, even if none is.
 */
static uint64_t begin(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t asked, a = ea_offset(cpu, i) + cpu->regs[i->segbase];

	x86_vec_put(cpu);
	asked = wanted(cpu, i);
	if ((a & (i->memsize - 1)) && (i->aux & (asked ? VEC_ALIGNED : VEC_ALIGNED_UNASKED)))
		x86_raise_ec(cpu, X86_GP, 0);
	return asked;
}

/* Address of element @k: only what is accessed is checked. */
static ALWAYS_INLINE gva_t lane(struct x86_cpu *cpu, const struct insn *i, unsigned int k, bool write)
{
	if (likely(!(i->ea_flags & EA_SLOW)))
		return ea(cpu, i, i->opsize, write) + k * i->opsize;
	return ea_slow_part(cpu, i, k * i->opsize, i->opsize, write);
}

static SLOW_FN void read_elements(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t buf[8] __attribute__((aligned(64))) = { 0 };
	uint64_t asked = begin(cpu, i);

	for (unsigned int k = 0; k < 64 && asked >> k; k++)
		if (asked >> k & 1)
			mem_read_block(cpu, lane(cpu, i, k, false),
				       (uint8_t *)buf + k * i->opsize, i->opsize);
	vec_gate(cpu, i);
	vec_call(cpu, i, buf);
	VEC_SETTLE(cpu);
}

static void probe_elements(struct x86_cpu *cpu, const struct insn *i, uint64_t asked)
{
	if (i->aux & VEC_UNSUPPRESSED)
		mem_probe_write(cpu, ea(cpu, i, i->memsize, true), i->memsize);
	for (unsigned int k = 0; k < 64 && asked >> k; k++)
		if (asked >> k & 1)
			mem_probe_write(cpu, lane(cpu, i, k, true), i->opsize);
}

static SLOW_FN void write_elements(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t buf[8] __attribute__((aligned(64))) = { 0 };
	uint64_t asked = begin(cpu, i);

	probe_elements(cpu, i, asked);
	vec_gate(cpu, i);
	vec_call(cpu, i, buf);
	x86_vec_put(cpu);
	for (unsigned int k = 0; k < 64 && asked >> k; k++)
		if (asked >> k & 1)
			mem_write_block(cpu, lane(cpu, i, k, true),
					(uint8_t *)buf + k * i->opsize, i->opsize);
}

/* The whole operand, if it is host memory of which each byte may be accessed; or NULL. */
#define WHOLE(hit)                                                                      \
	gva_t a;                                                                        \
	at(cpu, i);                                                                     \
	vec_gate(cpu, i);                                                               \
	if (unlikely(i->ea_flags & EA_SLOW))                                            \
		return NULL;                                                            \
	a = ea_fast(cpu, i);                                                            \
	if (unlikely(i->aux & VEC_ALIGNED) && unlikely(a & (i->memsize - 1)))           \
		return NULL;                                                            \
	return (void *)hit(cpu->ctx, a, i->memsize)

static ALWAYS_INLINE void *whole_read(struct x86_cpu *cpu, const struct insn *i)
{
	WHOLE(tlb_hit_read);
}

static ALWAYS_INLINE void *whole_write(struct x86_cpu *cpu, const struct insn *i)
{
	WHOLE(tlb_hit_write);
}

static void masked_read(struct x86_cpu *cpu, const struct insn *i)
{
	void *p = whole_read(cpu, i);

	if (likely(p)) {
		vec_call(cpu, i, p);
		VEC_SETTLE(cpu);
	} else {
		read_elements(cpu, i);
	}
	NEXT(cpu, i);
}

static void masked_write(struct x86_cpu *cpu, const struct insn *i)
{
	void *p = whole_write(cpu, i);

	if (likely(p)) {
		vec_call(cpu, i, p);
		VEC_SETTLE(cpu);
	} else {
		write_elements(cpu, i);
	}
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ building */

/* SDM 2A 2.8: classes whose masked-off elements cannot fault. */
static bool suppresses_faults(const struct insn_build *b)
{
	switch (b->zi->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11:
		return true;
	default:
		return false;
	}
}

/* How many elements of memory are spread over how many of the vector. */
static const struct {
	uint8_t from, to;
} broadcasts[ZYDIS_BROADCAST_MODE_MAX_VALUE + 1] = {
	[ZYDIS_BROADCAST_MODE_1_TO_2] = { 1, 2 }, [ZYDIS_BROADCAST_MODE_1_TO_4] = { 1, 4 },
	[ZYDIS_BROADCAST_MODE_1_TO_8] = { 1, 8 }, [ZYDIS_BROADCAST_MODE_1_TO_16] = { 1, 16 },
	[ZYDIS_BROADCAST_MODE_1_TO_32] = { 1, 32 }, [ZYDIS_BROADCAST_MODE_1_TO_64] = { 1, 64 },
	[ZYDIS_BROADCAST_MODE_2_TO_4] = { 2, 4 }, [ZYDIS_BROADCAST_MODE_2_TO_8] = { 2, 8 },
	[ZYDIS_BROADCAST_MODE_2_TO_16] = { 2, 16 }, [ZYDIS_BROADCAST_MODE_4_TO_8] = { 4, 8 },
	[ZYDIS_BROADCAST_MODE_4_TO_16] = { 4, 16 }, [ZYDIS_BROADCAST_MODE_8_TO_16] = { 8, 16 },
};

/* Bits of the mask that count: the fewer of what the destination holds and what memory gives. */
static unsigned int mask_bits(const struct insn_build *b, int m)
{
	const ZydisDecodedOperand *dst = &b->op[0];
	unsigned int n = b->op[m].element_count;

	if (dst->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(dst->reg.value) != ZYDIS_REGCLASS_MASK &&
	    dst->element_count < n)
		n = dst->element_count;
	return n;
}

/* Every mask register with all bits set, or none: for vec_must_align(), which runs the instruction. */
#define KXNOR(k) "kxnorw %%k0, %%k0, %%k" #k "\n\t"
#define KXOR(k) "kxorw %%k0, %%k0, %%k" #k "\n\t"
#define SET_MASKS(K) __asm__ volatile(K(1) K(2) K(3) K(4) K(5) K(6) K(7) : : : "memory")

/*
 * Building tries the instruction, so the host must have AVX-512: not so where GFNI or
 * VAES are offered alone, or a client claims more than there is.
 */
static bool host_runs(const struct insn_build *b)
{
	return b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	       (b->cpuid->supported_xcr0 & XFEATURE_AVX512) == XFEATURE_AVX512;
}

static int build_packed(struct insn *i, const struct insn_build *b);

int evex_build(struct insn *i, const struct insn_build *b)
{
	ZydisBroadcastMode broadcast = b->zi->avx.broadcast.mode;
	int r, m = vec_mem_operand(b);
	unsigned int elements;
	bool write;

	if (!host_runs(b))
		return NO_ENTRY;
	SET_MASKS(KXNOR);
	r = vec_build(i, b);
	if (r || m < 0 || b->zi->avx.mask.reg == ZYDIS_REGISTER_NONE)
		return r;
	write = b->op[m].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	/* The elements of a compress are written one by one even without a mask. */
	if (b->zi->avx.mask.reg == ZYDIS_REGISTER_K0 && !(write && b->row->build == build_packed))
		return 0;
	/* What is masked off is never written, all the same. */
	if (!suppresses_faults(b) && !write)
		return 0;
	i->aux |= suppresses_faults(b) ? 0 : VEC_UNSUPPRESSED;
	SET_MASKS(KXOR);
	if ((i->aux & VEC_ALIGNED) && vec_must_align(i->ptr))
		i->aux |= VEC_ALIGNED_UNASKED;
	i->src = ZydisRegisterGetId(b->zi->avx.mask.reg);
	i->dst = broadcast ? broadcasts[broadcast].to : mask_bits(b, m);
	elements = broadcast ? broadcasts[broadcast].from : i->dst;
	i->opsize = i->memsize / elements;
	i->fn = write ? masked_write : masked_read;
	return 0;
}

int evex_build_vl(struct insn *i, const struct insn_build *b)
{
	if (b->zi->avx.vector_length < 512 && !x86_cpuid_has(b->cpuid, X86_F_AVX512VL))
		return NO_ENTRY;
	return evex_build(i, b);
}

/* Of class E4NF in the SDM, but not in Zydis' tables. */
static int build_unsuppressed(struct insn *i, const struct insn_build *b)
{
	if (!host_runs(b) || (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && b->zi->avx.vector_length < 512 &&
			      !x86_cpuid_has(b->cpuid, X86_F_AVX512VL)))
		return NO_ENTRY;
	return vec_build(i, b);
}

/* Expand and compress: the elements are side by side in memory. */
static int build_packed(struct insn *i, const struct insn_build *b)
{
	int r = evex_build_vl(i, b);

	if (!r)
		i->aux |= VEC_PACKED;
	return r;
}

/* --------------------------------------------------------------------- gathers and scatters */

/* In aux: index register 4:0, index bytes 8:5, element bytes 12:9; the number of elements is in opsize. */
#define INDEXED(reg, index, size) ((reg) | (index) << 5 | (size) << 9)

/* What is touched is in use, so that what the image holds counts. */
static struct vec_state *state(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = cpu->vec;

	at(cpu, i);
	vec_gate(cpu, i);
	x86_vec_put(cpu);
	vec_normalize(cpu);
	v->image.xstate_bv |= XFEATURE_SSE | XFEATURE_AVX | XFEATURE_AVX512;
	return v;
}

static ALWAYS_INLINE gva_t element(struct x86_cpu *cpu, const struct insn *i, unsigned int k, bool write)
{
	unsigned int isize = i->aux >> 5 & 15;

	return vec_index_ea(cpu, i, vec_get(cpu->vec, i->aux & 31, k, isize), isize, i->aux >> 9 & 15, write);
}

/* It will not be asked for again, so what the client answered is used up. */
static ALWAYS_INLINE void element_done(struct x86_cpu *cpu, uint64_t *mask, unsigned int k)
{
	*mask &= ~(1ULL << k);
	x86_replay_done(cpu);
}

static void gather(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = state(cpu, i);
	uint64_t *mask = vec_opmask(v, i->src);
	unsigned int size = i->aux >> 9 & 15;

	for (unsigned int k = 0; k < i->opsize; k++)
		if (*mask >> k & 1) {
			gva_t a = element(cpu, i, k, false);

			vec_set(v, i->dst, k, size, size == 4 ? ld32(cpu, a) : ld64(cpu, a));
			element_done(cpu, mask, k);
		}
	vec_clear_from(v, i->dst, i->opsize * size);
	*mask = 0;
	NEXT(cpu, i);
}

static void scatter(struct x86_cpu *cpu, const struct insn *i)
{
	struct vec_state *v = state(cpu, i);
	uint64_t *mask = vec_opmask(v, i->src);
	unsigned int size = i->aux >> 9 & 15;

	for (unsigned int k = 0; k < i->opsize; k++)
		if (*mask >> k & 1) {
			gva_t a = element(cpu, i, k, true);

			if (size == 4)
				st32(cpu, a, vec_get(v, i->dst, k, 4));
			else
				st64(cpu, a, vec_get(v, i->dst, k, 8));
			element_done(cpu, mask, k);
		}
	*mask = 0;
	NEXT(cpu, i);
}

/* row->arg: index bytes and element bytes, as in INDEXED. */
static int build_indexed(struct insn *i, const struct insn_build *b)
{
	unsigned int isize = (uintptr_t)b->row->arg >> 5 & 15, size = (uintptr_t)b->row->arg >> 9 & 15;
	bool write = b->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
	int m = write ? 0 : 2;
	unsigned int index;

	if (b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX ||
	    (b->zi->avx.vector_length < 512 && !x86_cpuid_has(b->cpuid, X86_F_AVX512VL)))
		return NO_ENTRY;
	index = ZydisRegisterGetId(b->op[m].mem.index);
	i->src2 = VEC_AVX512;
	i->dst = ZydisRegisterGetId(b->op[write ? 2 : 0].reg.value);
	i->src = ZydisRegisterGetId(b->op[1].reg.value);
	/* SDM 2: without a mask, and with the indices in the destination: #UD. */
	if (!i->src || (!write && i->dst == index))
		return NO_ENTRY;
	build_mem(i, b, m);
	i->index = R_ZERO;
	i->aux = INDEXED(index, isize, size);
	i->opsize = b->zi->avx.vector_length / 8 / (isize > size ? isize : size);
	i->fn = write ? scatter : gather;
	return 0;
}

#define PACKED(mn, feat) { ZYDIS_MNEMONIC_##mn, X86_F_##feat, 0, 0, build_packed, NULL }
#define UNSUPPRESSED(mn, feat) { ZYDIS_MNEMONIC_##mn, X86_F_##feat, 0, 0, build_unsuppressed, NULL }
#define INDEXED_ROW(mn, isize, size) \
	{ ZYDIS_MNEMONIC_##mn, X86_F_AVX512F, 0, 0, build_indexed, (const void *)INDEXED(0ul, isize, size) }
#define BOTH_WAYS(kind, isize, size) INDEXED_ROW(VGATHER##kind, isize, size), INDEXED_ROW(VSCATTER##kind, isize, size)
#define BOTH_WAYS_INT(kind, isize, size) \
	INDEXED_ROW(VPGATHER##kind, isize, size), INDEXED_ROW(VPSCATTER##kind, isize, size)

static const struct insn_row rows[] = {
	PACKED(VEXPANDPS, AVX512F), PACKED(VEXPANDPD, AVX512F), PACKED(VPEXPANDD, AVX512F), PACKED(VPEXPANDQ, AVX512F),
	PACKED(VPEXPANDB, AVX512_VBMI2), PACKED(VPEXPANDW, AVX512_VBMI2),
	PACKED(VCOMPRESSPS, AVX512F), PACKED(VCOMPRESSPD, AVX512F), PACKED(VPCOMPRESSD, AVX512F),
	PACKED(VPCOMPRESSQ, AVX512F), PACKED(VPCOMPRESSB, AVX512_VBMI2), PACKED(VPCOMPRESSW, AVX512_VBMI2),
	UNSUPPRESSED(VGF2P8AFFINEQB, GFNI), UNSUPPRESSED(VGF2P8AFFINEINVQB, GFNI), UNSUPPRESSED(VDBPSADBW, AVX512BW),
	UNSUPPRESSED(VCVTNE2PS2BF16, AVX512_BF16),
	BOTH_WAYS(DPS, 4, 4), BOTH_WAYS(QPS, 8, 4), BOTH_WAYS(DPD, 4, 8), BOTH_WAYS(QPD, 8, 8),
	BOTH_WAYS_INT(DD, 4, 4), BOTH_WAYS_INT(QD, 8, 4), BOTH_WAYS_INT(DQ, 4, 8), BOTH_WAYS_INT(QQ, 8, 8),
};

const struct insn_rows insn_rows_evex = { rows, ARRAY_SIZE(rows) };
