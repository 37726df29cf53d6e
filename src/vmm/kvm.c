/* SPDX-License-Identifier: MIT */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "anykvm.h"

static int soft_open(int flags)
{
	/* This program has no handlers of its own for faults. */
	anykvm_sigaction(0, NULL, NULL);
	return anykvm_open(flags);
}

static int host_open(int flags)
{
	return open("/dev/kvm", flags);
}

static int host_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

const struct kvm_ops kvm_ops_soft = {
	.name = "soft",
	.open = soft_open,
	.ioctl = anykvm_ioctl,
	.close = anykvm_close,
};

const struct kvm_ops kvm_ops_host = {
	.name = "host",
	.open = host_open,
	.ioctl = host_ioctl,
	.close = close,
};

int vm_ioctl(const struct kvm_vm *vm, unsigned long request, void *arg)
{
	int r = vm->ops->ioctl(vm->vm_fd, request, arg);

	return r < 0 ? -errno : r;
}

int sys_ioctl(const struct kvm_vm *vm, unsigned long request, void *arg)
{
	int r = vm->ops->ioctl(vm->sys_fd, request, arg);

	return r < 0 ? -errno : r;
}

int vm_ioeventfd(const struct kvm_vm *vm, uint64_t addr, unsigned int len, bool port,
		 const uint64_t *match, int fd, bool assign)
{
	struct kvm_ioeventfd io = {
		.addr = addr,
		.len = len,
		.fd = fd,
		.datamatch = match ? *match : 0,
		.flags = (port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (assign ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return vm_ioctl(vm, KVM_IOEVENTFD, &io);
}
