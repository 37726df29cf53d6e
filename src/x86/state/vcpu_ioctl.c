// SPDX-License-Identifier: MIT
/* vCPU ioctls on events, activity, debugging, the local APIC and machine checks. */
#include <errno.h>
#include <string.h>

#include "x86/cpu/debug.h"
#include "x86/mmu/mmu.h"
#include "x86/state/model.h"
#include "x86/state/regs.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"

/* --- events ------------------------------------------------------------------------------- */

void x86_get_events(struct x86_vcpu *v, struct kvm_vcpu_events *e)
{
	const struct x86_queued *q = &v->exception;
	bool soft = q->vector == X86_BP || q->vector == X86_OF;

	x86_process_nmi(v);
	x86_smm_process(v);
	memset(e, 0, sizeof(*e));
	if (!soft) {
		/* Without KVM_CAP_EXCEPTION_PAYLOAD pending and injected are one. */
		e->exception.injected = q->injected || (q->pending && !v->vm->exception_payload);
		e->exception.pending = q->pending;
	}
	e->exception.nr = q->vector;
	e->exception.has_error_code = q->has_error_code;
	e->exception.error_code = q->error_code;
	e->exception_has_payload = q->has_payload;
	e->exception_payload = q->payload;
	e->interrupt.injected = v->interrupt.injected && !v->interrupt.soft;
	e->interrupt.nr = v->interrupt.nr;
	e->interrupt.shadow = (v->cpu.shadow & SHADOW_STI ? KVM_X86_SHADOW_INT_STI : 0) |
			      (v->cpu.shadow & SHADOW_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
	e->nmi.injected = v->nmi_injected;
	e->nmi.pending = v->nmi_pending != 0;
	e->nmi.masked = v->cpu.nmi_blocked;
	e->smi.smm = v->cpu.smm;
	e->smi.pending = v->smi_pending;
	e->smi.smm_inside_nmi = v->smm_inside_nmi;
	e->smi.latched_init = v->has_lapic && (lapic_events(&v->lapic) & LAPIC_EVENT_INIT);
	e->flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;
	if (v->vm->exception_payload)
		e->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (v->vm->triple_fault_event) {
		e->triple_fault.pending = v->triple_fault;
		e->flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	}
}

#define EVENT_FLAGS (KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | \
		     KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM | KVM_VCPUEVENT_VALID_PAYLOAD | \
		     KVM_VCPUEVENT_VALID_TRIPLE_FAULT)

static int check_events(const struct x86_vcpu *v, const struct kvm_vcpu_events *e, bool pending)
{
	if ((e->exception.injected || pending) && (e->exception.nr > 31 || e->exception.nr == X86_NMI))
		return -EINVAL;
	/* INIT waits for the end of SMM. */
	if ((e->flags & KVM_VCPUEVENT_VALID_SMM) && (e->smi.smm || e->smi.pending) &&
	    atomic_load(&v->mp_state) == KVM_MP_STATE_INIT_RECEIVED)
		return -EINVAL;
	if ((e->flags & KVM_VCPUEVENT_VALID_SMM) && v->vm->no_smm &&
	    (e->smi.smm || e->smi.pending || e->smi.smm_inside_nmi))
		return -EINVAL;
	if ((e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT) && !v->vm->triple_fault_event)
		return -EINVAL;
	return 0;
}

static void put_exception(struct x86_vcpu *v, const struct kvm_vcpu_events *e, bool payload)
{
	bool pending = payload && e->exception.pending;

	v->exception = (struct x86_queued){
		.pending = pending, .injected = e->exception.injected && !pending,
		.vector = e->exception.nr, .has_error_code = e->exception.has_error_code,
		.error_code = e->exception.error_code, .has_payload = pending && e->exception_has_payload,
		.payload = e->exception_payload,
	};
}

static void put_smi(struct x86_vcpu *v, const struct kvm_vcpu_events *e)
{
	if (v->cpu.smm != (bool)e->smi.smm) {
		x86_smm_changed(v, e->smi.smm);
		x86_update_mode(&v->cpu);
	}
	atomic_store(&v->smi_queued, false);
	v->smi_pending = e->smi.pending;
	if (e->smi.smm)
		v->smm_inside_nmi = e->smi.smm_inside_nmi;
	if (!v->has_lapic)
		return;
	if (e->smi.latched_init)
		lapic_post_event(&v->lapic, LAPIC_EVENT_INIT);
	else
		lapic_take_event(&v->lapic, LAPIC_EVENT_INIT);
}

