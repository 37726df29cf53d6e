// SPDX-License-Identifier: MIT
/*
 * Several vCPUs on the same memory: LOCKed operations, page tables, descriptors
 * and code that others change, interrupts from one to another.  See
 * test_x86_litmus.c for the order of accesses.
 *
 * SMP_ROUNDS in the environment multiplies the rounds of each.
 */
#include "smp.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned long rounds(unsigned long n)
{
	const char *text = getenv("SMP_ROUNDS");

	return n * (text ? strtoul(text, NULL, 10) : 1);
}

static struct smp *start(unsigned int cpus, bool irqchip)
{
	if (!smp_able())
		skip();
	return smp_new(cpus, irqchip);
}

#define NEW_TABLES "movq %cr3, %rax\n\tmovq %rax, %cr3\n\t"
#define DONE "outb %al, $0x10\n\t"

/* ------------------------------------------------------------------ LOCKed operations */

/* Once an iteration: the operand at (%r8) grows by one, modulo its size. */
#define OPS(M) \
	M(inc8, 1, "lock incb (%r8)") \
	M(inc16, 2, "lock incw (%r8)") \
	M(inc32, 4, "lock incl (%r8)") \
	M(inc64, 8, "lock incq (%r8)") \
	M(add8, 1, "lock addb $1, (%r8)") \
	M(add16, 2, "lock addw $1, (%r8)") \
	M(add32, 4, "movl $1, %eax; lock addl %eax, (%r8)") \
	M(add64, 8, "lock addq $1, (%r8)") \
	M(sub32, 4, "lock subl $-1, (%r8)") \
	M(dec64, 8, "lock addq $2, (%r8); lock decq (%r8)") \
	M(adc64, 8, "stc; lock adcq $0, (%r8)") \
	M(sbb32, 4, "clc; lock sbbl $-1, (%r8)") \
	M(xadd8, 1, "movl $1, %eax; lock xaddb %al, (%r8)") \
	M(xadd16, 2, "movl $1, %eax; lock xaddw %ax, (%r8)") \
	M(xadd32, 4, "movl $1, %eax; lock xaddl %eax, (%r8)") \
	M(xadd64, 8, "movl $1, %eax; lock xaddq %rax, (%r8)") \
	M(cmpxchg8, 1, "2: movb (%r8), %al; leal 1(%rax), %ebx; lock cmpxchgb %bl, (%r8); jnz 2b") \
	M(cmpxchg16, 2, "2: movw (%r8), %ax; leal 1(%rax), %ebx; lock cmpxchgw %bx, (%r8); jnz 2b") \
	M(cmpxchg32, 4, "2: movl (%r8), %eax; leal 1(%rax), %ebx; lock cmpxchgl %ebx, (%r8); jnz 2b") \
	M(cmpxchg64, 8, "2: movq (%r8), %rax; leaq 1(%rax), %rbx; lock cmpxchgq %rbx, (%r8); jnz 2b") \
	M(cmpxchg8b, 8, "2: movl (%r8), %eax; movl 4(%r8), %edx; movl %eax, %ebx; movl %edx, %ecx; addl $1, %ebx; " \
		"adcl $0, %ecx; lock cmpxchg8b (%r8); jnz 2b") \
	M(xchg, 8, "2: movl $1, %eax; xchgl %eax, (%r9); testl %eax, %eax; jz 3f; pause; jmp 2b; 3: incq (%r8); movl $0, (%r9)") \
	M(bts, 8, "2: lock btsl $5, (%r9); jnc 3f; pause; jmp 2b; 3: incq (%r8); lock btrl $5, (%r9)") \
	M(btc, 8, "2: lock btsw $5, (%r9); jnc 3f; pause; jmp 2b; 3: incq (%r8); lock btcw $5, (%r9)")
/* Those whose operand has to be aligned. */
#define ALIGNED_OPS(M) \
	M(cmpxchg16b, 16, "2: movq (%r8), %rax; movq 8(%r8), %rdx; movq %rax, %rbx; movq %rdx, %rcx; addq $1, %rbx; " \
		"adcq $0, %rcx; lock cmpxchg16b (%r8); jnz 2b")

#define OP(name, size, text) \
	SMP_GUEST("op_" #name ":\n\t" NEW_TABLES "movq 8(%rdi), %r8\n\tmovq 16(%rdi), %r9\n\tmovq (%rdi), %r10\n" \
		  "1:\t" text "\n\tdecq %r10\n\tjnz 1b\n\t" DONE); \
	extern const uint8_t op_##name[];
OPS(OP)
ALIGNED_OPS(OP)

struct op {
	const char *name;
	unsigned int size;
	const uint8_t *code;
};

#define OP_ROW(name, size, text) { #name, size, op_##name },
static const struct op ops[] = { OPS(OP_ROW) }, aligned_ops[] = { ALIGNED_OPS(OP_ROW) };

/* Two pages that are neighbours to the guest: @swapped, and not in physical memory. */
static void map_pair(struct smp *s, bool swapped)
{
	*smp_word(s, SMP_PTE(SMP_DATA)) = (swapped ? SMP_DATA + 0x1000 : SMP_DATA) | 7;
	*smp_word(s, SMP_PTE(SMP_DATA + 0x1000)) = (swapped ? SMP_DATA : SMP_DATA + 0x1000) | 7;
}

/* Where a byte of that pair lies. */
static uint8_t *pair_byte(struct smp *s, bool swapped, unsigned int at)
{
	return s->mem + SMP_DATA + (swapped ? at ^ 0x1000 : at);
}

