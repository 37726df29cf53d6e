/* SPDX-License-Identifier: MIT */
/*
 * The less common ways in which a client comes to /dev/kvm, and what is no business of the preload's: run by 'anykvm
 * exec'.  Arguments: a static program that names /dev/kvm, and one that does not.
 * With "guest" alone it tells by its status which engine a guest ran on: 0 ours, 3 none of ours.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"

extern char **environ;

#define BAD ((void *)8)

static const char *static_client, *static_other;

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(client_is_ours(fd));
	return fd;
}

#define fails(err, call) \
	do { \
		errno = 0; \
		assert_int_equal((call), -1); \
		assert_int_equal(errno, err); \
	} while (0)

/* --- handlers of faults --- */

static volatile int saw;
static sigjmp_buf out;

static void on_fault(int sig)
{
	saw = sig;
	siglongjmp(out, 1);
}

static void own_fault(void)
{
	volatile char *p = BAD;

	saw = 0;
	__asm__("" : "+r"(p));
	if (!sigsetjmp(out, 1))
		*p = 1;
	assert_int_equal(saw, SIGSEGV);
}

/* cmocka's handlers, which are there before a test, come back by the same way. */
static void test_handlers(void **state)
{
	struct sigaction act = { .sa_handler = on_fault, .sa_flags = SA_NODEFER }, old, first;
	int sys = open_kvm(), vm = ioctl(sys, KVM_CREATE_VM, 0);

	assert_int_equal(sigaction(SIGSEGV, NULL, &first), 0);
	sigemptyset(&act.sa_mask);
	sigaddset(&act.sa_mask, SIGUSR2);
	assert_int_equal(sigaction(SIGSEGV, &act, NULL), 0);
	fails(EFAULT, ioctl(vm, KVM_SET_USER_MEMORY_REGION, BAD));
	assert_int_equal(saw, 0);
	own_fault();
	/* The client is told of its own. */
	assert_int_equal(sigaction(SIGSEGV, NULL, &old), 0);
	assert_ptr_equal(old.sa_handler, on_fault);
	assert_int_equal(old.sa_flags, SA_NODEFER);
	assert_true(sigismember(&old.sa_mask, SIGUSR2) && !sigismember(&old.sa_mask, SIGUSR1));
	assert_ptr_equal(signal(SIGSEGV, SIG_DFL), on_fault);
	fails(EFAULT, ioctl(vm, KVM_SET_USER_MEMORY_REGION, BAD));
	assert_ptr_equal(signal(SIGSEGV, on_fault), SIG_DFL);
	own_fault();
	fails(EFAULT, ioctl(sys, KVM_GET_MSR_INDEX_LIST, BAD));
	assert_int_equal(sigaction(SIGSEGV, &first, NULL), 0);
	close(vm);
	close(sys);
}

/* By the system call itself, which has a struct of its own. */
static void test_raw_handlers(void **state)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} act = { .handler = on_fault, .flags = SA_NODEFER, .mask = 1 << (SIGUSR2 - 1) }, old = { 0 }, first;
	int sys = open_kvm();

	assert_int_equal(syscall(SYS_rt_sigaction, SIGSEGV, NULL, &first, 8L), 0);
	assert_int_equal(syscall(SYS_rt_sigaction, SIGSEGV, &act, NULL, 8L), 0);
	fails(EFAULT, ioctl(sys, KVM_GET_MSR_INDEX_LIST, BAD));
	own_fault();
	assert_int_equal(syscall(SYS_rt_sigaction, SIGSEGV, &first, &old, 8L), 0);
	assert_ptr_equal(old.handler, on_fault);
	assert_true(old.mask == act.mask && (old.flags & SA_NODEFER));
	fails(EFAULT, syscall(SYS_rt_sigaction, SIGSEGV, BAD, NULL, 8L));
	fails(EINVAL, syscall(SYS_rt_sigaction, SIGSEGV, NULL, &old, 4L));
	close(sys);
}

