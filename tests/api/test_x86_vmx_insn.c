// SPDX-License-Identifier: MIT
/*
 * Instructions of VMX: how they tell that they failed (SDM 3C, 30.2), and those that L2 has only where a secondary control
 * says so, which are #UD else (25.3).
 */
#include "vmx_own.h"

#define F_EXCEPTIONS 0x4004
#define UD 6
#define P2_RDTSCP (1u << 3)
#define P2_INVPCID (1u << 12)
#define VMCALL 0x0f, 0x01, 0xc1

static const struct {
	const char *what;
	uint32_t control;
	uint8_t code[20];
} rows[] = {
	{ "RDTSCP", P2_RDTSCP, { 0x0f, 0x01, 0xf9, VMCALL } },
	{ "RDPID RAX", P2_RDTSCP, { 0xf3, 0x0f, 0xc7, 0xf8, VMCALL } },
	/* mov $2, %ecx; invpcid VMX_FREE, %rcx */
	{ "INVPCID", P2_INVPCID, { 0xb9, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x82, 0x0c, 0x25, 0, 0, 0x11, 0, VMCALL } },
};

static void put_code(struct vmx *s, unsigned int row)
{
	vmx_code(s, VMX_L2, rows[row].code, sizeof(rows[row].code));
	vmx_goto(s, VMX_L2);
}

static void test_enabled(void **state)
{
	struct vmx s = VMX(P2_RDTSCP | P2_INVPCID, VMCALL);

	vmx_put(&s, F_EXCEPTIONS, 1u << UD);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t reason;

		vmx_put(&s, F_PROC2, 0);
		put_code(&s, i);
		reason = vmx_run(&s);
		if (reason != R_EXCEPTION || (vmx_get(&s, F_EXIT_EVENT) & 0xff) != UD)
			fail_msg("%s without the control: exit %u", rows[i].what, reason);
		vmx_control2(&s, rows[i].control);
		put_code(&s, i);
		reason = vmx_run(&s);
		if (reason != R_VMCALL)
			fail_msg("%s with the control: exit %u", rows[i].what, reason);
	}
	vmx_end(&s);
}

/* --- success, and both kinds of failure --------------------------------------------------- */

#define CF 1u
#define ZF 0x40u
#define ARITHMETIC 0x8d5u       /* CF, PF, AF, ZF, SF, OF */
#define FLAGS (VMX_FREE + 0x9000)
#define PLACE (FLAGS + 8)
#define NOWHERE (FLAGS + 16)    /* an operand of VMPTRLD: not aligned */
#define OTHER (FLAGS + 24)      /* of VMCLEAR: a page that is no VMCS yet */
#define MAX_CODE 24

enum { INVALID = -1, SUCCESS = 0, ERROR_CLEAR_VMXON = 3, ERROR_POINTER = 9, ERROR_LOAD_VMXON = 10, ERROR_REVISION = 11,
       ERROR_NO_FIELD = 12, ERROR_READ_ONLY = 13, ERROR_IN_ROOT = 15, ERROR_CLEAR_POINTER = 2, ERROR_INVALIDATE = 28 };

/* popfq of @flags; the instruction; pushfq to FLAGS */
static uint32_t flags_after(struct vmx *s, const uint8_t *code, size_t n, uint32_t flags)
{
	uint8_t all[MAX_CODE + 16] = { 0x68, ABS(flags), 0x9d };

	memcpy(all + 6, code, n);
	memcpy(all + 6 + n, (const uint8_t[]){ 0x9c, 0x8f, 0x04, 0x25, ABS(FLAGS) }, 8);
	vmx_do(s, all, n + 14);
	return *(uint32_t *)vmx_at(s, FLAGS) & ARITHMETIC;
}

struct outcome {
	const char *what;
	int with, without;      /* a current VMCS */
	uint8_t n, code[MAX_CODE];
};

