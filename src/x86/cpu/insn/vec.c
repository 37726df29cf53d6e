/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions, executed by the host.
 *
 * A stub is the guest's own instruction, encoded again with [rdi] for its memory
 * operand and r8.. for its explicit general registers, between loads and stores
 * of those from cpu->regs:
 *
 *	pinsrw xmm1, [rbx+4], 2   ->   pinsrw xmm1, [rdi], 2; ret
 *	movq   rcx, xmm3          ->   mov r8, [rsi+8]; movq r8, xmm3; mov [rsi+8], r8; ret
 *	ptest  xmm0, xmm1         ->   ptest xmm0, xmm1; lahf; seto al; ret
 *
 * Implicit RAX, RCX and RDX keep their places.  The vector registers are the
 * guest's own, see vec.h.
 *
 * In front of a stub that needs neither general registers nor flags stands a
 * second one, which goes on to the following instruction's handler by itself
 * instead of returning: with [rdx] for the memory operand, and the handler's own
 * arguments left in place.
 */
#include "x86/cpu/insn/vec.h"

#include <Zydis/Zydis.h>

#include "host/bytes.h"
#include "x86/cpu/block.h"
#include "x86/cpu/insn/ops.h"
#include "x86/cpu/mem.h"
#include "x86/cpu/vec_state.h"
#include "x86/features.h"

/* ------------------------------------------------------------------ handlers */

/* An operand that lies where its instruction does not take it; the state is live.  APM 1, 4.2.2. */
static SLOW_FN void misaligned(struct x86_cpu *cpu, const struct insn *i)
{
	if (!(i->aux & VEC_MM) || !cpu->vec->mm)
		x86_raise_ec(cpu, X86_GP, 0);
}

/* MXCSR.MM leaves it to the check of alignment, which is for all 16 bytes then, and behind that of the address. */
static SLOW_FN void misaligned_at(struct x86_cpu *cpu, const struct insn *i, gva_t a)
{
	misaligned(cpu, i);
	if (cpu->ctx->cls == MMU_USER_AC && (cpu->mode != CODE64 || gva_canonical(cpu, a)))
		x86_raise_ec(cpu, X86_AC, 0);
}

static ALWAYS_INLINE gva_t operand(struct x86_cpu *cpu, const struct insn *i, bool write)
{
	gva_t a;

	/* Alignment comes before the segment's limit. */
	if (unlikely(i->ea_flags & EA_SLOW) && (i->aux & VEC_ALIGNED)) {
		at(cpu, i);
		a = ea_offset(cpu, i) + cpu->regs[i->segbase];
		if (a & (i->memsize - 1))
			misaligned(cpu, i);
	}
	a = ea(cpu, i, i->memsize, write);
	if (unlikely(i->aux & VEC_ALIGNED) && unlikely(a & (i->memsize - 1)))
		misaligned_at(cpu, i, a);
	return a;
}

/* SDM 1 8.1.8: where the last x87 instruction and its operand were.  Kept here, since the host would note the stub. */
static ALWAYS_INLINE void note_x87(struct x86_cpu *cpu, const struct insn *i, gva_t operand)
{
	cpu->vec->fip = insn_rip(cpu, i);
	cpu->vec->fdp = operand;
	cpu->vec->fop = i->aux & VEC_FOP;
}

