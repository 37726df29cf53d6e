// SPDX-License-Identifier: MIT
/* Intel's extensions; SDM 3C, chapters 23 to 31. */
#include "nested.h"

#define FEATURE_CONTROL 0x3a
#define VMX_BASIC 0x480
#define CR0_FIXED0 0x486        /* and what may be set, and the same of CR4 */
#define PAT 0x277
#define EFER 0xc0000080
/* IA32_VMX_TRUE_*_CTLS and IA32_VMX_PROCBASED_CTLS2. */
enum { CAP_PIN = 0x48d, CAP_PROC, CAP_EXIT, CAP_ENTRY, CAP_PROC2 = 0x48b };

/* Fields; SDM 3D, appendix B. */
enum {
	VPID = 0x0000, ES_SELECTOR = 0x0800, HOST_ES_SELECTOR = 0x0c00, MSR_BITMAP = 0x2004, EPTP = 0x201a, LINK = 0x2800,
	GUEST_PAT = 0x2804, GUEST_EFER = 0x2806, HOST_PAT = 0x2c00, HOST_EFER = 0x2c02, PIN = 0x4000, PROC = 0x4002,
	EXCEPTIONS = 0x4004, EXIT_CONTROLS = 0x400c, ENTRY_CONTROLS = 0x4012, PROC2 = 0x401e, ERROR = 0x4400,
	REASON = 0x4402, LENGTH = 0x440c, ES_LIMIT = 0x4800, GDTR_LIMIT = 0x4810, IDTR_LIMIT = 0x4812, ES_ACCESS = 0x4814,
	GUEST_CR0 = 0x6800, GUEST_CR3 = 0x6802, GUEST_CR4 = 0x6804, DR7 = 0x681a, RSP = 0x681c, RIP = 0x681e,
	RFLAGS = 0x6820, HOST_CR0 = 0x6c00, HOST_CR3 = 0x6c02, HOST_CR4 = 0x6c04, HOST_RSP = 0x6c14, HOST_RIP = 0x6c16,
};

#define PROC_HLT (1u << 7)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_SECONDARY (1u << 31)
#define PROC2_EPT (1u << 1)
#define PROC2_VPID (1u << 5)
#define EXIT_HOST_64 (1u << 9)
#define EXIT_PAT_EFER (3u << 18 | 3u << 20)
#define ENTRY_GUEST_64 (1u << 9)
#define ENTRY_PAT_EFER (3u << 14)
#define EPT_POINTER 0x1e        /* write-back, four levels */

enum { REASON_CPUID = 10, REASON_VMCALL = 18 };

static uint32_t vmxon_region[PAGE / 4] __attribute__((aligned(PAGE))), vmcs[PAGE / 4] __attribute__((aligned(PAGE)));
static char stack[PAGE] __attribute__((aligned(PAGE))), msr_bitmap[PAGE] __attribute__((aligned(PAGE)));
static uint64_t ept[6 * 512] __attribute__((aligned(PAGE)));

static bool offered(void)
{
	return cpuid_ecx(1) & 1u << 5;
}

/* CPUID, and on. */
static void cpuids(void)
{
	__asm__ volatile("1: cpuid; jmp 1b" : : : "eax", "ebx", "ecx", "edx");
}

static inline void vmwrite(uint64_t field, uint64_t value)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"(field), "r"(value) : "cc", "memory");
}

static inline uint64_t vmread(uint64_t field)
{
	uint64_t value;

	__asm__ volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
	return value;
}

static void controls(uint64_t field, uint32_t cap, uint32_t wanted)
{
	uint64_t may = rdmsr(cap);

	if (wanted & ~(may >> 32))
		end("VMX has not what L2 needs");
	vmwrite(field, wanted | (uint32_t)may);
}

/* The first 4 GiB where they are, in pages of 2 MiB. */
static void fill_ept(void)
{
	uint64_t at = (uintptr_t)ept;

	ept[0] = (at + PAGE) | 7;
	for (unsigned int n = 0; n < 4; n++)
		ept[512 + n] = (at + (2 + n) * PAGE) | 7;
	for (uint64_t n = 0; n < 2048; n++)
		ept[1024 + n] = n << 21 | 0xb7;         /* large, write-back, all rights */
}

