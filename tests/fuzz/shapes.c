/* SPDX-License-Identifier: MIT */
/* Arguments that may well be accepted: each request that wants more than noise has a row. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "anykvm.h"
#include "fuzz.h"
#include "kvm/arch.h"

struct shape {
	unsigned long request;
	void (*fill)(struct fuzz_world *w, void *arg);
	unsigned long get;      /* what it sets is read by this; a few bytes of that are changed */
};

static uint64_t guest_address(void)
{
	return one_in(8) ? number() : below(2 * ARENA_PAGES) * PAGE + (one_in(2) ? 0 : below(PAGE));
}

static void memory_region(struct fuzz_world *w, void *arg)
{
	struct kvm_userspace_memory_region *m = arg;

	m->slot = one_in(8) ? (uint32_t)below(1 << 17) : (uint32_t)below(4);
	m->flags = (uint32_t)below(4);
	m->guest_phys_addr = (one_in(16) ? number() : below(ARENA_PAGES)) & ~(PAGE - 1);
	m->memory_size = one_in(4) ? 0 : below(ARENA_PAGES) * PAGE;
	m->userspace_addr = (uintptr_t)w->arena + below(ARENA_PAGES) * PAGE;
}

static void dirty_log(struct fuzz_world *w, void *arg)
{
	struct kvm_dirty_log *log = arg;

	log->slot = (uint32_t)below(4);
	log->dirty_bitmap = (char *)arg + PAGE;
}

static void clear_log(struct fuzz_world *w, void *arg)
{
	struct kvm_clear_dirty_log *log = arg;

	log->slot = (uint32_t)below(4);
	log->num_pages = (uint32_t)(one_in(4) ? number() : 64 * below(2));
	log->first_page = one_in(4) ? number() : 0;
	log->dirty_bitmap = (char *)arg + PAGE;
}

static void range(struct fuzz_world *w, void *arg)
{
	struct kvm_pre_fault_memory *m = arg;

	m->gpa = one_in(8) ? number() : below(ARENA_PAGES) * PAGE;
	m->size = one_in(8) ? number() : below(ARENA_PAGES) * PAGE;
	m->flags = one_in(8);
}

static void zone(struct fuzz_world *w, void *arg)
{
	struct kvm_coalesced_mmio_zone *z = arg;

	z->addr = guest_address();
	z->size = (uint32_t)below(2 * PAGE);
	z->pio = (uint32_t)below(2);
}

static void ioeventfd(struct fuzz_world *w, void *arg)
{
	struct kvm_ioeventfd *e = arg;

	e->addr = one_in(2) ? below(256) : guest_address();
	e->len = 1u << below(4) & ~(one_in(4) ? ~0u : 0);
	e->fd = pick(w->event);
	e->flags = (uint32_t)below(8);
	e->datamatch = below(4);
}

static void irqfd(struct fuzz_world *w, void *arg)
{
	struct kvm_irqfd *e = arg;

	e->fd = (uint32_t)(one_in(8) ? w->vm : pick(w->event));
	e->gsi = (uint32_t)below(30);
	e->flags = (uint32_t)below(4);
	e->resamplefd = (uint32_t)pick(w->event);
}

static void msi(struct fuzz_world *w, void *arg)
{
	struct kvm_msi *m = arg;

	m->address_lo = 0xfee00000 | (uint32_t)(rnd() & 0xff00c);
	m->data = (uint32_t)(rnd() & 0xc7ff);
	m->flags = 0;
}

static void line(struct fuzz_world *w, void *arg)
{
	struct kvm_irq_level *l = arg;

	l->irq = (uint32_t)below(26);
	l->level = (uint32_t)below(2);
}

/* Few connections, so that many are taken. */
static void connection(struct fuzz_world *w, void *arg)
{
	struct kvm_hyperv_eventfd *e = arg;

	memset(e, 0, sizeof(*e));
	e->conn_id = one_in(8) ? (uint32_t)number() : (uint32_t)below(4);
	e->fd = one_in(8) ? (int)number() : pick(w->event);
	e->flags = one_in(16) ? (uint32_t)number() : (uint32_t)below(2);
}

