/* SPDX-License-Identifier: MIT */
/*
 * A CPU alone, with 4 MiB of memory and an environment that does as little as
 * it can: OUT to LOG_PORT is noted, HLT and OUT to END_PORT end the run.
 * Tests set the machine up in C, run a few guest instructions, and look.
 */
#ifndef TESTS_CPU_RIG_H
#define TESTS_CPU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "x86/cpu/cpu.h"
#include "x86/cpu/control.h"
#include "x86/cpu/segment.h"

#define LOG_PORT 0x10
#define END_PORT 0xf4

/* Where things lie in guest memory. */
#define AT_GDT 0x1000
#define AT_IDT 0x2000
#define AT_TSS 0x3000
#define AT_TSS2 0x3800
#define AT_HANDLERS 0x4000              /* 16 bytes a vector, HLT to begin with */
#define AT_LDT 0x5000
#define AT_CODE 0x8000
#define AT_CODE2 0x9000
#define STACK0 0x18000
#define STACK1 0x1c000
#define STACK3 0x28000
#define STACK_IST 0x38000
#define AT_DATA 0x40000
#define AT_TABLES 0x100000
#define RAM_SIZE 0x400000

/* The GDT that rig_protected() and rig_long() make. */
#define CODE32_0 0x08
#define DATA_0 0x10
#define CODE32_3 0x1b
#define DATA_3 0x23
#define TSS_SEL 0x28
#define TSS2_SEL 0x30
#define GATE_SEL 0x38                   /* free for a gate */
#define CODE16_0 0x48
#define DATA16_0 0x50
#define LDT_SEL 0x58
#define CONFORMING_0 0x60
#define CODE64_0 0x68
#define DATA64_0 0x70
#define CODE32_U 0x7b                   /* in the order that SYSRET wants */
#define DATA_U 0x83
#define CODE64_3 0x8b
#define TSS64_SEL 0x90                  /* two entries */
#define GATE64_SEL 0xa0                 /* two entries */
#define NOT_PRESENT 0xb0
#define GDT_ENTRIES 24

struct rig {
	struct x86_cpu *cpu;
	uint8_t *ram;
	bool halted;
	unsigned int logged;
	uint32_t log[64];
};

struct rig *rig_new(void);
void rig_free(struct rig *r);

/* In each mode at CPL 0, R_RIP at AT_CODE, RSP at STACK0, every vector leading to its handler. */
void rig_real(struct rig *r);
void rig_protected(struct rig *r);
void rig_long(struct rig *r);

/* rig_user - CPL 3 of the present mode, RSP at STACK3. */
void rig_user(struct rig *r);

/* rig_run - runs until HLT, END_PORT, or something that the engine cannot do. */
enum x86_run_result rig_run(struct rig *r);

void rig_put(struct rig *r, gpa_t at, const void *data, size_t n);
uint64_t rig_read(const struct rig *r, gpa_t at, unsigned int size);
void rig_write(struct rig *r, gpa_t at, unsigned int size, uint64_t value);
void rig_gdt(struct rig *r, uint16_t sel, uint64_t low, uint64_t high);
void rig_idt32(struct rig *r, uint8_t vector, uint16_t sel, uint32_t target, uint8_t access);
void rig_idt64(struct rig *r, uint8_t vector, uint16_t sel, uint64_t target, uint8_t access, uint8_t ist);
/* rig_without - takes a feature away, before code is decoded. */
void rig_without(struct rig *r, unsigned int feature);
/* rig_load_seg - the register as if its descriptor had been loaded. */
void rig_load_seg(struct rig *r, enum x86_seg_reg reg, uint16_t sel);
/* Did the run end in the handler of @vector? */
bool rig_in_handler(const struct rig *r, uint8_t vector);

/* An 8-byte gate. */
uint64_t gate(uint16_t sel, uint32_t target, uint8_t access, uint8_t params);

/* Guest code: assembled into the test, named, copied by RIG_CODE(). */
#define GUEST(name, bits, text)                                                 \
	extern const uint8_t name[], name##_end[];                              \
	__asm__(".pushsection .rodata\n\t.code" #bits "\n" #name ":\n" text     \
		"\n" #name "_end:\n\t.code64\n\t.popsection\n")
#define RIG_CODE(r, at, name) rig_put(r, at, name, (size_t)(name##_end - name))

#define REG(r, n) ((r)->cpu->regs[n])

int rig_setup(void **state);
int rig_teardown(void **state);
#define RIG_TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

#endif
