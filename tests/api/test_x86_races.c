// SPDX-License-Identifier: MIT
/*
 * Everything at once: vCPUs run, are kicked and asked, while other threads
 * change slots, routes, eventfds and clocks, and the client closes the VM
 * under them.  Nothing may hang, crash or be lost; ThreadSanitizer has more to
 * say here than the assertions.
 */
#include "api.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#define VCPUS 2
#define ROUND_US 250000
#define PATIENCE_US 20000000

struct world {
	int vm, vcpu[VCPUS];
	struct kvm_run *run[VCPUS];
	uint8_t *mem, *extra;
	_Atomic bool stop;
	_Atomic int live;       /* runners in KVM_RUN's loop */
	_Atomic unsigned int exits, interrupts;
};

struct runner {
	struct world *w;
	int index;
	pthread_t thread;
};

static void on_signal(int sig)
{
}

/* The end of a round: descriptors may be closed already. */
static bool over(const struct world *w, int r)
{
	return atomic_load(&w->stop) || (r < 0 && (errno == EBADF || errno == ENOTTY));
}

static void *runner_main(void *arg)
{
	struct runner *r = arg;
	struct world *w = r->w;

	atomic_fetch_add(&w->live, 1);
	while (!atomic_load(&w->stop)) {
		int e = api_ioctl(w->vcpu[r->index], KVM_RUN, NULL);

		if (e < 0 && errno != EINTR && errno != EAGAIN && errno != EFAULT) {
			printf("# KVM_RUN: %s\n", strerror(errno));
			break;
		}
		if (!e && w->run[r->index]->exit_reason == KVM_EXIT_IO && w->run[r->index]->io.port == 0x99)
			atomic_fetch_add(&w->interrupts, 1);
		atomic_fetch_add(&w->exits, 1);
	}
	atomic_fetch_sub(&w->live, 1);
	return NULL;
}

static int irqfd(int vm, int fd, uint32_t gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd a = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = flags, .resamplefd = (uint32_t)resample,
	};

	return api_ioctl(vm, KVM_IRQFD, &a);
}

static void *irqfd_main(void *arg)
{
	struct world *w = arg;
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK), r = eventfd(0, EFD_NONBLOCK);
	int e = 0;

	while (!over(w, e)) {
		e = irqfd(w->vm, a, 3, 0, 0);
		irqfd(w->vm, b, 10, KVM_IRQFD_FLAG_RESAMPLE, r);
		for (int i = 0; i < 3; i++) {
			eventfd_write(a, 1);
			eventfd_write(b, 1);
		}
		irqfd(w->vm, b, 10, KVM_IRQFD_FLAG_DEASSIGN, 0);
		irqfd(w->vm, a, 3, KVM_IRQFD_FLAG_DEASSIGN, 0);
	}
	close(a);
	close(b);
	close(r);
	return NULL;
}

static void *slots_main(void *arg)
{
	struct world *w = arg;
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = w->extra };
	int e = 0;

	for (unsigned int n = 0; !over(w, e); n++) {
		e = api_set_slot(w->vm, 1, n % 2 ? KVM_MEM_READONLY : 0, 0x100000, PAGE, w->extra + PAGE);
		api_set_slot(w->vm, 0, n % 4 ? KVM_MEM_LOG_DIRTY_PAGES : 0, 0, 0x10000, w->mem);
		api_ioctl(w->vm, KVM_GET_DIRTY_LOG, &log);
		api_set_slot(w->vm, 1, 0, 0, 0, NULL);
	}
	return NULL;
}

static void *bus_main(void *arg)
{
	struct world *w = arg;
	struct kvm_coalesced_mmio_zone zone = { .addr = 0x80000, .size = 16 };
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[2];
	} routes = {
		{ .nr = 2 }, {
			{ .gsi = 0, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { KVM_IRQCHIP_PIC_MASTER, 0 } },
			{ .gsi = 3, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { KVM_IRQCHIP_PIC_MASTER, 3 } },
		},
	};
	int fd = eventfd(0, EFD_NONBLOCK), e = 0;
	struct kvm_ioeventfd io = { .addr = 0x98, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO };

	while (!over(w, e)) {
		io.flags &= ~(uint32_t)KVM_IOEVENTFD_FLAG_DEASSIGN;
		e = api_ioctl(w->vm, KVM_IOEVENTFD, &io);
		api_ioctl(w->vm, KVM_REGISTER_COALESCED_MMIO, &zone);
		api_ioctl(w->vm, KVM_SET_GSI_ROUTING, &routes);
		io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
		api_ioctl(w->vm, KVM_IOEVENTFD, &io);
		api_ioctl(w->vm, KVM_UNREGISTER_COALESCED_MMIO, &zone);
	}
	close(fd);
	return NULL;
}

static void *chips_main(void *arg)
{
	struct world *w = arg;
	struct kvm_irqchip chip;
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock = { 0 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = 0x40 };
	int e = 0;

	for (unsigned int n = 0; !over(w, e); n++) {
		struct kvm_irq_level line = { .irq = 4, .level = n & 1 };
		int stats;

		chip.chip_id = n % 3;
		e = api_ioctl(w->vm, KVM_GET_IRQCHIP, &chip);
		if (e < 0)
			continue;
		if (n % 8 == 0)
			api_ioctl(w->vm, KVM_SET_IRQCHIP, &chip);
		if (!api_ioctl(w->vm, KVM_GET_PIT2, &pit) && n % 16 == 0)
			api_ioctl(w->vm, KVM_SET_PIT2, &pit);
		api_ioctl(w->vm, KVM_GET_CLOCK, &clock);
		clock.flags = 0;
		api_ioctl(w->vm, KVM_SET_CLOCK, &clock);
		api_ioctl(w->vm, KVM_IRQ_LINE, &line);
		api_ioctl(w->vm, KVM_SIGNAL_MSI, &msi);
		stats = api_ioctl(w->vm, KVM_GET_STATS_FD, NULL);
		if (stats >= 0)
			api_close(stats);
	}
	return NULL;
}

