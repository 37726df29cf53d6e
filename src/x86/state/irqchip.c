// SPDX-License-Identifier: MIT
/*
 * The interrupt controllers of a VM: who joins whom.
 *
 * A line (GSI) has routes (kvm/irqroute.c); each leads to a pin of the PIC or
 * the I/O APIC or is a message (x86_vm_set_irq()).  The chips report
 * acknowledged pins back to the lines.  No lock of a chip is held while
 * anything outside it is called, but for message delivery, which takes none.
 */
#include <errno.h>

#include "host/clock.h"
#include "x86/state/state.h"

#define PIC_CHIP_PINS 8

/* --- what the chips ask of the VM --------------------------------------------------- */

static void pin_acked(void *vm, unsigned int chip, unsigned int pin)
{
	struct x86_vm *x = vm;

	kvm_irq_acked(x->vm, chip, chip == KVM_IRQCHIP_PIC_SLAVE ? pin - PIC_CHIP_PINS : pin);
}

static void pin_masked(void *vm, unsigned int chip, unsigned int pin, bool masked)
{
	struct x86_vm *x = vm;

	if (chip == KVM_IRQCHIP_PIC_SLAVE)
		pin -= PIC_CHIP_PINS;
	if (!masked && atomic_load(&x->has_pit) && kvm_irq_gsi_of(x->vm, chip, pin) == 0)
		pit_unmasked(&x->pit);
}

static bool pin_ack_wanted(void *vm, unsigned int chip, unsigned int pin)
{
	struct x86_vm *x = vm;

	if (chip == KVM_IRQCHIP_PIC_SLAVE)
		pin -= PIC_CHIP_PINS;
	return kvm_irq_has_ack(x->vm, chip, pin);
}

static void ioapic_retry_later(void *vm, uint64_t delay_ns)
{
	struct x86_vm *x = vm;

	host_timer_arm(&x->ioapic_timer, host_now_ns() + delay_ns);
}

static void ioapic_timer_fn(struct host_timer *t)
{
	ioapic_retry(&container_of(t, struct x86_vm, ioapic_timer)->ioapic);
}

static void pic_raised(void *vm)
{
	struct x86_vm *x = vm;
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, x->vm)
		if (lapic_accept_pic_intr(&x86_vcpu_of(vcpu)->lapic))
			x86_vcpu_poke(x86_vcpu_of(vcpu), X86_REQ_EVENT);
}

static bool pic_accepted(void *vm)
{
	struct x86_vm *x = vm;
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, x->vm)
		if (lapic_accept_pic_intr(&x86_vcpu_of(vcpu)->lapic))
			return true;
	return false;
}

static void bus_eoi(void *vm, unsigned int index, uint8_t vector, bool level)
{
	struct x86_vm *x = vm;

	if (x86_irqchip_kernel(x)) {
		ioapic_eoi(&x->ioapic, index, vector, level);
		return;
	}
	/* Split: the client's I/O APIC is told by an exit of the vCPU that finished. */
	for (unsigned int i = 0; i < atomic_load(&x->vm->nvcpus); i++) {
		struct x86_vcpu *v = x86_vcpu_of(x->vm->vcpu[i]);

		if (v->lapic.index == index) {
			v->ioapic_eoi = vector;
			x86_request(&v->cpu, X86_REQ_EVENT);
		}
	}
}

const struct apic_bus_ops x86_apic_bus_ops = { .eoi = bus_eoi };

static const struct ioapic_ops ioapic_ops = {
	.pins = { pin_acked, pin_masked, pin_ack_wanted },
	.retry_later = ioapic_retry_later,
};

static const struct pic_ops pic_ops = {
	.pins = { pin_acked, pin_masked, pin_ack_wanted },
	.raised = pic_raised,
	.accepted = pic_accepted,
};

/* --- routes ---------------------------------------------------------------------- */

bool x86_vm_irqchip_in_kernel(struct vm *vm)
{
	return x86_irqchip_any(x86_vm_of(vm));
}

bool x86_vm_irqfd_allowed(struct vm *vm, const struct kvm_irqfd *args)
{
	struct x86_vm *x = x86_vm_of(vm);

	return args->flags & KVM_IRQFD_FLAG_RESAMPLE ? x86_irqchip_kernel(x) : x86_irqchip_any(x);
}

