// SPDX-License-Identifier: MIT
/*
 * Sets of virtual processors (HV_VP_SET, TLFS 7.8.7.3): a word for each 64 VP
 * indexes of which there is one, and a word that says which those are.  A VP
 * index is the client's to choose, and one that no vCPU has is no error.
 */
#include <errno.h>
#include <string.h>

#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"

/* Banks beyond hold no VP index. */
#define BANKS_USED (KVM_MAX_VCPUS / 64)

_Static_assert(KVM_MAX_VCPUS % 64 == 0 && BANKS_USED <= HV_SET_BANKS, "banks");

/* The first @n banks of those that there are. */
static int read_banks(struct x86_vcpu *v, const struct hv_hcall *h, uint32_t offset, unsigned int halves,
		      uint64_t *banks, unsigned int n)
{
	if (!h->fast)
		return x86_guest_read(v, h->in + offset, banks, n * sizeof(*banks));
	if (h->var_count > HV_XMM_HALVES - halves)
		return -EINVAL;
	memcpy(banks, h->xmm + halves, n * sizeof(*banks));
	return 0;
}

int hv_vp_set_read(struct x86_vcpu *v, const struct hv_hcall *h, uint64_t valid, uint32_t offset, unsigned int halves,
		   struct hv_vp_set *set)
{
	uint64_t banks[BANKS_USED];
	unsigned int n = 0;

	memset(set->bank, 0, sizeof(set->bank));
	if (h->var_count != __builtin_popcountll(valid))
		return -EINVAL;
	if (set->all || !h->var_count)
		return 0;
	if (read_banks(v, h, offset, halves, banks, h->var_count < BANKS_USED ? h->var_count : BANKS_USED))
		return -EINVAL;
	for (unsigned int bank = 0; bank < BANKS_USED; bank++)
		if (valid >> bank & 1)
			set->bank[bank] = banks[n++];
	return 0;
}

bool hv_vp_set_has(const struct hv_vp_set *set, const struct x86_vcpu *v)
{
	uint32_t index = atomic_load(&v->hv.vp_index);

	return set->all || (set->bank[index / 64] >> (index % 64) & 1);
}
