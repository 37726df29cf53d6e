/* SPDX-License-Identifier: MIT */
/*
 * A thread that waits for descriptors and timers on behalf of one VM.
 *
 * It blocks all signals, is started by the first who needs it, and runs all
 * callbacks, one at a time.  A callback may arm and disarm timers and remove
 * its own watch.
 */
#ifndef HOST_SERVICE_H
#define HOST_SERVICE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_service;

struct host_watch {
	int fd;
	void (*fn)(struct host_watch *w);       /* fd is readable */
	struct host_watch *next;                /* private */
};

struct host_timer {
	struct host_service *service;
	void (*fn)(struct host_timer *t);       /* the deadline has passed; the timer is disarmed */
	uint64_t deadline;                      /* private: CLOCK_MONOTONIC ns; 0: disarmed */
	size_t slot;                            /* private: in the heap */
};

struct host_service {
	pthread_mutex_t lock;
	pthread_cond_t idle;            /* a callback has returned */
	pthread_t thread;
	sem_t up;                       /* the thread has begun */
	bool started, stopping;
	int epoll_fd, timer_fd, event_fd;
	void *running;                  /* the watch or timer whose callback runs */
	struct host_watch *watches;
	uint64_t programmed;            /* what timer_fd is set to; 0: nothing */
	struct host_timer **heap;       /* armed timers, earliest first */
	size_t heap_count, heap_size;
	size_t timers;                  /* initialized ones: room that the heap must have */
};

/** host_service_init - makes no thread and no descriptor yet. */
void host_service_init(struct host_service *s);

/** host_service_start - starts the thread if it is not there.  0 or -errno (EMFILE, EAGAIN, ENOMEM). */
int host_service_start(struct host_service *s);

/** host_service_stop - ends the thread and waits for it; no callback runs afterwards.  Not from a callback. */
void host_service_stop(struct host_service *s);

/** host_service_destroy - frees what is left; after stop. */
void host_service_destroy(struct host_service *s);

/**
 * host_watch_add - calls w->fn whenever w->fd is readable (level triggered).
 * Starts the thread.  0 or -errno.
 */
int host_watch_add(struct host_service *s, struct host_watch *w);

/** host_watch_del - when it returns, w->fn does not run any more, unless it is the caller. */
void host_watch_del(struct host_service *s, struct host_watch *w);

/**
 * host_timer_init - makes room for the timer and starts the thread, so that
 * arming cannot fail.  0 or -errno.
 */
int host_timer_init(struct host_service *s, struct host_timer *t, void (*fn)(struct host_timer *t));

/** host_timer_destroy - disarms it; its callback does not run afterwards, unless it is the caller. */
void host_timer_destroy(struct host_timer *t);

/** host_timer_arm - (re)arms it for @deadline_ns, CLOCK_MONOTONIC.  Any thread. */
void host_timer_arm(struct host_timer *t, uint64_t deadline_ns);

/** host_timer_disarm - the callback may still be running when this returns. */
void host_timer_disarm(struct host_timer *t);

#endif
