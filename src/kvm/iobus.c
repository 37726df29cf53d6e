/* SPDX-License-Identifier: MIT */
/*
 * What a guest's write to a port or to device memory may end in without an
 * exit: an eventfd (KVM_IOEVENTFD), or the ring of coalesced writes.
 *
 * vCPUs read one immutable snapshot.  A change copies it, publishes the copy,
 * waits until no vCPU can be reading the old one, and frees that.
 */
#include "kvm/iobus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/memfd.h"

/* Linux allows as many devices on a bus; ioeventfds do not count. */
#define ZONES_MAX 1000
/* KVM_COALESCED_MMIO_MAX, which needs a PAGE_SIZE that user space does not have. */
#define RING_SIZE ((GUEST_PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

_Static_assert(sizeof(struct kvm_ioeventfd) == 64, "UAPI");
_Static_assert(sizeof(struct kvm_coalesced_mmio_zone) == 16, "UAPI");
_Static_assert(sizeof(struct kvm_coalesced_mmio) == 24, "UAPI");

struct ioeventfd {
	uint64_t addr, datamatch, eventfd_id;
	uint32_t len;           /* 0: any */
	uint8_t bus;            /* enum kvm_bus */
	bool wildcard;          /* no datamatch */
	int fd;                 /* our duplicate */
};

struct kvm_io_bus {
	unsigned int nevents, nzones;
	struct ioeventfd *event;        /* sorted by bus, then addr; both arrays live behind this struct */
	struct kvm_coalesced_mmio_zone *zone;
};

static struct kvm_io_bus *alloc_bus(unsigned int nevents, unsigned int nzones)
{
	struct kvm_io_bus *b = calloc(1, sizeof(*b) + nevents * sizeof(b->event[0]) +
				      nzones * sizeof(b->zone[0]));

	if (b) {
		b->event = (void *)(b + 1);
		b->zone = (void *)(b->event + nevents);
	}
	return b;
}

/* memcpy() of @n elements of @size bytes, where an empty array may be NULL. */
static void copy(void *dst, const void *src, unsigned int n, size_t size)
{
	if (n)
		memcpy(dst, src, n * size);
}

/* The snapshot to change; slots_lock held. */
static const struct kvm_io_bus *current(struct vm *vm)
{
	static const struct kvm_io_bus none;
	const struct kvm_io_bus *b = atomic_load(&vm->bus);

	return b ? b : &none;
}

static void publish(struct vm *vm, struct kvm_io_bus *next)
{
	struct kvm_io_bus *old = atomic_exchange(&vm->bus, next);

	kvm_vm_sync_vcpus(vm, KVM_SYNC_QUIESCE);
	free(old);
}

void kvm_bus_destroy(struct vm *vm)
{
	struct kvm_io_bus *b = atomic_load(&vm->bus);

	for (unsigned int i = 0; b && i < b->nevents; i++)
		close(b->event[i].fd);
	free(b);
}

/* --- the guest's side --- */

static int compare_place(enum kvm_bus bus, uint64_t addr, const struct ioeventfd *e)
{
	if (bus != e->bus)
		return bus < e->bus ? -1 : 1;
	return addr < e->addr ? -1 : addr > e->addr;
}

