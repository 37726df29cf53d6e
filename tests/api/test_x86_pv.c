// SPDX-License-Identifier: MIT
/* What KVM offers its guests beside clocks: paravirtual end of interrupt, hypercalls, TLB flushes left to the other. */
#include "guest.h"

#include <linux/kvm_para.h>
#include <pthread.h>

#define MSR_STEAL 0x4b564d03
#define MSR_PV_EOI 0x4b564d04
#define MSR_POLL 0x4b564d05
#define F_STEAL_TIME (1U << 5)
#define F_PV_EOI (1U << 6)
#define F_PV_UNHALT (1U << 7)
#define F_PV_SEND_IPI (1U << 11)
#define BYTE 0x5000
#define AREA 0x6000
#define IF 0x200

/* How many interrupts were ended by the bit in memory; a kernel does not count them. */
static uint64_t pv_eois(struct guest *g)
{
	return api_real() ? 0 : guest_stat(g->vcpu, "pv_eois");
}

/* All that KVM of Linux 6.1 offers, but stolen time, which depends on the host. */
#define FEATURES 0x01007edbU

static void test_offered(void **state)
{
	struct guest g = GUEST(true, 0xf4);
	uint32_t offered = guest_kvm_features(&g, ~0U);

	if (api_real())
		assert_int_equal(offered & FEATURES & ~F_STEAL_TIME, FEATURES);
	else
		assert_int_equal(offered & ~F_STEAL_TIME, FEATURES);
	guest_end(&g);
}

/* A guest that halts by itself is not to wait for kicks. */
static void test_no_unhalt(void **state)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	int vm = api_vm();
	struct guest g;

	if (!(api_cap(vm, KVM_CAP_X86_DISABLE_EXITS) & KVM_X86_DISABLE_EXITS_HLT)) {
		api_close(vm);
		skip();
	}
	api_ok(guest_enable(vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT));
	g = GUEST_ON(vm, 0xf4);
	assert_true(guest_kvm_features(&g, ~0U) & F_PV_UNHALT);
	c.head.nent = 256;
	api_ok(api_ioctl(g.vcpu, KVM_GET_CPUID2, &c));
	for (uint32_t i = 0; i < c.head.nent; i++)
		if (c.e[i].function == 0x40000001)
			assert_int_equal(c.e[i].eax & (F_PV_UNHALT | F_PV_EOI), F_PV_EOI);
	guest_end(&g);
}

static void test_poll_control(void **state)
{
	struct guest g = GUEST(true, 0xf4);
	uint64_t value;

	assert_int_equal(guest_get_msr(&g, MSR_POLL, &value), 1);
	assert_int_equal(value, 1);
	assert_int_equal(guest_set_msr(&g, MSR_POLL, 2), 0);
	assert_int_equal(guest_set_msr(&g, MSR_POLL, 0), 1);
	guest_end(&g);
}

/* --- end of interrupt ------------------------------------------------------------------------------ */

/* The ports by which a handler tells what it has done. */
enum { STARTED = 0x10, ENDED_BY_BIT = 0x11, ENDED_BY_WRITE = 0x12, ENTERED = 0x13 };

#define TEST_AND_CLEAR 0xf0, 0x0f, 0xba, 0x36, BYTE & 0xff, BYTE >> 8, 0x00
#define END_OF_INTERRUPT \
	TEST_AND_CLEAR, 0x72, 0x0f, STORE32(0xfee000b0u, 0), 0xe6, ENDED_BY_WRITE, 0xcf, 0xe6, ENDED_BY_BIT, 0xcf

/* local APIC on, without the PIC; out; sti; l: hlt; jmp l.  Vectors 0x50 and 0x60 end by the bit, where it is set. */
static struct guest eoi_guest(uint64_t msr)
{
	struct guest g = GUEST(true, STORE32(0xfee000f0u, 0x1ff), STORE32(0xfee00350u, 0x10000), 0xe6, STARTED, 0xfb,
			       0xf4, 0xeb, 0xfd);

	VECTOR(&g, 0x50, 0x1800, END_OF_INTERRUPT);
	VECTOR(&g, 0x60, 0x1900, END_OF_INTERRUPT);
	/* This one leaves the guest first. */
	VECTOR(&g, 0x70, 0x1a00, 0xe6, ENTERED, END_OF_INTERRUPT);
	guest_kvm_features(&g, ~0U);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	guest_port(&g, STARTED);
	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, msr), 1);
	return g;
}

static void send(struct guest *g, uint8_t vector)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x4000 | vector };

	assert_int_equal(api_ioctl(g->vm, KVM_SIGNAL_MSI, &msi), 1);
}