static void run_op(struct smp *s, const struct op *op, unsigned int at, bool swapped, unsigned long n)
{
	uint64_t value = 0, mask = op->size >= 8 ? ~0ULL : (1ULL << op->size * 8) - 1;

	map_pair(s, swapped);
	memset(s->mem + SMP_DATA, 0, 0x3000);
	for (unsigned int i = 0; i < s->cpus; i++) {
		smp_args(s, i)[0] = n;
		smp_args(s, i)[1] = SMP_DATA + at;
		smp_args(s, i)[2] = SMP_DATA + 0x2000 + (at & 63);
		smp_call(s, i, op->code);
	}
	smp_run(s, (1U << s->cpus) - 1);
	for (unsigned int i = 0; i < op->size && i < 8; i++)
		value |= (uint64_t)*pair_byte(s, swapped, at + i) << 8 * i;
	if (value != (n * s->cpus & mask))
		fail_msg("%s at %#x%s: %lu, not %lu", op->name, at, swapped ? " in scattered pages" : "", value,
			 n * s->cpus & mask);
}

/* The operand at its place, then over two lines, two pages, and two pages that are not neighbours. */
static void locked_counts(void **state)
{
	struct smp *s = start(2, false);
	unsigned long n = rounds(4000);

	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		unsigned int back = ops[i].size / 2;

		run_op(s, &ops[i], 64, false, n);
		if (!back)
			continue;
		run_op(s, &ops[i], 128 - back, false, n / 4);
		run_op(s, &ops[i], 0x1000 - back, false, n / 4);
		run_op(s, &ops[i], 0x1000 - back, true, n / 40);
	}
	for (unsigned int i = 0; i < sizeof(aligned_ops) / sizeof(aligned_ops[0]); i++)
		run_op(s, &aligned_ops[i], 64, false, n);
	smp_free(s);
}

/* One adds to both halves of an operand in two places, the other to its upper half alone. */
SMP_GUEST(
"both_halves:\n	" NEW_TABLES
"	movq 8(%rdi), %r8\n	movq (%rdi), %r10\n	movabsq $0x100000001, %rax\n"
"1:	lock addq %rax, (%r8)\n	decq %r10\n	jnz 1b\n	" DONE
"upper_half:\n	" NEW_TABLES
"	movq 8(%rdi), %r8\n	movq (%rdi), %r10\n"
"1:	lock incl 4(%r8)\n	decq %r10\n	jnz 1b\n	" DONE);
extern const uint8_t both_halves[], upper_half[];

static void locked_parts(void **state)
{
	static const struct {
		unsigned int at;
		bool swapped;
	} place[] = { { 64, false }, { 124, false }, { 0xffc, false }, { 0xffc, true } };
	struct smp *s = start(2, false);

	for (unsigned int i = 0; i < 4; i++) {
		unsigned long n = rounds(place[i].swapped ? 200 : 4000);
		uint32_t low, high;

		map_pair(s, place[i].swapped);
		memset(s->mem + SMP_DATA, 0, 0x2000);
		smp_args(s, 0)[0] = n;
		smp_args(s, 1)[0] = n * 10;
		smp_args(s, 0)[1] = smp_args(s, 1)[1] = SMP_DATA + place[i].at;
		smp_call(s, 0, both_halves);
		smp_call(s, 1, upper_half);
		smp_run(s, 3);
		memcpy(&low, pair_byte(s, place[i].swapped, place[i].at), 4);
		memcpy(&high, pair_byte(s, place[i].swapped, place[i].at + 4), 4);
		if (low != n || high != n * 11)
			fail_msg("at %#x%s: %u and %u of %lu and %lu", place[i].at, place[i].swapped ? " scattered" : "", low,
				 high, n, n * 11);
	}
	smp_free(s);
}

/* ------------------------------------------------------------------ accesses that do not tear */

/* A writer of all zeroes and all ones in turns, and a reader that counts what is neither: args[2]. */
#define TEARS(M) \
	M(word, 0, "movw %ax, (%r8)", "movswq (%r8), %rbx; movq %rbx, %rcx") \
	M(dword, 0, "movl %eax, (%r8)", "movslq (%r8), %rbx; movq %rbx, %rcx") \
	M(qword, 0, "movq %rax, (%r8)", "movq (%r8), %rbx; movq %rbx, %rcx") \
	M(inside, 2, "movl %eax, (%r8)", "movslq (%r8), %rbx; movq %rbx, %rcx") \
	M(stack, 0, "movq %rsp, %rbp; leaq 8(%r8), %rsp; pushq %rax; movq %rbp, %rsp", \
		"movq %rsp, %rbp; movq %r8, %rsp; popq %rbx; movq %rbp, %rsp; movq %rbx, %rcx") \
	M(string, 0, "movq %r8, %rdi; stosq", "movq %r8, %rsi; lodsq; movq %rax, %rbx; movq %rax, %rcx") \
	M(alu, 0, "notq (%r8)", "xorl %ebx, %ebx; orq (%r8), %rbx; movq %rbx, %rcx") \
	M(xmm64, 0, "movq %rax, %xmm1; movq %xmm1, (%r8)", "movq (%r8), %xmm0; movq %xmm0, %rbx; movq %rbx, %rcx") \
	M(xmm128, 0, "movq %rax, %xmm1; punpcklqdq %xmm1, %xmm1; movdqa %xmm1, (%r8)", \
		"movdqa (%r8), %xmm0; movq %xmm0, %rbx; psrldq $8, %xmm0; movq %xmm0, %rcx") \
	M(x87, 0, "pushq %rax; fildll (%rsp); fistpll (%r8); popq %rax", \
		"fildll (%r8); fistpll -8(%rsp); movq -8(%rsp), %rbx; movq %rbx, %rcx") \
	M(cmpxchg8b, 0, "movq %rax, (%r8)", "xorl %eax, %eax; xorl %edx, %edx; xorl %ebx, %ebx; xorl %ecx, %ecx; " \
		"lock cmpxchg8b (%r8); movslq %eax, %rbx; movslq %edx, %rcx") \
	M(mixed, 0, "movq %rax, (%r8)", "movq %r8, %rsi; leaq -8(%rsp), %rdi; movl $1, %ecx; rep movsq; movq -8(%rsp), %rbx; " \
		"movq %rbx, %rcx")

