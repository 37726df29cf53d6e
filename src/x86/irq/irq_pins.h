/* SPDX-License-Identifier: MIT */
/*
 * irq_pins.h - what the PIC pair and the I/O APIC have in common: input pins
 * that several sources drive, and what they tell about a pin.
 */
#ifndef ANYKVM_X86_IRQ_IRQ_PINS_H
#define ANYKVM_X86_IRQ_IRQ_PINS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Who drives a line.  A pin is high while any source has it high, so that a
 * resampling irqfd, say, cannot lower what KVM_IRQ_LINE raised.
 */
enum irq_source {
	IRQ_SOURCE_USER,	/* KVM_IRQ_LINE, irqfds without resampling */
	IRQ_SOURCE_RESAMPLE,	/* all irqfds with resampling */
	IRQ_SOURCE_PIT,
};

/**
 * struct irq_pin_ops - what a chip reports.  @chip is KVM_IRQCHIP_*; @pin
 * counts from 0, and from 8 for KVM_IRQCHIP_PIC_SLAVE.  All are called with no
 * lock of the chip held, so they may drive its pins.
 */
struct irq_pin_ops {
	/* The guest finished an interrupt from @pin. */
	void (*acked)(void *vm, unsigned int chip, unsigned int pin);
	/* The guest masked or unmasked @pin. */
	void (*masked)(void *vm, unsigned int chip, unsigned int pin, bool masked);
	/*
	 * 1 if somebody waits for acked() of @pin; then also EOIs of edge triggered pins are reported.  Asked
	 * by ioapic_init() and ioapic_acks_changed() alone.
	 */
	bool (*ack_wanted)(void *vm, unsigned int chip, unsigned int pin);
};

/* Sets the level of @source on a line, returns that of the line. */
static inline bool irq_line_update(uint32_t *sources, enum irq_source source, bool level)
{
	if (level)
		*sources |= 1u << source;
	else
		*sources &= ~(1u << source);
	return *sources != 0;
}

#endif
