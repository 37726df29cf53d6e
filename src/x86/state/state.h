/* SPDX-License-Identifier: MIT */
/*
 * What is x86 and KVM: a VM's and a vCPU's state beyond the CPU itself.
 *
 * Threads.  A vCPU's own thread, or whoever holds its mutex, is the owner and
 * touches everything of it.  Other threads touch only what is atomic, then
 * x86_request() and kvm_vcpu_wake().  x86_vm's plain fields are set under
 * vm->lock before vCPUs run, or have a lock beside them.
 */
#ifndef X86_STATE_STATE_H
#define X86_STATE_STATE_H

#include <linux/kvm.h>
#include <pthread.h>

#include "host/pool.h"
#include "host/service.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "x86/cpu/cpu.h"
#include "x86/features.h"
#include "x86/hyperv/hyperv.h"
#include "x86/irq/apic_bus.h"
#include "x86/irq/ioapic.h"
#include "x86/irq/lapic.h"
#include "x86/irq/pic.h"
#include "x86/irq/pit.h"
#include "x86/state/pmu.h"

#define X86_MCE_BANKS 32                /* KVM_CAP_MCE */
#define X86_TSC_FRAC 48                 /* fraction bits of a TSC scale */

enum x86_irqchip { X86_IRQCHIP_NONE, X86_IRQCHIP_KERNEL, X86_IRQCHIP_SPLIT };

struct x86_msr_filter;

/* One instant on both clocks; the reference of kvmclock.  See pv/kvmclock.c. */
struct x86_clock {
	pthread_mutex_t lock;
	uint64_t ns, host_tsc;          /* CLOCK_MONOTONIC at that TSC */
	int64_t offset;                 /* kvmclock minus CLOCK_MONOTONIC */
	uint64_t wall_msr;
	/* The last write of a TSC by the client, to keep vCPUs in step. */
	uint64_t tsc_write, tsc_write_ns;
	uint64_t tsc_offset;
	uint32_t tsc_khz;
};

struct x86_vm {
	struct vm *vm;
	struct code_cache *code;
	bool traced;                    /* KVM's events are written to a file: env in place of x86_kvm_env */
	struct x86_env env;
	struct apic_bus bus;
	_Atomic uint8_t irqchip;        /* enum x86_irqchip */
	_Atomic bool has_pit;
	struct pic pic;
	struct ioapic ioapic;
	struct pit pit;
	struct host_timer pit_timer, ioapic_timer;
	struct kvm_irq_ack pit_ack;
	bool pit_ack_registered;
	uint32_t split_pins;            /* KVM_CAP_SPLIT_IRQCHIP: routes reserved for the client's I/O APIC */
	uint32_t bsp_id;
	uint32_t max_vcpu_ids;          /* KVM_CAP_MAX_VCPU_ID; 0: not set */
	struct x86_clock clock;
	uint32_t default_tsc_khz;
	uint64_t disabled_quirks;
	uint64_t identity_map;
	uint32_t tss_addr;
	uint64_t nr_mmu_pages;          /* KVM_SET_NR_MMU_PAGES; 0: not set */
	_Atomic uint32_t ctx_limit;     /* what that is for a vCPU: contexts of translations; 0: no limit */
	uint32_t user_msr;              /* KVM_CAP_X86_USER_SPACE_MSR: KVM_MSR_EXIT_REASON_* */
	uint64_t hypercall_exits;       /* KVM_CAP_EXIT_HYPERCALL */
	bool hlt_in_guest;              /* KVM_CAP_X86_DISABLE_EXITS: HLT is nobody's business but the vCPU's */
	bool pause_in_guest;            /* the same of PAUSE: it yields to nobody */
	bool bus_lock_exits;            /* KVM_BUS_LOCK_DETECTION_EXIT: for vCPUs made from then on */
	bool exception_payload;
	bool exit_on_emulation_failure;
	bool triple_fault_event;
	bool vmware_backdoor;           /* enable_vmware_backdoor when the VM was made */
	bool no_smm;                    /* global_tdp when the VM was made: no SMM, no address space for it */
	bool no_platform_info;          /* guest reads of MSR_PLATFORM_INFO raise #GP */
	bool no_pmu;                    /* KVM_PMU_CAP_DISABLE */
	_Atomic(struct x86_msr_filter *) msr_filter;
	_Atomic(struct x86_pmu_filter *) pmu_filter;
	struct hv_vm hv;
	struct host_pool pages;         /* threads that fetch pages for asynchronous page faults */
	int pagemap_fd;                 /* -1: not needed yet, or not to be had */
};

