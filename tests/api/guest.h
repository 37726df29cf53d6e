/* SPDX-License-Identifier: MIT */
/* Small guests for the tests of the API: one vCPU, 64 KiB of memory, code at 0x1000. */
#ifndef TESTS_API_GUEST_H
#define TESTS_API_GUEST_H

#include "api.h"

#define GUEST_MEM 0x10000UL
#define GUEST_CODE 0x1000
#define GUEST_TABLES 0xc000     /* long mode: four pages */
#define GUEST_IDT 0xa000        /* ... with exceptions: also the GDT, behind the IDT */
#define GUEST_STACK 0xc000

struct guest {
	int vm, vcpu;
	uint8_t *mem;
	struct kvm_run *run;
};

/** guest_on - the vCPU 0 of @vm, which runs @code in real mode. */
struct guest guest_on(int vm, const uint8_t *code, size_t n);

/** guest_of - the same in a VM of its own; @irqchip: with an interrupt controller. */
struct guest guest_of(const uint8_t *code, size_t n, bool irqchip);

#define GUEST(irqchip, ...) \
	guest_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), irqchip)
#define GUEST_ON(vm, ...) \
	guest_on(vm, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

void guest_end(struct guest *g);

/** guest_long - switches to 64-bit mode at CPL 0; the first 2 MiB, and those of the interrupt controllers, are mapped. */
void guest_long(struct guest *g);

/** guest_long_vector - behind guest_long(): code for exception @n, at @at; the stack ends at GUEST_STACK. */
void guest_long_vector(struct guest *g, unsigned int n, uint16_t at, const uint8_t *code, size_t len);

#define LONG_VECTOR(g, n, at, ...) \
	guest_long_vector(g, n, at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/** guest_unreal - data segments of 4 GiB in real mode. */
void guest_unreal(struct guest *g);

/** guest_vector - real mode: code for interrupt @n, at @at. */
void guest_vector(struct guest *g, unsigned int n, uint16_t at, const uint8_t *code, size_t len);

#define VECTOR(g, n, at, ...) \
	guest_vector(g, n, at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/** guest_run - KVM_RUN, which has to end with @reason.  guest_port: with an access to @port. */
void guest_run(struct guest *g, uint32_t reason);
void guest_port(struct guest *g, uint16_t port);

struct kvm_regs guest_regs(struct guest *g);
void guest_set_reg(struct guest *g, size_t offset, uint64_t value);

#define SET(g, reg, v) guest_set_reg(g, offsetof(struct kvm_regs, reg), v)

/** guest_pio - where the data of a port access are. */
static inline uint8_t *guest_pio(struct guest *g)
{
	return (uint8_t *)g->run + g->run->io.data_offset;
}

/** guest_enable - KVM_ENABLE_CAP on @fd. */
int guest_enable(int fd, uint32_t cap, uint64_t arg);

/** guest_runs_long_mode - the device runs 64-bit code: not every kernel that has one does.  Asked once. */
bool guest_runs_long_mode(void);

/** guest_stat - the counter @name of a VM or vCPU; the test fails where there is none. */
uint64_t guest_stat(int fd, const char *name);
/** guest_stat_of - the same of a descriptor of KVM_GET_STATS_FD, which can be read while the vCPU runs. */
uint64_t guest_stat_of(int stats, const char *name);

/**
 * guest_each_model - calls @body for each CPU model: both of the library that the test is linked with, of any other
 * device the one that it has.
 */
void guest_each_model(void (*body)(bool amd));

/* A table of CPUID. */
struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 e[256];
};

/** guest_supported - what KVM_GET_SUPPORTED_CPUID says, or a vCPU's KVM_GET_CPUID2. */
struct cpuid_table *guest_supported(void);
struct cpuid_table *guest_cpuid(int vcpu);

/** guest_leaf - an entry of @t; the test fails where there is none.  guest_drop_leaf - takes all of a leaf's away. */
struct kvm_cpuid_entry2 *guest_leaf(struct cpuid_table *t, uint32_t function, uint32_t index);
void guest_drop_leaf(struct cpuid_table *t, uint32_t function);
/** guest_set_msr, guest_get_msr - KVM_SET_MSRS and KVM_GET_MSRS of one: how many were done. */
int guest_set_msr(struct guest *g, uint32_t index, uint64_t value);
int guest_get_msr(struct guest *g, uint32_t index, uint64_t *value);

/**
 * guest_kvm_features - gives the vCPU the device's own CPUID, but of KVM's features (EAX of 0x40000001) only those in
 * @mask.  Returns those that the device has.
 */
uint32_t guest_kvm_features(struct guest *g, uint32_t mask);

/* mov dword [addr],value in real mode with 32-bit addresses. */
#define STORE32(a, v) \
	0x67, 0x66, 0xc7, 0x05, (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff, \
	(v) & 0xff, (v) >> 8 & 0xff, (v) >> 16 & 0xff, (uint8_t)((v) >> 24)

/* Programs the PIC as a BIOS does: vectors 8 and 0x70, all pins but `mask` open. */
#define PIC_INIT(mask) \
	0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, \
	0xb0, mask, 0xe6, 0x21

#endif
