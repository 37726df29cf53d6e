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

/* What the link @text of @n bytes, one of ours, says with KVM's name; its length, or 0: it stays as it is. */
static size_t translate(char to[64], const char *text, size_t n)
{
	size_t tail = strlen(DELETED), head = strlen(OURS);
	const char *name = text + head;

	for (size_t i = 0; n >= head + tail && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t own = strlen(names[i].ours), rest = n - head - tail;
		bool vcpu = own && names[i].ours[own - 1] == ':';

		if (memcmp(text, OURS, head) || memcmp(text + n - tail, DELETED, tail) || rest < own ||
		    memcmp(name, names[i].ours, own) || (!vcpu && rest != own))
			continue;
		return (size_t)snprintf(to, 64, "%s%.*s", names[i].kvm, (int)(rest - own), name + own);
	}
	return 0;
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

/*
 * The name of one of our descriptors instead of the library's, which is never the shorter one: the kernel writes as much
 * of its own first, and says what is wrong with @buf.  What is behind stays as it was; who has zeroed it relies on that.
 */
static ssize_t read_link(int dirfd, const char *path, char *buf, size_t size)
{
	char text[PATH_MAX], to[64];
	size_t n = 0;
	ssize_t r;

	if (link_in(dirfd, path, &r))
		return r;
	r = NEXT_CALL(readlinkat, dirfd, path, text, sizeof(text));
	if (r > 0)
		n = translate(to, text, (size_t)r);
	r = NEXT_CALL(readlinkat, dirfd, path, buf, n && n < size ? n : size);
	if (r > 0 && n)
		memcpy(buf, to, (size_t)r);
	return r;
}

EXPORT ssize_t readlink(const char *path, char *buf, size_t size)
{
	return read_link(AT_FDCWD, path, buf, size);
}

EXPORT ssize_t readlinkat(int dirfd, const char *path, char *buf, size_t size)
{
	return read_link(dirfd, path, buf, size);
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
