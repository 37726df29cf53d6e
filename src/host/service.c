/* SPDX-License-Identifier: MIT */
/*
 * Timers are a binary heap over one timerfd, which is programmed for the
 * earliest of them, or earlier: disarming leaves it as it is, and the thread
 * wakes once for nothing.
 */
#include "host/service.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "host/clock.h"
#include "host/wait.h"

#define EVENTS 16
#define STACK_SIZE ((size_t)512 << 10)

/* --- the heap; under the lock --- */

static void heap_put(struct host_service *s, size_t slot, struct host_timer *t)
{
	s->heap[slot] = t;
	t->slot = slot;
}

static void heap_up(struct host_service *s, size_t slot)
{
	struct host_timer *t = s->heap[slot];

	while (slot && s->heap[(slot - 1) / 2]->deadline > t->deadline) {
		heap_put(s, slot, s->heap[(slot - 1) / 2]);
		slot = (slot - 1) / 2;
	}
	heap_put(s, slot, t);
}

static void heap_down(struct host_service *s, size_t slot)
{
	struct host_timer *t = s->heap[slot];

	for (;;) {
		size_t child = 2 * slot + 1;

		if (child >= s->heap_count)
			break;
		if (child + 1 < s->heap_count && s->heap[child + 1]->deadline < s->heap[child]->deadline)
			child++;
		if (s->heap[child]->deadline >= t->deadline)
			break;
		heap_put(s, slot, s->heap[child]);
		slot = child;
	}
	heap_put(s, slot, t);
}

static void heap_remove(struct host_service *s, struct host_timer *t)
{
	size_t slot = t->slot;
	struct host_timer *last;

	if (!t->deadline)
		return;
	t->deadline = 0;
	last = s->heap[--s->heap_count];
	if (last == t)
		return;
	heap_put(s, slot, last);
	heap_up(s, slot);
	heap_down(s, last->slot);
}

