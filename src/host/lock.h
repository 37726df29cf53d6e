/* SPDX-License-Identifier: MIT */
/*
 * A small lock that sleeps in the kernel when contended, made of general
 * registers only: it may be taken while a guest's vector state sits in the
 * host's registers, which a libc function might clobber.
 */
#ifndef HOST_LOCK_H
#define HOST_LOCK_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

struct host_lock {
	_Atomic uint32_t word;          /* 0 free, 1 held, 2 held and somebody waits */
};

static inline long host_futex_timed(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *time)
{
	long ret = SYS_futex;
	register const void *timeout __asm__("r10") = time;

	__asm__ volatile("syscall" : "+a"(ret)
			 : "D"(word), "S"((long)op | FUTEX_PRIVATE_FLAG), "d"((long)value), "r"(timeout)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long host_futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	return host_futex_timed(word, op, value, NULL);
}

/** host_nap - gives the processor away for @ns, below a second, unless @word is not @value any more. */
static inline void host_nap(_Atomic uint32_t *word, uint32_t value, long ns)
{
	const struct timespec time = { .tv_nsec = ns };

	host_futex_timed(word, FUTEX_WAIT, value, &time);
}

/** host_yield - sched_yield(), of general registers only. */
static inline void host_yield(void)
{
	long ret = SYS_sched_yield;

	__asm__ volatile("syscall" : "+a"(ret) : : "rcx", "r11", "memory");
}

static inline void host_lock(struct host_lock *l)
{
	uint32_t free = 0;

	if (atomic_compare_exchange_strong_explicit(&l->word, &free, 1, memory_order_acquire, memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&l->word, 2, memory_order_acquire))
		host_futex(&l->word, FUTEX_WAIT, 2);
}

static inline void host_unlock(struct host_lock *l)
{
	if (atomic_exchange_explicit(&l->word, 0, memory_order_release) == 2)
		host_futex(&l->word, FUTEX_WAKE, 1);
}

#endif
