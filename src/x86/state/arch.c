// SPDX-License-Identifier: MIT
/* What x86 gives to src/kvm: the tables of ioctls and capabilities, and the functions behind struct kvm_arch. */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anykvm.h"
#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"
#include "x86/pv/steal.h"
#include "x86/state/model.h"
#include "x86/state/parameter.h"
#include "x86/state/smm.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define ADDRESS_SPACES 2        /* the second one is system management mode's */
#define RAW KVM_IOCTL_RAW
#define ATTR_KINDS KVM_VCPU

/* As a kernel's on a processor without SEV: a region is read first.  KVM_MEMORY_ENCRYPT_OP is just unknown. */
static long no_encryption(struct kvm_call *c)
{
	return -ENOTTY;
}

static const struct kvm_ioctl_row ioctls[] = {
	/* system */
	KVM_IOCTL(KVM_GET_SUPPORTED_CPUID, KVM_SYSTEM, RAW, x86_ioctl_get_supported_cpuid),
	KVM_IOCTL(KVM_GET_EMULATED_CPUID, KVM_SYSTEM, RAW, x86_ioctl_get_emulated_cpuid),
	KVM_IOCTL(KVM_GET_MSR_INDEX_LIST, KVM_SYSTEM, RAW, x86_ioctl_get_msr_index_list),
	KVM_IOCTL(KVM_GET_MSR_FEATURE_INDEX_LIST, KVM_SYSTEM, RAW, x86_ioctl_get_msr_feature_index_list),
	KVM_IOCTL(KVM_GET_MSRS, KVM_SYSTEM | KVM_VCPU, RAW, x86_ioctl_get_msrs),
	KVM_IOCTL(KVM_GET_SUPPORTED_HV_CPUID, KVM_SYSTEM | KVM_VCPU, RAW, hv_ioctl_get_supported_cpuid),
	KVM_IOCTL(KVM_X86_GET_MCE_CAP_SUPPORTED, KVM_SYSTEM, 0, x86_ioctl_get_mce_cap),
	KVM_IOCTL(KVM_GET_DEVICE_ATTR, KVM_SYSTEM, 0, x86_ioctl_system_attr),
	KVM_IOCTL(KVM_HAS_DEVICE_ATTR, KVM_SYSTEM, 0, x86_ioctl_system_attr),
	/* VM */
	KVM_IOCTL(KVM_SET_TSS_ADDR, KVM_VM, 0, x86_ioctl_set_tss_addr),
	KVM_IOCTL(KVM_SET_IDENTITY_MAP_ADDR, KVM_VM, RAW, x86_ioctl_set_identity_map_addr),
	KVM_IOCTL(KVM_SET_BOOT_CPU_ID, KVM_VM, 0, x86_ioctl_set_boot_cpu_id),
	KVM_IOCTL(KVM_SET_NR_MMU_PAGES, KVM_VM, 0, x86_ioctl_set_nr_mmu_pages),
	KVM_IOCTL(KVM_GET_NR_MMU_PAGES, KVM_VM, 0, x86_ioctl_get_nr_mmu_pages),
	KVM_IOCTL(KVM_CREATE_IRQCHIP, KVM_VM, 0, x86_ioctl_create_irqchip),
	KVM_IOCTL(KVM_GET_IRQCHIP, KVM_VM, 0, x86_ioctl_get_irqchip),
	KVM_IOCTL(KVM_SET_IRQCHIP, KVM_VM, KVM_IOCTL_IN, x86_ioctl_set_irqchip),
	KVM_IOCTL(KVM_CREATE_PIT, KVM_VM, 0, x86_ioctl_create_pit),
	KVM_IOCTL(KVM_CREATE_PIT2, KVM_VM, 0, x86_ioctl_create_pit2),
	KVM_IOCTL(KVM_GET_PIT, KVM_VM, 0, x86_ioctl_get_pit),
	KVM_IOCTL(KVM_SET_PIT, KVM_VM, KVM_IOCTL_IN, x86_ioctl_set_pit),
	KVM_IOCTL(KVM_GET_PIT2, KVM_VM, 0, x86_ioctl_get_pit2),
	KVM_IOCTL(KVM_SET_PIT2, KVM_VM, 0, x86_ioctl_set_pit2),
	KVM_IOCTL(KVM_REINJECT_CONTROL, KVM_VM, RAW, x86_ioctl_reinject_control),
	KVM_IOCTL(KVM_GET_CLOCK, KVM_VM, 0, x86_ioctl_get_clock),
	KVM_IOCTL(KVM_SET_CLOCK, KVM_VM, 0, x86_ioctl_set_clock),
	KVM_IOCTL(KVM_SET_TSC_KHZ, KVM_VM, 0, x86_ioctl_vm_set_tsc_khz),
	KVM_IOCTL(KVM_GET_TSC_KHZ, KVM_VM, 0, x86_ioctl_vm_get_tsc_khz),
	KVM_IOCTL(KVM_HYPERV_EVENTFD, KVM_VM, 0, hv_ioctl_eventfd),
	KVM_IOCTL(KVM_X86_SET_MSR_FILTER, KVM_VM, 0, x86_ioctl_set_msr_filter),
	KVM_IOCTL(KVM_SET_PMU_EVENT_FILTER, KVM_VM, RAW, x86_ioctl_set_pmu_event_filter),
	KVM_IOCTL(KVM_MEMORY_ENCRYPT_REG_REGION, KVM_VM, KVM_IOCTL_IN, no_encryption),
	KVM_IOCTL(KVM_MEMORY_ENCRYPT_UNREG_REGION, KVM_VM, KVM_IOCTL_IN, no_encryption),
	/* vCPU */
	KVM_IOCTL(KVM_SET_CPUID, KVM_VCPU, RAW, x86_ioctl_set_cpuid),
	KVM_IOCTL(KVM_SET_CPUID2, KVM_VCPU, RAW, x86_ioctl_set_cpuid2),
	KVM_IOCTL(KVM_GET_CPUID2, KVM_VCPU, RAW, x86_ioctl_get_cpuid2),
	KVM_IOCTL(KVM_SET_MSRS, KVM_VCPU, RAW, x86_ioctl_set_msrs),
	KVM_IOCTL(KVM_GET_REGS, KVM_VCPU, 0, x86_ioctl_get_regs),
	KVM_IOCTL(KVM_SET_REGS, KVM_VCPU, 0, x86_ioctl_set_regs),
	KVM_IOCTL(KVM_GET_SREGS, KVM_VCPU, 0, x86_ioctl_get_sregs),
	KVM_IOCTL(KVM_SET_SREGS, KVM_VCPU, 0, x86_ioctl_set_sregs),
	KVM_IOCTL(KVM_GET_SREGS2, KVM_VCPU, 0, x86_ioctl_get_sregs2),
	KVM_IOCTL(KVM_SET_SREGS2, KVM_VCPU, 0, x86_ioctl_set_sregs2),
	KVM_IOCTL(KVM_GET_FPU, KVM_VCPU, 0, x86_ioctl_get_fpu),
	KVM_IOCTL(KVM_SET_FPU, KVM_VCPU, 0, x86_ioctl_set_fpu),
	KVM_IOCTL(KVM_GET_XSAVE, KVM_VCPU, 0, x86_ioctl_get_xsave),
	KVM_IOCTL(KVM_GET_XSAVE2, KVM_VCPU, 0, x86_ioctl_get_xsave),
	KVM_IOCTL(KVM_SET_XSAVE, KVM_VCPU, 0, x86_ioctl_set_xsave),
	KVM_IOCTL(KVM_GET_XCRS, KVM_VCPU, 0, x86_ioctl_get_xcrs),
	KVM_IOCTL(KVM_SET_XCRS, KVM_VCPU, 0, x86_ioctl_set_xcrs),
	KVM_IOCTL(KVM_GET_NESTED_STATE, KVM_VCPU, KVM_IOCTL_RAW, x86_ioctl_get_nested_state),
	KVM_IOCTL(KVM_SET_NESTED_STATE, KVM_VCPU, KVM_IOCTL_RAW, x86_ioctl_set_nested_state),
	KVM_IOCTL(KVM_GET_DEBUGREGS, KVM_VCPU, 0, x86_ioctl_get_debugregs),
	KVM_IOCTL(KVM_SET_DEBUGREGS, KVM_VCPU, 0, x86_ioctl_set_debugregs),
	KVM_IOCTL(KVM_SET_GUEST_DEBUG, KVM_VCPU, 0, x86_ioctl_set_guest_debug),
	KVM_IOCTL(KVM_TRANSLATE, KVM_VCPU, 0, x86_ioctl_translate),
	KVM_IOCTL(KVM_GET_MP_STATE, KVM_VCPU, 0, x86_ioctl_get_mp_state),
	KVM_IOCTL(KVM_SET_MP_STATE, KVM_VCPU, 0, x86_ioctl_set_mp_state),
	KVM_IOCTL(KVM_GET_VCPU_EVENTS, KVM_VCPU, 0, x86_ioctl_get_vcpu_events),
	KVM_IOCTL(KVM_SET_VCPU_EVENTS, KVM_VCPU, 0, x86_ioctl_set_vcpu_events),
	KVM_IOCTL(KVM_INTERRUPT, KVM_VCPU, 0, x86_ioctl_interrupt),
	KVM_IOCTL(KVM_NMI, KVM_VCPU, 0, x86_ioctl_nmi),
	KVM_IOCTL(KVM_SMI, KVM_VCPU, 0, x86_ioctl_smi),
	KVM_IOCTL(KVM_GET_LAPIC, KVM_VCPU, 0, x86_ioctl_get_lapic),
	KVM_IOCTL(KVM_SET_LAPIC, KVM_VCPU, RAW, x86_ioctl_set_lapic),
	KVM_IOCTL(KVM_SET_TSC_KHZ, KVM_VCPU, 0, x86_ioctl_set_tsc_khz),
	KVM_IOCTL(KVM_GET_TSC_KHZ, KVM_VCPU, 0, x86_ioctl_get_tsc_khz),
	KVM_IOCTL(KVM_KVMCLOCK_CTRL, KVM_VCPU, 0, x86_ioctl_kvmclock_ctrl),
	KVM_IOCTL(KVM_TPR_ACCESS_REPORTING, KVM_VCPU, 0, x86_ioctl_tpr_access_reporting),
	KVM_IOCTL(KVM_SET_VAPIC_ADDR, KVM_VCPU, RAW, x86_ioctl_set_vapic_addr),
	KVM_IOCTL(KVM_X86_SETUP_MCE, KVM_VCPU, 0, x86_ioctl_setup_mce),
	KVM_IOCTL(KVM_X86_SET_MCE, KVM_VCPU, 0, x86_ioctl_set_mce),
	KVM_IOCTL(KVM_SET_DEVICE_ATTR, ATTR_KINDS, 0, x86_ioctl_device_attr),
	KVM_IOCTL(KVM_GET_DEVICE_ATTR, ATTR_KINDS, 0, x86_ioctl_device_attr),
	KVM_IOCTL(KVM_HAS_DEVICE_ATTR, ATTR_KINDS, 0, x86_ioctl_device_attr),
};