static void one_route(struct kvm_irq_routing_entry *e)
{
	e->gsi = (uint32_t)below(40);
	e->type = one_in(4) ? KVM_IRQ_ROUTING_HV_SINT : 1 + (uint32_t)below(2);
	if (e->type == KVM_IRQ_ROUTING_HV_SINT) {
		e->u.hv_sint.vcpu = (uint32_t)below(4);
		e->u.hv_sint.sint = (uint32_t)below(18);
	} else if (e->type == KVM_IRQ_ROUTING_IRQCHIP) {
		e->u.irqchip.irqchip = (uint32_t)below(3);
		e->u.irqchip.pin = (uint32_t)below(e->u.irqchip.irqchip == 2 ? 24 : 8);
	} else {
		e->u.msi.address_lo = 0xfee00000 | (uint32_t)(rnd() & 0xff00c);
		e->u.msi.data = (uint32_t)(rnd() & 0xc7ff);
	}
}

static void routing(struct fuzz_world *w, void *arg)
{
	struct kvm_irq_routing *r = arg;

	memset(r, 0, PAGE);
	r->nr = one_in(16) ? (uint32_t)number() : (uint32_t)below(40);
	for (unsigned int i = 0; i < 40; i++)
		one_route(&r->entries[i]);
}

static void enable_cap(struct fuzz_world *w, void *arg)
{
	struct kvm_enable_cap *c = arg;

	memset(c, 0, sizeof(*c));
	c->cap = (uint32_t)below(230);
	c->args[0] = one_in(3) ? number() : below(8);
	c->args[1] = one_in(3) ? number() : 0;
}

static const uint32_t msr_ranges[] = {
	0, 0x10, 0x1b, 0x3a, 0x48, 0x8b, 0xc0, 0xfe, 0x11e, 0x174, 0x179, 0x186, 0x1a0, 0x1d9, 0x200, 0x250, 0x268,
	0x277, 0x2ff, 0x309, 0x345, 0x38d, 0x400, 0x480, 0x4c1, 0x600, 0x6e0, 0x800, 0xda0, 0x40000000, 0x40000010, 0x40000020, 0x40000070,
	0x40000080, 0x40000090, 0x400000b0, 0x400000f0, 0x40000100, 0x4b564d00,
	0xc0000080, 0xc0000100, 0xc0010000, 0xc0010110, 0xc0010200, 0xc001100a, 0xc0011020, 0xc0000300,
};

static void msrs(struct fuzz_world *w, void *arg)
{
	struct kvm_msrs *m = arg;

	m->nmsrs = one_in(16) ? (uint32_t)number() : 1 + (uint32_t)below(8);
	m->pad = 0;
	for (unsigned int i = 0; i < 8; i++)
		m->entries[i] = (struct kvm_msr_entry){ .index = pick(msr_ranges) + (uint32_t)below(20), .data = number() };
}

static void list_of(struct fuzz_world *w, void *arg)
{
	*(uint32_t *)arg = (uint32_t)(one_in(4) ? number() : below(400));
}

static void msr_filter(struct fuzz_world *w, void *arg)
{
	struct kvm_msr_filter *f = arg;

	memset(f, 0, sizeof(*f));
	f->flags = (uint32_t)below(2);
	for (unsigned int i = 0; i < below(KVM_MSR_FILTER_MAX_RANGES + 1); i++)
		f->ranges[i] = (struct kvm_msr_filter_range){
			.flags = 1 + (uint32_t)below(3),
			.nmsrs = (uint32_t)(one_in(4) ? number() : 1 + below(512)),
			.base = pick(msr_ranges),
			.bitmap = one_in(16) ? (uint8_t *)number() : (uint8_t *)arg + PAGE,
		};
}

static void pmu_filter(struct fuzz_world *w, void *arg)
{
	struct kvm_pmu_event_filter *f = arg;

	memset(f, 0, sizeof(*f));
	f->action = (uint32_t)below(2);
	f->nevents = (uint32_t)(one_in(8) ? number() : below(30));
	f->fixed_counter_bitmap = (uint32_t)below(8);
}

static void attribute(struct fuzz_world *w, void *arg)
{
	struct kvm_device_attr *a = arg;

	a->flags = 0;
	a->group = (uint32_t)below(2);
	a->attr = below(3);
	a->addr = (uintptr_t)arg + PAGE;
}

static void signal_mask(struct fuzz_world *w, void *arg)
{
	((struct kvm_signal_mask *)arg)->len = one_in(8) ? (uint32_t)number() : 8;
}

