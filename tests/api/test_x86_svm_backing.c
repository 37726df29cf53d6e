// SPDX-License-Identifier: MIT
/*
 * VMCBs and what they name, in memory of every kind: it is found there, follows changes of the slot, is in the dirty log
 * where the processor writes it and only there, and ends in a known way where there is no memory.  APM 2, 15.5, 15.10,
 * 15.11, 15.25, 15.30.4.
 */
#include <stdlib.h>

#include "svm.h"
#include "slotmem.h"

#define W3_IO (1u << 27)
#define W3_MSR (1u << 28)
#define EXIT_IO 0x7b
#define EXIT_MSR 0x7c
#define TLB_FLUSH_ALL 1
#define MSR_PAT 0x277
#define MSR_KERNEL_GS 0xc0000102
#define MSR_HSAVE 0xc0010117
#define VALUE(n) (0x11u * ((n) + 1))
#define DATA 0x6000UL
#define MORE 0x7000UL
#define L2_PORT 0x80
#define GP 13
#define SMBASE 0x30000UL
#define SMRAM 0x10000UL
#define ABS(a) (a) & 0xff, (a) >> 8 & 0xff, (a) >> 16 & 0xff, (a) >> 24 & 0xff
#define MOV_EAX(v) 0xb8, ABS(v)
#define OUT(port) 0xe6, port

/* How a run ended where no exit says it. */
#define SHUTDOWN 0x20000u
#define FAULT 0x20001u                  /* KVM_RUN fails with EFAULT */
#define EXCEPTION(n) (0x20002u + (n))   /* of L1 */

/* --- running ------------------------------------------------------------------------------------------------------- */

/* L1, from its beginning, to its OUT; 0.  The client answers ports that L1 leaves to it, by nothing. */
static uint64_t run_l1(struct svm *s)
{
	SET(&s->g, rip, GUEST_CODE);
	do {
		if (api_ioctl(s->g.vcpu, KVM_RUN, 0)) {
			assert_int_equal(errno, EFAULT);
			return FAULT;
		}
		if (s->g.run->exit_reason == KVM_EXIT_SHUTDOWN)
			return SHUTDOWN;
		assert_int_equal(s->g.run->exit_reason, KVM_EXIT_IO);
		if (s->g.run->io.port == SVM_FAULT + GP)
			return EXCEPTION(GP);
	} while (s->g.run->io.port != SVM_EXITED);
	return 0;
}

static uint64_t enter(struct svm *s)
{
	uint64_t how;

	svm_rewind(s);
	how = run_l1(s);
	return how ? how : svm_get8(s, C_EXIT_CODE);
}

static uint64_t run(struct svm *s, const void *at)
{
	return enter(s);
}

static uint64_t msr(struct svm *s, uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(guest_get_msr(&s->g, index, &value), 1);
	return value;
}

/* --- VMCBs ---------------------------------------------------------------------------------------------------------- */

static void use_vmcb(struct svm *s)
{
	SVM_CODE(s, GUEST_CODE, MOV_EAX(SLOTMEM));
}

/* The second does not intercept VMRUN. */
static void fill_vmcb(struct svm *s, void *at, unsigned int n)
{
	memcpy(at, s->vmcb, PAGE);
	if (n)
		*(uint32_t *)((uint8_t *)at + C_WORD4) &= ~1u;
}

static uint64_t run_vmcb(struct svm *s, const void *at)
{
	uint64_t how = run_l1(s);

	return how ? how : *(const uint64_t *)((const uint8_t *)at + C_EXIT_CODE);
}

static void use_vmload(struct svm *s)
{
	SVM_CODE(s, GUEST_CODE, MOV_EAX(SLOTMEM), 0x0f, 0x01, 0xda, OUT(SVM_EXITED));
}

static void use_vmsave(struct svm *s)
{
	SVM_CODE(s, GUEST_CODE, MOV_EAX(SLOTMEM), 0x0f, 0x01, 0xdb, OUT(SVM_EXITED));
	assert_int_equal(guest_set_msr(&s->g, MSR_KERNEL_GS, VALUE(7)), 1);
}