/* An exception that waits for its delivery; KVM_SET_VCPU_EVENTS names the parts. */
struct x86_queued {
	bool pending, injected, has_error_code, has_payload;
	uint8_t vector;
	uint32_t error_code;
	uint64_t payload;
};

struct x86_mce_bank {
	uint64_t ctl, status, addr, misc;
};

/* MSRs that only remember; see msr_table.c. */
struct x86_msrs {
	uint64_t pat, misc_enable, spec_ctrl, virt_spec_ctrl, arch_capabilities;
	uint64_t ucode_rev, platform_info, misc_features, power_ctl, feat_ctl, smbase, smi_count;
	uint64_t hwcr, de_cfg, osvw_length, osvw_status, tsc_adjust, umwait;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_var[16];
	uint64_t mcg_cap, mcg_status, mcg_ctl, mcg_ext_ctl;
	struct x86_mce_bank mce[X86_MCE_BANKS];
	uint64_t mce_ctl2[X86_MCE_BANKS];
	uint64_t poll_control;
	uint64_t vmx[18];               /* IA32_VMX_*, from 0x480 on; see vmx/caps.c */
};

#define X86_WATCHED 8
/* How many unknown pages of a region of memory may be touched before one is tried out again; see pv/async_pf.c. */
#define X86_ASYNC_PF_CREDITS 64
struct x86_async_pf_credit {
	uintptr_t region;
	uint16_t left, step;
};

/* Asynchronous page faults; see pv/async_pf.c. */
struct x86_async_pf {
	uint64_t en, vector;            /* MSR_KVM_ASYNC_PF_EN and _INT as written */
	bool halted;                    /* asleep, since the guest could not be told */
	bool no_lapic;                  /* pages have come, and the guest is told when it switches its local APIC on */
	uint32_t id;                    /* of the next token */
	unsigned int queued;            /* works in `all` */
	struct x86_async_pf_work *all;
	struct x86_page_watch *watch;   /* allocated when first enabled */
	struct x86_async_pf_credit credit[X86_ASYNC_PF_CREDITS];
	pthread_mutex_t lock;           /* for what follows */
	pthread_cond_t quick;
	struct x86_async_pf_work *done, **last_done;
	_Atomic bool any_done;          /* `done` is not empty */
};

/* What the client was asked, beside cpu.replay. */
enum x86_completion { X86_COMPLETE_NONE, X86_COMPLETE_MSR, X86_COMPLETE_HYPERCALL, X86_COMPLETE_HYPERV };

struct x86_vcpu {
	struct x86_cpu cpu;
	struct vcpu *vcpu;
	struct x86_vm *vm;
	struct x86_cpuid cpuid;
	bool ran;                       /* KVM_RUN has entered the guest: CPUID is fixed */
	bool has_lapic;
	struct lapic lapic;
	uint64_t apic_base;             /* without a local APIC of ours */
	uint8_t cr8;                    /* the same */
	struct host_timer timer;
	_Atomic uint64_t timer_deadline;

