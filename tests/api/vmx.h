/* SPDX-License-Identifier: MIT */
/*
 * A guest that enters one of its own by VMX, for the tests of nested VMX.
 *
 * L1 runs in 64-bit mode at CPL 0.  Its program at GUEST_CODE writes the fields
 * that the test has asked for, calls what the test has put at VMX_STUB, enters L2
 * if it is to, reads fields, and does OUT to VMX_DONE, for ever.  L2 begins in the
 * same mode, with the same tables, at VMX_L2; its general registers but RSP are
 * what they were at the last exit.  Encodings and bits are written down once
 * more, from the manual: SDM 3C, chapter 24, SDM 3D, appendices A to C.
 */
#ifndef TESTS_API_VMX_H
#define TESTS_API_VMX_H

#include "guest.h"

#define VMX_MEM 0x100000UL      /* a slot of its own, with what follows */
#define VMX_MEM_SIZE 0x40000UL
#define VMX_VMXON VMX_MEM
#define VMX_VMCS (VMX_MEM + 0x1000)
#define VMX_BOX (VMX_MEM + 0x2000)      /* between the test and L1 */
#define VMX_STUB (VMX_MEM + 0x3000)
#define VMX_MSR_BITMAP (VMX_MEM + 0x4000)       /* zero: nothing exits */
#define VMX_EPT (VMX_MEM + 0x8000)      /* PML4, PDPT, PD, PT of the first 2 MiB, PD of the last GiB, PT of the APIC */
#define VMX_EPT_PT (VMX_EPT + 0x3000)
#define VMX_EPT_PT_APIC (VMX_EPT + 0x5000)
#define VMX_FREE (VMX_MEM + 0x10000)    /* for the test's own */
#define VMX_VMXON_2 (VMX_MEM + 0x3e000) /* vmx_second()'s: at its end */
#define VMX_VMCS_2 (VMX_MEM + 0x3f000)
#define VMX_L2 0x2000UL
#define VMX_L2_STACK 0x9000UL
#define VMX_DONE 0x10
#define VMX_FAULT 0x40          /* OUT to this port + vector: an exception that nothing else takes */

enum {
	F_VPID = 0x0000, F_POSTED_VECTOR = 0x0002, F_INTR_STATUS = 0x0810, F_PML_INDEX = 0x0812,
	F_MSR_BITMAP = 0x2004, F_PML_ADDRESS = 0x200e, F_VIRTUAL_APIC = 0x2012, F_APIC_ACCESS = 0x2014,
	F_POSTED_DESC = 0x2016, F_VMFUNC = 0x2018, F_EPTP = 0x201a, F_EOI_EXIT = 0x201c, F_EPTP_LIST = 0x2024,
	F_VMREAD_BITMAP = 0x2026, F_VMWRITE_BITMAP = 0x2028, F_GPA = 0x2400, F_LINK = 0x2800,
	F_PIN = 0x4000, F_PROC = 0x4002, F_EXIT = 0x400c, F_ENTRY = 0x4012, F_ENTRY_EVENT = 0x4016,
	F_TPR_THRESHOLD = 0x401c, F_PROC2 = 0x401e, F_PLE_GAP = 0x4020, F_PLE_WINDOW = 0x4022,
	F_ERROR = 0x4400, F_REASON = 0x4402, F_EXIT_EVENT = 0x4404, F_INSN_LEN = 0x440c,
	F_INTERRUPTIBILITY = 0x4824, F_ACTIVITY = 0x4826,
	F_QUALIFICATION = 0x6400, F_LINEAR = 0x640a, F_CR0 = 0x6800, F_CR3 = 0x6802, F_CR4 = 0x6804, F_RSP = 0x681c,
	F_RIP = 0x681e, F_RFLAGS = 0x6820,
};

enum {
	P_EXT_INTR = 1 << 0, P_POSTED = 1 << 7,                                 /* F_PIN */
	P_INTR_WINDOW = 1 << 2, P_HLT = 1 << 7, P_CR8_LOAD = 1 << 19, P_CR8_STORE = 1 << 20, P_TPR_SHADOW = 1 << 21, P_IO = 1 << 24,
	P_MSR_BITMAPS = 1 << 28, P_PAUSE = 1 << 30,                             /* F_PROC */
	P2_APIC_ACCESS = 1 << 0, P2_EPT = 1 << 1, P2_X2APIC = 1 << 4, P2_VPID = 1 << 5, P2_APIC_REGS = 1 << 8,
	P2_VIRTUAL_INTR = 1 << 9, P2_PLE = 1 << 10, P2_VMFUNC = 1 << 13, P2_SHADOW_VMCS = 1 << 14, P2_PML = 1 << 17,
	P2_VE = 1 << 18, P2_MBEC = 1 << 22,                                     /* F_PROC2 */
	X_ACK_INTR = 1 << 15,                                                   /* F_EXIT */
};

