// SPDX-License-Identifier: MIT
/*
 * Hyper-V's flushes of a nested guest's mappings, hypercalls 0xaf and 0xb0: what L1 has changed in its EPT is seen by
 * L2 behind them, what else L2 knows stays known, and without the bit of CPUID there are no such hypercalls.
 * TLFS 16.10.
 */
#include "mappings.h"

#include <stdio.h>

#include "anykvm.h"

#define DATA 0x6000UL
#define MORE 0x7000UL
#define FAR 0x200000UL          /* another region of 2 MiB */
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define HLT 0xf4
#define ROOT VMX_EPT
#define SPACE MAPPINGS_SPACE
#define LIST MAPPINGS_LIST
#define REPS(n) MAPPINGS_REPS(n)

static struct vmx start(uint32_t nested)
{
	const uint8_t code[] = { LOAD(DATA), HLT };
	struct vmx s = mappings_start(nested, code, sizeof(code));

	*(uint8_t *)vmx_at(&s, DATA) = 1;
	*(uint8_t *)vmx_at(&s, MORE) = 2;
	return s;
}

static uint8_t loaded(struct vmx *s)
{
	vmx_expect(s, R_HLT);
	vmx_goto(s, VMX_L2);
	return (uint8_t)*vmx_reg(s, 0);
}

static void map(struct vmx *s, uint64_t to)
{
	*vmx_ept_entry(s, DATA) = to | EPT_ALL | EPT_WB;
}

static uint64_t call(struct vmx *s, uint64_t control, uint64_t in, uint64_t out)
{
	return mappings_call(s, control, in, out, 0, 0);
}

static uint64_t flush_space(struct vmx *s, uint64_t root, uint64_t flags)
{
	mappings_put(s, root, flags, NULL, 0);
	return call(s, SPACE, MAPPINGS_INPUT, 0);
}

static uint64_t flush_list(struct vmx *s, uint64_t root, uint64_t range, unsigned int reps)
{
	uint64_t ranges[510];

	for (unsigned int n = 0; n < 510; n++)
		ranges[n] = n + 1 == reps ? range : FAR | 1;
	mappings_put(s, root, 0, ranges, 510);
	return call(s, LIST | REPS(reps), MAPPINGS_INPUT, 0);
}

static uint64_t counter(struct vmx *s, const char *name)
{
	return guest_stat(s->g.vcpu, name);
}

static void test_space(void **state)
{
	struct vmx s = start(MAPPINGS_OFFERED);
	uint64_t calls = counter(&s, "hv_mapping_flushes");

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(loaded(&s), 1);
	/* Another root's, whose space this is not. */
	assert_int_equal(flush_space(&s, ROOT + 0x100000, 0), SUCCESS);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(flush_space(&s, ROOT, 0), SUCCESS);
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(counter(&s, "hv_mapping_flushes") - calls, 2);
	vmx_end(&s);
}

static void test_list(void **state)
{
	static const struct { uint64_t range; bool hit; } rows[] = {
		{ DATA, true }, { (DATA - 0x1000) | 1, true }, { 0 | 0x7ff, true }, { DATA - 0x1000, true },
		{ 0 | 1 << 11, true },                  /* 2 MiB from 0 */
		{ 0 | 1 << 11 | 1 << 12, true },        /* 1 GiB */
		{ FAR, false }, { FAR | 1 << 11, false }, { FAR | 0x7ff, false },
	};
	struct vmx s = start(MAPPINGS_OFFERED);

	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		uint64_t walks = counter(&s, "slat_walks"), flushes = counter(&s, "tlb_flush");

		map(&s, DATA);
		assert_int_equal(flush_space(&s, ROOT, 0), SUCCESS);
		assert_int_equal(loaded(&s), 1);
		map(&s, MORE);
		walks = counter(&s, "slat_walks");
		flushes = counter(&s, "tlb_flush");
		assert_int_equal(flush_list(&s, ROOT, rows[n].range, 1), SUCCESS | REPS(1));
		/* Beside the page itself its region may be looked at again, and what is remembered for other pages stays. */
		if (rows[n].range != DATA - 0x1000)
			assert_int_equal(loaded(&s), rows[n].hit ? 2 : 1);
		if (!rows[n].hit) {
			assert_int_equal(counter(&s, "slat_walks"), walks);
			assert_int_equal(counter(&s, "tlb_flush"), flushes);
		}
	}
	vmx_end(&s);
}

/* As many as a page holds; the last counts as well. */
static void test_reps(void **state)
{
	struct vmx s = start(MAPPINGS_OFFERED);
	uint64_t ranges = counter(&s, "hv_mapping_ranges");

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(flush_list(&s, ROOT, DATA, 0), INVALID_INPUT);
	assert_int_equal(flush_list(&s, ROOT, DATA, 511), INVALID_ALIGNMENT);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(flush_list(&s, ROOT, DATA, 510), SUCCESS | REPS(510));
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(counter(&s, "hv_mapping_ranges") - ranges, 510);
	vmx_end(&s);
}

