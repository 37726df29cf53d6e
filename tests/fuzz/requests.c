/* SPDX-License-Identifier: MIT */
/* Any request on any descriptor, with arguments of four kinds: no pointer, noise, state that was read, likely ones. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "kvm/arch.h"

static const struct kvm_ioctl_rows *tables(unsigned int n)
{
	return n ? &kvm_arch_x86.ioctls : &kvm_ioctl_rows_generic;
}

unsigned int request_count(void)
{
	return (unsigned int)(tables(0)->count + tables(1)->count);
}

const struct kvm_ioctl_row *request_row(unsigned int n)
{
	size_t generic = tables(0)->count;

	return n < generic ? &tables(0)->row[n] : &tables(1)->row[n - generic];
}

int request_number(uint32_t request)
{
	for (unsigned int i = 0; i < request_count(); i++)
		if (request_row(i)->request == request)
			return (int)i;
	return -1;
}

/* --- places for arguments --- */

/* One for each thread; they stay. */
static char *rooms[FUZZ_THREADS];

static char *make_room(void)
{
	size_t guard = 1 << 20;
	char *p = mmap(NULL, ROOM + guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED || mprotect(p, ROOM, PROT_READ | PROT_WRITE))
		_exit(1);
	return p;
}

void *room(size_t size)
{
	char **own = &rooms[board_number()];

	if (!*own)
		*own = make_room();
	return *own + ROOM - ((size + 7) & ~7UL);
}

static void noise(void *at, size_t size)
{
	uint64_t *p = at;

	for (size_t i = 0; i < size / 8; i++)
		p[i] = one_in(3) ? 0 : number();
	if (one_in(2))
		for (size_t i = 0; i < size / 4 && i < 16; i++)
			((uint32_t *)at)[i] = (uint32_t)number();
}

/* Not a random address: that might be something. */
static void *no_place(void)
{
	switch (below(6)) {
	case 0: return NULL;
	case 1: return (void *)below(PAGE);
	case 2: return (void *)~below(16);
	case 3: return (void *)(0x8000000000000000ULL | rnd());
	case 4: return (void *)(0x7ffffffff000UL - below(2));
	default: return (char *)room(0) + below(PAGE);
	}
}

static void *number_for(uint32_t request)
{
	uint64_t n = one_in(4) ? number() : below(8);

	/* KVM_GET_NR_MMU_PAGES returns it, and then -1 is no error. */
	return (void *)(request == (uint32_t)KVM_SET_NR_MMU_PAGES ? n & 0x7fffffff : n);
}

static void *argument(struct fuzz_world *w, int fd, const struct kvm_ioctl_row *row)
{
	size_t size = _IOC_SIZE(row->request);
	char *arg;

	if (_IOC_DIR(row->request) == _IOC_NONE && row->request != (uint32_t)KVM_REINJECT_CONTROL)
		return number_for(row->request);
	if (one_in(24))
		return no_place();
	arg = room(ROOM);
	if (one_in(4))
		noise(arg, size < 512 ? 512 : size);
	else
		shape(w, fd, row, arg);
	tame(w, row->request, arg);
	if (!one_in(16) || size > ROOM)
		return arg;
	/* Where memory ends, or a little too late. */
	memmove((char *)room(0) - size, arg, size);
	return (char *)room(0) - size + (one_in(4) ? 1 + below(size + 1) : 0);
}

/* --- which, and on what --- */

static int any_descriptor(struct fuzz_world *w)
{
	switch (below(6)) {
	case 0: return w->sys;
	case 1: return w->vm;
	case 2: return w->stats;
	case 3: return pick(w->event);
	case 4: return (int)number();
	default: return pick(w->vcpu);
	}
}

static int descriptor_for(struct fuzz_world *w, const struct kvm_ioctl_row *row)
{
	if (one_in(24))
		return any_descriptor(w);
	if (row->kinds & KVM_VCPU && (row->kinds == KVM_VCPU || one_in(2)))
		return pick(w->vcpu);
	if (row->kinds & KVM_VM && (row->kinds == KVM_VM || one_in(2)))
		return w->vm;
	return row->kinds & KVM_SYSTEM ? w->sys : w->vm;
}

static bool gives_descriptor(uint32_t request)
{
	return request == (uint32_t)KVM_CREATE_VM || request == (uint32_t)KVM_CREATE_VCPU ||
	       request == (uint32_t)KVM_GET_STATS_FD;
}

static void ask(int fd, unsigned long request, void *arg)
{
	int r = fuzz_ioctl(fd, request, arg);

	if (r > 2 && gives_descriptor((uint32_t)request))
		fuzz_close(r);
}

void request_any(struct fuzz_world *w)
{
	const struct kvm_ioctl_row *row = request_row((unsigned int)below(request_count()));
	int fd = descriptor_for(w, row);
	unsigned long request = row->request;
	void *arg;

	if (one_in(64)) {
		request = one_in(2) ? rnd() & 0xffffffff : request ^ 1UL << below(30);
		arg = no_place();
	} else {
		arg = argument(w, fd, row);
	}
	/* KVM_RUN is the business of those who are sent kicks. */
	if ((uint32_t)request != (uint32_t)KVM_RUN)
		ask(fd, request, arg);
}
