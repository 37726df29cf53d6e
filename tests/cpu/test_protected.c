/* SPDX-License-Identifier: MIT */
/* Protected mode: gates, privilege, segment checks, double and triple faults. */
#include "rig.h"

static uint32_t top(const struct rig *r, unsigned int n)
{
	return (uint32_t)rig_read(r, REG(r, R_RSP) + n * 4, 4);
}

/* The code at AT_CODE must end in @vector with @ec, the saved EIP @off into it. */
static void expect_fault(struct rig *r, uint8_t vector, uint32_t ec, unsigned int off)
{
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, vector));
	assert_int_equal(top(r, 0), ec);
	assert_int_equal(top(r, 1), AT_CODE + off);
}

GUEST(int30, 32, "	int $0x30\n	hlt\n");

static void same_privilege(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	r->cpu->rflags |= FL_IF | FL_NT;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RSP), STACK0 - 12);
	assert_int_equal(top(r, 0), AT_CODE + 2);
	assert_int_equal(top(r, 1), CODE32_0);
	assert_int_equal(top(r, 2), FL_IF | FL_NT | 2);
	assert_false(r->cpu->rflags & (FL_IF | FL_NT));
}

static void trap_gate_keeps_if(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0x8f);
	r->cpu->rflags |= FL_IF;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->cpu->rflags & FL_IF);
}

static void gate16(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0x86);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RSP), STACK0 - 6);
	assert_int_equal(rig_read(r, STACK0 - 6, 2), AT_CODE + 2);
}

static void to_inner_stack(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RSP), STACK0 - 20);
	assert_int_equal(top(r, 1), CODE32_3);
	assert_int_equal(top(r, 3), STACK3);
	assert_int_equal(top(r, 4), DATA_3);
	assert_int_equal(r->cpu->cpl, 0);
	assert_int_equal(r->cpu->seg[SEG_SS].selector, DATA_0);
	assert_int_equal(r->cpu->seg[SEG_DS].selector, DATA_3);
}

static void soft_int_needs_dpl(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	RIG_CODE(r, AT_CODE, int30);
	expect_fault(r, X86_GP, 0x30 * 8 + 2, 0);
}

static void gate_not_present(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS, 0x0e);
	expect_fault(r, X86_NP, 0x30 * 8 + 2, 0);
}

static void gate_to_data(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	rig_idt32(r, 0x30, DATA_0, AT_HANDLERS, 0x8e);
	expect_fault(r, X86_GP, DATA_0, 0);
}

GUEST(divide0, 32, "	xor %ecx, %ecx\n	div %ecx\n");

static void fault_sets_rf(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, divide0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DE));
	assert_true(top(r, 2) & FL_RF);
}

/* #DE whose gate is absent: #NP, contributory on contributory, makes #DF with EXT's error code gone. */
static void double_fault(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, divide0);
	rig_idt32(r, X86_DE, CODE32_0, 0, 0x0e);
	expect_fault(r, X86_DF, 0, 2);
}

static void benign_then_np(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_put(r, AT_CODE, "\x0f\x0b", 2);             /* UD2 */
	rig_idt32(r, X86_UD, CODE32_0, 0, 0x0e);
	expect_fault(r, X86_NP, X86_UD * 8 + 3, 0);
}

static void triple_fault(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, divide0);
	r->cpu->idt.limit = 0;
	assert_int_equal(rig_run(r), X86_RUN_SHUTDOWN);
}

/* ------------------------------------------------------------ segments */

GUEST(load_ds, 32, "	mov %eax, %ds\n	hlt\n");
GUEST(load_ss, 32, "	mov %eax, %ss\n	hlt\n");

static void try_load(struct rig *r, bool ss, uint16_t sel)
{
	if (ss)
		RIG_CODE(r, AT_CODE, load_ss);
	else
		RIG_CODE(r, AT_CODE, load_ds);
	REG(r, R_RAX) = sel;
}

