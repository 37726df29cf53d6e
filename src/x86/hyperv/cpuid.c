// SPDX-License-Identifier: MIT
/* KVM_GET_SUPPORTED_HV_CPUID, and what follows from the leaves that the client has set.  api.rst 4.118; TLFS 2.4. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "x86/hyperv/hyperv.h"
#include "x86/state/cpuid.h"
#include "x86/state/state.h"
#include "x86/vmx/vmx.h"

#define ALL_BITS 0xffffffffu

/* A register whose value is not constant. */
enum leaf_kind { KIND_PLAIN, KIND_SIGNATURE, KIND_LAPIC_EDX, KIND_HINTS, KIND_NESTED };

struct leaf_row {
	uint32_t function;
	uint8_t kind;                   /* enum leaf_kind */
	uint32_t eax, ebx, ecx, edx;
	uint32_t lapic;                 /* bits beside them where there are local APICs of ours */
};

/* What KVM of Linux 6.1 offers, and 6.3's extended hypercalls, which are the client's, and control of invariant TSCs. */
static const struct leaf_row leaves[] = {
	{ HV_LEAF_VENDOR, KIND_SIGNATURE, .eax = HV_LEAF_SYNDBG_CAPS },
	{ HV_LEAF_INTERFACE, .eax = HV_INTERFACE },
	/* Build 14393, version 10.0: of Windows Server 2016. */
	{ HV_LEAF_VERSION, .eax = 0x3839, .ebx = 0xa0000 },
	{ HV_LEAF_FEATURES, KIND_LAPIC_EDX,
	  .eax = HV_ACCESS_VP_RUNTIME | HV_ACCESS_REF_COUNTER | HV_ACCESS_SYNIC | HV_ACCESS_STIMERS | HV_ACCESS_APIC |
		 HV_ACCESS_HYPERCALL | HV_ACCESS_VP_INDEX | HV_ACCESS_RESET | HV_ACCESS_REF_TSC |
		 HV_ACCESS_FREQUENCIES | HV_ACCESS_REENLIGHTENMENT | HV_ACCESS_TSC_INVARIANT,
	  .ebx = HV_POST_MESSAGES | HV_SIGNAL_EVENTS | HV_DEBUGGING | HV_EXTENDED_HYPERCALLS,
	  .edx = HV_GUEST_DEBUGGING | HV_XMM_INPUT | HV_FREQUENCY_MSRS | HV_CRASH_MSRS | HV_DEBUG_MSRS,
	  .lapic = HV_STIMER_DIRECT },
	/* Spinning is to be told of after 4095 turns. */
	{ HV_LEAF_HINTS, KIND_HINTS,
	  .eax = HV_HINT_REMOTE_FLUSH | HV_HINT_APIC_MSRS | HV_HINT_RELAXED_TIMING | HV_HINT_EX_MASKS |
		 HV_HINT_NO_AUTO_EOI,
	  .ebx = 0xfff, .lapic = HV_HINT_CLUSTER_IPI },
	/* Virtual processors, and logical ones as Windows Server 2016 says. */
	{ HV_LEAF_LIMITS, .eax = KVM_MAX_VCPUS, .ebx = 64 },
	{ HV_LEAF_SYNDBG_VENDOR, KIND_SIGNATURE, .eax = 0 },
	{ HV_LEAF_SYNDBG_INTERFACE, .eax = HV_SYNDBG_INTERFACE },
	{ HV_LEAF_SYNDBG_CAPS, .eax = HV_SYNDBG_KERNEL_DEBUGGING },
	{ HV_LEAF_NESTED, KIND_NESTED, .eax = HV_NESTED_DIRECT_FLUSH | HV_NESTED_MSR_BITMAP, .ebx = HV_NESTED_PERF_GLOBAL_CTRL },
};

