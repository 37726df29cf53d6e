// SPDX-License-Identifier: MIT
/*
 * The forms: a walk over prefixes, opcode maps and ModRM, keeping the first
 * instruction of each combination of mnemonic, opcode, prefixes that matter and
 * operand kinds.  What decodes is tested whether or not a row exists for it: an
 * instruction that the host runs and the engine does not shows up as a #UD.
 */
#include <stdlib.h>
#include <string.h>

#include "judge.h"

static const ZydisDecoder *decoder(enum jmode mode)
{
	static ZydisDecoder d[MODES];
	static bool made;

	if (!made) {
		ZydisDecoderInit(&d[MODE64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ZydisDecoderInit(&d[MODE32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
		ZydisDecoderInit(&d[MODE16], ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16);
		made = true;
	}
	return &d[mode];
}

/* What may end elsewhere than behind itself, faults apart. */
static bool is_branch(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_UNCOND_BR:
		return true;
	default:
		return false;
	}
}

bool decode(struct code *c, enum jmode mode, const uint8_t *bytes, unsigned int avail)
{
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder(mode), bytes, avail, &c->zi, c->op)))
		return false;
	c->mode = mode;
	c->next = NULL;
	c->at = CODE_AT;
	c->len = c->zi.length;
	memcpy(c->bytes, bytes, c->len);
	/* In 16-bit mode an operand in CS may lie where the way out is written: it must look the same on both
	 * sides. */
	c->branch = is_branch(&c->zi) || (mode == MODE16 && (c->zi.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_CS));
	return true;
}

uint64_t code_start(const struct code *c)
{
	return (c->mode == MODE16 ? 0 : CODE_LIN) + c->at;
}

bool landed(const struct code *c, int vector, uint64_t rip)
{
	uint64_t at = rip - (c->mode == MODE16 ? 0 : CODE_LIN);

	return vector == 13 && at < CODE_BYTES && (at < c->at || at >= (uint64_t)c->at + c->len);
}

void code_text(const struct code *c, char *buf, unsigned int n)
{
	ZydisFormatter f;

	ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
	if (!ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &c->zi, c->op, c->zi.operand_count_visible, buf,
							  n, CODE_LIN + c->at, NULL)))
		buf[0] = 0;
}

/* ------------------------------------------------------------------ what is never run natively */

/*
 * They would enter the host's kernel or its hypervisor, wait, change what the
 * judge stands on, or read tables of the host's kernel.
 */
static const uint16_t never[] = {
	ZYDIS_MNEMONIC_SYSCALL,	  ZYDIS_MNEMONIC_SYSENTER,  ZYDIS_MNEMONIC_INT,	    ZYDIS_MNEMONIC_INT1,
	ZYDIS_MNEMONIC_IRET,	  ZYDIS_MNEMONIC_IRETD,	    ZYDIS_MNEMONIC_IRETQ,   ZYDIS_MNEMONIC_VMCALL,
	ZYDIS_MNEMONIC_VMMCALL,	  ZYDIS_MNEMONIC_VMFUNC,    ZYDIS_MNEMONIC_MONITOR, ZYDIS_MNEMONIC_MWAIT,
	ZYDIS_MNEMONIC_MONITORX,  ZYDIS_MNEMONIC_MWAITX,    ZYDIS_MNEMONIC_TPAUSE,  ZYDIS_MNEMONIC_UMWAIT,
	ZYDIS_MNEMONIC_UMONITOR,  ZYDIS_MNEMONIC_WRPKRU,    ZYDIS_MNEMONIC_GETSEC,  ZYDIS_MNEMONIC_ENCLU,
	ZYDIS_MNEMONIC_RDPMC,	  ZYDIS_MNEMONIC_SGDT,	    ZYDIS_MNEMONIC_SIDT,    ZYDIS_MNEMONIC_SLDT,
	ZYDIS_MNEMONIC_STR,	  ZYDIS_MNEMONIC_SMSW,	    ZYDIS_MNEMONIC_LAR,	    ZYDIS_MNEMONIC_LSL,
	ZYDIS_MNEMONIC_VERR,	  ZYDIS_MNEMONIC_VERW,	    ZYDIS_MNEMONIC_VMRUN,   ZYDIS_MNEMONIC_VMLOAD,
	ZYDIS_MNEMONIC_VMSAVE,	  ZYDIS_MNEMONIC_STGI,	    ZYDIS_MNEMONIC_CLGI,    ZYDIS_MNEMONIC_SKINIT,
	ZYDIS_MNEMONIC_INVLPGA,	  ZYDIS_MNEMONIC_PVALIDATE, ZYDIS_MNEMONIC_PSMASH,  ZYDIS_MNEMONIC_RMPUPDATE,
	ZYDIS_MNEMONIC_RMPADJUST, ZYDIS_MNEMONIC_LDS,	    ZYDIS_MNEMONIC_LES,	    ZYDIS_MNEMONIC_LFS,
	ZYDIS_MNEMONIC_LGS,	  ZYDIS_MNEMONIC_LSS,
};

