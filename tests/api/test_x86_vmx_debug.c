// SPDX-License-Identifier: MIT
/* IA32_DEBUGCTL and DR7 of L2: loaded, saved, and gone behind an exit.  SDM 3C, 26.3.1.1, 26.3.2.1, 27.3.1, 27.5.1. */
#include "vmx.h"

#define F_DEBUGCTL 0x2802
#define F_EXCEPTIONS 0x4004
#define F_DR7 0x681a
#define F_PENDING_DEBUG 0x6822
#define E_LOAD_DEBUG (1u << 2)          /* F_ENTRY */
#define X_SAVE_DEBUG (1u << 2)          /* F_EXIT */
#define MSR_DEBUGCTL 0x1d9
#define LBR 1
#define BTF 2
#define RESERVED 4
#define TF 0x102
#define BS 0x4000
#define GP 13
#define GD 0x2000
#define REASON_GUEST_STATE 33
#define BY_MOV_SS 2
#define PORT 0x80
#define VMCALL 0x0f, 0x01, 0xc1
#define SMBASE 0x30000UL
#define SMRAM 0x10000UL
#define READ_DEBUGCTL 0xb9, 0xd9, 0x01, 0, 0, 0x0f, 0x32                        /* mov ecx; rdmsr */
#define WRITE_DEBUGCTL(n) 0xb9, 0xd9, 0x01, 0, 0, 0xb8, n, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30     /* ... 14 bytes */

static uint64_t live(struct vmx *s)
{
	uint64_t value = ~0ULL;

	assert_int_equal(guest_get_msr(&s->g, MSR_DEBUGCTL, &value), 1);
	return value;
}

/* A kernel's KVM drops BTF. */
static struct vmx start(const uint8_t *code, size_t n)
{
	struct vmx s;

	if (api_real())
		skip();
	s = vmx_start(code, n, 0, false);
	return s;
}

#define START(...) start((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* There are no last branches, so LBR has no place to be. */
static void test_register(void **state)
{
	struct vmx s = START(READ_DEBUGCTL, VMCALL);

	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, LBR | BTF), 1);
	assert_int_equal(live(&s), BTF);
	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, RESERVED), 0);
	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, 1ULL << 32), 0);
	assert_int_equal(live(&s), BTF);
	vmx_end(&s);
}

/* What L2 finds there, by the entry control, the field and what L1 had; and DR7 with it: mov rbx,dr7 */
static const struct {
	bool load;
	uint8_t field, l1, l2;
} entries[] = {
	{ false, 0, 0, 0 }, { false, 0, BTF, BTF }, { false, BTF, 0, 0 }, { false, RESERVED, 0, 0 },
	{ true, 0, 0, 0 }, { true, 0, BTF, 0 }, { true, BTF, 0, BTF }, { true, BTF, BTF, BTF }, { true, LBR, 0, 0 },
};

static void test_entry(void **state)
{
	for (unsigned int n = 0; n < sizeof(entries) / sizeof(entries[0]); n++) {
		struct vmx s = START(READ_DEBUGCTL, 0x0f, 0x21, 0xfb, VMCALL);

		if (entries[n].load)
			vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
		vmx_put(&s, F_DEBUGCTL, entries[n].field);
		vmx_put(&s, F_DR7, 0x402);
		assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, entries[n].l1), 1);
		vmx_expect(&s, R_VMCALL);
		if (*vmx_reg(&s, 0) != entries[n].l2)
			fail_msg("row %u: %#lx", n, *vmx_reg(&s, 0));
		assert_int_equal(*vmx_reg(&s, 3), entries[n].load ? 0x402 : 0x400);
		/* Without "save debug controls" the fields are L1's. */
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), entries[n].field);
		assert_int_equal(vmx_get(&s, F_DR7), 0x402);
		assert_int_equal(live(&s), 0);
		vmx_end(&s);
	}
}

static void test_bad_field(void **state)
{
	struct vmx s = START(VMCALL);

	vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
	vmx_put(&s, F_DEBUGCTL, RESERVED);
	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, BTF), 1);
	assert_int_equal(vmx_run(&s), VMX_ENTRY_FAILED | REASON_GUEST_STATE);
	/* L1's state is loaded as by an exit; 26.8. */
	assert_int_equal(live(&s), 0);
	vmx_put(&s, F_DEBUGCTL, 0);
	vmx_expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* L2 writes it. */
