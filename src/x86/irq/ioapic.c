// SPDX-License-Identifier: MIT
/*
 * ioapic.c - the I/O APIC (Intel's data sheet 290566) as KVM models it.
 *
 * irr holds the pins that are high.  A level triggered pin is sent when it is
 * high and not masked and its remote IRR is clear; sending sets remote IRR, and
 * the EOI of its vector clears it and looks again.  An edge is sent once, when
 * it comes; one that found the pin masked waits in irr until the pin is low.
 *
 * An EOI reports the pin before it looks at its level again, since that report
 * is what lets the owner of a resampling irqfd lower the line.
 */
#include "x86/irq/ioapic.h"

#include <errno.h>
#include <string.h>

#define PINS		KVM_IOAPIC_NUM_PINS
#define VERSION		0x11u
#define RTC_PIN		8
#define WINDOW		0x10
#define STORM_LIMIT	10000
#define STORM_DELAY_NS	10000000ull

enum {
	REG_ID = 0,
	REG_VERSION = 1,
	REG_ARB_ID = 2,
	REG_REDIR = 0x10,
};

typedef __typeof__(((struct kvm_ioapic_state *)0)->redirtbl[0]) redir_t;

_Static_assert(sizeof(struct kvm_ioapic_state) == 216, "KVM_GET_IRQCHIP");
_Static_assert(sizeof(redir_t) == 8, "a redirection entry");

/* Which EOIs concern us: of level triggered pins, of pins somebody waits for, of the RTC.  Lock held. */
static void publish_eoi_vectors(struct ioapic *io)
{
	uint64_t v[4] = { 0 };

	for (unsigned int pin = 0; pin < PINS; pin++) {
		const redir_t *e = &io->state.redirtbl[pin];

		if (e->fields.trig_mode || pin == RTC_PIN || io->ack_pins >> pin & 1)
			v[e->fields.vector / 64] |= 1ull << e->fields.vector % 64;
	}
	/* An RTC interrupt on its way ends under the vector it was sent with. */
	if (io->rtc_pending)
		v[io->rtc_vector / 64] |= 1ull << io->rtc_vector % 64;
	apic_bus_set_eoi_vectors(io->bus, v);
}

/* Without the lock: who is asked may hold locks of its own when it drives pins. */
static uint32_t ask_ack_pins(struct ioapic *io)
{
	uint32_t pins = 0;

	for (unsigned int pin = 0; pin < PINS; pin++)
		if (io->ops->pins.ack_wanted(io->vm, KVM_IRQCHIP_IOAPIC, pin))
			pins |= 1u << pin;
	return pins;
}

void ioapic_acks_changed(struct ioapic *io)
{
	uint32_t pins = ask_ack_pins(io), asked;

	/* Asks again behind it: of two that do this at once, the last to store has the last answer. */
	do {
		asked = pins;
		pthread_mutex_lock(&io->lock);
		io->ack_pins = asked;
		publish_eoi_vectors(io);
		pthread_mutex_unlock(&io->lock);
		pins = ask_ack_pins(io);
	} while (pins != asked);
}

void ioapic_init(struct ioapic *io, struct apic_bus *bus, const struct ioapic_ops *ops, void *vm)
{
	memset(io, 0, sizeof(*io));
	pthread_mutex_init(&io->lock, NULL);
	io->ops = ops;
	io->vm = vm;
	io->bus = bus;
	io->state.base_address = IOAPIC_DEFAULT_BASE;
	for (unsigned int pin = 0; pin < PINS; pin++)
		io->state.redirtbl[pin].fields.mask = 1;
	ioapic_acks_changed(io);
}

void ioapic_destroy(struct ioapic *io)
{
	static const uint64_t none[4];

	apic_bus_set_eoi_vectors(io->bus, none);
	pthread_mutex_destroy(&io->lock);
}

static void forget_rtc(struct ioapic *io)
{
	memset(&io->rtc_dests, 0, sizeof(io->rtc_dests));
	io->rtc_pending = 0;
}

