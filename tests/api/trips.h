/* SPDX-License-Identifier: MIT */
/* What entering a guest of a guest and coming back costs, by the counters of the vCPU. */
#ifndef TESTS_API_TRIPS_H
#define TESTS_API_TRIPS_H

#include "guest.h"

#define TRIPS 50

enum { RUNS, EXITS, FLUSHES, CONTEXTS, WALKS, SLAT_WALKS, COUNTERS };

static inline void trip_counters(int vcpu, uint64_t *c)
{
	static const char *const names[] = {
		"nested_run", "nested_exits", "tlb_flush", "mmu_contexts", "page_walks", "slat_walks",
	};

	for (unsigned int n = 0; n < COUNTERS; n++)
		c[n] = (api_real() ? 0 : guest_stat(vcpu, names[n])) - c[n];
}

/** round_trips - @once, which has to give 1, some times to have everything at hand; then TRIPS times, which @c tells of. */
static inline void round_trips(int vcpu, uint8_t (*once)(void *guest), void *guest, uint64_t c[COUNTERS])
{
	for (unsigned int n = 0; n < 3; n++)
		assert_int_equal(once(guest), 1);
	memset(c, 0, COUNTERS * sizeof(*c));
	trip_counters(vcpu, c);
	for (unsigned int n = 0; n < TRIPS; n++)
		assert_int_equal(once(guest), 1);
	trip_counters(vcpu, c);
	if (api_real())
		return;
	assert_int_equal(c[RUNS], TRIPS);
	assert_int_equal(c[EXITS], TRIPS);
}

#endif
