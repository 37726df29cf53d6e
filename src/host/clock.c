/* SPDX-License-Identifier: MIT */
/*
 * The frequency of the time-stamp counter is the one cached fact here: it is
 * the machine's, not a VM's.
 */
#include "host/clock.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ULL
#define MEASURE_NS 20000000ULL
#define CHECK_NS 2000000ULL

static struct {
	pthread_once_t once;
	uint32_t tsc_khz;
} clock_cache = { .once = PTHREAD_ONCE_INIT };

static uint64_t now(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t host_now_ns(void)
{
	return now(CLOCK_MONOTONIC);
}

uint64_t host_boottime_ns(void)
{
	return now(CLOCK_BOOTTIME);
}

uint64_t host_realtime_ns(void)
{
	return now(CLOCK_REALTIME);
}

uint64_t host_thread_ns(void)
{
	return now(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t host_now_and_tsc(uint64_t *tsc)
{
	uint64_t best = UINT64_MAX, ns = 0;

	/* The tightest of a few brackets: a preemption between the two reads must not count. */
	for (int i = 0; i < 5; i++) {
		uint64_t before = host_rdtsc(), at = host_now_ns(), after = host_rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			ns = at;
		}
	}
	return ns;
}

static uint32_t measure(uint64_t period_ns)
{
	uint64_t tsc0, tsc1, ns0 = host_now_and_tsc(&tsc0), ns1;
	struct timespec ts = { 0, (long)period_ns };

	nanosleep(&ts, NULL);
	ns1 = host_now_and_tsc(&tsc1);
	return (uint32_t)((unsigned __int128)(tsc1 - tsc0) * 1000000 / (ns1 - ns0));
}

/* CPUID 15h (SDM 2A, CPUID), or the leaf that hypervisors agree on, 40000010h. */
static uint32_t from_cpuid(void)
{
	unsigned int a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c >> 31)) {
		__cpuid(0x40000000, a, b, c, d);
		if (a >= 0x40000010 && a < 0x40010000) {
			__cpuid(0x40000010, a, b, c, d);
			if (a)
				return a;
		}
	}
	if (__get_cpuid_max(0, NULL) >= 0x15) {
		__cpuid(0x15, a, b, c, d);
		if (a && b && c)
			return (uint32_t)((uint64_t)c * b / a / 1000);
	}
	return 0;
}

static bool plausible(uint32_t khz, uint32_t measured)
{
	uint32_t diff = khz > measured ? khz - measured : measured - khz;

	return diff < measured / 500;
}

static void find_tsc_khz(void)
{
	uint32_t khz = from_cpuid();

	if (!khz || !plausible(khz, measure(CHECK_NS)))
		khz = measure(MEASURE_NS);
	clock_cache.tsc_khz = khz ? khz : 1;
}

uint32_t host_tsc_khz(void)
{
	pthread_once(&clock_cache.once, find_tsc_khz);
	return clock_cache.tsc_khz;
}

uint64_t host_switches(void)
{
	struct rusage r = { .ru_nvcsw = 0 };

	getrusage(RUSAGE_THREAD, &r);
	return (uint64_t)r.ru_nvcsw + (uint64_t)r.ru_nivcsw;
}

/* /proc/.../schedstat: time run, time waited, slices.  Kernel documentation: scheduler/sched-stats.rst. */
int host_run_delay_ns(uint64_t *ns)
{
	char text[96], *end;
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = 0;
	strtoull(text, &end, 10);
	if (end == text || *end != ' ')
		return -EIO;
	*ns = strtoull(end, NULL, 10);
	return 0;
}
