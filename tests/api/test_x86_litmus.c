// SPDX-License-Identifier: MIT
/*
 * What one vCPU sees of another's accesses: only what the processor allows
 * (SDM 3A 9.2, APM 2 7.2), whatever instructions make them.
 *
 * A litmus test is a few lines for each of two to four vCPUs that race for
 * variables X and Y, in some hundred pairs of these at a time.  Its judge says
 * of the registers and memory left behind whether they are forbidden, or
 * allowed but relaxed: not to be had by any interleaving.  Those are counted,
 * here and by the same code run by the host's own threads, and none of them is
 * demanded.
 *
 * LITMUS_MS in the environment: milliseconds for each, 20 without it.
 */
#include "smp.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SLOTS 256
#define VARS SMP_DATA
#define RESULTS (SMP_DATA + 0xc0000)
#define COUNTER (SMP_DATA + 0xf0000)
#define MIN_BATCHES 1

/* ------------------------------------------------------------------ who runs a body for every slot */

/* What a vCPU is told, in words. */
enum { A_COUNTER, A_PARTIES, A_BODY, A_SLOTS, A_VARS, A_STRIDE, A_X, A_Y, A_RESULTS, A_TOGETHER, A_RANDOM, A_DELAY,
       A_TARGET, A_WORDS };

/*
 * R15: arguments; R14: slot.  A body has &X in R8, &Y in R9, leaves its results
 * in R12 and R13, and may change all else but RSP.
 */
SMP_GUEST(
"litmus_native:\n"
"	pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
"	movq %rdi, %r15\n"
"	call litmus_slots\n"
"	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n"
"	ret\n"
"litmus_guest:\n"
"	movq %rdi, %r15\n"
"1:	call litmus_slots\n"
"	outb %al, $0x10\n"
"	jmp 1b\n"
"litmus_slots:\n"
"	xorl %r14d, %r14d\n"
"2:	testq %r14, 9*8(%r15)\n"        /* all together, at some slots */
"	jnz 4f\n"
"	movq (%r15), %rax\n"
"	movq 8(%r15), %rcx\n"
"	addq %rcx, 12*8(%r15)\n"
"	movq 12*8(%r15), %rcx\n"
"	lock incq (%rax)\n"
"3:	pause\n"
"	cmpq %rcx, (%rax)\n"
"	jb 3b\n"
"4:	movabsq $6364136223846793005, %rax\n"
"	imulq 10*8(%r15), %rax\n"
"	incq %rax\n"
"	movq %rax, 10*8(%r15)\n"
"	shrq $40, %rax\n"
"	andq 11*8(%r15), %rax\n"
"5:	decl %eax\n"
"	jns 5b\n"
"	movq 5*8(%r15), %r9\n"
"	imulq %r14, %r9\n"
"	addq 4*8(%r15), %r9\n"
"	movq %r9, %r8\n"
"	addq 6*8(%r15), %r8\n"
"	addq 7*8(%r15), %r9\n"
"	xorl %r12d, %r12d\n"
"	xorl %r13d, %r13d\n"
"	movq 2*8(%r15), %rax\n"
"	call *%rax\n"
"	movq %r14, %rax\n"
"	shlq $4, %rax\n"
"	addq 8*8(%r15), %rax\n"
"	movq %r12, (%rax)\n"
"	movq %r13, 8(%rax)\n"
"	incq %r14\n"
"	cmpq 3*8(%r15), %r14\n"
"	jb 2b\n"
"	ret");
_Static_assert(A_RESULTS == 8 && A_TOGETHER == 9 && A_RANDOM == 10 && A_DELAY == 11 && A_TARGET == 12, "as the code has it");

extern const uint8_t litmus_guest[];
extern void litmus_native(uint64_t *args);

/* ------------------------------------------------------------------ kinds of accesses */

