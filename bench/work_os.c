// SPDX-License-Identifier: MIT
/* Workloads that live in the guest's kernel: system calls, processes, pipes, page tables. */
#include "work.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

const char *work_self;

void work_syscall(void)
{
	for (int i = 0; i < SYSCALL_OPS; i++)
		syscall(SYS_getppid);
}

static void reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		work_die("child");
}

void work_fork(void)
{
	for (int i = 0; i < FORK_OPS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		reap(pid);
	}
}

void work_exec(void)
{
	char *const argv[] = { (char *)work_self, WORK_EXEC_ARG, NULL };
	char *const envp[] = { NULL };

	for (int i = 0; i < EXEC_OPS; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			execve(work_self, argv, envp);
			_exit(127);
		}
		reap(pid);
	}
}

/* One byte to a child and back. */
static int ping[2], pong[2];
static pid_t echo_pid;

void work_pipe_setup(void)
{
	char byte;

	if (pipe(ping) || pipe(pong))
		work_die("pipe");
	echo_pid = fork();
	if (echo_pid < 0)
		work_die("fork");
	if (echo_pid == 0) {
		close(ping[1]);
		close(pong[0]);
		while (read(ping[0], &byte, 1) == 1 && write(pong[1], &byte, 1) == 1)
			;
		_exit(0);
	}
	close(ping[0]);
	close(pong[1]);
}

void work_pipe(void)
{
	char byte = 'x';

	for (int i = 0; i < PIPE_OPS; i++) {
		if (write(ping[1], &byte, 1) != 1 || read(pong[0], &byte, 1) != 1)
			work_die("pipe");
	}
}

void work_pipe_teardown(void)
{
	close(ping[1]);
	close(pong[0]);
	reap(echo_pid);
}

/*
 * As a garbage collector does it: pages are touched for the first time, protected all at once, and written to, each
 * write ending in a signal whose handler opens that page.  An operation is one page: two faults, one signal, and
 * its share of the calls.
 */
#define PAGE 4096u
static volatile char *fault_area;
static struct sigaction fault_old;

static void open_page(int signal, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1);

	(void)signal;
	(void)context;
	if (page - (uintptr_t)fault_area >= FAULT_OPS * PAGE ||
	    mprotect((void *)page, PAGE, PROT_READ | PROT_WRITE))
		work_die("page fault at a wrong address");
}

void work_fault_setup(void)
{
	struct sigaction action = { .sa_sigaction = open_page, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSEGV, &action, &fault_old))
		work_die("sigaction");
}

void work_fault(void)
{
	void *area = mmap(NULL, FAULT_OPS * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		work_die("mmap");
	/* A huge page would take one fault for all. */
	madvise(area, FAULT_OPS * PAGE, MADV_NOHUGEPAGE);
	fault_area = area;
	for (unsigned int i = 0; i < FAULT_OPS; i++)
		fault_area[i * PAGE] = 1;
	if (mprotect(area, FAULT_OPS * PAGE, PROT_READ))
		work_die("mprotect");
	for (unsigned int i = 0; i < FAULT_OPS; i++)
		fault_area[i * PAGE] = 2;
	munmap(area, FAULT_OPS * PAGE);
}

void work_fault_teardown(void)
{
	sigaction(SIGSEGV, &fault_old, NULL);
}
