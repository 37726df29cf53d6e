// SPDX-License-Identifier: MIT
/*
 * CPUID as the client sets it: what is refused, and which bits follow the vCPU's state, in what the guest reads and in
 * what KVM_GET_CPUID2 gives; api.rst 4.20 and 4.46, SDM 2A, CPUID.
 */
#include <stdlib.h>

#include <linux/kvm_para.h>

#include "guest.h"

#define DATA 0x2000
#define OSXSAVE (1u << 27)
#define MWAIT (1u << 3)
#define APIC (1u << 9)
#define PKU (1u << 3)
#define OSPKE (1u << 4)
#define MISC_ENABLE 0x1a0
#define MISC_ENABLE_MWAIT (1u << 18)

static bool same(const struct cpuid_table *a, const struct cpuid_table *b)
{
	return a->head.nent == b->head.nent && !memcmp(a->e, b->e, a->head.nent * sizeof(a->e[0]));
}

/* A table that is refused leaves the old one in place, and none where there was none. */
static void refused(bool amd)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct cpuid_table *good = guest_supported(), *bad = guest_supported(), *now = guest_cpuid(vcpu);

	assert_int_equal(now->head.nent, 0);
	free(now);
	guest_leaf(bad, 0x80000008, 0)->eax = 50 << 8;
	guest_leaf(bad, 1, 0)->eax = 0x12345;
	bad->head.nent--;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_CPUID2, bad));
	now = guest_cpuid(vcpu);
	assert_int_equal(now->head.nent, 0);
	free(now);
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, good));
	free(good);
	good = guest_cpuid(vcpu);
	for (unsigned int n = 0; n < 3; n++) {
		bad->head.nent = n == 1 ? 257 : bad->head.nent;
		if (n == 2)
			api_fails(EFAULT, api_ioctl(vcpu, KVM_SET_CPUID2, api_bad()));
		else if (n == 1)
			api_fails(E2BIG, api_ioctl(vcpu, KVM_SET_CPUID2, bad));
		else
			api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_CPUID2, bad));
		now = guest_cpuid(vcpu);
		assert_true(same(now, good));
		free(now);
	}
	free(good);
	free(bad);
	api_close(vcpu);
	api_close(vm);
}

static void test_refused(void **state)
{
	guest_each_model(refused);
}

/* Linear addresses have 48 bits, 57, or the client does not say. */
static void address_bits(bool amd)
{
	struct cpuid_table *t = guest_supported();
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	for (uint32_t bits = 0; bits < 256; bits++) {
		guest_leaf(t, 0x80000008, 0)->eax = bits << 8 | 40;
		if (bits == 0 || bits == 48 || bits == 57)
			api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, t));
		else
			api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_CPUID2, t));
	}
	guest_drop_leaf(t, 0x80000008);
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, t));
	free(t);
	api_close(vcpu);
	api_close(vm);
}

static void test_address_bits(void **state)
{
	guest_each_model(address_bits);
}

/* --- what follows the state ---------------------------------------------------------------------------------- */

/*
 * mov eax,[0x2000]; mov ecx,[0x2004]; cpuid; mov [0x2000],eax and so on for ebx, ecx, edx; out 0x10,al
 */
static const uint8_t ask[] = {
	0x66, 0xa1, 0x00, 0x20, 0x66, 0x8b, 0x0e, 0x04, 0x20, 0x0f, 0xa2, 0x66, 0xa3, 0x00, 0x20, 0x66, 0x89, 0x1e, 0x04, 0x20,
	0x66, 0x89, 0x0e, 0x08, 0x20, 0x66, 0x89, 0x16, 0x0c, 0x20, 0xe6, 0x10,
};

/* A leaf as the guest reads it, which has to be as the client reads it. */
static struct kvm_cpuid_entry2 read_leaf(struct guest *g, uint32_t function, uint32_t index)
{
	uint32_t *out = (uint32_t *)(g->mem + DATA);
	struct cpuid_table *t;
	struct kvm_cpuid_entry2 e;

