/* SPDX-License-Identifier: MIT */
/* iobus.h - the client's side of the I/O bus; the guest's is kvm_bus_write() in vm.h. */
#ifndef KVM_IOBUS_H
#define KVM_IOBUS_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "kvm/vm.h"

/** kvm_ioeventfd - api.rst 4.59.  0; -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOMEM, -EMFILE. */
int kvm_ioeventfd(struct vm *vm, const struct kvm_ioeventfd *args);

/** kvm_coalesced_zone - api.rst 4.116.  0; -EINVAL, -ENOSPC, -ENOMEM. */
int kvm_coalesced_zone(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add);

#endif
