// SPDX-License-Identifier: MIT
/*
 * The PMU: its registers, what it counts, its interrupt, RDPMC, the filter of
 * events.  With the library itself each test runs for both vendors' CPUs, else
 * for the device's own.
 */
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"

#define N 1000
#define PERF_CAPABILITIES 0x345
#define FIXED_CTRL 0x38d
#define GLOBAL_STATUS 0x38e
#define GLOBAL_CTRL 0x38f
#define OVF_CTRL 0x390
#define OS (1u << 17)
#define USER (1u << 16)
#define INT (1u << 20)
#define ENABLE (1ULL << 22)
#define CMASK1 (1u << 24)
#define FULL_WIDTH (1u << 13)
#define LVTPC 0x340
#define MASKED (1u << 16)
#define VECTOR_PMI 0x50
#define WIDTH_MASK ((1ULL << 48) - 1)

/* One vendor's counters and events. */
static const struct vendor {
	const char *name, *signature;
	uint32_t select, counter, step, counters;
	uint32_t insns, branches, misses, cycles, absent;
} vendors[] = {
	{ "intel", "Genu", 0x186, 0xc1, 1, 8, 0xc0, 0xc4, 0xc5, 0x3c, 0x412e },
	{ "amd", "Auth", 0xc0010200, 0xc0010201, 2, 6, 0xc0, 0xc2, 0xc3, 0x76, 0x412e },
};

static const struct vendor *cpu;

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 e[256];
} cpuid;

static struct kvm_cpuid_entry2 *leaf(uint32_t function)
{
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.e[i].function == function)
			return &cpuid.e[i];
	fail_msg("no CPUID leaf %#x", function);
	return NULL;
}

static bool intel(void)
{
	return cpu == &vendors[0];
}

static void load_cpuid(void)
{
	cpuid.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &cpuid));
	cpu = !memcmp(&leaf(0)->ebx, "Auth", 4) ? &vendors[1] : &vendors[0];
}

/* Calls @body for each CPU that the device can be. */
static void each_cpu(void (*body)(void))
{
	/* The host's kernel may have no PMU for its guests, or another one. */
	if (api_real())
		skip();
	for (size_t i = 0; api_linked() && i < 2; i++) {
		assert_int_equal(anykvm_set_cpu(vendors[i].name), 0);
		load_cpuid();
		assert_ptr_equal(cpu, &vendors[i]);
		body();
	}
	if (!api_linked()) {
		load_cpuid();
		body();
	}
}

#define EACH_CPU(name)				\
	static void test_##name(void **state)	\
	{					\
		each_cpu(name);			\
	}

static int get(int vcpu, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e.index = index };
	int r = api_ioctl(vcpu, KVM_GET_MSRS, &m);

	*value = m.e.data;
	return r;
}

static int set(int vcpu, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e = { .index = index, .data = value } };

	return api_ioctl(vcpu, KVM_SET_MSRS, &m);
}

static uint64_t read_msr(int vcpu, uint32_t index)
{
	uint64_t value;

	if (get(vcpu, index, &value) != 1)
		fail_msg("MSR %#x cannot be read", index);
	return value;
}

static void write_msr(int vcpu, uint32_t index, uint64_t value)
{
	if (set(vcpu, index, value) != 1)
		fail_msg("MSR %#x: %#llx cannot be written", index, (unsigned long long)value);
}

static uint64_t counter(struct guest *g, unsigned int n)
{
	return read_msr(g->vcpu, cpu->counter + n * cpu->step);
}

static void program(struct guest *g, unsigned int n, uint64_t select, uint64_t value)
{
	write_msr(g->vcpu, cpu->counter + n * cpu->step, value);
	write_msr(g->vcpu, cpu->select + n * cpu->step, select);
	if (intel())
		write_msr(g->vcpu, GLOBAL_CTRL, (1ULL << cpu->counters) - 1);
}

static void identify(struct guest *g)
{
	api_ok(api_ioctl(g->vcpu, KVM_SET_CPUID2, &cpuid));
}

