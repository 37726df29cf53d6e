// SPDX-License-Identifier: MIT
/* A partition's and a virtual processor's state, and exits that wait for an instruction to end. */
#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"

void hv_vm_init(struct hv_vm *hv)
{
	pthread_mutex_init(&hv->lock, NULL);
}

void hv_vm_destroy(struct hv_vm *hv)
{
	hv_connections_destroy(hv);
	pthread_mutex_destroy(&hv->lock);
}

void hv_vcpu_init(struct x86_vcpu *v)
{
	atomic_store(&v->hv.vp_index, v->vcpu->index);
	hv_synic_init(v);
}

void hv_vcpu_destroy(struct x86_vcpu *v)
{
	hv_synic_destroy(v);
}

struct x86_vcpu *hv_vcpu_by_index(struct x86_vm *vm, uint32_t vp_index)
{
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, vm->vm)
		if (atomic_load(&x86_vcpu_of(vcpu)->hv.vp_index) == vp_index)
			return x86_vcpu_of(vcpu);
	return NULL;
}

bool hv_permitted(const struct x86_vcpu *v, const struct hv_permit *p)
{
	return !v->hv.enforced || !p->mask || (v->hv.cpuid[p->reg] & p->mask);
}

void hv_exit_later(struct x86_vcpu *v, const struct kvm_hyperv_exit *exit)
{
	v->hv.exit = *exit;
	v->hv.exit_pending = true;
	x86_request(&v->cpu, X86_REQ_EVENT);
}

static bool system_event(struct x86_vcpu *v, bool *pending, uint32_t type)
{
	struct kvm_run *run = v->vcpu->run;

	if (!*pending)
		return false;
	*pending = false;
	run->exit_reason = KVM_EXIT_SYSTEM_EVENT;
	run->system_event.type = type;
	run->system_event.ndata = 0;
	return true;
}

bool hv_pending_exit(struct x86_vcpu *v)
{
	if (system_event(v, &v->hv.crash_exit, KVM_SYSTEM_EVENT_CRASH) ||
	    system_event(v, &v->hv.reset_exit, KVM_SYSTEM_EVENT_RESET))
		return true;
	if (!v->hv.exit_pending)
		return false;
	v->hv.exit_pending = false;
	v->vcpu->run->exit_reason = KVM_EXIT_HYPERV;
	v->vcpu->run->hyperv = v->hv.exit;
	v->hv.syndbg_asked = v->hv.exit.type == KVM_EXIT_HYPERV_SYNDBG;
	return true;
}

void hv_complete(struct x86_vcpu *v)
{
	if (unlikely(v->hv.syndbg_asked)) {
		v->hv.syndbg_asked = false;
		hv_syndbg_complete(v);
	}
	if (v->completion != X86_COMPLETE_HYPERV)
		return;
	v->hypercall_answer = v->vcpu->run->hyperv.u.hcall.result;
	v->cpu.replay.count = 1;
}
