// SPDX-License-Identifier: MIT
/*
 * Between L1 and L2: what each knows of its memory is kept where tags tell it apart, and dropped where they do not;
 * SDM 3C, 28.3.  What else an L2's translations depend on, PAE's four entries and protection keys, counts at once.
 */
#include "trips.h"
#include "vmx_own.h"

#define F_EXCEPTIONS 0x4004
#define F_EXIT_EVENT_ERROR 0x4406
#define F_PDPTE0 0x280a
#define F_CS_RIGHTS 0x4816
#define EXCEPTION(n) (1u << 31 | 3 << 8 | (n))
#define GP 13
#define E_GUEST_64 (1 << 9)
#define CR0_CD (1u << 30)
#define CR4_SMAP (1ULL << 21)
#define CR4_PKE (1ULL << 22)
#define KEY(n) ((uint64_t)(n) << 59)
#define R_GUEST_STATE 33
#define FAIL_PDPTE 2

static uint64_t stat(struct vmx *s, const char *name)
{
	return guest_stat(s->g.vcpu, name);
}

/* --- what a round trip costs --------------------------------------------------- */

static uint8_t once(void *guest)
{
	return loaded(guest);
}

/* With a VPID nothing is lost, nor made anew.  Without one an entry and an exit drop L1's and L2's. */
static void tagged(bool ept)
{
	struct vmx s = with_vpid(ept);
	uint64_t c[COUNTERS];

	round_trips(s.g.vcpu, once, &s, c);
	for (unsigned int n = FLUSHES; n < COUNTERS; n++)
		assert_int_equal(c[n], 0);
	vmx_clear(&s, F_PROC2, P2_VPID);
	round_trips(s.g.vcpu, once, &s, c);
	assert_true(c[FLUSHES] >= 2 * TRIPS);
	assert_true(c[WALKS] >= 2 * TRIPS);
	assert_int_equal(c[CONTEXTS], 0);
	/* What was found in EPT belongs to no VPID. */
	assert_int_equal(c[SLAT_WALKS], 0);
	vmx_end(&s);
}

static void test_round_trips(void **state)
{
	if (api_real())
		skip();
	tagged(true);
	tagged(false);
}

/* --- what L1 itself knows --------------------------------------------------- */

#define L1_TABLE (VMX_FREE + 0x9000)    /* of L1's second 2 MiB */
#define L1_PAGE (0x200000 + DATA)
#define SEEN (VMX_FREE + 0xa000)

static uint8_t l1_loads(struct vmx *s)
{
	/* mov al,[L1_PAGE]; mov [SEEN],al */
	VMX_DO(s, LOAD(L1_PAGE), 0x88, 0x04, 0x25, ABS(SEEN));
	return *(uint8_t *)vmx_at(s, SEEN);
}

static void test_l1_without_vpid(void **state)
{
	struct vmx s = with_vpid(true);
	uint64_t *entry = (uint64_t *)vmx_at(&s, L1_TABLE) + (DATA >> 12);
	uint8_t seen;

	((uint64_t *)vmx_at(&s, GUEST_TABLES + 0x2000))[1] = L1_TABLE | 7;
	*entry = DATA | 7;
	assert_int_equal(l1_loads(&s), 1);
	*entry = MORE | 7;
	/* VPID 0 is not L2's, and this L2 drops nothing of it. */
	assert_int_equal(loaded(&s), 1);
	seen = l1_loads(&s);
	if (!api_real())
		assert_int_equal(seen, 1);
	vmx_clear(&s, F_PROC2, P2_VPID);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(l1_loads(&s), 2);
	vmx_end(&s);
}

/* Without a VPID it is the translations below the EPT that is entered that must go, too, wherever L2 was before. */
static void test_other_ept_without_vpid(void **state)
{
	struct vmx s = with_vpid(true);
	uint64_t other = second_ept(&s);

	vmx_clear(&s, F_PROC2, P2_VPID);
	vmx_put(&s, F_EPTP, other);
	assert_int_equal(loaded(&s), 1);
	vmx_put(&s, F_EPTP, VMX_EPT | 3 << 3 | 6);
	assert_int_equal(loaded(&s), 1);
	*pte(&s, DATA) = MORE | 7;
	vmx_put(&s, F_EPTP, other);
	assert_int_equal(loaded(&s), 2);
	vmx_end(&s);
}