/* L2 is as L1 is: 64-bit code at CPL 0, in the same memory. */
static void fill_state(void)
{
	uint64_t cr0, cr4;

	__asm__("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
	vmwrite(GUEST_CR0, cr0);
	vmwrite(HOST_CR0, cr0);
	vmwrite(GUEST_CR3, (uintptr_t)page_tables);
	vmwrite(HOST_CR3, (uintptr_t)page_tables);
	vmwrite(GUEST_CR4, cr4);
	vmwrite(HOST_CR4, cr4);
	vmwrite(GUEST_PAT, rdmsr(PAT));
	vmwrite(HOST_PAT, rdmsr(PAT));
	vmwrite(GUEST_EFER, rdmsr(EFER));
	vmwrite(HOST_EFER, rdmsr(EFER));
	/* ES, CS, SS, DS, FS, GS, LDTR, TR */
	for (unsigned int n = 0; n < 8; n++) {
		vmwrite(ES_SELECTOR + 2 * n, n == 1 ? 8 : n == 7 ? 24 : n == 6 ? 0 : 16);
		vmwrite(ES_LIMIT + 2 * n, n == 7 ? 0x67 : 0xffffffff);
		vmwrite(ES_ACCESS + 2 * n, n == 1 ? 0xa09b : n == 7 ? 0x8b : n == 6 ? 0x10000 : 0xc093);
		if (n < 7)
			vmwrite(HOST_ES_SELECTOR + 2 * n, n == 1 ? 8 : n == 6 ? 24 : 16);
	}
	vmwrite(DR7, 0x400);
	vmwrite(RFLAGS, 2);
	vmwrite(LINK, ~0ULL);
}

static void setup(void)
{
	uint64_t region = (uintptr_t)vmxon_region, current = (uintptr_t)vmcs, cr0, cr4;
	uint8_t failed;

	if (!(rdmsr(FEATURE_CONTROL) & 1))
		wrmsr(FEATURE_CONTROL, 5);
	__asm__("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
	cr0 |= rdmsr(CR0_FIXED0);
	cr4 |= rdmsr(CR0_FIXED0 + 2);
	__asm__ volatile("mov %0, %%cr0; mov %1, %%cr4" : : "r"(cr0), "r"(cr4));
	vmxon_region[0] = vmcs[0] = (uint32_t)rdmsr(VMX_BASIC) & 0x7fffffff;
	__asm__ volatile("vmxon %1; setbe %0" : "=r"(failed) : "m"(region) : "cc", "memory");
	if (failed)
		end("VMXON fails");
	__asm__ volatile("vmclear %1; vmptrld %1; setbe %0" : "=r"(failed) : "m"(current) : "cc", "memory");
	if (failed)
		end("VMPTRLD fails");
	controls(PIN, CAP_PIN, 0);
	controls(PROC, CAP_PROC, PROC_HLT | PROC_MSR_BITMAPS | PROC_SECONDARY);
	controls(PROC2, CAP_PROC2, PROC2_EPT | PROC2_VPID);
	controls(EXIT_CONTROLS, CAP_EXIT, EXIT_HOST_64 | EXIT_PAT_EFER);
	controls(ENTRY_CONTROLS, CAP_ENTRY, ENTRY_GUEST_64 | ENTRY_PAT_EFER);
	vmwrite(EXCEPTIONS, ~0u);
	vmwrite(MSR_BITMAP, (uintptr_t)msr_bitmap);
	fill_ept();
	vmwrite(EPTP, (uintptr_t)ept | EPT_POINTER);
	vmwrite(VPID, 1);
	fill_state();
}

#define ALL_REGISTERS \
	"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc"

/* Where L2 is left for; what comes behind VMLAUNCH and VMRESUME is their failing. */
#define ENTER(instruction) \
	__asm__ volatile("push %%rbp; lea 1f(%%rip), %%rax; mov $0x6c16, %%ecx; vmwrite %%rax, %%rcx\n\t" \
			 "mov $0x6c14, %%ecx; vmwrite %%rsp, %%rcx; " instruction "\n\tud2\n1:\tpop %%rbp" \
			 : : : ALL_REGISTERS)

static bool launched;

static void vmenter(void)
{
	if (launched)
		ENTER("vmresume");
	else
		ENTER("vmlaunch");
	launched = true;
}

static void must(uint64_t reason)
{
	if (vmread(REASON) != reason)
		end("L2 has left for another reason than it should");
}

static void skip(void)
{
	vmwrite(RIP, vmread(RIP) + vmread(LENGTH));
}

static void begin(void (*at)(void))
{
	vmwrite(RIP, (uintptr_t)at);
	/* As behind a call: the stack is 8 off 16. */
	vmwrite(RSP, (uintptr_t)stack + sizeof(stack) - 8);
}

static void round_trips(unsigned long n)
{
	begin(cpuids);
	while (n--) {
		vmenter();
		must(REASON_CPUID);
		skip();
	}
}

/* KVM reads, in addition, what tells whether an event was under way, and writes what may have changed of its own state. */
static void round_trips_all(unsigned long n)
{
	begin(cpuids);
	while (n--) {
		vmwrite(HOST_CR3, (uintptr_t)page_tables);
		vmenter();
		must(REASON_CPUID);
		vmread(0x4404);         /* interruption information, IDT vectoring, qualification, guest-physical address */
		vmread(0x4408);
		vmread(0x6400);
		vmread(0x2400);
		skip();
	}
}

/* A VMREAD or VMWRITE of L1's is an exit to its L0: they are part of what L1 executes. */
static void empty_trips(unsigned long n)
{
	begin(cpuids);
	/* The last exit's reason is what it is. */
	while (n--) {
		__asm__ volatile("push %%rbp; lea 1f(%%rip), %%rax; mov $0x6c16, %%ecx; vmwrite %%rax, %%rcx\n\t"
				 "mov $0x6c14, %%ecx; vmwrite %%rsp, %%rcx\n1:\tpop %%rbp" : : : ALL_REGISTERS);
		vmread(REASON);
		skip();
	}
}

static void (*volatile to_call)(void);

static __attribute__((noreturn)) void callee(void)
{
	to_call();
	__asm__ volatile("vmcall");
	__builtin_unreachable();
}

static void call(void (*fn)(void))
{
	to_call = fn;
	begin(callee);
	vmenter();
	must(REASON_VMCALL);
}

const struct vendor vmx = {
	.name = "vmx", .offered = offered, .setup = setup, .round_trips = round_trips, .round_trips_all = round_trips_all,
	.empty_trips = empty_trips, .call = call,
};
