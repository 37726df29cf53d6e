// SPDX-License-Identifier: MIT
/* MSRs and CPUID on x86. */
#include <stdlib.h>

#include "anykvm.h"
#include "guest.h"

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 e[256];
} cpuid;

static void load_cpuid(void)
{
	memset(&cpuid, 0, sizeof(cpuid));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &cpuid));
}

static struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.e[i].function == function && cpuid.e[i].index == index)
			return &cpuid.e[i];
	return NULL;
}

static int fresh(void)
{
	int vm = api_vm(), vcpu;

	api_ok(api_ioctl(vm, KVM_CREATE_IRQCHIP, NULL));
	vcpu = api_vcpu(vm, 0);
	load_cpuid();
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	api_close(vm);
	return vcpu;
}

static int get_msr(int vcpu, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e.index = index };
	int r = api_ioctl(vcpu, KVM_GET_MSRS, &m);

	*value = m.e.data;
	return r;
}

static int set_msr(int vcpu, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = { .head.nmsrs = 1, .e = { .index = index, .data = value } };

	return api_ioctl(vcpu, KVM_SET_MSRS, &m);
}

/* A bad pointer on the system's descriptor alone; the device is opened anew since cmocka takes the signals. */
static void system_efault(unsigned long request)
{
	int sys = api_open();

	api_fails(EFAULT, api_ioctl(sys, request, api_bad()));
	api_close(sys);
}

static void test_index_list(void **state)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * 4);
	static const uint32_t must[] = { 0x10, 0x174, 0x175, 0x176, 0x277, 0xc0000081, 0xc0000082, 0xc0000083,
					 0xc0000084, 0xc0000102, 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x3b, 0x6e0,
					 0x1a0, 0x17a, 0x17b, 0xce, 0x140, 0x8b };

	list->nmsrs = 0;
	api_fails(E2BIG, api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	assert_true(list->nmsrs > 20);
	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
		uint32_t n = 0;

		while (n < list->nmsrs && list->indices[n] != must[i])
			n++;
		if (n == list->nmsrs)
			fail_msg("MSR %#x is not in the list", must[i]);
	}
	system_efault(KVM_GET_MSR_INDEX_LIST);
	free(list);
}

/* Whatever the list names can be read, and written back. */
static void test_save_restore(void **state)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * 4);
	int vcpu = fresh();
	uint64_t value;

	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		uint32_t index = list->indices[i];

		/* Hyper-V's and PMU's depend on what was enabled. */
		if (api_real() && (index >> 28 == 4 || (index >> 4 >= 0xc && index < 0x600)))
			continue;
		if (get_msr(vcpu, index, &value) != 1)
			fail_msg("MSR %#x cannot be read", index);
		if (set_msr(vcpu, index, value) != 1)
			fail_msg("MSR %#x: %#llx cannot be written back", index, (unsigned long long)value);
	}
	free(list);
	api_close(vcpu);
}

static void test_values(void **state)
{
	static const struct { uint32_t index; uint64_t value; bool ok; } row[] = {
		{ 0x277, 0x0007040600070406, true },    /* PAT */
		{ 0x277, 0x0207040600070406, false },   /* type 2 is reserved */
		{ 0x277, 0x08, false },
		{ 0x2ff, 0xc06, true },                 /* MTRR_DEF_TYPE */
		{ 0x2ff, 0xc02, false },
		{ 0x2ff, 0x1c06, false },
		{ 0x250, 0x0606060606060606, true },
		{ 0x250, 0x0606060606060602, false },
		{ 0x200, 0x6, true },
		{ 0x200, 0x106, false },
		{ 0x201, 0x800, true },
		{ 0x201, 0x801, false },
		{ 0x174, 0x10, true },
		{ 0xc0000082, 0xffff800000001000, true },
		{ 0xc0000102, 0xffff888000000000, true },
		{ 0xc0000081, ~0ULL, true },
		{ 0x1b, 0xfee00900, true },
		{ 0x1b, 0xfee00500, false },            /* x2APIC without enable */
		{ 0x1b, 1ULL << 60, false },
		{ 0xfe, 0, false },                     /* read only, and in no list */
		{ 0x198, 0, false },
		{ 0x12345678, 0, false },
	};
	int vcpu = fresh();
	uint64_t value;

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		int r = set_msr(vcpu, row[i].index, row[i].value);

		/* Some kernels take any PAT from the client. */
		if (api_real() && row[i].index == 0x277 && r)
			continue;
		if (r != row[i].ok)
			fail_msg("MSR %#x: %#llx: %d", row[i].index, (unsigned long long)row[i].value, r);
		if (!row[i].ok)
			continue;
		assert_int_equal(get_msr(vcpu, row[i].index, &value), 1);
		if (value != row[i].value)
			fail_msg("MSR %#x: %#llx is read as %#llx", row[i].index,
				 (unsigned long long)row[i].value, (unsigned long long)value);
	}
	api_close(vcpu);
}

