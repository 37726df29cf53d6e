/* SPDX-License-Identifier: MIT */
/*
 * One table of ioctls: number, kinds of descriptor, handler.  Copying of the
 * argument, EFAULT and unknown requests follow from the row.
 */
#ifndef KVM_IOCTL_H
#define KVM_IOCTL_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "host/fault.h"
#include "kvm/object.h"

struct kvm_arch;
struct vcpu;
struct vm;

/* One call of a handler. */
struct kvm_call {
	struct kvm_object *obj; /* what the descriptor names */
	struct vm *vm;          /* NULL on a system descriptor */
	struct vcpu *vcpu;      /* on a vCPU's descriptor; its mutex is held and it is entered */
	void *data;             /* the argument, copied in; copied out after success.  NULL: raw, or none */
	unsigned long arg;      /* as the client passed it */
	uint32_t request;
	uint64_t sigmask;       /* of what ends by a signal (KVM_RUN): the thread's own, as before the call */
};

/*
 * How the argument is copied.  Without any of these the request itself says
 * it: _IOC_SIZE and _IOC_DIR.  Several old requests have a wrong direction.
 */
enum kvm_ioctl_flags {
	KVM_IOCTL_IN      = 1 << 0,
	KVM_IOCTL_OUT     = 1 << 1,
	KVM_IOCTL_RAW     = 1 << 2,     /* nothing is copied: the handler uses kvm_copy_in() and _out() */
	KVM_IOCTL_UNLOCKED = 1 << 3,    /* vCPU: without its mutex, while it may be running */
};

struct kvm_ioctl_row {
	uint32_t request;
	uint8_t kinds;          /* enum kvm_kind bits */
	uint8_t flags;          /* enum kvm_ioctl_flags */
	long (*fn)(struct kvm_call *c); /* the result, or -errno */
	const char *name;
};

#define KVM_IOCTL(request, kinds, flags, fn) { (uint32_t)(request), (kinds), (flags), (fn), #request }

/* The largest argument that is copied for a handler. */
#define KVM_IOCTL_MAX_SIZE 4096

struct kvm_ioctl_rows {
	const struct kvm_ioctl_row *row;
	size_t count;
};

extern const struct kvm_ioctl_rows kvm_ioctl_rows_generic;

/** kvm_ioctl_find - the row for @request on a descriptor of @kind, or NULL. */
const struct kvm_ioctl_row *kvm_ioctl_find(uint32_t request, enum kvm_kind kind);

/**
 * kvm_ioctl_call - one ioctl on @obj (a reference is held by the caller).
 * @sigmask: for KVM_RUN, which is called with signals blocked: the mask before.
 * Returns the result or -errno.
 */
long kvm_ioctl_call(struct kvm_object *obj, uint32_t request, unsigned long arg, uint64_t sigmask);

/**
 * kvm_copy_in, kvm_copy_out - @n bytes between the client's address @uaddr and
 * the library's buffer.  0 or -EFAULT, also for addresses beyond user space.
 */
int kvm_copy_in(void *dst, unsigned long uaddr, size_t n);
int kvm_copy_out(unsigned long uaddr, const void *src, size_t n);

#endif
