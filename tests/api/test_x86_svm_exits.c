// SPDX-License-Identifier: MIT
/* What L1 can hear of by SVM's intercepts, and what it is told then.  APM 2, 15.7 to 15.14, and 15.32. */
#include "svm.h"

#define MOV_CR (1ULL << 63)
#define A16 (1u << 7)
#define A32 (1u << 8)
#define A64 (1u << 9)
#define SIZE(n) ((n) << 4)
#define IN 1u
#define STR (1u << 2)
#define REP (1u << 3)
#define SEG(n) ((n) << 10)

/* --- an instruction a row ------------------------------------------------------------------------------ */

struct row {
	const char *name;
	uint8_t len, code[12];
	uint8_t at;             /* C_WORD3... of the bit */
	uint8_t bit;
	bool alone;             /* without the intercept it is no use to run it */
	uint16_t exit;
	uint64_t info1;         /* with decode assists */
};

#define I(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }
#define AT_8000 0x25, 0x00, 0x80, 0x00, 0x00

static const struct row rows[] = {
	{ "SIDT", I(0x0f, 0x01, 0x0c, AT_8000), C_WORD3, 6, false, 0x66, 0 },
	{ "SGDT", I(0x0f, 0x01, 0x04, AT_8000), C_WORD3, 7, false, 0x67, 0 },
	{ "SLDT", I(0x0f, 0x00, 0xc0), C_WORD3, 8, false, 0x68, 0 },
	{ "STR", I(0x0f, 0x00, 0xc8), C_WORD3, 9, false, 0x69, 0 },
	{ "LIDT", I(0x0f, 0x01, 0x1c, AT_8000), C_WORD3, 10, false, 0x6a, 0 },
	{ "LGDT", I(0x0f, 0x01, 0x14, AT_8000), C_WORD3, 11, false, 0x6b, 0 },
	{ "LLDT", I(0x0f, 0x00, 0xd0), C_WORD3, 12, false, 0x6c, 0 },
	{ "LTR", I(0x0f, 0x00, 0xd8), C_WORD3, 13, true, 0x6d, 0 },
	{ "RDTSC", I(0x0f, 0x31), C_WORD3, 14, false, 0x6e, 0 },
	{ "RDPMC", I(0x0f, 0x33), C_WORD3, 15, false, 0x6f, 0 },
	{ "PUSHF", I(0x9c), C_WORD3, 16, false, 0x70, 0 },
	{ "POPF", I(0x9d), C_WORD3, 17, false, 0x71, 0 },
	{ "CPUID", I(0x0f, 0xa2), C_WORD3, 18, false, 0x72, 0 },
	{ "RSM", I(0x0f, 0xaa), C_WORD3, 19, true, 0x73, 0 },
	{ "IRET", I(0x48, 0xcf), C_WORD3, 20, true, 0x74, 0 },
	{ "INT n", I(0xcd, 0x42), C_WORD3, 21, true, 0x75, 0x42 },
	{ "INVD", I(0x0f, 0x08), C_WORD3, 22, false, 0x76, 0 },
	{ "PAUSE", I(0xf3, 0x90), C_WORD3, 23, false, 0x77, 0 },
	{ "HLT", I(0xf4), C_WORD3, 24, true, 0x78, 0 },
	{ "INVLPG", I(0x0f, 0x01, 0x3c, AT_8000), C_WORD3, 25, false, 0x79, 0x8000 },
	{ "INVLPG at RBX", I(0x64, 0x0f, 0x01, 0x7b, 0x10), C_WORD3, 25, false, 0x79, 0x5010 },
	{ "INVLPGA", I(0x0f, 0x01, 0xdf), C_WORD3, 26, false, 0x7a, 0 },
	{ "VMRUN", I(0x0f, 0x01, 0xd8), C_WORD4, 0, true, 0x80, 0 },
	{ "VMLOAD", I(0x0f, 0x01, 0xda), C_WORD4, 2, false, 0x82, 0 },
	{ "VMSAVE", I(0x0f, 0x01, 0xdb), C_WORD4, 3, false, 0x83, 0 },
	{ "STGI", I(0x0f, 0x01, 0xdc), C_WORD4, 4, false, 0x84, 0 },
	{ "CLGI", I(0x0f, 0x01, 0xdd), C_WORD4, 5, false, 0x85, 0 },
	{ "RDTSCP", I(0x0f, 0x01, 0xf9), C_WORD4, 7, false, 0x87, 0 },
	{ "INT1", I(0xf1), C_WORD4, 8, true, 0x88, 0 },
	{ "WBINVD", I(0x0f, 0x09), C_WORD4, 9, false, 0x89, 0 },
	{ "MONITOR", I(0x0f, 0x01, 0xc8), C_WORD4, 10, true, 0x8a, 0 },
	{ "MWAIT", I(0x0f, 0x01, 0xc9), C_WORD4, 11, true, 0x8b, 0 },
	{ "INVPCID", I(0x66, 0x0f, 0x38, 0x82, 0x04, AT_8000), C_WORD5, 2, true, 0xa2, 0x8000 },
	{ "MOV RCX, CR0", I(0x0f, 0x20, 0xc1), C_CR_READ, 0, false, 0x00, MOV_CR | 1 },
	{ "MOV RBX, CR2", I(0x0f, 0x20, 0xd3), C_CR_READ, 2, false, 0x02, MOV_CR | 3 },
	{ "MOV R9, CR3", I(0x41, 0x0f, 0x20, 0xd9), C_CR_READ, 3, false, 0x03, MOV_CR | 9 },
	{ "MOV RDI, CR4", I(0x0f, 0x20, 0xe7), C_CR_READ, 4, false, 0x04, MOV_CR | 7 },
	{ "MOV RDX, CR8", I(0x44, 0x0f, 0x20, 0xc2), C_CR_READ, 8, false, 0x08, MOV_CR | 2 },
	{ "SMSW", I(0x0f, 0x01, 0xe1), C_CR_READ, 0, false, 0x00, 0 },
	{ "SMSW to memory", I(0x0f, 0x01, 0x24, AT_8000), C_CR_READ, 0, false, 0x00, 0 },
	{ "MOV CR0, RBX", I(0x0f, 0x22, 0xc3), C_CR_WRITE, 0, true, 0x10, MOV_CR | 3 },
	{ "MOV CR2, RSI", I(0x0f, 0x22, 0xd6), C_CR_WRITE, 2, false, 0x12, MOV_CR | 6 },
	{ "MOV CR3, RDX", I(0x0f, 0x22, 0xda), C_CR_WRITE, 3, true, 0x13, MOV_CR | 2 },
	{ "MOV CR4, R15", I(0x41, 0x0f, 0x22, 0xe7), C_CR_WRITE, 4, true, 0x14, MOV_CR | 15 },
	{ "MOV CR8, RAX", I(0x44, 0x0f, 0x22, 0xc0), C_CR_WRITE, 8, false, 0x18, MOV_CR | 0 },
	{ "LMSW", I(0x0f, 0x01, 0xf3), C_CR_WRITE, 0, false, 0x10, 0 },
	{ "CLTS", I(0x0f, 0x06), C_CR_WRITE, 0, false, 0x10, 0 },
	{ "selective CR0, MOV", I(0x0f, 0x22, 0xc3), C_WORD3, 5, true, 0x65, MOV_CR | 3 },
	{ "selective CR0, LMSW", I(0x0f, 0x01, 0xf3), C_WORD3, 5, false, 0x65, 0 },
	{ "MOV RDX, DR7", I(0x0f, 0x21, 0xfa), C_DR_READ, 7, false, 0x27, 2 },
	{ "MOV DR0, RSI", I(0x0f, 0x23, 0xc6), C_DR_WRITE, 0, false, 0x30, 6 },
	{ "MOV DR3, R8", I(0x41, 0x0f, 0x23, 0xd8), C_DR_WRITE, 3, false, 0x33, 8 },
};

