/* SPDX-License-Identifier: MIT */
#include "preload/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "preload/cpuinfo.h"
#include "preload/engine.h"

#define DEVICE "/dev/kvm"
#define CPUINFO "/proc/cpuinfo"
#define MODULES "/sys/module/"
#define PARAMETERS "/parameters"
#define KVM_MINOR 232   /* of the misc devices; Documentation/admin-guide/devices.txt */
#define MISC_MAJOR 10

/* --- parameters of KVM's modules: what is true of the engine, in the words of Linux 6.1 --- */

struct path_parameter {
	const char *module, *name;
	size_t fact;            /* offset in struct engine_facts of what chooses the text */
	const char *text[2];    /* where that is false, and true */
};

#define FIXED(text) 0, { text, text }
#define FACT(f, no, yes) offsetof(struct engine_facts, f), { no, yes }

static const struct path_parameter parameters[] = {
	{ "kvm", "enable_pmu", FIXED("Y\n") },
	{ "kvm", "enable_vmware_backdoor", FACT(vmware_backdoor, "N\n", "Y\n") },
	{ "kvm", "force_emulation_prefix", FIXED("0\n") },
	{ "kvm", "global_tdp", FACT(global_tdp, "N\n", "Y\n") },
	{ "kvm", "ignore_msrs", FACT(ignore_msrs, "N\n", "Y\n") },
	{ "kvm", "nx_huge_pages", FIXED("N\n") },
	{ "kvm", "report_ignored_msrs", FACT(report_ignored_msrs, "N\n", "Y\n") },
	{ "kvm_intel", "allow_smaller_maxphyaddr", FIXED("Y\n") },
	{ "kvm_intel", "ept", FIXED("Y\n") },
	{ "kvm_intel", "nested", FACT(nested, "N\n", "Y\n") },
	{ "kvm_intel", "unrestricted_guest", FIXED("Y\n") },
	{ "kvm_amd", "avic", FIXED("N\n") },
	{ "kvm_amd", "nested", FACT(nested, "0\n", "1\n") },
	{ "kvm_amd", "npt", FIXED("Y\n") },
};

#define PARAMETER_COUNT (sizeof(parameters) / sizeof(parameters[0]))

/* Whether a machine with the chosen CPU would have loaded that module. */
static bool is_loaded(const char *module, size_t len)
{
	const char *vendor = engine_facts()->intel ? "kvm_intel" : "kvm_amd";

	return (len == 3 && !memcmp(module, "kvm", 3)) ||
	       (strlen(vendor) == len && !memcmp(module, vendor, len));
}

static const struct path_parameter *find_parameter(const char *module, size_t len, const char *name)
{
	for (size_t i = 0; i < PARAMETER_COUNT; i++)
		if (strlen(parameters[i].module) == len && !memcmp(parameters[i].module, module, len) &&
		    !strcmp(parameters[i].name, name))
			return &parameters[i];
	return NULL;
}

/* @rest: behind MODULES, beginning with "kvm". */
static enum path_kind find_in_module(const char *rest, const struct path_parameter **parameter)
{
	static const char *const modules[] = { "kvm", "kvm_intel", "kvm_amd" };
	size_t len = strcspn(rest, "/"), i;

	for (i = 0; i < 3; i++)
		if (strlen(modules[i]) == len && !memcmp(modules[i], rest, len))
			break;
	if (i == 3)
		return PATH_OTHER;
	if (!is_loaded(rest, len))
		return PATH_ABSENT;
	if (!rest[len])
		return PATH_FOLDER;
	if (strncmp(rest + len, PARAMETERS, strlen(PARAMETERS)))
		return PATH_OTHER;
	rest += len + strlen(PARAMETERS);
	if (!*rest)
		return PATH_FOLDER;
	if (*rest != '/')
		return PATH_OTHER;
	*parameter = find_parameter(modules[i], len, rest + 1);
	return *parameter ? PATH_PARAMETER : PATH_ABSENT;
}

/* --- paths --- */

/* The folder that a relative path starts from, without a slash at its end; false where it cannot be told. */
static bool start_of(int dirfd, char buf[PATH_MAX])
{
	char link[40];
	long n;

	if (dirfd == AT_FDCWD) {
		n = syscall(SYS_getcwd, buf, PATH_MAX) - 1;
	} else {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
		n = readlink(link, buf, PATH_MAX - 1);
	}
	if (n <= 0 || buf[0] != '/')
		return false;
	buf[n == 1 ? 0 : n] = '\0';
	return true;
}

/* Appends the components of @path to the normal @buf; false where they do not fit. */
static bool append(char buf[PATH_MAX], const char *path)
{
	size_t used = strlen(buf);

	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && !memcmp(path, "..", 2)) {
			while (used && buf[--used] != '/')
				;
			buf[used] = '\0';
		} else if (len && !(len == 1 && *path == '.')) {
			if (used + len + 2 > PATH_MAX)
				return false;
			buf[used++] = '/';
			memcpy(buf + used, path, len);
			used += len;
			buf[used] = '\0';
		}
		path += len + (path[len] == '/');
	}
	return true;
}

/*
 * The kernel reads the set before it looks at what to do with it, and then says EINVAL: the one system call that asks
 * for memory and does nothing.
 */
