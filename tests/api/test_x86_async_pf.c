// SPDX-License-Identifier: MIT
/*
 * Asynchronous page faults: a guest whose memory the client brings page by page
 * (userfaultfd) runs something else meanwhile.  Everything here waits for the
 * other side's own sign, and for no time.
 */
#include "guest.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#define MSR_EN 0x4b564d02
#define MSR_STEAL 0x4b564d03
#define MSR_PV_EOI 0x4b564d04
#define MSR_INT 0x4b564d06
#define MSR_ACK 0x4b564d07
#define MSR_SYSTEM_TIME 0x4b564d01
#define ENABLED 1ULL
#define SEND_ALWAYS 2ULL
#define AS_VMEXIT 4ULL
#define BY_INT 8ULL
#define F_ASYNC_PF (1U << 4)
#define F_ASYNC_PF_VMEXIT (1U << 10)
#define F_ASYNC_PF_INT (1U << 14)

#define VECTOR_READY 0xf3
#define VECTOR_OTHER 0x50
#define ALL (~0U)
#define IF 0x200
#define IOPL3 0x3000

/* Where things are in the guest; `program` below has the same numbers. */
#define IDT 0x2000
#define GDT 0x3000
#define TSS 0x3800
#define AREA 0x4000
#define VARS 0x5000
#define STACK 0x8000
#define KERNEL_STACK 0xa000
#define SLOW 0x100000
#define SLOW_PAGES 16
#define REGION 0x200000UL

/* The ports by which the guest tells what it does. */
enum { DONE = 0x10, NOT_PRESENT = 0x14, READY = 0x15, OTHER_TASK = 0x16, INTERRUPTED = 0x17 };
enum { READ, WRITE, CALL };

struct vars {
	uint64_t cr2, flags;
	uint64_t turns;         /* of the other task */
	uint64_t ready;         /* tokens that came and were not waited for yet */
	uint64_t faults;
	uint64_t token;         /* the last that came */
	uint64_t hold;          /* set: tokens stay in the area, and are not acknowledged */
	uint64_t error_code;
};

struct area {
	uint32_t flags, token;
	uint8_t pad[56];
};

/*
 * RDI: an address, RSI: what to do with it; R8: an address to read while waiting for
 * the first, or 0.
 */
extern const uint8_t program[], program_end[], on_fault[], on_ready[], on_other[];
__asm__(".pushsection .rodata\n"
	".globl program, program_end, on_fault, on_ready, on_other\n"
	".hidden program, program_end, on_fault, on_ready, on_other\n"
	"program:\n"
	"	cmp $1, %esi\n"
	"	je 1f\n"
	"	ja 2f\n"
	"	mov (%rdi), %al\n"
	"	jmp 3f\n"
	"1:	movb $0x66, (%rdi)\n"
	"	mov (%rdi), %al\n"
	"	jmp 3f\n"
	"2:	call *%rdi\n"
	"3:	out %al, $0x10\n"
	"	jmp program\n"
	"on_fault:\n"
	"	push %rax\n"
	"	mov %cr2, %rax\n"
	"	mov %rax, 0x5000\n"
	"	mov 0x4000, %eax\n"
	"	mov %rax, 0x5008\n"
	"	movl $0, 0x4000\n"
	"	incq 0x5020\n"
	"	mov 8(%rsp), %rax\n"
	"	mov %rax, 0x5038\n"
	"	out %al, $0x14\n"
	"	sti\n"
	"	test %r8, %r8\n"
	"	jz 1f\n"
	"	mov %r8, %rax\n"
	"	xor %r8, %r8\n"
	"	mov (%rax), %al\n"
	"1:	incq 0x5010\n"
	"	testw $0x3f, 0x5010\n"
	"	jnz 2f\n"
	"	out %al, $0x16\n"
	"2:	cmpq $0, 0x5018\n"
	"	je 1b\n"
	"	cli\n"
	"	decq 0x5018\n"
	"	pop %rax\n"
	"	add $8, %rsp\n"
	"	iretq\n"
	"on_ready:\n"
	"	push %rax\n"
	"	push %rcx\n"
	"	push %rdx\n"
	"	mov 0x4004, %eax\n"
	"	mov %rax, 0x5028\n"
	"	incq 0x5018\n"
	"	cmpq $0, 0x5030\n"
	"	jne 1f\n"
	"	movl $0, 0x4004\n"
	"	mov $0x4b564d07, %ecx\n"
	"	mov $1, %eax\n"
	"	xor %edx, %edx\n"
	"	wrmsr\n"
	"1:	mov $0xfee000b0, %eax\n"
	"	movl $0, (%rax)\n"
	"	out %al, $0x15\n"
	"	pop %rdx\n"
	"	pop %rcx\n"
	"	pop %rax\n"
	"	iretq\n"
	"on_other:\n"
	"	push %rax\n"
	"	mov $0xfee000b0, %eax\n"
	"	movl $0, (%rax)\n"
	"	out %al, $0x17\n"
	"	pop %rax\n"
	"	iretq\n"
	"program_end:\n"
	".popsection\n");

