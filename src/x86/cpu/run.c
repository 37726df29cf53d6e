/* SPDX-License-Identifier: MIT */
/*
 * The run loop.
 *
 *	x86_cpu_run
 *	  finish the instruction whose device access the client has answered
 *	  loop: boundary (requests, kicks, events) -> find block -> run block
 *
 * Everything that leaves an instruction in its middle comes back through
 * cpu->guard.jump to resume(), which puts RIP right, delivers exceptions, and
 * goes on with the loop or returns to the client.
 */
#include <signal.h>

#include "x86/cpu/code.h"
#include "x86/cpu/count.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/exception.h"
#include "x86/cpu/lbr.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/mmu/mmu.h"

#define SLICE_UNITS 8192                /* some 200 us; see x86_charge() */
#define RECHECK_SLICES 16               /* how long a client's unannounced write to code may stay unseen */
#define JUMP_ADDRESS ((1ULL << 57) - 1)

/* ------------------------------------------------------------------ finding the next block */

static ALWAYS_INLINE gva_t code_linear(const struct x86_cpu *cpu)
{
	if (likely(cpu->mode == CODE64))
		return cpu->regs[R_RIP];
	return (uint32_t)(cpu->regs[R_SEGBASE + SEG_CS] + cpu->regs[R_RIP]);
}

static ALWAYS_INLINE uint64_t jump_key(const struct x86_cpu *cpu, gva_t lin)
{
	return (lin & JUMP_ADDRESS) | cpu->ctx->jump_key | (uint64_t)cpu->mode << 62;
}

/* The first of the JUMP_WAYS entries that @lin may be in; it is in one of them at most. */
static ALWAYS_INLINE struct jump_entry *jump_set(const struct x86_cpu *cpu, gva_t lin)
{
	return &cpu->ctx->jump[(lin ^ lin >> 12) % (JUMP_SIZE / JUMP_WAYS) * JUMP_WAYS];
}

static __attribute__((noreturn)) void out_of_memory(struct x86_cpu *cpu)
{
	x86_leave(cpu, X86_LEAVE_NO_MEMORY);
}

static void fetch_page(struct x86_cpu *cpu, gva_t lin, uint8_t **hva, gfn_t *gfn)
{
	struct mmu_result r;

	switch (mmu_fetch(cpu, lin, hva, gfn, &r)) {
	case MMU_OK:
		return;
	case MMU_FAULT:
		x86_raise_pf(cpu, lin, r.error_code);
	case MMU_MMIO:
		x86_internal(cpu, "instruction fetch outside memory slots");
	case MMU_SLAT:          /* mmu_fetch() has left */
		break;
	}
}

static void check_fetch_address(struct x86_cpu *cpu, gva_t lin)
{
	if (cpu->mode == CODE64) {
		if (!gva_canonical(cpu, lin))
			x86_raise_ec(cpu, X86_GP, 0);
	} else if (cpu->regs[R_RIP] > cpu->seg[SEG_CS].limit) {
		x86_raise_ec(cpu, X86_GP, 0);
	}
}

static struct block *make_block(struct x86_cpu *cpu, gva_t lin, gpa_t gpa, uint8_t *host, unsigned int mode)
{
	struct block *b;
	uint8_t *host2;
	bool crosses;
	gfn_t gfn2;

	x86_vec_put(cpu);
	b = code_build(cpu, gpa, host, mode, &crosses);
	if (b) {
		x86_charge(cpu, 16u * b->count);
		return b;
	}
	if (!crosses)
		out_of_memory(cpu);
	fetch_page(cpu, (lin | ~GUEST_PAGE_MASK) + 1, &host2, &gfn2);
	b = code_build_cross(cpu, gpa, host, gfn2, host2, mode);
	if (!b)
		out_of_memory(cpu);
	x86_charge(cpu, 16);
	return b;
}

