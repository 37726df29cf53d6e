/* SPDX-License-Identifier: MIT */
/*
 * rtc.c - the CMOS clock.
 *
 * The time registers are not kept: they are the host's clock plus an offset,
 * computed when read.  Writing one changes the offset.  A timer runs only
 * while an interrupt is enabled, and only to the next one.
 */
#include "vmm/dev/rtc.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/dev/ports.h"

enum {
	SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM,
	WEEKDAY, MONTHDAY, MONTH, YEAR, REG_A, REG_B, REG_C, REG_D,
	CENTURY = 0x32,
};

#define A_UIP	  0x80
#define A_DIVIDER 0x20 /* 32768 Hz */
#define A_RATE	  0x0f

#define B_SET	 0x80
#define B_PIE	 0x40
#define B_AIE	 0x20
#define B_UIE	 0x10
#define B_BINARY 0x04
#define B_24H	 0x02

#define C_IRQF 0x80
#define C_PF   0x40
#define C_AF   0x20
#define C_UF   0x10

#define D_VALID 0x80

#define HOUR_PM	   0x80
#define ANY_ALARM  0xc0 /* an alarm register from here on matches all */
#define NSEC	   1000000000ull
#define UIP_NS	   244000ull /* the update begins so long after UIP rises */

static uint64_t host_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

static int64_t guest_seconds(const struct rtc *r)
{
	return (int64_t)(host_ns() / NSEC) + r->offset;
}

static uint8_t encode(const struct rtc *r, unsigned int v)
{
	return r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10;
}

static unsigned int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 0xf);
}

static uint8_t encode_hour(const struct rtc *r, unsigned int h)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static unsigned int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* The guest's time into the registers, unless it is just setting them. */
static void refresh(struct rtc *r)
{
	time_t t = guest_seconds(r);
	struct tm tm;

	if (r->cmos[REG_B] & B_SET)
		return;
	gmtime_r(&t, &tm);
	r->cmos[SECONDS] = encode(r, tm.tm_sec);
	r->cmos[MINUTES] = encode(r, tm.tm_min);
	r->cmos[HOURS] = encode_hour(r, tm.tm_hour);
	r->cmos[WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->cmos[MONTHDAY] = encode(r, tm.tm_mday);
	r->cmos[MONTH] = encode(r, tm.tm_mon + 1);
	r->cmos[YEAR] = encode(r, tm.tm_year % 100);
	r->cmos[CENTURY] = encode(r, tm.tm_year / 100 + 19);
}

/* The registers are the guest's new time. */
static void adopt(struct rtc *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->cmos[SECONDS]),
		.tm_min = decode(r, r->cmos[MINUTES]),
		.tm_hour = decode_hour(r, r->cmos[HOURS]),
		.tm_mday = decode(r, r->cmos[MONTHDAY]),
		.tm_mon = (int)decode(r, r->cmos[MONTH]) - 1,
		.tm_year = ((int)decode(r, r->cmos[CENTURY]) - 19) * 100 + (int)decode(r, r->cmos[YEAR]),
	};

	r->offset = timegm(&tm) - (int64_t)(host_ns() / NSEC);
	r->last_update = guest_seconds(r);
}

static uint64_t period_ns(const struct rtc *r)
{
	unsigned int rate = r->cmos[REG_A] & A_RATE;

	if (!rate)
		return 0;
	if (rate < 3)
		rate += 7; /* 1 and 2 are 256 and 128 Hz */
	return NSEC * (1u << (rate - 1)) / 32768;
}

static void raise_flags(struct rtc *r, uint8_t flags)
{
	r->cmos[REG_C] |= flags;
	if (r->cmos[REG_C] & r->cmos[REG_B] & (C_PF | C_AF | C_UF) && !(r->cmos[REG_C] & C_IRQF)) {
		r->cmos[REG_C] |= C_IRQF;
		r->irq(r->irq_opaque, true);
	}
}

static bool alarm_part(uint8_t alarm, uint8_t now)
{
	return (alarm & ANY_ALARM) == ANY_ALARM || alarm == now;
}

static bool alarm_matches(struct rtc *r)
{
	refresh(r);
	return alarm_part(r->cmos[SECONDS_ALARM], r->cmos[SECONDS]) &&
	       alarm_part(r->cmos[MINUTES_ALARM], r->cmos[MINUTES]) &&
	       alarm_part(r->cmos[HOURS_ALARM], r->cmos[HOURS]);
}

/* Have the timer expire at the next second or period that somebody waits for. */
static void arm(struct rtc *r)
{
	uint64_t now = host_ns(), next = 0, period = period_ns(r);
	struct itimerspec it = { 0 };

	if (!(r->cmos[REG_B] & B_PIE) || !period)
		r->next_periodic = 0;
	else if (!r->next_periodic)
		r->next_periodic = now + period;
	else if (r->next_periodic <= now)
		r->next_periodic += (now - r->next_periodic) / period * period + period;
	next = r->next_periodic;
	if (r->cmos[REG_B] & (B_UIE | B_AIE) && !(r->cmos[REG_B] & B_SET)) {
		uint64_t second = (now / NSEC + 1) * NSEC;

		next = next && next < second ? next : second;
	}
	it.it_value.tv_sec = next / NSEC;
	it.it_value.tv_nsec = next % NSEC;
	timerfd_settime(r->timer.fd, TFD_TIMER_ABSTIME, &it, NULL);
}

