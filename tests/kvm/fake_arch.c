/* SPDX-License-Identifier: MIT */
#include "fake_arch.h"

#include <errno.h>
#include <stdlib.h>

static int vm_create(struct vm *vm, unsigned long type)
{
	if (type)
		return -EINVAL;
	vm->arch_data = calloc(1, sizeof(struct fake_vm));
	return vm->arch_data ? 0 : -ENOMEM;
}

static void vm_destroy(struct vm *vm)
{
	free(vm->arch_data);
}

static bool irqchip_in_kernel(struct vm *vm)
{
	return !fake_vm_of(vm)->no_irqchip;
}

static bool can_set_routing(struct vm *vm)
{
	return true;
}

static int check_route(struct vm *vm, const struct kvm_irq_routing_entry *e)
{
	return e->type == KVM_IRQ_ROUTING_IRQCHIP || e->type == KVM_IRQ_ROUTING_MSI ? 0 : -EINVAL;
}

static int set_irq(struct vm *vm, const struct kvm_irq_routing_entry *e, int source, int level, bool status)
{
	struct fake_vm *f = fake_vm_of(vm);

	if (e->type == KVM_IRQ_ROUTING_MSI && !level)
		return -1;
	atomic_store(&f->level[e->gsi % 64], level);
	if (level)
		atomic_fetch_add(&f->raised[e->gsi % 64], 1);
	return 1;
}

static int vcpu_create(struct vcpu *vcpu)
{
	vcpu->arch_data = calloc(1, sizeof(struct fake));
	return vcpu->arch_data ? 0 : -ENOMEM;
}

static void vcpu_destroy(struct vcpu *vcpu)
{
	free(vcpu->arch_data);
}

static bool has_events(struct vcpu *vcpu)
{
	return atomic_load(&fake_of(vcpu)->events);
}

/* One turn of a guest that counts in the first word of gfn 3, or exits where that is a hole. */
static int count_once(struct vcpu *vcpu)
{
	const struct memslot *slot = memslots_find(vcpu->slots[0], 3);
	uint64_t *p;

	if (!slot) {
		vcpu->run->exit_reason = KVM_EXIT_MMIO;
		return 1;
	}
	/* Marked first: who clears the mark waits for the end of this turn, and so for the write. */
	memslot_mark_dirty(slot, 3);
	p = (uint64_t *)memslot_hva(slot, 3);
	__atomic_fetch_add(p, 1, __ATOMIC_RELAXED);
	return 0;
}

static int halt_once(struct vcpu *vcpu)
{
	struct fake *f = fake_of(vcpu);
	int r = kvm_vcpu_block(vcpu, has_events, UINT64_MAX);
	uint32_t events = atomic_exchange(&f->events, 0);

	atomic_fetch_add(&f->taken, events);
	return r;
}

static int vcpu_run(struct vcpu *vcpu)
{
	struct fake *f = fake_of(vcpu);
	int r = kvm_vcpu_entry_check(vcpu);

	for (unsigned int n = 0; !r; n++) {
		if (kvm_vcpu_sync_needed(vcpu))
			kvm_vcpu_sync(vcpu);
		if (n % 256 == 0 && (kvm_vcpu_immediate_exit(vcpu) || kvm_vcpu_interrupted(vcpu)))
			r = -EINTR;
		else if (atomic_load(&f->guest) == FAKE_COUNT)
			r = count_once(vcpu);
		else if (atomic_load(&f->guest) == FAKE_HALT)
			r = halt_once(vcpu);
		else
			r = 1;
	}
	if (r == -EINTR)
		vcpu->run->exit_reason = KVM_EXIT_INTR;
	return r < 0 ? r : 0;
}

static void vcpu_kick(struct vcpu *vcpu)
{
	atomic_store(&fake_of(vcpu)->kicked, true);
}

static void vcpu_sync(struct vcpu *vcpu, uint32_t what)
{
	struct fake *f = fake_of(vcpu);

	atomic_fetch_add(&f->syncs, 1);
	if (what & KVM_SYNC_DIRTY)
		atomic_fetch_add(&f->dirties, 1);
}

const struct kvm_arch kvm_arch_x86 = {
	.name = "fake",
	.address_spaces = 2,
	.irqchip_pins = { 8, 8, 24 },
	.vm_create = vm_create,
	.vm_destroy = vm_destroy,
	.irqchip_in_kernel = irqchip_in_kernel,
	.can_set_routing = can_set_routing,
	.check_route = check_route,
	.set_irq = set_irq,
	.vcpu_create = vcpu_create,
	.vcpu_destroy = vcpu_destroy,
	.vcpu_run = vcpu_run,
	.vcpu_kick = vcpu_kick,
	.vcpu_sync = vcpu_sync,
};
