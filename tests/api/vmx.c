// SPDX-License-Identifier: MIT
#include "vmx.h"

#include <stdlib.h>

#include "anykvm.h"

#define MSR_FEAT_CTL 0x3a
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_PROC2 0x48b
#define MSR_VMX_TRUE 0x48d      /* pin-based, processor-based, exit, entry */
#define CR4_VMXE 0x2000
#define CR0_NE 0x20

/* The box, by offset; the program below has the same numbers. */
enum {
	BOX_VMXON = 0, BOX_VMCS = 8, BOX_ENTER = 16, BOX_LAUNCHED = 24, BOX_FLAGS = 32, BOX_FIELD = 40, BOX_VALUE = 48,
	BOX_ERROR = 56, BOX_REASON = 64, BOX_GPRS = 128, BOX_WRITES = 256,
};

/* BASE: VMX_BOX. */
__asm__(".pushsection .rodata\n"
	"vmx_l1:\n"
	"	vmxon 0x102000\n"
	"	vmclear 0x102008\n"
	"	vmptrld 0x102008\n"
	"1:	mov $0x102100, %esi\n"
	"2:	lodsq\n"
	"	mov %rax, %rdx\n"
	"	lodsq\n"
	"	cmp $-1, %rdx\n"
	"	je 3f\n"
	"	vmwrite %rax, %rdx\n"
	"	jmp 2b\n"
	"3:	mov $0x103000, %eax\n"
	"	call *%rax\n"
	"	cmpq $0, 0x102010\n"
	"	je 6f\n"
	"	mov 0x102088, %rcx\n"
	"	mov 0x102090, %rdx\n"
	"	mov 0x102098, %rbx\n"
	"	mov 0x1020a8, %rbp\n"
	"	mov 0x1020b0, %rsi\n"
	"	mov 0x1020b8, %rdi\n"
	"	mov 0x1020c0, %r8\n"
	"	cmpq $0, 0x102018\n"
	"	mov 0x102080, %rax\n"
	"	jne 4f\n"
	"	vmlaunch\n"
	"	jmp 5f\n"
	"4:	vmresume\n"
	"5:	pushfq\n"
	"	popq 0x102020\n"
	"	jmp 6f\n"
	"vmx_l1_exit:\n"
	"	mov %rax, 0x102080\n"
	"	mov %rcx, 0x102088\n"
	"	mov %rdx, 0x102090\n"
	"	mov %rbx, 0x102098\n"
	"	mov %rbp, 0x1020a8\n"
	"	mov %rsi, 0x1020b0\n"
	"	mov %rdi, 0x1020b8\n"
	"	mov %r8, 0x1020c0\n"
	"	mov $0x4402, %eax\n"
	"	vmread %rax, %rdx\n"
	"	test %edx, %edx\n"
	"	js 7f\n"
	"	movq $1, 0x102018\n"
	"7:	movq $0, 0x102020\n"
	"6:	mov 0x102028, %rax\n"
	"	vmread %rax, 0x102030\n"
	"	mov $0x4400, %eax\n"
	"	vmread %rax, 0x102038\n"
	"	mov $0x4402, %eax\n"
	"	vmread %rax, 0x102040\n"
	"	out %al, $0x10\n"
	"	jmp 1b\n"
	"vmx_l1_end:\n"
	".popsection\n");

extern const uint8_t vmx_l1[], vmx_l1_exit[], vmx_l1_end[];

_Static_assert(VMX_BOX == 0x102000 && VMX_STUB == 0x103000 && VMX_DONE == 0x10, "as in the program");
_Static_assert(BOX_WRITES == 0x100 && BOX_GPRS == 0x80 && BOX_REASON == 0x40, "as in the program");

void *vmx_at(struct vmx *s, uint64_t gpa)
{
	return gpa >= VMX_MEM ? s->mem + (gpa - VMX_MEM) : s->g.mem + gpa;
}

