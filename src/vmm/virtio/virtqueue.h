/* SPDX-License-Identifier: MIT */
/*
 * virtqueue.h - the device's side of a split virtqueue (VIRTIO 1.2, 2.7),
 * with indirect descriptors and event indices.
 *
 * Everything in the rings is the guest's to change at any moment.  Rules:
 *   1. each field is read once, with one load, into a local, and checked there;
 *   2. the rings' own addresses are checked when the queue is enabled, each
 *      buffer's address when its descriptor is read; both against RAM alone;
 *   3. a chain has at most VQ_MAX_SIZE descriptors and at most as many as the
 *      queue has entries, so a loop ends as an error;
 *   4. what breaks a rule marks the queue broken: nothing more is taken from
 *      it or put into it until the driver resets the device.
 *
 * A queue has no lock: its device serialises the calls.
 */
#ifndef VIRTIO_VIRTQUEUE_H
#define VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct guest_mem;
struct vring_avail;
struct vring_used;

#define VQ_MAX_SIZE 256u

struct virtqueue {
	const struct guest_mem *mem;

	/* Set up by the driver through the transport, while not enabled. */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t num_max; /* the device's; at most VQ_MAX_SIZE */
	uint16_t num;
	bool enabled;

	/* Valid while enabled. */
	const void *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	bool event_idx, indirect; /* as negotiated */
	bool broken;
	uint16_t next_avail;	/* ring index of the next chain to take */
	uint16_t next_used;	/* ring index of the next used element */
	uint16_t signalled;	/* next_used when the driver was last told */
};

/* One descriptor chain: readable segments first, writable ones behind (2.7.4.2). */
struct vq_chain {
	uint16_t head;
	unsigned int out_n, in_n;
	size_t out_len, in_len;	  /* bytes */
	struct iovec *out, *in;	  /* the device reads @out and writes @in; both into @seg */
	struct iovec seg[VQ_MAX_SIZE];
};

enum vq_result {
	VQ_EMPTY,
	VQ_CHAIN,
	VQ_BROKEN,
};

/** vq_init - @num_max: a power of two up to VQ_MAX_SIZE; @mem outlives the queue. */
void vq_init(struct virtqueue *vq, const struct guest_mem *mem, uint16_t num_max);

/** vq_reset - as after vq_init(). */
void vq_reset(struct virtqueue *vq);

/**
 * vq_enable - check what the driver set up and start.
 * @event_idx, @indirect: the features that were negotiated.
 * Returns 0; -EINVAL for a size that is no power of two or too large, or a misaligned
 * ring (2.7); -EFAULT for a ring that is not all in RAM.
 */
int vq_enable(struct virtqueue *vq, bool event_idx, bool indirect);

/** vq_pop - take the next chain that the driver made available. */
enum vq_result vq_pop(struct virtqueue *vq, struct vq_chain *c) __attribute__((warn_unused_result));

/** vq_unpop - give the chain of the last vq_pop() back, to be popped again. */
void vq_unpop(struct virtqueue *vq);

/** vq_pending - whether vq_pop() would find something (a broken ring included). */
bool vq_pending(struct virtqueue *vq);

/** vq_push - hand chain @head back, with @written bytes in its writable part. */
void vq_push(struct virtqueue *vq, uint16_t head, uint32_t written);

/** vq_should_signal - whether the driver wants an interrupt for what was pushed since the last call. */
bool vq_should_signal(struct virtqueue *vq);

/** vq_notify_off - the device is looking at the ring anyway: the driver need not notify. */
void vq_notify_off(struct virtqueue *vq);

/**
 * vq_notify_on - ask for a notification of the next chain.
 * Returns true where one came in meanwhile, whose notification may be missing: look again.
 */
bool vq_notify_on(struct virtqueue *vq);

#endif