	_Atomic uint32_t mp_state;      /* KVM_MP_STATE_* */
	_Atomic uint32_t nmi_queued;    /* by other threads; moved to nmi_pending by the owner */
	_Atomic bool unhalted;
	_Atomic bool smi_queued;        /* the same, moved to smi_pending */
	uint8_t nmi_pending;            /* at most 2 */
	bool smi_pending;
	bool smm_inside_nmi;            /* NMIs were blocked when SMM was entered */
	bool nmi_injected;
	bool triple_fault;
	struct x86_queued exception;
	struct {
		bool injected, soft;
		uint8_t nr;
		uint64_t soft_len;      /* from RIP to where a software interrupt goes on */
		bool intn;              /* a soft one by INT n, not INT3 or INTO */
	} interrupt;
	struct x86_svm *svm;            /* NULL: the CPU has no SVM */
	struct x86_vmx *vmx;            /* NULL: the CPU has no VMX */
	int16_t external_vector;        /* KVM_INTERRUPT with a split irqchip; -1: none */
	int16_t ioapic_eoi;             /* split: this vector ended, tell the client; -1: none */

	uint8_t completion;             /* enum x86_completion */
	bool io_exit;                   /* kvm_run's port access is complete: only tell the client */
	bool halted_inside;             /* by HLT in a VM with hlt_in_guest; ends with KVM_RUN at the latest */
	bool hlt_exit;                  /* HLT without a local APIC: tell the client */
	bool tpr_reporting;             /* KVM_TPR_ACCESS_REPORTING */
	bool tpr_exit, tpr_exit_write;  /* an access to report */
	uint64_t tpr_exit_rip;
	bool set_tpr_exit;              /* CR8 was lowered without a local APIC of ours */
	struct {
		uint32_t index;
		bool is_write, error;
		uint64_t data;
	} msr_answer;                   /* to X86_COMPLETE_MSR */
	uint64_t hypercall_answer;      /* to X86_COMPLETE_HYPERCALL, X86_COMPLETE_HYPERV */
	uint64_t quirks_seen;           /* vm->disabled_quirks that CPUID follows */
	uint32_t guest_debug;           /* KVM_GUESTDBG_* */
	bool enforce_pv;                /* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */

	uint64_t tsc_offset, tsc_scale; /* scale: 1 << X86_TSC_FRAC is the host's own */
	uint32_t tsc_khz;

	struct {
		uint64_t msr;           /* MSR_KVM_SYSTEM_TIME as written */
		gpa_t gpa;
		bool enabled;
		bool paused;            /* KVM_KVMCLOCK_CTRL: say so to the guest's watchdog */
		uint32_t version;
	} pvclock;
	struct {
		uint64_t msr;           /* MSR_KVM_STEAL_TIME as written */
		uint64_t seen;          /* the thread's delay when it was last asked for, ns */
		uint64_t looked;        /* when that was, CLOCK_MONOTONIC in ns; 0: not yet */
		uint64_t switches;      /* the thread's, just before it was asked for */
	} steal;
	struct {                        /* other vCPUs, while this one spins */
		unsigned int first;     /* index of the first one looked at */
		bool known;             /* insns[] is of these */
		uint64_t insns[X86_WATCHED];
	} watch;
	struct x86_async_pf apf;
	struct {
		uint64_t msr;           /* MSR_KVM_PV_EOI_EN as written */
		bool pending;           /* the guest may end its interrupt by clearing a bit */
	} pv_eoi;
	struct hv_vcpu hv;
	struct x86_msrs msr;
	struct x86_pmu pmu;
	gpa_t vapic_gpa;                /* KVM_SET_VAPIC_ADDR; 0: none */
	bool vapic_published;           /* TPR is kept there; see vapic.c */
};

static inline struct x86_vm *x86_vm_of(const struct vm *vm)
{
	return vm->arch_data;
}

static inline struct x86_vcpu *x86_vcpu_of(const struct vcpu *vcpu)
{
	return vcpu->arch_data;
}

static inline struct x86_vcpu *x86_vcpu_of_cpu(const struct x86_cpu *cpu)
{
	return cpu->env_ptr;
}

static inline bool x86_irqchip_kernel(struct x86_vm *vm)
{
	return atomic_load(&vm->irqchip) == X86_IRQCHIP_KERNEL;
}

static inline bool x86_irqchip_any(struct x86_vm *vm)
{
	return atomic_load(&vm->irqchip) != X86_IRQCHIP_NONE;
}

