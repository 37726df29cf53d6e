// SPDX-License-Identifier: MIT
/* Workloads of two threads. */
#include "work.h"

#include <pthread.h>

#define THREADS 2
#define ARITHMETIC_STEPS 1000000

static volatile uint64_t results[THREADS][8];
static uint64_t counter;

static void on_both(void *(*body)(void *))
{
	pthread_t thread[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++) {
		if (pthread_create(&thread[i], NULL, body, (void *)i))
			work_die("pthread_create");
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void *arithmetic(void *arg)
{
	uint64_t x = (uintptr_t)arg + 1;

	for (int i = 0; i < ARITHMETIC_STEPS; i++)
		x = x * 6364136223846793005ull + (x >> 33);
	results[(uintptr_t)arg][0] = x;
	return NULL;
}

void work_threads(void)
{
	on_both(arithmetic);
}

static void *locked(void *arg)
{
	(void)arg;
	for (int i = 0; i < LOCKED_OPS / THREADS; i++)
		__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

void work_locked(void)
{
	counter = 0;
	on_both(locked);
	if (counter != LOCKED_OPS)
		work_die("locked: an add was lost");
}
