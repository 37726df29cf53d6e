// SPDX-License-Identifier: MIT
/*
 * KVM's trace events (include/trace/events/kvm.h and arch/x86/kvm/trace.h of the
 * kernel say which fields they show).  What is an exit for a processor's KVM is a
 * call of the environment here, so that is where the events are.
 */
#include "x86/state/trace.h"

#include <errno.h>

#include "kvm/trace.h"
#include "x86/cpu/insn.h"
#include "x86/mmu/mmu.h"

/* Names of exits, SDM 3D appendix C and APM 2 appendix C. */
enum reason { ON_IO, ON_MEMORY, ON_TOUCH, ON_RDMSR, ON_WRMSR, ON_CPUID, ON_HYPERCALL, ON_HLT };

static const char *const reasons[][2] = {
	[ON_IO] = { "IO_INSTRUCTION", "io" },
	[ON_MEMORY] = { "EPT_MISCONFIG", "npf" },
	[ON_TOUCH] = { "EPT_VIOLATION", "npf" },
	[ON_RDMSR] = { "MSR_READ", "msr" },
	[ON_WRMSR] = { "MSR_WRITE", "msr" },
	[ON_CPUID] = { "CPUID", "cpuid" },
	[ON_HYPERCALL] = { "VMCALL", "hypercall" },
	[ON_HLT] = { "HLT", "hlt" },
};

#define NPF_FINAL (1ULL << 32)

/* KVM_EXIT_*, as KVM's own table names them. */
static const char *const returns[] = {
	[KVM_EXIT_UNKNOWN] = "KVM_EXIT_UNKNOWN", [KVM_EXIT_EXCEPTION] = "KVM_EXIT_EXCEPTION",
	[KVM_EXIT_IO] = "KVM_EXIT_IO", [KVM_EXIT_HYPERCALL] = "KVM_EXIT_HYPERCALL",
	[KVM_EXIT_DEBUG] = "KVM_EXIT_DEBUG", [KVM_EXIT_HLT] = "KVM_EXIT_HLT", [KVM_EXIT_MMIO] = "KVM_EXIT_MMIO",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "KVM_EXIT_IRQ_WINDOW_OPEN", [KVM_EXIT_SHUTDOWN] = "KVM_EXIT_SHUTDOWN",
	[KVM_EXIT_FAIL_ENTRY] = "KVM_EXIT_FAIL_ENTRY", [KVM_EXIT_INTR] = "KVM_EXIT_INTR",
	[KVM_EXIT_SET_TPR] = "KVM_EXIT_SET_TPR", [KVM_EXIT_TPR_ACCESS] = "KVM_EXIT_TPR_ACCESS",
	[KVM_EXIT_INTERNAL_ERROR] = "KVM_EXIT_INTERNAL_ERROR", [KVM_EXIT_SYSTEM_EVENT] = "KVM_EXIT_SYSTEM_EVENT",
	[KVM_EXIT_IOAPIC_EOI] = "KVM_EXIT_IOAPIC_EOI", [KVM_EXIT_X86_RDMSR] = "KVM_EXIT_X86_RDMSR",
	[KVM_EXIT_HYPERV] = "KVM_EXIT_HYPERV",
	[KVM_EXIT_X86_BUS_LOCK] = "KVM_EXIT_X86_BUS_LOCK", [KVM_EXIT_X86_WRMSR] = "KVM_EXIT_X86_WRMSR",
	[KVM_EXIT_DIRTY_RING_FULL] = "KVM_EXIT_DIRTY_RING_FULL",
};

static uint64_t rip_of(const struct x86_cpu *cpu)
{
	return cpu->regs[R_RIP] + (cpu->cur ? cpu->cur->off : 0);
}

void x86_trace_entry(struct x86_vcpu *v)
{
	kvm_trace("kvm_entry", "vcpu %u, rip 0x%llx", v->vcpu->id, (unsigned long long)rip_of(&v->cpu));
}

static struct x86_vcpu *left(struct x86_cpu *cpu, enum reason why, uint64_t info1, uint64_t info2)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);

	kvm_trace("kvm_exit", "vcpu %u reason %s rip 0x%llx info1 0x%016llx info2 0x%016llx intr_info 0x%08x "
		  "error_code 0x%08x", v->vcpu->id, reasons[why][v->cpuid.vendor == V_AMD],
		  (unsigned long long)rip_of(cpu), (unsigned long long)info1, (unsigned long long)info2, 0, 0);
	return v;
}

static uint64_t value_of(const void *data, uint8_t len)
{
	uint64_t v = 0;

	for (unsigned int n = 0; n < len && n < sizeof(v); n++)
		v |= (uint64_t)((const uint8_t *)data)[n] << 8 * n;
	return v;
}

static void port_line(uint16_t port, const void *data, uint8_t len, bool write)
{
	kvm_trace("kvm_pio", "pio_%s at 0x%x size %d count %d val 0x%llx ", write ? "write" : "read", port, len, 1,
		  (unsigned long long)value_of(data, len));
}

static void memory_line(const char *kind, gpa_t gpa, const void *data, uint8_t len)
{
	kvm_trace("kvm_mmio", "mmio %s len %u gpa 0x%llx val 0x%llx", kind, len, (unsigned long long)gpa,
		  (unsigned long long)(data ? value_of(data, len) : 0));
}

/* --- the environment --- */

static bool traced_pio(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	/* SDM 3D, table 28-5. */
	struct x86_vcpu *v = left(cpu, ON_IO, (uint64_t)port << 16 | (write ? 0 : 8) | (len - 1), 0);
	bool done = x86_kvm_env.pio(cpu, port, data, len, write);

	if (write || done)
		port_line(port, data, len, write);
	if (done)
		x86_trace_entry(v);
	return done;
}

