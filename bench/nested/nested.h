/* SPDX-License-Identifier: MIT */
/*
 * bench-nested: a hypervisor of a few lines that measures what it costs to be one, without an operating system.
 *
 * It prints on the serial line what bench/init.c prints: "bench ready", "begin NAME", "NAME VALUE UNIT", "bench done".
 * Each value is given in ns and in cycles of the TSC, and is that of the best of many batches.
 */
#ifndef BENCH_NESTED_H
#define BENCH_NESTED_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096

extern char page_tables[];      /* the first 4 GiB, one to one, in 2 MiB pages: CR3, and second-level tables too */

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return low | (uint64_t)high << 32;
}

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t rdmsr(uint32_t index)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return low | (uint64_t)high << 32;
}

static inline void wrmsr(uint32_t index, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index) : "memory");
}

static inline uint32_t cpuid_ecx(uint32_t leaf)
{
	uint32_t ebx, ecx, edx;

	__asm__ volatile("cpuid" : "+a"(leaf), "=b"(ebx), "=c"(ecx), "=d"(edx) : "2"(0));
	return ecx;
}

/* --- main.c --- */

/** say - a line of several words, ended by NULL. */
void say(const char *word, ...);
_Noreturn void end(const char *complaint);

/* --- work.c: the computing, of L1 and of L2 alike --- */

#define WORK_OPS 64
void work_int(void);    /* integer operations, in registers and few bytes of memory */
void work_mem(void);    /* loads, each of which says where the next one is, over 2 MiB */
void work_tlb(void);    /* the same over 32 MiB: there is no TLB that holds that */
void work_mem_setup(void);
void work_tlb_setup(void);

/* --- svm.c and its like --- */

struct vendor {
	const char *name;
	bool (*offered)(void);
	/* Makes this CPU a hypervisor, and an L2 ready. */
	void (*setup)(void);
	/* L2 executes CPUID, and L1 skips it: @n times there and back.  With all: L1 does too what KVM does each time. */
	void (*round_trips)(unsigned long n);
	void (*round_trips_all)(unsigned long n);
	/* The same without L2: what L1 itself executes. */
	void (*empty_trips)(unsigned long n);
	/* L2 runs that, and is back. */
	void (*call)(void (*fn)(void));
};

extern const struct vendor svm, vmx;

#endif
