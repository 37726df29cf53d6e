// SPDX-License-Identifier: MIT
/* The exits of KVM_RUN beside those of ports, memory and HLT; api.rst 5. */
#include "guest.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

/* CR8 is the client's where it keeps the local APIC: lowered, the client is told. */
static void test_set_tpr(void **state)
{
	/* mov eax,5; mov cr8,rax; mov eax,3; mov cr8,rax; mov cr8,rax; out 0x10,al */
	struct guest g = GUEST(false, 0xb8, 5, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0xb8, 3, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0,
			       0x44, 0x0f, 0x22, 0xc0, 0xe6, 0x10);

	if (!guest_runs_long_mode()) {
		guest_end(&g);
		skip();
	}
	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	/* A kernel that emulates the instruction says nothing. */
	if (api_real() && g.run->exit_reason == KVM_EXIT_IO) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(g.run->exit_reason, KVM_EXIT_SET_TPR);
	assert_int_equal(g.run->cr8, 3);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 18);
	guest_port(&g, 0x10);
	assert_int_equal(g.run->cr8, 3);
	/* The client's value counts at the next entry, and one beyond 15 is refused. */
	g.run->cr8 = 16;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, NULL));
	guest_end(&g);
}

/* KVM_TPR_ACCESS_REPORTING: behind each access to the register in memory. */
static void test_tpr_access(void **state)
{
	/* mov eax,[0xfee00080]; mov dword [0xfee00080],0x20; out 0x10,al */
	struct guest g = GUEST(true, 0x67, 0x66, 0xa1, 0x80, 0, 0xe0, 0xfe, STORE32(0xfee00080u, 0x20), 0xe6, 0x10);
	struct kvm_tpr_access_ctl ctl = { .enabled = 1 };

	guest_unreal(&g);
	api_ok(api_ioctl(g.vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	/* A kernel that emulates real mode goes on for a while. */
	if (api_real() && g.run->exit_reason == KVM_EXIT_IO) {
		guest_run(&g, KVM_EXIT_TPR_ACCESS);
		guest_end(&g);
		skip();
	}
	assert_int_equal(g.run->exit_reason, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(g.run->tpr_access.rip, GUEST_CODE);
	assert_int_equal(g.run->tpr_access.is_write, 0);
	guest_run(&g, KVM_EXIT_TPR_ACCESS);
	assert_int_equal(g.run->tpr_access.rip, GUEST_CODE + 7);
	assert_int_equal(g.run->tpr_access.is_write, 1);
	guest_port(&g, 0x10);
	/* Off again. */
	ctl.enabled = 0;
	api_ok(api_ioctl(g.vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x10);
	guest_end(&g);
}

static void route_level_msi(int vm, uint32_t gsi, uint8_t vector)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e;
	} r = {
		{ .nr = 1 }, { .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI,
			       .u.msi = { .address_lo = 0xfee00000, .data = 0xc000u | vector } },
	};

	api_ok(api_ioctl(vm, KVM_SET_GSI_ROUTING, &r));
}

/* Split: the client's I/O APIC hears of the end of a level-triggered interrupt that one of its pins sends. */
static void test_ioapic_eoi(void **state)
{
	struct kvm_irq_level line = { .irq = 5, .level = 1 };
	struct guest g = { .vm = api_vm() };

	api_ok(guest_enable(g.vm, KVM_CAP_SPLIT_IRQCHIP, 24));
	route_level_msi(g.vm, 5, 0x45);
	/* local APIC on; out 0x10,al; sti; jmp $ */
	g = GUEST_ON(g.vm, STORE32(0xfee000f0u, 0x1ff), 0xe6, 0x10, 0xfb, 0xeb, 0xfe);
	/* out 0x11,al; EOI; out 0x12,al; iret */
	VECTOR(&g, 0x45, 0x1800, 0xe6, 0x11, STORE32(0xfee000b0u, 0), 0xe6, 0x12, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	guest_port(&g, 0x10);
	api_ok(api_ioctl(g.vm, KVM_IRQ_LINE, &line));
	guest_port(&g, 0x11);
	guest_run(&g, KVM_EXIT_IOAPIC_EOI);
	assert_int_equal(g.run->eoi.vector, 0x45);
	guest_port(&g, 0x12);
	guest_end(&g);
}

/* KVM_CAP_EXIT_HYPERCALL: KVM_HC_MAP_GPA_RANGE is the client's to answer. */
static void test_hypercall(void **state)
{
	/* vmmcall, or as the processor has it; out 0x10,al; again; out 0x11,al */
	struct guest g = GUEST(false, 0x0f, 0x01, 0xd9, 0xe6, 0x10, 0x0f, 0x01, 0xd9, 0xe6, 0x11);

	api_fails(EINVAL, guest_enable(g.vm, KVM_CAP_EXIT_HYPERCALL, 1));
	assert_int_equal(api_cap(g.vm, KVM_CAP_EXIT_HYPERCALL), 1 << KVM_HC_MAP_GPA_RANGE);
	SET(&g, rax, KVM_HC_MAP_GPA_RANGE);
	SET(&g, rbx, 0x5000);
	SET(&g, rcx, 3);
	SET(&g, rdx, 0x12);
	/* The emulation of real mode in some kernels knows no hypercalls. */
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	if (api_real() && g.run->io.port != 0x10) {
		guest_end(&g);
		skip();
	}
	/* Not asked for: unknown. */
	assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal((int32_t)guest_regs(&g).rax, -KVM_ENOSYS);
	api_ok(guest_enable(g.vm, KVM_CAP_EXIT_HYPERCALL, 1 << KVM_HC_MAP_GPA_RANGE));
	SET(&g, rip, GUEST_CODE);
	/* The upper halves are not looked at outside 64-bit mode. */
	SET(&g, rax, 0x700000000ULL | KVM_HC_MAP_GPA_RANGE);
	SET(&g, rbx, 0x7000000000ULL | 0x5000);
	guest_run(&g, KVM_EXIT_HYPERCALL);
	assert_int_equal(g.run->hypercall.nr, KVM_HC_MAP_GPA_RANGE);
	assert_int_equal(g.run->hypercall.args[0], 0x5000);
	assert_int_equal(g.run->hypercall.args[1], 3);
	assert_int_equal(g.run->hypercall.args[2], 0x12);
	assert_int_equal(g.run->hypercall.longmode, 0);
	g.run->hypercall.ret = 0x55;
	guest_port(&g, 0x10);
	assert_int_equal(guest_regs(&g).rax, 0x55);
	/* Ranges that are none. */
	SET(&g, rax, KVM_HC_MAP_GPA_RANGE);
	SET(&g, rbx, 0x5001);
	guest_port(&g, 0x11);
	assert_int_equal((int32_t)guest_regs(&g).rax, -KVM_EINVAL);
	SET(&g, rip, GUEST_CODE);
	SET(&g, rax, KVM_HC_MAP_GPA_RANGE);
	SET(&g, rbx, 0x5000);
	SET(&g, rcx, 0);
	guest_port(&g, 0x10);
	assert_int_equal((int32_t)guest_regs(&g).rax, -KVM_EINVAL);
	guest_end(&g);
}

/* A triple fault that waits is an event like others, where the client has asked for that. */
static void test_triple_fault_event(void **state)
{
	struct guest g = GUEST(false, 0xe6, 0x10);
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_false(e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	api_ok(guest_enable(g.vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1));
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_true(e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
	assert_int_equal(e.triple_fault.pending, 0);
	e.triple_fault.pending = 1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	memset(&e, 0, sizeof(e));
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.triple_fault.pending, 1);
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.triple_fault.pending, 0);
	guest_port(&g, 0x10);
	guest_end(&g);
}

/* Code outside memory cannot be run, by a kernel's emulation neither. */
static void test_internal_error(void **state)
{
	struct guest g = GUEST(false, 0xea, 0x00, 0x00, 0x00, 0x20);    /* jmp 0x2000:0 */

	VECTOR(&g, 6, 0x1800, 0xe6, 0x13);
	SET(&g, rsp, 0x8000);
	guest_run(&g, KVM_EXIT_INTERNAL_ERROR);
	assert_int_equal(g.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
	assert_true(g.run->internal.ndata >= 1 && g.run->internal.ndata <= 16);
	assert_int_equal(g.run->emulation_failure.flags, 0);
	assert_int_equal(guest_regs(&g).rip, 0);
	/* A client that goes on all the same gives the guest #UD; a kernel that emulates real mode only fails again. */
	if (!api_real())
		guest_port(&g, 0x13);
	guest_end(&g);
}

/* jmp 0x20000, where nothing is; at CPL 3 and without an IDT. */
static struct guest user_guest(void)
{
	struct guest g = GUEST(false, 0xe9, 0xfb, 0xef, 0x01, 0x00);
	struct kvm_sregs s;

	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cs.dpl = s.ss.dpl = 3;
	s.cs.selector |= 3;
	s.ss.selector |= 3;
	s.idt.limit = 0;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	return g;
}

/* A program's own failure is #UD, unless the client wants to hear of it. */
static void test_user_failure(void **state)
{
	struct guest g;

	if (api_real())
		skip();
	g = user_guest();
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
	g = user_guest();
	api_fails(EINVAL, guest_enable(g.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 2));
	api_ok(guest_enable(g.vm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1));
	guest_run(&g, KVM_EXIT_INTERNAL_ERROR);
	guest_run(&g, KVM_EXIT_INTERNAL_ERROR);
	guest_end(&g);
}

static void on_alarm(int sig)
{
}

/* The same program with a kernel that lets it try again: a kick finds it all the same. */
static void test_user_failure_again(void **state)
{
	struct itimerval on = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	uint64_t *gdt;
	struct kvm_sregs s;
	struct guest g;

	if (api_real())
		skip();
	g = user_guest();
	gdt = (uint64_t *)(g.mem + GUEST_IDT + 16 * 32);
	LONG_VECTOR(&g, 6, 0x1900, 0x48, 0xcf);         /* iretq */
	gdt[3] = 0x00affb000000ffff;
	gdt[4] = 0x00cff3000000ffff;
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.gdt.limit = 39;
	s.cs.selector = 0x1b;
	s.ss.selector = 0x23;
	s.tr.base = 0x8000;
	memcpy(g.mem + 0x8000 + 4, &(uint64_t){ GUEST_STACK }, 8);
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &on, NULL);
	for (int i = 0; i < 3; i++) {
		api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
		assert_int_equal(g.run->exit_reason, KVM_EXIT_INTR);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	assert_true(guest_regs(&g).rip == 0x20000 || guest_regs(&g).rip == 0x1900);
	guest_end(&g);
}

/* An instruction with [bx], where @segment says, and out 0x10,al.  NMI: out 0x13,al */
static struct guest area_guest(uint8_t modrm, uint16_t segment)
{
	struct guest g = GUEST(false, 0x0f, 0xae, modrm, 0xe6, 0x10);
	struct cpuid_table *t = guest_supported();
	struct kvm_sregs s;

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.ds.selector = segment;
	s.ds.base = segment * 16UL;
	s.cr4 |= 1 << 18;       /* OSXSAVE */
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	VECTOR(&g, 2, 0x1800, 0xe6, 0x13);
	SET(&g, rbx, 0x10);
	SET(&g, rsp, 0x8000);
	return g;
}

/*
 * FXSAVE and FXRSTOR of a device: KVM takes the area for memory, and the guest stays where it is without an exit, but
 * for an event.
 */
static void test_area_of_device(void **state)
{
	struct itimerval on = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;

	sigaction(SIGALRM, &sa, &old);
	for (uint8_t modrm = 0x07; modrm <= 0x0f; modrm += 8) {
		struct guest g = area_guest(modrm, 0xffff);

		setitimer(ITIMER_REAL, &on, NULL);
		for (int i = 0; i < 3; i++) {
			api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
			assert_int_equal(g.run->exit_reason, KVM_EXIT_INTR);
			assert_int_equal(guest_regs(&g).rip, GUEST_CODE);
		}
		setitimer(ITIMER_REAL, &off, NULL);
		assert_int_equal(guest_stat(g.vcpu, "mmio_exits"), 0);
		api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
		guest_port(&g, 0x13);
		guest_end(&g);
		/* In memory it is an instruction like others. */
		g = area_guest(modrm, 0x4ff);
		guest_port(&g, 0x10);
		guest_end(&g);
	}
	sigaction(SIGALRM, &old, NULL);
}

/* XSAVE, XRSTOR and XSAVEOPT, which its emulator does not know, fail before the device has seen anything. */
static void test_xsave_of_device(void **state)
{
	for (uint8_t modrm = 0x27; modrm <= 0x37; modrm += 8) {
		struct guest g = area_guest(modrm, 0xffff);

		SET(&g, rax, 3);
		guest_run(&g, KVM_EXIT_INTERNAL_ERROR);
		assert_int_equal(g.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
		assert_int_equal(guest_regs(&g).rip, GUEST_CODE);
		assert_int_equal(guest_stat(g.vcpu, "mmio_exits"), 0);
		guest_end(&g);
		if (api_real())         /* one that emulates real mode has no use for the rest */
			continue;
		g = area_guest(modrm, 0x4ff);
		SET(&g, rax, 3);
		guest_port(&g, 0x10);
		guest_end(&g);
	}
}

/* KVM_X86_QUIRK_OUT_7E_INC_RIP: RIP is behind an OUT to this port, and to no other. */
static void test_port_7e(void **state)
{
	/* mov al,5; out 0x7e,al; out 0x7d,al; rep outsb; hlt */
	struct guest g = GUEST(false, 0xb0, 0x05, 0xe6, 0x7e, 0xe6, 0x7d, 0xf3, 0x6e, 0xf4);

	/* It is of the path that real mode does not take where it is emulated. */
	if (api_real()) {
		guest_end(&g);
		skip();
	}
	SET(&g, rdx, 0x7e);
	SET(&g, rcx, 2);
	SET(&g, rsi, 0x2000);
	memcpy(g.mem + 0x2000, "xy", 2);
	guest_port(&g, 0x7e);
	assert_int_equal(*guest_pio(&g), 5);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 4);
	guest_port(&g, 0x7d);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 4);
	guest_port(&g, 0x7e);
	assert_int_equal(*guest_pio(&g), 'x');
	guest_port(&g, 0x7e);
	assert_int_equal(*guest_pio(&g), 'y');
	guest_run(&g, KVM_EXIT_HLT);
	api_ok(guest_enable(g.vm, KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_OUT_7E_INC_RIP));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x7e);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 2);
	guest_port(&g, 0x7d);
	guest_end(&g);
}

/* What a write to the interrupt controller brings about is due at once: an interrupt to itself. */
static void test_self_ipi(void **state)
{
	/* local APIC on; sti; nop; ICR: vector 0x50 to itself; out 0x10,al.  0x50: EOI; out 0x11,al; iret */
	struct guest g = GUEST(true, STORE32(0xfee000f0u, 0x1ff), 0xfb, 0x90, STORE32(0xfee00300u, 0x44050), 0xe6, 0x10);

	VECTOR(&g, 0x50, 0x1800, STORE32(0xfee000b0u, 0), 0xe6, 0x11, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
	/* A kernel that emulates real mode goes on for a while. */
	if (!api_real() || g.run->io.port != 0x10) {
		assert_int_equal(g.run->io.port, 0x11);
		guest_port(&g, 0x10);
	}
	guest_end(&g);
}

/* One instruction, a device of the library's and one of the client's: each is asked once. */
static void test_two_devices(void **state)
{
	/* movsd from the I/O APIC's window to 0x20000, with 32-bit addresses; out 0x10,al */
	struct guest g = GUEST(true, 0x67, 0x66, 0xa5, 0xe6, 0x10);

	guest_unreal(&g);
	SET(&g, rsi, 0xfec00010);
	SET(&g, rdi, 0x20000);
	guest_run(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x20000);
	assert_int_equal(g.run->mmio.is_write, 1);
	assert_int_equal(g.run->mmio.len, 4);
	guest_port(&g, 0x10);
	assert_int_equal(guest_regs(&g).rdi, 0x20004);
	guest_end(&g);
}

/* A port that the client has answered for is not asked again, whatever the client did to DX meanwhile. */
static void test_port_moved(void **state)
{
	/* in al,dx; out dx,al; out 0x10,al */
	struct guest g = GUEST(false, 0xec, 0xee, 0xe6, 0x10);

	SET(&g, rdx, 0x20);
	guest_port(&g, 0x20);
	*guest_pio(&g) = 0x5a;
	SET(&g, rdx, 0x21);
	guest_port(&g, 0x21);
	assert_int_equal(g.run->io.direction, KVM_EXIT_IO_OUT);
	/* A kernel that emulates the instruction loses AL where registers were set meanwhile. */
	if (api_real() && !*guest_pio(&g)) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(*guest_pio(&g), 0x5a);
	SET(&g, rdx, 0x22);
	guest_port(&g, 0x10);
	assert_int_equal(*guest_pio(&g), 0x5a);
	guest_end(&g);
}

/* State that no processor can be in: APM 2, 15.5.1; SDM 3C, 27.3.1. */
static void fail_entry(void (*spoil)(struct kvm_sregs *s))
{
	struct guest g = GUEST(false, 0xe6, 0x10);
	struct kvm_sregs good, s;

	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &good));
	s = good;
	spoil(&s);
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
	/* Not every processor under a kernel looks at everything. */
	if (api_real() && g.run->exit_reason == KVM_EXIT_IO) {
		guest_end(&g);
		return;
	}
	assert_int_equal(g.run->exit_reason, KVM_EXIT_FAIL_ENTRY);
	assert_true(g.run->fail_entry.hardware_entry_failure_reason != 0);
	assert_true(g.run->fail_entry.cpu < (unsigned long)sysconf(_SC_NPROCESSORS_CONF));
	/* Nothing has run, and a better state does. */
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE);
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &good));
	guest_port(&g, 0x10);
	guest_end(&g);
}

