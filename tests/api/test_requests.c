// SPDX-License-Identifier: MIT
/*
 * Every row of the tables of ioctls: what it says to pointers that are wrong, to an argument that ends where memory
 * ends, and to descriptors of another kind.  The rows are the library's own, so that a new one is tested as it comes;
 * a kernel is asked the same.
 */
#include "api.h"

#include "kvm/arch.h"
#include "kvm/ioctl.h"

#define KINDS 3

static const enum kvm_kind kinds[KINDS] = { KVM_SYSTEM, KVM_VM, KVM_VCPU };

struct world {
	int fd[KINDS];          /* as kinds[] */
};

static void make(struct world *w)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[256];
	} c;
	struct kvm_pit_config pit = { 0 };

	w->fd[0] = api_sys();
	w->fd[1] = api_vm();
	api_ok(api_ioctl(w->fd[1], KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(w->fd[1], KVM_CREATE_PIT2, &pit));
	w->fd[2] = api_vcpu(w->fd[1], 0);
	c.head.nent = 256;
	api_ok(api_ioctl(w->fd[0], KVM_GET_SUPPORTED_CPUID, &c));
	api_ok(api_ioctl(w->fd[2], KVM_SET_CPUID2, &c));
}

static void end(struct world *w)
{
	api_close(w->fd[2]);
	api_close(w->fd[1]);
}

static void for_each_row(struct world *w, void (*fn)(struct world *w, const struct kvm_ioctl_row *row, int kind))
{
	const struct kvm_ioctl_rows *tables[] = { &kvm_ioctl_rows_generic, &kvm_arch_x86.ioctls };
	unsigned int rows = 0;

	for (size_t t = 0; t < 2; t++)
		for (size_t i = 0; i < tables[t]->count; i++)
			for (int k = 0; k < KINDS; k++, rows++)
				fn(w, &tables[t]->row[i], k);
	assert_true(rows > 200);
}

/* Bytes that the request reads or writes before it looks at anything else; 0: its argument is no pointer. */
static size_t argument_size(const struct kvm_ioctl_row *row)
{
	if (row->request == (uint32_t)KVM_REINJECT_CONTROL)
		return sizeof(struct kvm_reinject_control);
	/* These three are answered without a look. */
	if (row->request == (uint32_t)KVM_TRACE_ENABLE || row->request == (uint32_t)KVM_TRACE_PAUSE ||
	    row->request == (uint32_t)KVM_TRACE_DISABLE)
		return 0;
	/* The mask follows its length. */
	if (row->request == (uint32_t)KVM_SET_SIGNAL_MASK)
		return sizeof(struct kvm_signal_mask);
	return _IOC_DIR(row->request) == _IOC_NONE ? 0 : _IOC_SIZE(row->request);
}

/* A request that only gives: it is refused for its pointer after all else is well. */
static bool gives_only(const struct kvm_ioctl_row *row)
{
	return row->flags & KVM_IOCTL_OUT || (!(row->flags & (KVM_IOCTL_IN | KVM_IOCTL_RAW)) &&
					       _IOC_DIR(row->request) == _IOC_READ);
}

/* Its state is asked before its pointer is: the vCPU is there. */
static bool asks_state_first(const struct kvm_ioctl_row *row)
{
	/* KVM_GET_NESTED_STATE reads how much room there is, and may find it too little. */
	return row->request == (uint32_t)KVM_SET_IDENTITY_MAP_ADDR || row->request == (uint32_t)KVM_GET_NESTED_STATE;
}

/* Of what a kernel may be built without, or its machine lack: refused before it is looked at. */
static bool is_optional(const struct kvm_ioctl_row *row)
{
	return row->request == (uint32_t)KVM_GET_NESTED_STATE || row->request == (uint32_t)KVM_SET_NESTED_STATE ||
	       row->request == (uint32_t)KVM_GET_SUPPORTED_HV_CPUID;
}

/* Not of every kernel, or gone from later ones. */
static bool missing(const struct kvm_ioctl_row *row, int r)
{
	return api_real() && r < 0 && (errno == ENOTTY || errno == ENXIO ||
				       (errno == EINVAL && (gives_only(row) || is_optional(row))) || (errno == EOPNOTSUPP));
}

static void expect_efault(int fd, const struct kvm_ioctl_row *row, void *arg, const char *what)
{
	int r = api_ioctl(fd, row->request, arg);

	if (missing(row, r))
		return;
	if (r != -1 || errno != EFAULT)
		fail_msg("%s with %s: %d, %s", row->name, what, r, r < 0 ? strerror(errno) : "");
}

