/* SPDX-License-Identifier: MIT */
/*
 * The few locks that belong to the process: fork() takes them all, so that a
 * child never finds one held by a thread that it does not have, nor half
 * changed what it guards.
 */
#ifndef HOST_FORK_H
#define HOST_FORK_H

#include <pthread.h>
#include <stdatomic.h>

struct host_process_lock {
	pthread_mutex_t mutex;
	_Atomic int listed;
	struct host_process_lock *next;
};

#define HOST_PROCESS_LOCK { .mutex = PTHREAD_MUTEX_INITIALIZER }

/** host_process_lock, host_process_unlock - no two of these are held at once. */
void host_process_lock(struct host_process_lock *l);
void host_process_unlock(struct host_process_lock *l);

#endif
