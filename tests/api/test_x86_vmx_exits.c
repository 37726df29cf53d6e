// SPDX-License-Identifier: MIT
/*
 * The instructions of L2's that exit, and what L1 is told then: reason, qualification, instruction information.  SDM 3C,
 * 25.1, 27.2.1 and 27.2.5.
 */
#include "vmx.h"

enum {
	F_EXCEPTIONS = 0x4004, F_INSN_INFO = 0x440e, F_CR0_MASK = 0x6000, F_CR4_MASK = 0x6002, F_CR0_SHADOW = 0x6004,
	F_CR4_SHADOW = 0x6006, F_FS_BASE = 0x680e, F_DR7 = 0x681a, F_IO_A = 0x2000, F_IO_B = 0x2002,
};

/* Controls by their bits: of F_PROC, then of F_PROC2. */
enum { INVLPG = 9, MWAIT = 10, RDPMC = 11, RDTSC = 12, CR3_LOAD = 15, CR3_STORE = 16, CR8_LOAD = 19, CR8_STORE = 20,
       MOV_DR = 23, MONITOR = 29, PAUSE = 30, SECOND = 32, TABLES = 2 + SECOND, WBINVD = 6 + SECOND, RDRAND = 11 + SECOND,
       RDSEED = 16 + SECOND, ALWAYS = 255 };

/* The instruction information, tables 27-8 to 27-14. */
#define SCALE(n) (n)
#define REG1(n) ((n) << 3 | 1u << 10)
#define A16 (0u << 7)
#define A32 (1u << 7)
#define A64 (2u << 7)
#define SEG(n) ((n) << 15)
#define INDEX(n) ((n) << 18)
#define NO_INDEX (1u << 22)
#define BASE(n) ((n) << 23)
#define NO_BASE (1u << 27)
#define KIND(n) ((n) << 28)
#define REG2(n) ((n) << 28)
#define MEM (A64 | SEG(3) | NO_INDEX | NO_BASE)
#define RANDOM(n, size) ((n) << 3 | (size) << 11)

struct row {
	const char *name;
	uint8_t len, code[12];
	uint8_t control;
	bool alone;             /* without the exit it is no use to run it */
	uint8_t reason;
	uint64_t qualification;
	uint32_t info;
};

#define I(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
#define AT_8000 0x25, 0x00, 0x80, 0x00, 0x00