/* KVM_X86_XCOMP_GUEST_SUPP: the XSAVE components that a guest may be offered. */
long x86_ioctl_system_attr(struct kvm_call *c)
{
	const struct kvm_device_attr *attr = c->data;
	uint64_t xcr0 = vec_supported_xcr0();

	if (attr->group || attr->attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	if (c->request == (uint32_t)KVM_HAS_DEVICE_ATTR)
		return 0;
	return kvm_copy_out(attr->addr, &xcr0, sizeof(xcr0));
}

/* --- capabilities ------------------------------------------------------------------------- */

#define QUIRKS (KVM_X86_QUIRK_LINT0_REENABLED | KVM_X86_QUIRK_CD_NW_CLEARED | KVM_X86_QUIRK_LAPIC_MMIO_HOLE | \
		KVM_X86_QUIRK_OUT_7E_INC_RIP | KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | \
		KVM_X86_QUIRK_FIX_HYPERCALL_INSN | KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS)
#define X2APIC_FLAGS (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
#define GUESTDBG_FLAGS (KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP | \
			KVM_GUESTDBG_USE_SW_BP | KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_INJECT_DB | \
			KVM_GUESTDBG_BLOCKIRQ)
#define SPLIT_PINS_MAX 4096

static int steal_time(struct vm *vm)
{
	return x86_feature_feasible(X86_F_KVM_STEAL_TIME);
}

