/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: KVM_SET_USER_MEMORY_REGION.  Each change builds a new snapshot
 * of the address space, publishes it, waits for the vCPUs and frees what only
 * the old one had; see memslot.h and vm.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "host/fault.h"
#include "host/populate.h"
#include "kvm/slots.h"

/* Addresses that user space can have with 4-level paging. */
#define USER_LIMIT 0x7ffffffff000ULL

_Static_assert(sizeof(struct kvm_userspace_memory_region) == 32, "UAPI");

static struct memslots *alloc_snapshot(struct vm *vm, unsigned int chunks)
{
	struct memslots *s = calloc(1, sizeof(*s) + chunks * sizeof(s->at[0]));

	if (s)
		s->generation = ++vm->slots_generation;
	return s;
}

int kvm_slots_init(struct vm *vm)
{
	for (unsigned int as = 0; as < vm->arch->address_spaces; as++) {
		struct memslots *s = alloc_snapshot(vm, 0);

		if (s)
			s->ids = calloc(KVM_USER_MEM_SLOTS, sizeof(s->ids[0]));
		atomic_store(&vm->slots[as], s);
		if (!s || !s->ids) {
			kvm_slots_destroy(vm);
			return -ENOMEM;
		}
	}
	return 0;
}

void kvm_slots_destroy(struct vm *vm)
{
	for (unsigned int as = 0; as < KVM_ADDRESS_SPACES_MAX; as++) {
		struct memslots *s = atomic_load(&vm->slots[as]);
		const struct memslot *slot;
		unsigned int n, i;

		if (!s)
			continue;
		memslots_for_each(slot, n, i, s) {
			free((void *)slot->dirty);
			free((void *)slot->touched);
		}
		for (n = 0; n < s->chunks; n++)
			free(s->at[n].chunk);
		free(s->ids);
		free(s);
		atomic_store(&vm->slots[as], NULL);
	}
}

const struct memslot *kvm_slot_by_id(const struct memslots *s, unsigned int id)
{
	gfn_t base = id < KVM_USER_MEM_SLOTS ? s->ids[id] : 0;

	return base ? memslots_find(s, base - 1) : NULL;
}

static bool overlaps_another(const struct memslots *s, const struct memslot *new)
{
	unsigned int n = memslots_chunks_upto(s, new->base_gfn), i;

	/* The slots are disjoint, so of those below only the nearest may reach up to here. */
	n -= n > 0;
	i = n < s->chunks ? memslot_chunk_upto(s->at[n].chunk, new->base_gfn) : 0;
	i -= i > 0;
	for (; n < s->chunks; n++, i = 0) {
		for (; i < s->at[n].chunk->count; i++) {
			const struct memslot *o = &s->at[n].chunk->slot[i];

			if (o->base_gfn >= new->base_gfn + new->npages)
				return false;
			if (o->id != new->id && new->base_gfn < o->base_gfn + o->npages)
				return true;
		}
	}
	return false;
}

/* --- a new snapshot --- */

/* One slot may go and one come: at most a chunk for each, and one more where the second is split. */
#define EDIT_CHUNKS 3

struct edit {
	struct memslots *next;
	struct memslot_chunk *fresh[EDIT_CHUNKS], *dropped[EDIT_CHUNKS];
	unsigned int nfresh, ndropped;
};

static struct memslot_chunk *fresh_chunk(struct edit *e)
{
	struct memslot_chunk *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->count = 0;
	e->fresh[e->nfresh++] = c;
	return c;
}

/* The chunk @n as one that may be written: a copy, unless it is one. */
static struct memslot_chunk *own_chunk(struct edit *e, unsigned int n)
{
	struct memslot_chunk *c = e->next->at[n].chunk, *copy;

	for (unsigned int i = 0; i < e->nfresh; i++)
		if (e->fresh[i] == c)
			return c;
	copy = fresh_chunk(e);
	if (!copy)
		return NULL;
	*copy = *c;
	e->dropped[e->ndropped++] = c;
	e->next->at[n].chunk = copy;
	return copy;
}

static void place_chunk(struct memslots *s, unsigned int n, struct memslot_chunk *c)
{
	memmove(s->at + n + 1, s->at + n, (s->chunks - n) * sizeof(s->at[0]));
	s->chunks++;
	s->at[n].chunk = c;
	s->at[n].first = c->slot[0].base_gfn;
}

static int remove_slot(struct edit *e, const struct memslot *old)
{
	struct memslots *s = e->next;
	unsigned int n = memslots_chunks_upto(s, old->base_gfn) - 1, i;
	struct memslot_chunk *c = s->at[n].chunk;

	if (c->count == 1) {
		e->dropped[e->ndropped++] = c;
		s->chunks--;
		memmove(s->at + n, s->at + n + 1, (s->chunks - n) * sizeof(s->at[0]));
		return 0;
	}
	c = own_chunk(e, n);
	if (!c)
		return -ENOMEM;
	i = memslot_chunk_upto(c, old->base_gfn);
	memmove(c->slot + i - 1, c->slot + i, (c->count - i) * sizeof(c->slot[0]));
	c->count--;
	s->at[n].first = c->slot[0].base_gfn;
	return 0;
}

/* The upper half of the chunk @n becomes one of its own. */
static int split_chunk(struct edit *e, unsigned int n)
{
	struct memslot_chunk *c = own_chunk(e, n), *upper = c ? fresh_chunk(e) : NULL;

	if (!upper)
		return -ENOMEM;
	upper->count = c->count / 2;
	c->count -= upper->count;
	memcpy(upper->slot, c->slot + c->count, upper->count * sizeof(c->slot[0]));
	place_chunk(e->next, n + 1, upper);
	return 0;
}

