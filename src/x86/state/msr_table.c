// SPDX-License-Identifier: MIT
/* The table of MSRs, and the registers that are more than a field.  SDM 4; APM 2, appendix A; msr.rst. */
#include <errno.h>
#include <stdlib.h>

#include "x86/cpu/control.h"
#include "x86/cpu/count.h"
#include "x86/cpu/lbr.h"
#include "x86/mmu/mmu.h"
#include "x86/pv/async_pf.h"
#include "x86/pv/eoi.h"
#include "x86/pv/kvmclock.h"
#include "x86/pv/steal.h"
#include "x86/state/cpuid.h"
#include "x86/state/model.h"
#include "x86/state/msr.h"
#include "x86/state/state.h"
#include "x86/svm/svm.h"
#include "x86/vmx/vmx.h"

#define MTRR_VAR_FIRST 0x200
#define MTRR_DEF_VALID 0xcffULL
#define MCG_CTL_P (1ULL << 8)
#define MCG_CMCI_P (1ULL << 10)
#define CTL2_VALID ((1ULL << 30) | 0x7fff)
#define HWCR_STATUS_WREN (1ULL << 18)
#define HWCR_TSC_FREQ_SEL (1ULL << 24)
#define MISC_ENABLE_EMON (1ULL << 7)
#define MISC_ENABLE_RO ((1ULL << 7) | (1ULL << 11) | (1ULL << 12))
#define MISC_ENABLE_MWAIT (1ULL << 18)
#define CPUID_FAULT_CAP (1ULL << 31)    /* MSR_PLATFORM_INFO */
#define SPEC_CTRL_IBRS 1ULL
#define SPEC_CTRL_STIBP 2ULL
#define SPEC_CTRL_SSBD 4ULL
#define DEBUGCTL_AMD 0x3fULL
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NX | EFER_SVME | EFER_FFXSR)

/* IA32_ARCH_CAPABILITIES: software executes no instruction speculatively, so a guest needs no workaround. */
#define ARCH_CAP_VALUE ((1ULL << 0) | (1ULL << 1) | (1ULL << 3) | (1ULL << 4) | (1ULL << 5) | (1ULL << 6) | \
			(1ULL << 8) | (1ULL << 13) | (1ULL << 14) | (1ULL << 15) | (1ULL << 20) | \
			(1ULL << 24) | (1ULL << 26) | (1ULL << 27) | (1ULL << 62))

#define DE_CFG_LFENCE 2ULL              /* LFENCE serializes */
#define UCODE_INTEL 0x100000000ULL
#define UCODE_AMD 0x01000065ULL
#define PAT_DEFAULT 0x0007040600070406ULL

/* --- time ------------------------------------------------------------------------------ */

static int get_tsc(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = host ? x86_guest_tsc(v) : x86_nested_tsc(&v->cpu.nested, x86_guest_tsc(v));
	return 0;
}

static int set_tsc(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	x86_set_guest_tsc(v, value, host);
	return 0;
}

static int set_tsc_adjust(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!x86_has(&v->cpu, X86_F_TSC_ADJUST))
		return 0;
	if (!host)
		x86_adjust_tsc(v, (int64_t)(value - v->msr.tsc_adjust));
	v->msr.tsc_adjust = value;
	return 0;
}

static int get_tsc_deadline(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->has_lapic ? lapic_tsc_deadline(&v->lapic) : 0;
	return 0;
}

static int set_tsc_deadline(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (v->has_lapic)
		lapic_set_tsc_deadline(&v->lapic, value);
	return 0;
}

static int get_wall_clock(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	pthread_mutex_lock(&v->vm->clock.lock);
	*value = v->vm->clock.wall_msr;
	pthread_mutex_unlock(&v->vm->clock.lock);
	return 0;
}

static int set_wall_clock(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	x86_kvmclock_set_wall(v, value);
	return 0;
}

static int set_steal_time(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return x86_steal_set(v, value);
}

static int set_async_pf_en(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return x86_async_pf_set_en(v, value);
}

static int set_async_pf_int(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return x86_async_pf_set_int(v, value, host);
}

static int set_async_pf_ack(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	x86_async_pf_ack(v, value);
	return 0;
}

static int set_pv_eoi(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return x86_pv_eoi_set(v, value);
}

static int set_system_time(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	x86_kvmclock_set_page(v, value);
	return 0;
}

/* --- local APIC ---------------------------------------------------------------------------- */

static int get_apic_base(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = x86_get_apic_base(v);
	return 0;
}

static int set_apic_base(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return x86_set_apic_base(v, value, host);
}

static int get_x2apic(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	bool published = x86_vapic_collect(v);
	int r = v->has_lapic ? lapic_read_msr(&v->lapic, index, value) : -EINVAL;

	if (published)
		x86_vapic_publish(v);
	return r;
}

static int set_x2apic(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	bool published = x86_vapic_collect(v);
	int r = v->has_lapic ? lapic_write_msr(&v->lapic, index, value) : -EINVAL;

	if (published)
		x86_vapic_publish(v);
	return r;
}

/* --- memory types -------------------------------------------------------------------------- */

