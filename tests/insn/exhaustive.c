// SPDX-License-Identifier: MIT
/*
 * 8-bit arithmetic over all of its operands: a loop that runs the operation for
 * every AL, CL and carry in, and folds result and flags into R9.  Both sides run
 * the loop; equal folds are taken for equal results.
 */
#include <stdio.h>
#include <string.h>

#include "judge.h"

enum shape { ALU, DIVIDE, SIGNED_DIVIDE };

static const struct operation {
	const char *name;
	uint8_t bytes[2];
	enum shape shape;
} operations[] = {
	{ "add al, cl", { 0x00, 0xc8 }, ALU }, { "or al, cl", { 0x08, 0xc8 }, ALU },
	{ "adc al, cl", { 0x10, 0xc8 }, ALU }, { "sbb al, cl", { 0x18, 0xc8 }, ALU },
	{ "and al, cl", { 0x20, 0xc8 }, ALU }, { "sub al, cl", { 0x28, 0xc8 }, ALU },
	{ "xor al, cl", { 0x30, 0xc8 }, ALU }, { "cmp al, cl", { 0x38, 0xc8 }, ALU },
	{ "test al, cl", { 0x84, 0xc8 }, ALU }, { "neg al", { 0xf6, 0xd8 }, ALU },
	{ "inc al", { 0xfe, 0xc0 }, ALU }, { "dec al", { 0xfe, 0xc8 }, ALU },
	{ "rol al, cl", { 0xd2, 0xc0 }, ALU }, { "ror al, cl", { 0xd2, 0xc8 }, ALU },
	{ "rcl al, cl", { 0xd2, 0xd0 }, ALU }, { "rcr al, cl", { 0xd2, 0xd8 }, ALU },
	{ "shl al, cl", { 0xd2, 0xe0 }, ALU }, { "shr al, cl", { 0xd2, 0xe8 }, ALU },
	{ "sar al, cl", { 0xd2, 0xf8 }, ALU },
	{ "mul cl", { 0xf6, 0xe1 }, ALU }, { "imul cl", { 0xf6, 0xe9 }, ALU },
	{ "div cl", { 0xf6, 0xf1 }, DIVIDE }, { "idiv cl", { 0xf6, 0xf9 }, SIGNED_DIVIDE },
};
#define OPERATIONS (sizeof(operations) / sizeof(operations[0]))

static void put(struct code *c, const uint8_t *bytes, unsigned int n)
{
	memcpy(c->bytes + c->len, bytes, n);
	c->len += n;
}

#define PUT(c, ...) put(c, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* r9 = r9 * odd + register. */
static void fold(struct code *c, uint8_t modrm)
{
	PUT(c, 0x4d, 0x69, 0xc9, 0xb1, 0x79, 0x37, 0x1e);       /* imul r9, r9, 0x1e3779b1 */
	PUT(c, 0x49, 0x01, modrm);                              /* add r9, reg */
}

static void operands(struct code *c, unsigned int shift)
{
	PUT(c, 0x44, 0x89, 0xd8);               /* mov eax, r11d */
	PUT(c, 0x44, 0x89, 0xd9);               /* mov ecx, r11d */
	PUT(c, 0xc1, 0xe9, shift);              /* shr ecx, shift */
}

/* AL and CL are the index's bytes, the carry in its bit 16. */
static void alu_body(struct code *c, const struct operation *o)
{
	operands(c, 8);
	PUT(c, 0x41, 0x0f, 0xba, 0xe3, 0x10);   /* bt r11d, 16 */
	put(c, o->bytes, 2);
	PUT(c, 0x89, 0xc7);                     /* mov edi, eax */
	PUT(c, 0x9f, 0x0f, 0x90, 0xc2);         /* lahf; seto dl */
	PUT(c, 0x0f, 0xb6, 0xd2);               /* movzx edx, dl */
	PUT(c, 0x0f, 0xb7, 0xc0);               /* movzx eax, ax */
	fold(c, 0xc1);                          /* rax */
	fold(c, 0xf9);                          /* rdi */
	fold(c, 0xd1);                          /* rdx */
}

/* AX is the index's low half, CL its third byte; what would be #DE is left out. */
static void divide_body(struct code *c, const struct operation *o)
{
	operands(c, 16);
	if (o->shape == DIVIDE) {
		PUT(c, 0x38, 0xcc, 0x73, 0x02);         /* cmp ah, cl; jae over the division */
	} else {
		PUT(c, 0x0f, 0xbf, 0xf8);               /* movsx edi, ax */
		PUT(c, 0x0f, 0xbe, 0xf1);               /* movsx esi, cl */
		PUT(c, 0x85, 0xf6, 0x74, 0x12);         /* test esi, esi; jz over the division */
		PUT(c, 0x89, 0xc3, 0x89, 0xf8);         /* mov ebx, eax; mov eax, edi */
		PUT(c, 0x99, 0xf7, 0xfe);               /* cdq; idiv esi */
		PUT(c, 0x0f, 0xbe, 0xf8, 0x39, 0xc7);   /* movsx edi, al; cmp edi, eax */
		PUT(c, 0x89, 0xd8, 0x75, 0x02);         /* mov eax, ebx; jne over the division */
	}
	put(c, o->bytes, 2);
	PUT(c, 0x0f, 0xb7, 0xc0);                       /* movzx eax, ax */
	fold(c, 0xc1);
}

static void make_loop(struct code *c, const struct operation *o)
{
	uint32_t back;

	memset(c, 0, sizeof(*c));
	c->mode = MODE64;
	c->at = CODE_AT;
	if (o->shape == ALU)
		alu_body(c, o);
	else
		divide_body(c, o);
	PUT(c, 0x41, 0xff, 0xc3);               /* inc r11d */
	PUT(c, 0x45, 0x39, 0xd3);               /* cmp r11d, r10d */
	PUT(c, 0x0f, 0x85);                     /* jne */
	back = -(uint32_t)(c->len + 4);
	put(c, (const uint8_t *)&back, 4);
}

static bool run_one(const struct operation *o, uint32_t count)
{
	struct outcome n, e;
	struct state s;
	struct code c;

	make_loop(&c, o);
	native_code(&c);
	engine_code(&c);
	memset(&s, 0, sizeof(s));
	s.rip = CODE_LIN + CODE_AT;
	s.rflags = 0x202;
	s.gpr[10] = count;
	s.v.fcw = 0x37f;
	s.v.mxcsr = 0x1f80;
	s.v.header[0] = 7;
	native_run(&c, &s, &n);
	engine_run(&c, &s, &e);
	if (n.vector == DONE && e.vector == DONE && n.s.gpr[9] == e.s.gpr[9] && n.s.gpr[11] == count &&
	    e.s.gpr[11] == count)
		return true;
	printf("# DIFFERS exhaustive %s: native %d %016lx, engine %d %016lx %s\n", o->name, n.vector,
	       n.s.gpr[9], e.vector, e.s.gpr[9], engine_why());
	return false;
}

unsigned int exhaustive(uint64_t *cases)
{
	unsigned int bad = 0;

	for (unsigned int k = 0; k < OPERATIONS; k++) {
		uint32_t count = operations[k].shape == ALU ? 1u << 17 : 1u << 24;

		bad += !run_one(&operations[k], count);
		*cases += count;
	}
	return bad;
}
