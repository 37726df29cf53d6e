# SPDX-License-Identifier: MIT
# anykvm's front door.  Meson does the building (meson.build); what follows installs what is missing, calls it,
# and runs the result.

BUILD := build

.PHONY: all run nested check check-all fuzz bench clean install help deps guest boot tested

# Standard output belongs to the guest and to the results of tests; all else is said on standard error.
build_all = { [ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) $(if $(PREFIX),--prefix $(PREFIX)) >&2; } && \
	ninja -C $(BUILD) >&2

all: deps
	@$(build_all)

help:
	@echo "make              build everything in $(BUILD)/"
	@echo "make run          boot Debian's kernel to a shell; ends with 'poweroff' or Ctrl-a x"
	@echo "                  CMD='uname -a'   run that in the guest instead, exit with its status"
	@echo "                  ARGS='-c 2'      more options for 'anykvm run'"
	@echo "                  V=1              with the kernel's messages"
	@echo "make nested       three of Debian's kernels inside each other, each a hypervisor for the next"
	@echo "                  ARGS='--cpu amd' LEVELS=2 KERNEL=6.12-cloud-amd64"
	@echo "make check        build and run all tests"
	@echo "                  TESTS='irq vmm'  only these suites"
	@echo "make check-all    the same, with the tests that take long"
	@echo "make fuzz         wild clients on a build with AddressSanitizer, in $(BUILD)-asan/, for ten minutes"
	@echo "                  SECONDS=60 SEED=7"
	@echo "make bench        compare with QEMU's TCG and with this machine itself"
	@echo "                  ARGS='--rounds 9'"
	@echo "make install      install under PREFIX (default /usr/local), below DESTDIR if that is set"
	@echo "make clean        remove $(BUILD)/"

# 'make' alone needs only what every target needs.
deps:
	@tools/deps.sh $(filter run nested check check-all bench,$(patsubst fuzz,check,$(patsubst check-all,check check-all,$(MAKECMDGOALS))))

# Make turns every failure into status 2, and says so behind all that was printed; the guest's own status, and that of
# the tests, leave through tools/make-exit.c.  Without that (a make that cannot load objects) the last line fails
# instead, and tools/run.sh is the way to learn the status.
ifneq ($(filter run check check-all,$(MAKECMDGOALS)),)
-load $(BUILD)/make-exit.so(make_exit_gmk_setup)
$(BUILD)/make-exit.so: tools/make-exit.c
	@tools/deps.sh $(filter run check check-all,$(patsubst check-all,check check-all,$(MAKECMDGOALS)))
	@mkdir -p $(BUILD)
	@$(CC) -O2 -fPIC -shared -o $@ $<
endif

run: boot
	$(exit-with $(file <$(BUILD)/run.status))
	@exit $(file <$(BUILD)/run.status)

# The shell must get the command as it was typed, without make's own expansion of dollar signs.
boot: override export CMD := $(value CMD)
boot: all
	@tools/run.sh $(BUILD) $(ARGS); echo $$? >$(BUILD)/run.status

nested: all
	@LEVELS=$(LEVELS) KERNEL=$(KERNEL) tools/nested.sh $(BUILD) $(ARGS)

# Debian's kernel and the initramfs, as the tests and the benchmark boot them.
guest: all
	@tools/guest.sh $(BUILD)

check check-all: tested
	$(exit-with $(file <$(BUILD)/check.status))
	@exit $(file <$(BUILD)/check.status)

# The kernel's selftests are built where they are run: two downloads, and two minutes.
selftests := $(if $(or $(filter selftests%,$(TESTS)),$(if $(TESTS),,all)),tools/selftests.sh $(BUILD) 6.1 6.12,true)

# A build that fails is a test that fails: the last line is the count in any case.
tested:
	@mkdir -p $(BUILD)
	@if tools/deps.sh check && $(build_all) && tools/guest.sh $(BUILD) && $(selftests); then \
		tests/run $(BUILD) $(if $(filter check-all,$(MAKECMDGOALS)),--setup all) $(addprefix --suite ,$(TESTS)); \
	else \
		echo "anykvm: the tests cannot be built" >&2; echo "0 passed, 1 failed"; false; \
	fi; echo $$? >$(BUILD)/check.status

SEED := 1
SECONDS := 600
fuzz: deps
	@[ -e $(BUILD)-asan/build.ninja ] || \
		meson setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false >&2
	@ninja -C $(BUILD)-asan tests/fuzz/fuzz >&2
	@ASAN_OPTIONS=detect_leaks=0:use_sigaltstack=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		$(BUILD)-asan/tests/fuzz/fuzz --seed $(SEED) --seconds $(SECONDS)

bench: guest
	@bench/run.py --build $(BUILD) $(ARGS)

install: all
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)
