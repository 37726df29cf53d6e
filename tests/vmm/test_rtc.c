/* SPDX-License-Identifier: MIT */
/* The clock: the host's time, a time that the guest sets, and its three interrupts. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "vmm/bus.h"
#include "vmm/dev/rtc.h"

struct rig {
	struct bus bus;
	struct loop loop;
	struct rtc r;
	bool irq;
	unsigned int edges;
};

static void rig_irq(void *opaque, bool high)
{
	struct rig *r = opaque;

	r->edges += high && !r->irq;
	r->irq = high;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	assert_int_equal(loop_init(&r->loop), 0);
	assert_int_equal(rtc_init(&r->r, &r->bus, &r->loop, rig_irq, r), 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct rig *r = *state;

	rtc_fini(&r->r);
	loop_fini(&r->loop);
	free(r);
	return 0;
}

static uint8_t get(struct rig *r, uint8_t reg)
{
	uint8_t v = 0;

	bus_access(&r->bus, BUS_PORT, 0x70, &reg, 1, true);
	bus_access(&r->bus, BUS_PORT, 0x71, &v, 1, false);
	return v;
}

static void put(struct rig *r, uint8_t reg, uint8_t v)
{
	bus_access(&r->bus, BUS_PORT, 0x70, &reg, 1, true);
	bus_access(&r->bus, BUS_PORT, 0x71, &v, 1, true);
}

static unsigned int bcd(uint8_t v)
{
	return (v >> 4) * 10 + (v & 0xf);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* Let the timer's callback run for @ms, or until an interrupt. */
static bool wait_irq(struct rig *r, int ms)
{
	struct pollfd p = { .fd = r->r.timer.fd, .events = POLLIN };
	double end = now_ms() + ms;

	while (!r->irq && now_ms() < end)
		if (poll(&p, 1, (int)(end - now_ms()) + 1) == 1)
			r->r.timer.fn(r->r.timer.opaque, 0);
	return r->irq;
}

static time_t guest_time(struct rig *r)
{
	struct tm tm = {
		.tm_sec = bcd(get(r, 0)), .tm_min = bcd(get(r, 2)), .tm_hour = bcd(get(r, 4)),
		.tm_mday = bcd(get(r, 7)), .tm_mon = bcd(get(r, 8)) - 1,
		.tm_year = bcd(get(r, 9)) + 100 * (bcd(get(r, 0x32)) - 19),
	};

	return timegm(&tm);
}

static void tells_the_time(void **state)
{
	struct rig *r = *state;
	time_t now = time(NULL), got = guest_time(r);

	assert_int_equal(get(r, 0xd), 0x80);
	assert_int_equal(get(r, 0xb) & 2, 2);
	assert_true(got >= now && got <= now + 2);
}

static void is_set(void **state)
{
	struct rig *r = *state;
	struct tm tm = {
		.tm_year = 99, .tm_mon = 11, .tm_mday = 31, .tm_hour = 23, .tm_min = 59, .tm_sec = 58
	};
	time_t got;

	put(r, 0xb, 0x82);
	put(r, 0, 0x58), put(r, 2, 0x59), put(r, 4, 0x23);
	put(r, 7, 0x31), put(r, 8, 0x12), put(r, 9, 0x99), put(r, 0x32, 0x19);
	put(r, 0xb, 0x02);
	got = guest_time(r);
	assert_true(got >= timegm(&tm) && got <= timegm(&tm) + 2);
}

static void formats(void **state)
{
	struct rig *r = *state;
	uint8_t hour;

	put(r, 0xb, 0x82);
	put(r, 0, 0), put(r, 2, 0), put(r, 4, 0x15);
	put(r, 0xb, 0x02);
	put(r, 0xb, 0x06); /* binary */
	assert_int_equal(get(r, 4), 15);
	put(r, 0xb, 0x04); /* binary, 12 hours */
	assert_int_equal(get(r, 4), 3 | 0x80);
	put(r, 0xb, 0x00);
	hour = get(r, 4);
	assert_int_equal(hour, 0x83);
}

static void keeps_memory(void **state)
{
	struct rig *r = *state;

	put(r, 0x40, 0x5a);
	assert_int_equal(get(r, 0x40), 0x5a);
	put(r, 0x40 | 0x80, 0xa5); /* bit 7 of the index is the NMI mask */
	assert_int_equal(get(r, 0x40), 0xa5);
}

static void periodic(void **state)
{
	struct rig *r = *state;

	put(r, 0xa, 0x26); /* 1024 Hz */
	put(r, 0xb, 0x42);
	for (int i = 0; i < 5; i++) {
		assert_true(wait_irq(r, 1000));
		assert_int_equal(get(r, 0xc) & 0xc0, 0xc0);
		assert_false(r->irq);
	}
	put(r, 0xb, 0x02);
	get(r, 0xc);
	assert_false(wait_irq(r, 20));
}

static void update_and_alarm(void **state)
{
	struct rig *r = *state;

	put(r, 0xb, 0x12);
	assert_true(wait_irq(r, 1500));
	assert_int_equal(get(r, 0xc) & 0x90, 0x90);
	put(r, 1, 0xff), put(r, 3, 0xff), put(r, 5, 0xff); /* every second */
	put(r, 0xb, 0x22);
	assert_true(wait_irq(r, 1500));
	assert_int_equal(get(r, 0xc) & 0xa0, 0xa0);
	put(r, 1, 0x75); /* never */
	assert_false(wait_irq(r, 1100));
}

static void any_bytes(void **state)
{
	struct rig *r = *state;
	uint32_t seed = 1;

	for (int i = 0; i < 20000; i++) {
		seed = seed * 1664525 + 1013904223;
		if (seed >> 31)
			put(r, seed >> 8 & 0x3f, seed >> 16);
		else
			get(r, seed >> 8 & 0x3f);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tells_the_time, set_up, tear_down),
		cmocka_unit_test_setup_teardown(is_set, set_up, tear_down),
		cmocka_unit_test_setup_teardown(formats, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(periodic, set_up, tear_down),
		cmocka_unit_test_setup_teardown(update_and_alarm, set_up, tear_down),
		cmocka_unit_test_setup_teardown(any_bytes, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("vmm/rtc", tests, NULL, NULL);
}
