/* SPDX-License-Identifier: MIT */
#include "kvm/object.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INODE_BUCKETS 256

/* The table of descriptors: what src/kvm has of mutable state at file scope. */
static struct {
	pthread_mutex_t lock;
	pthread_once_t once;
	_Atomic uint32_t process_id;
	struct kvm_object **by_fd;
	size_t by_fd_size;
	struct kvm_object *by_inode[INODE_BUCKETS];     /* objects with a descriptor in the table */
} table = { .lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT, .process_id = 1 };

/*
 * A bit for each descriptor that has an entry, for those who may not wait for the lock.  Larger numbers than these
 * are rare, and all of them are taken for ours once one is.
 */
#define TRACKED_FDS (1u << 20)
static _Atomic uint64_t tracked[TRACKED_FDS / 64];
static atomic_bool tracked_beyond;

/* fork() copies the table at a moment when nobody is changing it. */
static void before_fork(void)
{
	pthread_mutex_lock(&table.lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&table.lock);
}

static void after_fork_child(void)
{
	pthread_mutex_unlock(&table.lock);
	atomic_fetch_add(&table.process_id, 1);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

uint32_t kvm_process_id(void)
{
	return atomic_load_explicit(&table.process_id, memory_order_relaxed);
}

/* --- under the lock --- */

static struct kvm_object **bucket_of(ino_t ino)
{
	return &table.by_inode[ino % INODE_BUCKETS];
}

static struct kvm_object *find_inode(const struct stat *st)
{
	struct kvm_object *obj = *bucket_of(st->st_ino);

	while (obj && !(obj->ino == st->st_ino && obj->dev == st->st_dev))
		obj = obj->next;
	return obj;
}

static void unlink_inode(struct kvm_object *obj)
{
	struct kvm_object **at = bucket_of(obj->ino);

	while (*at != obj)
		at = &(*at)->next;
	*at = obj->next;
}

static int make_room(int fd)
{
	size_t size = table.by_fd_size ? table.by_fd_size : 64;
	struct kvm_object **p;

	if ((size_t)fd < table.by_fd_size)
		return 0;
	while (size <= (size_t)fd)
		size *= 2;
	p = realloc(table.by_fd, size * sizeof(*p));
	if (!p)
		return -ENOMEM;
	for (size_t i = table.by_fd_size; i < size; i++)
		p[i] = NULL;
	table.by_fd = p;
	table.by_fd_size = size;
	return 0;
}

static struct kvm_object *entry(int fd)
{
	return fd >= 0 && (size_t)fd < table.by_fd_size ? table.by_fd[fd] : NULL;
}

static void track(int fd, bool on)
{
	uint64_t bit = 1ULL << (fd % 64);

	if ((unsigned int)fd >= TRACKED_FDS)
		atomic_store(&tracked_beyond, true);
	else if (on)
		atomic_fetch_or(&tracked[fd / 64], bit);
	else
		atomic_fetch_and(&tracked[fd / 64], ~bit);
}

static void set_entry(int fd, struct kvm_object *obj)
{
	table.by_fd[fd] = obj;
	track(fd, true);
	obj->fds++;
	obj->refs++;
}

/* Returns the object if this was the last reference to it: the caller releases it without the lock. */
static struct kvm_object *unref(struct kvm_object *obj)
{
	return --obj->refs ? NULL : obj;
}

static struct kvm_object *clear_entry(int fd)
{
	struct kvm_object *obj = table.by_fd[fd];

	table.by_fd[fd] = NULL;
	track(fd, false);
	if (!--obj->fds)
		unlink_inode(obj);
	return unref(obj);
}

static void release(struct kvm_object *obj)
{
	/* In a child that inherited the table: what the object holds belongs to the parent. */
	if (obj && (!obj->owner || obj->owner == kvm_process_id()))
		obj->release(obj);
}

/*
 * The last known descriptor of an object is about to be closed: the client may have duplicates that were never
 * used with us.  Enters those, other than @except.
 */
static void find_duplicates(const struct kvm_object *obj, int except)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;
	struct stat st;

	if (!dir)
		return;
	while ((d = readdir(dir))) {
		char *end;
		long fd = strtol(d->d_name, &end, 10);

		/* What is in the table is known already. */
		if (*end || end == d->d_name || fd == except || fd == dirfd(dir) || entry((int)fd))
			continue;
		if (fstat((int)fd, &st) || st.st_ino != obj->ino || st.st_dev != obj->dev)
			continue;
		if (!make_room((int)fd))
			set_entry((int)fd, (struct kvm_object *)obj);
	}
	closedir(dir);
}

