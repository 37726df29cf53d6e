/* SPDX-License-Identifier: MIT */
/*
 * Address translation of one vCPU: the walker, the contexts, and what drops
 * entries when.  General registers only; see x86/cpu/cpu.h.
 */
#ifndef X86_MMU_MMU_H
#define X86_MMU_MMU_H

#include "kvm/memslot.h"
#include "x86/mmu/tlb.h"

struct x86_cpu;
struct mmu;

enum mmu_access { MMU_READ = 0, MMU_WRITE = 1, MMU_EXEC = 2 };

/* Page-fault error code, SDM 3A figure 4-12. */
#define PF_P (1u << 0)
#define PF_W (1u << 1)
#define PF_U (1u << 2)
#define PF_RSVD (1u << 3)
#define PF_I (1u << 4)
#define PF_PK (1u << 5)
/* Ours, and never the guest's: with PF_RSVD, where a CPU with the host's MAXPHYADDR would have found nothing wrong. */
#define PF_BEYOND (1u << 31)

enum mmu_status {
	MMU_OK,                 /* gpa is valid */
	MMU_FAULT,              /* #PF with error_code; a table outside slots is not present */
	MMU_MMIO,               /* mmu_fetch(): code outside slots */
	MMU_SLAT,               /* mmu_walk(): L1's tables forbid it, cpu->nested.fault says what */
};

struct mmu_result {
	enum mmu_status status;
	gpa_t gpa;
	uint32_t error_code;
	uint8_t page_shift;     /* of the page found: 12, 21, 22, 30 */
	bool writable;          /* a write would be allowed too (dirty bit aside) */
	bool dirty;             /* dirty bit set, so that writes need no walk */
	bool global;
	bool user;              /* a user page: PKRU counts for its key, else PKRS */
	uint8_t key;            /* protection key, in long mode */
};

/** mmu_create - a vCPU's MMU.  NULL when out of memory.  @cpu: owner, borrowed. */
struct mmu *mmu_create(struct x86_cpu *cpu);
void mmu_destroy(struct mmu *mmu);

/**
 * mmu_walk - translates @gva for @access in class @cls, setting accessed and
 * dirty bits when @set_ad.  Raises nothing of its own; see mmu_await().  SDM 3A chapter 4.
 */
struct mmu_result mmu_walk(struct x86_cpu *cpu, gva_t gva, enum mmu_access access, enum mmu_class cls,
			   bool set_ad);

/** mmu_select - the context of the present CR0, CR3, CR4, EFER, CPL, AC; makes one where there is none. */
struct mmu_ctx *mmu_select(struct x86_cpu *cpu);

/** mmu_system_ctx - the context of implicit supervisor accesses. */
struct mmu_ctx *mmu_system_ctx(struct x86_cpu *cpu);

/** mmu_trim - frees contexts beyond cpu->ctx_limit, the longest unused first. */
void mmu_trim(struct x86_cpu *cpu);
/** mmu_ctx_bytes - of memory in a context. */
size_t mmu_ctx_bytes(void);

/* What each event drops; SDM 3A 4.10.4.1. */
void mmu_flush_all(struct x86_cpu *cpu);                        /* the engine's own: everything, of all guests */
/* The architecture's reach no further than the VPID or ASID that is current. */
void mmu_flush_current(struct x86_cpu *cpu);                    /* global entries too */
void mmu_flush_nonglobal(struct x86_cpu *cpu);
void mmu_flush_pcid(struct x86_cpu *cpu, uint16_t pcid);        /* its entries, global ones kept */
void mmu_flush_page(struct x86_cpu *cpu, gva_t gva);            /* INVLPG: this PCID, and global entries of any */
void mmu_flush_page_pcid(struct x86_cpu *cpu, gva_t gva, uint16_t pcid);        /* INVPCID type 0 */
/** mmu_load_cr3 - after cr3 was changed.  @keep: bit 63 of the source with CR4.PCIDE. */
void mmu_load_cr3(struct x86_cpu *cpu, bool keep);
/** mmu_load_pdptes - PAE: reads the four entries at @cr3 into cpu->pdpte; -EINVAL: #GP (reserved bits). */
int mmu_load_pdptes(struct x86_cpu *cpu, uint64_t cr3) must_check;
/** mmu_pdpte_valid - no reserved bit is set in @e, or it is not present. */
bool mmu_pdpte_valid(const struct x86_cpu *cpu, uint64_t e);
/* What drops translations below a second level.  SDM 3C 28.3.3.1; APM 2, 15.16. */
void mmu_flush_eptp(struct x86_cpu *cpu, uint64_t root);        /* INVEPT of that table, all VPIDs; ~0: of all tables */
/* Pages of L2's below the table at @root.  TLFS 17.6, HvCallFlushGuestPhysicalAddressList. */
struct mmu_slat_range {
	uint64_t root;
	gfn_t first;
	uint64_t pages;         /* 0: all */
};
/** mmu_flush_slat - what depends on these pages, of any VPID or ASID, and little else. */
void mmu_flush_slat(struct x86_cpu *cpu, const struct mmu_slat_range *r);
/**
 * mmu_ask_flush_slat - the same of another vCPU's @cpu: before its next instruction, which X86_REQ_SLAT_FLUSH serves.
 * The caller sees to it that no two ask at a time.
 */
