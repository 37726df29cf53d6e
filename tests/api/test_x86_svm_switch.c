// SPDX-License-Identifier: MIT
/*
 * Between L1 and L2 of SVM: what each knows of its memory is kept by ASID and dropped by TLB_CONTROL, INVLPGA and L2's own
 * instructions (APM 2, 15.16); whose page tables count, with nested paging and without (15.25).
 *
 * A translation that is kept although memory says otherwise is legal until something drops it: that this library
 * keeps them is what the counters of walks and flushes show.
 */
#include "svm.h"
#include "trips.h"

#define TABLES SVM_FREE                 /* L2's own: four, with 4 KiB pages */
#define DATA 0x6000UL
#define MORE 0x7000UL
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define EXIT_PF 0x4e
#define EXIT_GP 0x4d
#define CR0_WP (1ULL << 16)
#define CR0_CD (1u << 30)
#define CR4_SMEP (1ULL << 20)
#define CR4_SMAP (1ULL << 21)
#define EFER_SVME (1ULL << 12)
#define EFER_NX (1ULL << 11)
#define PTE_NX (1ULL << 63)

enum { TLB_NOTHING = 0, TLB_ALL = 1, TLB_ASID = 3, TLB_ASID_NONGLOBAL = 7 };

static uint64_t *at(struct svm *s, uint64_t gpa)
{
	return (uint64_t *)(gpa >= SVM_MEM ? s->mem + (gpa - SVM_MEM) : s->g.mem + gpa);
}

static uint64_t *pte(struct svm *s, uint64_t gva)
{
	return at(s, TABLES + 0x3000) + (gva >> 12);
}

static uint64_t *npt_entry(struct svm *s, uint64_t gpa)
{
	return at(s, SVM_NPT_PT) + (gpa >> 12);
}

static struct svm start(bool npt)
{
	struct svm s = SVM(npt ? SVM_NPT_BIT : 0, 0, LOAD(DATA), VMMCALL);

	*at(&s, TABLES) = (TABLES + 0x1000) | 7;
	*at(&s, TABLES + 0x1000) = (TABLES + 0x2000) | 7;
	*at(&s, TABLES + 0x2000) = (TABLES + 0x3000) | 7;
	for (uint64_t gva = 0; gva < 0x200000; gva += PAGE)
		*pte(&s, gva) = gva | 7;
	svm_put8(&s, S_CR3, TABLES);
	*(uint8_t *)at(&s, DATA) = 1;
	*(uint8_t *)at(&s, MORE) = 2;
	if (npt)
		svm_npt(&s);
	return s;
}

static uint8_t loaded(struct svm *s)
{
	svm_expect(s, EXIT_VMMCALL);
	svm_rewind(s);
	return (uint8_t)svm_get8(s, S_RAX);
}

static void expect_kept(struct svm *s, uint8_t value)
{
	uint8_t was = loaded(s);

	if (!api_real())
		assert_int_equal(was, value);
}

static uint64_t stat(struct svm *s, const char *name)
{
	return api_real() ? 0 : guest_stat(s->g.vcpu, name);
}

/* --- what a round trip costs --------------------------------------------------- */

static uint8_t once(void *guest)
{
	return loaded(guest);
}

static void costs(bool npt)
{
	struct svm s = start(npt);
	uint64_t c[COUNTERS];

	round_trips(s.g.vcpu, once, &s, c);
	for (unsigned int n = FLUSHES; n < COUNTERS; n++)
		assert_int_equal(c[n], 0);
	/* And when it is told to flush, it does. */
	svm_put(&s, C_TLB, 1, TLB_ASID);
	round_trips(s.g.vcpu, once, &s, c);
	assert_int_equal(c[FLUSHES], TRIPS);
	assert_true(c[WALKS] >= TRIPS);
	assert_int_equal(c[SLAT_WALKS] >= TRIPS, npt);
	assert_int_equal(c[CONTEXTS], 0);
	svm_end(&s);
}

