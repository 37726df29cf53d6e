/* SPDX-License-Identifier: MIT */
/* The service thread's timers and watches, sleeping with signals, the clocks. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/clock.h"
#include "host/memfd.h"
#include "host/service.h"
#include "host/wait.h"

#define MS 1000000ULL

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts))
		;
}

struct probe {
	struct host_timer timer;
	_Atomic int fired;
	_Atomic uint64_t at;
	struct probe *rearm;
	int order;
};

static _Atomic int sequence;

static void on_timer(struct host_timer *t)
{
	struct probe *p = (struct probe *)t;

	p->order = atomic_fetch_add(&sequence, 1);
	atomic_store(&p->at, host_now_ns());
	atomic_fetch_add(&p->fired, 1);
	if (p->rearm && atomic_load(&p->fired) < 3)
		host_timer_arm(t, host_now_ns() + 2 * MS);
}

static void timers(void **state)
{
	struct host_service s;
	struct probe p[20] = { 0 };
	uint64_t now;

	host_service_init(&s);
	for (int i = 0; i < 20; i++)
		assert_int_equal(host_timer_init(&s, &p[i].timer, on_timer), 0);
	now = host_now_ns();
	for (int i = 0; i < 20; i++)
		host_timer_arm(&p[i].timer, now + 20 * MS + (uint64_t)((i * 7) % 20) * MS);
	host_timer_disarm(&p[3].timer);
	/* Armed twice: the later call counts. */
	host_timer_arm(&p[5].timer, now + 60 * MS);
	sleep_ms(150);
	for (int i = 0; i < 20; i++)
		assert_int_equal(p[i].fired, i == 3 ? 0 : 1);
	for (int i = 0; i < 20; i++) {
		for (int j = 0; j < 20; j++) {
			if (i == 3 || j == 3 || i == 5 || j == 5)
				continue;
			if ((i * 7) % 20 < (j * 7) % 20)
				assert_true(p[i].order < p[j].order);
		}
	}
	assert_int_equal(p[5].order, 18);
	assert_true(p[5].at >= now + 60 * MS);
	/* From within its own callback, and in the past. */
	p[0].rearm = &p[0];
	p[0].fired = 0;
	host_timer_arm(&p[0].timer, 1);
	sleep_ms(50);
	assert_int_equal(p[0].fired, 3);
	for (int i = 0; i < 20; i++)
		host_timer_destroy(&p[i].timer);
	host_service_stop(&s);
	host_service_destroy(&s);
}

struct counter {
	struct host_watch watch;
	_Atomic uint64_t sum;
};

static void on_event(struct host_watch *w)
{
	uint64_t v;

	if (read(w->fd, &v, sizeof(v)) == sizeof(v))
		atomic_fetch_add(&((struct counter *)w)->sum, v);
}

static void watches(void **state)
{
	struct host_service s;
	struct counter c = { .watch = { .fn = on_event } };

	host_service_init(&s);
	c.watch.fd = eventfd(5, EFD_NONBLOCK);
	assert_int_equal(host_watch_add(&s, &c.watch), 0);
	sleep_ms(50);
	assert_int_equal(c.sum, 5);
	for (int i = 0; i < 100; i++)
		host_eventfd_signal(c.watch.fd);
	sleep_ms(50);
	assert_int_equal(c.sum, 105);
	host_watch_del(&s, &c.watch);
	host_eventfd_signal(c.watch.fd);
	sleep_ms(20);
	assert_int_equal(c.sum, 105);
	assert_int_equal(host_watch_add(&s, &c.watch), 0);
	sleep_ms(50);
	assert_int_equal(c.sum, 106);
	host_service_stop(&s);
	host_service_destroy(&s);
	close(c.watch.fd);
}

/* --- sleeping --- */

struct pair {
	struct host_waiter w;
	_Atomic uint32_t work;
	uint32_t rounds;
};

