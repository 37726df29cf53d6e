// SPDX-License-Identifier: MIT
/* VMRUN: what must hold of a VMCB, and the way into L2.  APM 2, 15.5.1. */
#include "x86/cpu/control.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"
#include "x86/state/msr.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

/* --- consistency checks: each names what would be wrong -------------------------------------- */

static bool efer_svme_clear(struct x86_vcpu *v, const struct vmcb *m)
{
	return !(m->save.efer & EFER_SVME);
}

static bool efer_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	return !x86_valid_efer(&v->cpu, m->save.efer);
}

static bool cr0_nw_without_cd(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->save.cr0 & (CR0_CD | CR0_NW)) == CR0_NW;
}

static bool cr0_upper_half(struct x86_vcpu *v, const struct vmcb *m)
{
	return m->save.cr0 >> 32;
}

static bool cr3_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	return m->save.cr3 >> v->cpu.maxphyaddr;
}

static bool cr4_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	return !x86_valid_cr4(&v->cpu, m->save.cr4);
}

static bool dr6_upper_half(struct x86_vcpu *v, const struct vmcb *m)
{
	return m->save.dr6 >> 32;
}

static bool dr7_upper_half(struct x86_vcpu *v, const struct vmcb *m)
{
	return m->save.dr7 >> 32;
}

static bool long_mode_without_pae(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->save.efer & EFER_LME) && (m->save.cr0 & CR0_PG) && !(m->save.cr4 & CR4_PAE);
}

static bool long_mode_without_pe(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->save.efer & EFER_LME) && (m->save.cr0 & CR0_PG) && !(m->save.cr0 & CR0_PE);
}

static bool cs_long_and_big(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->save.efer & EFER_LME) && (m->save.cr0 & CR0_PG) && (m->save.cs.attrib >> 9 & 3) == 3;
}

static bool vmrun_not_intercepted(struct x86_vcpu *v, const struct vmcb *m)
{
	return !(m->control.word4 & 1u << W4_VMRUN);
}

static bool asid_zero(struct x86_vcpu *v, const struct vmcb *m)
{
	return !m->control.asid;
}

static bool map_beyond_memory(uint64_t at, uint64_t size, const struct x86_vcpu *v)
{
	uint64_t first = at & GUEST_PAGE_MASK, last = first + size - 1;

	return last < first || first >> v->cpu.maxphyaddr || last >> v->cpu.maxphyaddr;
}

static bool io_map_out_of_range(struct x86_vcpu *v, const struct vmcb *m)
{
	return map_beyond_memory(m->control.iopm, IOPM_SIZE, v);
}

static bool msr_map_out_of_range(struct x86_vcpu *v, const struct vmcb *m)
{
	return map_beyond_memory(m->control.msrpm, MSRPM_SIZE, v);
}

/* One that is in use has to be there; as KVM, which copies it, while it looks at that of ports at each access. */
static bool msr_map_unreadable(struct x86_vcpu *v, const struct vmcb *m)
{
	gpa_t map = m->control.msrpm & GUEST_PAGE_MASK;
	uint8_t byte;

	if (!(m->control.word3 & 1u << W3_MSR))
		return false;
	for (gpa_t at = map; at < map + MSRPM_SIZE; at += GUEST_PAGE_SIZE)
		if (x86_guest_read(v, at, &byte, 1))
			return true;
	return false;
}

static bool nested_cr3_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->control.nested_ctl & NESTED_NP) && m->control.nested_cr3 >> v->cpu.maxphyaddr;
}

/* APM 2, table 15-9: all other encodings are reserved; as KVM. */
static bool tlb_control_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	switch (m->control.tlb_control) {
	case TLB_NOTHING:
	case TLB_ALL: return false;
	case TLB_ASID:
	case TLB_ASID_NONGLOBAL: return !x86_has(&v->cpu, X86_F_FLUSHBYASID);
	default: return true;
	}
}

/* APM 2, 15.25.4.  Without nested paging it is not loaded. */
static bool pat_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->control.nested_ctl & NESTED_NP) && !x86_pat_valid(m->save.g_pat);
}

/* The tables have the format of L1's own, which then has none; APM 2, 15.25.4. */
static bool nested_paging_of_unpaged_host(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->control.nested_ctl & NESTED_NP) && !(v->svm->host.cr0 & CR0_PG);
}

/* Without nested paging they are loaded and judged once, here. */
static bool pdpte_reserved(struct x86_vcpu *v, const struct vmcb *m)
{
	const struct vmcb_save *s = &m->save;
	uint64_t e[4];

	if (!(s->cr0 & CR0_PG) || !(s->cr4 & CR4_PAE) || (s->efer & EFER_LME) || (m->control.nested_ctl & NESTED_NP))
		return false;
	if (x86_guest_read(v, s->cr3 & 0xffffffe0, e, sizeof(e)))
		return true;
	for (unsigned int n = 0; n < ARRAY_SIZE(e); n++)
		if (!mmu_pdpte_valid(&v->cpu, e[n]))
			return true;
	return false;
}

