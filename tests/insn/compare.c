// SPDX-License-Identifier: MIT
/*
 * What must agree.  Flags that the manuals leave undefined are masked: those
 * that Zydis lists, and those in the instruction's row.  Not compared: the last
 * x87 instruction and operand pointers, which name the host's own addresses.
 */
#include <stdio.h>
#include <string.h>

#include "judge.h"
#include "x86/cpu/insn.h"

#define FLAGS 0x244cd5u         /* status flags, DF, NT, AC, ID */
#define TASK_TOP 0x7ffffffff000ULL

static const struct insn_rows *const tables[] = {
	&insn_rows_alu, &insn_rows_mov, &insn_rows_shift, &insn_rows_muldiv, &insn_rows_bit, &insn_rows_bmi,
	&insn_rows_stack, &insn_rows_branch, &insn_rows_string, &insn_rows_flag, &insn_rows_atomic,
	&insn_rows_io, &insn_rows_misc, &insn_rows_bcd,
	&insn_rows_seg, &insn_rows_far, &insn_rows_syscall, &insn_rows_int, &insn_rows_cr, &insn_rows_msr,
	&insn_rows_cache, &insn_rows_desc, &insn_rows_xsave, &insn_rows_fpu, &insn_rows_vec,
};

/* The undefined flags by mnemonic, from the rows.  Bit 31: the row's list is complete. */
static uint32_t row_mask(unsigned int mnemonic)
{
	static uint32_t mask[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	static bool made;

	if (!made) {
		for (unsigned int t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
			for (unsigned int k = 0; k < tables[t]->count; k++)
				mask[tables[t]->row[k].mnemonic] |= tables[t]->row[k].undef |
					(tables[t]->row[k].flags & ROW_NO_UNDEF ? 1u << 31 : 0);
		made = true;
	}
	return mask[mnemonic];
}

static uint32_t undefined(const struct code *c)
{
	uint32_t mask = row_mask(c->zi.mnemonic);

	if (!(mask & 1u << 31) && c->zi.cpu_flags)
		mask |= c->zi.cpu_flags->undefined;
	return mask & FLAGS;
}

static const char *compare_wide(const struct vregs *a, const struct vregs *b)
{
	if (memcmp(a->k, b->k, sizeof(a->k)))
		return "mask register";
	if (memcmp(a->zmm_high, b->zmm_high, sizeof(a->zmm_high)))
		return "zmm";
	return memcmp(a->zmm, b->zmm, sizeof(a->zmm)) ? "zmm16-31" : NULL;
}

/* All registers in all modes: those that a mode cannot name must stay. */
static const char *compare_vectors(const struct vregs *a, const struct vregs *b)
{
	if (a->fcw != b->fcw)
		return "fcw";
	if (a->fsw != b->fsw)
		return "fsw";
	if (a->ftw != b->ftw)
		return "ftw";
	if (a->mxcsr != b->mxcsr)
		return "mxcsr";
	for (unsigned int k = 0; k < 8; k++)
		if (memcmp(a->st[k], b->st[k], 10))
			return "st";
	if (memcmp(a->xmm, b->xmm, sizeof(a->xmm)))
		return "xmm";
	if (memcmp(a->ymm_high, b->ymm_high, sizeof(a->ymm_high)))
		return "ymm";
	return engine_components() & AVX512_COMPONENTS ? compare_wide(a, b) : NULL;
}

/*
 * A gather that faults has dealt with elements up to the one that did (SDM 2,
 * VGATHERDPS), and both sides clear their bits of the mask; that the rest of the
 * destination behind the vector is zeroed comes last in the manual's operation,
 * with the first element on AMD's Zen 4.
 */
static void ignore_gather_rest(const struct code *c, const struct vregs *n, struct vregs *e)
{
	unsigned int reg = ZydisRegisterGetId(c->op[0].reg.value), size = c->zi.avx.vector_length / 8;

	if (reg >= 16) {
		memcpy(e->zmm[reg - 16] + size, n->zmm[reg - 16] + size, 64 - size);
		return;
	}
	if (size < 32)
		memcpy(e->ymm_high[reg], n->ymm_high[reg], 16);
	if (size < 64)
		memcpy(e->zmm_high[reg], n->zmm_high[reg], 32);
}

/* The kernel hides from user mode whether its own addresses are mapped. */
static uint32_t error_of(const struct outcome *o)
{
	return o->vector == 14 && o->cr2 >= TASK_TOP ? o->error | 1 : o->error;
}

/*
 * Which byte of an operand that is accessed in parts CR2 names is the
 * implementation's.
 */
static bool same_operand(const struct code *c, const struct state *before, uint64_t x, uint64_t y)
{
	if (c->next)
		return x - y + 1024 < 2048;
	for (int k = 0; k < c->zi.operand_count; k++) {
		unsigned int size = c->op[k].size / 8;
		uint64_t at;

		if (c->op[k].type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		at = operand_address(c, before, &c->op[k]);
		/* Zydis 4.0 takes a SIB byte without base for R13 where REX.B and 67 stand before it. */
		if (c->zi.address_width == 32 && c->mode == MODE64 && c->zi.raw.modrm.mod == 0 &&
		    c->zi.raw.modrm.rm == 4 && c->zi.raw.sib.base == 5)
			return true;
		if (size > 512)
			size = xsave_area_bytes();      /* of which Zydis counts the fixed part */
		if (c->op[k].mem.type == ZYDIS_MEMOP_TYPE_VSIB && x / PAGE == y / PAGE)
			return true;
		if (size > 10 &&
		    (size != 16 || c->zi.meta.category == ZYDIS_CATEGORY_DATAXFER ||
		     c->zi.meta.category == ZYDIS_CATEGORY_AVX) &&
		    x - at < size && y - at < size)
			return true;
		/* Elements under a mask are accessed one by one. */
		if (is_masked(c) && x - at < size && y - at < size)
			return true;
		if (size == 8 && c->zi.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ && x - at < 8 && y - at < 8)
			return true;
	}
	return false;
}

static bool xsave_form(const struct code *c)
{
	return c->zi.meta.category == ZYDIS_CATEGORY_XSAVE || c->zi.meta.category == ZYDIS_CATEGORY_XSAVEOPT;
}

/*
 * How much of an XSAVE area is looked at, and whether before the header is
 * judged, is the implementation's (SDM 1, 13.8.1): a fault behind the area's
 * first page, on either side, leaves nothing to compare.
 */
static bool open_area(const struct code *c, const struct state *before, const struct outcome *o)
{
	for (int k = 0; k < c->zi.operand_count && xsave_form(c) && o->vector == 14; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			uint64_t at = operand_address(c, before, &c->op[k]);

			if (o->cr2 - at < xsave_area_bytes() && o->cr2 / PAGE != at / PAGE)
				return true;
		}
	return false;
}

/*
 * Whether an operand of which the mask asks for no element must be aligned all
 * the same differs: the manual's table for class E1 (SDM 2, 2.8) does not ask for
 * the mask, and AMD's Zen 4 does.
 */
static bool open_alignment(const struct code *c, const struct state *before)
{
	for (int k = 0; k < c->zi.operand_count_visible && wants_alignment(c); k++) {
		const ZydisDecodedOperand *o = &c->op[k];
		unsigned int n = o->element_count;
		uint64_t mask = before->v.k[ZydisRegisterGetId(c->zi.avx.mask.reg)];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && !(n < 64 ? mask & ((1ULL << n) - 1) : mask))
			return operand_address(c, before, o) % (o->size / 8);
	}
	return false;
}

/*
 * Elements behind the end of a segment of 4 GiB may be outside it or at its start
 * (SDM 3A, 5.3): on AMD's Zen 4 those under a mask register are outside.
 */
static bool wraps(const struct code *c, const struct state *before)
{
	for (int k = 0; k < c->zi.operand_count && c->mode == MODE32; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    operand_address(c, before, &c->op[k]) + c->op[k].size / 8 > 1ULL << 32)
			return true;
	return false;
}

/*
 * Whether of a 16-byte operand of which only the lower half is used all is read differs (SDM 2, UNPCKLPS): AMD's
 * Zen 4 reads the half where MXCSR.MM lets the operand lie across the end of a page.
 */
static bool open_half(const struct code *c, const struct state *before)
{
	static const uint16_t low[] = {
		ZYDIS_MNEMONIC_PSLLW, ZYDIS_MNEMONIC_PSLLD, ZYDIS_MNEMONIC_PSLLQ, ZYDIS_MNEMONIC_PSRLW,
		ZYDIS_MNEMONIC_PSRLD, ZYDIS_MNEMONIC_PSRLQ, ZYDIS_MNEMONIC_PSRAW, ZYDIS_MNEMONIC_PSRAD,
		ZYDIS_MNEMONIC_PUNPCKLBW, ZYDIS_MNEMONIC_PUNPCKLWD, ZYDIS_MNEMONIC_PUNPCKLDQ,
		ZYDIS_MNEMONIC_PUNPCKLQDQ, ZYDIS_MNEMONIC_UNPCKLPS, ZYDIS_MNEMONIC_UNPCKLPD,
	};
	uint64_t at = operand_address(c, before, &c->op[1]);

	if (!(before->v.mxcsr >> 17 & 1) || c->op[1].type != ZYDIS_OPERAND_TYPE_MEMORY || c->op[1].size != 128)
		return false;
	for (unsigned int k = 0; k < sizeof(low) / sizeof(low[0]); k++)
		if (c->zi.mnemonic == low[k])
			return (at + 7) / PAGE != (at + 15) / PAGE;
	return false;
}

static bool open_wrap(const struct code *c, const struct state *before)
{
	return is_masked(c) && wraps(c, before);
}

/*
 * The instruction of a sequence that faulted had such an operand, masked or not:
 * Zen 4 has been seen to tell of the page of its beginning.
 */
static bool open_wrap_in_sequence(const struct code *c, const struct outcome *n, const struct outcome *e)
{
	uint64_t rip = code_start(c);

	if (n->s.rip != e->s.rip)
		return false;
	for (; c; rip += c->zi.length, c = c->next)
		if (rip == n->s.rip)
			return wraps(c, &n->s);
	return false;
}

/* An access to one of the operands in hand failed: in a segment or a page. */
static bool operand_fault(const struct code *c, const struct outcome *o)
{
	if (o->vector == 12 || o->vector == 13)
		return true;
	for (int k = 0; k < c->zi.operand_count && o->vector == 14; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    o->cr2 - operand_address(c, &o->s, &c->op[k]) < c->op[k].size / 8)
			return true;
	return false;
}

/*
 * Which operand of CMPS is accessed first is the implementation's: neither
 * manual says, and AMD's Zen 4 reads DS:RSI first in REPE CMPSB, ES:RDI first in
 * all other forms.  Where both are bad either may be told of.
 */
static bool either_operand(const struct code *c, const struct outcome *n, const struct outcome *e)
{
	return compares_strings(c) && operand_fault(c, n) && operand_fault(c, e);
}

/* Results that are nobody's to predict: what is not written must agree, and the kind of outcome. */
static bool kind_only(const struct code *c)
{
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_XGETBV:
		return true;
	default:
		return false;
	}
}

static uint32_t written_registers(const struct code *c)
{
	uint32_t set = 0;

	for (int k = 0; k < c->zi.operand_count; k++) {
		const ZydisDecodedOperand *o = &c->op[k];
		ZydisRegisterClass rc = o->type == ZYDIS_OPERAND_TYPE_REGISTER ?
			ZydisRegisterGetClass(o->reg.value) : ZYDIS_REGCLASS_INVALID;

		if ((o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) && rc >= ZYDIS_REGCLASS_GPR16 &&
		    rc <= ZYDIS_REGCLASS_GPR64)
			set |= 1u << ZydisRegisterGetId(o->reg.value);
	}
	return set;
}

/*
 * The host's POPA has loaded some of the registers when it faults, its PUSHA has
 * stored some; both start from the beginning after.
 */
static bool partial_pop(const struct code *c, const struct outcome *n)
{
	return n->vector != DONE &&
	       (c->zi.mnemonic == ZYDIS_MNEMONIC_POPA || c->zi.mnemonic == ZYDIS_MNEMONIC_POPAD);
}

static bool partial_push(const struct code *c, const struct outcome *n)
{
	return n->vector != DONE &&
	       (c->zi.mnemonic == ZYDIS_MNEMONIC_PUSHA || c->zi.mnemonic == ZYDIS_MNEMONIC_PUSHAD);
}

static bool registers_differ(const struct code *c, const struct outcome *n, const struct outcome *e)
{
	uint64_t width = c->mode == MODE64 ? ~0ULL : 0xffffffff;
	uint32_t skip = partial_pop(c, n) ? 0xffef : kind_only(c) ? written_registers(c) : 0;

	for (unsigned int k = 0; k < (c->mode == MODE64 ? 16 : 8); k++)
		if (!(skip >> k & 1) && ((n->s.gpr[k] ^ e->s.gpr[k]) & width))
			return true;
	return false;
}

/*
 * Bytes of an x87 or FXSAVE area that name the last x87 instruction and its
 * operand, and the MXCSR mask, which is the host's: made equal.
 */
static void blank_pointers(const struct code *c, const struct state *before)
{
	uint64_t at;
	unsigned int from, to;

	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		from = 6;
		to = 32;
		break;
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
		from = c->zi.operand_width == 16 ? 6 : 12;
		to = c->zi.operand_width == 16 ? 14 : 28;
		break;
	default:
		return;
	}
	at = operand_address(c, before, &c->op[0]) - ARENA_LIN;
	for (; from < to; from++)
		if (at + from < ARENA_BYTES &&
		    (from < 24 || from >= 28 || c->zi.mnemonic == ZYDIS_MNEMONIC_FNSTENV ||
		     c->zi.mnemonic == ZYDIS_MNEMONIC_FNSAVE))
			engine_arena()[at + from] = native_arena()[at + from];
}

