/* SPDX-License-Identifier: MIT */
/* The device itself; what every descriptor says to wrong requests and pointers; the life of descriptors. */
#include "api.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "anykvm.h"

static void *num(unsigned long n)
{
	return (void *)n;
}

static void version_and_sizes(void **state)
{
	int fd = api_sys();

	assert_int_equal(api_ioctl(fd, KVM_GET_API_VERSION, 0), 12);
	api_fails(EINVAL, api_ioctl(fd, KVM_GET_API_VERSION, num(1)));
	assert_int_equal(api_ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0), 3 * PAGE);
	api_fails(EINVAL, api_ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, num(1)));
	/* The upper half of the request is not looked at: clients sign-extend it. */
	assert_int_equal(api_ioctl(fd, 0xffffffff00000000UL | KVM_GET_API_VERSION, 0), 12);
}

static void capabilities(void **state)
{
	static const long must[] = {
		KVM_CAP_USER_MEMORY, KVM_CAP_DESTROY_MEMORY_REGION_WORKS, KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
		KVM_CAP_SYNC_MMU, KVM_CAP_READONLY_MEM, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_INTERNAL_ERROR_DATA,
		KVM_CAP_IOEVENTFD, KVM_CAP_IOEVENTFD_ANY_LENGTH, KVM_CAP_IRQFD, KVM_CAP_SIGNAL_MSI,
		KVM_CAP_CHECK_EXTENSION_VM, KVM_CAP_ENABLE_CAP_VM, KVM_CAP_BINARY_STATS_FD, KVM_CAP_COALESCED_PIO,
	};
	int fd = api_sys(), vm = api_vm();

	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
		assert_int_equal(api_cap(fd, must[i]), 1);
		assert_int_equal(api_cap(vm, must[i]), 1);
	}
	assert_int_equal(api_cap(fd, KVM_CAP_IRQ_ROUTING), 4096);
	assert_int_equal(api_cap(fd, KVM_CAP_COALESCED_MMIO), 2);
	assert_true(api_cap(fd, KVM_CAP_NR_MEMSLOTS) >= 32764);
	assert_int_equal(api_cap(fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), 3);
	assert_true(api_cap(fd, KVM_CAP_MAX_VCPUS) >= api_cap(fd, KVM_CAP_NR_VCPUS));
	assert_true(api_cap(fd, KVM_CAP_MAX_VCPU_ID) >= api_cap(fd, KVM_CAP_MAX_VCPUS));
	assert_int_equal(api_cap(fd, -1), 0);
	assert_int_equal(api_cap(vm, 0x7fffffff), 0);
	/* An address, not a number: still no more than a capability that nobody has. */
	assert_int_equal(api_ioctl(fd, KVM_CHECK_EXTENSION, api_bad()), 0);
	assert_int_equal(api_cap(fd, ANYKVM_CAP_ENGINE), api_real() ? 0 : 1);
	api_close(vm);
}

/* Linux 6.1 says EINVAL on the device and on a vCPU; some later kernels say ENOTTY. */
static void assert_unknown(int fd, unsigned long request, bool einval)
{
	assert_int_equal(api_ioctl(fd, request, 0), -1);
	if (errno != ENOTTY && !(einval && errno == EINVAL))
		fail_msg("request %#lx: %s", request, strerror(errno));
	if (!api_real() && einval)
		assert_int_equal(errno, EINVAL);
}