/* Sends @pin if it may be sent now. */
static int service(struct ioapic *io, unsigned int pin, bool line_status)
{
	redir_t *e = &io->state.redirtbl[pin];
	bool level = e->fields.trig_mode, rtc = pin == RTC_PIN && line_status;
	struct apic_msg msg = {
		.dest = e->fields.dest_id,
		.vector = e->fields.vector,
		.delivery = e->fields.delivery_mode,
		.logical = e->fields.dest_mode,
		.level_trig = level,
		.assert = true,
	};
	int r;

	if (e->fields.mask || (level && e->fields.remote_irr))
		return -1;
	if (!level)
		io->irr_delivered |= 1u << pin;
	if (rtc)
		forget_rtc(io);
	r = apic_bus_deliver(io->bus, NULL, &msg, rtc ? &io->rtc_dests : NULL);
	if (rtc) {
		io->rtc_pending = r < 0 ? 0 : r;
		io->rtc_vector = msg.vector;
	}
	/* KVM's rule: also where nobody was there to accept it. */
	if (r && level)
		e->fields.remote_irr = 1;
	return r;
}

static int set_level(struct ioapic *io, unsigned int pin, bool level, bool line_status)
{
	uint32_t bit = 1u << pin, old = io->state.irr;
	bool edge = !io->state.redirtbl[pin].fields.trig_mode;

	if (!level) {
		io->state.irr &= ~bit;
		return 1;
	}
	if (pin == RTC_PIN && line_status && io->rtc_pending > 0)
		return 0;
	io->state.irr |= bit;
	if (edge) {
		io->irr_delivered &= ~bit;
		if (old & bit)
			return 0;
	}
	return service(io, pin, line_status);
}

int ioapic_set_irq(struct ioapic *io, unsigned int pin, enum irq_source source, bool level,
		   bool line_status)
{
	int r;

	pthread_mutex_lock(&io->lock);
	level = irq_line_update(&io->lines[pin], source, level);
	r = set_level(io, pin, level, line_status);
	pthread_mutex_unlock(&io->lock);
	return r;
}

static void rtc_eoi(struct ioapic *io, unsigned int index, uint8_t vector)
{
	uint64_t *word = &io->rtc_dests.map[index / 64], bit = 1ull << index % 64;

	if (vector != io->rtc_vector || !(*word & bit))
		return;
	*word &= ~bit;
	if (io->rtc_pending > 0)
		io->rtc_pending--;
}

/* After the EOI of a level triggered pin: send it again if it is still high, but slow down a storm. */
static bool resend(struct ioapic *io, unsigned int pin)
{
	redir_t *e = &io->state.redirtbl[pin];

	e->fields.remote_irr = 0;
	if (e->fields.mask || !(io->state.irr >> pin & 1)) {
		io->successive[pin] = 0;
		return false;
	}
	if (++io->successive[pin] == STORM_LIMIT && io->ops->retry_later) {
		io->successive[pin] = 0;
		return true;
	}
	service(io, pin, false);
	return false;
}

void ioapic_eoi(struct ioapic *io, unsigned int index, uint8_t vector, bool level)
{
	bool later = false;

	pthread_mutex_lock(&io->lock);
	rtc_eoi(io, index, vector);
	for (unsigned int pin = 0; pin < PINS; pin++) {
		const redir_t *e = &io->state.redirtbl[pin];

		/* An edge says nothing about a level triggered pin that happens to have the same vector. */
		if (e->fields.vector != vector || (!level && e->fields.trig_mode))
			continue;
		pthread_mutex_unlock(&io->lock);
		io->ops->pins.acked(io->vm, KVM_IRQCHIP_IOAPIC, pin);
		pthread_mutex_lock(&io->lock);
		if (level)
			later |= resend(io, pin);
	}
	pthread_mutex_unlock(&io->lock);
	if (later)
		io->ops->retry_later(io->vm, STORM_DELAY_NS);
}

void ioapic_retry(struct ioapic *io)
{
	pthread_mutex_lock(&io->lock);
	for (unsigned int pin = 0; pin < PINS; pin++)
		if (io->state.redirtbl[pin].fields.trig_mode && io->state.irr >> pin & 1)
			service(io, pin, false);
	pthread_mutex_unlock(&io->lock);
}

static uint32_t read_window(const struct ioapic *io)
{
	uint32_t sel = io->state.ioregsel, pin = (sel - REG_REDIR) >> 1;

	switch (sel) {
	case REG_VERSION:
		return (PINS - 1) << 16 | VERSION;
	case REG_ID:
	case REG_ARB_ID:
		return (io->state.id & 0xf) << 24;
	}
	if (pin >= PINS)
		return ~0u;
	return io->state.redirtbl[pin].bits >> (sel & 1) * 32;
}