/* Two vCPUs share a core only by being threads of the host's that do: never where those are off for good. */
static bool no_core_sharing(void)
{
	char text[16] = "";
	int fd = open("/sys/devices/system/cpu/smt/control", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n > 0 && (!strncmp(text, "forceoff", 8) || !strncmp(text, "notsupported", 12));
}

static void fill(struct kvm_cpuid_entry2 *e, const struct leaf_row *row, bool lapic, uint16_t evmcs)
{
	*e = (struct kvm_cpuid_entry2){
		.function = row->function, .eax = row->eax, .ebx = row->ebx, .ecx = row->ecx, .edx = row->edx,
	};
	switch (row->kind) {
	case KIND_SIGNATURE:
		memcpy(&e->ebx, "Linux KVM Hv", 12);
		break;
	case KIND_LAPIC_EDX:
		e->edx |= lapic ? row->lapic : 0;
		break;
	case KIND_HINTS:
		e->eax |= (lapic ? row->lapic : 0) | (no_core_sharing() ? HV_HINT_NO_CORE_SHARING : 0) |
			  (evmcs ? HV_HINT_EVMCS : 0);
		break;
	case KIND_NESTED:
		e->eax |= evmcs;
		break;
	default:
		break;
	}
}

_Static_assert(__builtin_offsetof(struct kvm_cpuid_entry2, edx) == __builtin_offsetof(struct kvm_cpuid_entry2, ebx) + 8,
	       "EBX, ECX, EDX: a signature");

/* On a system descriptor as if there were local APICs. */
long hv_ioctl_get_supported_cpuid(struct kvm_call *c)
{
	bool lapic = !c->vcpu || x86_vcpu_of(c->vcpu)->has_lapic;
	uint16_t evmcs = c->vcpu ? vmx_evmcs_versions(x86_vcpu_of(c->vcpu)) : vmx_evmcs_supported();
	struct kvm_cpuid_entry2 e[ARRAY_SIZE(leaves)];
	struct kvm_cpuid2 head;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nent < ARRAY_SIZE(leaves))
		return -E2BIG;
	head.nent = ARRAY_SIZE(leaves);
	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		fill(&e[i], &leaves[i], lapic, evmcs);
	if (kvm_copy_out(c->arg + __builtin_offsetof(struct kvm_cpuid2, entries), e, sizeof(e)) ||
	    kvm_copy_out(c->arg, &head, sizeof(head)))
		return -EFAULT;
	return 0;
}

/* --- what the client has set ----------------------------------------------------------- */

static const struct {
	uint32_t leaf;
	uint8_t reg;            /* of EAX, EBX, ECX, EDX */
} sources[HV_CPUID_REGS] = {
	[HV_FEATURES_A] = { HV_LEAF_FEATURES, 0 }, [HV_FEATURES_B] = { HV_LEAF_FEATURES, 1 },
	[HV_FEATURES_D] = { HV_LEAF_FEATURES, 3 }, [HV_HINTS_A] = { HV_LEAF_HINTS, 0 },
	[HV_HINTS_B] = { HV_LEAF_HINTS, 1 }, [HV_SYNDBG_A] = { HV_LEAF_SYNDBG_CAPS, 0 },
	[HV_NESTED_A] = { HV_LEAF_NESTED, 0 }, [HV_NESTED_B] = { HV_LEAF_NESTED, 1 },
};

void hv_cpuid_changed(struct x86_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e = x86_cpuid_find(&v->cpuid, HV_LEAF_INTERFACE, 0);

	v->hv.enabled = e && e->eax == HV_INTERFACE;
	for (unsigned int r = 0; r < HV_CPUID_REGS; r++) {
		e = v->hv.enabled ? x86_cpuid_find(&v->cpuid, sources[r].leaf, 0) : NULL;
		v->hv.cpuid[r] = e ? (&e->eax)[sources[r].reg] : 0;
	}
}

bool hv_hides_invariant_tsc(const struct x86_vcpu *v)
{
	return (v->hv.cpuid[HV_FEATURES_A] & HV_ACCESS_TSC_INVARIANT) &&
	       !(atomic_load(&v->vm->hv.tsc_invariant) & HV_TSC_INVARIANT_SHOWN);
}
