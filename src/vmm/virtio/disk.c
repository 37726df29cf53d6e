/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/disk.h"

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

/* The name of an open file that needs no walk. */
struct self_name {
	char text[32];
};

static struct self_name self_name(int fd)
{
	struct self_name self;

	snprintf(self.text, sizeof(self.text), "/proc/self/fd/%d", fd);
	return self;
}

static int in_use(const char *path, const char *by, struct vmm_err *e)
{
	return vmm_fail(e, EBUSY, "%s: disk in use: %s", path, by);
}

/* A block device that is mounted, or otherwise claimed in the kernel, has a writer already (open(2), O_EXCL). */
static int device_claim(struct disk *disk, const char *path, struct vmm_err *e)
{
	struct stat st;
	int fd;

	if (disk->read_only || fstat(disk->fd, &st) < 0 || !S_ISBLK(st.st_mode))
		return 0;
	fd = open(self_name(disk->fd).text, O_RDWR | O_CLOEXEC | O_EXCL);
	if (fd < 0 && errno == EBUSY)
		return in_use(path, "it is mounted, or another program has claimed it", e);
	if (fd < 0)
		return vmm_fail(e, errno, "%s: cannot open: %s", path, strerror(errno));
	close(disk->fd);
	disk->fd = fd;
	return 0;
}

/*
 * One OFD lock over the whole file: other programs that lock ranges of an
 * image to say that they use it will meet it.
 */
static int disk_lock(struct disk *disk, const char *path, struct vmm_err *e)
{
	struct flock fl = { .l_type = disk->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (!fcntl(disk->fd, F_OFD_SETLK, &fl))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return in_use(path, disk->read_only ? "another machine or program has locked it for writing" :
						      "another machine or program has locked it", e);
	/* File systems without locks (ENOLCK, EINVAL, ...) hold images all the same. */
	return 0;
}

static int disk_size(struct disk *disk, const char *path, struct vmm_err *e)
{
	uint64_t bytes;
	struct stat st;

	if (fstat(disk->fd, &st) < 0)
		return vmm_fail(e, errno, "%s: cannot stat: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return vmm_fail(e, EISDIR, "%s: not a disk image: is a directory", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return vmm_fail(e, EINVAL, "%s: not a disk image: neither a regular file nor a block device",
				path);
	bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(disk->fd, BLKGETSIZE64, &bytes) < 0)
		return vmm_fail(e, errno, "%s: cannot get its size: %s", path, strerror(errno));
	if (!bytes)
		return vmm_fail(e, EINVAL, "%s: not a disk image: is empty", path);
	disk->sectors = (bytes + DISK_SECTOR - 1) / DISK_SECTOR;
	return 0;
}

/* What the file system says of its direct I/O; where it does not say, a page does everywhere. */
static void direct_align(struct disk *disk)
{
	disk->mem_align = disk->off_align = DEFAULT_ALIGN;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) || !(sx.stx_mask & STATX_DIOALIGN) ||
	    !sx.stx_dio_mem_align || !sx.stx_dio_offset_align)
		return;
	disk->mem_align = sx.stx_dio_mem_align;
	disk->off_align = sx.stx_dio_offset_align;
#endif
}

