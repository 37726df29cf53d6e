// SPDX-License-Identifier: MIT
/*
 * What an exit leaves alone: registers that a guest and its client both have stay with each of them.  And which of the
 * host's processors an entry was made on, KVM_CAP_LAST_CPU.
 */
#include <asm/prctl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "guest.h"

#define ROUNDS 34000            /* of three exits */
#define DEVICE 0x100000         /* no memory is there */
#define ASK_MSR 0x12345678
#define TABLE 0x3000            /* what the guest expects; the order is that of check: below */

/*
 * The guest loads its registers from the table, then goes round: an exit for a port, one for a device, one for an MSR,
 * and all is compared behind each.  out 0x11: something differs, AL says what.
 */
__asm__(".pushsection .rodata\n"
	"	.code64\n"
	"guest_code:\n"
	"	mov	$0x3000, %rsi\n"
	"	mov	0(%rsi), %rax\n	mov	%rax, %cr2\n"
	"	mov	8(%rsi), %rax\n	mov	%rax, %dr0\n"
	"	mov	16(%rsi), %rax\n	mov	%rax, %dr1\n"
	"	mov	24(%rsi), %rax\n	mov	%rax, %dr2\n"
	"	mov	32(%rsi), %rax\n	mov	%rax, %dr3\n"
	"	mov	40(%rsi), %rax\n	mov	%rax, %dr6\n"
	"	mov	48(%rsi), %rax\n	mov	%rax, %dr7\n"
	"	mov	$0xc0000100, %ecx\n	mov	56(%rsi), %eax\n	mov	60(%rsi), %edx\n	wrmsr\n"
	"	mov	$0xc0000101, %ecx\n	mov	64(%rsi), %eax\n	mov	68(%rsi), %edx\n	wrmsr\n"
	"	mov	$0xc0000102, %ecx\n	mov	72(%rsi), %eax\n	mov	76(%rsi), %edx\n	wrmsr\n"
	"	movups	80(%rsi), %xmm0\n	movups	96(%rsi), %xmm15\n"
	"	ldmxcsr	112(%rsi)\n	fldcw	116(%rsi)\n"
	"again:\n"
	"	out	%al, $0x10\n"
	"	call	check\n"
	"	mov	%al, 0x100000\n"
	"	call	check\n"
	"	mov	$0x12345678, %ecx\n	rdmsr\n"
	"	call	check\n"
	"	jmp	again\n"
	"check:\n"
	"	mov	$1, %bl\n	mov	%cr2, %rax\n	cmp	%rax, 0(%rsi)\n	jne	wrong\n"
	"	mov	$2, %bl\n	mov	%dr0, %rax\n	cmp	%rax, 8(%rsi)\n	jne	wrong\n"
	"	mov	$3, %bl\n	mov	%dr1, %rax\n	cmp	%rax, 16(%rsi)\n	jne	wrong\n"
	"	mov	$4, %bl\n	mov	%dr2, %rax\n	cmp	%rax, 24(%rsi)\n	jne	wrong\n"
	"	mov	$5, %bl\n	mov	%dr3, %rax\n	cmp	%rax, 32(%rsi)\n	jne	wrong\n"
	"	mov	$6, %bl\n	mov	%dr6, %rax\n	cmp	%rax, 40(%rsi)\n	jne	wrong\n"
	"	mov	$7, %bl\n	mov	%dr7, %rax\n	cmp	%rax, 48(%rsi)\n	jne	wrong\n"
	"	mov	$8, %bl\n	mov	$0xc0000100, %ecx\n	rdmsr\n	cmp	%eax, 56(%rsi)\n	jne	wrong\n"
	"	cmp	%edx, 60(%rsi)\n	jne	wrong\n"
	"	mov	$9, %bl\n	mov	$0xc0000101, %ecx\n	rdmsr\n	cmp	%eax, 64(%rsi)\n	jne	wrong\n"
	"	cmp	%edx, 68(%rsi)\n	jne	wrong\n"
	"	mov	$10, %bl\n	mov	$0xc0000102, %ecx\n	rdmsr\n	cmp	%eax, 72(%rsi)\n	jne	wrong\n"
	"	cmp	%edx, 76(%rsi)\n	jne	wrong\n"
	"	mov	$11, %bl\n	movups	%xmm0, 128(%rsi)\n	mov	128(%rsi), %rax\n	cmp	%rax, 80(%rsi)\n"
	"	jne	wrong\n	mov	136(%rsi), %rax\n	cmp	%rax, 88(%rsi)\n	jne	wrong\n"
	"	mov	$12, %bl\n	movups	%xmm15, 128(%rsi)\n	mov	128(%rsi), %rax\n	cmp	%rax, 96(%rsi)\n"
	"	jne	wrong\n	mov	136(%rsi), %rax\n	cmp	%rax, 104(%rsi)\n	jne	wrong\n"
	"	mov	$13, %bl\n	stmxcsr	128(%rsi)\n	mov	128(%rsi), %eax\n	cmp	%eax, 112(%rsi)\n"
	"	jne	wrong\n"
	"	mov	$14, %bl\n	fnstcw	128(%rsi)\n	mov	128(%rsi), %ax\n	cmp	%ax, 116(%rsi)\n"
	"	jne	wrong\n"
	"	ret\n"
	"wrong:\n"
	"	mov	%bl, %al\n	out	%al, $0x11\n"
	"guest_code_end:\n"
	"	.popsection\n");
