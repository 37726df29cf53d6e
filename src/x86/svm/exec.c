// SPDX-License-Identifier: MIT
/* The instructions of SVM.  APM 3, and APM 2, 15.5 and 15.17. */
#include <errno.h>
#include <stdlib.h>

#include "x86/cpu/control.h"
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"
#include "x86/state/stats.h"
#include "x86/svm/svm.h"

/* --- VMLOAD, VMSAVE: what VMRUN leaves alone ---------------------------------------------------------- */

/* The save area of the VMCB that RAX names, for @access: its address, L1's. */
static gpa_t save_area(struct x86_vcpu *v, enum mmu_access access)
{
	gpa_t gpa = v->cpu.regs[R_RAX];

	if ((gpa & ~GUEST_PAGE_MASK) || gpa >> v->cpu.maxphyaddr)
		x86_raise_ec(&v->cpu, X86_GP, 0);
	gpa += offsetof(struct vmcb, save);
	if (!svm_vls(v))
		return gpa;
	gpa = mmu_slat_gpa(&v->cpu, gpa, access);
	x86_stat_inc(v->vcpu, X86_STAT_SVM_VIRTUAL_VMLOAD);
	return gpa;
}

/* MSRs that both move, by place. */
static const struct {
	uint16_t vmcb, cpu;
} moved[] = {
#define MOVED(m, c) { offsetof(struct vmcb_save, m), offsetof(struct x86_cpu, c) }
	MOVED(star, star), MOVED(lstar, lstar), MOVED(cstar, cstar), MOVED(sfmask, sfmask),
	MOVED(kernel_gs_base, kernel_gs_base), MOVED(sysenter_cs, sysenter_cs), MOVED(sysenter_esp, sysenter_esp),
	MOVED(sysenter_eip, sysenter_eip),
#undef MOVED
};

static uint64_t *at_offset(void *p, uint16_t offset)
{
	return (uint64_t *)((char *)p + offset);
}

/* What VMSAVE writes; APM 3. */
#define PART(first, last) \
	{ offsetof(struct vmcb_save, first), \
	  offsetof(struct vmcb_save, last) + sizeof(((struct vmcb_save *)0)->last) - offsetof(struct vmcb_save, first) }
static const struct phys_part saved[] = {
	PART(fs, gs), PART(ldtr, ldtr), PART(tr, tr), PART(star, sysenter_eip),
};
#undef PART

static void vmload(struct x86_vcpu *v, const struct insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	struct vmcb_save m;

	if (x86_guest_read(v, save_area(v, MMU_READ), &m, sizeof(m)))
		x86_raise_ec(cpu, X86_GP, 0);
	svm_put_seg(&cpu->seg[SEG_FS], &m.fs);
	svm_put_seg(&cpu->seg[SEG_GS], &m.gs);
	svm_put_seg(&cpu->tr.seg, &m.tr);
	svm_put_seg(&cpu->ldt.seg, &m.ldtr);
	*seg_base(cpu, SEG_FS) = svm_canonical(cpu, m.fs.base);
	*seg_base(cpu, SEG_GS) = svm_canonical(cpu, m.gs.base);
	cpu->tr.base = svm_canonical(cpu, m.tr.base);
	cpu->ldt.base = svm_canonical(cpu, m.ldtr.base);
	for (unsigned int n = 0; n < ARRAY_SIZE(moved); n++)
		*at_offset(cpu, moved[n].cpu) = *at_offset(&m, moved[n].vmcb);
	cpu->kernel_gs_base = svm_canonical(cpu, cpu->kernel_gs_base);
}

static void vmsave(struct x86_vcpu *v, const struct insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	gpa_t at = save_area(v, MMU_WRITE);
	struct vmcb_save m;

	svm_get_seg(&cpu->seg[SEG_FS], *seg_base(cpu, SEG_FS), &m.fs);
	svm_get_seg(&cpu->seg[SEG_GS], *seg_base(cpu, SEG_GS), &m.gs);
	svm_get_seg(&cpu->tr.seg, cpu->tr.base, &m.tr);
	svm_get_seg(&cpu->ldt.seg, cpu->ldt.base, &m.ldtr);
	for (unsigned int n = 0; n < ARRAY_SIZE(moved); n++)
		*at_offset(&m, moved[n].vmcb) = *at_offset(cpu, moved[n].cpu);
	if (x86_guest_write_parts(v, at, &m, saved, ARRAY_SIZE(saved)))
		x86_raise_ec(cpu, X86_GP, 0);
}

