/* SPDX-License-Identifier: MIT */
/*
 * The virtual-machine control structure as we keep it: the table of its fields
 * (SDM 3D, appendix B), and the controls in them (SDM 3C, chapter 24).
 *
 * The layout is that of KVM's own VMCS for nested guests, revision and all:
 * clients save it as it is (KVM_GET_NESTED_STATE) and may restore it elsewhere.
 * Fields that KVM has not are where it has padding.
 */
#ifndef X86_VMX_VMCS_H
#define X86_VMX_VMCS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMCS_REVISION 0x11e57ed0u
#define VMCS_SIZE 4096
#define VMCS_SHADOW (1u << 31)          /* of the revision: a shadow VMCS */

/*
 * F(encoding, type, name): a field; A(encoding, type, name, count): several, whose
 * encodings follow each other by two; P(type, name, count): none.  In the order of
 * the layout.
 */
#define VMCS_FIELDS(F, A, P) \
	A(0x2000, uint64_t, io_bitmap, 2) F(0x2004, uint64_t, msr_bitmap) F(0x2006, uint64_t, exit_msr_store) \
	F(0x2008, uint64_t, exit_msr_load) F(0x200a, uint64_t, entry_msr_load) F(0x2010, uint64_t, tsc_offset) \
	F(0x2012, uint64_t, virtual_apic) F(0x2014, uint64_t, apic_access) F(0x2016, uint64_t, posted_desc) \
	F(0x201a, uint64_t, eptp) A(0x201c, uint64_t, eoi_exit, 4) F(0x202c, uint64_t, xss_exit) \
	F(0x2400, uint64_t, guest_physical) F(0x2800, uint64_t, link) F(0x2802, uint64_t, guest_debugctl) \
	F(0x2804, uint64_t, guest_pat) F(0x2806, uint64_t, guest_efer) F(0x2808, uint64_t, guest_perf_global) \
	A(0x280a, uint64_t, guest_pdpte, 4) F(0x2812, uint64_t, guest_bndcfgs) F(0x2c00, uint64_t, host_pat) \
	F(0x2c02, uint64_t, host_efer) F(0x2c04, uint64_t, host_perf_global) F(0x2026, uint64_t, vmread_bitmap) \
	F(0x2028, uint64_t, vmwrite_bitmap) F(0x2018, uint64_t, vmfunc_controls) F(0x2024, uint64_t, eptp_list) \
	F(0x200e, uint64_t, pml_address) F(0x202e, uint64_t, encls_exit) F(0x2032, uint64_t, tsc_multiplier) \
	F(0x202a, uint64_t, ve_info) \
	F(0x6000, uint64_t, cr0_mask) F(0x6002, uint64_t, cr4_mask) F(0x6004, uint64_t, cr0_shadow) \
	F(0x6006, uint64_t, cr4_shadow) P(uint64_t, cr3_target, 4) F(0x6400, uint64_t, qualification) \
	F(0x640a, uint64_t, guest_linear) F(0x6800, uint64_t, guest_cr0) F(0x6802, uint64_t, guest_cr3) \
	F(0x6804, uint64_t, guest_cr4) A(0x6806, uint64_t, guest_base, 8) F(0x6816, uint64_t, guest_gdtr_base) \
	F(0x6818, uint64_t, guest_idtr_base) F(0x681a, uint64_t, guest_dr7) F(0x681c, uint64_t, guest_rsp) \
	F(0x681e, uint64_t, guest_rip) F(0x6820, uint64_t, guest_rflags) F(0x6822, uint64_t, guest_pending_db) \
	F(0x6824, uint64_t, guest_sysenter_esp) F(0x6826, uint64_t, guest_sysenter_eip) \
	F(0x6c00, uint64_t, host_cr0) F(0x6c02, uint64_t, host_cr3) F(0x6c04, uint64_t, host_cr4) \
	F(0x6c06, uint64_t, host_fs_base) F(0x6c08, uint64_t, host_gs_base) F(0x6c0a, uint64_t, host_tr_base) \
	F(0x6c0c, uint64_t, host_gdtr_base) F(0x6c0e, uint64_t, host_idtr_base) \
	F(0x6c10, uint64_t, host_sysenter_esp) F(0x6c12, uint64_t, host_sysenter_eip) \
	F(0x6c14, uint64_t, host_rsp) F(0x6c16, uint64_t, host_rip) P(uint64_t, pad_natural, 8) \
	F(0x4000, uint32_t, pin) F(0x4002, uint32_t, proc) F(0x4004, uint32_t, exceptions) \
	F(0x4006, uint32_t, pf_mask) F(0x4008, uint32_t, pf_match) F(0x400a, uint32_t, cr3_targets) \
	F(0x400c, uint32_t, exit_controls) F(0x400e, uint32_t, exit_msr_stores) \
	F(0x4010, uint32_t, exit_msr_loads) F(0x4012, uint32_t, entry_controls) \
	F(0x4014, uint32_t, entry_msr_loads) F(0x4016, uint32_t, entry_event) F(0x4018, uint32_t, entry_error) \
	F(0x401a, uint32_t, entry_insn_len) F(0x401c, uint32_t, tpr_threshold) F(0x401e, uint32_t, proc2) \
	F(0x4400, uint32_t, insn_error) F(0x4402, uint32_t, exit_reason) F(0x4404, uint32_t, exit_event) \
	F(0x4406, uint32_t, exit_error) F(0x4408, uint32_t, vectoring_event) F(0x440a, uint32_t, vectoring_error) \
	F(0x440c, uint32_t, exit_insn_len) F(0x440e, uint32_t, exit_insn_info) A(0x4800, uint32_t, guest_limit, 8) \
	F(0x4810, uint32_t, guest_gdtr_limit) F(0x4812, uint32_t, guest_idtr_limit) \
	A(0x4814, uint32_t, guest_access, 8) F(0x4824, uint32_t, guest_interruptibility) \
	F(0x4826, uint32_t, guest_activity) F(0x482a, uint32_t, guest_sysenter_cs) \
	F(0x4c00, uint32_t, host_sysenter_cs) F(0x482e, uint32_t, preemption_timer) F(0x4020, uint32_t, ple_gap) \
	F(0x4022, uint32_t, ple_window) P(uint32_t, pad32, 5) \
	F(0x0000, uint16_t, vpid) F(0x0002, uint16_t, posted_vector) A(0x0800, uint16_t, guest_selector, 8) \
	F(0x0810, uint16_t, guest_intr_status) A(0x0c00, uint16_t, host_selector, 7) F(0x0812, uint16_t, pml_index) \
	F(0x0004, uint16_t, eptp_index)

