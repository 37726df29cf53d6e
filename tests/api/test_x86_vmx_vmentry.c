// SPDX-License-Identifier: MIT
/*
 * VM entry's checks: for each clause of the manual a VMCS that is as near to breaking it as can be, and one that breaks
 * it alone.  SDM 3C, 26.2 to 26.4; 27.4 and 27.6 for what VM exit finds.  test_x86_vmx_rules.c breaks them at random.
 */
#include "vmx.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* --- fields and bits beside those of vmx.h ---------------------------------------------------------------- */

enum {
	F_ES = 0x0800, F_CS = 0x0802, F_SS = 0x0804, F_LDTR = 0x080c, F_TR = 0x080e,
	F_HOST_ES = 0x0c00, F_HOST_CS = 0x0c02, F_HOST_SS = 0x0c04, F_HOST_TR = 0x0c0c,
	F_IO_A = 0x2000, F_IO_B = 0x2002, F_EXIT_STORE = 0x2006, F_EXIT_LOAD = 0x2008, F_ENTRY_LOAD = 0x200a,
	F_VE_INFO = 0x202a, F_TSC_MULTIPLIER = 0x2032, F_DEBUGCTL = 0x2802, F_PAT = 0x2804, F_EFER = 0x2806,
	F_PERF = 0x2808, F_PDPTE = 0x280a, F_HOST_PAT = 0x2c00, F_HOST_EFER = 0x2c02, F_HOST_PERF = 0x2c04,
	F_EXCEPTIONS = 0x4004, F_CR3_TARGETS = 0x400a, F_EXIT_STORES = 0x400e, F_EXIT_LOADS = 0x4010,
	F_ENTRY_LOADS = 0x4014, F_EVENT_ERROR = 0x4018, F_EVENT_LEN = 0x401a, F_ES_LIMIT = 0x4800, F_LDTR_LIMIT = 0x480c,
	F_TR_LIMIT = 0x480e, F_GDTR_LIMIT = 0x4810, F_IDTR_LIMIT = 0x4812, F_ES_ACCESS = 0x4814, F_CS_ACCESS = 0x4816,
	F_SS_ACCESS = 0x4818, F_LDTR_ACCESS = 0x4820, F_TR_ACCESS = 0x4822, F_TIMER = 0x482e, F_ES_BASE = 0x6806,
	F_CS_BASE = 0x6808, F_LDTR_BASE = 0x6812, F_TR_BASE = 0x6814, F_GDTR_BASE = 0x6816, F_IDTR_BASE = 0x6818,
	F_DR7 = 0x681a, F_PENDING_DEBUG = 0x6822, F_SYSENTER_ESP = 0x6824, F_SYSENTER_EIP = 0x6826, F_HOST_CR0 = 0x6c00,
	F_HOST_CR3 = 0x6c02, F_HOST_CR4 = 0x6c04, F_HOST_FS_BASE = 0x6c06, F_HOST_GS_BASE = 0x6c08,
	F_HOST_TR_BASE = 0x6c0a, F_HOST_GDTR_BASE = 0x6c0c, F_HOST_IDTR_BASE = 0x6c0e, F_HOST_SYSENTER_ESP = 0x6c10,
	F_HOST_SYSENTER_EIP = 0x6c12, F_HOST_RIP = 0x6c16,
};

enum {
	P_NMI = 1 << 3, P_VIRTUAL_NMI = 1 << 5, P_TIMER = 1 << 6,                       /* F_PIN */
	P_NMI_WINDOW = 1 << 22, P_IO_BITMAPS = 1 << 25,                                 /* F_PROC */
	P2_UNRESTRICTED = 1 << 7, P2_TSC_SCALING = 1 << 25,                             /* F_PROC2 */
	X_HOST_64 = 1 << 9, X_PERF = 1 << 12, X_PAT = 1 << 19, X_EFER = 1 << 21, X_SAVE_TIMER = 1 << 22,        /* F_EXIT */
	N_DEBUG = 1 << 2, N_GUEST_64 = 1 << 9, N_PERF = 1 << 13, N_PAT = 1 << 14, N_EFER = 1 << 15,             /* F_ENTRY */
};
#define P_SECONDARY (1u << 31)
#define P_CR8 (P_CR8_LOAD | P_CR8_STORE)

#define CR0_PE 1ULL
#define CR0_NE (1ULL << 5)
#define CR0_PG (1ULL << 31)
#define CR4_PAE (1ULL << 5)
#define CR4_VMXE (1ULL << 13)
#define CR4_PCIDE (1ULL << 17)
#define FL_TF (1ULL << 8)
#define FL_IF (1ULL << 9)
#define FL_VM (1ULL << 17)
#define BS (1ULL << 14)
#define UNUSABLE (1u << 16)
#define PAT_GOOD 0x0706050401000706ULL

enum { STI = 1, MOV_SS = 2, SMI = 4, NMI = 8 };         /* F_INTERRUPTIBILITY */
enum { HLT = 1, SHUTDOWN = 2, WAIT_SIPI = 3 };          /* F_ACTIVITY */

enum { INTR, T_NMI = 2, HARD = 3, SOFT = 4, INT1 = 5, SOFT_EXC = 6, OTHER = 7 };
#define ERROR (1u << 11)
#define EVENT(type, vector) (1u << 31 | (uint32_t)(type) << 8 | (vector))

enum { R_TRIPLE_FAULT = 2, R_SIPI = 4, R_MONITOR_TRAP = 37, R_TIMER = 52 };
#define GUEST_STATE (VMX_ENTRY_FAILED | 33)
#define MSR_LOADING (VMX_ENTRY_FAILED | 34)

/* Memory of the test's own. */
#define PAE_TABLES VMX_FREE             /* of 32 bytes each: one that can be, and some that cannot */
#define LINK_PLAIN (VMX_FREE + 0x1000)  /* an ordinary VMCS, another at an address that is none, */
#define LINK_SHADOW (VMX_FREE + 0x2000) /* a shadow VMCS, */
#define LINK_OTHER (VMX_FREE + 0x3000)  /* one of another revision */
#define VAPIC (VMX_FREE + 0x4000)
#define PML5 (VMX_FREE + 0x5000)
#define AREA (VMX_FREE + 0x8000)        /* of MSRs */
#define L2_PD (GUEST_TABLES + 0x2000)

/* --- rows -------------------------------------------------------------------------------------------- */

/* Relative to the first physical address that there is not, the first linear one; straight to memory, by VMWRITE not. */
enum how { OP_END, OP_PUT, OP_SET, OP_CLEAR, OP_PHYS, OP_LINEAR, OP_RAW };

struct op {
	uint16_t field;
	uint8_t how;
	uint64_t value;
};

#define PUT(field, value) { field, OP_PUT, value }
#define OR(field, bits) { field, OP_SET, bits }
#define CLEAR(field, bits) { field, OP_CLEAR, bits }
#define PHYS(field, value) { field, OP_PHYS, (uint64_t)(value) }
#define LINEAR(field, value) { field, OP_LINEAR, (uint64_t)(value) }
#define RAW(field, value) { field, OP_RAW, value }

/* Who L2 is. */
enum {
	NARROW = 1,             /* outside IA-32e mode, with PAE paging */
	EPT = 2,
	UNRESTRICTED = 4,
	REAL = 8,               /* CR0.PE and PG clear */
	VM86 = 16,
	USER = 32,              /* CPL 3 */
};

enum fails { NEVER, CONTROLS, HOST, GUEST, LINK, PDPTE };

#define EXC 0xff                /* an exception of L2's: reason 0 */
#define FAULTS .ends = EXC

/*
 * In a row for several segments the fields of ES stand for each one's.  The good state ends with the reason `ends`, if
 * not VMCALL.
 */
struct row {
	const char *name;
	uint8_t l2, segments, ends;
	struct op both[4], good[4], bad[4];
};

enum { S_ES = 1, S_CS = 2, S_SS = 4, S_DS = 8, S_FS = 16, S_GS = 32, S_TR = 128 };
#define S_DATA (S_ES | S_DS | S_FS | S_GS)
#define S_ALL (S_DATA | S_CS | S_SS)

#define BOTH .both =
#define GOOD .good =
#define BAD .bad =

/* An address of a page, which counts with the control that `both` sets. */
#define PAGE_ROWS(name_, field, ...) \
	{ name_ ", bits 11:0", BOTH { __VA_ARGS__ }, GOOD { PHYS(field, -0x1000) }, BAD { PHYS(field, -0x800) } }, \
	{ name_ ", beyond memory", BOTH { __VA_ARGS__ }, GOOD { PHYS(field, -0x1000) }, BAD { PHYS(field, 0) } }

#define AREA_ROWS(name_, at, count) \
	{ name_ ", alignment", BOTH { PUT(count, 1) }, GOOD { PUT(at, AREA + 16) }, BAD { PUT(at, AREA + 8) } }, \
	{ name_ ", beyond memory", GOOD { PHYS(at, -16), PUT(count, 1) }, BAD { PHYS(at, 0), PUT(count, 1) } }, \
	{ name_ ", its end", BOTH { PHYS(at, -16) }, GOOD { PUT(count, 1) }, BAD { PUT(count, 2) } }, \
	{ name_ ", round the end", BOTH { PUT(at, -16ULL) }, BAD { PUT(count, 2) } }, \
	{ name_ ", unused", GOOD { PUT(at, -1ULL) }, BAD { PUT(at, -1ULL), PUT(count, 1) } }

