// SPDX-License-Identifier: MIT
/* Events of L2: those that VM entry injects, and those that make VM exits.  SDM 3C, 25.2, 26.6, 27.2. */
#include "x86/cpu/exception.h"
#include "x86/cpu/debug.h"
#include "x86/vmx/vmx.h"

/* --- injection; 26.6 ------------------------------------------------------------------------------------------ */

static void queue_interrupt(struct x86_vcpu *v, uint32_t e)
{
	unsigned int type = EVT_TYPE(e);

	v->interrupt.injected = true;
	v->interrupt.nr = e & 0xff;
	v->interrupt.soft = type != EVT_INTR;
	v->interrupt.intn = type == EVT_SOFT;
	v->interrupt.soft_len = v->interrupt.soft ? (uint8_t)v->vmx->m.entry_insn_len : 0;
}

/* What VM entry injects, for x86_inject() to deliver. */
static void queue_event(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	uint32_t e = m->entry_event;

	if (!v->vmx->run_pending)
		return;
	v->vmx->run_pending = false;
	if (!(e & EVT_VALID)) {
		/* A trap that was due when L2 was left; behind MOV SS it waits for one more instruction, 26.7.3. */
		if (!(m->guest_interruptibility & BLOCKED_MOV_SS) && (m->guest_pending_db & (PENDING_ENABLED | DR6_BS))) {
			v->exception = (struct x86_queued){
				.pending = true, .vector = X86_DB, .has_payload = true,
				.payload = m->guest_pending_db & 0x400f,
			};
		}
		return;
	}
	if (EVT_TYPE(e) == EVT_OTHER)
		return;         /* the monitor trap, which is due */
	if (EVT_TYPE(e) == EVT_NMI)
		v->nmi_injected = true;
	else if (EVT_TYPE(e) == EVT_HARD)
		v->exception = (struct x86_queued){
			.injected = true, .vector = e & 0xff, .has_error_code = e & EVT_ERROR, .error_code = m->entry_error,
		};
	else
		queue_interrupt(v, e);
}

/* --- exceptions; 25.2 --------------------------------------------------------------------------------------------- */

static unsigned int type_of(const struct x86_exception *x, bool external)
{
	if (external)
		return x->vector == X86_NMI ? EVT_NMI : EVT_INTR;
	if (!x->soft)
		return EVT_HARD;
	if (x->intn)
		return EVT_SOFT;
	return x->vector == X86_DB ? EVT_INT1 : EVT_SOFT_EXC;
}

static uint32_t describe(const struct x86_exception *x, bool external)
{
	return x->vector | type_of(x, external) << EVT_TYPE_SHIFT | (x->has_error_code ? EVT_ERROR : 0) | EVT_VALID;
}

uint32_t vmx_vectoring(const struct x86_vcpu *v)
{
	const struct x86_cpu *cpu = &v->cpu;

	if (!cpu->is_delivering)
		return 0;
	return describe(&cpu->delivering, cpu->delivering_external);
}

/* Of page faults the error code decides, under a mask. */
static bool wanted(const struct x86_vmx *x, uint8_t vector, uint32_t error)
{
	bool bit = x->m.exceptions >> vector & 1;

	if (vector != X86_PF)
		return bit;
	return (error & x->m.pf_mask) == x->m.pf_match ? bit : !bit;
}

void vmx_exception(struct x86_cpu *cpu, const struct x86_exception *exc)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	/* A trap waits for its turn behind the monitor's. */
	if (exc->vector == X86_DB && exc->trap && exc->payload && cpu->nested.monitor_trap) {
		cpu->pending_db = exc->payload;
		vmx_exit(v, &(const struct vmx_exit){ .reason = REASON_MONITOR_TRAP });
	}
	/* INT n is no exception, whatever its vector. */
	if (exc->vector > 31 || exc->intn || !wanted(v->vmx, exc->vector, exc->error_code))
		return;
	/* The length is that of the software exception, or of the instruction whose event was being delivered. */
	vmx_exit(v, &(const struct vmx_exit){
		.reason = REASON_EXCEPTION, .event = describe(exc, false), .error = exc->error_code,
		.qualification = exc->vector == X86_PF || exc->vector == X86_DB ? exc->payload : 0,
		.insn_len = exc->soft ? exc->insn_len : cpu->is_delivering ? cpu->delivering.insn_len : 0,
	});
}

/* --- between instructions -------------------------------------------------------------------------------------------- */