/* mov cx,N; l: loop l; out 0x10,al; jmp back to the start */
#define LOOPS 0xb9, N & 0xff, N >> 8, 0xe2, 0xfe, 0xe6, 0x10, 0xeb, 0xf7

/* --- what is there -------------------------------------------------------------------------- */

static bool in_list(uint32_t index)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * 4);
	bool found = false;

	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++)
		found |= list->indices[i] == index;
	free(list);
	return found;
}

static void offered(void)
{
	const struct kvm_cpuid_entry2 *e = leaf(0xa);

	assert_int_equal(api_cap(api_sys(), KVM_CAP_PMU_EVENT_FILTER), 1);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_PMU_CAPABILITY), KVM_PMU_CAP_DISABLE);
	if (intel()) {
		assert_int_equal(e->eax, 0x07300802);
		assert_int_equal(e->ebx, 0x1c);
		assert_int_equal(e->ecx, 0);
		assert_int_equal(e->edx & 0x1fff, 3 | 48 << 5);
		assert_true(leaf(1)->ecx >> 15 & 1);
	} else {
		assert_int_equal(e->eax | e->ebx | e->ecx | e->edx, 0);
		assert_true(leaf(0x80000001)->ecx >> 23 & 1);
		assert_false(leaf(1)->ecx >> 15 & 1);
	}
	for (unsigned int n = 0; n < cpu->counters; n++) {
		assert_true(in_list(cpu->select + n * cpu->step));
		assert_true(in_list(cpu->counter + n * cpu->step));
	}
	assert_int_equal(in_list(0x309), intel());
	assert_int_equal(in_list(GLOBAL_CTRL), intel());
	assert_int_equal(in_list(0xc0010000), !intel());
	assert_true(in_list(PERF_CAPABILITIES));
	assert_false(in_list(0x4c1));
}
EACH_CPU(offered)

static void intel_registers(struct guest *g)
{
	int v = g->vcpu;

	assert_int_equal(set(v, 0x186, 1 << 21), 0);
	assert_int_equal(set(v, 0x186, 1ULL << 32), 0);
	assert_int_equal(set(v, FIXED_CTRL, 4), 0);
	assert_int_equal(set(v, FIXED_CTRL, 0x1000), 0);
	write_msr(v, FIXED_CTRL, 0xbbb);
	assert_int_equal(set(v, GLOBAL_CTRL, 1 << 8), 0);
	assert_int_equal(set(v, GLOBAL_CTRL, 1ULL << 35), 0);
	write_msr(v, GLOBAL_CTRL, 0x7000000ff);
	write_msr(v, GLOBAL_CTRL, 0);
	/* The client may write the status; the command has no effect for him. */
	write_msr(v, GLOBAL_STATUS, 5);
	write_msr(v, OVF_CTRL, 1);
	assert_int_equal(read_msr(v, GLOBAL_STATUS), 5);
	assert_int_equal(read_msr(v, OVF_CTRL), 0);
	assert_int_equal(set(v, OVF_CTRL, 1 << 8), 0);
	/* Full-width writes come and go with their capability. */
	write_msr(v, 0x4c1, 0x923456789abcULL);
	assert_true(read_msr(v, 0xc1) == 0x923456789abcULL);
	assert_int_equal(set(v, 0x4c1, 1ULL << 48), 0);
	write_msr(v, PERF_CAPABILITIES, 0);
	assert_int_equal(set(v, 0x4c1, 1), 0);
	assert_int_equal(set(v, PERF_CAPABILITIES, 1), 0);
	assert_int_equal(set(v, PERF_CAPABILITIES, FULL_WIDTH), 1);
	write_msr(v, 0x30b, ~0ULL);
	assert_true(read_msr(v, 0x30b) == WIDTH_MASK);
	assert_int_equal(set(v, 0xc0010201, 1), 0);
	assert_int_equal(set(v, 0xc0010201, 0), 1);
}

