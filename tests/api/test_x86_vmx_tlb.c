// SPDX-License-Identifier: MIT
/*
 * What drops L2's translations, and what must not be needed for a change to be seen.  SDM 3C, 28.3.3.
 *
 * A translation that is kept although memory says otherwise is legal until something drops it: that this library
 * keeps them, and keeps those of another VPID when one is dropped, is what the counter of walks shows.
 */
#include "vmx_own.h"

#define IO_QUALIFICATION(port) ((uint64_t)(port) << 16 | 1 << 6)
#define HANDLERS 0x3000UL

/* Ours keeps what was there; any other device may. */
static void expect_kept(struct vmx *s, uint8_t value)
{
	uint8_t was = loaded(s);

	if (!api_real())
		assert_int_equal(was, value);
}

/* --- INVVPID -------------------------------------------------------------------------------------------- */

#define SPARE (VMX_FREE + 0x9000)       /* a table of L2's by which DATA is MORE */

/* What is changed is DATA's entry, or that of its table. */
static void change(struct vmx *s, bool table, bool more, uint64_t global)
{
	if (table)
		((uint64_t *)vmx_at(s, TABLES + 0x2000))[0] = (more ? SPARE : PTES) | 7;
	else
		*pte(s, DATA) = (more ? MORE : DATA | global) | 7;
}

static void invvpid(bool ept, bool table)
{
	struct vmx s = with_vpid(ept);

	memcpy(vmx_at(&s, SPARE), vmx_at(&s, PTES), PAGE);
	((uint64_t *)vmx_at(&s, SPARE))[DATA >> 12] = MORE | 7;
	for (uint32_t type = 0; type <= 3; type++) {
		uint64_t global = type == 0 || type == 1 ? 0x100 : 0, before;

		change(&s, table, false, global);
		invalidate(&s, INVVPID, 2, 0, 0);
		/* The other VPID knows the same. */
		vmx_put(&s, F_VPID, 2);
		assert_int_equal(loaded(&s), 1);
		vmx_put(&s, F_VPID, 1);
		assert_int_equal(loaded(&s), 1);
		change(&s, table, true, 0);
		expect_kept(&s, 1);
		invalidate(&s, INVVPID, type, 1, DATA);
		assert_int_equal(loaded(&s), 2);
		if (type == 2)
			continue;
		vmx_put(&s, F_VPID, 2);
		before = walks(&s);
		expect_kept(&s, 1);
		assert_int_equal(walks(&s) - before, 0);
		invalidate(&s, INVVPID, type, 2, DATA);
		assert_int_equal(loaded(&s), 2);
		vmx_put(&s, F_VPID, 1);
	}
	vmx_end(&s);
}

static void test_invvpid(void **state)
{
	invvpid(false, false);
	invvpid(false, true);
}

static void test_invvpid_ept(void **state)
{
	invvpid(true, false);
	invvpid(true, true);
}

/* Without a VPID each entry finds what is there. */
static void test_no_vpid(void **state)
{
	struct vmx s = with_vpid(true);

	vmx_clear(&s, F_PROC2, P2_VPID);
	assert_int_equal(loaded(&s), 1);
	*pte(&s, DATA) = MORE | 7;
	assert_int_equal(loaded(&s), 2);
	memcpy(vmx_at(&s, SPARE), vmx_at(&s, PTES), PAGE);
	((uint64_t *)vmx_at(&s, SPARE))[DATA >> 12] = DATA | 7;
	change(&s, true, true, 0);
	assert_int_equal(loaded(&s), 1);
	change(&s, true, false, 0);
	assert_int_equal(loaded(&s), 2);
	vmx_clear(&s, F_PROC2, P2_EPT);
	*pte(&s, DATA) = DATA | 7;
	assert_int_equal(loaded(&s), 1);
	*pte(&s, DATA) = MORE | 7;
	assert_int_equal(loaded(&s), 2);
	vmx_end(&s);
}

/* --- INVEPT ----------------------------------------------------------------------------------------------- */

static void test_invept(void **state)
{
	struct vmx s = with_vpid(true);
	uint64_t other = second_ept(&s), first = VMX_EPT | 3 << 3 | 6, before;

	for (uint32_t type = 1; type <= 2; type++) {
		*vmx_ept_entry(&s, DATA) = DATA | EPT_ALL | EPT_WB;
		invalidate(&s, INVEPT, 2, 0, 0);
		vmx_put(&s, F_EPTP, other);
		assert_int_equal(loaded(&s), 1);
		vmx_put(&s, F_EPTP, first);
		assert_int_equal(loaded(&s), 1);
		*vmx_ept_entry(&s, DATA) = MORE | EPT_ALL | EPT_WB;
		expect_kept(&s, 1);
		/* INVVPID of another drops none of these. */
		invalidate(&s, INVVPID, 1, 2, 0);
		expect_kept(&s, 1);
		invalidate(&s, INVEPT, type, first, 0);
		assert_int_equal(loaded(&s), 2);
		if (type == 2)
			continue;
		vmx_put(&s, F_EPTP, other);
		before = walks(&s);
		assert_int_equal(loaded(&s), 1);
		assert_int_equal(walks(&s) - before, 0);
	}
	vmx_end(&s);
}