/* One that waits: the client's, or a trap from before. */
static bool take_exception(struct x86_vcpu *v)
{
	struct x86_queued *q = &v->exception;
	/* Of an error code 16 bits are kept, whatever the client has put in, and #BP and #OF are instructions'; as KVM. */
	bool code = q->has_error_code && x86_protected(&v->cpu), soft = q->vector == X86_BP || q->vector == X86_OF;
	struct vmx_exit e = { .reason = REASON_EXCEPTION, .error = code ? (uint16_t)q->error_code : 0 };

	if (!q->pending || !wanted(v->vmx, q->vector & 31, q->error_code))
		return false;
	e.event = q->vector | (soft ? EVT_SOFT_EXC : EVT_HARD) << EVT_TYPE_SHIFT | (code ? EVT_ERROR : 0) | EVT_VALID;
	e.qualification = q->has_payload ? q->payload : q->vector == X86_PF ? v->cpu.cr2 : 0;
	vmx_exit_now(v, &e);
	return true;
}

static bool nmi_due(const struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;

	return (m->pin & PIN_NMI) && v->nmi_pending && ((m->pin & PIN_VIRTUAL_NMI) || !v->cpu.nmi_blocked);
}

static bool take_nmi(struct x86_vcpu *v)
{
	if (!nmi_due(v))
		return false;
	v->nmi_pending--;
	vmx_exit_now(v, &(const struct vmx_exit){
		.reason = REASON_EXCEPTION, .event = X86_NMI | EVT_NMI << EVT_TYPE_SHIFT | EVT_VALID,
	});
	return true;
}

static bool take_after(struct x86_vcpu *v)
{
	if (likely(!v->vmx->after))
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){
		.reason = v->vmx->after, .qualification = v->vmx->after_qualification,
	});
	return true;
}

/* A notification is no exit.  Where it brings nothing that L2 can take, L2 sleeps on. */
static void take_posted(struct x86_vcpu *v)
{
	vmx_take_posted(v);
	x86_request(&v->cpu, X86_REQ_EVENT);
	if (!v->vmx->woken || (v->vmx->virtual_intr && x86_interrupt_allowed(v)))
		return;
	atomic_store(&v->mp_state, KVM_MP_STATE_HALTED);
	x86_leave(&v->cpu, X86_LEAVE_BREAK);
}

static bool take_interrupt(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct vmx_exit e = { .reason = REASON_EXT_INTR };
	uint8_t vector;

	if (!(m->pin & PIN_EXT_INTR) || !x86_has_interrupt(v))
		return false;
	if (m->exit_controls & EXIT_ACK_INTR) {
		vector = (uint8_t)x86_ack_interrupt(v);
		if ((m->pin & PIN_POSTED) && vector == m->posted_vector) {
			take_posted(v);
			return false;
		}
		e.event = vector | EVT_INTR << EVT_TYPE_SHIFT | EVT_VALID;
	}
	vmx_exit_now(v, &e);
	return true;
}

/* A window is looked for again when the shadow ends, and at each change of RFLAGS.IF. */
static bool window_open(struct x86_vcpu *v, bool open, bool shadowed)
{
	if (open && !shadowed)
		return true;
	v->cpu.if_unwatched = false;
	if (shadowed)
		x86_request(&v->cpu, X86_REQ_EVENT | X86_REQ_STEP);
	return false;
}

static bool take_nmi_window(struct x86_vcpu *v)
{
	if (!vmx_proc(v->vmx, PROC_NMI_WINDOW))
		return false;
	/* IRET, which ends it, asks for events itself. */
	if (v->cpu.nmi_blocked || !window_open(v, true, v->cpu.shadow & SHADOW_MOV_SS))
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_NMI_WINDOW });
	return true;
}

static bool take_interrupt_window(struct x86_vcpu *v)
{
	if (!vmx_proc(v->vmx, PROC_INTR_WINDOW) || !window_open(v, v->cpu.rflags & FL_IF, v->cpu.shadow))
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_INTR_WINDOW });
	return true;
}

static bool take_virtual_interrupt(struct x86_vcpu *v)
{
	if (!v->vmx->virtual_intr || !window_open(v, v->cpu.rflags & FL_IF, v->cpu.shadow))
		return false;
	v->vmx->woken = false;
	vmx_take_virtual_interrupt(v);
	return true;
}