static void test_round_trips(void **state)
{
	if (api_real())
		skip();
	costs(true);
	costs(false);
}

/* --- what drops L2's translations --------------------------------------------------- */

#define AGAIN 0xeb, 0xf4        /* of L1's loop, behind its OUT */
#define STUB 0x1800
#define JMP(from, to) 0xe9, ABS((to) - (from) - 5)

/* L1, before it enters the next time: mov eax,gva; mov ecx,asid; invlpga; out 0x30,al */
static void invlpga(struct svm *s, uint32_t gva, uint32_t asid)
{
	SVM_CODE(s, STUB, 0xb8, ABS(gva), 0xb9, ABS(asid), 0x0f, 0x01, 0xdf, 0xe6, 0x30, JMP(STUB + 15, GUEST_CODE));
	SVM_CODE(s, GUEST_CODE + 10, JMP(GUEST_CODE + 10, STUB));
	guest_port(&s->g, 0x30);
	SVM_CODE(s, GUEST_CODE + 10, AGAIN);
}

/* What is changed: L2's page, its table, or L1's page below it. */
enum what { PTE, PDE, NESTED };

#define SPARE (SVM_MEM + 0x14000)       /* a table of L2's by which DATA is MORE */

static void change(struct svm *s, enum what what, bool more)
{
	if (what == PTE)
		*pte(s, DATA) = (more ? MORE : DATA) | 7;
	else if (what == PDE)
		*at(s, TABLES + 0x2000) = (more ? SPARE : TABLES + 0x3000) | 7;
	else
		*npt_entry(s, DATA) = (more ? MORE : DATA) | 7;
}

/* One's own ASID, all, another's. */
static void controls(bool npt, enum what what)
{
	static const struct {
		uint8_t control;
		bool drops_other;
	} rows[] = { { TLB_ALL, true }, { TLB_ASID, false }, { TLB_ASID_NONGLOBAL, false } };
	struct svm s = start(npt);

	memcpy(at(&s, SPARE), pte(&s, 0), PAGE);
	at(&s, SPARE)[DATA >> 12] = MORE | 7;
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		change(&s, what, false);
		for (uint32_t asid = 2; asid; asid--) {
			svm_put4(&s, C_ASID, asid);
			svm_put(&s, C_TLB, 1, TLB_ALL);
			assert_int_equal(loaded(&s), 1);
			svm_put(&s, C_TLB, 1, TLB_NOTHING);
		}
		svm_put4(&s, C_ASID, 2);
		assert_int_equal(loaded(&s), 1);
		svm_put4(&s, C_ASID, 1);
		assert_int_equal(loaded(&s), 1);
		change(&s, what, true);
		expect_kept(&s, 1);
		svm_put(&s, C_TLB, 1, rows[n].control);
		assert_int_equal(loaded(&s), 2);
		svm_put(&s, C_TLB, 1, TLB_NOTHING);
		svm_put4(&s, C_ASID, 2);
		if (rows[n].drops_other)
			assert_int_equal(loaded(&s), 2);
		else
			expect_kept(&s, 1);
		svm_put4(&s, C_ASID, 1);
	}
	svm_end(&s);
}

static void test_tlb_control(void **state)
{
	controls(false, PTE);
	controls(false, PDE);
	controls(true, PTE);
	controls(true, PDE);
	controls(true, NESTED);
}

/* A page of one ASID, and with it where its tables lie. */
static void test_invlpga(void **state)
{
	for (unsigned int n = 0; n < 2; n++) {
		enum what what = n ? PDE : PTE;
		struct svm s = start(true);
		uint64_t flushes;

		memcpy(at(&s, SPARE), pte(&s, 0), PAGE);
		at(&s, SPARE)[DATA >> 12] = MORE | 7;
		assert_int_equal(loaded(&s), 1);
		change(&s, what, true);
		flushes = stat(&s, "tlb_flush");
		invlpga(&s, DATA, 2);
		expect_kept(&s, 1);
		invlpga(&s, MORE, 1);
		expect_kept(&s, 1);
		invlpga(&s, DATA, 1);
		assert_int_equal(loaded(&s), 2);
		assert_int_equal(stat(&s, "tlb_flush"), flushes);
		svm_end(&s);
	}
}