bool path_readable(const void *at)
{
	int err = errno;
	bool bad = syscall(SYS_rt_sigprocmask, ~0L, (uintptr_t)at & ~7UL, NULL, 8) && errno == EFAULT;

	errno = err;
	return !bad;
}

/* A wrong pointer is for the kernel to say so: false. */
static bool copy_path(char to[PATH_MAX], const char *path)
{
	for (size_t n = 0; n < PATH_MAX; n++) {
		if ((!n || !((uintptr_t)(path + n) % 4096)) && !path_readable(path + n))
			return false;
		to[n] = path[n];
		if (!to[n])
			return true;
	}
	return false;
}

static enum path_kind kind_of(const char *normal, bool folder, const struct path_parameter **parameter)
{
	if (!strcmp(normal, DEVICE))
		return folder ? PATH_OTHER : PATH_DEVICE;
	if (!strcmp(normal, CPUINFO))
		return folder ? PATH_OTHER : PATH_CPUINFO;
	if (strncmp(normal, MODULES "kvm", strlen(MODULES "kvm")))
		return PATH_OTHER;
	return find_in_module(normal + strlen(MODULES), parameter);
}

enum path_kind path_normal(int dirfd, const char *path, char normal[PATH_MAX], const struct path_parameter **parameter)
{
	char copy[PATH_MAX];
	int err = errno;
	bool known;

	*parameter = NULL;
	normal[0] = '\0';
	if (!path || !copy_path(copy, path) || !(strstr(copy, "kvm") || strstr(copy, "cpuinfo")))
		return PATH_OTHER;
	known = (*copy == '/' || start_of(dirfd, normal)) && append(normal, copy);
	errno = err;
	return known ? kind_of(normal, copy[strlen(copy) - 1] == '/', parameter) : PATH_OTHER;
}

enum path_kind path_find(int dirfd, const char *path, const struct path_parameter **parameter)
{
	char normal[PATH_MAX];

	return path_normal(dirfd, path, normal, parameter);
}

/* A file that nobody can change, with @size bytes of @text in it. */
static int text_file(const char *text, size_t size, int flags)
{
	int fd = memfd_create("parameter", MFD_ALLOW_SEALING | (flags & O_CLOEXEC ? MFD_CLOEXEC : 0));

	if (fd < 0)
		return -errno;
	if (write(fd, text, size) == (ssize_t)size && !lseek(fd, 0, SEEK_SET) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	close(fd);
	return -EIO;
}

static const char *text_of(const struct path_parameter *p)
{
	bool fact = *(const bool *)((const char *)engine_facts() + p->fact);

	return p->text[fact];
}

/* /proc/cpuinfo, with the chosen CPU's flag of nested virtualization; -ENOENT: pass the call on. */
static int open_cpuinfo(int flags)
{
	const struct engine_facts *facts = engine_facts();
	size_t size;
	char *text = cpuinfo_read(CPUINFO, facts->nested && facts->intel, facts->nested && !facts->intel, &size);
	int fd = text ? text_file(text, size, flags) : -ENOENT;

	if (text)
		cpuinfo_free(text);
	return fd;
}

int path_open(enum path_kind kind, const struct path_parameter *parameter, int flags)
{
	if (kind == PATH_ABSENT)
		return flags & O_CREAT ? -EACCES : -ENOENT;
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return -EEXIST;
	if (flags & O_DIRECTORY)
		return -ENOTDIR;
	if (kind == PATH_DEVICE)
		return engine_open(flags);
	if ((flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC)
		return -EACCES;
	if (kind == PATH_CPUINFO)
		return open_cpuinfo(flags);
	return text_file(text_of(parameter), strlen(text_of(parameter)), flags);
}

int path_stat(enum path_kind kind, struct stat *st)
{
	static const mode_t modes[] = {
		[PATH_DEVICE] = S_IFCHR | 0666,
		[PATH_PARAMETER] = S_IFREG | 0444,
		[PATH_FOLDER] = S_IFDIR | 0755,
	};

	if (kind == PATH_ABSENT)
		return -ENOENT;
	/* Owner, times and file system are those of the folder that it would be in. */
	if (syscall(SYS_newfstatat, AT_FDCWD, kind == PATH_DEVICE ? "/dev" : "/sys", st, 0))
		memset(st, 0, sizeof(*st));
	st->st_mode = modes[kind];
	st->st_ino = UINT32_MAX - (ino_t)kind;
	st->st_nlink = kind == PATH_FOLDER ? 2 : 1;
	st->st_rdev = kind == PATH_DEVICE ? makedev(MISC_MAJOR, KVM_MINOR) : 0;
	st->st_size = kind == PATH_PARAMETER ? 4096 : 0;
	st->st_blocks = 0;
	return 0;
}

int path_access(enum path_kind kind, int mode)
{
	static const int allowed[] = {
		[PATH_DEVICE] = R_OK | W_OK,
		[PATH_PARAMETER] = R_OK,
		[PATH_FOLDER] = R_OK | X_OK,
	};

	if (mode & ~(R_OK | W_OK | X_OK))
		return -EINVAL;
	if (kind == PATH_ABSENT)
		return -ENOENT;
	return mode & ~allowed[kind] ? -EACCES : 0;
}