static void guest_debug(struct fuzz_world *w, void *arg)
{
	struct kvm_guest_debug *d = arg;

	memset(d, 0, sizeof(*d));
	d->control = (uint32_t)below(2) | (uint32_t)below(2) << 1 | (uint32_t)below(4) << 16 | (uint32_t)below(8) << 18;
	d->arch.debugreg[0] = guest_address();
	d->arch.debugreg[7] = 0x400 | below(256) | below(16) << 16;
}

static void chip(struct fuzz_world *w, void *arg)
{
	((struct kvm_irqchip *)arg)->chip_id = (uint32_t)below(3);
}

static void address(struct fuzz_world *w, void *arg)
{
	*(uint64_t *)arg = guest_address();
}

static void small(struct fuzz_world *w, void *arg)
{
	*(uint32_t *)arg = (uint32_t)below(one_in(2) ? 8 : 256);
}

static void nested_state(struct fuzz_world *w, void *arg)
{
	struct kvm_nested_state *s = arg;

	memset(s, 0, sizeof(*s));
	s->flags = (uint16_t)below(16) | (one_in(2) ? KVM_STATE_NESTED_GIF_SET : 0);
	s->format = w->amd ? KVM_STATE_NESTED_FORMAT_SVM : KVM_STATE_NESTED_FORMAT_VMX;
	s->size = one_in(8) ? (uint32_t)number() : (uint32_t)(sizeof(*s) + below(3) * PAGE);
	s->hdr.vmx.vmxon_pa = below(64) * PAGE;         /* SVM's vmcb_pa */
	s->hdr.vmx.vmcs12_pa = below(64) * PAGE;
}

static void mce_setup(struct fuzz_world *w, void *arg)
{
	*(uint64_t *)arg = 0x01000100 | below(33);
}

static const struct shape shapes[] = {
	{ KVM_SET_USER_MEMORY_REGION, memory_region, 0 },
	{ KVM_GET_DIRTY_LOG, dirty_log, 0 },
	{ KVM_CLEAR_DIRTY_LOG, clear_log, 0 },
	{ KVM_PRE_FAULT_MEMORY, range, 0 },
	{ KVM_REGISTER_COALESCED_MMIO, zone, 0 },
	{ KVM_UNREGISTER_COALESCED_MMIO, zone, 0 },
	{ KVM_IOEVENTFD, ioeventfd, 0 },
	{ KVM_IRQFD, irqfd, 0 },
	{ KVM_HYPERV_EVENTFD, connection, 0 },
	{ KVM_SIGNAL_MSI, msi, 0 },
	{ KVM_IRQ_LINE, line, 0 },
	{ KVM_IRQ_LINE_STATUS, line, 0 },
	{ KVM_SET_GSI_ROUTING, routing, 0 },
	{ KVM_ENABLE_CAP, enable_cap, 0 },
	{ KVM_GET_MSRS, msrs, 0 },
	{ KVM_SET_MSRS, msrs, 0 },
	{ KVM_GET_SUPPORTED_CPUID, list_of, 0 },
	{ KVM_GET_EMULATED_CPUID, list_of, 0 },
	{ KVM_GET_SUPPORTED_HV_CPUID, list_of, 0 },
	{ KVM_GET_MSR_INDEX_LIST, list_of, 0 },
	{ KVM_GET_MSR_FEATURE_INDEX_LIST, list_of, 0 },
	{ KVM_GET_CPUID2, list_of, 0 },
	{ KVM_SET_CPUID2, list_of, KVM_GET_CPUID2 },
	{ KVM_X86_SET_MSR_FILTER, msr_filter, 0 },
	{ KVM_SET_PMU_EVENT_FILTER, pmu_filter, 0 },
	{ KVM_SET_DEVICE_ATTR, attribute, 0 },
	{ KVM_GET_DEVICE_ATTR, attribute, 0 },
	{ KVM_HAS_DEVICE_ATTR, attribute, 0 },
	{ KVM_SET_SIGNAL_MASK, signal_mask, 0 },
	{ KVM_SET_GUEST_DEBUG, guest_debug, 0 },
	{ KVM_GET_IRQCHIP, chip, 0 },
	{ KVM_SET_IRQCHIP, chip, KVM_GET_IRQCHIP },
	{ KVM_SET_PIT, NULL, KVM_GET_PIT },
	{ KVM_SET_PIT2, NULL, KVM_GET_PIT2 },
	{ KVM_SET_CLOCK, NULL, KVM_GET_CLOCK },
	{ KVM_SET_REGS, NULL, KVM_GET_REGS },
	{ KVM_SET_SREGS, NULL, KVM_GET_SREGS },
	{ KVM_SET_SREGS2, NULL, KVM_GET_SREGS2 },
	{ KVM_SET_FPU, NULL, KVM_GET_FPU },
	{ KVM_SET_XSAVE, NULL, KVM_GET_XSAVE },
	{ KVM_SET_XCRS, NULL, KVM_GET_XCRS },
	{ KVM_SET_DEBUGREGS, NULL, KVM_GET_DEBUGREGS },
	{ KVM_GET_NESTED_STATE, nested_state, 0 },
	{ KVM_SET_NESTED_STATE, nested_state, KVM_GET_NESTED_STATE },
	{ KVM_SET_VCPU_EVENTS, NULL, KVM_GET_VCPU_EVENTS },
	{ KVM_SET_LAPIC, NULL, KVM_GET_LAPIC },
	{ KVM_SET_MP_STATE, small, 0 },
	{ KVM_INTERRUPT, small, 0 },
	{ KVM_TRANSLATE, address, 0 },
	{ KVM_SET_VAPIC_ADDR, address, 0 },
	{ KVM_SET_IDENTITY_MAP_ADDR, address, 0 },
	{ KVM_CREATE_PIT2, small, 0 },
	{ KVM_TPR_ACCESS_REPORTING, small, 0 },
	{ KVM_REINJECT_CONTROL, small, 0 },
	{ KVM_X86_SETUP_MCE, mce_setup, 0 },
};

