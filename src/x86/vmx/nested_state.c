// SPDX-License-Identifier: MIT
/*
 * KVM_GET_NESTED_STATE and KVM_SET_NESTED_STATE in VMX's format; api.rst 4.114, 4.115.
 * Behind the header: the current VMCS, with L2's state in it where L2 runs; then the VMCS that it links to, where L2
 * has one of its own.  Memory has them only when L1 lets go of them, so the client has to carry them.
 */
#include <errno.h>
#include <string.h>

#include "kvm/ioctl.h"
#include "x86/mmu/mmu.h"
#include "x86/vmx/check.h"

#define SMM_FLAGS (KVM_STATE_NESTED_SMM_GUEST_MODE | KVM_STATE_NESTED_SMM_VMXON)
#define DATA sizeof(struct kvm_nested_state)

uint32_t vmx_nested_state_size(void)
{
	return DATA + sizeof(struct kvm_vmx_nested_state_data);
}

/* --- get --------------------------------------------------------------------------------------------------- */

static bool in_operation(const struct x86_vcpu *v)
{
	return x86_has(&v->cpu, X86_F_VMX) && (v->vmx->on || v->vmx->smm_on);
}

/* L2 has a VMCS of its own, which it reaches without an exit. */
static bool has_shadow(const struct x86_vmx *x)
{
	return vmx_proc2(x, PROC2_SHADOW_VMCS) && x->m.link != VMX_NONE;
}

static void describe(const struct x86_vcpu *v, struct kvm_nested_state *head)
{
	const struct x86_vmx *x = v->vmx;

	head->hdr.vmx.vmxon_pa = x->vmxon;
	head->hdr.vmx.vmcs12_pa = x->current;
	if (vmx_has_vmcs(x))
		head->size += VMCS_SIZE;
	if (x->evmcs != VMX_NONE)
		head->flags |= KVM_STATE_NESTED_EVMCS;
	if (x->smm_on)
		head->hdr.vmx.smm.flags |= KVM_STATE_NESTED_SMM_VMXON;
	if (x->smm_guest)
		head->hdr.vmx.smm.flags |= KVM_STATE_NESTED_SMM_GUEST_MODE;
	if (!v->cpu.nested.in_guest)
		return;
	head->flags |= KVM_STATE_NESTED_GUEST_MODE;
	if (has_shadow(x))
		head->size += VMCS_SIZE;
	if (x->run_pending)
		head->flags |= KVM_STATE_NESTED_RUN_PENDING;
	if (x->mtf_due)
		head->flags |= KVM_STATE_NESTED_MTF_PENDING;
	if ((x->m.pin & PIN_TIMER) && x->has_deadline) {
		head->hdr.vmx.flags |= KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE;
		head->hdr.vmx.preemption_timer_deadline = x->deadline;
	}
}

/* It is in memory here, and read as it is. */
static int get_shadow(struct x86_vcpu *v, unsigned long user)
{
	uint8_t page[VMCS_SIZE] = { 0 };

	(void)!x86_guest_read(v, v->vmx->m.link, page, sizeof(page));
	return kvm_copy_out(user, page, sizeof(page));
}

long vmx_get_nested_state(struct x86_vcpu *v, unsigned long user, uint32_t room)
{
	struct kvm_nested_state head = { .format = KVM_STATE_NESTED_FORMAT_VMX, .size = DATA };
	struct x86_vmx *x = v->vmx;

	head.hdr.vmx.vmxon_pa = head.hdr.vmx.vmcs12_pa = VMX_NONE;
	if (in_operation(v))
		describe(v, &head);
	if (room < head.size)
		return head.size;
	if (kvm_copy_out(user, &head, sizeof(head)))
		return -EFAULT;
	if (head.size == DATA)
		return head.size;
	if (v->cpu.nested.in_guest)
		vmx_store_guest(v);
	else
		vmx_evmcs_refresh(v);
	if (kvm_copy_out(user + DATA, x->page, VMCS_SIZE))
		return -EFAULT;
	if (head.size > DATA + VMCS_SIZE && get_shadow(v, user + DATA + VMCS_SIZE))
		return -EFAULT;
	return head.size;
}

/* --- set: what the header may say, each predicate naming what would be wrong ----------------------------------- */

typedef bool wrong_fn(const struct x86_vcpu *v, const struct kvm_nested_state *s);

static bool format(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return s->format != KVM_STATE_NESTED_FORMAT_VMX;
}

static bool outside_operation(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return s->hdr.vmx.vmxon_pa == VMX_NONE &&
	       (s->hdr.vmx.smm.flags || s->hdr.vmx.vmcs12_pa != VMX_NONE || (s->flags & ~KVM_STATE_NESTED_EVMCS));
}

static bool operation(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return s->hdr.vmx.vmxon_pa != VMX_NONE &&
	       (!x86_has(&v->cpu, X86_F_VMX) || vmx_bad_page(v, s->hdr.vmx.vmxon_pa));
}

