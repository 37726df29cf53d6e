/* SPDX-License-Identifier: MIT */
/* blk.h - virtio block device (VIRTIO 1.2, 5.2) on a raw image file or a block device. */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <stdbool.h>

struct platform;
struct virtio_dev;
struct vmm_err;

struct virtio_blk_opts {
	const char *path;
	bool read_only;
	bool cached; /* through the host's page cache even where O_DIRECT would do */
};

/**
 * virtio_blk_create - a disk on @o->path.  The image is locked against other
 * users (OFD locks: shared if read-only, else exclusive) as long as it is open.
 * @dev: the new device, to be ended by virtio_blk_destroy().
 * @e: what is wrong with the file, in words.
 * Returns 0 or -errno: -EBUSY for an image in use, -EISDIR, -EINVAL for an empty one, open's own.
 */
int virtio_blk_create(struct platform *p, const struct virtio_blk_opts *o, struct virtio_dev **dev,
		      struct vmm_err *e);

/** virtio_blk_destroy - no vCPU may run any more; NULL is fine. */
void virtio_blk_destroy(struct virtio_dev *dev);

#endif
