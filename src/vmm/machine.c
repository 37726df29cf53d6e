/* SPDX-License-Identifier: MIT */
/*
 * machine.c - puts the machine together.
 *
 * Each part has a row in the table of parts: how it is made, and how it is
 * unmade.  They are made from top to bottom, and whatever was made is unmade
 * from bottom to top, on every way out.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "anykvm.h"
#include "vmm/acpi/acpi.h"
#include "vmm/boot/boot.h"
#include "vmm/boot/layout.h"
#include "vmm/dev/ports.h"
#include "vmm/dev/power.h"
#include "vmm/dev/rtc.h"
#include "vmm/dev/serial.h"
#include "vmm/devices.h"
#include "vmm/irq.h"
#include "vmm/platform.h"
#include "vmm/stats.h"
#include "vmm/terminal.h"
#include "vmm/vcpu.h"

#define VCPU_STOP_MS 3000u

struct machine {
	const struct machine_config *cfg;
	struct vmm_err *err;
	struct platform pf;
	struct run_ctl ctl;
	sigset_t old_mask;
	struct loop_source signals;
	struct boot_entry entry;
	struct terminal term;
	struct log_console log; /* behind the serial port of a machine with a virtio console */
	struct serial serial;
	struct irq_line serial_irq, rtc_irq;
	struct rtc rtc;
	struct power power;
	struct devices devices;
	struct vcpu *vcpus;
	unsigned int vcpu_count;
	bool stuck; /* a vCPU did not come out of KVM_RUN: nothing that it uses may go */
};

static int fail(struct machine *m, int err, const char *what)
{
	return vmm_fail(m->err, -err, "%s: %s", what, strerror(-err));
}

/* Signals */

