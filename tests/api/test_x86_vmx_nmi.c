// SPDX-License-Identifier: MIT
/* NMIs blocked in L2, and IRET, which unblocks them even where it faults.  SDM 3C, 25.3, 26.6.1.1, 26.7.1, 27.2.3. */
#include "vmx.h"

#define F_EXCEPTIONS 0x4004
#define F_VECTORING 0x4408
#define P_NMI (1u << 3)                 /* F_PIN */
#define P_VIRTUAL_NMI (1u << 5)
#define BY_NMI 8u
#define UNBLOCKED (1u << 12)
#define VALID (1u << 31)
#define INJECT_NMI (VALID | 2 << 8 | 2)
#define GP 13
#define PF 14
#define NOWHERE 0x40000000UL            /* nothing is mapped there */
#define LOG VMX_FREE
#define STACK 0x8000UL                  /* a page of its own */
#define IRETQ 0x48, 0xcf
#define HLT 0xf4

/* RIP, CS, RFLAGS, RSP, SS: back to a HLT behind. */
static void put_frame(struct vmx *s, uint64_t cs)
{
	const uint64_t frame[] = { VMX_L2 + 2, cs, 2, VMX_L2_STACK, 0 };

	memcpy(vmx_at(s, STACK), frame, sizeof(frame));
	vmx_put(s, F_RSP, STACK);
}

static void prepare_gp(struct vmx *s)
{
	put_frame(s, 0);
	vmx_put(s, F_EXCEPTIONS, 1u << GP);
}

static void prepare_pf(struct vmx *s)
{
	vmx_put(s, F_RSP, NOWHERE);
	vmx_put(s, F_EXCEPTIONS, 1u << PF);
}

static void prepare_violation(struct vmx *s)
{
	vmx_ept(s, 0);
	*vmx_ept_entry(s, STACK) = 0;
}

/* Writable alone. */
static void prepare_misconfig(struct vmx *s)
{
	vmx_ept(s, 0);
	*vmx_ept_entry(s, STACK) = STACK | 2 | EPT_WB;
}

/* The log has room for L2's three tables, and none for the code segment's accessed bit. */
static void prepare_log_full(struct vmx *s)
{
	uint8_t *descriptor = vmx_at(s, vmx_get(s, 0x6816) + 8);

	descriptor[5] &= 0xfe;
	vmx_ept(s, EPTP_AD);
	vmx_put(s, F_PML_ADDRESS, LOG);
	vmx_put(s, F_PML_INDEX, 2);
	vmx_control2(s, P2_PML);
}

/* The exits that an IRET can make, and the field that tells of it. */
static const struct {
	const char *what;
	void (*prepare)(struct vmx *s);
	uint32_t with, reason, field;
	uint32_t of_pop;                /* that a POP makes in its place */
} exits[] = {
	{ "#GP", prepare_gp, 0, R_EXCEPTION, F_EXIT_EVENT, R_HLT },
	{ "#PF", prepare_pf, 0, R_EXCEPTION, F_EXIT_EVENT, R_EXCEPTION },
	{ "EPT violation", prepare_violation, P2_EPT, R_EPT_VIOLATION, F_QUALIFICATION, R_EPT_VIOLATION },
	{ "EPT misconfiguration", prepare_misconfig, P2_EPT, R_EPT_MISCONFIG, 0, R_EPT_MISCONFIG },
	{ "log full", prepare_log_full, P2_EPT | P2_PML, R_PML_FULL, F_QUALIFICATION, R_HLT },
};

/* Whether IRET has to do with this blocking, by the pin-based controls. */
static const struct {
	uint32_t pin;
	bool unblocks;
} controls[] = { { 0, true }, { P_NMI, false }, { P_NMI | P_VIRTUAL_NMI, true } };

