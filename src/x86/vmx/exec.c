// SPDX-License-Identifier: MIT
/* The instructions of VMX but VM entry.  SDM 3C, chapter 31. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/cpu/control.h"
#include "x86/cpu/mem.h"
#include "x86/mmu/mmu.h"
#include "x86/vmx/check.h"

#define FEAT_CTL_VMX (1ULL << 0 | 1ULL << 2)    /* locked, VMX outside SMX */

/* --- how they end; SDM 3C, 31.2 --------------------------------------------------------------------------- */

static void set_flags(struct x86_vcpu *v, uint64_t flags)
{
	v->cpu.fl = fl_from_rflags(flags);
}

void vmx_succeed(struct x86_vcpu *v)
{
	set_flags(v, 0);
}

void vmx_fail_invalid(struct x86_vcpu *v)
{
	set_flags(v, FL_CF);
}

void vmx_fail(struct x86_vcpu *v, enum vmx_error error)
{
	if (!vmx_has_vmcs(v->vmx)) {
		vmx_fail_invalid(v);
		return;
	}
	v->vmx->m.insn_error = error;
	vmx_evmcs_store_error(v);
	set_flags(v, FL_ZF);
}

/* --- regions of memory -------------------------------------------------------------------------------------- */

static gpa_t operand(struct x86_vcpu *v, const struct insn *i)
{
	return ld64(&v->cpu, ea(&v->cpu, i, 8, false));
}

/* The current VMCS back to memory, where there is none any more for nobody to find. */
void vmx_release(struct x86_vcpu *v)
{
	if (v->vmx->current != VMX_NONE)
		(void)!x86_guest_write(v, v->vmx->current, v->vmx->page, VMCS_SIZE);
	v->vmx->current = VMX_NONE;
}

void vmx_set_operation(struct x86_vcpu *v, bool on)
{
	v->vmx->on = on;
	v->cpu.nested.cr0_fixed = on ? vmx_cap(v, CAP_CR0_FIXED0) : 0;
	v->cpu.nested.cr4_fixed = on ? vmx_cap(v, CAP_CR4_FIXED0) : 0;
}

/* --- VMXON, VMXOFF -------------------------------------------------------------------------------------------- */

/* What a CPU in VMX operation may not have in its control registers; SDM 3C, 23.8. */
static bool cr_wrong(const struct x86_vcpu *v)
{
	uint64_t cr0 = v->cpu.cr0, cr4 = v->cpu.cr4;

	return (vmx_cap(v, CAP_CR0_FIXED0) & ~cr0) || (cr0 & ~vmx_cap(v, CAP_CR0_FIXED1)) ||
	       (vmx_cap(v, CAP_CR4_FIXED0) & ~cr4) || (cr4 & ~vmx_cap(v, CAP_CR4_FIXED1));
}

static void vmxon(struct x86_vcpu *v, const struct insn *i)
{
	uint32_t revision = 0;
	gpa_t region;

	if (v->vmx->on) {
		vmx_fail(v, ERROR_VMXON_IN_ROOT);
		return;
	}
	if (cr_wrong(v) || (v->msr.feat_ctl & FEAT_CTL_VMX) != FEAT_CTL_VMX)
		x86_raise_ec(&v->cpu, X86_GP, 0);
	region = operand(v, i);
	if (vmx_bad_page(v, region) || x86_guest_read(v, region, &revision, sizeof(revision)) ||
	    revision != VMCS_REVISION) {
		vmx_fail_invalid(v);
		return;
	}
	v->vmx->vmxon = region;
	v->vmx->current = VMX_NONE;
	vmx_set_operation(v, true);
	vmx_succeed(v);
}

static void vmxoff(struct x86_vcpu *v, const struct insn *i)
{
	vmx_release(v);
	vmx_evmcs_release(v);
	vmx_set_operation(v, false);
	/* An INIT that was held back. */
	x86_request(&v->cpu, X86_REQ_EVENT);
	vmx_succeed(v);
}

/* --- VMCLEAR, VMPTRLD, VMPTRST ------------------------------------------------------------------------------------ */

