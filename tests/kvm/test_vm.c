/* SPDX-License-Identifier: MIT */
/* src/kvm alone: waiting for vCPUs, waking them, interrupts, the life of a VM; many threads at once. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "anykvm.h"
#include "fake_arch.h"
#include "kvm/object.h"

#define PAGE 4096UL
#define VCPUS 3

struct rig {
	int sys, vm_fd, vcpu_fd[VCPUS];
	struct vm *vm;
	struct vcpu *vcpu[VCPUS];
	pthread_t thread[VCPUS];
	_Atomic bool stop;
};

static void on_signal(int sig)
{
}

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts))
		;
}

/* The object behind a descriptor; it lives as long as the descriptor. */
static struct kvm_object *object(int fd)
{
	struct kvm_object *obj = kvm_object_get(fd, 0);

	assert_non_null(obj);
	kvm_object_put(obj);
	return obj;
}

static void rig_up(struct rig *r)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &act, NULL);
	atomic_store(&r->stop, false);
	r->sys = anykvm_open(O_RDWR);
	r->vm_fd = anykvm_ioctl(r->sys, KVM_CREATE_VM, 0);
	assert_true(r->vm_fd >= 0);
	r->vm = container_of(object(r->vm_fd), struct vm, obj);
	for (unsigned long i = 0; i < VCPUS; i++) {
		r->vcpu_fd[i] = anykvm_ioctl(r->vm_fd, KVM_CREATE_VCPU, (void *)i);
		assert_true(r->vcpu_fd[i] >= 0);
		r->vcpu[i] = container_of(object(r->vcpu_fd[i]), struct vcpu, obj);
	}
}

static void rig_down(struct rig *r)
{
	for (int i = 0; i < VCPUS; i++)
		assert_int_equal(anykvm_close(r->vcpu_fd[i]), 0);
	assert_int_equal(anykvm_close(r->vm_fd), 0);
	assert_int_equal(anykvm_close(r->sys), 0);
}

struct job {
	struct rig *r;
	int n;
};

static void *run_main(void *arg)
{
	struct job *j = arg;
	struct rig *r = j->r;
	int fd = r->vcpu_fd[j->n];

	free(j);
	while (!atomic_load(&r->stop)) {
		if (anykvm_ioctl(fd, KVM_RUN, 0) < 0 && errno != EINTR)
			return (void *)(long)errno;
	}
	return NULL;
}

static void start(struct rig *r, enum fake_guest guest)
{
	for (int i = 0; i < VCPUS; i++) {
		struct job *j = malloc(sizeof(*j));

		*j = (struct job){ r, i };
		atomic_store(&fake_of(r->vcpu[i])->guest, guest);
		assert_int_equal(pthread_create(&r->thread[i], NULL, run_main, j), 0);
	}
}

static void stop(struct rig *r)
{
	void *result;

	atomic_store(&r->stop, true);
	for (int i = 0; i < VCPUS; i++) {
		/* A signal between two runs is lost, as with a kernel's KVM without immediate_exit. */
		__atomic_store_n(&r->vcpu[i]->run->immediate_exit, 1, __ATOMIC_RELAXED);
		pthread_kill(r->thread[i], SIGUSR1);
		pthread_join(r->thread[i], &result);
		assert_ptr_equal(result, NULL);
	}
}

static int set_slot(struct rig *r, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva)
{
	struct kvm_userspace_memory_region m = { slot, flags, gpa, size, (uintptr_t)hva };

	return anykvm_ioctl(r->vm_fd, KVM_SET_USER_MEMORY_REGION, &m);
}

/* A slot's memory is unmapped at once after the slot is gone: a vCPU that still used it would crash the program. */
static void slots_under_load(void **state)
{
	struct rig r;
	char *base;

	rig_up(&r);
	base = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	start(&r, FAKE_COUNT);
	for (int i = 0; i < 500; i++) {
		void *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		assert_int_equal(set_slot(&r, 1, 0, 0, 4 * PAGE, p), 0);
		if (i % 16 == 0)
			sleep_ms(1);
		assert_int_equal(set_slot(&r, 1, KVM_MEM_LOG_DIRTY_PAGES, 0, 4 * PAGE, p), 0);
		assert_int_equal(set_slot(&r, 1, 0, 0, 0, NULL), 0);
		assert_int_equal(munmap(p, 4 * PAGE), 0);
	}
	stop(&r);
	assert_true(atomic_load(&fake_of(r.vcpu[0])->syncs) > 0);
	munmap(base, 4 * PAGE);
	rig_down(&r);
}