int x86_put_events(struct x86_vcpu *v, const struct kvm_vcpu_events *e)
{
	bool payload = e->flags & KVM_VCPUEVENT_VALID_PAYLOAD;

	if (e->flags & ~(uint32_t)EVENT_FLAGS)
		return -EINVAL;
	if (payload && !v->vm->exception_payload)
		return -EINVAL;
	if (check_events(v, e, payload && e->exception.pending))
		return -EINVAL;
	x86_process_nmi(v);
	put_exception(v, e, payload);
	v->interrupt.injected = e->interrupt.injected;
	v->interrupt.nr = e->interrupt.nr;
	v->interrupt.soft = e->interrupt.soft;
	if (e->flags & KVM_VCPUEVENT_VALID_SHADOW) {
		v->cpu.shadow = 0;
		if (e->interrupt.shadow & KVM_X86_SHADOW_INT_STI)
			x86_set_shadow(&v->cpu, SHADOW_STI);
		if (e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS)
			x86_set_shadow(&v->cpu, SHADOW_MOV_SS);
	}
	v->nmi_injected = e->nmi.injected;
	if (e->flags & KVM_VCPUEVENT_VALID_NMI_PENDING)
		v->nmi_pending = e->nmi.pending;
	v->cpu.nmi_blocked = e->nmi.masked;
	if ((e->flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR) && v->has_lapic)
		lapic_set_sipi_vector(&v->lapic, (uint8_t)e->sipi_vector);
	if (e->flags & KVM_VCPUEVENT_VALID_SMM)
		put_smi(v, e);
	if (e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
		v->triple_fault = e->triple_fault.pending;
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}

long x86_ioctl_get_vcpu_events(struct kvm_call *c)
{
	x86_get_events(x86_vcpu_of(c->vcpu), c->data);
	return 0;
}

long x86_ioctl_set_vcpu_events(struct kvm_call *c)
{
	return x86_put_events(x86_vcpu_of(c->vcpu), c->data);
}

long x86_ioctl_interrupt(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct kvm_interrupt *irq = c->data;

	if (irq->irq > 255)
		return -EINVAL;
	if (!x86_irqchip_any(v->vm)) {
		v->interrupt.injected = true;
		v->interrupt.soft = false;
		v->interrupt.nr = (uint8_t)irq->irq;
	} else if (x86_irqchip_kernel(v->vm)) {
		return -ENXIO;
	} else if (v->external_vector >= 0) {
		return -EEXIST;
	} else {
		v->external_vector = (int16_t)irq->irq;
	}
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}

long x86_ioctl_nmi(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);

	atomic_fetch_add(&v->nmi_queued, 1);
	x86_vcpu_poke(v, X86_REQ_EVENT);
	return 0;
}

/* --- activity ------------------------------------------------------------------------------- */

long x86_ioctl_get_mp_state(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_mp_state *s = c->data;

	x86_accept_events(v);
	s->mp_state = atomic_load(&v->mp_state);
	if (s->mp_state == KVM_MP_STATE_HALTED && atomic_load(&v->unhalted))
		s->mp_state = KVM_MP_STATE_RUNNABLE;
	return 0;
}

long x86_ioctl_set_mp_state(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct kvm_mp_state *s = c->data;

	switch (s->mp_state) {
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED:
		if (!v->has_lapic)
			return -EINVAL;
		break;
	case KVM_MP_STATE_RUNNABLE:
		break;
	default:
		return -EINVAL;
	}
	if ((v->cpu.smm || v->smi_pending) &&
	    (s->mp_state == KVM_MP_STATE_INIT_RECEIVED || s->mp_state == KVM_MP_STATE_SIPI_RECEIVED))
		return -EINVAL;
	if (s->mp_state == KVM_MP_STATE_SIPI_RECEIVED) {
		atomic_store(&v->mp_state, KVM_MP_STATE_INIT_RECEIVED);
		lapic_post_event(&v->lapic, LAPIC_EVENT_SIPI);
	} else {
		atomic_store(&v->mp_state, s->mp_state);
	}
	x86_request(&v->cpu, X86_REQ_EVENT);
	return 0;
}

