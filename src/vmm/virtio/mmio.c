/* SPDX-License-Identifier: MIT */
/*
 * mmio.c - the registers of a virtio device over MMIO, version 2 (VIRTIO 1.2,
 * 4.2.2).  Control registers are 32 bits wide and aligned; the device's
 * configuration from 0x100 on may be read in any width.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/virtio/virtio.h"

#define MAGIC	  0x74726976u /* "virt" */
#define VERSION	  2u
#define VENDOR_ID 0x4d564b41u /* "AKVM" */

/* The queue that the driver has selected; NULL where there is none of that number. */
static struct virtqueue *selected(struct virtio_dev *dev)
{
	return dev->queue_sel < dev->queues ? &dev->vq[dev->queue_sel] : NULL;
}

static uint32_t read_magic(struct virtio_dev *dev)
{
	return MAGIC;
}

static uint32_t read_version(struct virtio_dev *dev)
{
	return VERSION;
}

static uint32_t read_device_id(struct virtio_dev *dev)
{
	return dev->ops->device_id;
}

static uint32_t read_vendor_id(struct virtio_dev *dev)
{
	return VENDOR_ID;
}

static uint32_t read_features(struct virtio_dev *dev)
{
	return dev->features_sel < 2 ? (uint32_t)(dev->features >> 32 * dev->features_sel) : 0;
}

static uint32_t read_queue_num_max(struct virtio_dev *dev)
{
	struct virtqueue *vq = selected(dev);

	return vq ? vq->num_max : 0;
}

static uint32_t read_queue_ready(struct virtio_dev *dev)
{
	struct virtqueue *vq = selected(dev);

	return vq && vq->enabled;
}

/* No shared memory regions: their length reads as all ones (4.2.2). */
static uint32_t read_shm_len(struct virtio_dev *dev)
{
	return UINT32_MAX;
}

static void write_features_sel(struct virtio_dev *dev, uint32_t v)
{
	dev->features_sel = v;
}