/*
 * The block at @lin, its bytes compared with memory.  May raise what fetching
 * raises.  @hint: a block that was found at @lin before and may be dead, or NULL.
 */
static struct block *find_checked(struct x86_cpu *cpu, gva_t lin, unsigned int mode, struct block *hint)
{
	uint64_t epoch = atomic_load_explicit(&cpu->code->epoch, memory_order_relaxed);
	uint8_t *host, *host2 = NULL;
	struct block *b = hint;
	gfn_t gfn, gfn2;
	gpa_t gpa;

	if (unlikely(cpu->smm))
		mode |= MODE_SMM;
	cpu->cur = &x86_no_insn;
	cpu->running = NULL;
	check_fetch_address(cpu, lin);
	fetch_page(cpu, lin, &host, &gfn);
	gpa = gfn_to_gpa(gfn) | (lin & ~GUEST_PAGE_MASK);
	if (!b || b->dead || b->gpa != gpa || b->mode != mode)
		b = code_find(cpu->code, gpa, mode);
	if (b && b->cross) {
		fetch_page(cpu, (lin | ~GUEST_PAGE_MASK) + 1, &host2, &gfn2);
		if (gfn2 != b->gfn2) {
			code_kill(cpu->code, b);
			b = NULL;
		}
	}
	if (b) {
		cpu->blocks_compared++;
		if (!code_same(b, host, host2)) {
			code_kill(cpu->code, b);
			b = NULL;
		} else if (unlikely(b->page->hot) && code_unchanged(cpu->code, b->page)) {
			b = NULL;
		}
	}
	if (!b)
		b = make_block(cpu, lin, gpa, host, mode);
	/* With paging off there is no moment at which a mapping is made: compare each time. */
	if (!b->cross && !b->page->hot && (cpu->cr0 & CR0_PG) &&
	    atomic_load_explicit(&b->epoch, memory_order_relaxed) != epoch)
		b->epoch = epoch;       /* only then: the line is the other vCPUs' too */
	return b;
}

/* The entry that was @key's before the last flush or still is; else the first, after what was there has moved on. */
static struct jump_entry *jump_choose(struct jump_entry *set, uint64_t key)
{
	for (unsigned int i = 0; i < JUMP_WAYS; i++)
		if (!((set[i].key ^ key) & ~JUMP_GEN_MASK))
			return &set[i];
	for (unsigned int i = JUMP_WAYS - 1; i; i--)
		set[i] = set[i - 1];
	set[0] = (struct jump_entry){ .key = ~0ULL };
	return &set[0];
}

/* What was at this address before the last flush is often there after it: it spares the search, but not the look. */
static struct block *jump_hint(const struct x86_cpu *cpu, const struct jump_entry *e, uint64_t key)
{
	if ((e->key ^ key) & ~JUMP_GEN_MASK)
		return NULL;
	return (e->key & JUMP_GEN_MASK) >= cpu->ctx->jump_floor ? e->block : NULL;
}

static struct block *find_slow(struct x86_cpu *cpu, gva_t lin)
{
	uint64_t key = jump_key(cpu, lin);
	struct jump_entry *e = jump_choose(jump_set(cpu, lin), key);
	struct block *b = find_checked(cpu, lin, cpu->mode, jump_hint(cpu, e, key));

	e->key = key;
	e->block = b;
	mmu_note_jump(cpu->ctx, lin);
	return b;
}

static ALWAYS_INLINE struct block *find(struct x86_cpu *cpu)
{
	gva_t lin = code_linear(cpu);
	const struct jump_entry *e = jump_set(cpu, lin);
	uint64_t key = jump_key(cpu, lin);

	for (unsigned int i = 0; i < JUMP_WAYS; i++) {
		struct block *b = e[i].block;

		if (e[i].key == key && likely(b->epoch == atomic_load_explicit(&cpu->code->epoch, memory_order_relaxed)))
			return b;
	}
	return find_slow(cpu, lin);
}

/* ------------------------------------------------------------------ running */