/* Index of the first event at or after the place. */
static unsigned int lower_bound(const struct kvm_io_bus *b, enum kvm_bus bus, uint64_t addr)
{
	unsigned int lo = 0, hi = b->nevents;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (compare_place(bus, addr, &b->event[mid]) > 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool event_matches(const struct ioeventfd *e, unsigned int len, const void *data)
{
	uint64_t value = 0;

	if (!e->len)
		return true;
	if (e->len != len)
		return false;
	if (e->wildcard)
		return true;
	memcpy(&value, data, len);
	return value == e->datamatch;
}

bool kvm_ioeventfd_write(struct vm *vm, enum kvm_bus bus, uint64_t addr, unsigned int len, const void *data)
{
	const struct kvm_io_bus *b = atomic_load_explicit(&vm->bus, memory_order_acquire);

	if (!b || len > 8)
		return false;
	for (unsigned int i = lower_bound(b, bus, addr);
	     i < b->nevents && !compare_place(bus, addr, &b->event[i]); i++) {
		if (event_matches(&b->event[i], len, data)) {
			host_eventfd_signal(b->event[i].fd);
			kvm_stat_add(&vm->stats, KVM_VM_STAT_IOEVENTFD_SIGNALS, 1);
			return true;
		}
	}
	return false;
}

/* Puts a write into the ring; false where it is full.  `first` is the client's, `last` ours, both in its memory. */
static bool coalesce(struct vm *vm, uint64_t addr, unsigned int len, const void *data, bool pio)
{
	struct kvm_coalesced_mmio_ring *ring = vm->ring;
	struct kvm_coalesced_mmio *slot;
	uint32_t first, last;
	bool room;

	if (!ring)
		return false;
	pthread_mutex_lock(&vm->ring_lock);
	last = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
	first = __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE);
	room = last < RING_SIZE && (last + 1) % RING_SIZE != first;
	if (room) {
		slot = &ring->coalesced_mmio[last];
		slot->phys_addr = addr;
		slot->len = len;
		slot->pio = pio;
		memcpy(slot->data, data, len);
		__atomic_store_n(&ring->last, (last + 1) % (uint32_t)RING_SIZE, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&vm->ring_lock);
	return room;
}

static bool in_zone(const struct kvm_coalesced_mmio_zone *z, uint64_t addr, uint64_t len)
{
	return addr + len >= addr && addr >= z->addr && addr + len <= z->addr + z->size;
}

bool kvm_bus_write(struct vm *vm, enum kvm_bus bus, uint64_t addr, unsigned int len, const void *data)
{
	const struct kvm_io_bus *b = atomic_load_explicit(&vm->bus, memory_order_acquire);

	if (!b || len > 8)
		return false;
	if (b->nevents && kvm_ioeventfd_write(vm, bus, addr, len, data))
		return true;
	for (unsigned int i = 0; i < b->nzones; i++)
		if ((b->zone[i].pio != 0) == (bus == KVM_BUS_PIO) && in_zone(&b->zone[i], addr, len))
			return coalesce(vm, addr, len, data, bus == KVM_BUS_PIO);
	return false;
}

/* --- KVM_IOEVENTFD, api.rst 4.59 --- */

/* Would one write fire both? */
static bool collide(const struct ioeventfd *a, const struct ioeventfd *b)
{
	if (a->bus != b->bus || a->addr != b->addr)
		return false;
	if (!a->len || !b->len)
		return true;
	return a->len == b->len && (a->wildcard || b->wildcard || a->datamatch == b->datamatch);
}

static int insert_event(struct vm *vm, const struct ioeventfd *e)
{
	const struct kvm_io_bus *b = current(vm);
	unsigned int at = lower_bound(b, e->bus, e->addr);
	struct kvm_io_bus *next;

	for (unsigned int i = at; i < b->nevents && !compare_place(e->bus, e->addr, &b->event[i]); i++)
		if (collide(&b->event[i], e))
			return -EEXIST;
	next = alloc_bus(b->nevents + 1, b->nzones);
	if (!next)
		return -ENOMEM;
	next->nevents = b->nevents + 1;
	next->nzones = b->nzones;
	copy(next->event, b->event, at, sizeof(*e));
	next->event[at] = *e;
	copy(next->event + at + 1, b->event + at, b->nevents - at, sizeof(*e));
	copy(next->zone, b->zone, b->nzones, sizeof(next->zone[0]));
	publish(vm, next);
	return 0;
}

static int remove_event(struct vm *vm, const struct ioeventfd *e)
{
	const struct kvm_io_bus *b = current(vm);
	unsigned int i = lower_bound(b, e->bus, e->addr);
	struct kvm_io_bus *next;
	int fd;

	for (; i < b->nevents && !compare_place(e->bus, e->addr, &b->event[i]); i++) {
		const struct ioeventfd *o = &b->event[i];

		if (o->eventfd_id == e->eventfd_id && o->len == e->len && o->wildcard == e->wildcard &&
		    (o->wildcard || o->datamatch == e->datamatch))
			goto found;
	}
	return -ENOENT;
found:
	next = alloc_bus(b->nevents - 1, b->nzones);
	if (!next)
		return -ENOMEM;
	fd = b->event[i].fd;
	next->nevents = b->nevents - 1;
	next->nzones = b->nzones;
	copy(next->event, b->event, i, sizeof(*e));
	copy(next->event + i, b->event + i + 1, next->nevents - i, sizeof(*e));
	copy(next->zone, b->zone, b->nzones, sizeof(next->zone[0]));
	publish(vm, next);
	close(fd);
	return 0;
}

static int assign_event(struct vm *vm, struct ioeventfd *e, int client_fd)
{
	int r;

	e->fd = host_eventfd_dup(client_fd, &e->eventfd_id);
	if (e->fd < 0)
		return e->fd;
	pthread_mutex_lock(&vm->slots_lock);
	r = insert_event(vm, e);
	pthread_mutex_unlock(&vm->slots_lock);
	if (r)
		close(e->fd);
	return r;
}

static int check_event(const struct kvm_ioeventfd *args)
{
	if (args->len > 8 || (args->len & (args->len - 1)))
		return -EINVAL;
	if (args->addr + args->len < args->addr)
		return -EINVAL;
	/* Only s390 has the virtio-ccw bus; elsewhere the flag is known, and no guest can write there. */
	if (args->flags & ~(uint32_t)KVM_IOEVENTFD_VALID_FLAG_MASK)
		return -EINVAL;
	if (!args->len && (args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH))
		return -EINVAL;
	return 0;
}

int kvm_ioeventfd(struct vm *vm, const struct kvm_ioeventfd *args)
{
	struct ioeventfd e = {
		.addr = args->addr,
		.len = args->len,
		.datamatch = args->datamatch,
		.wildcard = !(args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH),
		.bus = args->flags & KVM_IOEVENTFD_FLAG_PIO ? KVM_BUS_PIO :
		       args->flags & KVM_IOEVENTFD_FLAG_VIRTIO_CCW_NOTIFY ? KVM_BUS_CCW : KVM_BUS_MMIO,
	};
	int r;

	if (!(args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)) {
		r = check_event(args);
		return r ? r : assign_event(vm, &e, args->fd);
	}
	r = host_eventfd_id(args->fd, &e.eventfd_id);
	if (r)
		return r;
	pthread_mutex_lock(&vm->slots_lock);
	r = remove_event(vm, &e);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}

/* --- coalesced zones, api.rst 4.116 --- */

static int add_zone(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
	const struct kvm_io_bus *b = current(vm);
	struct kvm_io_bus *next;

	if (b->nzones >= ZONES_MAX)
		return -ENOSPC;
	next = alloc_bus(b->nevents, b->nzones + 1);
	if (!next)
		return -ENOMEM;
	next->nevents = b->nevents;
	copy(next->event, b->event, b->nevents, sizeof(next->event[0]));
	copy(next->zone, b->zone, b->nzones, sizeof(next->zone[0]));
	next->zone[b->nzones] = *zone;
	next->nzones = b->nzones + 1;
	publish(vm, next);
	return 0;
}

/* Every zone of the same kind that holds all of @zone goes; none is fine too. */
static int remove_zones(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone)
{
	const struct kvm_io_bus *b = current(vm);
	struct kvm_io_bus *next = alloc_bus(b->nevents, b->nzones);

	if (!next)
		return -ENOMEM;
	next->nevents = b->nevents;
	copy(next->event, b->event, b->nevents, sizeof(next->event[0]));
	for (unsigned int i = 0; i < b->nzones; i++)
		if (b->zone[i].pio != zone->pio || !in_zone(&b->zone[i], zone->addr, zone->size))
			next->zone[next->nzones++] = b->zone[i];
	publish(vm, next);
	return 0;
}

int kvm_coalesced_zone(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone, bool add)
{
	int r;

	if (zone->pio > 1)
		return -EINVAL;
	pthread_mutex_lock(&vm->slots_lock);
	r = add ? add_zone(vm, zone) : remove_zones(vm, zone);
	pthread_mutex_unlock(&vm->slots_lock);
	return r;
}
