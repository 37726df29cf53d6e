/* SPDX-License-Identifier: MIT */
/* Hardware task switches: JMP, CALL, IRET, gates, and what makes them fail. */
#include "rig.h"

#define TASK_CODE 0x9000
#define FAR_TSS 0x50000                 /* a TSS in a page of its own; below 1 MiB for the descriptors made here */

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

#define EXECUTE_ONLY GATE_SEL
#define ABSENT_CODE GATE64_SEL
#define ABSENT_LDT (GATE64_SEL + 8)
#define SHORT_CODE (NOT_PRESENT + 8)

static void odd_segments(struct rig *r)
{
	rig_gdt(r, EXECUTE_ONLY, 0x00cf98000000ffff, 0);
	rig_gdt(r, ABSENT_CODE, 0x00cf1a000000ffff, 0);
	rig_gdt(r, ABSENT_LDT, 0x00000200000000ff, 0);
	rig_gdt(r, SHORT_CODE, 0x00409a0000000000 | (TASK_CODE - 1), 0);
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
		{ AT_TSS2 + 0x48, 2, 0x100, X86_TS, 0x100, true },              /* beyond the GDT */
		{ AT_TSS2 + 0x5c, 2, EXECUTE_ONLY, X86_TS, EXECUTE_ONLY, true },
		{ AT_TSS2 + 0x58, 2, DATA_0 | 3, X86_TS, DATA_0, true },        /* RPL above DPL */
		{ AT_TSS2 + 0x60, 2, 4, X86_TS, 4, true },                      /* an LDT in the LDT */
		{ AT_TSS2 + 0x60, 2, ABSENT_LDT, X86_TS, ABSENT_LDT, true },
		{ AT_TSS2 + 0x4c, 2, 0, X86_TS, 0, true },
		{ AT_TSS2 + 0x4c, 2, ABSENT_CODE, X86_NP, ABSENT_CODE, true },
		{ AT_TSS2 + 0x4c, 2, CODE32_3 & ~3, X86_TS, CODE32_3 & ~3, true },      /* DPL is not RPL */
		{ AT_TSS2 + 0x4c, 2, SHORT_CODE, X86_GP, 0, true },             /* EIP beyond its limit */
		{ AT_TSS2 + 0x50, 2, DATA_3, X86_TS, DATA_3 & ~3, true },       /* RPL is not CPL */
		{ AT_TSS2 + 0x50, 2, DATA_3 & ~3, X86_TS, DATA_3 & ~3, true },  /* DPL is not */
		{ AT_TSS2 + 0x50, 2, CODE32_0, X86_TS, CODE32_0, true },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();
		bool no_stack = rows[n].at == AT_TSS2 + 0x50 || rows[n].at == AT_TSS2 + 0x4c;

		two_tasks(r);
		odd_segments(r);
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

/* IRET with NT: the link is judged as the old task's, by #TS. */
static void failures_of_iret(void **state)
{
	static const struct {
		uint16_t link;
		uint8_t access;         /* of TSS2 */
		uint16_t limit;
		uint8_t vector;
		uint16_t ec;
	} rows[] = {
		{ 0, 0x8b, 0x67, X86_TS, 0 },
		{ TSS2_SEL, 0x89, 0x67, X86_TS, TSS2_SEL },             /* not busy */
		{ TSS2_SEL, 0x0b, 0x67, X86_NP, TSS2_SEL },
		{ TSS2_SEL, 0x8b, 0x66, X86_TS, TSS2_SEL },
		{ TSS2_SEL | 4, 0x8b, 0x67, X86_TS, TSS2_SEL | 4 },
		{ DATA_0, 0x8b, 0x67, X86_TS, DATA_0 },
		{ GDT_ENTRIES * 8, 0x8b, 0x67, X86_TS, GDT_ENTRIES * 8 },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		two_tasks(r);
		rig_write(r, AT_TSS, 2, rows[n].link);
		rig_write(r, AT_GDT + TSS2_SEL + 5, 1, rows[n].access);
		rig_write(r, AT_GDT + TSS2_SEL, 2, rows[n].limit);
		rig_put(r, AT_CODE, "\xcf", 1);
		r->cpu->rflags |= FL_NT;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(rig_in_handler(r, rows[n].vector));
		assert_int_equal(rig_read(r, REG(r, R_RSP), 4), rows[n].ec);
		assert_int_equal(rig_read(r, REG(r, R_RSP) + 4, 4), AT_CODE);
		assert_int_equal(r->cpu->tr.seg.selector, TSS_SEL);
		assert_int_equal(tss_type(r, TSS_SEL), 11);
		rig_free(r);
	}
	(void)state;
}

GUEST(call_gate_task, 32, "	lcall $0x38, $0\n");

/* DPL of a TSS or a task gate against CPL and RPL; through a gate that of the TSS does not count. */
static void privilege(void **state)
{
	static const struct { uint8_t gate, tss; bool by_gate, ok; } rows[] = {
		{ 0x85, 0x89, false, false }, { 0x85, 0xe9, false, true }, { 0x85, 0xe9, true, false },
		{ 0xe5, 0x89, true, true }, { 0x65, 0x89, true, false },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		two_tasks(r);
		rig_user(r);
		rig_gdt(r, GATE_SEL, gate(TSS2_SEL, 0, rows[n].gate, 0), 0);
		rig_write(r, AT_GDT + TSS2_SEL + 5, 1, rows[n].tss);
		if (rows[n].by_gate)
			RIG_CODE(r, AT_CODE, call_gate_task);
		else
			RIG_CODE(r, AT_CODE, call_task);
		RIG_CODE(r, TASK_CODE, just_hlt);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (rows[n].ok) {
			assert_int_equal(REG(r, R_RIP), TASK_CODE + 1);
		} else if (rows[n].gate == 0x65) {
			assert_true(rig_in_handler(r, rows[n].by_gate ? X86_NP : X86_GP));
			assert_int_equal(rig_read(r, REG(r, R_RSP), 4), GATE_SEL);
		} else {
			assert_true(rig_in_handler(r, X86_GP));
			assert_int_equal(rig_read(r, REG(r, R_RSP), 4), rows[n].by_gate ? GATE_SEL : TSS2_SEL);
		}
		rig_free(r);
	}
	(void)state;
}

/* 32-bit paging, 4 KiB pages, the first 4 MiB as they are; a page table for each of two tasks. */
#define DIR(n) (AT_TABLES + 0x2000 * (n))

static void two_spaces(struct rig *r)
{
	for (unsigned int n = 0; n < 2; n++) {
		rig_write(r, DIR(n), 4, (DIR(n) + 0x1000) | 7);
		for (unsigned int k = 0; k < 1024; k++)
			rig_write(r, DIR(n) + 0x1000 + k * 4, 4, k << 12 | 7);
	}
	/* One page differs. */
	rig_write(r, DIR(1) + 0x1000 + (AT_DATA >> 12) * 4, 4, (AT_DATA + 0x1000) | 7);
	r->cpu->cr3 = DIR(0);
	x86_apply_cr0(r->cpu, r->cpu->cr0 | CR0_PG | CR0_WP);
}

GUEST(read_data, 32, "	mov 0x40000, %edx\n	hlt\n");

static void address_space(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	two_spaces(r);
	rig_write(r, AT_TSS2 + 0x1c, 4, DIR(1));
	rig_write(r, AT_DATA, 4, 1);
	rig_write(r, AT_DATA + 0x1000, 4, 2);
	r->cpu->dr7 = 0x455;
	RIG_CODE(r, AT_CODE, jump_task);
	RIG_CODE(r, TASK_CODE, read_data);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->cpu->cr3, DIR(1));
	assert_int_equal(REG(r, R_RDX), 2);
	assert_int_equal(r->cpu->dr7, 0x400);
}

