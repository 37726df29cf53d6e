// SPDX-License-Identifier: MIT
/*
 * VMRUN's checks: for each a VMCB that is as near to breaking it as can be, and one that breaks it alone.  APM 2, 15.5.1.
 * test_x86_svm_rules.c breaks them at random.
 */
#include "svm.h"

#include <stdlib.h>

#define LME (1ULL << 8)
#define PG (1ULL << 31)
#define PE 1ULL
#define CD (1ULL << 30)
#define NW (1ULL << 29)
#define PAE (1ULL << 5)
#define EFER (1ULL << 12 | 1ULL << 10 | LME)
#define EVENT(type, vector) (1ULL << 31 | (uint64_t)(type) << 8 | (vector))
#define IOIO (1u << 27)
#define MSR (1u << 28)
#define NMI (1u << 1)

/* A value may depend on how many bits an address has: then it is relative to the first that has one more. */
struct field {
	uint16_t at;
	uint8_t size;
	bool of_limit;
	uint64_t value;
};

#define F(at, size, value) { at, size, false, value }
#define LIMIT(at, value) { at, 8, true, (uint64_t)(value) }

struct rule {
	const char *name;
	struct field good[3], bad[3];
};

/* Bits of the save area that a good row leaves as svm_start() made them need no mention. */
static const struct rule rules[] = {
	{ "EFER.SVME", { F(S_EFER, 8, EFER) }, { F(S_EFER, 8, EFER & ~(1ULL << 12)) } },
	{ "EFER, reserved bits", { F(S_EFER, 8, EFER | 1 << 11) }, { F(S_EFER, 8, EFER | 1 << 9) } },
	{ "CR0.NW without CD", { F(S_CR0, 8, PG | PE | CD | NW) }, { F(S_CR0, 8, PG | PE | NW) } },
	{ "CR0, upper half", { F(S_CR0, 8, PG | PE) }, { F(S_CR0, 8, PG | PE | 1ULL << 32) } },
	{ "CR3, reserved bits", { LIMIT(S_CR3, -4096) }, { LIMIT(S_CR3, 0) } },
	{ "CR4, reserved bits", { F(S_CR4, 8, PAE | 1 << 10) }, { F(S_CR4, 8, PAE | 1 << 15) } },
	{ "CR4, upper half", { F(S_CR4, 8, PAE) }, { F(S_CR4, 8, PAE | 1ULL << 32) } },
	{ "DR6, upper half", { F(S_DR6, 8, 0xffffffff) }, { F(S_DR6, 8, 1ULL << 32) } },
	{ "DR7, upper half", { F(S_DR7, 8, 0xffff27ff) }, { F(S_DR7, 8, 0x400 | 1ULL << 32) } },
	{ "long mode without CR4.PAE", { F(S_CR4, 8, 0), F(S_CR0, 8, PE) }, { F(S_CR4, 8, 0) } },
	{ "long mode without CR0.PE", { F(S_CR0, 8, 0) }, { F(S_CR0, 8, PG) } },
	{ "CS.L and CS.D", { F(S_CS + 2, 2, 0x29b) }, { F(S_CS + 2, 2, 0x69b) } },
	{ "VMRUN not intercepted", { F(C_WORD4, 4, SVM_WORD4) }, { F(C_WORD4, 4, SVM_WORD4 & ~1u) } },
	{ "ASID 0", { F(C_ASID, 4, 7) }, { F(C_ASID, 4, 0) } },
	{ "map of ports beyond memory", { LIMIT(C_IOPM, -0x3000) }, { LIMIT(C_IOPM, -0x2000) } },
	{ "the same, in use", { LIMIT(C_IOPM, -0x2001), F(C_WORD3, 4, SVM_WORD3 | IOIO) },
	  { LIMIT(C_IOPM, -0x2000), F(C_WORD3, 4, SVM_WORD3 | IOIO) } },
	{ "map of MSRs beyond memory", { LIMIT(C_MSRPM, -0x2000) }, { LIMIT(C_MSRPM, -0x1000) } },
	{ "map of MSRs that is not there", { F(C_MSRPM, 8, SVM_MSRPM), F(C_WORD3, 4, SVM_WORD3 | MSR) },
	  { F(C_MSRPM, 8, SVM_MEM + SVM_MEM_SIZE - 0x1000), F(C_WORD3, 4, SVM_WORD3 | MSR) } },
	{ "event of type 1", { F(C_EVENT_INJ, 8, EVENT(0, 33)) }, { F(C_EVENT_INJ, 8, EVENT(1, 33)) } },
	{ "event of type 5", { F(C_EVENT_INJ, 8, EVENT(4, 33)) }, { F(C_EVENT_INJ, 8, EVENT(5, 33)) } },
	{ "event of type 7, not valid", { F(C_EVENT_INJ, 8, EVENT(7, 33) & ~(1ULL << 31)) }, { F(C_EVENT_INJ, 8, EVENT(7, 33)) } },
	{ "exception 2", { F(C_EVENT_INJ, 8, EVENT(2, 2)) }, { F(C_EVENT_INJ, 8, EVENT(3, 2)) } },
	{ "exception 32", { F(C_EVENT_INJ, 8, EVENT(3, 6)) }, { F(C_EVENT_INJ, 8, EVENT(3, 32)) } },
	{ "nested CR3, reserved bits", { LIMIT(C_NESTED_CR3, -4096), F(C_NESTED_CTL, 8, 1) },
	  { LIMIT(C_NESTED_CR3, 0), F(C_NESTED_CTL, 8, 1) } },
	{ "PAE's top entries, reserved bits", { F(S_EFER, 8, 1 << 12), F(S_CR3, 8, SVM_FREE) },
	  { F(S_EFER, 8, 1 << 12), F(S_CR3, 8, SVM_FREE + 0x20) } },
};

