/* SPDX-License-Identifier: MIT */
/* Long mode: the 64-bit IDT, IST, IRETQ, SYSCALL, call gates, paging faults, compatibility mode. */
#include "rig.h"

#include "x86/features.h"

static uint64_t top(const struct rig *r, unsigned int n)
{
	return rig_read(r, REG(r, R_RSP) + n * 8, 8);
}

GUEST(int30, 64, "	int $0x30\n	hlt\n");

static void same_privilege(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, int30);
	REG(r, R_RSP) = STACK0 - 3;
	r->cpu->rflags |= FL_IF;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RSP), STACK0 - 16 - 40);
	assert_int_equal(top(r, 0), AT_CODE + 2);
	assert_int_equal(top(r, 1), CODE64_0);
	assert_int_equal(top(r, 2), FL_IF | 2);
	assert_int_equal(top(r, 3), STACK0 - 3);
	assert_int_equal(top(r, 4), DATA64_0);
	assert_int_equal(r->cpu->seg[SEG_SS].selector, DATA64_0);
}

static void interrupt_stack_table(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0x8e, 1);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RSP), STACK_IST - 40);
	assert_int_equal(top(r, 3), STACK0);
}

static void to_inner_stack(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_user(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RSP), STACK0 - 40);
	assert_int_equal(top(r, 1), CODE64_3);
	assert_int_equal(top(r, 4), DATA_3);
	assert_int_equal(r->cpu->seg[SEG_SS].selector, 0);
	assert_true(r->cpu->seg[SEG_SS].unusable);
	assert_int_equal(r->cpu->cpl, 0);
}

GUEST(page_fault, 64, "	mov $0x500000, %rax\n	movq $1, 8(%rax)\n");

static void page_fault_error(void **state)
{
	struct rig *r = *state;

	for (int user = 0; user < 2; user++) {
		rig_long(r);
		if (user)
			rig_user(r);
		REG(r, R_RIP) = AT_CODE;
		RIG_CODE(r, AT_CODE, page_fault);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, X86_PF));
		assert_int_equal(top(r, 0), user ? 6 : 2);
		assert_int_equal(top(r, 1), AT_CODE + 7);
		assert_true(top(r, 3) & FL_RF);
		assert_int_equal(r->cpu->cr2, 0x500008);
	}
}

GUEST(noncanonical, 64, "	mov $0x800000000000, %rax\n	mov (%rax), %rax\n");
GUEST(bad_stack, 64, "	mov $0x800000000100, %rsp\n	push %rax\n");

static void noncanonical_addresses(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, noncanonical);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(top(r, 0), 0);

	/* #SS on a stack that cannot be used either, but for the IST. */
	rig_long(r);
	rig_idt64(r, X86_SS, CODE64_0, AT_HANDLERS + X86_SS * 16, 0x8e, 1);
	RIG_CODE(r, AT_CODE, bad_stack);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_SS));
	assert_int_equal(REG(r, R_RSP), STACK_IST - 48);
}

/* A page fault on the way into #PF's handler: #DF on its IST; without one, shutdown. */
static void double_and_triple(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, page_fault);
	REG(r, R_RSP) = 0x600000;
	rig_idt64(r, X86_DF, CODE64_0, AT_HANDLERS + X86_DF * 16, 0x8e, 1);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DF));
	assert_int_equal(top(r, 0), 0);
	assert_int_equal(top(r, 1), AT_CODE + 7);
	assert_int_equal(r->cpu->cr2 >> 12, 0x5ff);

	rig_long(r);
	REG(r, R_RSP) = 0x600000;
	rig_idt64(r, X86_DF, CODE64_0, AT_HANDLERS, 0x8e, 0);
	assert_int_equal(rig_run(r), X86_RUN_SHUTDOWN);
}

GUEST(iretq, 64, "	iretq\n");

static void iretq_to(struct rig *r, uint64_t rip, uint16_t cs, uint64_t flags, uint64_t rsp, uint16_t ss)
{
	const uint64_t frame[] = { rip, cs, flags, rsp, ss };

	RIG_CODE(r, AT_CODE, iretq);
	rig_put(r, STACK1, frame, sizeof(frame));
	REG(r, R_RSP) = STACK1;
}