static uint64_t *box(struct vmx *s, unsigned int at)
{
	return vmx_at(s, VMX_BOX + at);
}

uint64_t *vmx_reg(struct vmx *s, unsigned int n)
{
	return box(s, BOX_GPRS + 8 * n);
}

/* --- what L1 does ------------------------------------------------------------------------------- */

static void step(struct vmx *s)
{
	guest_port(&s->g, VMX_DONE);
	s->writes = 0;
	*box(s, BOX_WRITES) = ~0ULL;
	*(uint8_t *)vmx_at(s, VMX_STUB) = 0xc3;
}

void vmx_put(struct vmx *s, uint64_t field, uint64_t value)
{
	uint64_t *at = box(s, BOX_WRITES + 16 * s->writes++);

	at[0] = field;
	at[1] = value;
	at[2] = ~0ULL;
}

uint64_t vmx_get(struct vmx *s, uint64_t field)
{
	*box(s, BOX_ENTER) = 0;
	*box(s, BOX_FIELD) = field;
	step(s);
	return *box(s, BOX_VALUE);
}

void vmx_set(struct vmx *s, uint64_t field, uint64_t bits)
{
	vmx_put(s, field, vmx_get(s, field) | bits);
}

void vmx_clear(struct vmx *s, uint64_t field, uint64_t bits)
{
	vmx_put(s, field, vmx_get(s, field) & ~bits);
}

void vmx_control2(struct vmx *s, uint32_t bits)
{
	vmx_set(s, F_PROC, 1u << 31);
	vmx_set(s, F_PROC2, bits);
}

void vmx_do(struct vmx *s, const uint8_t *code, size_t n)
{
	uint8_t *at = vmx_at(s, VMX_STUB);

	if (n)
		memcpy(at, code, n);
	at[n] = 0xc3;
	*box(s, BOX_ENTER) = 0;
	step(s);
}

void vmx_enter(struct vmx *s)
{
	*box(s, BOX_ENTER) = 1;
}

uint64_t *vmx_launched(struct vmx *s)
{
	return box(s, BOX_LAUNCHED);
}

uint32_t vmx_reason(struct vmx *s)
{
	uint64_t flags = *box(s, BOX_FLAGS);

	s->writes = 0;
	*box(s, BOX_WRITES) = ~0ULL;
	if (flags & 0x41)
		return VMX_FAIL + (flags & 0x40 ? (uint32_t)*box(s, BOX_ERROR) : 0);
	return (uint32_t)*box(s, BOX_REASON);
}

uint32_t vmx_run(struct vmx *s)
{
	vmx_enter(s);
	step(s);
	return vmx_reason(s);
}

void vmx_expect(struct vmx *s, uint32_t reason)
{
	uint32_t was = vmx_run(s);

	if (was != reason)
		fail_msg("exit %#x, not %u; qualification %#lx, at %#lx", was, reason, vmx_get(s, F_QUALIFICATION),
			 vmx_get(s, F_RIP));
}

void vmx_unload(struct vmx *s)
{
	/* vmclear [VMX_BOX + BOX_VMCS] */
	VMX_DO(s, 0x66, 0x0f, 0xc7, 0x34, 0x25, 0x08, 0x20, 0x10, 0);
	*box(s, BOX_LAUNCHED) = 0;
}

void vmx_load(struct vmx *s)
{
	/* vmptrld [VMX_BOX + BOX_VMCS] */
	VMX_DO(s, 0x0f, 0xc7, 0x34, 0x25, 0x08, 0x20, 0x10, 0);
}

void vmx_stop(struct vmx *s, uint16_t port)
{
	vmx_clear(s, F_PROC, P_IO);
	vmx_enter(s);
	guest_port(&s->g, port);
	s->g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(s->g.vcpu, KVM_RUN, 0));
	s->g.run->immediate_exit = 0;
}

