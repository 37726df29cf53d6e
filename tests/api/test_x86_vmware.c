// SPDX-License-Identifier: MIT
/* VMware's clocks behind RDPMC, where the parameter enable_vmware_backdoor asks for them. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "anykvm.h"
#include "guest.h"

#define HOST_TSC 0x10000
#define REAL_TIME 0x10001
#define APPARENT_TIME 0x10002

/* What RDPMC of @index gives to *value; false: it faults. */
static bool rdpmc(uint32_t index, uint64_t *value)
{
	/* mov ecx,index; rdpmc; mov [0x2000],eax; mov [0x2004],edx; out 0x10,al.  #GP: out 0x12,al */
	struct guest g = GUEST(false, 0x66, 0xb9, (uint8_t)index, (uint8_t)(index >> 8), (uint8_t)(index >> 16), 0,
			       0x0f, 0x33, 0x66, 0xa3, 0x00, 0x20, 0x66, 0x89, 0x16, 0x04, 0x20, 0xe6, 0x10);
	bool read;

	VECTOR(&g, 13, 0x1800, 0xe6, 0x12);
	SET(&g, rsp, 0x8000);
	guest_run(&g, KVM_EXIT_IO);
	read = g.run->io.port == 0x10;
	memcpy(value, g.mem + 0x2000, sizeof(*value));
	guest_end(&g);
	return read;
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void test_clocks(void **state)
{
	uint64_t value, before, after;

	if (!api_linked())      /* elsewhere the parameter is somebody else's affair */
		skip();
	assert_int_equal(anykvm_set_parameters("kvm.enable_vmware_backdoor=Y"), 0);
	before = __builtin_ia32_rdtsc();
	assert_true(rdpmc(HOST_TSC, &value));
	after = __builtin_ia32_rdtsc();
	assert_in_range(value, before, after);
	before = clock_ns(CLOCK_BOOTTIME);
	assert_true(rdpmc(REAL_TIME, &value));
	assert_in_range(value, before, clock_ns(CLOCK_BOOTTIME));
	/* The VM's clock began with the VM. */
	before = clock_ns(CLOCK_BOOTTIME);
	assert_true(rdpmc(APPARENT_TIME, &value));
	assert_in_range(value, 0, clock_ns(CLOCK_BOOTTIME) - before);
	assert_false(rdpmc(0xffff, &value));
	assert_false(rdpmc(0x10003, &value));

	assert_int_equal(anykvm_set_parameters("kvm.enable_vmware_backdoor=0"), 0);
	assert_false(rdpmc(HOST_TSC, &value));
	assert_false(rdpmc(REAL_TIME, &value));
	assert_false(rdpmc(APPARENT_TIME, &value));
}

/* A VM keeps what was set when it was made; nothing is set by a list with an error in it. */
static void test_parameters(void **state)
{
	static const char name[] = "kvm.enable_vmware_backdoor";

	if (!api_linked())
		skip();
	assert_int_equal(anykvm_set_parameters("kvm.enable_vmware_backdoor=N"), 0);
	assert_int_equal(anykvm_get_parameter(name), 0);
	api_fails(EINVAL, anykvm_set_parameters("kvm.enable_vmware_backdoor=1,kvm.enable_vmware_backdoor=x"));
	api_fails(EINVAL, anykvm_set_parameters("kvm.enable_vmware_backdoor"));
	api_fails(EINVAL, anykvm_set_parameters("kvm.enable_vmware_backdoor="));
	api_fails(ENOENT, anykvm_set_parameters("kvm.enable_vmware_backdoor=1,kvm.other=1"));
	api_fails(ENOENT, anykvm_set_parameters("=1"));
	assert_int_equal(anykvm_get_parameter(name), 0);
	assert_int_equal(anykvm_set_parameters("kvm.enable_vmware_backdoor=1"), 0);
	assert_int_equal(anykvm_get_parameter(name), 1);
	api_fails(ENOENT, anykvm_get_parameter("kvm.other"));
	assert_int_equal(anykvm_set_parameters("kvm.enable_vmware_backdoor=n"), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_clocks),
	cmocka_unit_test(test_parameters),
};

API_MAIN(tests)
