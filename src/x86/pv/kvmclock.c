// SPDX-License-Identifier: MIT
/*
 * kvmclock.
 *
 * Every vCPU's page says: at guest TSC `tsc_timestamp` it was `system_time`
 * nanoseconds, and so many TSC ticks are a nanosecond.  All pages of a VM are
 * made from one reference instant (x86_clock), so that the clocks of any two
 * vCPUs agree and the guest may trust that (PVCLOCK_TSC_STABLE).  The reference
 * is renewed only when the client sets the clock, or asks by a new VM.
 *
 * A page is valid while its version is even; the writer makes it odd first.
 */
#include "x86/pv/kvmclock.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "host/clock.h"
#include "x86/state/state.h"

#define NSEC 1000000000ULL
#define TIME_ENABLED 1ULL
#define FLAG_TSC_STABLE 1
#define FLAG_GUEST_STOPPED 2

struct time_page {
	uint32_t version, pad;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad2[2];
};
_Static_assert(sizeof(struct time_page) == 32, "the guest's layout");

struct wall_clock {
	uint32_t version, sec, nsec;
};

/* ns = (ticks << shift) * mul >> 32, for a counter of @hz. */
static void scale_of(uint64_t hz, int8_t *shift, uint32_t *mul)
{
	uint64_t ns = NSEC;
	int8_t s = 0;

	/* Brings the ratio ns/hz into [1/2, 1), so that mul uses all of its 32 bits. */
	for (; hz > 2 * ns; s--)
		ns <<= 1;
	for (; hz <= ns; s++)
		hz <<= 1;
	*shift = s;
	*mul = (uint32_t)(((unsigned __int128)ns << 32) / hz);
}

/* What a guest computes from its page when the host's TSC is @tsc.  The lock is held. */
static uint64_t clock_at(const struct x86_clock *c, uint64_t tsc)
{
	uint64_t delta = tsc - c->host_tsc;
	int8_t shift;
	uint32_t mul;

	scale_of((uint64_t)host_tsc_khz() * 1000, &shift, &mul);
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return c->ns + (uint64_t)c->offset + (uint64_t)((unsigned __int128)delta * mul >> 32);
}

uint64_t x86_kvmclock_now(const struct x86_vcpu *v)
{
	struct x86_clock *c = &v->vm->clock;
	uint64_t now;

	pthread_mutex_lock(&c->lock);
	now = clock_at(c, host_rdtsc());
	pthread_mutex_unlock(&c->lock);
	return now;
}

void x86_kvmclock_reference(const struct x86_vcpu *v, struct x86_kvmclock_reference *r)
{
	struct x86_clock *c = &v->vm->clock;

	pthread_mutex_lock(&c->lock);
	r->tsc = x86_guest_tsc_at(v, c->host_tsc);
	r->ns = c->ns + (uint64_t)c->offset;
	pthread_mutex_unlock(&c->lock);
	/* What the TSC really does, which is the client's wish only as far as it is scaled. */
	scale_of(x86_scale_tsc(v, (uint64_t)host_tsc_khz() * 1000), &r->shift, &r->mul);
}

void x86_kvmclock_update(struct x86_vcpu *v)
{
	struct x86_kvmclock_reference r;
	struct time_page page = { 0 }, old;
	uint32_t version;

	if (!v->pvclock.enabled || x86_guest_read(v, v->pvclock.gpa, &old, sizeof(old)))
		return;
	x86_kvmclock_reference(v, &r);
	page.tsc_timestamp = r.tsc;
	page.system_time = r.ns;
	page.tsc_shift = r.shift;
	page.tsc_to_system_mul = r.mul;
	/* The guest clears FLAG_GUEST_STOPPED when it has seen it. */
	page.flags = FLAG_TSC_STABLE | (old.flags & FLAG_GUEST_STOPPED) |
		     (v->pvclock.paused ? FLAG_GUEST_STOPPED : 0);
	v->pvclock.paused = false;

	/* The guest may have left any version there. */
	version = (old.version | 1) + (old.version & 1 ? 2 : 0);
	page.version = version;
	if (x86_guest_write(v, v->pvclock.gpa, &page.version, sizeof(page.version)))
		return;
	atomic_thread_fence(memory_order_release);
	if (x86_guest_write(v, v->pvclock.gpa, &page, sizeof(page)))
		return;
	atomic_thread_fence(memory_order_release);
	version++;
	v->pvclock.version = version;
	(void)!x86_guest_write(v, v->pvclock.gpa, &version, sizeof(version));
}

