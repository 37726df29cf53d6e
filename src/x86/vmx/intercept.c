// SPDX-License-Identifier: MIT
/* What L1 wants to hear of: controls, masks and bitmaps, and the exits that follow.  SDM 3C, chapter 25. */
#include "x86/cpu/control.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/task.h"
#include "x86/mmu/mmu.h"
#include "x86/cpu/exception.h"
#include "x86/vmx/vmx.h"

/* --- instructions: the controls that ask for each; 25.1 ------------------------------------------------------- */

enum { ALWAYS, PROC, PROC2, EXCEPTIONS };

static const struct {
	uint8_t icpt, word;
	uint8_t reason;
	uint32_t controls;              /* any of them */
} exits[] = {
	{ ICPT_CPUID, ALWAYS, REASON_CPUID, 0 }, { ICPT_INVD, ALWAYS, REASON_INVD, 0 },
	{ ICPT_XSETBV, ALWAYS, REASON_XSETBV, 0 }, { ICPT_HYPERCALL, ALWAYS, REASON_VMCALL, 0 },
	{ ICPT_TASK_SWITCH, ALWAYS, REASON_TASK_SWITCH, 0 }, { ICPT_MSR, ALWAYS, 0, 0 },
	{ ICPT_ICEBP, EXCEPTIONS, REASON_EXCEPTION, 1u << X86_DB }, { ICPT_HLT, PROC, REASON_HLT, PROC_HLT },
	{ ICPT_INVLPG, PROC, REASON_INVLPG, PROC_INVLPG },
	{ ICPT_RDPMC, PROC, REASON_RDPMC, PROC_RDPMC }, { ICPT_RDTSC, PROC, REASON_RDTSC, PROC_RDTSC },
	{ ICPT_RDTSCP, PROC, REASON_RDTSCP, PROC_RDTSC }, { ICPT_MWAIT, PROC, REASON_MWAIT, PROC_MWAIT },
	{ ICPT_MONITOR, PROC, REASON_MONITOR, PROC_MONITOR }, { ICPT_PAUSE, PROC, REASON_PAUSE, PROC_PAUSE },
	{ ICPT_INVPCID, PROC, REASON_INVPCID, PROC_INVLPG }, { ICPT_DR, PROC, REASON_DR, PROC_MOV_DR },
	{ ICPT_IO, PROC, REASON_IO, PROC_IO | PROC_IO_BITMAPS },
	{ ICPT_CR_READ, PROC, REASON_CR, PROC_CR3_STORE | PROC_CR8_STORE },
	{ ICPT_CR_WRITE, PROC, REASON_CR, PROC_CR3_LOAD | PROC_CR8_LOAD },
	{ ICPT_PAUSE, PROC2, REASON_PAUSE, PROC2_PAUSE_LOOP }, { ICPT_WBINVD, PROC2, REASON_WBINVD, PROC2_WBINVD },
	{ ICPT_RDRAND, PROC2, REASON_RDRAND, PROC2_RDRAND },
	{ ICPT_RDSEED, PROC2, REASON_RDSEED, PROC2_RDSEED }, { ICPT_LGDT, PROC2, REASON_GDT_IDT, PROC2_DESCRIPTORS },
	{ ICPT_LIDT, PROC2, REASON_GDT_IDT, PROC2_DESCRIPTORS }, { ICPT_SGDT, PROC2, REASON_GDT_IDT, PROC2_DESCRIPTORS },
	{ ICPT_SIDT, PROC2, REASON_GDT_IDT, PROC2_DESCRIPTORS }, { ICPT_LLDT, PROC2, REASON_LDT_TR, PROC2_DESCRIPTORS },
	{ ICPT_LTR, PROC2, REASON_LDT_TR, PROC2_DESCRIPTORS }, { ICPT_SLDT, PROC2, REASON_LDT_TR, PROC2_DESCRIPTORS },
	{ ICPT_STR, PROC2, REASON_LDT_TR, PROC2_DESCRIPTORS },
};

