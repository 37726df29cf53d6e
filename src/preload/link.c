/* SPDX-License-Identifier: MIT */
/*
 * readlink() and realpath(): /dev/kvm is no link, and is there; what /proc says of
 * our descriptors is what it says of KVM's, as far as their names go.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload/next.h"
#include "preload/path.h"

EXPORT ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t room);
EXPORT ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t room);
EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room);

#define OURS "/memfd:kvm"
#define DELETED " (deleted)"

/* KVM's names for what the library calls so; a vCPU has its number behind. */
static const struct {
	const char *ours, *kvm;
} names[] = {
	{ "", "/dev/kvm" },
	{ "-vm", "anon_inode:kvm-vm" },
	{ "-stats", "anon_inode:kvm-vm-stats" },
	{ "-vcpu:", "anon_inode:kvm-vcpu:" },
};

/* The link @text of @n bytes, changed where it is one of ours; the bytes it has now. */
static ssize_t translate(char *buf, size_t size, const char *text, size_t n)
{
	char to[64];
	size_t tail = strlen(DELETED), head = strlen(OURS), len;
	const char *name = text + head;

	for (size_t i = 0; n >= head + tail && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t own = strlen(names[i].ours), rest = n - head - tail;
		bool vcpu = own && names[i].ours[own - 1] == ':';

		if (memcmp(text, OURS, head) || memcmp(text + n - tail, DELETED, tail) || rest < own ||
		    memcmp(name, names[i].ours, own) || (!vcpu && rest != own))
			continue;
		len = (size_t)snprintf(to, sizeof(to), "%s%.*s", names[i].kvm, (int)(rest - own), name + own);
		memcpy(buf, to, len < size ? len : size);
		return (ssize_t)(len < size ? len : size);
	}
	memcpy(buf, text, n < size ? n : size);
	return (ssize_t)(n < size ? n : size);
}

static bool is_own_file(enum path_kind kind)
{
	return kind == PATH_DEVICE || kind == PATH_PARAMETER || kind == PATH_FOLDER;
}

static bool link_in(int dirfd, const char *path, ssize_t *r)
{
	const struct path_parameter *parameter;
	enum path_kind kind = path_find(dirfd, path, &parameter);

	if (!is_own_file(kind) && kind != PATH_ABSENT)
		return false;
	errno = kind == PATH_ABSENT ? ENOENT : EINVAL;
	*r = -1;
	return true;
}

/* Whether what was read, perhaps not to its end, is a descriptor of ours: the kernel has looked at @buf. */
static bool is_descriptor(const char *buf, ssize_t r)
{
	return r >= (ssize_t)strlen(OURS) && !memcmp(buf, OURS, strlen(OURS));
}

EXPORT ssize_t readlink(const char *path, char *buf, size_t size)
{
	char text[PATH_MAX];
	ssize_t r;

	if (link_in(AT_FDCWD, path, &r))
		return r;
	r = NEXT_CALL(readlink, path, buf, size);
	if (!is_descriptor(buf, r))
		return r;
	r = NEXT_CALL(readlink, path, text, sizeof(text));
	return r < 0 ? r : translate(buf, size, text, (size_t)r);
}

EXPORT ssize_t readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	char text[PATH_MAX];
	ssize_t r;

	if (link_in(dirfd, path, &r))
		return r;
	r = NEXT_CALL(readlinkat, dirfd, path, buf, size);
	if (!is_descriptor(buf, r))
		return r;
	r = NEXT_CALL(readlinkat, dirfd, path, text, sizeof(text));
	return r < 0 ? r : translate(buf, size, text, (size_t)r);
}

/* What the compiler makes of them where it knows the buffer's size: a wrong one ends the program in libc. */
EXPORT ssize_t __readlink_chk(const char *path, char *buf, size_t size, size_t room)
{
	return size > room ? NEXT_CALL(__readlink_chk, path, buf, size, room) : readlink(path, buf, size);
}

EXPORT ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t size, size_t room)
{
	return size > room ? NEXT_CALL(__readlinkat_chk, dirfd, path, buf, size, room)
			   : readlinkat(dirfd, path, buf, size);
}

static bool real_in(const char *path, char *resolved, char **r)
{
	const struct path_parameter *parameter;
	char normal[PATH_MAX];

	if (!is_own_file(path_normal(AT_FDCWD, path, normal, &parameter)))
		return false;
	*r = resolved ? strcpy(resolved, normal) : strdup(normal);
	return true;
}

static char *none(void)
{
	next_missing();
	return NULL;
}

EXPORT char *realpath(const char *path, char *resolved)
{
	char *r;

	if (real_in(path, resolved, &r))
		return r;
	return NEXT(realpath) ? NEXT(realpath)(path, resolved) : none();
}

EXPORT char *__realpath_chk(const char *path, char *resolved, size_t room)
{
	char *r;

	if (room >= PATH_MAX && real_in(path, resolved, &r))
		return r;
	return NEXT(__realpath_chk) ? NEXT(__realpath_chk)(path, resolved, room) : none();
}

EXPORT char *canonicalize_file_name(const char *path)
{
	char *r;

	if (real_in(path, NULL, &r))
		return r;
	return NEXT(canonicalize_file_name) ? NEXT(canonicalize_file_name)(path) : none();
}
