/* SPDX-License-Identifier: MIT */
/*
 * No-operations, fences, cache-line instructions, random numbers, time stamps,
 * CPUID, direct stores, BOUND and the undefined instructions.
 */
#include <errno.h>

#include <Zydis/Zydis.h>

#include "x86/cpu/insn/ops.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"

/* ------------------------------------------------------------------ nothing, and order */

static void nop(struct x86_cpu *cpu, const struct insn *i)
{
	NEXT(cpu, i);
}

/* 0F 0D is PREFETCHW and its like; with a register operand it is no NOP but undefined.  APM 3, PREFETCH. */
static int build_nop(struct insn *i, const struct insn_build *b)
{
	if (b->zi->opcode_map == ZYDIS_OPCODE_MAP_0F && b->zi->opcode == 0x0d && !build_is_mem(b, 0))
		return -ENOENT;
	i->fn = nop;
	return 0;
}

/*
 * So many PAUSEs, with at most so many instructions from one to the next, are a wait for another vCPU, which may
 * have no processor to run on.  Some 10 us; shorter waits cost nothing but a look at the count.
 */
#define SPIN_PAUSES 256
#define SPIN_GAP 128

SLOW_FN static void spin(struct x86_cpu *cpu)
{
	cpu->spin.count = 0;
	if (!cpu->env->spin)
		return;
	x86_vec_put(cpu);
	x86_charge(cpu, 16);
	cpu->env->spin(cpu);
}

static void pause_hint(struct x86_cpu *cpu, const struct insn *i)
{
	asm volatile("pause");
	if (cpu->insns - cpu->spin.insns > SPIN_GAP)
		cpu->spin.count = 0;
	cpu->spin.insns = cpu->insns;
	if (unlikely(++cpu->spin.count >= SPIN_PAUSES))
		spin(cpu);
	NEXT(cpu, i);
}

/* With REX.B the opcode is no NOP, and F3 before it no PAUSE: it exchanges R8 with RAX. */
#define XCHG_R8(bits)											\
static void xchg_r8_##bits(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	uint64_t r8 = cpu->regs[R_R8];									\
	PUT_##bits(cpu, R_R8, cpu->regs[R_RAX]);							\
	PUT_##bits(cpu, R_RAX, r8);									\
	NEXT(cpu, i);											\
}

XCHG_R8(16)
XCHG_R8(32)
XCHG_R8(64)

static int build_pause(struct insn *i, const struct insn_build *b)
{
	static insn_fn *const exchange[4] = { NULL, xchg_r8_16, xchg_r8_32, xchg_r8_64 };

	i->fn = b->zi->raw.rex.B ? exchange[build_width(i->opsize)] : pause_hint;
	return 0;
}

static void mfence(struct x86_cpu *cpu, const struct insn *i)
{
	asm volatile("mfence" : : : "memory");
	NEXT(cpu, i);
}

static void sfence(struct x86_cpu *cpu, const struct insn *i)
{
	asm volatile("sfence" : : : "memory");
	NEXT(cpu, i);
}

static void lfence(struct x86_cpu *cpu, const struct insn *i)
{
	asm volatile("lfence" : : : "memory");
	NEXT(cpu, i);
}

static void undefined(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_raise(cpu, X86_UD);
}

/* ------------------------------------------------------------------ random numbers */

#define RANDOM(name, bits)										\
static void name##bits##_r(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	U_##bits v;											\
	bool ok;											\
	asm volatile(#name " %[v]" : [v] "=r" (v), "=@ccc" (ok));					\
	PUT_##bits(cpu, i->dst, v);									\
	cpu->fl = ok ? AX_ONE | AX_CF : AX_ONE;								\
	NEXT(cpu, i);											\
}

#define RANDOM_ALL(name)										\
	RANDOM(name, 16)										\
	RANDOM(name, 32)										\
	RANDOM(name, 64)										\
static const struct insn_forms name##_forms = { { [FORM_R] = FORM_FNS_NO8(name, r) } };

RANDOM_ALL(rdrand)
RANDOM_ALL(rdseed)

/* ------------------------------------------------------------------ time stamps, CPUID */