#define TEAR(name, off, write, read) \
	SMP_GUEST("write_" #name ":\n\tmovq 8(%rdi), %r8\n\tmovq (%rdi), %r10\n\txorl %eax, %eax\n" \
		  "1:\tmovq %rdi, %r11\n\t" write "\n\tmovq %r11, %rdi\n\tnotq %rax\n\tdecq %r10\n\tjnz 1b\n\t" DONE \
		  "read_" #name ":\n\tmovq 8(%rdi), %r8\n\tmovq (%rdi), %r10\n" \
		  "1:\tmovq %rdi, %r11\n\t" read "\n\tmovq %r11, %rdi\n\tcmpq %rbx, %rcx\n\tjne 2f\n\tincq %rcx\n" \
		  "\tcmpq $1, %rcx\n\tjbe 3f\n2:\tincq 16(%rdi)\n3:\tdecq %r10\n\tjnz 1b\n\t" DONE); \
	extern const uint8_t write_##name[], read_##name[];
TEARS(TEAR)

#define TEAR_ROW(name, off, write, read) { #name, off, write_##name, read_##name },
static const struct {
	const char *name;
	unsigned int offset;
	const uint8_t *write, *read;
} tears[] = { TEARS(TEAR_ROW) };

static void no_tearing(void **state)
{
	struct smp *s = start(2, false);

	for (unsigned int i = 0; i < sizeof(tears) / sizeof(tears[0]); i++) {
		memset(s->mem + SMP_DATA, 0, 0x1000);
		for (unsigned int n = 0; n < 2; n++) {
			smp_args(s, n)[0] = rounds(20000);
			smp_args(s, n)[1] = SMP_DATA + 64 + tears[i].offset;
			smp_args(s, n)[2] = 0;
			smp_call(s, n, n ? tears[i].read : tears[i].write);
		}
		smp_run(s, 3);
		if (smp_args(s, 1)[2])
			fail_msg("%s: torn %lu times", tears[i].name, smp_args(s, 1)[2]);
	}
	smp_free(s);
}

/* ------------------------------------------------------------------ bits that the processor sets */

/*
 * vCPU 0 clears the accessed bit of a descriptor and changes its DPL; vCPU 1
 * loads it.  args[2]: how often the DPL was not what vCPU 0 had written last.
 */
SMP_GUEST(
"dpl_owner:\n"
"	movq 8(%rdi), %r8\n	movq (%rdi), %r10\n	movzbl 5(%r8), %ebx\n	andl $0x60, %ebx\n"
"1:	lock andb $0xfe, 5(%r8)\n	lock xorb $0x20, 5(%r8)\n	xorl $0x20, %ebx\n"
"	movzbl 5(%r8), %eax\n	andl $0x60, %eax\n	cmpl %eax, %ebx\n	je 2f\n	incq 16(%rdi)\n	movl %eax, %ebx\n"
"2:	decq %r10\n	jnz 1b\n	movq $1, 24(%rdi)\n	" DONE
"segment_loader:\n"
"	movq 8(%rdi), %r9\n"           /* the other's args[3] */
"	movl 16(%rdi), %eax\n"
"1:	movl %eax, %ds\n	movl %eax, %es\n	incq 24(%rdi)\n	cmpq $0, (%r9)\n	je 1b\n	" DONE);
extern const uint8_t dpl_owner[], segment_loader[];

static void accessed_bits(void **state)
{
	struct smp *s = start(2, false);

	*smp_word(s, SMP_GDT + 0x20) = 0x00cf92000000ffffULL;
	smp_args(s, 0)[0] = rounds(20000);
	smp_args(s, 0)[1] = SMP_GDT + 0x20;
	smp_args(s, 1)[1] = SMP_ARGS(0) + 24;
	smp_args(s, 1)[2] = 0x20;
	smp_call(s, 0, dpl_owner);
	smp_call(s, 1, segment_loader);
	smp_run(s, 3);
	assert_int_equal(smp_args(s, 0)[2], 0);
	assert_true(smp_args(s, 1)[3] > 0);
	smp_free(s);
}

/*
 * vCPU 0 clears A and D of a PTE and changes bits that are software's; vCPU 1
 * reads and writes the page with no translation left of it.
 */
SMP_GUEST(
"pte_owner:\n"
"	movq 8(%rdi), %r8\n	movq (%rdi), %r10\n	xorl %ebx, %ebx\n"
"1:	lock andq $~0x60, (%r8)\n	lock xorq $0x200, (%r8)\n	xorl $0x200, %ebx\n"
"	movl (%r8), %eax\n	andl $0xe00, %eax\n	cmpl %eax, %ebx\n	je 2f\n	incq 16(%rdi)\n	movl %eax, %ebx\n"
"2:	decq %r10\n	jnz 1b\n	movq $1, 24(%rdi)\n	" DONE
"page_user:\n"
"	movq 8(%rdi), %r9\n	movq 16(%rdi), %r8\n"
"1:	invlpg (%r8)\n	movq (%r8), %rax\n	incq (%r8)\n	incq 24(%rdi)\n	cmpq $0, (%r9)\n	je 1b\n	" DONE);
extern const uint8_t pte_owner[], page_user[];

