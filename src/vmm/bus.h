/* SPDX-License-Identifier: MIT */
/*
 * bus.h - which device answers at which port or physical address.
 *
 * Ranges are added before the first vCPU runs and stay until the machine is
 * torn down, so look-ups take no lock.  Callbacks run on the vCPU thread that
 * made the access, several at once where there are several vCPUs: a device
 * locks its own state.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

enum bus_space { BUS_PORT, BUS_MMIO, BUS_SPACES };

struct bus_ops {
	/* @off: from the range's base; @len: 1, 2, 4 or 8 bytes, all inside the range; little endian. */
	void (*read)(void *opaque, uint64_t off, void *data, unsigned int len);
	void (*write)(void *opaque, uint64_t off, const void *data, unsigned int len);
};

#define BUS_MAX_RANGES 64

struct bus_range {
	uint64_t base, len;
	const struct bus_ops *ops;
	void *opaque;
};

struct bus {
	struct bus_range range[BUS_SPACES][BUS_MAX_RANGES]; /* sorted by base */
	unsigned int count[BUS_SPACES];
};

/**
 * bus_add - give [@base, @base + @len) to a device.
 * @ops, @opaque: the device's; must outlive the bus.  A NULL callback reads as
 * all ones, or ignores the write.
 * Returns 0; -EEXIST where it overlaps a range, -ENOSPC where the table is full.
 */
int bus_add(struct bus *b, enum bus_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *opaque);

/** bus_remove - take back the range that starts at @base; no vCPU may run any more. */
void bus_remove(struct bus *b, enum bus_space space, uint64_t base);

/**
 * bus_access - one access of a vCPU.  Where nobody answers, reads give all
 * ones and writes vanish, as on a PC's bus.
 * @len: 1 to 8 bytes.
 */
void bus_access(const struct bus *b, enum bus_space space, uint64_t addr, void *data,
		unsigned int len, bool write);

#endif