static bool memory_type_ok(uint64_t type)
{
	return type < 8 && (0x73 >> type & 1);          /* UC, WC, WT, WP, WB */
}

static bool memory_types_ok(uint64_t value)
{
	for (int i = 0; i < 64; i += 8)
		if (!memory_type_ok(value >> i & 0xff))
			return false;
	return true;
}

static int set_pat(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!x86_pat_valid(value))
		return -EINVAL;
	v->msr.pat = value;
	return 0;
}

static int set_mtrr_def(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if ((value & ~MTRR_DEF_VALID) || !memory_type_ok(value & 0xff))
		return -EINVAL;
	v->msr.mtrr_def_type = value;
	return 0;
}

static int fixed_mtrr(uint32_t index)
{
	if (index == 0x250)
		return 0;
	return index < 0x260 ? (int)(index - 0x258) + 1 : (int)(index - 0x268) + 3;
}

static int get_mtrr_fixed(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->msr.mtrr_fixed[fixed_mtrr(index)];
	return 0;
}

static int set_mtrr_fixed(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!memory_types_ok(value))
		return -EINVAL;
	v->msr.mtrr_fixed[fixed_mtrr(index)] = value;
	return 0;
}

static int set_mtrr_var(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	uint64_t reserved = ~0ULL << v->cpuid.maxphyaddr;

	if (index & 1)
		reserved |= 0x7ff;
	else
		reserved |= 0xf00;
	if ((value & reserved) || (!(index & 1) && !memory_type_ok(value & 0xff)))
		return -EINVAL;
	v->msr.mtrr_var[index - MTRR_VAR_FIRST] = value;
	return 0;
}

/* --- machine check --------------------------------------------------------------------------- */

static unsigned int mce_banks(const struct x86_vcpu *v)
{
	return v->msr.mcg_cap & 0xff;
}

static int get_mcg_ctl(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!(v->msr.mcg_cap & MCG_CTL_P) && !host)
		return -EINVAL;
	*value = v->msr.mcg_ctl;
	return 0;
}

static int set_mcg_ctl(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!(v->msr.mcg_cap & MCG_CTL_P) && (value || !host))
		return -EINVAL;
	if (value && value != ~0ULL)
		return -EINVAL;
	v->msr.mcg_ctl = value;
	return 0;
}

static int get_mce(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	unsigned int n = index - 0x400;

	if (n / 4 >= mce_banks(v))
		return -EINVAL;
	*value = ((uint64_t *)&v->msr.mce[n / 4])[n % 4];
	return 0;
}

static int set_mce(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	unsigned int n = index - 0x400;

	if (n / 4 >= mce_banks(v))
		return -EINVAL;
	/* CTL: all zeroes or all ones, but for two bits that old systems clear; SDM 3B, 16.3.2.1. */
	if (n % 4 == 0 && value && (value | 1 << 10 | 1) != ~0ULL)
		return -EINVAL;
	if (n % 4 == 1 && value && !host && (v->cpuid.vendor != V_AMD || !(v->msr.hwcr & HWCR_STATUS_WREN)))
		return -EINVAL;
	((uint64_t *)&v->msr.mce[n / 4])[n % 4] = value;
	return 0;
}

static int get_mce_ctl2(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (index - 0x280 >= mce_banks(v) || (!(v->msr.mcg_cap & MCG_CMCI_P) && !host))
		return -EINVAL;
	*value = v->msr.mce_ctl2[index - 0x280];
	return 0;
}

static int set_mce_ctl2(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (index - 0x280 >= mce_banks(v) || (value & ~CTL2_VALID))
		return -EINVAL;
	if (!(v->msr.mcg_cap & MCG_CMCI_P) && (value || !host))
		return -EINVAL;
	v->msr.mce_ctl2[index - 0x280] = value;
	return 0;
}

/* --- the CPU's own ------------------------------------------------------------------------------ */

static int set_efer(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (value & ~EFER_KNOWN)
		return -EINVAL;
	if (host)
		x86_apply_efer(&v->cpu, (value & ~EFER_LMA) | (v->cpu.efer & EFER_LMA));
	else if (x86_set_efer(&v->cpu, value))
		return -EINVAL;
	svm_efer_changed(v);
	return 0;
}

static uint64_t *base_of(struct x86_vcpu *v, uint32_t index)
{
	switch (index) {
	case 0xc0000100: return seg_base(&v->cpu, SEG_FS);
	case 0xc0000101: return seg_base(&v->cpu, SEG_GS);
	case 0xc0000102: return &v->cpu.kernel_gs_base;
	case 0xc0000082: return &v->cpu.lstar;
	default: return &v->cpu.cstar;
	}
}

static int get_canonical(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = *base_of(v, index);
	return 0;
}

static int set_canonical(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!x86_canonical_max(&v->cpu, value))
		return -EINVAL;
	*base_of(v, index) = value;
	return 0;
}