static void amd_registers(struct guest *g)
{
	int v = g->vcpu;

	/* Reserved bits are dropped; the numbers of old are the first four counters'. */
	write_msr(v, 0xc0010200, ~ENABLE);
	assert_true(read_msr(v, 0xc0010200) == (0xfffd7ffffULL & ~ENABLE));
	assert_true(read_msr(v, 0xc0010000) == read_msr(v, 0xc0010200));
	write_msr(v, 0xc0010007, ~0ULL);
	assert_true(read_msr(v, 0xc0010207) == WIDTH_MASK);
	assert_int_equal(set(v, PERF_CAPABILITIES, FULL_WIDTH), 0);
	assert_int_equal(read_msr(v, PERF_CAPABILITIES), 0);
	assert_int_equal(set(v, GLOBAL_CTRL, 1), 0);
	assert_int_equal(set(v, 0x4c1, 0), 0);
}

static void registers(void)
{
	struct guest g = GUEST(false, LOOPS);

	identify(&g);
	if (intel())
		intel_registers(&g);
	else
		amd_registers(&g);
	guest_end(&g);
}
EACH_CPU(registers)

/* No more than three fixed counters, whatever the client says. */
static void fixed_limit(void)
{
	struct guest g = GUEST(false, 0x66, 0xb9, 3, 0, 0, 0x40, 0x0f, 0x33, 0xe6, 0x10);
	uint64_t value;

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	if (intel())
		leaf(0xa)->edx = 4 | 48 << 5;
	identify(&g);
	assert_int_equal(set(g.vcpu, FIXED_CTRL, 0x1000), 0);
	assert_int_equal(set(g.vcpu, GLOBAL_CTRL, 1ULL << 35), 0);
	assert_int_equal(get(g.vcpu, 0x30c, &value), 0);
	for (uint32_t n = 0; n < 3 && intel(); n++)
		assert_int_equal(set(g.vcpu, 0x309 + n, n), 1);
	/* mov ecx,40000003h; rdpmc.  AMD's are all numbered by the low bits. */
	guest_port(&g, intel() ? 0x13 : 0x10);
	guest_end(&g);
}
EACH_CPU(fixed_limit)

/* A guest of a CPU without PMU: version 0, or a VM whose client has switched it off. */
static void absent(void)
{
	struct guest g = GUEST(false, 0x0f, 0x33, 0xe6, 0x10);
	int vm;

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	if (intel()) {
		leaf(0xa)->eax = 0;
		identify(&g);
		assert_int_equal(set(g.vcpu, GLOBAL_CTRL, 1), 0);
		guest_port(&g, 0x13);
	}
	api_fails(EINVAL, guest_enable(g.vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE));
	guest_end(&g);

	load_cpuid();
	vm = api_vm();
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_PMU_CAPABILITY, 2));
	api_ok(guest_enable(vm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE));
	g = GUEST_ON(vm, LOOPS);
	identify(&g);
	/* The oldest numbers take anything and read zero. */
	assert_int_equal(set(g.vcpu, intel() ? 0x186 : 0xc0010000, OS | ENABLE | cpu->insns), 1);
	assert_int_equal(read_msr(g.vcpu, intel() ? 0x186 : 0xc0010000), 0);
	assert_int_equal(set(g.vcpu, cpu->select + 4 * cpu->step, ENABLE), 0);
	assert_int_equal(read_msr(g.vcpu, cpu->select + 4 * cpu->step), 0);
	guest_end(&g);
}
EACH_CPU(absent)

/* What the client may set of it: what the device offers. */
static void settable_capabilities(struct guest *g)
{
	uint64_t offered = read_msr(api_sys(), PERF_CAPABILITIES);

	assert_int_equal(offered, intel() ? FULL_WIDTH : 0);
	for (unsigned int bit = 0; bit < 64; bit++)
		assert_int_equal(set(g->vcpu, PERF_CAPABILITIES, 1ULL << bit), offered >> bit & 1);
	write_msr(g->vcpu, PERF_CAPABILITIES, 0);
	assert_int_equal(read_msr(g->vcpu, PERF_CAPABILITIES), 0);
	write_msr(g->vcpu, PERF_CAPABILITIES, offered);
}