#define CODE(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
#define VMPTRLD(a) CODE(0x0f, 0xc7, 0x34, 0x25, ABS(a))
#define VMCLEAR(a) CODE(0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(a))
/* mov eax,field; mov ebx,0; vmread rax,rbx or vmwrite */
#define VMREAD(f) CODE(0xb8, ABS(f), 0xbb, ABS(0), 0x0f, 0x78, 0xc3)
#define VMWRITE(f) CODE(0xb8, ABS(f), 0xbb, ABS(0), 0x0f, 0x79, 0xc3)
/* mov eax,type; invept or invvpid rax,[DESCRIPTOR] */
#define INVALIDATE(opcode, type) CODE(0xb8, ABS(type), 0x66, 0x0f, 0x38, opcode, 0x04, 0x25, ABS(DESCRIPTOR))

static const struct outcome outcomes[] = {
	{ "VMREAD", SUCCESS, INVALID, VMREAD(F_RIP) },
	{ "VMREAD of no field", ERROR_NO_FIELD, INVALID, VMREAD(0x6ffe) },
	{ "VMWRITE", SUCCESS, INVALID, VMWRITE(F_VPID) },
	{ "VMWRITE of no field", ERROR_NO_FIELD, INVALID, VMWRITE(0x6ffe) },
	{ "VMPTRST", SUCCESS, SUCCESS, CODE(0x0f, 0xc7, 0x3c, 0x25, ABS(PLACE)) },
	{ "VMPTRLD, not aligned", ERROR_POINTER, INVALID, VMPTRLD(NOWHERE) },
	{ "VMPTRLD of the VMXON region", ERROR_LOAD_VMXON, INVALID, VMPTRLD(VMX_BOX) },
	{ "VMPTRLD of another revision", ERROR_REVISION, INVALID, VMPTRLD(OTHER) },
	{ "VMCLEAR of another", SUCCESS, SUCCESS, VMCLEAR(OTHER) },
	{ "VMCLEAR, not aligned", ERROR_CLEAR_POINTER, INVALID, VMCLEAR(NOWHERE) },
	{ "VMCLEAR of the VMXON region", ERROR_CLEAR_VMXON, INVALID, VMCLEAR(VMX_BOX) },
	{ "VMXON", ERROR_IN_ROOT, INVALID, CODE(0xf3, 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX)) },
	{ "INVEPT, all", SUCCESS, SUCCESS, INVALIDATE(INVEPT, 2) },
	{ "INVEPT of type 3", ERROR_INVALIDATE, INVALID, INVALIDATE(INVEPT, 3) },
	{ "INVVPID, all", SUCCESS, SUCCESS, INVALIDATE(INVVPID, 2) },
	{ "INVVPID of type 4", ERROR_INVALIDATE, INVALID, INVALIDATE(INVVPID, 4) },
	{ "VMRESUME", 5, INVALID, CODE(0x0f, 0x01, 0xc3) },
};

static void expect_outcome(struct vmx *s, const struct outcome *o, int outcome)
{
	for (uint32_t before = 2; before <= (2 | ARITHMETIC); before += ARITHMETIC) {
		uint32_t flags = flags_after(s, o->code, o->n, before);

		if (flags != (outcome == SUCCESS ? 0 : outcome == INVALID ? CF : ZF))
			fail_msg("%s: flags %#x", o->what, flags);
		if (outcome > 0)
			assert_int_equal(vmx_get(s, F_ERROR), outcome);
	}
}

