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

/* Does L1 know Hyper-V, and is the VMCB's software part of that form? */
static bool enlightened(const struct x86_vcpu *v)
{
	return v->hv.enabled && atomic_load(&v->vm->hv.guest_os_id);
}

static bool asked(const struct x86_vcpu *v)
{
	return enlightened(v) && (v->svm->vmcb.control.hv.control & HV_SVM_MSR_BITMAP);
}

bool svm_describe_l2(struct x86_vcpu *v, struct hv_l2 *l2)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;

	if (!enlightened(v))
		return false;
	*l2 = (struct hv_l2){
		.vm = c->hv.vm_id, .vp = c->hv.vp_id, .direct_flush = c->hv.control & HV_SVM_DIRECT_FLUSH,
		.partition_assist = c->hv.partition_assist_page,
	};
	return true;
}

void svm_exit_after_flush(struct x86_vcpu *v)
{
	v->svm->after_flush = true;
	x86_request(&v->cpu, X86_REQ_EVENT);
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
