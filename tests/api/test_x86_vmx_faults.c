// SPDX-License-Identifier: MIT
/*
 * L2's page faults, of which L1 hears as it asks (SDM 3C, 25.2 and 24.6.3), CR2, which is L2's until somebody changes it,
 * and EPT of five levels and of large pages (28.3.2).
 */
#include "vmx_own.h"

#define F_EXCEPTIONS 0x4004
#define F_PF_MASK 0x4006
#define F_PF_MATCH 0x4008
#define F_EXIT_EVENT_ERROR 0x4406
#define EXCEPTION(n) (1u << 31 | 3 << 8 | (n))
#define IO_QUALIFICATION(port) ((uint64_t)(port) << 16 | 1 << 6)
#define MSR_EPT_VPID 0x48c
#define LEVELS_5 (1u << 7)
#define PAGES_2M (1u << 16)
#define PAGES_1G (1u << 17)

/* --- page faults -------------------------------------------------------------------------------------------------- */

/* What L2 does to DATA, what its PTE is, and the error code. */
static const struct access {
	uint8_t code[9];
	uint64_t pte;
	uint32_t error;
} accesses[] = {
	{ { LOAD(DATA), HLT }, 0, 0 },
	{ { STORE(DATA), HLT }, 0, 2 },
	{ { STORE(DATA), HLT }, DATA | 5, 3 },
	{ { 0xb8, ABS(DATA), 0xff, 0xe0 }, 0, 0x10 },           /* mov eax,DATA; jmp rax */
	{ { 0xb8, ABS(DATA), 0xff, 0xe0 }, DATA | 7 | PTE_NX, 0x11 },
	{ { LOAD(DATA), HLT }, DATA | 7 | 1ULL << 51, 9 },
};

static void expect_fault(struct vmx *s, const struct access *a, bool wanted, bool mask_set, uint32_t mask, uint32_t match)
{
	uint32_t reason = vmx_run(s);
	uint64_t seen;

	if (reason != (wanted ? R_EXCEPTION : R_IO))
		fail_msg("error %#x, bit %u, mask %#x, match %#x: exit %#x", a->error, mask_set, mask, match, reason);
	seen = vmx_get(s, wanted ? F_EXIT_EVENT : F_QUALIFICATION);
	assert_int_equal(seen, wanted ? EXCEPTION(PF) | 1u << 11 : IO_QUALIFICATION(VMX_FAULT + PF));
	if (wanted) {
		assert_int_equal(vmx_get(s, F_EXIT_EVENT_ERROR), a->error);
		assert_int_equal(vmx_get(s, F_QUALIFICATION), DATA);
	}
	vmx_put(s, F_RSP, VMX_L2_STACK);
	vmx_goto(s, VMX_L2);
}

static void test_page_faults(void **state)
{
	static const uint32_t words[] = { 0, 1, 2, 3, 0x10, 0x1f, 0xffffffff };
	const unsigned int count = sizeof(words) / sizeof(words[0]);
	struct vmx s = with_vpid(true);
	unsigned int exits[2] = { 0 };

	vmx_set(&s, F_CR0, CR0_WP);
	vmx_set(&s, F_ENTRY, E_LOAD_EFER);
	vmx_put(&s, F_EFER, 0x500 | EFER_NX);
	for (unsigned int n = 0; n < sizeof(accesses) / sizeof(accesses[0]); n++) {
		const struct access *a = &accesses[n];

		vmx_code(&s, VMX_L2, a->code, sizeof(a->code));
		*pte(&s, DATA) = a->pte;
		invalidate(&s, INVVPID, 2, 0, 0);
		for (unsigned int i = 0; i < 2 * count * count; i++) {
			uint32_t mask = words[i / 2 % count], match = words[i / 2 / count];
			bool bit = i & 1, wanted = bit == ((a->error & mask) == match);

			vmx_put(&s, F_EXCEPTIONS, bit ? 1u << PF : 0);
			vmx_put(&s, F_PF_MASK, mask);
			vmx_put(&s, F_PF_MATCH, match);
			expect_fault(&s, a, wanted, bit, mask, match);
			exits[wanted]++;
		}
	}
	assert_true(exits[0] > 100 && exits[1] > 100);
	vmx_end(&s);
}

