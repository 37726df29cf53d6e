/* SPDX-License-Identifier: MIT */
/*
 * What the preload does to a client: run by 'anykvm exec'.  With the argument
 * "guest" it runs one guest and says by its status whether anykvm did it; with
 * "guest SYSTEM VM" it runs it on descriptors that it has inherited, with "quick" it ends by quick_exit(), and with
 * "for-ever" it does not end.
 */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client.h"

extern char **environ;

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(client_is_ours(fd));
	return fd;
}

/* Waits for @child and returns its exit status, or -1 for another end. */
static int status_of(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static size_t open_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
	return n;
}

static void test_guest(void **state)
{
	int sys = open_kvm();

	assert_int_equal(client_guest(sys), 0);
	assert_int_equal(close(sys), 0);
	errno = 0;
	assert_int_equal(ioctl(sys, KVM_GET_API_VERSION, 0), -1);
	assert_int_equal(errno, EBADF);
}

/* Nothing of the library's own is left behind. */
static void test_no_leak(void **state)
{
	size_t before = open_descriptors();
	int sys = open_kvm();

	for (int i = 0; i < 3; i++)
		assert_int_equal(client_guest(sys), 0);
	close(sys);
	assert_int_equal(open_descriptors(), before);
}

static void test_names(void **state)
{
	int dev = open("/dev", O_RDONLY | O_DIRECTORY);
	int fds[] = {
		open64("/dev/kvm", O_RDWR), openat(dev, "kvm", O_RDWR), openat64(dev, "./kvm", O_RDWR),
		open("/dev//./kvm", O_RDWR), open("/proc/../dev/kvm", O_RDWR), openat(-1, "/dev/kvm", O_RDWR),
	};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		assert_true(client_is_ours(fds[i]));
		assert_int_equal(close(fds[i]), 0);
	}
	close(dev);
	errno = 0;
	assert_int_equal(open("/dev/kvm", O_RDWR | O_CREAT | O_EXCL, 0600), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(open("/dev/kvm/x", O_RDWR), -1);
	assert_int_equal(open("/nowhere/kvm", O_RDWR), -1);
	assert_int_equal(errno, ENOENT);
}

