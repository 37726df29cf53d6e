/* SPDX-License-Identifier: MIT */
/*
 * A decoded instruction, the rows that say what decodes to what, and the few
 * helpers that every handler uses.
 *
 * How to add an instruction: one row (struct insn_row) in the file of its kind
 * under insn/, naming the mnemonic, its CPUID gate and a build function that
 * picks a handler and fills the operands; and the handler.  The decoder finds
 * the row by mnemonic; flags, length, branch kind come from the decode.
 *
 * Handlers are chained: each ends in NEXT(), a tail call of the following
 * instruction's handler; the one that ends a block sets R_RIP and returns to
 * the run loop.
 */
#ifndef X86_CPU_INSN_H
#define X86_CPU_INSN_H

#include "x86/cpu/cpu.h"

typedef void insn_fn(struct x86_cpu *cpu, const struct insn *i);

enum insn_ea_flags {
	EA_SLOW  = 1 << 0,      /* needs ea_slow(): not 64-bit mode, or a 32-bit address size */
	EA_STACK = 1 << 1,      /* through SS: a non-canonical address is #SS, SDM 3A 6.15 */
	EA_ADDR32 = 1 << 2,     /* address size */
	EA_ADDR16 = 1 << 3,
	EA_LOCK  = 1 << 4,      /* LOCK prefix, or XCHG */
	EA_REP   = 1 << 5,
	EA_REPNE = 1 << 6,
	EA_WRITE = 1 << 7,      /* the memory operand is written (for ea_slow's segment check) */
};

struct insn {
	insn_fn *fn;
	union {
		uint64_t imm;           /* immediate, sign-extended to the operand size */
		const void *ptr;        /* stub or other per-form constant */
	};
	int64_t disp;           /* with R_RIP as base: already relative to the block's first instruction */
	/* Operands.  A GPR operand is its number, but a byte operand is its byte offset in regs[]
	 * (number * 8, + 1 for AH..BH). */
	uint8_t dst, src, src2;
	uint8_t base, index, scale;     /* R_*; index << scale */
	uint8_t segbase;                /* R_ZERO, or R_SEGBASE + seg where the base counts */
	uint8_t ea_flags;               /* enum insn_ea_flags */
	uint16_t off;                   /* of this instruction in its block, bytes */
	uint8_t len;                    /* bytes */
	uint8_t opsize;                 /* operand size in bytes: 1 2 4 8, vectors up to 64 */
	uint8_t seg;                    /* enum x86_seg_reg of the memory operand */
	uint8_t memsize;                /* bytes of the memory operand, 0 if none */
	uint16_t aux;                   /* free for the handler (condition, port, mnemonic...) */
};

/** NEXT - ends a handler: on to the following instruction of the block. */
#define NEXT(cpu, i) return (i)[1].fn((cpu), (i) + 1)

static ALWAYS_INLINE uint64_t insn_rip(const struct x86_cpu *cpu, const struct insn *i)
{
	return cpu->regs[R_RIP] + i->off;
}

static ALWAYS_INLINE uint64_t insn_next_rip(const struct x86_cpu *cpu, const struct insn *i)
{
	return cpu->regs[R_RIP] + i->off + i->len;
}

/* ------------------------------------------------------------------ operands */

#define reg8(cpu, off) (((uint8_t *)(cpu)->regs)[off])
#define reg16(cpu, n) (*(uint16_t *)&(cpu)->regs[n])
#define reg32(cpu, n) (*(uint32_t *)&(cpu)->regs[n])
#define reg64(cpu, n) ((cpu)->regs[n])
/* Writing a 32-bit register clears its upper half; SDM 1, 3.4.1.1. */
#define set_reg32(cpu, n, v) ((cpu)->regs[n] = (uint32_t)(v))

/** ea_slow - effective linear address with segment checks and wrap; may raise. */
gva_t ea_slow(struct x86_cpu *cpu, const struct insn *i, unsigned int size, bool write);

/** ea_slow_part - the same for @size bytes at @at in the operand: only those are checked. */
gva_t ea_slow_part(struct x86_cpu *cpu, const struct insn *i, unsigned int at, unsigned int size, bool write);

/** ea_offset - the effective address without segment base or checks, wrapped to the address size (LEA). */
uint64_t ea_offset(const struct x86_cpu *cpu, const struct insn *i);

/** ea - linear address of the memory operand; also at(cpu, i). */
static ALWAYS_INLINE gva_t ea(struct x86_cpu *cpu, const struct insn *i, unsigned int size, bool write)
{
	at(cpu, i);
	if (unlikely(i->ea_flags & EA_SLOW))
		return ea_slow(cpu, i, size, write);
	return cpu->regs[i->base] + (cpu->regs[i->index] << i->scale) + i->disp + cpu->regs[i->segbase];
}

