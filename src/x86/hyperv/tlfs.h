/* SPDX-License-Identifier: MIT */
/* Numbers of Hyper-V's interface: Hypervisor Top-Level Functional Specification (TLFS) 6.0b, by its chapters. */
#ifndef X86_HYPERV_TLFS_H
#define X86_HYPERV_TLFS_H

#include <stdint.h>

/* --- CPUID, chapter 2.4 --- */
#define HV_LEAF_VENDOR 0x40000000u
#define HV_LEAF_INTERFACE 0x40000001u
#define HV_LEAF_VERSION 0x40000002u
#define HV_LEAF_FEATURES 0x40000003u
#define HV_LEAF_HINTS 0x40000004u
#define HV_LEAF_LIMITS 0x40000005u
#define HV_LEAF_NESTED 0x4000000au
#define HV_LEAF_SYNDBG_VENDOR 0x40000080u
#define HV_LEAF_SYNDBG_INTERFACE 0x40000081u
#define HV_LEAF_SYNDBG_CAPS 0x40000082u

#define HV_INTERFACE 0x31237648u                /* "Hv#1" */
#define HV_SYNDBG_INTERFACE 0x31235356u         /* "VS#1" */

/* Features: EAX, what a partition may access. */
#define HV_ACCESS_VP_RUNTIME (1u << 0)
#define HV_ACCESS_REF_COUNTER (1u << 1)
#define HV_ACCESS_SYNIC (1u << 2)
#define HV_ACCESS_STIMERS (1u << 3)
#define HV_ACCESS_APIC (1u << 4)                /* EOI, ICR, TPR, the VP assist page */
#define HV_ACCESS_HYPERCALL (1u << 5)
#define HV_ACCESS_VP_INDEX (1u << 6)
#define HV_ACCESS_RESET (1u << 7)
#define HV_ACCESS_REF_TSC (1u << 9)
#define HV_ACCESS_FREQUENCIES (1u << 11)
#define HV_ACCESS_REENLIGHTENMENT (1u << 13)
#define HV_ACCESS_TSC_INVARIANT (1u << 15)
/* EBX. */
#define HV_POST_MESSAGES (1u << 4)
#define HV_SIGNAL_EVENTS (1u << 5)
#define HV_DEBUGGING (1u << 11)
#define HV_EXTENDED_HYPERCALLS (1u << 20)
/* EDX. */
#define HV_GUEST_DEBUGGING (1u << 1)
#define HV_XMM_INPUT (1u << 4)
#define HV_FREQUENCY_MSRS (1u << 8)
#define HV_CRASH_MSRS (1u << 10)
#define HV_DEBUG_MSRS (1u << 11)
#define HV_STIMER_DIRECT (1u << 19)

/* Hints: EAX, what a guest is advised to use. */
#define HV_HINT_REMOTE_FLUSH (1u << 2)
#define HV_HINT_APIC_MSRS (1u << 3)
#define HV_HINT_RELAXED_TIMING (1u << 5)
#define HV_HINT_NO_AUTO_EOI (1u << 9)
#define HV_HINT_CLUSTER_IPI (1u << 10)
#define HV_HINT_EX_MASKS (1u << 11)
#define HV_HINT_EVMCS (1u << 14)
#define HV_HINT_NO_CORE_SHARING (1u << 18)      /* no two virtual processors share a core, but siblings */

/* Nested features: EAX (the enlightened VMCS's versions in its low half) and EBX. */
#define HV_NESTED_DIRECT_FLUSH (1u << 17)
#define HV_NESTED_MAPPING_FLUSH (1u << 18)
#define HV_NESTED_MSR_BITMAP (1u << 19)
#define HV_NESTED_ENLIGHTENED_TLB (1u << 22)    /* SVM: flushes of an ASID leave nested translations alone */
#define HV_NESTED_PERF_GLOBAL_CTRL (1u << 0)

#define HV_SYNDBG_KERNEL_DEBUGGING (1u << 1)

