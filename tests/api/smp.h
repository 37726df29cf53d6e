/* SPDX-License-Identifier: MIT */
/*
 * Guests of several vCPUs in 64-bit mode, each in a thread of its own: 2 MiB of
 * memory at gpa 0, mapped 1:1 by 4 KiB pages, and the interrupt controllers.
 * Their code is a part of the test program, copied into the guest.
 */
#ifndef TESTS_API_SMP_H
#define TESTS_API_SMP_H

#include <pthread.h>

#include "guest.h"

#define SMP_MAX 4
#define SMP_MEM 0x200000UL
/* Where things lie in it. */
#define SMP_GDT 0x1000UL
#define SMP_IDT 0x2000UL
#define SMP_TABLES 0x3000UL             /* five pages; the fourth is the page table of the memory */
#define SMP_STACK(n) (0x10000UL + 0x2000UL * (n))       /* upper ends; the page below is its own */
#define SMP_ARGS(n) (0x1a000UL + 0x100UL * (n))
#define SMP_TRAMPOLINE 0x1b000UL        /* real mode, for INIT and SIPI: vector 0x1b */
#define SMP_CODE 0x20000UL
#define SMP_DATA 0x100000UL
#define SMP_PTE(gva) (SMP_TABLES + 0x3000 + ((gva) >> 12) * 8)
#define SMP_CS 8
#define SMP_DS 16

/* The port whose OUT ends a vCPU's turn. */
#define SMP_DONE 0x10

struct smp {
	unsigned int cpus;
	int vm, vcpu[SMP_MAX];
	struct kvm_run *run[SMP_MAX];
	uint8_t *mem;
};

/** smp_able - the device runs such guests: not every kernel that has one does. */
bool smp_able(void);

/** smp_new - @cpus vCPUs that wait; @irqchip: with the kernel's interrupt controllers.  Code is copied to SMP_CODE. */
struct smp *smp_new(unsigned int cpus, bool irqchip);
void smp_free(struct smp *s);

/** smp_call - vCPU @n is to begin at @code (an address in this program's guest code) with RDI = SMP_ARGS(n). */
void smp_call(struct smp *s, unsigned int n, const void *code);

/** smp_at - where a place of this program's guest code lies in the guest. */
uint64_t smp_at(const void *code);

/** smp_gate - vector @n leads to @code, at CPL 0 with interrupts off. */
void smp_gate(struct smp *s, unsigned int n, const void *code);

/** smp_args - the 256 bytes at SMP_ARGS(n). */
uint64_t *smp_args(struct smp *s, unsigned int n);

/** smp_word - a word of the guest's memory. */
volatile uint64_t *smp_word(struct smp *s, uint64_t gpa);

/**
 * smp_run - the vCPUs of @mask run until each has written to SMP_DONE.  Anything else that ends a KVM_RUN fails the
 * test, EINTR aside.
 */
void smp_run(struct smp *s, unsigned int mask);

/* The same in parts, with something done meanwhile. */
void smp_start(struct smp *s, unsigned int mask);
void smp_wait(struct smp *s, unsigned int mask);

/** smp_avx - AVX is there, and on. */
bool smp_avx(void);

/** smp_stat - a counter of vCPU @n by its name, or ~0: there is none. */
uint64_t smp_stat(struct smp *s, unsigned int n, const char *name);

/* Guest code, in the section that smp_new() copies: 64-bit, position-independent, no data of its own. */
#define SMP_GUEST(text) __asm__(".pushsection smp_guest, \"ax\"\n" text "\n\t.popsection\n")

extern const uint8_t __start_smp_guest[], __stop_smp_guest[];

#endif
