/* SPDX-License-Identifier: MIT */
/*
 * platform.h - what a device is given to live on: the bus, the guest's memory,
 * KVM and the event loop; and the list of virtio-mmio slots, from which the
 * DSDT is made.
 */
#ifndef VMM_PLATFORM_H
#define VMM_PLATFORM_H

#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/guest_mem.h"
#include "vmm/kvm.h"
#include "vmm/loop.h"

#define VIRTIO_MMIO_BASE 0xd0000000ull
#define VIRTIO_MMIO_SIZE 0x1000u
#define VIRTIO_MMIO_MAX	 16u

struct platform {
	struct kvm_vm vm;
	struct guest_mem mem;
	struct bus bus;
	struct loop loop;
	unsigned int virtio_slots; /* taken so far */
};

struct virtio_slot {
	uint64_t gpa; /* of VIRTIO_MMIO_SIZE bytes */
	uint32_t gsi; /* edge triggered, active high: irq_line_pulse() */
};

/** virtio_slot_at - where slot @n < VIRTIO_MMIO_MAX lies. */
struct virtio_slot virtio_slot_at(unsigned int n);

/**
 * platform_take_slot - the next free virtio-mmio slot; devices appear to the
 * guest in the order in which they take theirs.
 * Returns 0 or -ENOSPC.
 */
int platform_take_slot(struct platform *p, struct virtio_slot *slot);

#endif
