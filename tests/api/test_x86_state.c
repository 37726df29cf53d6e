// SPDX-License-Identifier: MIT
/* A vCPU's state on x86: what is written is read back, what is invalid is refused. */
#include "api.h"

static int fresh(void)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	api_close(vm);
	return vcpu;
}

/* With an interrupt controller in the kernel; @cpuid: and the CPUID that the device offers. */
static int fresh_irqchip(bool cpuid)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	int vm = api_vm(), vcpu;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	vcpu = api_vcpu(vm, 0);
	if (cpuid) {
		c.head.nent = 256;
		api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c));
		api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &c));
	}
	api_close(vm);
	return vcpu;
}

static void test_reset_state(void **state)
{
	int vcpu = fresh();
	struct kvm_sregs s;
	struct kvm_regs r;

	api_ok(api_ioctl(vcpu, KVM_GET_REGS, &r));
	assert_int_equal(r.rip, 0xfff0);
	assert_int_equal(r.rflags, 2);
	assert_int_equal(r.rdx, 0x600);
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	assert_int_equal(s.cs.base, 0xffff0000);
	assert_int_equal(s.cs.selector, 0xf000);
	assert_int_equal(s.cr0, 0x60000010);
	assert_int_equal(s.cr3, 0);
	assert_int_equal(s.cr4, 0);
	assert_int_equal(s.efer, 0);
	assert_int_equal(s.idt.limit, 0xffff);
	assert_int_equal(s.tr.type, 0xb);
	api_close(vcpu);
}

static void test_regs(void **state)
{
	int vcpu = fresh();
	struct kvm_regs a, b;
	__u64 *p = &a.rax;

	memset(&a, 0, sizeof(a));
	for (int i = 0; i < 17; i++)
		p[i] = 0x1122334400000000ULL + (unsigned int)i;
	a.rflags = 0xad5;
	api_ok(api_ioctl(vcpu, KVM_SET_REGS, &a));
	api_ok(api_ioctl(vcpu, KVM_GET_REGS, &b));
	a.rflags |= 2;
	assert_memory_equal(&a, &b, sizeof(a));
	api_fails(EFAULT, api_ioctl(vcpu, KVM_GET_REGS, api_bad()));
	api_fails(EFAULT, api_ioctl(vcpu, KVM_SET_REGS, api_bad()));
	api_fails(EFAULT, api_ioctl(vcpu, KVM_GET_REGS, api_readonly()));
	api_close(vcpu);
}

static void test_sregs(void **state)
{
	int vcpu = fresh_irqchip(true);
	struct kvm_sregs s, t;

	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr0 = 0x80000031;
	s.cr3 = 0x5000;
	s.cr4 = 0x20;
	s.efer = 0x500;
	s.cs.base = 0;
	s.cs.l = 1;
	s.cs.db = 0;
	s.cs.limit = 0xffffffff;
	s.cs.g = 1;
	s.gdt.base = 0x1234;
	s.gdt.limit = 0x567;
	s.cr2 = 0xdeadbeef;
	s.fs.base = 0xffff888800001000ULL;
	s.cr8 = 5;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &t));
	assert_int_equal(t.cr0, s.cr0);
	assert_int_equal(t.cr3, s.cr3);
	assert_int_equal(t.cr4, s.cr4);
	assert_int_equal(t.efer, s.efer);
	assert_int_equal(t.cs.l, 1);
	assert_int_equal(t.cs.limit, 0xffffffff);
	assert_int_equal(t.gdt.base, 0x1234);
	assert_int_equal(t.gdt.limit, 0x567);
	assert_int_equal(t.cr2, 0xdeadbeef);
	assert_true(t.fs.base == s.fs.base);
	assert_int_equal(t.cr8, 5);
	api_close(vcpu);
}

static void test_sregs_invalid(void **state)
{
	int vcpu = fresh_irqchip(true);
	struct kvm_sregs good, s;

	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &good));
