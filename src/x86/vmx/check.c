// SPDX-License-Identifier: MIT
/*
 * What VM entry asks of the VMCS's controls and of the host state.  SDM 3C, 26.2.
 * Each predicate names what would be wrong; a new one is a function and a place in the table.
 */
#include "x86/cpu/control.h"
#include "x86/state/msr.h"
#include "x86/vmx/apic.h"
#include "x86/vmx/check.h"

/* --- shared ------------------------------------------------------------------------------------------------ */

bool vmx_bad_page(const struct x86_vcpu *v, gpa_t gpa)
{
	return (gpa & ~GUEST_PAGE_MASK) || gpa >> v->cpu.maxphyaddr;
}

bool vmx_not_canonical(const struct x86_vcpu *v, uint64_t address)
{
	return !x86_canonical_max(&v->cpu, address);
}

/* --- 26.2.1.1: execution controls ----------------------------------------------------------------------------- */

static bool bad_control(const struct x86_vcpu *v, enum vmx_cap cap, uint32_t value)
{
	uint64_t may = vmx_cap(v, cap);

	return ((uint32_t)may & ~value) || (value & ~(uint32_t)(may >> 32));
}

static bool pin_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return bad_control(v, CAP_TRUE_PIN, m->pin);
}

static bool proc_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return bad_control(v, CAP_TRUE_PROC, m->proc);
}

static bool proc2_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_SECONDARY) && bad_control(v, CAP_PROC2, m->proc2);
}

static bool cr3_targets(struct x86_vcpu *v, const struct vmcs *m)
{
	return m->cr3_targets > (vmx_cap(v, CAP_MISC) >> 16 & 0x1ff);
}

static bool io_bitmap_address(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_IO_BITMAPS) && (vmx_bad_page(v, m->io_bitmap[0]) || vmx_bad_page(v, m->io_bitmap[1]));
}

static bool msr_bitmap_address(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_MSR_BITMAPS) && vmx_bad_page(v, m->msr_bitmap);
}

static bool virtual_nmi_without_exiting(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->pin & PIN_VIRTUAL_NMI) && !(m->pin & PIN_NMI);
}

static bool nmi_window_without_virtual_nmi(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_NMI_WINDOW) && !(m->pin & PIN_VIRTUAL_NMI);
}

static bool vpid_zero(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_VPID) && !m->vpid;
}

static bool ept_pointer(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_EPT) && !vmx_check_eptp(v, m->eptp);
}

static bool unrestricted_without_ept(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_UNRESTRICTED) && !vmx_proc2(v->vmx, PROC2_EPT);
}

static bool shadow_bitmaps(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_SHADOW_VMCS) &&
	       (vmx_bad_page(v, m->vmread_bitmap) || vmx_bad_page(v, m->vmwrite_bitmap));
}

static bool dirty_log_address(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_PML) && (!vmx_proc2(v->vmx, PROC2_EPT) || vmx_bad_page(v, m->pml_address));
}

static bool vm_functions(struct x86_vcpu *v, const struct vmcs *m)
{
	if (!vmx_proc2(v->vmx, PROC2_VMFUNC))
		return false;
	return (m->vmfunc_controls & ~vmx_cap(v, CAP_VMFUNC)) ||
	       (m->vmfunc_controls && (!vmx_proc2(v->vmx, PROC2_EPT) || vmx_bad_page(v, m->eptp_list)));
}

static bool ve_information(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_VE) && vmx_bad_page(v, m->ve_info);
}

static bool mode_exec_without_ept(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_MODE_EXEC) && !vmx_proc2(v->vmx, PROC2_EPT);
}

static bool tsc_multiplier_zero(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_TSC_SCALING) && !m->tsc_multiplier;
}

/* --- APIC virtualization --- */

static bool virtual_apic_address(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_TPR_SHADOW) && vmx_bad_page(v, m->virtual_apic);
}

/* KVM cannot go on without it either, unless it is never looked at. */
static bool virtual_apic_missing(struct x86_vcpu *v, const struct vmcs *m)
{
	bool unused = (m->proc & PROC_CR8_LOAD) && (m->proc & PROC_CR8_STORE) && !vmx_proc2(v->vmx, PROC2_APIC_ACCESS);
	uint8_t byte;

	return (m->proc & PROC_TPR_SHADOW) && !unused && x86_guest_read(v, m->virtual_apic, &byte, 1);
}

static bool has_threshold(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->proc & PROC_TPR_SHADOW) && !vmx_proc2(v->vmx, PROC2_VIRTUAL_INTR);
}

static bool threshold_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return has_threshold(v, m) && m->tpr_threshold >> 4;
}

static bool threshold_above_tpr(struct x86_vcpu *v, const struct vmcs *m)
{
	return has_threshold(v, m) && !vmx_proc2(v->vmx, PROC2_APIC_ACCESS) &&
	       m->tpr_threshold > (vapic_get(v, VAPIC_TPR) >> 4 & 15);
}

