/* SPDX-License-Identifier: MIT */
#include "rig.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "host/fault.h"
#include "../one_slot.h"
#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

static struct rig *rig_of(struct x86_cpu *cpu)
{
	return cpu->env_ptr;
}

/* ------------------------------------------------------------ environment */

static bool env_pio(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	struct rig *r = rig_of(cpu);
	uint32_t v = 0;

	if (!write) {
		memset(data, 0xff, len);
		return true;
	}
	memcpy(&v, data, len);
	if (port == LOG_PORT && r->logged < 64)
		r->log[r->logged++] = v;
	return port != END_PORT;
}

static bool env_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	if (!write)
		memset(data, 0xff, len);
	return true;
}

static int env_rdmsr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	if (index != 0xc0000080)
		return 1;
	*value = cpu->efer;
	return 0;
}

static int env_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	if (index == 0x6e1) {
		cpu->pkrs = (uint32_t)value;
		mmu_pkey_changed(cpu);
		return 0;
	}
	return index == 0xc0000080 && !x86_set_efer(cpu, value) ? 0 : 1;
}

static void env_cpuid(struct x86_cpu *cpu, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
	*eax = *ebx = *ecx = *edx = 0;
}

static uint64_t env_zero(struct x86_cpu *cpu)
{
	return 0;
}

static void env_set_cr8(struct x86_cpu *cpu, uint64_t value)
{
}

static int env_hypercall(struct x86_cpu *cpu)
{
	return 1;
}

static void env_halt(struct x86_cpu *cpu)
{
	rig_of(cpu)->halted = true;
	x86_request(cpu, X86_REQ_HALT);
}

static int env_service(struct x86_cpu *cpu)
{
	atomic_fetch_and(&cpu->requests, ~(uint32_t)(X86_REQ_EVENT | X86_REQ_HALT));
	return rig_of(cpu)->halted ? X86_RUN_EXIT : 0;
}

static const struct x86_env env = {
	.pio = env_pio, .mmio = env_mmio, .rdmsr = env_rdmsr, .wrmsr = env_wrmsr, .cpuid = env_cpuid,
	.tsc = env_zero, .get_cr8 = env_zero, .set_cr8 = env_set_cr8, .hypercall = env_hypercall,
	.halt = env_halt, .service = env_service,
};

/* ------------------------------------------------------------ life */

static const uint8_t no_exit;

static void *must(void *p)
{
	assert_non_null(p);
	return p;
}

static struct x86_cpuid *everything(void)
{
	struct x86_cpuid *id = must(calloc(1, sizeof(*id)));

	memset(id->has, 0xff, sizeof(id->has));
	id->maxphyaddr = 46;
	id->vendor = V_INTEL;
	id->supported_xcr0 = 7;
	return id;
}

void rig_without(struct rig *r, unsigned int feature)
{
	((struct x86_cpuid *)r->cpu->cpuid)->has[feature / 64] &= ~(1ULL << (feature % 64));
}

struct rig *rig_new(void)
{
	struct rig *r = must(calloc(1, sizeof(*r)));
	struct x86_cpu *cpu = must(aligned_alloc(64, (sizeof(*cpu) + 63) & ~63UL));

	assert_int_equal(host_fault_init(), 0);
	memset(cpu, 0, sizeof(*cpu));
	r->cpu = cpu;
	r->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(r->ram != MAP_FAILED);
	cpu->env = &env;
	cpu->env_ptr = r;
	cpu->immediate_exit = &no_exit;
	cpu->cpuid = everything();
	cpu->maxphyaddr = 46;
	cpu->slots = must(one_slot(r->ram, RAM_SIZE));
	cpu->vec = must(vec_state_create());
	cpu->mmu = must(mmu_create(cpu));
	cpu->code = must(code_cache_create());
	assert_int_equal(code_cache_join(cpu->code, cpu), 0);
	x86_cpu_reset(cpu, false);
	return r;
}

void rig_free(struct rig *r)
{
	struct x86_cpu *cpu = r->cpu;

	code_cache_leave(cpu->code, cpu);
	code_cache_destroy(cpu->code);
	mmu_destroy(cpu->mmu);
	vec_state_destroy(cpu->vec);
	free((void *)cpu->slots);
	free((void *)cpu->cpuid);
	munmap(r->ram, RAM_SIZE);
	free(cpu);
	free(r);
}

