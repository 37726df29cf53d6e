// SPDX-License-Identifier: MIT
/* Interrupt controllers, PIT, clock and the other VM ioctls of x86; SMP by INIT and SIPI. */
#include <pthread.h>

#include "api.h"

static void test_create(void **state)
{
	int vm = api_vm(), late = api_vm(), vcpu;
	struct kvm_irqchip chip = { 0 };
	struct kvm_irq_level line = { .irq = 4, .level = 0 };

	api_fails(ENXIO, api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	api_fails(ENXIO, api_ioctl(vm, KVM_IRQ_LINE, &line));
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(vm, KVM_IRQ_LINE, &line));
	vcpu = api_vcpu(late, 0);
	api_fails(EINVAL, api_ioctl(late, KVM_CREATE_IRQCHIP, NULL));
	api_close(vcpu);
	api_close(late);
	api_close(vm);
}

static void test_chip_state(void **state)
{
	int vm = api_vm();
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	assert_int_equal(chip.chip.ioapic.base_address, 0xfec00000);
	assert_int_equal(chip.chip.ioapic.redirtbl[3].fields.mask, 1);
	chip.chip.ioapic.redirtbl[3].fields.vector = 0x55;
	api_ok(api_ioctl(vm, KVM_SET_IRQCHIP, &chip));
	memset(&chip, 0, sizeof(chip));
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	assert_int_equal(chip.chip.ioapic.redirtbl[3].fields.vector, 0x55);
	chip.chip_id = KVM_IRQCHIP_PIC_MASTER;
	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	chip.chip.pic.imr = 0xa5;
	api_ok(api_ioctl(vm, KVM_SET_IRQCHIP, &chip));
	memset(&chip.chip, 0, sizeof(chip.chip));
	api_ok(api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	assert_int_equal(chip.chip.pic.imr, 0xa5);
	chip.chip_id = 3;
	api_fails(EINVAL, api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_IRQCHIP, &chip));
	api_fails(EFAULT, api_ioctl(vm, KVM_GET_IRQCHIP, api_bad()));
	api_close(vm);
}

static void test_pit(void **state)
{
	int vm = api_vm();
	struct kvm_pit_config config = { 0 };
	struct kvm_pit_state2 s;
	struct kvm_reinject_control control = { .pit_reinject = 0 };

	api_fails(ENXIO, api_ioctl(vm, KVM_GET_PIT2, &s));
	api_fails(ENXIO, api_ioctl(vm, KVM_REINJECT_CONTROL, &control));
	api_fails(EFAULT, api_ioctl(vm, KVM_REINJECT_CONTROL, api_bad()));
	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(vm, KVM_CREATE_PIT2, &config));
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_PIT2, &config));
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_PIT, NULL));
	api_ok(api_ioctl(vm, KVM_REINJECT_CONTROL, &control));
	control.pit_reinject = 1;
	api_ok(api_ioctl(vm, KVM_REINJECT_CONTROL, &control));
	api_ok(api_ioctl(vm, KVM_GET_PIT2, &s));
	s.channels[2].count = 0x1234;
	s.channels[2].mode = 3;
	api_ok(api_ioctl(vm, KVM_SET_PIT2, &s));
	memset(&s, 0, sizeof(s));
	api_ok(api_ioctl(vm, KVM_GET_PIT2, &s));
	assert_int_equal(s.channels[2].count, 0x1234);
	assert_int_equal(s.channels[2].mode, 3);
	api_close(vm);
}

static void test_split(void **state)
{
	int vm = api_vm(), vcpu;
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	struct kvm_irqchip chip = { 0 };
	struct kvm_interrupt irq = { .irq = 33 };
	struct kvm_lapic_state lapic;

	cap.args[0] = 5000;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 24;
	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_fails(EEXIST, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_fails(EEXIST, api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_fails(ENXIO, api_ioctl(vm, KVM_GET_IRQCHIP, &chip));
	vcpu = api_vcpu(vm, 0);
	api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &lapic));
	api_ok(api_ioctl(vcpu, KVM_INTERRUPT, &irq));
	api_fails(EEXIST, api_ioctl(vcpu, KVM_INTERRUPT, &irq));
	api_close(vcpu);
	api_close(vm);
}

