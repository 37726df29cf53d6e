/* SPDX-License-Identifier: MIT */
#include "preload/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "anykvm.h"

/* What KVM_GET_STATS_FD gave, mapped: the counters go on counting in it, and it takes no descriptor. */
struct noted {
	struct noted *next;     /* an earlier one */
	const struct noted *vm; /* of a vCPU; NULL: is a VM */
	int fd;                 /* a VM's number when it was made */
	size_t size;
	const char *block;
};

static struct {
	pthread_mutex_t lock;
	struct noted *latest;
} notes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int map_block(struct noted *n, int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return -errno;
	n->size = (size_t)st.st_size;
	p = mmap(NULL, n->size, PROT_READ, MAP_SHARED, fd, 0);
	n->block = p;
	return p == MAP_FAILED ? -errno : 0;
}

static const struct noted *latest_vm(int fd)
{
	const struct noted *n = notes.latest;

	while (n && (n->vm || n->fd != fd))
		n = n->next;
	return n;
}

void stats_note(int fd, uint32_t request, int result)
{
	struct noted *n;
	int stats, r;

	if (request != (uint32_t)KVM_CREATE_VM && request != (uint32_t)KVM_CREATE_VCPU)
		return;
	n = calloc(1, sizeof(*n));
	stats = anykvm_ioctl(result, KVM_GET_STATS_FD, NULL);
	r = n && stats >= 0 ? map_block(n, stats) : -EMFILE;
	if (stats >= 0)
		anykvm_close(stats);
	if (r) {
		free(n);
		return;
	}
	pthread_mutex_lock(&notes.lock);
	n->fd = request == (uint32_t)KVM_CREATE_VM ? result : -1;
	n->vm = n->fd < 0 ? latest_vm(fd) : NULL;
	n->next = notes.latest;
	notes.latest = n;
	pthread_mutex_unlock(&notes.lock);
}

void stats_forget(void)
{
	/* The lock may have been held by a thread that the child does not have; the memory is left as it is. */
	pthread_mutex_init(&notes.lock, NULL);
	notes.latest = NULL;
}

/* --- JSON --- */

struct text {
	char *at;
	size_t used, size;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->at + t->used, t->size - t->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n;
	if (t->used >= t->size)
		t->used = t->size - 1;
}

static void put_string(struct text *t, const char *s)
{
	put(t, "\"");
	for (; *s; s++)
		if ((unsigned char)*s >= ' ' && *s != '"' && *s != '\\')
			put(t, "%c", *s);
	put(t, "\"");
}

static void put_values(struct text *t, const uint64_t *v, unsigned int count)
{
	put(t, count == 1 ? "" : "[");
	for (unsigned int i = 0; i < count; i++)
		put(t, "%s%llu", i ? ", " : "", (unsigned long long)v[i]);
	put(t, count == 1 ? "" : "]");
}

static void put_block(struct text *t, const struct noted *n)
{
	const struct kvm_stats_header *h = (const void *)n->block;

	put(t, "{");
	for (uint32_t i = 0; i < h->num_desc; i++) {
		const struct kvm_stats_desc *d =
			(const void *)(n->block + h->desc_offset + i * (sizeof(*d) + h->name_size));

		put(t, i ? ", " : "");
		put_string(t, d->name);
		put(t, ": ");
		put_values(t, (const void *)(n->block + h->data_offset + d->offset), d->size);
	}
	put(t, "}");
}

/* vCPUs in the order in which they were made, which is the reverse of the list's. */
static void put_vcpus(struct text *t, const struct noted *n, const struct noted *vm)
{
	if (!n)
		return;
	put_vcpus(t, n->next, vm);
	if (n->vm != vm)
		return;
	put(t, t->at[t->used - 1] == '[' ? "" : ", ");
	put_block(t, n);
}

static void put_vm(struct text *t, const struct noted *vm)
{
	put(t, "{\"engine\": \"anykvm %s\", \"pid\": %d, \"command\": ", anykvm_version(), (int)getpid());
	put_string(t, program_invocation_short_name);
	put(t, ", \"vm\": ");
	put_block(t, vm);
	put(t, ", \"vcpus\": [");
	put_vcpus(t, notes.latest, vm);
	put(t, "]}\n");
}

/* More than enough for every line: a number has at most 20 digits, and a name is shorter than its place. */
static size_t room_needed(void)
{
	size_t size = 1024;

	for (const struct noted *n = notes.latest; n; n = n->next)
		size += 4 * n->size;
	return size;
}

static void append_line(int fd, const struct text *t)
{
	/* One write, so that lines of several processes do not mix; what cannot be written is lost. */
	if (write(fd, t->at, t->used) != (ssize_t)t->used)
		errno = EIO;
}

void stats_write(const char *path)
{
	struct text t = { .size = 0 };
	int fd;

	pthread_mutex_lock(&notes.lock);
	if (!notes.latest)
		goto out;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	t.size = room_needed();
	t.at = mmap(NULL, t.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (const struct noted *n = notes.latest; fd >= 0 && t.at != MAP_FAILED && n; n = n->next) {
		if (n->vm)
			continue;
		t.used = 0;
		put_vm(&t, n);
		append_line(fd, &t);
	}
	if (t.at != MAP_FAILED)
		munmap(t.at, t.size);
	if (fd >= 0)
		close(fd);
	notes.latest = NULL;
out:
	pthread_mutex_unlock(&notes.lock);
}
