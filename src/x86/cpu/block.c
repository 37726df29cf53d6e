/* SPDX-License-Identifier: MIT */
/* Making, finding and dropping blocks.  See block.h for the rules. */
#include "x86/cpu/block.h"

#include <stdlib.h>
#include <string.h>

#include "host/bytes.h"
#include "x86/cpu/code.h"
#include "x86/cpu/vec.h"
#include "x86/mmu/mmu.h"

static unsigned int block_slot(gpa_t gpa, unsigned int mode)
{
	return (((gpa ^ (uint64_t)mode << 56) * 0x9e3779b97f4a7c15ULL) >> 40) % CODE_HASH;
}

static unsigned int page_slot(gfn_t gfn)
{
	return ((gfn * 0x9e3779b97f4a7c15ULL) >> 40) % CODE_PAGE_HASH;
}

/* ------------------------------------------------------------------ the cache */

struct code_cache *code_cache_create(void)
{
	struct code_cache *cc = aligned_alloc(_Alignof(struct code_cache), sizeof(*cc));

	if (!cc)
		return NULL;
	memset(cc, 0, sizeof(*cc));
	cc->decoder = decoder_create();
	if (!cc->decoder || stub_init(cc)) {
		decoder_destroy(cc->decoder);
		free(cc);
		return NULL;
	}
	cc->epoch = EPOCH_STALE + 1;
	cc->drop_gen = 1;
	return cc;
}

static void free_list(struct block *b)
{
	while (b) {
		struct block *next = b->dead_next;

		free(b);
		b = next;
	}
}

static void free_pages(struct code_page *p)
{
	while (p) {
		struct code_page *next = p->next;

		free(p);
		p = next;
	}
}

void code_cache_destroy(struct code_cache *cc)
{
	if (!cc)
		return;
	code_drop_all(cc);
	free_list(cc->dead);
	free_list(cc->dying);
	free_pages(cc->pages_dead);
	free_pages(cc->pages_dying);
	stub_destroy(cc);
	decoder_destroy(cc->decoder);
	free(cc);
}

int code_cache_join(struct code_cache *cc, struct x86_cpu *cpu)
{
	host_lock(&cc->lock);
	cpu->code = cc;
	cpu->code_next = cc->cpus;
	cpu->code_seen = cc->drop_gen;
	cc->cpus = cpu;
	host_unlock(&cc->lock);
	return 0;
}

void code_cache_leave(struct code_cache *cc, struct x86_cpu *cpu)
{
	host_lock(&cc->lock);
	for (struct x86_cpu **p = &cc->cpus; *p; p = &(*p)->code_next)
		if (*p == cpu) {
			*p = cpu->code_next;
			break;
		}
	host_unlock(&cc->lock);
}

void code_cache_touched(struct code_cache *cc)
{
	atomic_fetch_add_explicit(&cc->epoch, 1, memory_order_relaxed);
}

const struct code_stats *code_cache_stats(const struct code_cache *cc)
{
	return &cc->stats;
}

void code_count_compared(struct x86_cpu *cpu)
{
	__atomic_fetch_add(&cpu->code->stats.compared, cpu->blocks_compared, __ATOMIC_RELAXED);
	cpu->blocks_compared = 0;
}

/* ------------------------------------------------------------------ pages */

static struct code_page *page_find(struct code_cache *cc, gfn_t gfn)
{
	struct code_page *p = cc->page[page_slot(gfn)];

	while (p && p->gfn != gfn)
		p = p->next;
	return p;
}

static bool filter_test(struct code_cache *cc, gfn_t gfn)
{
	unsigned int slot = page_slot(gfn);

	return atomic_load_explicit(&cc->page_filter[slot / 64], memory_order_relaxed) >> (slot % 64) & 1;
}

bool code_gfn_guarded(struct code_cache *cc, gfn_t gfn)
{
	struct code_page *p;
	bool guarded;

	if (likely(!filter_test(cc, gfn)))
		return false;
	host_lock(&cc->lock);
	p = page_find(cc, gfn);
	guarded = p && !p->hot && (p->blocks || p->tails);
	host_unlock(&cc->lock);
	return guarded;
}

