/* SPDX-License-Identifier: MIT */
/*
 * A virtual machine.
 *
 * Locks, outermost first: a vCPU's mutex, vm->lock, slots_lock, irqfd_lock,
 * ack_lock, irq_lock.  A thread that has a vCPU entered takes only ack_lock and irq_lock:
 * whoever holds the others may be waiting for it (kvm_vm_sync_vcpus()).
 *
 * What vCPUs read without a lock (memory slots, the I/O bus) are snapshots,
 * replaced whole.  A vCPU may use one only between kvm_vcpu_enter() and
 * kvm_vcpu_leave(), and not across kvm_vcpu_sync() or kvm_vcpu_block(); an old
 * one is freed after kvm_vm_sync_vcpus().
 */
#ifndef KVM_VM_H
#define KVM_VM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "host/service.h"
#include "kvm/arch.h"
#include "kvm/memslot.h"
#include "kvm/object.h"
#include "kvm/stats.h"

#define KVM_MAX_VCPUS 1024              /* as Linux 6.1 on x86 */
#define KVM_MAX_VCPU_IDS 4096
#define KVM_MAX_IRQ_ROUTES 4096
#define KVM_ADDRESS_SPACES_MAX 2
#define KVM_USER_MEM_SLOTS 32764        /* SHRT_MAX less three that KVM keeps */
#define KVM_MEM_MAX_NR_PAGES ((1UL << 31) - 1)
#define KVM_ROUTES_PER_GSI 3            /* at most one for each irqchip */

/* Who raises a line: levels of one GSI are or'ed over their sources. */
enum kvm_irq_source {
	KVM_IRQ_SOURCE_USER = 0,        /* KVM_IRQ_LINE, irqfds */
	KVM_IRQ_SOURCE_RESAMPLE = 1,    /* irqfds with a resamplefd */
	KVM_IRQ_SOURCE_ARCH = 2,        /* the architecture's own devices, from here on */
};

struct kvm_irq_routes;
struct kvm_io_bus;
struct kvm_irqfd_item;
struct kvm_resampler;

/* Called when the guest acknowledges an interrupt of @gsi; list in vm->acks. */
struct kvm_irq_ack {
	uint32_t gsi;
	void (*fn)(struct kvm_irq_ack *ack);
	struct kvm_irq_ack *next;
};

struct vm {
	struct kvm_object obj;
	_Atomic uint32_t refs;          /* descriptors of the VM, its vCPUs, statistics; calls under way */
	const struct kvm_arch *arch;
	void *arch_data;                /* the architecture's, from arch->vm_create() */
	unsigned long type;
	atomic_bool dead;               /* beyond repair: every ioctl gives -EIO */

	pthread_mutex_t lock;           /* creation of vCPUs, capabilities, the architecture's setup */
	unsigned int created_vcpus;     /* under lock; counts one being created too */
	_Atomic unsigned int nvcpus;    /* vcpu[0 .. nvcpus) are set */
	struct vcpu *vcpu[KVM_MAX_VCPUS];

	pthread_mutex_t slots_lock;
	_Atomic(struct memslots *) slots[KVM_ADDRESS_SPACES_MAX];
	uint64_t slots_generation;
	bool populates;                 /* all of a slot's memory is made resident with the slot */
	uint32_t dirty_ring_bytes;      /* KVM_CAP_DIRTY_LOG_RING: of each vCPU; 0: bitmaps */
	uint64_t manual_dirty_log;      /* KVM_DIRTY_LOG_* of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 */

	/* The I/O bus: ioeventfds and coalesced zones; writers hold slots_lock. */
	_Atomic(struct kvm_io_bus *) bus;
	pthread_mutex_t ring_lock;
	/* The ring of coalesced writes: the third page of the first vCPU, since one page cannot belong to
	 * several memfds.  Clients map it through the first vCPU. */
	struct kvm_coalesced_mmio_ring *ring;

	/* Waiting for vCPUs: see vcpu.h. */
	_Atomic uint64_t sync_gen;
	_Atomic uint32_t sync_waiters;
	_Atomic uint32_t sync_word;

	pthread_mutex_t irq_lock;       /* routes; a leaf */
	struct kvm_irq_routes *routes;
	pthread_mutex_t ack_lock;       /* recursive */
	struct kvm_irq_ack *acks;
	pthread_mutex_t irqfd_lock;
	struct kvm_irqfd_item *irqfds;
	struct kvm_resampler *resamplers;

	struct host_service service;    /* the VM's thread; started when first needed */
	struct kvm_stats stats;
};

/** kvm_vm_create - a VM of @arch; returns its descriptor or -errno. */
int kvm_vm_create(const struct kvm_arch *arch, unsigned long type);

/** kvm_vm_get, kvm_vm_put - a reference; the last put frees the VM, its vCPUs and its thread. */
void kvm_vm_get(struct vm *vm);
void kvm_vm_put(struct vm *vm);

/** kvm_vm_vcpu_by_id - the vCPU with this id, or NULL.  Any thread. */
struct vcpu *kvm_vm_vcpu_by_id(struct vm *vm, uint32_t id);

/** kvm_for_each_vcpu - over vCPUs that are fully set up.  Any thread. */
#define kvm_for_each_vcpu(i, v, vm) \
	for ((i) = 0; (i) < atomic_load(&(vm)->nvcpus) && ((v) = (vm)->vcpu[i], 1); (i)++)

