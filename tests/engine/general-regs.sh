#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: general-regs.sh LIBRARY
#
# While a guest runs, its vector state sits in the host's registers.  So the
# engine's objects must not use a vector register of their own, but in the
# assembly that moves that state, and must not call a libc function that might,
# but where the state has been put away.
lib=$1
allowed='^(Zydis.*|host_.*|_GLOBAL_OFFSET_TABLE_|aligned_alloc|calloc|malloc|free|mmap(64)?|munmap|memfd_create|ftruncate(64)?|close|__asan.*|__ubsan.*|memcpy|memset)$'

echo 1..2
defined=$(nm --defined-only "$lib" | awk 'NF == 3 { print $3 }' | sort -u)
foreign=$(nm -u "$lib" | awk '$1 == "U" { print $2 }' | sort -u | grep -vE "$allowed" | grep -vxF "$defined")
if [ -z "$foreign" ]; then
	echo "ok 1 - no calls but to the listed"
else
	echo "not ok 1 - no calls but to the listed"
	printf '# calls %s\n' $foreign
fi
used=$(objdump -d --no-show-raw-insn "$lib" | grep -E '%[xyz]mm' | head -n 3)
if [ -z "$used" ]; then
	echo "ok 2 - no vector registers"
else
	echo "not ok 2 - no vector registers"
	printf '%s\n' "$used" | sed 's/^/# /'
fi