/* RBX is 0x5000, RCX 0, RDX 2, FS begins at 0x1000. */
static const struct row rows[] = {
	{ "SGDT", I(0x0f, 0x01, 0x04, AT_8000), TABLES, false, 46, 0x8000, MEM | KIND(0) },
	{ "SIDT", I(0x0f, 0x01, 0x0c, AT_8000), TABLES, false, 46, 0x8000, MEM | KIND(1) },
	{ "LGDT", I(0x0f, 0x01, 0x14, AT_8000), TABLES, false, 46, 0x8000, MEM | KIND(2) },
	{ "LIDT", I(0x0f, 0x01, 0x1c, AT_8000), TABLES, false, 46, 0x8000, MEM | KIND(3) },
	{ "SGDT, base and index", I(0x0f, 0x01, 0x44, 0x8b, 0x10), TABLES, false, 46, 0x10,
	  A64 | SEG(3) | SCALE(2) | INDEX(1) | BASE(3) | KIND(0) },
	{ "SGDT, below", I(0x0f, 0x01, 0x43, 0xf0), TABLES, false, 46, -0x10ULL, A64 | SEG(3) | NO_INDEX | BASE(3) },
	{ "SIDT, FS", I(0x64, 0x0f, 0x01, 0x0b), TABLES, false, 46, 0, A64 | SEG(4) | NO_INDEX | BASE(3) | KIND(1) },
	{ "SIDT, R13 and 8 times R12", I(0x43, 0x0f, 0x01, 0x4c, 0xe5, 0), TABLES, true, 46, 0,
	  A64 | SEG(3) | SCALE(3) | INDEX(12) | BASE(13) | KIND(1) },
	{ "SIDT, 32-bit address", I(0x67, 0x0f, 0x01, 0x0b), TABLES, false, 46, 0,
	  A32 | SEG(3) | NO_INDEX | BASE(3) | KIND(1) },
	{ "SIDT, RSP", I(0x0f, 0x01, 0x4c, 0x24, 0xf0), TABLES, false, 46, -0x10ULL,
	  A64 | SEG(2) | NO_INDEX | BASE(4) | KIND(1) },
	{ "SIDT, RIP", I(0x0f, 0x01, 0x0d, 0xf9, 0x5f, 0, 0), TABLES, false, 46, 0x8000, MEM | KIND(1) },
	{ "SLDT", I(0x0f, 0x00, 0xc3), TABLES, false, 47, 0, REG1(3) | KIND(0) },
	{ "SLDT to memory", I(0x0f, 0x00, 0x04, AT_8000), TABLES, false, 47, 0x8000, MEM | KIND(0) },
	{ "STR", I(0x41, 0x0f, 0x00, 0xc8), TABLES, false, 47, 0, REG1(8) | KIND(1) },
	{ "STR to memory", I(0x0f, 0x00, 0x0c, AT_8000), TABLES, false, 47, 0x8000, MEM | KIND(1) },
	{ "LLDT", I(0x0f, 0x00, 0xd1), TABLES, false, 47, 0, REG1(1) | KIND(2) },
	{ "LLDT from memory", I(0x0f, 0x00, 0x14, AT_8000), TABLES, false, 47, 0x8000, MEM | KIND(2) },
	{ "LTR", I(0x0f, 0x00, 0xda), TABLES, true, 47, 0, REG1(2) | KIND(3) },
	{ "LTR from memory", I(0x0f, 0x00, 0x1c, AT_8000), TABLES, true, 47, 0x8000, MEM | KIND(3) },
	{ "RDRAND DX", I(0x66, 0x0f, 0xc7, 0xf2), RDRAND, false, 57, 0, RANDOM(2, 0) },
	{ "RDRAND EBX", I(0x0f, 0xc7, 0xf3), RDRAND, false, 57, 0, RANDOM(3, 1) },
	{ "RDRAND R8", I(0x49, 0x0f, 0xc7, 0xf0), RDRAND, false, 57, 0, RANDOM(8, 2) },
	{ "RDSEED DX", I(0x66, 0x0f, 0xc7, 0xfa), RDSEED, false, 61, 0, RANDOM(2, 0) },
	{ "RDSEED R8", I(0x49, 0x0f, 0xc7, 0xf8), RDSEED, false, 61, 0, RANDOM(8, 2) },
	{ "INVPCID", I(0x66, 0x0f, 0x38, 0x82, 0x14, AT_8000), INVLPG, false, 58, 0x8000, MEM | REG2(2) },
	{ "INVLPG", I(0x0f, 0x01, 0x3c, AT_8000), INVLPG, false, 14, 0x8000, 0 },
	{ "INVLPG in FS", I(0x64, 0x0f, 0x01, 0x7b, 0x10), INVLPG, false, 14, 0x6010, 0 },
	{ "RDTSC", I(0x0f, 0x31), RDTSC, false, 16, 0, 0 },
	{ "RDTSCP", I(0x0f, 0x01, 0xf9), RDTSC, false, 51, 0, 0 },
	{ "RDPMC", I(0x0f, 0x33), RDPMC, false, 15, 0, 0 },
	{ "MWAIT", I(0x0f, 0x01, 0xc9), MWAIT, true, 36, 0, 0 },
	{ "MONITOR", I(0x0f, 0x01, 0xc8), MONITOR, true, 39, 0, 0 },
	{ "PAUSE", I(0xf3, 0x90), PAUSE, false, 40, 0, 0 },
	{ "WBINVD", I(0x0f, 0x09), WBINVD, false, 54, 0, 0 },
	{ "MOV CR3, RDX", I(0x0f, 0x22, 0xda), CR3_LOAD, true, 28, 3 | 2 << 8, 0 },
	{ "MOV R9, CR3", I(0x41, 0x0f, 0x20, 0xd9), CR3_STORE, false, 28, 3 | 1 << 4 | 9 << 8, 0 },
	{ "MOV CR8, RCX", I(0x44, 0x0f, 0x22, 0xc1), CR8_LOAD, false, 28, 8 | 1 << 8, 0 },
	{ "MOV RDX, CR8", I(0x44, 0x0f, 0x20, 0xc2), CR8_STORE, false, 28, 8 | 1 << 4 | 2 << 8, 0 },
	{ "MOV RDX, DR7", I(0x0f, 0x21, 0xfa), MOV_DR, false, 29, 7 | 1 << 4 | 2 << 8, 0 },
	{ "MOV DR3, R8", I(0x41, 0x0f, 0x23, 0xd8), MOV_DR, false, 29, 3 | 8 << 8, 0 },
	{ "CPUID", I(0x0f, 0xa2), ALWAYS, true, 10, 0, 0 },
	{ "INVD", I(0x0f, 0x08), ALWAYS, true, 13, 0, 0 },
	{ "VMCALL", I(0x0f, 0x01, 0xc1), ALWAYS, true, 18, 0, 0 },
	{ "VMCLEAR", I(0x66, 0x0f, 0xc7, 0x34, AT_8000), ALWAYS, true, 19, 0x8000, MEM },
	{ "VMLAUNCH", I(0x0f, 0x01, 0xc2), ALWAYS, true, 20, 0, 0 },
	{ "VMPTRLD", I(0x0f, 0xc7, 0x34, AT_8000), ALWAYS, true, 21, 0x8000, MEM },
	{ "VMPTRST", I(0x0f, 0xc7, 0x3c, AT_8000), ALWAYS, true, 22, 0x8000, MEM },
	{ "VMREAD to RBX", I(0x0f, 0x78, 0xd3), ALWAYS, true, 23, 0, REG1(3) | REG2(2) },
	{ "VMREAD to memory", I(0x0f, 0x78, 0x14, AT_8000), ALWAYS, true, 23, 0x8000, MEM | REG2(2) },
	{ "VMRESUME", I(0x0f, 0x01, 0xc3), ALWAYS, true, 24, 0, 0 },
	{ "VMWRITE of RBX", I(0x0f, 0x79, 0xd3), ALWAYS, true, 25, 0, REG1(3) | REG2(2) },
	{ "VMWRITE of memory", I(0x44, 0x0f, 0x79, 0x04, AT_8000), ALWAYS, true, 25, 0x8000, MEM | REG2(8) },
	{ "VMXOFF", I(0x0f, 0x01, 0xc4), ALWAYS, true, 26, 0, 0 },
	{ "VMXON", I(0xf3, 0x0f, 0xc7, 0x34, AT_8000), ALWAYS, true, 27, 0x8000, MEM },
	{ "INVEPT", I(0x66, 0x0f, 0x38, 0x80, 0x14, AT_8000), ALWAYS, true, 50, 0x8000, MEM | REG2(2) },
	{ "INVVPID", I(0x66, 0x0f, 0x38, 0x81, 0x14, AT_8000), ALWAYS, true, 53, 0x8000, MEM | REG2(2) },
};

