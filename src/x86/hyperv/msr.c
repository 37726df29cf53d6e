// SPDX-License-Identifier: MIT
/* The MSRs; those of SynIC and its timers lead to synic.c and stimer.c.  TLFS, appendix D; api.rst 4.118. */
#include <errno.h>

#include "host/clock.h"
#include "x86/hyperv/hyperv.h"
#include "x86/pv/eoi.h"
#include "x86/state/state.h"

#define APIC_BUS_HZ 1000000000ULL

/* --- of the partition --------------------------------------------------------------------- */

static int get_guest_os_id(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = atomic_load(&v->vm->hv.guest_os_id);
	return 0;
}

/* Without a guest there are no hypercalls. */
static int set_guest_os_id(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	struct hv_vm *hv = &v->vm->hv;

	atomic_store(&hv->guest_os_id, value);
	if (!value)
		hv->hypercall &= ~HV_PAGE_ENABLE;
	return 0;
}

static int get_hypercall(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->vm->hv.hypercall;
	return 0;
}

/* The page is the guest's own memory; the code in it is written there when it is enabled.  TLFS 3.13. */
static int set_hypercall(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	static const uint8_t vmcall[] = { 0x0f, 0x01, 0xc1, 0xc3 }, vmmcall[] = { 0x0f, 0x01, 0xd9, 0xc3 };
	struct hv_vm *hv = &v->vm->hv;

	if (!atomic_load(&hv->guest_os_id))
		return 0;
	if ((value & HV_PAGE_ENABLE) && x86_guest_write(v, value & GUEST_PAGE_MASK,
							x86_is_intel(&v->cpu) ? vmcall : vmmcall, sizeof(vmcall)))
		return -EINVAL;
	hv->hypercall = value;
	return 0;
}

/* Takes no effect where the client writes what it has read. */
static int read_only(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	return host ? 0 : -EINVAL;
}

static int get_time_ref_count(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = hv_reference_time(v);
	return 0;
}

static int get_reference_tsc(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->vm->hv.reference_tsc;
	return 0;
}

static int set_reference_tsc(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	hv_set_reference_tsc(v, value, host);
	return 0;
}

static int get_zero(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = 0;
	return 0;
}

/* KVM asks for the exit for whoever writes it, as it does here. */
static int set_reset(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (value == 1) {
		v->hv.reset_exit = true;
		x86_request(&v->cpu, X86_REQ_EVENT);
	}
	return 0;
}

static int get_crash(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = index == HV_MSR_CRASH_CTL ? v->vm->hv.crash_ctl : v->vm->hv.crash[index - HV_MSR_CRASH_P0];
	return 0;
}

/* The register says what the client lets it say; what the guest writes is a command. */
static int set_crash_ctl(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (host) {
		v->vm->hv.crash_ctl = value & HV_CRASH_NOTIFY;
	} else if (value & HV_CRASH_NOTIFY) {
		v->hv.crash_exit = true;
		x86_request(&v->cpu, X86_REQ_EVENT);
	}
	return 0;
}

static int set_crash(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	v->vm->hv.crash[index - HV_MSR_CRASH_P0] = value;
	return 0;
}

/* Registers of migration between hosts whose TSCs differ: the client's affair, they only remember. */
static uint64_t *reenlightenment(struct hv_vm *hv, uint32_t index)
{
	switch (index) {
	case HV_MSR_REENLIGHTENMENT: return &hv->reenlightenment;
	case HV_MSR_TSC_EMULATION: return &hv->tsc_emulation;
	default: return &hv->tsc_emulation_status;
	}
}

static int get_reenlightenment(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = *reenlightenment(&v->vm->hv, index);
	return 0;
}

static int set_reenlightenment(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (index == HV_MSR_TSC_EMULATION_STATUS && value && !host)
		return -EINVAL;
	*reenlightenment(&v->vm->hv, index) = value;
	return 0;
}