#define BAD(change) do { s = good; change; api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SREGS, &s)); } while (0)
	BAD(s.cr0 |= 1ULL << 32);
	BAD(s.cr0 = 0x20000010);                        /* NW without CD */
	BAD(s.cr0 = 0x80000010);                        /* PG without PE */
	BAD(s.cr4 |= 1ULL << 31);
	BAD(s.cr4 |= 1ULL << 15);
	BAD(s.efer = 0x400);                            /* LMA without LME and PG */
	BAD(s.cs.l = 1);
	BAD(s.efer = 0x500; s.cr0 = 0x80000011);        /* long mode without PAE */
	BAD(s.efer = 0x100; s.cr0 = 0x80000011; s.cr4 = 0x20);  /* LME and PG without LMA */
	BAD(s.efer = 0x500; s.cr0 = 0x80000011; s.cr4 = 0x20; s.cr3 = 1ULL << 52);
	BAD(s.apic_base |= 1ULL << 60);
#undef BAD
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &good));
	api_close(vcpu);
}

static void test_sregs2(void **state)
{
	int vcpu = fresh_irqchip(true);
	struct kvm_sregs2 s;

	api_ok(api_ioctl(vcpu, KVM_GET_SREGS2, &s));
	assert_int_equal(s.flags, 0);
	s.flags = 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SREGS2, &s));        /* PDPTRs without PAE paging */
	s.flags = 2;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SREGS2, &s));
	s.flags = 0;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS2, &s));
	api_close(vcpu);
}

static void test_interrupt_bitmap(void **state)
{
	int vcpu = fresh();
	struct kvm_sregs s;
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.interrupt_bitmap[1] = 1ULL << 5;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
	memset(&s, 0, sizeof(s));
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	assert_true(s.interrupt_bitmap[1] == 1ULL << 5);
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.interrupt.injected, 1);
	assert_int_equal(e.interrupt.nr, 69);
	api_close(vcpu);
}

static void test_fpu(void **state)
{
	int vcpu = fresh();
	struct kvm_fpu a, b;

	api_ok(api_ioctl(vcpu, KVM_GET_FPU, &a));
	assert_int_equal(a.fcw, 0x37f);
	for (int i = 0; i < 16; i++)
		memset(a.xmm[i], 0x10 + i, 16);
	memset(a.fpr[3], 0x77, 10);
	a.fcw = 0x27f;
	a.fsw = 0x3800;
	a.ftwx = 8;
	api_ok(api_ioctl(vcpu, KVM_SET_FPU, &a));
	api_ok(api_ioctl(vcpu, KVM_GET_FPU, &b));
	assert_memory_equal(a.xmm, b.xmm, sizeof(a.xmm));
	assert_memory_equal(a.fpr, b.fpr, sizeof(a.fpr));
	assert_int_equal(b.fcw, 0x27f);
	assert_int_equal(b.fsw, 0x3800);
	assert_int_equal(b.ftwx, 8);
	api_close(vcpu);
}

static void test_xsave(void **state)
{
	int vcpu = fresh_irqchip(true);
	static struct kvm_xsave a, b;
	uint64_t *header = (uint64_t *)(a.region + 128);

	api_ok(api_ioctl(vcpu, KVM_GET_XSAVE, &a));
	memset(a.region + 40, 0x5a, 256);               /* XMM0-15 */
	header[0] |= 3;
	api_ok(api_ioctl(vcpu, KVM_SET_XSAVE, &a));
	api_ok(api_ioctl(vcpu, KVM_GET_XSAVE, &b));
	assert_memory_equal(a.region + 40, b.region + 40, 256);
	header[1] = 1ULL << 63;                         /* XCOMP_BV: compacted */
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XSAVE, &a));
	header[1] = 0;
	header[0] |= 1ULL << 60;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XSAVE, &a));
	header[0] &= 3;
	a.region[6] = 0xffffffff;                       /* MXCSR */
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XSAVE, &a));
	assert_true(api_cap(api_sys(), KVM_CAP_XSAVE2) >= 4096);
	api_close(vcpu);
}

