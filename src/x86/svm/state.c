// SPDX-License-Identifier: MIT
/* Between the VMCB, L1's saved state and the CPU.  APM 2, 15.5.1, 15.6. */
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/lbr.h"
#include "x86/mmu/mmu.h"
#include "x86/svm/svm.h"

/* Attributes of a segment, as they lie in a descriptor's upper word with the limit's bits taken out. */
enum { ATTR_S = 4, ATTR_DPL = 5, ATTR_P = 7, ATTR_AVL = 8, ATTR_L = 9, ATTR_DB = 10, ATTR_G = 11 };

void svm_get_seg(const struct x86_seg *s, uint64_t base, struct vmcb_seg *m)
{
	m->selector = s->selector;
	m->attrib = (uint16_t)(s->type | s->s << ATTR_S | s->dpl << ATTR_DPL | (s->present && !s->unusable) << ATTR_P |
			       s->avl << ATTR_AVL | s->l << ATTR_L | s->db << ATTR_DB | s->g << ATTR_G);
	m->limit = s->limit;
	m->base = base;
}

void svm_put_seg(struct x86_seg *s, const struct vmcb_seg *m)
{
	*s = (struct x86_seg){
		.selector = m->selector, .limit = m->limit, .type = m->attrib & 15, .s = m->attrib >> ATTR_S & 1,
		.dpl = m->attrib >> ATTR_DPL & 3, .present = m->attrib >> ATTR_P & 1, .avl = m->attrib >> ATTR_AVL & 1,
		.l = m->attrib >> ATTR_L & 1, .db = m->attrib >> ATTR_DB & 1, .g = m->attrib >> ATTR_G & 1,
		.unusable = !(m->attrib >> ATTR_P & 1),
	};
}

static void load_segments(struct x86_cpu *cpu, const struct vmcb_save *m)
{
	const struct vmcb_seg *from[] = { [SEG_ES] = &m->es, [SEG_CS] = &m->cs, [SEG_SS] = &m->ss, [SEG_DS] = &m->ds };

	for (unsigned int n = 0; n < ARRAY_SIZE(from); n++) {
		svm_put_seg(&cpu->seg[n], from[n]);
		*seg_base(cpu, n) = svm_canonical(cpu, from[n]->base);
	}
	/* Whatever its attributes, there is a code segment and a stack. */
	cpu->seg[SEG_CS].unusable = false;
	cpu->seg[SEG_SS].unusable = false;
	cpu->gdt = (struct x86_dtable){ m->gdtr.base, (uint16_t)m->gdtr.limit };
	cpu->idt = (struct x86_dtable){ m->idtr.base, (uint16_t)m->idtr.limit };
}

/* What VMRUN and #VMEXIT both load; the derived state is still to be made. */
static void load(struct x86_vcpu *v, const struct vmcb_save *m, uint8_t cpl)
{
	struct x86_cpu *cpu = &v->cpu;

	load_segments(cpu, m);
	cpu->seg[SEG_SS].dpl = cpl;
	cpu->efer = m->efer;
	cpu->cr0 = m->cr0 | CR0_ET;
	cpu->cr4 = m->cr4;
	cpu->cr3 = m->cr3;
	cpu->regs[R_RAX] = m->rax;
	cpu->regs[R_RSP] = m->rsp;
	cpu->regs[R_RIP] = m->rip;
	if (v->svm->vmcb.control.nested_ctl & NESTED_NP)
		v->msr.pat = m->g_pat;
}

