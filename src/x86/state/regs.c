// SPDX-License-Identifier: MIT
/* Registers as the client reads and writes them: KVM_GET/SET_REGS, SREGS, SREGS2, and kvm_run's copies. */
#include <errno.h>
#include <string.h>

#include "x86/cpu/control.h"
#include "x86/mmu/mmu.h"
#include "x86/state/regs.h"
#include "x86/state/state.h"
#include "x86/svm/svm.h"

/* kvm_regs lists the registers in an order of its own. */
static const uint8_t reg_order[] = {
	R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RSP, R_RBP,
	R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
};
_Static_assert(__builtin_offsetof(struct kvm_regs, rip) == sizeof(reg_order) * 8, "kvm_regs");

void x86_get_regs(struct x86_vcpu *v, struct kvm_regs *regs)
{
	__u64 *r = &regs->rax;

	for (size_t i = 0; i < ARRAY_SIZE(reg_order); i++)
		r[i] = v->cpu.regs[reg_order[i]];
	regs->rip = v->cpu.regs[R_RIP];
	regs->rflags = x86_get_rflags(&v->cpu);
}

/* An instruction that waits for the client's answer is given up where the client moves on. */
static void set_rip(struct x86_vcpu *v, uint64_t rip)
{
	if (v->cpu.regs[R_RIP] != rip) {
		x86_replay_done(&v->cpu);
		v->cpu.replay.pending = false;
		v->completion = X86_COMPLETE_NONE;
		v->cpu.is_delivering = false;
	}
	v->cpu.regs[R_RIP] = rip;
}

void x86_put_regs(struct x86_vcpu *v, const struct kvm_regs *regs)
{
	const __u64 *r = &regs->rax;

	for (size_t i = 0; i < ARRAY_SIZE(reg_order); i++)
		v->cpu.regs[reg_order[i]] = r[i];
	set_rip(v, regs->rip);
	x86_set_rflags(&v->cpu, regs->rflags);
	v->exception.pending = false;
	x86_request(&v->cpu, X86_REQ_EVENT);
}

/* --- segments --------------------------------------------------------------------------- */

static void get_seg(const struct x86_seg *s, uint64_t base, struct kvm_segment *k)
{
	*k = (struct kvm_segment){
		.base = base, .limit = s->limit, .selector = s->selector, .type = s->type,
		.present = s->present && !s->unusable, .dpl = s->dpl, .db = s->db, .s = s->s, .l = s->l,
		.g = s->g, .avl = s->avl, .unusable = s->unusable,
	};
}

static void put_seg(struct x86_seg *s, uint64_t *base, const struct kvm_segment *k)
{
	*base = k->base;
	*s = (struct x86_seg){
		.limit = k->limit, .selector = k->selector, .type = k->type & 15, .s = k->s & 1,
		.present = k->present & 1, .l = k->l & 1, .db = k->db & 1, .g = k->g & 1, .avl = k->avl & 1,
		.unusable = (k->unusable & 1) || !(k->present & 1), .dpl = k->dpl & 3,
	};
}

/* The eight segments stand first in kvm_sregs and kvm_sregs2. */
static const uint8_t seg_order[] = { SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS };
_Static_assert(__builtin_offsetof(struct kvm_sregs, tr) == 6 * sizeof(struct kvm_segment), "kvm_sregs");
_Static_assert(__builtin_offsetof(struct kvm_sregs, interrupt_bitmap) ==
	       __builtin_offsetof(struct kvm_sregs2, flags), "kvm_sregs2 begins as kvm_sregs");

static void get_common(struct x86_vcpu *v, struct kvm_sregs *s)
{
	struct x86_cpu *cpu = &v->cpu;
	struct kvm_segment *k = &s->cs;

	for (size_t i = 0; i < ARRAY_SIZE(seg_order); i++)
		get_seg(&cpu->seg[seg_order[i]], *seg_base(cpu, seg_order[i]), &k[i]);
	get_seg(&cpu->tr.seg, cpu->tr.base, &s->tr);
	get_seg(&cpu->ldt.seg, cpu->ldt.base, &s->ldt);
	s->gdt = (struct kvm_dtable){ .base = cpu->gdt.base, .limit = cpu->gdt.limit };
	s->idt = (struct kvm_dtable){ .base = cpu->idt.base, .limit = cpu->idt.limit };
	s->cr0 = cpu->cr0;
	s->cr2 = cpu->cr2;
	s->cr3 = cpu->cr3;
	s->cr4 = cpu->cr4;
	s->cr8 = x86_get_cr8(cpu);
	s->efer = cpu->efer;
	s->apic_base = x86_get_apic_base(v);
}

