/* SPDX-License-Identifier: MIT */
/*
 * KVM's statistics of a client's VMs, which are written when the process ends:
 * a line of JSON for each VM, appended to one file by all processes of a
 * command.  A VM that is gone by then has its last figures in the file.
 */
#ifndef PRELOAD_STATS_H
#define PRELOAD_STATS_H

#include <stdint.h>

/** stats_note - @request on @fd returned @result: keeps the statistics of a new VM or vCPU. */
void stats_note(int fd, uint32_t request, int result);

/** stats_write - appends what was noted to the file @path and forgets it. */
void stats_write(const char *path);

/** stats_forget - in a fork()ed child: the VMs are its parent's. */
void stats_forget(void);

#endif