#define VMCALL 0x0f, 0x01, 0xc1
#define P2_ALL (1u << 2 | 1u << 3 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 16)

static struct vmx start(void)
{
	struct vmx s = VMX(P2_ALL, VMCALL);

	vmx_control2(&s, 1u << 3 | 1u << 12);           /* RDTSCP and INVPCID are there */
	vmx_put(&s, F_EXCEPTIONS, 0xffffffff);
	return s;
}

/* Where L2 begins anew, @len bytes in front of a VMCALL. */
static void put_code(struct vmx *s, const uint8_t *code, size_t len)
{
	vmx_code(s, VMX_L2, code, len);
	VMX_CODE(s, VMX_L2 + len, VMCALL);
	vmx_goto(s, VMX_L2);
	memset(vmx_at(s, 0x8000), 0, 16);
	vmx_put(s, F_FS_BASE, 0x1000);
	*vmx_reg(s, 1) = 0;
	*vmx_reg(s, 2) = 2;
	*vmx_reg(s, 3) = 0x5000;
	*vmx_reg(s, 8) = 0;
}

static void control(struct vmx *s, unsigned int bit, bool on)
{
	if (bit != ALWAYS)
		(on ? vmx_set : vmx_clear)(s, bit < SECOND ? F_PROC : F_PROC2, 1u << (bit % SECOND));
}

/* L2 stays where it is. */
static void expect_exit(struct vmx *s, const char *name, uint32_t reason, uint64_t qualification, size_t len)
{
	uint32_t was = vmx_run(s);
	uint64_t told = vmx_get(s, F_QUALIFICATION);

	if (was != reason || told != qualification)
		fail_msg("%s: exit %u, %#lx", name, was, told);
	assert_int_equal(vmx_get(s, F_INSN_LEN), len);
	assert_int_equal(vmx_get(s, F_RIP), VMX_L2);
	assert_int_equal(vmx_get(s, F_EXIT_EVENT), 0);
}