/* Of the manual's, and not of every KVM's: L1's PAT may be L2's as well, and what is flushed more than asked for. */
static const struct rule manuals_rules[] = {
	{ "TLB_CONTROL 2", { F(C_TLB, 1, 3) }, { F(C_TLB, 1, 2) } },
	{ "TLB_CONTROL 8", { F(C_TLB, 1, 7) }, { F(C_TLB, 1, 8) } },
	{ "PAT, type 2", { F(S_PAT, 8, 0x0107060504010007), F(C_NESTED_CTL, 8, 1), F(C_NESTED_CR3, 8, SVM_NPT) },
	  { F(S_PAT, 8, 0x0107060504010002), F(C_NESTED_CTL, 8, 1), F(C_NESTED_CR3, 8, SVM_NPT) } },
	{ "PAT, type 3", { F(S_PAT, 8, 3), F(C_NESTED_CTL, 8, 0) }, { F(S_PAT, 8, 3ULL << 56), F(C_NESTED_CTL, 8, 1) } },
	{ "PAT, reserved bit", { F(S_PAT, 8, 7), F(C_NESTED_CTL, 8, 1) }, { F(S_PAT, 8, 8), F(C_NESTED_CTL, 8, 1) } },
};

/* Not with every processor. */
static const struct rule vnmi_rule = {
	"virtual NMIs, NMI not intercepted", { F(C_INT_CTL, 4, 1 << 26), F(C_WORD3, 4, SVM_WORD3 | NMI) }, { F(C_INT_CTL, 4, 1 << 26) },
};

static uint64_t limit(struct svm *s)
{
	return 1ULL << (guest_leaf(s->cpuid, 0x80000008, 0)->eax & 0xff);
}

static void set(struct svm *s, const struct field *f)
{
	for (unsigned int n = 0; n < 3 && f[n].size; n++)
		svm_put(s, f[n].at, f[n].size, f[n].value + (f[n].of_limit ? limit(s) : 0));
}

/* Each in a VMCB of its own. */
static void check(const struct rule *r, const struct field *f, bool good, uint32_t with)
{
	struct svm s = SVM(with, 0, VMMCALL);
	uint64_t entries = api_real() ? 0 : guest_stat(s.g.vcpu, "nested_run");
	uint64_t code, ran;

	/* Reserved in an entry of the top table of PAE. */
	memset(s.mem + (SVM_FREE - SVM_MEM) + 0x20, 0xff, 0x20);
	svm_put8(&s, C_INFO1, 0x1234);
	/* Whatever becomes of L2, it ends by an exit. */
	svm_put4(&s, C_EXCEPTIONS, 0xffffffff);
	svm_put4(&s, S_IDTR + 4, 0);
	set(&s, f);
	code = svm_run(&s);
	if (good == (code == EXIT_INVALID))
		fail_msg("%s, %s: exit %#lx", r->name, good ? "kept" : "broken", code);
	if (!good) {
		assert_int_equal(svm_get8(&s, C_INFO1), 0);
		assert_int_equal(svm_get8(&s, S_RIP), SVM_L2);
		if (f->at == C_EVENT_INJ)
			assert_int_equal(svm_get8(&s, C_EVENT_INJ), f->value);
	}
	if (!api_real()) {
		ran = guest_stat(s.g.vcpu, "nested_run") - entries;
		assert_int_equal(ran, good);
	}
	svm_end(&s);
}