/* A page that either TSS or the GDT lies in cannot be used: the old task's fault, and nothing has changed. */
static void page_faults(void **state)
{
	static const struct { gpa_t page; uint8_t rights; uint8_t ec; } rows[] = {
		{ AT_TSS, 6, 2 },               /* old TSS absent: it is written */
		{ AT_TSS, 5, 3 },               /* ... or read-only */
		{ FAR_TSS, 6, 0 },              /* new TSS absent: read first */
		{ FAR_TSS, 5, 3 },              /* a CALL writes its link */
		{ AT_GDT, 5, 3 },               /* the busy bit */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();
		uint8_t before[0x68];

		two_tasks(r);
		two_spaces(r);
		/* Nothing else that the fault needs may lie in these pages, nor be marked accessed by it. */
		rig_gdt(r, TSS2_SEL, 0x0000890000000067 | (uint64_t)FAR_TSS << 16, 0);
		tss32(r, FAR_TSS, TASK_CODE, 2, CODE32_0, DATA_0, STACK1);
		rig_write(r, AT_GDT + CODE32_0 + 5, 1, 0x9b);
		rig_write(r, DIR(0) + 0x1000 + (rows[n].page >> 12) * 4, 4, rows[n].page | rows[n].rights);
		memcpy(before, r->ram + AT_TSS, sizeof(before));
		RIG_CODE(r, AT_CODE, call_task);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!rig_in_handler(r, X86_PF))
			fail_msg("row %u ended at %#llx", n, (unsigned long long)REG(r, R_RIP));
		assert_int_equal(rig_read(r, REG(r, R_RSP), 4), rows[n].ec);
		assert_int_equal(r->cpu->cr2 >> 12, rows[n].page >> 12);
		assert_int_equal(rig_read(r, REG(r, R_RSP) + 4, 4), AT_CODE);
		assert_int_equal(r->cpu->tr.seg.selector, TSS_SEL);
		assert_int_equal(tss_type(r, TSS2_SEL), 9);
		assert_false(r->cpu->cr0 & CR0_TS);
		assert_memory_equal(before, r->ram + AT_TSS, sizeof(before));
		rig_free(r);
	}
	(void)state;
}

