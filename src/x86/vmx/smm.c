// SPDX-License-Identifier: MIT
/*
 * System management mode of a CPU in VMX operation, by the default treatment: SDM 3C, 31.14.  VMX is off in it.
 * Where it is entered from L2, what L2 is goes to the VMCS, and RSM takes L2 up again from there; as KVM, so that a
 * client may save and restore the vCPU in between.
 */
#include <errno.h>

#include "x86/mmu/mmu.h"
#include "x86/vmx/vmx.h"

void vmx_suspend(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	if (!x)
		return;
	x->smm_guest = v->cpu.nested.in_guest;
	if (x->smm_guest) {
		vmx_store_guest(v);
		/* What VM entry has injected is delivered by now. */
		x->m.entry_event &= ~EVT_VALID;
		vmx_leave_guest(v);
	}
	x->smm_on = x->on;
	if (x->on)
		vmx_set_operation(v, false);
}

int vmx_resume(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	bool guest;

	if (!x || !x->smm_on)
		return 0;
	guest = x->smm_guest;
	x->smm_on = x->smm_guest = false;
	vmx_set_operation(v, true);
	if (!guest)
		return 0;
	if (vmx_check_controls(v) || vmx_check_host(v) || !vmx_check_guest_again(v))
		return -EINVAL;
	vmx_reenter(v);
	return 0;
}
