// SPDX-License-Identifier: MIT
/*
 * KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE in VMX's format; api.rst 4.114.
 * Behind the header are the VMCS that is current (or the enlightened one), and
 * that which L2's VMREAD and VMWRITE reach, if there is one.
 */
#include <errno.h>
#include <string.h>

#include "kvm/ioctl.h"
#include "x86/mmu/mmu.h"
#include "x86/vmx/vmx.h"

#define SMM_FLAGS (KVM_STATE_NESTED_SMM_GUEST_MODE | KVM_STATE_NESTED_SMM_VMXON)
#define INVALID_GPA (~0ULL)

_Static_assert(KVM_STATE_NESTED_VMX_VMCS_SIZE == VMCS_SIZE, "UAPI");

uint32_t vmx_nested_state_size(void)
{
	return sizeof(struct kvm_nested_state) + 2 * VMCS_SIZE;
}

static bool has_shadow(const struct x86_vcpu *v)
{
	return vmx_proc2(v->vmx, PROC2_SHADOW_VMCS) && v->vmx->m.link != INVALID_GPA;
}

/* --- get --------------------------------------------------------------------------------------- */

static void describe(const struct x86_vcpu *v, struct kvm_nested_state *head)
{
	const struct x86_vmx *x = v->vmx;

	if (!x->on && !x->smm_on)
		return;
	head->hdr.vmx.vmxon_pa = x->vmxon;
	head->hdr.vmx.vmcs12_pa = x->current;
	if (vmx_has_vmcs(x))
		head->size += VMCS_SIZE;
	if (x->evmcs != VMX_NONE)
		head->flags |= KVM_STATE_NESTED_EVMCS;
	if (x->smm_on)
		head->hdr.vmx.smm.flags |= KVM_STATE_NESTED_SMM_VMXON;
	if (x->smm_in_guest)
		head->hdr.vmx.smm.flags |= KVM_STATE_NESTED_SMM_GUEST_MODE;
	if (!v->cpu.nested.in_guest)
		return;
	head->flags |= KVM_STATE_NESTED_GUEST_MODE;
	if (has_shadow(v))
		head->size += VMCS_SIZE;
}

static long copy_vmcs(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	uint8_t shadow[VMCS_SIZE];

	/* The VMCS has what the CPU has, or what L1 has written. */
	if (v->cpu.nested.in_guest)
		vmx_store_guest(v);
	else
		vmx_evmcs_refresh(v);
	if (kvm_copy_out(user + sizeof(*head), v->vmx->page, VMCS_SIZE))
		return -EFAULT;
	if (head->size < vmx_nested_state_size())
		return head->size;
	/* One that is not there is none. */
	if (x86_guest_read(v, v->vmx->m.link, shadow, sizeof(shadow)))
		memset(shadow, 0, sizeof(shadow));
	return kvm_copy_out(user + sizeof(*head) + VMCS_SIZE, shadow, sizeof(shadow)) ? -EFAULT : (long)head->size;
}

long vmx_get_nested_state(struct x86_vcpu *v, unsigned long user, uint32_t room)
{
	struct kvm_nested_state head = {
		.format = KVM_STATE_NESTED_FORMAT_VMX, .size = sizeof(head),
		.hdr.vmx = { .vmxon_pa = INVALID_GPA, .vmcs12_pa = INVALID_GPA },
	};

	describe(v, &head);
	if (room < head.size)
		return head.size;
	if (kvm_copy_out(user, &head, sizeof(head)))
		return -EFAULT;
	return head.size > sizeof(head) ? copy_vmcs(v, &head, user) : (long)head.size;
}

/* --- set --------------------------------------------------------------------------------------- */

static bool page_valid(const struct x86_vcpu *v, gpa_t gpa)
{
	return !(gpa & ~GUEST_PAGE_MASK) && !(gpa >> v->cpu.maxphyaddr);
}

