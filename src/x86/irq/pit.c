// SPDX-License-Identifier: MIT
/*
 * pit.c - the 8254 (Intel's data sheet 231164) as KVM models it.
 *
 * No counter runs: what it would read is computed from the time since it was
 * loaded.  Counter 0 alone has a timer, and its time is reckoned from that, so
 * that count and interrupt agree.  BCD is accepted and counted in binary.
 *
 * Reinjection: each expiry of counter 0 is owed to the guest.  A tick is sent
 * when the one before was acknowledged; while it is not, ticks add up in
 * "pending", and each acknowledgement sends one.
 */
#include "x86/irq/pit.h"

#include <errno.h>
#include <string.h>

#define NS_PER_S	1000000000ull
#define MIN_PERIOD_NS	200000u		/* as for the local APIC's timer */
#define MODE_NONE	0xff		/* not programmed yet */
#define FULL_COUNT	0x10000u	/* what a count of 0 means */
#define MAX_PENDING	(1u << 30)

/* Access: rw_mode, read_state, write_state, count_latched. */
enum {
	BYTE_LSB = 1,
	BYTE_MSB,
	WORD_LSB,
	WORD_MSB,
};

/* Port B (61h) */
#define PORTB_GATE	0x01
#define PORTB_SPEAKER	0x02
#define PORTB_REFRESH	0x10
#define PORTB_OUT	0x20

_Static_assert(sizeof(struct kvm_pit_state2) == 112, "KVM_GET_PIT2");

static uint64_t now(struct pit *p)
{
	return p->ops->now_ns(p->vm);
}

static uint64_t mul_div(uint64_t a, uint64_t b, uint64_t c)
{
	return (unsigned __int128)a * b / c;
}

/* Input clocks since counter @n was loaded. */
static uint64_t clocks(struct pit *p, unsigned int n)
{
	uint64_t ns, t = now(p);

	if (n)
		ns = t - p->channel[n].count_load_time;
	else
		ns = p->period ? p->period + t - p->expires : 0;
	return (int64_t)ns < 0 ? 0 : mul_div(ns, PIT_FREQ, NS_PER_S);
}

/* Modes 2 and 3 reload, 3 counting by two; the others run on below 0. */
static uint16_t count(struct pit *p, unsigned int n)
{
	const struct kvm_pit_channel_state *c = &p->channel[n];
	uint64_t d = clocks(p, n);

	switch (c->mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		return c->count - d;
	case 3:
		return c->count - 2 * d % c->count;
	default:
		return c->count - d % c->count;
	}
}

static bool out(struct pit *p, unsigned int n)
{
	const struct kvm_pit_channel_state *c = &p->channel[n];
	uint64_t d = clocks(p, n);

	switch (c->mode) {
	case 1:
		return d < c->count;
	case 2:
		return d && d % c->count == 0;
	case 3:
		return d % c->count < (c->count + 1) / 2;
	case 4:
	case 5:
		return d == c->count;
	default:
		return d >= c->count;
	}
}

/*
 * Behind whatever may make a tick due.  One thread at a time sends them: a tick that began while the line is still up
 * from the one before, as the guest may acknowledge that so soon, would be no edge, and nothing would ever follow it.
 */
static void unlock(struct pit *p)
{
	while (p->due && !p->sending) {
		p->due = false;
		p->sending = true;
		pthread_mutex_unlock(&p->lock);
		p->ops->tick(p->vm);
		pthread_mutex_lock(&p->lock);
		p->sending = false;
	}
	pthread_mutex_unlock(&p->lock);
}

static void reset_reinject(struct pit *p)
{
	p->pending = 0;
	p->acked = true;
}

static void disarm(struct pit *p)
{
	p->armed = false;
	p->ops->arm_timer(p->vm, 0);
}

static void start_counter0(struct pit *p, uint32_t value, bool periodic)
{
	uint64_t ns = mul_div(value, NS_PER_S, PIT_FREQ);

	/* Counter 0 drives nothing while an HPET in legacy mode does. */
	if (p->flags & KVM_PIT_FLAGS_HPET_LEGACY)
		return;
	p->period = periodic && ns < MIN_PERIOD_NS ? MIN_PERIOD_NS : ns;
	p->periodic = periodic;
	p->expires = now(p) + ns;
	p->armed = true;
	reset_reinject(p);
	p->ops->arm_timer(p->vm, p->expires);
}