static void vec_reg(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	vec_call(cpu, i, NULL);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

/* ---- the common case: nothing to load, nothing to check, and on by the stub's own jump */

#define CHAIN_BYTES 32

typedef void vec_chain(struct x86_cpu *cpu, const struct insn *i, void *mem);

static ALWAYS_INLINE vec_chain *chain_of(const struct insn *i)
{
	return (vec_chain *)((uintptr_t)i->ptr - CHAIN_BYTES);
}

static void vec_reg_chain(struct x86_cpu *cpu, const struct insn *i)
{
	if (unlikely(cpu->vec_gate[i->src2]))
		return vec_reg(cpu, i);
	at(cpu, i);
	return chain_of(i)(cpu, i, NULL);
}

static void vec_read(struct x86_cpu *cpu, const struct insn *i);
static void vec_write(struct x86_cpu *cpu, const struct insn *i);

struct bytes16 { uint64_t q[2]; };
struct bytes32 { uint64_t q[4]; };
struct bytes64 { uint64_t q[8]; };

#define MEM_CHAIN(name, how, size, type)                                                        \
static void name##size##_chain(struct x86_cpu *cpu, const struct insn *i)                       \
{                                                                                               \
	if (unlikely(cpu->vec_gate[i->src2]))                                                   \
		return name(cpu, i);                                                            \
	how(type, p, cpu, i, name);                                                             \
	if (size >= 16 && (i->aux & VEC_ALIGNED) && unlikely(p_gva & (size - 1)))               \
		return name(cpu, i);                                                            \
	return chain_of(i)(cpu, i, (void *)p);                                                  \
}

MEM_CHAIN(vec_read, FAST_READ, 4, uint32_t)
MEM_CHAIN(vec_read, FAST_READ, 8, uint64_t)
MEM_CHAIN(vec_read, FAST_READ, 16, struct bytes16)
MEM_CHAIN(vec_read, FAST_READ, 32, struct bytes32)
MEM_CHAIN(vec_read, FAST_READ, 64, struct bytes64)
MEM_CHAIN(vec_write, FAST_RMW, 4, uint32_t)
MEM_CHAIN(vec_write, FAST_RMW, 8, uint64_t)
MEM_CHAIN(vec_write, FAST_RMW, 16, struct bytes16)
MEM_CHAIN(vec_write, FAST_RMW, 32, struct bytes32)
MEM_CHAIN(vec_write, FAST_RMW, 64, struct bytes64)

/* By log2 of the operand's bytes. */
static insn_fn *const read_chains[] = { NULL, NULL, vec_read4_chain, vec_read8_chain, vec_read16_chain,
					vec_read32_chain, vec_read64_chain };
static insn_fn *const write_chains[] = { NULL, NULL, vec_write4_chain, vec_write8_chain, vec_write16_chain,
					 vec_write32_chain, vec_write64_chain };

static void vec_reg_flags(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	cpu->fl = vec_call(cpu, i, NULL);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

/* Reading the operand may have put the state away (a device answered): hence the second gate. */
static ALWAYS_INLINE void *fetch(struct x86_cpu *cpu, const struct insn *i)
{
	void *p;

	at(cpu, i);
	vec_gate(cpu, i);
	p = (void *)mem_read_ptr(cpu, operand(cpu, i, false), i->memsize);
	vec_gate(cpu, i);
	/* The stub is not given MXCSR.MM. */
	if (unlikely(i->aux & VEC_MM) && unlikely((uintptr_t)p & (i->memsize - 1))) {
		copy_bytes(cpu->rmw_buf, p, i->memsize);
		return cpu->rmw_buf;
	}
	return p;
}

static void vec_read(struct x86_cpu *cpu, const struct insn *i)
{
	vec_call(cpu, i, fetch(cpu, i));
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

/* MMX waits for the x87 unit. */
static void mmx_read(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	vec_wait_x87(cpu);
	vec_read(cpu, i);
}

static void vec_read_flags(struct x86_cpu *cpu, const struct insn *i)
{
	cpu->fl = vec_call(cpu, i, fetch(cpu, i));
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

#define UNWRITTEN 0xa5

/* An unmasked x87 exception keeps FST and its kin from storing; SDM 1 8.5.  It is pending then. */
static bool nothing_stored(struct x86_cpu *cpu, unsigned int size)
{
	for (unsigned int n = 0; n < size; n++)
		if (cpu->rmw_buf[n] != UNWRITTEN)
			return false;
	x86_vec_put(cpu);
	return cpu->vec->image.fsw & 0x80;
}

/*
 * The stub works on a copy, whose write-back may exit to the client: then the
 * instruction runs again, and must find the state as before (an FSTP has popped).
 */
static void run_buffered(struct x86_cpu *cpu, const struct insn *i, gva_t a, void *p)
{
	struct vec_state *v = cpu->vec;

	x86_vec_put(cpu);
	for (unsigned int n = 0; n < sizeof(v->image) / 8; n++)
		((uint64_t *)&v->undo)[n] = ((uint64_t *)&v->image)[n];
	for (unsigned int n = 0; n < i->memsize; n++)
		cpu->rmw_buf[n] = UNWRITTEN;
	vec_gate(cpu, i);
	v->undo_valid = true;
	vec_call(cpu, i, p);
	VEC_SETTLE(cpu);
	if (i->src2 != VEC_X87 || !nothing_stored(cpu, i->memsize))
		mem_commit(cpu, a, i->memsize, p);
	v->undo_valid = false;
}

void vec_run_write(struct x86_cpu *cpu, const struct insn *i, gva_t a, void *p)
{
	if (unlikely(p == (void *)cpu->rmw_buf)) {
		run_buffered(cpu, i, a, p);
		return;
	}
	vec_gate(cpu, i);
	vec_call(cpu, i, p);
	VEC_SETTLE(cpu);
}

static void vec_write(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a;

	at(cpu, i);
	vec_gate(cpu, i);
	a = operand(cpu, i, true);
	vec_run_write(cpu, i, a, mem_write_ptr(cpu, a, i->memsize));
	NEXT(cpu, i);
}

static void mmx_write(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	vec_wait_x87(cpu);
	vec_write(cpu, i);
}

static void x87_reg(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	note_x87(cpu, i, cpu->vec->fdp);
	vec_call(cpu, i, NULL);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

static void x87_reg_flags(struct x86_cpu *cpu, const struct insn *i)
{
	at(cpu, i);
	vec_gate(cpu, i);
	note_x87(cpu, i, cpu->vec->fdp);
	cpu->fl = vec_call(cpu, i, NULL);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

static void x87_read(struct x86_cpu *cpu, const struct insn *i)
{
	void *p;

	at(cpu, i);
	vec_gate(cpu, i);
	vec_wait_x87(cpu);
	p = fetch(cpu, i);
	note_x87(cpu, i, ea_offset(cpu, i));
	vec_call(cpu, i, p);
	VEC_SETTLE(cpu);
	NEXT(cpu, i);
}

static void x87_write(struct x86_cpu *cpu, const struct insn *i)
{
	gva_t a;
	void *p;

	at(cpu, i);
	vec_gate(cpu, i);
	vec_wait_x87(cpu);
	a = operand(cpu, i, true);
	p = mem_write_ptr(cpu, a, i->memsize);
	vec_gate(cpu, i);
	note_x87(cpu, i, ea_offset(cpu, i));
	vec_run_write(cpu, i, a, p);
	NEXT(cpu, i);
}

/* ------------------------------------------------------------------ making a stub */

struct emit {
	uint8_t b[128];
	unsigned int n;
};

static void put(struct emit *e, const uint8_t *bytes, unsigned int n)
{
	while (n--)
		e->b[e->n++] = *bytes++;
}

#define PUT(e, ...) put(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* mov between host register @host and cpu->regs[@guest], which RSI points at. */
static void move_gpr(struct emit *e, unsigned int host, unsigned int guest, bool store)
{
	PUT(e, 0x48 | (host >= 8 ? 4 : 0), store ? 0x89 : 0x8b, 0x46 | (host & 7) << 3, guest * 8);
}

struct gpr_use {
	uint8_t host, guest;
	bool write;
};

static bool is_gpr(ZydisRegister reg)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	return c >= ZYDIS_REGCLASS_GPR8 && c <= ZYDIS_REGCLASS_GPR64;
}

/*
 * Collects the general registers that the instruction uses; explicit ones are
 * given host registers in @req.  -1: a form that stubs do not cover.
 */
static int collect_gprs(const struct insn_build *b, ZydisEncoderRequest *req, struct gpr_use use[4])
{
	int n = 0, next = 8;

	for (int k = 0; k < b->zi->operand_count; k++) {
		const ZydisDecodedOperand *op = &b->op[k];
		int id;

		if (op->type != ZYDIS_OPERAND_TYPE_REGISTER || !is_gpr(op->reg.value))
			continue;
		id = ZydisRegisterGetId(op->reg.value);
		if (n == 4 || (ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_GPR8 && id > 3))
			return -1;
		use[n].guest = id;
		use[n].write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		if (op->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
			req->operands[k].reg.value =
				ZydisRegisterEncode(ZydisRegisterGetClass(op->reg.value), next);
			use[n].host = next++;
		} else if (id > R_RDX) {
			return -1;
		} else {
			use[n].host = id;
		}
		n++;
	}
	return n;
}

static bool writes_flags(const struct insn_build *b)
{
	const ZydisAccessedFlags *f = b->zi->cpu_flags;

	return f && (f->modified | f->set_0 | f->set_1);
}

static bool reads_flags(const struct insn_build *b)
{
	return b->zi->cpu_flags && b->zi->cpu_flags->tested;
}

static void set_base(ZydisEncoderRequest *req, ZydisRegister base)
{
	for (unsigned int k = 0; k < req->operand_count; k++)
		if (req->operands[k].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			req->operands[k].mem.base = base;
			req->operands[k].mem.index = ZYDIS_REGISTER_NONE;
			req->operands[k].mem.scale = 0;
			req->operands[k].mem.displacement = 0;
		}
}

static bool make_request(const struct insn_build *b, ZydisEncoderRequest *req)
{
	if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(b->zi, b->op, b->zi->operand_count_visible,
									  req)))
		return false;
	req->machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
	req->address_size_hint = ZYDIS_ADDRESS_SIZE_HINT_NONE;
	req->prefixes &= ~(ZYDIS_ATTRIB_HAS_SEGMENT | ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
			   ZYDIS_ATTRIB_HAS_REPNE);
	return true;
}

_Static_assert(sizeof(struct insn) == 0x28 && offsetof(struct insn, fn) == 0, "what a chaining stub steps over");

/* The chaining form, CHAIN_BYTES long. */
static bool emit_chain(struct emit *e, const ZydisEncoderRequest *plain)
{
	ZydisEncoderRequest req = *plain;
	ZyanUSize len = CHAIN_BYTES - 10;

	set_base(&req, ZYDIS_REGISTER_RDX);
	if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&req, e->b, &len)))
		return false;
	e->n = len;
	PUT(e, 0x48, 0x8b, 0x46, 0x28, 0x48, 0x83, 0xc6, 0x28);        /* mov rax, [rsi+28h]; add rsi, 28h */
	PUT(e, 0xff, 0xe0);                                             /* jmp rax */
	while (e->n < CHAIN_BYTES)
		PUT(e, 0xcc);
	return true;
}

