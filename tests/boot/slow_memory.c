// SPDX-License-Identifier: MIT
/*
 * To be preloaded into 'anykvm run': the guest's memory comes page by page, by
 * userfaultfd, and one page of each SLOW pages late.  SLOW_MEMORY in the environment
 * is the size of that memory in bytes, by which it is known.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096UL
#define SLOW 32
#define LATE_US 2000

static int uffd = -1;

static void bring(uint64_t address)
{
	struct uffdio_zeropage z = { .range = { address & ~(PAGE - 1), PAGE } };

	if (address / PAGE % SLOW == 0)
		usleep(LATE_US);
	/* EEXIST: two threads waited for it. */
	if (ioctl(uffd, UFFDIO_ZEROPAGE, &z))
		ioctl(uffd, UFFDIO_WAKE, &z.range);
}

static void *serve(void *unused)
{
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg))
		if (msg.event == UFFD_EVENT_PAGEFAULT)
			bring(msg.arg.pagefault.address);
	return unused;
}

static void fail(const char *what)
{
	perror(what);
	_exit(77);
}

static void make_slow(void *p, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	pthread_t thread;

	/* The loader lets the kernel read() into it. */
	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		fail("userfaultfd");
	if (ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
		fail("UFFDIO_REGISTER");
	if (pthread_create(&thread, NULL, serve, NULL))
		fail("thread");
}

/* libc's own has this name for programs with 64-bit file offsets. */
__attribute__((visibility("default"))) void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
						     off64_t offset);

void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
{
	const char *size = getenv("SLOW_MEMORY");
	void *p = (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);

	if (size && uffd < 0 && p != MAP_FAILED && len == strtoul(size, NULL, 10))
		make_slow(p, len);
	return p;
}
