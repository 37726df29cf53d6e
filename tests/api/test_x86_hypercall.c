// SPDX-License-Identifier: MIT
/* VMCALL and VMMCALL: which of them is the processor's own, and what becomes of the other; hypercalls.rst, api.rst 7.31. */
#include <linux/kvm_para.h>
#include <stdlib.h>

#include "guest.h"

#define OPCODE 0x0f, 0x01
#define VMCALL 0xc1
#define VMMCALL 0xd9
#define FIX KVM_X86_QUIRK_FIX_HYPERCALL_INSN

static uint64_t calls(struct guest *g)
{
	return guest_stat(g->vcpu, "hypercalls");
}

static uint64_t patched(struct guest *g)
{
	return guest_stat(g->vcpu, "hypercalls_patched");
}

/* @prefix 0: none.  The call, and out 0x10,al.  #UD: out 0x12,al; #PF: out 0x14,al */
static struct guest call_guest(uint8_t prefix, uint8_t instruction, uint64_t disabled, bool wide)
{
	const uint8_t code[] = { OPCODE, instruction, 0xe6, 0x10 };
	int vm = api_vm();
	struct cpuid_table *t = guest_supported();
	struct guest g;

	if (disabled)
		api_ok(guest_enable(vm, KVM_CAP_DISABLE_QUIRKS2, disabled));
	g = guest_on(vm, code, sizeof(code));
	g.mem[GUEST_CODE - 1] = prefix ? prefix : 0x90;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	if (wide) {
		guest_long(&g);
		LONG_VECTOR(&g, 6, 0x1800, 0xe6, 0x12);
		LONG_VECTOR(&g, 14, 0x1900, 0xe6, 0x14);
	} else {
		VECTOR(&g, 6, 0x1800, 0xe6, 0x12);
		SET(&g, rsp, 0x8000);
	}
	SET(&g, rip, GUEST_CODE - 1);
	SET(&g, rax, KVM_HC_VAPIC_POLL_IRQ);
	return g;
}

/* The processor's own runs; the other becomes it, once, and runs as well. */
static void replaced(bool amd)
{
	const uint8_t own = amd ? VMMCALL : VMCALL, other = amd ? VMCALL : VMMCALL;

	for (unsigned int n = 0; n < 8; n++) {
		uint8_t instruction = n & 1 ? other : own;
		struct guest g = call_guest(n & 2 ? 0x2e : 0, instruction, 0, n & 4);

		guest_port(&g, 0x10);
		assert_int_equal(guest_regs(&g).rax, 0);
		assert_memory_equal(g.mem + GUEST_CODE, ((const uint8_t[]){ OPCODE, own }), 3);
		assert_int_equal(calls(&g), 1);
		assert_int_equal(patched(&g), n & 1);
		/* It stays. */
		SET(&g, rip, GUEST_CODE - 1);
		guest_port(&g, 0x10);
		assert_int_equal(calls(&g), 2);
		assert_int_equal(patched(&g), n & 1);
		guest_end(&g);
	}
}

/* Without the quirk the other is what no processor of this vendor knows. */
static void undefined(bool amd)
{
	const uint8_t own = amd ? VMMCALL : VMCALL, other = amd ? VMCALL : VMMCALL;

	for (unsigned int n = 0; n < 4; n++) {
		uint8_t instruction = n & 1 ? other : own;
		struct guest g = call_guest(0, instruction, FIX, n & 2);

		guest_port(&g, n & 1 ? 0x12 : 0x10);
		assert_memory_equal(g.mem + GUEST_CODE, ((const uint8_t[]){ OPCODE, instruction }), 3);
		assert_int_equal(calls(&g), !(n & 1));
		assert_int_equal(patched(&g), 0);
		guest_end(&g);
	}
}

/* Code in a page that cannot be written to: #PF, as of a store. */
static void read_only_page(bool amd)
{
	struct guest g = call_guest(0, amd ? VMCALL : VMMCALL, 0, true);
	uint64_t *low = (uint64_t *)(g.mem + GUEST_TABLES + 0x2000), *pages = (uint64_t *)(g.mem + 0x6000);
	struct kvm_sregs s;

	for (unsigned int i = 0; i < 16; i++)
		pages[i] = i * 0x1000UL | (i == GUEST_CODE >> 12 ? 1 : 3);
	low[0] = 0x6000 | 3;
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr0 |= 1 << 16;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	guest_port(&g, 0x14);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.cr2, GUEST_CODE);
	assert_int_equal(calls(&g) + patched(&g), 0);
	guest_end(&g);
}

static void test_replaced(void **state)
{
	if (api_real())         /* the emulation of real mode in some kernels knows no hypercalls */
		skip();
	guest_each_model(replaced);
	guest_each_model(read_only_page);
}

static void test_undefined(void **state)
{
	if (api_real())
		skip();
	guest_each_model(undefined);
}

/* What is asked for nothing, and by a program. */
static void unknown(bool amd)
{
	struct guest g = call_guest(0, amd ? VMMCALL : VMCALL, 0, true);
	struct kvm_sregs s;

	SET(&g, rax, 0x7777);
	guest_port(&g, 0x10);
	assert_int_equal((int64_t)guest_regs(&g).rax, -KVM_ENOSYS);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cs.dpl = s.ss.dpl = 3;
	s.cs.selector |= 3;
	s.ss.selector |= 3;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	SET(&g, rflags, 0x3002);
	SET(&g, rax, KVM_HC_VAPIC_POLL_IRQ);
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x10);
	assert_int_equal((int64_t)guest_regs(&g).rax, -KVM_EPERM);
	assert_int_equal(calls(&g), 2);
	guest_end(&g);
}

static void test_unknown(void **state)
{
	if (api_real())
		skip();
	guest_each_model(unknown);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_replaced),
	cmocka_unit_test(test_undefined),
	cmocka_unit_test(test_unknown),
};

API_MAIN(tests)
