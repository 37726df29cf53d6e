#!/bin/sh
# SPDX-License-Identifier: MIT
# A shared folder.  Debian's cloud kernel has no 9p, so this boots the general one.
KERNEL=amd64
export KERNEL
. "$1/tests/boot/lib.sh"
echo 1..6

mkdir -p "$work/shared/sub" "$work/other"
echo 'from the host' >"$work/shared/file"
head -c 500000 /dev/urandom >"$work/shared/sub/big"
ln -s /etc/passwd "$work/shared/escape"
boot 'mkdir -p /a /b
	mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536 data /a || echo mount failed
	cat /a/file; sha256sum </a/sub/big | cut -d " " -f 1
	echo "from the guest" >/a/new; mkdir /a/dir; mv /a/new /a/dir/moved; ls /a | tr "\n" " "; echo
	cat /a/escape | head -n 1 | cut -c 1-5
	mount -t 9p -o trans=virtio,version=9p2000.L fixed /b && ! touch /b/x 2>/dev/null && echo refused
	umount /a' --share "$work/shared:data" --share "$work/other:fixed,ro"
check 'a file of the host is read' '[ "$(sed -n 1p "$out")" = "from the host" ]'
check 'a large one is whole' '[ "$(sed -n 2p "$out")" = "$(sha256sum <"$work/shared/sub/big" | cut -d " " -f 1)" ]'
check 'the guest sees names' '[ "$(sed -n 3p "$out")" = "dir escape file sub " ]'
check 'what the guest writes is here' '[ "$(cat "$work/shared/dir/moved")" = "from the guest" ]'
check "a link is followed in the guest, not here" 'sed -n 4p "$out" | grep -q "^root:$"'
check 'a read-only folder refuses' '[ "$(sed -n 5p "$out")" = refused ] && [ ! -e "$work/other/x" ]'