static void on_signal(void *opaque, uint32_t events)
{
	struct machine *m = opaque;
	struct signalfd_siginfo si;

	if (read(m->signals.fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGWINCH)
		terminal_resized(&m->term);
	else if (si.ssi_signo == SIGCONT)
		terminal_continued(&m->term);
	else
		run_end(&m->ctl, END_USER, si.ssi_signo, NULL);
}

/* What our parent had us ignore stays ignored (nohup); a descriptor would hear it all the same. */
static bool is_ignored(int sig)
{
	struct sigaction sa;

	return !sigaction(sig, NULL, &sa) && sa.sa_handler == SIG_IGN;
}

static int make_loop(struct machine *m)
{
	static const int handled[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT };
	sigset_t set;
	int err = loop_init(&m->pf.loop);

	if (err)
		return fail(m, err, "event loop");
	run_ctl_init(&m->ctl, &m->pf.loop);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		if (!is_ignored(handled[i]))
			sigaddset(&set, handled[i]);
	/* Before any thread starts, so that all inherit it and only the descriptor hears them. */
	pthread_sigmask(SIG_BLOCK, &set, &m->old_mask);
	/* Both are told as errors of write(). */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	vcpu_kick_init();
	m->signals = (struct loop_source){ .fn = on_signal, .opaque = m };
	m->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	err = m->signals.fd < 0 ? -errno : loop_add(&m->pf.loop, &m->signals, EPOLLIN);
	if (!err)
		return 0;
	if (m->signals.fd >= 0)
		close(m->signals.fd);
	loop_fini(&m->pf.loop);
	return fail(m, err, "signals");
}

static void unmake_loop(struct machine *m)
{
	loop_del(&m->pf.loop, &m->signals);
	close(m->signals.fd);
	loop_fini(&m->pf.loop);
	pthread_sigmask(SIG_SETMASK, &m->old_mask, NULL);
}

/* Memory, with the kernel in it */

static int make_memory(struct machine *m)
{
	int err = guest_mem_init(&m->pf.mem, m->cfg->memory);

	if (err)
		return vmm_fail(m->err, -err, "memory: cannot get %llu MiB: %s: give less with -m",
				(unsigned long long)m->cfg->memory >> 20, strerror(-err));
	return 0;
}

static void unmake_memory(struct machine *m)
{
	guest_mem_fini(&m->pf.mem);
}

static int make_boot(struct machine *m)
{
	struct boot_opts opts = { .kernel = m->cfg->kernel, .initrd = m->cfg->initrd, .rsdp = BOOT_ACPI };
	char *cmdline = machine_cmdline(m->cfg->console, m->cfg->params);
	int err;

	if (!cmdline)
		return fail(m, -ENOMEM, "kernel parameters");
	opts.cmdline = cmdline;
	if (m->cfg->verbose)
		fprintf(stderr, "anykvm: kernel parameters: %s\n", cmdline);
	err = boot_load(&m->pf.mem, &opts, &m->entry, m->err);
	free(cmdline);
	return err;
}

/* KVM */

static int open_kvm(struct machine *m)
{
	struct kvm_vm *vm = &m->pf.vm;
	int version;

	if (m->cfg->cpu && vm->ops != &kvm_ops_soft)
		return vmm_fail(m->err, EINVAL,
				"--cpu %s: works with --accel soft only: the host's KVM has its own CPU",
				m->cfg->cpu);
	if (m->cfg->hyperv_nested && vm->ops != &kvm_ops_soft)
		return vmm_fail(m->err, EINVAL, "--hyperv nested: works with --accel soft only");
	if (anykvm_set_parameters(m->cfg->hyperv_nested ? "anykvm.hyperv_nested=Y" : "anykvm.hyperv_nested=N"))
		return vmm_fail(m->err, errno, "--hyperv nested: %s", strerror(errno));
	/* Chosen in any case: who does not choose is offered what an unsuspecting client can take. */
	if (vm->ops == &kvm_ops_soft && anykvm_set_cpu(m->cfg->cpu ? m->cfg->cpu : "host"))
		return vmm_fail(m->err, errno,
				"--cpu %s: unknown CPU or feature: give intel or amd, then ,+feature or "
				"-feature as /proc/cpuinfo spells them",
				m->cfg->cpu);
	vm->sys_fd = vm->ops->open(O_RDWR | O_CLOEXEC);
	if (vm->sys_fd < 0)
		return vmm_fail(m->err, errno, "%s: cannot open: %s%s",
				vm->ops == &kvm_ops_host ? "/dev/kvm" : "the KVM of this process",
				strerror(errno), vm->ops == &kvm_ops_host ? ": try --accel soft" : "");
	version = sys_ioctl(vm, KVM_GET_API_VERSION, NULL);
	if (version == KVM_API_VERSION)
		return 0;
	vm->ops->close(vm->sys_fd);
	return vmm_fail(m->err, ENOTSUP, "/dev/kvm: KVM API version %d, not %d", version, KVM_API_VERSION);
}

static int set_up_vm(struct machine *m)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity = KVM_IDENTITY_PAGE;
	struct kvm_vm *vm = &m->pf.vm;
	int err;

	err = vm_ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (!err)
		err = vm_ioctl(vm, KVM_SET_TSS_ADDR, (void *)(uintptr_t)KVM_TSS_PAGES);
	if (!err)
		err = vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL);
	if (!err)
		err = vm_ioctl(vm, KVM_CREATE_PIT2, &pit);
	for (unsigned int i = 0; i < m->pf.mem.count && !err; i++) {
		const struct guest_region *r = &m->pf.mem.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i, .guest_phys_addr = r->gpa, .memory_size = r->len,
			.userspace_addr = (uintptr_t)r->hva,
		};

		err = vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
	}
	return err;
}

static int make_vm(struct machine *m)
{
	struct kvm_vm *vm = &m->pf.vm;
	int err;

	vm->ops = m->cfg->accel;
	err = open_kvm(m);
	if (err)
		return err;
	vm->vm_fd = sys_ioctl(vm, KVM_CREATE_VM, NULL);
	if (vm->vm_fd < 0) {
		vm->ops->close(vm->sys_fd);
		return fail(m, vm->vm_fd, "KVM: cannot create a VM");
	}
	stats_show(vm, vm->vm_fd);
	err = set_up_vm(m);
	if (!err)
		return 0;
	vm->ops->close(vm->vm_fd);
	vm->ops->close(vm->sys_fd);
	return fail(m, err, "KVM: cannot set up the VM");
}

