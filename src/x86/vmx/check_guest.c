// SPDX-License-Identifier: MIT
/* What VM entry asks of the guest state.  SDM 3C, 26.3.1.  Each predicate names what would be wrong. */
#include "x86/cpu/control.h"
#include "x86/cpu/debug.h"
#include "x86/state/msr.h"
#include "x86/vmx/check.h"

/* Qualifications of an entry that fails; 26.7. */
enum { FAIL_OTHER = 0, FAIL_PDPTE = 2, FAIL_NMI = 3, FAIL_LINK = 4 };

static bool unrestricted(const struct x86_vcpu *v)
{
	return vmx_proc2(v->vmx, PROC2_UNRESTRICTED);
}

static bool long_mode(const struct vmcs *m)
{
	return m->entry_controls & ENTRY_GUEST_64;
}

static bool vm86(const struct vmcs *m)
{
	return m->guest_rflags & FL_VM;
}

/* --- 26.3.1.1: control and debug registers, MSRs ------------------------------------------------------------- */

static bool cr0(struct x86_vcpu *v, const struct vmcs *m)
{
	uint64_t must = vmx_cap(v, CAP_CR0_FIXED0) & ~(unrestricted(v) ? CR0_PE | CR0_PG : 0);

	return (must & ~m->guest_cr0) || (m->guest_cr0 & ~vmx_cap(v, CAP_CR0_FIXED1)) ||
	       (m->guest_cr0 & (CR0_PG | CR0_PE)) == CR0_PG;
}

static bool cr4(struct x86_vcpu *v, const struct vmcs *m)
{
	return (vmx_cap(v, CAP_CR4_FIXED0) & ~m->guest_cr4) || (m->guest_cr4 & ~vmx_cap(v, CAP_CR4_FIXED1));
}

static bool cr3(struct x86_vcpu *v, const struct vmcs *m)
{
	return m->guest_cr3 >> v->cpu.maxphyaddr;
}

static bool mode(struct x86_vcpu *v, const struct vmcs *m)
{
	if (long_mode(m))
		return !(m->guest_cr0 & CR0_PG) || !(m->guest_cr4 & CR4_PAE);
	return m->guest_cr4 & CR4_PCIDE;
}

static bool debug(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->entry_controls & ENTRY_LOAD_DEBUG) &&
	       (m->guest_dr7 >> 32 || !x86_debugctl_valid(v, m->guest_debugctl));
}

static bool pat(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->entry_controls & ENTRY_LOAD_PAT) && !x86_pat_valid(m->guest_pat);
}

static bool perf(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->entry_controls & ENTRY_LOAD_PERF) && !x86_pmu_valid_global(v, m->guest_perf_global);
}

static bool efer(struct x86_vcpu *v, const struct vmcs *m)
{
	uint64_t e = m->guest_efer;

	if (!(m->entry_controls & ENTRY_LOAD_EFER))
		return false;
	return !x86_valid_efer(&v->cpu, e) || !!(e & EFER_LMA) != long_mode(m) ||
	       ((m->guest_cr0 & CR0_PG) && !!(e & EFER_LMA) != !!(e & EFER_LME));
}

static bool addresses(struct x86_vcpu *v, const struct vmcs *m)
{
	const uint64_t all[] = { m->guest_sysenter_esp, m->guest_sysenter_eip, m->guest_gdtr_base, m->guest_idtr_base,
				 m->guest_base[SEG_FS], m->guest_base[SEG_GS], m->guest_base[VMCS_TR] };

	for (unsigned int n = 0; n < ARRAY_SIZE(all); n++)
		if (vmx_not_canonical(v, all[n]))
			return true;
	return false;
}

/* --- 26.3.1.2: segments --------------------------------------------------------------------------------------------- */

enum { A_TYPE = 15, A_S = 1 << 4, A_P = 1 << 7, A_L = 1 << 13, A_DB = 1 << 14, A_G = 1 << 15 };
#define A_RESERVED 0xfffe0f00u
#define DPL(access) ((access) >> 5 & 3)
#define RPL(selector) ((selector) & 3)

static bool usable(const struct vmcs *m, unsigned int n)
{
	return !(m->guest_access[n] & ACCESS_UNUSABLE);
}

static bool bad_granularity(const struct vmcs *m, unsigned int n)
{
	bool g = m->guest_access[n] & A_G;

	return ((m->guest_limit[n] & 0xfff) != 0xfff && g) || (m->guest_limit[n] >> 20 && !g);
}

static bool vm86_segments(struct x86_vcpu *v, const struct vmcs *m)
{
	if (!vm86(m))
		return false;
	for (unsigned int n = SEG_ES; n <= SEG_GS; n++)
		if (m->guest_base[n] != (uint64_t)m->guest_selector[n] << 4 || m->guest_limit[n] != 0xffff ||
		    m->guest_access[n] != 0xf3)
			return true;
	return false;
}

