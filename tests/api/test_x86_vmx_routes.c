// SPDX-License-Identifier: MIT
/*
 * Three ways to a VMCS: VMREAD and VMWRITE; the same of a hypervisor one level in, on a shadow VMCS that L1 copies from
 * and to; and the enlightened VMCS in memory.  The same work of L2 with each: behind each of its exits every field has
 * the same value, whichever the way, and L1 finds the same state of its own.
 *
 * Fields of the enlightened VMCS and their groups are written down once more, from the TLFS, 16.11 and 17.8; those of
 * the VMCS from SDM 3D, appendix B.
 */
#include "vmx.h"

#include <stdlib.h>

#define LIST VMX_FREE                   /* encodings that routes_dump reads, */
#define VALUES (VMX_FREE + 0x1000)      /* what it has read, */
#define FAILURES (VMX_FREE + 0x2000)    /* and RFLAGS of each */
#define PAIRS (VMX_FREE + 0x3000)       /* encodings and values that routes_store writes, */
#define FAILED_STORES (VMX_FREE + 0x4000)       /* and how many it could not */
#define POINTER (VMX_FREE + 0x4008)     /* operand of VMPTRLD */
#define CODE (VMX_FREE + 0x5000)
#define INNER_VMCS (VMX_FREE + 0x6000)
#define SHADOW_VMCS (VMX_FREE + 0x7000)
#define EVMCS (VMX_FREE + 0xa000)
#define ASSIST (VMX_FREE + 0xb000)      /* the VP assist page */
#define MSRS (VMX_FREE + 0xc000)        /* MSR areas: load at entry, store, load at exit, one that cannot be loaded */
#define IO_MAP (VMX_FREE + 0xd000)      /* two pages */
#define VIRTUAL_APIC (VMX_FREE + 0xf000)
#define NOTHING (VMX_FREE + 0x10000)    /* zero: bitmaps of VMREAD and VMWRITE, ... */
#define INNER_STACK (VMX_FREE + 0x13000)

#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define CF_ZF 0x41u

/* For each word of LIST, to the end that is ~0: VMREAD.  For each pair of PAIRS: VMWRITE. */
__asm__(".pushsection .rodata\n"
	"routes_code:\n"
	"routes_dump:\n"
	"	mov $0x110000, %esi\n"
	"	mov $0x111000, %edi\n"
	"	mov $0x112000, %ebx\n"
	"1:	lodsq\n"
	"	cmp $-1, %rax\n"
	"	je 2f\n"
	"	xor %ecx, %ecx\n"
	"	vmread %rax, %rcx\n"
	"	pushfq\n"
	"	popq (%rbx)\n"
	"	mov %rcx, (%rdi)\n"
	"	add $8, %rdi\n"
	"	add $8, %rbx\n"
	"	jmp 1b\n"
	"2:	ret\n"
	"routes_store:\n"
	"	mov $0x113000, %esi\n"
	"	movq $0, 0x114000\n"
	"1:	lodsq\n"
	"	mov %rax, %rdx\n"
	"	lodsq\n"
	"	cmp $-1, %rdx\n"
	"	je 2f\n"
	"	vmwrite %rax, %rdx\n"
	"	ja 1b\n"
	"	incq 0x114000\n"
	"	jmp 1b\n"
	"2:	ret\n"
	/* The hypervisor one level in: changes fields, enters its guest, looks at the fields behind the exit. */
	"routes_inner:\n"
	"	call routes_store\n"
	"	vmresume\n"
	"	call routes_dump\n"
	"	hlt\n"
	"	jmp routes_inner\n"
	"routes_end:\n"
	".popsection\n");

extern const uint8_t routes_code[], routes_dump[], routes_store[], routes_inner[], routes_end[];

_Static_assert(LIST == 0x110000 && VALUES == 0x111000 && FAILURES == 0x112000 && PAIRS == 0x113000 &&
	       FAILED_STORES == 0x114000, "as in the program");

#define CODE_AT(label) (CODE + (uint64_t)(routes_##label - routes_code))

/* --- the fields --------------------------------------------------------------------------------------- */

enum {
	CLEAN_NONE = 0, CLEAN_IO_BITMAP = 1 << 0, CLEAN_MSR_BITMAP = 1 << 1, CLEAN_CONTROL_GRP2 = 1 << 2,
	CLEAN_CONTROL_GRP1 = 1 << 3, CLEAN_PROC = 1 << 4, CLEAN_EVENT = 1 << 5, CLEAN_ENTRY = 1 << 6,
	CLEAN_EXCPN = 1 << 7, CLEAN_CRDR = 1 << 8, CLEAN_XLAT = 1 << 9, CLEAN_GUEST_BASIC = 1 << 10,
	CLEAN_GUEST_GRP1 = 1 << 11, CLEAN_GUEST_GRP2 = 1 << 12, CLEAN_HOST_POINTER = 1 << 13, CLEAN_HOST_GRP1 = 1 << 14,
	CLEAN_ALL = 0xffff,
};

#define EVMCS_CLEAN_FIELDS 824
#define ABSENT (-1)

#define AT(encoding, offset, group) { encoding, offset, CLEAN_##group }
#define TWO(e, o, size, group) AT(e, o, group), AT((e) + 2, (o) + (size), group)
#define FOUR(e, o, size, group) TWO(e, o, size, group), TWO((e) + 4, (o) + 2 * (size), size, group)
#define EIGHT(e, o, size, group) FOUR(e, o, size, group), FOUR((e) + 8, (o) + 4 * (size), size, group)
#define NONE(encoding) { encoding, ABSENT, 0 }
#define FOUR_NONE(e) NONE(e), NONE((e) + 2), NONE((e) + 4), NONE((e) + 6)

