/* SPDX-License-Identifier: MIT */
/* The bus, the guest's memory with its hole, and the slots: what is inside, at the edge, and outside. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/boot/boot.h"
#include "vmm/bus.h"
#include "vmm/guest_mem.h"
#include "vmm/platform.h"

static uint64_t last_off;

static void dev_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	last_off = off;
	memset(data, *(uint8_t *)opaque, len);
}

static void dev_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	last_off = off;
	memcpy(opaque, data, 1);
}

static const struct bus_ops ops = { dev_read, dev_write }, mute = { NULL, NULL };

static uint32_t read4(const struct bus *b, uint64_t addr, unsigned int len)
{
	uint32_t v = 0;

	bus_access(b, BUS_PORT, addr, &v, len, false);
	return v;
}

static void ranges(void **state)
{
	struct bus b = { 0 };
	uint8_t one = 1, two = 2, v = 7;

	assert_int_equal(bus_add(&b, BUS_PORT, 0x100, 8, &ops, &one), 0);
	assert_int_equal(bus_add(&b, BUS_PORT, 0x108, 8, &ops, &two), 0);
	assert_int_equal(bus_add(&b, BUS_PORT, 0x80, 4, &mute, NULL), 0);
	assert_int_equal(bus_add(&b, BUS_PORT, 0x107, 1, &ops, &one), -EEXIST);
	assert_int_equal(bus_add(&b, BUS_PORT, 0xf9, 8, &ops, &one), -EEXIST);
	assert_int_equal(bus_add(&b, BUS_MMIO, 0x107, 1, &ops, &one), 0);
	assert_int_equal(read4(&b, 0x100, 1), 1);
	assert_int_equal(read4(&b, 0x10f, 1), 2);
	assert_int_equal(last_off, 7);
	assert_int_equal(read4(&b, 0x104, 4), 0x01010101);
	assert_int_equal(read4(&b, 0x106, 4), 0xffffffff); /* across the end: nobody's */
	assert_int_equal(read4(&b, 0x110, 1), 0xff);
	assert_int_equal(read4(&b, 0xff, 1), 0xff);
	assert_int_equal(read4(&b, 0x80, 2), 0xffff);
	bus_access(&b, BUS_PORT, 0x80, &v, 1, true);
	bus_access(&b, BUS_PORT, 0x100, &v, 1, true);
	assert_int_equal(one, 7);
	bus_remove(&b, BUS_PORT, 0x100);
	assert_int_equal(read4(&b, 0x100, 1), 0xff);
	assert_int_equal(read4(&b, 0x108, 1), 2);
}

static void full(void **state)
{
	struct bus b = { 0 };
	uint8_t v = 3;

	for (unsigned int i = BUS_MAX_RANGES; i--;)
		assert_int_equal(bus_add(&b, BUS_PORT, i * 2, 1, &ops, &v), 0);
	assert_int_equal(bus_add(&b, BUS_PORT, 0x1000, 1, &ops, &v), -ENOSPC);
	for (unsigned int i = 0; i < 2 * BUS_MAX_RANGES; i++)
		assert_int_equal(read4(&b, i, 1), i & 1 ? 0xff : 3);
}

static void small_memory(void **state)
{
	struct guest_mem gm;
	uint8_t buf[16];

	assert_int_equal(guest_mem_init(&gm, 0), -EINVAL);
	assert_int_equal(guest_mem_init(&gm, 4097), -EINVAL);
	assert_int_equal(guest_mem_init(&gm, 8192), 0);
	assert_non_null(guest_mem_ptr(&gm, 0, 8192));
	assert_null(guest_mem_ptr(&gm, 0, 8193));
	assert_non_null(guest_mem_ptr(&gm, 8191, 1));
	assert_null(guest_mem_ptr(&gm, 8191, 2));
	assert_null(guest_mem_ptr(&gm, 8192, 1));
	assert_null(guest_mem_ptr(&gm, 0, 0));
	assert_null(guest_mem_ptr(&gm, UINT64_MAX, 2));
	assert_null(guest_mem_ptr(&gm, 1, UINT64_MAX));
	assert_int_equal(guest_mem_write(&gm, 8184, "12345678", 8), 0);
	assert_int_equal(guest_mem_write(&gm, 8185, "12345678", 8), -EFAULT);
	assert_int_equal(guest_mem_read(&gm, 8184, buf, 8), 0);
	assert_memory_equal(buf, "12345678", 8);
	assert_int_equal(guest_mem_read(&gm, 8192, buf, 0), 0);
	guest_mem_fini(&gm);
}

/* 5 GiB: 3 below the hole, 2 from 4 GiB on. */
static void large_memory(void **state)
{
	struct e820_range map[E820_RANGES];
	struct guest_mem gm;
	unsigned int n;

	if (guest_mem_init(&gm, 5ull << 30))
		skip(); /* a host that grants no address space ahead of use */
	assert_non_null(guest_mem_ptr(&gm, GUEST_LOW_MAX - 1, 1));
	assert_null(guest_mem_ptr(&gm, GUEST_LOW_MAX - 1, 2));
	assert_null(guest_mem_ptr(&gm, GUEST_LOW_MAX, 1));
	assert_null(guest_mem_ptr(&gm, GUEST_HIGH_GPA - 1, 2));
	assert_non_null(guest_mem_ptr(&gm, GUEST_HIGH_GPA, 2ull << 30));
	assert_null(guest_mem_ptr(&gm, GUEST_HIGH_GPA, (2ull << 30) + 1));
	n = boot_e820(&gm, map);
	assert_int_equal(n, E820_RANGES);
	assert_int_equal(map[n - 1].addr, GUEST_HIGH_GPA);
	assert_int_equal(map[n - 1].len, 2ull << 30);
	for (unsigned int i = 1; i < n; i++)
		assert_true(map[i - 1].addr + map[i - 1].len <= map[i].addr);
	guest_mem_fini(&gm);
}

static void slots(void **state)
{
	struct platform p = { 0 };
	struct virtio_slot s;
	uint32_t seen = 0;

	for (unsigned int i = 0; i < VIRTIO_MMIO_MAX; i++) {
		assert_int_equal(platform_take_slot(&p, &s), 0);
		assert_int_equal(s.gpa, VIRTIO_MMIO_BASE + i * VIRTIO_MMIO_SIZE);
		assert_true(s.gsi < 24 && !(seen >> s.gsi & 1));
		seen |= 1u << s.gsi;
	}
	/* Timer, cascade, serial port, clock and SCI are taken. */
	assert_int_equal(seen & (1u << 0 | 1u << 2 | 1u << 4 | 1u << 8 | 1u << 9), 0);
	assert_int_equal(platform_take_slot(&p, &s), -ENOSPC);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges),	cmocka_unit_test(full),	 cmocka_unit_test(small_memory),
		cmocka_unit_test(large_memory), cmocka_unit_test(slots),
	};

	return cmocka_run_group_tests_name("vmm/bus", tests, NULL, NULL);
}