static void iretq_to_user(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	iretq_to(r, AT_CODE2, CODE64_3, FL_IF | 2, STACK3, DATA_3);
	RIG_CODE(r, AT_CODE2, int30);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(top(r, 0), AT_CODE2 + 2);
	assert_int_equal(top(r, 3), STACK3);
	assert_int_equal(top(r, 2), FL_IF | 2);
}

/* Same privilege pops SS:RSP too, and a null SS will do. */
static void iretq_null_ss(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	iretq_to(r, AT_CODE2, CODE64_0, 2, STACK0 - 64, 0);
	RIG_CODE(r, AT_CODE2, int30);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(top(r, 3), STACK0 - 64);
	assert_int_equal(top(r, 4), 0);
}

static void iretq_checks(void **state)
{
	static const struct {
		uint64_t rip;
		uint16_t cs, ss, ec;
	} rows[] = {
		{ 1ULL << 47, CODE64_3, DATA_3, 0 },
		{ AT_CODE2, 0, DATA_3, 0 },
		{ AT_CODE2, CODE64_3, 3, 0 },
		{ AT_CODE2, CODE64_0 | 3, DATA_3, CODE64_0 },
		{ AT_CODE2, CODE32_3, 0, 0 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_long(r);
		iretq_to(r, rows[n].rip, rows[n].cs, 2, STACK3, rows[n].ss);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, X86_GP));
		assert_int_equal(top(r, 0), rows[n].ec);
		assert_int_equal(top(r, 1), AT_CODE);
		rig_free(r);
	}
	(void)state;
}

GUEST(user_syscall, 64, "	mov $1, %eax\n	syscall\n	mov $2, %edx\n	int $0x30\n");
GUEST(kernel_sysret, 64, "	mov %rcx, %rbx\n	mov %r11, %rbp\n	swapgs\n	swapgs\n	mov $3, %esi\n	sysretq\n");

static void syscall_msrs(struct rig *r)
{
	r->cpu->star = (uint64_t)CODE64_0 << 32 | (uint64_t)CODE32_U << 48;
	r->cpu->lstar = AT_CODE2;
	r->cpu->sfmask = FL_IF | FL_TF;
}

static void syscall_and_sysret(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_user(r);
	syscall_msrs(r);
	x86_set_rflags(r->cpu, FL_IF | 2 | FL_CF);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	RIG_CODE(r, AT_CODE, user_syscall);
	RIG_CODE(r, AT_CODE2, kernel_sysret);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RBX), AT_CODE + 7);
	assert_int_equal(REG(r, R_RBP), FL_IF | 2 | FL_CF);
	assert_int_equal(REG(r, R_RDX), 2);
	assert_int_equal(REG(r, R_RSI), 3);
	assert_int_equal(top(r, 1), CODE64_3);
	assert_int_equal(top(r, 4), DATA_U);
	assert_int_equal(top(r, 2), FL_IF | 2 | FL_CF);
}

/* A single step over SYSCALL ends behind SYSRET, not in the kernel. */
static void step_over_syscall(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_user(r);
	syscall_msrs(r);
	RIG_CODE(r, AT_CODE, user_syscall);
	RIG_CODE(r, AT_CODE2, kernel_sysret);
	REG(r, R_RIP) = AT_CODE + 5;
	x86_set_rflags(r->cpu, FL_TF | 2);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(top(r, 0), AT_CODE + 7);
	assert_int_equal(top(r, 1), CODE64_3);
	assert_true(r->cpu->dr6 & 0x4000);
}

static void sysret_noncanonical(void **state)
{
	struct rig *r = *state;

	for (int amd = 0; amd < 2; amd++) {
		((struct x86_cpuid *)r->cpu->cpuid)->vendor = amd ? V_AMD : V_INTEL;
		rig_long(r);
		syscall_msrs(r);
		RIG_CODE(r, AT_CODE, kernel_sysret);
		REG(r, R_RCX) = 1ULL << 47;
		REG(r, R_R11) = 2;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, X86_GP));
		/* The kernel's fault, or the program's. */
		assert_int_equal(top(r, 2), amd ? CODE64_3 : CODE64_0);
		assert_int_equal(top(r, 1), amd ? 1ULL << 47 : AT_CODE + (uint64_t)(kernel_sysret_end - kernel_sysret) - 3);
	}
}

GUEST(user_twice, 64, "	nop\n	syscall\n");
GUEST(sysret_alias, 64, "	inc %ebx\n	cmp $2, %ebx\n	je 1f\n	mov $0x8000, %ecx\n	bts $57, %rcx\n	sysretq\n1:	hlt\n");