/* Non-canonical values are made canonical, as KVM does for both vendors' sake. */
static int set_sysenter_addr(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	unsigned int shift = x86_has(&v->cpu, X86_F_LA57) ? 7 : 16;

	value = (uint64_t)((int64_t)(value << shift) >> shift);
	if (index == 0x175)
		v->cpu.sysenter_esp = value;
	else
		v->cpu.sysenter_eip = value;
	return 0;
}

static int get_tsc_aux(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && !x86_has(&v->cpu, X86_F_RDTSCP) && !x86_has(&v->cpu, X86_F_RDPID))
		return -EINVAL;
	*value = v->cpu.tsc_aux;
	return 0;
}

static int set_tsc_aux(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host && !x86_has(&v->cpu, X86_F_RDTSCP) && !x86_has(&v->cpu, X86_F_RDPID))
		return -EINVAL;
	if (v->cpuid.vendor == V_INTEL && value >> 32)
		return -EINVAL;
	v->cpu.tsc_aux = (uint32_t)value;
	return 0;
}

/* Rights of supervisor pages by protection key; SDM 3A 4.6.2. */
static int set_pkrs(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (value >> 32)
		return -EINVAL;
	v->cpu.pkrs = value;
	mmu_pkey_changed(&v->cpu);
	return 0;
}

static int set_xss(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (value & ~v->cpuid.supported_xss)
		return -EINVAL;
	v->cpu.xss = value;
	return 0;
}

static bool has_spec_ctrl(const struct x86_vcpu *v)
{
	static const uint16_t any[] = {
		X86_F_SPEC_CTRL, X86_F_INTEL_STIBP, X86_F_SPEC_CTRL_SSBD, X86_F_AMD_IBRS, X86_F_AMD_STIBP,
		X86_F_AMD_SSBD,
	};

	for (size_t i = 0; i < ARRAY_SIZE(any); i++)
		if (x86_has(&v->cpu, any[i]))
			return true;
	return false;
}

static int get_spec_ctrl(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && !has_spec_ctrl(v))
		return -EINVAL;
	*value = v->msr.spec_ctrl;
	return 0;
}

/*
 * Which bits there are is the processor's affair, not the guest's CPUID's: as KVM, which tries the value.  STIBP is
 * taken without effect where there is but IBRS; SDM 4, IA32_SPEC_CTRL.
 */
static uint64_t spec_ctrl_bits(void)
{
	struct x86_model m;
	uint64_t bits = 0;

	x86_model_get(&m);
	if (x86_model_has(&m, X86_F_SPEC_CTRL) || x86_model_has(&m, X86_F_AMD_IBRS))
		bits |= SPEC_CTRL_IBRS | SPEC_CTRL_STIBP;
	if (x86_model_has(&m, X86_F_INTEL_STIBP) || x86_model_has(&m, X86_F_AMD_STIBP))
		bits |= SPEC_CTRL_STIBP;
	if (x86_model_has(&m, X86_F_SPEC_CTRL_SSBD) || x86_model_has(&m, X86_F_AMD_SSBD))
		bits |= SPEC_CTRL_SSBD;
	return bits;
}

static int set_spec_ctrl(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if ((!host && !has_spec_ctrl(v)) || (value & ~spec_ctrl_bits()))
		return -EINVAL;
	v->msr.spec_ctrl = value;
	return 0;
}

/* A command.  All that is predicted are the branches that the PMU counts. */
static int set_pred_cmd(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host && !x86_has(&v->cpu, X86_F_SPEC_CTRL) && !x86_has(&v->cpu, X86_F_AMD_IBPB))
		return -EINVAL;
	if (value & ~1ULL)
		return -EINVAL;
	if (value)
		x86_count_forget(&v->cpu);
	return 0;
}

static int write_only(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	return -ENOENT;
}

static int set_misc_enable(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	uint64_t old = v->msr.misc_enable;

	if (!host) {
		if ((old ^ value) & (MISC_ENABLE_RO & ~MISC_ENABLE_EMON))
			return -EINVAL;
		value = (value & ~MISC_ENABLE_EMON) | (old & MISC_ENABLE_EMON);
	}
	if ((v->vm->disabled_quirks & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT) &&
	    ((old ^ value) & MISC_ENABLE_MWAIT) && !x86_has(&v->cpu, X86_F_PNI))
		return -EINVAL;
	v->msr.misc_enable = value;
	x86_cpuid_update_mwait(v);
	return 0;
}

static int get_arch_capabilities(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && !x86_has(&v->cpu, X86_F_ARCH_CAPABILITIES))
		return -EINVAL;
	*value = v->msr.arch_capabilities;
	return 0;
}

static int get_perf_capabilities(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && !x86_has(&v->cpu, X86_F_PDCM))
		return -EINVAL;
	*value = v->pmu.capabilities;
	return 0;
}

static int set_perf_capabilities(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	uint64_t offered;

	if (!host || x86_msr_feature(index, &offered) || (value & ~offered))
		return -EINVAL;
	v->pmu.capabilities = value;
	x86_pmu_refresh(v);
	return 0;
}

static int get_platform_info(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!host && v->vm->no_platform_info)
		return -EINVAL;
	*value = v->msr.platform_info;
	return 0;
}

