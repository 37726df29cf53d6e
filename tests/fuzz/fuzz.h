/* SPDX-License-Identifier: MIT */
/*
 * A fuzzer of the API: everything that a client can do to the library, right or wrong, from many threads at once.
 *
 * 1. The client's own mistakes stay the client's: what a slot names, and what a request may write to, is memory that
 *    the fuzzer can lose; a descriptor is closed by one thread alone.
 * 2. Nothing here may fail an assertion in a thread: fuzz_complain() notes what is wrong, and the parent, which has
 *    the board in shared memory, tells it, also where the process has died.
 * 3. With one thread the calls follow from the seed.  With several their order does not.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvm/ioctl.h"

#define PAGE 4096UL
#define FUZZ_THREADS 8
#define FUZZ_VCPUS 3
#define FUZZ_EVENTS 6
#define FUZZ_REQUESTS 256
#define ARENA_PAGES 64
#define ARENA (ARENA_PAGES * PAGE)
#define CODE_PAGES 8            /* behind page 0 */
#define TABLES_PAGE 56          /* page tables of guests in 64-bit mode: four pages */
#define ROOM (16 * PAGE)        /* for an argument; nothing is mapped behind it */

/* Its allocator is its own: what it holds cannot be counted, and a fork()ed child may find it locked. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

/* --- random numbers (rnd.c): each thread has its own --- */

void rnd_seed(uint64_t seed);
uint64_t rnd(void);
/** number - one that is likely to be at the edge of something. */
uint64_t number(void);
/** below - 0 to @n - 1.  one_in - true once in @n. */
static inline uint64_t below(uint64_t n)
{
	return rnd() % n;
}
static inline bool one_in(unsigned int n)
{
	return !(rnd() % n);
}
#define pick(array) ((array)[below(sizeof(array) / sizeof((array)[0]))])

/* --- the board: shared with the parent (board.c) --- */

struct fuzz_note {              /* what a thread is doing */
	_Atomic(const char *) what;     /* NULL: nothing */
	_Atomic int fd;
	_Atomic uint64_t since, calls;
	_Atomic int tid;
};

struct fuzz_board {
	_Atomic uint64_t seed, episodes;
	_Atomic unsigned int threads;
	_Atomic uint64_t runs, exits;   /* KVM_RUNs, and those that ended with an exit */
	_Atomic uint64_t nested_runs[2], nested_exits[2];       /* of VMX, of SVM */
	_Atomic bool complained;
	char complaint[256];
	struct fuzz_note note[FUZZ_THREADS];
	_Atomic uint64_t called[FUZZ_REQUESTS], succeeded[FUZZ_REQUESTS];       /* by row */
};

extern struct fuzz_board *board;

/** board_make - in the parent, before the fork. */
void board_make(void);
/** board_tell - everything that is on it, to standard error. */
void board_tell(void);
/**
 * board_sit - the calling thread is number @n; board_leave - none any more; board_number - which it is.
 * board_doing - it does that from now on; NULL: nothing.
 */
void board_sit(unsigned int n);
void board_leave(void);
unsigned int board_number(void);
void board_doing(const char *what, int fd);
/** fuzz_complain - the first complaint is kept. */
void fuzz_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** board_hangs - a thread that has been in one call for @seconds. */
bool board_hangs(unsigned int seconds);

/* --- what is fuzzed (world.c) --- */

struct fuzz_world {
	_Atomic int sys, vm, vcpu[FUZZ_VCPUS], stats, event[FUZZ_EVENTS];       /* -1: closed */
	struct kvm_run *run[FUZZ_VCPUS];        /* three pages each, whatever is mapped there */
	char *arena;            /* what slots name: may lose its rights or its file at any time */
	size_t arena_size;      /* with what is kept free behind it */
	char *memory;           /* the same memory, always there */
	int memory_fd, short_fd;        /* behind the arena; a file that is too short */
	bool amd;
	uint64_t caps[5];       /* of VMX */
	_Atomic bool stop;
	unsigned int threads;
	pthread_t thread[FUZZ_THREADS];         /* [0]: the main one */
	_Atomic unsigned int present;           /* bit n: thread n can be sent a signal */
};

extern bool fuzz_preloaded;     /* /dev/kvm by libc's functions, under 'anykvm exec' */

/** world_room - once: the arena.  world_make, world_end - a VM with vCPUs, and the end of all that is still there. */
void world_room(struct fuzz_world *w);
void world_make(struct fuzz_world *w);
void world_end(struct fuzz_world *w);

int fuzz_open(void);
int fuzz_close(int fd);
/** fuzz_ioctl - ioctl(2) as a noted call whose error is looked at. */
int fuzz_ioctl(int fd, unsigned long request, void *arg);

/* --- requests (requests.c, shapes.c) --- */

/** request_count, request_row - the library's own tables. */
unsigned int request_count(void);
const struct kvm_ioctl_row *request_row(unsigned int n);
/** request_number - the row of @request, for counting; -1: none. */
int request_number(uint32_t request);
/** request_any - any request on any descriptor. */
void request_any(struct fuzz_world *w);
/** room - the calling thread's place for an argument of @size bytes at most, with nothing behind it. */
void *room(size_t size);
/** shape - fills an argument for @row at @arg (ROOM bytes) so that it may well be accepted. */
void shape(struct fuzz_world *w, int fd, const struct kvm_ioctl_row *row, void *arg);
/** tame - takes out what would be the client's own mistake. */
void tame(struct fuzz_world *w, uint32_t request, void *arg);
/** error_allowed - KVM's documentation or its sources have @err for @request. */
bool error_allowed(uint32_t request, int err);

/* --- guests (guest.c) --- */

/** guest_code - fills pages with code.  guest_state - points a vCPU there, in some mode. */
void guest_code(struct fuzz_world *w);
void guest_state(struct fuzz_world *w, int vcpu);

/* --- guests that are hypervisors (hyper.c) --- */

/** hyper_make - all that such a guest needs, in memory.  hyper_bend - changes something of it. */
void hyper_make(struct fuzz_world *w);
void hyper_bend(struct fuzz_world *w);
/** hyper_state - what it needs of its vCPU, which @s has in 64-bit mode; its RIP. */
uint64_t hyper_state(struct fuzz_world *w, int vcpu, struct kvm_sregs *s);
/** hyper_count - notes how often L2 was entered and left. */
void hyper_count(struct fuzz_world *w);

/* --- what threads do (acts.c) --- */

/** act - one thing at random; thread @n has a preference. */
void act(struct fuzz_world *w, unsigned int n);
/** act_scribble - overwrites what clients write in kvm_run. */
void act_scribble(struct fuzz_world *w);

#endif
