// SPDX-License-Identifier: MIT
/* KVM_RUN on x86: real-mode guests and the exits they make. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "api.h"

#define MEM 0x10000

struct guest {
	int vm, vcpu;
	uint8_t *mem;
	struct kvm_run *run;
};

static struct guest guest_of(const uint8_t *code, size_t n, bool irqchip)
{
	struct guest g = { .vm = api_vm(), .mem = api_memory(MEM) };

	if (irqchip)
		api_ok(api_ioctl(g.vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_set_slot(g.vm, 0, 0, 0, MEM, g.mem));
	g.vcpu = api_vcpu(g.vm, 0);
	g.run = api_run_of(g.vcpu);
	api_real_mode(g.vcpu, g.mem, code, n);
	return g;
}

#define GUEST(irqchip, ...) \
	guest_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), irqchip)

static void end(struct guest *g)
{
	api_close(g->vcpu);
	api_close(g->vm);
}

static void run_to(struct guest *g, uint32_t reason)
{
	api_ok(api_ioctl(g->vcpu, KVM_RUN, NULL));
	if (g->run->exit_reason != reason)
		fail_msg("exit %u, not %u", g->run->exit_reason, reason);
}

static struct kvm_regs regs_of(struct guest *g)
{
	struct kvm_regs r;

	api_ok(api_ioctl(g->vcpu, KVM_GET_REGS, &r));
	return r;
}

static void set_reg(struct guest *g, size_t offset, uint64_t value)
{
	struct kvm_regs r = regs_of(g);

	memcpy((char *)&r + offset, &value, 8);
	api_ok(api_ioctl(g->vcpu, KVM_SET_REGS, &r));
}

#define SET(g, reg, v) set_reg(g, offsetof(struct kvm_regs, reg), v)

/* --- port I/O ------------------------------------------------------------------------------- */

static void test_out(void **state)
{
	/* mov al,'A'; out 0x10,al; mov ax,0x1234; mov dx,0x3f8; out dx,ax; hlt */
	struct guest g = GUEST(false, 0xb0, 'A', 0xe6, 0x10, 0xb8, 0x34, 0x12, 0xba, 0xf8, 0x03, 0xef, 0xf4);
	uint8_t *data;

	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.direction, KVM_EXIT_IO_OUT);
	assert_int_equal(g.run->io.port, 0x10);
	assert_int_equal(g.run->io.size, 1);
	assert_int_equal(g.run->io.count, 1);
	data = (uint8_t *)g.run + g.run->io.data_offset;
	assert_int_equal(*data, 'A');
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x3f8);
	assert_int_equal(g.run->io.size, 2);
	data = (uint8_t *)g.run + g.run->io.data_offset;
	assert_int_equal(*(uint16_t *)data, 0x1234);
	run_to(&g, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&g).rip, 0x100c);
	end(&g);
}

static void test_in(void **state)
{
	/* in al,0x20; mov bl,al; in ax,dx; hlt */
	struct guest g = GUEST(false, 0xe4, 0x20, 0x88, 0xc3, 0xed, 0xf4);

	SET(&g, rdx, 0x600);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.direction, KVM_EXIT_IO_IN);
	assert_int_equal(g.run->io.port, 0x20);
	*((uint8_t *)g.run + g.run->io.data_offset) = 0x5a;
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x600);
	assert_int_equal(g.run->io.size, 2);
	*(uint16_t *)((uint8_t *)g.run + g.run->io.data_offset) = 0xbeef;
	run_to(&g, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&g).rbx & 0xff, 0x5a);
	assert_int_equal(regs_of(&g).rax & 0xffff, 0xbeef);
	end(&g);
}