static int msi_to_msg(const struct x86_vm *x, const struct kvm_irq_routing_entry *e, struct apic_msg *m)
{
	return apic_msg_from_msi(m, e->u.msi.address_lo, e->u.msi.address_hi, e->u.msi.data,
				 x->bus.x2apic_format);
}

int x86_vm_check_route(struct vm *vm, const struct kvm_irq_routing_entry *e)
{
	switch (e->type) {
	case KVM_IRQ_ROUTING_IRQCHIP:
		return atomic_load(&x86_vm_of(vm)->irqchip) == X86_IRQCHIP_SPLIT ? -EINVAL : 0;
	case KVM_IRQ_ROUTING_MSI:
		return msi_to_msg(x86_vm_of(vm), e, &(struct apic_msg){ 0 });
	case KVM_IRQ_ROUTING_HV_SINT:
		return 0;
	default:
		return -EINVAL;
	}
}

static int set_msi(struct x86_vm *x, const struct kvm_irq_routing_entry *e, int level)
{
	struct apic_msg m;

	if (msi_to_msg(x, e, &m))
		return -EINVAL;
	if (!level)
		return -1;
	return apic_bus_deliver(&x->bus, NULL, &m, NULL);
}

int x86_vm_set_irq(struct vm *vm, const struct kvm_irq_routing_entry *e, int source, int level,
		   bool line_status)
{
	struct x86_vm *x = x86_vm_of(vm);
	unsigned int pin;

	if (e->type == KVM_IRQ_ROUTING_MSI)
		return set_msi(x, e, level);
	/* It has no level: lowering one is nothing. */
	if (e->type == KVM_IRQ_ROUTING_HV_SINT)
		return level ? hv_sint_raise(x, e->u.hv_sint.vcpu, e->u.hv_sint.sint) : -1;
	if (e->type != KVM_IRQ_ROUTING_IRQCHIP || !x86_irqchip_kernel(x))
		return -1;
	pin = e->u.irqchip.pin;
	if (e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC)
		return ioapic_set_irq(&x->ioapic, pin, (enum irq_source)source, level, line_status);
	if (e->u.irqchip.irqchip == KVM_IRQCHIP_PIC_SLAVE)
		pin += PIC_CHIP_PINS;
	return pic_set_irq(&x->pic, pin, (enum irq_source)source, level);
}

struct eoi_scan {
	struct x86_vm *x;
	uint64_t vectors[4];
};

static void scan_route(void *ptr, const struct kvm_irq_routing_entry *e)
{
	struct eoi_scan *s = ptr;
	struct apic_msg m;

	if (e->type != KVM_IRQ_ROUTING_MSI || e->gsi >= s->x->split_pins)
		return;
	if (!msi_to_msg(s->x, e, &m) && m.level_trig)
		s->vectors[m.vector / 64] |= 1ULL << (m.vector % 64);
}

/*
 * Split: which vectors end at the client's I/O APIC is known from its routes.
 * Else a pin may have become that of a GSI whose acknowledgements are wanted.
 */
void x86_vm_routing_changed(struct vm *vm)
{
	struct eoi_scan s = { .x = x86_vm_of(vm) };

	hv_routes_changed(vm);
	if (x86_irqchip_kernel(s.x))
		ioapic_acks_changed(&s.x->ioapic);
	if (atomic_load(&s.x->irqchip) != X86_IRQCHIP_SPLIT)
		return;
	kvm_for_each_route(vm, scan_route, &s);
	apic_bus_set_eoi_vectors(&s.x->bus, s.vectors);
}

void x86_vm_acks_changed(struct vm *vm)
{
	struct x86_vm *x = x86_vm_of(vm);

	if (x86_irqchip_kernel(x))
		ioapic_acks_changed(&x->ioapic);
}

static int default_routes(struct vm *vm)
{
	struct kvm_irq_routing_entry e[2 * PIC_PINS + KVM_IOAPIC_NUM_PINS] = { 0 };
	unsigned int n = 0;

	for (unsigned int gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		if (gsi < PIC_PINS) {
			e[n].gsi = gsi;
			e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
			e[n].u.irqchip.irqchip = gsi / PIC_CHIP_PINS ? KVM_IRQCHIP_PIC_SLAVE :
								       KVM_IRQCHIP_PIC_MASTER;
			e[n++].u.irqchip.pin = gsi % PIC_CHIP_PINS;
		}
		e[n].gsi = gsi;
		e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		e[n++].u.irqchip.pin = gsi;
	}
	return kvm_set_routing(vm, e, n);
}