/*
 * @chained: may a chaining form stand in front?  It is set to whether one does;
 * the stub's address is behind it.
 */
static const void *make_stub(const struct insn_build *b, bool *chained)
{
	ZydisEncoderRequest req;
	struct gpr_use use[4];
	struct emit e = { .n = 0 };
	const uint8_t *stub;
	ZyanUSize len;
	int gprs;

	if (!make_request(b, &req))
		return NULL;
	gprs = collect_gprs(b, &req, use);
	if (gprs < 0)
		return NULL;
	*chained = *chained && !gprs && !reads_flags(b) && !writes_flags(b) && emit_chain(&e, &req);
	if (!*chained)
		e.n = 0;
	set_base(&req, ZYDIS_REGISTER_RDI);
	len = sizeof(e.b) - e.n - 24;
	for (int k = 0; k < gprs; k++)
		move_gpr(&e, use[k].host, use[k].guest, false);
	if (reads_flags(b))
		PUT(&e, 0x89, 0xd0, 0x04, 0x7f, 0x9e);          /* mov eax, edx; add al, 127; sahf */
	if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&req, e.b + e.n, &len)))
		return NULL;
	e.n += len;
	for (int k = 0; k < gprs; k++)
		if (use[k].write)
			move_gpr(&e, use[k].host, use[k].guest, true);
	if (writes_flags(b))
		PUT(&e, 0x9f, 0x0f, 0x90, 0xc0);                /* lahf; seto al */
	PUT(&e, 0xc3);
	stub = code_stub(b->code, e.b, e.n);
	*b->no_memory |= !stub;
	return stub && *chained ? stub + CHAIN_BYTES : stub;
}

