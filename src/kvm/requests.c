/* SPDX-License-Identifier: MIT */
/* The requests that every architecture has.  api.rst documents each by its name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anykvm.h"
#include "kvm/arch.h"
#include "kvm/iobus.h"
#include "kvm/ioctl.h"
#include "kvm/irq.h"
#include "kvm/populate.h"
#include "kvm/slots.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

_Static_assert(sizeof(struct kvm_enable_cap) == 104, "UAPI");
_Static_assert(sizeof(struct kvm_create_device) == 12, "UAPI");

/* --- system --- */

static long get_api_version(struct kvm_call *c)
{
	return c->arg ? -EINVAL : KVM_API_VERSION;
}

static long get_vcpu_mmap_size(struct kvm_call *c)
{
	return c->arg ? -EINVAL : (long)(KVM_VCPU_PAGES * GUEST_PAGE_SIZE);
}

static long create_vm(struct kvm_call *c)
{
	return kvm_vm_create(&kvm_arch_x86, c->arg);
}

static long check_extension(struct kvm_call *c)
{
	return kvm_cap_check(c->vm, (long)c->arg);
}

/* Tracing by these was removed from KVM long ago. */
static long trace(struct kvm_call *c)
{
	return -EOPNOTSUPP;
}

/* --- VM --- */

static long create_vcpu(struct kvm_call *c)
{
	return c->arg >> 32 ? -EINVAL : kvm_vcpu_create(c->vm, (uint32_t)c->arg);
}

static long enable_cap(struct kvm_call *c)
{
	const struct kvm_enable_cap *cap = c->data;
	const struct kvm_cap_row *row = kvm_cap_find(cap->cap);

	if (c->vcpu)
		return row && row->enable_vcpu ? row->enable_vcpu(c->vcpu, cap) : -EINVAL;
	return row && row->enable_vm ? row->enable_vm(c->vm, cap) : -EINVAL;
}

static long set_user_memory_region(struct kvm_call *c)
{
	return kvm_set_memory_region(c->vm, c->data);
}

static long set_user_memory_region2(struct kvm_call *c)
{
	const struct kvm_userspace_memory_region2 *m = c->data;
	const struct kvm_userspace_memory_region region = {
		.slot = m->slot, .flags = m->flags, .guest_phys_addr = m->guest_phys_addr,
		.memory_size = m->memory_size, .userspace_addr = m->userspace_addr,
	};

	return kvm_set_memory_region(c->vm, &region);
}

static long get_dirty_log(struct kvm_call *c)
{
	return kvm_get_dirty_log(c->vm, c->data);
}

static long clear_dirty_log(struct kvm_call *c)
{
	return kvm_clear_dirty_log(c->vm, c->data);
}

static long register_coalesced(struct kvm_call *c)
{
	return kvm_coalesced_zone(c->vm, c->data, true);
}

static long unregister_coalesced(struct kvm_call *c)
{
	return kvm_coalesced_zone(c->vm, c->data, false);
}

static long ioeventfd(struct kvm_call *c)
{
	return kvm_ioeventfd(c->vm, c->data);
}

static long irqfd(struct kvm_call *c)
{
	return kvm_irqfd(c->vm, c->data);
}

static long signal_msi(struct kvm_call *c)
{
	return kvm_signal_msi(c->vm, c->data);
}

static long irq_line(struct kvm_call *c)
{
	return kvm_irq_line(c->vm, c->data, c->request == (uint32_t)KVM_IRQ_LINE_STATUS);
}

static long set_gsi_routing(struct kvm_call *c)
{
	return kvm_set_gsi_routing(c->vm, c->arg);
}

/* No device type exists yet. */
static long create_device(struct kvm_call *c)
{
	return -ENODEV;
}

static long reset_dirty_rings(struct kvm_call *c)
{
	return kvm_reset_dirty_rings(c->vm);
}

/* --- statistics --- */

struct stats_object {
	struct kvm_object obj;
	struct vm *vm;
};

static void release_stats(struct kvm_object *obj)
{
	struct stats_object *s = container_of(obj, struct stats_object, obj);

	kvm_vm_put(s->vm);
	free(s);
}

/* A vCPU's block is under its mutex already. */
static int open_stats(struct kvm_call *c)
{
	int fd;

	if (c->vcpu)
		return kvm_stats_open(&c->vcpu->stats);
	pthread_mutex_lock(&c->vm->lock);
	fd = kvm_stats_open(&c->vm->stats);
	pthread_mutex_unlock(&c->vm->lock);
	return fd;
}

