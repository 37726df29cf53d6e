/* SPDX-License-Identifier: MIT */
/*
 * What the engine knows of nested virtualization: whose guest is running (L1,
 * or L2 that L1 has entered), what L1 wants to hear of meanwhile, and the few
 * functions of vmx/ or svm/ that it calls then.
 *
 * L1's wishes are bits of cpu->nested.icpt[], which are all clear while L1 runs
 * itself: an instruction that may be intercepted looks at its bit and no more.
 * An exit to L1 leaves the instruction in hand by x86_vmexit(), with nothing
 * committed; the run loop then calls ops->vmexit(), which puts L1's state in
 * place.  What the exit has to say (reason, qualification...) was noted by
 * vmx/ or svm/ before.
 */
#ifndef X86_CPU_NESTED_H
#define X86_CPU_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#include "kvm/types.h"

struct insn;
struct x86_cpu;
struct x86_exception;

/* What L1 may want to hear of; which of them it can choose is its vendor's. */
enum x86_icpt {
	ICPT_NONE,
	/* Instructions; insn/icpt.c says which. */
	ICPT_CPUID, ICPT_HLT, ICPT_PAUSE, ICPT_RDTSC, ICPT_RDTSCP, ICPT_RDPID, ICPT_RDPMC, ICPT_RDPRU,
	ICPT_INVD, ICPT_WBINVD, ICPT_INVLPG, ICPT_INVPCID,
	ICPT_MONITOR, ICPT_MWAIT, ICPT_XSETBV, ICPT_XSAVES, ICPT_XRSTORS, ICPT_RDRAND, ICPT_RDSEED,
	ICPT_LGDT, ICPT_LIDT, ICPT_SGDT, ICPT_SIDT, ICPT_LLDT, ICPT_LTR, ICPT_SLDT, ICPT_STR,
	ICPT_PUSHF, ICPT_POPF, ICPT_IRET, ICPT_INTN, ICPT_ICEBP, ICPT_RSM,
	ICPT_HYPERCALL,         /* VMCALL, VMMCALL: the vendor's own */
	/* Accesses; @info of ops->insn() in brackets. */
	ICPT_CR_READ,           /* [number | gpr << 8, or ICPT_CR_SMSW] */
	ICPT_CR_WRITE,          /* the same; asked by ops->cr_write() */
	ICPT_DR,                /* [number | gpr << 8 | write << 16] */
	ICPT_IO,                /* [port | ICPT_IO_*] */
	ICPT_MSR,               /* [write]; the index is in RCX */
	/* [selector | enum x86_task_reason << 16 | has error code << 24 | RF to be saved << 25 | error code << 32] */
	ICPT_TASK_SWITCH,
	ICPT_COUNT
};

#define X86_ICPT_WORDS ((ICPT_COUNT + 63) / 64)

/* @info of ICPT_CR_READ. */
#define ICPT_CR_SMSW (1ULL << 16)

/* @info of ICPT_IO. */
#define ICPT_IO_IN (1ULL << 16)
#define ICPT_IO_STRING (1ULL << 17)
#define ICPT_IO_REP (1ULL << 18)
#define ICPT_IO_IMM (1ULL << 19)
#define ICPT_IO_PORT(info) ((uint16_t)(info))
#define ICPT_IO_SIZE_SHIFT 20           /* 1, 2 or 4 bytes */
#define ICPT_IO_SIZE(info) ((info) >> ICPT_IO_SIZE_SHIFT & 7)

/* What wrote a control register, for ops->cr_write(). */
enum x86_cr_how { X86_CR_MOV, X86_CR_CLTS, X86_CR_LMSW };

/* Second-level translation: where L2 runs under page tables of L1's.  SDM 3C 28.3; APM 2, 15.25. */
enum x86_slat_kind { SLAT_NONE, SLAT_EPT, SLAT_NPT };

#define SLAT_AD (1u << 0)               /* EPT: accessed and dirty flags */
#define SLAT_MBEC (1u << 1)             /* EPT: bit 10 says whether user code may be fetched */
#define SLAT_EXEC_ONLY (1u << 2)        /* EPT: execute without read is no misconfiguration */

struct x86_slat {
	uint64_t root;          /* address of the top table */
	uint64_t apic_page;     /* VMX: L1's address of the APIC-access page | 1, or 0.  SDM 3C 29.4. */
	uint64_t cr4, efer;     /* NPT: L1's, which say of what format its tables are */
	uint16_t tag;           /* VPID or ASID; 0: L1's own translations */
	uint8_t kind;           /* enum x86_slat_kind */
	uint8_t levels;         /* EPT: 4 or 5 */
	uint8_t flags;          /* SLAT_* */
};