static void dirty_bits(void **state)
{
	struct smp *s = start(2, false);

	smp_args(s, 0)[0] = rounds(20000);
	smp_args(s, 0)[1] = SMP_PTE(SMP_DATA);
	smp_args(s, 1)[1] = SMP_ARGS(0) + 24;
	smp_args(s, 1)[2] = SMP_DATA;
	smp_call(s, 0, pte_owner);
	smp_call(s, 1, page_user);
	smp_run(s, 3);
	assert_int_equal(smp_args(s, 0)[2], 0);
	assert_int_equal(*smp_word(s, SMP_DATA), smp_args(s, 1)[3]);
	assert_int_equal(*smp_word(s, SMP_PTE(SMP_DATA)) & ~0xe60ULL, SMP_DATA | 7);
	smp_free(s);
}

/* ------------------------------------------------------------------ interrupts from one to another */

/* Each vCPU's counters of interrupts: 64 bytes for each, by its APIC id. */
#define COUNTS (SMP_DATA + 0x40000UL)
#define COUNT_OF(n) (COUNTS + 64 * (n))
#define APIC "0xfee00000"

/* RBX: the local APIC.  A handler counts, ends the interrupt and returns; all registers stay. */
#define COUNT_HERE \
	"pushq %rax\n\tpushq %rbx\n\tmovl $" APIC ", %ebx\n\tmovl 0x20(%rbx), %eax\n\tshrl $24, %eax\n\tshll $6, %eax\n\t" \
	"lock incq 0x140000(%rax)\n\t"
#define RETURN "popq %rbx\n\tpopq %rax\n\tiretq\n\t"
_Static_assert(COUNTS == 0x140000, "as the code has it");

SMP_GUEST(
"on_ipi:\n	" COUNT_HERE "movl $0, 0xb0(%rbx)\n	" RETURN
"on_nmi:\n	" COUNT_HERE RETURN
/* EAX: low word of the command, ECX: target's APIC id. */
"send:\n	movl $" APIC ", %ebx\n	shll $24, %ecx\n	movl %ecx, 0x310(%rbx)\n	movl %eax, 0x300(%rbx)\n"
"1:	testl $0x1000, 0x300(%rbx)\n	jnz 1b\n	ret\n"
"enable:\n	movl $" APIC ", %ebx\n	movl $0x1ff, 0xf0(%rbx)\n	movl $0, 0x80(%rbx)\n	ret\n"
/* Halts until the counter at (%r8) is at least R9.  Interrupts are off before and after. */
"sleep_until:\n"
"1:	cmpq %r9, (%r8)\n	jae 2f\n	sti\n	hlt\n	cli\n	jmp 1b\n"
"2:	ret\n"
/* args: rounds, own id, the other's id.  Who pings sends, then waits for the answer. */
"ping:\n"
"	call enable\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n	movq 8(%rdi), %r8\n	shlq $6, %r8\n	addq $0x140000, %r8\n"
"0:	pause\n	cmpq $0, 0x140200\n	je 0b\n"        /* its local APIC is on */
"1:	movl $0x40, %eax\n	movl 16(%rdi), %ecx\n	call send\n	incq %r9\n	call sleep_until\n	decq %r10\n	jnz 1b\n	"
	DONE
"pong:\n"
"	call enable\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n	movq 8(%rdi), %r8\n	shlq $6, %r8\n	addq $0x140000, %r8\n	movq $1, 0x140200\n"
"1:	incq %r9\n	call sleep_until\n	movl $0x40, %eax\n	movl 16(%rdi), %ecx\n	call send\n	decq %r10\n	jnz 1b\n	"
	DONE);
extern const uint8_t on_ipi[], on_nmi[], ping[], pong[];

static struct smp *start_ipis(unsigned int cpus)
{
	struct smp *s = start(cpus, true);

	smp_gate(s, 0x40, on_ipi);
	smp_gate(s, 2, on_nmi);
	return s;
}

/* Nobody sleeps for ever: STI's shadow covers HLT, and an interrupt that comes before it is not lost. */
static void ping_pong(void **state)
{
	struct smp *s = start_ipis(2);
	unsigned long n = rounds(2000);

	for (unsigned int i = 0; i < 2; i++) {
		smp_args(s, i)[0] = n;
		smp_args(s, i)[1] = i;
		smp_args(s, i)[2] = !i;
		smp_call(s, i, i ? pong : ping);
	}
	smp_run(s, 3);
	assert_int_equal(*smp_word(s, COUNT_OF(0)), n);
	assert_int_equal(*smp_word(s, COUNT_OF(1)), n);
	if (!api_real())
		assert_true(smp_stat(s, 0, "irq_injections") >= n);
	smp_free(s);
}

/*
 * vCPU 0 sends, the others wait.  args: rounds, command, target, then how much
 * the sum of all counters grows by each, how many vCPUs there are, and the last command.
 */
SMP_GUEST(
"sender:\n"
"	call enable\n	movl $0xffffffff, 0xe0(%rbx)\n	movl $0x01000000, 0xd0(%rbx)\n	sti\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n"
"	movq 32(%rdi), %rdx\n	lock incq 0x140200\n"
"0:	pause\n	cmpq %rdx, 0x140200\n	jb 0b\n"
"1:	movq 8(%rdi), %rax\n	movq 16(%rdi), %rcx\n	call send\n	addq 24(%rdi), %r9\n"
"2:	pause\n	movq 0x140000, %rax\n	addq 0x140040, %rax\n	addq 0x140080, %rax\n	addq 0x1400c0, %rax\n"
"	cmpq %r9, %rax\n	jb 2b\n	decq %r10\n	jnz 1b\n	cli\n	movq $1, 0x140208\n"
/* Those that wait are sent one more, so that they look. */
"	movq 40(%rdi), %rax\n	xorl %ecx, %ecx\n	call send\n	" DONE
"receiver:\n"
"	call enable\n	movl $0xffffffff, 0xe0(%rbx)\n	movl 0x20(%rbx), %ecx\n	shrl $24, %ecx\n	movl $0x01000000, %eax\n"
"	shll %cl, %eax\n	movl %eax, 0xd0(%rbx)\n	lock incq 0x140200\n"
"1:	sti\n	hlt\n	cli\n	cmpq $0, 0x140208\n	je 1b\n	" DONE
/* For NMIs, which end HLT with interrupts off. */
"nmi_receiver:\n"
"	call enable\n	lock incq 0x140200\n"
"1:	hlt\n	cmpq $0, 0x140208\n	je 1b\n	" DONE);
extern const uint8_t sender[], receiver[], nmi_receiver[];