static int set_platform_info(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host || (!(value & CPUID_FAULT_CAP) && (v->msr.misc_features & 1)))
		return -EINVAL;
	v->msr.platform_info = value;
	return 0;
}

static int set_misc_features(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if ((value & ~1ULL) || ((value & 1) && !(v->msr.platform_info & CPUID_FAULT_CAP)))
		return -EINVAL;
	v->msr.misc_features = value;
	return 0;
}

/* A processor with VMX has it whatever vendor the client names: a BIOS, told of VMX, sets it. */
static bool has_feat_ctl(const struct x86_vcpu *v, bool host)
{
	return host || v->vmx || v->cpuid.vendor == V_INTEL;
}

static int get_feat_ctl(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->msr.feat_ctl;
	return has_feat_ctl(v, host) ? 0 : -ENOENT;
}

#define FEAT_CTL_OTHERS (1ULL << 17 | 1ULL << 18 | 1ULL << 20)

static int set_feat_ctl(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	/*
	 * LOCK and, with VMX, what enables it inside and outside SMX, as with KVM, where there is no SMX.  The client may
	 * set what any guest can have, before or after CPUID (as since Linux 6.2): SGX, LMCE.
	 */
	uint64_t valid = host ? 7 | FEAT_CTL_OTHERS : x86_has(&v->cpu, X86_F_VMX) ? 7 : 1;

	if (!has_feat_ctl(v, host))
		return -ENOENT;
	if ((value & ~valid) || (!host && (v->msr.feat_ctl & 1)))
		return -EINVAL;
	v->msr.feat_ctl = value;
	return 0;
}

static int set_hwcr(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	/* FFDIS, IGNNE_EM and TLBCACHEDIS are taken without effect. */
	value &= ~(0x40ULL | 0x100 | 0x8);
	if (value & ~(HWCR_STATUS_WREN | HWCR_TSC_FREQ_SEL))
		return -EINVAL;
	v->msr.hwcr = value;
	return 0;
}

/* Only where there is SVM does anything come of these two; APM 2, 15.30. */
static int get_vm_cr(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->svm ? v->svm->vm_cr : 0;
	return 0;
}

static int set_vm_cr(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	const uint64_t lock = 1 << 3, svmdis = 1 << 4;

	if (!v->svm)
		return host && !value ? 0 : -EINVAL;
	if ((value & ~(lock | svmdis)) || ((value & svmdis) && (v->cpu.efer & EFER_SVME)))
		return -EINVAL;
	if (!host && (v->svm->vm_cr & lock))
		value = v->svm->vm_cr;
	v->svm->vm_cr = value;
	return 0;
}

static int get_vm_hsave(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->svm ? v->svm->hsave : 0;
	return 0;
}

static int set_vm_hsave(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!v->svm)
		return 0;
	if (!host && ((value & ~GUEST_PAGE_MASK) || value >> v->cpuid.maxphyaddr))
		return -EINVAL;
	v->svm->hsave = value & GUEST_PAGE_MASK;
	return 0;
}

/* 8.32 bits; APM 2, 15.30.5.  Of L2's alone, L1's own is not scaled by it. */
static int get_tsc_ratio(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!v->svm || (!host && !x86_has(&v->cpu, X86_F_TSC_SCALE)))
		return -EINVAL;
	*value = v->svm->tsc_ratio;
	return 0;
}

static int set_tsc_ratio(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!v->svm)
		return -EINVAL;
	/* A client may say what is there already, or 0, as QEMU 6.2 does; like KVM. */
	if (!x86_has(&v->cpu, X86_F_TSC_SCALE))
		return host && (!value || value == v->svm->tsc_ratio) ? 0 : -EINVAL;
	if (value >> 40)
		return -EINVAL;
	v->svm->tsc_ratio = value;
	svm_set_tsc(v);
	return 0;
}

static int set_zero_only(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return value ? -EINVAL : 0;
}

/*
 * LBR and BTF are all there is of Intel's; and no last branches, so that LBR is taken and stays 0, as with KVM.  Of AMD's
 * bits these two have an effect.
 */
static const struct {
	uint64_t valid, kept;
} debugctl[] = {
	[V_INTEL] = { DEBUGCTL_LBR | DEBUGCTL_BTF, DEBUGCTL_BTF },
	[V_AMD] = { DEBUGCTL_AMD, DEBUGCTL_AMD },
};

bool x86_debugctl_valid(const struct x86_vcpu *v, uint64_t value)
{
	return !(value & ~debugctl[v->cpuid.vendor].valid);
}

void x86_set_debugctl(struct x86_vcpu *v, uint64_t value)
{
	x86_debugctl_load(&v->cpu, value & debugctl[v->cpuid.vendor].kept);
}

static int set_debugctl(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!x86_debugctl_valid(v, value))
		return -EINVAL;
	x86_set_debugctl(v, value);
	return 0;
}

static int set_ucode(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (host)
		v->msr.ucode_rev = value;
	return 0;
}

/* --- features ------------------------------------------------------------------------------------- */

