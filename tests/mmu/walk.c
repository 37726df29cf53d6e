/* SPDX-License-Identifier: MIT */
/*
 * The walker against a second, plain reading of SDM 3A chapter 4: every
 * combination of rights at two levels, of control bits, access and privilege.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

#define P 1ULL
#define W 2ULL
#define U 4ULL
#define A 0x20ULL
#define D 0x40ULL
#define PS 0x80ULL
#define NX (1ULL << 63)

static void map4k(struct fixture *f, gva_t gva, gpa_t gpa, uint64_t upper, uint64_t leaf)
{
	mmu_flush_all(f->cpu);
	*fixture_u64(f, 0x1000 + (gva >> 39 & 511) * 8) = 0x2000 | P | W | U | A;
	*fixture_u64(f, 0x2000 + (gva >> 30 & 511) * 8) = 0x3000 | P | W | U | A;
	*fixture_u64(f, 0x3000 + (gva >> 21 & 511) * 8) = 0x4000 | upper;
	*fixture_u64(f, 0x4000 + (gva >> 12 & 511) * 8) = gpa | leaf;
}

struct rules {
	bool wp, smep, smap, nxe, ac, user;
	enum mmu_access access;
};

/* SDM 3A 4.6.1 and 4.7, written out.  Returns -1 for no fault, else the error code. */
static int expected(uint64_t upper, uint64_t leaf, const struct rules *r)
{
	int ec = (r->access == MMU_WRITE ? 2 : 0) | (r->user ? 4 : 0) |
		 (r->access == MMU_EXEC && (r->nxe || r->smep) ? 16 : 0);
	bool user_page = (upper & U) && (leaf & U);
	bool writable = (upper & W) && (leaf & W);
	bool nx = (upper & NX) || (leaf & NX);

	if (!(upper & P))
		return ec;
	if (!r->nxe && (upper & NX))
		return ec | 8 | 1;
	if (!(leaf & P))
		return ec;
	if (!r->nxe && (leaf & NX))
		return ec | 8 | 1;
	if (r->user) {
		if (!user_page)
			return ec | 1;
		if (r->access == MMU_WRITE && !writable)
			return ec | 1;
		return r->access == MMU_EXEC && nx ? ec | 1 : -1;
	}
	if (r->access == MMU_EXEC)
		return nx || (user_page && r->smep) ? ec | 1 : -1;
	if (user_page && r->smap && !r->ac)
		return ec | 1;
	return r->access == MMU_WRITE && !writable && r->wp ? ec | 1 : -1;
}

static uint64_t rights(unsigned int n)
{
	return (n & 1 ? P : 0) | (n & 2 ? W : 0) | (n & 4 ? U : 0) | (n & 8 ? NX : 0);
}

static enum mmu_class class_of(const struct rules *r)
{
	return r->user ? MMU_USER : r->ac ? MMU_SUPERVISOR_AC : MMU_SUPERVISOR;
}

static void test_rights(void **state)
{
	struct fixture *f = *state;
	unsigned int faults = 0;

	fixture_long_mode(f);
	for (unsigned int n = 0; n < 16 * 16 * 64 * 3; n++) {
		struct rules r = { n >> 8 & 1, n >> 9 & 1, n >> 10 & 1, n >> 11 & 1, n >> 12 & 1, n >> 13 & 1,
				   n >> 14 };
		uint64_t upper = rights(n & 15), leaf = rights(n >> 4 & 15);
		struct mmu_result got;
		int want = expected(upper, leaf, &r);

		f->cpu->cr0 = CR0_PE | CR0_PG | (r.wp ? CR0_WP : 0);
		f->cpu->cr4 = CR4_PAE | (r.smep ? CR4_SMEP : 0) | (r.smap ? CR4_SMAP : 0);
		f->cpu->efer = EFER_LME | EFER_LMA | (r.nxe ? EFER_NX : 0);
		map4k(f, 0x123456, 0x9000, upper, leaf);
		got = mmu_walk(f->cpu, 0x123456, r.access, class_of(&r), true);
		if (want < 0) {
			assert_int_equal(got.status, MMU_OK);
			assert_int_equal(got.gpa, 0x9456);
			assert_int_equal(*fixture_u64(f, 0x4000 + 0x123 * 8) & (A | D),
					 r.access == MMU_WRITE ? A | D : A);
		} else {
			faults++;
			assert_int_equal(got.status, MMU_FAULT);
			assert_int_equal(got.error_code, want);
			assert_int_equal(*fixture_u64(f, 0x4000 + 0x123 * 8), 0x9000 | leaf);
		}
	}
	assert_in_range(faults, 1000, 16 * 16 * 64 * 3 - 1000);
}

