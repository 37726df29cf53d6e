/* SPDX-License-Identifier: MIT */
/*
 * A KVM client that knows nothing of anykvm but the number that tells which
 * engine runs: dynamically linked, it opens /dev/kvm and makes system calls.
 */
#ifndef TESTS_EXEC_CLIENT_H
#define TESTS_EXEC_CLIENT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_PORT 0x10
#define CLIENT_MAGIC 0x5a
#define CLIENT_MMIO 0x8000 /* where no memory is */

struct client {
	int sys, vm, vcpu;
	void *memory;
	struct kvm_run *run;
	int run_size;
};

/** client_is_ours - KVM_CHECK_EXTENSION of the system descriptor @sys says that anykvm answers. */
bool client_is_ours(int sys);

/**
 * client_create - a VM with a page of memory at 0x1000 and a vCPU there in real
 * mode, with @n bytes of @code.  0, or -1 with errno.  client_destroy() undoes it,
 * but leaves @sys open.
 */
int client_create(struct client *c, int sys, const void *code, size_t n);
void client_destroy(struct client *c);

/** client_guest - a guest on @sys that writes CLIENT_MAGIC to CLIENT_PORT and halts: 0 where it did. */
int client_guest(int sys);

/** client_magic - code for that. */
extern const uint8_t client_magic[];
extern const size_t client_magic_size;

/** client_send_fd, client_receive_fd - one descriptor over a Unix socket: -1 on failure. */
int client_send_fd(int socket, int fd);
int client_receive_fd(int socket);

#endif