static bool writes_segment(const struct code *c)
{
	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(c->op[k].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    (c->op[k].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			return true;
	return false;
}

/* May the host execute @c as it stands? */
bool runnable(const struct code *c)
{
	for (unsigned int k = 0; k < sizeof(never) / sizeof(never[0]); k++)
		if (c->zi.mnemonic == never[k])
			return false;
	return c->zi.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR && !writes_segment(c);
}

bool is_masked(const struct code *c)
{
	return c->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
	       c->zi.avx.mask.mode > ZYDIS_MASK_MODE_DISABLED;
}

bool wants_alignment(const struct code *c)
{
	return is_masked(c) && c->zi.meta.exception_class == ZYDIS_EXCEPTION_CLASS_E1;
}

bool is_wide_gather(const struct code *c)
{
	return c->zi.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && c->zi.meta.category == ZYDIS_CATEGORY_GATHER;
}

/* SSE has a CMPSD too. */
bool compares_strings(const struct code *c)
{
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP;
	default:
		return false;
	}
}

/*
 * May @c stand in a sequence?  Not what branches, what has results that are
 * nobody's to predict, or what compare.c makes allowances for.
 */
bool fits_sequence(const struct code *c)
{
	static const uint16_t no[] = {
		ZYDIS_MNEMONIC_POPF, ZYDIS_MNEMONIC_POPFD, ZYDIS_MNEMONIC_POPFQ, ZYDIS_MNEMONIC_POPA,
		ZYDIS_MNEMONIC_POPAD, ZYDIS_MNEMONIC_PUSHA, ZYDIS_MNEMONIC_PUSHAD, ZYDIS_MNEMONIC_FXSAVE,
		ZYDIS_MNEMONIC_FXSAVE64, ZYDIS_MNEMONIC_FNSTENV, ZYDIS_MNEMONIC_FNSAVE, ZYDIS_MNEMONIC_RDTSC,
		ZYDIS_MNEMONIC_RDTSCP, ZYDIS_MNEMONIC_RDRAND, ZYDIS_MNEMONIC_RDSEED, ZYDIS_MNEMONIC_RDPID,
		ZYDIS_MNEMONIC_CPUID, ZYDIS_MNEMONIC_XGETBV, ZYDIS_MNEMONIC_LDMXCSR, ZYDIS_MNEMONIC_VLDMXCSR,
		ZYDIS_MNEMONIC_FXRSTOR, ZYDIS_MNEMONIC_FXRSTOR64, ZYDIS_MNEMONIC_UD0,
	};

	for (unsigned int k = 0; k < sizeof(no) / sizeof(no[0]); k++)
		if (c->zi.mnemonic == no[k])
			return false;
	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[k].size > 64 &&
		    c->op[k].size != 128 && c->op[k].size != 256 && c->op[k].size != 512)
			return false;
	return !c->branch && !compares_strings(c) && !wants_alignment(c) && !is_wide_gather(c) &&
	       c->zi.meta.category != ZYDIS_CATEGORY_XSAVE &&
	       c->zi.meta.category != ZYDIS_CATEGORY_XSAVEOPT;
}

/* ------------------------------------------------------------------ the key of a form */

static uint64_t mix(uint64_t h, uint64_t v)
{
	struct rng r = { h * 31 + v };

	return rnd(&r);
}

