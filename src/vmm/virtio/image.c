/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/err.h"
#include "vmm/virtio/iov.h"
#include "vmm/virtio/virtqueue.h"

#define DEFAULT_ALIGN 4096u

/*
 * One OFD lock over the whole file: other programs that lock ranges of an
 * image to say that they use it will meet it.
 */
static int image_lock(struct image *img, const char *path, struct vmm_err *e)
{
	struct flock fl = { .l_type = img->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(img->fd, F_OFD_SETLK, &fl))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return vmm_fail(e, EBUSY, "%s: disk in use: another process has it open%s", path,
				img->read_only ? " for writing" : "");
	/* File systems without locks (ENOLCK, EINVAL, ...) hold images all the same. */
	return 0;
}

static int image_size(struct image *img, const char *path, struct vmm_err *e)
{
	uint64_t bytes;
	struct stat st;

	if (fstat(img->fd, &st) < 0)
		return vmm_fail(e, errno, "%s: cannot stat: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return vmm_fail(e, EISDIR, "%s: not a disk image: is a directory", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return vmm_fail(e, EINVAL, "%s: not a disk image: neither a regular file nor a block device",
				path);
	bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(img->fd, BLKGETSIZE64, &bytes) < 0)
		return vmm_fail(e, errno, "%s: cannot get its size: %s", path, strerror(errno));
	if (!bytes)
		return vmm_fail(e, EINVAL, "%s: not a disk image: is empty", path);
	img->sectors = (bytes + IMAGE_SECTOR - 1) / IMAGE_SECTOR;
	return 0;
}

/* What the file system says of its direct I/O; where it does not say, a page does everywhere. */
static void direct_align(struct image *img)
{
	img->mem_align = img->off_align = DEFAULT_ALIGN;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(img->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) || !(sx.stx_mask & STATX_DIOALIGN) ||
	    !sx.stx_dio_mem_align || !sx.stx_dio_offset_align)
		return;
	img->mem_align = sx.stx_dio_mem_align;
	img->off_align = sx.stx_dio_offset_align;
#endif
}

static bool power_of_two(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* A second description of the same file; nothing is lost where it cannot be had. */
static void open_direct(struct image *img)
{
	char self[32];

	direct_align(img);
	if (!power_of_two(img->mem_align) || !power_of_two(img->off_align))
		return;
	if (img->mem_align > IMAGE_CHUNK || img->off_align > IMAGE_CHUNK)
		return;
	img->bounce = aligned_alloc(img->mem_align > DEFAULT_ALIGN ? img->mem_align : DEFAULT_ALIGN,
				    IMAGE_CHUNK);
	if (!img->bounce)
		return;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", img->fd);
	img->direct_fd = open(self, (img->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_DIRECT);
}

int image_open(struct image *img, const char *path, bool read_only, bool cached, const atomic_bool *stop,
	       struct vmm_err *e)
{
	int err;

	*img = (struct image){ .direct_fd = -1, .read_only = read_only, .stop = stop };
	/* Not to hang on a FIFO without a writer. */
	img->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (img->fd < 0 && errno == EISDIR)
		return vmm_fail(e, EISDIR, "%s: not a disk image: is a directory", path);
	if (img->fd < 0)
		return vmm_fail(e, errno, "%s: cannot open: %s", path, strerror(errno));
	err = image_size(img, path, e);
	if (!err)
		err = image_lock(img, path, e);
	if (!err && !cached)
		open_direct(img);
	if (err)
		image_close(img);
	return err;
}

void image_close(struct image *img)
{
	if (img->direct_fd >= 0)
		close(img->direct_fd);
	if (img->fd >= 0)
		close(img->fd);
	free(img->bounce);
	img->fd = img->direct_fd = -1;
	img->bounce = NULL;
}

static bool segments_aligned(const struct image *img, const struct iovec *v, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if ((uintptr_t)v[i].iov_base & (img->mem_align - 1) || v[i].iov_len & (img->off_align - 1))
			return false;
	return true;
}

/* One transfer of one chunk, by way of the bounce buffer. */
static ssize_t move_bounced(struct image *img, const struct iovec *v, unsigned int n, uint64_t off,
			    size_t len, bool write)
{
	ssize_t r;

	if (write) {
		iov_read(v, n, 0, img->bounce, len);
		return pwrite(img->direct_fd, img->bounce, len, (off_t)off);
	}
	r = pread(img->direct_fd, img->bounce, len, (off_t)off);
	if (r > 0)
		iov_write(v, n, 0, img->bounce, (size_t)r);
	return r;
}

static ssize_t move_fd(int fd, const struct iovec *v, unsigned int n, uint64_t off, bool write)
{
	return write ? pwritev(fd, v, (int)n, (off_t)off) : preadv(fd, v, (int)n, (off_t)off);
}

/*
 * Bytes moved, or -errno.  What O_DIRECT cannot do goes through the page cache,
 * which the kernel keeps coherent with it.
 */
static ssize_t move_chunk(struct image *img, const struct iovec *v, unsigned int n, uint64_t off, size_t len,
			  bool write)
{
	ssize_t r = -1;

	errno = EINVAL;
	if (img->direct_fd >= 0 && !((off | len) & (img->off_align - 1)))
		r = segments_aligned(img, v, n) ? move_fd(img->direct_fd, v, n, off, write) :
						  move_bounced(img, v, n, off, len, write);
	if (r < 0 && errno == EINVAL)
		r = move_fd(img->fd, v, n, off, write);
	return r < 0 ? -errno : r;
}

static int image_move(struct image *img, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		      uint64_t len, bool write)
{
	struct iovec v[VQ_MAX_SIZE];

	while (len) {
		size_t chunk = len < IMAGE_CHUNK ? len : IMAGE_CHUNK;
		unsigned int k = iov_slice(iov, n, skip, chunk, v);
		ssize_t r;

		if (atomic_load(img->stop))
			return -ECANCELED;
		r = move_chunk(img, v, k, off, chunk, write);
		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (!r && write)
			return -EIO;
		if (!r) /* behind the end of a file that is not a whole number of sectors, or was cut */
			r = (ssize_t)iov_zero(v, k, 0, chunk);
		skip += (size_t)r;
		off += (uint64_t)r;
		len -= (uint64_t)r;
	}
	return 0;
}

int image_read(struct image *img, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
	       uint64_t len)
{
	return image_move(img, iov, n, skip, off, len, false);
}

int image_write(struct image *img, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		uint64_t len)
{
	return image_move(img, iov, n, skip, off, len, true);
}

int image_flush(struct image *img)
{
	return fdatasync(img->fd) < 0 ? -errno : 0;
}

int image_discard(struct image *img, uint64_t off, uint64_t len)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(img->fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

/* For file systems that cannot do it themselves. */
static int write_zeros(struct image *img, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[65536];

	while (len) {
		ssize_t r = pwrite(img->fd, zeros, len < sizeof(zeros) ? len : sizeof(zeros), (off_t)off);

		if (atomic_load(img->stop))
			return -ECANCELED;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0) {
			off += (uint64_t)r;
			len -= (uint64_t)r;
		}
	}
	return 0;
}

int image_zero(struct image *img, uint64_t off, uint64_t len, bool unmap)
{
	if (unmap && !image_discard(img, off, len))
		return 0;
	if (!fallocate(img->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return 0;
	return write_zeros(img, off, len);
}