static void intercept(struct svm *s, const struct row *r, bool on)
{
	uint64_t now = svm_get(s, r->at, 4);

	svm_put(s, r->at, 4, on ? now | 1u << r->bit : now & ~(1u << r->bit));
}

static struct svm start_row(const struct row *r, uint32_t without)
{
	struct svm s = svm_start(r->code, r->len, 0, without, false);

	SVM_CODE(&s, (uint16_t)(SVM_L2 + r->len), VMMCALL);
	SET(&s.g, rcx, 0);
	SET(&s.g, rbx, 0x5000);
	SET(&s.g, rsi, 0);
	return s;
}

static void check_exit(struct svm *s, const struct row *r, uint64_t info1)
{
	uint64_t code = svm_run(s), told = svm_get8(s, C_INFO1);

	if (code != r->exit || told != info1)
		fail_msg("%s: exit %#lx, information %#lx", r->name, code, told);
	assert_int_equal(svm_get8(s, S_RIP), SVM_L2);
	assert_int_equal(svm_get8(s, C_NEXT_RIP), SVM_L2 + r->len);
	assert_int_equal(svm_get8(s, C_EXIT_INT_INFO), 0);
	assert_int_equal(svm_get(s, C_INSN_LEN, 1), 0);
}

static void test_instructions(void **state)
{
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		const struct row *r = &rows[n];
		struct svm s = start_row(r, 0);
		bool assists = guest_leaf(s.cpuid, 0x8000000a, 0)->edx & SVM_DECODE;

		intercept(&s, r, true);
		check_exit(&s, r, assists || r->exit == 0xa2 ? r->info1 : 0);
		if (!r->alone) {
			uint64_t code;

			intercept(&s, r, false);
			code = svm_run(&s);
			if (code != EXIT_VMMCALL || svm_get8(&s, S_RIP) != SVM_L2 + r->len)
				fail_msg("%s, not intercepted: exit %#lx", r->name, code);
		}
		svm_end(&s);
	}
}

