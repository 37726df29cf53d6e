// SPDX-License-Identifier: MIT
/*
 * lapic_timer.c - the local APIC's timer (SDM 3A, 11.5.4): one-shot, periodic,
 * TSC deadline.
 *
 * An expiry is always delivered by lapic_timer_expired(), also one that was
 * due when it was programmed: arming a deadline in the past makes the owner
 * call at once, between instructions.
 *
 * In TSC-deadline mode tsc_deadline != 0 means armed; in the counting modes
 * period != 0 && target != 0 does.
 */
#include <string.h>

#include "x86/irq/lapic.h"
#include "x86/irq/lapic_priv.h"

#define BUS_CYCLE_NS	1u
/* Shorter periods would let a guest keep the host busy; 200 us is KVM's limit too. */
#define MIN_PERIOD_NS	200000u
#define MAX_DELTA_NS	(1ull << 62)

static uint64_t now(const struct lapic *l)
{
	return l->ops->now_ns(l->vcpu);
}

/* A deadline of 0 means none, so "the very beginning" becomes 1. */
static void arm(struct lapic *l, uint64_t deadline)
{
	l->ops->arm_timer(l->vcpu, deadline ? deadline : 1);
}

static void disarm(struct lapic *l)
{
	l->ops->arm_timer(l->vcpu, 0);
}

uint32_t lapic_timer_modes(const struct lapic *l)
{
	return TIMER_PERIODIC | (l->features & LAPIC_FEAT_TSC_DEADLINE ? TIMER_DEADLINE : 0);
}

static void arm_tsc_deadline(struct lapic *l)
{
	uint64_t deadline = l->timer.tsc_deadline, t = now(l), tsc = l->ops->guest_tsc(l->vcpu);
	uint32_t khz = l->ops->tsc_khz(l->vcpu);
	unsigned __int128 delta;

	if (!deadline || !khz)
		return disarm(l);
	if (deadline <= tsc)
		return arm(l, t);
	/* Rounded up: firing before the guest's TSC gets there would be seen. */
	delta = ((unsigned __int128)(deadline - tsc) * 1000000 + khz - 1) / khz;
	arm(l, t + (delta < MAX_DELTA_NS ? (uint64_t)delta : MAX_DELTA_NS));
}

static void arm_timer(struct lapic *l)
{
	if (l->timer.mode == TIMER_DEADLINE)
		arm_tsc_deadline(l);
	else if (l->timer.mode <= TIMER_PERIODIC && l->timer.period && l->timer.target)
		arm(l, l->timer.target);
	else
		disarm(l);
}

static void limit_period(struct lapic *l)
{
	if (l->timer.mode == TIMER_PERIODIC && l->timer.period && l->timer.period < MIN_PERIOD_NS)
		l->timer.period = MIN_PERIOD_NS;
}

static uint64_t count_to_ns(const struct lapic *l, uint32_t count)
{
	return (uint64_t)count * BUS_CYCLE_NS * l->timer.divide;
}

static void set_period(struct lapic *l)
{
	l->timer.period = count_to_ns(l, lapic_reg(l, REG_TMICT));
	limit_period(l);
}

/* Bits 3, 1 and 0 of the divide configuration: 111 divides by 1, else n by 2^(n+1). */
static uint32_t divide_count(uint32_t tdcr)
{
	return 1u << (((tdcr & 3) | (tdcr >> 1 & 4)) + 1) % 8;
}

void lapic_timer_stop(struct lapic *l)
{
	lapic_set_reg(l, REG_TMICT, 0);
	lapic_set_reg(l, REG_TDCR, 0);
	memset(&l->timer, 0, sizeof(l->timer));
	l->timer.divide = divide_count(0);
	disarm(l);
}

/* Changing between TSC deadline and the others disarms the timer (SDM 3A, 11.5.4.1). */
void lapic_timer_mode_changed(struct lapic *l)
{
	uint32_t mode = lapic_reg(l, REG_LVTT) & lapic_timer_modes(l);

	if (mode == l->timer.mode)
		return;
	if ((mode == TIMER_DEADLINE) != (l->timer.mode == TIMER_DEADLINE)) {
		lapic_set_reg(l, REG_TMICT, 0);
		l->timer.period = 0;
		l->timer.target = 0;
		l->timer.tsc_deadline = 0;
		disarm(l);
	}
	l->timer.mode = mode;
	limit_period(l);
}

