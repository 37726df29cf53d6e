/* SPDX-License-Identifier: MIT */
/*
 * The client changes the mapping of memory behind a slot while a guest runs on it: what KVM learns by its notifiers,
 * and an engine with translations and decoded code of its own has to find out.  One page is data to the guest, or
 * code, and is changed in each way that Linux has.
 */
#include "guest.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "anykvm.h"

#define BASE 0x100000UL         /* the page in question, in a slot of its own */
#define SPARE 0x5000            /* what stands for it in the other role */
#define RESULT 0x6000           /* what the guest found: data, turns, code; and the word that stops it */
#define SCRATCH 0x7000
#define TURNS 20                /* of each change */

/*
 * rsi: data, rdi: RESULT, rbx: a page to be written, rbp: a function.
 * 1: mov al,[rsi]; mov [rdi],al; inc ecx; mov [rbx],ecx; mov [rdi+8],ecx; call rbp; mov [rdi+16],al;
 * cmp byte [rdi+24],0; je 1b; hlt
 */
static const uint8_t program[] = {
	0x8a, 0x06, 0x88, 0x07, 0xff, 0xc1, 0x89, 0x0b, 0x89, 0x4f, 0x08, 0xff, 0xd5, 0x88, 0x47, 0x10,
	0x80, 0x7f, 0x18, 0x00, 0x74, 0xea, 0xf4,
};

#define AT_READ GUEST_CODE              /* RIP of the read, and of the write */
#define AT_WRITE (GUEST_CODE + 6)

enum role { DATA, CODE };

struct world {
	struct guest g;
	uint8_t *page;
	pthread_t thread;
	int result, err;
};

/* mov al,@v; ret: a function that gives it, whose second byte it is. */
static void put(uint8_t *page, uint8_t v)
{
	static const uint8_t function[] = { 0xb0, 0, 0xc3 };

	memcpy(page, function, sizeof(function));
	page[1] = v;
}

/* A guest on @page: @role says what it is to it.  @writes: it is written to too. */
static bool make(struct world *w, uint8_t *page, enum role role, bool writes)
{
	memset(w, 0, sizeof(*w));
	if (!guest_runs_long_mode())
		return false;
	w->g = guest_of(program, sizeof(program), false);
	w->page = page;
	assert_int_equal(api_cap(api_sys(), ANYKVM_CAP_ENGINE), !api_real());
	guest_long(&w->g);
	put(w->g.mem + SPARE, 0xee);
	api_ok(api_set_slot(w->g.vm, 1, 0, BASE, PAGE, page));
	SET(&w->g, rsi, (role == DATA ? BASE : SPARE) + 1);
	SET(&w->g, rdi, RESULT);
	SET(&w->g, rbx, writes ? BASE + 64 : SCRATCH);
	SET(&w->g, rbp, role == CODE ? BASE : SPARE);
	return true;
}

/* The same; where there is none the case is skipped. */
static void need(struct world *w, uint8_t *page, enum role role, bool writes)
{
	if (make(w, page, role, writes))
		return;
	munmap(page, PAGE);
	skip();
}

static void end(struct world *w)
{
	guest_end(&w->g);
	munmap(w->page, PAGE);
}

static void *run_main(void *arg)
{
	struct world *w = arg;

	w->result = api_ioctl(w->g.vcpu, KVM_RUN, NULL);
	w->err = errno;
	return NULL;
}

static void start(struct world *w)
{
	w->g.mem[RESULT + 24] = 0;
	assert_int_equal(pthread_create(&w->thread, NULL, run_main, w), 0);
}

static void stop(struct world *w)
{
	*(volatile uint8_t *)&w->g.mem[RESULT + 24] = 1;
	pthread_join(w->thread, NULL);
	assert_int_equal(w->result, 0);
	assert_int_equal(w->g.run->exit_reason, KVM_EXIT_HLT);
	/* From the HLT on once more. */
	SET(&w->g, rip, GUEST_CODE);
}

/*
 * KVM_RUN ends, with EFAULT, and the guest stands before the access.  A kernel that emulates what the guest does makes
 * a device access of it: false.
 */
