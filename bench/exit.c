// SPDX-License-Identifier: MIT
/*
 * bench-exit soft|host: the round trip from a guest's OUT instruction to the client and back into the guest, by the
 * library or by the host's own KVM.  Prints "exit-out VALUE ns", the best of several runs of many exits each.
 */
#include "anykvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CODE_GPA 0x1000
#define EXITS 100000
#define RUNS 7

static int soft_open(int flags)
{
	/* This program has no handlers of its own for faults. */
	anykvm_sigaction(0, NULL, NULL);
	return anykvm_open(flags);
}

static int host_open(int flags)
{
	return open("/dev/kvm", flags);
}

static int host_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

struct device {
	const char *name;
	int (*open)(int flags);
	int (*ioctl)(int fd, unsigned long request, void *arg);
};

static const struct device devices[] = {
	{ "soft", soft_open, anykvm_ioctl },
	{ "host", host_open, host_ioctl },
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-exit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int call(const struct device *device, int fd, unsigned long request, void *arg, const char *what)
{
	int ret = device->ioctl(fd, request, arg);

	if (ret < 0)
		die(what);
	return ret;
}

/* A vCPU in real mode that does nothing but OUT. */
static int make_vcpu(const struct device *device, struct kvm_run **run)
{
	/* out %al, $0x10; jmp to it */
	static const unsigned char code[] = { 0xe6, 0x10, 0xeb, 0xfc };
	struct kvm_userspace_memory_region region = { .guest_phys_addr = CODE_GPA, .memory_size = 4096 };
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;
	int kvm, vm, vcpu, size;
	void *memory;

	kvm = device->open(O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die(device->name);
	vm = call(device, kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	memcpy(memory, code, sizeof(code));
	region.userspace_addr = (uintptr_t)memory;
	call(device, vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	vcpu = call(device, vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	size = call(device, kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
	*run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (*run == MAP_FAILED)
		die("mmap of kvm_run");
	call(device, vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	call(device, vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(device, vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
	return vcpu;
}

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
	const struct device *device = NULL;
	struct kvm_run *run;
	double best = 0;
	int vcpu;

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		if (argc == 2 && !strcmp(argv[1], devices[i].name))
			device = &devices[i];
	}
	if (!device) {
		fprintf(stderr, "usage: bench-exit soft|host\n");
		return 2;
	}
	vcpu = make_vcpu(device, &run);
	for (int i = 0; i < RUNS; i++) {
		double start = now_ns(), each;

		for (int j = 0; j < EXITS; j++) {
			call(device, vcpu, KVM_RUN, NULL, "KVM_RUN");
			if (run->exit_reason != KVM_EXIT_IO) {
				fprintf(stderr, "bench-exit: exit reason %u\n", run->exit_reason);
				return 1;
			}
		}
		each = (now_ns() - start) / EXITS;
		if (!i || each < best)
			best = each;
	}
	printf("exit-out %.1f ns\n", best);
	return 0;
}
