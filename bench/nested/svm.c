// SPDX-License-Identifier: MIT
/* AMD's extensions; APM 2, chapter 15. */
#include "nested.h"
#include "x86/svm/vmcb.h"

#define EFER 0xc0000080
#define EFER_SVME (1u << 12)
#define VM_CR 0xc0010114
#define VM_CR_DIS (1u << 4)
#define VM_HSAVE_PA 0xc0010117
#define GUEST_PAT 0x0007040600070406ULL

static struct vmcb vmcb __attribute__((aligned(PAGE)));
static char hsave[PAGE] __attribute__((aligned(PAGE))), stack[PAGE] __attribute__((aligned(PAGE)));
static char maps[4 * PAGE] __attribute__((aligned(PAGE)));      /* nothing of them is intercepted */

static bool offered(void)
{
	return cpuid_ecx(0x80000001) & 4;
}

/* CPUID, and on. */
static void cpuids(void)
{
	__asm__ volatile("1: cpuid; jmp 1b" : : : "eax", "ebx", "ecx", "edx");
}

static uint64_t efer(void)
{
	return rdmsr(EFER);
}

static void set_segment(struct vmcb_seg *s, uint16_t selector, uint16_t attributes)
{
	*s = (struct vmcb_seg){ .selector = selector, .attrib = attributes, .limit = ~0u };
}

/* L2 is as L1 is: 64-bit code at CPL 0, in the same memory. */
static void fill_save(struct vmcb_save *s)
{
	uint64_t cr0, cr4;

	__asm__("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
	set_segment(&s->cs, 8, 0xa9b);
	set_segment(&s->ds, 16, 0xc93);
	set_segment(&s->es, 16, 0xc93);
	set_segment(&s->ss, 16, 0xc93);
	s->efer = efer();
	s->cr0 = cr0;
	s->cr3 = (uintptr_t)page_tables;
	s->cr4 = cr4;
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->rflags = 2;
	s->g_pat = GUEST_PAT;
	s->rip = (uintptr_t)cpuids;
	s->rsp = (uintptr_t)stack + sizeof(stack);
}

static void setup(void)
{
	struct vmcb_control *c = &vmcb.control;

	if (rdmsr(VM_CR) & VM_CR_DIS)
		end("SVM is disabled");
	wrmsr(EFER, efer() | EFER_SVME);
	wrmsr(VM_HSAVE_PA, (uintptr_t)hsave);
	c->word3 = 1u << W3_CPUID | 1u << W3_HLT | 1u << W3_SHUTDOWN;
	c->word4 = 1u << W4_VMRUN | 1u << W4_VMMCALL;
	c->exceptions = ~0u;
	c->iopm = c->msrpm = (uintptr_t)maps;
	c->asid = 1;
	c->nested_ctl = NESTED_NP;
	c->nested_cr3 = (uintptr_t)page_tables;
	fill_save(&vmcb.save);
}

#define ALL_REGISTERS "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"

static inline __attribute__((always_inline)) void vmrun(void)
{
	__asm__ volatile("push %%rbp; vmrun; pop %%rbp" : : "a"(&vmcb) : ALL_REGISTERS, "memory", "cc");
}

static inline __attribute__((always_inline)) void vmrun_all(void)
{
	__asm__ volatile("push %%rbp; clgi; vmload; vmrun; vmsave; stgi; pop %%rbp"
			 : : "a"(&vmcb) : ALL_REGISTERS, "memory", "cc");
}

static void must(uint64_t code)
{
	if (vmcb.control.exit_code != code)
		end("L2 has left for another reason than it should");
}

static void round_trips(unsigned long n)
{
	vmcb.save.rip = (uintptr_t)cpuids;
	while (n--) {
		vmrun();
		must(EXIT_WORD3 + W3_CPUID);
		vmcb.save.rip += 2;
	}
}

static void round_trips_all(unsigned long n)
{
	vmcb.save.rip = (uintptr_t)cpuids;
	while (n--) {
		vmrun_all();
		must(EXIT_WORD3 + W3_CPUID);
		vmcb.save.rip += 2;
	}
}

static void empty_trips(unsigned long n)
{
	vmcb.control.exit_code = EXIT_WORD3 + W3_CPUID;
	while (n--) {
		__asm__ volatile("push %%rbp; pop %%rbp" : : "a"(&vmcb) : ALL_REGISTERS, "memory", "cc");
		must(EXIT_WORD3 + W3_CPUID);
		vmcb.save.rip += 2;
	}
}

static void (*volatile to_call)(void);

static __attribute__((noreturn)) void callee(void)
{
	to_call();
	__asm__ volatile("vmmcall");
	__builtin_unreachable();
}

static void call(void (*fn)(void))
{
	to_call = fn;
	vmcb.save.rip = (uintptr_t)callee;
	/* As behind a call: the stack is 8 off 16. */
	vmcb.save.rsp = (uintptr_t)stack + sizeof(stack) - 8;
	vmrun();
	must(EXIT_WORD4 + W4_VMMCALL);
}

const struct vendor svm = {
	.name = "svm", .offered = offered, .setup = setup, .round_trips = round_trips, .round_trips_all = round_trips_all,
	.empty_trips = empty_trips, .call = call,
};
