/* SPDX-License-Identifier: MIT */
/*
 * Control registers, RFLAGS, reset, and the state that the engine derives from
 * them.  SDM 3A chapter 2.5 and, for what a write flushes, 4.10.4.1.
 */
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/lbr.h"
#include "x86/cpu/segment.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* -------------------------------------------------------------- derived state */

void x86_update_priv(struct x86_cpu *cpu)
{
	const struct x86_seg *cs = &cpu->seg[SEG_CS];

	if ((cpu->efer & EFER_LMA) && cs->l)
		cpu->mode = CODE64;
	else
		cpu->mode = cs->db ? CODE32 : CODE16;

	/* In protected mode SS.DPL always equals CPL; every load of SS sees to it. */
	if (!(cpu->cr0 & CR0_PE))
		cpu->cpl = 0;
	else
		cpu->cpl = cpu->rflags & FL_VM ? 3 : cpu->seg[SEG_SS].dpl;

	if (cpu->mmu)
		cpu->ctx = mmu_select(cpu);
}

void x86_update_mode(struct x86_cpu *cpu)
{
	x86_update_priv(cpu);
	if (cpu->vec)
		x86_vec_update_gate(cpu);
}

void x86_set_rflags(struct x86_cpu *cpu, uint64_t rflags)
{
	uint32_t old = cpu->rflags;
	uint32_t now = ((uint32_t)rflags & ~FL_ARITH) | 2;
	uint32_t changed = old ^ now;

	cpu->fl = fl_from_rflags(rflags);
	cpu->rflags = now;
	if (changed & (FL_AC | FL_VM))
		x86_update_priv(cpu);
	if (now & FL_TF)
		x86_request(cpu, X86_REQ_STEP);
	if ((changed & now & FL_IF) && !cpu->if_unwatched)
		x86_request(cpu, X86_REQ_EVENT);
}

/* ------------------------------------------------------------------------ CR0 */

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | \
		     CR0_CD | CR0_PG)
/* A change of these loads the PDPTEs anew; SDM 3A, 4.4.1. */
#define CR0_PDPTE_BITS (CR0_PG | CR0_CD | CR0_NW)
#define CR4_PDPTE_BITS (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)

void x86_apply_cr0(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr0 ^ value;

	cpu->cr0 = (value & CR0_DEFINED) | CR0_ET;
	if (changed & CR0_PG) {
		if ((value & CR0_PG) && (cpu->efer & EFER_LME))
			cpu->efer |= EFER_LMA;
		else
			cpu->efer &= ~EFER_LMA;
	}
	if ((changed & CR0_PG) && cpu->mmu)
		mmu_flush_current(cpu);
	x86_update_mode(cpu);
}

int x86_set_cr0(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr0 ^ value;
	bool pg = value & CR0_PG;

	if (value >> 32)
		return -EINVAL;
	if ((value & CR0_NW) && !(value & CR0_CD))
		return -EINVAL;
	if (pg && !(value & CR0_PE))
		return -EINVAL;
	if (cpu->nested.cr0_fixed & ~value)
		return -EINVAL;
	if (pg && (changed & CR0_PG) && (cpu->efer & EFER_LME) &&
	    (!(cpu->cr4 & CR4_PAE) || cpu->seg[SEG_CS].l || cpu->tr.seg.type == SYS_TSS16_BUSY))
		return -EINVAL;
	if (!pg && (cpu->mode == CODE64 || (cpu->cr4 & CR4_PCIDE)))
		return -EINVAL;
	if (pg && (cpu->cr4 & CR4_PAE) && !(cpu->efer & EFER_LME) && (changed & CR0_PDPTE_BITS)) {
		if (mmu_load_pdptes(cpu, cpu->cr3))
			return -EINVAL;
		/* What was translated by the old ones must not last; MOV CR3 and CR4 flush by themselves. */
		mmu_flush_current(cpu);
	}
	x86_apply_cr0(cpu, value);
	return 0;
}

/* ------------------------------------------------------------------------ CR3 */

int x86_set_cr3(struct x86_cpu *cpu, uint64_t value)
{
	bool keep = false;

	if (cpu->cr4 & CR4_PCIDE) {
		keep = value >> 63;
		value &= ~(1ULL << 63);
	}
	if (x86_long_mode(cpu)) {
		if (value >> cpu->maxphyaddr)
			return -EINVAL;
	} else {
		value = (uint32_t)value;
		if ((cpu->cr0 & CR0_PG) && (cpu->cr4 & CR4_PAE) && mmu_load_pdptes(cpu, value))
			return -EINVAL;
	}
	cpu->cr3 = value;
	mmu_load_cr3(cpu, keep);
	x86_update_priv(cpu);
	return 0;
}

