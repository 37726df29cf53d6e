// SPDX-License-Identifier: MIT
/* Page-modification logging: addresses that EPT's dirty flags have been set for.  SDM 3C, 28.3.6. */
#include "x86/state/stats.h"
#include "x86/vmx/vmx.h"

#define PML_ENTRIES 512

/* The index counts down, through 0 to 65535; then the log is full.  A log that is not there takes nothing, as with KVM. */
bool vmx_log_dirty(struct x86_cpu *cpu, gpa_t gpa)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct vmcs *m = &v->vmx->m;
	uint64_t entry = gpa & GUEST_PAGE_MASK;

	if (m->pml_index >= PML_ENTRIES)
		return false;
	if (x86_guest_write(v, m->pml_address + m->pml_index * sizeof(entry), &entry, sizeof(entry)))
		return true;
	m->pml_index--;
	x86_stat_inc(v->vcpu, X86_STAT_PML_ENTRIES);
	return true;
}