struct machine {
	struct guest g;
	volatile struct vars *vars;
	volatile struct area *area;
	uint8_t *slow;
	int uffd;
};

/* --- the client's side of the memory -------------------------------------------------------------- */

static uint8_t *own_region(void)
{
	uintptr_t p = (uintptr_t)mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_int_not_equal(p, (uintptr_t)MAP_FAILED);
	return (uint8_t *)((p + REGION - 1) & ~(REGION - 1));
}

/* From now on touching a page there waits for bring(). */
static bool make_slow(struct machine *m)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	/* A kernel's KVM touches the memory itself. */
	m->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | (api_real() ? 0 : UFFD_USER_MODE_ONLY));
	if (m->uffd < 0)
		return false;
	m->slow = own_region();
	reg.range.start = (uintptr_t)m->slow;
	reg.range.len = SLOW_PAGES * PAGE;
	assert_int_equal(ioctl(m->uffd, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(m->uffd, UFFDIO_REGISTER, &reg), 0);
	return true;
}

static void bring_page(struct machine *m, unsigned int n, const void *content)
{
	struct uffdio_copy c = {
		.dst = (uintptr_t)m->slow + n * PAGE, .src = (uintptr_t)content, .len = PAGE,
	};

	assert_int_equal(ioctl(m->uffd, UFFDIO_COPY, &c), 0);
}

static void bring(struct machine *m, unsigned int n, uint8_t byte)
{
	uint8_t page[PAGE];

	memset(page, byte, sizeof(page));
	bring_page(m, n, page);
}

/* Waits until somebody waits for page @n. */
static void wait_for_touch(struct machine *m, unsigned int n)
{
	struct pollfd p = { .fd = m->uffd, .events = POLLIN };
	struct uffd_msg msg;

	assert_int_equal(poll(&p, 1, -1), 1);
	assert_int_equal(read(m->uffd, &msg, sizeof(msg)), sizeof(msg));
	assert_int_equal(msg.event, UFFD_EVENT_PAGEFAULT);
	assert_int_equal(msg.arg.pagefault.address & ~(PAGE - 1), (uintptr_t)m->slow + n * PAGE);
}

/* --- the machine ---------------------------------------------------------------------------------- */

static void gate(struct machine *m, unsigned int vector, const uint8_t *handler)
{
	uint64_t at = GUEST_CODE + (uint64_t)(handler - program), *e = (uint64_t *)(m->g.mem + IDT + 16 * vector);

	e[0] = (at & 0xffff) | 8 << 16 | 0x8e00ULL << 32 | (at >> 16 & 0xffff) << 48;
	e[1] = 0;
}

static void tables(struct machine *m)
{
	static const uint64_t gdt[] = {
		0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff,
	};
	struct kvm_sregs s;

	memcpy(m->g.mem + GDT, gdt, sizeof(gdt));
	memcpy(m->g.mem + TSS + 4, &(uint64_t){ KERNEL_STACK }, 8);
	gate(m, 14, on_fault);
	gate(m, VECTOR_READY, on_ready);
	gate(m, VECTOR_OTHER, on_other);
	api_ok(api_ioctl(m->g.vcpu, KVM_GET_SREGS, &s));
	s.idt.base = IDT;
	s.idt.limit = 0xfff;
	s.gdt.base = GDT;
	s.gdt.limit = sizeof(gdt) - 1;
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 0x67, .selector = 0x28, .type = 11, .present = 1 };
	api_ok(api_ioctl(m->g.vcpu, KVM_SET_SREGS, &s));
}

