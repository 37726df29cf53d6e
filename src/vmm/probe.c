/* SPDX-License-Identifier: MIT */
#include "vmm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"
#include "vmm/vcpu.h"

#define PROBE_RAM  (4u << 20)
#define PROBE_CODE 0x200000u
#define PROBE_PORT 0x10u
#define PROBE_WORD 0x600df00du
#define REAP_MS	   500

/*
 * Two million turns of a loop with a stack and a store first: milliseconds on
 * a processor, a tenth of a second in an interpreter, and beyond the time limit
 * where a KVM emulates one instruction after the other inside the kernel, as it
 * does where the hardware below it is missing; such a host opens and answers,
 * and then hangs on a kernel.  Then PROBE_WORD at PROBE_PORT, only if all 64
 * bits of a register work and a store through the page tables comes back.
 */
static const uint8_t guest_code[] = {
	0xbc, 0x00, 0x00, 0x30, 0x00,			/* mov $0x300000, %esp */
	0xb9, 0x80, 0x84, 0x1e, 0x00,			/* mov $2000000, %ecx */
	0x51,						/* 1: push %rcx */
	0x48, 0x89, 0x0c, 0x25, 0x00, 0x00, 0x31, 0x00, /* mov %rcx, 0x310000 */
	0x59,						/* pop %rcx */
	0xff, 0xc9, 0x75, 0xf2,				/* dec %ecx; jnz 1b */
	0x48, 0xb8, 0x00, 0x00, 0x00, 0x00,		/* mov $PROBE_WORD << 32, %rax */
	0x0d, 0xf0, 0x0d, 0x60,
	0x48, 0x89, 0x04, 0x25, 0x00, 0x00, 0x30, 0x00, /* mov %rax, 0x300000 */
	0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x30, 0x00, /* mov 0x300000, %rbx */
	0x48, 0xc1, 0xeb, 0x20, 0x89, 0xd8,		/* shr $32, %rbx; mov %ebx, %eax */
	0xe7, PROBE_PORT, 0xf4,				/* out %eax, $PROBE_PORT; hlt */
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int say(struct probe *p, const char *what, int err)
{
	snprintf(p->why, sizeof(p->why), "%s: %s", what, strerror(-err));
	return err;
}

static int check_run(struct vcpu *v, struct probe *p)
{
	uint32_t word = 0;
	int r = vcpu_ioctl(v, KVM_RUN, NULL);

	if (r)
		return say(p, "KVM_RUN", r);
	if (v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == PROBE_PORT && v->run->io.size == 4)
		memcpy(&word, (uint8_t *)v->run + v->run->io.data_offset, sizeof(word));
	if (word != PROBE_WORD) {
		snprintf(p->why, sizeof(p->why), "the guest went wrong: exit %u", v->run->exit_reason);
		return -EIO;
	}
	r = vcpu_ioctl(v, KVM_RUN, NULL);
	if (r)
		return say(p, "KVM_RUN", r);
	if (v->run->exit_reason == KVM_EXIT_HLT)
		return 0;
	snprintf(p->why, sizeof(p->why), "the guest did not halt: exit %u", v->run->exit_reason);
	return -EIO;
}

static int run_guest(struct platform *pf, struct probe *p)
{
	struct boot_entry entry = { .mode = BOOT_LONG, .rip = PROBE_CODE };
	struct run_ctl ctl;
	struct vmm_err err = { "" };
	struct vcpu v;
	int r = vcpu_create(&v, pf, &ctl, 0, 1, &err);

	if (!r)
		r = vcpu_boot_state(&v, &entry, &err);
	if (r) {
		snprintf(p->why, sizeof(p->why), "%.*s", (int)sizeof(p->why) - 1, err.msg);
		return r;
	}
	return check_run(&v, p);
}

static int set_up(struct platform *pf, struct probe *p)
{
	struct kvm_userspace_memory_region slot = { .memory_size = PROBE_RAM };
	uint64_t identity = KVM_IDENTITY_PAGE;
	int r = guest_mem_init(&pf->mem, PROBE_RAM);

	if (r)
		return say(p, "memory", r);
	guest_mem_write(&pf->mem, PROBE_CODE, guest_code, sizeof(guest_code));
	boot_page_tables(&pf->mem);
	slot.userspace_addr = (uintptr_t)pf->mem.region[0].hva;
	pf->vm.vm_fd = sys_ioctl(&pf->vm, KVM_CREATE_VM, NULL);
	if (pf->vm.vm_fd < 0)
		return say(p, "KVM_CREATE_VM", pf->vm.vm_fd);
	r = vm_ioctl(&pf->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (!r)
		r = vm_ioctl(&pf->vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)KVM_TSS_PAGES);
	if (!r)
		r = vm_ioctl(&pf->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	return r ? say(p, "setting up the VM", r) : 0;
}

/* The child: each step is reported as soon as it is known, the last report counts. */
static void child(const struct kvm_ops *ops, int out)
{
	struct platform pf = { .vm.ops = ops };
	struct probe p = { .api_version = -1 };
	double start = now_ms();

	pf.vm.sys_fd = ops->open(O_RDWR | O_CLOEXEC);
	p.opens = pf.vm.sys_fd >= 0;
	p.open_errno = p.opens ? 0 : errno;
	if (p.opens)
		p.api_version = sys_ioctl(&pf.vm, KVM_GET_API_VERSION, NULL);
	if (write(out, &p, sizeof(p)) != sizeof(p) || !p.opens)
		_exit(0);
	p.runs = !set_up(&pf, &p) && !run_guest(&pf, &p);
	p.ms = now_ms() - start;
	if (write(out, &p, sizeof(p)) != sizeof(p))
		_exit(1);
	_exit(0);
}

static void listen_to(int in, unsigned int timeout_ms, struct probe *p)
{
	double end = now_ms() + timeout_ms;
	struct pollfd pfd = { .fd = in, .events = POLLIN };
	struct probe got;

	for (;;) {
		double left = end - now_ms();

		if (left <= 0 || poll(&pfd, 1, (int)left + 1) == 0) {
			p->timed_out = true;
			return;
		}
		if (read(in, &got, sizeof(got)) != sizeof(got))
			return;
		*p = got;
	}
}

/* A child that hangs inside the kernel may not even die of SIGKILL: it is waited for, but not for ever. */
static int reap(pid_t pid)
{
	int status = 0;

	for (int ms = 0; ms < REAP_MS; ms++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

int probe_kvm(const struct kvm_ops *ops, unsigned int timeout_ms, struct probe *p)
{
	int fds[2], status;
	pid_t pid;

	*p = (struct probe){ .api_version = -1 };
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(ops, fds[1]);
	close(fds[1]);
	if (pid > 0) {
		listen_to(fds[0], timeout_ms, p);
		if (p->timed_out)
			kill(pid, SIGKILL);
		status = reap(pid);
		p->crashed = !p->timed_out && WIFSIGNALED(status);
	}
	close(fds[0]);
	if (pid < 0)
		return -errno;
	if (p->timed_out)
		snprintf(p->why, sizeof(p->why), "no answer within %u ms", timeout_ms);
	else if (p->crashed)
		snprintf(p->why, sizeof(p->why), "the probe died of signal %d", WTERMSIG(status));
	return 0;
}
