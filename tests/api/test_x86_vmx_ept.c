// SPDX-License-Identifier: MIT
/* Extended page tables: rights, flags, the log of modified pages, and what drops translations.  SDM 3C, 28.3. */
#include "vmx.h"

#define LOG VMX_FREE
#define DESCRIPTOR (VMX_FREE + 0x1000)
#define DATA 0x6000UL
#define MORE 0x7000UL
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define STORE(a) 0xc6, 0x04, 0x25, ABS(a), 1            /* mov byte [a],1 */
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define INVEPT_ALL 0xb8, 2, 0, 0, 0, 0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, ABS(DESCRIPTOR)

static void forget(struct vmx *s)
{
	VMX_DO(s, INVEPT_ALL);
}

/* --- page-modification logging ------------------------------------------------------------------------ */

static unsigned int logged(struct vmx *s, uint64_t gpa)
{
	const uint64_t *log = vmx_at(s, LOG);
	unsigned int n = 0;

	for (unsigned int i = 511; i > (uint16_t)vmx_get(s, F_PML_INDEX); i--)
		n += log[i] == gpa;
	return n;
}

static struct vmx with_log(uint64_t flags)
{
	struct vmx s = VMX(P2_EPT | P2_PML, STORE(DATA), STORE(DATA + 8), STORE(MORE), LOAD(DATA + 0x2000), 0xf4);

	vmx_ept(&s, flags);
	vmx_put(&s, F_PML_ADDRESS, LOG);
	vmx_put(&s, F_PML_INDEX, 511);
	vmx_control2(&s, P2_PML);
	return s;
}

static void test_log(void **state)
{
	struct vmx s = with_log(EPTP_AD);
	unsigned int before = api_real() ? 0 : (unsigned int)guest_stat(s.g.vcpu, "pml_entries");

	vmx_expect(&s, R_HLT);
	assert_int_equal(logged(&s, DATA), 1);
	assert_int_equal(logged(&s, MORE), 1);
	assert_int_equal(logged(&s, DATA + 0x2000), 0);
	assert_true(*vmx_ept_entry(&s, DATA) & EPT_D);
	if (!api_real())
		assert_int_equal(guest_stat(s.g.vcpu, "pml_entries") - before, 511 - vmx_get(&s, F_PML_INDEX));
	/* Flags that are set are no news. */
	vmx_put(&s, F_PML_INDEX, 511);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_HLT);
	assert_int_equal(vmx_get(&s, F_PML_INDEX), 511);
	vmx_end(&s);
}

/* Without dirty flags, or without the control, nothing is logged. */
static void test_no_log(void **state)
{
	struct vmx s = with_log(0);

	vmx_expect(&s, R_HLT);
	assert_int_equal(vmx_get(&s, F_PML_INDEX), 511);
	assert_false(*vmx_ept_entry(&s, DATA) & EPT_D);
	vmx_end(&s);

	s = with_log(EPTP_AD);
	vmx_clear(&s, F_PROC2, P2_PML);
	vmx_expect(&s, R_HLT);
	assert_int_equal(vmx_get(&s, F_PML_INDEX), 511);
	assert_true(*vmx_ept_entry(&s, DATA) & EPT_D);
	vmx_end(&s);
}

/* The last entry is number 0; then the write waits for L1. */
static void test_log_full(void **state)
{
	struct vmx s = with_log(EPTP_AD);

	vmx_expect(&s, R_HLT);
	*vmx_ept_entry(&s, DATA) &= ~(uint64_t)EPT_D;
	*vmx_ept_entry(&s, MORE) &= ~(uint64_t)EPT_D;
	*(uint8_t *)vmx_at(&s, MORE) = 0;
	forget(&s);
	vmx_put(&s, F_PML_INDEX, 0);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_PML_FULL);
	assert_int_equal(((uint64_t *)vmx_at(&s, LOG))[0], DATA);
	assert_int_equal(vmx_get(&s, F_PML_INDEX), 0xffff);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), 0);
	assert_false(*vmx_ept_entry(&s, MORE) & EPT_D);
	assert_int_equal(*(uint8_t *)vmx_at(&s, MORE), 0);
	vmx_put(&s, F_PML_INDEX, 511);
	vmx_expect(&s, R_HLT);
	assert_int_equal(logged(&s, MORE), 1);
	assert_int_equal(*(uint8_t *)vmx_at(&s, MORE), 1);
	vmx_end(&s);
}

static void test_log_controls(void **state)
{
	struct vmx s = with_log(EPTP_AD);

	vmx_put(&s, F_PML_ADDRESS, LOG + 8);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_PML_ADDRESS, LOG);
	vmx_clear(&s, F_PROC2, P2_EPT);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_set(&s, F_PROC2, P2_EPT);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* The client's log shows that of L1. */
static void test_log_dirty(void **state)
{
	struct vmx s = with_log(EPTP_AD);
	uint64_t map[(VMX_MEM_SIZE >> 12) / 64 + 1] = { 0 };
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = map };

	api_ok(api_set_slot(s.g.vm, 1, KVM_MEM_LOG_DIRTY_PAGES, VMX_MEM, VMX_MEM_SIZE, s.mem));
	vmx_expect(&s, R_HLT);
	api_ok(api_ioctl(s.g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_true(map[0] >> ((LOG - VMX_MEM) >> 12) & 1);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_log), cmocka_unit_test(test_no_log), cmocka_unit_test(test_log_full),
	cmocka_unit_test(test_log_controls), cmocka_unit_test(test_log_dirty),
};

API_MAIN(tests)
