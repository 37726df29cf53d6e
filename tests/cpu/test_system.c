/* SPDX-License-Identifier: MIT */
/*
 * System instructions that the host cannot judge: each works where its feature
 * is offered, and is undefined, or what it was before, where it is not.  And no
 * access touches host memory outside a slot.
 */
#include "rig.h"

#include <sys/mman.h>

#include "x86/cpu/vec.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"
#include "x86/mmu/mmu.h"

#define DEVICE RAM_SIZE                 /* beyond the slot, mapped by map_device() */

static struct {
	struct x86_env env;
	unsigned int accesses, bytes;
	uint8_t written[64];
} device;

static bool device_mmio(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	device.accesses++;
	for (unsigned int n = 0; n < len; n++) {
		assert_true(gpa + n >= DEVICE);
		if (write && gpa + n < DEVICE + 64)
			device.written[gpa + n - DEVICE] = ((uint8_t *)data)[n];
	}
	device.bytes += len;
	if (!write)
		memset(data, 0xdd, len);
	return true;
}

/* 64-bit mode, with 2 MiB of a device behind the memory. */
static void with_device(struct rig *r)
{
	rig_long(r);
	rig_write(r, AT_TABLES + 0x2000 + (DEVICE >> 21) * 8, 8, DEVICE | 0x87);
	device.env = *r->cpu->env;
	device.env.mmio = device_mmio;
	device.accesses = device.bytes = 0;
	memset(device.written, 0, sizeof(device.written));
	r->cpu->env = &device.env;
	x86_apply_cr4(r->cpu, CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE | CR4_FSGSBASE);
	r->cpu->xcr0 = 3;
	x86_update_mode(r->cpu);
}

/* ------------------------------------------------------------ offered or not */

enum { ENDS, DOES_NOT_END = 0xff };

