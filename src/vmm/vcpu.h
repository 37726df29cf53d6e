/* SPDX-License-Identifier: MIT */
/* vcpu.h - a virtual CPU of the machine: its descriptor, its thread, its exits. */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/boot/boot.h"
#include "vmm/end.h"
#include "vmm/err.h"
#include "vmm/platform.h"

struct vcpu {
	struct platform *pf;
	struct run_ctl *ctl;
	unsigned int id, count; /* of how many */
	int fd;
	struct kvm_run *run;
	size_t run_size;
	pthread_t thread;
	bool started, done; /* done: atomic, the thread is about to end */
};

/**
 * vcpu_create - make vCPU @id of @count with the CPUID that KVM supports.
 * Returns 0 or -errno with @err set; on failure nothing remains.
 */
int vcpu_create(struct vcpu *v, struct platform *pf, struct run_ctl *ctl, unsigned int id, unsigned int count,
		struct vmm_err *err);
void vcpu_destroy(struct vcpu *v);

/** vcpu_boot_state - give the boot CPU the registers that @entry's protocol asks for. */
int vcpu_boot_state(struct vcpu *v, const struct boot_entry *entry, struct vmm_err *err);

/** vcpu_start - run it in a thread of its own until vcpu_stop() or the end of the run. */
int vcpu_start(struct vcpu *v, struct vmm_err *err);

/**
 * vcpu_stop - get it out of KVM_RUN and join its thread.
 * @timeout_ms: how long to try.  Returns 0, or -ETIMEDOUT where it does not
 * come out; then it and its memory must not be freed.
 */
int vcpu_stop(struct vcpu *v, unsigned int timeout_ms);

/** vcpu_ioctl - a request to the vCPU's descriptor; its result, or -errno. */
int vcpu_ioctl(const struct vcpu *v, unsigned long request, void *arg);

/** vcpu_set_cpuid - KVM_SET_CPUID2 with this vCPU's APIC id and topology in it (cpuid.c). */
int vcpu_set_cpuid(const struct vcpu *v, struct vmm_err *err);

/** vcpu_kick_init - install the signal that gets vCPU threads out of KVM_RUN; once per process. */
void vcpu_kick_init(void);

#endif
