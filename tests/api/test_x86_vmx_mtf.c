// SPDX-License-Identifier: MIT
/* The monitor trap flag: L2 is left behind each instruction, each iteration, and each event.  SDM 3C, 25.5.2. */
#include "vmx.h"

#define P_MTF (1u << 27)
#define R_MTF 37
#define RCX 1
#define RSI 6
#define RDI 7
#define SOURCE 0x5000
#define TARGET 0x6000
#define CLIENT 0x99             /* a port of the client's */

/* L2 at its first instruction, to be left behind it. */
static struct vmx trapped(const uint8_t *code, size_t n)
{
	struct vmx s = vmx_start(code, n, 0, false);

	vmx_set(&s, F_PROC, P_MTF);
	return s;
}

#define TRAPPED(...) trapped((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void test_each_instruction(void **unused)
{
	struct vmx s = TRAPPED(0x90, 0x31, 0xc0, 0x90, 0xf4);   /* nop; xor eax,eax; nop; hlt */
	static const unsigned int behind[] = { 1, 3, 4 };

	for (unsigned int n = 0; n < 3; n++) {
		vmx_expect(&s, R_MTF);
		assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + behind[n]);
	}
	/* An exit of the instruction's own comes in its place. */
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

static void strings(struct vmx *s, uint64_t count)
{
	memset(vmx_at(s, SOURCE), 0xaa, 16);
	memset(vmx_at(s, TARGET), 0, 16);
	*vmx_reg(s, RCX) = count;
	*vmx_reg(s, RSI) = SOURCE;
	*vmx_reg(s, RDI) = TARGET;
}

static void test_each_iteration(void **unused)
{
	struct vmx s = TRAPPED(0xf3, 0xa4, 0xf4);               /* rep movsb; hlt */
	const uint8_t *target = vmx_at(&s, TARGET);

	strings(&s, 3);
	for (unsigned int n = 1; n <= 3; n++) {
		vmx_expect(&s, R_MTF);
		assert_int_equal(*vmx_reg(&s, RCX), 3 - n);
		assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + (n == 3 ? 2 : 0));
		assert_int_equal(target[n - 1], 0xaa);
		assert_int_equal(target[n], 0);
	}
	vmx_expect(&s, R_HLT);
	/* None at all is one instruction. */
	vmx_goto(&s, VMX_L2);
	strings(&s, 0);
	vmx_expect(&s, R_MTF);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 2);
	/* And without the flag it goes to its end. */
	vmx_clear(&s, F_PROC, P_MTF);
	vmx_goto(&s, VMX_L2);
	strings(&s, 3);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vmx_reg(&s, RCX), 0);
	vmx_end(&s);
}

/* One that stops early: REPE ends with the element that differs. */
static void test_comparison(void **unused)
{
	struct vmx s = TRAPPED(0xf3, 0xa6, 0xf4);               /* repe cmpsb; hlt */

	strings(&s, 5);
	*(uint8_t *)vmx_at(&s, TARGET) = 0xaa;
	vmx_expect(&s, R_MTF);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2);
	vmx_expect(&s, R_MTF);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 2);
	assert_int_equal(*vmx_reg(&s, RCX), 3);
	vmx_end(&s);
}

/* The client's device is asked for one element at a time, and L1 hears of each. */
static void test_ports(void **unused)
{
	struct vmx s = TRAPPED(0x66, 0xba, CLIENT, 0, 0xf3, 0x6c, 0xf4);        /* mov dx,CLIENT; rep insb; hlt */

	vmx_clear(&s, F_PROC, P_IO);
	vmx_expect(&s, R_MTF);
	strings(&s, 2);
	for (unsigned int n = 1; n <= 2; n++) {
		vmx_enter(&s);
		guest_run(&s.g, KVM_EXIT_IO);
		assert_int_equal(s.g.run->io.port, CLIENT);
		assert_int_equal(s.g.run->io.count, 1);
		*((uint8_t *)s.g.run + s.g.run->io.data_offset) = (uint8_t)n;
		guest_port(&s.g, VMX_DONE);
		assert_int_equal(vmx_reason(&s), R_MTF);
		assert_int_equal(*vmx_reg(&s, RCX), 2 - n);
		assert_int_equal(((uint8_t *)vmx_at(&s, TARGET))[n - 1], n);
		assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + (n == 2 ? 6 : 4));
	}
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* The event that says so and nothing else: before the first instruction, whatever the control. */
static void test_injected(void **unused)
{
	struct vmx s = VMX(0, 0x90, 0xf4);

	vmx_put(&s, F_ENTRY_EVENT, 1u << 31 | 7 << 8);
	vmx_expect(&s, R_MTF);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_each_instruction), cmocka_unit_test(test_each_iteration), cmocka_unit_test(test_comparison),
	cmocka_unit_test(test_ports), cmocka_unit_test(test_injected),
};

API_MAIN(tests)