static bool in_service(struct guest *g, uint8_t vector)
{
	struct kvm_lapic_state s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	return s.regs[0x100 + vector / 32 * 0x10 + vector % 32 / 8] >> vector % 8 & 1;
}

/* Interrupt controllers in hardware leave nothing for a kernel to spare. */
static void skip_if_hardware(struct guest *g)
{
	if (!api_real() || g->run->io.port == ENDED_BY_BIT)
		return;
	guest_end(g);
	skip();
}

static void test_eoi(void **state)
{
	struct guest g = eoi_guest(BYTE | 1);

	for (uint64_t n = 1; n <= 3; n++) {
		send(&g, n == 2 ? 0x60 : 0x50);
		guest_run(&g, KVM_EXIT_IO);
		skip_if_hardware(&g);
		assert_int_equal(g.run->io.port, ENDED_BY_BIT);
		assert_false(in_service(&g, n == 2 ? 0x60 : 0x50));
		assert_int_equal(g.mem[BYTE], 0);
		if (!api_real())
			assert_int_equal(pv_eois(&g), n);
	}
	guest_end(&g);
}

static void test_eoi_off(void **state)
{
	struct guest g = eoi_guest(BYTE);

	send(&g, 0x50);
	guest_port(&g, ENDED_BY_WRITE);
	assert_false(in_service(&g, 0x50));
	assert_int_equal(g.mem[BYTE], 0);
	assert_int_equal(pv_eois(&g), 0);
	guest_end(&g);
}

/* One that waits behind it must come in at once: so the first ends by a write. */
static void test_eoi_another_waits(void **state)
{
	struct guest g = eoi_guest(BYTE | 1);

	send(&g, 0x50);
	send(&g, 0x60);
	guest_port(&g, ENDED_BY_WRITE);
	guest_run(&g, KVM_EXIT_IO);
	skip_if_hardware(&g);
	assert_int_equal(g.run->io.port, ENDED_BY_BIT);
	assert_false(in_service(&g, 0x50) || in_service(&g, 0x60));
	guest_end(&g);
}

/* While the client has the vCPU, the local APIC alone knows. */
static void test_eoi_taken_back(void **state)
{
	struct guest g = eoi_guest(BYTE | 1);

	send(&g, 0x50);
	guest_run(&g, KVM_EXIT_IO);
	skip_if_hardware(&g);
	send(&g, 0x70);
	guest_port(&g, ENTERED);
	assert_true(in_service(&g, 0x70));
	assert_int_equal(g.mem[BYTE], 0);
	/* With another one waiting it is not offered again. */
	send(&g, 0x60);
	guest_port(&g, ENDED_BY_WRITE);
	assert_false(in_service(&g, 0x70));
	guest_run(&g, KVM_EXIT_IO);
	skip_if_hardware(&g);
	assert_int_equal(g.run->io.port, ENDED_BY_BIT);
	assert_false(in_service(&g, 0x60));
	send(&g, 0x70);
	guest_port(&g, ENTERED);
	guest_port(&g, ENDED_BY_BIT);
	assert_false(in_service(&g, 0x70));
	guest_end(&g);
}

/* An I/O APIC that waits for the end of a level-triggered interrupt has to hear of it. */
static void test_eoi_level(void **state)
{
	struct guest g = eoi_guest(BYTE | 1);
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_irq_level line = { .irq = 20, .level = 1 };

	api_ok(api_ioctl(g.vm, KVM_GET_IRQCHIP, &chip));
	chip.chip.ioapic.redirtbl[20].bits = 0x8050;
	api_ok(api_ioctl(g.vm, KVM_SET_IRQCHIP, &chip));
	api_ok(api_ioctl(g.vm, KVM_IRQ_LINE, &line));
	guest_port(&g, ENDED_BY_WRITE);
	line.level = 0;
	api_ok(api_ioctl(g.vm, KVM_IRQ_LINE, &line));
	api_ok(api_ioctl(g.vm, KVM_GET_IRQCHIP, &chip));
	assert_int_equal(pv_eois(&g), 0);
	guest_end(&g);
}

static void test_eoi_msr(void **state)
{
	struct guest g = GUEST(true, 0xf4);
	uint64_t value;

	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, BYTE | 3), 0);
	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, BYTE | 2), 0);
	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, 0x10000000 | 1), 0);
	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, 0x10000000), 1);
	assert_int_equal(guest_set_msr(&g, MSR_PV_EOI, BYTE | 5), 1);
	assert_int_equal(guest_get_msr(&g, MSR_PV_EOI, &value), 1);
	assert_int_equal(value, BYTE | 5);
	guest_end(&g);
}

/* --- hypercalls ------------------------------------------------------------------------------------- */

#define VMMCALL 0x0f, 0x01, 0xd9

struct pair {
	struct guest caller, other;
	pthread_t thread;
};