static const struct row controls[] = {
	/* 26.2.1.1 */
	{ "pin-based controls, 1", GOOD { OR(F_PIN, P_EXT_INTR | P_NMI | P_VIRTUAL_NMI) }, BAD { CLEAR(F_PIN, 2) } },
	{ "pin-based controls, 0", BAD { OR(F_PIN, 1u << 31) } },
	{ "processor-based controls, 1", BAD { CLEAR(F_PROC, 2) } },
	{ "processor-based controls, 0", BAD { OR(F_PROC, 1) } },
	{ "secondary controls", BOTH { OR(F_PROC2, 1u << 31) }, GOOD { CLEAR(F_PROC, P_SECONDARY) },
	  BAD { OR(F_PROC, P_SECONDARY) } },
	{ "CR3 targets", GOOD { PUT(F_CR3_TARGETS, 0) }, BAD { PUT(F_CR3_TARGETS, 1) } },
	PAGE_ROWS("I/O bitmap A", F_IO_A, OR(F_PROC, P_IO_BITMAPS), PUT(F_IO_B, VMX_MSR_BITMAP)),
	PAGE_ROWS("I/O bitmap B", F_IO_B, OR(F_PROC, P_IO_BITMAPS), PUT(F_IO_A, VMX_MSR_BITMAP)),
	{ "I/O bitmaps, unused", BOTH { PUT(F_IO_A, -1ULL), PUT(F_IO_B, -1ULL) }, BAD { OR(F_PROC, P_IO_BITMAPS) } },
	PAGE_ROWS("MSR bitmap", F_MSR_BITMAP, OR(F_PROC, P_MSR_BITMAPS)),
	{ "MSR bitmap, unused", BOTH { PUT(F_MSR_BITMAP, -1ULL) }, GOOD { CLEAR(F_PROC, P_MSR_BITMAPS) },
	  BAD { OR(F_PROC, P_MSR_BITMAPS) } },
	PAGE_ROWS("virtual-APIC page", F_VIRTUAL_APIC, OR(F_PROC, P_TPR_SHADOW | P_CR8)),
	{ "virtual-APIC page, unused", BOTH { PUT(F_VIRTUAL_APIC, -1ULL) }, BAD { OR(F_PROC, P_TPR_SHADOW | P_CR8) } },
	/* KVM's own: the page has to be there if L2 may look at it. */
	{ "virtual-APIC page, missing", BOTH { PUT(F_VIRTUAL_APIC, VMX_MEM + VMX_MEM_SIZE), OR(F_PROC, P_TPR_SHADOW) },
	  GOOD { OR(F_PROC, P_CR8) }, BAD { OR(F_PROC, P_CR8_STORE) } },
	{ "virtual-APIC page, missing, CR8 read",
	  BOTH { PUT(F_VIRTUAL_APIC, VMX_MEM + VMX_MEM_SIZE), OR(F_PROC, P_TPR_SHADOW) },
	  GOOD { OR(F_PROC, P_CR8) }, BAD { OR(F_PROC, P_CR8_LOAD) } },
	{ "virtual-APIC page, missing, APIC accesses", BOTH { PUT(F_VIRTUAL_APIC, VMX_MEM + VMX_MEM_SIZE),
	  OR(F_PROC, P_TPR_SHADOW | P_CR8) }, BAD { OR(F_PROC2, P2_APIC_ACCESS) } },
	{ "TPR threshold, bits 31:4", .ends = R_TPR, BOTH { OR(F_PROC, P_TPR_SHADOW), OR(F_PROC2, P2_APIC_ACCESS) },
	  GOOD { PUT(F_TPR_THRESHOLD, 15) }, BAD { PUT(F_TPR_THRESHOLD, 16) } },
	{ "TPR threshold, bit 31", .ends = R_TPR, BOTH { OR(F_PROC, P_TPR_SHADOW), OR(F_PROC2, P2_APIC_ACCESS) },
	  GOOD { PUT(F_TPR_THRESHOLD, 15) }, BAD { PUT(F_TPR_THRESHOLD, 1u << 31) } },
	{ "TPR threshold, no TPR shadow", BOTH { PUT(F_TPR_THRESHOLD, 0xff) },
	  BAD { OR(F_PROC, P_TPR_SHADOW), OR(F_PROC2, P2_APIC_ACCESS) } },
	{ "TPR threshold, virtual interrupts",
	  BOTH { PUT(F_TPR_THRESHOLD, 0xff), OR(F_PROC, P_TPR_SHADOW), OR(F_PIN, P_EXT_INTR) },
	  GOOD { OR(F_PROC2, P2_VIRTUAL_INTR) }, BAD { OR(F_PROC2, P2_APIC_ACCESS) } },
	{ "TPR threshold above TPR", BOTH { OR(F_PROC, P_TPR_SHADOW) }, GOOD { PUT(F_TPR_THRESHOLD, 5) },
	  BAD { PUT(F_TPR_THRESHOLD, 6) } },
	{ "TPR threshold above TPR, APIC accesses", .ends = R_TPR,
	  BOTH { OR(F_PROC, P_TPR_SHADOW), PUT(F_TPR_THRESHOLD, 6) },
	  GOOD { OR(F_PROC2, P2_APIC_ACCESS) }, BAD { CLEAR(F_PROC2, P2_APIC_ACCESS) } },
	{ "TPR threshold above TPR, virtual interrupts",
	  BOTH { OR(F_PROC, P_TPR_SHADOW), PUT(F_TPR_THRESHOLD, 6), OR(F_PIN, P_EXT_INTR) },
	  GOOD { OR(F_PROC2, P2_VIRTUAL_INTR) }, BAD { CLEAR(F_PROC2, P2_VIRTUAL_INTR) } },
	{ "x2APIC mode without TPR shadow", BOTH { OR(F_PROC2, P2_X2APIC) }, GOOD { OR(F_PROC, P_TPR_SHADOW) },
	  BAD { CLEAR(F_PROC, P_TPR_SHADOW) } },
	{ "APIC registers without TPR shadow", BOTH { OR(F_PROC2, P2_APIC_REGS) }, GOOD { OR(F_PROC, P_TPR_SHADOW) },
	  BAD { CLEAR(F_PROC, P_TPR_SHADOW) } },
	{ "virtual interrupts without TPR shadow", BOTH { OR(F_PROC2, P2_VIRTUAL_INTR), OR(F_PIN, P_EXT_INTR) },
	  GOOD { OR(F_PROC, P_TPR_SHADOW) }, BAD { CLEAR(F_PROC, P_TPR_SHADOW) } },
	{ "virtual NMIs without NMI exiting", BOTH { OR(F_PIN, P_VIRTUAL_NMI) }, GOOD { OR(F_PIN, P_NMI) },
	  BAD { CLEAR(F_PIN, P_NMI) } },
	{ "NMI window without virtual NMIs", .ends = 8, BOTH { OR(F_PIN, P_NMI), OR(F_PROC, P_NMI_WINDOW) },
	  GOOD { OR(F_PIN, P_VIRTUAL_NMI) }, BAD { CLEAR(F_PIN, P_VIRTUAL_NMI) } },
	{ "APIC-access page, bits 11:0", BOTH { OR(F_PROC2, P2_APIC_ACCESS) }, GOOD { PHYS(F_APIC_ACCESS, -0x1000) },
	  BAD { PHYS(F_APIC_ACCESS, -0x800) } },
	{ "APIC-access page, beyond memory", BOTH { OR(F_PROC2, P2_APIC_ACCESS) }, GOOD { PHYS(F_APIC_ACCESS, -0x1000) },
	  BAD { PHYS(F_APIC_ACCESS, 0) } },
	{ "APIC-access page, unused", BOTH { PUT(F_APIC_ACCESS, -1ULL) }, BAD { OR(F_PROC2, P2_APIC_ACCESS) } },
	{ "x2APIC mode and APIC accesses", BOTH { OR(F_PROC, P_TPR_SHADOW), OR(F_PROC2, P2_X2APIC) },
	  GOOD { CLEAR(F_PROC2, P2_APIC_ACCESS) }, BAD { OR(F_PROC2, P2_APIC_ACCESS) } },
	{ "virtual interrupts without interrupt exiting",
	  BOTH { OR(F_PROC, P_TPR_SHADOW), OR(F_PROC2, P2_VIRTUAL_INTR) },
	  GOOD { OR(F_PIN, P_EXT_INTR) }, BAD { CLEAR(F_PIN, P_EXT_INTR) } },
#define POSTED OR(F_PIN, P_POSTED | P_EXT_INTR), OR(F_PROC, P_TPR_SHADOW), OR(F_EXIT, X_ACK_INTR)
	{ "posted without virtual interrupts", BOTH { POSTED }, GOOD { OR(F_PROC2, P2_VIRTUAL_INTR) },
	  BAD { CLEAR(F_PROC2, P2_VIRTUAL_INTR) } },
	{ "posted without acknowledgement", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) },
	  GOOD { OR(F_EXIT, X_ACK_INTR) },
	  BAD { CLEAR(F_EXIT, X_ACK_INTR) } },
	{ "posted, vector", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) }, GOOD { PUT(F_POSTED_VECTOR, 0xff) },
	  BAD { PUT(F_POSTED_VECTOR, 0x100) } },
	{ "posted, bit 15 of the vector", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) },
	  BAD { PUT(F_POSTED_VECTOR, 0x8000) } },
	{ "posted, alignment", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) }, GOOD { PUT(F_POSTED_DESC, AREA + 64) },
	  BAD { PUT(F_POSTED_DESC, AREA + 32) } },
	{ "posted, alignment by one", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) },
	  BAD { PUT(F_POSTED_DESC, AREA + 1) } },
	{ "posted, beyond memory", BOTH { POSTED, OR(F_PROC2, P2_VIRTUAL_INTR) }, GOOD { PHYS(F_POSTED_DESC, -64) },
	  BAD { PHYS(F_POSTED_DESC, 0) } },
	{ "posted, unused",
	  BOTH { PUT(F_POSTED_VECTOR, 0x100), OR(F_PIN, P_EXT_INTR), OR(F_PROC, P_TPR_SHADOW),
		 OR(F_EXIT, X_ACK_INTR) },
	  BAD { OR(F_PIN, P_POSTED), OR(F_PROC2, P2_VIRTUAL_INTR) } },
	{ "VPID 0", BOTH { OR(F_PROC2, P2_VPID) }, GOOD { PUT(F_VPID, 1) }, BAD { PUT(F_VPID, 0) } },
	{ "VPID 0, unused", BOTH { PUT(F_VPID, 0) }, BAD { OR(F_PROC2, P2_VPID) } },
	{ "EPTP, memory type UC", EPT, BAD { CLEAR(F_EPTP, 7) } },
	{ "EPTP, memory type 7", EPT, BAD { OR(F_EPTP, 1) } },
	{ "EPTP, memory type 4", EPT, BAD { CLEAR(F_EPTP, 2) } },
	{ "EPTP, 3 levels", EPT, BAD { CLEAR(F_EPTP, 1 << 3) } },
	{ "EPTP, 6 levels", EPT, GOOD { PUT(F_EPTP, PML5 | 4 << 3 | 6) }, BAD { PUT(F_EPTP, PML5 | 5 << 3 | 6) } },
	{ "EPTP, 8 levels", EPT, BAD { OR(F_EPTP, 7 << 3) } },
	{ "EPTP, bit 7", EPT, GOOD { OR(F_EPTP, EPTP_AD) }, BAD { OR(F_EPTP, 1 << 7) } },
	{ "EPTP, bit 11", EPT, BAD { OR(F_EPTP, 1 << 11) } },
	{ "EPTP, beyond memory", EPT, GOOD { PHYS(F_EPTP, -0x2000 + 0x1e) }, BAD { PHYS(F_EPTP, 0x1e) } },
	{ "EPTP, bit 63", EPT, BAD { OR(F_EPTP, 1ULL << 63) } },
	{ "EPTP, unused", BOTH { PUT(F_EPTP, -1ULL) }, BAD { OR(F_PROC2, P2_EPT) } },
	{ "unrestricted guest without EPT", BOTH { OR(F_PROC2, P2_UNRESTRICTED) }, GOOD { OR(F_PROC2, P2_EPT) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "execute by mode without EPT", .ends = R_EPT_VIOLATION, BOTH { OR(F_PROC2, P2_MBEC) },
	  GOOD { OR(F_PROC2, P2_EPT) }, BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "PML without EPT", BOTH { OR(F_PROC2, P2_PML) }, GOOD { OR(F_PROC2, P2_EPT) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	PAGE_ROWS("page-modification log", F_PML_ADDRESS, OR(F_PROC2, P2_PML | P2_EPT)),
	{ "page-modification log, unused", BOTH { PUT(F_PML_ADDRESS, -1ULL) }, GOOD { OR(F_PROC2, P2_EPT) },
	  BAD { OR(F_PROC2, P2_PML | P2_EPT) } },
	{ "VM functions, bit 1", BOTH { OR(F_PROC2, P2_VMFUNC | P2_EPT) }, GOOD { PUT(F_VMFUNC, 1) },
	  BAD { PUT(F_VMFUNC, 2) } },
	{ "VM functions, bit 63", BOTH { OR(F_PROC2, P2_VMFUNC | P2_EPT) }, GOOD { PUT(F_VMFUNC, 0) },
	  BAD { PUT(F_VMFUNC, 1ULL << 63) } },
	{ "VM functions, unused", BOTH { PUT(F_VMFUNC, -1ULL), OR(F_PROC2, P2_EPT) }, BAD { OR(F_PROC2, P2_VMFUNC) } },
	{ "EPTP switching without EPT", BOTH { OR(F_PROC2, P2_VMFUNC), PUT(F_VMFUNC, 1) }, GOOD { OR(F_PROC2, P2_EPT) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "VM functions without EPT", BOTH { OR(F_PROC2, P2_VMFUNC) }, GOOD { PUT(F_VMFUNC, 0) },
	  BAD { PUT(F_VMFUNC, 1) } },
	PAGE_ROWS("EPTP list", F_EPTP_LIST, OR(F_PROC2, P2_VMFUNC | P2_EPT), PUT(F_VMFUNC, 1)),
	{ "EPTP list, unused", BOTH { OR(F_PROC2, P2_VMFUNC | P2_EPT), PUT(F_EPTP_LIST, -1ULL) },
	  GOOD { PUT(F_VMFUNC, 0) }, BAD { PUT(F_VMFUNC, 1) } },
	PAGE_ROWS("VMREAD bitmap", F_VMREAD_BITMAP, OR(F_PROC2, P2_SHADOW_VMCS)),
	PAGE_ROWS("VMWRITE bitmap", F_VMWRITE_BITMAP, OR(F_PROC2, P2_SHADOW_VMCS)),
	{ "VMREAD bitmap, unused", BOTH { PUT(F_VMREAD_BITMAP, -1ULL) }, BAD { OR(F_PROC2, P2_SHADOW_VMCS) } },
	PAGE_ROWS("#VE's information", F_VE_INFO, OR(F_PROC2, P2_VE | P2_EPT)),
	{ "#VE's information, unused", BOTH { PUT(F_VE_INFO, -1ULL), OR(F_PROC2, P2_EPT) }, BAD { OR(F_PROC2, P2_VE) } },
	{ "TSC multiplier 0", BOTH { OR(F_PROC2, P2_TSC_SCALING) }, GOOD { PUT(F_TSC_MULTIPLIER, 1) },
	  BAD { PUT(F_TSC_MULTIPLIER, 0) } },
	{ "TSC multiplier 0, unused", BOTH { PUT(F_TSC_MULTIPLIER, 0) }, BAD { OR(F_PROC2, P2_TSC_SCALING) } },
	/* 26.2.1.2 */
	{ "exit controls, 1", BAD { CLEAR(F_EXIT, 1) } },
	{ "exit controls, 0", GOOD { OR(F_EXIT, 1 << 2 | X_PAT | X_EFER) }, BAD { OR(F_EXIT, 1u << 31) } },
	{ "timer saved that is not on", BOTH { OR(F_EXIT, X_SAVE_TIMER), PUT(F_TIMER, 0xffffffff) },
	  GOOD { OR(F_PIN, P_TIMER) },
	  BAD { CLEAR(F_PIN, P_TIMER) } },
	AREA_ROWS("MSRs to store at exits", F_EXIT_STORE, F_EXIT_STORES),
	AREA_ROWS("MSRs to load at exits", F_EXIT_LOAD, F_EXIT_LOADS),
	/* 26.2.1.3 */
	{ "entry controls, 1", BAD { CLEAR(F_ENTRY, 1) } },
	{ "entry controls, 0", GOOD { OR(F_ENTRY, N_PAT | N_EFER) }, BAD { OR(F_ENTRY, 1u << 31) } },
	{ "entry to SMM", BAD { OR(F_ENTRY, 1 << 10) } },
	{ "deactivate dual-monitor treatment", BAD { OR(F_ENTRY, 1 << 11) } },
	AREA_ROWS("MSRs to load at entry", F_ENTRY_LOAD, F_ENTRY_LOADS),
#define VALID(event) BOTH { PUT(F_ENTRY_EVENT, (event) & ~(1u << 31)) }, BAD { OR(F_ENTRY_EVENT, 1u << 31) }
	{ "event of type 1", VALID(EVENT(1, 32)) },
	{ "event of type 7, vector", .ends = R_MONITOR_TRAP, GOOD { PUT(F_ENTRY_EVENT, EVENT(OTHER, 0)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(OTHER, 1)) } },
	{ "NMI, vector", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) }, BAD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 3)) } },
	{ "NMI, vector, not valid", VALID(EVENT(T_NMI, 3)) },
	{ "exception, vector", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 31)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 32)) } },
	{ "software exception, vector", FAULTS, BOTH { PUT(F_EVENT_LEN, 1) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(SOFT_EXC, 255)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 255)) } },
	{ "event, bit 12", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6) | 1 << 12) } },
	{ "event, bit 30", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6) | 1 << 30) } },
	{ "event, not valid", VALID(EVENT(HARD, 6) | 0x7ffff000) },
	{ "event, error code of a software exception", FAULTS, BOTH { PUT(F_EVENT_LEN, 1) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(SOFT_EXC, 13)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(SOFT_EXC, 13) | ERROR) } },
	{ "event, error code of an NMI", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2) | ERROR) } },
	{ "event, error code, not valid", VALID(EVENT(HARD, 6) | ERROR) },
	{ "event, error code in real mode", REAL, 0, EXC, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 13)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 13) | ERROR) } },
	{ "event, error code, unrestricted", UNRESTRICTED, 0, EXC, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 13) | ERROR) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 13)) } },
	/* PE clear breaks a rule of the guest's state as well, which comes later. */
	{ "event, error code where PE means nothing", BOTH { PUT(F_ENTRY_EVENT, EVENT(HARD, 13)) }, FAULTS,
	  GOOD { OR(F_ENTRY_EVENT, ERROR) }, BAD { CLEAR(F_CR0, CR0_PE) } },
	{ "error code, bits 31:16", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(HARD, 13) | ERROR) },
	  GOOD { PUT(F_EVENT_ERROR, 0xffff) },
	  BAD { PUT(F_EVENT_ERROR, 0x10000) } },
	{ "error code, bit 31", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(HARD, 13) | ERROR) },
	  BAD { PUT(F_EVENT_ERROR, 1u << 31) } },
	{ "error code, unused", FAULTS, BOTH { PUT(F_EVENT_ERROR, -1u) }, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 13) | ERROR) } },