static bool ends_with_efault(struct world *w, uint64_t rip)
{
	pthread_join(w->thread, NULL);
	if (api_real() && !w->result && w->g.run->exit_reason != KVM_EXIT_HLT)
		return false;
	assert_int_equal(w->result, -1);
	assert_int_equal(w->err, EFAULT);
	assert_int_equal(guest_regs(&w->g).rip, rip);
	return true;
}

static uint32_t turns(struct world *w)
{
	return *(volatile uint32_t *)&w->g.mem[RESULT + 8];
}

static bool within(uint64_t *ms)
{
	struct timespec one = { 0, 1000000 };

	nanosleep(&one, NULL);
	return ++*ms < 30000;
}

/* The guest has found @v. */
static void finds(struct world *w, enum role role, uint8_t v)
{
	volatile uint8_t *at = &w->g.mem[RESULT + (role == DATA ? 0 : 16)];
	uint64_t ms = 0;

	while (*at != v)
		if (!within(&ms))
			fail_msg("the guest still finds %#x, not %#x", *at, v);
}

/* So many more turns are done, from the translations that there are. */
static void goes_on(struct world *w, uint32_t n)
{
	uint32_t from = turns(w);
	uint64_t ms = 0;

	while (turns(w) - from < n)
		if (!within(&ms))
			fail_msg("the guest stands still");
}

/* --- ways to put other contents there, in one step --- */

static void *map_memfd(int fd, int flags, void *at)
{
	void *p = mmap(at, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, flags | (at ? MAP_FIXED : 0), fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int memfd_with(uint8_t v)
{
	uint8_t page[PAGE] = { 0 };
	int fd = memfd_create("page", MFD_CLOEXEC);

	put(page, v);
	assert_int_equal(pwrite(fd, page, PAGE, 0), PAGE);
	return fd;
}

static uint8_t *begin_anonymous(int *fd)
{
	*fd = -1;
	return api_memory(PAGE);
}

static void by_map_fixed(uint8_t *page, int *fd, uint8_t v)
{
	int file = memfd_with(v);

	map_memfd(file, MAP_SHARED, page);
	close(file);
}

static void by_mremap(uint8_t *page, int *fd, uint8_t v)
{
	uint8_t *next = api_memory(PAGE);

	put(next, v);
	assert_ptr_equal(mremap(next, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, page), page);
}

/* A private copy of a file's page, which is thrown away: the file's is there again. */
static uint8_t *begin_private(int *fd)
{
	*fd = memfd_with(0);
	return map_memfd(*fd, MAP_PRIVATE, NULL);
}

static void by_dontneed(uint8_t *page, int *fd, uint8_t v)
{
	uint8_t file[PAGE] = { 0 };

	page[PAGE - 1] = v;
	put(file, v);
	assert_int_equal(pwrite(*fd, file, PAGE, 0), PAGE);
	assert_int_equal(madvise(page, PAGE, MADV_DONTNEED), 0);
}

/* Another page of a file comes to its place, as remap_file_pages() did it: the old mapping goes as the new one comes. */
static void by_file_offset(uint8_t *page, int *fd, uint8_t v)
{
	uint8_t file[PAGE] = { 0 };

	put(file, v);
	assert_int_equal(pwrite(*fd, file, PAGE, (off_t)(v * PAGE)), PAGE);
	assert_ptr_equal(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *fd, (off_t)(v * PAGE)), page);
}

static const struct way {
	uint8_t *(*begin)(int *fd);
	void (*change)(uint8_t *page, int *fd, uint8_t v);
} ways[] = {
	{ begin_anonymous, by_map_fixed },
	{ begin_anonymous, by_mremap },
	{ begin_private, by_dontneed },
	{ begin_private, by_file_offset },
};

/* Translations made, and blocks of code decoded, so far; the vCPU does not run. */
static void counters(struct world *w, uint64_t n[2])
{
	n[0] = api_real() ? 0 : api_stat(w->g.vcpu, "tlb_fills");
	n[1] = api_real() ? 0 : api_stat(w->g.vm, "blocks_decoded");
}

static void replaced(const struct way *way, enum role role)
{
	uint64_t before[2], after[2];
	struct world w;
	int fd;
	uint8_t *page = way->begin(&fd);

	put(page, 0xdd);
	need(&w, page, role, false);
	start(&w);
	finds(&w, role, 0xdd);
	goes_on(&w, 1000);
	stop(&w);
	counters(&w, before);
	start(&w);
	for (uint8_t v = 1; v <= TURNS; v++) {
		way->change(page, &fd, v);
		finds(&w, role, v);
	}
	goes_on(&w, 1000);
	stop(&w);
	counters(&w, after);
	if (!api_real()) {
		/* The translations were those from before all along; of code, each was decoded anew. */
		assert_int_equal(after[0], before[0]);
		assert_in_range(after[1] - before[1], role == CODE ? TURNS : 0, role == CODE ? ~0ULL : 0);
	}
	end(&w);
	if (fd >= 0)
		close(fd);
}

#define REPLACED(name, n, role) static void name(void **state) { replaced(&ways[n], role); }

REPLACED(map_fixed_data, 0, DATA)
REPLACED(map_fixed_code, 0, CODE)
REPLACED(mremap_data, 1, DATA)
REPLACED(mremap_code, 1, CODE)
REPLACED(dontneed_data, 2, DATA)
REPLACED(dontneed_code, 2, CODE)
REPLACED(file_offset_data, 3, DATA)
REPLACED(file_offset_code, 3, CODE)

/* --- memory that goes --- */

static void gone(enum role role, bool writes, uint64_t rip)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);

	put(page, 1);
	need(&w, page, role, writes);
	start(&w);
	finds(&w, role, 1);
	goes_on(&w, 1000);
	assert_int_equal(munmap(page, PAGE), 0);
	if (!ends_with_efault(&w, rip)) {
		end(&w);
		skip();
	}
	/* As often as it is tried, until there is memory again; nothing was lost. */
	start(&w);
	assert_true(ends_with_efault(&w, rip));
	assert_ptr_equal(mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), page);
	put(page, 2);
	start(&w);
	finds(&w, role, 2);
	stop(&w);
	end(&w);
}