static void vmclear(struct x86_vcpu *v, const struct insn *i)
{
	gpa_t region = operand(v, i);
	const uint32_t clear = 0;

	if (vmx_bad_page(v, region)) {
		vmx_fail(v, ERROR_VMCLEAR_ADDRESS);
		return;
	}
	if (region == v->vmx->vmxon) {
		vmx_fail(v, ERROR_VMCLEAR_VMXON);
		return;
	}
	if (vmx_evmcs_clear(v, region)) {
		vmx_succeed(v);
		return;
	}
	if (region == v->vmx->current)
		vmx_release(v);
	(void)!x86_guest_write(v, region + offsetof(struct vmcs, launched), &clear, sizeof(clear));
	vmx_succeed(v);
}

static bool may_load(const struct x86_vcpu *v, uint32_t revision)
{
	bool shadows = vmx_cap(v, CAP_PROC2) >> 32 & PROC2_SHADOW_VMCS;

	return (revision & ~(shadows ? VMCS_SHADOW : 0)) == VMCS_REVISION;
}

static void vmptrld(struct x86_vcpu *v, const struct insn *i)
{
	gpa_t region = operand(v, i);
	uint32_t revision = 0;

	if (vmx_bad_page(v, region)) {
		vmx_fail(v, ERROR_VMPTRLD_ADDRESS);
		return;
	}
	if (region == v->vmx->vmxon) {
		vmx_fail(v, ERROR_VMPTRLD_VMXON);
		return;
	}
	/* Not beside an enlightened one. */
	if (v->vmx->evmcs != VMX_NONE) {
		vmx_fail_invalid(v);
		return;
	}
	if (region != v->vmx->current) {
		if (x86_guest_read(v, region, &revision, sizeof(revision)) || !may_load(v, revision)) {
			vmx_fail(v, ERROR_VMPTRLD_REVISION);
			return;
		}
		vmx_release(v);
		if (x86_guest_read(v, region, v->vmx->page, VMCS_SIZE)) {
			vmx_fail(v, ERROR_VMPTRLD_REVISION);
			return;
		}
		v->vmx->current = region;
	}
	vmx_succeed(v);
}

static void vmptrst(struct x86_vcpu *v, const struct insn *i)
{
	st64(&v->cpu, ea(&v->cpu, i, 8, true), v->vmx->current);
	vmx_succeed(v);
}

/* --- VMREAD, VMWRITE ------------------------------------------------------------------------------------------- */

static uint64_t gpr(const struct x86_cpu *cpu, uint8_t n)
{
	return cpu->mode == CODE64 ? cpu->regs[n] : (uint32_t)cpu->regs[n];
}

/* L2's are of the VMCS that L1 has linked to its own. */
static bool none_current(const struct x86_vcpu *v)
{
	return v->cpu.nested.in_guest ? v->vmx->m.link == VMX_NONE : !vmx_has_vmcs(v->vmx);
}

/* L1's, which it can read by VMREAD, as with KVM, and not write. */
static bool is_enlightened(const struct x86_vcpu *v)
{
	return !v->cpu.nested.in_guest && v->vmx->evmcs != VMX_NONE;
}

static bool read_field(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value)
{
	if (v->cpu.nested.in_guest)
		return vmx_shadow_read(v, encoding, offset, value);
	if (is_enlightened(v))
		return vmx_evmcs_read(v, encoding, offset, value);
	*value = vmcs_read(&v->vmx->m, encoding, offset);
	return true;
}

static bool write_field(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t value)
{
	if (v->cpu.nested.in_guest)
		return vmx_shadow_write(v, encoding, offset, value);
	vmcs_write(&v->vmx->m, encoding, offset, value);
	return true;
}

/* The field that the instruction names, or -1: it has failed. */
static int field(struct x86_vcpu *v, const struct insn *i)
{
	int offset;

	if (none_current(v)) {
		vmx_fail_invalid(v);
		return -1;
	}
	offset = vmcs_offset(gpr(&v->cpu, i->src));
	if (offset >= 0 && is_enlightened(v) && !vmx_evmcs_has(offset))
		offset = -1;
	if (offset < 0)
		vmx_fail(v, ERROR_NO_FIELD);
	return offset;
}

static void vmread(struct x86_vcpu *v, const struct insn *i)
{
	int offset = field(v, i);
	struct x86_cpu *cpu = &v->cpu;
	uint64_t value;

	if (offset < 0)
		return;
	if (!read_field(v, (uint32_t)cpu->regs[i->src], offset, &value)) {
		vmx_fail_invalid(v);
		return;
	}
	if (!i->memsize)
		cpu->regs[i->dst] = cpu->mode == CODE64 ? value : (uint32_t)value;
	else if (cpu->mode == CODE64)
		st64(cpu, ea(cpu, i, 8, true), value);
	else
		st32(cpu, ea(cpu, i, 4, true), (uint32_t)value);
	vmx_succeed(v);
}