int x86_irqchip_create(struct x86_vm *x)
{
	int r = host_timer_init(&x->vm->service, &x->ioapic_timer, ioapic_timer_fn);

	if (r)
		return r;
	pic_init(&x->pic, &pic_ops, x);
	ioapic_init(&x->ioapic, &x->bus, &ioapic_ops, x);
	atomic_store(&x->irqchip, X86_IRQCHIP_KERNEL);
	r = default_routes(x->vm);
	if (r) {
		atomic_store(&x->irqchip, X86_IRQCHIP_NONE);
		ioapic_destroy(&x->ioapic);
		pic_destroy(&x->pic);
		host_timer_destroy(&x->ioapic_timer);
	}
	return r;
}

int x86_irqchip_split(struct x86_vm *x, unsigned int pins)
{
	int r = kvm_set_routing(x->vm, NULL, 0);

	if (r)
		return r;
	x->split_pins = pins;
	x->bus.directed_eoi = true;
	atomic_store(&x->irqchip, X86_IRQCHIP_SPLIT);
	return 0;
}

/* --- PIT -------------------------------------------------------------------------- */

static uint64_t pit_now(void *vm)
{
	return host_now_ns();
}

static void pit_arm(void *vm, uint64_t deadline_ns)
{
	struct x86_vm *x = vm;

	if (deadline_ns)
		host_timer_arm(&x->pit_timer, deadline_ns);
	else
		host_timer_disarm(&x->pit_timer);
}

static void pit_tick(void *vm)
{
	struct x86_vm *x = vm;

	kvm_set_irq(x->vm, KVM_IRQ_SOURCE_ARCH, 0, 1, false);
	kvm_set_irq(x->vm, KVM_IRQ_SOURCE_ARCH, 0, 0, false);
	apic_bus_pulse_lint0(&x->bus);
}

static const struct pit_ops pit_ops = { pit_now, pit_arm, pit_tick };

static void pit_timer_fn(struct host_timer *t)
{
	pit_timer_expired(&container_of(t, struct x86_vm, pit_timer)->pit);
}

static void pit_ack_fn(struct kvm_irq_ack *ack)
{
	pit_acked(&container_of(ack, struct x86_vm, pit_ack)->pit);
}

/* With reinjection the PIT counts acknowledgements of GSI 0. */
static void pit_follow_acks(struct x86_vm *x, bool want)
{
	if (want == x->pit_ack_registered)
		return;
	x->pit_ack_registered = want;
	x->pit_ack.gsi = 0;
	x->pit_ack.fn = pit_ack_fn;
	if (want)
		kvm_irq_ack_register(x->vm, &x->pit_ack);
	else
		kvm_irq_ack_unregister(x->vm, &x->pit_ack);
}

