/* SPDX-License-Identifier: MIT */
/* irq.h - the client's side of interrupts; kvm_set_irq() and what devices need is in vm.h. */
#ifndef KVM_IRQ_H
#define KVM_IRQ_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "kvm/vm.h"

/** kvm_set_gsi_routing - api.rst 4.52; @uaddr: the client's struct.  0; -EINVAL, -EFAULT, -ENOMEM. */
int kvm_set_gsi_routing(struct vm *vm, unsigned long uaddr);

/** kvm_irq_line - api.rst 4.25; sets irq->status when @want_status.  0; -ENXIO. */
int kvm_irq_line(struct vm *vm, struct kvm_irq_level *irq, bool want_status);

/** kvm_signal_msi - api.rst 4.70.  > 0 delivered, 0 blocked, < 0 error. */
int kvm_signal_msi(struct vm *vm, const struct kvm_msi *msi);

/** kvm_irqfd - api.rst 4.75.  0; -EINVAL, -EBADF, -EBUSY, -ENOMEM, -EMFILE. */
int kvm_irqfd(struct vm *vm, const struct kvm_irqfd *args);

#endif
