// SPDX-License-Identifier: MIT
/*
 * Hyper-V's synthetic interrupts and timers; TLFS chapters 11 and 12, api.rst
 * 8.2, 8.11, 4.52 and 4.113.  Nothing here depends on how fast anything is: where
 * time has to pass, the guest sleeps or looks at its clock.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "hyperv.h"

#define SCONTROL 0x40000080
#define SVERSION 0x40000081
#define SIEFP 0x40000082
#define SIMP 0x40000083
#define EOM 0x40000084
#define SINT(n) (0x40000090 + (n))
#define CONFIG(n) (0x400000b0 + 2 * (n))
#define COUNT(n) (0x400000b1 + 2 * (n))
#define TIME_REF 0x40000020
#define HV_EOI 0x40000070

#define MASKED (1ULL << 16)
#define AUTO_EOI (1ULL << 17)
/* Of a timer's configuration. */
#define ENABLE 1ULL
#define PERIODIC 2ULL
#define AUTO_ENABLE 8ULL
#define DIRECT(vector) ((uint64_t)(vector) << 4 | 1ULL << 12)
#define TO_SINT(n) ((uint64_t)(n) << 16)

/* Vectors, and the ports on which their handlers tell. */
#define V1 0x18
#define V2 0x19
#define PORT(vector) (0x20 + (vector))

#define AT_WINDOW (GUEST_CODE + 0x40)   /* lets in what waits, or HV_DONE */
#define AT_SLEEP (GUEST_CODE + 0x50)    /* until there is one */

#define MESSAGES 0x5000
#define EVENTS 0x6000
#define MESSAGE(g, n) ((volatile struct message *)((g)->mem + MESSAGES + 256 * (n)))
#define GSI 5
#define MS 10000                        /* in units of the reference time */

struct message {
	uint32_t type;
	uint8_t size, flags, pad[2];
	uint64_t sender;
	uint32_t timer, pad2;
	uint64_t expired, delivered;
};

/* --- the guest ------------------------------------------------------------------------------- */

static void set_lapic(struct guest *g)
{
	struct kvm_lapic_state s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(s.regs + 0xf0, &(uint32_t){ 0x1ff }, 4);
	api_ok(api_ioctl(g->vcpu, KVM_SET_LAPIC, &s));
}

static bool in_service(struct guest *g, uint8_t vector)
{
	struct kvm_lapic_state s;
	uint32_t word;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(&word, s.regs + 0x100 + vector / 32 * 0x10, 4);
	return word >> (vector % 32) & 1;
}

/* Without a controller yet.  @split: the I/O APIC is the client's. */
static struct guest guest_with(struct cpuid_table *t, bool split)
{
	struct guest g;
	int vm;

	if (!hv_there() || api_cap(api_sys(), KVM_CAP_HYPERV_SYNIC) <= 0)
		skip();
	vm = api_vm();
	api_ok(split ? guest_enable(vm, KVM_CAP_SPLIT_IRQCHIP, 24) : api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	g = hv_guest_on(vm, t);
	/* sti; nop; cli; out done; and 1: sti; hlt; jmp 1b */
	memcpy(g.mem + AT_WINDOW, (const uint8_t[]){ 0xfb, 0x90, 0xfa, 0xe6, HV_DONE }, 5);
	memcpy(g.mem + AT_SLEEP, (const uint8_t[]){ 0xfb, 0xf4, 0xeb, 0xfc }, 4);
	LONG_VECTOR(&g, V1, 0x1a00, 0xe6, PORT(V1));
	LONG_VECTOR(&g, V2, 0x1b00, 0xe6, PORT(V2));
	set_lapic(&g);
	return g;
}

static struct guest plain(struct cpuid_table *t)
{
	return guest_with(t, false);
}

static struct guest synic(void)
{
	struct guest g = plain(NULL);

	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 0));
	return g;
}

static void begin(struct guest *g, uint64_t rip, uint64_t rcx, uint64_t value)
{
	struct kvm_regs r = {
		.rip = rip, .rsp = GUEST_STACK, .rflags = 2, .rcx = rcx, .rax = (uint32_t)value, .rdx = value >> 32,
	};

	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
}

/* The port on which the guest comes back: of a vector that waited, or HV_DONE. */
static uint16_t window(struct guest *g)
{
	begin(g, AT_WINDOW, 0, 0);
	guest_run(g, KVM_EXIT_IO);
	return g->run->io.port;
}

static uint16_t sleep_for_one(struct guest *g)
{
	begin(g, AT_SLEEP, 0, 0);
	guest_run(g, KVM_EXIT_IO);
	return g->run->io.port;
}

static void set(struct guest *g, uint32_t index, uint64_t value)
{
	assert_int_equal(guest_set_msr(g, index, value), 1);
}

static uint64_t get(struct guest *g, uint32_t index)
{
	uint64_t value;

	assert_int_equal(guest_get_msr(g, index, &value), 1);
	return value;
}

static void write_msr(struct guest *g, uint32_t index, uint64_t value)
{
	assert_int_equal(hv_wrmsr(g, index, value), HV_DONE);
}

static uint64_t reference_time(struct guest *g)
{
	uint64_t value;

	assert_int_equal(hv_rdmsr(g, TIME_REF, &value), HV_DONE);
	return value;
}