#define LENGTHS(name, event) \
	{ name ", no length", FAULTS, BOTH { PUT(F_ENTRY_EVENT, event) }, GOOD { PUT(F_EVENT_LEN, 1) }, \
	  BAD { PUT(F_EVENT_LEN, 0) } }, \
	{ name ", length", FAULTS, BOTH { PUT(F_ENTRY_EVENT, event) }, GOOD { PUT(F_EVENT_LEN, 15) }, \
	  BAD { PUT(F_EVENT_LEN, 16) } }
	LENGTHS("software interrupt", EVENT(SOFT, 32)), LENGTHS("INT1", EVENT(INT1, 1)),
	LENGTHS("software exception", EVENT(SOFT_EXC, 3)),
	{ "length, unused", FAULTS, BOTH { PUT(F_EVENT_LEN, 16) }, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 3)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(SOFT, 3)) } },
	{ "length, of a monitor trap", .ends = R_MONITOR_TRAP, BOTH { PUT(F_EVENT_LEN, 16) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(OTHER, 0)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(SOFT_EXC, 3)) } },
	{ "length, not valid", VALID(EVENT(SOFT, 32)) },
};

#define HOST_ADDRESS(name, field) { name, GOOD { LINEAR(field, -1) }, BAD { LINEAR(field, 0) } }, \
	{ name ", upper half", GOOD { PUT(field, 0xffff800000000000) }, BAD { PUT(field, 0x8000000000000000) } }

static const struct row host[] = {
	/* 26.2.2 */
	{ "CR0.PE", GOOD { OR(F_HOST_CR0, 0x1003e) }, BAD { CLEAR(F_HOST_CR0, CR0_PE) } },
	{ "CR0.NE", BAD { CLEAR(F_HOST_CR0, CR0_NE) } },
	{ "CR0.PG", BAD { CLEAR(F_HOST_CR0, CR0_PG) } },
	{ "CR0, upper half", BAD { OR(F_HOST_CR0, 1ULL << 32) } },
	{ "CR4.VMXE", BAD { CLEAR(F_HOST_CR4, CR4_VMXE) } },
	{ "CR4, reserved bits", GOOD { OR(F_HOST_CR4, CR4_PCIDE) }, BAD { OR(F_HOST_CR4, 1 << 15) } },
	{ "CR4, upper half", BAD { OR(F_HOST_CR4, 1ULL << 63) } },
	{ "CR3", GOOD { PHYS(F_HOST_CR3, -0x1000) }, BAD { PHYS(F_HOST_CR3, GUEST_TABLES) } },
	{ "CR3, bit 63", GOOD { OR(F_HOST_CR3, 0x18) }, BAD { OR(F_HOST_CR3, 1ULL << 63) } },
	HOST_ADDRESS("IA32_SYSENTER_ESP", F_HOST_SYSENTER_ESP), HOST_ADDRESS("IA32_SYSENTER_EIP", F_HOST_SYSENTER_EIP),
	{ "IA32_PERF_GLOBAL_CTRL", BOTH { OR(F_EXIT, X_PERF) }, GOOD { PUT(F_HOST_PERF, 3) },
	  BAD { PUT(F_HOST_PERF, 1ULL << 63) } },
	{ "IA32_PERF_GLOBAL_CTRL, unused", BOTH { PUT(F_HOST_PERF, 1ULL << 63) }, BAD { OR(F_EXIT, X_PERF) } },
	{ "PAT, type 2", BOTH { OR(F_EXIT, X_PAT) }, GOOD { PUT(F_HOST_PAT, PAT_GOOD) },
	  BAD { PUT(F_HOST_PAT, (PAT_GOOD & ~7ULL) | 2) } },
	{ "PAT, type 3", BOTH { OR(F_EXIT, X_PAT) }, BAD { PUT(F_HOST_PAT, 3ULL << 56) } },
	{ "PAT, type 8", BOTH { OR(F_EXIT, X_PAT) }, BAD { PUT(F_HOST_PAT, 8ULL << 24) } },
	{ "PAT, unused", BOTH { PUT(F_HOST_PAT, -1ULL) }, BAD { OR(F_EXIT, X_PAT) } },
	{ "EFER, reserved bits", BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0xd01) },
	  BAD { PUT(F_HOST_EFER, 0xd03) } },
	{ "EFER, SVME", BOTH { OR(F_EXIT, X_EFER) }, BAD { PUT(F_HOST_EFER, 0x1d01) } },
	{ "EFER.LMA", BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0x500) }, BAD { PUT(F_HOST_EFER, 0x100) } },
	{ "EFER.LME", BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0x500) }, BAD { PUT(F_HOST_EFER, 0x400) } },
	{ "EFER, unused", BOTH { PUT(F_HOST_EFER, 2) }, BAD { OR(F_EXIT, X_EFER) } },
	/* 26.2.3 */
	{ "selectors, RPL 1", 0, S_ALL | 64, GOOD { PUT(F_HOST_ES, 0xfff8) }, BAD { OR(F_HOST_ES, 1) } },
	{ "selectors, RPL 2", 0, S_ALL | 64, GOOD { PUT(F_HOST_ES, 0xfff8) }, BAD { OR(F_HOST_ES, 2) } },
	{ "selectors, TI", 0, S_ALL | 64, GOOD { PUT(F_HOST_ES, 8) }, BAD { OR(F_HOST_ES, 4) } },
	{ "CS null", GOOD { PUT(F_HOST_CS, 0x10) }, BAD { PUT(F_HOST_CS, 0) } },
	{ "TR null", GOOD { PUT(F_HOST_TR, 0x10) }, BAD { PUT(F_HOST_TR, 0) } },
	{ "SS null in 64-bit mode, and a bit of its RPL", GOOD { PUT(F_HOST_SS, 0) }, BAD { PUT(F_HOST_SS, 1) } },
	HOST_ADDRESS("FS", F_HOST_FS_BASE), HOST_ADDRESS("GS", F_HOST_GS_BASE), HOST_ADDRESS("TR", F_HOST_TR_BASE),
	HOST_ADDRESS("GDTR", F_HOST_GDTR_BASE), HOST_ADDRESS("IDTR", F_HOST_IDTR_BASE),
	/* 26.2.4 */
	{ "32-bit host of a 64-bit L1", NARROW, GOOD { OR(F_EXIT, X_HOST_64) },
	  BAD { CLEAR(F_EXIT, X_HOST_64), PUT(F_HOST_SS, 0x10) } },
	{ "CR4.PAE", BAD { CLEAR(F_HOST_CR4, CR4_PAE) } },
	{ "RIP", GOOD { OR(F_HOST_RIP, 0xffff800000000000) }, BAD { LINEAR(F_HOST_RIP, GUEST_CODE) } },
};

#define GUEST_ADDRESS(name, field) { name, GOOD { LINEAR(field, -1) }, BAD { LINEAR(field, 0) } }, \
	{ name ", upper half", GOOD { PUT(field, 0xffff800000000000) }, BAD { PUT(field, 0x8000000000000000) } }