static bool without_tpr_shadow(struct x86_vcpu *v, const struct vmcs *m)
{
	return !(m->proc & PROC_TPR_SHADOW) && vmx_proc2(v->vmx, PROC2_X2APIC | PROC2_APIC_REGS | PROC2_VIRTUAL_INTR);
}

static bool two_apics(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_X2APIC) && vmx_proc2(v->vmx, PROC2_APIC_ACCESS);
}

static bool virtual_interrupts_without_exiting(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_VIRTUAL_INTR) && !(m->pin & PIN_EXT_INTR);
}

static bool apic_access_address(struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_proc2(v->vmx, PROC2_APIC_ACCESS) && vmx_bad_page(v, m->apic_access);
}

static bool posted_interrupts(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->pin & PIN_POSTED) &&
	       (!vmx_proc2(v->vmx, PROC2_VIRTUAL_INTR) || !(m->exit_controls & EXIT_ACK_INTR) || m->posted_vector >> 8 ||
		(m->posted_desc & 63) || m->posted_desc >> v->cpu.maxphyaddr);
}

/* Memory type 6 at 2:0, levels less one at 5:3.  24.6.11. */
bool vmx_check_eptp(const struct x86_vcpu *v, uint64_t eptp)
{
	uint64_t caps = vmx_cap(v, CAP_EPT_VPID);
	unsigned int levels = (eptp >> 3 & 7) + 1;
	bool walks = levels == 4 ? caps >> 6 & 1 : levels == 5 && (caps >> 7 & 1);

	return (eptp & 7) == 6 && (caps >> 14 & 1) && walks && !(eptp >> 7 & 0x1f) && !(eptp >> v->cpu.maxphyaddr) &&
	       (!(eptp & EPTP_AD) || (caps >> 21 & 1));
}

/* --- 26.2.1.2, 26.2.1.3: exit and entry controls --------------------------------------------------------------- */

static bool exit_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return bad_control(v, CAP_TRUE_EXIT, m->exit_controls);
}

static bool timer_saved_without_timer(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->exit_controls & EXIT_SAVE_TIMER) && !(m->pin & PIN_TIMER);
}

static bool entry_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return bad_control(v, CAP_TRUE_ENTRY, m->entry_controls);
}

static bool bad_area(const struct x86_vcpu *v, uint64_t at, uint32_t count)
{
	return count && ((at & 15) || at >> v->cpu.maxphyaddr || (at + count * 16ULL - 1) >> v->cpu.maxphyaddr);
}

static bool msr_areas(struct x86_vcpu *v, const struct vmcs *m)
{
	return bad_area(v, m->exit_msr_store, m->exit_msr_stores) || bad_area(v, m->exit_msr_load, m->exit_msr_loads) ||
	       bad_area(v, m->entry_msr_load, m->entry_msr_loads);
}

/* Not #CP: there is no CET. */
static bool has_error_code(unsigned int vector)
{
	return vector == X86_DF || (vector >= X86_TS && vector <= X86_PF) || vector == X86_AC;
}

/* The type of a monitor trap comes with its control. */
static bool event_type(struct x86_vcpu *v, const struct vmcs *m)
{
	unsigned int type = EVT_TYPE(m->entry_event);
	bool monitor_trap = vmx_cap(v, CAP_TRUE_PROC) >> 32 & PROC_MONITOR_TRAP;

	return (m->entry_event & EVT_VALID) && (type == 1 || (type == EVT_OTHER && !monitor_trap));
}

static bool event_vector(struct x86_vcpu *v, const struct vmcs *m)
{
	unsigned int type = EVT_TYPE(m->entry_event), vector = m->entry_event & 0xff;

	return (m->entry_event & EVT_VALID) &&
	       ((type == EVT_NMI && vector != X86_NMI) || (type == EVT_HARD && vector > 31) ||
		(type == EVT_OTHER && vector));
}

static bool event_error_code(struct x86_vcpu *v, const struct vmcs *m)
{
	bool protected = !vmx_proc2(v->vmx, PROC2_UNRESTRICTED) || (m->guest_cr0 & CR0_PE);
	bool due = EVT_TYPE(m->entry_event) == EVT_HARD && protected && has_error_code(m->entry_event & 0xff);

	if (!(m->entry_event & EVT_VALID))
		return false;
	return !!(m->entry_event & EVT_ERROR) != due || (due && m->entry_error >> 16);
}

static bool event_reserved(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->entry_event & EVT_VALID) && (m->entry_event & 0x7ffff000);
}