static void wait_until(struct guest *g, uint64_t time)
{
	while (reference_time(g) < time)
		;
}

/* A message of SINT @n becomes V1. */
static void take_messages(struct guest *g, unsigned int n)
{
	set(g, SIMP, MESSAGES | 1);
	set(g, SINT(n), V1);
}

/* --- registers -------------------------------------------------------------------------------- */

static void test_enable(void **state)
{
	struct kvm_enable_cap flags = { .cap = KVM_CAP_HYPERV_SYNIC, .flags = 1 };
	struct guest g = plain(NULL);

	api_fails(EINVAL, guest_enable(g.vm, KVM_CAP_HYPERV_SYNIC, 0));
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_ENABLE_CAP, &flags));
	api_fails(EINVAL, guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 1));
	/* As long as it is not: nothing for the guest, and for the client what a reset would leave. */
	assert_int_equal(hv_wrmsr(&g, SINT(0), V1), HV_GP);
	assert_int_equal(hv_wrmsr(&g, CONFIG(0), 0), HV_GP);
	assert_int_equal(guest_set_msr(&g, SCONTROL, 1), 0);
	assert_int_equal(guest_set_msr(&g, COUNT(0), 1), 0);
	set(&g, SCONTROL, 0);
	set(&g, COUNT(3), 0);
	assert_int_equal(get(&g, SINT(2)), MASKED);
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC, 0));
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 0));
	assert_int_equal(get(&g, SCONTROL), 1);
	write_msr(&g, SINT(0), V1);
	guest_end(&g);
	/* There has to be a local APIC. */
	g = GUEST(false, 0xf4);
	api_fails(EINVAL, guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC, 0));
	guest_end(&g);
}

static void test_registers(void **state)
{
	struct guest g = synic();
	uint64_t value;

	assert_int_equal(hv_rdmsr(&g, SVERSION, &value), HV_DONE);
	assert_int_equal(value, 1);
	assert_int_equal(hv_wrmsr(&g, SVERSION, 1), HV_GP);
	assert_int_equal(hv_rdmsr(&g, EOM, &value), HV_DONE);
	assert_int_equal(value, 0);
	for (unsigned int n = 0; n < 16; n++) {
		assert_int_equal(hv_rdmsr(&g, SINT(n), &value), HV_DONE);
		assert_int_equal(value, MASKED);
	}
	/* Vectors of exceptions are none, unless it is masked, or the client's wish. */
	assert_int_equal(hv_wrmsr(&g, SINT(4), 15), HV_GP);
	assert_int_equal(hv_wrmsr(&g, SINT(4), 15 | AUTO_EOI), HV_GP);
	write_msr(&g, SINT(4), MASKED);
	write_msr(&g, SINT(4), 16);
	set(&g, SINT(4), 0);
	assert_int_equal(hv_rdmsr(&g, 0x40000085, &value), HV_GP);
	assert_int_equal(hv_rdmsr(&g, 0x400000a0, &value), HV_GP);
	assert_int_equal(hv_rdmsr(&g, 0x400000b8, &value), HV_GP);
	guest_end(&g);
}

/* Their bits in leaf 3, EAX, where they are enforced. */
static void test_enforced(void **state)
{
	static const struct {
		uint32_t index;
		uint8_t bit;
	} row[] = { { SCONTROL, 2 }, { EOM, 2 }, { SINT(15), 2 }, { CONFIG(0), 3 }, { COUNT(3), 3 } };
	struct cpuid_table *t;
	uint64_t value;
	struct guest g;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		g = synic();
		api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1));
		assert_int_equal(hv_rdmsr(&g, row[i].index, &value), HV_DONE);
		guest_end(&g);
		t = hv_leaves();
		guest_leaf(t, HV_FEATURES, 0)->eax &= ~(1U << row[i].bit);
		g = plain(t);
		api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 0));
		assert_int_equal(hv_rdmsr(&g, row[i].index, &value), HV_DONE);
		api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1));
		assert_int_equal(hv_rdmsr(&g, row[i].index, &value), HV_GP);
		guest_end(&g);
	}
}

/* KVM_EXIT_HYPERV_SYNIC for what the guest writes to @index. */
static void check_exit(struct guest *g, uint32_t index, uint64_t value, uint64_t control, uint64_t events,
		       uint64_t messages)
{
	const struct kvm_hyperv_exit *e = &g->run->hyperv;

	begin(g, GUEST_CODE, index, value);
	guest_run(g, KVM_EXIT_HYPERV);
	assert_int_equal(e->type, KVM_EXIT_HYPERV_SYNIC);
	assert_int_equal(e->u.synic.msr, index);
	assert_int_equal(e->u.synic.control, control);
	assert_int_equal(e->u.synic.evt_page, events);
	assert_int_equal(e->u.synic.msg_page, messages);
	/* The instruction is done. */
	guest_port(g, HV_DONE);
}