static const struct row registers[] = {
	/* 26.3.1.1 */
	{ "CR0.NE", GOOD { OR(F_CR0, 0x5001e) }, BAD { CLEAR(F_CR0, CR0_NE) } },
	{ "CR0.PG", NARROW, BOTH { CLEAR(F_CR0, CR0_PG) }, GOOD { OR(F_PROC2, P2_EPT | P2_UNRESTRICTED) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "CR0.PE", REAL, BAD { CLEAR(F_PROC2, P2_UNRESTRICTED) } },
	{ "CR0.NE, unrestricted", REAL, BAD { CLEAR(F_CR0, CR0_NE) } },
	{ "CR0.PG without PE", REAL, BAD { OR(F_CR0, CR0_PG) } },
	/* NW without CD may be. */
	{ "CR0, upper half", GOOD { OR(F_CR0, 1 << 29) }, BAD { OR(F_CR0, 1ULL << 32) } },
	{ "CR4.VMXE", BAD { CLEAR(F_CR4, CR4_VMXE) } },
	{ "CR4, reserved bits", GOOD { OR(F_CR4, CR4_PCIDE | 0x7df) }, BAD { OR(F_CR4, 1 << 15) } },
	{ "CR4, upper half", BAD { OR(F_CR4, 1ULL << 32) } },
	{ "DEBUGCTL, reserved bits", BOTH { OR(F_ENTRY, N_DEBUG) }, GOOD { PUT(F_DEBUGCTL, 3) },
	  BAD { PUT(F_DEBUGCTL, 1 << 5) } },
	{ "DEBUGCTL, bit 63", BOTH { OR(F_ENTRY, N_DEBUG) }, BAD { PUT(F_DEBUGCTL, 1ULL << 63) } },
	{ "DEBUGCTL, unused", BOTH { PUT(F_DEBUGCTL, 1 << 5) }, BAD { OR(F_ENTRY, N_DEBUG) } },
	{ "DR7, upper half", BOTH { OR(F_ENTRY, N_DEBUG) }, GOOD { PUT(F_DR7, 0xffffff00) },
	  BAD { PUT(F_DR7, 1ULL << 32 | 0x400) } },
	{ "DR7, unused", BOTH { PUT(F_DR7, 1ULL << 63) }, BAD { OR(F_ENTRY, N_DEBUG) } },
	{ "IA-32e mode without PG", UNRESTRICTED, BAD { CLEAR(F_CR0, CR0_PG) } },
	{ "IA-32e mode without PAE", BAD { CLEAR(F_CR4, CR4_PAE) } },
	{ "PAE outside IA-32e mode", NARROW | UNRESTRICTED, GOOD { CLEAR(F_CR0, CR0_PG), CLEAR(F_CR4, CR4_PAE) },
	  BAD { CLEAR(F_CR0, CR0_PG), CLEAR(F_CR4, CR4_VMXE) } },
	{ "PCIDE outside IA-32e mode", NARROW, BAD { OR(F_CR4, CR4_PCIDE) } },
	{ "CR3", GOOD { PHYS(F_CR3, -0x1000) }, BAD { PHYS(F_CR3, GUEST_TABLES) } },
	{ "CR3, bit 63", GOOD { OR(F_CR3, 0x18) }, BAD { OR(F_CR3, 1ULL << 63) } },
	GUEST_ADDRESS("IA32_SYSENTER_ESP", F_SYSENTER_ESP), GUEST_ADDRESS("IA32_SYSENTER_EIP", F_SYSENTER_EIP),
	{ "IA32_PERF_GLOBAL_CTRL", BOTH { OR(F_ENTRY, N_PERF) }, GOOD { PUT(F_PERF, 3) },
	  BAD { PUT(F_PERF, 1ULL << 63) } },
	{ "IA32_PERF_GLOBAL_CTRL, unused", BOTH { PUT(F_PERF, 1ULL << 63) }, BAD { OR(F_ENTRY, N_PERF) } },
	{ "PAT, type 2", BOTH { OR(F_ENTRY, N_PAT) }, GOOD { PUT(F_PAT, PAT_GOOD) },
	  BAD { PUT(F_PAT, (PAT_GOOD & ~7ULL) | 2) } },
	{ "PAT, type 3", BOTH { OR(F_ENTRY, N_PAT) }, BAD { PUT(F_PAT, 3ULL << 56) } },
	{ "PAT, type 8", BOTH { OR(F_ENTRY, N_PAT) }, BAD { PUT(F_PAT, 8ULL << 24) } },
	{ "PAT, unused", BOTH { PUT(F_PAT, -1ULL) }, BAD { OR(F_ENTRY, N_PAT) } },
	{ "EFER, reserved bits", BOTH { OR(F_ENTRY, N_EFER) }, GOOD { PUT(F_EFER, 0xd01) }, BAD { PUT(F_EFER, 0xd03) } },
	{ "EFER, SVME", BOTH { OR(F_ENTRY, N_EFER) }, BAD { PUT(F_EFER, 0x1d01) } },
	{ "EFER.LMA in IA-32e mode", BOTH { OR(F_ENTRY, N_EFER) }, GOOD { PUT(F_EFER, 0x500) }, BAD { PUT(F_EFER, 0) } },
	{ "EFER.LMA outside", NARROW, BOTH { OR(F_ENTRY, N_EFER) }, GOOD { PUT(F_EFER, 0) }, BAD { PUT(F_EFER, 0x500) } },
	{ "EFER.LMA without LME", BOTH { OR(F_ENTRY, N_EFER) }, GOOD { PUT(F_EFER, 0x500) }, BAD { PUT(F_EFER, 0x400) } },
	{ "EFER.LME without LMA", NARROW | UNRESTRICTED, BOTH { OR(F_ENTRY, N_EFER), PUT(F_EFER, 0x100) },
	  GOOD { CLEAR(F_CR0, CR0_PG) },
	  BAD { OR(F_CR0, CR0_PG) } },
	{ "EFER, unused", BOTH { PUT(F_EFER, 2) }, BAD { OR(F_ENTRY, N_EFER) } },
	/* 26.3.1.3 */
	GUEST_ADDRESS("GDTR", F_GDTR_BASE), GUEST_ADDRESS("IDTR", F_IDTR_BASE),
	{ "GDTR, limit", GOOD { PUT(F_GDTR_LIMIT, 0xffff) }, BAD { PUT(F_GDTR_LIMIT, 0x10000) } },
	{ "GDTR, bit 31 of the limit", BAD { PUT(F_GDTR_LIMIT, 1u << 31) } },
	{ "IDTR, limit", GOOD { PUT(F_IDTR_LIMIT, 0xffff) }, BAD { PUT(F_IDTR_LIMIT, 0x10000) } },
	{ "IDTR, bit 31 of the limit", BAD { PUT(F_IDTR_LIMIT, 1u << 31) } },
	/* 26.3.1.4 */
	{ "RIP, 32 bits", NARROW, 0, EXC, GOOD { PUT(F_RIP, 0xfffffff0) }, BAD { PUT(F_RIP, 1ULL << 32 | VMX_L2) } },
	{ "RIP, compatibility mode", FAULTS, BOTH { PUT(F_RIP, 1ULL << 32 | VMX_L2) }, GOOD { PUT(F_CS_ACCESS, 0xa09b) },
	  BAD { PUT(F_CS_ACCESS, 0xc09b) } },
	{ "RIP, CS.L outside IA-32e mode", NARROW, BOTH { OR(F_CS_ACCESS, 1 << 13) },
	  BAD { PUT(F_RIP, 1ULL << 32 | VMX_L2) } },
	{ "RIP, canonical", FAULTS, GOOD { LINEAR(F_RIP, -1) }, BAD { LINEAR(F_RIP, 0) } },
	{ "RFLAGS, bit 1", GOOD { PUT(F_RFLAGS, 0x3d7ed7) }, BAD { CLEAR(F_RFLAGS, 2) } },
	{ "RFLAGS, bit 3", BAD { OR(F_RFLAGS, 1 << 3) } },
	{ "RFLAGS, bit 5", BAD { OR(F_RFLAGS, 1 << 5) } },
	{ "RFLAGS, bit 15", BAD { OR(F_RFLAGS, 1 << 15) } },
	{ "RFLAGS, bit 22", BAD { OR(F_RFLAGS, 1 << 22) } },
	{ "RFLAGS, bit 63", BAD { OR(F_RFLAGS, 1ULL << 63) } },
	{ "RFLAGS.VM in IA-32e mode", VM86, BAD { OR(F_ENTRY, N_GUEST_64) } },
	{ "RFLAGS.VM in real mode", VM86 | UNRESTRICTED, BAD { CLEAR(F_CR0, CR0_PG | CR0_PE) } },
	{ "RFLAGS.IF, interrupt", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(INTR, 32)) }, GOOD { OR(F_RFLAGS, FL_IF) },
	  BAD { CLEAR(F_RFLAGS, FL_IF) } },
	{ "RFLAGS.IF, NMI", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(INTR, 2)) } },
	{ "RFLAGS.IF, no event", BOTH { PUT(F_ENTRY_EVENT, EVENT(INTR, 2) & ~(1u << 31)) },
	  BAD { OR(F_ENTRY_EVENT, 1u << 31) } },
	/* 26.3.1.5 */
	{ "activity state 2", BAD { PUT(F_ACTIVITY, SHUTDOWN) } },
	{ "activity state 4", .ends = R_TIMER, BOTH { OR(F_PIN, P_TIMER) }, GOOD { PUT(F_ACTIVITY, HLT) },
	  BAD { PUT(F_ACTIVITY, 4) } },
	{ "activity state, bit 31", BAD { PUT(F_ACTIVITY, 1u << 31) } },
	{ "HLT and SS.DPL", USER, BAD { PUT(F_ACTIVITY, HLT) } },
	{ "HLT behind STI", BOTH { OR(F_RFLAGS, FL_IF), PUT(F_INTERRUPTIBILITY, STI) }, BAD { PUT(F_ACTIVITY, HLT) } },
	{ "HLT behind MOV SS", BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS) }, BAD { PUT(F_ACTIVITY, HLT) } },
	{ "HLT, NMIs blocked", .ends = R_TIMER, BOTH { PUT(F_ACTIVITY, HLT), OR(F_PIN, P_TIMER) },
	  GOOD { PUT(F_INTERRUPTIBILITY, NMI) },
	  BAD { PUT(F_INTERRUPTIBILITY, MOV_SS) } },
	{ "wait for SIPI behind STI", BOTH { OR(F_RFLAGS, FL_IF), PUT(F_INTERRUPTIBILITY, STI) },
	  BAD { PUT(F_ACTIVITY, WAIT_SIPI) } },
	{ "wait for SIPI behind MOV SS", BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS) }, BAD { PUT(F_ACTIVITY, WAIT_SIPI) } },
	{ "wait for SIPI and NMI", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) },
	  BAD { PUT(F_ACTIVITY, WAIT_SIPI) } },
	{ "wait for SIPI and monitor trap", .ends = R_MONITOR_TRAP, BOTH { PUT(F_ENTRY_EVENT, EVENT(OTHER, 0)) },
	  BAD { PUT(F_ACTIVITY, WAIT_SIPI) } },
#define HALTED BOTH { PUT(F_ACTIVITY, HLT), PUT(F_EVENT_LEN, 1), OR(F_RFLAGS, FL_IF) }
	{ "HLT and #UD", FAULTS, HALTED, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 1)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) } },
	{ "HLT and exceptions", FAULTS, HALTED, GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 18)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(HARD, 19)) } },
	{ "HLT and software interrupt", FAULTS, HALTED, GOOD { PUT(F_ENTRY_EVENT, EVENT(INTR, 32)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(SOFT, 32)) } },
	{ "HLT and INT1", FAULTS, HALTED, GOOD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(INT1, 1)) } },
	{ "HLT and software exception", .ends = R_MONITOR_TRAP, HALTED, GOOD { PUT(F_ENTRY_EVENT, EVENT(OTHER, 0)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(SOFT_EXC, 3)) } },
	{ "HLT and no event", .ends = R_TIMER,
	  BOTH { PUT(F_ACTIVITY, HLT), OR(F_PIN, P_TIMER), PUT(F_ENTRY_EVENT, EVENT(HARD, 6) & ~(1u << 31)) },
	  BAD { OR(F_ENTRY_EVENT, 1u << 31) } },
	{ "active and #UD", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) }, BAD { PUT(F_ACTIVITY, HLT) } },
	{ "interruptibility, bit 4", GOOD { PUT(F_INTERRUPTIBILITY, NMI) }, BAD { PUT(F_INTERRUPTIBILITY, 1 << 4) } },
	{ "interruptibility, bit 5", BAD { PUT(F_INTERRUPTIBILITY, 1 << 5) } },
	{ "interruptibility, bit 31", BAD { PUT(F_INTERRUPTIBILITY, 1u << 31) } },
	{ "blocking by SMI", BAD { PUT(F_INTERRUPTIBILITY, SMI) } },
	{ "blocking by STI and MOV SS", BOTH { OR(F_RFLAGS, FL_IF) }, GOOD { PUT(F_INTERRUPTIBILITY, STI) },
	  BAD { PUT(F_INTERRUPTIBILITY, STI | MOV_SS) } },
	{ "blocking by STI without IF", BOTH { PUT(F_INTERRUPTIBILITY, STI) }, GOOD { OR(F_RFLAGS, FL_IF) },
	  BAD { CLEAR(F_RFLAGS, FL_IF) } },
	{ "blocking by MOV SS without IF", GOOD { PUT(F_INTERRUPTIBILITY, MOV_SS) }, BAD { PUT(F_INTERRUPTIBILITY, STI) } },
#define INJECT(event) BOTH { OR(F_RFLAGS, FL_IF), PUT(F_ENTRY_EVENT, event) }
	{ "interrupt behind STI", FAULTS, INJECT(EVENT(INTR, 32)), GOOD { PUT(F_INTERRUPTIBILITY, NMI) },
	  BAD { PUT(F_INTERRUPTIBILITY, STI) } },
	{ "interrupt behind MOV SS", FAULTS, INJECT(EVENT(INTR, 32)), BAD { PUT(F_INTERRUPTIBILITY, MOV_SS) } },
	{ "no interrupt behind MOV SS", BOTH { OR(F_RFLAGS, FL_IF), PUT(F_INTERRUPTIBILITY, MOV_SS) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(INTR, 32) & ~(1u << 31)) }, BAD { PUT(F_ENTRY_EVENT, EVENT(INTR, 32)) } },
	{ "NMI behind MOV SS", FAULTS, INJECT(EVENT(T_NMI, 2)), GOOD { PUT(F_INTERRUPTIBILITY, STI) },
	  BAD { PUT(F_INTERRUPTIBILITY, MOV_SS) } },
	{ "NMI or an exception behind MOV SS", FAULTS, BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) },
	  BAD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) } },
	{ "no NMI behind MOV SS",
	  BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS), PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2) & ~(1u << 31)) },
	  BAD { OR(F_ENTRY_EVENT, 1u << 31) } },
	{ "NMI, blocked", FAULTS,
	  BOTH { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)), PUT(F_INTERRUPTIBILITY, NMI), OR(F_PIN, P_NMI) },
	  BAD { OR(F_PIN, P_VIRTUAL_NMI) } },
	{ "virtual NMI", FAULTS, BOTH { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)), OR(F_PIN, P_NMI | P_VIRTUAL_NMI) },
	  BAD { PUT(F_INTERRUPTIBILITY, NMI) } },
	{ "exception, virtual NMIs blocked", FAULTS,
	  BOTH { PUT(F_INTERRUPTIBILITY, NMI), OR(F_PIN, P_NMI | P_VIRTUAL_NMI) },
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(HARD, 6)) }, BAD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) } },
	{ "pending debug exceptions, bit 4", FAULTS, GOOD { PUT(F_PENDING_DEBUG, 0x100f) },
	  BAD { PUT(F_PENDING_DEBUG, 1 << 4) } },
	{ "pending debug exceptions, bit 11", FAULTS, GOOD { PUT(F_PENDING_DEBUG, BS) },
	  BAD { PUT(F_PENDING_DEBUG, 1 << 11) } },
	{ "pending debug exceptions, bit 13", BAD { PUT(F_PENDING_DEBUG, 1 << 13) } },
	{ "pending debug exceptions, bit 15", BAD { PUT(F_PENDING_DEBUG, 1 << 15) } },
	{ "pending debug exceptions, bit 17", BAD { PUT(F_PENDING_DEBUG, 1 << 17) } },
	{ "pending debug exceptions, bit 63", BAD { PUT(F_PENDING_DEBUG, 1ULL << 63) } },
	{ "BS behind STI", BOTH { OR(F_RFLAGS, FL_IF | FL_TF), PUT(F_INTERRUPTIBILITY, STI) }, FAULTS,
	  GOOD { PUT(F_PENDING_DEBUG, BS) },
	  BAD { PUT(F_PENDING_DEBUG, 0) } },
	{ "BS behind MOV SS", BOTH { OR(F_RFLAGS, FL_TF), PUT(F_INTERRUPTIBILITY, MOV_SS) },
	  GOOD { PUT(F_PENDING_DEBUG, BS) },
	  BAD { PUT(F_PENDING_DEBUG, 0) } },
	{ "BS while halted", BOTH { OR(F_RFLAGS, FL_TF), PUT(F_ACTIVITY, HLT), OR(F_PIN, P_TIMER) }, .ends = EXC,
	  GOOD { PUT(F_PENDING_DEBUG, BS) }, BAD { PUT(F_PENDING_DEBUG, 0) } },
	{ "BS without TF behind MOV SS", BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS) }, BAD { PUT(F_PENDING_DEBUG, BS) } },
	{ "BS without TF, nothing blocked", FAULTS, BOTH { PUT(F_PENDING_DEBUG, BS) },
	  BAD { PUT(F_INTERRUPTIBILITY, MOV_SS) } },
	{ "BS with BTF",
	  BOTH { PUT(F_INTERRUPTIBILITY, MOV_SS), OR(F_RFLAGS, FL_TF), OR(F_ENTRY, N_DEBUG), PUT(F_DEBUGCTL, 2) },
	  BAD { PUT(F_PENDING_DEBUG, BS) } },
};