static void munmap_read(void **state)
{
	gone(DATA, false, AT_READ);
}

static void munmap_code(void **state)
{
	gone(CODE, false, BASE);
}

/* A hole in a file, and what may be dropped at any time: zeroes, or the contents. */
static void removed(void **state)
{
	struct world w;
	int fd = memfd_with(7);
	uint8_t *page = map_memfd(fd, MAP_SHARED, NULL);

	need(&w, page, DATA, true);
	start(&w);
	for (uint8_t v = 1; v <= TURNS; v++) {
		page[1] = v;
		finds(&w, DATA, v);
		assert_int_equal(madvise(page, PAGE, MADV_REMOVE), 0);
		finds(&w, DATA, 0);
	}
	stop(&w);
	end(&w);
	close(fd);
}

static void freed(void **state)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);

	put(page, 1);
	need(&w, page, DATA, true);
	start(&w);
	for (uint8_t v = 1; v <= TURNS; v++) {
		page[1] = v;
		finds(&w, DATA, v);
		assert_int_equal(madvise(page, PAGE, MADV_FREE), 0);
		goes_on(&w, 1000);
		assert_true(page[1] == v || page[1] == 0);
	}
	stop(&w);
	end(&w);
}

/* --- rights --- */

static void read_only(void **state)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);
	uint32_t was;

	/* Who only reads notices nothing. */
	put(page, 1);
	need(&w, page, DATA, false);
	start(&w);
	finds(&w, DATA, 1);
	assert_int_equal(mprotect(page, PAGE, PROT_READ), 0);
	goes_on(&w, 1000);
	stop(&w);
	/* Who writes stops there, and reads on where he does not. */
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
	SET(&w.g, rbx, BASE + 64);
	start(&w);
	goes_on(&w, 1000);
	assert_int_equal(mprotect(page, PAGE, PROT_READ), 0);
	if (!ends_with_efault(&w, AT_WRITE)) {
		end(&w);
		skip();
	}
	was = *(uint32_t *)(page + 64);
	start(&w);
	assert_true(ends_with_efault(&w, AT_WRITE));
	assert_int_equal(*(uint32_t *)(page + 64), was);
	/* The write comes, once, when it may. */
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
	w.g.mem[RESULT + 24] = 1;
	run_main(&w);
	assert_int_equal(w.result, 0);
	assert_int_equal(*(uint32_t *)(page + 64), was + 1);
	end(&w);
}

