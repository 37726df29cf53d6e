#!/bin/sh
# SPDX-License-Identifier: MIT
# What the preload exports, and what it is linked with.  Arguments: PRELOAD NEXT.H
set -u
preload=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# none NAME: one case: the file $work/bad is empty.
none() {
	number=$((number + 1))
	if [ -s "$work/bad" ]; then
		echo "not ok $number - $1"
		sed 's/^/# /' "$work/bad"
	else
		echo "ok $number - $1"
	fi
}

echo 1..5
sed -n 's/^\tX(\([a-zA-Z0-9_]*\), .*/\1/p' "$2" | sort >"$work/table"
nm -D --defined-only "$preload" | awk '{ print $3 }' | sort >"$work/exported"
[ "$(grep -cxE 'open|ioctl|close|stat|access' "$work/table")" = 5 ] || echo "the table is not read" >"$work/bad"
none 'the table of functions'
diff "$work/table" "$work/exported" >"$work/bad"
none 'it exports the table and nothing else'
# A call of ours that goes through the table of dynamic symbols comes back to us.
objdump -R "$preload" | awk '$2 ~ /JUMP_SLOT|GLOB_DAT|_64$/ { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/called"
comm -12 "$work/table" "$work/called" >"$work/bad"
none 'it calls none of them itself'
printf 'read\nwrite\npoll\nppoll\nnanosleep\n' | sort | comm -12 - "$work/called" >"$work/bad"
none 'no point of cancellation is called in KVM_RUN'
readelf -d "$preload" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^lib(c|Zydis|asan|ubsan|tsan)\.so' >"$work/bad"
none 'it needs libc and the decoder'
