/* SPDX-License-Identifier: MIT */
/*
 * Signal glue: see fault.h.  What is mutable at file scope here is the list of
 * handlers that stood before ours, and each thread's innermost guard: signal
 * dispositions belong to the process, so no VM can own them.
 *
 * 1. A fault is ours only when the kernel raised it for an instruction
 *    (si_code > 0, not BUS_MCEERR_AO) on a thread with a guard armed.  Signals
 *    that somebody sent always go on to the handler before ours.
 * 2. The client may install its own handlers after us.  Either its calls come
 *    to host_fault_sigaction(), and ours stay in front; or we look before each
 *    request, and go back in front.
 *    If that handler remembers ours and calls it, the two would call each
 *    other for ever: called by anybody but the kernel we go on to the handler
 *    that was there first of all.
 */
#include "host/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "host/fork.h"
#include "host/wait.h"

#define SAVED_MAX 16

#define EFLAGS_TF (1 << 8)
#define EFLAGS_DF (1 << 10)
#define EFLAGS_AC (1 << 18)

static const int fault_signals[] = { SIGSEGV, SIGBUS, SIGFPE };
#define FAULT_SIGNALS (sizeof(fault_signals) / sizeof(fault_signals[0]))

/* Handlers found before ours: written under the lock, published by `latest`, never changed then. */
static struct {
	struct host_process_lock lock;
	atomic_bool watched;    /* see host_fault_sigaction() */
	struct {
		struct sigaction saved[SAVED_MAX];
		unsigned int count;
		_Atomic(const struct sigaction *) latest;
	} signal[FAULT_SIGNALS];
} glue = { .lock = HOST_PROCESS_LOCK };

static __thread struct host_guard *innermost __attribute__((tls_model("initial-exec")));

static int signal_index(int sig)
{
	return sig == SIGSEGV ? 0 : sig == SIGBUS ? 1 : 2;
}

static enum host_fault_kind kind_of(int sig, const siginfo_t *info)
{
	if (sig == SIGSEGV)
		return HOST_FAULT_SEGV;
	if (sig == SIGFPE)
		return HOST_FAULT_FPE;
	return info->si_code == BUS_MCEERR_AR ? HOST_FAULT_HWPOISON : HOST_FAULT_BUS;
}

static bool raised_by_instruction(int sig, const siginfo_t *info)
{
	return info->si_code > 0 && !(sig == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

static const struct sigaction default_action = { .sa_handler = SIG_DFL };

/* What happens without any handler: the same instruction faults again, or the signal is sent again. */
static void fall_to_default(int sig, const siginfo_t *info)
{
	sigaction(sig, &default_action, NULL);
	if (!raised_by_instruction(sig, info))
		syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), sig);
}

static void chain(int sig, siginfo_t *info, void *context, bool by_kernel)
{
	int n = signal_index(sig);
	const struct sigaction *old = by_kernel ? atomic_load(&glue.signal[n].latest) : &glue.signal[n].saved[0];
	sigset_t mask = old->sa_mask, before;

	if (old->sa_handler == SIG_IGN && !raised_by_instruction(sig, info))
		return;
	/* The kernel does not let a fault be ignored: it kills. */
	if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN) {
		fall_to_default(sig, info);
		return;
	}
	/* A handler for one time only: it may well send the signal again and count on that. */
	if (by_kernel && old->sa_flags & (int)SA_RESETHAND)
		atomic_store(&glue.signal[n].latest, &default_action);
	if (old->sa_flags & SA_NODEFER)
		sigdelset(&mask, sig);
	else
		sigaddset(&mask, sig);
	pthread_sigmask(old->sa_flags & SA_NODEFER ? SIG_SETMASK : SIG_BLOCK, &mask, &before);
	if (old->sa_flags & SA_SIGINFO)
		old->sa_sigaction(sig, info, context);
	else
		old->sa_handler(sig);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The registers that host_jump_to() would load, put into the interrupted frame. */
static void resume_at(ucontext_t *uc, const struct host_jump *j, enum host_fault_kind kind)
{
	greg_t *r = uc->uc_mcontext.gregs;

	r[REG_RBX] = (greg_t)j->rbx;
	r[REG_RBP] = (greg_t)j->rbp;
	r[REG_R12] = (greg_t)j->r12;
	r[REG_R13] = (greg_t)j->r13;
	r[REG_R14] = (greg_t)j->r14;
	r[REG_R15] = (greg_t)j->r15;
	r[REG_RSP] = (greg_t)j->rsp;
	r[REG_RIP] = (greg_t)j->rip;
	r[REG_RAX] = kind;
	/* The guest's own flags may be in the register; the ABI wants DF clear. */
	r[REG_EFL] &= ~(greg_t)(EFLAGS_DF | EFLAGS_AC | EFLAGS_TF);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct host_guard *g = innermost;
	ucontext_t *uc = context;
	/* The kernel's frame is the return address with the context behind it; ours is frame pointer and that. */
	bool by_kernel = (char *)__builtin_frame_address(0) + 2 * sizeof(void *) == (char *)context;
	int err = errno;

	if (g && raised_by_instruction(sig, info)) {
		g->kind = kind_of(sig, info);
		g->addr = (uintptr_t)info->si_addr;
		g->ip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
		g->code = info->si_code;
		g->trap = (int)uc->uc_mcontext.gregs[REG_TRAPNO];
		resume_at(uc, &g->jump, g->kind);
	} else {
		chain(sig, info, context, by_kernel);
	}
	errno = err;
}