/* L2's own MOV CR3, and INVLPG; they are no business of L1's. */
static void test_l2_flushes(void **state)
{
	struct svm s = start(true);
	/* al = [DATA]; bl = al; mov rax,cr3; PTE = MORE; mov cr3,rax; al = [DATA]; ah = bl */
	const uint8_t cr3[] = {
		LOAD(DATA), 0x88, 0xc3, 0x0f, 0x20, 0xd8, 0xc7, 0x04, 0x25, ABS(TABLES + 0x3000 + (DATA >> 9)),
		ABS(MORE | 7), 0x0f, 0x22, 0xd8, LOAD(DATA), 0x88, 0xdc, VMMCALL,
	};
	const uint8_t invlpg[] = {
		LOAD(DATA), 0x88, 0xc3, 0xc7, 0x04, 0x25, ABS(TABLES + 0x3000 + (DATA >> 9)), ABS(DATA | 7),
		0x0f, 0x01, 0x3c, 0x25, ABS(DATA), LOAD(DATA), 0x88, 0xdc, VMMCALL,
	};

	svm_code(&s, SVM_L2, cr3, sizeof(cr3));
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX) & 0xffff, 0x0102);
	svm_code(&s, SVM_L2, invlpg, sizeof(invlpg));
	svm_rewind(&s);
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RAX) & 0xffff, 0x0201);
	svm_end(&s);
}

/* --- whose tables --------------------------------------------------- */

/* Another nested CR3, and another CR3, with the same ASID; there and back nothing is flushed, nor walked twice. */
static void test_other_tables(void **state)
{
	struct svm s = start(true);
	uint64_t walks, flushes;

	/* A second top of L2's. */
	memcpy(at(&s, SVM_FREE - 0x1000), at(&s, TABLES), PAGE);
	assert_int_equal(loaded(&s), 1);
	svm_put8(&s, S_CR3, SVM_FREE - 0x1000);
	assert_int_equal(loaded(&s), 1);
	walks = stat(&s, "page_walks");
	flushes = stat(&s, "tlb_flush");
	for (unsigned int n = 0; n < 4; n++) {
		svm_put8(&s, S_CR3, n & 1 ? SVM_FREE - 0x1000 : TABLES);
		assert_int_equal(loaded(&s), 1);
	}
	assert_int_equal(stat(&s, "page_walks"), walks);
	assert_int_equal(stat(&s, "tlb_flush"), flushes);
	svm_put8(&s, C_NESTED_CR3, SVM_NPT + 0x2000);
	svm_expect(&s, EXIT_NPF);
	svm_put8(&s, C_NESTED_CR3, SVM_NPT);
	assert_int_equal(loaded(&s), 1);
	/* Without nested paging CR3 is an address of L1's, whatever nested tables say of it. */
	*npt_entry(&s, DATA) = MORE | 7;
	svm_put(&s, C_TLB, 1, TLB_ALL);
	assert_int_equal(loaded(&s), 2);
	svm_put8(&s, C_NESTED_CTL, 0);
	assert_int_equal(loaded(&s), 1);
	svm_end(&s);
}

