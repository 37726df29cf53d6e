/* SPDX-License-Identifier: MIT */
/* run_options.c - the options of `anykvm run`: one row and one function each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anykvm.h"
#include "cli/cli.h"
#include "cli/run.h"

#define DEFAULT_MIB 512ull
#define MEMORY_MIN  (2ull << 20)
#define MEMORY_MAX  (1ull << 39) /* what the tables and the lowest common MAXPHYADDR leave room for */

void run_defaults(struct run_args *a)
{
	memset(a, 0, sizeof(*a));
	a->cfg.accel = &kvm_ops_soft;
	a->cfg.cpus = 1;
	a->cfg.memory = DEFAULT_MIB << 20;
}

static int bad(struct vmm_err *err, const char *option, const char *value, const char *why)
{
	return vmm_fail(err, EINVAL, "%s %s: %s", option, value, why);
}

/* A piece of an argument that lives as long as the arguments; NULL where there is no more room. */
static const char *keep(struct run_args *a, const char *s, size_t len)
{
	char *p = a->text + a->used;

	if (len + 1 > RUN_TEXT - a->used)
		return NULL;
	memcpy(p, s, len);
	p[len] = 0;
	a->used += len + 1;
	return p;
}

static int set_kernel(void *args, const char *v, struct vmm_err *err)
{
	if (!*v)
		return bad(err, "-k", v, "no file named");
	((struct run_args *)args)->cfg.kernel = v;
	return 0;
}

static int set_initrd(void *args, const char *v, struct vmm_err *err)
{
	if (!*v)
		return bad(err, "-i", v, "no file named");
	((struct run_args *)args)->cfg.initrd = v;
	return 0;
}

static int set_params(void *args, const char *v, struct vmm_err *err)
{
	struct run_args *a = args;
	size_t n = strlen(a->params);

	if ((size_t)snprintf(a->params + n, sizeof(a->params) - n, "%s%s", n ? " " : "", v) >=
	    sizeof(a->params) - n)
		return vmm_fail(err, E2BIG, "-p: parameters are too long");
	a->cfg.params = a->params;
	return 0;
}

static int set_cpus(void *args, const char *v, struct vmm_err *err)
{
	struct run_args *a = args;
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(v, &end, 10);
	if (*v < '0' || *v > '9' || *end || errno || !n || n > MACHINE_MAX_CPUS)
		return vmm_fail(err, EINVAL, "-c %s: not a number of vCPUs: give 1 to %u", v,
				MACHINE_MAX_CPUS);
	a->cfg.cpus = n;
	return 0;
}

int size_parse(const char *s, unsigned long long *bytes)
{
	static const struct {
		char letter;
		unsigned int shift;
	} units[] = { { 'K', 10 }, { 'M', 20 }, { 'G', 30 }, { 'T', 40 } };
	unsigned int shift = 20;
	unsigned long long n;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno)
		return -ERANGE;
	for (size_t i = 0; *end && i < sizeof(units) / sizeof(units[0]); i++) {
		if ((*end & ~0x20) != units[i].letter)
			continue;
		shift = units[i].shift;
		end++;
		if (*end == 'i') /* GiB */
			end++;
		if (*end == 'B' || *end == 'b')
			end++;
		break;
	}
	if (*end)
		return -EINVAL;
	if (n > ~0ull >> shift)
		return -ERANGE;
	*bytes = n << shift;
	return 0;
}

static unsigned long long host_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	return pages > 0 && size > 0 ? (unsigned long long)pages * size : MEMORY_MAX;
}

static int set_memory(void *args, const char *v, struct vmm_err *err)
{
	struct run_args *a = args;
	unsigned long long bytes = 0, host = host_memory();
	int r = size_parse(v, &bytes);

	if (r == -EINVAL)
		return bad(err, "-m", v, "not a size: give MiB, or a number with M or G");
	if (r == -ERANGE || bytes > MEMORY_MAX || bytes > host)
		return vmm_fail(err, EINVAL, "-m %s: too much: this host has %llu MiB", v, host >> 20);
	if (bytes < MEMORY_MIN)
		return bad(err, "-m", v, "too little: give at least 2M");
	a->cfg.memory = bytes & ~4095ull;
	return 0;
}