#define ST_mov8(a, v)   "movb $" #v ", (%" #a ")\n\t"
#define LD_mov8(a, r)   "movzbl (%" #a "), %" #r "d\n\t"
#define ST_mov16(a, v)  "movw $" #v ", (%" #a ")\n\t"
#define LD_mov16(a, r)  "movzwl (%" #a "), %" #r "d\n\t"
#define ST_mov32(a, v)  "movl $" #v ", (%" #a ")\n\t"
#define LD_mov32(a, r)  "movl (%" #a "), %" #r "d\n\t"
#define ST_mov64(a, v)  "movq $" #v ", (%" #a ")\n\t"
#define LD_mov64(a, r)  "movq (%" #a "), %" #r "\n\t"
#define ST_alu(a, v)    "orq $" #v ", (%" #a ")\n\t"
#define LD_alu(a, r)    "xorl %" #r "d, %" #r "d\n\taddq (%" #a "), %" #r "\n\t"
#define ST_stack(a, v)  "movq %rsp, %rbp\n\tleaq 8(%" #a "), %rsp\n\tpushq $" #v "\n\tmovq %rbp, %rsp\n\t"
#define LD_stack(a, r)  "movq %rsp, %rbp\n\tmovq %" #a ", %rsp\n\tpopq %" #r "\n\tmovq %rbp, %rsp\n\t"
#define ST_string(a, v) "movq %" #a ", %rdi\n\tmovl $" #v ", %eax\n\tstosq\n\t"
#define LD_string(a, r) "movq %" #a ", %rsi\n\tlodsq\n\tmovq %rax, %" #r "\n\t"
/* The stores of one string operation are in any order, those of two are not; SDM 3A 9.2.4. */
#define ST_rep(a, v)    "movq %" #a ", %rdi\n\tmovl $" #v ", %eax\n\tmovl $8, %ecx\n\trep stosq\n\t"
#define LD_rep(a, r)    "movq %" #a ", %rsi\n\tleaq -64(%rsp), %rdi\n\tmovl $4, %ecx\n\trep movsq\n\tmovq -64(%rsp), %" #r "\n\t"
#define ST_sse(a, v)    "movl $" #v ", %eax\n\tmovd %eax, %xmm1\n\tpunpcklqdq %xmm1, %xmm1\n\tmovdqa %xmm1, (%" #a ")\n\t"
#define LD_sse(a, r)    "movdqa (%" #a "), %xmm0\n\tmovq %xmm0, %" #r "\n\t"
#define ST_avx(a, v)    "movl $" #v ", %eax\n\tvmovd %eax, %xmm1\n\tvmovdqu %ymm1, (%" #a ")\n\t"
#define LD_avx(a, r)    "vmovdqu (%" #a "), %ymm0\n\tvmovq %xmm0, %" #r "\n\t"
#define ST_x87(a, v)    "fld1\n\tfistpll (%" #a ")\n\t" ".if " #v " > 1\n\tmovq $" #v ", (%" #a ")\n\t.endif\n\t"
#define LD_x87(a, r)    "fildll (%" #a ")\n\tfistpll -64(%rsp)\n\tmovq -64(%rsp), %" #r "\n\t"
#define ST_nt(a, v)     "movl $" #v ", %eax\n\tmovntiq %rax, (%" #a ")\n\tsfence\n\t"
#define LD_nt(a, r)     "movq (%" #a "), %" #r "\n\t"
#define ST_locked(a, v) "movl $" #v ", %eax\n\txchgq %rax, (%" #a ")\n\t"
#define LD_locked(a, r) "xorl %" #r "d, %" #r "d\n\tlock xaddq %" #r ", (%" #a ")\n\t"

#define KINDS(M) M(mov8) M(mov16) M(mov32) M(mov64) M(alu) M(stack) M(string) M(rep) M(sse) M(avx) M(x87) M(nt) M(locked)

enum kind {
#define KIND(k) K_##k,
	KINDS(KIND)
#undef KIND
	KIND_COUNT
};

/* ------------------------------------------------------------------ the tests */

