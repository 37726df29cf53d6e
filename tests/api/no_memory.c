/* SPDX-License-Identifier: MIT */
/*
 * The host has no memory left: each allocation of each request fails once, by wrappers that the linker puts before
 * libc's functions.  The request says ENOMEM, nothing that was there before is lost, and the same request works when
 * there is memory again.  At the end all memory, descriptors and threads are given back.
 */
#include "guest.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "anykvm.h"

/* --- failing on purpose --- */

static atomic_long left = -1;           /* allocations until one fails; below: none will */
static atomic_bool fired;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);

static bool fails(void)
{
	if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) != 0)
		return false;
	atomic_store(&fired, true);
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, offset);
}

static void arm(long n)
{
	atomic_store(&fired, false);
	atomic_store(&left, n);
}

/* True: the allocation that was to fail has been made. */
static bool disarm(void)
{
	atomic_store(&left, -1);
	return atomic_load(&fired);
}

/* --- every request --- */

struct world {
	int vm, vcpu, event;
	uint8_t *mem, *more;
};

static void make(struct world *w)
{
	w->vm = api_vm();
	w->vcpu = -1;
	w->event = eventfd(0, EFD_CLOEXEC);
	w->mem = api_memory(16 * PAGE);
	w->more = api_memory(16 * PAGE);
	api_ok(api_set_slot(w->vm, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, 16 * PAGE, w->mem));
	w->mem[0x3000] = 0x5a;
}

static void end(struct world *w)
{
	api_close(w->vcpu);
	api_close(w->vm);
	close(w->event);
	munmap(w->mem, 16 * PAGE);
	munmap(w->more, 16 * PAGE);
}

static void needs_vcpu(struct world *w)
{
	w->vcpu = api_vcpu(w->vm, 0);
}

static void needs_irqchip(struct world *w)
{
	api_ok(api_ioctl(w->vm, KVM_CREATE_IRQCHIP, NULL));
}

static void needs_irqchip_and_vcpu(struct world *w)
{
	needs_irqchip(w);
	needs_vcpu(w);
}

static int create_vm(struct world *w)
{
	int vm = api_ioctl(api_sys(), KVM_CREATE_VM, NULL);

	if (vm >= 0)
		api_close(vm);
	return vm;
}

static int create_vcpu(struct world *w)
{
	w->vcpu = api_ioctl(w->vm, KVM_CREATE_VCPU, NULL);
	return w->vcpu;
}

static int create_slot(struct world *w)
{
	return api_set_slot(w->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, 32 * PAGE, 16 * PAGE, w->more);
}

static void needs_slot(struct world *w)
{
	api_ok(create_slot(w));
}

static int move_slot(struct world *w)
{
	return api_set_slot(w->vm, 1, KVM_MEM_LOG_DIRTY_PAGES, 64 * PAGE, 16 * PAGE, w->more);
}

static int unlog_slot(struct world *w)
{
	return api_set_slot(w->vm, 1, 0, 32 * PAGE, 16 * PAGE, w->more);
}

static int delete_slot(struct world *w)
{
	return api_set_slot(w->vm, 1, 0, 0, 0, NULL);
}

static int dirty_log(struct world *w)
{
	uint64_t bits = 0;
	struct kvm_dirty_log log = { .dirty_bitmap = &bits };

	return api_ioctl(w->vm, KVM_GET_DIRTY_LOG, &log);
}

static int create_irqchip(struct world *w)
{
	return api_ioctl(w->vm, KVM_CREATE_IRQCHIP, NULL);
}

static int create_pit(struct world *w)
{
	struct kvm_pit_config pit = { 0 };

	return api_ioctl(w->vm, KVM_CREATE_PIT2, &pit);
}

static int set_routing(struct world *w)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[2];
	} r = { .head = { .nr = 2 } };

	r.e[0] = r.e[1] = (struct kvm_irq_routing_entry){ .type = KVM_IRQ_ROUTING_MSI };
	r.e[1].gsi = 1;
	return api_ioctl(w->vm, KVM_SET_GSI_ROUTING, &r);
}

static int ioeventfd(struct world *w)
{
	struct kvm_ioeventfd e = { .addr = 0x10, .len = 1, .fd = w->event, .flags = KVM_IOEVENTFD_FLAG_PIO };

	return api_ioctl(w->vm, KVM_IOEVENTFD, &e);
}

static int irqfd(struct world *w)
{
	struct kvm_irqfd e = { .fd = (uint32_t)w->event, .gsi = 5 };

	return api_ioctl(w->vm, KVM_IRQFD, &e);
}

static int connection(struct world *w)
{
	struct kvm_hyperv_eventfd e = { .conn_id = 5, .fd = w->event };

	return api_ioctl(w->vm, KVM_HYPERV_EVENTFD, &e);
}

static int synic(struct world *w)
{
	struct kvm_enable_cap c = { .cap = KVM_CAP_HYPERV_SYNIC };

	return api_ioctl(w->vcpu, KVM_ENABLE_CAP, &c);
}

