/* SPDX-License-Identifier: MIT */
/*
 * Who may touch which page: a second, plain reading of SDM 3A 4.6 and 4.7 with
 * protection keys of both kinds, against the walker for every combination, and
 * against the software TLB while the state changes under it as a guest changes
 * it: no entry may grant what the walk would now refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"
#include "x86/cpu/control.h"

#define P 1ULL
#define W 2ULL
#define U 4ULL
#define A 0x20ULL
#define NX (1ULL << 63)
#define KEY(n) ((uint64_t)(n) << 59)
#define LEAF_TABLE 0x4000
#define PAGES 128

struct rules {
	bool wp, smep, smap, pke, pks, ac, user;
	uint32_t pkru, pkrs;
};

/* -1 for no fault, else the error code. */
static int expected(uint64_t leaf, enum mmu_access access, const struct rules *r)
{
	bool user_page = leaf & U, write = access == MMU_WRITE, exec = access == MMU_EXEC;
	unsigned int key = leaf >> 59 & 15;
	int ec = P | (write ? PF_W : 0) | (r->user ? PF_U : 0) | (exec ? PF_I : 0);
	bool refused = false, by_key = false;

	if (r->user && !user_page)
		refused = true;
	if (exec && (leaf & NX))
		refused = true;
	if (exec && !r->user && user_page && r->smep)
		refused = true;
	if (!exec && !r->user && user_page && r->smap && !r->ac)
		refused = true;
	if (write && !(leaf & W) && (r->user || r->wp))
		refused = true;
	if (!exec && user_page && r->pke) {
		bool ad = r->pkru >> (2 * key) & 1, wd = r->pkru >> (2 * key + 1) & 1;

		by_key = ad || (wd && write && (r->user || r->wp));
	}
	if (!exec && !user_page && r->pks) {
		bool ad = r->pkrs >> (2 * key) & 1, wd = r->pkrs >> (2 * key + 1) & 1;

		by_key = ad || (wd && write && r->wp);
	}
	if (!refused && !by_key)
		return -1;
	return by_key ? ec | (int)PF_PK : ec;
}

/* As a guest gets there: nothing is flushed but what these flush. */
static void apply(struct fixture *f, const struct rules *r)
{
	struct x86_cpu *cpu = f->cpu;
	uint64_t cr0 = CR0_PE | CR0_PG | CR0_ET | (r->wp ? CR0_WP : 0);
	uint64_t cr4 = CR4_PAE | CR4_PGE | (r->smep ? CR4_SMEP : 0) | (r->smap ? CR4_SMAP : 0) |
		       (r->pke ? CR4_PKE : 0) | (r->pks ? CR4_PKS : 0);

	if (cr0 != cpu->cr0)
		x86_apply_cr0(cpu, cr0);
	if (cr4 != cpu->cr4)
		x86_apply_cr4(cpu, cr4);
	if (r->pkru != cpu->pkru) {
		cpu->pkru = r->pkru;
		mmu_pkey_changed(cpu);
	}
	if (r->pkrs != cpu->pkrs) {
		cpu->pkrs = r->pkrs;
		mmu_pkey_changed(cpu);
	}
	cpu->seg[SEG_SS].dpl = r->user ? 3 : 0;
	x86_set_rflags(cpu, 2 | (r->ac ? FL_AC : 0));
	x86_update_priv(cpu);
}

static void setup(struct fixture *f)
{
	fixture_long_mode(f);
	f->cpu->seg[SEG_CS].l = true;
	*fixture_u64(f, 0x1000) = 0x2000 | P | W | U | A;
	*fixture_u64(f, 0x2000) = 0x3000 | P | W | U | A;
	*fixture_u64(f, 0x3000) = LEAF_TABLE | P | W | U | A;
	/* W, U and NX in every combination, under each of 16 keys. */
	for (unsigned int n = 0; n < PAGES; n++)
		*fixture_u64(f, LEAF_TABLE + n * 8) = (0x100000 + n * 0x1000) | P | (n & 1 ? W : 0) |
						      (n & 2 ? U : 0) | (n & 4 ? NX : 0) | KEY(n >> 3);
}

static enum mmu_class class_of(const struct rules *r)
{
	return r->user ? MMU_USER : r->ac && r->smap ? MMU_SUPERVISOR_AC : MMU_SUPERVISOR;
}

