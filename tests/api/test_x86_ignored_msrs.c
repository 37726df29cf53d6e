// SPDX-License-Identifier: MIT
/* The parameters ignore_msrs and report_ignored_msrs: registers that do not exist. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"

#define UNKNOWN 0x12345678u
#define READ_ONLY 0xfeu         /* MTRRCAP: there is nothing to write to */
#define OUT 0x2000              /* what RDMSR gave */

/* mov eax,[0x2000]; mov edx,[0x2004]; wrmsr; out 0x10,al.  rdmsr; the same to memory; out 0x11,al.  #GP: out 0x13,al */
static struct guest msr_guest(int vm, uint32_t index, uint64_t value, bool write)
{
	static const uint8_t reads[] = { 0x0f, 0x32, 0x66, 0xa3, 0x00, 0x20, 0x66, 0x89, 0x16, 0x04, 0x20, 0xe6, 0x11 };
	static const uint8_t writes[] = { 0x66, 0xa1, 0x00, 0x20, 0x66, 0x8b, 0x16, 0x04, 0x20, 0x0f, 0x30, 0xe6, 0x10 };
	struct guest g = guest_on(vm, write ? writes : reads, write ? sizeof(writes) : sizeof(reads));

	memcpy(g.mem + OUT, &value, sizeof(value));
	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	SET(&g, rsp, 0x8000);
	SET(&g, rcx, index);
	return g;
}

static void set_parameters(const char *spec)
{
	assert_int_equal(anykvm_set_parameters(spec), 0);
}

/* An access by a guest of its own ends at @port, and counts @n ignored ones. */
static void access_ends(uint32_t index, uint64_t value, bool write, uint16_t port, unsigned int n)
{
	struct guest g = msr_guest(api_vm(), index, value, write);

	guest_port(&g, port);
	assert_int_equal(guest_stat(g.vcpu, "ignored_msrs"), n);
	if (port == 0x11 && n)
		assert_int_equal(*(uint64_t *)(g.mem + OUT), 0);
	guest_end(&g);
}

static void accesses(bool amd)
{
	/* Off, as a module's default is. */
	set_parameters("kvm.ignore_msrs=0,kvm.report_ignored_msrs=0");
	access_ends(UNKNOWN, ~0ULL, false, 0x13, 0);
	access_ends(UNKNOWN, 0x1122334455667788, true, 0x13, 0);
	access_ends(READ_ONLY, 0, true, 0x13, 0);
	/* On. */
	set_parameters("kvm.ignore_msrs=1");
	access_ends(UNKNOWN, ~0ULL, false, 0x11, 1);
	access_ends(UNKNOWN, 0x1122334455667788, true, 0x10, 1);
	access_ends(READ_ONLY, 0x77, true, 0x10, 1);
	access_ends(READ_ONLY, ~0ULL, false, 0x11, 0);
	/* The other vendor's does not exist. */
	access_ends(amd ? 0x3a : 0xc0011029, 0, true, 0x10, 1);
	/* A value that a register does not take is another matter, and so is one without its feature in CPUID. */
	access_ends(0x2ff, 0x1c06, true, 0x13, 0);
	access_ends(0x277, 0x02, true, 0x13, 0);
	access_ends(0x9e, 0, false, 0x13, 0);
	set_parameters("kvm.ignore_msrs=0");
}

static void test_guest(void **state)
{
	if (!api_linked())      /* elsewhere the parameters are somebody else's affair */
		skip();
	guest_each_model(accesses);
}

/* For VMs that exist, too: a module's parameter is asked at each access. */
static void test_changes_at_once(void **state)
{
	struct guest g;

	if (!api_linked())
		skip();
	set_parameters("kvm.ignore_msrs=0,kvm.report_ignored_msrs=0");
	g = msr_guest(api_vm(), UNKNOWN, ~0ULL, false);
	guest_port(&g, 0x13);
	set_parameters("kvm.ignore_msrs=1");
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x11);
	set_parameters("kvm.ignore_msrs=0");
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x13);
	assert_int_equal(guest_stat(g.vcpu, "ignored_msrs"), 1);
	guest_end(&g);
}

