/* SPDX-License-Identifier: MIT */
#include "kvm/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anykvm.h"
#include "host/clock.h"

#define LINE_MAX_BYTES 512
#define COMM_LEN 16
#define US 1000u
#define SECOND 1000000u

static const char heading[] =
	"# tracer: nop\n"
	"#\n"
	"#                                _-----=> irqs-off/BH-disabled\n"
	"#                               / _----=> need-resched\n"
	"#                              | / _---=> hardirq/softirq\n"
	"#                              || / _--=> preempt-depth\n"
	"#                              ||| / _-=> migrate-disable\n"
	"#                              |||| /     delay\n"
	"#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
	"#              | |         |   |||||     |         |\n";

/* The file, or -1.  Every line is one write() to its end, so lines of several threads and processes stay whole. */
static _Atomic int trace_fd = -1;

bool kvm_trace_on(void)
{
	return atomic_load_explicit(&trace_fd, memory_order_relaxed) >= 0;
}

static void put(int fd, const char *text, size_t n)
{
	while (n) {
		ssize_t done = write(fd, text, n);

		if (done <= 0 && errno != EINTR)
			return;
		text += done > 0 ? done : 0;
		n -= done > 0 ? (size_t)done : 0;
	}
}

void kvm_trace(const char *event, const char *fmt, ...)
{
	int fd = atomic_load(&trace_fd), err = errno, n;
	uint64_t us = host_now_ns() / US;
	char line[LINE_MAX_BYTES], comm[COMM_LEN + 1] = "";
	va_list ap;

	if (fd < 0)
		return;
	prctl(PR_GET_NAME, comm);
	n = snprintf(line, sizeof(line), "%16s-%-7d [%03d] ..... %5llu.%06llu: %s: ", comm,
		     (int)syscall(SYS_gettid), sched_getcpu(), (unsigned long long)us / SECOND,
		     (unsigned long long)us % SECOND, event);
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	va_end(ap);
	if ((size_t)n > sizeof(line) - 1)
		n = sizeof(line) - 1;
	line[n++] = '\n';
	put(fd, line, (size_t)n);
	errno = err;
}

int anykvm_trace(const char *path)
{
	int fd = -1, old;

	if (path) {
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		if (fd < 0)
			return -1;
		if (!lseek(fd, 0, SEEK_END))
			put(fd, heading, sizeof(heading) - 1);
	}
	old = atomic_exchange(&trace_fd, fd);
	if (old >= 0)
		close(old);
	return 0;
}
