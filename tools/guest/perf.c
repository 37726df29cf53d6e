// SPDX-License-Identifier: MIT
/*
 * perf: what perf_event_open(2) counts of a loop of 2,000,000 instructions, half of them branches, and how many
 * samples it takes at every 10,007th.  One line for each event: its name and the number.
 */
#include "bare.h"

#include <linux/perf_event.h>

#define ROUNDS 1000000L
#define PERIOD 10007
#define SAMPLE_BYTES 16         /* header and address */
#define PAGES 9                 /* of the ring: its header, and 8 for samples */
#define PROT_RW 3
#define MAP_SHARED 1

static long call6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) :
			 "rcx", "r11", "memory");
	return ret;
}

static long open_event(unsigned long config, unsigned long period)
{
	static struct perf_event_attr attr;

	attr = (struct perf_event_attr){
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr), .config = config, .disabled = 1,
		.exclude_kernel = 1, .sample_period = period, .sample_type = PERF_SAMPLE_IP,
	};
	return call6(__NR_perf_event_open, (long)&attr, 0, -1, -1, 0, 0);
}

static void count_loop(long fd)
{
	long n = ROUNDS;

	bare_call(__NR_ioctl, fd, PERF_EVENT_IOC_ENABLE, 0, 0);
	__asm__ volatile("1: decq %0; jnz 1b" : "+r"(n) : : "cc");
	bare_call(__NR_ioctl, fd, PERF_EVENT_IOC_DISABLE, 0, 0);
}

static void say(const char *name, unsigned long value)
{
	char line[80], digits[24];
	int n = 0, d = 0;

	while (*name)
		line[n++] = *name++;
	line[n++] = ' ';
	do {
		digits[d++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (d)
		line[n++] = digits[--d];
	line[n++] = '\n';
	bare_call(__NR_write, 1, (long)line, n, 0);
}

static int count(const char *name, unsigned long config)
{
	unsigned long value = 0;
	long fd = open_event(config, 0);

	if (fd < 0)
		return 1;
	count_loop(fd);
	bare_call(__NR_read, fd, (long)&value, sizeof(value), 0);
	say(name, value);
	bare_call(__NR_close, fd, 0, 0, 0);
	return 0;
}

static int sample(const char *name, unsigned long config)
{
	long fd = open_event(config, PERIOD), ring;

	if (fd < 0)
		return 1;
	ring = call6(__NR_mmap, 0, PAGES * 4096, PROT_RW, MAP_SHARED, fd, 0);
	if (ring < 0 && ring > -4096)
		return 1;
	count_loop(fd);
	say(name, ((volatile struct perf_event_mmap_page *)ring)->data_head / SAMPLE_BYTES);
	return 0;
}

int bare_main(int argc, char **argv, char **envp)
{
	(void)argc;
	(void)argv;
	(void)envp;
	return count("instructions", PERF_COUNT_HW_INSTRUCTIONS) ||
	       count("branches", PERF_COUNT_HW_BRANCH_INSTRUCTIONS) ||
	       count("branch-misses", PERF_COUNT_HW_BRANCH_MISSES) ||
	       count("cycles", PERF_COUNT_HW_CPU_CYCLES) ||
	       sample("samples", PERF_COUNT_HW_INSTRUCTIONS);
}
