// SPDX-License-Identifier: MIT
/*
 * KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE in VMX's format (api.rst 4.114, 4.115), and what comes to a vCPU in
 * VMX operation from outside: SMI, INIT, SIPI, a triple fault.  SDM 3C, 23.8, 25.2, 31.14.
 */
#include "vmx.h"

#define GUEST_MODE KVM_STATE_NESTED_GUEST_MODE
#define NONE (~0ULL)
#define PORT 0x80
#define OUT_PORT 0xe6, PORT
#define VMCALL 0x0f, 0x01, 0xc1
#define R_TRIPLE_FAULT 2
#define R_INIT 3
#define R_SIPI 4
#define WAIT_SIPI 3
#define VMCS_ENTRY_EVENT 788    /* where KVM's VMCS has it */
#define VMCS_ACTIVITY 916

struct state {
	struct kvm_nested_state head;
	uint8_t vmcs[4096], shadow[4096];
};

static struct state get_state(struct vmx *s)
{
	struct state n = { .head.size = sizeof(n) };

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_NESTED_STATE, &n));
	return n;
}

static int set_state(struct vmx *s, struct state *n)
{
	return api_ioctl(s->g.vcpu, KVM_SET_NESTED_STATE, n);
}

/* L2 stops in an OUT of its own, which is complete. */
static struct vmx in_l2(bool irqchip)
{
	static const uint8_t code[] = { OUT_PORT, VMCALL };
	struct vmx s = vmx_start(code, sizeof(code), 0, irqchip);

	vmx_stop(&s, PORT);
	return s;
}

/* L2 left by itself. */
static void expect(struct vmx *s, uint32_t reason)
{
	guest_port(&s->g, VMX_DONE);
	assert_int_equal(vmx_reason(s), reason);
}

static void test_sizes(void **state)
{
	struct vmx s = in_l2(false);
	struct state n = get_state(&s);

	assert_int_equal(api_cap(api_sys(), KVM_CAP_NESTED_STATE), sizeof(n));
	assert_int_equal(n.head.format, KVM_STATE_NESTED_FORMAT_VMX);
	assert_int_equal(n.head.size, sizeof(n) - sizeof(n.shadow));
	assert_int_equal(n.head.flags, GUEST_MODE);
	assert_int_equal(n.head.hdr.vmx.vmxon_pa, VMX_VMXON);
	assert_int_equal(n.head.hdr.vmx.vmcs12_pa, VMX_VMCS);
	n.head.size = sizeof(n.head);
	api_fails(E2BIG, api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, &n));
	assert_int_equal(n.head.size, sizeof(n) - sizeof(n.shadow));
	api_fails(EFAULT, api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, api_bad()));
	api_fails(EFAULT, api_ioctl(s.g.vcpu, KVM_SET_NESTED_STATE, api_bad()));
	expect(&s, R_VMCALL);
	assert_int_equal(get_state(&s).head.flags, 0);
	vmx_end(&s);
}

/* Out of VMX operation, and back into the middle of L2. */
static void test_restored(void **state)
{
	struct vmx s = in_l2(false);
	struct state n = get_state(&s), none = { .head = { .size = sizeof(none.head) } }, now;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &sregs));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_REGS, &regs));
	none.head.hdr.vmx.vmxon_pa = none.head.hdr.vmx.vmcs12_pa = NONE;
	api_ok(set_state(&s, &none));
	now = get_state(&s);
	assert_int_equal(now.head.size, sizeof(now.head));
	assert_int_equal(now.head.hdr.vmx.vmxon_pa, NONE);
	assert_int_equal(now.head.hdr.vmx.vmcs12_pa, NONE);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &sregs));
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_REGS, &regs));
	api_ok(set_state(&s, &n));
	assert_int_equal(get_state(&s).head.flags, GUEST_MODE);
	expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* The client gives L2 the tables of PAE where L1 maps nothing: no entry of them is there, and that is all. */
static void test_sregs_nowhere(void **state)
{
	static const uint8_t code[] = { OUT_PORT, VMCALL };
	struct vmx s = vmx_start(code, sizeof(code), P2_EPT, false);
	struct kvm_sregs was, k;

	vmx_ept(&s, 0);
	vmx_stop(&s, PORT);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &was));
	k = was;
	k.efer = 0;
	k.cs.l = 0;
	k.cr3 = 0x40000000;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
	assert_int_equal(k.cr3, 0x40000000);
	assert_int_equal(get_state(&s).head.flags, GUEST_MODE);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &was));
	expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* The event that VM entry injected has been delivered, and its handler has interrupts off: no rule of VM entry's is broken. */