const void *vec_make_stub(const struct insn_build *b)
{
	bool chained = false;

	return make_stub(b, &chained);
}

/* ------------------------------------------------------------------ building */

static enum vec_class class_of(const struct insn_build *b)
{
	bool mmx = false, xmm = false;

	/* The ISA sets of FISTTP, FCOMI and FCMOV are not x87's; their opcodes are. */
	if (b->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (b->zi->opcode & 0xf8) == 0xd8)
		return VEC_X87;
	if (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || b->zi->meta.category == ZYDIS_CATEGORY_KMASK)
		return VEC_AVX512;
	if (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return VEC_AVX;
	for (int k = 0; k < b->zi->operand_count; k++)
		if (b->op[k].type == ZYDIS_OPERAND_TYPE_REGISTER) {
			mmx |= ZydisRegisterGetClass(b->op[k].reg.value) == ZYDIS_REGCLASS_MMX;
			xmm |= ZydisRegisterGetClass(b->op[k].reg.value) == ZYDIS_REGCLASS_XMM;
		}
	return (mmx && !xmm) || b->zi->meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX ? VEC_MMX : VEC_SSE;
}

bool vec_must_align(const void *stub)
{
	uint8_t buf[160] __attribute__((aligned(64)));
	uint64_t regs[R_COUNT];
	struct host_guard guard;
	uint32_t mxcsr, plain = 0x1f80;
	volatile bool faulted = false;

	for (unsigned int k = 0; k < sizeof(buf); k++)
		buf[k] = 0;
	for (unsigned int k = 0; k < R_COUNT; k++)
		regs[k] = 0;
	/* The client may have set MXCSR.MM for itself. */
	__asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(mxcsr) : "m"(plain));
	host_guard_arm(&guard);
	if (!host_jump_set(&guard.jump))
		((vec_stub *)(uintptr_t)stub)(buf + 1, regs, 0);
	else
		faulted = true;
	host_guard_disarm(&guard);
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	return faulted;
}

