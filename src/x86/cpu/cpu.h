/* SPDX-License-Identifier: MIT */
/*
 * The x86 CPU as the engine sees it: architectural state, and what the run
 * loop keeps beside it.
 *
 * Constraints that everything in cpu/ and mmu/ lives by:
 *
 * 1. One way out.  A guest exception, an exit to the client and a host fault
 *    on guest memory leave the middle of an instruction by a jump back to the
 *    run loop (x86_raise(), x86_exit()).  So an instruction body holds no
 *    lock, owns no memory and has committed nothing before its last guest
 *    access.
 * 2. General registers only.  cpu/ and mmu/ are compiled so that they never
 *    touch a vector register: while `vec_live` is set the guest's x87, MMX,
 *    SSE, AVX and AVX-512 state sits in the host's own registers.  Whoever
 *    calls out of these folders (libc, a decoder, a device) calls
 *    x86_vec_put() first.
 * 3. RIP.  While a block runs, regs[R_RIP] is the address of the block's first
 *    instruction, and `cur` the instruction in hand; between blocks R_RIP is
 *    the next instruction.  A handler that may fault, exit or look at RIP
 *    calls at(cpu, i) before.
 * 4. Arithmetic flags live in `fl`, in the form that LAHF and SETO give:
 *    AH = SF ZF - AF - PF - CF, AL bit 0 = OF.  All other flags are in
 *    `rflags`, whose arithmetic bits are always zero.  x86_get_rflags() and
 *    x86_set_rflags() convert.
 */
#ifndef X86_CPU_CPU_H
#define X86_CPU_CPU_H

#include <stdatomic.h>
#include <stdbool.h>

#include "host/fault.h"
#include "kvm/types.h"
#include "x86/cpu/nested.h"

enum {
	R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI,
	R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
	R_ZERO,                 /* always 0: an absent base or index */
	R_RIP,
	R_SEGBASE,              /* six bases, in segment order; see seg_base() */
	R_COUNT = R_SEGBASE + 6
};

/* Segment registers in the order of their encoding. */
enum x86_seg_reg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* A segment's hidden part without its base, which is regs[R_SEGBASE + seg].  SDM 3A, 3.4.3. */
struct x86_seg {
	uint32_t limit;         /* in bytes, granularity applied */
	uint16_t selector;
	uint8_t type;           /* 4 bits, with the accessed bit */
	bool s, present, l, db, g, avl, unusable;
	uint8_t dpl;
};

struct x86_sysseg {             /* LDTR, TR */
	uint64_t base;
	struct x86_seg seg;
};

struct x86_dtable {             /* GDTR, IDTR */
	uint64_t base;
	uint16_t limit;
};

enum x86_code_mode { CODE16, CODE32, CODE64 };

/* Vectors, SDM 3A table 6-1. */
enum {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OF = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7,
	X86_DF = 8, X86_TS = 10, X86_NP = 11, X86_SS = 12, X86_GP = 13, X86_PF = 14, X86_MF = 16,
	X86_AC = 17, X86_MC = 18, X86_XM = 19, X86_VE = 20, X86_CP = 21,
};

/* RFLAGS */
#define FL_CF (1u << 0)
#define FL_PF (1u << 2)
#define FL_AF (1u << 4)
#define FL_ZF (1u << 6)
#define FL_SF (1u << 7)
#define FL_TF (1u << 8)
#define FL_IF (1u << 9)
#define FL_DF (1u << 10)
#define FL_OF (1u << 11)
#define FL_IOPL (3u << 12)
#define FL_NT (1u << 14)
#define FL_RF (1u << 16)
#define FL_VM (1u << 17)
#define FL_AC (1u << 18)
#define FL_VIF (1u << 19)
#define FL_VIP (1u << 20)
#define FL_ID (1u << 21)
#define FL_DEFINED 0x3f7fd7u    /* all flags that there are, bit 1 with them */
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* The same arithmetic flags where `fl` holds them. */
#define AX_OF 0x0001u
#define AX_CF 0x0100u
#define AX_PF 0x0400u
#define AX_AF 0x1000u
#define AX_ZF 0x4000u
#define AX_SF 0x8000u