static void test_bad_input(void **state)
{
	struct vmx s = start(MAPPINGS_OFFERED);

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	/* EPTP's other bits are none of the space; nor are there flags. */
	assert_int_equal(flush_space(&s, ROOT | 3 << 3 | 6, 0), INVALID_PARAMETER);
	assert_int_equal(flush_space(&s, ROOT, 1), INVALID_PARAMETER);
	assert_int_equal(flush_list(&s, ROOT | 6, DATA, 1), INVALID_PARAMETER);
	assert_int_equal(call(&s, LIST | REPS(1), 0x40000000, 0), INVALID_INPUT);
	assert_int_equal(call(&s, SPACE, 0x40000000, 0), INVALID_INPUT);
	/* The input is aligned, and within a page. */
	assert_int_equal(call(&s, SPACE, MAPPINGS_INPUT + 4, 0), INVALID_ALIGNMENT);
	assert_int_equal(call(&s, LIST | REPS(1), MAPPINGS_INPUT + 4, 0), INVALID_ALIGNMENT);
	assert_int_equal(call(&s, SPACE, MAPPINGS_INPUT + 0xff8, 0), INVALID_ALIGNMENT);
	assert_int_equal(call(&s, LIST | REPS(1), MAPPINGS_INPUT + 0xff0, 0), INVALID_ALIGNMENT);
	assert_int_equal(call(&s, LIST | 1 << 16 | REPS(1), ROOT, 0), INVALID_INPUT);
	assert_int_equal(loaded(&s), 1);
	/* The registers are the input of a fast one. */
	assert_int_equal(call(&s, SPACE | 1 << 16, ROOT, 0), SUCCESS);
	assert_int_equal(loaded(&s), 2);
	vmx_end(&s);
}

/* --- where a range ends -------------------------------------------------------------------------------- */

#define FAR_PT (VMX_FREE + 0x9000)
#define OLD (VMX_FREE + 0xb000)         /* 1 */
#define NEW (VMX_FREE + 0xc000)         /* 2 */
#define BORDER_PAGES 4
#define BORDER 0x1fe000UL               /* of these: two below 2 MiB, two above */
#define LARGE_RANGE (1 << 11)

/* L2 has 2 MiB more, and EPT a table for them. */
static void map_far(struct vmx *s, uint64_t ept)
{
	((uint64_t *)vmx_at(s, GUEST_TABLES + 0x2000))[1] = FAR | 0x87;
	((uint64_t *)vmx_at(s, VMX_EPT + 0x2000))[1] = ept;
}

static void map_borders(struct vmx *s, uint64_t to)
{
	uint64_t *far = vmx_at(s, FAR_PT);

	for (unsigned int n = 0; n < BORDER_PAGES; n++)
		*(n < 2 ? vmx_ept_entry(s, BORDER + n * 0x1000) : &far[n - 2]) = to | EPT_ALL | EPT_WB;
}

/* What L2 reads of the four, one bit each: is it new? */
static unsigned int borders(struct vmx *s)
{
	uint64_t a, b;

	vmx_expect(s, R_HLT);
	vmx_goto(s, VMX_L2);
	a = *vmx_reg(s, 0);
	b = *vmx_reg(s, 3);
	return ((a & 3) - 1) | ((a >> 8 & 3) - 1) << 1 | ((b & 3) - 1) << 2 | ((b >> 8 & 3) - 1) << 3;
}

/* The pages before a range and behind it stay as they were known, also across the border of 2 MiB. */
static void test_borders(void **state)
{
	static const struct { uint64_t range; unsigned int hit; } rows[] = {
		{ BORDER, 1 }, { BORDER + 0x1000, 2 }, { BORDER + 0x2000, 4 }, { BORDER + 0x3000, 8 },
		{ BORDER | 1, 3 }, { (BORDER + 0x1000) | 1, 6 }, { (BORDER + 0x1000) | 2, 14 }, { BORDER | 3, 15 },
		{ BORDER - 0x1000, 0 }, { (BORDER - 0x1000) | 1, 1 }, { BORDER + 0x4000, 0 },
		{ (BORDER + 0x3000) | 0x7ff, 8 },
		{ FAR | LARGE_RANGE, 12 }, { 2 * FAR | LARGE_RANGE, 0 },
	};
	/* mov al,[..]; mov ah,[..]; mov bl,[..]; mov bh,[..] */
	const uint8_t code[] = {
		0x8a, 0x04, 0x25, ABS(BORDER), 0x8a, 0x24, 0x25, ABS(BORDER + 0x1000),
		0x8a, 0x1c, 0x25, ABS(BORDER + 0x2000), 0x8a, 0x3c, 0x25, ABS(BORDER + 0x3000), HLT,
	};
	struct vmx s = mappings_start(MAPPINGS_OFFERED, code, sizeof(code));
	uint64_t walks;

	*(uint8_t *)vmx_at(&s, OLD) = 1;
	*(uint8_t *)vmx_at(&s, NEW) = 2;
	map_far(&s, FAR_PT | EPT_ALL);
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		map_borders(&s, OLD);
		mappings_flush(&s, ROOT, NULL, 0);
		assert_int_equal(borders(&s), 0);
		map_borders(&s, NEW);
		walks = counter(&s, "slat_walks");
		mappings_flush(&s, ROOT, &rows[n].range, 1);
		assert_int_equal(borders(&s), rows[n].hit);
		assert_int_equal(counter(&s, "slat_walks") - walks, __builtin_popcount(rows[n].hit));
	}
	vmx_end(&s);
}