#define BODY(name, k, text) SMP_GUEST(#name "_" #k ":\n\t" text "ret")
#define BODIES(k)                                                                       \
	BODY(x1, k, ST_##k(r8, 1));                                                     \
	BODY(y1, k, ST_##k(r9, 1));                                                     \
	BODY(x1_y1, k, ST_##k(r8, 1) ST_##k(r9, 1));                                    \
	BODY(x2_y1, k, ST_##k(r8, 2) ST_##k(r9, 1));                                    \
	BODY(x1_y2, k, ST_##k(r8, 1) ST_##k(r9, 2));                                    \
	BODY(y1_x2, k, ST_##k(r9, 1) ST_##k(r8, 2));                                    \
	BODY(y2_x2, k, ST_##k(r9, 2) ST_##k(r8, 2));                                    \
	BODY(ry_rx, k, LD_##k(r9, r12) LD_##k(r8, r13));                                \
	BODY(rx_ry, k, LD_##k(r8, r12) LD_##k(r9, r13));                                \
	BODY(rx_rx, k, LD_##k(r8, r12) LD_##k(r8, r13));                                \
	BODY(x1_ry, k, ST_##k(r8, 1) LD_##k(r9, r12));                                  \
	BODY(y1_rx, k, ST_##k(r9, 1) LD_##k(r8, r12));                                  \
	BODY(y2_rx, k, ST_##k(r9, 2) LD_##k(r8, r12));                                  \
	BODY(rx_y1, k, LD_##k(r8, r12) ST_##k(r9, 1));                                  \
	BODY(ry_x1, k, LD_##k(r9, r12) ST_##k(r8, 1));                                  \
	BODY(rx_x1, k, LD_##k(r8, r12) ST_##k(r8, 1));                                  \
	BODY(rx_x2, k, LD_##k(r8, r12) ST_##k(r8, 2));                                  \
	BODY(x1_rx_ry, k, ST_##k(r8, 1) LD_##k(r8, r12) LD_##k(r9, r13));               \
	BODY(y1_ry_rx, k, ST_##k(r9, 1) LD_##k(r9, r12) LD_##k(r8, r13));
KINDS(BODIES)

#define NAMES(M) M(x1) M(y1) M(x1_y1) M(x2_y1) M(x1_y2) M(y1_x2) M(y2_x2) M(ry_rx) M(rx_ry) M(rx_rx) M(x1_ry) M(y1_rx) \
	M(y2_rx) M(rx_y1) M(ry_x1) M(rx_x1) M(rx_x2) M(x1_rx_ry) M(y1_ry_rx)
enum body {
#define NAME(n) B_##n,
	NAMES(NAME)
#undef NAME
	BODY_COUNT
};

#define NAME(n, k) extern const uint8_t n##_##k[];
#define DECLARE(k) \
	NAME(x1, k) NAME(y1, k) NAME(x1_y1, k) NAME(x2_y1, k) NAME(x1_y2, k) NAME(y1_x2, k) NAME(y2_x2, k) \
	NAME(ry_rx, k) NAME(rx_ry, k) NAME(rx_rx, k) NAME(x1_ry, k) NAME(y1_rx, k) NAME(y2_rx, k) NAME(rx_y1, k) \
	NAME(ry_x1, k) NAME(rx_x1, k) NAME(rx_x2, k) NAME(x1_rx_ry, k) NAME(y1_ry_rx, k)
KINDS(DECLARE)
#undef NAME
#define TABLE(k) [K_##k] = { x1_##k, y1_##k, x1_y1_##k, x2_y1_##k, x1_y2_##k, y1_x2_##k, y2_x2_##k, ry_rx_##k, rx_ry_##k, \
	rx_rx_##k, x1_ry_##k, y1_rx_##k, y2_rx_##k, rx_y1_##k, ry_x1_##k, rx_x1_##k, rx_x2_##k, x1_rx_ry_##k, y1_ry_rx_##k },
static const uint8_t *const bodies[KIND_COUNT][BODY_COUNT] = { KINDS(TABLE) };

#define KIND_NAME(k) [K_##k] = #k,
static const char *const kind_names[] = { KINDS(KIND_NAME) };

/* What one round left behind: results of each vCPU, and memory. */
struct outcome {
	uint64_t a[SMP_MAX], b[SMP_MAX], x, y;
};

enum verdict { PLAIN, RELAXED, FORBIDDEN };

static enum verdict forbidden_if(bool no)
{
	return no ? FORBIDDEN : PLAIN;
}

/* Loads are not reordered with loads, nor stores with stores. */
static enum verdict judge_mp(const struct outcome *o)
{
	return forbidden_if(o->a[1] == 1 && o->b[1] == 0);
}

/* A store may be seen after a later load: by all but its own processor. */
static enum verdict judge_sb(const struct outcome *o)
{
	return o->a[0] == 0 && o->a[1] == 0 ? RELAXED : PLAIN;
}

static enum verdict judge_sb_fenced(const struct outcome *o)
{
	return forbidden_if(o->a[0] == 0 && o->a[1] == 0);
}

/* Stores are not reordered with earlier loads. */
static enum verdict judge_lb(const struct outcome *o)
{
	return forbidden_if(o->a[0] == 1 && o->a[1] == 1);
}

static enum verdict judge_s(const struct outcome *o)
{
	return forbidden_if(o->a[1] == 1 && o->x == 2);
}

static enum verdict judge_r(const struct outcome *o)
{
	return o->y == 2 && o->a[1] == 0 ? RELAXED : PLAIN;
}

static enum verdict judge_r_fenced(const struct outcome *o)
{
	return forbidden_if(o->y == 2 && o->a[1] == 0);
}

static enum verdict judge_2w(const struct outcome *o)
{
	return forbidden_if(o->x == 1 && o->y == 1);
}

static enum verdict judge_corr(const struct outcome *o)
{
	return forbidden_if(o->a[1] > o->b[1]);
}

static enum verdict judge_n4b(const struct outcome *o)
{
	return forbidden_if(o->a[0] == 2 && o->a[1] == 1);
}

/* Each sees its own store at once; SDM 3A 9.2.3.5. */
static enum verdict judge_forwarding(const struct outcome *o)
{
	if (o->a[0] == 0 || o->a[1] == 0)
		return FORBIDDEN;
	return o->b[0] == 0 && o->b[1] == 0 ? RELAXED : PLAIN;
}

static enum verdict judge_forwarding_fenced(const struct outcome *o)
{
	return forbidden_if(o->a[0] == 0 || o->a[1] == 0 || (o->b[0] == 0 && o->b[1] == 0));
}

static enum verdict judge_n6(const struct outcome *o)
{
	if (o->a[0] == 0)
		return FORBIDDEN;
	return o->a[0] == 1 && o->b[0] == 0 && o->x == 1 ? RELAXED : PLAIN;
}

static enum verdict judge_n6_fenced(const struct outcome *o)
{
	return forbidden_if(o->a[0] == 0 || (o->a[0] == 1 && o->b[0] == 0 && o->x == 1));
}

static enum verdict judge_wrc(const struct outcome *o)
{
	return forbidden_if(o->a[1] == 1 && o->a[2] == 1 && o->b[2] == 0);
}

/* Two stores are seen in one order by all others. */
static enum verdict judge_iriw(const struct outcome *o)
{
	return forbidden_if(o->a[2] == 1 && o->b[2] == 0 && o->a[3] == 1 && o->b[3] == 0);
}

typedef enum verdict judge_fn(const struct outcome *o);

struct litmus {
	const char *name;
	unsigned int cpus;
	uint8_t body[SMP_MAX];          /* enum body */
	judge_fn *judge, *fenced;       /* fenced: where every store is a LOCKed one */
};

static const struct litmus tests[] = {
	{ "MP", 2, { B_x1_y1, B_ry_rx }, judge_mp, judge_mp },
	{ "SB", 2, { B_x1_ry, B_y1_rx }, judge_sb, judge_sb_fenced },
	{ "LB", 2, { B_rx_y1, B_ry_x1 }, judge_lb, judge_lb },
	{ "S", 2, { B_x2_y1, B_ry_x1 }, judge_s, judge_s },
	{ "R", 2, { B_x1_y1, B_y2_rx }, judge_r, judge_r_fenced },
	{ "2+2W", 2, { B_x1_y2, B_y1_x2 }, judge_2w, judge_2w },
	{ "CoRR", 2, { B_x1, B_rx_rx }, judge_corr, judge_corr },
	{ "n4b", 2, { B_rx_x1, B_rx_x2 }, judge_n4b, judge_n4b },
	{ "forwarding", 2, { B_x1_rx_ry, B_y1_ry_rx }, judge_forwarding, judge_forwarding_fenced },
	{ "n6", 2, { B_x1_rx_ry, B_y2_x2 }, judge_n6, judge_n6_fenced },
	{ "WRC", 3, { B_x1, B_rx_y1, B_ry_rx }, judge_wrc, judge_wrc },
	{ "IRIW", 4, { B_x1, B_y1, B_rx_ry, B_ry_rx }, judge_iriw, judge_iriw },
};

/* Where the variables lie in a slot.  An access that is split is aligned to nothing. */
struct places {
	const char *name;
	unsigned int stride, x, y, slots;
};

static const struct places plain = { "", 256, 0, 128, SLOTS };
static const struct places same_line = { " in one line", 64, 0, 32, SLOTS };
static const struct places split_line = { " over two lines", 256, 60, 188, SLOTS };
static const struct places split_page = { " over two pages", 0x3000, 0xffc, 0x1ffc, 32 };

/* ------------------------------------------------------------------ rounds */

struct tally {
	unsigned long rounds, relaxed;
};

static unsigned long budget_ms(void)
{
	const char *text = getenv("LITMUS_MS");

	return text ? strtoul(text, NULL, 10) : 20;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* @base: where gpa 0 is for whoever runs the bodies.  @mem: where it is for us. */
static void set_args(uint64_t *args, uint64_t base, unsigned int n, unsigned int cpus, uint64_t body,
		     const struct places *p, uint64_t seed)
{
	args[A_COUNTER] = base + COUNTER;
	args[A_PARTIES] = cpus;
	args[A_BODY] = body;
	args[A_SLOTS] = p->slots;
	args[A_VARS] = base + VARS;
	args[A_STRIDE] = p->stride;
	args[A_X] = p->x;
	args[A_Y] = p->y;
	args[A_RESULTS] = base + RESULTS + n * SLOTS * 16;
	/* Not every round begins together: where the machine has other work, that costs a turn of its scheduler. */
	args[A_TOGETHER] = cpus > 2 ? 31 : 7;
	args[A_RANDOM] = seed * 2 + n;
	args[A_DELAY] = cpus > 2 ? 63 : 15;
	args[A_TARGET] = 0;
}

static void clear(uint8_t *mem)
{
	memset(mem + VARS, 0, RESULTS - VARS);
	memset(mem + COUNTER, 0, 8);
}

static void judge_all(const uint8_t *mem, const struct litmus *t, judge_fn *judge, const struct places *p,
		      const char *what, struct tally *tally)
{
	for (unsigned int i = 0; i < p->slots; i++) {
		const uint8_t *slot = mem + VARS + (size_t)i * p->stride;
		struct outcome o = { .x = slot[p->x], .y = slot[p->y] };

		for (unsigned int n = 0; n < t->cpus; n++) {
			const uint64_t *r = (const uint64_t *)(mem + RESULTS) + (n * SLOTS + i) * 2;

			o.a[n] = r[0];
			o.b[n] = r[1];
		}
		switch (judge(&o)) {
		case FORBIDDEN:
			fail_msg("%s %s%s: forbidden: results %lu,%lu %lu,%lu %lu,%lu %lu,%lu, X %lu, Y %lu", t->name, what,
				 p->name, o.a[0], o.b[0], o.a[1], o.b[1], o.a[2], o.b[2], o.a[3], o.b[3], o.x, o.y);
			break;
		case RELAXED:
			tally->relaxed++;
			break;
		case PLAIN:
			break;
		}
	}
	tally->rounds += p->slots;
}

static struct tally run_guest(struct smp *s, const struct litmus *t, const uint8_t *const body[], judge_fn *judge,
			      const struct places *p, const char *what)
{
	uint64_t end = now_ms() + budget_ms(), seed = now_ms();
	struct tally tally = { 0 };

	for (unsigned int n = 0; n < t->cpus; n++) {
		set_args(smp_args(s, n), 0, n, t->cpus, smp_at(body[n]), p, seed);
		smp_call(s, n, litmus_guest);
	}
	for (unsigned int i = 0; i < MIN_BATCHES || now_ms() < end; i++) {
		clear(s->mem);
		for (unsigned int n = 0; n < t->cpus; n++)
			smp_args(s, n)[A_TARGET] = 0;
		smp_run(s, (1U << t->cpus) - 1);
		judge_all(s->mem, t, judge, p, what, &tally);
	}
	return tally;
}

static void *native_main(void *args)
{
	litmus_native(args);
	return NULL;
}

/* The host's own threads. */
static struct tally run_native(const struct litmus *t, const uint8_t *const body[], judge_fn *judge,
			       const struct places *p, const char *what)
{
	uint8_t *mem = api_memory(SMP_MEM);
	uint64_t end = now_ms() + budget_ms(), args[SMP_MAX][A_WORDS];
	pthread_t thread[SMP_MAX];
	struct tally tally = { 0 };

	for (unsigned int i = 0; i < MIN_BATCHES || now_ms() < end; i++) {
		clear(mem);
		for (unsigned int n = 0; n < t->cpus; n++) {
			set_args(args[n], (uint64_t)(uintptr_t)mem, n, t->cpus, (uint64_t)(uintptr_t)body[n], p, end + i);
			assert_int_equal(pthread_create(&thread[n], NULL, native_main, args[n]), 0);
		}
		for (unsigned int n = 0; n < t->cpus; n++)
			pthread_join(thread[n], NULL);
		judge_all(mem, t, judge, p, what, &tally);
	}
	munmap(mem, SMP_MEM);
	return tally;
}

static struct smp *start(unsigned int cpus)
{
	if (!smp_able())
		skip();
	return smp_new(cpus, false);
}

static void check_ours(struct smp *s, struct tally total)
{
	assert_true(total.rounds > 0);
	if (!api_real())
		assert_true(smp_stat(s, 0, "instructions") > total.rounds && smp_stat(s, 1, "instructions") > total.rounds);
}

static void run_kind(struct smp *s, const struct litmus *t, enum kind k, const struct places *p, struct tally *total)
{
	const uint8_t *body[SMP_MAX];
	struct tally one;

	if (k == K_avx && !smp_avx())
		return;
	for (unsigned int n = 0; n < t->cpus; n++)
		body[n] = bodies[k][t->body[n]];
	one = run_guest(s, t, body, k == K_locked ? t->fenced : t->judge, p, kind_names[k]);
	total->rounds += one.rounds;
	total->relaxed += one.relaxed;
}

static void run_kinds(const struct litmus *t, const struct places *p, unsigned int kinds)
{
	struct smp *s = start(t->cpus);
	struct tally total = { 0 };

	for (unsigned int k = 0; k < KIND_COUNT; k++)
		if (kinds >> k & 1)
			run_kind(s, t, k, p, &total);
	print_message("# %s%s: %lu rounds, relaxed %lu\n", t->name, p->name, total.rounds, total.relaxed);
	check_ours(s, total);
	smp_free(s);
}

static void every_kind(void **state)
{
	for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		run_kinds(&tests[i], &plain, ~0U);
}

/* Neither with both variables in one line, nor with each in two of them, or in two pages. */
static void other_places(void **state)
{
	static const struct places *const places[] = { &same_line, &split_line, &split_page };

	for (unsigned int p = 0; p < 3; p++)
		for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			run_kinds(&tests[i], places[p], 1U << K_mov64 | (tests[i].cpus == 2) << K_locked);
}

/* ------------------------------------------------------------------ what orders a store with a later load */

#define NO_FENCE ""
#define FENCE_mfence "mfence\n\t"
#define FENCE_lock "lock orl $0, (%rsp)\n\t"
#define FENCE_xchg "xchgq %rax, -16(%rsp)\n\t"
#define FENCE_xadd "lock xaddb %al, -16(%rsp)\n\t"
#define FENCE_cmpxchg "lock cmpxchgq %rbx, -16(%rsp)\n\t"
#define FENCE_cmpxchg8b "lock cmpxchg8b -16(%rsp)\n\t"
#define FENCE_cmpxchg16b "movq %rsp, %rdi\n\tandq $-16, %rdi\n\tlock cmpxchg16b -32(%rdi)\n\t"
#define FENCE_bts "lock btsl $3, -16(%rsp)\n\t"
#define FENCE_cpuid "xorl %eax, %eax\n\txorl %ecx, %ecx\n\tcpuid\n\t"
#define FENCE_iret "movl %ss, %eax\n\tmovq %rsp, %rbp\n\tpushq %rax\n\tpushq %rbp\n\tpushfq\n\tmovl %cs, %eax\n\t" \
	"pushq %rax\n\tleaq 1f(%rip), %rax\n\tpushq %rax\n\tiretq\n1:\t"
#define FENCE_cr3 "movq %cr3, %rax\n\tmovq %rax, %cr3\n\t"
#define FENCE_cr0 "movq %cr0, %rax\n\tmovq %rax, %cr0\n\t"
#define FENCE_dr "movq %rax, %dr0\n\t"
#define FENCE_wrmsr "movl $0xc0000102, %ecx\n\trdmsr\n\twrmsr\n\t"
#define FENCE_lgdt "sgdt -32(%rsp)\n\tlgdt -32(%rsp)\n\t"
#define FENCE_lidt "sidt -32(%rsp)\n\tlidt -32(%rsp)\n\t"
#define FENCE_lldt "xorl %eax, %eax\n\tlldt %ax\n\t"
#define FENCE_invlpg "invlpg (%rsp)\n\t"
#define FENCE_wbinvd "wbinvd\n\t"

/* Those from `cr3` on are for CPL 0 alone. */
#define FENCES(M) M(mfence) M(lock) M(xchg) M(xadd) M(cmpxchg) M(cmpxchg8b) M(cmpxchg16b) M(bts) M(cpuid) M(iret) \
	M(cr3) M(cr0) M(dr) M(wrmsr) M(lgdt) M(lidt) M(lldt) M(invlpg) M(wbinvd)
enum fence {
#define FENCE(f) F_##f,
	FENCES(FENCE)
#undef FENCE
	FENCE_COUNT
};

#define FENCE_BODIES(f)                                                                         \
	BODY(fenced_x1_ry, f, ST_mov64(r8, 1) FENCE_##f LD_mov64(r9, r12));                     \
	BODY(fenced_y1_rx, f, ST_mov64(r9, 1) FENCE_##f LD_mov64(r8, r12));                     \
	extern const uint8_t fenced_x1_ry_##f[], fenced_y1_rx_##f[];
FENCES(FENCE_BODIES)

#define FENCE_ROW(f) { #f, { fenced_x1_ry_##f, fenced_y1_rx_##f } },
static const struct {
	const char *name;
	const uint8_t *body[2];
} fences[] = { FENCES(FENCE_ROW) };

static void fenced(void **state)
{
	const struct litmus *sb = &tests[1];
	struct smp *s = start(2);
	struct tally total = { 0 };

	for (unsigned int f = 0; f < FENCE_COUNT; f++)
		total.rounds += run_guest(s, sb, fences[f].body, judge_sb_fenced, &plain, fences[f].name).rounds;
	print_message("# SB with %d fences: %lu rounds\n", FENCE_COUNT, total.rounds);
	check_ours(s, total);
	smp_free(s);
}

/*
 * The control: without a fence the same rounds show what fences forbid, on this
 * machine's threads and in the guest, or these tests could not fail.
 */
static void control(void **state)
{
	const uint8_t *const body[] = { bodies[K_mov64][B_x1_ry], bodies[K_mov64][B_y1_rx] };
	const struct litmus *sb = &tests[1];
	struct smp *s = start(2);
	struct tally guest = run_guest(s, sb, body, judge_sb, &plain, "unfenced");
	struct tally native = run_native(sb, body, judge_sb, &plain, "natively");
	struct tally held = run_native(sb, fences[F_mfence].body, judge_sb_fenced, &plain, "natively with mfence");

	print_message("# SB without a fence: relaxed %lu of %lu in the guest, %lu of %lu natively; with MFENCE 0 of %lu\n",
		      guest.relaxed, guest.rounds, native.relaxed, native.rounds, held.rounds);
	check_ours(s, guest);
	smp_free(s);
}

/* ------------------------------------------------------------------ streaming stores */

BODY(nt_x1_y1, sfence, "movl $1, %eax\n\tmovntiq %rax, (%r8)\n\tsfence\n\t" ST_mov64(r9, 1));
BODY(nt_x1_y1, mfence, "movl $1, %eax\n\tmovd %eax, %xmm1\n\tmovntdq %xmm1, (%r8)\n\tmfence\n\t" ST_mov64(r9, 1));
BODY(nt_x1_y1, locked, "movl $1, %eax\n\tmovd %eax, %xmm1\n\tmovntps %xmm1, (%r8)\n\t" ST_locked(r9, 1));
extern const uint8_t nt_x1_y1_sfence[], nt_x1_y1_mfence[], nt_x1_y1_locked[];

static void streaming(void **state)
{
	static const uint8_t *const writer[] = { nt_x1_y1_sfence, nt_x1_y1_mfence, nt_x1_y1_locked };
	struct smp *s = start(2);
	struct tally total = { 0 };

	for (unsigned int i = 0; i < 3; i++) {
		const uint8_t *const body[] = { writer[i], bodies[K_mov64][B_ry_rx] };

		total.rounds += run_guest(s, &tests[0], body, judge_mp, &plain, "streaming").rounds;
	}
	check_ours(s, total);
	smp_free(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(other_places),
		cmocka_unit_test(fenced),
		cmocka_unit_test(control),
		cmocka_unit_test(streaming),
	};

	return api_main(argc, argv, all, sizeof(all) / sizeof(all[0]));
}