/* The result counts those done before the first that fails. */
static void test_partial(void **state)
{
	int vcpu = fresh();
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[300];
	} *m = calloc(1, sizeof(*m));

	m->head.nmsrs = 3;
	m->e[0].index = 0x174;
	m->e[0].data = 8;
	m->e[1].index = 0x12345678;
	m->e[2].index = 0x277;
	assert_int_equal(api_ioctl(vcpu, KVM_SET_MSRS, m), 1);
	assert_int_equal(api_ioctl(vcpu, KVM_GET_MSRS, m), 1);
	assert_int_equal(m->e[0].data, 8);
	m->head.nmsrs = 256;
	api_fails(E2BIG, api_ioctl(vcpu, KVM_GET_MSRS, m));
	m->head.nmsrs = 0;
	assert_int_equal(api_ioctl(vcpu, KVM_GET_MSRS, m), 0);
	api_fails(EFAULT, api_ioctl(vcpu, KVM_GET_MSRS, api_bad()));
	free(m);
	api_close(vcpu);
}

static void test_tsc(void **state)
{
	int vcpu = fresh();
	uint64_t a, b;

	assert_int_equal(get_msr(vcpu, 0x10, &a), 1);
	usleep(1000);
	assert_int_equal(get_msr(vcpu, 0x10, &b), 1);
	assert_true(b > a);
	assert_int_equal(set_msr(vcpu, 0x10, 1ULL << 50), 1);
	assert_int_equal(get_msr(vcpu, 0x10, &b), 1);
	/* A kernel with an unstable TSC of its own makes something of it. */
	if (!api_real())
		assert_true(b >= 1ULL << 50 && b < (1ULL << 50) + (1ULL << 34));
	api_close(vcpu);
}

static void test_features(void **state)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 256 * 4);
	uint64_t value;

	list->nmsrs = 256;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_FEATURE_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (get_msr(api_sys(), list->indices[i], &value) != 1)
			fail_msg("feature MSR %#x cannot be read", list->indices[i]);
	if (!api_real())        /* newer kernels answer */
		assert_int_equal(get_msr(api_sys(), 0x10, &value), 0);
	free(list);
}

/* --- CPUID ------------------------------------------------------------------------------------- */

static void test_supported(void **state)
{
	struct kvm_cpuid_entry2 *e;

	load_cpuid();
	e = leaf(0, 0);
	assert_non_null(e);
	assert_true(e->eax >= 0xd);
	e = leaf(1, 0);
	assert_true(e->ecx & 1 << 21);          /* x2APIC */
	if (!api_real())        /* newer kernels say it here too */
		assert_false(e->ecx & 1 << 24); /* TSC deadline: KVM_CAP_TSC_DEADLINE_TIMER says it */
	assert_true(e->ecx & 1u << 31);
	assert_true(api_cap(api_sys(), KVM_CAP_TSC_DEADLINE_TIMER));
	e = leaf(0x40000000, 0);
	assert_non_null(e);
	assert_memory_equal(&e->ebx, "KVMK", 4);
	assert_true(leaf(0x40000001, 0)->eax & 1 << 3);
	e = leaf(0x80000008, 0);
	assert_true((e->eax & 0xff) >= 36);
	e = leaf(0xd, 0);
	assert_int_equal(e->eax & 3, 3);
	assert_true(e->ecx >= 576);
	cpuid.head.nent = 1;
	api_fails(E2BIG, api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &cpuid));
	cpuid.head.nent = 0;
	api_fails(E2BIG, api_ioctl(api_sys(), KVM_GET_SUPPORTED_CPUID, &cpuid));
	system_efault(KVM_GET_SUPPORTED_CPUID);
}

