// SPDX-License-Identifier: MIT
/* Between the VMCB, L1's saved state and the CPU.  APM 2, 15.5.1, 15.6. */
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
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

void svm_put_seg(struct x86_seg *s, uint64_t *base, const struct vmcb_seg *m)
{
	*s = (struct x86_seg){
		.selector = m->selector, .limit = m->limit, .type = m->attrib & 15, .s = m->attrib >> ATTR_S & 1,
		.dpl = m->attrib >> ATTR_DPL & 3, .present = m->attrib >> ATTR_P & 1, .avl = m->attrib >> ATTR_AVL & 1,
		.l = m->attrib >> ATTR_L & 1, .db = m->attrib >> ATTR_DB & 1, .g = m->attrib >> ATTR_G & 1,
		.unusable = !(m->attrib >> ATTR_P & 1),
	};
	*base = svm_canonical(m->base);
}

static void load_segments(struct x86_cpu *cpu, const struct vmcb_save *m)
{
	const struct vmcb_seg *from[] = { [SEG_ES] = &m->es, [SEG_CS] = &m->cs, [SEG_SS] = &m->ss, [SEG_DS] = &m->ds };

	for (unsigned int n = 0; n < ARRAY_SIZE(from); n++)
		svm_put_seg(&cpu->seg[n], seg_base(cpu, n), from[n]);
	/* Whatever its attributes, there is a code segment and a stack; and CPL has a field of its own. */
	cpu->seg[SEG_CS].unusable = false;
	cpu->seg[SEG_SS].unusable = false;
	cpu->seg[SEG_SS].dpl = m->cpl & 3;
	cpu->gdt = (struct x86_dtable){ m->gdtr.base, (uint16_t)m->gdtr.limit };
	cpu->idt = (struct x86_dtable){ m->idtr.base, (uint16_t)m->idtr.limit };
}

/* Everything that may fault comes last. */
void svm_load_guest(struct x86_vcpu *v)
{
	const struct vmcb_save *m = &v->svm->vmcb.save;
	struct x86_cpu *cpu = &v->cpu;

	load_segments(cpu, m);
	cpu->efer = m->efer;
	cpu->cr0 = m->cr0 | CR0_ET;
	cpu->cr4 = m->cr4;
	cpu->cr3 = m->cr3;
	cpu->cr2 = m->cr2;
	cpu->dr6 = (m->dr6 & 0x1e00fULL) | DR6_FIXED_1 | DR6_RTM;
	cpu->dr7 = (m->dr7 & 0xffffffffULL) | DR7_FIXED_1;
	if (v->svm->vmcb.control.nested_ctl & NESTED_NP)
		v->msr.pat = m->g_pat;
	cpu->regs[R_RAX] = m->rax;
	cpu->regs[R_RSP] = m->rsp;
	cpu->regs[R_RIP] = m->rip;
	x86_set_rflags(cpu, m->rflags);
	mmu_debug_changed(cpu);
	x86_update_mode(cpu);
}

void svm_store_guest(struct x86_vcpu *v)
{
	struct vmcb_save *m = &v->svm->vmcb.save;
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
	m->cr2 = cpu->cr2;
	m->dr6 = cpu->dr6;
	m->dr7 = cpu->dr7;
	m->rax = cpu->regs[R_RAX];
	m->rsp = cpu->regs[R_RSP];
	m->rip = cpu->regs[R_RIP];
	m->rflags = x86_get_rflags(cpu);
	if (v->svm->vmcb.control.nested_ctl & NESTED_NP)
		m->g_pat = v->msr.pat;
}

void svm_save_host(struct x86_vcpu *v, uint64_t next_rip)
{
	struct x86_cpu *cpu = &v->cpu;
	struct svm_host *h = &v->svm->host;

	*h = (struct svm_host){
		.rax = cpu->regs[R_RAX], .rsp = cpu->regs[R_RSP], .rip = next_rip, .rflags = x86_get_rflags(cpu),
		.cr0 = cpu->cr0, .cr3 = cpu->cr3, .cr4 = cpu->cr4, .efer = cpu->efer,
		.es = cpu->seg[SEG_ES], .cs = cpu->seg[SEG_CS], .ss = cpu->seg[SEG_SS], .ds = cpu->seg[SEG_DS],
		.es_base = *seg_base(cpu, SEG_ES), .cs_base = *seg_base(cpu, SEG_CS),
		.ss_base = *seg_base(cpu, SEG_SS), .ds_base = *seg_base(cpu, SEG_DS),
		.gdt = cpu->gdt, .idt = cpu->idt, .pat = v->msr.pat,
	};
	for (unsigned int n = 0; n < 4; n++)
		h->pdpte[n] = cpu->pdpte[n];
}

/* CPL is 0, breakpoints are off; APM 2, 15.6. */
void svm_restore_host(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;
	const struct svm_host *h = &v->svm->host;

	cpu->seg[SEG_ES] = h->es;
	cpu->seg[SEG_CS] = h->cs;
	cpu->seg[SEG_SS] = h->ss;
	cpu->seg[SEG_DS] = h->ds;
	*seg_base(cpu, SEG_ES) = h->es_base;
	*seg_base(cpu, SEG_CS) = h->cs_base;
	*seg_base(cpu, SEG_SS) = h->ss_base;
	*seg_base(cpu, SEG_DS) = h->ds_base;
	cpu->gdt = h->gdt;
	cpu->idt = h->idt;
	cpu->efer = h->efer;
	cpu->cr0 = h->cr0;
	cpu->cr4 = h->cr4;
	cpu->cr3 = h->cr3;
	for (unsigned int n = 0; n < 4; n++)
		cpu->pdpte[n] = h->pdpte[n];
	cpu->dr7 = DR7_FIXED_1;
	if (v->svm->vmcb.control.nested_ctl & NESTED_NP)
		v->msr.pat = h->pat;
	cpu->regs[R_RAX] = h->rax;
	cpu->regs[R_RSP] = h->rsp;
	cpu->regs[R_RIP] = h->rip;
	x86_set_rflags(cpu, h->rflags & ~(uint64_t)FL_VM);
	mmu_debug_changed(cpu);
	x86_update_mode(cpu);
}