static void test_clock(void **state)
{
	int vm = api_vm();
	struct kvm_clock_data c = { 0 };
	uint64_t a;

	api_ok(api_ioctl(vm, KVM_GET_CLOCK, &c));
	a = c.clock;
	usleep(2000);
	api_ok(api_ioctl(vm, KVM_GET_CLOCK, &c));
	assert_true(c.clock >= a + 1000000 && c.clock < a + 10000000000ULL);
	memset(&c, 0, sizeof(c));
	c.clock = 5000000000000ULL;
	api_ok(api_ioctl(vm, KVM_SET_CLOCK, &c));
	api_ok(api_ioctl(vm, KVM_GET_CLOCK, &c));
	assert_true(c.clock >= 5000000000000ULL && c.clock < 5001000000000ULL);
	c.flags = 1u << 31;
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_CLOCK, &c));
	if (api_cap(vm, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_REALTIME) {
		api_ok(api_ioctl(vm, KVM_GET_CLOCK, &c));
		if (c.flags & KVM_CLOCK_REALTIME) {
			c.flags = KVM_CLOCK_REALTIME;
			c.realtime -= 3000000000ULL;    /* three seconds passed */
			c.clock = 1000000000ULL;
			api_ok(api_ioctl(vm, KVM_SET_CLOCK, &c));
			api_ok(api_ioctl(vm, KVM_GET_CLOCK, &c));
			assert_true(c.clock >= 4000000000ULL && c.clock < 5000000000ULL);
		}
	}
	api_close(vm);
}

static void test_small_ioctls(void **state)
{
	int vm = api_vm(), vcpu;
	uint64_t addr = 0xfffbc000;

	api_ok(api_ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000UL));
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xffffe000UL));
	api_ok(api_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &addr));
	api_fails(EFAULT, api_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, api_bad()));
	api_ok(api_ioctl(vm, KVM_SET_BOOT_CPU_ID, (void *)1));
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)3));
	api_ok(api_ioctl(vm, KVM_SET_NR_MMU_PAGES, (void *)1000));
	vcpu = api_vcpu(vm, 0);
	api_fails(EBUSY, api_ioctl(vm, KVM_SET_BOOT_CPU_ID, (void *)1));
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &addr));
	api_close(vcpu);
	api_close(vm);
}

static void test_caps(void **state)
{
	static const long must[] = {
		KVM_CAP_IRQCHIP, KVM_CAP_HLT, KVM_CAP_EXT_CPUID, KVM_CAP_CLOCKSOURCE, KVM_CAP_PIT2, KVM_CAP_MP_STATE,
		KVM_CAP_VCPU_EVENTS, KVM_CAP_DEBUGREGS, KVM_CAP_XSAVE, KVM_CAP_XCRS, KVM_CAP_GET_TSC_KHZ,
		KVM_CAP_SET_GUEST_DEBUG, KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API, KVM_CAP_SYNC_REGS,
		KVM_CAP_SREGS2, KVM_CAP_XSAVE2, KVM_CAP_ADJUST_CLOCK,
	};
	int vm = api_vm();
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X2APIC_API, .args = { 1 << 8 } };

	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++)
		if (api_cap(vm, must[i]) <= 0)
			fail_msg("capability %ld", must[i]);
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.args[0] = 1;
	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	cap.flags = 1;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_close(vm);
}

/* --- INIT, SIPI and IPIs between two vCPUs --------------------------------------------------------- */

struct ap {
	int fd;
	struct kvm_run *run;
	uint32_t reason;
};