/* The client that asks for unknown ones sees none that are ignored; those that it forbids come to it nevertheless. */
static void test_exits(void **state)
{
	const uint32_t reasons = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER;
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };
	uint64_t none = 0;
	struct guest g;

	if (!api_linked())
		skip();
	set_parameters("kvm.ignore_msrs=0,kvm.report_ignored_msrs=0");
	g = msr_guest(api_vm(), UNKNOWN, ~0ULL, false);
	api_ok(guest_enable(g.vm, KVM_CAP_X86_USER_SPACE_MSR, reasons));
	guest_run(&g, KVM_EXIT_X86_RDMSR);
	assert_int_equal(g.run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
	assert_int_equal(g.run->msr.index, UNKNOWN);
	g.run->msr.data = 5;
	guest_port(&g, 0x11);
	assert_int_equal(*(uint64_t *)(g.mem + OUT), 5);
	set_parameters("kvm.ignore_msrs=1");
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x11);
	assert_int_equal(*(uint64_t *)(g.mem + OUT), 0);
	f.ranges[0] = (struct kvm_msr_filter_range){
		.flags = KVM_MSR_FILTER_READ, .base = UNKNOWN, .nmsrs = 1, .bitmap = (__u8 *)&none,
	};
	api_ok(api_ioctl(g.vm, KVM_X86_SET_MSR_FILTER, &f));
	SET(&g, rip, GUEST_CODE);
	guest_run(&g, KVM_EXIT_X86_RDMSR);
	assert_int_equal(g.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
	set_parameters("kvm.ignore_msrs=0");
	guest_end(&g);
}

static int three_msrs(int fd, unsigned long request, uint32_t first, uint64_t data[3])
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[3];
	} m = { .head.nmsrs = 3, .e = { { .index = first, .data = 7 }, { .index = UNKNOWN, .data = 8 },
					{ .index = first, .data = 9 } } };
	int r = api_ioctl(fd, request, &m);

	for (unsigned int i = 0; i < 3; i++)
		data[i] = m.e[i].data;
	return r;
}

/* KVM_GET_MSRS and KVM_SET_MSRS stop at one that does not exist, or count it. */
static void counts(bool amd)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint64_t data[3];

	set_parameters("kvm.ignore_msrs=0,kvm.report_ignored_msrs=0");
	assert_int_equal(three_msrs(vcpu, KVM_SET_MSRS, 0x174, data), 1);
	assert_int_equal(three_msrs(vcpu, KVM_GET_MSRS, 0x174, data), 1);
	assert_int_equal(data[0], 7);
	assert_int_equal(data[1], 0);
	assert_int_equal(guest_stat(vcpu, "ignored_msrs"), 0);
	set_parameters("kvm.ignore_msrs=1");
	assert_int_equal(three_msrs(vcpu, KVM_SET_MSRS, 0x174, data), 3);
	assert_int_equal(three_msrs(vcpu, KVM_GET_MSRS, 0x174, data), 3);
	assert_int_equal(data[0], 9);
	assert_int_equal(data[1], 0);
	assert_int_equal(data[2], 9);
	assert_int_equal(guest_stat(vcpu, "ignored_msrs"), 2);
	/* A value that a register does not take ends it as before. */
	assert_int_equal(three_msrs(vcpu, KVM_SET_MSRS, 0x2ff, data), 0);
	api_close(vcpu);
	api_close(vm);
}

