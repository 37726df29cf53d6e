// SPDX-License-Identifier: MIT
/*
 * Asynchronous page faults.  Where the host has no page at hand behind an access
 * of the guest, which has been swapped out, or has not been read from its file,
 * or is for a client to bring (userfaultfd), the guest is told so by a #PF with a
 * token in CR2, and runs something else; a thread of the VM's pool touches the
 * page, and when it is there an interrupt tells the guest the token again.
 *
 * Who knows that a page is slow.  KVM looks it up in the kernel without waiting;
 * for a process there is no such look.  So three things, in this order:
 *
 * 1. What has been found present in the last moments is so still (mmu/watch.c).
 *    A look is a system call, and a fill of the software TLB a tenth of one.
 * 2. /proc/self/pagemap.  Present is present, but for a write to a page that
 *    userfaultfd protects.  mincore() would not do: it takes a hole that costs
 *    nothing to fill, a page swapped out and one that a client has to bring for
 *    the same, and knows of no write protection.
 * 3. For the rest nothing tells a hole of zeroes from a page that userfaultfd
 *    guards, or that lies in a file.  A thread of the pool touches it; if that
 *    takes longer than the two events would cost the guest, it is slow.  Holes
 *    come in rows: where touching one was quick, the next few nearby are touched
 *    directly, twice as many each time.
 *
 * A page that is in the software TLB and is taken away then is not noticed: there
 * is no notifier.  The vCPU waits for it as it does without all this.
 *
 * Threads.  The owner makes works, links them in `all` and frees them.  One that
 * the owner has given up (`orphan`) belongs to the thread that touches the page.
 * `state` and the list of those done are under the lock.
 */
#include "x86/pv/async_pf.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "host/clock.h"
#include "kvm/trace.h"
#include "x86/cpu/exception.h"
#include "x86/irq/apic_bus.h"
#include "x86/state/state.h"
#include "x86/state/stats.h"

#define EN_ENABLED (1u << 0)
#define EN_SEND_ALWAYS (1u << 1)
#define EN_AS_PF_VMEXIT (1u << 2)
#define EN_AS_INT (1u << 3)
#define EN_RESERVED 0x30u
#define EN_FLAGS 0x3fu

#define REASON_NOT_PRESENT 1u
#define TOKEN_ALL (~0u)
#define PER_VCPU 64             /* pages under way; as KVM */

#define QUICK_NS 200000

/* Documentation/admin-guide/mm/pagemap.rst */
#define PM_PRESENT (1ULL << 63)
#define PM_SWAPPED (1ULL << 62)
#define PM_UFFD_WP (1ULL << 57)

#define REGION_SHIFT 21
#define CREDIT_MAX 64

struct area {
	uint32_t flags, token;
	uint8_t pad[56];
};
_Static_assert(sizeof(struct area) == 64, "the guest's layout");

enum work_state { WORK_TRIED, WORK_UNDER_WAY, WORK_DONE, WORK_ORPHAN };

struct x86_async_pf_work {
	struct host_job job;
	struct x86_vcpu *v;
	struct x86_async_pf_work *next, *next_done;
	enum work_state state;
	uint8_t *hva;
	gpa_t gpa;
	uint32_t token;
	bool write, wakeup_all;
	bool told;              /* the guest waits for the token */
};

/* --- the page itself -------------------------------------------------------------------- */

static __attribute__((noinline)) void touch(uint8_t *hva, bool write)
{
	struct host_guard guard;

	host_guard_arm(&guard);
	if (!host_jump_set(&guard.jump)) {
		/* A page that is gone, or may not be written: the vCPU will find out by itself. */
		if (write)
			__asm__ volatile("lock orb $0, %0" : "+m"(*hva) : : "memory", "cc");
		else
			(void)*(volatile uint8_t *)hva;
	}
	host_guard_disarm(&guard);
}

enum residency { PAGE_THERE, PAGE_SLOW, PAGE_UNKNOWN };

static enum residency look(const struct x86_vm *x, const uint8_t *hva, bool write, bool *protected)
{
	uint64_t entry = 0;