static uint64_t operand_key(uint64_t h, const ZydisDecodedOperand *o)
{
	h = mix(h, o->type | o->encoding << 4 | (uint64_t)o->size << 16);
	if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		h = mix(h, ZydisRegisterGetClass(o->reg.value));
		if (o->encoding == ZYDIS_OPERAND_ENCODING_NONE)
			h = mix(h, o->reg.value);
	}
	if (o->type == ZYDIS_OPERAND_TYPE_MEMORY)
		h = mix(h, o->mem.type);
	return h;
}

/* Masked, zeroed, broadcast, rounded: forms of their own.  Which way is rounded is not. */
static uint64_t evex_key(uint64_t h, const ZydisDecodedInstruction *zi)
{
	bool broadcast = zi->avx.broadcast.mode && !zi->avx.broadcast.is_static;

	return mix(h, zi->avx.vector_length | zi->avx.mask.mode << 16 | broadcast << 20 |
			      (zi->avx.rounding.mode != 0) << 21 | zi->avx.has_sae << 22);
}

uint64_t form_key(const struct code *c)
{
	const ZydisDecodedInstruction *zi = &c->zi;
	uint64_t prefixes = zi->attributes & (ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_REP |
					      ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	uint64_t h = mix(c->mode, zi->mnemonic);

	h = mix(h, zi->encoding | zi->opcode_map << 4 | zi->opcode << 8 | (uint64_t)zi->operand_width << 16);
	h = mix(h, prefixes);
	h = mix(h, zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? zi->avx.vector_length : 0);
	if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		h = evex_key(h, zi);
	for (int k = 0; k < zi->operand_count_visible; k++)
		h = operand_key(h, &c->op[k]);
	return h;
}

/* ------------------------------------------------------------------ the walk */

struct list {
	struct form *f;
	unsigned int n, room;
	uint64_t *seen;                 /* a hash set of keys */
	unsigned int seen_size;
};

static bool add_key(struct list *l, uint64_t key)
{
	unsigned int i = key & (l->seen_size - 1);

	while (l->seen[i]) {
		if (l->seen[i] == key)
			return false;
		i = (i + 1) & (l->seen_size - 1);
	}
	l->seen[i] = key;
	return true;
}

static void offer(struct list *l, enum jmode mode, const uint8_t *bytes, unsigned int n)
{
	struct code c;
	uint64_t key;

	if (!decode(&c, mode, bytes, n) || !runnable(&c))
		return;
	key = form_key(&c);
	if (2 * l->n >= l->seen_size || !add_key(l, key))
		return;
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 4096;
		l->f = realloc(l->f, l->room * sizeof(*l->f));
		if (!l->f)
			abort();
	}
	l->f[l->n] = (struct form){ .key = key, .mode = mode, .mnemonic = c.zi.mnemonic, .len = c.len,
				    .category = c.zi.meta.category };
	memcpy(l->f[l->n++].bytes, c.bytes, c.len);
}

/* Opcodes whose mod 3 encodings differ by the rm field. */
static bool wants_all_rm(unsigned int map, unsigned int opcode)
{
	if (map == 0)
		return (opcode & 0xf8) == 0xd8;
	return map == 1 && (opcode == 0x01 || opcode == 0xae || opcode == 0xc7 || opcode == 0x1e);
}

/* EVEX opcodes (maps from 16 on) have few that differ by the reg field. */
static bool wants_all_reg(unsigned int map, unsigned int opcode)
{
	if (map < 16)
		return true;
	return (map == 17 && opcode >= 0x71 && opcode <= 0x73) || (map == 18 && (opcode == 0xc6 || opcode == 0xc7));
}

