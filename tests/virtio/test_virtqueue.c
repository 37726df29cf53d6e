/* SPDX-License-Identifier: MIT */
/* The device's side of a ring, against drivers good and bad.  No thread, no transport. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "rig.h"
#include "vmm/virtio/iov.h"

#define NUM 8u

struct bench {
	struct rig r;
	struct virtqueue vq;
	struct vq_chain c;
	uint64_t buf;
};

static int setup_with(void **state, bool event_idx)
{
	struct bench *b = calloc(1, sizeof(*b));

	rig_init(&b->r);
	rig_queue_layout(&b->r, 0, NUM);
	b->buf = rig_alloc(&b->r, 65536, 4096);
	vq_init(&b->vq, &b->r.p.mem, 256);
	b->vq.num = NUM;
	b->vq.desc_gpa = b->r.q[0].desc;
	b->vq.avail_gpa = b->r.q[0].avail;
	b->vq.used_gpa = b->r.q[0].used;
	assert_int_equal(vq_enable(&b->vq, event_idx, true), 0);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, false);
}

static int setup_event(void **state)
{
	return setup_with(state, true);
}

static int teardown(void **state)
{
	struct bench *b = *state;

	rig_fini(&b->r);
	free(b);
	return 0;
}

static void expect_broken(struct bench *b)
{
	uint16_t used = b->vq.next_used;

	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_BROKEN);
	assert_true(b->vq.broken);
	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_BROKEN);
	vq_push(&b->vq, 0, 0);
	assert_int_equal(b->vq.next_used, used);
	assert_false(vq_should_signal(&b->vq));
}

static void test_direct_chain(void **state)
{
	struct bench *b = *state;
	const struct rig_seg seg[] = {
		{ b->buf, 16, false }, { b->buf + 100, 20, false }, { b->buf + 4096, 512, true },
	};
	uint16_t head;

	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_EMPTY);
	for (unsigned int round = 0; round < 3 * NUM; round++) {
		head = rig_add(&b->r, 0, seg, 3);
		assert_true(vq_pending(&b->vq));
		assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
		assert_int_equal(b->c.head, head);
		assert_int_equal(b->c.out_n, 2);
		assert_int_equal(b->c.in_n, 1);
		assert_int_equal(b->c.out_len, 36);
		assert_int_equal(b->c.in_len, 512);
		assert_ptr_equal(b->c.out[1].iov_base, rig_ptr(&b->r, b->buf + 100));
		assert_ptr_equal(b->c.in[0].iov_base, rig_ptr(&b->r, b->buf + 4096));
		vq_push(&b->vq, head, 512);
		assert_true(vq_should_signal(&b->vq));
		assert_false(vq_should_signal(&b->vq));
		assert_true(rig_used(&b->r, 0, NULL, NULL));
		assert_false(vq_pending(&b->vq));
	}
}

static void test_unpop(void **state)
{
	struct bench *b = *state;
	const struct rig_seg seg = { b->buf, 16, false };
	uint16_t head = rig_add(&b->r, 0, &seg, 1);

	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
	vq_unpop(&b->vq);
	assert_true(vq_pending(&b->vq));
	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
	assert_int_equal(b->c.head, head);
}

static void test_indirect(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 16 * 4 + 1, 16) + 1; /* at any address */

	rig_desc(&b->r, table, 0, b->buf, 10, VRING_DESC_F_NEXT, 2);
	rig_desc(&b->r, table, 2, b->buf + 64, 20, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	rig_desc(&b->r, table, 1, b->buf + 128, 30, VRING_DESC_F_WRITE, 0);
	/* One direct buffer before the table is allowed (2.7.5.3). */
	rig_desc(&b->r, b->r.q[0].desc, 0, b->buf + 256, 5, VRING_DESC_F_NEXT, 1);
	rig_desc(&b->r, b->r.q[0].desc, 1, table, 64, VRING_DESC_F_INDIRECT, 0);
	rig_avail(&b->r, 0, 0);
	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
	assert_int_equal(b->c.out_len, 15);
	assert_int_equal(b->c.in_len, 50);
	assert_int_equal(b->c.in_n, 2);
}

static void test_loop(void **state)
{
	struct bench *b = *state;

	for (uint16_t i = 0; i < NUM; i++)
		rig_desc(&b->r, b->r.q[0].desc, i, b->buf, 16, VRING_DESC_F_NEXT, (uint16_t)((i + 1) % NUM));
	rig_avail(&b->r, 0, 3);
	expect_broken(b);
}

static void test_indirect_loop(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 32, 16);

	rig_desc(&b->r, table, 0, b->buf, 16, VRING_DESC_F_NEXT, 1);
	rig_desc(&b->r, table, 1, b->buf, 16, VRING_DESC_F_NEXT, 0);
	rig_desc(&b->r, b->r.q[0].desc, 0, table, 32, VRING_DESC_F_INDIRECT, 0);
	rig_avail(&b->r, 0, 0);
	expect_broken(b);
}