/* guest_base[], _limit[], _access[] and _selector[]: as enum x86_seg_reg, and these behind it. */
enum { VMCS_LDTR = 6, VMCS_TR = 7, VMCS_HOST_TR = 6 };

#define VMCS_MEMBER(encoding, type, name) type name;
#define VMCS_MEMBERS(encoding, type, name, count) type name[count];
#define VMCS_PADDING(type, name, count) type name[count];
struct vmcs {
	uint32_t revision;
	uint32_t abort;
	uint32_t launched;
	uint32_t reserved[7];
	VMCS_FIELDS(VMCS_MEMBER, VMCS_MEMBERS, VMCS_PADDING)
} __attribute__((packed));

static_assert(offsetof(struct vmcs, io_bitmap) == 40, "as KVM");
static_assert(offsetof(struct vmcs, guest_physical) == 168, "as KVM");
static_assert(offsetof(struct vmcs, cr0_mask) == 344, "as KVM");
static_assert(offsetof(struct vmcs, guest_cr0) == 424, "as KVM");
static_assert(offsetof(struct vmcs, pin) == 744, "as KVM");
static_assert(offsetof(struct vmcs, vpid) == 960, "as KVM");
static_assert(sizeof(struct vmcs) <= VMCS_SIZE, "a page");

/* Pin-based controls; SDM 3C, 24.6.1. */
#define PIN_EXT_INTR (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VIRTUAL_NMI (1u << 5)
#define PIN_TIMER (1u << 6)             /* the VMX-preemption timer */
#define PIN_POSTED (1u << 7)

/* Processor-based controls, 24.6.2. */
#define PROC_INTR_WINDOW (1u << 2)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_CR8_STORE (1u << 20)
#define PROC_TPR_SHADOW (1u << 21)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_IO (1u << 24)
#define PROC_IO_BITMAPS (1u << 25)
#define PROC_MONITOR_TRAP (1u << 27)
#define PROC_MSR_BITMAPS (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC_SECONDARY (1u << 31)

#define PROC2_APIC_ACCESS (1u << 0)
#define PROC2_EPT (1u << 1)
#define PROC2_DESCRIPTORS (1u << 2)
#define PROC2_RDTSCP (1u << 3)
#define PROC2_X2APIC (1u << 4)
#define PROC2_VPID (1u << 5)
#define PROC2_WBINVD (1u << 6)
#define PROC2_UNRESTRICTED (1u << 7)
#define PROC2_APIC_REGS (1u << 8)
#define PROC2_VIRTUAL_INTR (1u << 9)
#define PROC2_PAUSE_LOOP (1u << 10)
#define PROC2_RDRAND (1u << 11)
#define PROC2_INVPCID (1u << 12)
#define PROC2_VMFUNC (1u << 13)
#define PROC2_SHADOW_VMCS (1u << 14)
#define PROC2_RDSEED (1u << 16)
#define PROC2_PML (1u << 17)
#define PROC2_VE (1u << 18)
#define PROC2_XSAVES (1u << 20)
#define PROC2_MODE_EXEC (1u << 22)
#define PROC2_TSC_SCALING (1u << 25)

/* Exit controls, 24.7.1; entry controls, 24.8.1. */
#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST_64 (1u << 9)
#define EXIT_ACK_INTR (1u << 15)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
#define EXIT_SAVE_TIMER (1u << 22)
#define EXIT_LOAD_PERF (1u << 12)       /* IA32_PERF_GLOBAL_CTRL */
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_GUEST_64 (1u << 9)
#define ENTRY_LOAD_PERF (1u << 13)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)