/* Drops the entry of @fd, which is about to be closed, or is closed or something else by now. */
static struct kvm_object *drop_entry(int fd)
{
	struct kvm_object *obj = table.by_fd[fd];

	/* The library keeps a descriptor of a statistics block itself, which must not count. */
	if (obj->fds == 1 && obj->kind != KVM_STATS)
		find_duplicates(obj, fd);
	return clear_entry(fd);
}

/* --- the interface --- */

int kvm_object_add(struct kvm_object *obj, int fd)
{
	struct kvm_object *stale = NULL;
	struct stat st;
	int r;

	pthread_once(&table.once, watch_forks);
	if (fstat(fd, &st))
		return -errno;
	pthread_mutex_lock(&table.lock);
	r = make_room(fd);
	if (!r) {
		if (table.by_fd[fd])
			stale = drop_entry(fd);
		obj->fds = obj->refs = 0;
		obj->dev = st.st_dev;
		obj->ino = st.st_ino;
		obj->next = *bucket_of(st.st_ino);
		*bucket_of(st.st_ino) = obj;
		set_entry(fd, obj);
	}
	pthread_mutex_unlock(&table.lock);
	release(stale);
	return r;
}

struct kvm_object *kvm_object_get(int fd, int trust)
{
	struct kvm_object *obj, *stale = NULL;
	struct stat st;

	pthread_mutex_lock(&table.lock);
	obj = entry(fd);
	if (!obj || !trust) {
		bool open = !fstat(fd, &st);

		if (obj && !(open && obj->ino == st.st_ino && obj->dev == st.st_dev)) {
			stale = drop_entry(fd);
			obj = NULL;
		}
		if (!obj && open) {
			obj = find_inode(&st);
			if (obj && make_room(fd))
				obj = NULL;
			if (obj)
				set_entry(fd, obj);
		}
	}
	if (obj)
		obj->refs++;
	pthread_mutex_unlock(&table.lock);
	release(stale);
	return obj;
}

void kvm_object_put(struct kvm_object *obj)
{
	struct kvm_object *last;

	pthread_mutex_lock(&table.lock);
	last = unref(obj);
	pthread_mutex_unlock(&table.lock);
	release(last);
}

int kvm_object_close(int fd)
{
	/* Drops a stale entry, and enters a duplicate that was never used. */
	struct kvm_object *obj = kvm_object_get(fd, 0), *last = NULL;

	if (!obj)
		return -EBADF;
	pthread_mutex_lock(&table.lock);
	if (entry(fd) == obj) {
		last = drop_entry(fd);
	}
	/* Not by libc's close(), which in a client's process may be one that asks us whose descriptor it is. */
	syscall(SYS_close, fd);
	pthread_mutex_unlock(&table.lock);
	release(last);
	kvm_object_put(obj);
	return 0;
}

int kvm_object_tracks(int fd)
{
	if (fd < 0)
		return 0;
	if ((unsigned int)fd >= TRACKED_FDS)
		return atomic_load(&tracked_beyond);
	return (int)(atomic_load(&tracked[fd / 64]) >> (fd % 64) & 1);
}

void kvm_object_recheck(int first, int last)
{
	size_t size, fd;

	pthread_mutex_lock(&table.lock);
	size = table.by_fd_size;
	pthread_mutex_unlock(&table.lock);
	for (fd = (size_t)first; fd < size && fd <= (size_t)last; fd++) {
		struct kvm_object *obj = kvm_object_tracks((int)fd) ? kvm_object_get((int)fd, 0) : NULL;

		if (obj)
			kvm_object_put(obj);
	}
}