static void check_rules(const struct rule *r, unsigned int count)
{
	for (; count; count--, r++) {
		check(r, r->good, true, 0);
		check(r, r->bad, false, 0);
	}
}

static void test_rules(void **state)
{
	check_rules(rules, sizeof(rules) / sizeof(rules[0]));
	if (!api_real())
		check_rules(manuals_rules, sizeof(manuals_rules) / sizeof(manuals_rules[0]));
}

static void test_virtual_nmi(void **state)
{
	struct svm s;

	check(&vnmi_rule, vnmi_rule.good, true, SVM_VNMI);
	check(&vnmi_rule, vnmi_rule.bad, false, SVM_VNMI);
	/* Without the feature the bit says nothing. */
	s = SVM(SVM_VNMI, SVM_VNMI, VMMCALL);
	set(&s, vnmi_rule.bad);
	svm_expect(&s, EXIT_VMMCALL);
	svm_end(&s);
}

/* What is wrong with the instruction itself: an exception of L1's. */
static void expect_fault(struct svm *s, uint8_t vector)
{
	guest_port(&s->g, (uint16_t)(SVM_FAULT + vector));
	svm_end(s);
}

static struct svm with_rax(uint64_t rax)
{
	struct svm s = SVM(0, 0, VMMCALL);

	/* mov rax, imm64; vmrun */
	SVM_CODE(&s, GUEST_CODE, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0x01, 0xd8, 0xe6, SVM_EXITED);
	memcpy(s.g.mem + GUEST_CODE + 2, &rax, 8);
	return s;
}

static void test_operand(void **state)
{
	struct svm s = with_rax(SVM_VMCB);
	uint64_t beyond = limit(&s);

	svm_expect(&s, EXIT_VMMCALL);
	svm_end(&s);
	s = with_rax(SVM_VMCB + 8);
	expect_fault(&s, 13);
	s = with_rax(beyond);
	expect_fault(&s, 13);
	/* Where there is no memory. */
	s = with_rax(SVM_MEM + SVM_MEM_SIZE);
	expect_fault(&s, 13);
}

static void set_sregs(struct svm *s, uint64_t efer_clear, uint64_t cr0_clear)
{
	struct kvm_sregs k;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	k.efer &= ~efer_clear;
	k.cr0 &= ~cr0_clear;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_SREGS, &k));
}

/* L1 without paging; nested paging would have tables of no format.  To KVM all instructions of SVM are #UD then. */
static void test_unpaged_host(void **state)
{
	if (api_real())
		skip();
	for (unsigned int np = 0; np < 2; np++) {
		struct svm s = SVM(SVM_NPT_BIT, 0, VMMCALL);
		struct kvm_sregs k;

		api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
		k.efer = 1 << 12;
		k.cr0 = 0x11;
		k.cs.l = 0;
		k.cs.db = 1;
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
		svm_put8(&s, C_NESTED_CTL, np);
		svm_expect(&s, np ? EXIT_INVALID : EXIT_VMMCALL);
		svm_end(&s);
	}
}

static void test_preconditions(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);

	set_sregs(&s, 1 << 12, 0);
	expect_fault(&s, 6);
	s = SVM(0, 0, VMMCALL);
	assert_int_equal(guest_set_msr(&s.g, 0xc0010117, 0), 1);
	expect_fault(&s, 13);
}

/* The instructions of SVM without EFER.SVME, and SKINIT, which no processor here has. */
static void test_undefined(void **state)
{
	static const uint8_t last[] = { 0xd8, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf };

	for (unsigned int n = 0; n < sizeof(last); n++) {
		struct svm s = SVM(0, 0, VMMCALL);

		SVM_CODE(&s, GUEST_CODE, 0x0f, 0x01, last[n]);
		set_sregs(&s, 1 << 12, 0);
		expect_fault(&s, 6);
	}
	struct svm s = SVM(0, 0, 0x0f, 0x01, 0xde);

	svm_put4(&s, C_WORD4, SVM_WORD4 | 1 << 6);
	svm_put4(&s, C_EXCEPTIONS, 1 << 6);
	svm_expect(&s, 0x46);
	svm_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_rules),
	cmocka_unit_test(test_virtual_nmi),
	cmocka_unit_test(test_operand),
	cmocka_unit_test(test_unpaged_host),
	cmocka_unit_test(test_preconditions),
	cmocka_unit_test(test_undefined),
};

API_MAIN(tests)
