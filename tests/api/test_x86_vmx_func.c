// SPDX-License-Identifier: MIT
/* VM functions, virtualization exceptions, execute rights by mode, loops of PAUSE.  SDM 3C, 25.1.3, 25.5.5, 25.5.7, 28.3.3.2. */
#include "vmx.h"

#define LIST VMX_FREE
#define SECOND (VMX_FREE + 0x1000)      /* another EPT: four tables */
#define VE_INFO (VMX_FREE + 0x5000)
#define DATA 0x6000UL
#define MORE 0x7000UL
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define VMFUNC(function, index) 0xb8, ABS(function), 0xb9, ABS(index), 0x0f, 0x01, 0xd4
#define SIZE_VMFUNC 13
#define HLT 0xf4
#define IO_QUALIFICATION(port) ((uint64_t)(port) << 16 | 1 << 6)
#define UD 6
#define VE 20
#define EPT_XU (1ULL << 10)
#define SUPPRESS_VE (1ULL << 63)
#define F_VE_INFO 0x202a
#define F_EPTP_INDEX 0x0004

static uint64_t eptp(uint64_t at)
{
	return at | 3 << 3 | 6;
}

/* The same pages, but for DATA, where MORE is. */
static void second_ept(struct vmx *s)
{
	uint64_t *t = vmx_at(s, SECOND);

	memcpy(t, vmx_at(s, VMX_EPT), 4 * 4096);
	t[0] = (SECOND + 0x1000) | EPT_ALL;
	t[512] = (SECOND + 0x2000) | EPT_ALL;
	t[1024] = (SECOND + 0x3000) | EPT_ALL;
	t[3 * 512 + (DATA >> 12)] = MORE | EPT_ALL | EPT_WB;
	((uint64_t *)vmx_at(s, LIST))[0] = eptp(VMX_EPT);
	((uint64_t *)vmx_at(s, LIST))[1] = eptp(SECOND);
}

static struct vmx with_functions(const uint8_t *code, size_t n)
{
	struct vmx s = vmx_start(code, n, P2_EPT | P2_VMFUNC, false);

	vmx_ept(&s, 0);
	second_ept(&s);
	vmx_put(&s, F_EPTP_LIST, LIST);
	vmx_put(&s, F_VMFUNC, 1);
	vmx_control2(&s, P2_VMFUNC);
	*(uint8_t *)vmx_at(&s, DATA) = 1;
	*(uint8_t *)vmx_at(&s, MORE) = 2;
	return s;
}

#define WITH_FUNCTIONS(...) with_functions((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void expect_fault(struct vmx *s, unsigned int vector)
{
	vmx_expect(s, R_IO);
	assert_int_equal(vmx_get(s, F_QUALIFICATION), IO_QUALIFICATION(VMX_FAULT + vector));
	vmx_goto(s, VMX_L2);
}

/* Without an exit, there and back. */
static void test_switch(void **state)
{
	struct vmx s = WITH_FUNCTIONS(LOAD(DATA), 0x88, 0xc3, VMFUNC(0, 1), LOAD(DATA), 0x88, 0xc7, VMFUNC(0, 0), LOAD(DATA), HLT);
	uint64_t before = api_real() ? 0 : guest_stat(s.g.vcpu, "nested_exits");

	vmx_expect(&s, R_HLT);
	if (!api_real())
		assert_int_equal(guest_stat(s.g.vcpu, "nested_exits") - before, 1);
	assert_int_equal(*vmx_reg(&s, 3) & 0xffff, 0x0201);
	assert_int_equal(*vmx_reg(&s, 0) & 0xff, 1);
	assert_int_equal(vmx_get(&s, F_EPTP), eptp(VMX_EPT));

	VMX_CODE(&s, VMX_L2, VMFUNC(0, 1), HLT);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_HLT);
	assert_int_equal(vmx_get(&s, F_EPTP), eptp(SECOND));
	vmx_end(&s);
}

static void expect_func_exit(struct vmx *s)
{
	vmx_expect(s, R_VMFUNC);
	assert_int_equal(vmx_get(s, F_INSN_LEN), 3);
	assert_int_equal(vmx_get(s, F_RIP), VMX_L2 + SIZE_VMFUNC - 3);
	vmx_goto(s, VMX_L2);
}

static void test_func_exits(void **state)
{
	struct vmx s = WITH_FUNCTIONS(VMFUNC(0, 512), HLT);

	expect_func_exit(&s);
	VMX_CODE(&s, VMX_L2, VMFUNC(0, 2));             /* zero is no EPTP */
	expect_func_exit(&s);
	VMX_CODE(&s, VMX_L2, VMFUNC(1, 1));
	expect_func_exit(&s);
	VMX_CODE(&s, VMX_L2, VMFUNC(64, 1));
	expect_fault(&s, UD);
	VMX_CODE(&s, VMX_L2, VMFUNC(0, 1));
	vmx_put(&s, F_VMFUNC, 0);
	expect_func_exit(&s);
	vmx_clear(&s, F_PROC2, P2_VMFUNC);
	expect_fault(&s, UD);
	vmx_end(&s);
}

static void test_func_controls(void **state)
{
	struct vmx s = WITH_FUNCTIONS(HLT);

	vmx_put(&s, F_VMFUNC, 3);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_VMFUNC, 1);
	vmx_put(&s, F_EPTP_LIST, LIST + 8);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_put(&s, F_EPTP_LIST, LIST);
	vmx_clear(&s, F_PROC2, P2_EPT);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_set(&s, F_PROC2, P2_EPT);
	vmx_expect(&s, R_HLT);
	vmx_end(&s);
}