static void enable_lapic(struct guest *g)
{
	struct kvm_lapic_state l;

	api_ok(api_ioctl(g->vcpu, KVM_GET_LAPIC, &l));
	memcpy(l.regs + 0xf0, &(uint32_t){ 0x1ff }, 4);
	memcpy(l.regs + 0x350, &(uint32_t){ 0x10000 }, 4);
	api_ok(api_ioctl(g->vcpu, KVM_SET_LAPIC, &l));
}

static struct machine make(void)
{
	struct machine m;

	m.g = guest_of(program, (size_t)(program_end - program), true);
	if (!(guest_kvm_features(&m.g, ~0U) & F_ASYNC_PF_INT) || !make_slow(&m)) {
		guest_end(&m.g);
		skip();
	}
	api_ok(api_set_slot(m.g.vm, 1, 0, SLOW, SLOW_PAGES * PAGE, m.slow));
	m.vars = (struct vars *)(m.g.mem + VARS);
	m.area = (struct area *)(m.g.mem + AREA);
	/* Only what is meant to be slow may be: a hole that takes its time on a busy machine is too. */
	for (size_t at = 0; at < GUEST_MEM; at += PAGE)
		*(volatile uint8_t *)(m.g.mem + at) = m.g.mem[at];
	guest_long(&m.g);
	tables(&m);
	enable_lapic(&m.g);
	return m;
}

static void end(struct machine *m)
{
	close(m->uffd);
	guest_end(&m->g);
	munmap(m->slow, REGION);
}

/* The guest will do @what with page @n. */
static void aim(struct machine *m, unsigned int n, int what, uint64_t flags)
{
	struct kvm_regs r = {
		.rip = GUEST_CODE, .rsp = STACK, .rflags = 2 | flags, .rdi = SLOW + n * PAGE, .rsi = (uint64_t)what,
	};

	api_ok(api_ioctl(m->g.vcpu, KVM_SET_REGS, &r));
}

static void user_mode(struct machine *m)
{
	struct kvm_sregs s;

	api_ok(api_ioctl(m->g.vcpu, KVM_GET_SREGS, &s));
	s.cs.selector = 0x23;
	s.ss.selector = s.ds.selector = s.es.selector = 0x1b;
	s.cs.dpl = s.ss.dpl = s.ds.dpl = s.es.dpl = 3;
	api_ok(api_ioctl(m->g.vcpu, KVM_SET_SREGS, &s));
}

/* As a guest does, or a client that restores one: whoever may have waited is woken. */
static void enable(struct machine *m, uint64_t how)
{
	assert_int_equal(guest_set_msr(&m->g, MSR_INT, VECTOR_READY), 1);
	assert_int_equal(guest_set_msr(&m->g, MSR_EN, AREA | how), 1);
}

static void take_wakeup(struct machine *m)
{
	guest_port(&m->g, READY);
	assert_int_equal(m->vars->token, ALL);
	assert_int_equal(m->area->token, 0);
	m->vars->ready = 0;
}

static void not_present(struct machine *m, unsigned int n)
{
	guest_port(&m->g, NOT_PRESENT);
	assert_int_equal(m->vars->flags, 1);
	assert_int_not_equal(m->vars->cr2, 0);
	assert_int_equal(m->vars->cr2 >> 32, 0);
	assert_int_equal(m->vars->error_code, 0);
	wait_for_touch(m, n);
}

/* The guest works, and hears nothing of the page, for some turns. */
static void other_task(struct machine *m)
{
	for (int i = 0; i < 3; i++)
		guest_port(&m->g, OTHER_TASK);
}

/* Until the token comes, and then until the access is done. */
static void ready(struct machine *m, uint64_t token)
{
	do
		guest_run(&m->g, KVM_EXIT_IO);
	while (m->g.run->io.port == OTHER_TASK);
	assert_int_equal(m->g.run->io.port, READY);
	assert_int_equal(m->vars->token, token);
}