/* L2's CR2 is what it has put there, over exits, and L1's after them: there is but one. */
static void test_cr2(void **state)
{
	/* mov eax,CR2's; mov cr2,rax; hlt; mov rax,cr2; hlt */
	struct vmx s = VMX(0, 0xb8, ABS(0x12345), 0x0f, 0x22, 0xd0, HLT, 0x0f, 0x20, 0xd0, HLT);

	vmx_expect(&s, R_HLT);
	for (unsigned int n = 0; n < 100000; n++) {
		*vmx_reg(&s, 0) = 0;
		vmx_goto(&s, VMX_L2 + 9);
		vmx_expect(&s, R_HLT);
		assert_int_equal(*vmx_reg(&s, 0), 0x12345);
	}
	/* mov rax,cr2; mov [DESCRIPTOR],rax; mov cr2,rsp */
	VMX_DO(&s, 0x0f, 0x20, 0xd0, 0x48, 0x89, 0x04, 0x25, ABS(DESCRIPTOR), 0x0f, 0x22, 0xd4);
	assert_int_equal(*(uint64_t *)vmx_at(&s, DESCRIPTOR), 0x12345);
	vmx_goto(&s, VMX_L2 + 9);
	vmx_expect(&s, R_HLT);
	assert_int_equal(*vmx_reg(&s, 0), GUEST_STACK - 8);
	vmx_end(&s);
}

/* --- EPT's formats -------------------------------------------------------------------------------------------------- */

#define TOP (VMX_FREE + 0x9000)         /* of five levels */
#define UPPER (VMX_FREE + 0xa000)       /* two tables: of what is above 2^48 */
#define HIGH (1ULL << 48)

static uint64_t caps(struct vmx *s)
{
	uint64_t value = 0;

	assert_int_equal(guest_get_msr(&s->g, MSR_EPT_VPID, &value), 1);
	return value;
}

static uint64_t *upper(struct vmx *s, unsigned int n)
{
	return (uint64_t *)vmx_at(s, UPPER) + 512 * n;
}

/* Of 52 bits, whatever the machine has. */
static struct vmx wide(void)
{
	const struct kvm_cpuid_entry2 leaf = { .function = 0x80000008, .eax = 57 << 8 | 52 };
	const uint8_t code[] = { LOAD(DATA), HLT };
	struct vmx s;

	if (api_real())
		skip();
	s = vmx_start_with(code, sizeof(code), P2_EPT | P2_VPID, false, &leaf, 1);
	own_tables(&s);
	vmx_ept(&s, 0);
	return s;
}

/* Five levels reach beyond 2^48; and each walk length but 4 and 5 is an entry that fails. */
static void test_five_levels(void **state)
{
	struct vmx s = wide();
	uint64_t *top = vmx_at(&s, TOP);

	assert_int_equal(caps(&s) & (LEVELS_5 | 1 << 6), LEVELS_5 | 1 << 6);
	top[0] = VMX_EPT | EPT_ALL;
	top[1] = UPPER | EPT_ALL;
	*upper(&s, 0) = (UPPER + 0x1000) | EPT_ALL;
	*upper(&s, 1) = (VMX_EPT + 0x2000) | EPT_ALL;
	vmx_put(&s, F_EPTP, TOP | 4 << 3 | 6);
	assert_int_equal(loaded(&s), 1);
	*pte(&s, DATA) = HIGH | MORE | 7;
	assert_int_equal(loaded(&s), 2);
	top[1] = 0;
	invalidate(&s, INVEPT, 2, 0, 0);
	vmx_expect(&s, R_EPT_VIOLATION);
	assert_int_equal(vmx_get(&s, F_GPA), HIGH | MORE);
	for (unsigned int levels = 1; levels <= 8; levels++) {
		bool good = levels == 4 || levels == 5;

		vmx_put(&s, F_EPTP, TOP | (levels - 1) << 3 | 6);
		assert_int_equal(vmx_run(&s) == VMX_FAIL + 7, !good);
	}
	vmx_end(&s);
}

/* Walks of EPT, once INVEPT has dropped all, until L2 has its data. */
static uint64_t walks_of_ept(struct vmx *s)
{
	uint64_t before = guest_stat(s->g.vcpu, "slat_walks");

	invalidate(s, INVEPT, 2, 0, 0);
	vmx_goto(s, VMX_L2);
	assert_int_equal(loaded(s), 1);
	return guest_stat(s->g.vcpu, "slat_walks") - before;
}

