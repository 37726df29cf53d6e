// SPDX-License-Identifier: MIT
/* Every capability of the tables, and the requests that are small enough to be tried in one go. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "anykvm.h"
#include "kvm/arch.h"
#include "kvm/caps.h"

/* Values of capabilities that are not 1. */
static int expected(long cap)
{
	switch (cap) {
	case KVM_CAP_ADJUST_CLOCK: return KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
	case KVM_CAP_COALESCED_MMIO: return 2;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL: return 65536 * 16;
	case KVM_CAP_DISABLE_QUIRKS2: return 0x7f;
	case KVM_CAP_EXIT_HYPERCALL: return 1 << 12;
	case KVM_CAP_HYPERV_DIRECT_TLBFLUSH: return 0;
	case KVM_CAP_IRQ_ROUTING: return 4096;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: return 3;
	case KVM_CAP_MAX_VCPU_ID: return 4096;
	case KVM_CAP_MAX_VCPUS: return 1024;
	case KVM_CAP_MCE: return 32;
	case KVM_CAP_MULTI_ADDRESS_SPACE: return 2;
	case KVM_CAP_NR_MEMSLOTS: return 32764;
	case KVM_CAP_SET_GUEST_DEBUG2: return 0x1f0003;
	case KVM_CAP_SYNC_REGS: return 7;
	case KVM_CAP_X2APIC_API: return 3;
	case KVM_CAP_X86_DISABLE_EXITS: return KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE;
	default: return 1;
	}
}

static bool may_be_zero(long cap)
{
	return cap == KVM_CAP_X86_BUS_LOCK_EXIT || cap == KVM_CAP_NESTED_STATE || cap == KVM_CAP_HYPERV_ENLIGHTENED_VMCS;
}

/* What depends on the machine. */
static bool varies(long cap)
{
	return cap == KVM_CAP_NR_VCPUS || cap == KVM_CAP_XSAVE2 || may_be_zero(cap);
}

/* Ours alone, or what a kernel's machine may lack or have more of. */
static bool of_ours(long cap)
{
	static const long theirs[] = {
		ANYKVM_CAP_ENGINE, KVM_CAP_TSC_CONTROL, KVM_CAP_VM_TSC_CONTROL, KVM_CAP_MULTI_ADDRESS_SPACE,
		KVM_CAP_MAX_VCPUS, KVM_CAP_MAX_VCPU_ID, KVM_CAP_DISABLE_QUIRKS2, KVM_CAP_X2APIC_API,
		KVM_CAP_EXIT_HYPERCALL, KVM_CAP_NR_MEMSLOTS, KVM_CAP_X86_SMM,
		KVM_CAP_X86_DISABLE_EXITS, KVM_CAP_PRE_FAULT_MEMORY, KVM_CAP_USER_MEMORY2,
		KVM_CAP_SMALLER_MAXPHYADDR,
		KVM_CAP_PMU_CAPABILITY, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES,
		/* From 6.9 on a kernel can be built without Hyper-V's interface. */
		KVM_CAP_HYPERV, KVM_CAP_HYPERV_VAPIC, KVM_CAP_HYPERV_SPIN, KVM_CAP_HYPERV_TIME, KVM_CAP_HYPERV_VP_INDEX,
		KVM_CAP_HYPERV_TLBFLUSH, KVM_CAP_HYPERV_SEND_IPI, KVM_CAP_HYPERV_CPUID, KVM_CAP_SYS_HYPERV_CPUID,
		KVM_CAP_HYPERV_ENFORCE_CPUID, KVM_CAP_HYPERV_SYNIC, KVM_CAP_HYPERV_SYNIC2, KVM_CAP_HYPERV_EVENTFD,
	};

	for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
		if (theirs[i] == cap)
			return true;
	return false;
}

static void check_row(const struct kvm_cap_row *row, int vm)
{
	int on_system = api_cap(api_sys(), row->cap), on_vm = api_cap(vm, row->cap), want = expected(row->cap);

	if (api_real() && of_ours(row->cap))
		return;
	assert_int_equal(on_system, on_vm);
	if (varies(row->cap))
		assert_true(on_vm > 0 || may_be_zero(row->cap));
	else if (on_vm != want)
		fail_msg("capability %ld: %#x, not %#x", row->cap, on_vm, want);
}