static const struct row link_pointers[] = {
	{ "bits 11:0", GOOD { PUT(F_LINK, LINK_PLAIN) }, BAD { PUT(F_LINK, LINK_PLAIN + 8) } },
	{ "beyond memory", GOOD { PUT(F_LINK, -1ULL) }, BAD { PHYS(F_LINK, VMX_FREE) } },
	{ "no memory", BAD { PUT(F_LINK, VMX_MEM + VMX_MEM_SIZE) } },
	{ "revision", GOOD { PUT(F_LINK, LINK_PLAIN) }, BAD { PUT(F_LINK, LINK_OTHER) } },
	{ "shadow VMCS unasked for", GOOD { PUT(F_LINK, LINK_PLAIN) }, BAD { PUT(F_LINK, LINK_SHADOW) } },
	{ "no shadow VMCS", BOTH { OR(F_PROC2, P2_SHADOW_VMCS) }, GOOD { PUT(F_LINK, LINK_SHADOW) },
	  BAD { PUT(F_LINK, LINK_PLAIN) } },
	{ "shadow VMCS, revision", BOTH { OR(F_PROC2, P2_SHADOW_VMCS) }, GOOD { PUT(F_LINK, -1ULL) },
	  BAD { PUT(F_LINK, LINK_OTHER) } },
	{ "the current VMCS", GOOD { PUT(F_LINK, LINK_PLAIN) }, BAD { PUT(F_LINK, VMX_VMCS) } },
};

