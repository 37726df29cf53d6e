// SPDX-License-Identifier: MIT
/* The lists of MSRs that VM entry loads, and VM exit stores and loads.  SDM 3C, 26.4, 27.4 and 27.6. */
#include "x86/state/msr.h"
#include "x86/vmx/vmx.h"

#define AREA_MAX 512                    /* IA32_VMX_MISC 27:25 is 0 */
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_UCODE_WRITE 0x79u
#define MSR_UCODE_REV 0x8bu
#define MSR_SMBASE 0x9eu
#define MSR_SMM_MONITOR 0x9bu
#define MSR_TSC 0x10u

struct entry {
	uint32_t index, reserved;
	uint64_t value;
};

static bool is_x2apic(uint32_t index)
{
	return index >> 8 == 8;
}

static bool may_load(const struct entry *e)
{
	return !e->reserved && e->index != MSR_FS_BASE && e->index != MSR_GS_BASE && !is_x2apic(e->index) &&
	       e->index != MSR_UCODE_WRITE && e->index != MSR_UCODE_REV && e->index != MSR_SMM_MONITOR;
}

static bool may_store(const struct entry *e)
{
	return !e->reserved && !is_x2apic(e->index) && e->index != MSR_SMBASE;
}

uint32_t vmx_load_msrs(struct x86_vcpu *v, gpa_t at, uint32_t count)
{
	struct entry e;

	for (uint32_t n = 0; n < count; n++)
		if (n >= AREA_MAX || x86_guest_read(v, at + n * sizeof(e), &e, sizeof(e)) || !may_load(&e) ||
		    x86_guest_wrmsr(v, e.index, e.value))
			return n + 1;
	return 0;
}

/* The TSC is L1's own, and what it was before all the work that an exit is; as with KVM. */
static bool read_msr(struct x86_vcpu *v, uint32_t index, uint64_t *value)
{
	if (index == MSR_TSC) {
		*value = v->vmx->exit_tsc;
		return true;
	}
	return !x86_guest_rdmsr(v, index, value);
}

bool vmx_store_msrs(struct x86_vcpu *v, gpa_t at, uint32_t count)
{
	struct entry e;

	for (uint32_t n = 0; n < count; n++) {
		gpa_t here = at + n * sizeof(e);

		if (n >= AREA_MAX || x86_guest_read(v, here, &e, sizeof(e)) || !may_store(&e) ||
		    !read_msr(v, e.index, &e.value) ||
		    x86_guest_write(v, here + offsetof(struct entry, value), &e.value, sizeof(e.value)))
			return false;
	}
	return true;
}
