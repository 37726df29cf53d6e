// SPDX-License-Identifier: MIT
/* Threads for work that may sleep: nobody waits for another's, and the end waits for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "host/pool.h"

#define SLEEPERS 8

struct work {
	struct host_job job;
	sem_t go, done;
	_Atomic unsigned int *count;
};

static void sleeper(struct host_job *job)
{
	struct work *w = (struct work *)job;

	sem_wait(&w->go);
	atomic_fetch_add(w->count, 1);
	sem_post(&w->done);
}

static void start(struct host_pool *p, struct work *w, _Atomic unsigned int *count)
{
	w->job.fn = sleeper;
	w->count = count;
	sem_init(&w->go, 0, 0);
	sem_init(&w->done, 0, 0);
	assert_int_equal(host_pool_add(p, &w->job), 0);
}

/* The last to come is the first to be done. */
static void test_independent(void **state)
{
	_Atomic unsigned int count = 0;
	struct work w[SLEEPERS];
	struct host_pool p;

	host_pool_init(&p);
	for (int i = 0; i < SLEEPERS; i++)
		start(&p, &w[i], &count);
	for (int i = SLEEPERS - 1; i >= 0; i--) {
		sem_post(&w[i].go);
		sem_wait(&w[i].done);
		assert_int_equal(count, (unsigned int)(SLEEPERS - i));
	}
	assert_true(p.threads <= SLEEPERS);
	host_pool_stop(&p);
	host_pool_destroy(&p);
}

/* More than there can be threads: all are done nevertheless, at the latest when the pool ends. */
static void test_many(void **state)
{
	const unsigned int n = 4 * POOL_THREADS;
	struct work *w = calloc(n, sizeof(*w));
	_Atomic unsigned int count = 0;
	struct host_pool p;

	assert_non_null(w);
	host_pool_init(&p);
	for (unsigned int i = 0; i < n; i++)
		start(&p, &w[i], &count);
	assert_int_equal(p.threads, POOL_THREADS);
	assert_int_equal(count, 0);
	for (unsigned int i = 0; i < n; i++)
		sem_post(&w[i].go);
	host_pool_stop(&p);
	assert_int_equal(count, n);
	host_pool_destroy(&p);
	free(w);
}

static void test_unused(void **state)
{
	struct host_pool p;

	host_pool_init(&p);
	host_pool_stop(&p);
	host_pool_destroy(&p);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_independent),
	cmocka_unit_test(test_many),
	cmocka_unit_test(test_unused),
};

int main(void)
{
	return cmocka_run_group_tests_name("host/pool", tests, NULL, NULL);
}
