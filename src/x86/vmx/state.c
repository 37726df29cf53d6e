// SPDX-License-Identifier: MIT
/* Between the VMCS and the CPU.  SDM 3C, 26.3.2, 27.3 and 27.5. */
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/segment.h"
#include "x86/mmu/mmu.h"
#include "x86/state/msr.h"
#include "x86/vmx/vmx.h"

/* --- segments: access rights as in 24.4.1 ------------------------------------------------------------------- */

enum { A_S = 4, A_DPL = 5, A_P = 7, A_AVL = 12, A_L = 13, A_DB = 14, A_G = 15 };

static void load_seg(struct x86_seg *s, const struct vmcs *m, unsigned int n)
{
	uint32_t a = m->guest_access[n];

	*s = (struct x86_seg){
		.selector = m->guest_selector[n], .limit = m->guest_limit[n], .type = a & 15, .s = a >> A_S & 1,
		.dpl = a >> A_DPL & 3, .present = a >> A_P & 1, .avl = a >> A_AVL & 1, .l = a >> A_L & 1,
		.db = a >> A_DB & 1, .g = a >> A_G & 1, .unusable = !!(a & ACCESS_UNUSABLE),
	};
}

/* A limit says by itself what granularity it may have. */
static bool granular(const struct x86_seg *s)
{
	return s->limit >> 20 || (s->g && (s->limit & 0xfff) == 0xfff);
}

static void store_seg(const struct x86_seg *s, uint64_t base, struct vmcs *m, unsigned int n)
{
	m->guest_selector[n] = s->selector;
	m->guest_limit[n] = s->limit;
	m->guest_base[n] = base;
	m->guest_access[n] = s->type | (uint32_t)s->s << A_S | (uint32_t)s->dpl << A_DPL | (uint32_t)s->present << A_P |
			     (uint32_t)s->avl << A_AVL | (uint32_t)s->l << A_L | (uint32_t)s->db << A_DB |
			     (uint32_t)granular(s) << A_G | (s->unusable ? ACCESS_UNUSABLE : 0);
}

static void load_segments(struct x86_cpu *cpu, const struct vmcs *m)
{
	for (unsigned int n = SEG_ES; n <= SEG_GS; n++) {
		load_seg(&cpu->seg[n], m, n);
		*seg_base(cpu, n) = m->guest_base[n];
	}
	load_seg(&cpu->ldt.seg, m, VMCS_LDTR);
	load_seg(&cpu->tr.seg, m, VMCS_TR);
	cpu->ldt.base = m->guest_base[VMCS_LDTR];
	cpu->tr.base = m->guest_base[VMCS_TR];
	cpu->gdt = (struct x86_dtable){ m->guest_gdtr_base, (uint16_t)m->guest_gdtr_limit };
	cpu->idt = (struct x86_dtable){ m->guest_idtr_base, (uint16_t)m->guest_idtr_limit };
}

static void store_segments(const struct x86_cpu *cpu, struct vmcs *m)
{
	for (unsigned int n = SEG_ES; n <= SEG_GS; n++)
		store_seg(&cpu->seg[n], cpu->regs[R_SEGBASE + n], m, n);
	store_seg(&cpu->ldt.seg, cpu->ldt.base, m, VMCS_LDTR);
	store_seg(&cpu->tr.seg, cpu->tr.base, m, VMCS_TR);
	m->guest_gdtr_base = cpu->gdt.base;
	m->guest_gdtr_limit = cpu->gdt.limit;
	m->guest_idtr_base = cpu->idt.base;
	m->guest_idtr_limit = cpu->idt.limit;
}

/* --- what entry and exit share ---------------------------------------------------------------------------------- */

/* Entries of pages with data breakpoints are what a change of DR7 drops: most changes are of none. */
static void set_dr7(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t old = cpu->dr7;

	cpu->dr7 = (value & 0xffffffff) | DR7_FIXED_1;
	if (old != cpu->dr7 && ((old | value) & DR7_ENABLE_MASK))
		x86_dr7_changed(cpu);
}

#define MSR_PERF_GLOBAL_CTRL 0x38f

/* Its value was judged with the rest. */
static void set_perf_global(struct x86_vcpu *v, uint64_t value)
{
	if (x86_pmu_has_global(v))
		(void)!x86_pmu_set(v, MSR_PERF_GLOBAL_CTRL, value, false);
}