static void test_string_io(void **state)
{
	/* cld; rep outsb; rep insb (after registers are set again); hlt */
	struct guest g = GUEST(false, 0xfc, 0xf3, 0x6e, 0xbf, 0x00, 0x30, 0xb9, 0x04, 0x00, 0xf3, 0x6c, 0xf4);
	char got[16] = { 0 };
	size_t n = 0;

	memcpy(g.mem + 0x2000, "hello", 5);
	SET(&g, rsi, 0x2000);
	SET(&g, rcx, 5);
	SET(&g, rdx, 0x99);
	while (n < 5) {
		run_to(&g, KVM_EXIT_IO);
		assert_int_equal(g.run->io.direction, KVM_EXIT_IO_OUT);
		assert_int_equal(g.run->io.port, 0x99);
		assert_true(n + g.run->io.count <= 5);
		memcpy(got + n, (uint8_t *)g.run + g.run->io.data_offset, g.run->io.count);
		n += g.run->io.count;
	}
	assert_string_equal(got, "hello");
	n = 0;
	while (n < 4) {
		run_to(&g, KVM_EXIT_IO);
		assert_int_equal(g.run->io.direction, KVM_EXIT_IO_IN);
		for (unsigned int i = 0; i < g.run->io.count; i++)
			((uint8_t *)g.run)[g.run->io.data_offset + i] = (uint8_t)('a' + n++);
	}
	run_to(&g, KVM_EXIT_HLT);
	assert_memory_equal(g.mem + 0x3000, "abcd", 4);
	assert_int_equal(regs_of(&g).rcx, 0);
	assert_int_equal(regs_of(&g).rdi, 0x3004);
	end(&g);
}

/*
 * One exit asks for what ends up in one page; the registers move when all of it is there.  A kernel takes the bytes
 * left in a page for elements, which is as good: what each exit asks for is judged here alone.
 */
static void ins_batch(uint16_t rdi, uint16_t rcx, bool down, const uint16_t *counts)
{
	/* rep insw; hlt */
	struct guest g = GUEST(false, 0xf3, 0x6d, 0xf4);
	uint16_t *data = (uint16_t *)((char *)g.run + PAGE), left = rcx, at = rdi;

	SET(&g, rdi, rdi);
	SET(&g, rcx, rcx);
	SET(&g, rdx, 0x99);
	if (down)
		SET(&g, rflags, 0x402);
	while (left) {
		uint16_t n;

		run_to(&g, KVM_EXIT_IO);
		n = (uint16_t)g.run->io.count;
		assert_int_equal(g.run->io.size, 2);
		assert_true(n <= left && n <= 2048);
		if (!api_real() && n != *counts++)
			fail_msg("%u elements, not %u", n, counts[-1]);
		assert_int_equal(regs_of(&g).rcx, left);
		for (unsigned int i = 0; i < n; i++)
			data[i] = (uint16_t)(0x1000 + rcx - left + i);
		left = (uint16_t)(left - n);
	}
	run_to(&g, KVM_EXIT_HLT);
	for (uint16_t i = 0; i < rcx; i++, at = (uint16_t)(down ? at - 2 : at + 2))
		assert_memory_equal(g.mem + at, &(uint16_t){ (uint16_t)(0x1000 + i) }, 2);
	assert_int_equal(regs_of(&g).rdi, at);
	end(&g);
}

static void test_ins_batch(void **state)
{
	ins_batch(0x3000, 100, false, (uint16_t[]){ 100 });
	ins_batch(0x3000, 1000, false, (uint16_t[]){ 512, 488 });
	ins_batch(0x3ff8, 10, false, (uint16_t[]){ 4, 6 });
	/* An element that straddles pages comes alone. */
	ins_batch(0x3ffd, 4, false, (uint16_t[]){ 1, 1, 2 });
	ins_batch(0x3010, 20, true, (uint16_t[]){ 9, 11 });
}

/* The client may change the count meanwhile: no more is taken than it leaves, none of the rest is kept. */
static void test_ins_count_changed(void **state)
{
	/* rep insb; in al,0x20; hlt */
	struct guest g = GUEST(false, 0xf3, 0x6c, 0xe4, 0x20, 0xf4);

	SET(&g, rdi, 0x3000);
	SET(&g, rcx, 5);
	SET(&g, rdx, 0x99);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.count, 5);
	memcpy((char *)g.run + g.run->io.data_offset, "abcde", 5);
	SET(&g, rcx, 2);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x20);
	assert_int_equal(g.run->io.count, 1);
	assert_memory_equal(g.mem + 0x3000, "ab\0", 3);
	assert_int_equal(regs_of(&g).rdi, 0x3002);
	*((uint8_t *)g.run + g.run->io.data_offset) = 'x';
	run_to(&g, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&g).rax & 0xff, 'x');
	end(&g);
}