/* What is pending for kvm_vcpu_sync(), and what arch->vcpu_sync() is told. */
enum kvm_sync {
	KVM_SYNC_SLOTS = 1 << 0,        /* vcpu->slots[] changed: drop every translation, look again */
	KVM_SYNC_DIRTY = 1 << 1,        /* a dirty log was read: the next write to each page must be seen */
	KVM_SYNC_QUIESCE = 1 << 2,      /* nothing to do: some other snapshot is about to be freed */
};

/**
 * kvm_vm_sync_vcpus - adds @what (KVM_SYNC_*) to every vCPU's pending work and
 * returns when each has done it, or will before it uses guest memory again.
 * Any thread that is not itself inside a vCPU; slots_lock may be held.
 */
void kvm_vm_sync_vcpus(struct vm *vm, uint32_t what);

/**
 * kvm_vm_slots - the snapshot of address space @as for a thread that is no
 * vCPU; slots_lock must be held as long as it is used.
 */
static inline struct memslots *kvm_vm_slots(struct vm *vm, unsigned int as)
{
	return atomic_load_explicit(&vm->slots[as], memory_order_acquire);
}

/**
 * kvm_vm_read_guest, kvm_vm_write_guest - address space 0, for threads that
 * have no vCPU entered.  Take slots_lock.  0; -EFAULT outside slots or
 * where the memory is gone.  Writes mark dirty, and drop code they overlap by
 * way of arch->memory_written.
 */
int kvm_vm_read_guest(struct vm *vm, gpa_t gpa, void *dst, size_t n);
int kvm_vm_write_guest(struct vm *vm, gpa_t gpa, const void *src, size_t n);

/* --- the I/O bus (iobus.c) --- */

enum kvm_bus { KVM_BUS_MMIO, KVM_BUS_PIO, KVM_BUS_CCW };

/**
 * kvm_bus_write - offers a guest's write to ioeventfds and coalesced zones.
 * @data: @len bytes.  Only by a vCPU that is entered.  Returns true if it was
 * taken: the guest goes on without an exit.
 */
bool kvm_bus_write(struct vm *vm, enum kvm_bus bus, uint64_t addr, unsigned int len, const void *data);

/**
 * kvm_bus_destroy, kvm_irqfds_destroy, kvm_routing_destroy - at the VM's end,
 * its thread and vCPUs stopped.
 */
void kvm_bus_destroy(struct vm *vm);
void kvm_irqfds_destroy(struct vm *vm);
void kvm_routing_destroy(struct vm *vm);

/** kvm_slots_init, kvm_slots_destroy - empty address spaces: 0 or -ENOMEM; and their end. */
int kvm_slots_init(struct vm *vm);
void kvm_slots_destroy(struct vm *vm);

/** kvm_ioeventfd_write - kvm_bus_write() for ioeventfds alone. */
bool kvm_ioeventfd_write(struct vm *vm, enum kvm_bus bus, uint64_t addr, unsigned int len, const void *data);

/* --- interrupt routing (irqroute.c) --- */

/**
 * kvm_set_irq - sets the line @gsi as seen from @source (0: low) through every
 * route it has.  Any thread; may call arch->set_irq and acknowledgements.
 * Returns < 0: ignored (masked, or no route), 0: coalesced, > 0: delivered to
 * so many vCPUs.
 */
int kvm_set_irq(struct vm *vm, enum kvm_irq_source source, uint32_t gsi, int level, bool line_status);

/**
 * kvm_set_routing - replaces the routes.  @e: @n entries, copied.
 * 0; -EINVAL, -ENOMEM.  As KVM_SET_GSI_ROUTING; for the default routes too.
 */
int kvm_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *e, unsigned int n);

/** kvm_routes_of - copies the routes of @gsi; returns how many. */
unsigned int kvm_routes_of(struct vm *vm, uint32_t gsi, struct kvm_irq_routing_entry e[KVM_ROUTES_PER_GSI]);

/** kvm_for_each_route - calls @fn for every route, under irq_lock: @fn takes no lock and sets no line. */
void kvm_for_each_route(struct vm *vm, void (*fn)(void *ptr, const struct kvm_irq_routing_entry *e), void *ptr);

/** kvm_irq_gsi_of - the GSI that @pin of @irqchip has, or -1. */
int kvm_irq_gsi_of(struct vm *vm, unsigned int irqchip, unsigned int pin);

/**
 * kvm_irq_ack_register, kvm_irq_ack_unregister - @ack stays the caller's.
 * After unregister no call is under way, but one further up this very stack.
 */
void kvm_irq_ack_register(struct vm *vm, struct kvm_irq_ack *ack);
void kvm_irq_ack_unregister(struct vm *vm, struct kvm_irq_ack *ack);

/**
 * kvm_irq_acked - the guest acknowledged @pin of @irqchip: calls who
 * registered.  They may set lines, so no lock of a chip may be held.
 */
void kvm_irq_acked(struct vm *vm, unsigned int irqchip, unsigned int pin);
/** kvm_irq_acked_gsi - the same of what leads to no pin. */
void kvm_irq_acked_gsi(struct vm *vm, uint32_t gsi);

/** kvm_irq_has_ack - somebody wants acknowledgements of @pin of @irqchip. */
bool kvm_irq_has_ack(struct vm *vm, unsigned int irqchip, unsigned int pin);

#endif
