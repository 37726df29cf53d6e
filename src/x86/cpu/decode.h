/* SPDX-License-Identifier: MIT */
/* From bytes to `struct insn`.  Uses Zydis, and so must be called with the vector state put away. */
#ifndef X86_CPU_DECODE_H
#define X86_CPU_DECODE_H

#include "x86/cpu/insn.h"

enum decode_status {
	DECODE_OK,              /* out[0..*n) hold it */
	DECODE_MORE,            /* the bytes end before the instruction does */
	DECODE_NO_MEMORY,       /* of the host's, for its stub */
};

struct decoder;

/** decoder_create - tables and decoder state; const once made, shared by a VM's vCPUs.  NULL: out of memory. */
struct decoder *decoder_create(void);
void decoder_destroy(struct decoder *d);

struct decode_result {
	enum decode_status status;
	uint8_t n;              /* entries of out[] used: the instruction, and what is planted before it */
	uint8_t len;            /* bytes */
	bool end;               /* the block ends with it; it sets R_RIP itself */
	bool barrier;           /* the block ends after it */
	bool writes;            /* guest memory */
	uint8_t branch;         /* enum branch_kind: near or far, interrupts and system calls among them */
};

#define DECODE_MAX_ENTRIES 4

/**
 * decode_insn - decodes the instruction in @bytes (@avail of them, up to 15 are
 * looked at), which starts @off bytes into its block, for @cpu's CPUID.
 * An invalid one decodes to a handler that raises #UD, one that is too long to
 * one that raises #GP(0).
 */
struct decode_result decode_insn(const struct decoder *d, struct x86_cpu *cpu, enum x86_code_mode mode,
				 const uint8_t *bytes, unsigned int avail, uint16_t off,
				 struct insn out[DECODE_MAX_ENTRIES]) must_check;

/**
 * insn_plant_intercept - plants before the instruction in @out what asks L1, where it may want to hear of @mnemonic.
 * The entry of the instruction itself.
 */
struct insn *insn_plant_intercept(struct insn *out, uint16_t mnemonic);

/** insn_end - the end marker of a block: R_RIP moves on to @off. */
void insn_end(struct x86_cpu *cpu, const struct insn *i);

#endif
