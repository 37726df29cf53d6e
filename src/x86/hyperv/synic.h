/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's synthetic interrupt controller of a virtual processor, its four
 * timers, and connections.  TLFS, chapters 11 and 12; api.rst 8.2, 8.11 and
 * 4.113.
 *
 * A synthetic interrupt (SINT) is a vector of the local APIC.  Who raises one
 * puts a message or an event flag into the guest's pages first: the client does
 * so for its devices, and raises it by a route (KVM_IRQ_ROUTING_HV_SINT); we do
 * so for timers.
 *
 * Threads: all is the vCPU's owner's, but for what is atomic.
 */
#ifndef X86_HYPERV_SYNIC_H
#define X86_HYPERV_SYNIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "host/service.h"

struct hv_hcall;
struct hv_vm;
struct kvm_call;
struct kvm_enable_cap;
struct vcpu;
struct vm;
struct x86_vcpu;
struct x86_vm;

#define HV_SINTS 16
#define HV_STIMERS 4

struct hv_stimer {
	uint64_t config, count;         /* as the registers show them */
	uint64_t expires;               /* reference time; 0: not started */
	uint64_t deadline;              /* the same on CLOCK_MONOTONIC, ns; 0: does not run */
	bool undelivered;               /* expired, and the guest could not be told */
};

struct hv_synic {
	_Atomic bool active;            /* KVM_CAP_HYPERV_SYNIC or _SYNIC2 */
	bool keeps_pages;               /* _SYNIC2: enabling a page does not clear it */
	uint64_t control, version, event_page, message_page;
	_Atomic uint64_t sint[HV_SINTS];
	_Atomic int32_t gsi[HV_SINTS];  /* that leads there; -1: none */
	struct hv_stimer timer[HV_STIMERS];
	uint8_t due;                    /* timers to look at before the next instruction */
	uint64_t deadline;              /* the earliest of theirs; 0: none runs */
	struct host_timer host_timer;   /* wakes for it; there once active */
};

/* A connection whose events the client wants on an eventfd. */
struct hv_connection {
	uint32_t id;
	int fd;
	struct hv_connection *next;
};

/* --- synic.c --- */
void hv_synic_init(struct x86_vcpu *v);
void hv_synic_destroy(struct x86_vcpu *v);
/** hv_synic_enable - KVM_ENABLE_CAP of KVM_CAP_HYPERV_SYNIC and _SYNIC2. */
int hv_synic_enable(struct vcpu *vcpu, const struct kvm_enable_cap *cap);
int hv_synic_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int hv_synic_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);
/**
 * hv_sint_raise - the synthetic interrupt @sint of the virtual processor @vp_index.  Any thread.  How many local APICs
 * took it; -EINVAL: there is none; -ENOENT: masked.
 */
int hv_sint_raise(struct x86_vm *vm, uint32_t vp_index, uint32_t sint);
/** hv_sint_ended - @vector has ended, by an EOI or (@automatic) as it was taken. */
void hv_sint_ended(struct x86_vcpu *v, uint8_t vector, bool automatic);
/** hv_routes_changed - learns which GSIs lead to synthetic interrupts: their ends are told. */
void hv_routes_changed(struct vm *vm);

/* Header and payload of a message (HV_MESSAGE), as far as ours go. */
struct hv_timer_message {
	uint32_t type;
	uint8_t payload_size, flags;
	uint16_t reserved;
	uint64_t sender;
	uint32_t timer, reserved2;
	uint64_t expiration_time, delivery_time;
};
_Static_assert(sizeof(struct hv_timer_message) == 40, "the guest's layout");

/**
 * hv_message_deliver - puts @m where @sint has its message, and raises it.  0; -EAGAIN: there still is one, and its
 * flag now asks for an EOM, unless @no_retry: then @m is dropped; -ENOENT: no page, or masked; -EFAULT.
 */
int hv_message_deliver(struct x86_vcpu *v, unsigned int sint, const struct hv_timer_message *m, bool no_retry);

/* --- stimer.c --- */
int hv_stimer_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int hv_stimer_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);
/** hv_stimers_retry - there may be room for a message of @sint now. */
void hv_stimers_retry(struct x86_vcpu *v, unsigned int sint);
/** hv_stimers_serve - those that have expired, or were changed.  At an instruction boundary. */
void hv_stimers_serve(struct x86_vcpu *v);

/* --- connection.c --- */
long hv_ioctl_eventfd(struct kvm_call *c);
void hv_connections_destroy(struct hv_vm *hv);
uint64_t hv_signal_event(struct x86_vcpu *v, struct hv_hcall *h);
uint64_t hv_post_message(struct x86_vcpu *v, struct hv_hcall *h);

#endif
