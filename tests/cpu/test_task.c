/* SPDX-License-Identifier: MIT */
/* Hardware task switches: JMP, CALL, IRET, gates, and what makes them fail. */
#include "rig.h"

#define TASK_CODE 0x9000

static void tss32(struct rig *r, gpa_t at, uint32_t eip, uint32_t flags, uint16_t cs, uint16_t ss, uint32_t esp)
{
	rig_write(r, at + 0x20, 4, eip);
	rig_write(r, at + 0x24, 4, flags);
	for (unsigned int n = 0; n < 8; n++)
		rig_write(r, at + 0x28 + n * 4, 4, 0x1000 + n);
	rig_write(r, at + 0x38, 4, esp);
	for (unsigned int n = 0; n < 6; n++)
		rig_write(r, at + 0x48 + n * 4, 2, DATA_0);
	rig_write(r, at + 0x4c, 2, cs);
	rig_write(r, at + 0x50, 2, ss);
}

static void two_tasks(struct rig *r)
{
	rig_protected(r);
	tss32(r, AT_TSS2, TASK_CODE, 2, CODE32_0, DATA_0, STACK1);
}

static uint8_t tss_type(const struct rig *r, uint16_t sel)
{
	return rig_read(r, AT_GDT + sel + 5, 1) & 15;
}

GUEST(jump_task, 32, "	mov $0x77, %ebx\n	stc\n	ljmp $0x30, $0\n	hlt\n");
GUEST(call_task, 32, "	lcall $0x30, $0\n	mov $0x99, %edx\n	hlt\n");
GUEST(just_hlt, 32, "	hlt\n");
GUEST(task_iret, 32, "	mov $0x5a, %al\n	outb %al, $0x10\n	iretl\n	mov $0xa5, %al\n	outb %al, $0x10\n	iretl\n");

static void jump_to_task(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	RIG_CODE(r, AT_CODE, jump_task);
	RIG_CODE(r, TASK_CODE, just_hlt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted);
	assert_int_equal(REG(r, R_RIP), TASK_CODE + 1);
	assert_int_equal(REG(r, R_RAX), 0x1000);
	assert_int_equal(REG(r, R_RSP), STACK1);
	assert_int_equal(REG(r, R_RDI), 0x1007);
	assert_int_equal(r->cpu->tr.seg.selector, TSS2_SEL);
	assert_true(r->cpu->cr0 & CR0_TS);
	assert_int_equal(tss_type(r, TSS_SEL), 9);
	assert_int_equal(tss_type(r, TSS2_SEL), 11);
	assert_int_equal(rig_read(r, AT_TSS + 0x20, 4), AT_CODE + jump_task_end - jump_task - 1);
	assert_int_equal(rig_read(r, AT_TSS + 0x24, 4), 2 | FL_CF);
	assert_int_equal(rig_read(r, AT_TSS + 0x34, 4), 0x77);
	assert_int_equal(rig_read(r, AT_TSS + 0x4c, 2), CODE32_0);
	assert_false(r->cpu->rflags & FL_NT);
}

/* Twice: the second time the task goes on behind its IRET. */
static void call_and_return(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	RIG_CODE(r, AT_CODE, call_task);
	RIG_CODE(r, TASK_CODE, task_iret);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RDX), 0x99);
	assert_int_equal(r->cpu->tr.seg.selector, TSS_SEL);
	assert_int_equal(tss_type(r, TSS_SEL), 11);
	assert_int_equal(tss_type(r, TSS2_SEL), 9);
	assert_int_equal(rig_read(r, AT_TSS2, 2), TSS_SEL);
	assert_false(rig_read(r, AT_TSS2 + 0x24, 4) & FL_NT);
	REG(r, R_RIP) = AT_CODE;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->logged, 2);
	assert_int_equal(r->log[1] & 0xff, 0xa5);
}

GUEST(div0, 32, "	xor %ecx, %ecx\n	div %ecx\n");
GUEST(bad_ds, 32, "	mov $0xffe8, %eax\n	mov %eax, %ds\n");

static void exception_by_task_gate(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	rig_idt32(r, X86_GP, TSS2_SEL, 0, 0x85);
	RIG_CODE(r, AT_CODE, bad_ds);
	RIG_CODE(r, TASK_CODE, just_hlt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), TASK_CODE + 1);
	assert_int_equal(REG(r, R_RSP), STACK1 - 4);
	assert_int_equal(rig_read(r, STACK1 - 4, 4), 0xffe8);
	assert_int_equal(rig_read(r, AT_TSS + 0x20, 4), AT_CODE + 5);
	assert_true(r->cpu->rflags & FL_NT);
}

static void double_fault_task(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	rig_idt32(r, X86_DE, CODE32_0, 0, 0x0e);
	rig_idt32(r, X86_DF, TSS2_SEL, 0, 0x85);
	RIG_CODE(r, AT_CODE, div0);
	RIG_CODE(r, TASK_CODE, just_hlt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), TASK_CODE + 1);
	assert_int_equal(rig_read(r, STACK1 - 4, 4), 0);
}