static void test_exit(void **state)
{
	for (unsigned int save = 0; save < 2; save++) {
		struct vmx s = START(WRITE_DEBUGCTL(BTF), READ_DEBUGCTL, VMCALL, WRITE_DEBUGCTL(0), VMCALL,
				     WRITE_DEBUGCTL(RESERVED), VMCALL);

		if (save)
			vmx_set(&s, F_EXIT, X_SAVE_DEBUG);
		vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
		vmx_expect(&s, R_VMCALL);
		assert_int_equal(*vmx_reg(&s, 0), BTF);
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), save ? BTF : 0);
		assert_int_equal(live(&s), 0);
		vmx_next(&s);
		vmx_expect(&s, R_VMCALL);
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), 0);
		vmx_next(&s);
		vmx_expect(&s, R_IO);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 16, VMX_FAULT + GP);
		vmx_end(&s);
	}
}

/* By the MSR areas of entry and exit, which come behind the fields. */
static void test_areas(void **state)
{
	struct vmx s = START(READ_DEBUGCTL, VMCALL);
	uint64_t *area = vmx_at(&s, VMX_FREE);

	area[0] = area[2] = MSR_DEBUGCTL;
	area[1] = BTF;
	area[3] = BTF;
	vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
	vmx_put(&s, 0x200a, VMX_FREE);          /* entry, load */
	vmx_put(&s, 0x4014, 1);
	vmx_expect(&s, R_VMCALL);
	assert_int_equal(*vmx_reg(&s, 0), BTF);
	assert_int_equal(live(&s), 0);
	vmx_put(&s, 0x4014, 0);
	vmx_put(&s, 0x2008, VMX_FREE + 16);     /* exit, load */
	vmx_put(&s, 0x4010, 1);
	vmx_goto(&s, VMX_L2);
	vmx_expect(&s, R_VMCALL);
	assert_int_equal(*vmx_reg(&s, 0), 0);
	assert_int_equal(live(&s), BTF);
	vmx_end(&s);
}

/* --- single steps ------------------------------------------------------------------------------------------------ */

/* nop; nop; jmp +1; hlt; hlt: L2 steps, and L1 hears of it. */
static struct vmx stepping(uint8_t btf)
{
	struct vmx s = START(0x90, 0x90, 0xeb, 0x01, 0xf4, 0xf4);

	vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
	vmx_set(&s, F_EXIT, X_SAVE_DEBUG);
	vmx_put(&s, F_DEBUGCTL, btf);
	vmx_put(&s, F_RFLAGS, TF);
	return s;
}

static void test_steps(void **state)
{
	for (uint8_t btf = 0; btf <= BTF; btf += BTF) {
		struct vmx s = stepping(btf);
		uint64_t at = VMX_L2 + (btf ? 5 : 1);

		vmx_put(&s, F_EXCEPTIONS, 1 << 1);
		vmx_expect(&s, R_EXCEPTION);
		assert_int_equal(vmx_get(&s, F_RIP), at);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION), BS);
		/* One that makes an exit clears nothing; 27.1. */
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), btf);
		/* One that L2 takes ends it. */
		vmx_put(&s, F_EXCEPTIONS, 0);
		vmx_goto(&s, VMX_L2);
		vmx_expect(&s, R_IO);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 16, VMX_FAULT + 1);
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), 0);
		vmx_end(&s);
	}
}

/* #DB as VM entry puts it in leaves DR6, DR7.GD and IA32_DEBUGCTL alone, which one that comes about does not; 26.6.1.1. */
static void test_injected(void **state)
{
	for (unsigned int injected = 0; injected < 2; injected++) {
		struct vmx s = START(0x90, VMCALL);
		struct kvm_debugregs d;

		vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
		vmx_set(&s, F_EXIT, X_SAVE_DEBUG);
		vmx_put(&s, F_DR7, 0x400 | GD);
		vmx_put(&s, F_DEBUGCTL, injected ? BTF : 0);
		if (injected)
			vmx_put(&s, F_ENTRY_EVENT, 1u << 31 | 3 << 8 | 1);
		else
			vmx_put(&s, F_RFLAGS, TF);
		vmx_expect(&s, R_IO);
		assert_int_equal(vmx_get(&s, F_QUALIFICATION) >> 16, VMX_FAULT + 1);
		assert_int_equal(vmx_get(&s, F_DR7), injected ? 0x400 | GD : 0x400);
		assert_int_equal(vmx_get(&s, F_DEBUGCTL), injected ? BTF : 0);
		api_ok(api_ioctl(s.g.vcpu, KVM_GET_DEBUGREGS, &d));
		assert_int_equal(d.dr6 & BS, injected ? 0 : BS);
		vmx_end(&s);
	}
}