#define CR0_PE (1ULL << 0)
#define CR0_MP (1ULL << 1)
#define CR0_EM (1ULL << 2)
#define CR0_TS (1ULL << 3)
#define CR0_ET (1ULL << 4)
#define CR0_NE (1ULL << 5)
#define CR0_WP (1ULL << 16)
#define CR0_AM (1ULL << 18)
#define CR0_NW (1ULL << 29)
#define CR0_CD (1ULL << 30)
#define CR0_PG (1ULL << 31)

#define CR4_VME (1ULL << 0)
#define CR4_PVI (1ULL << 1)
#define CR4_TSD (1ULL << 2)
#define CR4_DE (1ULL << 3)
#define CR4_PSE (1ULL << 4)
#define CR4_PAE (1ULL << 5)
#define CR4_MCE (1ULL << 6)
#define CR4_PGE (1ULL << 7)
#define CR4_PCE (1ULL << 8)
#define CR4_OSFXSR (1ULL << 9)
#define CR4_OSXMMEXCPT (1ULL << 10)
#define CR4_UMIP (1ULL << 11)
#define CR4_LA57 (1ULL << 12)
#define CR4_VMXE (1ULL << 13)
#define CR4_SMXE (1ULL << 14)
#define CR4_FSGSBASE (1ULL << 16)
#define CR4_PCIDE (1ULL << 17)
#define CR4_OSXSAVE (1ULL << 18)
#define CR4_SMEP (1ULL << 20)
#define CR4_SMAP (1ULL << 21)
#define CR4_PKE (1ULL << 22)
#define CR4_CET (1ULL << 23)
#define CR4_PKS (1ULL << 24)

#define EFER_SCE (1ULL << 0)
#define EFER_LME (1ULL << 8)
#define EFER_LMA (1ULL << 10)
#define EFER_NX (1ULL << 11)
#define EFER_SVME (1ULL << 12)
#define EFER_LMSLE (1ULL << 13)
#define EFER_FFXSR (1ULL << 14)

struct insn;
struct block;
struct code_cache;
struct memslots;
struct mmu;
struct x86_cpu;
struct x86_env;
struct x86_cpuid;
struct vec_state;
struct kvm_dirty_ring;

/* Why x86_cpu_run() came back. */
enum x86_run_result {
	X86_RUN_EXIT = 1,       /* the env filled kvm_run: return to the client */
	X86_RUN_INTR,           /* a signal or immediate_exit: -EINTR */
	X86_RUN_SHUTDOWN,       /* triple fault */
	X86_RUN_HOST_FAULT,     /* guest memory is gone: -EFAULT */
	X86_RUN_NO_MEMORY,      /* of the host's for the engine: nothing is lost, -ENOMEM */
	X86_RUN_INTERNAL,       /* the engine met something that it cannot do; see cpu->internal */
};

/* Values that resume the run loop through guard.jump; HOST_FAULT_* come from the signal handler. */
enum x86_leave {
	X86_LEAVE_EXCEPTION = 0x100,    /* cpu->exc says which */
	X86_LEAVE_EXIT,                 /* an exit in the middle of the instruction, to be run again */
	X86_LEAVE_RESTART,              /* run the instruction again at once (its block is gone) */
	X86_LEAVE_REPLAY,               /* the same alone and with what devices answered: a request is due behind it */
	X86_LEAVE_RETRY,                /* run the instruction again, once what was requested is served */
	X86_LEAVE_BREAK,                /* the instruction is complete, R_RIP is next; end the block */
	X86_LEAVE_SHUTDOWN,
	X86_LEAVE_NO_MEMORY,
	X86_LEAVE_INTERNAL,
	X86_LEAVE_VMEXIT,               /* L1 gets to hear of it: x86_vmexit() */
};