static void *vcpu_main(void *arg)
{
	struct world *w = arg;
	struct kvm_regs regs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	int e = 0;

	for (unsigned int n = 0; !over(w, e); n++) {
		int vcpu = w->vcpu[n % VCPUS];

		e = api_ioctl(vcpu, KVM_GET_REGS, &regs);
		api_ioctl(vcpu, KVM_GET_LAPIC, &lapic);
		api_ioctl(vcpu, KVM_GET_VCPU_EVENTS, &events);
		usleep(200);
	}
	return NULL;
}

/* sti; L: out 0x98,al; mov [0x8000],ax; inc word [0x3000]; hlt; jmp L */
static const uint8_t code[] = { 0xfb, 0xe6, 0x98, 0xa3, 0x00, 0x80, 0xff, 0x06, 0x00, 0x30, 0xf4, 0xeb, 0xf4 };
/* push ax; out 0x99,al; mov al,0x20; out 0x20,al; out 0xa0,al; pop ax; iret */
static const uint8_t handler[] = { 0x50, 0xe6, 0x99, 0xb0, 0x20, 0xe6, 0x20, 0xe6, 0xa0, 0x58, 0xcf };

static void make(struct world *w)
{
	struct kvm_pit_config pit = { 0 };
	struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };

	memset(w, 0, sizeof(*w));
	w->vm = api_vm();
	api_ok(api_ioctl(w->vm, KVM_CREATE_IRQCHIP, NULL));
	api_ok(api_ioctl(w->vm, KVM_CREATE_PIT2, &pit));
	w->mem = api_memory(0x10000);
	w->extra = api_memory(2 * PAGE);
	api_ok(api_set_slot(w->vm, 0, 0, 0, 0x10000, w->mem));
	memcpy(w->mem + 0x1800, handler, sizeof(handler));
	for (int i = 0; i < 256; i++)
		*(uint32_t *)(w->mem + 4 * i) = 0x1800;
	for (int i = 0; i < VCPUS; i++) {
		struct kvm_regs regs;

		w->vcpu[i] = api_vcpu(w->vm, (unsigned int)i);
		w->run[i] = api_run_of(w->vcpu[i]);
		api_real_mode(w->vcpu[i], w->mem, code, sizeof(code));
		api_ok(api_ioctl(w->vcpu[i], KVM_GET_REGS, &regs));
		regs.rsp = 0x6000 + 0x1000 * (unsigned int)i;
		api_ok(api_ioctl(w->vcpu[i], KVM_SET_REGS, &regs));
		api_ok(api_ioctl(w->vcpu[i], KVM_SET_MP_STATE, &runnable));
	}
}

static void kick(struct world *w, struct runner *r)
{
	for (int i = 0; i < VCPUS; i++)
		if (atomic_load(&w->live))
			pthread_kill(r[i].thread, SIGUSR1);
	usleep(500);
}

static bool enough(struct world *w)
{
	return atomic_load(&w->exits) > 10 && atomic_load(&w->interrupts) > 0;
}

static void one_round(bool close_first)
{
	static void *(*const mains[])(void *) = { irqfd_main, slots_main, bus_main, chips_main, vcpu_main };
	pthread_t others[sizeof(mains) / sizeof(mains[0])];
	struct runner r[VCPUS];
	struct world w;
	int vm;

	make(&w);
	vm = w.vm;
	for (int i = 0; i < VCPUS; i++) {
		r[i] = (struct runner){ .w = &w, .index = i };
		assert_int_equal(pthread_create(&r[i].thread, NULL, runner_main, &r[i]), 0);
	}
	for (size_t i = 0; i < sizeof(mains) / sizeof(mains[0]); i++)
		assert_int_equal(pthread_create(&others[i], NULL, mains[i], &w), 0);
	for (int us = 0; us < ROUND_US; us += 500)
		kick(&w, r);
	/* A slow engine on a busy machine is given time, without being kicked. */
	for (int us = 0; us < PATIENCE_US && !enough(&w); us += 500)
		usleep(500);
	assert_int_equal(atomic_load(&w.live), VCPUS);
	if (close_first)
		api_close(vm);
	atomic_store(&w.stop, true);
	while (atomic_load(&w.live))
		kick(&w, r);
	for (int i = 0; i < VCPUS; i++)
		pthread_join(r[i].thread, NULL);
	for (size_t i = 0; i < sizeof(mains) / sizeof(mains[0]); i++)
		pthread_join(others[i], NULL);
	assert_true(enough(&w));
	for (int i = 0; i < VCPUS; i++)
		api_close(w.vcpu[i]);
	if (!close_first)
		api_close(vm);
	for (int i = 0; i < VCPUS; i++)
		munmap(w.run[i], 3 * PAGE);
	munmap(w.mem, 0x10000);
	munmap(w.extra, 2 * PAGE);
}

static void test_everything(void **state)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < 4; i++)
		one_round(i & 1);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_everything),
};

API_MAIN(tests)
