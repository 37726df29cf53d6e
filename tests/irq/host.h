/* SPDX-License-Identifier: MIT */
/* host.h - a VM of a real /dev/kvm whose guest does single accesses in real mode, to compare ours with. */
#ifndef ANYKVM_TESTS_IRQ_HOST_H
#define ANYKVM_TESTS_IRQ_HOST_H

#include <stdint.h>
#include <linux/kvm.h>

struct host_vm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	uint8_t *mem;
};

/* Returns 0, or -errno where this machine has no KVM that can do it. */
int host_open(struct host_vm *h);
void host_close(struct host_vm *h);

/* The accesses; -1 where the guest did not come back (the rest of the run is void). */
int host_out(struct host_vm *h, uint16_t port, uint8_t v);
int host_in(struct host_vm *h, uint16_t port);
int64_t host_mmio_read(struct host_vm *h, uint64_t gpa);
int host_mmio_write(struct host_vm *h, uint64_t gpa, uint32_t v);

/* Lets the guest take one interrupt: its vector, -1 for none, -2 where the guest did not come back. */
int host_interrupt(struct host_vm *h);

/* KVM_IRQ_LINE_STATUS. */
int host_line(struct host_vm *h, unsigned int gsi, int level);

#endif