static bool has_smm(struct vm *vm)
{
	return vm ? !x86_vm_of(vm)->no_smm : !x86_parameter(X86_PARAM_GLOBAL_TDP);
}

static int smm(struct vm *vm)
{
	return has_smm(vm);
}

static int address_spaces(struct vm *vm)
{
	return has_smm(vm) ? ADDRESS_SPACES : 1;
}

static int xsave2_size(struct vm *vm)
{
	struct xsave_layout layout;
	uint32_t size;

	vec_layout(&layout);
	size = x86_xsave_size(&layout, vec_supported_xcr0(), false);
	return size < sizeof(struct kvm_xsave) ? (int)sizeof(struct kvm_xsave) : (int)size;
}

static int disable_quirks(struct vm *vm, const struct kvm_enable_cap *cap)
{
	struct x86_vm *x = x86_vm_of(vm);

	if (cap->flags || (cap->cap == KVM_CAP_DISABLE_QUIRKS2 && (cap->args[0] & ~(__u64)QUIRKS)))
		return -EINVAL;
	x->disabled_quirks = cap->args[0];
	x->bus.lint0_reenabled = !(cap->args[0] & KVM_X86_QUIRK_LINT0_REENABLED);
	x->bus.mmio_hole = !(cap->args[0] & KVM_X86_QUIRK_LAPIC_MMIO_HOLE);
	return 0;
}

