/* SPDX-License-Identifier: MIT */
/* Real mode, and the ways into and out of virtual-8086 mode. */
#include "rig.h"

GUEST(int_iret, 16,
      "	mov $0x1234, %ax\n	stc\n	int $0x21\n	outb %al, $0x10\n	hlt\n");
GUEST(iret_stub, 16,
      "	mov $0x55, %al\n	iretw\n");

static void int_and_iret(void **state)
{
	struct rig *r = *state;

	rig_real(r);
	RIG_CODE(r, AT_CODE, int_iret);
	RIG_CODE(r, AT_HANDLERS + 0x21 * 16, iret_stub);
	r->cpu->rflags |= FL_IF;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted);
	assert_int_equal(r->logged, 1);
	assert_int_equal(r->log[0] & 0xff, 0x55);
	assert_int_equal(REG(r, R_RSP), 0x7000);
	assert_true(x86_get_rflags(r->cpu) & FL_CF);
	assert_true(x86_get_rflags(r->cpu) & FL_IF);
	/* FLAGS, CS, IP as INT left them below the stack. */
	assert_int_equal(rig_read(r, 0x6ffa, 2), AT_CODE + 6);
	assert_int_equal(rig_read(r, 0x6ffc, 2), 0);
	assert_int_equal(rig_read(r, 0x6ffe, 2) & 0x301, 0x201);
}

GUEST(divide, 16, "	xor %cx, %cx\n	div %cx\n");

static void fault_saves_own_ip(void **state)
{
	struct rig *r = *state;

	rig_real(r);
	RIG_CODE(r, AT_CODE, divide);
	r->cpu->rflags |= FL_IF;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DE));
	assert_int_equal(rig_read(r, 0x6ffa, 2), AT_CODE + 2);
	assert_false(r->cpu->rflags & (FL_IF | FL_TF));
	assert_int_equal(REG(r, R_RSP), 0x6ffa);
}

GUEST(far_call, 16, "	lcallw $0x900, $0x10\n	outb %al, $0x10\n	hlt\n");
GUEST(far_ret, 16, "	mov $7, %al\n	lretw $4\n");

static void far_call_and_ret(void **state)
{
	struct rig *r = *state;

	rig_real(r);
	RIG_CODE(r, AT_CODE, far_call);
	RIG_CODE(r, 0x9010, far_ret);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->log[0] & 0xff, 7);
	assert_int_equal(REG(r, R_RSP), 0x7004);
	assert_int_equal(rig_read(r, 0x6ffc, 4), AT_CODE + 5);
	assert_int_equal(r->cpu->seg[SEG_CS].selector, 0);
}

GUEST(segments, 16,
      "	mov $0x4000, %ax\n	mov %ax, %ds\n	mov %ax, %es\n	movw $0xbeef, 0x20\n	pushw %ds\n	popw %fs\n"
      "	mov %fs, %bx\n	mov %fs:0x20, %cx\n	hlt\n");

static void segment_bases(void **state)
{
	struct rig *r = *state;

	rig_real(r);
	RIG_CODE(r, AT_CODE, segments);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(rig_read(r, 0x40020, 2), 0xbeef);
	assert_int_equal(REG(r, R_RBX) & 0xffff, 0x4000);
	assert_int_equal(REG(r, R_RCX) & 0xffff, 0xbeef);
}

GUEST(beyond_limit, 16, "	mov $0xffff, %bx\n	mov (%bx), %ax\n");

static void limit_is_gp(void **state)
{
	struct rig *r = *state;

	rig_real(r);
	RIG_CODE(r, AT_CODE, beyond_limit);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(REG(r, R_RSP), 0x6ffa);        /* no error code */
}

/* Into protected mode, a 32-bit far jump, and the shortest long mode after it. */
GUEST(to_protected, 16,
      "	lgdtl 0x7800\n	mov %cr0, %eax\n	or $1, %al\n	mov %eax, %cr0\n	ljmpl $0x08, $0x9000\n");
GUEST(in_protected, 32,
      "	mov $0x10, %eax\n	mov %eax, %ds\n	mov %eax, %ss\n	mov $0x18000, %esp\n	push %ds\n	pop %es\n"
      "	movl $0xcafebabe, 0x40000\n	smsw %ebx\n	hlt\n");