/* mov ecx,345h; rdmsr; out 0x10,al; wrmsr */
static void capabilities(void)
{
	struct guest g = GUEST(false, 0x66, 0xb9, 0x45, 3, 0, 0, 0x0f, 0x32, 0xe6, 0x10, 0x0f, 0x30, 0xe6, 0x11);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	leaf(1)->ecx |= 1 << 15;
	identify(&g);
	settable_capabilities(&g);
	guest_port(&g, 0x10);
	assert_int_equal(guest_regs(&g).rax, intel() ? FULL_WIDTH : 0);
	guest_port(&g, 0x13);
	guest_end(&g);

	g = GUEST(false, 0x66, 0xb9, 0x45, 3, 0, 0, 0x0f, 0x32, 0xe6, 0x10);
	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	leaf(1)->ecx &= ~(1u << 15);
	identify(&g);
	guest_port(&g, 0x13);
	guest_end(&g);
}
EACH_CPU(capabilities)

/* --- counting ---------------------------------------------------------------------------------- */

static void counts(void)
{
	struct guest g = GUEST(false, LOOPS);

	identify(&g);
	program(&g, 0, OS | USER | ENABLE | cpu->insns, 0);
	program(&g, 1, OS | ENABLE | cpu->branches, 10);
	program(&g, 2, OS | ENABLE | cpu->misses, 0);
	program(&g, 3, OS | ENABLE | cpu->cycles, 0);
	guest_port(&g, 0x10);
	assert_int_equal(counter(&g, 0), 1 + N);
	assert_int_equal(counter(&g, 1), 10 + N);
	/* Not known as taken at first, and taken once too often at the end. */
	assert_int_equal(counter(&g, 2), 2);
	assert_true(counter(&g, 3) > 0);
	/* OUT and the jump back are counted now. */
	guest_port(&g, 0x10);
	assert_int_equal(counter(&g, 0), 2 * (1 + N) + 2);
	assert_int_equal(counter(&g, 1), 10 + 2 * N + 1);
	/* Stopped: it stays. */
	write_msr(g.vcpu, cpu->select, OS | cpu->insns);
	guest_port(&g, 0x10);
	assert_int_equal(counter(&g, 0), 2 * (1 + N) + 2);
	guest_end(&g);
}
EACH_CPU(counts)

static void not_counted(void)
{
	struct guest g = GUEST(false, LOOPS);

	identify(&g);
	program(&g, 0, USER | ENABLE | cpu->insns, 0);
	program(&g, 1, OS | ENABLE | cpu->absent, 0);
	program(&g, 2, OS | ENABLE | CMASK1 | cpu->insns, 0);
	program(&g, 3, OS | cpu->insns, 0);
	guest_port(&g, 0x10);
	for (unsigned int n = 0; n < 4; n++)
		assert_int_equal(counter(&g, n), 0);
	guest_end(&g);
}
EACH_CPU(not_counted)

static void fixed(void)
{
	struct guest g = GUEST(false, LOOPS);

	if (intel()) {
		identify(&g);
		write_msr(g.vcpu, FIXED_CTRL, 0x331);
		write_msr(g.vcpu, GLOBAL_CTRL, 5ULL << 32);
		guest_port(&g, 0x10);
		assert_int_equal(read_msr(g.vcpu, 0x309), 1 + N);
		assert_int_equal(read_msr(g.vcpu, 0x30a), 0);
		assert_true(read_msr(g.vcpu, 0x30b) > 0);
	}
	guest_end(&g);
}
EACH_CPU(fixed)

/* What is counted moves to another vCPU by the list of MSRs, and goes on there. */
static void save_restore(void)
{
	struct guest g = GUEST(false, LOOPS), h = GUEST(false, LOOPS);
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * 4);

	identify(&g);
	identify(&h);
	program(&g, 0, OS | ENABLE | cpu->insns, 5);
	guest_port(&g, 0x10);
	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++)
		write_msr(h.vcpu, list->indices[i], read_msr(g.vcpu, list->indices[i]));
	assert_int_equal(counter(&h, 0), 6 + N);
	guest_port(&h, 0x10);
	assert_int_equal(counter(&h, 0), 6 + N + 1 + N);
	free(list);
	guest_end(&g);
	guest_end(&h);
}
EACH_CPU(save_restore)