/* --- debugging -------------------------------------------------------------------------------- */

long x86_ioctl_get_debugregs(struct kvm_call *c)
{
	const struct x86_cpu *cpu = &x86_vcpu_of(c->vcpu)->cpu;
	struct kvm_debugregs *d = c->data;

	memset(d, 0, sizeof(*d));
	memcpy(d->db, cpu->dr, sizeof(d->db));
	d->dr6 = cpu->dr6;
	d->dr7 = cpu->dr7;
	return 0;
}

long x86_ioctl_set_debugregs(struct kvm_call *c)
{
	struct x86_cpu *cpu = &x86_vcpu_of(c->vcpu)->cpu;
	const struct kvm_debugregs *d = c->data;

	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(cpu->dr, d->db, sizeof(d->db));
	cpu->dr6 = d->dr6;
	cpu->dr7 = d->dr7;
	x86_dr7_changed(cpu);
	return 0;
}

long x86_ioctl_set_guest_debug(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct kvm_guest_debug *d = c->data;
	struct x86_cpu *cpu = &v->cpu;

	if (d->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
		uint8_t vector = d->control & KVM_GUESTDBG_INJECT_DB ? X86_DB : X86_BP;

		if (v->exception.pending || v->triple_fault)
			return -EBUSY;
		/* One that is injected gives way, since its instruction raises it again; behind #DF it is the third. */
		v->triple_fault |= v->exception.injected && v->exception.vector == X86_DF;
		if (!v->triple_fault) {
			v->exception.injected = false;
			x86_queue_exception(v, vector, false, 0);
		}
	}
	v->guest_debug = d->control & KVM_GUESTDBG_ENABLE ? d->control : 0;
	cpu->client_debug.step = v->guest_debug & KVM_GUESTDBG_SINGLESTEP;
	cpu->client_debug.active = v->guest_debug & KVM_GUESTDBG_USE_HW_BP;
	if (cpu->client_debug.active) {
		memcpy(cpu->client_debug.dr, d->arch.debugreg, sizeof(cpu->client_debug.dr));
		cpu->client_debug.dr7 = d->arch.debugreg[7];
	}
	x86_dr7_changed(cpu);
	x86_request(cpu, X86_REQ_EVENT);
	return 0;
}

static __attribute__((noinline)) bool walk(struct x86_vcpu *v, gva_t gva, gpa_t *gpa)
{
	struct host_guard guard;
	struct mmu_result r = { .status = MMU_FAULT };

	host_guard_arm(&guard);
	if (!host_jump_set(&guard.jump))
		r = mmu_walk(&v->cpu, gva, MMU_READ, MMU_SUPERVISOR, false);
	host_guard_disarm(&guard);
	*gpa = r.gpa;
	return r.status == MMU_OK;
}

long x86_ioctl_translate(struct kvm_call *c)
{
	struct kvm_translation *t = c->data;
	gpa_t gpa;

	t->valid = walk(x86_vcpu_of(c->vcpu), t->linear_address, &gpa);
	t->physical_address = t->valid ? gpa : ~0ULL;
	t->writeable = 1;
	t->usermode = 0;
	return 0;
}

/* --- local APIC ---------------------------------------------------------------------------------- */

long x86_ioctl_get_lapic(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);

	if (!v->has_lapic)
		return -EINVAL;
	lapic_get_state(&v->lapic, c->data);
	return 0;
}

long x86_ioctl_set_lapic(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_lapic_state regs;
	int r;

	if (!v->has_lapic)
		return -EINVAL;
	if (kvm_copy_in(&regs, c->arg, sizeof(regs)))
		return -EFAULT;
	r = lapic_set_state(&v->lapic, &regs);
	x86_request(&v->cpu, X86_REQ_EVENT);
	return r;
}

long x86_ioctl_tpr_access_reporting(struct kvm_call *c)
{
	const struct kvm_tpr_access_ctl *ctl = c->data;

	if (ctl->flags)
		return -EINVAL;
	x86_vcpu_of(c->vcpu)->tpr_reporting = ctl->enabled;
	return 0;
}

/* --- machine checks -------------------------------------------------------------------------------- */