/* Without decode assists there is nothing about operands, without next RIP that field is left alone. */
static void test_without_assists(void **state)
{
	for (unsigned int n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
		const struct row *r = &rows[n];
		struct svm s = start_row(r, SVM_DECODE | SVM_NRIPS);

		intercept(&s, r, true);
		svm_put8(&s, C_NEXT_RIP, 0x77777);
		if (svm_run(&s) != r->exit || (r->exit != 0xa2 && svm_get8(&s, C_INFO1)))
			fail_msg("%s: exit %#lx, information %#lx", r->name, svm_get8(&s, C_EXIT_CODE), svm_get8(&s, C_INFO1));
		assert_int_equal(svm_get8(&s, C_NEXT_RIP), 0x77777);
		svm_end(&s);
	}
}

/* --- ports ---------------------------------------------------------------------------------------------------- */

struct port_row {
	uint8_t len, code[4];
	uint16_t dx;
	uint32_t bit;           /* of the map; the only one set */
	uint64_t info;          /* 0: no exit */
};

static const struct port_row port_rows[] = {
	{ I(0xe4, 0x71), 0, 0x71, 0x71 << 16 | A64 | SIZE(1) | IN },
	{ I(0xe6, 0x71), 0, 0x71, 0x71 << 16 | A64 | SIZE(1) },
	{ I(0x66, 0xe7, 0x80), 0, 0x80, 0x80 << 16 | A64 | SIZE(2) },
	{ I(0xed), 0x1234, 0x1234, 0x1234 << 16 | A64 | SIZE(4) | IN },
	/* Each byte of the access counts, and no other. */
	{ I(0x66, 0xed), 0x1237, 0x1238, 0x1237 << 16 | A64 | SIZE(2) | IN },
	{ I(0xef), 0x1235, 0x1238, 0x1235 << 16 | A64 | SIZE(4) },
	{ I(0xef), 0x1234, 0x1238, 0 },
	{ I(0xef), 0x1239, 0x1238, 0 },
	/* Of the last ports those beyond count too: they are the map's third page. */
	{ I(0xef), 0xfffe, 0x10001, 0xfffeULL << 16 | A64 | SIZE(4) },
	{ I(0xee), 0xffff, 0x10000, 0 },
	{ I(0x6c), 0x60, 0x60, 0x60 << 16 | A64 | SIZE(1) | STR | IN },
	{ I(0xf3, 0x6d), 0x60, 0x61, 0x60 << 16 | A64 | SIZE(4) | REP | STR | IN },
	{ I(0x6e), 0x60, 0x60, 0x60 << 16 | A64 | SIZE(1) | STR | SEG(3) },
	{ I(0x64, 0x6e), 0x60, 0x60, 0x60 << 16 | A64 | SIZE(1) | STR | SEG(4) },
	{ I(0x67, 0x66, 0x6f), 0x60, 0x60, 0x60 << 16 | A32 | SIZE(2) | STR | SEG(3) },
};