static void spoil_efer(struct kvm_sregs *s)
{
	s->efer |= 1ULL << 40;
}

static void spoil_cs(struct kvm_sregs *s)
{
	s->cs.l = s->cs.db = 1;
}

static void test_fail_entry(void **state)
{
	if (!guest_runs_long_mode())
		skip();
	fail_entry(spoil_efer);
	fail_entry(spoil_cs);
}

/* --- bus locks ------------------------------------------------------------------------------------ */

/*
 * 0x2000 to 0x203f are a cache line.  lock inc dword [0x203e]; lock inc dword [0x203c]; inc dword [0x203e];
 * xchg [0x207d],eax; lock cmpxchg8b [0x20bc]; lock bts [0x20ff],ax; nop; out 0x10,al
 */
static const uint8_t locks[] = {
	0xf0, 0x66, 0xff, 0x06, 0x3e, 0x20, 0xf0, 0x66, 0xff, 0x06, 0x3c, 0x20, 0x66, 0xff, 0x06, 0x3e, 0x20,
	0x66, 0x87, 0x06, 0x7d, 0x20, 0xf0, 0x0f, 0xc7, 0x0e, 0xbc, 0x20, 0xf0, 0x0f, 0xab, 0x06, 0xff, 0x20, 0x90, 0xe6, 0x10,
};

