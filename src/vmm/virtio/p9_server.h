/* SPDX-License-Identifier: MIT */
/*
 * p9_server.h - a 9P2000.L server for one folder of the host.
 *
 * How a guest is kept inside the folder:
 *   1. every object is reached from a descriptor of the folder, one name at a
 *      time, by openat(O_PATH | O_NOFOLLOW); names hold no '/', and are never
 *      "." or ".."; so no symbolic link is ever followed;
 *   2. ".." in a walk takes the last name off the fid's own path, and stops at
 *      the folder;
 *   3. an object is opened through its O_PATH descriptor, and only if it is a
 *      regular file or a directory, and not in procfs.
 *
 * A fid keeps its path below the folder and, while descriptors last, an O_PATH
 * descriptor; one that had to be closed is opened again by the path, and must
 * be the same object then.
 *
 * No locks: one thread at a time.
 */
#ifndef VIRTIO_P9_SERVER_H
#define VIRTIO_P9_SERVER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "vmm/virtio/p9_wire.h"

#define P9_MSIZE_MAX (512u << 10)
#define P9_MSIZE_MIN 4096u
#define P9_BUCKETS   1024u
#define P9_FIDS_MAX  (1u << 18)
#define P9_PATHS_MAX (64u << 20) /* bytes of all fids' paths */

struct p9_fid {
	struct p9_fid *next; /* in its bucket */
	TAILQ_ENTRY(p9_fid) lru; /* while path_fd is open; the longest unused first */
	uint32_t num;
	char *path; /* names below the folder with '/' between; "" is the folder */
	dev_t dev;
	ino_t ino;
	int path_fd; /* O_PATH, or -1 */
	int open_fd; /* since lopen or lcreate, or -1 */
	int lock_fd; /* for locks that open_fd's mode does not allow, or -1 */
};

struct p9_server {
	int root_fd;
	dev_t root_dev;
	ino_t root_ino;
	bool read_only;
	uint32_t msize; /* 0 until the version is agreed upon */

	struct p9_fid *bucket[P9_BUCKETS];
	TAILQ_HEAD(, p9_fid) lru;
	unsigned int fids, path_fds, open_fds;
	unsigned int path_fds_max, open_fds_max;
	size_t path_bytes;
};

/**
 * p9_server_init - serve folder @path.
 * Returns 0 or -errno (ENOTDIR and so on).
 */
int p9_server_init(struct p9_server *s, const char *path, bool read_only);

/** p9_server_fini - also of a server whose init failed. */
void p9_server_fini(struct p9_server *s);

/** p9_server_reset - drop all fids; the next message must be a version. */
void p9_server_reset(struct p9_server *s);

/**
 * p9_serve - answer one message.
 * @req, @len: the request, a copy that no one changes.
 * @reply, @room: where the answer goes; at least 11 bytes, for an error.
 * Returns the answer's length, or -EINVAL where the request is not even a header.
 */
int64_t p9_serve(struct p9_server *s, const void *req, size_t len, void *reply, size_t room);

/* Below: between the server's own files. */

/** p9_name - copy @str to @name (NAME_MAX + 1 bytes) if it can be a directory entry; else -errno. */
int p9_name(const struct p9_str *str, char *name);

/** p9_fid_find - fid @num; NULL where there is none (EBADF to the client). */
struct p9_fid *p9_fid_find(struct p9_server *s, uint32_t num);

/**
 * p9_fid_new - a fid for the object that @path_fd refers to.
 * @path: copied.  @path_fd: the fid's from now on, closed on an error too.
 * @fid: may be NULL.
 * Returns 0 or -errno: -EBADF where @num is taken.
 */
int p9_fid_new(struct p9_server *s, uint32_t num, const char *path, int path_fd, struct p9_fid **fid);

/** p9_fid_drop - end a fid, and close what it has open. */
void p9_fid_drop(struct p9_server *s, struct p9_fid *f);

/** p9_fid_retarget - @f is the object of @path and @path_fd from now on; both as in p9_fid_new(). */
int p9_fid_retarget(struct p9_server *s, struct p9_fid *f, const char *path, int path_fd);

/** p9_fid_fd - the O_PATH descriptor of @f, which stays the fid's; or -errno (ESTALE: the object is gone). */
int p9_fid_fd(struct p9_server *s, struct p9_fid *f);

/** p9_fid_open - open @f's object with @flags, for @f->open_fd and the like; a descriptor or -errno. */
int p9_fid_open(struct p9_server *s, struct p9_fid *f, int flags);

/** p9_fids_renamed - paths at and below @from are at and below @to now. */
void p9_fids_renamed(struct p9_server *s, const char *from, const char *to);

/** p9_child - open entry @name of directory @dir_fd; an O_PATH descriptor or -errno. */
int p9_child(int dir_fd, const char *name);

/** p9_join - "@dir/@name" to @path (PATH_MAX bytes); 0 or -ENAMETOOLONG. */
int p9_join(char *path, const char *dir, const char *name);

/** p9_split - cut the last name off @path, in place, and return it; NULL for the folder itself. */
const char *p9_split(char *path);

/** p9_walk_path - an O_PATH descriptor of @path below the folder, or -errno. */
int p9_walk_path(struct p9_server *s, const char *path);

/** p9_in_procfs - whether a file is one of procfs, whose files reach into this very process. */
bool p9_in_procfs(int fd);

/** p9_self - "/proc/self/fd/N", the name of an open object that needs no walk. */
struct p9_self {
	char name[32];
};
struct p9_self p9_self(int fd);

/** p9_qid_of - the qid of an object. */
struct p9_qid p9_qid_of(const struct p9_server *s, const struct stat *st);

/** p9_stat_fd - fstat() of an O_PATH or other descriptor, as 0 or -errno. */
int p9_stat_fd(int fd, struct stat *st);

/* One message: what is read off @in, done, and put into @out; 0, or -errno for the client. */
typedef int p9_fn(struct p9_server *s, struct p9_in *in, struct p9_out *out);

/* p9_names.c: messages about names */
p9_fn p9_walk, p9_lcreate, p9_symlink, p9_mknod, p9_mkdir, p9_link, p9_rename, p9_renameat, p9_unlinkat,
	p9_remove, p9_readlink;
/* p9_files.c: messages about what a name stands for */
p9_fn p9_statfs, p9_lopen, p9_getattr, p9_setattr, p9_readdir, p9_read, p9_write, p9_fsync, p9_lock,
	p9_getlock;

#endif