/* What cannot be, whatever the VMCS says; in KVM's order. */
static bool head_wrong(const struct x86_vcpu *v, const struct kvm_nested_state *head)
{
	uint16_t smm = head->hdr.vmx.smm.flags;
	bool vmx = x86_has(&v->cpu, X86_F_VMX);

	if (head->format != KVM_STATE_NESTED_FORMAT_VMX)
		return true;
	if (head->hdr.vmx.vmxon_pa == INVALID_GPA) {
		/* Old clients give that flag also where there is nothing. */
		if (smm || head->hdr.vmx.vmcs12_pa != INVALID_GPA || (head->flags & ~KVM_STATE_NESTED_EVMCS))
			return true;
	} else if (!vmx || !page_valid(v, head->hdr.vmx.vmxon_pa)) {
		return true;
	}
	if ((smm & KVM_STATE_NESTED_SMM_GUEST_MODE) && (head->flags & KVM_STATE_NESTED_GUEST_MODE))
		return true;
	if ((smm & ~SMM_FLAGS) || (head->hdr.vmx.flags & ~KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE))
		return true;
	/* SMM is outside VMX operation. */
	if (v->cpu.smm ? head->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING) : smm)
		return true;
	if ((smm & KVM_STATE_NESTED_SMM_GUEST_MODE) && !(smm & KVM_STATE_NESTED_SMM_VMXON))
		return true;
	return (head->flags & KVM_STATE_NESTED_EVMCS) && (!vmx || !v->vmx->evmcs_enabled);
}

static void forget(struct x86_vcpu *v)
{
	if (v->cpu.nested.in_guest)
		vmx_leave_guest(v);
	v->vmx->current = VMX_NONE;
	vmx_leave_operation(v);
	v->vmx->smm_on = v->vmx->smm_in_guest = false;
}

static long take_shadow(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	uint8_t page[VMCS_SIZE];
	uint32_t revision;

	if (!has_shadow(v))
		return 0;
	if (head->size < vmx_nested_state_size())
		return -EINVAL;
	if (kvm_copy_in(page, user + sizeof(*head) + VMCS_SIZE, sizeof(page)))
		return -EFAULT;
	memcpy(&revision, page, sizeof(revision));
	/* It stays where it is in memory. */
	return revision == (VMCS_REVISION | VMCS_SHADOW) ? 0 : -EINVAL;
}

static long enter(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	uint64_t ignored;
	long r = take_shadow(v, head, user);

	if (r)
		return r;
	if (vmx_check_controls(v) || vmx_check_host(v) || !vmx_check_guest(v, &ignored))
		return -EINVAL;
	vmx_enter_nested(v);
	vmx_load_guest(v);
	/* Without EPT they are in memory, which may come later; the client sets them with the other registers. */
	if (vmx_proc2(v->vmx, PROC2_EPT))
		(void)!vmx_load_pdptes(v);
	if (head->flags & KVM_STATE_NESTED_RUN_PENDING)
		vmx_queue_event(v);
	mmu_flush_all(&v->cpu);
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}

static long load(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	struct x86_vmx *x = v->vmx;
	gpa_t current = head->hdr.vmx.vmcs12_pa;

	/* A VMXON region alone. */
	if (head->size < sizeof(*head) + VMCS_SIZE)
		return (head->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_EVMCS)) || current != INVALID_GPA ?
		       -EINVAL : 0;
	if (current != INVALID_GPA) {
		if (current == x->vmxon || !page_valid(v, current))
			return -EINVAL;
		x->current = current;
	} else if (head->flags & KVM_STATE_NESTED_EVMCS) {
		vmx_evmcs_expect(v);
	} else {
		return -EINVAL;
	}
	if (head->hdr.vmx.smm.flags & KVM_STATE_NESTED_SMM_VMXON) {
		vmx_leave_operation_for_smm(v);
		x->smm_in_guest = head->hdr.vmx.smm.flags & KVM_STATE_NESTED_SMM_GUEST_MODE;
	}
	if (kvm_copy_in(x->page, user + sizeof(*head), VMCS_SIZE))
		return -EFAULT;
	if ((x->m.revision & ~VMCS_SHADOW) != VMCS_REVISION)
		return -EINVAL;
	return head->flags & KVM_STATE_NESTED_GUEST_MODE ? enter(v, head, user) : 0;
}

long vmx_set_nested_state(struct x86_vcpu *v, const struct kvm_nested_state *head, unsigned long user)
{
	if (head_wrong(v, head))
		return -EINVAL;
	forget(v);
	if (head->hdr.vmx.vmxon_pa == INVALID_GPA)
		return 0;
	vmx_enter_operation(v, head->hdr.vmx.vmxon_pa);
	return load(v, head, user);
}