static void done(struct machine *m, uint8_t byte)
{
	do
		guest_run(&m->g, KVM_EXIT_IO);
	while (m->g.run->io.port == OTHER_TASK);
	assert_int_equal(m->g.run->io.port, DONE);
	assert_int_equal(*guest_pio(&m->g), byte);
}

struct counts {
	uint64_t not_present, ready, halts;
};

static struct counts counts(struct machine *m)
{
	return (struct counts){ guest_stat(m->g.vcpu, "async_pf_not_present"), guest_stat(m->g.vcpu, "async_pf_ready"),
				guest_stat(m->g.vcpu, "async_pf_halts") };
}

static void check_counts(struct machine *m, uint64_t not_present, uint64_t ready)
{
	struct counts c;

	if (api_real())
		return;
	c = counts(m);
	assert_int_equal(c.not_present, not_present);
	assert_int_equal(c.ready, ready);
}

/* --- a vCPU on a thread of its own ----------------------------------------------------------------- */

static void *run_thread(void *arg)
{
	struct machine *m = arg;

	return api_ioctl(m->g.vcpu, KVM_RUN, NULL) ? arg : NULL;
}

static pthread_t run_aside(struct machine *m)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, run_thread, m), 0);
	return t;
}

static void expect_port(struct machine *m, pthread_t t, uint16_t port)
{
	void *wrong;

	pthread_join(t, &wrong);
	assert_null(wrong);
	assert_int_equal(m->g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(m->g.run->io.port, port);
}

static void send(struct machine *m, uint8_t vector, uint32_t mode)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = mode << 8 | 0x4000 | vector };

	assert_int_equal(api_ioctl(m->g.vm, KVM_SIGNAL_MSI, &msi), 1);
}

static void *bring_late(void *arg)
{
	struct machine *m = arg;

	wait_for_touch(m, 0);
	usleep(100000);
	bring(m, 0, 0);
	return NULL;
}

/* A kernel that emulates what it cannot run touches memory by itself, and waits. */
static bool try_delivery(void)
{
	struct machine m = make();
	pthread_t t;
	bool ok;

	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	assert_int_equal(pthread_create(&t, NULL, bring_late, &m), 0);
	do
		guest_run(&m.g, KVM_EXIT_IO);
	while (m.g.run->io.port == READY);
	ok = m.g.run->io.port == NOT_PRESENT;
	pthread_join(t, NULL);
	end(&m);
	return ok;
}

static struct machine start(void)
{
	static int delivers = -1;

	if (!guest_runs_long_mode())
		skip();
	if (delivers < 0)
		delivers = !api_real() || try_delivery();
	if (!delivers)
		skip();
	return make();
}

/* --- the tests ------------------------------------------------------------------------------------ */

static void deliver(int what, bool user)
{
	static const uint8_t code[PAGE] = { 0xb0, 0x77, 0xc3 };         /* mov al,0x77; ret */
	struct machine m = start();
	uint64_t token;

	enable(&m, ENABLED | BY_INT | (user ? 0 : SEND_ALWAYS));
	aim(&m, 3, what, IF | (user ? IOPL3 : 0));
	if (user)
		user_mode(&m);
	take_wakeup(&m);
	not_present(&m, 3);
	token = m.vars->cr2;
	other_task(&m);
	check_counts(&m, 1, 1);
	if (what == CALL)
		bring_page(&m, 3, code);
	else
		bring(&m, 3, 0x5a);
	ready(&m, token);
	done(&m, what == READ ? 0x5a : what == WRITE ? 0x66 : 0x77);
	assert_int_equal(m.vars->faults, 1);
	check_counts(&m, 1, 2);
	end(&m);
}

static void test_read(void **state)
{
	deliver(READ, false);
}

static void test_write(void **state)
{
	deliver(WRITE, false);
}

static void test_fetch(void **state)
{
	deliver(CALL, false);
}

static void test_user(void **state)
{
	deliver(READ, true);
}