/* A thread that lets no fault through has its errors all the same. */
static void test_blocked_faults(void **state)
{
	int sys = open_kvm();
	sigset_t faults, before, after;
	struct client c;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	sigemptyset(&faults);
	sigaddset(&faults, SIGSEGV);
	sigaddset(&faults, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &faults, &before);
	fails(EFAULT, ioctl(c.vcpu, KVM_GET_REGS, BAD));
	munmap(c.memory, 4096);
	fails(EFAULT, ioctl(c.vcpu, KVM_RUN, 0));
	pthread_sigmask(SIG_SETMASK, &before, &after);
	assert_true(sigismember(&after, SIGSEGV) && sigismember(&after, SIGBUS));
	c.memory = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	client_destroy(&c);
	close(sys);
}

/* --- system calls by number --- */

static void test_syscall(void **state)
{
	int fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC), again;
	struct stat st;
	char *p;

	assert_true(fd >= 0);
	assert_int_equal(syscall(SYS_ioctl, fd, KVM_CHECK_EXTENSION, 0x616b766dL), 1);
	again = (int)syscall(SYS_dup, fd);
	assert_int_equal(syscall(SYS_close, fd), 0);
	assert_int_equal(client_guest(again), 0);
	assert_int_equal(syscall(SYS_fstat, again, &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(syscall(SYS_newfstatat, AT_FDCWD, "/dev/kvm", &st, 0), 0);
	assert_int_equal(syscall(SYS_access, "/dev/kvm", R_OK | W_OK), 0);
	fails(EACCES, syscall(439 /* faccessat2 */, AT_FDCWD, "/dev/kvm", X_OK, 0));
	assert_int_equal(syscall(SYS_fcntl, again, F_GETFD), 0);
	assert_int_equal(syscall(SYS_close, again), 0);
	fails(EBADF, syscall(SYS_ioctl, again, KVM_GET_API_VERSION, 0L));
	/* All others are the kernel's, with all their arguments. */
	assert_int_equal(syscall(SYS_getpid), getpid());
	p = (void *)syscall(SYS_mmap, NULL, 4096L, (long)PROT_READ, (long)(MAP_PRIVATE | MAP_ANONYMOUS), -1L, 0L);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(syscall(SYS_mremap, p, 4096L, 8192L, (long)MREMAP_MAYMOVE, 0L, 0L) == -1, 0);
	fails(EBADF, syscall(SYS_splice, -1L, NULL, -1L, NULL, 4096L, 0L));
	fails(ENOSYS, syscall(100000));
}

static void test_wrong_pointers(void **state)
{
	struct stat st;
	FILE *f;

	fails(EFAULT, open(BAD, O_RDONLY));
	fails(EFAULT, openat(AT_FDCWD, BAD, O_RDONLY));
	fails(EFAULT, (int)syscall(SYS_open, BAD, O_RDONLY));
	fails(EFAULT, stat(BAD, &st));
	fails(EFAULT, access(BAD, R_OK));
	fails(EFAULT, (int)readlink(BAD, (char *)&st, 8));
	fails(EFAULT, open((char *)-1L, O_RDONLY));
	f = fopen(BAD, "r");
	assert_null(f);
	assert_int_equal(errno, EFAULT);
}

/* --- names --- */

/* The link of @fd in /proc. */
static const char *link_of(int fd)
{
	static char text[128];
	char path[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(text, 0x5a, sizeof(text));
	n = readlink(path, text, sizeof(text) - 1);
	assert_true(n > 0);
	/* Nothing is written behind it. */
	assert_int_equal(text[n], 0x5a);
	text[n] = '\0';
	return text;
}

static void test_links(void **state)
{
	int sys = open_kvm(), file = open("/proc/self/exe", O_RDONLY), stats;
	struct client c;
	char buf[4096], *p;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	stats = ioctl(c.vm, KVM_GET_STATS_FD, 0);
	assert_string_equal(link_of(sys), "/dev/kvm");
	assert_string_equal(link_of(c.vm), "anon_inode:kvm-vm");
	assert_string_equal(link_of(c.vcpu), "anon_inode:kvm-vcpu:0");
	assert_string_equal(link_of(stats), "anon_inode:kvm-vm-stats");
	assert_non_null(strstr(link_of(file), "ways"));
	fails(EINVAL, (int)readlink("/dev/kvm", buf, sizeof(buf)));
	assert_non_null(realpath("/dev/../dev//kvm", buf));
	assert_string_equal(buf, "/dev/kvm");
	p = realpath("/dev/kvm", NULL);
	assert_string_equal(p, "/dev/kvm");
	free(p);
	p = canonicalize_file_name("/sys/module/kvm/./parameters");
	assert_string_equal(p, "/sys/module/kvm/parameters");
	free(p);
	close(stats);
	client_destroy(&c);
	close(file);
	close(sys);
}

static void test_streams(void **state)
{
	FILE *f = fopen("/dev/null", "re");
	char text[8] = "";

	f = freopen("/sys/module/kvm/parameters/ignore_msrs", "re", f);
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	assert_string_equal(text, "N\n");
	f = freopen("/dev/null", "re", f);
	assert_non_null(f);
	fclose(f);
	fails(EACCES, creat("/sys/module/kvm/parameters/ignore_msrs", 0600));
}

/* As files without an own idea of being ready. */
static void test_poll(void **state)
{
	int sys = open_kvm(), vm = ioctl(sys, KVM_CREATE_VM, 0), e = epoll_create1(EPOLL_CLOEXEC);
	struct pollfd p = { .fd = vm, .events = POLLIN | POLLOUT };
	struct epoll_event ev = { .events = EPOLLIN };
	struct timeval none = { 0, 0 };
	fd_set set;

	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLIN | POLLOUT);
	FD_ZERO(&set);
	FD_SET(sys, &set);
	assert_int_equal(select(sys + 1, &set, NULL, NULL, &none), 1);
	fails(EPERM, epoll_ctl(e, EPOLL_CTL_ADD, vm, &ev));
	close(e);
	close(vm);
	close(sys);
}

/* --- programs that are started with an environment of their own --- */

static char *guest_argv[] = { "ways", "guest", NULL };

static int status_of(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define IN_CHILD(call) \
	({ \
		pid_t child_ = fork(); \
		if (!child_) { \
			call; \
			_exit(100); \
		} \
		status_of(child_); \
	})

static void test_environment(void **state)
{
	char *none[] = { NULL }, *other[] = { "LD_PRELOAD=libpthread.so.0", NULL }, *off[] = { "LD_PRELOAD=", NULL };
	char self[64];
	pid_t child;

	snprintf(self, sizeof(self), "/proc/%d/exe", (int)getpid());
	assert_int_equal(IN_CHILD(execve(self, guest_argv, none)), 0);
	assert_int_equal(IN_CHILD(execve(self, guest_argv, NULL)), 0);
	assert_int_equal(IN_CHILD(execve(self, guest_argv, other)), 0);
	assert_int_equal(IN_CHILD(execvpe(self, guest_argv, none)), 0);
	assert_int_equal(IN_CHILD(execle(self, "ways", "guest", NULL, none)), 0);
	assert_int_equal(IN_CHILD({ clearenv(); execl(self, "ways", "guest", NULL); }), 0);
	assert_int_equal(IN_CHILD({ clearenv(); execlp(self, "ways", "guest", NULL); }), 0);
	assert_int_equal(IN_CHILD(fexecve(open(self, O_RDONLY | O_CLOEXEC), guest_argv, none)), 0);
	assert_int_equal(IN_CHILD(syscall(SYS_execve, self, guest_argv, none)), 0);
	assert_int_equal(posix_spawn(&child, self, NULL, NULL, guest_argv, none), 0);
	assert_int_equal(status_of(child), 0);
	child = vfork();
	if (!child) {
		execve(self, guest_argv, none);
		_exit(100);
	}
	assert_int_equal(status_of(child), 0);
	/* Who says so gets none of us. */
	assert_int_equal(IN_CHILD(execve(self, guest_argv, off)), 3);
}

/* The settings come along, and what the client sets itself stays. */
static void test_settings(void **state)
{
	char *none[] = { NULL }, *other[] = { "ANYKVM_CPU=none of any maker", "A=b", NULL };
	char script[] = "test \"$ANYKVM_CPU\" = \"$0\"";
	char *argv[] = { "sh", "-c", script, getenv("ANYKVM_CPU"), NULL };
	char *changed[] = { "sh", "-c", "test \"$ANYKVM_CPU$A\" = 'none of any makerb'", NULL };

	assert_int_equal(IN_CHILD(execve("/bin/sh", argv, none)), 0);
	assert_int_equal(IN_CHILD(execve("/bin/sh", changed, other)), 0);
}

/* A static program that would open /dev/kvm by itself is refused, aloud; others run as ever. */
static void test_static(void **state)
{
	char *argv[] = { "static", NULL }, text[4096] = "";
	pid_t child = -1;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(IN_CHILD({
		dup2(p[1], STDERR_FILENO);
		execv(static_client, argv);
		_exit(errno == EPERM ? 50 : 51);
	}), 50);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, static_client));
	assert_non_null(strstr(text, "a static program"));
	close(p[0]);
	close(p[1]);
	assert_int_equal(posix_spawn(&child, static_client, NULL, NULL, argv, environ), EPERM);
	assert_int_equal(IN_CHILD(execv(static_other, argv)), 0);
	assert_int_equal(posix_spawn(&child, static_other, NULL, NULL, argv, environ), 0);
	assert_int_equal(status_of(child), 0);
}

