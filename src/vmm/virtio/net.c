/* SPDX-License-Identifier: MIT */
/*
 * net.c - virtio network card.  Frames for a guest that has no buffer ready
 * wait in a bounded backlog; beyond it they are lost, as on a wire.
 */
#include "vmm/virtio/net.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/err.h"
#include "vmm/virtio/iov.h"
#include "vmm/virtio/usernet.h"
#include "vmm/virtio/virtio.h"

#define MAX_FRAME 65535u
#define MIN_FRAME 14u  /* an Ethernet header */
#define BACKLOG	  256u /* frames */

enum { QUEUE_RX, QUEUE_TX, QUEUES };

struct frame {
	size_t len;
	uint8_t *data;
};

struct net {
	struct virtio_dev dev;
	struct virtio_net_config config;
	struct usernet *un;
	struct frame backlog[BACKLOG];
	unsigned int head, count;
	uint8_t tx[MAX_FRAME];
};

typedef struct virtio_net_hdr_v1 net_hdr;

static struct net *net_of(struct virtio_dev *dev)
{
	return (struct net *)((char *)dev - offsetof(struct net, dev));
}

/* Put one frame into the next receive buffer; false where there is none. */
static bool receive(struct net *n, const void *frame, size_t len)
{
	struct virtio_dev *dev = &n->dev;
	struct virtqueue *vq = &dev->vq[QUEUE_RX];
	/* num_buffers is 1 where buffers are not merged (5.1.6.4). */
	net_hdr hdr = { .num_buffers = 1 };
	enum vq_result r;

	if (virtio_has(dev, VIRTIO_NET_F_GUEST_CSUM))
		hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID; /* made in this process, a moment ago */
	do
		r = vq_pop(vq, &dev->chain);
	while (r == VQ_EMPTY && vq_notify_on(vq));
	if (r == VQ_EMPTY)
		return false;
	if (r == VQ_BROKEN) {
		virtio_needs_reset(dev);
		return false;
	}
	if (dev->chain.in_len < sizeof(hdr) + len) {
		vq_unpop(vq); /* the frame is too large for it, and lost */
		return true;
	}
	iov_write(dev->chain.in, dev->chain.in_n, 0, &hdr, sizeof(hdr));
	iov_write(dev->chain.in, dev->chain.in_n, sizeof(hdr), frame, len);
	vq_push(vq, dev->chain.head, (uint32_t)(sizeof(hdr) + len));
	return true;
}

static void backlog_drop_first(struct net *n)
{
	free(n->backlog[n->head].data);
	n->head = (n->head + 1) % BACKLOG;
	n->count--;
}

static void backlog_add(struct net *n, const void *frame, size_t len)
{
	struct frame *f = &n->backlog[(n->head + n->count) % BACKLOG];

	if (n->count == BACKLOG)
		return;
	f->data = malloc(len);
	if (!f->data)
		return;
	memcpy(f->data, frame, len);
	f->len = len;
	n->count++;
}

/* From the network, on the device's thread with the lock held. */
static void net_deliver(void *opaque, const void *frame, size_t len)
{
	struct net *n = opaque;

	if (len > MAX_FRAME || !virtio_running(&n->dev))
		return;
	if (n->count || !receive(n, frame, len))
		backlog_add(n, frame, len);
}

/*
 * The checksum that the driver left to us (5.1.6.2): the field holds the
 * pseudo-header's sum; add the rest, from @start on, big endian words.
 */
