/* SPDX-License-Identifier: MIT */
/* p9_fid.c - fids, and the descriptors and paths behind them; see p9_server.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "vmm/virtio/p9_server.h"

#define QID_DIR	    0x80
#define QID_SYMLINK 0x02

int p9_name(const struct p9_str *str, char *name)
{
	if (str->len > NAME_MAX)
		return -ENAMETOOLONG;
	if (!str->len || memchr(str->p, '/', str->len) || memchr(str->p, '\0', str->len))
		return -EINVAL;
	if (p9_str_is(str, ".") || p9_str_is(str, ".."))
		return -EINVAL;
	memcpy(name, str->p, str->len);
	name[str->len] = '\0';
	return 0;
}

int p9_child(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int p9_join(char *path, const char *dir, const char *name)
{
	size_t d = strlen(dir), n = strlen(name);

	if (d + n + 2 > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, dir, d);
	if (d)
		path[d++] = '/';
	memcpy(path + d, name, n + 1);
	return 0;
}

const char *p9_split(char *path)
{
	char *slash = strrchr(path, '/');
	size_t len = strlen(path);

	if (!len)
		return NULL;
	if (slash) {
		*slash = '\0';
		return slash + 1;
	}
	/* One name: move it behind the terminator of the empty path; there is room in PATH_MAX + 1. */
	memmove(path + 1, path, len + 1);
	path[0] = '\0';
	return path + 1;
}

int p9_walk_path(struct p9_server *s, const char *path)
{
	int fd = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
	char name[NAME_MAX + 1];

	if (fd < 0)
		return -errno;
	while (*path) {
		size_t len = strcspn(path, "/");
		int next;

		memcpy(name, path, len);
		name[len] = '\0';
		next = p9_child(fd, name);
		close(fd);
		if (next < 0)
			return next;
		fd = next;
		path += len + (path[len] == '/');
	}
	return fd;
}

struct p9_self p9_self(int fd)
{
	struct p9_self self;

	snprintf(self.name, sizeof(self.name), "/proc/self/fd/%d", fd);
	return self;
}

