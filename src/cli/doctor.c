/* SPDX-License-Identifier: MIT */
/* doctor.c - what this machine has: is there a KVM, does it run a guest, what will anykvm use. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cli/cli.h"
#include "vmm/probe.h"

/* The engine gets more: it may be a build with sanitizers on a busy machine, and it does not hang. */
#define HOST_TIMEOUT_MS 2000
#define SOFT_TIMEOUT_MS 10000

struct doctor_args {
	bool json;
};

struct report {
	bool exists, is_char;
	struct probe host, soft;
	char vendor[64], model[128], flags[8192];
	long cpus;
};

static int set_json(void *args, const char *v, struct vmm_err *err)
{
	((struct doctor_args *)args)->json = true;
	return 0;
}

const struct option_row doctor_options[] = {
	{ .name = "json", .set = set_json, .help = "for machines" },
	{ .name = NULL },
};

/* "key\t: value" of the first CPU. */
static void cpuinfo_line(const char *line, const char *key, char *to, size_t len)
{
	const char *colon = strchr(line, ':');
	size_t n = strlen(key);

	if (to[0] || !colon || strncmp(line, key, n) || (line[n] != '\t' && line[n] != ' ' && line[n] != ':'))
		return;
	snprintf(to, len, "%s", colon + (colon[1] == ' ' ? 2 : 1));
	to[strcspn(to, "\n")] = 0;
}

static void read_cpuinfo(struct report *r)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char *line = NULL;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		cpuinfo_line(line, "vendor_id", r->vendor, sizeof(r->vendor));
		cpuinfo_line(line, "model name", r->model, sizeof(r->model));
		cpuinfo_line(line, "flags", r->flags, sizeof(r->flags));
	}
	free(line);
	if (f)
		fclose(f);
	r->cpus = sysconf(_SC_NPROCESSORS_ONLN);
}

static bool has_flag(const struct report *r, const char *flag)
{
	size_t n = strlen(flag);

	for (const char *p = r->flags; (p = strstr(p, flag)); p += n)
		if ((p == r->flags || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

static const char *virtualization(const struct report *r)
{
	return has_flag(r, "vmx") ? "vmx" : has_flag(r, "svm") ? "svm" : "none";
}

static int examine(struct report *r)
{
	struct stat st;
	int err;

	memset(r, 0, sizeof(*r));
	r->exists = !stat("/dev/kvm", &st);
	r->is_char = r->exists && S_ISCHR(st.st_mode);
	read_cpuinfo(r);
	err = probe_kvm(&kvm_ops_soft, SOFT_TIMEOUT_MS, &r->soft);
	if (!err)
		err = probe_kvm(&kvm_ops_host, HOST_TIMEOUT_MS, &r->host);
	return err;
}

static const char *const features[] = {
	"sse4_2", "aes",     "sha_ni",	 "avx",	   "avx2", "fma",
	"bmi2",	  "avx512f", "fsgsbase", "rdrand", "pku",  "la57",
};

static void print_probe(const struct probe *p, const char *indent)
{
	if (p->runs)
		printf("%sruns a long-mode guest: yes (%.1f ms)\n", indent, p->ms);
	else
		printf("%sruns a long-mode guest: no: %s\n", indent, p->why);
}

static void print_host(const struct report *r)
{
	if (!r->exists) {
		puts("/dev/kvm: not there");
		return;
	}
	if (!r->host.opens) {
		printf("/dev/kvm: there, but cannot be opened: %s\n", strerror(r->host.open_errno));
		return;
	}
	printf("/dev/kvm: opens, API version %d\n", r->host.api_version);
	print_probe(&r->host, "  ");
}

static void print_text(const struct report *r)
{
	printf("CPU: %s (%s), %ld online, virtualization extensions: %s\n",
	       r->model[0] ? r->model : "unknown", r->vendor[0] ? r->vendor : "unknown", r->cpus,
	       virtualization(r));
	printf("  features:");
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (has_flag(r, features[i]))
			printf(" %s", features[i]);
	putchar('\n');
	print_host(r);
	puts("anykvm's own engine:");
	print_probe(&r->soft, "  ");
	puts(r->soft.runs ? "anykvm uses: its own engine (--accel soft)"
			  : "anykvm uses: nothing: its own engine fails");
	if (r->host.runs)
		puts("  the host's KVM works here and is faster: anykvm run --accel host");
	else if (r->host.opens)
		puts("  the host's KVM opens but does not run a guest as it should: do not use it");
}

static cJSON *probe_json(const struct probe *p)
{
	cJSON *o = cJSON_CreateObject();

	cJSON_AddBoolToObject(o, "opens", p->opens);
	if (!p->opens)
		cJSON_AddStringToObject(o, "open_error", p->open_errno ? strerror(p->open_errno) : p->why);
	else
		cJSON_AddNumberToObject(o, "api_version", p->api_version);
	cJSON_AddBoolToObject(o, "runs_guest", p->runs);
	cJSON_AddBoolToObject(o, "timed_out", p->timed_out);
	if (p->runs)
		cJSON_AddNumberToObject(o, "milliseconds", p->ms);
	else if (p->opens)
		cJSON_AddStringToObject(o, "why", p->why);
	return o;
}

static cJSON *cpu_json(struct report *r)
{
	cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "features");
	char *save = NULL;

	cJSON_AddStringToObject(o, "vendor", r->vendor);
	cJSON_AddStringToObject(o, "model", r->model);
	cJSON_AddNumberToObject(o, "online", r->cpus);
	cJSON_AddStringToObject(o, "virtualization", virtualization(r));
	for (char *f = strtok_r(r->flags, " ", &save); f; f = strtok_r(NULL, " ", &save))
		cJSON_AddItemToArray(list, cJSON_CreateString(f));
	return o;
}

static int print_json(struct report *r)
{
	cJSON *o = cJSON_CreateObject(), *dev;
	char *text;

	dev = probe_json(&r->host);
	cJSON_AddBoolToObject(dev, "exists", r->exists);
	cJSON_AddBoolToObject(dev, "character_device", r->is_char);
	cJSON_AddItemToObject(o, "dev_kvm", dev);
	cJSON_AddItemToObject(o, "engine", probe_json(&r->soft));
	cJSON_AddStringToObject(o, "uses", r->soft.runs ? "soft" : "none");
	cJSON_AddItemToObject(o, "cpu", cpu_json(r)); /* last: it cuts the flags up */
	text = cJSON_Print(o);
	cJSON_Delete(o);
	if (!text)
		return -ENOMEM;
	puts(text);
	cJSON_free(text);
	return 0;
}

int doctor_main(const struct command *cmd, int argc, char **argv)
{
	struct doctor_args args = { false };
	struct vmm_err err = { "" };
	struct report *r;
	int n = options_parse(cmd, argc, argv, &args, &err), e;

	if (n == -ECANCELED)
		return EXIT_OK;
	if (n >= 0 && n < argc)
		n = vmm_fail(&err, EINVAL, "%s: doctor takes no operands", argv[n]);
	if (n < 0)
		return usage_error(cmd, &err);
	r = malloc(sizeof(*r));
	e = r ? examine(r) : -ENOMEM;
	if (!e && args.json)
		e = print_json(r);
	else if (!e)
		print_text(r);
	if (e)
		say("doctor: %s", strerror(-e));
	n = !e && r->soft.runs ? EXIT_OK : EXIT_FAILED;
	free(r);
	return n;
}