/* A guest-physical access of L2 that L1's tables do not allow. */
struct x86_slat_fault {
	gpa_t gpa;              /* L2's */
	gva_t gva;              /* that led there, if gva_valid */
	bool gva_valid;
	bool table;             /* the access was to one of L2's own page tables */
	bool table_write;       /* and may write it: to set an accessed or dirty bit */
	bool misconfig;         /* EPT: an entry that may not be */
	bool present;           /* NPT: there was an entry */
	bool reserved;          /* NPT: with reserved bits */
	bool user;              /* of CPL 3, for mode-based execute */
	bool apic_page;         /* no fault: code, or a table, in the APIC-access page, at L1's address @gpa */
	bool log_full;          /* it would set a dirty flag, and there is no room to log that */
	uint8_t access;         /* enum mmu_access */
	uint8_t rwxu;           /* EPT: rights that all entries on the way give: bits 0 to 2 and, of bit 10, 3 */
	uint64_t entry;         /* where the walk ended */
};

/* The vendors' own instructions: insn.aux for ops->exec().  Those with a memory operand have it in the usual fields. */
enum x86_virt_insn {
	VIRT_VMXON, VIRT_VMXOFF, VIRT_VMCLEAR, VIRT_VMPTRLD, VIRT_VMPTRST, VIRT_VMREAD, VIRT_VMWRITE, VIRT_VMLAUNCH,
	VIRT_VMRESUME, VIRT_INVEPT, VIRT_INVVPID, VIRT_VMFUNC,
	VIRT_VMRUN, VIRT_VMLOAD, VIRT_VMSAVE, VIRT_STGI, VIRT_CLGI, VIRT_INVLPGA, VIRT_SKINIT,
};

struct x86_nested_ops {
	/*
	 * The instruction @i is one that L1 may want to hear of: its bit is set.  Returns where L1 does not, after
	 * all; else leaves by x86_vmexit(), or by an exception.
	 */
	void (*insn)(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info);
	/*
	 * L2 writes control register @n: the value that is to be written, where L1 leaves it to us, may differ from
	 * @value in bits that L1 owns.  Called while ICPT_CR_WRITE is set.  @gpr: of the operand, X86_CR_MOV.
	 */
	uint64_t (*cr_write)(struct x86_cpu *cpu, unsigned int n, uint64_t value, enum x86_cr_how how, unsigned int gpr);
	/* An exception is about to be delivered to L2: returns where it is L2's, else leaves by x86_vmexit(). */
	void (*exception)(struct x86_cpu *cpu, const struct x86_exception *exc);
	/* A triple fault in L2: leaves by x86_vmexit(), or returns: the machine shuts down. */
	void (*triple_fault)(struct x86_cpu *cpu);
	/* L1's page tables forbid what cpu->nested.fault tells: leaves. */
	void (*slat_fault)(struct x86_cpu *cpu) __attribute__((noreturn));
	/* x86_vmexit() was called; R_RIP is the instruction's.  Puts L1's state in place. */
	void (*vmexit)(struct x86_cpu *cpu);
	/*
	 * One of the vendor's own instructions, i->aux says which; nothing is checked.  May replace the whole state
	 * (and then leaves by X86_LEAVE_BREAK), or end like any instruction.
	 */
	void (*exec)(struct x86_cpu *cpu, const struct insn *i);
	/* A dirty flag is about to be set for L2's @gpa, with log_dirty on; false: there is no room to say so. */
	bool (*log_dirty)(struct x86_cpu *cpu, gpa_t gpa);
};

struct x86_nested {
	const struct x86_nested_ops *ops;       /* NULL: the CPU has neither VMX nor SVM */
	bool in_guest;                          /* L2 runs */
	uint64_t icpt[X86_ICPT_WORDS];          /* 1 << enum x86_icpt, of L2 */
	/* VMX: bits of CR0 and CR4 that L1 owns, and what L2 reads there.  SDM 3C 24.6.6. */
	uint64_t cr0_mask, cr0_shadow, cr4_mask, cr4_shadow;
	uint64_t cr0_fixed, cr4_fixed;          /* VMX operation: bits that must stay 1.  SDM 3C 23.8. */
	/* What L2 sees is L1's * tsc_mul >> tsc_shift, where the latter is not 0, + tsc_offset. */
	uint64_t tsc_offset, tsc_mul;
	uint64_t tsc_deadline;                  /* VMX: when L1's counter is there L2 is left; 0: never.  SDM 3C 25.5.1. */
	bool monitor_trap;                      /* VMX: events are looked at behind each instruction.  SDM 3C 25.5.2. */
	bool iterated;                          /* with it: a string instruction has done one of several iterations */
	uint8_t tsc_shift;
	bool log_dirty;         /* L1 wants to hear of dirty flags */
	struct x86_slat slat;                   /* in force; all zero while L1 runs */
	struct x86_slat_fault fault;            /* the last one */
};

/** x86_nested_tsc_due - L1's time-stamp counter is @tsc: is it time to leave L2? */
static inline bool x86_nested_tsc_due(const struct x86_nested *n, uint64_t tsc)
{
	return n->tsc_deadline && tsc >= n->tsc_deadline;
}

/** x86_nested_tsc - L1's time-stamp counter as who is running sees it. */
uint64_t x86_nested_tsc(const struct x86_nested *n, uint64_t tsc);

/** x86_vmexit - leaves the instruction in hand for L1; vmx/ or svm/ has noted why. */
void x86_vmexit(struct x86_cpu *cpu) __attribute__((noreturn));

#endif
