// SPDX-License-Identifier: MIT
/* Hyper-V's interface as a hypervisor on SVM uses it: the enlightened MSR bitmap; TLFS 16.5. */
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
};

API_MAIN(tests)