/* The page that is slow holds a page table. */
static void test_page_table(void **state)
{
	struct machine m = start();
	uint64_t table[512] = { 0x87 }, token;

	((uint64_t *)(m.g.mem + GUEST_TABLES + 0x1000))[1] = (SLOW + 5 * PAGE) | 7;
	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	SET(&m.g, rdi, 0x40000000 + VARS + 0x800);
	m.g.mem[VARS + 0x800] = 0x3c;
	take_wakeup(&m);
	not_present(&m, 5);
	token = m.vars->cr2;
	other_task(&m);
	bring_page(&m, 5, table);
	ready(&m, token);
	done(&m, 0x3c);
	assert_int_equal(m.vars->faults, 1);
	end(&m);
}

/* Two pages at a time have two tokens; the second comes when the first has been taken and acknowledged. */
static void test_two(void **state)
{
	struct machine m = start();
	uint64_t token[2], first;

	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	SET(&m.g, r8, SLOW + PAGE);
	take_wakeup(&m);
	not_present(&m, 0);
	token[0] = m.vars->cr2;
	not_present(&m, 1);
	token[1] = m.vars->cr2;
	assert_int_not_equal(token[0], token[1]);
	m.vars->hold = 1;
	bring(&m, 0, 0x11);
	bring(&m, 1, 0x22);
	do
		guest_run(&m.g, KVM_EXIT_IO);
	while (m.g.run->io.port == OTHER_TASK);
	assert_int_equal(m.g.run->io.port, READY);
	first = m.vars->token;
	assert_true(first == token[0] || first == token[1]);
	/* Nothing more while it stands in the area: the inner access is done, the outer task turns. */
	other_task(&m);
	assert_int_equal(m.area->token, first);
	m.vars->hold = 0;
	m.area->token = 0;
	assert_int_equal(guest_set_msr(&m.g, MSR_ACK, 1), 1);
	ready(&m, token[0] ^ token[1] ^ first);
	done(&m, 0x11);
	check_counts(&m, 2, 3);
	end(&m);
}

/* Off: the vCPU waits, and the guest hears of nothing. */
static void check_silent(uint64_t how, uint64_t flags)
{
	struct machine m = start();
	pthread_t t;

	if (how) {
		enable(&m, how);
		if (flags & IF && how & BY_INT) {
			aim(&m, 0, READ, flags);
			take_wakeup(&m);
		}
	}
	aim(&m, 2, READ, flags);
	t = run_aside(&m);
	wait_for_touch(&m, 2);
	bring(&m, 2, 0x44);
	expect_port(&m, t, DONE);
	assert_int_equal(*guest_pio(&m.g), 0x44);
	assert_int_equal(m.vars->faults, 0);
	assert_int_equal(m.area->flags, 0);
	check_counts(&m, 0, how & BY_INT ? 1 : 0);
	end(&m);
}

static void test_off(void **state)
{
	check_silent(0, IF);
}

/* Without delivery by interrupt there is none: what was "page ready" by #PF is no more. */
static void test_not_by_interrupt(void **state)
{
	check_silent(ENABLED | SEND_ALWAYS, IF);
}

static void test_interrupts_off(void **state)
{
	check_silent(ENABLED | SEND_ALWAYS | BY_INT, 0);
}

/* The kernel of the guest is not told unless it asked for that; but it sleeps, and takes interrupts. */
static void test_halt(void **state)
{
	struct machine m = start();
	pthread_t t;

	enable(&m, ENABLED | BY_INT);
	aim(&m, 2, READ, IF);
	take_wakeup(&m);
	t = run_aside(&m);
	wait_for_touch(&m, 2);
	send(&m, VECTOR_OTHER, 0);
	expect_port(&m, t, INTERRUPTED);
	t = run_aside(&m);
	send(&m, VECTOR_OTHER, 0);
	expect_port(&m, t, INTERRUPTED);
	t = run_aside(&m);
	bring(&m, 2, 0x44);
	expect_port(&m, t, DONE);
	assert_int_equal(*guest_pio(&m.g), 0x44);
	assert_int_equal(m.vars->faults, 0);
	check_counts(&m, 0, 1);
	if (!api_real())
		assert_true(counts(&m).halts >= 1);
	end(&m);
}