static void test_ports(void **state)
{
	for (unsigned int n = 0; n < sizeof(port_rows) / sizeof(port_rows[0]); n++) {
		const struct port_row *r = &port_rows[n];
		struct svm s = svm_start(r->code, r->len, 0, 0, false);

		SET(&s.g, rdx, r->dx);
		SET(&s.g, rcx, 1);
		SET(&s.g, rsi, 0x8000);
		SET(&s.g, rdi, 0x8000);
		svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 27);
		s.mem[SVM_IOPM - SVM_MEM + r->bit / 8] = (uint8_t)(1 << r->bit % 8);
		if (r->info) {
			svm_expect(&s, 0x7b);
			if (svm_get8(&s, C_INFO1) != r->info)
				fail_msg("row %u: information %#lx, not %#lx", n, svm_get8(&s, C_INFO1), r->info);
			assert_int_equal(svm_get8(&s, C_INFO2), SVM_L2 + r->len);
		} else {
			guest_port(&s.g, r->dx);
		}
		svm_end(&s);
	}
}

/* --- MSRs ------------------------------------------------------------------------------------------------------- */

static const struct {
	uint32_t index;
	bool write;
	uint32_t bit;           /* of the map; the only one set */
	bool exits;
} msr_rows[] = {
	{ 0x10, false, 0x20, true }, { 0x10, false, 0x21, false }, { 0x174, true, 0x2e9, true }, { 0x174, true, 0x2e8, false },
	{ 0x1fff, false, 0x3ffe, true }, { 0x1fff, true, 0x3fff, true }, { 0x2000, false, 0, true },
	{ 0xc0000081, false, 0x4102, true }, { 0xc0000081, true, 0x4102, false }, { 0xc0001fff, true, 0x7fff, true },
	{ 0xc0010015, false, 0x802a, true }, { 0xc0010015, false, 0x802c, false }, { 0xc0011fff, true, 0xbfff, true },
	{ 0xbfffffff, false, 0, true }, { 0xc0012000, true, 0, true }, { 0x40000000, true, 0, true },
};

static void test_msrs(void **state)
{
	for (unsigned int n = 0; n < sizeof(msr_rows) / sizeof(msr_rows[0]); n++) {
		const uint8_t code[] = { 0x0f, msr_rows[n].write ? 0x30 : 0x32, VMMCALL };
		struct svm s = svm_start(code, sizeof(code), 0, 0, false);

		SET(&s.g, rcx, msr_rows[n].index);
		SET(&s.g, rdx, 0);
		svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 28);
		s.mem[SVM_MSRPM - SVM_MEM + msr_rows[n].bit / 8] = (uint8_t)(1 << msr_rows[n].bit % 8);
		if (svm_run(&s) != (msr_rows[n].exits ? 0x7c : EXIT_VMMCALL))
			fail_msg("row %u: exit %#lx", n, svm_get8(&s, C_EXIT_CODE));
		if (msr_rows[n].exits) {
			assert_int_equal(svm_get8(&s, C_INFO1), msr_rows[n].write);
			assert_int_equal(svm_get8(&s, C_NEXT_RIP), SVM_L2 + 2);
		}
		svm_end(&s);
	}
}

