/* SPDX-License-Identifier: MIT */
/*
 * console.c - virtio console with one port.
 *
 * Input waits in a small FIFO with a lock of its own, so that the event loop
 * never waits for a guest that does not read or a terminal that does not take
 * output.
 *
 * Linux throws away what arrives between its giving buffers and its opening
 * the port.  So the device offers MULTIPORT, if only for one port: its control
 * messages tell when the port is open, and input is held back until then.
 */
#include "vmm/virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/chardev.h"
#include "vmm/virtio/iov.h"
#include "vmm/virtio/virtio.h"

#define FIFO_SIZE 4096u

#define CONTROLS  16u /* more are never outstanding with a driver in its right mind */

enum { QUEUE_RX, QUEUE_TX, QUEUE_CONTROL_RX, QUEUE_CONTROL_TX, QUEUES };

/* A control message to the driver; RESIZE alone has the second part. */
struct control {
	struct virtio_console_control head;
	uint16_t size[2];
};

struct console {
	struct virtio_dev dev;
	struct chardev *cd;
	struct virtio_console_config config;
	atomic_bool resized;
	bool open; /* the driver's end of the port, with MULTIPORT */
	struct control control[CONTROLS];
	unsigned int controls;

	pthread_mutex_t fifo_lock;
	uint8_t fifo[FIFO_SIZE];
	size_t head, count;
	bool refused; /* input() took less than it was offered */
};

static struct console *console_of(struct virtio_dev *dev)
{
	return (struct console *)((char *)dev - offsetof(struct console, dev));
}

/* On the loop's thread. */
static size_t console_input(void *opaque, const void *buf, size_t len)
{
	struct console *con = opaque;
	size_t n;

	pthread_mutex_lock(&con->fifo_lock);
	n = FIFO_SIZE - con->count < len ? FIFO_SIZE - con->count : len;
	for (size_t i = 0; i < n; i++)
		con->fifo[(con->head + con->count + i) % FIFO_SIZE] = ((const uint8_t *)buf)[i];
	con->count += n;
	con->refused = n < len;
	pthread_mutex_unlock(&con->fifo_lock);
	virtio_kick(&con->dev);
	return n;
}

static void console_resized(void *opaque)
{
	struct console *con = opaque;

	atomic_store(&con->resized, true);
	virtio_kick(&con->dev);
}

static const struct chardev_client console_client = { .input = console_input, .resized = console_resized };

/* Move up to @room bytes out of the FIFO; @more_room: the back end waits for some and now has it. */
static size_t fifo_take(struct console *con, uint8_t *to, size_t room, bool *more_room)
{
	size_t n;

	pthread_mutex_lock(&con->fifo_lock);
	n = con->count < room ? con->count : room;
	for (size_t i = 0; i < n; i++)
		to[i] = con->fifo[(con->head + i) % FIFO_SIZE];
	con->head = (con->head + n) % FIFO_SIZE;
	con->count -= n;
	*more_room = con->refused && n;
	if (*more_room)
		con->refused = false;
	pthread_mutex_unlock(&con->fifo_lock);
	return n;
}

static bool fifo_empty(struct console *con)
{
	bool empty;

	pthread_mutex_lock(&con->fifo_lock);
	empty = !con->count;
	pthread_mutex_unlock(&con->fifo_lock);
	return empty;
}

static int64_t console_receive(struct virtio_dev *dev, struct vq_chain *c)
{
	struct console *con = console_of(dev);
	uint8_t buf[FIFO_SIZE];
	bool more_room;
	size_t n;

	if (!c->in_len)
		return -EINVAL;
	n = fifo_take(con, buf, c->in_len < sizeof(buf) ? c->in_len : sizeof(buf), &more_room);
	if (more_room)
		chardev_input_ready(con->cd);
	return (int64_t)iov_write(c->in, c->in_n, 0, buf, n);
}

static int64_t console_send(struct virtio_dev *dev, struct vq_chain *c)
{
	struct console *con = console_of(dev);
	uint8_t buf[4096];
	size_t off = 0, n;

	/* By way of a copy: what is written is what was read, once. */
	while (!atomic_load(&dev->stop) && (n = iov_read(c->out, c->out_n, off, buf, sizeof(buf)))) {
		chardev_write(con->cd, buf, n);
		off += n;
	}
	return 0;
}

static void say(struct console *con, uint16_t event, uint16_t value)
{
	struct control *m = &con->control[con->controls];

	if (con->controls == CONTROLS)
		return;
	/*
	 * RESIZE: the specification has the columns first (5.3.6.2); Linux, which is
	 * who listens, has always read the rows first.
	 */
	*m = (struct control){
		.head = { .id = 0, .event = event, .value = value },
		.size = { con->config.rows, con->config.cols },
	};
	con->controls++;
}