static void run_sender(struct smp *s, unsigned long n, uint32_t command, unsigned int target, unsigned int each,
		       const uint8_t *others)
{
	memset(s->mem + COUNTS, 0, 0x1000);
	smp_args(s, 0)[0] = n;
	smp_args(s, 0)[1] = command;
	smp_args(s, 0)[2] = target;
	smp_args(s, 0)[3] = each;
	smp_args(s, 0)[4] = s->cpus;
	smp_args(s, 0)[5] = 0xc0000 | (others == nmi_receiver ? 0x400 : 0x40);
	for (unsigned int i = 0; i < s->cpus; i++)
		smp_call(s, i, i ? others : sender);
	smp_run(s, (1U << s->cpus) - 1);
}

static void broadcasts(void **state)
{
	struct smp *s = start_ipis(4);
	unsigned long n = rounds(200);

	run_sender(s, n, 0xc0040, 0, 3, receiver);      /* all but self */
	assert_int_equal(*smp_word(s, COUNT_OF(0)), 0);
	for (unsigned int i = 1; i < 4; i++)
		assert_in_range(*smp_word(s, COUNT_OF(i)), n, n + 1);
	run_sender(s, n, 0x80040, 0, 4, receiver);      /* all */
	for (unsigned int i = 0; i < 4; i++)
		assert_in_range(*smp_word(s, COUNT_OF(i)), n, n + 1);
	run_sender(s, n, 0x40040, 0, 1, receiver);      /* self */
	assert_int_equal(*smp_word(s, COUNT_OF(0)), n);
	run_sender(s, n, 0x840, 0x0e, 3, receiver);     /* logical, flat: the three others */
	assert_int_equal(*smp_word(s, COUNT_OF(0)), 0);
	smp_free(s);
}

/* Each goes to one of those that it names. */
static void lowest_priority(void **state)
{
	struct smp *s = start_ipis(4);
	unsigned long n = rounds(200), sum = 0;

	run_sender(s, n, 0x940, 0x0e, 1, receiver);
	for (unsigned int i = 1; i < 4; i++)
		sum += *smp_word(s, COUNT_OF(i));
	assert_int_equal(*smp_word(s, COUNT_OF(0)), 0);
	assert_in_range(sum, n, n + 3);
	smp_free(s);
}

static void nmis(void **state)
{
	struct smp *s = start_ipis(2);
	unsigned long n = rounds(500);

	memset(s->mem + COUNTS, 0, 0x1000);
	run_sender(s, n, 0x400, 1, 1, nmi_receiver);
	smp_free(s);
}

/*
 * INIT and SIPI.  The trampoline counts; then it ends the turn if a flag says
 * so, or goes on counting another word, or halts.
 */
SMP_GUEST(
"starter:\n"
"	call enable\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n"
"1:	movl $0x4500, %eax\n	movl $1, %ecx\n	call send\n"
"	cmpq $1, %r10\n	jne 2f\n	movb $1, 0x1b108\n"
"2:	movl $0x461b, %eax\n	movl $1, %ecx\n	call send\n	incq %r9\n"
"3:	pause\n	cmpq %r9, 0x1b100\n	jb 3b\n	decq %r10\n	jnz 1b\n	" DONE
"busy:	incq 0x1b110\n	jmp busy\n"
"deaf:	cli\n	hlt\n	jmp deaf\n");
extern const uint8_t starter[], busy[], deaf[];

static void inits(struct smp *s, bool halts)
{
	/* lock inc word cs:[100h]; cmp byte cs:[108h],0; je 1; out 10h,al; 1: hlt or inc word cs:[110h]; jmp 1 */
	static const uint8_t halting[] = {
		0xf0, 0x2e, 0xff, 0x06, 0x00, 0x01, 0x2e, 0x80, 0x3e, 0x08, 0x01, 0x00, 0x74, 0x02, 0xe6, 0x10,
		0xf4, 0xeb, 0xfd,
	}, running[] = {
		0xf0, 0x2e, 0xff, 0x06, 0x00, 0x01, 0x2e, 0x80, 0x3e, 0x08, 0x01, 0x00, 0x74, 0x02, 0xe6, 0x10,
		0x2e, 0xff, 0x06, 0x10, 0x01, 0xeb, 0xf9,
	};
	unsigned long n = rounds(100);

	memset(s->mem + SMP_TRAMPOLINE, 0, 0x200);
	if (halts)
		memcpy(s->mem + SMP_TRAMPOLINE, halting, sizeof(halting));
	else
		memcpy(s->mem + SMP_TRAMPOLINE, running, sizeof(running));
	smp_args(s, 0)[0] = n;
	smp_call(s, 0, starter);
	smp_call(s, 1, halts ? deaf : busy);
	smp_run(s, 3);
	assert_int_equal(*smp_word(s, SMP_TRAMPOLINE + 0x100) & 0xffff, n);
}

static void init_while_running(void **state)
{
	struct smp *s = start_ipis(2);

	inits(s, false);
	smp_free(s);
}

static void init_while_halted(void **state)
{
	struct smp *s = start_ipis(2);

	inits(s, true);
	smp_free(s);
}

