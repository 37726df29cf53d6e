/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's enlightened VMCS, version 1: a VMCS that L1 keeps in memory, in a
 * known layout, and reads and writes without VMREAD and VMWRITE.  TLFS 16.11.
 */
#ifndef X86_VMX_EVMCS_H
#define X86_VMX_EVMCS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define EVMCS_VERSION 1u
#define EVMCS_VERSIONS (EVMCS_VERSION << 8 | EVMCS_VERSION)     /* highest and lowest */

/* Groups of fields, as bits of clean_fields: L1 has not changed them since the last entry of this VMCS. */
#define CLEAN_NONE 0u                   /* belongs to none: always looked at */
#define CLEAN_IO_BITMAP (1u << 0)
#define CLEAN_MSR_BITMAP (1u << 1)
#define CLEAN_CONTROL_GRP2 (1u << 2)
#define CLEAN_CONTROL_GRP1 (1u << 3)
#define CLEAN_CONTROL_PROC (1u << 4)
#define CLEAN_CONTROL_EVENT (1u << 5)
#define CLEAN_CONTROL_ENTRY (1u << 6)
#define CLEAN_CONTROL_EXCPN (1u << 7)
#define CLEAN_CRDR (1u << 8)
#define CLEAN_CONTROL_XLAT (1u << 9)
#define CLEAN_GUEST_BASIC (1u << 10)
#define CLEAN_GUEST_GRP1 (1u << 11)
#define CLEAN_GUEST_GRP2 (1u << 12)
#define CLEAN_HOST_POINTER (1u << 13)
#define CLEAN_HOST_GRP1 (1u << 14)
#define CLEAN_ALL 0xffffu               /* of a field: only where nothing at all has changed */

enum { EVMCS_IN = 1, EVMCS_OUT = 2, EVMCS_BOTH = 3 };  /* to us at VM entry, to L1 at VM exit */

/*
 * In the order of the layout.  F(type, name, group, way) and A(type, name, count,
 * group, way): the same fields as struct vmcs has; P(type, name, count): others.
 */
