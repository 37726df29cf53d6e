// SPDX-License-Identifier: MIT
/*
 * The synthetic debugger: registers by which a guest's kernel debugger moves
 * packets, which the client transports.  Not in the TLFS; as KVM has it.
 */
#include <errno.h>
#include <stddef.h>

#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"

bool hv_syndbg_offered(const struct x86_vcpu *v)
{
	return v->hv.cpuid[HV_SYNDBG_A] & HV_SYNDBG_KERNEL_DEBUGGING;
}

static uint64_t *reg_of(struct hv_syndbg *s, uint32_t index)
{
	if (index == HV_MSR_SYNDBG_OPTIONS)
		return &s->options;
	return &s->control + (index - HV_MSR_SYNDBG_CONTROL);
}

_Static_assert(offsetof(struct hv_syndbg, pending_page) / 8 == HV_MSR_SYNDBG_PENDING - HV_MSR_SYNDBG_CONTROL,
	       "the registers in the order of their numbers");

static void tell_client(struct x86_vcpu *v, uint32_t index)
{
	const struct hv_syndbg *s = &v->vm->hv.syndbg;
	struct kvm_hyperv_exit exit = { .type = KVM_EXIT_HYPERV_SYNDBG };

	exit.u.syndbg.msr = index;
	exit.u.syndbg.control = s->control;
	exit.u.syndbg.send_page = s->send_page;
	exit.u.syndbg.recv_page = s->recv_page;
	exit.u.syndbg.pending_page = s->pending_page;
	hv_exit_later(v, &exit);
}

int hv_syndbg_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && !hv_syndbg_offered(v))
		return -EINVAL;
	*value = *reg_of(&v->vm->hv.syndbg, index);
	return 0;
}

int hv_syndbg_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host && !hv_syndbg_offered(v))
		return -EINVAL;
	*reg_of(&v->vm->hv.syndbg, index) = value;
	if (!host && (index == HV_MSR_SYNDBG_CONTROL || index == HV_MSR_SYNDBG_PENDING))
		tell_client(v, index);
	return 0;
}

void hv_syndbg_complete(struct x86_vcpu *v)
{
	const struct kvm_run *run = v->vcpu->run;

	if (run->hyperv.u.syndbg.msr != HV_MSR_SYNDBG_CONTROL)
		return;
	pthread_mutex_lock(&v->vm->hv.lock);
	v->vm->hv.syndbg.status = run->hyperv.u.syndbg.status;
	pthread_mutex_unlock(&v->vm->hv.lock);
}
