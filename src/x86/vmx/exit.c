// SPDX-License-Identifier: MIT
/* VM exits.  SDM 3C, chapter 27. */
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/vmx/vmx.h"

/* --- what L1 gets to know; 27.2 ---------------------------------------------------------------------------- */

static void store_reason(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	const struct vmx_exit *e = &v->vmx->exit;

	m->exit_reason = e->reason;
	m->qualification = e->qualification;
	m->exit_event = e->event;
	m->exit_error = e->error;
	m->exit_insn_len = e->insn_len;
	m->exit_insn_info = e->insn_info;
	if (e->has_linear)
		m->guest_linear = e->linear;
	if (e->has_physical)
		m->guest_physical = e->physical;
	m->vectoring_event = vmx_vectoring(v);
	m->vectoring_error = m->vectoring_event & EVT_ERROR ? v->cpu.delivering.error_code : 0;
	m->entry_event &= ~EVT_VALID;
}

static void forget_events(struct x86_vcpu *v)
{
	v->exception = (struct x86_queued){ 0 };
	v->interrupt.injected = v->nmi_injected = false;
	v->cpu.is_delivering = v->cpu.delivering_external = false;
}

/* --- back to L1 -------------------------------------------------------------------------------------------------- */

void vmx_leave_guest(struct x86_vcpu *v)
{
	struct x86_nested *n = &v->cpu.nested;
	bool untagged = !n->slat.tag;

	v->vmx->run_pending = v->vmx->reentered = v->vmx->woken = v->vmx->mtf_due = false;
	n->in_guest = false;
	n->tsc_offset = n->tsc_mul = n->tsc_deadline = 0;
	n->tsc_shift = 0;
	n->monitor_trap = false;
	n->cr0_mask = n->cr0_shadow = n->cr4_mask = n->cr4_shadow = 0;
	n->cr0_fixed = vmx_cap(v, CAP_CR0_FIXED0);
	n->cr4_fixed = vmx_cap(v, CAP_CR4_FIXED0);
	for (unsigned int w = 0; w < X86_ICPT_WORDS; w++)
		n->icpt[w] = 0;
	n->slat = (struct x86_slat){ 0 };
	n->log_dirty = false;
	v->vmx->virtual_intr = false;
	v->vmx->after = 0;
	if (untagged)
		mmu_flush_tag(&v->cpu, 0);
}

/* A VMX abort, 27.7: L1 does not go on. */
static void abort_vmx(struct x86_vcpu *v, uint32_t why)
{
	v->vmx->m.abort = why;
	(void)!x86_guest_write(v, (v->vmx->evmcs == VMX_NONE ? v->vmx->current : v->vmx->evmcs) +
			       offsetof(struct vmcs, abort), &why, sizeof(why));
	v->triple_fault = true;
}

enum { ABORT_STORE = 1, ABORT_PDPTE = 2, ABORT_LOAD = 4 };

static void to_host(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_cpu *cpu = &v->cpu;

	forget_events(v);
	vmx_leave_guest(v);
	atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
	vmx_evmcs_store(v);
	vmx_load_host(v);
	x86_request(cpu, X86_REQ_EVENT);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_EXITS);
	if ((cpu->cr4 & CR4_PAE) && !x86_long_mode(cpu) && mmu_load_pdptes(cpu, cpu->cr3))
		abort_vmx(v, ABORT_PDPTE);
	else if (vmx_load_msrs(v, m->exit_msr_load, m->exit_msr_loads))
		abort_vmx(v, ABORT_LOAD);
}

/* NMIs are blocked behind one that has made the exit, else as they were; virtual ones are L2's affair.  27.5.5. */
static void set_nmi_blocking(struct x86_vcpu *v)
{
	const struct vmx_exit *e = &v->vmx->exit;

	if (e->reason == REASON_EXCEPTION && EVT_TYPE(e->event) == EVT_NMI)
		v->cpu.nmi_blocked = true;
	else if (v->vmx->m.pin & PIN_VIRTUAL_NMI)
		v->cpu.nmi_blocked = false;
}

/* Of exceptions, those that save RF: faults.  SDM 3B, 17.3.1.1. */
static bool is_fault(uint32_t event)
{
	const uint32_t others = 1u << X86_DB | 1u << X86_NMI | 1u << X86_BP | 1u << X86_OF | 1u << X86_DF | 1u << X86_MC;

	return EVT_TYPE(event) == EVT_HARD && !(others >> (event & 31) & 1);
}

static bool is_violation(uint32_t reason)
{
	return reason == REASON_EPT_VIOLATION || reason == REASON_EPT_MISCONFIG || reason == REASON_APIC_ACCESS ||
	       reason == REASON_PML_FULL;
}

/* What would have been pushed, had the event been delivered; an instruction that exits saves none.  27.3.3. */
static void store_rf(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	const struct vmx_exit *e = &v->vmx->exit;
	bool vectoring = m->vectoring_event & EVT_VALID;

	if (e->reason == REASON_EXCEPTION ? is_fault(e->event) : is_violation(e->reason) && !vectoring)
		m->guest_rflags |= FL_RF;
	else if (e->insn_len && !vectoring)
		m->guest_rflags &= ~(uint64_t)FL_RF;
}

static void do_exit(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	bool stored;

	vmx_store_guest(v);
	store_reason(v);
	store_rf(v);
	set_nmi_blocking(v);
	stored = vmx_store_msrs(v, m->exit_msr_store, m->exit_msr_stores);
	to_host(v);
	if (!stored)
		abort_vmx(v, ABORT_STORE);
}

void vmx_fail_entry(struct x86_vcpu *v, uint32_t reason, uint64_t qualification)
{
	v->vmx->m.exit_reason = reason | REASON_FAILED_ENTRY;
	v->vmx->m.qualification = qualification;
	/* The rest of the exit information stays; 26.7. */
	to_host(v);
}

void vmx_vmexit(struct x86_cpu *cpu)
{
	do_exit(x86_vcpu_of_cpu(cpu));
}

static void note(struct x86_vcpu *v, const struct vmx_exit *e)
{
	v->vmx->exit = *e;
	if (v->vmx->m.exit_msr_stores)
		v->vmx->exit_tsc = x86_guest_tsc(v);
}

void vmx_exit(struct x86_vcpu *v, const struct vmx_exit *e)
{
	note(v, e);
	x86_vmexit(&v->cpu);
}

void vmx_exit_insn(struct x86_vcpu *v, const struct insn *i, uint32_t reason, uint64_t qualification)
{
	vmx_exit(v, &(const struct vmx_exit){ .reason = reason, .insn_len = i->len, .qualification = qualification });
}

void vmx_exit_after(struct x86_vcpu *v, uint32_t reason, uint64_t qualification)
{
	v->vmx->after = reason;
	v->vmx->after_qualification = qualification;
	x86_request(&v->cpu, X86_REQ_EVENT);
}

void vmx_exit_now(struct x86_vcpu *v, const struct vmx_exit *e)
{
	note(v, e);
	do_exit(v);
}
