/* SPDX-License-Identifier: MIT */
/* What stays in the software TLB and what each event drops: tested by what the CPU still finds. */
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
#define PS 0x80ULL
#define G 0x100ULL

static void tables(struct fixture *f)
{
	fixture_long_mode(f);
	*fixture_u64(f, 0x1000) = 0x2000 | P | W | U;
	*fixture_u64(f, 0x2000) = 0x3000 | P | W | U;
	*fixture_u64(f, 0x3000) = 0x4000 | P | W | U;
	for (unsigned int i = 0; i < 512; i++)
		*fixture_u64(f, 0x4000 + i * 8) = (0x100000 + i * 0x1000) | P | W;
}

static bool touch(struct fixture *f, gva_t gva, enum mmu_access access)
{
	struct mmu_target t;
	uint32_t ec;

	return mmu_access(f->cpu, gva, access, f->cpu->ctx->cls, &t, &ec) == MMU_OK;
}

static bool cached(struct fixture *f, gva_t gva)
{
	return tlb_hit_read(f->cpu->ctx, gva, 1);
}

static bool cached_write(struct fixture *f, gva_t gva)
{
	return tlb_hit_write(f->cpu->ctx, gva, 1);
}

static void test_hits(void **state)
{
	struct fixture *f = *state;

	tables(f);
	assert_false(cached(f, 0x5000));
	assert_true(touch(f, 0x5000, MMU_READ));
	assert_ptr_equal(tlb_hit_read(f->cpu->ctx, 0x5123, 8), f->ram + 0x105123);
	/* Not dirty yet: a write takes the slow path once. */
	assert_false(cached_write(f, 0x5000));
	assert_true(touch(f, 0x5000, MMU_WRITE));
	assert_true(cached_write(f, 0x5000));
	/* Over the page's end never hits. */
	assert_true(touch(f, 0x6000, MMU_WRITE));
	assert_null(tlb_hit_read(f->cpu->ctx, 0x5ffd, 4));
	assert_non_null(tlb_hit_read(f->cpu->ctx, 0x5ffc, 4));
}

static void test_invlpg(void **state)
{
	struct fixture *f = *state;

	tables(f);
	touch(f, 0x5000, MMU_WRITE);
	touch(f, 0x6000, MMU_WRITE);
	mmu_flush_page(f->cpu, 0x5678);
	assert_false(cached(f, 0x5000));
	assert_true(cached(f, 0x6000));
}

/* Any address in a large page drops all of it, and nothing but it. */
static void test_invlpg_large(void **state)
{
	struct fixture *f = *state;

	tables(f);
	*fixture_u64(f, 0x3008) = 0 | P | W | PS;
	*fixture_u64(f, 0x3020) = 0 | P | W | PS;       /* at 8 MiB */
	touch(f, 0x5000, MMU_WRITE);
	touch(f, 0x200000, MMU_WRITE);
	touch(f, 0x2fe000, MMU_READ);
	touch(f, 0x3ff000, MMU_WRITE);
	touch(f, 0x801000, MMU_WRITE);
	mmu_flush_page(f->cpu, 0x2a0000);
	assert_false(cached(f, 0x200000));
	assert_false(cached(f, 0x2fe000));
	assert_false(cached(f, 0x3ff000));
	assert_true(cached(f, 0x5000));
	assert_true(cached_write(f, 0x801000));
	/* A slot that a small page took over from a large one, and the other way round. */
	touch(f, 0x1000, MMU_WRITE);
	mmu_flush_page(f->cpu, 0x900000);
	assert_true(cached(f, 0x1000));
	touch(f, 0x201000, MMU_WRITE);
	mmu_flush_page(f->cpu, 0x300000);
	assert_false(cached(f, 0x201000));
}

