/* SPDX-License-Identifier: MIT */
/* machine.h - the machine of `anykvm run`: from a description to how it ended. */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/end.h"
#include "vmm/err.h"
#include "vmm/kvm.h"
#include "vmm/virtio/usernet.h"

#define MACHINE_MAX_CPUS   254u
#define MACHINE_MAX_DISKS  8u
#define MACHINE_MAX_SHARES 4u
#define MACHINE_MAX_FORWARDS 16u

struct machine_disk {
	const char *path;
	bool read_only;
};

struct machine_share {
	const char *dir, *tag;
	bool read_only;
};

enum machine_console { CONSOLE_SERIAL, CONSOLE_VIRTIO };

/* Strings are the caller's and outlive the run. */
struct machine_config {
	const struct kvm_ops *accel;
	bool hyperv_nested;             /* a hypervisor inside finds Hyper-V below, not KVM */
	const char *cpu;      /* anykvm_set_cpu()'s, or NULL */
	const char *kernel, *initrd; /* initrd may be NULL */
	const char *params;   /* the user's kernel parameters, or NULL */
	unsigned int cpus;
	uint64_t memory;      /* bytes, a multiple of 4096 */
	struct machine_disk disks[MACHINE_MAX_DISKS];
	unsigned int disk_count;
	struct machine_share shares[MACHINE_MAX_SHARES];
	unsigned int share_count;
	bool net;	      /* a network in user space */
	struct usernet_fwd forwards[MACHINE_MAX_FORWARDS];
	unsigned int forward_count;
	enum machine_console console;
	const char *stats;    /* file for statistics, or NULL */
	bool verbose;
};

struct machine_result {
	enum run_end end;
	int code;	  /* as in struct run_ctl */
	char detail[256];
};

/**
 * machine_run - build the machine, run it to its end, take it down.
 * Blocks signals and takes the terminal for that time: one at a time in a process.
 * Returns 0 with @res filled; -errno with @err set where it could not be built.
 */
int machine_run(const struct machine_config *cfg, struct machine_result *res, struct vmm_err *err);

/**
 * machine_cmdline - the kernel parameters: a console and panic=-1, then the
 * user's, which win.  A console= of the user's replaces ours.
 * Returns a string to be freed, or NULL.
 */
char *machine_cmdline(enum machine_console console, const char *params);

#endif
