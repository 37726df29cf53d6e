// SPDX-License-Identifier: MIT
/*
 * The synthetic interrupt controller: registers, delivery of messages, ends of
 * interrupts.  As KVM of Linux 6.1.
 */
#include "x86/hyperv/synic.h"

#include <errno.h>
#include <stddef.h>

#include "kvm/trace.h"
#include "x86/hyperv/hyperv.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define CONTROL_ENABLE 1ULL
#define SINT_VECTOR 0xffULL
#define SINT_MASKED (1ULL << 16)
#define SINT_AUTO_EOI (1ULL << 17)
#define FIRST_VECTOR 16                 /* those below are exceptions' */
#define VERSION 1

#define MESSAGE_SIZE 256
#define MESSAGE_NONE 0
#define MESSAGE_PENDING 1               /* of the flags: another one waits */

void hv_synic_init(struct x86_vcpu *v)
{
	struct hv_synic *s = &v->hv.synic;

	s->version = VERSION;
	for (unsigned int i = 0; i < HV_SINTS; i++) {
		atomic_store(&s->sint[i], SINT_MASKED);
		atomic_store(&s->gsi[i], -1);
	}
}

void hv_synic_destroy(struct x86_vcpu *v)
{
	if (atomic_load(&v->hv.synic.active))
		host_timer_destroy(&v->hv.synic.host_timer);
}

static void timer_fn(struct host_timer *t)
{
	x86_vcpu_poke(container_of(t, struct x86_vcpu, hv.synic.host_timer), X86_REQ_TIMER);
}

int hv_synic_enable(struct vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	struct x86_vcpu *v = x86_vcpu_of(vcpu);
	struct hv_synic *s = &v->hv.synic;
	int r;

	if (cap->flags || (cap->cap == KVM_CAP_HYPERV_SYNIC2 && cap->args[0]) || !v->has_lapic)
		return -EINVAL;
	if (!atomic_load(&s->active)) {
		r = host_timer_init(&vcpu->vm->service, &s->host_timer, timer_fn);
		if (r)
			return r;
	}
	s->keeps_pages = cap->cap == KVM_CAP_HYPERV_SYNIC2;
	s->control = CONTROL_ENABLE;
	/* Others look at the rest once they see this. */
	atomic_store(&s->active, true);
	return 0;
}

/* --- synthetic interrupts ------------------------------------------------------------------- */

/* -1: masked. */
static int vector_of(const struct hv_synic *s, unsigned int sint)
{
	uint64_t value = atomic_load(&s->sint[sint]);

	return value & SINT_MASKED ? -1 : (int)(value & SINT_VECTOR);
}

/* Several may have one vector; it ends by itself if any of them says so. */
static void tell_lapic(struct x86_vcpu *v)
{
	uint64_t watched[4] = { 0 }, auto_eoi[4] = { 0 };

	if (!v->has_lapic)
		return;
	for (unsigned int i = 0; i < HV_SINTS; i++) {
		int vector = vector_of(&v->hv.synic, i);

		if (vector < FIRST_VECTOR)
			continue;
		watched[vector / 64] |= 1ULL << vector % 64;
		if (atomic_load(&v->hv.synic.sint[i]) & SINT_AUTO_EOI)
			auto_eoi[vector / 64] |= 1ULL << vector % 64;
	}
	lapic_set_watched(&v->lapic, watched, auto_eoi);
}

/* Nested Hyper-V writes a masked 0 as it starts, which is no error. */
static int set_sint(struct x86_vcpu *v, unsigned int sint, uint64_t value, bool host)
{
	if ((value & SINT_VECTOR) < FIRST_VECTOR && !host && !(value & SINT_MASKED))
		return -EINVAL;
	atomic_store(&v->hv.synic.sint[sint], value);
	tell_lapic(v);
	return 0;
}

/* Any thread.  How many took it: 1, or 0 where the local APIC is off. */
static int raise_sint(struct x86_vcpu *v, unsigned int sint)
{
	int vector = vector_of(&v->hv.synic, sint), r;
	struct apic_msg m = {
		.vector = (uint8_t)vector, .delivery = APIC_FIXED, .shorthand = APIC_TO_SELF, .assert = true,
	};

	if (vector < 0)
		return -ENOENT;
	r = apic_bus_deliver(&v->vm->bus, &v->lapic, &m, NULL);
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_synic_set_irq", "vcpu_id %u sint %u vector %d ret %d", v->vcpu->id, sint, vector, r);
	return r;
}

/* The one with an active controller; NULL. */
static struct x86_vcpu *find(struct x86_vm *vm, uint32_t vp_index)
{
	struct x86_vcpu *v = hv_vcpu_by_index(vm, vp_index);

	return v && atomic_load(&v->hv.synic.active) ? v : NULL;
}

int hv_sint_raise(struct x86_vm *vm, uint32_t vp_index, uint32_t sint)
{
	struct x86_vcpu *v = find(vm, vp_index);

	return v && sint < HV_SINTS ? raise_sint(v, sint) : -EINVAL;
}

static void learn_gsi(void *ptr, const struct kvm_irq_routing_entry *e)
{
	struct x86_vcpu *v;

	if (e->type != KVM_IRQ_ROUTING_HV_SINT || e->u.hv_sint.sint >= HV_SINTS)
		return;
	v = find(ptr, e->u.hv_sint.vcpu);
	if (v)
		atomic_store(&v->hv.synic.gsi[e->u.hv_sint.sint], (int32_t)e->gsi);
}

void hv_routes_changed(struct vm *vm)
{
	kvm_for_each_route(vm, learn_gsi, x86_vm_of(vm));
}

