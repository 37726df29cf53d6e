// SPDX-License-Identifier: MIT
/*
 * System management mode entered from L2: SVM is off in it.  Where L2's VMCB
 * is goes to SMRAM, what L2 is to the VMCB, and L1's state to the host save
 * area, in the form and at the place where a VMCB has it; as KVM, so that a
 * client may save and restore the vCPU in between.  APM 2, 15.22.
 */
#include <errno.h>

#include "x86/svm/svm.h"

bool svm_suspend(struct x86_vcpu *v, uint64_t *vmcb)
{
	struct x86_svm *s = v->svm;

	if (!s || !v->cpu.nested.in_guest)
		return false;
	*vmcb = s->vmcb_gpa;
	svm_store_guest(v);
	svm_sync(v);
	/* Without memory there the state is lost, which RSM will find out. */
	svm_write_back(v);
	(void)!x86_guest_write(v, s->hsave + offsetof(struct vmcb, save), &s->host, sizeof(s->host));
	svm_load_lbr(v, &s->host);
	svm_leave_nested(v);
	return true;
}

int svm_resume(struct x86_vcpu *v, uint64_t vmcb)
{
	struct x86_svm *s = v->svm;

	if (!s || !(v->cpu.efer & EFER_SVME) || (vmcb & ~GUEST_PAGE_MASK))
		return -EINVAL;
	if (x86_guest_read(v, vmcb, &s->vmcb, sizeof(s->vmcb)) ||
	    x86_guest_read(v, s->hsave + offsetof(struct vmcb, save), &s->host, sizeof(s->host)))
		return -EINVAL;
	if (!svm_control_valid(v, &s->vmcb) || !svm_save_valid(v, &s->vmcb))
		return -EINVAL;
	s->vmcb_gpa = vmcb;
	s->gif = true;
	svm_load_lbr(v, &s->vmcb.save);
	svm_enter_nested(v);
	x86_update_mode(&v->cpu);
	return 0;
}

void svm_efer_changed(struct x86_vcpu *v)
{
	if (!v->svm || (v->cpu.efer & EFER_SVME))
		return;
	if (v->cpu.nested.in_guest)
		svm_leave_nested(v);
	v->svm->gif = true;
}