/* ------------------------------------------------------------------ translations */

/*
 * vCPU 0 changes the PTE of a page between two frames, has vCPU 1 drop its
 * translation by an interrupt, and spoils the frame that is gone.  vCPU 1 reads
 * and writes the page all the time: it must not see what is spoilt, nor change
 * it.  vCPU 0: args 0 rounds, 2 changes of a spoilt frame; vCPU 1: 2 sights.
 */
#define PAGE_VA "0x150000"
#define FRAMES "0x160000"               /* and the next one */

SMP_GUEST(
"on_shootdown:\n	" COUNT_HERE "invlpg " PAGE_VA "\n	movl $0, 0xb0(%rbx)\n	lock incq 0x140200\n	" RETURN
"on_reload:\n	" COUNT_HERE "movq %cr3, %rax\n	movq %rax, %cr3\n	movl $0, 0xb0(%rbx)\n	lock incq 0x140200\n	" RETURN
"changer:\n"
"	call enable\n	movq (%rdi), %r10\n	movq 8(%rdi), %r11\n	xorl %r9d, %r9d\n	xorl %r12d, %r12d\n"
"0:	pause\n	cmpq $0, 0x140210\n	je 0b\n"
"1:	movl %r12d, %esi\n	xorl $0x1000, %r12d\n"
"	movq $1, " FRAMES "(%r12)\n	movq $1, " FRAMES "+16(%r12)\n"
"	leaq " FRAMES "(%r12), %rax\n	orq $7, %rax\n	movq %rax, (%r11)\n"
"	movl 16(%rdi), %eax\n	movl $1, %ecx\n	call send\n	incq %r9\n"
"2:	pause\n	cmpq %r9, 0x140200\n	jb 2b\n"
"	movq $-1, " FRAMES "(%rsi)\n	movq " FRAMES "+8(%rsi), %rbx\n	movq $-1, " FRAMES "+16(%rsi)\n"
"	movl $20, %ecx\n"
"3:	decl %ecx\n	jns 3b\n"
"	cmpq %rbx, " FRAMES "+8(%rsi)\n	je 4f\n	incq 24(%rdi)\n"
"4:	xorl $1, 16(%rdi)\n	decq %r10\n	jnz 1b\n	movq $1, 0x140208\n	" DONE
"visitor:\n"
"	call enable\n	sti\n	movq $1, 0x140210\n"
"1:	cmpq $1, " PAGE_VA "\n	jne 2f\n	incq " PAGE_VA "+8\n	cmpq $1, " PAGE_VA "+16\n	je 3f\n"
"2:	incq 16(%rdi)\n"
"3:	incq 24(%rdi)\n	cmpq $0, 0x140208\n	je 1b\n	cli\n	" DONE);
extern const uint8_t on_shootdown[], on_reload[], changer[], visitor[];

static void shootdown(void **state)
{
	struct smp *s = start_ipis(2);

	smp_gate(s, 0x40, on_shootdown);
	smp_gate(s, 0x41, on_reload);
	*smp_word(s, 0x160000) = *smp_word(s, 0x160010) = 1;
	*smp_word(s, SMP_PTE(0x150000)) = 0x160000 | 7;
	smp_args(s, 0)[0] = rounds(3000);
	smp_args(s, 0)[1] = SMP_PTE(0x150000);
	smp_args(s, 0)[2] = 0x40;
	smp_call(s, 0, changer);
	smp_call(s, 1, visitor);
	smp_run(s, 3);
	assert_int_equal(smp_args(s, 0)[3], 0);
	assert_int_equal(smp_args(s, 1)[2], 0);
	assert_true(smp_args(s, 1)[3] > 0);
	smp_free(s);
}

/* A slot that is deleted is gone for a running vCPU when the call returns. */
SMP_GUEST("hammer:\n	movl $0x200000, %r8d\n1:	incq (%r8)\n	jmp 1b\n");
extern const uint8_t hammer[];

static void *hammer_main(void *arg)
{
	struct smp *s = arg;
	int r;

	do
		r = api_ioctl(s->vcpu[0], KVM_RUN, NULL);
	while (r && errno == EINTR);
	return (void *)(uintptr_t)(!r && s->run[0]->exit_reason == KVM_EXIT_MMIO && s->run[0]->mmio.phys_addr == 0x200000);
}

static void slot_deleted(void **state)
{
	struct smp *s = start(1, false);
	volatile uint64_t *word = api_memory(PAGE);
	unsigned long n = rounds(100);

	*smp_word(s, SMP_TABLES + 0x2008) = 0x200000 | 0x87;
	for (unsigned long i = 0; i < n; i++) {
		uint64_t first = *word, last;
		pthread_t thread;
		void *mmio;

		api_ok(api_set_slot(s->vm, 1, 0, 0x200000, PAGE, (void *)word));
		smp_call(s, 0, hammer);
		assert_int_equal(pthread_create(&thread, NULL, hammer_main, s), 0);
		while (*word < first + 100)
			sched_yield();
		api_ok(api_set_slot(s->vm, 1, 0, 0, 0, NULL));
		last = *word;
		pthread_join(thread, &mmio);
		assert_non_null(mmio);
		assert_int_equal(*word, last);
	}
	munmap((void *)word, PAGE);
	smp_free(s);
}

/* ------------------------------------------------------------------ code that another vCPU changes */

/*
 * SDM 3A 9.1.3.  In each page of a pool lie "mov $n, %eax; ret", whose n grows,
 * and a "ret" that is called too, so that the page holds other code.  The writer
 * tells how far it is; the executor reads that, executes a serializing
 * instruction, and must not get less.  args of both: 0 rounds, 1 the pool,
 * 2 pages; of the executor 3: how often it got less, 4: calls.
 */