/* A bit too many, or a flag: what can be enabled looks at both. */
static void check_enable(const struct kvm_cap_row *row, int vm)
{
	struct kvm_enable_cap cap = { .cap = (uint32_t)row->cap, .flags = 1 };

	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.flags = 0;
	/* What cannot be enabled. */
	if (!row->enable_vm && row->cap != ANYKVM_CAP_ENGINE)
		api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
}

static void test_rows(void **state)
{
	const struct kvm_cap_rows *tables[] = { &kvm_cap_rows_generic, &kvm_arch_x86.caps };
	int vm = api_vm();

	for (size_t t = 0; t < 2; t++) {
		for (size_t i = 0; i < tables[t]->count; i++) {
			check_row(&tables[t]->row[i], vm);
			check_enable(&tables[t]->row[i], vm);
		}
	}
	api_close(vm);
}

/* Not built, so not offered, and not to be enabled. */
static void test_absent(void **state)
{
	static const long absent[] = {
		KVM_CAP_XEN_HVM,
		KVM_CAP_SGX_ATTRIBUTE, KVM_CAP_X86_NOTIFY_VMEXIT, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM,
		KVM_CAP_PV_MMU, KVM_CAP_S390_PSW, KVM_CAP_PPC_HTM, KVM_CAP_ARM_PSCI, 0, 0x7ffffff,
	};
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	for (size_t i = 0; !api_real() && i < sizeof(absent) / sizeof(absent[0]); i++) {
		/* 0 is KVM_CAP_IRQCHIP. */
		if (absent[i]) {
			assert_int_equal(api_cap(api_sys(), absent[i]), 0);
			assert_int_equal(api_cap(vm, absent[i]), 0);
		}
		api_fails(EINVAL, guest_enable(vm, (uint32_t)absent[i], 0));
		api_fails(EINVAL, guest_enable(vcpu, (uint32_t)absent[i], 0));
	}
	api_close(vcpu);
	api_close(vm);
}

/* What the arguments of each may be. */
static void test_arguments(void **state)
{
	static const struct {
		uint32_t cap;
		uint64_t good[2], bad[2];       /* 0: the end of bad */
	} row[] = {
		{ KVM_CAP_DISABLE_QUIRKS, { 0, ~0ULL }, { 0 } },
		{ KVM_CAP_DISABLE_QUIRKS2, { 0, 0x7f }, { 1ULL << 40, 1 << 30 } },
		{ KVM_CAP_X2APIC_API, { 0, 3 }, { 1 << 8, 1ULL << 40 } },
		{ KVM_CAP_MSR_PLATFORM_INFO, { 0, 1 }, { 0 } },
		{ KVM_CAP_EXCEPTION_PAYLOAD, { 0, 1 }, { 0 } },
		{ KVM_CAP_X86_TRIPLE_FAULT_EVENT, { 0, 1 }, { 0 } },
		{ KVM_CAP_X86_USER_SPACE_MSR, { 0, 7 }, { 1 << 8, 1ULL << 40 } },
		{ KVM_CAP_EXIT_HYPERCALL, { 0, 1 << 12 }, { 1 << 11, 1ULL << 40 } },
		{ KVM_CAP_EXIT_ON_EMULATION_FAILURE, { 0, 1 }, { 2, 1ULL << 40 } },
		{ KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, { 0, 3 }, { 2, 4 } },
		{ KVM_CAP_X86_BUS_LOCK_EXIT, { 0, 1 }, { 3, 1ULL << 32 } },
		{ KVM_CAP_HALT_POLL, { 0, 200000 }, { 1ULL << 32, ~0ULL } },
	};
	int vm = api_vm();

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		for (int n = 0; n < 2; n++) {
			api_ok(guest_enable(vm, row[i].cap, row[i].good[n]));
			if (row[i].bad[n])
				api_fails(EINVAL, guest_enable(vm, row[i].cap, row[i].bad[n]));
		}
	}
	api_close(vm);
}

