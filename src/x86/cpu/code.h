/* SPDX-License-Identifier: MIT */
/* What block.c, smc.c, stub.c and run.c share of the code cache. */
#ifndef X86_CPU_CODE_H
#define X86_CPU_CODE_H

#include "host/lock.h"

#include "x86/cpu/block.h"
#include "x86/cpu/decode.h"

#define CODE_HASH (1u << 14)
#define CODE_PAGE_HASH (1u << 12)
#define CODE_BUDGET (12u << 20)         /* bytes of blocks before all are dropped */
#define CODE_HOT_WRITES 64              /* writes to a guarded page before it is left unguarded */
#define CODE_COOL_ENTRIES 2048u         /* blocks of an unguarded page found unchanged before it is guarded again, */
#define CODE_COOL_MAX 10                /* twice as many each time, so often */
#define EPOCH_STALE 1ULL                /* compare before entry; 0 is dead */
#define MODE_SINGLE 4                   /* in block.mode: one instruction only */
#define MODE_SMM 8                      /* memory as in system management mode: what is at a gpa may differ */

struct code_page {
	gfn_t gfn;
	struct code_page *next;
	struct block *blocks;           /* by page_next; those that begin here */
	struct block *tails;            /* by page2_next; crossing ones that end here */
	unsigned int writes;
	bool hot;
	uint8_t cooled;                 /* how often */
	_Atomic unsigned int unchanged; /* entries since it became hot, about */
};

struct code_cache {
	_Atomic uint64_t epoch;         /* 2 and up; alone in its cache line: every block's entry reads it */
	/* X86_REQ_CODE_WRITTEN and X86_REQ_GUARD_CODE: how many were set, and how many of them are served. */
	_Atomic uint64_t changes_asked __attribute__((aligned(64))), changes_served;
	struct host_lock lock __attribute__((aligned(64))); /* everything below; never held over a guest access */
	struct decoder *decoder;
	struct block *hash[CODE_HASH];
	struct code_page *page[CODE_PAGE_HASH];
	/* One bit a hashed gfn that may hold code: lets a write's fill skip the lock. */
	_Atomic uint64_t page_filter[CODE_PAGE_HASH / 64];
	size_t bytes;
	struct block *dead;             /* waiting for every vCPU to have served drop_gen */
	unsigned int dead_count;
	struct block *dying;            /* dead before drop_gen was raised */
	struct code_page *pages_dead, *pages_dying;     /* records that their blocks still point to */
	_Atomic uint64_t drop_gen;
	struct x86_cpu *cpus;           /* by code_next */
	struct code_stats stats;
	struct host_lock bus_lock;      /* mem_lock(); before `lock` */

	struct stub_area *stubs;        /* where new ones go */
	struct stub_area *stubs_dead, *stubs_dying;     /* full ones, with the blocks that use them */
	_Atomic uint64_t stub_gen;      /* grows when `stubs` changes */
	struct stub_key *stub_key;      /* hash table, open addressing */
	unsigned int stub_keys, stub_key_count;
};

/**
 * code_build - decodes the block at @gpa; state put away, lock not held.  NULL: out of memory, or *@crosses: its first
 * instruction runs over into the next page.
 */
struct block *code_build(struct x86_cpu *cpu, gpa_t gpa, const uint8_t *host_page, unsigned int mode, bool *crosses);

/** code_build_cross - the same for one instruction that runs over into the page @gfn2 at @host2. */
struct block *code_build_cross(struct x86_cpu *cpu, gpa_t gpa, const uint8_t *host_page, gfn_t gfn2,
			       const uint8_t *host2, unsigned int mode);

/** code_find - the block at @gpa in @mode, or NULL.  Only by a vCPU in the guest. */
struct block *code_find(struct code_cache *cc, gpa_t gpa, unsigned int mode);

/** code_kill - unlinks @b: it will not be entered again. */
void code_kill(struct code_cache *cc, struct block *b);

/** code_quiesce - @cpu holds no block pointer any more; frees what no vCPU can hold. */
void code_quiesce(struct code_cache *cc, struct x86_cpu *cpu);

/** code_same - are @b's bytes still those at @host (and @host2 for the part behind the page)? */
bool code_same(const struct block *b, const uint8_t *host, const uint8_t *host2);

/** code_drop_all_locked - code_drop_all() with the lock held. */
void code_drop_all_locked(struct code_cache *cc);

/** stub_init - the first area: 0 or -1. */
int stub_init(struct code_cache *cc) must_check;
void stub_destroy(struct code_cache *cc);
/** stub_free - unmaps a list of areas; the lock is not held. */
void stub_free(struct stub_area *list);

#endif