/* The same where entries have been dropped and made anew, in every class and with 1 GiB pages. */
static void test_invlpg_large_again(void **state)
{
	struct fixture *f = *state;

	tables(f);
	*fixture_u64(f, 0x2008) = 0 | P | W | U | PS;   /* at 1 GiB */
	*fixture_u64(f, 0x3008) = 0 | P | W | U | PS;
	for (unsigned int round = 0; round < 3; round++) {
		f->cpu->cpl = 0;
		f->cpu->rflags |= FL_AC;
		f->cpu->ctx = mmu_select(f->cpu);
		assert_true(touch(f, 0x200000, MMU_WRITE));
		assert_true(touch(f, 0x40007000, MMU_WRITE));
		f->cpu->cpl = 3;
		f->cpu->ctx = mmu_select(f->cpu);
		assert_true(touch(f, 0x212000, MMU_READ));
		assert_true(touch(f, 0x40008000, MMU_READ));
		mmu_flush_page(f->cpu, 0x3ff000);
		assert_false(cached(f, 0x212000));
		assert_true(cached(f, 0x40008000));
		mmu_flush_page(f->cpu, 0x7ffff000);
		assert_false(cached(f, 0x40008000));
		f->cpu->cpl = 0;
		f->cpu->ctx = mmu_select(f->cpu);
		assert_false(cached(f, 0x200000));
		assert_false(cached(f, 0x40007000));
		assert_true(touch(f, 0x200000, MMU_WRITE));
		mmu_flush_all(f->cpu);
	}
}

static bool fetched(struct fixture *f, gva_t gva)
{
	const struct mmu_ctx *c = f->cpu->ctx;

	return c->x[(gva >> 12) % XTLB_SIZE].tag == tlb_tag(c, gva, 1);
}

static void fetch(struct fixture *f, gva_t gva)
{
	struct mmu_result r;
	uint8_t *hva;
	gfn_t gfn;

	assert_int_equal(mmu_fetch(f->cpu, gva, &hva, &gfn, &r), MMU_OK);
	assert_true(fetched(f, gva));
	mmu_note_jump(f->cpu->ctx, gva);
}

/* Code: what is fetched from a large page, and the jumps that lead into it. */
static void test_invlpg_large_code(void **state)
{
	struct fixture *f = *state;
	uint64_t key;

	tables(f);
	*fixture_u64(f, 0x3008) = 0 | P | W | PS;
	*fixture_u64(f, 0x3020) = 0 | P | W | PS;
	fetch(f, 0x5000);
	fetch(f, 0x201000);
	key = f->cpu->ctx->jump_key;
	mmu_flush_page(f->cpu, 0x850000);
	touch(f, 0x801000, MMU_WRITE);
	mmu_flush_page(f->cpu, 0x850000);
	assert_true(f->cpu->ctx->jump_key == key);
	assert_true(fetched(f, 0x201000));
	mmu_flush_page(f->cpu, 0x350000);
	assert_false(fetched(f, 0x201000));
	assert_true(fetched(f, 0x5000));
	assert_true(f->cpu->ctx->jump_key != key);
}

static void set_keys(struct fixture *f, uint32_t pkru, uint32_t pkrs)
{
	f->cpu->pkru = pkru;
	f->cpu->pkrs = pkrs;
	mmu_pkey_changed(f->cpu);
}

/* PKRU and PKRS: entries go where the rights of a key that they have change, and only then. */
static void test_keys(void **state)
{
	enum { AD1 = 1 << 2, WD1 = 2 << 2, AD2 = 1 << 4, AD3 = 1 << 6 };
	struct fixture *f = *state;

	tables(f);
	*fixture_u64(f, 0x4000 + 5 * 8) |= 1ULL << 59 | U;      /* a user page of key 1 */
	*fixture_u64(f, 0x4000 + 6 * 8) |= 2ULL << 59;          /* a supervisor page of key 2 */
	f->cpu->rflags |= FL_AC;
	x86_apply_cr4(f->cpu, f->cpu->cr4 | CR4_PKE | CR4_PKS);
	for (unsigned int round = 0; round < 2; round++) {
		assert_true(touch(f, 0x5000, MMU_WRITE));
		assert_true(touch(f, 0x6000, MMU_WRITE));
		/* Other keys, and these where the other register has them. */
		set_keys(f, AD2 | AD3, AD1 | AD3);
		assert_true(cached_write(f, 0x5000));
		assert_true(cached_write(f, 0x6000));
		set_keys(f, WD1 | AD2 | AD3, AD1 | AD3);
		assert_false(cached_write(f, 0x5000));
		assert_false(touch(f, 0x5000, MMU_WRITE));
		assert_true(touch(f, 0x5000, MMU_READ));
		assert_false(cached_write(f, 0x5000));
		set_keys(f, AD1 | AD3, AD3);
		assert_false(cached(f, 0x5000));
		assert_false(touch(f, 0x5000, MMU_READ));
		assert_true(touch(f, 0x6000, MMU_WRITE));
		set_keys(f, AD1, AD2);
		assert_false(cached(f, 0x6000));
		assert_false(touch(f, 0x6000, MMU_READ));
		set_keys(f, 0, 0);
	}
}

