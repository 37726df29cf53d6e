/* SPDX-License-Identifier: MIT */
/*
 * Calls into the library from a client that knows nothing of it.  open(), ioctl()
 * and close() are the kernel's to such a client: they take no lock that a signal
 * handler could wait for, and a thread is not cancelled in their middle.  So
 * signals and cancellation are held back while the library works.
 */
#include "preload/engine.h"

#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anykvm.h"
#include "preload/stats.h"

#define SETTING_MAX 4096
#define CPUID_MAX 256
#define CPUID_VMX (1u << 5)     /* leaf 1, ECX */
#define CPUID_SVM (1u << 2)     /* leaf 0x80000001, ECX */
#define AMD_EBX 0x68747541u     /* "Auth" */

enum setting { CPU, PARAMS, STATS, TRACE, VERBOSE, SETTINGS };

_Static_assert((int)SETTINGS == ENGINE_SETTINGS, "engine_setting() has them all");

/* Copied at the start: a client may write over its environment. */
static struct {
	char setting[SETTINGS][SETTING_MAX];    /* NAME=value */
	const char *cpu, *params, *stats, *trace;
	bool verbose;
	char preload[PATH_MAX]; /* our own file, where LD_PRELOAD has it */
	pid_t pid;              /* of the process that the rest of the memory is; a vfork()ed child has another */
	_Atomic bool read, told;
	pthread_once_t chosen, asked;
	int choice;             /* of the CPU and the parameters: 0 or -errno */
	struct engine_facts facts;
} engine = { .chosen = PTHREAD_ONCE_INIT, .asked = PTHREAD_ONCE_INIT };

/* Its value, which is empty where it is not set. */
static const char *copy_setting(enum setting n, const char *name)
{
	const char *value = secure_getenv(name);
	char *to = engine.setting[n];

	if (!value || snprintf(to, SETTING_MAX, "%s=%s", name, value) >= SETTING_MAX)
		to[0] = '\0';
	return to[0] ? to + strlen(name) + 1 : "";
}

static void find_ourselves(void)
{
	const char *list = secure_getenv("LD_PRELOAD");
	Dl_info info;

	/* What somebody has linked with us, or opened, is not ours to pass on. */
	if (list && dladdr(&engine, &info) && info.dli_fname && strstr(list, info.dli_fname))
		snprintf(engine.preload, sizeof(engine.preload), "%s", info.dli_fname);
}

static void in_child(void)
{
	engine.pid = getpid();
	atomic_store(&engine.told, false);
	stats_forget();
}

__attribute__((constructor)) static void start(void)
{
	if (atomic_exchange(&engine.read, true))
		return;
	engine.cpu = copy_setting(CPU, "ANYKVM_CPU");
	engine.params = copy_setting(PARAMS, "ANYKVM_PARAMS");
	engine.stats = copy_setting(STATS, "ANYKVM_STATS");
	engine.trace = copy_setting(TRACE, "ANYKVM_TRACE");
	engine.verbose = *copy_setting(VERBOSE, "ANYKVM_VERBOSE");
	engine.pid = getpid();
	find_ourselves();
	/* The client's calls of sigaction() come to us (signal.c). */
	anykvm_sigaction(0, NULL, NULL);
	pthread_atfork(NULL, NULL, in_child);
}

__attribute__((destructor)) static void end(void)
{
	engine_leave();
}

void engine_leave(void)
{
	int err = errno;

	if (engine.stats && engine.stats[0] && engine.pid == getpid())
		stats_write(engine.stats);
	errno = err;
}

bool engine_is_here(void)
{
	start();
	return engine.pid == getpid();
}

const char *engine_preload(void)
{
	start();
	return engine.preload[0] ? engine.preload : NULL;
}

const char *engine_setting(unsigned int n)
{
	return engine.setting[n];
}

/* --- into the library and back --- */

struct guard {
	uint64_t mask;
	int cancel;
};