static void test_xcrs(void **state)
{
	int vcpu = fresh_irqchip(true);
	struct kvm_xcrs x;

	api_ok(api_ioctl(vcpu, KVM_GET_XCRS, &x));
	assert_int_equal(x.nr_xcrs, 1);
	assert_int_equal(x.xcrs[0].xcr, 0);
	assert_int_equal(x.xcrs[0].value, 1);
	x.xcrs[0].value = 3;
	api_ok(api_ioctl(vcpu, KVM_SET_XCRS, &x));
	x.xcrs[0].value = 2;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XCRS, &x));
	x.xcrs[0].value = 5;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XCRS, &x));
	x.xcrs[0].value = 1;
	x.nr_xcrs = 17;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XCRS, &x));
	x.nr_xcrs = 1;
	x.flags = 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_XCRS, &x));
	api_ok(api_ioctl(vcpu, KVM_GET_XCRS, &x));
	assert_int_equal(x.xcrs[0].value, 3);
	api_close(vcpu);
}

static void test_debugregs(void **state)
{
	int vcpu = fresh();
	struct kvm_debugregs d;

	api_ok(api_ioctl(vcpu, KVM_GET_DEBUGREGS, &d));
	assert_int_equal(d.dr6, 0xffff0ff0);
	assert_int_equal(d.dr7, 0x400);
	d.db[0] = 0x1234;
	d.db[3] = 0x5678;
	d.dr7 = 0x401;
	api_ok(api_ioctl(vcpu, KVM_SET_DEBUGREGS, &d));
	memset(&d, 0, sizeof(d));
	api_ok(api_ioctl(vcpu, KVM_GET_DEBUGREGS, &d));
	assert_int_equal(d.db[0], 0x1234);
	assert_int_equal(d.db[3], 0x5678);
	assert_int_equal(d.dr7, 0x401);
	d.dr7 = 1ULL << 32;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_DEBUGREGS, &d));
	d.dr7 = 0x400;
	d.dr6 = 1ULL << 40;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_DEBUGREGS, &d));
	d.dr6 = 0xffff0ff0;
	d.flags = 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_DEBUGREGS, &d));
	api_close(vcpu);
}

static void test_mp_state(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), chip = api_vm(), bsp, ap;
	struct kvm_mp_state s = { .mp_state = 77 };

	api_ok(api_ioctl(vcpu, KVM_GET_MP_STATE, &s));
	assert_int_equal(s.mp_state, KVM_MP_STATE_RUNNABLE);
	s.mp_state = KVM_MP_STATE_HALTED;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_MP_STATE, &s));       /* no local APIC */
	s.mp_state = KVM_MP_STATE_RUNNABLE;
	api_ok(api_ioctl(vcpu, KVM_SET_MP_STATE, &s));
	api_ok(api_ioctl(chip, KVM_CREATE_IRQCHIP, NULL));
	bsp = api_vcpu(chip, 0);
	ap = api_vcpu(chip, 1);
	api_ok(api_ioctl(bsp, KVM_GET_MP_STATE, &s));
	assert_int_equal(s.mp_state, KVM_MP_STATE_RUNNABLE);
	api_ok(api_ioctl(ap, KVM_GET_MP_STATE, &s));
	assert_int_equal(s.mp_state, KVM_MP_STATE_UNINITIALIZED);
	s.mp_state = KVM_MP_STATE_INIT_RECEIVED;
	api_ok(api_ioctl(ap, KVM_SET_MP_STATE, &s));
	s.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
	api_ok(api_ioctl(ap, KVM_SET_MP_STATE, &s));
	api_ok(api_ioctl(ap, KVM_GET_MP_STATE, &s));
	assert_int_equal(s.mp_state, KVM_MP_STATE_RUNNABLE);
	s.mp_state = 12;
	api_fails(EINVAL, api_ioctl(ap, KVM_SET_MP_STATE, &s));
	api_close(bsp);
	api_close(ap);
	api_close(chip);
	api_close(vcpu);
	api_close(vm);
}

