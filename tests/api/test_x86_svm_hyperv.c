// SPDX-License-Identifier: MIT
/* Hyper-V's interface as a hypervisor on SVM uses it: enlightened MSR bitmap, flushes of mappings; TLFS 16.5, 16.10. */
#include <stdlib.h>

#include "svm.h"

#define C_HV_CONTROL 0x3e0
#define HV_MSR_BITMAP 2
#define CLEAN_HV (1U << 31)
#define W3_MSR (1U << 28)
#define EXIT_MSR 0x7c
#define FS_BASE 0xc0000100

/* mov ecx,FS_BASE; rdmsr; vmmcall */
static struct svm start(bool hyperv)
{
	struct svm s = SVM(0, 0, 0xb9, FS_BASE & 0xff, 0x01, 0x00, 0xc0, 0x0f, 0x32, VMMCALL);
	struct cpuid_table *t = calloc(1, sizeof(*t));

	if (api_cap(api_sys(), KVM_CAP_SYS_HYPERV_CPUID) <= 0) {
		free(t);
		svm_end(&s);
		skip();
	}
	if (hyperv) {
		t->head.nent = 64;
		api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_HV_CPUID, t));
	}
	memcpy(t->e + t->head.nent, s.cpuid->e, s.cpuid->head.nent * sizeof(t->e[0]));
	t->head.nent += s.cpuid->head.nent;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	assert_int_equal(guest_set_msr(&s.g, 0x40000000, 0x8100ULL << 48), 1);
	svm_put4(&s, C_WORD3, SVM_WORD3 | W3_MSR);
	return s;
}

/* The map's bit for a read of FS_BASE. */
static void intercept(struct svm *s, bool on)
{
	uint8_t *byte = s->mem + (SVM_MSRPM - SVM_MEM) + 0x800 + (FS_BASE & 0x1fff) / 4;

	*byte = on;
}

static uint64_t kept(struct svm *s)
{
	return api_real() ? 0 : guest_stat(s->g.vcpu, "hv_msr_maps_kept");
}

/* L1 has changed its map and says that it has not: who believes it sees the old one. */
static void changed(bool hyperv, bool asked)
{
	struct svm s = start(hyperv);
	bool believed = hyperv && asked;

	svm_put4(&s, C_HV_CONTROL, asked ? HV_MSR_BITMAP : 0);
	intercept(&s, false);
	svm_expect(&s, EXIT_VMMCALL);
	intercept(&s, true);
	svm_put4(&s, C_CLEAN, CLEAN_HV);
	svm_rewind(&s);
	svm_expect(&s, believed ? EXIT_VMMCALL : EXIT_MSR);
	if (!api_real())
		assert_int_equal(kept(&s), believed);
	/* Now it says so. */
	svm_put4(&s, C_CLEAN, 0);
	svm_rewind(&s);
	svm_expect(&s, EXIT_MSR);
	/* What is kept does not outlive the client's setting of the state. */
	intercept(&s, false);
	svm_put4(&s, C_CLEAN, CLEAN_HV);
	svm_rewind(&s);
	svm_expect(&s, believed ? EXIT_MSR : EXIT_VMMCALL);
	if (!api_real()) {
		struct kvm_nested_state head = {
			.format = KVM_STATE_NESTED_FORMAT_SVM, .flags = KVM_STATE_NESTED_GIF_SET, .size = sizeof(head),
		};

		api_ok(api_ioctl(s.g.vcpu, KVM_SET_NESTED_STATE, &head));
		svm_rewind(&s);
		svm_expect(&s, EXIT_VMMCALL);
	}
	svm_end(&s);
}

static void test_msr_bitmap(void **state)
{
	changed(true, true);
	changed(true, false);
	changed(false, true);
}

/* --- flushes of L2's mappings ------------------------------------------------------------------------------ */

#define DATA 0x6000UL
#define MORE 0x7000UL
#define INPUT SVM_FREE
#define RESULT (SVM_FREE + 0x800)
#define L1_CALL 0x2800
#define SPACE 0xaf
#define LIST 0xb0
#define REPS(n) ((uint64_t)(n) << 32)
#define MAPPING_FLUSH (1u << 18)
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff

enum { SUCCESS = 0, INVALID_CODE = 2, INVALID_PARAMETER = 5 };

/* With nested paging; L2 reads DATA. */
static struct svm start_mappings(uint32_t nested)
{
	const struct kvm_cpuid_entry2 leaves[] = {
		{ .function = 0x40000000, .eax = 0x4000000a, .ebx = 0x7263694d, .ecx = 0x666f736f, .edx = 0x76482074 },
		{ .function = 0x40000001, .eax = 0x31237648 },
		{ .function = 0x40000003, .eax = 1u << 5 },
		{ .function = 0x4000000a, .eax = nested },
	};
	struct svm s;

