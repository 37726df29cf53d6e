// SPDX-License-Identifier: MIT
/*
 * judge [--seed N] [--forms REGEX] [--cases N] [--full] [--strict] [--engine-only] [--list] [-v]
 * judge --repro MODE[@PLACE]:BYTES:SEED
 *
 * --engine-only leaves the host's side out, and compares nothing.
 *
 * One TAP test point per kind of instruction and mode.  Each kind runs in a
 * forked worker with a watchdog: what crashes or hangs it is a difference too.
 */
#include <errno.h>
#include <getopt.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host/fault.h"
#include "judge.h"

#define CASES_PER_INSTANCE 16
#define FORM_SECONDS 20
#define SHOWN_PER_FORM 3
/*
 * The address sanitizer's shadow lies where wild addresses must find nothing:
 * the engine runs all the same, for the sanitizer to watch it.
 */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

#define RESTARTS 4
#define MAX_FORMS 65536
#define SEQUENCES_PER_WORKER 32768    /* an engine has room for so many host stubs */
#define SEQUENCES_PER_CASE 1024      /* sequences per case of a form, in each mode */
#define FULL_CASES 1000

static const char *const mode_name[MODES] = { "64", "32", "16" };

/* Shared between the parent and its worker. */
static struct progress {
	uint64_t live;                  /* forms that the host has carried out */
	uint64_t cases, differences, restarts, faults;
	unsigned int form;              /* in hand */
	char now[320];                  /* its reproducer */
	uint8_t has[MAX_FORMS];         /* by the form's index: the host has carried it out */
} *progress;

static struct {
	uint64_t seed;
	unsigned int cases;             /* per form */
	bool strict, verbose, engine_only;
	const char *pattern;
} opt = { .cases = 64 };

static uint8_t template[ARENA_BYTES];

/* Forms, or sequences of what is in the pool, or if there is neither the exhaustive loops. */
struct group {
	const struct form *first;
	unsigned int count;
	unsigned int sequences, from;
	const struct form **pool;       /* EVEX forms stand behind the others */
	unsigned int pool_size, pool_plain;
};

/* ------------------------------------------------------------------ one case */

static void name_case(const struct code *c, uint64_t seed)
{
	char *p = progress->now;

	p += sprintf(p, c->at == CODE_AT ? "%s:" : "%s@%x:", mode_name[c->mode], c->at);
	for (unsigned int k = 0; k < c->len; k++)
		p += sprintf(p, "%02x", c->bytes[k]);
	sprintf(p, ":%lx", seed);
}

static void report(const struct code *c, const char *what, const struct state *before,
		   const struct outcome *n, const struct outcome *e, bool details)
{
	printf("# DIFFERS %s:", what);
	for (const struct code *p = c; p; p = p->next) {
		char text[128];

		code_text(p, text, sizeof(text));
		printf("%s %s", p == c ? "" : ";", text);
	}
	printf(": judge --repro %s\n", progress->now);
	if (details)
		explain(c, before, n, e);
	fflush(stdout);
}

static void protect(unsigned int page, bool present, bool writable)
{
	native_protect(page, present, writable);
	engine_protect(page, present, writable);
}

/* Maps what a page fault in the arena asked for.  False: it was none. */
static bool cure(const struct outcome *o)
{
	if (o->vector != 14 || o->cr2 - ARENA_LIN >= ARENA_BYTES)
		return false;
	protect((o->cr2 - ARENA_LIN) / PAGE, true, true);
	return true;
}

static void restore_pages(void)
{
	protect(PAGE_RO, true, false);
	protect(PAGE_NONE, false, false);
}

/* Runs one case on both sides, and again from each fault after its cause is gone.  True if they agree. */
static bool run_case(const struct code *c, uint64_t seed, unsigned int shown, bool *done)
{
	struct state s;
	struct outcome n, e;
	const char *what;
	bool cured = false;

	name_case(c, seed);
	memcpy(native_arena(), template, ARENA_BYTES);
	make_state(c, seed, &s, native_arena());
	memcpy(engine_arena(), native_arena(), ARENA_BYTES);
	for (unsigned int round = 0;; round++) {
		engine_run(c, &s, &e);
		if (opt.engine_only)
			n = e;
		else
			native_run(c, &s, &n);
		progress->cases++;
		what = opt.engine_only ? NULL : compare(c, &s, &n, &e, opt.strict || c->next);
		if (what || round == RESTARTS || (seed & 1) || n.vector == DONE || !cure(&n))
			break;
		cured = true;
		progress->restarts++;
		s = n.s;
		s.rflags &= ~(1u << 16);
		s.v.header[0] = host_components();
		memset(s.v.header + 1, 0, 56);
	}
	*done |= n.vector == DONE;
	progress->faults += n.vector != DONE;
	if (cured)
		restore_pages();
	if (what) {
		progress->differences++;
		if (shown < SHOWN_PER_FORM)
			report(c, what, &s, &n, &e, opt.verbose || !shown);
	}
	return !what;
}