/* KVM of Linux 6.1 has no such register; so for a guest that is not offered it. */
static bool has_tsc_invariant(const struct x86_vcpu *v, bool host)
{
	return host || (v->hv.cpuid[HV_FEATURES_A] & HV_ACCESS_TSC_INVARIANT);
}

static int get_tsc_invariant(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	if (!has_tsc_invariant(v, host))
		return -EINVAL;
	*value = atomic_load(&v->vm->hv.tsc_invariant);
	return 0;
}

/* What a guest has seen it cannot unsee. */
static int set_tsc_invariant(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	struct hv_vm *hv = &v->vm->hv;

	if (!has_tsc_invariant(v, host) || (value & ~HV_TSC_INVARIANT_SHOWN) ||
	    (!host && !value && atomic_load(&hv->tsc_invariant)))
		return -EINVAL;
	atomic_store(&hv->tsc_invariant, value);
	return 0;
}

/* --- of the virtual processor ------------------------------------------------------------- */

static int get_vp_index(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = atomic_load(&v->hv.vp_index);
	return 0;
}

static int set_vp_index(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host || (uint32_t)value >= KVM_MAX_VCPUS)
		return -EINVAL;
	atomic_store(&v->hv.vp_index, (uint32_t)value);
	return 0;
}

static uint64_t thread_time(void)
{
	return host_thread_ns() / 100;
}

static int get_vp_runtime(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = thread_time() + v->hv.runtime_offset;
	return 0;
}

static int set_vp_runtime(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	if (!host)
		return -EINVAL;
	v->hv.runtime_offset = value - thread_time();
	return 0;
}

static int get_tsc_frequency(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = (uint64_t)v->tsc_khz * 1000;
	return 0;
}

static int get_apic_frequency(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = APIC_BUS_HZ;
	return 0;
}

/* EOI, ICR and TPR are the local APIC's, whatever mode that is in. */
static int get_apic(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	bool published = x86_vapic_collect(v);
	int r = v->has_lapic ? lapic_read_hv(&v->lapic, index - HV_MSR_EOI, value) : -EINVAL;

	if (published)
		x86_vapic_publish(v);
	return r;
}

static int set_apic(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	bool published = x86_vapic_collect(v);
	int r = v->has_lapic ? lapic_write_hv(&v->lapic, index - HV_MSR_EOI, value) : -EINVAL;

	if (published)
		x86_vapic_publish(v);
	return r;
}

static int get_vp_assist_page(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	*value = v->hv.vp_assist_page;
	return 0;
}

/*
 * The page's first word is what MSR_KVM_PV_EOI_EN names: its bit 0 says that an interrupt needs no EOI.  The rest may
 * be the guest's already.  TLFS 7.8.7.1 and 10.3.5.
 */
static int set_vp_assist_page(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	const uint32_t zero = 0;
	gpa_t gpa = value & GUEST_PAGE_MASK;

	if (!(value & HV_PAGE_ENABLE)) {
		v->hv.vp_assist_page = value;
		return x86_pv_eoi_set(v, 0);
	}
	if (x86_guest_write(v, gpa, &zero, sizeof(zero)))
		return -EINVAL;
	v->hv.vp_assist_page = value;
	return x86_pv_eoi_set(v, gpa | HV_PAGE_ENABLE);
}

/* --- the table ------------------------------------------------------------------------------ */

