/* SPDX-License-Identifier: MIT */
/* stats.h - the counters of an x86 vCPU, by the names that KVM gives them; kvm/stats.h says how they are shown. */
#ifndef X86_STATE_STATS_H
#define X86_STATE_STATS_H

#include "kvm/stats.h"
#include "kvm/vcpu.h"

/* In the order of x86_vcpu_stats. */
enum x86_vcpu_stat {
	X86_STAT_EXITS = KVM_VCPU_STAT_ARCH,    /* KVM_RUN returned */
	X86_STAT_IO_EXITS,
	X86_STAT_MMIO_EXITS,
	X86_STAT_SIGNAL_EXITS,
	X86_STAT_IRQ_WINDOW_EXITS,
	X86_STAT_HALT_EXITS,                    /* HLT retired, with an exit or without */
	X86_STAT_HYPERCALLS,
	X86_STAT_IRQ_INJECTIONS,
	X86_STAT_NMI_INJECTIONS,
	X86_STAT_TLB_FLUSH,
	X86_STAT_PF_FIXED,                      /* pages used for the first time */
	X86_STAT_TLB_FILLS,                     /* from here on: not KVM's */
	X86_STAT_PAGE_WALKS,
	X86_STAT_PAGE_WALKS_RESUMED,            /* of these: from a paging-structure cache */
	X86_STAT_MMU_RECYCLED,                  /* contexts of translations given to another address space */
	X86_STAT_INSTRUCTIONS,                  /* retired */
	X86_STAT_PMIS,                          /* interrupts of the PMU */
	X86_STAT_PDPTE_LOADS,                   /* of all four, by MOV CR0, CR3, CR4 or a task switch */
	X86_STAT_HYPERCALLS_PATCHED,            /* the other vendor's instruction overwritten */
	X86_STAT_IGNORED_MSRS,                  /* passed over by the parameter ignore_msrs */
	X86_STAT_PAUSE_YIELDS,                  /* a run of PAUSEs gave the processor to others */
	X86_STAT_BUS_LOCKS,                     /* that the client was told of */
	X86_STAT_ASYNC_PF_NOT_PRESENT,
	X86_STAT_ASYNC_PF_READY,
	X86_STAT_ASYNC_PF_HALTS,                /* the guest could not be told of a page and slept */
	X86_STAT_PV_EOIS,                       /* interrupts ended without a write to the local APIC */
	X86_STAT_SMM_ENTRIES,                   /* into system management mode */
	X86_STAT_NESTED_RUN,                    /* entries to L2 by L1; KVM's name */
	X86_STAT_NESTED_EXITS,                  /* from L2 to L1 */
	X86_STAT_SLAT_WALKS,                    /* of L1's second-level tables */
	X86_STAT_VAPIC_ACCESSES,                /* of L2 to its local APIC, without an exit to L1 */
	X86_STAT_VIRTUAL_INTERRUPTS,            /* that L2 took from its virtual-APIC page */
	X86_STAT_POSTED_INTERRUPTS,             /* notifications that L2 took */
	X86_STAT_PML_ENTRIES,                   /* dirty flags of second-level tables that were logged for L1 */
	X86_STAT_BRANCH_RECORDS,                /* by DebugCtl.LBR */
	X86_STAT_SVM_INSN_BYTES,                /* exits that told an instruction's bytes */
	X86_STAT_SVM_PAUSES,                    /* PAUSEs that the filter let pass */
	X86_STAT_SVM_VIRTUAL_GIF,               /* STGI and CLGI of L2's own */
	X86_STAT_SVM_VIRTUAL_VMLOAD,            /* VMLOAD and VMSAVE by L2's addresses */
	X86_STAT_SVM_VIRTUAL_IRQS,
	X86_STAT_SVM_VIRTUAL_NMIS,
	X86_STAT_SVM_TSC_SCALED,                /* entries with a TSC ratio */
	X86_STAT_HV_TLB_FLUSHES,                /* Hyper-V's hypercalls, by the vCPU that asks */
	X86_STAT_HV_IPIS,                       /* interrupts that they sent */
	X86_STAT_HV_SPIN_WAITS,
	X86_STAT_HV_MSR_MAPS_KEPT,              /* VM entries that did not read L1's map of MSRs again */
	X86_STAT_HV_EVMCS_ENTRIES,              /* VM entries by an enlightened VMCS */
	X86_STAT_HV_L2_CALLS,                   /* of L2's that L1 does not hear of */
	X86_STAT_HV_MAPPING_FLUSHES,            /* of a nested guest's memory: hypercalls 0xaf and 0xb0 */
	X86_STAT_HV_MAPPING_RANGES,             /* that 0xb0 named */
	X86_STAT_HV_MESSAGES,                   /* put into the guest's message page */
	X86_STAT_HV_MESSAGES_BUSY,              /* that found their place taken */
	X86_STAT_HV_STIMERS,                    /* synthetic timers that expired by a message */
	X86_STAT_HV_STIMERS_DIRECT,             /* ... by a vector */
	X86_STAT_HV_SINT_EOIS,                  /* ends of synthetic interrupts by an EOI */
	X86_STAT_HV_AUTO_EOIS,                  /* ... by themselves */
	X86_STAT_HV_EVENTS,                     /* hypercalls that signalled an eventfd */
	X86_STAT_END
};

/* In the order of x86_vm_stats; none is KVM's. */
enum x86_vm_stat {
	X86_VM_STAT_DECODED = KVM_VM_STAT_ARCH, /* blocks of code */
	X86_VM_STAT_DROPPED,
	X86_VM_STAT_COMPARED,                   /* found, but looked at byte by byte first */
	X86_VM_STAT_END
};

extern const struct kvm_stats_rows x86_vcpu_stats, x86_vm_stats;

/** x86_stats_engine - takes over what the engine counts for itself; by the vCPU's own thread. */
void x86_stats_engine(struct vcpu *vcpu);

/** x86_stat_inc - one more of @stat, an enum x86_vcpu_stat; by the vCPU's own thread. */
static inline void x86_stat_inc(struct vcpu *vcpu, unsigned int stat)
{
	kvm_stat_add(&vcpu->stats, stat, 1);
}

/** x86_stats_exit - at the end of KVM_RUN, whose result is @r: counts the exit and what the engine counted. */
void x86_stats_exit(struct vcpu *vcpu, int r);

#endif
