/* SPDX-License-Identifier: MIT */
/*
 * anykvm stat: the counters of running VMs, in the layout of kvm_stat.  A VM's and
 * a vCPU's statistics lie in memfds of their process, which /proc shows; they are
 * read there, so whoever may look at the process's descriptors may see them.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define LINK_NAME "/memfd:kvm-stats"
#define COUNTERS_MAX 256
#define BLOCKS_MAX 4096
#define NAME_MAX_BYTES 64

struct counter {
	char name[NAME_MAX_BYTES];
	uint64_t total, before;
};

struct view {
	long pid;               /* 0: all processes */
	bool once;
	struct counter counter[COUNTERS_MAX];
	unsigned int counters;
	struct {
		dev_t dev;
		ino_t ino;
	} seen[BLOCKS_MAX];     /* a block has several descriptors where its client asked for one */
	unsigned int blocks;
};

static struct counter *counter_named(struct view *v, const char *name)
{
	for (unsigned int i = 0; i < v->counters; i++)
		if (!strcmp(v->counter[i].name, name))
			return &v->counter[i];
	if (v->counters == COUNTERS_MAX)
		return NULL;
	snprintf(v->counter[v->counters].name, NAME_MAX_BYTES, "%s", name);
	return &v->counter[v->counters++];
}

/* Another process wrote it: nothing of it is believed. */
static void add_block(struct view *v, int fd)
{
	struct kvm_stats_header h;
	struct {
		struct kvm_stats_desc d;
		char name[NAME_MAX_BYTES];
	} row;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.num_desc > COUNTERS_MAX || h.name_size >= NAME_MAX_BYTES)
		return;
	for (uint32_t i = 0; i < h.num_desc; i++) {
		size_t size = sizeof(row.d) + h.name_size;
		struct counter *c;
		uint64_t value;

		memset(&row, 0, sizeof(row));
		if (pread(fd, &row, size, (off_t)(h.desc_offset + i * size)) != (ssize_t)size)
			return;
		if ((row.d.flags & KVM_STATS_TYPE_MASK) != KVM_STATS_TYPE_CUMULATIVE || row.d.size != 1)
			continue;
		if (pread(fd, &value, sizeof(value), (off_t)h.data_offset + row.d.offset) != sizeof(value))
			return;
		c = counter_named(v, (const char *)&row + sizeof(row.d));
		if (c)
			c->total += value;
	}
}

static bool is_new(struct view *v, int fd)
{
	struct stat st;

	if (fstat(fd, &st) || v->blocks == BLOCKS_MAX)
		return false;
	for (unsigned int i = 0; i < v->blocks; i++)
		if (v->seen[i].dev == st.st_dev && v->seen[i].ino == st.st_ino)
			return false;
	v->seen[v->blocks].dev = st.st_dev;
	v->seen[v->blocks++].ino = st.st_ino;
	return true;
}

static void add_descriptor(struct view *v, const char *path)
{
	char link[64];
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	int fd;

	if (n < 0)
		return;
	link[n] = 0;
	if (strncmp(link, LINK_NAME, strlen(LINK_NAME)))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (is_new(v, fd))
		add_block(v, fd);
	close(fd);
}

/* Returns -errno where the process cannot be looked at. */
static int add_process(struct view *v, long pid)
{
	char dir[32], path[sizeof(dir) + 260];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%ld/fd", pid);
	d = opendir(dir);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		add_descriptor(v, path);
	}
	closedir(d);
	return 0;
}

static int collect(struct view *v)
{
	struct dirent *e;
	DIR *d;

	for (unsigned int i = 0; i < v->counters; i++) {
		v->counter[i].before = v->counter[i].total;
		v->counter[i].total = 0;
	}
	v->blocks = 0;
	if (v->pid)
		return add_process(v, v->pid);
	d = opendir("/proc");
	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			add_process(v, strtol(e->d_name, NULL, 10));
	closedir(d);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct counter *)a)->name, ((const struct counter *)b)->name);
}

static uint64_t delta(const struct counter *c)
{
	/* Smaller than before where a VM has ended. */
	return c->total > c->before ? c->total - c->before : 0;
}

static void print_once(const struct view *v)
{
	for (unsigned int i = 0; i < v->counters; i++)
		printf("%-42s%10llu%10llu\n", v->counter[i].name, (unsigned long long)v->counter[i].total,
		       (unsigned long long)delta(&v->counter[i]));
}

static void print_table(const struct view *v)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < v->counters; i++)
		sum += v->counter[i].total;
	if (isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
	printf("kvm statistics - summary\n\n %-42s%14s%7s%14s\n", "Event", "Total", "%Total", "CurAvg/s");
	for (unsigned int i = 0; i < v->counters; i++)
		if (v->counter[i].total)
			printf(" %-42s%14llu%7.1f%14llu\n", v->counter[i].name,
			       (unsigned long long)v->counter[i].total, 100.0 * v->counter[i].total / sum,
			       (unsigned long long)delta(&v->counter[i]));
	printf("\n");
	fflush(stdout);
}

static int failed(const struct view *v, int err)
{
	if (v->pid)
		say("stat: process %ld: cannot look at it: %s", v->pid, strerror(-err));
	else
		say("stat: /proc: cannot read: %s", strerror(-err));
	return EXIT_FAILED;
}

static int nothing(const struct view *v)
{
	if (v->pid)
		say("stat: process %ld has no VM of anykvm's", v->pid);
	else
		say("stat: no VM of anykvm's is running, or none that you may look at");
	return EXIT_FAILED;
}

static int watch(struct view *v)
{
	static const struct timespec second = { .tv_sec = 1 };
	int err = collect(v);

	if (err)
		return failed(v, err);
	if (!v->blocks)
		return nothing(v);
	do {
		nanosleep(&second, NULL);
		err = collect(v);
		if (err || !v->blocks)
			return v->once ? nothing(v) : EXIT_OK;
		qsort(v->counter, v->counters, sizeof(v->counter[0]), by_name);
		if (v->once)
			print_once(v);
		else
			print_table(v);
	} while (!v->once && !ferror(stdout));
	return EXIT_OK;
}

static int set_once(void *args, const char *value, struct vmm_err *err)
{
	((struct view *)args)->once = true;
	return 0;
}

static int set_pid(void *args, const char *value, struct vmm_err *err)
{
	struct view *v = args;
	char *end;

	errno = 0;
	v->pid = strtol(value, &end, 10);
	if (errno || *end || end == value || v->pid <= 0)
		return vmm_fail(err, EINVAL, "--pid %s: not a process number", value);
	return 0;
}

const struct option_row stat_options[] = {
	{ .name = "once", .aliases = { "batch" }, .letter = '1', .help = "print the counters of one second, and end",
	  .set = set_once },
	{ .name = "pid", .letter = 'p', .arg = "PID", .help = "of this process alone", .set = set_pid },
	{ .name = NULL },
};

int stat_main(const struct command *cmd, int argc, char **argv)
{
	struct vmm_err err = { "" };
	struct view *v = calloc(1, sizeof(*v));
	int n, status;

	if (!v) {
		say("stat: out of memory");
		return EXIT_FAILED;
	}
	n = options_parse(cmd, argc, argv, v, &err);
	if (n >= 0 && n < argc)
		n = vmm_fail(&err, EINVAL, "%s: stat takes no operands", argv[n]);
	if (n == -ECANCELED)
		status = EXIT_OK;
	else if (n < 0)
		status = usage_error(cmd, &err);
	else
		status = watch(v);
	free(v);
	return status;
}