static void walk_all(struct fixture *f, const struct rules *r)
{
	for (unsigned int n = 0; n < PAGES; n++)
		for (int access = MMU_READ; access <= MMU_EXEC; access++) {
			uint64_t leaf = *fixture_u64(f, LEAF_TABLE + n * 8);
			struct mmu_result got = mmu_walk(f->cpu, n * 0x1000, access, class_of(r), false);
			int want = expected(leaf, access, r);

			assert_int_equal(got.status, want < 0 ? MMU_OK : MMU_FAULT);
			if (want >= 0)
				assert_int_equal(got.error_code, want);
			else
				assert_int_equal(got.writable, expected(leaf, MMU_WRITE, r) < 0);
		}
}

/* Keys 0 to 3 hold the four rights, in each register in another order. */
static void test_walker(void **state)
{
	struct fixture *f = *state;

	setup(f);
	for (unsigned int n = 0; n < 128; n++) {
		struct rules r = { .wp = n & 1, .smep = n & 2, .smap = n & 4, .pke = n & 8, .pks = n & 16,
				   .ac = n & 32, .user = n & 64, .pkru = 0xe4e4e4e4, .pkrs = 0x1b1b1b1b };

		apply(f, &r);
		walk_all(f, &r);
	}
}

/* Keys count in long mode alone. */
static void test_pae_has_no_keys(void **state)
{
	struct fixture *f = *state;

	f->cpu->cr0 = CR0_PE | CR0_PG | CR0_WP;
	f->cpu->cr4 = CR4_PAE | CR4_PKE | CR4_PKS;
	f->cpu->pkru = f->cpu->pkrs = ~0u;
	f->cpu->pdpte[0] = 0x2000 | P;
	*fixture_u64(f, 0x2000) = 0x3000 | P | W | U;
	*fixture_u64(f, 0x3000) = 0x9000 | P | W | U;
	*fixture_u64(f, 0x3008) = 0x9000 | P | W;
	assert_int_equal(mmu_walk(f->cpu, 0, MMU_WRITE, MMU_USER, false).status, MMU_OK);
	assert_int_equal(mmu_walk(f->cpu, 0x1000, MMU_WRITE, MMU_SUPERVISOR, false).status, MMU_OK);
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

static void mutate(struct rules *r, uint64_t *seed)
{
	switch (next_random(seed) % 9) {
	case 0: r->wp = !r->wp; break;
	case 1: r->smep = !r->smep; break;
	case 2: r->smap = !r->smap; break;
	case 3: r->pke = !r->pke; break;
	case 4: r->pks = !r->pks; break;
	case 5: r->ac = !r->ac; break;
	case 6: r->user = !r->user; break;
	case 7: r->pkru = next_random(seed) << 1; break;
	default: r->pkrs = next_random(seed) << 1; break;
	}
}

static void touch(struct fixture *f, unsigned int n, enum mmu_access access, int want)
{
	gva_t gva = n * 0x1000ULL + 8;
	struct mmu_result result;
	struct mmu_target t;
	uint8_t *hva;
	uint32_t ec;
	gfn_t gfn;
	int got;

	if (access == MMU_EXEC) {
		got = mmu_fetch(f->cpu, gva, &hva, &gfn, &result);
		ec = result.error_code;
	} else {
		got = mmu_access(f->cpu, gva, access, f->cpu->ctx->cls, &t, &ec);
	}
	assert_int_equal(got, want < 0 ? MMU_OK : MMU_FAULT);
	if (want >= 0)
		assert_int_equal(ec, want);
}

static void test_tlb(void **state)
{
	struct rules r = { .wp = true };
	struct fixture *f = *state;
	uint64_t seed = 20221210;
	unsigned int hits = 0;

	setup(f);
	for (unsigned int step = 0; step < 4000; step++) {
		mutate(&r, &seed);
		apply(f, &r);
		for (unsigned int k = 0; k < PAGES; k++) {
			unsigned int n = next_random(&seed) % PAGES;
			uint64_t leaf = *fixture_u64(f, LEAF_TABLE + n * 8);

			if (tlb_hit_read(f->cpu->ctx, n * 0x1000, 8)) {
				hits++;
				assert_int_equal(expected(leaf, MMU_READ, &r), -1);
			}
			if (tlb_hit_write(f->cpu->ctx, n * 0x1000, 8)) {
				hits++;
				assert_int_equal(expected(leaf, MMU_WRITE, &r), -1);
			}
			touch(f, n, k % 3, expected(leaf, k % 3, &r));
		}
	}
	assert_true(hits > 1000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_walker), T(test_pae_has_no_keys), T(test_tlb) };

	return cmocka_run_group_tests_name("mmu rights", tests, NULL, NULL);
}
