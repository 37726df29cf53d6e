/* SPDX-License-Identifier: MIT */
#include "kvm/dirty_ring.h"

#include <errno.h>

#include "kvm/slots.h"
#include "kvm/vcpu.h"

_Static_assert(sizeof(struct kvm_dirty_gfn) == 16, "UAPI");

int kvm_dirty_ring_enable(struct vm *vm, uint64_t bytes)
{
	int r = -EINVAL;

	if (!bytes || (bytes & (bytes - 1)))
		return -EINVAL;
	if (bytes < KVM_DIRTY_RING_RESERVED * sizeof(struct kvm_dirty_gfn) || bytes < GUEST_PAGE_SIZE)
		return -EINVAL;
	if (bytes > KVM_DIRTY_RING_MAX_BYTES)
		return -E2BIG;
	pthread_mutex_lock(&vm->lock);
	/* Once, and before the first vCPU. */
	if (!vm->dirty_ring_bytes && !vm->created_vcpus) {
		vm->dirty_ring_bytes = (uint32_t)bytes;
		r = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

/* The client wrote what the entry says: it may name anything. */
static void give_back(struct vm *vm, uint32_t slot_id, uint64_t offset)
{
	unsigned int as = slot_id >> 16, id = (uint16_t)slot_id;
	const struct memslot *slot;

	if (as >= vm->arch->address_spaces || id >= KVM_USER_MEM_SLOTS)
		return;
	slot = kvm_slot_by_id(kvm_vm_slots(vm, as), id);
	if (slot && slot->dirty && offset < slot->npages)
		memslot_clear_dirty(slot, slot->base_gfn + offset);
}

static unsigned int reset_ring(struct vm *vm, struct kvm_dirty_ring *ring)
{
	unsigned int count = 0;

	/* No further than the ring is long, whatever the client writes meanwhile. */
	for (; count < ring->size; count++) {
		struct kvm_dirty_gfn *e = kvm_dirty_ring_entry(ring, atomic_load(&ring->reset));

		if (!(__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_RESET) ||
		    atomic_load(&ring->reset) == atomic_load(&ring->next))
			break;
		give_back(vm, *(volatile uint32_t *)&e->slot, *(volatile uint64_t *)&e->offset);
		__atomic_store_n(&e->flags, 0, __ATOMIC_RELEASE);
		atomic_fetch_add(&ring->reset, 1);
	}
	return count;
}

long kvm_reset_dirty_rings(struct vm *vm)
{
	struct vcpu *vcpu;
	unsigned int i;
	long cleared = 0;

	if (!vm->dirty_ring_bytes)
		return -EINVAL;
	pthread_mutex_lock(&vm->slots_lock);
	kvm_for_each_vcpu(i, vcpu, vm)
		cleared += reset_ring(vm, &vcpu->dirty_ring);
	/* No vCPU writes to these pages unseen any more when this returns. */
	if (cleared)
		kvm_vm_sync_vcpus(vm, KVM_SYNC_DIRTY);
	kvm_stat_add(&vm->stats, KVM_VM_STAT_DIRTY_RING_PAGES, (uint64_t)cleared);
	pthread_mutex_unlock(&vm->slots_lock);
	return cleared;
}
