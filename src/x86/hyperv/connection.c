// SPDX-License-Identifier: MIT
/*
 * Connections: by HvCallSignalEvent and HvCallPostMessage a guest reaches a
 * port, which is the client's.  What it has given an eventfd for
 * (KVM_HYPERV_EVENTFD, api.rst 4.113) costs no exit.  TLFS, chapter 11.
 *
 * The list is under hv_vm.lock.  It holds duplicates of the client's eventfds.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "host/memfd.h"
#include "x86/hyperv/hyperv.h"
#include "x86/hyperv/synic.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define FLAG_NUMBER 0xffff00000000ULL   /* of the event: any but 0 is the client's to look at */
#define INPUT_SIZE 8

/* The link to that connection, or to where it would be. */
static struct hv_connection **find(struct hv_vm *hv, uint32_t id)
{
	struct hv_connection **at = &hv->connections;

	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void drop(struct hv_connection *c)
{
	close(c->fd);
	free(c);
}

static int assign(struct hv_vm *hv, uint32_t id, int fd)
{
	struct hv_connection *c = malloc(sizeof(*c)), **at;
	uint64_t eventfd;
	int r = 0;

	if (!c)
		return -ENOMEM;
	*c = (struct hv_connection){ .id = id, .fd = host_eventfd_dup(fd, &eventfd) };
	if (c->fd < 0) {
		r = c->fd;
		free(c);
		return r;
	}
	pthread_mutex_lock(&hv->lock);
	at = find(hv, id);
	if (*at)
		r = -EEXIST;
	else
		*at = c;
	pthread_mutex_unlock(&hv->lock);
	if (r)
		drop(c);
	return r;
}

static int deassign(struct hv_vm *hv, uint32_t id)
{
	struct hv_connection **at, *c;

	pthread_mutex_lock(&hv->lock);
	at = find(hv, id);
	c = *at;
	if (c)
		*at = c->next;
	pthread_mutex_unlock(&hv->lock);
	if (!c)
		return -ENOENT;
	drop(c);
	return 0;
}

long hv_ioctl_eventfd(struct kvm_call *c)
{
	const struct kvm_hyperv_eventfd *e = c->data;
	struct hv_vm *hv = &x86_vm_of(c->vm)->hv;

	if ((e->flags & ~(uint32_t)KVM_HYPERV_EVENTFD_DEASSIGN) || (e->conn_id & ~(uint32_t)KVM_HYPERV_CONN_ID_MASK))
		return -EINVAL;
	return e->flags ? deassign(hv, e->conn_id) : assign(hv, e->conn_id, e->fd);
}

void hv_connections_destroy(struct hv_vm *hv)
{
	struct hv_connection *c;

	while ((c = hv->connections)) {
		hv->connections = c->next;
		drop(c);
	}
}

/* HvCallPostMessage.  A client that has no synthetic interrupt controllers has no ports. */
uint64_t hv_post_message(struct x86_vcpu *v, struct hv_hcall *h)
{
	return atomic_load(&v->hv.synic.active) ? hv_ask_client(v, h) : HV_INVALID_INPUT;
}

static bool signal_connection(struct hv_vm *hv, uint32_t id)
{
	struct hv_connection *c;

	pthread_mutex_lock(&hv->lock);
	c = *find(hv, id);
	if (c)
		host_eventfd_signal(c->fd);
	pthread_mutex_unlock(&hv->lock);
	return c;
}

/* HvCallSignalEvent.  What we do not know the client may. */
uint64_t hv_signal_event(struct x86_vcpu *v, struct hv_hcall *h)
{
	if (!h->fast && ((h->in & (INPUT_SIZE - 1)) || x86_guest_read(v, h->in, &h->in, INPUT_SIZE)))
		return HV_INVALID_ALIGNMENT;
	if (h->in & FLAG_NUMBER)
		return hv_post_message(v, h);
	if (h->in & ~(uint64_t)KVM_HYPERV_CONN_ID_MASK)
		return HV_INVALID_INPUT;
	if (!signal_connection(&v->vm->hv, (uint32_t)h->in))
		return hv_post_message(v, h);
	x86_stat_inc(v->vcpu, X86_STAT_HV_EVENTS);
	return HV_SUCCESS;
}