/* Makes timer_fd fire for the earliest timer. */
static void program(struct host_service *s)
{
	uint64_t at = s->heap_count ? s->heap[0]->deadline : 0;
	struct itimerspec its = { .it_value = { (time_t)(at / 1000000000), (long)(at % 1000000000) } };

	if (!at || (s->programmed && s->programmed <= at))
		return;
	s->programmed = at;
	timerfd_settime(s->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

/* --- the thread --- */

static bool on_service_thread(const struct host_service *s)
{
	return s->started && pthread_equal(pthread_self(), s->thread);
}

static void callback_done(struct host_service *s)
{
	s->running = NULL;
	pthread_cond_broadcast(&s->idle);
}

static void run_timers(struct host_service *s)
{
	uint64_t now = host_now_ns();

	while (!s->stopping && s->heap_count && s->heap[0]->deadline <= now) {
		struct host_timer *t = s->heap[0];
		void (*fn)(struct host_timer *t) = t->fn;

		heap_remove(s, t);
		s->running = t;
		pthread_mutex_unlock(&s->lock);
		fn(t);
		pthread_mutex_lock(&s->lock);
		callback_done(s);
	}
}

static void run_watch(struct host_service *s, const void *which)
{
	struct host_watch *w = s->watches;

	/* It may have been removed since the kernel reported it. */
	while (w && w != which)
		w = w->next;
	if (!w)
		return;
	s->running = w;
	pthread_mutex_unlock(&s->lock);
	w->fn(w);
	pthread_mutex_lock(&s->lock);
	callback_done(s);
}

static void drain(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static void *service_main(void *arg)
{
	struct host_service *s = arg;
	struct epoll_event ev[EVENTS];

	host_signals_let_libc();
	pthread_setname_np(pthread_self(), "anykvm");
	sem_post(&s->up);
	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		int n;

		program(s);
		pthread_mutex_unlock(&s->lock);
		n = epoll_wait(s->epoll_fd, ev, EVENTS, -1);
		pthread_mutex_lock(&s->lock);
		for (int i = 0; i < n && !s->stopping; i++) {
			if (ev[i].data.ptr == &s->timer_fd) {
				drain(s->timer_fd);
				s->programmed = 0;
			} else if (ev[i].data.ptr == &s->event_fd) {
				drain(s->event_fd);
			} else {
				run_watch(s, ev[i].data.ptr);
			}
		}
		run_timers(s);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int add_to_epoll(struct host_service *s, int fd, void *ptr)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = ptr };

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static void close_all(struct host_service *s)
{
	if (s->epoll_fd >= 0)
		close(s->epoll_fd);
	if (s->timer_fd >= 0)
		close(s->timer_fd);
	if (s->event_fd >= 0)
		close(s->event_fd);
	s->epoll_fd = s->timer_fd = s->event_fd = -1;
}

static int open_all(struct host_service *s)
{
	int r;

	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->epoll_fd < 0 || s->timer_fd < 0 || s->event_fd < 0) {
		r = -errno;
		close_all(s);
		return r;
	}
	r = add_to_epoll(s, s->timer_fd, &s->timer_fd);
	if (!r)
		r = add_to_epoll(s, s->event_fd, &s->event_fd);
	if (r)
		close_all(s);
	return r;
}

static int spawn(struct host_service *s)
{
	uint64_t mask = host_signals_block();
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = -pthread_create(&s->thread, &attr, service_main, s);
	pthread_attr_destroy(&attr);
	/* A thread makes system calls before it comes to us, which a client's filter may forbid soon. */
	while (!r && sem_wait(&s->up) && errno == EINTR)
		;
	host_signals_restore(mask);
	return r;
}

static int start_locked(struct host_service *s)
{
	int r;

	if (s->started)
		return 0;
	if (s->stopping)
		return -ESHUTDOWN;
	r = open_all(s);
	if (r)
		return r;
	s->started = true;
	r = spawn(s);
	if (r) {
		s->started = false;
		close_all(s);
	}
	return r;
}

void host_service_init(struct host_service *s)
{
	*s = (struct host_service){ .epoll_fd = -1, .timer_fd = -1, .event_fd = -1 };
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->idle, NULL);
	sem_init(&s->up, 0, 0);
}

int host_service_start(struct host_service *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = start_locked(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void host_service_stop(struct host_service *s)
{
	bool started;

	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	started = s->started;
	if (started)
		eventfd_write(s->event_fd, 1);
	pthread_mutex_unlock(&s->lock);
	if (started)
		pthread_join(s->thread, NULL);
	s->started = false;
}

void host_service_destroy(struct host_service *s)
{
	close_all(s);
	free(s->heap);
	sem_destroy(&s->up);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
}

int host_watch_add(struct host_service *s, struct host_watch *w)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = start_locked(s);
	if (!r) {
		w->next = s->watches;
		s->watches = w;
		r = add_to_epoll(s, w->fd, w);
		if (r)
			s->watches = w->next;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static void wait_for_callback(struct host_service *s, const void *which)
{
	while (s->running == which && !on_service_thread(s))
		pthread_cond_wait(&s->idle, &s->lock);
}

void host_watch_del(struct host_service *s, struct host_watch *w)
{
	struct host_watch **at;

	pthread_mutex_lock(&s->lock);
	for (at = &s->watches; *at; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
			break;
		}
	}
	wait_for_callback(s, w);
	pthread_mutex_unlock(&s->lock);
}

int host_timer_init(struct host_service *s, struct host_timer *t, void (*fn)(struct host_timer *t))
{
	int r;

	*t = (struct host_timer){ .service = s, .fn = fn };
	pthread_mutex_lock(&s->lock);
	r = start_locked(s);
	if (!r && s->timers == s->heap_size) {
		size_t size = s->heap_size ? 2 * s->heap_size : 8;
		struct host_timer **heap = realloc(s->heap, size * sizeof(*heap));

		if (heap) {
			s->heap = heap;
			s->heap_size = size;
		} else {
			r = -ENOMEM;
		}
	}
	if (r)
		t->service = NULL;
	else
		s->timers++;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void host_timer_destroy(struct host_timer *t)
{
	struct host_service *s = t->service;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	heap_remove(s, t);
	s->timers--;
	wait_for_callback(s, t);
	/* The callback may have armed it again meanwhile. */
	heap_remove(s, t);
	t->service = NULL;
	pthread_mutex_unlock(&s->lock);
}

void host_timer_arm(struct host_timer *t, uint64_t deadline_ns)
{
	struct host_service *s = t->service;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	heap_remove(s, t);
	t->deadline = deadline_ns ? deadline_ns : 1;
	heap_put(s, s->heap_count++, t);
	heap_up(s, t->slot);
	if (!on_service_thread(s))
		program(s);
	pthread_mutex_unlock(&s->lock);
}

void host_timer_disarm(struct host_timer *t)
{
	struct host_service *s = t->service;

	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	heap_remove(s, t);
	pthread_mutex_unlock(&s->lock);
}