/* The generation that tags carry wraps without reviving anything. */
static void test_many_flushes(void **state)
{
	struct fixture *f = *state;

	tables(f);
	for (unsigned int i = 0; i < 10000; i++) {
		gva_t gva = (i % 512) * 0x1000ULL;

		assert_false(cached(f, gva));
		assert_true(touch(f, gva, MMU_WRITE));
		assert_true(cached(f, gva));
		mmu_flush_all(f->cpu);
	}
}

static void set_cr3(struct fixture *f, uint64_t cr3, bool keep)
{
	f->cpu->cr3 = cr3;
	mmu_load_cr3(f->cpu, keep);
}

static void test_pcid(void **state)
{
	struct fixture *f = *state;

	tables(f);
	f->cpu->cr4 |= CR4_PCIDE;
	set_cr3(f, 0x1001, false);
	touch(f, 0x5000, MMU_WRITE);
	set_cr3(f, 0x1002, false);
	assert_false(cached(f, 0x5000));
	touch(f, 0x6000, MMU_WRITE);
	/* Bit 63 keeps PCID 1's entries, and so does flushing PCID 2. */
	mmu_flush_pcid(f->cpu, 2);
	assert_false(cached(f, 0x6000));
	set_cr3(f, 0x1001, true);
	assert_true(cached(f, 0x5000));
	set_cr3(f, 0x1001, false);
	assert_false(cached(f, 0x5000));
}

static void test_classes(void **state)
{
	struct fixture *f = *state;
	struct mmu_ctx *kernel;

	tables(f);
	*fixture_u64(f, 0x4000 + 7 * 8) |= U;
	kernel = f->cpu->ctx;
	touch(f, 0x5000, MMU_WRITE);
	assert_false(touch(f, 0x7000, MMU_READ));       /* SMAP */
	f->cpu->rflags |= FL_AC;
	f->cpu->ctx = mmu_select(f->cpu);
	assert_ptr_not_equal(f->cpu->ctx, kernel);
	assert_true(touch(f, 0x7000, MMU_READ));
	f->cpu->rflags &= ~FL_AC;
	f->cpu->ctx = mmu_select(f->cpu);
	assert_ptr_equal(f->cpu->ctx, kernel);
	assert_true(cached(f, 0x5000));                 /* nothing was flushed on the way */
	f->cpu->cpl = 3;
	f->cpu->ctx = mmu_select(f->cpu);
	assert_false(cached(f, 0x5000));
	assert_false(touch(f, 0x5000, MMU_READ));
	assert_true(touch(f, 0x7000, MMU_READ));
}

/* More address spaces than are kept: the oldest go, and never come back stale. */
static void test_many_spaces(void **state)
{
	struct fixture *f = *state;

	tables(f);
	f->cpu->cr4 |= CR4_PCIDE;
	for (unsigned int round = 0; round < 3; round++)
		for (unsigned int pcid = 0; pcid < 100; pcid++) {
			set_cr3(f, 0x1000 | pcid, true);
			assert_false(cached(f, 0x5000));
			touch(f, 0x5000, MMU_WRITE);
			assert_true(cached(f, 0x5000));
		}
	assert_in_range(mmu_stats(f->cpu)->contexts, 300, 310);
}

/* A slot with a dirty log: the first write marks, the tag is dropped when the log is read. */
static void test_dirty_log(void **state)
{
	struct fixture *f = *state;
	static _Atomic uint64_t bits[RAM_SIZE >> 12 >> 6];

	tables(f);
	the_slot(f->slots)->dirty = bits;
	bits[0x105 / 64] = 0;
	touch(f, 0x5000, MMU_READ);
	assert_int_equal(bits[0x105 / 64] >> (0x105 % 64) & 1, 0);
	touch(f, 0x5000, MMU_WRITE);
	assert_int_equal(bits[0x105 / 64] >> (0x105 % 64) & 1, 1);
	assert_true(cached_write(f, 0x5000));
	bits[0x105 / 64] = 0;
	mmu_drop_writes(f->cpu);
	assert_false(cached_write(f, 0x5000));
	/* Dirty in its PTE, but not in the log: a read must not grant writing. */
	mmu_flush_all(f->cpu);
	touch(f, 0x5000, MMU_READ);
	assert_false(cached_write(f, 0x5000));
}