/* --- INVVPID, once more --------------------------------------------------- */

/* It drops what depends on L2's own tables, and not what was found in EPT. */
static void test_invvpid_keeps_ept(void **state)
{
	struct vmx s = with_vpid(true);
	uint64_t walks, slat;

	if (api_real())
		skip();
	for (uint32_t type = 0; type <= 3; type++) {
		*pte(&s, DATA) = DATA | 7;
		invalidate(&s, INVVPID, 2, 0, 0);
		assert_int_equal(loaded(&s), 1);
		invalidate(&s, INVVPID, type, 1, DATA);
		walks = stat(&s, "page_walks");
		slat = stat(&s, "slat_walks");
		*pte(&s, DATA) = DATA | 7;
		assert_int_equal(loaded(&s), 1);
		assert_true(stat(&s, "page_walks") > walks);
		assert_int_equal(stat(&s, "slat_walks"), slat);
	}
	invalidate(&s, INVEPT, 2, 0, 0);
	assert_int_equal(loaded(&s), 1);
	assert_true(stat(&s, "slat_walks") > slat);
	vmx_end(&s);
}

/* A VPID is the processor's and no VMCS's: it outlives VMCLEAR. */
static void test_vpid_again(void **state)
{
	struct vmx s = with_vpid(true);
	uint8_t was;

	assert_int_equal(loaded(&s), 1);
	*pte(&s, DATA) = MORE | 7;
	for (unsigned int n = 0; n < 2; n++) {
		/* vmclear, vmptrld; to be launched again */
		VMX_DO(&s, 0x66, 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX + 8), 0x0f, 0xc7, 0x34, 0x25, ABS(VMX_BOX + 8));
		*(uint64_t *)vmx_at(&s, VMX_BOX + 24) = 0;
		was = loaded(&s);
		if (n)
			assert_int_equal(was, 2);
		else if (!api_real())
			assert_int_equal(was, 1);
		invalidate(&s, INVVPID, 1, 1, 0);
	}
	vmx_end(&s);
}

/* --- PAE --------------------------------------------------- */

/* Two directories, of which one leads to other data; CR3's four entries are in front of them. */
#define PDPT (VMX_FREE + 0xb000)
#define FIRST (VMX_FREE + 0xc000)
#define OTHER (VMX_FREE + 0xe000)

/* The load; mov eax,crN; xor eax,bit; mov crN,eax; and the load once more */
#define TOGGLE(cr, bit) \
	LOAD(DATA), 0x0f, 0x20, 0xc0 | (cr) << 3, 0x35, ABS(bit), 0x0f, 0x22, 0xc0 | (cr) << 3, LOAD(DATA), HLT

/* Which bits load the four entries; SDM 3A, 4.4.1. */
static const struct {
	uint8_t cr;
	uint32_t bit;
	bool loads;
} toggles[] = {
	{ 0, CR0_CD, true }, { 0, CR0_CD | 1u << 29, true }, { 4, 1 << 4, true }, { 4, 1 << 7, true }, { 4, 1 << 20, true },
	{ 0, 1 << 3, false }, { 0, 1 << 16, false }, { 4, 1 << 2, false }, { 4, 1 << 9, false },
};

static void directory(struct vmx *s, uint64_t at, uint64_t data)
{
	uint64_t *d = vmx_at(s, at);

	d[0] = (at + 0x1000) | 3;
	for (uint64_t n = 0; n < 512; n++)
		d[512 + n] = n << 12 | 3;
	d[512 + (DATA >> 12)] = data | 3;
}

/* The registers of @s say the first directory, memory says the other one. */
static struct vmx pae(bool ept, bool vpid)
{
	struct vmx s = with_vpid(ept);