/* --- CPL 3 and RDPMC ------------------------------------------------------------------------------ */

static struct guest at_cpl3(const uint8_t *code, size_t n, bool pce)
{
	struct guest g = guest_of(code, n, false);
	struct kvm_sregs s;

	identify(&g);
	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cs.selector |= 3;
	s.cs.dpl = 3;
	s.ds.selector |= 3;
	s.ds.dpl = 3;
	s.es = s.fs = s.gs = s.ss = s.ds;
	if (pce)
		s.cr4 |= 1 << 8;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	SET(&g, rflags, 0x3002);        /* IOPL 3 */
	return g;
}

/* mov ecx,N; l: loop l; out 0x10,al */
static void levels(void)
{
	static const uint8_t code[] = { 0xb9, N & 0xff, N >> 8, 0, 0, 0xe2, 0xfe, 0xe6, 0x10 };
	struct guest g = at_cpl3(code, sizeof(code), false);

	program(&g, 0, OS | ENABLE | cpu->insns, 0);
	program(&g, 1, USER | ENABLE | cpu->insns, 0);
	program(&g, 2, OS | USER | ENABLE | cpu->branches, 0);
	guest_port(&g, 0x10);
	assert_int_equal(counter(&g, 0), 0);
	assert_int_equal(counter(&g, 1), 1 + N);
	assert_int_equal(counter(&g, 2), N);
	guest_end(&g);
}
EACH_CPU(levels)

/* The segments of real mode are those of virtual-8086 mode, but for their privilege. */
static struct guest in_vm86(bool pce)
{
	struct guest g = GUEST(false, 0x0f, 0x33, 0xe6, 0x10);
	struct kvm_segment *segment[6];
	struct kvm_sregs s;

	identify(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	memcpy(segment, (struct kvm_segment *[]){ &s.cs, &s.ds, &s.es, &s.fs, &s.gs, &s.ss }, sizeof(segment));
	for (size_t i = 0; i < 6; i++) {
		segment[i]->dpl = 3;
		segment[i]->type = 3;
		segment[i]->limit = 0xffff;
		segment[i]->selector = (uint16_t)(segment[i]->base >> 4);
	}
	s.cr0 |= 1;
	s.cr4 = pce ? 1 << 8 : 0;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	SET(&g, rflags, 0x23002);
	return g;
}

static uint64_t rdpmc(struct guest *g, uint32_t index, bool works)
{
	SET(g, rcx, index);
	SET(g, rip, GUEST_CODE);
	guest_port(g, works ? 0x10 : 0x13);
	return guest_regs(g).rax | guest_regs(g).rdx << 32;
}

static void rdpmc_rules(void)
{
	static const uint8_t code[] = { 0x0f, 0x33, 0xe6, 0x10 };       /* rdpmc; out 0x10,al */
	struct guest g = GUEST(false, 0x0f, 0x33, 0xe6, 0x10);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13, 0xcf);
	SET(&g, rsp, 0x8000);
	identify(&g);
	/* Real mode, and CPL 0 without CR4.PCE. */
	write_msr(g.vcpu, cpu->counter, 0x923456789abcULL);
	assert_true(rdpmc(&g, 0, true) == 0x923456789abcULL);
	assert_true(rdpmc(&g, 1u << 31, true) == 0x56789abc);
	rdpmc(&g, cpu->counters - 1, true);
	rdpmc(&g, cpu->counters, false);
	rdpmc(&g, 64, false);
	if (intel()) {
		write_msr(g.vcpu, 0x30b, 7);
		assert_int_equal(rdpmc(&g, 1u << 30 | 2, true), 7);
		rdpmc(&g, 1u << 30 | 3, false);
	}
	guest_end(&g);