/* Outside 64-bit mode every byte of an instruction must lie within CS; SDM 3A, 5.3. */
static ALWAYS_INLINE bool fits_cs(const struct x86_cpu *cpu, const struct block *b)
{
	return likely(cpu->mode == CODE64) || cpu->regs[R_RIP] + b->len - 1 <= cpu->seg[SEG_CS].limit;
}

static ALWAYS_INLINE void run_block(struct x86_cpu *cpu, struct block *b)
{
	cpu->running = b;
	cpu->insns += b->count;
	x86_charge(cpu, b->count / 4u);
	b->insn[0].fn(cpu, b->insn);
}

/* ------------------------------------------------------------------ counting */

static void count_insns(struct x86_cpu *cpu)
{
	struct x86_counting *c = &cpu->count;
	uint64_t n = cpu->insns - c->insns_seen;

	c->insns_seen = cpu->insns;
	c->total[X86_COUNT_INSNS][c->user] += n;
	/* A counter may count at one of the levels alone: then it is asked sooner than it must. */
	c->left[0] -= (int64_t)n;
	c->left[1] -= (int64_t)n;
	if (c->on && c->left[c->user] <= 0)
		x86_request(cpu, X86_REQ_PMU);
}

static void count_work(struct x86_cpu *cpu)
{
	struct x86_counting *c = &cpu->count;
	uint64_t now;

	if (!c->timed || !c->entered)
		return;
	x86_vec_put(cpu);
	now = cpu->env->work_ns(cpu);
	c->total[X86_COUNT_WORK][c->user] += now - c->work_seen;
	c->work_seen = now;
}

/* Before code at this CPL runs.  Returns the address behind @b, which will run. */
static uint64_t count_begin(struct x86_cpu *cpu, const struct block *b)
{
	if (cpu->count.user != (cpu->cpl != 0)) {
		count_insns(cpu);
		count_work(cpu);
		cpu->count.user = cpu->cpl != 0;
	}
	return cpu->regs[R_RIP] + b->len;
}

/* @b has run to its end; @next: the address behind it. */
static void count_end(struct x86_cpu *cpu, const struct block *b, uint64_t next)
{
	struct x86_counting *c = &cpu->count;
	unsigned int slot = (next ^ next >> 8) % X86_TARGETS;
	uint64_t target = cpu->regs[R_RIP];

	count_insns(cpu);
	if (!b->branch)
		return;
	c->total[X86_COUNT_BRANCHES][c->user]++;
	if (target == (c->target[slot].next == next ? c->target[slot].target : next))
		return;
	c->total[X86_COUNT_MISSES][c->user]++;
	c->target[slot].next = next;
	c->target[slot].target = target;
}

void x86_count_set(struct x86_cpu *cpu, bool on, bool timed, const int64_t left[2])
{
	struct x86_counting *c = &cpu->count;

	c->left[0] = left[0];
	c->left[1] = left[1];
	if (timed && !c->timed && c->entered)
		c->work_seen = cpu->env->work_ns(cpu);
	c->timed = timed;
	c->user = cpu->cpl != 0;
	if (on == c->on)
		return;
	c->on = on;
	if (on)
		x86_request(cpu, X86_REQ_COUNT);
	else if (!cpu->lbr.on)
		atomic_fetch_and_explicit(&cpu->requests, ~(uint32_t)X86_REQ_COUNT, memory_order_relaxed);
}

void x86_count_forget(struct x86_cpu *cpu)
{
	for (unsigned int i = 0; i < X86_TARGETS; i++)
		cpu->count.target[i].next = 0;
}

/* The same, and what is recorded. */
static uint64_t watch_begin(struct x86_cpu *cpu, const struct block *b)
{
	if (unlikely(cpu->lbr.on))
		x86_lbr_begin(cpu, b);
	return count_begin(cpu, b);
}

