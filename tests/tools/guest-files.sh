#!/bin/sh
# SPDX-License-Identifier: MIT
# The initramfs writer, read back by busybox's cpio; and the table of packages.
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

check() {
	number=$((number + 1))
	if eval "$2"; then echo "ok $number - $1"; else echo "not ok $number - $1"; fi
}

cd "$work" || exit 1
printf 'odd length!' >payload
echo 1..8
printf 'dir etc\nfile etc/a payload 640\nlink b etc/a\nnode null 1 3\nfile\twith space\tpayload\n' |
	python3 "$source/tools/cpio.py" out
check 'all names are there' '[ "$(busybox cpio -t <out 2>/dev/null | tr "\n" " ")" = "etc etc/a b null with space " ]'
check 'sizes are whole blocks' '[ $(($(stat -c %s out) % 512)) = 0 ]'
mkdir x && (cd x && busybox cpio -i etc etc/a b <../out 2>/dev/null)
check 'a file has its bytes' 'cmp -s payload x/etc/a'
check 'a file has its mode' '[ "$(stat -c %a x/etc/a)" = 640 ]'
check 'a link has its target' '[ "$(readlink x/b)" = etc/a ]'
echo 'node null 1 3' | python3 "$source/tools/cpio.py" node
check 'a device has its numbers' '[ "$(dd if=node bs=1 skip=78 count=16 2>/dev/null)" = 0000000100000003 ]'
check 'a missing file is an error and leaves nothing' \
	'! echo "file a missing" | python3 "$source/tools/cpio.py" none 2>/dev/null && [ -z "$(ls none* 2>/dev/null)" ]'
check 'each package has targets and a reason' \
	'! grep -v "^#" "$source/tools/packages" | grep -Evq "^[a-z0-9.+-]+ +[a-z,-]+ +[^ ].*$"'
