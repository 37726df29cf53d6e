/* SPDX-License-Identifier: MIT */
/* The register file, and the entropy and console devices, driven through the bus. */
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "vmm/chardev.h"
#include "vmm/virtio/console.h"
#include "vmm/virtio/rng.h"

struct bench {
	struct rig r;
	struct virtio_dev *rng;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	rig_init(&b->r);
	assert_int_equal(virtio_rng_create(&b->r.p, &b->rng), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	virtio_rng_destroy(b->rng);
	assert_int_equal(b->r.p.bus.count[BUS_MMIO], 0);
	rig_fini(&b->r);
	free(b);
	return 0;
}

static void test_identity(void **state)
{
	struct bench *b = *state;
	uint64_t wide = ~0ull;
	uint8_t byte = 0xff;

	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_SHM_LEN_LOW), ~0u);
	/* Control registers answer to aligned 32-bit accesses alone. */
	bus_access(&b->r.p.bus, BUS_MMIO, b->r.dev, &byte, 1, false);
	assert_int_equal(byte, 0);
	bus_access(&b->r.p.bus, BUS_MMIO, b->r.dev, &wide, 8, false);
	assert_int_equal(wide, 0);
	/* Behind the configuration there is nothing. */
	wide = ~0ull;
	bus_access(&b->r.p.bus, BUS_MMIO, b->r.dev + VIRTIO_MMIO_CONFIG, &wide, 8, false);
	assert_int_equal(wide, 0);
}

static void test_queue_registers(void **state)
{
	struct bench *b = *state;

	rig_negotiate(&b->r, ~0ull);
	rig_write(&b->r, VIRTIO_MMIO_QUEUE_SEL, 7);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	rig_write(&b->r, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_READY), 0);
	rig_write(&b->r, VIRTIO_MMIO_QUEUE_SEL, 0);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	rig_queue_layout(&b->r, 0, 8);
	rig_queue_program(&b->r, 0);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_READY), 1);
	rig_write(&b->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_STATUS), 0);
}