static void watch_end(struct x86_cpu *cpu, const struct block *b, uint64_t next)
{
	if (unlikely(cpu->count.on))
		count_end(cpu, b, next);
	if (unlikely(cpu->lbr.on))
		x86_lbr_end(cpu);
}

/* One instruction: has it branched?  It may overwrite itself, so it counts as no running block. */
static bool run_single(struct x86_cpu *cpu)
{
	struct block *b = find_checked(cpu, code_linear(cpu), cpu->mode | MODE_SINGLE, NULL);
	uint64_t next = watch_begin(cpu, b);

	cpu->running = NULL;
	if (unlikely(!fits_cs(cpu, b)))
		x86_raise_ec(cpu, X86_GP, 0);
	cpu->insns++;
	b->insn[0].fn(cpu, b->insn);
	watch_end(cpu, b, next);
	return b->branch && (b->branch == BRANCH_ALWAYS || cpu->regs[R_RIP] != next);
}

static void step_unchecked(struct x86_cpu *cpu)
{
	bool tf = cpu->rflags & FL_TF, branches = x86_steps_branches(cpu);
	uint8_t shadow = cpu->shadow;
	bool branched;

	x86_charge(cpu, 4);
	branched = run_single(cpu);
	cpu->cur = &x86_no_insn;
	if (cpu->shadow == shadow)
		cpu->shadow = 0;
	x86_replay_done(cpu);
	x86_debug_after_insn(cpu, tf && (branched || !branches));
}

/* The instruction runs again, alone, with what devices have answered. */
static void replay_insn(struct x86_cpu *cpu)
{
	cpu->replay.next = 0;
	step_unchecked(cpu);
}

static void step(struct x86_cpu *cpu)
{
	cpu->cur = &x86_no_insn;
	x86_debug_check_insn(cpu);
	step_unchecked(cpu);
}

/* ------------------------------------------------------------------ block boundaries */

static bool take_request(struct x86_cpu *cpu, uint32_t bit)
{
	if (!(atomic_load_explicit(&cpu->requests, memory_order_relaxed) & bit))
		return false;
	atomic_fetch_and_explicit(&cpu->requests, ~bit, memory_order_acquire);
	return true;
}

static int check_kick(struct x86_cpu *cpu)
{
	take_request(cpu, X86_REQ_KICK);
	if (*cpu->immediate_exit)
		return X86_RUN_INTR;
	if (++cpu->slices % RECHECK_SLICES == 0)
		code_cache_touched(cpu->code);
	x86_vec_put(cpu);
	return cpu->env->slice ? cpu->env->slice(cpu) : 0;
}

static void serve_flushes(struct x86_cpu *cpu)
{
	if (unlikely(take_request(cpu, X86_REQ_TLB_FLUSH)))
		mmu_flush_all(cpu);
	if (unlikely(take_request(cpu, X86_REQ_SLAT_FLUSH)))
		mmu_serve_flush_slat(cpu);
}

/*
 * From here on guest memory may be touched, unless somebody has the bus.  Who wanted a flush has not waited for a vCPU
 * outside: there must be no old translation in the first access.
 */
static void enter(struct x86_cpu *cpu)
{
	atomic_store(&cpu->in_guest, true);
	x86_bus_wait(cpu);
	serve_flushes(cpu);
}

static void serve_engine(struct x86_cpu *cpu)
{
	x86_bus_wait(cpu);
	serve_flushes(cpu);
	/* Writes until now may have hit code decoded meanwhile. */
	code_changes_settle(cpu);
	if (take_request(cpu, X86_REQ_DROP_CODE)) {
		x86_vec_put(cpu);
		mmu_forget_blocks(cpu);
		code_quiesce(cpu->code, cpu);
	}
}

