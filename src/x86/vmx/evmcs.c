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
#define NO_PIN (PIN_POSTED | PIN_TIMER)
#define NO_PROC2 (PROC2_VIRTUAL_INTR | PROC2_APIC_ACCESS | PROC2_APIC_REGS | PROC2_PML | PROC2_VMFUNC | \
		  PROC2_SHADOW_VMCS | PROC2_TSC_SCALING | PROC2_PAUSE_LOOP)
#define NO_EXIT EXIT_SAVE_TIMER

bool vmx_evmcs_offered(const struct x86_vcpu *v)
{
	return v->vmx && v->vmx->evmcs_enabled && v->hv.enabled;
}

uint64_t vmx_evmcs_cap(enum vmx_cap cap, uint64_t value)
{
	switch (cap) {
	case CAP_PIN:
	case CAP_TRUE_PIN: return value & ~((uint64_t)NO_PIN << 32);
	case CAP_PROC2: return value & ~((uint64_t)NO_PROC2 << 32);
	case CAP_EXIT:
	case CAP_TRUE_EXIT: return value & ~((uint64_t)NO_EXIT << 32);
	case CAP_VMFUNC: return 0;
	default: return value;
	}
}

bool vmx_evmcs_unsupported(const struct x86_vcpu *v, const struct vmcs *m)
{
	return vmx_evmcs_offered(v) && ((m->pin & NO_PIN) || (m->proc2 & NO_PROC2) || (m->exit_controls & NO_EXIT));
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

/* --- the VP assist page ---------------------------------------------------------------------- */

/* TLFS 7.8.7.1. */
struct assist {
	uint64_t nested_control;
	uint8_t enlighten_entry, reserved[7];
	uint64_t current;
};
#define ASSIST_NESTED 0x20

static bool read_assist(struct x86_vcpu *v, struct assist *a)
{
	uint64_t page = v->hv.vp_assist_page;

	return (page & HV_PAGE_ENABLE) &&
	       !x86_guest_read(v, (page & GUEST_PAGE_MASK) + ASSIST_NESTED, a, sizeof(*a));
}

/* In x86_vmx.evmcs: restored, with the page that names it perhaps not there yet. */
#define EXPECTED (VMX_NONE - 1)

static gpa_t named(struct x86_vcpu *v)
{
	struct assist a;

	if (!vmx_evmcs_offered(v) || !read_assist(v, &a) || !a.enlighten_entry || a.current == VMX_NONE)
		return VMX_NONE;
	return a.current & GUEST_PAGE_MASK;
}

/* --- in and out ------------------------------------------------------------------------------ */

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

static void find_expected(struct x86_vcpu *v)
{
	if (v->vmx->evmcs == EXPECTED)
		v->vmx->evmcs = named(v);
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
	struct evmcs e;

	find_expected(v);
	if (v->vmx->evmcs == VMX_NONE || x86_guest_read(v, v->vmx->evmcs, &e, sizeof(e)))
		return false;
	*l2 = (struct hv_l2){
		.vm = e.vm_id[0], .vp = e.vp_id[0], .direct_flush = e.enlightenments[0] & EVMCS_DIRECT_FLUSH,
		.partition_assist = e.partition_assist[0],
	};
	return true;
}

void vmx_evmcs_store(struct x86_vcpu *v)
{
	struct x86_vmx *x = v->vmx;
	struct evmcs e;

	find_expected(v);
	/* Where there is no memory any more there is nobody to tell. */
	if (x->evmcs == VMX_NONE || x86_guest_read(v, x->evmcs, &e, sizeof(e)))
		return;
	for (unsigned int n = 0; n < ARRAY_SIZE(fields); n++)
		if (fields[n].way & EVMCS_OUT)
			memcpy((uint8_t *)&e + fields[n].evmcs, x->page + fields[n].vmcs, fields[n].bytes);
	(void)!x86_guest_write(v, x->evmcs, &e, sizeof(e));
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
}

bool vmx_evmcs_clear(struct x86_vcpu *v, gpa_t region)
{
	if (named(v) == VMX_NONE)
		return false;
	if (region == v->vmx->evmcs)
		vmx_evmcs_release(v);
	return true;
}

bool vmx_evmcs_read(struct x86_vcpu *v, uint32_t encoding, int offset, uint64_t *value)
{
	struct vmcs m;

	find_expected(v);
	for (unsigned int n = 0; n < ARRAY_SIZE(fields); n++) {
		const struct field *f = &fields[n];

		if (offset < f->vmcs || offset >= f->vmcs + f->bytes)
			continue;
		if (x86_guest_read(v, v->vmx->evmcs + f->evmcs, (uint8_t *)&m + f->vmcs, f->bytes))
			return false;
		*value = vmcs_read(&m, encoding, offset);
		return true;
	}
	return false;
}
