/* SPDX-License-Identifier: MIT */
/*
 * Interrupt routing: from a GSI to pins of irqchips or to a message; who is
 * told when the guest acknowledges.  Routes are copied out under the lock and
 * driven without it, so that a chip may call back into here.
 */
#include "kvm/irq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/ioctl.h"

_Static_assert(sizeof(struct kvm_irq_routing_entry) == 48, "UAPI");
_Static_assert(sizeof(struct kvm_irq_routing) == 8, "UAPI");
_Static_assert(sizeof(struct kvm_msi) == 32, "UAPI");
_Static_assert(sizeof(struct kvm_irq_level) == 8, "UAPI");

struct kvm_irq_routes {
	unsigned int count;
	uint16_t first[KVM_MAX_IRQ_ROUTES + 1]; /* entries of a GSI: [first[gsi], first[gsi + 1]) */
	struct kvm_irq_routing_entry entry[];   /* sorted by GSI */
};

/* --- KVM_SET_GSI_ROUTING, api.rst 4.52 --- */

static int check_entry(struct vm *vm, const struct kvm_irq_routing_entry *e)
{
	uint32_t allowed = e->type == KVM_IRQ_ROUTING_MSI ? KVM_MSI_VALID_DEVID : 0;

	if (e->flags & ~allowed)
		return -EINVAL;
	if (e->type == KVM_IRQ_ROUTING_IRQCHIP) {
		uint32_t chip = e->u.irqchip.irqchip;

		if (chip >= KVM_NR_IRQCHIPS_MAX || e->u.irqchip.pin >= vm->arch->irqchip_pins[chip])
			return -EINVAL;
	}
	return vm->arch->check_route(vm, e);
}

/* A GSI has one message, or at most one pin of each irqchip. */
static bool conflict(const struct kvm_irq_routing_entry *a, const struct kvm_irq_routing_entry *b)
{
	return a->type != KVM_IRQ_ROUTING_IRQCHIP || b->type != KVM_IRQ_ROUTING_IRQCHIP ||
	       a->u.irqchip.irqchip == b->u.irqchip.irqchip;
}

/* Sorts by counting: first[] becomes the bounds of each GSI. */
static int sort_entries(struct kvm_irq_routes *rt, const struct kvm_irq_routing_entry *e, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		rt->first[e[i].gsi + 1]++;
	for (unsigned int g = 0; g < KVM_MAX_IRQ_ROUTES; g++)
		rt->first[g + 1] = (uint16_t)(rt->first[g + 1] + rt->first[g]);
	for (unsigned int i = n; i--;) {
		/* Walking backwards: first[gsi + 1] counts down to the start of the GSI. */
		rt->entry[--rt->first[e[i].gsi + 1]] = e[i];
	}
	memmove(&rt->first[0], &rt->first[1], KVM_MAX_IRQ_ROUTES * sizeof(rt->first[0]));
	rt->first[KVM_MAX_IRQ_ROUTES] = (uint16_t)n;
	rt->count = n;
	for (unsigned int i = 0; i < n; i++)
		for (unsigned int j = i + 1; j < n && rt->entry[j].gsi == rt->entry[i].gsi; j++)
			if (conflict(&rt->entry[i], &rt->entry[j]))
				return -EINVAL;
	return 0;
}

int kvm_set_routing(struct vm *vm, const struct kvm_irq_routing_entry *e, unsigned int n)
{
	struct kvm_irq_routes *rt, *old;
	int r = 0;

	for (unsigned int i = 0; i < n; i++)
		if (e[i].gsi >= KVM_MAX_IRQ_ROUTES)
			return -EINVAL;
	for (unsigned int i = 0; i < n; i++) {
		r = check_entry(vm, &e[i]);
		if (r)
			return r;
	}
	rt = calloc(1, sizeof(*rt) + n * sizeof(rt->entry[0]));
	if (!rt)
		return -ENOMEM;
	r = sort_entries(rt, e, n);
	if (r) {
		free(rt);
		return r;
	}
	pthread_mutex_lock(&vm->irq_lock);
	old = vm->routes;
	vm->routes = rt;
	pthread_mutex_unlock(&vm->irq_lock);
	free(old);
	if (vm->arch->routing_changed)
		vm->arch->routing_changed(vm);
	return 0;
}

int kvm_set_gsi_routing(struct vm *vm, unsigned long uaddr)
{
	struct kvm_irq_routing_entry *e = NULL;
	struct kvm_irq_routing head;
	int r;

	if (kvm_copy_in(&head, uaddr, sizeof(head)))
		return -EFAULT;
	if (!vm->arch->can_set_routing(vm) || head.nr > KVM_MAX_IRQ_ROUTES || head.flags)
		return -EINVAL;
	if (head.nr) {
		e = calloc(head.nr, sizeof(*e));
		if (!e)
			return -ENOMEM;
		if (kvm_copy_in(e, uaddr + sizeof(head), head.nr * sizeof(*e))) {
			free(e);
			return -EFAULT;
		}
	}
	r = kvm_set_routing(vm, e, head.nr);
	free(e);
	return r;
}

void kvm_routing_destroy(struct vm *vm)
{
	free(vm->routes);
}

/* --- lookups --- */