/* Behind MOV SS no trap is pending where branches alone are stepped: mov ss,[0x8000]; cpuid */
static void test_deferred(void **state)
{
	for (unsigned int n = 0; n < 4; n++) {
		uint64_t btf = n & 1 ? BTF : 0, pending = btf ? 0 : BS;
		struct vmx s = START(0x8e, 0x14, 0x25, 0x00, 0x80, 0, 0, 0x0f, 0xa2);

		vmx_set(&s, F_ENTRY, E_LOAD_DEBUG);
		if (n & 2)
			vmx_set(&s, F_EXIT, X_SAVE_DEBUG);
		vmx_put(&s, F_DEBUGCTL, btf);
		vmx_put(&s, F_RFLAGS, TF);
		vmx_expect(&s, R_CPUID);
		assert_int_equal(vmx_get(&s, F_INTERRUPTIBILITY), BY_MOV_SS);
		assert_int_equal(vmx_get(&s, F_PENDING_DEBUG), pending);
		vmx_expect(&s, R_CPUID);
		vmx_put(&s, F_PENDING_DEBUG, pending ^ BS);
		assert_int_equal(vmx_run(&s), VMX_ENTRY_FAILED | REASON_GUEST_STATE);
		vmx_end(&s);
	}
}

/* --- while L2 runs -------------------------------------------------------------------------------------------------- */

/* L2 has set it, and stops in an OUT of its own, which is complete. */
static struct vmx in_l2(void)
{
	struct vmx s = START(WRITE_DEBUGCTL(BTF), 0xe6, PORT, READ_DEBUGCTL, VMCALL);

	vmx_stop(&s, PORT);
	assert_int_equal(live(&s), BTF);
	return s;
}

static void finds(struct vmx *s, uint64_t value)
{
	guest_port(&s->g, VMX_DONE);
	assert_int_equal(vmx_reason(s), R_VMCALL);
	assert_int_equal(*vmx_reg(s, 0), value);
	assert_int_equal(live(s), 0);
	vmx_end(s);
}

/* It is a register of the vCPU: the client moves it as one, and the nested state leaves it alone, as with KVM. */
static void test_state(void **state)
{
	struct { struct kvm_nested_state head; uint8_t vmcs[2 * 4096]; } n = { .head.size = sizeof(n) },
		none = { .head.size = sizeof(none.head) };
	struct vmx s = in_l2();
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	api_ok(api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, &n));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &sregs));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_REGS, &regs));
	none.head.hdr.vmx.vmxon_pa = none.head.hdr.vmx.vmcs12_pa = ~0ULL;
	for (unsigned int before = 0; before < 2; before++) {
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_NESTED_STATE, &none));
		assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, before ? BTF : 0), 1);
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &sregs));
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_REGS, &regs));
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_NESTED_STATE, &n));
		if (!before)
			assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, BTF), 1);
		assert_int_equal(live(&s), BTF);
	}
	finds(&s, BTF);
	s = in_l2();
	assert_int_equal(guest_set_msr(&s.g, MSR_DEBUGCTL, 0), 1);
	finds(&s, 0);
}

/* System management mode comes between: rsm.  What L2 is is in the VMCS meanwhile, IA32_DEBUGCTL where it was. */
static void test_smm(void **state)
{
	struct vmx s = in_l2();
	uint64_t count = guest_stat(s.g.vcpu, "smm_entries");
	uint8_t *m;

	if (!api_cap(s.g.vm, KVM_CAP_X86_SMM)) {
		vmx_end(&s);
		skip();
	}
	m = api_memory(SMRAM);
	memcpy(m + 0x8000, "\x0f\xaa", 2);
	api_ok(api_set_slot(s.g.vm, 1 << 16, 0, SMBASE, SMRAM, m));
	api_ok(api_ioctl(s.g.vcpu, KVM_SMI, 0));
	guest_port(&s.g, VMX_DONE);
	assert_int_equal(guest_stat(s.g.vcpu, "smm_entries"), count + 1);
	assert_int_equal(vmx_reason(&s), R_VMCALL);
	assert_int_equal(*vmx_reg(&s, 0), BTF);
	vmx_end(&s);
	munmap(m, SMRAM);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_register), cmocka_unit_test(test_entry), cmocka_unit_test(test_bad_field),
	cmocka_unit_test(test_exit), cmocka_unit_test(test_areas), cmocka_unit_test(test_steps),
	cmocka_unit_test(test_injected), cmocka_unit_test(test_deferred), cmocka_unit_test(test_state),
	cmocka_unit_test(test_smm),
};

API_MAIN(tests)