	*protected = false;
	if (x->pagemap_fd < 0 || pread(x->pagemap_fd, &entry, sizeof(entry),
				       (off_t)((uintptr_t)hva >> GUEST_PAGE_SHIFT) * 8) != sizeof(entry))
		return PAGE_UNKNOWN;
	*protected = write && (entry & PM_UFFD_WP);
	if (entry & PM_PRESENT)
		return *protected ? PAGE_SLOW : PAGE_THERE;
	return entry & PM_SWAPPED ? PAGE_SLOW : PAGE_UNKNOWN;
}

static struct x86_async_pf_credit *credit_of(struct x86_vcpu *v, const uint8_t *hva)
{
	uintptr_t region = (uintptr_t)hva >> REGION_SHIFT;
	struct x86_async_pf_credit *c = &v->apf.credit[region % X86_ASYNC_PF_CREDITS];

	if (c->region != region)
		*c = (struct x86_async_pf_credit){ .region = region };
	return c;
}

static bool spend(struct x86_async_pf_credit *c)
{
	if (!c->left)
		return false;
	c->left--;
	return true;
}

static void earn(struct x86_async_pf_credit *c)
{
	c->step = c->step ? c->step * 2 : 1;
	if (c->step > CREDIT_MAX)
		c->step = CREDIT_MAX;
	c->left = c->step;
}

/* --- works ---------------------------------------------------------------------------------- */

/* The lock is held. */
static void put_done(struct x86_async_pf_work *w)
{
	struct x86_vcpu *v = w->v;

	w->state = WORK_DONE;
	w->next_done = NULL;
	*v->apf.last_done = w;
	v->apf.last_done = &w->next_done;
	atomic_store(&v->apf.any_done, true);
}

/* On a thread of the pool. */
static void fetch(struct host_job *job)
{
	struct x86_async_pf_work *w = container_of(job, struct x86_async_pf_work, job);
	struct x86_vcpu *v = w->v;
	enum work_state was;

	pthread_mutex_lock(&v->apf.lock);
	was = w->state;
	pthread_mutex_unlock(&v->apf.lock);
	if (was != WORK_ORPHAN)
		touch(w->hva, w->write);
	pthread_mutex_lock(&v->apf.lock);
	was = w->state;
	if (was == WORK_UNDER_WAY) {
		put_done(w);
		if (unlikely(v->vm->traced))
			kvm_trace("kvm_async_pf_completed", "gva %#llx address %#lx", (unsigned long long)w->gpa,
				  (unsigned long)(uintptr_t)w->hva);
		x86_vcpu_poke(v, X86_REQ_ASYNC_PF);
	} else if (was == WORK_TRIED) {
		w->state = WORK_DONE;
		pthread_cond_signal(&v->apf.quick);
	}
	pthread_mutex_unlock(&v->apf.lock);
	if (was == WORK_ORPHAN)
		free(w);
}

static struct x86_async_pf_work *start(struct x86_vcpu *v, uint8_t *hva, gpa_t gpa, bool write)
{
	struct x86_async_pf_work *w;

	if (v->apf.queued >= PER_VCPU)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	*w = (struct x86_async_pf_work){
		.job.fn = fetch, .v = v, .state = WORK_TRIED, .hva = hva, .gpa = gpa, .write = write,
	};
	if (host_pool_add(&v->vm->pages, &w->job)) {
		free(w);
		return NULL;
	}
	return w;
}

/* Waits for @w no longer than the guest would need for its two events.  False: it goes on, and is one of ours now. */
static bool was_quick(struct x86_vcpu *v, struct x86_async_pf_work *w)
{
	uint64_t end = host_now_ns() + QUICK_NS;
	struct timespec ts = { .tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000) };
	bool done;
	int r = 0;

	pthread_mutex_lock(&v->apf.lock);
	while (w->state == WORK_TRIED && !r)
		r = pthread_cond_timedwait(&v->apf.quick, &v->apf.lock, &ts);
	done = w->state == WORK_DONE;
	if (!done)
		w->state = WORK_UNDER_WAY;
	pthread_mutex_unlock(&v->apf.lock);
	return done;
}

