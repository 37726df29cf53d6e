// SPDX-License-Identifier: MIT
#include "nested.h"

#include <stdarg.h>
#include <stddef.h>

#define SERIAL 0x3f8
#define SERIAL_STATUS (SERIAL + 5)
#define SERIAL_ROOM 0x20
#define END 0xf4                /* anykvm's, and QEMU's isa-debug-exit where it is put there */
#define PIT_2 0x42
#define PIT_MODE 0x43
#define PIT_GATE 0x61
#define PIT_GATE_OUT 0x20
#define PIT_HZ 1193182
#define PIT_TICKS 0xffff
#define PIC_MASK 0x21
#define POST 0x80               /* nobody's port, or one that does nothing */
#define BATCH_US 5000

static uint64_t tsc_khz, budget_ms = 200;

/* --- output --- */

static void put(char c)
{
	while (!(inb(SERIAL_STATUS) & SERIAL_ROOM))
		;
	outb(SERIAL, (uint8_t)c);
}

static void put_word(const char *s)
{
	while (*s)
		put(*s++);
}

void say(const char *word, ...)
{
	va_list more;

	va_start(more, word);
	for (; word; word = va_arg(more, const char *))
		put_word(word);
	va_end(more);
	put('\n');
}

_Noreturn void end(const char *complaint)
{
	if (complaint)
		say("failed ", complaint, NULL);
	else
		say("bench done", NULL);
	for (;;)
		outb(END, complaint != NULL);
}

/* @n hundredths. */
static const char *number(uint64_t n, char *text)
{
	char *at = text + 31;

	*at = 0;
	for (unsigned int digits = 0; n || digits < 4; digits++) {
		if (digits == 2)
			*--at = '.';
		*--at = (char)('0' + n % 10);
		n /= 10;
	}
	return at;
}

/* --- time --- */

/* How many cycles the PIT's second counter takes to run out. */
static uint64_t pit_cycles(void)
{
	uint64_t start;

	outb(PIT_GATE, (uint8_t)((inb(PIT_GATE) & ~2) | 1));
	outb(PIT_MODE, 0xb0);
	outb(PIT_2, PIT_TICKS & 0xff);
	outb(PIT_2, PIT_TICKS >> 8);
	start = rdtsc();
	while (!(inb(PIT_GATE) & PIT_GATE_OUT))
		;
	return rdtsc() - start;
}

/* What was held up shows too many. */
static void calibrate(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t cycles = pit_cycles();

		if (cycles < best)
			best = cycles;
	}
	tsc_khz = best * PIT_HZ / PIT_TICKS / 1000;
}

/* --- measuring --- */

static uint64_t timed(void (*batch)(unsigned long n), unsigned long n)
{
	uint64_t start = rdtsc();

	batch(n);
	return rdtsc() - start;
}

static void tell(const char *prefix, const char *name, uint64_t cycles, unsigned long n)
{
	char text[32];

	say(prefix, name, " ", number(cycles * 100 * 1000 / tsc_khz * 1000 / n, text), " ns", NULL);
	say(prefix, name, "-cycles ", number(cycles * 100 / n, text), " cycles", NULL);
}

/* A batch long enough for the clock. */
static unsigned long batch_size(void (*batch)(unsigned long n))
{
	unsigned long n = 1;

	while (timed(batch, n) < tsc_khz * BATCH_US / 1000)
		n *= 2;
	return n;
}

static void measure(const char *prefix, const char *name, void (*batch)(unsigned long n))
{
	unsigned long n = batch_size(batch);
	uint64_t best = UINT64_MAX, start = rdtsc();

	say("begin ", prefix, name, NULL);
	while (rdtsc() - start < tsc_khz * budget_ms) {
		uint64_t cycles = timed(batch, n);

		if (cycles < best)
			best = cycles;
	}
	tell(prefix, name, best, n);
}

/* --- what is measured --- */

/* The start of hvm_start_info; pvh.pandoc. */
struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, command_line;
};

/* BENCH_MS=N on the command line. */
static void read_budget(const struct start_info *info)
{
	static const char name[] = "BENCH_MS=";
	unsigned int n = 0;

	for (const char *at = (const char *)(uintptr_t)info->command_line; at && *at; at++) {
		n = *at == name[n] ? n + 1 : 0;
		if (name[n])
			continue;
		for (budget_ms = 0; at[1] >= '0' && at[1] <= '9'; at++)
			budget_ms = budget_ms * 10 + (uint64_t)(at[1] - '0');
		n = 0;
	}
}

static const struct vendor *vendor;
static void (*work)(void);

static void cpuid_batch(unsigned long n)
{
	while (n--)
		cpuid_ecx(0);
}

static void in_batch(unsigned long n)
{
	while (n--)
		inb(PIC_MASK);
}

static void out_batch(unsigned long n)
{
	while (n--)
		outb(POST, 0);
}

static void work_l1(unsigned long n)
{
	while (n--)
		work();
}

static void work_l2(unsigned long n)
{
	while (n--)
		vendor->call(work);
}

/* In turns, so that both meet the same machine. */
static void compare(const char *name_l1, const char *name_l2, void (*fn)(void))
{
	uint64_t best1 = UINT64_MAX, best2 = UINT64_MAX, start = rdtsc();
	unsigned long n;

	work = fn;
	n = batch_size(work_l1);
	while (rdtsc() - start < 2 * tsc_khz * budget_ms) {
		uint64_t one = timed(work_l1, n), two = timed(work_l2, n);

		if (one < best1)
			best1 = one;
		if (two < best2)
			best2 = two;
	}
	tell(vendor->name, name_l1, best1, n);
	tell(vendor->name, name_l2, best2, n);
}

static const struct vendor *const vendors[] = { &svm, &vmx };

void l1_main(const struct start_info *info)
{
	read_budget(info);
	calibrate();
	for (unsigned int i = 0; i < sizeof(vendors) / sizeof(vendors[0]) && !vendor; i++)
		if (vendors[i]->offered())
			vendor = vendors[i];
	if (!vendor)
		end("this CPU cannot be a hypervisor's");
	vendor->setup();
	say("bench ready", NULL);
	measure(vendor->name, "-exit-cpuid", cpuid_batch);
	measure(vendor->name, "-exit-in", in_batch);
	measure(vendor->name, "-exit-out", out_batch);
	measure(vendor->name, "-empty", vendor->empty_trips);
	measure(vendor->name, "-trip", vendor->round_trips);
	measure(vendor->name, "-trip-kvm", vendor->round_trips_all);
	compare("-int-l1", "-int-l2", work_int);
	work_mem_setup();
	compare("-mem-l1", "-mem-l2", work_mem);
	work_tlb_setup();
	compare("-tlb-l1", "-tlb-l2", work_tlb);
	end(NULL);
}
