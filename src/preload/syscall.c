/* SPDX-License-Identifier: MIT */
/* The system calls that a client may make by syscall() though libc has a function: they are that function's. */
#include "preload/syscall.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anykvm.h"
#include "preload/engine.h"
#include "preload/next.h"
#include "preload/path.h"

/* Those of our functions that have the same names as what --wrap puts in their place within the preload. */
#define OURS(name, result, ...) extern __typeof__(result) ours_##name(__VA_ARGS__) __asm__("__real_" #name);
OURS(open, int, const char *path, int flags, ...)
OURS(close, int, int fd)
OURS(stat, int, const char *path, struct stat *st)
OURS(fstat, int, int fd, struct stat *st)
OURS(mmap, void *, void *addr, size_t size, int prot, int flags, int fd, off_t offset)
OURS(ioctl, int, int fd, unsigned long request, ...)
OURS(fcntl, int, int fd, int cmd, ...)
OURS(readlink, ssize_t, const char *path, char *buf, size_t size)

#define OPENAT2 437             /* SYS_openat2, and what it is given: linux/openat2.h, which older systems do not have */

struct how {
	uint64_t flags, mode, resolve;
};

/* The kernel's struct of rt_sigaction(); arch/x86/include/uapi/asm/signal.h. */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

#define SA_RESTORER_FLAG 0x04000000UL

static long openat2(const long a[6])
{
	const struct path_parameter *parameter;
	const struct how *how = (const void *)a[2];

	if (path_find((int)a[0], (const char *)a[1], &parameter) == PATH_OTHER || !path_readable(how))
		return syscall(OPENAT2, a[0], a[1], a[2], a[3]);
	return openat((int)a[0], (const char *)a[1], (int)how->flags, (mode_t)how->mode);
}

static void to_libc(struct sigaction *to, const struct kernel_sigaction *from)
{
	memset(to, 0, sizeof(*to));
	to->sa_handler = from->handler;
	to->sa_flags = (int)(from->flags & ~SA_RESTORER_FLAG);
	memcpy(&to->sa_mask, &from->mask, sizeof(from->mask));
}

static void from_libc(struct kernel_sigaction *to, const struct sigaction *from)
{
	*to = (struct kernel_sigaction){ .handler = from->sa_handler, .flags = (unsigned int)from->sa_flags };
	memcpy(&to->mask, &from->sa_mask, sizeof(to->mask));
}

static long rt_sigaction(const long a[6])
{
	int sig = (int)a[0];
	struct sigaction act, old;
	int r;

	if ((sig != SIGSEGV && sig != SIGBUS && sig != SIGFPE) || !engine_is_here() || a[3] != sizeof(uint64_t) ||
	    (a[1] && !path_readable((const void *)a[1])) || (a[2] && !path_readable((const void *)a[2])))
		return syscall(SYS_rt_sigaction, a[0], a[1], a[2], a[3]);
	if (a[1])
		to_libc(&act, (const void *)a[1]);
	r = anykvm_sigaction(sig, a[1] ? &act : NULL, &old);
	if (!r && a[2])
		from_libc((void *)a[2], &old);
	return r;
}

static long exit_group(const long a[6])
{
	engine_leave();
	return syscall(SYS_exit_group, a[0]);
}

#define P(i) ((void *)a[i])
#define S(i) ((const char *)a[i])
#define I(i) ((int)a[i])
#define U(i) ((unsigned long)a[i])

/* X(word of the set, number, what it is): the functions are those that we export. */
#define KNOWN(X) \
	X(0, SYS_open, ours_open(S(0), I(1), (mode_t)a[2])) \
	X(0, SYS_close, ours_close(I(0))) \
	X(0, SYS_stat, ours_stat(S(0), P(1))) \
	X(0, SYS_fstat, ours_fstat(I(0), P(1))) \
	X(0, SYS_lstat, lstat(S(0), P(1))) \
	X(0, SYS_mmap, (long)ours_mmap(P(0), U(1), I(2), I(3), I(4), a[5])) \
	X(0, SYS_rt_sigaction, rt_sigaction(a)) \
	X(0, SYS_ioctl, ours_ioctl(I(0), U(1), P(2))) \
	X(0, SYS_access, access(S(0), I(1))) \
	X(0, SYS_dup, dup(I(0))) \
	X(0, SYS_dup2, dup2(I(0), I(1))) \
	X(0, SYS_execve, execve(S(0), P(1), P(2))) \
	X(1, SYS_fcntl, ours_fcntl(I(0), I(1), P(2))) \
	X(1, SYS_creat, ours_open(S(0), O_CREAT | O_WRONLY | O_TRUNC, (mode_t)a[1])) \
	X(1, SYS_readlink, ours_readlink(S(0), P(1), U(2))) \
	X(3, SYS_exit_group, exit_group(a)) \
	X(4, SYS_openat, openat(I(0), S(1), I(2), (mode_t)a[3])) \
	X(4, SYS_newfstatat, fstatat(I(0), S(1), P(2), I(3))) \
	X(4, SYS_readlinkat, readlinkat(I(0), S(1), P(2), U(3))) \
	X(4, SYS_faccessat, faccessat(I(0), S(1), I(2), 0)) \
	X(4, SYS_dup3, dup3(I(0), I(1), I(2))) \
	X(5, SYS_execveat, execveat(I(0), S(1), P(2), P(3), I(4))) \
	X(5, SYS_statx, statx(I(0), S(1), I(2), (unsigned int)a[3], P(4))) \
	X(6, SYS_close_range, close_range((unsigned int)a[0], (unsigned int)a[1], I(2))) \
	X(6, OPENAT2, openat2(a)) \
	X(6, SYS_faccessat2, faccessat(I(0), S(1), I(2), I(3)))

#define CASE(word, nr, call) case nr: return call;
#define PLACE(word, nr, call) _Static_assert((nr) / 64 == (word), "the word has the number's bit");
KNOWN(PLACE)

/* The bits of one word of the set. */
#define BITS_IF(want, word, nr) ((word) == (want) ? 1ULL << (nr) % 64 : 0)
#define B0(word, nr, call) | BITS_IF(0, word, nr)
#define B1(word, nr, call) | BITS_IF(1, word, nr)
#define B3(word, nr, call) | BITS_IF(3, word, nr)
#define B4(word, nr, call) | BITS_IF(4, word, nr)
#define B5(word, nr, call) | BITS_IF(5, word, nr)
#define B6(word, nr, call) | BITS_IF(6, word, nr)

const uint64_t syscall_set[SYSCALL_SET_BITS / 64] = {
	[0] = 0 KNOWN(B0),
	[1] = 0 KNOWN(B1),
	[3] = 0 KNOWN(B3),
	[4] = 0 KNOWN(B4),
	[5] = 0 KNOWN(B5),
	[6] = 0 KNOWN(B6),
};

long syscall_known(long nr, long a0, long a1, long a2, long a3, long a4, long a5)
{
	const long a[6] = { a0, a1, a2, a3, a4, a5 };

	switch (nr) {
		KNOWN(CASE)
	}
	return syscall_failed(ENOSYS);
}

long syscall_failed(int err)
{
	errno = err;
	return -1;
}
