/* SPDX-License-Identifier: MIT */
/*
 * The slow paths of guest memory: everything that a hit in the software TLB
 * does not cover.  An access is cut at the page boundary; each piece is
 * translated (and for a write, all of them before the first byte changes), then
 * done in host memory or with a device.
 */
#include "x86/cpu/mem.h"

#include "host/bytes.h"
#include "x86/cpu/code.h"
#include "x86/cpu/debug.h"
#include "x86/cpu/vec.h"
#include "x86/mmu/mmu.h"

struct piece {
	struct mmu_target t;
	gva_t gva;
	unsigned int len;
};

static void check_canonical(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	if (!x86_long_mode(cpu) || cpu->mode != CODE64)
		return;
	if (unlikely(!gva_canonical(cpu, gva) || !gva_canonical(cpu, gva + size - 1)))
		x86_raise_ec(cpu, cpu->cur->ea_flags & EA_STACK ? X86_SS : X86_GP, 0);
}

/* #AC, SDM 3A 6.15: user mode only, natural alignment of up to 8 bytes. */
static void check_alignment(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	unsigned int natural = size >= 8 ? 8 : size;

	if (unlikely(cpu->ctx->cls == MMU_USER_AC) && !(natural & (natural - 1)) && (gva & (natural - 1)))
		x86_raise_ec(cpu, X86_AC, 0);
}

static void resolve(struct x86_cpu *cpu, struct piece *p, enum mmu_access access, enum mmu_class cls)
{
	uint32_t ec;

	if (mmu_access(cpu, p->gva, access, cls, &p->t, &ec) != MMU_OK)
		x86_raise_pf(cpu, p->gva, ec);
}

/* Cuts [gva, gva+size) into at most two pieces and resolves them.  Returns how many. */
static unsigned int pieces(struct x86_cpu *cpu, gva_t gva, unsigned int size, enum mmu_access access,
			   enum mmu_class cls, struct piece p[2])
{
	unsigned int first = GUEST_PAGE_SIZE - (gva & ~GUEST_PAGE_MASK);
	unsigned int n = first < size ? 2 : 1;

	p[0].gva = gva;
	p[0].len = n == 1 ? size : first;
	resolve(cpu, &p[0], access, cls);
	if (n == 2) {
		p[1].gva = gva + first;
		if (!x86_long_mode(cpu))
			p[1].gva &= 0xffffffff;
		p[1].len = size - first;
		resolve(cpu, &p[1], access, cls);
	}
	return n;
}

static void mmio_bytes(struct x86_cpu *cpu, gpa_t gpa, uint8_t *data, unsigned int len, bool write)
{
	while (len) {
		unsigned int n = len < 8 ? len : 8;

		x86_mmio_access(cpu, gpa, data, n, write);
		gpa += n;
		data += n;
		len -= n;
	}
}

/* A value of up to 8 bytes is read by one host access, so that it cannot tear. */
static void host_load(uint8_t *dst, const uint8_t *src, unsigned int len)
{
	switch (len) {
	case 1: *dst = *(const volatile uint8_t *)src; break;
	case 2: *(uint16_t *)dst = *(const volatile uint16_t *)src; break;
	case 4: *(uint32_t *)dst = *(const volatile uint32_t *)src; break;
	case 8: *(uint64_t *)dst = *(const volatile uint64_t *)src; break;
	default: copy_bytes(dst, src, len);
	}
}

static void host_store(uint8_t *dst, const uint8_t *src, unsigned int len)
{
	switch (len) {
	case 1: *(volatile uint8_t *)dst = *src; break;
	case 2: *(volatile uint16_t *)dst = *(const uint16_t *)src; break;
	case 4: *(volatile uint32_t *)dst = *(const uint32_t *)src; break;
	case 8: *(volatile uint64_t *)dst = *(const uint64_t *)src; break;
	default: copy_bytes(dst, src, len);
	}
}

/*
 * Pages that are neighbours in host memory too: an access split over them is one to the host, which does with it
 * what the processor does.  Returns how many pieces are left; what is asked of each page has been done.
 */
