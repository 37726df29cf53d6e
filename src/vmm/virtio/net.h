/* SPDX-License-Identifier: MIT */
/* net.h - virtio network card (VIRTIO 1.2, 5.1) on a network in user space: NAT out, forwarded ports in. */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include <stdint.h>

struct platform;
struct usernet_fwd;
struct virtio_dev;
struct vmm_err;

struct virtio_net_opts {
	uint8_t mac[6];		       /* all zero: 52:54:00:12:34:56 */
	const struct usernet_fwd *fwd; /* see usernet.h; the caller's, used in the call alone */
	unsigned int fwds;
};

/**
 * virtio_net_create - a card on a network of its own: the guest is 10.0.2.15 (by
 * DHCP), the host and gateway 10.0.2.2, the name server 10.0.2.3.
 * @dev: the new device, to be ended by virtio_net_destroy().
 * @e: what is wrong, in words.
 * Returns 0 or -errno: among them those of bind() for a forwarded port.
 */
int virtio_net_create(struct platform *p, const struct virtio_net_opts *o, struct virtio_dev **dev,
		      struct vmm_err *e);

/** virtio_net_destroy - no vCPU may run any more; NULL is fine. */
void virtio_net_destroy(struct virtio_dev *dev);

#endif