static bool pae_paging(const struct x86_cpu *cpu)
{
	return (cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !x86_long_mode(cpu);
}

/* --- entry, 26.3.2 --------------------------------------------------------------------------------------------- */

static uint64_t guest_efer(const struct x86_cpu *cpu, const struct vmcs *m, bool entry)
{
	if (entry && (m->entry_controls & ENTRY_LOAD_EFER))
		return m->guest_efer;
	if (m->entry_controls & ENTRY_GUEST_64)
		return cpu->efer | EFER_LMA | EFER_LME;
	return cpu->efer & ~(EFER_LMA | EFER_LME);
}

static void load_interruptibility(struct x86_vcpu *v, const struct vmcs *m)
{
	struct x86_cpu *cpu = &v->cpu;

	cpu->shadow = 0;
	if (m->guest_interruptibility & BLOCKED_STI)
		x86_set_shadow(cpu, SHADOW_STI);
	if (m->guest_interruptibility & BLOCKED_MOV_SS)
		x86_set_shadow(cpu, SHADOW_MOV_SS);
	cpu->nmi_blocked = m->guest_interruptibility & BLOCKED_NMI;
	/* Behind MOV SS a trap waits for one more instruction; else it comes at once, as an event.  26.7.3. */
	cpu->pending_db = m->guest_interruptibility & BLOCKED_MOV_SS ? m->guest_pending_db & 0xf : 0;
}

void vmx_load_guest(struct x86_vcpu *v, bool entry)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_cpu *cpu = &v->cpu;

	cpu->efer = guest_efer(cpu, m, entry);
	cpu->cr0 = m->guest_cr0 | CR0_ET;
	cpu->cr3 = m->guest_cr3;
	cpu->cr4 = m->guest_cr4;
	load_segments(cpu, m);
	cpu->sysenter_cs = m->guest_sysenter_cs;
	cpu->sysenter_esp = m->guest_sysenter_esp;
	cpu->sysenter_eip = m->guest_sysenter_eip;
	if (entry && (m->entry_controls & ENTRY_LOAD_PAT))
		v->msr.pat = m->guest_pat;
	if (entry && (m->entry_controls & ENTRY_LOAD_PERF))
		set_perf_global(v, m->guest_perf_global);
	cpu->regs[R_RSP] = m->guest_rsp;
	cpu->regs[R_RIP] = m->guest_rip;
	load_interruptibility(v, m);
	x86_set_rflags(cpu, m->guest_rflags);
	/* Without the control L1's own stay in force. */
	if (entry && (m->entry_controls & ENTRY_LOAD_DEBUG)) {
		set_dr7(cpu, m->guest_dr7);
		x86_set_debugctl(v, m->guest_debugctl);
	}
	x86_update_mode(cpu);
}

bool vmx_load_pdptes(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;

	if (!pae_paging(cpu))
		return true;
	if (!vmx_proc2(v->vmx, PROC2_EPT))
		return !mmu_load_pdptes(cpu, cpu->cr3);
	for (unsigned int n = 0; n < 4; n++) {
		uint64_t e = v->vmx->m.guest_pdpte[n];

		/* Bits 2:1 and 8:5 are reserved; SDM 3A, table 4-8. */
		if ((e & 1) && ((e & 0x1e6) || e >> cpu->maxphyaddr))
			return false;
		cpu->pdpte[n] = e;
	}
	return true;
}

/* --- exit, 27.3 ------------------------------------------------------------------------------------------------ */

static void store_controls(struct x86_vcpu *v, struct vmcs *m)
{
	const struct x86_cpu *cpu = &v->cpu;

	/* IA32_VMX_MISC 5: the control follows the mode. */
	m->entry_controls &= ~ENTRY_GUEST_64;
	if (x86_long_mode(cpu))
		m->entry_controls |= ENTRY_GUEST_64;
	if (m->exit_controls & EXIT_SAVE_DEBUG) {
		m->guest_dr7 = cpu->dr7;
		m->guest_debugctl = cpu->lbr.msrs.debugctl;
	}
	if (m->exit_controls & EXIT_SAVE_PAT)
		m->guest_pat = v->msr.pat;
	if (m->exit_controls & EXIT_SAVE_EFER)
		m->guest_efer = cpu->efer;
	if (m->exit_controls & EXIT_SAVE_TIMER)
		m->preemption_timer = vmx_timer_value(v);
	if (vmx_proc2(v->vmx, PROC2_EPT) && pae_paging(cpu))
		for (unsigned int n = 0; n < 4; n++)
			m->guest_pdpte[n] = cpu->pdpte[n];
}

static uint32_t interruptibility(const struct x86_cpu *cpu)
{
	return (cpu->shadow & SHADOW_STI ? BLOCKED_STI : 0) | (cpu->shadow & SHADOW_MOV_SS ? BLOCKED_MOV_SS : 0) |
	       (cpu->nmi_blocked ? BLOCKED_NMI : 0);
}