static const struct field {
	uint16_t encoding;
	int16_t offset;                 /* in the enlightened VMCS */
	uint16_t group;
} fields[] = {
	AT(0x0000, 632, XLAT), EIGHT(0x0800, 128, 2, GUEST_GRP2), FOUR(0x0c00, 8, 2, HOST_GRP1),
	AT(0x0c08, 16, HOST_GRP1), AT(0x0c0a, 18, HOST_GRP1), AT(0x0c0c, 20, HOST_GRP1), AT(0x2000, 104, IO_BITMAP),
	AT(0x2002, 112, IO_BITMAP), AT(0x2004, 120, MSR_BITMAP), AT(0x2006, 320, ALL), AT(0x2008, 328, ALL),
	AT(0x200a, 336, ALL), AT(0x2010, 400, CONTROL_GRP2), AT(0x2012, 408, CONTROL_GRP2), AT(0x201a, 624, XLAT),
	AT(0x202c, 960, CONTROL_GRP2), AT(0x202e, 968, CONTROL_GRP2), AT(0x2032, 984, CONTROL_GRP2),
	AT(0x2400, 680, NONE), AT(0x2800, 416, GUEST_GRP1), AT(0x2802, 424, GUEST_GRP1), AT(0x2804, 432, GUEST_GRP1),
	AT(0x2806, 440, GUEST_GRP1), AT(0x2808, 904, GUEST_GRP1), FOUR(0x280a, 448, 8, GUEST_GRP1),
	AT(0x2812, 896, GUEST_GRP1), AT(0x2c00, 24, HOST_GRP1), AT(0x2c02, 32, HOST_GRP1), AT(0x2c04, 976, HOST_GRP1),
	AT(0x4000, 92, CONTROL_GRP1), AT(0x4002, 788, PROC), AT(0x4004, 792, EXCPN), AT(0x4006, 376, ALL),
	AT(0x4008, 380, ALL), AT(0x400a, 384, ALL), AT(0x400c, 96, CONTROL_GRP1), AT(0x400e, 388, ALL),
	AT(0x4010, 392, ALL), AT(0x4012, 796, ENTRY), AT(0x4014, 396, ALL), AT(0x4016, 800, EVENT),
	AT(0x4018, 804, EVENT), AT(0x401a, 808, EVENT), AT(0x401c, 812, NONE), AT(0x401e, 100, CONTROL_GRP1),
	EIGHT(0x4400, 688, 4, NONE), EIGHT(0x4800, 144, 4, GUEST_GRP2), AT(0x4810, 176, GUEST_GRP2),
	AT(0x4812, 180, GUEST_GRP2), EIGHT(0x4814, 184, 4, GUEST_GRP2), AT(0x4824, 784, GUEST_BASIC),
	AT(0x4826, 504, GUEST_GRP1), AT(0x482a, 508, GUEST_GRP1), AT(0x4c00, 88, HOST_GRP1), FOUR(0x6000, 512, 8, CRDR),
	AT(0x6400, 720, NONE), AT(0x640a, 760, NONE), AT(0x6800, 544, CRDR), AT(0x6802, 552, CRDR), AT(0x6804, 560, CRDR),
	EIGHT(0x6806, 216, 8, GUEST_GRP2), AT(0x6816, 280, GUEST_GRP2), AT(0x6818, 288, GUEST_GRP2),
	AT(0x681a, 568, CRDR), AT(0x681c, 768, GUEST_BASIC), AT(0x681e, 816, NONE), AT(0x6820, 776, GUEST_BASIC),
	AT(0x6822, 480, GUEST_GRP1), AT(0x6824, 488, GUEST_GRP1), AT(0x6826, 496, GUEST_GRP1), AT(0x6c00, 40, HOST_GRP1),
	AT(0x6c02, 48, HOST_GRP1), AT(0x6c04, 56, HOST_GRP1), AT(0x6c06, 576, HOST_POINTER),
	AT(0x6c08, 584, HOST_POINTER), AT(0x6c0a, 592, HOST_POINTER), AT(0x6c0c, 600, HOST_POINTER),
	AT(0x6c0e, 608, HOST_POINTER), AT(0x6c10, 64, HOST_GRP1), AT(0x6c12, 72, HOST_GRP1),
	AT(0x6c14, 616, HOST_POINTER), AT(0x6c16, 80, HOST_GRP1),
	/* At the end, what version 1 has not got: fields of controls that it does not allow. */
	NONE(0x0002), NONE(0x2016),                     /* posted interrupts */
	NONE(0x0004), NONE(0x202a),                     /* virtualization exceptions */
	NONE(0x0810), FOUR_NONE(0x201c),                /* virtual-interrupt delivery */
	NONE(0x0812), NONE(0x200e),                     /* page-modification logging */
	NONE(0x2014),                                   /* the APIC-access page */
	NONE(0x2018), NONE(0x2024),                     /* VM functions */
	NONE(0x2026), NONE(0x2028),                     /* shadow VMCSs: the bitmaps */
	NONE(0x4020), NONE(0x4022),                     /* PAUSE-loop exiting */
	NONE(0x482e),                                   /* the preemption timer */
};

#define FIELDS (sizeof(fields) / sizeof(fields[0]))

enum { TYPE_CONTROL, TYPE_EXIT, TYPE_GUEST, TYPE_HOST };
#define TYPE(e) ((e) >> 10 & 3)

static unsigned int size_of(uint32_t encoding)
{
	static const uint8_t size[] = { 2, 8, 4, 8 };

	return size[encoding >> 13 & 3];
}

static unsigned int index_of(uint32_t encoding)
{
	for (unsigned int n = 0; n < FIELDS; n++)
		if (fields[n].encoding == encoding)
			return n;
	fail_msg("no field %#x", encoding);
	return 0;
}

/* --- the work ------------------------------------------------------------------------------------------- */

/* L2's memory. */
#define NOT_PRESENT 0x6000UL            /* pages by what EPT says of them */
#define READ_ONLY 0x7000UL
#define NO_EXEC 0x5000UL
#define MISCONFIGURED 0x4000UL
#define DATA 0x2800UL                   /* 9: a machine status word with TS */
#define GDT_DESC 0x2810UL
#define IDT_DESC 0x2820UL
#define PDPTES 0x2900UL
#define GDT (GUEST_IDT + 0x200)
#define NO_TABLE 0x40000000UL           /* linear addresses: not present, and with a table that EPT has not got */
#define NO_TABLE_BELOW 0x80000000UL
#define VECTOR_30 30                    /* whose handler does OUT to VMX_FAULT + 30 */
#define MSR_EXITS 0xc0000081u           /* the one that the bitmap names */
#define MSR_KERNEL_GS 0xc0000102u
#define MSR_PERF_GLOBAL 0x38f
#define IO_EXITS 0x21   /* the port that IO_MAP names, of which no client hears: the interrupt controller's */
#define IO_EXITS_HIGH 0x8021            /* one of its second page */
#define MSR_TRUE_ENTRY 0x490
#define INTERRUPT 0x51
#define TPR 0x80

#define MOV_EAX(v) 0xb8, ABS(v)
#define MOV_ECX(v) 0xb9, ABS(v)
#define MOV_EDX(v) 0xba, ABS(v)
#define CPUID 0x0f, 0xa2
#define HLT 0xf4
#define NOP 0x90
#define UD2 0x0f, 0x0b
#define RDMSR 0x0f, 0x32
#define WRMSR 0x0f, 0x30
#define RDTSC 0x0f, 0x31
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)
#define STORE(a) 0x88, 0x04, 0x25, ABS(a)
#define LOOP 0xeb, 0xfe

enum {
	KEEP = 1,                       /* L2 goes on behind its last instruction, and nothing else changes */
	IPI = 2,                        /* L1 has an interrupt */
	EOI = 4,                        /* ... that it has served behind the exit */
	NO_EVMCS = 8,                   /* a control that the enlightened VMCS does not allow */
	PMU = 16,                       /* ... that is only there with counters */
};

#define EVENT(vector, type) ((vector) | (type) << 8 | 1u << 31)
#define EVENT_ERROR (1u << 11)
enum { TYPE_INTR = 0, TYPE_NMI = 2, TYPE_HARD = 3, TYPE_SOFT = 4 };

/* A field, from what it is when nothing else is asked for. */
struct change {
	uint32_t field;
	uint64_t clear, set;
};
#define IS(field, v) { field, ~0ULL, v }
#define PLUS(field, v) { field, 0, v }
#define MINUS(field, v) { field, v, 0 }