static unsigned int join(struct piece *p, unsigned int n)
{
	if (n == 1 || !p[0].t.hva || p[1].t.hva != p[0].t.hva + p[0].len)
		return n;
	p[0].len += p[1].len;
	return 1;
}

static void read_pieces(struct x86_cpu *cpu, struct piece *p, unsigned int n, uint8_t *dst)
{
	n = join(p, n);
	for (unsigned int i = 0; i < n; i++) {
		if (p[i].t.hva)
			host_load(dst, p[i].t.hva, p[i].len);
		else
			mmio_bytes(cpu, p[i].t.gpa, dst, p[i].len, false);
		dst += p[i].len;
	}
}

/*
 * The instruction's own block may be what it overwrites: then it has done
 * nothing yet, and runs again alone, with what follows it decoded anew.
 */
static void unguard(struct x86_cpu *cpu, const struct piece *p)
{
	if (p->t.hva && p->t.guarded && code_written(cpu, p->t.gpa, p->len, cpu->running))
		x86_leave(cpu, X86_LEAVE_RESTART);
}

static void write_pieces(struct x86_cpu *cpu, struct piece *p, unsigned int n, const uint8_t *src)
{
	for (unsigned int i = 0; i < n; i++)
		unguard(cpu, &p[i]);
	n = join(p, n);
	/* Devices last: they may leave the instruction, and memory written twice with the same is no harm. */
	for (unsigned int i = 0, at = 0; i < n; at += p[i++].len)
		if (p[i].t.hva)
			host_store(p[i].t.hva, src + at, p[i].len);
	for (unsigned int i = 0, at = 0; i < n; at += p[i++].len)
		if (!p[i].t.hva)
			mmio_bytes(cpu, p[i].t.gpa, (uint8_t *)src + at, p[i].len, true);
}

static void checks(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool write)
{
	check_canonical(cpu, gva, size);
	check_alignment(cpu, gva, size);
	x86_debug_check_data(cpu, gva, size, write);
}

uint64_t mem_load_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];
	uint64_t value = 0;

	checks(cpu, gva, size, false);
	read_pieces(cpu, p, pieces(cpu, gva, size, MMU_READ, cpu->ctx->cls, p), (uint8_t *)&value);
	return value;
}

void mem_store_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size, uint64_t value)
{
	struct piece p[2];

	checks(cpu, gva, size, true);
	write_pieces(cpu, p, pieces(cpu, gva, size, MMU_WRITE, cpu->ctx->cls, p), (const uint8_t *)&value);
}

void *mem_read_ptr_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];
	unsigned int n;

	checks(cpu, gva, size, false);
	n = join(p, pieces(cpu, gva, size, MMU_READ, cpu->ctx->cls, p));
	if (n == 1 && p[0].t.hva)
		return p[0].t.hva;
	read_pieces(cpu, p, n, cpu->rmw_buf);
	return cpu->rmw_buf;
}

void *mem_rmw_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool read)
{
	struct piece p[2];
	unsigned int n;

	checks(cpu, gva, size, true);
	n = pieces(cpu, gva, size, MMU_WRITE, cpu->ctx->cls, p);
	for (unsigned int i = 0; i < n; i++)
		unguard(cpu, &p[i]);
	n = join(p, n);
	if (n == 1 && p[0].t.hva)
		return p[0].t.hva;
	if (read)
		read_pieces(cpu, p, n, cpu->rmw_buf);
	return cpu->rmw_buf;
}

void mem_commit_slow(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];

	write_pieces(cpu, p, pieces(cpu, gva, size, MMU_WRITE, cpu->ctx->cls, p), cpu->rmw_buf);
}

static void bus_lock(struct x86_cpu *cpu);

/* What a device answered stays: it must not be asked twice. */
void mem_lock(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];
	unsigned int n = pieces(cpu, gva, size, MMU_WRITE, cpu->ctx->cls, p);

	if (!p[0].t.hva && (n == 1 || !p[1].t.hva))
		return;
	bus_lock(cpu);
	for (unsigned int i = 0, at = 0; i < n; at += p[i++].len)
		if (p[i].t.hva)
			host_load(cpu->rmw_buf + at, p[i].t.hva, p[i].len);
}

