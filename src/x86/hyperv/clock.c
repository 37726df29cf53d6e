// SPDX-License-Identifier: MIT
/*
 * The partition's reference time: by MSR, and by a page from which a guest
 * computes it.  TLFS, chapter 12.
 *
 * The page follows from kvmclock's reference instant: at guest TSC `tsc` it was
 * `ns`.  It holds for all vCPUs, so their TSCs have to be the same; where they
 * are not, or the page cannot be written, its sequence stays 0 and guests read
 * the MSR.  Who changes the clock marks the page stale, and asks vCPUs to look
 * (X86_REQ_CLOCK); the first that does so writes it.
 */
#include "x86/hyperv/hyperv.h"
#include "x86/pv/kvmclock.h"
#include "x86/state/state.h"

#define NS_PER_UNIT 100

static uint64_t high(uint64_t a, uint64_t b)
{
	return (uint64_t)((unsigned __int128)a * b >> 64);
}

uint64_t hv_reference_time(struct x86_vcpu *v)
{
	const struct hv_vm *hv = &v->vm->hv;

	if (hv->tsc_status != HV_TSC_SET)
		return x86_kvmclock_now(v) / NS_PER_UNIT;
	return high(x86_guest_tsc(v), hv->tsc_page.scale) + (uint64_t)hv->tsc_page.offset;
}

void hv_set_reference_tsc(struct x86_vcpu *v, uint64_t value, bool host)
{
	struct hv_vm *hv = &v->vm->hv;

	hv->reference_tsc = value;
	if (!(value & HV_PAGE_ENABLE)) {
		hv->tsc_status = HV_TSC_UNSET;
		return;
	}
	hv->tsc_status = host ? HV_TSC_HOST_CHANGED : HV_TSC_GUEST_CHANGED;
	x86_request(&v->cpu, X86_REQ_CLOCK);
}

/*
 * A guest that has been moved to this host and has its TSC emulated expects the page's values to stay until it says
 * that it has followed; only what it sets itself is written then.
 */
static bool frozen(const struct hv_vm *hv)
{
	return hv->tsc_status != HV_TSC_GUEST_CHANGED && hv->tsc_emulation;
}

bool hv_tsc_page_stale(struct x86_vm *vm)
{
	struct hv_vm *hv = &vm->hv;
	bool stale;

	pthread_mutex_lock(&hv->lock);
	if (hv->tsc_status == HV_TSC_SET && !frozen(hv))
		hv->tsc_status = HV_TSC_HOST_CHANGED;
	stale = hv->tsc_status == HV_TSC_HOST_CHANGED || hv->tsc_status == HV_TSC_GUEST_CHANGED;
	pthread_mutex_unlock(&hv->lock);
	return stale;
}

static bool in_step(const struct x86_vcpu *v)
{
	const struct x86_vcpu *other;
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, v->vm->vm) {
		other = x86_vcpu_of(vcpu);
		if (__atomic_load_n(&other->tsc_offset, __ATOMIC_RELAXED) != v->tsc_offset ||
		    __atomic_load_n(&other->tsc_scale, __ATOMIC_RELAXED) != v->tsc_scale)
			return false;
	}
	return true;
}

/*
 * kvmclock: ns = ((tsc - tsc0) << shift) * mul / 2^32 + ns0; here: ns / 100 = tsc * scale / 2^64 + offset.
 * So scale = mul * 2^(32 + shift) / 100, which has to be below 2^64.
 */
static bool compute(const struct x86_vcpu *v, struct hv_tsc_page *page)
{
	struct x86_kvmclock_reference r;

	if (!in_step(v))
		return false;
	x86_kvmclock_reference(v, &r);
	if (r.mul >= (uint64_t)NS_PER_UNIT << (32 - r.shift))
		return false;
	page->scale = (uint64_t)(((unsigned __int128)r.mul << (32 + r.shift)) / NS_PER_UNIT);
	page->offset = (int64_t)(r.ns / NS_PER_UNIT - high(r.tsc, page->scale));
	return true;
}

/* A sequence of 0 sends readers to the MSR meanwhile. */
static bool write_page(struct x86_vcpu *v, gpa_t gpa, uint32_t sequence)
{
	struct hv_tsc_page *page = &v->vm->hv.tsc_page;

	page->sequence = 0;
	if (x86_guest_write(v, gpa, page, sizeof(page->sequence)) || !compute(v, page))
		return false;
	atomic_thread_fence(memory_order_release);
	if (x86_guest_write(v, gpa, page, sizeof(*page)))
		return false;
	atomic_thread_fence(memory_order_release);
	sequence++;
	/* Neither of the two that say "not valid". */
	page->sequence = sequence == UINT32_MAX || !sequence ? 1 : sequence;
	return !x86_guest_write(v, gpa, page, sizeof(page->sequence));
}

static enum hv_tsc_status update(struct x86_vcpu *v)
{
	struct hv_vm *hv = &v->vm->hv;
	gpa_t gpa = hv->reference_tsc & GUEST_PAGE_MASK;
	uint32_t sequence;

	if (x86_guest_read(v, gpa, &sequence, sizeof(sequence)))
		return HV_TSC_BROKEN;
	if (sequence && frozen(hv))
		return x86_guest_read(v, gpa, &hv->tsc_page, sizeof(hv->tsc_page)) ? HV_TSC_BROKEN : HV_TSC_SET;
	return write_page(v, gpa, sequence) ? HV_TSC_SET : HV_TSC_BROKEN;
}

void hv_tsc_page_update(struct x86_vcpu *v)
{
	struct hv_vm *hv = &v->vm->hv;

	pthread_mutex_lock(&hv->lock);
	if (hv->tsc_status == HV_TSC_GUEST_CHANGED || hv->tsc_status == HV_TSC_HOST_CHANGED)
		hv->tsc_status = update(v);
	pthread_mutex_unlock(&hv->lock);
}
