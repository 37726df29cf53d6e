/* SPDX-License-Identifier: MIT */
/* The block device against a temporary image. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "vmm/err.h"
#include "vmm/virtio/blk.h"

#define SECTORS 2048u

struct bench {
	struct rig r;
	struct virtio_dev *blk;
	char path[64];
	int fd;
	uint64_t hdr, status, data;
};

static void make_image(struct bench *b, off_t bytes)
{
	snprintf(b->path, sizeof(b->path), "blk-test-XXXXXX");
	b->fd = mkstemp(b->path);
	assert_true(b->fd >= 0);
	assert_int_equal(ftruncate(b->fd, bytes), 0);
}

static struct bench *bench_new(off_t bytes)
{
	struct bench *b = calloc(1, sizeof(*b));

	rig_init(&b->r);
	make_image(b, bytes);
	b->hdr = rig_alloc(&b->r, 16, 16);
	b->status = rig_alloc(&b->r, 1, 1);
	b->data = rig_alloc(&b->r, 1 << 20, 4096);
	return b;
}

static void bench_open(struct bench *b, bool read_only, bool cached)
{
	const struct virtio_blk_opts o = { .path = b->path, .read_only = read_only, .cached = cached };
	struct vmm_err e = { 0 };

	assert_int_equal(virtio_blk_create(&b->r.p, &o, &b->blk, &e), 0);
	rig_start(&b->r, ~0ull, 1, 64);
}

static int setup(void **state)
{
	struct bench *b = bench_new(SECTORS * 512);

	bench_open(b, false, false);
	*state = b;
	return 0;
}

static int setup_cached(void **state)
{
	struct bench *b = bench_new(SECTORS * 512);

	bench_open(b, false, true);
	*state = b;
	return 0;
}

static int setup_read_only(void **state)
{
	struct bench *b = bench_new(SECTORS * 512);

	bench_open(b, true, false);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	virtio_blk_destroy(b->blk);
	rig_fini(&b->r);
	close(b->fd);
	unlink(b->path);
	free(b);
	return 0;
}

static void header(struct bench *b, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(rig_ptr(&b->r, b->hdr), &h, sizeof(h));
	*(uint8_t *)rig_ptr(&b->r, b->status) = 0xee;
}

static uint8_t status(struct bench *b)
{
	return *(uint8_t *)rig_ptr(&b->r, b->status);
}

/* One request with @len bytes of data at @data. */
static uint8_t request(struct bench *b, uint32_t type, uint64_t sector, uint64_t data, uint32_t len, bool in)
{
	struct rig_seg seg[3] = { { b->hdr, 16, false } };
	unsigned int n = 1;

	header(b, type, sector);
	if (len)
		seg[n++] = (struct rig_seg){ data, len, in };
	seg[n++] = (struct rig_seg){ b->status, 1, true };
	rig_do(&b->r, 0, seg, n);
	return status(b);
}

static void fill(struct bench *b, uint64_t gpa, size_t len, unsigned int seed)
{
	uint8_t *p = rig_ptr(&b->r, gpa);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 31 + i / 512 + seed);
}

static void expect_file(struct bench *b, uint64_t gpa, off_t off, size_t len)
{
	uint8_t *got = malloc(len);

	assert_int_equal(pread(b->fd, got, len, off), len);
	assert_memory_equal(got, rig_ptr(&b->r, gpa), len);
	free(got);
}

/* Aligned and misaligned, in memory and on the disk: direct, bounced and cached ways alike. */
static void test_write_read(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint64_t sector;
		uint32_t skew, sectors;
	} io[] = {
		{ 0, 0, 8 }, { 8, 0, 64 }, { 1, 0, 1 }, { 3, 512, 5 }, { 16, 1, 8 }, { 17, 3, 7 },
		{ 0, 0, 1000 }, { 64, 8, 900 }, { SECTORS - 1, 0, 1 }, { SECTORS - 8, 2, 8 },
	};

	for (unsigned int i = 0; i < sizeof(io) / sizeof(io[0]); i++) {
		uint64_t at = b->data + io[i].skew;
		uint32_t len = io[i].sectors * 512;
		uint8_t *p = rig_ptr(&b->r, at);

		fill(b, at, len, i);
		assert_int_equal(request(b, VIRTIO_BLK_T_OUT, io[i].sector, at, len, false), VIRTIO_BLK_S_OK);
		expect_file(b, at, (off_t)io[i].sector * 512, len);
		memset(p, 0, len);
		assert_int_equal(request(b, VIRTIO_BLK_T_IN, io[i].sector, at, len, true), VIRTIO_BLK_S_OK);
		expect_file(b, at, (off_t)io[i].sector * 512, len);
	}
	assert_int_equal(request(b, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* The header may be split, the status may share a segment with the data (2.7.4.1). */
static void test_any_layout(void **state)
{
	struct bench *b = *state;
	uint64_t sector0 = b->data + 4096;

	fill(b, b->data, 1024, 5);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, b->data, 1024, false), VIRTIO_BLK_S_OK);
	header(b, VIRTIO_BLK_T_IN, 0);
	*(uint8_t *)rig_ptr(&b->r, sector0 + 1024) = 0xee;
	assert_int_equal(rig_do(&b->r, 0, (struct rig_seg[]){ { b->hdr, 7, false }, { b->hdr + 7, 9, false },
		{ sector0, 100, true }, { sector0 + 100, 925, true } }, 4), 1025);
	assert_int_equal(*(uint8_t *)rig_ptr(&b->r, sector0 + 1024), VIRTIO_BLK_S_OK);
	assert_memory_equal(rig_ptr(&b->r, sector0), rig_ptr(&b->r, b->data), 1024);
}

