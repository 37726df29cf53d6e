// SPDX-License-Identifier: MIT
/* System management mode: KVM_SMI, the second address space, SMRAM, RSM, KVM_SET_VCPU_EVENTS. */
#include "api.h"

#define MEM 0x50000
#define SMBASE 0x30000
#define HANDLER (SMBASE + 0x8000)
#define SMRAM (SMBASE + 0xfe00)
#define AS1 (1u << 16)

/* Offsets in SMRAM; the layout without CPUID's LM, and with it. */
#define S32_SMBASE 0xf8
#define S32_CR4 0x114
#define S32_EBX (0x1d0 + 4 * 3)
#define S64_RBX (0x1f8 - 8 * 3)
#define REVISION 0xfc

struct smm {
	int vm, vcpu;
	uint8_t *mem, *smram;           /* gpa 0 in each of the address spaces */
	struct kvm_run *run;
};

/* mov bx, 1234h; 1: out 10h, al; inc bx; jmp 1b */
static const uint8_t program[] = { 0xbb, 0x34, 0x12, 0xe6, 0x10, 0x43, 0xeb, 0xfb };
/* mov ebx, 5; out 11h, al; rsm */
static const uint8_t handler[] = { 0x66, 0xbb, 5, 0, 0, 0, 0xe6, 0x11, 0x0f, 0xaa };

static uint32_t get32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void put32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* With or without 64-bit mode, which decides on the layout. */
static void set_cpuid(int vcpu, bool lm)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;

	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	for (unsigned int n = 0; n < c.head.nent; n++)
		if (c.e[n].function == 0x80000001 && !lm)
			c.e[n].edx &= ~(1u << 29);
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &c));
}

static struct smm start(bool lm)
{
	struct smm g = { .vm = api_vm(), .mem = api_memory(MEM), .smram = api_memory(MEM) };

	if (!api_cap(g.vm, KVM_CAP_X86_SMM))
		skip();
	api_ok(api_set_slot(g.vm, 0, 0, 0, MEM, g.mem));
	api_ok(api_set_slot(g.vm, AS1, 0, 0, MEM, g.smram));
	g.vcpu = api_vcpu(g.vm, 0);
	g.run = api_run_of(g.vcpu);
	set_cpuid(g.vcpu, lm);
	api_real_mode(g.vcpu, g.mem, program, sizeof(program));
	memcpy(g.smram + HANDLER, handler, sizeof(handler));
	return g;
}

static void end(struct smm *g)
{
	api_close(g->vcpu);
	api_close(g->vm);
}

/* Runs to the next OUT, which must be to @port, in SMM or not. */
static void run_to(struct smm *g, uint16_t port, bool smm)
{
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	assert_int_equal(g->run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(g->run->io.port, port);
	assert_int_equal(!!(g->run->flags & KVM_RUN_X86_SMM), smm);
}

static void smi(struct smm *g)
{
	api_ok(api_ioctl(g->vcpu, KVM_SMI, NULL));
}

static struct kvm_regs regs_of(struct smm *g)
{
	struct kvm_regs r;

	api_ok(api_ioctl(g->vcpu, KVM_GET_REGS, &r));
	return r;
}

static struct kvm_vcpu_events events_of(struct smm *g)
{
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(g->vcpu, KVM_GET_VCPU_EVENTS, &e));
	return e;
}

static void check_entry_state(struct smm *g)
{
	struct kvm_sregs s;
	struct kvm_vcpu_events e = events_of(g);

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.cs.base, SMBASE);
	assert_int_equal(s.cs.selector, SMBASE >> 4);
	assert_int_equal(s.ds.limit, 0xffffffff);
	assert_int_equal(s.cr0 & 1, 0);
	assert_int_equal(s.idt.limit, 0);
	assert_int_equal(e.smi.smm, 1);
	assert_int_equal(e.smi.smm_inside_nmi, 0);
	assert_int_equal(e.nmi.masked, 1);
}

static void enter_and_leave(bool lm)
{
	struct smm g = start(lm);

	run_to(&g, 0x10, false);
	smi(&g);
	run_to(&g, 0x11, true);
	check_entry_state(&g);
	assert_int_equal(regs_of(&g).rbx, 5);
	assert_int_equal(get32(g.smram + SMRAM + REVISION), lm ? 0x20064 : 0x20000);
	assert_int_equal(get32(g.smram + SMRAM + (lm ? S64_RBX : S32_EBX)), 0x1234);
	/* The other address space has not been written. */
	assert_int_equal(get32(g.mem + SMRAM + REVISION), 0);
	run_to(&g, 0x10, false);
	assert_int_equal(regs_of(&g).rbx, 0x1235);
	assert_int_equal(events_of(&g).nmi.masked, 0);
	assert_int_equal(events_of(&g).smi.smm, 0);
	end(&g);
}

static void test_layout_32(void **state)
{
	enter_and_leave(false);
}

