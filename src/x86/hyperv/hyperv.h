/* SPDX-License-Identifier: MIT */
/*
 * Hyper-V's interface, as a guest sees it: CPUID leaves, MSRs, hypercalls.  As
 * KVM of Linux 6.1; tlfs.h has the numbers.
 *
 * It is there for a vCPU whose CPUID says "Hv#1" in leaf 0x40000001.  Which
 * parts a guest may then use is a question of leaves 0x40000003 and up only
 * with KVM_CAP_HYPERV_ENFORCE_CPUID: rows of the tables of MSRs (msr.c) and of
 * hypercalls (hypercall.c) name the bit (struct hv_permit).
 *
 * Locks.  hv_vm.lock guards what all vCPUs of a VM share and is a leaf, but for
 * the clock's (x86_clock.lock), which is taken inside it; its holder may touch
 * guest memory by x86_guest_read() and _write().  What is atomic is read
 * without.  struct hv_vcpu is its vCPU's owner's, but for what is atomic.
 */
#ifndef X86_HYPERV_HYPERV_H
#define X86_HYPERV_HYPERV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kvm/types.h"
#include "x86/hyperv/synic.h"
#include "x86/hyperv/tlfs.h"

struct kvm_call;
struct kvm_cpuid_entry2;
struct x86_cpu;
struct x86_vcpu;
struct x86_vm;

/* Registers of the leaves that say what a guest may use. */
enum hv_cpuid_reg {
	HV_FEATURES_A, HV_FEATURES_B, HV_FEATURES_D, HV_HINTS_A, HV_HINTS_B, HV_SYNDBG_A, HV_NESTED_A, HV_NESTED_B,
	HV_CPUID_REGS
};

/* A guest may, if one of these bits is set there; 0: always. */
struct hv_permit {
	uint8_t reg;                    /* enum hv_cpuid_reg */
	uint32_t mask;
};

/* What the page of REFERENCE_TSC holds, and who is to write it: see clock.c. */
enum hv_tsc_status {
	HV_TSC_UNSET,                   /* there is none */
	HV_TSC_GUEST_CHANGED,           /* the guest set it: to be written */
	HV_TSC_HOST_CHANGED,            /* the client did, or changed the clock */
	HV_TSC_SET,                     /* valid */
	HV_TSC_BROKEN,                  /* it could not be written, and stays that way */
};

struct hv_syndbg {
	uint64_t control, status, send_page, recv_page, pending_page, options;
};

/* Of a VM: a partition. */
struct hv_vm {
	pthread_mutex_t lock;
	_Atomic uint64_t guest_os_id;   /* not 0: VMCALL and VMMCALL are Hyper-V's */
	uint64_t hypercall;
	uint64_t reference_tsc;
	enum hv_tsc_status tsc_status;
	struct hv_tsc_page tsc_page;    /* as last written */
	uint64_t crash[HV_CRASH_PARAMETERS], crash_ctl;
	uint64_t reenlightenment, tsc_emulation, tsc_emulation_status;
	_Atomic uint64_t tsc_invariant;
	struct hv_syndbg syndbg;
	struct hv_connection *connections;
};

/* Of a vCPU: a virtual processor. */
struct hv_vcpu {
	bool enabled;                   /* CPUID says "Hv#1" */
	bool enforced;                  /* KVM_CAP_HYPERV_ENFORCE_CPUID */
	uint32_t cpuid[HV_CPUID_REGS];
	/* The vCPU's index, until the client says something else; KVM_MAX_VCPUS while it is being made: nobody's. */
	_Atomic uint32_t vp_index;
	uint64_t vp_assist_page;
	/* Of the L2 that ran last, where L1 has said so: see direct.c. */
	_Atomic bool l2_known;
	_Atomic uint32_t l2_vp;
	_Atomic uint64_t l2_vm;
	uint64_t runtime_offset;        /* 100 ns */
	_Atomic bool flushing;          /* waits for others' flushes, with nothing of its own translations in hand */
	/* Exits that an MSR has asked for, once its instruction is complete. */
	bool crash_exit, reset_exit, exit_pending;
	struct kvm_hyperv_exit exit;
	struct hv_synic synic;
	bool syndbg_asked;              /* the last exit was KVM_EXIT_HYPERV_SYNDBG */
};