struct hv_msr_row {
	uint32_t first, last;
	struct hv_permit permit;
	bool partition;                 /* of all vCPUs: under the lock */
	int (*get)(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
	int (*set)(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);
};

#define A(bit) { HV_FEATURES_A, HV_ACCESS_##bit }
#define D(bit) { HV_FEATURES_D, HV_##bit }
#define VM(n, permit, get, set) { n, n, permit, true, get, set }
#define VMS(a, b, permit, get, set) { a, b, permit, true, get, set }
#define VP(n, permit, get, set) { n, n, permit, false, get, set }
#define VPS(a, b, permit, get, set) { a, b, permit, false, get, set }

static const struct hv_msr_row rows[] = {
	VM(HV_MSR_GUEST_OS_ID, A(HYPERCALL), get_guest_os_id, set_guest_os_id),
	VM(HV_MSR_HYPERCALL, A(HYPERCALL), get_hypercall, set_hypercall),
	VP(HV_MSR_VP_INDEX, A(VP_INDEX), get_vp_index, set_vp_index),
	VM(HV_MSR_RESET, A(RESET), get_zero, set_reset),
	VP(HV_MSR_VP_RUNTIME, A(VP_RUNTIME), get_vp_runtime, set_vp_runtime),
	VM(HV_MSR_TIME_REF_COUNT, A(REF_COUNTER), get_time_ref_count, read_only),
	VM(HV_MSR_REFERENCE_TSC, A(REF_TSC), get_reference_tsc, set_reference_tsc),
	VP(HV_MSR_TSC_FREQUENCY, A(FREQUENCIES), get_tsc_frequency, read_only),
	VP(HV_MSR_APIC_FREQUENCY, A(FREQUENCIES), get_apic_frequency, read_only),
	VPS(HV_MSR_EOI, HV_MSR_TPR, A(APIC), get_apic, set_apic),
	VP(HV_MSR_VP_ASSIST_PAGE, A(APIC), get_vp_assist_page, set_vp_assist_page),
	VPS(HV_MSR_SCONTROL, HV_MSR_EOM, A(SYNIC), hv_synic_get, hv_synic_set),
	VPS(HV_MSR_SINT0, HV_MSR_SINT15, A(SYNIC), hv_synic_get, hv_synic_set),
	VPS(HV_MSR_STIMER0_CONFIG, HV_MSR_STIMER3_COUNT, A(STIMERS), hv_stimer_get, hv_stimer_set),
	VMS(HV_MSR_SYNDBG_CONTROL, HV_MSR_SYNDBG_PENDING, D(DEBUG_MSRS), hv_syndbg_get, hv_syndbg_set),
	VM(HV_MSR_SYNDBG_OPTIONS, D(DEBUG_MSRS), hv_syndbg_get, hv_syndbg_set),
	VMS(HV_MSR_CRASH_P0, HV_MSR_CRASH_P4, D(CRASH_MSRS), get_crash, set_crash),
	VM(HV_MSR_CRASH_CTL, D(CRASH_MSRS), get_crash, set_crash_ctl),
	VMS(HV_MSR_REENLIGHTENMENT, HV_MSR_TSC_EMULATION_STATUS, A(REENLIGHTENMENT), get_reenlightenment,
	    set_reenlightenment),
	VM(HV_MSR_TSC_INVARIANT, A(TSC_INVARIANT), get_tsc_invariant, set_tsc_invariant),
};

/* NULL: the guest may not, or there is none; the client has them all. */
static const struct hv_msr_row *find(const struct x86_vcpu *v, uint32_t index, bool host)
{
	if (!host && !v->hv.enabled)
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (index >= rows[i].first && index <= rows[i].last)
			return host || hv_permitted(v, &rows[i].permit) ? &rows[i] : NULL;
	return NULL;
}

int hv_msr_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	const struct hv_msr_row *row = find(v, index, host);
	int r;

	if (!row)
		return -EINVAL;
	if (!row->partition)
		return row->get(v, index, value, host);
	pthread_mutex_lock(&v->vm->hv.lock);
	r = row->get(v, index, value, host);
	pthread_mutex_unlock(&v->vm->hv.lock);
	return r;
}

int hv_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	const struct hv_msr_row *row = find(v, index, host);
	int r;

	if (!row)
		return -EINVAL;
	if (!row->partition)
		return row->set(v, index, value, host);
	pthread_mutex_lock(&v->vm->hv.lock);
	r = row->set(v, index, value, host);
	pthread_mutex_unlock(&v->vm->hv.lock);
	return r;
}
