/* SPDX-License-Identifier: MIT */
/*
 * The CPU model: which vendor's rules, and which features, new VMs are offered
 * by KVM_GET_SUPPORTED_CPUID.
 */
#ifndef X86_STATE_MODEL_H
#define X86_STATE_MODEL_H

#include "x86/features.h"

struct x86_model {
	uint8_t vendor;                                 /* V_INTEL or V_AMD */
	uint64_t has[(X86_F_COUNT + 63) / 64];          /* what is offered */
};

/** x86_model_default - everything that can be built on this host for @vendor (0: the host's own). */
void x86_model_default(struct x86_model *m, unsigned int vendor);

/**
 * x86_model_parse - the model of @spec: a vendor's name, then ",+flag" and
 * ",-flag".  NULL is the default.  -EINVAL: an unknown word, or a feature that
 * this host cannot execute.
 */
int x86_model_parse(struct x86_model *m, const char *spec) must_check;

/** x86_model_set - the process's model from now on; x86_model_get copies it. */
int x86_model_set(const char *spec) must_check;
void x86_model_get(struct x86_model *m);

/** x86_feature_feasible - can @f be executed on this host at all? */
bool x86_feature_feasible(unsigned int f);

/** x86_model_cpuid - fills @e (room for @max) as KVM_GET_SUPPORTED_CPUID does.  The count, or -E2BIG. */
int x86_model_cpuid(const struct x86_model *m, struct kvm_cpuid_entry2 *e, uint32_t max) must_check;

/** x86_model_emulated - the same for KVM_GET_EMULATED_CPUID. */
int x86_model_emulated(struct kvm_cpuid_entry2 *e, uint32_t max) must_check;

struct xsave_layout;

/**
 * x86_xsave_size - bytes of an XSAVE area with the components @xcr0, standard
 * or compacted.  SDM 1, 13.4.2 and 13.4.3.
 */
uint32_t x86_xsave_size(const struct xsave_layout *l, uint64_t xcr0, bool compacted);

/** x86_host_phys_bits - physical address bits of this host, between 36 and 52. */
unsigned int x86_host_phys_bits(void);

static inline bool x86_model_has(const struct x86_model *m, unsigned int f)
{
	return m->has[f / 64] >> (f % 64) & 1;
}

#endif