	/* No kernel's KVM has them. */
	if (api_real())
		skip();
	s = SVM(SVM_NPT_BIT, 0, 0x8a, 0x04, 0x25, ABS(DATA), VMMCALL);
	for (uint32_t leaf = 0x40000000; leaf < 0x40000100; leaf++)
		guest_drop_leaf(s.cpuid, leaf);
	memcpy(s.cpuid->e + s.cpuid->head.nent, leaves, sizeof(leaves));
	s.cpuid->head.nent += 4;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_CPUID2, s.cpuid));
	assert_int_equal(guest_set_msr(&s.g, 0x40000000, 0x8100ULL << 48), 1);
	svm_npt(&s);
	s.g.mem[DATA] = 1;
	s.g.mem[MORE] = 2;
	return s;
}

static uint8_t loaded(struct svm *s)
{
	svm_rewind(s);
	svm_expect(s, EXIT_VMMCALL);
	return (uint8_t)svm_get8(s, S_RAX);
}

static void map(struct svm *s, uint64_t to)
{
	((uint64_t *)(s->mem + (SVM_NPT_PT - SVM_MEM)))[DATA >> 12] = to | 7;
}

/* L1 does VMMCALL, and goes back to its program. */
static uint64_t flush(struct svm *s, uint64_t control, uint64_t root, uint64_t range)
{
	const uint8_t code[] = { VMMCALL, 0x48, 0x89, 0x04, 0x25, ABS(RESULT), 0xe6, SVM_EXITED };
	const uint64_t in[] = { root, 0, range };
	struct kvm_regs r = guest_regs(&s->g);
	uint64_t result;

	svm_code(s, L1_CALL, code, sizeof(code));
	memcpy(s->mem + (INPUT - SVM_MEM), in, sizeof(in));
	r.rip = L1_CALL;
	r.rcx = control;
	r.rdx = INPUT;
	r.r8 = 0;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_REGS, &r));
	guest_port(&s->g, SVM_EXITED);
	memcpy(&result, s->mem + (RESULT - SVM_MEM), 8);
	SET(&s->g, rip, GUEST_CODE);
	return result;
}

/* As for VMX: see test_x86_vmx_mappings.c.  The table is the nested CR3. */
static void test_mappings(void **state)
{
	struct svm s = start_mappings(MAPPING_FLUSH);
	const int vcpu = s.g.vcpu;

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(flush(&s, SPACE, SVM_NPT + 0x100000, 0), SUCCESS);
	assert_int_equal(flush(&s, LIST | REPS(1), SVM_NPT, MORE), SUCCESS | REPS(1));
	assert_int_equal(flush(&s, SPACE, SVM_NPT | 1, 0), INVALID_PARAMETER);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(flush(&s, LIST | REPS(1), SVM_NPT, DATA), SUCCESS | REPS(1));
	assert_int_equal(loaded(&s), 2);
	map(&s, DATA);
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(flush(&s, SPACE, SVM_NPT, 0), SUCCESS);
	assert_int_equal(loaded(&s), 1);
	assert_int_equal(guest_stat(vcpu, "hv_mapping_flushes"), 4);
	assert_int_equal(guest_stat(vcpu, "hv_mapping_ranges"), 2);
	svm_end(&s);
}

/* Not offered, there is TLB_CONTROL. */
static void test_no_mappings(void **state)
{
	struct svm s = start_mappings(0);

	assert_int_equal(loaded(&s), 1);
	map(&s, MORE);
	assert_int_equal(flush(&s, SPACE, SVM_NPT, 0), INVALID_CODE);
	assert_int_equal(flush(&s, LIST | REPS(1), SVM_NPT, DATA), INVALID_CODE);
	assert_int_equal(loaded(&s), 1);
	svm_put(&s, C_TLB, 1, 1);
	assert_int_equal(loaded(&s), 2);
	assert_int_equal(guest_stat(s.g.vcpu, "hv_mapping_flushes"), 0);
	svm_end(&s);
}

/* A hypercall of L2 is L1's to answer. */
static void test_hypercall(void **state)
{
	struct svm s = start(true);

	svm_expect(&s, EXIT_VMMCALL);
	if (!api_real())
		assert_int_equal(guest_stat(s.g.vcpu, "hypercalls") + guest_stat(s.g.vcpu, "hv_tlb_flushes"), 0);
	svm_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_hypercall),
	cmocka_unit_test(test_msr_bitmap),
	cmocka_unit_test(test_mappings),
	cmocka_unit_test(test_no_mappings),
};

API_MAIN(tests)