/* Ends of those that lock the bus. */
static const uint16_t lock_ends[] = { 6, 22, 28, 34 };

static struct guest lock_guest(uint64_t mode)
{
	struct guest g = { .vm = api_vm() };

	if (mode)
		api_ok(guest_enable(g.vm, KVM_CAP_X86_BUS_LOCK_EXIT, mode));
	g = guest_on(g.vm, locks, sizeof(locks));
	SET(&g, rax, 5);
	return g;
}

/* KVM_CAP_X86_BUS_LOCK_EXIT: right behind each LOCKed access across cache lines, and behind nothing else. */
static void bus_lock(bool amd)
{
	struct guest g = lock_guest(KVM_BUS_LOCK_DETECTION_EXIT);

	assert_int_equal(api_cap(g.vm, KVM_CAP_X86_BUS_LOCK_EXIT), amd ? 0 : 3);
	for (size_t i = 0; i < sizeof(lock_ends) / sizeof(lock_ends[0]) && !amd; i++) {
		guest_run(&g, KVM_EXIT_X86_BUS_LOCK);
		assert_int_equal(g.run->flags, KVM_RUN_X86_BUS_LOCK);
		assert_int_equal(guest_regs(&g).rip, GUEST_CODE + lock_ends[i]);
		assert_int_equal(guest_stat(g.vcpu, "bus_locks"), i + 1);
	}
	guest_port(&g, 0x10);
	assert_int_equal(g.run->flags, 0);
	assert_int_equal(guest_stat(g.vcpu, "bus_locks"), amd ? 0 : 4);
	assert_int_equal(*(uint16_t *)(g.mem + 0x203e), 2);
	assert_int_equal(*(uint16_t *)(g.mem + 0x203c), 1);
	assert_memory_equal(g.mem + 0x207d, &(uint32_t){ 5 }, 4);
	guest_end(&g);
	/* Off, by default or said. */
	for (uint64_t mode = 0; mode <= KVM_BUS_LOCK_DETECTION_OFF; mode++) {
		g = lock_guest(mode);
		guest_port(&g, 0x10);
		assert_int_equal(guest_stat(g.vcpu, "bus_locks"), 0);
		guest_end(&g);
	}
}

