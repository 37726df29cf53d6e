/* SPDX-License-Identifier: MIT */
#include "host/populate.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "host/fault.h"

#define PAGE 4096u
#define STEP_PAGES 512u         /* at a time */

static int advice_for(bool write)
{
	return write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
}

/* Kernels before 5.14 have no such advice; no other thing can be wrong with no bytes. */
static bool advice_known(bool write)
{
	return !madvise(NULL, 0, advice_for(write));
}

static bool is_mapped(void *p, size_t n)
{
	unsigned char resident[STEP_PAGES];

	return !mincore(p, n, resident);
}

/* One after another, by an access that changes nothing. */
static int touch(volatile uint8_t *p, size_t n, bool write)
{
	volatile size_t done = 0;
	struct host_guard g;

	host_guard_arm(&g);
	if (host_jump_set(&g.jump)) {
		host_guard_disarm(&g);
		return -EFAULT;
	}
	for (; done < n; done += PAGE) {
		if (write)
			__atomic_fetch_or(&p[done], 0, __ATOMIC_RELAXED);
		else
			(void)p[done];
	}
	host_guard_disarm(&g);
	return 0;
}

static int step(uint8_t *p, size_t n, bool write)
{
	int r;

	do
		r = madvise(p, n, advice_for(write));
	while (r && (errno == EINTR || errno == EAGAIN));
	if (!r)
		return 0;
	if (errno == EINVAL)
		return advice_known(write) ? -EINVAL : touch(p, n, write);
	if (errno == ENOMEM && is_mapped(p, n))
		return -ENOMEM;
	return -EFAULT;
}

int host_populate(void *p, size_t n, bool write)
{
	uint8_t *at = p;
	int r = 0;

	while (n && !r) {
		size_t part = n < STEP_PAGES * PAGE ? n : STEP_PAGES * PAGE;

		r = step(at, part, write);
		at += part;
		n -= part;
	}
	return r;
}
