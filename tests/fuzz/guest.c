/* SPDX-License-Identifier: MIT */
/* Code and state of guests: some of it sensible, so that the guest gets somewhere, some of it wild. */
#include <string.h>

#include "fuzz.h"

/* --- code: pieces that leave the plain path, with random bytes between them --- */

struct piece {
	uint8_t size;
	char code[24];
};

/* A dot stands for a random byte. */
#define PIECE(text) { sizeof(text) - 1, text }

static const struct piece pieces[] = {
	PIECE("\xf4"),                          /* hlt */
	PIECE("\xe6."), PIECE("\xe4."),         /* out, in */
	PIECE("\xef"), PIECE("\xed"), PIECE("\xee"), PIECE("\xec"),
	PIECE("\xf3\x6c"), PIECE("\xf3\x6d"), PIECE("\xf3\x6e"), PIECE("\xf3\x6f"),     /* rep ins, outs */
	PIECE("\xf3\xa4"), PIECE("\xf3\xaa"), PIECE("\xf3\xa5"), PIECE("\xf3\xa6"), PIECE("\xf2\xae"),
	PIECE("\x0f\xa2"),                      /* cpuid */
	PIECE("\xb9....\x0f\x32"), PIECE("\xb9....\x0f\x30"),   /* rdmsr, wrmsr */
	PIECE("\xb9\x80\x00\x00\xc0\x0f\x30"), PIECE("\xb9\x1b\x00\x00\x00\x0f\x30"),
	PIECE("\xb9.\x08\x00\x00\x0f\x30"), PIECE("\xb9.\x4b\x56\x4d\x0f\x30"),         /* x2APIC, KVM's own */
	PIECE("\x0f\x20\xc0"), PIECE("\x0f\x22\xc0"), PIECE("\x0f\x22\xd8"), PIECE("\x0f\x22\xe0"), /* CR0, 3, 4 */
	PIECE("\x0f\x23\xf8"), PIECE("\x0f\x23\xc0"), PIECE("\x44\x0f\x22\xc0"),        /* DR7, DR0, CR8 */
	PIECE("\x0f\x01\xc1"), PIECE("\x0f\x01\xd9"),   /* vmcall, vmmcall */
	PIECE("\x0f\x01\xd8"), PIECE("\x0f\x01\xda"), PIECE("\x0f\x01\xdb"), PIECE("\x0f\x01\xdc"),     /* vmrun... */
	PIECE("\x0f\x01\xdd"), PIECE("\x0f\x01\xde"), PIECE("\x0f\x01\xdf"), PIECE("\xb8\x00\x60\x02\x00"),
	PIECE("\x0f\x01\xc2"), PIECE("\x0f\x01\xc3"), PIECE("\x0f\x01\xc4"), PIECE("\x0f\x01\xd4"),     /* vmlaunch... */
	PIECE("\x0f\xc7\x37"), PIECE("\xf3\x0f\xc7\x37"), PIECE("\x66\x0f\xc7\x37"), PIECE("\x0f\xc7\x3f"),
	PIECE("\x0f\x78\xd0"), PIECE("\x0f\x79\xd0"), PIECE("\x66\x0f\x38\x80\x0f"), PIECE("\x66\x0f\x38\x81\x0f"),
	/* Hyper-V: a guest's identity, a hypercall, a register. */
	PIECE("\xb9\x00\x00\x00\x40\x0f\x30"), PIECE("\xb9.\x00.\x00\x0f\x01\xc1"), PIECE("\xb9.\x00.\x00\x0f\x01\xd9"),
	PIECE("\xb9.\x00\x00\x40\x0f\x30"), PIECE("\xb9.\x01\x00\x40\x0f\x30"),
	/* A timer of its own that runs and ends in a vector; a message page. */
	PIECE("\xb9\xb1\x00\x00\x40\xb8..\x00\x00\x31\xd2\x0f\x30"), PIECE("\xb9\xb0\x00\x00\x40\xb8.\x13.\x00\x0f\x30"),
	PIECE("\xb9\x83\x00\x00\x40\xb8\x01..\x00\x31\xd2\x0f\x30"),
	PIECE("\x0f\x01\xd0"), PIECE("\x0f\x01\xd1"), PIECE("\x0f\x01\xc8"), PIECE("\x0f\x01\xc9"),
	PIECE("\x0f\x01\x16"), PIECE("\x0f\x01\x1e"), PIECE("\x0f\x00\x10"), PIECE("\x0f\x00\x18"),
	PIECE("\xcd."), PIECE("\xcc"), PIECE("\xcf"), PIECE("\x48\xcf"), PIECE("\xf1"), PIECE("\xce"),
	PIECE("\xea...."), PIECE("\x9a...."), PIECE("\xcb"), PIECE("\xe8.."), PIECE("\xeb."), PIECE("\x75."),
	PIECE("\x0f\x05"), PIECE("\x0f\x07"), PIECE("\x0f\x34"), PIECE("\x0f\x35"), PIECE("\x0f\xaa"),
	PIECE("\xfa"), PIECE("\xfb"), PIECE("\x9c"), PIECE("\x9d"), PIECE("\x8e\xd0"), PIECE("\x8e\xd8"),
	PIECE("\x0f\xae\x26"), PIECE("\x0f\xae\x2e"), PIECE("\x0f\xae\x06"), PIECE("\x0f\xae\x0e"), PIECE("\xdb\xe3"),
	PIECE("\xf0\x0f\xc7\x0e"), PIECE("\xf0\xff\x07"), PIECE("\x87\x07"), PIECE("\xf0\x48\x0f\xc7\x0f"),
	PIECE("\xc5\xfc\x10\x07"), PIECE("\xc5\xfc\x11\x07"), PIECE("\xc4\xe2\x7d\x91\x04."), PIECE("\x66\x0f\x7f\x07"),
	PIECE("\x0f\x01\x3f"), PIECE("\x0f\x09"), PIECE("\x0f\x01\xf9"), PIECE("\x0f\x31"), PIECE("\xf3\x90"),
	PIECE("\x66\x0f\x38\x82\x07"), PIECE("\x0f\x01\xcb"), PIECE("\x0f\x01\xca"), PIECE("\x0f\xc7\xf0"),
	PIECE("\xc7\x07...."), PIECE("\x89\x07"), PIECE("\x8b\x07"), PIECE("\xc6\x05....."), PIECE("\xbf...."),
	PIECE("\xbe...."), PIECE("\x48\xbf\x00\x00\xe0\xfe\x00\x00\x00\x00"), PIECE("\x66\xba.."), PIECE("\xba...."),
	PIECE("\xb8...."), PIECE("\x31\xc0"), PIECE("\xff\xe7"), PIECE("\xc8..."), PIECE("\xc9"), PIECE("\x61"),
};

