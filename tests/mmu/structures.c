/* SPDX-License-Identifier: MIT */
/*
 * Paging-structure caches: a walk begins at the last table, and what changes above it counts once the guest has
 * dropped what it should; SDM 3A 4.10.3 and 4.10.4.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fixture.h"
#include "x86/cpu/control.h"

#define P 1ULL
#define W 2ULL
#define U 4ULL
#define A 0x20ULL
#define PS 0x80ULL
#define NX (1ULL << 63)
#define ONE 0x5000              /* two pages below one table */
#define OTHER 0x7000
#define OLD 0x100000            /* where the tables lead, and where the second set does */
#define NEW 0x180000
#define PML4 0x1000
#define PDPT 0x2000
#define PD 0x3000
#define PT 0x4000

static void leaves(struct fixture *f, gpa_t table, gpa_t to)
{
	for (unsigned int i = 0; i < 16; i++)
		*fixture_u64(f, table + i * 8) = (to + i * 0x1000) | P | W | U;
}

/* A second set of each table, 0x10000 further on. */
static void tables(struct fixture *f)
{
	fixture_long_mode(f);
	f->cpu->cr4 &= ~(uint64_t)(CR4_SMEP | CR4_SMAP);
	f->cpu->ctx = mmu_select(f->cpu);
	for (gpa_t set = 0; set <= 0x10000; set += 0x10000) {
		for (gpa_t table = PML4; table < PT; table += 0x1000)
			*fixture_u64(f, set + table) = (set + table + 0x1000) | P | W | U;
		leaves(f, set + PT, set ? NEW : OLD);
	}
}

/* L2's: the same below nested tables of L1's, which lead to the same addresses. */
static void nested(struct fixture *f)
{
	tables(f);
	*fixture_u64(f, 0x200000) = 0x201000 | P | W | U;
	*fixture_u64(f, 0x201000) = 0x202000 | P | W | U;
	*fixture_u64(f, 0x202000) = 0x203000 | P | W | U;
	for (unsigned int i = 0; i < 512; i++)
		*fixture_u64(f, 0x203000 + i * 8) = i * 0x1000 | P | W | U;
	f->cpu->nested.slat = (struct x86_slat){
		.kind = SLAT_NPT, .root = 0x200000, .cr4 = CR4_PAE, .efer = EFER_LMA | EFER_NX, .tag = 5,
	};
	f->cpu->ctx = mmu_select(f->cpu);
}

static bool may(struct fixture *f, gva_t gva, enum mmu_access access, gpa_t *gpa)
{
	struct mmu_target t;
	uint32_t ec;

	if (mmu_access(f->cpu, gva, access, f->cpu->ctx->cls, &t, &ec) != MMU_OK)
		return false;
	*gpa = t.gpa;
	return true;
}

static gpa_t leads(struct fixture *f, gva_t gva)
{
	gpa_t gpa = 0;

	assert_true(may(f, gva, MMU_READ, &gpa));
	return gpa;
}

static uint64_t resumed(const struct fixture *f)
{
	return mmu_stats(f->cpu)->resumed;
}

static void test_resumes(void **state)
{
	struct fixture *f = *state;

	tables(f);
	assert_int_equal(leads(f, ONE), OLD + ONE);
	assert_int_equal(resumed(f), 0);
	assert_int_equal(leads(f, OTHER), OLD + OTHER);
	assert_int_equal(resumed(f), 1);
	/* Another region has a table of its own. */
	*fixture_u64(f, PD + 8) = (0x10000 + PT) | P | W | U;
	assert_int_equal(leads(f, 0x200000 + ONE), NEW + ONE);
	assert_int_equal(resumed(f), 1);
	assert_int_equal(leads(f, 0x200000 + OTHER), NEW + OTHER);
	/* And a large page's entry is in a table that many regions share. */
	*fixture_u64(f, PD + 16) = 0x200000 | P | W | PS;
	*fixture_u64(f, PD + 24) = 0 | P | W | PS;
	assert_int_equal(leads(f, 0x400000), 0x200000);
	assert_int_equal(resumed(f), 2);
	assert_int_equal(leads(f, 0x601000), 0x1000);
	assert_int_equal(resumed(f), 3);
}

