/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: KVM_SET_USER_MEMORY_REGION.  Each change builds a new snapshot
 * of the address space, publishes it, waits for the vCPUs and frees the old
 * one; see memslot.h and vm.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/fault.h"
#include "kvm/slots.h"

/* Addresses that user space can have with 4-level paging. */
#define USER_LIMIT 0x7ffffffff000ULL

_Static_assert(sizeof(struct kvm_userspace_memory_region) == 32, "UAPI");

static struct memslots *alloc_snapshot(struct vm *vm, unsigned int count)
{
	struct memslots *s = malloc(sizeof(*s) + count * sizeof(s->slot[0]));

	if (!s)
		return NULL;
	s->count = 0;
	s->generation = ++vm->slots_generation;
	return s;
}

int kvm_slots_init(struct vm *vm)
{
	for (unsigned int as = 0; as < vm->arch->address_spaces; as++) {
		struct memslots *s = alloc_snapshot(vm, 0);

		if (!s) {
			kvm_slots_destroy(vm);
			return -ENOMEM;
		}
		atomic_store(&vm->slots[as], s);
	}
	return 0;
}

void kvm_slots_destroy(struct vm *vm)
{
	for (unsigned int as = 0; as < KVM_ADDRESS_SPACES_MAX; as++) {
		struct memslots *s = atomic_load(&vm->slots[as]);

		for (unsigned int i = 0; s && i < s->count; i++)
			free((void *)s->slot[i].dirty);
		free(s);
		atomic_store(&vm->slots[as], NULL);
	}
}

const struct memslot *kvm_slot_by_id(const struct memslots *s, unsigned int id)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (s->slot[i].id == id)
			return &s->slot[i];
	return NULL;
}

