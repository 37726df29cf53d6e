/* SPDX-License-Identifier: MIT */
/*
 * What the library and the preload itself call for the functions that the
 * preload exports: the linker's --wrap sends their calls here (meson.build has
 * the names), so that the engine's own open() and close() never come back to
 * us, nor to anybody else who stands before libc.  What KVM_RUN calls has to be
 * no cancellation point either, which is why read() and others are here: a
 * thread would end in the middle of the library.  tests/exec looks that none is
 * missing.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "preload/next.h"

int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
int __wrap_fcntl(int fd, int cmd, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_fstat(int fd, struct stat *st);
void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset);

int __wrap_sigaction(int sig, const struct sigaction *act, struct sigaction *old);
ssize_t __wrap_readlink(const char *path, char *buf, size_t size);
int __wrap_stat(const char *path, struct stat *st);

ssize_t __wrap_read(int fd, void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

#define SAME_AS(name) __attribute__((alias(#name)))
int __wrap_open64(const char *path, int flags, ...) SAME_AS(__wrap_open);
int __wrap_fcntl64(int fd, int cmd, ...) SAME_AS(__wrap_fcntl);
int __wrap_fstat64(int fd, struct stat *st) SAME_AS(__wrap_fstat);
void *__wrap_mmap64(void *addr, size_t size, int prot, int flags, int fd, off_t offset) SAME_AS(__wrap_mmap);

int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int __wrap_close(int fd)
{
	return (int)syscall(SYS_close, fd);
}

int __wrap_fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return (int)syscall(SYS_fcntl, fd, cmd, arg);
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

int __wrap_fstat(int fd, struct stat *st)
{
	return (int)syscall(SYS_fstat, fd, st);
}

void *__wrap_mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, size, prot, flags, fd, offset);
}

/* With libc's way back out of a handler. */
int __wrap_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return NEXT_CALL(sigaction, sig, act, old);
}

ssize_t __wrap_readlink(const char *path, char *buf, size_t size)
{
	return syscall(SYS_readlink, path, buf, size);
}

int __wrap_stat(const char *path, struct stat *st)
{
	return (int)syscall(SYS_stat, path, st);
}

ssize_t __wrap_read(int fd, void *buf, size_t n)
{
	return syscall(SYS_read, fd, buf, n);
}

ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	return syscall(SYS_write, fd, buf, n);
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	return (int)syscall(SYS_poll, fds, n, timeout);
}

/* The kernel writes what is left into the time, libc does not. */
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec copy = timeout ? *timeout : (struct timespec){ 0, 0 };

	return (int)syscall(SYS_ppoll, fds, n, timeout ? &copy : NULL, mask, 8);
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
	return (int)syscall(SYS_nanosleep, time, left);
}