/* APM 2, 15.20: reserved types, an exception with a vector that none has. */
static bool event_illegal(struct x86_vcpu *v, const struct vmcb *m)
{
	uint64_t e = m->control.event_inj;
	unsigned int type = EVENT_TYPE(e), vector = e & EVENT_VECTOR;

	if (!(e & EVENT_VALID))
		return false;
	if (type == 1 || type > EVENT_SOFT)
		return true;
	return type == EVENT_EXCEPTION && (vector == X86_NMI || vector > 31);
}

/* APM 2, 15.21.10. */
static bool virtual_nmi_without_intercept(struct x86_vcpu *v, const struct vmcb *m)
{
	return (m->control.int_ctl & V_NMI_ENABLE) && x86_has(&v->cpu, X86_F_VNMI) && !(m->control.word3 & 1u << W3_NMI);
}

typedef bool rule_fn(struct x86_vcpu *v, const struct vmcb *m);

static rule_fn *const save_rules[] = {
	efer_svme_clear, cr0_nw_without_cd, cr0_upper_half, cr3_reserved, cr4_reserved, dr6_upper_half, dr7_upper_half,
	efer_reserved, long_mode_without_pae, long_mode_without_pe, cs_long_and_big,
};

static rule_fn *const control_rules[] = {
	vmrun_not_intercepted, io_map_out_of_range, msr_map_out_of_range, event_illegal, asid_zero, nested_cr3_reserved,
	virtual_nmi_without_intercept, tlb_control_reserved,
};

/* Of VMRUN's alone: what they look at is not all in the VMCB. */
static rule_fn *const entry_rules[] = {
	pat_reserved, nested_paging_of_unpaged_host, msr_map_unreadable, pdpte_reserved,
};

static bool valid(struct x86_vcpu *v, const struct vmcb *m, rule_fn *const *rule, unsigned int count)
{
	for (unsigned int n = 0; n < count; n++)
		if (rule[n](v, m))
			return false;
	return true;
}

bool svm_save_valid(struct x86_vcpu *v, const struct vmcb *m)
{
	return valid(v, m, save_rules, ARRAY_SIZE(save_rules));
}

bool svm_control_valid(struct x86_vcpu *v, const struct vmcb *m)
{
	return valid(v, m, control_rules, ARRAY_SIZE(control_rules));
}

/*
 * Clean bits (APM 2, 15.15) permit to use what the processor has kept of a VMCB instead of its memory, and do not ask
 * for it.  All of it is read at each VMRUN: a bit that says so wrongly does no harm.  That of the enlightened MSR bitmap is
 * another matter.
 */
static bool vmcb_valid(struct x86_vcpu *v)
{
	const struct vmcb *m = &v->svm->vmcb;

	return svm_save_valid(v, m) && svm_control_valid(v, m) && valid(v, m, entry_rules, ARRAY_SIZE(entry_rules));
}

/* --- entry -------------------------------------------------------------------------------------- */

static void flush_as_told(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;

	if (c->tlb_control == TLB_ALL)
		mmu_flush_all(&v->cpu);
	else if (c->tlb_control == TLB_ASID || c->tlb_control == TLB_ASID_NONGLOBAL)
		mmu_flush_tag(&v->cpu, (uint16_t)c->asid);
}

static void set_translation(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	struct x86_slat *s = &v->cpu.nested.slat;

	*s = (struct x86_slat){ .tag = (uint16_t)c->asid };
	if (!(c->nested_ctl & NESTED_NP))
		return;
	s->kind = SLAT_NPT;
	s->root = c->nested_cr3;
	s->cr4 = v->svm->host.cr4 & (CR4_PAE | CR4_PSE | CR4_LA57 | CR4_SMEP);
	s->efer = v->svm->host.efer & (EFER_LMA | EFER_NX);
}

/* INT3 and INTO, whatever type they are given, go on behind the instruction like INT n. */
static bool is_soft(const struct x86_vcpu *v, uint64_t e)
{
	uint8_t vector = e & EVENT_VECTOR;

	return EVENT_TYPE(e) == EVENT_SOFT ||
	       (EVENT_TYPE(e) == EVENT_EXCEPTION && (vector == X86_BP || vector == X86_OF) && x86_has(&v->cpu, X86_F_NRIPS));
}

static void queue_interrupt(struct x86_vcpu *v, uint64_t e)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;

	v->interrupt.injected = true;
	v->interrupt.soft = is_soft(v, e);
	v->interrupt.intn = EVENT_TYPE(e) == EVENT_SOFT;
	v->interrupt.nr = e & EVENT_VECTOR;
	v->interrupt.soft_len = x86_has(&v->cpu, X86_F_NRIPS) ? c->next_rip - v->cpu.regs[R_RIP] : 0;
}

