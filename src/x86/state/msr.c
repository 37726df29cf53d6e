// SPDX-License-Identifier: MIT
/* Access to MSRs by the guest and by the client, and the client's filter. */
#include "x86/state/msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/state/ignored_msr.h"
#include "x86/state/model.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

static const struct x86_msr_row *find_row(uint32_t index)
{
	size_t lo = 0, hi = x86_msr_row_count;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (x86_msr_rows[mid].last < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < x86_msr_row_count && x86_msr_rows[lo].first <= index ? &x86_msr_rows[lo] : NULL;
}

/* What is asked of every access, whatever the register. */
static int check(const struct x86_vcpu *v, const struct x86_msr_row *row, bool host)
{
	if (!row)
		return -ENOENT;
	if (host)
		return 0;
	if (row->vendors && !(row->vendors & v->cpuid.vendor))
		return -ENOENT;
	if (row->flags & MSR_HOST_ONLY)
		return -EINVAL;
	if (row->feature && !x86_has(&v->cpu, row->feature) && (!(row->flags & MSR_PV) || v->enforce_pv))
		return row->flags & MSR_PV ? -ENOENT : -EINVAL;
	return 0;
}

static uint64_t *field(struct x86_vcpu *v, const struct x86_msr_row *row, uint32_t index)
{
	return (uint64_t *)((char *)v + row->field) + (index - row->first);
}

int x86_msr_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	const struct x86_msr_row *row = find_row(index);
	int r = check(v, row, host);

	if (r)
		return r;
	if (row->get)
		return row->get(v, index, value, host);
	*value = row->flags & MSR_LAZY_ZERO ? row->fixed : *field(v, row, index);
	return 0;
}

int x86_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	const struct x86_msr_row *row = find_row(index);
	int r = check(v, row, host);

	if (r)
		return r;
	if (row->flags & MSR_IGNORE_WRITES)
		return 0;
	if ((row->flags & MSR_HOST_WRITES) && !host)
		return -EINVAL;
	/* The client may write a zero to what the lists name. */
	if (row->flags & MSR_READ_ONLY)
		return host && !value && (row->flags & (MSR_SAVED | MSR_FEATURE)) ? 0 : -ENOENT;
	if (row->set)
		return row->set(v, index, value, host);
	if (value & ~row->valid)
		return -EINVAL;
	*field(v, row, index) = value;
	return 0;
}

/*
 * An access with the parameter ignore_msrs: what does not exist reads as zero, and takes any value.  A value that a
 * register does not take is an error nevertheless.
 */
static int get_or_ignore(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	int r = x86_msr_get(v, index, value, host);

	if (likely(r != -ENOENT))
		return r;
	*value = 0;
	if (!x86_msr_ignored(false, index, 0))
		return r;
	x86_stat_inc(v->vcpu, X86_STAT_IGNORED_MSRS);
	return 0;
}

static int set_or_ignore(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	int r = x86_msr_set(v, index, value, host);

	if (likely(r != -ENOENT) || !x86_msr_ignored(true, index, value))
		return r;
	x86_stat_inc(v->vcpu, X86_STAT_IGNORED_MSRS);
	return 0;
}

/* --- the client's filter ------------------------------------------------------------------ */

#define FILTER_MAX_BYTES 0x600

struct filter_range {
	uint32_t flags, base, nmsrs;
	unsigned long *bitmap;
};

struct x86_msr_filter {
	bool default_allow;
	uint32_t count;
	struct filter_range range[KVM_MSR_FILTER_MAX_RANGES];
};

void x86_msr_filter_free(struct x86_msr_filter *f)
{
	if (!f)
		return;
	for (uint32_t i = 0; i < f->count; i++)
		free(f->range[i].bitmap);
	free(f);
}

static bool allowed(struct x86_vcpu *v, uint32_t index, uint32_t type)
{
	const struct x86_msr_filter *f = atomic_load(&v->vm->msr_filter);

	/* The x2APIC's registers are never filtered; api.rst 4.97. */
	if (likely(!f) || (index >= LAPIC_MSR_FIRST && index <= LAPIC_MSR_LAST))
		return true;
	for (uint32_t i = 0; i < f->count; i++) {
		const struct filter_range *r = &f->range[i];
		uint32_t n = index - r->base;

		if (n < r->nmsrs && (r->flags & type))
			return r->bitmap[n / 64] >> (n % 64) & 1;
	}
	return f->default_allow;
}

int x86_guest_rdmsr(struct x86_vcpu *v, uint32_t index, uint64_t *value)
{
	return allowed(v, index, KVM_MSR_FILTER_READ) ? get_or_ignore(v, index, value, false) : -EACCES;
}

int x86_guest_wrmsr(struct x86_vcpu *v, uint32_t index, uint64_t value)
{
	return allowed(v, index, KVM_MSR_FILTER_WRITE) ? set_or_ignore(v, index, value, false) : -EACCES;
}