static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
	return a->sa_sigaction == b->sa_sigaction && a->sa_flags == b->sa_flags &&
	       !memcmp(&a->sa_mask, &b->sa_mask, sizeof(a->sa_mask));
}

/* A lasting copy of @act for signal @n.  Beyond the last place it overwrites that one. */
static const struct sigaction *save(unsigned int n, const struct sigaction *act)
{
	struct sigaction *to = glue.signal[n].saved;

	for (unsigned int i = 0; i < glue.signal[n].count; i++, to++)
		if (same_action(to, act))
			return to;
	if (glue.signal[n].count == SAVED_MAX)
		to--;
	else
		glue.signal[n].count++;
	*to = *act;
	return to;
}

static bool is_ours(const struct sigaction *act)
{
	return (act->sa_flags & SA_SIGINFO) && act->sa_sigaction == on_fault;
}

static int install(unsigned int n)
{
	struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct sigaction old;

	if (sigaction(fault_signals[n], NULL, &old))
		return -errno;
	if (is_ours(&old))
		return 0;
	atomic_store(&glue.signal[n].latest, save(n, &old));
	sigemptyset(&ours.sa_mask);
	return sigaction(fault_signals[n], &ours, NULL) ? -errno : 0;
}

/* Whether our handlers stand where they should. */
static bool installed(void)
{
	struct sigaction now;

	for (unsigned int n = 0; n < FAULT_SIGNALS; n++)
		if (sigaction(fault_signals[n], NULL, &now) || !is_ours(&now))
			return false;
	return true;
}

/* With signals blocked: a handler of the client's may call host_fault_sigaction(). */
static uint64_t lock(void)
{
	uint64_t mask = host_signals_block();

	host_process_lock(&glue.lock);
	return mask;
}

static void unlock(uint64_t mask)
{
	host_process_unlock(&glue.lock);
	host_signals_restore(mask);
}

int host_fault_init(void)
{
	uint64_t mask;
	int r = 0;

	if (installed())
		return 0;
	mask = lock();
	for (unsigned int n = 0; n < FAULT_SIGNALS && !r; n++)
		r = install(n);
	unlock(mask);
	return r;
}

int host_fault_check(void)
{
	return atomic_load_explicit(&glue.watched, memory_order_relaxed) ? 0 : host_fault_init();
}

/* Under the lock; our handler stands there. */
static void set_client(unsigned int n, const struct sigaction *act, struct sigaction *old)
{
	const struct sigaction *before = atomic_load(&glue.signal[n].latest);

	if (old)
		*old = *before;
	/* One that puts back what it has remembered, which was ours: it stays with what it had. */
	if (act && !is_ours(act))
		atomic_store(&glue.signal[n].latest, save(n, act));
}

int host_fault_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction now;
	unsigned int n = 0;
	uint64_t mask;
	int r = 0;

	if (!sig) {
		atomic_store(&glue.watched, true);
		return 0;
	}
	while (n < FAULT_SIGNALS && fault_signals[n] != sig)
		n++;
	mask = lock();
	if (n < FAULT_SIGNALS && !sigaction(sig, NULL, &now) && is_ours(&now))
		set_client(n, act, old);
	else
		r = sigaction(sig, act, old) ? -errno : 0;
	unlock(mask);
	return r;
}

void host_guard_arm(struct host_guard *g)
{
	g->prev = innermost;
	g->kind = 0;
	/* The jump must be seen set before the guard is: both by this thread's handler only. */
	atomic_signal_fence(memory_order_seq_cst);
	innermost = g;
	atomic_signal_fence(memory_order_seq_cst);
}

void host_guard_disarm(struct host_guard *g)
{
	atomic_signal_fence(memory_order_seq_cst);
	innermost = g->prev;
	atomic_signal_fence(memory_order_seq_cst);
}

void host_guard_unwind(struct host_guard *g)
{
	atomic_signal_fence(memory_order_seq_cst);
	innermost = g;
	atomic_signal_fence(memory_order_seq_cst);
}

void host_guard_fail(void)
{
	host_jump_to(&innermost->jump, HOST_FAULT_SEGV);
}

int host_copy(void *dst, const void *src, size_t n)
{
	struct host_guard g;

	if (!n)
		return 0;
	host_guard_arm(&g);
	if (host_jump_set(&g.jump)) {
		host_guard_disarm(&g);
		return -EFAULT;
	}
	/* Not memcpy(): sanitizers check its arguments, and these are allowed to be wrong. */
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
	host_guard_disarm(&g);
	return 0;
}