/* Instructions that L2 has only where a secondary control is set; else #UD.  25.3. */
static const struct {
	uint8_t icpt;
	uint32_t control;
} enabled[] = {
	{ ICPT_RDTSCP, PROC2_RDTSCP }, { ICPT_RDPID, PROC2_RDTSCP }, { ICPT_INVPCID, PROC2_INVPCID },
	{ ICPT_XSAVES, PROC2_XSAVES }, { ICPT_XRSTORS, PROC2_XSAVES },
};

static void set(uint64_t *icpt, unsigned int which)
{
	icpt[which / 64] |= 1ULL << (which % 64);
}

static bool asked(const struct x86_vmx *x, unsigned int row)
{
	if (exits[row].word == ALWAYS)
		return true;
	if (exits[row].word == EXCEPTIONS)
		return x->m.exceptions & exits[row].controls;
	return exits[row].word == PROC ? vmx_proc(x, exits[row].controls) : vmx_proc2(x, exits[row].controls);
}

#define TSC_MULTIPLIER_FRAC 48          /* bits of fraction; 25.3 */

static void set_masks(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	struct x86_nested *n = &v->cpu.nested;

	n->cr0_mask = m->cr0_mask;
	n->cr0_shadow = m->cr0_shadow;
	n->cr4_mask = m->cr4_mask;
	n->cr4_shadow = m->cr4_shadow;
	n->cr0_fixed = vmx_cap(v, CAP_CR0_FIXED0) & ~(vmx_proc2(v->vmx, PROC2_UNRESTRICTED) ? CR0_PE | CR0_PG : 0);
	n->cr4_fixed = vmx_cap(v, CAP_CR4_FIXED0);
	n->tsc_offset = m->proc & PROC_TSC_OFFSET ? m->tsc_offset : 0;
	n->tsc_mul = m->tsc_multiplier;
	n->tsc_shift = (m->proc & PROC_TSC_OFFSET) && vmx_proc2(v->vmx, PROC2_TSC_SCALING) ? TSC_MULTIPLIER_FRAC : 0;
	n->monitor_trap = m->proc & PROC_MONITOR_TRAP;
	n->iret_keeps_nmis = (m->pin & (PIN_NMI | PIN_VIRTUAL_NMI)) == PIN_NMI;
}

static void find_asked(struct x86_vmx *x)
{
	x->asked = (struct vmx_asked){ x->m.proc, x->m.proc2, x->m.exceptions, true, { 0 } };
	for (unsigned int n = 0; n < ARRAY_SIZE(exits); n++)
		if (asked(x, n))
			set(x->asked.icpt, exits[n].icpt);
	for (unsigned int n = 0; n < ARRAY_SIZE(enabled); n++)
		if (!vmx_proc2(x, enabled[n].control))
			set(x->asked.icpt, enabled[n].icpt);
}

void vmx_set_intercepts(struct x86_vcpu *v)
{
	const struct vmcs *m = &v->vmx->m;
	const struct vmx_asked *k = &v->vmx->asked;
	struct x86_nested *nested = &v->cpu.nested;

	if (!k->known || k->proc != m->proc || k->proc2 != m->proc2 || k->exceptions != m->exceptions)
		find_asked(v->vmx);
	for (unsigned int n = 0; n < X86_ICPT_WORDS; n++)
		nested->icpt[n] = k->icpt[n];
	set_masks(v);
	if (nested->cr0_mask | nested->cr4_mask)
		set(nested->icpt, ICPT_CR_WRITE);
}

/* --- bitmaps; 24.6.4, 24.6.9 -------------------------------------------------------------------------------------- */

/* A bitmap that is not there exits. */
static bool map_bit(struct x86_vcpu *v, gpa_t map, uint32_t bit)
{
	uint8_t byte;

	return x86_guest_read(v, map + bit / 8, &byte, 1) || (byte >> (bit % 8) & 1);
}