static bool page_hot(struct code_cache *cc, gfn_t gfn)
{
	struct code_page *p;
	bool hot;

	host_lock(&cc->lock);
	p = page_find(cc, gfn);
	hot = p && p->hot;
	host_unlock(&cc->lock);
	return hot;
}

/* ------------------------------------------------------------------ code that others write */

/*
 * A vCPU finds by its flags in memory that another has written code, executes a
 * serializing instruction, and then that code (SDM 3A 9.1.3).  A block made of
 * the old bytes may be at hand in two cases: the writer was about to write when
 * the block was made (CODE_WRITTEN, set before it writes), or it did not know of
 * code in that page (GUARD_CODE, set before the block is to be found).  In both
 * the writer's request stays set until it has raised the epoch, at its next
 * boundary: either we see the request, or what it raised.
 */
#define CHANGES (X86_REQ_CODE_WRITTEN | X86_REQ_GUARD_CODE)

static void ask(struct code_cache *cc, struct x86_cpu *c, uint32_t bit)
{
	if (!(atomic_fetch_or(&c->requests, bit) & bit))
		atomic_fetch_add(&cc->changes_asked, 1);
}

void code_changes_settle(struct x86_cpu *cpu)
{
	uint32_t had;

	if (likely(!(atomic_load_explicit(&cpu->requests, memory_order_relaxed) & CHANGES)))
		return;
	code_cache_touched(cpu->code);
	had = atomic_fetch_and(&cpu->requests, ~(uint32_t)CHANGES) & CHANGES;
	atomic_fetch_add(&cpu->code->changes_served, (had & (had - 1)) ? 2 : 1);
	if (had & X86_REQ_GUARD_CODE)
		mmu_drop_writes(cpu);
}

void code_serialize(struct x86_cpu *cpu)
{
	struct code_cache *cc = cpu->code;
	bool due = false;

	if (likely(atomic_load(&cc->changes_asked) == atomic_load(&cc->changes_served)))
		return;
	host_lock(&cc->lock);
	for (struct x86_cpu *c = cc->cpus; c; c = c->code_next)
		due |= c != cpu && atomic_load(&c->in_guest) && (atomic_load(&c->requests) & CHANGES);
	host_unlock(&cc->lock);
	if (due)
		code_cache_touched(cc);
}

/* The page's record, made if need be, with every vCPU told to guard it if it held no code before. */
static struct code_page *page_get(struct x86_cpu *cpu, gfn_t gfn)
{
	struct code_cache *cc = cpu->code;
	unsigned int slot = page_slot(gfn);
	struct code_page *p = page_find(cc, gfn);

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->gfn = gfn;
		p->next = cc->page[slot];
		cc->page[slot] = p;
		atomic_fetch_or(&cc->page_filter[slot / 64], 1ULL << (slot % 64));
	}
	if (!p->blocks && !p->tails && !p->hot) {
		mmu_guard_gfn(cpu, gfn);
		for (struct x86_cpu *c = cc->cpus; c; c = c->code_next)
			if (c != cpu)
				ask(cc, c, X86_REQ_GUARD_CODE);
	}
	return p;
}

/* ------------------------------------------------------------------ dropping */

static void unlink_from(struct block **list, struct block *b, size_t next_offset)
{
	while (*list != b)
		list = (struct block **)((char *)*list + next_offset);
	*list = *(struct block **)((char *)b + next_offset);
}

static void kill_locked(struct code_cache *cc, struct block *b)
{
	unlink_from(&cc->hash[block_slot(b->gpa, b->mode)], b, offsetof(struct block, hash_next));
	unlink_from(&b->page->blocks, b, offsetof(struct block, page_next));
	if (b->cross)
		unlink_from(&page_find(cc, b->gfn2)->tails, b, offsetof(struct block, page2_next));
	b->epoch = 0;
	b->dead = true;
	b->dead_next = cc->dead;
	cc->dead = b;
	cc->dead_count++;
	cc->stats.dropped++;
}

void code_kill(struct code_cache *cc, struct block *b)
{
	host_lock(&cc->lock);
	if (!b->dead)
		kill_locked(cc, b);
	host_unlock(&cc->lock);
}