static void offered(void **state)
{
	static const struct {
		const char *code;
		unsigned int feature;
		uint8_t with, without;  /* vectors; ENDS: none */
		bool amd;
	} rows[] = {
		/* RAX, RBX, RDX point to a device, RSI to memory, RCX is 0. */
		{ "\x0f\xae\x3b", X86_F_CLFLUSH, ENDS, X86_UD, false },
		{ "\x66\x0f\xae\x3b", X86_F_CLFLUSHOPT, ENDS, X86_UD, false },
		{ "\x66\x0f\xae\x33", X86_F_CLWB, ENDS, X86_UD, false },
		{ "\x0f\x1c\x03", X86_F_CLDEMOTE, ENDS, ENDS, false },
		{ "\x0f\x0d\x0b", X86_F_3DNOWPREFETCH, ENDS, ENDS, false },             /* PREFETCHW */
		{ "\x0f\x18\x0b", 0, ENDS, ENDS, false },                               /* PREFETCHT0 */
		{ "\xf3\x0f\x1e\xfa", 0, ENDS, ENDS, false },                           /* ENDBR64 */
		{ "\xf3\x0f\x09", X86_F_WBNOINVD, ENDS, ENDS, false },                  /* WBINVD without */
		{ "\x0f\x01\xe8", X86_F_SERIALIZE, ENDS, X86_UD, false },
		{ "\x0f\xae\xe8", 0, ENDS, ENDS, false },                               /* LFENCE */
		{ "\x0f\x01\xf9", X86_F_RDTSCP, ENDS, X86_UD, false },
		{ "\xf3\x0f\xc7\xf8", X86_F_RDPID, ENDS, X86_UD, false },
		{ "\x0f\x38\xf0\x06", X86_F_MOVBE, ENDS, X86_UD, false },
		{ "\x0f\x38\xf9\x06", X86_F_MOVDIRI, ENDS, X86_UD, false },
		{ "\x66\x0f\x38\xf8\x3e", X86_F_MOVDIR64B, ENDS, X86_UD, false },
		{ "\xf3\x48\x0f\xae\xc0", X86_F_FSGSBASE, ENDS, X86_UD, false },        /* RDFSBASE */
		{ "\xf3\x48\x0f\xae\xd8", X86_F_FSGSBASE, ENDS, X86_UD, false },        /* WRGSBASE */
		{ "\x66\x0f\x38\x82\x0e", X86_F_INVPCID, ENDS, X86_UD, false },
		{ "\x0f\x01\xd0", X86_F_XSAVE, ENDS, X86_UD, false },                   /* XGETBV */
		{ "\xff\xc1\x0f\x01\xd0", X86_F_XGETBV1, ENDS, X86_GP, false },         /* with ECX 1 */
		{ "\x0f\x01\xca", X86_F_SMAP, ENDS, X86_UD, false },                    /* CLAC */
		{ "\x0f\x01\xc8", X86_F_MONITOR, ENDS, X86_UD, false },                 /* MONITOR: a device, too */
		{ "\x0f\x01\xc9", X86_F_MONITOR, ENDS, X86_UD, false },                 /* MWAIT */
		{ "\xff\xc1\x0f\x01\xc8", X86_F_MONITOR, X86_GP, X86_UD, false },       /* MONITOR with a hint */
		{ "\xff\xc1\xff\xc1\x0f\x01\xc9", X86_F_MONITOR, X86_GP, X86_UD, false },
		{ "\x9f", X86_F_LAHF_LM, ENDS, X86_UD, false },
		{ "\x9e", X86_F_LAHF_LM, ENDS, X86_UD, false },
		{ "\x48\x0f\xc7\x0e", X86_F_CX16, ENDS, X86_UD, false },
		{ "\x48\x89\xf0\x0f\x01\xfc", X86_F_CLZERO, ENDS, X86_UD, true },
		{ "\x0f\x05", X86_F_SYSCALL, DOES_NOT_END, X86_UD, false },
		{ "\x0f\x34", X86_F_SEP, X86_UD, X86_UD, true },                        /* SYSENTER: not in AMD's long mode */
		{ "\x0f\x01\xfd", 0, X86_UD, X86_UD, true },                            /* RDPRU */
		{ "\x0f\x01\xfa", 0, X86_UD, X86_UD, true },                            /* MONITORX */
		{ "\x66\x0f\xae\xf0", 0, X86_UD, X86_UD, false },                       /* TPAUSE */
		{ "\xc7\xf8\0\0\0\0", 0, X86_UD, X86_UD, false },                       /* XBEGIN */
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		for (int without = !rows[n].feature; without < 2; without++) {
			uint8_t want = without && rows[n].feature ? rows[n].without : rows[n].with;
			struct rig *r = rig_new();
			/* Zeroes within are written as operands; the longest of them has six bytes. */
			size_t len = rows[n].code[0] == '\xc7' ? 6 : strlen(rows[n].code);

			((struct x86_cpuid *)r->cpu->cpuid)->vendor = rows[n].amd ? V_AMD : V_INTEL;
			if (without)
				rig_without(r, rows[n].feature);
			with_device(r);
			rig_put(r, AT_CODE, rows[n].code, len);
			rig_put(r, AT_CODE + len, "\xf4", 1);
			r->cpu->lstar = AT_CODE2;
			rig_put(r, AT_CODE2, "\xf4", 1);
			r->cpu->star = (uint64_t)CODE64_0 << 32;
			REG(r, R_RAX) = REG(r, R_RBX) = REG(r, R_RDX) = DEVICE;
			REG(r, R_RCX) = 0;
			REG(r, R_RSI) = AT_DATA;
			REG(r, R_RDI) = AT_DATA + 64;
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			if (want == ENDS ? REG(r, R_RIP) != AT_CODE + len + 1 :
			    want != DOES_NOT_END && !rig_in_handler(r, want))
				fail_msg("row %u, feature %s: ended at %#llx", n, without ? "absent" : "there",
					 (unsigned long long)REG(r, R_RIP));
			assert_int_equal(device.accesses, 0);
			rig_free(r);
		}
	(void)state;
}

GUEST(direct, 64, "	movdiri %rax, (%rsi)\n	movdir64b (%rsi), %rdi\n	hlt\n");

static void direct_stores(void **state)
{
	struct rig *r = *state;

	with_device(r);
	for (unsigned int n = 0; n < 64; n++)
		rig_write(r, AT_DATA + n, 1, n);
	RIG_CODE(r, AT_CODE, direct);
	REG(r, R_RAX) = 0x1122334455667788;
	REG(r, R_RSI) = AT_DATA;
	REG(r, R_RDI) = AT_DATA + 128;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(rig_read(r, AT_DATA, 8), 0x1122334455667788);
	assert_memory_equal(r->ram + AT_DATA, r->ram + AT_DATA + 128, 64);
	/* The source may lie anywhere, the destination may not. */
	REG(r, R_RIP) = AT_CODE;
	REG(r, R_RSI) = AT_DATA + 1;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(r->halted && REG(r, R_RIP) == AT_CODE + (uint64_t)(direct_end - direct));
	REG(r, R_RIP) = AT_CODE;
	REG(r, R_RDI) = AT_DATA + 32;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
}

GUEST(bases, 64, "	wrfsbase %rax\n	rdfsbase %rbx\n	wrgsbase %ecx\n	mov %gs:8, %edx\n	hlt\n");

static void segment_bases(void **state)
{
	struct rig *r = *state;

	with_device(r);
	RIG_CODE(r, AT_CODE, bases);
	rig_write(r, AT_DATA + 8, 4, 77);
	REG(r, R_RAX) = 0xffff800000001000;
	REG(r, R_RCX) = 0xdead00000000 | AT_DATA;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_int_equal(REG(r, R_RBX), 0xffff800000001000);
	assert_int_equal(REG(r, R_RDX), 77);
	REG(r, R_RIP) = AT_CODE;
	REG(r, R_RAX) = 1ULL << 63;
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_GP));
	REG(r, R_RIP) = AT_CODE;
	x86_apply_cr4(r->cpu, CR4_PAE);
	assert_int_equal(rig_run(r), X86_RUN_EXIT);
	assert_true(rig_in_handler(r, X86_UD));
}

