/* SPDX-License-Identifier: MIT */
/*
 * The workloads of the benchmark.  Each does a fixed number of its operations per call, some milliseconds on bare
 * hardware at most, so that a machine a few hundred times slower still gets through a batch; bench/init.c repeats
 * batches for a fixed time and divides.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <stddef.h>
#include <stdint.h>

struct work {
	const char *name;
	const char *unit;	/* what one operation's value is given in: "ns", "us" */
	unsigned int cpus;	/* needs at least so many */
	unsigned int ops;	/* operations per batch */
	void (*setup)(void);	/* once, untimed; may be NULL */
	void (*batch)(void);
	void (*teardown)(void);	/* may be NULL */
};

/* Where the program itself lies, for fork+exec. */
extern const char *work_self;
/* The argument that tells the program that it was started by the fork+exec workload. */
#define WORK_EXEC_ARG "exec-and-leave"

void work_syscall(void);
void work_fork(void);
void work_exec(void);
void work_pipe_setup(void);
void work_pipe(void);
void work_pipe_teardown(void);
void work_fault_setup(void);
void work_fault(void);
void work_fault_teardown(void);

void work_sha256_setup(void);
void work_sha256(void);
void work_sort(void);
void work_matrix_setup(void);
void work_matrix(void);
void work_calls(void);
void work_memcpy_setup(void);
void work_memcpy(void);
void work_chase_setup(void);
void work_chase(void);

/* The same work in one thread, and in two at once: what a second CPU is worth. */
void work_int_one(void);
void work_int_two(void);
void work_mem_one(void);
void work_mem_two(void);
void work_sys_one(void);
void work_sys_two(void);

void work_threads(void);
void work_locked(void);

/* The first bytes of SHA-256("abc"), to see that the machine computes rightly: 0xba7816bf. */
uint32_t work_sha256_abc(void);

/* Says what failed and ends the program (and with it the guest). */
_Noreturn void work_die(const char *what);

#define SYSCALL_OPS 5000
#define FORK_OPS 4
#define EXEC_OPS 2
#define PIPE_OPS 100
#define FAULT_OPS 256
#define SHA256_OPS 4
#define SORT_OPS 4
#define MATRIX_OPS 4
#define CALLS_OPS 4
#define MEMCPY_OPS 8
#define CHASE_OPS 20000
#define THREADS_OPS 1
#define SHARE_OPS 1
#define LOCKED_OPS 40000

#endif
