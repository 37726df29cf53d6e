/* SPDX-License-Identifier: MIT */
/* Debug exceptions: single step, breakpoints on code, data and ports, and what MOV SS does to them. */
#include "rig.h"

#include "x86/cpu/debug.h"
#include "x86/features.h"

#define FL_RF_BIT (1u << 16)

static uint32_t top(const struct rig *r, unsigned int n)
{
	return (uint32_t)rig_read(r, REG(r, R_RSP) + n * 4, 4);
}

/* In protected mode, breakpoint 0 at @addr: DR7's R/W and LEN fields are @rwlen. */
static void watch(struct rig *r, uint64_t addr, unsigned int rwlen)
{
	assert_int_equal(x86_set_dr(r->cpu, 0, addr), 0);
	assert_int_equal(x86_set_dr(r->cpu, 7, 2 | rwlen << 16), 0);
}

enum { ON_CODE = 0x0, ON_WRITE2 = 0x5, ON_PORT1 = 0x2, ON_PORT4 = 0xe, ON_ACCESS2 = 0x7 };

static void expect_trap(struct rig *r, uint32_t eip, uint32_t dr6)
{
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_DB));
	assert_int_equal(top(r, 0), eip);
	assert_int_equal(r->cpu->dr6 & 0xe00f, dr6);
}

/* ------------------------------------------------------------ MOV SS */

GUEST(mov_ss, 32, "	mov 0x40000, %ss\n	nop\n	nop\n	hlt\n");
GUEST(mov_ss_int, 32, "	mov 0x40000, %ss\n	int $0x30\n	hlt\n");
GUEST(pop_ss, 32, "	pop %ss\n	mov $0x1c000, %esp\n	nop\n	hlt\n");
GUEST(two_ss, 32, "	mov %eax, %ss\n	mov %eax, %ss\n	nop\n	nop\n	hlt\n");

#define MOV_SS_LEN 6

static void data_trap_waits_for_mov_ss(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_write(r, AT_DATA, 2, DATA_0);
	RIG_CODE(r, AT_CODE, mov_ss);
	watch(r, AT_DATA, ON_ACCESS2);
	expect_trap(r, AT_CODE + MOV_SS_LEN + 1, 1);
	assert_int_equal(r->cpu->seg[SEG_SS].selector, DATA_0);
}

static void data_trap_waits_for_pop_ss(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_write(r, STACK0 - 4, 4, DATA_0);
	REG(r, R_RSP) = STACK0 - 4;
	RIG_CODE(r, AT_CODE, pop_ss);
	watch(r, STACK0 - 4, ON_ACCESS2);
	expect_trap(r, AT_CODE + 6, 1);
	assert_int_equal(REG(r, R_RSP), STACK1 - 12);
}

/* The trap comes before the first instruction of the handler that INT n went to. */
static void data_trap_behind_mov_ss_and_int(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_write(r, AT_DATA, 2, DATA_0);
	RIG_CODE(r, AT_CODE, mov_ss_int);
	watch(r, AT_DATA, ON_ACCESS2);
	expect_trap(r, AT_HANDLERS + 0x300, 1);
	assert_int_equal(top(r, 3), AT_CODE + MOV_SS_LEN + 2);
}

static void step_is_lost_at_mov_ss(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_write(r, AT_DATA, 2, DATA_0);
	RIG_CODE(r, AT_CODE, mov_ss);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	expect_trap(r, AT_CODE + MOV_SS_LEN + 1, DR6_BS);
}

/* Of two in a row the first alone holds events back. */
static void second_mov_ss_holds_nothing(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	REG(r, R_RAX) = DATA_0;
	RIG_CODE(r, AT_CODE, two_ss);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	expect_trap(r, AT_CODE + 4, DR6_BS);
}

