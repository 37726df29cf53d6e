// SPDX-License-Identifier: MIT
/*
 * The engine's side: a CPU alone, at CPL 3 in long mode with the pages of the
 * native side and nothing else mapped.  The page around the instruction is full
 * of HLT, which faults at CPL 3; every exception comes to the environment's hook.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "judge.h"
#include "../one_slot.h"
#include "x86/cpu/block.h"
#include "x86/cpu/vec.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* Guest-physical addresses. */
#define RAM_BYTES (1u << 20)
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define PT_CODE 0x4000u
#define PT_ARENA 0x5000u
#define CODE_GPA 0x10000u
#define ARENA_GPA 0x20000u

#define PTE_NX (1ULL << 63)
#define PTE_USED 0x67u          /* present, writable, user, accessed, dirty */

static struct {
	struct x86_cpu *cpu;
	uint8_t *ram;
	struct x86_cpuid id;
	struct x86_exception exc;
	bool raised;
	const char *why;
} side;

/* ------------------------------------------------------------------ environment */

static bool env_pio(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	return false;
}

static bool env_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	return false;
}

static int env_msr(struct x86_cpu *cpu, uint32_t index, uint64_t *value)
{
	return 1;
}

static int env_wrmsr(struct x86_cpu *cpu, uint32_t index, uint64_t value)
{
	return 1;
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
}

static int env_service(struct x86_cpu *cpu)
{
	atomic_store(&cpu->requests, 0);
	return 0;
}

static bool env_exception(struct x86_cpu *cpu, const struct x86_exception *exc)
{
	side.exc = *exc;
	side.raised = true;
	return true;
}

static const struct x86_env env = {
	.pio = env_pio, .mmio = env_mmio, .rdmsr = env_msr, .wrmsr = env_wrmsr, .cpuid = env_cpuid,
	.tsc = env_zero, .get_cr8 = env_zero, .set_cr8 = env_set_cr8, .hypercall = env_hypercall,
	.halt = env_halt, .service = env_service, .exception = env_exception,
};

/* ------------------------------------------------------------------ making it */

uint64_t engine_components(void)
{
	uint64_t both = host_components() & vec_supported_xcr0();

	return 7 | ((both & AVX512_COMPONENTS) == AVX512_COMPONENTS ? AVX512_COMPONENTS : 0);
}

/* The guest is offered what the host has: what neither has is #UD on both sides. */
static void host_features(struct x86_cpuid *id)
{
	uint32_t top, vendor = 0, rest[2];

	id->maxphyaddr = 40;
	id->supported_xcr0 = engine_components();
	for (unsigned int f = 1; f < X86_F_COUNT; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];
		uint32_t r[4] = { 0 };

		if (row->leaf >= 0x40000000 && row->leaf < 0x80000000)
			continue;
		__get_cpuid_count(row->leaf, row->subleaf, &r[0], &r[1], &r[2], &r[3]);
		if (r[row->reg] >> row->bit & 1)
			id->has[f / 64] |= 1ULL << (f % 64);
	}
	__get_cpuid(0, &top, &vendor, &rest[0], &rest[1]);
	id->vendor = vendor == signature_AMD_ebx ? V_AMD : V_INTEL;
}

static void put64(gpa_t gpa, uint64_t value)
{
	memcpy(side.ram + gpa, &value, 8);
}

static void page_tables(void)
{
	put64(PML4, PDPT | 7);
	put64(PDPT, PD | 7);
	put64(PD + 8 * (CODE_LIN >> 21), PT_CODE | 7);
	put64(PD + 8 * (ARENA_LIN >> 21), PT_ARENA | 7);
	for (unsigned int k = 0; k < CODE_BYTES / PAGE; k++)
		put64(PT_CODE + 8 * k, (CODE_GPA + k * PAGE) | (PTE_USED & ~2u));
	for (unsigned int k = 0; k < ARENA_PAGES; k++)
		put64(PT_ARENA + 8 * k, (ARENA_GPA + k * PAGE) | PTE_USED | PTE_NX);
}

void engine_protect(unsigned int page, bool present, bool writable)
{
	put64(PT_ARENA + 8 * page,
	      (ARENA_GPA + page * PAGE) | (PTE_USED & ~(present ? 0u : 1u) & ~(writable ? 0u : 2u)) | PTE_NX);
	mmu_flush_page(side.cpu, ARENA_LIN + page * PAGE);
}

uint8_t *engine_arena(void)
{
	return side.ram + ARENA_GPA;
}

