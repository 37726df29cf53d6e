// SPDX-License-Identifier: MIT
#include "fake.h"

#include <stdlib.h>
#include <string.h>

static uint64_t cpu_now(void *p)
{
	return ((struct fake_cpu *)p)->vm->now;
}

static uint64_t cpu_tsc(void *p)
{
	struct fake_cpu *c = p;

	return c->vm->now * 2 + c->tsc_offset;
}

static uint32_t cpu_khz(void *p)
{
	return FAKE_KHZ;
}

static void cpu_arm(void *p, uint64_t deadline)
{
	((struct fake_cpu *)p)->deadline = deadline;
}

static void cpu_request(void *p)
{
	((struct fake_cpu *)p)->requests++;
}

static void cpu_kick(void *p)
{
	__atomic_fetch_add(&((struct fake_cpu *)p)->kicks, 1, __ATOMIC_RELAXED);
}

static void cpu_nmi(void *p)
{
	((struct fake_cpu *)p)->nmis++;
}

static void cpu_smi(void *p)
{
	((struct fake_cpu *)p)->smis++;
}

static void cpu_unhalt(void *p)
{
	((struct fake_cpu *)p)->unhalts++;
}

static void cpu_tpr(void *p, bool write)
{
	struct fake_cpu *c = p;

	if (write)
		c->tpr_writes++;
	else
		c->tpr_reads++;
}

static void cpu_ended(void *p, uint8_t vector, bool automatic)
{
	struct fake_cpu *c = p;

	c->ended++;
	c->ended_auto += automatic;
	c->last_ended = vector;
}

static const struct lapic_ops cpu_ops = {
	.now_ns = cpu_now,
	.guest_tsc = cpu_tsc,
	.tsc_khz = cpu_khz,
	.arm_timer = cpu_arm,
	.request = cpu_request,
	.kick = cpu_kick,
	.nmi = cpu_nmi,
	.smi = cpu_smi,
	.unhalt = cpu_unhalt,
	.tpr_access = cpu_tpr,
	.ended = cpu_ended,
};

static void vm_eoi(void *p, unsigned int index, uint8_t vector, bool level)
{
	struct fake_vm *vm = p;

	vm->nr_eoi++;
	ioapic_eoi(&vm->ioapic, index, vector, level);
}

static const struct apic_bus_ops bus_ops = { .eoi = vm_eoi };

static void vm_acked(void *p, unsigned int chip, unsigned int pin)
{
	struct fake_vm *vm = p;

	vm->acked[chip][pin]++;
	if (chip == KVM_IRQCHIP_IOAPIC && (int)pin == vm->lower_on_ack)
		ioapic_set_irq(&vm->ioapic, pin, IRQ_SOURCE_RESAMPLE, false, false);
	if (pin == 0)
		pit_acked(&vm->pit);
}

static void vm_masked(void *p, unsigned int chip, unsigned int pin, bool masked)
{
	struct fake_vm *vm = p;

	if (masked)
		vm->masked[chip][pin]++;
	else
		vm->unmasked[chip][pin]++;
	if (pin == 0 && !masked)
		pit_unmasked(&vm->pit);
}

static bool vm_ack_wanted(void *p, unsigned int chip, unsigned int pin)
{
	return ((struct fake_vm *)p)->ack_wanted >> pin & 1;
}

static void vm_retry_later(void *p, uint64_t delay)
{
	struct fake_vm *vm = p;

	vm->retries++;
	vm->retry_delay = delay;
}

static const struct ioapic_ops ioapic_ops = {
	.pins = { vm_acked, vm_masked, vm_ack_wanted },
	.retry_later = vm_retry_later,
};

static void vm_raised(void *p)
{
	((struct fake_vm *)p)->raised++;
}

static bool vm_accepted(void *p)
{
	return lapic_accept_pic_intr(&((struct fake_vm *)p)->cpu[0].l);
}

static const struct pic_ops pic_ops = {
	.pins = { vm_acked, vm_masked, vm_ack_wanted },
	.raised = vm_raised,
	.accepted = vm_accepted,
};

static uint64_t vm_now(void *p)
{
	return ((struct fake_vm *)p)->now;
}

static void vm_arm(void *p, uint64_t deadline)
{
	((struct fake_vm *)p)->pit_deadline = deadline;
}

static void vm_tick(void *p)
{
	struct fake_vm *vm = p;

	vm->ticks++;
	vm->overlaps += vm->ticking++ > 0;
	if (vm->pit_to_pic) {
		pic_set_irq(&vm->pic, 0, IRQ_SOURCE_PIT, true);
		if (vm->eager)
			pit_acked(&vm->pit);
		pic_set_irq(&vm->pic, 0, IRQ_SOURCE_PIT, false);
	}
	apic_bus_pulse_lint0(&vm->bus);
	vm->ticking--;
}

static const struct pit_ops pit_ops = { vm_now, vm_arm, vm_tick };

