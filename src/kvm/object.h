/* SPDX-License-Identifier: MIT */
/*
 * Objects behind descriptors.
 *
 * 1. A descriptor of the system, a VM, a vCPU, a device or of statistics is a
 *    memfd.  The table maps its number to the object, and an entry counts only
 *    while the number still names the object's inode: a descriptor that the
 *    client closed behind our back is noticed, one that it dup()ed is found by
 *    its inode at its first use.
 * 2. An object lives while one of its descriptors is in the table or a call on
 *    it is under way; what it is made of (the VM) may live longer.
 * 3. The table is per process and the one mutable object at file scope of
 *    src/kvm (library.c).  A fork()ed child inherits the table, but VMs belong
 *    to the process that made them: there the child gets -EIO, as from KVM.
 */
#ifndef KVM_OBJECT_H
#define KVM_OBJECT_H

#include <stdint.h>
#include <sys/types.h>

enum kvm_kind {
	KVM_SYSTEM = 1 << 0,
	KVM_VM     = 1 << 1,
	KVM_VCPU   = 1 << 2,
	KVM_DEVICE = 1 << 3,
	KVM_STATS  = 1 << 4,
};

struct kvm_object {
	enum kvm_kind kind;
	uint32_t owner;         /* kvm_process_id() of the maker; 0: any process may use it */
	/* The last descriptor is closed and no call is under way: drop what the object holds. */
	void (*release)(struct kvm_object *obj);
	/* Private to object.c, under the table's lock. */
	unsigned int fds;       /* table entries */
	unsigned int refs;      /* the same and calls under way */
	dev_t dev;
	ino_t ino;
	struct kvm_object *next;
};

/**
 * kvm_object_add - gives @obj, whose kind, owner and release are set, the
 * descriptor @fd: enters it in the table.
 * Returns 0, or -errno; then @fd is still the caller's and @obj is untouched.
 */
int kvm_object_add(struct kvm_object *obj, int fd);

/**
 * kvm_object_get - the object behind @fd with a reference for the caller, or
 * NULL.
 * @trust: the number alone decides where the table has it; saves a system call
 * for requests that nobody sends to a descriptor of another kind (KVM_RUN).
 */
struct kvm_object *kvm_object_get(int fd, int trust);

/** kvm_object_put - ends kvm_object_get(); may release the object. */
void kvm_object_put(struct kvm_object *obj);

/**
 * kvm_object_close - drops the entry of @fd and closes it.  0; -EBADF where it
 * is not in the table (it is not closed then).
 */
int kvm_object_close(int fd);

/** kvm_object_tracks - 1 where the table has @fd, 0 where not.  Takes no lock, makes no system call. */
int kvm_object_tracks(int fd);

/**
 * kvm_object_recheck - drops entries of @first to @last that are closed or name
 * something else by now.
 */
void kvm_object_recheck(int first, int last);

/** kvm_process_id - differs in a fork()ed child from its parent's; never 0. */
uint32_t kvm_process_id(void);

#endif