static long get_stats_fd(struct kvm_call *c)
{
	struct stats_object *s = calloc(1, sizeof(*s));
	int fd, r;

	if (!s)
		return -ENOMEM;
	s->obj.kind = KVM_STATS;
	s->obj.owner = kvm_process_id();
	s->obj.release = release_stats;
	s->vm = c->vm;
	fd = open_stats(c);
	if (fd < 0) {
		free(s);
		return fd;
	}
	kvm_vm_get(c->vm);
	r = kvm_object_add(&s->obj, fd);
	if (r) {
		close(fd);
		release_stats(&s->obj);
		return r;
	}
	return fd;
}

/* --- vCPU --- */

static long run(struct kvm_call *c)
{
	return c->arg ? -EINVAL : kvm_vcpu_run(c->vcpu, c->sigmask);
}

static long set_signal_mask(struct kvm_call *c)
{
	struct kvm_signal_mask head;
	uint64_t set;

	if (!c->arg) {
		c->vcpu->sigmask_active = false;
		return 0;
	}
	if (kvm_copy_in(&head, c->arg, sizeof(head)))
		return -EFAULT;
	if (head.len != sizeof(set))
		return -EINVAL;
	if (kvm_copy_in(&set, c->arg + sizeof(head), sizeof(set)))
		return -EFAULT;
	c->vcpu->sigmask = set;
	c->vcpu->sigmask_active = true;
	return 0;
}

#define BOTH_CHECK (KVM_SYSTEM | KVM_VM)

static const struct kvm_ioctl_row rows[] = {
	KVM_IOCTL(KVM_GET_API_VERSION, KVM_SYSTEM, 0, get_api_version),
	KVM_IOCTL(KVM_CREATE_VM, KVM_SYSTEM, 0, create_vm),
	KVM_IOCTL(KVM_CHECK_EXTENSION, BOTH_CHECK, 0, check_extension),
	KVM_IOCTL(KVM_GET_VCPU_MMAP_SIZE, KVM_SYSTEM, 0, get_vcpu_mmap_size),
	KVM_IOCTL(KVM_TRACE_ENABLE, KVM_SYSTEM, KVM_IOCTL_RAW, trace),
	KVM_IOCTL(KVM_TRACE_PAUSE, KVM_SYSTEM, KVM_IOCTL_RAW, trace),
	KVM_IOCTL(KVM_TRACE_DISABLE, KVM_SYSTEM, KVM_IOCTL_RAW, trace),

	KVM_IOCTL(KVM_CREATE_VCPU, KVM_VM, 0, create_vcpu),
	KVM_IOCTL(KVM_ENABLE_CAP, KVM_VM | KVM_VCPU, 0, enable_cap),
	KVM_IOCTL(KVM_SET_USER_MEMORY_REGION, KVM_VM, 0, set_user_memory_region),
	KVM_IOCTL(KVM_SET_USER_MEMORY_REGION2, KVM_VM, 0, set_user_memory_region2),
	KVM_IOCTL(KVM_GET_DIRTY_LOG, KVM_VM, 0, get_dirty_log),
	KVM_IOCTL(KVM_CLEAR_DIRTY_LOG, KVM_VM, KVM_IOCTL_IN, clear_dirty_log),
	KVM_IOCTL(KVM_RESET_DIRTY_RINGS, KVM_VM, 0, reset_dirty_rings),
	KVM_IOCTL(KVM_REGISTER_COALESCED_MMIO, KVM_VM, 0, register_coalesced),
	KVM_IOCTL(KVM_UNREGISTER_COALESCED_MMIO, KVM_VM, 0, unregister_coalesced),
	KVM_IOCTL(KVM_IOEVENTFD, KVM_VM, 0, ioeventfd),
	KVM_IOCTL(KVM_IRQFD, KVM_VM, 0, irqfd),
	KVM_IOCTL(KVM_SIGNAL_MSI, KVM_VM, 0, signal_msi),
	KVM_IOCTL(KVM_IRQ_LINE, KVM_VM, 0, irq_line),
	KVM_IOCTL(KVM_IRQ_LINE_STATUS, KVM_VM, 0, irq_line),
	KVM_IOCTL(KVM_SET_GSI_ROUTING, KVM_VM, KVM_IOCTL_RAW, set_gsi_routing),
	KVM_IOCTL(KVM_CREATE_DEVICE, KVM_VM, 0, create_device),
	KVM_IOCTL(KVM_GET_STATS_FD, KVM_VM | KVM_VCPU, 0, get_stats_fd),

	KVM_IOCTL(KVM_RUN, KVM_VCPU, 0, run),
	KVM_IOCTL(KVM_PRE_FAULT_MEMORY, KVM_VCPU, 0, kvm_pre_fault_memory),
	KVM_IOCTL(KVM_SET_SIGNAL_MASK, KVM_VCPU, KVM_IOCTL_RAW, set_signal_mask),
};

const struct kvm_ioctl_rows kvm_ioctl_rows_generic = { rows, ARRAY_SIZE(rows) };