static size_t put_piece(uint8_t *at, size_t left)
{
	const struct piece *p = &pick(pieces);

	if (p->size > left)
		return left;
	for (unsigned int i = 0; i < p->size; i++)
		at[i] = p->code[i] == '.' ? (uint8_t)number() : (uint8_t)p->code[i];
	return p->size;
}

static void put_code(uint8_t *at, size_t size)
{
	size_t done = 0;

	while (done < size) {
		if (one_in(6))
			at[done++] = (uint8_t)rnd();
		else
			done += put_piece(at + done, size - done);
	}
	/* And round again, where it comes so far. */
	memcpy(at + size - 3, "\xe9\x00\xf0", 3);
}

/* Page tables that map the first 2 MiB, and the interrupt controllers' pages, to themselves; some entries are wild. */
static void put_tables(struct fuzz_world *w)
{
	uint64_t *p4 = (uint64_t *)(w->memory + TABLES_PAGE * PAGE), *p3 = p4 + 512, *p2 = p3 + 512, *p1 = p2 + 512;

	memset(p4, 0, 4 * PAGE);
	p4[0] = ((TABLES_PAGE + 1) * PAGE) | 7;
	p3[0] = ((TABLES_PAGE + 2) * PAGE) | 7;
	p3[3] = 0xc0000087;
	p2[0] = ((TABLES_PAGE + 3) * PAGE) | 7;
	p2[1] = 0x200087;
	for (unsigned int i = 0; i < 512; i++)
		p1[i] = one_in(40) ? number() : i * PAGE | 7;
	if (one_in(8))
		p4[below(2048)] = number();
}

