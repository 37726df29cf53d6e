/* SPDX-License-Identifier: MIT */
/*
 * Decoding: Zydis gives length, operands and legality; the row of the mnemonic
 * gives the gate and the build function, which picks the handler.
 */
#include "x86/cpu/decode.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>

#include "x86/cpu/block.h"
#include "x86/cpu/exception.h"
#include "x86/features.h"

struct decoder {
	ZydisDecoder z[3];              /* by enum x86_code_mode */
	const struct insn_row *row[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	const struct insn_row *isa[ZYDIS_ISA_SET_MAX_VALUE + 1];
};

/* ------------------------------------------------------------------ planted handlers */

static void op_ud(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_raise(cpu, X86_UD);
}

static void op_too_long(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	x86_raise_ec(cpu, X86_GP, 0);
}

static void op_check_cpl0(struct x86_cpu *cpu, const struct insn *i)
{
	if (unlikely(cpu->cpl)) {
		at(cpu, i);
		x86_raise_ec(cpu, X86_GP, 0);
	}
	NEXT(cpu, i);
}

static void op_check_protected(struct x86_cpu *cpu, const struct insn *i)
{
	if (unlikely(!x86_protected(cpu) || x86_vm86(cpu))) {
		at(cpu, i);
		x86_raise(cpu, X86_UD);
	}
	NEXT(cpu, i);
}

/*
 * What precedes it is done and seen by all; and what follows is code as it is in memory then, since the block ends
 * with it.
 */
static void op_serialize(struct x86_cpu *cpu, const struct insn *i)
{
	atomic_thread_fence(memory_order_seq_cst);
	code_serialize(cpu);
	NEXT(cpu, i);
}

void insn_end(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->regs[R_RIP] += i->off;
}

/* ------------------------------------------------------------------ operands for build functions */

static const uint8_t seg_of_zydis[] = { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

bool build_is_reg(const struct insn_build *b, int n)
{
	return n < b->zi->operand_count && b->op[n].type == ZYDIS_OPERAND_TYPE_REGISTER;
}

bool build_is_mem(const struct insn_build *b, int n)
{
	return n < b->zi->operand_count && b->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY;
}

bool build_is_imm(const struct insn_build *b, int n)
{
	return n < b->zi->operand_count && b->op[n].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
}

static int gpr_number(ZydisRegister reg)
{
	int id = ZydisRegisterGetId(reg);

	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		/* Zydis numbers AL CL DL BL AH CH DH BH SPL BPL SIL DIL R8B... */
		if (id >= 4 && id <= 7)
			return (id - 4) * 8 + 1;
		return (id >= 8 ? id - 4 : id) * 8;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return id;
	default:
		return -1;
	}
}

int build_gpr(const struct insn_build *b, int n)
{
	return build_is_reg(b, n) ? gpr_number(b->op[n].reg.value) : -1;
}

int build_opsize(const struct insn_build *b, int n)
{
	return b->op[n].size / 8;
}

uint64_t build_imm(const struct insn_build *b, int n)
{
	return b->op[n].imm.value.u;
}

bool build_has_lock(const struct insn_build *b)
{
	return b->zi->attributes & ZYDIS_ATTRIB_HAS_LOCK;
}

static uint8_t address_reg(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return R_ZERO;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP || reg == ZYDIS_REGISTER_IP)
		return R_RIP;
	return (uint8_t)ZydisRegisterGetId(reg);
}

