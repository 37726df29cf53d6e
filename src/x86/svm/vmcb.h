/* SPDX-License-Identifier: MIT */
/* The virtual machine control block; APM 2, appendix B. */
#ifndef X86_SVM_VMCB_H
#define X86_SVM_VMCB_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

struct vmcb_seg {
	uint16_t selector;
	uint16_t attrib;                /* as bits 55:52 and 47:40 of a descriptor, together */
	uint32_t limit;                 /* in bytes */
	uint64_t base;
};

struct vmcb_control {
	uint16_t cr_read, cr_write;
	uint16_t dr_read, dr_write;
	uint32_t exceptions;
	uint32_t word3, word4, word5;   /* exit code 0x60, 0x80, 0xa0 and on, by bit */
	uint8_t reserved1[36];
	uint16_t pause_threshold, pause_count;
	uint64_t iopm, msrpm;
	uint64_t tsc_offset;
	uint32_t asid;
	uint8_t tlb_control, reserved2[3];
	uint32_t int_ctl;               /* V_* */
	uint32_t int_vector;
	uint64_t int_state;             /* INT_* */
	uint64_t exit_code, exit_info1, exit_info2;
	uint64_t exit_int_info;
	uint64_t nested_ctl;
	uint64_t avic_bar, ghcb;
	uint64_t event_inj;
	uint64_t nested_cr3;
	uint64_t virt_ext;
	uint64_t clean;
	uint64_t next_rip;
	uint8_t insn_len, insn_bytes[15];
	uint8_t reserved3[0x3e0 - 0xe0];
	struct {                        /* software's own: of Hyper-V, as TLFS 16.5 has it */
		uint32_t control;       /* HV_SVM_* */
		uint32_t vp_id;
		uint64_t vm_id, partition_assist_page, reserved;
	} hv;
};

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t reserved1[43];
	uint8_t cpl;
	uint8_t reserved2[4];
	uint64_t efer;
	uint8_t reserved3[112];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint8_t reserved4[88];
	uint64_t rsp;
	uint64_t s_cet, ssp, isst;
	uint64_t rax;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t cr2;
	uint8_t reserved5[32];
	uint64_t g_pat;
	uint64_t dbgctl, br_from, br_to, last_exception_from, last_exception_to;        /* as struct x86_lbr_msrs */
};

struct vmcb {
	struct vmcb_control control;
	struct vmcb_save save;
};

/* A struct phys_part: from the start of @first to the end of @last. */
#define VMCB_PART(first, last) \
	{ offsetof(struct vmcb, first), \
	  offsetof(struct vmcb, last) + sizeof(((struct vmcb *)0)->last) - offsetof(struct vmcb, first) }

static_assert(offsetof(struct vmcb_control, iopm) == 0x40, "APM 2, table B-1");
static_assert(offsetof(struct vmcb_control, exit_code) == 0x70, "APM 2, table B-1");
static_assert(offsetof(struct vmcb_control, event_inj) == 0xa8, "APM 2, table B-1");
static_assert(offsetof(struct vmcb_control, hv) == 0x3e0, "TLFS 16.5");
static_assert(offsetof(struct vmcb, save) == 0x400, "APM 2, table B-1");
static_assert(offsetof(struct vmcb, save.efer) == 0x4d0, "APM 2, table B-2");
static_assert(offsetof(struct vmcb, save.rax) == 0x5f8, "APM 2, table B-2");
static_assert(offsetof(struct vmcb, save.last_exception_to) == 0x690, "APM 2, table B-2");

/* The MSR of the TSC's ratio: 8.32 bits. */
#define TSC_RATIO_SHIFT 32
#define TSC_RATIO_ONE (1ULL << TSC_RATIO_SHIFT)

#define IOPM_SIZE 0x3000u
#define MSRPM_SIZE 0x2000u
#define MSRPM_USED 0x1800u              /* three ranges of MSRs */

/* hv.control */
#define HV_SVM_DIRECT_FLUSH 1u
#define HV_SVM_MSR_BITMAP 2u

/* int_ctl */
#define V_TPR 0xffu
#define V_IRQ (1u << 8)
#define V_GIF (1u << 9)
#define V_NMI (1u << 11)
#define V_NMI_MASK (1u << 12)
#define V_PRIORITY(int_ctl) ((int_ctl) >> 16 & 15)
#define V_IGNORE_TPR (1u << 20)
#define V_INTR_MASKING (1u << 24)
#define V_GIF_ENABLE (1u << 25)
#define V_NMI_ENABLE (1u << 26)

/* int_state */
#define INT_SHADOW 1u

/* nested_ctl */
#define NESTED_NP 1u

/* virt_ext */
#define VIRT_LBR 1u
#define VIRT_VMLOAD_VMSAVE 2u

/* tlb_control */
enum { TLB_NOTHING, TLB_ALL, TLB_ASID = 3, TLB_ASID_NONGLOBAL = 7 };

/* event_inj, exit_int_info */
#define EVENT_VECTOR 0xffu
#define EVENT_TYPE(e) ((e) >> 8 & 7)
#define EVENT_TYPE_SHIFT 8
#define EVENT_EV (1u << 11)
#define EVENT_VALID (1u << 31)
#define EVENT_ERROR_SHIFT 32
enum { EVENT_INTR, EVENT_NMI = 2, EVENT_EXCEPTION = 3, EVENT_SOFT = 4 };

/* Bits of word3: exit code 0x60 + bit; of word4: 0x80 + bit; of word5: 0xa0 + bit. */
enum {
	W3_INTR, W3_NMI, W3_SMI, W3_INIT, W3_VINTR, W3_CR0_SEL, W3_SIDT, W3_SGDT, W3_SLDT, W3_STR, W3_LIDT, W3_LGDT,
	W3_LLDT, W3_LTR, W3_RDTSC, W3_RDPMC, W3_PUSHF, W3_POPF, W3_CPUID, W3_RSM, W3_IRET, W3_INTN, W3_INVD, W3_PAUSE,
	W3_HLT, W3_INVLPG, W3_INVLPGA, W3_IOIO, W3_MSR, W3_TASK_SWITCH, W3_FERR_FREEZE, W3_SHUTDOWN,
};
enum {
	W4_VMRUN, W4_VMMCALL, W4_VMLOAD, W4_VMSAVE, W4_STGI, W4_CLGI, W4_SKINIT, W4_RDTSCP, W4_ICEBP, W4_WBINVD,
	W4_MONITOR, W4_MWAIT, W4_MWAIT_ARMED, W4_XSETBV, W4_RDPRU,
};
enum { W5_INVLPGB, W5_INVLPGB_ILLEGAL, W5_INVPCID };

#define EXIT_CR_READ 0x00
#define EXIT_CR_WRITE 0x10
#define EXIT_DR_READ 0x20
#define EXIT_DR_WRITE 0x30
#define EXIT_EXCEPTION 0x40
#define EXIT_WORD3 0x60
#define EXIT_WORD4 0x80
#define EXIT_WORD5 0xa0
#define EXIT_NPF 0x400
/* exit_info1 of MOV CR, where the processor assists: the register's number is there, and it is no other instruction. */
#define INFO_MOV_CR (1ULL << 63)
#define EXIT_INVALID (~0ULL)

#endif