/* Bits of cpu->requests: set by any thread, served by the vCPU's own at a block boundary. */
enum x86_request {
	X86_REQ_KICK          = 1u << 0,        /* look at signals and immediate_exit */
	X86_REQ_EVENT         = 1u << 1,        /* an interrupt, NMI, SMI or timer may be deliverable */
	X86_REQ_TLB_FLUSH     = 1u << 2,
	X86_REQ_RELOAD_SLOTS  = 1u << 3,
	X86_REQ_DROP_CODE     = 1u << 4,        /* forget pointers to dead blocks */
	X86_REQ_GUARD_CODE    = 1u << 5,        /* write-guard the gfns in mmu's list */
	X86_REQ_STEP          = 1u << 6,        /* run single instructions: TF, debug, shadow */
	X86_REQ_TIMER         = 1u << 7,
	X86_REQ_STEAL         = 1u << 8,
	X86_REQ_CLOCK         = 1u << 9,
	X86_REQ_TRIPLE_FAULT  = 1u << 10,
	X86_REQ_HALT          = 1u << 11,
	X86_REQ_COUNT         = 1u << 12,       /* stays: look at what each block does, see count.h and lbr.h */
	X86_REQ_PMU           = 1u << 13,       /* a counter may have overflowed */
	X86_REQ_CODE_WRITTEN  = 1u << 14,       /* wrote to a page with code: other vCPUs are to compare theirs */
	X86_REQ_PARK          = 1u << 15,       /* touch no guest memory while the bus is locked */
	X86_REQ_ASYNC_PF      = 1u << 16,       /* a page that the guest may wait for has come */
	X86_REQ_SLAT_FLUSH    = 1u << 17,       /* mmu_serve_flush_slat() */
};

/* What an instruction needs of the vector state before its host stub may run. */
enum vec_class { VEC_X87, VEC_MMX, VEC_SSE, VEC_AVX, VEC_AVX512, VEC_CLASSES };

/* What can be counted; see count.h. */
enum x86_count {
	X86_COUNT_INSNS,        /* retired */
	X86_COUNT_BRANCHES,     /* branch instructions retired */
	X86_COUNT_MISSES,       /* of them, those whose target was not the predicted one */
	X86_COUNT_WORK,         /* nanoseconds of work for the guest */
	X86_COUNT_KINDS
};

#define X86_TARGETS 256
struct x86_counting {
	bool on;                /* X86_REQ_COUNT is set */
	bool timed;             /* X86_COUNT_WORK counts too */
	bool entered;           /* in x86_cpu_run() */
	bool user;              /* CPL of what is being counted is not 0 */
	int64_t left[2];        /* instructions at CPL 0, and above, until a counter may overflow */
	uint64_t insns_seen, work_seen;
	uint64_t total[X86_COUNT_KINDS][2];     /* at CPL 0, and above */
	struct {                /* where the branch before this address last went to */
		uint64_t next, target;
	} target[X86_TARGETS];
};

/* Last-branch recording; see lbr.h.  In the VMCB's order. */
struct x86_lbr_msrs {
	uint64_t debugctl, from, to, int_from, int_to;
};

struct x86_lbr {
	bool on;                /* X86_REQ_COUNT is set */
	bool in_block;          /* one that ends with a branch, which is at: */
	uint64_t from, not_taken;
	uint64_t records;
	struct x86_lbr_msrs msrs;
};

struct x86_exception {
	uint8_t vector;
	bool has_error_code;
	bool trap;              /* reported after the instruction: R_RIP is already the next one */
	bool soft;              /* INT n, INT3, INTO, INT1: RIP pushed is after the instruction */
	bool intn;              /* a soft one that is INT n */
	bool injected;          /* by VM entry or the client: CR2, DR6, DR7 and DebugCtl are what they are to be */
	uint32_t error_code;
	uint64_t payload;       /* CR2 of #PF, DR6 bits of #DB */
	uint64_t insn_len;      /* of a soft one, or what L1 says in its place; of BOUND, too */
};

