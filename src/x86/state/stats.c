/* SPDX-License-Identifier: MIT */
#include "x86/state/stats.h"

#include <errno.h>

#include "x86/cpu/block.h"
#include "x86/mmu/mmu.h"
#include "x86/state/state.h"

static const struct kvm_stats_row vcpu_rows[] = {
	KVM_STAT_COUNTER("exits"),
	KVM_STAT_COUNTER("io_exits"),
	KVM_STAT_COUNTER("mmio_exits"),
	KVM_STAT_COUNTER("signal_exits"),
	KVM_STAT_COUNTER("irq_window_exits"),
	KVM_STAT_COUNTER("halt_exits"),
	KVM_STAT_COUNTER("hypercalls"),
	KVM_STAT_COUNTER("irq_injections"),
	KVM_STAT_COUNTER("nmi_injections"),
	KVM_STAT_COUNTER("tlb_flush"),
	KVM_STAT_COUNTER("pf_fixed"),
	KVM_STAT_COUNTER("tlb_fills"),
	KVM_STAT_COUNTER("page_walks"),
	KVM_STAT_COUNTER("page_walks_resumed"),
	KVM_STAT_COUNTER("mmu_recycled"),
	KVM_STAT_COUNTER("instructions"),
	KVM_STAT_COUNTER("pmis"),
	KVM_STAT_COUNTER("pdpte_loads"),
	KVM_STAT_COUNTER("hypercalls_patched"),
	KVM_STAT_COUNTER("ignored_msrs"),
	KVM_STAT_COUNTER("pause_yields"),
	KVM_STAT_COUNTER("bus_locks"),
	KVM_STAT_COUNTER("async_pf_not_present"),
	KVM_STAT_COUNTER("async_pf_ready"),
	KVM_STAT_COUNTER("async_pf_halts"),
	KVM_STAT_COUNTER("pv_eois"),
	KVM_STAT_COUNTER("smm_entries"),
	KVM_STAT_COUNTER("nested_run"),
	KVM_STAT_COUNTER("nested_exits"),
	KVM_STAT_COUNTER("slat_walks"),
	KVM_STAT_COUNTER("vapic_accesses"),
	KVM_STAT_COUNTER("virtual_interrupts"),
	KVM_STAT_COUNTER("posted_interrupts"),
	KVM_STAT_COUNTER("pml_entries"),
	KVM_STAT_COUNTER("branch_records"),
	KVM_STAT_COUNTER("svm_insn_bytes"),
	KVM_STAT_COUNTER("svm_pauses_filtered"),
	KVM_STAT_COUNTER("svm_virtual_gif"),
	KVM_STAT_COUNTER("svm_virtual_vmload"),
	KVM_STAT_COUNTER("svm_virtual_irqs"),
	KVM_STAT_COUNTER("svm_virtual_nmis"),
	KVM_STAT_COUNTER("svm_tsc_scaled"),
	KVM_STAT_COUNTER("hv_tlb_flushes"),
	KVM_STAT_COUNTER("hv_ipis"),
	KVM_STAT_COUNTER("hv_spin_waits"),
	KVM_STAT_COUNTER("hv_msr_maps_kept"),
	KVM_STAT_COUNTER("hv_evmcs_entries"),
	KVM_STAT_COUNTER("hv_l2_calls"),
	KVM_STAT_COUNTER("hv_mapping_flushes"),
	KVM_STAT_COUNTER("hv_mapping_ranges"),
	KVM_STAT_COUNTER("hv_messages"),
	KVM_STAT_COUNTER("hv_messages_busy"),
	KVM_STAT_COUNTER("hv_stimers"),
	KVM_STAT_COUNTER("hv_stimers_direct"),
	KVM_STAT_COUNTER("hv_sint_eois"),
	KVM_STAT_COUNTER("hv_auto_eois"),
	KVM_STAT_COUNTER("hv_events"),
};

_Static_assert(ARRAY_SIZE(vcpu_rows) == X86_STAT_END - KVM_VCPU_STAT_ARCH, "one row for each counter");

static const struct kvm_stats_row vm_rows[] = {
	KVM_STAT_COUNTER("blocks_decoded"),
	KVM_STAT_COUNTER("blocks_dropped"),
	KVM_STAT_COUNTER("blocks_compared"),
};

_Static_assert(ARRAY_SIZE(vm_rows) == X86_VM_STAT_END - KVM_VM_STAT_ARCH, "one row for each counter");

const struct kvm_stats_rows x86_vm_stats = { vm_rows, ARRAY_SIZE(vm_rows) };
const struct kvm_stats_rows x86_vcpu_stats = { vcpu_rows, ARRAY_SIZE(vcpu_rows) };

void x86_stats_engine(struct vcpu *vcpu)
{
	struct x86_cpu *cpu = &x86_vcpu_of(vcpu)->cpu;
	const struct mmu_stats *mmu = mmu_stats(cpu);
	const struct code_stats *code = code_cache_stats(cpu->code);
	struct kvm_stats *vm = &vcpu->vm->stats;

	kvm_stat_set(&vcpu->stats, X86_STAT_TLB_FLUSH, mmu->flushes);
	kvm_stat_set(&vcpu->stats, X86_STAT_PF_FIXED, mmu->touched);
	kvm_stat_set(&vcpu->stats, X86_STAT_TLB_FILLS, mmu->fills);
	kvm_stat_set(&vcpu->stats, X86_STAT_SLAT_WALKS, mmu->slat_walks);
	kvm_stat_set(&vcpu->stats, X86_STAT_PAGE_WALKS, mmu->walks);
	kvm_stat_set(&vcpu->stats, X86_STAT_PAGE_WALKS_RESUMED, mmu->resumed);
	kvm_stat_set(&vcpu->stats, X86_STAT_BRANCH_RECORDS, cpu->lbr.records);
	kvm_stat_set(&vcpu->stats, X86_STAT_MMU_RECYCLED, mmu->recycled);
	kvm_stat_set(&vcpu->stats, X86_STAT_INSTRUCTIONS, cpu->insns);
	kvm_stat_set(&vcpu->stats, X86_STAT_PDPTE_LOADS, mmu->pdpte_loads);
	kvm_stat_set(&vcpu->stats, X86_STAT_HYPERCALLS_PATCHED, cpu->hypercalls_patched);
	kvm_stat_set(vm, X86_VM_STAT_DECODED, code->decoded);
	kvm_stat_set(vm, X86_VM_STAT_DROPPED, code->dropped);
	code_count_compared(cpu);
	kvm_stat_set(vm, X86_VM_STAT_COMPARED, code->compared);
}

void x86_stats_exit(struct vcpu *vcpu, int r)
{
	x86_stat_inc(vcpu, X86_STAT_EXITS);
	if (r == -EINTR)
		x86_stat_inc(vcpu, X86_STAT_SIGNAL_EXITS);
	else if (!r && vcpu->run->exit_reason == KVM_EXIT_IO)
		x86_stat_inc(vcpu, X86_STAT_IO_EXITS);
	else if (!r && vcpu->run->exit_reason == KVM_EXIT_MMIO)
		x86_stat_inc(vcpu, X86_STAT_MMIO_EXITS);
	else if (!r && vcpu->run->exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN)
		x86_stat_inc(vcpu, X86_STAT_IRQ_WINDOW_EXITS);
	x86_stats_engine(vcpu);
}
