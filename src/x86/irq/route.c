// SPDX-License-Identifier: MIT
/* route.c - from a GSI's routing entry to a chip's pin or a message. */
#include "x86/irq/route.h"

#include <errno.h>
#include <string.h>

#include "x86/irq/apic_bus.h"
#include "x86/irq/ioapic.h"
#include "x86/irq/pic.h"

#define PIN(n, c, p) \
	{ .gsi = (n), .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = (c), .pin = (p) } }
#define IOAPIC(n)	PIN(n, KVM_IRQCHIP_IOAPIC, n)
#define MASTER(n)	IOAPIC(n), PIN(n, KVM_IRQCHIP_PIC_MASTER, n)
#define SLAVE(n)	IOAPIC(n), PIN(n, KVM_IRQCHIP_PIC_SLAVE, (n) - 8)

const struct kvm_irq_routing_entry irq_default_routes[] = {
	MASTER(0), MASTER(1), MASTER(2), MASTER(3), MASTER(4), MASTER(5), MASTER(6), MASTER(7),
	SLAVE(8), SLAVE(9), SLAVE(10), SLAVE(11), SLAVE(12), SLAVE(13), SLAVE(14), SLAVE(15),
	IOAPIC(16), IOAPIC(17), IOAPIC(18), IOAPIC(19), IOAPIC(20), IOAPIC(21), IOAPIC(22), IOAPIC(23),
};
const unsigned int irq_nr_default_routes = sizeof(irq_default_routes) / sizeof(irq_default_routes[0]);

static int parse_pin(struct irq_route *route, const struct irq_chips *chips,
		     const struct kvm_irq_routing_irqchip *e)
{
	static const struct {
		uint32_t pins, first;
	} chip[] = {
		[KVM_IRQCHIP_PIC_MASTER] = { PIC_PINS / 2, 0 },
		[KVM_IRQCHIP_PIC_SLAVE] = { PIC_PINS / 2, PIC_PINS / 2 },
		[KVM_IRQCHIP_IOAPIC] = { KVM_IOAPIC_NUM_PINS, 0 },
	};

	if (!chips->ioapic || !chips->pic)
		return -EINVAL;
	if (e->irqchip >= sizeof(chip) / sizeof(chip[0]) || e->pin >= chip[e->irqchip].pins)
		return -EINVAL;
	route->chip = e->irqchip;
	route->pin = e->pin + chip[e->irqchip].first;
	return 0;
}

static bool msi_valid(const struct apic_bus *bus, uint32_t address_hi)
{
	return !bus->x2apic_format || !(address_hi & 0xff);
}

int irq_route_parse(struct irq_route *route, const struct irq_chips *chips,
		    const struct kvm_irq_routing_entry *e)
{
	memset(route, 0, sizeof(*route));
	route->type = e->type;
	switch (e->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		return parse_pin(route, chips, &e->u.irqchip);
	case KVM_IRQ_ROUTING_MSI:
		route->address_lo = e->u.msi.address_lo;
		route->address_hi = e->u.msi.address_hi;
		route->data = e->u.msi.data;
		return msi_valid(chips->bus, route->address_hi) ? 0 : -EINVAL;
	default:
		return -EINVAL;
	}
}

int irq_route_set(const struct irq_chips *chips, const struct irq_route *route, enum irq_source source,
		  bool level, bool line_status)
{
	if (route->type == KVM_IRQ_ROUTING_MSI)
		return level ? msi_send(chips->bus, route->address_lo, route->address_hi, route->data) : -1;
	if (route->chip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_irq(chips->ioapic, route->pin, source, level, line_status);
	return pic_set_irq(chips->pic, route->pin, source, level);
}

void msi_to_apic(struct apic_msg *msg, uint32_t address_lo, uint32_t address_hi, uint32_t data,
		 bool x2apic_format)
{
	*msg = (struct apic_msg){
		.dest = (address_lo >> 12 & 0xff) | (x2apic_format ? address_hi & 0xffffff00 : 0),
		.vector = data & 0xff,
		.delivery = data >> 8 & 7,
		.logical = address_lo & 1u << 2,
		.redir_hint = address_lo & 1u << 3,
		.level_trig = data & 1u << 15,
		.assert = true,
	};
}

int msi_send(struct apic_bus *bus, uint32_t address_lo, uint32_t address_hi, uint32_t data)
{
	struct apic_msg msg;

	if (!msi_valid(bus, address_hi))
		return -EINVAL;
	msi_to_apic(&msg, address_lo, address_hi, data, bus->x2apic_format);
	return apic_bus_deliver(bus, NULL, &msg, NULL);
}
