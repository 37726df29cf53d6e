/* SPDX-License-Identifier: MIT */
/*
 * Blocks of decoded code.  They belong to the VM and are keyed by physical
 * address and code mode, so that every address space and vCPU shares them.
 *
 * 1. A block lies in one page, but for a last instruction that runs over into
 *    the next: such an instruction is a block of its own (`cross`).
 * 2. A block keeps the bytes that it was decoded from.  It may be entered when
 *    its `epoch` is the code cache's; otherwise its bytes are compared first.
 *    The epoch grows whenever memory may have been written behind our back:
 *    KVM_RUN, a serializing instruction while another vCPU has written code or
 *    may still write to a page that it does not know to hold some.  A block that
 *    is not in the jump cache, as after every flush of its page, is compared
 *    too.  A dead block has epoch 0, which never matches.
 * 3. The guest's own writes are caught by the missing tag_w of pages that hold
 *    blocks.  A page written too often stops being guarded (`hot`): its blocks
 *    are compared at every entry, until that has found no change for long.
 * 4. A dead block is unlinked at once and freed when every vCPU has served
 *    X86_REQ_DROP_CODE, so a stale pointer in a jump cache is harmless: it
 *    leads to epoch 0.
 */
#ifndef X86_CPU_BLOCK_H
#define X86_CPU_BLOCK_H

#include "x86/cpu/insn.h"

#define BLOCK_MAX_INSNS 48

struct code_page;

enum branch_kind {
	BRANCH_NONE,
	BRANCH_ALWAYS,
	BRANCH_IF,              /* may not be taken */
};

struct block {
	_Atomic uint64_t epoch;
	gpa_t gpa;
	uint8_t mode;
	bool cross;             /* one instruction over a page boundary */
	bool dead;
	uint8_t branch;         /* enum branch_kind: what it ends with */
	uint16_t len;           /* bytes of code */
	uint16_t count;         /* instructions, the end marker not counted */
	gfn_t gfn2;             /* second page of a crossing one */
	struct code_page *page;
	struct block *hash_next, *page_next, *page2_next, *dead_next;
	uint8_t *bytes;         /* `len` of them, behind insn[] */
	struct insn insn[];
};

struct code_stats {
	uint64_t decoded, dropped, compared, hot_pages;
};

/** code_cache_create - one a VM.  NULL when out of memory. */
struct code_cache *code_cache_create(void);
void code_cache_destroy(struct code_cache *cc);

/** code_cache_join / leave - @cpu runs blocks of @cc from now on (no longer). */
int code_cache_join(struct code_cache *cc, struct x86_cpu *cpu);
void code_cache_leave(struct code_cache *cc, struct x86_cpu *cpu);

/** code_cache_touched - memory may have changed unseen: compare every block at its next entry. */
void code_cache_touched(struct code_cache *cc);

/** code_gfn_guarded - true if writes to @gfn must go through code_written(). */
bool code_gfn_guarded(struct code_cache *cc, gfn_t gfn);

/**
 * code_written - the guest (or the library for it) writes @n bytes at @gpa:
 * drops the blocks they overlap.  Called before the write: blocks that another
 * vCPU makes of the old bytes meanwhile are compared once @cpu has come to its
 * block's end, or that vCPU to a serializing instruction.  Returns true if
 * @running was among them: the instruction must then run alone.
 */
bool code_written(struct x86_cpu *cpu, gpa_t gpa, unsigned int n, const struct block *running);

/**
 * code_serialize - a serializing instruction: if another vCPU may have written
 * code whose blocks were made before, blocks are compared.  SDM 3A 9.1.3.
 */
void code_serialize(struct x86_cpu *cpu);

/** code_changes_settle - at @cpu's block boundary: serves X86_REQ_CODE_WRITTEN and X86_REQ_GUARD_CODE. */
void code_changes_settle(struct x86_cpu *cpu);

/**
 * code_unchanged - a block of the hot @page was compared and is what it was.
 * Returns true when the page is to be guarded from now on: its blocks are gone.
 */
bool code_unchanged(struct code_cache *cc, struct code_page *page);

/** code_drop_all - after a memslot change. */
void code_drop_all(struct code_cache *cc);

const struct code_stats *code_cache_stats(const struct code_cache *cc);
/** code_count_compared - adds what a vCPU has counted by itself since the last time: blocks_compared. */
void code_count_compared(struct x86_cpu *cpu);

/**
 * code_stub - executable host code: copies @n bytes of @code into the VM's stub
 * area and returns its address there, the same one for the same bytes while that
 * area lasts.  NULL: out of memory.  16-byte aligned.  The area is mapped twice: never writable
 * and executable through one mapping.
 */
const void *code_stub(struct code_cache *cc, const void *code, size_t n);

/** code_stub_owns - is host address @ip inside the stub area? */
bool code_stub_owns(struct code_cache *cc, uintptr_t ip);

#endif