void vmx_goto(struct vmx *s, uint64_t rip)
{
	vmx_put(s, F_RIP, rip);
}

void vmx_next(struct vmx *s)
{
	uint64_t rip = vmx_get(s, F_RIP), len = vmx_get(s, F_INSN_LEN);

	vmx_goto(s, rip + len);
}

void vmx_code(struct vmx *s, uint64_t at, const uint8_t *code, size_t n)
{
	memcpy(vmx_at(s, at), code, n);
}

/* --- how it begins -------------------------------------------------------------------------------- */

/* Flat segments, of L1 and of L2 alike. */
static void put_segments(struct vmx *s)
{
	for (unsigned int n = 0; n < 8; n++) {
		vmx_put(s, 0x800 + 2 * n, n == 1 ? 8 : n == 7 ? 0x18 : 0);
		vmx_put(s, 0x4800 + 2 * n, n == 7 ? 0x67 : 0xffffffff);
		vmx_put(s, 0x4814 + 2 * n, n == 1 ? 0xa09b : n == 7 ? 0x8b : n == 6 ? 0x10000 : 0xc093);
	}
	vmx_put(s, 0xc02, 8);
	vmx_put(s, 0xc0c, 0x18);
}

static uint32_t control(struct vmx *s, unsigned int which, uint32_t more)
{
	uint64_t may = 0;

	assert_int_equal(guest_get_msr(&s->g, MSR_VMX_TRUE + which, &may), 1);
	return (uint32_t)may | more;
}

static void put_fields(struct vmx *s)
{
	struct kvm_sregs k;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	vmx_put(s, 0x6c00, k.cr0);
	vmx_put(s, 0x6c02, k.cr3);
	vmx_put(s, 0x6c04, k.cr4);
	vmx_put(s, F_CR0, k.cr0);
	vmx_put(s, F_CR3, k.cr3);
	vmx_put(s, F_CR4, k.cr4);
	put_segments(s);
	vmx_put(s, 0x4810, k.gdt.limit);
	vmx_put(s, 0x4812, k.idt.limit);
	vmx_put(s, 0x6816, k.gdt.base);
	vmx_put(s, 0x6818, k.idt.base);
	vmx_put(s, 0x6c0c, k.gdt.base);
	vmx_put(s, 0x6c0e, k.idt.base);
	vmx_put(s, F_PIN, control(s, 0, 0));
	vmx_put(s, F_PROC, control(s, 1, P_HLT | P_IO | P_MSR_BITMAPS));
	vmx_put(s, F_EXIT, control(s, 2, 1u << 9));
	vmx_put(s, F_ENTRY, control(s, 3, 1u << 9));
	vmx_put(s, F_MSR_BITMAP, VMX_MSR_BITMAP);
	vmx_put(s, F_LINK, ~0ULL);
	vmx_put(s, 0x6c14, GUEST_STACK);
	vmx_put(s, 0x6c16, GUEST_CODE + (uint64_t)(vmx_l1_exit - vmx_l1));
	vmx_put(s, F_RSP, VMX_L2_STACK);
	vmx_put(s, 0x681a, 0x400);
	vmx_put(s, F_RFLAGS, 2);
	vmx_goto(s, VMX_L2);
}

/* Every exception ends at a port of its own. */
static void make_handlers(struct guest *g)
{
	for (uint8_t n = 0; n < 32; n++)
		LONG_VECTOR(g, n, (uint16_t)(0x3000 + n * 16), 0xe6, (uint8_t)(VMX_FAULT + n), 0xf4);
}

/* The device's own leaves for KVM's guests give way. */
static void add_leaves(struct cpuid_table *t, const struct kvm_cpuid_entry2 *more, size_t count)
{
	if (!count)
		return;
	for (uint32_t leaf = 0x40000000; leaf < 0x40000100; leaf++)
		guest_drop_leaf(t, leaf);
	memmove(t->e + count, t->e, t->head.nent * sizeof(t->e[0]));
	memcpy(t->e, more, count * sizeof(t->e[0]));
	t->head.nent += (uint32_t)count;
}