int x86_msr_feature(uint32_t index, uint64_t *value)
{
	struct x86_model m;

	x86_model_get(&m);
	if (index >= VMX_MSR_FIRST && index <= VMX_MSR_LAST) {
		*value = vmx_cap_offered(index - VMX_MSR_FIRST);
		return x86_model_has(&m, X86_F_VMX) ? 0 : -ENOENT;
	}
	switch (index) {
	case 0x8b: *value = m.vendor == V_INTEL ? UCODE_INTEL : UCODE_AMD; return 0;
	case 0x10a: *value = ARCH_CAP_VALUE; return 0;
	case 0x345: *value = m.vendor == V_INTEL ? X86_PMU_CAPABILITIES : 0; return 0;
	case 0xc0011029: *value = m.vendor == V_AMD ? DE_CFG_LFENCE : 0; return m.vendor == V_AMD ? 0 : -ENOENT;
	default: return -ENOENT;
	}
}

void x86_msr_init(struct x86_vcpu *v)
{
	v->msr.pat = PAT_DEFAULT;
	v->msr.mcg_cap = X86_MCE_BANKS;
	v->msr.poll_control = 1;        /* nothing here polls, so nothing follows from it */
	v->msr.platform_info = CPUID_FAULT_CAP;
	vmx_caps_init(v);
	v->msr.arch_capabilities = ARCH_CAP_VALUE;
	v->msr.ucode_rev = v->cpuid.vendor == V_INTEL ? UCODE_INTEL : UCODE_AMD;
}

void x86_msr_reset(struct x86_vcpu *v)
{
	v->msr.misc_features = 0;
	v->msr.misc_enable = (1ULL << 11) | (1ULL << 12);       /* no BTS, no PEBS */
	v->msr.spec_ctrl = 0;
}

/* --- the table ------------------------------------------------------------------------------------- */

#define MSR_POLL_CONTROL 0x4b564d05

#define ALL (~0ULL)
#define AT(f) offsetof(struct x86_vcpu, f)
/* A number (the guest's where it has 64-bit mode); a range; with a reader and a writer of its own; a field; a constant. */
#define CODE(n, name, flags, get, set) { n, n, name, flags, 0, 0, 0, 0, 0, get, set }
#define CODE64(n, name, flags, get, set) { n, n, name, flags, X86_F_LM, 0, 0, 0, 0, get, set }
#define CODES(a, b, name, flags, get, set) { a, b, name, flags, 0, 0, 0, 0, 0, get, set }
#define FIELD(n, name, flags, f, valid) { n, n, name, flags, 0, 0, AT(f), valid, 0, NULL, NULL }
#define FIELD_SET(n, name, flags, f, set) { n, n, name, flags, 0, 0, AT(f), ALL, 0, NULL, set }
#define PV(n, name, flags, feature, f, valid, set) \
	{ n, n, name, MSR_SAVED | MSR_PV | (flags), feature, 0, AT(f), valid, 0, NULL, set }
#define PMU(a, b, name, flags) CODES(a, b, name, flags, x86_pmu_get, x86_pmu_set)
#define HYPERV(a, b, flags) CODES(a, b, "HYPERV", flags, hv_msr_get, hv_msr_set)
#define VMX(a, b, name, flags) { a, b, name, MSR_FEATURE | (flags), X86_F_VMX, 0, 0, 0, 0, vmx_get_cap, vmx_set_cap }
#define LAST(n, name, f) { n, n, name, MSR_READ_ONLY, 0, 0, AT(cpu.lbr.msrs.f), 0, 0, NULL, NULL }
#define CONST(a, b, name, flags, value) { a, b, name, (flags) | MSR_LAZY_ZERO, 0, 0, 0, 0, value, NULL, NULL }

