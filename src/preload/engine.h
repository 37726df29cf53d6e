/* SPDX-License-Identifier: MIT */
/*
 * The engine in a client's process: its settings from the environment (ANYKVM_CPU,
 * ANYKVM_PARAMS, ANYKVM_STATS, ANYKVM_VERBOSE), and calls into the library.
 */
#ifndef PRELOAD_ENGINE_H
#define PRELOAD_ENGINE_H

#include <stdbool.h>

struct engine_facts {
	bool intel;     /* the chosen CPU's vendor */
	bool nested;    /* it has VMX or SVM */
	bool vmware_backdoor;   /* enable_vmware_backdoor */
	bool ignore_msrs, report_ignored_msrs;
	bool global_tdp;
};

/** engine_open - open("/dev/kvm", @flags): a descriptor or -errno. */
int engine_open(int flags);

/** engine_facts - what KVM_GET_SUPPORTED_CPUID says of the chosen CPU, and the parameters; asked once. */
const struct engine_facts *engine_facts(void);

/** engine_ioctl - ioctl(2) where @fd may be the library's.  true: answered, *@result and errno are set. */
bool engine_ioctl(int fd, unsigned long request, void *arg, int *result);

/** engine_close - closes @fd if it is the library's.  true: done, *@result and errno are set. */
bool engine_close(int fd, int *result);

/** engine_is_device - @fd is what open("/dev/kvm") gave, or a duplicate of that. */
bool engine_is_device(int fd);

/** engine_duplicated - @fd is a duplicate of @of that was just made. */
void engine_duplicated(int fd, int of);

/** engine_closed - descriptors @first to @last were closed or replaced without engine_close(). */
void engine_closed(int first, int last);

/** engine_is_here - the library's memory is this process's: false in a child of vfork(). */
bool engine_is_here(void);

/** engine_preload - the path by which we were preloaded; NULL where nothing was. */
const char *engine_preload(void);

/** engine_setting - "NAME=value" of setting @n as it was at the start, below ENGINE_SETTINGS; "" where there is none. */
#define ENGINE_SETTINGS 5
const char *engine_setting(unsigned int n);

/** engine_leave - the process is about to end. */
void engine_leave(void);

#endif
