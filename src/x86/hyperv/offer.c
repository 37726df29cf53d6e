// SPDX-License-Identifier: MIT
/*
 * Hyper-V for a hypervisor inside whose client knows nothing of it: with the
 * parameter anykvm.hyperv_nested, KVM_SET_CPUID2 has these leaves in the place of
 * KVM's.  KVM's do not stay above them, at 0x40000100, since a kernel that finds
 * both takes itself for a guest of KVM's.
 *
 * What needs the client's part (messages, synthetic timers, crash, reset, the
 * debugger, extended hypercalls) is not among it.
 */
#include <stdlib.h>
#include <string.h>

#include "x86/hyperv/hyperv.h"
#include "x86/state/parameter.h"
#include "x86/state/state.h"
#include "x86/vmx/vmx.h"

static const struct kvm_cpuid_entry2 leaves[] = {
	{ .function = HV_LEAF_VENDOR, .eax = HV_LEAF_NESTED },
	{ .function = HV_LEAF_INTERFACE, .eax = HV_INTERFACE },
	{ .function = HV_LEAF_VERSION, .eax = 0x3839, .ebx = 0xa0000 },
	{ .function = HV_LEAF_FEATURES,
	  .eax = HV_ACCESS_VP_RUNTIME | HV_ACCESS_REF_COUNTER | HV_ACCESS_APIC | HV_ACCESS_HYPERCALL |
		 HV_ACCESS_VP_INDEX | HV_ACCESS_REF_TSC | HV_ACCESS_FREQUENCIES | HV_ACCESS_TSC_INVARIANT,
	  .edx = HV_XMM_INPUT | HV_FREQUENCY_MSRS },
	{ .function = HV_LEAF_HINTS,
	  .eax = HV_HINT_REMOTE_FLUSH | HV_HINT_RELAXED_TIMING | HV_HINT_EX_MASKS | HV_HINT_NO_AUTO_EOI,
	  .ebx = 0xfff },
	{ .function = HV_LEAF_LIMITS, .eax = KVM_MAX_VCPUS, .ebx = 64 },
	{ .function = HV_LEAF_NESTED,
	  .eax = HV_NESTED_DIRECT_FLUSH | HV_NESTED_MAPPING_FLUSH | HV_NESTED_MSR_BITMAP },
};

/* Leaf @function of @e, which need not be a vCPU's yet. */
static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid_entry2 *e, uint32_t n, uint32_t function)
{
	for (uint32_t i = 0; i < n; i++)
		if (e[i].function == function)
			return &e[i];
	return NULL;
}

static bool has_vmx(const struct x86_vcpu *v, const struct kvm_cpuid_entry2 *e, uint32_t n)
{
	const struct kvm_cpuid_entry2 *leaf = find(e, n, 1);

	return v->vmx && leaf && (leaf->ecx >> 5 & 1);
}

static bool has_svm(const struct x86_vcpu *v, const struct kvm_cpuid_entry2 *e, uint32_t n)
{
	const struct kvm_cpuid_entry2 *leaf = find(e, n, 0x80000001);

	return v->svm && leaf && (leaf->ecx >> 2 & 1);
}

/* A client that has leaves of Hyper-V's itself keeps them. */
static bool wanted(const struct x86_vcpu *v, const struct kvm_cpuid_entry2 *e, uint32_t n)
{
	const struct kvm_cpuid_entry2 *interface = find(e, n, HV_LEAF_INTERFACE);

	return x86_parameter(X86_PARAM_HYPERV_NESTED) && !(interface && interface->eax == HV_INTERFACE) &&
	       (has_vmx(v, e, n) || has_svm(v, e, n));
}

static uint32_t drop_others(struct kvm_cpuid_entry2 *e, uint32_t n)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if (e[i].function >> 16 != HV_LEAF_VENDOR >> 16)
			e[kept++] = e[i];
	return kept;
}

static void complete(struct x86_vcpu *v, struct kvm_cpuid_entry2 *e, bool vmx)
{
	switch (e->function) {
	case HV_LEAF_VENDOR:
		memcpy(&e->ebx, "Microsoft Hv", 12);
		break;
	case HV_LEAF_HINTS:
		e->eax |= (v->has_lapic ? HV_HINT_APIC_MSRS | HV_HINT_CLUSTER_IPI : 0) | (vmx ? HV_HINT_EVMCS : 0);
		break;
	case HV_LEAF_NESTED:
		/* They may be dropped all the same, so that is no more than a promise of L1's to say what it changes. */
		e->eax |= vmx ? vmx_evmcs_supported() : HV_NESTED_ENLIGHTENED_TLB;
		break;
	default:
		break;
	}
}

int hv_offer_nested(struct x86_vcpu *v, struct kvm_cpuid_entry2 **entries, uint32_t *count)
{
	struct kvm_cpuid_entry2 *e;
	uint32_t n = *count;
	bool vmx;

	if (!wanted(v, *entries, n))
		return 0;
	e = realloc(*entries, (n + ARRAY_SIZE(leaves)) * sizeof(*e));
	if (!e)
		return -1;
	vmx = has_vmx(v, e, n);
	n = drop_others(e, n);
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
		e[n] = leaves[i];
		complete(v, &e[n++], vmx);
	}
	/* What KVM_CAP_HYPERV_ENLIGHTENED_VMCS would do. */
	if (vmx)
		v->vmx->evmcs_enabled = true;
	*entries = e;
	*count = n;
	return 0;
}
