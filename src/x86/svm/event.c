// SPDX-License-Identifier: MIT
/* Interrupts, NMIs and SMIs while GIF is clear or L2 runs.  APM 2, 15.13, 15.17, 15.21. */
#include "x86/cpu/exception.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

static bool masks(const struct x86_vcpu *v)
{
	return v->svm->vmcb.control.int_ctl & V_INTR_MASKING;
}

bool svm_virtual_tpr(const struct x86_vcpu *v)
{
	return v->svm && v->cpu.nested.in_guest && masks(v);
}

/* May a physical interrupt be taken?  With V_INTR_MASKING that is L1's flag to say, whatever L2's shadow. */
static bool physical_allowed(const struct x86_vcpu *v)
{
	if (masks(v))
		return v->svm->host.rflags & FL_IF;
	return x86_interrupt_allowed(v);
}

static bool virtual_gif(const struct x86_vcpu *v)
{
	return !svm_vgif(v) || (v->svm->vmcb.control.int_ctl & V_GIF);
}

/* APM 2, 15.21.10. */
static bool virtual_nmi_pending(const struct x86_vcpu *v)
{
	return svm_vnmi(v) && (v->svm->vmcb.control.int_ctl & V_NMI) && !v->cpu.nmi_blocked && virtual_gif(v);
}

bool svm_nmi_blocked(const struct x86_vcpu *v)
{
	return svm_vnmi(v) ? v->svm->host_nmi_blocked : v->cpu.nmi_blocked;
}

static bool virtual_pending(const struct x86_vcpu *v)
{
	uint32_t c = v->svm->vmcb.control.int_ctl;

	if (!virtual_gif(v))
		return false;
	return (c & V_IRQ) && ((c & V_IGNORE_TPR) || V_PRIORITY(c) > (c & 15));
}

bool svm_gif(const struct x86_vcpu *v)
{
	return !v->svm || v->svm->gif;
}

bool svm_intercepts_init(const struct x86_vcpu *v)
{
	return v->svm && v->svm->gif && v->cpu.nested.in_guest && svm_intercepts3(v->svm, W3_INIT);
}

bool svm_holds_init(const struct x86_vcpu *v)
{
	return !svm_gif(v) || svm_intercepts_init(v);
}

bool svm_interrupt_allowed(const struct x86_vcpu *v)
{
	if (!v->svm)
		return x86_interrupt_allowed(v);
	return v->svm->gif && (v->cpu.nested.in_guest ? physical_allowed(v) : x86_interrupt_allowed(v));
}

bool svm_wakes(struct x86_vcpu *v)
{
	if (!v->svm || !v->cpu.nested.in_guest || v->cpu.shadow)
		return false;
	return virtual_nmi_pending(v) || (virtual_pending(v) && x86_interrupt_allowed(v));
}

/* It stays latched: GIF is clear now.  APM 2, 15.13.3. */
static bool take_init(struct x86_vcpu *v)
{
	if (!v->has_lapic || !(lapic_events(&v->lapic) & LAPIC_EVENT_INIT) || !svm_intercepts_init(v))
		return false;
	svm_exit_now(v, EXIT_WORD3 + W3_INIT, 0, 0);
	return true;
}

static bool take_physical(struct x86_vcpu *v)
{
	if (!x86_has_interrupt(v) || !physical_allowed(v))
		return false;
	if (svm_intercepts3(v->svm, W3_INTR))
		/* It stays pending, for L1 to take when it sets GIF. */
		svm_exit_now(v, EXIT_WORD3 + W3_INTR, 0, 0);
	else if (masks(v))
		x86_take_interrupt(v);
	else
		return false;   /* L2's own, by the ordinary way */
	return true;
}

static bool take_virtual(struct x86_vcpu *v)
{
	struct vmcb_control *c = &v->svm->vmcb.control;

	if (!virtual_pending(v))
		return false;
	/* Every change of the flag and of the shadow is to be heard of. */
	v->cpu.if_unwatched = false;
	if (!x86_interrupt_allowed(v)) {
		if (v->cpu.shadow)
			x86_request(&v->cpu, X86_REQ_EVENT | X86_REQ_STEP);
		return false;
	}
	x86_request(&v->cpu, X86_REQ_EVENT);
	if (svm_intercepts3(v->svm, W3_VINTR)) {
		svm_exit_now(v, EXIT_WORD3 + W3_VINTR, 0, 0);
		return true;
	}
	c->int_ctl &= ~V_IRQ;
	x86_stat_inc(v->vcpu, X86_STAT_SVM_VIRTUAL_IRQS);
	x86_deliver_interrupt(&v->cpu, (uint8_t)c->int_vector);
	return true;
}

static bool take_virtual_nmi(struct x86_vcpu *v)
{
	if (!virtual_nmi_pending(v))
		return false;
	x86_request(&v->cpu, X86_REQ_EVENT);
	if (v->cpu.shadow) {
		x86_request(&v->cpu, X86_REQ_STEP);
		return false;
	}
	v->svm->vmcb.control.int_ctl &= ~V_NMI;
	x86_stat_inc(v->vcpu, X86_STAT_SVM_VIRTUAL_NMIS);
	x86_deliver_nmi(&v->cpu);
	return true;
}

static bool take_nmi(struct x86_vcpu *v)
{
	if (!v->nmi_pending || svm_nmi_blocked(v) || !svm_intercepts3(v->svm, W3_NMI))
		return false;
	svm_exit_now(v, EXIT_WORD3 + W3_NMI, 0, 0);
	return true;
}

static bool take_smi(struct x86_vcpu *v)
{
	if (!v->smi_pending || v->cpu.smm || !svm_intercepts3(v->svm, W3_SMI))
		return false;
	svm_exit_now(v, EXIT_WORD3 + W3_SMI, 0, 0);
	return true;
}

/* An exception that the client has queued may be one that L1 wants to hear of. */
static bool take_exception(struct x86_vcpu *v)
{
	struct x86_queued *q = &v->exception;

	if (!q->pending || !(v->svm->vmcb.control.exceptions >> (q->vector & 31) & 1))
		return false;
	q->pending = false;
	svm_exit_now(v, EXIT_EXCEPTION + q->vector, q->has_error_code ? q->error_code : 0,
		     q->vector == X86_PF ? q->payload : 0);
	return true;
}

static bool take_after_flush(struct x86_vcpu *v)
{
	if (likely(!v->svm->after_flush))
		return false;
	svm_exit_now(v, HV_SVM_ENLIGHTENED, HV_SVM_TRAP_AFTER_FLUSH, 0);
	return true;
}

bool svm_inject(struct x86_vcpu *v)
{
	if (!v->svm || x86_event_injected(v))
		return false;
	if (v->cpu.nested.in_guest && (take_after_flush(v) || take_init(v) || take_exception(v)))
		return true;
	if (!v->svm->gif)
		return !v->exception.pending;
	if (!v->cpu.nested.in_guest)
		return false;
	/* With V_INTR_MASKING L2's own flag says nothing of physical interrupts. */
	return take_smi(v) || take_nmi(v) || take_physical(v) || take_virtual_nmi(v) || take_virtual(v) ||
	       (masks(v) && !v->exception.pending && x86_has_interrupt(v));
}