/* HLT and PAUSE can be the guest's own.  No C-state is ever entered, MWAIT ends at once. */
#define FREE_EXITS (KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE)

/* What is not offered is taken without effect; as in KVM. */
static int disable_exits(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || (cap->args[0] & ~(__u64)KVM_X86_DISABLE_VALID_EXITS))
		return -EINVAL;
	if (cap->args[0] & KVM_X86_DISABLE_EXITS_HLT)
		x86_vm_of(vm)->hlt_in_guest = true;
	if (cap->args[0] & KVM_X86_DISABLE_EXITS_PAUSE)
		x86_vm_of(vm)->pause_in_guest = true;
	return 0;
}

#define BUS_LOCK_MODES (KVM_BUS_LOCK_DETECTION_OFF | KVM_BUS_LOCK_DETECTION_EXIT)

/* Linux 6.1 knows of Intel's processors alone that they tell. */
static int bus_lock_modes(struct vm *vm)
{
	struct x86_model m;

	x86_model_get(&m);
	return m.vendor == V_INTEL ? BUS_LOCK_MODES : 0;
}

/* As KVM: where there is none the mode is taken without effect, and nothing turns it off again. */
static int enable_bus_lock(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || (cap->args[0] & ~(__u64)BUS_LOCK_MODES) || cap->args[0] == BUS_LOCK_MODES)
		return -EINVAL;
	if ((cap->args[0] & KVM_BUS_LOCK_DETECTION_EXIT) && bus_lock_modes(vm))
		x86_vm_of(vm)->bus_lock_exits = true;
	return 0;
}

/*
 * Nothing of ours slows the execution from huge pages down.  But who asks for that vouches for the guest, and has to be
 * one who could as well reboot the machine; api.rst 8.38.
 */
static int disable_nx_huge_pages(struct vm *vm, const struct kvm_enable_cap *cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int r;

	if (cap->flags)
		return -EINVAL;
	if (syscall(SYS_capget, &head, data) || !(data[0].effective >> CAP_SYS_BOOT & 1))
		return -EPERM;
	pthread_mutex_lock(&vm->lock);
	r = cap->args[0] || vm->created_vcpus ? -EINVAL : 0;
	pthread_mutex_unlock(&vm->lock);
	return r;
}

static int enable_split(struct vm *vm, const struct kvm_enable_cap *cap)
{
	struct x86_vm *x = x86_vm_of(vm);
	int r;

	if (cap->flags || cap->args[0] > SPLIT_PINS_MAX)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (x86_irqchip_any(x) || vm->created_vcpus)
		r = -EEXIST;
	else
		r = x86_irqchip_split(x, (unsigned int)cap->args[0]);
	pthread_mutex_unlock(&vm->lock);
	return r;
}

