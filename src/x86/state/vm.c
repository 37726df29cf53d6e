// SPDX-License-Identifier: MIT
/* A VM's x86 half: creation, and the small ioctls that only remember something. */
#include <errno.h>
#include <stdlib.h>

#include "host/clock.h"
#include "kvm/trace.h"
#include "x86/cpu/block.h"
#include "x86/mmu/mmu.h"
#include "x86/pv/async_pf.h"
#include "x86/state/msr.h"
#include "x86/state/parameter.h"
#include "x86/state/state.h"
#include "x86/state/trace.h"

#define TSS_PAGES 3             /* KVM_SET_TSS_ADDR reserves three pages below 4 GiB */

int x86_vm_create(struct vm *vm, unsigned long type)
{
	struct x86_vm *x;

	if (type)
		return -EINVAL;
	x = calloc(1, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->vm = vm;
	x->traced = kvm_trace_on();
	x->env = x86_kvm_env;
	if (x->traced)
		x86_trace_wrap(&x->env);
	x->code = code_cache_create();
	if (!x->code) {
		free(x);
		return -ENOMEM;
	}
	apic_bus_init(&x->bus, &x86_apic_bus_ops, x);
	x86_async_pf_vm_init(x);
	pthread_mutex_init(&x->clock.lock, NULL);
	hv_vm_init(&x->hv);
	x->vmware_backdoor = x86_parameter(X86_PARAM_VMWARE_BACKDOOR);
	vm->populates = x86_parameter(X86_PARAM_GLOBAL_TDP);
	x->no_smm = vm->populates;
	x->default_tsc_khz = host_tsc_khz();
	x->clock.tsc_khz = x->default_tsc_khz;
	x->clock.ns = host_now_and_tsc(&x->clock.host_tsc);
	x->clock.offset = -(int64_t)x->clock.ns;
	x->clock.tsc_offset = 0 - x->clock.host_tsc;
	x->clock.tsc_write_ns = x->clock.ns;
	vm->arch_data = x;
	return 0;
}

void x86_vm_stop(struct vm *vm)
{
	struct x86_vm *x = x86_vm_of(vm);

	if (!x)
		return;
	x86_async_pf_vm_stop(x);
	x86_irqchip_destroy(x);
}

void x86_vm_destroy(struct vm *vm)
{
	struct x86_vm *x = x86_vm_of(vm);

	if (!x)
		return;
	x86_msr_filter_free(atomic_load(&x->msr_filter));
	x86_pmu_filter_free(atomic_load(&x->pmu_filter));
	code_cache_destroy(x->code);
	pthread_mutex_destroy(&x->clock.lock);
	hv_vm_destroy(&x->hv);
	free(x);
	vm->arch_data = NULL;
}

/* --- ioctls ------------------------------------------------------------------ */

long x86_ioctl_set_tss_addr(struct kvm_call *c)
{
	/* The three pages serve Intel hosts without unrestricted guest; nothing of ours lies there. */
	if (c->arg > (uint32_t)(-TSS_PAGES * (int)GUEST_PAGE_SIZE))
		return -EINVAL;
	x86_vm_of(c->vm)->tss_addr = (uint32_t)c->arg;
	return 0;
}

/* As KVM: whether it can still be set is asked before the address is read. */
long x86_ioctl_set_identity_map_addr(struct kvm_call *c)
{
	uint64_t addr;
	long r = -EINVAL;

	pthread_mutex_lock(&c->vm->lock);
	if (!c->vm->created_vcpus)
		r = kvm_copy_in(&addr, c->arg, sizeof(addr));
	if (!r)
		x86_vm_of(c->vm)->identity_map = addr;
	pthread_mutex_unlock(&c->vm->lock);
	return r;
}

long x86_ioctl_set_boot_cpu_id(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	long r = -EBUSY;

	pthread_mutex_lock(&c->vm->lock);
	if (!c->vm->created_vcpus) {
		r = c->arg > KVM_MAX_VCPU_IDS || (x->max_vcpu_ids && c->arg > x->max_vcpu_ids) ? -EINVAL : 0;
		if (!r)
			x->bsp_id = (uint32_t)c->arg;
	}
	pthread_mutex_unlock(&c->vm->lock);
	return r;
}

/*
 * KVM's shadow pages are the contexts of cached translations here: what a client
 * grants, all vCPUs share, each having at least what it needs.  api.rst 4.54.
 */
#define MIN_MMU_PAGES 64
#define PAGES_PER_MMU_PAGE 50

void x86_vm_share_mmu_pages(struct vm *vm)
{
	struct x86_vm *x = x86_vm_of(vm);
	uint64_t pages = (mmu_ctx_bytes() + GUEST_PAGE_SIZE - 1) / GUEST_PAGE_SIZE;
	uint64_t n = x->nr_mmu_pages / pages / (vm->created_vcpus ? vm->created_vcpus : 1);

	if (x->nr_mmu_pages)
		atomic_store(&x->ctx_limit, n < 1 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n);
}

long x86_ioctl_set_nr_mmu_pages(struct kvm_call *c)
{
	if (c->arg < MIN_MMU_PAGES)
		return -EINVAL;
	pthread_mutex_lock(&c->vm->lock);
	x86_vm_of(c->vm)->nr_mmu_pages = c->arg;
	x86_vm_share_mmu_pages(c->vm);
	pthread_mutex_unlock(&c->vm->lock);
	kvm_vm_sync_vcpus(c->vm, KVM_SYNC_QUIESCE);
	return 0;
}

static uint64_t slot_pages(struct vm *vm)
{
	const struct memslot *slot;
	unsigned int n, i;
	uint64_t pages = 0;

	pthread_mutex_lock(&vm->slots_lock);
	for (unsigned int as = 0; as < vm->arch->address_spaces; as++)
		memslots_for_each(slot, n, i, kvm_vm_slots(vm, as))
			pages += slot->npages;
	pthread_mutex_unlock(&vm->slots_lock);
	return pages;
}

/* Not set: KVM's share of the slots' pages, which limits nothing here. */
long x86_ioctl_get_nr_mmu_pages(struct kvm_call *c)
{
	uint64_t set = x86_vm_of(c->vm)->nr_mmu_pages, pages;

	if (set)
		return (long)set;
	pages = slot_pages(c->vm);
	if (pages && pages < (uint64_t)MIN_MMU_PAGES * PAGES_PER_MMU_PAGE)
		return MIN_MMU_PAGES;
	return (long)(pages / PAGES_PER_MMU_PAGE);
}
