/* SPDX-License-Identifier: MIT */
/*
 * A client that locks itself in once all is set up: any system call but those that anykvm-exec(1) documents for the
 * steady state kills it.  It goes on with timers, halts, kicks, devices, interrupts and the dirty log.
 */
#include "guest.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define ROUNDS 60
#define TIMER 0x51
#define MESSAGE 0x50
#define DEVICE 0xd0000000u
#define DOORBELL 0x18
#define REPORT 0x11

/* --- the filter --- */

/* The list of the manual page, in its order. */
static const uint16_t steady[] = {
	SYS_rt_sigprocmask, SYS_rt_sigpending, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_fstat, SYS_newfstatat, SYS_fcntl,
	SYS_futex, SYS_poll, SYS_ppoll, SYS_eventfd2, SYS_signalfd4, SYS_read, SYS_write,
	SYS_epoll_wait, SYS_timerfd_settime, SYS_clock_gettime,
	SYS_mmap, SYS_munmap, SYS_brk,
};

/* And what this test does itself. */
static const uint16_t own[] = { SYS_exit_group };

struct filter {
	struct sock_filter code[128];
	unsigned short n;
};

static void add(struct filter *f, uint16_t code, uint32_t k, uint8_t jt)
{
	f->code[f->n++] = (struct sock_filter){ .code = code, .k = k, .jt = jt };
}

static void allow(struct filter *f, const uint16_t *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		/* Not this one: over the next instruction. */
		f->code[f->n++] = (struct sock_filter){ .code = BPF_JMP | BPF_JEQ | BPF_K, .k = list[i], .jt = 0, .jf = 1 };
		add(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0);
	}
}

/* On every thread: the library has one of its own. */
static int lock_in(void)
{
	struct filter f = { .n = 0 };
	struct sock_fprog prog;

	add(&f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0);
	add(&f, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1);
	add(&f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0);
	add(&f, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0);
	allow(&f, steady, sizeof(steady) / sizeof(steady[0]));
	allow(&f, own, sizeof(own) / sizeof(own[0]));
	if (getenv("SECCOMP_TRAP")) /* for whoever looks which call it is, under a debugger */
		add(&f, BPF_RET | BPF_K, SECCOMP_RET_TRAP, 0);
	add(&f, BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS, 0);
	prog = (struct sock_fprog){ f.n, f.code };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
}

/* --- the client; in a child, which says by its status where it failed --- */

struct world {
	struct guest g;
	int msi, bell;
};

static void route(struct world *w)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e;
	} r = {
		{ .nr = 1 },
		{ .gsi = 24, .type = KVM_IRQ_ROUTING_MSI, .u.msi = { .address_lo = 0xfee00000, .data = MESSAGE } },
	};
	struct kvm_irqfd irq = { .fd = (uint32_t)w->msi, .gsi = 24 };
	struct kvm_ioeventfd io = { .addr = DOORBELL, .len = 1, .fd = w->bell, .flags = KVM_IOEVENTFD_FLAG_PIO };

	api_ok(api_ioctl(w->g.vm, KVM_SET_GSI_ROUTING, &r));
	api_ok(api_ioctl(w->g.vm, KVM_IRQFD, &irq));
	api_ok(api_ioctl(w->g.vm, KVM_IOEVENTFD, &io));
}

/* A periodic timer, and a halt between its ticks; each tick writes to a device, an ioeventfd and a port. */
static void make(struct world *w)
{
	int vm = api_vm();

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	w->g = GUEST_ON(vm, STORE32(0xfee000f0u, 0x1ff), STORE32(0xfee00350u, 0x10000), STORE32(0xfee003e0u, 0xb),
			STORE32(0xfee00320u, 0x20000 | TIMER), STORE32(0xfee00380u, 0x40000), 0xfb, 0xf4, 0xeb, 0xfd);
	VECTOR(&w->g, TIMER, 0x1800, STORE32(0xfee000b0u, 0), STORE32(DEVICE, 1), 0xe6, DOORBELL, 0xe6, REPORT, 0xcf);
	VECTOR(&w->g, MESSAGE, 0x1900, STORE32(0xfee000b0u, 0), 0xe6, REPORT + 1, 0xcf);
	SET(&w->g, rsp, 0x8000);
	guest_unreal(&w->g);
	api_ok(api_set_slot(vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, GUEST_MEM, w->g.mem));
	w->msi = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	route(w);
}