static const struct step {
	const char *name;
	uint32_t result;
	uint8_t flags;
	uint8_t code[160];
	struct change change[6];
} steps[] = {
	{ "CPUID", R_CPUID, 0, { CPUID }, { } },
	{ "HLT", R_HLT, 0, { HLT, HLT, HLT }, { } },
	{ "HLT, nothing changed", R_HLT, KEEP, { HLT, HLT, HLT }, { } },
	{ "HLT, nothing changed again", R_HLT, KEEP, { HLT, HLT, HLT }, { } },
	{ "OUT", R_IO, 0, { 0xe6, 0x80 }, { } },
	{ "IN by DX", R_IO, 0, { MOV_EDX(0x1234), 0xed }, { } },
	{ "REP OUTSB", R_IO, 0, { 0xbe, ABS(DATA), MOV_ECX(2), MOV_EDX(0x55), 0xf3, 0x6e }, { } },
	{ "INSW", R_IO, 0, { 0xbf, ABS(DATA), MOV_EDX(0x55), 0x66, 0x6d }, { } },
	{ "OUTSD with FS", R_IO, 0, { 0xbe, ABS(0x10), MOV_EDX(0x55), 0x64, 0x6f }, { } },
	{ "IN, by the bitmap", R_IO, 0, { 0xe4, IO_EXITS }, { PLUS(F_PROC, 1u << 25) } },
	{ "IN, by the second bitmap", R_IO, 0, { MOV_EDX(IO_EXITS_HIGH), 0xec }, { PLUS(F_PROC, 1u << 25) } },
	{ "RDMSR", R_RDMSR, 0, { MOV_ECX(MSR_EXITS), RDMSR }, { } },
	{ "WRMSR", R_WRMSR, 0, { MOV_ECX(MSR_EXITS), WRMSR }, { } },
	{ "MOV to CR0", R_CR, 0, { 0x0f, 0x20, 0xc0, 0x48, 0x83, 0xf0, 0x08, 0x0f, 0x22, 0xc0 }, { } },
	{ "CLTS", R_CR, 0, { 0x0f, 0x06 }, { PLUS(0x6004, 8) } },
	{ "LMSW", R_CR, 0, { MOV_EAX(9), 0x0f, 0x01, 0xf0 }, { } },
	{ "LMSW from memory", R_CR, 0, { 0x0f, 0x01, 0x34, 0x25, ABS(DATA) }, { } },
	{ "MOV to CR3", R_CR, 0, { 0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8 }, { PLUS(F_PROC, 1u << 15) } },
	{ "MOV from CR8", R_CR, 0, { 0x44, 0x0f, 0x20, 0xc0 }, { PLUS(F_PROC, P_CR8_STORE) } },
	{ "MOV to DR7", 29, 0, { 0x0f, 0x23, 0xf8 }, { PLUS(F_PROC, 1u << 23) } },
	{ "MOV from DR3", 29, 0, { 0x0f, 0x21, 0xdb }, { PLUS(F_PROC, 1u << 23) } },
	{ "#GP with a code", R_EXCEPTION, 0, { MOV_EAX(0x1234), 0x8e, 0xd8 }, { PLUS(0x4004, 1u << 13) } },
	{ "#UD", R_EXCEPTION, 0, { UD2 }, { PLUS(0x4004, 1u << 6) } },
	{ "INT3", R_EXCEPTION, 0, { 0xcc }, { PLUS(0x4004, 1u << 3) } },
	{ "INT1", R_EXCEPTION, 0, { 0xf1 }, { PLUS(0x4004, 1u << 1) } },
	{ "#PF", R_EXCEPTION, 0, { LOAD(NO_TABLE) }, { PLUS(0x4004, 1u << 14) } },
	{ "#PF that the mask lets pass", R_IO, 0, { STORE(NO_TABLE) }, { PLUS(0x4004, 1u << 14), PLUS(0x4006, 2) } },
	{ "#PF that does not match", R_IO, 0, { LOAD(NO_TABLE) }, { PLUS(0x4004, 1u << 14), PLUS(0x4008, 1) } },
	{ "EPT violation, read", R_EPT_VIOLATION, 0, { LOAD(NOT_PRESENT) }, { } },
	{ "EPT violation, write", R_EPT_VIOLATION, 0, { STORE(READ_ONLY + 0x123) }, { } },
	{ "EPT violation, execute", R_EPT_VIOLATION, 0, { MOV_EAX(NO_EXEC + 8), 0xff, 0xe0 }, { } },
	{ "EPT violation, page walk", R_EPT_VIOLATION, 0, { MOV_EAX(NO_TABLE_BELOW), 0x8a, 0x00 }, { } },
	{ "EPT misconfiguration", R_EPT_MISCONFIG, 0, { LOAD(MISCONFIGURED + 4) }, { } },
	{ "interrupt", R_EXT_INTR, IPI, { LOOP }, { PLUS(F_PIN, P_EXT_INTR) } },
	{ "interrupt, acknowledged", R_EXT_INTR, EOI, { LOOP }, { PLUS(F_PIN, P_EXT_INTR), PLUS(F_EXIT, X_ACK_INTR) } },
	{ "interrupt that wakes", R_EXT_INTR, IPI | EOI, { LOOP },
	  { PLUS(F_PIN, P_EXT_INTR), PLUS(F_EXIT, X_ACK_INTR), IS(F_ACTIVITY, 1) } },
	{ "injected interrupt", R_IO, 0, { NOP },
	  { IS(F_ENTRY_EVENT, EVENT(VECTOR_30, TYPE_INTR)), PLUS(F_RFLAGS, 0x200) } },
	{ "injected interrupt that wakes", R_IO, 0, { NOP },
	  { IS(F_ENTRY_EVENT, EVENT(VECTOR_30, TYPE_INTR)), PLUS(F_RFLAGS, 0x200), IS(F_ACTIVITY, 1) } },
	{ "injected #GP, interrupted", R_EPT_VIOLATION, 0, { NOP },
	  { IS(F_ENTRY_EVENT, EVENT(13, TYPE_HARD) | EVENT_ERROR), IS(0x4018, 0x1234), IS(F_RSP, NOT_PRESENT + 0x1000) } },
	{ "injected INT, interrupted", R_EPT_VIOLATION, 0, { NOP },
	  { IS(F_ENTRY_EVENT, EVENT(VECTOR_30, TYPE_SOFT)), IS(0x401a, 2), IS(F_RSP, NOT_PRESENT + 0x1000) } },
	{ "injected NMI, interrupted", R_EPT_VIOLATION, 0, { NOP },
	  { IS(F_ENTRY_EVENT, EVENT(2, TYPE_NMI)), IS(F_RSP, NOT_PRESENT + 0x1000) } },
	{ "INT, interrupted by #PF", R_EXCEPTION, 0, { 0xcd, VECTOR_30 },
	  { PLUS(0x4004, 1u << 14), IS(F_RSP, NO_TABLE + 0x1000) } },
	{ "VMCALL", R_VMCALL, 0, { 0x0f, 0x01, 0xc1 }, { } },
	{ "INVLPG", 14, 0, { MOV_EAX(0x5678), 0x0f, 0x01, 0x38 }, { PLUS(F_PROC, 1u << 9) } },
	{ "RDTSC", 16, 0, { RDTSC }, { PLUS(F_PROC, 1u << 12) } },
	{ "RDTSC with an offset", R_HLT, 0, { RDTSC, 0xc1, 0xea, 0x1c, 0x31, 0xc0, HLT },
	  { PLUS(F_PROC, 1u << 3), IS(0x2010, 0x6000000000000000) } },
	{ "RDTSCP", 51, 0, { 0x0f, 0x01, 0xf9 }, { PLUS(F_PROC, 1u << 12), PLUS(F_PROC2, 1u << 3) } },
	{ "RDPMC", 15, 0, { MOV_ECX(0), 0x0f, 0x33 }, { PLUS(F_PROC, 1u << 11) } },
	{ "PAUSE", R_PAUSE, 0, { 0xf3, 0x90 }, { PLUS(F_PROC, P_PAUSE) } },
	{ "SGDT", 46, 0, { MOV_EAX(DATA), 0x0f, 0x01, 0x40, 0x40 }, { PLUS(F_PROC2, 1u << 2) } },
	{ "LIDT", 46, 0, { 0x0f, 0x01, 0x1d, ABS(0x123456) }, { PLUS(F_PROC2, 1u << 2) } },
	{ "STR", 47, 0, { 0x0f, 0x00, 0xc8 }, { PLUS(F_PROC2, 1u << 2) } },
	{ "WBINVD", 54, 0, { 0x0f, 0x09 }, { PLUS(F_PROC2, 1u << 6) } },
	{ "INVD", 13, 0, { 0x0f, 0x08 }, { } },
	{ "XSETBV", 55, 0, { MOV_ECX(0), 0x0f, 0x01, 0xd1 }, { PLUS(F_CR4, 1u << 18) } },
	{ "VMPTRLD", 21, 0, { 0x0f, 0xc7, 0xb0, ABS(0x11223344) }, { } },
	{ "VMREAD", R_VMREAD, 0, { 0x0f, 0x78, 0xc1 }, { } },
	{ "INVEPT", 50, 0, { 0x66, 0x0f, 0x38, 0x80, 0x08 }, { } },
	{ "interrupt window", R_INTR_WINDOW, 0, { NOP, HLT }, { PLUS(F_PROC, P_INTR_WINDOW), PLUS(F_RFLAGS, 0x200) } },
	{ "interrupt window behind STI", R_INTR_WINDOW, 0, { 0xfb, NOP, HLT }, { PLUS(F_PROC, P_INTR_WINDOW) } },
	{ "NMI window", 8, 0, { NOP, HLT }, { PLUS(F_PIN, 1 << 3 | 1 << 5), PLUS(F_PROC, 1u << 22) } },
	{ "behind MOV SS", R_CPUID, 0, { MOV_EAX(16), 0x8e, 0xd0, CPUID }, { } },
	{ "behind STI", R_CPUID, 0, { 0xfb, CPUID }, { } },
	{ "blocked NMIs", R_CPUID, 0, { CPUID }, { PLUS(F_INTERRUPTIBILITY, 8) } },
	{ "monitor trap", 37, 0, { NOP, HLT }, { PLUS(F_PROC, 1u << 27) } },
	{ "monitor trap before a trap", 37, 0, { NOP, HLT }, { PLUS(F_PROC, 1u << 27), PLUS(F_RFLAGS, 0x100) } },
	{ "TPR threshold", R_TPR, 0, { MOV_EAX(3), 0x44, 0x0f, 0x22, 0xc0, NOP, HLT },
	  { PLUS(F_PROC, P_TPR_SHADOW), IS(F_TPR_THRESHOLD, 4) } },
	{ "MOV from CR8, by the virtual APIC", R_HLT, 0, { 0x44, 0x0f, 0x20, 0xc0, HLT }, { PLUS(F_PROC, P_TPR_SHADOW) } },
	{ "MSR areas", R_HLT, 0, { HLT }, { IS(0x4014, 1), IS(0x400e, 1), IS(0x4010, 1) } },
	{ "counters' control, loaded", R_HLT, PMU, { MOV_ECX(MSR_PERF_GLOBAL), RDMSR, HLT },
	  { PLUS(F_ENTRY, 1 << 13), PLUS(F_EXIT, 1 << 12) } },
	{ "debug controls, saved", R_HLT, 0, { HLT }, { IS(0x2802, 1) } },
	{ "debug controls, not saved", R_HLT, 0, { HLT }, { IS(0x2802, 1), MINUS(F_EXIT, 4) } },
	{ "no such guest state", VMX_ENTRY_FAILED | 33, 0, { HLT }, { MINUS(F_RFLAGS, 2) } },
	{ "no such link", VMX_ENTRY_FAILED | 33, 0, { HLT }, { IS(F_LINK, 1) } },
	{ "no such MSR", VMX_ENTRY_FAILED | 34, 0, { HLT }, { IS(0x200a, MSRS + 0x30), IS(0x4014, 1) } },
	{ "no such control", VMX_FAIL + 7, 0, { HLT }, { PLUS(F_PIN, 1u << 30) } },
	{ "no such CR3 target", VMX_FAIL + 7, 0, { HLT }, { IS(0x400a, 5) } },
	{ "no such host state", VMX_FAIL + 8, 0, { HLT }, { IS(0x6c06, 1ULL << 63) } },
	{ "triple fault", 2, 0, { UD2 }, { IS(0x4812, 0) } },
	{ "state that L2 changes", R_HLT, 0,
	  { MOV_ECX(0x174), MOV_EAX(0x18), MOV_EDX(0), WRMSR, MOV_ECX(0x175), MOV_EAX(0x12345678), WRMSR, MOV_ECX(0x176),
	    WRMSR, MOV_ECX(0xc0000100), WRMSR, MOV_ECX(0xc0000101), WRMSR, MOV_ECX(0x277), MOV_EAX(0x06010406),
	    MOV_EDX(0x00070106), WRMSR, MOV_ECX(0xc0000080), RDMSR, 0x0f, 0xba, 0xf0, 0x0b, WRMSR, 0x0f, 0x01, 0x14, 0x25,
	    ABS(GDT_DESC), 0x0f, 0x01, 0x1c, 0x25, ABS(IDT_DESC), 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x0f, 0x00, 0xd0,
	    MOV_EAX(0x401), 0x0f, 0x23, 0xf8, 0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x04, 0x0f, 0x22, 0xe0, 0x0f, 0x20, 0xd8,
	    0x83, 0xc8, 0x10, 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xc0, 0x48, 0x0d, ABS(0x10000), 0x0f, 0x22, 0xc0, 0xfd, 0x6a,
	    0x01, HLT, HLT, HLT }, { } },
	{ "state that L2 has changed", R_HLT, KEEP, { }, { } },
	{ "PAE", R_HLT, 0, { MOV_EAX(PDPTES), 0x0f, 0x22, 0xd8, HLT },
	  { MINUS(F_ENTRY, 1 << 9), MINUS(0x2806, 0x500), IS(0x4816, 0xc09b), IS(0x6808, 0),
	    IS(0x280a, (GUEST_TABLES + 0x2000) | 1) } },
	{ "long mode that L2 enters", R_HLT, 0,
	  { 0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 0x1f, 0x0f, 0x22, 0xc0, MOV_ECX(0xc0000080), RDMSR, 0x0f, 0xba, 0xe8,
	    0x08, WRMSR, MOV_EAX(GUEST_TABLES), 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 0x1f, 0x0f, 0x22,
	    0xc0, HLT },
	  { MINUS(F_ENTRY, 1 << 9), MINUS(0x2806, 0x500), IS(0x4816, 0xc09b), IS(0x6808, 0),
	    IS(0x280a, (GUEST_TABLES + 0x2000) | 1), PLUS(F_PROC2, 1 << 7) } },
	{ "CPUID at last", R_CPUID, 0, { CPUID }, { } },
	{ "preemption timer", 52, NO_EVMCS, { LOOP }, { PLUS(F_PIN, 1 << 6) } },
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* What fields are when nothing else is asked for, where that is not what vmx_start() has put: values of their own. */
static const struct change base_changes[] = {
	IS(0x800, 0x10), IS(0x804, 0x10), IS(0x806, 0x10), IS(0x808, 0x10), IS(0x80a, 0x10), IS(0x80c, 0x28),
	IS(0xc00, 0x10), IS(0xc04, 0x10), IS(0xc06, 0x10), IS(0xc08, 0x10), IS(0xc0a, 0x10), IS(0x2000, IO_MAP),
	IS(0x2002, IO_MAP + 0x1000), IS(0x2006, MSRS + 0x10), IS(0x2008, MSRS + 0x20), IS(0x200a, MSRS),
	IS(0x2010, 0x1234567), IS(F_VIRTUAL_APIC, VIRTUAL_APIC), IS(0x202c, 0x100), IS(0x202e, 0x21),
	IS(0x2032, 1ULL << 48), IS(0x2804, 0x0007040600070406), IS(0x2806, 0xd01), IS(0x2808, 3), IS(0x280a, 0x111000),
	IS(0x280c, 0x222000), IS(0x280e, 0x333000), IS(0x2810, 0x444000), IS(0x2812, 0x7000),
	IS(0x2c00, 0x0007010600070406), IS(0x2c02, 0xd00), IS(0x2c04, 1), PLUS(F_EXIT, 1 << 2 | 15 << 18),
	PLUS(F_ENTRY, 1 << 2 | 3 << 14), IS(0x480c, 0x1234), IS(0x482a, 8), IS(0x4c00, 0x20), IS(0x6000, 8),
	IS(0x6002, 0x2000), IS(0x6004, 0x80000031), IS(0x6006, 0x20), IS(0x6806, 0x11000), IS(0x6808, 0x99000),
	IS(0x680a, 0x22000), IS(0x680c, 0x33000), IS(0x680e, DATA), IS(0x6810, 0x44000), IS(0x6812, 0x55000),
	IS(0x6814, 0x66000), IS(0x6824, 0x71000), IS(0x6826, 0x72000), IS(0x6c06, 0x73000), IS(0x6c08, 0x74000),
	IS(0x6c0a, 0x75000), IS(0x6c10, 0x76000), IS(0x6c12, 0x77000),
};

/* --- the ways ----------------------------------------------------------------------------------------------- */

enum route { PLAIN, SHADOW, ENLIGHTENED, ENLIGHTENED_CLEAN, ROUTES };
enum { L2_VMCS, INNER, VMCSS };
#define GPRS 9

static const uint32_t host_msrs[] = { 0x174, 0x175, 0x176, 0x277, MSR_KERNEL_GS };
#define HOST_MSRS (sizeof(host_msrs) / sizeof(host_msrs[0]))

/* Behind an exit. */
struct seen {
	uint64_t field[FIELDS];
	uint32_t result;
	uint64_t gpr[GPRS];
	struct kvm_sregs host;
	uint64_t msr[HOST_MSRS], perf_global;
};

struct run {
	struct vmx s;
	enum route route;
	bool enlightened;               /* now */
	uint64_t base[FIELDS], now[FIELDS];
	uint64_t launched[VMCSS];
	unsigned int all_clean, entries;
};

#define CALL(s, label) VMX_DO(s, MOV_EAX(CODE_AT(label)), 0xff, 0xd0)

static void vmptrld(struct run *r, uint64_t region)
{
	*(uint64_t *)vmx_at(&r->s, POINTER) = region;
	VMX_DO(&r->s, 0x0f, 0xc7, 0x34, 0x25, ABS(POINTER));
}

/* Those that the enlightened VMCS has not got, at the end, cannot be read where it is the current one. */
static unsigned int readable(const struct run *r)
{
	unsigned int n = FIELDS;

	while (r->enlightened && fields[n - 1].offset == ABSENT)
		n--;
	return n;
}

static void put_list(struct run *r)
{
	uint64_t *list = vmx_at(&r->s, LIST);
	unsigned int count = readable(r);

	for (unsigned int n = 0; n < count; n++)
		list[n] = fields[n].encoding;
	list[count] = ~0ULL;
}

/* What routes_dump has found; not one may have failed. */
static void take_values(struct run *r, uint64_t *value)
{
	const uint64_t *flags = vmx_at(&r->s, FAILURES);
	unsigned int count = readable(r);

	memset(value, 0, FIELDS * sizeof(*value));
	memcpy(value, vmx_at(&r->s, VALUES), count * sizeof(*value));
	for (unsigned int n = 0; n < count; n++)
		if (flags[n] & CF_ZF)
			fail_msg("VMREAD of %#x: flags %#lx", fields[n].encoding, flags[n]);
}

static void read_all(struct run *r, uint64_t *value)
{
	CALL(&r->s, dump);
	take_values(r, value);
}

static void put_pair(struct run *r, unsigned int at, uint64_t encoding, uint64_t value)
{
	uint64_t *pair = (uint64_t *)vmx_at(&r->s, PAIRS) + 2 * at;

	pair[0] = encoding;
	pair[1] = value;
	pair[2] = ~0ULL;
}

static void write_all(struct run *r, const uint64_t *value)
{
	for (unsigned int n = 0; n < FIELDS; n++)
		put_pair(r, n, fields[n].encoding, value[n]);
	CALL(&r->s, store);
	assert_int_equal(*(uint64_t *)vmx_at(&r->s, FAILED_STORES), 0);
}

static void *evmcs_at(struct run *r, int offset)
{
	return (uint8_t *)vmx_at(&r->s, EVMCS) + offset;
}

static uint32_t *clean_fields(struct run *r)
{
	return evmcs_at(r, EVMCS_CLEAN_FIELDS);
}

static void evmcs_write(struct run *r, unsigned int n, uint64_t value)
{
	if (fields[n].offset != ABSENT)
		memcpy(evmcs_at(r, fields[n].offset), &value, size_of(fields[n].encoding));
}

/* From memory; VMREAD, where it works at all, has to say the same. */
static void evmcs_read_all(struct run *r, uint64_t *value)
{
	read_all(r, value);
	for (unsigned int n = 0; n < FIELDS; n++) {
		uint64_t in_memory = 0;

		if (fields[n].offset == ABSENT)
			continue;
		memcpy(&in_memory, evmcs_at(r, fields[n].offset), size_of(fields[n].encoding));
		if (value[n] != in_memory)
			fail_msg("%#x is %#lx in memory, and to VMREAD %#lx", fields[n].encoding, in_memory, value[n]);
	}
}

/* --- a route begins --------------------------------------------------------------------------------------------- */

static void put_msr(struct run *r, unsigned int at, uint32_t index, uint64_t value)
{
	uint64_t *e = vmx_at(&r->s, MSRS + at);

	e[0] = index;
	e[1] = value;
}

static void make_l2_memory(struct run *r)
{
	struct vmx *s = &r->s;
	uint64_t *pdpt = vmx_at(s, GUEST_TABLES + 0x1000), *pdptes = vmx_at(s, PDPTES);
	uint8_t *msr_map = vmx_at(s, VMX_MSR_BITMAP);

	*vmx_ept_entry(s, NOT_PRESENT) = 0;
	*vmx_ept_entry(s, READ_ONLY) &= ~2ULL;
	*vmx_ept_entry(s, NO_EXEC) &= ~4ULL;
	*vmx_ept_entry(s, MISCONFIGURED) = MISCONFIGURED | 2;
	pdpt[2] = NOT_PRESENT | 7;
	*(uint16_t *)vmx_at(s, DATA) = 9;
	memcpy(vmx_at(s, GDT_DESC), (const uint16_t[]){ 0x1f, GDT + 0x10, 0, 0, 0 }, 10);
	memcpy(vmx_at(s, IDT_DESC), (const uint16_t[]){ 0x1ef, GUEST_IDT + 0x20, 0, 0, 0 }, 10);
	for (unsigned int n = 1; n < 4; n++)
		pdptes[n] = n * 0x123000;
	pdptes[0] = (GUEST_TABLES + 0x2000) | 1;
	msr_map[1024 + (MSR_EXITS & 0x1fff) / 8] = msr_map[3072 + (MSR_EXITS & 0x1fff) / 8] = 1 << MSR_EXITS % 8;
	((uint8_t *)vmx_at(s, IO_MAP))[IO_EXITS / 8] = 1 << IO_EXITS % 8;
	((uint8_t *)vmx_at(s, IO_MAP + 0x1000))[(IO_EXITS_HIGH & 0x7fff) / 8] = 1 << IO_EXITS_HIGH % 8;
	*(uint32_t *)vmx_at(s, VIRTUAL_APIC + TPR) = 0x50;
	put_msr(r, 0, MSR_KERNEL_GS, 0x1111000);
	put_msr(r, 0x10, MSR_KERNEL_GS, 0);
	put_msr(r, 0x20, MSR_KERNEL_GS, 0x2222000);
	put_msr(r, 0x30, 0xc0000100, 0);
}

static void make_base(struct run *r)
{
	for (unsigned int n = 0; n < sizeof(base_changes) / sizeof(base_changes[0]); n++) {
		const struct change *c = &base_changes[n];
		uint64_t *v = &r->base[index_of(c->field)];

		*v = (*v & ~c->clear) | c->set;
	}
}

/* L1's hypervisor inside: an L2 whose VMREAD and VMWRITE L1 does not hear of. */
static void start_inner(struct run *r)
{
	uint32_t revision = *(uint32_t *)vmx_at(&r->s, VMX_VMXON);
	struct vmx *s = &r->s;

	*(uint32_t *)vmx_at(s, INNER_VMCS) = revision;
	*(uint32_t *)vmx_at(s, SHADOW_VMCS) = revision | 1u << 31;
	vmptrld(r, SHADOW_VMCS);
	write_all(r, r->now);
	vmptrld(r, INNER_VMCS);
	write_all(r, r->now);
	vmx_control2(s, P2_SHADOW_VMCS);
	vmx_put(s, F_VMREAD_BITMAP, NOTHING);
	vmx_put(s, F_VMWRITE_BITMAP, NOTHING);
	vmx_put(s, F_LINK, SHADOW_VMCS);
	vmx_put(s, F_RIP, CODE_AT(inner));
	vmx_put(s, F_RSP, INNER_STACK);
}

static void start_enlightened(struct run *r)
{
	struct vmx *s = &r->s;

	/* WRMSR of GUEST_OS_ID, and of the VP assist page's address, which names the enlightened VMCS. */
	VMX_DO(s, MOV_ECX(0x40000000), MOV_EAX(1), 0x31, 0xd2, WRMSR, MOV_ECX(0x40000073), MOV_EAX(ASSIST | 1), WRMSR);
	*(uint8_t *)vmx_at(s, ASSIST + 40) = 1;
	*(uint64_t *)vmx_at(s, ASSIST + 48) = EVMCS;
	*(uint32_t *)evmcs_at(r, 0) = 1;
	for (unsigned int n = 0; n < FIELDS; n++)
		evmcs_write(r, n, r->base[n]);
	memcpy(r->now, r->base, sizeof(r->now));
	r->enlightened = true;
	put_list(r);
}

static struct run start(enum route route)
{
	const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = 1 << 4 | 1 << 5 },
		{ .function = 0x4000000a, .eax = 0x0101 },
	};
	struct run r = { .route = route };
	uint16_t versions;

	r.s = vmx_start_with((const uint8_t[]){ HLT }, 1, P2_EPT | P2_VPID | P2_SHADOW_VMCS, true, leaves, 4);
	memcpy(vmx_at(&r.s, CODE), routes_code, (size_t)(routes_end - routes_code));
	put_list(&r);
	vmx_ept(&r.s, 0);
	vmx_put(&r.s, F_VPID, 1);
	vmx_control2(&r.s, P2_VPID);
	if (route >= ENLIGHTENED)
		api_ok(guest_enable(r.s.g.vcpu, KVM_CAP_HYPERV_ENLIGHTENED_VMCS, (uint64_t)(uintptr_t)&versions));
	read_all(&r, r.now);
	memcpy(r.base, r.now, sizeof(r.base));
	make_base(&r);
	make_l2_memory(&r);
	if (route == SHADOW)
		start_inner(&r);
	if (route >= ENLIGHTENED)
		start_enlightened(&r);
	return r;
}

