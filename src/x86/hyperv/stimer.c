// SPDX-License-Identifier: MIT
/*
 * Synthetic timers.  TLFS, chapter 12; as KVM of Linux 6.1.
 *
 * They count the partition's reference time; what wakes us is CLOCK_MONOTONIC,
 * which may run a little differently.  So a timer whose deadline has come is
 * looked at (`due`), and started again where it is early.
 *
 * An expiry is a message of a synthetic interrupt or, in direct mode, a vector.
 * A one-shot timer whose message finds its place taken stays enabled, and tries
 * again when the guest ends a message or that interrupt; a periodic one drops
 * the message, and its next one comes a period later.
 */
#include <errno.h>

#include "host/clock.h"
#include "kvm/trace.h"
#include "x86/hyperv/hyperv.h"
#include "x86/hyperv/synic.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

/* HV_X64_MSR_STIMERn_CONFIG.  "Lazy" is for the guest to say and ours to ignore: no tick is made up for. */
#define ENABLE 1ULL
#define PERIODIC (1ULL << 1)
#define AUTO_ENABLE (1ULL << 3)
#define VECTOR(config) ((config) >> 4 & 0xff)
#define DIRECT (1ULL << 12)
#define SINT(config) ((config) >> 16 & 0xf)

#define MESSAGE_TIMER_EXPIRED 0x80000010u
#define TIMER_PAYLOAD 24

#define NS_PER_UNIT 100

static uint64_t reference_now(struct x86_vcpu *v)
{
	uint64_t now;

	pthread_mutex_lock(&v->vm->hv.lock);
	now = hv_reference_time(v);
	pthread_mutex_unlock(&v->vm->hv.lock);
	return now;
}

static void look_at(struct x86_vcpu *v, unsigned int n)
{
	v->hv.synic.due |= (uint8_t)(1u << n);
	x86_request(&v->cpu, X86_REQ_TIMER);
}

static void stop(struct x86_vcpu *v, unsigned int n)
{
	struct hv_stimer *t = &v->hv.synic.timer[n];

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_stimer_cleanup", "vcpu_id %u timer %u", v->vcpu->id, n);
	v->hv.synic.due &= (uint8_t)~(1u << n);
	t->undelivered = false;
	t->expires = t->deadline = 0;
}

/* --- running ---------------------------------------------------------------------------------- */

static void arm(struct hv_stimer *t, uint64_t units)
{
	uint64_t now = host_now_ns();

	t->deadline = units >= (UINT64_MAX - now) / NS_PER_UNIT ? UINT64_MAX : now + units * NS_PER_UNIT;
}

static void trace_start(struct x86_vcpu *v, unsigned int n, uint64_t now)
{
	const struct hv_stimer *t = &v->hv.synic.timer[n];

	if (t->config & PERIODIC)
		kvm_trace("kvm_hv_stimer_start_periodic", "vcpu_id %u timer %u time_now %llu exp_time %llu", v->vcpu->id, n,
			  (unsigned long long)now, (unsigned long long)t->expires);
	else
		kvm_trace("kvm_hv_stimer_start_one_shot", "vcpu_id %u timer %u time_now %llu count %llu", v->vcpu->id, n,
			  (unsigned long long)now, (unsigned long long)t->count);
}

static void start_periodic(struct hv_stimer *t, uint64_t now)
{
	if (!t->expires)
		t->expires = now + t->count;
	else if (now >= t->expires)
		t->expires = now + t->count - (now - t->expires) % t->count;
	arm(t, t->expires - now);
}

/* One in the past expires at once. */
static void start(struct x86_vcpu *v, unsigned int n)
{
	struct hv_stimer *t = &v->hv.synic.timer[n];
	uint64_t now = reference_now(v);

	if (t->config & PERIODIC) {
		start_periodic(t, now);
	} else {
		t->expires = t->count;
		if (now >= t->count) {
			look_at(v, n);
			return;
		}
		arm(t, t->count - now);
	}
	if (unlikely(v->vm->traced))
		trace_start(v, n, now);
}

static int send_message(struct x86_vcpu *v, unsigned int n)
{
	const struct hv_stimer *t = &v->hv.synic.timer[n];
	struct hv_timer_message m = {
		.type = MESSAGE_TIMER_EXPIRED, .payload_size = TIMER_PAYLOAD,
		.timer = n, .expiration_time = t->expires, .delivery_time = reference_now(v),
	};

	return hv_message_deliver(v, SINT(t->config), &m, t->config & PERIODIC);
}

static int send_vector(struct x86_vcpu *v, uint64_t config)
{
	struct apic_msg m = { .vector = VECTOR(config), .delivery = APIC_FIXED, .assert = true };

	return lapic_accept(&v->lapic, &m) ? 0 : -EFAULT;
}