#define POOL (SMP_DATA + 0x60000UL)
#define POOL_PAGES 64
#define FN_AT 0x403                     /* its operand is aligned */
#define RET_AT 0x80

#define EXECUTOR(name, serialize) \
	#name ":\n" \
	"	movq 8(%rdi), %r8\n	movq 16(%rdi), %r9\n" \
	"1:	movq 0x140300, %rsi\n"                  /* the page in hand */ \
	"	movq 0x140308, %r11\n"                  /* what is written there */ \
	"	movq 0x140300, %rax\n	cmpq %rax, %rsi\n	jne 1b\n" \
	"	" serialize "\n" \
	"	call *%rsi\n	incq 32(%rdi)\n	movq %rsi, %rbp\n	andq $~0xfff, %rbp\n	addq $0x80, %rbp\n" \
	"	cmpq %r11, %rax\n	jae 2f\n	cmpq %rsi, 0x140300\n	jne 2f\n	incq 24(%rdi)\n" \
	"2:	call *%rbp\n	call *%rsi\n	cmpq $0, 0x140310\n	je 1b\n	" DONE

SMP_GUEST(
"writer:\n"
"	movq 8(%rdi), %r8\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n"
"1:	movq 16(%rdi), %rcx\n	decq %rcx\n	movq %r9, %rax\n	shrq $5, %rax\n	andq %rcx, %rax\n	shlq $12, %rax\n"
"	leaq 0x403(%r8,%rax), %rsi\n"
"	cmpq %rsi, 0x140300\n	je 3f\n	movq $0, 0x140308\n	movq %rsi, 0x140300\n"
"3:	incq %r9\n	movl %r9d, 1(%rsi)\n	movq %r9, 0x140308\n"
"	movl $40, %ecx\n"
"2:	decl %ecx\n	jns 2b\n	decq %r10\n	jnz 1b\n	movq $1, 0x140310\n	" DONE
EXECUTOR(by_cpuid, "xorl %eax, %eax; xorl %ecx, %ecx; movq %rbx, %r13; cpuid; movq %r13, %rbx")
EXECUTOR(by_iret, "movl %ss, %eax; movq %rsp, %rbp; pushq %rax; pushq %rbp; pushfq; movl %cs, %eax; pushq %rax; "
	"leaq 9f(%rip), %rax; pushq %rax; iretq; 9:")
EXECUTOR(by_cr3, "movq %cr3, %rax; movq %rax, %cr3")
EXECUTOR(by_invlpg, "invlpg (%r8)"));
extern const uint8_t writer[], by_cpuid[], by_iret[], by_cr3[], by_invlpg[];

static void fill_pool(struct smp *s)
{
	static const uint8_t fn[] = { 0xb8, 0, 0, 0, 0, 0xc3 };

	for (unsigned int i = 0; i < POOL_PAGES; i++) {
		memset(s->mem + POOL + i * PAGE, 0x90, PAGE);
		memcpy(s->mem + POOL + i * PAGE + FN_AT, fn, sizeof(fn));
		s->mem[POOL + i * PAGE + RET_AT] = 0xc3;
	}
}

static void run_pool(const uint8_t *executor)
{
	struct smp *s = start(2, false);

	fill_pool(s);
	memset(s->mem + COUNTS, 0, 0x1000);
	*smp_word(s, 0x140300) = POOL + FN_AT;
	for (unsigned int n = 0; n < 2; n++) {
		smp_args(s, n)[0] = rounds(32 * POOL_PAGES);
		smp_args(s, n)[1] = POOL;
		smp_args(s, n)[2] = POOL_PAGES;
		smp_call(s, n, n ? executor : writer);
	}
	smp_run(s, 3);
	if (smp_args(s, 1)[3])
		fail_msg("old code %lu times in %lu calls", smp_args(s, 1)[3], smp_args(s, 1)[4]);
	assert_true(smp_args(s, 1)[4] > 0);
	smp_free(s);
}

static void cross_modified(void **state)
{
	run_pool(by_cpuid);
	run_pool(by_iret);
	run_pool(by_cr3);
	run_pool(by_invlpg);
}

/*
 * As Linux patches: INT3 over the first byte, all others serialize; the rest of
 * the bytes, again; the first byte, again.  The function returns 1 by five bytes
 * of NOP and 2 by a JMP; its INT3 counts as the NOP.  0x140308: which of these
 * it is now, in the low two bits; 0: either.
 */
SMP_GUEST(
"on_sync:\n	" COUNT_HERE "movl $0, 0xb0(%rbx)\n	lock incq 0x140200\n	" RETURN
"on_int3:\n	addq $4, (%rsp)\n	lock incq 0x140218\n	iretq\n"
"patcher:\n"
"	call enable\n	movq (%rdi), %r10\n	xorl %r9d, %r9d\n"
"0:	pause\n	cmpq $0, 0x140210\n	je 0b\n"
"1:	movq %r10, %rax\n	shrq $3, %rax\n	movq 16(%rdi), %rcx\n	decq %rcx\n	andq %rcx, %rax\n	shlq $12, %rax\n"
"	movq 8(%rdi), %r8\n	leaq 0x403(%r8,%rax), %rsi\n	movq $0, 0x140308\n	movq %rsi, 0x140300\n	call sync\n"
"	movb $0xcc, (%rsi)\n	call sync\n"
"	testl $1, %r10d\n	jz 2f\n"
"	movl $5, 1(%rsi)\n	call sync\n	movb $0xe9, (%rsi)\n	call sync\n	leaq 2(,%r10,4), %rax\n	jmp 3f\n"
"2:	movl $0x0000441f, 1(%rsi)\n	call sync\n	movb $0x0f, (%rsi)\n	call sync\n	leaq 1(,%r10,4), %rax\n"
"3:	movq %rax, 0x140308\n	movl $100, %ecx\n"
"4:	decl %ecx\n	jns 4b\n	decq %r10\n	jnz 1b\n	movq $1, 0x140310\n	" DONE
"sync:	movl $0x40, %eax\n	movl $1, %ecx\n	call send\n	incq %r9\n"
"1:	pause\n	cmpq %r9, 0x140200\n	jb 1b\n	ret\n"
"runner:\n"
"	call enable\n	sti\n	movq $1, 0x140210\n"
"1:	movq 0x140308, %r11\n	movq 0x140300, %rsi\n	call *%rsi\n	incq 32(%rdi)\n"
"	cmpq $1, %rax\n	je 2f\n	cmpq $2, %rax\n	jne 3f\n"
"2:	cmpq %r11, 0x140308\n	jne 4f\n	cmpq %rsi, 0x140300\n	jne 4f\n	andl $3, %r11d\n	jz 4f\n	cmpq %r11, %rax\n	je 4f\n"
"3:	incq 24(%rdi)\n"
"4:	cmpq $0, 0x140310\n	je 1b\n	cli\n	" DONE);
extern const uint8_t on_sync[], on_int3[], patcher[], runner[];