static void segment_checks(void **state)
{
	static const struct {
		uint16_t sel;
		bool user, ss;
		uint8_t vector;         /* 0: loads */
		uint16_t ec;
	} rows[] = {
		{ DATA_0, false, false, 0, 0 },
		{ DATA_0 | 3, false, false, X86_GP, DATA_0 },           /* RPL > DPL */
		{ DATA_0, true, false, X86_GP, DATA_0 },
		{ CODE32_0, false, false, 0, 0 },                       /* readable */
		{ CONFORMING_0, true, false, 0, 0 },                    /* conforming: no privilege */
		{ TSS_SEL, false, false, X86_GP, TSS_SEL },
		{ NOT_PRESENT, false, false, X86_NP, NOT_PRESENT },
		{ GDT_ENTRIES * 8, false, false, X86_GP, GDT_ENTRIES * 8 },
		{ 0, false, false, 0, 0 },
		{ 3, true, false, 0, 0 },
		{ 0, false, true, X86_GP, 0 },
		{ DATA_0, false, true, 0, 0 },
		{ DATA_3, false, true, X86_GP, DATA_3 & ~3 },
		{ CODE32_0, false, true, X86_GP, CODE32_0 },
		{ NOT_PRESENT, false, true, X86_SS, NOT_PRESENT },
		{ 4, false, false, X86_GP, 4 },                         /* LDT, of which there is none */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		r->cpu->ldt.seg.unusable = true;
		if (rows[n].user)
			rig_user(r);
		try_load(r, rows[n].ss, rows[n].sel);
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (rows[n].vector || rows[n].user) {
			/* A user's HLT is #GP(0) too, one instruction later. */
			assert_true(rig_in_handler(r, rows[n].vector ? rows[n].vector : X86_GP));
			assert_int_equal(top(r, 0), rows[n].ec);
			assert_int_equal(top(r, 1), AT_CODE + (rows[n].vector ? 0 : 2));
		} else {
			assert_int_equal(REG(r, R_RIP), AT_CODE + 3);
			assert_int_equal(r->cpu->seg[rows[n].ss ? SEG_SS : SEG_DS].selector, rows[n].sel);
		}
		rig_free(r);
	}
	(void)state;
}

GUEST(queries, 32,
      "	lar %ax, %ebx\n	setz %dl\n	lsl %ax, %ecx\n	setz %dh\n	verr %ax\n	setz %ah\n"
      "	mov $0x10, %esi\n	verw %si\n	setz %al\n	hlt\n");

static void descriptor_queries(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, queries);
	REG(r, R_RAX) = CODE32_0;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RBX), 0xc09a00);
	assert_int_equal(REG(r, R_RCX), 0xffffffff);
	assert_int_equal(REG(r, R_RDX) & 0xffff, 0x0101);
	assert_int_equal(REG(r, R_RAX) & 0xffff, 0x0101);
}

GUEST(lldt, 32, "	mov $0x58, %eax\n	lldt %ax\n	mov $0x0c, %ebx\n	mov %ebx, %fs\n	sldt %ecx\n	hlt\n");

static void local_table(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_write(r, AT_LDT + 8, 8, 0x0040920000000fffULL | 0x40000ULL << 16);
	RIG_CODE(r, AT_CODE, lldt);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted);
	assert_int_equal(r->cpu->seg[SEG_FS].selector, 0x0c);
	assert_int_equal(*seg_base(r->cpu, SEG_FS), 0x40000);
	assert_int_equal(r->cpu->seg[SEG_FS].limit, 0xfff);
	assert_int_equal(REG(r, R_RCX), LDT_SEL);
}

/* ------------------------------------------------------------ far transfers */

GUEST(call_gate, 32, "	pushl $0x11111111\n	pushl $0x22222222\n	lcall $0x38, $0\n	mov %esp, %ebx\n	int $0x30\n");
GUEST(gate_body, 32, "	mov 8(%esp), %eax\n	mov 12(%esp), %edx\n	mov %esp, %ecx\n	lret $8\n");

static void call_gate_with_parameters(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	rig_gdt(r, GATE_SEL, gate(CODE32_0, AT_CODE2, 0xec, 2), 0);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
	RIG_CODE(r, AT_CODE, call_gate);
	RIG_CODE(r, AT_CODE2, gate_body);
	rig_load_seg(r, SEG_ES, DATA_0);                /* lost on the way back out */
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(REG(r, R_RAX), 0x22222222);
	assert_int_equal(REG(r, R_RDX), 0x11111111);
	assert_int_equal(REG(r, R_RCX), STACK0 - 24);
	assert_int_equal(REG(r, R_RBX), STACK3);        /* parameters released on both stacks */
	assert_int_equal(rig_read(r, STACK0 - 4, 4), DATA_3);
	assert_true(r->cpu->seg[SEG_ES].unusable);
	assert_int_equal(top(r, 1), CODE32_3);
}

GUEST(far_jump, 32, "	ljmp $0x38, $0\n");

static void call_gate_privilege(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	rig_gdt(r, GATE_SEL, gate(CODE32_0, AT_CODE2, 0x8c, 0), 0);
	RIG_CODE(r, AT_CODE, far_jump);
	expect_fault(r, X86_GP, GATE_SEL, 0);
}

static void jump_through_gate_keeps_cpl(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	rig_gdt(r, GATE_SEL, gate(CODE32_0, AT_CODE2, 0xec, 0), 0);
	RIG_CODE(r, AT_CODE, far_jump);
	expect_fault(r, X86_GP, CODE32_0, 0);
}

GUEST(to_conforming, 32, "	ljmp $0x60, $0x9000\n");