static const struct row segments[] = {
	/* 26.3.1.2: selectors */
	{ "TR, TI", GOOD { PUT(F_TR, 0xfffb) }, BAD { PUT(F_TR, 0x1c) } },
#define LDT PUT(F_LDTR_ACCESS, 0x82), PUT(F_LDTR_LIMIT, 0xffff)
	{ "LDTR, TI", BOTH { LDT }, GOOD { PUT(F_LDTR, 0xfffb) }, BAD { PUT(F_LDTR, 4) } },
	{ "LDTR, TI, unusable", BOTH { LDT, PUT(F_LDTR, 4) }, GOOD { OR(F_LDTR_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_LDTR_ACCESS, UNUSABLE) } },
#define SS_RPL_1 PUT(F_SS, 1), PUT(F_SS_ACCESS, 0xc0b3), PUT(F_CS_ACCESS, 0xa0bb)
	{ "SS, RPL", BOTH { SS_RPL_1 }, GOOD { PUT(F_CS, 9) }, BAD { PUT(F_CS, 8) } },
	{ "SS, RPL, unrestricted", BOTH { SS_RPL_1 }, GOOD { OR(F_PROC2, P2_EPT | P2_UNRESTRICTED) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	/* Bases */
	GUEST_ADDRESS("TR's base", F_TR_BASE),
	{ "bases of FS and GS", 0, S_FS | S_GS, GOOD { LINEAR(F_ES_BASE, -1) }, BAD { LINEAR(F_ES_BASE, 0) } },
	{ "bases of FS and GS, unusable", 0, S_FS | S_GS, BOTH { OR(F_ES_ACCESS, UNUSABLE) },
	  GOOD { PUT(F_ES_BASE, -1ULL) },
	  BAD { LINEAR(F_ES_BASE, 0) } },
	{ "LDTR's base", BOTH { LDT }, GOOD { LINEAR(F_LDTR_BASE, -1) }, BAD { LINEAR(F_LDTR_BASE, 0) } },
	{ "LDTR's base, unusable", BOTH { LDT, LINEAR(F_LDTR_BASE, 0) }, GOOD { OR(F_LDTR_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_LDTR_ACCESS, UNUSABLE) } },
	{ "CS's base", GOOD { PUT(F_CS_BASE, 0xffffffff) }, BAD { PUT(F_CS_BASE, 1ULL << 32) } },
	{ "bases of SS, DS and ES", 0, S_SS | S_DS | S_ES, GOOD { PUT(F_ES_BASE, 0xffffffff) },
	  BAD { PUT(F_ES_BASE, 1ULL << 32) } },
	{ "bases of SS, DS and ES, bit 63", 0, S_SS | S_DS | S_ES, BAD { PUT(F_ES_BASE, 1ULL << 63) } },
	{ "bases of SS, DS and ES, unusable", 0, S_SS | S_DS | S_ES, BOTH { PUT(F_ES_BASE, 1ULL << 63) },
	  GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	/* Virtual-8086 mode */
	{ "virtual-8086 mode, base", VM86, S_ALL, BAD { OR(F_ES_BASE, 8) } },
	{ "virtual-8086 mode, base 1 MiB up", VM86, S_ALL, BAD { OR(F_ES_BASE, 1 << 20) } },
	{ "virtual-8086 mode, limit", VM86, S_ALL, BAD { PUT(F_ES_LIMIT, 0xfffe) } },
	{ "virtual-8086 mode, limit 1 MiB", VM86, S_ALL, BAD { PUT(F_ES_LIMIT, 0xfffff) } },
	{ "virtual-8086 mode, DPL", VM86, S_ALL, BAD { PUT(F_ES_ACCESS, 0xd3) } },
	{ "virtual-8086 mode, unusable", VM86, S_ALL, BAD { OR(F_ES_ACCESS, UNUSABLE) } },
	{ "virtual-8086 mode, D/B", VM86, S_ALL, BAD { OR(F_ES_ACCESS, 1 << 14) } },
	/* Access rights of what is usable, and of CS always */
	{ "S of CS", BAD { CLEAR(F_CS_ACCESS, 1 << 4) } },
	{ "S of CS, unusable", BOTH { OR(F_CS_ACCESS, UNUSABLE) }, BAD { CLEAR(F_CS_ACCESS, 1 << 4) } },
	{ "S", 0, S_DATA | S_SS, BOTH { CLEAR(F_ES_ACCESS, 1 << 4) }, GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	{ "P of CS", BAD { CLEAR(F_CS_ACCESS, 1 << 7) } },
	{ "P", 0, S_DATA | S_SS, BOTH { CLEAR(F_ES_ACCESS, 1 << 7) }, GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	{ "access rights, bit 8", 0, S_ALL, GOOD { OR(F_ES_ACCESS, 1 << 12) }, BAD { RAW(F_ES_ACCESS, 1 << 8) } },
	{ "access rights, bit 11", 0, S_ALL, BAD { RAW(F_ES_ACCESS, 1 << 11) } },
	{ "access rights, bit 17", 0, S_ALL, BAD { RAW(F_ES_ACCESS, 1 << 17) } },
	{ "access rights, bit 31", 0, S_ALL, BAD { RAW(F_ES_ACCESS, 1u << 31) } },
	{ "access rights, unusable", 0, S_DATA | S_SS, BOTH { RAW(F_ES_ACCESS, 1u << 31) },
	  GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	{ "G, bits 11:0 of the limit", 0, S_ALL, BOTH { PUT(F_ES_LIMIT, 0xffffe) }, GOOD { CLEAR(F_ES_ACCESS, 1 << 15) },
	  BAD { OR(F_ES_ACCESS, 1 << 15) } },
	{ "G, bits 31:20 of the limit", 0, S_ALL, BOTH { PUT(F_ES_LIMIT, 0x100fff) }, GOOD { OR(F_ES_ACCESS, 1 << 15) },
	  BAD { CLEAR(F_ES_ACCESS, 1 << 15) } },
	{ "G, bits 11:0 and 31:20", 0, S_ALL, GOOD { PUT(F_ES_LIMIT, 0xfff) },
	  BAD { PUT(F_ES_LIMIT, 0x7ff), OR(F_ES_ACCESS, 1 << 15) } },
	{ "CS.L and D", GOOD { PUT(F_CS_ACCESS, 0xc09b) }, BAD { PUT(F_CS_ACCESS, 0xe09b) } },
	{ "CS.L and D outside IA-32e mode", NARROW, GOOD { PUT(F_CS_ACCESS, 0xe09b) }, BAD { PUT(F_CS_ACCESS, 0xe08b) } },
	{ "type 0", 0, S_DATA | S_SS, BOTH { CLEAR(F_ES_ACCESS, 15) }, GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	/* CS */
	{ "CS's DPL above SS's", BAD { PUT(F_CS_ACCESS, 0xa0fb) } },
	{ "CS's DPL below SS's", USER, BAD { PUT(F_CS_ACCESS, 0xa09b) } },
	{ "CS's DPL, conforming", USER, GOOD { PUT(F_CS_ACCESS, 0xa09f) }, BAD { PUT(F_CS_ACCESS, 0xa09b) } },
	{ "CS's DPL, conforming, above SS's", GOOD { PUT(F_CS_ACCESS, 0xa09f) }, BAD { PUT(F_CS_ACCESS, 0xa0bf) } },
	{ "CS, type 3", NARROW, BOTH { PUT(F_CS_ACCESS, 0xc093) }, GOOD { OR(F_PROC2, P2_EPT | P2_UNRESTRICTED) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "CS, type 3, DPL", NARROW | UNRESTRICTED, GOOD { PUT(F_CS_ACCESS, 0xc093) }, BAD { PUT(F_CS_ACCESS, 0xc0b3) } },
	/* SS */
	{ "SS's DPL and RPL", BOTH { PUT(F_SS, 3), PUT(F_CS, 11) }, GOOD { OR(F_PROC2, P2_EPT | P2_UNRESTRICTED) },
	  BAD { CLEAR(F_PROC2, P2_EPT) } },
	{ "SS's DPL and RPL, unusable", USER, BOTH { OR(F_SS_ACCESS, UNUSABLE) },
	  BAD { PUT(F_SS_ACCESS, 0x1c093), PUT(F_CS_ACCESS, 0xa09b) } },
	{ "SS's DPL, CS of type 3", NARROW | UNRESTRICTED, BOTH { PUT(F_SS_ACCESS, 0xc0b3) },
	  GOOD { PUT(F_CS_ACCESS, 0xc0bb) },
	  BAD { PUT(F_CS_ACCESS, 0xc093) } },
	{ "SS's DPL, real mode", REAL, BOTH { PUT(F_SS_ACCESS, 0xc0f3), PUT(F_CS_ACCESS, 0xc0fb) },
	  GOOD { OR(F_CR0, CR0_PE) }, BAD { CLEAR(F_CR0, CR0_PE) } },
	/* Data */
	{ "DPL below RPL", 0, S_DATA, BOTH { PUT(F_ES, 3) }, GOOD { PUT(F_ES_ACCESS, 0xc0f3) },
	  BAD { PUT(F_ES_ACCESS, 0xc0d3) } },
	{ "DPL below RPL, code", 0, S_DATA, BOTH { PUT(F_ES, 1) }, GOOD { PUT(F_ES_ACCESS, 0xc09f) },
	  BAD { PUT(F_ES_ACCESS, 0xc09b) } },
	{ "DPL below RPL, unusable", 0, S_DATA, BOTH { PUT(F_ES, 3) }, GOOD { OR(F_ES_ACCESS, UNUSABLE) },
	  BAD { CLEAR(F_ES_ACCESS, UNUSABLE) } },
	{ "DPL below RPL, unrestricted", EPT, S_DATA, BOTH { PUT(F_ES, 3) }, GOOD { OR(F_PROC2, P2_UNRESTRICTED) },
	  BAD { CLEAR(F_PROC2, P2_UNRESTRICTED) } },
	/* TR and LDTR */
	{ "TR unusable", BAD { OR(F_TR_ACCESS, UNUSABLE) } },
	{ "TR, S", BAD { OR(F_TR_ACCESS, 1 << 4) } },
	{ "TR, P", GOOD { OR(F_TR_ACCESS, 0x7060) }, BAD { CLEAR(F_TR_ACCESS, 1 << 7) } },
	{ "TR, bit 8", BAD { RAW(F_TR_ACCESS, 1 << 8) } },
	{ "TR, bit 17", BAD { RAW(F_TR_ACCESS, 1 << 17) } },
	{ "TR, G, bits 11:0", BOTH { PUT(F_TR_LIMIT, 0xffffe) }, BAD { OR(F_TR_ACCESS, 1 << 15) } },
	{ "TR, G, bits 31:20", BOTH { PUT(F_TR_LIMIT, 0x100fff) }, GOOD { OR(F_TR_ACCESS, 1 << 15) },
	  BAD { CLEAR(F_TR_ACCESS, 1 << 15) } },
#define LDTR_ROW(name_, ...) { "LDTR, " name_, BOTH { LDT, __VA_ARGS__ }, GOOD { OR(F_LDTR_ACCESS, UNUSABLE) }, \
	  BAD { CLEAR(F_LDTR_ACCESS, UNUSABLE) } }
	LDTR_ROW("S", PUT(F_LDTR_ACCESS, 0x92)), LDTR_ROW("P", PUT(F_LDTR_ACCESS, 0x02)),
	LDTR_ROW("type 3", PUT(F_LDTR_ACCESS, 0x83)), LDTR_ROW("bit 8", RAW(F_LDTR_ACCESS, 1 << 8)),
	LDTR_ROW("bit 17", RAW(F_LDTR_ACCESS, 1 << 17)),
	{ "LDTR, G, bits 11:0", BOTH { LDT, PUT(F_LDTR_LIMIT, 0xffffe) }, GOOD { CLEAR(F_LDTR_ACCESS, 1 << 15) },
	  BAD { OR(F_LDTR_ACCESS, 1 << 15) } },
	{ "LDTR, G, bits 31:20", BOTH { LDT, PUT(F_LDTR_LIMIT, 0x100fff) }, GOOD { OR(F_LDTR_ACCESS, 1 << 15) },
	  BAD { CLEAR(F_LDTR_ACCESS, 1 << 15) } },
};

/* Of PAE's four, with EPT in fields.  What is not present may be anything.  26.3.1.6. */
#define PDPTE_ROWS(n) \
	{ "PDPTE " #n ", bit 1", NARROW | EPT, GOOD { PUT(F_PDPTE + 2 * (n), L2_PD | 0xe19) }, \
	  BAD { PUT(F_PDPTE + 2 * (n), L2_PD | 3) } }, \
	{ "PDPTE " #n ", bit 2", NARROW | EPT, BAD { PUT(F_PDPTE + 2 * (n), L2_PD | 5) } }, \
	{ "PDPTE " #n ", bit 5", NARROW | EPT, BAD { PUT(F_PDPTE + 2 * (n), L2_PD | 0x21) } }, \
	{ "PDPTE " #n ", bit 8", NARROW | EPT, BAD { PUT(F_PDPTE + 2 * (n), L2_PD | 0x101) } }, \
	{ "PDPTE " #n ", beyond memory", NARROW | EPT, BAD { PHYS(F_PDPTE + 2 * (n), L2_PD | 1) } }, \
	{ "PDPTE " #n ", bit 63", NARROW | EPT, BAD { PUT(F_PDPTE + 2 * (n), 1ULL << 63 | L2_PD | 1) } }

static const struct row pdptes[] = {
	PDPTE_ROWS(0), PDPTE_ROWS(1), PDPTE_ROWS(2), PDPTE_ROWS(3),
	{ "PDPTE 1 not present", NARROW | EPT, GOOD { PUT(F_PDPTE + 2, -2ULL) }, BAD { PUT(F_PDPTE + 2, -1ULL) } },
	{ "PDPTE 3 without paging", NARROW | UNRESTRICTED, BOTH { PUT(F_PDPTE + 6, -1ULL) }, GOOD { CLEAR(F_CR0, CR0_PG) },
	  BAD { OR(F_CR0, CR0_PG) } },
	{ "PDPTE 3 in IA-32e mode", EPT, BOTH { PUT(F_PDPTE + 6, -1ULL) },
	  BAD { CLEAR(F_ENTRY, N_GUEST_64), PUT(F_CS_ACCESS, 0xc09b) } },
	/* Without EPT, in memory. */
#define TABLE(n) PUT(F_CR3, PAE_TABLES + 32 * (n))
	{ "entry 0, bit 1", NARROW, GOOD { TABLE(0) }, BAD { TABLE(1) } },
	{ "entry 1, bit 2", NARROW, BAD { TABLE(2) } },
	{ "entry 2, bit 5", NARROW, BAD { TABLE(3) } },
	{ "entry 3, bit 8", NARROW, BAD { TABLE(4) } },
	{ "entry 3, bit 63", NARROW, BAD { TABLE(5) } },
};

/* --- the machine --------------------------------------------------------------------------------- */

struct test {
	struct vmx s;
	uint8_t *top;           /* the last two pages of physical memory: tables of EPT, and of paging */
	uint8_t page[PAGE];     /* a VMCS that is taken */
	uint64_t phys, linear;
};

static void put_memory(struct test *t)
{
	static const uint64_t bad[] = { 3, 5, 0x21, 0x101, 1ULL << 63 | 1 };
	static const uint8_t places[] = { 0, 1, 2, 3, 3 };
	uint32_t revision = *(uint32_t *)vmx_at(&t->s, VMX_VMXON);
	uint64_t *tables = vmx_at(&t->s, PAE_TABLES), *area = vmx_at(&t->s, AREA), *end = (uint64_t *)(t->top + 2 * PAGE);

	for (unsigned int n = 0; n < 6; n++) {
		tables[4 * n] = L2_PD | 1;
		tables[4 * n + 1] = tables[4 * n + 2] = tables[4 * n + 3] = -2ULL;
		if (n)
			tables[4 * n + places[n - 1]] = L2_PD | bad[n - 1];
	}
	*(uint32_t *)vmx_at(&t->s, LINK_PLAIN) = *(uint32_t *)vmx_at(&t->s, LINK_PLAIN + 8) = revision;
	*(uint32_t *)vmx_at(&t->s, LINK_SHADOW) = revision | 1u << 31;
	*(uint32_t *)vmx_at(&t->s, LINK_OTHER) = revision + 1;
	((uint8_t *)vmx_at(&t->s, VAPIC))[0x80] = t->top[PAGE + 0x80] = 0x50;
	*(uint64_t *)vmx_at(&t->s, PML5) = VMX_EPT | EPT_ALL;
	/* IA32_SYSENTER_CS, all of them. */
	for (unsigned int n = 0; n < 4; n++)
		area[2 * n] = 0x174;
	end[-2] = 0x174;
	end[-1] = 0;
	/* And L1's memory once more, in the upper half. */
	*(uint64_t *)t->top = (VMX_EPT + 0x1000) | EPT_ALL;
	*(uint64_t *)(t->top + PAGE) = (GUEST_TABLES + 0x1000) | 7;
	((uint64_t *)(t->s.g.mem + GUEST_TABLES))[256] = (GUEST_TABLES + 0x1000) | 7;
}

static void put_fields(struct test *t)
{
	static const uint16_t addresses[] = { F_VIRTUAL_APIC, F_APIC_ACCESS, F_POSTED_DESC, F_EPTP_LIST, F_VMREAD_BITMAP,
					      F_VMWRITE_BITMAP, F_PML_ADDRESS, F_VE_INFO };

	vmx_ept(&t->s, 0);
	vmx_clear(&t->s, F_PROC2, P2_EPT);
	for (unsigned int n = 0; n < sizeof(addresses) / sizeof(addresses[0]); n++)
		vmx_put(&t->s, addresses[n], VAPIC);
	vmx_put(&t->s, F_VPID, 1);
	vmx_put(&t->s, F_TSC_MULTIPLIER, 1ULL << 48);
	vmx_put(&t->s, F_PDPTE, L2_PD | 1);
	vmx_put(&t->s, F_PAT, PAT_GOOD);
	vmx_put(&t->s, F_HOST_PAT, PAT_GOOD);
	vmx_put(&t->s, F_EFER, 0x500);
	vmx_put(&t->s, F_HOST_EFER, 0x500);
	/* Whatever becomes of L2, it ends by an exit. */
	vmx_put(&t->s, F_EXCEPTIONS, 0xffffffff);
	vmx_put(&t->s, F_IDTR_LIMIT, 0);
	vmx_put(&t->s, F_ERROR, 0);
}

static struct test start(bool irqchip)
{
	static const uint8_t vmcall[] = { 0x0f, 0x01, 0xc1 };
	struct test t = { 0 };

	/* KVM leaves many to the processor, and some to nobody. */
	if (api_real())
		skip();
	t.s = vmx_start(vmcall, sizeof(vmcall), P2_EPT | P2_UNRESTRICTED, irqchip);
	t.phys = 1ULL << (guest_leaf(t.s.cpuid, 0x80000008, 0)->eax & 0xff);
	t.linear = 1ULL << (guest_leaf(t.s.cpuid, 7, 0)->ecx >> 16 & 1 ? 56 : 47);
	t.top = api_memory(2 * PAGE);
	api_ok(api_set_slot(t.s.g.vm, 2, 0, t.phys - 2 * PAGE, 2 * PAGE, t.top));
	put_memory(&t);
	put_fields(&t);
	vmx_unload(&t.s);
	memcpy(t.page, vmx_at(&t.s, VMX_VMCS), PAGE);
	return t;
}

static void end(struct test *t)
{
	vmx_end(&t->s);
	munmap(t->top, 2 * PAGE);
}

/* --- states -------------------------------------------------------------------------------------------- */

static void make_vm86(struct vmx *s)
{
	for (unsigned int n = 0; n < 6; n++) {
		vmx_put(s, F_ES + 2 * n, n == 1 ? VMX_L2 >> 4 : 0);
		vmx_put(s, F_ES_BASE + 2 * n, n == 1 ? VMX_L2 : 0);
		vmx_put(s, F_ES_LIMIT + 2 * n, 0xffff);
		vmx_put(s, F_ES_ACCESS + 2 * n, 0xf3);
	}
	vmx_goto(s, 0);
	vmx_set(s, F_RFLAGS, FL_VM);
}

static void make_narrow(struct vmx *s)
{
	vmx_clear(s, F_ENTRY, N_GUEST_64);
	vmx_put(s, F_CR3, PAE_TABLES);
	vmx_put(s, F_CS_ACCESS, 0xc09b);
}

static void make_user(struct vmx *s)
{
	vmx_put(s, F_CS, 11);
	vmx_put(s, F_CS_ACCESS, 0xa0fb);
	vmx_put(s, F_SS, 3);
	vmx_put(s, F_SS_ACCESS, 0xc0f3);
}

static void make_l2(struct vmx *s, unsigned int l2)
{
	if (l2 & (EPT | UNRESTRICTED | REAL))
		vmx_set(s, F_PROC2, P2_EPT | (l2 & (UNRESTRICTED | REAL) ? P2_UNRESTRICTED : 0));
	if (l2 & (NARROW | REAL | VM86))
		make_narrow(s);
	if (l2 & REAL)
		vmx_clear(s, F_CR0, CR0_PG | CR0_PE);
	if (l2 & VM86)
		make_vm86(s);
	if (l2 & USER)
		make_user(s);
}

static uint16_t field_of(const struct op *o, unsigned int segment)
{
	static const uint16_t es[] = { F_ES, F_HOST_ES, F_ES_LIMIT, F_ES_ACCESS, F_ES_BASE };

	for (unsigned int n = 0; n < sizeof(es) / sizeof(es[0]); n++)
		if (o->field == es[n])
			return (uint16_t)(o->field + 2 * segment);
	return o->field;
}

static uint64_t limit(const struct test *t, enum how how)
{
	return how == OP_PHYS ? t->phys : how == OP_LINEAR ? t->linear : 0;
}

static void put_ops(struct test *t, const struct op *o, unsigned int segment)
{
	for (unsigned int n = 0; n < 4 && o[n].how; n++) {
		uint16_t field = field_of(&o[n], segment);

		if (o[n].how == OP_SET)
			vmx_set(&t->s, field, o[n].value);
		else if (o[n].how == OP_CLEAR)
			vmx_clear(&t->s, field, o[n].value);
		else if (o[n].how != OP_RAW)
			vmx_put(&t->s, field, o[n].value + limit(t, o[n].how));
	}
}

/* Bits of access rights, where KVM's VMCS has these. */
static void put_raw(struct test *t, const struct op *o, unsigned int segment)
{
	for (unsigned int n = 0; n < 4 && o[n].how; n++)
		if (o[n].how == OP_RAW) {
			uint32_t *all = vmx_at(&t->s, VMX_VMCS + 880);

			all[(field_of(&o[n], segment) - F_ES_ACCESS) / 2] |= (uint32_t)o[n].value;
		}
}

/* The state is current; in memory it is, too. */
static void make(struct test *t, unsigned int l2, const struct op *both, const struct op *more, unsigned int segment)
{
	vmx_unload(&t->s);
	memcpy(vmx_at(&t->s, VMX_VMCS), t->page, PAGE);
	put_memory(t);
	vmx_load(&t->s);
	make_l2(&t->s, l2);
	put_ops(t, both, segment);
	put_ops(t, more, segment);
	vmx_unload(&t->s);
	put_raw(t, both, segment);
	put_raw(t, more, segment);
	vmx_load(&t->s);
}

/* --- what comes of one ------------------------------------------------------------------------------------- */

static void expect_enters(struct test *t, const char *name, unsigned int reason)
{
	uint64_t runs = guest_stat(t->s.g.vcpu, "nested_run"), exits = guest_stat(t->s.g.vcpu, "nested_exits");
	uint32_t was = vmx_run(&t->s);

	if (was != reason)
		fail_msg("%s, kept: %#x, not %u; qualification %#lx", name, was, reason, vmx_get(&t->s, F_QUALIFICATION));
	assert_int_equal(guest_stat(t->s.g.vcpu, "nested_run") - runs, 1);
	assert_int_equal(guest_stat(t->s.g.vcpu, "nested_exits") - exits, 1);
}

/* L1 goes on behind VMLAUNCH or, by way of a VM exit, at HOST_RIP; all that the VMCS says but the why is as it was. */
static void expect_fails(struct test *t, const char *name, uint32_t reason, uint64_t qualification)
{
	uint64_t runs = guest_stat(t->s.g.vcpu, "nested_run"), exits = guest_stat(t->s.g.vcpu, "nested_exits");
	uint8_t before[PAGE];
	uint32_t was;

	memcpy(before, vmx_at(&t->s, VMX_VMCS), PAGE);
	was = vmx_run(&t->s);
	if (was != reason)
		fail_msg("%s, broken: %#x, not %#x", name, was, reason);
	assert_int_equal(guest_stat(t->s.g.vcpu, "nested_run"), runs);
	assert_int_equal(guest_stat(t->s.g.vcpu, "nested_exits") - exits, reason < VMX_ENTRY_FAILED ? 0 : 1);
	assert_int_equal(vmx_get(&t->s, F_QUALIFICATION), qualification);
	vmx_put(&t->s, F_ERROR, 0);
	vmx_put(&t->s, F_REASON, 0);
	vmx_put(&t->s, F_QUALIFICATION, 0);
	vmx_unload(&t->s);
	if (memcmp(before, vmx_at(&t->s, VMX_VMCS), PAGE))
		fail_msg("%s, broken: the VMCS has changed", name);
}

static void expect(struct test *t, const char *name, enum fails fails, unsigned int ends)
{
	static const uint32_t reasons[] = { [CONTROLS] = VMX_FAIL + 7, [HOST] = VMX_FAIL + 8, [GUEST] = GUEST_STATE,
					    [LINK] = GUEST_STATE, [PDPTE] = GUEST_STATE };
	static const uint8_t qualifications[] = { [LINK] = 4, [PDPTE] = 2 };

	if (fails == NEVER)
		expect_enters(t, name, ends == EXC ? R_EXCEPTION : ends ? ends : R_VMCALL);
	else
		expect_fails(t, name, reasons[fails], qualifications[fails]);
}

static void check_rows(const struct row *r, size_t count, enum fails fails)
{
	struct test t = start(false);

	for (; count; count--, r++)
		for (unsigned int n = 0; n < 8; n++)
			if (r->segments ? r->segments >> n & 1 : !n) {
				make(&t, r->l2, r->both, r->good, n);
				expect(&t, r->name, NEVER, r->ends);
				make(&t, r->l2, r->both, r->bad, n);
				expect(&t, r->name, fails, 0);
			}
	end(&t);
}

#define CHECK(rows, fails) check_rows(rows, sizeof(rows) / sizeof((rows)[0]), fails)

static void test_controls(void **state) { CHECK(controls, CONTROLS); }
static void test_host(void **state) { CHECK(host, HOST); }
static void test_registers(void **state) { CHECK(registers, GUEST); }
static void test_segments(void **state) { CHECK(segments, GUEST); }
static void test_link(void **state) { CHECK(link_pointers, LINK); }
static void test_pdptes(void **state) { CHECK(pdptes, PDPTE); }

/* --- what is better counted out --------------------------------------------------------------------------- */

/* The types that each segment may have: bits by their number. */
static void test_types(void **state)
{
	static const struct {
		uint8_t segments, l2;
		uint16_t may;
	} rows[] = {
		{ S_CS, 0, 0xaa00 }, { S_CS, NARROW | UNRESTRICTED, 0xaa08 }, { S_SS, 0, 0x88 }, { S_DATA, 0, 0x88aa },
		{ S_TR, 0, 1 << 11 }, { S_TR, NARROW, 1 << 11 | 1 << 3 }, { 64, 0, 1 << 2 },
	};
	static const struct op nothing[4], ldt[4] = { LDT };
	struct test t = start(false);

	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]) * 8 * 16; n++) {
		unsigned int row = n / 128, segment = n / 16 % 8, type = n % 16;
		const struct op ops[4] = { CLEAR(F_ES_ACCESS, 15), OR(F_ES_ACCESS, type) };
		char name[40];

		if (!(rows[row].segments >> segment & 1))
			continue;
		snprintf(name, sizeof(name), "segment %u, type %u", segment, type);
		make(&t, rows[row].l2, segment == 6 ? ldt : nothing, ops, segment);
		expect(&t, name, rows[row].may >> type & 1 ? NEVER : GUEST, 0);
	}
	end(&t);
}

/* An exception has an error code, or none. */
static void test_error_codes(void **state)
{
	const uint32_t with = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
	struct test t = start(false);

	for (unsigned int n = 0; n < 64; n++) {
		const struct op event[4] = { PUT(F_ENTRY_EVENT, EVENT(HARD, n / 2) | (n & 1 ? ERROR : 0)) };
		char name[40];

		snprintf(name, sizeof(name), "exception %u, %s", n / 2, n & 1 ? "error code" : "none");
		make(&t, 0, event, event, 0);
		expect(&t, name, (with >> (n / 2) & 1) == (n & 1) ? NEVER : CONTROLS, EXC);
	}
	end(&t);
}

/* --- what the client has taken away ------------------------------------------------------------------------- */

#define PBASED(n) (1ULL << (32 + (n)))
#define ALWAYS(n) (1ULL << (n))

/* Of the capability MSR this bit is the other way round: what passed fails, or passes still. */
static const struct {
	uint16_t msr;
	uint64_t bit;
	enum fails fails;
	struct row row;
} narrowed[] = {
	{ 0x48d, PBASED(6), CONTROLS, { "preemption timer", .ends = R_TIMER, GOOD { OR(F_PIN, P_TIMER) } } },
	{ 0x48d, ALWAYS(0), CONTROLS, { "interrupts that always exit", GOOD { CLEAR(F_PIN, P_EXT_INTR) } } },
	{ 0x48e, PBASED(25), CONTROLS, { "I/O bitmaps",
	  GOOD { OR(F_PROC, P_IO_BITMAPS), PUT(F_IO_A, VAPIC), PUT(F_IO_B, VAPIC) } } },
	{ 0x48e, ALWAYS(15), CONTROLS, { "CR3 that always exits", GOOD { CLEAR(F_PROC, 1 << 15) } } },
	{ 0x48b, PBASED(1), CONTROLS, { "EPT", EPT, GOOD { OR(F_PROC2, P2_EPT) } } },
	{ 0x48b, ALWAYS(5), CONTROLS, { "always a VPID", GOOD { CLEAR(F_PROC2, P2_VPID) } } },
	{ 0x48f, PBASED(19), CONTROLS, { "PAT loaded at exits", GOOD { OR(F_EXIT, X_PAT) } } },
	{ 0x48f, ALWAYS(2), CONTROLS, { "debug controls always saved", GOOD { CLEAR(F_EXIT, 1 << 2) } } },
	{ 0x490, PBASED(14), CONTROLS, { "PAT loaded at entry", GOOD { OR(F_ENTRY, N_PAT) } } },
	{ 0x490, ALWAYS(2), CONTROLS, { "debug controls always loaded", GOOD { CLEAR(F_ENTRY, N_DEBUG) } } },
	{ 0x48e, PBASED(27), CONTROLS, { "monitor trap", .ends = R_MONITOR_TRAP,
	  GOOD { PUT(F_ENTRY_EVENT, EVENT(OTHER, 0)) } } },
	{ 0x48e, PBASED(27), NEVER, { "no monitor trap", FAULTS, GOOD { PUT(F_ENTRY_EVENT, EVENT(T_NMI, 2)) } } },
	{ 0x48c, 1 << 6, CONTROLS, { "EPT of 4 levels", EPT, GOOD { CLEAR(F_EPTP, EPTP_AD) } } },
	{ 0x48c, 1 << 7, CONTROLS, { "EPT of 5 levels", EPT, GOOD { PUT(F_EPTP, PML5 | 4 << 3 | 6) } } },
	{ 0x48c, 1 << 14, CONTROLS, { "EPT, write back", EPT, GOOD { CLEAR(F_EPTP, EPTP_AD) } } },
	{ 0x48c, 1 << 21, CONTROLS, { "EPT, accessed and dirty", EPT, GOOD { OR(F_EPTP, EPTP_AD) } } },
	{ 0x48c, 1 << 21, NEVER, { "EPT without accessed and dirty", EPT, GOOD { CLEAR(F_EPTP, EPTP_AD) } } },
	{ 0x48c, 1 << 7, NEVER, { "EPT of 4 levels, not 5", EPT, GOOD { CLEAR(F_EPTP, EPTP_AD) } } },
	{ 0x491, 1, CONTROLS, { "EPTP switching", EPT, GOOD { OR(F_PROC2, P2_VMFUNC), PUT(F_VMFUNC, 1) } } },
	{ 0x486, 1 << 16, HOST, { "CR0.WP", GOOD { OR(F_CR0, 1 << 16), CLEAR(F_HOST_CR0, 1 << 16) } } },
	{ 0x486, 1 << 16, GUEST, { "L2's CR0.WP", GOOD { CLEAR(F_CR0, 1 << 16), OR(F_HOST_CR0, 1 << 16) } } },
	{ 0x488, 1 << 2, HOST, { "CR4.TSD", GOOD { OR(F_CR4, 1 << 2), CLEAR(F_HOST_CR4, 1 << 2) } } },
	{ 0x488, 1 << 2, GUEST, { "L2's CR4.TSD", GOOD { CLEAR(F_CR4, 1 << 2), OR(F_HOST_CR4, 1 << 2) } } },
};

static void test_capabilities(void **state)
{
	static const struct op nothing[4];
	struct test t = start(false);

	for (unsigned int n = 0; n < sizeof(narrowed) / sizeof(narrowed[0]); n++) {
		const struct row *r = &narrowed[n].row;

		make(&t, r->l2, nothing, r->good, 0);
		expect(&t, r->name, NEVER, r->ends);
		make(&t, r->l2, nothing, r->good, 0);
		vmx_flip_capability(&t.s, narrowed[n].msr, narrowed[n].bit);
		expect(&t, r->name, narrowed[n].fails, r->ends);
		vmx_flip_capability(&t.s, narrowed[n].msr, narrowed[n].bit);
	}
	end(&t);
}

/* --- the order ------------------------------------------------------------------------------------- */

static const struct op breaks[][4] = {
	{ PUT(F_CR3_TARGETS, 1) }, { PUT(F_HOST_CS, 0) }, { PUT(F_RFLAGS, 0) },
};

static void test_order(void **state)
{
	static const enum fails first[] = { NEVER, CONTROLS, HOST, CONTROLS, GUEST, CONTROLS, HOST, CONTROLS };
	static const struct op nothing[4];
	struct test t = start(false);

	for (unsigned int n = 0; n < 8; n++) {
		make(&t, 0, n & 1 ? breaks[0] : nothing, n & 2 ? breaks[1] : nothing, 0);
		put_ops(&t, n & 4 ? breaks[2] : nothing, 0);
		vmx_unload(&t.s);
		vmx_load(&t.s);
		expect(&t, "several", first[n], 0);
	}
	end(&t);
}

/* mov eax,ss; mov ss,eax; VMLAUNCH; its flags, where vmx_reason() looks. */
static uint32_t launch_behind_mov_ss(struct test *t)
{
	VMX_DO(&t->s, 0x8c, 0xd0, 0x8e, 0xd0, 0x0f, 0x01, 0xc2, 0x9c, 0x8f, 0x04, 0x25, 0x20, 0x20, 0x10, 0);
	return vmx_reason(&t->s);
}

/* Of the launch state, which comes before all of these. */
static void test_launch_state(void **state)
{
	static const struct op nothing[4];
	struct test t = start(false);

	make(&t, 0, breaks[0], breaks[1], 0);
	*vmx_launched(&t.s) = 1;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 5);
	assert_int_equal(launch_behind_mov_ss(&t), VMX_FAIL + 26);
	/* What fails is not launched. */
	*vmx_launched(&t.s) = 0;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 7);
	*vmx_launched(&t.s) = 1;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 5);
	make(&t, 0, breaks[2], breaks[2], 0);
	assert_int_equal(vmx_run(&t.s), GUEST_STATE);
	*vmx_launched(&t.s) = 1;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 5);
	/* One that has run is. */
	make(&t, 0, nothing, nothing, 0);
	expect(&t, "launched", NEVER, 0);
	put_ops(&t, breaks[0], 0);
	put_ops(&t, breaks[1], 0);
	*vmx_launched(&t.s) = 0;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 4);
	assert_int_equal(launch_behind_mov_ss(&t), VMX_FAIL + 26);
	*vmx_launched(&t.s) = 1;
	assert_int_equal(vmx_run(&t.s), VMX_FAIL + 7);
	/* Without a current VMCS there is no number to give, whatever else. */
	vmx_unload(&t.s);
	assert_int_equal(launch_behind_mov_ss(&t), VMX_FAIL);
	end(&t);
}

struct sender {
	int vm;
	atomic_bool done;
};

/* To a CPU in VMX root operation it is lost: until L2 waits it does nothing, and what then. */
static void *send_sipis(void *arg)
{
	struct sender *x = arg;
	struct kvm_msi m = { .address_lo = 0xfee00000, .data = 0x65a };

	while (!atomic_load(&x->done)) {
		api_ioctl(x->vm, KVM_SIGNAL_MSI, &m);
		usleep(500);
	}
	return NULL;
}

/* One that waits for a SIPI is entered, with NMIs blocked, too; and leaves by it. */
static void test_wait_for_sipi(void **state)
{
	static const struct op waits[4] = { PUT(F_ACTIVITY, WAIT_SIPI), PUT(F_INTERRUPTIBILITY, NMI) };
	struct test t = start(true);
	struct sender x = { .vm = t.s.g.vm };
	pthread_t thread;

	make(&t, 0, waits, waits, 0);
	assert_int_equal(pthread_create(&thread, NULL, send_sipis, &x), 0);
	expect(&t, "wait for SIPI", NEVER, R_SIPI);
	atomic_store(&x.done, true);
	pthread_join(thread, NULL);
	assert_int_equal(vmx_get(&t.s, F_QUALIFICATION), 0x5a);
	assert_int_equal(vmx_get(&t.s, F_ACTIVITY), WAIT_SIPI);
	end(&t);
}

/* --- lists of MSRs: 26.4, 27.4, 27.6 ------------------------------------------------------------------- */

enum { LOADED = 1, STORED = 2 };        /* it may be */

static const struct {
	const char *name;
	uint32_t index, reserved;
	uint64_t value;
	unsigned int may;
} entries[] = {
	{ "bits 63:32", 0x174, 0, 0x1234, LOADED | STORED },
	{ "bit 32", 0x174, 1, 0, 0 },
	{ "bit 63", 0x174, 1u << 31, 0, 0 },
	{ "IA32_KERNEL_GS_BASE", 0xc0000102, 0, 0, LOADED | STORED },
	{ "FS's base", 0xc0000100, 0, 0, STORED },
	{ "GS's base", 0xc0000101, 0, 0, STORED },
	{ "the local APIC's", 0x808, 0, 0, 0 },
	{ "microcode update", 0x79, 0, 0, 0 },
	{ "microcode revision", 0x8b, 0, 0, STORED },
	{ "SMM monitor", 0x9b, 0, 0, 0 },
	{ "SMBASE", 0x9e, 0, 0, 0 },
	{ "PAT", 0x277, 0, PAT_GOOD, LOADED | STORED },
	{ "PAT, type 2", 0x277, 0, 2, STORED },
	{ "TSC", 0x10, 0, 0, LOADED | STORED },
	{ "none", 0x12345, 0, 0, 0 },
};

#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

/* The second of three. */
static void put_area(struct test *t, unsigned int n)
{
	uint32_t *area = vmx_at(&t->s, AREA);

	memset(area, 0, 48);
	area[0] = area[8] = 0x174;
	area[4] = entries[n].index;
	area[5] = entries[n].reserved;
	memcpy(area + 6, &entries[n].value, 8);
}

/* An L1 whose local APIC is in x2APIC mode: its registers are MSRs. */
static struct test start_x2apic(void)
{
	struct test t = start(true);
	struct kvm_sregs k;

	api_ok(api_ioctl(t.s.g.vcpu, KVM_GET_SREGS, &k));
	k.apic_base |= 1 << 10;
	api_ok(api_ioctl(t.s.g.vcpu, KVM_SET_SREGS, &k));
	return t;
}

static void test_entry_loads(void **state)
{
	static const struct op ops[4] = { PUT(F_ENTRY_LOAD, AREA), PUT(F_ENTRY_LOADS, 3) };
	struct test t = start_x2apic();

	for (unsigned int n = 0; n < ENTRIES; n++) {
		make(&t, 0, ops, ops, 0);
		put_area(&t, n);
		if (entries[n].may & LOADED)
			expect_enters(&t, entries[n].name, R_VMCALL);
		else
			expect_fails(&t, entries[n].name, MSR_LOADING, 2);
	}
	end(&t);
}

/* 512 at most, as IA32_VMX_MISC says; the last in memory, and one that is in none.  All of them the same. */
static void test_entry_loads_count(void **state)
{
	static const struct op most[4] = { PUT(F_ENTRY_LOAD, AREA), PUT(F_ENTRY_LOADS, 512) },
			       more[4] = { PUT(F_ENTRY_LOAD, AREA), PUT(F_ENTRY_LOADS, 513) },
			       last[4] = { PUT(F_ENTRY_LOAD, VMX_MEM + VMX_MEM_SIZE - 32), PUT(F_ENTRY_LOADS, 2) },
			       beyond[4] = { PUT(F_ENTRY_LOAD, VMX_MEM + VMX_MEM_SIZE - 32), PUT(F_ENTRY_LOADS, 3) };
	struct test t = start(false);

	for (uint64_t at = AREA; at < VMX_MEM + VMX_MEM_SIZE; at += 16)
		*(uint32_t *)vmx_at(&t.s, at) = 0x174;
	make(&t, 0, most, most, 0);
	expect_enters(&t, "512", R_VMCALL);
	make(&t, 0, more, more, 0);
	expect_fails(&t, "513", MSR_LOADING, 513);
	make(&t, 0, last, last, 0);
	expect_enters(&t, "last", R_VMCALL);
	make(&t, 0, beyond, beyond, 0);
	expect_fails(&t, "beyond", MSR_LOADING, 3);
	end(&t);
}

/* At a VM exit it is too late to fail but by a VMX abort: L1 shuts down, and the VMCS says why. */
static void check_abort(const struct op *ops, unsigned int entry, bool good, uint32_t why)
{
	struct test t = start_x2apic();

	for (uint64_t at = AREA; at < VMX_MEM + VMX_MEM_SIZE; at += 16)
		*(uint32_t *)vmx_at(&t.s, at) = 0x174;
	make(&t, 0, ops, ops, 0);
	put_area(&t, entry);
	if (good) {
		expect_enters(&t, entries[entry].name, R_VMCALL);
	} else {
		vmx_enter(&t.s);
		guest_run(&t.s.g, KVM_EXIT_SHUTDOWN);
		assert_int_equal(*(uint32_t *)vmx_at(&t.s, VMX_VMCS + 4), why);
	}
	end(&t);
}

enum { ABORT_STORE = 1, ABORT_PDPTE = 2, ABORT_LOAD = 4 };

static void test_exit_lists(void **state)
{
	static const struct op store[4] = { PUT(F_EXIT_STORE, AREA), PUT(F_EXIT_STORES, 3) },
			       load[4] = { PUT(F_EXIT_LOAD, AREA), PUT(F_EXIT_LOADS, 3) },
			       stores[3][4] = { { PUT(F_EXIT_STORE, AREA), PUT(F_EXIT_STORES, 512) },
						{ PUT(F_EXIT_STORE, AREA), PUT(F_EXIT_STORES, 513) },
						{ PUT(F_EXIT_STORE, VMX_MEM + VMX_MEM_SIZE - 32), PUT(F_EXIT_STORES, 3) } },
			       loads[3][4] = { { PUT(F_EXIT_LOAD, AREA), PUT(F_EXIT_LOADS, 512) },
					       { PUT(F_EXIT_LOAD, AREA), PUT(F_EXIT_LOADS, 513) },
					       { PUT(F_EXIT_LOAD, VMX_MEM + VMX_MEM_SIZE - 32), PUT(F_EXIT_LOADS, 3) } };

	for (unsigned int n = 0; n < ENTRIES; n++) {
		check_abort(store, n, entries[n].may & STORED, ABORT_STORE);
		check_abort(load, n, entries[n].may & LOADED, ABORT_LOAD);
	}
	for (unsigned int n = 0; n < 3; n++) {
		check_abort(stores[n], 0, !n, ABORT_STORE);
		check_abort(loads[n], 0, !n, ABORT_LOAD);
	}
}

/* A list that can be loaded from, and not stored to. */
static void test_read_only_list(void **state)
{
	static const struct op load[4] = { PUT(F_EXIT_LOAD, 0x200000), PUT(F_EXIT_LOADS, 1) },
			       store[4] = { PUT(F_EXIT_STORE, 0x200000), PUT(F_EXIT_STORES, 1) };
	struct test t = start(false);
	uint32_t *rom = api_memory(PAGE);

	api_ok(api_set_slot(t.s.g.vm, 3, KVM_MEM_READONLY, 0x200000, PAGE, rom));
	rom[0] = 0x174;
	make(&t, 0, load, load, 0);
	expect_enters(&t, "read-only list", R_VMCALL);
	make(&t, 0, store, store, 0);
	vmx_enter(&t.s);
	guest_run(&t.s.g, KVM_EXIT_SHUTDOWN);
	assert_int_equal(*(uint32_t *)vmx_at(&t.s, VMX_VMCS + 4), ABORT_STORE);
	end(&t);
	munmap(rom, PAGE);
}

/* --- an L1 outside IA-32e mode: 26.2.4 ------------------------------------------------------------------ */

#define NARROW_LAUNCH 0x5000
#define NARROW_EXIT 0x5100
#define NARROW_FAILED 0x12
#define NARROW_EXITED 0x13

static const struct row narrow_rows[] = {
	{ "64-bit host", NARROW, BAD { OR(F_EXIT, X_HOST_64) } },
	{ "64-bit L2", NARROW, BAD { OR(F_ENTRY, N_GUEST_64) } },
	{ "CR4.PCIDE", NARROW, BAD { OR(F_HOST_CR4, CR4_PCIDE) } },
	{ "RIP", NARROW, BAD { OR(F_HOST_RIP, 1ULL << 32) } },
	{ "SS null", NARROW, BAD { PUT(F_HOST_SS, 0) } },
	{ "EFER", NARROW, BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0x801) }, BAD { PUT(F_HOST_EFER, 0x500) } },
	{ "EFER.LMA", NARROW, BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0) }, BAD { PUT(F_HOST_EFER, 0x400) } },
	{ "EFER.LME", NARROW, BOTH { OR(F_EXIT, X_EFER) }, GOOD { PUT(F_HOST_EFER, 0) }, BAD { PUT(F_HOST_EFER, 0x100) } },
};

