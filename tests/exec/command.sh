#!/bin/sh
# SPDX-License-Identifier: MIT
# The command 'anykvm exec': what it passes on, what it refuses, what it tells.
# Arguments: ANYKVM, CLIENT, and a folder with programs that cannot be reached.
. "$(dirname "$0")/../cli/lib.sh"
client=$2
foreign=$3
echo 1..46

# ex ARGUMENT...: anykvm exec with them; sets $status, and $err to all that is said.
ex() {
	status=0
	err=$(timeout -k 5 60 "$anykvm" exec "$@" 2>&1 </dev/null) || status=$?
}

ex -- sh -c 'exit 0'
is 'status 0' 0 ''
ex -- sh -c 'exit 3'
is 'status 3' 3 ''
ex sh -c 'exit 4'
is 'without --' 4 ''
ex -- sh -c 'kill -TERM $$'
is 'ended by SIGTERM' 143 '*'
ex -- sh -c 'kill -KILL $$'
is 'ended by SIGKILL' 137 '*'
ex -- sh -c 'echo "$0"; echo "$@"' zero 'a  b' -v
is 'arguments' 0 'zero
a  b -v'
err=$(printf 'text' | "$anykvm" exec -- cat 2>&1) && status=$?
is 'standard input' 0 text
err=$("$anykvm" exec -- sh -c '[ ! -e /proc/self/fd/0 ] && echo closed' 2>&1 <&-) && status=$?
is 'a closed standard input stays closed' 0 closed
# The process is the command's own.
err=$(sh -c 'echo $$; exec "$1" exec -- sh -c "echo \$\$"' - "$anykvm") && status=$?
[ "$(echo "$err" | sort -u | wc -l)" = 1 ] || status=bad
is 'the process stays the same' 0 '*'
err=$(trap '' INT; "$anykvm" exec -- sh -c 'kill -INT $$; echo still here' 2>&1) && status=$?
is 'an ignored signal stays ignored' 0 'still here'

# --- the environment ---
ex -- printenv LD_PRELOAD
is 'LD_PRELOAD' 0 '/*/libanykvm-preload.so'
err=$(LD_PRELOAD=libpthread.so.0 "$anykvm" exec -- printenv LD_PRELOAD 2>&1) && status=$?
is 'LD_PRELOAD is added to' 0 '/*/libanykvm-preload.so:libpthread.so.0'
ex --cpu amd --stats "$work/s" -v -- sh -c 'echo $ANYKVM_CPU $ANYKVM_STATS $ANYKVM_VERBOSE'
is 'options are variables' 0 "amd $work/s 1"
ex --param kvm.enable_vmware_backdoor=Y -- sh -c 'echo $ANYKVM_PARAMS; cat /sys/module/kvm/parameters/enable_vmware_backdoor'
is 'a parameter' 0 "kvm.enable_vmware_backdoor=Y
Y"
ex -- cat /sys/module/kvm/parameters/enable_vmware_backdoor
is 'a parameter that is not set' 0 N
ex --param kvm.ignore_msrs=1,kvm.report_ignored_msrs=0 -- sh -c \
	'cat /sys/module/kvm/parameters/ignore_msrs /sys/module/kvm/parameters/report_ignored_msrs'
is 'parameters of MSRs' 0 "Y
N"
ex -- sh -c 'cat /sys/module/kvm/parameters/ignore_msrs /sys/module/kvm/parameters/report_ignored_msrs'
is 'parameters of MSRs that are not set' 0 "N
Y"
ex --param kvm.enable_vmware_backdoor=N,kvm.global_tdp=1 -- sh -c 'cat /sys/module/kvm/parameters/global_tdp'
is 'another parameter' 0 Y
ex --param kvm.nothing=1 -- true
is 'an unknown parameter' 125 'anykvm: --param kvm.nothing=1: no such parameter*'
ex --param kvm.enable_vmware_backdoor=2 -- true
is 'a wrong value' 125 'anykvm: --param *: a value is neither*'
ex -- "$client" guest
is 'a client' 0 ''
ex -v -- sh -c "env '$client' guest & wait \$!"
is 'all that a command starts' 0 'anykvm: exec-client * opened the engine: anykvm [0-9]*, CPU host'
err=$(ANYKVM_CPU=intel ANYKVM_VERBOSE=1 "$anykvm" exec -- "$client" guest 2>&1) && status=$?
is 'variables are options' 0 'anykvm: exec-client *CPU intel'