static void test_vcpu_events(void **state)
{
	int vcpu = fresh();
	struct kvm_vcpu_events e, good;

	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &good));
	assert_int_equal(good.exception.injected, 0);
	assert_int_equal(good.nmi.pending, 0);
	e = good;
	e.exception.injected = 1;
	e.exception.nr = 14;
	e.exception.has_error_code = 1;
	e.exception.error_code = 6;
	e.nmi.masked = 1;
	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	memset(&e, 0, sizeof(e));
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.exception.injected, 1);
	assert_int_equal(e.exception.nr, 14);
	assert_int_equal(e.exception.error_code, 6);
	assert_int_equal(e.nmi.masked, 1);
#define BAD(change) do { e = good; change; api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e)); } while (0)
	BAD(e.flags |= 1 << 20);
	BAD(e.exception.injected = 1; e.exception.nr = 32);
	BAD(e.exception.injected = 1; e.exception.nr = 2);
	BAD(e.flags |= KVM_VCPUEVENT_VALID_PAYLOAD);
	BAD(e.flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT);
#undef BAD
	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &good));
	api_close(vcpu);
}

static void test_payload(void **state)
{
	int vm = api_vm(), vcpu;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = { 1 } };
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	vcpu = api_vcpu(vm, 0);
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_true(e.flags & KVM_VCPUEVENT_VALID_PAYLOAD);
	e.exception.pending = 1;
	e.exception.nr = 14;
	e.exception.has_error_code = 1;
	e.exception_has_payload = 1;
	e.exception_payload = 0x1234000;
	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	memset(&e, 0, sizeof(e));
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.exception.pending, 1);
	assert_int_equal(e.exception.injected, 0);
	assert_int_equal(e.exception_payload, 0x1234000);
	api_close(vcpu);
	api_close(vm);
}

static void test_lapic(void **state)
{
	int vcpu = fresh_irqchip(false), plain = fresh();
	struct kvm_lapic_state a, b;

	api_fails(EINVAL, api_ioctl(plain, KVM_GET_LAPIC, &a));
	api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &a));
	a.regs[0x80] = 0x20;            /* TPR */
	api_ok(api_ioctl(vcpu, KVM_SET_LAPIC, &a));
	api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &b));
	assert_int_equal((uint8_t)b.regs[0x80], 0x20);
	api_fails(EFAULT, api_ioctl(vcpu, KVM_SET_LAPIC, api_bad()));
	api_close(vcpu);
	api_close(plain);
}

static void test_translate(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_translation t = { .linear_address = 0x12345 };
	uint32_t *mem = api_memory(0x10000);
	struct kvm_sregs s;

	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	api_ok(api_ioctl(vcpu, KVM_TRANSLATE, &t));
	assert_int_equal(t.physical_address, 0x12345);
	assert_int_equal(t.valid, 1);
	/* A kernel that shadows page tables answers from what it last ran with. */
	if (api_real())
		goto out;
	/* 32-bit paging: one directory, one table. */
	mem[0x1000 / 4] = 0x2003;
	mem[0x2000 / 4 + 5] = 0x7003;
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr0 = 0x80000011;
	s.cr3 = 0x1000;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
	t.linear_address = 0x5678;
	api_ok(api_ioctl(vcpu, KVM_TRANSLATE, &t));
	assert_int_equal(t.valid, 1);
	assert_int_equal(t.physical_address, 0x7678);
	t.linear_address = 0x6000;
	api_ok(api_ioctl(vcpu, KVM_TRANSLATE, &t));
	assert_int_equal(t.valid, 0);
out:
	api_close(vcpu);
	api_close(vm);
}

