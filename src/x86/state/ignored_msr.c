// SPDX-License-Identifier: MIT
#include "x86/state/ignored_msr.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "host/clock.h"
#include "host/fork.h"
#include "x86/state/parameter.h"

/* As the kernel's printk_ratelimited(): so many lines in so long. */
#define BURST 10
#define INTERVAL_NS 5000000000ULL

static struct {
	struct host_process_lock lock;
	uint64_t since;         /* CLOCK_MONOTONIC, ns; 0: never */
	unsigned int lines, lost;
} limit = { .lock = HOST_PROCESS_LOCK };

/* May a line be written?  *@lost: so many were not, before. */
static bool allowed(unsigned int *lost)
{
	uint64_t now = host_now_ns();
	bool yes;

	host_process_lock(&limit.lock);
	*lost = 0;
	if (!limit.since || now - limit.since >= INTERVAL_NS) {
		*lost = limit.lost;
		limit.since = now;
		limit.lines = limit.lost = 0;
	}
	yes = limit.lines < BURST;
	if (yes)
		limit.lines++;
	else
		limit.lost++;
	host_process_unlock(&limit.lock);
	return yes;
}

static void report(bool write_access, uint32_t index, uint64_t value)
{
	char text[160];
	unsigned int lost;
	int n = 0, err = errno;

	if (!allowed(&lost))
		return;
	if (lost)
		n = snprintf(text, sizeof(text), "kvm: %u lines about ignored MSRs suppressed\n", lost);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "kvm [%i]: ignored %s: 0x%x data 0x%llx\n", (int)getpid(),
		      write_access ? "wrmsr" : "rdmsr", index, (unsigned long long)value);
	/* Nobody is left to be told where that fails. */
	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		errno = err;
	errno = err;
}

bool x86_msr_ignored(bool write, uint32_t index, uint64_t value)
{
	if (!x86_parameter(X86_PARAM_IGNORE_MSRS))
		return false;
	if (x86_parameter(X86_PARAM_REPORT_IGNORED_MSRS))
		report(write, index, value);
	return true;
}
