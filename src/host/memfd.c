/* SPDX-License-Identifier: MIT */
#include "host/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int host_memfd(const char *name, size_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	if (fd < 0)
		return -errno;
	/* Sealed, so that nobody can truncate the file under a mapping of ours. */
	if ((size && ftruncate(fd, (off_t)size)) ||
	    fcntl(fd, F_ADD_SEALS, HOST_MEMFD_SEALS)) {
		err = errno;
		close(fd);
		return -err;
	}
	return fd;
}

void *host_memfd_map(int fd, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

int host_eventfd_id(int fd, uint64_t *id)
{
	char path[40], text[512];
	const char *at;
	ssize_t n;
	int info;

	if (fd < 0 || fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	/* Another thread may have closed it by now. */
	if (info < 0)
		return fcntl(fd, F_GETFD) < 0 ? -EBADF : -errno;
	n = read(info, text, sizeof(text) - 1);
	close(info);
	if (n <= 0)
		return -EINVAL;
	text[n] = '\0';
	at = strstr(text, "eventfd-id:");
	if (!at)
		return -EINVAL;
	*id = strtoull(at + strlen("eventfd-id:"), NULL, 10);
	return 0;
}

int host_eventfd_dup(int fd, uint64_t *id)
{
	int r = host_eventfd_id(fd, id), copy;

	if (r)
		return r;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	/* The number may have become another thing meanwhile, a VM even, which we would then keep for ever. */
	r = host_eventfd_id(copy, id);
	if (!r)
		return copy;
	close(copy);
	return r;
}

void host_eventfd_signal(int fd)
{
	struct { uint64_t one; } v = { 1 };
	ssize_t n;

	/*
	 * A write blocks when the counter is full, which takes 2^64 - 2 unread events; then it is as signalled
	 * as can be, whether the descriptor blocks or not.
	 */
	do
		n = write(fd, &v, sizeof(v));
	while (n < 0 && errno == EINTR);
}