/* Its message may have been taken, and its device may want to hear. */
static void acked(struct x86_vcpu *v, unsigned int sint)
{
	int32_t gsi = atomic_load(&v->hv.synic.gsi[sint]);

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_notify_acked_sint", "vcpu_id %u sint %u", v->vcpu->id, sint);
	hv_stimers_retry(v, sint);
	if (gsi >= 0)
		kvm_irq_acked_gsi(v->vcpu->vm, (uint32_t)gsi);
}

void hv_sint_ended(struct x86_vcpu *v, uint8_t vector, bool automatic)
{
	if (automatic) {
		x86_stat_inc(v->vcpu, X86_STAT_HV_AUTO_EOIS);
		return;
	}
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_synic_send_eoi", "vcpu_id %u vector %d", v->vcpu->id, vector);
	x86_stat_inc(v->vcpu, X86_STAT_HV_SINT_EOIS);
	for (unsigned int i = 0; i < HV_SINTS; i++)
		if (vector_of(&v->hv.synic, i) == vector)
			acked(v, i);
}

/* --- messages --------------------------------------------------------------------------------- */

/*
 * The TLFS has the flag set before the place is looked at; the guest cannot tell, since it is its own
 * processor that comes here.
 */
int hv_message_deliver(struct x86_vcpu *v, unsigned int sint, const struct hv_timer_message *m, bool no_retry)
{
	gpa_t gpa = (v->hv.synic.message_page & GUEST_PAGE_MASK) + sint * MESSAGE_SIZE;
	const uint8_t pending = MESSAGE_PENDING;
	uint32_t type;
	int r;

	if (!(v->hv.synic.message_page & HV_PAGE_ENABLE))
		return -ENOENT;
	if (x86_guest_read(v, gpa, &type, sizeof(type)))
		return -EFAULT;
	if (type != MESSAGE_NONE) {
		if (no_retry)
			return 0;
		x86_stat_inc(v->vcpu, X86_STAT_HV_MESSAGES_BUSY);
		if (x86_guest_write(v, gpa + offsetof(struct hv_timer_message, flags), &pending, sizeof(pending)))
			return -EFAULT;
		return -EAGAIN;
	}
	if (x86_guest_write(v, gpa, m, sizeof(*m)))
		return -EFAULT;
	x86_stat_inc(v->vcpu, X86_STAT_HV_MESSAGES);
	r = raise_sint(v, sint);
	return r > 0 ? 0 : r ? r : -EFAULT;
}

/* --- registers -------------------------------------------------------------------------------- */

static void tell_client(struct x86_vcpu *v, uint32_t index)
{
	const struct hv_synic *s = &v->hv.synic;
	struct kvm_hyperv_exit exit = { .type = KVM_EXIT_HYPERV_SYNIC };

	exit.u.synic.msr = index;
	exit.u.synic.control = s->control;
	exit.u.synic.evt_page = s->event_page;
	exit.u.synic.msg_page = s->message_page;
	hv_exit_later(v, &exit);
}

static int clear_page(struct x86_vcpu *v, uint64_t value)
{
	static const uint8_t zeros[GUEST_PAGE_SIZE];

	return x86_guest_write(v, value & GUEST_PAGE_MASK, zeros, sizeof(zeros));
}

/* What the client has a copy of. */
static int set_shown(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	struct hv_synic *s = &v->hv.synic;
	bool page = index != HV_MSR_SCONTROL;

	if (page && (value & HV_PAGE_ENABLE) && !host && !s->keeps_pages && clear_page(v, value))
		return -EINVAL;
	*(page ? index == HV_MSR_SIMP ? &s->message_page : &s->event_page : &s->control) = value;
	if (!host)
		tell_client(v, index);
	return 0;
}

/* End of message: all that wait may try again. */
static void end_of_message(struct x86_vcpu *v)
{
	if (!atomic_load(&v->hv.synic.active))
		return;
	for (unsigned int i = 0; i < HV_SINTS; i++)
		acked(v, i);
}

int hv_synic_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host)
{
	struct hv_synic *s = &v->hv.synic;

	/* A client that restores zeroes need not have enabled it. */
	if (!atomic_load(&s->active) && (!host || value))
		return -EINVAL;
	if (unlikely(v->vm->traced))
		kvm_trace("kvm_hv_synic_set_msr", "vcpu_id %u msr 0x%x data 0x%llx host %d", v->vcpu->id, index,
			  (unsigned long long)value, host);
	switch (index) {
	case HV_MSR_SCONTROL:
	case HV_MSR_SIEFP:
	case HV_MSR_SIMP:
		return set_shown(v, index, value, host);
	case HV_MSR_SVERSION:
		if (!host)
			return -EINVAL;
		s->version = value;
		return 0;
	case HV_MSR_EOM:
		end_of_message(v);
		return 0;
	default:
		return set_sint(v, index - HV_MSR_SINT0, value, host);
	}
}

int hv_synic_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host)
{
	const struct hv_synic *s = &v->hv.synic;

	if (!atomic_load(&s->active) && !host)
		return -EINVAL;
	switch (index) {
	case HV_MSR_SCONTROL: *value = s->control; break;
	case HV_MSR_SVERSION: *value = s->version; break;
	case HV_MSR_SIEFP: *value = s->event_page; break;
	case HV_MSR_SIMP: *value = s->message_page; break;
	case HV_MSR_EOM: *value = 0; break;
	default: *value = atomic_load(&s->sint[index - HV_MSR_SINT0]); break;
	}
	return 0;
}