static const struct shape *find(uint32_t request)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		if ((uint32_t)shapes[i].request == request)
			return &shapes[i];
	return NULL;
}

/* What is there, but for a few values. */
static void change(char *arg, size_t size)
{
	for (unsigned int n = (unsigned int)below(4); n && size >= 8; n--) {
		size_t at = below(size / 8) * 8;

		if (one_in(2))
			*(uint64_t *)(arg + at) = number();
		else
			arg[at + below(8)] = (char)number();
	}
}

void shape(struct fuzz_world *w, int fd, const struct kvm_ioctl_row *row, void *arg)
{
	const struct shape *s = find(row->request);

	memset(arg, 0, PAGE);
	if (s && s->fill)
		s->fill(w, arg);
	if (!s || !s->get)
		return;
	tame(w, (uint32_t)s->get, arg);
	fuzz_ioctl(fd, s->get, arg);
	/* A request that takes a list has its size in its first number. */
	change(arg, one_in(4) ? PAGE : _IOC_SIZE(row->request));
}

static void tame_region(struct fuzz_world *w, struct kvm_userspace_memory_region *m)
{
	uint64_t at = m->userspace_addr - (uintptr_t)w->arena;

	if (at >= ARENA)
		m->userspace_addr = (uintptr_t)w->arena + (at & (ARENA - 1));
	at = m->userspace_addr - (uintptr_t)w->arena;
	if (m->memory_size > w->arena_size - at && m->memory_size < 1UL << 44)
		m->memory_size &= ARENA - 1;
	/* Where memory is scarce huge ones are rare. */
	if (m->memory_size > ARENA && !one_in(64))
		m->memory_size &= ARENA - 1;
}

void tame(struct fuzz_world *w, uint32_t request, void *arg)
{
	/* A mask that lets no kick through is a vCPU that nobody stops. */
	if (request == (uint32_t)KVM_SET_SIGNAL_MASK)
		((struct kvm_signal_mask *)arg)->sigset[(SIGUSR1 - 1) / 8] &= (uint8_t)~(1u << (SIGUSR1 - 1) % 8);
	/* The second's fields begin like the first's. */
	if (request == (uint32_t)KVM_SET_USER_MEMORY_REGION || request == (uint32_t)KVM_SET_USER_MEMORY_REGION2)
		tame_region(w, arg);
	if (request == (uint32_t)KVM_GET_DIRTY_LOG)
		((struct kvm_dirty_log *)arg)->dirty_bitmap = (char *)arg + PAGE;
	if (request == (uint32_t)KVM_GET_DEVICE_ATTR)
		((struct kvm_device_attr *)arg)->addr = (uintptr_t)arg + PAGE;
}