/* Starts a counting mode with @left ns to go. */
static void start(struct lapic *l, uint64_t left)
{
	l->timer.target = l->timer.period ? now(l) + left : 0;
	arm_timer(l);
}

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
	if (l->timer.mode == TIMER_DEADLINE)
		return;
	lapic_set_reg(l, REG_TMICT, count);
	set_period(l);
	start(l, l->timer.period);
}

void lapic_timer_set_divide(struct lapic *l, uint32_t tdcr)
{
	uint32_t old = l->timer.divide;
	uint64_t t, left;

	lapic_set_reg(l, REG_TDCR, tdcr);
	l->timer.divide = divide_count(tdcr);
	if (l->timer.divide == old || !l->timer.period)
		return;
	/* The count that is left goes on at the new rate. */
	set_period(l);
	if (!l->timer.target)
		return;
	t = now(l);
	left = l->timer.target > t ? l->timer.target - t : 0;
	start(l, left * l->timer.divide / old);
}

/* After KVM_SET_LAPIC: TMICT and TDCR are in place, @current is the count to go on from. */
void lapic_timer_restore(struct lapic *l, uint32_t current)
{
	uint64_t left;

	l->timer.divide = divide_count(lapic_reg(l, REG_TDCR));
	if (l->timer.mode == TIMER_DEADLINE)
		return arm_timer(l);
	set_period(l);
	left = count_to_ns(l, current);
	/* 0 is a one-shot timer that has fired, or is about to: as KVM, let it (again). */
	if ((!left && l->timer.mode == TIMER_PERIODIC) || left > l->timer.period)
		left = l->timer.period;
	start(l, left);
}

uint32_t lapic_timer_count(const struct lapic *l)
{
	uint64_t t, left;

	if (l->timer.mode == TIMER_DEADLINE || !l->timer.period)
		return 0;
	t = now(l);
	if (l->timer.target > t)
		left = (l->timer.target - t) % l->timer.period;
	else if (l->timer.mode == TIMER_PERIODIC && l->timer.target)
		/* It has wrapped around already, whenever the owner comes to hear of it. */
		left = l->timer.period - (t - l->timer.target) % l->timer.period;
	else
		left = 0;
	return left / (BUS_CYCLE_NS * l->timer.divide);
}

uint64_t lapic_tsc_deadline(const struct lapic *l)
{
	return lapic_hw_enabled(l) && l->timer.mode == TIMER_DEADLINE ? l->timer.tsc_deadline : 0;
}

void lapic_set_tsc_deadline(struct lapic *l, uint64_t value)
{
	if (!lapic_hw_enabled(l) || l->timer.mode != TIMER_DEADLINE)
		return;
	l->timer.tsc_deadline = value;
	arm_timer(l);
}

void lapic_tsc_changed(struct lapic *l)
{
	if (l->timer.mode == TIMER_DEADLINE && l->timer.tsc_deadline)
		arm_timer(l);
}

static void deadline_expired(struct lapic *l)
{
	if (!l->timer.tsc_deadline)
		return;
	if (l->ops->guest_tsc(l->vcpu) < l->timer.tsc_deadline)
		return arm_timer(l);
	l->timer.tsc_deadline = 0;
	disarm(l);
	lapic_deliver_lvt(l, LAPIC_LVT_TIMER);
}

static void count_expired(struct lapic *l)
{
	uint64_t t = now(l);

	if (!l->timer.period || !l->timer.target)
		return;
	if (t < l->timer.target)
		return arm_timer(l);
	if (l->timer.mode == TIMER_PERIODIC) {
		l->timer.target += l->timer.period;
		/* Lost periods are lost: one interrupt for all of them, as KVM does. */
		if (l->timer.target < t)
			l->timer.target = t;
	} else {
		l->timer.target = 0;
	}
	arm_timer(l);
	lapic_deliver_lvt(l, LAPIC_LVT_TIMER);
}

void lapic_timer_expired(struct lapic *l)
{
	if (l->timer.mode == TIMER_DEADLINE)
		deadline_expired(l);
	else if (l->timer.mode <= TIMER_PERIODIC)
		count_expired(l);
}
