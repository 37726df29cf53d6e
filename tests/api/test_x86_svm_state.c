// SPDX-License-Identifier: MIT
/* KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE in SVM's format (api.rst 4.114, 4.115), and SMM while L2 runs. */
#include "svm.h"

#define GUEST_MODE KVM_STATE_NESTED_GUEST_MODE
#define GIF_SET KVM_STATE_NESTED_GIF_SET

struct state {
	struct kvm_nested_state head;
	uint8_t vmcb[4096];
};

static struct state get_state(struct svm *s)
{
	struct state n = { .head.size = sizeof(n) };

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_NESTED_STATE, &n));
	return n;
}

static int set_state(struct svm *s, struct state *n)
{
	return api_ioctl(s->g.vcpu, KVM_SET_NESTED_STATE, n);
}

static void test_size(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	struct state n = get_state(&s);

	assert_int_equal(api_cap(api_sys(), KVM_CAP_NESTED_STATE), sizeof(n));
	assert_int_equal(n.head.format, KVM_STATE_NESTED_FORMAT_SVM);
	assert_int_equal(n.head.size, sizeof(n.head));
	assert_int_equal(n.head.flags, GIF_SET);
	guest_port(&s.g, 0x20);
	n = get_state(&s);
	assert_int_equal(n.head.size, sizeof(n));
	assert_int_equal(n.head.flags & ~KVM_STATE_NESTED_RUN_PENDING, GUEST_MODE | GIF_SET);
	assert_int_equal(n.head.hdr.svm.vmcb_pa, SVM_VMCB);
	/* Too little room, and none at all. */
	n.head.size = sizeof(n) - 1;
	api_fails(E2BIG, api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, &n));
	assert_int_equal(n.head.size, sizeof(n));
	n.head.size = 0;
	api_fails(E2BIG, api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, &n));
	api_fails(EFAULT, api_ioctl(s.g.vcpu, KVM_GET_NESTED_STATE, api_bad()));
	api_fails(EFAULT, api_ioctl(s.g.vcpu, KVM_SET_NESTED_STATE, api_bad()));
	/* L1 again, with GIF clear. */
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(get_state(&s).head.flags, 0);
	svm_end(&s);
}

/* What makes a good state a bad one: a field of the header, of the VMCB's control area, of L1's state behind it. */
static const struct {
	const char *what;
	uint16_t at;            /* in struct state */
	uint8_t size;
	uint64_t value;
} bad[] = {
#define HEAD(field, v) #field, offsetof(struct kvm_nested_state, field), sizeof(((struct kvm_nested_state *)0)->field), v
#define VMCB(field, n, v) #field, sizeof(struct kvm_nested_state) + (field), n, v
	{ HEAD(format, KVM_STATE_NESTED_FORMAT_VMX) },
	{ HEAD(format, 7) },
	{ HEAD(flags, GUEST_MODE | GIF_SET | KVM_STATE_NESTED_EVMCS) },
	{ HEAD(flags, GUEST_MODE | GIF_SET | KVM_STATE_NESTED_MTF_PENDING) },
	{ HEAD(flags, GUEST_MODE | GIF_SET | 0x40) },
	{ HEAD(flags, GIF_SET | KVM_STATE_NESTED_RUN_PENDING) },
	{ HEAD(size, sizeof(struct kvm_nested_state) - 1) },
	{ HEAD(size, sizeof(struct state) - 1) },
	{ HEAD(hdr.svm.vmcb_pa, SVM_VMCB + 1) },
	{ HEAD(hdr.svm.vmcb_pa, 1ULL << 52) },
	{ VMCB(C_WORD4, 4, 2) },
	{ VMCB(C_ASID, 4, 0) },
	{ VMCB(C_IOPM, 8, 1ULL << 52) },
	{ VMCB(C_MSRPM, 8, 1ULL << 52) },
	{ VMCB(S_CR0, 8, 0x11) },
	{ VMCB(S_CR0, 8, 0x80000010) },
	{ VMCB(S_CR0, 8, 0xa0000011) },
	{ VMCB(S_RFLAGS, 8, 0x20002) },
	{ VMCB(S_EFER, 8, 0x500) },
	{ VMCB(S_CR4, 8, 1ULL << 15) },
	{ VMCB(S_CR3, 8, 1ULL << 52) },
};

static void test_errors(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	struct state good, n;

	guest_port(&s.g, 0x20);
	good = get_state(&s);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		n = good;
		memcpy((char *)&n + bad[i].at, &bad[i].value, bad[i].size);
		errno = 0;
		if (set_state(&s, &n) != -1 || errno != EINVAL)
			fail_msg("row %u, %s: %s", i, bad[i].what, strerror(errno));
		/* L2 is there still. */
		assert_int_equal(get_state(&s).head.flags & GUEST_MODE, GUEST_MODE);
	}
	api_ok(set_state(&s, &good));
	svm_expect(&s, EXIT_VMMCALL);
	svm_end(&s);
}