static void text_poke(void **state)
{
	/* nop; mov $1,%eax; ret -- the JMP goes over the six bytes, less one, to: mov $2,%eax; ret */
	static const uint8_t fn[] = { 0x0f, 0x1f, 0x44, 0, 0, 0x6a, 1, 0x58, 0xc3, 0x90, 0x6a, 2, 0x58, 0xc3 };
	struct smp *s = start_ipis(2);

	smp_gate(s, 0x40, on_sync);
	smp_gate(s, 3, on_int3);
	memset(s->mem + COUNTS, 0, 0x1000);
	for (unsigned int i = 0; i < POOL_PAGES; i++)
		memcpy(s->mem + POOL + i * PAGE + FN_AT, fn, sizeof(fn));
	*smp_word(s, 0x140300) = POOL + FN_AT;
	*smp_word(s, 0x140308) = 1;
	for (unsigned int n = 0; n < 2; n++) {
		smp_args(s, n)[0] = rounds(8 * POOL_PAGES);
		smp_args(s, n)[1] = POOL;
		smp_args(s, n)[2] = POOL_PAGES;
		smp_call(s, n, n ? runner : patcher);
	}
	smp_run(s, 3);
	print_message("# patched under %lu calls, %lu of them met INT3\n", smp_args(s, 1)[4], *smp_word(s, 0x140218));
	assert_int_equal(smp_args(s, 1)[3], 0);
	assert_true(smp_args(s, 1)[4] > 0);
	smp_free(s);
}

/* ------------------------------------------------------------------ spinning */

/* A ticket lock around a counter that is no atomic one. */
SMP_GUEST(
"tickets:\n"
"	movq (%rdi), %r10\n	movq 8(%rdi), %rcx\n	lock incq 0x1400c0\n"
"0:	pause\n	cmpq %rcx, 0x1400c0\n	jb 0b\n"        /* all are here */
"1:	movl $1, %eax\n	lock xaddq %rax, 0x140000\n"
"2:	cmpq %rax, 0x140040\n	je 3f\n	pause\n	jmp 2b\n"
"3:	incq 0x140080\n	movl $2000, %ecx\n"
"4:	decl %ecx\n	jns 4b\n	incq 0x140040\n	decq %r10\n	jnz 1b\n	" DONE);
extern const uint8_t tickets[];

/* Four vCPUs share one of the host's: whoever waits, waits for one that does not run. */
static uint64_t run_tickets(struct smp *s, unsigned long n)
{
	uint64_t yields = 0;

	memset(s->mem + COUNTS, 0, 0x1000);
	for (unsigned int i = 0; i < s->cpus; i++) {
		smp_args(s, i)[0] = n;
		smp_args(s, i)[1] = s->cpus;
		smp_call(s, i, tickets);
	}
	smp_run(s, (1U << s->cpus) - 1);
	assert_int_equal(*smp_word(s, COUNTS + 0x80), n * s->cpus);
	for (unsigned int i = 0; i < s->cpus && !api_real(); i++)
		yields += smp_stat(s, i, "pause_yields");
	return yields;
}

static void spinning_yields(void **state)
{
	cpu_set_t all, one;
	struct smp *s = start(4, false);
	uint64_t yields;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (unsigned int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	yields = run_tickets(s, rounds(1000));
	print_message("# four vCPUs on one processor: 4000 turns with a ticket lock, %lu yields\n", yields);
	if (!api_real())
		assert_true(yields > 0);
	smp_free(s);

	/* The guest's PAUSE is its own: nobody yields. */
	s = smp_new(4, false);
	if (!api_real()) {
		api_ok(guest_enable(s->vm, KVM_CAP_X86_DISABLE_EXITS, KVM_X86_DISABLE_EXITS_PAUSE));
		assert_int_equal(run_tickets(s, 3), 0);
	}
	sched_setaffinity(0, sizeof(all), &all);
	smp_free(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(locked_counts),
		cmocka_unit_test(locked_parts),
		cmocka_unit_test(no_tearing),
		cmocka_unit_test(accessed_bits),
		cmocka_unit_test(dirty_bits),
		cmocka_unit_test(ping_pong),
		cmocka_unit_test(broadcasts),
		cmocka_unit_test(lowest_priority),
		cmocka_unit_test(nmis),
		cmocka_unit_test(init_while_running),
		cmocka_unit_test(init_while_halted),
		cmocka_unit_test(shootdown),
		cmocka_unit_test(slot_deleted),
		cmocka_unit_test(cross_modified),
		cmocka_unit_test(text_poke),
		cmocka_unit_test(spinning_yields),
	};

	return api_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
