/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define ENGINE 0x616b766dUL /* ANYKVM_CAP_ENGINE, as a program that cannot include anykvm.h would write it */
#define PAGE 4096UL

const uint8_t client_magic[] = {
	0xb0, CLIENT_MAGIC, /* mov $CLIENT_MAGIC, %al */
	0xe6, CLIENT_PORT,  /* out %al, $CLIENT_PORT */
	0xf4,               /* hlt */
};
const size_t client_magic_size = sizeof(client_magic);

bool client_is_ours(int sys)
{
	return ioctl(sys, KVM_CHECK_EXTENSION, ENGINE) == 1;
}

static int set_registers(int vcpu)
{
	struct kvm_regs regs = { .rip = PAGE, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = sregs.cs.selector = 0;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs) ? -1 : 0;
}

int client_create(struct client *c, int sys, const void *code, size_t n)
{
	struct kvm_userspace_memory_region slot = { .guest_phys_addr = PAGE, .memory_size = PAGE };

	*c = (struct client){ .sys = sys, .vcpu = -1, .run = MAP_FAILED };
	c->memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	c->vm = ioctl(sys, KVM_CREATE_VM, 0);
	if (c->memory == MAP_FAILED || c->vm < 0)
		return -1;
	memcpy(c->memory, code, n);
	slot.userspace_addr = (uintptr_t)c->memory;
	if (ioctl(c->vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return -1;
	c->vcpu = ioctl(c->vm, KVM_CREATE_VCPU, 0);
	c->run_size = ioctl(sys, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (c->vcpu < 0 || c->run_size <= 0)
		return -1;
	c->run = mmap(NULL, (size_t)c->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->vcpu, 0);
	return c->run == MAP_FAILED ? -1 : set_registers(c->vcpu);
}

void client_destroy(struct client *c)
{
	if (c->run != MAP_FAILED)
		munmap(c->run, (size_t)c->run_size);
	if (c->vcpu >= 0)
		close(c->vcpu);
	if (c->vm >= 0)
		close(c->vm);
	munmap(c->memory, PAGE);
}

static int run_magic(struct client *c)
{
	const struct kvm_run *run = c->run;

	if (ioctl(c->vcpu, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_IO || run->io.port != CLIENT_PORT ||
	    ((const uint8_t *)run)[run->io.data_offset] != CLIENT_MAGIC)
		return -1;
	return ioctl(c->vcpu, KVM_RUN, 0) || run->exit_reason != KVM_EXIT_HLT ? -1 : 0;
}

int client_guest(int sys)
{
	struct client c;
	int r = client_create(&c, sys, client_magic, client_magic_size);

	if (!r)
		r = run_magic(&c);
	client_destroy(&c);
	return r;
}

/* --- descriptors over a socket --- */

union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

int client_send_fd(int socket, int fd)
{
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	union control control = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1 ? 0 : -1;
}

int client_receive_fd(int socket)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union control control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	int fd;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}