static int enable_x2apic_api(struct vm *vm, const struct kvm_enable_cap *cap)
{
	struct x86_vm *x = x86_vm_of(vm);

	if (cap->flags || (cap->args[0] & ~(__u64)X2APIC_FLAGS))
		return -EINVAL;
	if (cap->args[0] & KVM_X2APIC_API_USE_32BIT_IDS)
		x->bus.x2apic_format = true;
	if (cap->args[0] & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
		x->bus.no_broadcast_quirk = true;
	return 0;
}

static int enable_platform_info(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	x86_vm_of(vm)->no_platform_info = !cap->args[0];
	return 0;
}

static int enable_payload(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	x86_vm_of(vm)->exception_payload = cap->args[0];
	return 0;
}

static int enable_emulation_failure(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || (cap->args[0] & ~1ULL))
		return -EINVAL;
	x86_vm_of(vm)->exit_on_emulation_failure = cap->args[0];
	return 0;
}

static int enable_triple_fault(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	x86_vm_of(vm)->triple_fault_event = cap->args[0];
	return 0;
}

static int enable_user_msr(struct vm *vm, const struct kvm_enable_cap *cap)
{
	const uint64_t known = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			       KVM_MSR_EXIT_REASON_FILTER;

	if (cap->flags || (cap->args[0] & ~known))
		return -EINVAL;
	x86_vm_of(vm)->user_msr = (uint32_t)cap->args[0];
	return 0;
}

static int enable_hypercall_exit(struct vm *vm, const struct kvm_enable_cap *cap)
{
	if (cap->flags || (cap->args[0] & ~(1ULL << 12)))
		return -EINVAL;
	x86_vm_of(vm)->hypercall_exits = cap->args[0];
	return 0;
}

/* Set once; the same again is no error. */
static int set_max_vcpu_id(struct vm *vm, const struct kvm_enable_cap *cap)
{
	struct x86_vm *x = x86_vm_of(vm);
	int r = -EINVAL;

	if (cap->flags || cap->args[0] > KVM_MAX_VCPU_IDS)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (x->bsp_id <= cap->args[0] && (!x->max_vcpu_ids || x->max_vcpu_ids == cap->args[0])) {
		x->max_vcpu_ids = (uint32_t)cap->args[0];
		r = 0;
	}
	pthread_mutex_unlock(&vm->lock);
	return r;
}

static int enforce_pv(struct vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	x86_vcpu_of(vcpu)->enforce_pv = cap->args[0];
	return 0;
}

/* Flushes of L2 by the Hyper-V that a kernel's KVM itself runs on.  There is none under us. */
static int no_direct_flush(struct vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	return cap->flags ? -EINVAL : -ENOTTY;
}

static int enforce_hyperv(struct vcpu *vcpu, const struct kvm_enable_cap *cap)
{
	if (cap->flags)
		return -EINVAL;
	x86_vcpu_of(vcpu)->hv.enforced = cap->args[0];
	return 0;
}