/* The first slot at or above @gfn; s->count: none. */
static unsigned int first_from(const struct memslots *s, gfn_t gfn)
{
	unsigned int lo = 0, hi = s->count;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (s->slot[mid].base_gfn < gfn)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool overlaps_another(const struct memslots *s, const struct memslot *new)
{
	unsigned int i = first_from(s, new->base_gfn);

	/* The slots are disjoint, so of those below only the nearest may reach up to here. */
	for (i -= i > 0; i < s->count && s->slot[i].base_gfn < new->base_gfn + new->npages; i++) {
		const struct memslot *o = &s->slot[i];

		if (o->id != new->id && new->base_gfn < o->base_gfn + o->npages)
			return true;
	}
	return false;
}

/* The snapshot @s without @old, if any, and with @new, if any.  There may be 32764 slots: in whole ranges. */
static struct memslots *make_snapshot(struct vm *vm, const struct memslots *s, const struct memslot *old,
				      const struct memslot *new)
{
	struct memslots *out = alloc_snapshot(vm, s->count + 1);
	unsigned int before = old ? (unsigned int)(old - s->slot) : s->count, at;

	if (!out)
		return NULL;
	memcpy(out->slot, s->slot, before * sizeof(s->slot[0]));
	if (old)
		memcpy(out->slot + before, old + 1, (s->count - before - 1) * sizeof(s->slot[0]));
	out->count = s->count - !!old;
	if (new) {
		at = first_from(out, new->base_gfn);
		memmove(out->slot + at + 1, out->slot + at, (out->count - at) * sizeof(s->slot[0]));
		out->slot[at] = *new;
		out->count++;
	}
	return out;
}

static bool starts_dirty(const struct vm *vm)
{
	return !vm->dirty_ring_bytes && vm->manual_dirty_log & KVM_DIRTY_LOG_INITIALLY_SET;
}

/* Gives @new the dirty bitmap that its flags ask for: the old one, or a new one. */
static int set_dirty_bitmap(struct vm *vm, const struct memslot *old, struct memslot *new)
{
	size_t bytes = kvm_dirty_bytes(new);

	new->dirty = NULL;
	if (!(new->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return 0;
	if (old && old->dirty) {
		new->dirty = old->dirty;
		return 0;
	}
	new->dirty = calloc(1, bytes);
	if (!new->dirty)
		return -ENOMEM;
	if (starts_dirty(vm)) {
		memset((void *)new->dirty, 0xff, bytes);
		if (new->npages % 64)
			new->dirty[new->npages / 64] = (1ULL << (new->npages % 64)) - 1;
	}
	return 0;
}

/* Replaces @old by @new (either may be NULL) in the address space; all checks are made.  slots_lock held. */
static int change_slot(struct vm *vm, unsigned int as, const struct memslot *old, struct memslot *new,
		       enum kvm_slot_change change)
{
	struct memslots *cur = kvm_vm_slots(vm, as), *next = NULL;
	_Atomic uint64_t *unused = NULL;
	int r = 0;

	if (new)
		r = set_dirty_bitmap(vm, old, new);
	if (!r && vm->arch->slot_prepare)
		r = vm->arch->slot_prepare(vm, old, new, change);
	if (!r) {
		next = make_snapshot(vm, cur, old, new);
		r = next ? 0 : -ENOMEM;
	}
	if (r) {
		if (new && (!old || new->dirty != old->dirty))
			free((void *)new->dirty);
		return r;
	}
	if (old && old->dirty && (!new || new->dirty != old->dirty))
		unused = old->dirty;
	atomic_store(&vm->slots[as], next);
	kvm_vm_sync_vcpus(vm, KVM_SYNC_SLOTS);
	if (vm->arch->slot_commit)
		vm->arch->slot_commit(vm, old, new, change);
	free((void *)unused);
	free(cur);
	return 0;
}

/* The checks of KVM_SET_USER_MEMORY_REGION that need no look at other slots, in KVM's order. */
static int check_region(const struct vm *vm, const struct kvm_userspace_memory_region *m)
{
	if ((uint16_t)m->slot >= KVM_USER_MEM_SLOTS)
		return -EINVAL;
	if (m->flags & ~(KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY))
		return -EINVAL;
	if ((m->memory_size | m->guest_phys_addr | m->userspace_addr) & (GUEST_PAGE_SIZE - 1))
		return -EINVAL;
	if (m->userspace_addr > USER_LIMIT || m->memory_size > USER_LIMIT - m->userspace_addr)
		return -EINVAL;
	if (m->slot >> 16 >= vm->arch->address_spaces)
		return -EINVAL;
	if (m->guest_phys_addr + m->memory_size < m->guest_phys_addr)
		return -EINVAL;
	if (m->memory_size >> GUEST_PAGE_SHIFT > KVM_MEM_MAX_NR_PAGES)
		return -EINVAL;
	return 0;
}

/* The last page must have an address that guests can form. */
static bool beyond_gpa(const struct vm *vm, const struct memslot *new)
{
	unsigned int bits = vm->arch->gpa_bits;

	return bits && (new->base_gfn + new->npages - 1) >> (bits - GUEST_PAGE_SHIFT);
}

static int set_region(struct vm *vm, const struct kvm_userspace_memory_region *m)
{
	unsigned int as = m->slot >> 16;
	struct memslots *cur = kvm_vm_slots(vm, as);
	const struct memslot *old = kvm_slot_by_id(cur, (uint16_t)m->slot);
	struct memslot new = {
		.base_gfn = gpa_to_gfn(m->guest_phys_addr),
		.npages = m->memory_size >> GUEST_PAGE_SHIFT,
		.hva = (uint8_t *)(uintptr_t)m->userspace_addr,
		.flags = m->flags,
		.id = (uint16_t)m->slot,
		.as_id = (uint16_t)as,
	};
	enum kvm_slot_change change = KVM_SLOT_CREATE;

	if (!m->memory_size)
		return old ? change_slot(vm, as, old, NULL, KVM_SLOT_DELETE) : -EINVAL;
	if (old) {
		if (new.hva != old->hva || new.npages != old->npages ||
		    ((new.flags ^ old->flags) & KVM_MEM_READONLY))
			return -EINVAL;
		if (new.base_gfn == old->base_gfn && new.flags == old->flags)
			return 0;
		change = new.base_gfn != old->base_gfn ? KVM_SLOT_MOVE : KVM_SLOT_FLAGS;
	}
	if (change != KVM_SLOT_FLAGS && overlaps_another(cur, &new))
		return -EEXIST;
	if (beyond_gpa(vm, &new))
		return -EINVAL;
	return change_slot(vm, as, old, &new, change);
}

int kvm_set_memory_region(struct vm *vm, const struct kvm_userspace_memory_region *m)
{
	int r = check_region(vm, m);

	if (r)
		return r;
	pthread_mutex_lock(&vm->slots_lock);
	r = set_region(vm, m);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}

/* --- guest memory for threads that are no vCPU --- */

/* One piece within a page. */
static int access_piece(struct vm *vm, gpa_t gpa, void *buf, size_t n, bool write)
{
	const struct memslot *slot = memslots_find(kvm_vm_slots(vm, 0), gpa_to_gfn(gpa));
	uint8_t *hva;

	if (!slot || (write && (slot->flags & KVM_MEM_READONLY)))
		return -EFAULT;
	hva = memslot_hva(slot, gpa_to_gfn(gpa)) + gpa % GUEST_PAGE_SIZE;
	if (!write)
		return host_copy(buf, hva, n);
	if (host_copy(hva, buf, n))
		return -EFAULT;
	/* A ring belongs to a vCPU, and none runs here; as in KVM. */
	if (!vm->dirty_ring_bytes)
		memslot_mark_dirty(slot, gpa_to_gfn(gpa));
	return 0;
}

static int access_guest(struct vm *vm, gpa_t gpa, void *buf, size_t n, bool write)
{
	gpa_t start = gpa;
	size_t total = n;
	int r = 0;

	pthread_mutex_lock(&vm->slots_lock);
	while (n && !r) {
		size_t piece = GUEST_PAGE_SIZE - gpa % GUEST_PAGE_SIZE;

		if (piece > n)
			piece = n;
		r = access_piece(vm, gpa, buf, piece, write);
		buf = (char *)buf + piece;
		gpa += piece;
		n -= piece;
	}
	if (write && vm->arch->memory_written)
		vm->arch->memory_written(vm, start, total);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}

int kvm_vm_read_guest(struct vm *vm, gpa_t gpa, void *dst, size_t n)
{
	return access_guest(vm, gpa, dst, n, false);
}

int kvm_vm_write_guest(struct vm *vm, gpa_t gpa, const void *src, size_t n)
{
	return access_guest(vm, gpa, (void *)src, n, true);
}
