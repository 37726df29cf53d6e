// SPDX-License-Identifier: MIT
#include "smp.h"

#include <stdlib.h>

static pthread_t threads[SMP_MAX];

struct turn {
	struct smp *s;
	unsigned int n;
};

static struct turn turns[SMP_MAX];

/* What ended the turn, 0 where it was the port. */
static void *turn_main(void *arg)
{
	struct turn *t = arg;
	struct kvm_run *run = t->s->run[t->n];
	uintptr_t bad = 0;

	do {
		if (api_ioctl(t->s->vcpu[t->n], KVM_RUN, NULL)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			bad = 1000U + (unsigned int)errno;
		} else if (run->exit_reason != KVM_EXIT_IO || run->io.port != SMP_DONE) {
			bad = 1 + run->exit_reason;
		} else {
			break;
		}
	} while (!bad);
	return (void *)bad;
}

void smp_start(struct smp *s, unsigned int mask)
{
	for (unsigned int n = 0; n < s->cpus; n++) {
		if (!(mask >> n & 1))
			continue;
		turns[n] = (struct turn){ s, n };
		assert_int_equal(pthread_create(&threads[n], NULL, turn_main, &turns[n]), 0);
	}
}

void smp_wait(struct smp *s, unsigned int mask)
{
	void *bad[SMP_MAX] = { 0 };

	for (unsigned int n = 0; n < s->cpus; n++)
		if (mask >> n & 1)
			pthread_join(threads[n], &bad[n]);
	for (unsigned int n = 0; n < s->cpus; n++)
		if (bad[n]) {
			struct kvm_regs r;

			api_ioctl(s->vcpu[n], KVM_GET_REGS, &r);
			fail_msg("vCPU %u: %s %lu at %#llx", n, (uintptr_t)bad[n] > 1000 ? "errno" : "exit",
				 (uintptr_t)bad[n] > 1000 ? (uintptr_t)bad[n] - 1000 : (uintptr_t)bad[n] - 1,
				 (unsigned long long)r.rip);
		}
}

void smp_run(struct smp *s, unsigned int mask)
{
	smp_start(s, mask);
	smp_wait(s, mask);
}

uint64_t smp_at(const void *code)
{
	return SMP_CODE + (uint64_t)((const uint8_t *)code - __start_smp_guest);
}

uint64_t *smp_args(struct smp *s, unsigned int n)
{
	return (uint64_t *)(s->mem + SMP_ARGS(n));
}

volatile uint64_t *smp_word(struct smp *s, uint64_t gpa)
{
	return (volatile uint64_t *)(s->mem + gpa);
}

bool smp_avx(void)
{
	return __builtin_cpu_supports("avx");
}

static struct kvm_segment flat(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1,
		.db = type < 8, .l = type >= 8,
	};
}

static void make_tables(uint8_t *mem)
{
	uint64_t *p4 = (uint64_t *)(mem + SMP_TABLES), *p3 = p4 + 512, *p2 = p3 + 512, *p1 = p2 + 512, *high = p1 + 512;
	uint64_t *gdt = (uint64_t *)(mem + SMP_GDT);

	p4[0] = (SMP_TABLES + 0x1000) | 7;
	p3[0] = (SMP_TABLES + 0x2000) | 7;
	p3[3] = (SMP_TABLES + 0x4000) | 7;      /* the interrupt controllers are in the fourth GiB */
	p2[0] = (SMP_TABLES + 0x3000) | 7;
	for (unsigned int i = 0; i < 512; i++)
		p1[i] = i * 0x1000ULL | 7;
	for (unsigned int i = 0; i < 512; i++)
		high[i] = 0xc0000000ULL + i * 0x200000ULL + 0x87;
	gdt[1] = 0x00af9b000000ffffULL;
	gdt[2] = 0x00cf93000000ffffULL;
}

static void set_long_mode(struct smp *s, unsigned int n)
{
	struct kvm_sregs r;

	api_ok(api_ioctl(s->vcpu[n], KVM_GET_SREGS, &r));
	r.cr3 = SMP_TABLES;
	r.cr4 = 1 << 5 | 1 << 9 | 1 << 10;      /* PAE, OSFXSR, OSXMMEXCPT */
	r.efer = 1 << 8 | 1 << 10;
	r.cr0 = 0x80000011;
	r.cs = flat(SMP_CS, 11);
	r.ds = r.es = r.fs = r.gs = r.ss = flat(SMP_DS, 3);
	r.gdt = (struct kvm_dtable){ .base = SMP_GDT, .limit = 0xff };
	r.idt = (struct kvm_dtable){ .base = SMP_IDT, .limit = 0xfff };
	if (smp_avx())
		r.cr4 |= 1 << 18;
	api_ok(api_ioctl(s->vcpu[n], KVM_SET_SREGS, &r));
	if (smp_avx()) {
		struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .value = 7 } } };

		api_ok(api_ioctl(s->vcpu[n], KVM_SET_XCRS, &x));
	}
}