/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID: what CPUID does not name is not there. */
static void test_enforce_pv(void **state)
{
	/* mov ecx,0x4b564d01; rdmsr; out 0x10,al.  #GP: out 0x12,al */
	struct guest g = GUEST(false, 0x66, 0xb9, 0x01, 0x4d, 0x56, 0x4b, 0x0f, 0x32, 0xe6, 0x10);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x12);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x10);
	api_fails(EINVAL, guest_enable(g.vm, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1));
	api_ok(guest_enable(g.vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x12);
	guest_end(&g);
}

/* KVM_CAP_MSR_PLATFORM_INFO: the guest's reads may be refused, the client's are not. */
static void test_platform_info(void **state)
{
	struct guest g = GUEST(false, 0x66, 0xb9, 0xce, 0, 0, 0, 0x0f, 0x32, 0xe6, 0x10);
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { { .nmsrs = 1 }, { .index = 0xce } };

	VECTOR(&g, 13, 0x1800, 0xe6, 0x12);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x10);
	api_ok(guest_enable(g.vm, KVM_CAP_MSR_PLATFORM_INFO, 0));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x12);
	assert_int_equal(api_ioctl(g.vcpu, KVM_GET_MSRS, &m), 1);
	guest_end(&g);
}

/* --- quirks: on unless the client disables them; api.rst 7.27 ---------------------------------------- */

/* mov eax,[0xfee00020]; out 0x10,al: with the local APIC turned off */
static struct guest without_apic(uint64_t disable)
{
	int vm = api_vm();
	struct guest g;
	struct kvm_sregs s;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	if (disable)
		api_ok(guest_enable(vm, KVM_CAP_DISABLE_QUIRKS2, disable));
	g = GUEST_ON(vm, 0x67, 0x66, 0xa1, 0x20, 0x00, 0xe0, 0xfe, 0xe6, 0x10);
	guest_unreal(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.apic_base &= ~0x800ULL;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	return g;
}

static void test_mmio_hole(void **state)
{
	struct guest g = without_apic(0);

	guest_port(&g, 0x10);
	assert_int_equal((uint32_t)guest_regs(&g).rax, 0xffffffff);
	guest_end(&g);
	g = without_apic(KVM_X86_QUIRK_LAPIC_MMIO_HOLE);
	guest_run(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0xfee00020);
	guest_end(&g);
}

static uint32_t lint0(uint64_t disable)
{
	int vm = api_vm(), vcpu;
	struct kvm_lapic_state lapic;
	uint32_t value;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	if (disable)
		api_ok(guest_enable(vm, KVM_CAP_DISABLE_QUIRKS2, disable));
	vcpu = api_vcpu(vm, 0);
	api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &lapic));
	memcpy(&value, lapic.regs + 0x350, sizeof(value));
	api_close(vcpu);
	api_close(vm);
	return value;
}

/* The boot processor's LINT0 passes the PIC's interrupts, unlike a processor's. */
static void test_lint0(void **state)
{
	assert_int_equal(lint0(0), 0x700);
	assert_int_equal(lint0(KVM_X86_QUIRK_LINT0_REENABLED), 0x10000);
}

/* The other vendor's hypercall is made the right one, or is #UD. */
static void test_fix_hypercall(void **state)
{
	/* vmcall; vmmcall; out 0x10,al.  #UD: out 0x12,al */
	struct guest g = GUEST(false, 0x0f, 0x01, 0xc1, 0x0f, 0x01, 0xd9, 0xe6, 0x10);

	/* The emulation of real mode in some kernels knows no hypercalls. */
	if (api_real()) {
		guest_end(&g);
		skip();
	}
	VECTOR(&g, 6, 0x1800, 0xe6, 0x12);
	SET(&g, rsp, 0x8000);
	guest_port(&g, 0x10);
	memcpy(g.mem + GUEST_CODE, (uint8_t[]){ 0x0f, 0x01, 0xc1, 0x0f, 0x01, 0xd9 }, 6);
	api_ok(guest_enable(g.vm, KVM_CAP_DISABLE_QUIRKS2, KVM_X86_QUIRK_FIX_HYPERCALL_INSN));
	SET(&g, rip, GUEST_CODE);
	guest_port(&g, 0x12);
	guest_end(&g);
}

