/* SPDX-License-Identifier: MIT */
/*
 * Threads for work that may sleep in the kernel for as long as it likes.  A job
 * that finds no idle thread gets one of its own, up to POOL_THREADS: it is not
 * kept waiting by one that sleeps.  The threads stay until the end of the pool.
 */
#ifndef HOST_POOL_H
#define HOST_POOL_H

#include <pthread.h>
#include <stdbool.h>

#define POOL_THREADS 64

/* Embed it.  @fn may free it. */
struct host_job {
	void (*fn)(struct host_job *job);
	struct host_job *next;
};

struct host_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct host_job *first, **last;
	unsigned int waiting;           /* jobs in the queue */
	unsigned int idle, threads;
	bool stopping;
	pthread_t thread[POOL_THREADS];
};

void host_pool_init(struct host_pool *p);

/** host_pool_add - has @job done by one of the threads.  0; -errno where there is none and none can be made. */
int host_pool_add(struct host_pool *p, struct host_job *job);

/** host_pool_stop - waits until all jobs are done and the threads gone.  Nobody adds to it any more. */
void host_pool_stop(struct host_pool *p);
void host_pool_destroy(struct host_pool *p);

#endif