static void load(struct pit *p, unsigned int n, uint32_t value)
{
	if (!value)
		value = FULL_COUNT;
	p->channel[n].count = value;
	if (n) {
		p->channel[n].count_load_time = now(p);
		return;
	}
	switch (p->channel[0].mode) {
	case 0:
	case 1:
	case 4:
		start_counter0(p, value, false);
		break;
	case 2:
	case 3:
		start_counter0(p, value, true);
		break;
	default:
		/* Mode 5 waits for an edge at a gate that is always high. */
		p->period = 0;
		disarm(p);
	}
}

void pit_init(struct pit *p, bool speaker, const struct pit_ops *ops, void *vm)
{
	memset(p, 0, sizeof(*p));
	pthread_mutex_init(&p->lock, NULL);
	p->ops = ops;
	p->vm = vm;
	p->speaker = speaker;
	p->reinject = true;
	for (unsigned int n = 0; n < 3; n++) {
		p->channel[n].mode = MODE_NONE;
		p->channel[n].gate = n != 2;
		load(p, n, 0);
	}
	reset_reinject(p);
}

void pit_destroy(struct pit *p)
{
	pthread_mutex_destroy(&p->lock);
}

/* 1 if a tick is to be sent now: the guest is ready for it. */
static bool may_tick(struct pit *p)
{
	bool ready = !p->reinject || p->acked;

	p->acked = false;
	return ready;
}

/* How often the timer went off by @t; sets the next time. */
static uint64_t expiries(struct pit *p, uint64_t t)
{
	uint64_t n = 1;

	if (!p->armed || t < p->expires)
		return 0;
	p->armed = p->periodic;
	if (p->periodic) {
		n += (t - p->expires) / p->period;
		p->expires += n * p->period;
		p->ops->arm_timer(p->vm, p->expires);
	}
	return n;
}

void pit_timer_expired(struct pit *p)
{
	uint64_t n;

	pthread_mutex_lock(&p->lock);
	n = expiries(p, now(p));
	if (p->reinject)
		p->pending = p->pending + n > MAX_PENDING ? MAX_PENDING : p->pending + n;
	if (n && may_tick(p))
		p->due = true;
	unlock(p);
}

void pit_acked(struct pit *p)
{
	pthread_mutex_lock(&p->lock);
	p->acked = true;
	if (p->pending && --p->pending && p->reinject && may_tick(p))
		p->due = true;
	unlock(p);
}

void pit_unmasked(struct pit *p)
{
	pthread_mutex_lock(&p->lock);
	reset_reinject(p);
	pthread_mutex_unlock(&p->lock);
}

void pit_set_reinject(struct pit *p, bool reinject)
{
	pthread_mutex_lock(&p->lock);
	if (reinject && !p->reinject)
		reset_reinject(p);
	p->reinject = reinject;
	pthread_mutex_unlock(&p->lock);
}

bool pit_wants_ack(struct pit *p)
{
	bool wants;

	pthread_mutex_lock(&p->lock);
	wants = p->reinject;
	pthread_mutex_unlock(&p->lock);
	return wants;
}

