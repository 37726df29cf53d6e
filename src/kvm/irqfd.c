/* SPDX-License-Identifier: MIT */
/*
 * irqfds: an eventfd that raises an interrupt, watched by the VM's thread.
 *
 * With a resamplefd the interrupt is level triggered: raising sets the line on
 * a source of its own, which all such irqfds of a GSI share; when the guest
 * acknowledges, the line is lowered once and every resamplefd of the GSI is
 * signalled, so that whoever still wants attention raises it again.
 *
 * The library holds duplicates of the client's eventfds.  KVM forgets an irqfd
 * when its eventfd is closed; here it stays, harmless, until it is deassigned
 * or the VM ends, since nobody can signal it any more.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "host/memfd.h"
#include "host/service.h"
#include "kvm/irq.h"

_Static_assert(sizeof(struct kvm_irqfd) == 32, "UAPI");

struct kvm_resampler {
	struct vm *vm;
	struct kvm_irq_ack ack;
	struct kvm_irqfd_item *items;   /* under ack_lock */
	struct kvm_resampler *next;     /* under irqfd_lock */
};

struct kvm_irqfd_item {
	struct host_watch watch;        /* watch.fd is our duplicate */
	struct vm *vm;
	uint32_t gsi;
	uint64_t eventfd_id;
	int resample_fd;                /* -1: none */
	struct kvm_resampler *resampler;
	struct kvm_irqfd_item *next_of_resampler, *next;
};

static void on_event(struct host_watch *w)
{
	struct kvm_irqfd_item *f = container_of(w, struct kvm_irqfd_item, watch);
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	uint64_t count;

	/* The client's descriptor may block, and the client may have read it first. */
	if (poll(&p, 1, 0) != 1 || read(w->fd, &count, sizeof(count)) != sizeof(count))
		return;
	kvm_stat_add(&f->vm->stats, KVM_VM_STAT_IRQFD_SIGNALS, 1);
	if (f->resampler) {
		kvm_set_irq(f->vm, KVM_IRQ_SOURCE_RESAMPLE, f->gsi, 1, false);
		return;
	}
	kvm_set_irq(f->vm, KVM_IRQ_SOURCE_USER, f->gsi, 1, false);
	kvm_set_irq(f->vm, KVM_IRQ_SOURCE_USER, f->gsi, 0, false);
}

/* ack_lock is held. */
static void on_ack(struct kvm_irq_ack *ack)
{
	struct kvm_resampler *rs = container_of(ack, struct kvm_resampler, ack);

	kvm_set_irq(rs->vm, KVM_IRQ_SOURCE_RESAMPLE, ack->gsi, 0, false);
	for (struct kvm_irqfd_item *f = rs->items; f; f = f->next_of_resampler)
		host_eventfd_signal(f->resample_fd);
}

/* --- under irqfd_lock --- */

static int join_resampler(struct vm *vm, struct kvm_irqfd_item *f)
{
	struct kvm_resampler *rs = vm->resamplers;

	while (rs && rs->ack.gsi != f->gsi)
		rs = rs->next;
	if (!rs) {
		rs = calloc(1, sizeof(*rs));
		if (!rs)
			return -ENOMEM;
		rs->vm = vm;
		rs->ack.gsi = f->gsi;
		rs->ack.fn = on_ack;
		rs->next = vm->resamplers;
		vm->resamplers = rs;
		kvm_irq_ack_register(vm, &rs->ack);
	}
	pthread_mutex_lock(&vm->ack_lock);
	f->next_of_resampler = rs->items;
	rs->items = f;
	pthread_mutex_unlock(&vm->ack_lock);
	f->resampler = rs;
	return 0;
}

