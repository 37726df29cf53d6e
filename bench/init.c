// SPDX-License-Identifier: MIT
/*
 * The benchmark's one program: /init of a guest, or an ordinary process on bare hardware.
 *
 *	BENCH_MS=500		measure each workload for so long (an environment variable, or a kernel parameter)
 *	BENCH_ONLY=a,b		only these workloads
 *
 * It prints one line per workload, "NAME VALUE UNIT", the value being the time of one operation; before it
 * "begin NAME", so that a reader with a clock of its own can judge the guest's.  The first line is "bench ready",
 * the last one "bench done".
 */
#include "work.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static const struct work works[] = {
	{ "syscall", "ns", 1, SYSCALL_OPS, NULL, work_syscall, NULL },
	{ "fork", "us", 1, FORK_OPS, NULL, work_fork, NULL },
	{ "exec", "us", 1, EXEC_OPS, NULL, work_exec, NULL },
	{ "pipe", "us", 1, PIPE_OPS, work_pipe_setup, work_pipe, work_pipe_teardown },
	{ "fault", "ns", 1, FAULT_OPS, work_fault_setup, work_fault, work_fault_teardown },
	{ "sha256", "us", 1, SHA256_OPS, work_sha256_setup, work_sha256, NULL },
	{ "sort", "us", 1, SORT_OPS, NULL, work_sort, NULL },
	{ "matrix", "us", 1, MATRIX_OPS, work_matrix_setup, work_matrix, NULL },
	{ "calls", "us", 1, CALLS_OPS, NULL, work_calls, NULL },
	{ "memcpy", "us", 1, MEMCPY_OPS, work_memcpy_setup, work_memcpy, NULL },
	{ "chase", "ns", 1, CHASE_OPS, work_chase_setup, work_chase, NULL },
	{ "int-one", "us", 1, SHARE_OPS, NULL, work_int_one, NULL },
	{ "int-two", "us", 2, SHARE_OPS, NULL, work_int_two, NULL },
	{ "mem-one", "us", 1, SHARE_OPS, NULL, work_mem_one, NULL },
	{ "mem-two", "us", 2, SHARE_OPS, NULL, work_mem_two, NULL },
	{ "sys-one", "us", 1, SHARE_OPS, NULL, work_sys_one, NULL },
	{ "sys-two", "us", 2, SHARE_OPS, NULL, work_sys_two, NULL },
	{ "threads", "us", 2, THREADS_OPS, NULL, work_threads, NULL },
	{ "locked", "ns", 2, LOCKED_OPS, NULL, work_locked, NULL },
};

void work_die(const char *what)
{
	printf("failed %s\n", what);
	exit(1);
}

/*
 * Process 1 of a guest only waits: the kernel treats it unlike others (each signal for a bad access is logged), and
 * its end would be a panic.
 */
static void run_machine(void)
{
	pid_t worker = fork();

	if (worker == 0)
		return;
	while (worker > 0 && wait(NULL) != worker)
		;
	tcdrain(STDOUT_FILENO);
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* The time of one operation in nanoseconds, over as many batches as fit. */
static double measure(const struct work *work, double budget_ns)
{
	double start, elapsed;
	unsigned long batches = 0;

	if (work->setup)
		work->setup();
	work->batch();
	printf("begin %s\n", work->name);
	start = now_ns();
	do {
		work->batch();
		batches++;
		elapsed = now_ns() - start;
	} while (elapsed < budget_ns);
	if (work->teardown)
		work->teardown();
	return elapsed / ((double)batches * work->ops);
}

static bool wanted(const char *name)
{
	const char *only = getenv("BENCH_ONLY");
	size_t length = strlen(name);

	if (!only || !*only)
		return true;
	while (only) {
		if (!strncmp(only, name, length) && (only[length] == ',' || !only[length]))
			return true;
		only = strchr(only, ',');
		if (only)
			only++;
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *budget = getenv("BENCH_MS");
	double budget_ns = (budget ? atof(budget) : 500) * 1e6;
	cpu_set_t cpus;

	if (argc > 1 && !strcmp(argv[1], WORK_EXEC_ARG))
		_exit(0);
	if (getpid() == 1)
		run_machine();
	work_self = argv[0];
	/* No /proc and no /sys in the guest: the mask of this thread tells how many CPUs there are. */
	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		work_die("sched_getaffinity");
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("bench ready\n");
	work_sha256_setup();
	if (work_sha256_abc() != 0xba7816bf)
		work_die("SHA-256 gives a wrong hash");

	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		const struct work *work = &works[i];
		double ns;

		if (!wanted(work->name) || (int)work->cpus > CPU_COUNT(&cpus))
			continue;
		ns = measure(work, budget_ns);
		printf("%s %.3f %s\n", work->name, strcmp(work->unit, "us") ? ns : ns / 1e3, work->unit);
	}
	printf("bench done\n");
	return 0;
}