static void wrong_pointers(struct world *w, const struct kvm_ioctl_row *row, int k)
{
	size_t size = argument_size(row);
	int fd = w->fd[k];

	if (!(row->kinds & kinds[k]) || !size || asks_state_first(row))
		return;
	expect_efault(fd, row, api_bad(), "memory that is not there");
	expect_efault(fd, row, (void *)8, "a small number");
	expect_efault(fd, row, (void *)~0UL, "the last byte");
	expect_efault(fd, row, (void *)0x8000000000000000UL, "the kernel's half");
	expect_efault(fd, row, (void *)0x4141414141414141UL, "no address at all");
	expect_efault(fd, row, (void *)(0x7ffffffff000UL - 1), "the end of user space");
	expect_efault(fd, row, api_edge(size - 1), "a byte too few");
	if (row->request != (uint32_t)KVM_SET_SIGNAL_MASK)
		expect_efault(fd, row, NULL, "NULL");
	if (gives_only(row))
		expect_efault(fd, row, api_readonly(), "memory to be read only");
}

static void test_wrong_pointers(void **state)
{
	struct world w;

	make(&w);
	for_each_row(&w, wrong_pointers);
	end(&w);
}

/* What makes a request go no further than to its argument. */
static void fill(const struct kvm_ioctl_row *row, uint8_t *arg, size_t size)
{
	memset(arg, 0, size);
	if (size == sizeof(struct kvm_device_attr) && strstr(row->name, "DEVICE_ATTR"))
		((struct kvm_device_attr *)arg)->attr = 77;
	if (row->request == (uint32_t)KVM_IRQFD || row->request == (uint32_t)KVM_IOEVENTFD)
		memset(arg, 0xff, size);
}

/* The argument is the last thing in memory: not one byte more is touched. */
static void last_in_memory(struct world *w, const struct kvm_ioctl_row *row, int k)
{
	size_t size = argument_size(row);
	uint8_t *arg;
	int r;

	if (!(row->kinds & kinds[k]) || !size || size > PAGE)
		return;
	arg = api_edge(size);
	fill(row, arg, size);
	r = api_ioctl(w->fd[k], row->request, arg);
	if (r < 0 && errno == EFAULT)
		fail_msg("%s reaches beyond its argument", row->name);
}

static void test_last_in_memory(void **state)
{
	struct world w;

	make(&w);
	for_each_row(&w, last_in_memory);
	end(&w);
}

static bool known(uint32_t request, int k)
{
	return kvm_ioctl_find(request, kinds[k]) != NULL;
}

/* Linux 6.1 says EINVAL on the device and on a vCPU; some later kernels say ENOTTY. */
static void other_kind(struct world *w, const struct kvm_ioctl_row *row, int k)
{
	int r;

	if (known(row->request, k))
		return;
	r = api_ioctl(w->fd[k], row->request, api_bad());
	if (api_real() && r < 0 && (errno == ENOTTY || errno == EINVAL))
		return;
	/* Later kernels have more of them. */
	if (api_real() && r < 0 && errno == EFAULT)
		return;
	if (r != -1 || errno != (k == 1 ? ENOTTY : EINVAL))
		fail_msg("%s on kind %d: %d, %s", row->name, k, r, strerror(errno));
}

static void test_other_kinds(void **state)
{
	struct world w;

	make(&w);
	for_each_row(&w, other_kind);
	end(&w);
}

/* What is refused because of the state is refused whatever the pointer is. */
static void test_state_first(void **state)
{
	int vm = api_vm(), vcpu = api_vcpu(vm, 0);

	api_fails(EINVAL, api_ioctl(vcpu, KVM_GET_LAPIC, api_bad()));
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_LAPIC, api_bad()));
	api_fails(EINVAL, api_ioctl(vcpu, KVM_SET_VAPIC_ADDR, api_bad()));
	api_fails(EINVAL, api_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, api_bad()));
	api_fails(ENXIO, api_ioctl(vm, KVM_GET_PIT2, api_bad()));
	/* And these look at the argument first. */
	api_fails(EFAULT, api_ioctl(vm, KVM_GET_PIT, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_SET_PIT, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_SET_PIT2, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_GET_IRQCHIP, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_SET_IRQCHIP, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_IRQ_LINE, api_bad()));
	api_fails(EFAULT, api_ioctl(vm, KVM_SET_GSI_ROUTING, api_bad()));
	api_close(vcpu);
	api_close(vm);
}

/* A list of @n elements behind a header of @head bytes, whose first word is @n: it ends where memory ends. */
static void *list(size_t head, uint32_t n, size_t size)
{
	uint8_t *p = api_edge(head + n * size);

	memset(p, 0, head + n * size);
	memcpy(p, &n, sizeof(n));
	return p;
}

/* The same, with @more said than there is. */
static void *cut(size_t head, uint32_t n, size_t size, uint32_t more)
{
	void *p = list(head, n, size);

	memcpy(p, &(uint32_t){ n + more }, sizeof(n));
	return p;
}