static bool port_exits(struct x86_vcpu *v, uint64_t info)
{
	const struct vmcs *m = &v->vmx->m;

	if (!vmx_proc(v->vmx, PROC_IO_BITMAPS))
		return true;
	for (uint32_t port = ICPT_IO_PORT(info); port < ICPT_IO_PORT(info) + ICPT_IO_SIZE(info); port++)
		if (port > 0xffff || map_bit(v, m->io_bitmap[port >> 15], port & 0x7fff))
			return true;
	return false;
}

static bool msr_bit(struct x86_vcpu *v, uint32_t bit)
{
	const struct x86_vmx *x = v->vmx;

	return x->msr_map_kept ? x->msr_map[bit / 8] >> bit % 8 & 1 : map_bit(v, x->m.msr_bitmap, bit);
}

/* Reads of 0 and up, of 0xc0000000 and up, then writes of both: 1 KiB each. */
static bool msr_exits(struct x86_vcpu *v, uint32_t index, bool write)
{
	static const uint32_t range[] = { 0, 0xc0000000 };

	if (!vmx_proc(v->vmx, PROC_MSR_BITMAPS))
		return true;
	for (unsigned int n = 0; n < ARRAY_SIZE(range); n++)
		if (index - range[n] < 0x2000)
			return msr_bit(v, (n + 2u * write) * 0x2000 + (index - range[n]));
	return true;
}

/* --- exits of instructions; qualifications of 27.2.1 ----------------------------------------------------------- */

static void cr_read(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	unsigned int n = info & 15;

	if ((n == 3 && vmx_proc(v->vmx, PROC_CR3_STORE)) || (n == 8 && vmx_proc(v->vmx, PROC_CR8_STORE)))
		vmx_exit_insn(v, i, REASON_CR, n | 1u << 4 | (info >> 8 & 15) << 8);
}

static void dr_access(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	bool write = info >> 16 & 1;

	vmx_exit_insn(v, i, REASON_DR, (info & 7) | (write ? 0 : 1u << 4) | (info >> 8 & 15) << 8);
}

static uint64_t string_address(const struct x86_cpu *cpu, const struct insn *i, bool in)
{
	uint64_t offset = cpu->regs[in ? R_RDI : R_RSI];

	if (i->ea_flags & EA_ADDR16 || (cpu->mode == CODE16 && !(i->ea_flags & EA_ADDR32)))
		offset = (uint16_t)offset;
	else if (i->ea_flags & EA_ADDR32 || cpu->mode != CODE64)
		offset = (uint32_t)offset;
	return offset + (in ? cpu->mode == CODE64 ? 0 : cpu->regs[R_SEGBASE + SEG_ES] : cpu->regs[i->segbase]);
}

static void port_access(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	bool in = info & ICPT_IO_IN, string = info & ICPT_IO_STRING;

	if (!port_exits(v, info))
		return;
	vmx_exit(v, &(const struct vmx_exit){
		.reason = REASON_IO, .insn_len = i->len,
		.qualification = (ICPT_IO_SIZE(info) - 1) | (in ? 1u << 3 : 0) | (string ? 1u << 4 : 0) |
				 (info & ICPT_IO_REP ? 1u << 5 : 0) | (info & ICPT_IO_IMM ? 1u << 6 : 0) |
				 (uint64_t)ICPT_IO_PORT(info) << 16,
		.insn_info = string ? vmx_io_info(&v->cpu, i) : 0,
		.has_linear = string, .linear = string ? string_address(&v->cpu, i, in) : 0,
	});
}

static void msr_access(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	if (msr_exits(v, (uint32_t)v->cpu.regs[R_RCX], info))
		vmx_exit_insn(v, i, info ? REASON_WRMSR : REASON_RDMSR, 0);
}

static void task_switch(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	static const uint8_t source[] = { [TASK_CALL] = 0, [TASK_IRET] = 1, [TASK_JMP] = 2, [TASK_GATE] = 3 };
	unsigned int reason = info >> 16 & 0xff;
	const struct x86_cpu *cpu = &v->cpu;

	vmx_exit(v, &(const struct vmx_exit){
		.reason = REASON_TASK_SWITCH, .qualification = (uint16_t)info | (uint64_t)source[reason] << 30,
		.insn_len = reason == TASK_GATE ? cpu->delivering.insn_len : i->len,
	});
}