/* --- one step --------------------------------------------------------------------------------------------------------- */

static uint32_t run_vmcs(struct run *r, unsigned int which)
{
	uint32_t result;

	*vmx_launched(&r->s) = r->launched[which];
	result = vmx_run(&r->s);
	r->launched[which] = *vmx_launched(&r->s);
	return result;
}

#define MOV_RBX_APIC 0xbb, ABS(0xfee00000)
#define STORE32_AT(at, v) 0xc7, 0x83, ABS(at), ABS(v)   /* mov dword [rbx+at],v */

static void send_interrupt(struct run *r)
{
	VMX_DO(&r->s, MOV_RBX_APIC, STORE32_AT(0xf0, 0x1ff), STORE32_AT(0x300, 0x40000 | INTERRUPT));
}

static void end_interrupt(struct run *r)
{
	VMX_DO(&r->s, MOV_RBX_APIC, STORE32_AT(0xb0, 0));
}

/* L2 runs; what is seen of it but for the fields. */
static void run_l2(struct run *r, uint8_t flags, struct seen *seen)
{
	struct vmx *s = &r->s;

	if (flags & IPI)
		send_interrupt(r);
	seen->result = run_vmcs(r, L2_VMCS);
	r->entries += seen->result < VMX_FAIL;
	memcpy(seen->gpr, vmx_reg(s, 0), sizeof(seen->gpr));
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &seen->host));
	for (unsigned int n = 0; n < HOST_MSRS; n++)
		assert_int_equal(guest_get_msr(&s->g, host_msrs[n], &seen->msr[n]), 1);
	if (flags & PMU)
		assert_int_equal(guest_get_msr(&s->g, MSR_PERF_GLOBAL, &seen->perf_global), 1);
	if (flags & EOI)
		end_interrupt(r);
}