static volatile sig_atomic_t kicks;

static void on_kick(int sig)
{
	kicks++;
}

static void kick_every_few_ms(void)
{
	struct sigaction act = { .sa_handler = on_kick };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec its = { { 0, 7000000 }, { 0, 7000000 } };
	timer_t timer;

	sigaction(SIGUSR1, &act, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &its, NULL), 0);
}

static unsigned int interrupted;

/* The next exit's reason; -1: an error. */
static int next(struct world *w)
{
	int r;

	while ((r = api_ioctl(w->g.vcpu, KVM_RUN, NULL)) && errno == EINTR)
		interrupted++;
	return r ? -1 : (int)w->g.run->exit_reason;
}

/* What a client does between exits. */
static bool busy(struct world *w)
{
	uint64_t one = 1, bitmap[GUEST_MEM / PAGE / 64 + 1];
	struct kvm_dirty_log log = { .dirty_bitmap = bitmap };
	struct kvm_irq_level line = { .irq = 5, .level = 1 };
	struct kvm_regs regs;

	if (write(w->msi, &one, sizeof(one)) != sizeof(one) || api_ioctl(w->g.vm, KVM_GET_DIRTY_LOG, &log) ||
	    api_ioctl(w->g.vm, KVM_IRQ_LINE, &line) || api_ioctl(w->g.vcpu, KVM_GET_REGS, &regs))
		return false;
	line.level = 0;
	/* A wrong pointer is an error as ever. */
	return !api_ioctl(w->g.vm, KVM_IRQ_LINE, &line) && api_ioctl(w->g.vcpu, KVM_GET_REGS, api_bad()) == -1 &&
	       errno == EFAULT;
}

static int go(struct world *w)
{
	unsigned int mmio = 0, ports = 0, messages = 0;
	uint64_t rung = 0;

	while (ports < ROUNDS || !messages || !interrupted) {
		int reason = next(w);

		if (reason == KVM_EXIT_MMIO && w->g.run->mmio.phys_addr == DEVICE)
			mmio++;
		else if (reason == KVM_EXIT_IO && w->g.run->io.port == REPORT)
			ports++;
		else if (reason == KVM_EXIT_IO)
			messages++;
		else
			return 10;
		if (!busy(w))
			return 11;
	}
	if (read(w->bell, &rung, sizeof(rung)) != sizeof(rung) || rung + 1 < ports)
		return 12;
	/* Memory that is gone. */
	if (munmap(w->g.mem, GUEST_MEM) || api_ioctl(w->g.vcpu, KVM_RUN, NULL) != -1)
		return 13;
	return mmio + 1 < ports ? 14 : 0;
}

/* Without the filter (@locked false) it does the same: then it is not the filter that is tested. */
static int in_child(bool locked, void (*before)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		struct world w;

		make(&w);
		kick_every_few_ms();
		if (locked && lock_in())
			_exit(77);
		if (before)
			before();
		_exit(go(&w));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static void steady_state(void **state)
{
	int status;

	/* A kernel makes no system calls, and a sanitizer makes its own. */
	if (api_real() || SANITIZED)
		skip();
	assert_int_equal(in_child(false, NULL), 0);
	status = in_child(true, NULL);
	if (status == 77)
		skip();
	assert_int_equal(status, 0);
}

static void forbidden(void)
{
	getppid();
}

/* The filter kills. */
static void the_filter_works(void **state)
{
	int status = in_child(true, forbidden);

	if (status == 77)
		skip();
	assert_int_equal(status, 128 + SIGSYS);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(steady_state),
	cmocka_unit_test(the_filter_works),
};

API_MAIN(tests)