static bool event_insn_length(struct x86_vcpu *v, const struct vmcs *m)
{
	unsigned int type = EVT_TYPE(m->entry_event);

	return (m->entry_event & EVT_VALID) && type >= EVT_SOFT && type <= EVT_SOFT_EXC &&
	       (m->entry_insn_len < 1 || m->entry_insn_len > 15);
}

typedef bool wrong_fn(struct x86_vcpu *v, const struct vmcs *m);

static wrong_fn *const controls[] = {
	pin_reserved, proc_reserved, proc2_reserved, cr3_targets, io_bitmap_address, msr_bitmap_address,
	virtual_nmi_without_exiting, nmi_window_without_virtual_nmi, vpid_zero, ept_pointer, unrestricted_without_ept,
	shadow_bitmaps, dirty_log_address, vm_functions, ve_information, mode_exec_without_ept, tsc_multiplier_zero,
	virtual_apic_address, virtual_apic_missing, threshold_reserved, threshold_above_tpr, without_tpr_shadow, two_apics,
	virtual_interrupts_without_exiting, apic_access_address, posted_interrupts,
	exit_reserved, timer_saved_without_timer, entry_reserved, msr_areas,
	event_type, event_vector, event_error_code, event_reserved, event_insn_length,
};

enum vmx_error vmx_check_controls(struct x86_vcpu *v)
{
	if (vmx_evmcs_unsupported(v))
		return ERROR_CONTROLS;
	for (unsigned int n = 0; n < ARRAY_SIZE(controls); n++)
		if (controls[n](v, &v->vmx->m))
			return ERROR_CONTROLS;
	return 0;
}

/* --- 26.2.2 to 26.2.4: host state ------------------------------------------------------------------------------ */

static bool host_size(struct x86_vcpu *v, const struct vmcs *m)
{
	return !!(m->exit_controls & EXIT_HOST_64) != x86_long_mode(&v->cpu);
}

static bool host_cr0(struct x86_vcpu *v, const struct vmcs *m)
{
	return (vmx_cap(v, CAP_CR0_FIXED0) & ~m->host_cr0) || (m->host_cr0 & ~vmx_cap(v, CAP_CR0_FIXED1));
}

static bool host_cr3(struct x86_vcpu *v, const struct vmcs *m)
{
	return m->host_cr3 >> v->cpu.maxphyaddr;
}

static bool host_cr4(struct x86_vcpu *v, const struct vmcs *m)
{
	return (vmx_cap(v, CAP_CR4_FIXED0) & ~m->host_cr4) || (m->host_cr4 & ~vmx_cap(v, CAP_CR4_FIXED1));
}

static bool host_mode(struct x86_vcpu *v, const struct vmcs *m)
{
	if (m->exit_controls & EXIT_HOST_64)
		return !(m->host_cr4 & CR4_PAE);
	return (m->entry_controls & ENTRY_GUEST_64) || (m->host_cr4 & CR4_PCIDE) || m->host_rip >> 32;
}

static bool host_addresses(struct x86_vcpu *v, const struct vmcs *m)
{
	const uint64_t all[] = { m->host_sysenter_esp, m->host_sysenter_eip, m->host_fs_base, m->host_gs_base,
				 m->host_gdtr_base, m->host_idtr_base, m->host_tr_base, m->host_rip };

	for (unsigned int n = 0; n < ARRAY_SIZE(all); n++)
		if (vmx_not_canonical(v, all[n]))
			return true;
	return false;
}

static bool host_pat(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->exit_controls & EXIT_LOAD_PAT) && !x86_pat_valid(m->host_pat);
}

static bool host_perf(struct x86_vcpu *v, const struct vmcs *m)
{
	return (m->exit_controls & EXIT_LOAD_PERF) && !x86_pmu_valid_global(v, m->host_perf_global);
}

static bool host_efer(struct x86_vcpu *v, const struct vmcs *m)
{
	uint64_t both = m->exit_controls & EXIT_HOST_64 ? EFER_LMA | EFER_LME : 0;

	return (m->exit_controls & EXIT_LOAD_EFER) &&
	       (!x86_valid_efer(&v->cpu, m->host_efer) || (m->host_efer & (EFER_LMA | EFER_LME)) != both);
}

static bool host_selectors(struct x86_vcpu *v, const struct vmcs *m)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(m->host_selector); n++)
		if (m->host_selector[n] & 7)
			return true;
	return !m->host_selector[SEG_CS] || !m->host_selector[VMCS_HOST_TR] ||
	       (!m->host_selector[SEG_SS] && !(m->exit_controls & EXIT_HOST_64));
}

static wrong_fn *const host[] = {
	host_size, host_cr0, host_cr4, host_cr3, host_mode, host_addresses, host_pat, host_perf, host_efer, host_selectors,
};

enum vmx_error vmx_check_host(struct x86_vcpu *v)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(host); n++)
		if (host[n](v, &v->vmx->m))
			return ERROR_HOST_STATE;
	return 0;
}