static void check_pages(bool cleared)
{
	struct guest g = plain(NULL);

	api_ok(guest_enable(g.vcpu, cleared ? KVM_CAP_HYPERV_SYNIC : KVM_CAP_HYPERV_SYNIC2, 0));
	memset(g.mem + MESSAGES, 0x55, 2 * PAGE);
	check_exit(&g, SIMP, MESSAGES, 1, 0, MESSAGES);
	assert_int_equal(g.mem[MESSAGES], 0x55);
	check_exit(&g, SIMP, MESSAGES | 1, 1, 0, MESSAGES | 1);
	assert_int_equal(g.mem[MESSAGES], cleared ? 0 : 0x55);
	assert_int_equal(g.mem[MESSAGES + PAGE - 1], cleared ? 0 : 0x55);
	assert_int_equal(g.mem[EVENTS], 0x55);
	check_exit(&g, SIEFP, EVENTS | 1, 1, EVENTS | 1, MESSAGES | 1);
	assert_int_equal(g.mem[EVENTS], cleared ? 0 : 0x55);
	check_exit(&g, SCONTROL, 0, 0, EVENTS | 1, MESSAGES | 1);
	/* A page that is not there cannot be cleared. */
	if (cleared)
		assert_int_equal(hv_wrmsr(&g, SIMP, 0x7000001), HV_GP);
	else
		check_exit(&g, SIMP, 0x7000001, 0, EVENTS | 1, 0x7000001);
	/* What the client writes is nothing to tell it of, and clears nothing. */
	g.mem[EVENTS] = 0x55;
	set(&g, SIEFP, EVENTS | 1);
	assert_int_equal(window(&g), HV_DONE);
	assert_int_equal(g.mem[EVENTS], 0x55);
	guest_end(&g);
}

static void test_exits(void **state)
{
	check_pages(true);
	check_pages(false);
}

/* --- interrupts ------------------------------------------------------------------------------- */

static void route(struct guest *g, uint32_t vp, uint32_t sint)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e;
	} r = { .head.nr = 1, .e = { .gsi = GSI, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = { vp, sint } } };

	api_ok(api_ioctl(g->vm, KVM_SET_GSI_ROUTING, &r));
}

/* What KVM_IRQ_LINE_STATUS says. */
static int raise_line(struct guest *g, int level)
{
	struct kvm_irq_level l = { .irq = GSI, .level = level };

	api_ok(api_ioctl(g->vm, KVM_IRQ_LINE_STATUS, &l));
	return l.status;
}

static void test_route(void **state)
{
	struct guest g = synic();

	route(&g, 0, 3);
	assert_int_equal(raise_line(&g, 1), -1);        /* masked */
	write_msr(&g, SINT(3), V1);
	assert_int_equal(window(&g), HV_DONE);
	assert_int_equal(raise_line(&g, 1), 1);
	assert_int_equal(raise_line(&g, 0), -1);
	assert_int_equal(window(&g), PORT(V1));
	write_msr(&g, HV_EOI, 0);
	write_msr(&g, SINT(3), V2);
	assert_int_equal(raise_line(&g, 1), 1);
	assert_int_equal(window(&g), PORT(V2));
	write_msr(&g, HV_EOI, 0);
	assert_int_equal(window(&g), HV_DONE);
	/* There are sixteen. */
	route(&g, 0, 16);
	assert_int_equal(raise_line(&g, 1), -1);
	guest_end(&g);
}

/* The route names a VP index, which is the client's to choose. */
static void test_vp_index(void **state)
{
	struct guest g = synic();

	write_msr(&g, SINT(3), V1);
	set(&g, 0x40000002, 9);
	route(&g, 0, 3);
	assert_int_equal(raise_line(&g, 1), -1);
	route(&g, 9, 3);
	assert_int_equal(raise_line(&g, 1), 1);
	assert_int_equal(window(&g), PORT(V1));
	guest_end(&g);
}

/* Of a vCPU without a controller there is none to raise. */
static void test_inactive(void **state)
{
	struct guest g = plain(NULL);

	route(&g, 0, 3);
	assert_int_equal(raise_line(&g, 1), -1);
	guest_end(&g);
}

static bool signalled(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	return poll(&p, 1, 0) == 1 && read(fd, &n, sizeof(n)) == sizeof(n);
}

static void add_irqfd(struct guest *g, int fd, int resample)
{
	struct kvm_irqfd e = { .fd = (uint32_t)fd, .gsi = GSI };

	if (resample >= 0) {
		e.flags = KVM_IRQFD_FLAG_RESAMPLE;
		e.resamplefd = (uint32_t)resample;
	}
	api_ok(api_ioctl(g->vm, KVM_IRQFD, &e));
}

/* The guest sleeps, and an eventfd wakes it; its end of interrupt is what the resamplefd hears of, and nothing before. */
static void test_irqfd(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), resample = eventfd(0, EFD_NONBLOCK);
	struct guest g = synic();
	uint64_t ends = api_linked() ? guest_stat(g.vcpu, "hv_sint_eois") : 0;

	route(&g, 0, 3);
	write_msr(&g, SINT(3), V1);
	add_irqfd(&g, fd, resample);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(write(fd, &(uint64_t){ 1 }, 8), 8);
		assert_int_equal(sleep_for_one(&g), PORT(V1));
		assert_true(in_service(&g, V1));
		assert_false(signalled(resample));
		write_msr(&g, HV_EOI, 0);
		assert_true(signalled(resample));
	}
	/* One that ends by itself is heard of by the end of the message. */
	write_msr(&g, SINT(3), V1 | AUTO_EOI);
	assert_int_equal(write(fd, &(uint64_t){ 1 }, 8), 8);
	assert_int_equal(sleep_for_one(&g), PORT(V1));
	write_msr(&g, HV_EOI, 0);
	assert_false(signalled(resample));
	write_msr(&g, EOM, 0);
	assert_true(signalled(resample));
	if (api_linked())
		assert_int_equal(guest_stat(g.vcpu, "hv_sint_eois"), ends + 3);
	guest_end(&g);
	close(fd);
	close(resample);
}

