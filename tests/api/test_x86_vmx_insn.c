// SPDX-License-Identifier: MIT
/* Instructions that L2 has only where a secondary control says so, and which are #UD else.  SDM 3C, 25.3. */
#include "vmx.h"

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

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_enabled),
};

API_MAIN(tests)
