/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - the machine's view of KVM: a way to make its calls, and nothing below.
 *
 * Two sets of calls exist, the library's and the kernel's, with one meaning.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_ops {
	const char *name;	       /* as --accel spells it */
	int (*open)(int flags);	       /* descriptor of the system, or -1 and errno */
	int (*ioctl)(int fd, unsigned long request, void *arg);
	int (*close)(int fd);
};

extern const struct kvm_ops kvm_ops_soft; /* libanykvm in this process */
extern const struct kvm_ops kvm_ops_host; /* the kernel's /dev/kvm */

struct kvm_vm {
	const struct kvm_ops *ops;
	int sys_fd, vm_fd;
};

/** vm_ioctl - a request to the VM's descriptor; its result, or -errno. */
int vm_ioctl(const struct kvm_vm *vm, unsigned long request, void *arg);

/** sys_ioctl - a request to the system's descriptor; its result, or -errno. */
int sys_ioctl(const struct kvm_vm *vm, unsigned long request, void *arg);

/**
 * vm_ioeventfd - have a guest write signal an eventfd instead of leaving KVM_RUN.
 * @addr, @len: the written place (1, 2, 4 or 8 bytes); @port: a port, not memory.
 * @match: the value that must be written, or NULL for any.
 * @fd: the eventfd, the caller's.
 * @assign: false takes the same registration back.
 * Returns 0 or -errno (api.rst, KVM_IOEVENTFD).
 */
int vm_ioeventfd(const struct kvm_vm *vm, uint64_t addr, unsigned int len, bool port,
		 const uint64_t *match, int fd, bool assign);

#endif