/* What a child closes before it execs is the child's. */
static void test_spawn_actions(void **state)
{
	int sys = open_kvm();
	posix_spawn_file_actions_t actions;
	struct client c;
	pid_t child;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addclose(&actions, c.vcpu);
	posix_spawn_file_actions_addclose(&actions, c.vm);
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, c.vcpu);
	assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, guest_argv, environ), 0);
	assert_int_equal(status_of(child), 0);
	posix_spawn_file_actions_destroy(&actions);
	assert_int_equal(ioctl(c.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(c.run->exit_reason, KVM_EXIT_IO);
	client_destroy(&c);
	close(sys);
}

/* --- the flags of the processor --- */

/* The flag of nested virtualization is the model's, whatever the machine has. */
static void test_cpuinfo(void **state)
{
	const char *model = getenv("ANYKVM_CPU");
	bool amd = model && !strcmp(model, "amd");
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[8192];
	unsigned int flags = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		flags++;
		assert_int_equal(strstr(line, " vmx") != NULL, !amd);
		assert_int_equal(strstr(line, " svm") != NULL, amd);
		assert_non_null(strstr(line, " fpu"));
	}
	fclose(f);
	assert_true(flags > 0);
}

static int guest(void)
{
	int sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (sys < 0 || !client_is_ours(sys))
		return 3;
	return client_guest(sys) ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handlers), cmocka_unit_test(test_raw_handlers),
		cmocka_unit_test(test_blocked_faults), cmocka_unit_test(test_syscall),
		cmocka_unit_test(test_wrong_pointers), cmocka_unit_test(test_links),
		cmocka_unit_test(test_streams), cmocka_unit_test(test_poll),
		cmocka_unit_test(test_environment), cmocka_unit_test(test_settings),
		cmocka_unit_test(test_static), cmocka_unit_test(test_spawn_actions), cmocka_unit_test(test_cpuinfo),
	};

	if (argc == 2 && !strcmp(argv[1], "guest"))
		return guest();
	if (argc != 3)
		return 2;
	static_client = argv[1];
	static_other = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
