/* SPDX-License-Identifier: MIT */
/* rng.h - virtio entropy source (VIRTIO 1.2, 5.4), fed by the host's random numbers. */
#ifndef VIRTIO_RNG_H
#define VIRTIO_RNG_H

struct platform;
struct virtio_dev;

/**
 * virtio_rng_create - @dev: the new device, to be ended by virtio_rng_destroy().
 * Returns 0 or -errno.
 */
int virtio_rng_create(struct platform *p, struct virtio_dev **dev);

/** virtio_rng_destroy - no vCPU may run any more; NULL is fine. */
void virtio_rng_destroy(struct virtio_dev *dev);

#endif
