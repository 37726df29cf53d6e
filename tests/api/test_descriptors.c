/* SPDX-License-Identifier: MIT */
/* Descriptors that change behind the library's back, and numbers that a client uses too early.  Found by tests/fuzz. */
#include "api.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static size_t open_descriptors(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 512; fd++)
		n += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
	return n;
}

/* A duplicate takes the number of another VM, which was closed unseen: it is the first VM's last descriptor. */
static void duplicate_at_a_stale_number(void **state)
{
	int first = api_vm(), second = api_vm();

	assert_int_equal(syscall(SYS_close, second), 0);
	assert_int_equal(syscall(SYS_dup2, first, second), second);
	assert_int_equal(api_close(first), 0);
	assert_true(api_cap(second, KVM_CAP_USER_MEMORY) > 0);
	assert_int_equal(api_close(second), 0);
}

/* Two VMs change places. */
static void exchanged_numbers(void **state)
{
	int a = api_vm(), b = api_vm(), spare;

	api_vcpu(a, 3);
	spare = (int)syscall(SYS_dup, a);
	assert_int_equal(syscall(SYS_dup2, b, a), a);
	assert_int_equal(syscall(SYS_dup2, spare, b), b);
	assert_int_equal(syscall(SYS_close, spare), 0);
	api_fails(EEXIST, api_ioctl(b, KVM_CREATE_VCPU, (void *)3));
	assert_int_equal(api_close(b), 0);
	assert_true(api_cap(a, KVM_CAP_USER_MEMORY) > 0);
	assert_int_equal(api_close(a), 0);
}

/* A client that asks every number meets those that the library keeps for itself. */
static void numbers_of_nobody(void **state)
{
	size_t before = open_descriptors();
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), stats[2];

	stats[0] = api_ioctl(vm, KVM_GET_STATS_FD, NULL);
	stats[1] = api_ioctl(vcpu, KVM_GET_STATS_FD, NULL);
	assert_true(stats[0] >= 0 && stats[1] >= 0);
	/* Not standard output, which cmocka writes to. */
	for (int fd = 3; fd < 512; fd++)
		api_ioctl(fd, KVM_GET_NR_MMU_PAGES, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(api_close(stats[i]), 0);
	assert_int_equal(api_close(vcpu), 0);
	assert_int_equal(api_close(vm), 0);
	assert_int_equal(open_descriptors(), before);
}

/* A result that is negative, of which 32 bits are kept, and no error. */
static void large_result(void **state)
{
	int vm = api_vm(), r;

	if (api_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)0xdfffffff90000000UL)) {
		assert_true(api_real());
		api_close(vm);
		skip();
	}
	r = api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL);
	assert_true(r == (int)0x90000000 || (api_real() && r == -1));
	api_close(vm);
}

/* --- a vCPU's number before KVM_CREATE_VCPU returns it --- */

struct early {
	atomic_int fd;          /* the number that comes next */
	atomic_bool stop;
};

static void *use_early(void *arg)
{
	struct early *e = arg;

	while (!atomic_load(&e->stop))
		api_ioctl(atomic_load(&e->fd), KVM_RUN, NULL);
	return NULL;
}

static int next_number(void)
{
	int fd = dup(STDIN_FILENO);

	close(fd);
	return fd;
}

/* The slots that its first KVM_RUN sees are not freed under it: looked at by a sanitizer. */
static void vcpu_used_early(void **state)
{
	void *memory = api_memory(2 * PAGE);
	struct early e = { .fd = -1 };
	pthread_t thread;

	memset(memory, 0xf4, 2 * PAGE);
	assert_int_equal(pthread_create(&thread, NULL, use_early, &e), 0);
	for (int i = 0; i < 200; i++) {
		int vm = api_vm(), vcpu;

		api_ok(api_set_slot(vm, 0, 0, 0xfffff000, PAGE, memory));
		atomic_store(&e.fd, next_number());
		vcpu = api_vcpu(vm, 0);
		for (uint32_t s = 1; s < 4; s++)
			api_ok(api_set_slot(vm, s, 0, s * PAGE, PAGE, memory));
		atomic_store(&e.fd, -1);
		api_close(vcpu);
		api_close(vm);
	}
	atomic_store(&e.stop, true);
	pthread_join(thread, NULL);
	munmap(memory, 2 * PAGE);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(duplicate_at_a_stale_number),
	cmocka_unit_test(exchanged_numbers),
	cmocka_unit_test(numbers_of_nobody),
	cmocka_unit_test(large_result),
	cmocka_unit_test(vcpu_used_early),
};

API_MAIN(tests)