const char *compare(const struct code *c, const struct state *before, const struct outcome *n,
		    const struct outcome *e, bool strict)
{
	uint64_t width = c->mode == MODE64 ? ~0ULL : 0xffffffff;
	uint32_t mask = FLAGS;
	bool either;
	/* The fetch of the next one may have faulted. */
	bool done = n->vector == DONE || (!c->next && n->s.rip == before->rip + c->len);

	/* A wild address that hit a page of the native side's own, or of its process. */
	if (e->vector == 14 && native_maps(e->cr2))
		return NULL;
	if (!c->next && (open_area(c, before, n) || open_area(c, before, e)))
		return NULL;
	if (!c->next && (open_alignment(c, before) || open_wrap(c, before) || open_half(c, before)))
		return NULL;
	if (c->next && open_wrap_in_sequence(c, n, e))
		return NULL;
	either = !c->next && either_operand(c, n, e);
	if (n->vector != e->vector && !either)
		return "vector";
	if ((n->s.rip ^ e->s.rip) & width)
		return "rip";
	if (error_of(n) != error_of(e) && !either)
		return "error code";
	if (n->cr2 != e->cr2 && !either && !same_operand(c, before, n->cr2, e->cr2))
		return "cr2";
	if (registers_differ(c, n, e))
		return "register";
	if (kind_only(c) && done)
		mask &= ~1u;
	else if (!strict && done)
		mask &= ~undefined(c);
	if ((n->s.rflags ^ e->s.rflags) & mask)
		return "flags";
	if (n->s.fsbase != e->s.fsbase || n->s.gsbase != e->s.gsbase)
		return "segment base";
	if (done)
		blank_pointers(c, before);
	if (partial_push(c, n))
		memcpy(engine_arena(), native_arena(), ARENA_BYTES);
	if (memcmp(native_arena(), engine_arena(), ARENA_BYTES))
		return "memory";
	if (!c->next && n->vector != DONE && is_wide_gather(c)) {
		struct vregs v = e->s.v;

		ignore_gather_rest(c, &n->s.v, &v);
		return compare_vectors(&n->s.v, &v);
	}
	return compare_vectors(&n->s.v, &e->s.v);
}

