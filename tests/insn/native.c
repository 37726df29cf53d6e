// SPDX-License-Identifier: MIT
/*
 * The host's side.  The code pages and the arena are memfds mapped twice: the
 * instruction sees them at their fixed addresses, the judge through a second
 * view.  Behind the instruction is a jump to native_exit; a fault, or the HLT
 * that a branch lands on, comes back through the signal handler, which takes
 * the state out of its frame and never returns to it.
 */
#include <asm/ldt.h>
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "judge.h"

struct native_ctx {
	uint64_t gpr[16];
	uint64_t rip, rflags, fs, gs;
	uint32_t far_offset;
	uint16_t far_selector, pad0;
	uint16_t ds, ss, compat, pad1;
	uint64_t host_rsp, host_fs;
	uint32_t host_mxcsr;
	uint16_t host_fcw, pad2;
	uint32_t active, pad3;
	uint64_t exit;
	uint64_t components;
	uint64_t pad4[4];
	uint8_t image[IMAGE_BYTES];
};
_Static_assert(offsetof(struct native_ctx, rip) == C_RIP, "context");
_Static_assert(offsetof(struct native_ctx, far_offset) == C_FAR, "context");
_Static_assert(offsetof(struct native_ctx, compat) == C_COMPAT, "context");
_Static_assert(offsetof(struct native_ctx, host_mxcsr) == C_HOST_MXCSR, "context");
_Static_assert(offsetof(struct native_ctx, exit) == C_EXIT, "context");
_Static_assert(offsetof(struct native_ctx, components) == C_COMPONENTS, "context");
_Static_assert(offsetof(struct native_ctx, image) == C_IMAGE && C_IMAGE % 64 == 0, "context");
_Static_assert(CTX + sizeof(struct native_ctx) < CTX_STACK - 1024, "context");
_Static_assert(offsetof(struct vregs, k) == 832, "vector registers");

void native_enter(void);
void native_exit(void);
void native_leave(void) __attribute__((noreturn));
void native_signal(int sig, siginfo_t *si, void *uc);
void native_caught(int sig, siginfo_t *si, void *uc);
void native_sync(void);

#define HWCAP2_FSGSBASE 2
#define SELECTOR(entry) ((entry) << 3 | 7)      /* in the LDT, RPL 3 */
#define LDT_CODE 0
#define LDT_DATA 1

static struct {
	uint8_t *code, *arena;          /* the judge's views */
	bool changed[ARENA_PAGES];
	int vector;                     /* of the signal, or DONE */
	uint32_t error;
	uint64_t cr2;
	bool signalled;
	struct sigaction old[NSIG];
} side;

static struct native_ctx *ctx(void)
{
	return (struct native_ctx *)(uintptr_t)CTX;
}

/* ------------------------------------------------------------------ signals */

static const int gpr_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* The frame's image, in the layout of XSAVE, ends where its software-reserved bytes say. */
static void take_vectors(struct native_ctx *c, const void *fpregs)
{
	struct _fpx_sw_bytes sw;

	memcpy(&sw, (const uint8_t *)fpregs + 464, sizeof(sw));
	if (sw.magic1 != FP_XSTATE_MAGIC1 || c->components & ~sw.xstate_bv)
		_exit(4);
	memcpy(c->image, fpregs, sw.xstate_size < IMAGE_BYTES ? sw.xstate_size : IMAGE_BYTES);
}

void native_caught(int sig, siginfo_t *si, void *frame)
{
	struct native_ctx *c = ctx();
	greg_t *g = ((ucontext_t *)frame)->uc_mcontext.gregs;

	if (!c->active) {
		if (side.old[sig].sa_flags & SA_SIGINFO) {
			side.old[sig].sa_sigaction(sig, si, frame);
			return;
		}
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	for (int k = 0; k < 16; k++)
		c->gpr[k] = g[gpr_of[k]];
	c->rip = g[REG_RIP];
	c->rflags = g[REG_EFL];
	take_vectors(c, ((ucontext_t *)frame)->uc_mcontext.fpregs);
	side.signalled = true;
	side.vector = g[REG_TRAPNO];
	side.error = g[REG_ERR];
	side.cr2 = g[REG_CR2];
	native_leave();
}

static int take_signals(void)
{
	static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
	static uint8_t alt[65536];
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };
	struct sigaction sa = { .sa_sigaction = native_signal,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	if (sigaltstack(&ss, NULL))
		return -errno;
	for (unsigned int k = 0; k < sizeof(sigs) / sizeof(sigs[0]); k++)
		if (sigaction(sigs[k], &sa, &side.old[sigs[k]]))
			return -errno;
	return 0;
}

/* ------------------------------------------------------------------ memory */

static uint8_t *map_at(int fd, uintptr_t where, size_t n, int prot)
{
	int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (where ? MAP_FIXED_NOREPLACE : 0);
	uint8_t *p = mmap((void *)where, n, prot, flags, fd, 0);

	return p == MAP_FAILED || (where && p != (uint8_t *)where) ? NULL : p;
}

/* A view for the judge, and the pages at @where. */
static uint8_t *map_twice(uintptr_t where, size_t n, int prot)
{
	int fd = memfd_create("judge", MFD_CLOEXEC);
	uint8_t *view;

	if (fd < 0 || ftruncate(fd, n))
		return NULL;
	view = map_at(fd, 0, n, PROT_READ | PROT_WRITE);
	if (view && !map_at(fd, where, n, prot))
		view = NULL;
	close(fd);
	return view;
}

void native_protect(unsigned int page, bool present, bool writable)
{
	mprotect((uint8_t *)(uintptr_t)ARENA_LIN + page * PAGE, PAGE,
		 !present ? PROT_NONE : writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

uint8_t *native_arena(void)
{
	return side.arena;
}

static int make_ldt(void)
{
	struct user_desc d = { .entry_number = LDT_CODE, .base_addr = CODE_LIN, .limit = 0xffff,
			       .contents = MODIFY_LDT_CONTENTS_CODE, .useable = 1 };

	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
		return -errno;
	d = (struct user_desc){ .entry_number = LDT_DATA, .base_addr = ARENA_LIN, .limit = ARENA_BYTES - 1,
				.contents = MODIFY_LDT_CONTENTS_DATA, .useable = 1 };
	return syscall(SYS_modify_ldt, 1, &d, sizeof(d)) ? -errno : 0;
}

/* Far jumps out of compatibility mode land here: JMP [C_EXIT]. */
static int make_way_back(void)
{
	static const uint8_t jump[] = { 0xff, 0x24, 0x25 };
	uint32_t where = CTX + C_EXIT;
	uint8_t *p = map_at(-1, CTX_BACK, PAGE, PROT_READ | PROT_WRITE);

	if (!p)
		return -ENOMEM;
	memcpy(p, jump, sizeof(jump));
	memcpy(p + sizeof(jump), &where, 4);
	return mprotect(p, PAGE, PROT_READ | PROT_EXEC) ? -errno : 0;
}

const char *native_missing(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE))
		return "WRFSBASE in user mode";
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE) || !(ecx & bit_AVX))
		return "AVX";
	return NULL;
}

