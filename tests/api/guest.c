// SPDX-License-Identifier: MIT
#include "guest.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

#include "anykvm.h"

struct guest guest_on(int vm, const uint8_t *code, size_t n)
{
	struct guest g = { .vm = vm, .mem = api_memory(GUEST_MEM) };

	api_ok(api_set_slot(vm, 0, 0, 0, GUEST_MEM, g.mem));
	g.vcpu = api_vcpu(vm, 0);
	g.run = api_run_of(g.vcpu);
	api_real_mode(g.vcpu, g.mem, code, n);
	return g;
}

struct guest guest_of(const uint8_t *code, size_t n, bool irqchip)
{
	int vm = api_vm();

	if (irqchip)
		api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	return guest_on(vm, code, n);
}

void guest_end(struct guest *g)
{
	api_close(g->vcpu);
	api_close(g->vm);
	munmap(g->run, 3 * PAGE);
	munmap(g->mem, GUEST_MEM);
}

static void flat(struct kvm_segment *s, uint16_t selector, uint8_t type)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1,
		.db = type < 8, .l = type >= 8,
	};
}

void guest_long(struct guest *g)
{
	uint64_t *p4 = (uint64_t *)(g->mem + GUEST_TABLES), *p3 = p4 + 512, *low = p3 + 512, *high = low + 512;
	struct kvm_sregs s;

	p4[0] = (GUEST_TABLES + 0x1000) | 7;
	p3[0] = (GUEST_TABLES + 0x2000) | 7;
	p3[3] = (GUEST_TABLES + 0x3000) | 7;
	low[0] = 0x87;
	for (unsigned int i = 0; i < 512; i++)
		high[i] = 0xc0000000ULL + i * 0x200000ULL + 0x87;
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.cr3 = GUEST_TABLES;
	s.cr4 = 1 << 5;
	s.efer = 1 << 8 | 1 << 10;
	s.cr0 = 0x80000011;
	flat(&s.cs, 8, 11);
	flat(&s.ds, 16, 3);
	s.es = s.fs = s.gs = s.ss = s.ds;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
}

void guest_long_vector(struct guest *g, unsigned int n, uint16_t at, const uint8_t *code, size_t len)
{
	uint64_t *idt = (uint64_t *)(g->mem + GUEST_IDT), *gdt = idt + 2 * 32;
	struct kvm_sregs s;

	gdt[1] = 0x00af9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	idt[2 * n] = (uint64_t)0x8e << 40 | 8 << 16 | at;
	memcpy(g->mem + at, code, len);
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.idt = (struct kvm_dtable){ .base = GUEST_IDT, .limit = 16 * 32 - 1 };
	s.gdt = (struct kvm_dtable){ .base = GUEST_IDT + 16 * 32, .limit = 23 };
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
	SET(g, rsp, GUEST_STACK);
}

void guest_unreal(struct guest *g)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.ds.limit = s.es.limit = 0xffffffff;
	s.ds.g = s.es.g = 1;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
}

void guest_vector(struct guest *g, unsigned int n, uint16_t at, const uint8_t *code, size_t len)
{
	memcpy(g->mem + at, code, len);
	memcpy(g->mem + 4UL * n, &(uint32_t){ at }, 4);
}

void guest_run(struct guest *g, uint32_t reason)
{
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	if (g->run->exit_reason != reason)
		fail_msg("exit %u, not %u", g->run->exit_reason, reason);
}

void guest_port(struct guest *g, uint16_t port)
{
	guest_run(g, KVM_EXIT_IO);
	if (g->run->io.port != port)
		fail_msg("port %#x, not %#x", g->run->io.port, port);
}

struct kvm_regs guest_regs(struct guest *g)
{
	struct kvm_regs r;

	api_ok(api_ioctl(g->vcpu, KVM_GET_REGS, &r));
	return r;
}

void guest_set_reg(struct guest *g, size_t offset, uint64_t value)
{
	struct kvm_regs r = guest_regs(g);

	memcpy((char *)&r + offset, &value, 8);
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry e;
};

int guest_set_msr(struct guest *g, uint32_t index, uint64_t value)
{
	struct one_msr m = { .head.nmsrs = 1, .e = { .index = index, .data = value } };

	return api_ioctl(g->vcpu, KVM_SET_MSRS, &m);
}

int guest_get_msr(struct guest *g, uint32_t index, uint64_t *value)
{
	struct one_msr m = { .head.nmsrs = 1, .e = { .index = index } };
	int r = api_ioctl(g->vcpu, KVM_GET_MSRS, &m);

	*value = m.e.data;
	return r;
}

