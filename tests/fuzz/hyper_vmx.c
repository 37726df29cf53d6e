/* SPDX-License-Identifier: MIT */
/* Hostile hypervisors of VMX.  The VMCS is written where it lies, in the library's layout, and read by VMPTRLD. */
#include <string.h>

#include "hyper.h"
#include "x86/vmx/vmcs.h"

#define FEATURE_CONTROL 0x3a
#define CR4_VMXE 0x2000
#define CR0_NE 0x20
#define OPERANDS 0xf00          /* in the page of the code: addresses for VMXON and VMPTRLD */
#define AFTER_EXIT 0x800

static uint8_t *put_long(uint8_t *at, uint64_t value, size_t size)
{
	memcpy(at, &value, size);
	return at + size;
}

/* Opcode with a memory operand in the page of operands. */
static void put_with(uint8_t **at, const void *opcode, size_t size, unsigned int operand)
{
	hyper_put(at, opcode, size);
	PUT(at, 0x34, 0x25);
	*at = put_long(*at, hyper_page(HYPER_CODE) + OPERANDS + operand * 16, 4);
}

#define WITH(at, operand, ...) \
	put_with(at, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }), operand)

/* Between two entries: what L1 may do to the VMCS in hand, or else. */
static void put_piece(uint8_t **at)
{
	static const uint16_t fields[] = {
#define ONE(encoding, type, name) encoding,
#define SEVERAL(encoding, type, name, count) encoding,
#define NONE(type, name, count)
		VMCS_FIELDS(ONE, SEVERAL, NONE)
#undef ONE
#undef SEVERAL
#undef NONE
	};

	switch (below(4)) {
	case 0:         /* invept, invvpid of some kind, with an operand that is an address */
		PUT(at, 0xb8, (uint8_t)below(5), 0, 0, 0);
		put_with(at, (const uint8_t[]){ 0x66, 0x0f, 0x38, (uint8_t)(0x80 + below(2)) }, 4, (unsigned int)below(3));
		(*at)[-6] = 0x04;       /* the register is EAX */
		return;
	case 1:
		PUT(at, 0x0f, 0x01, 0xc1);      /* vmcall */
		return;
	default:        /* mov eax, encoding; mov ecx, value; vmwrite eax, ecx */
		PUT(at, 0xb8);
		*at = put_long(*at, pick(fields), 4);
		PUT(at, 0xb9);
		*at = put_long(*at, number(), 4);
		PUT(at, 0x0f, 0x79, 0xc1);
	}
}

static void jump(uint8_t **at, uint8_t *to)
{
	PUT(at, 0xe9);
	*at = put_long(*at, (uint32_t)(to - (*at + 4)), 4);
}

static size_t code(uint8_t *start, size_t size)
{
	uint8_t *at = start, *again = start + AFTER_EXIT;

	for (unsigned int n = 0; n < HYPER_VMCBS; n++)
		put_long(start + OPERANDS + n * 16, hyper_page(HYPER_VMCB + n), 8);
	put_long(start + OPERANDS + HYPER_VMCBS * 16, hyper_page(HYPER_HOST), 8);
	put_long(start + (HYPER_HOST - HYPER_CODE) * PAGE, VMCS_REVISION, 4);   /* of the VMXON region */
	WITH(&at, HYPER_VMCBS, 0xf3, 0x0f, 0xc7);                       /* vmxon */
	for (unsigned int n = 0; n < 6; n++) {
		unsigned int which = one_in(4);

		WITH(&at, which, 0x66, 0x0f, 0xc7);                     /* vmclear */
		WITH(&at, which, 0x0f, 0xc7);                           /* vmptrld */
		if (one_in(2))
			put_piece(&at);
		PUT(&at, 0x0f, 0x01, 0xc2);                             /* vmlaunch */
	}
	jump(&at, start);
	/* L2 goes on behind its instruction: RIP (0x681e) and that one's length (0x440c). */
	at = again;
	PUT(&at, 0xb8, 0x0c, 0x44, 0, 0, 0x0f, 0x78, 0xc2, 0xb8, 0x1e, 0x68, 0, 0, 0x0f, 0x78, 0xc7);
	PUT(&at, 0x48, 0x01, 0xd7, 0x0f, 0x79, 0xc7);
	for (unsigned int n = (unsigned int)below(4); n; n--)
		put_piece(&at);
	PUT(&at, 0x0f, 0x01, 0xc3);                                     /* vmresume */
	jump(&at, start);
	return (size_t)(at - start);
}

