// SPDX-License-Identifier: MIT
/*
 * The capability MSRs.  SDM 3D, appendix A.
 *
 * What is not done is not offered: what may be 1 in a control is a list of what
 * intercept.c, enter.c and exit.c follow.  The client may take more away
 * (KVM_SET_MSRS), and never add.
 */
#include <errno.h>

#include "x86/cpu/control.h"
#include "x86/vmx/vmx.h"

/* Controls that were there before there were capabilities are 1 unless a TRUE MSR says otherwise; appendix A.2. */
#define PIN_DEFAULT1 0x16u
#define PROC_DEFAULT1 0x0401e172u
#define EXIT_DEFAULT1 0x36dffu
#define ENTRY_DEFAULT1 0x11ffu
/* Of these, those that may be 0. */
#define PROC_FREE (PROC_CR3_LOAD | PROC_CR3_STORE)
#define EXIT_FREE EXIT_SAVE_DEBUG
#define ENTRY_FREE ENTRY_LOAD_DEBUG

#define PIN_OFFERED (PIN_EXT_INTR | PIN_NMI | PIN_VIRTUAL_NMI | PIN_TIMER | PIN_POSTED)
#define PROC_OFFERED (PROC_INTR_WINDOW | PROC_TSC_OFFSET | PROC_HLT | PROC_INVLPG | PROC_MWAIT | PROC_RDPMC | \
		      PROC_RDTSC | PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE | PROC_TPR_SHADOW | \
		      PROC_NMI_WINDOW | PROC_MOV_DR | PROC_IO | PROC_IO_BITMAPS | PROC_MONITOR_TRAP | \
		      PROC_MSR_BITMAPS | PROC_MONITOR | PROC_PAUSE | PROC_SECONDARY)
#define PROC2_OFFERED (PROC2_APIC_ACCESS | PROC2_EPT | PROC2_DESCRIPTORS | PROC2_RDTSCP | PROC2_X2APIC | PROC2_VPID | \
		       PROC2_WBINVD | PROC2_UNRESTRICTED | PROC2_APIC_REGS | PROC2_VIRTUAL_INTR | PROC2_PAUSE_LOOP | \
		       PROC2_RDRAND | PROC2_INVPCID | PROC2_VMFUNC | PROC2_SHADOW_VMCS | PROC2_RDSEED | PROC2_PML | \
		       PROC2_VE | PROC2_XSAVES | PROC2_MODE_EXEC | PROC2_TSC_SCALING)
#define EXIT_OFFERED (EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACK_INTR | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | \
		      EXIT_LOAD_EFER | EXIT_SAVE_TIMER | EXIT_LOAD_PERF)
#define ENTRY_OFFERED (ENTRY_LOAD_DEBUG | ENTRY_GUEST_64 | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER | ENTRY_LOAD_PERF)

/* Low half: what must be 1; high half: what may be. */
#define CONTROLS(must, may) ((uint64_t)(must) | (uint64_t)((must) | (may)) << 32)

#define BASIC_SIZE_SHIFT 32
#define BASIC_WRITE_BACK (6ULL << 50)
#define BASIC_IO_INFO (1ULL << 54)
#define BASIC_TRUE (1ULL << 55)

#define MISC_SAVES_LMA (1ULL << 5)
#define MISC_HLT (1ULL << 6)
#define MISC_WAIT_SIPI (1ULL << 8)
#define MISC_WRITES_ALL (1ULL << 29)    /* VMWRITE of the exit information */

/* IA32_VMX_EPT_VPID_CAP, A.10. */
#define EPT_EXEC_ONLY (1ULL << 0)
#define EPT_LEVELS_4 (1ULL << 6)
#define EPT_LEVELS_5 (1ULL << 7)
#define EPT_WRITE_BACK (1ULL << 14)
#define EPT_LARGE (3ULL << 16)          /* 2 MiB and 1 GiB */
#define EPT_INVEPT (1ULL << 20)
#define EPT_AD (1ULL << 21)
#define EPT_INVEPT_TYPES (3ULL << 25)
#define VPID_INVVPID (1ULL << 32)
#define VPID_TYPES (15ULL << 40)

#define VMFUNC_EPTP_SWITCHING (1ULL << 0)

#define CR0_FIXED (CR0_PE | CR0_NE | CR0_PG)

static uint64_t cr4_may(void)
{
	/* What CPUID does not offer cannot be set, whatever is said here. */
	return CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
	       CR4_OSXMMEXCPT | CR4_UMIP | CR4_LA57 | CR4_VMXE | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP |
	       CR4_SMAP | CR4_PKE | CR4_PKS;
}