/* --- MMIO ------------------------------------------------------------------------------------ */

static void test_mmio(void **state)
{
	/* mov ax,0x2000; mov ds,ax; mov [0],bx; mov cx,[0x10]; add word [0x20],3; hlt */
	struct guest g = GUEST(false, 0xb8, 0x00, 0x20, 0x8e, 0xd8, 0x89, 0x1e, 0x00, 0x00, 0x8b, 0x0e, 0x10, 0x00,
			       0x83, 0x06, 0x20, 0x00, 0x03, 0xf4);

	SET(&g, rbx, 0x4321);
	run_to(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x20000);
	assert_int_equal(g.run->mmio.len, 2);
	assert_int_equal(g.run->mmio.is_write, 1);
	assert_int_equal(*(uint16_t *)g.run->mmio.data, 0x4321);
	run_to(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x20010);
	assert_int_equal(g.run->mmio.is_write, 0);
	*(uint16_t *)g.run->mmio.data = 0x7788;
	run_to(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x20020);
	assert_int_equal(g.run->mmio.is_write, 0);
	*(uint16_t *)g.run->mmio.data = 39;
	run_to(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x20020);
	assert_int_equal(g.run->mmio.is_write, 1);
	assert_int_equal(*(uint16_t *)g.run->mmio.data, 42);
	run_to(&g, KVM_EXIT_HLT);
	assert_int_equal(regs_of(&g).rcx & 0xffff, 0x7788);
	end(&g);
}

static void test_readonly_slot(void **state)
{
	/* mov ax,0x3000; mov ds,ax; mov al,[0]; mov [1],al; hlt */
	struct guest g = GUEST(false, 0xb8, 0x00, 0x30, 0x8e, 0xd8, 0xa0, 0x00, 0x00, 0xa2, 0x01, 0x00, 0xf4);
	uint8_t *rom = api_memory(PAGE);

	rom[0] = 0x77;
	api_ok(api_set_slot(g.vm, 1, KVM_MEM_READONLY, 0x30000, PAGE, rom));
	run_to(&g, KVM_EXIT_MMIO);
	assert_int_equal(g.run->mmio.phys_addr, 0x30001);
	assert_int_equal(g.run->mmio.is_write, 1);
	assert_int_equal(g.run->mmio.data[0], 0x77);
	run_to(&g, KVM_EXIT_HLT);
	assert_int_equal(rom[1], 0);
	end(&g);
}

/* --- immediate_exit and signals ------------------------------------------------------------------ */

static void test_immediate_exit(void **state)
{
	/* in al,0x20; hlt */
	struct guest g = GUEST(false, 0xe4, 0x20, 0xf4);

	run_to(&g, KVM_EXIT_IO);
	*((uint8_t *)g.run + g.run->io.data_offset) = 0x66;
	g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	/* The instruction is complete all the same, and the exit is the last one's. */
	assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(regs_of(&g).rip, 0x1002);
	assert_int_equal(regs_of(&g).rax & 0xff, 0x66);
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	assert_int_equal(regs_of(&g).rip, 0x1002);
	g.run->immediate_exit = 0;
	run_to(&g, KVM_EXIT_HLT);
	end(&g);
}

static void on_alarm(int sig)
{
}

static void test_signal_ends_run(void **state)
{
	struct guest g = GUEST(false, 0xeb, 0xfe);      /* jmp $ */
	struct itimerspec when = { .it_value.tv_nsec = 20000000 };
	struct sigaction sa = { .sa_handler = on_alarm };
	timer_t t;

	sigaction(SIGALRM, &sa, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, NULL, &t), 0);
	timer_settime(t, 0, &when, NULL);
	api_fails(EINTR, api_ioctl(g.vcpu, KVM_RUN, NULL));
	assert_int_equal(g.run->exit_reason, KVM_EXIT_INTR);
	timer_delete(t);
	end(&g);
}

/* --- interrupts without an irqchip -------------------------------------------------------------------- */