/* The same beside an I/O APIC of the client's, which hears nothing of them; there is no resampling then. */
static void test_split(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), resample = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd e = {
		.fd = (uint32_t)fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = (uint32_t)resample,
	};
	struct guest g = guest_with(NULL, true);

	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 0));
	route(&g, 0, 3);
	write_msr(&g, SINT(3), V1);
	api_fails(EINVAL, api_ioctl(g.vm, KVM_IRQFD, &e));
	add_irqfd(&g, fd, -1);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(write(fd, &(uint64_t){ 1 }, 8), 8);
		assert_int_equal(sleep_for_one(&g), PORT(V1));
		write_msr(&g, HV_EOI, 0);
	}
	guest_end(&g);
	close(fd);
	close(resample);
}

/* With auto-EOI an interrupt is over as it is taken, and the next of its class comes in; without, after the EOI. */
static void check_auto_eoi(uint64_t flag)
{
	struct guest g = synic();
	uint64_t before = api_linked() ? guest_stat(g.vcpu, "hv_auto_eois") : 0;

	route(&g, 0, 3);
	write_msr(&g, SINT(3), V1 | flag);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(raise_line(&g, 1), 1);
		assert_int_equal(window(&g), i && !flag ? HV_DONE : PORT(V1));
		assert_int_equal(in_service(&g, V1), !flag);
	}
	if (!flag) {
		write_msr(&g, HV_EOI, 0);
		assert_int_equal(window(&g), PORT(V1));
	}
	if (api_linked())
		assert_int_equal(guest_stat(g.vcpu, "hv_auto_eois"), before + (flag ? 2 : 0));
	guest_end(&g);
}

static void test_auto_eoi(void **state)
{
	check_auto_eoi(AUTO_EOI);
	check_auto_eoi(0);
}

/* Two with one vector: it ends by itself as long as either says so. */
static void test_shared_vector(void **state)
{
	struct guest g = synic();

	route(&g, 0, 3);
	write_msr(&g, SINT(3), V1);
	write_msr(&g, SINT(4), V1 | AUTO_EOI);
	raise_line(&g, 1);
	assert_int_equal(window(&g), PORT(V1));
	assert_false(in_service(&g, V1));
	write_msr(&g, SINT(4), V2 | AUTO_EOI);
	raise_line(&g, 1);
	assert_int_equal(window(&g), PORT(V1));
	assert_true(in_service(&g, V1));
	guest_end(&g);
}

/* --- timers ----------------------------------------------------------------------------------- */

static void check_message(volatile struct message *m, unsigned int timer, uint64_t expired)
{
	assert_int_equal(m->type, 0x80000010);
	assert_int_equal(m->size, 24);
	assert_int_equal(m->flags, 0);
	assert_int_equal(m->sender, 0);
	assert_int_equal(m->timer, timer);
	assert_int_equal(m->expired, expired);
	assert_true(m->delivered >= expired);
}

/* In the past it expires at once; each of the four has its place, by its SINT. */
static void test_message(void **state)
{
	struct guest g = synic();
	uint64_t told = api_linked() ? guest_stat(g.vcpu, "hv_messages") : 0;

	for (unsigned int n = 0; n < 4; n++) {
		take_messages(&g, 2 + n);
		write_msr(&g, COUNT(n), 7 + n);
		assert_int_equal(MESSAGE(&g, 2 + n)->type, 0);
		write_msr(&g, CONFIG(n), ENABLE | TO_SINT(2 + n));
		assert_int_equal(window(&g), PORT(V1));
		check_message(MESSAGE(&g, 2 + n), n, 7 + n);
		assert_int_equal(get(&g, CONFIG(n)), TO_SINT(2 + n));
		write_msr(&g, HV_EOI, 0);
		assert_int_equal(window(&g), HV_DONE);
	}
	if (api_linked()) {
		assert_int_equal(guest_stat(g.vcpu, "hv_messages"), told + 4);
		assert_int_equal(guest_stat(g.vcpu, "hv_stimers"), told + 4);
	}
	guest_end(&g);
}

/* In the future the guest sleeps till then. */
static void test_one_shot(void **state)
{
	struct guest g = synic();
	uint64_t when;

	take_messages(&g, 2);
	when = reference_time(&g) + 2 * MS;
	write_msr(&g, COUNT(1), when);
	write_msr(&g, CONFIG(1), ENABLE | TO_SINT(2));
	assert_int_equal(sleep_for_one(&g), PORT(V1));
	check_message(MESSAGE(&g, 2), 1, when);
	assert_true(reference_time(&g) >= when);
	guest_end(&g);
}