static void test_injected_before(void **state)
{
	struct vmx s = in_l2(false);
	struct state n = get_state(&s);
	uint32_t event = 1u << 31 | 0x30;

	memcpy(n.vmcs + VMCS_ENTRY_EVENT, &event, sizeof(event));
	api_ok(set_state(&s, &n));
	expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* What makes a good state a bad one: a field of the header, or of the VMCS. */
static const struct {
	const char *what;
	uint16_t at;            /* in struct state */
	uint8_t size;
	uint64_t value;
} bad[] = {
#define HEAD(field, v) #field, offsetof(struct kvm_nested_state, field), sizeof(((struct kvm_nested_state *)0)->field), v
#define VMCS(what, at, v) what, sizeof(struct kvm_nested_state) + (at), 4, v
	{ HEAD(format, KVM_STATE_NESTED_FORMAT_SVM) },
	{ HEAD(flags, GUEST_MODE | 0x40) },
	{ HEAD(flags, GUEST_MODE | KVM_STATE_NESTED_EVMCS) },
	{ HEAD(flags, KVM_STATE_NESTED_RUN_PENDING) },
	{ HEAD(size, sizeof(struct kvm_nested_state) - 1) },
	{ HEAD(size, sizeof(struct kvm_nested_state)) },
	{ HEAD(hdr.vmx.vmxon_pa, NONE) },
	{ HEAD(hdr.vmx.vmxon_pa, VMX_VMXON + 1) },
	{ HEAD(hdr.vmx.vmxon_pa, 1ULL << 52) },
	{ HEAD(hdr.vmx.vmxon_pa, VMX_VMCS) },
	{ HEAD(hdr.vmx.vmcs12_pa, NONE) },
	{ HEAD(hdr.vmx.vmcs12_pa, VMX_VMCS + 1) },
	{ HEAD(hdr.vmx.vmcs12_pa, 1ULL << 52) },
	{ HEAD(hdr.vmx.smm.flags, KVM_STATE_NESTED_SMM_VMXON) },
	{ HEAD(hdr.vmx.smm.flags, KVM_STATE_NESTED_SMM_GUEST_MODE) },
	{ HEAD(hdr.vmx.smm.flags, 4) },
	{ HEAD(hdr.vmx.flags, 2) },
	{ VMCS("revision", 0, 1) },
	{ VMCS("pin-based controls", 744, 0) },
	{ VMCS("host CR0", 584, 0) },
};

static void test_errors(void **state)
{
	struct vmx s = in_l2(false);
	struct state good = get_state(&s), n;
	struct kvm_sregs sregs;
	struct kvm_regs regs;

	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &sregs));
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_REGS, &regs));
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		n = good;
		memcpy((char *)&n + bad[i].at, &bad[i].value, bad[i].size);
		errno = 0;
		if (set_state(&s, &n) != -1 || errno != EINVAL)
			fail_msg("row %u, %s: %s", i, bad[i].what, strerror(errno));
		/* What is found late has ended the old state, as with KVM. */
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &sregs));
		api_ok(api_ioctl(s.g.vcpu, KVM_SET_REGS, &regs));
		api_ok(set_state(&s, &good));
	}
	expect(&s, R_VMCALL);
	vmx_end(&s);
}

static void set_events(struct vmx *s, struct kvm_vcpu_events *e)
{
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_VCPU_EVENTS, e));
}

static struct kvm_vcpu_events get_events(struct vmx *s)
{
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	return e;
}

static void latch_init(struct vmx *s)
{
	struct kvm_vcpu_events e = get_events(s);

	e.flags |= KVM_VCPUEVENT_VALID_SMM;
	e.smi.latched_init = 1;
	set_events(s, &e);
}

static void test_init_in_l2(void **state)
{
	struct vmx s = in_l2(true);

	latch_init(&s);
	assert_int_equal(get_events(&s).smi.latched_init, 1);
	expect(&s, R_INIT);
	/* It is gone: L2 runs to its end. */
	assert_int_equal(get_events(&s).smi.latched_init, 0);
	vmx_expect(&s, R_VMCALL);
	vmx_end(&s);
}

/* In VMX operation it waits, as long as that lasts; L1 is not disturbed. */
static void test_init_in_l1(void **state)
{
	struct vmx s = in_l2(true);

	expect(&s, R_VMCALL);
	latch_init(&s);
	assert_int_equal(vmx_get(&s, F_REASON), R_VMCALL);
	assert_int_equal(get_events(&s).smi.latched_init, 1);
	vmx_end(&s);
}

static void sipi(struct vmx *s, uint8_t vector)
{
	struct kvm_msi m = { .address_lo = 0xfee00000, .data = 0x600u | vector };

	assert_int_equal(api_ioctl(s->g.vm, KVM_SIGNAL_MSI, &m), 1);
}

/* An INIT does nothing to one that waits, and ends with it. */
static void test_wait_for_sipi(void **state)
{
	struct vmx s = in_l2(true);
	struct state n = get_state(&s);
	struct kvm_mp_state mp = { .mp_state = KVM_MP_STATE_INIT_RECEIVED };
	uint32_t activity = WAIT_SIPI;

	memcpy(n.vmcs + VMCS_ACTIVITY, &activity, sizeof(activity));
	api_ok(set_state(&s, &n));
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_MP_STATE, &mp));
	latch_init(&s);
	sipi(&s, 0x5a);
	expect(&s, R_SIPI);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), 0x5a);
	assert_int_equal(vmx_get(&s, F_ACTIVITY), WAIT_SIPI);
	assert_int_equal(get_events(&s).smi.latched_init, 0);
	/* Awake, a SIPI makes no exit. */
	vmx_put(&s, F_ACTIVITY, 0);
	vmx_enter(&s);
	sipi(&s, 0x5a);
	expect(&s, R_VMCALL);
	vmx_end(&s);
}

static void test_triple_fault(void **state)
{
	struct vmx s = in_l2(false);
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .args = { 1 } };
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(s.g.vm, KVM_ENABLE_CAP, &cap));
	e = get_events(&s);
	e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	e.triple_fault.pending = 1;
	set_events(&s, &e);
	expect(&s, R_TRIPLE_FAULT);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_sizes), cmocka_unit_test(test_restored), cmocka_unit_test(test_sregs_nowhere),
	cmocka_unit_test(test_injected_before), cmocka_unit_test(test_errors),
	cmocka_unit_test(test_init_in_l2), cmocka_unit_test(test_init_in_l1), cmocka_unit_test(test_wait_for_sipi),
	cmocka_unit_test(test_triple_fault),
};

API_MAIN(tests)