static void *run_ap(void *arg)
{
	struct ap *ap = arg;
	int r;

	do
		r = api_ioctl(ap->fd, KVM_RUN, NULL);
	while (r < 0 && errno == EAGAIN);
	ap->reason = r < 0 ? (uint32_t)-errno : ap->run->exit_reason;
	return NULL;
}

static void store32(uint8_t **p, uint32_t addr, uint32_t value)
{
	/* mov dword [addr],value with 32-bit address: 67 66 c7 05 addr value */
	static const uint8_t op[] = { 0x67, 0x66, 0xc7, 0x05 };

	memcpy(*p, op, 4);
	memcpy(*p + 4, &addr, 4);
	memcpy(*p + 8, &value, 4);
	*p += 12;
}

/* Big real mode: data segments reach the local APIC. */
static void unreal(int vcpu)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.ds.limit = s.es.limit = 0xffffffff;
	s.ds.g = s.es.g = 1;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
}

static void test_sipi(void **state)
{
	int vm = api_vm(), bsp;
	uint8_t code[128], *p = code, *mem = api_memory(0x10000);
	static const uint8_t ap_code[] = { 0xb0, 0x42, 0xe6, 0x77 };     /* mov al,0x42; out 0x77,al */
	static const uint8_t tail[] = { 0xe6, 0x76, 0xf4 };              /* out 0x76,al; hlt */
	struct kvm_run *run;
	struct ap ap;
	pthread_t t;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	bsp = api_vcpu(vm, 0);
	ap.fd = api_vcpu(vm, 1);
	run = api_run_of(bsp);
	ap.run = api_run_of(ap.fd);
	store32(&p, 0xfee000f0, 0x1ff);                 /* enable */
	store32(&p, 0xfee00310, 1u << 24);
	store32(&p, 0xfee00300, 0x4500);                /* INIT */
	store32(&p, 0xfee00310, 1u << 24);
	store32(&p, 0xfee00300, 0x4603);                /* SIPI: 0x3000 */
	memcpy(p, tail, sizeof(tail));
	p += sizeof(tail);
	memcpy(mem + 0x3000, ap_code, sizeof(ap_code));
	api_real_mode(bsp, mem, code, (size_t)(p - code));
	unreal(bsp);
	pthread_create(&t, NULL, run_ap, &ap);
	api_ok(api_ioctl(bsp, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.port, 0x76);
	pthread_join(t, NULL);
	assert_int_equal(ap.reason, KVM_EXIT_IO);
	assert_int_equal(ap.run->io.port, 0x77);
	assert_int_equal(((uint8_t *)ap.run)[ap.run->io.data_offset], 0x42);
	api_close(bsp);
	api_close(ap.fd);
	api_close(vm);
}

/* The local APIC's timer wakes a halted vCPU. */
static void test_apic_timer(void **state)
{
	int vm = api_vm(), vcpu;
	uint8_t code[128], *p = code, *mem = api_memory(0x10000);
	static const uint8_t tail[] = { 0xfb, 0xf4, 0xe6, 0x76 };        /* sti; hlt; out 0x76,al */
	static const uint8_t handler[] = { 0xe6, 0x78, 0xcf };           /* out 0x78,al; iret */
	struct kvm_run *run;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	vcpu = api_vcpu(vm, 0);
	run = api_run_of(vcpu);
	store32(&p, 0xfee000f0, 0x1ff);
	store32(&p, 0xfee00320, 0x40);                  /* one-shot, vector 0x40 */
	store32(&p, 0xfee003e0, 0xb);                   /* divide by 1 */
	store32(&p, 0xfee00380, 20000000);              /* 20 ms at 1 GHz */
	memcpy(p, tail, sizeof(tail));
	p += sizeof(tail);
	memcpy(mem + 0x1800, handler, sizeof(handler));
	*(uint16_t *)(mem + 0x40 * 4) = 0x1800;
	api_real_mode(vcpu, mem, code, (size_t)(p - code));
	unreal(vcpu);
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.port, 0x78);
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.port, 0x76);
	api_close(vcpu);
	api_close(vm);
}