static void unmake_vm(struct machine *m)
{
	m->pf.vm.ops->close(m->pf.vm.vm_fd);
	m->pf.vm.ops->close(m->pf.vm.sys_fd);
}

/* Devices */

static void drive_irq(void *opaque, bool high)
{
	irq_line_set(opaque, high);
}

static int make_terminal(struct machine *m)
{
	int err = terminal_init(&m->term, &m->pf.loop, &m->ctl);

	return err ? fail(m, err, "terminal") : 0;
}

static void unmake_terminal(struct machine *m)
{
	terminal_fini(&m->term);
}

static int make_serial(struct machine *m)
{
	struct chardev *cd = &m->term.cd;
	int err;

	if (m->cfg->console == CONSOLE_VIRTIO) {
		log_console_init(&m->log, m->cfg->verbose ? STDERR_FILENO : -1);
		cd = &m->log.cd;
	}
	irq_line_init(&m->serial_irq, &m->pf.vm, IRQ_COM1);
	err = serial_init(&m->serial, &m->pf.bus, PORT_COM1, cd, drive_irq, &m->serial_irq);
	return err ? fail(m, err, "serial port") : 0;
}

static void unmake_serial(struct machine *m)
{
	serial_fini(&m->serial);
}

static int make_rtc(struct machine *m)
{
	int err;

	irq_line_init(&m->rtc_irq, &m->pf.vm, IRQ_RTC);
	err = rtc_init(&m->rtc, &m->pf.bus, &m->pf.loop, drive_irq, &m->rtc_irq);
	return err ? fail(m, err, "clock") : 0;
}

static void unmake_rtc(struct machine *m)
{
	rtc_fini(&m->rtc);
}

static int make_power(struct machine *m)
{
	int err = power_init(&m->power, &m->pf.bus, &m->ctl);

	return err ? fail(m, err, "power management") : 0;
}

static int make_devices(struct machine *m)
{
	return devices_create(&m->devices, &m->pf, m->cfg, &m->term.cd, m->err);
}

static void unmake_devices(struct machine *m)
{
	devices_destroy(&m->devices);
}

static int make_acpi(struct machine *m)
{
	struct acpi_opts opts = { .cpus = m->cfg->cpus, .virtio_slots = m->pf.virtio_slots };
	int err = acpi_build(guest_mem_ptr(&m->pf.mem, BOOT_ACPI, BOOT_ACPI_MAX), BOOT_ACPI_MAX, BOOT_ACPI,
			     &opts);

	return err ? fail(m, err, "ACPI tables") : 0;
}

/* vCPUs */

static void unmake_vcpus(struct machine *m)
{
	while (m->vcpu_count)
		vcpu_destroy(&m->vcpus[--m->vcpu_count]);
	free(m->vcpus);
}

static int check_cpus(struct machine *m)
{
	int max = vm_ioctl(&m->pf.vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);

	if (max > 0 && m->cfg->cpus > (unsigned int)max)
		return vmm_fail(m->err, EINVAL, "-c %u: too many vCPUs: this KVM has at most %d",
				m->cfg->cpus, max);
	return 0;
}

static int make_vcpus(struct machine *m)
{
	int err = check_cpus(m);

	if (err)
		return err;
	m->vcpus = calloc(m->cfg->cpus, sizeof(*m->vcpus));
	if (!m->vcpus)
		return fail(m, -ENOMEM, "vCPUs");
	for (unsigned int i = 0; i < m->cfg->cpus && !err; i++) {
		err = vcpu_create(&m->vcpus[i], &m->pf, &m->ctl, i, m->cfg->cpus, m->err);
		m->vcpu_count += !err;
	}
	if (!err)
		err = vcpu_boot_state(&m->vcpus[0], &m->entry, m->err);
	if (err)
		unmake_vcpus(m);
	return err;
}

