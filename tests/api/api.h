/* SPDX-License-Identifier: MIT */
/*
 * Tests of the API take the device as an argument and run alike against this
 * library (--device soft, the default) and a kernel's (--device /dev/kvm):
 * the kernel judges the tests.  --device exec is /dev/kvm under 'anykvm exec',
 * where it has to be this library again.  Where a kernel newer than the one we follow
 * answers otherwise, the test says so with api_real().
 *
 * A test file ends in API_MAIN(tests).
 */
#ifndef TESTS_API_H
#define TESTS_API_H

#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096UL

/** api_real - the device is a kernel's, and not this library under 'anykvm exec'. */
bool api_real(void);

/** api_linked - the device is the library that the test is linked with. */
bool api_linked(void);

/** api_open, api_ioctl, api_close - open(2) of the device, ioctl(2) and close(2), as -1 and errno on failure. */
int api_open(void);
int api_ioctl(int fd, unsigned long request, void *arg);
int api_close(int fd);

/** api_vm, api_vcpu - a VM, a vCPU; the test fails where they cannot be made. */
int api_vm(void);
int api_vcpu(int vm, unsigned int id);

/** api_sys - the device, opened once for the whole program. */
int api_sys(void);

/** api_run_of - maps a vCPU's kvm_run, with all its pages; ends with the program. */
struct kvm_run *api_run_of(int vcpu);

/** api_memory - @size bytes of zeroed anonymous memory, page aligned. */
void *api_memory(size_t size);

/** api_bad - an address where nothing is mapped; api_edge - the last @n bytes before such a place. */
void *api_bad(void);
void *api_edge(size_t n);

/** api_readonly - a page that can be read only. */
void *api_readonly(void);

/** api_set_slot - KVM_SET_USER_MEMORY_REGION; its result. */
int api_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva);

/** api_cap - KVM_CHECK_EXTENSION on @fd. */
int api_cap(int fd, long cap);

/** api_stat - the first word of the statistic @name of the VM or vCPU @fd; the test fails where there is none. */
uint64_t api_stat(int fd, const char *name);

/**
 * api_real_mode - loads @n bytes of 16-bit code at gpa 0x1000 of the slot at
 * @memory (gpa 0) and points the vCPU there: flat segments, interrupts off.
 */
void api_real_mode(int vcpu, void *memory, const void *code, size_t n);

/** api_expect - @result is 0 or more. */
#define api_ok(call) \
	do { \
		if ((call) < 0) \
			fail_msg("%s: %s", #call, strerror(errno)); \
	} while (0)

/** api_fails - the call returns -1 with this errno. */
#define api_fails(err, call) \
	do { \
		errno = 0; \
		int api_result_ = (call); \
		if (api_result_ != -1) \
			fail_msg("%s: returned %d, not %s", #call, api_result_, #err); \
		if (errno != (err)) \
			fail_msg("%s: %s, not %s", #call, strerror(errno), #err); \
	} while (0)

/** api_main - parses --device and runs the tests; 77 and a TAP skip where the device does not open. */
int api_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count);

#define API_MAIN(tests) \
	int main(int argc, char **argv) \
	{ \
		return api_main(argc, argv, tests, sizeof(tests) / sizeof((tests)[0])); \
	}

/* What kvmclock gives a guest; msr.rst, MSR_KVM_SYSTEM_TIME_NEW. */
struct time_page {
	uint32_t version, pad;
	uint64_t tsc_timestamp, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
};

#endif