static void test_interrupt_window(void **state)
{
	/* cli; nop; sti; nop; l: jmp l.  Vector 0x20: out 0x80,al; hlt */
	struct guest g = GUEST(false, 0xfa, 0x90, 0xfb, 0x90, 0xeb, 0xfe);
	struct kvm_interrupt irq = { .irq = 0x20 };

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x80, 0xf4 }, 3);
	*(uint16_t *)(g.mem + 0x80) = 0x1800;
	SET(&g, rsp, 0x4000);
	g.run->request_interrupt_window = 1;
	run_to(&g, KVM_EXIT_IRQ_WINDOW_OPEN);
	assert_int_equal(g.run->if_flag, 1);
	assert_int_equal(g.run->ready_for_interrupt_injection, 1);
	assert_int_equal(regs_of(&g).rip, 0x1004);
	g.run->request_interrupt_window = 0;
	api_ok(api_ioctl(g.vcpu, KVM_INTERRUPT, &irq));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x80);
	assert_int_equal(g.run->if_flag, 0);
	assert_int_equal(*(uint16_t *)(g.mem + 0x4000 - 6), 0x1004);
	run_to(&g, KVM_EXIT_HLT);
	irq.irq = 256;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_INTERRUPT, &irq));
	end(&g);
}

static void test_nmi(void **state)
{
	/* l: jmp l.  Vector 2: out 0x81,al; iret */
	struct guest g = GUEST(false, 0xeb, 0xfe);

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x81, 0xcf }, 3);
	*(uint16_t *)(g.mem + 8) = 0x1800;
	SET(&g, rsp, 0x4000);
	api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x81);
	assert_int_equal(*(uint16_t *)(g.mem + 0x4000 - 6), 0x1000);
	end(&g);
}

static int nmi_masked(struct guest *g)
{
	struct kvm_vcpu_events e;

	api_ok(api_ioctl(g->vcpu, KVM_GET_VCPU_EVENTS, &e));
	return e.nmi.masked;
}

/* In the handler a second NMI waits, a third is one too many; IRET lets the second in. */
static void test_nmi_blocked(void **state)
{
	/* l: jmp l.  Vector 2: out 0x81,al; out 0x82,al; iret */
	struct guest g = GUEST(false, 0xeb, 0xfe);

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x81, 0xe6, 0x82, 0xcf }, 5);
	*(uint16_t *)(g.mem + 8) = 0x1800;
	SET(&g, rsp, 0x4000);
	api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
	for (int n = 0; n < 2; n++) {
		run_to(&g, KVM_EXIT_IO);
		assert_int_equal(g.run->io.port, 0x81);
		assert_int_equal(regs_of(&g).rsp, 0x4000 - 6);
		assert_true(nmi_masked(&g));
		if (!n) {
			api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
			api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
		}
		run_to(&g, KVM_EXIT_IO);
		assert_int_equal(g.run->io.port, 0x82);
	}
	/* The third was lost: behind the second IRET there is but the loop. */
	SET(&g, rip, 0x1900);
	memcpy(g.mem + 0x1900, (uint8_t[]){ 0xcf }, 1);
	memcpy(g.mem + 0x1000, (uint8_t[]){ 0xe6, 0x84 }, 2);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x84);
	assert_false(nmi_masked(&g));
	end(&g);
}

/* An IRET that faults has ended the blocking all the same. */
static void test_nmi_and_bad_iret(void **state)
{
	/* l: jmp l.  Vector 2: out 0x81,al; push 1 << 16 (EIP beyond the limit); iretd.  Vector 13: out 0x83,al */
	struct guest g = GUEST(false, 0xeb, 0xfe);

	/* Without virtual NMIs a kernel learns of the IRET at the next exit only. */
	if (api_real()) {
		end(&g);
		skip();
	}
	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x81, 0x66, 0x68, 0, 0, 1, 0, 0x66, 0xcf }, 10);
	memcpy(g.mem + 0x1900, (uint8_t[]){ 0xe6, 0x83 }, 2);
	*(uint16_t *)(g.mem + 8) = 0x1800;
	*(uint16_t *)(g.mem + 13 * 4) = 0x1900;
	SET(&g, rsp, 0x4000);
	api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
	run_to(&g, KVM_EXIT_IO);
	api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x81);
	/* It came in before the first instruction of #GP's handler. */
	assert_int_equal(*(uint16_t *)(g.mem + regs_of(&g).rsp), 0x1900);
	end(&g);
}

