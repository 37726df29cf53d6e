// SPDX-License-Identifier: MIT
/*
 * System management mode, the default treatment: it is entered from VMX
 * operation, root or not, and is outside of it until RSM.  SDM 3C, 31.14.  As
 * KVM, L2 is in the VMCS meanwhile, and RSM enters it from there.
 */
#include <errno.h>

#include "x86/mmu/mmu.h"
#include "x86/vmx/vmx.h"

void vmx_leave_operation_for_smm(struct x86_vcpu *v)
{
	v->vmx->smm_on = v->vmx->on;
	v->vmx->on = false;
	v->cpu.nested.cr0_fixed = v->cpu.nested.cr4_fixed = 0;
}

void vmx_suspend(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	if (!x || !x->on)
		return;
	x->smm_in_guest = v->cpu.nested.in_guest;
	if (x->smm_in_guest) {
		vmx_store_guest(v);
		vmx_leave_guest(v);
	}
	vmx_leave_operation_for_smm(v);
}

int vmx_resume(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	uint64_t ignored;

	if (!x || !x->smm_on)
		return 0;
	x->smm_on = false;
	vmx_enter_operation(v, x->vmxon);
	if (!x->smm_in_guest)
		return 0;
	x->smm_in_guest = false;
	if (vmx_check_controls(v) || vmx_check_host(v) || !vmx_check_guest(v, &ignored))
		return -EINVAL;
	vmx_enter_nested(v);
	vmx_load_guest(v);
	if (!vmx_load_pdptes(v))
		return -EINVAL;
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}