static int add_range(struct x86_msr_filter *f, const struct kvm_msr_filter_range *u)
{
	struct filter_range *r = &f->range[f->count];
	size_t bytes = (u->nmsrs + 63ULL) / 64 * 8;

	if (!u->nmsrs)
		return 0;
	if (!u->flags || (u->flags & ~(uint32_t)(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)) ||
	    bytes > FILTER_MAX_BYTES)
		return -EINVAL;
	r->bitmap = malloc(bytes);
	if (!r->bitmap)
		return -ENOMEM;
	f->count++;
	r->flags = u->flags;
	r->base = u->base;
	r->nmsrs = u->nmsrs;
	return kvm_copy_in(r->bitmap, (unsigned long)u->bitmap, bytes);
}

long x86_ioctl_set_msr_filter(struct kvm_call *c)
{
	struct kvm_msr_filter *u = c->data;
	struct x86_vm *x = x86_vm_of(c->vm);
	struct x86_msr_filter *f;
	int r = 0;

	if (u->flags & ~(uint32_t)KVM_MSR_FILTER_DEFAULT_DENY)
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->default_allow = !(u->flags & KVM_MSR_FILTER_DEFAULT_DENY);
	for (unsigned int i = 0; i < KVM_MSR_FILTER_MAX_RANGES && !r; i++)
		r = add_range(f, &u->ranges[i]);
	if (!r && !f->count && !f->default_allow)
		r = -EINVAL;
	if (r) {
		x86_msr_filter_free(f);
		return r;
	}
	pthread_mutex_lock(&c->vm->lock);
	f = atomic_exchange(&x->msr_filter, f);
	pthread_mutex_unlock(&c->vm->lock);
	/* vCPUs that still look at the old one are waited for. */
	kvm_vm_sync_vcpus(c->vm, KVM_SYNC_QUIESCE);
	x86_msr_filter_free(f);
	return 0;
}

/* --- ioctls ----------------------------------------------------------------------------------- */

#define MAX_IO_MSRS 256         /* of one KVM_GET_MSRS or KVM_SET_MSRS; as KVM */

/* A register of the other vendor's, or that comes with a feature of his, is not in the lists. */
static bool of_model(const struct x86_msr_row *row, const struct x86_model *m)
{
	if ((row->flags & MSR_OF_INTEL && m->vendor != V_INTEL) || (row->flags & MSR_OF_AMD && m->vendor != V_AMD))
		return false;
	return !row->feature || (x86_feature_rows[row->feature].vendors & m->vendor);
}

static long index_list(struct kvm_call *c, uint16_t flag)
{
	uint32_t indices[512], n = 0, room;
	struct kvm_msr_list head;
	struct x86_model m;
	uint64_t value;

	x86_model_get(&m);
	for (size_t i = 0; i < x86_msr_row_count; i++) {
		const struct x86_msr_row *row = &x86_msr_rows[i];

		if (!(row->flags & flag) || !of_model(row, &m) ||
		    (flag == MSR_FEATURE && x86_msr_feature(row->first, &value)))
			continue;
		for (uint32_t index = row->first; index <= row->last && n < ARRAY_SIZE(indices); index++)
			indices[n++] = index;
	}
	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	room = head.nmsrs;
	head.nmsrs = n;
	if (kvm_copy_out(c->arg, &head, sizeof(head)))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	return kvm_copy_out(c->arg + sizeof(head), indices, n * sizeof(indices[0]));
}

long x86_ioctl_get_msr_index_list(struct kvm_call *c)
{
	return index_list(c, MSR_SAVED);
}

long x86_ioctl_get_msr_feature_index_list(struct kvm_call *c)
{
	return index_list(c, MSR_FEATURE);
}

static int get_feature(struct kvm_msr_entry *e)
{
	int r;

	e->data = 0;
	r = x86_msr_feature(e->index, (uint64_t *)&e->data);
	return r == -ENOENT && x86_msr_ignored(false, e->index, 0) ? 0 : r;
}

static int get_one(struct kvm_call *c, struct kvm_msr_entry *e)
{
	if (!c->vcpu)
		return get_feature(e);
	return get_or_ignore(x86_vcpu_of(c->vcpu), e->index, (uint64_t *)&e->data, true);
}

static int set_one(struct kvm_call *c, struct kvm_msr_entry *e)
{
	return set_or_ignore(x86_vcpu_of(c->vcpu), e->index, e->data, true);
}

/* The number of registers done before the first that fails. */
static long msr_io(struct kvm_call *c, int (*one)(struct kvm_call *c, struct kvm_msr_entry *e), bool writeback)
{
	struct kvm_msr_entry *e;
	struct kvm_msrs head;
	size_t size;
	long n = 0;

	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs >= MAX_IO_MSRS)
		return -E2BIG;
	size = head.nmsrs * sizeof(*e);
	e = malloc(size + 1);
	if (!e)
		return -ENOMEM;
	if (kvm_copy_in(e, c->arg + sizeof(head), size)) {
		free(e);
		return -EFAULT;
	}
	while (n < (long)head.nmsrs && !one(c, &e[n]))
		n++;
	if (writeback && kvm_copy_out(c->arg + sizeof(head), e, size))
		n = -EFAULT;
	free(e);
	return n;
}

long x86_ioctl_get_msrs(struct kvm_call *c)
{
	return msr_io(c, get_one, true);
}

long x86_ioctl_set_msrs(struct kvm_call *c)
{
	return msr_io(c, set_one, false);
}
