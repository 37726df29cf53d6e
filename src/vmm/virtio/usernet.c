/* SPDX-License-Identifier: MIT */
#include "vmm/virtio/usernet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/err.h"
#include "vmm/virtio/virtio.h"

struct timer {
	struct timer *next;
	SlirpTimerCb fn;
	void *opaque;
	int64_t due_ms; /* -1: not armed */
};

struct usernet {
	Slirp *slirp;
	struct timer *timers;
	void (*deliver)(void *opaque, const void *frame, size_t len);
	void *opaque;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* What libslirp calls. */

static ssize_t cb_send_packet(const void *buf, size_t len, void *opaque)
{
	struct usernet *un = opaque;

	un->deliver(un->opaque, buf, len);
	return (ssize_t)len;
}

static void cb_guest_error(const char *msg, void *opaque)
{
}

static int64_t cb_clock_get_ns(void *opaque)
{
	return now_ns();
}

static void *cb_timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque)
{
	struct usernet *un = opaque;
	struct timer *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct timer){ .next = un->timers, .fn = fn, .opaque = fn_opaque, .due_ms = -1 };
	un->timers = t;
	return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct usernet *un = opaque;

	for (struct timer **t = &un->timers; *t; t = &(*t)->next) {
		if (*t != timer)
			continue;
		*t = (*t)->next;
		free(timer);
		return;
	}
}

static void cb_timer_mod(void *timer, int64_t due_ms, void *opaque)
{
	if (timer)
		((struct timer *)timer)->due_ms = due_ms;
}

/* Each poll asks anew, and all of this runs on the one thread: nothing to register or to wake. */
static void cb_poll_fd(int fd, void *opaque)
{
}

static void cb_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock_get_ns,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_poll_fd,
	.unregister_poll_fd = cb_poll_fd,
	.notify = cb_notify,
};

static struct in_addr ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct in_addr){ htonl((uint32_t)a << 24 | b << 16 | c << 8 | d) };
}

int usernet_new(void (*deliver)(void *opaque, const void *frame, size_t len), void *opaque,
		struct usernet **un)
{
	/* The addresses that people know from other user networks. */
	const SlirpConfig config = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = ipv4(10, 0, 2, 0),
		.vnetmask = ipv4(255, 255, 255, 0),
		.vhost = ipv4(10, 0, 2, 2),
		.vnameserver = ipv4(10, 0, 2, 3),
		.vdhcp_start = ipv4(10, 0, 2, 15),
		.vhostname = "anykvm",
	};
	struct usernet *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->deliver = deliver;
	u->opaque = opaque;
	u->slirp = slirp_new(&config, &callbacks, u);
	if (!u->slirp) {
		free(u);
		return -EIO;
	}
	*un = u;
	return 0;
}

void usernet_free(struct usernet *un)
{
	if (!un)
		return;
	slirp_cleanup(un->slirp);
	while (un->timers)
		cb_timer_free(un->timers, un);
	free(un);
}

int usernet_add_fwd(struct usernet *un, const struct usernet_fwd *f, struct vmm_err *e)
{
	char addr[INET_ADDRSTRLEN];
	int err;

	errno = 0;
	if (!slirp_add_hostfwd(un->slirp, f->udp, f->host, f->host_port, f->guest, f->guest_port))
		return 0;
	err = errno ? errno : EADDRINUSE;
	inet_ntop(AF_INET, &f->host, addr, sizeof(addr));
	return vmm_fail(e, err, "hostfwd: cannot listen on %s:%s:%u: %s", f->udp ? "udp" : "tcp", addr,
			f->host_port, strerror(err));
}

void usernet_send(struct usernet *un, const void *frame, size_t len)
{
	slirp_input(un->slirp, frame, (int)len);
}

/* libslirp's words for poll()'s events. */
static const struct {
	int slirp;
	short poll;
} events[] = {
	{ SLIRP_POLL_IN, POLLIN },
	{ SLIRP_POLL_OUT, POLLOUT },
	{ SLIRP_POLL_PRI, POLLPRI },
	{ SLIRP_POLL_ERR, POLLERR },
	{ SLIRP_POLL_HUP, POLLHUP },
};

static int add_poll(int fd, int want, void *opaque)
{
	short ev = 0;

	for (unsigned int i = 0; i < 3; i++) /* errors and hang-ups come unasked */
		if (want & events[i].slirp)
			ev |= events[i].poll;
	return virtio_poll_add(opaque, fd, ev);
}

static int get_events(int idx, void *opaque)
{
	const struct virtio_poll *p = opaque;
	int got = 0;

	if (idx < 0)
		return 0;
	for (unsigned int i = 0; i < sizeof(events) / sizeof(events[0]); i++)
		if (p->fds[idx].revents & events[i].poll)
			got |= events[i].slirp;
	return got;
}

void usernet_poll_fill(struct usernet *un, struct virtio_poll *p)
{
	uint32_t timeout = UINT32_MAX;
	int64_t now = now_ns() / 1000000;

	slirp_pollfds_fill(un->slirp, &timeout, add_poll, p);
	for (const struct timer *t = un->timers; t; t = t->next) {
		int64_t left = t->due_ms > now ? t->due_ms - now : 0;

		if (t->due_ms >= 0 && left < timeout)
			timeout = (uint32_t)left;
	}
	p->timeout_ms = timeout > INT32_MAX ? -1 : (int)timeout;
}

void usernet_poll_done(struct usernet *un, const struct virtio_poll *p)
{
	int64_t now = now_ns() / 1000000;

	slirp_pollfds_poll(un->slirp, 0, get_events, (void *)p);
	for (struct timer *t = un->timers, *next; t; t = next) {
		next = t->next;
		if (t->due_ms < 0 || t->due_ms > now)
			continue;
		t->due_ms = -1;
		t->fn(t->opaque);
	}
}

/* "ADDR:PORT" up to @end, ADDR optional, into @a and @port. */
static bool parse_end(const char *s, const char *end, struct in_addr *a, uint16_t *port)
{
	char buf[64], *colon, *stop;
	unsigned long v;

	if (end - s >= (ptrdiff_t)sizeof(buf))
		return false;
	memcpy(buf, s, (size_t)(end - s));
	buf[end - s] = '\0';
	colon = strrchr(buf, ':');
	if (!colon)
		return false;
	*colon = '\0';
	a->s_addr = 0;
	if (buf[0] && inet_pton(AF_INET, buf, a) != 1)
		return false;
	if (colon[1] < '0' || colon[1] > '9')
		return false;
	v = strtoul(colon + 1, &stop, 10);
	*port = (uint16_t)v;
	return !*stop && v && v <= 65535;
}

int usernet_parse_fwd(const char *text, struct usernet_fwd *f, struct vmm_err *e)
{
	const char *dash = strchr(text, '-');

	memset(f, 0, sizeof(*f));
	f->udp = !strncmp(text, "udp:", 4);
	if (!f->udp && strncmp(text, "tcp:", 4))
		return vmm_fail(e, EINVAL, "hostfwd=%s: begins with neither tcp: nor udp:", text);
	if (!dash || !parse_end(text + 4, dash, &f->host, &f->host_port))
		return vmm_fail(e, EINVAL, "hostfwd=%s: no host side [ADDR]:PORT before a -", text);
	if (!parse_end(dash + 1, text + strlen(text), &f->guest, &f->guest_port))
		return vmm_fail(e, EINVAL, "hostfwd=%s: no guest side [ADDR]:PORT behind the -", text);
	return 0;
}
