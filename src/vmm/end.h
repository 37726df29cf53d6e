/* SPDX-License-Identifier: MIT */
/* end.h - how a run ends, and who said so first. */
#ifndef VMM_END_H
#define VMM_END_H

#include <pthread.h>
#include <stdbool.h>

#include "vmm/loop.h"

enum run_end {
	END_NONE,
	END_POWEROFF,	  /* ACPI S5 */
	END_EXIT_PORT,	  /* a status written to PORT_EXIT */
	END_USER,	  /* Ctrl-a x, SIGTERM, SIGINT, SIGHUP */
	END_RESET,	  /* any of the reset ports */
	END_PANIC,	  /* a reset after a panic */
	END_TRIPLE_FAULT,
	END_OUTPUT,	  /* the console's output cannot be written */
	END_INTERNAL,	  /* KVM gave up, or an error of ours */
};

struct run_ctl {
	struct loop *loop;
	pthread_mutex_t lock;
	enum run_end end;
	int code;	  /* END_EXIT_PORT: the status; END_USER: the signal, or 0 */
	bool panicked;	  /* atomic: pvpanic said that the guest's kernel panicked */
	bool panic_shown; /* atomic: so do the last lines on the console */
	char detail[256]; /* END_INTERNAL, END_OUTPUT: one line of what and where */
};

/** run_ctl_init - @loop: the loop that an end stops. */
void run_ctl_init(struct run_ctl *c, struct loop *loop);

/**
 * run_end - the run is over; the first caller's word counts.  Any thread.
 * A reset of a guest that panicked becomes END_PANIC.
 * @fmt: printf format of the detail, or NULL.
 */
void run_end(struct run_ctl *c, enum run_end end, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/** run_panicked - note a panic; the reset that follows is then END_PANIC. */
void run_panicked(struct run_ctl *c);

/** run_panic_shown - the console's last lines hold a panic message, or no longer do. */
void run_panic_shown(struct run_ctl *c, bool shown);

#endif
