// SPDX-License-Identifier: MIT
#include "hyperv.h"

#include <stdlib.h>

/* The guest's code: where each thing is. */
#define AT_WRMSR GUEST_CODE
#define AT_RDMSR (GUEST_CODE + 0x10)
#define AT_CALL (GUEST_CODE + 0x20)
#define AT_RDTSC (GUEST_CODE + 0x30)
#define AT_CPUID (GUEST_CODE + 0x40)

bool hv_there(void)
{
	return api_cap(api_sys(), KVM_CAP_HYPERV) > 0 && api_cap(api_sys(), KVM_CAP_SYS_HYPERV_CPUID) > 0 &&
	       guest_runs_long_mode();
}

struct cpuid_table *hv_leaves(void)
{
	struct cpuid_table *t = guest_supported(), *hv = calloc(1, sizeof(*hv));

	hv->head.nent = 64;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_HV_CPUID, hv));
	memcpy(hv->e + hv->head.nent, t->e, t->head.nent * sizeof(t->e[0]));
	hv->head.nent += t->head.nent;
	free(t);
	return hv;
}

static bool is_amd(struct cpuid_table *t)
{
	const struct kvm_cpuid_entry2 *e = guest_leaf(t, 0, 0);

	return !memcmp(&e->ebx, "Auth", 4) || !memcmp(&e->ebx, "Hygo", 4);
}

struct guest hv_guest_on(int vm, struct cpuid_table *t)
{
	struct guest g = GUEST_ON(vm, 0x0f, 0x30, 0xe6, HV_DONE);       /* wrmsr */
	struct kvm_sregs s;

	if (!t)
		t = hv_leaves();
	memcpy(g.mem + AT_RDMSR, (const uint8_t[]){ 0x0f, 0x32, 0xe6, HV_DONE }, 4);
	memcpy(g.mem + AT_CALL, (const uint8_t[]){ 0x0f, 0x01, is_amd(t) ? 0xd9 : 0xc1, 0xe6, HV_DONE }, 5);
	memcpy(g.mem + AT_RDTSC, (const uint8_t[]){ 0x0f, 0x31, 0xe6, HV_DONE }, 4);
	memcpy(g.mem + AT_CPUID, (const uint8_t[]){ 0x0f, 0xa2, 0xe6, HV_DONE }, 4);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	guest_long(&g);
	LONG_VECTOR(&g, 6, 0x1800, 0xe6, HV_UD);
	LONG_VECTOR(&g, 13, 0x1900, 0xe6, HV_GP);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 9;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	return g;
}

struct guest hv_guest(struct cpuid_table *t)
{
	int vm = api_vm();

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	return hv_guest_on(vm, t);
}

static struct kvm_regs registers(uint64_t rip)
{
	return (struct kvm_regs){ .rip = rip, .rsp = GUEST_STACK, .rflags = 2 };
}

static uint16_t done(struct guest *g)
{
	guest_run(g, KVM_EXIT_IO);
	return g->run->io.port;
}

uint16_t hv_wrmsr(struct guest *g, uint32_t index, uint64_t value)
{
	struct kvm_regs r = registers(AT_WRMSR);

	r.rcx = index;
	r.rax = (uint32_t)value;
	r.rdx = value >> 32;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	return done(g);
}

uint16_t hv_rdmsr(struct guest *g, uint32_t index, uint64_t *value)
{
	struct kvm_regs r = registers(AT_RDMSR);
	uint16_t port;

	r.rcx = index;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	port = done(g);
	r = guest_regs(g);
	*value = r.rdx << 32 | (uint32_t)r.rax;
	return port;
}

uint64_t hv_rdtsc(struct guest *g)
{
	struct kvm_regs r = registers(AT_RDTSC);

	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	assert_int_equal(done(g), HV_DONE);
	r = guest_regs(g);
	return r.rdx << 32 | (uint32_t)r.rax;
}

uint32_t hv_cpuid_edx(struct guest *g, uint32_t leaf)
{
	struct kvm_regs r = registers(AT_CPUID);

	r.rax = leaf;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	assert_int_equal(done(g), HV_DONE);
	return (uint32_t)guest_regs(g).rdx;
}

void hv_call_begins(struct guest *g, uint64_t control, uint64_t in, uint64_t out)
{
	struct kvm_regs r = registers(AT_CALL);

	r.rcx = control;
	r.rdx = in;
	r.r8 = out;
	r.rax = 0x5555;
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
}

static uint64_t result(struct guest *g)
{
	assert_int_equal(g->run->exit_reason, KVM_EXIT_IO);
	if (g->run->io.port == HV_UD)
		return ~0ULL;
	assert_int_equal(g->run->io.port, HV_DONE);
	return guest_regs(g).rax;
}

uint64_t hv_call_ends(struct guest *g)
{
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	return result(g);
}

uint64_t hv_call(struct guest *g, uint64_t control, uint64_t in, uint64_t out)
{
	hv_call_begins(g, control, in, out);
	return result(g);
}

void hv_identify(struct guest *g)
{
	assert_int_equal(guest_set_msr(g, 0x40000000, 0x8100ULL << 48), 1);
}

void hv_set_xmm(struct guest *g, unsigned int n, uint64_t value)
{
	struct kvm_fpu f;

	api_ok(api_ioctl(g->vcpu, KVM_GET_FPU, &f));
	memcpy(f.xmm[n / 2] + n % 2 * 8, &value, 8);
	api_ok(api_ioctl(g->vcpu, KVM_SET_FPU, &f));
}

void hv_input(struct guest *g, const uint64_t *word, size_t n)
{
	memcpy(g->mem + HV_INPUT, word, n * sizeof(*word));
}
