/* SPDX-License-Identifier: MIT */
/* irq.h - a device's interrupt wire: one pin of the in-kernel interrupt controllers. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_vm;

struct irq_line {
	const struct kvm_vm *vm;
	uint32_t gsi;
};

/** irq_line_init - @gsi: pin of the I/O APIC (0 to 23), as in the device's _CRS. */
void irq_line_init(struct irq_line *l, const struct kvm_vm *vm, uint32_t gsi);

/** irq_line_set - drive the wire high or low; any thread.  Errors cannot happen with a valid gsi. */
void irq_line_set(const struct irq_line *l, bool high);

/** irq_line_pulse - one edge, for the edge-triggered pins (virtio-mmio, RTC); any thread. */
void irq_line_pulse(const struct irq_line *l);

#endif