/* ------------------------------------------------------------------ telling it */

static void hex(const char *name, const uint8_t *p, unsigned int n)
{
	printf("#   %-8s ", name);
	while (n--)
		printf("%02x", p[n]);
	printf("\n");
}

static void three(const char *name, uint64_t b, uint64_t n, uint64_t e)
{
	if (n != e)
		printf("#   %-8s before %016lx native %016lx engine %016lx\n", name, b, n, e);
}

static void explain_bytes(const char *name, unsigned int k, const uint8_t *b, const uint8_t *n,
			  const uint8_t *e, unsigned int size)
{
	if (!memcmp(n, e, size))
		return;
	printf("#   ");
	printf(name, k);
	printf("\n");
	hex("before", b, size);
	hex("native", n, size);
	hex("engine", e, size);
}

static void explain_vectors(const struct vregs *b, const struct vregs *n, const struct vregs *e)
{
	three("fcw", b->fcw, n->fcw, e->fcw);
	three("fsw", b->fsw, n->fsw, e->fsw);
	three("ftw", b->ftw, n->ftw, e->ftw);
	printf("#   fcw %04x fsw %04x ftw %02x mxcsr %04x; after native fsw %04x mxcsr %04x\n", b->fcw,
	       b->fsw, b->ftw, b->mxcsr, n->fsw, n->mxcsr);
	three("mxcsr", b->mxcsr, n->mxcsr, e->mxcsr);
	for (unsigned int k = 0; k < 8; k++)
		explain_bytes("st%u", k, b->st[k], n->st[k], e->st[k], 10);
	for (unsigned int k = 0; k < 16; k++) {
		explain_bytes("xmm%u", k, b->xmm[k], n->xmm[k], e->xmm[k], 16);
		explain_bytes("ymm%u high", k, b->ymm_high[k], n->ymm_high[k], e->ymm_high[k], 16);
		explain_bytes("zmm%u high", k, b->zmm_high[k], n->zmm_high[k], e->zmm_high[k], 32);
		explain_bytes("zmm%u", 16 + k, b->zmm[k], n->zmm[k], e->zmm[k], 64);
	}
	if (host_components() & AVX512_COMPONENTS)
		for (unsigned int k = 0; k < 8; k++)
			printf("#   k%u       before %016lx native %016lx engine %016lx\n", k, b->k[k], n->k[k],
			       e->k[k]);
}