/* Requests, until there are none but stepping.  0, or what x86_cpu_run() returns. */
static int boundary(struct x86_cpu *cpu)
{
	uint32_t mine = X86_REQ_STEP | X86_REQ_KICK | X86_REQ_COUNT;
	uint32_t req;
	int r;

	cpu->cur = &x86_no_insn;
	cpu->running = NULL;
	if (cpu->slice <= 0 || *cpu->immediate_exit ||
	    (atomic_load_explicit(&cpu->requests, memory_order_relaxed) & X86_REQ_KICK)) {
		cpu->slice = SLICE_UNITS;
		r = check_kick(cpu);
		if (r)
			return r;
	}
	serve_engine(cpu);
	req = atomic_load_explicit(&cpu->requests, memory_order_acquire);
	if (req & ~mine) {
		x86_vec_put(cpu);
		atomic_store(&cpu->in_guest, false);
		r = cpu->env->service(cpu);
		enter(cpu);
		if (r)
			return r;
		/* Blocks that died while we counted as outside may be gone already: see code_quiesce(). */
		serve_engine(cpu);
	}
	return 0;
}

/* Must the next instruction run alone?  Clears what no longer asks for it. */
static bool must_step(struct x86_cpu *cpu)
{
	uint32_t req = atomic_load_explicit(&cpu->requests, memory_order_relaxed);

	if (!(req & X86_REQ_STEP))
		return false;
	if (x86_debug_wants_step(cpu) || cpu->nested.monitor_trap)
		return true;
	/* An interrupt waits for the shadow's end: at the next boundary but one. */
	if (cpu->shadow && (req & X86_REQ_EVENT))
		return true;
	/* VM entry and VM exit look at it.  cr4_fixed: VMX operation. */
	if (unlikely(cpu->nested.cr4_fixed) &&
	    (cpu->shadow & (cpu->nested.in_guest ? SHADOW_STI | SHADOW_MOV_SS : SHADOW_MOV_SS)))
		return true;
	cpu->shadow = 0;
	take_request(cpu, X86_REQ_STEP);
	return x86_debug_wants_step(cpu);
}

/* A block while something is counted or recorded: one instruction alone where the next overflow is near. */
static void run_watched(struct x86_cpu *cpu)
{
	struct block *b;
	uint64_t next;

	if (cpu->count.on && cpu->count.left[cpu->cpl != 0] < BLOCK_MAX_INSNS) {
		step(cpu);
		return;
	}
	b = find(cpu);
	if (unlikely(!fits_cs(cpu, b))) {
		step(cpu);
		return;
	}
	next = watch_begin(cpu, b);
	run_block(cpu, b);
	watch_end(cpu, b, next);
}

static int dispatch(struct x86_cpu *cpu)
{
	for (;;) {
		uint32_t req = atomic_load_explicit(&cpu->requests, memory_order_relaxed);
		/* Counted on every turn: a request that stays (stepping) must not keep signals from being seen. */
		bool expired = --cpu->slice <= 0;
		struct block *b;

		if (unlikely(req | *cpu->immediate_exit | expired)) {
			int r = boundary(cpu);

			if (r)
				return r;
			if (must_step(cpu)) {
				step(cpu);
				continue;
			}
			if (cpu->count.on | cpu->lbr.on) {
				run_watched(cpu);
				continue;
			}
			/* Requests that came in between are for the next boundary. */
		}
		b = find(cpu);
		if (unlikely(!fits_cs(cpu, b)))
			step(cpu);
		else
			run_block(cpu, b);
	}
}

/* ------------------------------------------------------------------ leaving an instruction */

/* Instructions of the running block that were counted and not executed. */
static unsigned int unexecuted(const struct x86_cpu *cpu)
{
	const struct block *b = cpu->running;
	unsigned int done = 0;

	if (!b)
		return cpu->cur == &x86_no_insn ? 0 : 1;
	if (cpu->cur < b->insn || (const uint8_t *)cpu->cur >= b->bytes)
		return 0;
	for (const struct insn *i = b->insn; i != cpu->cur; i++)
		done += i->len != 0;
	return b->count - done;
}

