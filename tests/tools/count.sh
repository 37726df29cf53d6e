#!/bin/sh
# SPDX-License-Identifier: MIT
# What tests/run counts: crashed and unfinished programs, skipped cases, programs that do not speak TAP.
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# project FILE: a project whose tests are the lines of FILE, "name protocol shell-command".
project() {
	mkdir -p "$work/$1"
	{
		echo "project('t', meson_version: '>=1.0.0')"
		while read -r name protocol command; do
			echo "test('$name', find_program('sh'), protocol: '$protocol', args: ['-c', '''$command'''])"
		done
	} >"$work/$1/meson.build"
	meson setup "$work/$1/build" "$work/$1" >/dev/null
}

# expect NAME STATUS LINE: what tests/run says at last and ends with.
expect() {
	number=$((number + 1))
	last=$("$source/tests/run" "$work/$1/build" 2>&1)
	status=$?
	last=$(echo "$last" | tail -n 1)
	if [ "$status" = "$2" ] && [ "$last" = "$3" ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		echo "# status $status, wanted $2; last line '$last', wanted '$3'"
	fi
}

echo 1..6
project good <<'X'
a tap printf "1..2\nok 1 - x\nok 2 - y # SKIP no\n"
b exitcode true
X
expect good 0 '2 passed, 0 failed, 1 skipped'
project bad <<'X'
a tap printf "1..3\nok 1 - x\nnot ok 2 - y\nok 3\n"; exit 1
b exitcode false
X
expect bad 1 '2 passed, 2 failed'
project unfinished <<'X'
a tap printf "1..3\nok 1 - x\n"
X
expect unfinished 1 '1 passed, 1 failed'
project crashed <<'X'
a tap printf "1..1\nok 1 - x\n"; kill -SEGV $$
X
expect crashed 1 '1 passed, 1 failed'
project cmocka <<'X'
a tap printf "1..2\nok 1 - x\nnot ok 2 # SKIP y\n"
X
expect cmocka 0 '1 passed, 0 failed, 1 skipped'
project empty </dev/null
expect empty 1 '0 passed, 0 failed'
