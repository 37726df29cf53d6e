/* SPDX-License-Identifier: MIT */
/* Steal time: how long a vCPU could have run and did not.  Kernel documentation: virt/kvm/x86/msr.rst. */
#ifndef X86_PV_STEAL_H
#define X86_PV_STEAL_H

#include <stdint.h>

struct vcpu;
struct x86_vcpu;

#define MSR_STEAL_TIME 0x4b564d03

/** x86_steal_set - WRMSR of MSR_STEAL_TIME.  -EINVAL: reserved bits. */
int x86_steal_set(struct x86_vcpu *v, uint64_t value);

/** x86_steal_entered - KVM_RUN begins: updates the area, if it has one.  Owner, entered, on its own thread. */
void x86_steal_entered(struct x86_vcpu *v);

/** x86_steal_update - the vCPU goes on: adds to its area what was stolen meanwhile.  As x86_steal_entered(). */
void x86_steal_update(struct x86_vcpu *v);

/** x86_steal_thread_changed - the count is a thread's: it begins anew. */
void x86_steal_thread_changed(struct vcpu *vcpu);

#endif