/* As it was before what has made the exit. */
static uint32_t activity(const struct x86_vcpu *v)
{
	uint32_t state = atomic_load(&v->mp_state);

	if (state == KVM_MP_STATE_HALTED || v->vmx->woken)
		return ACTIVITY_HLT;
	return state == KVM_MP_STATE_INIT_RECEIVED ? ACTIVITY_WAIT_SIPI : ACTIVITY_ACTIVE;
}

void vmx_store_guest(struct x86_vcpu *v)
{
	struct vmcs *m = &v->vmx->m;
	struct x86_cpu *cpu = &v->cpu;

	m->guest_cr0 = cpu->cr0;
	m->guest_cr3 = cpu->cr3;
	m->guest_cr4 = cpu->cr4;
	store_segments(cpu, m);
	m->guest_sysenter_cs = (uint32_t)cpu->sysenter_cs;
	m->guest_sysenter_esp = cpu->sysenter_esp;
	m->guest_sysenter_eip = cpu->sysenter_eip;
	m->guest_rsp = cpu->regs[R_RSP];
	m->guest_rip = cpu->regs[R_RIP];
	m->guest_rflags = x86_get_rflags(cpu);
	m->guest_interruptibility = interruptibility(cpu);
	m->guest_activity = activity(v);
	m->guest_pending_db = (cpu->pending_db & (0xf | DR6_BS)) | (cpu->pending_db & 0xf ? PENDING_ENABLED : 0);
	if (vmx_step_deferred(m))
		m->guest_pending_db = (m->guest_pending_db & ~(uint64_t)DR6_BS) |
				      (vmx_single_steps(m, cpu->lbr.msrs.debugctl) ? DR6_BS : 0);
	store_controls(v, m);
}

/* --- L1's own, 27.5 -------------------------------------------------------------------------------------------- */

static void host_data(struct x86_seg *s, uint16_t selector)
{
	*s = (struct x86_seg){
		.selector = selector, .limit = 0xffffffff, .type = SEG_WRITABLE | SEG_ACCESSED, .s = true, .present = true,
		.db = true, .g = true, .unusable = !selector,
	};
}

static void load_host_segments(struct x86_cpu *cpu, const struct vmcs *m)
{
	bool wide = m->exit_controls & EXIT_HOST_64;

	for (unsigned int n = SEG_ES; n <= SEG_GS; n++) {
		host_data(&cpu->seg[n], m->host_selector[n]);
		*seg_base(cpu, n) = 0;
	}
	cpu->seg[SEG_CS].type = SEG_CODE | SEG_READABLE | SEG_ACCESSED;
	cpu->seg[SEG_CS].l = wide;
	cpu->seg[SEG_CS].db = !wide;
	*seg_base(cpu, SEG_FS) = m->host_fs_base;
	*seg_base(cpu, SEG_GS) = m->host_gs_base;
	cpu->ldt = (struct x86_sysseg){ .seg = { .unusable = true } };
	cpu->tr = (struct x86_sysseg){
		.base = m->host_tr_base,
		.seg = {
			.selector = m->host_selector[VMCS_HOST_TR], .limit = 0x67, .type = SYS_TSS32_BUSY, .present = true,
		},
	};
	cpu->gdt = (struct x86_dtable){ m->host_gdtr_base, 0xffff };
	cpu->idt = (struct x86_dtable){ m->host_idtr_base, 0xffff };
}

static uint64_t host_efer(const struct x86_cpu *cpu, const struct vmcs *m)
{
	uint64_t both = EFER_LMA | EFER_LME;

	if (m->exit_controls & EXIT_LOAD_EFER)
		return m->host_efer;
	return m->exit_controls & EXIT_HOST_64 ? cpu->efer | both : cpu->efer & ~both;
}

void vmx_load_host(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_cpu *cpu = &v->cpu;

	cpu->efer = host_efer(cpu, m);
	cpu->cr0 = m->host_cr0 | CR0_ET;
	cpu->cr3 = m->host_cr3;
	cpu->cr4 = m->host_cr4;
	load_host_segments(cpu, m);
	cpu->sysenter_cs = m->host_sysenter_cs;
	cpu->sysenter_esp = m->host_sysenter_esp;
	cpu->sysenter_eip = m->host_sysenter_eip;
	if (m->exit_controls & EXIT_LOAD_PAT)
		v->msr.pat = m->host_pat;
	if (m->exit_controls & EXIT_LOAD_PERF)
		set_perf_global(v, m->host_perf_global);
	cpu->regs[R_RSP] = m->host_rsp;
	cpu->regs[R_RIP] = m->host_rip;
	cpu->shadow = 0;
	cpu->pending_db = 0;
	x86_set_rflags(cpu, 2);
	set_dr7(cpu, DR7_FIXED_1);
	x86_set_debugctl(v, 0);
	x86_update_mode(cpu);
}