static void test_bus_lock(void **state)
{
	if (api_real())         /* not every processor tells */
		skip();
	guest_each_model(bus_lock);
}

/* An access that faults has locked nothing; one to a device ends in the device's exits first. */
static void bus_lock_elsewhere(bool amd)
{
	/* lock inc dword [ebx]; out 0x10,al */
	static const uint8_t code[] = { 0xf0, 0x67, 0x66, 0xff, 0x03, 0xe6, 0x10 };
	struct guest g = { .vm = api_vm() };

	if (amd)
		return;
	api_ok(guest_enable(g.vm, KVM_CAP_X86_BUS_LOCK_EXIT, KVM_BUS_LOCK_DETECTION_EXIT));
	g = guest_on(g.vm, code, sizeof(code));
	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	SET(&g, rsp, 0x8000);
	SET(&g, rbx, 0xfffe);
	guest_port(&g, 0x13);
	assert_int_equal(guest_stat(g.vcpu, "bus_locks"), 0);
	guest_unreal(&g);
	SET(&g, rbx, 0x2003e);
	SET(&g, rip, GUEST_CODE);
	for (;;) {
		api_ok(api_ioctl(g.vcpu, KVM_RUN, NULL));
		if (g.run->exit_reason != KVM_EXIT_MMIO)
			break;
		assert_int_equal(g.run->flags, 0);
	}
	assert_int_equal(g.run->exit_reason, KVM_EXIT_X86_BUS_LOCK);
	assert_int_equal(guest_regs(&g).rip, GUEST_CODE + 5);
	guest_port(&g, 0x10);
	assert_int_equal(guest_stat(g.vcpu, "bus_locks"), 1);
	guest_end(&g);
}