static void unknown_requests(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), stats = api_ioctl(vcpu, KVM_GET_STATS_FD, 0);
	static const unsigned long strange[] = {
		_IO(KVMIO, 0xff), _IOW(KVMIO, 0xff, struct kvm_regs), _IOW(KVMIO, 0x81, char), _IO('x', 1), 0, ~0UL,
	};

	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
		assert_unknown(api_sys(), strange[i], true);
		assert_unknown(vm, strange[i], false);
		assert_unknown(vcpu, strange[i], true);
		assert_unknown(stats, strange[i], false);
	}
	/* Requests of another kind of descriptor. */
	assert_unknown(api_sys(), KVM_CREATE_VCPU, true);
	assert_unknown(api_sys(), KVM_RUN, true);
	assert_unknown(vm, KVM_CREATE_VM, false);
	assert_unknown(vm, KVM_GET_API_VERSION, false);
	assert_unknown(vm, KVM_GET_REGS, false);
	assert_unknown(vcpu, KVM_CREATE_VCPU, true);
	assert_unknown(vcpu, KVM_CHECK_EXTENSION, true);
	assert_unknown(stats, KVM_GET_STATS_FD, false);
	/* Other architectures'. */
	assert_unknown(vcpu, KVM_S390_INITIAL_RESET, true);
	assert_unknown(vm, KVM_PPC_SVM_OFF, false);
	/* Later kernels have forgotten this one. */
	assert_int_equal(api_ioctl(api_sys(), KVM_TRACE_DISABLE, 0), -1);
	assert_true(errno == EOPNOTSUPP || (api_real() && errno == EINVAL));
	api_close(stats);
	api_close(vcpu);
	api_close(vm);
}

static void other_descriptors(void **state)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	api_fails(ENOTTY, api_ioctl(p[0], KVM_GET_API_VERSION, 0));
	api_fails(EBADF, api_ioctl(-1, KVM_GET_API_VERSION, 0));
	close(p[0]);
	close(p[1]);
	api_fails(EBADF, api_ioctl(p[0], KVM_RUN, 0));
	if (api_linked()) {
		assert_int_equal(anykvm_owns(p[0]), 0);
		assert_int_equal(anykvm_owns(-1), 0);
		assert_int_equal(anykvm_owns(0), 0);
		assert_int_equal(anykvm_owns(api_sys()), 1);
		api_fails(EBADF, anykvm_close(p[0]));
	}
}

static void bad_pointers(void **state)
{
	static const unsigned long vm_requests[] = {
		KVM_ENABLE_CAP, KVM_SET_USER_MEMORY_REGION, KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG,
		KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO, KVM_IRQFD, KVM_IOEVENTFD,
		KVM_SIGNAL_MSI, KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS, KVM_SET_GSI_ROUTING, KVM_CREATE_DEVICE,
	};
	static const unsigned long vcpu_requests[] = { KVM_ENABLE_CAP, KVM_SET_SIGNAL_MASK };
	void *bad[] = { api_bad(), api_edge(1), num(8), num(~0UL), num(0x8000000000000000UL),
			      num(0x4141414141414141UL), num(~0UL << 12) };
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
		for (size_t i = 0; i < sizeof(vm_requests) / sizeof(vm_requests[0]); i++)
			api_fails(EFAULT, api_ioctl(vm, vm_requests[i], bad[b]));
		for (size_t i = 0; i < sizeof(vcpu_requests) / sizeof(vcpu_requests[0]); i++)
			api_fails(EFAULT, api_ioctl(vcpu, vcpu_requests[i], bad[b]));
	}
	api_close(vcpu);
	api_close(vm);
}

static void create_vm(void **state)
{
	int vm = api_vm();

	api_fails(EINVAL, api_ioctl(api_sys(), KVM_CREATE_VM, num(0x1234)));
	assert_int_equal(fcntl(vm, F_GETFD), FD_CLOEXEC);
	assert_int_equal(api_close(vm), 0);
	api_fails(EBADF, api_ioctl(vm, KVM_CHECK_EXTENSION, 0));
}