/* --- the rest ------------------------------------------------------------------------------------------------ */

/* L2 that has one of its own leaves the processor's alone.  APM 2, 15.33. */
static void set_gif(struct x86_vcpu *v, bool on)
{
	uint32_t *c = &v->svm->vmcb.control.int_ctl;

	if (svm_vgif(v)) {
		*c = on ? *c | V_GIF : *c & ~V_GIF;
		x86_stat_inc(v->vcpu, X86_STAT_SVM_VIRTUAL_GIF);
	} else {
		v->svm->gif = on;
	}
}

static void stgi(struct x86_vcpu *v, const struct insn *i)
{
	set_gif(v, true);
	x86_request(&v->cpu, X86_REQ_EVENT);
}

static void clgi(struct x86_vcpu *v, const struct insn *i)
{
	set_gif(v, false);
}

/* The page at rAX in the ASID in ECX; 0 is the host's own.  APM 3, INVLPGA. */
static void invlpga(struct x86_vcpu *v, const struct insn *i)
{
	struct x86_cpu *cpu = &v->cpu;
	gva_t gva = cpu->mode == CODE64 ? cpu->regs[R_RAX] : (uint32_t)cpu->regs[R_RAX];

	if (x86_canonical_max(cpu, gva))
		mmu_flush_tag_page(cpu, (uint16_t)cpu->regs[R_RCX], gva);
}

static const struct {
	void (*fn)(struct x86_vcpu *v, const struct insn *i);
	uint8_t word, bit;              /* that intercepts it */
	uint8_t exit;
} rows[] = {
	[VIRT_VMRUN] = { svm_vmrun, 4, W4_VMRUN, EXIT_WORD4 + W4_VMRUN },
	[VIRT_VMLOAD] = { vmload, 4, W4_VMLOAD, EXIT_WORD4 + W4_VMLOAD },
	[VIRT_VMSAVE] = { vmsave, 4, W4_VMSAVE, EXIT_WORD4 + W4_VMSAVE },
	[VIRT_STGI] = { stgi, 4, W4_STGI, EXIT_WORD4 + W4_STGI },
	[VIRT_CLGI] = { clgi, 4, W4_CLGI, EXIT_WORD4 + W4_CLGI },
	[VIRT_INVLPGA] = { invlpga, 3, W3_INVLPGA, EXIT_WORD3 + W3_INVLPGA },
	/* SKINIT: CPUID offers none, so that it is #UD before it is anything else. */
};

void svm_exec(struct x86_cpu *cpu, const struct insn *i)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	const struct vmcb_control *c = &v->svm->vmcb.control;
	unsigned int which = i->aux;

	if (which >= ARRAY_SIZE(rows) || !rows[which].fn || !(cpu->efer & EFER_SVME) || !x86_protected(cpu) || x86_vm86(cpu))
		x86_raise(cpu, X86_UD);
	if (cpu->cpl)
		x86_raise_ec(cpu, X86_GP, 0);
	if (cpu->nested.in_guest && ((rows[which].word == 3 ? c->word3 : c->word4) >> rows[which].bit & 1))
		svm_exit_insn(v, i, rows[which].exit, 0, 0);
	rows[which].fn(v, i);
}

/* --- a vCPU's ---------------------------------------------------------------------------------------------------- */

static const struct x86_nested_ops ops = {
	.insn = svm_insn, .cr_write = svm_cr_write, .exception = svm_exception, .triple_fault = svm_triple_fault,
	.slat_fault = svm_slat_fault, .vmexit = svm_vmexit, .exec = svm_exec,
};

int svm_create(struct x86_vcpu *v)
{
	v->svm = calloc(1, sizeof(*v->svm));
	if (!v->svm)
		return -ENOMEM;
	v->svm->gif = true;
	v->svm->tsc_ratio = TSC_RATIO_ONE;
	v->cpu.nested.ops = &ops;
	return 0;
}

void svm_destroy(struct x86_vcpu *v)
{
	free(v->svm);
	v->svm = NULL;
}

void svm_reset(struct x86_vcpu *v)
{
	if (!v->svm)
		return;
	v->svm->msr_map.kept = false;
	svm_leave_nested(v);
	v->svm->gif = true;
	v->svm->tsc_ratio = TSC_RATIO_ONE;
}
