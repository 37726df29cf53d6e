// SPDX-License-Identifier: MIT
/* Routing entries and MSIs. */
#include "unit.h"

static struct kvm_irq_routing_entry chip(uint32_t c, uint32_t pin)
{
	return (struct kvm_irq_routing_entry){
		.type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = c, .pin = pin },
	};
}

static void pins_are_checked(void **state)
{
	static const struct {
		uint32_t chip, pin;
		int want;
		uint32_t route_pin;
	} row[] = {
		{ KVM_IRQCHIP_PIC_MASTER, 0, 0, 0 }, { KVM_IRQCHIP_PIC_MASTER, 7, 0, 7 },
		{ KVM_IRQCHIP_PIC_MASTER, 8, -EINVAL, 0 }, { KVM_IRQCHIP_PIC_SLAVE, 7, 0, 15 },
		{ KVM_IRQCHIP_PIC_SLAVE, 8, -EINVAL, 0 }, { KVM_IRQCHIP_IOAPIC, 23, 0, 23 },
		{ KVM_IRQCHIP_IOAPIC, 24, -EINVAL, 0 }, { 3, 0, -EINVAL, 0 }, { ~0u, ~0u, -EINVAL, 0 },
	};
	struct fake_vm *vm = *state;
	struct irq_chips split = { .bus = &vm->bus };
	struct irq_route r;

	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct kvm_irq_routing_entry e = chip(row[i].chip, row[i].pin);

		assert_int_equal(irq_route_parse(&r, &vm->chips, &e), row[i].want);
		if (!row[i].want)
			assert_int_equal(r.pin, row[i].route_pin);
		assert_int_equal(irq_route_parse(&r, &split, &e), -EINVAL);
	}
	assert_int_equal(irq_route_parse(&r, &vm->chips, &(struct kvm_irq_routing_entry){ .type = 77 }),
			 -EINVAL);
}

static void defaults(void **state)
{
	struct fake_vm *vm = *state;
	unsigned int per_gsi[24] = { 0 };
	struct irq_route r;

	assert_int_equal(irq_nr_default_routes, 40);
	for (unsigned int i = 0; i < irq_nr_default_routes; i++) {
		assert_int_equal(irq_route_parse(&r, &vm->chips, &irq_default_routes[i]), 0);
		assert_int_equal(r.pin, irq_default_routes[i].gsi);
		per_gsi[irq_default_routes[i].gsi]++;
	}
	for (unsigned int gsi = 0; gsi < 24; gsi++)
		assert_int_equal(per_gsi[gsi], gsi < 16 ? 2 : 1);
}

static void drives_pins(void **state)
{
	struct fake_vm *vm = *state;
	struct kvm_irq_routing_entry e = chip(KVM_IRQCHIP_IOAPIC, 20);
	struct irq_route r;

	fake_redir(vm, 20, 0x51);
	irq_route_parse(&r, &vm->chips, &e);
	assert_int_equal(irq_route_set(&vm->chips, &r, IRQ_SOURCE_USER, true, false), 1);
	assert_int_equal(lapic_ack(&vm->cpu[0].l), 0x51);
	e = chip(KVM_IRQCHIP_PIC_SLAVE, 3);
	irq_route_parse(&r, &vm->chips, &e);
	assert_int_equal(irq_route_set(&vm->chips, &r, IRQ_SOURCE_USER, true, false), 1);
	assert_true(pic_output(&vm->pic));
}

static void msi(void **state)
{
	struct fake_vm *vm = *state;
	struct kvm_irq_routing_entry e = {
		.type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee02000, .data = 0x4051 },
	};
	struct apic_msg m;
	struct irq_route r;

	msi_to_apic(&m, 0xfee0f00c, 0x12345600, 0xc7a3, false);
	assert_int_equal(m.dest, 0x0f);
	assert_true(m.logical && m.redir_hint && m.level_trig && m.assert);
	assert_int_equal(m.delivery, APIC_EXTINT);
	assert_int_equal(m.vector, 0xa3);
	msi_to_apic(&m, 0xfee0f000, 0x12345600, 0x31, true);
	assert_int_equal(m.dest, 0x1234560f);
	assert_false(m.logical || m.redir_hint || m.level_trig);

	assert_int_equal(irq_route_parse(&r, &vm->chips, &e), 0);
	assert_int_equal(irq_route_set(&vm->chips, &r, IRQ_SOURCE_USER, false, false), -1);
	assert_int_equal(irq_route_set(&vm->chips, &r, IRQ_SOURCE_USER, true, false), 1);
	assert_int_equal(lapic_ack(&vm->cpu[2].l), 0x51);
	/* The upper address counts only in x2APIC format, and then its low byte is reserved. */
	assert_int_equal(msi_send(&vm->bus, 0xfee01000, 0x101, 0x61), 1);
	assert_int_equal(lapic_ack(&vm->cpu[1].l), 0x61);
	vm->bus.x2apic_format = true;
	assert_int_equal(msi_send(&vm->bus, 0xfee01000, 0x101, 0x61), -EINVAL);
	assert_int_equal(msi_send(&vm->bus, 0xfee01000, 0x100, 0x61), 0);
	e.u.msi.address_hi = 1;
	assert_int_equal(irq_route_parse(&r, &vm->chips, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT(pins_are_checked), UNIT(defaults), UNIT(drives_pins), UNIT(msi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
