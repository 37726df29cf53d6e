// SPDX-License-Identifier: MIT
/*
 * The same random accesses to a real KVM's chips and to ours: each answer and
 * the whole state after each step must agree.  Skipped where there is no KVM.
 *
 * Left out, since there ours is meant to differ or a host's answer varies:
 *  - what time decides (counts and outputs of the PIT, the local APIC's timer);
 *  - the special mask mode, which KVM ignores, and an ICW1 while INTR is up,
 *    which leaves KVM's INTR up (ours follow the data sheet);
 *  - vectors below 16 for the local APIC, which KVM does not report in ESR;
 *  - read-only bits of the LVT, which KVM lets a guest set;
 *  - logical destinations that match nobody, an accident of KVM's tables;
 *  - taking an interrupt of the local APIC: some hosts keep its ISR in hardware.
 */
#include <stdio.h>
#include <sys/ioctl.h>

#include "host.h"
#include "unit.h"

#define STEPS	2000
#define SEEDS	6
#define LAPIC	LAPIC_DEFAULT_BASE
#define IOAPIC	IOAPIC_DEFAULT_BASE
#define ONE_OF(p, array) ((array)[rnd(p) % (sizeof(array) / sizeof((array)[0]))])

struct pair {
	struct host_vm host;
	struct fake_vm *ours;
	uint64_t rng;
	char last[80];		/* what was done, for the message */
};

static uint32_t rnd(struct pair *p)
{
	p->rng ^= p->rng << 13;
	p->rng ^= p->rng >> 7;
	p->rng ^= p->rng << 17;
	return p->rng >> 16;
}

#define agree(p, host, ours) agree_at(p, host, ours, __LINE__)

static void agree_at(struct pair *p, int64_t host, int64_t ours, int line)
{
	if (host != ours)
		fail_msg("line %d: after %s: host %llx, ours %llx", line, p->last, (long long)host,
			 (long long)ours);
}

static struct fake_cpu *cpu(struct pair *p)
{
	return &p->ours->cpu[0];
}

static void out(struct pair *p, uint16_t port, uint8_t v)
{
	snprintf(p->last, sizeof(p->last), "out %x, %x", port, v);
	agree(p, host_out(&p->host, port, v), 0);
	fake_out(p->ours, port, v);
}

static void in(struct pair *p, uint16_t port, uint8_t mask)
{
	snprintf(p->last, sizeof(p->last), "in %x", port);
	agree(p, host_in(&p->host, port) & mask, fake_in(p->ours, port) & mask);
}

static void mmio_write(struct pair *p, uint64_t gpa, uint32_t v)
{
	snprintf(p->last, sizeof(p->last), "write %llx, %x", (unsigned long long)gpa, v);
	agree(p, host_mmio_write(&p->host, gpa, v), 0);
	if (gpa >= LAPIC)
		lapic_write(&cpu(p)->l, gpa, 4, &v);
	else
		ioapic_write(&p->ours->ioapic, gpa, 4, &v);
}

static void mmio_read(struct pair *p, uint64_t gpa)
{
	uint32_t v = 0;

	snprintf(p->last, sizeof(p->last), "read %llx", (unsigned long long)gpa);
	if (gpa >= LAPIC)
		lapic_read(&cpu(p)->l, gpa, 4, &v);
	else
		ioapic_read(&p->ours->ioapic, gpa, 4, &v);
	agree(p, host_mmio_read(&p->host, gpa), v);
}

/* --- steps ------------------------------------------------------------------ */

static bool pic_ready(struct pair *p)
{
	return lapic_accept_pic_intr(&cpu(p)->l) && pic_output(&p->ours->pic);
}

static void take(struct pair *p)
{
	int host;

	if (!pic_ready(p) && lapic_pending_vector(&cpu(p)->l) >= 0)
		return;
	snprintf(p->last, sizeof(p->last), "interrupt");
	host = host_interrupt(&p->host);
	agree(p, host, pic_ready(p) ? pic_ack(&p->ours->pic) : -1);
}

/* As KVM adds up what the chips answer. */
static void line(struct pair *p)
{
	unsigned int gsi = rnd(p) % 24, level = rnd(p) & 1;
	int host, r = -1, one;

	if (!gsi)
		return;		/* the PIT's */
	snprintf(p->last, sizeof(p->last), "line %u=%u", gsi, level);
	host = host_line(&p->host, gsi, level);
	one = ioapic_set_irq(&p->ours->ioapic, gsi, IRQ_SOURCE_USER, level, true);
	if (one >= 0)
		r = one;
	one = gsi < 16 ? pic_set_irq(&p->ours->pic, gsi, IRQ_SOURCE_USER, level) : -1;
	if (one >= 0)
		r = one + (r < 0 ? 0 : r);
	agree(p, host, r);
}

