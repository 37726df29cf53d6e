/* SPDX-License-Identifier: MIT */
/*
 * terminal.c - standard input and output as a console.
 *
 * 1. Output is written by a thread of its own: a terminal that is stopped, or
 *    a pipe that nobody reads, then blocks neither the loop nor, until the
 *    buffer is full, a vCPU.
 * 2. The writer rests for a millisecond behind each write, so that a guest
 *    that sends byte by byte costs one wake-up and one write a millisecond.
 * 3. Input is read only when the device has taken what was read before.
 */
#include "vmm/terminal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "vmm/tty_mode.h"

#define CTRL_A 0x01
#define REST_NS 1000000
#define PANIC_LINES 100u /* a panic's own report, and the modules' list, are shorter */

static struct terminal *terminal_of(struct chardev *cd)
{
	return (struct terminal *)((char *)cd - offsetof(struct terminal, cd));
}

/* Output */

static void panic_watch(struct terminal *t, uint8_t c)
{
	static const char text[] = "Kernel panic - not syncing";

	t->match = c == (uint8_t)text[t->match] ? t->match + 1 : c == (uint8_t)text[0];
	if (t->match == sizeof(text) - 1) {
		t->match = 0;
		t->lines_left = PANIC_LINES;
		run_panic_shown(t->ctl, true);
	} else if (c == '\n' && t->lines_left && !--t->lines_left) {
		run_panic_shown(t->ctl, false);
	}
}

static void terminal_write(struct chardev *cd, const void *buf, size_t len)
{
	struct terminal *t = terminal_of(cd);
	const uint8_t *p = buf;

	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < len; i++) {
		while (t->out_count == TERMINAL_OUT && !t->released && !t->broken)
			pthread_cond_wait(&t->room, &t->lock);
		if (t->out_count == TERMINAL_OUT || t->broken)
			break;
		t->out[(t->out_head + t->out_count++) % TERMINAL_OUT] = p[i];
		panic_watch(t, p[i]);
	}
	if (t->idle && t->out_count) {
		t->idle = false;
		pthread_cond_signal(&t->wake);
	}
	pthread_mutex_unlock(&t->lock);
}

/* All of it: 0, or -errno. */
static int write_out(const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n < 0 && errno == EAGAIN) { /* somebody else's O_NONBLOCK on a shared descriptor */
			nanosleep(&(struct timespec){ .tv_nsec = REST_NS }, NULL);
			continue;
		}
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= n;
		}
	}
	return 0;
}

/* A reader that has gone is as good as the signal that tells so, a terminal that has gone likewise. */
static void output_fails(struct terminal *t, int err)
{
	t->broken = true;
	if (err == -EPIPE || err == -EIO)
		run_end(t->ctl, END_USER, err == -EPIPE ? SIGPIPE : SIGHUP, NULL);
	else
		run_end(t->ctl, END_OUTPUT, 0, "%s", strerror(-err));
}

/* Write the piece up to the buffer's wrap; called and returns with the lock held. */
static void write_piece(struct terminal *t)
{
	size_t n = TERMINAL_OUT - t->out_head < t->out_count ? TERMINAL_OUT - t->out_head : t->out_count;
	int err;

	pthread_mutex_unlock(&t->lock);
	err = write_out(t->out + t->out_head, n);
	pthread_mutex_lock(&t->lock);
	t->out_head = (t->out_head + n) % TERMINAL_OUT;
	t->out_count -= n;
	pthread_cond_broadcast(&t->room);
	if (err && !t->broken)
		output_fails(t, err);
}