static void create_vcpu(void **state)
{
	int vm = api_vm(), max_id = api_cap(vm, KVM_CAP_MAX_VCPU_ID), vcpu, last;

	vcpu = api_vcpu(vm, 0);
	assert_int_equal(fcntl(vcpu, F_GETFD), FD_CLOEXEC);
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_VCPU, num(0)));
	api_fails(EINVAL, api_ioctl(vm, KVM_CREATE_VCPU, num((unsigned long)max_id)));
	api_fails(EINVAL, api_ioctl(vm, KVM_CREATE_VCPU, num(0xffffffff)));
	last = api_ioctl(vm, KVM_CREATE_VCPU, num((unsigned long)max_id - 1));
	assert_true(last >= 0);
	/* A vCPU whose descriptor is closed is there still. */
	api_close(vcpu);
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_VCPU, num(0)));
	api_close(last);
	api_close(vm);
}

static void run_pages(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 3);
	struct kvm_run *a = api_run_of(vcpu), *b = api_run_of(vcpu);

	assert_ptr_not_equal(a, b);
	a->immediate_exit = 1;
	assert_int_equal(b->immediate_exit, 1);
	/* The mapping outlives its descriptor, and the VM. */
	api_close(vcpu);
	api_close(vm);
	a->immediate_exit = 0;
	assert_int_equal(b->immediate_exit, 0);
}

static void duplicates(void **state)
{
	int vm = api_vm(), copy = dup(vm), vcpu = api_vcpu(vm, 0), copy2 = dup(vcpu);

	if (api_linked())
		assert_int_equal(anykvm_owns(copy), 1);
	assert_true(api_cap(copy, KVM_CAP_USER_MEMORY) == 1);
	/* The VM lives as long as one of its descriptors, known to the library or not. */
	assert_int_equal(api_close(vm), 0);
	assert_true(api_cap(copy, KVM_CAP_USER_MEMORY) == 1);
	assert_int_equal(api_close(vcpu), 0);
	api_fails(EINVAL, api_ioctl(copy2, KVM_RUN, num(1)));
	api_fails(EEXIST, api_ioctl(copy, KVM_CREATE_VCPU, num(0)));
	assert_int_equal(api_close(copy), 0);
	api_fails(EINVAL, api_ioctl(copy2, KVM_RUN, num(1)));
	assert_int_equal(api_close(copy2), 0);
	api_fails(EBADF, api_ioctl(copy2, KVM_RUN, num(1)));
}

/* A client that closes by other means than anykvm_close() says so by anykvm_recheck(), or nobody does. */
static void replaced(void **state)
{
	int vm = api_vm(), copy = dup(vm), null = open("/dev/null", O_RDONLY);

	if (!api_linked())
		skip();
	assert_int_equal(anykvm_tracks(vm), 1);
	assert_int_equal(anykvm_tracks(copy), 0);
	assert_int_equal(anykvm_tracks(-1), 0);
	assert_int_equal(anykvm_tracks(INT_MAX), 0);
	/* The VM lives in the duplicate, of which the library learns only now. */
	assert_int_equal(dup2(null, vm), vm);
	anykvm_recheck(vm, vm);
	assert_int_equal(anykvm_tracks(vm), 0);
	assert_int_equal(anykvm_tracks(copy), 1);
	assert_true(api_cap(copy, KVM_CAP_USER_MEMORY) == 1);
	close(copy);
	anykvm_recheck(0, INT_MAX);
	assert_int_equal(anykvm_tracks(copy), 0);
	assert_int_equal(anykvm_tracks(api_sys()), 1);
	/* So it does when nobody says it. */
	close(vm);
	vm = api_vm();
	copy = dup(vm);
	dup2(null, vm);
	api_fails(ENOTTY, api_ioctl(vm, KVM_CHECK_EXTENSION, 0));
	assert_true(api_cap(copy, KVM_CAP_USER_MEMORY) == 1);
	api_close(copy);
	close(vm);
	close(null);
}

/* close(2) behind the library's back, and the number used again for something else. */
static void stale_number(void **state)
{
	int vm = api_vm(), p[2];

	close(vm);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(p[0], vm);
	api_fails(ENOTTY, api_ioctl(p[0], KVM_CHECK_EXTENSION, 0));
	close(p[0]);
	close(p[1]);
	vm = api_vm();
	api_close(vm);
}

