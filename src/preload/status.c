/* SPDX-License-Identifier: MIT */
/* stat() and access(), under all their names: that of /dev/kvm is answered though the file may not exist. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "preload/engine.h"
#include "preload/next.h"
#include "preload/path.h"

_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one layout on x86-64");

EXPORT int __xstat(int version, const char *path, struct stat *st);
EXPORT int __xstat64(int version, const char *path, struct stat64 *st);
EXPORT int __lxstat(int version, const char *path, struct stat *st);
EXPORT int __lxstat64(int version, const char *path, struct stat64 *st);
EXPORT int __fxstat(int version, int fd, struct stat *st);
EXPORT int __fxstat64(int version, int fd, struct stat64 *st);
EXPORT int __fxstatat(int version, int dirfd, const char *path, struct stat *st, int flags);
EXPORT int __fxstatat64(int version, int dirfd, const char *path, struct stat64 *st, int flags);

static int result(int r)
{
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

/* What fstatat() means by @dirfd and @path, with AT_EMPTY_PATH among @flags perhaps the descriptor itself. */
static enum path_kind meant(int dirfd, const char *path, int flags)
{
	const struct path_parameter *parameter;

	if (flags & AT_EMPTY_PATH && path && !*path)
		return engine_is_device(dirfd) ? PATH_DEVICE : PATH_OTHER;
	return path_find(dirfd, path, &parameter);
}

/* Whether it is one that we stand in for; *@r is then what stat() returns. */
static bool stat_in(int dirfd, const char *path, int flags, void *st, int *r)
{
	enum path_kind kind = meant(dirfd, path, flags);

	if (kind == PATH_OTHER || kind == PATH_CPUINFO)
		return false;
	*r = result(path_stat(kind, st));
	return true;
}

#define STAT(name, type) \
	EXPORT int name(const char *path, struct type *st) \
	{ \
		int r; \
\
		return stat_in(AT_FDCWD, path, 0, st, &r) ? r : NEXT_CALL(name, path, st); \
	}

/* The descriptor looks like the file that was opened. */
#define FSTAT(name, type) \
	EXPORT int name(int fd, struct type *st) \
	{ \
		if (engine_is_device(fd)) \
			return result(path_stat(PATH_DEVICE, (struct stat *)st)); \
		return NEXT_CALL(name, fd, st); \
	}

FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

#define FSTATAT(name, type) \
	EXPORT int name(int dirfd, const char *path, struct type *st, int flags) \
	{ \
		int r; \
\
		return stat_in(dirfd, path, flags, st, &r) ? r : NEXT_CALL(name, dirfd, path, st, flags); \
	}

FSTATAT(fstatat, stat)
FSTATAT(fstatat64, stat64)

/* What programs call that were built with a glibc before 2.33. */
#define XSTAT(name, type) \
	EXPORT int name(int version, const char *path, struct type *st) \
	{ \
		int r; \
\
		return stat_in(AT_FDCWD, path, 0, st, &r) ? r : NEXT_CALL(name, version, path, st); \
	}

#define FXSTAT(name, type) \
	EXPORT int name(int version, int fd, struct type *st) \
	{ \
		if (engine_is_device(fd)) \
			return result(path_stat(PATH_DEVICE, (struct stat *)st)); \
		return NEXT_CALL(name, version, fd, st); \
	}

FXSTAT(__fxstat, stat)
FXSTAT(__fxstat64, stat64)

XSTAT(__xstat, stat)
XSTAT(__xstat64, stat64)
XSTAT(__lxstat, stat)
XSTAT(__lxstat64, stat64)

#define FXSTATAT(name, type) \
	EXPORT int name(int version, int dirfd, const char *path, struct type *st, int flags) \
	{ \
		int r; \
\
		return stat_in(dirfd, path, flags, st, &r) ? r : NEXT_CALL(name, version, dirfd, path, st, flags); \
	}

FXSTATAT(__fxstatat, stat)
FXSTATAT(__fxstatat64, stat64)

static void to_statx(struct statx *x, const struct stat *st)
{
	memset(x, 0, sizeof(*x));
	x->stx_mask = STATX_BASIC_STATS;
	x->stx_blksize = (uint32_t)st->st_blksize;
	x->stx_nlink = (uint32_t)st->st_nlink;
	x->stx_uid = st->st_uid;
	x->stx_gid = st->st_gid;
	x->stx_mode = (uint16_t)st->st_mode;
	x->stx_ino = st->st_ino;
	x->stx_size = (uint64_t)st->st_size;
	x->stx_atime.tv_sec = st->st_atime;
	x->stx_ctime.tv_sec = st->st_ctime;
	x->stx_mtime.tv_sec = st->st_mtime;
	x->stx_rdev_major = major(st->st_rdev);
	x->stx_rdev_minor = minor(st->st_rdev);
	x->stx_dev_major = major(st->st_dev);
	x->stx_dev_minor = minor(st->st_dev);
}

EXPORT int statx(int dirfd, const char *path, int flags, unsigned int mask, struct statx *x)
{
	struct stat st;
	int r;

	if (!stat_in(dirfd, path, flags, &st, &r))
		return NEXT_CALL(statx, dirfd, path, flags, mask, x);
	if (!r)
		to_statx(x, &st);
	return r;
}

/* --- access() --- */

static bool access_in(int dirfd, const char *path, int mode, int *r)
{
	const struct path_parameter *parameter;
	enum path_kind kind = path_find(dirfd, path, &parameter);

	if (kind == PATH_OTHER || kind == PATH_CPUINFO)
		return false;
	*r = result(path_access(kind, mode));
	return true;
}

#define ACCESS(name) \
	EXPORT int name(const char *path, int mode) \
	{ \
		int r; \
\
		return access_in(AT_FDCWD, path, mode, &r) ? r : NEXT_CALL(name, path, mode); \
	}

ACCESS(access)
ACCESS(eaccess)
ACCESS(euidaccess)

EXPORT int faccessat(int dirfd, const char *path, int mode, int flags)
{
	int r;

	return access_in(dirfd, path, mode, &r) ? r : NEXT_CALL(faccessat, dirfd, path, mode, flags);
}