/** x86_vcpu_poke - @bits for the vCPU to serve, and out of its sleep.  Any thread. */
static inline void x86_vcpu_poke(struct x86_vcpu *v, uint32_t bits)
{
	x86_request(&v->cpu, bits);
	kvm_vcpu_wake(v->vcpu);
}

/* --- vm.c, irqchip.c --- */
int x86_vm_create(struct vm *vm, unsigned long type);
void x86_vm_stop(struct vm *vm);
void x86_vm_destroy(struct vm *vm);
/** x86_vm_share_mmu_pages - KVM_SET_NR_MMU_PAGES among the vCPUs that there are; vm->lock is held. */
void x86_vm_share_mmu_pages(struct vm *vm);
bool x86_vm_irqchip_in_kernel(struct vm *vm);
bool x86_vm_irqfd_allowed(struct vm *vm, const struct kvm_irqfd *args);
int x86_vm_check_route(struct vm *vm, const struct kvm_irq_routing_entry *e);
int x86_vm_set_irq(struct vm *vm, const struct kvm_irq_routing_entry *e, int source, int level,
		   bool line_status);
void x86_vm_routing_changed(struct vm *vm);
void x86_vm_acks_changed(struct vm *vm);
extern const struct apic_bus_ops x86_apic_bus_ops;

/** x86_irqchip_create - pic, ioapic and the default routes; vm->lock is held. */
int x86_irqchip_create(struct x86_vm *vm) must_check;
/** x86_irqchip_split - KVM_CAP_SPLIT_IRQCHIP with @pins reserved routes; vm->lock is held. */
int x86_irqchip_split(struct x86_vm *vm, unsigned int pins) must_check;
void x86_irqchip_destroy(struct x86_vm *vm);

/** x86_chip_pio, x86_chip_mmio - an access by @v that one of the VM's chips may take; true: done. */
bool x86_chip_pio(struct x86_vcpu *v, uint16_t port, void *data, uint8_t len, bool write);
bool x86_chip_mmio(struct x86_vcpu *v, gpa_t gpa, void *data, uint8_t len, bool write);

/* --- vcpu.c --- */
int x86_vcpu_create(struct vcpu *vcpu);
void x86_vcpu_postcreate(struct vcpu *vcpu);
void x86_vcpu_destroy(struct vcpu *vcpu);
int x86_vcpu_precreate(struct vm *vm, uint32_t id);
void x86_vcpu_kick(struct vcpu *vcpu);
void x86_vcpu_sync(struct vcpu *vcpu, uint32_t what);
unsigned int x86_vcpu_address_space(struct vcpu *vcpu);
/** x86_vcpu_reset - power-on (@init false), or INIT. */
void x86_vcpu_reset(struct x86_vcpu *v, bool init);

/** x86_guest_read, x86_guest_write - memory in slots, by the vCPU's owner while entered; -EFAULT. */
int x86_guest_read(struct x86_vcpu *v, gpa_t gpa, void *dst, size_t n) must_check;
int x86_guest_write(struct x86_vcpu *v, gpa_t gpa, const void *src, size_t n) must_check;
/** x86_guest_read_parts, x86_guest_write_parts - the same for some parts of an object that is at @gpa; mmu.h. */
struct phys_part;
int x86_guest_read_parts(struct x86_vcpu *v, gpa_t gpa, void *dst, const struct phys_part *part,
			 unsigned int count) must_check;
int x86_guest_write_parts(struct x86_vcpu *v, gpa_t gpa, const void *src, const struct phys_part *part,
			  unsigned int count) must_check;
/** x86_guest_and64 - ANDs an aligned word with @mask, atomically; *old: what it was. */
int x86_guest_and64(struct x86_vcpu *v, gpa_t gpa, uint64_t mask, uint64_t *old) must_check;