/* Bit 11 is the operand's size, which 64-bit mode leaves open. */
static void expect_info(struct vmx *s, const struct row *r)
{
	uint64_t info = vmx_get(s, F_INSN_INFO), open = r->reason == 46 ? 1u << 11 : 0;

	if ((info & ~open) != r->info)
		fail_msg("%s: information %#lx", r->name, info);
}

static void test_instructions(void **state)
{
	struct vmx s = start();

	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		const struct row *r = &rows[n];
		uint32_t reason;

		control(&s, r->control, true);
		put_code(&s, r->code, r->len);
		expect_exit(&s, r->name, r->reason, r->qualification, r->len);
		expect_info(&s, r);
		control(&s, r->control, false);
		if (r->alone)
			continue;
		put_code(&s, r->code, r->len);
		reason = vmx_run(&s);
		if (reason != R_VMCALL || vmx_get(&s, F_RIP) != VMX_L2 + r->len)
			fail_msg("%s, without the control: exit %u at %#lx", r->name, reason, vmx_get(&s, F_RIP));
		vmx_put(&s, 0x6818, GUEST_IDT);
		vmx_put(&s, 0x6816, GUEST_IDT + 512);
	}
	vmx_end(&s);
}

/* --- ports and MSRs ------------------------------------------------------------------------------------ */

enum { IN = 1 << 3, STRING = 1 << 4, REP = 1 << 5, IMMEDIATE = 1 << 6 };
#define PORT(n) ((uint64_t)(n) << 16)

/* RSI is 0x100006000, RDI 0x100007000, DX 2; linear addresses are of strings. */
static const struct {
	const char *name;
	uint8_t len, code[4];
	uint64_t qualification, linear;
	uint32_t info;
} ports[] = {
	{ "IN", I(0xe4, 0x55), IN | IMMEDIATE | PORT(0x55), 0, 0 },
	{ "OUT", I(0xe7, 0xff), 3 | IMMEDIATE | PORT(0xff), 0, 0 },
	{ "IN DX", I(0x66, 0xed), 1 | IN | PORT(2), 0, 0 },
	{ "INSB", I(0x6c), IN | STRING | PORT(2), 0x100007000, A64 },
	{ "INSD, 32-bit address", I(0x67, 0x6d), 3 | IN | STRING | PORT(2), 0x7000, A32 },
	{ "OUTSW", I(0x66, 0x6f), 1 | STRING | PORT(2), 0x100006000, A64 | SEG(3) },
	{ "REP OUTSB in FS", I(0x64, 0xf3, 0x6e), STRING | REP | PORT(2), 0x100007000, A64 | SEG(4) },
};

static void test_ports(void **state)
{
	struct vmx s = start();

	for (unsigned int n = 0; n < sizeof(ports) / sizeof(ports[0]); n++) {
		put_code(&s, ports[n].code, ports[n].len);
		*vmx_reg(&s, 1) = 1;
		*vmx_reg(&s, 6) = 0x100006000;
		*vmx_reg(&s, 7) = 0x100007000;
		expect_exit(&s, ports[n].name, R_IO, ports[n].qualification, ports[n].len);
		if (!(ports[n].qualification & STRING))
			continue;
		assert_int_equal(vmx_get(&s, F_LINEAR), ports[n].linear);
		/* INS has but one segment. */
		assert_int_equal(vmx_get(&s, F_INSN_INFO) & ~(ports[n].qualification & IN ? SEG(7u) : 0), ports[n].info);
	}
	vmx_end(&s);
}