uint32_t guest_kvm_features(struct guest *g, uint32_t mask)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	uint32_t offered = 0;

	c.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
	for (uint32_t i = 0; i < c.head.nent; i++) {
		if (c.e[i].function != 0x40000001)
			continue;
		offered = c.e[i].eax;
		c.e[i].eax &= mask;
	}
	api_ok(api_ioctl(g->vcpu, KVM_SET_CPUID2, &c));
	return offered;
}

int guest_enable(int fd, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return api_ioctl(fd, KVM_ENABLE_CAP, &c);
}

static void on_alarm(int sig)
{
}

/* A kernel whose KVM is not up to it may run for ever: a second must do. */
static bool try_long_mode(void)
{
	struct itimerval on = { { 1, 0 }, { 1, 0 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	struct guest g = GUEST(false, 0x48, 0xff, 0xc0, 0xe6, 0x10);    /* inc rax; out 0x10,al */
	bool ok;

	guest_long(&g);
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &on, NULL);
	ok = !api_ioctl(g.vcpu, KVM_RUN, NULL) && g.run->exit_reason == KVM_EXIT_IO && *guest_pio(&g) == 1;
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
	guest_end(&g);
	return ok;
}

bool guest_runs_long_mode(void)
{
	static int known = -1;

	if (known < 0)
		known = !api_real() || try_long_mode();
	return known;
}

uint64_t guest_stat(int fd, const char *name)
{
	int stats = api_ioctl(fd, KVM_GET_STATS_FD, NULL);
	uint64_t value;

	api_ok(stats);
	value = guest_stat_of(stats, name);
	api_close(stats);
	return value;
}

uint64_t guest_stat_of(int stats, const char *name)
{
	struct kvm_stats_header h;
	struct kvm_stats_desc *d;
	uint64_t value = 0;
	bool found = false;
	size_t size;

	assert_int_equal(pread(stats, &h, sizeof(h), 0), sizeof(h));
	size = sizeof(*d) + h.name_size;
	d = malloc(size);
	for (uint32_t i = 0; i < h.num_desc && !found; i++) {
		assert_int_equal(pread(stats, d, size, h.desc_offset + i * size), (long)size);
		found = !strcmp(d->name, name);
	}
	if (found)
		assert_int_equal(pread(stats, &value, 8, h.data_offset + d->offset), 8);
	free(d);
	if (!found)
		fail_msg("no counter %s", name);
	return value;
}

static struct cpuid_table *table(int fd, unsigned long request)
{
	struct cpuid_table *t = calloc(1, sizeof(*t));

	t->head.nent = 256;
	api_ok(api_ioctl(fd, request, t));
	return t;
}

struct cpuid_table *guest_supported(void)
{
	return table(api_sys(), KVM_GET_SUPPORTED_CPUID);
}

/* Linux 6.1 leaves the number of entries as the client gave it: then the smallest that does is the true one. */
struct cpuid_table *guest_cpuid(int vcpu)
{
	struct cpuid_table *t = table(vcpu, KVM_GET_CPUID2);
	uint32_t n = t->head.nent;

	if (n < 256)
		return t;
	do
		t->head.nent = --n;
	while (n && !api_ioctl(vcpu, KVM_GET_CPUID2, t));
	t->head.nent = n ? n + 1 : 0;
	api_ok(api_ioctl(vcpu, KVM_GET_CPUID2, t));
	return t;
}

struct kvm_cpuid_entry2 *guest_leaf(struct cpuid_table *t, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < t->head.nent; i++)
		if (t->e[i].function == function && t->e[i].index == index)
			return &t->e[i];
	fail_msg("no CPUID leaf %#x.%u", function, index);
	return NULL;
}

void guest_drop_leaf(struct cpuid_table *t, uint32_t function)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->head.nent; i++)
		if (t->e[i].function != function)
			t->e[n++] = t->e[i];
	t->head.nent = n;
}

void guest_each_model(void (*body)(bool amd))
{
	static const char *const models[] = { "intel", "amd" };
	struct cpuid_table *t;
	bool amd;

	for (unsigned int i = 0; api_linked() && i < 2; i++) {
		assert_int_equal(anykvm_set_cpu(models[i]), 0);
		body(i);
	}
	if (api_linked())
		return;
	t = guest_supported();
	amd = !memcmp(&guest_leaf(t, 0, 0)->ebx, "Auth", 4) || !memcmp(&guest_leaf(t, 0, 0)->ebx, "Hygo", 4);
	free(t);
	body(amd);
}