/* @at: bytes so far.  Adds opcode and every kind of ModRM. */
static void with_modrm(struct list *l, enum jmode mode, const uint8_t *head, unsigned int at,
		       unsigned int map, unsigned int opcode)
{
	uint8_t b[32];

	memcpy(b, head, at);
	memset(b + at, 0, sizeof(b) - at);
	b[at] = opcode;
	for (unsigned int reg = 0; reg < 8; reg++) {
		if (reg != 2 && !wants_all_reg(map, opcode))
			continue;
		b[at + 1] = reg << 3 | (mode == MODE16 ? 7 : 3);        /* [bx], [rbx] */
		offer(l, mode, b, 15);
		b[at + 1] = reg << 3 | 4;                       /* [rbx + rcx], for vector indices */
		b[at + 2] = 0x0b;
		offer(l, mode, b, 15);
		b[at + 2] = 0;
		for (unsigned int rm = 0; rm < 8; rm++) {
			b[at + 1] = 0xc0 | reg << 3 | rm;
			if (rm == 1 || wants_all_rm(map, opcode))
				offer(l, mode, b, 15);
		}
	}
}

static void walk_legacy(struct list *l, enum jmode mode)
{
	static const struct {
		uint8_t n, b[2];
	} prefix[] = {
		{ 0, { 0 } }, { 1, { 0x66 } }, { 1, { 0xf2 } }, { 1, { 0xf3 } }, { 2, { 0x66, 0xf2 } },
		{ 2, { 0x66, 0xf3 } }, { 1, { 0xf0 } }, { 2, { 0x66, 0xf0 } },
	};
	static const uint8_t map_bytes[4][3] = { { 0 }, { 1, 0x0f }, { 2, 0x0f, 0x38 }, { 2, 0x0f, 0x3a } };
	static const uint8_t rex[] = { 0, 0x48 };

	for (unsigned int p = 0; p < sizeof(prefix) / sizeof(prefix[0]); p++)
		for (unsigned int x = 0; x < (mode == MODE64 ? 2u : 1u); x++)
			for (unsigned int m = 0; m < 4; m++) {
				uint8_t head[8];
				unsigned int n = prefix[p].n;

				memcpy(head, prefix[p].b, n);
				if (rex[x])
					head[n++] = rex[x];
				memcpy(head + n, map_bytes[m] + 1, map_bytes[m][0]);
				n += map_bytes[m][0];
				for (unsigned int op = 0; op < 256; op++)
					with_modrm(l, mode, head, n, m, op);
			}
}

static void walk_vex(struct list *l, enum jmode mode)
{
	for (unsigned int k = 0; k < 3 * 4 * 2 * 2 * 2; k++) {
		unsigned int map = 1 + k % 3, pp = k / 3 % 4, w = k / 12 % 2, len = k / 24 % 2,
			     v = k / 48 % 2;
		uint8_t head[3] = { 0xc4, 0xe0 | map, w << 7 | (v ? 0x70 : 0x78) | len << 2 | pp };

		for (unsigned int op = 0; op < 256; op++)
			with_modrm(l, mode, head, 3, 8 + map, op);
	}
}

/* SDM 2, 2.7.1. */
static void walk_evex(struct list *l, enum jmode mode)
{
	static const uint8_t maps[] = { 1, 2, 3, 5, 6 };
	static const uint8_t masks[] = { 0, 1, 0x81 };          /* none, K1 merging, K1 zeroing */

	for (unsigned int k = 0; k < 5 * 4 * 2 * 4 * 2 * 3 * 2; k++) {
		unsigned int map = maps[k % 5], pp = k / 5 % 4, w = k / 20 % 2, len = k / 40 % 4,
			     b = k / 160 % 2, mask = masks[k / 320 % 3], v = k / 960;
		uint8_t head[4] = { 0x62, 0xf0 | map, w << 7 | (v ? 0x70 : 0x78) | 4 | pp,
				    mask | len << 5 | b << 4 | 8 };

		for (unsigned int op = 0; op < 256; op++)
			with_modrm(l, mode, head, 4, 16 + map, op);
	}
}

struct form *forms_list(unsigned int *count)
{
	struct list l = { .seen_size = 1u << 19 };

	l.seen = calloc(l.seen_size, sizeof(*l.seen));
	if (!l.seen)
		abort();
	for (enum jmode mode = MODE64; mode < MODES; mode++) {
		walk_legacy(&l, mode);
		walk_vex(&l, mode);
		if (host_components() & AVX512_COMPONENTS)
			walk_evex(&l, mode);
	}
	free(l.seen);
	*count = l.n;
	return l.f;
}