static void pic_init_both(struct pair *p)
{
	uint8_t icw4 = 1 | (rnd(p) & 0x12);
	const struct {
		uint16_t port;
		uint8_t v;
	} row[] = {
		{ 0x20, 0x11 }, { 0x21, 0x30 }, { 0x21, 4 }, { 0x21, icw4 },
		{ 0xa0, 0x11 }, { 0xa1, 0x38 }, { 0xa1, 2 }, { 0xa1, icw4 },
		/* The timer stays masked: when it ticks is the host's affair. */
		{ 0x21, (rnd(p) & rnd(p) & ~4) | 1 }, { 0xa1, rnd(p) & rnd(p) },
	};

	out(p, 0x21, 0xff);
	for (unsigned int i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		out(p, row[i].port, row[i].v);
	mmio_write(p, LAPIC + 0x350, 0x700);
}

static void pic_command(struct pair *p)
{
	static const uint16_t port[] = { 0x20, 0xa0 };
	uint8_t v = rnd(p);

	if (v & 0x10)
		v = 0x20;	/* an ICW1 belongs to its sequence */
	else if (v & 0x08)
		v &= ~0x40;
	out(p, ONE_OF(p, port), v);
}

static void pic_mask(struct pair *p)
{
	static const uint16_t port[] = { 0x21, 0xa1, 0x4d0, 0x4d1 };
	uint16_t at = ONE_OF(p, port);

	out(p, at, (rnd(p) & rnd(p)) | (at == 0x21));
}

static void pic_look(struct pair *p)
{
	static const uint16_t port[] = { 0x20, 0xa0, 0x21, 0xa1, 0x4d0, 0x4d1 };
	uint16_t at = ONE_OF(p, port);
	struct kvm_pic_state s;

	/* Older hosts leave out bit 7 of a poll. */
	pic_get_state(&p->ours->pic, at >> 7 & 1, &s);
	in(p, at, s.poll ? 0x7f : 0xff);
}

static uint32_t lapic_value(struct pair *p, unsigned int off)
{
	uint32_t v = rnd(p);

	switch (off) {
	case 0x20:
		return 0;
	case 0x80:
		return v & 0x3f;
	case 0xd0:
		return v | 1u << 24;
	case 0xe0:
		return v & 1 ? ~0u : 0x0fffffff;
	case 0xf0:
		return v | (v >> 28 ? 0x100 : 0);
	case 0x300:
		return (v & 0xcc8ff) | 0x20;
	case 0x310:
		return v & 0x03000000;
	case 0x320:
		return (v & 0xff) | 0x10000;
	case 0x330 ... 0x370:
		return v & ~0x5000;
	}
	return v;
}

static void lapic_write_step(struct pair *p)
{
	static const uint16_t off[] = {
		0x20, 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x300, 0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370,
		0x3e0, 0x30, 0x100, 0x180, 0x200,
	};
	uint16_t at = ONE_OF(p, off);

	mmio_write(p, LAPIC + at, lapic_value(p, at));
}

static void lapic_look(struct pair *p)
{
	static const uint16_t off[] = {
		0x20, 0x80, 0xd0, 0xe0, 0xf0, 0x100, 0x160, 0x180, 0x1c0, 0x200, 0x220, 0x270, 0x300, 0x310,
		0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0,
	};

	mmio_read(p, LAPIC + ONE_OF(p, off));
}

static void ioapic_write_step(struct pair *p)
{
	uint8_t reg = rnd(p) % 0x44;
	uint32_t v = rnd(p);

	if (reg == 0x10)
		return;		/* the PIT's pin */
	if (reg > 0x10 && !(reg & 1))
		v = (v & ~0xf00u & ~(v >> 31 << 16)) | 0x40;
	else if (reg > 0x10)
		v &= 0x03ffffff;
	mmio_write(p, IOAPIC, reg);
	mmio_write(p, IOAPIC + 0x10, v);
}

static void ioapic_look(struct pair *p)
{
	mmio_read(p, IOAPIC + (rnd(p) & 1) * 0x10);
}

static void pit_write_step(struct pair *p)
{
	static const uint16_t port[] = { 0x41, 0x42, 0x43, 0x43, 0x61 };
	uint16_t at = ONE_OF(p, port);
	uint8_t v = rnd(p);

	/* Counter 0 keeps still, or the host's would tick. */
	if (at == 0x43 && !(v & 0xc0))
		v |= 0x40;
	if (at == 0x43 && v >> 6 == 3)
		v &= ~2;
	out(p, at, v);
}

static void pit_look(struct pair *p)
{
	struct kvm_pit_state2 s;
	unsigned int n = 1 + rnd(p) % 2;

	/* Only a latched status is not a matter of time, but for the output. */
	pit_get_state(&p->ours->pit, &s);
	in(p, 0x40 + n, s.channels[n].status_latched ? 0x7f : 0);
	in(p, 0x61, 0xcf);
}

/* --- state ------------------------------------------------------------------ */

static void compare(struct pair *p, const char *what, const void *host, const void *ours, size_t n)
{
	const uint8_t *a = host, *b = ours;

	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i])
			fail_msg("after %s: %s, byte %zx: host %02x, ours %02x", p->last, what, i, a[i],
				 b[i]);
}