#define EVMCS_FIELDS(F, A, P) \
	A(uint16_t, host_selector, 7, HOST_GRP1, IN) P(uint16_t, pad16, 1) F(uint64_t, host_pat, HOST_GRP1, IN) \
	F(uint64_t, host_efer, HOST_GRP1, IN) F(uint64_t, host_cr0, HOST_GRP1, IN) F(uint64_t, host_cr3, HOST_GRP1, IN) \
	F(uint64_t, host_cr4, HOST_GRP1, IN) F(uint64_t, host_sysenter_esp, HOST_GRP1, IN) \
	F(uint64_t, host_sysenter_eip, HOST_GRP1, IN) F(uint64_t, host_rip, HOST_GRP1, IN) \
	F(uint32_t, host_sysenter_cs, HOST_GRP1, IN) F(uint32_t, pin, CONTROL_GRP1, IN) \
	F(uint32_t, exit_controls, CONTROL_GRP1, IN) F(uint32_t, proc2, CONTROL_GRP1, IN) \
	A(uint64_t, io_bitmap, 2, IO_BITMAP, IN) F(uint64_t, msr_bitmap, MSR_BITMAP, IN) \
	A(uint16_t, guest_selector, 8, GUEST_GRP2, BOTH) A(uint32_t, guest_limit, 8, GUEST_GRP2, BOTH) \
	F(uint32_t, guest_gdtr_limit, GUEST_GRP2, BOTH) F(uint32_t, guest_idtr_limit, GUEST_GRP2, BOTH) \
	A(uint32_t, guest_access, 8, GUEST_GRP2, BOTH) A(uint64_t, guest_base, 8, GUEST_GRP2, BOTH) \
	F(uint64_t, guest_gdtr_base, GUEST_GRP2, BOTH) F(uint64_t, guest_idtr_base, GUEST_GRP2, BOTH) \
	P(uint64_t, pad64_1, 3) F(uint64_t, exit_msr_store, ALL, IN) F(uint64_t, exit_msr_load, ALL, IN) \
	F(uint64_t, entry_msr_load, ALL, IN) P(uint64_t, cr3_target, 4) F(uint32_t, pf_mask, ALL, IN) \
	F(uint32_t, pf_match, ALL, IN) F(uint32_t, cr3_targets, ALL, IN) F(uint32_t, exit_msr_stores, ALL, IN) \
	F(uint32_t, exit_msr_loads, ALL, IN) F(uint32_t, entry_msr_loads, ALL, IN) \
	F(uint64_t, tsc_offset, CONTROL_GRP2, IN) F(uint64_t, virtual_apic, CONTROL_GRP2, IN) \
	F(uint64_t, link, GUEST_GRP1, IN) F(uint64_t, guest_debugctl, GUEST_GRP1, BOTH) \
	F(uint64_t, guest_pat, GUEST_GRP1, BOTH) F(uint64_t, guest_efer, GUEST_GRP1, BOTH) \
	A(uint64_t, guest_pdpte, 4, GUEST_GRP1, BOTH) F(uint64_t, guest_pending_db, GUEST_GRP1, BOTH) \
	F(uint64_t, guest_sysenter_esp, GUEST_GRP1, BOTH) F(uint64_t, guest_sysenter_eip, GUEST_GRP1, BOTH) \
	F(uint32_t, guest_activity, GUEST_GRP1, BOTH) F(uint32_t, guest_sysenter_cs, GUEST_GRP1, BOTH) \
	F(uint64_t, cr0_mask, CRDR, IN) F(uint64_t, cr4_mask, CRDR, IN) F(uint64_t, cr0_shadow, CRDR, IN) \
	F(uint64_t, cr4_shadow, CRDR, IN) F(uint64_t, guest_cr0, CRDR, BOTH) F(uint64_t, guest_cr3, CRDR, BOTH) \
	F(uint64_t, guest_cr4, CRDR, BOTH) F(uint64_t, guest_dr7, CRDR, BOTH) F(uint64_t, host_fs_base, HOST_POINTER, IN) \
	F(uint64_t, host_gs_base, HOST_POINTER, IN) F(uint64_t, host_tr_base, HOST_POINTER, IN) \
	F(uint64_t, host_gdtr_base, HOST_POINTER, IN) F(uint64_t, host_idtr_base, HOST_POINTER, IN) \
	F(uint64_t, host_rsp, HOST_POINTER, IN) F(uint64_t, eptp, CONTROL_XLAT, IN) F(uint16_t, vpid, CONTROL_XLAT, IN) \
	P(uint16_t, pad16_2, 3) P(uint64_t, pad64_2, 5) F(uint64_t, guest_physical, NONE, OUT) \
	F(uint32_t, insn_error, NONE, OUT) F(uint32_t, exit_reason, NONE, OUT) F(uint32_t, exit_event, NONE, OUT) \
	F(uint32_t, exit_error, NONE, OUT) F(uint32_t, vectoring_event, NONE, OUT) \
	F(uint32_t, vectoring_error, NONE, OUT) F(uint32_t, exit_insn_len, NONE, OUT) \
	F(uint32_t, exit_insn_info, NONE, OUT) F(uint64_t, qualification, NONE, OUT) P(uint64_t, exit_io, 4) \
	F(uint64_t, guest_linear, NONE, OUT) F(uint64_t, guest_rsp, GUEST_BASIC, BOTH) \
	F(uint64_t, guest_rflags, GUEST_BASIC, BOTH) F(uint32_t, guest_interruptibility, GUEST_BASIC, BOTH) \
	F(uint32_t, proc, CONTROL_PROC, IN) F(uint32_t, exceptions, CONTROL_EXCPN, IN) \
	F(uint32_t, entry_controls, CONTROL_ENTRY, BOTH) F(uint32_t, entry_event, CONTROL_EVENT, BOTH) \
	F(uint32_t, entry_error, CONTROL_EVENT, BOTH) F(uint32_t, entry_insn_len, CONTROL_EVENT, BOTH) \
	F(uint32_t, tpr_threshold, NONE, IN) F(uint64_t, guest_rip, NONE, BOTH) P(uint32_t, clean_fields, 1) \
	P(uint32_t, pad32, 1) P(uint32_t, synthetic_controls, 1) P(uint32_t, enlightenments, 1) P(uint32_t, vp_id, 1) \
	P(uint32_t, pad32_2, 1) P(uint64_t, vm_id, 1) P(uint64_t, partition_assist, 1) P(uint64_t, pad64_3, 4) \
	F(uint64_t, guest_bndcfgs, GUEST_GRP1, BOTH) F(uint64_t, guest_perf_global, GUEST_GRP1, IN) \
	P(uint64_t, shadow_stack, 4) P(uint64_t, pad64_4, 2) F(uint64_t, xss_exit, CONTROL_GRP2, IN) \
	F(uint64_t, encls_exit, CONTROL_GRP2, IN) F(uint64_t, host_perf_global, HOST_GRP1, IN) \
	F(uint64_t, tsc_multiplier, CONTROL_GRP2, IN) P(uint64_t, host_shadow_stack, 3) P(uint64_t, pad64_5, 1)

/* enlightenments. */
#define EVMCS_DIRECT_FLUSH (1u << 0)
#define EVMCS_MSR_BITMAP (1u << 1)

#define EVMCS_MEMBER(type, name, group, way) type name;
#define EVMCS_MEMBERS(type, name, count, group, way) type name[count];
#define EVMCS_OTHERS(type, name, count) type name[count];
struct evmcs {
	uint32_t revision;              /* the version or, as Hyper-V does, that of IA32_VMX_BASIC */
	uint32_t abort;
	EVMCS_FIELDS(EVMCS_MEMBER, EVMCS_MEMBERS, EVMCS_OTHERS)
} __attribute__((packed));

static_assert(offsetof(struct evmcs, guest_selector) == 128, "the TLFS's layout");
static_assert(offsetof(struct evmcs, tsc_offset) == 400, "the TLFS's layout");
static_assert(offsetof(struct evmcs, guest_rip) == 816, "the TLFS's layout");
static_assert(sizeof(struct evmcs) == 1024, "the TLFS's layout");

#endif