/* ------------------------------------------------------------------------ CR4 */

/* Bits that a processor without the feature reserves.  The others are always there. */
static const struct {
	uint64_t bit;
	uint16_t feature;
} cr4_features[] = {
	{ CR4_UMIP, X86_F_UMIP },
	{ CR4_LA57, X86_F_LA57 },
	{ CR4_VMXE, X86_F_VMX },
	{ CR4_FSGSBASE, X86_F_FSGSBASE },
	{ CR4_PCIDE, X86_F_PCID },
	{ CR4_OSXSAVE, X86_F_XSAVE },
	{ CR4_SMEP, X86_F_SMEP },
	{ CR4_SMAP, X86_F_SMAP },
	{ CR4_PKE, X86_F_PKU },
	{ CR4_PKS, X86_F_PKS },
};

#define CR4_ALWAYS (CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | \
		    CR4_OSFXSR | CR4_OSXMMEXCPT)
/* What translations depend on; PCIDE drops them when it is cleared only. */
#define CR4_FLUSH_BITS (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_PKS)

uint64_t x86_offered_cr4(const struct x86_cpu *cpu)
{
	uint64_t valid = CR4_ALWAYS;

	for (unsigned int n = 0; n < ARRAY_SIZE(cr4_features); n++)
		if (x86_has(cpu, cr4_features[n].feature))
			valid |= cr4_features[n].bit;
	return valid;
}

bool x86_valid_cr4(const struct x86_cpu *cpu, uint64_t cr4)
{
	return !(cr4 & ~x86_offered_cr4(cpu));
}

void x86_apply_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t old = cpu->cr4;

	cpu->cr4 = value;
	if (cpu->mmu && (((old ^ value) & CR4_FLUSH_BITS) || (old & ~value & CR4_PCIDE)))
		mmu_flush_current(cpu);
	x86_update_mode(cpu);
}

int x86_set_cr4(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->cr4 ^ value;

	if (!x86_valid_cr4(cpu, value) || (cpu->nested.cr4_fixed & ~value))
		return -EINVAL;
	if (x86_long_mode(cpu)) {
		if (!(value & CR4_PAE) || (changed & CR4_LA57))
			return -EINVAL;
	} else if ((cpu->cr0 & CR0_PG) && (value & CR4_PAE) && (changed & CR4_PDPTE_BITS) &&
		   mmu_load_pdptes(cpu, cpu->cr3)) {
		return -EINVAL;
	}
	if ((changed & value & CR4_PCIDE) && (!x86_long_mode(cpu) || (cpu->cr3 & 0xfff)))
		return -EINVAL;
	x86_apply_cr4(cpu, value);
	return 0;
}

/* ----------------------------------------------------------------------- EFER */

static const struct {
	uint64_t bit;
	uint16_t feature;
} efer_features[] = {
	{ EFER_SCE, X86_F_SYSCALL },
	{ EFER_LME | EFER_LMA, X86_F_LM },
	{ EFER_NX, X86_F_NX },
	{ EFER_SVME, X86_F_SVM },
	{ EFER_FFXSR, X86_F_FXSR_OPT },
};

bool x86_valid_efer(const struct x86_cpu *cpu, uint64_t efer)
{
	uint64_t valid = 0;

	for (unsigned int n = 0; n < ARRAY_SIZE(efer_features); n++)
		if (x86_has(cpu, efer_features[n].feature))
			valid |= efer_features[n].bit;
	return !(efer & ~valid);
}

void x86_apply_efer(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->efer ^ value;

	cpu->efer = value;
	if ((changed & (EFER_NX | EFER_LMA)) && cpu->mmu)
		mmu_flush_current(cpu);
	if (changed)
		x86_update_mode(cpu);
}

int x86_set_efer(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t changed = cpu->efer ^ value;

	if (!x86_valid_efer(cpu, value))
		return -EINVAL;
	if ((changed & EFER_LME) && (cpu->cr0 & CR0_PG))
		return -EINVAL;
	x86_apply_efer(cpu, (value & ~EFER_LMA) | (cpu->efer & EFER_LMA));
	return 0;
}

/* ----------------------------------------------------------------------- XCR0 */