enum {
	R_EXCEPTION = 0, R_EXT_INTR = 1, R_INTR_WINDOW = 7, R_CPUID = 10, R_HLT = 12, R_VMCALL = 18, R_VMREAD = 23, R_VMWRITE = 25,
	R_CR = 28, R_IO = 30, R_RDMSR = 31, R_WRMSR = 32, R_PAUSE = 40, R_TPR = 43, R_APIC_ACCESS = 44, R_EOI = 45,
	R_EPT_VIOLATION = 48, R_EPT_MISCONFIG = 49, R_APIC_WRITE = 56, R_VMFUNC = 59, R_PML_FULL = 62,
};

#define VMX_ENTRY_FAILED (1u << 31)     /* of the exit reason */
#define VMX_FAIL 0x10000u               /* vmx_run: the instruction failed, with this error number or without (0) */

#define EPT_ALL 7                       /* read, write, execute */
#define EPT_WB (6 << 3)
#define EPT_A (1 << 8)
#define EPT_D (1 << 9)

struct vmx {
	struct guest g;
	uint8_t *mem;           /* at VMX_MEM */
	struct cpuid_table *cpuid;
	unsigned int writes;
};

/**
 * vmx_start - L2's @code, @n bytes; it exits for HLT, I/O and what always does.  Skips the test where the device has no
 * VMX, or not all of the secondary controls @with.
 */
struct vmx vmx_start(const uint8_t *code, size_t n, uint32_t with, bool irqchip);
/** vmx_start_with - the same, with @count more leaves of CPUID in front. */
struct vmx vmx_start_with(const uint8_t *code, size_t n, uint32_t with, bool irqchip, const struct kvm_cpuid_entry2 *more,
			  size_t count);
void vmx_end(struct vmx *s);
/**
 * vmx_second - vCPU 1 of the same VM, with an L1 of the same program and a VMCS of its own, of vmx_start()'s fields.  It
 * shares the memory between test and L1, so that one of the two can be told something at a time; an L2 that loops needs
 * none of it.  vmx_end_second - before vmx_end().
 */
struct vmx vmx_second(struct vmx *s);
void vmx_end_second(struct vmx *s);

#define VMX(with, ...) vmx_start((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), with, false)

/** vmx_at - the test's view of guest memory. */
void *vmx_at(struct vmx *s, uint64_t gpa);

/** vmx_put - VMWRITE, the next time that L1 runs.  vmx_get - VMREAD, at once. */
void vmx_put(struct vmx *s, uint64_t field, uint64_t value);
uint64_t vmx_get(struct vmx *s, uint64_t field);
/** vmx_set - sets bits of a field; vmx_clear - clears them. */
void vmx_set(struct vmx *s, uint64_t field, uint64_t bits);
void vmx_clear(struct vmx *s, uint64_t field, uint64_t bits);

/** vmx_control2 - secondary controls, and the control that turns them on. */
void vmx_control2(struct vmx *s, uint32_t bits);

/** vmx_do - L1 runs @code, which ends at its end. */
void vmx_do(struct vmx *s, const uint8_t *code, size_t n);

#define VMX_DO(s, ...) vmx_do(s, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/** vmx_run - to the next exit: its reason, or VMX_FAIL.  vmx_expect - it has to be this one. */
uint32_t vmx_run(struct vmx *s);
void vmx_expect(struct vmx *s, uint32_t reason);
/** vmx_enter - L1 is about to enter, and runs at the next guest_run(); vmx_reason - after VMX_DONE. */
void vmx_enter(struct vmx *s);
uint32_t vmx_reason(struct vmx *s);
/** vmx_launched - not zero: L1 enters by VMRESUME.  For tests that change the current VMCS. */
uint64_t *vmx_launched(struct vmx *s);
/** vmx_unload - VMCLEAR: the VMCS is in memory, its launch state clear.  vmx_load - VMPTRLD. */
void vmx_unload(struct vmx *s);
void vmx_load(struct vmx *s);
/** vmx_narrow - L1 is outside IA-32e mode, with PAE paging by the table at @cr3, and goes on at @rip. */
void vmx_narrow(struct vmx *s, uint64_t cr3, uint64_t rip);
/** vmx_flip_capability - of an MSR IA32_VMX_*, between two runs. */
void vmx_flip_capability(struct vmx *s, uint32_t msr, uint64_t bits);
/** vmx_stop - the client's time while L2 runs: L2 has done OUT to @port, which is complete. */
void vmx_stop(struct vmx *s, uint16_t port);
/** vmx_goto, vmx_next - L2 goes on at @rip, or behind the instruction that has exited. */
void vmx_goto(struct vmx *s, uint64_t rip);
void vmx_next(struct vmx *s);
/** vmx_reg - L2's general register by its number, but RSP. */
uint64_t *vmx_reg(struct vmx *s, unsigned int n);
/** vmx_code - other code for L2, at @at. */
void vmx_code(struct vmx *s, uint64_t at, const uint8_t *code, size_t n);

#define VMX_CODE(s, at, ...) vmx_code(s, at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/** vmx_ept - L2 runs with EPT; its first 2 MiB and the 2 MiB around the APIC are L1's, in pages.  @flags: of EPTP. */
void vmx_ept(struct vmx *s, uint64_t flags);
/** vmx_ept_entry - of one of these pages. */
uint64_t *vmx_ept_entry(struct vmx *s, uint64_t gpa);
#define EPTP_AD 0x40

#endif