static bool segment_bases(struct x86_vcpu *v, const struct vmcs *m)
{
	static const uint8_t low[] = { SEG_SS, SEG_DS, SEG_ES };

	if (m->guest_base[SEG_CS] >> 32 || (usable(m, VMCS_LDTR) && vmx_not_canonical(v, m->guest_base[VMCS_LDTR])))
		return true;
	for (unsigned int n = 0; n < ARRAY_SIZE(low); n++)
		if (usable(m, low[n]) && m->guest_base[low[n]] >> 32)
			return true;
	return false;
}

/* What every segment that is usable has; CS counts as one always. */
static bool segment_common(struct x86_vcpu *v, const struct vmcs *m)
{
	if (vm86(m))
		return false;
	for (unsigned int n = SEG_ES; n <= SEG_GS; n++) {
		uint32_t a = m->guest_access[n];

		if (n != SEG_CS && !usable(m, n))
			continue;
		if (!(a & A_S) || !(a & A_P) || (a & A_RESERVED) || bad_granularity(m, n))
			return true;
	}
	return false;
}

static bool code_segment(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t a = m->guest_access[SEG_CS], type = a & A_TYPE, ss_dpl = DPL(m->guest_access[SEG_SS]);

	if (vm86(m))
		return false;
	if (long_mode(m) && (a & A_L) && (a & A_DB))
		return true;
	if (type == 3)
		return !unrestricted(v) || DPL(a);
	if ((type & 9) != 9)
		return true;
	return type & 4 ? DPL(a) > ss_dpl : DPL(a) != ss_dpl;
}

static bool stack_segment(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t a = m->guest_access[SEG_SS], type = a & A_TYPE;

	if (vm86(m))
		return false;
	if (!unrestricted(v) && (RPL(m->guest_selector[SEG_SS]) != RPL(m->guest_selector[SEG_CS]) ||
				 DPL(a) != RPL(m->guest_selector[SEG_SS])))
		return true;
	if (((m->guest_access[SEG_CS] & A_TYPE) == 3 || !(m->guest_cr0 & CR0_PE)) && DPL(a))
		return true;
	return usable(m, SEG_SS) && type != 3 && type != 7;
}

static bool data_segments(struct x86_vcpu *v, const struct vmcs *m)
{
	static const uint8_t data[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };

	if (vm86(m))
		return false;
	for (unsigned int n = 0; n < ARRAY_SIZE(data); n++) {
		uint32_t a = m->guest_access[data[n]], type = a & A_TYPE;

		if (!usable(m, data[n]))
			continue;
		if (!(type & 1) || (type & 10) == 8)
			return true;
		if (!unrestricted(v) && type < 12 && DPL(a) < RPL(m->guest_selector[data[n]]))
			return true;
	}
	return false;
}

static bool task_register(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t a = m->guest_access[VMCS_TR], type = a & A_TYPE;

	return (m->guest_selector[VMCS_TR] & 4) || !usable(m, VMCS_TR) || (type != 11 && (type != 3 || long_mode(m))) ||
	       (a & A_S) || !(a & A_P) || (a & A_RESERVED) || bad_granularity(m, VMCS_TR);
}

static bool local_descriptors(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t a = m->guest_access[VMCS_LDTR];

	if (!usable(m, VMCS_LDTR))
		return false;
	return (m->guest_selector[VMCS_LDTR] & 4) || (a & A_TYPE) != 2 || (a & A_S) || !(a & A_P) || (a & A_RESERVED) ||
	       bad_granularity(m, VMCS_LDTR);
}

static bool descriptor_tables(struct x86_vcpu *v, const struct vmcs *m)
{
	return m->guest_gdtr_limit >> 16 || m->guest_idtr_limit >> 16;
}

/* --- 26.3.1.4, 26.3.1.5: RIP, RFLAGS, and what is no register --------------------------------------------------------- */

static bool rip(struct x86_vcpu *v, const struct vmcs *m)
{
	if (!long_mode(m) || !(m->guest_access[SEG_CS] & A_L))
		return m->guest_rip >> 32;
	return vmx_not_canonical(v, m->guest_rip);
}

static bool rflags(struct x86_vcpu *v, const struct vmcs *m)
{
	uint64_t f = m->guest_rflags;
	bool external = (m->entry_event & EVT_VALID) && EVT_TYPE(m->entry_event) == EVT_INTR;

	return (f & ~(uint64_t)FL_DEFINED) || !(f & 2) || ((f & FL_VM) && (long_mode(m) || !(m->guest_cr0 & CR0_PE))) ||
	       (external && !(f & FL_IF));
}

