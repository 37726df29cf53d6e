/* SPDX-License-Identifier: MIT */
/* devices.h - the virtio devices that a machine's description asks for, in the order of their slots. */
#ifndef VMM_DEVICES_H
#define VMM_DEVICES_H

#include "vmm/chardev.h"
#include "vmm/machine.h"
#include "vmm/platform.h"

struct virtio_dev;

struct device {
	struct virtio_dev *dev;
	void (*destroy)(struct virtio_dev *dev);
};

struct devices {
	struct device list[VIRTIO_MMIO_MAX];
	unsigned int count;
};

/**
 * devices_create - disks, network, shared folders, console, entropy source.
 * @console: what a virtio console is attached to.
 * Returns 0; -errno with @err set and nothing left behind.
 */
int devices_create(struct devices *d, struct platform *pf, const struct machine_config *cfg,
		   struct chardev *console, struct vmm_err *err);

/** devices_quit - none of them is to keep a vCPU that wants its lock; vCPUs may run. */
void devices_quit(struct devices *d);

/** devices_destroy - all of them, the last first; no vCPU may run any more. */
void devices_destroy(struct devices *d);

#endif