/* Each bitmap has half of the ports; an access to several exits for any of them, and for one beyond the last. */
static void test_port_bitmaps(void **state)
{
	static const struct {
		uint16_t port, bit;     /* 0: none */
		bool exits;
	} cases[] = {
		{ 0x80, 0x80, true }, { 0x7f, 0x80, true }, { 0x80, 0x7f, false }, { 0x7fff, 0x8000, true },
		{ 0x8000, 0x7fff, false },
		{ 0x8001, 0x8002, true }, { 0x8001, 0x8003, false }, { 0xffff, 0, true }, { 0xfffe, 0, false },
	};
	static const uint8_t out[] = { 0x66, 0xef };
	struct vmx s = start();
	uint8_t *bitmaps = vmx_at(&s, VMX_FREE);

	vmx_put(&s, F_IO_A, VMX_FREE);
	vmx_put(&s, F_IO_B, VMX_FREE + PAGE);
	vmx_set(&s, F_PROC, 1 << 25);
	for (unsigned int n = 0; n < sizeof(cases) / sizeof(cases[0]); n++) {
		memset(bitmaps, 0, 2 * PAGE);
		bitmaps[cases[n].bit / 8] |= (uint8_t)(cases[n].bit ? 1 << cases[n].bit % 8 : 0);
		/* To the client, if not to L1; which writes by port VMX_DONE itself. */
		put_code(&s, out, sizeof(out));
		*vmx_reg(&s, 2) = cases[n].port;
		if (cases[n].exits) {
			expect_exit(&s, "OUT", R_IO, 1 | PORT(cases[n].port), sizeof(out));
		} else {
			vmx_enter(&s);
			guest_port(&s.g, cases[n].port);
			guest_port(&s.g, VMX_DONE);
			assert_int_equal(vmx_reason(&s), R_VMCALL);
		}
	}
	vmx_end(&s);
}

/* Where a bit of the bitmap is, which is that of no other. */
static void test_msr_bitmap(void **state)
{
	static const struct {
		uint32_t index;
		bool write;
		unsigned int bit;
	} cases[] = {
		{ 0x174, false, 0x174 }, { 0xc0000081, false, 8192 + 0x81 }, { 0x174, true, 16384 + 0x174 },
		{ 0xc0000081, true, 24576 + 0x81 },
	};
	struct vmx s = start();
	uint8_t *map = vmx_at(&s, VMX_MSR_BITMAP);

	for (unsigned int n = 0; n < 16; n++) {
		const uint8_t code[] = { 0x0f, cases[n / 4].write ? 0x30 : 0x32 };
		bool own = n / 4 == n % 4;

		memset(map, 0, PAGE);
		map[cases[n % 4].bit / 8] = (uint8_t)(1 << cases[n % 4].bit % 8);
		put_code(&s, code, sizeof(code));
		*vmx_reg(&s, 1) = cases[n / 4].index;
		*vmx_reg(&s, 0) = *vmx_reg(&s, 2) = 0;
		if (own)
			expect_exit(&s, "MSR", cases[n / 4].write ? R_WRMSR : R_RDMSR, 0, 2);
		else
			vmx_expect(&s, R_VMCALL);
	}
	/* Outside of its ranges all exit, and without a bitmap. */
	for (unsigned int n = 0; n < 4; n++) {
		static const uint32_t indices[] = { 0x2000, 0xbfffffff, 0xc0002000, 0x174 };
		static const uint8_t rdmsr[] = { 0x0f, 0x32 };

		memset(map, 0, PAGE);
		put_code(&s, rdmsr, sizeof(rdmsr));
		*vmx_reg(&s, 1) = indices[n];
		if (n == 3)
			vmx_clear(&s, F_PROC, P_MSR_BITMAPS);
		expect_exit(&s, "RDMSR", R_RDMSR, 0, 2);
	}
	vmx_end(&s);
}

/* --- control registers: 25.1.3, 25.3 -------------------------------------------------------------------- */

#define CR0 0x80000031ULL
#define PE 1ULL
#define MP 2ULL
#define EM 4ULL
#define TS 8ULL

