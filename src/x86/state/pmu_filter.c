// SPDX-License-Identifier: MIT
/*
 * Which events a guest may count: KVM_SET_PMU_EVENT_FILTER, api.rst 4.120.  As
 * with Linux 6.1, a counter asks when it is programmed: a new filter does not
 * stop one that counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/state/pmu.h"
#include "x86/state/state.h"

#define MAX_EVENTS 300
#define KEY (0xfULL << 32 | 0xffff)     /* event select, AMD's upper part too, and unit mask */

struct x86_pmu_filter {
	struct kvm_pmu_event_filter head;
	uint64_t event[];
};

_Static_assert(sizeof(struct kvm_pmu_event_filter) == 32, "UAPI");

static bool listed(const struct x86_pmu_filter *f, uint64_t select, int fixed)
{
	if (fixed >= 0)
		return f->head.fixed_counter_bitmap >> fixed & 1;
	for (uint32_t i = 0; i < f->head.nevents; i++)
		if (f->event[i] == (select & KEY))
			return true;
	return false;
}

bool x86_pmu_filter_allows(struct x86_vcpu *v, uint64_t select, int fixed)
{
	const struct x86_pmu_filter *f = atomic_load(&v->vm->pmu_filter);

	return !f || listed(f, select, fixed) == (f->head.action == KVM_PMU_EVENT_ALLOW);
}

void x86_pmu_filter_free(struct x86_pmu_filter *f)
{
	free(f);
}

long x86_ioctl_set_pmu_event_filter(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	struct kvm_pmu_event_filter head;
	struct x86_pmu_filter *f;
	size_t size;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if ((head.action != KVM_PMU_EVENT_ALLOW && head.action != KVM_PMU_EVENT_DENY) || head.flags)
		return -EINVAL;
	if (head.nevents > MAX_EVENTS)
		return -E2BIG;
	size = head.nevents * sizeof(f->event[0]);
	f = malloc(sizeof(*f) + size);
	if (!f)
		return -ENOMEM;
	memcpy(&f->head, &head, sizeof(head));
	if (kvm_copy_in(f->event, c->arg + sizeof(head), size)) {
		free(f);
		return -EFAULT;
	}
	pthread_mutex_lock(&c->vm->lock);
	f = atomic_exchange(&x->pmu_filter, f);
	pthread_mutex_unlock(&c->vm->lock);
	/* vCPUs that still look at the old one are waited for. */
	kvm_vm_sync_vcpus(c->vm, KVM_SYNC_QUIESCE);
	x86_pmu_filter_free(f);
	return 0;
}
