# SPDX-License-Identifier: MIT
# anykvm's front door.  Meson does the building (meson.build); what follows installs what is missing, calls it,
# and runs the result.

BUILD := build

.PHONY: all run check bench clean install help deps guest boot

# Standard output belongs to the guest and to the results of tests; all else is said on standard error.
all: deps
	@[ -e $(BUILD)/build.ninja ] || meson setup $(BUILD) $(if $(PREFIX),--prefix $(PREFIX)) >&2
	@ninja -C $(BUILD) >&2

help:
	@echo "make              build everything in $(BUILD)/"
	@echo "make run          boot Debian's kernel to a shell; ends with 'poweroff' or Ctrl-a x"
	@echo "                  CMD='uname -a'   run that in the guest instead, exit with its status"
	@echo "                  ARGS='-c 2'      more options for 'anykvm run'"
	@echo "                  V=1              with the kernel's messages"
	@echo "make check        build and run all tests"
	@echo "                  TESTS='irq vmm'  only these suites"
	@echo "make bench        compare with QEMU's TCG and with this machine itself"
	@echo "                  ARGS='--rounds 9'"
	@echo "make install      install under PREFIX (default /usr/local), below DESTDIR if that is set"
	@echo "make clean        remove $(BUILD)/"

# 'make' alone needs only what every target needs.
deps:
	@tools/deps.sh $(filter run check bench,$(MAKECMDGOALS))

# Make turns every failure into status 2; the guest's own status leaves through tools/make-exit.c.  Without that
# (a make that cannot load objects) the last line fails instead, and tools/run.sh is the way to learn the status.
ifneq ($(filter run,$(MAKECMDGOALS)),)
-load $(BUILD)/make-exit.so(make_exit_gmk_setup)
$(BUILD)/make-exit.so: tools/make-exit.c
	@tools/deps.sh run
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

# Debian's kernel and the initramfs, as the tests and the benchmark boot them.
guest: all
	@tools/guest.sh $(BUILD)

check: guest
	@tests/run $(BUILD) $(addprefix --suite ,$(TESTS))

bench: guest
	@bench/run.py --build $(BUILD) $(ARGS)

install: all
	@DESTDIR="$(DESTDIR)" meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)