/* RBX, and the word at 0x8000, are `source`; without an exit CR0 becomes `after`. */
static const struct {
	const char *name;
	uint8_t len, code[8];
	uint64_t mask, shadow, source;
	bool exits;
	uint64_t result;        /* the qualification, or CR0's TS, EM, MP, PE, which were TS and PE */
} cr0_rows[] = {
	{ "CLTS, L1's, set", I(0x0f, 0x06), TS, TS, 0, true, 2 << 4 },
	{ "CLTS, L1's, clear", I(0x0f, 0x06), TS, 0, 0, false, TS | PE },
	{ "CLTS, L2's", I(0x0f, 0x06), MP, TS, 0, false, PE },
	{ "LMSW, TS", I(0x0f, 0x01, 0xf3), TS, 0, 0x5008, true, 3 << 4 | 0x5008ULL << 16 },
	{ "LMSW, TS as it seems", I(0x0f, 0x01, 0xf3), TS, 0, 0xfff6, false, TS | EM | MP | PE },
	{ "LMSW, EM", I(0x0f, 0x01, 0xf3), EM, EM, 8, true, 3 << 4 | 8ULL << 16 },
	{ "LMSW from memory", I(0x0f, 0x01, 0x34, AT_8000), MP, 0, 0x8002, true, 3 << 4 | 1 << 6 | 0x8002ULL << 16 },
	{ "LMSW, PE set", I(0x0f, 0x01, 0xf3), PE, 0, 1, true, 3 << 4 | 1ULL << 16 },
	{ "LMSW, PE set already", I(0x0f, 0x01, 0xf3), PE, PE, 1, false, PE },
	{ "LMSW, PE not cleared", I(0x0f, 0x01, 0xf3), PE, PE, 0, false, PE },
	{ "LMSW, NE", I(0x0f, 0x01, 0xf3), 1 << 5, 0, 1 << 5, false, PE },
	{ "MOV CR0", I(0x0f, 0x22, 0xc3), TS, 0, CR0 | TS, true, 3 << 8 },
	{ "MOV CR0, as it seems", I(0x0f, 0x22, 0xc3), TS, 0, CR0 | EM, false, TS | EM | PE },
	{ "MOV CR0, L2's", I(0x0f, 0x22, 0xc3), MP, 0, CR0 | EM, false, EM | PE },
};

static void test_cr0(void **state)
{
	struct vmx s = start();

	for (unsigned int n = 0; n < sizeof(cr0_rows) / sizeof(cr0_rows[0]); n++) {
		put_code(&s, cr0_rows[n].code, cr0_rows[n].len);
		memcpy(vmx_at(&s, 0x8000), &cr0_rows[n].source, 2);
		*vmx_reg(&s, 3) = cr0_rows[n].source;
		vmx_put(&s, F_CR0, CR0 | TS);
		vmx_put(&s, F_CR0_MASK, cr0_rows[n].mask);
		vmx_put(&s, F_CR0_SHADOW, cr0_rows[n].shadow);
		if (cr0_rows[n].exits) {
			expect_exit(&s, cr0_rows[n].name, R_CR, cr0_rows[n].result, cr0_rows[n].len);
			if (cr0_rows[n].result & 1 << 6)
				assert_int_equal(vmx_get(&s, F_LINEAR), 0x8000);
			continue;
		}
		vmx_expect(&s, R_VMCALL);
		if ((vmx_get(&s, F_CR0) & 15) != cr0_rows[n].result)
			fail_msg("%s: %#lx", cr0_rows[n].name, vmx_get(&s, F_CR0));
	}
	vmx_end(&s);
}

/* What L2 reads of bits that are L1's is the shadow; what it writes has to be that. */
static void test_cr4(void **state)
{
	/* mov rax,cr4; mov cr4,rax; mov cr4,rbx */
	static const uint8_t code[] = { 0x0f, 0x20, 0xe0, 0x0f, 0x22, 0xe0, 0x0f, 0x22, 0xe3 };
	struct vmx s = start();
	uint64_t cr4 = vmx_get(&s, F_CR4);

	vmx_put(&s, F_CR4_MASK, 1 << 13 | 4);
	vmx_put(&s, F_CR4_SHADOW, 4);
	put_code(&s, code, sizeof(code));
	*vmx_reg(&s, 3) = cr4;
	vmx_expect(&s, R_CR);
	assert_int_equal(vmx_get(&s, F_QUALIFICATION), 4 | 3 << 8);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 6);
	assert_int_equal(*vmx_reg(&s, 0), (cr4 & ~(1ULL << 13)) | 4);
	assert_int_equal(vmx_get(&s, F_CR4), cr4);
	vmx_end(&s);
}

/* --- others --------------------------------------------------------------------------------------------- */

/* INT1 is a #DB that says who it is. */
static void test_int1(void **state)
{
	static const uint8_t code[] = { 0xf1 };
	struct vmx s = start();

	put_code(&s, code, sizeof(code));
	vmx_expect(&s, R_EXCEPTION);
	assert_int_equal(vmx_get(&s, F_EXIT_EVENT), 1u << 31 | 5 << 8 | 1);
	assert_int_equal(vmx_get(&s, F_INSN_LEN), 1);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2);
	vmx_end(&s);
}