static uint64_t mix(uint64_t a, uint64_t b, uint64_t c)
{
	struct rng r = { a ^ b * 0xff51afd7ed558ccdULL ^ c * 0xc4ceb9fe1a85ec53ULL };

	rnd(&r);
	return rnd(&r);
}

static void run_form(const struct form *f)
{
	unsigned int shown = 0;
	bool done = false;

	for (unsigned int k = 0; k < opt.cases; k++) {
		static struct code c;

		if (k % CASES_PER_INSTANCE == 0) {
			struct rng r = { mix(opt.seed, f->key, k) };

			make_instance(f, &r, &c);
			place(&c, &r);
			native_code(&c);
			engine_code(&c);
		}
		shown += !run_case(&c, mix(opt.seed, f->key, k + 1000003), shown, &done);
	}
	if (done)
		progress->has[f->index] = 1;
	progress->live += done;
}

/* Links @n parts into a sequence. */
static void link_parts(struct code *part, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++)
		part[k].next = k + 1 < n ? &part[k + 1] : NULL;
}

/* Most forms are EVEX ones, but not most of a sequence. */
static const struct form *pick_form(const struct group *g, struct rng *r)
{
	unsigned int evex = g->pool_size - g->pool_plain;

	if (evex && (!g->pool_plain || one_in(r, 3)))
		return g->pool[g->pool_plain + below(r, evex)];
	return g->pool[below(r, g->pool_plain)];
}

/* A sequence of the group's mode: flags, vector state and faults from one instruction to the next. */
static void make_sequence(const struct group *g, struct rng *r, struct code *whole,
			  struct code part[SEQUENCE_MAX])
{
	unsigned int n = 2 + below(r, SEQUENCE_MAX - 1);

	for (unsigned int k = 0; k < n; k++)
		do {
			make_instance(pick_form(g, r), r, &part[k]);
		} while (!fits_sequence(&part[k]));
	link_parts(part, n);
	join_sequence(whole, part, n);
	place(whole, r);
}

static void run_sequences(const struct group *g)
{
	static struct code part[SEQUENCE_MAX], whole;
	unsigned int shown = 0;
	bool done = false;

	for (unsigned int k = g->from; k < g->from + g->sequences; k++) {
		struct rng r = { mix(opt.seed, g->pool[0]->mode + 77, k / 4) };

		if (k % 4 == 0) {
			alarm(FORM_SECONDS);
			make_sequence(g, &r, &whole, part);
			native_code(&whole);
			engine_code(&whole);
		}
		shown += !run_case(&whole, mix(opt.seed, g->pool[0]->mode + 99, k), shown, &done);
	}
}

/* ------------------------------------------------------------------ workers */

static void worker(const struct group *g, unsigned int from)
{
	if (host_fault_init() || native_init() || engine_init()) {
		printf("# cannot set up\n");
		exit(3);
	}
	if (g->sequences) {
		run_sequences(g);
	} else if (!g->count) {
		alarm(10 * FORM_SECONDS);
		progress->differences += exhaustive(&progress->cases);
	}
	for (unsigned int k = from; k < g->count; k++) {
		progress->form = k;
		alarm(FORM_SECONDS);
		run_form(&g->first[k]);
	}
	fflush(stdout);
	_exit(0);
}

/* Runs a group; a worker that dies has its form skipped and the rest done by another. */
static bool run_group(const struct group *g)
{
	uint64_t before = progress->differences;
	unsigned int from = 0, deaths = 0;
	int status;

	do {
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid < 0)
			return false;
		if (!pid)
			worker(g, from);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && !WEXITSTATUS(status))
			break;
		printf("# DIFFERS worker ended with %s %d: judge --repro %s\n",
		       WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), progress->now);
		progress->differences++;
		from = progress->form + 1;
		deaths++;
	} while (from < g->count && deaths < 50);
	return progress->differences == before;
}

