/* SPDX-License-Identifier: MIT */
/*
 * Guests that are hypervisors, hostile ones: what they enter L2 with is mostly
 * right, so that L2 runs (the same wild code as other guests), and is bent by
 * this process while it does.
 */
#include <string.h>
#include <unistd.h>

#include "hyper.h"

void hyper_put(uint8_t **at, const void *bytes, size_t size)
{
	memcpy(*at, bytes, size);
	*at += size;
}

void hyper_set_msr(int vcpu, uint32_t index, uint64_t value)
{
	struct kvm_msrs *m = room(sizeof(*m) + sizeof(m->entries[0]));

	memset(m, 0, sizeof(*m));
	m->nmsrs = 1;
	m->entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	fuzz_ioctl(vcpu, KVM_SET_MSRS, m);
}

uint64_t hyper_msr(int vcpu, uint32_t index)
{
	struct kvm_msrs *m = room(sizeof(*m) + sizeof(m->entries[0]));

	memset(m, 0, sizeof(*m));
	m->nmsrs = 1;
	m->entries[0] = (struct kvm_msr_entry){ .index = index };
	return fuzz_ioctl(vcpu, KVM_GET_MSRS, m) == 1 ? m->entries[0].data : 0;
}

uint64_t hyper_map_edge(void)
{
	static const uint64_t edges[] = {
		ARENA - PAGE, ARENA - 2 * PAGE, ARENA - 1, ARENA, 1ULL << 36, (1ULL << 40) - 2 * PAGE, (1ULL << 48) - 3 * PAGE,
		(1ULL << 52) - PAGE, ~0ULL, 0,
	};

	return one_in(4) ? pick(edges) : hyper_page(HYPER_MAPS);
}

static const struct hyper_vendor *vendor_of(const struct fuzz_world *w)
{
	return w->amd ? &hyper_svm : &hyper_vmx;
}

static void bend(const struct hyper_vendor *v, char *vmcb, unsigned int count)
{
	while (count--) {
		const struct hyper_field *f = &v->field[below(v->fields)];
		uint64_t value = one_in(3) ? below(2 * ARENA_PAGES) * PAGE : number();

		if (one_in(3)) {
			memcpy(&value, vmcb + f->offset, f->size);
			value ^= 1ULL << below(f->size * 8);
		}
		memcpy(vmcb + f->offset, &value, f->size);
	}
}

static char *vmcb_at(struct fuzz_world *w, unsigned int n)
{
	return w->memory + hyper_page(HYPER_VMCB + n);
}

static void fill(struct fuzz_world *w, unsigned int n)
{
	vendor_of(w)->fill(w, vmcb_at(w, n));
	if (one_in(2))
		bend(vendor_of(w), vmcb_at(w, n), 1 + (unsigned int)below(3));
}

/* The second level maps the first 2 MiB to themselves, and a few pages elsewhere, or not at all. */
static void put_tables(struct fuzz_world *w)
{
	uint64_t *p4 = (uint64_t *)(w->memory + hyper_page(HYPER_TABLES)), *p3 = p4 + 512, *p2 = p3 + 512, *p1 = p2 + 512;
	uint64_t table = vendor_of(w)->table;

	memset(p4, 0, 4 * PAGE);
	p4[0] = hyper_page(HYPER_TABLES + 1) | table;
	p3[0] = hyper_page(HYPER_TABLES + 2) | table;
	p3[3] = 0xc0000000 | vendor_of(w)->large;
	p2[0] = hyper_page(HYPER_TABLES + 3) | table;
	p2[1] = 0x200000 | vendor_of(w)->large;
	for (unsigned int i = 0; i < 512; i++)
		p1[i] = one_in(40) ? number() : i * PAGE | vendor_of(w)->page;
	if (one_in(8))
		p4[below(2048)] = number();
}

void hyper_make(struct fuzz_world *w)
{
	char *maps = w->memory + hyper_page(HYPER_MAPS);

	if (vendor_of(w)->learn)
		vendor_of(w)->learn(w);
	for (unsigned int n = 0; n < HYPER_VMCBS; n++)
		fill(w, n);
	put_tables(w);
	memset(maps, one_in(2) ? 0 : -1, (HYPER_END - HYPER_MAPS) * PAGE);
	for (unsigned int n = (unsigned int)below(40); n; n--)
		maps[below((HYPER_END - HYPER_MAPS) * PAGE)] = (char)number();
	memset(w->memory + hyper_page(HYPER_CODE), 0x90, PAGE);
	vendor_of(w)->code((uint8_t *)w->memory + hyper_page(HYPER_CODE), PAGE);
}

void hyper_bend(struct fuzz_world *w)
{
	unsigned int n = (unsigned int)below(HYPER_VMCBS);

	if (one_in(3))
		fill(w, n);
	else if (one_in(8))
		put_tables(w);
	else
		bend(vendor_of(w), vmcb_at(w, n), 1);
}

/* In 64-bit mode already. */
uint64_t hyper_state(struct fuzz_world *w, int vcpu, struct kvm_sregs *s)
{
	vendor_of(w)->prepare(vcpu, s);
	return hyper_page(HYPER_CODE);
}

/* --- how often --- */

struct name {
	char text[48];
};

static uint64_t counter(int fd, const char *name)
{
	struct kvm_stats_header h;
	struct {
		struct kvm_stats_desc d;
		struct name name;
	} e;
	uint64_t value = 0;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.name_size != sizeof(e.name))
		return 0;
	for (uint32_t i = 0; i < h.num_desc; i++)
		if (pread(fd, &e, sizeof(e), (off_t)(h.desc_offset + i * sizeof(e))) == sizeof(e) &&
		    !strcmp(e.name.text, name) &&
		    pread(fd, &value, sizeof(value), (off_t)(h.data_offset + e.d.offset)) == sizeof(value))
			return value;
	return 0;
}

void hyper_count(struct fuzz_world *w)
{
	for (unsigned int i = 0; i < FUZZ_VCPUS; i++) {
		int fd = fuzz_ioctl(w->vcpu[i], KVM_GET_STATS_FD, NULL);

		if (fd < 0)
			continue;
		atomic_fetch_add(&board->nested_runs[w->amd], counter(fd, "nested_run"));
		atomic_fetch_add(&board->nested_exits[w->amd], counter(fd, "nested_exits"));
		fuzz_close(fd);
	}
}