/* A page of L1's of 2 MiB: a range that ends before it, or begins behind it, leaves it; one within it does not. */
static void test_large_leaf(void **state)
{
	static const struct { uint64_t range; bool hit; } rows[] = {
		{ FAR - 0x1000, false }, { (FAR - 0x1000) | 1, true }, { FAR, true }, { FAR + DATA, true },
		{ 2 * FAR, false }, { 2 * FAR | 0x7ff, false }, { FAR | LARGE_RANGE, true },
		{ 2 * FAR | LARGE_RANGE, false },
	};
	const uint8_t code[] = { LOAD(FAR + DATA), HLT };
	struct vmx s = mappings_start(MAPPINGS_OFFERED, code, sizeof(code));
	const uint64_t leaf = EPT_ALL | EPT_WB | 1 << 7;
	uint8_t *more = api_memory(GUEST_MEM);

	api_ok(api_set_slot(s.g.vm, 2, 0, 2 * FAR, GUEST_MEM, more));
	*(uint8_t *)vmx_at(&s, DATA) = 1;
	more[DATA] = 2;
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		map_far(&s, leaf);
		mappings_flush(&s, ROOT, NULL, 0);
		assert_int_equal(loaded(&s), 1);
		map_far(&s, 2 * FAR | leaf);
		mappings_flush(&s, ROOT, &rows[n].range, 1);
		assert_int_equal(loaded(&s), rows[n].hit ? 2 : 1);
	}
	vmx_end(&s);
	munmap(more, GUEST_MEM);
}

/* --- events -------------------------------------------------------------------------------------------------- */

static unsigned int lines_with(FILE *f, const char *what)
{
	unsigned int count = 0;
	char line[512];

	rewind(f);
	while (fgets(line, sizeof(line), f))
		count += !!strstr(line, what);
	return count;
}

/* Each is one event, with what it was asked and how it ended; as many as the counter says succeed. */
static void test_events(void **state)
{
	const uint64_t ranges[] = { DATA, MORE };
	char path[32];
	struct vmx s;
	int fd;
	FILE *f;

	if (!api_linked())
		skip();
	fd = memfd_create("events", MFD_CLOEXEC);
	f = fdopen(fd, "r");
	assert_non_null(f);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_int_equal(anykvm_trace(path), 0);
	s = start(MAPPINGS_OFFERED);
	mappings_flush(&s, ROOT, NULL, 0);
	mappings_flush(&s, ROOT, ranges, 2);
	assert_int_equal(flush_space(&s, ROOT | 6, 0), INVALID_PARAMETER);
	assert_int_equal(counter(&s, "hv_mapping_flushes"), 2);
	vmx_end(&s);
	assert_int_equal(anykvm_trace(NULL), 0);
	assert_int_equal(lines_with(f, "anykvm_hv_mapping_flush: code 0xaf root 0x108000 ranges 0 result 0x0\n"), 1);
	assert_int_equal(lines_with(f, "anykvm_hv_mapping_flush: code 0xb0 root 0x108000 ranges 2 result 0x200000000\n"), 1);
	assert_int_equal(lines_with(f, "anykvm_hv_mapping_flush: code 0xaf root 0x108006 ranges 0 result 0x5\n"), 1);
	assert_int_equal(lines_with(f, "anykvm_hv_mapping_flush:"), 3);
	fclose(f);
}

_Static_assert(ROOT == 0x108000, "as in the events");

/* Without the bit there are none, and INVEPT does it, of the table or of all. */
static void test_not_offered(void **state)
{
	struct vmx s = start(0);

	for (uint32_t type = 1; type <= 2; type++) {
		map(&s, DATA);
		mappings_invept(&s, type, ROOT);
		assert_int_equal(loaded(&s), 1);
		map(&s, MORE);
		assert_int_equal(flush_space(&s, ROOT, 0), INVALID_CODE);
		assert_int_equal(flush_list(&s, ROOT, DATA, 1), INVALID_CODE);
		assert_int_equal(loaded(&s), 1);
		mappings_invept(&s, type, ROOT);
		assert_int_equal(loaded(&s), 2);
	}
	assert_int_equal(counter(&s, "hv_mapping_flushes"), 0);
	assert_int_equal(counter(&s, "hv_mapping_ranges"), 0);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_space),
	cmocka_unit_test(test_list),
	cmocka_unit_test(test_reps),
	cmocka_unit_test(test_bad_input),
	cmocka_unit_test(test_borders),
	cmocka_unit_test(test_large_leaf),
	cmocka_unit_test(test_events),
	cmocka_unit_test(test_not_offered),
};

API_MAIN(tests)