static void protected_mode(void **state)
{
	struct rig *r = *state;

	rig_protected(r);       /* for its GDT */
	rig_real(r);
	rig_write(r, 0x7800, 2, GDT_ENTRIES * 8 - 1);
	rig_write(r, 0x7802, 4, AT_GDT);
	RIG_CODE(r, AT_CODE, to_protected);
	RIG_CODE(r, AT_CODE2, in_protected);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted);
	assert_int_equal(rig_read(r, 0x40000, 4), 0xcafebabe);
	assert_int_equal(r->cpu->mode, CODE32);
	assert_int_equal(r->cpu->seg[SEG_ES].selector, DATA_0);
	assert_int_equal(REG(r, R_RSP), STACK0);
	assert_int_equal(REG(r, R_RBX) & 0xffff, 0x11);
	assert_int_equal(rig_read(r, AT_GDT + 0x08 + 5, 1), 0x9b);      /* accessed */
	assert_int_equal(rig_read(r, AT_GDT + 0x10 + 5, 1), 0x93);
}

/* ------------------------------------------------------------ virtual-8086 mode */

static void push_vm86(struct rig *r, uint32_t flags, uint16_t cs, uint16_t ip)
{
	const uint32_t frame[] = { ip, cs, flags | FL_VM | 2, 0x6000, 0, 0x4000, 0x4001, 0x4002, 0x4003 };

	REG(r, R_RSP) = STACK0 - sizeof(frame);
	rig_put(r, STACK0 - sizeof(frame), frame, sizeof(frame));
}

GUEST(enter_vm86, 32, "	iretl\n");
GUEST(vm86_int, 16, "	mov $0x77, %al\n	outb %al, $0x10\n	int $0x30\n");

static void vm86_and_back(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, enter_vm86);
	RIG_CODE(r, AT_CODE2, vm86_int);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
	push_vm86(r, FL_IOPL | FL_IF, AT_CODE2 >> 4, 0);
	rig_write(r, AT_TSS + 102, 2, 0x68);            /* all ports */
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(r->cpu->cpl, 0);
	assert_false(r->cpu->rflags & (FL_VM | FL_IF));
	assert_true(r->cpu->seg[SEG_DS].unusable);
	assert_true(r->cpu->seg[SEG_GS].unusable);
	assert_int_equal(REG(r, R_RSP), STACK0 - 36);
	assert_int_equal(rig_read(r, STACK0 - 4, 4), 0x4003);           /* GS, FS, DS, ES */
	assert_int_equal(rig_read(r, STACK0 - 16, 4), 0x4000);
	assert_int_equal(rig_read(r, STACK0 - 20, 4), 0);               /* SS, ESP */
	assert_int_equal(rig_read(r, STACK0 - 24, 4), 0x6000);
	assert_true(rig_read(r, STACK0 - 28, 4) & FL_VM);
	assert_int_equal(rig_read(r, STACK0 - 32, 4), AT_CODE2 >> 4);
	assert_int_equal(rig_read(r, STACK0 - 36, 4), 6);
	assert_int_equal(r->log[0] & 0xff, 0x77);
}

GUEST(vm86_int_only, 16, "	int $0x30\n	hlt\n");

static void vm86_int_needs_iopl(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, enter_vm86);
	RIG_CODE(r, AT_CODE2, vm86_int_only);
	push_vm86(r, 0, AT_CODE2 >> 4, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(rig_read(r, REG(r, R_RSP), 4), 0);
	assert_int_equal(rig_read(r, REG(r, R_RSP) + 4, 4), 0);         /* IP of the INT */
}

/* With VME and a clear bit in the bitmap the program's own handler runs, VIF for IF. */
static void vme_redirection(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	x86_apply_cr4(r->cpu, CR4_VME);
	RIG_CODE(r, AT_CODE, enter_vm86);
	RIG_CODE(r, AT_CODE2, vm86_int_only);
	rig_write(r, 0x30 * 4, 4, 0x0a000000);
	RIG_CODE(r, 0xa000, iret_stub);
	rig_write(r, AT_TSS + 102, 2, 0x100);
	memset(r->ram + AT_TSS + 0x100 - 32, 0, 32);
	push_vm86(r, FL_VIF, AT_CODE2 >> 4, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	/* HLT at CPL 3 after the handler came back. */
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(REG(r, R_RAX) & 0xff, 0x55);
	assert_int_equal(rig_read(r, REG(r, R_RSP) + 4, 4), 2);
	assert_true(rig_read(r, REG(r, R_RSP) + 12, 4) & FL_VIF);
	assert_int_equal(rig_read(r, 0x5ffe, 2) & (FL_IF | FL_IOPL), FL_IF | FL_IOPL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(int_and_iret),
		RIG_TEST(fault_saves_own_ip),
		RIG_TEST(far_call_and_ret),
		RIG_TEST(segment_bases),
		RIG_TEST(limit_is_gp),
		RIG_TEST(protected_mode),
		RIG_TEST(vm86_and_back),
		RIG_TEST(vm86_int_needs_iopl),
		RIG_TEST(vme_redirection),
	};

	return cmocka_run_group_tests_name("real", tests, NULL, NULL);
}
