/* SPDX-License-Identifier: MIT */
/*
 * chardev.h - a stream of console bytes between a device (serial port, virtio
 * console) and what is behind it (the terminal, a test).
 *
 * Output: the device calls chardev_write().  Input: the back end calls the
 * device's input(), which takes as much as it has room for; the rest waits
 * until the device calls chardev_input_ready().  Nothing is ever dropped.
 */
#ifndef VMM_CHARDEV_H
#define VMM_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

struct chardev;

/* What the back end provides. */
struct chardev_ops {
	void (*write)(struct chardev *cd, const void *buf, size_t len); /* any thread; may block for room */
	void (*input_ready)(struct chardev *cd); /* any thread; never calls back at once */
	void (*size)(struct chardev *cd, uint16_t *cols, uint16_t *rows); /* 0, 0 where unknown */
};

/* What the device provides; called on the loop's thread. */
struct chardev_client {
	size_t (*input)(void *opaque, const void *buf, size_t len); /* returns the bytes taken */
	void (*resized)(void *opaque);				    /* may be NULL */
};

struct chardev {
	const struct chardev_ops *ops;
	const struct chardev_client *client;
	void *opaque; /* the client's */
};

/** chardev_attach - a device takes the front end; one per chardev.  Before the loop runs. */
static inline void chardev_attach(struct chardev *cd, const struct chardev_client *client, void *opaque)
{
	cd->client = client;
	cd->opaque = opaque;
}

/** chardev_write - bytes from the guest; all are taken. */
static inline void chardev_write(struct chardev *cd, const void *buf, size_t len)
{
	cd->ops->write(cd, buf, len);
}

/**
 * chardev_input_ready - the device has room again after input() took less than
 * it was offered.  Safe with the device's lock held: input() comes later, on
 * the loop's thread.
 */
static inline void chardev_input_ready(struct chardev *cd)
{
	cd->ops->input_ready(cd);
}

/** chardev_size - the terminal's size in characters, 0 and 0 where there is none. */
static inline void chardev_size(struct chardev *cd, uint16_t *cols, uint16_t *rows)
{
	cd->ops->size(cd, cols, rows);
}

#endif