/* APM 2, 15.20.  From here on it is with the vCPU's own, for x86_inject() and the client that asks for them. */
void svm_queue_event(struct x86_vcpu *v)
{
	uint64_t e = v->svm->vmcb.control.event_inj;

	v->svm->vmcb.control.event_inj = 0;

	if (!(e & EVENT_VALID))
		return;
	if (EVENT_TYPE(e) == EVENT_NMI)
		v->nmi_injected = true;
	else if (EVENT_TYPE(e) == EVENT_EXCEPTION && !is_soft(v, e))
		v->exception = (struct x86_queued){
			.injected = true, .vector = e & EVENT_VECTOR, .has_error_code = e & EVENT_EV,
			.error_code = (uint32_t)(e >> EVENT_ERROR_SHIFT),
		};
	else
		queue_interrupt(v, e);
}

void svm_set_tsc(struct x86_vcpu *v)
{
	struct x86_nested *n = &v->cpu.nested;

	if (!n->in_guest)
		return;
	n->tsc_offset = v->svm->vmcb.control.tsc_offset;
	n->tsc_mul = v->svm->tsc_ratio;
	n->tsc_shift = v->svm->tsc_ratio == TSC_RATIO_ONE ? 0 : TSC_RATIO_SHIFT;
}

void svm_enter_nested(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	struct x86_cpu *cpu = &v->cpu;

	cpu->nested.in_guest = true;
	svm_set_tsc(v);
	v->svm->pause_left = c->pause_count;
	v->svm->pause_at = cpu->insns;
	if (svm_vnmi(v)) {
		v->svm->host_nmi_blocked = cpu->nmi_blocked;
		cpu->nmi_blocked = c->int_ctl & V_NMI_MASK;
	}
	svm_set_intercepts(v);
	set_translation(v);
	x86_request(cpu, X86_REQ_EVENT);
}

void svm_leave_nested(struct x86_vcpu *v)
{
	struct x86_nested *n = &v->cpu.nested;

	if (svm_vnmi(v))
		v->cpu.nmi_blocked = v->svm->host_nmi_blocked;
	n->in_guest = false;
	n->tsc_offset = n->tsc_mul = 0;
	n->tsc_shift = 0;
	for (unsigned int k = 0; k < X86_ICPT_WORDS; k++)
		n->icpt[k] = 0;
	n->slat = (struct x86_slat){ 0 };
	v->svm->msr_map.used = v->svm->after_flush = false;
	x86_request(&v->cpu, X86_REQ_EVENT);
}

static void enter(struct x86_vcpu *v)
{
	const struct vmcb_control *c = &v->svm->vmcb.control;
	struct x86_cpu *cpu = &v->cpu;

	v->svm->gif = true;
	svm_enter_nested(v);
	flush_as_told(v);
	svm_load_guest(v);
	cpu->shadow = 0;
	if (c->int_state & INT_SHADOW)
		x86_set_shadow(cpu, SHADOW_STI);
	svm_queue_event(v);
	x86_stat_inc(v->vcpu, X86_STAT_NESTED_RUN);
	if (cpu->nested.tsc_shift)
		x86_stat_inc(v->vcpu, X86_STAT_SVM_TSC_SCALED);
}

/* What VMRUN looks at, in aligned words; what VMLOAD does is another matter.  APM 2, appendix B. */
static const struct phys_part vmrun_parts[] = {
	VMCB_PART(control.cr_read, control.insn_bytes), VMCB_PART(control.hv, control.hv), VMCB_PART(save.es, save.tr),
	{ offsetof(struct vmcb, save.efer) - 8, 16 },   /* and CPL */
	VMCB_PART(save.cr4, save.rip), VMCB_PART(save.rsp, save.rsp), VMCB_PART(save.rax, save.rax),
	VMCB_PART(save.cr2, save.cr2), VMCB_PART(save.g_pat, save.last_exception_to),
};

void svm_vmrun(struct x86_vcpu *v, const struct insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	gpa_t vmcb = cpu->regs[R_RAX];

	/* An address of 0 is none for the host's state; APM 2, 15.30.4. */
	if (!v->svm->hsave || (vmcb & ~GUEST_PAGE_MASK) || vmcb >> cpu->maxphyaddr ||
	    x86_guest_read_parts(v, vmcb, &v->svm->vmcb, vmrun_parts, ARRAY_SIZE(vmrun_parts)))
		x86_raise_ec(cpu, X86_GP, 0);
	v->svm->vmcb_gpa = vmcb;
	svm_save_host(v, insn_next_rip(cpu, i));
	at(cpu, &x86_no_insn);
	if (vmcb_valid(v)) {
		svm_keep_msr_map(v);
		hv_note_l2(v);
		enter(v);
		/* PAE's top entries are the guest's memory, and may be out of reach: then L2 has run, and exits. */
		if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !x86_long_mode(cpu))
			(void)!mmu_load_pdptes(cpu, cpu->cr3);
	} else {
		svm_fail_entry(v);
	}
	x86_leave(cpu, X86_LEAVE_BREAK);
}
