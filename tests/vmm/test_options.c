/* SPDX-License-Identifier: MIT */
/* The options of `anykvm run`: every name of each, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cli/run.h"

static const struct command run = { "run", "", "run", run_options, NULL };
const struct command commands[] = { { .name = NULL } };

static struct run_args args;
static struct vmm_err err;

static int parse(const char *line)
{
	static char buf[1024];
	char *argv[32], *save = NULL;
	int argc = 0;

	strcpy(buf, line);
	for (char *w = strtok_r(buf, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	run_defaults(&args);
	err.msg[0] = 0;
	return options_parse(&run, argc, argv, &args, &err);
}

static void refused(const char *line, const char *text)
{
	assert_true(parse(line) < 0);
	if (!strstr(err.msg, text))
		print_error("wanted \"%s\", got \"%s\"\n", text, err.msg);
	assert_non_null(strstr(err.msg, text));
}

static void defaults(void **state)
{
	assert_int_equal(parse("run"), 1);
	assert_int_equal(args.cfg.cpus, 1);
	assert_int_equal(args.cfg.memory, 512ull << 20);
	assert_string_equal(args.cfg.accel->name, "soft");
	assert_false(args.cfg.net);
	assert_null(args.cfg.kernel);
}

static void letters(void **state)
{
	assert_true(
	    parse("run -k K -i I -p a=1 -p b -c 4 -m 64 -d a -d b,ro -n user --share d --stats s -v") > 0);
	assert_string_equal(args.cfg.kernel, "K");
	assert_string_equal(args.cfg.initrd, "I");
	assert_string_equal(args.cfg.params, "a=1 b");
	assert_int_equal(args.cfg.cpus, 4);
	assert_int_equal(args.cfg.memory, 64ull << 20);
	assert_int_equal(args.cfg.disk_count, 2);
	assert_string_equal(args.cfg.disks[1].path, "b");
	assert_true(args.cfg.disks[1].read_only && !args.cfg.disks[0].read_only);
	assert_true(args.cfg.net && args.cfg.verbose);
	assert_string_equal(args.cfg.stats, "s");
}

static void long_names(void **state)
{
	static const char *const params[] = { "--params=x", "--cmdline x", "--append x", "-px" };
	static const char *const memory[] = { "--mem 64", "--memory=64", "--mem=64M", "-m65536K" };
	char line[128];

	for (size_t i = 0; i < 4; i++) {
		strcpy(line, "run ");
		assert_true(parse(strcat(line, params[i])) > 0);
		assert_string_equal(args.cfg.params, "x");
		strcpy(line, "run ");
		assert_true(parse(strcat(line, memory[i])) > 0);
		assert_int_equal(args.cfg.memory, 64ull << 20);
	}
	assert_true(
	    parse("run --kernel=k --initrd i --cpus 2 --disk d --net none --console virtio --accel host") >
	    0);
	assert_int_equal(args.cfg.console, CONSOLE_VIRTIO);
	assert_string_equal(args.cfg.accel->name, "host");
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int r;
		unsigned long long bytes;
	} all[] = {
		{ "512", 0, 512ull << 20 }, { "2G", 0, 2ull << 30 },   { "1T", 0, 1ull << 40 },
		{ "3g", 0, 3ull << 30 },    { "1GiB", 0, 1ull << 30 }, { "4096k", 0, 4ull << 20 },
		{ "7MB", 0, 7ull << 20 },   { "", -EINVAL, 0 },	       { "x", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },	    { "1.5G", -EINVAL, 0 },    { "5X", -EINVAL, 0 },
		{ "+5", -EINVAL, 0 },	    { "1GX", -EINVAL, 0 },     { "99999999999999999999", -ERANGE, 0 },
		{ "20000000T", -ERANGE, 0 },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		unsigned long long bytes = 0;

		assert_int_equal(size_parse(all[i].text, &bytes), all[i].r);
		assert_int_equal(bytes, all[i].bytes);
	}
}

static void network(void **state)
{
	assert_true(parse("run -n user,hostfwd=tcp::2222-:22,hostfwd=udp:127.0.0.1:53-:53") > 0);
	assert_int_equal(args.cfg.forward_count, 2);
	assert_int_equal(args.cfg.forwards[0].host_port, 2222);
	assert_int_equal(args.cfg.forwards[0].guest_port, 22);
	assert_true(args.cfg.forwards[1].udp);
	refused("run -n bridge", "-n bridge: unknown network");
	refused("run -n userx", "unknown network");
	refused("run -n user,foo=1", "-n foo=1: unknown");
	refused("run -n user,hostfwd=tcp:2222", "tcp:2222");
}

static void shares(void **state)
{
	assert_true(parse("run --share /a --share /b:tag --share /c:t,ro --share d,ro") > 0);
	assert_int_equal(args.cfg.share_count, 4);
	assert_string_equal(args.cfg.shares[0].tag, "share");
	assert_string_equal(args.cfg.shares[1].dir, "/b");
	assert_string_equal(args.cfg.shares[1].tag, "tag");
	assert_string_equal(args.cfg.shares[2].tag, "t");
	assert_true(args.cfg.shares[2].read_only && !args.cfg.shares[1].read_only);
	assert_string_equal(args.cfg.shares[3].dir, "d");
	assert_string_equal(args.cfg.shares[3].tag, "share3");
	refused("run --share a --share a --share a --share a --share a", "at most 4");
	refused("run --share :t", "no folder named");
	refused("run --share a:", "empty tag");
}

static void refusals(void **state)
{
	refused("run -c 0", "-c 0: not a number of vCPUs: give 1 to 254");
	refused("run -c 999999999999999999999", "not a number of vCPUs");
	refused("run -c -1", "not a number of vCPUs");
	refused("run -c 2x", "not a number of vCPUs");
	refused("run -m 0", "-m 0: too little");
	refused("run -m 1M", "too little");
	refused("run -m 1000T", "too much: this host has");
	refused("run -m lots", "-m lots: not a size");
	refused("run --accel kvm", "--accel kvm: unknown: give soft or host");
	refused("run --console vga", "--console vga: unknown");
	refused("run -d ,ro", "-d ,ro: no file named");
	refused("run -k", "-k: needs an argument");
	refused("run --kernel", "--kernel: needs an argument");
	refused("run -z", "-z: no such option");
	refused("run --frob", "--frob: no such option");
	refused("run --verbose=yes", "takes no argument");
}

static void cmdlines(void **state)
{
	static const struct {
		enum machine_console console;
		const char *params, *result;
	} all[] = {
		{ CONSOLE_SERIAL, NULL, "console=ttyS0 panic=-1" },
		{ CONSOLE_VIRTIO, NULL, "console=hvc0 panic=-1" },
		{ CONSOLE_SERIAL, "quiet", "console=ttyS0 panic=-1 quiet" },
		{ CONSOLE_SERIAL, "root=/dev/vda console=hvc0", "panic=-1 root=/dev/vda console=hvc0" },
		{ CONSOLE_SERIAL, "noconsole=1", "console=ttyS0 panic=-1 noconsole=1" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char *s = machine_cmdline(all[i].console, all[i].params);

		assert_string_equal(s, all[i].result);
		free(s);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(letters),	cmocka_unit_test(long_names),
		cmocka_unit_test(sizes),    cmocka_unit_test(network),	cmocka_unit_test(shares),
		cmocka_unit_test(refusals), cmocka_unit_test(cmdlines),
	};

	return cmocka_run_group_tests_name("vmm/options", tests, NULL, NULL);
}