extern const uint8_t guest_code[], guest_code_end[];

/* What the guest keeps; in the order that it knows. */
static const struct expected {
	uint64_t cr2, dr0, dr1, dr2, dr3, dr6, dr7, fs, gs, kernel_gs, xmm0[2], xmm15[2];
	uint32_t mxcsr;
	uint16_t fcw;
} expected = {
	0xffff912345678abc, 0x1111, 0x2222, 0x3333, 0x4444, 0xffff0ff0 | 1 << 14 | 5, 0x400,
	0xffff888011112222, 0x00007abc33334444, 0xffffeeee55556666, { 0x1020304050607080, 0x90a0b0c0d0e0f000 },
	{ 0x1122334455667788, 0x99aabbccddeeff00 }, 0x5f80, 0x77f,
};

/* The guest's general registers, in the exits' order that these do not change in. */
static void check_registers(struct guest *g, unsigned int n)
{
	struct kvm_regs r = guest_regs(g);

	assert_int_equal(r.rsi, TABLE);
	for (unsigned int i = 0; i < 8; i++)
		if ((&r.r8)[i] != 0x8000 + i)
			fail_msg("round %u: r%u is %#llx", n, 8 + i, (unsigned long long)(&r.r8)[i]);
	assert_int_equal(r.rbp, 0x5555);
}

static void start(struct guest *g)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2, .rbp = 0x5555 };
	struct kvm_sregs s;

	for (unsigned int i = 0; i < 8; i++)
		(&r.r8)[i] = 0x8000 + i;
	guest_long(g);
	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 9;        /* OSFXSR */
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
	memcpy(g->mem + TABLE, &expected, sizeof(expected));
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
}

/* The client's own state, another each time: its GS, vector registers, MXCSR, x87's control word, a fault. */
struct mine {
	unsigned long gs;
	uint32_t mxcsr;
	uint16_t fcw;
};

static unsigned char *hole;

static void on_fault(int sig)
{
	mprotect(hole, PAGE, PROT_READ | PROT_WRITE);
}

static struct mine stir(unsigned int n)
{
	struct mine m = { 0x1000UL * (n % 0x7000), n & 1 ? 0x1fa0 : 0x9f80, n & 2 ? 0x37f : 0xf7f };

	assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, m.gs), 0);
	__asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(m.mxcsr), "m"(m.fcw));
	__asm__ volatile("movq %0, %%xmm0\n\tmovq %0, %%xmm15" : : "r"(0xdeadbeef00000000UL + n) : "xmm0", "xmm15");
	if (n % 64 == 0) {      /* sets the host's CR2 */
		mprotect(hole, PAGE, PROT_NONE);
		*(volatile unsigned char *)hole = 1;
	}
	return m;
}

static void check_mine(const struct mine *m)
{
	unsigned long gs = 0;
	uint32_t mxcsr;
	uint16_t fcw;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(fcw));
	__asm__ volatile("fninit");
	__builtin_ia32_ldmxcsr(0x1f80);
	assert_int_equal(mxcsr & ~0x3fu, m->mxcsr & ~0x3fu);
	assert_int_equal(fcw, m->fcw);
	assert_int_equal(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs), 0);
	assert_int_equal(gs, m->gs);
}

static void next_exit(struct guest *g, unsigned int n, uint32_t reason)
{
	struct mine m = stir(n);
	int r = api_ioctl(g->vcpu, KVM_RUN, NULL);

	check_mine(&m);
	assert_int_equal(r, 0);
	if (g->run->exit_reason == KVM_EXIT_IO && g->run->io.port == 0x11)
		fail_msg("round %u: register %u has changed", n, *guest_pio(g));
	assert_int_equal(g->run->exit_reason, reason);
}