/* --- requests ------------------------------------------------------------------------------------- */

static void test_nr_mmu_pages(void **state)
{
	int vm = api_vm();

	if (api_real() && api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL) < 0) {
		api_close(vm);
		skip();
	}
	/* Until it is set, a share of what the slots have. */
	assert_int_equal(api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL), 0);
	api_ok(api_set_slot(vm, 0, 0, 0, PAGE, api_memory(PAGE)));
	assert_int_equal(api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL), 64);
	api_ok(api_set_slot(vm, 1, 0, 1 << 30, 10000 * PAGE, api_memory(10000 * PAGE)));
	assert_int_equal(api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL), 200);
	api_ok(api_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)1000));
	assert_int_equal(api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL), 1000);
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)63));
	assert_int_equal(api_ioctl(vm, KVM_GET_NR_MMU_PAGES, NULL), 1000);
	api_close(vm);
}

/* The older form of the PIT's state: the channels without the flags. */
static void test_pit1(void **state)
{
	int vm = api_vm();
	struct kvm_pit_state s, again;
	struct kvm_pit_state2 s2;

	memset(&s, 0, sizeof(s));
	api_fails(ENXIO, api_ioctl(vm, KVM_GET_PIT, &s));
	api_fails(ENXIO, api_ioctl(vm, KVM_SET_PIT, &s));
	api_fails(ENXIO, api_ioctl(vm, KVM_SET_PIT2, &s2));
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(vm, KVM_CREATE_PIT, NULL));
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_PIT, NULL));
	api_ok(api_ioctl(vm, KVM_GET_PIT, &s));
	s.channels[2].count = 0x4321;
	s.channels[2].mode = 2;
	s.channels[2].bcd = 0;
	api_ok(api_ioctl(vm, KVM_SET_PIT, &s));
	memset(&again, 0, sizeof(again));
	api_ok(api_ioctl(vm, KVM_GET_PIT, &again));
	assert_int_equal(again.channels[2].count, 0x4321);
	assert_int_equal(again.channels[2].mode, 2);
	api_ok(api_ioctl(vm, KVM_GET_PIT2, &s2));
	assert_int_equal(s2.channels[2].count, 0x4321);
	api_close(vm);
}

/* KVM_CREATE_PIT2 with the speaker's port, or with its port left to the client. */
static void test_speaker(void **state)
{
	for (uint32_t flags = 0; flags < 2; flags++) {
		struct kvm_pit_config config = { .flags = flags ? KVM_PIT_SPEAKER_DUMMY : 0 };
		int vm = api_vm();
		struct guest g;

		api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
		api_ok(api_ioctl(vm, KVM_CREATE_PIT2, &config));
		/* in al,0x61; out 0x10,al */
		g = GUEST_ON(vm, 0xe4, 0x61, 0xe6, 0x10);
		guest_port(&g, flags ? 0x10 : 0x61);
		guest_end(&g);
	}
}

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 e[256];
} cpuid;

static void test_emulated_cpuid(void **state)
{
	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_EMULATED_CPUID, &cpuid));
	assert_true(cpuid.head.nent < 256);
	cpuid.head.nent = 0;
	api_fails(E2BIG, api_ioctl(api_sys(), KVM_GET_EMULATED_CPUID, &cpuid));
	/* Its padding is looked at. */
	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 8;
	cpuid.e[3].padding[1] = 1;
	api_fails(EINVAL, api_ioctl(api_sys(), KVM_GET_EMULATED_CPUID, &cpuid));
}