void x86_kvmclock_set_page(struct x86_vcpu *v, uint64_t value)
{
	v->pvclock.msr = value;
	v->pvclock.gpa = value & ~TIME_ENABLED;
	v->pvclock.enabled = value & TIME_ENABLED;
	x86_kvmclock_update(v);
	if (v->pvclock.enabled)
		x86_request(&v->cpu, X86_REQ_CLOCK);
}

void x86_kvmclock_set_wall(struct x86_vcpu *v, uint64_t value)
{
	struct x86_clock *c = &v->vm->clock;
	struct wall_clock wall;
	uint64_t boot;

	pthread_mutex_lock(&c->lock);
	c->wall_msr = value;
	pthread_mutex_unlock(&c->lock);
	if (!value || x86_guest_read(v, value, &wall.version, sizeof(wall.version)))
		return;
	wall.version |= 1;
	if (x86_guest_write(v, value, &wall.version, sizeof(wall.version)))
		return;
	pthread_mutex_lock(&c->lock);
	boot = host_realtime_ns() - clock_at(c, host_rdtsc());
	pthread_mutex_unlock(&c->lock);
	wall.sec = (uint32_t)(boot / NSEC);
	wall.nsec = (uint32_t)(boot % NSEC);
	if (x86_guest_write(v, value, &wall, sizeof(wall)))
		return;
	atomic_thread_fence(memory_order_release);
	wall.version++;
	(void)!x86_guest_write(v, value, &wall.version, sizeof(wall.version));
}

/* --- ioctls ---------------------------------------------------------------------------- */

long x86_ioctl_get_clock(struct kvm_call *c)
{
	struct kvm_clock_data *data = c->data;
	struct x86_clock *clock = &x86_vm_of(c->vm)->clock;

	memset(data, 0, sizeof(*data));
	pthread_mutex_lock(&clock->lock);
	data->realtime = host_realtime_ns();
	data->host_tsc = host_rdtsc();
	data->clock = clock_at(clock, data->host_tsc);
	pthread_mutex_unlock(&clock->lock);
	data->flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	return 0;
}

long x86_ioctl_set_clock(struct kvm_call *c)
{
	const struct kvm_clock_data *data = c->data;
	struct x86_clock *clock = &x86_vm_of(c->vm)->clock;
	uint64_t value = data->clock;
	struct vcpu *vcpu;
	unsigned int i;

	/* The two flags that KVM_GET_CLOCK alone reports may be left in place. */
	if (data->flags & ~(uint32_t)(KVM_CLOCK_REALTIME | KVM_CLOCK_TSC_STABLE | KVM_CLOCK_HOST_TSC))
		return -EINVAL;
	if (data->flags & KVM_CLOCK_REALTIME) {
		uint64_t real = host_realtime_ns();

		/* Time that passed while the guest was away counts; time that ran backwards does not. */
		if (real > data->realtime)
			value += real - data->realtime;
	}
	pthread_mutex_lock(&clock->lock);
	clock->ns = host_now_and_tsc(&clock->host_tsc);
	clock->offset = (int64_t)(value - clock->ns);
	pthread_mutex_unlock(&clock->lock);
	hv_tsc_page_stale(x86_vm_of(c->vm));
	kvm_for_each_vcpu(i, vcpu, c->vm)
		x86_vcpu_poke(x86_vcpu_of(vcpu), X86_REQ_CLOCK);
	return 0;
}

long x86_ioctl_kvmclock_ctrl(struct kvm_call *c)
{
	struct x86_vcpu *v = x86_vcpu_of(c->vcpu);

	if (!v->pvclock.enabled)
		return -EINVAL;
	v->pvclock.paused = true;
	x86_request(&v->cpu, X86_REQ_CLOCK);
	return 0;
}