	out[0] = function;
	out[1] = index;
	memcpy(g->mem + GUEST_CODE, ask, sizeof(ask));
	SET(g, rip, GUEST_CODE);
	guest_port(g, 0x10);
	t = guest_cpuid(g->vcpu);
	e = *guest_leaf(t, function, index);
	free(t);
	assert_int_equal(out[0], e.eax);
	assert_int_equal(out[1], e.ebx);
	assert_int_equal(out[2], e.ecx);
	assert_int_equal(out[3], e.edx);
	return e;
}

/* Runs @code and out 0x10,al in real mode. */
static void run(struct guest *g, const uint8_t *code, size_t n)
{
	memcpy(g->mem + GUEST_CODE, code, n);
	memcpy(g->mem + GUEST_CODE + n, (const uint8_t[]){ 0xe6, 0x10 }, 2);
	SET(g, rip, GUEST_CODE);
	guest_port(g, 0x10);
}

#define RUN(g, ...) run(g, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void write_cr4(struct guest *g, uint32_t value)
{
	SET(g, rax, value);
	RUN(g, 0x0f, 0x22, 0xe0);
}

static void write_xcr0(struct guest *g, uint32_t value)
{
	SET(g, rax, value);
	SET(g, rcx, 0);
	SET(g, rdx, 0);
	RUN(g, 0x0f, 0x01, 0xd1);
}

static void write_msr(struct guest *g, uint32_t index, uint64_t value)
{
	SET(g, rax, (uint32_t)value);
	SET(g, rdx, value >> 32);
	SET(g, rcx, index);
	RUN(g, 0x0f, 0x30);
}

/* How much an XSAVE image has of the components in @xcr0, by leaf 0xd of @t; SDM 1, 13.4. */
static uint32_t image_size(struct cpuid_table *t, uint64_t xcr0, bool compacted)
{
	uint32_t size = 576;

	for (unsigned int n = 2; n < 63; n++) {
		struct kvm_cpuid_entry2 *e;
		uint32_t at;

		if (!(xcr0 >> n & 1))
			continue;
		e = guest_leaf(t, 0xd, n);
		at = !compacted ? e->ebx : e->ecx & 2 ? (size + 63) & ~63u : size;
		if (at + e->eax > size)
			size = at + e->eax;
	}
	return size;
}

static void check_sizes(struct guest *g, struct cpuid_table *t, uint64_t xcr0)
{
	assert_int_equal(read_leaf(g, 0xd, 0).ebx, image_size(t, xcr0, false));
	assert_int_equal(read_leaf(g, 0xd, 1).ebx, image_size(t, xcr0, true));
}

static void check_unhalt(struct guest *g, uint32_t base, bool there)
{
	assert_int_equal(read_leaf(g, base | 1, 0).eax >> KVM_FEATURE_PV_UNHALT & 1, there);
}

/* All that follows CR4, XCR0, the local APIC's base and MISC_ENABLE, in a table with leaf 1 or without. */
static void follow(struct cpuid_table *t, bool leaf1, bool mwait, bool halts)
{
	bool pku = guest_leaf(t, 7, 0)->ecx & PKU;
	uint64_t xcr0 = guest_leaf(t, 0xd, 0)->eax & 7;
	struct guest g;
	int vm = api_vm();

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	if (mwait)
		api_ok(guest_enable(vm, KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT));
	if (halts)
		api_ok(guest_enable(vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT));
	g = guest_on(vm, ask, sizeof(ask));
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	check_unhalt(&g, 0x40000000, !halts);
	check_sizes(&g, t, 1);
	if (leaf1) {
		assert_false(read_leaf(&g, 1, 0).ecx & OSXSAVE);
		assert_true(read_leaf(&g, 1, 0).edx & APIC);
		assert_false(read_leaf(&g, 1, 0).ecx & MWAIT);
	}
	assert_false(read_leaf(&g, 7, 0).ecx & OSPKE);
	/* Without leaf 1 no CPUID has XSAVE, so only the client can set what it depends on. */
	if (leaf1) {
		write_cr4(&g, 1 << 18);
		assert_true(read_leaf(&g, 1, 0).ecx & OSXSAVE);
		write_xcr0(&g, 3);
		check_sizes(&g, t, 3);
		write_xcr0(&g, (uint32_t)xcr0);
		check_sizes(&g, t, xcr0);
		write_cr4(&g, 0);
		assert_false(read_leaf(&g, 1, 0).ecx & OSXSAVE);
		write_msr(&g, 0x1b, 0xfee00100);
		assert_false(read_leaf(&g, 1, 0).edx & APIC);
		write_msr(&g, 0x1b, 0xfee00900);
		assert_true(read_leaf(&g, 1, 0).edx & APIC);
		write_msr(&g, MISC_ENABLE, MISC_ENABLE_MWAIT | 0x1800);
		assert_int_equal(!!(read_leaf(&g, 1, 0).ecx & MWAIT), mwait);
		write_msr(&g, MISC_ENABLE, 0x1800);
		assert_false(read_leaf(&g, 1, 0).ecx & MWAIT);
	} else {
		struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs[0].value = xcr0 };

		api_ok(api_ioctl(g.vcpu, KVM_SET_XCRS, &x));
		check_sizes(&g, t, xcr0);
	}
	if (pku) {
		write_cr4(&g, 1 << 22);
		assert_true(read_leaf(&g, 7, 0).ecx & OSPKE);
		write_cr4(&g, 0);
		assert_false(read_leaf(&g, 7, 0).ecx & OSPKE);
	}
	guest_end(&g);
}