/* Of all the hypervisor inside does, L1 hears its VMRESUME, and HLT when it has seen all that it wanted. */
static void run_inner(struct run *r, uint32_t reason)
{
	uint32_t was = run_vmcs(r, INNER);

	if (was != reason)
		fail_msg("the hypervisor inside: exit %u at %#lx", was, vmx_get(&r->s, F_RIP));
	vmx_next(&r->s);
}

static void step_shadow(struct run *r, uint8_t flags, struct seen *seen)
{
	uint64_t gpr[GPRS], value[FIELDS];

	memcpy(gpr, vmx_reg(&r->s, 0), sizeof(gpr));
	run_inner(r, 24);
	assert_int_equal(*(uint64_t *)vmx_at(&r->s, FAILED_STORES), 0);
	vmptrld(r, SHADOW_VMCS);
	read_all(r, value);
	vmptrld(r, VMX_VMCS);
	write_all(r, value);
	memcpy(vmx_reg(&r->s, 0), gpr, sizeof(gpr));
	run_l2(r, flags, seen);
	memcpy(gpr, vmx_reg(&r->s, 0), sizeof(gpr));
	read_all(r, value);
	vmptrld(r, SHADOW_VMCS);
	write_all(r, value);
	vmptrld(r, INNER_VMCS);
	memset(vmx_at(&r->s, VALUES), 0xff, FIELDS * sizeof(uint64_t));
	run_inner(r, R_HLT);
	take_values(r, seen->field);
	memcpy(vmx_reg(&r->s, 0), gpr, sizeof(gpr));
}