/* --- run.c, event.c --- */
extern const struct x86_env x86_kvm_env;
int x86_vcpu_run(struct vcpu *vcpu);
/** x86_accept_events - takes INIT and SIPI where they can be taken. */
void x86_accept_events(struct x86_vcpu *v);
/** x86_inject - delivers what is due at this instruction boundary; may leave by a jump. */
void x86_inject(struct x86_vcpu *v);
/** x86_has_event - would an event wake the vCPU from HLT? */
bool x86_has_event(struct x86_vcpu *v);
/** x86_event_injected - is an event half delivered, that KVM_SET_VCPU_EVENTS put in? */
bool x86_event_injected(const struct x86_vcpu *v);
/** x86_process_nmi - moves NMIs that other threads sent to nmi_pending. */
void x86_process_nmi(struct x86_vcpu *v);
/** x86_interrupt_allowed - RFLAGS.IF, and no shadow. */
bool x86_interrupt_allowed(const struct x86_vcpu *v);
/** x86_ack_interrupt - takes the vector that waits: x86_has_interrupt(). */
int x86_ack_interrupt(struct x86_vcpu *v);
/** x86_has_interrupt - is there one for the CPU, RFLAGS.IF aside? */
bool x86_has_interrupt(struct x86_vcpu *v);
/** x86_take_interrupt - delivers it; may leave by a jump. */
void x86_take_interrupt(struct x86_vcpu *v);
/** x86_ready_for_interrupt - may the client inject an interrupt by KVM_INTERRUPT now? */
bool x86_ready_for_interrupt(struct x86_vcpu *v);
/** x86_queue_exception - makes it pending, as KVM does for the client; false: there is one already. */
bool x86_queue_exception(struct x86_vcpu *v, uint8_t vector, bool has_ec, uint32_t error_code);

/* --- vapic.c: where TPR is, and the end of an interrupt; both do nothing where the local APIC alone has them --- */
/** x86_vapic_collect - takes them from guest memory, before the local APIC is looked at; true: they were there. */
bool x86_vapic_collect(struct x86_vcpu *v);
/** x86_vapic_publish - hands them to guest memory, before guest code runs. */
void x86_vapic_publish(struct x86_vcpu *v);

/* --- time (time.c) --- */
uint64_t x86_guest_tsc(const struct x86_vcpu *v);
/** x86_guest_tsc_at - the guest's TSC when the host's is @host. */
uint64_t x86_guest_tsc_at(const struct x86_vcpu *v, uint64_t host);
/** x86_scale_tsc - that many ticks of the host's TSC in ticks of the guest's. */
uint64_t x86_scale_tsc(const struct x86_vcpu *v, uint64_t host);
/** x86_set_guest_tsc - as the guest's WRMSR (@host false) or the client's KVM_SET_MSRS. */
void x86_set_guest_tsc(struct x86_vcpu *v, uint64_t value, bool host);
void x86_adjust_tsc(struct x86_vcpu *v, int64_t delta);
int x86_set_tsc_khz(struct x86_vcpu *v, uint32_t khz) must_check;
/** x86_tsc_init - a new vCPU's. */
void x86_tsc_init(struct x86_vcpu *v);
void x86_tsc_offset_changed(struct x86_vcpu *v);

/* --- apic base and CR8, whoever keeps them --- */
uint64_t x86_get_apic_base(const struct x86_vcpu *v);
int x86_set_apic_base(struct x86_vcpu *v, uint64_t value, bool host) must_check;
uint64_t x86_get_cr8(struct x86_cpu *cpu);
void x86_set_cr8(struct x86_cpu *cpu, uint64_t value);