void x86_get_sregs(struct x86_vcpu *v, struct kvm_sregs *s)
{
	memset(s, 0, sizeof(*s));
	get_common(v, s);
	if (v->interrupt.injected && !v->interrupt.soft)
		s->interrupt_bitmap[v->interrupt.nr / 64] |= 1ULL << (v->interrupt.nr % 64);
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

static bool valid_cr0(uint64_t cr0)
{
	if (cr0 >> 32 || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)))
		return false;
	return !(cr0 & CR0_PG) || (cr0 & CR0_PE);
}

static bool valid_sregs(const struct x86_vcpu *v, const struct kvm_sregs *s)
{
	if ((s->efer & EFER_LME) && (s->cr0 & CR0_PG)) {
		if (!(s->cr4 & CR4_PAE) || !(s->efer & EFER_LMA) || s->cr3 >> v->cpuid.maxphyaddr)
			return false;
	} else if ((s->efer & EFER_LMA) || s->cs.l) {
		return false;
	}
	return x86_valid_cr4(&v->cpu, s->cr4) && valid_cr0(s->cr0);
}

static __attribute__((noinline)) void load_pdptes(struct x86_vcpu *v)
{
	struct host_guard guard;

	host_guard_arm(&guard);
	if (!host_jump_set(&guard.jump))
		(void)!mmu_load_pdptes(&v->cpu, v->cpu.cr3);
	host_guard_disarm(&guard);
}

static int put_common(struct x86_vcpu *v, const struct kvm_sregs *s, bool with_pdptes)
{
	struct x86_cpu *cpu = &v->cpu;
	const struct kvm_segment *k = &s->cs;

	if (!valid_sregs(v, s) || x86_set_apic_base(v, s->apic_base, true))
		return -EINVAL;
	cpu->idt = (struct x86_dtable){ .base = s->idt.base, .limit = s->idt.limit };
	cpu->gdt = (struct x86_dtable){ .base = s->gdt.base, .limit = s->gdt.limit };
	cpu->cr2 = s->cr2;
	cpu->cr3 = s->cr3;
	/* As KVM: a wrong one is passed over. */
	if (s->cr8 <= 15)
		x86_set_cr8(cpu, s->cr8);
	v->set_tpr_exit = false;
	cpu->efer = s->efer;
	svm_efer_changed(v);
	cpu->cr0 = s->cr0 | CR0_ET;
	cpu->cr4 = s->cr4;
	if (with_pdptes && pae_paging(cpu->cr0, cpu->cr4, cpu->efer))
		load_pdptes(v);
	for (size_t i = 0; i < ARRAY_SIZE(seg_order); i++)
		put_seg(&cpu->seg[seg_order[i]], seg_base(cpu, seg_order[i]), &k[i]);
	put_seg(&cpu->tr.seg, &cpu->tr.base, &s->tr);
	put_seg(&cpu->ldt.seg, &cpu->ldt.base, &s->ldt);
	/* Old clients do not wake the boot processor on reset. */
	if ((x86_get_apic_base(v) & LAPIC_BASE_BSP) && cpu->regs[R_RIP] == 0xfff0 && s->cs.selector == 0xf000 &&
	    s->cs.base == 0xffff0000 && !(cpu->cr0 & CR0_PE))
		atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
	mmu_flush_all(cpu);
	x86_update_mode(cpu);
	x86_request(cpu, X86_REQ_EVENT);
	return 0;
}

int x86_put_sregs(struct x86_vcpu *v, const struct kvm_sregs *s)
{
	int r = put_common(v, s, true);

	if (r)
		return r;
	for (unsigned int n = 0; n < 256; n++) {
		if (s->interrupt_bitmap[n / 64] >> (n % 64) & 1) {
			v->interrupt.injected = true;
			v->interrupt.soft = false;
			v->interrupt.nr = (uint8_t)n;
			break;
		}
	}
	return 0;
}

/* --- ioctls ------------------------------------------------------------------------------- */

long x86_ioctl_get_regs(struct kvm_call *c)
{
	x86_get_regs(x86_vcpu_of(c->vcpu), c->data);
	return 0;
}

long x86_ioctl_set_regs(struct kvm_call *c)
{
	x86_put_regs(x86_vcpu_of(c->vcpu), c->data);
	return 0;
}

long x86_ioctl_get_sregs(struct kvm_call *c)
{
	x86_get_sregs(x86_vcpu_of(c->vcpu), c->data);
	return 0;
}

long x86_ioctl_set_sregs(struct kvm_call *c)
{
	return x86_put_sregs(x86_vcpu_of(c->vcpu), c->data);
}

