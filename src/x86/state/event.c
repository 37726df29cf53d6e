// SPDX-License-Identifier: MIT
/*
 * Events: what waits for a vCPU, and in which order it is delivered.
 *
 * Delivery may leave by a jump (a fault on the stack), so everything that
 * belongs to an event is taken before x86_deliver_*() is called, and whoever
 * calls x86_inject() does nothing of importance afterwards.
 */
#include <errno.h>

#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/pv/async_pf.h"
#include "x86/pv/eoi.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"
#include "x86/state/trace.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

#define DR6_CAUSES (0xfu | DR6_BD | DR6_BS | DR6_BT)

void x86_process_nmi(struct x86_vcpu *v)
{
	uint32_t n = atomic_exchange(&v->nmi_queued, 0);
	/* One NMI is latched behind the one in service; SDM 3A, 6.7.1. */
	unsigned int limit = svm_nmi_blocked(v) || v->nmi_injected ? 1 : 2;

	n += v->nmi_pending;
	v->nmi_pending = (uint8_t)(n < limit ? n : limit);
}

bool x86_interrupt_allowed(const struct x86_vcpu *v)
{
	return (v->cpu.rflags & FL_IF) && !v->cpu.shadow;
}

bool x86_event_injected(const struct x86_vcpu *v)
{
	return v->exception.injected || v->interrupt.injected || v->nmi_injected;
}

/* An interrupt from the PIC, or the vector that the client gave in its place. */
static bool has_extint(struct x86_vcpu *v)
{
	if (!v->has_lapic)
		return v->interrupt.injected;
	if (!lapic_accept_pic_intr(&v->lapic))
		return false;
	if (x86_irqchip_kernel(v->vm))
		return pic_output(&v->vm->pic);
	return v->external_vector >= 0;
}

bool x86_ready_for_interrupt(struct x86_vcpu *v)
{
	if (has_extint(v) || (v->has_lapic && !lapic_accept_pic_intr(&v->lapic)))
		return false;
	return svm_interrupt_allowed(v) && !x86_event_injected(v) && !v->exception.pending && !v->cpu.is_delivering;
}

bool x86_has_interrupt(struct x86_vcpu *v)
{
	if (!v->has_lapic)
		return false;
	return has_extint(v) || (lapic_has_pending(&v->lapic) && lapic_pending_vector(&v->lapic) >= 0);
}

int x86_ack_interrupt(struct x86_vcpu *v)
{
	int vector;

	if (!has_extint(v))
		return lapic_ack(&v->lapic);
	if (x86_irqchip_kernel(v->vm))
		return pic_ack(&v->vm->pic);
	vector = v->external_vector;
	v->external_vector = -1;
	return vector;
}

static bool nmi_allowed(const struct x86_vcpu *v)
{
	return !svm_nmi_blocked(v) && !v->cpu.shadow;
}

/* INIT is latched in SMM, in VMX root operation, and wherever SVM says so: SIPIs are lost there. */
static bool init_allowed(const struct x86_vcpu *v)
{
	return !v->cpu.smm && !svm_holds_init(v) && !vmx_blocks_init(v);
}

bool x86_has_event(struct x86_vcpu *v)
{
	if (v->has_lapic && lapic_events(&v->lapic) && (init_allowed(v) || svm_intercepts_init(v)))
		return true;
	if (x86_async_pf_done(v))
		return true;
	if (atomic_load(&v->unhalted) || v->exception.pending || x86_event_injected(v) || v->triple_fault)
		return true;
	if (!svm_gif(v))
		return false;
	if (atomic_load(&v->smi_queued) || (v->smi_pending && !v->cpu.smm))
		return true;
	if (atomic_load(&v->nmi_queued) || (v->nmi_pending && nmi_allowed(v)))
		return true;
	return (svm_interrupt_allowed(v) && x86_has_interrupt(v)) || svm_wakes(v) || vmx_wakes(v);
}

static void start_at(struct x86_vcpu *v, uint8_t vector)
{
	struct x86_cpu *cpu = &v->cpu;

	/* CS:IP = vector << 8 : 0; SDM 3A, 8.4.3. */
	cpu->seg[SEG_CS].selector = (uint16_t)(vector << 8);
	*seg_base(cpu, SEG_CS) = (uint64_t)vector << 12;
	cpu->regs[R_RIP] = 0;
	x86_update_mode(cpu);
}

void x86_accept_events(struct x86_vcpu *v)
{
	if (!v->has_lapic || !lapic_events(&v->lapic))
		return;
	if (v->vmx && v->cpu.nested.in_guest && !vmx_accept_events(v))
		return;
	if (!init_allowed(v)) {
		lapic_take_event(&v->lapic, LAPIC_EVENT_SIPI);
		return;
	}
	if (lapic_take_event(&v->lapic, LAPIC_EVENT_INIT)) {
		x86_vcpu_reset(v, true);
		atomic_store(&v->mp_state, x86_get_apic_base(v) & LAPIC_BASE_BSP ? KVM_MP_STATE_RUNNABLE :
										   KVM_MP_STATE_INIT_RECEIVED);
	}
	if (lapic_take_event(&v->lapic, LAPIC_EVENT_SIPI) &&
	    atomic_load(&v->mp_state) == KVM_MP_STATE_INIT_RECEIVED) {
		start_at(v, lapic_sipi_vector(&v->lapic));
		atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
	}
}

