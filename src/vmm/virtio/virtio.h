/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - what all virtio devices share: feature negotiation, queues, the
 * interrupt, and a thread that does the device's work.
 *
 * A device embeds struct virtio_dev.  vCPUs touch its registers (mmio.c); a
 * notification only signals @kick_fd, and the device's own thread then calls
 * ops->work().  @lock keeps registers and work apart, so that a reset waits for
 * the request at hand; the status and interrupt registers, which drivers read
 * at each interrupt, take no lock.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/irq.h"
#include "vmm/platform.h"
#include "vmm/virtio/virtqueue.h"

struct pollfd;
struct virtio_dev;

#define VIRTIO_MAX_QUEUES 4u
#define VIRTIO_BATCH	  64u /* chains served between two looks at the lock's other users */

/* Host descriptors that a device's thread waits for. */
struct virtio_poll {
	struct pollfd *fds; /* [0] is the kick */
	unsigned int n, cap;
	int timeout_ms; /* -1: none */
};

/* Called on the device's thread with the lock held, unless said otherwise. */
struct virtio_ops {
	uint32_t device_id; /* VIRTIO_ID_* */
	/* Serve the queues, at most VIRTIO_BATCH chains or so.  Returns true where more is left. */
	bool (*work)(struct virtio_dev *dev);
	/* Forget what the driver set up; on a vCPU thread.  May be NULL. */
	void (*reset)(struct virtio_dev *dev);
	/* Add descriptors to wait for, and act on what happened; both may be NULL; called in any state. */
	void (*poll_fill)(struct virtio_dev *dev, struct virtio_poll *p);
	void (*poll_done)(struct virtio_dev *dev, const struct virtio_poll *p);
};

/* What a device says of itself at its start. */
struct virtio_setup {
	const struct virtio_ops *ops;
	uint64_t features; /* beyond those of the transport and the rings */
	const void *config; /* the device's, in the layout of its specification; read with the lock held */
	size_t config_len;
	unsigned int queues;
	uint16_t queue_size;
};

struct virtio_dev {
	const struct virtio_ops *ops;
	struct platform *platform;
	struct virtio_slot slot;
	struct irq_line irq;

	pthread_mutex_t lock;
	atomic_uint waiters; /* vCPUs that want @lock: the thread lets them pass */
	pthread_t thread;
	bool on_bus, has_lock, has_thread;
	atomic_bool stop;
	int kick_fd;

	uint64_t features, driver_features;
	uint32_t features_sel, driver_features_sel, queue_sel;
	_Atomic uint32_t status, isr;
	atomic_uint config_gen;
	const uint8_t *config;
	size_t config_len;
	unsigned int queues;
	struct virtqueue vq[VIRTIO_MAX_QUEUES];
	struct vq_chain chain; /* the one at hand */
};

/**
 * virtio_init - take a slot of the platform and appear on its bus.
 * @dev: inside the device's zeroed struct.
 * Returns 0 or -errno with nothing left behind; virtio_start() must follow before a vCPU runs.
 */
int virtio_init(struct virtio_dev *dev, struct platform *p, const struct virtio_setup *s);

/** virtio_start - start the device's thread; 0 or -errno. */
int virtio_start(struct virtio_dev *dev);

/**
 * virtio_quit - the machine ends: the device's thread gives up what it is at, however long that would take, and
 * serves nothing more.  Any thread; vCPUs may run.  virtio_fini() follows.
 */
void virtio_quit(struct virtio_dev *dev);

/**
 * virtio_fini - stop the thread, leave the bus.  No vCPU may run any more.
 * Safe on a device whose virtio_init() failed or never ran.
 */
void virtio_fini(struct virtio_dev *dev);

/** virtio_lock, virtio_unlock - for vCPU threads: the device's thread steps aside. */
void virtio_lock(struct virtio_dev *dev);
void virtio_unlock(struct virtio_dev *dev);

/** virtio_kick - have work() called soon; any thread, no lock needed. */
void virtio_kick(struct virtio_dev *dev);

/** virtio_running - whether the driver is ready and the device in order. */
bool virtio_running(const struct virtio_dev *dev);

/** virtio_has - whether feature bit @bit was negotiated. */
bool virtio_has(const struct virtio_dev *dev, unsigned int bit);

/** virtio_signal - interrupt the driver if it wants to know of queue @vq's used chains. */
void virtio_signal(struct virtio_dev *dev, struct virtqueue *vq);

/** virtio_config_changed - a new generation of the configuration, and its interrupt.  Lock held. */
void virtio_config_changed(struct virtio_dev *dev);

/** virtio_needs_reset - the driver broke the protocol: stop until it resets.  Lock held. */
void virtio_needs_reset(struct virtio_dev *dev);

/** virtio_poll_add - wait for @events on @fd too; its index, or -ENOMEM. */
int virtio_poll_add(struct virtio_poll *p, int fd, short events);

/**
 * virtio_drain - the usual work(): pop chains of @vq, give each to @serve, and
 * push it with the length that @serve returns.
 * @serve: with dev->chain filled; returns the bytes written, or a negative
 * value for a chain no proper driver makes, which stops the device.
 * Returns true where more is left.
 */
bool virtio_drain(struct virtio_dev *dev, struct virtqueue *vq,
		  int64_t (*serve)(struct virtio_dev *dev, struct vq_chain *c));

/* mmio.c: the register file, for virtio_init(). */
extern const struct bus_ops virtio_mmio_ops;

#endif