/*
 * Accesses to devices in the instruction in hand: what was asked, and what was
 * answered, should it have to run again.
 */
#define X86_MMIO_FRAGMENTS 16
struct x86_replay {
	uint8_t count;          /* fragments to replay: answered before the present run */
	uint8_t next;           /* how many of them the present run has consumed */
	uint8_t done;           /* without a replay: fragments answered at once in the present run */
	bool pending;           /* frag[count] is with the client now */
	const struct insn *insn;        /* whose run that is */
	uint64_t insns;
	struct {
		uint64_t addr;  /* gpa, or port */
		uint8_t len, is_write, is_pio;
		uint8_t data[8];
	} frag[X86_MMIO_FRAGMENTS];
};

/*
 * REP INS asks for as many elements as fit into a page and in here, and takes
 * what it gets at once: the registers move when all are stored.
 */
#define X86_INS_BATCH 1024
struct x86_ins_batch {
	uint16_t want;          /* elements that the access in hand could take; 0: one */
	uint16_t asked;         /* that the client was asked for */
	uint16_t have;          /* that it gave to the access being replayed */
	uint8_t data[X86_INS_BATCH] __attribute__((aligned(8)));
};

/*
 * Pages that were in the host's memory a moment ago: the page's number, whether
 * it could be written, and which moment that was; see mmu/watch.c.
 */
#define X86_WATCH_SLOTS 4096
struct x86_page_watch {
	uint64_t seen[X86_WATCH_SLOTS];
};

/* Everything of the CPU that is neither general nor vector register. */
struct x86_cpu {
	/* --- hot --- */
	uint64_t regs[R_COUNT];
	const struct insn *cur;
	struct mmu_ctx *ctx;            /* translations of the present address space and privilege */
	_Atomic uint32_t requests;
	uint16_t fl;                    /* arithmetic flags, AX_* */
	uint8_t mode;                   /* enum x86_code_mode */
	uint8_t cpl;
	uint32_t rflags;                /* all but the arithmetic flags; bit 1 set */
	uint8_t vec_gate[VEC_CLASSES];  /* 0: this class may run at once; see vec.h */
	bool vec_live;                  /* the guest's vector state is in the host's registers */
	uint64_t insns;                 /* retired, the running block counted in whole */
	int32_t slice;                  /* units of work until env->slice() is asked again; see x86_charge() */
	uint32_t slices;
	const volatile uint8_t *immediate_exit; /* kvm_run's; never NULL */
	const struct block *running;    /* NULL between blocks */

	/* --- control state --- */
	struct x86_seg seg[SEG_COUNT];
	struct x86_sysseg ldt, tr;
	struct x86_dtable gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t pdpte[4];              /* PAE, as loaded by MOV CR3 */
	uint64_t dr[4], dr6, dr7;
	struct {                        /* KVM_SET_GUEST_DEBUG: the client's in place of the guest's */
		bool active;            /* dr, dr7 count instead of the guest's */
		bool step;              /* #DB after every instruction, as if TF were set */
		uint64_t dr[4], dr7;
	} client_debug;
	uint64_t xcr0, xss;
	uint32_t pkru;
	uint64_t pkrs;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t tsc_aux;
	uint8_t maxphyaddr;             /* bits, from CPUID 0x80000008 */
	uint8_t host_maxphyaddr;        /* what could be offered there */

	/* --- events --- */
	uint8_t shadow;                 /* enum x86_shadow bits: no interrupt before the next instruction ends */
	bool nmi_blocked;
	bool iret_unblocks;             /* IRET is under way, and NMIs are not blocked behind it; x86_iret_unblocks() */
	bool smm;                       /* in system management mode: `slots` are those of its address space */
	bool if_unwatched;              /* set by service(): nothing waits for RFLAGS.IF, so setting it requests no event */
	struct x86_exception exc;       /* being raised */
	struct x86_exception delivering;/* being delivered through the IDT: the first of a double fault */
	bool is_delivering;
	bool delivering_external;       /* what is being delivered is an interrupt: EXT bit of error codes */
	uint64_t pending_db;            /* DR6 bits of a trap to report after this instruction */