static bool finish_checksum(uint8_t *frame, size_t len, size_t start, size_t offset)
{
	uint64_t sum = 0;
	uint16_t folded;
	size_t i;

	if (start >= len || len - start < 2 || offset > len - start - 2)
		return false;
	for (i = start; i + 1 < len; i += 2)
		sum += (uint64_t)frame[i] << 8 | frame[i + 1];
	if (i < len)
		sum += (uint64_t)frame[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	folded = (uint16_t)~sum;
	if (!folded)
		folded = 0xffff; /* 0 says "none" in UDP, and both are the same number */
	frame[start + offset] = (uint8_t)(folded >> 8);
	frame[start + offset + 1] = (uint8_t)folded;
	return true;
}

static int64_t net_send(struct virtio_dev *dev, struct vq_chain *c)
{
	struct net *n = net_of(dev);
	net_hdr hdr;
	size_t len;

	if (c->out_len < sizeof(hdr))
		return -EINVAL;
	len = c->out_len - sizeof(hdr);
	if (len < MIN_FRAME || len > MAX_FRAME)
		return 0;
	iov_read(c->out, c->out_n, 0, &hdr, sizeof(hdr));
	iov_read(c->out, c->out_n, sizeof(hdr), n->tx, len);
	if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
	    !finish_checksum(n->tx, len, hdr.csum_start, hdr.csum_offset))
		return 0;
	usernet_send(n->un, n->tx, len);
	return 0;
}

static bool net_work(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	bool more = virtio_drain(dev, &dev->vq[QUEUE_TX], net_send);

	vq_notify_off(&dev->vq[QUEUE_RX]);
	while (n->count && receive(n, n->backlog[n->head].data, n->backlog[n->head].len))
		backlog_drop_first(n);
	/* One interrupt for all that came in this turn. */
	virtio_signal(dev, &dev->vq[QUEUE_RX]);
	return more;
}

static void net_reset(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	while (n->count)
		backlog_drop_first(n);
}

static void net_poll_fill(struct virtio_dev *dev, struct virtio_poll *p)
{
	usernet_poll_fill(net_of(dev)->un, p);
}

static void net_poll_done(struct virtio_dev *dev, const struct virtio_poll *p)
{
	usernet_poll_done(net_of(dev)->un, p);
}

static const struct virtio_ops net_ops = {
	.device_id = VIRTIO_ID_NET,
	.work = net_work,
	.reset = net_reset,
	.poll_fill = net_poll_fill,
	.poll_done = net_poll_done,
};

static int net_up(struct net *n, const struct virtio_net_opts *o, struct vmm_err *e)
{
	int err = usernet_new(net_deliver, n, &n->un);

	if (err)
		return vmm_fail(e, -err, "user network: cannot start: %s", strerror(-err));
	for (unsigned int i = 0; i < o->fwds && !err; i++)
		err = usernet_add_fwd(n->un, &o->fwd[i], e);
	return err;
}

int virtio_net_create(struct platform *p, const struct virtio_net_opts *o, struct virtio_dev **dev,
		      struct vmm_err *e)
{
	static const uint8_t default_mac[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 }, none[6];
	struct net *n = calloc(1, sizeof(*n));
	struct virtio_setup setup = {
		.ops = &net_ops,
		.queues = QUEUES,
		.queue_size = VQ_MAX_SIZE,
		.features = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS |
			    1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM,
		.config_len = offsetof(struct virtio_net_config, max_virtqueue_pairs),
	};
	int err;

	if (!n)
		return vmm_fail(e, ENOMEM, "user network: out of memory");
	memcpy(n->config.mac, memcmp(o->mac, none, 6) ? o->mac : default_mac, 6);
	n->config.status = VIRTIO_NET_S_LINK_UP;
	setup.config = &n->config;
	err = net_up(n, o, e);
	if (!err)
		err = virtio_init(&n->dev, p, &setup);
	if (!err)
		err = virtio_start(&n->dev);
	if (err) {
		virtio_net_destroy(&n->dev);
		return vmm_fail(e, -err, "user network: cannot make a card: %s", strerror(-err));
	}
	*dev = &n->dev;
	return 0;
}

void virtio_net_destroy(struct virtio_dev *dev)
{
	struct net *n;

	if (!dev)
		return;
	n = net_of(dev);
	virtio_fini(dev);
	usernet_free(n->un);
	net_reset(dev);
	free(n);
}
