/* SPDX-License-Identifier: MIT */
/* slots.h - changing memory slots and reading their dirty logs; what a slot is stands in memslot.h. */
#ifndef KVM_SLOTS_H
#define KVM_SLOTS_H

#include <linux/kvm.h>

#include "kvm/vm.h"

/** kvm_dirty_bytes - size of the dirty bitmap of @slot: whole 64-bit words. */
static inline size_t kvm_dirty_bytes(const struct memslot *slot)
{
	return (slot->npages + 63) / 64 * 8;
}

/** kvm_slot_by_id - the slot with number @id of this address space, or NULL. */
const struct memslot *kvm_slot_by_id(const struct memslots *s, unsigned int id);

/** kvm_set_memory_region - api.rst 4.35.  0; -EINVAL, -EEXIST, -ENOMEM. */
int kvm_set_memory_region(struct vm *vm, const struct kvm_userspace_memory_region *m);

/** kvm_get_dirty_log - api.rst 4.8.  0; -EINVAL, -ENOENT, -EFAULT, -ENOMEM. */
int kvm_get_dirty_log(struct vm *vm, const struct kvm_dirty_log *log);

/** kvm_clear_dirty_log - api.rst 4.117.  As kvm_get_dirty_log(). */
int kvm_clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log);

#endif
