/* SPDX-License-Identifier: MIT */
/* tty_mode.h - raw mode on standard input, undone on every way out of the process. */
#ifndef VMM_TTY_MODE_H
#define VMM_TTY_MODE_H

#include <stdbool.h>

/** tty_is_ours - standard input is a terminal, and we are in its foreground. */
bool tty_is_ours(void);

/** tty_raw - enter raw mode; again after SIGCONT.  0 or -errno. */
int tty_raw(void);

/** tty_restore - back to the mode before the first tty_raw(); safe in signal handlers and without one. */
void tty_restore(void);

#endif