int rig_setup(void **state)
{
	*state = rig_new();
	return 0;
}

int rig_teardown(void **state)
{
	rig_free(*state);
	return 0;
}

enum x86_run_result rig_run(struct rig *r)
{
	r->halted = false;
	return x86_cpu_run(r->cpu);
}

/* ------------------------------------------------------------ memory */

void rig_put(struct rig *r, gpa_t at, const void *data, size_t n)
{
	assert_true(at + n <= RAM_SIZE);
	memcpy(r->ram + at, data, n);
}

uint64_t rig_read(const struct rig *r, gpa_t at, unsigned int size)
{
	uint64_t v = 0;

	assert_true(at + size <= RAM_SIZE);
	memcpy(&v, r->ram + at, size);
	return v;
}

void rig_write(struct rig *r, gpa_t at, unsigned int size, uint64_t value)
{
	rig_put(r, at, &value, size);
}

void rig_gdt(struct rig *r, uint16_t sel, uint64_t low, uint64_t high)
{
	rig_write(r, AT_GDT + (sel & ~7u), 8, low);
	if (high)
		rig_write(r, AT_GDT + (sel & ~7u) + 8, 8, high);
}

uint64_t gate(uint16_t sel, uint32_t target, uint8_t access, uint8_t params)
{
	return (target & 0xffff) | (uint64_t)sel << 16 | (uint64_t)params << 32 | (uint64_t)access << 40 |
	       (uint64_t)(target >> 16) << 48;
}

void rig_idt32(struct rig *r, uint8_t vector, uint16_t sel, uint32_t target, uint8_t access)
{
	rig_write(r, AT_IDT + vector * 8u, 8, gate(sel, target, access, 0));
}

void rig_idt64(struct rig *r, uint8_t vector, uint16_t sel, uint64_t target, uint8_t access, uint8_t ist)
{
	rig_write(r, AT_IDT + vector * 16u, 8, gate(sel, (uint32_t)target, access, ist));
	rig_write(r, AT_IDT + vector * 16u + 8, 8, target >> 32);
}

/* ------------------------------------------------------------ modes */

static uint64_t flat(uint8_t access, uint8_t flags)
{
	return 0xffff | (uint64_t)access << 40 | (uint64_t)(flags << 4 | 0xf) << 48;
}

static uint64_t system_desc(uint32_t base, uint32_t limit, uint8_t access)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
	       (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)(base >> 24) << 56;
}

