/* SPDX-License-Identifier: MIT */
/*
 * The fuzzer's own process watches, a child does the work.  Whatever requests answer:
 *
 *   - the child ends as it wants to: no signal, no sanitizer's report;
 *   - no call lasts longer than a minute, though kicks come all the time;
 *   - nothing is printed, on either of its descriptors;
 *   - each error is one that the documentation has for its request;
 *   - when all is closed, descriptors, mappings, threads and memory are as before.
 *
 * Usage: fuzz [--device soft|exec] [--seed N] [--seconds N | --episodes N] [--threads N] [--patience SECONDS]
 *
 * With FUZZ_STOP in the environment a child that hangs is stopped for a debugger, instead of aborted.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "anykvm.h"
#include "fuzz.h"

#define EPISODE_CALLS 400
#define EPISODE_MS 200
/* The table of descriptors grows; threads' stacks are kept by libc. */
#define SLACK_BYTES (16 << 10)
#define SLACK_MAPPINGS 48
#define WARM_UP 4               /* episodes */

static struct {
	uint64_t seed, seconds, episodes;
	unsigned int threads;   /* 0: one, and then some */
	unsigned int patience;  /* seconds that a call may last */
} options = { .seed = 1, .patience = 60 };

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* --- what is left behind --- */

struct left {
	size_t fds, mappings, threads, bytes;
};

static size_t entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static size_t lines(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;
	int c;

	while (f && (c = getc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static struct left count(void)
{
	struct left l = {
		.fds = entries("/proc/self/fd"),
		.mappings = lines("/proc/self/maps"),
		.threads = entries("/proc/self/task"),
		.bytes = mallinfo2().uordblks,
	};

	return l;
}

/* What is closed behind the library's back is let go when its number is used again, or with the last known descriptor. */
static void recheck(void)
{
	if (!fuzz_preloaded)
		anykvm_recheck(0, 1 << 20);
}

/* For whoever looks for the one that is left. */
static void tell_descriptors(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		char path[40], name[80] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof(name) - 1) > 0)
			fprintf(stderr, "# descriptor %d: %s\n", fd, name);
	}
}

static void compare(const struct left *before, const struct left *now)
{
	if (now->fds > before->fds) {
		fuzz_complain("%zu descriptors, and %zu when all is closed", before->fds, now->fds);
		tell_descriptors();
	}
	if (now->threads > before->threads)
		fuzz_complain("%zu threads, and %zu when all is closed", before->threads, now->threads);
	/* A sanitizer keeps what is freed for a while, and counts for itself at the end. */
	if (SANITIZED)
		return;
	if (now->mappings > before->mappings + SLACK_MAPPINGS)
		fuzz_complain("%zu mappings, and %zu when all is closed", before->mappings, now->mappings);
	if (now->bytes > before->bytes + SLACK_BYTES)
		fuzz_complain("%zu bytes of memory, and %zu when all is closed", before->bytes, now->bytes);
}

/* --- the work --- */

static void on_kick(int sig)
{
}

static void kick_alone(bool on)
{
	static timer_t timer;
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec its = { { 0, 2000000 }, { 0, 2000000 } };

	if (!on) {
		timer_delete(timer);
		return;
	}
	if (timer_create(CLOCK_MONOTONIC, &ev, &timer) || timer_settime(timer, 0, &its, NULL))
		fuzz_complain("no timer: %s", strerror(errno));
}

static void alone(struct fuzz_world *w)
{
	kick_alone(true);
	for (unsigned int i = 0; i < EPISODE_CALLS && !board->complained; i++)
		act(w, i);
	kick_alone(false);
}

struct job {
	struct fuzz_world *w;
	unsigned int n;
	uint64_t seed;
};

static void *job_main(void *arg)
{
	struct job *j = arg;

	board_sit(j->n);
	rnd_seed(j->seed);
	atomic_fetch_or(&j->w->present, 1u << j->n);
	while (!atomic_load(&j->w->stop))
		act(j->w, j->n);
	board_doing(NULL, -1);
	board_leave();
	return NULL;
}