static bool has_controls(struct vmx *s, uint32_t with, const struct kvm_cpuid_entry2 *more, size_t count)
{
	uint64_t may = 0;

	s->cpuid = guest_supported();
	if (!(guest_leaf(s->cpuid, 1, 0)->ecx & 1u << 5))
		return false;
	add_leaves(s->cpuid, more, count);
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_CPUID2, s->cpuid));
	return !with || (guest_get_msr(&s->g, MSR_VMX_PROC2, &may) == 1 && (may >> 32 & with) == with);
}

static void start_l1(struct vmx *s)
{
	uint64_t basic = 0;
	struct kvm_sregs k;

	guest_long(&s->g);
	make_handlers(&s->g);
	assert_int_equal(guest_set_msr(&s->g, MSR_FEAT_CTL, 5), 1);
	assert_int_equal(guest_get_msr(&s->g, MSR_VMX_BASIC, &basic), 1);
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	k.cr0 |= CR0_NE;
	k.cr4 |= CR4_VMXE;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_SREGS, &k));
	*box(s, BOX_VMXON) = VMX_VMXON;
	*box(s, BOX_VMCS) = VMX_VMCS;
	*(uint32_t *)vmx_at(s, VMX_VMXON) = *(uint32_t *)vmx_at(s, VMX_VMCS) = (uint32_t)basic;
	*(uint8_t *)vmx_at(s, VMX_STUB) = 0xc3;
}

struct vmx vmx_start(const uint8_t *code, size_t n, uint32_t with, bool irqchip)
{
	return vmx_start_with(code, n, with, irqchip, NULL, 0);
}

struct vmx vmx_start_with(const uint8_t *code, size_t n, uint32_t with, bool irqchip, const struct kvm_cpuid_entry2 *more,
			  size_t count)
{
	struct vmx s = { 0 };

	if (api_linked())
		assert_int_equal(anykvm_set_cpu("intel"), 0);
	if (!guest_runs_long_mode())
		skip();
	s.g = guest_of(vmx_l1, (size_t)(vmx_l1_end - vmx_l1), irqchip);
	s.mem = api_memory(VMX_MEM_SIZE);
	api_ok(api_set_slot(s.g.vm, 1, 0, VMX_MEM, VMX_MEM_SIZE, s.mem));
	if (!has_controls(&s, with, more, count)) {
		vmx_end(&s);
		skip();
	}
	vmx_code(&s, VMX_L2, code, n);
	start_l1(&s);
	put_fields(&s);
	step(&s);
	return s;
}

void vmx_end(struct vmx *s)
{
	guest_end(&s->g);
	munmap(s->mem, VMX_MEM_SIZE);
	free(s->cpuid);
}

/* --- another L1 ------------------------------------------------------------------------------------- */

void vmx_narrow(struct vmx *s, uint64_t cr3, uint64_t rip)
{
	struct kvm_sregs k;

	/* What is to be written is, and the OUT behind it complete. */
	*box(s, BOX_ENTER) = 0;
	step(s);
	s->g.run->immediate_exit = 1;
	api_fails(EINTR, api_ioctl(s->g.vcpu, KVM_RUN, 0));
	s->g.run->immediate_exit = 0;
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	k.efer &= ~0x500ULL;
	k.cr3 = cr3;
	k.cs.l = 0;
	k.cs.db = 1;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_SREGS, &k));
	SET(&s->g, rip, rip);
}