static void test_bus_lock_elsewhere(void **state)
{
	if (api_real())
		skip();
	guest_each_model(bus_lock_elsewhere);
}

/* --- MSRs that the client answers --------------------------------------------------------------- */

/* mov ecx,index; mov eax,low; mov edx,0; wrmsr; out 0x10,al; rdmsr; out 0x11,al.  #GP: out 0x12,al */
static struct guest msr_guest(uint32_t index, uint32_t low)
{
	struct guest g = GUEST(false, 0x66, 0xb9, index & 0xff, index >> 8 & 0xff, index >> 16 & 0xff, index >> 24 & 0xff,
			       0x66, 0xb8, low & 0xff, low >> 8 & 0xff, low >> 16 & 0xff, low >> 24 & 0xff,
			       0x66, 0x31, 0xd2, 0x0f, 0x30, 0xe6, 0x10, 0x0f, 0x32, 0xe6, 0x11);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x12, 0xf4);
	SET(&g, rsp, 0x8000);
	return g;
}

/* Without a client that wants to know, #GP. */
static void test_msr_gp(void **state)
{
	struct guest g = msr_guest(0x2ff, 0x1c06);

	guest_port(&g, 0x12);
	guest_end(&g);
}

/* A value that the register does not take: the client's to judge. */
static void test_msr_inval(void **state)
{
	struct guest g = msr_guest(0x2ff, 0x1c06);

	api_ok(guest_enable(g.vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL));
	guest_run(&g, KVM_EXIT_X86_WRMSR);
	assert_int_equal(g.run->msr.index, 0x2ff);
	assert_int_equal(g.run->msr.data, 0x1c06);
	assert_int_equal(g.run->msr.reason, KVM_MSR_EXIT_REASON_INVAL);
	g.run->msr.error = 0;
	guest_port(&g, 0x10);
	SET(&g, rip, GUEST_CODE);
	guest_run(&g, KVM_EXIT_X86_WRMSR);
	g.run->msr.error = 1;
	guest_port(&g, 0x12);
	guest_end(&g);
	/* Only what was asked for. */
	g = msr_guest(0x12345678, 2);
	api_ok(guest_enable(g.vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL));
	guest_port(&g, 0x12);
	guest_end(&g);
}

