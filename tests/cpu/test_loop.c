/* SPDX-License-Identifier: MIT */
/* The run loop: what it must have done before the next instruction, and what a guest cannot make it forget. */
#include "rig.h"

#include "x86/cpu/code.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

/* An environment of the test's own, made from the rig's. */
static struct {
	struct x86_env env;
	const struct x86_env *rig;
	unsigned int services, slices, reads, writes;
	bool drop_seen;
} world;

static void enter_world(struct rig *r)
{
	world.rig = r->cpu->env;
	world.env = *world.rig;
	world.services = world.slices = world.reads = world.writes = 0;
	world.drop_seen = false;
	r->cpu->env = &world.env;
}

/* ------------------------------------------------------------ blocks that die while a vCPU is in service() */

static int service_dropping(struct x86_cpu *cpu)
{
	static struct x86_cpu other;

	if (!world.services++) {
		/* What another vCPU may do meanwhile. */
		code_drop_all(cpu->code);
		code_quiesce(cpu->code, &other);
	}
	return world.rig->service(cpu);
}

static bool pio_after_drop(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	if (atomic_load(&cpu->requests) & X86_REQ_DROP_CODE)
		world.drop_seen = true;
	x86_request(cpu, X86_REQ_EVENT);
	return world.rig->pio(cpu, port, data, len, write);
}

GUEST(twice, 64,
	"mov $0x9000, %ebx; call *%rbx\n"
	"out %al, $0x10; call *%rbx; hlt");
GUEST(say, 64, "mov $7, %al; out %al, $0x10; ret");

static void drop_during_service(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	enter_world(r);
	world.env.service = service_dropping;
	world.env.pio = pio_after_drop;
	RIG_CODE(r, AT_CODE, twice);
	RIG_CODE(r, AT_CODE2, say);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->logged, 3);
	assert_true(world.services);
	assert_false(world.drop_seen);
}

/* ------------------------------------------------------------ signals are looked at whatever the guest does */

static int count_slice(struct x86_cpu *cpu)
{
	world.slices++;
	return 0;
}

GUEST(long_reps, 64,
	"mov $64, %ebx\n"
	"1: mov $0x200000, %edi; mov $0x200000, %ecx; rep stosb\n"
	"dec %ebx; jnz 1b; hlt");

static void repeats_are_charged(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	enter_world(r);
	world.env.slice = count_slice;
	RIG_CODE(r, AT_CODE, long_reps);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	/* 128 MiB: some 15 ms. */
	assert_true(world.slices >= 16);
}

GUEST(page_faults, 64, "mov $20000, %ecx; xor %eax, %eax; mov (%rax,%rax), %edx; mov 0x7f000000, %edx; hlt");
GUEST(pf_handler, 64, "dec %ecx; jz 1f; add $8, %rsp; iretq; 1: hlt");

static void faults_are_charged(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	enter_world(r);
	world.env.slice = count_slice;
	RIG_CODE(r, AT_CODE, page_faults);
	RIG_CODE(r, AT_CODE2, pf_handler);
	rig_idt64(r, X86_PF, CODE64_0, AT_CODE2, 0x8e, 0);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(world.slices >= 20);
}

/* ------------------------------------------------------------ pages written often */

GUEST(written_then_left, 64,
	"mov $200, %ecx\n"
	"1: incb 0x8800; dec %ecx; jnz 1b\n"
	"out %al, $0x10\n"
	"mov $50000, %ecx\n"
	"2: call 3f; dec %ecx; jnz 2b\n"
	"movb $9, 3f+1(%rip); call 3f\n"
	"out %al, $0x10; hlt\n"
	"3: mov $5, %al; ret");

/* A page that the guest has stopped to write is guarded again, and no longer compared at each entry. */
static void hot_page_cools(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, written_then_left);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(code_cache_stats(r->cpu->code)->hot_pages, 1);
	assert_in_range(r->cpu->blocks_compared, 2000, 10000);
	assert_int_equal(r->logged, 2);
	assert_int_equal(r->log[1] & 0xff, 9);
}

/* ------------------------------------------------------------ devices */

static bool count_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	if (write)
		world.writes++;
	else
		world.reads++;
	return world.rig->mmio(cpu, gpa, data, len, write);
}

GUEST(lock_device, 32, "mov $5, %eax; xchg %eax, 0x800000; lock addl $1, 0x800000; hlt");

static void locked_device(void **state)
{
	struct rig *r = *state;

	rig_protected(r);
	enter_world(r);
	world.env.mmio = count_mmio;
	RIG_CODE(r, AT_CODE, lock_device);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(world.reads, 2);
	assert_int_equal(world.writes, 2);
	assert_int_equal(REG(r, R_RAX), 0xffffffff);
}

#define LARGE_ENTRY (AT_TABLES + 0x2000 + 2 * 8)        /* maps 0x400000 */

static bool ask_client(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	world.reads++;
	return false;
}

static void enable_vectors(struct x86_cpu *cpu)
{
	x86_apply_cr4(cpu, cpu->cr4 | CR4_OSFXSR | CR4_OSXSAVE);
	cpu->xcr0 = XFEATURE_X87 | XFEATURE_SSE | XFEATURE_AVX;
	x86_update_mode(cpu);
}

GUEST(gather_device, 64,
	"mov $0x400000, %eax; mov $0x100000000, %rbx; vmovq %rbx, %xmm2\n"
	"vpcmpeqd %xmm1, %xmm1, %xmm1; vpgatherdq %xmm1, (%rax,%xmm2,8), %xmm0; hlt");

