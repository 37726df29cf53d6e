/* SPDX-License-Identifier: MIT */
#include "vmm/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "vmm/boot/layout.h"
#include "vmm/stats.h"

#define KICK_SIGNAL (SIGRTMIN + 1)

int vcpu_ioctl(const struct vcpu *v, unsigned long request, void *arg)
{
	int r = v->pf->vm.ops->ioctl(v->fd, request, arg);

	return r < 0 ? -errno : r;
}

static int map_run(struct vcpu *v)
{
	int size = sys_ioctl(&v->pf->vm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	void *p;

	if (size < 0)
		return size;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	v->run = p;
	v->run_size = size;
	return 0;
}

#define IA32_MISC_ENABLE 0x1a0
#define AMD_HWCR 0xc0010015

/*
 * What firmware sets.  Fast strings: without the bit Linux takes it that REP MOVS is slow, and with FSRM in
 * CPUID all the same its memmove() goes wrong.  TscFreqSel: the TSC counts at its nominal frequency.  Not
 * every processor and KVM has them.
 */
static void firmware_msrs(const struct vcpu *v)
{
	static const struct kvm_msr_entry set[] = {
		{ .index = IA32_MISC_ENABLE, .data = 1 << 0 },
		{ .index = AMD_HWCR, .data = 1 << 24 },
	};
	_Alignas(struct kvm_msrs) uint8_t buf[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	struct kvm_msrs *m = (struct kvm_msrs *)buf;

	for (size_t i = 0; i < sizeof(set) / sizeof(set[0]); i++) {
		memset(buf, 0, sizeof(buf));
		m->nmsrs = 1;
		m->entries[0].index = set[i].index;
		if (vcpu_ioctl(v, KVM_GET_MSRS, m) != 1)
			continue;
		m->entries[0].data |= set[i].data;
		vcpu_ioctl(v, KVM_SET_MSRS, m);
	}
}

int vcpu_create(struct vcpu *v, struct platform *pf, struct run_ctl *ctl, unsigned int id, unsigned int count,
		struct vmm_err *err)
{
	int r;

	memset(v, 0, sizeof(*v));
	v->pf = pf;
	v->ctl = ctl;
	v->id = id;
	v->count = count;
	v->fd = vm_ioctl(&pf->vm, KVM_CREATE_VCPU, (void *)(uintptr_t)id);
	if (v->fd < 0)
		return vmm_fail(err, -v->fd, "vCPU %u: cannot create: %s", id, strerror(-v->fd));
	stats_show(&pf->vm, v->fd);
	r = map_run(v);
	if (r)
		vmm_fail(err, -r, "vCPU %u: cannot map its kvm_run: %s", id, strerror(-r));
	else
		r = vcpu_set_cpuid(v, err);
	if (r)
		vcpu_destroy(v);
	else
		firmware_msrs(v);
	return r;
}

void vcpu_destroy(struct vcpu *v)
{
	if (v->run)
		munmap(v->run, v->run_size);
	if (v->fd >= 0)
		v->pf->vm.ops->close(v->fd);
	v->run = NULL;
	v->fd = -1;
}

/* Boot state */

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code64)
{
	return (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type,
		.present = 1, .s = 1, .g = 1, .l = code64, .db = !code64,
	};
}

#define CR0_PE	 (1ull << 0)
#define CR0_ET	 (1ull << 4)
#define CR0_PG	 (1ull << 31)
#define CR4_PAE	 (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define CODE_RX	 0xb /* execute, read, accessed (SDM 3A, 3.4.5.1) */
#define DATA_RW	 0x3
#define TSS_BUSY 0xb

static void flat_state(struct kvm_sregs *s, bool code64)
{
	struct kvm_segment data = segment(BOOT_DS, DATA_RW, false);

	s->cs = segment(BOOT_CS, CODE_RX, code64);
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	/* A busy TSS that is never used: VMX demands one (SDM 3C, 26.3.1.2). */
	s->tr = (struct kvm_segment){ .limit = 0x67, .type = TSS_BUSY, .present = 1 };
	s->gdt.base = BOOT_GDT;
	s->gdt.limit = 4 * 8 - 1;
	s->idt.base = 0;
	s->idt.limit = 0; /* an exception this early is a triple fault */
	s->cr0 = CR0_PE | CR0_ET;
}

static void long_state(struct kvm_sregs *s)
{
	flat_state(s, true);
	s->cr0 |= CR0_PG;
	s->cr3 = BOOT_PAGE_TABLES;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
}

int vcpu_boot_state(struct vcpu *v, const struct boot_entry *entry, struct vmm_err *err)
{
	struct kvm_regs regs = { .rip = entry->rip, .rflags = 2 };
	struct kvm_sregs sregs;
	int r = vcpu_ioctl(v, KVM_GET_SREGS, &sregs);

	if (entry->mode == BOOT_LONG) {
		long_state(&sregs);
		regs.rsi = entry->arg;
	} else {
		flat_state(&sregs, false);
		regs.rbx = entry->arg;
	}
	if (!r)
		r = vcpu_ioctl(v, KVM_SET_SREGS, &sregs);
	if (!r)
		r = vcpu_ioctl(v, KVM_SET_REGS, &regs);
	return r < 0 ? vmm_fail(err, -r, "vCPU %u: cannot set its registers: %s", v->id, strerror(-r)) : 0;
}

/* Exits: each returns whether to go on. */

static bool exit_io(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (unsigned int i = 0; i < run->io.count; i++, data += run->io.size)
		bus_access(&v->pf->bus, BUS_PORT, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
	return true;
}

static bool exit_mmio(struct vcpu *v)
{
	struct kvm_run *run = v->run;

	bus_access(&v->pf->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		   run->mmio.is_write);
	return true;
}

static bool exit_shutdown(struct vcpu *v)
{
	run_end(v->ctl, END_TRIPLE_FAULT, 0, NULL);
	return false;
}

static uint64_t rip_of(const struct vcpu *v)
{
	struct kvm_regs regs = { 0 };

	vcpu_ioctl(v, KVM_GET_REGS, &regs);
	return regs.rip;
}

static bool exit_internal(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	char bytes[64] = "";
	unsigned int n = 0;

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		for (unsigned int i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			n += snprintf(bytes + n, sizeof(bytes) - n, " %02x",
				      run->emulation_failure.insn_bytes[i]);
	run_end(v->ctl, END_INTERNAL, 0, "vCPU %u: KVM internal error %u at rip %#llx%s%s", v->id,
		run->internal.suberror, (unsigned long long)rip_of(v), n ? ": instruction" : "", bytes);
	return false;
}

static bool exit_fail_entry(struct vcpu *v)
{
	run_end(v->ctl, END_INTERNAL, 0,
		"vCPU %u: KVM cannot enter the guest: hardware reason %#llx, rip %#llx", v->id,
		(unsigned long long)v->run->fail_entry.hardware_entry_failure_reason,
		(unsigned long long)rip_of(v));
	return false;
}

static bool exit_system_event(struct vcpu *v)
{
	static const enum run_end ends[] = {
		[KVM_SYSTEM_EVENT_SHUTDOWN] = END_POWEROFF,
		[KVM_SYSTEM_EVENT_RESET] = END_RESET,
		[KVM_SYSTEM_EVENT_CRASH] = END_PANIC,
	};
	uint32_t type = v->run->system_event.type;

	if (type < sizeof(ends) / sizeof(ends[0]) && ends[type] != END_NONE)
		run_end(v->ctl, ends[type], 0, NULL);
	else
		run_end(v->ctl, END_INTERNAL, 0, "vCPU %u: unknown system event %u", v->id, type);
	return false;
}

static bool exit_again(struct vcpu *v)
{
	return true;
}

static const struct {
	bool (*fn)(struct vcpu *v);
} exits[] = {
	[KVM_EXIT_IO] = { exit_io },
	[KVM_EXIT_MMIO] = { exit_mmio },
	[KVM_EXIT_INTR] = { exit_again },
	[KVM_EXIT_SHUTDOWN] = { exit_shutdown },
	[KVM_EXIT_INTERNAL_ERROR] = { exit_internal },
	[KVM_EXIT_FAIL_ENTRY] = { exit_fail_entry },
	[KVM_EXIT_SYSTEM_EVENT] = { exit_system_event },
};

static bool handle_exit(struct vcpu *v)
{
	uint32_t reason = v->run->exit_reason;

	if (reason < sizeof(exits) / sizeof(exits[0]) && exits[reason].fn)
		return exits[reason].fn(v);
	run_end(v->ctl, END_INTERNAL, 0, "vCPU %u: unexpected exit %u at rip %#llx", v->id, reason,
		(unsigned long long)rip_of(v));
	return false;
}

static bool must_stop(const struct vcpu *v)
{
	return __atomic_load_n(&v->pf->loop.quit, __ATOMIC_ACQUIRE);
}

static void *vcpu_main(void *opaque)
{
	struct vcpu *v = opaque;
	bool go_on = true;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	while (go_on && !must_stop(v)) {
		int r = vcpu_ioctl(v, KVM_RUN, NULL);

		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r == 0) {
			go_on = handle_exit(v);
			continue;
		}
		run_end(v->ctl, END_INTERNAL, 0, "vCPU %u: KVM_RUN: %s at rip %#llx", v->id, strerror(-r),
			(unsigned long long)rip_of(v));
		break;
	}
	__atomic_store_n(&v->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void kicked(int sig)
{
}

void vcpu_kick_init(void)
{
	struct sigaction sa = { .sa_handler = kicked };

	sigaction(KICK_SIGNAL, &sa, NULL);
}

int vcpu_start(struct vcpu *v, struct vmm_err *err)
{
	int r = pthread_create(&v->thread, NULL, vcpu_main, v);

	if (r)
		return vmm_fail(err, r, "vCPU %u: cannot start a thread: %s", v->id, strerror(r));
	v->started = true;
	return 0;
}

int vcpu_stop(struct vcpu *v, unsigned int timeout_ms)
{
	if (!v->started)
		return 0;
	for (unsigned int ms = 0; !__atomic_load_n(&v->done, __ATOMIC_ACQUIRE); ms++) {
		if (ms > timeout_ms)
			return -ETIMEDOUT;
		/* First the flag, then the signal: what runs sees one, what is about to run the other. */
		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_RELEASE);
		pthread_kill(v->thread, KICK_SIGNAL);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	pthread_join(v->thread, NULL);
	v->started = false;
	return 0;
}
