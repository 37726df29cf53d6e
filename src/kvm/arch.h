/* SPDX-License-Identifier: MIT */
/*
 * What an architecture gives to src/kvm: one table of functions and of tables.
 * Functions return 0 or -errno unless said otherwise.  NULL is allowed where a
 * row says "optional".
 */
#ifndef KVM_ARCH_H
#define KVM_ARCH_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/caps.h"
#include "kvm/ioctl.h"
#include "kvm/stats.h"
#include "kvm/types.h"

struct memslot;
struct vcpu;
struct vm;

#define KVM_NR_IRQCHIPS_MAX 3

enum kvm_slot_change { KVM_SLOT_CREATE, KVM_SLOT_DELETE, KVM_SLOT_MOVE, KVM_SLOT_FLAGS };

struct kvm_arch {
	const char *name;
	struct kvm_ioctl_rows ioctls;           /* system, VM and vCPU requests */
	struct kvm_cap_rows caps;
	const struct kvm_stats_rows *vm_stats, *vcpu_stats;     /* NULL: none */
	unsigned int gpa_bits;                  /* guest physical addresses beyond are EINVAL; 0: no limit */
	unsigned int address_spaces;            /* KVM_CAP_MULTI_ADDRESS_SPACE; at most KVM_ADDRESS_SPACES_MAX */
	unsigned int irqchip_pins[KVM_NR_IRQCHIPS_MAX]; /* pins of each irqchip number; 0: no such chip */

	/* --- VM --- */
	/* @type: of KVM_CREATE_VM.  Sets vm->arch_data.  Nothing else runs on @vm yet. */
	int (*vm_create)(struct vm *vm, unsigned long type);
	/* Before vCPUs are destroyed: stop what may touch them (timers).  The VM's thread has ended.  Optional. */
	void (*vm_stop)(struct vm *vm);
	/* After its vCPUs are destroyed. */
	void (*vm_destroy)(struct vm *vm);

	/* A slot is about to change; may refuse.  @old NULL: create; @new NULL: delete.  slots_lock held.
	 * Optional. */
	int (*slot_prepare)(struct vm *vm, const struct memslot *old, const struct memslot *new,
			    enum kvm_slot_change change);
	/* It has, and every vCPU has synced.  slots_lock held.  Optional. */
	void (*slot_commit)(struct vm *vm, const struct memslot *old, const struct memslot *new,
			    enum kvm_slot_change change);
	/* The library itself wrote guest memory (kvm_vm_write_guest()).  Optional. */
	void (*memory_written)(struct vm *vm, gpa_t gpa, size_t n);

	/* --- interrupts --- */
	bool (*irqchip_in_kernel)(struct vm *vm);       /* full or split: KVM_SIGNAL_MSI, KVM_IRQ_LINE work */
	bool (*irqfd_allowed)(struct vm *vm, const struct kvm_irqfd *args);     /* else -EINVAL; optional */
	bool (*can_set_routing)(struct vm *vm);
	/* May @e be a route?  Beyond what irqroute.c checks: gsi, flags, irqchip and pin by irqchip_pins. */
	int (*check_route)(struct vm *vm, const struct kvm_irq_routing_entry *e);
	/* Drives one route; see kvm_set_irq() for the result.  Any thread.  @source: enum kvm_irq_source. */
	int (*set_irq)(struct vm *vm, const struct kvm_irq_routing_entry *e, int source, int level,
		       bool line_status);
	/* After routes were replaced, no lock held.  Optional. */
	void (*routing_changed)(struct vm *vm);
	/* The list of acknowledgements changed, no lock held.  Optional. */
	void (*acks_changed)(struct vm *vm);

	/* --- vCPU --- */
	/* May a vCPU with this id be created now?  vm->lock held.  Optional. */
	int (*vcpu_precreate)(struct vm *vm, uint32_t id);
	/* vcpu->vm, id, run are set; sets vcpu->arch_data.  Not yet in vm->vcpu[]. */
	int (*vcpu_create)(struct vcpu *vcpu);
	/* The vCPU is in vm->vcpu[], its index final; before its descriptor is returned.  Optional. */
	void (*vcpu_postcreate)(struct vcpu *vcpu);
	void (*vcpu_destroy)(struct vcpu *vcpu);
	/*
	 * KVM_RUN: completes the last exit, ends where kvm_vcpu_entry_check() says so, runs.  0: kvm_run
	 * is filled; else -errno.  Signals are blocked, host faults armed by whoever touches memory.
	 */
	int (*vcpu_run)(struct vcpu *vcpu);
	/* The vCPU's thread changed since its last KVM_RUN.  Optional. */
	void (*vcpu_thread_changed)(struct vcpu *vcpu);
	/* Any thread: the vCPU, if inside, must soon reach a block boundary and call kvm_vcpu_sync().  No wait. */
	void (*vcpu_kick)(struct vcpu *vcpu);
	/* The address space that the vCPU's accesses are made in.  Optional: 0. */
	unsigned int (*vcpu_address_space)(struct vcpu *vcpu);
	/* The vCPU's own thread, entered: @what is enum kvm_sync bits.  slots[] are new already. */
	void (*vcpu_sync)(struct vcpu *vcpu, uint32_t what);
};

extern const struct kvm_arch kvm_arch_x86;

#endif
