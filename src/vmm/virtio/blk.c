/* SPDX-License-Identifier: MIT */
/*
 * blk.c - virtio block device.  Requests are served one by one on the device's
 * thread; the vCPUs go on meanwhile.
 */
#include "vmm/virtio/blk.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/err.h"
#include "vmm/virtio/disk.h"
#include "vmm/virtio/iov.h"
#include "vmm/virtio/virtio.h"

#define MAX_RANGES	    16u	       /* of one discard or write-zeroes request */
#define MAX_DISCARD_SECTORS (1u << 22) /* 2 GiB: a hole is cheap */
#define MAX_ZEROES_SECTORS  (1u << 15) /* 16 MiB: these may have to be written */

struct blk {
	struct virtio_dev dev;
	struct disk disk;
	struct virtio_blk_config config;
	char id[VIRTIO_BLK_ID_BYTES];
};

/* One request: its header is read, its status byte is the last of the writable part. */
struct blk_req {
	const struct vq_chain *c;
	uint64_t sector;
	size_t out_len, in_len; /* bytes of data */
	uint32_t type;
};

#define OUT_HEADER sizeof(struct virtio_blk_outhdr)

static struct blk *blk_of(struct virtio_dev *dev)
{
	return (struct blk *)((char *)dev - offsetof(struct blk, dev));
}

/* Whether @len bytes at @sector lie on the disk, in whole sectors. */
static bool on_disk(const struct blk *b, uint64_t sector, uint64_t len)
{
	return !(len % DISK_SECTOR) && sector <= b->disk.sectors &&
	       len / DISK_SECTOR <= b->disk.sectors - sector;
}