static void prepare(int vcpu, struct kvm_sregs *s)
{
	s->cr4 |= CR4_VMXE;
	s->cr0 |= CR0_NE;
	hyper_set_msr(vcpu, FEATURE_CONTROL, 5);
}

/* --- VMCSs --- */

/* Which controls must be set and which may be: their MSRs.  SDM 3D, appendix A.3 to A.5. */
enum { CAP_PIN, CAP_PROC, CAP_EXIT, CAP_ENTRY, CAP_PROC2 };

static void learn(struct fuzz_world *w)
{
	static const uint32_t index[] = { 0x48d, 0x48e, 0x48f, 0x490, 0x48b };

	for (unsigned int n = 0; n < sizeof(index) / sizeof(index[0]); n++)
		w->caps[n] = hyper_msr(w->vcpu[0], index[n]);
}

/* @wanted, and some more, as far as that may be. */
static uint32_t controls(const struct fuzz_world *w, unsigned int cap, uint32_t wanted)
{
	uint32_t value = wanted | (uint32_t)(rnd() & rnd());

	return one_in(24) ? value : (value | (uint32_t)w->caps[cap]) & (uint32_t)(w->caps[cap] >> 32);
}

/* Controls that want another, or exclude it; SDM 3C, 26.2.1. */
static void settle(struct vmcs *m)
{
	const uint32_t with_ept = PROC2_UNRESTRICTED | 1u << 17 | 1u << 22;       /* PML, mode-based execute */
	const uint32_t with_tpr = 1u << 4 | 1u << 8 | 1u << 9;  /* x2APIC, APIC registers, virtual-interrupt delivery */

	if (!(m->pin & PIN_NMI))
		m->pin &= ~PIN_VIRTUAL_NMI;
	if (!(m->pin & PIN_VIRTUAL_NMI))
		m->proc &= ~PROC_NMI_WINDOW;
	if (!(m->proc & PROC_SECONDARY))
		m->proc2 = 0;
	if (!(m->proc2 & PROC2_EPT))
		m->proc2 &= ~with_ept;
	if (!(m->proc & 1u << 21) || !(m->pin & PIN_EXT_INTR))
		m->proc2 &= ~with_tpr;
	if (m->proc2 & 1u << 4)
		m->proc2 &= ~1u;
	if (!(m->proc2 & 1u << 9))
		m->pin &= ~(1u << 7);
	if (!(m->pin & 1u << 6))
		m->exit_controls &= ~(1u << 22);
	m->entry_controls &= ~(3u << 10);       /* SMM's */
}

/* What may be injected; 26.2.1.3. */
static uint32_t event(void)
{
	static const uint32_t events[] = {
		0x20, 0x80, 0xff, 0x202, 0x300, 0x301, 0x306, 0xb0a, 0xb0d, 0xb0e, 0xb08, 0x480, 0x403, 0x501, 0x603, 0x604,
	};

	return EVT_VALID | (one_in(8) ? (uint32_t)(rnd() & 0xfff) : pick(events));
}

static void fill_controls(const struct fuzz_world *w, struct vmcs *m)
{
	m->pin = controls(w, CAP_PIN, 0);
	m->proc = controls(w, CAP_PROC, one_in(2) ? PROC_SECONDARY : 0);
	m->proc2 = controls(w, CAP_PROC2, one_in(2) ? PROC2_EPT : 0);
	m->exit_controls = controls(w, CAP_EXIT, EXIT_HOST_64);
	m->entry_controls = controls(w, CAP_ENTRY, one_in(4) ? 0 : ENTRY_GUEST_64);
	if (!one_in(8))
		settle(m);
	m->exceptions = (uint32_t)(rnd() & rnd());
	m->virtual_apic = hyper_page(HYPER_MAPS + 3);
	m->apic_access = hyper_page((unsigned int)below(ARENA_PAGES));
	m->pml_address = hyper_page(HYPER_MAPS + 4);
	m->pml_index = (uint16_t)below(512);
	m->tsc_multiplier = number();
	m->preemption_timer = (uint32_t)below(1 << 12);
	m->io_bitmap[0] = hyper_map_edge();
	m->io_bitmap[1] = hyper_map_edge();
	m->msr_bitmap = hyper_map_edge();
	m->eptp = hyper_page(HYPER_TABLES) | 0x1e | (one_in(2) ? EPTP_AD : 0);
	m->vpid = (uint16_t)(1 + below(3));
	m->link = ~0ULL;
	m->cr3_targets = (uint32_t)below(5);
	m->cr0_mask = one_in(2) ? rnd() : 0;
	m->cr4_mask = one_in(2) ? rnd() : 0;
	m->tsc_offset = number();
	if (one_in(4)) {
		m->entry_event = event();
		m->entry_error = (uint32_t)below(32);
		m->entry_insn_len = 1 + (uint32_t)below(15);
		m->guest_rflags |= 0x200;
	}
}