static void no_access_code(void **state)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);

	put(page, 1);
	need(&w, page, CODE, false);
	start(&w);
	finds(&w, CODE, 1);
	assert_int_equal(mprotect(page, PAGE, PROT_NONE), 0);
	if (!ends_with_efault(&w, BASE)) {
		end(&w);
		skip();
	}
	assert_int_equal(mprotect(page, PAGE, PROT_READ | PROT_WRITE), 0);
	page[1] = 2;
	start(&w);
	finds(&w, CODE, 2);
	stop(&w);
	end(&w);
}

/* --- what must change nothing --- */

static void soft_dirty(void **state)
{
	struct world w;
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	uint8_t *page = api_memory(PAGE);
	uint32_t last = 0;

	put(page, 1);
	if (fd < 0 || !make(&w, page, DATA, true)) {
		if (fd >= 0)
			close(fd);
		munmap(page, PAGE);
		skip();
	}
	start(&w);
	for (int i = 0; i < TURNS; i++) {
		uint32_t now;

		/* 4: the soft-dirty bits. */
		assert_int_equal(write(fd, "4", 1), 1);
		goes_on(&w, 1000);
		now = *(volatile uint32_t *)(page + 64);
		assert_true((int32_t)(now - last) > 0);
		last = now;
		assert_int_equal(w.g.mem[RESULT], 1);
	}
	stop(&w);
	assert_int_equal(*(uint32_t *)(page + 64), turns(&w));
	end(&w);
	close(fd);
}

static void merged(void **state)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);

	put(page, 1);
	if (!make(&w, page, CODE, false) || madvise(page, PAGE, MADV_MERGEABLE)) {
		munmap(page, PAGE);
		skip();
	}
	start(&w);
	for (uint8_t v = 1; v <= TURNS; v++) {
		page[1] = v;
		finds(&w, CODE, v);
		assert_int_equal(madvise(page, PAGE, v % 2 ? MADV_UNMERGEABLE : MADV_MERGEABLE), 0);
	}
	stop(&w);
	end(&w);
}

/*
 * The memory of a child is a copy: its writes are its own, and the guest's are not there.  What the parent and its
 * guest write goes on to be shared between these two.
 */
static int child(uint8_t *page)
{
	uint32_t seen = *(volatile uint32_t *)(page + 64);
	struct timespec ms = { 0, 1000000 };

	page[1] = 0x99;
	for (int i = 0; i < 20; i++) {
		nanosleep(&ms, NULL);
		if (*(volatile uint32_t *)(page + 64) != seen || page[1] != 0x99)
			return 1;
	}
	return 0;
}

static void forked(enum role role)
{
	struct world w;
	uint8_t *page = api_memory(PAGE);

	put(page, 1);
	need(&w, page, role, role == DATA);
	start(&w);
	for (uint8_t v = 1; v <= 5; v++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(child(page));
		goes_on(&w, 1000);
		/* The first writer after the copy, of which the guest must hear. */
		page[1] = v;
		finds(&w, role, v);
		if (role == DATA)
			assert_true(*(volatile uint32_t *)(page + 64) > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		finds(&w, role, v);
	}
	stop(&w);
	if (role == DATA)
		assert_int_equal(*(uint32_t *)(page + 64), turns(&w));
	end(&w);
}

static void fork_data(void **state)
{
	forked(DATA);
}

static void fork_code(void **state)
{
	forked(CODE);
}

/* --- userfaultfd --- */

/* -1: this machine has it not, or not for us. */
static int open_uffd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	/* A kernel's KVM takes its faults in kernel mode, the library in the client's. */
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | (api_real() ? 0 : UFFD_USER_MODE_ONLY));

	if (fd < 0)
		return -1;
	if (!ioctl(fd, UFFDIO_API, &api) && (api.features & features) == features)
		return fd;
	close(fd);
	return -1;
}

