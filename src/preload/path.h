/* SPDX-License-Identifier: MIT */
/*
 * What a path names that the preload stands in for: /dev/kvm, KVM's modules below
 * /sys/module with their parameters, whether the machine has these or not, and
 * /proc/cpuinfo.
 *
 * Paths are compared as text, after the folder that a relative one starts from
 * and with "//", "/./" and "/../" taken out; symbolic links are not followed.
 */
#ifndef PRELOAD_PATH_H
#define PRELOAD_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

enum path_kind {
	PATH_OTHER,     /* not ours: pass the call on */
	PATH_DEVICE,    /* /dev/kvm */
	PATH_PARAMETER, /* a file below parameters/ of a module */
	PATH_FOLDER,    /* /sys/module/kvm* or its parameters/ */
	PATH_CPUINFO,   /* /proc/cpuinfo; only to open, and then perhaps as it is: path_open() may say -ENOENT */
	PATH_ABSENT,    /* such a module, folder or file does not exist here */
};

struct path_parameter;

/**
 * path_find - what openat(2) would make of @dirfd and @path.
 * @parameter: set for PATH_PARAMETER.
 * Async-signal-safe but where it names something below /sys/module/kvm*; keeps errno.
 */
enum path_kind path_find(int dirfd, const char *path, const struct path_parameter **parameter);

/** path_normal - the same, and the whole path: without "//", "/./" and "/../".  Empty where it cannot be told. */
enum path_kind path_normal(int dirfd, const char *path, char normal[PATH_MAX], const struct path_parameter **parameter);

/** path_readable - the eight bytes around @at can be read.  Async-signal-safe; keeps errno. */
bool path_readable(const void *at);

/** path_open - a descriptor as from open(2) with @flags of what path_find() found, not PATH_OTHER; or -errno. */
int path_open(enum path_kind kind, const struct path_parameter *parameter, int flags);

/** path_stat - what stat(2) says of it: 0 or -errno. */
int path_stat(enum path_kind kind, struct stat *st);

/** path_access - what access(2) says of it: 0 or -errno. */
int path_access(enum path_kind kind, int mode);

#endif