static void set_filter(int vm, uint32_t flags, uint32_t types, uint32_t base, uint64_t allow)
{
	uint64_t bits = allow;
	struct kvm_msr_filter f = {
		.flags = flags,
		.ranges[0] = { .flags = types, .base = base, .nmsrs = 8, .bitmap = (__u8 *)&bits },
	};

	api_ok(api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
}

/* What the filter forbids ends in #GP, or at the client. */
static void test_msr_filter(void **state)
{
	struct guest g = msr_guest(0x176, 0x77);

	set_filter(g.vm, KVM_MSR_FILTER_DEFAULT_ALLOW, KVM_MSR_FILTER_READ, 0x170, ~0x40ULL);
	guest_port(&g, 0x10);
	guest_port(&g, 0x12);
	api_ok(guest_enable(g.vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x10);
	guest_run(&g, KVM_EXIT_X86_RDMSR);
	assert_int_equal(g.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	assert_int_equal(g.run->msr.index, 0x176);
	g.run->msr.data = 0x99;
	g.run->msr.error = 0;
	guest_port(&g, 0x11);
	assert_int_equal(guest_regs(&g).rax, 0x99);
	/* Only the range is allowed, and all of it. */
	set_filter(g.vm, KVM_MSR_FILTER_DEFAULT_DENY, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, 0x170, ~0ULL);
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x10);
	guest_port(&g, 0x11);
	assert_int_equal(guest_regs(&g).rax, 0x77);
	set_filter(g.vm, KVM_MSR_FILTER_DEFAULT_DENY, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, 0x180, ~0ULL);
	SET(&g, rip, GUEST_CODE);
	guest_run(&g, KVM_EXIT_X86_WRMSR);
	assert_int_equal(g.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	guest_end(&g);
}

/*
 * KVM_RUN, until a signal has ended it and the guest has got as far as its HLT.  False: a KVM that has no hardware
 * to let the guest halt in takes the capability, and exits all the same.
 */
static bool run_to_hlt(struct guest *g)
{
	int r;

	do {
		r = api_ioctl(g->vcpu, KVM_RUN, NULL);
		if (api_real() && !r && g->run->exit_reason == KVM_EXIT_HLT)
			return false;
		assert_int_equal(r, -1);
		assert_int_equal(errno, EINTR);
		assert_int_equal(g->run->exit_reason, KVM_EXIT_INTR);
	} while (!g->mem[0x5000]);
	return true;
}

/* A guest that halts by itself: nobody is told, and an NMI wakes it. */
static void test_hlt_in_guest(void **state)
{
	struct itimerval on = { { 0, 20000 }, { 0, 20000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;

	for (int irqchip = 0; irqchip < 2; irqchip++) {
		int vm = api_vm();
		struct kvm_mp_state mp;
		struct guest g;
		bool halted;

		if (!(api_cap(vm, KVM_CAP_X86_DISABLE_EXITS) & KVM_X86_DISABLE_EXITS_HLT))
			skip();
		if (irqchip)
			api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
		/* Newer kernels want it before the first vCPU. */
		api_fails(EINVAL, guest_enable(vm, KVM_CAP_X86_DISABLE_EXITS, 0x100));
		api_ok(guest_enable(vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_HLT));
		/* inc byte [5000h]; 1: hlt; jmp 1b */
		g = GUEST_ON(vm, 0xfe, 0x06, 0x00, 0x50, 0xf4, 0xeb, 0xfd);
		VECTOR(&g, 2, 0x2000, 0xe6, 0x10);    /* out 10h, al */
		sigaction(SIGALRM, &sa, &old);
		setitimer(ITIMER_REAL, &on, NULL);
		halted = run_to_hlt(&g);
		setitimer(ITIMER_REAL, &off, NULL);
		sigaction(SIGALRM, &old, NULL);
		if (!halted)
			skip();
		api_ok(api_ioctl(g.vcpu, KVM_GET_MP_STATE, &mp));
		assert_int_equal(mp.mp_state, KVM_MP_STATE_RUNNABLE);
		api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
		guest_port(&g, 0x10);
		guest_end(&g);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_hlt_in_guest),
	cmocka_unit_test(test_set_tpr),
	cmocka_unit_test(test_tpr_access),
	cmocka_unit_test(test_ioapic_eoi),
	cmocka_unit_test(test_hypercall),
	cmocka_unit_test(test_triple_fault_event),
	cmocka_unit_test(test_internal_error),
	cmocka_unit_test(test_user_failure),
	cmocka_unit_test(test_user_failure_again),
	cmocka_unit_test(test_area_of_device),
	cmocka_unit_test(test_xsave_of_device),
	cmocka_unit_test(test_fail_entry),
	cmocka_unit_test(test_port_7e),
	cmocka_unit_test(test_self_ipi),
	cmocka_unit_test(test_two_devices),
	cmocka_unit_test(test_port_moved),
	cmocka_unit_test(test_bus_lock),
	cmocka_unit_test(test_bus_lock_elsewhere),
	cmocka_unit_test(test_msr_gp),
	cmocka_unit_test(test_msr_inval),
	cmocka_unit_test(test_msr_filter),
};

API_MAIN(tests)