/** hv_vm_init, hv_vm_destroy; hv_vcpu_init - the index is known; hv_vcpu_destroy - whether or not it came to that. */
void hv_vm_init(struct hv_vm *hv);
void hv_vm_destroy(struct hv_vm *hv);
void hv_vcpu_init(struct x86_vcpu *v);
void hv_vcpu_destroy(struct x86_vcpu *v);

/** hv_vcpu_by_index - the vCPU with that VP index, or NULL.  Any thread. */
struct x86_vcpu *hv_vcpu_by_index(struct x86_vm *vm, uint32_t vp_index);

/** hv_permitted - may the guest use what @p stands for? */
bool hv_permitted(const struct x86_vcpu *v, const struct hv_permit *p);

/** hv_exit_later - KVM_EXIT_HYPERV with @exit, once the instruction in hand is complete. */
void hv_exit_later(struct x86_vcpu *v, const struct kvm_hyperv_exit *exit);
/** hv_pending_exit - fills kvm_run, if an MSR has asked for an exit. */
bool hv_pending_exit(struct x86_vcpu *v);
/** hv_complete - on KVM_RUN: takes the client's answer to KVM_EXIT_HYPERV. */
void hv_complete(struct x86_vcpu *v);

/* --- cpuid.c --- */
/** hv_cpuid_changed - after KVM_SET_CPUID2. */
void hv_cpuid_changed(struct x86_vcpu *v);
long hv_ioctl_get_supported_cpuid(struct kvm_call *c);

/* --- offer.c --- */
/**
 * hv_offer_nested - with the parameter anykvm.hyperv_nested: *@entries, *@count of them, of a client that knows nothing
 * of Hyper-V, get its leaves.  -1: no memory, and nothing changed.
 */
int hv_offer_nested(struct x86_vcpu *v, struct kvm_cpuid_entry2 **entries, uint32_t *count);


/**
 * hv_hides_invariant_tsc - a guest is not told that its TSC is invariant before it has said that it knows what that
 * means after a move.
 */
bool hv_hides_invariant_tsc(const struct x86_vcpu *v);

/* --- msr.c --- */
/** hv_msr_get, hv_msr_set - for the rows of the table of MSRs. */
int hv_msr_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int hv_msr_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);

/* --- syndbg.c: the synthetic debugger's registers --- */
int hv_syndbg_get(struct x86_vcpu *v, uint32_t index, uint64_t *value, bool host);
int hv_syndbg_set(struct x86_vcpu *v, uint32_t index, uint64_t value, bool host);
bool hv_syndbg_offered(const struct x86_vcpu *v);
void hv_syndbg_complete(struct x86_vcpu *v);

/* --- clock.c --- */
/** hv_reference_time - the partition's time, 100 ns; hv_vm.lock is held. */
uint64_t hv_reference_time(struct x86_vcpu *v);
/** hv_set_reference_tsc - the page's MSR; the lock is held. */
void hv_set_reference_tsc(struct x86_vcpu *v, uint64_t value, bool host);
/** hv_tsc_page_update - writes the page, if that is due.  Owner, entered. */
void hv_tsc_page_update(struct x86_vcpu *v);
/** hv_tsc_page_stale - the clock or a TSC was changed.  true: the page is to be written again, by X86_REQ_CLOCK. */
bool hv_tsc_page_stale(struct x86_vm *vm);

/* --- hypercall.c --- */
#define HV_XMM_HALVES 12
struct hv_hcall {
	uint64_t control, in, out;      /* fast: the parameters themselves */
	uint16_t code;
	uint16_t var_count;             /* 8-byte units of variable header */
	uint16_t rep_count, rep_index;
	bool fast;
	uint64_t xmm[HV_XMM_HALVES];    /* of a code with HV_XMM_FAST */
};

enum hv_hcall_flags {
	HV_SIMPLE = 1 << 0,             /* no repetitions */
	HV_REP = 1 << 1,                /* repetitions, from the first one */
	HV_VARIABLE = 1 << 2,           /* a header of variable size is allowed */
	HV_XMM_FAST = 1 << 3,           /* fast, the XMM registers hold the rest of the input */
	HV_NOT_FAST = 1 << 4,           /* HV_INVALID_PARAMETER */
};

