/* SPDX-License-Identifier: MIT */
/*
 * One table of capabilities: what KVM_CHECK_EXTENSION answers, and what
 * KVM_ENABLE_CAP does.  A capability without a row is 0 and cannot be enabled.
 */
#ifndef KVM_CAPS_H
#define KVM_CAPS_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct vm;

struct kvm_cap_row {
	long cap;               /* KVM_CAP_* */
	int value;              /* the answer; unused with get */
	/* The answer, where it is not constant.  @vm: NULL on a system descriptor. */
	int (*get)(struct vm *vm);
	/* KVM_ENABLE_CAP on a VM and on a vCPU: 0 or -errno.  NULL: -EINVAL.  They check @cap->flags. */
	int (*enable_vm)(struct vm *vm, const struct kvm_enable_cap *cap);
	int (*enable_vcpu)(struct vcpu *vcpu, const struct kvm_enable_cap *cap);
};

struct kvm_cap_rows {
	const struct kvm_cap_row *row;
	size_t count;
};

extern const struct kvm_cap_rows kvm_cap_rows_generic;

/** kvm_cap_find - the row of @cap, or NULL. */
const struct kvm_cap_row *kvm_cap_find(long cap);

/** kvm_cap_check - the answer to KVM_CHECK_EXTENSION; @vm NULL on a system descriptor. */
int kvm_cap_check(struct vm *vm, long cap);

#endif