static void request_drop(struct code_cache *cc)
{
	if (cc->dying || cc->stubs_dying || cc->pages_dying || !(cc->dead || cc->stubs_dead || cc->pages_dead))
		return;
	cc->dying = cc->dead;
	cc->stubs_dying = cc->stubs_dead;
	cc->pages_dying = cc->pages_dead;
	cc->dead = NULL;
	cc->stubs_dead = NULL;
	cc->pages_dead = NULL;
	cc->dead_count = 0;
	atomic_fetch_add(&cc->drop_gen, 1);
	for (struct x86_cpu *c = cc->cpus; c; c = c->code_next)
		x86_request(c, X86_REQ_DROP_CODE);
}

void code_drop_all_locked(struct code_cache *cc)
{
	for (unsigned int i = 0; i < CODE_HASH; i++)
		while (cc->hash[i])
			kill_locked(cc, cc->hash[i]);
	for (unsigned int i = 0; i < CODE_PAGE_HASH; i++)
		for (struct code_page *p = cc->page[i], *next; p; p = next) {
			next = p->next;
			p->next = cc->pages_dead;
			cc->pages_dead = p;
		}
	for (unsigned int i = 0; i < CODE_PAGE_HASH; i++)
		cc->page[i] = NULL;
	for (unsigned int i = 0; i < ARRAY_SIZE(cc->page_filter); i++)
		atomic_store(&cc->page_filter[i], 0);
	cc->bytes = 0;
	request_drop(cc);
}

void code_drop_all(struct code_cache *cc)
{
	host_lock(&cc->lock);
	code_drop_all_locked(cc);
	host_unlock(&cc->lock);
}

struct unheld {
	struct block *blocks;
	struct stub_area *stubs;
	struct code_page *pages;
};

/* What is dying, once no vCPU can hold a pointer to it: the caller frees it when it has unlocked. */
static struct unheld take_unheld(struct code_cache *cc)
{
	struct unheld u = { cc->dying, cc->stubs_dying, cc->pages_dying };

	for (struct x86_cpu *c = cc->cpus; c; c = c->code_next)
		if (atomic_load(&c->in_guest) && atomic_load(&c->code_seen) < cc->drop_gen)
			return (struct unheld){ NULL, NULL, NULL };
	cc->dying = NULL;
	cc->stubs_dying = NULL;
	cc->pages_dying = NULL;
	return u;
}

static void free_unheld(struct unheld u)
{
	free_list(u.blocks);
	stub_free(u.stubs);
	free_pages(u.pages);
}

/*
 * A vCPU outside the guest holds no pointer that it will follow: it serves
 * X86_REQ_DROP_CODE, set before drop_gen is looked at here, before it enters.
 */
void code_quiesce(struct code_cache *cc, struct x86_cpu *cpu)
{
	struct unheld done;

	cpu->code_seen = cc->drop_gen;
	host_lock(&cc->lock);
	done = take_unheld(cc);
	host_unlock(&cc->lock);
	free_unheld(done);
}

static bool overlaps(const struct block *b, gpa_t gpa, unsigned int n)
{
	return b->gpa < gpa + n && gpa < b->gpa + b->len;
}

static bool kill_overlapping(struct code_cache *cc, struct code_page *p, gpa_t gpa, unsigned int n,
			     const struct block *running)
{
	bool hit = false;
	struct block *next;

	for (struct block *b = p->blocks; b; b = next) {
		next = b->page_next;
		if (!overlaps(b, gpa, n))
			continue;
		hit |= b == running;
		kill_locked(cc, b);
	}
	/* A crossing block's tail starts its page; the head's gpa says nothing about it. */
	for (struct block *b = p->tails; b; b = next) {
		next = b->page2_next;
		if ((gpa & ~GUEST_PAGE_MASK) >= 15)
			continue;
		hit |= b == running;
		kill_locked(cc, b);
	}
	return hit;
}

bool code_written(struct x86_cpu *cpu, gpa_t gpa, unsigned int n, const struct block *running)
{
	struct code_cache *cc = cpu->code;
	struct code_page *p;
	bool hit = false;

	host_lock(&cc->lock);
	p = page_find(cc, gpa_to_gfn(gpa));
	if (p) {
		if (cc->cpus != cpu || cpu->code_next)
			ask(cc, cpu, X86_REQ_CODE_WRITTEN);
		hit = kill_overlapping(cc, p, gpa, n, running);
		if (!p->hot && ++p->writes > CODE_HOT_WRITES) {
			p->hot = true;
			p->unchanged = 0;
			cc->stats.hot_pages++;
			/* Blocks of a hot page are made differently. */
			hit |= kill_overlapping(cc, p, gfn_to_gpa(p->gfn), GUEST_PAGE_SIZE, running);
		}
	}
	if (cc->dead_count > 1024)
		request_drop(cc);
	host_unlock(&cc->lock);
	return hit;
}

