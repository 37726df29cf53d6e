// SPDX-License-Identifier: MIT
/* KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE, by vendor; api.rst 4.114 and 4.115. */
#include <errno.h>

#include "kvm/ioctl.h"
#include "x86/state/model.h"
#include "x86/state/state.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

#define FLAGS (KVM_STATE_NESTED_RUN_PENDING | KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_EVMCS | \
	       KVM_STATE_NESTED_MTF_PENDING | KVM_STATE_NESTED_GIF_SET)

long x86_ioctl_get_nested_state(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_nested_state head;
	uint32_t need;
	long r;

	if (!v->svm && !v->vmx)
		return -EINVAL;
	if (kvm_copy_in(&head.size, c->arg + offsetof(struct kvm_nested_state, size), sizeof(head.size)))
		return -EFAULT;
	r = v->svm ? svm_get_nested_state(v, c->arg, head.size) : vmx_get_nested_state(v, c->arg, head.size);
	if (r < 0)
		return r;
	need = (uint32_t)r;
	if (need <= head.size)
		return 0;
	return kvm_copy_out(c->arg + offsetof(struct kvm_nested_state, size), &need, sizeof(need)) ? -EFAULT : -E2BIG;
}

long x86_ioctl_set_nested_state(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_nested_state head;

	if (!v->svm && !v->vmx)
		return -EINVAL;
	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.size < sizeof(head) || (head.flags & ~FLAGS))
		return -EINVAL;
	if ((head.flags & KVM_STATE_NESTED_RUN_PENDING) && !(head.flags & KVM_STATE_NESTED_GUEST_MODE))
		return -EINVAL;
	return v->svm ? svm_set_nested_state(v, &head, c->arg) : vmx_set_nested_state(v, &head, c->arg);
}

int x86_nested_state_size(struct vm *vm)
{
	struct x86_model m;

	x86_model_get(&m);
	if (x86_model_has(&m, X86_F_SVM))
		return (int)svm_nested_state_size();
	return x86_model_has(&m, X86_F_VMX) ? (int)vmx_nested_state_size() : 0;
}
