/* SPDX-License-Identifier: MIT */
/* disk.h - a raw disk image on the host: opened, locked, read and written in units of 512 bytes. */
#ifndef VIRTIO_DISK_H
#define VIRTIO_DISK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct vmm_err;

#define DISK_SECTOR 512u
#define DISK_CHUNK  (1u << 20) /* bytes moved between two looks at @stop */

struct disk {
	int fd;		/* through the page cache; holds the lock */
	int direct_fd;	/* O_DIRECT, or -1 */
	uint32_t mem_align, off_align; /* what O_DIRECT asks of buffers, and of offsets and lengths */
	uint8_t *bounce; /* DISK_CHUNK bytes, aligned */
	uint64_t sectors;
	bool read_only;
	const atomic_bool *stop; /* set by another thread: give up with -ECANCELED */
};

/**
 * disk_open - open and lock @path.
 * @cached: do not use O_DIRECT.
 * @stop: see above; outlives the image.
 * A size that is no multiple of 512 is rounded up: the rest reads as zeros.
 * Returns 0 or -errno with @e filled: -EBUSY where another has the image locked.
 */
int disk_open(struct disk *disk, const char *path, bool read_only, bool cached, const atomic_bool *stop,
	       struct vmm_err *e);

/** disk_close - also of one that failed to open. */
void disk_close(struct disk *disk);

/**
 * disk_read, disk_write - move @len bytes at byte @off from or to @n segments
 * (at most VQ_MAX_SIZE) that start @skip bytes into @iov.
 * The caller has checked that the range lies inside the image.
 * Return 0 or -errno; then a part may have been moved.
 */
int disk_read(struct disk *disk, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
	       uint64_t len);
int disk_write(struct disk *disk, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		uint64_t len);

/** disk_flush - what was written is on the medium when this returns 0. */
int disk_flush(struct disk *disk);

/** disk_discard - let go of a range; -EOPNOTSUPP where the file system cannot. */
int disk_discard(struct disk *disk, uint64_t off, uint64_t len);

/** disk_zero - make a range read as zeros; @unmap: it need not stay allocated. */
int disk_zero(struct disk *disk, uint64_t off, uint64_t len, bool unmap);

#endif
