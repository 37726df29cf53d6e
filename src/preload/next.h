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
#include <signal.h>
#include <spawn.h>
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
	X(creat, int, (const char *, mode_t)) \
	X(creat64, int, (const char *, mode_t)) \
	X(freopen, FILE *, (const char *, const char *, FILE *)) \
	X(freopen64, FILE *, (const char *, const char *, FILE *)) \
	X(readlink, ssize_t, (const char *, char *, size_t)) \
	X(readlinkat, ssize_t, (int, const char *, char *, size_t)) \
	X(__readlink_chk, ssize_t, (const char *, char *, size_t, size_t)) \
	X(__readlinkat_chk, ssize_t, (int, const char *, char *, size_t, size_t)) \
	X(realpath, char *, (const char *, char *)) \
	X(__realpath_chk, char *, (const char *, char *, size_t)) \
	X(canonicalize_file_name, char *, (const char *)) \
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
	X(sigaction, int, (int, const struct sigaction *, struct sigaction *)) \
	X(__sigaction, int, (int, const struct sigaction *, struct sigaction *)) \
	X(signal, sighandler_t, (int, sighandler_t)) \
	X(bsd_signal, sighandler_t, (int, sighandler_t)) \
	X(ssignal, sighandler_t, (int, sighandler_t)) \
	X(sysv_signal, sighandler_t, (int, sighandler_t)) \
	X(__sysv_signal, sighandler_t, (int, sighandler_t)) \
	X(execve, int, (const char *, char *const[], char *const[])) \
	X(execv, int, (const char *, char *const[])) \
	X(execvp, int, (const char *, char *const[])) \
	X(execvpe, int, (const char *, char *const[], char *const[])) \
	X(execveat, int, (int, const char *, char *const[], char *const[], int)) \
	X(fexecve, int, (int, char *const[], char *const[])) \
	X(execl, int, (const char *, const char *, ...)) \
	X(execlp, int, (const char *, const char *, ...)) \
	X(execle, int, (const char *, const char *, ...)) \
	X(posix_spawn, int, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
			     char *const[], char *const[])) \
	X(posix_spawnp, int, (pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *, \
			      char *const[], char *const[])) \
	X(syscall, long, (long, ...)) \
	X(quick_exit, void, (int)) \
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