static void *waker(void *arg)
{
	struct pair *p = arg;

	for (uint32_t i = 1; i <= p->rounds; i++) {
		atomic_store(&p->work, i);
		host_wake(&p->w);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* Each wake-up that matters is the last one: if it were lost, the sleep would have no end. */
static void no_lost_wakeups(void **state)
{
	struct pair p = { .rounds = 200000 };
	uint32_t seen = 0;
	pthread_t t;

	host_waiter_init(&p.w);
	assert_int_equal(pthread_create(&t, NULL, waker, &p), 0);
	while (seen < p.rounds) {
		assert_int_equal(host_wait_prepare(&p.w), 0);
		if (atomic_load(&p.work) == seen)
			assert_int_equal(host_wait(&p.w, UINT64_MAX, ~0ULL), 0);
		host_wait_finish(&p.w);
		seen = atomic_load(&p.work);
	}
	pthread_join(t, NULL);
	host_waiter_destroy(&p.w);
}

static void deadline(void **state)
{
	struct host_waiter w;
	uint64_t start = host_now_ns();

	host_waiter_init(&w);
	assert_int_equal(host_wait_prepare(&w), 0);
	assert_int_equal(host_wait(&w, start + 30 * MS, ~0ULL), 0);
	host_wait_finish(&w);
	assert_true(host_now_ns() - start >= 30 * MS);
	host_waiter_destroy(&w);
}

static volatile sig_atomic_t handled;

static void handler(int sig)
{
	handled++;
}

static void *kicker(void *arg)
{
	sleep_ms(30);
	pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

/* A blocked signal ends the sleep, is not delivered by it, and runs its handler when the mask comes back. */
static void signal_ends_sleep(void **state)
{
	struct sigaction act = { .sa_handler = handler };
	pthread_t self = pthread_self(), t;
	struct host_waiter w;
	uint64_t mask;

	sigaction(SIGUSR1, &act, NULL);
	host_waiter_init(&w);
	mask = host_signals_block();
	assert_false(host_signal_pending(mask));
	pthread_create(&t, NULL, kicker, &self);
	assert_int_equal(host_wait_prepare(&w), 0);
	assert_int_equal(host_wait(&w, UINT64_MAX, mask), -EINTR);
	host_wait_finish(&w);
	assert_int_equal(handled, 0);
	assert_true(host_signal_pending(mask));
	/* In the mask: it does not count. */
	assert_false(host_signal_pending(mask | 1ULL << (SIGUSR1 - 1)));
	assert_int_equal(host_wait_prepare(&w), 0);
	assert_int_equal(host_wait(&w, host_now_ns() + 20 * MS, mask | 1ULL << (SIGUSR1 - 1)), 0);
	host_wait_finish(&w);
	host_signals_restore(mask);
	assert_int_equal(handled, 1);
	pthread_join(t, NULL);
	host_waiter_destroy(&w);
}

/* An ignored signal would have been dropped, had it not been blocked. */
static void ignored_signals_do_not_count(void **state)
{
	uint64_t mask = host_signals_block(), start = host_now_ns();
	struct host_waiter w;

	host_waiter_init(&w);
	raise(SIGWINCH);
	assert_false(host_signal_pending(mask));
	assert_int_equal(host_wait_prepare(&w), 0);
	assert_int_equal(host_wait(&w, start + 30 * MS, mask), 0);
	host_wait_finish(&w);
	assert_true(host_now_ns() - start >= 30 * MS);
	host_signals_restore(mask);
	host_waiter_destroy(&w);
}

static void clocks(void **state)
{
	uint32_t khz = host_tsc_khz();
	uint64_t tsc0, tsc1, ns0 = host_now_and_tsc(&tsc0), ns1, measured;

	sleep_ms(100);
	ns1 = host_now_and_tsc(&tsc1);
	measured = (tsc1 - tsc0) * 1000000 / (ns1 - ns0);
	assert_in_range(khz, measured - measured / 200, measured + measured / 200);
	assert_int_equal(host_tsc_khz(), khz);
	assert_true(host_realtime_ns() > 1600000000ULL * 1000000000);
}

static void eventfd_ids(void **state)
{
	int a = eventfd(0, 0), b = eventfd(0, 0), c = dup(a), p[2];
	uint64_t ia, ib, ic;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(host_eventfd_id(a, &ia), 0);
	assert_int_equal(host_eventfd_id(b, &ib), 0);
	assert_int_equal(host_eventfd_id(c, &ic), 0);
	assert_true(ia != ib);
	assert_true(ia == ic);
	assert_int_equal(host_eventfd_id(p[0], &ia), -EINVAL);
	assert_int_equal(host_eventfd_id(-1, &ia), -EBADF);
	close(a);
	assert_int_equal(host_eventfd_id(a, &ia), -EBADF);
	close(b);
	close(c);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers),
		cmocka_unit_test(watches),
		cmocka_unit_test(no_lost_wakeups),
		cmocka_unit_test(deadline),
		cmocka_unit_test(signal_ends_sleep),
		cmocka_unit_test(ignored_signals_do_not_count),
		cmocka_unit_test(clocks),
		cmocka_unit_test(eventfd_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