/* The first calls, by KVM's quirk with either vendor's instruction, and has those features only; the second halts. */
static struct pair pair(uint64_t other_flags, uint32_t features)
{
	/* l: vmmcall; out 0x10,al; jmp l */
	struct pair p = { .caller = GUEST(true, VMMCALL, 0xe6, 0x10, 0xeb, 0xf9) };
	struct kvm_mp_state run = { KVM_MP_STATE_RUNNABLE };
	struct kvm_lapic_state l;
	struct kvm_regs r;

	/* hlt; out 0x30,al.  NMI: out 0x31,al; vector 0x50: out 0x32,al */
	memcpy(p.caller.mem + 0x1800, (uint8_t[]){ 0xf4, 0xe6, 0x30 }, 3);
	VECTOR(&p.caller, 2, 0x1900, 0xe6, 0x31);
	VECTOR(&p.caller, 0x50, 0x1a00, 0xe6, 0x32);
	p.other = p.caller;
	p.other.vcpu = api_vcpu(p.caller.vm, 1);
	p.other.run = api_run_of(p.other.vcpu);
	api_real_mode(p.other.vcpu, p.caller.mem, (uint8_t[]){ VMMCALL, 0xe6, 0x10, 0xeb, 0xf9 }, 7);
	api_ok(api_ioctl(p.other.vcpu, KVM_SET_MP_STATE, &run));
	r = guest_regs(&p.other);
	r.rip = 0x1800;
	r.rsp = 0x8000;
	r.rflags = 2 | other_flags;
	api_ok(api_ioctl(p.other.vcpu, KVM_SET_REGS, &r));
	api_ok(api_ioctl(p.other.vcpu, KVM_GET_LAPIC, &l));
	memcpy(l.regs + 0xf0, &(uint32_t){ 0x1ff }, 4);
	api_ok(api_ioctl(p.other.vcpu, KVM_SET_LAPIC, &l));
	guest_kvm_features(&p.caller, features);
	if (features != ~0U)
		api_ok(guest_enable(p.caller.vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1));
	return p;
}

static void pair_end(struct pair *p)
{
	api_close(p->other.vcpu);
	guest_end(&p->caller);
}

static void *run_thread(void *arg)
{
	struct guest *g = arg;

	return api_ioctl(g->vcpu, KVM_RUN, NULL) ? arg : NULL;
}

static void start_other(struct pair *p)
{
	assert_int_equal(pthread_create(&p->thread, NULL, run_thread, &p->other), 0);
}

static void other_came_to(struct pair *p, uint16_t port)
{
	void *wrong;

	pthread_join(p->thread, &wrong);
	assert_null(wrong);
	assert_int_equal(p->other.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(p->other.run->io.port, port);
}

static int call(struct pair *p, uint64_t nr, uint64_t rbx, uint64_t rcx, uint64_t rdx, uint64_t rsi)
{
	struct kvm_regs r = guest_regs(&p->caller);

	r.rip = GUEST_CODE;
	r.rax = nr;
	r.rbx = rbx;
	r.rcx = rcx;
	r.rdx = rdx;
	r.rsi = rsi;
	api_ok(api_ioctl(p->caller.vcpu, KVM_SET_REGS, &r));
	guest_port(&p->caller, 0x10);
	return (int32_t)guest_regs(&p->caller).rax;
}

/* The emulation of real mode in some kernels knows no hypercalls. */
static void skip_on_kernels(void)
{
	if (api_real())
		skip();
}

static void test_kick(void **state)
{
	struct pair p;

	skip_on_kernels();
	p = pair(0, ~0U);
	start_other(&p);
	/* Nobody has that ID: nothing happens, and that is no error. */
	assert_int_equal(call(&p, KVM_HC_KICK_CPU, 0, 7, 0, 0), 0);
	assert_int_equal(call(&p, KVM_HC_KICK_CPU, 0, 1, 0, 0), 0);
	other_came_to(&p, 0x30);
	assert_int_equal(guest_stat(p.caller.vcpu, "hypercalls"), 2);
	pair_end(&p);
}

/* Not offered, and that is enforced: nobody wakes but by the NMI. */
static void test_kick_refused(void **state)
{
	struct pair p;

	skip_on_kernels();
	p = pair(0, ~F_PV_UNHALT);
	assert_int_equal(call(&p, KVM_HC_KICK_CPU, 0, 1, 0, 0), -KVM_ENOSYS);
	/* An NMI, to APIC ID 1. */
	assert_int_equal(api_ioctl(p.caller.vm, KVM_SIGNAL_MSI,
				   &(struct kvm_msi){ .address_lo = 0xfee01000, .data = 0x4400 }), 1);
	start_other(&p);
	other_came_to(&p, 0x31);
	pair_end(&p);
}

static void test_send_ipi(void **state)
{
	struct pair p;

	skip_on_kernels();
	p = pair(IF, ~0U);
	start_other(&p);
	/* Bit 1 from APIC ID 0 on, and bit 0 from APIC ID 1 on: one vCPU; a shorthand is none of its matters. */
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 2, 0, 0, 0x40050 | 3 << 18), -KVM_EINVAL);
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 0xf0, 0, 0, 0x50), 0);
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 1, 0, 1, 0x50), 1);
	other_came_to(&p, 0x32);
	pair_end(&p);
}