static void test_readonly_and_holes(void **state)
{
	struct fixture *f = *state;
	struct mmu_target t;
	uint32_t ec;

	tables(f);
	*fixture_u64(f, 0x4000 + 9 * 8) = 0x10000000 | P | W;
	assert_int_equal(mmu_access(f->cpu, 0x9123, MMU_WRITE, MMU_SUPERVISOR, &t, &ec), MMU_OK);
	assert_null(t.hva);
	assert_int_equal(t.gpa, 0x10000123);
	assert_false(cached(f, 0x9123));
	/* Accessed and dirty bits first, as tables in a read-only slot cannot take them. */
	touch(f, 0x5000, MMU_WRITE);
	mmu_flush_all(f->cpu);
	the_slot(f->slots)->flags = 2;
	assert_int_equal(mmu_access(f->cpu, 0x5000, MMU_WRITE, MMU_SUPERVISOR, &t, &ec), MMU_OK);
	assert_null(t.hva);
	assert_true(touch(f, 0x5000, MMU_READ));
	assert_true(cached(f, 0x5000));
	assert_false(cached_write(f, 0x5000));
}

/* L2's page at gva 0x5000 is its own 0x105000, where L1's nested tables lead to what @leaf says. */
static void nested_tables(struct fixture *f, uint64_t leaf)
{
	struct x86_slat *s = &f->cpu->nested.slat;

	tables(f);
	for (unsigned int level = 0; level < 3; level++)
		*fixture_u64(f, 0x200000 + level * 0x1000) = (0x201000 + level * 0x1000) | P | W | U;
	/* Of 4 MiB the first two by pages, as they are, the others as one. */
	*fixture_u64(f, 0x202008) = 0x200000 | P | W | U | PS;
	for (unsigned int i = 0; i < 512; i++)
		*fixture_u64(f, 0x203000 + i * 8) = i * 0x1000 | P | W | U;
	*fixture_u64(f, 0x203000 + 0x105 * 8) = leaf | P | W | U;
	*s = (struct x86_slat){ .kind = SLAT_NPT, .root = 0x200000, .cr4 = CR4_PAE, .efer = EFER_LMA | EFER_NX, .tag = 5 };
	f->cpu->ctx = mmu_select(f->cpu);
}

static uint8_t *lead_to(struct fixture *f)
{
	assert_true(touch(f, 0x5000, MMU_READ));
	return tlb_hit_read(f->cpu->ctx, 0x5000, 1);
}

/* What INVLPGA and TLB_CONTROL drop is what L1's tables said, too; other ASIDs keep theirs.  APM 2, 15.16. */
static void test_nested(void **state)
{
	struct fixture *f = *state;
	uint64_t *leaf;

	nested_tables(f, 0x300000);
	leaf = fixture_u64(f, 0x203000 + 0x105 * 8);
	assert_ptr_equal(lead_to(f), f->ram + 0x300000);
	*leaf = 0x301000 | P | W | U;
	mmu_flush_tag_page(f->cpu, 6, 0x5000);
	mmu_flush_tag(f->cpu, 6);
	assert_true(cached(f, 0x5000));
	assert_ptr_equal(lead_to(f), f->ram + 0x300000);
	mmu_flush_tag_page(f->cpu, 5, 0x5000);
	assert_false(cached(f, 0x5000));
	assert_ptr_equal(lead_to(f), f->ram + 0x301000);
	*leaf = 0x302000 | P | W | U;
	mmu_flush_tag(f->cpu, 5);
	assert_ptr_equal(lead_to(f), f->ram + 0x302000);
	/* Back in L1, its own context was kept apart all the time. */
	f->cpu->nested.slat = (struct x86_slat){ 0 };
	f->cpu->ctx = mmu_select(f->cpu);
	assert_false(cached(f, 0x5000));
	assert_ptr_equal(lead_to(f), f->ram + 0x105000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_hits), T(test_invlpg), T(test_invlpg_large), T(test_invlpg_large_again),
		T(test_invlpg_large_code), T(test_keys), T(test_many_flushes), T(test_pcid),
		T(test_classes), T(test_many_spaces), T(test_dirty_log), T(test_readonly_and_holes), T(test_nested),
	};

	return cmocka_run_group_tests_name("mmu tlb", tests, NULL, NULL);
}
