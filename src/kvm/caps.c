/* SPDX-License-Identifier: MIT */
#include "kvm/caps.h"

#include <errno.h>
#include <unistd.h>

#include "anykvm.h"
#include "kvm/arch.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

static int nr_vcpus(struct vm *vm)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > KVM_MAX_VCPUS ? KVM_MAX_VCPUS : (int)n;
}

static int enable_manual_dirty_log(struct vm *vm, const struct kvm_enable_cap *cap)
{
	uint64_t allowed = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;

	if (cap->args[0] & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)
		allowed |= KVM_DIRTY_LOG_INITIALLY_SET;
	if (cap->flags || (cap->args[0] & ~allowed))
		return -EINVAL;
	vm->manual_dirty_log = cap->args[0];
	return 0;
}

/* A limit, in nanoseconds, of polling before a halted vCPU sleeps: ours never polls. */
static int enable_halt_poll(struct vm *vm, const struct kvm_enable_cap *cap)
{
	return cap->flags || cap->args[0] >> 32 ? -EINVAL : 0;
}

static int enable_dirty_ring(struct vm *vm, const struct kvm_enable_cap *cap)
{
	return kvm_dirty_ring_enable(vm, cap->args[0]);
}

static const struct kvm_cap_row rows[] = {
	{ .cap = ANYKVM_CAP_ENGINE, .value = 1 },
	{ .cap = KVM_CAP_USER_MEMORY, .value = 1 },
	{ .cap = KVM_CAP_DESTROY_MEMORY_REGION_WORKS, .value = 1 },
	{ .cap = KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, .value = 1 },
	{ .cap = KVM_CAP_SYNC_MMU, .value = 1 },
	{ .cap = KVM_CAP_USER_MEMORY2, .value = 1 },
	{ .cap = KVM_CAP_PRE_FAULT_MEMORY, .value = 1 },
	{ .cap = KVM_CAP_READONLY_MEM, .value = 1 },
	{ .cap = KVM_CAP_NR_MEMSLOTS, .value = KVM_USER_MEM_SLOTS },
	{ .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
	  .value = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET,
	  .enable_vm = enable_manual_dirty_log },
	{ .cap = KVM_CAP_DIRTY_LOG_RING, .value = KVM_DIRTY_RING_MAX_BYTES, .enable_vm = enable_dirty_ring },
	{ .cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL, .value = KVM_DIRTY_RING_MAX_BYTES, .enable_vm = enable_dirty_ring },
	{ .cap = KVM_CAP_NR_VCPUS, .get = nr_vcpus },
	{ .cap = KVM_CAP_MAX_VCPUS, .value = KVM_MAX_VCPUS },
	{ .cap = KVM_CAP_IMMEDIATE_EXIT, .value = 1 },
	{ .cap = KVM_CAP_INTERNAL_ERROR_DATA, .value = 1 },
	{ .cap = KVM_CAP_SYSTEM_EVENT_DATA, .value = 1 },
	{ .cap = KVM_CAP_SIGNAL_MSI, .value = 1 },
	{ .cap = KVM_CAP_IRQ_ROUTING, .value = KVM_MAX_IRQ_ROUTES },
	{ .cap = KVM_CAP_IRQFD, .value = 1 },
	{ .cap = KVM_CAP_IRQFD_RESAMPLE, .value = 1 },
	{ .cap = KVM_CAP_IOEVENTFD, .value = 1 },
	{ .cap = KVM_CAP_IOEVENTFD_ANY_LENGTH, .value = 1 },
	{ .cap = KVM_CAP_IOEVENTFD_NO_LENGTH, .value = 1 },
	{ .cap = KVM_CAP_COALESCED_MMIO, .value = KVM_COALESCED_PAGE },
	{ .cap = KVM_CAP_COALESCED_PIO, .value = 1 },
	{ .cap = KVM_CAP_CHECK_EXTENSION_VM, .value = 1 },
	{ .cap = KVM_CAP_ENABLE_CAP_VM, .value = 1 },
	{ .cap = KVM_CAP_HALT_POLL, .value = 1, .enable_vm = enable_halt_poll },
	{ .cap = KVM_CAP_BINARY_STATS_FD, .value = 1 },
};

const struct kvm_cap_rows kvm_cap_rows_generic = { rows, ARRAY_SIZE(rows) };

static const struct kvm_cap_row *find_in(const struct kvm_cap_rows *rows, long cap)
{
	for (size_t i = 0; i < rows->count; i++)
		if (rows->row[i].cap == cap)
			return &rows->row[i];
	return NULL;
}

const struct kvm_cap_row *kvm_cap_find(long cap)
{
	const struct kvm_cap_row *row = find_in(&kvm_cap_rows_generic, cap);

	return row ? row : find_in(&kvm_arch_x86.caps, cap);
}

int kvm_cap_check(struct vm *vm, long cap)
{
	const struct kvm_cap_row *row = kvm_cap_find(cap);

	if (!row)
		return 0;
	return row->get ? row->get(vm) : row->value;
}