int p9_stat_fd(int fd, struct stat *st)
{
	return fstatat(fd, "", st, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

struct p9_qid p9_qid_of(const struct p9_server *s, const struct stat *st)
{
	struct p9_qid q = { .path = st->st_ino };

	if (S_ISDIR(st->st_mode))
		q.type = QID_DIR;
	else if (S_ISLNK(st->st_mode))
		q.type = QID_SYMLINK;
	/* Caching clients compare versions to see whether the contents changed. */
	q.version = (uint32_t)(st->st_mtim.tv_sec ^ st->st_mtim.tv_nsec ^ (uint64_t)st->st_size << 8);
	/* Other file systems mounted below the folder have inode numbers of their own. */
	if (st->st_dev != s->root_dev)
		q.path ^= (uint64_t)st->st_dev * 0x9e3779b97f4a7c15ull;
	return q;
}

static struct p9_fid **bucket_of(struct p9_server *s, uint32_t num)
{
	return &s->bucket[num * 0x9e3779b1u >> 22];
}

_Static_assert(P9_BUCKETS == 1u << (32 - 22), "bucket_of() keeps the upper ten bits");

struct p9_fid *p9_fid_find(struct p9_server *s, uint32_t num)
{
	struct p9_fid *f = *bucket_of(s, num);

	while (f && f->num != num)
		f = f->next;
	return f;
}

static void path_fd_close(struct p9_server *s, struct p9_fid *f)
{
	if (f->path_fd < 0)
		return;
	TAILQ_REMOVE(&s->lru, f, lru);
	s->path_fds--;
	close(f->path_fd);
	f->path_fd = -1;
}

/* Give @f its descriptor, and take one from the fid that has gone unused the longest. */
static void path_fd_set(struct p9_server *s, struct p9_fid *f, int fd)
{
	path_fd_close(s, f);
	while (s->path_fds >= s->path_fds_max)
		path_fd_close(s, TAILQ_FIRST(&s->lru));
	f->path_fd = fd;
	TAILQ_INSERT_TAIL(&s->lru, f, lru);
	s->path_fds++;
}

int p9_fid_retarget(struct p9_server *s, struct p9_fid *f, const char *path, int path_fd)
{
	size_t bytes = strlen(path) + 1, old = f->path ? strlen(f->path) + 1 : 0;
	struct stat st;
	char *copy;
	int err = p9_stat_fd(path_fd, &st);

	copy = err || s->path_bytes - old + bytes > P9_PATHS_MAX ? NULL : strdup(path);
	if (!copy) {
		close(path_fd);
		return err ? err : -ENOMEM;
	}
	s->path_bytes += bytes - old;
	free(f->path);
	f->path = copy;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	path_fd_set(s, f, path_fd);
	return 0;
}

int p9_fid_new(struct p9_server *s, uint32_t num, const char *path, int path_fd, struct p9_fid **fid)
{
	struct p9_fid *f = NULL;
	int err = p9_fid_find(s, num) ? -EBADF : s->fids >= P9_FIDS_MAX ? -ENFILE : 0;

	if (!err) {
		f = calloc(1, sizeof(*f));
		err = f ? 0 : -ENOMEM;
	}
	if (err) {
		close(path_fd);
		return err;
	}
	f->num = num;
	f->path_fd = f->open_fd = f->lock_fd = -1;
	err = p9_fid_retarget(s, f, path, path_fd);
	if (err) {
		free(f);
		return err;
	}
	f->next = *bucket_of(s, num);
	*bucket_of(s, num) = f;
	s->fids++;
	if (fid)
		*fid = f;
	return 0;
}

static void open_fd_close(struct p9_server *s, int *fd)
{
	if (*fd < 0)
		return;
	close(*fd);
	*fd = -1;
	s->open_fds--;
}

void p9_fid_drop(struct p9_server *s, struct p9_fid *f)
{
	struct p9_fid **link = bucket_of(s, f->num);

	while (*link != f)
		link = &(*link)->next;
	*link = f->next;
	path_fd_close(s, f);
	open_fd_close(s, &f->open_fd);
	open_fd_close(s, &f->lock_fd);
	s->path_bytes -= strlen(f->path) + 1;
	s->fids--;
	free(f->path);
	free(f);
}

int p9_fid_fd(struct p9_server *s, struct p9_fid *f)
{
	struct stat st;
	int fd, err;

	if (f->path_fd >= 0) {
		TAILQ_REMOVE(&s->lru, f, lru);
		TAILQ_INSERT_TAIL(&s->lru, f, lru);
		return f->path_fd;
	}
	fd = p9_walk_path(s, f->path);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	err = p9_stat_fd(fd, &st);
	if (!err && (st.st_dev != f->dev || st.st_ino != f->ino))
		err = -ESTALE;
	if (err) {
		close(fd);
		return err;
	}
	path_fd_set(s, f, fd);
	return fd;
}

bool p9_in_procfs(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC;
}

int p9_fid_open(struct p9_server *s, struct p9_fid *f, int flags)
{
	int fd = p9_fid_fd(s, f), err;
	struct stat st;

	if (fd < 0)
		return fd;
	err = p9_stat_fd(fd, &st);
	if (err)
		return err;
	/* A FIFO would block, a device would act: the guest has its own. */
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return S_ISLNK(st.st_mode) ? -ELOOP : -ENXIO;
	if (p9_in_procfs(fd))
		return -EACCES;
	if (s->open_fds >= s->open_fds_max)
		return -EMFILE;
	fd = open(p9_self(fd).name, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	s->open_fds++;
	return fd;
}

/* What of @path lies below @dir: "" or "/..."; NULL where it does not. */
static const char *below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	return !strncmp(path, dir, len) && (!path[len] || path[len] == '/') ? path + len : NULL;
}

void p9_fids_renamed(struct p9_server *s, const char *from, const char *to)
{
	for (unsigned int i = 0; i < P9_BUCKETS; i++) {
		for (struct p9_fid *f = s->bucket[i]; f; f = f->next) {
			const char *rest = below(f->path, from);
			char *path;

			/* Where there is no room the old path stays: stale, which p9_fid_fd() finds out. */
			if (!rest || strlen(to) + strlen(rest) >= PATH_MAX ||
			    asprintf(&path, "%s%s", to, rest) < 0)
				continue;
			s->path_bytes += strlen(path) - strlen(f->path);
			free(f->path);
			f->path = path;
		}
	}
}