void build_mem(struct insn *i, const struct insn_build *b, int n)
{
	const ZydisDecodedOperandMem *m = &b->op[n].mem;
	uint8_t scale = 0;

	while (m->scale > 1u << scale)
		scale++;
	i->base = address_reg(m->base);
	i->index = ZydisRegisterGetClass(m->index) > ZYDIS_REGCLASS_GPR64 ? R_ZERO : address_reg(m->index);
	i->scale = scale;
	i->disp = m->disp.has_displacement ? m->disp.value : 0;
	/* A SIB byte without base: with REX.B and 32-bit addresses Zydis 4.0 names R13D and drops the disp32. */
	if ((b->zi->attributes & ZYDIS_ATTRIB_HAS_SIB) && !b->zi->raw.modrm.mod && b->zi->raw.sib.base == 5) {
		i->base = R_ZERO;
		i->disp = b->zi->raw.disp.value;
	}
	if (i->base == R_RIP)
		i->disp += i->off + i->len;
	i->memsize = b->op[n].size / 8 < 256 ? b->op[n].size / 8 : 0;
	i->seg = SEG_DS;
	if (m->segment >= ZYDIS_REGISTER_ES && m->segment <= ZYDIS_REGISTER_GS)
		i->seg = seg_of_zydis[m->segment - ZYDIS_REGISTER_ES];
	/* Zydis takes the 3E of an indirect CALL or JMP for NOTRACK alone; it is a DS override as well. */
	if (b->mode != CODE64 && (b->zi->attributes & ZYDIS_ATTRIB_HAS_NOTRACK))
		i->seg = SEG_DS;
	if (i->seg == SEG_SS)
		i->ea_flags |= EA_STACK;
	i->segbase = R_ZERO;
	if (b->mode != CODE64 || i->seg >= SEG_FS)
		i->segbase = R_SEGBASE + i->seg;
	if (b->op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		i->ea_flags |= EA_WRITE;
	if (b->zi->address_width == 16)
		i->ea_flags |= EA_ADDR16;
	if (b->zi->address_width == 32)
		i->ea_flags |= EA_ADDR32;
	if (b->mode != CODE64 || b->zi->address_width != 64)
		i->ea_flags |= EA_SLOW;
}

/* ------------------------------------------------------------------ the decoder */

static const struct insn_rows *const all_rows[] = {
	&insn_rows_alu, &insn_rows_mov, &insn_rows_shift, &insn_rows_muldiv, &insn_rows_bit, &insn_rows_bmi,
	&insn_rows_stack, &insn_rows_branch, &insn_rows_string, &insn_rows_flag, &insn_rows_atomic,
	&insn_rows_io, &insn_rows_misc, &insn_rows_bcd,
	&insn_rows_seg, &insn_rows_far, &insn_rows_syscall, &insn_rows_int, &insn_rows_cr, &insn_rows_msr,
	&insn_rows_cache, &insn_rows_desc, &insn_rows_xsave, &insn_rows_fpu, &insn_rows_vec, &insn_rows_evex, &insn_rows_virt,
};

void insn_index_build(const struct insn_row **index, unsigned int n)
{
	for (unsigned int t = 0; t < ARRAY_SIZE(all_rows); t++)
		for (unsigned int k = 0; k < all_rows[t]->count; k++)
			if (all_rows[t]->row[k].mnemonic < n && !index[all_rows[t]->row[k].mnemonic])
				index[all_rows[t]->row[k].mnemonic] = &all_rows[t]->row[k];
}

/*
 * A mnemonic may have several rows (MOV of general, segment and control
 * registers): the index has the first; this is the one after @row.
 */
static const struct insn_row *next_row(const struct insn_row *row)
{
	const struct insn_row *found = NULL;

	for (unsigned int t = 0; t < ARRAY_SIZE(all_rows); t++)
		for (unsigned int k = 0; k < all_rows[t]->count; k++) {
			const struct insn_row *r = &all_rows[t]->row[k];

			if (r == row)
				found = r;
			else if (found && r->mnemonic == row->mnemonic)
				return r;
		}
	return NULL;
}

struct decoder *decoder_create(void)
{
	struct decoder *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	ZydisDecoderInit(&d->z[CODE16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
	ZydisDecoderInit(&d->z[CODE32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	ZydisDecoderInit(&d->z[CODE64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	insn_index_build(d->row, ARRAY_SIZE(d->row));
	for (unsigned int k = 0; k < insn_isa_rows.count; k++)
		d->isa[insn_isa_rows.row[k].isa_set] = &insn_isa_rows.row[k].row;
	return d;
}

void decoder_destroy(struct decoder *d)
{
	free(d);
}

static struct decode_result invalid(struct insn *i, insn_fn *fn, unsigned int len)
{
	i->fn = fn;
	i->len = len;
	return (struct decode_result){ .status = DECODE_OK, .n = 1, .len = len, .end = true };
}

static bool row_allows(const struct insn_row *row, struct x86_cpu *cpu, enum x86_code_mode mode)
{
	if (row->feature && !x86_has(cpu, row->feature))
		return false;
	if ((row->flags & ROW_NO_64) && mode == CODE64)
		return false;
	return !(row->flags & ROW_ONLY_64) || mode == CODE64;
}

static uint8_t prefix_flags(const ZydisDecodedInstruction *zi)
{
	uint8_t f = 0;

	if (zi->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		f |= EA_LOCK;
	if (zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		f |= EA_REP;
	if (zi->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		f |= EA_REPNE;
	return f;
}

/* Something planted before the instruction: its off, but no length, so that it counts as none. */
static struct insn *plant(struct insn *out, insn_fn *fn)
{
	out[1] = out[0];
	out[0].fn = fn;
	out[0].len = 0;
	return &out[1];
}

/* What the event "branch instructions retired" counts; SDM 3B, 20.2.1.2. */
static enum branch_kind branch_kind(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
	case ZYDIS_CATEGORY_INTERRUPT:          /* INTO */
		return BRANCH_IF;
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
		return BRANCH_ALWAYS;
	default:
		return BRANCH_NONE;
	}
}

static bool try_row(struct insn *i, struct insn_build *b, struct x86_cpu *cpu, const struct insn_row *row)
{
	const struct insn blank = *i;

	b->row = row;
	if (row_allows(row, cpu, b->mode) && !row->build(i, b) && i->fn)
		return true;
	*i = blank;
	return false;
}

/* By the mnemonic's own rows, else by that of its ISA set.  Leaves in b->row which one took it. */
static bool build(const struct decoder *d, struct x86_cpu *cpu, struct insn *i,
		  struct insn_build *b)
{
	for (const struct insn_row *row = d->row[b->zi->mnemonic]; row; row = next_row(row))
		if (try_row(i, b, cpu, row))
			return true;
	return d->isa[b->zi->meta.isa_set] && try_row(i, b, cpu, d->isa[b->zi->meta.isa_set]);
}

/*
 * AMD: LOCK before a MOV of CR0 stands for REX.R, so that CR8 can be had in any
 * mode.  To Zydis the prefix is illegal.  APM 3, MOV CRn.
 */
static bool decode_cr8_by_lock(const struct decoder *d, const struct x86_cpu *cpu, enum x86_code_mode mode,
			       const uint8_t *bytes, unsigned int avail, ZydisDecodedInstruction *zi,
			       ZydisDecodedOperand *op)
{
	unsigned int locks = 0, n = 0;
	uint8_t rest[15] = { 0 };

	if (!x86_has(cpu, X86_F_CR8_LEGACY))
		return false;
	for (bool prefixes = true; locks + n < avail;) {
		uint8_t byte = bytes[locks + n];

		prefixes &= byte != 0x0f;
		if (prefixes && byte == 0xf0)
			locks++;
		else
			rest[n++] = byte;
	}
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d->z[mode], rest, n, zi, op)) ||
	    zi->mnemonic != ZYDIS_MNEMONIC_MOV || zi->length + locks > 15)
		return false;
	for (unsigned int k = 0; k < 2; k++) {
		if (op[k].type == ZYDIS_OPERAND_TYPE_REGISTER && op[k].reg.value == ZYDIS_REGISTER_CR0) {
			op[k].reg.value = ZYDIS_REGISTER_CR8;
			zi->length += locks;
			return true;
		}
	}
	return false;
}

struct decode_result decode_insn(const struct decoder *d, struct x86_cpu *cpu, enum x86_code_mode mode,
				 const uint8_t *bytes, unsigned int avail, uint16_t off,
				 struct insn out[DECODE_MAX_ENTRIES])
{
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	bool no_memory = false;
	struct insn_build b = { .zi = &zi, .op = op, .bytes = bytes, .mode = mode, .code = cpu->code,
				.cpuid = cpu->cpuid, .no_memory = &no_memory };
	struct decode_result r = { .status = DECODE_OK, .n = 1 };
	struct insn *i = &out[0];
	ZyanStatus s;

	if (avail > 15)
		avail = 15;
	*i = (struct insn){ .off = off, .base = R_ZERO, .index = R_ZERO, .segbase = R_ZERO };
	s = ZydisDecoderDecodeFull(&d->z[mode], bytes, avail, &zi, op);
	if (s == ZYDIS_STATUS_NO_MORE_DATA && avail < 15)
		return (struct decode_result){ .status = DECODE_MORE };
	if (s == ZYDIS_STATUS_NO_MORE_DATA || s == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return invalid(i, op_too_long, 15);
	/* Which of the bytes made it invalid is not known: a change of any may make it valid. */
	if (!ZYAN_SUCCESS(s) && !(s == ZYDIS_STATUS_ILLEGAL_LOCK &&
				  decode_cr8_by_lock(d, cpu, mode, bytes, avail, &zi, op)))
		return invalid(i, op_ud, avail);

	i->len = zi.length;
	i->opsize = zi.operand_width / 8;
	i->ea_flags = prefix_flags(&zi);
	if (!build(d, cpu, i, &b))
		return no_memory ? (struct decode_result){ .status = DECODE_NO_MEMORY } : invalid(i, op_ud, zi.length);
	if (b.row->flags & ROW_CPL0) {
		i = plant(out, op_check_cpl0);
	} else if (b.row->flags & ROW_NO_VM86) {
		i = plant(out, op_check_protected);
	}
	i = insn_plant_intercept(i, zi.mnemonic);
	if (b.row->flags & ROW_SERIAL)
		i = plant(i, op_serialize);
	r.n = (uint8_t)(i - out + 1);
	r.len = zi.length;
	r.end = b.row->flags & ROW_END;
	r.barrier = b.row->flags & (ROW_BARRIER | ROW_SERIAL);
	r.branch = r.end ? branch_kind(&zi) : BRANCH_NONE;
	for (unsigned int n = 0; n < zi.operand_count; n++)
		r.writes |= op[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
			    (op[n].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);
	return r;
}
