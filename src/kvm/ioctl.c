/* SPDX-License-Identifier: MIT */
#include "kvm/ioctl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/arch.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

#define INDEX_MAX 256
#define USER_END 0x8000000000000000UL   /* the kernel's half of the address space */

/* Every row, sorted by request: built once from constant tables. */
static struct {
	pthread_once_t once;
	size_t count;
	const struct kvm_ioctl_row *row[INDEX_MAX];
} ioctl_index = { .once = PTHREAD_ONCE_INIT };

static int by_request(const void *a, const void *b)
{
	const struct kvm_ioctl_row *const *x = a, *const *y = b;

	return ((*x)->request > (*y)->request) - ((*x)->request < (*y)->request);
}

static void add_rows(const struct kvm_ioctl_rows *rows)
{
	for (size_t i = 0; i < rows->count && ioctl_index.count < INDEX_MAX; i++)
		ioctl_index.row[ioctl_index.count++] = &rows->row[i];
}

static void build_index(void)
{
	add_rows(&kvm_ioctl_rows_generic);
	add_rows(&kvm_arch_x86.ioctls);
	qsort(ioctl_index.row, ioctl_index.count, sizeof(ioctl_index.row[0]), by_request);
}

const struct kvm_ioctl_row *kvm_ioctl_find(uint32_t request, enum kvm_kind kind)
{
	size_t lo = 0, hi;

	pthread_once(&ioctl_index.once, build_index);
	hi = ioctl_index.count;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (ioctl_index.row[mid]->request < request)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < ioctl_index.count && ioctl_index.row[lo]->request == request; lo++)
		if (ioctl_index.row[lo]->kinds & kind)
			return ioctl_index.row[lo];
	return NULL;
}

int kvm_copy_in(void *dst, unsigned long uaddr, size_t n)
{
	if (uaddr >= USER_END || n > USER_END - uaddr)
		return -EFAULT;
	return host_copy(dst, (const void *)uaddr, n);
}

int kvm_copy_out(unsigned long uaddr, const void *src, size_t n)
{
	if (uaddr >= USER_END || n > USER_END - uaddr)
		return -EFAULT;
	return host_copy((void *)uaddr, src, n);
}

/* What each kind of descriptor says to a request that it does not know, as the dispatchers of KVM do. */
static long unknown(enum kvm_kind kind)
{
	return kind & (KVM_SYSTEM | KVM_VCPU) ? -EINVAL : -ENOTTY;
}

static uint8_t directions(const struct kvm_ioctl_row *row)
{
	uint8_t flags = row->flags & (KVM_IOCTL_IN | KVM_IOCTL_OUT | KVM_IOCTL_RAW);

	if (!flags) {
		flags |= _IOC_DIR(row->request) & _IOC_WRITE ? KVM_IOCTL_IN : 0;
		flags |= _IOC_DIR(row->request) & _IOC_READ ? KVM_IOCTL_OUT : 0;
	}
	return flags;
}

/*
 * The vCPU is entered around the handler alone: copying may wait for the client's pages, and nobody should wait
 * for the vCPU meanwhile.
 */
static long call_handler(const struct kvm_ioctl_row *row, struct kvm_call *c)
{
	long r;

	if (!c->vcpu || (row->flags & KVM_IOCTL_UNLOCKED))
		return row->fn(c);
	kvm_vcpu_enter(c->vcpu);
	r = row->fn(c);
	kvm_vcpu_leave(c->vcpu);
	return r;
}

static long copy_and_call(const struct kvm_ioctl_row *row, struct kvm_call *c)
{
	uint8_t buf[KVM_IOCTL_MAX_SIZE] __attribute__((aligned(64)));
	size_t size = _IOC_SIZE(row->request);
	uint8_t dir = directions(row);
	long r;

	if (!(dir & (KVM_IOCTL_IN | KVM_IOCTL_OUT)) || (dir & KVM_IOCTL_RAW) || size > sizeof(buf))
		return call_handler(row, c);
	c->data = buf;
	if (!(dir & KVM_IOCTL_IN))
		memset(buf, 0, size);
	else if (kvm_copy_in(buf, c->arg, size))
		return -EFAULT;
	r = call_handler(row, c);
	if (r >= 0 && (dir & KVM_IOCTL_OUT) && kvm_copy_out(c->arg, buf, size))
		return -EFAULT;
	return r;
}

long kvm_ioctl_call(struct kvm_object *obj, uint32_t request, unsigned long arg, uint64_t sigmask)
{
	const struct kvm_ioctl_row *row;
	struct kvm_call c = { .obj = obj, .arg = arg, .request = request, .sigmask = sigmask };
	long r;

	/* Our handlers go back in front of what the client has installed since. */
	r = host_fault_check();
	if (r)
		return r;
	/* A fork()ed child has the descriptors, but not the VM. */
	if (obj->owner && obj->owner != kvm_process_id())
		return -EIO;
	if (obj->kind == KVM_VM)
		c.vm = container_of(obj, struct vm, obj);
	if (obj->kind == KVM_VCPU) {
		c.vcpu = container_of(obj, struct vcpu, obj);
		c.vm = c.vcpu->vm;
	}
	if (c.vm && atomic_load_explicit(&c.vm->dead, memory_order_relaxed))
		return -EIO;
	row = kvm_ioctl_find(request, obj->kind);
	if (!row)
		return unknown(obj->kind);
	if (!c.vcpu || (row->flags & KVM_IOCTL_UNLOCKED))
		return copy_and_call(row, &c);
	pthread_mutex_lock(&c.vcpu->mutex);
	r = copy_and_call(row, &c);
	pthread_mutex_unlock(&c.vcpu->mutex);
	return r;
}
