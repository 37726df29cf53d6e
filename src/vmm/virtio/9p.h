/* SPDX-License-Identifier: MIT */
/* 9p.h - a folder of the host shared with the guest: 9P2000.L over virtio. */
#ifndef VIRTIO_9P_H
#define VIRTIO_9P_H

#include <stdbool.h>

struct platform;
struct virtio_dev;
struct vmm_err;

struct virtio_9p_opts {
	const char *path; /* a folder */
	const char *tag;  /* what the guest mounts it by; at most VIRTIO_9P_TAG_MAX bytes */
	bool read_only;
};

#define VIRTIO_9P_TAG_MAX 255u

/**
 * virtio_9p_create - share @o->path; in the guest:
 *   mount -t 9p -o trans=virtio,version=9p2000.L TAG DIR
 * Files are read and made with this process's own rights; setuid bits and
 * device nodes are not made, symbolic links are never followed here.
 * @dev: the new device, to be ended by virtio_9p_destroy().
 * @e: what is wrong, in words.
 * Returns 0 or -errno.
 */
int virtio_9p_create(struct platform *p, const struct virtio_9p_opts *o, struct virtio_dev **dev,
		     struct vmm_err *e);

/** virtio_9p_destroy - no vCPU may run any more; NULL is fine. */
void virtio_9p_destroy(struct virtio_dev *dev);

#endif
