// SPDX-License-Identifier: MIT
/* KVM_SET_GUEST_DEBUG: every kind of stop; api.rst 4.87, SDM 3B, 17.2. */
#include "guest.h"

#define ENABLE KVM_GUESTDBG_ENABLE
#define STEP KVM_GUESTDBG_SINGLESTEP
#define HW KVM_GUESTDBG_USE_HW_BP
#define SW KVM_GUESTDBG_USE_SW_BP

#define BS (1u << 14)
#define BD (1u << 13)
#define DR7_GD (1u << 13)
/* Breakpoint @n: its kind (0 code, 1 writes, 2 ports, 3 both) and its length, less 1. */
#define BP(n, kind, len) (1u << (2 * (n)) | (uint32_t)(kind) << (16 + 4 * (n)) | ((len) - 1u) << (18 + 4 * (n)))

static int debug(struct guest *g, uint32_t control, const uint64_t *dr, uint64_t dr7)
{
	struct kvm_guest_debug d = { .control = control, .arch.debugreg = { [7] = dr7 | 0x400 } };

	if (dr)
		memcpy(d.arch.debugreg, dr, 4 * sizeof(*dr));
	return api_ioctl(g->vcpu, KVM_SET_GUEST_DEBUG, &d);
}

/* KVM_RUN ends with a stop at @pc by #DB and these causes. */
static void stops(struct guest *g, uint64_t pc, uint32_t causes)
{
	guest_run(g, KVM_EXIT_DEBUG);
	assert_int_equal(g->run->debug.arch.exception, 1);
	if (g->run->debug.arch.pc != pc)
		fail_msg("stopped at %#llx, not %#llx", (unsigned long long)g->run->debug.arch.pc,
			 (unsigned long long)pc);
	assert_int_equal(guest_regs(g).rip, pc);
	assert_int_equal(g->run->debug.arch.dr6 & (0xf | BS | BD), causes);
}


static void test_code(void **state)
{
	struct guest g = GUEST(false, 0x90, 0x90, 0x90, 0x90, 0x90, 0xf4);
	uint64_t dr[4] = { 0x1001, 0x1002, 0x1003, 0x1004 };

	if (api_real()) {
		guest_end(&g);
		skip();
	}
	/* One after the other, and each register at each place. */
	for (unsigned int n = 0; n < 4; n++) {
		uint64_t one[4] = { 0 };

		one[n] = 0x1002;
		SET(&g, rip, GUEST_CODE);
		api_ok(debug(&g, ENABLE | HW, one, BP(n, 0, 1)));
		stops(&g, 0x1002, 1u << n);
		guest_run(&g, KVM_EXIT_DEBUG);
		assert_int_equal(g.run->debug.arch.pc, 0x1002);
		/* The client steps over it: without the breakpoint. */
		api_ok(debug(&g, ENABLE, NULL, 0));
		guest_run(&g, KVM_EXIT_HLT);
	}
	SET(&g, rip, GUEST_CODE);
	for (unsigned int n = 0; n < 4; n++) {
		api_ok(debug(&g, ENABLE | HW, dr, BP(n, 0, 1)));
		stops(&g, 0x1001 + n, 1u << n);
	}
	api_ok(debug(&g, 0, NULL, 0));
	guest_run(&g, KVM_EXIT_HLT);
	/* The guest's own registers have seen nothing of it. */
	struct kvm_debugregs own;

	api_ok(api_ioctl(g.vcpu, KVM_GET_DEBUGREGS, &own));
	assert_int_equal(own.dr7, 0x400);
	assert_int_equal(own.dr6, 0xffff0ff0);
	assert_int_equal(own.db[0], 0);
	guest_end(&g);
}

