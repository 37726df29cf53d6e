/* SPDX-License-Identifier: MIT */
/*
 * usernet.h - a network in user space (libslirp): TCP, UDP and ping out by the
 * host's own sockets, DHCP and DNS for the guest, host ports forwarded in.
 *
 * One thread at a time may call: the card's.
 */
#ifndef VIRTIO_USERNET_H
#define VIRTIO_USERNET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct usernet;
struct virtio_poll;
struct vmm_err;

struct usernet_fwd {
	bool udp;
	struct in_addr host, guest; /* 0: every address of the host; the guest's DHCP address */
	uint16_t host_port, guest_port; /* host byte order */
};

/**
 * usernet_parse_fwd - read "tcp:[ADDR]:PORT-[ADDR]:PORT" ("udp:..." too).
 * Returns 0, or -EINVAL with @e saying what is wrong.
 */
int usernet_parse_fwd(const char *text, struct usernet_fwd *f, struct vmm_err *e);

/**
 * usernet_new - bring the network up.
 * @deliver: called with each frame for the guest, from usernet_send() and usernet_poll_done().
 * @un: the new network.
 * Returns 0 or -errno.
 */
int usernet_new(void (*deliver)(void *opaque, const void *frame, size_t len), void *opaque,
		struct usernet **un);

/** usernet_free - NULL is fine. */
void usernet_free(struct usernet *un);

/** usernet_add_fwd - forward a port; 0 or -errno with @e filled. */
int usernet_add_fwd(struct usernet *un, const struct usernet_fwd *f, struct vmm_err *e);

/** usernet_send - an Ethernet frame from the guest. */
void usernet_send(struct usernet *un, const void *frame, size_t len);

/** usernet_poll_fill, usernet_poll_done - around poll(): what to wait for, and what came. */
void usernet_poll_fill(struct usernet *un, struct virtio_poll *p);
void usernet_poll_done(struct usernet *un, const struct virtio_poll *p);

#endif