/* One of the arithmetic flags, or none, whatever they were; and an error number where there is a VMCS to put it. */
static void test_outcomes(void **state)
{
	struct vmx s = with_vpid(true);

	*(uint64_t *)vmx_at(&s, NOWHERE) = VMX_VMCS + 8;
	*(uint64_t *)vmx_at(&s, OTHER) = VMX_FREE + 0xf000;
	*(uint32_t *)vmx_at(&s, VMX_FREE + 0xf000) = ~*(uint32_t *)vmx_at(&s, VMX_VMXON) & 0x7fffffff;
	for (unsigned int n = 0; n < sizeof(outcomes) / sizeof(outcomes[0]); n++)
		expect_outcome(&s, &outcomes[n], outcomes[n].with);
	assert_int_equal(*(uint64_t *)vmx_at(&s, PLACE), VMX_VMCS);
	VMX_DO(&s, 0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX + 8));
	for (unsigned int n = 0; n < sizeof(outcomes) / sizeof(outcomes[0]); n++)
		expect_outcome(&s, &outcomes[n], outcomes[n].without);
	assert_int_equal(*(uint64_t *)vmx_at(&s, PLACE), ~0ULL);
	vmx_end(&s);
}

/* --- INVVPID's and INVEPT's operands --------------------------------------------------- */

#define NOT_CANONICAL (1ULL << 63)
#define EPTP(flags) (VMX_EPT | (flags))

static const struct {
	uint8_t opcode;
	uint32_t type;
	uint64_t what, address;
	bool fails;
} operands[] = {
	{ INVVPID, 0, 1, DATA, false }, { INVVPID, 0, 0, DATA, true }, { INVVPID, 0, 0x10001, DATA, true },
	{ INVVPID, 0, 1, NOT_CANONICAL, true }, { INVVPID, 0, 1, ~0xfffULL, false },
	{ INVVPID, 1, 1, NOT_CANONICAL, false }, { INVVPID, 1, 0, 0, true }, { INVVPID, 1, 1ULL << 63 | 1, 0, true },
	{ INVVPID, 2, 0, 0, false }, { INVVPID, 2, 0x10000, 0, true }, { INVVPID, 2, 1, NOT_CANONICAL, false },
	{ INVVPID, 3, 1, 0, false }, { INVVPID, 3, 0, 0, true }, { INVVPID, 3, 0x10001, 0, true },
	{ INVVPID, 4, 1, 0, true }, { INVVPID, 0x80000000, 1, 0, true },
	{ INVEPT, 1, EPTP(0x1e), 0, false }, { INVEPT, 1, EPTP(0x5e), 0, false }, { INVEPT, 1, EPTP(0x1d), 0, true },
	{ INVEPT, 1, EPTP(0x16), 0, true }, { INVEPT, 1, EPTP(0x9e), 0, true },
	{ INVEPT, 1, 1ULL << 63 | EPTP(0x1e), 0, true },
	{ INVEPT, 2, ~0ULL, 0, false }, { INVEPT, 0, EPTP(0x1e), 0, true }, { INVEPT, 3, EPTP(0x1e), 0, true },
};

/* One that fails drops nothing. */
static void test_invalidation(void **state)
{
	struct vmx s = with_vpid(true);
	uint8_t was;

	for (unsigned int n = 0; n < sizeof(operands) / sizeof(operands[0]); n++) {
		const uint8_t code[] = {
			0xb8, ABS(operands[n].type), 0x66, 0x0f, 0x38, operands[n].opcode, 0x04, 0x25, ABS(DESCRIPTOR),
		};
		uint64_t *d = vmx_at(&s, DESCRIPTOR);
		uint32_t flags;

		*pte(&s, DATA) = DATA | 7;
		invalidate(&s, INVVPID, 2, 0, 0);
		assert_int_equal(loaded(&s), 1);
		*pte(&s, DATA) = MORE | 7;
		d[0] = operands[n].what;
		d[1] = operands[n].address;
		flags = flags_after(&s, code, sizeof(code), 2);
		if (flags != (operands[n].fails ? ZF : 0))
			fail_msg("operands %u: flags %#x", n, flags);
		if (!operands[n].fails)
			continue;
		assert_int_equal(vmx_get(&s, F_ERROR), ERROR_INVALIDATE);
		was = loaded(&s);
		if (!api_real())
			assert_int_equal(was, 1);
	}
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_enabled), cmocka_unit_test(test_outcomes), cmocka_unit_test(test_invalidation),
};

API_MAIN(tests)