/* A map of ports that is not there intercepts all; that of MSRs cannot be so. */
static void test_no_map(void **state)
{
	struct svm s = SVM(0, 0, 0xe4, 0x71);

	svm_put8(&s, C_IOPM, SVM_MEM + SVM_MEM_SIZE);
	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 27);
	svm_expect(&s, 0x7b);
	svm_end(&s);
}

/* --- exceptions ---------------------------------------------------------------------------------------------------- */

static const struct {
	uint8_t len, code[8];
	uint8_t vector, next;   /* bytes to the next instruction, where L1 is told */
	uint64_t info1, info2;
	uint8_t bytes;          /* at least so many of the instruction are told */
} exc_rows[] = {
	{ I(0x0f, 0x0b), 6, 0, 0, 0, 0 },
	{ I(0xcc), 3, 1, 0, 0, 0 },
	{ I(0xf1), 1, 0, 0, 0, 0 },
	/* mov eax, [0x300000], which is not mapped; mov [0x300000], eax */
	{ I(0x8b, 0x04, 0x25, 0, 0, 0x30, 0), 14, 0, 0, 0x300000, 15 },
	{ I(0x89, 0x04, 0x25, 0, 0, 0x30, 0), 14, 0, 2, 0x300000, 15 },
	/* jmp there: nothing has been fetched */
	{ I(0xff, 0x24, 0x25, 0, 0x80, 0, 0), 14, 0, 0, 0x300000, 0 },
	/* mov ds, ecx */
	{ I(0x8e, 0xd9), 13, 0, 0xfff8, 0, 0 },
};

static void test_exceptions(void **state)
{
	for (unsigned int n = 0; n < sizeof(exc_rows) / sizeof(exc_rows[0]); n++) {
		uint8_t len = exc_rows[n].len, vector = exc_rows[n].vector;
		struct svm s = svm_start(exc_rows[n].code, len, 0, 0, false);
		bool assists = guest_leaf(s.cpuid, 0x8000000a, 0)->edx & SVM_DECODE;

		SET(&s.g, rcx, 0xfff8);
		memcpy(s.g.mem + 0x8000, &(uint64_t){ 0x300000 }, 8);
		svm_put8(&s, S_CR2, 0x1111);
		svm_put4(&s, C_EXCEPTIONS, 1u << vector);
		svm_expect(&s, 0x40 + vector);
		assert_int_equal(svm_get8(&s, C_INFO1), exc_rows[n].info1);
		if (vector == 14)
			assert_int_equal(svm_get8(&s, C_INFO2), exc_rows[n].info2);
		assert_int_equal(svm_get8(&s, S_CR2), 0x1111);
		assert_int_equal(svm_get8(&s, C_NEXT_RIP), exc_rows[n].next ? SVM_L2 + exc_rows[n].next : 0);
		assert_int_equal(svm_get(&s, C_INSN_LEN, 1), assists ? exc_rows[n].bytes : 0);
		if (assists && exc_rows[n].bytes)
			assert_memory_equal(s.vmcb + C_INSN_LEN + 1, exc_rows[n].code, len);
		if (!api_real())
			assert_int_equal(guest_stat(s.g.vcpu, "svm_insn_bytes"), assists && exc_rows[n].bytes);
		/* Not intercepted it is L2's own. */
		svm_put4(&s, C_EXCEPTIONS, 0);
		svm_rewind(&s);
		guest_port(&s.g, (uint16_t)(SVM_FAULT + vector));
		svm_end(&s);
	}
}