static struct cpuid_table *with_unhalt(void)
{
	struct cpuid_table *t = guest_supported();

	guest_leaf(t, 0x40000001, 0)->eax |= 1 << KVM_FEATURE_PV_UNHALT;
	guest_leaf(t, 1, 0)->ecx &= ~MWAIT;
	return t;
}

static void runtime(bool amd)
{
	for (unsigned int n = 0; n < 8; n++) {
		struct cpuid_table *t = with_unhalt();

		if (n & 1)
			guest_drop_leaf(t, 1);
		follow(t, !(n & 1), n & 2, n & 4);
		free(t);
	}
}

static void test_runtime(void **state)
{
	if (api_real())         /* newer kernels keep PV_UNHALT, and need not run real mode by these rules */
		skip();
	guest_each_model(runtime);
}

/* KVM's leaves may stand elsewhere, behind another hypervisor's. */
static void test_other_base(void **state)
{
	struct cpuid_table *t;
	int vm;

	if (api_real())
		skip();
	for (uint32_t base = 0x40000100; base <= 0x4000ff00; base += 0xfe00) {
		struct guest g;

		t = with_unhalt();
		guest_leaf(t, 0x40000001, 0)->function = base + 1;
		guest_leaf(t, 0x40000000, 0)->function = base;
		vm = api_vm();
		api_ok(guest_enable(vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT));
		g = guest_on(vm, ask, sizeof(ask));
		api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
		check_unhalt(&g, base, false);
		guest_end(&g);
		free(t);
	}
}

/* What the client puts into such a bit counts for nothing; nor does it make a table another that has run. */
static void overwritten(bool amd)
{
	struct cpuid_table *t = guest_supported();
	struct guest g = GUEST(true, 0xe6, 0x10);

	guest_leaf(t, 1, 0)->ecx |= OSXSAVE;
	guest_leaf(t, 1, 0)->edx &= ~APIC;
	guest_leaf(t, 7, 0)->ecx |= guest_leaf(t, 7, 0)->ecx & PKU ? OSPKE : 0;
	guest_leaf(t, 0xd, 0)->ebx = 0x7777;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	assert_false(read_leaf(&g, 1, 0).ecx & OSXSAVE);
	assert_true(read_leaf(&g, 1, 0).edx & APIC);
	assert_false(read_leaf(&g, 7, 0).ecx & OSPKE);
	assert_int_equal(read_leaf(&g, 0xd, 0).ebx, 576);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_leaf(t, 1, 0)->ebx ^= 1 << 24;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	guest_end(&g);
}

static void test_overwritten(void **state)
{
	if (api_real())         /* newer ones compare before they overwrite */
		skip();
	guest_each_model(overwritten);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_refused),
	cmocka_unit_test(test_address_bits),
	cmocka_unit_test(test_runtime),
	cmocka_unit_test(test_other_base),
	cmocka_unit_test(test_overwritten),
};

API_MAIN(tests)