void explain(const struct code *c, const struct state *before, const struct outcome *n,
	     const struct outcome *e)
{
	static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					     "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	unsigned int shown = 0;

	for (unsigned int k = 0; k < (c->mode == MODE64 ? 16 : 8); k++)
		printf("%s%-4s %016lx%s", k % 4 ? " " : "#   ", names[k], before->gpr[k],
		       k % 4 == 3 ? "\n" : "");
	printf("#   native: vector %d error %x cr2 %lx rip %lx\n", n->vector, n->error, n->cr2, n->s.rip);
	printf("#   engine: vector %d error %x cr2 %lx rip %lx %s\n", e->vector, e->error, e->cr2, e->s.rip,
	       engine_why());
	for (unsigned int k = 0; k < 16; k++)
		three(names[k], before->gpr[k], n->s.gpr[k], e->s.gpr[k]);
	three("flags", before->rflags & FLAGS, n->s.rflags & FLAGS, e->s.rflags & FLAGS);
	three("fsbase", before->fsbase, n->s.fsbase, e->s.fsbase);
	three("gsbase", before->gsbase, n->s.gsbase, e->s.gsbase);
	explain_vectors(&before->v, &n->s.v, &e->s.v);
	for (unsigned int k = 0; k < ARENA_BYTES && shown < 8; k++)
		if (native_arena()[k] != engine_arena()[k]) {
			printf("#   [%x] native %02x engine %02x\n", ARENA_LIN + k, native_arena()[k],
			       engine_arena()[k]);
			shown++;
		}
}