/* Cut ",ro" off the end: whether it was there. */
static bool cut_ro(const char *v, size_t *len)
{
	*len = strlen(v);
	if (*len < 3 || strcmp(v + *len - 3, ",ro"))
		return false;
	*len -= 3;
	return true;
}

static int set_disk(void *args, const char *v, struct vmm_err *err)
{
	struct run_args *a = args;
	struct machine_disk *d = &a->cfg.disks[a->cfg.disk_count];
	size_t len;

	if (a->cfg.disk_count == MACHINE_MAX_DISKS)
		return vmm_fail(err, EINVAL, "-d %s: at most %u disks", v, MACHINE_MAX_DISKS);
	d->read_only = cut_ro(v, &len);
	d->path = keep(a, v, len);
	if (!len || !d->path)
		return bad(err, "-d", v, len ? "name too long" : "no file named");
	a->cfg.disk_count++;
	return 0;
}

/* One "hostfwd=..." of "user,hostfwd=...,hostfwd=..."; @len: up to the next comma. */
static int add_forward(struct run_args *a, const char *piece, size_t len, struct vmm_err *err)
{
	static const char key[] = "hostfwd=";
	struct machine_config *c = &a->cfg;
	char text[256];

	if (len < sizeof(key) - 1 || len >= sizeof(text) || strncmp(piece, key, sizeof(key) - 1))
		return vmm_fail(err, EINVAL, "-n %.*s: unknown: give hostfwd=tcp:[ADDR]:PORT-[ADDR]:PORT",
				(int)len, piece);
	if (c->forward_count == MACHINE_MAX_FORWARDS)
		return vmm_fail(err, EINVAL, "-n: at most %u forwarded ports", MACHINE_MAX_FORWARDS);
	len -= sizeof(key) - 1;
	memcpy(text, piece + sizeof(key) - 1, len);
	text[len] = 0;
	return usernet_parse_fwd(text, &c->forwards[c->forward_count++], err);
}

static int set_net(void *args, const char *v, struct vmm_err *err)
{
	struct run_args *a = args;
	size_t len = strcspn(v, ",");
	int r = 0;

	a->cfg.forward_count = 0;
	a->cfg.net = len == 4 && !strncmp(v, "user", 4);
	if (!a->cfg.net && strcmp(v, "none"))
		return bad(err, "-n", v, "unknown network: give user, user,hostfwd=tcp::PORT-:PORT, or none");
	while (v[len] && !r) {
		v += len + 1;
		len = strcspn(v, ",");
		r = add_forward(a, v, len, err);
	}
	return r;
}

static int set_share(void *args, const char *v, struct vmm_err *err)
{
	static const char *const tags[MACHINE_MAX_SHARES] = { "share", "share1", "share2", "share3" };
	struct run_args *a = args;
	struct machine_share *s = &a->cfg.shares[a->cfg.share_count];
	const char *colon;
	size_t len;

	if (a->cfg.share_count == MACHINE_MAX_SHARES)
		return vmm_fail(err, EINVAL, "--share %s: at most %u shared folders", v, MACHINE_MAX_SHARES);
	s->read_only = cut_ro(v, &len);
	colon = memrchr(v, ':', len);
	s->tag = colon ? keep(a, colon + 1, v + len - colon - 1) : tags[a->cfg.share_count];
	s->dir = keep(a, v, colon ? (size_t)(colon - v) : len);
	if (!s->dir || !s->tag)
		return bad(err, "--share", v, "name too long");
	if (!*s->dir || !*s->tag)
		return bad(err, "--share", v, *s->dir ? "empty tag" : "no folder named");
	a->cfg.share_count++;
	return 0;
}

static int set_cpu(void *args, const char *v, struct vmm_err *err)
{
	if (anykvm_set_cpu(v))
		return bad(err, "--cpu", v,
			   "unknown CPU or feature: give intel or amd, then ,+feature or -feature as "
			   "/proc/cpuinfo spells them");
	((struct run_args *)args)->cfg.cpu = v;
	return 0;
}

