// SPDX-License-Identifier: MIT
/*
 * Direct virtual flush: where a hypervisor inside has asked for it, L2's
 * hypercalls that flush are served here, and L1 hears of none; but of those that
 * come while it holds L2's tables still, behind them.  TLFS 16.8.
 */
#include "x86/hyperv/hyperv.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

static bool is_flush(const struct x86_vcpu *v)
{
	switch ((uint16_t)v->cpu.regs[v->cpu.mode == CODE64 ? R_RCX : R_RAX]) {
	case HV_CALL_FLUSH_SPACE:
	case HV_CALL_FLUSH_LIST:
	case HV_CALL_FLUSH_SPACE_EX:
	case HV_CALL_FLUSH_LIST_EX: return true;
	default: return false;
	}
}

/* Of L2, what L1 says in its VMCS or VMCB; false: it says nothing. */
static bool describe(struct x86_vcpu *v, struct hv_l2 *l2)
{
	return v->vmx ? vmx_describe_l2(v, l2) : svm_describe_l2(v, l2);
}

bool hv_read_assist(struct x86_vcpu *v, struct hv_assist *a)
{
	uint64_t page = v->hv.vp_assist_page;

	return (page & HV_PAGE_ENABLE) && !x86_guest_read(v, (page & GUEST_PAGE_MASK) + HV_ASSIST_NESTED, a, sizeof(*a));
}

static bool allowed_by_assist(struct x86_vcpu *v)
{
	struct hv_assist a;

	return hv_read_assist(v, &a) && (a.nested_control & HV_ASSIST_DIRECT_HYPERCALL);
}

static void note(struct x86_vcpu *v, const struct hv_l2 *l2)
{
	atomic_store(&v->hv.l2_vm, l2->vm);
	atomic_store(&v->hv.l2_vp, l2->vp);
	atomic_store(&v->hv.l2_known, true);
}

void hv_note_l2(struct x86_vcpu *v)
{
	struct hv_l2 l2;

	if (v->hv.enabled && describe(v, &l2))
		note(v, &l2);
	else
		atomic_store(&v->hv.l2_known, false);
}

bool hv_takes_l2_call(struct x86_vcpu *v)
{
	struct hv_l2 l2;

	if (!v->hv.enabled || !is_flush(v) || !hv_hypercall_wanted(v) || !describe(v, &l2) || !l2.direct_flush ||
	    !allowed_by_assist(v))
		return false;
	note(v, &l2);
	x86_stat_inc(v->vcpu, X86_STAT_HV_L2_CALLS);
	return true;
}

bool hv_flush_reaches(const struct x86_vcpu *v, const struct hv_vp_set *set, const struct x86_vcpu *to)
{
	uint32_t vp = atomic_load(&to->hv.l2_vp);

	if (likely(!v->cpu.nested.in_guest))
		return hv_vp_set_has(set, to);
	/* L2's own numbers; of whom nothing is known may be one of them. */
	if (!atomic_load(&to->hv.l2_known))
		return true;
	return atomic_load(&to->hv.l2_vm) == atomic_load(&v->hv.l2_vm) &&
	       (set->all || (vp < 64 * HV_SET_BANKS && (set->bank[vp / 64] >> vp % 64 & 1)));
}

uint64_t hv_after_l2_call(struct x86_vcpu *v, uint64_t result)
{
	struct hv_l2 l2;
	uint32_t locks;

	if ((uint16_t)result != HV_SUCCESS || !describe(v, &l2) || !l2.direct_flush)
		return result;
	if (x86_guest_read(v, l2.partition_assist, &locks, sizeof(locks)))
		return HV_INVALID_INPUT;
	if (locks && v->vmx)
		vmx_exit_after(v, HV_VMX_TRAP_AFTER_FLUSH, 0);
	else if (locks)
		svm_exit_after_flush(v);
	return result;
}