/* What the host has carried out goes into sequences. */
static void make_pool(struct group *g, const struct form *forms, unsigned int count, enum jmode mode)
{
	g->pool = calloc(count, sizeof(*g->pool));
	for (unsigned int k = 0; k < 2 * count && g->pool; k++) {
		const struct form *f = &forms[k % count];
		struct code c;

		if (k == count)
			g->pool_plain = g->pool_size;
		decode(&c, f->mode, f->bytes, f->len);
		if (f->mode == mode && progress->has[f->index] && fits_sequence(&c) &&
		    (c.zi.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX) == (k >= count))
			g->pool[g->pool_size++] = f;
	}
}

static int run_all(const struct form *forms, unsigned int count)
{
	struct group all8 = { 0 };
	unsigned int points = 0, failed = 0;

	for (unsigned int k = 0; k < count; ) {
		struct group g = { .first = &forms[k] };
		uint64_t cases = progress->cases;
		bool ok;

		while (k < count && forms[k].mode == g.first->mode &&
		       forms[k].category == g.first->category) {
			g.count++;
			k++;
		}
		ok = run_group(&g);
		failed += !ok;
		printf("%sok %u - %s %s: %u forms, %lu cases\n", ok ? "" : "not ", ++points,
		       mode_name[g.first->mode], ZydisCategoryGetString(g.first->category), g.count,
		       progress->cases - cases);
	}
	for (enum jmode mode = MODE64; mode < MODES && !opt.pattern; mode++) {
		struct group g = { .sequences = SEQUENCES_PER_WORKER };
		uint64_t cases = progress->cases;
		bool ok = true;

		make_pool(&g, forms, count, mode);
		if (!g.pool_size)
			continue;
		for (; g.from < opt.cases * SEQUENCES_PER_CASE; g.from += g.sequences)
			ok &= run_group(&g);
		failed += !ok;
		printf("%sok %u - %s sequences of %u forms: %lu cases\n", ok ? "" : "not ", ++points,
		       mode_name[mode], g.pool_size, progress->cases - cases);
		free(g.pool);
	}
	if (!opt.pattern) {
		uint64_t cases = progress->cases;
		bool ok = run_group(&all8);

		failed += !ok;
		printf("%sok %u - exhaustive 8-bit arithmetic: %lu cases\n", ok ? "" : "not ", ++points,
		       progress->cases - cases);
	}
	printf("1..%u\n", points);
	printf("# %u forms, %lu of them the host has; %lu cases run, %lu ended in a fault, %lu restarts, %lu "
	       "differences, seed %lu\n",
	       count, progress->live, progress->cases, progress->faults, progress->restarts,
	       progress->differences, opt.seed);
	return failed ? 1 : 0;
}

/* ------------------------------------------------------------------ choosing */

static int by_group(const void *a, const void *b)
{
	const struct form *x = a, *y = b;

	if (x->mode != y->mode)
		return x->mode < y->mode ? -1 : 1;
	if (x->category != y->category)
		return x->category < y->category ? -1 : 1;
	if (x->mnemonic != y->mnemonic)
		return x->mnemonic < y->mnemonic ? -1 : 1;
	return x->key < y->key ? -1 : x->key > y->key;
}

static void form_text(const struct form *f, char *buf, unsigned int n)
{
	struct code c;

	decode(&c, f->mode, f->bytes, f->len);
	snprintf(buf, n, "%s ", mode_name[f->mode]);
	code_text(&c, buf + 3, n - 3);
}

static unsigned int choose(struct form *f, unsigned int n, const char *pattern)
{
	unsigned int kept = 0;
	regex_t re;

	if (!pattern)
		return n;
	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB)) {
		fprintf(stderr, "judge: %s: not a regular expression\n", pattern);
		exit(2);
	}
	for (unsigned int k = 0; k < n; k++) {
		char text[160];

		form_text(&f[k], text, sizeof(text));
		if (!regexec(&re, text, 0, NULL, 0))
			f[kept++] = f[k];
	}
	return kept;
}

