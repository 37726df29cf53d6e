/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "vmm/virtio/iov.h"
#include "vmm/virtio/virtio.h"

/* A request may be served in part (5.4.6): a bound on what one costs. */
#define RNG_MAX 4096u

static int64_t rng_serve(struct virtio_dev *dev, struct vq_chain *c)
{
	uint8_t buf[RNG_MAX];
	size_t want = c->in_len < sizeof(buf) ? c->in_len : sizeof(buf);
	ssize_t got;

	do
		got = getrandom(buf, want, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? 0 : (int64_t)iov_write(c->in, c->in_n, 0, buf, (size_t)got);
}

static bool rng_work(struct virtio_dev *dev)
{
	return virtio_drain(dev, &dev->vq[0], rng_serve);
}

static const struct virtio_ops rng_ops = { .device_id = VIRTIO_ID_RNG, .work = rng_work };

int virtio_rng_create(struct platform *p, struct virtio_dev **dev)
{
	static const struct virtio_setup setup = { .ops = &rng_ops, .queues = 1, .queue_size = 64 };
	struct virtio_dev *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	err = virtio_init(d, p, &setup);
	if (!err)
		err = virtio_start(d);
	if (err) {
		virtio_rng_destroy(d);
		return err;
	}
	*dev = d;
	return 0;
}

void virtio_rng_destroy(struct virtio_dev *dev)
{
	if (!dev)
		return;
	virtio_fini(dev);
	free(dev);
}