/* Its place is taken: a flag asks for the end of that message, by EOM or by the end of its interrupt, and then it comes. */
static void check_retry(bool by_eoi)
{
	struct guest g = synic();
	volatile struct message *m = MESSAGE(&g, 2);
	uint64_t busy = api_linked() ? guest_stat(g.vcpu, "hv_messages_busy") : 0;

	take_messages(&g, 2);
	route(&g, 0, 2);
	m->type = 7;
	write_msr(&g, COUNT(0), 5);
	write_msr(&g, CONFIG(0), ENABLE | TO_SINT(2));
	assert_int_equal(window(&g), HV_DONE);
	assert_int_equal(m->flags, 1);
	assert_int_equal(m->type, 7);
	assert_int_equal(get(&g, CONFIG(0)), ENABLE | TO_SINT(2));
	if (api_linked())
		assert_int_equal(guest_stat(g.vcpu, "hv_messages_busy"), busy + 1);
	/* Not before it is told. */
	m->type = 0;
	assert_int_equal(window(&g), HV_DONE);
	assert_int_equal(m->type, 0);
	if (by_eoi) {
		raise_line(&g, 1);
		assert_int_equal(window(&g), PORT(V1));
		assert_int_equal(m->type, 0);
		write_msr(&g, HV_EOI, 0);
	} else {
		write_msr(&g, EOM, 0);
	}
	assert_int_equal(window(&g), PORT(V1));
	check_message(m, 0, 5);
	assert_int_equal(get(&g, CONFIG(0)), TO_SINT(2));
	guest_end(&g);
}

static void test_retry(void **state)
{
	check_retry(false);
	check_retry(true);
}

/* A periodic one drops what finds its place taken, and asks for nothing. */
static void test_periodic_busy(void **state)
{
	struct guest g = synic();
	volatile struct message *m = MESSAGE(&g, 2);
	uint64_t start;

	take_messages(&g, 2);
	m->type = 7;
	write_msr(&g, COUNT(0), MS);
	write_msr(&g, CONFIG(0), ENABLE | PERIODIC | TO_SINT(2));
	start = reference_time(&g);
	wait_until(&g, start + 3 * MS);
	assert_int_equal(m->type, 7);
	assert_int_equal(m->flags, 0);
	assert_int_equal(window(&g), HV_DONE);
	/* And is there again when there is room. */
	m->type = 0;
	assert_int_equal(sleep_for_one(&g), PORT(V1));
	assert_int_equal(m->type, 0x80000010);
	guest_end(&g);
}

/* Ticks are whole periods apart by the clock that the guest sees, however late they come; some may be lost. */
static void test_periodic(void **state)
{
	struct guest g = synic();
	volatile struct message *m = MESSAGE(&g, 2);
	uint64_t first = 0, last = 0, start;

	take_messages(&g, 2);
	start = reference_time(&g);
	write_msr(&g, COUNT(0), MS);
	write_msr(&g, CONFIG(0), ENABLE | PERIODIC | TO_SINT(2));
	for (unsigned int i = 0; i < 20; i++) {
		assert_int_equal(sleep_for_one(&g), PORT(V1));
		check_message(m, 0, m->expired);
		assert_true(m->expired > last);
		last = m->expired;
		first = first ? first : last;
		assert_int_equal((last - first) % MS, 0);
		assert_int_equal(get(&g, CONFIG(0)), ENABLE | PERIODIC | TO_SINT(2));
		m->type = 0;
		write_msr(&g, HV_EOI, 0);
	}
	assert_true(first >= start + MS);
	assert_true(reference_time(&g) >= first + 19 * MS);
	/* Off is off: one may be on its way. */
	write_msr(&g, CONFIG(0), 0);
	window(&g);
	write_msr(&g, HV_EOI, 0);
	m->type = 0;
	wait_until(&g, reference_time(&g) + 3 * MS);
	assert_int_equal(m->type, 0);
	guest_end(&g);
}

static void test_direct(void **state)
{
	struct guest g = synic();
	uint64_t when, told = api_linked() ? guest_stat(g.vcpu, "hv_stimers_direct") : 0;

	/* There is a message page, which stays as it is. */
	take_messages(&g, 0);
	when = reference_time(&g) + 2 * MS;
	write_msr(&g, COUNT(2), when);
	write_msr(&g, CONFIG(2), ENABLE | DIRECT(V2));
	assert_int_equal(sleep_for_one(&g), PORT(V2));
	assert_true(reference_time(&g) >= when);
	assert_int_equal(MESSAGE(&g, 0)->type, 0);
	assert_int_equal(get(&g, CONFIG(2)), DIRECT(V2));
	assert_true(in_service(&g, V2));
	write_msr(&g, HV_EOI, 0);
	/* Its vector is not the controller's. */
	write_msr(&g, COUNT(2), MS);
	write_msr(&g, CONFIG(2), ENABLE | PERIODIC | DIRECT(V2));
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(sleep_for_one(&g), PORT(V2));
		write_msr(&g, HV_EOI, 0);
	}
	write_msr(&g, COUNT(2), 0);
	assert_int_equal(get(&g, CONFIG(2)), PERIODIC | DIRECT(V2));
	if (api_linked())
		assert_true(guest_stat(g.vcpu, "hv_stimers_direct") >= told + 4);
	guest_end(&g);
}

static void on_alarm(int sig)
{
}