static void store(struct x86_vcpu *v, struct vmcb_save *m)
{
	struct x86_cpu *cpu = &v->cpu;
	struct vmcb_seg *to[] = { [SEG_ES] = &m->es, [SEG_CS] = &m->cs, [SEG_SS] = &m->ss, [SEG_DS] = &m->ds };

	for (unsigned int n = 0; n < ARRAY_SIZE(to); n++)
		svm_get_seg(&cpu->seg[n], *seg_base(cpu, n), to[n]);
	m->gdtr.base = cpu->gdt.base;
	m->gdtr.limit = cpu->gdt.limit;
	m->idtr.base = cpu->idt.base;
	m->idtr.limit = cpu->idt.limit;
	m->cpl = cpu->cpl;
	m->efer = cpu->efer;
	m->cr0 = cpu->cr0;
	m->cr4 = cpu->cr4;
	m->cr3 = cpu->cr3;
	m->rax = cpu->regs[R_RAX];
	m->rsp = cpu->regs[R_RSP];
	m->rip = cpu->regs[R_RIP];
	m->rflags = x86_get_rflags(cpu);
	m->g_pat = v->msr.pat;
}

/* Where L2 has records of its own; APM 2, 15.23. */
void svm_load_lbr(struct x86_vcpu *v, const struct vmcb_save *m)
{
	struct x86_lbr_msrs msrs = {
		.debugctl = m->dbgctl & 0x3f, .from = m->br_from, .to = m->br_to,
		.int_from = m->last_exception_from, .int_to = m->last_exception_to,
	};

	if (svm_lbr(v))
		x86_lbr_load(&v->cpu, &msrs);
}

static void store_lbr(const struct x86_vcpu *v, struct vmcb_save *m)
{
	const struct x86_lbr_msrs *msrs = &v->cpu.lbr.msrs;

	if (!svm_lbr(v))
		return;
	m->dbgctl = msrs->debugctl;
	m->br_from = msrs->from;
	m->br_to = msrs->to;
	m->last_exception_from = msrs->int_from;
	m->last_exception_to = msrs->int_to;
}

/* @dr7: as it is to be.  Where it stays, as it nearly always does, no translation is dropped. */
static void derive(struct x86_cpu *cpu, uint64_t rflags, uint64_t dr7)
{
	bool changed = dr7 != cpu->dr7;

	cpu->dr7 = dr7;
	x86_set_rflags(cpu, rflags);
	if (changed)
		x86_dr7_changed(cpu);
	x86_update_mode(cpu);
}

void svm_load_guest(struct x86_vcpu *v)
{
	const struct vmcb_save *m = &v->svm->vmcb.save;
	struct x86_cpu *cpu = &v->cpu;

	load(v, m, m->cpl & 3);
	svm_load_lbr(v, m);
	cpu->cr2 = m->cr2;
	cpu->dr6 = (m->dr6 & 0x1e00fULL) | DR6_FIXED_1 | DR6_RTM;
	derive(cpu, m->rflags, (m->dr7 & 0xffffffffULL) | DR7_FIXED_1);
}

void svm_store_guest(struct x86_vcpu *v)
{
	struct vmcb_save *m = &v->svm->vmcb.save;
	uint64_t pat = m->g_pat;

	store(v, m);
	/* Without nested paging there is one PAT, L1's. */
	if (!(v->svm->vmcb.control.nested_ctl & NESTED_NP))
		m->g_pat = pat;
	store_lbr(v, m);
	m->cr2 = v->cpu.cr2;
	m->dr6 = v->cpu.dr6;
	m->dr7 = v->cpu.dr7;
}

void svm_save_host(struct x86_vcpu *v, uint64_t next_rip)
{
	v->svm->host = (struct vmcb_save){ 0 };
	store(v, &v->svm->host);
	store_lbr(v, &v->svm->host);
	v->svm->host.rip = next_rip;
}

/* CPL is 0, breakpoints are off; APM 2, 15.6. */
void svm_restore_host(struct x86_vcpu *v)
{
	const struct vmcb_save *h = &v->svm->host;
	struct x86_cpu *cpu = &v->cpu;

	load(v, h, 0);
	svm_load_lbr(v, h);
	derive(cpu, h->rflags & ~(uint64_t)FL_VM, DR7_FIXED_1);
	/* PAE's top entries are memory that may have changed: there is no way back with bad ones. */
	if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && !x86_long_mode(cpu) && mmu_load_pdptes(cpu, cpu->cr3))
		x86_request(cpu, X86_REQ_TRIPLE_FAULT);
}