static void test_stat(void **state)
{
	struct stat st;
	struct statx x;

	assert_int_equal(stat("/dev/kvm", &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_true(st.st_rdev == makedev(10, 232));
	assert_int_equal(lstat("/dev/kvm", &st), 0);
	assert_int_equal(fstatat(AT_FDCWD, "/dev/kvm", &st, 0), 0);
	assert_int_equal(statx(AT_FDCWD, "/dev/kvm", 0, STATX_BASIC_STATS, &x), 0);
	assert_true(S_ISCHR(x.stx_mode));
	assert_int_equal(x.stx_rdev_minor, 232);
	assert_int_equal(access("/dev/kvm", R_OK | W_OK), 0);
	assert_int_equal(faccessat(AT_FDCWD, "/dev/kvm", R_OK | W_OK, AT_EACCESS), 0);
	assert_int_equal(access("/dev/kvm", X_OK), -1);
	assert_int_equal(errno, EACCES);
}

/* What open() gave looks as what stat() says. */
static void test_fstat(void **state)
{
	int sys = open_kvm();
	struct stat st;

	assert_int_equal(fstat(sys, &st), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_true(st.st_rdev == makedev(10, 232));
	assert_int_equal(fstatat(sys, "", &st, AT_EMPTY_PATH), 0);
	assert_true(S_ISCHR(st.st_mode));
	assert_int_equal(fstat(STDIN_FILENO, &st), 0);
	assert_true(st.st_rdev != makedev(10, 232));
	close(sys);
}

/* The chosen CPU's module is there, the other vendor's not; TEST_VENDOR says which. */
static void test_parameters(void **state)
{
	bool intel = !strcmp(getenv("ANYKVM_CPU"), "intel");
	const char *there = intel ? "/sys/module/kvm_intel/parameters/nested" : "/sys/module/kvm_amd/parameters/nested";
	const char *other = intel ? "/sys/module/kvm_amd" : "/sys/module/kvm_intel";
	char text[8] = "";
	struct stat st;
	FILE *f;

	f = fopen(there, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, intel ? "Y\n" : "1\n");
	assert_int_equal(stat(there, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(open(there, O_WRONLY), -1);
	assert_int_equal(errno, EACCES);
	assert_int_equal(access(there, W_OK), -1);
	assert_int_equal(access(other, F_OK), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(stat("/sys/module/kvm", &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(open("/sys/module/kvm/parameters/no_such", O_RDONLY), -1);
	assert_int_equal(errno, ENOENT);
}

/* Where PKRU lies in XSAVE is what the host says too, or it is not offered: clients ask the host. */
static void test_xsave_layout(void **state)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 room[256];
	} cpuid = { .head.nent = 256 };
	uint32_t a, b, c, d;
	int sys = open_kvm();
	unsigned int leaves = 0;

	assert_int_equal(ioctl(sys, KVM_GET_SUPPORTED_CPUID, &cpuid), 0);
	close(sys);
	__cpuid_count(0xd, 9, a, b, c, d);
	for (uint32_t i = 0; i < cpuid.head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid.head.entries[i];

		leaves += e->function == 0xd;
		if (e->function != 0xd || e->index != 9 || !e->eax)
			continue;
		assert_int_equal(e->eax, a);
		assert_int_equal(e->ebx, b);
	}
	assert_true(leaves > 1);
}

/* Other files and descriptors are the kernel's, errors too. */
static void test_others(void **state)
{
	int p[2], bytes = -1;
	struct stat st;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "abc", 3), 3);
	assert_int_equal(ioctl(p[0], FIONREAD, &bytes), 0);
	assert_int_equal(bytes, 3);
	errno = 0;
	assert_int_equal(ioctl(p[0], KVM_GET_API_VERSION, 0), -1);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(close(p[0]), 0);
	assert_int_equal(close(p[0]), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(ioctl(-1, KVM_RUN, 0), -1);
	assert_int_equal(errno, EBADF);
	errno = 1234;
	assert_int_equal(close(p[1]), 0);
	assert_int_equal(errno, 1234);
	assert_int_equal(stat("/no/kvm/here", &st), -1);
	assert_int_equal(errno, ENOENT);
}

/* --- duplicates --- */

static int answers(int fd)
{
	struct kvm_regs regs;

	return ioctl(fd, KVM_GET_REGS, &regs);
}

static void test_duplicates(void **state)
{
	int sys = open_kvm(), fds[4], other = open("/dev/null", O_RDONLY);
	struct client c;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	fds[0] = dup(c.vcpu);
	fds[1] = fcntl(c.vcpu, F_DUPFD_CLOEXEC, 100);
	fds[2] = dup2(fds[0], 150);
	fds[3] = dup3(fds[1], 151, O_CLOEXEC);
	assert_true(fds[1] >= 100);
	assert_int_equal(fds[2], 150);
	assert_int_equal(fds[3], 151);
	assert_int_equal(close(c.vcpu), 0);
	assert_int_equal(close(c.vm), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(answers(fds[i]), 0);
		assert_int_equal(close(fds[i]), 0);
	}
	assert_int_equal(answers(fds[3]), 0);
	/* dup2() closes what was there before. */
	assert_int_equal(dup2(other, fds[3]), fds[3]);
	assert_int_equal(answers(fds[3]), -1);
	assert_int_equal(errno, ENOTTY);
	c.vcpu = fds[3];
	c.vm = other;
	client_destroy(&c);
	close(sys);
}

/* Moves *@fd to @to. */
static void move(int *fd, int to)
{
	assert_int_equal(dup2(*fd, to), to);
	assert_int_equal(close(*fd), 0);
	*fd = to;
}

/* A VM is let go with its last descriptor, and so is all that the library had for it. */
static void test_close_range(void **state)
{
	size_t before = open_descriptors();
	struct kvm_ioeventfd io = { .addr = CLIENT_MMIO, .len = 1, .fd = eventfd(0, EFD_CLOEXEC) };
	int sys = open_kvm();
	struct client c;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	assert_int_equal(ioctl(c.vm, KVM_IOEVENTFD, &io), 0);
	close(io.fd);
	/* The library has an eventfd of its own now. */
	assert_true(open_descriptors() > before + 3);
	move(&sys, 300);
	move(&c.vm, 301);
	move(&c.vcpu, 302);
	assert_int_equal(ioctl(c.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(close_range(299, 400, 0), 0);
	assert_int_equal(ioctl(sys, KVM_GET_API_VERSION, 0), -1);
	assert_int_equal(errno, EBADF);
	c.vm = c.vcpu = -1;
	client_destroy(&c);
	assert_int_equal(open_descriptors(), before);
}

/* --- processes --- */

static void test_fork(void **state)
{
	int sys = open_kvm();
	struct client c;
	pid_t child;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	child = fork();
	if (!child) {
		/* The system's descriptor works here as well; the VM is the parent's. */
		bool eio = answers(c.vcpu) == -1 && errno == EIO;

		_exit(eio && !client_guest(sys) && !close(c.vcpu) && !close(c.vm) ? 0 : 1);
	}
	assert_int_equal(status_of(child), 0);
	assert_int_equal(answers(c.vcpu), 0);
	client_destroy(&c);
	close(sys);
}

/* A child of vfork() shares the parent's memory, and closes descriptors of its own. */
static void test_vfork(void **state)
{
	int sys = open_kvm();
	struct client c;
	pid_t child;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	child = vfork();
	if (!child) {
		close(c.vcpu);
		close(c.vm);
		_exit(3);
	}
	assert_int_equal(status_of(child), 3);
	assert_int_equal(ioctl(c.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(c.run->exit_reason, KVM_EXIT_IO);
	client_destroy(&c);
	close(sys);
}

/* Descriptors without close-on-exec: that of the system goes on working, a VM is its maker's. */
static void test_exec(void **state)
{
	int sys = open("/dev/kvm", O_RDWR), vm = ioctl(sys, KVM_CREATE_VM, 0);
	char numbers[2][16], *argv[] = { "client", "guest", numbers[0], numbers[1], NULL };
	pid_t child;

	fcntl(vm, F_SETFD, 0);
	snprintf(numbers[0], sizeof(numbers[0]), "%d", sys);
	snprintf(numbers[1], sizeof(numbers[1]), "%d", vm);
	assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ), 0);
	assert_int_equal(status_of(child), 0);
	close(vm);
	close(sys);
}

static int one_guest(void)
{
	int sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return sys >= 0 && client_is_ours(sys) && !client_guest(sys) ? 0 : 1;
}

static int inherited_guest(int sys, int vm)
{
	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_IRQCHIP) != -1 || errno != EIO)
		return 3;
	return client_is_ours(sys) && !client_guest(sys) ? 0 : 1;
}

/* The system's descriptor over a socket, to a process that exec()ed and knows nothing of it. */
static void test_socket(void **state)
{
	int pair[2], sys = open_kvm(), vm = ioctl(sys, KVM_CREATE_VM, 0), fd, again;
	struct client c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(client_send_fd(pair[0], sys), 0);
	fd = client_receive_fd(pair[1]);
	assert_true(fd >= 0 && fd != sys);
	assert_int_equal(close(sys), 0);
	assert_true(client_is_ours(fd));
	assert_int_equal(client_guest(fd), 0);
	/* A vCPU in flight while its descriptor is closed. */
	assert_int_equal(client_create(&c, fd, client_magic, client_magic_size), 0);
	again = dup(c.vcpu);
	assert_int_equal(client_send_fd(pair[0], c.vcpu), 0);
	assert_int_equal(close(c.vcpu), 0);
	c.vcpu = client_receive_fd(pair[1]);
	assert_int_equal(close(again), 0);
	assert_int_equal(answers(c.vcpu), 0);
	client_destroy(&c);
	close(vm);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

/* --- eventfds that another process has --- */

static const uint8_t write_mmio[] = {
	0xc6, 0x06, CLIENT_MMIO & 0xff, CLIENT_MMIO >> 8, 1, /* movb $1, CLIENT_MMIO */
	0xf4,                                                /* hlt */
};

static void test_eventfd(void **state)
{
	int sys = open_kvm(), pair[2];
	struct kvm_ioeventfd io = { .addr = CLIENT_MMIO, .len = 1, .fd = eventfd(0, EFD_CLOEXEC) };
	struct client c;
	pid_t child;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(client_create(&c, sys, write_mmio, sizeof(write_mmio)), 0);
	assert_int_equal(ioctl(c.vm, KVM_IOEVENTFD, &io), 0);
	child = fork();
	if (!child) {
		uint64_t n = 0;
		int fd = client_receive_fd(pair[1]);

		_exit(read(fd, &n, sizeof(n)) == sizeof(n) && n == 1 ? 0 : 1);
	}
	assert_int_equal(client_send_fd(pair[0], io.fd), 0);
	close(io.fd);
	assert_int_equal(ioctl(c.vcpu, KVM_RUN, 0), 0);
	assert_int_equal(c.run->exit_reason, KVM_EXIT_HLT);
	assert_int_equal(status_of(child), 0);
	client_destroy(&c);
	close(sys);
	close(pair[0]);
	close(pair[1]);
}

/* --- threads and signals --- */

/* A dirty ring is shared with the engine, and no code; other files are mapped as ever. */
static void test_ring_mapping(void **state)
{
	static const off_t at = KVM_DIRTY_LOG_PAGE_OFFSET * 4096L;
	int sys = open_kvm(), file = memfd_create("file", 0);
	struct client c;
	char *p;

	assert_int_equal(client_create(&c, sys, client_magic, client_magic_size), 0);
	errno = 0;
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, c.vcpu, at), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_ptr_equal(mmap64(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, c.vcpu, at), MAP_FAILED);
	assert_int_equal(errno, EINVAL);
	client_destroy(&c);
	close(sys);
	assert_int_equal(pwrite(file, "x", 1, at), 1);
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, at);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(*p, 'x');
	munmap(p, 4096);
	close(file);
}

static const uint8_t endless[] = { 0xeb, 0xfe }; /* jmp . */

static void on_kick(int sig)
{
}

static void *run_until_kicked(void *arg)
{
	struct client *c = arg;

	return (void *)(intptr_t)(ioctl(c->vcpu, KVM_RUN, 0) == -1 ? errno : 0);
}

static void test_thread(void **state)
{
	struct sigaction act = { .sa_handler = on_kick };
	int sys = open_kvm();
	struct client c;
	pthread_t thread;
	void *result;

	assert_int_equal(client_create(&c, sys, endless, sizeof(endless)), 0);
	sigaction(SIGUSR1, &act, NULL);
	assert_int_equal(pthread_create(&thread, NULL, run_until_kicked, &c), 0);
	/* As clients do: the flag stays, so a signal that comes before KVM_RUN is not lost. */
	c.run->immediate_exit = 1;
	pthread_kill(thread, SIGUSR1);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_int_equal((intptr_t)result, EINTR);
	client_destroy(&c);
	close(sys);
}

/* A handler that itself opens, asks and closes, whatever it has interrupted. */
static volatile int handled, handled_wrong;
static int handler_sys;

static void on_alarm(int sig)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), err = errno;

	if (fd < 0 || ioctl(handler_sys, KVM_GET_API_VERSION, 0) != KVM_API_VERSION || close(fd))
		handled_wrong++;
	handled++;
	errno = err;
}

static void test_handler(void **state)
{
	struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	timer_t timer;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	struct itimerspec every = { { 0, 200000 }, { 0, 200000 } }, never = { { 0, 0 }, { 0, 0 } };

	handler_sys = open_kvm();
	sigaction(SIGUSR2, &act, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &every, NULL), 0);
	/* Not an assertion in the loop: cmocka's own code is no place for a signal storm. */
	while (handled < 300) {
		int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = ioctl(fd, KVM_CREATE_VM, 0);

		if (fd < 0 || vm < 0 || close(vm) || close(fd))
			handled_wrong++;
	}
	timer_settime(timer, 0, &never, NULL);
	timer_delete(timer);
	assert_int_equal(handled_wrong, 0);
	close(handler_sys);
}

/* ioctl() is no cancellation point, and open() of what is ours leaves nothing half done. */
static void *cancelled(void *arg)
{
	int sys;

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	pthread_cancel(pthread_self());
	sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	*(int *)arg = client_guest(sys);
	close(sys);
	pthread_testcancel();
	return NULL;
}

static void test_cancel(void **state)
{
	pthread_t thread;
	void *result;
	int r = -1;

	assert_int_equal(pthread_create(&thread, NULL, cancelled, &r), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(r, 0);
}

/* For a test that kills it at any moment. */
static int guests_for_ever(void)
{
	int sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	while (sys >= 0 && !client_guest(sys))
		;
	return 1;
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guest), cmocka_unit_test(test_no_leak),
		cmocka_unit_test(test_names), cmocka_unit_test(test_stat),
		cmocka_unit_test(test_fstat), cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_xsave_layout), cmocka_unit_test(test_others),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_close_range), cmocka_unit_test(test_fork),
		cmocka_unit_test(test_vfork), cmocka_unit_test(test_exec),
		cmocka_unit_test(test_ring_mapping), cmocka_unit_test(test_socket), cmocka_unit_test(test_eventfd),
		cmocka_unit_test(test_thread), cmocka_unit_test(test_handler),
		cmocka_unit_test(test_cancel),
	};

	if (argc == 2 && !strcmp(argv[1], "guest"))
		return one_guest();
	if (argc == 2 && !strcmp(argv[1], "quick"))
		quick_exit(one_guest());
	if (argc == 2 && !strcmp(argv[1], "for-ever"))
		return guests_for_ever();
	if (argc == 4 && !strcmp(argv[1], "guest"))
		return inherited_guest(atoi(argv[2]), atoi(argv[3]));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
