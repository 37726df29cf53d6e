// SPDX-License-Identifier: MIT
/*
 * HvCallFlushGuestPhysicalAddressSpace and ...List: a hypervisor inside has
 * changed its second-level tables, and says so, where the hypervisor below does
 * not watch them.  TLFS 16.10 and 17.6.  KVM has them as a guest, and does not
 * offer them itself; so here they are for a guest whose CPUID says so.
 *
 * When the hypercall returns, no vCPU uses what was there before of that space,
 * or of those ranges of it; what else is below other tables stays.  Each is asked
 * by X86_REQ_SLAT_FLUSH, and waited for as in flush.c.
 */
#include "kvm/trace.h"
#include "x86/hyperv/hyperv.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

struct input {
	uint64_t space, flags;          /* ranges follow */
};

/* HV_GPA_PAGE_RANGE: pages, one and so many more, from that one on; large ones have 2 MiB or 1 GiB. */
#define RANGE_MORE(e) ((e) & 0x7ff)
#define RANGE_LARGE (1ULL << 11)
#define RANGE_SMALL_BASE(e) ((e) >> 12)
#define RANGE_GIB (1ULL << 12)
#define RANGE_LARGE_BASE(e) ((e) >> 21)
#define RANGES_AT_ONCE 64

static bool offered(const struct x86_vcpu *v)
{
	return v->hv.cpuid[HV_NESTED_A] & HV_NESTED_MAPPING_FLUSH;
}

/* The space is the table's address; neither EPTP's other bits nor flags are any. */
static uint64_t check(const struct input *in)
{
	if (in->space & ~GUEST_PAGE_MASK)
		return HV_INVALID_PARAMETER;
	return in->flags ? HV_INVALID_PARAMETER : HV_SUCCESS;
}

/* The input: 8-byte aligned and within a page.  TLFS 3.7, 3.8. */
static uint64_t read_input(struct x86_vcpu *v, const struct hv_hcall *h, struct input *in)
{
	if (h->in & 7 || (h->in & ~GUEST_PAGE_MASK) + sizeof(*in) + h->rep_count * sizeof(uint64_t) > GUEST_PAGE_SIZE)
		return HV_INVALID_ALIGNMENT;
	return x86_guest_read(v, h->in, in, sizeof(*in)) ? HV_INVALID_INPUT : HV_SUCCESS;
}

static void ask(struct x86_vcpu *v, const struct mmu_slat_range *r, unsigned int count)
{
	struct vcpu *vcpu;
	unsigned int i;

	for (unsigned int n = 0; n < count; n++)
		mmu_flush_slat(&v->cpu, &r[n]);
	pthread_mutex_lock(&v->vm->hv.lock);
	kvm_for_each_vcpu(i, vcpu, v->vm->vm)
		if (vcpu != v->vcpu)
			mmu_ask_flush_slat(&x86_vcpu_of(vcpu)->cpu, r, count);
	pthread_mutex_unlock(&v->vm->hv.lock);
}

/* Also with the client wanting this vCPU back: the instruction runs again then, which flushes no less. */
static uint64_t finish(struct x86_vcpu *v, const struct hv_hcall *h)
{
	static const struct hv_vp_set all = { .all = true };

	if (!hv_flush_wait(v, &all)) {
		x86_request(&v->cpu, X86_REQ_KICK);
		return HV_AGAIN;
	}
	x86_stat_inc(v->vcpu, X86_STAT_HV_MAPPING_FLUSHES);
	kvm_stat_add(&v->vcpu->stats, X86_STAT_HV_MAPPING_RANGES, h->rep_count);
	return hv_reps_done(h);
}

static uint64_t traced(struct x86_vcpu *v, const struct hv_hcall *h, const struct input *in, uint64_t result)
{
	if (unlikely(v->vm->traced))
		kvm_trace("anykvm_hv_mapping_flush", "code 0x%x root 0x%llx ranges %u result 0x%llx", h->code,
			  (unsigned long long)in->space, h->rep_count, (unsigned long long)result);
	return result;
}

uint64_t hv_flush_mappings(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct input in = { .space = h->in, .flags = h->out };
	struct mmu_slat_range r = { 0 };
	uint64_t bad;

	if (!offered(v))
		return HV_INVALID_CODE;
	bad = h->fast ? HV_SUCCESS : read_input(v, h, &in);
	if (bad)
		return bad;
	bad = check(&in);
	if (bad)
		return traced(v, h, &in, bad);
	r.root = in.space;
	ask(v, &r, 1);
	return traced(v, h, &in, finish(v, h));
}

static struct mmu_slat_range range(uint64_t root, uint64_t e)
{
	unsigned int shift = e & RANGE_LARGE ? e & RANGE_GIB ? 18 : 9 : 0;
	gfn_t first = e & RANGE_LARGE ? RANGE_LARGE_BASE(e) << 9 : RANGE_SMALL_BASE(e);

	return (struct mmu_slat_range){ .root = root, .first = first, .pages = (RANGE_MORE(e) + 1) << shift };
}

uint64_t hv_flush_mappings_list(struct x86_vcpu *v, struct hv_hcall *h)
{
	struct mmu_slat_range ranges[RANGES_AT_ONCE];
	uint64_t elements[RANGES_AT_ONCE], bad;
	struct input in;

	if (!offered(v))
		return HV_INVALID_CODE;
	if (h->fast)
		return HV_INVALID_INPUT;
	bad = read_input(v, h, &in);
	if (bad)
		return bad;
	bad = check(&in);
	if (bad)
		return traced(v, h, &in, bad);
	for (unsigned int done = 0; done < h->rep_count;) {
		unsigned int n = h->rep_count - done < RANGES_AT_ONCE ? h->rep_count - done : RANGES_AT_ONCE;

		if (x86_guest_read(v, h->in + sizeof(in) + done * sizeof(uint64_t), elements, n * sizeof(uint64_t)))
			return HV_INVALID_INPUT;
		for (unsigned int i = 0; i < n; i++)
			ranges[i] = range(in.space, elements[i]);
		ask(v, ranges, n);
		done += n;
	}
	return traced(v, h, &in, finish(v, h));
}