static uint8_t status_of(int err)
{
	if (err == -EOPNOTSUPP || err == -ENOSYS)
		return VIRTIO_BLK_S_UNSUPP;
	return err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

/* Without FLUSH the driver takes a completed write for a safe one (5.2.6.2). */
static int write_through(struct blk *b, int err)
{
	return err || virtio_has(&b->dev, VIRTIO_BLK_F_FLUSH) ? err : disk_flush(&b->disk);
}

static int do_in(struct blk *b, const struct blk_req *r)
{
	if (!on_disk(b, r->sector, r->in_len))
		return -EIO;
	return disk_read(&b->disk, r->c->in, r->c->in_n, 0, r->sector * DISK_SECTOR, r->in_len);
}

static int do_out(struct blk *b, const struct blk_req *r)
{
	if (b->disk.read_only || !on_disk(b, r->sector, r->out_len))
		return -EIO;
	return write_through(b, disk_write(&b->disk, r->c->out, r->c->out_n, OUT_HEADER,
					    r->sector * DISK_SECTOR, r->out_len));
}

static int do_flush(struct blk *b, const struct blk_req *r)
{
	return b->disk.read_only ? 0 : disk_flush(&b->disk);
}

static int do_get_id(struct blk *b, const struct blk_req *r)
{
	if (r->in_len < sizeof(b->id))
		return -EIO;
	iov_write(r->c->in, r->c->in_n, 0, b->id, sizeof(b->id));
	return 0;
}

/* The ranges of a discard or write-zeroes request; @flags: the bits that may be set in each. */
static int each_range(struct blk *b, const struct blk_req *r, uint32_t max, uint32_t flags,
		      int (*fn)(struct disk *disk, uint64_t off, uint64_t len, bool unmap))
{
	struct virtio_blk_discard_write_zeroes range[MAX_RANGES];
	size_t n = r->out_len / sizeof(range[0]);
	int err = 0;

	if (b->disk.read_only || !n || n > MAX_RANGES || r->out_len % sizeof(range[0]))
		return -EIO;
	iov_read(r->c->out, r->c->out_n, OUT_HEADER, range, r->out_len);
	for (size_t i = 0; i < n && !err; i++) {
		uint64_t len = (uint64_t)range[i].num_sectors * DISK_SECTOR;

		if (range[i].flags & ~flags)
			return -EOPNOTSUPP;
		if (range[i].num_sectors > max || !on_disk(b, range[i].sector, len))
			return -EIO;
		if (len)
			err = fn(&b->disk, range[i].sector * DISK_SECTOR, len,
				 range[i].flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
	}
	return write_through(b, err);
}

static int discard_range(struct disk *disk, uint64_t off, uint64_t len, bool unmap)
{
	return disk_discard(disk, off, len);
}

static int do_discard(struct blk *b, const struct blk_req *r)
{
	return each_range(b, r, MAX_DISCARD_SECTORS, 0, discard_range);
}

static int do_write_zeroes(struct blk *b, const struct blk_req *r)
{
	return each_range(b, r, MAX_ZEROES_SECTORS, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, disk_zero);
}

static int (*const blk_do[])(struct blk *b, const struct blk_req *r) = {
	[VIRTIO_BLK_T_IN] = do_in,
	[VIRTIO_BLK_T_OUT] = do_out,
	[VIRTIO_BLK_T_FLUSH] = do_flush,
	[VIRTIO_BLK_T_GET_ID] = do_get_id,
	[VIRTIO_BLK_T_DISCARD] = do_discard,
	[VIRTIO_BLK_T_WRITE_ZEROES] = do_write_zeroes,
};

static int64_t blk_serve(struct virtio_dev *dev, struct vq_chain *c)
{
	struct blk *b = blk_of(dev);
	struct virtio_blk_outhdr hdr;
	struct blk_req r = { .c = c };
	int err = -EOPNOTSUPP;
	uint8_t status;

	/* Without a header or a place for the status there is nothing to answer. */
	if (c->out_len < sizeof(hdr) || !c->in_len)
		return -EINVAL;
	iov_read(c->out, c->out_n, 0, &hdr, sizeof(hdr));
	r.type = hdr.type;
	r.sector = hdr.sector;
	r.out_len = c->out_len - sizeof(hdr);
	r.in_len = c->in_len - 1;
	if (r.type < sizeof(blk_do) / sizeof(blk_do[0]) && blk_do[r.type])
		err = blk_do[r.type](b, &r);
	status = status_of(err);
	iov_write(c->in, c->in_n, r.in_len, &status, 1);
	return err ? 0 : (int64_t)c->in_len;
}

static bool blk_work(struct virtio_dev *dev)
{
	return virtio_drain(dev, &dev->vq[0], blk_serve);
}

static const struct virtio_ops blk_ops = { .device_id = VIRTIO_ID_BLOCK, .work = blk_work };

static void blk_configure(struct blk *b, const char *path)
{
	const char *base = strrchr(path, '/');

	base = base && base[1] ? base + 1 : path;
	memcpy(b->id, base, strnlen(base, sizeof(b->id)));
	b->config = (struct virtio_blk_config){
		.capacity = b->disk.sectors,
		.seg_max = VQ_MAX_SIZE - 2, /* header and status take one each */
		.blk_size = DISK_SECTOR,
		.max_discard_sectors = MAX_DISCARD_SECTORS,
		.max_discard_seg = MAX_RANGES,
		.discard_sector_alignment = 8,
		.max_write_zeroes_sectors = MAX_ZEROES_SECTORS,
		.max_write_zeroes_seg = MAX_RANGES,
		.write_zeroes_may_unmap = 1,
	};
}

static uint64_t blk_features(bool read_only)
{
	uint64_t f = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
		     1ull << VIRTIO_BLK_F_FLUSH;

	if (read_only)
		return f | 1ull << VIRTIO_BLK_F_RO;
	return f | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

int virtio_blk_create(struct platform *p, const struct virtio_blk_opts *o, struct virtio_dev **dev,
		      struct vmm_err *e)
{
	struct blk *b = calloc(1, sizeof(*b));
	struct virtio_setup setup = {
		.ops = &blk_ops,
		.queues = 1,
		.queue_size = VQ_MAX_SIZE,
		.features = blk_features(o->read_only),
		.config_len = sizeof(b->config),
	};
	int err;

	if (!b)
		return vmm_fail(e, ENOMEM, "%s: out of memory", o->path);
	setup.config = (const void *)&b->config;
	err = disk_open(&b->disk, o->path, o->read_only, o->cached, &b->dev.stop, e);
	if (!err) {
		blk_configure(b, o->path);
		err = virtio_init(&b->dev, p, &setup);
	}
	if (!err)
		err = virtio_start(&b->dev);
	if (err) {
		virtio_blk_destroy(&b->dev);
		return vmm_fail(e, -err, "%s: cannot make a disk of it: %s", o->path, strerror(-err));
	}
	*dev = &b->dev;
	return 0;
}

void virtio_blk_destroy(struct virtio_dev *dev)
{
	struct blk *b;

	if (!dev)
		return;
	b = blk_of(dev);
	virtio_fini(dev);
	disk_close(&b->disk);
	free(b);
}
