// SPDX-License-Identifier: MIT
/*
 * The guest's TSC: the host's, scaled and offset.
 *
 * All vCPUs of a VM share one offset as long as the client sets their TSCs "at
 * the same time"; see set_by_client().
 */
#include <errno.h>

#include "host/clock.h"
#include "x86/pv/kvmclock.h"
#include "x86/state/state.h"

#define SECOND 1000000000ULL

uint64_t x86_scale_tsc(const struct x86_vcpu *v, uint64_t host)
{
	if (likely(v->tsc_scale == 1ULL << X86_TSC_FRAC))
		return host;
	return (uint64_t)((unsigned __int128)host * v->tsc_scale >> X86_TSC_FRAC);
}

uint64_t x86_guest_tsc_at(const struct x86_vcpu *v, uint64_t host)
{
	return x86_scale_tsc(v, host) + v->tsc_offset;
}

uint64_t x86_guest_tsc(const struct x86_vcpu *v)
{
	return x86_guest_tsc_at(v, host_rdtsc());
}

void x86_tsc_offset_changed(struct x86_vcpu *v)
{
	if (v->has_lapic)
		lapic_tsc_changed(&v->lapic);
	if (hv_tsc_page_stale(v->vm) || v->pvclock.enabled)
		x86_request(&v->cpu, X86_REQ_CLOCK);
}

void x86_adjust_tsc(struct x86_vcpu *v, int64_t delta)
{
	v->tsc_offset += (uint64_t)delta;
	x86_tsc_offset_changed(v);
}

/*
 * A client restores one vCPU after the other, with values read at one moment.
 * So a write of 0, or within a second of what the last write has grown to,
 * means "in step with the last one": it gets the same offset.
 */
static void set_by_client(struct x86_vcpu *v, uint64_t value)
{
	struct x86_clock *c = &v->vm->clock;
	uint64_t now = host_now_ns(), host = host_rdtsc(), expected;
	bool same = false;

	pthread_mutex_lock(&c->lock);
	if (v->tsc_khz == c->tsc_khz) {
		uint64_t second = (uint64_t)v->tsc_khz * 1000;
		uint64_t elapsed = (uint64_t)((unsigned __int128)(now - c->tsc_write_ns) * second / SECOND);

		expected = c->tsc_write + elapsed;
		same = !value || (value < expected + second && value + second > expected);
	}
	if (!same) {
		c->tsc_offset = value - x86_scale_tsc(v, host);
		c->tsc_write = value;
		c->tsc_write_ns = now;
		c->tsc_khz = v->tsc_khz;
	}
	v->tsc_offset = c->tsc_offset;
	pthread_mutex_unlock(&c->lock);
	x86_tsc_offset_changed(v);
}

void x86_set_guest_tsc(struct x86_vcpu *v, uint64_t value, bool host)
{
	int64_t delta;

	if (host) {
		set_by_client(v, value);
		return;
	}
	delta = (int64_t)(value - x86_guest_tsc(v));
	v->msr.tsc_adjust += (uint64_t)delta;
	x86_adjust_tsc(v, delta);
}

int x86_set_tsc_khz(struct x86_vcpu *v, uint32_t khz)
{
	uint32_t host_khz = host_tsc_khz();
	uint64_t now = v->tsc_khz ? x86_guest_tsc(v) : 0;

	/* As KVM: without a frequency, or within 250 ppm of the host's, nothing is scaled. */
	if (!khz)
		return -EINVAL;
	if (khz > host_khz - host_khz / 4000 && khz < host_khz + host_khz / 4000)
		v->tsc_scale = 1ULL << X86_TSC_FRAC;
	else
		v->tsc_scale = (uint64_t)(((unsigned __int128)khz << X86_TSC_FRAC) / host_khz);
	if (v->tsc_khz && v->tsc_khz != khz)
		v->tsc_offset = now - x86_scale_tsc(v, host_rdtsc());
	v->tsc_khz = khz;
	x86_tsc_offset_changed(v);
	return 0;
}

void x86_tsc_init(struct x86_vcpu *v)
{
	uint32_t khz = v->vm->default_tsc_khz;

	v->tsc_scale = 1ULL << X86_TSC_FRAC;
	if (x86_set_tsc_khz(v, khz))
		v->tsc_khz = host_tsc_khz();
	set_by_client(v, 0);
}

/* --- ioctls --------------------------------------------------------------------------- */

#define MAX_TSC_KHZ 0x7fffffffu

long x86_ioctl_set_tsc_khz(struct kvm_call *c)
{
	uint32_t khz = (uint32_t)c->arg;

	if (khz >= MAX_TSC_KHZ)
		return -EINVAL;
	return x86_set_tsc_khz(x86_vcpu_of(c->vcpu), khz ? khz : host_tsc_khz());
}

long x86_ioctl_get_tsc_khz(struct kvm_call *c)
{
	return x86_vcpu_of(c->vcpu)->tsc_khz;
}

long x86_ioctl_vm_set_tsc_khz(struct kvm_call *c)
{
	uint32_t khz = (uint32_t)c->arg;

	if (khz >= MAX_TSC_KHZ)
		return -EINVAL;
	x86_vm_of(c->vm)->default_tsc_khz = khz ? khz : host_tsc_khz();
	return 0;
}

long x86_ioctl_vm_get_tsc_khz(struct kvm_call *c)
{
	return x86_vm_of(c->vm)->default_tsc_khz;
}

/* KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET: the one attribute of a vCPU. */
long x86_ioctl_device_attr(struct kvm_call *c)
{
	const struct kvm_device_attr *attr = c->data;
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);
	uint64_t offset;

	if (attr->group != KVM_VCPU_TSC_CTRL || attr->attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	if (c->request == (uint32_t)KVM_HAS_DEVICE_ATTR)
		return 0;
	if (c->request == (uint32_t)KVM_GET_DEVICE_ATTR)
		return kvm_copy_out(attr->addr, &v->tsc_offset, sizeof(v->tsc_offset));
	if (kvm_copy_in(&offset, attr->addr, sizeof(offset)))
		return -EFAULT;
	x86_adjust_tsc(v, (int64_t)(offset - v->tsc_offset));
	return 0;
}
