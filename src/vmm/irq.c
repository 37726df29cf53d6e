/* SPDX-License-Identifier: MIT */
#include "vmm/irq.h"

#include <linux/kvm.h>

#include "vmm/kvm.h"

void irq_line_init(struct irq_line *l, const struct kvm_vm *vm, uint32_t gsi)
{
	l->vm = vm;
	l->gsi = gsi;
}

void irq_line_set(const struct irq_line *l, bool high)
{
	struct kvm_irq_level level = { .irq = l->gsi, .level = high };

	vm_ioctl(l->vm, KVM_IRQ_LINE, &level);
}

void irq_line_pulse(const struct irq_line *l)
{
	irq_line_set(l, true);
	irq_line_set(l, false);
}