static void test_data(void **state)
{
	/* mov al,[0x3000]; mov [0x3000],al; mov [0x3003],al; mov [0x2ffe],ax; inc word [0x2fff]; hlt */
	struct guest g = GUEST(false, 0xa0, 0x00, 0x30, 0xa2, 0x00, 0x30, 0xa2, 0x03, 0x30, 0xa3, 0xfe, 0x2f,
			       0xff, 0x06, 0xff, 0x2f, 0xf4);
	uint64_t dr[4] = { 0x3000, 0x3000, 0x3000 };

	if (api_real()) {
		guest_end(&g);
		skip();
	}
	/* Writes to one byte, accesses of two bytes; a trap is behind the instruction. */
	api_ok(debug(&g, ENABLE | HW, dr, BP(0, 1, 1) | BP(1, 3, 2)));
	stops(&g, 0x1003, 2);
	stops(&g, 0x1006, 3);
	stops(&g, 0x1010, 3);
	guest_run(&g, KVM_EXIT_HLT);
	/* Four bytes. */
	SET(&g, rip, GUEST_CODE);
	api_ok(debug(&g, ENABLE | HW, dr, BP(2, 1, 4)));
	stops(&g, 0x1006, 4);
	stops(&g, 0x1009, 4);
	stops(&g, 0x1010, 4);
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

/* Ports, where CR4.DE says so. */
static void test_ports(void **state)
{
	/* in al,0x20; out 0x21,al; out 0x22,al; hlt */
	struct guest g = GUEST(false, 0xe4, 0x20, 0xe6, 0x21, 0xe6, 0x22, 0xf4);
	uint64_t dr[4] = { 0x20, 0x22 };
	struct kvm_sregs s;

	if (api_real()) {
		guest_end(&g);
		skip();
	}
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 8;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	api_ok(debug(&g, ENABLE | HW, dr, BP(0, 2, 1) | BP(1, 2, 1)));
	guest_port(&g, 0x20);
	stops(&g, 0x1002, 1);
	guest_port(&g, 0x21);
	guest_port(&g, 0x22);
	stops(&g, 0x1006, 2);
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

/* Each instruction once, also those that end in an exit, and over the client's own. */
static void test_steps(void **state)
{
	/* xor ax,ax; l: inc ax; cmp al,2; jne l; in al,0x20; cpuid; mov [0x3000],al; pushf; popf; hlt */
	struct guest g = GUEST(false, 0x31, 0xc0, 0x40, 0x3c, 0x02, 0x75, 0xfb, 0xe4, 0x20, 0x0f, 0xa2, 0xa2, 0x00, 0x30,
			       0x9c, 0x9d, 0xf4);
	static const uint16_t before[] = { 0x1002, 0x1003, 0x1005, 0x1002, 0x1003, 0x1005, 0x1007 };
	static const uint16_t after[] = { 0x1009, 0x100b, 0x100e, 0x100f, 0x1010 };

	SET(&g, rsp, 0x8000);
	api_ok(debug(&g, ENABLE | STEP, NULL, 0));
	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		stops(&g, before[i], BS);
	guest_port(&g, 0x20);
	for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++)
		stops(&g, after[i], BS);
	/* The guest never sees the flag that does it. */
	assert_int_equal(*(uint16_t *)(g.mem + 0x7ffe) & 0x100, 0);
	assert_int_equal(guest_regs(&g).rflags & 0x100, 0);
	api_ok(debug(&g, 0, NULL, 0));
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

/* INT3 is the client's, or the guest's where the client does not want it. */
static void test_int3(void **state)
{
	struct guest g = GUEST(false, 0x90, 0xcc, 0xf4);

	VECTOR(&g, 3, 0x1800, 0xe6, 0x10, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x10);
	guest_run(&g, KVM_EXIT_HLT);
	if (api_real()) {
		guest_end(&g);
		skip();
	}
	SET(&g, rip, GUEST_CODE);
	api_ok(debug(&g, ENABLE | SW, NULL, 0));
	guest_run(&g, KVM_EXIT_DEBUG);
	assert_int_equal(g.run->debug.arch.exception, 3);
	assert_int_equal(g.run->debug.arch.pc, 0x1001);
	assert_int_equal(guest_regs(&g).rip, 0x1001);
	/* As a debugger does: the byte that was there, a step, and the breakpoint again. */
	g.mem[0x1001] = 0x90;
	api_ok(debug(&g, ENABLE | SW | STEP, NULL, 0));
	stops(&g, 0x1002, BS);
	api_ok(debug(&g, ENABLE | SW, NULL, 0));
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

/* The guest's access to a debug register, where the client has it watched. */
static void test_general_detect(void **state)
{
	/* nop; mov eax,dr0; hlt */
	struct guest g = GUEST(false, 0x90, 0x0f, 0x21, 0xc0, 0xf4);

	if (api_real()) {
		guest_end(&g);
		skip();
	}
	api_ok(debug(&g, ENABLE | HW, NULL, DR7_GD));
	stops(&g, 0x1001, BD);
	api_ok(debug(&g, 0, NULL, 0));
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

/* KVM_GUESTDBG_INJECT_*: the guest's own handlers run. */
static void inject(uint32_t what, unsigned int vector)
{
	struct guest g = GUEST(false, 0x90, 0xf4);

	VECTOR(&g, vector, 0x1800, 0xe6, 0x10, 0xcf);
	SET(&g, rsp, 0x8000);
	api_ok(debug(&g, ENABLE | what, NULL, 0));
	guest_port(&g, 0x10);
	assert_int_equal(*(uint16_t *)(g.mem + 0x7ffa), GUEST_CODE);
	guest_run(&g, KVM_EXIT_HLT);
	guest_end(&g);
}

static void test_inject(void **state)
{
	inject(KVM_GUESTDBG_INJECT_DB, 1);
	inject(KVM_GUESTDBG_INJECT_BP, 3);
}

/* KVM_GUESTDBG_BLOCKIRQ: steps do not end up in the handler of what is pending. */
static void test_block_irq(void **state)
{
	/* PIC; out 0x11,al; sti; nop; nop; nop; hlt */
	struct guest g = GUEST(true, PIC_INIT(0xef), 0xe6, 0x11, 0xfb, 0x90, 0x90, 0x90, 0xf4);
	struct kvm_irq_level line = { .irq = 4, .level = 1 };

	VECTOR(&g, 12, 0x1800, 0xe6, 0x10, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x11);
	g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	g.run->immediate_exit = 0;
	api_ok(api_ioctl(g.vm, KVM_IRQ_LINE, &line));
	api_ok(debug(&g, ENABLE | STEP | KVM_GUESTDBG_BLOCKIRQ, NULL, 0));
	stops(&g, 0x1017, BS);
	stops(&g, 0x1018, BS);
	stops(&g, 0x1019, BS);
	api_ok(debug(&g, 0, NULL, 0));
	guest_port(&g, 0x10);
	guest_end(&g);
}

/* The guest's own steps, by RFLAGS.TF: of branches that are taken alone where IA32_DEBUGCTL.BTF is set, once. */
static void step_branches(bool btf)
{
	static const uint16_t each[] = { 0x1001, 0x1002, 0x1004, 0x1007 };
	/* nop; stc; jnc +1; jc +1; hlt; nop; hlt */
	struct guest g = GUEST(false, 0x90, 0xf9, 0x73, 0x01, 0x72, 0x01, 0xf4, 0x90, 0xf4);
	struct kvm_debugregs d;
	uint64_t msr = ~0ULL;

	VECTOR(&g, 1, 0x1800, 0xe6, 0x10, 0xcf);
	SET(&g, rsp, 0x8000);
	SET(&g, rflags, 0x102);
	assert_int_equal(guest_set_msr(&g, 0x1d9, btf ? 2 : 0), 1);
	assert_int_equal(guest_get_msr(&g, 0x1d9, &msr), 1);
	assert_int_equal(msr, btf ? 2 : 0);
	for (unsigned int n = btf ? 3 : 0; n < 4; n++) {
		guest_port(&g, 0x10);
		assert_int_equal(*(uint16_t *)(g.mem + 0x7ffa), each[n]);
		api_ok(api_ioctl(g.vcpu, KVM_GET_DEBUGREGS, &d));
		assert_int_equal(d.dr6 & (0xf | BS | BD), BS);
		assert_int_equal(guest_get_msr(&g, 0x1d9, &msr), 1);
		assert_int_equal(msr, 0);
	}
	/* #DB has ended it. */
	guest_port(&g, 0x10);
	assert_int_equal(*(uint16_t *)(g.mem + 0x7ffa), 0x1008);
	guest_end(&g);
}

static void step_branches_of(bool amd)
{
	step_branches(false);
	step_branches(true);
}

static void test_branches(void **state)
{
	if (api_real())
		skip();
	guest_each_model(step_branches_of);
}

/* What KVM_CAP_SET_GUEST_DEBUG2 promises. */
static void test_caps(void **state)
{
	const int all = ENABLE | STEP | HW | SW | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |
			KVM_GUESTDBG_BLOCKIRQ;

	assert_int_equal(api_cap(api_sys(), KVM_CAP_SET_GUEST_DEBUG), 1);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_SET_GUEST_DEBUG2) & all, all);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_X86_ROBUST_SINGLESTEP), 1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_code),
	cmocka_unit_test(test_data),
	cmocka_unit_test(test_ports),
	cmocka_unit_test(test_steps),
	cmocka_unit_test(test_int3),
	cmocka_unit_test(test_general_detect),
	cmocka_unit_test(test_inject),
	cmocka_unit_test(test_block_irq),
	cmocka_unit_test(test_branches), cmocka_unit_test(test_caps),
};

API_MAIN(tests)