/* INT1: the #DB that it is by its own name. */
static void int1(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	vmx_exit(v, &(const struct vmx_exit){
		.reason = REASON_EXCEPTION, .event = X86_DB | EVT_INT1 << EVT_TYPE_SHIFT | EVT_VALID, .insn_len = i->len,
	});
}

static void invlpg(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	vmx_exit_insn(v, i, REASON_INVLPG, ea_offset(&v->cpu, i) + v->cpu.regs[i->segbase]);
}

static void pause_insn(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	if (vmx_proc(v->vmx, PROC_PAUSE) || (!v->cpu.cpl && vmx_pause_loops(v)))
		vmx_exit_insn(v, i, REASON_PAUSE, 0);
}

static void with_operand(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t reason)
{
	vmx_exit(v, &(const struct vmx_exit){
		.reason = (uint32_t)reason, .insn_len = i->len, .insn_info = vmx_insn_info(&v->cpu, i, which),
		.qualification = i->memsize ? vmx_displacement(&v->cpu, i) : 0,
	});
}

static void (*const special[ICPT_COUNT])(struct x86_vcpu *v, const struct insn *i, enum x86_icpt which, uint64_t info) = {
	[ICPT_CR_READ] = cr_read, [ICPT_DR] = dr_access, [ICPT_IO] = port_access, [ICPT_MSR] = msr_access,
	[ICPT_TASK_SWITCH] = task_switch, [ICPT_ICEBP] = int1, [ICPT_INVLPG] = invlpg, [ICPT_PAUSE] = pause_insn,
};

static bool has_operand(enum x86_icpt which)
{
	return which == ICPT_RDRAND || which == ICPT_RDSEED || which == ICPT_INVPCID ||
	       (which >= ICPT_LGDT && which <= ICPT_STR);
}

static void check_enabled(struct x86_vcpu *v, enum x86_icpt which)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(enabled); n++)
		if (enabled[n].icpt == which && !vmx_proc2(v->vmx, enabled[n].control))
			x86_raise(&v->cpu, X86_UD);
}

void vmx_insn(struct x86_cpu *cpu, const struct insn *i, enum x86_icpt which, uint64_t info)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	/* What the decoder has planted before an instruction has no length. */
	while (!i->len && i != &x86_no_insn)
		i++;
	check_enabled(v, which);
	if (which == ICPT_HYPERCALL && hv_takes_l2_call(v))
		return;
	if (special[which]) {
		special[which](v, i, which, info);
		return;
	}
	for (unsigned int n = 0; n < ARRAY_SIZE(exits); n++) {
		if (exits[n].icpt != which || !asked(v->vmx, n))
			continue;
		if (has_operand(which))
			with_operand(v, i, which, exits[n].reason);
		vmx_exit_insn(v, i, exits[n].reason, 0);
	}
}

/* --- control registers; 25.1.3, 25.3 --------------------------------------------------------------------------- */

enum { CR_MOV_TO = 0, CR_CLTS = 2 << 4, CR_LMSW = 3 << 4, CR_LMSW_MEMORY = 1 << 6 };

/* L2 changes what it sees of bits that L1 owns. */
static bool owned_changed(uint64_t value, uint64_t mask, uint64_t shadow)
{
	return (value ^ shadow) & mask;
}

static uint64_t clts(struct x86_vcpu *v, uint64_t value)
{
	const struct vmcs *m = &v->vmx->m;

	if (m->cr0_mask & m->cr0_shadow & CR0_TS)
		vmx_exit_insn(v, v->cpu.cur, REASON_CR, CR_CLTS);
	return m->cr0_mask & CR0_TS ? v->cpu.cr0 : value;
}

