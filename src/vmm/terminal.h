/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - standard input and output as the back end of the guest's console.
 */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/chardev.h"
#include "vmm/end.h"
#include "vmm/loop.h"

#define TERMINAL_OUT 65536u
#define TERMINAL_IN  4096u

struct terminal {
	struct chardev cd; /* what the console device is attached to */
	struct loop *loop;
	struct run_ctl *ctl;

	/* Input; the loop's thread alone. */
	struct loop_source in, ready; /* standard input; an eventfd behind input_ready */
	bool tty, pollable, watching, eof, escape;
	uint8_t inbuf[TERMINAL_IN];
	size_t in_at, in_len;

	/* Output. */
	pthread_mutex_t lock;
	pthread_cond_t wake, room;
	pthread_t writer;
	bool idle, released, closing, broken;
	uint8_t out[TERMINAL_OUT];
	size_t out_head, out_count;

	/* The search for a panic message in the output. */
	unsigned int match, lines_left;
};

/**
 * terminal_init - take standard input and output: raw mode where input is a
 * terminal, until terminal_fini() or the end of the process by any way but
 * SIGKILL.  One at a time in a process.
 * Returns 0 or -errno.
 */
int terminal_init(struct terminal *t, struct loop *loop, struct run_ctl *ctl);

/** terminal_start - begin to read, once the device is attached; 0 or -errno. */
int terminal_start(struct terminal *t);

/** terminal_release - from now on no writer waits for room; what does not fit is lost.  The run is over. */
void terminal_release(struct terminal *t);

/** terminal_fini - write out what waits, for two seconds at most, and restore the terminal. */
void terminal_fini(struct terminal *t);

/** terminal_resized, terminal_continued - on SIGWINCH and SIGCONT; on the loop's thread. */
void terminal_resized(struct terminal *t);
void terminal_continued(struct terminal *t);

/* A console without anybody: output goes to @fd, or nowhere where that is -1. */
struct log_console {
	struct chardev cd;
	int fd;
};

void log_console_init(struct log_console *l, int fd);

#endif
