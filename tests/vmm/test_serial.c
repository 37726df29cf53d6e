/* SPDX-License-Identifier: MIT */
/* The UART: what a driver sees, and that no input is lost on the way to it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/bus.h"
#include "vmm/dev/serial.h"

#define COM 0x3f8

struct rig {
	struct chardev cd;
	struct bus bus;
	struct serial s;
	char out[256];
	size_t out_len;
	bool irq;
	unsigned int edges, ready;
};

static void rig_write(struct chardev *cd, const void *buf, size_t len)
{
	struct rig *r = (struct rig *)cd;

	assert_true(r->out_len + len <= sizeof(r->out));
	memcpy(r->out + r->out_len, buf, len);
	r->out_len += len;
}

static void rig_ready(struct chardev *cd)
{
	((struct rig *)cd)->ready++;
}

static void rig_size(struct chardev *cd, uint16_t *cols, uint16_t *rows)
{
	*cols = *rows = 0;
}

static const struct chardev_ops rig_ops = { rig_write, rig_ready, rig_size };

static void rig_irq(void *opaque, bool high)
{
	struct rig *r = opaque;

	assert_int_not_equal(r->irq, high);
	r->irq = high;
	r->edges += high;
}

static int set_up(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->cd.ops = &rig_ops;
	assert_int_equal(serial_init(&r->s, &r->bus, COM, &r->cd, rig_irq, r), 0);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	serial_fini(&((struct rig *)*state)->s);
	free(*state);
	return 0;
}

static uint8_t in(struct rig *r, unsigned int reg)
{
	uint8_t v = 0;

	bus_access(&r->bus, BUS_PORT, COM + reg, &v, 1, false);
	return v;
}

static void out(struct rig *r, unsigned int reg, uint8_t v)
{
	bus_access(&r->bus, BUS_PORT, COM + reg, &v, 1, true);
}

static size_t type(struct rig *r, const char *text, size_t len)
{
	return r->cd.client->input(r->cd.opaque, text, len);
}

/* As Linux leaves it: 8N1, FIFO with trigger 14, DTR RTS OUT2. */
static void open_port(struct rig *r, uint8_t ier)
{
	out(r, 3, 3);
	out(r, 2, 0xc1);
	out(r, 4, 0x0b);
	out(r, 1, ier);
}

static void sends(void **state)
{
	struct rig *r = *state;

	assert_int_equal(in(r, 5) & 0x60, 0x60);
	out(r, 0, 'h');
	out(r, 0, 'i');
	assert_int_equal(r->out_len, 2);
	assert_memory_equal(r->out, "hi", 2);
}

static void divisor_is_apart(void **state)
{
	struct rig *r = *state;

	out(r, 3, 0x83);
	out(r, 0, 0x34);
	out(r, 1, 0x12);
	assert_int_equal(in(r, 0), 0x34);
	assert_int_equal(in(r, 1), 0x12);
	out(r, 3, 3);
	assert_int_equal(in(r, 1), 0);
	assert_int_equal(r->out_len, 0);
}

static void scratch_and_fifo_are_found(void **state)
{
	struct rig *r = *state;

	out(r, 7, 0xa5);
	assert_int_equal(in(r, 7), 0xa5);
	assert_int_equal(in(r, 2) & 0xc0, 0);
	out(r, 2, 1);
	assert_int_equal(in(r, 2) & 0xc0, 0xc0);
}

static void transmitter_interrupts(void **state)
{
	struct rig *r = *state;

	open_port(r, 0);
	assert_false(r->irq);
	out(r, 1, 2);
	assert_true(r->irq);
	assert_int_equal(in(r, 2) & 0xf, 2);
	assert_false(r->irq);
	assert_int_equal(in(r, 2) & 0xf, 1);
	out(r, 0, 'x');
	assert_true(r->irq);
	out(r, 1, 0);
	assert_false(r->irq);
	out(r, 1, 2); /* enabling it again raises it again: Linux tests for that */
	assert_true(r->irq);
}

static void out2_gates(void **state)
{
	struct rig *r = *state;

	out(r, 1, 2);
	assert_false(r->irq);
	out(r, 4, 8);
	assert_true(r->irq);
}