/* The client gives L2 the tables of PAE where L1 maps nothing: no entry of them is there, and that is all. */
static void test_sregs_nowhere(void **state)
{
	struct svm s = SVM(SVM_NPT_BIT, 0, 0xe6, 0x20, VMMCALL);
	struct kvm_sregs was, k;

	svm_npt(&s);
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &was));
	k = was;
	k.efer &= ~(1ULL << 8 | 1ULL << 10);
	k.cs.l = 0;
	k.cr3 = 0x40000000;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	assert_int_equal(get_state(&s).head.flags & GUEST_MODE, GUEST_MODE);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &was));
	svm_expect(&s, EXIT_VMMCALL);
	svm_end(&s);
}

/* Without EFER.SVME there is no other state than that of a vCPU which has never had it. */
static void test_without_svme(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);
	struct state n = get_state(&s);
	struct kvm_sregs k;

	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
	k.efer &= ~(1ULL << 12);
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	api_ok(set_state(&s, &n));
	n.head.flags = 0;
	api_fails(EINVAL, set_state(&s, &n));
	n.head.flags = GUEST_MODE | GIF_SET;
	n.head.size = sizeof(n);
	api_fails(EINVAL, set_state(&s, &n));
	svm_end(&s);
}

/* A VMRUN that fails, for the map of MSRs or else, leaves nothing behind: the next one's event is delivered. */
static void test_failed_entry(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);

	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 28);
	svm_put8(&s, C_MSRPM, SVM_MEM + SVM_MEM_SIZE);
	svm_put8(&s, C_EVENT_INJ, 1ULL << 31 | 3 << 8 | 6);
	svm_expect(&s, EXIT_INVALID);
	assert_int_equal(get_state(&s).head.flags, 0);
	svm_put8(&s, C_MSRPM, SVM_MSRPM);
	guest_port(&s.g, SVM_FAULT + 6);
	assert_int_equal(get_state(&s).head.flags & ~KVM_STATE_NESTED_RUN_PENDING, GUEST_MODE | GIF_SET);
	svm_end(&s);
}

/* GIF, of a vCPU in L1: an interrupt that waits for it is not taken. */
static void test_gif(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);
	struct state n = get_state(&s);

	SVM_CODE(&s, GUEST_CODE, 0xe6, 0x20, 0x0f, 0x01, 0xdc, 0xe6, 0x21);
	SET(&s.g, rsp, 0x9000);
	n.head.flags = 0;
	api_ok(set_state(&s, &n));
	assert_int_equal(get_state(&s).head.flags, 0);
	api_ok(api_ioctl(s.g.vcpu, KVM_NMI, NULL));
	guest_port(&s.g, 0x20);
	guest_port(&s.g, SVM_FAULT + 2);
	svm_end(&s);
}

/* --- from one vCPU to another ----------------------------------------------------------------------------------- */

/* The port access is answered, the instruction complete. */
static void complete(struct svm *s)
{
	s->g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(s->g.vcpu, KVM_RUN, NULL));
	s->g.run->immediate_exit = 0;
}

static void move(struct svm *from, struct svm *to)
{
	struct state n = get_state(from);
	struct kvm_regs regs = guest_regs(&from->g);
	struct kvm_vcpu_events events;
	struct kvm_sregs sregs;
	static const uint32_t msrs[] = { 0xc0010117, 0x1d9, 0xc0000104, 0xc0000102 };

	memcpy(to->g.mem, from->g.mem, GUEST_MEM);
	memcpy(to->mem, from->mem, SVM_MEM_SIZE);
	api_ok(api_ioctl(from->g.vcpu, KVM_GET_SREGS, &sregs));
	api_ok(api_ioctl(from->g.vcpu, KVM_GET_VCPU_EVENTS, &events));
	api_ok(api_ioctl(to->g.vcpu, KVM_SET_SREGS, &sregs));
	for (unsigned int i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		uint64_t value;

		assert_int_equal(guest_get_msr(&from->g, msrs[i], &value), 1);
		assert_int_equal(guest_set_msr(&to->g, msrs[i], value), 1);
	}
	api_ok(api_ioctl(to->g.vcpu, KVM_SET_REGS, &regs));
	api_ok(set_state(to, &n));
	api_ok(api_ioctl(to->g.vcpu, KVM_SET_VCPU_EVENTS, &events));
}

static void test_move(void **state)
{
	/* out 0x20, al; cpuid; vmmcall */
	struct svm a = SVM(SVM_NPT_BIT, 0, 0xe6, 0x20, 0x0f, 0xa2, VMMCALL), b = SVM(SVM_NPT_BIT, 0, 0xf4);

	svm_npt(&a);
	svm_put4(&a, C_WORD3, SVM_WORD3 | 1u << 18);
	svm_put4(&a, C_INT_CTL, 1u << 24 | 5);
	guest_port(&a.g, 0x20);
	complete(&a);
	move(&a, &b);
	svm_expect(&b, 0x72);
	assert_int_equal(svm_get8(&b, S_RIP), SVM_L2 + 2);
	assert_int_equal(svm_get(&b, C_INT_CTL, 4), 1u << 24 | 5);
	assert_int_equal(get_state(&b).head.flags, 0);
	/* And L1 is what it was: it goes on. */
	svm_put8(&b, S_RIP, SVM_L2 + 4);
	svm_expect(&b, EXIT_VMMCALL);
	svm_end(&a);
	svm_end(&b);
}