static void adopt(struct x86_vcpu *v, struct x86_async_pf_work *w)
{
	w->next = v->apf.all;
	v->apf.all = w;
	v->apf.queued++;
}

static bool under_way(const struct x86_vcpu *v, const uint8_t *hva)
{
	for (const struct x86_async_pf_work *w = v->apf.all; w; w = w->next)
		if (w->hva == hva && !w->wakeup_all)
			return true;
	return false;
}

static void release(struct x86_vcpu *v, struct x86_async_pf_work *w)
{
	struct x86_async_pf_work **at = &v->apf.all;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	v->apf.queued--;
	free(w);
}

/* None is the guest's business any more. */
static void give_up(struct x86_vcpu *v)
{
	struct x86_async_pf_work *w, *next;

	pthread_mutex_lock(&v->apf.lock);
	for (w = v->apf.all; w; w = next) {
		next = w->next;
		if (w->state == WORK_DONE)
			free(w);
		else
			w->state = WORK_ORPHAN;
	}
	v->apf.done = NULL;
	v->apf.last_done = &v->apf.done;
	atomic_store(&v->apf.any_done, false);
	pthread_mutex_unlock(&v->apf.lock);
	v->apf.all = NULL;
	v->apf.queued = 0;
}

/* A token that stands for all: what the guest waits for may have been forgotten, as by a migration. */
static void wake_all(struct x86_vcpu *v)
{
	struct x86_async_pf_work *w;

	if (x86_async_pf_done(v))
		return;
	w = calloc(1, sizeof(*w));
	if (!w)
		return;
	*w = (struct x86_async_pf_work){ .v = v, .wakeup_all = true, .token = TOKEN_ALL };
	adopt(v, w);
	pthread_mutex_lock(&v->apf.lock);
	put_done(w);
	pthread_mutex_unlock(&v->apf.lock);
	x86_request(&v->cpu, X86_REQ_ASYNC_PF);
}

/* --- "page not present" --------------------------------------------------------------------- */

static bool enabled(const struct x86_vcpu *v)
{
	uint64_t both = EN_ENABLED | EN_AS_INT;

	return (v->apf.en & both) == both;
}

static gpa_t area_of(const struct x86_vcpu *v)
{
	return v->apf.en & ~(uint64_t)EN_FLAGS;
}

static bool can_deliver(const struct x86_vcpu *v)
{
	if (!enabled(v) || (!(v->apf.en & EN_SEND_ALWAYS) && !v->cpu.cpl))
		return false;
	/* Without paging a guest need not be prepared for #PF. */
	return v->cpu.cr0 & CR0_PG;
}

/* Has the instruction in hand had an answer from a device?  Then it must not begin anew. */
static bool has_asked(const struct x86_cpu *cpu)
{
	const struct x86_replay *r = &cpu->replay;

	return r->count || (r->done && r->insn == cpu->cur && r->insns == cpu->insns);
}

/* May an event, or at least an artificial halt, take the place of the instruction in hand? */
static bool can_wait(const struct x86_vcpu *v)
{
	const struct x86_cpu *cpu = &v->cpu;

	if (!atomic_load_explicit(&cpu->in_guest, memory_order_relaxed) || cpu->smm || cpu->is_delivering)
		return false;
	if (x86_event_injected(v) || v->exception.pending || has_asked(cpu))
		return false;
	if (v->vm->hlt_in_guest && !can_deliver(v))
		return false;
	return x86_interrupt_allowed(v);
}

/* Asleep until an interrupt, or a page, comes; the instruction then runs again. */
static __attribute__((noreturn)) void halt(struct x86_vcpu *v)
{
	v->apf.halted = true;
	x86_stat_inc(v->vcpu, X86_STAT_ASYNC_PF_HALTS);
	x86_request(&v->cpu, X86_REQ_HALT);
	x86_leave(&v->cpu, X86_LEAVE_RETRY);
}

