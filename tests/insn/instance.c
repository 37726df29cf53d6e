// SPDX-License-Identifier: MIT
/*
 * An instruction of a form: other registers, addressing, displacements and
 * immediates in the plainest one, kept if it decodes to the same form.
 */
#include <string.h>

#include "judge.h"

uint64_t pick_address(struct rng *r, unsigned int size)
{
	const uint64_t rw = ARENA_LIN + PAGE_RW * PAGE, none = ARENA_LIN + PAGE_NONE * PAGE;
	unsigned int span = 2 * PAGE - (size < PAGE ? size : PAGE);
	uint64_t align = size & (size - 1) ? 64 : size < 64 ? size : 64;
	unsigned int k = below(r, 100);

	if (!size)
		align = 1;
	if (k < 55)
		return (rw + below(r, span)) & ~(align - 1);
	if (k < 72)
		return rw + below(r, span);
	if (k < 82)
		return rw + PAGE - below(r, size + 2);
	if (k < 87)
		return rw - below(r, size + 2);
	if (k < 95)
		return none - below(r, size + 2);
	if (k < 97)
		return none + below(r, PAGE);
	if (k < 99)
		return ARENA_LIN + (int64_t)below(r, PAGE + 32) - 32;
	return size > 8 ? none - size / 2 : (1ULL << 47) - below(r, size + 2);
}

/* ------------------------------------------------------------------ mutation */

static bool has_encoding(const struct code *c, ZydisOperandEncoding e)
{
	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].encoding == e)
			return true;
	return false;
}

static bool has_vector_index(const struct code *c)
{
	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[k].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			return true;
	return false;
}

/* New ModRM, SIB and displacement at @at of @b, by @old.  Returns bytes written. */
static unsigned int new_modrm(const struct code *c, struct rng *r, uint8_t *b, uint8_t old)
{
	bool vsib = has_vector_index(c);
	unsigned int mod = old >> 6, reg = old >> 3 & 7, rm = old & 7, n = 1;

	if (has_encoding(c, ZYDIS_OPERAND_ENCODING_MODRM_REG))
		reg = below(r, 8);
	if (mod == 3) {
		if (has_encoding(c, ZYDIS_OPERAND_ENCODING_MODRM_RM))
			rm = below(r, 8);
		b[0] = 0xc0 | reg << 3 | rm;
		return 1;
	}
	mod = below(r, 3);
	rm = vsib ? 4 : below(r, 8);
	b[0] = mod << 6 | reg << 3 | rm;
	if (c->zi.address_width != 16 && rm == 4)
		b[n++] = rnd(r);
	return n;
}

/* @p: C4 and the two bytes behind it. */
static void new_vex(const struct code *c, struct rng *r, uint8_t *p)
{
	p[1] ^= rnd(r) & (c->mode == MODE64 ? 0xe0 : 0x20);
	if (has_encoding(c, ZYDIS_OPERAND_ENCODING_NDSNDD))
		p[2] ^= rnd(r) & (c->mode == MODE64 ? 0x78 : 0x38);
}

static bool rm_is_gpr(const struct code *c)
{
	for (int k = 0; k < c->zi.operand_count; k++)
		if (c->op[k].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && c->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER) {
			ZydisRegisterClass class = ZydisRegisterGetClass(c->op[k].reg.value);

			return class == ZYDIS_REGCLASS_GPR32 || class == ZYDIS_REGCLASS_GPR64;
		}
	return false;
}

/*
 * @p: 62 and the three bytes behind it (SDM 2, 2.7.1).  R, X, B, R', vvvv, V' and
 * the mask register; W and L'L now and then, since they are rounding or nothing
 * to many forms, and where they are more the instruction is of another form.
 */
static void new_evex(const struct code *c, struct rng *r, uint8_t *p)
{
	bool wide = c->mode == MODE64, vvvv = has_encoding(c, ZYDIS_OPERAND_ENCODING_NDSNDD);

	p[1] ^= rnd(r) & (wide ? 0xf0 : 0x30);
	/* X means nothing to a general register, but with it clear Zen 4 reads RSP as it was before a PUSH or POP. */
	if (rm_is_gpr(c))
		p[1] |= 0x40;
	if (vvvv)
		p[2] ^= rnd(r) & (wide ? 0x78 : 0x38);
	if (wide && (vvvv || has_vector_index(c)))
		p[3] ^= rnd(r) & 8;
	if (one_in(r, 8))
		p[2] ^= 0x80;
	if (c->zi.avx.rounding.mode || one_in(r, 4))
		p[3] ^= rnd(r) & 0x60;
	if (p[3] & 7)
		p[3] = (p[3] & ~7) | (1 + below(r, 7));
}

/*
 * Rebuilds the instruction with random choices.  Everything before the ModRM
 * byte (or before the immediate) is copied, REX, VEX and EVEX register bits are
 * drawn again; behind it random bytes follow, of which the decoder takes what it needs.
 */
