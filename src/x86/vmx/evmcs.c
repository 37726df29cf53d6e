// SPDX-License-Identifier: MIT
/*
 * The enlightened VMCS.  L1 names it in its VP assist page; VM entry reads what
 * has changed of it into the VMCS that we keep, and VM exit writes back what
 * that changes.  TLFS 16.11.
 */
#include "x86/vmx/evmcs.h"

#include <errno.h>
#include <string.h>

#include "kvm/ioctl.h"
#include "x86/mmu/mmu.h"
#include "x86/state/model.h"
#include "x86/state/stats.h"
#include "x86/vmx/vmx.h"

/* Both ways go by this table. */
struct field {
	uint16_t evmcs, vmcs;           /* offsets */
	uint8_t bytes, way;
	uint16_t group;
};

#define ROW(type, name, group, way) \
	{ offsetof(struct evmcs, name), offsetof(struct vmcs, name), sizeof(type), EVMCS_##way, CLEAN_##group },
#define ROWS(type, name, count, group, way) \
	{ offsetof(struct evmcs, name), offsetof(struct vmcs, name), sizeof(type) * (count), EVMCS_##way, CLEAN_##group },
#define NO_ROW(type, name, count)
static const struct field fields[] = { EVMCS_FIELDS(ROW, ROWS, NO_ROW) };

#define CHECK(type, name, ...) \
	static_assert(sizeof(((struct evmcs *)0)->name) == sizeof(((struct vmcs *)0)->name), "the same field");
EVMCS_FIELDS(CHECK, CHECK, NO_ROW)

/* --- what there is of it --------------------------------------------------------------------- */

/* Controls whose fields it has not got, and TSC scaling; as KVM. */
static const struct {
	uint8_t cap, true_cap;          /* enum vmx_cap: where they are offered */
	uint16_t vmcs;                  /* offset of the control */
	uint32_t missing;
} controls[] = {
	{ CAP_PIN, CAP_TRUE_PIN, offsetof(struct vmcs, pin), PIN_POSTED | PIN_TIMER },
	{ CAP_PROC2, CAP_PROC2, offsetof(struct vmcs, proc2),
	  PROC2_VIRTUAL_INTR | PROC2_APIC_ACCESS | PROC2_APIC_REGS | PROC2_PML | PROC2_VMFUNC | PROC2_SHADOW_VMCS |
	  PROC2_TSC_SCALING | PROC2_PAUSE_LOOP },
	{ CAP_EXIT, CAP_TRUE_EXIT, offsetof(struct vmcs, exit_controls), EXIT_SAVE_TIMER },
};

bool vmx_evmcs_offered(const struct x86_vcpu *v)
{
	return v->vmx && v->vmx->evmcs_enabled && v->hv.enabled;
}

uint64_t vmx_evmcs_cap(enum vmx_cap cap, uint64_t value)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(controls); n++)
		if (controls[n].cap == cap || controls[n].true_cap == cap)
			return value & ~((uint64_t)controls[n].missing << 32);
	return cap == CAP_VMFUNC ? 0 : value;
}

bool vmx_evmcs_unsupported(const struct x86_vcpu *v)
{
	uint32_t control;

	for (unsigned int n = 0; n < ARRAY_SIZE(controls) && vmx_evmcs_offered(v); n++) {
		memcpy(&control, v->vmx->page + controls[n].vmcs, sizeof(control));
		if (control & controls[n].missing)
			return true;
	}
	return false;
}

int vmx_enable_evmcs(struct vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);
	const uint16_t versions = EVMCS_VERSIONS;

	if (!v->vmx)
		return -ENOTTY;
	v->vmx->evmcs_enabled = true;
	return kvm_copy_out(cap->args[0], &versions, sizeof(versions)) ? -EFAULT : 0;
}

uint16_t vmx_evmcs_supported(void)
{
	struct x86_model m;

	x86_model_get(&m);
	return x86_model_has(&m, X86_F_VMX) ? EVMCS_VERSIONS : 0;
}