/* An address that differs from one known by its upper bits alone is not that one. */
static void sysret_to_alias(void **state)
{
	struct rig *r = *state;

	((struct x86_cpuid *)r->cpu->cpuid)->vendor = V_AMD;
	rig_long(r);
	rig_user(r);
	syscall_msrs(r);
	RIG_CODE(r, AT_CODE, user_twice);
	RIG_CODE(r, AT_CODE2, sysret_alias);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(top(r, 1), 0x8000 | 1ULL << 57);
}

GUEST(sysenter, 64, "	sysenter\n");
GUEST(sysexit, 64, "	mov $0x8000, %edx\n	mov $0x28000, %ecx\n	sysexitq\n");

static void sysenter_and_sysexit(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_user(r);
	r->cpu->sysenter_cs = CODE64_0;
	r->cpu->sysenter_eip = AT_CODE2;
	r->cpu->sysenter_esp = STACK1;
	RIG_CODE(r, AT_CODE, sysenter);
	rig_put(r, AT_CODE2, "\xf4", 1);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted);
	assert_int_equal(REG(r, R_RSP), STACK1);
	assert_int_equal(r->cpu->seg[SEG_SS].selector, CODE64_0 + 8);

	RIG_CODE(r, AT_CODE2, sysexit);
	REG(r, R_RIP) = AT_CODE2;
	RIG_CODE(r, AT_CODE, int30);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(top(r, 1), (CODE64_0 + 32) | 3);
	assert_int_equal(top(r, 3), STACK3);
}

GUEST(call_gate, 64, "	lcall *ptr(%rip)\n	int $0x30\nptr:	.long 0\n	.word 0xa0\n");
GUEST(gate_body, 64, "	mov %rsp, %rcx\n	mov 8(%rsp), %rdx\n	lretq\n");

static void call_gate64(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	rig_user(r);
	rig_gdt(r, GATE64_SEL, gate(CODE64_0, AT_CODE2, 0xec, 0), 0);
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	RIG_CODE(r, AT_CODE, call_gate);
	RIG_CODE(r, AT_CODE2, gate_body);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RCX), STACK0 - 32);
	assert_int_equal(rig_read(r, STACK0 - 8, 8), DATA_3);
	assert_int_equal(rig_read(r, STACK0 - 16, 8), STACK3);
	assert_int_equal(REG(r, R_RDX), CODE64_3);
	assert_int_equal(top(r, 3), STACK3);
}

GUEST(in_compat, 32, "	mov $-1, %eax\n	inc %eax\n	dec %eax\n	int $0x30\n");

static void compatibility_mode(void **state)
{
	struct rig *r = *state;
	const uint64_t frame[] = { AT_CODE2, CODE32_3, 2, STACK3, DATA_3 };

	rig_long(r);
	RIG_CODE(r, AT_CODE, iretq);
	RIG_CODE(r, AT_CODE2, in_compat);
	rig_put(r, STACK1, frame, sizeof(frame));
	REG(r, R_RSP) = STACK1;
	REG(r, R_RAX) = ~0ULL;
	rig_idt64(r, 0x30, CODE64_0, AT_HANDLERS + 0x300, 0xee, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RAX), 0xffffffff);
	assert_int_equal(top(r, 1), CODE32_3);
	assert_int_equal(r->cpu->mode, CODE64);
}

/* ------------------------------------------------------------ control registers */