static void kept(bool amd)
{
	struct sigaction sa = { .sa_handler = on_fault }, old;
	uint64_t before, ios, mmios;
	struct guest g = guest_of(guest_code, (size_t)(guest_code_end - guest_code), false);
	unsigned long gs = 0;

	hole = api_memory(PAGE);
	api_ok(guest_enable(g.vm, KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_UNKNOWN));
	start(&g);
	before = guest_stat(g.vcpu, "exits");
	ios = guest_stat(g.vcpu, "io_exits");
	mmios = guest_stat(g.vcpu, "mmio_exits");
	assert_int_equal(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs), 0);
	sigaction(SIGSEGV, &sa, &old);
	for (unsigned int n = 0; n < ROUNDS; n++) {
		next_exit(&g, 3 * n, KVM_EXIT_IO);
		next_exit(&g, 3 * n + 1, KVM_EXIT_MMIO);
		next_exit(&g, 3 * n + 2, KVM_EXIT_X86_RDMSR);
		assert_int_equal(g.run->msr.index, ASK_MSR);
		g.run->msr.data = n;
		if (n % 1000 == 0)
			check_registers(&g, n);
	}
	sigaction(SIGSEGV, &old, NULL);
	syscall(SYS_arch_prctl, ARCH_SET_GS, gs);
	assert_int_equal(guest_stat(g.vcpu, "exits") - before, 3 * ROUNDS);
	assert_int_equal(guest_stat(g.vcpu, "io_exits") - ios, ROUNDS);
	assert_int_equal(guest_stat(g.vcpu, "mmio_exits") - mmios, ROUNDS);
	munmap(hole, PAGE);
	guest_end(&g);
}

static void test_kept(void **state)
{
	if (api_real())         /* it need not run 64-bit code, and how it counts exits is its own affair */
		skip();
	guest_each_model(kept);
}

/* What the client sees of them, too. */
static void test_client_sees(void **state)
{
	struct kvm_debugregs d;
	struct kvm_sregs s;
	struct guest g;

	if (api_real())
		skip();
	g = guest_of(guest_code, (size_t)(guest_code_end - guest_code), false);
	start(&g);
	guest_port(&g, 0x10);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	api_ok(api_ioctl(g.vcpu, KVM_GET_DEBUGREGS, &d));
	assert_true(s.cr2 == expected.cr2 && s.fs.base == expected.fs && s.gs.base == expected.gs);
	assert_memory_equal(d.db, &expected.dr0, sizeof(d.db));
	assert_true(d.dr6 == expected.dr6 && d.dr7 == expected.dr7);
	/* And what the client writes is what the guest finds: CR2 is the first that it compares. */
	s.cr2 = 0x1234;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	guest_port(&g, 0x11);
	assert_int_equal(*guest_pio(&g), 1);
	guest_end(&g);
}

/* --- the last processor --------------------------------------------------------------------------------------- */

/* No processor enters 64-bit mode with this bit of EFER; APM 2, 15.5.1. */
static void spoil(struct guest *g, bool wrong)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(g->vcpu, KVM_GET_SREGS, &s));
	s.efer = (s.efer & ~(1ULL << 40)) | (uint64_t)wrong << 40;
	api_ok(api_ioctl(g->vcpu, KVM_SET_SREGS, &s));
}

/* A failed entry says where it was made: on each processor that this thread may use, and back again. */
static void last_cpu(bool amd)
{
	struct guest g = GUEST(false, 0xe6, 0x10, 0xeb, 0xfc);
	unsigned int tried = 0;
	cpu_set_t all, one;

	guest_long(&g);
	assert_int_equal(api_cap(g.vm, KVM_CAP_LAST_CPU), 1);
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int round = 0; round < 2; round++)
		for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET(cpu, &all))
				continue;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
			spoil(&g, true);
			g.run->fail_entry.cpu = 0xffffffff;
			guest_run(&g, KVM_EXIT_FAIL_ENTRY);
			assert_int_equal(g.run->fail_entry.cpu, cpu);
			assert_int_equal(g.run->fail_entry.hardware_entry_failure_reason, amd ? 0xffffffffULL : 0x80000021ULL);
			/* The same state without it runs. */
			spoil(&g, false);
			guest_port(&g, 0x10);
			tried++;
		}
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(guest_stat(g.vcpu, "exits"), 2 * tried);
	guest_end(&g);
}

static void test_last_cpu(void **state)
{
	if (api_real())         /* what an entry fails for, and with which code, is the processor's affair */
		skip();
	guest_each_model(last_cpu);
}

/* Before the first entry there is none, and CPUID may change; one that fails is the first as any other is. */
static void no_cpu_yet(bool amd)
{
	struct guest g = GUEST(false, 0xe6, 0x10, 0xeb, 0xfc);
	struct cpuid_table *t = guest_supported();

	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	/* KVM_RUN that does not get as far as to the guest. */
	g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	g.run->immediate_exit = 0;
	guest_leaf(t, 1, 0)->ebx ^= 1 << 24;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_long(&g);
	spoil(&g, true);
	guest_run(&g, KVM_EXIT_FAIL_ENTRY);
	guest_leaf(t, 1, 0)->ebx ^= 1 << 24;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	guest_leaf(t, 1, 0)->ebx ^= 1 << 24;
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, t));
	free(t);
	guest_end(&g);
}

static void test_no_cpu_yet(void **state)
{
	if (api_real())
		skip();
	guest_each_model(no_cpu_yet);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_kept),
	cmocka_unit_test(test_client_sees),
	cmocka_unit_test(test_last_cpu),
	cmocka_unit_test(test_no_cpu_yet),
};

API_MAIN(tests)