/* One descriptor or two that no proper driver writes, each breaking one rule. */
struct bad {
	const char *what;
	struct vring_desc d[2]; /* addr 0 stands for a good buffer, 1 for a good indirect table */
	uint16_t head;
};

static const struct bad bad[] = {
	{ "length past RAM", { { RIG_RAM - 8, 9, 0, 0 } }, 0 },
	{ "address past RAM", { { RIG_RAM, 1, 0, 0 } }, 0 },
	{ "address wraps", { { ~0ull - 3, 8, 0, 0 } }, 0 },
	{ "length huge", { { 0x1000, 0xffffffff, VRING_DESC_F_WRITE, 0 } }, 0 },
	{ "length zero", { { 0, 0, 0, 0 } }, 0 },
	{ "registers as a buffer", { { VIRTIO_MMIO_BASE, 16, 0, 0 } }, 0 },
	{ "next past the table", { { 0, 16, VRING_DESC_F_NEXT, NUM } }, 0 },
	{ "head past the table", { { 0, 16, 0, 0 } }, NUM },
	{ "head far past the table", { { 0, 16, 0, 0 } }, 0xffff },
	{ "readable after writable",
	  { { 0, 16, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1 }, { 0, 16, 0, 0 } }, 0 },
	{ "indirect table past RAM", { { RIG_RAM - 16, 32, VRING_DESC_F_INDIRECT, 0 } }, 0 },
	{ "indirect table of no size", { { 1, 0, VRING_DESC_F_INDIRECT, 0 } }, 0 },
	{ "indirect table of odd size", { { 1, 17, VRING_DESC_F_INDIRECT, 0 } }, 0 },
	{ "indirect and next",
	  { { 1, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1 }, { 0, 16, 0, 0 } }, 0 },
};

static void test_bad_descriptors(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 64, 16);

	rig_desc(&b->r, table, 0, b->buf, 16, 0, 0);
	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		const uint64_t stand_in[2] = { b->buf, table };

		print_message("# %s\n", bad[k].what);
		vq_reset(&b->vq);
		b->vq.num = NUM;
		b->vq.desc_gpa = b->r.q[0].desc;
		b->vq.avail_gpa = b->r.q[0].avail;
		b->vq.used_gpa = b->r.q[0].used;
		b->r.q[0].avail_idx = 0;
		assert_int_equal(vq_enable(&b->vq, false, true), 0);
		for (uint16_t i = 0; i < 2; i++) {
			const struct vring_desc *d = &bad[k].d[i];

			rig_desc(&b->r, b->r.q[0].desc, i, d->addr < 2 ? stand_in[d->addr] : d->addr, d->len,
				 d->flags, d->next);
		}
		rig_avail(&b->r, 0, bad[k].head);
		expect_broken(b);
	}
}

static void test_indirect_in_indirect(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 32, 16);

	rig_desc(&b->r, table, 0, table + 16, 16, VRING_DESC_F_INDIRECT, 0);
	rig_desc(&b->r, table, 1, b->buf, 16, 0, 0);
	rig_desc(&b->r, b->r.q[0].desc, 0, table, 16, VRING_DESC_F_INDIRECT, 0);
	rig_avail(&b->r, 0, 0);
	expect_broken(b);
}

static void test_indirect_not_negotiated(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 16, 16);

	b->vq.indirect = false;
	rig_desc(&b->r, table, 0, b->buf, 16, 0, 0);
	rig_desc(&b->r, b->r.q[0].desc, 0, table, 16, VRING_DESC_F_INDIRECT, 0);
	rig_avail(&b->r, 0, 0);
	expect_broken(b);
}

