// SPDX-License-Identifier: MIT
/* Interrupts from the client to a guest: lines and their status, messages, eventfds with and without resampling. */
#include "guest.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>

static uint64_t take(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t v = 0;

	if (poll(&p, 1, 0) == 1)
		assert_int_equal(read(fd, &v, sizeof(v)), sizeof(v));
	return v;
}

static int irqfd(int vm, int fd, uint32_t gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd f = { .fd = (uint32_t)fd, .gsi = gsi, .flags = flags, .resamplefd = (uint32_t)resample };

	return api_ioctl(vm, KVM_IRQFD, &f);
}

static int line_status(int vm, uint32_t gsi, uint32_t level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	api_ok(api_ioctl(vm, KVM_IRQ_LINE_STATUS, &l));
	return (int)l.status;
}

/* KVM_IRQ_LINE_STATUS: delivered, merged with one that waits, or masked; api.rst, KVM_IRQ_LINE. */
static void test_line_status(void **state)
{
	int vm = api_vm();
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	/* The I/O APIC's pin is masked, the PIC's is open. */
	assert_int_equal(line_status(vm, 3, 1), 1);
	assert_true(line_status(vm, 3, 0) > 0);
	assert_int_equal(line_status(vm, 3, 1), 0);
	line_status(vm, 3, 0);
	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	assert_int_equal(chip.chip.pic.irr, 8);
	chip.chip.pic.imr = 0x10;
	api_ok(api_ioctl(vm, KVM_SET_IRQCHIP, &chip));
	assert_int_equal(line_status(vm, 4, 1), -1);
	assert_int_equal(line_status(vm, 100, 1), -1);
	api_close(vm);
}

/* local APIC on, without the PIC; out 0x10,al; sti; l: hlt; jmp l.  Vector 0x50: EOI; out 0x11,al; iret */
static struct guest waiter(int vm)
{
	struct guest g = GUEST_ON(vm, STORE32(0xfee000f0u, 0x1ff), STORE32(0xfee00350u, 0x10000), 0xe6, 0x10, 0xfb,
				  0xf4, 0xeb, 0xfd);

	VECTOR(&g, 0x50, 0x1800, STORE32(0xfee000b0u, 0), 0xe6, 0x11, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	guest_port(&g, 0x10);
	return g;
}

static struct guest waiter_irqchip(void)
{
	int vm = api_vm();

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	return waiter(vm);
}

static int send_msi(int vm, uint32_t lo, uint32_t hi, uint32_t data)
{
	struct kvm_msi m = { .address_lo = lo, .address_hi = hi, .data = data };

	return api_ioctl(vm, KVM_SIGNAL_MSI, &m);
}

/* How many took it. */
static void test_msi(void **state)
{
	struct guest g = waiter_irqchip();

	assert_int_equal(send_msi(g.vm, 0xfee00000, 0, 0x4050), 1);
	guest_port(&g, 0x11);
	assert_int_equal(send_msi(g.vm, 0xfee07000, 0, 0x4050), 0);
	/* To all. */
	assert_int_equal(send_msi(g.vm, 0xfeeff000, 0, 0x4050), 1);
	guest_port(&g, 0x11);
	/* With 32-bit IDs the upper word has none in its low byte. */
	api_ok(guest_enable(g.vm, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS));
	api_fails(EINVAL, send_msi(g.vm, 0xfee00000, 1, 0x4050));
	assert_int_equal(send_msi(g.vm, 0xfee00000, 0x100, 0x4050), 0);
	guest_end(&g);
}

static void route_msi(int vm, uint32_t gsi, uint32_t data)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e;
	} r = {
		{ .nr = 1 },
		{ .gsi = gsi, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = data } },
	};

	api_ok(api_ioctl(vm, KVM_SET_GSI_ROUTING, &r));
}

/* As devices of a client do: an eventfd, a GSI, a message; the route may change under it. */
static void test_irqfd_msi(void **state)
{
	int vm = api_vm(), fd = eventfd(0, 0);
	struct guest g;

	/* With the client's own I/O APIC as well. */
	api_ok(guest_enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24));
	g = waiter(vm);
	route_msi(vm, 30, 0x4051);
	api_ok(irqfd(vm, fd, 30, 0, 0));
	route_msi(vm, 30, 0x4050);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(eventfd_write(fd, 1), 0);
		guest_port(&g, 0x11);
		assert_int_equal(take(fd), 0);
	}
	/* Resampling is the I/O APIC's. */
	api_fails(EINVAL, irqfd(vm, eventfd(0, 0), 31, KVM_IRQFD_FLAG_RESAMPLE, eventfd(0, 0)));
	close(fd);
	guest_end(&g);
}

