// SPDX-License-Identifier: MIT
/*
 * Hyper-V's enlightened MSR bitmap: L1 says in the VMCB, by a clean bit that
 * the APM leaves to software, that it has not changed the map of MSRs since its
 * last VMRUN of this VMCB.  KVM then goes on with what it has read before, and
 * so does this, where L1 has asked for it.  TLFS 16.5.3.
 */
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

#define CLEAN_ENLIGHTENED (1ULL << 31)

static bool asked(const struct x86_vcpu *v)
{
	return v->hv.enabled && atomic_load(&v->vm->hv.guest_os_id) &&
	       (v->svm->vmcb.control.hv.control & HV_SVM_MSR_BITMAP);
}

void svm_keep_msr_map(struct x86_vcpu *v)
{
	struct svm_msr_map *map = &v->svm->msr_map;
	const struct vmcb_control *c = &v->svm->vmcb.control;

	map->used = asked(v) && (c->word3 & 1u << W3_MSR);
	if (map->used && map->kept && map->vmcb == v->svm->vmcb_gpa && (c->clean & CLEAN_ENLIGHTENED)) {
		x86_stat_inc(v->vcpu, X86_STAT_HV_MSR_MAPS_KEPT);
		return;
	}
	/* What cannot be read stays in memory, where it intercepts. */
	map->kept = map->used && !x86_guest_read(v, c->msrpm & GUEST_PAGE_MASK, map->bits, sizeof(map->bits));
	map->used = map->kept;
	map->vmcb = v->svm->vmcb_gpa;
}