static void control_checks(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;

	assert_int_not_equal(x86_set_cr0(cpu, CR0_PG), 0);
	assert_int_not_equal(x86_set_cr0(cpu, CR0_NW), 0);
	assert_int_not_equal(x86_set_cr0(cpu, 1ULL << 32), 0);
	assert_int_not_equal(x86_set_cr4(cpu, CR4_PCIDE), 0);
	assert_int_not_equal(x86_set_cr4(cpu, 1ULL << 15), 0);
	assert_int_not_equal(x86_set_efer(cpu, 1ULL << 1), 0);
	rig_long(r);
	assert_int_not_equal(x86_set_cr4(cpu, 0), 0);
	assert_int_not_equal(x86_set_cr4(cpu, CR4_PAE | CR4_LA57), 0);
	assert_int_not_equal(x86_set_cr0(cpu, CR0_PE), 0);
	assert_int_not_equal(x86_set_efer(cpu, 0), 0);
	assert_int_not_equal(x86_set_cr3(cpu, 1ULL << 46), 0);
	assert_int_not_equal(x86_set_cr3(cpu, 1ULL << 63), 0);
	assert_int_equal(x86_set_cr4(cpu, CR4_PAE | CR4_PCIDE), 0);
	assert_int_equal(x86_set_cr3(cpu, 1ULL << 63 | AT_TABLES | 5), 0);
	assert_int_equal(cpu->cr3, AT_TABLES | 5);
	assert_int_not_equal(x86_set_cr0(cpu, cpu->cr0 & ~CR0_PG), 0);
	assert_int_not_equal(x86_set_xcr(cpu, 0, 6), 0);
	assert_int_not_equal(x86_set_xcr(cpu, 0, 5), 0);
	assert_int_not_equal(x86_set_xcr(cpu, 0, 0x107), 0);
	assert_int_not_equal(x86_set_xcr(cpu, 1, 1), 0);
	assert_int_equal(x86_set_xcr(cpu, 0, 7), 0);
}

GUEST(move_cr, 64,
      "	mov %cr0, %rax\n	mov %cr3, %rbx\n	mov %rbx, %cr3\n	mov %cr4, %rcx\n	or $0x80, %rcx\n	mov %rcx, %cr4\n"
      "	invlpg (%rax)\n	clts\n	mov %dr7, %rdx\n	mov $1, %esi\n	shl $40, %rsi\n	mov %rsi, %cr0\n");

static void moves(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, move_cr);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(top(r, 1), AT_CODE + (move_cr_end - move_cr) - 3);
	assert_int_equal(REG(r, R_RBX), AT_TABLES);
	assert_int_equal(r->cpu->cr4, CR4_PAE | CR4_PGE);
	assert_int_equal(REG(r, R_RDX), 0x400);
}

static void privileged(void **state)
{
	static const char *const code[] = {
		"\x0f\x20\xc0", "\x0f\x22\xd8", "\x0f\x21\xc0", "\x0f\x06", "\x0f\x01\x38", "\x0f\x32", "\x0f\x30",
		"\xf4", "\x0f\x01\xf8", "\x0f\x01\x10", "\x0f\x00\xd8", "\x0f\x09", "\x48\x0f\x07", "\x0f\x01\xf0",
	};
	struct rig *r = *state;

	for (unsigned int n = 0; n < ARRAY_SIZE(code); n++) {
		rig_long(r);
		rig_user(r);
		x86_set_rflags(r->cpu, 2);
		rig_put(r, AT_CODE, code[n], strlen(code[n]) + 1);
		REG(r, R_RIP) = AT_CODE;
		REG(r, R_RAX) = AT_DATA;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, X86_GP));
		assert_int_equal(top(r, 0), 0);
		assert_int_equal(top(r, 1), AT_CODE);
	}
}

/* Bytes that were no instruction when their block was decoded become one by a write in the same block. */
GUEST(becomes_xgetbv, 64,
      "	movb $0xd0, 1f+2(%rip)\n	nop\n"
      "1:	.byte 0x0f, 0x01, 0xcc\n	hlt\n");

static void code_becomes_valid(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	r->cpu->cr4 |= CR4_OSXSAVE;
	r->cpu->xcr0 = 3;
	RIG_CODE(r, AT_CODE, becomes_xgetbv);
	REG(r, R_RCX) = 0;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RAX), 3);
	assert_int_equal(REG(r, R_RIP), AT_CODE + 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(same_privilege),
		RIG_TEST(interrupt_stack_table),
		RIG_TEST(to_inner_stack),
		RIG_TEST(page_fault_error),
		RIG_TEST(noncanonical_addresses),
		RIG_TEST(double_and_triple),
		RIG_TEST(iretq_to_user),
		RIG_TEST(iretq_null_ss),
		cmocka_unit_test(iretq_checks),
		RIG_TEST(syscall_and_sysret),
		RIG_TEST(step_over_syscall),
		RIG_TEST(sysret_noncanonical),
		RIG_TEST(sysret_to_alias),
		RIG_TEST(sysenter_and_sysexit),
		RIG_TEST(call_gate64),
		RIG_TEST(compatibility_mode),
		RIG_TEST(control_checks),
		RIG_TEST(moves),
		RIG_TEST(privileged),
		RIG_TEST(code_becomes_valid),
	};

	return cmocka_run_group_tests_name("long", tests, NULL, NULL);
}