	if (!vpid)
		vmx_clear(&s, F_PROC2, P2_VPID);
	directory(&s, FIRST, DATA);
	directory(&s, OTHER, MORE);
	*(uint64_t *)vmx_at(&s, PDPT) = OTHER | 1;
	vmx_put(&s, F_CR3, PDPT);
	vmx_put(&s, F_PDPTE0, FIRST | 1);
	vmx_clear(&s, F_ENTRY, E_GUEST_64);
	vmx_put(&s, F_CS_RIGHTS, 0xc09b);
	vmx_put(&s, F_EXCEPTIONS, 1u << GP);
	return s;
}

static uint64_t pdpte_loads(struct vmx *s)
{
	return api_real() ? 0 : stat(s, "pdpte_loads");
}

static void test_pae(void **state)
{
	struct vmx s = pae(true, false);
	uint64_t before = pdpte_loads(&s);

	/* The four entries are those of the VMCS, and change as they do. */
	assert_int_equal(loaded(&s), 1);
	vmx_put(&s, F_PDPTE0, OTHER | 1);
	assert_int_equal(loaded(&s), 2);
	vmx_put(&s, F_PDPTE0, FIRST | 1);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(pdpte_loads(&s), before);
	vmx_end(&s);
}

/* L2's own: what loads them loads them from its memory, what was translated by the old ones is gone, and they are saved. */
static void toggle(struct vmx *s, unsigned int n)
{
	uint64_t cr0 = vmx_get(s, F_CR0), cr4 = vmx_get(s, F_CR4), before = pdpte_loads(s);
	bool loads = toggles[n].loads;

	VMX_CODE(s, VMX_L2, TOGGLE(toggles[n].cr, toggles[n].bit));
	if (loaded(s) != (loads ? 2 : 1))
		fail_msg("CR%u, %#x", toggles[n].cr, toggles[n].bit);
	assert_int_equal(vmx_get(s, F_PDPTE0), (loads ? OTHER : FIRST) | 1);
	if (!api_real())
		assert_int_equal(pdpte_loads(s), before + loads);
	vmx_put(s, F_CR0, cr0);
	vmx_put(s, F_CR4, cr4);
	vmx_put(s, F_PDPTE0, FIRST | 1);
}

static void test_pae_toggles(void **state)
{
	for (unsigned int n = 0; n < sizeof(toggles) / sizeof(toggles[0]); n++) {
		struct vmx s = pae(true, n & 1);

		toggle(&s, n);
		invalidate(&s, INVVPID, 2, 0, 0);
		toggle(&s, n);
		vmx_end(&s);
	}
}

/* With a VPID what was translated by the old ones may last; INVVPID is what ends it. */
static void test_pae_vpid(void **state)
{
	struct vmx s = pae(true, true);

	assert_int_equal(loaded(&s), 1);
	vmx_put(&s, F_PDPTE0, OTHER | 1);
	invalidate(&s, INVVPID, 1, 1, 0);
	assert_int_equal(loaded(&s), 2);
	vmx_end(&s);
}

/* A reserved bit: L2's MOV is its #GP(0), and its registers are what they were; L1's entry fails. */
static void test_pae_reserved(void **state)
{
	struct vmx s = pae(true, false);
	uint64_t cr0 = vmx_get(&s, F_CR0);

	assert_int_equal(loaded(&s), 1);
	*(uint64_t *)vmx_at(&s, PDPT) |= 2;
	VMX_CODE(&s, VMX_L2, TOGGLE(0, CR0_CD));
	vmx_expect(&s, R_EXCEPTION);
	assert_int_equal(vmx_get(&s, F_EXIT_EVENT), EXCEPTION(GP) | 1u << 11);
	assert_int_equal(vmx_get(&s, F_EXIT_EVENT_ERROR), 0);
	assert_int_equal(vmx_get(&s, F_CR0), cr0);
	assert_int_equal(vmx_get(&s, F_PDPTE0), FIRST | 1);
	VMX_CODE(&s, VMX_L2, LOAD(DATA), HLT);
	vmx_goto(&s, VMX_L2);
	assert_int_equal(loaded(&s), 1);
	/* Of an entry that is not present anything goes. */
	vmx_put(&s, F_PDPTE0 + 2, 0x1e6);
	assert_int_equal(loaded(&s), 1);
	vmx_put(&s, F_PDPTE0 + 2, 0x1e7);
	vmx_expect(&s, R_GUEST_STATE | VMX_ENTRY_FAILED);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), FAIL_PDPTE);
	vmx_end(&s);
}

