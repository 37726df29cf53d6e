/* SPDX-License-Identifier: MIT */
/* Binary statistics: the layout that api.rst 4.134 promises. */
#include "api.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

static void check_descriptor(const struct kvm_stats_header *h, const struct kvm_stats_desc *d, size_t words)
{
	uint32_t type = d->flags & KVM_STATS_TYPE_MASK;

	assert_true(type <= KVM_STATS_TYPE_MAX);
	assert_true((d->flags & KVM_STATS_UNIT_MASK) <= KVM_STATS_UNIT_BOOLEAN);
	assert_true((d->flags & KVM_STATS_BASE_MASK) <= KVM_STATS_BASE_MAX);
	assert_true(d->size > 0);
	if (type <= KVM_STATS_TYPE_PEAK)
		assert_int_equal(d->size, 1);
	if (type != KVM_STATS_TYPE_LINEAR_HIST)
		assert_int_equal(d->bucket_size, 0);
	assert_true(strnlen((const char *)d->name, h->name_size) > 0);
	assert_true(strnlen((const char *)d->name, h->name_size) < h->name_size);
	assert_true(d->offset % 8 == 0);
	assert_true(d->offset / 8 + d->size <= words);
}

/* Returns the index of the first word of the statistic @name, or -1. */
static long check_block(int fd, const char *id_start, const char *name, uint64_t *value)
{
	struct kvm_stats_header h;
	size_t desc_size, words = 0;
	char *desc, id[64] = "";
	long found = -1;

	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	assert_true(h.name_size > 0 && h.name_size <= sizeof(id));
	assert_true(h.num_desc > 0);
	assert_true(h.id_offset >= sizeof(h));
	assert_true(h.desc_offset >= h.id_offset + h.name_size);
	desc_size = sizeof(struct kvm_stats_desc) + h.name_size;
	assert_true(h.data_offset >= h.desc_offset + h.num_desc * desc_size);
	assert_int_equal(pread(fd, id, h.name_size, h.id_offset), h.name_size);
	assert_memory_equal(id, id_start, strlen(id_start));
	desc = malloc(h.num_desc * desc_size);
	assert_int_equal(pread(fd, desc, h.num_desc * desc_size, h.desc_offset), h.num_desc * desc_size);
	for (uint32_t i = 0; i < h.num_desc; i++)
		words += ((struct kvm_stats_desc *)(desc + i * desc_size))->size;
	for (uint32_t i = 0; i < h.num_desc; i++) {
		const struct kvm_stats_desc *d = (void *)(desc + i * desc_size);

		check_descriptor(&h, d, words);
		if (!strcmp((const char *)d->name, name))
			found = d->offset / 8;
	}
	free(desc);
	assert_true(found >= 0);
	assert_int_equal(pread(fd, value, 8, h.data_offset + found * 8), 8);
	/* The block ends with the last word. */
	assert_int_equal(pread(fd, id, 8, h.data_offset + (words - 1) * 8), 8);
	assert_int_equal(pread(fd, id, 8, h.data_offset + words * 8), 0);
	return found;
}

static void layout(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 2);
	int of_vm = api_ioctl(vm, KVM_GET_STATS_FD, 0), of_vcpu = api_ioctl(vcpu, KVM_GET_STATS_FD, 0);
	char id[64];
	uint64_t v;

	api_ok(of_vm);
	api_ok(of_vcpu);
	snprintf(id, sizeof(id), "kvm-%d", getpid());
	check_block(of_vm, id, "remote_tlb_flush", &v);
	snprintf(id, sizeof(id), "kvm-%d/vcpu-2", getpid());
	check_block(of_vcpu, id, "halt_wakeup", &v);
	check_block(of_vcpu, id, "exits", &v);
	assert_int_equal(v, 0);
	check_block(of_vcpu, id, "halt_wait_hist", &v);
	check_block(of_vcpu, id, "blocking", &v);
	assert_int_equal(v, 0);
	/* The numbers outlive the VM. */
	api_close(vm);
	api_close(vcpu);
	check_block(of_vcpu, id, "exits", &v);
	api_close(of_vm);
	api_close(of_vcpu);
}

static void descriptor(void **state)
{
	int vm = api_vm(), a = api_ioctl(vm, KVM_GET_STATS_FD, 0), b = api_ioctl(vm, KVM_GET_STATS_FD, 0);
	struct kvm_stats_header h, again;

	assert_true(a != b);
	assert_int_equal(fcntl(a, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(a, F_GETFL) & O_ACCMODE, O_RDONLY);
	/* Each has an offset of its own. */
	assert_int_equal(read(a, &h, sizeof(h)), sizeof(h));
	assert_int_equal(read(b, &again, sizeof(again)), sizeof(again));
	assert_memory_equal(&h, &again, sizeof(h));
	assert_int_equal(write(a, &h, sizeof(h)), -1);
	assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0), MAP_FAILED);
	api_close(a);
	assert_int_equal(read(b, &again, sizeof(again)), sizeof(again));
	api_close(vm);
	api_close(b);
}

static void counts(void **state)
{
	static const uint8_t halt[] = { 0xf4, 0xeb, 0xfd };
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), fd = api_ioctl(vcpu, KVM_GET_STATS_FD, 0);
	void *m = api_memory(2 * PAGE);
	uint64_t before, after;
	char id[64];

	snprintf(id, sizeof(id), "kvm-%d/vcpu-0", getpid());
	api_ok(api_set_slot(vm, 0, 0, 0, 2 * PAGE, m));
	api_real_mode(vcpu, m, halt, sizeof(halt));
	check_block(fd, id, "halt_exits", &before);
	for (int i = 0; i < 3; i++)
		api_ok(api_ioctl(vcpu, KVM_RUN, 0));
	check_block(fd, id, "halt_exits", &after);
	assert_int_equal(after - before, 3);
	api_close(vcpu);
	api_close(vm);
	api_close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(layout),
	cmocka_unit_test(descriptor),
	cmocka_unit_test(counts),
};

API_MAIN(tests)