static void flush_other_page(struct fixture *f) { mmu_flush_page(f->cpu, 0x12345000); }
static void flush_page_of_pcid(struct fixture *f) { mmu_flush_page_pcid(f->cpu, 0x12345000, 0); }
static void flush_pcid(struct fixture *f) { mmu_flush_pcid(f->cpu, 0); }
static void flush_current(struct fixture *f) { mmu_flush_current(f->cpu); }
static void flush_all(struct fixture *f) { mmu_flush_all(f->cpu); }
static void load_cr3(struct fixture *f) { mmu_load_cr3(f->cpu, false); }
static void invlpga(struct fixture *f) { mmu_flush_tag_page(f->cpu, f->cpu->nested.slat.tag, 0x12345000); }
static void invvpid(struct fixture *f) { mmu_flush_tag(f->cpu, f->cpu->nested.slat.tag); }
static void invept(struct fixture *f) { mmu_flush_eptp(f->cpu, f->cpu->nested.slat.root); }
static void invept_all(struct fixture *f) { mmu_flush_eptp(f->cpu, ~0ULL); }

static void flush_tables_range(struct fixture *f)
{
	mmu_flush_slat(f->cpu, &(const struct mmu_slat_range){ .root = f->cpu->nested.slat.root, .first = 2, .pages = 1 });
}

/* Whatever the guest drops, and be it another page: the tables above the last are looked at again. */
static void (*const flushes[])(struct fixture *f) = {
	flush_other_page, flush_page_of_pcid, flush_pcid, flush_current, flush_all, load_cr3, invlpga, invvpid,
};

static void (*const nested_flushes[])(struct fixture *f) = {
	flush_other_page, flush_pcid, flush_current, flush_all, load_cr3, invlpga, invvpid, invept, invept_all,
	flush_tables_range,
};

static void each_table(struct fixture *f, void (*flush)(struct fixture *f))
{
	for (gpa_t table = PML4; table < PT; table += 0x1000) {
		uint64_t before = resumed(f);

		assert_int_equal(leads(f, ONE), OLD + ONE);
		assert_int_equal(leads(f, OTHER), OLD + OTHER);
		assert_int_equal(resumed(f), before + 1);
		*fixture_u64(f, table) = (0x10000 + table + 0x1000) | P | W | U;
		flush(f);
		assert_int_equal(leads(f, OTHER), NEW + OTHER);
		assert_int_equal(resumed(f), before + 1);
		*fixture_u64(f, table) = (table + 0x1000) | P | W | U;
		flush(f);
	}
}

static void test_flushes(void **state)
{
	struct fixture *f = *state;

	tables(f);
	for (unsigned int n = 0; n < ARRAY_SIZE(flushes); n++)
		each_table(f, flushes[n]);
}

static void test_nested_flushes(void **state)
{
	struct fixture *f = *state;

	nested(f);
	for (unsigned int n = 0; n < ARRAY_SIZE(nested_flushes); n++)
		each_table(f, nested_flushes[n]);
}

/* A walk that begins at one table and goes on to the next, which then is known, too. */
static void test_nested_from_above(void **state)
{
	struct fixture *f = *state;

	nested(f);
	*fixture_u64(f, 0x203000 + (PT >> 12) * 8) = (0x10000 + PT) | P | W | U;
	*fixture_u64(f, PD + 16) = 0 | P | W | PS;
	assert_int_equal(leads(f, 0x400000 + OTHER), OTHER);
	assert_int_equal(resumed(f), 0);
	assert_int_equal(leads(f, ONE), NEW + ONE);
	assert_int_equal(resumed(f), 1);
	/* The table above is not asked any more. */
	*fixture_u64(f, PD) = 0;
	assert_int_equal(leads(f, OTHER), NEW + OTHER);
	assert_int_equal(resumed(f), 2);
}

/* PAE's top entries are loaded, and what was below the old ones with it. */
static void test_pae(void **state)
{
	struct fixture *f = *state;

	tables(f);
	f->cpu->cr4 = CR4_PAE;
	f->cpu->efer = EFER_NX;
	f->cpu->ctx = mmu_select(f->cpu);
	for (unsigned int i = 0; i < 4; i++)
		*fixture_u64(f, PML4 + i * 8) = i ? 0 : PD | P;
	assert_int_equal(mmu_load_pdptes(f->cpu, PML4), 0);
	assert_int_equal(leads(f, ONE), OLD + ONE);
	assert_int_equal(leads(f, OTHER), OLD + OTHER);
	assert_int_equal(resumed(f), 1);
	*fixture_u64(f, PML4) = (0x10000 + PD) | P;
	assert_int_equal(leads(f, OTHER), OLD + OTHER);
	assert_int_equal(mmu_load_pdptes(f->cpu, PML4), 0);
	assert_int_equal(leads(f, OTHER), NEW + OTHER);
	assert_int_equal(resumed(f), 2);
}