/* A chain may be as long as the queue, and no longer, indirect or not. */
static void test_chain_length(void **state)
{
	struct bench *b = *state;
	uint64_t table = rig_alloc(&b->r, 16 * (NUM + 1), 16);

	for (uint16_t i = 0; i <= NUM; i++)
		rig_desc(&b->r, table, i, b->buf, 16, i < NUM - 1 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	rig_desc(&b->r, b->r.q[0].desc, 0, table, 16 * (NUM + 1), VRING_DESC_F_INDIRECT, 0);
	rig_avail(&b->r, 0, 0);
	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
	assert_int_equal(b->c.out_n, NUM);
	rig_desc(&b->r, table, NUM - 1, b->buf, 16, VRING_DESC_F_NEXT, NUM);
	rig_avail(&b->r, 0, 0);
	expect_broken(b);
}

static void test_index_jump(void **state)
{
	struct bench *b = *state;

	b->r.q[0].avail_idx = NUM;
	rig_avail(&b->r, 0, 0);
	expect_broken(b);
}

static void test_enable_checks(void **state)
{
	struct bench *b = *state;
	const struct rig_queue *q = &b->r.q[0];
	const struct {
		uint16_t num;
		uint64_t desc, avail, used;
		int want;
	} cases[] = {
		{ 0, q->desc, q->avail, q->used, -EINVAL },
		{ 3, q->desc, q->avail, q->used, -EINVAL },
		{ 512, q->desc, q->avail, q->used, -EINVAL },
		{ 8, q->desc + 8, q->avail, q->used, -EINVAL },
		{ 8, q->desc, q->avail + 1, q->used, -EINVAL },
		{ 8, q->desc, q->avail, q->used + 2, -EINVAL },
		{ 8, RIG_RAM - 112, q->avail, q->used, -EFAULT },
		{ 8, q->desc, RIG_RAM - 20, q->used, -EFAULT },
		{ 8, q->desc, q->avail, RIG_RAM - 68, -EFAULT },
		{ 8, ~0ull << 4, q->avail, q->used, -EFAULT },
		{ 8, VIRTIO_MMIO_BASE, q->avail, q->used, -EFAULT },
		{ 8, RIG_RAM - 128, RIG_RAM - 22, RIG_RAM - 72, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vq_reset(&b->vq);
		b->vq.num = cases[i].num;
		b->vq.desc_gpa = cases[i].desc;
		b->vq.avail_gpa = cases[i].avail;
		b->vq.used_gpa = cases[i].used;
		assert_int_equal(vq_enable(&b->vq, true, true), cases[i].want);
		assert_int_equal(b->vq.enabled, !cases[i].want);
	}
}

static void test_suppression_by_flags(void **state)
{
	struct bench *b = *state;
	struct vring_avail *avail = rig_ptr(&b->r, b->r.q[0].avail);
	struct vring_used *used = rig_ptr(&b->r, b->r.q[0].used);
	const struct rig_seg seg = { b->buf, 16, true };

	vq_notify_off(&b->vq);
	assert_int_equal(used->flags, VRING_USED_F_NO_NOTIFY);
	assert_false(vq_notify_on(&b->vq));
	assert_int_equal(used->flags, 0);
	rig_add(&b->r, 0, &seg, 1);
	assert_true(vq_notify_on(&b->vq));

	assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
	avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	vq_push(&b->vq, b->c.head, 16);
	assert_false(vq_should_signal(&b->vq));
}

static void test_suppression_by_index(void **state)
{
	struct bench *b = *state;
	struct vring_avail *avail = rig_ptr(&b->r, b->r.q[0].avail);
	struct vring_used *used = rig_ptr(&b->r, b->r.q[0].used);
	uint16_t *avail_event = (uint16_t *)&used->ring[NUM];
	const struct rig_seg seg = { b->buf, 16, true };

	/* "After three more": two are silent, the third is told. */
	avail->ring[NUM] = 2;
	for (unsigned int i = 0; i < 4; i++) {
		rig_add(&b->r, 0, &seg, 1);
		assert_int_equal(vq_pop(&b->vq, &b->c), VQ_CHAIN);
		vq_push(&b->vq, b->c.head, 16);
		assert_int_equal(vq_should_signal(&b->vq), i == 2);
	}
	assert_false(vq_notify_on(&b->vq));
	assert_int_equal(*avail_event, 4);
}

/*
 * Random bytes in rings and tables, biased towards values that nearly fit.
 * Whatever is popped lies inside RAM and within the bounds; nothing crashes.
 */
static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t rnd_gpa(struct bench *b, uint64_t *s)
{
	static const uint64_t edge[] = { 0, RIG_RAM - 1, RIG_RAM - 16, RIG_RAM, ~0ull, VIRTIO_MMIO_BASE };

	switch (rnd(s) % 8) {
	case 0:
		return edge[rnd(s) % 6];
	case 1:
		return rnd(s);
	case 2:
		return b->r.q[0].desc + rnd(s) % 512; /* the ring itself */
	default:
		return b->buf + rnd(s) % 4096;
	}
}

static void fuzz_round(struct bench *b, uint64_t *s)
{
	struct rig_queue *q = &b->r.q[0];
	uint64_t table = b->buf + 32768;

	for (uint16_t i = 0; i < 2 * NUM; i++) {
		bool in_ring = i < NUM;
		uint16_t flags = (uint16_t)(rnd(s) & (in_ring ? 7 : 3));
		uint64_t gpa = flags & VRING_DESC_F_INDIRECT && rnd(s) % 4 ? table : rnd_gpa(b, s);
		uint32_t len = rnd(s) % 8 ? (uint32_t)(rnd(s) % 8 + 1) * 16 : (uint32_t)rnd(s);

		if (flags & VRING_DESC_F_INDIRECT && rnd(s) % 4)
			flags = VRING_DESC_F_INDIRECT;
		rig_desc(&b->r, in_ring ? q->desc : table, i % NUM, gpa, len, flags,
			 (uint16_t)(rnd(s) % (NUM + 1)));
	}
	for (uint64_t n = rnd(s) % (NUM + 2); n; n--)
		rig_avail(&b->r, 0, (uint16_t)(rnd(s) % 16 ? rnd(s) % NUM : rnd(s)));
}

static void check_chain(struct bench *b)
{
	const struct guest_region *ram = &b->r.p.mem.region[0];
	const struct vq_chain *c = &b->c;

	assert_true(c->out_n + c->in_n <= NUM);
	assert_int_equal(iov_bytes(c->out, c->out_n), c->out_len);
	assert_int_equal(iov_bytes(c->in, c->in_n), c->in_len);
	for (unsigned int i = 0; i < c->out_n + c->in_n; i++) {
		const uint8_t *p = c->seg[i].iov_base;

		assert_true(p >= ram->hva && c->seg[i].iov_len <= (size_t)(ram->hva + ram->len - p));
	}
}

static void fuzz(struct bench *b, uint64_t seed, unsigned int rounds)
{
	uint64_t s = seed;
	unsigned int chains = 0, broken = 0;

	for (unsigned int i = 0; i < rounds; i++) {
		enum vq_result res;

		fuzz_round(b, &s);
		while ((res = vq_pop(&b->vq, &b->c)) == VQ_CHAIN) {
			check_chain(b);
			vq_push(&b->vq, b->c.head, 0);
			vq_should_signal(&b->vq);
			chains++;
		}
		if (res != VQ_BROKEN)
			continue;
		broken++;
		vq_reset(&b->vq);
		b->vq.num = NUM;
		b->vq.desc_gpa = b->r.q[0].desc;
		b->vq.avail_gpa = b->r.q[0].avail;
		b->vq.used_gpa = b->r.q[0].used;
		b->r.q[0].avail_idx = 0;
		memset(rig_ptr(&b->r, b->r.q[0].avail), 0, 4);
		assert_int_equal(vq_enable(&b->vq, rnd(&s) & 1, true), 0);
	}
	/* Both ways out were taken, and often. */
	assert_true(chains > rounds / 50 && broken > rounds / 50);
}

static void test_fuzz_fixed(void **state)
{
	fuzz(*state, 0x243f6a8885a308d3ull, 200000);
}

static void test_fuzz_fresh(void **state)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	print_message("# seed %#llx\n", (unsigned long long)t.tv_nsec * 0x9e3779b97f4a7c15ull | 1);
	fuzz(*state, (uint64_t)t.tv_nsec * 0x9e3779b97f4a7c15ull | 1, 100000);
}

static void test_iov(void **state)
{
	uint8_t a[5], c[7], flat[16];
	const struct iovec iov[] = { { a, 5 }, { NULL, 0 }, { c, 7 } };
	struct iovec part[3];

	for (size_t off = 0; off <= 13; off++) {
		for (size_t len = 0; len <= 14; len++) {
			size_t want = off >= 12 ? 0 : len < 12 - off ? len : 12 - off;
			uint8_t got[16] = { 0 };

			for (unsigned int i = 0; i < 16; i++)
				flat[i] = (uint8_t)(0x40 + i);
			assert_int_equal(iov_zero(iov, 3, 0, 99), 12);
			assert_int_equal(iov_write(iov, 3, off, flat, len), want);
			assert_int_equal(iov_read(iov, 3, off, got, len), want);
			assert_memory_equal(got, flat, want);
			assert_int_equal(iov_bytes(part, iov_slice(iov, 3, off, len, part)), want);
			assert_int_equal(iov_read(part, iov_slice(iov, 3, off, len, part), 0, got, 16), want);
			assert_memory_equal(got, flat, want);
		}
	}
}

#define T(name)	      cmocka_unit_test_setup_teardown(name, setup, teardown)
#define T_EVENT(name) cmocka_unit_test_setup_teardown(name, setup_event, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iov),
		T(test_direct_chain),
		T(test_unpop),
		T(test_indirect),
		T(test_loop),
		T(test_indirect_loop),
		T(test_bad_descriptors),
		T(test_indirect_in_indirect),
		T(test_indirect_not_negotiated),
		T(test_chain_length),
		T(test_index_jump),
		T(test_enable_checks),
		T(test_suppression_by_flags),
		T_EVENT(test_suppression_by_index),
		T(test_fuzz_fixed),
		T(test_fuzz_fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
