// SPDX-License-Identifier: MIT
/*
 * VMREAD and VMWRITE of L2 that L1 need not hear of: they reach the VMCS that the
 * link pointer names.  SDM 3C, 24.4.2, 24.6.15, 25.1.3 and 30.3.
 *
 * That VMCS stays in memory, where the fields are read and written one by one: there
 * is nothing to bring back at an exit.
 */
#include "x86/cpu/insn.h"
#include "x86/vmx/vmx.h"

#define BITMAP_BITS 0x8000u

/* One bit for each encoding; a bitmap that is not there exits. */
static bool asked(struct x86_vcpu *v, gpa_t bitmap, uint64_t encoding)
{
	uint8_t byte;

	return encoding >= BITMAP_BITS || x86_guest_read(v, bitmap + encoding / 8, &byte, 1) || (byte >> (encoding % 8) & 1);
}

bool vmx_shadowed(struct x86_vcpu *v, const struct insn *i)
{
	const struct vmcs *m = &v->vmx->m;
	const struct x86_cpu *cpu = &v->cpu;
	uint64_t encoding = cpu->mode == CODE64 ? cpu->regs[i->src] : (uint32_t)cpu->regs[i->src];

	if ((i->aux != VIRT_VMREAD && i->aux != VIRT_VMWRITE) || !vmx_proc2(v->vmx, PROC2_SHADOW_VMCS))
		return false;
	return !asked(v, i->aux == VIRT_VMREAD ? m->vmread_bitmap : m->vmwrite_bitmap, encoding);
}

bool vmx_shadow_read(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value)
{
	uint64_t raw = 0;

	if (x86_guest_read(v, v->vmx->m.link + (unsigned int)offset, &raw, vmcs_size(encoding)))
		return false;
	*value = vmcs_get(&raw, encoding);
	return true;
}

bool vmx_shadow_write(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t value)
{
	gpa_t at = v->vmx->m.link + (unsigned int)offset;
	uint64_t raw = 0;

	if (x86_guest_read(v, at, &raw, vmcs_size(encoding)))
		return false;
	vmcs_put(&raw, encoding, value);
	return !x86_guest_write(v, at, &raw, vmcs_size(encoding));
}