static int64_t console_control(struct virtio_dev *dev, struct vq_chain *c)
{
	struct console *con = console_of(dev);
	struct virtio_console_control m;

	if (iov_read(c->out, c->out_n, 0, &m, sizeof(m)) < sizeof(m))
		return -EINVAL;
	if (m.event == VIRTIO_CONSOLE_DEVICE_READY && m.value)
		say(con, VIRTIO_CONSOLE_PORT_ADD, 1);
	if (m.id)
		return 0;
	if (m.event == VIRTIO_CONSOLE_PORT_READY && m.value) {
		say(con, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
		say(con, VIRTIO_CONSOLE_PORT_OPEN, 1);
		if (con->config.cols)
			say(con, VIRTIO_CONSOLE_RESIZE, 0);
	}
	if (m.event == VIRTIO_CONSOLE_PORT_OPEN)
		con->open = m.value;
	return 0;
}

/* One message to the driver; false where it has given no buffer. */
static bool put_control(struct virtio_dev *dev, const struct control *m)
{
	struct virtqueue *vq = &dev->vq[QUEUE_CONTROL_RX];
	size_t len = m->head.event == VIRTIO_CONSOLE_RESIZE ? sizeof(*m) : sizeof(m->head);
	enum vq_result r;

	do
		r = vq_pop(vq, &dev->chain);
	while (r == VQ_EMPTY && vq_notify_on(vq));
	if (r == VQ_EMPTY)
		return false;
	if (r == VQ_BROKEN || dev->chain.in_len < len) {
		virtio_needs_reset(dev);
		return false;
	}
	vq_push(vq, dev->chain.head, (uint32_t)iov_write(dev->chain.in, dev->chain.in_n, 0, m, len));
	return true;
}

static bool control(struct console *con)
{
	struct virtio_dev *dev = &con->dev;
	bool more = virtio_drain(dev, &dev->vq[QUEUE_CONTROL_TX], console_control);
	unsigned int sent = 0;

	while (sent < con->controls && put_control(dev, &con->control[sent]))
		sent++;
	con->controls -= sent;
	memmove(con->control, con->control + sent, con->controls * sizeof(con->control[0]));
	virtio_signal(dev, &dev->vq[QUEUE_CONTROL_RX]);
	return more;
}

/* Input for as long as there is both a byte and a buffer to put it into. */
static void receive(struct console *con)
{
	struct virtio_dev *dev = &con->dev;
	struct virtqueue *vq = &dev->vq[QUEUE_RX];

	vq_notify_off(vq);
	while (!fifo_empty(con)) {
		enum vq_result r = vq_pop(vq, &dev->chain);
		int64_t n;

		if (r == VQ_EMPTY && !vq_notify_on(vq))
			return;
		if (r == VQ_EMPTY)
			continue;
		n = r == VQ_CHAIN ? console_receive(dev, &dev->chain) : -EIO;
		if (n < 0) {
			virtio_needs_reset(dev);
			return;
		}
		vq_push(vq, dev->chain.head, (uint32_t)n);
		virtio_signal(dev, vq);
	}
}

static void read_size(struct console *con)
{
	uint16_t cols, rows;

	chardev_size(con->cd, &cols, &rows);
	con->config.cols = cols;
	con->config.rows = rows;
}

static void apply_resize(struct console *con)
{
	if (!atomic_exchange(&con->resized, false))
		return;
	read_size(con);
	if (virtio_has(&con->dev, VIRTIO_CONSOLE_F_MULTIPORT) && con->open)
		say(con, VIRTIO_CONSOLE_RESIZE, 0);
	virtio_config_changed(&con->dev);
}

static bool console_work(struct virtio_dev *dev)
{
	struct console *con = console_of(dev);
	bool multiport = virtio_has(dev, VIRTIO_CONSOLE_F_MULTIPORT), more = false;

	apply_resize(con);
	if (multiport)
		more = control(con);
	if (!multiport || con->open)
		receive(con);
	if (virtio_running(dev) && virtio_drain(dev, &dev->vq[QUEUE_TX], console_send))
		more = true;
	return more;
}

static void console_reset(struct virtio_dev *dev)
{
	struct console *con = console_of(dev);

	con->open = false;
	con->controls = 0;
}

static const struct virtio_ops console_ops = {
	.device_id = VIRTIO_ID_CONSOLE,
	.work = console_work,
	.reset = console_reset,
};

int virtio_console_create(struct platform *p, struct chardev *cd, struct virtio_dev **dev)
{
	struct console *con = calloc(1, sizeof(*con));
	struct virtio_setup setup = {
		.ops = &console_ops,
		.queues = QUEUES,
		.queue_size = 64,
		.features = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_MULTIPORT,
		.config_len = sizeof(con->config),
	};
	int err;

	if (!con)
		return -ENOMEM;
	con->cd = cd;
	read_size(con);
	con->config.max_nr_ports = 1;
	pthread_mutex_init(&con->fifo_lock, NULL);
	setup.config = &con->config;
	err = virtio_init(&con->dev, p, &setup);
	if (!err)
		err = virtio_start(&con->dev);
	if (err) {
		virtio_console_destroy(&con->dev);
		return err;
	}
	chardev_attach(cd, &console_client, con);
	*dev = &con->dev;
	return 0;
}

void virtio_console_destroy(struct virtio_dev *dev)
{
	struct console *con;

	if (!dev)
		return;
	con = console_of(dev);
	virtio_fini(dev);
	pthread_mutex_destroy(&con->fifo_lock);
	free(con);
}