/* --- delivery ------------------------------------------------------------------------- */

static void deliver_exception(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;
	struct x86_queued *q = &v->exception;
	struct x86_exception exc = {
		.vector = q->vector,
		.has_error_code = q->has_error_code && x86_protected(cpu),
		.error_code = q->error_code,
		/* #BP and #OF are traps, and so is a #DB that the client puts in. */
		.trap = q->vector == X86_DB || q->vector == X86_BP || q->vector == X86_OF,
		.injected = q->injected, .payload = q->payload,
	};

	if (!q->has_payload && q->vector == X86_PF)
		exc.payload = cpu->cr2;
	if (!q->has_payload && q->vector == X86_DB)
		exc.payload = cpu->dr6 & DR6_CAUSES;
	*q = (struct x86_queued){ 0 };
	x86_deliver_exception(cpu, &exc);
}

static void deliver_interrupt(struct x86_vcpu *v, uint8_t vector)
{
	if (unlikely(v->vm->traced))
		x86_trace_interrupt(vector);
	x86_deliver_interrupt(&v->cpu, vector);
}

void x86_take_interrupt(struct x86_vcpu *v)
{
	int vector;

	x86_request(&v->cpu, X86_REQ_EVENT);
	x86_stat_inc(v->vcpu, X86_STAT_IRQ_INJECTIONS);
	vector = x86_ack_interrupt(v);
	x86_pv_eoi_publish(v);
	deliver_interrupt(v, (uint8_t)vector);
}

/* INT n that L1 has put in for L2: a gate's DPL counts, and what is saved is where it would have gone on. */
static void deliver_soft(struct x86_vcpu *v, uint8_t vector)
{
	const struct x86_exception exc = {
		.vector = vector, .soft = true, .intn = v->interrupt.intn, .insn_len = v->interrupt.soft_len,
	};

	x86_deliver_exception(&v->cpu, &exc);
}

void x86_inject(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;

	x86_process_nmi(v);
	x86_smm_process(v);
	if (svm_inject(v) || vmx_inject(v))
		return;
	if (v->exception.injected || v->exception.pending) {
		x86_request(cpu, X86_REQ_EVENT);
		deliver_exception(v);
		return;
	}
	if (v->nmi_injected) {
		v->nmi_injected = false;
		x86_request(cpu, X86_REQ_EVENT);
		x86_stat_inc(v->vcpu, X86_STAT_NMI_INJECTIONS);
		/* One that L1 puts in blocks none of L1's own; virtual ones it does.  SDM 3C, 26.6.1.1. */
		if (cpu->nested.in_guest && !svm_vnmi(v) && !vmx_virtual_nmis(v))
			x86_deliver_interrupt(cpu, X86_NMI);
		else
			x86_deliver_nmi(cpu);
		return;
	}
	if (v->interrupt.injected) {
		v->interrupt.injected = false;
		x86_request(cpu, X86_REQ_EVENT);
		x86_stat_inc(v->vcpu, X86_STAT_IRQ_INJECTIONS);
		if (v->interrupt.soft)
			deliver_soft(v, v->interrupt.nr);
		else
			deliver_interrupt(v, v->interrupt.nr);
		return;
	}
	if (v->guest_debug & KVM_GUESTDBG_BLOCKIRQ)
		return;
	if (v->smi_pending && !cpu->smm) {
		x86_request(cpu, X86_REQ_EVENT);
		x86_smm_enter(v);
		return;
	}
	if (v->nmi_pending && !cpu->nmi_blocked) {
		x86_request(cpu, X86_REQ_EVENT);
		if (!nmi_allowed(v)) {
			x86_request(cpu, X86_REQ_STEP);
			return;
		}
		v->nmi_pending--;
		x86_stat_inc(v->vcpu, X86_STAT_NMI_INJECTIONS);
		x86_deliver_nmi(cpu);
		return;
	}
	if (!x86_has_interrupt(v))
		return;
	if (!(cpu->rflags & FL_IF)) {
		cpu->if_unwatched = false;
		return;
	}
	x86_request(cpu, X86_REQ_EVENT);
	if (cpu->shadow) {
		x86_request(cpu, X86_REQ_STEP);
		return;
	}
	x86_take_interrupt(v);
}

bool x86_queue_exception(struct x86_vcpu *v, uint8_t vector, bool has_ec, uint32_t error_code)
{
	if (v->exception.pending || v->exception.injected)
		return false;
	v->exception = (struct x86_queued){
		.pending = true, .vector = vector, .has_error_code = has_ec, .error_code = error_code,
	};
	x86_request(&v->cpu, X86_REQ_EVENT);
	return true;
}