void mem_probe_write(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];

	if (likely(tlb_hit_write(cpu->ctx, gva, size)))
		return;
	checks(cpu, gva, size, true);
	pieces(cpu, gva, size, MMU_WRITE, cpu->ctx->cls, p);
}

void mem_probe_read(struct x86_cpu *cpu, gva_t gva)
{
	struct piece p = { .gva = gva };

	if (likely(tlb_hit_read(cpu->ctx, gva, 1)))
		return;
	check_canonical(cpu, gva, 1);
	resolve(cpu, &p, MMU_READ, cpu->ctx->cls);
}

bool mem_is_memory(struct x86_cpu *cpu, gva_t gva, unsigned int size, bool write)
{
	struct piece p[2];
	unsigned int n;

	if (likely(write ? tlb_hit_write(cpu->ctx, gva, size) : tlb_hit_read(cpu->ctx, gva, size)))
		return true;
	checks(cpu, gva, size, write);
	n = pieces(cpu, gva, size, write ? MMU_WRITE : MMU_READ, cpu->ctx->cls, p);
	return p[0].t.hva && (n == 1 || p[1].t.hva);
}

/* In steps that never straddle a page by more than the step itself. */
void mem_read_block(struct x86_cpu *cpu, gva_t gva, void *dst, unsigned int size)
{
	uint8_t *out = dst;

	while (size) {
		unsigned int n = size < 64 ? size : 64;

		copy_bytes(out, mem_read_ptr(cpu, gva, n), n);
		gva += n;
		out += n;
		size -= n;
	}
}

void mem_write_block(struct x86_cpu *cpu, gva_t gva, const void *src, unsigned int size)
{
	const uint8_t *in = src;

	while (size) {
		unsigned int n = size < 64 ? size : 64;
		void *p = mem_write_ptr(cpu, gva, n);

		copy_bytes(p, in, n);
		mem_commit(cpu, gva, n, p);
		gva += n;
		in += n;
		size -= n;
	}
}

/* ---------------------------------------------------- implicit supervisor accesses */

uint64_t sys_load(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	const uint8_t *hit = tlb_hit_read(mmu_system_ctx(cpu), gva, size);
	struct piece p[2];
	uint64_t value = 0;

	if (hit)
		host_load((uint8_t *)&value, hit, size);
	else
		read_pieces(cpu, p, pieces(cpu, gva, size, MMU_READ, MMU_SUPERVISOR, p), (uint8_t *)&value);
	return value;
}

void sys_store(struct x86_cpu *cpu, gva_t gva, unsigned int size, uint64_t value)
{
	struct piece p[2];

	write_pieces(cpu, p, pieces(cpu, gva, size, MMU_WRITE, MMU_SUPERVISOR, p), (const uint8_t *)&value);
}

uint8_t sys_update(struct x86_cpu *cpu, gva_t gva, uint8_t clear, uint8_t set)
{
	struct piece p = { .gva = gva, .len = 1 };
	uint8_t old;

	resolve(cpu, &p, MMU_WRITE, MMU_SUPERVISOR);
	unguard(cpu, &p);
	if (!p.t.hva) {
		x86_mmio_access(cpu, p.t.gpa, &old, 1, false);
		set |= old & ~clear;
		x86_mmio_access(cpu, p.t.gpa, &set, 1, true);
		return old;
	}
	old = *(volatile uint8_t *)p.t.hva;
	while (!__atomic_compare_exchange_n(p.t.hva, &old, (uint8_t)((old & ~clear) | set), false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED))
		;
	return old;
}

void sys_probe_write(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	struct piece p[2];

	pieces(cpu, gva, size, MMU_WRITE, MMU_SUPERVISOR, p);
}

/* ------------------------------------------------------------ devices and replay */

/*
 * The instruction runs again from its start when the client has answered, so
 * the fragments are consumed in the order in which they were made.  Those that
 * are answered at once are noted too: another one of the instruction may be the
 * client's.
 */
static unsigned int noted(struct x86_cpu *cpu)
{
	struct x86_replay *r = &cpu->replay;

	if (r->count)
		return r->count;
	/* No instruction is run twice at the same count of instructions, but for one that leaves by a jump. */
	if (r->insn != cpu->cur || r->insns != cpu->insns)
		r->done = 0;
	r->insn = cpu->cur;
	r->insns = cpu->insns;
	return r->done;
}