/* A vCPU in VMX operation keeps its capabilities: it leaves it for a moment. */
void vmx_flip_capability(struct vmx *s, uint32_t msr, uint64_t bits)
{
	struct {
		struct kvm_nested_state head;
		uint8_t data[2 * PAGE];
	} on = { .head.size = sizeof(on) }, off = { .head.size = sizeof(off.head) };
	uint64_t value = 0;

	api_ok(api_ioctl(s->g.vcpu, KVM_GET_NESTED_STATE, &on));
	off.head.format = KVM_STATE_NESTED_FORMAT_VMX;
	off.head.hdr.vmx.vmxon_pa = off.head.hdr.vmx.vmcs12_pa = -1ULL;
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_NESTED_STATE, &off));
	assert_int_equal(guest_get_msr(&s->g, msr, &value), 1);
	assert_int_equal(guest_set_msr(&s->g, msr, value ^ bits), 1);
	api_ok(api_ioctl(s->g.vcpu, KVM_SET_NESTED_STATE, &on));
}

/* --- another vCPU ------------------------------------------------------------------------------------- */

static void put_regions(struct vmx *s, uint64_t vmxon, uint64_t vmcs)
{
	*box(s, BOX_VMXON) = vmxon;
	*box(s, BOX_VMCS) = vmcs;
}

struct vmx vmx_second(struct vmx *s)
{
	struct kvm_regs r = { .rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2 };
	uint64_t launched = *vmx_launched(s);
	uint32_t revision = *(uint32_t *)vmx_at(s, VMX_VMXON);
	struct vmx t = *s;
	struct kvm_sregs k;

	t.writes = 0;
	t.g.vcpu = api_vcpu(s->g.vm, 1);
	t.g.run = api_run_of(t.g.vcpu);
	api_ok(api_ioctl(t.g.vcpu, KVM_SET_CPUID2, s->cpuid));
	assert_int_equal(guest_set_msr(&t.g, MSR_FEAT_CTL, 5), 1);
	api_ok(api_ioctl(s->g.vcpu, KVM_GET_SREGS, &k));
	api_ok(api_ioctl(t.g.vcpu, KVM_SET_SREGS, &k));
	api_ok(api_ioctl(t.g.vcpu, KVM_SET_REGS, &r));
	*(uint32_t *)vmx_at(s, VMX_VMXON_2) = *(uint32_t *)vmx_at(s, VMX_VMCS_2) = revision;
	put_regions(&t, VMX_VMXON_2, VMX_VMCS_2);
	put_fields(&t);
	vmx_do(&t, NULL, 0);
	put_regions(s, VMX_VMXON, VMX_VMCS);
	*vmx_launched(s) = launched;
	return t;
}

void vmx_end_second(struct vmx *s)
{
	api_close(s->g.vcpu);
	munmap(s->g.run, 3 * PAGE);
}

/* --- EPT -------------------------------------------------------------------------------------------- */

void vmx_ept(struct vmx *s, uint64_t flags)
{
	uint64_t *t = vmx_at(s, VMX_EPT);

	t[0] = (VMX_EPT + 0x1000) | EPT_ALL;
	t[512] = (VMX_EPT + 0x2000) | EPT_ALL;
	t[512 + 3] = (VMX_EPT + 0x4000) | EPT_ALL;
	t[1024] = VMX_EPT_PT | EPT_ALL;
	t[4 * 512 + (0xfee00000 >> 21 & 511)] = VMX_EPT_PT_APIC | EPT_ALL;
	for (uint64_t n = 0; n < 512; n++) {
		t[3 * 512 + n] = n << 12 | EPT_ALL | EPT_WB;
		t[5 * 512 + n] = (0xfee00000 + (n << 12)) | EPT_ALL | EPT_WB;
	}
	vmx_put(s, F_EPTP, VMX_EPT | 3 << 3 | 6 | flags);
	vmx_control2(s, P2_EPT);
}

uint64_t *vmx_ept_entry(struct vmx *s, uint64_t gpa)
{
	uint64_t *table = vmx_at(s, gpa >= 0xfee00000 ? VMX_EPT_PT_APIC : VMX_EPT_PT);

	return &table[gpa >> 12 & 511];
}