static uint64_t vmwrite_value(struct x86_cpu *cpu, const struct insn *i)
{
	if (!i->memsize)
		return gpr(cpu, i->dst);
	return cpu->mode == CODE64 ? ld64(cpu, ea(cpu, i, 8, false)) : ld32(cpu, ea(cpu, i, 4, false));
}

#define MISC_WRITES_ALL (1ULL << 29)
#define IS_EXIT_INFORMATION(encoding) (((encoding) >> 10 & 3) == 1)

static void vmwrite(struct x86_vcpu *v, const struct insn *i)
{
	uint32_t encoding = (uint32_t)v->cpu.regs[i->src];
	uint64_t value;
	int offset;

	if (none_current(v) || is_enlightened(v)) {
		vmx_fail_invalid(v);
		return;
	}
	value = vmwrite_value(&v->cpu, i);
	offset = field(v, i);
	if (offset < 0)
		return;
	if (IS_EXIT_INFORMATION(encoding) && !(vmx_cap(v, CAP_MISC) & MISC_WRITES_ALL)) {
		vmx_fail(v, ERROR_READ_ONLY);
		return;
	}
	if (write_field(v, encoding, offset, value))
		vmx_succeed(v);
	else
		vmx_fail_invalid(v);
}

/* --- INVEPT, INVVPID ------------------------------------------------------------------------------------------- */

struct descriptor {
	uint64_t what, address;
};

static void read_descriptor(struct x86_cpu *cpu, const struct insn *i, struct descriptor *d)
{
	mem_read_block(cpu, ea(cpu, i, sizeof(*d), false), d, sizeof(*d));
}

enum { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };

static void invept(struct x86_vcpu *v, const struct insn *i)
{
	uint64_t type = gpr(&v->cpu, i->dst), types = vmx_cap(v, CAP_EPT_VPID) >> 24 & 6;
	struct descriptor d;

	if (!(vmx_cap(v, CAP_PROC2) >> 32 & PROC2_EPT) || !(vmx_cap(v, CAP_EPT_VPID) >> 20 & 1))
		x86_raise(&v->cpu, X86_UD);
	if (type > INVEPT_ALL || !(types >> type & 1)) {
		vmx_fail(v, ERROR_INVALIDATE);
		return;
	}
	read_descriptor(&v->cpu, i, &d);
	if (type == INVEPT_SINGLE && !vmx_check_eptp(v, d.what)) {
		vmx_fail(v, ERROR_INVALIDATE);
		return;
	}
	mmu_flush_eptp(&v->cpu, type == INVEPT_ALL ? ~0ULL : d.what & GUEST_PAGE_MASK);
	vmx_succeed(v);
}

enum { INVVPID_ADDRESS, INVVPID_SINGLE, INVVPID_ALL, INVVPID_NONGLOBAL };

static void invalidate_vpid(struct x86_cpu *cpu, uint64_t type, const struct descriptor *d)
{
	if (type == INVVPID_ADDRESS)
		mmu_flush_tag_page(cpu, (uint16_t)d->what, d->address);
	else if (type == INVVPID_ALL)
		mmu_flush_tags(cpu);
	else
		/* Which entries are global is not kept: they go as well. */
		mmu_flush_tag(cpu, (uint16_t)d->what);
}

static void invvpid(struct x86_vcpu *v, const struct insn *i)
{
	uint64_t type = gpr(&v->cpu, i->dst), types = vmx_cap(v, CAP_EPT_VPID) >> 40 & 15;
	struct descriptor d;

	if (!(vmx_cap(v, CAP_PROC2) >> 32 & PROC2_VPID) || !(vmx_cap(v, CAP_EPT_VPID) >> 32 & 1))
		x86_raise(&v->cpu, X86_UD);
	if (type > INVVPID_NONGLOBAL || !(types >> type & 1)) {
		vmx_fail(v, ERROR_INVALIDATE);
		return;
	}
	read_descriptor(&v->cpu, i, &d);
	if (d.what >> 16 || (type != INVVPID_ALL && !d.what) ||
	    (type == INVVPID_ADDRESS && !x86_canonical_max(&v->cpu, d.address))) {
		vmx_fail(v, ERROR_INVALIDATE);
		return;
	}
	invalidate_vpid(&v->cpu, type, &d);
	vmx_succeed(v);
}