/* The answer of a handler that asks the client. */
#define HV_ASK_CLIENT (~0ULL)
/* ... and of one that was interrupted: the instruction runs again. */
#define HV_AGAIN (~1ULL)

struct hv_hcall_row {
	uint16_t first, last;           /* codes */
	uint8_t flags;                  /* enum hv_hcall_flags */
	struct hv_permit permit[2];     /* both are needed */
	bool (*permitted)(const struct x86_vcpu *v);    /* optional, where it is more than bits */
	/* The result: a status, and repetitions done; HV_ASK_CLIENT; HV_AGAIN.  May change @h. */
	uint64_t (*fn)(struct x86_vcpu *v, struct hv_hcall *h);
};

/** hv_reps_done - the result where all of @h is done. */
static inline uint64_t hv_reps_done(const struct hv_hcall *h)
{
	return HV_SUCCESS | (uint64_t)h->rep_count << 32;
}

/** hv_ask_client - KVM_EXIT_HYPERV with @h: HV_ASK_CLIENT. */
uint64_t hv_ask_client(struct x86_vcpu *v, struct hv_hcall *h);
/** hv_hypercall_wanted - VMCALL and VMMCALL of this vCPU are Hyper-V's, or the client's answer to one is here. */
bool hv_hypercall_wanted(const struct x86_vcpu *v);
/** hv_hypercall - as struct x86_env.hypercall. */
int hv_hypercall(struct x86_vcpu *v);

/* --- vpset.c --- */
#define HV_SET_BANKS 64
struct hv_vp_set {
	bool all;
	uint64_t bank[HV_SET_BANKS];    /* VP index 64 * bank + bit */
};

/**
 * hv_vp_set_read - a set's banks, of @valid: they follow @offset bytes of input, or the first @halves halves of the XMM
 * registers.  -EINVAL: the header's size does not fit, or there is no such memory.
 */
int hv_vp_set_read(struct x86_vcpu *v, const struct hv_hcall *h, uint64_t valid, uint32_t offset, unsigned int halves,
		   struct hv_vp_set *set);
/** hv_vp_set_has - is @v in the set? */
bool hv_vp_set_has(const struct hv_vp_set *set, const struct x86_vcpu *v);
/** hv_flush_reaches - is @to meant by a flush of @v's, by L1's numbers or, for L2's, by those of its virtual machine? */
bool hv_flush_reaches(const struct x86_vcpu *v, const struct hv_vp_set *set, const struct x86_vcpu *to);

/* --- direct.c --- */
/** hv_read_assist - what L1 says in the VP assist page; false: there is none. */
bool hv_read_assist(struct x86_vcpu *v, struct hv_assist *a);
/* What a hypervisor inside says of its guest. */
struct hv_l2 {
	uint64_t vm;
	uint32_t vp;
	bool direct_flush;
	gpa_t partition_assist;         /* whose first word counts reasons to hear of flushes */
};
/** hv_note_l2 - L2 is entered. */
void hv_note_l2(struct x86_vcpu *v);
/** hv_takes_l2_call - the hypercall that L2 is about to make is none of L1's. */
bool hv_takes_l2_call(struct x86_vcpu *v);
/** hv_after_l2_call - the result of such a one, which is done; L1 may be told behind the instruction. */
uint64_t hv_after_l2_call(struct x86_vcpu *v, uint64_t result);

/* --- flush.c, mappings.c, ipi.c --- */
uint64_t hv_flush(struct x86_vcpu *v, struct hv_hcall *h);
uint64_t hv_flush_ex(struct x86_vcpu *v, struct hv_hcall *h);
uint64_t hv_flush_mappings(struct x86_vcpu *v, struct hv_hcall *h);
uint64_t hv_flush_mappings_list(struct x86_vcpu *v, struct hv_hcall *h);
/**
 * hv_flush_wait - until no other vCPU of the set has a request for a flush open that it may not have served before its
 * next instruction; false: the client wants this one back first.
 */
bool hv_flush_wait(struct x86_vcpu *v, const struct hv_vp_set *set);
uint64_t hv_send_ipi(struct x86_vcpu *v, struct hv_hcall *h);
uint64_t hv_send_ipi_ex(struct x86_vcpu *v, struct hv_hcall *h);

#endif
