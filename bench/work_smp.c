// SPDX-License-Identifier: MIT
/* Workloads of two threads. */
#include "work.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS 2
#define ARITHMETIC_STEPS 1000000
/* Long enough that making the second thread does not count. */
#define MIX_STEPS 600000
#define WORDS (1 << 17)         /* 1 MiB for each thread */
#define MEM_STEPS 300000
#define SYS_STEPS 6000

static volatile uint64_t results[THREADS][8];
static uint64_t counter;

/* The main thread is one of the two, so that one of them costs no more than work in one. */
static void on_two(void *(*body)(void *))
{
	pthread_t other;

	if (pthread_create(&other, NULL, body, (void *)1))
		work_die("pthread_create");
	body(NULL);
	pthread_join(other, NULL);
}

/* A hash of numbers: arithmetic, branches and calls, no memory to speak of. */
static void *mix(void *arg)
{
	uint64_t x = (uintptr_t)arg + 1, sum = 0;

	for (int i = 0; i < MIX_STEPS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x & 1 ? x >> 3 : x * 5;
	}
	results[(uintptr_t)arg][0] = sum;
	return NULL;
}

/* Reads and writes all over a MiB of its own. */
static void *touch(void *arg)
{
	static uint64_t *words[THREADS];
	uint64_t *w = words[(uintptr_t)arg], at = 1;

	if (!w) {
		w = words[(uintptr_t)arg] = calloc(WORDS, sizeof(*w));
		if (!w)
			work_die("calloc");
	}
	for (int i = 0; i < MEM_STEPS; i++) {
		at = at * 69069 + 1;
		w[at >> 8 & (WORDS - 1)] += at;
		w[i & (WORDS - 1)]++;
	}
	return NULL;
}

/* System calls that change between the two halves of the machine and share nothing. */
static void *call(void *arg)
{
	static int pipes[THREADS][2];
	int *fd = pipes[(uintptr_t)arg];
	char byte = 0;

	if (!fd[1] && pipe(fd))
		work_die("pipe");
	for (int i = 0; i < SYS_STEPS; i++) {
		getppid();
		if (i % 4 == 0 && (write(fd[1], &byte, 1) != 1 || read(fd[0], &byte, 1) != 1))
			work_die("pipe");
	}
	return NULL;
}

void work_int_one(void)
{
	mix(NULL);
}

void work_int_two(void)
{
	on_two(mix);
}

void work_mem_one(void)
{
	touch(NULL);
}

void work_mem_two(void)
{
	on_two(touch);
}

void work_sys_one(void)
{
	call(NULL);
}

void work_sys_two(void)
{
	on_two(call);
}

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