static void fill_host(struct vmcs *m)
{
	m->host_cr0 = 0x80000031;
	m->host_cr3 = TABLES_PAGE * PAGE;
	m->host_cr4 = 0x20 | CR4_VMXE;
	m->host_efer = 0x501;
	m->host_pat = m->guest_pat = 0x0007040600070406ULL;
	for (unsigned int n = 0; n < 7; n++)
		m->host_selector[n] = n == 1 ? 8 : n == VMCS_HOST_TR ? 24 : 16;
	m->host_rip = hyper_page(HYPER_CODE) + AFTER_EXIT;
	m->host_rsp = 30 * PAGE;
	m->host_gdtr_base = 0x800;
}

static void fill_guest(struct vmcs *m)
{
	bool wide = m->entry_controls & ENTRY_GUEST_64;

	m->guest_cr0 = 0x80000031 | (rnd() & 0x10006);
	m->guest_cr3 = TABLES_PAGE * PAGE;
	m->guest_cr4 = 0x20 | CR4_VMXE | (rnd() & 0x690);
	m->guest_efer = wide ? 0x501 : 0;
	for (unsigned int n = 0; n < 8; n++) {
		m->guest_selector[n] = n == 1 ? 8 : n == VMCS_TR ? 24 : n == VMCS_LDTR ? 0 : 16;
		m->guest_limit[n] = n == VMCS_TR ? 0x67 : ~0u;
		m->guest_access[n] = n == 1 ? (wide ? 0xa09b : 0xc09b) : n == VMCS_TR ? 0x8b :
				     n == VMCS_LDTR ? ACCESS_UNUSABLE : 0xc093;
	}
	m->guest_gdtr_base = 0x800;
	m->guest_gdtr_limit = 0x7f;
	m->guest_idtr_limit = 0xfff;
	m->guest_dr7 = 0x400;
	m->guest_rflags |= 2 | (one_in(4) ? rnd() & 0x8d5 : 0);
	m->guest_rip = PAGE + below(CODE_PAGES * PAGE);
	m->guest_rsp = below(ARENA);
	m->guest_activity = one_in(8) ? (uint32_t)below(4) : ACTIVITY_ACTIVE;
	m->guest_interruptibility = one_in(8) ? (uint32_t)below(16) : 0;
}

static void fill(const struct fuzz_world *w, void *at)
{
	struct vmcs m;

	memset(&m, 0, sizeof(m));
	m.revision = VMCS_REVISION;
	fill_controls(w, &m);
	fill_host(&m);
	fill_guest(&m);
	memcpy(at, &m, sizeof(m));
}

#define FIELD(encoding, type, name) { offsetof(struct vmcs, name), sizeof(type) },
#define FIELDS(encoding, type, name, count) { offsetof(struct vmcs, name), sizeof(type) },
#define PADDING(type, name, count)
static const struct hyper_field fields[] = {
	VMCS_FIELDS(FIELD, FIELDS, PADDING)
	{ offsetof(struct vmcs, revision), 4 }, { offsetof(struct vmcs, launched), 4 },
};

const struct hyper_vendor hyper_vmx = {
	.fill = fill, .field = fields, .fields = sizeof(fields) / sizeof(fields[0]), .code = code, .prepare = prepare,
	.learn = learn, .table = 7, .page = 0x37, .large = 0xb7,
};