/*
 * Kernels patch much of their code while they start and none of it later.  The
 * page's next block makes every vCPU guard it, as the first did: page_get().
 */
bool code_unchanged(struct code_cache *cc, struct code_page *page)
{
	/* Entries that two vCPUs count at the same time may be lost. */
	unsigned int n = atomic_load_explicit(&page->unchanged, memory_order_relaxed) + 1;

	atomic_store_explicit(&page->unchanged, n, memory_order_relaxed);
	if (likely(n < CODE_COOL_ENTRIES << page->cooled))
		return false;
	host_lock(&cc->lock);
	if (page->hot) {
		kill_overlapping(cc, page, gfn_to_gpa(page->gfn), GUEST_PAGE_SIZE, NULL);
		page->hot = false;
		page->writes = 0;
		page->cooled += page->cooled < CODE_COOL_MAX;
	}
	host_unlock(&cc->lock);
	return true;
}

/* ------------------------------------------------------------------ finding and making */

struct block *code_find(struct code_cache *cc, gpa_t gpa, unsigned int mode)
{
	struct block *b = __atomic_load_n(&cc->hash[block_slot(gpa, mode)], __ATOMIC_ACQUIRE);

	/* Without the lock: what was unlinked meanwhile leads on to where it did, and is not freed before we are through. */
	while (b && (b->gpa != gpa || b->mode != mode || b->dead))
		b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE);
	return b;
}

static bool same(const uint8_t *a, const uint8_t *b, unsigned int n)
{
	for (; n >= 8; n -= 8, a += 8, b += 8)
		if (*(const uint64_t *)a != *(const volatile uint64_t *)b)
			return false;
	while (n--)
		if (*a++ != *(const volatile uint8_t *)b++)
			return false;
	return true;
}

bool code_same(const struct block *b, const uint8_t *host, const uint8_t *host2)
{
	unsigned int off = b->gpa & ~GUEST_PAGE_MASK;
	unsigned int first = b->cross ? GUEST_PAGE_SIZE - off : b->len;

	return same(b->bytes, host + off, first) && (!b->cross || same(b->bytes + first, host2, b->len - first));
}

struct draft {
	struct insn insn[(BLOCK_MAX_INSNS + 1) * DECODE_MAX_ENTRIES];
	unsigned int n, insns, len;
	bool hot;               /* made as blocks of a hot page are */
	uint8_t branch;         /* ends with one */
	bool outdated;          /* install(): what it was made for has changed meanwhile */
	bool no_memory;         /* an instruction could not be had for that */
	uint64_t stub_gen;      /* whose stubs it uses */
};

static void add_end(struct draft *d)
{
	d->insn[d->n++] = (struct insn){ .fn = insn_end, .off = d->len };
}

/*
 * Decodes from @bytes into @d.  Returns false when the first instruction does not fit in them, and where there is
 * no memory (d->no_memory).  On a hot page
 * writes are not watched, so a store, which may be to the next instruction, ends the block.
 */
static bool draft_block(struct x86_cpu *cpu, const uint8_t *bytes, unsigned int avail, unsigned int mode,
			struct draft *d)
{
	unsigned int max = mode & MODE_SINGLE ? 1 : BLOCK_MAX_INSNS;

	d->n = d->insns = d->len = 0;
	d->outdated = d->no_memory = false;
	d->branch = BRANCH_NONE;
	d->stub_gen = cpu->code->stub_gen;
	while (d->insns < max) {
		struct decode_result r = decode_insn(cpu->code->decoder, cpu, mode & 3, bytes + d->len,
						     avail - d->len, d->len, &d->insn[d->n]);

		if (r.status == DECODE_NO_MEMORY) {
			d->no_memory = true;
			return false;
		}
		if (r.status == DECODE_MORE)
			break;
		d->n += r.n;
		d->insns++;
		d->len += r.len;
		d->branch = r.branch;
		if (r.end)
			return true;
		if (r.barrier || (d->hot && r.writes))
			break;
	}
	if (!d->insns)
		return false;
	add_end(d);
	return true;
}