/* A guest that asks for ten million ticks a second gets what it can stand, and its client is heard nevertheless. */
static void test_storm(void **state)
{
	struct itimerval on = { { 0, 20000 }, { 0, 20000 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	struct guest g = synic();
	int r, error;

	/* The handler ends its interrupt itself, and the guest sleeps on: wrmsr of EOI; iretq. */
	LONG_VECTOR(&g, V2, 0x1b00, 0xb9, 0x70, 0, 0, 0x40, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, 0x48, 0xcf);
	write_msr(&g, COUNT(0), 1);
	write_msr(&g, CONFIG(0), ENABLE | PERIODIC | DIRECT(V2));
	begin(&g, AT_SLEEP, 0, 0);
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &on, NULL);
	for (unsigned int i = 0; i < 3; i++) {
		r = api_ioctl(g.vcpu, KVM_RUN, NULL);
		error = errno;
		assert_int_equal(r, -1);
		assert_int_equal(error, EINTR);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	if (api_linked())
		assert_true(guest_stat(g.vcpu, "hv_stimers_direct") > 1);
	guest_end(&g);
}

/* Direct mode is a feature of its own. */
static void test_direct_enforced(void **state)
{
	struct cpuid_table *t;
	struct guest g;

	if (!hv_there())
		skip();
	t = hv_leaves();
	guest_leaf(t, HV_FEATURES, 0)->edx &= ~(1U << 19);
	g = plain(t);
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_SYNIC2, 0));
	write_msr(&g, CONFIG(0), DIRECT(V2));
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1));
	assert_int_equal(hv_wrmsr(&g, CONFIG(0), DIRECT(V1)), HV_GP);
	assert_int_equal(get(&g, CONFIG(0)), DIRECT(V2));
	write_msr(&g, CONFIG(0), TO_SINT(2));
	set(&g, CONFIG(0), DIRECT(V1));
	guest_end(&g);
}

static void test_auto_enable(void **state)
{
	const uint64_t config = AUTO_ENABLE | TO_SINT(2), later = 1ULL << 60;
	struct guest g = synic();

	write_msr(&g, CONFIG(0), config);
	assert_int_equal(get(&g, CONFIG(0)), config);
	write_msr(&g, COUNT(0), later);
	assert_int_equal(get(&g, CONFIG(0)), config | ENABLE);
	assert_int_equal(get(&g, COUNT(0)), later);
	write_msr(&g, COUNT(0), 0);
	assert_int_equal(get(&g, CONFIG(0)), config);
	/* The client's count changes nothing else: it restores the rest itself. */
	set(&g, COUNT(0), later);
	assert_int_equal(get(&g, CONFIG(0)), config);
	/* Not to be left enabled with SINT 0 and no vector. */
	write_msr(&g, CONFIG(0), ENABLE | TO_SINT(2));
	write_msr(&g, CONFIG(0), ENABLE);
	assert_int_equal(get(&g, CONFIG(0)), 0);
	guest_end(&g);
}

/* --- the client's hands ----------------------------------------------------------------------- */

static const uint32_t saved[] = {
	SCONTROL, SVERSION, SIEFP, SIMP, SINT(0), SINT(1), SINT(2), SINT(3), SINT(15), CONFIG(0), COUNT(0), CONFIG(1), COUNT(1),
};

/* Everything that a client moves to another VM. */
static struct guest moved(struct guest *from)
{
	struct kvm_clock_data clock = { 0 };
	struct kvm_lapic_state lapic;
	struct guest g = synic();

	api_ok(api_ioctl(from->vm, KVM_GET_CLOCK, &clock));
	clock.flags = 0;
	api_ok(api_ioctl(g.vm, KVM_SET_CLOCK, &clock));
	api_ok(api_ioctl(from->vcpu, KVM_GET_LAPIC, &lapic));
	api_ok(api_ioctl(g.vcpu, KVM_SET_LAPIC, &lapic));
	memcpy(g.mem, from->mem, GUEST_MEM);
	for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]); i++)
		set(&g, saved[i], get(from, saved[i]));
	return g;
}

/* One timer runs, another waits for room for its message. */
static void test_moved(void **state)
{
	struct guest g = synic(), to;
	uint64_t when;

	take_messages(&g, 2);
	set(&g, SINT(3), V2);
	MESSAGE(&g, 2)->type = 7;
	write_msr(&g, COUNT(0), 5);
	write_msr(&g, CONFIG(0), ENABLE | TO_SINT(2));
	when = reference_time(&g) + 20 * MS;
	write_msr(&g, COUNT(1), when);
	write_msr(&g, CONFIG(1), ENABLE | TO_SINT(3));
	assert_int_equal(MESSAGE(&g, 2)->flags, 1);
	to = moved(&g);
	guest_end(&g);
	for (size_t i = 0; i < sizeof(saved) / sizeof(saved[0]); i++)
		get(&to, saved[i]);
	assert_int_equal(sleep_for_one(&to), PORT(V2));
	check_message(MESSAGE(&to, 3), 1, when);
	write_msr(&to, HV_EOI, 0);
	assert_int_equal(MESSAGE(&to, 2)->type, 7);
	MESSAGE(&to, 2)->type = 0;
	write_msr(&to, EOM, 0);
	assert_int_equal(window(&to), PORT(V1));
	check_message(MESSAGE(&to, 2), 0, 5);
	guest_end(&to);
}

/* What is in KVM_GET_MSR_INDEX_LIST: one of each kind, by which a client knows of all. */
static void test_listed(void **state)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[512];
	} l = { .head.nmsrs = 512 };
	unsigned int found = 0;

	if (!hv_there())
		skip();
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, &l));
	for (uint32_t i = 0; i < l.head.nmsrs; i++) {
		found |= l.index[i] == SCONTROL ? 1 : 0;
		found |= l.index[i] == CONFIG(0) ? 2 : 0;
		assert_false(l.index[i] > SCONTROL && l.index[i] < CONFIG(0));
		assert_false(l.index[i] > CONFIG(0) && l.index[i] < 0x400000f1);
	}
	assert_int_equal(found, 3);
}