	struct x86_nested nested;

	/* --- engine --- */
	struct mmu *mmu;
	const _Atomic uint32_t *ctx_limit;      /* contexts that mmu may have; 0, or NULL: as many as it likes */
	const struct memslots *slots;   /* snapshot in use; normal or SMM address space */
	struct kvm_dirty_ring *dirty_ring;      /* the vCPU's, or NULL */
	struct x86_page_watch *watch;           /* NULL: env->page() is not asked */
	struct vec_state *vec;
	struct code_cache *code;        /* the VM's */
	const struct x86_env *env;
	void *env_ptr;                  /* the vCPU object that owns us */
	const struct x86_cpuid *cpuid;  /* feature bits in effect, see cpuid.h */
	struct x86_replay replay;
	struct x86_ins_batch batch;
	struct x86_counting count;
	struct x86_lbr lbr;
	struct host_guard guard;
	bool in_run;                    /* the guard is the run loop's, for x86_leave() */
	_Atomic bool in_guest;          /* may hold pointers to blocks and slots */
	_Atomic bool parked;            /* in the guest, and touches none of its memory: see mem_lock() */
	bool bus_locked;
	bool watch_bus_locks;           /* the client wants to hear of LOCKed accesses across cache lines */
	bool split_locked;              /* there was one: an exit is due */
	uint64_t blocks_compared;       /* since code_count_compared(): the others' cache line is left alone */
	uint64_t hypercalls_patched;    /* the other vendor's instruction, overwritten */
	struct {                        /* a run of PAUSEs */
		uint64_t insns;         /* at the last one */
		uint32_t count;         /* since env->spin() was called, or the run began */
	} spin;
	bool reports_unknown;           /* KVM_CAP_EXIT_ON_EMULATION_FAILURE */
	bool vmware_backdoor;           /* ports 0x5658 and 0x5659 are open to CPL 3, env->vmware_pmc counts */
	struct x86_cpu *code_next;      /* cpus that share `code` */
	_Atomic uint64_t code_seen;     /* last drop generation served */
	uint8_t rmw_buf[64] __attribute__((aligned(64)));
	struct {
		const char *what;       /* static text */
		bool ours;              /* not the guest's doing: no exception could tell it */
		uint8_t bytes[15], len;
	} internal;
};

enum x86_shadow { SHADOW_STI = 1, SHADOW_MOV_SS = 2 };


/*
 * What the CPU asks of the world: one table, so that cpu/ and mmu/ know no
 * ioctl and can be driven by a test alone.  All are called on the vCPU's own
 * thread with the vector state put away.  Those that can leave the instruction
 * (x86_raise(), x86_exit()) say so.
 */