/* L1 with CR4.LA57: nested tables have five levels then, whatever L2's have. */
static void test_five_levels(void **state)
{
	struct svm s = start(true);
	const uint64_t own = SVM_MEM + 0x12000, nested = SVM_MEM + 0x13000;
	struct kvm_sregs k;

	if (!(guest_leaf(s.cpuid, 7, 0)->ecx & 1 << 16)) {
		svm_end(&s);
		skip();
	}
	*at(&s, own) = GUEST_TABLES | 7;
	*at(&s, nested) = SVM_NPT | 7;
	assert_int_equal(loaded(&s), 1);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
	k.cr3 = own;
	k.cr4 |= 1 << 12;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	svm_put8(&s, C_NESTED_CR3, nested);
	assert_int_equal(loaded(&s), 1);
	/* The same tables of four levels are no good. */
	svm_put8(&s, C_NESTED_CR3, SVM_NPT);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1) >> 32, 2);
	svm_end(&s);
}

/* --- modes that rights depend on --------------------------------------------------- */

static void expect_pf(struct svm *s, uint32_t error)
{
	svm_expect(s, EXIT_PF);
	assert_int_equal(svm_get8(s, C_INFO1), error);
	svm_rewind(s);
}

/* Each there and back more than once: the second time what was known of either is found again. */
static void toggled(struct svm *s, unsigned int field, uint64_t bit, uint32_t error)
{
	uint64_t contexts = 0, flushes = 0;

	svm_put4(s, C_EXCEPTIONS, 1u << 14);
	for (unsigned int n = 0; n < 4; n++) {
		svm_put8(s, field, svm_get8(s, field) & ~bit);
		svm_expect(s, EXIT_VMMCALL);
		svm_rewind(s);
		svm_put8(s, field, svm_get8(s, field) | bit);
		expect_pf(s, error);
		if (n) {
			assert_int_equal(stat(s, "mmu_contexts"), contexts);
			assert_int_equal(stat(s, "tlb_flush"), flushes);
		}
		contexts = stat(s, "mmu_contexts");
		flushes = stat(s, "tlb_flush");
	}
}

static void test_modes(void **state)
{
	struct svm s = start(true);
	uint32_t features = guest_leaf(s.cpuid, 7, 0)->ebx;

	if (features & 1 << 20)
		toggled(&s, S_CR4, CR4_SMAP, 1);
	svm_put8(&s, S_CR4, svm_get8(&s, S_CR4) & ~CR4_SMAP);
	if (features & 1 << 7)
		toggled(&s, S_CR4, CR4_SMEP, 0x11);
	svm_put8(&s, S_CR4, svm_get8(&s, S_CR4) & ~CR4_SMEP);
	*pte(&s, DATA) = DATA | 5;
	svm_put(&s, C_TLB, 1, TLB_ALL);
	SVM_CODE(&s, SVM_L2, 0xc6, 0x04, 0x25, ABS(DATA), 3, VMMCALL);
	svm_expect(&s, EXIT_VMMCALL);
	svm_rewind(&s);
	svm_put(&s, C_TLB, 1, TLB_NOTHING);
	toggled(&s, S_CR0, CR0_WP, 3);
	svm_end(&s);
}

/* NXE clear makes the bit a reserved one. */
static void test_nx(void **state)
{
	struct svm s = start(true);

	*pte(&s, DATA) |= PTE_NX;
	svm_put4(&s, C_EXCEPTIONS, 1u << 14);
	for (unsigned int n = 0; n < 3; n++) {
		svm_put8(&s, S_EFER, 0x500 | EFER_SVME | EFER_NX);
		assert_int_equal(loaded(&s), 1);
		svm_put8(&s, S_EFER, 0x500 | EFER_SVME);
		expect_pf(&s, 9);
	}
	svm_end(&s);
}

/* --- PAE --------------------------------------------------- */

#define PDPT (SVM_MEM + 0xb000)
#define FIRST (SVM_MEM + 0x10000)
#define OTHER (SVM_MEM + 0x12000)

/* xor dword [PDPT],FIRST ^ OTHER; the load; mov eax,crN; xor eax,bit; mov crN,eax; and the load once more */
#define TOGGLE(cr, bit) \
	0x81, 0x35, ABS(PDPT), ABS(FIRST ^ OTHER), LOAD(DATA), 0x0f, 0x20, 0xc0 | (cr) << 3, 0x35, ABS(bit), \
	0x0f, 0x22, 0xc0 | (cr) << 3, LOAD(DATA), VMMCALL