/* All that VMLOAD loads, as it is. */
static void fill_saved(struct svm *s, void *at, unsigned int n)
{
	*(uint64_t *)((uint8_t *)at + S_KERNEL_GS_BASE) = VALUE(n);
}

static uint64_t run_vmload(struct svm *s, const void *at)
{
	uint64_t how = run_l1(s);

	return how ? how : msr(s, MSR_KERNEL_GS);
}

static uint64_t run_vmsave(struct svm *s, const void *at)
{
	uint64_t how = run_l1(s);

	return how ? how : *(const uint64_t *)((const uint8_t *)at + S_KERNEL_GS_BASE);
}

/* --- maps ------------------------------------------------------------------------------------------------------------- */

static void use_msr_map(struct svm *s)
{
	svm_put8(s, C_MSRPM, SLOTMEM);
	svm_put4(s, C_WORD3, SVM_WORD3 | W3_MSR);
}

static void fill_msr_map(struct svm *s, void *at, unsigned int n)
{
	((uint8_t *)at)[MSR_PAT / 4] = (uint8_t)(n << MSR_PAT % 4 * 2);
}

static void use_io_map(struct svm *s)
{
	svm_put8(s, C_IOPM, SLOTMEM);
	svm_put4(s, C_WORD3, SVM_WORD3 | W3_IO);
}

static void fill_io_map(struct svm *s, void *at, unsigned int n)
{
	((uint8_t *)at)[L2_PORT / 8] = (uint8_t)n;
}

/* --- nested paging ------------------------------------------------------------------------------------------------ */

static void use_npt(struct svm *s)
{
	svm_npt(s);
	*(uint64_t *)(s->mem + (SVM_NPT + 0x2000 - SVM_MEM)) = SLOTMEM | 7;
	s->g.mem[DATA] = VALUE(0);
	s->g.mem[MORE] = VALUE(1);
}

/* The same pages as L1's, but that DATA is MORE the second time. */
static void fill_npt(struct svm *s, void *at, unsigned int n)
{
	uint64_t *table = at;

	for (uint64_t page = 0; page < 512; page++)
		table[page] = page << 12 | 7;
	table[DATA >> 12] = (n ? MORE : DATA) | 7;
}

static uint64_t run_npt(struct svm *s, const void *at)
{
	uint64_t exit;

	svm_put8(s, S_RAX, 0);
	exit = enter(s);
	return exit == EXIT_VMMCALL ? svm_get8(s, S_RAX) & 0xff : exit;
}

/* --- the host save area ------------------------------------------------------------------------------------------ */

static void use_hsave(struct svm *s)
{
	assert_int_equal(guest_set_msr(&s->g, MSR_HSAVE, SLOTMEM), 1);
}

static void fill_nothing(struct svm *s, void *at, unsigned int n)
{
}