struct fake_vm *fake_new(void)
{
	struct fake_vm *vm = aligned_alloc(64, (sizeof(*vm) + 63) / 64 * 64);

	memset(vm, 0, sizeof(*vm));
	vm->now = 1000000;
	vm->lower_on_ack = -1;
	apic_bus_init(&vm->bus, &bus_ops, vm);
	for (unsigned int i = 0; i < FAKE_CPUS; i++) {
		struct fake_cpu *c = &vm->cpu[i];

		c->vm = vm;
		lapic_init(&c->l, &vm->bus, i, i == 0, &cpu_ops, c);
		lapic_join(&c->l);
		lapic_set_features(&c->l, LAPIC_FEAT_X2APIC | LAPIC_FEAT_TSC_DEADLINE | LAPIC_FEAT_INTEL, 40);
		fake_set_mmio(c, 0xf0, 0x1ff);
	}
	ioapic_init(&vm->ioapic, &vm->bus, &ioapic_ops, vm);
	pic_init(&vm->pic, &pic_ops, vm);
	pit_init(&vm->pit, true, &pit_ops, vm);
	return vm;
}

void fake_free(struct fake_vm *vm)
{
	pit_destroy(&vm->pit);
	pic_destroy(&vm->pic);
	ioapic_destroy(&vm->ioapic);
	free(vm);
}

static uint64_t next_deadline(struct fake_vm *vm)
{
	uint64_t next = vm->pit_deadline ? vm->pit_deadline : UINT64_MAX;

	for (unsigned int i = 0; i < FAKE_CPUS; i++)
		if (vm->cpu[i].deadline && vm->cpu[i].deadline < next)
			next = vm->cpu[i].deadline;
	return next;
}

static void call_timers(struct fake_vm *vm)
{
	if (vm->pit_deadline && vm->pit_deadline <= vm->now) {
		vm->pit_deadline = 0;
		pit_timer_expired(&vm->pit);
	}
	for (unsigned int i = 0; i < FAKE_CPUS; i++) {
		if (!vm->cpu[i].deadline || vm->cpu[i].deadline > vm->now)
			continue;
		vm->cpu[i].deadline = 0;
		lapic_timer_expired(&vm->cpu[i].l);
	}
}

void fake_run(struct fake_vm *vm, uint64_t ns)
{
	uint64_t end = vm->now + ns;

	for (;;) {
		uint64_t next = next_deadline(vm);

		if (next > end)
			break;
		if (next > vm->now)
			vm->now = next;
		call_timers(vm);
	}
	vm->now = end;
}

uint32_t fake_mmio(struct fake_cpu *c, unsigned int off)
{
	uint32_t v = 0;

	lapic_read(&c->l, LAPIC_DEFAULT_BASE + off, 4, &v);
	return v;
}

void fake_set_mmio(struct fake_cpu *c, unsigned int off, uint32_t v)
{
	lapic_write(&c->l, LAPIC_DEFAULT_BASE + off, 4, &v);
}

void fake_x2apic(struct fake_cpu *c)
{
	lapic_set_base(&c->l, lapic_base(&c->l) | LAPIC_BASE_X2APIC, false);
}

uint32_t fake_ioapic(struct fake_vm *vm, uint8_t reg)
{
	uint32_t sel = reg, v = 0;

	ioapic_write(&vm->ioapic, IOAPIC_DEFAULT_BASE, 4, &sel);
	ioapic_read(&vm->ioapic, IOAPIC_DEFAULT_BASE + 0x10, 4, &v);
	return v;
}

void fake_set_ioapic(struct fake_vm *vm, uint8_t reg, uint32_t v)
{
	uint32_t sel = reg;

	ioapic_write(&vm->ioapic, IOAPIC_DEFAULT_BASE, 4, &sel);
	ioapic_write(&vm->ioapic, IOAPIC_DEFAULT_BASE + 0x10, 4, &v);
}

/* The upper half first, as a guest must that does not want it sent to the old destination. */
void fake_redir(struct fake_vm *vm, unsigned int pin, uint64_t entry)
{
	fake_set_ioapic(vm, 0x11 + 2 * pin, entry >> 32);
	fake_set_ioapic(vm, 0x10 + 2 * pin, entry);
}

static bool pic_port(uint16_t port)
{
	return port < 0x40 || port >= 0xa0;
}

uint8_t fake_in(struct fake_vm *vm, uint16_t port)
{
	uint8_t v = 0xff;

	if (pic_port(port))
		pic_read(&vm->pic, port, 1, &v);
	else
		pit_read(&vm->pit, port, 1, &v);
	return v;
}

void fake_out(struct fake_vm *vm, uint16_t port, uint8_t v)
{
	if (pic_port(port))
		pic_write(&vm->pic, port, 1, &v);
	else
		pit_write(&vm->pit, port, 1, &v);
}

int fake_fixed(struct fake_cpu *c, uint8_t vector, bool level)
{
	struct apic_msg msg = { .vector = vector, .level_trig = level, .assert = true };

	return lapic_accept(&c->l, &msg);
}