/* Without EPT they are in memory, and loaded by each entry. */
static void test_pae_without_ept(void **state)
{
	struct vmx s = pae(false, false);
	uint64_t before = pdpte_loads(&s);

	assert_int_equal(loaded(&s), 2);
	if (!api_real())
		assert_int_equal(pdpte_loads(&s), before + 1);
	*(uint64_t *)vmx_at(&s, PDPT) = FIRST | 1;
	assert_int_equal(loaded(&s), 1);
	*(uint64_t *)vmx_at(&s, PDPT) = FIRST | 3;
	vmx_expect(&s, R_GUEST_STATE | VMX_ENTRY_FAILED);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), FAIL_PDPTE);
	vmx_end(&s);
}

/* --- modes that rights depend on --------------------------------------------------- */

static void expect_pf(struct vmx *s, uint32_t error)
{
	vmx_expect(s, R_EXCEPTION);
	assert_int_equal(vmx_get(s, F_EXIT_EVENT), EXCEPTION(PF) | 1u << 11);
	assert_int_equal(vmx_get(s, F_EXIT_EVENT_ERROR), error);
	vmx_goto(s, VMX_L2);
}

/* Each there and back more than once: the second time what was known of either is found again. */
static void toggled(struct vmx *s, uint64_t field, uint64_t bit, uint32_t error)
{
	uint64_t contexts = 0, flushes = 0;

	vmx_put(s, F_EXCEPTIONS, 1u << PF);
	for (unsigned int n = 0; n < 4; n++) {
		vmx_clear(s, field, bit);
		assert_int_equal(loaded(s), 1);
		vmx_set(s, field, bit);
		expect_pf(s, error);
		if (api_real())
			continue;
		if (n)
			assert_int_equal(stat(s, "mmu_contexts"), contexts);
		if (n)
			assert_int_equal(stat(s, "tlb_flush"), flushes);
		contexts = stat(s, "mmu_contexts");
		flushes = stat(s, "tlb_flush");
	}
}

static void test_smap(void **state)
{
	struct vmx s = with_vpid(true);

	if (!(guest_leaf(s.cpuid, 7, 0)->ebx & 1 << 20)) {
		vmx_end(&s);
		skip();
	}
	toggled(&s, F_CR4, CR4_SMAP, 1);
	vmx_end(&s);
}

static void test_pke(void **state)
{
	struct vmx s = with_vpid(true);

	if (!(guest_leaf(s.cpuid, 7, 0)->ecx & 1 << 3)) {
		vmx_end(&s);
		skip();
	}
	*pte(&s, DATA) = DATA | 7 | KEY(1);
	/* xor ecx,ecx; xor edx,edx; mov eax,4; wrpkru: no access by key 1 */
	VMX_CODE(&s, VMX_L2, 0x31, 0xc9, 0x31, 0xd2, 0xb8, ABS(4), 0x0f, 0x01, 0xef, HLT);
	vmx_set(&s, F_CR4, CR4_PKE);
	vmx_expect(&s, R_HLT);
	VMX_CODE(&s, VMX_L2, LOAD(DATA), HLT);
	vmx_goto(&s, VMX_L2);
	toggled(&s, F_CR4, CR4_PKE, 1 | 1 << 5);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_round_trips), cmocka_unit_test(test_l1_without_vpid),
	cmocka_unit_test(test_other_ept_without_vpid),
	cmocka_unit_test(test_invvpid_keeps_ept), cmocka_unit_test(test_vpid_again), cmocka_unit_test(test_pae),
	cmocka_unit_test(test_pae_toggles),
	cmocka_unit_test(test_pae_vpid), cmocka_unit_test(test_pae_reserved), cmocka_unit_test(test_pae_without_ept),
	cmocka_unit_test(test_smap), cmocka_unit_test(test_pke),
};

API_MAIN(tests)