static int msr_filter(struct world *w)
{
	uint8_t bits[8] = { 0 };
	struct kvm_msr_filter f = {
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ, .nmsrs = 64, .base = 0x100, .bitmap = bits },
	};

	return api_ioctl(w->vm, KVM_X86_SET_MSR_FILTER, &f);
}

static int pmu_filter(struct world *w)
{
	struct {
		struct kvm_pmu_event_filter head;
		uint64_t event;
	} f = { .head = { .nevents = 1 } };

	return api_ioctl(w->vm, KVM_SET_PMU_EVENT_FILTER, &f);
}

static int set_cpuid(struct world *w)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	int r;

	c.head.nent = 256;
	r = api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &c);
	return r ? r : api_ioctl(w->vcpu, KVM_SET_CPUID2, &c);
}

static int get_msrs(struct world *w)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[1];
	} m = { .head = { .nmsrs = 1 }, .e = { { .index = 0x10 } } };

	return api_ioctl(w->vcpu, KVM_GET_MSRS, &m);
}

static int stats(struct world *w)
{
	int fd = api_ioctl(w->vcpu, KVM_GET_STATS_FD, NULL);

	if (fd >= 0)
		api_close(fd);
	return fd;
}

static const struct request {
	const char *name;
	int (*call)(struct world *w);
	void (*before)(struct world *w);
} requests[] = {
	{ "KVM_CREATE_VM", create_vm, NULL },
	{ "KVM_CREATE_VCPU", create_vcpu, NULL },
	{ "KVM_CREATE_VCPU with a local APIC", create_vcpu, needs_irqchip },
	{ "a new slot", create_slot, NULL },
	{ "a slot moved", move_slot, needs_slot },
	{ "a slot's flags", unlog_slot, needs_slot },
	{ "a slot deleted", delete_slot, needs_slot },
	{ "KVM_GET_DIRTY_LOG", dirty_log, NULL },
	{ "KVM_CREATE_IRQCHIP", create_irqchip, NULL },
	{ "KVM_CREATE_PIT2", create_pit, needs_irqchip },
	{ "KVM_SET_GSI_ROUTING", set_routing, needs_irqchip },
	{ "KVM_IOEVENTFD", ioeventfd, NULL },
	{ "KVM_IRQFD", irqfd, needs_irqchip },
	{ "KVM_HYPERV_EVENTFD", connection, NULL },
	{ "KVM_CAP_HYPERV_SYNIC", synic, needs_irqchip_and_vcpu },
	{ "KVM_X86_SET_MSR_FILTER", msr_filter, NULL },
	{ "KVM_SET_PMU_EVENT_FILTER", pmu_filter, NULL },
	{ "KVM_SET_CPUID2", set_cpuid, needs_vcpu },
	{ "KVM_GET_MSRS", get_msrs, needs_vcpu },
	{ "KVM_GET_STATS_FD", stats, needs_irqchip_and_vcpu },
};

/* A guest on what there was before: mov al,[3000h]; out 10h,al; hlt */
static void still_runs(struct world *w)
{
	static const uint8_t code[] = { 0xa0, 0x00, 0x30, 0xe6, 0x10, 0xf4 };
	int vcpu = w->vcpu >= 0 ? w->vcpu : api_vcpu(w->vm, 0);
	struct kvm_mp_state runs = { KVM_MP_STATE_RUNNABLE };
	struct kvm_run *run = api_run_of(vcpu);

	w->vcpu = vcpu;
	api_ok(api_ioctl(vcpu, KVM_SET_MP_STATE, &runs));
	api_real_mode(vcpu, w->mem, code, sizeof(code));
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	/* One of the requests has taken the port. */
	if (run->exit_reason == KVM_EXIT_IO)
		assert_int_equal(*((uint8_t *)run + run->io.data_offset), 0x5a);
	else
		assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
	munmap(run, 3 * PAGE);
}

/* With the allocation @n failing.  False: there are not so many. */
static bool fail_one(const struct request *r, long n)
{
	struct world w;
	bool hit;
	int result, err;

	make(&w);
	if (r->before)
		r->before(&w);
	arm(n);
	errno = 0;
	result = r->call(&w);
	err = errno;
	hit = disarm();
	if (result < 0 && (!hit || err != ENOMEM))
		fail_msg("%s, allocation %ld: %s", r->name, n, strerror(err));
	/* Again, now that there is memory; what needs none of it more than once has worked before. */
	if (result < 0)
		api_ok(r->call(&w));
	still_runs(&w);
	end(&w);
	return hit;
}

static void every_request(void **state)
{
	long all = 0;

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		for (long n = 0; fail_one(&requests[i], n); n++)
			all++;
	/* It is not that nothing was wrapped. */
	assert_true(all > 30);
}

/* --- running --- */

/*
 * 64-bit code of many kinds: @SPACES address spaces in turn, in each a call of a function in a page of its own, a
 * vector instruction, and an instruction that lies in two pages.
 */
#define SPACES 20
#define ROOTS 0x20000UL         /* their top tables */
#define RAM 0x80000UL
#define CROSS (0x4000 - 3)      /* mov eax,[rsi+...]: three bytes before the page's end */
#define VALUE 0x5000

