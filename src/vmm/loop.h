/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the event loop: one thread (the machine's main thread) that waits
 * for host descriptors and runs their callbacks, one at a time.
 */
#ifndef VMM_LOOP_H
#define VMM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop {
	int epfd;
	int quit_fd; /* eventfd that ends loop_run() */
	bool quit;   /* atomic: a stop was asked for */
};

/* The caller's, usually inside its device's struct; must stay valid until loop_del(). */
struct loop_source {
	int fd;				      /* caller's; the loop never closes it */
	void (*fn)(void *opaque, uint32_t events); /* events: EPOLLIN, ... */
	void *opaque;
};

int loop_init(struct loop *l);
void loop_fini(struct loop *l);

/**
 * loop_add, loop_mod - watch @s->fd for @events (EPOLLIN | EPOLLOUT | EPOLLET ...);
 * any thread.  loop_mod with 0 events pauses a source.
 * Return 0 or -errno (EPERM: a regular file, which cannot be polled).
 */
int loop_add(struct loop *l, struct loop_source *s, uint32_t events);
int loop_mod(struct loop *l, struct loop_source *s, uint32_t events);

/** loop_del - stop watching.  From the loop's own thread, or after loop_run() has returned. */
void loop_del(struct loop *l, struct loop_source *s);

/** loop_run - dispatch until loop_quit(); 0 or -errno. */
int loop_run(struct loop *l);

/** loop_quit - end loop_run(); any thread, and signal handlers. */
void loop_quit(struct loop *l);

#endif