/* The local APICs are the client's: the hypercall is there, and finds none. */
static void test_send_ipi_of_client(void **state)
{
	struct pair p;

	skip_on_kernels();
	p.caller = GUEST(false, VMMCALL, 0xe6, 0x10, 0xeb, 0xf9);
	assert_true(guest_kvm_features(&p.caller, ~0U) & F_PV_SEND_IPI);
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 1, 0, 0, 0x40050 | 3 << 18), -KVM_EINVAL);
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 1, 0, 0, 0x50), -KVM_EOPNOTSUPP);
	assert_int_equal(guest_stat(p.caller.vcpu, "hypercalls"), 2);
	guest_end(&p.caller);
	p.caller = GUEST(false, VMMCALL, 0xe6, 0x10, 0xeb, 0xf9);
	guest_kvm_features(&p.caller, ~F_PV_SEND_IPI);
	api_ok(guest_enable(p.caller.vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1));
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 1, 0, 0, 0x50), -KVM_ENOSYS);
	guest_end(&p.caller);
}

static void test_yield(void **state)
{
	struct pair p;

	skip_on_kernels();
	p = pair(0, ~0U);
	assert_int_equal(call(&p, KVM_HC_SCHED_YIELD, 1, 0, 0, 0), 0);
	assert_int_equal(call(&p, 99, 1, 0, 0, 0), -KVM_ENOSYS);
	pair_end(&p);
	p = pair(0, 0);
	assert_int_equal(call(&p, KVM_HC_SCHED_YIELD, 1, 0, 0, 0), -KVM_ENOSYS);
	assert_int_equal(call(&p, KVM_HC_SEND_IPI, 2, 0, 0, 0x50), -KVM_ENOSYS);
	pair_end(&p);
}

/* --- TLB flushes that another vCPU leaves to this one, while it does not run ------------------------- */

struct steal_area {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted, pad[47];
};

static uint8_t read_page(struct guest *g)
{
	guest_port(g, 0x10);
	return *guest_pio(g);
}

static void test_flush(void **state)
{
	/* l: mov al,[rdi]; out 0x10,al; jmp l */
	struct guest g = GUEST(true, 0x8a, 0x07, 0xe6, 0x10, 0xeb, 0xfa);
	volatile struct steal_area *area = (struct steal_area *)(g.mem + AREA);
	uint64_t *low = (uint64_t *)(g.mem + GUEST_TABLES + 0x2000), *table = (uint64_t *)(g.mem + 0xb000);

	if (!guest_runs_long_mode() || !(guest_kvm_features(&g, ~0U) & F_STEAL_TIME)) {
		guest_end(&g);
		skip();
	}
	guest_long(&g);
	low[1] = 0xb000 | 7;
	table[0] = 0x9000 | 7;
	g.mem[0x9000] = 0x11;
	g.mem[0xa000] = 0x22;
	assert_int_equal(guest_set_msr(&g, MSR_STEAL, AREA | 1), 1);
	SET(&g, rdi, 0x200000);
	assert_int_equal(read_page(&g), 0x11);
	table[0] = 0xa000 | 7;
	/* A processor may have forgotten the old one by itself; this one has not. */
	if (!api_real())
		assert_int_equal(read_page(&g), 0x11);
	area->preempted = 2;
	assert_int_equal(read_page(&g), 0x22);
	assert_int_equal(area->preempted & 2, 0);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_offered),
	cmocka_unit_test(test_no_unhalt),
	cmocka_unit_test(test_poll_control),
	cmocka_unit_test(test_eoi_msr),
	cmocka_unit_test(test_eoi),
	cmocka_unit_test(test_eoi_off),
	cmocka_unit_test(test_eoi_another_waits),
	cmocka_unit_test(test_eoi_taken_back),
	cmocka_unit_test(test_eoi_level),
	cmocka_unit_test(test_kick),
	cmocka_unit_test(test_kick_refused),
	cmocka_unit_test(test_send_ipi),
	cmocka_unit_test(test_send_ipi_of_client),
	cmocka_unit_test(test_yield),
	cmocka_unit_test(test_flush),
};

API_MAIN(tests)