/* An event that VMRUN has put in, while it is being delivered: what is saved would not put it in once more. */
static void test_event_in_delivery(void **state)
{
	struct svm s = SVM(0, 0, VMMCALL);
	struct state n;
	unsigned int words = 0;

	/* L2's stack is a device: SS, RSP, RFLAGS, CS and RIP are written to it. */
	svm_put8(&s, S_RSP, 0xc0001000);
	svm_put8(&s, C_EVENT_INJ, 1ULL << 31 | 3 << 8 | 6);
	for (;;) {
		api_ok(api_ioctl(s.g.vcpu, KVM_RUN, NULL));
		if (s.g.run->exit_reason != KVM_EXIT_MMIO)
			break;
		words++;
		n = get_state(&s);
		assert_int_equal(n.vmcb[C_EVENT_INJ + 3] & 0x80, 0);
	}
	assert_int_equal(s.g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(s.g.run->io.port, SVM_FAULT + 6);
	assert_int_equal(words, 5);
	svm_end(&s);
}

/* --- system management mode ----------------------------------------------------------------------------------------- */

#define SMBASE 0x30000UL

/* out 0x33, al; rsm */
static uint8_t *smram(struct svm *s)
{
	static const uint8_t handler[] = { 0xe6, 0x33, 0x0f, 0xaa };
	uint8_t *m;

	if (!api_cap(s->g.vm, KVM_CAP_X86_SMM)) {
		svm_end(s);
		skip();
	}
	m = api_memory(0x10000);
	/* In SMM's own address space. */
	api_ok(api_set_slot(s->g.vm, 1 << 16, 0, SMBASE, 0x10000, m));
	memcpy(m + 0x8000, handler, sizeof(handler));
	return m;
}

static void test_smm(void **state)
{
	struct svm s = SVM(SVM_NPT_BIT | SVM_LBRV, 0, 0xe6, 0x20, VMMCALL);
	uint8_t *m = smram(&s);
	struct state n;

	svm_npt(&s);
	svm_put8(&s, C_VIRT_EXT, 1);
	svm_put8(&s, S_BR_FROM, 0x4444);
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_SMI, NULL));
	guest_port(&s.g, 0x33);
	assert_int_equal(s.g.run->flags & KVM_RUN_X86_SMM, KVM_RUN_X86_SMM);
	n = get_state(&s);
	assert_int_equal(n.head.flags & GUEST_MODE, 0);
	/* In there is no L2, and none can be put in. */
	n.head.flags = GUEST_MODE | GIF_SET;
	n.head.size = sizeof(n);
	api_fails(EINVAL, set_state(&s, &n));
	svm_expect(&s, EXIT_VMMCALL);
	assert_int_equal(svm_get8(&s, S_RIP), SVM_L2 + 2);
	assert_int_equal(svm_get8(&s, S_BR_FROM), 0x4444);
	svm_end(&s);
	munmap(m, 0x10000);
}

/* What lies in memory meanwhile may be spoilt: there is no way back. */
static void test_smm_spoilt(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	uint8_t *m = smram(&s);

	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_SMI, NULL));
	guest_port(&s.g, 0x33);
	svm_put4(&s, C_ASID, 0);
	guest_run(&s.g, KVM_EXIT_SHUTDOWN);
	svm_end(&s);
	munmap(m, 0x10000);
}

/* An SMI that L1 wants to hear of is pending until GIF is set. */
static void test_smi_intercept(void **state)
{
	struct svm s = SVM(0, 0, 0xe6, 0x20, VMMCALL);
	uint8_t *m = smram(&s);

	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 2);
	/* In L1, behind the exit: out 0x30, al; stgi; out 0x31, al */
	SVM_CODE(&s, GUEST_CODE + 8, 0xe6, 0x30, 0x0f, 0x01, 0xdc, 0xe6, 0x31);
	guest_port(&s.g, 0x20);
	api_ok(api_ioctl(s.g.vcpu, KVM_SMI, NULL));
	guest_port(&s.g, 0x30);
	assert_int_equal(svm_get8(&s, C_EXIT_CODE), 0x62);
	guest_port(&s.g, 0x33);
	guest_port(&s.g, 0x31);
	svm_end(&s);
	munmap(m, 0x10000);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_size),
	cmocka_unit_test(test_errors), cmocka_unit_test(test_sregs_nowhere),
	cmocka_unit_test(test_without_svme),
	cmocka_unit_test(test_failed_entry),
	cmocka_unit_test(test_gif),
	cmocka_unit_test(test_move),
	cmocka_unit_test(test_event_in_delivery),
	cmocka_unit_test(test_smm),
	cmocka_unit_test(test_smm_spoilt),
	cmocka_unit_test(test_smi_intercept),
};

API_MAIN(tests)