/* Another EPTP has translations of its own, with the same VPID. */
static void test_eptp(void **state)
{
	struct vmx s = with_vpid(true);
	uint64_t other = second_ept(&s);

	((uint64_t *)vmx_at(&s, SECOND + 0x3000))[DATA >> 12] = MORE | EPT_ALL | EPT_WB;
	for (unsigned int n = 0; n < 3; n++) {
		vmx_put(&s, F_EPTP, VMX_EPT | 3 << 3 | 6);
		assert_int_equal(loaded(&s), 1);
		vmx_put(&s, F_EPTP, other);
		assert_int_equal(loaded(&s), 2);
	}
	vmx_end(&s);
}

/* L2's own MOV CR3 and INVLPG. */
static void test_l2_flushes(void **state)
{
	struct vmx s = with_vpid(true);

	/* al = [DATA]; bl = al; mov rax,cr3; PTE = MORE; mov cr3,rax; al = [DATA]; hlt */
	VMX_CODE(&s, VMX_L2, LOAD(DATA), 0x88, 0xc3, 0x0f, 0x20, 0xd8, 0xc7, 0x04, 0x25, ABS(PTES + (DATA >> 9)), ABS(MORE | 7),
		 0x0f, 0x22, 0xd8, LOAD(DATA), HLT);
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(*vmx_reg(&s, 3) & 0xff, 1);

	VMX_CODE(&s, VMX_L2, LOAD(DATA), 0x88, 0xc3, 0xc7, 0x04, 0x25, ABS(PTES + (DATA >> 9)), ABS(DATA | 7), 0x0f, 0x01,
		 0x3c, 0x25, ABS(DATA), LOAD(DATA), HLT);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(*vmx_reg(&s, 3) & 0xff, 2);
	vmx_end(&s);
}

/* --- what is changed between entries takes effect at once ------------------------------------------------------ */

static void expect_pf(struct vmx *s)
{
	vmx_expect(s, R_IO);
	assert_int_equal(vmx_get(s, F_QUALIFICATION), IO_QUALIFICATION(VMX_FAULT + PF));
	vmx_goto(s, VMX_L2);
}

static void test_accessed_dirty(void **state)
{
	struct vmx s = with_vpid(true);

	VMX_CODE(&s, VMX_L2, STORE(DATA), HLT);
	loaded(&s);
	assert_int_equal(*vmx_ept_entry(&s, DATA) & (EPT_A | EPT_D), 0);
	vmx_put(&s, F_EPTP, VMX_EPT | 3 << 3 | 6 | EPTP_AD);
	loaded(&s);
	assert_int_equal(*vmx_ept_entry(&s, DATA) & (EPT_A | EPT_D), EPT_A | EPT_D);
	*vmx_ept_entry(&s, DATA) &= ~(uint64_t)(EPT_A | EPT_D);
	vmx_put(&s, F_EPTP, VMX_EPT | 3 << 3 | 6);
	loaded(&s);
	assert_int_equal(*vmx_ept_entry(&s, DATA) & (EPT_A | EPT_D), 0);
	vmx_end(&s);
}

static void test_wp(void **state)
{
	struct vmx s = with_vpid(true);

	VMX_CODE(&s, VMX_L2, STORE(DATA), HLT);
	*pte(&s, DATA) = DATA | 5;
	for (unsigned int n = 0; n < 2; n++) {
		vmx_clear(&s, F_CR0, CR0_WP);
		loaded(&s);
		vmx_set(&s, F_CR0, CR0_WP);
		expect_pf(&s);
	}
	vmx_end(&s);
}

/* L2's code is in user pages, its handlers in supervisor ones. */
static void test_smep(void **state)
{
	struct vmx s = with_vpid(true);

	if (!(guest_leaf(s.cpuid, 7, 0)->ebx & 1 << 7)) {
		vmx_end(&s);
		skip();
	}
	*pte(&s, HANDLERS) = HANDLERS | 3;
	for (unsigned int n = 0; n < 2; n++) {
		loaded(&s);
		vmx_set(&s, F_CR4, CR4_SMEP);
		expect_pf(&s);
		vmx_clear(&s, F_CR4, CR4_SMEP);
	}
	vmx_end(&s);
}

static void test_nx(void **state)
{
	struct vmx s = with_vpid(true);

	*pte(&s, DATA) |= PTE_NX;
	vmx_set(&s, F_ENTRY, E_LOAD_EFER);
	vmx_set(&s, F_EXIT, X_SAVE_EFER);
	for (unsigned int n = 0; n < 2; n++) {
		vmx_put(&s, F_EFER, 0x500 | EFER_NX);
		assert_int_equal(loaded(&s), 1);
		vmx_put(&s, F_EFER, 0x500);
		expect_pf(&s);
	}
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_invvpid), cmocka_unit_test(test_invvpid_ept), cmocka_unit_test(test_no_vpid),
	cmocka_unit_test(test_invept), cmocka_unit_test(test_eptp), cmocka_unit_test(test_l2_flushes),
	cmocka_unit_test(test_accessed_dirty), cmocka_unit_test(test_wp), cmocka_unit_test(test_smep),
	cmocka_unit_test(test_nx),
};

API_MAIN(tests)