void x86_count_now(struct x86_cpu *cpu)
{
	uint64_t ahead = cpu->count.entered ? unexecuted(cpu) : 0;

	cpu->insns -= ahead;
	count_insns(cpu);
	cpu->insns += ahead;
	count_work(cpu);
}

/* An instruction was left by a jump: what of its block has run, before anything else does. */
static void count_left(struct x86_cpu *cpu, const struct block *b, bool whole)
{
	count_insns(cpu);
	if (b && whole && b->branch)
		cpu->count.total[X86_COUNT_BRANCHES][cpu->count.user]++;
}

/* An exception of L2's may be L1's to hear of: then this does not return. */
static void ask_l1(struct x86_cpu *cpu)
{
	if (likely(!cpu->nested.in_guest))
		return;
	x86_vec_put(cpu);
	cpu->nested.ops->exception(cpu, &cpu->exc);
}

static int shut_down(struct x86_cpu *cpu)
{
	if (cpu->nested.in_guest) {
		x86_vec_put(cpu);
		cpu->nested.ops->triple_fault(cpu);
	}
	return X86_RUN_SHUTDOWN;
}

static int deliver(struct x86_cpu *cpu)
{
	x86_charge(cpu, 8);
	ask_l1(cpu);
	if (cpu->env->exception) {
		x86_vec_put(cpu);
		if (cpu->env->exception(cpu, &cpu->exc)) {
			cpu->iret_unblocks = false;
			return X86_RUN_EXIT;
		}
	}
	if (cpu->is_delivering) {
		if (!x86_merge_exception(cpu))
			return shut_down(cpu);
		if (cpu->exc.vector == X86_DF)
			ask_l1(cpu);
	} else if ((cpu->exc.vector == X86_DB || cpu->exc.vector == X86_BP) && cpu->env->guest_debug) {
		x86_vec_put(cpu);
		if (cpu->env->guest_debug(cpu, &cpu->exc))
			return X86_RUN_EXIT;
	}
	x86_iret_unblocks(cpu);
	x86_deliver_exception(cpu, &cpu->exc);
	return 0;
}

static bool in_slot(const struct x86_cpu *cpu, uintptr_t addr)
{
	const struct memslot *s;
	unsigned int n, i;

	memslots_for_each(s, n, i, cpu->slots)
		if (addr - (uintptr_t)s->hva < s->npages << GUEST_PAGE_SHIFT)
			return true;
	return false;
}

/* SI_KERNEL without an address: #GP of the host, in a stub whose operand the guest's rules forbid. */
static int host_fault(struct x86_cpu *cpu, enum vec_class c)
{
	if (cpu->guard.kind == HOST_FAULT_FPE)
		x86_vec_fault(cpu, c);
	if (cpu->guard.code == SI_KERNEL && code_stub_owns(cpu->code, cpu->guard.ip))
		x86_raise_ec(cpu, X86_GP, 0);
	if (in_slot(cpu, cpu->guard.addr))
		return X86_RUN_HOST_FAULT;
	cpu->internal.ours = true;
	cpu->internal.what = "host fault outside guest memory";
	return X86_RUN_INTERNAL;
}

static void note_internal(struct x86_cpu *cpu)
{
	const struct block *b = cpu->running;
	const struct insn *i = cpu->cur;

	cpu->internal.len = 0;
	if (!b)
		return;
	for (unsigned int n = 0; n < i->len && n < sizeof(cpu->internal.bytes); n++)
		cpu->internal.bytes[cpu->internal.len++] = b->bytes[i->off + n];
}