static void note(struct x86_cpu *cpu, unsigned int n, uint64_t addr, const void *data, uint8_t len, bool write,
		 bool pio)
{
	struct x86_replay *r = &cpu->replay;

	r->frag[n].addr = addr;
	r->frag[n].len = len;
	r->frag[n].is_write = write;
	r->frag[n].is_pio = pio;
	copy_bytes(r->frag[n].data, data, len);
}

/* Answered at once.  What it has brought about is due behind this instruction, not behind its block. */
static void answered(struct x86_cpu *cpu, unsigned int n)
{
	const uint32_t due = X86_REQ_EVENT | X86_REQ_TIMER;
	struct x86_replay *r = &cpu->replay;

	if (r->count) {
		r->next = r->count = (uint8_t)(n + 1);
		return;
	}
	r->done = (uint8_t)(n + 1);
	if (!cpu->running || !(atomic_load_explicit(&cpu->requests, memory_order_relaxed) & due))
		return;
	r->count = r->done;
	x86_leave(cpu, X86_LEAVE_REPLAY);
}

static void device_access(struct x86_cpu *cpu, uint64_t addr, void *data, uint8_t len, bool write, bool pio)
{
	struct x86_replay *r = &cpu->replay;
	unsigned int n;
	bool done;

	if (r->next < r->count) {
		/* A port has been asked, whatever the client has made of DX since; KVM does not ask again either. */
		if ((!pio && r->frag[r->next].addr != addr) || r->frag[r->next].len != len ||
		    r->frag[r->next].is_write != write || r->frag[r->next].is_pio != pio) {
			/* The client changed registers in between: what it answered is void. */
			x86_replay_done(cpu);
		} else {
			if (!write)
				copy_bytes(data, r->frag[r->next].data, len);
			r->next++;
			return;
		}
	}
	n = noted(cpu);
	x86_charge(cpu, 16);
	x86_vec_put(cpu);
	/* Port accesses and those to uncached memory wait for the stores before them; SDM 3A 9.3, 12.3. */
	atomic_thread_fence(memory_order_seq_cst);
	if (pio)
		done = cpu->env->pio(cpu, addr, data, len, write);
	else
		done = cpu->env->mmio(cpu, addr, data, len, write);
	if (n == X86_MMIO_FRAGMENTS) {
		if (done && !r->count)
			return;
		x86_internal(cpu, "too many device accesses in one instruction");
	}
	note(cpu, n, addr, data, len, write, pio);
	if (done) {
		answered(cpu, n);
		return;
	}
	r->count = (uint8_t)n;
	r->pending = true;
	x86_exit(cpu);
}

void x86_port_access(struct x86_cpu *cpu, uint16_t port, void *data, uint8_t len, bool write)
{
	device_access(cpu, port, data, len, write, true);
}

void x86_mmio_access(struct x86_cpu *cpu, gpa_t gpa, void *data, uint8_t len, bool write)
{
	device_access(cpu, gpa, data, len, write, false);
}

/* ------------------------------------------------------------ segmented addresses */

static bool in_limit(const struct x86_cpu *cpu, const struct x86_seg *s, uint64_t off, unsigned int size)
{
	uint64_t last = off + size - 1;

	/* Expand-down data, SDM 3A 5.3: the limit is the last invalid offset. */
	if (s->s && (s->type & 0xc) == 4)
		return off > s->limit && last <= (s->db ? 0xffffffffULL : 0xffffULL);
	return last <= s->limit;
}

static gva_t seg_linear(struct x86_cpu *cpu, enum x86_seg_reg n, uint64_t off, unsigned int size, bool write,
			bool stack)
{
	const struct x86_seg *s = &cpu->seg[n];
	uint8_t vector = stack || n == SEG_SS ? X86_SS : X86_GP;

	if (x86_protected(cpu) && !x86_vm86(cpu)) {
		if (s->unusable || !s->present)
			x86_raise_ec(cpu, vector, 0);
		if (write && ((s->type & 8) || !(s->type & 2)))
			x86_raise_ec(cpu, vector, 0);
		if (!write && (s->type & 8) && !(s->type & 2))
			x86_raise_ec(cpu, vector, 0);
	}
	if (!in_limit(cpu, s, off, size))
		x86_raise_ec(cpu, vector, 0);
	return (uint32_t)(*seg_base(cpu, n) + off);
}

