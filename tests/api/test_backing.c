/* SPDX-License-Identifier: MIT */
/*
 * What may lie behind a slot: files on several file systems, devices that are memory, huge pages.  All of it is RAM
 * to the guest, its writes are in the dirty log and reach the file.
 */
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include "anykvm.h"

#define BASE 0x200000UL         /* of the slot: 2 MiB, as one huge page has */
#define SIZE 0x200000UL
#define PAGES 16UL              /* that the guest uses: every third */
#define STRIDE (3 * PAGE)
#define TMPFS_MAGIC 0x01021994

/*
 * For ecx pages from rsi on: mov [rsi],rsi; add rax,[rsi]; add rsi,3000h; dec ecx; jnz; and out 10h,al; then the same
 * reads alone, out 11h,al
 */
static const uint8_t program[] = {
	0x48, 0x89, 0x36, 0x48, 0x03, 0x06, 0x48, 0x81, 0xc6, 0x00, 0x30, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xef,
	0xe6, 0x10,
	0x48, 0x03, 0x03, 0x48, 0x81, 0xc3, 0x00, 0x30, 0x00, 0x00, 0xff, 0xca, 0x75, 0xf2,
	0xe6, 0x11,
};

static uint64_t sum(void)
{
	uint64_t all = 0;

	for (uint64_t i = 0; i < PAGES; i++)
		all += BASE + i * STRIDE;
	return all;
}

/* The pages of the slot that the guest has written, as the dirty log says. */
static void check_log(int vm)
{
	uint64_t bits[SIZE / PAGE / 64];
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = bits };

	api_ok(api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	for (uint64_t i = 0; i < SIZE / PAGE; i++)
		assert_int_equal(bits[i / 64] >> i % 64 & 1, i % 3 == 0 && i / 3 < PAGES);
	api_ok(api_ioctl(vm, KVM_GET_DIRTY_LOG, &log));
	for (size_t i = 0; i < SIZE / PAGE / 64; i++)
		assert_int_equal(bits[i], 0);
}

static void check_memory(const uint8_t *m)
{
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(*(const uint64_t *)(m + i * STRIDE), BASE + i * STRIDE);
}

/* Read through another descriptor. */
static void check_file(int fd)
{
	for (uint64_t i = 0; i < PAGES; i++) {
		uint64_t value;

		assert_int_equal(pread(fd, &value, 8, (off_t)(i * STRIDE)), 8);
		assert_int_equal(value, BASE + i * STRIDE);
	}
}

/* What is written to the file is in the guest's memory.  By another mapping: files of huge pages have no write(). */
static void write_file(int fd, uint64_t first)
{
	uint64_t *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(m, MAP_FAILED);
	m[0] = first;
	munmap(m, SIZE);
}

/* A guest uses @m.  @fd: what it is a shared mapping of, or -1. */
static void use(uint8_t *m, int fd)
{
	struct guest g = guest_of(program, sizeof(program), false);
	uint64_t touched;

	if (!guest_runs_long_mode()) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(api_cap(api_sys(), ANYKVM_CAP_ENGINE), !api_real());
	guest_long(&g);
	((uint64_t *)(g.mem + GUEST_TABLES + 0x2000))[1] = BASE | 0x87;
	api_ok(api_set_slot(g.vm, 1, KVM_MEM_LOG_DIRTY_PAGES, BASE, SIZE, m));
	touched = api_real() ? 0 : api_stat(g.vcpu, "pf_fixed");
	SET(&g, rax, 0);
	SET(&g, rsi, BASE);
	SET(&g, rcx, PAGES);
	guest_port(&g, 0x10);
	assert_int_equal(guest_regs(&g).rax, sum());
	check_log(g.vm);
	check_memory(m);
	if (fd >= 0) {
		assert_int_equal(msync(m, SIZE, MS_SYNC), 0);
		check_file(fd);
	}
	if (fd >= 0)
		write_file(fd, BASE + 1);
	SET(&g, rax, 0);
	SET(&g, rbx, BASE);
	SET(&g, rdx, PAGES);
	guest_port(&g, 0x11);
	assert_int_equal(guest_regs(&g).rax, sum() + (fd >= 0));
	if (!api_real()) {
		/* The pages, and the one with the code; none of it went to a device. */
		assert_int_equal(api_stat(g.vcpu, "pf_fixed") - touched, PAGES + 1);
		assert_int_equal(api_stat(g.vcpu, "mmio_exits"), 0);
		assert_true(api_stat(g.vcpu, "tlb_fills") >= PAGES);
	}
	guest_end(&g);
}

static void use_shared(int fd)
{
	char path[40];
	int other;
	void *m;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, SIZE), 0);
	m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m == MAP_FAILED) {
		close(fd);
		skip();
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0);
	close(fd);
	use(m, other);
	munmap(m, SIZE);
	close(other);
}

/* A file in @dir that has no name any more; -1: none can be made. */
static int file_in(const char *dir, bool *is_tmpfs)
{
	char path[4096];
	struct statfs fs;
	int fd;

	snprintf(path, sizeof(path), "%s/anykvm-test-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -1;
	unlink(path);
	assert_int_equal(fstatfs(fd, &fs), 0);
	*is_tmpfs = fs.f_type == TMPFS_MAGIC;
	return fd;
}

static void file_on_tmpfs(void **state)
{
	bool is_tmpfs = false;
	int fd = file_in("/dev/shm", &is_tmpfs);

	if (fd < 0 || !is_tmpfs)
		skip();
	use_shared(fd);
}

/* Where the test runs: a disk's file system. */
static void file_on_disk(void **state)
{
	bool is_tmpfs = false;
	int fd = file_in(".", &is_tmpfs);

	if (fd < 0)
		skip();
	use_shared(fd);
}

static void a_memfd(void **state)
{
	use_shared(memfd_create("guest", MFD_CLOEXEC));
}

static void huge_pages(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB);

	/* None of them on this machine: /proc/sys/vm/nr_hugepages. */
	if (fd < 0)
		skip();
	use_shared(fd);
}

static void zero_device(int flags)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	void *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_ptr_not_equal(m, MAP_FAILED);
	close(fd);
	use(m, -1);
	munmap(m, SIZE);
}

static void zero_private(void **state)
{
	zero_device(MAP_PRIVATE);
}

static void zero_shared(void **state)
{
	zero_device(MAP_SHARED);
}

/* Writes to a private mapping of a file are the guest's alone. */
static void file_private(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	uint64_t value = 0;
	void *m;

	assert_int_equal(ftruncate(fd, SIZE), 0);
	m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(m, MAP_FAILED);
	use(m, -1);
	for (uint64_t i = 0; i < PAGES; i++) {
		assert_int_equal(pread(fd, &value, 8, (off_t)(i * STRIDE)), 8);
		assert_int_equal(value, 0);
	}
	munmap(m, SIZE);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(file_on_tmpfs),
	cmocka_unit_test(file_on_disk),
	cmocka_unit_test(a_memfd),
	cmocka_unit_test(huge_pages),
	cmocka_unit_test(zero_private),
	cmocka_unit_test(zero_shared),
	cmocka_unit_test(file_private),
};

API_MAIN(tests)
