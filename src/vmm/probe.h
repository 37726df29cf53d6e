/* SPDX-License-Identifier: MIT */
/* probe.h - does a KVM really run a guest?  There are some that open and answer, and then hang. */
#ifndef VMM_PROBE_H
#define VMM_PROBE_H

#include <stdbool.h>

#include "vmm/kvm.h"

struct probe {
	bool opens;
	int open_errno;
	int api_version;  /* -1: unknown */
	bool runs;	  /* a long-mode guest with page tables computed, wrote a port and halted */
	bool timed_out, crashed;
	double ms;	  /* how long all of it took */
	char why[128];	  /* if it does not run */
};

/** probe_kvm - try @ops in a child process, for @timeout_ms at most.  0, or -errno of pipe or fork. */
int probe_kvm(const struct kvm_ops *ops, unsigned int timeout_ms, struct probe *p);

#endif
