// SPDX-License-Identifier: MIT
/* The local APIC's registers as a guest writes them and KVM_GET_LAPIC shows them; SDM 3A, 11.4 and 11.5.4. */
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"

#define APIC 0xfee00000u
#define VERSION 0x30
#define SPIV 0xf0
#define DIVIDE 0x3e0
#define INITIAL_COUNT 0x380
#define CURRENT_COUNT 0x390
#define NO_EOI (1u << 24)       /* in the version register */
#define SPIV_NO_EOI (1u << 12)
#define X2APIC (1u << 21)

static uint32_t lapic(struct guest *g, unsigned int at)
{
	struct kvm_lapic_state s;
	uint32_t v;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(&v, s.regs + at, sizeof(v));
	return v;
}

/* Real mode with 4 GiB segments: mov [ebx],eax; mov ecx,[ebx]; out 0x10,al */
static const uint8_t by_memory[] = { 0x67, 0x66, 0x89, 0x03, 0x67, 0x66, 0x8b, 0x0b, 0xe6, 0x10 };

/* wrmsr; rdmsr; out 0x10,al.  #GP: out 0x13,al */
static const uint8_t by_msr[] = { 0x0f, 0x30, 0x0f, 0x32, 0xe6, 0x10 };

/* A write of @value to the register at @at, and what it reads as then; for the guest and for the client. */
static uint32_t write_register(struct guest *g, unsigned int at, uint32_t value, bool x2apic)
{
	struct kvm_regs r;

	memcpy(g->mem + GUEST_CODE, x2apic ? by_msr : by_memory, x2apic ? sizeof(by_msr) : sizeof(by_memory));
	SET(g, rip, GUEST_CODE);
	SET(g, rax, value);
	SET(g, rdx, 0);
	SET(g, rbx, APIC + at);
	SET(g, rcx, 0x800 + at / 16);
	guest_port(g, 0x10);
	r = guest_regs(g);
	assert_int_equal((uint32_t)(x2apic ? r.rax : r.rcx), lapic(g, at));
	return lapic(g, at);
}

static struct guest apic_guest(int vm, bool x2apic)
{
	struct guest g = guest_on(vm, by_memory, sizeof(by_memory));
	struct cpuid_table *t = guest_supported();
	struct kvm_sregs s;

	guest_leaf(t, 1, 0)->ecx |= X2APIC;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.apic_base |= x2apic ? 0x400 : 0;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	return g;
}

/* Three bits of the divide configuration can be set, whatever else is written; and each of its values divides. */
static void divide(bool amd)
{
	static const uint8_t divider[16] = { [0] = 2, 4, 8, 16, [8] = 32, 64, 128, 1 };

	for (unsigned int x2apic = 0; x2apic < 2; x2apic++) {
		int vm = api_vm();
		struct guest g;

		api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
		g = apic_guest(vm, x2apic);
		assert_int_equal(write_register(&g, DIVIDE, 0xffffffff, x2apic), 0xb);
		for (unsigned int bit = 0; bit < 32; bit++)
			assert_int_equal(write_register(&g, DIVIDE, 1u << bit, x2apic), 1u << bit & 0xb);
		for (unsigned int v = 0; v < 16; v++) {
			uint32_t before, after;

			if (!divider[v])
				continue;
			/* As long as a timer can run: what passes meanwhile takes less than the half, be it two seconds. */
			assert_int_equal(write_register(&g, INITIAL_COUNT, 0, x2apic), 0);
			assert_int_equal(write_register(&g, DIVIDE, v, x2apic), v);
			write_register(&g, INITIAL_COUNT, 0xffffffff, x2apic);
			before = lapic(&g, CURRENT_COUNT);
			assert_true(before > 0x80000000);
			/* It runs on at another rate: the count that is left stays. */
			write_register(&g, DIVIDE, v ^ 8, x2apic);
			after = lapic(&g, CURRENT_COUNT);
			assert_true(after <= before && after > before / 2);
			assert_int_equal(lapic(&g, INITIAL_COUNT), 0xffffffff);
		}
		guest_end(&g);
	}
}

static void test_divide(void **state)
{
	if (api_real())         /* emulating real mode it need not be as quick as this asks for */
		skip();
	guest_each_model(divide);
}

/* wrmsr with bits 63:32 set, which no register but ICR has. */
static void test_upper_half(void **state)
{
	int vm = api_vm();
	struct guest g;

	if (api_real()) {
		api_close(vm);
		skip();
	}
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	g = apic_guest(vm, true);
	memcpy(g.mem + GUEST_CODE, by_msr, sizeof(by_msr));
	for (unsigned int bit = 0; bit < 32; bit++) {
		SET(&g, rip, GUEST_CODE);
		SET(&g, rsp, 0x8000);
		SET(&g, rax, 3);
		SET(&g, rdx, 1u << bit);
		SET(&g, rcx, 0x800 + DIVIDE / 16);
		guest_port(&g, 0x13);
		assert_int_equal(lapic(&g, DIVIDE), 0);
	}
	guest_end(&g);
}

/* Directed EOI, and the bit of SPIV with it: with x2APIC in CPUID, and an I/O APIC that is the client's. */
static void version(bool amd)
{
	for (unsigned int n = 0; n < 4; n++) {
		bool split = n & 1, x2apic = n & 2, directed = split && x2apic;
		int vm = api_vm();
		struct cpuid_table *t = guest_supported();
		struct guest g;

		if (split)
			api_ok(guest_enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24));
		else
			api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
		g = apic_guest(vm, false);
		guest_leaf(t, 1, 0)->ecx &= x2apic ? ~0u : ~X2APIC;
		api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
		free(t);
		/* Version 0x14, six entries of the local vector table. */
		assert_int_equal(write_register(&g, VERSION, 0xffffffff, false), 0x50014 | (directed ? NO_EOI : 0));
		assert_int_equal(write_register(&g, SPIV, 0xffffffff, false), 0x3ff | (directed ? SPIV_NO_EOI : 0));
		assert_int_equal(write_register(&g, SPIV, 0x11ff, false), 0x1ff | (directed ? SPIV_NO_EOI : 0));
		guest_end(&g);
	}
}

static void test_version(void **state)
{
	if (api_real())         /* newer kernels know a seventh entry, and I/O APICs with an EOI register */
		skip();
	guest_each_model(version);
}

/* The entry for corrected machine checks comes with MCG_CAP.CMCI_P. */
static void test_version_with_cmci(void **state)
{
	uint64_t cap = 0;
	struct guest g;
	int vm;

	if (api_real())
		skip();
	if (api_linked())
		assert_int_equal(anykvm_set_cpu("intel"), 0);
	api_ok(api_ioctl(api_sys(), KVM_X86_GET_MCE_CAP_SUPPORTED, &cap));
	if (!(cap & 1 << 10))   /* AMD's has none */
		skip();
	vm = api_vm();
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	g = apic_guest(vm, false);
	cap = 1 << 10 | 1 << 8 | 10;
	api_ok(api_ioctl(g.vcpu, KVM_X86_SETUP_MCE, &cap));
	assert_int_equal(lapic(&g, VERSION), 0x60014);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_divide),
	cmocka_unit_test(test_upper_half),
	cmocka_unit_test(test_version),
	cmocka_unit_test(test_version_with_cmci),
};

API_MAIN(tests)