uint16_t vmx_evmcs_versions(const struct x86_vcpu *v)
{
	return v->vmx && v->vmx->evmcs_enabled ? EVMCS_VERSIONS : 0;
}

/* --- in and out ------------------------------------------------------------------------------ */

/* In x86_vmx.evmcs: restored, with the page that names it perhaps not there yet. */
#define EXPECTED (VMX_NONE - 1)

static gpa_t named(struct x86_vcpu *v)
{
	struct hv_assist a;

	if (!vmx_evmcs_offered(v) || !hv_read_assist(v, &a) || !a.enlighten_entry || a.nested_vmcs == VMX_NONE)
		return VMX_NONE;
	return a.nested_vmcs & GUEST_PAGE_MASK;
}

static void take(struct x86_vmx *x, const struct evmcs *e, uint32_t clean)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(fields); n++) {
		const struct field *f = &fields[n];

		if ((f->way & EVMCS_IN) && (!f->group || (clean & f->group) != f->group))
			memcpy(x->page + f->vmcs, (const uint8_t *)e + f->evmcs, f->bytes);
	}
}

/* As with KVM, which has one map for one VMCS, kept where L1 says that it is as it was. */
static void keep_msr_map(struct x86_vcpu *v, const struct evmcs *e, uint32_t clean)
{
	struct x86_vmx *x = v->vmx;
	bool keep = (e->enlightenments[0] & EVMCS_MSR_BITMAP) && vmx_proc(x, PROC_MSR_BITMAPS);

	if (keep && x->msr_map_kept && (clean & CLEAN_MSR_BITMAP)) {
		x86_stat_inc(v->vcpu, X86_STAT_HV_MSR_MAPS_KEPT);
		return;
	}
	/* What cannot be read stays in memory, where it intercepts. */
	x->msr_map_kept = keep && !x86_guest_read(v, x->m.msr_bitmap, x->msr_map, sizeof(x->msr_map));
}

static bool acceptable(uint32_t revision)
{
	return revision == EVMCS_VERSION || revision == VMCS_REVISION;
}

void vmx_evmcs_expect(struct x86_vcpu *v)
{
	v->vmx->evmcs = EXPECTED;
}

static void describe(struct x86_vmx *x, const struct evmcs *e)
{
	x->l2 = (struct hv_l2){
		.vm = e->vm_id[0], .vp = e->vp_id[0], .direct_flush = e->enlightenments[0] & EVMCS_DIRECT_FLUSH,
		.partition_assist = e->partition_assist[0],
	};
}

/* What VM entry would have read of it is read now. */
static void find_expected(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	struct evmcs e;

	if (likely(x->evmcs != EXPECTED))
		return;
	x->evmcs = named(v);
	if (x->evmcs != VMX_NONE && !x86_guest_read(v, x->evmcs, &e, sizeof(e)))
		describe(x, &e);
}

enum vmx_evmcs vmx_evmcs_load(struct x86_vcpu *v, bool launch)
{
	struct x86_vmx *x = v->vmx;
	gpa_t at = named(v);
	struct evmcs e;
	bool other;

	find_expected(v);
	other = at != x->evmcs;
	if (at == VMX_NONE) {
		vmx_evmcs_release(v);
		return EVMCS_UNUSED;
	}
	if (x86_guest_read(v, at, &e, sizeof(e))) {
		vmx_evmcs_release(v);
		return EVMCS_MISSING;
	}
	if (!acceptable(e.revision)) {
		vmx_evmcs_release(v);
		return EVMCS_BAD;
	}
	if (other)
		vmx_release(v);
	x->evmcs = at;
	/* Fields that it has not got are zero. */
	if (other && launch) {
		memset(x->page, 0, sizeof(x->page));
		x->m.revision = VMCS_REVISION;
	}
	if (launch || other)
		e.clean_fields[0] = 0;
	take(x, &e, e.clean_fields[0]);
	describe(x, &e);
	keep_msr_map(v, &e, e.clean_fields[0]);
	/* VMLAUNCH or VMRESUME, whichever: there is no such state. */
	x->m.launched = !launch;
	return EVMCS_READY;
}