/* An instruction at the end of its page: what lies in the next one is told too, if it is there. */
static void test_bytes_over_pages(void **state)
{
	static const uint8_t code[] = { 0x8b, 0x04, 0x25, 0, 0, 0x30, 0 };
	struct svm s = SVM(SVM_DECODE, 0, VMMCALL);

	svm_npt(&s);
	svm_code(&s, 0x2ffc, code, sizeof(code));
	svm_put8(&s, S_RIP, 0x2ffc);
	svm_put4(&s, C_EXCEPTIONS, 1u << 14);
	svm_expect(&s, 0x4e);
	assert_int_equal(svm_get(&s, C_INSN_LEN, 1), 15);
	assert_memory_equal(s.vmcb + C_INSN_LEN + 1, code, sizeof(code));
	svm_end(&s);
}

/* --- nested page faults, and events on the way ------------------------------------------------------------------------ */

static uint64_t *npt_entry(struct svm *s, uint64_t gpa)
{
	return (uint64_t *)(s->mem + (SVM_NPT_PT - SVM_MEM)) + (gpa >> 12);
}

static void test_npf(void **state)
{
	/* mov eax, [0x8000]; mov [0x8000], eax; vmmcall */
	struct svm s = SVM(SVM_NPT_BIT, 0, 0x8b, 0x04, AT_8000, 0x89, 0x04, AT_8000, VMMCALL);
	bool assists = guest_leaf(s.cpuid, 0x8000000a, 0)->edx & SVM_DECODE;

	svm_npt(&s);
	*npt_entry(&s, 0x8000) = 0;
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 32 | 4);
	assert_int_equal(svm_get8(&s, C_INFO2), 0x8000);
	assert_int_equal(svm_get(&s, C_INSN_LEN, 1), assists ? 15 : 0);
	if (assists)
		assert_memory_equal(s.vmcb + C_INSN_LEN + 1, s.g.mem + SVM_L2, 15);
	*npt_entry(&s, 0x8000) = 0x8005;
	svm_put(&s, C_TLB, 1, 3);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 32 | 7);
	assert_int_equal(svm_get8(&s, S_RIP), SVM_L2 + 7);
	/* A reserved bit. */
	*npt_entry(&s, 0x8000) = 1ULL << 51 | 0x8007;
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1) & 0xf, 0xf);
	*npt_entry(&s, 0x8000) = 0x8007;
	svm_expect(&s, EXIT_VMMCALL);
	/* One of L2's own page tables. */
	*npt_entry(&s, GUEST_TABLES + 0x2000) = 0;
	svm_rewind(&s);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 6);
	assert_int_equal(svm_get8(&s, C_INFO2), GUEST_TABLES + 0x2000);
	assert_int_equal(svm_get(&s, C_INSN_LEN, 1), 0);
	/* Which are read as by a write, so that they can be marked accessed. */
	*npt_entry(&s, GUEST_TABLES + 0x2000) = (GUEST_TABLES + 0x2000) | 5;
	svm_put(&s, C_TLB, 1, 3);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 33 | 7);
	assert_int_equal(svm_get8(&s, C_INFO2), GUEST_TABLES + 0x2000);
	/* Code. */
	*npt_entry(&s, GUEST_TABLES + 0x2000) = (GUEST_TABLES + 0x2000) | 7;
	*npt_entry(&s, SVM_L2) = 0;
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1) & ~0x10ULL, 1ULL << 32 | 4);
	assert_int_equal(svm_get(&s, C_INSN_LEN, 1), 0);
	svm_end(&s);
}

/* Code in a page that may not be executed: NX is a right where L1 has EFER.NXE, and a reserved bit where not. */
static void test_npf_fetch(void **state)
{
	struct svm s = SVM(SVM_NPT_BIT, 0, VMMCALL);
	uint64_t nx = 1ULL << 63;
	struct kvm_sregs k;

	svm_npt(&s);
	*npt_entry(&s, SVM_L2) |= nx;
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1) & 0xf, 0xd);
	api_ok(api_ioctl(s.g.vcpu, KVM_GET_SREGS, &k));
	k.efer |= 1 << 11;
	api_ok(api_ioctl(s.g.vcpu, KVM_SET_SREGS, &k));
	svm_put(&s, C_TLB, 1, 1);
	svm_expect(&s, EXIT_NPF);
	assert_int_equal(svm_get8(&s, C_INFO1), 1ULL << 32 | 0x15);
	assert_int_equal(svm_get8(&s, C_INFO2), SVM_L2);
	*npt_entry(&s, SVM_L2) &= ~nx;
	svm_expect(&s, EXIT_VMMCALL);
	svm_end(&s);
}