/* --- errors --- */

/* Of every request: a pointer, a value, a descriptor that is none or of another kind, a VM of another process. */
static const int common[] = { EFAULT, EINVAL, EBADF, ENOTTY, EIO, ENOMEM };

static const struct {
	unsigned long request;
	int err[5];
} allowed[] = {
	{ KVM_RUN, { EINTR, EAGAIN } },
	{ KVM_PRE_FAULT_MEMORY, { ENOENT, EINTR } },
	{ KVM_CREATE_VCPU, { EEXIST, EMFILE } },
	{ KVM_CREATE_VM, { EMFILE } },
	{ KVM_GET_STATS_FD, { EMFILE } },
	{ KVM_CREATE_DEVICE, { ENODEV } },
	{ KVM_TRACE_ENABLE, { EOPNOTSUPP } },
	{ KVM_TRACE_PAUSE, { EOPNOTSUPP } },
	{ KVM_TRACE_DISABLE, { EOPNOTSUPP } },
	{ KVM_SET_USER_MEMORY_REGION, { EEXIST } },
	{ KVM_SET_USER_MEMORY_REGION2, { EEXIST } },
	{ KVM_GET_DIRTY_LOG, { ENOENT, ENXIO } },
	{ KVM_CLEAR_DIRTY_LOG, { ENOENT, ENXIO } },
	{ KVM_ENABLE_CAP, { EEXIST, EPERM, E2BIG } },
	{ KVM_IRQFD, { EBUSY } },
	{ KVM_HYPERV_EVENTFD, { EEXIST, ENOENT, EMFILE } },
	{ KVM_IOEVENTFD, { EEXIST, ENOENT, ENOSPC } },
	{ KVM_REGISTER_COALESCED_MMIO, { ENOSPC } },
	{ KVM_SIGNAL_MSI, { EPERM } },      /* the kernel's bare -1: nobody takes it */
	{ KVM_IRQ_LINE, { ENXIO } },
	{ KVM_IRQ_LINE_STATUS, { ENXIO } },
	{ KVM_CREATE_IRQCHIP, { EEXIST } },
	{ KVM_GET_IRQCHIP, { ENXIO } },
	{ KVM_SET_IRQCHIP, { ENXIO } },
	{ KVM_CREATE_PIT, { EEXIST, ENOENT } },
	{ KVM_CREATE_PIT2, { EEXIST, ENOENT } },
	{ KVM_GET_PIT, { ENXIO } },
	{ KVM_SET_PIT, { ENXIO } },
	{ KVM_GET_PIT2, { ENXIO } },
	{ KVM_SET_PIT2, { ENXIO } },
	{ KVM_REINJECT_CONTROL, { ENXIO } },
	{ KVM_INTERRUPT, { EEXIST, ENXIO } },
	{ KVM_SET_GUEST_DEBUG, { EBUSY } },
	{ KVM_GET_SUPPORTED_CPUID, { E2BIG } },
	{ KVM_GET_EMULATED_CPUID, { E2BIG } },
	{ KVM_GET_SUPPORTED_HV_CPUID, { E2BIG } },
	{ KVM_GET_CPUID2, { E2BIG } },
	{ KVM_SET_CPUID, { E2BIG } },
	{ KVM_SET_CPUID2, { E2BIG } },
	{ KVM_GET_MSR_INDEX_LIST, { E2BIG } },
	{ KVM_GET_MSR_FEATURE_INDEX_LIST, { E2BIG } },
	{ KVM_GET_MSRS, { E2BIG } },
	{ KVM_GET_NESTED_STATE, { E2BIG } },
	{ KVM_SET_MSRS, { E2BIG } },
	{ KVM_SET_PMU_EVENT_FILTER, { E2BIG } },
	{ KVM_SET_DEVICE_ATTR, { ENXIO } },
	{ KVM_GET_DEVICE_ATTR, { ENXIO } },
	{ KVM_HAS_DEVICE_ATTR, { ENXIO } },
	{ KVM_SET_BOOT_CPU_ID, { EBUSY } },
};

bool error_allowed(uint32_t request, int err)
{
	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		if (common[i] == err)
			return true;
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		for (unsigned int k = 0; k < 5 && (uint32_t)allowed[i].request == request; k++)
			if (allowed[i].err[k] == err)
				return true;
	return false;
}
