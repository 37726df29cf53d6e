/* SPDX-License-Identifier: MIT */
/*
 * Faults taken on purpose: copies between good and bad memory, nested guards, other people's handlers.  cmocka puts
 * handlers of its own in front for each test, as a client may: so each test installs ours again.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/fault.h"

#define PAGE 4096

static void touch(uintptr_t addr)
{
	/* Hides from the compiler that the address is bad. */
	__asm__("" : "+r"(addr));
	*(volatile uint8_t *)addr;
}

static uint8_t *map(int prot, int flags, int fd, size_t size)
{
	void *p = mmap(NULL, size, prot, flags, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void copies(void **state)
{
	uint8_t *good = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 2 * PAGE);
	uint8_t buf[64];

	assert_int_equal(host_fault_init(), 0);
	assert_int_equal(munmap(good + PAGE, PAGE), 0);
	memset(good, 0x5a, PAGE);
	assert_int_equal(host_copy(buf, good + PAGE - 64, 64), 0);
	assert_int_equal(buf[63], 0x5a);
	assert_int_equal(host_copy(buf, good + PAGE - 63, 64), -EFAULT);
	assert_int_equal(host_copy(good + PAGE - 1, buf, 2), -EFAULT);
	assert_int_equal(host_copy(buf, NULL, 1), -EFAULT);
	assert_int_equal(host_copy(NULL, buf, 0), 0);
	/* Not canonical: the processor raises #GP, not #PF. */
	assert_int_equal(host_copy(buf, (void *)0x4141414141414141, 8), -EFAULT);
	assert_int_equal(host_copy(buf, (void *)UINTPTR_MAX, 1), -EFAULT);
	assert_int_equal(mprotect(good, PAGE, PROT_READ), 0);
	assert_int_equal(host_copy(good, buf, 1), -EFAULT);
	assert_int_equal(host_copy(buf, good, 64), 0);
	munmap(good, PAGE);
}

static void truncated_file(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	uint8_t *p;
	struct host_guard g;
	int kind;

	assert_int_equal(host_fault_init(), 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	p = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	p[0] = 1;
	assert_int_equal(ftruncate(fd, 0), 0);
	host_guard_arm(&g);
	kind = host_jump_set(&g.jump);
	if (!kind)
		touch((uintptr_t)p);
	host_guard_disarm(&g);
	assert_int_equal(kind, HOST_FAULT_BUS);
	assert_int_equal(g.kind, HOST_FAULT_BUS);
	assert_ptr_equal((void *)g.addr, p);
	munmap(p, PAGE);
	close(fd);
}

static void nested(void **state)
{
	volatile int outer_seen = 0, inner_seen = 0;
	struct host_guard outer, inner;
	uint8_t buf[8];

	assert_int_equal(host_fault_init(), 0);
	host_guard_arm(&outer);
	if (!host_jump_set(&outer.jump)) {
		host_guard_arm(&inner);
		if (!host_jump_set(&inner.jump))
			touch((uintptr_t)8);
		else
			inner_seen++;
		host_guard_disarm(&inner);
		/* A guard of its own inside: the outer one is in force again afterwards. */
		assert_int_equal(host_copy(buf, (void *)16, 8), -EFAULT);
		touch((uintptr_t)24);
	} else {
		outer_seen++;
	}
	host_guard_disarm(&outer);
	assert_int_equal(inner_seen, 1);
	assert_int_equal(outer_seen, 1);
	assert_int_equal(inner.addr, 8);
	assert_int_equal(outer.addr, 24);
}

/* A jump out of an inner guard's reach, to the outer one, which is the innermost then. */
static void unwound(void **state)
{
	volatile int seen = 0;
	struct host_guard outer, inner;

	assert_int_equal(host_fault_init(), 0);
	host_guard_arm(&outer);
	switch (host_jump_set(&outer.jump)) {
	case 0:
		host_guard_arm(&inner);
		host_jump_to(&outer.jump, 100);
	case 100:
		host_guard_unwind(&outer);
		touch((uintptr_t)8);
		break;
	case HOST_FAULT_SEGV:
		/* The second time without a fault. */
		if (!seen++)
			host_guard_fail();
	}
	host_guard_disarm(&outer);
	assert_int_equal(seen, 2);
	assert_int_equal(outer.addr, 8);
}

static void divide_error(void **state)
{
	struct host_guard g;
	int kind;

	assert_int_equal(host_fault_init(), 0);
	host_guard_arm(&g);
	kind = host_jump_set(&g.jump);
	if (!kind)
		__asm__ volatile("xorl %%ecx, %%ecx\n\tdivl %%ecx" ::: "eax", "ecx", "edx", "cc");
	host_guard_disarm(&g);
	assert_int_equal(kind, HOST_FAULT_FPE);
}

static volatile sig_atomic_t client_saw;
static sigjmp_buf client_out;

static void client_handler(int sig, siginfo_t *info, void *context)
{
	client_saw = sig;
	siglongjmp(client_out, 1);
}

/* A fault of the client's own goes to the client's handler, whoever installed first. */
static void chained(void **state)
{
	struct sigaction act = { .sa_sigaction = client_handler, .sa_flags = SA_SIGINFO }, old;
	uint8_t buf[8];

	sigemptyset(&act.sa_mask);
	assert_int_equal(sigaction(SIGSEGV, &act, &old), 0);
	assert_int_equal(host_fault_init(), 0);
	assert_int_equal(host_copy(buf, (void *)16, 8), -EFAULT);
	assert_int_equal(client_saw, 0);
	if (!sigsetjmp(client_out, 1))
		touch((uintptr_t)16);
	assert_int_equal(client_saw, SIGSEGV);
	/* Sent, not raised by an instruction: the client's, even while a guard is armed. */
	client_saw = 0;
	if (!sigsetjmp(client_out, 1))
		raise(SIGSEGV);
	assert_int_equal(client_saw, SIGSEGV);
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
}

/* A client whose calls come to us: our handler stays in front, and the client sees its own. */
static void client_actions(void **state)
{
	struct sigaction act = { .sa_sigaction = client_handler, .sa_flags = SA_SIGINFO }, old, before, real;
	uint8_t buf[8];

	assert_int_equal(host_fault_init(), 0);
	assert_int_equal(host_fault_sigaction(SIGSEGV, NULL, &before), 0);
	sigaddset(&act.sa_mask, SIGUSR1);
	assert_int_equal(host_fault_sigaction(SIGSEGV, &act, &old), 0);
	assert_ptr_equal(old.sa_sigaction, before.sa_sigaction);
	assert_int_equal(sigaction(SIGSEGV, NULL, &real), 0);
	assert_ptr_not_equal(real.sa_sigaction, client_handler);
	client_saw = 0;
	assert_int_equal(host_copy(buf, (void *)16, 8), -EFAULT);
	assert_int_equal(client_saw, 0);
	if (!sigsetjmp(client_out, 1))
		touch((uintptr_t)16);
	assert_int_equal(client_saw, SIGSEGV);
	assert_int_equal(host_fault_sigaction(SIGSEGV, &before, &old), 0);
	assert_ptr_equal(old.sa_sigaction, client_handler);
	assert_true(sigismember(&old.sa_mask, SIGUSR1));
	/* Other signals are sigaction()'s own. */
	assert_int_equal(host_fault_sigaction(SIGUSR1, NULL, &old), 0);
	assert_int_equal(host_fault_sigaction(SIGKILL, &act, NULL), -EINVAL);
}

/* Where the calls are not known, each look finds what the client has put in our place. */
static void looked_for(void **state)
{
	struct sigaction act = { .sa_sigaction = client_handler, .sa_flags = SA_SIGINFO }, before;
	uint8_t buf[8];

	assert_int_equal(host_fault_init(), 0);
	assert_int_equal(sigaction(SIGSEGV, &act, &before), 0);
	client_saw = 0;
	assert_int_equal(host_fault_check(), 0);
	assert_int_equal(host_copy(buf, (void *)16, 8), -EFAULT);
	assert_int_equal(client_saw, 0);
	assert_int_equal(sigaction(SIGSEGV, &before, NULL), 0);
}

static struct sigaction remembered;

/* A client that remembers the handler before its own, which is ours, and calls it. */
static void calling_handler(int sig, siginfo_t *info, void *context)
{
	if (client_saw++)
		siglongjmp(client_out, 1);
	remembered.sa_sigaction(sig, info, context);
	siglongjmp(client_out, 2);
}

/* In a process of its own, where nobody installed anything before. */
static int endless_chain_child(void)
{
	struct sigaction act = { .sa_sigaction = client_handler, .sa_flags = SA_SIGINFO };

	/* client_handler stands first, then ours, calling_handler, ours again. */
	sigaction(SIGSEGV, &act, NULL);
	host_fault_init();
	act.sa_sigaction = calling_handler;
	sigaction(SIGSEGV, &act, &remembered);
	host_fault_init();
	if (!sigsetjmp(client_out, 1))
		touch(16);
	return client_saw == SIGSEGV ? 0 : 1;
}

static void no_endless_chain(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		execl("/proc/self/exe", "test", "--endless-chain", NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* Without a handler of the client's a fault kills with its signal, as ever. */
static void kills(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct sigaction dfl = { .sa_handler = SIG_DFL };

		sigaction(SIGSEGV, &dfl, NULL);
		host_fault_init();
		touch((uintptr_t)16);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void resending_handler(int sig)
{
	if (client_saw++)
		_exit(3);
	raise(sig);
}

/* A handler that is to run once does, and what it sends then kills. */
static void once(void **state)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct sigaction act = { .sa_handler = resending_handler, .sa_flags = (int)SA_RESETHAND };

		client_saw = 0;
		sigaction(SIGSEGV, &act, NULL);
		host_fault_init();
		touch((uintptr_t)16);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(truncated_file),
		cmocka_unit_test(nested), cmocka_unit_test(unwound),
		cmocka_unit_test(divide_error),
		cmocka_unit_test(chained),
		cmocka_unit_test(looked_for),
		cmocka_unit_test(client_actions),
		cmocka_unit_test(no_endless_chain),
		cmocka_unit_test(kills),
		cmocka_unit_test(once),
	};

	if (argc > 1)
		return endless_chain_child();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