static void step_enlightened(struct run *r, uint8_t flags, struct seen *seen)
{
	if (r->route == ENLIGHTENED)
		*clean_fields(r) = 0;
	r->all_clean += *clean_fields(r) == CLEAN_ALL;
	run_l2(r, flags, seen);
	if (seen->result < VMX_FAIL)
		assert_int_equal(*clean_fields(r), CLEAN_ALL);
	evmcs_read_all(r, seen->field);
}

/* L1 wants the field to be that. */
static void want(struct run *r, unsigned int n, uint64_t value, unsigned int *pairs)
{
	if (r->enlightened && fields[n].offset == ABSENT)
		return;
	if (r->route == PLAIN)
		vmx_put(&r->s, fields[n].encoding, value);
	else if (r->route == SHADOW)
		put_pair(r, (*pairs)++, fields[n].encoding, value);
	else
		evmcs_write(r, n, value);
	if (r->enlightened)
		*clean_fields(r) &= ~(uint32_t)fields[n].group;
}

static uint64_t wanted(const struct run *r, const struct step *step, unsigned int n)
{
	uint32_t encoding = fields[n].encoding;

	if (TYPE(encoding) == TYPE_EXIT)
		return r->now[n];
	if (step->flags & KEEP)
		return encoding == F_RIP ? r->now[n] + r->now[index_of(F_INSN_LEN)] : r->now[n];
	for (unsigned int i = 0; i < sizeof(step->change) / sizeof(step->change[0]); i++)
		if (step->change[i].field == encoding && (step->change[i].clear | step->change[i].set))
			return (r->base[n] & ~step->change[i].clear) | step->change[i].set;
	return r->base[n];
}