static void code_breakpoint_behind_mov_ss(void **state)
{
	for (int amd = 0; amd < 2; amd++) {
		struct rig *r = rig_new();

		((struct x86_cpuid *)r->cpu->cpuid)->vendor = amd ? V_AMD : V_INTEL;
		rig_protected(r);
		rig_write(r, AT_DATA, 2, DATA_0);
		RIG_CODE(r, AT_CODE, mov_ss);
		watch(r, AT_CODE + MOV_SS_LEN, ON_CODE);
		if (amd) {
			expect_trap(r, AT_CODE + MOV_SS_LEN, 1);
		} else {
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			assert_int_equal(REG(r, R_RIP), AT_CODE + MOV_SS_LEN + 3);
		}
		rig_free(r);
	}
	(void)state;
}

/* ------------------------------------------------------------ ports */

GUEST(out_byte, 32, "	outb %al, $0x10\n	nop\n	hlt\n");
GUEST(out_long, 32, "	outl %eax, $0x0d\n	nop\n	hlt\n");
GUEST(in_byte, 32, "	inb $0x10, %al\n	nop\n	hlt\n");
GUEST(rep_outs, 32, "	rep outsb\n	nop\n	hlt\n");

static void port_breakpoints(void **state)
{
	static const struct {
		const uint8_t *code;
		uint16_t port;
		uint8_t rwlen;
		bool de, hit;
	} rows[] = {
		{ out_byte, 0x10, ON_PORT1, true, true },
		{ in_byte, 0x10, ON_PORT1, true, true },
		{ out_byte, 0x10, ON_PORT1, false, false },
		{ out_byte, 0x11, ON_PORT1, true, false },
		{ out_byte, 0x12, ON_PORT4, true, true },       /* 0x10 to 0x13: aligned down */
		{ out_byte, 0x14, ON_PORT4, true, false },
		{ out_long, 0x10, ON_PORT1, true, true },       /* 0x0d to 0x10 */
		{ out_long, 0x11, ON_PORT1, true, false },
		{ out_byte, 0x10, ON_WRITE2, true, false },     /* memory, not ports */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
		struct rig *r = rig_new();

		rig_protected(r);
		x86_apply_cr4(r->cpu, rows[n].de ? CR4_DE : 0);
		rig_put(r, AT_CODE, rows[n].code, 4);
		watch(r, rows[n].port, rows[n].rwlen);
		if (rows[n].hit) {
			expect_trap(r, AT_CODE + 2, 1);
		} else {
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			assert_int_equal(REG(r, R_RIP), AT_CODE + 4);
			assert_int_equal(r->cpu->dr6 & 0xf, 0);
		}
		rig_free(r);
	}
	(void)state;
}

/* A repeated one traps after each iteration, and not at all where there is none. */
static void port_breakpoint_repeated(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	x86_apply_cr4(r->cpu, CR4_DE);
	RIG_CODE(r, AT_CODE, rep_outs);
	REG(r, R_RDX) = 0x10;
	REG(r, R_RSI) = AT_DATA;
	REG(r, R_RCX) = 3;
	watch(r, 0x10, ON_PORT1);
	expect_trap(r, AT_CODE, 1);
	assert_int_equal(REG(r, R_RCX), 2);
	assert_int_equal(REG(r, R_RSI), AT_DATA + 1);
	assert_true(top(r, 2) & FL_RF_BIT);

	rig_protected(r);
	x86_apply_cr4(r->cpu, CR4_DE);
	REG(r, R_RCX) = 0;
	watch(r, 0x10, ON_PORT1);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), AT_CODE + 4);
	assert_int_equal(r->cpu->dr6 & 0xf, 0);
}

/* ------------------------------------------------------------ code */

GUEST(long_rep, 32, "	mov $5000, %ecx\n	mov $0x40000, %edi\n	std\n	rep lodsb\n	hlt\n");
GUEST(resume, 32, "	inc %ebx\n	orl $0x10000, 8(%esp)\n	iretl\n");

