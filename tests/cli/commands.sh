#!/bin/sh
# SPDX-License-Identifier: MIT
# The commands beside run, and what completion is told.
. "$(dirname "$0")/lib.sh"
source=$2
echo 1..18

# any ARGUMENT...: anykvm with them.
any() {
	status=0
	err=$(timeout -k 5 30 "$anykvm" "$@" 2>&1 </dev/null) || status=$?
}

any
is 'no command' 2 'usage: anykvm COMMAND*'
any version
is 'version' 0 'anykvm [0-9]*.[0-9]*'
any --version
is '--version' 0 'anykvm [0-9]*.[0-9]*'
any help
is 'help' 0 'usage: *run *doctor *version*'
any help run
is 'help run' 0 '*-k, --kernel FILE*--append*-m, --mem SIZE*'
any run --help
is 'run --help is the same' 0 '*-k, --kernel FILE*'
any help nonsense
is 'help on nothing' 2 'anykvm: help: nonsense: no such command*'
any nonsense
is 'an unknown command' 2 'anykvm: nonsense: no such command*'
any doctor
is 'doctor' 0 'CPU: */dev/kvm: *own engine*yes*'
any doctor --json
echo "$err" | python3 -c 'import json, sys
d = json.load(sys.stdin)
assert d["engine"]["runs_guest"] and d["uses"] == "soft" and d["cpu"]["vendor"] and "exists" in d["dev_kvm"]' ||
	status=bad
is 'doctor --json is JSON' 0 '*'
any stat -1 -p 1
is 'stat of a process without a VM' 1 'anykvm: stat: process 1 *'
any stat -p x
is 'stat of no process' 2 'anykvm: --pid x: not a process number*'
any stat operand
is 'stat takes no operands' 2 'anykvm: operand: *'
any doctor operand
is 'doctor takes none' 2 'anykvm: operand: *'

any version operand
is 'nor does version' 2 'anykvm: operand: version takes no operands*'
any version --help
is 'which has help' 0 'usage: anykvm version*'
any help run doctor
is 'help explains one at a time' 2 'anykvm: doctor: *'

# The completion, in a bash that believes that the user has typed: anykvm run --in
status=0
err=$(PATH=$(dirname "$anykvm"):$PATH bash -c '. "$1"; COMP_WORDS=(anykvm run --in); COMP_CWORD=2; _anykvm
	echo "${COMPREPLY[@]}"; COMP_WORDS=(anykvm run --accel s); COMP_CWORD=3; _anykvm; echo "${COMPREPLY[@]}"
	COMP_WORDS=(anykvm run -n u); _anykvm; echo "${COMPREPLY[@]}"' \
	- "$source/tools/completion/anykvm.bash" 2>&1) || status=$?
is 'completion' 0 '--initrd
soft
user'