static void dirty_under_load(void **state)
{
	struct rig r;
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t bits;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bits };

	rig_up(&r);
	assert_int_equal(set_slot(&r, 1, KVM_MEM_LOG_DIRTY_PAGES, 0, 4 * PAGE, p), 0);
	start(&r, FAKE_COUNT);
	for (int i = 0; i < 200; i++) {
		uint64_t *word = (uint64_t *)(p + 3 * PAGE), before = __atomic_load_n(word, __ATOMIC_RELAXED);

		while (__atomic_load_n(word, __ATOMIC_RELAXED) == before)
			sched_yield();
		assert_int_equal(anykvm_ioctl(r.vm_fd, KVM_GET_DIRTY_LOG, &log), 0);
		assert_int_equal(bits, 8);
	}
	stop(&r);
	assert_true(atomic_load(&fake_of(r.vcpu[0])->dirties) > 0);
	munmap(p, 4 * PAGE);
	rig_down(&r);
}

static void halted_vcpus_wake(void **state)
{
	struct rig r;

	rig_up(&r);
	start(&r, FAKE_HALT);
	for (int i = 0; i < 3000; i++) {
		struct vcpu *v = r.vcpu[i % VCPUS];
		uint64_t before = atomic_load(&fake_of(v)->taken);
		int patience = 20000000;

		atomic_fetch_add(&fake_of(v)->events, 1);
		kvm_vcpu_wake(v);
		while (atomic_load(&fake_of(v)->taken) == before && --patience)
			sched_yield();
		assert_true(patience > 0);
	}
	/* Slots change without waking anybody who sleeps. */
	assert_int_equal(set_slot(&r, 1, 0, 0, PAGE, (void *)PAGE), 0);
	assert_int_equal(set_slot(&r, 1, 0, 0, 0, NULL), 0);
	stop(&r);
	rig_down(&r);
}

/* --- interrupts --- */

static void set_route(struct rig *r, uint32_t gsi)
{
	struct kvm_irq_routing *rt = calloc(1, sizeof(*rt) + 2 * sizeof(rt->entries[0]));

	rt->nr = 2;
	rt->entries[0] = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
							 .u.irqchip = { KVM_IRQCHIP_IOAPIC, gsi } };
	rt->entries[1] = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
							 .u.irqchip = { KVM_IRQCHIP_PIC_MASTER, gsi } };
	assert_int_equal(anykvm_ioctl(r->vm_fd, KVM_SET_GSI_ROUTING, rt), 0);
	free(rt);
}

static int irqfd(struct rig *r, int fd, uint32_t gsi, uint32_t flags, int resample)
{
	struct kvm_irqfd f = { (uint32_t)fd, gsi, flags, (uint32_t)resample, { 0 } };

	return anykvm_ioctl(r->vm_fd, KVM_IRQFD, &f);
}

static void wait_for(_Atomic int *what, int value)
{
	for (int i = 0; i < 2000 && atomic_load(what) != value; i++)
		sleep_ms(1);
	assert_int_equal(atomic_load(what), value);
}