/* MOV SS holds an NMI back for one instruction; so does STI an interrupt (test_interrupt_window). */
static void test_nmi_behind_mov_ss(void **state)
{
	/* l: mov ss,ax; nop; jmp l.  Vector 2: out 0x81,al */
	struct guest g = GUEST(false, 0x8e, 0xd0, 0x90, 0xeb, 0xfb);
	struct kvm_vcpu_events e;

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x81 }, 2);
	*(uint16_t *)(g.mem + 8) = 0x1800;
	SET(&g, rsp, 0x4000);
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.interrupt.shadow = KVM_X86_SHADOW_INT_MOV_SS;
	e.flags = KVM_VCPUEVENT_VALID_SHADOW;
	SET(&g, rip, 0x1002);
	api_ok(api_ioctl(g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	api_ok(api_ioctl(g.vcpu, KVM_NMI, NULL));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x81);
	/* A kernel may come to it some instructions later, but not in front of the NOP. */
	if (api_real())
		assert_int_not_equal(*(uint16_t *)(g.mem + 0x4000 - 6), 0x1002);
	else
		assert_int_equal(*(uint16_t *)(g.mem + 0x4000 - 6), 0x1003);
	end(&g);
}

static void test_events_exception(void **state)
{
	/* nop; hlt.  Vector 13: out 0x82,al */
	struct guest g = GUEST(false, 0x90, 0xf4);
	struct kvm_vcpu_events e;

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x82, 0xcf }, 3);
	*(uint16_t *)(g.mem + 13 * 4) = 0x1800;
	SET(&g, rsp, 0x4000);
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	e.exception.injected = 1;
	e.exception.nr = 13;
	api_ok(api_ioctl(g.vcpu, KVM_SET_VCPU_EVENTS, &e));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x82);
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &e));
	assert_int_equal(e.exception.injected, 0);
	end(&g);
}

static void test_shutdown(void **state)
{
	/* lidt [0x2000] with limit 0; ud2: #UD, #GP of it, #DF: triple fault */
	struct guest g = GUEST(false, 0x0f, 0x01, 0x1e, 0x00, 0x20, 0x0f, 0x0b);

	run_to(&g, KVM_EXIT_SHUTDOWN);
	end(&g);
}

/* --- debugging ---------------------------------------------------------------------------------------- */

static void test_single_step(void **state)
{
	/* nop; mov al,1; nop; hlt */
	struct guest g = GUEST(false, 0x90, 0xb0, 0x01, 0x90, 0xf4);
	struct kvm_guest_debug d = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };
	static const uint64_t stops[] = { 0x1001, 0x1003, 0x1004 };

	api_ok(api_ioctl(g.vcpu, KVM_SET_GUEST_DEBUG, &d));
	for (size_t i = 0; i < 3; i++) {
		run_to(&g, KVM_EXIT_DEBUG);
		assert_int_equal(g.run->debug.arch.pc, stops[i]);
		assert_int_equal(g.run->debug.arch.exception, 1);
		assert_true(g.run->debug.arch.dr6 & (1 << 14));
		assert_int_equal(regs_of(&g).rip, stops[i]);
	}
	d.control = 0;
	api_ok(api_ioctl(g.vcpu, KVM_SET_GUEST_DEBUG, &d));
	run_to(&g, KVM_EXIT_HLT);
	end(&g);
}

static void test_breakpoints(void **state)
{
	/* nop; nop; int3; nop; hlt */
	struct guest g = GUEST(false, 0x90, 0x90, 0xcc, 0x90, 0xf4);
	struct kvm_guest_debug d = {
		.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_USE_SW_BP,
		.arch.debugreg = { 0x1001, [7] = 0x401 },
	};

	/* A kernel that is itself a guest may not see its guest's breakpoints. */
	if (api_real()) {
		end(&g);
		skip();
	}
	api_ok(api_ioctl(g.vcpu, KVM_SET_GUEST_DEBUG, &d));
	run_to(&g, KVM_EXIT_DEBUG);
	assert_int_equal(g.run->debug.arch.pc, 0x1001);
	assert_int_equal(g.run->debug.arch.dr6 & 0xf, 1);
	d.control &= ~(uint32_t)KVM_GUESTDBG_USE_HW_BP;
	api_ok(api_ioctl(g.vcpu, KVM_SET_GUEST_DEBUG, &d));
	run_to(&g, KVM_EXIT_DEBUG);
	assert_int_equal(g.run->debug.arch.exception, 3);
	assert_int_equal(g.run->debug.arch.pc, 0x1002);
	assert_int_equal(regs_of(&g).rip, 0x1002);
	end(&g);
}