/* Each bit of an entry at each level: reserved ones fault with RSVD, the others do not. */
static void test_reserved(void **state)
{
	struct fixture *f = *state;
	static const gpa_t at[] = { 0, 0x4000, 0x3000, 0x2000, 0x1000 };

	fixture_long_mode(f);
	for (unsigned int maxphy = 36; maxphy <= 52; maxphy++) {
		f->cpu->maxphyaddr = maxphy;
		for (unsigned int level = 1; level <= 4; level++)
			for (unsigned int bit = 36; bit < 63; bit++) {
				struct mmu_result r;

				map4k(f, 0, 0x9000, P | W | U, P | W);
				*fixture_u64(f, at[level]) |= 1ULL << bit;
				r = mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false);
				if (bit >= maxphy && bit < 52) {
					assert_int_equal(r.status, MMU_FAULT);
					assert_int_equal(r.error_code, 9);
				} else if (bit >= 52) {
					assert_int_equal(r.status, MMU_OK);
				} else {
					/* An address outside memory: a table there is not present. */
					assert_int_equal(r.status, level == 1 ? MMU_OK : MMU_FAULT);
					if (level > 1)
						assert_int_equal(r.error_code, 0);
				}
				*fixture_u64(f, at[level]) = 0;
			}
	}
	/* PS in a PML4 entry is reserved; bit 13 in a 2 MiB and in a 1 GiB leaf too. */
	map4k(f, 0, 0x9000, P | W, P);
	*fixture_u64(f, 0x1000) |= PS;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).error_code, 9);
	*fixture_u64(f, 0x1000) &= ~PS;
	*fixture_u64(f, 0x3000) = 0x2000 | P | PS;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).error_code, 9);
	*fixture_u64(f, 0x2000) = 0x2000 | P | PS;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).error_code, 9);
}

static void test_large(void **state)
{
	struct fixture *f = *state;
	struct mmu_result r;

	fixture_long_mode(f);
	map4k(f, 0, 0, P | W, P);
	*fixture_u64(f, 0x3000) = 0x200000 | P | W | PS;
	r = mmu_walk(f->cpu, 0x12345, MMU_WRITE, MMU_SUPERVISOR, true);
	assert_int_equal(r.gpa, 0x212345);
	assert_int_equal(r.page_shift, 21);
	assert_int_equal(*fixture_u64(f, 0x3000) & (A | D), A | D);
	*fixture_u64(f, 0x2000) = P | W | PS;
	r = mmu_walk(f->cpu, 0x3012345, MMU_READ, MMU_SUPERVISOR, true);
	assert_int_equal(r.gpa, 0x3012345);
	assert_int_equal(r.page_shift, 30);
}

static void test_32bit(void **state)
{
	struct fixture *f = *state;
	uint32_t *pd = (uint32_t *)(f->ram + 0x1000), *pt = (uint32_t *)(f->ram + 0x2000);
	struct mmu_result r;

	f->cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->cpu->cr4 = CR4_PSE;
	f->cpu->cr3 = 0x1000;
	pd[1] = 0x2000 | P | W | U;
	pt[5] = 0x7000 | P | U;
	r = mmu_walk(f->cpu, 0x405678, MMU_READ, MMU_USER, true);
	assert_int_equal(r.gpa, 0x7678);
	assert_int_equal(mmu_walk(f->cpu, 0x405678, MMU_WRITE, MMU_USER, true).error_code, 7);
	/* PSE-36: bits 16:13 of the entry are address bits 35:32. */
	pd[2] = 0x00800000 | 0x6000 | P | W | PS;
	r = mmu_walk(f->cpu, 0x812345, MMU_READ, MMU_SUPERVISOR, true);
	assert_int_equal(r.gpa, 0x300812345);
	assert_int_equal(r.page_shift, 22);
	/* Without PSE the bit means nothing. */
	f->cpu->cr4 = 0;
	pd[2] = 0x2000 | P | W | PS;
	pt[0x12] = 0x8000 | P;
	assert_int_equal(mmu_walk(f->cpu, 0x812345, MMU_READ, MMU_SUPERVISOR, true).gpa, 0x8345);
}