/* The older request has entries without an index; what it sets is read by the newer one. */
static void test_set_cpuid(void **state)
{
	struct {
		struct kvm_cpuid head;
		struct kvm_cpuid_entry e[300];
	} *old = calloc(1, sizeof(*old));
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &cpuid));
	old->e[0] = (struct kvm_cpuid_entry){ .function = 0, .eax = 1, .ebx = cpuid.e[0].ebx, .ecx = cpuid.e[0].ecx,
					      .edx = cpuid.e[0].edx };
	old->e[1] = (struct kvm_cpuid_entry){ .function = 1, .eax = 0x12345, .edx = 0x1 };
	old->head.nent = 2;
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID, old));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(vcpu, KVM_GET_CPUID2, &cpuid));
	assert_true(cpuid.head.nent >= 2);
	if (!api_real())        /* some later ones have more to say */
		assert_int_equal(cpuid.head.nent, 2);
	assert_int_equal(cpuid.e[1].function, 1);
	assert_int_equal(cpuid.e[1].eax, 0x12345);
	assert_int_equal(cpuid.e[1].flags, 0);
	old->head.nent = 257;
	api_fails(E2BIG, api_ioctl(vcpu, KVM_SET_CPUID, old));
	free(old);
	api_close(vcpu);
	api_close(vm);
}

/* The same image by the request that knows how large it is. */
static void test_xsave2(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), size = api_cap(vm, KVM_CAP_XSAVE2);
	uint8_t *a, *b;

	assert_true(size >= (int)sizeof(struct kvm_xsave));
	a = calloc(1, (size_t)size);
	b = calloc(1, (size_t)size);
	api_ok(api_ioctl(vcpu, KVM_GET_XSAVE2, a));
	memset(a + 160, 0x77, 256);
	a[512] |= 3;
	api_ok(api_ioctl(vcpu, KVM_SET_XSAVE, a));
	api_ok(api_ioctl(vcpu, KVM_GET_XSAVE2, b));
	assert_memory_equal(a + 160, b + 160, 256);
	api_ok(api_ioctl(vcpu, KVM_GET_XSAVE, b));
	assert_memory_equal(a + 160, b + 160, 256);
	free(a);
	free(b);
	api_close(vcpu);
	api_close(vm);
}

/* PAE paging: the four entries are part of the state. */
static void test_pdptrs(void **state)
{
	struct guest g = GUEST(false, 0xf4);
	struct kvm_sregs2 s, t;

	*(uint64_t *)(g.mem + 0x5000) = 0x6001;
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS2, &s));
	assert_int_equal(s.flags, 0);
	s.cr0 = 0x80000011;
	s.cr3 = 0x5000;
	s.cr4 = 0x20;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS2, &s));
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS2, &t));
	/* Not every kernel looks at them before the vCPU has run. */
	if (api_real() && !t.flags) {
		guest_end(&g);
		skip();
	}
	assert_int_equal(t.flags, KVM_SREGS2_FLAGS_PDPTRS_VALID);
	/* Loaded from memory, or given. */
	if (!api_real())
		assert_int_equal(t.pdptrs[0], 0x6001);
	t.pdptrs[0] = 0x7001;
	t.pdptrs[3] = 0x8001;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS2, &t));
	memset(&s, 0, sizeof(s));
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS2, &s));
	assert_int_equal(s.pdptrs[0], 0x7001);
	assert_int_equal(s.pdptrs[3], 0x8001);
	guest_end(&g);
}

/* The one attribute of the device. */
static void test_system_attribute(void **state)
{
	uint64_t xcr0 = 0;
	struct kvm_device_attr attr = { .attr = KVM_X86_XCOMP_GUEST_SUPP, .addr = (uintptr_t)&xcr0 };

	api_ok(api_ioctl(api_sys(), KVM_HAS_DEVICE_ATTR, &attr));
	api_ok(api_ioctl(api_sys(), KVM_GET_DEVICE_ATTR, &attr));
	assert_int_equal(xcr0 & 3, 3);
	attr.addr = (uintptr_t)api_bad();
	api_fails(EFAULT, api_ioctl(api_sys(), KVM_GET_DEVICE_ATTR, &attr));
	attr.group = 1;
	api_fails(ENXIO, api_ioctl(api_sys(), KVM_GET_DEVICE_ATTR, &attr));
	attr.group = 0;
	attr.attr = 1;
	if (!api_real())
		api_fails(ENXIO, api_ioctl(api_sys(), KVM_HAS_DEVICE_ATTR, &attr));
}

static void test_dirty_rings(void **state)
{
	int vm = api_vm();

	api_fails(EINVAL, api_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL));
	api_close(vm);
}