#define XC_X87 (1ULL << 0)
#define XC_SSE (1ULL << 1)
#define XC_AVX (1ULL << 2)
#define XC_MPX (3ULL << 3)
#define XC_AVX512 (7ULL << 5)
#define XC_TILE (3ULL << 17)

/* Components that come together or not at all, and what they need besides. */
static const struct {
	uint64_t mask, needs;
} xcr0_groups[] = {
	{ XC_AVX, XC_SSE },
	{ XC_MPX, 0 },
	{ XC_AVX512, XC_SSE | XC_AVX },
	{ XC_TILE, 0 },
};

bool x86_valid_xcr0(const struct x86_cpu *cpu, uint64_t xcr0)
{
	if (!(xcr0 & XC_X87) || (xcr0 & ~cpu->cpuid->supported_xcr0))
		return false;
	for (unsigned int n = 0; n < ARRAY_SIZE(xcr0_groups); n++) {
		uint64_t mask = xcr0_groups[n].mask, needs = xcr0_groups[n].needs;

		if ((xcr0 & mask) && ((xcr0 & mask) != mask || (xcr0 & needs) != needs))
			return false;
	}
	return true;
}

int x86_set_xcr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (index || !x86_valid_xcr0(cpu, value))
		return -EINVAL;
	cpu->xcr0 = value;
	x86_update_mode(cpu);
	return 0;
}

/* ---------------------------------------------------------------------- reset */

static void reset_seg(struct x86_cpu *cpu, enum x86_seg_reg reg, uint16_t sel, uint64_t base, uint8_t type)
{
	cpu->seg[reg] = (struct x86_seg){
		.limit = 0xffff, .selector = sel, .type = type, .s = true, .present = true,
	};
	*seg_base(cpu, reg) = base;
}

static void reset_system(struct x86_cpu *cpu)
{
	for (int reg = 0; reg < SEG_COUNT; reg++)
		reset_seg(cpu, reg, 0, 0, SEG_WRITABLE | SEG_ACCESSED);
	reset_seg(cpu, SEG_CS, 0xf000, 0xffff0000, SEG_CODE | SEG_READABLE | SEG_ACCESSED);
	cpu->gdt = (struct x86_dtable){ .limit = 0xffff };
	cpu->idt = (struct x86_dtable){ .limit = 0xffff };
	cpu->ldt = (struct x86_sysseg){ .seg = { .limit = 0xffff, .type = SYS_LDT, .present = true } };
	cpu->tr = (struct x86_sysseg){ .seg = { .limit = 0xffff, .type = SYS_TSS32_BUSY, .present = true } };
	for (int n = 0; n < 4; n++)
		cpu->dr[n] = 0;
	cpu->dr6 = DR6_FIXED_1;
	cpu->dr7 = DR7_FIXED_1;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->efer = 0;
}

static void reset_msrs(struct x86_cpu *cpu)
{
	cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = cpu->kernel_gs_base = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->tsc_aux = 0;
	cpu->xcr0 = XC_X87;
	cpu->xss = 0;
	cpu->pkru = 0;
	cpu->pkrs = 0;
}

void x86_cpu_reset(struct x86_cpu *cpu, bool init)
{
	/* INIT leaves the cache bits alone; power-on sets both. */
	uint64_t cache = init ? cpu->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;

	if (cpu->vec_live)
		x86_vec_put(cpu);
	for (int n = 0; n < R_COUNT; n++)
		cpu->regs[n] = 0;
	cpu->regs[R_RIP] = 0xfff0;
	cpu->regs[R_RDX] = 0x600;       /* family 6; who knows CPUID leaf 1 sets the rest */
	reset_system(cpu);
	if (!init)
		reset_msrs(cpu);
	cpu->cr0 = CR0_ET | cache;
	cpu->rflags = 2;
	cpu->fl = fl_from_rflags(0);

	cpu->shadow = 0;
	cpu->nmi_blocked = cpu->iret_unblocks = cpu->is_delivering = cpu->delivering_external = false;
	cpu->pending_db = 0;
	x86_lbr_load(cpu, &(const struct x86_lbr_msrs){ 0 });
	x86_replay_done(cpu);
	cpu->replay.pending = false;
	cpu->cur = &x86_no_insn;

	if (cpu->vec)
		vec_state_reset(cpu->vec, init);
	if (cpu->mmu) {
		mmu_flush_all(cpu);
		mmu_debug_changed(cpu);
	}
	x86_update_mode(cpu);
}