static const struct kvm_cap_row caps[] = {
	{ .cap = KVM_CAP_IRQCHIP, .value = 1 },
	{ .cap = KVM_CAP_HLT, .value = 1 },
	{ .cap = KVM_CAP_VAPIC, .value = 1 },
	{ .cap = KVM_CAP_MMU_SHADOW_CACHE_CONTROL, .value = 1 },
	{ .cap = KVM_CAP_SET_TSS_ADDR, .value = 1 },
	{ .cap = KVM_CAP_SET_IDENTITY_MAP_ADDR, .value = 1 },
	{ .cap = KVM_CAP_EXT_CPUID, .value = 1 },
	{ .cap = KVM_CAP_EXT_EMUL_CPUID, .value = 1 },
	{ .cap = KVM_CAP_CLOCKSOURCE, .value = 1 },
	{ .cap = KVM_CAP_ADJUST_CLOCK,
	  .value = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC },
	{ .cap = KVM_CAP_KVMCLOCK_CTRL, .value = 1 },
	{ .cap = KVM_CAP_PIT, .value = 1 },
	{ .cap = KVM_CAP_PIT2, .value = 1 },
	{ .cap = KVM_CAP_PIT_STATE2, .value = 1 },
	{ .cap = KVM_CAP_REINJECT_CONTROL, .value = 1 },
	{ .cap = KVM_CAP_NOP_IO_DELAY, .value = 1 },
	{ .cap = KVM_CAP_STEAL_TIME, .get = steal_time },
	{ .cap = KVM_CAP_ASYNC_PF, .value = 1 },
	{ .cap = KVM_CAP_ASYNC_PF_INT, .value = 1 },
	{ .cap = KVM_CAP_MP_STATE, .value = 1 },
	{ .cap = KVM_CAP_USER_NMI, .value = 1 },
	{ .cap = KVM_CAP_X86_SMM, .get = smm },
	{ .cap = KVM_CAP_MULTI_ADDRESS_SPACE, .get = address_spaces },
	{ .cap = KVM_CAP_IRQ_INJECT_STATUS, .value = 1 },
	{ .cap = KVM_CAP_VCPU_EVENTS, .value = 1 },
	{ .cap = KVM_CAP_DEBUGREGS, .value = 1 },
	{ .cap = KVM_CAP_X86_ROBUST_SINGLESTEP, .value = 1 },
	{ .cap = KVM_CAP_SET_GUEST_DEBUG, .value = 1 },
	{ .cap = KVM_CAP_SET_GUEST_DEBUG2, .value = GUESTDBG_FLAGS },
	{ .cap = KVM_CAP_XSAVE, .value = 1 },
	{ .cap = KVM_CAP_XSAVE2, .get = xsave2_size },
	{ .cap = KVM_CAP_NESTED_STATE, .get = x86_nested_state_size },
	{ .cap = KVM_CAP_XCRS, .value = 1 },
	{ .cap = KVM_CAP_SREGS2, .value = 1 },
	{ .cap = KVM_CAP_SYNC_REGS, .value = KVM_SYNC_X86_VALID_FIELDS },
	{ .cap = KVM_CAP_GET_TSC_KHZ, .value = 1 },
	{ .cap = KVM_CAP_TSC_CONTROL, .value = 1 },
	{ .cap = KVM_CAP_VM_TSC_CONTROL, .value = 1 },
	{ .cap = KVM_CAP_TSC_DEADLINE_TIMER, .value = 1 },
	{ .cap = KVM_CAP_IOAPIC_POLARITY_IGNORED, .value = 1 },
	{ .cap = KVM_CAP_SET_BOOT_CPU_ID, .value = 1 },
	{ .cap = KVM_CAP_LAST_CPU, .value = 1 },
	{ .cap = KVM_CAP_SMALLER_MAXPHYADDR, .value = 1 },
	{ .cap = KVM_CAP_MAX_VCPU_ID, .value = KVM_MAX_VCPU_IDS, .enable_vm = set_max_vcpu_id },
	{ .cap = KVM_CAP_MCE, .value = X86_MCE_BANKS },
	{ .cap = KVM_CAP_GET_MSR_FEATURES, .value = 1 },
	{ .cap = KVM_CAP_VCPU_ATTRIBUTES, .value = 1 },
	{ .cap = KVM_CAP_SYS_ATTRIBUTES, .value = 1 },
	{ .cap = KVM_CAP_ENABLE_CAP, .value = 1 },
	{ .cap = KVM_CAP_DISABLE_QUIRKS, .value = 1, .enable_vm = disable_quirks },
	{ .cap = KVM_CAP_DISABLE_QUIRKS2, .value = QUIRKS, .enable_vm = disable_quirks },
	{ .cap = KVM_CAP_X86_DISABLE_EXITS, .value = FREE_EXITS, .enable_vm = disable_exits },
	{ .cap = KVM_CAP_SPLIT_IRQCHIP, .value = 1, .enable_vm = enable_split },
	{ .cap = KVM_CAP_X2APIC_API, .value = X2APIC_FLAGS, .enable_vm = enable_x2apic_api },
	{ .cap = KVM_CAP_MSR_PLATFORM_INFO, .value = 1, .enable_vm = enable_platform_info },
	{ .cap = KVM_CAP_EXCEPTION_PAYLOAD, .value = 1, .enable_vm = enable_payload },
	{ .cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .value = 1, .enable_vm = enable_emulation_failure },
	{ .cap = KVM_CAP_X86_TRIPLE_FAULT_EVENT, .value = 1, .enable_vm = enable_triple_fault },
	{ .cap = KVM_CAP_X86_USER_SPACE_MSR, .value = 1, .enable_vm = enable_user_msr },
	{ .cap = KVM_CAP_X86_MSR_FILTER, .value = 1 },
	{ .cap = KVM_CAP_PMU_EVENT_FILTER, .value = 1 },
	{ .cap = KVM_CAP_PMU_CAPABILITY, .value = KVM_PMU_CAP_DISABLE, .enable_vm = x86_pmu_capability },
	{ .cap = KVM_CAP_EXIT_HYPERCALL, .value = 1 << 12, .enable_vm = enable_hypercall_exit },
	{ .cap = KVM_CAP_X86_BUS_LOCK_EXIT, .get = bus_lock_modes, .enable_vm = enable_bus_lock },
	{ .cap = KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, .value = 1, .enable_vm = disable_nx_huge_pages },
	{ .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .value = 1, .enable_vcpu = enforce_pv },
	{ .cap = KVM_CAP_HYPERV, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_VAPIC, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_SPIN, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_TIME, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_SYNIC, .value = 1, .enable_vcpu = hv_synic_enable },
	{ .cap = KVM_CAP_HYPERV_SYNIC2, .value = 1, .enable_vcpu = hv_synic_enable },
	{ .cap = KVM_CAP_HYPERV_EVENTFD, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_VP_INDEX, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_TLBFLUSH, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_SEND_IPI, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_DIRECT_TLBFLUSH, .value = 0, .enable_vcpu = no_direct_flush },
	{ .cap = KVM_CAP_HYPERV_CPUID, .value = 1 },
	{ .cap = KVM_CAP_SYS_HYPERV_CPUID, .value = 1 },
	{ .cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .value = 1, .enable_vcpu = enforce_hyperv },
};