/* --- the table ------------------------------------------------------------------------------------------------- */

static const struct {
	void (*fn)(struct x86_vcpu *v, const struct insn *i);
	uint16_t reason;
} rows[] = {
	[VIRT_VMXON] = { vmxon, REASON_VMXON }, [VIRT_VMXOFF] = { vmxoff, REASON_VMXOFF },
	[VIRT_VMCLEAR] = { vmclear, REASON_VMCLEAR }, [VIRT_VMPTRLD] = { vmptrld, REASON_VMPTRLD },
	[VIRT_VMPTRST] = { vmptrst, REASON_VMPTRST }, [VIRT_VMREAD] = { vmread, REASON_VMREAD },
	[VIRT_VMWRITE] = { vmwrite, REASON_VMWRITE }, [VIRT_VMLAUNCH] = { vmx_launch, REASON_VMLAUNCH },
	[VIRT_VMRESUME] = { vmx_launch, REASON_VMRESUME }, [VIRT_INVEPT] = { invept, REASON_INVEPT },
	[VIRT_INVVPID] = { invvpid, REASON_INVVPID },
};

static void exit_l2(struct x86_vcpu *v, const struct insn *i, uint32_t reason)
{
	vmx_exit(v, &(const struct vmx_exit){
		.reason = reason, .insn_len = i->len, .insn_info = vmx_virt_info(&v->cpu, i),
		.qualification = i->memsize ? vmx_displacement(&v->cpu, i) : 0,
	});
}

/* The checks that come first, whatever the instruction; SDM 3C, 31.3. */
void vmx_exec(struct x86_cpu *cpu, const struct insn *i)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	unsigned int which = i->aux;
	bool on;

	if (which == VIRT_VMFUNC) {
		vmx_func(v, i);
		return;
	}
	on = which == VIRT_VMXON ? cpu->cr4 & CR4_VMXE : v->vmx->on;

	if (which >= ARRAY_SIZE(rows) || !rows[which].fn || !on || !x86_protected(cpu) || x86_vm86(cpu) ||
	    (x86_long_mode(cpu) && cpu->mode != CODE64))
		x86_raise(cpu, X86_UD);
	if (cpu->nested.in_guest && rows[which].reason && !vmx_shadowed(v, i))
		exit_l2(v, i, rows[which].reason);
	if (cpu->cpl && rows[which].reason)
		x86_raise_ec(cpu, X86_GP, 0);
	rows[which].fn(v, i);
}

/* --- a vCPU's -------------------------------------------------------------------------------------------------- */

static const struct x86_nested_ops ops = {
	.insn = vmx_insn, .cr_write = vmx_cr_write, .exception = vmx_exception, .triple_fault = vmx_triple_fault,
	.slat_fault = vmx_slat_fault, .vmexit = vmx_vmexit, .exec = vmx_exec,
	.log_dirty = vmx_log_dirty,
};

int vmx_create(struct x86_vcpu *v)
{
	v->vmx = calloc(1, sizeof(*v->vmx));
	if (!v->vmx)
		return -ENOMEM;
	v->vmx->current = v->vmx->evmcs = VMX_NONE;
	v->cpu.nested.ops = &ops;
	return 0;
}

void vmx_destroy(struct x86_vcpu *v)
{
	free(v->vmx);
	v->vmx = NULL;
}

void vmx_reset(struct x86_vcpu *v)
{
	const struct x86_nested_ops *own = v->cpu.nested.ops;

	if (!v->vmx)
		return;
	v->vmx->on = v->vmx->smm_on = v->vmx->smm_guest = false;
	v->vmx->run_pending = v->vmx->reentered = v->vmx->woken = v->vmx->mtf_due = false;
	v->vmx->after = 0;
	v->vmx->current = VMX_NONE;
	vmx_evmcs_release(v);
	v->cpu.nested = (struct x86_nested){ .ops = own };
}

void vmx_forget(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	if (v->cpu.nested.in_guest)
		vmx_leave_guest(v);
	x->smm_on = x->smm_guest = x->run_pending = false;
	x->current = VMX_NONE;
	vmx_evmcs_release(v);
	vmx_set_operation(v, false);
	mmu_flush_all(&v->cpu);
	x86_update_mode(&v->cpu);
}