static void rtc_tick(void *opaque, uint32_t events)
{
	struct rtc *r = opaque;
	uint64_t n;
	ssize_t got = read(r->timer.fd, &n, sizeof(n));

	(void)got; /* rearmed meanwhile: nothing to read, and the checks below find nothing due */
	pthread_mutex_lock(&r->lock);
	if (r->next_periodic && host_ns() >= r->next_periodic)
		raise_flags(r, C_PF);
	if (guest_seconds(r) != r->last_update && !(r->cmos[REG_B] & B_SET)) {
		r->last_update = guest_seconds(r);
		raise_flags(r, C_UF | (alarm_matches(r) ? C_AF : 0));
	}
	arm(r);
	pthread_mutex_unlock(&r->lock);
}

static uint8_t read_reg(struct rtc *r, unsigned int reg)
{
	uint8_t v;

	if (reg == REG_A) {
		bool uip = !(r->cmos[REG_B] & B_SET) && host_ns() % NSEC >= NSEC - UIP_NS;

		return (r->cmos[REG_A] & ~A_UIP) | (uip ? A_UIP : 0);
	}
	if (reg < REG_A || reg == CENTURY)
		refresh(r);
	v = r->cmos[reg];
	if (reg == REG_C) {
		r->cmos[REG_C] = 0;
		r->irq(r->irq_opaque, false);
	}
	return v;
}

static bool is_time(unsigned int reg)
{
	return reg == CENTURY || (reg <= YEAR && (reg > HOURS_ALARM || !(reg & 1)));
}

static void write_time(struct rtc *r, unsigned int reg, uint8_t v)
{
	refresh(r);
	r->cmos[reg] = v;
	if (!(r->cmos[REG_B] & B_SET))
		adopt(r);
}

static void write_b(struct rtc *r, uint8_t v)
{
	uint8_t old = r->cmos[REG_B];

	refresh(r);
	if (v & B_SET)
		v &= ~B_UIE; /* data sheet: SET clears UIE */
	r->cmos[REG_B] = v;
	if (old & ~v & B_SET)
		adopt(r);
	if (!(old & (B_UIE | B_AIE)))
		r->last_update = guest_seconds(r);
	raise_flags(r, 0);
	arm(r);
}

static void write_reg(struct rtc *r, unsigned int reg, uint8_t v)
{
	if (is_time(reg)) {
		write_time(r, reg, v);
	} else if (reg == REG_B) {
		write_b(r, v);
	} else if (reg == REG_A) {
		r->cmos[REG_A] = v & ~A_UIP;
		r->next_periodic = 0;
		arm(r);
	} else if (reg != REG_C && reg != REG_D) {
		r->cmos[reg] = v;
	}
}

static void rtc_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	struct rtc *r = opaque;
	uint8_t *p = data;

	pthread_mutex_lock(&r->lock);
	for (unsigned int i = 0; i < len; i++)
		p[i] = off + i ? read_reg(r, r->index) : 0xff;
	pthread_mutex_unlock(&r->lock);
}

static void rtc_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct rtc *r = opaque;
	const uint8_t *p = data;

	pthread_mutex_lock(&r->lock);
	for (unsigned int i = 0; i < len; i++) {
		if (off + i)
			write_reg(r, r->index, p[i]);
		else
			r->index = p[i] & 0x7f; /* bit 7 masks NMIs, of which there are none */
	}
	pthread_mutex_unlock(&r->lock);
}

static const struct bus_ops rtc_ops = { .read = rtc_read, .write = rtc_write };

int rtc_init(struct rtc *r, struct bus *bus, struct loop *loop, void (*irq)(void *opaque, bool high),
	     void *opaque)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->loop = loop;
	r->irq = irq;
	r->irq_opaque = opaque;
	r->cmos[REG_A] = A_DIVIDER | 6; /* 1024 Hz, as a BIOS leaves it */
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	r->last_update = guest_seconds(r);
	pthread_mutex_init(&r->lock, NULL);
	r->timer = (struct loop_source){ .fn = rtc_tick, .opaque = r };
	r->timer.fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (r->timer.fd < 0)
		return -errno;
	err = loop_add(loop, &r->timer, EPOLLIN);
	if (!err)
		err = bus_add(bus, BUS_PORT, PORT_RTC, 2, &rtc_ops, r);
	if (err)
		close(r->timer.fd);
	return err;
}

void rtc_fini(struct rtc *r)
{
	loop_del(r->loop, &r->timer);
	close(r->timer.fd);
	pthread_mutex_destroy(&r->lock);
}