static void write_driver_features(struct virtio_dev *dev, uint32_t v)
{
	unsigned int shift = 32 * dev->driver_features_sel;

	/* Frozen once agreed upon (3.1.1). */
	if (dev->driver_features_sel > 1 || atomic_load(&dev->status) & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	dev->driver_features &= ~(0xffffffffull << shift);
	dev->driver_features |= (uint64_t)v << shift;
}

static void write_driver_features_sel(struct virtio_dev *dev, uint32_t v)
{
	dev->driver_features_sel = v;
}

static void write_queue_sel(struct virtio_dev *dev, uint32_t v)
{
	dev->queue_sel = v;
}

static void write_queue_num(struct virtio_dev *dev, uint32_t v)
{
	struct virtqueue *vq = selected(dev);

	/* Too large a size becomes 0, which vq_enable() refuses. */
	if (vq && !vq->enabled)
		vq->num = v <= vq->num_max ? (uint16_t)v : 0;
}

static void write_queue_ready(struct virtio_dev *dev, uint32_t v)
{
	struct virtqueue *vq = selected(dev);

	if (!vq || !(atomic_load(&dev->status) & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	if (!(v & 1))
		vq->enabled = false;
	else if (!vq->enabled && vq_enable(vq, virtio_has(dev, VIRTIO_RING_F_EVENT_IDX),
					   virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC)))
		virtio_needs_reset(dev);
}

static void set_half(uint64_t *addr, bool high, uint32_t v)
{
	unsigned int shift = high ? 32 : 0;

	*addr = (*addr & ~(0xffffffffull << shift)) | (uint64_t)v << shift;
}

#define RING_ADDRESS(ring)                                                   \
	static void write_##ring##_low(struct virtio_dev *dev, uint32_t v)   \
	{                                                                    \
		struct virtqueue *vq = selected(dev);                        \
									     \
		if (vq && !vq->enabled)                                      \
			set_half(&vq->ring##_gpa, false, v);                 \
	}                                                                    \
									     \
	static void write_##ring##_high(struct virtio_dev *dev, uint32_t v)  \
	{                                                                    \
		struct virtqueue *vq = selected(dev);                        \
									     \
		if (vq && !vq->enabled)                                      \
			set_half(&vq->ring##_gpa, true, v);                  \
	}

RING_ADDRESS(desc)
RING_ADDRESS(avail)
RING_ADDRESS(used)

static void reset(struct virtio_dev *dev)
{
	if (dev->ops->reset)
		dev->ops->reset(dev);
	for (unsigned int i = 0; i < dev->queues; i++)
		vq_reset(&dev->vq[i]);
	dev->driver_features = 0;
	dev->features_sel = dev->driver_features_sel = dev->queue_sel = 0;
	atomic_store(&dev->isr, 0);
	atomic_store(&dev->status, 0);
}

/* 3.1.1 step 5: a set that the device did not offer, or a legacy driver's, is not agreed to. */
static bool features_ok(const struct virtio_dev *dev)
{
	return !(dev->driver_features & ~dev->features) && virtio_has(dev, VIRTIO_F_VERSION_1);
}

static void write_status(struct virtio_dev *dev, uint32_t v)
{
	uint32_t old = atomic_load(&dev->status);

	v &= 0xff;
	if (!v) {
		reset(dev);
		return;
	}
	v |= old & VIRTIO_CONFIG_S_NEEDS_RESET;
	if (v & ~old & VIRTIO_CONFIG_S_FEATURES_OK && !features_ok(dev))
		v &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(v & VIRTIO_CONFIG_S_FEATURES_OK))
		v &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	atomic_store(&dev->status, v);
	/* Buffers may have been made available before this without a notification (3.1.1 step 7). */
	if (v & ~old & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_kick(dev);
}

struct reg {
	uint32_t (*read)(struct virtio_dev *dev);
	void (*write)(struct virtio_dev *dev, uint32_t v);
};

/* Registers that need the device to hold still. */
static const struct reg regs[VIRTIO_MMIO_CONFIG / 4] = {
	[VIRTIO_MMIO_MAGIC_VALUE / 4] = { .read = read_magic },
	[VIRTIO_MMIO_VERSION / 4] = { .read = read_version },
	[VIRTIO_MMIO_DEVICE_ID / 4] = { .read = read_device_id },
	[VIRTIO_MMIO_VENDOR_ID / 4] = { .read = read_vendor_id },
	[VIRTIO_MMIO_DEVICE_FEATURES / 4] = { .read = read_features },
	[VIRTIO_MMIO_DEVICE_FEATURES_SEL / 4] = { .write = write_features_sel },
	[VIRTIO_MMIO_DRIVER_FEATURES / 4] = { .write = write_driver_features },
	[VIRTIO_MMIO_DRIVER_FEATURES_SEL / 4] = { .write = write_driver_features_sel },
	[VIRTIO_MMIO_QUEUE_SEL / 4] = { .write = write_queue_sel },
	[VIRTIO_MMIO_QUEUE_NUM_MAX / 4] = { .read = read_queue_num_max },
	[VIRTIO_MMIO_QUEUE_NUM / 4] = { .write = write_queue_num },
	[VIRTIO_MMIO_QUEUE_READY / 4] = { .read = read_queue_ready, .write = write_queue_ready },
	[VIRTIO_MMIO_STATUS / 4] = { .write = write_status },
	[VIRTIO_MMIO_QUEUE_DESC_LOW / 4] = { .write = write_desc_low },
	[VIRTIO_MMIO_QUEUE_DESC_HIGH / 4] = { .write = write_desc_high },
	[VIRTIO_MMIO_QUEUE_AVAIL_LOW / 4] = { .write = write_avail_low },
	[VIRTIO_MMIO_QUEUE_AVAIL_HIGH / 4] = { .write = write_avail_high },
	[VIRTIO_MMIO_QUEUE_USED_LOW / 4] = { .write = write_used_low },
	[VIRTIO_MMIO_QUEUE_USED_HIGH / 4] = { .write = write_used_high },
	[VIRTIO_MMIO_SHM_LEN_LOW / 4] = { .read = read_shm_len },
	[VIRTIO_MMIO_SHM_LEN_HIGH / 4] = { .read = read_shm_len },
	[VIRTIO_MMIO_SHM_BASE_LOW / 4] = { .read = read_shm_len },
	[VIRTIO_MMIO_SHM_BASE_HIGH / 4] = { .read = read_shm_len },
};

/* Registers of the fast path: atomics, so that an interrupt handler never waits for a request's I/O. */
static uint32_t read_isr(struct virtio_dev *dev)
{
	return atomic_load(&dev->isr);
}

static uint32_t read_status(struct virtio_dev *dev)
{
	return atomic_load(&dev->status);
}

static uint32_t read_config_gen(struct virtio_dev *dev)
{
	return atomic_load(&dev->config_gen);
}

static void write_isr_ack(struct virtio_dev *dev, uint32_t v)
{
	atomic_fetch_and(&dev->isr, ~v);
}

static void write_notify(struct virtio_dev *dev, uint32_t v)
{
	virtio_kick(dev);
}

static const struct reg fast_regs[VIRTIO_MMIO_CONFIG / 4] = {
	[VIRTIO_MMIO_QUEUE_NOTIFY / 4] = { .write = write_notify },
	[VIRTIO_MMIO_INTERRUPT_STATUS / 4] = { .read = read_isr },
	[VIRTIO_MMIO_INTERRUPT_ACK / 4] = { .write = write_isr_ack },
	[VIRTIO_MMIO_STATUS / 4] = { .read = read_status },
	[VIRTIO_MMIO_CONFIG_GENERATION / 4] = { .read = read_config_gen },
};

static void config_read(struct virtio_dev *dev, uint64_t off, void *data, unsigned int len)
{
	memset(data, 0, len);
	if (off >= dev->config_len)
		return;
	virtio_lock(dev);
	memcpy(data, dev->config + off, len < dev->config_len - off ? len : dev->config_len - off);
	virtio_unlock(dev);
}

static void mmio_read(void *opaque, uint64_t off, void *data, unsigned int len)
{
	struct virtio_dev *dev = opaque;
	uint32_t v = 0;

	if (off >= VIRTIO_MMIO_CONFIG) {
		config_read(dev, off - VIRTIO_MMIO_CONFIG, data, len);
		return;
	}
	memset(data, 0, len);
	if (len != 4 || off & 3)
		return;
	if (fast_regs[off / 4].read) {
		v = fast_regs[off / 4].read(dev);
	} else if (regs[off / 4].read) {
		virtio_lock(dev);
		v = regs[off / 4].read(dev);
		virtio_unlock(dev);
	}
	memcpy(data, &v, sizeof(v));
}

/* No device of ours has a configuration field for the driver to write. */
static void mmio_write(void *opaque, uint64_t off, const void *data, unsigned int len)
{
	struct virtio_dev *dev = opaque;
	uint32_t v;

	if (off >= VIRTIO_MMIO_CONFIG || len != 4 || off & 3)
		return;
	memcpy(&v, data, sizeof(v));
	if (fast_regs[off / 4].write) {
		fast_regs[off / 4].write(dev, v);
	} else if (regs[off / 4].write) {
		virtio_lock(dev);
		regs[off / 4].write(dev, v);
		virtio_unlock(dev);
	}
}

const struct bus_ops virtio_mmio_ops = { .read = mmio_read, .write = mmio_write };