/* Huge pages are as quick as others; the right to say so is asked for as by KVM, and in time. */
static void test_nx_huge_pages(void **state)
{
	int vm = api_vm(), later = api_vm(), vcpu, status;
	pid_t child;

	if (!api_cap(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES) || geteuid() ||
	    guest_enable(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0)) {
		/* We may not. */
		if (!api_real())
			api_fails(EPERM, guest_enable(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0));
		api_close(vm);
		api_close(later);
		skip();
	}
	api_fails(EINVAL, guest_enable(vm, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 1));
	vcpu = api_vcpu(later, 0);
	api_fails(EINVAL, guest_enable(later, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0));
	api_close(vcpu);
	api_close(later);
	/* Who is not root has not that right. */
	child = fork();
	if (!child) {
		int other;

		if (setresuid(65534, 65534, 65534))
			_exit(2);
		other = api_ioctl(api_open(), KVM_CREATE_VM, 0);
		/* A device that does not open for him tells nothing; the library opens for all. */
		_exit(other < 0 ? api_linked() : !(guest_enable(other, KVM_CAP_VM_DISABLE_NX_HUGE_PAGES, 0) && errno == EPERM));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	api_close(vm);
}

/* Memory encryption: there is none, as on a processor without SEV.  A region is read first. */
static void no_encryption(bool amd)
{
	static const unsigned long requests[] = { KVM_MEMORY_ENCRYPT_REG_REGION, KVM_MEMORY_ENCRYPT_UNREG_REGION };
	void *page = api_memory(PAGE);
	struct kvm_enc_region region[] = {
		{ (uintptr_t)page, PAGE }, { 0, 0 }, { (uintptr_t)page + 1, PAGE }, { ~0ULL - PAGE, 2 * PAGE },
		{ (uintptr_t)page, 1ULL << 50 },
	};
	struct kvm_sev_cmd cmd = { .id = KVM_SEV_INIT };
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	for (unsigned int n = 0; n < 2; n++) {
		for (size_t i = 0; i < sizeof(region) / sizeof(region[0]); i++)
			api_fails(ENOTTY, api_ioctl(vm, requests[n], &region[i]));
		api_fails(EFAULT, api_ioctl(vm, requests[n], api_bad()));
		api_fails(EINVAL, api_ioctl(vcpu, requests[n], region));
	}
	if (!api_real()) {      /* a kernel with SEV has more to say */
		api_fails(ENOTTY, api_ioctl(vm, KVM_MEMORY_ENCRYPT_OP, &cmd));
		api_fails(ENOTTY, api_ioctl(vm, KVM_MEMORY_ENCRYPT_OP, NULL));
		api_fails(ENOTTY, api_ioctl(vm, KVM_MEMORY_ENCRYPT_OP, api_bad()));
		api_fails(EINVAL, guest_enable(vm, KVM_CAP_VM_COPY_ENC_CONTEXT_FROM, (uint64_t)vm));
		api_fails(EINVAL, guest_enable(vm, KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM, (uint64_t)vm));
	}
	munmap(page, PAGE);
	api_close(vcpu);
	api_close(vm);
}

static void test_no_encryption(void **state)
{
	guest_each_model(no_encryption);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_rows),
	cmocka_unit_test(test_absent),
	cmocka_unit_test(test_arguments),
	cmocka_unit_test(test_enforce_pv),
	cmocka_unit_test(test_platform_info),
	cmocka_unit_test(test_mmio_hole),
	cmocka_unit_test(test_lint0),
	cmocka_unit_test(test_fix_hypercall),
	cmocka_unit_test(test_nr_mmu_pages),
	cmocka_unit_test(test_pit1),
	cmocka_unit_test(test_speaker),
	cmocka_unit_test(test_emulated_cpuid),
	cmocka_unit_test(test_set_cpuid),
	cmocka_unit_test(test_xsave2),
	cmocka_unit_test(test_pdptrs),
	cmocka_unit_test(test_system_attribute),
	cmocka_unit_test(test_dirty_rings),
	cmocka_unit_test(test_no_encryption),
	cmocka_unit_test(test_nx_huge_pages),
};

API_MAIN(tests)
