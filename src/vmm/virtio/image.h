/* SPDX-License-Identifier: MIT */
/* image.h - a raw disk image on the host: opened, locked, read and written in units of 512 bytes. */
#ifndef VIRTIO_IMAGE_H
#define VIRTIO_IMAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct vmm_err;

#define IMAGE_SECTOR 512u
#define IMAGE_CHUNK  (1u << 20) /* bytes moved between two looks at @stop */

struct image {
	int fd;		/* through the page cache; holds the lock */
	int direct_fd;	/* O_DIRECT, or -1 */
	uint32_t mem_align, off_align; /* what O_DIRECT asks of buffers, and of offsets and lengths */
	uint8_t *bounce; /* IMAGE_CHUNK bytes, aligned */
	uint64_t sectors;
	bool read_only;
	const atomic_bool *stop; /* set by another thread: give up with -ECANCELED */
};

/**
 * image_open - open and lock @path.
 * @cached: do not use O_DIRECT.
 * @stop: see above; outlives the image.
 * A size that is no multiple of 512 is rounded up: the rest reads as zeros.
 * Returns 0 or -errno with @e filled: -EBUSY where another has the image locked.
 */
int image_open(struct image *img, const char *path, bool read_only, bool cached, const atomic_bool *stop,
	       struct vmm_err *e);

/** image_close - also of one that failed to open. */
void image_close(struct image *img);

/**
 * image_read, image_write - move @len bytes at byte @off from or to @n segments
 * (at most VQ_MAX_SIZE) that start @skip bytes into @iov.
 * The caller has checked that the range lies inside the image.
 * Return 0 or -errno; then a part may have been moved.
 */
int image_read(struct image *img, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
	       uint64_t len);
int image_write(struct image *img, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		uint64_t len);

/** image_flush - what was written is on the medium when this returns 0. */
int image_flush(struct image *img);

/** image_discard - let go of a range; -EOPNOTSUPP where the file system cannot. */
int image_discard(struct image *img, uint64_t off, uint64_t len);

/** image_zero - make a range read as zeros; @unmap: it need not stay allocated. */
int image_zero(struct image *img, uint64_t off, uint64_t len, bool unmap);

#endif