static void make_narrow_host(struct test *t, const struct row *r, const struct op *more)
{
	static const struct op host_rip[4] = { PUT(F_HOST_RIP, NARROW_EXIT), PUT(F_HOST_CR3, PAE_TABLES),
					       CLEAR(F_EXIT, X_HOST_64) };

	make(t, r->l2, host_rip, r->both, 0);
	for (unsigned int n = 0; n < 6; n++)
		vmx_put(&t->s, F_HOST_ES + 2 * n, n == 1 ? 8 : 16);
	put_ops(t, more, 0);
	vmx_narrow(&t->s, PAE_TABLES, NARROW_LAUNCH);
}

/* VMLAUNCH; mov eax,0x4400; vmread ebx,eax; out.  The same with the exit's reason. */
static void check_narrow(const struct row *r, bool good)
{
	struct test t = start(false);
	uint64_t runs = guest_stat(t.s.g.vcpu, "nested_run"), ran;

	VMX_CODE(&t.s, NARROW_LAUNCH, 0x0f, 0x01, 0xc2, 0xb8, 0x00, 0x44, 0, 0, 0x0f, 0x78, 0xc3, 0xe6, NARROW_FAILED);
	VMX_CODE(&t.s, NARROW_EXIT, 0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x78, 0xc3, 0xe6, NARROW_EXITED);
	make_narrow_host(&t, r, good ? r->good : r->bad);
	guest_run(&t.s.g, KVM_EXIT_IO);
	ran = guest_stat(t.s.g.vcpu, "nested_run") - runs;
	if (t.s.g.run->io.port != (good ? NARROW_EXITED : NARROW_FAILED))
		fail_msg("%s, %s: port %#x", r->name, good ? "kept" : "broken", t.s.g.run->io.port);
	assert_int_equal(guest_regs(&t.s.g).rbx, good ? R_VMCALL : 8);
	assert_int_equal(ran, good);
	end(&t);
}