/* Switched off, nothing comes any more of what was under way. */
static void test_disabled_meanwhile(void **state)
{
	struct machine m = start();

	/* A kernel waits for the page there. */
	if (api_real())
		skip();
	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	take_wakeup(&m);
	not_present(&m, 0);
	assert_int_equal(guest_set_msr(&m.g, MSR_EN, 0), 1);
	bring(&m, 0, 0x11);
	other_task(&m);
	m.vars->ready = 1;
	done(&m, 0x11);
	check_counts(&m, 1, 1);
	/* And on again: one token for all. */
	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	guest_port(&m.g, READY);
	assert_int_equal(m.vars->token, ALL);
	end(&m);
}

/* What has come while the local APIC was off is told when it is on; a vCPU that halts then sleeps. */
static void test_lapic_late(void **state)
{
	struct machine m = start();
	struct kvm_lapic_state l;
	uint64_t halts;
	pthread_t t;

	api_ok(api_ioctl(m.g.vcpu, KVM_GET_LAPIC, &l));
	memcpy(l.regs + 0xf0, &(uint32_t){ 0xff }, 4);
	api_ok(api_ioctl(m.g.vcpu, KVM_SET_LAPIC, &l));
	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	SET(&m.g, rdi, VARS);
	guest_port(&m.g, DONE);
	assert_int_equal(m.area->token, 0);
	/* Nothing but this switches it on. */
	enable_lapic(&m.g);
	take_wakeup(&m);
	guest_port(&m.g, DONE);
	/* hlt; jmp .-1; and an interrupt, when it has slept. */
	memcpy(m.g.mem + 0x1f00, (uint8_t[]){ 0xf4, 0xeb, 0xfd }, 3);
	aim(&m, 0, READ, IF);
	SET(&m.g, rip, 0x1f00);
	halts = guest_stat(m.g.vcpu, "halt_exits");
	t = run_aside(&m);
	usleep(20000);
	send(&m, VECTOR_OTHER, 0);
	expect_port(&m, t, INTERRUPTED);
	if (!api_real())
		assert_true(guest_stat(m.g.vcpu, "halt_exits") - halts <= 1);
	end(&m);
}

/* INIT takes all of KVM's own MSRs back to zero, and what was under way. */
static void test_init(void **state)
{
	static const uint32_t cleared[] = { MSR_EN, MSR_INT, MSR_STEAL, MSR_PV_EOI, MSR_SYSTEM_TIME };
	struct machine m = start();
	uint64_t value;

	if (api_real())
		skip();
	assert_int_equal(guest_set_msr(&m.g, MSR_STEAL, AREA | 0x40 | 1), 1);
	assert_int_equal(guest_set_msr(&m.g, MSR_PV_EOI, AREA | 0x80 | 1), 1);
	assert_int_equal(guest_set_msr(&m.g, MSR_SYSTEM_TIME, AREA | 0xc0 | 1), 1);
	enable(&m, ENABLED | SEND_ALWAYS | BY_INT);
	aim(&m, 0, READ, IF);
	take_wakeup(&m);
	not_present(&m, 0);
	send(&m, 0, 5);
	/* There is nothing at the reset vector. */
	api_ioctl(m.g.vcpu, KVM_RUN, NULL);
	for (size_t i = 0; i < sizeof(cleared) / sizeof(cleared[0]); i++) {
		assert_int_equal(guest_get_msr(&m.g, cleared[i], &value), 1);
		assert_int_equal(value, 0);
	}
	bring(&m, 0, 0);
	end(&m);
}

static bool listed(uint32_t index)
{
	static struct {
		struct kvm_msr_list head;
		uint32_t index[1024];
	} l;

	l.head.nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, &l));
	for (uint32_t i = 0; i < l.head.nmsrs; i++)
		if (l.index[i] == index)
			return true;
	return false;
}