/* A message is a write to a page of a slot: the dirty log has it. */
static void test_dirty(void **state)
{
	uint64_t bitmap[GUEST_MEM / PAGE / 64 + 1] = { 0 };
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = bitmap };
	struct guest g = synic();

	take_messages(&g, 2);
	write_msr(&g, COUNT(0), 5);
	api_ok(api_set_slot(g.vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, GUEST_MEM, g.mem));
	write_msr(&g, EOM, 0);
	api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(bitmap[0] >> (MESSAGES / PAGE) & 1, 0);
	/* The flag alone, and then the message. */
	for (unsigned int i = 0; i < 2; i++) {
		MESSAGE(&g, 2)->type = i ? 0 : 7;
		write_msr(&g, i ? EOM : CONFIG(0), ENABLE | TO_SINT(2));
		api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
		assert_int_equal(bitmap[0] >> (MESSAGES / PAGE) & 1, 1);
	}
	check_message(MESSAGE(&g, 2), 0, 5);
	guest_end(&g);
}

/* No page, or none behind it: the timer stays, and the guest goes on. */
static void test_no_page(void **state)
{
	struct guest g = synic();
	void *hole = api_memory(PAGE);

	set(&g, SINT(2), V1);
	write_msr(&g, COUNT(0), 5);
	for (unsigned int i = 0; i < 3; i++) {
		if (i == 2) {
			api_ok(api_set_slot(g.vm, 1, 0, 0x7000000, PAGE, hole));
			munmap(hole, PAGE);
		}
		set(&g, SIMP, i ? 0x7000001 : MESSAGES);
		write_msr(&g, CONFIG(0), 0);
		write_msr(&g, CONFIG(0), ENABLE | TO_SINT(2));
		assert_int_equal(window(&g), HV_DONE);
		assert_int_equal(get(&g, CONFIG(0)), ENABLE | TO_SINT(2));
	}
	set(&g, SIMP, MESSAGES | 1);
	write_msr(&g, EOM, 0);
	assert_int_equal(window(&g), PORT(V1));
	check_message(MESSAGE(&g, 2), 0, 5);
	guest_end(&g);
}

/* Whatever is behind the slot: a file's memory that others see, what may not be written, and what may not be touched. */
static void test_backing(void **state)
{
	int fd = memfd_create("messages", MFD_CLOEXEC);
	struct guest g = synic();
	volatile struct message *seen;
	uint8_t *page;

	assert_int_equal(ftruncate(fd, PAGE), 0);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	seen = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(page != MAP_FAILED && seen != MAP_FAILED);
	set(&g, SINT(0), V1);
	set(&g, SINT(1), V1);
	set(&g, SIMP, 0x7000001);
	write_msr(&g, COUNT(0), 5);
	api_ok(api_set_slot(g.vm, 1, KVM_MEM_READONLY, 0x7000000, PAGE, page));
	write_msr(&g, CONFIG(0), ENABLE | TO_SINT(1));
	assert_int_equal(window(&g), HV_DONE);
	api_ok(api_set_slot(g.vm, 1, 0, 0x7000000, 0, page));
	mprotect(page, PAGE, PROT_NONE);
	api_ok(api_set_slot(g.vm, 1, 0, 0x7000000, PAGE, page));
	write_msr(&g, EOM, 0);
	assert_int_equal(window(&g), HV_DONE);
	assert_int_equal(seen[0].type, 0);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	write_msr(&g, EOM, 0);
	assert_int_equal(window(&g), PORT(V1));
	check_message((volatile struct message *)((volatile uint8_t *)seen + 256), 0, 5);
	guest_end(&g);
	munmap(page, PAGE);
	munmap((void *)seen, PAGE);
	close(fd);
}

/* --- connections ------------------------------------------------------------------------------ */

#define SIGNAL_EVENT 0x5d
#define POST_MESSAGE 0x5c

static int connect_to(struct guest *g, uint32_t id, int fd, uint32_t flags)
{
	struct kvm_hyperv_eventfd e = { .conn_id = id, .fd = fd, .flags = flags };

	return api_ioctl(g->vm, KVM_HYPERV_EVENTFD, &e);
}

static void test_eventfd(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), other = eventfd(0, EFD_NONBLOCK), null = open("/dev/null", O_RDONLY);
	struct guest g = synic();

	api_fails(EINVAL, connect_to(&g, 1 << 24, fd, 0));
	api_fails(EINVAL, connect_to(&g, 5, fd, 2));
	api_fails(EBADF, connect_to(&g, 5, -1, 0));
	api_fails(EINVAL, connect_to(&g, 5, null, 0));
	api_fails(ENOENT, connect_to(&g, 5, fd, KVM_HYPERV_EVENTFD_DEASSIGN));
	api_ok(connect_to(&g, 5, fd, 0));
	api_fails(EEXIST, connect_to(&g, 5, other, 0));
	api_ok(connect_to(&g, 0xffffff, other, 0));
	/* Which eventfd it is does not matter then. */
	api_ok(connect_to(&g, 5, -1, KVM_HYPERV_EVENTFD_DEASSIGN));
	api_fails(ENOENT, connect_to(&g, 5, fd, KVM_HYPERV_EVENTFD_DEASSIGN));
	api_ok(connect_to(&g, 5, other, 0));
	guest_end(&g);
	close(fd);
	close(other);
	close(null);
}

