/* SPDX-License-Identifier: MIT */
/* What is done to descriptors: ioctl(), close() and its kin, duplicates, and mappings. */
#include <errno.h>
#include <limits.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anykvm.h"
#include "preload/engine.h"
#include "preload/next.h"

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return engine_ioctl(fd, request, arg, &r) ? r : NEXT_CALL(ioctl, fd, request, arg);
}

EXPORT int close(int fd)
{
	int r;

	return engine_close(fd, &r) ? r : NEXT_CALL(close, fd);
}

EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	int r = NEXT_CALL(close_range, first, last, flags);

	if (!r && first <= INT_MAX && !(flags & CLOSE_RANGE_CLOEXEC))
		engine_closed((int)first, last > INT_MAX ? INT_MAX : (int)last);
	return r;
}

EXPORT void closefrom(int lowest)
{
	if (!NEXT(closefrom))
		return;
	NEXT(closefrom)(lowest);
	engine_closed(lowest < 0 ? 0 : lowest, INT_MAX);
}

static int duplicated(int fd, int of)
{
	if (fd >= 0)
		engine_duplicated(fd, of);
	return fd;
}

EXPORT int dup(int fd)
{
	return duplicated(NEXT_CALL(dup, fd), fd);
}

/* The descriptor @to was something before, and is now a duplicate of @fd. */
static int replaced(int r, int fd, int to)
{
	if (r < 0 || fd == to)
		return r;
	engine_closed(to, to);
	return duplicated(r, fd);
}

EXPORT int dup2(int fd, int to)
{
	return replaced(NEXT_CALL(dup2, fd, to), fd, to);
}

EXPORT int dup3(int fd, int to, int flags)
{
	return replaced(NEXT_CALL(dup3, fd, to, flags), fd, to);
}

static int duplicates(int cmd)
{
	return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC;
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = NEXT_CALL(fcntl, fd, cmd, arg);
	return duplicates(cmd) ? duplicated(r, fd) : r;
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;
	int r;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	r = NEXT_CALL(fcntl64, fd, cmd, arg);
	return duplicates(cmd) ? duplicated(r, fd) : r;
}

/* --- mappings --- */

#define RINGS_AT (KVM_DIRTY_LOG_PAGE_OFFSET * 4096LL)

/* KVM shares a dirty ring or does not give it away, and it is no code; what stands for it here is a plain file. */
static bool is_refused(int prot, int flags, int fd, off64_t offset)
{
	return offset >= RINGS_AT && !(flags & MAP_ANONYMOUS) && (!(flags & MAP_SHARED) || prot & PROT_EXEC) &&
	       anykvm_tracks(fd);
}

static void *refuse(void)
{
	errno = EINVAL;
	return MAP_FAILED;
}

/* Allocators need these; see next.h.  Our own mmap() is the bare system call, by inner.c. */
EXPORT void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	if (is_refused(prot, flags, fd, offset))
		return refuse();
	if (!NEXT(mmap))
		return (void *)syscall(SYS_mmap, addr, size, prot, flags, fd, offset);
	return NEXT(mmap)(addr, size, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *addr, size_t size, int prot, int flags, int fd, off64_t offset)
{
	if (is_refused(prot, flags, fd, offset))
		return refuse();
	if (!NEXT(mmap64))
		return (void *)syscall(SYS_mmap, addr, size, prot, flags, fd, offset);
	return NEXT(mmap64)(addr, size, prot, flags, fd, offset);
}

/* --- the end, for the statistics --- */

/* The client's own call, passed on; should libc lack the function, as the kernel has it. */
#define LEAVE(name) \
	EXPORT void name(int status) \
	{ \
		engine_leave(); \
		if (NEXT(name)) \
			NEXT(name)(status); \
		for (;;) \
			syscall(SYS_exit_group, status); \
	}

LEAVE(_exit)
LEAVE(_Exit)
LEAVE(quick_exit)