/* However many portions a repeated instruction takes, its breakpoint is met once. */
static void breakpoint_on_rep_is_met_once(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, long_rep);
	RIG_CODE(r, AT_CODE2, resume);
	rig_idt32(r, X86_DB, CODE32_0, AT_CODE2, 0x8e);
	REG(r, R_RBX) = 0;
	REG(r, R_RSI) = AT_DATA + 5000;
	watch(r, AT_CODE + 11, ON_CODE);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RIP), AT_CODE + (long_rep_end - long_rep));
	assert_int_equal(REG(r, R_RCX), 0);
	assert_int_equal(REG(r, R_RBX), 1);
}

GUEST(step_rep, 32, "	rep stosb\n	nop\n	hlt\n");

static void step_over_rep(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, step_rep);
	REG(r, R_RCX) = 2;
	REG(r, R_RDI) = AT_DATA;
	x86_set_rflags(r->cpu, 2 | FL_TF);
	expect_trap(r, AT_CODE, DR6_BS);
	assert_int_equal(REG(r, R_RCX), 1);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	REG(r, R_RIP) = AT_CODE;
	expect_trap(r, AT_CODE + 2, DR6_BS);
	assert_int_equal(REG(r, R_RCX), 0);
}

GUEST(popf_step, 32, "	push $0x102\n	popf\n	nop\n	nop\n	hlt\n");
GUEST(popf_stop, 32, "	push $0x2\n	popf\n	nop\n	hlt\n");

/* TF counts as it was when an instruction began. */
static void step_begins_and_ends(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, popf_step);
	expect_trap(r, AT_CODE + 7, DR6_BS);

	rig_protected(r);
	RIG_CODE(r, AT_CODE, popf_stop);
	REG(r, R_RIP) = AT_CODE + 2;
	REG(r, R_RSP) = STACK0 - 4;
	rig_write(r, STACK0 - 4, 4, 2);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	expect_trap(r, AT_CODE + 3, DR6_BS);
	assert_false(top(r, 2) & FL_TF);
}

/* INT n clears TF on its way: the handler is not stepped through. */
GUEST(int30, 32, "	int $0x30\n	hlt\n");

static void no_step_into_int(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, int30);
	x86_set_rflags(r->cpu, 2 | FL_TF);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, 0x30));
	assert_true(top(r, 2) & FL_TF);
	assert_false(r->cpu->rflags & FL_TF);
}

GUEST(icebp, 32, "	.byte 0xf1\n	hlt\n");

/* INT1 heeds no DPL, and is told from the others by DR6. */
static void int1(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	rig_user(r);
	RIG_CODE(r, AT_CODE, icebp);
	expect_trap(r, AT_CODE + 1, 0);
}

GUEST(read_dr4, 32, "	mov %dr4, %eax\n	mov %dr5, %ebx\n	hlt\n");

static void old_names(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	RIG_CODE(r, AT_CODE, read_dr4);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RAX), r->cpu->dr6);
	assert_int_equal(REG(r, R_RBX), r->cpu->dr7);

	rig_protected(r);
	x86_apply_cr4(r->cpu, CR4_DE);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_UD));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(data_trap_waits_for_mov_ss),
		RIG_TEST(data_trap_waits_for_pop_ss),
		RIG_TEST(data_trap_behind_mov_ss_and_int),
		RIG_TEST(step_is_lost_at_mov_ss),
		RIG_TEST(second_mov_ss_holds_nothing),
		cmocka_unit_test(code_breakpoint_behind_mov_ss),
		cmocka_unit_test(port_breakpoints),
		RIG_TEST(port_breakpoint_repeated),
		RIG_TEST(breakpoint_on_rep_is_met_once),
		RIG_TEST(step_over_rep),
		RIG_TEST(step_begins_and_ends),
		RIG_TEST(no_step_into_int),
		RIG_TEST(int1),
		RIG_TEST(old_names),
	};

	return cmocka_run_group_tests_name("debug", tests, NULL, NULL);
}
