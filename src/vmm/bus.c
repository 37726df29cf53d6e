/* SPDX-License-Identifier: MIT */
#include "vmm/bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int bus_add(struct bus *b, enum bus_space space, uint64_t base, uint64_t len,
	    const struct bus_ops *ops, void *opaque)
{
	struct bus_range *r = b->range[space];
	unsigned int n = b->count[space], at = 0;

	if (n == BUS_MAX_RANGES)
		return -ENOSPC;
	while (at < n && r[at].base < base)
		at++;
	if (at > 0 && r[at - 1].base + r[at - 1].len > base)
		return -EEXIST;
	if (at < n && base + len > r[at].base)
		return -EEXIST;
	memmove(&r[at + 1], &r[at], (n - at) * sizeof(*r));
	r[at] = (struct bus_range){ .base = base, .len = len, .ops = ops, .opaque = opaque };
	b->count[space]++;
	return 0;
}

void bus_remove(struct bus *b, enum bus_space space, uint64_t base)
{
	struct bus_range *r = b->range[space];
	unsigned int n = b->count[space];

	for (unsigned int i = 0; i < n; i++) {
		if (r[i].base != base)
			continue;
		memmove(&r[i], &r[i + 1], (n - i - 1) * sizeof(*r));
		b->count[space]--;
		return;
	}
}

static const struct bus_range *bus_find(const struct bus *b, enum bus_space space, uint64_t addr,
					unsigned int len)
{
	const struct bus_range *r = b->range[space];
	unsigned int lo = 0, hi = b->count[space];

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (addr < r[mid].base)
			hi = mid;
		else if (addr - r[mid].base >= r[mid].len)
			lo = mid + 1;
		else
			return len <= r[mid].len - (addr - r[mid].base) ? &r[mid] : NULL;
	}
	return NULL;
}

void bus_access(const struct bus *b, enum bus_space space, uint64_t addr, void *data,
		unsigned int len, bool write)
{
	const struct bus_range *r = bus_find(b, space, addr, len);

	if (!write)
		memset(data, 0xff, len);
	if (!r)
		return;
	if (write && r->ops->write)
		r->ops->write(r->opaque, addr - r->base, data, len);
	else if (!write && r->ops->read)
		r->ops->read(r->opaque, addr - r->base, data, len);
}
