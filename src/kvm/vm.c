/* SPDX-License-Identifier: MIT */
/* The life of a VM, and waiting for its vCPUs. */
#include "kvm/vm.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/fault.h"
#include "host/memfd.h"
#include "kvm/vcpu.h"

void kvm_vm_get(struct vm *vm)
{
	atomic_fetch_add(&vm->refs, 1);
}

static void init_locks(struct vm *vm)
{
	pthread_mutexattr_t recursive;

	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->slots_lock, NULL);
	pthread_mutex_init(&vm->ring_lock, NULL);
	pthread_mutex_init(&vm->irqfd_lock, NULL);
	pthread_mutex_init(&vm->irq_lock, NULL);
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&vm->ack_lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
}

static void destroy_locks(struct vm *vm)
{
	pthread_mutex_destroy(&vm->ack_lock);
	pthread_mutex_destroy(&vm->irq_lock);
	pthread_mutex_destroy(&vm->irqfd_lock);
	pthread_mutex_destroy(&vm->ring_lock);
	pthread_mutex_destroy(&vm->slots_lock);
	pthread_mutex_destroy(&vm->lock);
}

static void destroy(struct vm *vm)
{
	host_service_stop(&vm->service);
	if (vm->arch->vm_stop)
		vm->arch->vm_stop(vm);
	for (unsigned int i = 0; i < atomic_load(&vm->nvcpus); i++)
		kvm_vcpu_destroy(vm->vcpu[i]);
	kvm_irqfds_destroy(vm);
	vm->arch->vm_destroy(vm);
	kvm_routing_destroy(vm);
	kvm_bus_destroy(vm);
	kvm_slots_destroy(vm);
	kvm_stats_destroy(&vm->stats);
	host_service_destroy(&vm->service);
	destroy_locks(vm);
	free(vm);
}

void kvm_vm_put(struct vm *vm)
{
	if (atomic_fetch_sub(&vm->refs, 1) == 1)
		destroy(vm);
}

static void release_vm(struct kvm_object *obj)
{
	kvm_vm_put(container_of(obj, struct vm, obj));
}

/* What needs no undoing but free() on failure. */
static struct vm *alloc_vm(const struct kvm_arch *arch, unsigned long type)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	if (!vm)
		return NULL;
	vm->obj.kind = KVM_VM;
	vm->obj.owner = kvm_process_id();
	vm->obj.release = release_vm;
	vm->arch = arch;
	vm->type = type;
	atomic_init(&vm->refs, 1);
	atomic_init(&vm->sync_gen, 1);
	init_locks(vm);
	host_service_init(&vm->service);
	return vm;
}

int kvm_vm_create(const struct kvm_arch *arch, unsigned long type)
{
	char id[KVM_STATS_NAME_MAX];
	struct vm *vm;
	int r, fd;

	/* The client may have installed handlers of its own since it opened the device. */
	r = host_fault_init();
	if (r)
		return r;
	vm = alloc_vm(arch, type);
	if (!vm)
		return -ENOMEM;
	snprintf(id, sizeof(id), "kvm-%d", getpid());
	r = kvm_stats_init(&vm->stats, &kvm_stats_rows_vm, arch->vm_stats, id);
	if (r)
		goto no_stats;
	r = kvm_slots_init(vm);
	if (r)
		goto no_slots;
	r = arch->vm_create(vm, type);
	if (r)
		goto no_arch;
	fd = host_memfd("kvm-vm", 0);
	if (fd < 0) {
		kvm_vm_put(vm);
		return fd;
	}
	r = kvm_object_add(&vm->obj, fd);
	if (r) {
		close(fd);
		kvm_vm_put(vm);
		return r;
	}
	return fd;
no_arch:
	kvm_slots_destroy(vm);
no_slots:
	kvm_stats_destroy(&vm->stats);
no_stats:
	host_service_destroy(&vm->service);
	destroy_locks(vm);
	free(vm);
	return r;
}

struct vcpu *kvm_vm_vcpu_by_id(struct vm *vm, uint32_t id)
{
	struct vcpu *v;
	unsigned int i;

	/* Clients number their vCPUs as they create them. */
	if (id < atomic_load(&vm->nvcpus) && vm->vcpu[id]->id == id)
		return vm->vcpu[id];
	kvm_for_each_vcpu(i, v, vm)
		if (v->id == id)
			return v;
	return NULL;
}

/* --- waiting for vCPUs; the other half is in vcpu.c --- */

static bool has_synced(struct vcpu *v, uint64_t gen)
{
	return atomic_load(&v->where) != KVM_VCPU_INSIDE || atomic_load(&v->sync_seen) >= gen;
}

static void wait_for_vcpu(struct vm *vm, struct vcpu *v, uint64_t gen)
{
	atomic_fetch_add(&vm->sync_waiters, 1);
	for (;;) {
		uint32_t word = atomic_load(&vm->sync_word);

		if (has_synced(v, gen))
			break;
		vm->arch->vcpu_kick(v);
		syscall(SYS_futex, &vm->sync_word, FUTEX_WAIT_PRIVATE, word, NULL, NULL, 0);
	}
	atomic_fetch_sub(&vm->sync_waiters, 1);
}

void kvm_vm_sync_vcpus(struct vm *vm, uint32_t what)
{
	struct vcpu *v;
	unsigned int i;
	uint64_t gen;

	kvm_for_each_vcpu(i, v, vm)
		atomic_fetch_or(&v->sync_pending, what);
	/* After the bits: a vCPU that has seen this generation has seen them too. */
	gen = atomic_fetch_add(&vm->sync_gen, 1) + 1;
	kvm_for_each_vcpu(i, v, vm)
		if (!has_synced(v, gen))
			vm->arch->vcpu_kick(v);
	kvm_for_each_vcpu(i, v, vm)
		if (!has_synced(v, gen))
			wait_for_vcpu(vm, v, gen);
}