static void enter(struct guard *g)
{
	/* Faults are the engine's, and 32 and 33 libc's own. */
	uint64_t block = ~(1ULL << (SIGSEGV - 1) | 1ULL << (SIGBUS - 1) | 1ULL << (SIGFPE - 1) |
			   1ULL << (SIGILL - 1) | 1ULL << (SIGTRAP - 1) | 3ULL << (32 - 1));

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &g->cancel);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &block, &g->mask, sizeof(g->mask));
}

static void leave(const struct guard *g)
{
	int err = errno;

	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &g->mask, NULL, sizeof(g->mask));
	pthread_setcancelstate(g->cancel, NULL);
	errno = err;
}

/* --- the chosen CPU --- */

/* KVM_GET_SUPPORTED_CPUID, which the caller frees; NULL on failure. */
static struct kvm_cpuid2 *supported(void)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));
	int fd = anykvm_open(O_RDWR | O_CLOEXEC), r = -1;

	if (cpuid && fd >= 0) {
		cpuid->nent = CPUID_MAX;
		r = anykvm_ioctl(fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	}
	if (fd >= 0)
		anykvm_close(fd);
	if (!r)
		return cpuid;
	free(cpuid);
	return NULL;
}

/* Whether PKRU is where the host's own XSAVE has it, if there is one; SDM vol. 1, 13.5.7. */
static bool pkru_as_host(const struct kvm_cpuid2 *cpuid)
{
	uint32_t size = 0, offset = 0, c, d;

	__get_cpuid_count(0xd, 9, &size, &offset, &c, &d);
	for (uint32_t i = 0; cpuid && i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 0xd && e->index == 9 && e->eax)
			return e->eax == size && e->ebx == offset;
	}
	return true;
}

/*
 * Some clients, QEMU among them, tell their guest the layout of XSAVE from the CPUID of the machine they run on.
 * So PKU is offered only where that agrees with the engine, unless somebody asks for it by name: a model that
 * nobody has chosen does so by itself.
 */
static void choose_cpu(void)
{
	char spec[SETTING_MAX + 8];
	struct kvm_cpuid2 *cpuid;

	if (!engine.cpu[0])
		return;
	if (anykvm_set_cpu(engine.cpu)) {
		engine.choice = -errno;
		return;
	}
	cpuid = supported();
	if (!pkru_as_host(cpuid) && !strstr(engine.cpu, ",+pku")) {
		snprintf(spec, sizeof(spec), "%s,-pku", engine.cpu);
		anykvm_set_cpu(spec);
	}
	free(cpuid);
}

static void tell(void)
{
	char line[SETTING_MAX + 80];
	int n, err = errno;

	if (!engine.verbose || atomic_exchange(&engine.told, true))
		return;
	n = snprintf(line, sizeof(line), "anykvm: %s %d opened the engine: anykvm %s, CPU %s\n",
		     program_invocation_short_name, (int)engine.pid, anykvm_version(),
		     engine.cpu[0] ? engine.cpu : "host");
	/* Nobody can be told that nothing can be told. */
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
		errno = err;
}

static void make_choices(void)
{
	choose_cpu();
	if (engine.params[0] && anykvm_set_parameters(engine.params))
		engine.choice = -errno;
	/* Lost rather than in the client's way. */
	if (engine.trace[0])
		anykvm_trace(engine.trace);
}

static int open_inside(int flags)
{
	int fd;

	pthread_once(&engine.chosen, make_choices);
	if (engine.choice)
		return engine.choice;
	fd = anykvm_open(flags);
	return fd < 0 ? -errno : fd;
}

int engine_open(int flags)
{
	struct guard g;
	int fd;

	start();
	enter(&g);
	fd = open_inside(flags);
	if (fd >= 0)
		tell();
	leave(&g);
	return fd;
}

static void learn(const struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (!e->function)
			engine.facts.intel = e->ebx != AMD_EBX;
		if (e->function == 1 && e->ecx & CPUID_VMX)
			engine.facts.nested = true;
		if (e->function == 0x80000001 && e->ecx & CPUID_SVM)
			engine.facts.nested = true;
	}
}