static void test_tsc_khz(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0), khz;

	khz = api_ioctl(vcpu, KVM_GET_TSC_KHZ, NULL);
	assert_true(khz > 100000);
	api_ok(api_ioctl(vcpu, KVM_SET_TSC_KHZ, (void *)(uintptr_t)(unsigned int)khz));
	assert_int_equal(api_ioctl(vcpu, KVM_GET_TSC_KHZ, NULL), khz);
	if (api_cap(vm, KVM_CAP_TSC_CONTROL))
		api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_TSC_KHZ, (void *)0xffffffffUL));
	api_close(vcpu);
	api_close(vm);
}

static void test_tsc_offset(void **state)
{
	int vcpu = fresh();
	uint64_t offset = 0, again;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset,
	};

	api_ok(api_ioctl(vcpu, KVM_HAS_DEVICE_ATTR, &attr));
	api_ok(api_ioctl(vcpu, KVM_GET_DEVICE_ATTR, &attr));
	offset += 1000;
	again = offset;
	api_ok(api_ioctl(vcpu, KVM_SET_DEVICE_ATTR, &attr));
	offset = 0;
	api_ok(api_ioctl(vcpu, KVM_GET_DEVICE_ATTR, &attr));
	/* A kernel whose own TSC is unstable adjusts the offset. */
	if (!api_real())
		assert_true(offset == again);
	attr.attr = 9;
	api_fails(ENXIO, api_ioctl(vcpu, KVM_HAS_DEVICE_ATTR, &attr));
	attr.attr = KVM_VCPU_TSC_OFFSET;
	attr.addr = (uintptr_t)api_bad();
	api_fails(EFAULT, api_ioctl(vcpu, KVM_GET_DEVICE_ATTR, &attr));
	api_close(vcpu);
}

static void test_mce(void **state)
{
	int vcpu = fresh();
	uint64_t cap = 0;
	struct kvm_x86_mce mce = { .status = 1ULL << 63, .bank = 40 };

	api_ok(api_ioctl(api_sys(), KVM_X86_GET_MCE_CAP_SUPPORTED, &cap));
	assert_true(cap & 1 << 8);
	assert_int_equal(api_cap(api_sys(), KVM_CAP_MCE), 32);
	cap = (1 << 8) | 10;
	api_ok(api_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap));
	api_fails(EINVAL, api_ioctl(vcpu, KVM_X86_SET_MCE, &mce));
	mce.bank = 1;
	api_ok(api_ioctl(vcpu, KVM_X86_SET_MCE, &mce));
	mce.status = 0;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_X86_SET_MCE, &mce));
	cap = (1 << 8) | 33;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap));
	cap = 1 << 8;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap));
	cap = (1ULL << 40) | 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_X86_SETUP_MCE, &cap));
	api_close(vcpu);
}

static void test_interrupt(void **state)
{
	int chip = fresh_irqchip(false), plain = fresh();
	struct kvm_interrupt irq = { .irq = 32 };

	api_fails(ENXIO, api_ioctl(chip, KVM_INTERRUPT, &irq));
	irq.irq = 256;
	api_fails(EINVAL, api_ioctl(chip, KVM_INTERRUPT, &irq));
	api_fails(EINVAL, api_ioctl(plain, KVM_INTERRUPT, &irq));
	irq.irq = 32;
	api_ok(api_ioctl(plain, KVM_INTERRUPT, &irq));
	api_close(chip);
	api_close(plain);
}

static void test_tpr_reporting(void **state)
{
	int vcpu = fresh();
	struct kvm_tpr_access_ctl ctl = { .enabled = 1 };

	api_ok(api_ioctl(vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	ctl.flags = 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_TPR_ACCESS_REPORTING, &ctl));
	api_close(vcpu);
}

static void test_kvmclock_ctrl(void **state)
{
	int vcpu = fresh();

	api_fails(EINVAL, api_ioctl(vcpu, KVM_KVMCLOCK_CTRL, NULL));
	api_close(vcpu);
}