static bool unknown_flags(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return (s->hdr.vmx.smm.flags & ~SMM_FLAGS) || (s->hdr.vmx.flags & ~KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE);
}

/* In SMM L2 cannot run, nor be about to; outside it there is nothing to come back to. */
static bool smm(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	if (v->cpu.smm)
		return s->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING);
	return s->hdr.vmx.smm.flags;
}

static bool smm_guest_outside_operation(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return (s->hdr.vmx.smm.flags & SMM_FLAGS) == KVM_STATE_NESTED_SMM_GUEST_MODE;
}

static bool guest_twice(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return (s->hdr.vmx.smm.flags & KVM_STATE_NESTED_SMM_GUEST_MODE) && (s->flags & KVM_STATE_NESTED_GUEST_MODE);
}

static bool enlightened(const struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	return (s->flags & KVM_STATE_NESTED_EVMCS) && (!x86_has(&v->cpu, X86_F_VMX) || !v->vmx->evmcs_enabled);
}

static wrong_fn *const wrong[] = {
	format, outside_operation, operation, unknown_flags, smm, smm_guest_outside_operation, guest_twice, enlightened,
};

/* --- set ------------------------------------------------------------------------------------------------------- */

static void enter_operation(struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	v->vmx->vmxon = s->hdr.vmx.vmxon_pa;
	v->vmx->current = VMX_NONE;
	vmx_set_operation(v, true);
}

static bool without_vmcs(const struct kvm_nested_state *s)
{
	return !(s->flags & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_EVMCS)) && s->hdr.vmx.vmcs12_pa == VMX_NONE;
}

static int load_vmcs(struct x86_vcpu *v, const struct kvm_nested_state *s, unsigned long user)
{
	gpa_t current = s->hdr.vmx.vmcs12_pa;

	if (current == VMX_NONE && (s->flags & KVM_STATE_NESTED_EVMCS))
		vmx_evmcs_expect(v);
	else if (current == VMX_NONE || current == s->hdr.vmx.vmxon_pa || vmx_bad_page(v, current))
		return -EINVAL;
	v->vmx->current = current;
	if (s->hdr.vmx.smm.flags & KVM_STATE_NESTED_SMM_VMXON) {
		vmx_set_operation(v, false);
		v->vmx->smm_on = true;
		v->vmx->smm_guest = s->hdr.vmx.smm.flags & KVM_STATE_NESTED_SMM_GUEST_MODE;
	}
	if (kvm_copy_in(v->vmx->page, user + DATA, VMCS_SIZE))
		return -EFAULT;
	/* A shadow VMCS may be the current one, if not L2's. */
	return (v->vmx->m.revision & ~VMCS_SHADOW) == VMCS_REVISION ? 0 : -EINVAL;
}

static int put_shadow(struct x86_vcpu *v, const struct kvm_nested_state *s, unsigned long user)
{
	union {
		struct vmcs m;
		uint8_t page[VMCS_SIZE];
	} shadow;

	if (!has_shadow(v->vmx))
		return 0;
	if (s->size < DATA + 2 * VMCS_SIZE)
		return -EINVAL;
	if (kvm_copy_in(&shadow, user + DATA + VMCS_SIZE, VMCS_SIZE))
		return -EFAULT;
	if (shadow.m.revision != (VMCS_REVISION | VMCS_SHADOW))
		return -EINVAL;
	(void)!x86_guest_write(v, v->vmx->m.link, &shadow, VMCS_SIZE);
	return 0;
}

static int enter_guest(struct x86_vcpu *v, const struct kvm_nested_state *s)
{
	/* What VM entry has injected is with the vCPU's events, if it is not yet delivered. */
	if (!(s->flags & KVM_STATE_NESTED_RUN_PENDING))
		v->vmx->m.entry_event &= ~EVT_VALID;
	if (vmx_check_controls(v) || vmx_check_host(v) || !vmx_check_guest_again(v))
		return -EINVAL;
	vmx_reenter(v);
	v->vmx->run_pending = s->flags & KVM_STATE_NESTED_RUN_PENDING;
	v->vmx->mtf_due = s->flags & KVM_STATE_NESTED_MTF_PENDING;
	v->vmx->has_deadline = s->hdr.vmx.flags & KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE;
	v->vmx->deadline = s->hdr.vmx.preemption_timer_deadline;
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}

long vmx_set_nested_state(struct x86_vcpu *v, const struct kvm_nested_state *s, unsigned long user)
{
	int r;

	for (unsigned int n = 0; n < ARRAY_SIZE(wrong); n++)
		if (wrong[n](v, s))
			return -EINVAL;
	vmx_forget(v);
	if (s->hdr.vmx.vmxon_pa == VMX_NONE)
		return 0;
	enter_operation(v, s);
	if (s->size < DATA + VMCS_SIZE)
		return without_vmcs(s) ? 0 : -EINVAL;
	r = load_vmcs(v, s, user);
	if (r || !(s->flags & KVM_STATE_NESTED_GUEST_MODE))
		return r;
	r = put_shadow(v, s, user);
	return r ? r : enter_guest(v, s);
}