/* What a gather has committed is not read again when it goes on. */
static void gather_from_device(void **state)
{
	struct rig *r = *state;

	if (!(vec_supported_xcr0() & XFEATURE_AVX))
		skip();
	rig_long(r);
	enter_world(r);
	world.env.mmio = ask_client;
	enable_vectors(r->cpu);
	rig_write(r, LARGE_ENTRY, 8, 0x80000087);
	RIG_CODE(r, AT_CODE, gather_device);
	for (unsigned int n = 0; n < 4; n++) {
		struct x86_replay *replay = &r->cpu->replay;

		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		if (!replay->pending)
			break;
		replay->frag[replay->count].data[0] = 10 + world.reads;
		replay->pending = false;
		replay->count++;
	}
	assert_true(r->halted);
	assert_int_equal(world.reads, 2);
	assert_int_equal(r->cpu->vec->image.xmm[0][0], 11);
	assert_int_equal(r->cpu->vec->image.xmm[0][8], 12);
}

/* ------------------------------------------------------------ stale code */

GUEST(remap, 64,
	"mov $0x43f000, %ebx\n"
	"call *%rbx; out %al, $0x10\n"
	"xor %eax, %eax; xor %ecx, %ecx; xor %edx, %edx; wrpkru\n"
	"movl $0x200087, 0x102010; invlpg 0x440000\n"
	"call *%rbx; out %al, $0x10; hlt");
GUEST(one, 64, "mov $1, %al; ret");
GUEST(two, 64, "mov $2, %al; ret");

/* A change of rights must not make INVLPG forget that code was found through a large page. */
static void invlpg_after_wrpkru(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	x86_apply_cr4(r->cpu, r->cpu->cr4 | CR4_PKE);
	rig_write(r, LARGE_ENTRY, 8, 0x87);
	RIG_CODE(r, AT_CODE, remap);
	RIG_CODE(r, 0x3f000, one);
	RIG_CODE(r, 0x23f000, two);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->logged, 2);
	assert_int_equal(r->log[0] & 0xff, 1);
	assert_int_equal(r->log[1] & 0xff, 2);
}

GUEST(patching, 64,
	"mov $200, %ecx\n"
	"1: mov %cl, 2f+1-patching+0x8000; nop\n"
	"2: mov $0, %al; cmp %al, %cl; jne 3f\n"
	"dec %ecx; jnz 1b\n"
	"3: mov %ecx, %eax; out %eax, $0x10; hlt");

/* However often a page is written, code on it sees what the instruction before has written. */
static void patches_next_insn(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	RIG_CODE(r, AT_CODE, patching);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(r->logged, 1);
	assert_int_equal(r->log[0], 0);
}

/* ------------------------------------------------------------ caches that a guest can fill */

/* Every PSHUFD, PSHUFHW and PSHUFLW between registers: more forms than one area of stubs can hold. */
static uint8_t *all_shuffles(uint8_t *p)
{
	static const uint8_t prefix[] = { 0x66, 0xf2, 0xf3 };

	for (unsigned int form = 0; form < 3 << 16; form++) {
		unsigned int dst = form >> 12 & 15, src = form >> 8 & 15;

		*p++ = prefix[form >> 16];
		*p++ = 0x40 | (dst >> 3) << 2 | src >> 3;
		*p++ = 0x0f;
		*p++ = 0x70;
		*p++ = 0xc0 | (dst & 7) << 3 | (src & 7);
		*p++ = form & 0xff;
	}
	return p;
}

static void any_number_of_forms(void **state)
{
	struct rig *r = *state;
	uint8_t *end;

	rig_long(r);
	x86_apply_cr4(r->cpu, r->cpu->cr4 | CR4_OSFXSR);
	end = all_shuffles(r->ram + 0x200000);
	*end = 0xf4;
	for (unsigned int pass = 0; pass < 3; pass++) {
		REG(r, R_RIP) = 0x200000;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
		assert_true(r->halted);
		assert_int_equal(REG(r, R_RIP), (uint64_t)(end - r->ram) + 1);
	}
}

static unsigned int page_records(const struct code_cache *cc)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < CODE_PAGE_HASH; i++)
		for (const struct code_page *p = cc->page[i]; p; p = p->next)
			n++;
	return n;
}

GUEST(drop_here, 64, "out %al, $0x10; hlt");

static void page_records_go(void **state)
{
	struct rig *r = *state;

	rig_long(r);
	for (unsigned int page = 0; page < 64; page++) {
		RIG_CODE(r, 0x200000 + page * 0x1000, drop_here);
		REG(r, R_RIP) = 0x200000 + page * 0x1000;
		assert_int_equal(rig_run(r), X86_RUN_EXIT);
	}
	assert_true(page_records(r->cpu->code) >= 64);
	code_drop_all(r->cpu->code);
	REG(r, R_RIP) = 0x200000;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(page_records(r->cpu->code), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(drop_during_service),
		RIG_TEST(repeats_are_charged),
		RIG_TEST(faults_are_charged),
		RIG_TEST(hot_page_cools),
		RIG_TEST(locked_device),
		RIG_TEST(gather_from_device),
		RIG_TEST(invlpg_after_wrpkru),
		RIG_TEST(patches_next_insn),
		RIG_TEST(any_number_of_forms),
		RIG_TEST(page_records_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