/* Never 0, and no other vCPU's: as KVM makes them. */
static uint32_t new_token(struct x86_vcpu *v)
{
	if (v->apf.id << 12 == 0)
		v->apf.id = 1;
	return v->apf.id++ << 12 | v->vcpu->id;
}

static __attribute__((noreturn)) void not_present(struct x86_vcpu *v, struct x86_async_pf_work *w)
{
	uint32_t reason = REASON_NOT_PRESENT, token = w->token;

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_async_pf_not_present", "token %#llx gva %#llx", (unsigned long long)token,
			  (unsigned long long)w->gpa);
	if (!can_deliver(v) || x86_guest_write(v, area_of(v), &reason, sizeof(reason)))
		halt(v);
	w->told = true;
	x86_stat_inc(v->vcpu, X86_STAT_ASYNC_PF_NOT_PRESENT);
	x86_raise_pf(&v->cpu, token, 0);
}

static void trace_page(const struct x86_vcpu *v, const char *event, gpa_t gpa)
{
	if (unlikely(v->vm->traced))
		kvm_trace(event, "gva = %#llx, gfn = %#llx", (unsigned long long)gpa,
			  (unsigned long long)gpa_to_gfn(gpa));
}

bool x86_async_pf_page(struct x86_cpu *cpu, uint8_t *hva, gpa_t gpa, bool write)
{
	struct x86_vcpu *v = x86_vcpu_of_cpu(cpu);
	struct x86_async_pf_credit *credit;
	struct x86_async_pf_work *w;
	enum residency found;
	bool protected;

	if (!can_wait(v))
		return false;
	found = look(v->vm, hva, write, &protected);
	if (found == PAGE_THERE)
		return true;
	if (under_way(v, hva)) {
		trace_page(v, "kvm_async_pf_repeated_fault", gpa);
		halt(v);
	}
	credit = credit_of(v, hva);
	if (found == PAGE_UNKNOWN && spend(credit))
		return true;
	/* As a read, unless it is writing that waits: the client may have put something else there by then. */
	w = start(v, hva, gpa, protected);
	if (!w)
		return false;
	trace_page(v, "kvm_try_async_get_page", gpa);
	if (was_quick(v, w)) {
		free(w);
		if (found == PAGE_UNKNOWN)
			earn(credit);
		return true;
	}
	credit->left = credit->step = 0;
	w->token = new_token(v);
	adopt(v, w);
	not_present(v, w);
}

/* --- "page ready" --------------------------------------------------------------------------- */

bool x86_async_pf_done(const struct x86_vcpu *v)
{
	return atomic_load_explicit(&v->apf.any_done, memory_order_acquire);
}

/* The guest has taken the last token out of its area, and can be interrupted. */
static bool can_tell(struct x86_vcpu *v)
{
	uint32_t token;

	if (!enabled(v))
		return true;
	if (!lapic_hw_enabled(&v->lapic) || !lapic_sw_enabled(&v->lapic))
		return false;
	return !x86_guest_read(v, area_of(v) + offsetof(struct area, token), &token, sizeof(token)) && !token;
}

static struct x86_async_pf_work *take_done(struct x86_vcpu *v)
{
	struct x86_async_pf_work *w;

	pthread_mutex_lock(&v->apf.lock);
	w = v->apf.done;
	v->apf.done = w->next_done;
	if (!v->apf.done) {
		v->apf.last_done = &v->apf.done;
		atomic_store(&v->apf.any_done, false);
	}
	pthread_mutex_unlock(&v->apf.lock);
	return w;
}

static void tell(struct x86_vcpu *v, const struct x86_async_pf_work *w)
{
	struct apic_msg msg = { .vector = (uint8_t)v->apf.vector, .delivery = APIC_FIXED, .assert = true };

	if (unlikely(v->vm->traced))
		kvm_trace("kvm_async_pf_ready", "token %#llx gva %#llx", (unsigned long long)w->token,
			  (unsigned long long)w->gpa);
	if ((w->wakeup_all || w->told) && enabled(v) &&
	    !x86_guest_write(v, area_of(v) + offsetof(struct area, token), &w->token, sizeof(w->token))) {
		x86_stat_inc(v->vcpu, X86_STAT_ASYNC_PF_READY);
		lapic_accept(&v->lapic, &msg);
	}
	v->apf.halted = false;
	atomic_store(&v->mp_state, KVM_MP_STATE_RUNNABLE);
}

