// SPDX-License-Identifier: MIT
#include "svm.h"

#include <stdlib.h>

#include "anykvm.h"

#define EFER_SVME (1ULL << 12)
#define MSR_HSAVE 0xc0010117

/* 1: mov eax, SVM_VMCB; vmrun; out SVM_EXITED, al; jmp 1b */
static const uint8_t l1[] = {
	0xb8, SVM_VMCB & 0xff, SVM_VMCB >> 8 & 0xff, SVM_VMCB >> 16 & 0xff, 0, 0x0f, 0x01, 0xd8, 0xe6, SVM_EXITED, 0xeb, 0xf4,
};

uint64_t svm_get(struct svm *s, unsigned int at, unsigned int size)
{
	uint64_t value = 0;

	memcpy(&value, s->vmcb + at, size);
	return value;
}

void svm_put(struct svm *s, unsigned int at, unsigned int size, uint64_t value)
{
	memcpy(s->vmcb + at, &value, size);
}

static void put_segment(struct svm *s, unsigned int at, const struct kvm_segment *k)
{
	unsigned int attrib = k->type | k->s << 4 | k->dpl << 5 | k->present << 7 | k->avl << 8 | k->l << 9 | k->db << 10 |
			      k->g << 11;

	svm_put(s, at, 2, k->selector);
	svm_put(s, at + 2, 2, attrib);
	svm_put(s, at + 4, 4, k->limit);
	svm_put8(s, at + 8, k->base);
}

static void put_table(struct svm *s, unsigned int at, const struct kvm_dtable *k)
{
	svm_put(s, at + 4, 4, k->limit);
	svm_put8(s, at + 8, k->base);
}

static void make_vmcb(struct svm *s)
{
	struct kvm_sregs k;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	put_segment(s, S_ES, &k.es);
	put_segment(s, S_CS, &k.cs);
	put_segment(s, S_SS, &k.ss);
	put_segment(s, S_DS, &k.ds);
	put_table(s, S_GDTR, &k.gdt);
	put_table(s, S_IDTR, &k.idt);
	svm_put8(s, S_EFER, k.efer);
	svm_put8(s, S_CR0, k.cr0);
	svm_put8(s, S_CR3, k.cr3);
	svm_put8(s, S_CR4, k.cr4);
	svm_put8(s, S_DR6, 0xffff0ff0);
	svm_put8(s, S_DR7, 0x400);
	svm_put8(s, S_RFLAGS, 2);
	svm_put8(s, S_RSP, SVM_L2_STACK);
	svm_put8(s, S_PAT, 0x0007040600070406);
	svm_put8(s, C_IOPM, SVM_IOPM);
	svm_put8(s, C_MSRPM, SVM_MSRPM);
	svm_put4(s, C_ASID, 1);
	svm_put4(s, C_WORD3, SVM_WORD3);
	svm_put4(s, C_WORD4, SVM_WORD4);
	svm_rewind(s);
}

/* Every exception ends at a port of its own. */
static void make_handlers(struct guest *g)
{
	for (uint8_t n = 0; n < 32; n++)
		LONG_VECTOR(g, n, (uint16_t)(0x3000 + n * 16), 0xe6, (uint8_t)(SVM_FAULT + n), 0xf4);
}

/* The device's CPUID without the features in @without; false: it lacks one of @with. */
static bool set_cpuid(struct svm *s, uint32_t with, uint32_t without)
{
	struct cpuid_table *t = guest_supported();
	struct kvm_cpuid_entry2 *e = NULL;

	for (uint32_t n = 0; n < t->head.nent; n++)
		if (t->e[n].function == 0x8000000a)
			e = &t->e[n];
	if (!e || !(guest_leaf(t, 0x80000001, 0)->ecx & 4) || (e->edx & with) != with) {
		free(t);
		return false;
	}
	e->edx &= ~without;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_CPUID2, t));
	s->cpuid = t;
	return true;
}

static void start_l1(struct svm *s)
{
	struct kvm_sregs k;

	guest_long(&s->g);
	make_handlers(&s->g);
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	k.efer |= EFER_SVME;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_SREGS, &k));
	assert_int_equal(guest_set_msr(&s->g, MSR_HSAVE, SVM_HSAVE), 1);
}

struct svm svm_start(const uint8_t *code, size_t n, uint32_t with, uint32_t without, bool irqchip)
{
	struct svm s = { 0 };

	if (api_linked())
		assert_int_equal(anykvm_set_cpu("amd"), 0);
	if (!guest_runs_long_mode())
		skip();
	s.g = guest_of(l1, sizeof(l1), irqchip);
	s.mem = api_memory(SVM_MEM_SIZE);
	s.vmcb = s.mem;
	api_ok(api_set_slot(s.g.vm, 1, 0, SVM_MEM, SVM_MEM_SIZE, s.mem));
	if (!set_cpuid(&s, with, without)) {
		svm_end(&s);
		skip();
	}
	svm_code(&s, SVM_L2, code, n);
	start_l1(&s);
	make_vmcb(&s);
	return s;
}

void svm_end(struct svm *s)
{
	guest_end(&s->g);
	munmap(s->mem, SVM_MEM_SIZE);
	free(s->cpuid);
}

void svm_code(struct svm *s, uint16_t at, const uint8_t *code, size_t n)
{
	memcpy(s->g.mem + at, code, n);
}

uint64_t svm_run(struct svm *s)
{
	guest_port(&s->g, SVM_EXITED);
	return svm_get8(s, C_EXIT_CODE);
}

void svm_expect(struct svm *s, uint64_t code)
{
	uint64_t was = svm_run(s);

	if (was != code)
		fail_msg("exit %#lx, not %#lx; info %#lx %#lx, at %#lx", was, code, svm_get8(s, C_INFO1),
			 svm_get8(s, C_INFO2), svm_get8(s, S_RIP));
}

void svm_npt(struct svm *s)
{
	uint64_t *p4 = (uint64_t *)(s->mem + (SVM_NPT - SVM_MEM)), *p3 = p4 + 512, *p2 = p3 + 512, *p1 = p2 + 512;

	p4[0] = (SVM_NPT + 0x1000) | 7;
	p3[0] = (SVM_NPT + 0x2000) | 7;
	p2[0] = (SVM_NPT + 0x3000) | 7;
	for (uint64_t n = 0; n < 512; n++)
		p1[n] = n << 12 | 7;
	svm_put8(s, C_NESTED_CTL, 1);
	svm_put8(s, C_NESTED_CR3, SVM_NPT);
}