static void ask(void)
{
	struct kvm_cpuid2 *cpuid;

	pthread_once(&engine.chosen, make_choices);
	engine.facts.vmware_backdoor = anykvm_get_parameter("kvm.enable_vmware_backdoor") == 1;
	engine.facts.ignore_msrs = anykvm_get_parameter("kvm.ignore_msrs") == 1;
	engine.facts.report_ignored_msrs = anykvm_get_parameter("kvm.report_ignored_msrs") == 1;
	engine.facts.global_tdp = anykvm_get_parameter("kvm.global_tdp") == 1;
	cpuid = engine.choice ? NULL : supported();
	if (cpuid)
		learn(cpuid);
	free(cpuid);
}

const struct engine_facts *engine_facts(void)
{
	struct guard g;
	int err = errno;

	start();
	enter(&g);
	pthread_once(&engine.asked, ask);
	leave(&g);
	errno = err;
	return &engine.facts;
}

/* --- descriptors --- */

/* The counters of a new VM or vCPU: where 'anykvm stat' sees them, and kept for --stats. */
static void show_stats(int fd, uint32_t request, int result)
{
	int stats;

	if (request != (uint32_t)KVM_CREATE_VM && request != (uint32_t)KVM_CREATE_VCPU)
		return;
	if (engine.stats[0]) {
		stats_note(fd, request, result);
		return;
	}
	stats = anykvm_ioctl(result, KVM_GET_STATS_FD, NULL);
	if (stats >= 0)
		anykvm_close(stats);
}

static int guarded_ioctl(int fd, unsigned long request, void *arg)
{
	struct guard g;
	int r;

	enter(&g);
	r = anykvm_ioctl(fd, request, arg);
	if (r >= 0)
		show_stats(fd, (uint32_t)request, r);
	leave(&g);
	return r;
}

bool engine_ioctl(int fd, unsigned long request, void *arg, int *result)
{
	int err = errno;

	/* A descriptor that the table does not know may still be a duplicate of one: but it is asked KVM's things. */
	if (!anykvm_tracks(fd) && _IOC_TYPE(request) != KVMIO)
		return false;
	/* These do with signals, and with the one that cancels a thread, as KVM does: they end them. */
	if ((uint32_t)request == (uint32_t)KVM_RUN || (uint32_t)request == (uint32_t)KVM_PRE_FAULT_MEMORY)
		*result = anykvm_ioctl(fd, request, arg);
	else
		*result = guarded_ioctl(fd, request, arg);
	if (*result >= 0 || errno != ENOTTY || anykvm_tracks(fd))
		return true;
	/* Not ours: let the kernel say that. */
	errno = err;
	return false;
}

/* A child of vfork() has descriptors of its own, but the table that it sees is its parent's. */
static bool is_tracked(int fd)
{
	return anykvm_tracks(fd) && getpid() == engine.pid;
}

bool engine_close(int fd, int *result)
{
	int err = errno;
	struct guard g;

	if (!is_tracked(fd))
		return false;
	enter(&g);
	*result = anykvm_close(fd);
	leave(&g);
	if (!*result || errno != EBADF)
		return true;
	errno = err;
	return false;
}

bool engine_is_device(int fd)
{
	int err = errno;
	struct guard g;
	bool is;

	if (!anykvm_tracks(fd))
		return false;
	enter(&g);
	is = anykvm_ioctl(fd, KVM_GET_API_VERSION, NULL) >= 0;
	leave(&g);
	errno = err;
	return is;
}

void engine_duplicated(int fd, int of)
{
	int err = errno;
	struct guard g;

	if (!is_tracked(of))
		return;
	enter(&g);
	anykvm_owns(fd);
	leave(&g);
	errno = err;
}

void engine_closed(int first, int last)
{
	int err = errno;
	struct guard g;

	if (getpid() != engine.pid)
		return;
	enter(&g);
	anykvm_recheck(first, last);
	leave(&g);
	errno = err;
}