/* PE can be set by it and not be cleared. */
static uint64_t lmsw(struct x86_vcpu *v, uint64_t value)
{
	const struct vmcs *m = &v->vmx->m;
	const struct insn *i = v->cpu.cur;
	gva_t at = i->memsize ? ea(&v->cpu, i, 2, false) : 0;
	uint16_t source = i->memsize ? ld16(&v->cpu, at) : reg16(&v->cpu, i->src);
	uint64_t low = CR0_MP | CR0_EM | CR0_TS;
	bool sets_pe = (source & CR0_PE) && (m->cr0_mask & CR0_PE) && !(m->cr0_shadow & CR0_PE);

	if (sets_pe || owned_changed(source & low, m->cr0_mask & low, m->cr0_shadow))
		vmx_exit(v, &(const struct vmx_exit){
			.reason = REASON_CR, .insn_len = i->len, .has_linear = i->memsize, .linear = at,
			.qualification = CR_LMSW | (i->memsize ? CR_LMSW_MEMORY : 0) | (uint64_t)source << 16,
		});
	return (value & ~m->cr0_mask) | (v->cpu.cr0 & m->cr0_mask);
}

uint64_t vmx_cr_write(struct x86_cpu *cpu, unsigned int n, uint64_t value, enum x86_cr_how how, unsigned int gpr)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	const struct vmcs *m = &v->vmx->m;
	uint64_t mask = n == 0 ? m->cr0_mask : n == 4 ? m->cr4_mask : 0;
	uint64_t shadow = n == 0 ? m->cr0_shadow : m->cr4_shadow;
	uint64_t now = n == 0 ? cpu->cr0 : cpu->cr4;

	if (how == X86_CR_CLTS)
		return clts(v, value);
	if (how == X86_CR_LMSW)
		return lmsw(v, value);
	if (owned_changed(value, mask, shadow) || (n == 3 && vmx_proc(v->vmx, PROC_CR3_LOAD)) ||
	    (n == 8 && vmx_proc(v->vmx, PROC_CR8_LOAD)))
		vmx_exit_insn(v, cpu->cur, REASON_CR, n | CR_MOV_TO | (uint64_t)gpr << 8);
	return (value & ~mask) | (now & mask);
}

/* --- what happens to L2 otherwise ------------------------------------------------------------------------------ */

void vmx_triple_fault(struct x86_cpu *cpu)
{
	vmx_exit(x86_vcpu_of_cpu(cpu), &(const struct vmx_exit){ .reason = REASON_TRIPLE_FAULT });
}

/* Table 27-7.  Guest tables that are written to are read as well. */
static uint64_t ept_qualification(const struct x86_slat_fault *f, uint8_t flags)
{
	/* Whether user code may be fetched, only where that differs. */
	unsigned int rights = flags & SLAT_MBEC ? 15 : 7;
	uint64_t access = f->table_write ? 3 : f->table ? 1 : 1u << f->access;

	return access | (uint64_t)(f->rwxu & rights) << 3 | (f->gva_valid ? 1u << 7 | (f->table ? 0 : 1u << 8) : 0);
}

void vmx_slat_fault(struct x86_cpu *cpu)
{
	const struct x86_slat_fault *f = &cpu->nested.fault;
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct vmx_exit e;

	if (f->apic_page)
		vmx_apic_not_data(v, f->gpa, f->table);
	if (f->log_full)
		vmx_exit(v, &(const struct vmx_exit){
			.reason = REASON_PML_FULL, .qualification = vmx_nmi_unblocked(v),
			.has_physical = true, .physical = f->gpa,
		});
	e = (struct vmx_exit){
		.reason = f->misconfig ? REASON_EPT_MISCONFIG : REASON_EPT_VIOLATION,
		.qualification = f->misconfig ? 0 : ept_qualification(f, cpu->nested.slat.flags) | vmx_nmi_unblocked(v),
		.has_physical = true, .physical = f->gpa, .has_linear = f->gva_valid, .linear = f->gva,
		.insn_len = cpu->is_delivering ? cpu->delivering.insn_len : cpu->cur->len,
	};
	if (!f->misconfig)
		vmx_convert_violation(v, &e);
	vmx_exit(v, &e);
}