int engine_init(void)
{
	static const uint8_t no_exit;
	struct x86_cpu *cpu = aligned_alloc(64, (sizeof(*cpu) + 63) & ~63UL);
	uint8_t *ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct memslots *slots = ram == MAP_FAILED ? NULL : one_slot(ram, RAM_BYTES);

	if (!cpu || !slots)
		return -ENOMEM;
	memset(cpu, 0, sizeof(*cpu));
	side.cpu = cpu;
	side.ram = ram;
	host_features(&side.id);
	cpu->env = &env;
	cpu->immediate_exit = &no_exit;
	cpu->cpuid = &side.id;
	cpu->maxphyaddr = side.id.maxphyaddr;
	cpu->slots = slots;
	cpu->vec = vec_state_create();
	cpu->mmu = mmu_create(cpu);
	cpu->code = code_cache_create();
	if (!cpu->vec || !cpu->mmu || !cpu->code || code_cache_join(cpu->code, cpu))
		return -ENOMEM;
	x86_cpu_reset(cpu, false);
	page_tables();
	engine_protect(PAGE_RO, true, false);
	engine_protect(PAGE_NONE, false, false);
	return 0;
}

/* ------------------------------------------------------------------ running */

static struct x86_seg segment(uint16_t selector, uint8_t type, uint32_t limit)
{
	return (struct x86_seg){ .limit = limit,
				 .selector = selector,
				 .type = type,
				 .s = true,
				 .present = true,
				 .dpl = 3,
				 .g = limit == 0xffffffff };
}

static void set_segments(struct x86_cpu *cpu, enum jmode mode, const struct state *s)
{
	bool small = mode == MODE16;
	struct x86_seg data = segment(small ? 0x0f : 0x2b, 3, small ? ARENA_BYTES - 1 : 0xffffffff);
	static const uint16_t cs[] = { 0x33, 0x23, 0x07 };

	data.db = !small;
	for (int k = 0; k < SEG_COUNT; k++) {
		cpu->seg[k] = data;
		*seg_base(cpu, k) = small ? ARENA_LIN : 0;
	}
	cpu->seg[SEG_CS] = segment(cs[mode], 11, small ? 0xffff : 0xffffffff);
	cpu->seg[SEG_CS].l = mode == MODE64;
	cpu->seg[SEG_CS].db = mode == MODE32;
	*seg_base(cpu, SEG_CS) = small ? CODE_LIN : 0;
	cpu->seg[SEG_FS] = cpu->seg[SEG_GS] = (struct x86_seg){ .unusable = true };
	*seg_base(cpu, SEG_FS) = s->fsbase;
	*seg_base(cpu, SEG_GS) = s->gsbase;
	cpu->tr.base = 0;
	cpu->tr.seg = (struct x86_seg){ .limit = 0x60, .type = 11, .present = true, .selector = 0x40 };
	cpu->cpl = 3;
}

static void set_controls(struct x86_cpu *cpu)
{
	cpu->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_MP | CR0_WP | CR0_AM;
	cpu->cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
	cpu->efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NX;
	cpu->cr3 = PML4;
	cpu->xcr0 = cpu->cpuid->supported_xcr0;
}

static void clear_events(struct x86_cpu *cpu)
{
	memset(&cpu->replay, 0, sizeof(cpu->replay));
	atomic_store(&cpu->requests, 0);
	cpu->shadow = 0;
	cpu->is_delivering = false;
	cpu->pending_db = 0;
	side.raised = false;
	side.why = NULL;
}

void engine_code(const struct code *c)
{
	memset(side.ram + CODE_GPA, FILL, CODE_BYTES);
	memcpy(side.ram + CODE_GPA + c->at, c->bytes, room(c));
}

void engine_run(const struct code *c, const struct state *s, struct outcome *o)
{
	struct x86_cpu *cpu = side.cpu;
	uint8_t *image = vec_xsave_image(cpu->vec);
	int r;

	memcpy(cpu->regs, s->gpr, sizeof(s->gpr));
	cpu->regs[R_RIP] = s->rip;
	set_controls(cpu);
	set_segments(cpu, c->mode, s);
	x86_set_rflags(cpu, s->rflags);
	clear_events(cpu);
	vregs_to_image(image, &s->v, cpu->xcr0);
	r = x86_cpu_run(cpu);
	memcpy(o->s.gpr, cpu->regs, sizeof(s->gpr));
	o->s.v = s->v;
	vregs_from_image(&o->s.v, image, cpu->xcr0);
	o->s.rip = cpu->regs[R_RIP];
	o->s.rflags = x86_get_rflags(cpu);
	o->s.fsbase = *seg_base(cpu, SEG_FS);
	o->s.gsbase = *seg_base(cpu, SEG_GS);
	o->vector = DONE;
	o->error = 0;
	o->cr2 = 0;
	if (r != X86_RUN_EXIT || !side.raised) {
		o->vector = BROKEN + r;
		side.why = cpu->internal.what;
		return;
	}
	if (landed(c, side.exc.vector, o->s.rip))
		return;
	o->vector = side.exc.vector;
	o->error = side.exc.has_error_code ? side.exc.error_code : 0;
	o->cr2 = side.exc.vector == X86_PF ? side.exc.payload : 0;
	if (side.exc.soft)
		o->s.rip += side.exc.insn_len;
}

const char *engine_why(void)
{
	return side.why ? side.why : "";
}