static void kick_one(struct fuzz_world *w, unsigned int n)
{
	if (atomic_load(&w->present) >> n & 1)
		pthread_kill(w->thread[n], SIGUSR1);
}

/* The main thread kicks the others, and waits for them when the time is over: kicks end what is under way. */
static void together(struct fuzz_world *w, unsigned int threads)
{
	struct timespec wait = { 0, 500000 };
	struct job job[FUZZ_THREADS];
	uint64_t end = now_ms() + EPISODE_MS;
	unsigned int n, joined = 1;

	atomic_store(&w->present, 0);
	for (n = 1; n < threads; n++) {
		job[n] = (struct job){ .w = w, .n = n, .seed = rnd() };
		if (pthread_create(&w->thread[n], NULL, job_main, &job[n]))
			break;
	}
	while (joined < n) {
		nanosleep(&wait, NULL);
		if (now_ms() > end || board->complained)
			atomic_store(&w->stop, true);
		kick_one(w, joined + (unsigned int)below(n - joined));
		if (atomic_load(&w->stop) && !pthread_tryjoin_np(w->thread[joined], NULL))
			atomic_fetch_and(&w->present, ~(1u << joined++));
	}
}

static void episode(struct fuzz_world *w, uint64_t seed)
{
	unsigned int threads = options.threads;

	rnd_seed(seed);
	atomic_store(&board->seed, seed);
	if (!threads)
		threads = one_in(3) ? 1 : 3 + (unsigned int)below(FUZZ_THREADS - 2);
	atomic_store(&board->threads, threads);
	world_make(w);
	if (threads > 1)
		together(w, threads);
	else
		alone(w);
	world_end(w);
	recheck();
	atomic_fetch_add(&board->episodes, 1);
}

static bool goes_on(uint64_t done, uint64_t end)
{
	if (board->complained)
		return false;
	return options.seconds ? now_ms() < end : done < options.episodes;
}

static void work(void)
{
	struct sigaction act = { .sa_handler = on_kick };
	uint64_t end = now_ms() + options.seconds * 1000;
	static struct fuzz_world w;
	struct left before, now;
	size_t fds;

	/* One arena of libc's memory and nothing kept for later, so that it can be counted. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MXFAST, 0);
	sigaction(SIGUSR1, &act, NULL);
	board_sit(0);
	world_room(&w);
	fds = count().fds;
	for (uint64_t i = 0; goes_on(i, end); i++) {
		episode(&w, options.seed + i);
		now = count();
		before.fds = fds + 1;   /* the device, which the library opens to learn of the CPU */
		/* The first ones fill what is kept. */
		if (i <= WARM_UP)
			before = now;
		else
			compare(&before, &now);
	}
}

/* --- the watch --- */

static char printed[4096];
static size_t printed_size;

/* Whatever the child prints.  True at the end. */
static bool listen(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[4096];
	ssize_t n;

	if (poll(&p, 1, 200) <= 0)
		return false;
	n = read(fd, text, sizeof(text));
	if (n > 0) {
		size_t room = sizeof(printed) - printed_size, size = (size_t)n < room ? (size_t)n : room;

		memcpy(printed + printed_size, text, size);
		printed_size += size;
		/* A sanitizer's report is longer than that. */
		if (write(STDERR_FILENO, text, (size_t)n) < 0)
			errno = 0;
	}
	return n == 0;
}

static int watch(pid_t pid, int fd)
{
	int status = 0;
	bool hangs = false;

	while (!listen(fd)) {
		if (hangs || !board_hangs(options.patience))
			continue;
		hangs = true;
		board_tell();
		/* SIGABRT, so that a core or a debugger shows where. */
		kill(pid, getenv("FUZZ_STOP") ? SIGSTOP : SIGABRT);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static unsigned int number_case;

static bool tap(bool good, const char *what)
{
	printf("%sok %u - %s\n", good ? "" : "not ", ++number_case, what);
	return good;
}

/* Requests of the tables that never came, or never succeeded. */
static unsigned int never(_Atomic uint64_t *counts, const char *what, bool tell)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < request_count(); i++) {
		/* One that is of several kinds may have two rows. */
		if (counts[i] || request_number(request_row(i)->request) != (int)i)
			continue;
		n++;
		if (tell)
			printf("# %s never %s\n", request_row(i)->name, what);
	}
	return n;
}