/* --- rows: ioctls and capabilities, one table each in arch.c --- */
long x86_ioctl_get_msr_index_list(struct kvm_call *c);
long x86_ioctl_get_msr_feature_index_list(struct kvm_call *c);
long x86_ioctl_get_msrs(struct kvm_call *c);
long x86_ioctl_set_msrs(struct kvm_call *c);
long x86_ioctl_set_msr_filter(struct kvm_call *c);
long x86_ioctl_get_supported_cpuid(struct kvm_call *c);
long x86_ioctl_get_emulated_cpuid(struct kvm_call *c);
long x86_ioctl_set_cpuid(struct kvm_call *c);
long x86_ioctl_set_cpuid2(struct kvm_call *c);
long x86_ioctl_get_cpuid2(struct kvm_call *c);
long x86_ioctl_get_nested_state(struct kvm_call *c);
long x86_ioctl_set_nested_state(struct kvm_call *c);
int x86_nested_state_size(struct vm *vm);
long x86_ioctl_get_regs(struct kvm_call *c);
long x86_ioctl_set_regs(struct kvm_call *c);
long x86_ioctl_get_sregs(struct kvm_call *c);
long x86_ioctl_set_sregs(struct kvm_call *c);
long x86_ioctl_get_sregs2(struct kvm_call *c);
long x86_ioctl_set_sregs2(struct kvm_call *c);
long x86_ioctl_get_fpu(struct kvm_call *c);
long x86_ioctl_set_fpu(struct kvm_call *c);
long x86_ioctl_get_xsave(struct kvm_call *c);
long x86_ioctl_set_xsave(struct kvm_call *c);
long x86_ioctl_get_xsave2(struct kvm_call *c);
long x86_ioctl_get_xcrs(struct kvm_call *c);
long x86_ioctl_set_xcrs(struct kvm_call *c);
long x86_ioctl_get_debugregs(struct kvm_call *c);
long x86_ioctl_set_debugregs(struct kvm_call *c);
long x86_ioctl_set_guest_debug(struct kvm_call *c);
long x86_ioctl_translate(struct kvm_call *c);
long x86_ioctl_get_mp_state(struct kvm_call *c);
long x86_ioctl_set_mp_state(struct kvm_call *c);
long x86_ioctl_get_vcpu_events(struct kvm_call *c);
long x86_ioctl_set_vcpu_events(struct kvm_call *c);
long x86_ioctl_interrupt(struct kvm_call *c);
long x86_ioctl_nmi(struct kvm_call *c);
long x86_ioctl_get_lapic(struct kvm_call *c);
long x86_ioctl_set_lapic(struct kvm_call *c);
long x86_ioctl_set_tsc_khz(struct kvm_call *c);
long x86_ioctl_get_tsc_khz(struct kvm_call *c);
long x86_ioctl_vm_set_tsc_khz(struct kvm_call *c);
long x86_ioctl_vm_get_tsc_khz(struct kvm_call *c);
long x86_ioctl_kvmclock_ctrl(struct kvm_call *c);
long x86_ioctl_get_clock(struct kvm_call *c);
long x86_ioctl_set_clock(struct kvm_call *c);
long x86_ioctl_tpr_access_reporting(struct kvm_call *c);
long x86_ioctl_set_vapic_addr(struct kvm_call *c);
long x86_ioctl_get_mce_cap(struct kvm_call *c);
long x86_ioctl_setup_mce(struct kvm_call *c);
long x86_ioctl_set_mce(struct kvm_call *c);
long x86_ioctl_device_attr(struct kvm_call *c);
long x86_ioctl_system_attr(struct kvm_call *c);
long x86_ioctl_create_irqchip(struct kvm_call *c);
long x86_ioctl_get_irqchip(struct kvm_call *c);
long x86_ioctl_set_irqchip(struct kvm_call *c);
long x86_ioctl_create_pit(struct kvm_call *c);
long x86_ioctl_create_pit2(struct kvm_call *c);
long x86_ioctl_get_pit(struct kvm_call *c);
long x86_ioctl_set_pit(struct kvm_call *c);
long x86_ioctl_get_pit2(struct kvm_call *c);
long x86_ioctl_set_pit2(struct kvm_call *c);
long x86_ioctl_reinject_control(struct kvm_call *c);
long x86_ioctl_set_tss_addr(struct kvm_call *c);
long x86_ioctl_set_identity_map_addr(struct kvm_call *c);
long x86_ioctl_set_boot_cpu_id(struct kvm_call *c);
long x86_ioctl_set_nr_mmu_pages(struct kvm_call *c);
long x86_ioctl_get_nr_mmu_pages(struct kvm_call *c);

/* --- parts that run.c needs --- */
int x86_sync_regs_in(struct x86_vcpu *v) must_check;
void x86_sync_regs_out(struct x86_vcpu *v);

#endif