/* The device's own KVM_GET_MSRS, which knows features: the same. */
static void features(bool amd)
{
	uint64_t data[3], value;

	set_parameters("kvm.ignore_msrs=0,kvm.report_ignored_msrs=0");
	assert_int_equal(three_msrs(api_sys(), KVM_GET_MSRS, 0x8b, data), 1);
	value = data[0];
	assert_true(value);
	/* The indices of the vendor alone. */
	assert_int_equal(three_msrs(api_sys(), KVM_GET_MSRS, 0xc0011029, data), amd ? 1 : 0);
	/* A register of vCPUs is no feature. */
	assert_int_equal(three_msrs(api_sys(), KVM_GET_MSRS, 0x10, data), 0);
	set_parameters("kvm.ignore_msrs=1");
	assert_int_equal(three_msrs(api_sys(), KVM_GET_MSRS, 0x8b, data), 3);
	assert_int_equal(data[0], value);
	assert_int_equal(data[1], 0);
	assert_int_equal(data[2], value);
	assert_int_equal(three_msrs(api_sys(), KVM_GET_MSRS, 0x10, data), 3);
	assert_int_equal(data[0], 0);
	set_parameters("kvm.ignore_msrs=0");
}

static void test_counts(void **state)
{
	if (!api_linked())
		skip();
	guest_each_model(counts);
	guest_each_model(features);
}

/* What the library writes to standard error meanwhile. */
static struct {
	int saved, file;
} stderr_of;

static void catch_stderr(void)
{
	fflush(stderr);
	stderr_of.file = memfd_create("stderr", MFD_CLOEXEC);
	stderr_of.saved = dup(STDERR_FILENO);
	assert_true(stderr_of.file >= 0 && stderr_of.saved >= 0);
	dup2(stderr_of.file, STDERR_FILENO);
}

static size_t caught_stderr(char *text, size_t size)
{
	ssize_t n = pread(stderr_of.file, text, size - 1, 0);

	dup2(stderr_of.saved, STDERR_FILENO);
	close(stderr_of.saved);
	close(stderr_of.file);
	assert_true(n >= 0);
	text[n] = '\0';
	return (size_t)n;
}

/* A line for each, unless that is turned off; and of many, ten. */
static void test_report(void **state)
{
	char text[4096], want[256];
	unsigned int lines = 0;
	uint64_t data[3];
	int vm, vcpu;

	if (!api_linked())
		skip();
	vm = api_vm();
	vcpu = api_vcpu(vm, 0);
	set_parameters("kvm.ignore_msrs=1,kvm.report_ignored_msrs=0");
	catch_stderr();
	three_msrs(vcpu, KVM_SET_MSRS, 0x174, data);
	assert_int_equal(caught_stderr(text, sizeof(text)), 0);

	set_parameters("kvm.report_ignored_msrs=1");
	catch_stderr();
	three_msrs(vcpu, KVM_SET_MSRS, 0x174, data);
	three_msrs(vcpu, KVM_GET_MSRS, 0x174, data);
	caught_stderr(text, sizeof(text));
	snprintf(want, sizeof(want), "kvm [%d]: ignored wrmsr: 0x12345678 data 0x8\nkvm [%d]: ignored rdmsr: 0x12345678 data 0x0\n",
		 getpid(), getpid());
	assert_string_equal(text, want);

	catch_stderr();
	for (unsigned int i = 0; i < 1000; i++)
		three_msrs(vcpu, KVM_GET_MSRS, 0x174, data);
	caught_stderr(text, sizeof(text));
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	/* Eight are left of the ten; where this took five seconds, there are some more. */
	assert_in_range(lines, 8, 60);

	set_parameters("kvm.ignore_msrs=0");
	catch_stderr();
	three_msrs(vcpu, KVM_SET_MSRS, 0x174, data);
	assert_int_equal(caught_stderr(text, sizeof(text)), 0);
	api_close(vcpu);
	api_close(vm);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_guest),
	cmocka_unit_test(test_changes_at_once),
	cmocka_unit_test(test_exits),
	cmocka_unit_test(test_counts),
	cmocka_unit_test(test_report),
};

API_MAIN(tests)