	/* Without a table of interrupts #GP ends in a shutdown. */
	g = at_cpl3(code, sizeof(code), false);
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
	g = at_cpl3(code, sizeof(code), true);
	guest_port(&g, 0x10);
	guest_end(&g);
	g = in_vm86(false);
	guest_run(&g, KVM_EXIT_SHUTDOWN);
	guest_end(&g);
	g = in_vm86(true);
	guest_port(&g, 0x10);
	guest_end(&g);
}
EACH_CPU(rdpmc_rules)

/* --- overflow -------------------------------------------------------------------------------------- */

static uint32_t lvtpc(struct guest *g)
{
	struct kvm_lapic_state s;
	uint32_t value;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &s));
	memcpy(&value, s.regs + LVTPC, 4);
	return value;
}

static uint64_t pmis(struct guest *g)
{
	return guest_stat(g->vcpu, "pmis");
}

/*
 * local APIC and LVTPC on; out 0x10,al; sti; l: inc bx; nop; nop; jmp l.  A
 * block of four after OUT and STI: the interrupt comes behind the instruction
 * that makes the counter zero, in the middle of a block or not.
 */
static void overflow_after(unsigned int insns, bool wanted)
{
	struct guest g = GUEST(true, STORE32(0xfee000f0u, 0x1ff), STORE32(0xfee00340u, VECTOR_PMI), 0xe6, 0x10,
			       0xfb, 0x43, 0x90, 0x90, 0xeb, 0xfb);
	uint16_t ip;

	VECTOR(&g, VECTOR_PMI, 0x1800, STORE32(0xfee000b0u, 0), 0xe6, 0x11, 0xcf);
	VECTOR(&g, 2, 0x1a00, 0xe6, 0x12);
	identify(&g);
	SET(&g, rsp, 0x8000);
	SET(&g, rbx, 0);
	guest_unreal(&g);
	guest_port(&g, 0x10);
	assert_int_equal(lvtpc(&g), VECTOR_PMI);
	program(&g, 1, OS | ENABLE | (wanted ? INT : 0) | cpu->insns, -(uint64_t)insns & WIDTH_MASK);
	if (!wanted) {
		g.run->immediate_exit = 1;
		api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
		guest_end(&g);
		return;
	}
	guest_port(&g, 0x11);
	/* OUT, STI, and the rest in the loop. */
	assert_int_equal(guest_regs(&g).rbx, (insns - 2 + 3) / 4);
	memcpy(&ip, g.mem + 0x8000 - 6, 2);
	assert_int_equal(ip, GUEST_CODE + 2 * 12 + 3 + (insns - 2) % 4);
	assert_int_equal(lvtpc(&g), VECTOR_PMI | (intel() ? MASKED : 0));
	assert_int_equal(pmis(&g), 1);
	if (intel())
		assert_int_equal(read_msr(g.vcpu, GLOBAL_STATUS), 2);
	guest_end(&g);
}

static void overflow(void)
{
	for (unsigned int insns = 20; insns < 24; insns++) {
		overflow_after(insns, true);
		overflow_after(insns + 1000, true);
	}
}
EACH_CPU(overflow)

/* Without its interrupt a counter that overflows only says so. */
static void status(void)
{
	struct guest g = GUEST(true, LOOPS);

	identify(&g);
	program(&g, 1, OS | ENABLE | cpu->branches, -(uint64_t)N & WIDTH_MASK);
	guest_port(&g, 0x10);
	assert_int_equal(counter(&g, 1), 0);
	assert_int_equal(pmis(&g), 0);
	if (intel())
		assert_int_equal(read_msr(g.vcpu, GLOBAL_STATUS), 2);
	guest_end(&g);
}
EACH_CPU(status)