/* Without a local APIC of the kernel's the base is there nonetheless: CPUID's APIC bit follows it. */
static void test_apic_base(void **state)
{
	int vm = api_vm(), bsp = api_vcpu(vm, 0), ap = api_vcpu(vm, 1);
	struct kvm_sregs s;

	api_ok(api_ioctl(bsp, KVM_GET_SREGS, &s));
	assert_int_equal(s.apic_base, 0xfee00900);
	api_ok(api_ioctl(ap, KVM_GET_SREGS, &s));
	assert_int_equal(s.apic_base, 0xfee00800);
	/* A CR8 beyond 15 is passed over. */
	s.cr8 = 5;
	api_ok(api_ioctl(ap, KVM_SET_SREGS, &s));
	s.cr8 = 0x12;
	api_ok(api_ioctl(ap, KVM_SET_SREGS, &s));
	api_ok(api_ioctl(ap, KVM_GET_SREGS, &s));
	assert_int_equal(s.cr8, 5);
	api_close(ap);
	api_close(bsp);
	api_close(vm);
}

/* KVM_GUESTDBG_INJECT_*: EBUSY behind an exception that is pending; one that is injected gives way. */
static void test_inject(void **state)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB };
	struct kvm_vcpu_events e = { .exception = { .injected = 1, .nr = 6 } };
	int vcpu = fresh();

	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	api_ok(api_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug));
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.exception.nr, 1);
	assert_int_equal(e.exception.injected, 1);
	api_fails(EBUSY, api_ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug));
	api_close(vcpu);
}

/* An INIT that waits is part of the state. */
static void test_latched_init(void **state)
{
	struct kvm_vcpu_events e = { .flags = KVM_VCPUEVENT_VALID_SMM, .smi = { .latched_init = 1 } };
	int vcpu = fresh_irqchip(false);

	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	e.smi.latched_init = 0;
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.smi.latched_init, 1);
	e.smi.latched_init = 0;
	api_ok(api_ioctl(vcpu, KVM_SET_VCPU_EVENTS, &e));
	api_ok(api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.smi.latched_init, 0);
	api_close(vcpu);
}

/* KVM_CAP_MAX_VCPU_ID: once, and before there is a vCPU. */
static void test_max_vcpu_id(void **state)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID, .args = { 4 } };
	int vm = api_vm(), vcpu;

	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 5;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_fails(EINVAL, api_ioctl(vm, KVM_CREATE_VCPU, (void *)4));
	vcpu = api_vcpu(vm, 3);
	api_close(vcpu);
	api_close(vm);
	vm = api_vm();
	vcpu = api_vcpu(vm, 0);
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_close(vcpu);
	api_close(vm);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_reset_state),
	cmocka_unit_test(test_regs),
	cmocka_unit_test(test_sregs),
	cmocka_unit_test(test_sregs_invalid),
	cmocka_unit_test(test_sregs2),
	cmocka_unit_test(test_interrupt_bitmap),
	cmocka_unit_test(test_fpu),
	cmocka_unit_test(test_xsave),
	cmocka_unit_test(test_xcrs),
	cmocka_unit_test(test_debugregs),
	cmocka_unit_test(test_mp_state),
	cmocka_unit_test(test_vcpu_events),
	cmocka_unit_test(test_payload),
	cmocka_unit_test(test_lapic),
	cmocka_unit_test(test_translate),
	cmocka_unit_test(test_tsc_khz),
	cmocka_unit_test(test_tsc_offset),
	cmocka_unit_test(test_mce),
	cmocka_unit_test(test_interrupt),
	cmocka_unit_test(test_tpr_reporting),
	cmocka_unit_test(test_kvmclock_ctrl),
	cmocka_unit_test(test_apic_base),
	cmocka_unit_test(test_inject),
	cmocka_unit_test(test_latched_init),
	cmocka_unit_test(test_max_vcpu_id),
};

API_MAIN(tests)