uint64_t ea_offset(const struct x86_cpu *cpu, const struct insn *i)
{
	uint64_t off = cpu->regs[i->base] + (cpu->regs[i->index] << i->scale) + i->disp;

	if (i->ea_flags & EA_ADDR32)
		return (uint32_t)off;
	if (i->ea_flags & EA_ADDR16)
		return (uint16_t)off;
	return off;
}

gva_t ea_slow_part(struct x86_cpu *cpu, const struct insn *i, unsigned int at, unsigned int size, bool write)
{
	/* What wraps is the address of the operand, not what lies in it. */
	uint64_t off = ea_offset(cpu, i) + at;

	if (cpu->mode == CODE64)
		return off + cpu->regs[i->segbase];
	return seg_linear(cpu, i->seg, off, size, write, false);
}

gva_t ea_slow(struct x86_cpu *cpu, const struct insn *i, unsigned int size, bool write)
{
	return ea_slow_part(cpu, i, 0, size, write);
}

gva_t stack_ea(struct x86_cpu *cpu, uint64_t off, unsigned int size, bool write)
{
	if (cpu->mode == CODE64) {
		if (unlikely(!gva_canonical(cpu, off) || !gva_canonical(cpu, off + size - 1)))
			x86_raise_ec(cpu, X86_SS, 0);
		return off;
	}
	return seg_linear(cpu, SEG_SS, off & stack_mask(cpu), size, write, true);
}

/* ------------------------------------------------------------ split locked accesses */

/*
 * Atomic against everybody: the other vCPUs are asked to park, and waited for
 * until each is outside the guest or parked, which is at its next block
 * boundary, or here, waiting for the same lock.  The bus lock is taken before
 * the code cache's.
 */
static bool all_parked(const struct x86_cpu *cpu)
{
	bool parked = true;

	host_lock(&cpu->code->lock);
	for (struct x86_cpu *c = cpu->code->cpus; c; c = c->code_next)
		parked &= c == cpu || !atomic_load(&c->in_guest) || atomic_load(&c->parked);
	host_unlock(&cpu->code->lock);
	return parked;
}

static void bus_take(struct x86_cpu *cpu)
{
	atomic_store(&cpu->parked, true);
	host_lock(&cpu->code->bus_lock);
	atomic_store(&cpu->parked, false);
}

static void bus_lock(struct x86_cpu *cpu)
{
	struct code_cache *cc = cpu->code;

	bus_take(cpu);
	cpu->bus_locked = true;
	host_lock(&cc->lock);
	for (struct x86_cpu *c = cc->cpus; c; c = c->code_next)
		if (c != cpu)
			x86_request(c, X86_REQ_PARK);
	host_unlock(&cc->lock);
	while (!all_parked(cpu))
		host_yield();
}

void x86_bus_park(struct x86_cpu *cpu)
{
	bus_take(cpu);
	atomic_fetch_and(&cpu->requests, ~(uint32_t)X86_REQ_PARK);
	host_unlock(&cpu->code->bus_lock);
}

void x86_bus_unlock(struct x86_cpu *cpu)
{
	if (!cpu->bus_locked)
		return;
	cpu->bus_locked = false;
	host_unlock(&cpu->code->bus_lock);
}

/* ... and those across cache lines, where the client wants to hear of them. */

#define CACHE_LINE 64u

static bool is_split(gva_t gva, unsigned int size)
{
	return gva % CACHE_LINE + size > CACHE_LINE;
}

void x86_split_lock_begin(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	if (cpu->running && is_split(gva, size))
		x86_leave(cpu, X86_LEAVE_RESTART);
}

void x86_split_lock_end(struct x86_cpu *cpu, gva_t gva, unsigned int size)
{
	if (!is_split(gva, size))
		return;
	cpu->split_locked = true;
	x86_request(cpu, X86_REQ_EVENT);
}