static void leave_resampler(struct vm *vm, struct kvm_irqfd_item *f)
{
	struct kvm_resampler *rs = f->resampler, **at;
	struct kvm_irqfd_item **item;

	pthread_mutex_lock(&vm->ack_lock);
	for (item = &rs->items; *item != f; item = &(*item)->next_of_resampler)
		;
	*item = f->next_of_resampler;
	pthread_mutex_unlock(&vm->ack_lock);
	if (rs->items)
		return;
	kvm_irq_ack_unregister(vm, &rs->ack);
	kvm_set_irq(vm, KVM_IRQ_SOURCE_RESAMPLE, f->gsi, 0, false);
	for (at = &vm->resamplers; *at != rs; at = &(*at)->next)
		;
	*at = rs->next;
	free(rs);
}

static void free_item(struct kvm_irqfd_item *f)
{
	if (f->watch.fd >= 0)
		close(f->watch.fd);
	if (f->resample_fd >= 0)
		close(f->resample_fd);
	free(f);
}

static int insert(struct vm *vm, struct kvm_irqfd_item *f)
{
	int r = 0;

	for (struct kvm_irqfd_item *o = vm->irqfds; o; o = o->next)
		if (o->eventfd_id == f->eventfd_id)
			return -EBUSY;
	if (f->resample_fd >= 0)
		r = join_resampler(vm, f);
	if (r)
		return r;
	/* Level triggered: an event that is pending already is seen at once. */
	r = host_watch_add(&vm->service, &f->watch);
	if (r) {
		if (f->resampler)
			leave_resampler(vm, f);
		return r;
	}
	f->next = vm->irqfds;
	vm->irqfds = f;
	return 0;
}

/* --- KVM_IRQFD --- */

static int open_item(struct kvm_irqfd_item *f, const struct kvm_irqfd *args)
{
	uint64_t id;

	f->watch.fd = host_eventfd_dup((int)args->fd, &f->eventfd_id);
	if (f->watch.fd < 0)
		return f->watch.fd;
	if (!(args->flags & KVM_IRQFD_FLAG_RESAMPLE))
		return 0;
	f->resample_fd = host_eventfd_dup((int)args->resamplefd, &id);
	return f->resample_fd < 0 ? f->resample_fd : 0;
}

static int assign(struct vm *vm, const struct kvm_irqfd *args)
{
	struct kvm_irqfd_item *f;
	int r;

	if (!vm->arch->irqchip_in_kernel(vm))
		return -EINVAL;
	if (vm->arch->irqfd_allowed && !vm->arch->irqfd_allowed(vm, args))
		return -EINVAL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->vm = vm;
	f->gsi = args->gsi;
	f->watch.fd = f->resample_fd = -1;
	f->watch.fn = on_event;
	r = open_item(f, args);
	if (!r) {
		pthread_mutex_lock(&vm->irqfd_lock);
		r = insert(vm, f);
		pthread_mutex_unlock(&vm->irqfd_lock);
	}
	if (r)
		free_item(f);
	return r;
}

static int deassign(struct vm *vm, const struct kvm_irqfd *args)
{
	struct kvm_irqfd_item **at, *f;
	uint64_t id;
	int r = host_eventfd_id((int)args->fd, &id);

	if (r)
		return r;
	pthread_mutex_lock(&vm->irqfd_lock);
	for (at = &vm->irqfds; (f = *at);) {
		if (f->eventfd_id != id || f->gsi != args->gsi) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		host_watch_del(&vm->service, &f->watch);
		if (f->resampler)
			leave_resampler(vm, f);
		free_item(f);
	}
	pthread_mutex_unlock(&vm->irqfd_lock);
	return 0;
}

int kvm_irqfd(struct vm *vm, const struct kvm_irqfd *args)
{
	if (args->flags & ~(uint32_t)(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	return args->flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign(vm, args) : assign(vm, args);
}

void kvm_irqfds_destroy(struct vm *vm)
{
	struct kvm_irqfd_item *f;
	struct kvm_resampler *rs;

	while ((f = vm->irqfds)) {
		vm->irqfds = f->next;
		free_item(f);
	}
	while ((rs = vm->resamplers)) {
		vm->resamplers = rs->next;
		free(rs);
	}
}