/* Which bits load the four entries; APM 2, 5.2.4. */
static const struct {
	uint8_t cr;
	uint32_t bit;
	bool loads;
} toggles[] = {
	{ 0, CR0_CD, true }, { 0, CR0_CD | 1u << 29, true }, { 4, 1 << 4, true }, { 4, 1 << 7, true }, { 4, 1 << 20, true },
	{ 0, 1 << 3, false }, { 0, 1 << 16, false }, { 4, 1 << 2, false }, { 4, 1 << 9, false },
};

static void directory(struct svm *s, uint64_t gpa, uint64_t data)
{
	*at(s, gpa) = (gpa + 0x1000) | 3;
	for (uint64_t n = 0; n < 512; n++)
		at(s, gpa + 0x1000)[n] = n << 12 | 3;
	at(s, gpa + 0x1000)[DATA >> 12] = data | 3;
}

static struct svm pae(bool npt)
{
	struct svm s = start(npt);

	directory(&s, FIRST, DATA);
	directory(&s, OTHER, MORE);
	*at(&s, PDPT) = FIRST | 1;
	svm_put8(&s, S_CR3, PDPT);
	svm_put8(&s, S_EFER, EFER_SVME);
	svm_put(&s, S_CS + 2, 2, 0xc9b);
	svm_put4(&s, C_EXCEPTIONS, 1u << 13 | 1u << 14);
	return s;
}

/* The four entries are read by VMRUN, and as L2 changes CR0.CD; with nested paging bad ones fault in use. */
static void four_entries(bool npt)
{
	struct svm s = pae(npt);
	uint64_t before = stat(&s, "pdpte_loads");

	assert_int_equal(loaded(&s), 1);
	if (!api_real())
		assert_int_equal(stat(&s, "pdpte_loads"), before + 1);
	for (unsigned int n = 0; n < sizeof(toggles) / sizeof(toggles[0]); n++) {
		uint64_t cr0 = svm_get8(&s, S_CR0), cr4 = svm_get8(&s, S_CR4);
		bool loads = toggles[n].loads;

		*at(&s, PDPT) = FIRST | 1;
		svm_put(&s, C_TLB, 1, TLB_ASID);
		SVM_CODE(&s, SVM_L2, TOGGLE(toggles[n].cr, toggles[n].bit));
		before = stat(&s, "pdpte_loads");
		if (loaded(&s) != (loads ? 2 : 1))
			fail_msg("CR%u, %#x", toggles[n].cr, toggles[n].bit);
		if (!api_real())
			assert_int_equal(stat(&s, "pdpte_loads"), before + 1 + loads);
		svm_put8(&s, S_CR0, cr0);
		svm_put8(&s, S_CR4, cr4);
	}
	/* What L1 changes between entries; with the ASID's translations dropped. */
	*at(&s, PDPT) = FIRST | 1;
	SVM_CODE(&s, SVM_L2, LOAD(DATA), VMMCALL);
	svm_put(&s, C_TLB, 1, TLB_ASID);
	assert_int_equal(loaded(&s), 1);
	/* A reserved bit. */
	*at(&s, PDPT) = FIRST | 3;
	svm_expect(&s, npt ? EXIT_PF : EXIT_INVALID);
	if (npt)
		assert_int_equal(svm_get8(&s, C_INFO1) & 0xf, 9);
	svm_end(&s);
}

static void test_pae(void **state)
{
	four_entries(true);
	four_entries(false);
}