/*
 * 1: mov cr3,rdi; movq xmm0,rbx; paddq xmm0,xmm0; movq rbx,xmm0; call CROSS; add rdi,1000h; dec ecx; jnz 1b;
 * out 10h,al; and at CROSS: add rbx,[VALUE]; ret
 */
static const uint8_t tour[] = {
	0x0f, 0x22, 0xdf,
	0x66, 0x48, 0x0f, 0x6e, 0xc3, 0x66, 0x0f, 0xd4, 0xc0, 0x66, 0x48, 0x0f, 0x7e, 0xc3,
	0xe8, (CROSS - 0x1016) & 0xff, (CROSS - 0x1016) >> 8, 0, 0,
	0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00,
	0xff, 0xc9, 0x75, 0xdf,
	0xe6, 0x10,
};
static const uint8_t cross[] = { 0x48, 0x03, 0x1c, 0x25, VALUE & 0xff, VALUE >> 8, 0x00, 0x00, 0xc3 };

static struct guest tourist(uint8_t *ram)
{
	struct guest g = guest_of(tour, sizeof(tour), false);
	struct kvm_sregs s;

	guest_long(&g);
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 9;        /* SSE */
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	/* guest_of() made the slot with less. */
	memset(ram, 0, RAM);
	memcpy(ram, g.mem, GUEST_MEM);
	memcpy(ram + CROSS, cross, sizeof(cross));
	*(uint64_t *)(ram + VALUE) = 3;
	for (uint64_t n = 0; n < SPACES; n++)
		memcpy(ram + ROOTS + n * PAGE, g.mem + GUEST_TABLES, PAGE);
	api_ok(api_set_slot(g.vm, 0, 0, 0, 0, NULL));
	api_ok(api_set_slot(g.vm, 0, 0, 0, RAM, ram));
	SET(&g, rsp, 0x7000);
	SET(&g, rdi, ROOTS);
	SET(&g, rcx, SPACES);
	SET(&g, rbx, 1);
	return g;
}

static uint64_t tour_result(void)
{
	uint64_t v = 1;

	for (int n = 0; n < SPACES; n++)
		v = 2 * v + 3;
	return v;
}

/* From the @first on so many allocations fail, one after another.  Returns how many did. */
static unsigned int run_short_of_memory(long first, unsigned int many)
{
	uint8_t *ram = api_memory(RAM);
	struct guest g = tourist(ram);
	unsigned int hits = 0;
	int r = -1;

	for (arm(first); r; arm(hits < many ? 0 : -1)) {
		bool hit;
		int err;

		r = api_ioctl(g.vcpu, KVM_RUN, NULL);
		err = errno;
		hit = disarm();
		hits += hit;
		/* Some can be done without: a context of translations is taken from another address space. */
		if (r && (!hit || err != ENOMEM))
			fail_msg("allocation %ld of KVM_RUN: %s", first, strerror(err));
	}
	disarm();
	assert_int_equal(g.run->exit_reason, KVM_EXIT_IO);
	assert_int_equal(guest_regs(&g).rbx, tour_result());
	guest_end(&g);
	munmap(ram, RAM);
	return hits;
}

static void running(void **state)
{
	long n = 0;

	while (run_short_of_memory(n, 1))
		n++;
	/* Blocks of code, their pages, stubs, contexts. */
	assert_true(n > 10);
	for (long first = 0; first < n; first += 3)
		assert_true(run_short_of_memory(first, 5) > 0);
}

/* --- afterwards --- */

static unsigned int entries(const char *folder)
{
	DIR *d = opendir(folder);
	unsigned int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static long resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size = 0, pages = 0;

	assert_int_equal(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages * (long)PAGE / 1024;
}

static void one_life(void)
{
	uint8_t *ram = api_memory(RAM);
	struct guest g = tourist(ram);
	int more = api_vcpu(g.vm, 1), stats_fd = api_ioctl(g.vcpu, KVM_GET_STATS_FD, NULL);

	api_ok(stats_fd);
	guest_port(&g, 0x10);
	api_close(stats_fd);
	api_close(more);
	guest_end(&g);
	munmap(ram, RAM);
}

/* A sanitizer keeps what is freed for a while. */
#if defined(__SANITIZE_ADDRESS__)
static const bool keeps_nothing = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
static const bool keeps_nothing = false;
#else
static const bool keeps_nothing = true;
#endif
#else
static const bool keeps_nothing = true;
#endif

static void all_given_back(void **state)
{
	unsigned int fds, threads;
	long before, after;

	for (int n = 0; n < 10; n++)
		one_life();
	fds = entries("/proc/self/fd");
	threads = entries("/proc/self/task");
	before = resident_kib();
	for (int n = 0; n < 50; n++)
		one_life();
	after = resident_kib();
	assert_int_equal(entries("/proc/self/fd"), fds);
	assert_int_equal(entries("/proc/self/task"), threads);
	/* A VM takes some 3 MiB: of fifty not one is left. */
	if (keeps_nothing && after - before > 1024)
		fail_msg("%ld KiB before, %ld after 50 VMs", before, after);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_request),
	cmocka_unit_test(running),
	cmocka_unit_test(all_given_back),
};

API_MAIN(tests)
