/* SPDX-License-Identifier: MIT */
/* stats.h - KVM's binary statistics as JSON (api.rst, KVM_GET_STATS_FD). */
#ifndef VMM_STATS_H
#define VMM_STATS_H

#include "vmm/err.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

/**
 * stats_write - { "vm": { name: value, ... }, "vcpus": [ { ... } ] } into @path;
 * a histogram's value is an array.  The file appears whole or not at all.
 * Returns 0, or -errno with @err set.
 */
int stats_write(const char *path, const struct kvm_vm *vm, const struct vcpu *vcpus, unsigned int count,
		struct vmm_err *err);

/** stats_show - has the library keep the counters of @owner (a VM's, a vCPU's descriptor) where 'anykvm stat' sees them. */
void stats_show(const struct kvm_vm *vm, int owner);

#endif