long x86_ioctl_get_sregs2(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	struct kvm_sregs2 *s = c->data;

	memset(s, 0, sizeof(*s));
	get_common(v, (struct kvm_sregs *)s);
	if (pae_paging(v->cpu.cr0, v->cpu.cr4, v->cpu.efer)) {
		memcpy(s->pdptrs, v->cpu.pdpte, sizeof(s->pdptrs));
		s->flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	}
	return 0;
}

long x86_ioctl_set_sregs2(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	const struct kvm_sregs2 *s = c->data;
	bool given = s->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	int r;

	if (s->flags & ~(__u64)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return -EINVAL;
	if (given && !pae_paging(s->cr0, s->cr4, s->efer))
		return -EINVAL;
	r = put_common(v, (const struct kvm_sregs *)s, !given);
	if (!r && given)
		memcpy(v->cpu.pdpte, s->pdptrs, sizeof(s->pdptrs));
	return r;
}

/* --- KVM_CAP_SYNC_REGS ------------------------------------------------------------------------ */

void x86_sync_regs_out(struct x86_vcpu *v)
{
	struct kvm_sync_regs *s = &v->vcpu->run->s.regs;
	uint64_t valid = v->vcpu->run->kvm_valid_regs;

	if (valid & KVM_SYNC_X86_REGS)
		x86_get_regs(v, &s->regs);
	if (valid & KVM_SYNC_X86_SREGS)
		x86_get_sregs(v, &s->sregs);
	if (valid & KVM_SYNC_X86_EVENTS)
		x86_get_events(v, &s->events);
}

/* The client may write while we read: each part is copied before it is looked at. */
int x86_sync_regs_in(struct x86_vcpu *v)
{
	struct kvm_run *run = v->vcpu->run;
	uint64_t dirty = run->kvm_dirty_regs;

	if (dirty & KVM_SYNC_X86_REGS) {
		struct kvm_regs regs = run->s.regs.regs;

		x86_put_regs(v, &regs);
		dirty &= ~(uint64_t)KVM_SYNC_X86_REGS;
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		struct kvm_sregs sregs = run->s.regs.sregs;

		if (x86_put_sregs(v, &sregs))
			return -EINVAL;
		dirty &= ~(uint64_t)KVM_SYNC_X86_SREGS;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		struct kvm_vcpu_events events = run->s.regs.events;

		if (x86_put_events(v, &events))
			return -EINVAL;
		dirty &= ~(uint64_t)KVM_SYNC_X86_EVENTS;
	}
	run->kvm_dirty_regs = dirty;
	return 0;
}

/* --- APIC base and CR8, whoever keeps them --------------------------------------------------- */

uint64_t x86_get_apic_base(const struct x86_vcpu *v)
{
	return v->has_lapic ? lapic_base(&v->lapic) : v->apic_base;
}

int x86_set_apic_base(struct x86_vcpu *v, uint64_t value, bool host)
{
	uint64_t reserved = ~0ULL << v->cpuid.maxphyaddr | 0x2ff;

	if (v->has_lapic)
		return lapic_set_base(&v->lapic, value, host);
	if ((value & reserved) || ((value & LAPIC_BASE_X2APIC) &&
				   (!x86_has(&v->cpu, X86_F_X2APIC) || !(value & LAPIC_BASE_ENABLE))))
		return -EINVAL;
	v->apic_base = value;
	return 0;
}

uint64_t x86_get_cr8(struct x86_cpu *cpu)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	if (unlikely(svm_virtual_tpr(v)))
		return v->svm->vmcb.control.int_ctl & 15;
	if (!v->has_lapic)
		return v->cr8;
	if (x86_vapic_collect(v))
		x86_vapic_publish(v);
	return lapic_get_cr8(&v->lapic);
}

void x86_set_cr8(struct x86_cpu *cpu, uint64_t value)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	if (unlikely(svm_virtual_tpr(v))) {
		v->svm->vmcb.control.int_ctl = (v->svm->vmcb.control.int_ctl & ~V_TPR) | (value & 15);
		x86_request(cpu, X86_REQ_EVENT);
		return;
	}
	if (v->has_lapic) {
		bool published = x86_vapic_collect(v);

		lapic_set_cr8(&v->lapic, (uint8_t)value & 15);
		if (published)
			x86_vapic_publish(v);
		return;
	}
	/* Lowered: the client's local APIC may have an interrupt for us. */
	if ((value & 15) < v->cr8) {
		v->set_tpr_exit = true;
		x86_request(cpu, X86_REQ_EVENT);
	}
	v->cr8 = (uint8_t)value & 15;
}