static void compare_chips(struct pair *p)
{
	struct kvm_irqchip chip;
	struct kvm_pic_state pic;
	struct kvm_ioapic_state ioapic;

	for (unsigned int n = 0; n < 2; n++) {
		chip.chip_id = n;
		assert_int_equal(ioctl(p->host.vm, KVM_GET_IRQCHIP, &chip), 0);
		pic_get_state(&p->ours->pic, n, &pic);
		compare(p, n ? "slave" : "master", &chip.chip.pic, &pic, sizeof(pic));
	}
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	assert_int_equal(ioctl(p->host.vm, KVM_GET_IRQCHIP, &chip), 0);
	ioapic_get_state(&p->ours->ioapic, &ioapic);
	compare(p, "I/O APIC", &chip.chip.ioapic, &ioapic, sizeof(ioapic));
}

/* What the host's KVM lacks or has more of: its version, PPR that is computed when asked, ESR, the count. */
static void hide(uint8_t *regs)
{
	static const uint16_t off[] = { 0x31, 0x32, 0x33, 0xa0, 0x280, 0x390, 0x391, 0x392, 0x393 };

	for (unsigned int i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		regs[off[i]] = 0;
	memset(regs + 0x2f0, 0, 4);
}

static void compare_lapic(struct pair *p)
{
	struct kvm_lapic_state host, ours;

	assert_int_equal(ioctl(p->host.vcpu, KVM_GET_LAPIC, &host), 0);
	lapic_get_state(&cpu(p)->l, &ours);
	hide((uint8_t *)host.regs);
	hide((uint8_t *)ours.regs);
	compare(p, "local APIC", host.regs, ours.regs, 0x400);
}

static void compare_pit(struct pair *p)
{
	struct kvm_pit_state2 host, ours;

	assert_int_equal(ioctl(p->host.vm, KVM_GET_PIT2, &host), 0);
	pit_get_state(&p->ours->pit, &ours);
	for (unsigned int n = 0; n < 3; n++) {
		struct kvm_pit_channel_state *c[2] = { &host.channels[n], &ours.channels[n] };

		for (unsigned int i = 0; i < 2; i++) {
			c[i]->count_load_time = 0;
			c[i]->latched_count = 0;
			c[i]->status &= 0x7f;
		}
	}
	compare(p, "PIT", &host, &ours, sizeof(host));
}

/* --- the runs ----------------------------------------------------------------- */

static const struct {
	unsigned int weight;
	void (*step)(struct pair *p);
} steps[] = {
	{ 4, take }, { 4, line },
	{ 2, pic_command }, { 1, pic_mask }, { 1, pic_look },
	{ 2, lapic_write_step }, { 1, lapic_look },
	{ 3, ioapic_write_step }, { 1, ioapic_look },
	{ 2, pit_write_step }, { 1, pit_look },
};

static void step(struct pair *p)
{
	unsigned int total = 0, n, i = 0;

	for (n = 0; n < sizeof(steps) / sizeof(steps[0]); n++)
		total += steps[n].weight;
	n = rnd(p) % total;
	while (n >= steps[i].weight)
		n -= steps[i++].weight;
	steps[i].step(p);
}

static void start(struct pair *p)
{
	struct lapic *l = &cpu(p)->l;

	/* One vCPU without CPUID, as the host's. */
	for (unsigned int i = 1; i < FAKE_CPUS; i++)
		lapic_set_base(&p->ours->cpu[i].l, LAPIC_DEFAULT_BASE, true);
	lapic_set_features(l, 0, 40);
	lapic_reset(l, false);
	fake_out(p->ours, 0x21, 0xff);	/* as host_open() did */
	mmio_write(p, LAPIC + 0xd0, 1u << 24);
	mmio_write(p, LAPIC + 0xf0, 0x1ff);
}

static void same_as_host(void **state)
{
	struct pair p;

	for (unsigned int seed = 1; seed <= SEEDS; seed++) {
		p = (struct pair){ .rng = seed * 0x9e3779b97f4a7c15ull | 1 };
		if (host_open(&p.host)) {
			skip();
			return;
		}
		p.ours = fake_new();
		start(&p);
		for (unsigned int i = 0; i < STEPS; i++) {
			if (i % 40 == 0 && !pic_output(&p.ours->pic))
				pic_init_both(&p);
			step(&p);
			compare_chips(&p);
			compare_lapic(&p);
			compare_pit(&p);
		}
		fake_free(p.ours);
		host_close(&p.host);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_host) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