static void *writer_main(void *opaque)
{
	struct terminal *t = opaque;

	pthread_mutex_lock(&t->lock);
	while (!t->closing || (t->out_count && !t->broken)) {
		if (t->out_count && !t->broken) {
			bool rest;

			write_piece(t);
			rest = !t->closing && !t->out_count;
			pthread_mutex_unlock(&t->lock);
			if (rest)
				nanosleep(&(struct timespec){ .tv_nsec = REST_NS }, NULL);
			pthread_mutex_lock(&t->lock);
			continue;
		}
		t->idle = true;
		pthread_cond_wait(&t->wake, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* Input */

static void say(struct terminal *t, const char *text)
{
	terminal_write(&t->cd, text, strlen(text));
}

static const char help_text[] =
    "\r\nanykvm: Ctrl-a x ends the machine, Ctrl-a Ctrl-a sends Ctrl-a, Ctrl-a h is this.\r\n";

/* Take the escapes out of what was typed; returns the length that remains. */
static size_t filter_escapes(struct terminal *t, uint8_t *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = p[i];

		if (!t->escape) {
			t->escape = c == CTRL_A;
			if (!t->escape)
				p[n++] = c;
			continue;
		}
		t->escape = false;
		if (c == 'x' || c == 'X')
			run_end(t->ctl, END_USER, 0, NULL);
		else if (c == 'h' || c == '?')
			say(t, help_text);
		else
			p[n++] = c; /* Ctrl-a itself, or a slip of the finger */
	}
	return n;
}

static void watch(struct terminal *t, bool on)
{
	if (t->pollable && on != t->watching) {
		/* Taken out, not merely paused: a hung-up pipe would still wake the loop. */
		if (on)
			loop_add(t->loop, &t->in, EPOLLIN);
		else
			loop_del(t->loop, &t->in);
		t->watching = on;
	}
}

static void end_of_input(struct terminal *t)
{
	t->eof = true;
	watch(t, false);
	if (t->tty)
		run_end(t->ctl, END_USER, SIGHUP, NULL);
}

/* Read once; false where nothing came. */
static bool read_input(struct terminal *t)
{
	ssize_t n = read(STDIN_FILENO, t->inbuf, TERMINAL_IN);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n <= 0) {
		end_of_input(t);
		return false;
	}
	t->in_at = 0;
	t->in_len = t->tty ? filter_escapes(t, t->inbuf, n) : (size_t)n;
	return true;
}

/* Offer what waits; true once all of it is taken. */
static bool offer(struct terminal *t)
{
	if (t->in_len)
		t->in_at += t->cd.client->input(t->cd.opaque, t->inbuf + t->in_at, t->in_len - t->in_at);
	if (t->in_at < t->in_len)
		return false;
	t->in_at = t->in_len = 0;
	return true;
}

static void pump(struct terminal *t)
{
	bool drained = offer(t);

	while (drained && !t->eof && !t->pollable)
		drained = read_input(t) ? offer(t) : !t->eof;
	if (!t->eof)
		watch(t, drained);
}

static void on_input(void *opaque, uint32_t events)
{
	struct terminal *t = opaque;

	if (read_input(t))
		pump(t);
}

static void on_ready(void *opaque, uint32_t events)
{
	struct terminal *t = opaque;
	uint64_t n;

	if (read(t->ready.fd, &n, sizeof(n)) == sizeof(n))
		pump(t);
}

static void terminal_input_ready(struct chardev *cd)
{
	struct terminal *t = terminal_of(cd);
	uint64_t one = 1;
	ssize_t n = write(t->ready.fd, &one, sizeof(one));

	(void)n; /* EAGAIN: it is readable already */
}

static void terminal_size(struct chardev *cd, uint16_t *cols, uint16_t *rows)
{
	struct winsize w = { 0 };

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w))
		w.ws_col = w.ws_row = 0;
	*cols = w.ws_col;
	*rows = w.ws_row;
}

static const struct chardev_ops terminal_ops = {
	.write = terminal_write,
	.input_ready = terminal_input_ready,
	.size = terminal_size,
};

void terminal_resized(struct terminal *t)
{
	if (t->cd.client && t->cd.client->resized)
		t->cd.client->resized(t->cd.opaque);
}

void terminal_continued(struct terminal *t)
{
	if (t->tty && tty_is_ours())
		tty_raw();
}

int terminal_init(struct terminal *t, struct loop *loop, struct run_ctl *ctl)
{
	int err;

	memset(t, 0, sizeof(*t));
	t->cd.ops = &terminal_ops;
	t->loop = loop;
	t->ctl = ctl;
	t->in = (struct loop_source){ .fd = STDIN_FILENO, .fn = on_input, .opaque = t };
	t->ready = (struct loop_source){ .fn = on_ready, .opaque = t };
	t->ready.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->ready.fd < 0)
		return -errno;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	pthread_cond_init(&t->room, NULL);
	err = pthread_create(&t->writer, NULL, writer_main, t);
	if (err) {
		close(t->ready.fd);
		return -err;
	}
	return 0;
}

int terminal_start(struct terminal *t)
{
	int err = loop_add(t->loop, &t->ready, EPOLLIN);

	if (err)
		return err;
	t->tty = tty_is_ours();
	if (t->tty)
		err = tty_raw();
	else if (isatty(STDIN_FILENO))
		t->eof = true; /* in the background: reading would stop us */
	if (err || t->eof)
		return err;
	err = loop_add(t->loop, &t->in, EPOLLIN);
	t->pollable = t->watching = !err;
	if (err == -EBADF) { /* standard input is closed */
		t->eof = true;
		return 0;
	}
	if (err == -EPERM) { /* a regular file: always ready */
		terminal_input_ready(&t->cd);
		return 0;
	}
	return err;
}

void terminal_release(struct terminal *t)
{
	pthread_mutex_lock(&t->lock);
	t->released = true;
	pthread_cond_broadcast(&t->room);
	pthread_mutex_unlock(&t->lock);
}

void terminal_fini(struct terminal *t)
{
	struct timespec until;

	pthread_mutex_lock(&t->lock);
	t->closing = true;
	pthread_cond_broadcast(&t->wake);
	pthread_mutex_unlock(&t->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 2;
	if (pthread_timedjoin_np(t->writer, NULL, &until)) {
		/* Somebody holds our output up: it keeps its thread and its buffer. */
		pthread_cancel(t->writer);
		pthread_join(t->writer, NULL);
	}
	watch(t, false);
	close(t->ready.fd);
	tty_restore();
}

static void log_write(struct chardev *cd, const void *buf, size_t len)
{
	struct log_console *l = (struct log_console *)cd;

	if (l->fd >= 0 && write(l->fd, buf, len) < 0)
		l->fd = -1;
}

static void log_input_ready(struct chardev *cd)
{
}

static void log_size(struct chardev *cd, uint16_t *cols, uint16_t *rows)
{
	*cols = *rows = 0;
}

static const struct chardev_ops log_ops = { .write = log_write,
					    .input_ready = log_input_ready,
					    .size = log_size };

void log_console_init(struct log_console *l, int fd)
{
	*l = (struct log_console){ .cd.ops = &log_ops, .fd = fd };
}
