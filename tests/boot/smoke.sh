#!/bin/sh
# SPDX-License-Identifier: MIT
# Debian's kernel boots and runs a command.
boot_timeout=500
. "$1/tests/boot/lib.sh"
echo 1..3
boot 'uname -sm; exit 6'
check 'the command runs in the guest' '[ "$(cat "$out")" = "Linux x86_64" ]'
check 'and gives its status' '[ "$status" = 6 ]'
check 'nothing is said by sanitizers' '! grep -Eq "Sanitizer|runtime error" "$err"'