static unsigned int keep_modes(struct form *f, unsigned int n)
{
	unsigned int kept = 0;
	bool has[MODES];

	for (enum jmode m = MODE64; m < MODES; m++)
		has[m] = native_has(m);
	for (unsigned int k = 0; k < n; k++)
		if (has[f[k].mode])
			f[kept++] = f[k];
	return kept;
}

static int list(const struct form *f, unsigned int n)
{
	for (unsigned int k = 0; k < n; k++) {
		char text[160];

		form_text(&f[k], text, sizeof(text));
		printf("%s\n", text);
	}
	printf("# %u forms\n", n);
	return 0;
}

static int reproduce(const char *what)
{
	static struct code part[SEQUENCE_MAX], c;
	char mode[4], bytes[2 * SEQUENCE_MAX * 15 + 1];
	unsigned long seed;
	uint8_t raw[SEQUENCE_MAX * 15] = { 0 };
	unsigned int n, at = 0, parts = 0, place_at = CODE_AT;
	enum jmode m = MODE64;
	bool done = false;

	if (sscanf(what, "%3[0-9]@%x:%240[0-9a-f]:%lx", mode, &place_at, bytes, &seed) != 4 &&
	    sscanf(what, "%3[0-9]:%240[0-9a-f]:%lx", mode, bytes, &seed) != 3) {
		fprintf(stderr, "judge: %s: not MODE:BYTES:SEED\n", what);
		return 2;
	}
	while (m < MODES && strcmp(mode, mode_name[m]))
		m++;
	n = strlen(bytes) / 2;
	for (unsigned int k = 0; k < n && k < sizeof(raw); k++)
		sscanf(bytes + 2 * k, "%2hhx", &raw[k]);
	while (m < MODES && at < n && parts < SEQUENCE_MAX && decode(&part[parts], m, raw + at, n - at))
		at += part[parts++].len;
	if (!parts) {
		fprintf(stderr, "judge: %s: no instruction\n", what);
		return 2;
	}
	link_parts(part, parts);
	join_sequence(&c, part, parts);
	c.at = place_at;
	c.branch |= c.at + c.len + 16u > CODE_BYTES;
	if (host_fault_init() || native_init() || engine_init())
		return 3;
	native_code(&c);
	engine_code(&c);
	opt.verbose = true;
	if (!run_case(&c, seed, 0, &done))
		return 1;
	printf("# agrees\n");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "forms", required_argument, NULL, 'f' },
		{ "cases", required_argument, NULL, 'c' }, { "full", no_argument, NULL, 'F' },
		{ "strict", no_argument, NULL, 'S' }, { "list", no_argument, NULL, 'l' },
		{ "repro", required_argument, NULL, 'r' }, { "verbose", no_argument, NULL, 'v' },
		{ "engine-only", no_argument, NULL, 'e' }, { 0 },
	};
	const char *repro = NULL;
	struct rng r = { 1 };
	bool listing = false;
	unsigned int count;
	struct form *forms;
	int o;

	opt.seed = time(NULL);
	opt.engine_only = SANITIZED;
	while ((o = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		switch (o) {
		case 's': opt.seed = strtoul(optarg, NULL, 0); break;
		case 'f': opt.pattern = optarg; break;
		case 'c': opt.cases = strtoul(optarg, NULL, 0); break;
		case 'F': opt.cases = FULL_CASES; break;
		case 'S': opt.strict = true; break;
		case 'l': listing = true; break;
		case 'r': repro = optarg; break;
		case 'e': opt.engine_only = true; break;
		case 'v': opt.verbose = true; break;
		default: return 2;
		}
	}
	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		return 3;
	for (unsigned int k = 0; k < ARENA_BYTES; k++)
		template[k] = rnd(&r);
	if (native_missing()) {
		printf("TAP version 13\n1..0 # SKIP this host lacks %s\n", native_missing());
		return 0;
	}
	if (repro)
		return reproduce(repro);
	forms = forms_list(&count);
	if (count > MAX_FORMS)
		return 3;
	count = choose(forms, count, opt.pattern);
	count = keep_modes(forms, count);
	qsort(forms, count, sizeof(*forms), by_group);
	for (unsigned int k = 0; k < count; k++)
		forms[k].index = k;
	if (listing)
		return list(forms, count);
	printf("TAP version 13\n# seed %lu, %u cases a form%s\n", opt.seed, opt.cases,
	       opt.engine_only ? ", nothing compared" : "");
	return run_all(forms, count);
}