/* The event whose delivery met a nested page fault is told, and can be put in again. */
static void test_event_on_the_way(void **state)
{
	static const struct {
		uint64_t event;
		uint8_t vector;
		bool adds_next;
	} events[] = {
		{ 1ULL << 31 | 30, 30, false }, { 1ULL << 31 | 2 << 8 | 2, 2, false },
		{ 1ULL << 31 | 3 << 8 | 6, 6, false }, { 0x1234ULL << 32 | 1ULL << 31 | 1 << 11 | 3 << 8 | 13, 13, false },
		{ 1ULL << 31 | 4 << 8 | 29, 29, true }, { 1ULL << 31 | 3 << 8 | 3, 3, true },
	};

	for (unsigned int n = 0; n < sizeof(events) / sizeof(events[0]); n++) {
		struct svm s = SVM(SVM_NPT_BIT | SVM_NRIPS, 0, VMMCALL);
		uint64_t *frame;

		svm_npt(&s);
		*npt_entry(&s, GUEST_IDT) = 0;
		svm_put8(&s, C_EVENT_INJ, events[n].event);
		svm_put8(&s, C_NEXT_RIP, 0x123456789abc);
		svm_expect(&s, EXIT_NPF);
		assert_int_equal(svm_get8(&s, C_EXIT_INT_INFO), events[n].event);
		assert_int_equal(svm_get8(&s, C_EVENT_INJ), 0);
		assert_int_equal(svm_get(&s, C_INSN_LEN, 1), 0);
		assert_int_equal(svm_get8(&s, S_RIP), SVM_L2);
		*npt_entry(&s, GUEST_IDT) = GUEST_IDT | 7;
		svm_put8(&s, C_EVENT_INJ, svm_get8(&s, C_EXIT_INT_INFO));
		svm_put8(&s, C_NEXT_RIP, 0x123456789abc);
		guest_port(&s.g, (uint16_t)(SVM_FAULT + events[n].vector));
		frame = (uint64_t *)(s.g.mem + guest_regs(&s.g).rsp);
		if (events[n].event & 1 << 11)
			assert_int_equal(*frame++, 0x1234);
		/* A software interrupt goes on where L1 says. */
		assert_int_equal(*frame, events[n].adds_next ? 0x123456789abc : SVM_L2);
		svm_end(&s);
	}
}

/* An exception that is met on the way to a handler is intercepted as one; the first of the two is told. */
static void test_exception_on_the_way(void **state)
{
	struct svm s = SVM(0, 0, 0x0f, 0x0b);

	svm_put8(&s, S_RSP, 0x300000);
	svm_put4(&s, C_EXCEPTIONS, 1u << 14);
	svm_expect(&s, 0x4e);
	assert_int_equal(svm_get8(&s, C_EXIT_INT_INFO), 1ULL << 31 | 3 << 8 | 6);
	/* The next becomes a double fault, and that a shutdown. */
	svm_put4(&s, C_EXCEPTIONS, 1u << 8);
	svm_expect(&s, 0x48);
	svm_put4(&s, C_EXCEPTIONS, 0);
	svm_expect(&s, EXIT_SHUTDOWN);
	svm_end(&s);
}

/* --- task switches, of 32-bit guests ------------------------------------------------------------------------------------ */

#define TSS (SVM_FREE + 0x800)