/* A chunk of its own for a slot behind all others: most clients go upwards. */
static int append_slot(struct edit *e, const struct memslot *new)
{
	struct memslot_chunk *c = fresh_chunk(e);

	if (!c)
		return -ENOMEM;
	c->slot[c->count++] = *new;
	place_chunk(e->next, e->next->chunks, c);
	return 0;
}

static int insert_slot(struct edit *e, const struct memslot *new)
{
	struct memslots *s = e->next;
	unsigned int n = memslots_chunks_upto(s, new->base_gfn), i;
	struct memslot_chunk *c;

	n -= n > 0;
	if (n == s->chunks)
		return append_slot(e, new);
	if (s->at[n].chunk->count == MEMSLOT_CHUNK) {
		if (n == s->chunks - 1 && memslot_chunk_upto(s->at[n].chunk, new->base_gfn) == MEMSLOT_CHUNK)
			return append_slot(e, new);
		if (split_chunk(e, n))
			return -ENOMEM;
		n += s->at[n + 1].first <= new->base_gfn;
	}
	c = own_chunk(e, n);
	if (!c)
		return -ENOMEM;
	i = memslot_chunk_upto(c, new->base_gfn);
	memmove(c->slot + i + 1, c->slot + i, (c->count - i) * sizeof(c->slot[0]));
	c->slot[i] = *new;
	c->count++;
	s->at[n].first = c->slot[0].base_gfn;
	return 0;
}

/* The snapshot @s without @old, if any, and with @new, if any. */
static int make_snapshot(struct vm *vm, const struct memslots *s, const struct memslot *old,
			 const struct memslot *new, struct edit *e)
{
	int r = 0;

	memset(e, 0, sizeof(*e));
	e->next = alloc_snapshot(vm, s->chunks + 1);
	if (!e->next)
		return -ENOMEM;
	e->next->ids = s->ids;
	e->next->chunks = s->chunks;
	memcpy(e->next->at, s->at, s->chunks * sizeof(s->at[0]));
	if (old)
		r = remove_slot(e, old);
	if (!r && new)
		r = insert_slot(e, new);
	if (!r)
		return 0;
	while (e->nfresh)
		free(e->fresh[--e->nfresh]);
	free(e->next);
	return r;
}

/* Makes it the one that is looked at. */
static void publish(struct vm *vm, unsigned int as, const struct memslot *old, const struct memslot *new,
		    const struct edit *e)
{
	if (old)
		e->next->ids[old->id] = 0;
	if (new)
		e->next->ids[new->id] = new->base_gfn + 1;
	atomic_store(&vm->slots[as], e->next);
	kvm_vm_sync_vcpus(vm, KVM_SYNC_SLOTS);
}

/* --- changes --- */

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

/* What has been used begins anew wherever the slot shows its memory at another place. */
static int set_touched_bitmap(const struct memslot *old, struct memslot *new, enum kvm_slot_change change)
{
	if (change == KVM_SLOT_FLAGS)
		new->touched = old->touched;
	else
		new->touched = calloc(1, kvm_dirty_bytes(new));
	return new->touched ? 0 : -ENOMEM;
}

/*
 * All of a slot's memory, before any vCPU sees it.  What is mapped but is not such memory (a device's registers)
 * stays as it is.
 */
static int populate(struct vm *vm, const struct memslot *new)
{
	size_t bytes = new->npages << GUEST_PAGE_SHIFT;
	bool write = !memslot_readonly(new);
	int r = host_populate(new->hva, bytes, write);

	if (r == -EINVAL && write)
		r = host_populate(new->hva, bytes, false);
	if (r)
		return r == -EINVAL ? 0 : r;
	memset((void *)new->touched, 0xff, kvm_dirty_bytes(new));
	kvm_stat_add(&vm->stats, KVM_VM_STAT_PAGES_POPULATED, new->npages);
	return 0;
}

/* The bitmaps that @new has and @old has not. */
static void free_bitmaps(const struct memslot *new, const struct memslot *old)
{
	if (!new)
		return;
	if (!old || new->dirty != old->dirty)
		free((void *)new->dirty);
	if (!old || new->touched != old->touched)
		free((void *)new->touched);
}

static int prepare(struct vm *vm, const struct memslot *old, struct memslot *new, enum kvm_slot_change change)
{
	int r = 0;

	if (vm->arch->slot_prepare)
		r = vm->arch->slot_prepare(vm, old, new, change);
	if (!r && new)
		r = set_dirty_bitmap(vm, old, new);
	if (!r && new)
		r = set_touched_bitmap(old, new, change);
	if (!r && vm->populates && new && change != KVM_SLOT_FLAGS)
		r = populate(vm, new);
	return r;
}

/* Replaces @old by @new (either may be NULL) in the address space; all checks are made.  slots_lock held. */
static int change_slot(struct vm *vm, unsigned int as, const struct memslot *old, struct memslot *new,
		       enum kvm_slot_change change)
{
	struct memslots *cur = kvm_vm_slots(vm, as);
	struct memslot gone = { 0 };
	struct edit e;
	int r = prepare(vm, old, new, change);

	if (!r)
		r = make_snapshot(vm, cur, old, new, &e);
	if (r) {
		free_bitmaps(new, old);
		return r;
	}
	if (old)
		gone = *old;
	publish(vm, as, old, new, &e);
	if (vm->arch->slot_commit)
		vm->arch->slot_commit(vm, old, new, change);
	free_bitmaps(&gone, new);
	/* @old stands in one of them. */
	while (e.ndropped)
		free(e.dropped[--e.ndropped]);
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
