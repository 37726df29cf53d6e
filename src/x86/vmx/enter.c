// SPDX-License-Identifier: MIT
/* VMLAUNCH and VMRESUME.  SDM 3C, chapter 26. */
#include "x86/cpu/exception.h"
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/vmx/vmx.h"

enum { FAIL_PDPTE = 2 };

/* Before anything of L2 is looked at; 26.1, 26.2. */
static enum vmx_error may_launch(struct x86_vcpu *v, const struct insn *i)
{
	bool launch = i->aux == VIRT_VMLAUNCH;
	enum vmx_error error;

	if (v->cpu.shadow & SHADOW_MOV_SS)
		return ERROR_MOV_SS;
	if (launch && v->vmx->m.launched)
		return ERROR_VMLAUNCH_NOT_CLEAR;
	if (!launch && !v->vmx->m.launched)
		return ERROR_VMRESUME_NOT_LAUNCHED;
	error = vmx_check_controls(v);
	return error ? error : vmx_check_host(v);
}

void vmx_set_ept(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_slat *s = &v->cpu.nested.slat;

	s->kind = SLAT_EPT;
	s->root = m->eptp & GUEST_PAGE_MASK;
	s->levels = (uint8_t)((m->eptp >> 3 & 7) + 1);
	s->flags = SLAT_EXEC_ONLY | (m->eptp & EPTP_AD ? SLAT_AD : 0) |
		   (vmx_proc2(v->vmx, PROC2_MODE_EXEC) ? SLAT_MBEC : 0);
}

/* 24.6.11, 24.6.12.  Without a VPID translations do not outlive an entry or exit; 28.3.3.1. */
static void set_translation(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_slat *s = &v->cpu.nested.slat;

	*s = (struct x86_slat){ .tag = vmx_proc2(v->vmx, PROC2_VPID) ? m->vpid : 0 };
	if (vmx_proc2(v->vmx, PROC2_EPT))
		vmx_set_ept(v);
	s->apic_page = vmx_proc2(v->vmx, PROC2_APIC_ACCESS) ? m->apic_access | 1 : 0;
	v->cpu.nested.log_dirty = vmx_proc2(v->vmx, PROC2_PML);
	if (!s->tag)
		mmu_flush_tag(&v->cpu, 0);
}

static void set_activity(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;

	/* An event that is injected wakes it. */
	if (m->guest_activity == ACTIVITY_HLT && !(m->entry_event & EVT_VALID))
		atomic_store(&v->mp_state, KVM_MP_STATE_HALTED);
	if (m->guest_activity == ACTIVITY_WAIT_SIPI)
		atomic_store(&v->mp_state, KVM_MP_STATE_INIT_RECEIVED);
}

/* What holds while L2 runs, beside its registers. */
static void begin(struct x86_vcpu *v)
{
	v->vmx->mtf_insns = v->cpu.insns;
	v->cpu.nested.iterated = false;
	v->cpu.nested.in_guest = true;
	vmx_set_intercepts(v);
	set_translation(v);
}

void vmx_reenter(struct x86_vcpu *v)
{
	begin(v);
	vmx_load_guest(v, false);
	/* Without EPT they are what is in the registers already. */
	if (vmx_proc2(v->vmx, PROC2_EPT))
		(void)!vmx_load_pdptes(v);
	v->vmx->mtf_rip = v->cpu.regs[R_RIP];
	v->vmx->reentered = true;
	mmu_flush_all(&v->cpu);
	v->cpu.if_unwatched = false;
	x86_request(&v->cpu, X86_REQ_EVENT);
}

static void enter(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	struct x86_cpu *cpu = &v->cpu;
	uint32_t bad;

	begin(v);
	vmx_load_guest(v, true);
	if (!vmx_load_pdptes(v)) {
		vmx_fail_entry(v, REASON_GUEST_STATE, FAIL_PDPTE);
		return;
	}
	bad = vmx_load_msrs(v, m->entry_msr_load, m->entry_msr_loads);
	if (bad) {
		vmx_fail_entry(v, REASON_MSR_LOAD, bad);
		return;
	}
	m->launched = 1;
	vmx_evmcs_entered(v);
	v->vmx->run_pending = true;
	v->vmx->mtf_rip = m->guest_rip;
	/* Behind an event that is injected; 25.5.2. */
	v->vmx->mtf_due = (m->entry_event & EVT_VALID) &&
			  (vmx_proc(v->vmx, PROC_MONITOR_TRAP) || EVT_TYPE(m->entry_event) == EVT_OTHER);
	v->vmx->has_deadline = false;
	vmx_timer_start(v);
	v->vmx->pausing = false;
	vmx_apic_enter(v);
	set_activity(v);
	cpu->if_unwatched = false;
	x86_request(cpu, X86_REQ_EVENT);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_RUN);
}

static bool access_page_missing(struct x86_vcpu *v)
{
	uint8_t byte;

	return vmx_proc2(v->vmx, PROC2_APIC_ACCESS) && x86_guest_read(v, v->vmx->m.apic_access, &byte, 1);
}

void vmx_launch(struct x86_vcpu *v, const struct insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	uint64_t qualification;
	enum vmx_evmcs evmcs = vmx_evmcs_load(v, i->aux == VIRT_VMLAUNCH);
	enum vmx_error error;

	/* As KVM. */
	if (evmcs == EVMCS_MISSING)
		x86_raise(cpu, X86_UD);
	/* A shadow VMCS is none that can be entered. */
	if (evmcs == EVMCS_BAD || !vmx_has_vmcs(v->vmx) || (v->vmx->m.revision & VMCS_SHADOW)) {
		vmx_fail_invalid(v);
		return;
	}
	error = may_launch(v, i);
	if (error) {
		vmx_fail(v, error);
		return;
	}
	/* As KVM, which cannot go on. */
	if (access_page_missing(v))
		x86_internal(cpu, "an APIC-access page outside memory slots");
	at(cpu, &x86_no_insn);
	if (vmx_check_guest(v, &qualification))
		enter(v);
	else
		vmx_fail_entry(v, REASON_GUEST_STATE, qualification);
	x86_leave(cpu, X86_LEAVE_BREAK);
}