/* guest_interruptibility, 24.4.2. */
#define BLOCKED_STI (1u << 0)
#define BLOCKED_MOV_SS (1u << 1)
#define BLOCKED_SMI (1u << 2)
#define BLOCKED_NMI (1u << 3)

enum { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI };

/* guest_pending_db, 24.4.2: as DR6, and */
#define PENDING_ENABLED (1u << 12)      /* a breakpoint of bits 3:0 is one that DR7 enables */

/* guest_access, 24.4.1: as a descriptor has them, and */
#define ACCESS_UNUSABLE (1u << 16)

/* entry_event, exit_event, vectoring_event; 24.8.3, 24.9.2. */
#define EVT_VALID (1u << 31)
#define EVT_ERROR (1u << 11)
#define NMI_UNBLOCKED (1u << 12)        /* by an IRET that has faulted; of qualifications too.  27.2.3. */
#define EVT_TYPE(e) ((e) >> 8 & 7)
#define EVT_TYPE_SHIFT 8
enum { EVT_INTR, EVT_NMI = 2, EVT_HARD = 3, EVT_SOFT = 4, EVT_INT1 = 5, EVT_SOFT_EXC = 6, EVT_OTHER = 7 };

/* EPTP, 24.6.11. */
#define EPTP_AD (1u << 6)

/* Exit reasons; SDM 3D, appendix C. */
#define REASON_FAILED_ENTRY (1u << 31)
enum vmx_reason {
	REASON_EXCEPTION = 0, REASON_EXT_INTR = 1, REASON_TRIPLE_FAULT = 2, REASON_INIT = 3, REASON_SIPI = 4,
	REASON_INTR_WINDOW = 7, REASON_NMI_WINDOW = 8, REASON_TASK_SWITCH = 9, REASON_CPUID = 10,
	REASON_HLT = 12, REASON_INVD = 13, REASON_INVLPG = 14, REASON_RDPMC = 15, REASON_RDTSC = 16,
	REASON_RSM = 17, REASON_VMCALL = 18, REASON_VMCLEAR = 19, REASON_VMLAUNCH = 20, REASON_VMPTRLD = 21,
	REASON_VMPTRST = 22, REASON_VMREAD = 23, REASON_VMRESUME = 24, REASON_VMWRITE = 25, REASON_VMXOFF = 26,
	REASON_VMXON = 27, REASON_CR = 28, REASON_DR = 29, REASON_IO = 30, REASON_RDMSR = 31, REASON_WRMSR = 32,
	REASON_GUEST_STATE = 33, REASON_MSR_LOAD = 34, REASON_MWAIT = 36, REASON_MONITOR_TRAP = 37,
	REASON_MONITOR = 39, REASON_PAUSE = 40, REASON_TPR = 43, REASON_APIC_ACCESS = 44, REASON_EOI = 45,
	REASON_GDT_IDT = 46, REASON_LDT_TR = 47, REASON_EPT_VIOLATION = 48, REASON_EPT_MISCONFIG = 49,
	REASON_INVEPT = 50, REASON_RDTSCP = 51, REASON_TIMER = 52, REASON_INVVPID = 53, REASON_WBINVD = 54,
	REASON_XSETBV = 55, REASON_APIC_WRITE = 56, REASON_RDRAND = 57, REASON_INVPCID = 58, REASON_VMFUNC = 59,
	REASON_RDSEED = 61, REASON_PML_FULL = 62,
};

/* VM-instruction errors; SDM 3C, 31.4. */
enum vmx_error {
	ERROR_VMCLEAR_ADDRESS = 2, ERROR_VMCLEAR_VMXON = 3, ERROR_VMLAUNCH_NOT_CLEAR = 4, ERROR_VMRESUME_NOT_LAUNCHED = 5,
	ERROR_CONTROLS = 7, ERROR_HOST_STATE = 8, ERROR_VMPTRLD_ADDRESS = 9, ERROR_VMPTRLD_VMXON = 10,
	ERROR_VMPTRLD_REVISION = 11, ERROR_NO_FIELD = 12, ERROR_READ_ONLY = 13, ERROR_VMXON_IN_ROOT = 15,
	ERROR_MOV_SS = 26, ERROR_INVALIDATE = 28,
};

/** vmcs_offset - where the field of this encoding is in struct vmcs; -1: there is none. */
int vmcs_offset(uint64_t encoding);
/** vmcs_size - the bytes of a field that there is. */
unsigned int vmcs_size(uint32_t encoding);
/** vmcs_get, vmcs_put - the same as vmcs_read() and vmcs_write(), of a field that lies at @at. */
uint64_t vmcs_get(const void *at, uint32_t encoding);
void vmcs_put(void *at, uint32_t encoding, uint64_t value);
/** vmcs_read, vmcs_write - a field that there is; a high half where the encoding says so. */
uint64_t vmcs_read(const struct vmcs *m, uint32_t encoding, int offset);
void vmcs_write(struct vmcs *m, uint32_t encoding, int offset, uint64_t value);
/** vmcs_max_index - the highest index of any encoding: IA32_VMX_VMCS_ENUM. */
unsigned int vmcs_max_index(void);

#endif