/* NULL: out of memory, or @d is outdated. */
static struct block *install(struct x86_cpu *cpu, gpa_t gpa, unsigned int mode, struct draft *d,
			     const uint8_t *bytes, bool cross, gfn_t gfn2)
{
	struct code_cache *cc = cpu->code;
	size_t size = sizeof(struct block) + d->n * sizeof(struct insn) + d->len;
	struct block *b = malloc(size), **slot;
	struct unheld unheld;
	struct code_page *page, *page2 = NULL;

	if (!b)
		return NULL;
	*b = (struct block){ .epoch = EPOCH_STALE, .gpa = gpa, .mode = mode, .cross = cross, .branch = d->branch,
			     .len = d->len, .count = d->insns, .gfn2 = gfn2 };
	copy_bytes(b->insn, d->insn, d->n * sizeof(struct insn));
	b->bytes = (uint8_t *)&b->insn[d->n];
	copy_bytes(b->bytes, bytes, d->len);

	host_lock(&cc->lock);
	cc->bytes += size;
	if (cc->bytes > CODE_BUDGET) {
		code_drop_all_locked(cc);
		cc->bytes = size;
	}
	page = page_get(cpu, gpa_to_gfn(gpa));
	if (cross)
		page2 = page_get(cpu, gfn2);
	d->outdated = page && ((page->hot && !d->hot) || d->stub_gen != cc->stub_gen);
	if (!page || (cross && !page2) || d->outdated) {
		cc->bytes -= size;
		host_unlock(&cc->lock);
		free(b);
		return NULL;
	}
	b->page = page;
	b->page_next = page->blocks;
	page->blocks = b;
	if (cross) {
		b->page2_next = page2->tails;
		page2->tails = b;
	}
	slot = &cc->hash[block_slot(gpa, mode)];
	b->hash_next = *slot;
	__atomic_store_n(slot, b, __ATOMIC_RELEASE);
	cc->stats.decoded++;
	/* The last vCPU that held dying blocks may have left without a word, for good. */
	unheld = take_unheld(cc);
	host_unlock(&cc->lock);
	free_unheld(unheld);
	return b;
}

struct block *code_build(struct x86_cpu *cpu, gpa_t gpa, const uint8_t *host_page, unsigned int mode, bool *crosses)
{
	unsigned int off = gpa & ~GUEST_PAGE_MASK;
	unsigned int avail = GUEST_PAGE_SIZE - off;
	uint8_t bytes[BLOCK_MAX_INSNS * 15];
	struct block *b;
	struct draft d;

	*crosses = false;
	if (avail > sizeof(bytes))
		avail = sizeof(bytes);
	do {
		d.hot = page_hot(cpu->code, gpa_to_gfn(gpa));
		copy_bytes(bytes, host_page + off, avail);
		if (!draft_block(cpu, bytes, avail, mode, &d)) {
			*crosses = !d.no_memory;
			return NULL;
		}
		b = install(cpu, gpa, mode, &d, bytes, false, 0);
	} while (!b && d.outdated);
	return b;
}

struct block *code_build_cross(struct x86_cpu *cpu, gpa_t gpa, const uint8_t *host_page, gfn_t gfn2,
			       const uint8_t *host2, unsigned int mode)
{
	unsigned int off = gpa & ~GUEST_PAGE_MASK;
	unsigned int first = GUEST_PAGE_SIZE - off;
	struct draft d = { .hot = true };       /* one instruction: its page does not matter */
	uint8_t bytes[15];
	struct block *b;

	if (first > 14)
		return NULL;
	copy_bytes(bytes, host_page + off, first);
	copy_bytes(bytes + first, host2, 15 - first);
	do {
		if (!draft_block(cpu, bytes, sizeof(bytes), mode | MODE_SINGLE, &d))
			return NULL;
		b = install(cpu, gpa, mode, &d, bytes, true, gfn2);
	} while (!b && d.outdated);
	return b;
}