static bool power_of_two(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* A second description of the same file; nothing is lost where it cannot be had. */
static void open_direct(struct disk *disk)
{
	direct_align(disk);
	if (!power_of_two(disk->mem_align) || !power_of_two(disk->off_align))
		return;
	if (disk->mem_align > DISK_CHUNK || disk->off_align > DISK_CHUNK)
		return;
	disk->bounce = aligned_alloc(disk->mem_align > DEFAULT_ALIGN ? disk->mem_align : DEFAULT_ALIGN,
				    DISK_CHUNK);
	if (!disk->bounce)
		return;
	disk->direct_fd = open(self_name(disk->fd).text, (disk->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_DIRECT);
}

int disk_open(struct disk *disk, const char *path, bool read_only, bool cached, const atomic_bool *stop,
	       struct vmm_err *e)
{
	int err;

	*disk = (struct disk){ .direct_fd = -1, .read_only = read_only, .stop = stop };
	/* Not to hang on a FIFO without a writer. */
	disk->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (disk->fd < 0 && errno == EISDIR)
		return vmm_fail(e, EISDIR, "%s: not a disk image: is a directory", path);
	if (disk->fd < 0)
		return vmm_fail(e, errno, "%s: cannot open: %s", path, strerror(errno));
	err = disk_size(disk, path, e);
	if (!err)
		err = device_claim(disk, path, e);
	if (!err)
		err = disk_lock(disk, path, e);
	if (!err && !cached)
		open_direct(disk);
	if (err)
		disk_close(disk);
	return err;
}

void disk_close(struct disk *disk)
{
	if (disk->direct_fd >= 0)
		close(disk->direct_fd);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->bounce);
	disk->fd = disk->direct_fd = -1;
	disk->bounce = NULL;
}

static bool segments_aligned(const struct disk *disk, const struct iovec *v, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if ((uintptr_t)v[i].iov_base & (disk->mem_align - 1) || v[i].iov_len & (disk->off_align - 1))
			return false;
	return true;
}

/* One transfer of one chunk, by way of the bounce buffer. */
static ssize_t move_bounced(struct disk *disk, const struct iovec *v, unsigned int n, uint64_t off,
			    size_t len, bool write)
{
	ssize_t r;

	if (write) {
		iov_read(v, n, 0, disk->bounce, len);
		return pwrite(disk->direct_fd, disk->bounce, len, (off_t)off);
	}
	r = pread(disk->direct_fd, disk->bounce, len, (off_t)off);
	if (r > 0)
		iov_write(v, n, 0, disk->bounce, (size_t)r);
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
static ssize_t move_chunk(struct disk *disk, const struct iovec *v, unsigned int n, uint64_t off, size_t len,
			  bool write)
{
	ssize_t r = -1;

	errno = EINVAL;
	if (disk->direct_fd >= 0 && !((off | len) & (disk->off_align - 1)))
		r = segments_aligned(disk, v, n) ? move_fd(disk->direct_fd, v, n, off, write) :
						  move_bounced(disk, v, n, off, len, write);
	if (r < 0 && errno == EINVAL)
		r = move_fd(disk->fd, v, n, off, write);
	return r < 0 ? -errno : r;
}

static int disk_move(struct disk *disk, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		      uint64_t len, bool write)
{
	struct iovec v[VQ_MAX_SIZE];

	while (len) {
		size_t chunk = len < DISK_CHUNK ? len : DISK_CHUNK;
		unsigned int k = iov_slice(iov, n, skip, chunk, v);
		ssize_t r;

		if (atomic_load(disk->stop))
			return -ECANCELED;
		r = move_chunk(disk, v, k, off, chunk, write);
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

int disk_read(struct disk *disk, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
	       uint64_t len)
{
	return disk_move(disk, iov, n, skip, off, len, false);
}

int disk_write(struct disk *disk, const struct iovec *iov, unsigned int n, size_t skip, uint64_t off,
		uint64_t len)
{
	return disk_move(disk, iov, n, skip, off, len, true);
}

int disk_flush(struct disk *disk)
{
	return fdatasync(disk->fd) < 0 ? -errno : 0;
}

int disk_discard(struct disk *disk, uint64_t off, uint64_t len)
{
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	return fallocate(disk->fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

/* For file systems that cannot do it themselves. */
static int write_zeros(struct disk *disk, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[65536];

	while (len) {
		ssize_t r = pwrite(disk->fd, zeros, len < sizeof(zeros) ? len : sizeof(zeros), (off_t)off);

		if (atomic_load(disk->stop))
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

int disk_zero(struct disk *disk, uint64_t off, uint64_t len, bool unmap)
{
	if (unmap && !disk_discard(disk, off, len))
		return 0;
	if (!fallocate(disk->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len))
		return 0;
	return write_zeros(disk, off, len);
}