static const struct part {
	int (*make)(struct machine *m);
	void (*unmake)(struct machine *m); /* NULL: nothing to undo */
} parts[] = {
	{ make_loop, unmake_loop },
	{ make_memory, unmake_memory },
	{ make_boot, NULL },
	{ make_vm, unmake_vm },
	{ make_terminal, unmake_terminal },
	{ make_serial, unmake_serial },
	{ make_rtc, unmake_rtc },
	{ make_power, NULL },
	{ make_devices, unmake_devices },
	{ make_acpi, NULL },
	{ make_vcpus, unmake_vcpus },
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void stop_vcpus(struct machine *m)
{
	loop_quit(&m->pf.loop);
	devices_quit(&m->devices);
	/* One that waits for room in the console's output must come out, too. */
	terminal_release(&m->term);
	for (unsigned int i = 0; i < m->vcpu_count; i++)
		if (vcpu_stop(&m->vcpus[i], VCPU_STOP_MS))
			m->stuck = true;
}

/* For whoever wonders where a guest was when it was ended. */
static void say_where(const struct machine *m)
{
	for (unsigned int i = 0; i < m->vcpu_count; i++) {
		struct kvm_regs regs;

		if (!vcpu_ioctl(&m->vcpus[i], KVM_GET_REGS, &regs))
			fprintf(stderr, "anykvm: vCPU %u was at rip %#llx\n", i, (unsigned long long)regs.rip);
	}
}

static int run(struct machine *m)
{
	int err = terminal_start(&m->term);

	if (err)
		return fail(m, err, "terminal");
	for (unsigned int i = 0; i < m->vcpu_count && !err; i++)
		err = vcpu_start(&m->vcpus[i], m->err);
	if (!err)
		err = loop_run(&m->pf.loop);
	stop_vcpus(m);
	if (m->cfg->verbose && m->ctl.end == END_USER && !m->stuck)
		say_where(m);
	if (!err && m->cfg->stats && !m->stuck)
		err = stats_write(m->cfg->stats, &m->pf.vm, m->vcpus, m->vcpu_count, m->err);
	return err;
}

static void report(const struct machine *m, struct machine_result *res)
{
	res->end = m->ctl.end;
	res->code = m->ctl.code;
	memcpy(res->detail, m->ctl.detail, sizeof(res->detail));
}

int machine_run(const struct machine_config *cfg, struct machine_result *res, struct vmm_err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	size_t made = 0;
	int r = 0;

	memset(res, 0, sizeof(*res));
	err->msg[0] = 0;
	if (!m)
		return vmm_fail(err, ENOMEM, "machine: out of memory");
	m->cfg = cfg;
	m->err = err;
	while (made < PARTS && !(r = parts[made].make(m)))
		made++;
	if (!r)
		r = run(m);
	report(m, res);
	if (m->stuck) { /* what a running vCPU uses stays; the process is about to end */
		unmake_terminal(m);
		return r;
	}
	while (made--)
		if (parts[made].unmake)
			parts[made].unmake(m);
	free(m);
	return r;
}

static bool has_console(const char *params)
{
	for (const char *p = params; (p = strstr(p, "console=")); p++)
		if (p == params || p[-1] == ' ')
			return true;
	return false;
}

char *machine_cmdline(enum machine_console console, const char *params)
{
	static const char *const consoles[] = {
		[CONSOLE_SERIAL] = "console=ttyS0 ",
		[CONSOLE_VIRTIO] = "console=hvc0 ",
	};
	char *s = NULL;

	if (!params)
		params = "";
	if (asprintf(&s, "%spanic=-1%s%s", has_console(params) ? "" : consoles[console], *params ? " " : "",
		     params) < 0)
		return NULL;
	return s;
}