/* Sorted by number. */
const struct x86_msr_row x86_msr_rows[] = {
	CONST(0x0, 0x1, "IA32_P5_MC", MSR_READ_ONLY, 0),
	CODE(0x10, "IA32_TSC", MSR_SAVED, get_tsc, set_tsc),
	{ 0x11, 0x11, "KVM_WALL_CLOCK", MSR_SAVED | MSR_PV, X86_F_KVM_CLOCKSOURCE, 0, 0, 0, 0, get_wall_clock,
	  set_wall_clock },
	{ 0x12, 0x12, "KVM_SYSTEM_TIME", MSR_SAVED | MSR_PV, X86_F_KVM_CLOCKSOURCE, 0, AT(pvclock.msr), ALL, 0, NULL,
	  set_system_time },
	CONST(0x17, 0x17, "IA32_PLATFORM_ID", MSR_READ_ONLY, 0),
	CODE(0x1b, "IA32_APIC_BASE", 0, get_apic_base, set_apic_base),
	CONST(0x2a, 0x2a, "EBL_CR_POWERON", MSR_READ_ONLY, 0),
	CONST(0x2c, 0x2c, "EBC_FREQUENCY_ID", MSR_READ_ONLY, 1 << 24),
	FIELD(0x34, "SMI_COUNT", MSR_SAVED | MSR_HOST_WRITES, msr.smi_count, ALL),
	CODE(0x3a, "IA32_FEAT_CTL", 0, get_feat_ctl, set_feat_ctl),
	FIELD_SET(0x3b, "IA32_TSC_ADJUST", MSR_SAVED, msr.tsc_adjust, set_tsc_adjust),
	CODE(0x48, "IA32_SPEC_CTRL", MSR_SAVED, get_spec_ctrl, set_spec_ctrl),
	CODE(0x49, "IA32_PRED_CMD", 0, write_only, set_pred_cmd),
	CODE(0x79, "IA32_UCODE_WRITE", MSR_IGNORE_WRITES, write_only, NULL),
	FIELD_SET(0x8b, "IA32_UCODE_REV", MSR_SAVED | MSR_FEATURE, msr.ucode_rev, set_ucode),
	FIELD(0x9e, "IA32_SMBASE", MSR_SAVED | MSR_HOST_ONLY, msr.smbase, 0xffffffff),
	PMU(0xc1, 0xc8, "IA32_PMC", MSR_SAVED | MSR_OF_INTEL),
	CONST(0xcd, 0xcd, "FSB_FREQ", MSR_READ_ONLY, 3),
	CODE(0xce, "PLATFORM_INFO", MSR_SAVED, get_platform_info, set_platform_info),
	CONST(0xfe, 0xfe, "MTRRCAP", MSR_READ_ONLY, 0x508),
	{ 0x10a, 0x10a, "IA32_ARCH_CAPABILITIES", MSR_SAVED | MSR_FEATURE | MSR_HOST_WRITES, 0, 0,
	  AT(msr.arch_capabilities), ALL, 0, get_arch_capabilities, NULL },
	CONST(0x11e, 0x11e, "BBL_CR_CTL3", MSR_IGNORE_WRITES, 0xbe702111),
	FIELD_SET(0x140, "MISC_FEATURES_ENABLES", MSR_SAVED, msr.misc_features, set_misc_features),
	FIELD(0x174, "IA32_SYSENTER_CS", MSR_SAVED, cpu.sysenter_cs, ALL),
	FIELD_SET(0x175, "IA32_SYSENTER_ESP", MSR_SAVED, cpu.sysenter_esp, set_sysenter_addr),
	FIELD_SET(0x176, "IA32_SYSENTER_EIP", MSR_SAVED, cpu.sysenter_eip, set_sysenter_addr),
	{ 0x179, 0x179, "IA32_MCG_CAP", MSR_READ_ONLY, 0, 0, AT(msr.mcg_cap), 0, 0, NULL, NULL },
	FIELD(0x17a, "IA32_MCG_STATUS", MSR_SAVED, msr.mcg_status, ALL),
	CODE(0x17b, "IA32_MCG_CTL", MSR_SAVED, get_mcg_ctl, set_mcg_ctl),
	PMU(0x186, 0x18d, "IA32_PERFEVTSEL", MSR_SAVED | MSR_OF_INTEL),
	CONST(0x198, 0x198, "IA32_PERF_STATUS", MSR_READ_ONLY, 1000 | 4ULL << 40),
	CONST(0x199, 0x199, "IA32_PERF_CTL", MSR_READ_ONLY, 0),
	FIELD_SET(0x1a0, "IA32_MISC_ENABLE", MSR_SAVED, msr.misc_enable, set_misc_enable),
	{ 0x1d9, 0x1d9, "IA32_DEBUGCTL", 0, 0, 0, AT(cpu.lbr.msrs.debugctl), 0, 0, NULL, set_debugctl },
	LAST(0x1db, "LAST_BRANCH_FROM_IP", from), LAST(0x1dc, "LAST_BRANCH_TO_IP", to),
	LAST(0x1dd, "LAST_INT_FROM_IP", int_from), LAST(0x1de, "LAST_INT_TO_IP", int_to),
	FIELD(0x1fc, "IA32_POWER_CTL", MSR_SAVED, msr.power_ctl, ALL),
	{ 0x200, 0x20f, "MTRR_PHYS", 0, 0, 0, AT(msr.mtrr_var), ALL, 0, NULL, set_mtrr_var },
	CODE(0x250, "MTRR_FIX64K", 0, get_mtrr_fixed, set_mtrr_fixed),
	CODES(0x258, 0x259, "MTRR_FIX16K", 0, get_mtrr_fixed, set_mtrr_fixed),
	CODES(0x268, 0x26f, "MTRR_FIX4K", 0, get_mtrr_fixed, set_mtrr_fixed),
	FIELD_SET(0x277, "IA32_PAT", MSR_SAVED, msr.pat, set_pat),
	CODES(0x280, 0x280 + X86_MCE_BANKS - 1, "IA32_MC_CTL2", 0, get_mce_ctl2, set_mce_ctl2),
	FIELD_SET(0x2ff, "MTRR_DEF_TYPE", 0, msr.mtrr_def_type, set_mtrr_def),
	PMU(0x309, 0x30b, "IA32_FIXED_CTR", MSR_SAVED | MSR_OF_INTEL),
	CODE(0x345, "IA32_PERF_CAPABILITIES", MSR_SAVED | MSR_FEATURE, get_perf_capabilities, set_perf_capabilities),
	PMU(0x38d, 0x390, "IA32_PERF_GLOBAL", MSR_SAVED | MSR_OF_INTEL),
	CODES(0x400, 0x400 + 4 * X86_MCE_BANKS - 1, "IA32_MC", 0, get_mce, set_mce),
	VMX(0x480, 0x480, "IA32_VMX_BASIC", MSR_SAVED),
	VMX(0x481, 0x484, "IA32_VMX_CTLS", 0),
	VMX(0x485, 0x486, "IA32_VMX_MISC", MSR_SAVED),
	VMX(0x487, 0x487, "IA32_VMX_CR0_FIXED1", 0),
	VMX(0x488, 0x488, "IA32_VMX_CR4_FIXED0", MSR_SAVED),
	VMX(0x489, 0x489, "IA32_VMX_CR4_FIXED1", 0),
	VMX(0x48a, 0x491, "IA32_VMX", MSR_SAVED),
	PMU(0x4c1, 0x4c8, "IA32_A_PMC", 0),
	CONST(0x606, 0x606, "RAPL_POWER_UNIT", MSR_READ_ONLY, 0),
	CONST(0x611, 0x611, "PKG_ENERGY_STATUS", MSR_READ_ONLY, 0),
	CONST(0x619, 0x619, "DRAM_ENERGY_STATUS", MSR_READ_ONLY, 0),
	CONST(0x639, 0x639, "PP0_ENERGY_STATUS", MSR_READ_ONLY, 0),
	CONST(0x641, 0x641, "PP1_ENERGY_STATUS", MSR_READ_ONLY, 0),
	CODE(0x6e0, "IA32_TSC_DEADLINE", MSR_SAVED, get_tsc_deadline, set_tsc_deadline),
	{ 0x6e1, 0x6e1, "IA32_PKRS", MSR_SAVED, X86_F_PKS, 0, AT(cpu.pkrs), ALL, 0, NULL, set_pkrs },
	CODES(0x800, 0x8ff, "X2APIC", 0, get_x2apic, set_x2apic),
	{ 0xda0, 0xda0, "IA32_XSS", 0, X86_F_XSAVES, 0, AT(cpu.xss), ALL, 0, NULL, set_xss },
	HYPERV(HV_MSR_GUEST_OS_ID, HV_MSR_RESET, MSR_SAVED),
	HYPERV(HV_MSR_RESET + 1, HV_MSR_VP_RUNTIME - 1, 0),
	HYPERV(HV_MSR_VP_RUNTIME, HV_MSR_VP_RUNTIME, MSR_SAVED),
	HYPERV(HV_MSR_VP_RUNTIME + 1, HV_MSR_TIME_REF_COUNT - 1, 0),
	HYPERV(HV_MSR_TIME_REF_COUNT, HV_MSR_APIC_FREQUENCY, MSR_SAVED),
	HYPERV(HV_MSR_APIC_FREQUENCY + 1, HV_MSR_TPR, 0),
	HYPERV(HV_MSR_VP_ASSIST_PAGE, HV_MSR_VP_ASSIST_PAGE, MSR_SAVED),
	HYPERV(HV_MSR_VP_ASSIST_PAGE + 1, HV_MSR_SCONTROL - 1, 0),
	HYPERV(HV_MSR_SCONTROL, HV_MSR_SCONTROL, MSR_SAVED),
	HYPERV(HV_MSR_SCONTROL + 1, HV_MSR_SINT15, 0),
	HYPERV(HV_MSR_STIMER0_CONFIG, HV_MSR_STIMER0_CONFIG, MSR_SAVED),
	HYPERV(HV_MSR_STIMER0_CONFIG + 1, HV_MSR_STIMER3_COUNT, 0),
	HYPERV(HV_MSR_SYNDBG_CONTROL, HV_MSR_SYNDBG_PENDING, MSR_SAVED),
	HYPERV(HV_MSR_SYNDBG_OPTIONS, HV_MSR_SYNDBG_OPTIONS, MSR_SAVED),
	HYPERV(HV_MSR_CRASH_P0, HV_MSR_TSC_EMULATION_STATUS, MSR_SAVED),
	HYPERV(HV_MSR_TSC_INVARIANT, HV_MSR_TSC_INVARIANT, MSR_SAVED),
	{ MSR_WALL_CLOCK_NEW, MSR_WALL_CLOCK_NEW, "KVM_WALL_CLOCK_NEW", MSR_SAVED | MSR_PV, X86_F_KVM_CLOCKSOURCE2,
	  0, 0, 0, 0, get_wall_clock, set_wall_clock },
	{ MSR_SYSTEM_TIME_NEW, MSR_SYSTEM_TIME_NEW, "KVM_SYSTEM_TIME_NEW", MSR_SAVED | MSR_PV,
	  X86_F_KVM_CLOCKSOURCE2, 0, AT(pvclock.msr), ALL, 0, NULL, set_system_time },
	PV(MSR_ASYNC_PF_EN, "KVM_ASYNC_PF_EN", 0, X86_F_KVM_ASYNC_PF, apf.en, ALL, set_async_pf_en),
	PV(MSR_STEAL_TIME, "KVM_STEAL_TIME", 0, X86_F_KVM_STEAL_TIME, steal.msr, ALL, set_steal_time),
	PV(MSR_PV_EOI_EN, "KVM_PV_EOI_EN", 0, X86_F_KVM_PV_EOI, pv_eoi.msr, ALL, set_pv_eoi),
	PV(MSR_POLL_CONTROL, "KVM_POLL_CONTROL", 0, X86_F_KVM_POLL_CONTROL, msr.poll_control, 1, NULL),
	PV(MSR_ASYNC_PF_INT, "KVM_ASYNC_PF_INT", 0, X86_F_KVM_ASYNC_PF_INT, apf.vector, ALL, set_async_pf_int),
	PV(MSR_ASYNC_PF_ACK, "KVM_ASYNC_PF_ACK", MSR_LAZY_ZERO, X86_F_KVM_ASYNC_PF_INT, apf.en, ALL, set_async_pf_ack),
	FIELD_SET(0xc0000080, "EFER", 0, cpu.efer, set_efer),
	FIELD(0xc0000081, "STAR", MSR_SAVED, cpu.star, ALL),
	CODE64(0xc0000082, "LSTAR", MSR_SAVED, get_canonical, set_canonical),
	CODE64(0xc0000083, "CSTAR", MSR_SAVED, get_canonical, set_canonical),
	{ 0xc0000084, 0xc0000084, "SFMASK", MSR_SAVED, X86_F_LM, 0, AT(cpu.sfmask), ALL, 0, NULL, NULL },
	CODE64(0xc0000100, "FS_BASE", 0, get_canonical, set_canonical),
	CODE64(0xc0000101, "GS_BASE", 0, get_canonical, set_canonical),
	CODE64(0xc0000102, "KERNEL_GS_BASE", MSR_SAVED, get_canonical, set_canonical),
	CODE(0xc0000103, "TSC_AUX", MSR_SAVED, get_tsc_aux, set_tsc_aux),
	{ 0xc0000104, 0xc0000104, "AMD64_TSC_RATIO", MSR_SAVED | MSR_OF_AMD, 0, 0, 0, 0, 0, get_tsc_ratio, set_tsc_ratio },
	PMU(0xc0010000, 0xc0010007, "K7_PERF", MSR_SAVED | MSR_OF_AMD),
	CONST(0xc0010010, 0xc0010010, "SYSCFG", MSR_READ_ONLY, 0),
	FIELD_SET(0xc0010015, "HWCR", MSR_SAVED, msr.hwcr, set_hwcr),
	CONST(0xc001001b, 0xc001001b, "K7_CLK_CTL", MSR_IGNORE_WRITES, 0x20000000),
	CONST(0xc001001f, 0xc001001f, "NB_CFG", MSR_IGNORE_WRITES, 0),
	CODE(0xc0010020, "PATCH_LOADER", MSR_IGNORE_WRITES, write_only, NULL),
	CONST(0xc0010055, 0xc0010055, "INT_PENDING", MSR_READ_ONLY, 0),
	{ 0xc0010058, 0xc0010058, "MMIO_CONF_BASE", MSR_LAZY_ZERO, 0, 0, 0, 0, 0, NULL, set_zero_only },
	CONST(0xc0010112, 0xc0010113, "TSEG", MSR_READ_ONLY, 0),
	CODE(0xc0010114, "VM_CR", MSR_SAVED, get_vm_cr, set_vm_cr),
	CODE(0xc0010117, "VM_HSAVE_PA", MSR_SAVED, get_vm_hsave, set_vm_hsave),
	{ 0xc001011f, 0xc001011f, "VIRT_SPEC_CTRL", MSR_SAVED, X86_F_VIRT_SSBD, 0, AT(msr.virt_spec_ctrl), 4, 0,
	  NULL, NULL },
	{ 0xc0010140, 0xc0010140, "OSVW_ID_LENGTH", 0, X86_F_OSVW, 0, AT(msr.osvw_length), ALL, 0, NULL, NULL },
	{ 0xc0010141, 0xc0010141, "OSVW_STATUS", 0, X86_F_OSVW, 0, AT(msr.osvw_status), ALL, 0, NULL, NULL },
	PMU(0xc0010200, 0xc001020b, "F15H_PERF", MSR_SAVED | MSR_OF_AMD),
	CONST(0xc0011022, 0xc0011023, "DC_CFG", MSR_IGNORE_WRITES, 0),
	{ 0xc0011029, 0xc0011029, "DE_CFG", MSR_FEATURE, 0, V_AMD, AT(msr.de_cfg), DE_CFG_LFENCE, 0, NULL, NULL },
	CONST(0xc001102a, 0xc001102a, "BU_CFG2", MSR_IGNORE_WRITES, 0),
	CONST(0xc001102c, 0xc001102c, "EX_CFG", MSR_IGNORE_WRITES, 0),
};
const size_t x86_msr_row_count = ARRAY_SIZE(x86_msr_rows);
