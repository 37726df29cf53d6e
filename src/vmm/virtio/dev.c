/* SPDX-License-Identifier: MIT */
/* dev.c - what all virtio devices share; see virtio.h. */
#include "vmm/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_FEATURES                                                          \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

static uint64_t notify_gpa(const struct virtio_dev *dev)
{
	return dev->slot.gpa + VIRTIO_MMIO_QUEUE_NOTIFY;
}

int virtio_init(struct virtio_dev *dev, struct platform *p, const struct virtio_setup *s)
{
	int err;

	dev->ops = s->ops;
	dev->platform = p;
	dev->features = s->features | RING_FEATURES;
	dev->config = s->config;
	dev->config_len = s->config_len;
	dev->queues = s->queues;
	for (unsigned int i = 0; i < s->queues; i++)
		vq_init(&dev->vq[i], &p->mem, s->queue_size);
	pthread_mutex_init(&dev->lock, NULL);
	dev->has_lock = true;
	dev->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = dev->kick_fd < 0 ? -errno : platform_take_slot(p, &dev->slot);
	if (!err)
		err = bus_add(&p->bus, BUS_MMIO, dev->slot.gpa, VIRTIO_MMIO_SIZE, &virtio_mmio_ops, dev);
	if (err) {
		virtio_fini(dev);
		return err;
	}
	dev->on_bus = true;
	irq_line_init(&dev->irq, &p->vm, dev->slot.gsi);
	/* A short cut only: where KVM refuses it, the notification is an exit like any other register's. */
	vm_ioeventfd(&p->vm, notify_gpa(dev), 4, false, NULL, dev->kick_fd, true);
	return 0;
}

void virtio_quit(struct virtio_dev *dev)
{
	atomic_store(&dev->stop, true);
	virtio_kick(dev);
}

void virtio_fini(struct virtio_dev *dev)
{
	if (dev->has_thread) {
		virtio_quit(dev);
		pthread_join(dev->thread, NULL);
		dev->has_thread = false;
	}
	if (dev->on_bus) {
		vm_ioeventfd(&dev->platform->vm, notify_gpa(dev), 4, false, NULL, dev->kick_fd, false);
		bus_remove(&dev->platform->bus, BUS_MMIO, dev->slot.gpa);
		dev->on_bus = false;
	}
	if (dev->has_lock) {
		if (dev->kick_fd >= 0)
			close(dev->kick_fd);
		pthread_mutex_destroy(&dev->lock);
		dev->has_lock = false;
	}
}

void virtio_lock(struct virtio_dev *dev)
{
	atomic_fetch_add(&dev->waiters, 1);
	pthread_mutex_lock(&dev->lock);
	atomic_fetch_sub(&dev->waiters, 1);
}

void virtio_unlock(struct virtio_dev *dev)
{
	pthread_mutex_unlock(&dev->lock);
}