/* Lists: what the header promises has to be there, and no more is touched. */
static void test_lists(void **state)
{
	const size_t entry = sizeof(struct kvm_cpuid_entry2), old = sizeof(struct kvm_cpuid_entry);
	const size_t msr = sizeof(struct kvm_msr_entry);
	struct kvm_msr_list *indices;
	struct world w;
	uint32_t n;

	make(&w);
	n = 256;
	/* What is handed out is as long as it is, however much room there is. */
	while (n && !api_ioctl(w.fd[0], KVM_GET_SUPPORTED_CPUID, list(8, n, entry)))
		n--;
	assert_int_equal(errno, E2BIG);
	n++;
	api_ok(api_ioctl(w.fd[0], KVM_GET_SUPPORTED_CPUID, list(8, n, entry)));
	api_fails(EFAULT, api_ioctl(w.fd[0], KVM_GET_SUPPORTED_CPUID, cut(8, n - 1, entry, 1)));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_GET_CPUID2, cut(8, 2, entry, 200)));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_SET_CPUID2, cut(8, 2, entry, 1)));
	api_ok(api_ioctl(w.fd[2], KVM_SET_CPUID2, list(8, 2, entry)));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_SET_CPUID, cut(8, 2, old, 1)));
	api_ok(api_ioctl(w.fd[2], KVM_SET_CPUID, list(8, 2, old)));
	/* Registers. */
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_GET_MSRS, cut(8, 3, msr, 1)));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_SET_MSRS, cut(8, 3, msr, 1)));
	api_fails(EFAULT, api_ioctl(w.fd[0], KVM_GET_MSRS, cut(8, 3, msr, 1)));
	api_fails(E2BIG, api_ioctl(w.fd[2], KVM_SET_MSRS, cut(8, 3, msr, 1000)));
	api_fails(E2BIG, api_ioctl(w.fd[0], KVM_GET_MSRS, cut(8, 3, msr, 1000)));
	assert_true(api_ioctl(w.fd[2], KVM_SET_MSRS, list(8, 3, msr)) >= 0);
	/* Their numbers. */
	indices = list(4, 0, 4);
	api_fails(E2BIG, api_ioctl(w.fd[0], KVM_GET_MSR_INDEX_LIST, indices));
	n = indices->nmsrs;
	api_ok(api_ioctl(w.fd[0], KVM_GET_MSR_INDEX_LIST, list(4, n, 4)));
	api_fails(EFAULT, api_ioctl(w.fd[0], KVM_GET_MSR_INDEX_LIST, cut(4, n - 1, 4, 1)));
	indices = list(4, 0, 4);
	api_fails(E2BIG, api_ioctl(w.fd[0], KVM_GET_MSR_FEATURE_INDEX_LIST, indices));
	n = indices->nmsrs;
	api_ok(api_ioctl(w.fd[0], KVM_GET_MSR_FEATURE_INDEX_LIST, list(4, n, 4)));
	api_fails(EFAULT, api_ioctl(w.fd[0], KVM_GET_MSR_FEATURE_INDEX_LIST, cut(4, n - 1, 4, 1)));
	/* Routes: the header is eight bytes, the entries are looked at after all are there. */
	api_fails(EFAULT, api_ioctl(w.fd[1], KVM_SET_GSI_ROUTING, cut(8, 2, sizeof(struct kvm_irq_routing_entry), 1)));
	api_fails(EINVAL, api_ioctl(w.fd[1], KVM_SET_GSI_ROUTING, list(8, 2, sizeof(struct kvm_irq_routing_entry))));
	end(&w);
}

/* Memory of the client that can be read only is good enough for what is only read. */
static void test_readonly_arguments(void **state)
{
	struct world w;

	make(&w);
	/* All zeroes: refused for what they say, if at all. */
	api_fails(EINVAL, api_ioctl(w.fd[1], KVM_SET_USER_MEMORY_REGION, api_readonly()));
	api_ok(api_ioctl(w.fd[1], KVM_SET_GSI_ROUTING, api_readonly()));
	api_ok(api_ioctl(w.fd[1], KVM_SET_CLOCK, api_readonly()));
	api_ok(api_ioctl(w.fd[1], KVM_IRQ_LINE, api_readonly()));
	api_ok(api_ioctl(w.fd[2], KVM_SET_REGS, api_readonly()));
	api_ok(api_ioctl(w.fd[2], KVM_SET_DEBUGREGS, api_readonly()));
	api_ok(api_ioctl(w.fd[2], KVM_SET_GUEST_DEBUG, api_readonly()));
	assert_int_equal(api_ioctl(w.fd[2], KVM_SET_MSRS, api_readonly()), 0);
	/* And these write their answer there. */
	api_fails(EFAULT, api_ioctl(w.fd[1], KVM_IRQ_LINE_STATUS, api_readonly()));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_TRANSLATE, api_readonly()));
	api_fails(EFAULT, api_ioctl(w.fd[2], KVM_TPR_ACCESS_REPORTING, api_readonly()));
	api_fails(EFAULT, api_ioctl(w.fd[1], KVM_GET_IRQCHIP, api_readonly()));
	end(&w);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_wrong_pointers),
	cmocka_unit_test(test_last_in_memory),
	cmocka_unit_test(test_other_kinds),
	cmocka_unit_test(test_state_first),
	cmocka_unit_test(test_lists),
	cmocka_unit_test(test_readonly_arguments),
};

API_MAIN(tests)