static void test_bad_requests(void **state)
{
	struct bench *b = *state;

	assert_int_equal(request(b, VIRTIO_BLK_T_IN, SECTORS, b->data, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, SECTORS - 1, b->data, 1024, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, ~0ull, b->data, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 1ull << 55, b->data, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, b->data, 511, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, b->data, 513, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, 77, 0, b->data, 512, true), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(b, ~0u, 0, b->data, 512, true), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(b, VIRTIO_BLK_T_SCSI_CMD, 0, b->data, 512, true), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(b, VIRTIO_BLK_T_GET_ID, 0, b->data, 19, true), VIRTIO_BLK_S_IOERR);
	/* Nothing to answer into. */
	header(b, VIRTIO_BLK_T_IN, 0);
	rig_add(&b->r, 0, &(struct rig_seg){ b->hdr, 16, false }, 1);
	rig_kick(&b->r, 0);
	assert_true(rig_needs_reset(&b->r));
	rig_start(&b->r, ~0ull, 1, 64);
	/* No whole header. */
	rig_add(&b->r, 0, (struct rig_seg[]){ { b->hdr, 15, false }, { b->status, 1, true } }, 2);
	rig_kick(&b->r, 0);
	assert_true(rig_needs_reset(&b->r));
}

static void test_id_and_config(void **state)
{
	struct bench *b = *state;

	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_CONFIG), SECTORS);
	assert_int_equal(request(b, VIRTIO_BLK_T_GET_ID, 0, b->data, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(rig_ptr(&b->r, b->data), b->path, strlen(b->path));
}

static void test_discard_zero(void **state)
{
	struct bench *b = *state;
	struct virtio_blk_discard_write_zeroes *d = rig_ptr(&b->r, b->data);
	static const uint8_t zeros[8192];
	uint64_t back = b->data + 65536;

	fill(b, back, 65536, 9);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, back, 65536, false), VIRTIO_BLK_S_OK);
	d[0] = (struct virtio_blk_discard_write_zeroes){ .sector = 16, .num_sectors = 16 };
	d[1] = (struct virtio_blk_discard_write_zeroes){ .sector = 33, .num_sectors = 3, .flags = 1 };
	assert_int_equal(request(b, VIRTIO_BLK_T_WRITE_ZEROES, 0, b->data, 32, false), VIRTIO_BLK_S_OK);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, back, 65536, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(rig_ptr(&b->r, back + 8192), zeros, 8192);
	assert_memory_equal(rig_ptr(&b->r, back + 33 * 512), zeros, 3 * 512);
	assert_int_not_equal(*(uint8_t *)rig_ptr(&b->r, back + 32 * 512), 0);

	assert_int_equal(request(b, VIRTIO_BLK_T_DISCARD, 0, b->data, 32, false), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(request(b, VIRTIO_BLK_T_DISCARD, 0, b->data, 15, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_DISCARD, 0, b->data, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	assert_int_not_equal(request(b, VIRTIO_BLK_T_DISCARD, 0, b->data, 16, false), VIRTIO_BLK_S_IOERR);
	d[0].sector = SECTORS - 1;
	assert_int_equal(request(b, VIRTIO_BLK_T_DISCARD, 0, b->data, 16, false), VIRTIO_BLK_S_IOERR);
	d[0].sector = ~0ull;
	assert_int_equal(request(b, VIRTIO_BLK_T_WRITE_ZEROES, 0, b->data, 16, false), VIRTIO_BLK_S_IOERR);
}

static void test_read_only(void **state)
{
	struct bench *b = *state;

	rig_write(&b->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_true(rig_read(&b->r, VIRTIO_MMIO_DEVICE_FEATURES) & 1u << VIRTIO_BLK_F_RO);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, b->data, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_WRITE_ZEROES, 0, b->data, 16, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, b->data, 512, true), VIRTIO_BLK_S_OK);
}

/* Many requests at once, served in any order, each once. */
static void test_many(void **state)
{
	struct bench *b = *state;
	struct rig_seg seg[3] = { { b->hdr, 16, false }, { 0, 512, true }, { b->status, 1, true } };

	header(b, VIRTIO_BLK_T_IN, 0);
	for (unsigned int round = 0; round < 50; round++) {
		for (unsigned int i = 0; i < 21; i++) {
			seg[1].gpa = b->data + 512 * i;
			rig_add(&b->r, 0, seg, 3);
			if (i % 5 == 0)
				rig_kick(&b->r, 0);
		}
		rig_kick(&b->r, 0);
		for (unsigned int i = 0; i < 21; i++)
			assert_true(rig_used(&b->r, 0, NULL, NULL));
	}
}

#define QUIT_CHAINS 8
#define QUIT_DATA 6
#define QUIT_BYTES (4u << 20)

/* Many requests, each with a status of its own at the returned address, that say how far the device has got. */
static uint64_t add_many(struct bench *b)
{
	uint64_t status_at = rig_alloc(&b->r, QUIT_CHAINS, 1), data = rig_alloc(&b->r, QUIT_BYTES, 4096);
	struct rig_seg seg[2 + QUIT_DATA] = { { b->hdr, 16, false } };

	header(b, VIRTIO_BLK_T_IN, 0);
	for (unsigned int k = 1; k <= QUIT_DATA; k++)
		seg[k] = (struct rig_seg){ data, QUIT_BYTES, true };
	for (unsigned int i = 0; i < QUIT_CHAINS; i++) {
		seg[1 + QUIT_DATA] = (struct rig_seg){ status_at + i, 1, true };
		*(uint8_t *)rig_ptr(&b->r, status_at + i) = 0xee;
		rig_add(&b->r, 0, seg, 2 + QUIT_DATA);
	}
	return status_at;
}

static uint16_t used_index(struct bench *b)
{
	return ((const volatile uint16_t *)rig_ptr(&b->r, b->r.q[0].used))[1];
}

/* The machine ends while requests are served, or before: what is answered is right, and all else is never answered. */
static void quit(bool before)
{
	struct bench *b = bench_new((off_t)QUIT_DATA * QUIT_BYTES);
	uint64_t status_at;
	void *state = b;

	bench_open(b, false, true);
	status_at = add_many(b);
	if (before)
		virtio_quit(b->blk);
	rig_kick(&b->r, 0);
	virtio_quit(b->blk);
	/* As a vCPU does that reads a register. */
	virtio_lock(b->blk);
	assert_true(used_index(b) <= (before ? 0 : QUIT_CHAINS));
	for (unsigned int i = 0; i < used_index(b); i++)
		assert_int_equal(*(uint8_t *)rig_ptr(&b->r, status_at + i), VIRTIO_BLK_S_OK);
	virtio_unlock(b->blk);
	teardown(&state);
}

static void test_quit(void **state)
{
	quit(true);
	for (unsigned int i = 0; i < 20; i++)
		quit(false);
}

/* The tail of an image of odd size reads as zeros behind its end. */
static void test_odd_size(void **state)
{
	struct bench *b = bench_new(1000);
	void *st = b;
	uint8_t *p;

	assert_int_equal(pwrite(b->fd, "tail", 4, 996), 4);
	bench_open(b, true, false);
	assert_int_equal(rig_read(&b->r, VIRTIO_MMIO_CONFIG), 2);
	fill(b, b->data, 1024, 3);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, b->data, 1024, true), VIRTIO_BLK_S_OK);
	p = rig_ptr(&b->r, b->data);
	assert_memory_equal(p + 996, "tail", 4);
	for (unsigned int i = 1000; i < 1024; i++)
		assert_int_equal(p[i], 0);
	teardown(&st);
}