static void legacy(struct svm *s)
{
	uint64_t *gdt = (uint64_t *)(s->mem + (SVM_FREE - SVM_MEM));
	uint64_t *idt = gdt + 16;

	/* Code, data, two TSSs, a task gate in the IDT. */
	gdt[1] = 0x00cf9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	gdt[3] = 0x0000890000000067 | (uint64_t)(TSS & 0xffffff) << 16;
	gdt[4] = 0x00008b0000000067 | (uint64_t)((TSS + 0x80) & 0xffffff) << 16;
	idt[13] = 0x0000e50000180000;
	svm_put8(s, S_EFER, 1 << 12);
	svm_put8(s, S_CR0, 0x11);
	svm_put8(s, S_CR4, 0);
	svm_put(s, S_CS + 2, 2, 0xc9b);
	svm_put(s, S_SS + 2, 2, 0xc93);
	svm_put8(s, S_GDTR + 8, SVM_FREE);
	svm_put4(s, S_GDTR + 4, 0x7f);
	svm_put8(s, S_IDTR + 8, SVM_FREE + 0x80);
	svm_put4(s, S_IDTR + 4, 0xff);
}

static void test_task_switch(void **state)
{
	/* mov ax, 0x20; ltr ax; vmmcall; jmp 0x18:0; call 0x18:0; a #GP; iret */
	struct svm s = SVM(0, 0, 0x66, 0xb8, 0x20, 0, 0x0f, 0x00, 0xd8, VMMCALL);

	legacy(&s);
	((uint64_t *)(s.mem + (SVM_FREE - SVM_MEM)))[4] &= ~(2ULL << 40);
	svm_put4(&s, C_WORD3, SVM_WORD3 | 1u << 29);
	svm_expect(&s, EXIT_VMMCALL);
	SVM_CODE(&s, SVM_L2, 0xea, 0, 0, 0, 0, 0x18, 0);
	svm_rewind(&s);
	svm_expect(&s, 0x7d);
	assert_int_equal(svm_get8(&s, C_INFO1), 0x18);
	assert_int_equal(svm_get8(&s, C_INFO2), 1ULL << 38);
	SVM_CODE(&s, SVM_L2, 0x9a, 0, 0, 0, 0, 0x18, 0);
	svm_expect(&s, 0x7d);
	assert_int_equal(svm_get8(&s, C_INFO2), 0);
	/* An exception through a task gate: with its error code, and RF as the fault would save it. */
	SVM_CODE(&s, SVM_L2, 0x8e, 0xd9);
	SET(&s.g, rcx, 0x50);
	svm_expect(&s, 0x7d);
	assert_int_equal(svm_get8(&s, C_INFO1), 0x18);
	assert_int_equal(svm_get8(&s, C_INFO2), 1ULL << 48 | 1ULL << 44 | 0x50);
	assert_int_equal(svm_get8(&s, C_EXIT_INT_INFO), 0x50ULL << 32 | 1ULL << 31 | 1 << 11 | 3 << 8 | 13);
	/* IRET of a nested task, to the one that the TSS names. */
	SVM_CODE(&s, SVM_L2, 0xcf);
	memcpy(s.mem + (TSS + 0x80 - SVM_MEM), &(uint32_t){ 0x18 }, 4);
	svm_put8(&s, S_RFLAGS, 2 | 1 << 14);
	svm_expect(&s, 0x7d);
	assert_int_equal(svm_get8(&s, C_INFO1), 0x18);
	assert_int_equal(svm_get8(&s, C_INFO2), 1ULL << 36);
	svm_end(&s);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_instructions),
	cmocka_unit_test(test_without_assists),
	cmocka_unit_test(test_ports),
	cmocka_unit_test(test_msrs),
	cmocka_unit_test(test_no_map),
	cmocka_unit_test(test_exceptions),
	cmocka_unit_test(test_bytes_over_pages),
	cmocka_unit_test(test_npf),
	cmocka_unit_test(test_npf_fetch),
	cmocka_unit_test(test_event_on_the_way),
	cmocka_unit_test(test_exception_on_the_way),
	cmocka_unit_test(test_task_switch),
};

API_MAIN(tests)
