// SPDX-License-Identifier: MIT
/*
 * KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE in SVM's format; api.rst 4.114.
 * The page behind the header is a VMCB: its control area is that of the VMRUN
 * under way, its save area L1's state, which #VMEXIT will restore.
 */
#include <errno.h>
#include <string.h>

#include "kvm/ioctl.h"
#include "x86/mmu/mmu.h"
#include "x86/svm/svm.h"

#define FLAGS (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING | KVM_STATE_NESTED_GIF_SET)

uint32_t svm_nested_state_size(void)
{
	return sizeof(struct kvm_nested_state) + KVM_STATE_NESTED_SVM_VMCB_SIZE;
}

long svm_get_nested_state(struct x86_vcpu *v, unsigned long user, uint32_t room)
{
	struct kvm_nested_state head = { .format = KVM_STATE_NESTED_FORMAT_SVM, .size = sizeof(head) };
	uint8_t page[KVM_STATE_NESTED_SVM_VMCB_SIZE] = { 0 };
	const struct x86_svm *s = v->svm;

	if (v->cpu.nested.in_guest) {
		head.hdr.svm.vmcb_pa = s->vmcb_gpa;
		head.size += sizeof(page);
		head.flags |= KVM_STATE_NESTED_GUEST_MODE;
	}
	if (s->gif)
		head.flags |= KVM_STATE_NESTED_GIF_SET;
	if (room < sizeof(head))
		return head.size;
	if (kvm_copy_out(user, &head, sizeof(head)))
		return -EFAULT;
	if (room < head.size || !v->cpu.nested.in_guest)
		return head.size;
	svm_sync(v);
	memcpy(page, &s->vmcb.control, sizeof(s->vmcb.control));
	memcpy(page + offsetof(struct vmcb, save), &s->host, sizeof(s->host));
	return kvm_copy_out(user + sizeof(head), page, sizeof(page)) ? -EFAULT : (long)head.size;
}

static bool host_valid(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->save.cr0 & CR0_PG) && (m->save.cr0 & CR0_PE) && !(m->save.rflags & FL_VM) && svm_save_valid(v, m);
}

static int enter(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	struct vmcb m;
	gpa_t gpa = head->hdr.svm.vmcb_pa;

	if ((gpa & ~GUEST_PAGE_MASK) || gpa >> v->cpu.maxphyaddr || head->size < svm_nested_state_size())
		return -EINVAL;
	if (kvm_copy_in(&m, user + sizeof(*head), sizeof(m)))
		return -EFAULT;
	if (!svm_control_valid(v, &m) || (v->cpu.cr0 & (CR0_CD | CR0_NW)) == CR0_NW || !host_valid(v, &m))
		return -EINVAL;
	svm_leave_nested(v);
	v->svm->gif = head->flags & KVM_STATE_NESTED_GIF_SET;
	v->svm->vmcb_gpa = gpa;
	v->svm->vmcb.control = m.control;
	v->svm->host = m.save;
	/* The registers are L2's already. */
	svm_enter_nested(v);
	svm_queue_event(v);
	mmu_flush_all(&v->cpu);
	x86_update_mode(&v->cpu);
	return 0;
}

long svm_set_nested_state(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	if (head->format != KVM_STATE_NESTED_FORMAT_SVM || (head->flags & ~FLAGS))
		return -EINVAL;
	if (!(v->cpu.efer & EFER_SVME) && head->flags != KVM_STATE_NESTED_GIF_SET)
		return -EINVAL;
	if (v->cpu.smm && (head->flags & KVM_STATE_NESTED_GUEST_MODE))
		return -EINVAL;
	/* Whatever was kept is another guest's. */
	v->svm->msr_map.kept = false;
	if (head->flags & KVM_STATE_NESTED_GUEST_MODE)
		return enter(v, head, user);
	svm_leave_nested(v);
	v->svm->gif = head->flags & KVM_STATE_NESTED_GIF_SET;
	x86_update_mode(&v->cpu);
	return 0;
}