static void check_client_asked(struct guest *g, uint64_t control, uint64_t in, uint64_t out, uint64_t shown)
{
	const struct kvm_hyperv_exit *e = &g->run->hyperv;

	hv_call_begins(g, control, in, out);
	assert_int_equal(g->run->exit_reason, KVM_EXIT_HYPERV);
	assert_int_equal(e->type, KVM_EXIT_HYPERV_HCALL);
	assert_int_equal(e->u.hcall.input, control);
	assert_int_equal(e->u.hcall.params[0], shown);
	assert_int_equal(e->u.hcall.params[1], out);
	g->run->hyperv.u.hcall.result = 0x1234;
	assert_int_equal(hv_call_ends(g), 0x1234);
}

/* With an eventfd there is no exit; without, the client is asked, if it has controllers at all. */
static void test_signal(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct guest g = synic();
	uint64_t before = api_linked() ? guest_stat(g.vcpu, "hv_events") : 0;

	hv_identify(&g);
	check_client_asked(&g, SIGNAL_EVENT | FAST, 5, 0, 5);
	api_ok(connect_to(&g, 5, fd, 0));
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 5, 0), 0);
	assert_true(signalled(fd));
	assert_false(signalled(fd));
	INPUT(&g, 5, 6);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT, HV_INPUT, 0), 0);
	assert_true(signalled(fd));
	if (api_linked())
		assert_int_equal(guest_stat(g.vcpu, "hv_events"), before + 2);
	/* Another connection, the number of a flag, what is reserved. */
	check_client_asked(&g, SIGNAL_EVENT, HV_INPUT + 8, 0, 6);
	check_client_asked(&g, SIGNAL_EVENT | FAST, 1ULL << 32 | 5, 0, 1ULL << 32 | 5);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 1 << 24 | 5, 0), 3);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 1ULL << 48 | 5, 0), 3);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT, HV_INPUT + 4, 0), 4);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT, 0x7000000, 0), 4);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST | REPS(1), 5, 0), 3);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST | VAR(1), 5, 0), 3);
	assert_false(signalled(fd));
	api_ok(connect_to(&g, 5, -1, KVM_HYPERV_EVENTFD_DEASSIGN));
	check_client_asked(&g, SIGNAL_EVENT | FAST, 5, 7, 5);
	check_client_asked(&g, POST_MESSAGE, HV_INPUT, 0, HV_INPUT);
	assert_int_equal(hv_call(&g, POST_MESSAGE | REPS(1), HV_INPUT, 0), 3);
	guest_end(&g);
	close(fd);
}

static void test_nobody(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct guest g = plain(NULL);

	hv_identify(&g);
	api_ok(connect_to(&g, 5, fd, 0));
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 6, 0), 3);
	assert_int_equal(hv_call(&g, POST_MESSAGE, HV_INPUT, 0), 3);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 5, 0), 0);
	assert_true(signalled(fd));
	guest_end(&g);
	close(fd);
}

static void test_calls_enforced(void **state)
{
	struct cpuid_table *t;
	struct guest g;

	if (!hv_there())
		skip();
	t = hv_leaves();
	guest_leaf(t, HV_FEATURES, 0)->ebx &= ~(1U << 4 | 1U << 5);
	g = plain(t);
	hv_identify(&g);
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 6, 0), 3);
	api_ok(guest_enable(g.vcpu, KVM_CAP_HYPERV_ENFORCE_CPUID, 1));
	assert_int_equal(hv_call(&g, SIGNAL_EVENT | FAST, 6, 0), 6);
	assert_int_equal(hv_call(&g, POST_MESSAGE, HV_INPUT, 0), 6);
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_enable),
	cmocka_unit_test(test_registers),
	cmocka_unit_test(test_enforced),
	cmocka_unit_test(test_exits),
	cmocka_unit_test(test_route),
	cmocka_unit_test(test_vp_index),
	cmocka_unit_test(test_inactive),
	cmocka_unit_test(test_irqfd),
	cmocka_unit_test(test_split),
	cmocka_unit_test(test_auto_eoi),
	cmocka_unit_test(test_shared_vector),
	cmocka_unit_test(test_message),
	cmocka_unit_test(test_one_shot),
	cmocka_unit_test(test_retry),
	cmocka_unit_test(test_periodic_busy),
	cmocka_unit_test(test_periodic),
	cmocka_unit_test(test_direct),
	cmocka_unit_test(test_direct_enforced),
	cmocka_unit_test(test_storm),
	cmocka_unit_test(test_auto_enable),
	cmocka_unit_test(test_moved),
	cmocka_unit_test(test_listed),
	cmocka_unit_test(test_dirty),
	cmocka_unit_test(test_no_page),
	cmocka_unit_test(test_backing),
	cmocka_unit_test(test_eventfd),
	cmocka_unit_test(test_signal),
	cmocka_unit_test(test_nobody),
	cmocka_unit_test(test_calls_enforced),
};

API_MAIN(tests)