GUEST(in_vm86, 16, "	mov $0x5a, %al\n	outb %al, $0x10\n	hlt\n");

/* A task may run in virtual-8086 mode. */
static void vm86_task(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	tss32(r, AT_TSS2, 0, 2 | FL_VM | FL_IOPL, TASK_CODE >> 4, 0x4000, 0x100);
	rig_gdt(r, TSS2_SEL, 0x00008900000007ff | (uint64_t)AT_TSS2 << 16, 0);
	rig_write(r, AT_TSS2 + 102, 2, 0x68);
	memset(r->ram + AT_TSS2 + 0x68, 0, 0x90);
	rig_write(r, AT_TSS2 + 4, 4, STACK1);
	rig_write(r, AT_TSS2 + 8, 2, DATA_0);
	RIG_CODE(r, AT_CODE, jump_task);
	RIG_CODE(r, TASK_CODE, in_vm86);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	/* HLT is privileged. */
	assert_true(rig_in_handler(r, X86_GP));
	assert_int_equal(r->logged, 1);
	assert_int_equal(r->log[0] & 0xff, 0x5a);
	assert_int_equal(REG(r, R_RSP), STACK1 - 40);
	assert_int_equal(rig_read(r, STACK1 - 40 + 8, 4), TASK_CODE >> 4);
	assert_true(rig_read(r, STACK1 - 40 + 12, 4) & FL_VM);
}

/* Bits of EFLAGS that do not exist are not loaded. */
static void flags_that_exist(void **state)
{
	struct rig *r = *state;

	two_tasks(r);
	rig_write(r, AT_TSS2 + 0x24, 4, 0xffffffff & ~(FL_VM | FL_TF | FL_NT | FL_RF));
	RIG_CODE(r, AT_CODE, jump_task);
	RIG_CODE(r, TASK_CODE, just_hlt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(x86_get_rflags(r->cpu), 0x3f7fd7 & ~(FL_VM | FL_TF | FL_NT | FL_RF));
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
		cmocka_unit_test(failures_of_iret),
		cmocka_unit_test(privilege),
		RIG_TEST(address_space),
		cmocka_unit_test(page_faults),
		RIG_TEST(vm86_task),
		RIG_TEST(flags_that_exist),
		RIG_TEST(debug_trap_bit),
		RIG_TEST(tss_of_16_bits),
	};

	return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
