/* SPDX-License-Identifier: MIT */
/* Hardware task switches.  SDM 3A chapter 7.  Never in long mode. */
#ifndef X86_CPU_TASK_H
#define X86_CPU_TASK_H

#include "x86/cpu/segment.h"

enum x86_task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE };

struct x86_task_switch {
	enum x86_task_reason reason;
	uint16_t sel;           /* of the new TSS */
	uint64_t next_rip;      /* EIP saved in the old one */
	uint8_t ext;            /* ORed into error codes */
	bool has_error_code;    /* pushed on the new task's stack */
	uint32_t error_code;
	uint32_t eflags;        /* saved in the old TSS */
};

/**
 * x86_task_switch - to the TSS @t->sel, whose descriptor has passed the checks of
 * privilege; makes all others.  Before the switch is committed faults are the
 * old task's; afterwards (loading segments) they are the new task's, at its EIP.
 * On return regs[R_RIP] is the new task's EIP.
 */
void x86_task_switch(struct x86_cpu *cpu, const struct x86_task_switch *t);

/** x86_task_gate_target - the TSS selector in the task gate @gate; #GP unless it names the GDT. */
uint16_t x86_task_gate_target(struct x86_cpu *cpu, const struct x86_desc *gate, uint8_t ext);

#endif
