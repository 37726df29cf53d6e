// SPDX-License-Identifier: MIT
#include "host/pool.h"

#include <errno.h>
#include <stdint.h>

#include "host/wait.h"

#define STACK_SIZE (256 * 1024)

void host_pool_init(struct host_pool *p)
{
	*p = (struct host_pool){ .idle = 0 };
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
}

static struct host_job *take(struct host_pool *p)
{
	struct host_job *job = p->first;

	p->first = job->next;
	if (!p->first)
		p->last = &p->first;
	p->waiting--;
	return job;
}

static void *pool_main(void *arg)
{
	struct host_pool *p = arg;

	host_signals_let_libc();
	pthread_setname_np(pthread_self(), "anykvm-page");
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct host_job *job;

		if (!p->first && p->stopping)
			break;
		if (!p->first) {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		job = take(p);
		pthread_mutex_unlock(&p->lock);
		job->fn(job);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int spawn(struct host_pool *p)
{
	uint64_t mask = host_signals_block();
	pthread_attr_t attr;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	r = -pthread_create(&p->thread[p->threads], &attr, pool_main, p);
	pthread_attr_destroy(&attr);
	host_signals_restore(mask);
	if (!r)
		p->threads++;
	return r;
}

int host_pool_add(struct host_pool *p, struct host_job *job)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	/* Those that were woken, and have not run yet, count as idle and as having a job. */
	if (p->idle <= p->waiting && p->threads < POOL_THREADS)
		r = spawn(p);
	if (p->threads) {
		r = 0;
		job->next = NULL;
		*p->last = job;
		p->last = &job->next;
		p->waiting++;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

void host_pool_stop(struct host_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	p->threads = 0;
}

void host_pool_destroy(struct host_pool *p)
{
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}