struct x86_env {
	/* A port access of 1, 2 or 4 bytes: answer at once and return true (in-kernel device), or fill
	 * kvm_run and return false: the caller then leaves with X86_LEAVE_EXIT. */
	bool (*pio)(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write);
	/* The same for memory outside slots; len 1 to 8. */
	bool (*mmio)(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write);
	/* A page of a slot is about to be used, at @gpa and @hva, which the host may have to fetch first; asked
	 * while `watch` is set.  true: it is there, and will be in the next moments.  May leave the instruction. */
	bool (*page)(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write);
	/* 0; 1: #GP(0); 2: kvm_run is filled, leave with X86_LEAVE_EXIT. */
	int (*rdmsr)(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
	int (*wrmsr)(struct x86_cpu *cpu, uint32_t index, uint64_t value);
	void (*cpuid)(struct x86_cpu *cpu, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx);
	uint64_t (*tsc)(struct x86_cpu *cpu);           /* guest TSC */
	/* RDPMC, CPL already judged: 0, or 1: #GP(0).  Optional: there are no counters. */
	int (*rdpmc)(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
	/* Processor time that this thread has used, ns.  Optional unless count.timed is set. */
	uint64_t (*work_ns)(struct x86_cpu *cpu);
	/* VMware's clocks behind RDPMC, where vmware_backdoor is set; 1: it is none of them. */
	int (*vmware_pmc)(struct x86_cpu *cpu, uint32_t index, uint64_t *value);
	uint64_t (*get_cr8)(struct x86_cpu *cpu);
	void (*set_cr8)(struct x86_cpu *cpu, uint64_t value);
	/* VMCALL/VMMCALL: 0 done (registers set), 1: #UD, 2: exit, 3: at the next boundary the same again. */
	int (*hypercall)(struct x86_cpu *cpu);
	/* Is the other vendor's hypercall overwritten by the right one, rather than #UD?  Optional: no. */
	bool (*replaces_hypercall)(struct x86_cpu *cpu);
	/* RSM: the state is as it was before SMM.  -EINVAL: what is in SMRAM is no state, shut down. */
	int (*leave_smm)(struct x86_cpu *cpu);
	/* HLT retired, R_RIP is next: sets the activity state; the loop then asks service(). */
	void (*halt)(struct x86_cpu *cpu);
	/* After so much work, and when a kick or immediate_exit is seen: 0, or X86_RUN_INTR where a
	 * signal is pending. */
	int (*slice)(struct x86_cpu *cpu);
	/* The guest has executed PAUSE again and again: it waits for another vCPU.  Optional. */
	void (*spin)(struct x86_cpu *cpu);
	/* Requests are pending at a block boundary.  0: go on; else an enum x86_run_result. */
	int (*service)(struct x86_cpu *cpu);
	/* KVM_GUESTDBG: a #DB or #BP is the client's.  true: kvm_run is filled, exit. */
	bool (*guest_debug)(struct x86_cpu *cpu, const struct x86_exception *exc);
	/* Optional: the page at @gpa is used for the first time.  @access: enum mmu_access. */
	void (*first_touch)(struct x86_cpu *cpu, gpa_t gpa, unsigned int access);
	/* Optional, for tests: sees every exception before its delivery.  true: it is not delivered, exit. */
	bool (*exception)(struct x86_cpu *cpu, const struct x86_exception *exc);
};

/** at - notes the instruction in hand, see constraint 3. */
static ALWAYS_INLINE void at(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->cur = i;
}

static ALWAYS_INLINE uint64_t *seg_base(struct x86_cpu *cpu, enum x86_seg_reg seg)
{
	return &cpu->regs[R_SEGBASE + seg];
}

static inline uint16_t fl_from_rflags(uint64_t rflags)
{
	return (uint16_t)((rflags & 0xd5) << 8 | 0x200 | ((rflags >> 11) & 1));
}

static inline uint32_t fl_to_rflags(uint16_t fl)
{
	return ((fl >> 8) & 0xd5) | (uint32_t)(fl & 1) << 11;
}

/** x86_get_rflags - the whole RFLAGS register, arithmetic flags included. */
static inline uint64_t x86_get_rflags(const struct x86_cpu *cpu)
{
	return cpu->rflags | fl_to_rflags(cpu->fl);
}

/**
 * x86_set_rflags - replaces RFLAGS; no privilege is checked here.  Follows a
 * change of AC, VM, TF and IF with what the engine derives from them.
 */
void x86_set_rflags(struct x86_cpu *cpu, uint64_t rflags);

static inline bool x86_long_mode(const struct x86_cpu *cpu)
{
	return cpu->efer & EFER_LMA;
}

static inline bool x86_protected(const struct x86_cpu *cpu)
{
	return cpu->cr0 & CR0_PE;
}

static inline bool x86_vm86(const struct x86_cpu *cpu)
{
	return cpu->rflags & FL_VM;
}

/** gva_canonical - SDM 1, 3.3.7.1. */
static ALWAYS_INLINE bool gva_canonical(const struct x86_cpu *cpu, gva_t gva)
{
	/* The usual case first: 47 bits of either sign are canonical whatever CR4.LA57 is. */
	if (likely((uint64_t)((int64_t)gva >> 47) + 1 <= 1))
		return true;
	return (cpu->cr4 & CR4_LA57) && (uint64_t)((int64_t)gva >> 56) + 1 <= 1;
}

/** x86_request - sets request bits of @cpu; from any thread.  Does not wake a sleeper. */
static inline void x86_request(struct x86_cpu *cpu, uint32_t bits)
{
	atomic_fetch_or_explicit(&cpu->requests, bits, memory_order_release);
}

/** x86_icpt - does L1 want to hear of @which?  Never while it runs itself. */
static ALWAYS_INLINE bool x86_icpt(const struct x86_cpu *cpu, enum x86_icpt which)
{
	return unlikely(cpu->nested.icpt[which / 64] >> (which % 64) & 1);
}

void x86_intercept_asked(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info);

/** x86_intercept - asks L1, if it may want to hear of the instruction @i; may leave it.  After at(). */
static ALWAYS_INLINE void x86_intercept(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	if (x86_icpt(cpu, which))
		x86_intercept_asked(cpu, i, which, info);
}

/** x86_set_shadow - STI, MOV SS and POP SS: no interrupt before the next instruction has ended. */
static inline void x86_set_shadow(struct x86_cpu *cpu, enum x86_shadow kind)
{
	cpu->shadow = kind;
	x86_request(cpu, X86_REQ_STEP);
}

/**
 * x86_replay_done - what the client answered has been used up: an instruction,
 * or one iteration of a REP, is complete.
 */
static inline void x86_replay_done(struct x86_cpu *cpu)
{
	cpu->replay.count = cpu->replay.next = cpu->replay.done = 0;
	cpu->batch.have = 0;
}

/**
 * x86_charge - counts work against the time in which a client's kick must be
 * seen.  A block is one unit and one for every four instructions, so a unit is
 * some 30 ns; what takes much longer charges its own.
 */
static ALWAYS_INLINE void x86_charge(struct x86_cpu *cpu, unsigned int units)
{
	cpu->slice -= (int32_t)units;
}

/* Leaving the instruction in hand: none of these returns. */
void x86_raise(struct x86_cpu *cpu, uint8_t vector) __attribute__((noreturn));
void x86_raise_ec(struct x86_cpu *cpu, uint8_t vector, uint32_t error_code) __attribute__((noreturn));
void x86_raise_pf(struct x86_cpu *cpu, gva_t gva, uint32_t error_code) __attribute__((noreturn));
void x86_exit(struct x86_cpu *cpu) __attribute__((noreturn));           /* X86_LEAVE_EXIT */
void x86_leave(struct x86_cpu *cpu, enum x86_leave how) __attribute__((noreturn));
/* @what: static text for the log and KVM_EXIT_INTERNAL_ERROR. */
void x86_internal(struct x86_cpu *cpu, const char *what) __attribute__((noreturn));

/**
 * x86_update_mode - re-derives what the engine caches of CR0, CR4, EFER, CS,
 * CPL, RFLAGS.AC/VM, XCR0: mode, ctx, vec_gate.  After any change of these.
 * Flushes no translation; mmu_*() do that.
 */
void x86_update_mode(struct x86_cpu *cpu);

/** x86_cpu_reset - power-on or INIT state.  SDM 3A table 9-1. */
void x86_cpu_reset(struct x86_cpu *cpu, bool init);

/**
 * x86_cpu_run - runs guest code until something needs the client.
 * The caller has armed nothing; on return the vector state is in cpu->vec.
 */
enum x86_run_result x86_cpu_run(struct x86_cpu *cpu) must_check;

#endif