static void test_msrs(void **state)
{
	const uint32_t features = F_ASYNC_PF | F_ASYNC_PF_VMEXIT | F_ASYNC_PF_INT;
	struct guest g = GUEST(true, 0xf4);
	uint64_t value;

	assert_int_equal(api_cap(g.vm, KVM_CAP_ASYNC_PF), 1);
	assert_int_equal(api_cap(g.vm, KVM_CAP_ASYNC_PF_INT), 1);
	assert_int_equal(guest_kvm_features(&g, ~0U) & features, features);
	assert_true(listed(MSR_EN) && listed(MSR_INT) && listed(MSR_ACK));
	for (unsigned int bit = 4; bit < 6; bit++)
		assert_int_equal(guest_set_msr(&g, MSR_EN, AREA | 1U << bit), 0);
	for (unsigned int flags = 0; flags < 16; flags++) {
		assert_int_equal(guest_set_msr(&g, MSR_EN, AREA | flags), 1);
		assert_int_equal(guest_get_msr(&g, MSR_EN, &value), 1);
		assert_int_equal(value, AREA | flags);
	}
	/* The area has to be memory, where it is to be used. */
	assert_int_equal(guest_set_msr(&g, MSR_EN, 0x10000000 | ENABLED), 1);
	assert_int_equal(guest_set_msr(&g, MSR_EN, 0x10000000 | ENABLED | BY_INT), 0);
	assert_int_equal(guest_set_msr(&g, MSR_INT, 0x100), 0);
	assert_int_equal(guest_set_msr(&g, MSR_INT, 0xff), 1);
	assert_int_equal(guest_get_msr(&g, MSR_INT, &value), 1);
	assert_int_equal(value, 0xff);
	assert_int_equal(guest_set_msr(&g, MSR_ACK, 3), 1);
	assert_int_equal(guest_get_msr(&g, MSR_ACK, &value), 1);
	assert_int_equal(value, 0);
	guest_end(&g);
}

/* Without an APIC in the kernel there is no interrupt to deliver by. */
static void test_no_lapic(void **state)
{
	struct guest g = GUEST(false, 0xf4);

	assert_int_equal(guest_set_msr(&g, MSR_EN, 0), 1);
	assert_int_equal(guest_set_msr(&g, MSR_EN, AREA | ENABLED), 0);
	assert_int_equal(guest_set_msr(&g, MSR_INT, VECTOR_READY), 0);
	guest_end(&g);
}

/* CPUID that says nothing of a bit, and is enforced: #GP. */
static void test_enforced(void **state)
{
	/* mov edx,0; mov ecx,MSR_EN; l: wrmsr; out 0x10,al; jmp l */
	struct guest g = GUEST(true, 0x66, 0xba, 0, 0, 0, 0, 0x66, 0xb9, 0x02, 0x4d, 0x56, 0x4b, 0x0f, 0x30, 0xe6,
			       0x10, 0xeb, 0xfa);

	VECTOR(&g, 13, 0x1800, 0xe6, 0x13);
	guest_kvm_features(&g, F_ASYNC_PF);
	api_ok(guest_enable(g.vcpu, KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1));
	SET(&g, rsp, STACK);
	SET(&g, rax, AREA | ENABLED);
	guest_port(&g, 0x10);
	for (unsigned int i = 0; i < 4; i++) {
		static const uint32_t bad[] = { BY_INT, AS_VMEXIT, 0x10, 0x20 };

		SET(&g, rax, AREA | ENABLED | bad[i]);
		SET(&g, rip, GUEST_CODE);
		guest_port(&g, 0x13);
	}
	guest_end(&g);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_msrs),
	cmocka_unit_test(test_no_lapic),
	cmocka_unit_test(test_enforced),
	cmocka_unit_test(test_read),
	cmocka_unit_test(test_write),
	cmocka_unit_test(test_fetch),
	cmocka_unit_test(test_user),
	cmocka_unit_test(test_page_table),
	cmocka_unit_test(test_two),
	cmocka_unit_test(test_off),
	cmocka_unit_test(test_not_by_interrupt),
	cmocka_unit_test(test_interrupts_off),
	cmocka_unit_test(test_halt),
	cmocka_unit_test(test_disabled_meanwhile),
	cmocka_unit_test(test_lapic_late),
	cmocka_unit_test(test_init),
};

API_MAIN(tests)
