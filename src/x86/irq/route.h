/* SPDX-License-Identifier: MIT */
/*
 * route.h - where a GSI goes on x86: a pin of the PIC or the I/O APIC, or an
 * MSI.  The table of GSIs itself (KVM_SET_GSI_ROUTING) is kept elsewhere.
 */
#ifndef ANYKVM_X86_IRQ_ROUTE_H
#define ANYKVM_X86_IRQ_ROUTE_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "x86/irq/irq_pins.h"

struct apic_bus;
struct apic_msg;
struct ioapic;
struct pic;

/** struct irq_chips - the chips of a VM.  @pic and @ioapic are NULL with a split irqchip. */
struct irq_chips {
	struct apic_bus *bus;
	struct pic *pic;
	struct ioapic *ioapic;
};

/** struct irq_route - one target of a GSI, checked. */
struct irq_route {
	uint32_t type;		/* KVM_IRQ_ROUTING_IRQCHIP or KVM_IRQ_ROUTING_MSI */
	uint32_t chip;		/* KVM_IRQCHIP_* */
	uint32_t pin;		/* 0 to 15 on the PICs, the slave's from 8; 0 to 23 on the I/O APIC */
	uint32_t address_lo;
	uint32_t address_hi;
	uint32_t data;
};

/** irq_default_routes - the table of a VM with KVM_CREATE_IRQCHIP: GSI n is pin n everywhere. */
extern const struct kvm_irq_routing_entry irq_default_routes[];
extern const unsigned int irq_nr_default_routes;

/**
 * irq_route_parse - checks @e and puts it into @route.
 * Returns 0; -EINVAL for a type or chip that does not exist here, a pin beyond
 * it, an irqchip entry with a split irqchip, or an MSI whose upper address is
 * not in the form that KVM_CAP_X2APIC_API asks for.
 */
int irq_route_parse(struct irq_route *route, const struct irq_chips *chips,
		    const struct kvm_irq_routing_entry *e);

/**
 * irq_route_set - drives one target.  Any thread.
 * @line_status: as for ioapic_set_irq().
 * Returns as KVM's: < 0 masked or nobody there, 0 coalesced, > 0 delivered to
 * so many.  An MSI is sent when @level is 1, and is -1 otherwise.
 */
int irq_route_set(const struct irq_chips *chips, const struct irq_route *route, enum irq_source source,
		  bool level, bool line_status);

/**
 * msi_to_apic - the message that an MSI is (SDM 3A, 11.11), with the extended
 * destination of KVM_X2APIC_API_USE_32BIT_IDS in address_hi bits 31:8 where
 * @x2apic_format.
 */
void msi_to_apic(struct apic_msg *msg, uint32_t address_lo, uint32_t address_hi, uint32_t data,
		 bool x2apic_format);

/**
 * msi_send - KVM_SIGNAL_MSI.
 * Returns as irq_route_set(); -EINVAL where address_hi is malformed.
 */
int msi_send(struct apic_bus *bus, uint32_t address_lo, uint32_t address_hi, uint32_t data);

#endif