/* --- the table ---------------------------------------------------------------------------- */

static int slot_prepare(struct vm *vm, const struct memslot *old, const struct memslot *new,
			enum kvm_slot_change change)
{
	return new && new->as_id && x86_vm_of(vm)->no_smm ? -EINVAL : 0;
}

static void slot_commit(struct vm *vm, const struct memslot *old, const struct memslot *new,
			enum kvm_slot_change change)
{
	if (change != KVM_SLOT_FLAGS)
		code_drop_all(x86_vm_of(vm)->code);
}

static void memory_written(struct vm *vm, gpa_t gpa, size_t n)
{
	code_cache_touched(x86_vm_of(vm)->code);
}

const struct kvm_arch kvm_arch_x86 = {
	.name = "x86",
	.ioctls = { ioctls, ARRAY_SIZE(ioctls) },
	.caps = { caps, ARRAY_SIZE(caps) },
	.vm_stats = &x86_vm_stats,
	.vcpu_stats = &x86_vcpu_stats,
	.address_spaces = ADDRESS_SPACES,
	.gpa_bits = 52,
	.irqchip_pins = { 8, 8, KVM_IOAPIC_NUM_PINS },
	.vm_create = x86_vm_create,
	.vm_stop = x86_vm_stop,
	.vm_destroy = x86_vm_destroy,
	.slot_prepare = slot_prepare,
	.slot_commit = slot_commit,
	.memory_written = memory_written,
	.irqchip_in_kernel = x86_vm_irqchip_in_kernel,
	.irqfd_allowed = x86_vm_irqfd_allowed,
	.can_set_routing = x86_vm_irqchip_in_kernel,
	.check_route = x86_vm_check_route,
	.set_irq = x86_vm_set_irq,
	.routing_changed = x86_vm_routing_changed,
	.acks_changed = x86_vm_acks_changed,
	.vcpu_precreate = x86_vcpu_precreate,
	.vcpu_create = x86_vcpu_create,
	.vcpu_postcreate = x86_vcpu_postcreate,
	.vcpu_destroy = x86_vcpu_destroy,
	.vcpu_run = x86_vcpu_run,
	.vcpu_thread_changed = x86_steal_thread_changed,
	.vcpu_kick = x86_vcpu_kick,
	.vcpu_address_space = x86_vcpu_address_space,
	.vcpu_sync = x86_vcpu_sync,
};

int anykvm_set_cpu(const char *spec)
{
	int r = x86_model_set(spec);

	if (!r)
		return 0;
	errno = -r;
	return -1;
}