/* --- the in-kernel interrupt controllers ------------------------------------------------------------- */

/* Programs the PIC as a BIOS does: vectors 8 and 0x70, all pins but `mask` open. */
#define PIC_INIT(mask) \
	0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, \
	0xb0, mask, 0xe6, 0x21

static void *raise_line(void *arg)
{
	struct kvm_irq_level l = { .irq = 4, .level = 1 };

	usleep(20000);
	api_ioctl(*(int *)arg, KVM_IRQ_LINE, &l);
	return NULL;
}

static void test_halt_and_irq(void **state)
{
	/* PIC; out 0x92,al; sti; hlt; out 0x90,al.  Vector 12 (line 4): out 0x91,al; iret */
	struct guest g = GUEST(true, PIC_INIT(0xef), 0xe6, 0x92, 0xfb, 0xf4, 0xe6, 0x90);
	pthread_t t;

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x91, 0xcf }, 3);
	*(uint16_t *)(g.mem + 12 * 4) = 0x1800;
	SET(&g, rsp, 0x4000);
	/* What was raised before the PIC is initialised would be lost. */
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x92);
	pthread_create(&t, NULL, raise_line, &g.vm);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x91);
	pthread_join(t, NULL);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x90);
	end(&g);
}

static void test_pit_tick(void **state)
{
	/* PIC; PIT channel 0, mode 2, count 0x4a9 (1 ms); sti; l: hlt; dec bx; jnz l; out 0x90,al
	 * Vector 8: mov al,0x20; out 0x20,al; iret */
	struct guest g = GUEST(true, PIC_INIT(0xfe), 0xb0, 0x34, 0xe6, 0x43, 0xb0, 0xa9, 0xe6, 0x40, 0xb0, 0x04,
			       0xe6, 0x40, 0xfb, 0xf4, 0x4b, 0x75, 0xfc, 0xe6, 0x90);
	struct kvm_pit_config config = { 0 };

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xb0, 0x20, 0xe6, 0x20, 0xcf }, 5);
	*(uint16_t *)(g.mem + 8 * 4) = 0x1800;
	SET(&g, rsp, 0x4000);
	SET(&g, rbx, 10);
	api_ok(api_ioctl(g.vm, KVM_CREATE_PIT2, &config));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->io.port, 0x90);
	end(&g);
}

/* --- synchronised registers ----------------------------------------------------------------------------- */

static void test_sync_regs(void **state)
{
	/* out 0x10,al; inc bx; out 0x11,al */
	struct guest g = GUEST(false, 0xe6, 0x10, 0x43, 0xe6, 0x11);

	g.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	run_to(&g, KVM_EXIT_IO);
	g.run->s.regs.regs.rbx = 0x1000;
	g.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(g.run->s.regs.regs.rbx, 0x1001);
	assert_int_equal(regs_of(&g).rbx, 0x1001);
	/* Taken: cleared, and what is written without the bit does not count. */
	assert_int_equal(g.run->kvm_dirty_regs, 0);
	SET(&g, rip, 0x1000);
	g.run->s.regs.regs.rbx = 0x5000;
	run_to(&g, KVM_EXIT_IO);
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(regs_of(&g).rbx, 0x1002);
	/* Not asked for: not written. */
	SET(&g, rip, 0x1000);
	g.run->kvm_valid_regs = 0;
	memset(&g.run->s, 0x5a, sizeof(g.run->s.regs));
	run_to(&g, KVM_EXIT_IO);
	assert_int_equal(*(uint8_t *)&g.run->s, 0x5a);
	g.run->kvm_valid_regs = 1 << 8;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, NULL));
	g.run->kvm_valid_regs = 0;
	g.run->kvm_dirty_regs = 1 << 8;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, NULL));
	end(&g);
}

