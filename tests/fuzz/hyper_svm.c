/* SPDX-License-Identifier: MIT */
/* Hostile hypervisors of SVM. */
#include <string.h>

#include "hyper.h"
#include "x86/svm/vmcb.h"

#define EFER_SVME (1u << 12)
#define VM_HSAVE_PA 0xc0010117

static uint8_t *put_long(uint8_t *at, uint64_t value, size_t size)
{
	memcpy(at, &value, size);
	return at + size;
}

/* Between two entries: what L1 may do to its VMCB (RAX), or else. */
static void put_piece(uint8_t **at)
{
	static const uint8_t plain[][3] = {
		{ 0x0f, 0x01, 0xdc }, { 0x0f, 0x01, 0xdd }, { 0x0f, 0x01, 0xdf }, /* stgi, clgi, invlpga */
		{ 0x0f, 0x01, 0xd9 }, { 0xfb, 0x90, 0xfa }, { 0x31, 0xc9, 0x90 }, /* vmmcall; sti, cli; ecx = 0 */
		{ 0x0f, 0x01, 0xde },                                             /* skinit */
	};

	if (one_in(2)) {
		hyper_put(at, pick(plain), 3);
		return;
	}
	/* mov dword [rax + offset], value */
	PUT(at, 0xc7, 0x80);
	*at = put_long(*at, hyper_svm.field[below(hyper_svm.fields)].offset, 4);
	*at = put_long(*at, number(), 4);
}

static size_t code(uint8_t *start, size_t size)
{
	uint8_t *at = start;

	for (unsigned int n = 0; n < 8; n++) {
		PUT(&at, 0xb8);
		at = put_long(at, hyper_page(HYPER_VMCB + (one_in(4) ? 1 : 0)), 4);
		PUT(&at, 0x0f, 0x01, 0xda, 0x0f, 0x01, 0xd8, 0x0f, 0x01, 0xdb);         /* vmload, vmrun, vmsave */
		/* mov rbx, [next_rip]; test rbx, rbx; jz over; mov [rip], rbx */
		PUT(&at, 0x48, 0x8b, 0x98);
		at = put_long(at, offsetof(struct vmcb, control.next_rip), 4);
		PUT(&at, 0x48, 0x85, 0xdb, 0x74, 0x07, 0x48, 0x89, 0x98);
		at = put_long(at, offsetof(struct vmcb, save.rip), 4);
		if (one_in(2))
			put_piece(&at);
	}
	PUT(&at, 0xe9);
	at = put_long(at, (uint32_t)(start - (at + 4)), 4);
	return (size_t)(at - start);
}

static void prepare(int vcpu, struct kvm_sregs *s)
{
	s->efer |= EFER_SVME;
	hyper_set_msr(vcpu, VM_HSAVE_PA, hyper_page(HYPER_HOST));
}

/* --- VMCBs --- */

static struct vmcb_seg segment(uint16_t selector, uint16_t attributes)
{
	return (struct vmcb_seg){ .selector = selector, .attrib = attributes, .limit = ~0u };
}

static void fill_mode(struct vmcb_save *s)
{
	unsigned int mode = (unsigned int)below(4);

	s->cr0 = mode ? 0x80000011 | (rnd() & 0x10026) : 0x10;
	s->cr4 = mode ? 0x20 | (rnd() & 0x690) : rnd() & 0x610;
	s->cr3 = TABLES_PAGE * PAGE;
	s->efer = EFER_SVME | (mode > 1 ? 0x501 | (rnd() & 0x800) : 0);
	s->cs = segment(8, mode > 1 ? 0xa9b : mode ? 0xc9b : 0x09b);
	if (!mode)
		s->cs.selector = 0;
	s->ds = s->es = s->fs = s->gs = s->ss = segment(16, 0xc93);
	if (one_in(3) && mode)
		s->cpl = 3;
}

static uint32_t some_bits(void)
{
	return (uint32_t)(one_in(2) ? rnd() & rnd() : one_in(2) ? rnd() : 0);
}