static void open_pin(int vm, unsigned int pin, uint8_t vector, bool level)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	chip.chip.ioapic.redirtbl[pin].bits = 0;
	chip.chip.ioapic.redirtbl[pin].fields.vector = vector;
	chip.chip.ioapic.redirtbl[pin].fields.trig_mode = level;
	api_ok(api_ioctl(vm, KVM_SET_IRQCHIP, &chip));
}

static uint32_t irr_of_ioapic(int vm)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	return chip.chip.ioapic.irr;
}

/* The guest's EOI lowers the line, and asks both devices that share it whether they are through. */
static void test_resample_ioapic(void **state)
{
	int a = eventfd(0, 0), b = eventfd(0, 0), ra = eventfd(0, 0), rb = eventfd(0, 0);
	struct guest g = waiter_irqchip();

	open_pin(g.vm, 10, 0x50, true);
	api_ok(irqfd(g.vm, a, 10, KVM_IRQFD_FLAG_RESAMPLE, ra));
	api_ok(irqfd(g.vm, b, 10, KVM_IRQFD_FLAG_RESAMPLE, rb));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(eventfd_write(i & 1 ? b : a, 1), 0);
		guest_port(&g, 0x11);
		assert_int_equal(take(ra), 1);
		assert_int_equal(take(rb), 1);
		assert_int_equal(irr_of_ioapic(g.vm) & 1 << 10, 0);
	}
	/* One leaves, the other is asked still. */
	api_ok(irqfd(g.vm, a, 10, KVM_IRQFD_FLAG_DEASSIGN, 0));
	assert_int_equal(eventfd_write(b, 1), 0);
	guest_port(&g, 0x11);
	assert_int_equal(take(ra), 0);
	assert_int_equal(take(rb), 1);
	/* A line of the client's own is not lowered by that, and comes again. */
	assert_true(line_status(g.vm, 10, 1) >= 0);
	guest_port(&g, 0x11);
	guest_port(&g, 0x11);
	line_status(g.vm, 10, 0);
	close(a);
	close(b);
	close(ra);
	close(rb);
	guest_end(&g);
}

/* The same by the PIC: its EOI. */
static void test_resample_pic(void **state)
{
	int a = eventfd(0, 0), r = eventfd(0, 0);
	/* ELCR: line 5 by level; PIC; out 0x10,al; sti; l: hlt; jmp l.  Vector 13: EOI; out 0x11,al; iret */
	struct guest g = GUEST(true, 0xba, 0xd0, 0x04, 0xb0, 0x20, 0xee, PIC_INIT(0xdf), 0xe6, 0x10, 0xfb, 0xf4, 0xeb, 0xfd);

	VECTOR(&g, 13, 0x1800, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0x11, 0xcf);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x10);
	api_ok(irqfd(g.vm, a, 5, KVM_IRQFD_FLAG_RESAMPLE, r));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(eventfd_write(a, 1), 0);
		guest_port(&g, 0x11);
		assert_int_equal(take(r), 1);
	}
	close(a);
	close(r);
	guest_end(&g);
}

/* Split: the client gives the vector of an external interrupt, when the guest is ready for it. */
static void test_split_extint(void **state)
{
	struct kvm_interrupt irq = { .irq = 0x50 };
	struct kvm_lapic_state lapic;
	struct guest g = { .vm = api_vm() };

	api_ok(guest_enable(g.vm, KVM_CAP_SPLIT_IRQCHIP, 24));
	/* cli; nop; sti; nop; l: jmp l */
	g = GUEST_ON(g.vm, 0xfa, 0x90, 0xfb, 0x90, 0xeb, 0xfe);
	VECTOR(&g, 0x50, 0x1800, 0xe6, 0x11, 0xcf);
	SET(&g, rsp, 0x8000);
	/* LINT0 passes external interrupts, as at power-on. */
	api_ok(api_ioctl(g.vcpu, KVM_GET_LAPIC, &lapic));
	memcpy(lapic.regs + 0x350, &(uint32_t){ 0x700 }, 4);
	api_ok(api_ioctl(g.vcpu, KVM_SET_LAPIC, &lapic));
	g.run->request_interrupt_window = 1;
	guest_run(&g, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(g.run->ready_for_interrupt_injection, 1);
	api_ok(api_ioctl(g.vcpu, KVM_INTERRUPT, &irq));
	api_fails(EEXIST, api_ioctl(g.vcpu, KVM_INTERRUPT, &irq));
	g.run->request_interrupt_window = 0;
	guest_port(&g, 0x11);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_line_status),
	cmocka_unit_test(test_msi),
	cmocka_unit_test(test_irqfd_msi),
	cmocka_unit_test(test_resample_ioapic),
	cmocka_unit_test(test_resample_pic),
	cmocka_unit_test(test_split_extint),
};

API_MAIN(tests)