int vec_mem_operand(const struct insn_build *b)
{
	for (int k = 0; k < b->zi->operand_count_visible; k++)
		if (b->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return k;
	return -1;
}

/* Which of those that must be aligned must be even so; APM 4, the exceptions of each. */
static bool heeds_mm(const struct insn_build *b)
{
	static const uint16_t no[] = {
		ZYDIS_MNEMONIC_MOVAPS, ZYDIS_MNEMONIC_MOVAPD, ZYDIS_MNEMONIC_MOVDQA, ZYDIS_MNEMONIC_MOVNTPS,
		ZYDIS_MNEMONIC_MOVNTPD, ZYDIS_MNEMONIC_MOVNTDQ, ZYDIS_MNEMONIC_MOVNTDQA,
	};

	for (unsigned int k = 0; k < ARRAY_SIZE(no); k++)
		if (b->zi->mnemonic == no[k])
			return false;
	return b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
}

static insn_fn *pick(const struct insn *i, bool mem, bool write, bool flags)
{
	if (i->src2 == VEC_X87) {
		if (!mem)
			return flags ? x87_reg_flags : x87_reg;
		return write ? x87_write : x87_read;
	}
	if (!mem)
		return flags ? vec_reg_flags : vec_reg;
	if (i->src2 == VEC_MMX)
		return write ? mmx_write : mmx_read;
	if (write)
		return vec_write;
	return flags ? vec_read_flags : vec_read;
}

/* The chaining handler for what is simple enough, or NULL. */
static insn_fn *pick_chain(const struct insn *i, bool mem, bool write)
{
	if (!mem)
		return vec_reg_chain;
	if ((i->ea_flags & EA_SLOW) || i->memsize > 64 || (i->memsize & (i->memsize - 1)))
		return NULL;
	return (write ? write_chains : read_chains)[__builtin_ctz(i->memsize)];
}

#ifdef __SANITIZE_ADDRESS__
#define CHAINS false                    /* see VEC_SETTLE */
#else
#define CHAINS true
#endif

int vec_build(struct insn *i, const struct insn_build *b)
{
	int m = vec_mem_operand(b);
	bool chained, write = m >= 0 && (b->op[m].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE);

	if (m >= 0 && b->op[m].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		return -2 /* ENOENT */;
	i->src2 = class_of(b);
	if (m >= 0)
		build_mem(i, b, m);
	chained = CHAINS && i->src2 >= VEC_SSE;
	i->ptr = make_stub(b, &chained);
	if (!i->ptr)
		return -2 /* ENOENT */;
	i->aux = (b->zi->opcode & 7) << 8 | (i->src2 == VEC_X87 ? b->zi->raw.modrm.mod << 6 |
		 b->zi->raw.modrm.reg << 3 | b->zi->raw.modrm.rm : 0);
	if (i->src2 != VEC_X87)
		i->aux = m >= 0 && i->memsize >= 16 && vec_must_align(i->ptr) ?
			 VEC_ALIGNED | (heeds_mm(b) ? VEC_MM : 0) : 0;
	if (chained)
		i->fn = pick_chain(i, m >= 0, write);
	if (!i->fn)
		i->fn = pick(i, m >= 0, write, writes_flags(b));
	return 0;
}

/* ------------------------------------------------------------------ rows, by ISA set */

#define ROW(set, feat, how) { ZYDIS_ISA_SET_##set, { .feature = X86_F_##feat, .build = how } }
#define ISA(set, feat) ROW(set, feat, vec_build)
#define EVEX(set, feat) \
	ROW(set##_128, feat, evex_build_vl), ROW(set##_256, feat, evex_build_vl), ROW(set##_512, feat, evex_build)

static const struct insn_isa_row isa_rows[] = {
	ISA(X87, FPU), ISA(SSE3X87, PNI), ISA(FCMOV, CMOV), ISA(PPRO, CMOV),
	ISA(PENTIUMMMX, MMX),
	ISA(SSE, SSE), ISA(SSEMXCSR, SSE), ISA(SSE2, SSE2), ISA(SSE2MMX, SSE2), ISA(SSE3, PNI),
	ISA(SSSE3, SSSE3), ISA(SSSE3MMX, SSSE3), ISA(SSE4, SSE4_1), ISA(SSE42, SSE4_2), ISA(SSE4A, SSE4A),
	ISA(AES, AES), ISA(PCLMULQDQ, PCLMULQDQ), ISA(SHA, SHA_NI), ISA(GFNI, GFNI),
	ISA(AVX, AVX), ISA(AVX2, AVX2), ISA(F16C, F16C), ISA(FMA, FMA), ISA(AVXAES, AES),
	ISA(VAES, VAES), ISA(VPCLMULQDQ, VPCLMULQDQ), ISA(AVX_GFNI, GFNI), ISA(AVX_VNNI, AVX_VNNI),
	ISA(AVX512F_KOP, AVX512F), ISA(AVX512BW_KOP, AVX512BW), ISA(AVX512DQ_KOP, AVX512DQ),
	EVEX(AVX512F, AVX512F), ROW(AVX512F_128N, AVX512F, evex_build), ROW(AVX512F_SCALAR, AVX512F, evex_build),
	EVEX(AVX512BW, AVX512BW), ROW(AVX512BW_128N, AVX512BW, evex_build),
	EVEX(AVX512DQ, AVX512DQ), ROW(AVX512DQ_128N, AVX512DQ, evex_build),
	ROW(AVX512DQ_SCALAR, AVX512DQ, evex_build),
	EVEX(AVX512CD, AVX512CD), EVEX(AVX512_IFMA, AVX512IFMA), EVEX(AVX512_VBMI, AVX512VBMI),
	EVEX(AVX512_VBMI2, AVX512_VBMI2), EVEX(AVX512_VNNI, AVX512_VNNI), EVEX(AVX512_BITALG, AVX512_BITALG),
	EVEX(AVX512_VPOPCNTDQ, AVX512_VPOPCNTDQ), EVEX(AVX512_VP2INTERSECT, AVX512_VP2INTERSECT),
	EVEX(AVX512_BF16, AVX512_BF16), EVEX(AVX512_FP16, AVX512_FP16),
	ROW(AVX512_FP16_128N, AVX512_FP16, evex_build), ROW(AVX512_FP16_SCALAR, AVX512_FP16, evex_build),
	EVEX(AVX512_GFNI, GFNI), EVEX(AVX512_VAES, VAES), EVEX(AVX512_VPCLMULQDQ, VPCLMULQDQ),
};

const struct insn_isa_rows insn_isa_rows = { isa_rows, ARRAY_SIZE(isa_rows) };