# --- statistics ---
echo old >"$work/stats"
ex --stats "$work/stats" -- sh -c "'$client' guest; '$client' guest"
is 'with statistics' 0 ''
python3 - "$work/stats" <<'END' || status=bad
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert len(lines) == 2 and lines[0]['pid'] != lines[1]['pid']
for line in lines:
    assert line['engine'].startswith('anykvm ') and line['command'] == 'exec-client'
    assert len(line['vcpus']) == 1 and line['vcpus'][0]['exits'] >= 2 and 'remote_tlb_flush' in line['vm']
END
is 'the statistics are JSON' 0 ''
ex --stats "$work/quick" -- "$client" quick
[ -s "$work/quick" ] || status=bad
is 'statistics of one that ends by quick_exit' 0 ''
(cd "$work" && ex --stats relative -- sh -c "cd /; '$client' guest")
[ -s "$work/relative" ] || status=bad
is 'a relative file' 0 ''
# Every event is a line in ftrace's layout; what is not asked for is not there.
echo old >"$work/trace"
ex --trace "$work/trace" -- "$client" guest
grep -v '^#' "$work/trace" |
	grep -Evq '^ *[^ ].*-[0-9]+ +\[[0-9]{3}\] \.{5} +[0-9]+\.[0-9]{6}: kvm_[a-z_]+: .' && status=bad
is 'events in the layout of ftrace' 0 '*'
for event in 'kvm_entry: vcpu 0, rip 0x' 'kvm_exit: vcpu 0 reason ' 'kvm_pio: pio_write at 0x' \
	'kvm_page_fault: vcpu 0 rip 0x1000 address 0x0000000000001000 error_code 0x' \
	'kvm_userspace_exit: reason KVM_EXIT_IO (2)'; do
	grep -qF "$event" "$work/trace" || { status=bad; err=$event; }
done
is 'the events of a guest that writes a port' 0 '*'
ex --trace /nowhere/file -- "$client" guest
is 'a trace that cannot be written' 125 'anykvm: /nowhere/file: cannot write events: *'
ex --stats /nowhere/file -- "$client" guest
is 'a file that cannot be written' 125 'anykvm: /nowhere/file: cannot write statistics: No such file*'

# --- wrong use ---
ex
is 'no command' 125 'anykvm: no command*anykvm help exec*'
ex --cpu 6502 -- true
is 'an unknown CPU' 125 'anykvm: --cpu 6502: *'
ex --nonsense -- true
is 'an unknown option' 125 'anykvm: *--nonsense*'
ex -- nosuchcommand
is 'an unknown command' 127 'anykvm: nosuchcommand: no such command'
ex -- /nowhere/at/all
is 'a file that is not there' 127 'anykvm: /nowhere/at/all: no such command'
ex -- "$0"x
is 'no file' 127 'anykvm: *'
echo text >"$work/text"
ex -- "$work/text"
is 'no program' 126 'anykvm: */text: cannot be executed*'
chmod +x "$work/text"
ex -- "$work/text"
is 'neither program nor script' 126 'anykvm: */text: neither a program nor a script*'

# --- what cannot be reached ---
ex -- "$foreign/static"
is 'a static program' 126 'anykvm: */static: a static program: *'
printf '#!%s -x\n' "$foreign/static" >"$work/script"
chmod +x "$work/script"
ex -- "$work/script"
is 'a script for one' 126 'anykvm: */static: a static program: *'
ex -- "$foreign/go"
is 'a program made by Go' 126 'anykvm: */go: a program made by Go*'
ex -- "$foreign/musl"
is 'another C library' 126 'anykvm: */musl: a program for another C library (/lib/ld-musl*'
ex -- "$foreign/no-libc"
is 'no C library' 126 'anykvm: */no-libc: a program without a C library: *'
{ head -c 18 "$client" && printf '\267\0' && tail -c +21 "$client"; } >"$work/arm"
chmod +x "$work/arm"
ex -- "$work/arm"
is 'another architecture' 126 'anykvm: */arm: a program for another architecture: *'
# One that is run with more rights, by somebody who has fewer.
cp "$client" "$work/setuid"
chmod 4755 "$work/setuid"
chmod 755 "$work"
if [ "$(id -u)" != 0 ] || findmnt -nT "$work" | grep -q nosuid; then
	number=$((number + 1))
	echo "ok $number # SKIP only root can make such a program, where the file system allows it"
else
	status=0
	err=$(setpriv --reuid 65534 --clear-groups "$anykvm" exec -- "$work/setuid" guest 2>&1) || status=$?
	is 'a setuid program' 126 'anykvm: */setuid: it runs with more rights than its caller: *'
fi