static void fill_control(struct vmcb_control *c)
{
	c->cr_read = (uint16_t)some_bits();
	c->cr_write = (uint16_t)some_bits();
	c->dr_read = (uint16_t)some_bits();
	c->dr_write = (uint16_t)some_bits();
	c->exceptions = some_bits();
	c->word3 = some_bits() | 1u << W3_SHUTDOWN;
	c->word4 = some_bits() | 1u << W4_VMRUN;
	c->word5 = some_bits();
	c->iopm = hyper_map_edge() & ~(one_in(8) ? 0 : PAGE - 1);
	c->msrpm = hyper_map_edge();
	c->asid = 1 + (uint32_t)below(3);
	c->tlb_control = one_in(4) ? pick(((uint8_t[]){ 1, 3, 7 })) : 0;
	c->int_ctl = one_in(2) ? (uint32_t)rnd() & 0x071f1b0f : one_in(2) ? V_INTR_MASKING : 0;
	/* Virtual NMIs ask for that intercept. */
	if (!one_in(8) && (c->int_ctl & V_NMI_ENABLE))
		c->word3 |= 1u << W3_NMI;
	c->pause_count = (uint16_t)below(4);
	c->pause_threshold = (uint16_t)(one_in(2) ? 0 : below(64));
	c->virt_ext = below(4);
	c->int_vector = (uint32_t)below(256);
	c->int_state = below(2);
	c->nested_ctl = below(2);
	c->nested_cr3 = hyper_page(HYPER_TABLES);
	c->tsc_offset = number();
	if (one_in(4))
		c->event_inj = EVENT_VALID | (rnd() & 0xffffffff00000fff);
}

static void fill(const struct fuzz_world *w, void *at)
{
	struct vmcb m;

	memset(&m, 0, sizeof(m));
	fill_control(&m.control);
	fill_mode(&m.save);
	m.save.idtr = segment(0, 0);
	m.save.idtr.limit = 0xfff;
	m.save.gdtr = m.save.idtr;
	m.save.gdtr.base = 0x800;
	m.save.tr = segment(24, 0x8b);
	m.save.ldtr = segment(0, 0);
	m.save.dr6 = 0xffff0ff0;
	m.save.dr7 = 0x400;
	m.save.rflags = 2 | (one_in(4) ? rnd() & 0x4cd5 : 0);
	m.save.rip = PAGE + below(CODE_PAGES * PAGE);
	m.save.rsp = below(ARENA);
	m.save.rax = number();
	m.save.g_pat = 0x0007040600070406ULL;
	m.save.dbgctl = below(2);
	memcpy(at, &m, sizeof(m));
}

#define FIELD(name) { offsetof(struct vmcb, name), sizeof(((struct vmcb *)0)->name) }
#define SEGMENT(name) FIELD(save.name.selector), FIELD(save.name.attrib), FIELD(save.name.limit), FIELD(save.name.base)

static const struct hyper_field fields[] = {
	FIELD(control.cr_read), FIELD(control.cr_write), FIELD(control.dr_read), FIELD(control.dr_write),
	FIELD(control.exceptions), FIELD(control.word3), FIELD(control.word4), FIELD(control.word5),
	FIELD(control.pause_threshold), FIELD(control.pause_count), FIELD(control.iopm), FIELD(control.msrpm),
	FIELD(control.tsc_offset), FIELD(control.asid), FIELD(control.tlb_control), FIELD(control.int_ctl),
	FIELD(control.int_vector), FIELD(control.int_state), FIELD(control.nested_ctl), FIELD(control.avic_bar),
	FIELD(control.event_inj), FIELD(control.nested_cr3), FIELD(control.virt_ext), FIELD(control.clean),
	FIELD(control.next_rip),
	SEGMENT(es), SEGMENT(cs), SEGMENT(ss), SEGMENT(ds), SEGMENT(fs), SEGMENT(gs), SEGMENT(gdtr), SEGMENT(ldtr),
	SEGMENT(idtr), SEGMENT(tr),
	FIELD(save.cpl), FIELD(save.efer), FIELD(save.cr4), FIELD(save.cr3), FIELD(save.cr0), FIELD(save.dr7),
	FIELD(save.dr6), FIELD(save.rflags), FIELD(save.rip), FIELD(save.rsp), FIELD(save.rax), FIELD(save.cr2),
	FIELD(save.g_pat), FIELD(save.dbgctl), FIELD(save.lstar), FIELD(save.kernel_gs_base),
};

const struct hyper_vendor hyper_svm = {
	.fill = fill, .field = fields, .fields = sizeof(fields) / sizeof(fields[0]), .code = code, .prepare = prepare,
	.table = 0x67, .page = 0x67, .large = 0xe7,
};
