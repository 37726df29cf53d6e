/* SPDX-License-Identifier: MIT */
/* A vCPU's CPUID: what the client set, what follows from it, what the guest reads. */
#ifndef X86_STATE_CPUID_H
#define X86_STATE_CPUID_H

#include "x86/features.h"

struct x86_vcpu;

/** x86_cpuid_init - before KVM_SET_CPUID2: no leaves, but every feature of the model, as the CPU under a KVM would have. */
void x86_cpuid_init(struct x86_vcpu *v);
void x86_cpuid_free(struct x86_cpuid *c);

/** x86_cpuid_find - the entry of @leaf (and @index where it has subleaves), or NULL. */
struct kvm_cpuid_entry2 *x86_cpuid_find(const struct x86_cpuid *c, uint32_t leaf, uint32_t index);

/** x86_cpuid_query - the CPUID instruction: *eax and *ecx in, all four out.  May raise #GP. */
void x86_cpuid_query(struct x86_vcpu *v, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx);

/** x86_cpuid_update_runtime - the bits that follow control registers, in the entries. */
void x86_cpuid_update_runtime(struct x86_vcpu *v);

/** x86_cpuid_update_mwait - after MISC_ENABLE changed: whether MONITOR and MWAIT are there. */
void x86_cpuid_update_mwait(struct x86_vcpu *v);

#endif