void virtio_kick(struct virtio_dev *dev)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the thread has been told. */
	while (write(dev->kick_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

bool virtio_running(const struct virtio_dev *dev)
{
	uint32_t s = atomic_load(&dev->status);

	return s & VIRTIO_CONFIG_S_DRIVER_OK && !(s & VIRTIO_CONFIG_S_NEEDS_RESET);
}

bool virtio_has(const struct virtio_dev *dev, unsigned int bit)
{
	return dev->driver_features >> bit & 1;
}

static void interrupt(struct virtio_dev *dev, uint32_t cause)
{
	/* The cause is readable before the edge: the handler that the edge starts will see it. */
	atomic_fetch_or(&dev->isr, cause);
	irq_line_pulse(&dev->irq);
}

void virtio_signal(struct virtio_dev *dev, struct virtqueue *vq)
{
	if (vq_should_signal(vq))
		interrupt(dev, VIRTIO_MMIO_INT_VRING);
}

void virtio_config_changed(struct virtio_dev *dev)
{
	atomic_fetch_add(&dev->config_gen, 1);
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_needs_reset(struct virtio_dev *dev)
{
	uint32_t old = atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);

	if (old & VIRTIO_CONFIG_S_DRIVER_OK && !(old & VIRTIO_CONFIG_S_NEEDS_RESET))
		interrupt(dev, VIRTIO_MMIO_INT_CONFIG);
}

int virtio_poll_add(struct virtio_poll *p, int fd, short events)
{
	if (p->n == p->cap) {
		unsigned int cap = p->cap ? 2 * p->cap : 8;
		struct pollfd *fds = realloc(p->fds, cap * sizeof(*fds));

		if (!fds)
			return -ENOMEM;
		p->fds = fds;
		p->cap = cap;
	}
	p->fds[p->n] = (struct pollfd){ .fd = fd, .events = events };
	return (int)p->n++;
}

bool virtio_drain(struct virtio_dev *dev, struct virtqueue *vq,
		  int64_t (*serve)(struct virtio_dev *dev, struct vq_chain *c))
{
	unsigned int done = 0;

	vq_notify_off(vq);
	for (;;) {
		enum vq_result r;
		int64_t written;
		uint16_t head;

		if (done == VIRTIO_BATCH || atomic_load(&dev->stop))
			break;
		r = vq_pop(vq, &dev->chain);
		if (r == VQ_EMPTY && !vq_notify_on(vq))
			break;
		if (r == VQ_EMPTY)
			continue;
		head = dev->chain.head; /* serve() may use the chain for another queue */
		written = r == VQ_CHAIN ? serve(dev, &dev->chain) : -EIO;
		/* It may have been cut short: the driver, which still runs, is not told of an error that is none. */
		if (atomic_load(&dev->stop))
			break;
		if (written < 0) {
			virtio_needs_reset(dev);
			return false;
		}
		vq_push(vq, head, written > UINT32_MAX ? UINT32_MAX : (uint32_t)written);
		/* One interrupt a chain at most; with event indices the driver makes it fewer. */
		virtio_signal(dev, vq);
		done++;
	}
	return done == VIRTIO_BATCH;
}

static void drain_kick(const struct virtio_dev *dev)
{
	uint64_t count;

	while (read(dev->kick_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* One turn of the device's thread; @more: there is work already, so do not sleep.  Returns the new @more. */
static bool turn(struct virtio_dev *dev, struct virtio_poll *p, bool more)
{
	int n;

	p->n = 0;
	p->timeout_ms = -1;
	if (virtio_poll_add(p, dev->kick_fd, POLLIN) < 0)
		return true;
	if (dev->ops->poll_fill) {
		pthread_mutex_lock(&dev->lock);
		dev->ops->poll_fill(dev, p);
		pthread_mutex_unlock(&dev->lock);
	}
	n = poll(p->fds, p->n, more ? 0 : p->timeout_ms);
	if (n < 0) {
		for (unsigned int i = 0; i < p->n; i++)
			p->fds[i].revents = 0;
	}
	if (p->fds[0].revents)
		drain_kick(dev);
	while (atomic_load(&dev->waiters))
		sched_yield();
	pthread_mutex_lock(&dev->lock);
	if (dev->ops->poll_done)
		dev->ops->poll_done(dev, p);
	more = virtio_running(dev) && dev->ops->work(dev);
	pthread_mutex_unlock(&dev->lock);
	return more;
}

static void *dev_thread(void *arg)
{
	struct virtio_dev *dev = arg;
	struct virtio_poll p = { 0 };
	bool more = false;

	while (!atomic_load(&dev->stop))
		more = turn(dev, &p, more);
	free(p.fds);
	return NULL;
}

int virtio_start(struct virtio_dev *dev)
{
	sigset_t all, old;
	int err;

	/* Signals are the main thread's and the vCPUs'. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&dev->thread, NULL, dev_thread, dev);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	dev->has_thread = !err;
	return -err;
}