static void test_pae(void **state)
{
	struct fixture *f = *state;

	f->cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->cpu->cr4 = CR4_PAE;
	f->cpu->cr3 = 0x1020;
	*fixture_u64(f, 0x1020) = 0x2000 | P;
	*fixture_u64(f, 0x1028) = 0x2000 | P | W;       /* W is reserved in a PDPTE */
	assert_int_equal(mmu_load_pdptes(f->cpu, 0x1020), -22);
	*fixture_u64(f, 0x1028) = 0;
	assert_int_equal(mmu_load_pdptes(f->cpu, 0x1020), 0);
	*fixture_u64(f, 0x2000) = 0x3000 | P | W;
	*fixture_u64(f, 0x3008) = 0x6000 | P | W;
	assert_int_equal(mmu_walk(f->cpu, 0x1abc, MMU_WRITE, MMU_SUPERVISOR, true).gpa, 0x6abc);
	/* The loaded PDPTEs count, not those in memory. */
	*fixture_u64(f, 0x1020) = 0;
	assert_int_equal(mmu_walk(f->cpu, 0x1abc, MMU_READ, MMU_SUPERVISOR, true).status, MMU_OK);
	assert_int_equal(mmu_walk(f->cpu, 0x40001abc, MMU_READ, MMU_SUPERVISOR, true).error_code, 0);
}

static void test_5level(void **state)
{
	struct fixture *f = *state;

	fixture_long_mode(f);
	f->cpu->cr4 |= CR4_LA57;
	f->cpu->cr3 = 0x5000;
	*fixture_u64(f, 0x5000 + 3 * 8) = 0x1000 | P | W;
	map4k(f, 3ULL << 48, 0x9000, P | W, P | W);
	assert_int_equal(mmu_walk(f->cpu, 3ULL << 48 | 0x10, MMU_READ, MMU_SUPERVISOR, true).gpa, 0x9010);
	assert_int_equal(mmu_walk(f->cpu, 4ULL << 48, MMU_READ, MMU_SUPERVISOR, true).error_code, 0);
}

/* What depends on the features that CPUID offers, and on the vendor. */
static void test_reserved_by_feature(void **state)
{
	struct fixture *f = *state;
	uint64_t pdpe1gb = 1ULL << (X86_F_PDPE1GB % 64), pse36 = 1ULL << (X86_F_PSE36 % 64);
	uint32_t *pd = (uint32_t *)(f->ram + 0x1000);

	fixture_long_mode(f);
	map4k(f, 0, 0, P | W, P);
	*fixture_u64(f, 0x2000) = P | W | PS;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).status, MMU_OK);
	f->cpuid.has[X86_F_PDPE1GB / 64] &= ~pdpe1gb;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).error_code, 9);
	/* G in the top levels: ignored by Intel, reserved by AMD. */
	*fixture_u64(f, 0x2000) = 0x3000 | P | W;
	*fixture_u64(f, 0x1000) |= 1 << 8;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).status, MMU_OK);
	f->cpuid.vendor = V_AMD;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).error_code, 9);
	*fixture_u64(f, 0x1000) &= ~(1ULL << 8);
	*fixture_u64(f, 0x2000) |= 1 << 8;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).status, MMU_OK);

	/* 4 MiB pages: bit 21 always, 20:13 as MAXPHYADDR and PSE-36 have it. */
	f->cpu->efer = 0;
	f->cpu->cr4 = CR4_PSE;
	for (unsigned int bit = 13; bit <= 21; bit++)
		for (unsigned int maxphy = 36; maxphy <= 52; maxphy++) {
			bool reserved = bit == 21 || bit >= maxphy - 32 + 13;

			f->cpu->maxphyaddr = maxphy;
			pd[0] = 1u << bit | P | PS;
			assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).status,
					 reserved ? MMU_FAULT : MMU_OK);
		}
	f->cpuid.has[X86_F_PSE36 / 64] &= ~pse36;
	pd[0] = 1u << 13 | P | PS;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_WRITE, MMU_SUPERVISOR, false).error_code, 0xb);
}