static void conforming_code(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	RIG_CODE(r, AT_CODE, to_conforming);
	RIG_CODE(r, AT_CODE2, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(top(r, 1), CONFORMING_0 | 3);
}

GUEST(iret_out, 32, "	iretl\n");

static void iret_to_user(void **state)
{
	const uint32_t frame[] = { AT_CODE2, CODE32_3, FL_IF | FL_IOPL | 2, STACK3, DATA_3 };
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, iret_out);
	RIG_CODE(r, AT_CODE2, int30);
	rig_idt32(r, 0x30, CODE32_0, AT_HANDLERS + 0x300, 0xee);
	rig_put(r, STACK1, frame, sizeof(frame));
	REG(r, R_RSP) = STACK1;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_int_equal(top(r, 2), FL_IF | FL_IOPL | 2);
	assert_int_equal(top(r, 3), STACK3);
	assert_true(r->cpu->seg[SEG_DS].unusable);      /* DPL 0 data does not go out */
}

static void iret_checks(void **state)
{
	static const struct {
		uint16_t cs, ss;
		uint8_t vector;
		uint16_t ec;
	} rows[] = {
		{ 0, DATA_3, X86_GP, 0 },
		{ DATA_0, DATA_3, X86_GP, DATA_0 },
		{ CODE32_0 | 3, DATA_3, X86_GP, CODE32_0 },
		{ CODE32_3, DATA_0, X86_GP, DATA_0 },
		{ CODE32_3, 0, X86_GP, 0 },
		{ CODE32_3, NOT_PRESENT | 3, X86_GP, NOT_PRESENT },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		const uint32_t frame[] = { AT_CODE2, rows[n].cs, 2, STACK3, rows[n].ss };
		struct rig *r = rig_new();

		rig_protected(r);
		RIG_CODE(r, AT_CODE, iret_out);
		rig_put(r, STACK1, frame, sizeof(frame));
		REG(r, R_RSP) = STACK1;
		expect_fault(r, rows[n].vector, rows[n].ec, 0);
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ single step */

GUEST(three_nops, 32, "	nop\n	nop\n	nop\n	hlt\n");

static void single_step(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, three_nops);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(top(r, 0), AT_CODE + 1);
	assert_true(top(r, 2) & FL_TF);
	assert_int_equal(r->cpu->dr6, 0xffff4ff0);
}

GUEST(set_dr, 32,
      "	mov $0x8000 + (1f - set_dr), %eax\n	mov %eax, %dr0\n	mov $0x402, %eax\n	mov %eax, %dr7\n	nop\n1:	nop\n"
      "	hlt\n");

static void instruction_breakpoint(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, set_dr);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(top(r, 0), r->cpu->dr[0]);
	assert_int_equal(r->cpu->dr6 & 0xf, 1);
	assert_false(top(r, 2) & FL_RF);
}

GUEST(watch, 32,
      "	mov $0x40000, %eax\n	mov %eax, %dr1\n	mov $0xd00408, %eax\n	mov %eax, %dr7\n	mov 0x40004, %ecx\n"
      "	movb $1, 0x40002\n	nop\n	hlt\n");

static void data_breakpoint(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, watch);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(r->cpu->dr6 & 0xf, 2);
	assert_int_equal(rig_read(r, 0x40002, 1), 1);
	assert_int_equal(top(r, 0), AT_CODE + (watch_end - watch) - 2);
}

GUEST(general_detect, 32, "	mov $0x2400, %eax\n	mov %eax, %dr7\n	mov %dr0, %eax\n	hlt\n");

static void debug_register_guard(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, general_detect);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(top(r, 0), AT_CODE + 8);
	assert_int_equal(r->cpu->dr6, 0xffff2ff0);
	assert_int_equal(r->cpu->dr7, 0x400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(same_privilege),
		RIG_TEST(trap_gate_keeps_if),
		RIG_TEST(gate16),
		RIG_TEST(to_inner_stack),
		RIG_TEST(soft_int_needs_dpl),
		RIG_TEST(gate_not_present),
		RIG_TEST(gate_to_data),
		RIG_TEST(fault_sets_rf),
		RIG_TEST(double_fault),
		RIG_TEST(benign_then_np),
		RIG_TEST(triple_fault),
		cmocka_unit_test(segment_checks),
		RIG_TEST(descriptor_queries),
		RIG_TEST(local_table),
		RIG_TEST(call_gate_with_parameters),
		RIG_TEST(call_gate_privilege),
		RIG_TEST(jump_through_gate_keeps_cpl),
		RIG_TEST(conforming_code),
		RIG_TEST(iret_to_user),
		cmocka_unit_test(iret_checks),
		RIG_TEST(single_step),
		RIG_TEST(instruction_breakpoint),
		RIG_TEST(data_breakpoint),
		RIG_TEST(debug_register_guard),
	};

	return cmocka_run_group_tests_name("protected", tests, NULL, NULL);
}
