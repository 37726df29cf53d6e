// SPDX-License-Identifier: MIT
/*
 * System management mode: into it by an SMI, out of it by RSM.
 *
 * In it the vCPU sees the second address space (KVM_CAP_MULTI_ADDRESS_SPACE),
 * where a client keeps SMRAM.  The state goes to SMBASE + FE00h, in AMD's layout
 * for 64-bit processors (APM 2, table 10-1), else in that of the P6 (SDM 3C,
 * table 31-1): KVM uses both whatever the vendor is.
 */
#include <errno.h>
#include <string.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/mmu/mmu.h"
#include "x86/state/regs.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

#define STATE_OFFSET 0xfe00
#define ENTRY_OFFSET 0x8000
#define REVISION_64 0x20064
#define REVISION_32 0x20000

struct smram_seg64 {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct smram64 {
	struct smram_seg64 seg[SEG_COUNT], gdtr, ldtr, idtr, tr;
	uint64_t io_restart[6];
	uint64_t efer;
	uint64_t svm[3];
	uint32_t reserved1[3];
	uint32_t revision, smbase;
	uint32_t reserved2[5];
	uint64_t svm_host[6];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint64_t gpr[16];               /* R15 first */
};
_Static_assert(offsetof(struct smram64, efer) == 0xd0, "SMRAM");
_Static_assert(offsetof(struct smram64, smbase) == 0x100, "SMRAM");
_Static_assert(offsetof(struct smram64, cr4) == 0x148, "SMRAM");
_Static_assert(sizeof(struct smram64) == 512, "SMRAM");

struct smram_seg32 {
	uint32_t attributes, limit, base;
};

struct smram32 {
	uint32_t reserved1[62];
	uint32_t smbase, revision;
	uint32_t reserved2[5];
	uint32_t cr4;
	uint32_t reserved3[5];
	struct smram_seg32 ds, fs, gs;
	uint32_t reserved4;
	uint32_t idt_limit, idt_base;
	struct smram_seg32 tr;
	uint32_t reserved5[2];
	uint32_t gdt_limit, gdt_base;
	struct smram_seg32 ldtr, es, cs, ss;
	uint32_t selector[SEG_COUNT], ldtr_selector, tr_selector;
	uint32_t dr7, dr6;
	uint32_t gpr[8];
	uint32_t eip, eflags, cr3, cr0;
};
_Static_assert(offsetof(struct smram32, smbase) == 0xf8, "SMRAM");
_Static_assert(offsetof(struct smram32, cr4) == 0x114, "SMRAM");
_Static_assert(offsetof(struct smram32, es) == 0x184, "SMRAM");
_Static_assert(offsetof(struct smram32, selector) == 0x1a8, "SMRAM");
_Static_assert(sizeof(struct smram32) == 512, "SMRAM");

union smram {
	struct smram64 w64;
	struct smram32 w32;
};

/* --- segments: attributes as in a descriptor's second word, from bit 8 up --- */

static uint32_t attributes(const struct kvm_segment *s)
{
	return s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 12 | s->l << 13 | s->db << 14 |
	       s->g << 15;
}

static struct kvm_segment segment(uint16_t selector, uint32_t attr, uint32_t limit, uint64_t base)
{
	return (struct kvm_segment){
		.selector = selector, .limit = limit, .base = base, .type = attr & 15, .s = attr >> 4 & 1,
		.dpl = attr >> 5 & 3, .present = attr >> 7 & 1, .avl = attr >> 12 & 1, .l = attr >> 13 & 1,
		.db = attr >> 14 & 1, .g = attr >> 15 & 1, .unusable = !(attr >> 7 & 1),
	};
}

static struct kvm_segment *seg_of(struct kvm_sregs *s, enum x86_seg_reg n)
{
	static const uint8_t at[SEG_COUNT] = {
		[SEG_CS] = 0, [SEG_DS] = 1, [SEG_ES] = 2, [SEG_FS] = 3, [SEG_GS] = 4, [SEG_SS] = 5,
	};

	return &s->cs + at[n];
}

static struct smram_seg64 pack64(const struct kvm_segment *s)
{
	return (struct smram_seg64){ s->selector, (uint16_t)attributes(s), s->limit, s->base };
}

static struct kvm_segment unpack64(const struct smram_seg64 *m)
{
	return segment(m->selector, m->attributes, m->limit, m->base);
}

static struct smram_seg32 pack32(const struct kvm_segment *s)
{
	return (struct smram_seg32){ attributes(s) << 8, s->limit, (uint32_t)s->base };
}

static struct kvm_segment unpack32(const struct smram_seg32 *m, uint32_t selector)
{
	return segment((uint16_t)selector, m->attributes >> 8, m->limit, m->base);
}

static struct smram_seg32 *seg32_of(struct smram32 *m, enum x86_seg_reg n)
{
	struct smram_seg32 *const at[SEG_COUNT] = {
		[SEG_ES] = &m->es, [SEG_CS] = &m->cs, [SEG_SS] = &m->ss,
		[SEG_DS] = &m->ds, [SEG_FS] = &m->fs, [SEG_GS] = &m->gs,
	};