static void test_xsetbv(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x01, 0xd1 };
	struct vmx s = start();

	if (!(guest_leaf(s.cpuid, 1, 0)->ecx & 1u << 26)) {
		vmx_end(&s);
		skip();
	}
	vmx_set(&s, F_CR4, 1 << 18);
	put_code(&s, code, sizeof(code));
	expect_exit(&s, "XSETBV", 55, 0, 3);
	vmx_end(&s);
}

/* --- task switches: 25.4.2, table 27-6 ------------------------------------------------------------------- */

#define TABLES_AT VMX_FREE              /* L2's GDT, its IDT, and the table of PAE */
#define TSS_AT (VMX_FREE + 0x2000)
#define NT (1u << 14)

/* L2 outside IA-32e mode, with a TSS that is available (20h), a busy one (28h), and a gate to the former (vector 20h). */
static struct vmx start_tasks(void)
{
	struct vmx s = start();
	uint64_t *gdt = vmx_at(&s, TABLES_AT), *idt = vmx_at(&s, TABLES_AT + 0x800), *pae = vmx_at(&s, TABLES_AT + 0xf00);

	gdt[4] = 0x0000890000000067 | (TSS_AT & 0xffff) << 16 | (TSS_AT >> 16 & 0xff) << 32;
	gdt[5] = gdt[4] | 2ULL << 40;
	idt[0x20] = 0x850000200000;
	pae[0] = (GUEST_TABLES + 0x2000) | 1;
	*(uint16_t *)vmx_at(&s, TSS_AT) = 0x28;
	vmx_put(&s, 0x6816, TABLES_AT);
	vmx_put(&s, 0x6818, TABLES_AT + 0x800);
	vmx_put(&s, 0x4810, 0x7ff);
	vmx_put(&s, 0x4812, 0x3ff);
	vmx_put(&s, 0x6814, TSS_AT);            /* TR's base */
	vmx_put(&s, 0x4816, 0xc09b);
	vmx_put(&s, F_CR3, TABLES_AT + 0xf00);
	vmx_clear(&s, F_ENTRY, 1 << 9);
	return s;
}

static void test_task_switches(void **state)
{
	static const struct {
		const char *name;
		uint8_t len, code[8];
		uint32_t flags, vectoring;
		uint64_t qualification;
	} tasks[] = {
		{ "CALL", I(0x9a, 0, 0, 0, 0, 0x20, 0), 0, 0, 0x20 },
		{ "IRET", I(0xcf), NT, 0, 0x28 | 1ULL << 30 },
		{ "JMP", I(0xea, 0, 0, 0, 0, 0x20, 0), 0, 0, 0x20 | 2ULL << 30 },
		{ "INT", I(0xcd, 0x20), 0, 1u << 31 | 4 << 8 | 0x20, 0x20 | 3ULL << 30 },
	};
	struct vmx s = start_tasks();

	for (unsigned int n = 0; n < sizeof(tasks) / sizeof(tasks[0]); n++) {
		put_code(&s, tasks[n].code, tasks[n].len);
		vmx_put(&s, F_RFLAGS, 2 | tasks[n].flags);
		expect_exit(&s, tasks[n].name, 9, tasks[n].qualification, tasks[n].len);
		assert_int_equal(vmx_get(&s, 0x4408), tasks[n].vectoring);
	}
	vmx_end(&s);
}

/* --- the preemption timer: 25.5.1 ------------------------------------------------------------------------- */

/* It wakes one that is halted, however long that takes: here 2 ms or so, of a TSC of 2 GHz. */
static void test_timer_wakes(void **state)
{
	static const uint8_t code[] = { 0xf4 };
	struct vmx s = vmx_start(code, sizeof(code), 0, true);

	vmx_clear(&s, F_PROC, P_HLT);
	vmx_set(&s, F_PIN, 1 << 6);
	vmx_put(&s, 0x482e, 1u << 17);
	vmx_expect(&s, 52);
	assert_int_equal(vmx_get(&s, F_ACTIVITY), 1);
	assert_int_equal(vmx_get(&s, F_RIP), VMX_L2 + 1);
	vmx_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_instructions), cmocka_unit_test(test_ports), cmocka_unit_test(test_port_bitmaps),
	cmocka_unit_test(test_msr_bitmap), cmocka_unit_test(test_cr0), cmocka_unit_test(test_cr4),
	cmocka_unit_test(test_int1), cmocka_unit_test(test_xsetbv), cmocka_unit_test(test_task_switches),
	cmocka_unit_test(test_timer_wakes),
};

API_MAIN(tests)
