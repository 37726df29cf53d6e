/* SPDX-License-Identifier: MIT */
/* The public face: descriptors in, errno out. */
#include "anykvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/fault.h"
#include "host/memfd.h"
#include "host/wait.h"
#include "kvm/ioctl.h"
#include "kvm/object.h"
#include "kvm/types.h"

#define SYSTEM_NAME "kvm"       /* a VM's and a vCPU's begin with it too */

static void release_system(struct kvm_object *obj)
{
	free(obj);
}

#define ERRNO_MAX 4095          /* the kernel's: what lies below is a result, whatever its sign */

/* A result as it is, of which KVM too keeps 32 bits; -errno as -1 with errno. */
static int result(long r)
{
	int low = (int)r;

	if (low >= 0 || low < -ERRNO_MAX)
		return low;
	errno = -low;
	return -1;
}

/* Makes @fd a system descriptor: 0 or -errno. */
static int add_system(int fd)
{
	struct kvm_object *obj = calloc(1, sizeof(*obj));
	int r;

	if (!obj)
		return -ENOMEM;
	obj->kind = KVM_SYSTEM;
	obj->release = release_system;
	r = kvm_object_add(obj, fd);
	if (r)
		free(obj);
	return r;
}

static long open_system(int flags)
{
	int r = host_fault_init(), fd;

	if (r)
		return r;
	fd = host_memfd(SYSTEM_NAME, 0);
	if (fd < 0)
		return fd;
	if (!(flags & O_CLOEXEC))
		fcntl(fd, F_SETFD, 0);
	r = add_system(fd);
	if (r) {
		close(fd);
		return r;
	}
	return fd;
}

/*
 * A descriptor that another process made with this library: inherited over exec(), or received over a socket.  One
 * of the system is as good here as there.  VMs, and all that is made of them, belong to the process that made them:
 * -EIO, as from KVM.  -ENOTTY: nothing of ours.
 */
static int adopt(int fd)
{
	static const char memfd[] = "/memfd:" SYSTEM_NAME;
	char path[40], name[80] = "";
	int r;

	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, name, sizeof(name) - 1) < 0 || strncmp(name, memfd, sizeof(memfd) - 1) ||
	    fcntl(fd, F_GET_SEALS) != HOST_MEMFD_SEALS)
		return -ENOTTY;
	if (name[sizeof(memfd) - 1] != ' ') /* "kvm-vm", "kvm-vcpu:0", "kvm-stats" */
		return name[sizeof(memfd)] == 'v' ? -EIO : -ENOTTY;
	r = host_fault_init();
	return r ? r : add_system(fd);
}

int anykvm_open(int flags)
{
	return result(open_system(flags));
}

/* Requests that the kernel answers for every descriptor before its owner is asked; see ioctl_fd(2). */
static int is_of_any_file(uint32_t request)
{
	static const uint32_t known[] = { FIOCLEX, FIONCLEX, FIONBIO, FIOASYNC };

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (request == known[i])
			return 1;
	return 0;
}

/* Requests that a signal ends. */
static int ends_by_signal(uint32_t request)
{
	return request == (uint32_t)KVM_RUN || request == (uint32_t)KVM_PRE_FAULT_MEMORY;
}

/*
 * A signal that comes while a guest runs has its handler run when all is done: the handler may call us, leave by a
 * jump, or end the thread.
 */
static int run(int fd, uint32_t request, void *arg)
{
	uint64_t mask = host_signals_block();
	struct kvm_object *obj = kvm_object_get(fd, request == (uint32_t)KVM_RUN);
	long r = -EBADF;

	if (obj) {
		r = kvm_ioctl_call(obj, request, (unsigned long)arg, mask);
		kvm_object_put(obj);
	} else {
		r = adopt(fd);
		r = r ? r : -EINVAL; /* of a system descriptor */
	}
	host_signals_restore(mask);
	return result(r);
}

static long request_of(int fd, uint32_t req, void *arg)
{
	struct kvm_object *obj = kvm_object_get(fd, 0);
	long r;

	if (!obj) {
		r = adopt(fd);
		obj = r ? NULL : kvm_object_get(fd, 0);
		if (!obj)
			return r ? r : -EBADF;
	}
	if (is_of_any_file(req))
		r = syscall(SYS_ioctl, fd, req, arg) ? -errno : 0;
	else
		r = kvm_ioctl_call(obj, req, (unsigned long)arg, 0);
	kvm_object_put(obj);
	return r;
}

int anykvm_ioctl(int fd, unsigned long request, void *arg)
{
	/* The kernel takes 32 bits of the request and so do we: clients pass it sign-extended. */
	uint32_t req = (uint32_t)request;
	uint64_t blocked;
	long r;

	if (ends_by_signal(req))
		return run(fd, req, arg);
	blocked = host_faults_let();
	r = request_of(fd, req, arg);
	host_faults_restore(blocked);
	return result(r);
}

int anykvm_close(int fd)
{
	return result(kvm_object_close(fd));
}

int anykvm_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return result(host_fault_sigaction(sig, act, old));
}

int anykvm_owns(int fd)
{
	struct kvm_object *obj = kvm_object_get(fd, 0);

	if (!obj)
		return 0;
	kvm_object_put(obj);
	return 1;
}

int anykvm_tracks(int fd)
{
	return kvm_object_tracks(fd);
}

void anykvm_recheck(int first, int last)
{
	kvm_object_recheck(first < 0 ? 0 : first, last);
}