/* A trap that the exit comes before stays pending in the VMCS. */
static void keep_trap(struct x86_vcpu *v)
{
	if (v->exception.pending && v->exception.vector == X86_DB)
		v->cpu.pending_db |= v->exception.payload;
}

/* INIT, and SIPI for one that waits for it. */
static bool take_signal(struct x86_vcpu *v)
{
	bool waits = atomic_load(&v->mp_state) == KVM_MP_STATE_INIT_RECEIVED;

	if (!v->has_lapic || likely(!lapic_events(&v->lapic)))
		return false;
	/* Waiting for a SIPI an INIT is of no consequence. */
	if (lapic_take_event(&v->lapic, LAPIC_EVENT_INIT) && !waits) {
		keep_trap(v);
		vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_INIT });
		return true;
	}
	if (!lapic_take_event(&v->lapic, LAPIC_EVENT_SIPI) || !waits)
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){
		.reason = REASON_SIPI, .qualification = lapic_sipi_vector(&v->lapic),
	});
	return true;
}

bool vmx_accept_events(struct x86_vcpu *v)
{
	queue_event(v);
	if (x86_event_injected(v))
		return false;
	(void)take_signal(v);
	return true;
}

/* Behind an instruction that has been executed, or an iteration of one, or an event that has been delivered; 25.5.2. */
static bool take_monitor_trap(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	bool on = vmx_proc(x, PROC_MONITOR_TRAP);

	if (likely(!on && !x->mtf_due))
		return false;
	if (x->mtf_due || v->cpu.insns != x->mtf_insns || v->cpu.regs[R_RIP] != x->mtf_rip || v->cpu.nested.iterated) {
		keep_trap(v);
		vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_MONITOR_TRAP });
		return true;
	}
	x86_request(&v->cpu, X86_REQ_EVENT | X86_REQ_STEP);
	return false;
}

static bool take_timer(struct x86_vcpu *v)
{
	if (likely(!v->cpu.nested.tsc_deadline) || !vmx_timer_due(v))
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_TIMER });
	return true;
}

/* Those that come before the instruction, not behind it: all but data breakpoints and single steps. */
static bool is_fault(const struct x86_queued *q)
{
	return q->vector != X86_DB || !(q->payload & (DR6_BS | 0xf));
}

/* In the order of SDM 3A, table 6-2, and 3C, 25.2; what is L2's own ends the search. */
static bool take_event(struct x86_vcpu *v)
{
	if (take_signal(v) || take_after(v))
		return true;
	if (v->exception.pending && is_fault(&v->exception))
		return take_exception(v);
	if (take_monitor_trap(v))
		return true;
	if (v->exception.pending)
		return take_exception(v);
	if (take_timer(v))
		return true;
	if (v->smi_pending && !v->cpu.smm)
		return false;
	return take_nmi_window(v) || take_nmi(v) || take_interrupt_window(v) || take_interrupt(v) ||
	       take_virtual_interrupt(v);
}

bool vmx_inject(struct x86_vcpu *v)
{
	bool taken;

	if (!v->vmx || !v->cpu.nested.in_guest)
		return false;
	queue_event(v);
	if (unlikely(v->vmx->reentered)) {
		v->vmx->reentered = false;
		vmx_apic_enter(v);
		vmx_timer_start(v);
	}
	taken = !x86_event_injected(v) && take_event(v);
	v->vmx->woken = false;
	return taken;
}

void vmx_settle(struct x86_vcpu *v)
{
	if (v->vmx && v->cpu.nested.in_guest && !v->cpu.replay.count)
		(void)take_after(v);
}

bool vmx_triple_fault_now(struct x86_vcpu *v)
{
	if (!v->vmx || !v->cpu.nested.in_guest)
		return false;
	vmx_exit_now(v, &(const struct vmx_exit){ .reason = REASON_TRIPLE_FAULT });
	return true;
}

bool vmx_wakes(struct x86_vcpu *v)
{
	const struct x86_vmx *x = v->vmx;

	if (!x || !v->cpu.nested.in_guest)
		return false;
	return x->after || vmx_timer_due(v) || ((x->m.pin & PIN_EXT_INTR) && x86_has_interrupt(v)) || nmi_due(v) ||
	       ((vmx_proc(x, PROC_INTR_WINDOW) || x->virtual_intr) && x86_interrupt_allowed(v)) ||
	       (vmx_proc(x, PROC_NMI_WINDOW) && !v->cpu.nmi_blocked);
}