static void one_exit(unsigned int e, unsigned int c, bool blocked)
{
	struct vmx s = VMX(exits[e].with, IRETQ, HLT);
	bool told;

	put_frame(&s, 8);
	exits[e].prepare(&s);
	vmx_set(&s, F_PIN, controls[c].pin);
	vmx_put(&s, F_INTERRUPTIBILITY, blocked ? BY_NMI : 0);
	vmx_expect(&s, exits[e].reason);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2);
	told = exits[e].field && (vmx_get(&s, exits[e].field) & UNBLOCKED);
	if (told != (exits[e].field && blocked && controls[c].unblocks))
		fail_msg("%s, pin %#x, blocked %d: told %d", exits[e].what, controls[c].pin, blocked, told);
	if (vmx_get(&s, F_INTERRUPTIBILITY) != (blocked && !controls[c].unblocks ? BY_NMI : 0))
		fail_msg("%s, pin %#x, blocked %d: %#lx", exits[e].what, controls[c].pin, blocked,
			 vmx_get(&s, F_INTERRUPTIBILITY));
	if (!exits[e].field)
		assert_int_equal(vmx_get(&s, F_QUALIFICATION), 0);
	vmx_end(&s);
}

static void test_iret_exits(void **state)
{
	unsigned int counts[] = { sizeof(exits) / sizeof(exits[0]), sizeof(controls) / sizeof(controls[0]) };

	for (unsigned int n = 0; n < 2 * counts[0] * counts[1]; n++)
		one_exit(n / 2 % counts[0], n / 2 / counts[0], n & 1);
}

/* One that does not fault. */
static void test_iret(void **state)
{
	for (unsigned int c = 0; c < sizeof(controls) / sizeof(controls[0]); c++) {
		struct vmx s = VMX(0, IRETQ, HLT);

		put_frame(&s, 8);
		vmx_set(&s, F_PIN, controls[c].pin);
		vmx_put(&s, F_INTERRUPTIBILITY, BY_NMI);
		vmx_expect(&s, R_HLT);
		assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 2);
		assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), controls[c].unblocks ? 0 : BY_NMI);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION), 0);
		vmx_end(&s);
	}
}

/* Faults of other instructions leave it alone: pop rax */
static void test_other_faults(void **state)
{
	for (unsigned int e = 0; e < sizeof(exits) / sizeof(exits[0]); e++) {
		struct vmx s = VMX(exits[e].with, 0x58, HLT);

		put_frame(&s, 8);
		exits[e].prepare(&s);
		vmx_set(&s, F_PIN, P_NMI | P_VIRTUAL_NMI);
		vmx_put(&s, F_INTERRUPTIBILITY, BY_NMI);
		vmx_expect(&s, exits[e].of_pop);
		assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), BY_NMI);
		if (exits[e].field)
			assert_false(vmx_get(&s, exits[e].field) & UNBLOCKED);
		vmx_end(&s);
	}
}

/* Delivered to L2: unblocked there.  What happens on the way says nothing of it. */
static void test_delivered(void **state)
{
	struct vmx s = VMX(P2_EPT, IRETQ, HLT);

	put_frame(&s, 0);
	vmx_set(&s, F_PIN, P_NMI | P_VIRTUAL_NMI);
	vmx_put(&s, F_INTERRUPTIBILITY, BY_NMI);
	vmx_expect(&s, R_IO);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 16, VMX_FAULT + GP);
	assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), 0);

	/* The frame of the exception cannot be written. */
	put_frame(&s, 0);
	vmx_goto(&s, VMX_L2);
	vmx_ept(&s, 0);
	*vmx_ept_entry(&s, STACK - 0x1000) = (STACK - 0x1000) | 1 | EPT_WB;
	vmx_put(&s, F_INTERRUPTIBILITY, BY_NMI);
	vmx_expect(&s, R_EPT_VIOLATION);
	assert_int_equal(vmx_get(&s, F_VECTORING) & (VALID | 0xff), VALID | GP);
	assert_false(vmx_get(&s, F_QUALIFICATION) & UNBLOCKED);
	assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), 0);
	vmx_end(&s);
}

/* L1 puts one in: it blocks virtual NMIs, and no others. */
static void test_injected(void **state)
{
	for (unsigned int c = 1; c < sizeof(controls) / sizeof(controls[0]); c++) {
		struct vmx s = VMX(0, HLT);

		vmx_set(&s, F_PIN, controls[c].pin);
		vmx_put(&s, F_ENTRY_EVENT, INJECT_NMI);
		vmx_expect(&s, R_IO);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 16, VMX_FAULT + 2);
		assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), controls[c].pin & P_VIRTUAL_NMI ? BY_NMI : 0);
		vmx_end(&s);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_iret_exits), cmocka_unit_test(test_iret), cmocka_unit_test(test_other_faults),
	cmocka_unit_test(test_delivered), cmocka_unit_test(test_injected),
};

API_MAIN(tests)
