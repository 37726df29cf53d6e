/* SPDX-License-Identifier: MIT */
#include "api.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "anykvm.h"

static const char *device = "soft";
static bool preloaded;
static int sys_fd = -1;

bool api_linked(void)
{
	return !strcmp(device, "soft");
}

bool api_real(void)
{
	return !api_linked() && !preloaded;
}

int api_open(void)
{
	return api_linked() ? anykvm_open(O_RDWR | O_CLOEXEC) : open(device, O_RDWR | O_CLOEXEC);
}

int api_ioctl(int fd, unsigned long request, void *arg)
{
	return api_linked() ? anykvm_ioctl(fd, request, arg) : ioctl(fd, request, arg);
}

int api_close(int fd)
{
	return api_linked() ? anykvm_close(fd) : close(fd);
}

int api_sys(void)
{
	if (sys_fd < 0)
		sys_fd = api_open();
	return sys_fd;
}

int api_vm(void)
{
	int vm = api_ioctl(api_sys(), KVM_CREATE_VM, 0);

	if (vm < 0)
		fail_msg("KVM_CREATE_VM: %s", strerror(errno));
	return vm;
}

int api_vcpu(int vm, unsigned int id)
{
	int vcpu = api_ioctl(vm, KVM_CREATE_VCPU, (void *)(unsigned long)id);

	if (vcpu < 0)
		fail_msg("KVM_CREATE_VCPU %u: %s", id, strerror(errno));
	return vcpu;
}

struct kvm_run *api_run_of(int vcpu)
{
	int size = api_ioctl(api_sys(), KVM_GET_VCPU_MMAP_SIZE, 0);
	void *p;

	assert_true(size > 0);
	p = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static void *map(size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

void *api_memory(size_t size)
{
	return map(size, PROT_READ | PROT_WRITE);
}

void *api_bad(void)
{
	static void *bad;

	if (!bad)
		bad = map(PAGE, PROT_NONE);
	return bad;
}

void *api_edge(size_t n)
{
	size_t size = (n / PAGE + 1) * PAGE;
	char *p = map(size + PAGE, PROT_READ | PROT_WRITE);

	assert_int_equal(mprotect(p + size, PAGE, PROT_NONE), 0);
	return p + size - n;
}

void *api_readonly(void)
{
	return map(PAGE, PROT_READ);
}

int api_set_slot(int vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	return api_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

int api_cap(int fd, long cap)
{
	return api_ioctl(fd, KVM_CHECK_EXTENSION, (void *)cap);
}

uint64_t api_stat(int fd, const char *name)
{
	int stats = api_ioctl(fd, KVM_GET_STATS_FD, NULL);
	struct kvm_stats_header h;
	uint64_t value = 0;
	bool found = false;

	api_ok(stats);
	assert_int_equal(pread(stats, &h, sizeof(h), 0), sizeof(h));
	for (uint32_t i = 0; i < h.num_desc && !found; i++) {
		struct {
			struct kvm_stats_desc d;
			char name[64];
		} desc = { .name = "" };
		size_t size = sizeof(desc.d) + h.name_size;

		assert_true(size <= sizeof(desc));
		assert_int_equal(pread(stats, &desc, size, h.desc_offset + i * size), size);
		found = !strcmp(desc.name, name);
		if (found)
			assert_int_equal(pread(stats, &value, 8, h.data_offset + desc.d.offset), 8);
	}
	api_close(stats);
	if (!found)
		fail_msg("no statistic %s", name);
	return value;
}

void api_real_mode(int vcpu, void *memory, const void *code, size_t n)
{
	struct kvm_regs regs = { .rip = 0x1000, .rsp = 0x8000, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy((char *)memory + 0x1000, code, n);
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &sregs));
	api_ok(api_ioctl(vcpu, KVM_SET_REGS, &regs));
}

/* cmocka calls a skipped test "not ok N # SKIP", which TAP counts as failed. */
static FILE *filter_output(void)
{
	FILE *sed = popen("exec sed -u 's/^not ok \\([0-9]* # SKIP\\)/ok \\1/'", "w");

	fflush(stdout);
	if (sed)
		dup2(fileno(sed), STDOUT_FILENO);
	return sed;
}

int api_main(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	FILE *sed;
	int failed;

	if (argc == 3 && !strcmp(argv[1], "--device"))
		device = argv[2];
	if (!strcmp(device, "exec")) {
		preloaded = true;
		device = "/dev/kvm";
	}
	if (api_sys() < 0) {
		if (api_linked())
			perror("anykvm_open");
		printf("1..0 # SKIP %s does not open\n", device);
		return api_linked() || preloaded ? 1 : 77;
	}
	if (preloaded && api_cap(sys_fd, ANYKVM_CAP_ENGINE) != 1) {
		printf("Bail out! %s is not anykvm's\n", device);
		return 1;
	}
	sed = filter_output();
	failed = _cmocka_run_group_tests("api", tests, count, NULL, NULL);
	fclose(stdout);
	if (sed)
		pclose(sed);
	return failed;
}