static void test_set_cpuid(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	struct kvm_cpuid_entry2 *e;

	load_cpuid();
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	e = leaf(0x80000008, 0);
	e->eax = (e->eax & ~0xff00u) | 50 << 8;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	cpuid.head.nent = 257;
	api_fails(E2BIG, api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	cpuid.head.nent = 1;
	api_fails(E2BIG, api_ioctl(vcpu, KVM_GET_CPUID2, &cpuid));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(vcpu, KVM_GET_CPUID2, &cpuid));
	assert_true(cpuid.head.nent > 10);
	api_close(vcpu);
	api_close(vm);
}

static void test_runtime_bits(void **state)
{
	int vcpu = fresh();
	struct kvm_sregs s;

	api_ok(api_ioctl(vcpu, KVM_GET_CPUID2, &cpuid));
	assert_false(leaf(1, 0)->ecx & 1 << 27);
	assert_true(leaf(1, 0)->edx & 1 << 9);
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 18;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
	cpuid.head.nent = 256;
	api_ok(api_ioctl(vcpu, KVM_GET_CPUID2, &cpuid));
	assert_true(leaf(1, 0)->ecx & 1 << 27);
	api_close(vcpu);
}

/* CPUID in a guest: ends with hlt; out is at 0x2000. */
static void test_instruction(void **state)
{
	/* mov eax,[0x2000]; mov ecx,[0x2004]; cpuid; mov [0x2000],eax; mov [0x2004],ebx; mov [0x2008],ecx; hlt */
	static const uint8_t code[] = {
		0x66, 0xa1, 0x00, 0x20, 0x66, 0x8b, 0x0e, 0x04, 0x20, 0x0f, 0xa2, 0x66, 0xa3, 0x00, 0x20,
		0x66, 0x89, 0x1e, 0x04, 0x20, 0x66, 0x89, 0x0e, 0x08, 0x20, 0xf4,
	};
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint8_t *mem = api_memory(0x10000);
	uint32_t *out = (uint32_t *)(mem + 0x2000);
	struct kvm_run *run = api_run_of(vcpu);

	load_cpuid();
	api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	api_real_mode(vcpu, mem, code, sizeof(code));
	out[0] = 0x40000000;
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
	assert_memory_equal(&out[1], "KVMKVMKV", 8);
	/* The model is fixed now: the same again, or nothing; newer kernels compare bits that change, too. */
	if (!api_real())
		api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	leaf(1, 0)->eax ^= 1;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	api_close(vcpu);
	api_close(vm);
}

/* Any width from 36 to 52 bits counts, and nonsense does no harm. */
static void test_maxphyaddr(void **state)
{
	if (api_real())         /* a kernel with EPT or NPT has the host's */
		skip();
	for (unsigned int bits = 0; bits < 256; bits++) {
		int vm = api_vm(), vcpu = api_vcpu(vm, 0);
		struct kvm_sregs s;

		load_cpuid();
		leaf(0x80000008, 0)->eax = (leaf(0x80000008, 0)->eax & ~0xffu) | bits;
		api_ok(api_ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
		api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
		s.cr0 |= 0x80000001;
		s.cr4 |= 1 << 5;
		s.efer |= 0x500;
		if (bits >= 36 && bits <= 52) {
			s.cr3 = 1ULL << bits;
			api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SREGS, &s));
			s.cr3 >>= 1;
		}
		api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
		assert_int_equal(set_msr(vcpu, 0x201, 1ULL << 53), 0);
		api_close(vcpu);
		api_close(vm);
	}
}

/* --- exits for MSRs ---------------------------------------------------------------------------------- */