void x86_async_pf_tell(struct x86_vcpu *v)
{
	while (x86_async_pf_done(v) && can_tell(v)) {
		struct x86_async_pf_work *w = take_done(v);

		tell(v, w);
		release(v, w);
	}
}

/* --- MSRs ------------------------------------------------------------------------------------- */

static bool has(const struct x86_vcpu *v, enum x86_feature f)
{
	return !v->enforce_pv || x86_has(&v->cpu, f);
}

/* What the guest has enabled can be done only with these two. */
static void prepare(struct x86_vcpu *v)
{
	struct x86_vm *x = v->vm;

	if (!v->apf.watch)
		v->apf.watch = calloc(1, sizeof(*v->apf.watch));
	pthread_mutex_lock(&x->vm->lock);
	if (x->pagemap_fd < 0)
		x->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	pthread_mutex_unlock(&x->vm->lock);
}

int x86_async_pf_set_en(struct x86_vcpu *v, uint64_t value)
{
	const struct memslot *slot;

	if (value & EN_RESERVED)
		return -EINVAL;
	if ((value & EN_AS_PF_VMEXIT) && !has(v, X86_F_KVM_ASYNC_PF_VMEXIT))
		return -EINVAL;
	if ((value & EN_AS_INT) && !has(v, X86_F_KVM_ASYNC_PF_INT))
		return -EINVAL;
	if (!v->has_lapic)
		return value ? -EINVAL : 0;
	v->apf.en = value;
	v->cpu.watch = NULL;
	if (!enabled(v)) {
		give_up(v);
		return 0;
	}
	slot = memslots_find(v->cpu.slots, gpa_to_gfn(area_of(v)));
	if (!slot || memslot_readonly(slot))
		return -EINVAL;
	prepare(v);
	v->cpu.watch = v->apf.watch;
	wake_all(v);
	return 0;
}

int x86_async_pf_set_int(struct x86_vcpu *v, uint64_t value, bool host)
{
	if (value >> 8)
		return -EINVAL;
	/* A client that restores all MSRs is let write what it has read, as it is with MSR_KVM_ASYNC_PF_EN. */
	if (!v->has_lapic)
		return value || !host ? -EINVAL : 0;
	v->apf.vector = value;
	return 0;
}

void x86_async_pf_ack(struct x86_vcpu *v, uint64_t value)
{
	if (value & 1)
		x86_request(&v->cpu, X86_REQ_ASYNC_PF);
}

/* --- life ------------------------------------------------------------------------------------- */

void x86_async_pf_init(struct x86_vcpu *v)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&v->apf.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&v->apf.quick, &attr);
	pthread_condattr_destroy(&attr);
	v->apf.last_done = &v->apf.done;
}

void x86_async_pf_destroy(struct x86_vcpu *v)
{
	give_up(v);
	free(v->apf.watch);
	pthread_cond_destroy(&v->apf.quick);
	pthread_mutex_destroy(&v->apf.lock);
}

void x86_async_pf_reset(struct x86_vcpu *v)
{
	v->apf.en = v->apf.vector = 0;
	v->apf.halted = false;
	v->cpu.watch = NULL;
	give_up(v);
}

void x86_async_pf_vm_init(struct x86_vm *x)
{
	x->pagemap_fd = -1;
	host_pool_init(&x->pages);
}

void x86_async_pf_vm_stop(struct x86_vm *x)
{
	struct vcpu *vcpu;
	unsigned int i;

	kvm_for_each_vcpu(i, vcpu, x->vm)
		give_up(x86_vcpu_of(vcpu));
	host_pool_stop(&x->pages);
	host_pool_destroy(&x->pages);
	if (x->pagemap_fd >= 0)
		close(x->pagemap_fd);
}