/* What L1 changes below a table of L2's. */
static void test_below(void **state)
{
	static void (*const drop[])(struct fixture *f) = { invept, invept_all, flush_all, invvpid, invlpga };
	struct fixture *f = *state;
	uint64_t *below;

	nested(f);
	below = fixture_u64(f, 0x203000 + (PT >> 12) * 8);
	for (unsigned int n = 0; n < ARRAY_SIZE(drop); n++) {
		assert_int_equal(leads(f, ONE), OLD + ONE);
		*below = (0x10000 + PT) | P | W | U;
		drop[n](f);
		assert_int_equal(leads(f, OTHER), NEW + OTHER);
		*below = PT | P | W | U;
		drop[n](f);
	}
}

/* An entry that becomes present, or allows more, needs nothing dropped: what would fault is looked up anew. */
static void test_no_spurious_faults(void **state)
{
	struct fixture *f = *state;
	gpa_t gpa;

	tables(f);
	*fixture_u64(f, PD) = PT | P | NX;
	*fixture_u64(f, PT + 8 * (OTHER >> 12)) = 0;
	assert_int_equal(leads(f, ONE), OLD + ONE);
	assert_false(may(f, ONE, MMU_WRITE, &gpa));
	assert_false(may(f, ONE, MMU_EXEC, &gpa));
	assert_false(may(f, OTHER, MMU_READ, &gpa));
	*fixture_u64(f, PT + 8 * (OTHER >> 12)) = (OLD + OTHER) | P | W;
	assert_int_equal(leads(f, OTHER), OLD + OTHER);
	*fixture_u64(f, PD) = PT | P | W;
	assert_true(may(f, ONE, MMU_WRITE, &gpa));
	assert_true(may(f, ONE, MMU_EXEC, &gpa));
	/* And the other table, where the known one has no entry. */
	*fixture_u64(f, 0x10000 + PT + 8 * 20) = NEW | P | W;
	*fixture_u64(f, PD) = (0x10000 + PT) | P | W;
	assert_int_equal(leads(f, 20 * 0x1000), NEW);
}

/* Accessed flags above the last table are set before it is remembered, and rights above it count with the entry's. */
static void test_above(void **state)
{
	struct fixture *f = *state;
	gpa_t gpa;

	tables(f);
	*fixture_u64(f, PDPT) = PD | P | U;
	assert_int_equal(leads(f, ONE), OLD + ONE);
	for (gpa_t table = PML4; table < PT; table += 0x1000)
		assert_int_equal(*fixture_u64(f, table) & A, A);
	assert_false(may(f, OTHER, MMU_WRITE, &gpa));
	*fixture_u64(f, PDPT) = PD | P | W | U | NX;
	mmu_flush_current(f->cpu);
	assert_int_equal(leads(f, ONE), OLD + ONE);
	assert_false(may(f, OTHER, MMU_EXEC, &gpa));
	*fixture_u64(f, PDPT) = PD | P | W;
	mmu_flush_current(f->cpu);
	assert_int_equal(leads(f, ONE), OLD + ONE);
	f->cpu->cpl = 3;
	f->cpu->ctx = mmu_select(f->cpu);
	assert_false(may(f, OTHER, MMU_READ, &gpa));
}

/* One address space's are not another's, and the generation that tells them apart wraps without reviving anything. */
static void test_spaces(void **state)
{
	struct fixture *f = *state;

	tables(f);
	f->cpu->cr4 |= CR4_PCIDE;
	for (unsigned int n = 0; n < 10000; n++) {
		uint64_t before = resumed(f);

		f->cpu->cr3 = (n & 1 ? 0x10000 + PML4 : PML4) | (n & 1);
		mmu_load_cr3(f->cpu, n % 100 != 0);
		assert_int_equal(leads(f, ONE), (n & 1 ? NEW : OLD) + ONE);
		assert_int_equal(leads(f, OTHER), (n & 1 ? NEW : OLD) + OTHER);
		assert_in_range(resumed(f), before + 1, before + 2);
		if (n % 3 == 0)
			mmu_flush_page(f->cpu, 0x12345000);
	}
}

/* KVM_TRANSLATE, which sets no accessed flag, sees the tables as they are. */
static void test_peek(void **state)
{
	struct fixture *f = *state;

	tables(f);
	assert_int_equal(leads(f, ONE), OLD + ONE);
	*fixture_u64(f, PD) = (0x10000 + PT) | P | W;
	assert_int_equal(mmu_walk(f->cpu, OTHER, MMU_READ, MMU_SUPERVISOR, false).gpa, NEW + OTHER);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_resumes), T(test_flushes), T(test_nested_flushes), T(test_nested_from_above), T(test_pae),
		T(test_below), T(test_no_spurious_faults), T(test_above), T(test_spaces), T(test_peek),
	};

	return cmocka_run_group_tests_name("mmu structures", tests, NULL, NULL);
}