	return at[n];
}

/* --- the two layouts --- */

static void save64(struct x86_vcpu *v, struct kvm_sregs *s, struct smram64 *m)
{
	struct x86_cpu *cpu = &v->cpu;

	for (unsigned int n = 0; n < SEG_COUNT; n++)
		m->seg[n] = pack64(seg_of(s, n));
	m->ldtr = pack64(&s->ldt);
	m->tr = pack64(&s->tr);
	m->gdtr = (struct smram_seg64){ .limit = s->gdt.limit, .base = s->gdt.base };
	m->idtr = (struct smram_seg64){ .limit = s->idt.limit, .base = s->idt.base };
	m->efer = s->efer;
	m->revision = REVISION_64;
	m->smbase = (uint32_t)v->msr.smbase;
	m->cr0 = s->cr0;
	m->cr3 = s->cr3;
	m->cr4 = s->cr4;
	m->dr6 = cpu->dr6;
	m->dr7 = cpu->dr7;
	m->rflags = x86_get_rflags(cpu);
	m->rip = cpu->regs[R_RIP];
	for (unsigned int n = 0; n < 16; n++)
		m->gpr[15 - n] = cpu->regs[n];
}

static void load64(struct x86_vcpu *v, struct kvm_sregs *s, const struct smram64 *m)
{
	struct x86_cpu *cpu = &v->cpu;

	for (unsigned int n = 0; n < SEG_COUNT; n++)
		*seg_of(s, n) = unpack64(&m->seg[n]);
	s->ldt = unpack64(&m->ldtr);
	s->tr = unpack64(&m->tr);
	s->gdt = (struct kvm_dtable){ .limit = (uint16_t)m->gdtr.limit, .base = m->gdtr.base };
	s->idt = (struct kvm_dtable){ .limit = (uint16_t)m->idtr.limit, .base = m->idtr.base };
	s->cr0 = m->cr0;
	s->cr3 = m->cr3;
	s->cr4 = m->cr4;
	s->efer = m->efer & ~EFER_LMA;
	if ((s->efer & EFER_LME) && (s->cr0 & CR0_PG))
		s->efer |= EFER_LMA;
	v->msr.smbase = m->smbase;
	cpu->dr6 = (uint32_t)m->dr6 | DR6_FIXED_1;
	cpu->dr7 = (uint32_t)m->dr7 | DR7_FIXED_1;
	for (unsigned int n = 0; n < 16; n++)
		cpu->regs[n] = m->gpr[15 - n];
	cpu->regs[R_RIP] = m->rip;
	x86_set_rflags(cpu, (uint32_t)m->rflags | 2);
}

static void save32(struct x86_vcpu *v, struct kvm_sregs *s, struct smram32 *m)
{
	struct x86_cpu *cpu = &v->cpu;

	for (unsigned int n = 0; n < SEG_COUNT; n++) {
		*seg32_of(m, n) = pack32(seg_of(s, n));
		m->selector[n] = seg_of(s, n)->selector;
	}
	m->ldtr = pack32(&s->ldt);
	m->ldtr_selector = s->ldt.selector;
	m->tr = pack32(&s->tr);
	m->tr_selector = s->tr.selector;
	m->gdt_limit = s->gdt.limit;
	m->gdt_base = (uint32_t)s->gdt.base;
	m->idt_limit = s->idt.limit;
	m->idt_base = (uint32_t)s->idt.base;
	m->revision = REVISION_32;
	m->smbase = (uint32_t)v->msr.smbase;
	m->cr0 = (uint32_t)s->cr0;
	m->cr3 = (uint32_t)s->cr3;
	m->cr4 = (uint32_t)s->cr4;
	m->dr6 = (uint32_t)cpu->dr6;
	m->dr7 = (uint32_t)cpu->dr7;
	m->eflags = (uint32_t)x86_get_rflags(cpu);
	m->eip = (uint32_t)cpu->regs[R_RIP];
	for (unsigned int n = 0; n < 8; n++)
		m->gpr[n] = (uint32_t)cpu->regs[n];
}

static void load32(struct x86_vcpu *v, struct kvm_sregs *s, struct smram32 *m)
{
	struct x86_cpu *cpu = &v->cpu;

	for (unsigned int n = 0; n < SEG_COUNT; n++)
		*seg_of(s, n) = unpack32(seg32_of(m, n), m->selector[n]);
	s->ldt = unpack32(&m->ldtr, m->ldtr_selector);
	s->tr = unpack32(&m->tr, m->tr_selector);
	s->gdt = (struct kvm_dtable){ .limit = (uint16_t)m->gdt_limit, .base = m->gdt_base };
	s->idt = (struct kvm_dtable){ .limit = (uint16_t)m->idt_limit, .base = m->idt_base };
	s->cr0 = m->cr0;
	s->cr3 = m->cr3;
	s->cr4 = m->cr4;
	s->efer = 0;
	v->msr.smbase = m->smbase;
	cpu->dr6 = m->dr6 | DR6_FIXED_1;
	cpu->dr7 = m->dr7 | DR7_FIXED_1;
	for (unsigned int n = 0; n < 8; n++)
		cpu->regs[n] = m->gpr[n];
	cpu->regs[R_RIP] = m->eip;
	x86_set_rflags(cpu, m->eflags | 2);
}

/* --- in and out --- */

void x86_smm_changed(struct x86_vcpu *v, bool smm)
{
	v->cpu.smm = smm;
	if (!smm)
		v->smm_inside_nmi = false;
	v->cpu.slots = v->vcpu->slots[smm];
	mmu_flush_all(&v->cpu);
	mmu_forget_blocks(&v->cpu);
}

static void enter_code(struct x86_vcpu *v, struct kvm_sregs *s)
{
	const struct kvm_segment flat = { .limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .g = 1 };

	for (unsigned int n = 0; n < SEG_COUNT; n++)
		*seg_of(s, n) = flat;
	s->cs.selector = (uint16_t)(v->msr.smbase >> 4);
	s->cs.base = v->msr.smbase;
	s->idt = (struct kvm_dtable){ 0 };
	s->cr0 &= ~(uint64_t)(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
	s->cr4 = 0;
	if (x86_has(&v->cpu, X86_F_LM))
		s->efer = 0;
}

/* SDM 3C, table 31-4. */
void x86_smm_enter(struct x86_vcpu *v)
{
	struct x86_cpu *cpu = &v->cpu;
	union smram m;
	struct kvm_sregs s;
	uint64_t vmcb;

	v->smi_pending = false;
	v->msr.smi_count++;
	x86_stat_inc(v->vcpu, X86_STAT_SMM_ENTRIES);
	memset(&m, 0, sizeof(m));
	x86_get_sregs(v, &s);
	if (x86_has(cpu, X86_F_LM))
		save64(v, &s, &m.w64);
	else
		save32(v, &s, &m.w32);
	/* The layout of 32-bit processors has no place for it. */
	if (svm_suspend(v, &vmcb) && x86_has(cpu, X86_F_LM)) {
		m.w64.svm[0] = 1;
		m.w64.svm[1] = vmcb;
	}
	vmx_suspend(v);
	x86_smm_changed(v, true);
	/* Without memory there the state is lost, which RSM will find out; as KVM. */
	(void)!x86_guest_write(v, v->msr.smbase + STATE_OFFSET, &m, sizeof(m));
	v->smm_inside_nmi = cpu->nmi_blocked;
	cpu->nmi_blocked = true;
	cpu->shadow = 0;
	x86_set_rflags(cpu, 2);
	cpu->regs[R_RIP] = ENTRY_OFFSET;
	cpu->dr7 = DR7_FIXED_1;
	enter_code(v, &s);
	(void)!x86_put_sregs(v, &s);
	x86_dr7_changed(cpu);
}

int x86_smm_leave(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	union smram m;
	struct kvm_sregs s;

	if (x86_guest_read(v, v->msr.smbase + STATE_OFFSET, &m, sizeof(m)))
		return -EINVAL;
	if (!v->smm_inside_nmi)
		cpu->nmi_blocked = false;
	x86_get_sregs(v, &s);
	x86_smm_changed(v, false);
	if (x86_has(cpu, X86_F_LM))
		load64(v, &s, &m.w64);
	else
		load32(v, &s, &m.w32);
	if (x86_put_sregs(v, &s))
		return -EINVAL;
	x86_dr7_changed(cpu);
	if (x86_has(cpu, X86_F_LM) && x86_has(cpu, X86_F_SVM) && m.w64.svm[0])
		return svm_resume(v, m.w64.svm[1]);
	return vmx_resume(v);
}

/* --- asking for it --- */

void x86_smm_request(struct x86_vcpu *v)
{
	if (v->vm->no_smm)
		return;
	atomic_store(&v->smi_queued, true);
	x86_vcpu_poke(v, X86_REQ_EVENT);
}

void x86_smm_process(struct x86_vcpu *v)
{
	if (atomic_exchange(&v->smi_queued, false))
		v->smi_pending = true;
}

long x86_ioctl_smi(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);

	/* As of a kernel that is built without it. */
	if (v->vm->no_smm)
		return -ENOTTY;
	x86_smm_request(v);
	return 0;
}