static void test_narrow_host(void **state)
{
	for (unsigned int n = 0; n < sizeof(narrow_rows) / sizeof(narrow_rows[0]); n++) {
		check_narrow(&narrow_rows[n], true);
		check_narrow(&narrow_rows[n], false);
	}
}

/* PAE's top entries of the host are looked at when they are loaded: by a VM exit. */
static void test_narrow_host_pdptes(void **state)
{
	static const struct row row = { "PDPTE", NARROW, BAD { PUT(F_HOST_CR3, PAE_TABLES + 32) } };
	struct test t = start(false);

	VMX_CODE(&t.s, NARROW_LAUNCH, 0x0f, 0x01, 0xc2, 0xe6, NARROW_FAILED);
	make_narrow_host(&t, &row, row.bad);
	guest_run(&t.s.g, KVM_EXIT_SHUTDOWN);
	assert_int_equal(*(uint32_t *)vmx_at(&t.s, VMX_VMCS + 4), ABORT_PDPTE);
	end(&t);
}

#define T(fn) cmocka_unit_test(fn)

static const struct CMUnitTest tests[] = {
	T(test_controls), T(test_host), T(test_registers), T(test_segments), T(test_link), T(test_pdptes),
	T(test_types), T(test_error_codes), T(test_capabilities), T(test_order), T(test_launch_state),
	T(test_wait_for_sipi), T(test_entry_loads), T(test_entry_loads_count), T(test_exit_lists),
	T(test_read_only_list), T(test_narrow_host), T(test_narrow_host_pdptes),
};

API_MAIN(tests)