/* The same without HLT: the guest spins, the timer interrupts it. */
static void test_apic_timer_running(void **state)
{
	int vm = api_vm(), vcpu;
	uint8_t code[128], *p = code, *mem = api_memory(0x10000);
	static const uint8_t tail[] = { 0xfb, 0xeb, 0xfe };              /* sti; jmp $ */
	static const uint8_t handler[] = { 0xe6, 0x78, 0xcf };
	struct kvm_run *run;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	vcpu = api_vcpu(vm, 0);
	run = api_run_of(vcpu);
	store32(&p, 0xfee000f0, 0x1ff);
	store32(&p, 0xfee00320, 0x20040);               /* periodic */
	store32(&p, 0xfee003e0, 0xb);
	store32(&p, 0xfee00380, 5000000);
	memcpy(p, tail, sizeof(tail));
	p += sizeof(tail);
	memcpy(mem + 0x1800, handler, sizeof(handler));
	*(uint16_t *)(mem + 0x40 * 4) = 0x1800;
	api_real_mode(vcpu, mem, code, (size_t)(p - code));
	unreal(vcpu);
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.port, 0x78);
	api_close(vcpu);
	api_close(vm);
}

static const uint8_t tpr_guest[] = {
	0xa0, 0x00, 0x20,               /* mov al, [0x2000] */
	0xe6, 0x10,                     /* out 0x10, al */
	0xc6, 0x06, 0x00, 0x20, 0x35,   /* mov byte [0x2000], 0x35 */
	0xe6, 0x11,                     /* out 0x11, al */
};

/* TPR is a byte of guest memory while the guest runs. */
static void test_vapic(void **state)
{
	int vm = api_vm(), bare = api_vm(), vcpu;
	struct kvm_vapic_addr addr = { .vapic_addr = 0x2000 };
	struct kvm_lapic_state lapic;
	struct kvm_run *run;
	char *memory = api_memory(16 * PAGE);

	vcpu = api_vcpu(bare, 0);
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &addr));
	api_close(vcpu);
	api_close(bare);

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	vcpu = api_vcpu(vm, 0);
	run = api_run_of(vcpu);
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &addr));
	api_ok(api_set_slot(vm, 0, 0, 0, 16 * PAGE, memory));
	api_real_mode(vcpu, memory, tpr_guest, sizeof(tpr_guest));
	api_ok(api_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &addr));
	api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &lapic));
	lapic.regs[0x80] = 0x20;
	lapic.regs[0xf1] |= 1;          /* enabled by software */
	api_ok(api_ioctl(vcpu, KVM_SET_LAPIC, &lapic));
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(*((uint8_t *)run + run->io.data_offset), 0x20);
	assert_int_equal(run->cr8, 2);
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(run->io.port, 0x11);
	/* A kernel that emulates real mode looks at the page only behind an exit of the processor's. */
	if (!api_real()) {
		assert_int_equal(run->cr8, 3);
		api_ok(api_ioctl(vcpu, KVM_GET_LAPIC, &lapic));
		assert_int_equal((uint8_t)lapic.regs[0x80], 0x35);
	}
	addr.vapic_addr = 0;
	api_ok(api_ioctl(vcpu, KVM_SET_VAPIC_ADDR, &addr));
	api_close(vcpu);
	api_close(vm);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_create),
	cmocka_unit_test(test_chip_state),
	cmocka_unit_test(test_pit),
	cmocka_unit_test(test_split),
	cmocka_unit_test(test_clock),
	cmocka_unit_test(test_small_ioctls),
	cmocka_unit_test(test_caps),
	cmocka_unit_test(test_sipi),
	cmocka_unit_test(test_apic_timer),
	cmocka_unit_test(test_apic_timer_running),
	cmocka_unit_test(test_vapic),
};

API_MAIN(tests)