uint64_t vmx_cap_offered(enum vmx_cap cap)
{
	const uint64_t caps[CAP_COUNT] = {
		[CAP_BASIC] = VMCS_REVISION | (uint64_t)VMCS_SIZE << BASIC_SIZE_SHIFT | BASIC_WRITE_BACK | BASIC_IO_INFO |
			      BASIC_TRUE,
		[CAP_PIN] = CONTROLS(PIN_DEFAULT1, PIN_OFFERED),
		[CAP_TRUE_PIN] = CONTROLS(PIN_DEFAULT1, PIN_OFFERED),
		[CAP_PROC] = CONTROLS(PROC_DEFAULT1, PROC_OFFERED),
		[CAP_TRUE_PROC] = CONTROLS(PROC_DEFAULT1 & ~PROC_FREE, PROC_OFFERED),
		[CAP_PROC2] = CONTROLS(0, PROC2_OFFERED),
		[CAP_EXIT] = CONTROLS(EXIT_DEFAULT1, EXIT_OFFERED),
		[CAP_TRUE_EXIT] = CONTROLS(EXIT_DEFAULT1 & ~EXIT_FREE, EXIT_OFFERED),
		[CAP_ENTRY] = CONTROLS(ENTRY_DEFAULT1, ENTRY_OFFERED),
		[CAP_TRUE_ENTRY] = CONTROLS(ENTRY_DEFAULT1 & ~ENTRY_FREE, ENTRY_OFFERED),
		[CAP_MISC] = VMX_TIMER_RATE | MISC_SAVES_LMA | MISC_HLT | MISC_WAIT_SIPI | MISC_WRITES_ALL,
		[CAP_CR0_FIXED0] = CR0_FIXED,
		[CAP_CR0_FIXED1] = 0xffffffff,
		[CAP_CR4_FIXED0] = CR4_VMXE,
		[CAP_CR4_FIXED1] = cr4_may(),
		[CAP_VMCS_ENUM] = (uint64_t)vmcs_max_index() << 1,
		[CAP_EPT_VPID] = EPT_EXEC_ONLY | EPT_LEVELS_4 | EPT_LEVELS_5 | EPT_WRITE_BACK | EPT_LARGE | EPT_INVEPT |
				 EPT_AD | EPT_INVEPT_TYPES | VPID_INVVPID | VPID_TYPES,
		[CAP_VMFUNC] = VMFUNC_EPTP_SWITCHING,
	};

	return caps[cap];
}

/* --- a vCPU's --------------------------------------------------------------------------------------- */

/* The MSRs without TRUE in their names follow from those that have it. */
static const struct {
	uint8_t derived, from;
	uint32_t must;
} derived[] = {
	{ CAP_PIN, CAP_TRUE_PIN, PIN_DEFAULT1 }, { CAP_PROC, CAP_TRUE_PROC, PROC_DEFAULT1 },
	{ CAP_EXIT, CAP_TRUE_EXIT, EXIT_DEFAULT1 }, { CAP_ENTRY, CAP_TRUE_ENTRY, ENTRY_DEFAULT1 },
};

/* CR4 may have what CPUID offers. */
static uint64_t cr4_fixed1(const struct x86_vcpu *v)
{
	return cr4_may() & x86_offered_cr4(&v->cpu);
}

uint64_t vmx_cap(const struct x86_vcpu *v, enum vmx_cap cap)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(derived); n++)
		if (derived[n].derived == cap)
			return v->msr.vmx[derived[n].from] | derived[n].must;
	return cap == CAP_CR4_FIXED1 ? cr4_fixed1(v) : v->msr.vmx[cap];
}

void vmx_caps_init(struct x86_vcpu *v)
{
	for (unsigned int n = 0; n < CAP_COUNT; n++)
		v->msr.vmx[n] = vmx_cap_offered(n);
}

int vmx_get_cap(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	enum vmx_cap cap = index - VMX_MSR_FIRST;

	if (!v->vmx)
		return -ENOENT;
	/* As KVM, for the client too. */
	if (!x86_has(&v->cpu, X86_F_VMX))
		return -EINVAL;
	*value = vmx_cap(v, cap);
	if (!host && vmx_evmcs_offered(v))
		*value = vmx_evmcs_cap(cap, *value);
	return 0;
}

/* --- what the client may make of them: as KVM ------------------------------------------------------------ */

static bool only_less(uint64_t offered, uint64_t value)
{
	return !(value & ~offered);
}

/* More may be fixed to 1. */
static bool only_more(uint64_t offered, uint64_t value)
{
	return !(offered & ~value);
}

static bool controls_narrowed(uint64_t offered, uint64_t value)
{
	return only_more((uint32_t)offered, (uint32_t)value) && only_less(offered >> 32, value >> 32);
}

/* Revision, size and memory type are what they are. */
static bool basic_narrowed(uint64_t offered, uint64_t value)
{
	const uint64_t features = BASIC_IO_INFO | BASIC_TRUE;

	return only_less(offered & features, value & features) && !((offered ^ value) & ~features);
}

/* Preemption timer rate (4:0), CR3 targets (24:16), MSR lists (27:25) and MSEG revision are no features. */
static bool misc_narrowed(uint64_t offered, uint64_t value)
{
	const uint64_t fields = 0x1fULL | 0x1ffULL << 16 | 7ULL << 25 | 0xffffffffULL << 32;

	return only_less(offered & ~fields, value & ~fields) && !((offered ^ value) & 0x1f) &&
	       (value >> 16 & 0x1ff) <= (offered >> 16 & 0x1ff) && (value >> 25 & 7) <= (offered >> 25 & 7) &&
	       value >> 32 == offered >> 32;
}

static bool anything(uint64_t offered, uint64_t value)
{
	return true;
}

/* NULL: it cannot be set. */
static bool (*const narrowed[CAP_COUNT])(uint64_t offered, uint64_t value) = {
	[CAP_BASIC] = basic_narrowed, [CAP_MISC] = misc_narrowed,
	[CAP_TRUE_PIN] = controls_narrowed, [CAP_TRUE_PROC] = controls_narrowed, [CAP_PROC2] = controls_narrowed,
	[CAP_TRUE_EXIT] = controls_narrowed, [CAP_TRUE_ENTRY] = controls_narrowed,
	[CAP_CR0_FIXED0] = only_more, [CAP_CR4_FIXED0] = only_more, [CAP_VMCS_ENUM] = anything,
	[CAP_EPT_VPID] = only_less, [CAP_VMFUNC] = only_less,
};

int vmx_set_cap(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	enum vmx_cap cap = index - VMX_MSR_FIRST;

	if (!host || !v->vmx || !x86_has(&v->cpu, X86_F_VMX) || v->vmx->on || !narrowed[cap] ||
	    !narrowed[cap](vmx_cap_offered(cap), value))
		return -EINVAL;
	v->msr.vmx[cap] = value;
	return 0;
}
