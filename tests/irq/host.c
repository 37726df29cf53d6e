// SPDX-License-Identifier: MIT
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "x86/irq/ioapic.h"
#include "x86/irq/lapic.h"

#define MEM_SIZE	0x10000
#define HANDLERS	0x2000	/* 4 bytes for each vector */
#define PORT_VECTOR	0x80	/* a handler ran */
#define PORT_DONE	0x81

/* Each snippet ends with an exit.  DS is at the local APIC, ES at the I/O APIC. */
enum snippet {
	OUT,
	IN,
	LAPIC_READ,
	LAPIC_WRITE,
	IOAPIC_READ,
	IOAPIC_WRITE,
	TAKE,
};

static const struct {
	uint16_t ip;
	const char *code;
	size_t len;
} snippet[] = {
#define CODE(ip, s)	{ ip, s, sizeof(s) - 1 }
	[OUT] = CODE(0x1000, "\xee\xe6\x81"),			/* out dx, al; out 81h, al */
	[IN] = CODE(0x1010, "\xec\xe6\x81"),			/* in al, dx */
	[LAPIC_READ] = CODE(0x1020, "\x66\x8b\x07\xe6\x81"),	/* mov eax, [bx] */
	[LAPIC_WRITE] = CODE(0x1030, "\x66\x89\x07\xe6\x81"),	/* mov [bx], eax */
	[IOAPIC_READ] = CODE(0x1040, "\x26\x66\x8b\x07\xe6\x81"),	/* mov eax, es:[bx] */
	[IOAPIC_WRITE] = CODE(0x1050, "\x26\x66\x89\x07\xe6\x81"),	/* mov es:[bx], eax */
	[TAKE] = CODE(0x1060, "\x90\xfa\xe6\x81"),		/* nop; cli, entered with IF set */
};

static void load(struct host_vm *h)
{
	for (unsigned int i = 0; i < sizeof(snippet) / sizeof(snippet[0]); i++)
		memcpy(h->mem + snippet[i].ip, snippet[i].code, snippet[i].len);
	for (unsigned int v = 0; v < 256; v++) {
		uint16_t ip = HANDLERS + 4 * v;
		const uint8_t code[4] = { 0xb0, v, 0xe6, PORT_VECTOR };	/* mov al, v; out 80h, al */

		memcpy(h->mem + 4 * v, &ip, sizeof(ip));
		memcpy(h->mem + ip, code, sizeof(code));
	}
}

static int set_segments(struct host_vm *h)
{
	struct kvm_sregs s;

	if (ioctl(h->vcpu, KVM_GET_SREGS, &s))
		return -errno;
	s.cs.base = 0;
	s.cs.selector = 0;
	s.ds.base = LAPIC_DEFAULT_BASE;
	s.es.base = IOAPIC_DEFAULT_BASE;
	return ioctl(h->vcpu, KVM_SET_SREGS, &s) ? -errno : 0;
}

static int set_up(struct host_vm *h)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEM_SIZE };
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int size;

	h->vm = ioctl(h->kvm, KVM_CREATE_VM, 0);
	if (h->vm < 0 || ioctl(h->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul))
		return -errno;
	if (ioctl(h->vm, KVM_CREATE_IRQCHIP, 0) || ioctl(h->vm, KVM_CREATE_PIT2, &pit))
		return -errno;
	h->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->mem == MAP_FAILED)
		return -errno;
	slot.userspace_addr = (uintptr_t)h->mem;
	if (ioctl(h->vm, KVM_SET_USER_MEMORY_REGION, &slot))
		return -errno;
	h->vcpu = ioctl(h->vm, KVM_CREATE_VCPU, 0);
	size = ioctl(h->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (h->vcpu < 0 || size < 0)
		return -errno;
	h->run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, h->vcpu, 0);
	if (h->run == MAP_FAILED)
		return -errno;
	load(h);
	return set_segments(h);
}

int host_open(struct host_vm *h)
{
	int r;

	memset(h, 0, sizeof(*h));
	h->vm = h->vcpu = -1;
	h->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (h->kvm < 0)
		return -errno;
	r = set_up(h);
	/* A KVM that cannot even run this is none to compare with. */
	if (!r && host_out(h, 0x21, 0xff))
		r = -ENODEV;
	if (r)
		host_close(h);
	return r;
}

void host_close(struct host_vm *h)
{
	if (h->vcpu >= 0)
		close(h->vcpu);
	if (h->vm >= 0)
		close(h->vm);
	close(h->kvm);
}

/* Runs one snippet.  Returns the port of its exit, or -1; EAX in @eax. */
static int run(struct host_vm *h, enum snippet s, uint16_t addr, uint32_t *eax)
{
	struct kvm_regs r = {
		.rip = snippet[s].ip, .rax = *eax, .rdx = addr, .rbx = addr, .rsp = 0x8000,
		.rflags = s == TAKE ? 0x202 : 2,
	};

	if (ioctl(h->vcpu, KVM_SET_REGS, &r) || ioctl(h->vcpu, KVM_RUN, 0))
		return -1;
	if (h->run->exit_reason != KVM_EXIT_IO || ioctl(h->vcpu, KVM_GET_REGS, &r))
		return -1;
	*eax = r.rax;
	return h->run->io.port;
}

int host_out(struct host_vm *h, uint16_t port, uint8_t v)
{
	uint32_t eax = v;

	return run(h, OUT, port, &eax) == PORT_DONE ? 0 : -1;
}

int host_in(struct host_vm *h, uint16_t port)
{
	uint32_t eax = 0;

	return run(h, IN, port, &eax) == PORT_DONE ? (int)(eax & 0xff) : -1;
}

int64_t host_mmio_read(struct host_vm *h, uint64_t gpa)
{
	enum snippet s = gpa >= LAPIC_DEFAULT_BASE ? LAPIC_READ : IOAPIC_READ;
	uint32_t eax = 0;

	return run(h, s, gpa & 0xfff, &eax) == PORT_DONE ? (int64_t)eax : -1;
}

int host_mmio_write(struct host_vm *h, uint64_t gpa, uint32_t v)
{
	enum snippet s = gpa >= LAPIC_DEFAULT_BASE ? LAPIC_WRITE : IOAPIC_WRITE;

	return run(h, s, gpa & 0xfff, &v) == PORT_DONE ? 0 : -1;
}

int host_interrupt(struct host_vm *h)
{
	uint32_t eax = 0;

	switch (run(h, TAKE, 0, &eax)) {
	case PORT_VECTOR:
		return eax & 0xff;
	case PORT_DONE:
		return -1;
	default:
		return -2;
	}
}

int host_line(struct host_vm *h, unsigned int gsi, int level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	return ioctl(h->vm, KVM_IRQ_LINE_STATUS, &l) ? -errno : (int)l.status;
}