/* An SMI in L2, and RSM: what L1 is lies there meanwhile. */
static uint64_t run_smm(struct svm *s, const void *at)
{
	uint8_t *m = api_memory(SMRAM);
	uint64_t how;

	memcpy(m + 0x8000, "\x0f\xaa", 2);
	api_ok(api_set_slot(s->g.vm, 1 << 16, 0, SMBASE, SMRAM, m));
	svm_rewind(s);
	SET(&s->g, rip, GUEST_CODE);
	guest_port(&s->g, L2_PORT);
	api_ok(api_ioctl(s->g.vcpu, KVM_SMI, NULL));
	api_ok(api_ioctl(s->g.vcpu, KVM_RUN, 0));
	how = s->g.run->exit_reason == KVM_EXIT_SHUTDOWN ? SHUTDOWN : svm_get8(s, C_EXIT_CODE);
	api_ok(api_set_slot(s->g.vm, 1 << 16, 0, SMBASE, 0, m));
	munmap(m, SMRAM);
	return how;
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

struct row {
	const char *name;
	uint32_t with;                  /* features */
	uint8_t len, code[16];          /* L2's */
	void (*use)(struct svm *s);
	void (*fill)(struct svm *s, void *at, unsigned int n);
	uint64_t (*run)(struct svm *s, const void *at);
	uint64_t first, second, absent; /* what that gives, by contents */
	enum { READ = 0, WRITTEN = 1 } how;     /* by the processor, with the first */
};

#define CODE(...) sizeof((const uint8_t[]){ __VA_ARGS__ }), { __VA_ARGS__ }

static const struct row rows[] = {
	{ "VMCB", 0, CODE(VMMCALL), use_vmcb, fill_vmcb, run_vmcb, EXIT_VMMCALL, EXIT_INVALID, EXCEPTION(GP), WRITTEN },
	{ "VMCB of VMLOAD", 0, CODE(VMMCALL), use_vmload, fill_saved, run_vmload, VALUE(0), VALUE(1), EXCEPTION(GP), READ },
	{ "VMCB of VMSAVE", 0, CODE(VMMCALL), use_vmsave, fill_nothing, run_vmsave, VALUE(7), VALUE(7), EXCEPTION(GP),
	  WRITTEN },
	/* mov ecx,PAT; rdmsr */
	{ "MSR permission map", 0, CODE(0xb9, ABS(MSR_PAT), 0x0f, 0x32, VMMCALL), use_msr_map, fill_msr_map, run,
	  EXIT_VMMCALL, EXIT_MSR, EXIT_INVALID, READ },
	{ "I/O permission map", 0, CODE(OUT(L2_PORT), VMMCALL), use_io_map, fill_io_map, run, EXIT_VMMCALL, EXIT_IO, EXIT_IO,
	  READ },
	/* mov al,[DATA] */
	{ "nested page table", SVM_NPT_BIT, CODE(0x8a, 0x04, 0x25, ABS(DATA), VMMCALL), use_npt, fill_npt, run_npt, VALUE(0),
	  VALUE(1), EXIT_NPF, WRITTEN },
	{ "host save area", 0, CODE(VMMCALL), use_hsave, fill_nothing, run, EXIT_VMMCALL, EXIT_VMMCALL, EXIT_VMMCALL, READ },
	{ "host save area, in SMM", 0, CODE(OUT(L2_PORT), VMMCALL), use_hsave, fill_nothing, run_smm, EXIT_VMMCALL,
	  EXIT_VMMCALL, SHUTDOWN, WRITTEN },
};

/* --- each of them ---------------------------------------------------------------------------------------------------- */

struct cell {
	struct svm s;
	const struct row *row;
};

static void fill(void *guest, void *at, unsigned int n)
{
	struct cell *c = guest;

	c->row->fill(&c->s, at, n);
}

static uint64_t run_row(void *guest, const struct slotmem *m)
{
	struct cell *c = guest;

	return c->row->run(&c->s, slotmem_at(m));
}

static void forget_all(void *guest)
{
	struct cell *c = guest;

	svm_put(&c->s, C_TLB, 1, TLB_FLUSH_ALL);
}

/* A guest whose VMCB names the slot, which it has not used yet; false: none for this device. */
static bool start(struct cell *c, const struct slotmem *m)
{
	const struct row *row = c->row;

	c->s = svm_start(row->code, row->len, row->with, 0, false);
	if (row->run == run_smm && !api_cap(c->s.g.vm, KVM_CAP_X86_SMM)) {
		svm_end(&c->s);
		return false;
	}
	slotmem_set(c->s.g.vm, m);
	row->use(&c->s);
	return true;
}

static bool begin(unsigned int n, const struct slotmem *m, struct slotmem_user *u)
{
	const struct row *row = &rows[n];
	struct cell *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->row = row;
	if (!start(c, m)) {
		free(c);
		return false;
	}
	/* A table that is walked is like any memory: it has to be there. */
	*u = (struct slotmem_user){
		.name = row->name, .guest = c, .vm = c->s.g.vm, .fill = fill, .run = run_row, .forget = forget_all,
		.first = row->first, .second = row->second, .absent = row->absent,
		.unreadable = row->fill == fill_npt ? FAULT : row->absent, .written = row->how == WRITTEN,
	};
	return true;
}

static void end(void *guest)
{
	struct cell *c = guest;

	svm_end(&c->s);
	free(c);
}

static const struct slotmem_guests guests = { sizeof(rows) / sizeof(rows[0]), begin, end };

SLOTMEM_TESTS(guests);

API_MAIN(tests)
