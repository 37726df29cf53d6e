/* SPDX-License-Identifier: MIT */
#ifndef KVM_POPULATE_H
#define KVM_POPULATE_H

struct kvm_call;

/** kvm_pre_fault_memory - KVM_PRE_FAULT_MEMORY; signals are blocked.  0; -EINVAL, -ENOENT, -EINTR, -EFAULT, -ENOMEM. */
long kvm_pre_fault_memory(struct kvm_call *c);

#endif