/* Every set, both ways; what is invalid is refused as by its own request. */
static void test_sync_all(void **state)
{
	/* out 0x10,al; out 0x11,al; out 0x12,al.  #BP: out 0x13,al */
	struct guest g = GUEST(false, 0xe6, 0x10, 0xe6, 0x11, 0xe6, 0x12);
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;

	memcpy(g.mem + 0x1800, (uint8_t[]){ 0xe6, 0x13 }, 2);
	*(uint32_t *)(g.mem + 4 * 6) = 0x1800;
	SET(&g, rsp, 0x8000);
	g.run->kvm_valid_regs = KVM_SYNC_X86_VALID_FIELDS;
	run_to(&g, KVM_EXIT_IO);
	api_ok(api_ioctl(g.vcpu, KVM_GET_REGS, &regs));
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &sregs));
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &events));
	assert_memory_equal(&g.run->s.regs.regs, &regs, sizeof(regs));
	assert_memory_equal(&g.run->s.regs.sregs, &sregs, sizeof(sregs));
	assert_memory_equal(&g.run->s.regs.events, &events, offsetof(struct kvm_vcpu_events, reserved));
	g.run->s.regs.sregs.fs.base = 0x12340;
	g.run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	run_to(&g, KVM_EXIT_IO);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &sregs));
	assert_int_equal(sregs.fs.base, 0x12340);
	assert_int_equal(g.run->s.regs.sregs.fs.base, 0x12340);
	/* A wrong one changes nothing. */
	g.run->s.regs.sregs.cr0 = 1ULL << 40;
	g.run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, NULL));
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &sregs));
	assert_int_equal(sregs.cr0 >> 40, 0);
	api_ok(api_ioctl(g.vcpu, KVM_GET_VCPU_EVENTS, &events));
	g.run->s.regs.events = events;
	g.run->s.regs.events.flags |= 1 << 20;
	g.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	api_fails(EINVAL, api_ioctl(g.vcpu, KVM_RUN, NULL));
	events.exception.injected = 1;
	events.exception.nr = 6;
	g.run->s.regs.events = events;
	g.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	run_to(&g, KVM_EXIT_IO);
	/* The access that was pending is complete first. */
	assert_int_equal(g.run->io.port, 0x13);
	assert_int_equal(*(uint16_t *)(g.mem + 0x7ffa), 0x1004);
	end(&g);
}

/* --- dirty log ---------------------------------------------------------------------------------------------- */

static void test_dirty_log(void **state)
{
	/* mov [0x5000],al; out 0x10,al; mov [0x6000],al; mov [0x5001],al; out 0x11,al */
	struct guest g = GUEST(false, 0xa2, 0x00, 0x50, 0xe6, 0x10, 0xa2, 0x00, 0x60, 0xa2, 0x01, 0x50, 0xe6, 0x11);
	uint64_t map = 0;
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &map };

	api_ok(api_set_slot(g.vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, MEM, g.mem));
	run_to(&g, KVM_EXIT_IO);
	api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(map, 1 << 5);
	run_to(&g, KVM_EXIT_IO);
	map = 0;
	api_ok(api_ioctl(g.vm, KVM_GET_DIRTY_LOG, &log));
	assert_int_equal(map, 1 << 5 | 1 << 6);
	end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_out),
	cmocka_unit_test(test_in),
	cmocka_unit_test(test_string_io),
	cmocka_unit_test(test_ins_batch),
	cmocka_unit_test(test_ins_count_changed),
	cmocka_unit_test(test_mmio),
	cmocka_unit_test(test_readonly_slot),
	cmocka_unit_test(test_immediate_exit),
	cmocka_unit_test(test_signal_ends_run),
	cmocka_unit_test(test_interrupt_window),
	cmocka_unit_test(test_nmi),
	cmocka_unit_test(test_nmi_blocked),
	cmocka_unit_test(test_nmi_and_bad_iret),
	cmocka_unit_test(test_nmi_behind_mov_ss),
	cmocka_unit_test(test_events_exception),
	cmocka_unit_test(test_shutdown),
	cmocka_unit_test(test_single_step),
	cmocka_unit_test(test_breakpoints),
	cmocka_unit_test(test_halt_and_irq),
	cmocka_unit_test(test_pit_tick),
	cmocka_unit_test(test_sync_regs),
	cmocka_unit_test(test_sync_all),
	cmocka_unit_test(test_dirty_log),
};

API_MAIN(tests)