static void forked_child(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), status;
	pid_t pid = fork();

	if (!pid) {
		if (api_cap(vm, KVM_CAP_USER_MEMORY) != -1 || errno != EIO)
			_exit(1);
		if (api_ioctl(vcpu, KVM_RUN, 0) != -1 || errno != EIO)
			_exit(2);
		if (api_ioctl(api_sys(), KVM_GET_API_VERSION, 0) != 12)
			_exit(3);
		if (api_ioctl(api_sys(), KVM_CREATE_VM, 0) < 0)
			_exit(4);
		if (api_close(vcpu) || api_close(vm))
			_exit(5);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* Nothing of that touched the parent's. */
	assert_int_equal(api_cap(vm, KVM_CAP_USER_MEMORY), 1);
	api_close(vcpu);
	api_close(vm);
}

static void enable_cap(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };

	cap.args[0] = 4;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = KVM_DIRTY_LOG_INITIALLY_SET;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 3;
	cap.flags = 1;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_fails(EINVAL, api_ioctl(vcpu, KVM_ENABLE_CAP, &cap));
	cap.cap = 0x7fffffff;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.cap = KVM_CAP_USER_MEMORY;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_close(vcpu);
	api_close(vm);
}

static void devices(void **state)
{
	int vm = api_vm();
	struct kvm_create_device cd = { .type = 0x7777 };

	api_fails(ENODEV, api_ioctl(vm, KVM_CREATE_DEVICE, &cd));
	cd.flags = KVM_CREATE_DEVICE_TEST;
	api_fails(ENODEV, api_ioctl(vm, KVM_CREATE_DEVICE, &cd));
	cd.type = KVM_DEV_TYPE_ARM_VGIC_V3;
	api_fails(ENODEV, api_ioctl(vm, KVM_CREATE_DEVICE, &cd));
	api_close(vm);
}

static void signal_mask(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct { uint32_t len; uint8_t set[8]; } m = { .len = 8 };
	char *edge = api_edge(4);

	api_ok(api_ioctl(vcpu, KVM_SET_SIGNAL_MASK, &m));
	api_ok(api_ioctl(vcpu, KVM_SET_SIGNAL_MASK, 0));
	m.len = 4;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SIGNAL_MASK, &m));
	m.len = 16;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SIGNAL_MASK, &m));
	m.len = 8;
	memcpy(edge, &m.len, 4);
	api_fails(EFAULT, api_ioctl(vcpu, KVM_SET_SIGNAL_MASK, edge));
	api_close(vcpu);
	api_close(vm);
}

/* VMs come and go without leaving descriptors, threads or mappings behind. */
static void many_vms(void **state)
{
	int first = api_vm(), last;

	api_close(first);
	for (int i = 0; i < 50; i++) {
		int vm = api_vm(), vcpu = api_vcpu(vm, 0), stats = api_ioctl(vm, KVM_GET_STATS_FD, 0);

		api_run_of(vcpu);
		api_close(stats);
		api_close(vm);
		api_close(vcpu);
	}
	last = api_vm();
	assert_int_equal(last, first);
	api_close(last);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(version_and_sizes),
	cmocka_unit_test(capabilities),
	cmocka_unit_test(unknown_requests),
	cmocka_unit_test(other_descriptors),
	cmocka_unit_test(bad_pointers),
	cmocka_unit_test(create_vm),
	cmocka_unit_test(create_vcpu),
	cmocka_unit_test(run_pages),
	cmocka_unit_test(duplicates),
	cmocka_unit_test(replaced),
	cmocka_unit_test(stale_number),
	cmocka_unit_test(forked_child),
	cmocka_unit_test(enable_cap),
	cmocka_unit_test(devices),
	cmocka_unit_test(signal_mask),
	cmocka_unit_test(many_vms),
};

API_MAIN(tests)
