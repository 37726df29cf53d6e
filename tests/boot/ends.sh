#!/bin/sh
# SPDX-License-Identifier: MIT
# The ways in which a guest ends, and how anykvm run tells them apart (man anykvm-run).
. "$1/tests/boot/lib.sh"
cpus=$3
echo 1..6

boot 'poweroff; sleep 60; exit 9' -c "$cpus"
check 'a guest that powers off ends with 0' '[ "$status" = 0 ]'
boot 'reboot; sleep 60; exit 9' -c "$cpus"
check 'a guest that resets ends with 3' '[ "$status" = 3 ]'
check 'and it is said in one line' '[ "$(grep -c "^anykvm: " "$err")" = 1 ]'
export PARAMS=panic=-1
boot 'echo c >/proc/sysrq-trigger; sleep 60' -c "$cpus"
check 'a guest that panics ends with 4' '[ "$status" = 4 ]'
check 'and it is said in one line' '[ "$(grep -c "^anykvm: .*panic" "$err")" = 1 ]'
export PARAMS='rdinit=/none init=/none root=/dev/none panic=-1'
boot true -c "$cpus"
check 'so does one that finds nothing to run' '[ "$status" = 4 ]'
