// SPDX-License-Identifier: MIT
/* VMFUNC, and the exception that L2 gets in place of an EPT violation.  SDM 3C, 25.5.5 and 25.5.7. */
#include <string.h>

#include "x86/mmu/mmu.h"
#include "x86/vmx/vmx.h"

/* --- VM functions ---------------------------------------------------------------------------------------------- */

#define EPTP_ENTRIES 512

enum { FUNC_EPTP_SWITCHING };

/* false: L1 is to hear of it. */
static bool switch_eptp(struct x86_vcpu *v)
{
	uint32_t index = (uint32_t)v->cpu.regs[R_RCX];
	struct vmcs *m = &v->vmx->m;
	uint64_t eptp;

	if (index >= EPTP_ENTRIES || x86_guest_read(v, m->eptp_list + index * sizeof(eptp), &eptp, sizeof(eptp)) ||
	    !vmx_check_eptp(v, eptp))
		return false;
	m->eptp = eptp;
	if (vmx_proc2(v->vmx, PROC2_VE))
		m->eptp_index = (uint16_t)index;
	vmx_set_ept(v);
	v->cpu.ctx = mmu_select(&v->cpu);
	return true;
}

void vmx_func(struct x86_vcpu *v, const struct insn *i)
{
	uint32_t function = (uint32_t)v->cpu.regs[R_RAX];

	if (!v->cpu.nested.in_guest || !vmx_proc2(v->vmx, PROC2_VMFUNC) || function > 63)
		x86_raise(&v->cpu, X86_UD);
	if (!(v->vmx->m.vmfunc_controls >> function & 1) || function != FUNC_EPTP_SWITCHING || !switch_eptp(v))
		vmx_exit_insn(v, i, REASON_VMFUNC, 0);
}

/* --- virtualization exceptions ------------------------------------------------------------------------------------ */

#define SUPPRESS_VE (1ULL << 63)        /* of the EPT entry that forbids */
#define BUSY 0xffffffffu

/* The area that tells L2 of it; 25.5.7.2. */
struct ve_info {
	uint32_t reason, busy;
	uint64_t qualification, linear, physical;
	uint16_t eptp_index;
} __attribute__((packed));

void vmx_convert_violation(struct x86_vcpu *v, const struct vmx_exit *e)
{
	const struct vmcs *m = &v->vmx->m;
	struct ve_info info;

	if (likely(!vmx_proc2(v->vmx, PROC2_VE)) || (v->cpu.nested.fault.entry & SUPPRESS_VE) || !(v->cpu.cr0 & CR0_PE) ||
	    v->cpu.is_delivering)
		return;
	if (x86_guest_read(v, m->ve_info + offsetof(struct ve_info, busy), &info.busy, sizeof(info.busy)) || info.busy)
		return;
	info = (struct ve_info){
		.reason = e->reason, .busy = BUSY, .qualification = e->qualification, .linear = e->linear,
		.physical = e->physical, .eptp_index = m->eptp_index,
	};
	if (!x86_guest_write(v, m->ve_info, &info, sizeof(info)))
		x86_raise(&v->cpu, X86_VE);
}
