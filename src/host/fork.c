/* SPDX-License-Identifier: MIT */
#include "host/fork.h"

/* Every lock that was ever taken. */
static struct {
	pthread_mutex_t lock;
	pthread_once_t once;
	struct host_process_lock *first;
} list = { .lock = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT };

static void before_fork(void)
{
	pthread_mutex_lock(&list.lock);
	for (struct host_process_lock *l = list.first; l; l = l->next)
		pthread_mutex_lock(&l->mutex);
}

static void after_fork(void)
{
	for (struct host_process_lock *l = list.first; l; l = l->next)
		pthread_mutex_unlock(&l->mutex);
	pthread_mutex_unlock(&list.lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork, after_fork);
}

static void enlist(struct host_process_lock *l)
{
	pthread_once(&list.once, watch_forks);
	pthread_mutex_lock(&list.lock);
	if (!atomic_load(&l->listed)) {
		l->next = list.first;
		list.first = l;
		atomic_store(&l->listed, 1);
	}
	pthread_mutex_unlock(&list.lock);
}

void host_process_lock(struct host_process_lock *l)
{
	if (!atomic_load_explicit(&l->listed, memory_order_acquire))
		enlist(l);
	pthread_mutex_lock(&l->mutex);
}

void host_process_unlock(struct host_process_lock *l)
{
	pthread_mutex_unlock(&l->mutex);
}