static int try_open(struct bench *b, const char *path, bool read_only, struct vmm_err *e)
{
	const struct virtio_blk_opts o = { .path = path, .read_only = read_only };
	struct virtio_dev *dev = NULL;
	int err;

	memset(e, 0, sizeof(*e));
	err = virtio_blk_create(&b->r.p, &o, &dev, e);
	virtio_blk_destroy(dev);
	return err;
}

static void test_open_errors(void **state)
{
	struct bench *b = bench_new(4096), *other;
	void *st = b, *st2;
	struct vmm_err e;

	assert_int_equal(try_open(b, "/nonexistent/x.img", false, &e), -ENOENT);
	assert_string_equal(e.msg, "/nonexistent/x.img: cannot open: No such file or directory");
	assert_int_equal(try_open(b, ".", false, &e), -EISDIR);
	assert_int_equal(try_open(b, ".", true, &e), -EISDIR);
	assert_int_equal(try_open(b, "/dev/null", true, &e), -EINVAL);
	assert_int_equal(ftruncate(b->fd, 0), 0);
	assert_int_equal(try_open(b, b->path, true, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "is empty"));
	assert_int_equal(ftruncate(b->fd, 4096), 0);
	bench_open(b, false, false);
	assert_int_equal(try_open(b, b->path, false, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "disk in use"));
	assert_int_equal(try_open(b, b->path, true, &e), -EBUSY);
	teardown(&st);
	/* Readers share. */
	other = bench_new(4096);
	st2 = other;
	bench_open(other, true, false);
	assert_int_equal(try_open(other, other->path, true, &e), 0);
	assert_int_equal(try_open(other, other->path, false, &e), -EBUSY);
	teardown(&st2);
}

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void restart_if_broken(struct bench *b, uint64_t keep)
{
	if (!(rig_read(&b->r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	b->r.next = keep;
	rig_start(&b->r, ~0ull, 1, 64);
}

/* Random requests in random pieces: each is answered, or the device asks for a reset. */
static void test_fuzz_requests(void **state)
{
	struct bench *b = *state;
	uint64_t s = 0xa4093822299f31d0ull, keep = b->r.next;

	for (unsigned int round = 0; round < 1000; round++) {
		unsigned int n = 1 + (unsigned int)(rnd(&s) % 5);
		struct rig_seg seg[5];

		header(b, (uint32_t)(rnd(&s) % 16), rnd(&s) % 8 ? rnd(&s) % (SECTORS + 8) : rnd(&s));
		for (unsigned int i = 0; i < n; i++)
			seg[i] = (struct rig_seg){ b->data + rnd(&s) % 4096, (uint32_t)(rnd(&s) % 2048 + 1),
						   i && (rnd(&s) % 3 || seg[i - 1].write) };
		if (rnd(&s) % 8)
			seg[0] = (struct rig_seg){ b->hdr, 16, false };
		rig_add(&b->r, 0, seg, n);
		rig_kick(&b->r, 0);
		for (unsigned int i = 0; i < 25000; i++) {
			const struct vring_used *u = rig_ptr(&b->r, b->r.q[0].used);

			if (__atomic_load_n(&u->idx, __ATOMIC_SEQ_CST) != b->r.q[0].used_idx ||
			    rig_read(&b->r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
				break;
			usleep(20);
		}
		if (!(rig_read(&b->r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
			assert_true(rig_used(&b->r, 0, NULL, NULL));
		restart_if_broken(b, keep);
	}
}

/* A driver that rewrites rings, descriptors and headers while the device reads them. */
static void test_scribbler(void **state)
{
	struct bench *b = *state;
	uint64_t s = 0x082efa98ec4e6c89ull, keep = b->r.next;
	struct rig_seg seg[3] = { { b->hdr, 16, false }, { b->data, 4096, true }, { b->status, 1, true } };

	header(b, VIRTIO_BLK_T_IN, 0);
	for (unsigned int round = 0; round < 300; round++) {
		uint8_t *ring = rig_ptr(&b->r, b->r.q[0].desc);

		for (unsigned int i = 0; i < 20; i++)
			rig_add(&b->r, 0, seg, 3);
		rig_kick(&b->r, 0);
		for (unsigned int i = 0; i < 2000; i++)
			__atomic_store_n(&ring[rnd(&s) % 1024], (uint8_t)rnd(&s), __ATOMIC_RELAXED);
		rig_write(&b->r, VIRTIO_MMIO_STATUS, 0);
		b->r.next = keep;
		rig_start(&b->r, ~0ull, 1, 64);
	}
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, b->data, 512, true), VIRTIO_BLK_S_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_write_read),
		cmocka_unit_test_setup_teardown(test_write_read, setup_cached, teardown),
		T(test_any_layout),
		T(test_bad_requests),
		T(test_id_and_config),
		T(test_discard_zero),
		cmocka_unit_test_setup_teardown(test_read_only, setup_read_only, teardown),
		T(test_many),
		cmocka_unit_test(test_quit),
		T(test_fuzz_requests),
		T(test_scribbler),
		cmocka_unit_test(test_odd_size),
		cmocka_unit_test(test_open_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
