// SPDX-License-Identifier: MIT
/* L2's accesses to its local APIC: to the APIC-access page, 29.4, and by MSRs, 29.5.  SDM 3C. */
#include <string.h>

#include "x86/cpu/insn.h"
#include "x86/state/stats.h"
#include "x86/vmx/apic.h"

/* --- the APIC-access page ------------------------------------------------------------------------------------ */

/* Of the exit qualification; table 27-6. */
enum { TYPE_READ, TYPE_WRITE, TYPE_FETCH, TYPE_EVENT, TYPE_TABLE_EVENT = 10, TYPE_TABLE = 15 };

#define R(offset) (1ULL << ((offset) >> 4))
#define R8(offset) (0xffULL << ((offset) >> 4))
/* Registers that L2 reads and writes with APIC-register virtualization, by offset / 16: 29.4.2, 29.4.3. */
#define BOTH (R(0x20) | R(0x80) | R(0xb0) | R(0xd0) | R(0xe0) | R(0xf0) | R(0x280) | R(0x300) | R(0x310) | R(0x320) | \
	      R(0x330) | R(0x340) | R(0x350) | R(0x360) | R(0x370) | R(0x380) | R(0x3e0))
#define READABLE (BOTH | R(0x30) | R8(0x100) | R8(0x180) | R8(0x200))

static uint64_t virtualized(const struct x86_vmx *x, bool write)
{
	if (!vmx_proc(x, PROC_TPR_SHADOW))
		return 0;
	if (vmx_proc2(x, PROC2_APIC_REGS))
		return write ? BOTH : READABLE;
	return R(VAPIC_TPR) | (write && vmx_proc2(x, PROC2_VIRTUAL_INTR) ? R(VAPIC_EOI) | R(VAPIC_ICR) : 0);
}

/* Within the low 32 bits of a register. */
static bool is_register(unsigned int at, unsigned int len, uint64_t registers)
{
	return len <= 4 && (at & 15) + len <= 4 && at < 0x400 && (registers >> (at >> 4) & 1);
}

static __attribute__((noreturn)) void access_exit(struct x86_vcpu *v, unsigned int at, unsigned int type)
{
	const struct x86_cpu *cpu = &v->cpu;

	if (cpu->is_delivering)
		type = type == TYPE_TABLE ? TYPE_TABLE_EVENT : TYPE_EVENT;
	vmx_exit(v, &(const struct vmx_exit){
		.reason = REASON_APIC_ACCESS, .qualification = at | (uint64_t)type << 12,
		.insn_len = cpu->is_delivering ? cpu->delivering.insn_len : cpu->cur->len,
	});
}

void vmx_apic_not_data(struct x86_vcpu *v, gpa_t gpa, bool table)
{
	access_exit(v, gpa & 0xfff, table ? TYPE_TABLE : TYPE_FETCH);
}

bool vmx_apic_mmio(struct x86_vcpu *v, gpa_t gpa, void *data, unsigned int len, bool write)
{
	uint64_t page = v->cpu.nested.slat.apic_page;
	unsigned int at = gpa & 0xfff;
	gpa_t place;

	if (likely(!page) || ((gpa ^ page) & GUEST_PAGE_MASK))
		return false;
	if (!is_register(at, len, virtualized(v->vmx, write)))
		access_exit(v, at, write ? TYPE_WRITE : TYPE_READ);
	place = v->vmx->m.virtual_apic + at;
	x86_stat_inc(v->vcpu, X86_STAT_VAPIC_ACCESSES);
	if (!write) {
		if (x86_guest_read(v, place, data, len))
			memset(data, 0, len);
		return true;
	}
	(void)!x86_guest_write(v, place, data, len);
	vapic_written(v, at);
	return true;
}

/* --- MSRs 800H to 8FFH ------------------------------------------------------------------------------------------ */

#define MSR_FIRST 0x800u
#define MSR_OF(register) (MSR_FIRST + (register) / 16)

static bool virtualizes(const struct x86_vcpu *v, uint32_t index)
{
	return v->vmx && v->cpu.nested.in_guest && index >> 8 == MSR_FIRST >> 8 && vmx_proc2(v->vmx, PROC2_X2APIC);
}

bool vmx_x2apic_read(struct x86_vcpu *v, uint32_t index, uint64_t *value)
{
	if (likely(!virtualizes(v, index)) || (index != MSR_OF(VAPIC_TPR) && !vmx_proc2(v->vmx, PROC2_APIC_REGS)))
		return false;
	x86_stat_inc(v->vcpu, X86_STAT_VAPIC_ACCESSES);
	if (x86_guest_read(v, v->vmx->m.virtual_apic + (index & 0xff) * 16, value, sizeof(*value)))
		*value = 0;
	return true;
}

static void self_ipi(struct x86_vcpu *v, uint8_t vector)
{
	if (vector >> 4)
		vapic_self_ipi(v, vector);
	else
		vmx_exit_after(v, REASON_APIC_WRITE, VAPIC_SELF_IPI);
}

int vmx_x2apic_write(struct x86_vcpu *v, uint32_t index, uint64_t value)
{
	bool interrupts = vmx_proc2(v->vmx, PROC2_VIRTUAL_INTR), self = index == MSR_OF(VAPIC_SELF_IPI);
	bool ours = index == MSR_OF(VAPIC_TPR) || (interrupts && (self || index == MSR_OF(VAPIC_EOI)));

	if (!ours)
		return -1;
	if (index == MSR_OF(VAPIC_EOI) ? value : value >> 8)
		return 1;
	x86_stat_inc(v->vcpu, X86_STAT_VAPIC_ACCESSES);
	(void)!x86_guest_write(v, v->vmx->m.virtual_apic + (index & 0xff) * 16, &value, sizeof(value));
	if (self)
		self_ipi(v, (uint8_t)value);
	else
		vapic_written(v, (index & 0xff) * 16);
	return 0;
}

bool vmx_x2apic(const struct x86_vcpu *v, uint32_t index)
{
	return unlikely(virtualizes(v, index));
}
