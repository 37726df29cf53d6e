/* SPDX-License-Identifier: MIT */
/*
 * What each function that we export would have been without us: the next
 * object's, most often libc's, by dlsym(RTLD_NEXT).
 *
 * All are looked up at once: by our constructor, or at the first call where
 * another library's constructor came first.  A call made by the look-up itself
 * (an allocator that is preloaded too and reads its settings) finds none and
 * gets ENOSYS; what an allocator needs has a raw system call instead.
 */
#ifndef PRELOAD_NEXT_H
#define PRELOAD_NEXT_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* Every function that we export: X(name, type of result, parameters). */
#define NEXT_FUNCTIONS(X) \
	X(open, int, (const char *, int, ...)) \
	X(open64, int, (const char *, int, ...)) \
	X(__open_2, int, (const char *, int)) \
	X(__open64_2, int, (const char *, int)) \
	X(openat, int, (int, const char *, int, ...)) \
	X(openat64, int, (int, const char *, int, ...)) \
	X(__openat_2, int, (int, const char *, int)) \
	X(__openat64_2, int, (int, const char *, int)) \
	X(fopen, FILE *, (const char *, const char *)) \
	X(fopen64, FILE *, (const char *, const char *)) \
	X(stat, int, (const char *, struct stat *)) \
	X(stat64, int, (const char *, struct stat64 *)) \
	X(lstat, int, (const char *, struct stat *)) \
	X(lstat64, int, (const char *, struct stat64 *)) \
	X(fstat, int, (int, struct stat *)) \
	X(fstat64, int, (int, struct stat64 *)) \
	X(fstatat, int, (int, const char *, struct stat *, int)) \
	X(fstatat64, int, (int, const char *, struct stat64 *, int)) \
	X(statx, int, (int, const char *, int, unsigned int, struct statx *)) \
	X(__xstat, int, (int, const char *, struct stat *)) \
	X(__xstat64, int, (int, const char *, struct stat64 *)) \
	X(__lxstat, int, (int, const char *, struct stat *)) \
	X(__lxstat64, int, (int, const char *, struct stat64 *)) \
	X(__fxstat, int, (int, int, struct stat *)) \
	X(__fxstat64, int, (int, int, struct stat64 *)) \
	X(__fxstatat, int, (int, int, const char *, struct stat *, int)) \
	X(__fxstatat64, int, (int, int, const char *, struct stat64 *, int)) \
	X(access, int, (const char *, int)) \
	X(eaccess, int, (const char *, int)) \
	X(euidaccess, int, (const char *, int)) \
	X(faccessat, int, (int, const char *, int, int)) \
	X(ioctl, int, (int, unsigned long, ...)) \
	X(fcntl, int, (int, int, ...)) \
	X(fcntl64, int, (int, int, ...)) \
	X(dup, int, (int)) \
	X(dup2, int, (int, int)) \
	X(dup3, int, (int, int, int)) \
	X(close, int, (int)) \
	X(close_range, int, (unsigned int, unsigned int, int)) \
	X(closefrom, void, (int)) \
	X(mmap, void *, (void *, size_t, int, int, int, off_t)) \
	X(mmap64, void *, (void *, size_t, int, int, int, off64_t)) \
	X(_exit, void, (int)) \
	X(_Exit, void, (int))

#define NEXT_NUMBER(name, result, parameters) NEXT_##name,
enum next_number { NEXT_FUNCTIONS(NEXT_NUMBER) NEXT_COUNT };

#define NEXT_TYPE(name, result, parameters) typedef result next_type_##name parameters;
NEXT_FUNCTIONS(NEXT_TYPE)

/** next_function - the address, or NULL as said above. */
void *next_function(enum next_number n);

/** NEXT - NEXT(open) is a pointer to the next open(), or NULL. */
#define NEXT(name) ((next_type_##name *)next_function(NEXT_##name))

/** NEXT_CALL - calls it; without one -1 with ENOSYS. */
#define NEXT_CALL(name, ...) (NEXT(name) ? NEXT(name)(__VA_ARGS__) : next_missing())

/** next_missing - sets ENOSYS, returns -1. */
int next_missing(void);

/** A function of the table as we define it: exported (exports.map), whatever the visibility of the rest. */
#define EXPORT __attribute__((visibility("default")))

#endif