static unsigned int mutate(const struct form *f, const struct code *base, struct rng *r, uint8_t b[32])
{
	const ZydisDecodedInstruction *zi = &base->zi;
	bool modrm = zi->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	unsigned int head = modrm ? zi->raw.modrm.offset : f->len;
	unsigned int n = 0, rex_at = 16, skip = 0;
	bool rex = zi->attributes & ZYDIS_ATTRIB_HAS_REX;
	bool evex = zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
	bool vex = evex || zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	static const uint8_t overrides[] = { 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e };

	if (!modrm)
		for (unsigned int k = 0; k < 2; k++)
			if (zi->raw.imm[k].size && zi->raw.imm[k].offset < head)
				head = zi->raw.imm[k].offset;
	if (!modrm && zi->raw.disp.size && zi->raw.disp.offset < head)
		head = zi->raw.disp.offset;
	if (one_in(r, 8))
		b[n++] = overrides[below(r, sizeof(overrides))];
	if (one_in(r, 10))
		b[n++] = 0x67;
	while (skip < head && !vex &&
	       (f->bytes[skip] == 0x66 || f->bytes[skip] == 0xf2 || f->bytes[skip] == 0xf3 ||
		f->bytes[skip] == 0xf0))
		b[n++] = f->bytes[skip++];
	if (f->mode == MODE64 && !vex) {
		if (rex) {
			rex_at = n;
			b[n++] = f->bytes[skip++];
		} else if (!one_in(r, 3)) {
			rex_at = n;
			b[n++] = 0x40;
		}
		if (rex_at < 16)
			b[rex_at] |= rnd(r) & 7;
	}
	memcpy(b + n, f->bytes + skip, head - skip);
	if (evex) {
		new_evex(base, r, b + n);
	} else if (vex) {
		new_vex(base, r, b + n);
	} else if (has_encoding(base, ZYDIS_OPERAND_ENCODING_OPCODE)) {
		b[n + head - skip - 1] ^= rnd(r) & 7;
	}
	n += head - skip;
	if (modrm)
		n += new_modrm(base, r, b + n, f->bytes[head]);
	for (; n < 20; n++)
		b[n] = one_in(r, 3) ? (one_in(r, 2) ? 0xff : 0) : rnd(r);
	return n;
}

/* ------------------------------------------------------------------ addresses in the instruction */

static void patch(struct code *c, unsigned int at, unsigned int bits, uint64_t value)
{
	memcpy(c->bytes + at, &value, bits / 8);
}

/* Relative branches go to the filled part of the code pages, or now and then nowhere. */
static void aim_branch(struct code *c, struct rng *r)
{
	int64_t rel;

	if (!c->zi.raw.imm[0].is_relative)
		return;
	do {
		if (c->zi.raw.imm[0].size == 8)
			rel = (int8_t)rnd(r);
		else if (one_in(r, 8))
			rel = (int32_t)rnd(r);
		else
			rel = (int64_t)below(r, 0x700) - 0x380;
	} while (rel < 0 && rel >= -(int64_t)c->len);
	patch(c, c->zi.raw.imm[0].offset, c->zi.raw.imm[0].size, rel);
}

/* Absolute and RIP-relative operands. */
static void aim_memory(struct code *c, struct rng *r)
{
	for (int k = 0; k < c->zi.operand_count_visible; k++) {
		const ZydisDecodedOperand *o = &c->op[k];
		uint64_t target;
		bool rip;

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || !c->zi.raw.disp.size)
			continue;
		rip = o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP;
		if (!rip && o->mem.base != ZYDIS_REGISTER_NONE)
			continue;
		target = pick_address(r, o->size / 8);
		if (c->mode == MODE16)
			target -= ARENA_LIN;
		if (rip)
			target -= CODE_LIN + CODE_AT + c->len;
		patch(c, c->zi.raw.disp.offset, c->zi.raw.disp.size, target);
	}
}

/* Does the instruction end where it began, for ever? */
static bool acceptable(const struct form *f, const struct code *c)
{
	return c->len <= 15 && form_key(c) == f->key && runnable(c);
}

void make_instance(const struct form *f, struct rng *r, struct code *c)
{
	struct code base, m;
	uint8_t b[32];

	decode(&base, f->mode, f->bytes, f->len);
	*c = base;
	for (unsigned int k = 0; k < 12; k++) {
		unsigned int n = mutate(f, &base, r, b);

		if (decode(&m, f->mode, b, n < 15 ? n : 15) && acceptable(f, &m)) {
			*c = m;
			break;
		}
	}
	aim_branch(c, r);
	aim_memory(c, r);
	decode(&m, c->mode, c->bytes, c->len);
	*c = m;
}

/* Now and then over the end of a page, or of all code: fetches that cross, and that fault. */
void place(struct code *c, struct rng *r)
{
	unsigned int end = one_in(r, 4) ? CODE_BYTES : PAGE;

	c->at = CODE_AT;
	/* How long an instruction is that is #UD anyway differs between vendors. */
	if (!one_in(r, 10) || c->zi.mnemonic == ZYDIS_MNEMONIC_UD0 || c->zi.mnemonic == ZYDIS_MNEMONIC_UD1 ||
	    c->zi.meta.category == ZYDIS_CATEGORY_VTX)
		return;
	c->at = end - below(r, c->len + 2);
	/* No room for the way out: it ends in the fill, or in the fault behind it. */
	if (c->at + c->len + 16u > CODE_BYTES)
		c->branch = true;
}

void join_sequence(struct code *whole, const struct code *part, unsigned int n)
{
	*whole = part[0];
	for (unsigned int k = 1; k < n; k++) {
		memcpy(whole->bytes + whole->len, part[k].bytes, part[k].len);
		whole->len += part[k].len;
	}
	whole->next = n > 1 ? &part[1] : NULL;
	/* An operand may lie in the code, where the way out must not show. */
	whole->branch |= n > 1;
}