/* Writes half of a redirection entry.  Returns 1 if its mask bit changed. */
static bool write_redir(struct ioapic *io, unsigned int pin, bool high, uint32_t v)
{
	redir_t *e = &io->state.redirtbl[pin], old = *e;

	if (high)
		e->bits = (e->bits & 0xffffffff) | (uint64_t)v << 32;
	else
		e->bits = (e->bits & ~0xffffffffull) | v;
	/* Read-only.  Linux clears remote IRR by making the pin edge triggered for a moment. */
	e->fields.delivery_status = old.fields.delivery_status;
	e->fields.remote_irr = e->fields.trig_mode ? old.fields.remote_irr : 0;
	publish_eoi_vectors(io);
	if (e->fields.trig_mode && io->state.irr >> pin & 1)
		service(io, pin, false);
	return e->fields.mask != old.fields.mask;
}

/* Returns the pin whose mask bit changed, or -1. */
static int write_window(struct ioapic *io, uint32_t v)
{
	uint32_t sel = io->state.ioregsel, pin = (sel - REG_REDIR) >> 1;

	if (sel == REG_ID)
		io->state.id = v >> 24 & 0xf;
	if (sel < REG_REDIR || pin >= PINS)
		return -1;
	return write_redir(io, pin, sel & 1, v) ? (int)pin : -1;
}

static bool ours(struct ioapic *io, uint64_t gpa)
{
	return gpa - io->state.base_address < IOAPIC_MEM_SIZE;
}

int ioapic_read(struct ioapic *io, uint64_t gpa, unsigned int len, void *data)
{
	uint32_t v = 0;
	bool mine;

	pthread_mutex_lock(&io->lock);
	mine = ours(io, gpa);
	if (mine && (gpa & 0xff) == 0)
		v = io->state.ioregsel;
	else if (mine && (gpa & 0xff) == WINDOW)
		v = read_window(io);
	pthread_mutex_unlock(&io->lock);
	if (!mine)
		return -EOPNOTSUPP;
	memset(data, 0, len);
	memcpy(data, &v, len < sizeof(v) ? len : sizeof(v));
	return 0;
}

int ioapic_write(struct ioapic *io, uint64_t gpa, unsigned int len, const void *data)
{
	uint32_t v = 0;
	int changed = -1;
	bool mine, masked = false;

	memcpy(&v, data, len < sizeof(v) ? len : sizeof(v));
	pthread_mutex_lock(&io->lock);
	mine = ours(io, gpa);
	if (mine && (gpa & 0xff) == 0)
		io->state.ioregsel = v & 0xff;
	else if (mine && (gpa & 0xff) == WINDOW)
		changed = write_window(io, v);
	if (changed >= 0)
		masked = io->state.redirtbl[changed].fields.mask;
	pthread_mutex_unlock(&io->lock);
	if (changed >= 0)
		io->ops->pins.masked(io->vm, KVM_IRQCHIP_IOAPIC, changed, masked);
	return mine ? 0 : -EOPNOTSUPP;
}

void ioapic_get_state(struct ioapic *io, struct kvm_ioapic_state *s)
{
	pthread_mutex_lock(&io->lock);
	*s = io->state;
	/* What was sent is the local APIC's to remember: raising it again would double it. */
	s->irr &= ~io->irr_delivered;
	pthread_mutex_unlock(&io->lock);
}

static void restore_rtc(struct ioapic *io)
{
	const redir_t *e = &io->state.redirtbl[RTC_PIN];

	forget_rtc(io);
	io->rtc_vector = e->fields.vector;
	io->rtc_pending = apic_bus_in_flight(io->bus, e->fields.dest_id, e->fields.dest_mode,
					     e->fields.vector, &io->rtc_dests);
}

void ioapic_set_state(struct ioapic *io, const struct kvm_ioapic_state *s)
{
	pthread_mutex_lock(&io->lock);
	io->state = *s;
	io->state.irr = 0;
	io->irr_delivered = 0;
	forget_rtc(io);
	publish_eoi_vectors(io);
	for (unsigned int pin = 0; pin < PINS; pin++)
		if (s->irr >> pin & 1)
			set_level(io, pin, true, true);
	restore_rtc(io);
	pthread_mutex_unlock(&io->lock);
}