bool native_has(enum jmode mode)
{
	return mode != MODE16 || !make_ldt();
}

int native_init(void)
{
	int r;

	if (!map_at(-1, CTX, CTX_BYTES, PROT_READ | PROT_WRITE))
		return -ENOMEM;
	ctx()->exit = (uintptr_t)native_exit;
	ctx()->components = host_components();
	side.code = map_twice(CODE_LIN, CODE_BYTES, PROT_READ | PROT_EXEC);
	side.arena = map_twice(ARENA_LIN, ARENA_BYTES, PROT_READ | PROT_WRITE);
	if (!side.code || !side.arena)
		return -ENOMEM;
	/* Touched first, so that an access finds the page's own protection and not an empty table. */
	for (unsigned int k = 0; k < ARENA_PAGES; k++)
		((volatile uint8_t *)(uintptr_t)ARENA_LIN)[k * PAGE] = 0;
	native_protect(PAGE_RO, true, false);
	native_protect(PAGE_NONE, false, false);
	r = make_way_back();
	make_ldt();
	return r ? r : take_signals();
}

/* ------------------------------------------------------------------ running */

static void way_out(uint8_t *at, enum jmode mode)
{
	static const uint8_t out64[] = { 0xff, 0x24, 0x25 };            /* jmp *abs32 */
	static const uint16_t cs64 = 0x33;
	uint32_t where = mode == MODE64 ? CTX + C_EXIT : CTX_BACK;

	if (mode == MODE64) {
		memcpy(at, out64, 3);
		memcpy(at + 3, &where, 4);
		return;
	}
	if (mode == MODE16)
		*at++ = 0x66;
	*at++ = 0xea;                                                   /* ljmp $0x33, $back */
	memcpy(at, &where, 4);
	memcpy(at + 4, &cs64, 2);
}

void native_code(const struct code *c)
{
	memset(side.code, FILL, CODE_BYTES);
	memcpy(side.code + c->at, c->bytes, room(c));
	if (!c->branch)
		way_out(side.code + c->at + c->len, c->mode);
	native_sync();
}

static void select_mode(struct native_ctx *x, const struct code *c)
{
	x->compat = c->mode != MODE64;
	x->far_offset = x->rip;
	x->far_selector = c->mode == MODE16 ? SELECTOR(LDT_CODE) : 0x23;
	x->ds = x->ss = c->mode == MODE16 ? SELECTOR(LDT_DATA) : 0x2b;
}

void native_run(const struct code *c, const struct state *s, struct outcome *o)
{
	struct native_ctx *x = ctx();

	memcpy(x->gpr, s->gpr, sizeof(x->gpr));
	x->rip = s->rip;
	x->rflags = s->rflags;
	x->fs = s->fsbase;
	x->gs = s->gsbase;
	vregs_to_image(x->image, &s->v, x->components);
	select_mode(x, c);
	side.signalled = false;
	native_enter();
	memcpy(o->s.gpr, x->gpr, sizeof(x->gpr));
	o->s.rflags = x->rflags;
	o->s.fsbase = x->fs;
	o->s.gsbase = x->gs;
	o->s.v = s->v;
	vregs_from_image(&o->s.v, x->image, x->components);
	o->s.rip = code_start(c) + c->len;
	o->vector = DONE;
	o->error = 0;
	o->cr2 = 0;
	if (!side.signalled)
		return;
	o->s.rip = x->rip;
	if (landed(c, side.vector, x->rip))
		return;
	o->vector = side.vector;
	o->error = side.error;
	o->cr2 = side.vector == 14 ? side.cr2 : 0;
}