static void receives(void **state)
{
	struct rig *r = *state;

	open_port(r, 1);
	assert_int_equal(type(r, "ab", 2), 2);
	assert_true(r->irq);
	assert_int_equal(in(r, 2) & 0xf, 0xc);
	assert_int_equal(in(r, 5) & 1, 1);
	assert_int_equal(in(r, 0), 'a');
	assert_true(r->irq);
	assert_int_equal(in(r, 0), 'b');
	assert_false(r->irq);
	assert_int_equal(in(r, 5) & 1, 0);
	assert_int_equal(in(r, 0), 0);
	assert_int_equal(type(r, "0123456789abcdef", 16), 16);
	assert_int_equal(in(r, 2) & 0xf, 4);
}

static void loops_back(void **state)
{
	struct rig *r = *state;

	open_port(r, 1);
	type(r, "z", 1);
	out(r, 4, 0x1a); /* loop, OUT2, RTS */
	assert_int_equal(in(r, 6) & 0xf0, 0x90);
	assert_int_equal(in(r, 5) & 1, 0);
	out(r, 0, 'q');
	assert_int_equal(r->out_len, 0);
	assert_int_equal(in(r, 5) & 1, 1);
	assert_int_equal(in(r, 0), 'q');
	out(r, 4, 0x0b);
	assert_int_equal(in(r, 0), 'z');
}

/* What a driver does at its start eats nothing of what was typed before. */
static void input_survives_start(void **state)
{
	struct rig *r = *state;
	unsigned int i;

	type(r, "early", 5);
	assert_int_equal(in(r, 5) & 1, 0);
	out(r, 2, 1);
	out(r, 2, 7);
	out(r, 2, 0);
	assert_int_equal(in(r, 0), 0);
	in(r, 5), in(r, 0), in(r, 2), in(r, 6);
	open_port(r, 5);
	out(r, 2, 7 | 0xc0);
	for (i = 0; i < 5; i++)
		assert_int_equal(in(r, 0), "early"[i]);
	out(r, 1, 0); /* closed again */
	type(r, "!", 1);
	assert_int_equal(in(r, 0), 0);
	out(r, 1, 1);
	assert_int_equal(in(r, 0), '!');
}

static void polling_guest_gets_input(void **state)
{
	struct rig *r = *state;
	unsigned int i = 0;

	type(r, "pq", 2);
	while (!(in(r, 5) & 1) && i < 1000)
		i++;
	assert_true(i < 1000);
	assert_int_equal(in(r, 0), 'p');
	assert_int_equal(in(r, 5) & 1, 1);
	assert_int_equal(in(r, 0), 'q');
}

static void rts_holds_input(void **state)
{
	struct rig *r = *state;

	open_port(r, 1);
	out(r, 4, 0x09);
	type(r, "w", 1);
	assert_false(r->irq);
	assert_int_equal(in(r, 5) & 1, 0);
	out(r, 4, 0x0b);
	assert_true(r->irq);
	assert_int_equal(in(r, 0), 'w');
}

static void backpressure(void **state)
{
	struct rig *r = *state;
	char text[5000];
	size_t sent = 0, got = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 251;
	open_port(r, 1);
	sent = type(r, text, sizeof(text));
	assert_true(sent < sizeof(text));
	while (got < sizeof(text)) {
		unsigned int before = r->ready;

		assert_int_equal(in(r, 5) & 1, 1);
		assert_int_equal(in(r, 0), (uint8_t)text[got++]);
		if (r->ready != before)
			sent += type(r, text + sent, sizeof(text) - sent);
	}
	assert_int_equal(sent, sizeof(text));
	assert_int_equal(in(r, 5) & 1, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(divisor_is_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scratch_and_fifo_are_found, set_up, tear_down),
		cmocka_unit_test_setup_teardown(transmitter_interrupts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(out2_gates, set_up, tear_down),
		cmocka_unit_test_setup_teardown(receives, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loops_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(input_survives_start, set_up, tear_down),
		cmocka_unit_test_setup_teardown(polling_guest_gets_input, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rts_holds_input, set_up, tear_down),
		cmocka_unit_test_setup_teardown(backpressure, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("vmm/serial", tests, NULL, NULL);
}