/* --- virtualization exceptions ------------------------------------------------------------------------- */

struct info {
	uint32_t reason, busy;
	uint64_t qualification, linear, physical;
	uint16_t index;
};

static void test_exception(void **state)
{
	struct vmx s = VMX(P2_EPT | P2_VE, LOAD(DATA), HLT);
	struct info *info = vmx_at(&s, VE_INFO);

	vmx_ept(&s, 0);
	*vmx_ept_entry(&s, DATA) = 0;
	vmx_put(&s, F_VE_INFO, VE_INFO);
	vmx_put(&s, F_EPTP_INDEX, 7);
	vmx_control2(&s, P2_VE);
	expect_fault(&s, VE);
	assert_int_equal(info->reason, R_EPT_VIOLATION);
	assert_int_equal(info->busy, 0xffffffff);
	assert_int_equal(info->qualification, 0x181);
	assert_int_equal(info->linear, DATA);
	assert_int_equal(info->physical, DATA);
	assert_int_equal(info->index, 7);
	/* The area is in use; then the entry does not want it; then the control is off. */
	vmx_expect(&s, R_EPT_VIOLATION);
	info->busy = 0;
	*vmx_ept_entry(&s, DATA) = SUPPRESS_VE;
	vmx_expect(&s, R_EPT_VIOLATION);
	*vmx_ept_entry(&s, DATA) = 0;
	vmx_clear(&s, F_PROC2, P2_VE);
	vmx_expect(&s, R_EPT_VIOLATION);
	assert_int_equal(info->busy, 0);
	vmx_end(&s);
}

/* --- execute rights by mode ------------------------------------------------------------------------------- */

static void test_mode_exec(void **state)
{
	struct vmx s = VMX(P2_EPT | P2_MBEC, HLT);
	uint64_t *t = vmx_at(&s, VMX_EPT);

	vmx_ept(&s, 0);
	vmx_expect(&s, R_HLT);
	vmx_goto(&s, VMX_L2);
	vmx_control2(&s, P2_MBEC);
	/* L2's pages are user pages. */
	vmx_expect(&s, R_EPT_VIOLATION);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), 0x1bc);
	t[0] |= EPT_XU;
	t[512] |= EPT_XU;
	t[1024] |= EPT_XU;
	*vmx_ept_entry(&s, VMX_L2) |= EPT_XU;
	vmx_expect(&s, R_HLT);
	vmx_goto(&s, VMX_L2);
	*vmx_ept_entry(&s, VMX_L2) &= ~(uint64_t)4;
	vmx_expect(&s, R_HLT);
	vmx_clear(&s, F_PROC2, P2_EPT);
	assert_int_equal(vmx_run(&s), VMX_FAIL + 7);
	vmx_end(&s);
}

/* --- loops of PAUSE ------------------------------------------------------------------------------------------ */

static void test_pause_loop(void **state)
{
	/* mov ecx,100; 1: pause; loop 1b; hlt; 2: pause; jmp 2b */
	struct vmx s = VMX(P2_PLE, 0xb9, ABS(100), 0xf3, 0x90, 0xe2, 0xfc, HLT, 0xf3, 0x90, 0xeb, 0xfc);

	vmx_put(&s, F_PLE_GAP, 0);                      /* each is the first of its loop */
	vmx_put(&s, F_PLE_WINDOW, 0);
	vmx_control2(&s, P2_PLE);
	vmx_expect(&s, R_HLT);
	vmx_next(&s);
	vmx_put(&s, F_PLE_GAP, 0xffffffff);
	vmx_put(&s, F_PLE_WINDOW, 10000);
	vmx_expect(&s, R_PAUSE);
	vmx_end(&s);
}

/* --- a trap that waits behind MOV SS; 26.3.1.5, 26.7.3 ---------------------------------------------------------- */

#define F_EXCEPTIONS 0x4004
#define F_PENDING_DEBUG 0x6822
#define RFLAGS_TF 0x102
#define BY_MOV_SS 2
#define BS 0x4000

static void test_deferred_step(void **state)
{
	/* mov ss,[0x8000]; cpuid; nop; hlt */
	struct vmx s = VMX(0, 0x8e, 0x14, 0x25, ABS(0x8000), 0x0f, 0xa2, 0x90, HLT);

	vmx_put(&s, F_EXCEPTIONS, 1 << 1);
	vmx_put(&s, F_RFLAGS, RFLAGS_TF);
	vmx_expect(&s, R_CPUID);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 7);
	assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), BY_MOV_SS);
	assert_int_equal(vmx_get(&s, F_PENDING_DEBUG), BS);
	/* What was saved is taken again, and still waits. */
	vmx_expect(&s, R_CPUID);
	assert_int_equal(vmx_get(&s, F_PENDING_DEBUG), BS);
	/* Without it entry fails. */
	vmx_put(&s, F_PENDING_DEBUG, 0);
	vmx_expect(&s, 33 | VMX_ENTRY_FAILED);
	/* Behind the instruction, whose end it has waited for, it is due. */
	vmx_put(&s, F_PENDING_DEBUG, BS);
	vmx_put(&s, F_INTERRUPTIBILITY, 0);
	vmx_put(&s, F_RIP, VMX_L2 + 9);
	vmx_expect(&s, R_EXCEPTION);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 9);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), BS);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_switch), cmocka_unit_test(test_func_exits), cmocka_unit_test(test_func_controls),
	cmocka_unit_test(test_exception), cmocka_unit_test(test_mode_exec), cmocka_unit_test(test_pause_loop),
	cmocka_unit_test(test_deferred_step),
};

API_MAIN(tests)