#define MCG_CTL_P (1ULL << 8)
#define MCG_SER_P (1ULL << 24)
#define MCG_CMCI_P (1ULL << 10)
#define MCI_CTL2_CMCI_EN (1ULL << 30)
#define MCG_STATUS_MCIP (1ULL << 2)
#define MCI_VAL (1ULL << 63)
#define MCI_OVER (1ULL << 62)
#define MCI_UC (1ULL << 61)
#define MCI_PCC (1ULL << 57)
#define MCI_S (1ULL << 56)
#define MCI_AR (1ULL << 55)

/* What KVM_X86_SETUP_MCE may name: CMCI is Intel's. */
static uint64_t mce_cap(void)
{
	struct x86_model m;

	x86_model_get(&m);
	return MCG_CTL_P | MCG_SER_P | (m.vendor == V_INTEL ? MCG_CMCI_P : 0);
}

long x86_ioctl_get_mce_cap(struct kvm_call *c)
{
	*(uint64_t *)c->data = mce_cap();
	return 0;
}

long x86_ioctl_setup_mce(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	uint64_t cap = *(const uint64_t *)c->data;
	unsigned int banks = cap & 0xff;

	if (!banks || banks > X86_MCE_BANKS || (cap & ~(mce_cap() | 0xff | 0xff0000)))
		return -EINVAL;
	v->msr.mcg_cap = cap;
	if (cap & MCG_CTL_P)
		v->msr.mcg_ctl = ~0ULL;
	for (unsigned int i = 0; i < banks; i++) {
		v->msr.mce[i].ctl = ~0ULL;
		if (cap & MCG_CMCI_P)
			v->msr.mce_ctl2[i] = 0;
	}
	if (v->has_lapic)
		lapic_set_cmci(&v->lapic, cap & MCG_CMCI_P);
	return 0;
}

static void put_bank(struct x86_mce_bank *b, const struct kvm_x86_mce *mce)
{
	b->addr = mce->addr;
	b->misc = mce->misc;
	b->status = mce->status | (b->status & MCI_VAL ? MCI_OVER : 0);
}

/* An uncorrected error that needs no action (SDM 3B, 16.6.3): told as a corrected one, if at all. */
static void put_ucna(struct x86_vcpu *v, struct x86_mce_bank *b, const struct kvm_x86_mce *mce)
{
	b->status = mce->status;
	b->addr = mce->addr;
	b->misc = mce->misc;
	v->msr.mcg_status = mce->mcg_status;
	if (v->has_lapic && (v->msr.mcg_cap & MCG_CMCI_P) && (v->msr.mce_ctl2[mce->bank] & MCI_CTL2_CMCI_EN))
		lapic_deliver_lvt(&v->lapic, LAPIC_LVT_CMCI);
}

/* SDM 3B, 16.3.2.2. */
long x86_ioctl_set_mce(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct kvm_x86_mce *mce = c->data;
	struct x86_mce_bank *b;

	if (mce->bank >= (v->msr.mcg_cap & 0xff) || !(mce->status & MCI_VAL))
		return -EINVAL;
	b = &v->msr.mce[mce->bank];
	if (!mce->mcg_status && (mce->status & MCI_UC) && !(mce->status & (MCI_PCC | MCI_S | MCI_AR))) {
		put_ucna(v, b, mce);
		return 0;
	}
	if (!(mce->status & MCI_UC)) {
		if (!(b->status & MCI_VAL) || !(b->status & MCI_UC))
			put_bank(b, mce);
		else
			b->status |= MCI_OVER;
		return 0;
	}
	/* Uncorrected: signalled unless masked. */
	if (((v->msr.mcg_cap & MCG_CTL_P) && v->msr.mcg_ctl != ~0ULL) || b->ctl != ~0ULL)
		return 0;
	if ((v->msr.mcg_status & MCG_STATUS_MCIP) || !(v->cpu.cr4 & CR4_MCE)) {
		v->triple_fault = true;
		x86_request(&v->cpu, X86_REQ_EVENT);
		return 0;
	}
	put_bank(b, mce);
	v->msr.mcg_status = mce->mcg_status;
	v->exception.pending = v->exception.injected = false;
	x86_queue_exception(v, X86_MC, false, 0);
	return 0;
}