void mmu_ask_flush_slat(struct x86_cpu *cpu, const struct mmu_slat_range *r, unsigned int count);
/** mmu_serve_flush_slat - X86_REQ_SLAT_FLUSH was taken. */
void mmu_serve_flush_slat(struct x86_cpu *cpu);
void mmu_flush_tag(struct x86_cpu *cpu, uint16_t tag);          /* that VPID or ASID, global entries too */
void mmu_flush_tags(struct x86_cpu *cpu);                       /* INVVPID type 2: every VPID but 0 */
void mmu_flush_tag_page(struct x86_cpu *cpu, uint16_t tag, gva_t gva);  /* INVVPID type 0, INVLPGA */
/** mmu_slat_gpa - L1's address for L2's @gpa, with cpu->nested.slat in force; leaves where L1's tables forbid @access. */
gpa_t mmu_slat_gpa(struct x86_cpu *cpu, gpa_t gpa, enum mmu_access access);
/** mmu_slat_fault - leaves the instruction for what cpu->nested.fault tells. */
void mmu_slat_fault(struct x86_cpu *cpu) __attribute__((noreturn));
/** mmu_pkey_changed - PKRU or PKRS was written. */
void mmu_pkey_changed(struct x86_cpu *cpu);
/** mmu_drop_writes - every write goes the slow way once (dirty log was read). */
void mmu_drop_writes(struct x86_cpu *cpu);
/** mmu_guard_gfn - writes to @gfn by this vCPU take the slow path from now on (the page holds code). */
void mmu_guard_gfn(struct x86_cpu *cpu, gfn_t gfn);
/** mmu_forget_blocks - empties every jump cache: no pointer to a block is left in them. */
void mmu_forget_blocks(struct x86_cpu *cpu);
/** mmu_note_jump - the current context's jump cache now has a target in @gva's page. */
void mmu_note_jump(struct mmu_ctx *c, gva_t gva);
/** mmu_debug_changed - DR7 or the client's breakpoints changed: pages with data breakpoints get no entry. */
void mmu_debug_changed(struct x86_cpu *cpu);

/**
 * mmu_fetch - for the decoder: the page that @rip (linear) lies in, checked for execution.
 * MMU_FAULT leaves the error code in *result; MMU_MMIO: code outside slots.
 */
enum mmu_status mmu_fetch(struct x86_cpu *cpu, gva_t rip, uint8_t **hva, gfn_t *gfn,
			  struct mmu_result *result) must_check;

/* Where a guest access ends up. */
struct mmu_target {
	uint8_t *hva;           /* host memory, or NULL: a device at gpa */
	gpa_t gpa;
	bool guarded;           /* a write must go through code_written() first */
};

/**
 * mmu_access - translates @gva (canonical, checked by the caller) for a data
 * access in class @cls, and fills the software TLB.  A write target is marked
 * dirty.  Writes to a read-only slot are a device's.  MMU_OK or MMU_FAULT.
 */
enum mmu_status mmu_access(struct x86_cpu *cpu, gva_t gva, enum mmu_access access, enum mmu_class cls,
			   struct mmu_target *t, uint32_t *error_code) must_check;

/* Physical memory, slots only; used by the walker, kvmclock, the client's ioctls.  -EFAULT outside
 * slots.  Marks dirty.  Not split-safe beyond a page: loops over pages itself. */
int phys_read(struct x86_cpu *cpu, gpa_t gpa, void *dst, size_t n) must_check;
int phys_write(struct x86_cpu *cpu, gpa_t gpa, const void *src, size_t n) must_check;

/** phys_read_parts, phys_write_parts - the same for parts of an object that is at @gpa, most of them in its first page. */
struct phys_part {
	uint32_t at, size;      /* bytes from the start, of @gpa and of @dst or @src */
};
int phys_read_parts(struct x86_cpu *cpu, gpa_t gpa, void *dst, const struct phys_part *part, unsigned int count) must_check;
int phys_write_parts(struct x86_cpu *cpu, gpa_t gpa, const void *src, const struct phys_part *part,
		     unsigned int count) must_check;

/** phys_and64 - an aligned word, in one with other vCPUs; *old: what it was. */
int phys_and64(struct x86_cpu *cpu, gpa_t gpa, uint64_t mask, uint64_t *old) must_check;

struct mmu_stats {
	uint64_t fills, walks, flushes, contexts, pdpte_loads;
	uint64_t recycled;      /* contexts that were taken from a space for another */
	uint64_t slat_walks;    /* of second-level tables */
	uint64_t resumed;       /* walks that began at the last table but one or two, found in a paging-structure cache */
	uint64_t touched;       /* pages used for the first time: what is a fault of KVM's own page tables */
};
const struct mmu_stats *mmu_stats(const struct x86_cpu *cpu);

#endif