/* --- MSRs --- */
#define HV_MSR_GUEST_OS_ID 0x40000000u
#define HV_MSR_HYPERCALL 0x40000001u
#define HV_MSR_VP_INDEX 0x40000002u
#define HV_MSR_RESET 0x40000003u
#define HV_MSR_VP_RUNTIME 0x40000010u
#define HV_MSR_TIME_REF_COUNT 0x40000020u
#define HV_MSR_REFERENCE_TSC 0x40000021u
#define HV_MSR_TSC_FREQUENCY 0x40000022u
#define HV_MSR_APIC_FREQUENCY 0x40000023u
#define HV_MSR_EOI 0x40000070u
#define HV_MSR_ICR 0x40000071u
#define HV_MSR_TPR 0x40000072u
#define HV_MSR_VP_ASSIST_PAGE 0x40000073u
#define HV_MSR_SCONTROL 0x40000080u
#define HV_MSR_SVERSION 0x40000081u
#define HV_MSR_SIEFP 0x40000082u
#define HV_MSR_SIMP 0x40000083u
#define HV_MSR_EOM 0x40000084u
#define HV_MSR_SINT0 0x40000090u
#define HV_MSR_SINT15 0x4000009fu
#define HV_MSR_STIMER0_CONFIG 0x400000b0u
#define HV_MSR_STIMER3_COUNT 0x400000b7u
#define HV_MSR_SYNDBG_CONTROL 0x400000f1u
#define HV_MSR_SYNDBG_STATUS 0x400000f2u
#define HV_MSR_SYNDBG_SEND 0x400000f3u
#define HV_MSR_SYNDBG_RECV 0x400000f4u
#define HV_MSR_SYNDBG_PENDING 0x400000f5u
#define HV_MSR_SYNDBG_OPTIONS 0x400000ffu
#define HV_MSR_CRASH_P0 0x40000100u
#define HV_MSR_CRASH_P4 0x40000104u
#define HV_MSR_CRASH_CTL 0x40000105u
#define HV_MSR_REENLIGHTENMENT 0x40000106u
#define HV_MSR_TSC_EMULATION 0x40000107u
#define HV_MSR_TSC_EMULATION_STATUS 0x40000108u
#define HV_MSR_TSC_INVARIANT 0x40000118u

#define HV_PAGE_ENABLE 1ULL                     /* of HYPERCALL, REFERENCE_TSC, VP_ASSIST_PAGE, SIMP, SIEFP */
#define HV_CRASH_NOTIFY (1ULL << 63)
#define HV_TSC_INVARIANT_SHOWN 1ULL             /* of TSC_INVARIANT: CPUID says that the TSC is invariant */
#define HV_CRASH_PARAMETERS 5
#define HV_SYNDBG_USE_HYPERCALLS (1u << 2)      /* of SYNDBG_OPTIONS */

/* HV_VP_ASSIST_PAGE, chapter 7.8.7.1: what a hypervisor inside says in it. */
struct hv_assist {
	uint64_t nested_control;
	uint8_t enlighten_entry, reserved[7];
	uint64_t nested_vmcs;
};
#define HV_ASSIST_NESTED 0x20                   /* where that begins */
#define HV_ASSIST_DIRECT_HYPERCALL 1u           /* of nested_control */

/* Exits that no processor makes: behind a flush by L2 that L1 wants to hear of.  Chapter 16.8. */
#define HV_VMX_TRAP_AFTER_FLUSH 0x10000031u
#define HV_SVM_ENLIGHTENED 0xf0000000ULL        /* exit code; EXITINFO1 says which */
#define HV_SVM_TRAP_AFTER_FLUSH 1

/* --- hypercalls, chapters 3 and 17 --- */
#define HV_CALL_FLUSH_SPACE 0x0002
#define HV_CALL_FLUSH_LIST 0x0003
#define HV_CALL_LONG_SPIN_WAIT 0x0008
#define HV_CALL_SEND_IPI 0x000b
#define HV_CALL_FLUSH_SPACE_EX 0x0013
#define HV_CALL_FLUSH_LIST_EX 0x0014
#define HV_CALL_SEND_IPI_EX 0x0015
#define HV_CALL_POST_MESSAGE 0x005c
#define HV_CALL_SIGNAL_EVENT 0x005d
#define HV_CALL_POST_DEBUG_DATA 0x0069
#define HV_CALL_RETRIEVE_DEBUG_DATA 0x006a
#define HV_CALL_RESET_DEBUG_SESSION 0x006b
#define HV_CALL_FLUSH_MAPPINGS 0x00af           /* HvCallFlushGuestPhysicalAddressSpace */
#define HV_CALL_FLUSH_MAPPINGS_LIST 0x00b0      /* HvCallFlushGuestPhysicalAddressList */
#define HV_CALL_EXT_QUERY 0x8001
#define HV_CALL_EXT_LAST 0x8041                 /* as many as one query has bits for */

/* The control word. */
#define HV_CONTROL_FAST (1ULL << 16)
#define HV_CONTROL_RESERVED 0xf000f000f8000000ULL

/* Statuses. */
#define HV_SUCCESS 0
#define HV_INVALID_CODE 2
#define HV_INVALID_INPUT 3
#define HV_INVALID_ALIGNMENT 4
#define HV_INVALID_PARAMETER 5
#define HV_ACCESS_DENIED 6
#define HV_OPERATION_DENIED 8
#define HV_INVALID_PORT_ID 17

/* A set of virtual processors: chapter 7.8.7.3, HV_VP_SET. */
#define HV_SET_SPARSE 0
#define HV_SET_ALL 1

/* Flags of the flushes. */
#define HV_FLUSH_ALL_PROCESSORS 1u

/* Vectors of IPIs. */
#define HV_IPI_FIRST 0x10
#define HV_IPI_LAST 0xff

/* HV_REFERENCE_TSC_PAGE: time in 100 ns is (tsc * scale >> 64) + offset while the sequence is neither 0 nor changes. */
struct hv_tsc_page {
	uint32_t sequence, reserved;
	uint64_t scale;
	int64_t offset;
};
_Static_assert(sizeof(struct hv_tsc_page) == 24, "the guest's layout");

#endif