static void latch_count(struct pit *p, unsigned int n)
{
	struct kvm_pit_channel_state *c = &p->channel[n];

	if (c->count_latched)
		return;
	c->latched_count = count(p, n);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct pit *p, unsigned int n)
{
	struct kvm_pit_channel_state *c = &p->channel[n];

	if (c->status_latched)
		return;
	/* Bit 6, null count, stays 0: a count takes effect at once here. */
	c->status = out(p, n) << 7 | c->rw_mode << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

static void read_back(struct pit *p, uint8_t v)
{
	for (unsigned int n = 0; n < 3; n++) {
		if (!(v & 2 << n))
			continue;
		if (!(v & 0x20))
			latch_count(p, n);
		if (!(v & 0x10))
			latch_status(p, n);
	}
}

static void control(struct pit *p, uint8_t v)
{
	struct kvm_pit_channel_state *c;
	uint8_t access = v >> 4 & 3;

	if (v >> 6 == 3)
		return read_back(p, v);
	if (!access)
		return latch_count(p, v >> 6);
	c = &p->channel[v >> 6];
	c->rw_mode = access;
	c->read_state = access;
	c->write_state = access;
	/* Bit 2 of the mode does not matter for modes 2 and 3. */
	c->mode = v >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = v & 1;
}

static void write_count(struct pit *p, unsigned int n, uint8_t v)
{
	struct kvm_pit_channel_state *c = &p->channel[n];

	switch (c->write_state) {
	case BYTE_MSB:
		load(p, n, v << 8);
		break;
	case WORD_LSB:
		c->write_latch = v;
		c->write_state = WORD_MSB;
		break;
	case WORD_MSB:
		load(p, n, c->write_latch | v << 8);
		c->write_state = WORD_LSB;
		break;
	default:
		load(p, n, v);
	}
}

static uint8_t read_latched(struct kvm_pit_channel_state *c)
{
	uint8_t state = c->count_latched;

	c->count_latched = state == WORD_LSB ? BYTE_MSB : 0;
	return state == BYTE_MSB ? c->latched_count >> 8 : c->latched_count & 0xff;
}

static uint8_t read_count(struct pit *p, unsigned int n)
{
	struct kvm_pit_channel_state *c = &p->channel[n];

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	switch (c->read_state) {
	case BYTE_MSB:
		return count(p, n) >> 8;
	case WORD_LSB:
		c->read_state = WORD_MSB;
		return count(p, n);
	case WORD_MSB:
		c->read_state = WORD_LSB;
		return count(p, n) >> 8;
	default:
		return count(p, n);
	}
}

/* A rising gate restarts modes 1, 2, 3 and 5; it would stop counting in the others, which is not modelled. */
static void set_gate2(struct pit *p, bool gate)
{
	struct kvm_pit_channel_state *c = &p->channel[2];

	if (gate && !c->gate && (c->mode == 1 || c->mode == 2 || c->mode == 3 || c->mode == 5))
		c->count_load_time = now(p);
	c->gate = gate;
}

static void write_port_b(struct pit *p, uint8_t v)
{
	if (v & PORTB_SPEAKER)
		p->flags |= KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	else
		p->flags &= ~KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	set_gate2(p, v & PORTB_GATE);
}

static uint8_t read_port_b(struct pit *p)
{
	uint8_t v = p->channel[2].gate & PORTB_GATE;

	if (p->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON)
		v |= PORTB_SPEAKER;
	/* The refresh request toggles every 15 us or so; 2^14 ns is near enough. */
	if (now(p) >> 14 & 1)
		v |= PORTB_REFRESH;
	if (out(p, 2))
		v |= PORTB_OUT;
	return v;
}

static bool ours(const struct pit *p, uint16_t port)
{
	return (port >= 0x40 && port <= 0x43) || (port == PIT_SPEAKER && p->speaker);
}

int pit_read(struct pit *p, uint16_t port, unsigned int len, void *data)
{
	uint8_t v = 0;

	if (!ours(p, port))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&p->lock);
	if (port == PIT_SPEAKER)
		v = read_port_b(p);
	else if (port != 0x43)
		v = read_count(p, port & 3);
	pthread_mutex_unlock(&p->lock);
	memset(data, 0, len);
	memcpy(data, &v, 1);
	return 0;
}

int pit_write(struct pit *p, uint16_t port, unsigned int len, const void *data)
{
	uint8_t v;

	if (!ours(p, port))
		return -EOPNOTSUPP;
	memcpy(&v, data, 1);
	pthread_mutex_lock(&p->lock);
	if (port == PIT_SPEAKER)
		write_port_b(p, v);
	else if (port == 0x43)
		control(p, v);
	else
		write_count(p, port & 3, v);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

void pit_get_state(struct pit *p, struct kvm_pit_state2 *s)
{
	memset(s, 0, sizeof(*s));
	pthread_mutex_lock(&p->lock);
	memcpy(s->channels, p->channel, sizeof(s->channels));
	s->flags = p->flags;
	pthread_mutex_unlock(&p->lock);
}

/* @hpet: an HPET takes over counter 0, which keeps its mode but stops. */
static void set_channels(struct pit *p, const struct kvm_pit_channel_state c[3], bool hpet)
{
	memcpy(p->channel, c, sizeof(p->channel));
	for (unsigned int n = 0; n < 3; n++) {
		uint8_t mode = p->channel[n].mode;

		if (hpet && n == 0)
			p->channel[n].mode = MODE_NONE;
		load(p, n, p->channel[n].count);
		p->channel[n].mode = mode;
	}
}

void pit_set_state(struct pit *p, const struct kvm_pit_state2 *s)
{
	bool hpet;

	pthread_mutex_lock(&p->lock);
	hpet = s->flags & ~p->flags & KVM_PIT_FLAGS_HPET_LEGACY;
	p->flags = s->flags;
	set_channels(p, s->channels, hpet);
	pthread_mutex_unlock(&p->lock);
}

void pit_set_state1(struct pit *p, const struct kvm_pit_state *s)
{
	pthread_mutex_lock(&p->lock);
	set_channels(p, s->channels, false);
	pthread_mutex_unlock(&p->lock);
}
