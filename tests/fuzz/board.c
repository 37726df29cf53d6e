/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

struct fuzz_board *board;
static __thread struct fuzz_note *seat;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void board_make(void)
{
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

unsigned int board_number(void)
{
	return seat ? (unsigned int)(seat - board->note) : 0;
}

void board_leave(void)
{
	board_doing(NULL, -1);
	seat = NULL;
}

void board_sit(unsigned int n)
{
	seat = &board->note[n];
	atomic_store(&seat->tid, gettid());
}

void board_doing(const char *what, int fd)
{
	if (!seat)
		return;
	atomic_store(&seat->what, NULL);
	if (!what)
		return;
	atomic_store(&seat->fd, fd);
	atomic_store(&seat->since, now_ns());
	atomic_fetch_add(&seat->calls, 1);
	atomic_store(&seat->what, what);
}

void fuzz_complain(const char *fmt, ...)
{
	va_list ap;

	if (atomic_exchange(&board->complained, true))
		return;
	va_start(ap, fmt);
	vsnprintf(board->complaint, sizeof(board->complaint), fmt, ap);
	va_end(ap);
	if (getenv("FUZZ_STOP"))
		raise(SIGSTOP);
}

bool board_hangs(unsigned int seconds)
{
	uint64_t now = now_ns();

	for (unsigned int i = 0; i < FUZZ_THREADS; i++) {
		struct fuzz_note *n = &board->note[i];
		uint64_t since = atomic_load(&n->since);
		const char *what = atomic_load(&n->what);

		if (what && since == atomic_load(&n->since) && now > since && now - since > seconds * 1000000000ULL) {
			fuzz_complain("thread %u (tid %d) hangs in %s", i, n->tid, what);
			return true;
		}
	}
	return false;
}

/* The names are the parent's as well: it has the same program at the same place. */
void board_tell(void)
{
	uint64_t now = now_ns();

	fprintf(stderr, "# episode %llu, its seed %#llx, %u threads\n", (unsigned long long)board->episodes,
		(unsigned long long)board->seed, board->threads);
	if (board->complained)
		fprintf(stderr, "# %s\n", board->complaint);
	for (unsigned int i = 0; i < FUZZ_THREADS; i++) {
		const struct fuzz_note *n = &board->note[i];
		const char *what = n->what;

		if (n->calls)
			fprintf(stderr, "# thread %u (tid %d): %s on %d for %.3f s, after %llu calls\n", i, n->tid,
				what ? what : "nothing", n->fd, what ? (double)(now - n->since) / 1e9 : 0.0,
				(unsigned long long)n->calls);
	}
}
