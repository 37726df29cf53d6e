#!/bin/sh
# SPDX-License-Identifier: MIT
# 'make run' around a stand-in for anykvm: what it hands over, and which status comes back.
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

check() {
	number=$((number + 1))
	if eval "$2"; then echo "ok $number - $1"; else echo "not ok $number - $1"; fi
}

# A guest that is there already, so that nothing is fetched.
guest=$work/guest/cloud-amd64
mkdir -p "$guest"
echo 6.1 >"$guest/version"
printf kernel >"$guest/vmlinuz"
echo 'dir base' | python3 "$source/tools/cpio.py" "$guest/initramfs"

# The stand-in keeps its options, what is in its initramfs, and ends as it is told.
cat >"$work/anykvm" <<'X'
#!/bin/sh
work=$(dirname "$0")
printf '%s\n' "$@" >"$work/args"
while [ $# -gt 0 ]; do
	[ "$1" != -i ] || initrd=$2
	shift
done
rm -rf "$work/cmd"
# Two archives in a row: busybox reads the first, the second starts where that one ends.
tail -c +$(($(cat "$work/base-size") + 1)) "$initrd" | (mkdir -p "$work/x" && cd "$work/x" && busybox cpio -idu 2>/dev/null)
[ ! -e "$work/x/anykvm/cmd" ] || cp "$work/x/anykvm/cmd" "$work/cmd"
echo from the guest
exit "$(cat "$work/status")"
X
chmod +x "$work/anykvm"
stat -c %s "$guest/initramfs" >"$work/base-size"
export TMPDIR="$work/tmp"
mkdir "$TMPDIR"
unset MAKEFLAGS MFLAGS MAKELEVEL CMD V PARAMS KERNEL

run() {
	status=0
	make -s -C "$source" --no-print-directory -o all run BUILD="$work" ANYKVM="$work/anykvm" "$@" \
		>"$work/out" 2>"$work/err" </dev/null || status=$?
}

echo 1..9
echo 0 >"$work/status"
run CMD='echo $HOME "a  b" $$(x)'
check 'the output is that of the guest alone' '[ "$(cat "$work/out")" = "from the guest" ]'
check 'success is success' '[ "$status" = 0 ]'
check 'the command arrives as it was typed' '[ "$(cat "$work/cmd")" = "echo \$HOME \"a  b\" \$\$(x)" ]'
check 'the kernel is told to be quiet' 'grep -qw quiet "$work/args"'
echo 77 >"$work/status"
run CMD=false ARGS='-c 2 -m 256'
check "the status is the guest's" '[ "$status" = 77 ]'
check 'more options are handed over' '[ "$(tail -n 4 "$work/args" | tr "\n" " ")" = "-c 2 -m 256 " ]'
run CMD=true V=1
check 'with V=1 the kernel speaks' '! grep -qw quiet "$work/args"'
echo 5 >"$work/status"
status=0
echo 'ls /' | ANYKVM=$work/anykvm "$source/tools/run.sh" "$work" >"$work/out" 2>"$work/err" || status=$?
check 'standard input is a script' '[ "$(cat "$work/cmd")" = "ls /" ] && [ "$status" = 5 ]'
check 'nothing is left behind' '[ -z "$(ls "$TMPDIR")" ]'