static long create_pit(struct vm *vm, uint32_t flags)
{
	struct x86_vm *x = x86_vm_of(vm);
	long r = -EEXIST;

	pthread_mutex_lock(&vm->lock);
	if (!atomic_load(&x->has_pit)) {
		r = host_timer_init(&vm->service, &x->pit_timer, pit_timer_fn);
		if (!r) {
			pit_init(&x->pit, flags & KVM_PIT_SPEAKER_DUMMY, &pit_ops, x);
			pit_follow_acks(x, true);
			atomic_store(&x->has_pit, true);
		}
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

void x86_irqchip_destroy(struct x86_vm *x)
{
	if (atomic_load(&x->has_pit)) {
		pit_follow_acks(x, false);
		host_timer_destroy(&x->pit_timer);
		pit_destroy(&x->pit);
	}
	if (x86_irqchip_kernel(x)) {
		host_timer_destroy(&x->ioapic_timer);
		ioapic_destroy(&x->ioapic);
		pic_destroy(&x->pic);
	}
}

/* --- accesses -------------------------------------------------------------------- */

bool x86_chip_pio(struct x86_vcpu *v, uint16_t port, void *data, uint8_t len, bool write)
{
	struct x86_vm *x = v->vm;

	if (x86_irqchip_kernel(x) &&
	    !(write ? pic_write(&x->pic, port, len, data) : pic_read(&x->pic, port, len, data)))
		return true;
	return atomic_load(&x->has_pit) &&
	       !(write ? pit_write(&x->pit, port, len, data) : pit_read(&x->pit, port, len, data));
}

static bool lapic_mmio(struct x86_vcpu *v, gpa_t gpa, void *data, uint8_t len, bool write)
{
	bool published = x86_vapic_collect(v);
	bool done = !(write ? lapic_write(&v->lapic, gpa, len, data) : lapic_read(&v->lapic, gpa, len, data));

	if (published)
		x86_vapic_publish(v);
	return done;
}

bool x86_chip_mmio(struct x86_vcpu *v, gpa_t gpa, void *data, uint8_t len, bool write)
{
	struct x86_vm *x = v->vm;

	if (v->has_lapic && lapic_mmio(v, gpa, data, len, write))
		return true;
	return x86_irqchip_kernel(x) &&
	       !(write ? ioapic_write(&x->ioapic, gpa, len, data) : ioapic_read(&x->ioapic, gpa, len, data));
}

/* --- ioctls ------------------------------------------------------------------------ */

long x86_ioctl_create_irqchip(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	long r;

	pthread_mutex_lock(&c->vm->lock);
	if (x86_irqchip_any(x))
		r = -EEXIST;
	else if (c->vm->created_vcpus)
		r = -EINVAL;
	else
		r = x86_irqchip_create(x);
	pthread_mutex_unlock(&c->vm->lock);
	return r;
}

long x86_ioctl_get_irqchip(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	struct kvm_irqchip *chip = c->data;

	if (!x86_irqchip_kernel(x))
		return -ENXIO;
	if (chip->chip_id > KVM_IRQCHIP_IOAPIC)
		return -EINVAL;
	if (chip->chip_id == KVM_IRQCHIP_IOAPIC)
		ioapic_get_state(&x->ioapic, &chip->chip.ioapic);
	else
		pic_get_state(&x->pic, chip->chip_id, &chip->chip.pic);
	return 0;
}

long x86_ioctl_set_irqchip(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	const struct kvm_irqchip *chip = c->data;

	if (!x86_irqchip_kernel(x))
		return -ENXIO;
	if (chip->chip_id > KVM_IRQCHIP_IOAPIC)
		return -EINVAL;
	if (chip->chip_id == KVM_IRQCHIP_IOAPIC)
		ioapic_set_state(&x->ioapic, &chip->chip.ioapic);
	else
		pic_set_state(&x->pic, chip->chip_id, &chip->chip.pic);
	return 0;
}

long x86_ioctl_create_pit(struct kvm_call *c)
{
	return create_pit(c->vm, KVM_PIT_SPEAKER_DUMMY);
}

long x86_ioctl_create_pit2(struct kvm_call *c)
{
	const struct kvm_pit_config *config = c->data;

	return create_pit(c->vm, config->flags);
}

long x86_ioctl_get_pit(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	struct kvm_pit_state2 s;

	if (!atomic_load(&x->has_pit))
		return -ENXIO;
	pit_get_state(&x->pit, &s);
	*(struct kvm_pit_state *)c->data = *(struct kvm_pit_state *)&s;
	return 0;
}

long x86_ioctl_set_pit(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);

	if (!atomic_load(&x->has_pit))
		return -ENXIO;
	pit_set_state1(&x->pit, c->data);
	return 0;
}

long x86_ioctl_get_pit2(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);

	if (!atomic_load(&x->has_pit))
		return -ENXIO;
	pit_get_state(&x->pit, c->data);
	return 0;
}

long x86_ioctl_set_pit2(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);

	if (!atomic_load(&x->has_pit))
		return -ENXIO;
	pit_set_state(&x->pit, c->data);
	return 0;
}

long x86_ioctl_reinject_control(struct kvm_call *c)
{
	struct x86_vm *x = x86_vm_of(c->vm);
	struct kvm_reinject_control control;

	/* The request's number says nothing of its argument. */
	if (kvm_copy_in(&control, c->arg, sizeof(control)))
		return -EFAULT;
	if (!atomic_load(&x->has_pit))
		return -ENXIO;
	pthread_mutex_lock(&c->vm->lock);
	pit_set_reinject(&x->pit, control.pit_reinject);
	pit_follow_acks(x, control.pit_reinject);
	pthread_mutex_unlock(&c->vm->lock);
	return 0;
}