void guest_code(struct fuzz_world *w)
{
	/* An interrupt table of real mode that leads into the code. */
	for (unsigned int i = 0; i < 256; i++)
		((uint32_t *)w->memory)[i] = PAGE + (uint32_t)below(CODE_PAGES * PAGE);
	for (unsigned int i = 0; i < CODE_PAGES; i++)
		put_code((uint8_t *)w->memory + (1 + i) * PAGE, PAGE);
	for (size_t i = (1 + CODE_PAGES) * PAGE; i < TABLES_PAGE * PAGE; i += 8 * (1 + below(16)))
		*(uint64_t *)(w->memory + i) = number();
	put_tables(w);
	hyper_make(w);
}

/* --- state --- */

static void flat(struct kvm_segment *s, uint16_t selector, uint8_t type, bool wide)
{
	*s = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1,
		.db = !wide, .l = wide && type >= 8,
	};
}

static void flat_all(struct kvm_sregs *s, bool wide)
{
	flat(&s->cs, 8, 11, wide);
	flat(&s->ds, 16, 3, false);
	s->es = s->fs = s->gs = s->ss = s->ds;
	s->gdt.base = 0x800;
	s->gdt.limit = 0x7f;
	s->idt.base = 0;
	s->idt.limit = 0xfff;
}

static void real_mode(struct kvm_sregs *s)
{
	s->cr0 &= ~0x80000001ULL;
	s->cs.base = s->cs.selector = 0;
}

static void protected_mode(struct kvm_sregs *s)
{
	s->cr0 = 0x11 | below(2) << 31;
	s->cr3 = one_in(2) ? TABLES_PAGE * PAGE : number();
	s->cr4 = rnd() & 0x6b0;
	s->efer = 0;
	flat_all(s, false);
}

static void long_mode(struct kvm_sregs *s)
{
	s->cr0 = 0x80000011 | (rnd() & 0x10022);
	s->cr3 = TABLES_PAGE * PAGE;
	s->cr4 = 0x20 | (rnd() & 0x40690);
	s->efer = 0x501 | (rnd() & 0x800);
	flat_all(s, !one_in(4));
	if (one_in(4))
		s->cs.dpl = s->ss.dpl = 3;
}

static void wild(struct kvm_sregs *s)
{
	for (unsigned int n = 1 + (unsigned int)below(4); n; n--)
		((uint64_t *)s)[below(sizeof(*s) / 8)] = number();
}

void guest_state(struct fuzz_world *w, int vcpu)
{
	static void (*const modes[])(struct kvm_sregs *s) = { real_mode, protected_mode, long_mode, long_mode, wild };
	struct kvm_sregs s;
	struct kvm_regs r;
	uint64_t rip = PAGE + below(CODE_PAGES * PAGE);

	if (fuzz_ioctl(vcpu, KVM_GET_SREGS, &s))
		return;
	if (one_in(2)) {
		long_mode(&s);
		flat_all(&s, true);
		rip = hyper_state(w, vcpu, &s);
	} else {
		pick(modes)(&s);
	}
	if (one_in(16))
		wild(&s);
	fuzz_ioctl(vcpu, KVM_SET_SREGS, &s);
	for (unsigned int i = 0; i < sizeof(r) / 8; i++)
		((uint64_t *)&r)[i] = one_in(2) ? below(ARENA) : number();
	r.rip = one_in(16) ? number() : rip;
	r.rflags = one_in(8) ? number() : 2 | (rnd() & 0x4cd5);
	fuzz_ioctl(vcpu, KVM_SET_REGS, &r);
}
