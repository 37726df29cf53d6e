// SPDX-License-Identifier: MIT
/*
 * Hyper-V's flushes of a nested guest's mappings, hypercalls 0xaf and 0xb0: what L1 has changed in its EPT is seen by
 * L2 behind them, what else L2 knows stays known, and without the bit of CPUID there are no such hypercalls.
 * TLFS 16.10.
 */
#include "vmx.h"

#define DATA 0x6000UL
#define MORE 0x7000UL
#define FAR 0x200000UL          /* another region of 2 MiB */
#define INPUT (VMX_FREE + 0x8000)
#define FAR_PT (VMX_FREE + 0x9000)
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define LOAD(a) 0x8a, 0x04, 0x25, ABS(a)                /* mov al,[a] */
#define HLT 0xf4
#define ROOT VMX_EPT
#define REPS(n) ((uint64_t)(n) << 32)
#define SPACE 0xaf
#define LIST 0xb0
#define MAPPING_FLUSH (1u << 18)
#define FEATURE_HYPERCALL (1u << 5)

enum { SUCCESS = 0, INVALID_CODE = 2, INVALID_INPUT = 3, INVALID_PARAMETER = 5 };

static struct vmx start(uint32_t nested)
{
	const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = FEATURE_HYPERCALL },
		{ .function = 0x4000000a, .eax = nested },
	};
	const uint8_t code[] = { LOAD(DATA), HLT };
	struct vmx s;

	/* No kernel's KVM has them. */
	if (api_real())
		skip();
	s = vmx_start_with(code, sizeof(code), P2_EPT | P2_VPID, false, leaves, 4);
	vmx_ept(&s, 0);
	vmx_put(&s, F_VPID, 1);
	vmx_control2(&s, P2_VPID);
	*(uint8_t *)vmx_at(&s, DATA) = 1;
	*(uint8_t *)vmx_at(&s, MORE) = 2;
	/* WRMSR of GUEST_OS_ID: mov ecx,40000000h; mov eax,1; xor edx,edx; wrmsr */
	VMX_DO(&s, 0xb9, ABS(0x40000000), 0xb8, ABS(1), 0x31, 0xd2, 0x0f, 0x30);
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

/* mov rcx,control; mov rdx,in; mov r8,out; vmcall; mov [INPUT + ff8h],rax: the result. */
static uint64_t call(struct vmx *s, uint64_t control, uint64_t in, uint64_t out)
{
	uint8_t code[64] = { 0x48, 0xb9 };

	memcpy(code + 2, &control, 8);
	memcpy(code + 10, (const uint8_t[]){ 0x48, 0xba }, 2);
	memcpy(code + 12, &in, 8);
	memcpy(code + 20, (const uint8_t[]){ 0x49, 0xb8 }, 2);
	memcpy(code + 22, &out, 8);
	memcpy(code + 30, (const uint8_t[]){ 0x0f, 0x01, 0xc1, 0x48, 0x89, 0x04, 0x25, ABS(INPUT + 0xff8) }, 11);
	*(uint64_t *)vmx_at(s, INPUT + 0xff8) = ~0ULL;
	vmx_do(s, code, 41);
	return *(uint64_t *)vmx_at(s, INPUT + 0xff8);
}

static uint64_t flush_space(struct vmx *s, uint64_t root, uint64_t flags)
{
	uint64_t *in = vmx_at(s, INPUT);

	in[0] = root;
	in[1] = flags;
	return call(s, SPACE, INPUT, 0);
}

static uint64_t flush_list(struct vmx *s, uint64_t root, uint64_t range, unsigned int reps)
{
	uint64_t *in = vmx_at(s, INPUT);

	in[0] = root;
	in[1] = 0;
	for (unsigned int n = 0; n < 510; n++)
		in[2 + n] = n == 0 || n + 1 == reps ? range : FAR | 1;
	return call(s, LIST | REPS(reps), INPUT, 0);
}

static uint64_t counter(struct vmx *s, const char *name)
{
	return guest_stat(s->g.vcpu, name);
}

static void test_space(void **state)
{
	struct vmx s = start(MAPPING_FLUSH);
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
	struct vmx s = start(MAPPING_FLUSH);

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
	struct vmx s = start(MAPPING_FLUSH);
	uint64_t ranges = counter(&s, "hv_mapping_ranges");

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(flush_list(&s, ROOT, DATA, 0), INVALID_INPUT);
	assert_int_equal(flush_list(&s, ROOT, DATA, 511), INVALID_INPUT);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(flush_list(&s, ROOT, DATA, 510), SUCCESS | REPS(510));
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(counter(&s, "hv_mapping_ranges") - ranges, 510);
	vmx_end(&s);
}

static void test_bad_input(void **state)
{
	struct vmx s = start(MAPPING_FLUSH);

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	/* EPTP's other bits are none of the space; nor are there flags. */
	assert_int_equal(flush_space(&s, ROOT | 3 << 3 | 6, 0), INVALID_PARAMETER);
	assert_int_equal(flush_space(&s, ROOT, 1), INVALID_PARAMETER);
	assert_int_equal(flush_list(&s, ROOT | 6, DATA, 1), INVALID_PARAMETER);
	assert_int_equal(call(&s, LIST | REPS(1), 0x40000000, 0), INVALID_INPUT);
	assert_int_equal(call(&s, SPACE, 0x40000000, 0), INVALID_INPUT);
	assert_int_equal(call(&s, LIST | 1 << 16 | REPS(1), ROOT, 0), INVALID_INPUT);
	assert_int_equal(loaded(&s), 1);
	/* The registers are the input of a fast one. */
	assert_int_equal(call(&s, SPACE | 1 << 16, ROOT, 0), SUCCESS);
	assert_int_equal(loaded(&s), 2);
	vmx_end(&s);
}

/* Without the bit there are none, and INVEPT does it. */
static void test_not_offered(void **state)
{
	struct vmx s = start(0);
	uint64_t *d = vmx_at(&s, INPUT + 0x800);

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(flush_space(&s, ROOT, 0), INVALID_CODE);
	assert_int_equal(flush_list(&s, ROOT, DATA, 1), INVALID_CODE);
	assert_int_equal(loaded(&s), 1);
	d[0] = ROOT | 3 << 3 | 6;
	d[1] = 0;
	VMX_DO(&s, 0xb8, ABS(1), 0x66, 0x0f, 0x38, 0x80, 0x04, 0x25, ABS(INPUT + 0x800));
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(counter(&s, "hv_mapping_flushes"), 0);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_space),
	cmocka_unit_test(test_list),
	cmocka_unit_test(test_reps),
	cmocka_unit_test(test_bad_input),
	cmocka_unit_test(test_not_offered),
};

API_MAIN(tests)