static void do_step(struct run *r, const struct step *step, struct seen *seen)
{
	static void (*const ways[ROUTES])(struct run *r, uint8_t flags, struct seen *seen) = {
		[SHADOW] = step_shadow, [ENLIGHTENED] = step_enlightened, [ENLIGHTENED_CLEAN] = step_enlightened,
	};
	unsigned int pairs = 0;

	*(uint64_t *)vmx_at(&r->s, PAIRS) = ~0ULL;
	for (unsigned int n = 0; n < FIELDS; n++) {
		uint64_t value = wanted(r, step, n);

		if (value != r->now[n])
			want(r, n, value, &pairs);
	}
	if (!(step->flags & KEEP))
		vmx_code(&r->s, VMX_L2, step->code, sizeof(step->code));
	if (ways[r->route]) {
		ways[r->route](r, step->flags, seen);
	} else {
		run_l2(r, step->flags, seen);
		read_all(r, seen->field);
	}
	memcpy(r->now, seen->field, sizeof(r->now));
	if (seen->result != step->result)
		fail_msg("%s: %#x, not %#x; qualification %#lx, RIP %#lx", step->name, seen->result, step->result,
			 r->now[index_of(F_QUALIFICATION)], r->now[index_of(F_RIP)]);
}

/* --- the same by all of them --------------------------------------------------------------------------- */

static void compare(const struct step *step, const struct seen *plain, const struct seen *other, enum route route)
{
	static const char *const names[] = { "plain", "shadow", "enlightened", "enlightened with clean fields" };

	for (unsigned int n = 0; n < FIELDS; n++) {
		if (route >= ENLIGHTENED && fields[n].offset == ABSENT)
			continue;
		if (plain->field[n] != other->field[n])
			fail_msg("%s: field %#x is %#lx, and %#lx %s", step->name, fields[n].encoding, plain->field[n],
				 other->field[n], names[route]);
	}
	for (unsigned int n = 0; n < GPRS; n++)
		if (plain->gpr[n] != other->gpr[n])
			fail_msg("%s: register %u is %#lx, and %#lx %s", step->name, n, plain->gpr[n], other->gpr[n],
				 names[route]);
	/* Without an entry L1 is as its last exit has left it, from whomever that was. */
	if (plain->result >= VMX_FAIL && !(plain->result & VMX_ENTRY_FAILED))
		return;
	assert_memory_equal(&plain->host, &other->host, sizeof(plain->host));
	assert_memory_equal(plain->msr, other->msr, sizeof(plain->msr));
	assert_int_equal(plain->perf_global, other->perf_global);
}

static uint64_t counter(struct run *r, const char *name)
{
	return api_real() ? 0 : guest_stat(r->s.g.vcpu, name);
}

static void check_counters(struct run *r, unsigned int steps_done)
{
	if (api_real())
		return;
	assert_int_equal(counter(r, "hv_evmcs_entries"), r->enlightened ? r->entries : 0);
	/* The hypervisor inside is entered twice for each. */
	assert_int_equal(counter(r, "nested_run"), r->entries + (r->route == SHADOW ? 2 * steps_done : 0));
}

/* Steps that the run can do. */
static bool able(struct run *r, const struct step *step)
{
	uint64_t may = 0;

	if (step->flags & PMU)
		return guest_get_msr(&r->s.g, MSR_TRUE_ENTRY, &may) == 1 && (may >> 45 & 1);
	return !(step->flags & NO_EVMCS) || !r->enlightened;
}

static struct seen *work(enum route route)
{
	struct seen *seen = calloc(STEPS, sizeof(*seen));
	struct run r = start(route);
	unsigned int done = 0;

	assert_non_null(seen);
	for (unsigned int n = 0; n < STEPS; n++)
		if (able(&r, &steps[n])) {
			do_step(&r, &steps[n], &seen[n]);
			done++;
		}
	assert_int_equal(((uint64_t *)vmx_at(&r.s, MSRS + 0x10))[1], 0x1111000);
	if (route == ENLIGHTENED_CLEAN)
		assert_true(r.all_clean >= 3);
	check_counters(&r, done);
	vmx_end(&r.s);
	return seen;
}

/* A work that leaves fields at zero would compare nothing. */
static void check_work(const struct seen *seen)
{
	for (unsigned int n = 0; n < FIELDS; n++) {
		uint64_t any = 0;

		for (unsigned int i = 0; i < STEPS; i++)
			any |= seen[i].field[n];
		if (!any && fields[n].offset != ABSENT)
			fail_msg("field %#x is always zero", fields[n].encoding);
	}
}

static void test_same_fields(void **state)
{
	struct seen *plain = work(PLAIN), *other;

	check_work(plain);
	for (enum route route = SHADOW; route < ROUTES; route++) {
		other = work(route);
		for (unsigned int n = 0; n < STEPS; n++)
			if (route == SHADOW || !(steps[n].flags & NO_EVMCS))
				compare(&steps[n], &plain[n], &other[n], route);
		free(other);
	}
	free(plain);
}

/* There is no field that the table does not know; and none that it makes up. */
static void test_table(void **state)
{
	struct run r = start(PLAIN);
	uint64_t *list = vmx_at(&r.s, LIST), *flags = vmx_at(&r.s, FAILURES);
	unsigned int there = 0;

	/* Of each width and type the first 32, where all of them are. */
	for (unsigned int n = 0; n < 511; n++)
		list[n] = (n >> 7 & 3) << 13 | (n >> 5 & 3) << 10 | (n & 31) << 1;
	list[511] = ~0ULL;
	CALL(&r.s, dump);
	for (unsigned int n = 0; n < 511; n++) {
		if (flags[n] & CF_ZF)
			continue;
		(void)index_of((uint32_t)list[n]);
		there++;
	}
	if (!api_real())
		assert_int_equal(there, FIELDS);
	vmx_end(&r.s);
}

/* --- clean fields: one group at a time ------------------------------------------------------------------ */