static void make_gdt(struct rig *r)
{
	static const struct {
		uint16_t sel;
		uint8_t access, flags;
	} rows[] = {
		{ CODE32_0, 0x9a, 0xc }, { DATA_0, 0x92, 0xc }, { CODE32_3, 0xfa, 0xc }, { DATA_3, 0xf2, 0xc },
		{ CODE16_0, 0x9a, 0x0 }, { DATA16_0, 0x92, 0x0 }, { CONFORMING_0, 0x9e, 0xc },
		{ CODE64_0, 0x9a, 0xa }, { DATA64_0, 0x92, 0xc }, { CODE32_U, 0xfa, 0xc },
		{ DATA_U, 0xf2, 0xc }, { CODE64_3, 0xfa, 0xa }, { NOT_PRESENT, 0x12, 0xc },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		rig_gdt(r, rows[n].sel, flat(rows[n].access, rows[n].flags), 0);
	rig_gdt(r, TSS_SEL, system_desc(AT_TSS, 0x7ff, 0x8b), 0);
	rig_gdt(r, TSS2_SEL, system_desc(AT_TSS2, 0x67, 0x89), 0);
	rig_gdt(r, LDT_SEL, system_desc(AT_LDT, 0xff, 0x82), 0);
	rig_gdt(r, TSS64_SEL, system_desc(AT_TSS, 0x7ff, 0x8b), 0);
	r->cpu->gdt = (struct x86_dtable){ .base = AT_GDT, .limit = GDT_ENTRIES * 8 - 1 };
}

void rig_load_seg(struct rig *r, enum x86_seg_reg reg, uint16_t sel)
{
	struct x86_desc d = { .raw = rig_read(r, AT_GDT + (sel & ~7u), 8) };

	d.raw |= 1ULL << 40;
	x86_seg_unpack(&r->cpu->seg[reg], sel, &d);
	*seg_base(r->cpu, reg) = desc_base(&d);
}

static void load_tr(struct rig *r, uint16_t sel)
{
	struct x86_desc d = { .raw = rig_read(r, AT_GDT + sel, 8) };

	x86_seg_unpack(&r->cpu->tr.seg, sel, &d);
	r->cpu->tr.base = desc_base(&d);
}

static void begin(struct rig *r)
{
	x86_cpu_reset(r->cpu, false);
	memset(r->ram + AT_HANDLERS, 0xf4, 0x1000);
	REG(r, R_RIP) = AT_CODE;
	REG(r, R_RSP) = STACK0;
}

void rig_real(struct rig *r)
{
	begin(r);
	rig_load_seg(r, SEG_CS, 0);
	r->cpu->seg[SEG_CS] = (struct x86_seg){ .limit = 0xffff, .type = 0xb, .s = true, .present = true };
	REG(r, R_RSP) = 0x7000;
	for (unsigned int v = 0; v < 256; v++)
		rig_write(r, v * 4, 4, AT_HANDLERS + v * 16);
	r->cpu->idt.limit = 0x3ff;
	x86_update_mode(r->cpu);
}

void rig_protected(struct rig *r)
{
	begin(r);
	make_gdt(r);
	for (unsigned int v = 0; v < 256; v++)
		rig_idt32(r, v, CODE32_0, AT_HANDLERS + v * 16, 0x8e);
	r->cpu->idt = (struct x86_dtable){ .base = AT_IDT, .limit = 0x7ff };
	rig_write(r, AT_TSS + 4, 4, STACK0);
	rig_write(r, AT_TSS + 8, 2, DATA_0);
	rig_write(r, AT_TSS + 102, 2, 0x800);
	load_tr(r, TSS_SEL);
	x86_apply_cr0(r->cpu, r->cpu->cr0 | CR0_PE);
	rig_load_seg(r, SEG_CS, CODE32_0);
	for (int s = 0; s < SEG_COUNT; s++)
		if (s != SEG_CS)
			rig_load_seg(r, s, DATA_0);
	x86_update_mode(r->cpu);
}

/* Identity, 2 MiB pages, user. */
static void make_tables(struct rig *r)
{
	rig_write(r, AT_TABLES, 8, (AT_TABLES + 0x1000) | 7);
	rig_write(r, AT_TABLES + 0x1000, 8, (AT_TABLES + 0x2000) | 7);
	for (unsigned int n = 0; n < RAM_SIZE >> 21; n++)
		rig_write(r, AT_TABLES + 0x2000 + n * 8, 8, (uint64_t)n << 21 | 0x87);
}

void rig_long(struct rig *r)
{
	begin(r);
	make_gdt(r);
	make_tables(r);
	for (unsigned int v = 0; v < 256; v++)
		rig_idt64(r, v, CODE64_0, AT_HANDLERS + v * 16, 0x8e, 0);
	r->cpu->idt = (struct x86_dtable){ .base = AT_IDT, .limit = 0xfff };
	rig_write(r, AT_TSS + 4, 8, STACK0);
	rig_write(r, AT_TSS + 36, 8, STACK_IST);
	load_tr(r, TSS64_SEL);
	x86_apply_cr4(r->cpu, CR4_PAE);
	r->cpu->cr3 = AT_TABLES;
	r->cpu->efer = EFER_LME | EFER_SCE | EFER_NX;
	x86_apply_cr0(r->cpu, r->cpu->cr0 | CR0_PE | CR0_PG | CR0_WP);
	rig_load_seg(r, SEG_CS, CODE64_0);
	for (int s = 0; s < SEG_COUNT; s++)
		if (s != SEG_CS)
			rig_load_seg(r, s, DATA64_0);
	x86_update_mode(r->cpu);
}

void rig_user(struct rig *r)
{
	bool wide = r->cpu->mode == CODE64;

	rig_load_seg(r, SEG_CS, wide ? CODE64_3 : CODE32_3);
	for (int s = 0; s < SEG_COUNT; s++)
		if (s != SEG_CS)
			rig_load_seg(r, s, DATA_3);
	REG(r, R_RSP) = STACK3;
	x86_update_mode(r->cpu);
}

bool rig_in_handler(const struct rig *r, uint8_t vector)
{
	return r->halted && REG(r, R_RIP) == AT_HANDLERS + vector * 16u + 1;
}