static int set_hyperv(void *args, const char *v, struct vmm_err *err)
{
	if (strcmp(v, "nested"))
		return bad(err, "--hyperv", v, "unknown: give nested");
	((struct run_args *)args)->cfg.hyperv_nested = true;
	return 0;
}

static int set_accel(void *args, const char *v, struct vmm_err *err)
{
	static const struct kvm_ops *const all[] = { &kvm_ops_soft, &kvm_ops_host };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(v, all[i]->name))
			continue;
		((struct run_args *)args)->cfg.accel = all[i];
		return 0;
	}
	return bad(err, "--accel", v, "unknown: give soft or host");
}

static int set_console(void *args, const char *v, struct vmm_err *err)
{
	static const char *const names[] = { [CONSOLE_SERIAL] = "serial", [CONSOLE_VIRTIO] = "virtio" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(v, names[i]))
			continue;
		((struct run_args *)args)->cfg.console = i;
		return 0;
	}
	return bad(err, "--console", v, "unknown: give serial or virtio");
}

static int set_stats(void *args, const char *v, struct vmm_err *err)
{
	if (!*v)
		return bad(err, "--stats", v, "no file named");
	((struct run_args *)args)->cfg.stats = v;
	return 0;
}

static int set_verbose(void *args, const char *v, struct vmm_err *err)
{
	((struct run_args *)args)->cfg.verbose = true;
	return 0;
}

const struct option_row run_options[] = {
	{ .name = "kernel",
	  .letter = 'k',
	  .arg = "FILE",
	  .set = set_kernel,
	  .file = true,
	  .help = "Linux kernel: bzImage (vmlinuz) or ELF vmlinux" },
	{ .name = "initrd",
	  .letter = 'i',
	  .arg = "FILE",
	  .set = set_initrd,
	  .file = true,
	  .help = "initial ramdisk" },
	{ .name = "params",
	  .aliases = { "cmdline", "append" },
	  .letter = 'p',
	  .arg = "TEXT",
	  .set = set_params,
	  .help = "kernel parameters, behind \"console=... panic=-1\"" },
	{ .name = "cpus", .letter = 'c', .arg = "N", .set = set_cpus, .help = "virtual CPUs (1)" },
	{ .name = "mem",
	  .aliases = { "memory" },
	  .letter = 'm',
	  .arg = "SIZE",
	  .set = set_memory,
	  .help = "memory in MiB, or with M or G (512)" },
	{ .name = "disk",
	  .letter = 'd',
	  .arg = "FILE[,ro]",
	  .set = set_disk,
	  .file = true,
	  .help = "raw disk image; more than once for vda, vdb, ..." },
	{ .name = "net",
	  .letter = 'n',
	  .arg = "user|none",
	  .set = set_net,
	  .values = { "user", "none" },
	  .help = "network: user[,hostfwd=tcp:[ADDR]:PORT-[ADDR]:PORT]... (none)" },
	{ .name = "share",
	  .arg = "DIR[:TAG][,ro]",
	  .set = set_share,
	  .file = true,
	  .help = "share a folder over 9p (TAG: share, share1, ...)" },
	{ .name = "cpu",
	  .arg = "MODEL[,+F,-F]",
	  .set = set_cpu,
	  .values = { "intel", "amd" },
	  .help = "CPU vendor and features (the host's vendor)" },
	{ .name = "hyperv",
	  .arg = "nested",
	  .set = set_hyperv,
	  .values = { "nested" },
	  .help = "a guest with VMX or SVM finds Hyper-V below, not KVM" },
	{ .name = "accel",
	  .arg = "soft|host",
	  .set = set_accel,
	  .values = { "soft", "host" },
	  .help = "anykvm's own engine, or the host's /dev/kvm (soft)" },
	{ .name = "console",
	  .arg = "serial|virtio",
	  .set = set_console,
	  .values = { "serial", "virtio" },
	  .help = "what the terminal is to the guest: ttyS0 or hvc0 (serial)" },
	{ .name = "stats",
	  .arg = "FILE",
	  .set = set_stats,
	  .file = true,
	  .help = "write KVM's statistics as JSON at the end" },
	{ .name = "verbose", .letter = 'v', .set = set_verbose, .help = "say what is done" },
	{ .name = NULL },
};
