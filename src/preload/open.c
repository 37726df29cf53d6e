/* SPDX-License-Identifier: MIT */
/* open() and its kin, and fopen(), whose own open() no one outside libc sees. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "preload/next.h"
#include "preload/path.h"

EXPORT int __open_2(const char *path, int flags);
EXPORT int __open64_2(const char *path, int flags);
EXPORT int __openat_2(int dirfd, const char *path, int flags);
EXPORT int __openat64_2(int dirfd, const char *path, int flags);

/* Whether @path is one that we stand in for; *@fd is then what open() returns. */
static bool stand_in(int dirfd, const char *path, int flags, int *fd)
{
	const struct path_parameter *parameter;
	enum path_kind kind = path_find(dirfd, path, &parameter);

	if (kind == PATH_OTHER || kind == PATH_FOLDER)
		return false;
	*fd = path_open(kind, parameter, flags);
	if (kind == PATH_CPUINFO && *fd < 0)
		return false;
	if (*fd < 0) {
		errno = -*fd;
		*fd = -1;
	}
	return true;
}

/* The mode is there only with some flags; what is passed on without is not looked at. */
#define WITH_MODE(flags, mode) \
	do { \
		va_list ap; \
		va_start(ap, flags); \
		mode = (flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0; \
		va_end(ap); \
	} while (0)

EXPORT int open(const char *path, int flags, ...)
{
	mode_t mode;
	int fd;

	if (stand_in(AT_FDCWD, path, flags, &fd))
		return fd;
	WITH_MODE(flags, mode);
	return NEXT_CALL(open, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
	mode_t mode;
	int fd;

	if (stand_in(AT_FDCWD, path, flags, &fd))
		return fd;
	WITH_MODE(flags, mode);
	return NEXT_CALL(open64, path, flags, mode);
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
	mode_t mode;
	int fd;

	if (stand_in(dirfd, path, flags, &fd))
		return fd;
	WITH_MODE(flags, mode);
	return NEXT_CALL(openat, dirfd, path, flags, mode);
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
	mode_t mode;
	int fd;

	if (stand_in(dirfd, path, flags, &fd))
		return fd;
	WITH_MODE(flags, mode);
	return NEXT_CALL(openat64, dirfd, path, flags, mode);
}

/* What open() is with _FORTIFY_SOURCE and without a mode. */
EXPORT int __open_2(const char *path, int flags)
{
	int fd;

	return stand_in(AT_FDCWD, path, flags, &fd) ? fd : NEXT_CALL(__open_2, path, flags);
}

EXPORT int __open64_2(const char *path, int flags)
{
	int fd;

	return stand_in(AT_FDCWD, path, flags, &fd) ? fd : NEXT_CALL(__open64_2, path, flags);
}

EXPORT int __openat_2(int dirfd, const char *path, int flags)
{
	int fd;

	return stand_in(dirfd, path, flags, &fd) ? fd : NEXT_CALL(__openat_2, dirfd, path, flags);
}

EXPORT int __openat64_2(int dirfd, const char *path, int flags)
{
	int fd;

	return stand_in(dirfd, path, flags, &fd) ? fd : NEXT_CALL(__openat64_2, dirfd, path, flags);
}

#define CREAT (O_CREAT | O_WRONLY | O_TRUNC)

EXPORT int creat(const char *path, mode_t mode)
{
	int fd;

	return stand_in(AT_FDCWD, path, CREAT, &fd) ? fd : NEXT_CALL(creat, path, mode);
}

EXPORT int creat64(const char *path, mode_t mode)
{
	int fd;

	return stand_in(AT_FDCWD, path, CREAT, &fd) ? fd : NEXT_CALL(creat64, path, mode);
}

/* The flags of open() that @mode of fopen() means. */
static int flags_of(const char *mode)
{
	bool plus = strchr(mode, '+');
	int flags = plus ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;

	if (*mode == 'w')
		flags |= O_CREAT | O_TRUNC;
	if (*mode == 'a')
		flags |= O_CREAT | O_APPEND;
	return flags | (strchr(mode, 'e') ? O_CLOEXEC : 0) | (strchr(mode, 'x') ? O_EXCL : 0);
}

static FILE *stream(int fd, const char *mode)
{
	FILE *f = fd < 0 ? NULL : fdopen(fd, mode);

	if (!f && fd >= 0)
		close(fd);
	return f;
}

EXPORT FILE *fopen(const char *path, const char *mode)
{
	int fd;

	if (stand_in(AT_FDCWD, path, flags_of(mode), &fd))
		return stream(fd, mode);
	if (NEXT(fopen))
		return NEXT(fopen)(path, mode);
	next_missing();
	return NULL;
}

EXPORT FILE *fopen64(const char *path, const char *mode)
{
	int fd;

	if (stand_in(AT_FDCWD, path, flags_of(mode), &fd))
		return stream(fd, mode);
	if (NEXT(fopen64))
		return NEXT(fopen64)(path, mode);
	next_missing();
	return NULL;
}

/* The stream takes the file by its name in /proc: libc opens and moves it as it does any other. */
static FILE *again(FILE *(*next)(const char *path, const char *mode, FILE *f), int fd, const char *mode, FILE *f)
{
	char name[40];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	f = next(name, mode, f);
	close(fd);
	return f;
}

#define FREOPEN(name) \
	EXPORT FILE *name(const char *path, const char *mode, FILE *f) \
	{ \
		int fd = -1; \
\
		if (!NEXT(name)) { \
			next_missing(); \
			return NULL; \
		} \
		if (!path || !stand_in(AT_FDCWD, path, flags_of(mode), &fd)) \
			return NEXT(name)(path, mode, f); \
		if (fd >= 0) \
			return again(NEXT(name), fd, mode, f); \
		fclose(f); \
		return NULL; \
	}

FREOPEN(freopen)
FREOPEN(freopen64)