/* What L1 changes is seen with its group's bit clear, and without that it is as it was. */
static const struct group {
	uint16_t group;
	uint8_t code[16];
	struct change base, change;     /* before, and then */
	uint32_t before, then;          /* results */
	uint8_t gpr;                    /* or a register, but RAX */
	uint64_t gpr_before, gpr_then;
} groups[] = {
	{ CLEAN_IO_BITMAP, { 0xe4, IO_EXITS, HLT }, PLUS(F_PROC, 1u << 25), IS(0x2000, NOTHING), R_IO, R_HLT, 0, 0, 0 },
	{ CLEAN_MSR_BITMAP, { MOV_ECX(MSR_EXITS), RDMSR, HLT }, { }, IS(F_MSR_BITMAP, NOTHING), R_RDMSR, R_HLT, 0, 0, 0 },
	{ CLEAN_CONTROL_GRP2, { RDTSC, 0xc1, 0xea, 0x1c, HLT }, PLUS(F_PROC, 1u << 3),
	  IS(0x2010, 6ULL << 60), R_HLT, R_HLT, 2, 0, 6 },
	{ CLEAN_CONTROL_GRP1, { 0x0f, 0x01, 0x04, 0x25, ABS(DATA + 0x40), HLT }, { },
	  PLUS(F_PROC2, 1 << 2), R_HLT, 46, 0, 0, 0 },
	{ CLEAN_PROC, { RDTSC, HLT }, { }, PLUS(F_PROC, 1 << 12), R_HLT, 16, 0, 0, 0 },
	{ CLEAN_EVENT, { HLT }, { }, IS(F_ENTRY_EVENT, EVENT(6, TYPE_HARD)), R_HLT, R_IO, 0, 0, 0 },
	{ CLEAN_ENTRY, { HLT }, { }, PLUS(F_ENTRY, 1u << 30), R_HLT, VMX_FAIL + 7, 0, 0, 0 },
	{ CLEAN_EXCPN, { UD2 }, { }, PLUS(0x4004, 1 << 6), R_IO, R_EXCEPTION, 0, 0, 0 },
	{ CLEAN_CRDR, { 0x0f, 0x20, 0xe1, HLT }, { }, IS(0x6006, 0x2000), R_HLT, R_HLT, 1, 0x20, 0x2020 },
	{ CLEAN_XLAT, { HLT }, { }, IS(F_VPID, 0), R_HLT, VMX_FAIL + 7, 0, 0, 0 },
	{ CLEAN_GUEST_BASIC, { HLT }, { }, MINUS(F_RFLAGS, 2), R_HLT, VMX_ENTRY_FAILED | 33, 0, 0, 0 },
	{ CLEAN_GUEST_GRP1, { MOV_ECX(0x175), RDMSR, 0x89, 0xc1, HLT }, { },
	  IS(0x6824, 0x5000), R_HLT, R_HLT, 1, 0x71000, 0x5000 },
	{ CLEAN_GUEST_GRP2, { 0x64, 0x8b, 0x0c, 0x25, ABS(0), HLT }, { },
	  IS(0x680e, DATA + 0x10), R_HLT, R_HLT, 1, 9, (uint32_t)(GDT + 0x10) << 16 | 0x1f },
	{ CLEAN_HOST_POINTER, { HLT }, { }, IS(0x6c06, 1ULL << 63), R_HLT, VMX_FAIL + 8, 0, 0, 0 },
	{ CLEAN_HOST_GRP1, { HLT }, { }, IS(0x6c10, 1ULL << 63), R_HLT, VMX_FAIL + 8, 0, 0, 0 },
	/* A field of no group's: looked at unless all is as it was. */
	{ 1u << 15, { HLT }, IS(0x200a, MSRS + 0x30), IS(0x4014, 1), R_HLT, VMX_ENTRY_FAILED | 34, 0, 0, 0 },
};

static struct step step_of(const struct group *g)
{
	struct step step = { .name = "a group", .result = g->before, .change = { g->base } };

	memcpy(step.code, g->code, sizeof(g->code));
	return step;
}

static void expect_group(const struct group *g, uint32_t result, const uint64_t *gpr, bool changed)
{
	uint32_t expected = changed ? g->then : g->before;

	if (result != expected)
		fail_msg("group %#x, %s: %#x, not %#x", g->group, changed ? "changed" : "as it was", result, expected);
	if (g->gpr && gpr[g->gpr] != (changed ? g->gpr_then : g->gpr_before))
		fail_msg("group %#x, %s: register %#lx", g->group, changed ? "changed" : "as it was", gpr[g->gpr]);
}

/* The change is in memory; is it seen? */
static void enter_changed(struct run *r, const struct group *g, uint32_t clean, bool seen_it)
{
	unsigned int n = index_of(g->change.field);
	struct seen seen;

	/* L2 begins anew: RIP is always looked at, and what else an exit may have changed is L1's to put right. */
	for (unsigned int i = 0; i < FIELDS; i++)
		if (TYPE(fields[i].encoding) == TYPE_GUEST)
			evmcs_write(r, i, r->base[i]);
	evmcs_write(r, n, (r->base[n] & ~g->change.clear) | g->change.set);
	*clean_fields(r) = clean;
	run_l2(r, 0, &seen);
	expect_group(g, seen.result, seen.gpr, seen_it);
}

static void test_groups(void **state)
{
	struct run r = start(ENLIGHTENED_CLEAN);
	struct seen seen;

	for (unsigned int n = 0; n < sizeof(groups) / sizeof(groups[0]); n++) {
		const struct group *g = &groups[n];
		struct step before = step_of(g);

		do_step(&r, &before, &seen);
		expect_group(g, seen.result, seen.gpr, false);
		/* Once more, for all that has been put back to be clean. */
		do_step(&r, &before, &seen);
		enter_changed(&r, g, CLEAN_ALL, false);
		enter_changed(&r, g, CLEAN_ALL & ~(uint32_t)g->group, true);
		/* Back: all of it is looked at. */
		for (unsigned int i = 0; i < FIELDS; i++)
			if (TYPE(fields[i].encoding) != TYPE_EXIT)
				evmcs_write(&r, i, r.base[i]);
		memcpy(r.now, r.base, sizeof(r.now));
		*clean_fields(&r) = 0;
	}
	vmx_end(&r.s);
}

/* --- instructions -------------------------------------------------------------------------------------------------- */

/* VMREAD or VMWRITE of the field EAX, from or into RCX; RFLAGS to POINTER. */
#define ACCESS(opcode, field) MOV_EAX(field), 0x0f, opcode, 0xc1, 0x9c, 0x8f, 0x04, 0x25, ABS(POINTER)

static uint64_t flags_of(struct run *r)
{
	return *(uint64_t *)vmx_at(&r->s, POINTER) & CF_ZF;
}

static uint32_t evmcs_error(struct run *r)
{
	return *(uint32_t *)evmcs_at(r, 688);
}

/*
 * As with KVM: what the enlightened VMCS has can be read by VMREAD, too, what it has not is no field, and nothing can be
 * written.  The error is all that a failure writes to it: L1 may have changed the rest.
 */
static void test_instructions(void **state)
{
	struct step hlt = { .name = "HLT", .result = R_HLT, .code = { HLT } };
	struct run r = start(ENLIGHTENED_CLEAN);
	struct seen seen;

	do_step(&r, &hlt, &seen);
	assert_int_equal(seen.field[index_of(F_RIP)], VMX_L2);
	evmcs_write(&r, index_of(F_RIP), VMX_L2 + 0x100);
	assert_int_equal(evmcs_error(&r), 0);
	VMX_DO(&r.s, ACCESS(0x78, F_PML_INDEX));
	assert_int_equal(flags_of(&r), 0x40);
	assert_int_equal(evmcs_error(&r), 12);
	assert_int_equal(*(uint64_t *)evmcs_at(&r, 816), VMX_L2 + 0x100);
	VMX_DO(&r.s, ACCESS(0x78, F_RIP));
	assert_int_equal(flags_of(&r), 0);
	VMX_DO(&r.s, ACCESS(0x79, F_RIP));
	assert_int_equal(flags_of(&r), 1);
	VMX_DO(&r.s, ACCESS(0x79, F_PML_INDEX));
	assert_int_equal(flags_of(&r), 1);
	assert_int_equal(*(uint64_t *)evmcs_at(&r, 816), VMX_L2 + 0x100);
	vmx_end(&r.s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_table), cmocka_unit_test(test_same_fields), cmocka_unit_test(test_groups),
	cmocka_unit_test(test_instructions),
};

API_MAIN(tests)