/* A table of L2's own that is not there is found as the walk comes to it: VMRUN itself loads any CR3. */
static void test_cr3_nowhere(void **state)
{
	struct svm s = start(true);

	svm_put8(&s, S_CR3, 0x30000000);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO2), 0x30000000);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 6);
	svm_put8(&s, S_CR3, TABLES);
	assert_int_equal(loaded(&s), 1);
	svm_put8(&s, C_NESTED_CTL, 0);
	svm_put8(&s, S_CR3, 0x30000000);
	svm_expect(&s, EXIT_SHUTDOWN);
	svm_end(&s);
}

/* CR2 is the VMCB's at each entry, and goes back there. */
static void test_cr2(void **state)
{
	/* mov rax,cr2; mov ecx,12345h; mov cr2,rcx; vmmcall */
	struct svm s = SVM(0, 0, 0x0f, 0x20, 0xd0, 0xb9, ABS(0x12345), 0x0f, 0x22, 0xd1, VMMCALL);

	for (uint64_t n = 0; n < 100000; n++) {
		svm_put8(&s, S_CR2, n << 32 | 0x777);
		svm_expect(&s, EXIT_VMMCALL);
		svm_rewind(&s);
		assert_int_equal(svm_get8(&s, S_RAX), n << 32 | 0x777);
		assert_int_equal(svm_get8(&s, S_CR2), 0x12345);
	}
	svm_end(&s);
}

#define CR4_PCIDE (1u << 17)

/* Of two PCIDs in one ASID each has its own, L2's INVLPG is for the current one, and TLB_CONTROL for both. */
static void pcids(bool npt)
{
	struct svm s = start(npt);
	uint8_t was;

	if (!(guest_leaf(s.cpuid, 1, 0)->ecx & 1 << 17)) {
		svm_end(&s);
		skip();
	}
	svm_put8(&s, S_CR4, svm_get8(&s, S_CR4) | CR4_PCIDE);
	svm_put8(&s, S_CR3, TABLES | 1);
	assert_int_equal(loaded(&s), 1);
	change(&s, PTE, true);
	expect_kept(&s, 1);
	svm_put8(&s, S_CR3, TABLES | 2);
	assert_int_equal(loaded(&s), 2);
	svm_put8(&s, S_CR3, TABLES | 1);
	expect_kept(&s, 1);
	/* mov eax,TABLES | 2; bts rax,63; mov cr3,rax: nothing is dropped; without that bit PCID 2's are */
	change(&s, PTE, false);
	SVM_CODE(&s, SVM_L2, 0xb8, ABS(TABLES | 2), 0x48, 0x0f, 0xba, 0xe8, 63, 0x0f, 0x22, 0xd8, LOAD(DATA), VMMCALL);
	was = loaded(&s);
	if (!api_real())
		assert_int_equal(was, 2);
	SVM_CODE(&s, SVM_L2, 0xb8, ABS(TABLES | 2), 0x0f, 0x22, 0xd8, LOAD(DATA), VMMCALL);
	assert_int_equal(loaded(&s), 1);
	SVM_CODE(&s, SVM_L2, LOAD(DATA), VMMCALL);
	change(&s, PTE, true);
	svm_put(&s, C_TLB, 1, TLB_ASID);
	assert_int_equal(loaded(&s), 2);
	svm_put(&s, C_TLB, 1, TLB_NOTHING);
	svm_put8(&s, S_CR3, TABLES | 1);
	assert_int_equal(loaded(&s), 2);
	svm_end(&s);
}

static void test_pcids(void **state)
{
	pcids(false);
	pcids(true);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_round_trips), cmocka_unit_test(test_tlb_control), cmocka_unit_test(test_invlpga),
	cmocka_unit_test(test_l2_flushes), cmocka_unit_test(test_other_tables), cmocka_unit_test(test_five_levels),
	cmocka_unit_test(test_modes), cmocka_unit_test(test_nx), cmocka_unit_test(test_pae),
	cmocka_unit_test(test_cr3_nowhere), cmocka_unit_test(test_cr2), cmocka_unit_test(test_pcids),
};

API_MAIN(tests)