static bool traced_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	struct x86_vcpu *v = left(cpu, ON_MEMORY, 0, gpa);
	bool done = x86_kvm_env.mmio(cpu, gpa, data, len, write);

	memory_line(write ? "write" : done ? "read" : "unsatisfied-read", gpa, write || done ? data : NULL, len);
	if (done)
		x86_trace_entry(v);
	return done;
}

static int msr_line(struct x86_vcpu *v, const char *what, uint32_t index, uint64_t value, int r)
{
	if (r != 2)
		kvm_trace("kvm_msr", "msr_%s %x = 0x%llx%s", what, index, (unsigned long long)value, r ? " (#GP)" : "");
	if (!r)
		x86_trace_entry(v);
	return r;
}

static int traced_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	struct x86_vcpu *v = left(cpu, ON_RDMSR, 0, 0);
	int r = x86_kvm_env.rdmsr(cpu, index, value);

	return msr_line(v, "read", index, r ? 0 : *value, r);
}

static int traced_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	struct x86_vcpu *v = left(cpu, ON_WRMSR, 0, 0);

	return msr_line(v, "write", index, value, x86_kvm_env.wrmsr(cpu, index, value));
}

static void traced_cpuid(struct x86_cpu *cpu, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
	struct x86_vcpu *v = left(cpu, ON_CPUID, 0, 0);
	uint32_t leaf = *eax, index = *ecx;

	x86_kvm_env.cpuid(cpu, eax, ebx, ecx, edx);
	kvm_trace("kvm_cpuid", "func %x idx %x rax %x rbx %x rcx %x rdx %x, cpuid entry found", leaf, index, *eax,
		  *ebx, *ecx, *edx);
	x86_trace_entry(v);
}

static int traced_hypercall(struct x86_cpu *cpu)
{
	const uint64_t *r = cpu->regs;
	struct x86_vcpu *v = left(cpu, ON_HYPERCALL, 0, 0);
	int result;

	if (hv_hypercall_wanted(v))
		return x86_kvm_env.hypercall(cpu);
	kvm_trace("kvm_hypercall", "nr 0x%llx a0 0x%llx a1 0x%llx a2 0x%llx  a3 0x%llx",
		  (unsigned long long)r[R_RAX], (unsigned long long)r[R_RBX], (unsigned long long)r[R_RCX],
		  (unsigned long long)r[R_RDX], (unsigned long long)r[R_RSI]);
	result = x86_kvm_env.hypercall(cpu);
	if (!result)
		x86_trace_entry(v);
	return result;
}

static void traced_halt(struct x86_cpu *cpu)
{
	left(cpu, ON_HLT, 0, 0);
	x86_kvm_env.halt(cpu);
}

/*
 * The fault that a processor would take on KVM's own page tables: SDM 3D, table
 * 28-7 (linear address valid, and this is its translation); APM 2, 15.25.6 (user,
 * final address).
 */
static void traced_first_touch(struct x86_cpu *cpu, gpa_t gpa, unsigned int access)
{
	static const uint64_t errors[][2] = {
		[MMU_READ] = { 0x181, PF_U | NPF_FINAL },
		[MMU_WRITE] = { 0x182, PF_U | PF_W | NPF_FINAL },
		[MMU_EXEC] = { 0x184, PF_U | PF_I | NPF_FINAL },
	};
	bool amd = x86_vcpu_of_cpu(cpu)->cpuid.vendor == V_AMD;
	uint64_t error = errors[access][amd];
	struct x86_vcpu *v = left(cpu, ON_TOUCH, error, amd ? gpa : 0);

	kvm_trace("kvm_page_fault", "vcpu %u rip 0x%llx address 0x%016llx error_code 0x%llx", v->vcpu->id,
		  (unsigned long long)rip_of(cpu), (unsigned long long)gpa, (unsigned long long)error);
	x86_trace_entry(v);
}

void x86_trace_wrap(struct x86_env *env)
{
	env->first_touch = traced_first_touch;
	env->pio = traced_pio;
	env->mmio = traced_mmio;
	env->rdmsr = traced_rdmsr;
	env->wrmsr = traced_wrmsr;
	env->cpuid = traced_cpuid;
	env->hypercall = traced_hypercall;
	env->halt = traced_halt;
}

/* --- what is no call of the environment --- */

void x86_trace_answer(struct x86_vcpu *v)
{
	const struct x86_replay *r = &v->cpu.replay;

	if (r->frag[r->count].is_write)
		return;
	if (r->frag[r->count].is_pio)
		port_line((uint16_t)r->frag[r->count].addr, r->frag[r->count].data, r->frag[r->count].len, false);
	else
		memory_line("read", r->frag[r->count].addr, r->frag[r->count].data, r->frag[r->count].len);
}

void x86_trace_interrupt(uint8_t vector)
{
	kvm_trace("kvm_inj_virq", "IRQ 0x%x", vector);
}

void x86_trace_return(struct x86_vcpu *v, int r)
{
	uint32_t reason = v->vcpu->run->exit_reason;
	const char *name = reason < ARRAY_SIZE(returns) && returns[reason] ? returns[reason] : "KVM_EXIT_OTHER";

	if (r)
		kvm_trace("kvm_userspace_exit", "reason %s (%d)", r == -EINTR ? "restart" : "error", -r);
	else
		kvm_trace("kvm_userspace_exit", "reason %s (%u)", name, reason);
}