unsigned int kvm_routes_of(struct vm *vm, uint32_t gsi, struct kvm_irq_routing_entry e[KVM_ROUTES_PER_GSI])
{
	const struct kvm_irq_routes *rt;
	unsigned int n = 0;

	pthread_mutex_lock(&vm->irq_lock);
	rt = vm->routes;
	if (rt && gsi < KVM_MAX_IRQ_ROUTES)
		for (unsigned int i = rt->first[gsi]; i < rt->first[gsi + 1] && n < KVM_ROUTES_PER_GSI; i++)
			e[n++] = rt->entry[i];
	pthread_mutex_unlock(&vm->irq_lock);
	return n;
}

void kvm_for_each_route(struct vm *vm, void (*fn)(void *ptr, const struct kvm_irq_routing_entry *e), void *ptr)
{
	pthread_mutex_lock(&vm->irq_lock);
	for (unsigned int i = 0; vm->routes && i < vm->routes->count; i++)
		fn(ptr, &vm->routes->entry[i]);
	pthread_mutex_unlock(&vm->irq_lock);
}

int kvm_irq_gsi_of(struct vm *vm, unsigned int irqchip, unsigned int pin)
{
	int gsi = -1;

	pthread_mutex_lock(&vm->irq_lock);
	for (unsigned int i = 0; vm->routes && i < vm->routes->count; i++) {
		const struct kvm_irq_routing_entry *e = &vm->routes->entry[i];

		if (e->type == KVM_IRQ_ROUTING_IRQCHIP && e->u.irqchip.irqchip == irqchip &&
		    e->u.irqchip.pin == pin)
			gsi = (int)e->gsi;
	}
	pthread_mutex_unlock(&vm->irq_lock);
	return gsi;
}

int kvm_set_irq(struct vm *vm, enum kvm_irq_source source, uint32_t gsi, int level, bool line_status)
{
	struct kvm_irq_routing_entry e[KVM_ROUTES_PER_GSI];
	unsigned int n = kvm_routes_of(vm, gsi, e);
	int result = -1;

	for (unsigned int i = 0; i < n; i++) {
		int r = vm->arch->set_irq(vm, &e[i], source, level, line_status);

		if (r >= 0)
			result = r + (result < 0 ? 0 : result);
	}
	return result;
}

/* --- KVM_IRQ_LINE (4.25), KVM_SIGNAL_MSI (4.70) --- */

int kvm_irq_line(struct vm *vm, struct kvm_irq_level *irq, bool want_status)
{
	int r;

	if (!vm->arch->irqchip_in_kernel(vm))
		return -ENXIO;
	r = kvm_set_irq(vm, KVM_IRQ_SOURCE_USER, irq->irq, irq->level != 0, want_status);
	/* The status shares its place with the number. */
	if (want_status)
		irq->status = r;
	return 0;
}

int kvm_signal_msi(struct vm *vm, const struct kvm_msi *msi)
{
	struct kvm_irq_routing_entry e = {
		.type = KVM_IRQ_ROUTING_MSI,
		.flags = msi->flags,
		.u.msi = { .address_lo = msi->address_lo, .address_hi = msi->address_hi, .data = msi->data,
			   .devid = msi->devid },
	};

	if (!vm->arch->irqchip_in_kernel(vm) || (msi->flags & ~KVM_MSI_VALID_DEVID))
		return -EINVAL;
	return vm->arch->set_irq(vm, &e, KVM_IRQ_SOURCE_USER, 1, false);
}

/* --- acknowledgements --- */

void kvm_irq_ack_register(struct vm *vm, struct kvm_irq_ack *ack)
{
	pthread_mutex_lock(&vm->ack_lock);
	ack->next = vm->acks;
	vm->acks = ack;
	pthread_mutex_unlock(&vm->ack_lock);
	if (vm->arch->acks_changed)
		vm->arch->acks_changed(vm);
}

void kvm_irq_ack_unregister(struct vm *vm, struct kvm_irq_ack *ack)
{
	struct kvm_irq_ack **at;

	pthread_mutex_lock(&vm->ack_lock);
	for (at = &vm->acks; *at; at = &(*at)->next) {
		if (*at == ack) {
			*at = ack->next;
			break;
		}
	}
	pthread_mutex_unlock(&vm->ack_lock);
	if (vm->arch->acks_changed)
		vm->arch->acks_changed(vm);
}

void kvm_irq_acked(struct vm *vm, unsigned int irqchip, unsigned int pin)
{
	int gsi = kvm_irq_gsi_of(vm, irqchip, pin);

	if (gsi >= 0)
		kvm_irq_acked_gsi(vm, (uint32_t)gsi);
}

void kvm_irq_acked_gsi(struct vm *vm, uint32_t gsi)
{
	pthread_mutex_lock(&vm->ack_lock);
	for (struct kvm_irq_ack *a = vm->acks, *next; a; a = next) {
		next = a->next;
		if (a->gsi == gsi)
			a->fn(a);
	}
	pthread_mutex_unlock(&vm->ack_lock);
}

bool kvm_irq_has_ack(struct vm *vm, unsigned int irqchip, unsigned int pin)
{
	int gsi = kvm_irq_gsi_of(vm, irqchip, pin);
	bool found = false;

	if (gsi < 0)
		return false;
	pthread_mutex_lock(&vm->ack_lock);
	for (const struct kvm_irq_ack *a = vm->acks; a && !found; a = a->next)
		found = a->gsi == (uint32_t)gsi;
	pthread_mutex_unlock(&vm->ack_lock);
	return found;
}
