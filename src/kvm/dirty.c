/* SPDX-License-Identifier: MIT */
/*
 * The dirty log of a slot.  A vCPU sets a page's bit when it makes a translation
 * for writing, and not again while it holds that: so after bits are cleared
 * every vCPU forgets such translations (KVM_SYNC_DIRTY) before the client sees
 * the bits.  A write is then in this log or in the next.
 */
#include <errno.h>
#include <stdlib.h>

#include "kvm/ioctl.h"
#include "kvm/slots.h"
#include "kvm/vcpu.h"

_Static_assert(sizeof(struct kvm_dirty_log) == 16, "UAPI");
_Static_assert(sizeof(struct kvm_clear_dirty_log) == 24, "UAPI");

/* The slot that a client names (address space in the upper half), with a log.  slots_lock held. */
static int find_logged(struct vm *vm, uint32_t slot_id, const struct memslot **slot)
{
	unsigned int as = slot_id >> 16, id = (uint16_t)slot_id;

	if (as >= vm->arch->address_spaces || id >= KVM_USER_MEM_SLOTS)
		return -EINVAL;
	*slot = kvm_slot_by_id(kvm_vm_slots(vm, as), id);
	return *slot && (*slot)->dirty ? 0 : -ENOENT;
}

/* Takes all bits out of the log into @out. */
static void take_bits(struct vm *vm, const struct memslot *slot, uint64_t *out)
{
	bool any = false;

	for (size_t i = 0; i < kvm_dirty_bytes(slot) / 8; i++) {
		out[i] = 0;
		if (!atomic_load_explicit(&slot->dirty[i], memory_order_relaxed))
			continue;
		out[i] = atomic_exchange(&slot->dirty[i], 0);
		any = true;
	}
	if (any)
		kvm_vm_sync_vcpus(vm, KVM_SYNC_DIRTY);
}

static int get_log(struct vm *vm, const struct kvm_dirty_log *log)
{
	unsigned long to = (unsigned long)log->dirty_bitmap;
	const struct memslot *slot;
	uint64_t *bits;
	int r;

	if (vm->dirty_ring_bytes)
		return -ENXIO;
	r = find_logged(vm, log->slot, &slot);
	if (r)
		return r;
	/* With manual protection the bits stay until KVM_CLEAR_DIRTY_LOG. */
	if (vm->manual_dirty_log)
		return kvm_copy_out(to, (const void *)slot->dirty, kvm_dirty_bytes(slot));
	bits = malloc(kvm_dirty_bytes(slot));
	if (!bits)
		return -ENOMEM;
	take_bits(vm, slot, bits);
	r = kvm_copy_out(to, bits, kvm_dirty_bytes(slot));
	free(bits);
	return r;
}

int kvm_get_dirty_log(struct vm *vm, const struct kvm_dirty_log *log)
{
	int r;

	pthread_mutex_lock(&vm->slots_lock);
	r = get_log(vm, log);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}

/* The range is whole words, but may end with the slot. */
static bool valid_range(const struct memslot *slot, const struct kvm_clear_dirty_log *log)
{
	if (log->first_page > slot->npages || log->num_pages > slot->npages - log->first_page)
		return false;
	return log->num_pages % 64 == 0 || log->num_pages == slot->npages - log->first_page;
}

static int clear_log(struct vm *vm, const struct kvm_clear_dirty_log *log)
{
	size_t words = ((size_t)log->num_pages + 63) / 64;
	const struct memslot *slot;
	uint64_t *bits;
	bool any = false;
	int r;

	if (vm->dirty_ring_bytes)
		return -ENXIO;
	/* KVM looks at the slot number, then at the page number, then for the slot. */
	r = find_logged(vm, log->slot, &slot);
	if (r == -EINVAL || log->first_page % 64)
		return -EINVAL;
	if (r)
		return r;
	if (!valid_range(slot, log))
		return -EINVAL;
	bits = malloc(words * 8 + 1);
	if (!bits)
		return -ENOMEM;
	r = kvm_copy_in(bits, (unsigned long)log->dirty_bitmap, words * 8);
	for (size_t i = 0; !r && i < words; i++)
		if (bits[i] && (atomic_fetch_and(&slot->dirty[log->first_page / 64 + i], ~bits[i]) & bits[i]))
			any = true;
	if (any)
		kvm_vm_sync_vcpus(vm, KVM_SYNC_DIRTY);
	free(bits);
	return r;
}

int kvm_clear_dirty_log(struct vm *vm, const struct kvm_clear_dirty_log *log)
{
	int r;

	pthread_mutex_lock(&vm->slots_lock);
	r = clear_log(vm, log);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}