static bool watch(int fd, void *page, uint64_t mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)page, PAGE }, .mode = mode };

	return !ioctl(fd, UFFDIO_REGISTER, &r);
}

/* The next fault, at @page; its flags. */
static uint64_t next_fault(int fd, void *page)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct uffd_msg m;

	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(read(fd, &m, sizeof(m)), sizeof(m));
	assert_int_equal(m.event, UFFD_EVENT_PAGEFAULT);
	assert_int_equal(m.arg.pagefault.address & ~(PAGE - 1), (uintptr_t)page);
	return m.arg.pagefault.flags;
}

static void missing(enum role role)
{
	uint8_t *page = api_memory(PAGE), next[PAGE] __attribute__((aligned(PAGE))) = { 0 };
	struct uffdio_copy copy = { .dst = (uintptr_t)page, .src = (uintptr_t)next, .len = PAGE };
	int fd = open_uffd(0);
	struct world w;

	put(page, 0xdd);
	if (fd < 0 || !watch(fd, page, UFFDIO_REGISTER_MODE_MISSING) || !make(&w, page, role, false)) {
		if (fd >= 0)
			close(fd);
		munmap(page, PAGE);
		skip();
	}
	start(&w);
	finds(&w, role, 0xdd);
	for (uint8_t v = 1; v <= TURNS; v++) {
		uint32_t then;

		/* The guest waits for the page, and finds what it is given. */
		assert_int_equal(madvise(page, PAGE, MADV_DONTNEED), 0);
		next_fault(fd, page);
		then = turns(&w);
		put(next, v);
		assert_int_equal(turns(&w), then);
		copy.copy = 0;
		assert_int_equal(ioctl(fd, UFFDIO_COPY, &copy), 0);
		finds(&w, role, v);
	}
	stop(&w);
	end(&w);
	close(fd);
}

static void uffd_missing_data(void **state)
{
	missing(DATA);
}

static void uffd_missing_code(void **state)
{
	missing(CODE);
}

static bool protect(int fd, void *page, bool on)
{
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)page, PAGE }, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0 };

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Every write after the protection is held until it is let: a snapshot of running memory. */
static void uffd_write_protected(void **state)
{
	uint8_t *page = api_memory(PAGE);
	int fd = open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	struct world w;

	put(page, 1);
	if (fd < 0 || !watch(fd, page, UFFDIO_REGISTER_MODE_WP) || !make(&w, page, DATA, true)) {
		if (fd >= 0)
			close(fd);
		munmap(page, PAGE);
		skip();
	}
	start(&w);
	for (int i = 0; i < TURNS; i++) {
		uint32_t then;

		goes_on(&w, 1000);
		assert_true(protect(fd, page, true));
		then = *(volatile uint32_t *)(page + 64);
		assert_true(next_fault(fd, page) & UFFD_PAGEFAULT_FLAG_WP);
		assert_int_equal(*(volatile uint32_t *)(page + 64), then);
		assert_true(protect(fd, page, false));
	}
	stop(&w);
	assert_int_equal(*(uint32_t *)(page + 64), turns(&w));
	end(&w);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(map_fixed_data), cmocka_unit_test(map_fixed_code),
	cmocka_unit_test(mremap_data), cmocka_unit_test(mremap_code),
	cmocka_unit_test(dontneed_data), cmocka_unit_test(dontneed_code),
	cmocka_unit_test(file_offset_data), cmocka_unit_test(file_offset_code),
	cmocka_unit_test(munmap_read), cmocka_unit_test(munmap_code),
	cmocka_unit_test(removed), cmocka_unit_test(freed),
	cmocka_unit_test(read_only), cmocka_unit_test(no_access_code),
	cmocka_unit_test(soft_dirty), cmocka_unit_test(merged),
	cmocka_unit_test(fork_data), cmocka_unit_test(fork_code),
	cmocka_unit_test(uffd_missing_data), cmocka_unit_test(uffd_missing_code),
	cmocka_unit_test(uffd_write_protected),
};

API_MAIN(tests)