static void test_user_msr(void **state)
{
	/* mov ecx,0x12345678; rdmsr; mov ebx,eax; inc eax; wrmsr; hlt */
	static const uint8_t code[] = { 0x66, 0xb9, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x32, 0x66, 0x89, 0xc3, 0x66, 0x40,
					0x0f, 0x30, 0xf4 };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { KVM_MSR_EXIT_REASON_UNKNOWN } };
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);
	uint8_t *mem = api_memory(0x10000);
	struct kvm_run *run = api_run_of(vcpu);
	struct kvm_regs r;

	api_ok(api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_ok(api_set_slot(vm, 0, 0, 0, 0x10000, mem));
	api_real_mode(vcpu, mem, code, sizeof(code));
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_X86_RDMSR);
	assert_int_equal(run->msr.index, 0x12345678);
	assert_int_equal(run->msr.reason, KVM_MSR_EXIT_REASON_UNKNOWN);
	run->msr.data = 0x100000077;
	run->msr.error = 0;
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_X86_WRMSR);
	assert_int_equal(run->msr.data, 0x100000078);
	run->msr.error = 0;
	api_ok(api_ioctl(vcpu, KVM_RUN, NULL));
	assert_int_equal(run->exit_reason, KVM_EXIT_HLT);
	api_ok(api_ioctl(vcpu, KVM_GET_REGS, &r));
	assert_int_equal(r.rbx, 0x77);
	cap.args[0] = 1 << 20;
	api_fails(EINVAL, api_ioctl(vm, KVM_ENABLE_CAP, &cap));
	api_close(vcpu);
	api_close(vm);
}

static void test_filter(void **state)
{
	int vm = api_vm();
	uint64_t bits = 0;
	struct kvm_msr_filter f = {
		.flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
		.ranges[0] = { .flags = KVM_MSR_FILTER_READ, .base = 0x174, .nmsrs = 3, .bitmap = (__u8 *)&bits },
	};

	api_ok(api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	f.ranges[0].flags = 4;
	api_fails(EINVAL, api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	f.ranges[0].flags = KVM_MSR_FILTER_READ;
	f.ranges[0].nmsrs = 0x600 * 8 + 1;
	api_fails(EINVAL, api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	f.ranges[0].nmsrs = 0;
	f.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	api_fails(EINVAL, api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	f.flags = 2;
	api_fails(EINVAL, api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	f.flags = 0;
	f.ranges[0].nmsrs = 3;
	f.ranges[0].bitmap = api_bad();
	api_fails(EFAULT, api_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f));
	api_close(vm);
}

/* --- the choice of a model, last since it is the process's --------------------------------------- */

static bool listed(uint32_t index)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 1024 * 4);
	bool found = false;

	list->nmsrs = 1024;
	api_ok(api_ioctl(api_sys(), KVM_GET_MSR_INDEX_LIST, list));
	for (uint32_t i = 0; i < list->nmsrs; i++)
		found |= list->indices[i] == index;
	free(list);
	return found;
}

/* Protection keys of supervisor pages: Intel's model has them. */
static void test_pkrs(void **state)
{
	struct kvm_sregs s;
	uint64_t value;
	int vcpu;

	if (!api_linked())      /* the model is this process's; and Linux 6.1 does not offer them */
		skip();
	assert_int_equal(anykvm_set_cpu("amd"), 0);
	vcpu = fresh();
	assert_false(leaf(7, 0)->ecx >> 31);
	assert_false(listed(0x6e1));
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 24;
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_SREGS, &s));
	api_close(vcpu);

	assert_int_equal(anykvm_set_cpu("intel"), 0);
	vcpu = fresh();
	assert_true(leaf(7, 0)->ecx >> 31);
	assert_true(listed(0x6e1));
	assert_int_equal(get_msr(vcpu, 0x6e1, &value), 1);
	assert_int_equal(value, 0);
	assert_int_equal(set_msr(vcpu, 0x6e1, 0xfffffffe), 1);
	assert_int_equal(set_msr(vcpu, 0x6e1, 1ULL << 32), 0);
	assert_int_equal(get_msr(vcpu, 0x6e1, &value), 1);
	assert_int_equal(value, 0xfffffffe);
	api_ok(api_ioctl(vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= 1 << 24;
	api_ok(api_ioctl(vcpu, KVM_SET_SREGS, &s));
	api_close(vcpu);
}

/* PKRU as KVM_SET_XSAVE leaves it counts from the next access on, also for a page that was just used. */
static void test_pkru_by_xsave(void **state)
{
	enum { PKE = 1 << 22, AD1 = 1 << 2 };
	struct kvm_xsave x;
	struct kvm_sregs s;
	struct guest g;

	if (!api_linked())      /* the model must be chosen */
		skip();
	assert_int_equal(anykvm_set_cpu("intel,+pku"), 0);
	/* 1: mov al,[0x3000]; out 0x10,al; jmp 1b */
	g = GUEST(false, 0x8a, 0x04, 0x25, 0x00, 0x30, 0, 0, 0xe6, 0x10, 0xeb, 0xf5);
	load_cpuid();
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, &cpuid));
	guest_long(&g);
	*(uint64_t *)(g.mem + GUEST_TABLES + 0x2000) |= 1ULL << 59;     /* user pages, key 1 */
	api_ok(api_ioctl(g.vcpu, KVM_GET_SREGS, &s));
	s.cr4 |= PKE;
	api_ok(api_ioctl(g.vcpu, KVM_SET_SREGS, &s));
	guest_port(&g, 0x10);
	guest_port(&g, 0x10);
	api_ok(api_ioctl(g.vcpu, KVM_GET_XSAVE, &x));
	x.region[512 / 4] |= 1 << 9;
	x.region[leaf(0xd, 9)->ebx / 4] = AD1;
	api_ok(api_ioctl(g.vcpu, KVM_SET_XSAVE, &x));
	guest_run(&g, KVM_EXIT_SHUTDOWN);       /* #PF, and no IDT */
	guest_end(&g);
	assert_int_equal(anykvm_set_cpu("intel"), 0);
}