static bool activity(struct x86_vcpu *v, const struct vmcs *m)
{
	if (m->guest_activity != ACTIVITY_ACTIVE && m->guest_activity != ACTIVITY_HLT &&
	    m->guest_activity != ACTIVITY_WAIT_SIPI)
		return true;
	/* Nothing can be injected into one that waits for a SIPI. */
	if ((m->entry_event & EVT_VALID) && m->guest_activity == ACTIVITY_WAIT_SIPI)
		return true;
	if (m->guest_activity != ACTIVITY_ACTIVE && (m->guest_interruptibility & (BLOCKED_STI | BLOCKED_MOV_SS)))
		return true;
	return m->guest_activity == ACTIVITY_HLT && DPL(m->guest_access[SEG_SS]);
}

/* What can come to one that is halted: interrupts, NMIs, #DB, #MC, and MTF. */
static bool event_for_halted(struct x86_vcpu *v, const struct vmcs *m)
{
	unsigned int type = EVT_TYPE(m->entry_event), vector = m->entry_event & 0xff;

	if (m->guest_activity != ACTIVITY_HLT || !(m->entry_event & EVT_VALID))
		return false;
	return type >= EVT_SOFT ? type != EVT_OTHER : type == EVT_HARD && vector != X86_DB && vector != X86_MC;
}

static bool interruptibility(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t i = m->guest_interruptibility, event = m->entry_event;
	bool valid = event & EVT_VALID, nmi = valid && EVT_TYPE(event) == EVT_NMI;

	if ((i & ~(BLOCKED_STI | BLOCKED_MOV_SS | BLOCKED_NMI)) || (i & 3) == 3 ||
	    ((i & BLOCKED_STI) && !(m->guest_rflags & FL_IF)))
		return true;
	if (valid && EVT_TYPE(event) == EVT_INTR && (i & (BLOCKED_STI | BLOCKED_MOV_SS)))
		return true;
	return nmi && ((i & BLOCKED_MOV_SS) || ((m->pin & PIN_VIRTUAL_NMI) && (i & BLOCKED_NMI)));
}

/* Breakpoints 3:0, enabled 12, BS 14. */
static bool pending_debug(struct x86_vcpu *v, const struct vmcs *m)
{
	return m->guest_pending_db & ~0x500fULL;
}

static bool pending_step(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_step_deferred(m) && !!(m->guest_pending_db & DR6_BS) != vmx_single_steps(m, m->guest_debugctl);
}

/* What is linked is a shadow VMCS or must not be one, as the control says; and it is another than the current one. */
static bool link_pointer(struct x86_vcpu *v, const struct vmcs *m)
{
	uint32_t revision, wanted = VMCS_REVISION | (vmx_proc2(v->vmx, PROC2_SHADOW_VMCS) ? VMCS_SHADOW : 0);

	if (m->link == VMX_NONE)
		return false;
	return vmx_bad_page(v, m->link) || m->link == v->vmx->current ||
	       x86_guest_read(v, m->link, &revision, sizeof(revision)) || revision != wanted;
}

static const struct {
	bool (*wrong)(struct x86_vcpu *v, const struct vmcs *m);
	uint8_t qualification;
} rows[] = {
	{ cr0, 0 }, { cr4, 0 }, { cr3, 0 }, { mode, 0 }, { debug, 0 }, { pat, 0 }, { perf, 0 },
	{ link_pointer, FAIL_LINK }, { efer, 0 },
	{ addresses, 0 }, { vm86_segments, 0 }, { segment_bases, 0 }, { segment_common, 0 }, { code_segment, 0 },
	{ stack_segment, 0 }, { data_segments, 0 }, { task_register, 0 }, { local_descriptors, 0 },
	{ descriptor_tables, 0 }, { rip, 0 }, { rflags, 0 }, { activity, 0 }, { event_for_halted, 0 },
	{ interruptibility, 0 }, { pending_debug, 0 }, { pending_step, 0 },
};

bool vmx_check_guest(struct x86_vcpu *v, uint64_t *qualification)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		if (rows[n].wrong(v, &v->vmx->m)) {
			*qualification = rows[n].qualification;
			return false;
		}
	return true;
}

/* The trap that is pending follows IA32_DEBUGCTL as it is, which the VMCS need not have. */
bool vmx_check_guest_again(struct x86_vcpu *v)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		if (rows[n].wrong != pending_step && rows[n].wrong(v, &v->vmx->m))
			return false;
	return true;
}

/*
 * What the client has put in: a processor whose guests are restricted cannot run it, and KVM emulates none of L2.  The
 * segments alone can be so wrong, KVM_SET_SREGS looks at the rest.
 */
bool vmx_guest_possible(struct x86_vcpu *v)
{
	static bool (*const segments[])(struct x86_vcpu *v, const struct vmcs *m) = {
		vm86_segments, segment_common, code_segment, stack_segment, data_segments, task_register, local_descriptors,
	};

	if (likely(!v->vmx || !v->cpu.nested.in_guest) || unrestricted(v))
		return true;
	vmx_store_guest(v);
	for (unsigned int n = 0; n < ARRAY_SIZE(segments); n++)
		if (segments[n](v, &v->vmx->m))
			return false;
	return true;
}