/* ---------------------------------------------------------------------- rows */

enum insn_row_flags {
	ROW_END      = 1 << 0,  /* ends its block: sets R_RIP itself and returns */
	ROW_LOCK     = 1 << 1,  /* LOCK prefix allowed with a memory destination */
	ROW_CPL0     = 1 << 2,  /* #GP(0) unless CPL 0: the decoder plants the check */
	ROW_NO_VM86  = 1 << 3,  /* #UD in virtual-8086 and real mode */
	ROW_NO_64    = 1 << 4,  /* #UD in 64-bit mode */
	ROW_ONLY_64  = 1 << 5,  /* #UD outside 64-bit mode */
	ROW_BARRIER  = 1 << 6,  /* the block ends after it, R_RIP set by the loop (state that decoding
				 * depends on, or interruptibility, may have changed) */
	ROW_SERIAL   = 1 << 8,  /* serializing, SDM 3A 9.3: the decoder plants that before it; ends the block */
	ROW_NO_UNDEF = 1 << 7,  /* `undef` below is complete: do not add Zydis' undefined flags */
};

struct insn_build;

/*
 * Several rows, of one file or of several, may carry one mnemonic: MOV of a
 * general, segment or control register, near and far CALL, MOVSD of strings and
 * of SSE.  The row whose build() accepts the form is the instruction's; its
 * flags and feature are the ones that count.
 */
struct insn_row {
	uint16_t mnemonic;      /* ZydisMnemonic */
	uint16_t feature;       /* enum x86_feature that must be offered, 0: always there */
	uint16_t flags;         /* ROW_* */
	uint16_t undef;         /* FL_* left undefined where the manual says so: for comparisons */
	/* Picks i->fn and fills operands.  0, or -ENOENT: this form does not exist (#UD). */
	int (*build)(struct insn *i, const struct insn_build *b);
	const void *arg;        /* for build */
};

struct insn_rows {
	const struct insn_row *row;
	unsigned int count;
};

/* One row for all mnemonics of an ISA set (ZydisISASet) that have none of their own. */
struct insn_isa_row {
	uint16_t isa_set;
	struct insn_row row;
};

struct insn_isa_rows {
	const struct insn_isa_row *row;
	unsigned int count;
};
extern const struct insn_isa_rows insn_isa_rows;

/* What a build function sees.  Zydis types are behind pointers so that handlers need not include it. */
struct insn_build {
	const struct ZydisDecodedInstruction_ *zi;
	const struct ZydisDecodedOperand_ *op;          /* all operands, hidden ones included */
	const struct insn_row *row;
	const uint8_t *bytes;                           /* the instruction, zi->length of them */
	enum x86_code_mode mode;
	struct code_cache *code;                        /* for host stubs */
	bool *no_memory;                                /* set where one could not be had: no #UD, but another try */
	const struct x86_cpuid *cpuid;                  /* where a form needs more than the row's feature */
	bool stack_16;                                  /* never in 64-bit mode; else dynamic, see SS.B */
};

/*
 * Operand helpers for build functions (decode.c): fill i's fields from operand
 * number n.  build_mem also sets seg, memsize and the EA flags.
 */
bool build_is_reg(const struct insn_build *b, int n);
bool build_is_mem(const struct insn_build *b, int n);
bool build_is_imm(const struct insn_build *b, int n);
int build_gpr(const struct insn_build *b, int n);       /* number 0-15, or byte offset for 8-bit; -1 if not a GPR */
int build_opsize(const struct insn_build *b, int n);    /* bytes of operand n */
uint64_t build_imm(const struct insn_build *b, int n);  /* sign-extended where the encoding is signed */
void build_mem(struct insn *i, const struct insn_build *b, int n);
bool build_has_lock(const struct insn_build *b);

/* The tables, one a file of insn/. */
extern const struct insn_rows insn_rows_alu, insn_rows_mov, insn_rows_shift, insn_rows_muldiv, insn_rows_bit,
	insn_rows_bmi, insn_rows_stack, insn_rows_branch, insn_rows_string, insn_rows_flag, insn_rows_atomic,
	insn_rows_io, insn_rows_misc, insn_rows_bcd,
	insn_rows_seg, insn_rows_far, insn_rows_syscall, insn_rows_int, insn_rows_cr, insn_rows_msr, insn_rows_cache,
	insn_rows_desc, insn_rows_xsave, insn_rows_fpu, insn_rows_vec, insn_rows_evex, insn_rows_virt;

/** insn_index_build - all rows by mnemonic into @index[@n]; a mnemonic without a row gets NULL. */
void insn_index_build(const struct insn_row **index, unsigned int n);

#endif