/* What is wrong, and the fault; `late` ones are the new task's. */
static void failures(void **state)
{
	static const struct {
		gpa_t at;
		uint8_t size;
		uint64_t value;
		uint8_t vector;
		uint16_t ec;
		bool late;
	} rows[] = {
		{ AT_GDT + TSS2_SEL + 5, 1, 0x09, X86_NP, TSS2_SEL, false },
		{ AT_GDT + TSS2_SEL + 5, 1, 0x8b, X86_GP, TSS2_SEL, false },
		{ AT_GDT + TSS2_SEL, 2, 0x66, X86_TS, TSS2_SEL, false },
		{ AT_TSS2 + 0x60, 2, TSS_SEL, X86_TS, TSS_SEL, true },
		{ AT_TSS2 + 0x4c, 2, DATA_0, X86_TS, DATA_0, true },
		{ AT_TSS2 + 0x50, 2, 0, X86_TS, 0, true },
		{ AT_TSS2 + 0x50, 2, NOT_PRESENT, X86_SS, NOT_PRESENT, true },
		{ AT_TSS2 + 0x54, 2, NOT_PRESENT, X86_NP, NOT_PRESENT, true },
		{ AT_TSS2 + 0x54, 2, TSS_SEL, X86_TS, TSS_SEL, true },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();
		bool no_stack = rows[n].at == AT_TSS2 + 0x50 || rows[n].at == AT_TSS2 + 0x4c;

		two_tasks(r);
		RIG_CODE(r, AT_CODE, jump_task);
		/* A task without a stack cannot take its fault on it: a third task does. */
		if (no_stack || rows[n].late) {
			rig_gdt(r, TSS64_SEL, 0x0000890000000067ULL | (uint64_t)(AT_TSS2 + 0x100) << 16, 0);
			tss32(r, AT_TSS2 + 0x100, TASK_CODE + 0x100, 2, CODE32_0, DATA_0, STACK_IST);
			rig_idt32(r, rows[n].vector, TSS64_SEL, 0, 0x85);
			RIG_CODE(r, TASK_CODE + 0x100, just_hlt);
		}
		rig_write(r, rows[n].at, rows[n].size, rows[n].value);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(r->halted);
		assert_int_equal(rig_read(r, REG(r, R_RSP), 4), rows[n].ec);
		if (rows[n].late) {
			assert_int_equal(REG(r, R_RIP), TASK_CODE + 0x101);
			assert_int_equal(rig_read(r, AT_TSS2 + 0x20, 4), TASK_CODE);
			assert_int_equal(rig_read(r, AT_TSS2 + 0x100, 2), TSS2_SEL);
		} else {
			assert_true(rig_in_handler(r, rows[n].vector));
			assert_int_equal(r->cpu->tr.seg.selector, TSS_SEL);
			assert_int_equal(tss_type(r, TSS_SEL), 11);
		}
		rig_free(r);
	}
	(void)state;
}

static void debug_trap_bit(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	rig_write(r, AT_TSS2 + 0x64, 2, 1);
	RIG_CODE(r, AT_CODE, jump_task);
	RIG_CODE(r, TASK_CODE, just_hlt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(rig_read(r, REG(r, R_RSP), 4), TASK_CODE);
	assert_int_equal(r->cpu->dr6, 0xffff8ff0);
}

static void tss_of_16_bits(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	rig_gdt(r, TSS2_SEL, 0x0000810000000000ULL | 43 | (uint64_t)AT_TSS2 << 16, 0);
	memset(r->ram + AT_TSS2, 0, 0x68);
	rig_write(r, AT_TSS2 + 14, 2, TASK_CODE);
	rig_write(r, AT_TSS2 + 18, 2, 0xabc);
	rig_write(r, AT_TSS2 + 26, 2, 0x7000);
	rig_write(r, AT_TSS2 + 34, 2, DATA_0);
	rig_write(r, AT_TSS2 + 36, 2, CODE32_0);
	rig_write(r, AT_TSS2 + 38, 2, DATA_0);
	rig_write(r, AT_TSS2 + 40, 2, DATA_0);
	RIG_CODE(r, AT_CODE, call_task);
	RIG_CODE(r, TASK_CODE, task_iret);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->log[0] & 0xff, 0x5a);
	assert_int_equal(REG(r, R_RDX), 0x99);
	assert_int_equal(rig_read(r, AT_TSS2 + 18, 2), 0xa5a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(jump_to_task),
		RIG_TEST(call_and_return),
		RIG_TEST(exception_by_task_gate),
		RIG_TEST(double_fault_task),
		cmocka_unit_test(failures),
		RIG_TEST(debug_trap_bit),
		RIG_TEST(tss_of_16_bits),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