static void test_layout_64(void **state)
{
	enter_and_leave(true);
}

/* The same address holds other code in the other address space: neither may be run for the other. */
static void test_same_address(void **state)
{
	/* mov dx, 21h or 20h; out dx, al; then RSM, or round again with a far jump to the program. */
	static const uint8_t in_smm[] = { 0xe6, 0x21, 0x0f, 0xaa };
	static const uint8_t outside[] = { 0xe6, 0x20, 0xeb, 0xfc };
	struct smm g = start(false);
	struct kvm_regs r = { .rip = 0x8000, .rflags = 2 };
	struct kvm_sregs s;

	memcpy(g.mem + HANDLER, outside, sizeof(outside));
	memcpy(g.smram + HANDLER, in_smm, sizeof(in_smm));
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cs.base = SMBASE;
	s.cs.selector = SMBASE >> 4;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(g.vcpu, KVM_SET_REGS, &r));
	for (unsigned int k = 0; k < 3; k++) {
		run_to(&g, 0x20, false);
		smi(&g);
		run_to(&g, 0x21, true);
	}
	run_to(&g, 0x20, false);
	end(&g);
}

/* A second one waits until the first has ended; SMBASE in SMRAM counts from the next on. */
static void test_pending_and_smbase(void **state)
{
	struct smm g = start(false);

	run_to(&g, 0x10, false);
	smi(&g);
	run_to(&g, 0x11, true);
	smi(&g);
	assert_int_equal(events_of(&g).smi.pending, 1);
	put32(g.smram + SMRAM + S32_SMBASE, 0x20000);
	memcpy(g.smram + 0x28000, handler, sizeof(handler));
	g.smram[0x28007] = 0x12;        /* the port */
	run_to(&g, 0x12, true);
	assert_int_equal(events_of(&g).smi.pending, 0);
	assert_int_equal(get32(g.smram + 0x2fe00 + S32_SMBASE), 0x20000);
	run_to(&g, 0x10, false);
	end(&g);
}

static void test_rsm_outside(void **state)
{
	/* The vector of #UD: out 13h, al. */
	static const uint8_t rsm[] = { 0x0f, 0xaa };
	static const uint8_t handler_ud[] = { 0xe6, 0x13 };
	struct smm g = start(false);

	memcpy(g.mem + 0x1000, rsm, sizeof(rsm));
	memcpy(g.mem + 0x600, handler_ud, sizeof(handler_ud));
	put32(g.mem + 4 * 6, 0x600);
	run_to(&g, 0x13, false);
	end(&g);
}

/* SDM 3C 31.3.1: RSM with a reserved bit of CR4 shuts down. */
static void test_invalid_state(void **state)
{
	struct smm g = start(false);

	run_to(&g, 0x10, false);
	smi(&g);
	run_to(&g, 0x11, true);
	put32(g.smram + SMRAM + S32_CR4, 1u << 31);
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	assert_int_equal(g.run->exit_reason, KVM_EXIT_SHUTDOWN);
	end(&g);
}

static void test_events(void **state)
{
	struct smm g = start(false);
	struct kvm_vcpu_events e = events_of(&g);

	assert_true(e.flags & KVM_VCPUEVENT_VALID_SMM);
	e.flags = KVM_VCPUEVENT_VALID_SMM;
	e.smi.smm = e.smi.smm_inside_nmi = 1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	e = events_of(&g);
	assert_int_equal(e.smi.smm, 1);
	assert_int_equal(e.smi.smm_inside_nmi, 1);
	/* In SMM the program runs from the other address space. */
	memcpy(g.smram + 0x1000, program, sizeof(program));
	g.smram[0x1004] = 0x15;
	run_to(&g, 0x15, true);
	/* Completes the OUT. */
	g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	g.run->immediate_exit = 0;
	e.flags = KVM_VCPUEVENT_VALID_SMM;
	memset(&e.smi, 0, sizeof(e.smi));
	e.smi.pending = 1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	assert_int_equal(events_of(&g).smi.smm, 0);
	run_to(&g, 0x11, true);
	end(&g);
}

static void test_msrs(void **state)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[2];
	} m = { .head.nmsrs = 2, .e = { { .index = 0x9e }, { .index = 0x34 } } };
	struct smm g = start(false);

	run_to(&g, 0x10, false);
	smi(&g);
	run_to(&g, 0x11, true);
	assert_int_equal(api_ioctl(g.vcpu, KVM_GET_MSRS, &m), 2);
	assert_int_equal(m.e[0].data, SMBASE);
	assert_int_equal(m.e[1].data, 1);
	end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_layout_32),
	cmocka_unit_test(test_layout_64),
	cmocka_unit_test(test_same_address),
	cmocka_unit_test(test_pending_and_smbase),
	cmocka_unit_test(test_rsm_outside),
	cmocka_unit_test(test_invalid_state),
	cmocka_unit_test(test_events),
	cmocka_unit_test(test_msrs),
};

API_MAIN(tests)