static void irqfds(void **state)
{
	struct rig r;
	struct fake_vm *f;
	int a = eventfd(0, 0), b = eventfd(0, 0), ra = eventfd(0, EFD_NONBLOCK), rb = eventfd(0, EFD_NONBLOCK);
	eventfd_t v;

	rig_up(&r);
	f = fake_vm_of(r.vm);
	set_route(&r, 5);
	assert_int_equal(irqfd(&r, a, 5, 0, 0), 0);
	for (int i = 1; i <= 20; i++) {
		eventfd_write(a, 1);
		/* Two pins, raised and lowered. */
		wait_for(&f->raised[5], 2 * i);
		wait_for(&f->level[5], 0);
	}
	assert_int_equal(irqfd(&r, a, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	/* Two level triggered sources of one GSI. */
	assert_int_equal(irqfd(&r, a, 5, KVM_IRQFD_FLAG_RESAMPLE, ra), 0);
	assert_int_equal(irqfd(&r, b, 5, KVM_IRQFD_FLAG_RESAMPLE, rb), 0);
	assert_true(kvm_irq_has_ack(r.vm, KVM_IRQCHIP_IOAPIC, 5));
	assert_false(kvm_irq_has_ack(r.vm, KVM_IRQCHIP_IOAPIC, 6));
	eventfd_write(a, 1);
	wait_for(&f->level[5], 1);
	assert_int_equal(eventfd_read(ra, &v), -1);
	kvm_irq_acked(r.vm, KVM_IRQCHIP_IOAPIC, 6);
	assert_int_equal(atomic_load(&f->level[5]), 1);
	kvm_irq_acked(r.vm, KVM_IRQCHIP_IOAPIC, 5);
	assert_int_equal(atomic_load(&f->level[5]), 0);
	assert_int_equal(eventfd_read(ra, &v), 0);
	assert_int_equal(eventfd_read(rb, &v), 0);
	/* The last of them lowers the line when it goes. */
	eventfd_write(b, 1);
	wait_for(&f->level[5], 1);
	assert_int_equal(irqfd(&r, a, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	assert_int_equal(atomic_load(&f->level[5]), 1);
	assert_int_equal(irqfd(&r, b, 5, KVM_IRQFD_FLAG_DEASSIGN, 0), 0);
	assert_int_equal(atomic_load(&f->level[5]), 0);
	assert_false(kvm_irq_has_ack(r.vm, KVM_IRQCHIP_IOAPIC, 5));
	/* Left assigned at the VM's end. */
	assert_int_equal(irqfd(&r, a, 5, KVM_IRQFD_FLAG_RESAMPLE, ra), 0);
	rig_down(&r);
	close(a);
	close(b);
	close(ra);
	close(rb);
}

static void routes(void **state)
{
	struct kvm_irq_routing_entry e[KVM_ROUTES_PER_GSI];
	struct rig r;

	rig_up(&r);
	assert_int_equal(kvm_set_irq(r.vm, KVM_IRQ_SOURCE_USER, 7, 1, false), -1);
	set_route(&r, 7);
	assert_int_equal(kvm_routes_of(r.vm, 7, e), 2);
	assert_int_equal(kvm_routes_of(r.vm, 6, e), 0);
	assert_int_equal(kvm_routes_of(r.vm, 8, e), 0);
	assert_int_equal(kvm_routes_of(r.vm, 0xffffffff, e), 0);
	assert_int_equal(kvm_irq_gsi_of(r.vm, KVM_IRQCHIP_IOAPIC, 7), 7);
	assert_int_equal(kvm_irq_gsi_of(r.vm, KVM_IRQCHIP_IOAPIC, 8), -1);
	assert_int_equal(kvm_set_irq(r.vm, KVM_IRQ_SOURCE_USER, 7, 1, false), 2);
	rig_down(&r);
}

static void guest_memory(void **state)
{
	struct rig r;
	char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), buf[16] = "";
	uint64_t bits;
	struct kvm_dirty_log log = { .slot = 1, .dirty_bitmap = &bits };

	rig_up(&r);
	assert_int_equal(set_slot(&r, 1, KVM_MEM_LOG_DIRTY_PAGES, PAGE, 2 * PAGE, p), 0);
	assert_int_equal(set_slot(&r, 2, KVM_MEM_READONLY, 3 * PAGE, PAGE, p + 2 * PAGE), 0);
	assert_int_equal(kvm_vm_write_guest(r.vm, 2 * PAGE - 4, "12345678", 8), 0);
	assert_memory_equal(p + PAGE - 4, "12345678", 8);
	assert_int_equal(kvm_vm_read_guest(r.vm, 2 * PAGE - 4, buf, 8), 0);
	assert_memory_equal(buf, "12345678", 8);
	assert_int_equal(anykvm_ioctl(r.vm_fd, KVM_GET_DIRTY_LOG, &log), 0);
	assert_int_equal(bits, 3);
	assert_int_equal(kvm_vm_write_guest(r.vm, 3 * PAGE, "x", 1), -EFAULT);
	assert_int_equal(kvm_vm_read_guest(r.vm, 3 * PAGE, buf, 1), 0);
	assert_int_equal(kvm_vm_read_guest(r.vm, 4 * PAGE, buf, 1), -EFAULT);
	assert_int_equal(kvm_vm_read_guest(r.vm, 4 * PAGE - 1, buf, 2), -EFAULT);
	assert_int_equal(kvm_vm_read_guest(r.vm, ~0UL, buf, 2), -EFAULT);
	munmap(p, 4 * PAGE);
	assert_int_equal(kvm_vm_read_guest(r.vm, PAGE, buf, 1), -EFAULT);
	rig_down(&r);
}

/* Threads create and close VMs and ask for each other's descriptors. */
static void *churn(void *arg)
{
	int sys = *(int *)arg;

	for (int i = 0; i < 200; i++) {
		int vm = anykvm_ioctl(sys, KVM_CREATE_VM, 0), vcpu;

		if (vm < 0)
			return "vm";
		vcpu = anykvm_ioctl(vm, KVM_CREATE_VCPU, 0);
		if (vcpu < 0)
			return "vcpu";
		anykvm_owns(vm + 1);
		anykvm_close(vm);
		if (anykvm_ioctl(vcpu, KVM_RUN, 0))
			return "run";
		anykvm_close(vcpu);
	}
	return NULL;
}

static void objects_under_load(void **state)
{
	int sys = anykvm_open(O_RDWR);
	pthread_t t[4];
	void *result;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, churn, &sys);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &result);
		if (result)
			fail_msg("%s", (char *)result);
	}
	anykvm_close(sys);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_under_load),
		cmocka_unit_test(dirty_under_load),
		cmocka_unit_test(halted_vcpus_wake),
		cmocka_unit_test(irqfds),
		cmocka_unit_test(routes),
		cmocka_unit_test(guest_memory),
		cmocka_unit_test(objects_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