/* As far as the device can: what a guest is told about itself matters little to these. */
static void set_cpuid(struct smp *s, unsigned int n)
{
	size_t max = 256;
	struct kvm_cpuid2 *id = calloc(1, sizeof(*id) + max * sizeof(id->entries[0]));

	assert_non_null(id);
	id->nent = (uint32_t)max;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, id));
	for (unsigned int i = 0; i < id->nent; i++)
		if (id->entries[i].function == 1)
			id->entries[i].ebx = (id->entries[i].ebx & 0xffffff) | n << 24;
	api_ok(api_ioctl(s->vcpu[n], KVM_SET_CPUID2, id));
	free(id);
}

struct smp *smp_new(unsigned int cpus, bool irqchip)
{
	struct smp *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->cpus = cpus;
	s->vm = api_vm();
	if (irqchip)
		api_ok(api_ioctl(s->vm, KVM_CREATE_IRQCHIP, NULL));
	s->mem = api_memory(SMP_MEM);
	api_ok(api_set_slot(s->vm, 0, 0, 0, SMP_MEM, s->mem));
	make_tables(s->mem);
	memcpy(s->mem + SMP_CODE, __start_smp_guest, (size_t)(__stop_smp_guest - __start_smp_guest));
	for (unsigned int n = 0; n < cpus; n++) {
		s->vcpu[n] = api_vcpu(s->vm, n);
		s->run[n] = api_run_of(s->vcpu[n]);
		set_cpuid(s, n);
		set_long_mode(s, n);
	}
	return s;
}

void smp_free(struct smp *s)
{
	for (unsigned int n = 0; n < s->cpus; n++) {
		api_close(s->vcpu[n]);
		munmap(s->run[n], 3 * PAGE);
	}
	api_close(s->vm);
	munmap(s->mem, SMP_MEM);
	free(s);
}

void smp_call(struct smp *s, unsigned int n, const void *code)
{
	struct kvm_regs r = {
		.rip = smp_at(code), .rsp = SMP_STACK(n) - 8, .rdi = SMP_ARGS(n), .rflags = 2,
	};
	struct kvm_mp_state state = { KVM_MP_STATE_RUNNABLE };

	api_ok(api_ioctl(s->vcpu[n], KVM_SET_REGS, &r));
	if (api_cap(s->vm, KVM_CAP_MP_STATE) > 0)
		api_ioctl(s->vcpu[n], KVM_SET_MP_STATE, &state);
}

void smp_gate(struct smp *s, unsigned int n, const void *code)
{
	uint64_t at = smp_at(code), *gate = (uint64_t *)(s->mem + SMP_IDT + 16 * n);

	gate[0] = (at & 0xffff) | (uint64_t)SMP_CS << 16 | 0x8e0000000000ULL | (at >> 16 & 0xffff) << 48;
	gate[1] = at >> 32;
}

/* What the tests' guests use that a KVM which has to emulate them may not have. */
SMP_GUEST(
"probe:\n"
"	movl $0xfee00000, %ebx\n	movl $0x1ff, 0xf0(%rbx)\n	fildll -64(%rsp)\n	fistpll -64(%rsp)\n	movdqa %xmm0, -56(%rsp)\n"
"	lock cmpxchg8b -64(%rsp)\n	lock incw 63(%rsp)\n	wbinvd\n	movq %rax, %dr0\n	outb %al, $0x10\n");
extern const uint8_t probe[];

bool smp_able(void)
{
	struct smp *s;
	bool able;

	if (!guest_runs_long_mode())
		return false;
	s = smp_new(1, true);
	smp_call(s, 0, probe);
	able = !api_ioctl(s->vcpu[0], KVM_RUN, NULL) && s->run[0]->exit_reason == KVM_EXIT_IO;
	if (!able)
		print_message("# exit %u: this KVM does not run such guests\n", s->run[0]->exit_reason);
	smp_free(s);
	return able;
}

uint64_t smp_stat(struct smp *s, unsigned int n, const char *name)
{
	int fd = api_ioctl(s->vcpu[n], KVM_GET_STATS_FD, NULL);
	struct kvm_stats_header h;
	uint64_t value = ~0ULL;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	for (unsigned int i = 0; i < h.num_desc; i++) {
		size_t size = sizeof(struct kvm_stats_desc) + h.name_size;
		union {
			struct kvm_stats_desc d;
			char bytes[512];
		} u;

		assert_true(size <= sizeof(u));
		assert_int_equal(pread(fd, &u, size, (off_t)(h.desc_offset + i * size)), (ssize_t)size);
		if (!strcmp(u.d.name, name))
			assert_int_equal(pread(fd, &value, 8, (off_t)(h.data_offset + u.d.offset)), 8);
	}
	close(fd);
	return value;
}
