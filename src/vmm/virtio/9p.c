/* SPDX-License-Identifier: MIT */
/* 9p.c - the 9P server behind a virtqueue: one chain is one message and its answer. */
#include "vmm/virtio/9p.h"

#include <errno.h>
#include <linux/virtio_9p.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/err.h"
#include "vmm/virtio/iov.h"
#include "vmm/virtio/p9_server.h"
#include "vmm/virtio/virtio.h"

struct nine {
	struct virtio_dev dev;
	struct p9_server srv;
	bool serving;
	struct {
		uint16_t tag_len;
		char tag[VIRTIO_9P_TAG_MAX];
	} __attribute__((packed)) config;
	uint8_t req[P9_MSIZE_MAX], reply[P9_MSIZE_MAX];
};

static struct nine *nine_of(struct virtio_dev *dev)
{
	return (struct nine *)((char *)dev - offsetof(struct nine, dev));
}

static int64_t nine_serve(struct virtio_dev *dev, struct vq_chain *c)
{
	struct nine *n = nine_of(dev);
	/* A copy: what is checked is what is used. */
	size_t len = iov_read(c->out, c->out_n, 0, n->req, sizeof(n->req));
	size_t room = c->in_len < sizeof(n->reply) ? c->in_len : sizeof(n->reply);
	int64_t r = p9_serve(&n->srv, n->req, len, n->reply, room);

	return r < 0 ? r : (int64_t)iov_write(c->in, c->in_n, 0, n->reply, (size_t)r);
}

static bool nine_work(struct virtio_dev *dev)
{
	return virtio_drain(dev, &dev->vq[0], nine_serve);
}

static void nine_reset(struct virtio_dev *dev)
{
	p9_server_reset(&nine_of(dev)->srv);
}

static const struct virtio_ops nine_ops = {
	.device_id = VIRTIO_ID_9P,
	.work = nine_work,
	.reset = nine_reset,
};

int virtio_9p_create(struct platform *p, const struct virtio_9p_opts *o, struct virtio_dev **dev,
		     struct vmm_err *e)
{
	size_t tag_len = strlen(o->tag);
	struct virtio_setup setup = {
		.ops = &nine_ops,
		.queues = 1,
		.queue_size = 128,
		.features = 1ull << VIRTIO_9P_MOUNT_TAG,
		.config_len = sizeof(uint16_t) + tag_len,
	};
	struct nine *n;
	int err;

	if (!tag_len || tag_len > VIRTIO_9P_TAG_MAX)
		return vmm_fail(e, EINVAL, "%s: tag \"%s\": must have 1 to %u bytes", o->path, o->tag,
				VIRTIO_9P_TAG_MAX);
	n = calloc(1, sizeof(*n));
	if (!n)
		return vmm_fail(e, ENOMEM, "%s: out of memory", o->path);
	n->config.tag_len = (uint16_t)tag_len;
	memcpy(n->config.tag, o->tag, tag_len);
	setup.config = &n->config;
	err = p9_server_init(&n->srv, o->path, o->read_only);
	n->serving = !err;
	if (err)
		vmm_fail(e, -err, "%s: cannot share: %s", o->path, strerror(-err));
	if (!err)
		err = virtio_init(&n->dev, p, &setup);
	if (!err)
		err = virtio_start(&n->dev);
	if (err) {
		virtio_9p_destroy(&n->dev);
		return vmm_fail(e, -err, "%s: cannot make a device of it: %s", o->path, strerror(-err));
	}
	*dev = &n->dev;
	return 0;
}

void virtio_9p_destroy(struct virtio_dev *dev)
{
	struct nine *n;

	if (!dev)
		return;
	n = nine_of(dev);
	virtio_fini(dev);
	if (n->serving)
		p9_server_fini(&n->srv);
	free(n);
}