static int report(int status)
{
	bool good = true, whole;
	unsigned int count = request_count(), uncalled = never(board->called, "came", true),
		     failed = never(board->succeeded, "succeeded", true);
	static const char *const means[] = {
		"the process ends as it wants to",
		"no call hangs, no error is out of place, nothing is left",
		"nothing is printed",
		"guests ran",
		"most requests were accepted",
		"guests' guests ran",
	};

	printf("# %llu episodes, %llu of %llu KVM_RUNs ended with an exit\n", (unsigned long long)board->episodes,
	       (unsigned long long)board->exits, (unsigned long long)board->runs);
	for (unsigned int amd = 0; amd < 2; amd++)
		printf("# %s: %llu entries to L2, %llu exits\n", amd ? "SVM" : "VMX",
		       (unsigned long long)board->nested_runs[amd], (unsigned long long)board->nested_exits[amd]);
	whole = status == 0;
	good &= tap(whole, means[0]);
	good &= tap(!board->complained, means[1]);
	good &= tap(!printed_size, means[2]);
	good &= tap(board->exits > board->episodes, means[3]);
	/* In a few episodes luck may miss some. */
	good &= tap(uncalled * 4 < count && failed * 3 < count, means[4]);
	good &= tap(board->nested_exits[0] + board->nested_exits[1] > board->episodes, means[5]);
	if (!good)
		board_tell();
	if (!whole)
		fprintf(stderr, "# status %#x\n", (unsigned int)status);
	return good ? 0 : 1;
}

static int run(void)
{
	int p[2], status;
	pid_t pid;

	board_make();
	if (pipe2(p, O_CLOEXEC)) {
		perror("pipe");
		return 1;
	}
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(p[1], STDOUT_FILENO);
		dup2(p[1], STDERR_FILENO);
		close(p[0]);
		close(p[1]);
		work();
		exit(0);
	}
	close(p[1]);
	status = watch(pid, p[0]);
	return report(status);
}

static bool parse(int argc, char **argv)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t n = strtoull(argv[i + 1], NULL, 0);

		if (!strcmp(argv[i], "--device"))
			fuzz_preloaded = !strcmp(argv[i + 1], "exec");
		else if (!strcmp(argv[i], "--seed"))
			options.seed = n;
		else if (!strcmp(argv[i], "--seconds"))
			options.seconds = n;
		else if (!strcmp(argv[i], "--episodes"))
			options.episodes = n;
		else if (!strcmp(argv[i], "--threads"))
			options.threads = (unsigned int)(n > FUZZ_THREADS ? FUZZ_THREADS : n);
		else if (!strcmp(argv[i], "--patience"))
			options.patience = (unsigned int)n;
		else
			return false;
	}
	if (!options.seconds && !options.episodes)
		options.episodes = 20;
	return argc % 2;
}

/* A kernel has better fuzzers, and more to lose. */
static bool is_ours(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool ours = fd >= 0 && ioctl(fd, KVM_CHECK_EXTENSION, ANYKVM_CAP_ENGINE) == 1;

	if (fd >= 0)
		close(fd);
	return ours;
}

int main(int argc, char **argv)
{
	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: fuzz [--device soft|exec] [--seed N] [--seconds N | --episodes N] [--threads N]\n"
			"            [--patience SECONDS]\n");
		return 2;
	}
	if (fuzz_preloaded && !is_ours()) {
		printf("Bail out! /dev/kvm is not anykvm's\n");
		return 1;
	}
	/* What malloc() keeps for each thread counts as used: read when a program starts. */
	if (!getenv("GLIBC_TUNABLES")) {
		setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
		execv("/proc/self/exe", argv);
	}
	printf("1..6\n# seed %llu\n", (unsigned long long)options.seed);
	return run();
}