static void test_ring_outside_ram(void **state)
{
	struct bench *b = *state;

	rig_negotiate(&b->r, ~0ull);
	rig_queue_layout(&b->r, 0, 8);
	b->r.q[0].used = RIG_RAM - 4;
	rig_queue_program(&b->r, 0);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_true(rig_needs_reset(&b->r));
	rig_start(&b->r, ~0ull, 1, 8);
	assert_false(rig_read(&b->r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* A set of features that was not offered, or without VERSION_1, is not agreed to. */
static void test_features(void **state)
{
	struct bench *b = *state;

	for (uint32_t bit = 0; bit < 2; bit++) {
		rig_write(&b->r, VIRTIO_MMIO_STATUS, 0);
		rig_write(&b->r, VIRTIO_MMIO_STATUS, 3);
		rig_write(&b->r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
		rig_write(&b->r, VIRTIO_MMIO_DRIVER_FEATURES, bit ? 0x80000001 : 0);
		rig_write(&b->r, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
		assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_STATUS), 3);
	}
}

static void test_rng(void **state)
{
	struct bench *b = *state;
	uint64_t buf;
	unsigned int irqs, zeros = 0;

	rig_start(&b->r, ~0ull, 1, 8);
	buf = rig_alloc(&b->r, 16384, 4096);
	irqs = rig_irqs();
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(rig_do(&b->r, 0, &(struct rig_seg){ buf, 256, true }, 1), 256);
	for (unsigned int i = 0; i < 256; i++)
		zeros += !((uint8_t *)rig_ptr(&b->r, buf))[i];
	assert_true(zeros < 32);
	assert_true(rig_irqs() > irqs);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_write(&b->r, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* One request is bounded. */
	assert_int_equal(rig_do(&b->r, 0, &(struct rig_seg){ buf, 16384, true }, 1), 4096);
}

/* A chain that was available before DRIVER_OK needs no notification. */
static void test_available_early(void **state)
{
	struct bench *b = *state;
	uint64_t buf = rig_alloc(&b->r, 64, 16);

	rig_negotiate(&b->r, ~0ull);
	rig_queue_layout(&b->r, 0, 8);
	rig_queue_program(&b->r, 0);
	rig_add(&b->r, 0, &(struct rig_seg){ buf, 64, true }, 1);
	rig_write(&b->r, VIRTIO_MMIO_STATUS, 0xf);
	assert_true(rig_used(&b->r, 0, NULL, NULL));
}

static void test_broken_ring(void **state)
{
	struct bench *b = *state;
	unsigned int irqs;
	uint64_t buf;

	rig_start(&b->r, ~0ull, 1, 8);
	irqs = rig_irqs();
	rig_desc(&b->r, b->r.q[0].desc, 0, RIG_RAM, 64, VRING_DESC_F_WRITE, 0);
	rig_avail(&b->r, 0, 0);
	rig_kick(&b->r, 0);
	assert_true(rig_needs_reset(&b->r));
	usleep(1000);
	assert_true(rig_irqs() > irqs);
	assert_true(rig_read(&b->r, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	/* After a reset all is well. */
	rig_start(&b->r, ~0ull, 1, 8);
	buf = rig_alloc(&b->r, 64, 16);
	assert_int_equal(rig_do(&b->r, 0, &(struct rig_seg){ buf, 64, true }, 1), 64);
}

/* Resets while the device works: no request is served behind one. */
static void test_reset_storm(void **state)
{
	struct bench *b = *state;
	uint64_t keep, buf;

	buf = rig_alloc(&b->r, 4096, 4096);
	keep = b->r.next;
	for (unsigned int i = 0; i < 300; i++) {
		const uint8_t *p = rig_ptr(&b->r, buf);

		b->r.next = keep;
		rig_start(&b->r, ~0ull, 1, 64);
		for (unsigned int k = 0; k < 40; k++)
			rig_add(&b->r, 0, &(struct rig_seg){ buf, 4096, true }, 1);
		rig_kick(&b->r, 0);
		rig_write(&b->r, VIRTIO_MMIO_STATUS, 0);
		memset(rig_ptr(&b->r, buf), 0x5a, 4096);
		for (unsigned int k = 0; k < 4096; k++)
			assert_int_equal(p[k], 0x5a);
	}
}

/* A chardev that keeps what is written, and holds back input. */
struct fake_tty {
	struct chardev cd;
	pthread_mutex_t lock;
	char out[8192];
	size_t out_len;
	atomic_uint ready;
	uint16_t cols, rows;
};

static void tty_write(struct chardev *cd, const void *buf, size_t len)
{
	struct fake_tty *t = (struct fake_tty *)cd;

	pthread_mutex_lock(&t->lock);
	assert_true(t->out_len + len <= sizeof(t->out));
	memcpy(t->out + t->out_len, buf, len);
	t->out_len += len;
	pthread_mutex_unlock(&t->lock);
}

static void tty_ready(struct chardev *cd)
{
	atomic_fetch_add(&((struct fake_tty *)cd)->ready, 1);
}

static void tty_size(struct chardev *cd, uint16_t *cols, uint16_t *rows)
{
	*cols = ((struct fake_tty *)cd)->cols;
	*rows = ((struct fake_tty *)cd)->rows;
}

static const struct chardev_ops tty_ops = { .write = tty_write, .input_ready = tty_ready, .size = tty_size };

static void wait_for(const atomic_uint *v)
{
	for (unsigned int i = 0; i < 25000 && !atomic_load(v); i++)
		usleep(200);
	assert_true(atomic_load(v));
}

static void test_console(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fake_tty t = { .cd.ops = &tty_ops, .lock = PTHREAD_MUTEX_INITIALIZER, .cols = 80, .rows = 25 };
	static char big[6000];
	struct virtio_dev *con;
	size_t sent, got = 0;
	uint64_t buf;
	uint32_t n;

	rig_init(r);
	assert_int_equal(virtio_console_create(&r->p, &t.cd, &con), 0);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_CONSOLE);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 25 << 16 | 80);
	rig_start(r, ~(1ull << VIRTIO_CONSOLE_F_MULTIPORT), 2, 16);
	buf = rig_alloc(r, 8192, 4096);

	memcpy(rig_ptr(r, buf), "hello, world", 12);
	assert_int_equal(rig_do(r, 1, (struct rig_seg[]){ { buf, 5, false }, { buf + 5, 7, false } }, 2), 0);
	assert_int_equal(t.out_len, 12);
	assert_memory_equal(t.out, "hello, world", 12);

	/* Input beyond the FIFO waits at the back end, and comes in order. */
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 7);
	sent = t.cd.client->input(t.cd.opaque, big, sizeof(big));
	assert_true(sent && sent < sizeof(big));
	while (got < sizeof(big)) {
		n = rig_do(r, 0, &(struct rig_seg){ buf, 1024, true }, 1);
		assert_true(n);
		assert_memory_equal(rig_ptr(r, buf), big + got, n);
		got += n;
		if (sent < sizeof(big)) {
			wait_for(&t.ready);
			sent += t.cd.client->input(t.cd.opaque, big + sent, sizeof(big) - sent);
		}
	}

	n = rig_read(r, VIRTIO_MMIO_CONFIG_GENERATION);
	t.cols = 132;
	t.cd.client->resized(t.cd.opaque);
	for (unsigned int i = 0; i < 25000 && rig_read(r, VIRTIO_MMIO_CONFIG_GENERATION) == n; i++)
		usleep(200);
	assert_int_equal(rig_read(r, VIRTIO_MMIO_CONFIG), 25 << 16 | 132);

	/* A receive buffer that the device may not write. */
	rig_add(r, 0, &(struct rig_seg){ buf, 16, false }, 1);
	t.cd.client->input(t.cd.opaque, "x", 1);
	assert_true(rig_needs_reset(r));
	virtio_console_destroy(con);
	rig_fini(r);
	free(r);
}

static void say(struct rig *r, uint64_t buf, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m = { .id = id, .event = event, .value = value };

	memcpy(rig_ptr(r, buf), &m, sizeof(m));
	rig_do(r, 3, &(struct rig_seg){ buf, sizeof(m), false }, 1);
}

/* The next control message; a buffer for one must have been given. */
static void expect_said(struct rig *r, uint64_t buf, uint16_t event, uint16_t value, uint32_t size)
{
	const struct virtio_console_control *m = rig_ptr(r, buf);
	uint32_t len;

	assert_true(rig_used(r, 2, NULL, &len));
	assert_int_equal(len, sizeof(*m) + size);
	assert_int_equal(m->id, 0);
	assert_int_equal(m->event, event);
	assert_int_equal(m->value, value);
}

static void give(struct rig *r, unsigned int q, uint64_t buf, uint32_t len)
{
	rig_add(r, q, &(struct rig_seg){ buf, len, true }, 1);
	rig_kick(r, q);
}

/* With MULTIPORT nothing is sent into a port that is not open: Linux would drop it. */
static void test_console_opens(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct fake_tty t = { .cd.ops = &tty_ops, .lock = PTHREAD_MUTEX_INITIALIZER, .cols = 80, .rows = 25 };
	struct virtio_dev *con;
	uint64_t buf, in, ctl;
	const uint16_t *size;
	uint32_t len;

	rig_init(r);
	assert_int_equal(virtio_console_create(&r->p, &t.cd, &con), 0);
	rig_start(r, ~0ull, 4, 16);
	buf = rig_alloc(r, 64, 16);
	in = rig_alloc(r, 64, 16);
	ctl = rig_alloc(r, 64, 16);
	size = (const uint16_t *)((char *)rig_ptr(r, ctl) + sizeof(struct virtio_console_control));
	assert_int_equal(t.cd.client->input(t.cd.opaque, "early", 5), 5);
	give(r, 0, in, 64);
	say(r, buf, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	give(r, 2, ctl, 64);
	expect_said(r, ctl, VIRTIO_CONSOLE_PORT_ADD, 1, 0);
	say(r, buf, 7, VIRTIO_CONSOLE_PORT_READY, 1); /* no such port */
	say(r, buf, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	give(r, 2, ctl, 64);
	expect_said(r, ctl, VIRTIO_CONSOLE_CONSOLE_PORT, 1, 0);
	give(r, 2, ctl, 64);
	expect_said(r, ctl, VIRTIO_CONSOLE_PORT_OPEN, 1, 0);
	give(r, 2, ctl, 64);
	expect_said(r, ctl, VIRTIO_CONSOLE_RESIZE, 0, 4);
	assert_int_equal(size[0], 25);
	assert_int_equal(size[1], 80);
	assert_int_equal(((struct vring_used *)rig_ptr(r, r->q[0].used))->idx, 0);
	say(r, buf, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_true(rig_used(r, 0, NULL, &len));
	assert_int_equal(len, 5);
	assert_memory_equal(rig_ptr(r, in), "early", 5);

	t.rows = 50;
	t.cd.client->resized(t.cd.opaque);
	give(r, 2, ctl, 64);
	expect_said(r, ctl, VIRTIO_CONSOLE_RESIZE, 0, 4);
	assert_int_equal(size[0], 50);

	/* A driver that asks and asks, and never listens; then one whose buffer is too small. */
	for (unsigned int i = 0; i < 100; i++)
		say(r, buf, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	give(r, 2, ctl, 4);
	assert_true(rig_needs_reset(r));
	virtio_console_destroy(con);
	rig_fini(r);
	free(r);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity),
		T(test_queue_registers),
		T(test_ring_outside_ram),
		T(test_features),
		T(test_rng),
		T(test_available_early),
		T(test_broken_ring),
		T(test_reset_storm),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_console_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
