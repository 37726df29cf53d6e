/* SPDX-License-Identifier: MIT */
#include "kvm/object.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/fork.h"

#define INODE_BUCKETS 256

/* The table of descriptors: what src/kvm has of mutable state at file scope. */
static struct {
	struct host_process_lock lock;
	pthread_once_t once;
	_Atomic uint32_t process_id;
	struct kvm_object **by_fd;
	size_t by_fd_size;
	struct kvm_object *by_inode[INODE_BUCKETS];     /* objects with a descriptor in the table */
} table = { .lock = HOST_PROCESS_LOCK, .once = PTHREAD_ONCE_INIT, .process_id = 1 };

/*
 * A bit for each descriptor that has an entry, for those who may not wait for the lock.  Larger numbers than these
 * are rare, and all of them are taken for ours once one is.
 */
#define TRACKED_FDS (1u << 20)
static _Atomic uint64_t tracked[TRACKED_FDS / 64];
static atomic_bool tracked_beyond;

static void after_fork_child(void)
{
	atomic_fetch_add(&table.process_id, 1);
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, after_fork_child);
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

/* @obj becomes the first of @dead, which the caller releases without the lock. */
static void bury(struct kvm_object *obj, struct kvm_object **dead)
{
	obj->next = *dead;
	*dead = obj;
}

static void unref(struct kvm_object *obj, struct kvm_object **dead)
{
	if (!--obj->refs)
		bury(obj, dead);
}

static void clear_entry(int fd, struct kvm_object **dead)
{
	struct kvm_object *obj = table.by_fd[fd];

	table.by_fd[fd] = NULL;
	track(fd, false);
	if (!--obj->fds)
		unlink_inode(obj);
	unref(obj, dead);
}

static void release(struct kvm_object *dead)
{
	while (dead) {
		struct kvm_object *obj = dead;

		dead = obj->next;
		/* In a child that inherited the table: what the object holds belongs to the parent. */
		if (!obj->owner || obj->owner == kvm_process_id())
			obj->release(obj);
	}
}

/* What a number that the table does not know may stand for: not the library's own descriptor of a statistics block. */
static struct kvm_object *find_unknown(int fd, const struct stat *st)
{
	struct kvm_object *obj = find_inode(st);

	if (obj && obj->kind == KVM_STATS && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
		return NULL;
	return obj;
}

/* Sets the entry of @fd right.  An object that loses its last entry by that stays findable: it may have another. */
static void look_at(int fd)
{
	struct kvm_object *known = entry(fd), *obj;
	struct stat st;

	if (fstat(fd, &st) || (known && known->ino == st.st_ino && known->dev == st.st_dev))
		return;
	obj = find_unknown(fd, &st);
	if (!obj || make_room(fd))
		return;
	if (known) {
		known->fds--;
		known->refs--;
	}
	set_entry(fd, obj);
}

/* Drops the objects that look_at() left without an entry. */
static void sweep(struct kvm_object **dead)
{
	for (unsigned int i = 0; i < INODE_BUCKETS; i++) {
		struct kvm_object **at = &table.by_inode[i], *obj;

		while ((obj = *at)) {
			if (obj->fds) {
				at = &obj->next;
				continue;
			}
			*at = obj->next;
			if (!obj->refs)
				bury(obj, dead);
		}
	}
}

/*
 * The client may have duplicates that were never used with us, also at numbers that were something else when we last
 * saw them.  Enters those, other than @except.
 */
static void find_duplicates(int except, struct kvm_object **dead)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *d;

	if (!dir)
		return;
	while ((d = readdir(dir))) {
		char *end;
		long fd = strtol(d->d_name, &end, 10);

		if (!*end && end != d->d_name && fd != except && fd != dirfd(dir))
			look_at((int)fd);
	}
	closedir(dir);
	sweep(dead);
}

/* Drops the entry of @fd, which is about to be closed. */
static void drop_entry(int fd, struct kvm_object **dead)
{
	if (entry(fd)->fds == 1)
		find_duplicates(fd, dead);
	clear_entry(fd, dead);
}

/* What the entry of @fd says is closed or something else by now, perhaps another object. */
static void drop_stale(int fd, struct kvm_object **dead)
{
	struct kvm_object *obj = entry(fd);

	if (obj->fds == 1)
		find_duplicates(-1, dead);
	if (entry(fd) == obj)
		clear_entry(fd, dead);
}

/* --- the interface --- */

int kvm_object_add(struct kvm_object *obj, int fd)
{
	struct kvm_object *dead = NULL;
	struct stat st;
	int r;

	pthread_once(&table.once, watch_forks);
	if (fstat(fd, &st))
		return -errno;
	host_process_lock(&table.lock);
	r = make_room(fd);
	if (!r) {
		if (entry(fd))
			drop_stale(fd, &dead);
		/* Statistics are opened again and again: by its inode @fd may have been taken for an earlier one. */
		if (entry(fd))
			clear_entry(fd, &dead);
		obj->fds = obj->refs = 0;
		obj->dev = st.st_dev;
		obj->ino = st.st_ino;
		obj->next = *bucket_of(st.st_ino);
		*bucket_of(st.st_ino) = obj;
		set_entry(fd, obj);
	}
	host_process_unlock(&table.lock);
	release(dead);
	return r;
}

struct kvm_object *kvm_object_get(int fd, int trust)
{
	struct kvm_object *obj, *dead = NULL;
	struct stat st;

	host_process_lock(&table.lock);
	obj = entry(fd);
	if (!obj || !trust) {
		bool open = !fstat(fd, &st);

		if (obj && !(open && obj->ino == st.st_ino && obj->dev == st.st_dev)) {
			drop_stale(fd, &dead);
			obj = entry(fd);
		}
		if (!obj && open) {
			obj = find_unknown(fd, &st);
			if (obj && make_room(fd))
				obj = NULL;
			if (obj)
				set_entry(fd, obj);
		}
	}
	if (obj)
		obj->refs++;
	host_process_unlock(&table.lock);
	release(dead);
	return obj;
}

void kvm_object_put(struct kvm_object *obj)
{
	struct kvm_object *dead = NULL;

	host_process_lock(&table.lock);
	unref(obj, &dead);
	host_process_unlock(&table.lock);
	release(dead);
}

int kvm_object_close(int fd)
{
	/* Drops a stale entry, and enters a duplicate that was never used. */
	struct kvm_object *obj = kvm_object_get(fd, 0), *dead = NULL;

	if (!obj)
		return -EBADF;
	host_process_lock(&table.lock);
	if (entry(fd) == obj)
		drop_entry(fd, &dead);
	/* Not by libc's close(), which in a client's process may be one that asks us whose descriptor it is. */
	syscall(SYS_close, fd);
	host_process_unlock(&table.lock);
	release(dead);
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

	host_process_lock(&table.lock);
	size = table.by_fd_size;
	host_process_unlock(&table.lock);
	for (fd = (size_t)first; fd < size && fd <= (size_t)last; fd++) {
		struct kvm_object *obj = kvm_object_tracks((int)fd) ? kvm_object_get((int)fd, 0) : NULL;

		if (obj)
			kvm_object_put(obj);
	}
}