/* Pages of 2 MiB and of 1 GiB, whose addresses have no low bits: one walk is enough for all of the 2 MiB. */
static void test_large_pages(void **state)
{
	struct vmx s = wide();
	uint64_t *pdpt = vmx_at(&s, VMX_EPT + 0x1000), *pd = vmx_at(&s, VMX_EPT + 0x2000);

	assert_int_equal(caps(&s) & (PAGES_1G | PAGES_2M), PAGES_1G | PAGES_2M);
	/* Four tables, code and data. */
	assert_true(walks_of_ept(&s) >= 6);
	for (unsigned int n = 0; n < 2; n++) {
		uint64_t *e = n ? &pdpt[0] : &pd[0], table = *e;

		*e = EPT_ALL | EPT_WB | 0x80;
		assert_int_equal(walks_of_ept(&s), 1);
		*e |= n ? 1 << 29 : 1 << 20;
		invalidate(&s, INVEPT, 2, 0, 0);
		vmx_expect(&s, R_EPT_MISCONFIG);
		*e = table;
	}
	vmx_end(&s);
}

/* What an entry must not be: of a page, of a table, of a large page; and what may be, but allows nothing.  28.3.3.1. */
static const struct {
	uint8_t level;
	uint64_t entry;
	uint32_t reason;        /* R_HLT: as good as any */
} entries[] = {
	{ 1, DATA | EPT_WB | 7, R_HLT }, { 1, DATA | EPT_WB | 1, R_HLT }, { 1, DATA | EPT_WB | 3, R_HLT },
	{ 1, DATA | 0 << 3 | 7, R_HLT }, { 1, DATA | 1 << 3 | 7, R_HLT }, { 1, DATA | 4 << 3 | 7, R_HLT },
	{ 1, DATA | 5 << 3 | 7, R_HLT }, { 1, DATA | EPT_WB | 1ULL << 62 | 0xf00 | 7, R_HLT },
	{ 1, DATA | EPT_WB | 4, R_EPT_VIOLATION },              /* execute only */
	{ 1, 0, R_EPT_VIOLATION }, { 1, DATA | EPT_WB, R_EPT_VIOLATION }, { 1, DATA | 2 << 3, R_EPT_VIOLATION },
	{ 1, DATA | EPT_WB | 2, R_EPT_MISCONFIG }, { 1, DATA | EPT_WB | 6, R_EPT_MISCONFIG },
	{ 1, DATA | 2 << 3 | 7, R_EPT_MISCONFIG }, { 1, DATA | 3 << 3 | 7, R_EPT_MISCONFIG },
	{ 1, DATA | 7 << 3 | 7, R_EPT_MISCONFIG }, { 1, 1ULL << 51 | DATA | EPT_WB | 7, R_EPT_MISCONFIG },
	{ 2, VMX_EPT_PT | 7, R_HLT }, { 2, VMX_EPT_PT | 1ULL << 62 | 0xf00 | 7, R_HLT }, { 2, 0, R_EPT_VIOLATION },
	{ 2, VMX_EPT_PT | 1 << 3 | 7, R_EPT_MISCONFIG }, { 2, VMX_EPT_PT | 1 << 6 | 7, R_EPT_MISCONFIG },
	{ 2, VMX_EPT_PT | 2, R_EPT_MISCONFIG }, { 2, 1ULL << 51 | VMX_EPT_PT | 7, R_EPT_MISCONFIG },
	{ 2, EPT_WB | 0x80 | 7, R_HLT }, { 2, 1 << 12 | EPT_WB | 0x80 | 7, R_EPT_MISCONFIG },
	{ 2, 2 << 3 | 0x80 | 7, R_EPT_MISCONFIG },
	{ 3, (VMX_EPT + 0x2000) | 7, R_HLT }, { 3, (VMX_EPT + 0x2000) | 1 << 5 | 7, R_EPT_MISCONFIG },
	{ 4, (VMX_EPT + 0x1000) | 7, R_HLT }, { 4, (VMX_EPT + 0x1000) | 0x80 | 7, R_EPT_MISCONFIG },
};

static void test_entries(void **state)
{
	struct vmx s = with_vpid(true);

	for (unsigned int n = 0; n < sizeof(entries) / sizeof(entries[0]); n++) {
		unsigned int level = entries[n].level;
		uint64_t *e = level == 1 ? vmx_ept_entry(&s, DATA) : vmx_at(&s, VMX_EPT + (4 - level) * 0x1000UL), good = *e;
		uint32_t reason;

		invalidate(&s, INVEPT, 2, 0, 0);
		*e = entries[n].entry;
		vmx_goto(&s, VMX_L2);
		reason = vmx_run(&s);
		if (reason != entries[n].reason)
			fail_msg("level %u, %#lx: exit %#x", level, *e, reason);
		if (reason != R_HLT && level == 1)
			assert_int_equal(vmx_get(&s, F_GPA), DATA);
		*e = good;
	}
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_page_faults), cmocka_unit_test(test_cr2), cmocka_unit_test(test_five_levels),
	cmocka_unit_test(test_large_pages), cmocka_unit_test(test_entries),
};

API_MAIN(tests)