static void expire(struct x86_vcpu *v, unsigned int n)
{
	struct hv_stimer *t = &v->hv.synic.timer[n];
	bool direct = t->config & DIRECT;
	int r;

	t->undelivered = true;
	r = direct ? send_vector(v, t->config) : send_message(v, n);
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_stimer_expiration", "vcpu_id %u timer %u direct %d send result %d", v->vcpu->id, n,
			  direct, r);
	if (r)
		return;
	x86_stat_inc(v->vcpu, direct ? X86_STAT_HV_STIMERS_DIRECT : X86_STAT_HV_STIMERS);
	t->undelivered = false;
	if (!(t->config & PERIODIC))
		t->config &= ~ENABLE;
}

static void serve(struct x86_vcpu *v, unsigned int n)
{
	struct hv_stimer *t = &v->hv.synic.timer[n];

	if (!(t->config & ENABLE))
		return;
	if (t->expires && reference_now(v) >= t->expires)
		expire(v, n);
	if (!(t->config & ENABLE) || !t->count)
		stop(v, n);
	else if (!t->undelivered)
		start(v, n);
}

static void collect_expired(struct x86_vcpu *v)
{
	struct hv_synic *s = &v->hv.synic;
	uint64_t now = host_now_ns();

	if (!s->deadline || now < s->deadline)
		return;
	for (unsigned int n = 0; n < HV_STIMERS; n++) {
		if (!s->timer[n].deadline || now < s->timer[n].deadline)
			continue;
		s->timer[n].deadline = 0;
		s->due |= (uint8_t)(1u << n);
		if (unlikely(v->vm->traced))
			kvm_trace("kvm_hv_stimer_callback", "vcpu_id %u timer %u", v->vcpu->id, n);
	}
}

/* To wake for the earliest. */
static void rearm(struct hv_synic *s)
{
	uint64_t first = UINT64_MAX;

	for (unsigned int n = 0; n < HV_STIMERS; n++)
		if (s->timer[n].deadline && s->timer[n].deadline < first)
			first = s->timer[n].deadline;
	s->deadline = first == UINT64_MAX ? 0 : first;
	if (s->deadline)
		host_timer_arm(&s->host_timer, s->deadline);
	else
		host_timer_disarm(&s->host_timer);
}

void hv_stimers_serve(struct x86_vcpu *v)
{
	struct hv_synic *s = &v->hv.synic;
	bool passed = s->deadline && host_now_ns() >= s->deadline;

	if (!s->due && !passed)
		return;
	collect_expired(v);
	while (s->due) {
		unsigned int n = (unsigned int)__builtin_ctz(s->due);

		s->due &= (uint8_t)(s->due - 1);
		serve(v, n);
	}
	rearm(s);
}

void hv_stimers_retry(struct x86_vcpu *v, unsigned int sint)
{
	for (unsigned int n = 0; n < HV_STIMERS; n++) {
		const struct hv_stimer *t = &v->hv.synic.timer[n];

		if (t->undelivered && (t->config & (ENABLE | DIRECT)) == ENABLE && SINT(t->config) == sint)
			look_at(v, n);
	}
}

/* --- registers -------------------------------------------------------------------------------- */

static int set_config(struct x86_vcpu *v, unsigned int n, uint64_t value, bool host)
{
	static const struct hv_permit direct = { HV_FEATURES_D, HV_STIMER_DIRECT };
	struct hv_stimer *t = &v->hv.synic.timer[n];

	if (!host && (value & DIRECT) && !hv_permitted(v, &direct))
		return -EINVAL;
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_stimer_set_config", "vcpu_id %u timer %u config 0x%llx host %d", v->vcpu->id, n,
			  (unsigned long long)value, host);
	stop(v, n);
	/* A timer without a synthetic interrupt cannot stay enabled; one that is made so is taken as it is. */
	if ((t->config & ENABLE) && !(value & DIRECT) && !SINT(value))
		value &= ~ENABLE;
	t->config = value;
	if (value & ENABLE)
		look_at(v, n);
	return 0;
}

static int set_count(struct x86_vcpu *v, unsigned int n, uint64_t value, bool host)
{
	struct hv_stimer *t = &v->hv.synic.timer[n];

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_stimer_set_count", "vcpu_id %u timer %u count %llu host %d", v->vcpu->id, n,
			  (unsigned long long)value, host);
	stop(v, n);
	t->count = value;
	if (!host && !value)
		t->config &= ~ENABLE;
	else if (!host && (t->config & AUTO_ENABLE))
		t->config |= ENABLE;
	if (t->config & ENABLE)
		look_at(v, n);
	return 0;
}

int hv_stimer_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	unsigned int n = (index - HV_MSR_STIMER0_CONFIG) / 2;

	if (!atomic_load(&v->hv.synic.active) && (!host || value))
		return -EINVAL;
	return (index - HV_MSR_STIMER0_CONFIG) % 2 ? set_count(v, n, value, host) : set_config(v, n, value, host);
}

int hv_stimer_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	const struct hv_stimer *t = &v->hv.synic.timer[(index - HV_MSR_STIMER0_CONFIG) / 2];

	*value = (index - HV_MSR_STIMER0_CONFIG) % 2 ? t->count : t->config;
	return 0;
}