/* After a jump out of an instruction.  0: go on running; else what x86_cpu_run() returns. */
static int resume(struct x86_cpu *cpu, int how)
{
	enum vec_class c = cpu->cur->src2;
	uint64_t insns = cpu->insns;
	bool restart = false, replay = false;
	int r = 0;

	x86_bus_unlock(cpu);
	/* An exception of the stub's own: what it recorded stays. */
	if (how == HOST_FAULT_FPE)
		cpu->vec->undo_valid = false;
	vec_undo(cpu);
	/* What the instruction had asked devices for counts only where it is replayed. */
	cpu->replay.done = 0;
	enter(cpu);
	if (how == X86_LEAVE_INTERNAL)
		note_internal(cpu);
	if (how != X86_LEAVE_BREAK && !(how == X86_LEAVE_EXCEPTION && cpu->exc.trap)) {
		cpu->insns -= unexecuted(cpu);
		cpu->regs[R_RIP] += cpu->cur->off;
	} else if (unexecuted(cpu)) {
		cpu->insns -= unexecuted(cpu) - 1;
	}
	if (unlikely(cpu->count.on))
		count_left(cpu, cpu->running, cpu->insns == insns);
	if (unlikely(cpu->lbr.on) && how == X86_LEAVE_BREAK)
		x86_lbr_end(cpu);
	cpu->running = NULL;
	cpu->cur = &x86_no_insn;
	/* An IRET that has to run again has not begun. */
	if (how != X86_LEAVE_EXCEPTION && how != X86_LEAVE_VMEXIT)
		cpu->iret_unblocks = false;
	switch (how) {
	case X86_LEAVE_EXCEPTION:
		x86_replay_done(cpu);
		r = deliver(cpu);
		break;
	case X86_LEAVE_EXIT:
		return X86_RUN_EXIT;
	case X86_LEAVE_RESTART:
		restart = true;
		break;
	case X86_LEAVE_REPLAY:
		replay = true;
		break;
	case X86_LEAVE_RETRY:
	case X86_LEAVE_BREAK:
		x86_replay_done(cpu);
		break;
	case X86_LEAVE_VMEXIT:
		x86_replay_done(cpu);
		x86_vec_put(cpu);
		x86_charge(cpu, 32);
		cpu->nested.ops->vmexit(cpu);
		cpu->iret_unblocks = false;
		break;
	case X86_LEAVE_SHUTDOWN:
		return shut_down(cpu);
	case X86_LEAVE_NO_MEMORY:
		return X86_RUN_NO_MEMORY;
	case X86_LEAVE_INTERNAL:
		return X86_RUN_INTERNAL;
	default:
		return host_fault(cpu, c);
	}
	if (restart)
		run_single(cpu);
	if (replay)
		replay_insn(cpu);
	return r;
}

static int run(struct x86_cpu *cpu)
{
	int how = host_jump_set(&cpu->guard.jump);

	cpu->in_run = true;
	if (how) {
		int r;

		/* The way out may have led through others. */
		host_guard_unwind(&cpu->guard);
		r = resume(cpu, how);

		if (r)
			return r;
	} else if (cpu->is_delivering) {
		/* A device, or memory that was gone, stood in the way of an event's frame: from its start. */
		cpu->replay.next = 0;
		x86_deliver_again(cpu);
	} else if (cpu->replay.count) {
		/* The client answered a device access: before any event. */
		replay_insn(cpu);
	}
	return dispatch(cpu);
}

enum x86_run_result x86_cpu_run(struct x86_cpu *cpu)
{
	int r;

	cpu->internal.ours = false;
	host_guard_arm(&cpu->guard);
	enter(cpu);
	cpu->slice = SLICE_UNITS;
	cpu->running = NULL;
	cpu->cur = &x86_no_insn;
	cpu->count.entered = true;
	if (cpu->count.timed)
		cpu->count.work_seen = cpu->env->work_ns(cpu);
	code_cache_touched(cpu->code);
	x86_update_mode(cpu);
	r = run(cpu);
	x86_vec_put(cpu);
	count_work(cpu);
	cpu->count.entered = false;
	/* Nobody asks one that is outside what it has written. */
	code_changes_settle(cpu);
	atomic_store(&cpu->in_guest, false);
	cpu->in_run = false;
	host_guard_disarm(&cpu->guard);
	return r;
}