/* PAE: the register's bits above MAXPHYADDR, and 62:52 of the entries below. */
static void test_pae_reserved(void **state)
{
	struct fixture *f = *state;

	f->cpu->cr0 = CR0_PE | CR0_PG;
	f->cpu->cr4 = CR4_PAE;
	for (unsigned int maxphy = 36; maxphy <= 52; maxphy++) {
		f->cpu->maxphyaddr = maxphy;
		f->cpu->pdpte[0] = 0x2000 | P;
		*fixture_u64(f, 0x2000) = 0x3000 | P | W;
		for (unsigned int bit = 36; bit < 64; bit++) {
			bool reserved = bit >= maxphy;

			*fixture_u64(f, 0x1000) = 0x2000 | P | 1ULL << bit;
			assert_int_equal(mmu_load_pdptes(f->cpu, 0x1000), reserved ? -22 : 0);
			f->cpu->pdpte[0] = 0x2000 | P;
			*fixture_u64(f, 0x3000) = 0x9000 | P | 1ULL << bit;
			/* NXE is clear: bit 63 is reserved, too. */
			assert_int_equal(mmu_walk(f->cpu, 0, MMU_READ, MMU_SUPERVISOR, false).status,
					 reserved ? MMU_FAULT : MMU_OK);
		}
	}
}

/* Page tables in read-only memory work; the bits that cannot be set are not. */
static void test_tables_in_rom(void **state)
{
	struct fixture *f = *state;
	struct mmu_result r;

	fixture_long_mode(f);
	map4k(f, 0, 0x9000, P | W, P | W);
	the_slot(f->slots)->flags = 2;
	r = mmu_walk(f->cpu, 0x10, MMU_WRITE, MMU_SUPERVISOR, true);
	assert_int_equal(r.status, MMU_OK);
	assert_int_equal(r.gpa, 0x9010);
	assert_false(r.dirty);
	assert_int_equal(*fixture_u64(f, 0x4000), 0x9000 | P | W);
}

/* Protection keys: AD forbids all data accesses, WD writes (the supervisor's only with WP); never fetches. */
static void test_pkey(void **state)
{
	struct fixture *f = *state;

	fixture_long_mode(f);
	for (unsigned int n = 0; n < 4 * 2 * 2 * 3; n++) {
		unsigned int key_rights = n & 3;
		bool wp = n >> 2 & 1, user = n >> 3 & 1;
		enum mmu_access access = n >> 4;
		bool forbidden = access != MMU_EXEC &&
				 ((key_rights & 1) || ((key_rights & 2) && access == MMU_WRITE && (user || wp)));
		struct mmu_result r;

		f->cpu->cr0 = CR0_PE | CR0_PG | (wp ? CR0_WP : 0);
		f->cpu->cr4 = CR4_PAE | CR4_PKE;
		f->cpu->pkru = key_rights << 10;
		map4k(f, 0, 0x9000, P | W | U, P | W | U | 5ULL << 59);
		r = mmu_walk(f->cpu, 0, access, user ? MMU_USER : MMU_SUPERVISOR, true);
		assert_int_equal(r.status, forbidden ? MMU_FAULT : MMU_OK);
		if (forbidden)
			assert_int_equal(r.error_code, 0x21 | (access == MMU_WRITE ? 2 : 0) | (user ? 4 : 0));
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_rights), T(test_reserved), T(test_large), T(test_32bit), T(test_pae), T(test_5level),
		T(test_reserved_by_feature), T(test_pae_reserved), T(test_tables_in_rom), T(test_pkey),
	};

	return cmocka_run_group_tests_name("mmu walk", tests, NULL, NULL);
}