void vmx_evmcs_entered(struct x86_vcpu *v)
{
	const uint32_t clean = CLEAN_ALL;

	if (v->vmx->evmcs == VMX_NONE)
		return;
	(void)!x86_guest_write(v, v->vmx->evmcs + offsetof(struct evmcs, clean_fields), &clean, sizeof(clean));
	hv_note_l2(v);
	x86_stat_inc(v->vcpu, X86_STAT_HV_EVMCS_ENTRIES);
}

bool vmx_describe_l2(struct x86_vcpu *v, struct hv_l2 *l2)
{
	find_expected(v);
	*l2 = v->vmx->l2;
	return v->vmx->evmcs != VMX_NONE;
}

/* L1 may be at work on the rest; where there is no memory any more there is nobody to tell. */
void vmx_evmcs_store(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	struct phys_part part[ARRAY_SIZE(fields)];
	unsigned int count = 0;
	struct evmcs e;

	find_expected(v);
	if (x->evmcs == VMX_NONE)
		return;
	for (unsigned int n = 0; n < ARRAY_SIZE(fields); n++) {
		const struct field *f = &fields[n];

		if (!(f->way & EVMCS_OUT))
			continue;
		memcpy((uint8_t *)&e + f->evmcs, x->page + f->vmcs, f->bytes);
		if (count && part[count - 1].at + part[count - 1].size == f->evmcs)
			part[count - 1].size += f->bytes;
		else
			part[count++] = (struct phys_part){ f->evmcs, f->bytes };
	}
	(void)!x86_guest_write_parts(v, x->evmcs, &e, part, count);
}

/* L1 may have changed the rest since the last exit. */
void vmx_evmcs_store_error(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;

	find_expected(v);
	if (x->evmcs != VMX_NONE)
		(void)!x86_guest_write(v, x->evmcs + offsetof(struct evmcs, insn_error), &x->m.insn_error,
				       sizeof(x->m.insn_error));
}

void vmx_evmcs_refresh(struct x86_vcpu *v)
{
	struct evmcs e;

	find_expected(v);
	/* L1 need not keep the clean fields up to date until its next entry. */
	if (v->vmx->evmcs != VMX_NONE && !x86_guest_read(v, v->vmx->evmcs, &e, sizeof(e)))
		take(v->vmx, &e, 0);
}

void vmx_evmcs_release(struct x86_vcpu *v)
{
	v->vmx->evmcs = VMX_NONE;
	v->vmx->msr_map_kept = false;
	v->vmx->l2 = (struct hv_l2){ 0 };
}

bool vmx_evmcs_clear(struct x86_vcpu *v, gpa_t region)
{
	if (named(v) == VMX_NONE)
		return false;
	if (region == v->vmx->evmcs)
		vmx_evmcs_release(v);
	return true;
}

/* The row that has this byte of struct vmcs, or NULL. */
static const struct field *row_of(int offset)
{
	for (unsigned int n = 0; n < ARRAY_SIZE(fields); n++)
		if (offset >= fields[n].vmcs && offset < fields[n].vmcs + fields[n].bytes)
			return &fields[n];
	return NULL;
}

bool vmx_evmcs_has(int offset)
{
	return row_of(offset);
}

bool vmx_evmcs_read(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value)
{
	const struct field *f = row_of(offset);
	struct vmcs m;

	find_expected(v);
	if (!f || x86_guest_read(v, v->vmx->evmcs + f->evmcs, (uint8_t *)&m + f->vmcs, f->bytes))
		return false;
	*value = vmcs_read(&m, encoding, offset);
	return true;
}
