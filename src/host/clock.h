/* SPDX-License-Identifier: MIT */
/* Time: the host's monotonic clock and its time-stamp counter. */
#ifndef HOST_CLOCK_H
#define HOST_CLOCK_H

#include <stdint.h>

/** host_now_ns - CLOCK_MONOTONIC in nanoseconds.  Fails never. */
uint64_t host_now_ns(void);

/** host_realtime_ns - CLOCK_REALTIME in nanoseconds since 1970. */
uint64_t host_realtime_ns(void);
/** host_boottime_ns - since the machine came up, asleep or not. */
uint64_t host_boottime_ns(void);

/** host_thread_ns - the processor time that the calling thread has used, in nanoseconds. */
uint64_t host_thread_ns(void);

/** host_rdtsc - the host's time-stamp counter. */
static inline uint64_t host_rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/** host_tsc_khz - its frequency; measured once a process (20 ms) unless CPUID tells.  Never 0. */
uint32_t host_tsc_khz(void);

/** host_switches - how often the calling thread has left a processor: it never waited for one without. */
uint64_t host_switches(void);

/**
 * host_run_delay_ns - how long the calling thread has been ready to run and waited for a processor, in all.
 * -errno: the host's kernel does not account for it.  Three system calls, one of them slow.
 */
int host_run_delay_ns(uint64_t *ns);

/** host_now_and_tsc - one instant as both: *tsc is the counter at the returned CLOCK_MONOTONIC. */
uint64_t host_now_and_tsc(uint64_t *tsc);

#endif