static void read_tsc(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt icpt)
{
	uint64_t tsc;

	at(cpu, i);
	if ((cpu->cr4 & CR4_TSD) && cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
	x86_intercept(cpu, i, icpt, 0);
	x86_vec_put(cpu);
	tsc = cpu->env->tsc(cpu);
	/* L2 sees no time that it is not to live to. */
	if (unlikely(x86_nested_tsc_due(&cpu->nested, tsc))) {
		x86_request(cpu, X86_REQ_EVENT);
		x86_leave(cpu, X86_LEAVE_RETRY);
	}
	tsc = x86_nested_tsc(&cpu->nested, tsc);
	cpu->regs[R_RAX] = (uint32_t)tsc;
	cpu->regs[R_RDX] = tsc >> 32;
}

static void rdtsc(struct x86_cpu *cpu, const struct insn *i)
{
	read_tsc(cpu, i, ICPT_RDTSC);
	NEXT(cpu, i);
}

static void rdtscp(struct x86_cpu *cpu, const struct insn *i)
{
	read_tsc(cpu, i, ICPT_RDTSCP);
	cpu->regs[R_RCX] = (uint32_t)cpu->tsc_aux;
	NEXT(cpu, i);
}

static void rdpid(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[i->dst] = (uint32_t)cpu->tsc_aux;
	NEXT(cpu, i);
}

static int build_rdpid(struct insn *i, const struct insn_build *b)
{
	int n = build_gpr(b, 0);

	if (n < 0)
		return -ENOENT;
	i->dst = (uint8_t)n;
	i->fn = rdpid;
	return 0;
}

/* VMware's clocks are open to all, whatever CPL and CR4.PCE are; KVM with enable_vmware_backdoor does as it. */
static bool read_pmc(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	bool allowed = (cpu->cr4 & CR4_PCE) || !cpu->cpl || !x86_protected(cpu);

	if (cpu->vmware_backdoor && !cpu->env->vmware_pmc(cpu, index, value))
		return true;
	return allowed && cpu->env->rdpmc && !cpu->env->rdpmc(cpu, index, value);
}

/* SDM 2B, RDPMC. */
SLOW_FN static void do_rdpmc(struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t value = 0;

	x86_vec_put(cpu);
	x86_charge(cpu, 8);
	if (cpu->nested.in_guest && ((cpu->cr4 & CR4_PCE) || !cpu->cpl || !x86_protected(cpu)))
		x86_intercept(cpu, i, ICPT_RDPMC, 0);
	if (!read_pmc(cpu, (uint32_t)cpu->regs[R_RCX], &value))
		x86_raise_ec(cpu, X86_GP, 0);
	cpu->regs[R_RAX] = (uint32_t)value;
	cpu->regs[R_RDX] = value >> 32;
}

static void rdpmc(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	do_rdpmc(cpu, i);
	NEXT(cpu, i);
}

SLOW_FN static void do_cpuid(struct x86_cpu *cpu)
{
	uint32_t a = (uint32_t)cpu->regs[R_RAX], b, c = (uint32_t)cpu->regs[R_RCX], d;

	x86_vec_put(cpu);
	x86_charge(cpu, 8);
	cpu->env->cpuid(cpu, &a, &b, &c, &d);
	cpu->regs[R_RAX] = a;
	cpu->regs[R_RBX] = b;
	cpu->regs[R_RCX] = c;
	cpu->regs[R_RDX] = d;
}

static void cpuid(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	do_cpuid(cpu);
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ cache lines */

/*
 * CLFLUSH and its like are judged as a read of a byte, but read nothing: the
 * line may be a device's.  SDM 2A, CLFLUSH.
 */
static void clflush(struct x86_cpu *cpu, const struct insn *i)
{
	mem_probe_read(cpu, ea(cpu, i, 1, false));
	NEXT(cpu, i);
}

static int build_clflush(struct insn *i, const struct insn_build *b)
{
	if (!build_is_mem(b, 0))
		return -ENOENT;
	build_mem(i, b, 0);
	i->fn = clflush;
	return 0;
}

static void clzero(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a = ea(cpu, i, 1, true) & ~63ULL;
	volatile uint64_t *p = mem_write_ptr(cpu, a, 64);

	for (unsigned int n = 0; n < 8; n++)
		p[n] = 0;
	mem_commit(cpu, a, 64, (void *)p);
	NEXT(cpu, i);
}

/* Zydis heeds a segment prefix only where it knows of a memory operand.  64-bit mode obeys FS and GS alone. */
static enum x86_seg_reg prefix_segment(const struct insn_build *b)
{
	static const struct {
		uint8_t prefix, seg;
	} known[] = {
		{ 0x26, SEG_ES }, { 0x2e, SEG_CS }, { 0x36, SEG_SS }, { 0x3e, SEG_DS }, { 0x64, SEG_FS }, { 0x65, SEG_GS },
	};
	enum x86_seg_reg seg = SEG_DS;

	for (unsigned int k = 0; k < b->zi->raw.prefix_count; k++)
		for (unsigned int n = 0; n < ARRAY_SIZE(known); n++)
			if (b->zi->raw.prefixes[k].value == known[n].prefix &&
			    (b->mode != CODE64 || known[n].seg >= SEG_FS))
				seg = known[n].seg;
	return seg;
}

/* The line at rAX; a segment prefix is obeyed.  APM 3, CLZERO. */
static int build_clzero(struct insn *i, const struct insn_build *b)
{
	i->base = R_RAX;
	i->seg = prefix_segment(b);
	if (b->mode != CODE64 || i->seg >= SEG_FS)
		i->segbase = R_SEGBASE + i->seg;
	i->ea_flags |= EA_WRITE;
	if (b->zi->address_width == 32)
		i->ea_flags |= EA_ADDR32;
	if (b->zi->address_width == 16)
		i->ea_flags |= EA_ADDR16;
	if (b->mode != CODE64 || b->zi->address_width != 64)
		i->ea_flags |= EA_SLOW;
	i->fn = clzero;
	return 0;
}

/* ------------------------------------------------------------------ direct stores */

static void movdiri32_mr(struct x86_cpu *cpu, const struct insn *i)
{
	st32(cpu, ea(cpu, i, 4, true), (uint32_t)cpu->regs[i->src]);
	NEXT(cpu, i);
}

static void movdiri64_mr(struct x86_cpu *cpu, const struct insn *i)
{
	st64(cpu, ea(cpu, i, 8, true), cpu->regs[i->src]);
	NEXT(cpu, i);
}

static const struct insn_forms movdiri_forms = { {
	[FORM_MR] = { NULL, NULL, movdiri32_mr, movdiri64_mr },
	[FORM_MR_SLOW] = { NULL, NULL, movdiri32_mr, movdiri64_mr },
} };

/* From memory to ES:register; the destination must be aligned. */
SLOW_FN static void copy64(struct x86_cpu *cpu, const struct insn *i)
{
	const volatile uint64_t *src = mem_read_ptr(cpu, ea(cpu, i, 64, false), 64);
	struct insn to = *i;
	volatile uint64_t *dst;
	uint64_t v[8];
	gva_t a;

	for (unsigned int n = 0; n < 8; n++)
		v[n] = src[n];
	to.base = i->dst;
	to.index = R_ZERO;
	to.disp = 0;
	to.seg = SEG_ES;
	to.segbase = cpu->mode == CODE64 ? R_ZERO : R_SEGBASE + SEG_ES;
	to.ea_flags = (uint8_t)((i->ea_flags & ~EA_STACK) | EA_WRITE);
	a = i->ea_flags & EA_SLOW ? ea_slow(cpu, &to, 64, true) : cpu->regs[i->dst];
	if (a & 63)
		x86_raise_ec(cpu, X86_GP, 0);
	dst = mem_write_ptr(cpu, a, 64);
	for (unsigned int n = 0; n < 8; n++)
		dst[n] = v[n];
	mem_commit(cpu, a, 64, (void *)dst);
}

static void movdir64b(struct x86_cpu *cpu, const struct insn *i)
{
	copy64(cpu, i);
	NEXT(cpu, i);
}

static int build_movdir64b(struct insn *i, const struct insn_build *b)
{
	int n = build_gpr(b, 0);

	if (n < 0 || !build_is_mem(b, 1))
		return -ENOENT;
	build_mem(i, b, 1);
	i->dst = (uint8_t)n;
	i->fn = movdir64b;
	return 0;
}

/* ------------------------------------------------------------------ BOUND */

SLOW_FN static void out_of_bounds(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->exc = (struct x86_exception){ .vector = X86_BR, .insn_len = i->len };
	x86_leave(cpu, X86_LEAVE_EXCEPTION);
}

#define BOUND(bits)											\
static void bound##bits(struct x86_cpu *cpu, const struct insn *i)					\
{													\
	struct insn upper = *i;										\
	S_##bits low = (S_##bits)LD_##bits(cpu, ea(cpu, i, bits / 8, false)), high;			\
	upper.disp += bits / 8;										\
	high = (S_##bits)LD_##bits(cpu, ea_slow(cpu, &upper, bits / 8, false));				\
	S_##bits v = (S_##bits)cpu->regs[i->dst];							\
	if (v < low || v > high)									\
		out_of_bounds(cpu, i);									\
	NEXT(cpu, i);											\
}

BOUND(16)
BOUND(32)

static int build_bound(struct insn *i, const struct insn_build *b)
{
	int n = build_gpr(b, 0);

	if (n < 0 || !build_is_mem(b, 1))
		return -ENOENT;
	build_mem(i, b, 1);
	i->dst = (uint8_t)n;
	i->fn = build_opsize(b, 0) == 2 ? bound16 : bound32;
	return 0;
}

/* ------------------------------------------------------------------ rows */

#define PLAIN(MNEMONIC, feature, flags, fn)								\
	{ ZYDIS_MNEMONIC_##MNEMONIC, feature, flags, 0, build_plain, ROW_FN(fn) }
#define NOP(MNEMONIC) PLAIN(MNEMONIC, 0, 0, nop)

static const struct insn_row rows[] = {
	{ ZYDIS_MNEMONIC_NOP, 0, 0, 0, build_nop, NULL },
	NOP(PREFETCH), NOP(PREFETCHNTA), NOP(PREFETCHT0), NOP(PREFETCHT1), NOP(PREFETCHT2),
	NOP(PREFETCHW), NOP(PREFETCHWT1), NOP(CLDEMOTE),
	/* Hints, where CET and MPX are not offered. */
	NOP(ENDBR32), NOP(ENDBR64), NOP(RDSSPD), NOP(RDSSPQ),
	NOP(BNDMK), NOP(BNDCL), NOP(BNDCU), NOP(BNDCN), NOP(BNDMOV), NOP(BNDLDX), NOP(BNDSTX),
	{ ZYDIS_MNEMONIC_PAUSE, 0, 0, 0, build_pause, NULL },
	PLAIN(MFENCE, X86_F_SSE2, 0, mfence),
	PLAIN(SFENCE, X86_F_SSE, 0, sfence),
	PLAIN(LFENCE, X86_F_SSE2, 0, lfence),
	PLAIN(SERIALIZE, X86_F_SERIALIZE, ROW_SERIAL, nop),
	PLAIN(UD0, 0, 0, undefined), PLAIN(UD1, 0, 0, undefined), PLAIN(UD2, 0, 0, undefined),
	{ ZYDIS_MNEMONIC_RDRAND, X86_F_RDRAND, 0, 0, build_forms, &rdrand_forms },
	{ ZYDIS_MNEMONIC_RDSEED, X86_F_RDSEED, 0, 0, build_forms, &rdseed_forms },
	PLAIN(RDTSC, X86_F_TSC, 0, rdtsc),
	PLAIN(RDTSCP, X86_F_RDTSCP, 0, rdtscp),
	PLAIN(RDPMC, 0, 0, rdpmc),
	{ ZYDIS_MNEMONIC_RDPID, X86_F_RDPID, 0, 0, build_rdpid, NULL },
	PLAIN(CPUID, 0, ROW_SERIAL, cpuid),
	{ ZYDIS_MNEMONIC_CLFLUSH, X86_F_CLFLUSH, 0, 0, build_clflush, NULL },
	{ ZYDIS_MNEMONIC_CLFLUSHOPT, X86_F_CLFLUSHOPT, 0, 0, build_clflush, NULL },
	{ ZYDIS_MNEMONIC_CLWB, X86_F_CLWB, 0, 0, build_clflush, NULL },
	{ ZYDIS_MNEMONIC_CLZERO, X86_F_CLZERO, 0, 0, build_clzero, NULL },
	{ ZYDIS_MNEMONIC_MOVDIRI, X86_F_MOVDIRI, 0, 0, build_forms, &movdiri_forms },
	{ ZYDIS_MNEMONIC_MOVDIR64B, X86_F_MOVDIR64B, 0, 0, build_movdir64b, NULL },
	{ ZYDIS_MNEMONIC_BOUND, 0, ROW_NO_64, 0, build_bound, NULL },
};

const struct insn_rows insn_rows_misc = { rows, ARRAY_SIZE(rows) };
