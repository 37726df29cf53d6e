/* SPDX-License-Identifier: MIT */
#include "vmm/platform.h"

#include <errno.h>

/* Pins of the I/O APIC that no ISA device of ours has; those above 15 first, which the PIC does not share. */
static const uint8_t slot_gsi[VIRTIO_MMIO_MAX] = {
	16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 10, 11, 12, 14, 15,
};

struct virtio_slot virtio_slot_at(unsigned int n)
{
	return (struct virtio_slot){
		.gpa = VIRTIO_MMIO_BASE + (uint64_t)n * VIRTIO_MMIO_SIZE,
		.gsi = slot_gsi[n],
	};
}

int platform_take_slot(struct platform *p, struct virtio_slot *slot)
{
	if (p->virtio_slots == VIRTIO_MMIO_MAX)
		return -ENOSPC;
	*slot = virtio_slot_at(p->virtio_slots++);
	return 0;
}
