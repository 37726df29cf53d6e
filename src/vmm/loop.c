/* SPDX-License-Identifier: MIT */
#include "vmm/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int loop_init(struct loop *l)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int err;

	memset(l, 0, sizeof(*l));
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->quit_fd >= 0 && epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->quit_fd, &ev) == 0)
		return 0;
	err = -errno;
	if (l->quit_fd >= 0)
		close(l->quit_fd);
	close(l->epfd);
	return err;
}

void loop_fini(struct loop *l)
{
	close(l->quit_fd);
	close(l->epfd);
}

static int loop_ctl(struct loop *l, int op, struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	return epoll_ctl(l->epfd, op, s->fd, &ev) ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_source *s, uint32_t events)
{
	return loop_ctl(l, EPOLL_CTL_ADD, s, events);
}

int loop_mod(struct loop *l, struct loop_source *s, uint32_t events)
{
	return loop_ctl(l, EPOLL_CTL_MOD, s, events);
}

void loop_del(struct loop *l, struct loop_source *s)
{
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
}

static bool loop_ended(struct loop *l)
{
	return __atomic_load_n(&l->quit, __ATOMIC_ACQUIRE);
}

int loop_run(struct loop *l)
{
	struct epoll_event ev;

	while (!loop_ended(l)) {
		/* One event a turn: a callback may remove a source that a batch would still name. */
		int n = epoll_wait(l->epfd, &ev, 1, -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 1 && ev.data.ptr) {
			struct loop_source *s = ev.data.ptr;

			s->fn(s->opaque, ev.events);
		}
	}
	return 0;
}

void loop_quit(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n;

	__atomic_store_n(&l->quit, true, __ATOMIC_RELEASE);
	n = write(l->quit_fd, &one, sizeof(one));
	(void)n; /* only EAGAIN is possible, and then it is readable already */
}