/* Cycles overflow as well, some time later; the program never leaves by itself. */
static void cycles_overflow(void)
{
	struct guest g = GUEST(true, STORE32(0xfee000f0u, 0x1ff), STORE32(0xfee00340u, VECTOR_PMI), 0xe6, 0x10,
			       0xfb, 0xeb, 0xfe);

	VECTOR(&g, VECTOR_PMI, 0x1800, 0xe6, 0x11);
	identify(&g);
	SET(&g, rsp, 0x8000);
	guest_unreal(&g);
	guest_port(&g, 0x10);
	program(&g, 0, OS | ENABLE | INT | cpu->cycles, -(uint64_t)100000 & WIDTH_MASK);
	guest_port(&g, 0x11);
	assert_true(counter(&g, 0) < 1ULL << 47);
	guest_end(&g);
}
EACH_CPU(cycles_overflow)

/* --- the filter ----------------------------------------------------------------------------------------- */

static int filter(int vm, uint32_t action, uint32_t fixed_bitmap, uint64_t event)
{
	struct {
		struct kvm_pmu_event_filter head;
		uint64_t event[1];
	} f = { .head = { .action = action, .nevents = 1, .fixed_counter_bitmap = fixed_bitmap }, .event = { event } };

	return api_ioctl(vm, KVM_SET_PMU_EVENT_FILTER, &f);
}

static uint64_t filtered(struct guest *g, uint32_t action, uint64_t event)
{
	api_ok(filter(g->vm, action, 0, event));
	write_msr(g->vcpu, cpu->select, 0);
	program(g, 0, OS | ENABLE | cpu->branches, 0);
	guest_port(g, 0x10);
	return counter(g, 0);
}

static void filters(void)
{
	struct guest g = GUEST(false, LOOPS);
	struct kvm_pmu_event_filter f = { .action = 2 };

	api_fails(EINVAL, api_ioctl(g.vm, KVM_SET_PMU_EVENT_FILTER, &f));
	f = (struct kvm_pmu_event_filter){ .flags = 4 };
	api_fails(EINVAL, api_ioctl(g.vm, KVM_SET_PMU_EVENT_FILTER, &f));
	f = (struct kvm_pmu_event_filter){ .nevents = 301 };
	api_fails(E2BIG, api_ioctl(g.vm, KVM_SET_PMU_EVENT_FILTER, &f));
	api_fails(EFAULT, api_ioctl(g.vm, KVM_SET_PMU_EVENT_FILTER, api_bad()));
	api_fails(EFAULT, api_ioctl(g.vm, KVM_SET_PMU_EVENT_FILTER, api_edge(16)));

	identify(&g);
	assert_int_equal(filtered(&g, KVM_PMU_EVENT_DENY, cpu->branches), 0);
	assert_true(filtered(&g, KVM_PMU_EVENT_ALLOW, cpu->branches) >= N);
	assert_int_equal(filtered(&g, KVM_PMU_EVENT_ALLOW, cpu->cycles), 0);
	assert_true(filtered(&g, KVM_PMU_EVENT_DENY, 1ULL << 32 | cpu->branches) >= N);
	if (intel()) {
		api_ok(filter(g.vm, KVM_PMU_EVENT_DENY, 1, 0));
		write_msr(g.vcpu, FIXED_CTRL, 0x33);
		write_msr(g.vcpu, GLOBAL_CTRL, 3ULL << 32);
		guest_port(&g, 0x10);
		assert_int_equal(read_msr(g.vcpu, 0x309), 0);
		assert_true(read_msr(g.vcpu, 0x30a) > 0);
	}
	guest_end(&g);
}
EACH_CPU(filters)

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_offered),
	cmocka_unit_test(test_registers),
	cmocka_unit_test(test_fixed_limit),
	cmocka_unit_test(test_absent),
	cmocka_unit_test(test_capabilities),
	cmocka_unit_test(test_counts),
	cmocka_unit_test(test_not_counted),
	cmocka_unit_test(test_fixed),
	cmocka_unit_test(test_save_restore),
	cmocka_unit_test(test_levels),
	cmocka_unit_test(test_rdpmc_rules),
	cmocka_unit_test(test_overflow),
	cmocka_unit_test(test_status),
	cmocka_unit_test(test_cycles_overflow),
	cmocka_unit_test(test_filters),
};

API_MAIN(tests)
