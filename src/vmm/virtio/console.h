/* SPDX-License-Identifier: MIT */
/* console.h - virtio console with one port (VIRTIO 1.2, 5.3): the guest's hvc0. */
#ifndef VIRTIO_CONSOLE_H
#define VIRTIO_CONSOLE_H

struct chardev;
struct platform;
struct virtio_dev;

/**
 * virtio_console_create - a console on @cd.
 * @cd: the other end; attached here, outlives the device.
 * @dev: the new device, to be ended by virtio_console_destroy().
 * Returns 0 or -errno.
 */
int virtio_console_create(struct platform *p, struct chardev *cd, struct virtio_dev **dev);

/** virtio_console_destroy - neither a vCPU nor the event loop may run any more; NULL is fine. */
void virtio_console_destroy(struct virtio_dev *dev);

#endif