/* ------------------------------------------------------------ the last bytes of a slot */

GUEST(store1, 64, "	mov %al, (%rbx)\n	hlt\n");
GUEST(store2, 64, "	mov %ax, (%rbx)\n	hlt\n");
GUEST(store4, 64, "	mov %eax, (%rbx)\n	hlt\n");
GUEST(store8, 64, "	mov %rax, (%rbx)\n	hlt\n");
GUEST(store16, 64, "	movups %xmm0, (%rbx)\n	hlt\n");
GUEST(add8, 64, "	lock add %rax, (%rbx)\n	hlt\n");
GUEST(push8, 64, "	lea 8(%rbx), %rsp\n	push %rax\n	hlt\n");
GUEST(repeat, 64, "	mov $40, %ecx\n	mov %rbx, %rdi\n	cld\n	rep stosb\n	hlt\n");
GUEST(call8, 64, "	lea 8(%rbx), %rsp\n	call 1f\n1:	hlt\n");
GUEST(load8, 64, "	mov (%rbx), %rax\n	hlt\n");
GUEST(load16, 64, "	movups (%rbx), %xmm0\n	hlt\n");

/* Where an access begins inside a slot and ends beyond, the device gets what lies beyond, byte for byte. */
static void edge_of_slot(void **state)
{
	static const struct { const uint8_t *code, *end; unsigned int size; bool write; } rows[] = {
		{ store1, store1_end, 1, true }, { store2, store2_end, 2, true }, { store4, store4_end, 4, true },
		{ store8, store8_end, 8, true }, { store16, store16_end, 16, true }, { add8, add8_end, 8, true },
		{ push8, push8_end, 8, true }, { repeat, repeat_end, 40, true }, { call8, call8_end, 8, true },
		{ load8, load8_end, 8, false }, { load16, load16_end, 16, false },
	};

	for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++)
		for (unsigned int before = 0; before <= 64; before++) {
			unsigned int inside = before < rows[n].size ? before : rows[n].size;
			unsigned int beyond = rows[n].size - inside;
			struct rig *r = rig_new();

			with_device(r);
			rig_put(r, AT_CODE, rows[n].code, (size_t)(rows[n].end - rows[n].code));
			memset(r->ram + RAM_SIZE - 64, 0x11, 64);
			REG(r, R_RAX) = 0x0101010101010101;
			REG(r, R_RBX) = RAM_SIZE - before;
			assert_int_equal(rig_run(r), X86_RUN_EXIT);
			assert_true(r->halted);
			assert_int_equal(REG(r, R_RIP), AT_CODE + (rows[n].end - rows[n].code));
			assert_int_equal(device.accesses != 0, beyond != 0);
			if (rows[n].code != add8)
				assert_int_equal(device.bytes, beyond);
			if (rows[n].write && rows[n].code != add8 && inside)
				assert_int_not_equal(r->ram[RAM_SIZE - before + inside - 1], 0x11);
			if (rows[n].code == load8)
				for (unsigned int k = 0; k < 8; k++)
					assert_int_equal(REG(r, R_RAX) >> (8 * k) & 0xff, k < inside ? 0x11 : 0xdd);
			rig_free(r);
		}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(offered),
		RIG_TEST(direct_stores),
		RIG_TEST(segment_bases),
		cmocka_unit_test(edge_of_slot),
	};

	return cmocka_run_group_tests_name("system", tests, NULL, NULL);
}