/* How RDMSR and WRMSR of @index end in real mode: 0, or the exception. */
static unsigned int guest_access(uint32_t index, bool write, bool long_mode)
{
	/* mov ecx,index; xor eax,eax; xor edx,edx; rdmsr or wrmsr; out 0x10,al */
	struct guest g = GUEST(false, 0x66, 0xb9, (uint8_t)index, (uint8_t)(index >> 8), (uint8_t)(index >> 16),
			       (uint8_t)(index >> 24), 0x66, 0x31, 0xc0, 0x66, 0x31, 0xd2, 0x0f,
			       write ? 0x30 : 0x32, 0xe6, 0x10);
	unsigned int vector;

	load_cpuid();
	if (!long_mode)
		leaf(0x80000001, 0)->edx &= ~(1u << 29);
	api_ok(api_ioctl(g.vcpu, KVM_SET_CPUID2, &cpuid));
	VECTOR(&g, 13, 0x1800, 0xe6, 0x12);
	SET(&g, rsp, 0x8000);
	guest_run(&g, KVM_EXIT_IO);
	vector = g.run->io.port == 0x12 ? 13 : 0;
	guest_end(&g);
	return vector;
}

/* Registers that came with 64-bit mode are not there for a guest without it. */
static void test_64_bit_msrs(void **state)
{
	static const uint32_t index[] = {
		0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
	};

	if (api_real())         /* a kernel does not look */
		skip();
	for (unsigned int n = 0; n < sizeof(index) / sizeof(index[0]); n++)
		for (unsigned int write = 0; write < 2; write++) {
			assert_int_equal(guest_access(index[n], write, true), 0);
			assert_int_equal(guest_access(index[n], write, false), 13);
		}
	assert_int_equal(guest_access(0xc0000081, true, false), 0);     /* STAR came before */
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_index_list),
	cmocka_unit_test(test_save_restore),
	cmocka_unit_test(test_values),
	cmocka_unit_test(test_partial),
	cmocka_unit_test(test_tsc),
	cmocka_unit_test(test_features),
	cmocka_unit_test(test_supported),
	cmocka_unit_test(test_set_cpuid),
	cmocka_unit_test(test_runtime_bits),
	cmocka_unit_test(test_instruction),
	cmocka_unit_test(test_user_msr),
	cmocka_unit_test(test_filter),
	cmocka_unit_test(test_maxphyaddr),
	cmocka_unit_test(test_pkrs),
	cmocka_unit_test(test_pkru_by_xsave),
	cmocka_unit_test(test_64_bit_msrs),
};

API_MAIN(tests)
