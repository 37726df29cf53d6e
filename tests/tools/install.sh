#!/bin/sh
# SPDX-License-Identifier: MIT
# What is installed: the command, the library to build with, the pages, the completion.
source=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

check() {
	number=$((number + 1))
	if eval "$2"; then echo "ok $number - $1"; else echo "not ok $number - $1"; fi
}

echo 1..6
DESTDIR=$work meson install -C "$build" --no-rebuild --quiet >"$work/log" 2>&1 || sed 's/^/# /' "$work/log"
prefix=$(find "$work" -type d -name bin)
prefix=${prefix%/bin}
library=$(dirname "$(find "$prefix" -name libanykvm.so)")
check 'the command is there and runs' '"$prefix/bin/anykvm" version | grep -q "^anykvm [0-9]"'
check 'so are its pages' 'for page in anykvm anykvm-run anykvm-doctor; do
	[ -s "$prefix/share/man/man1/$page.1" ] || exit; done'
check 'and its completion' '[ -s "$prefix/share/bash-completion/completions/anykvm" ]'

cat >"$work/client.c" <<'X'
#include <anykvm.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>

int main(void)
{
	printf("%d\n", anykvm_ioctl(anykvm_open(O_RDWR), KVM_GET_API_VERSION, (void *)0));
	return 0;
}
X
# Only this one is to be found, not what the machine has installed otherwise.
flags() {
	PKG_CONFIG_LIBDIR=$library/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work pkg-config "$@" anykvm
}
# A library with sanitizers goes only into programs that have them.
extra=
! ldd "$library/libanykvm.so" 2>/dev/null | grep -q libasan || extra=-fsanitize=address,undefined
check 'pkg-config tells how to build with the library' 'flags --exists && [ -n "$(flags --libs)" ]'
check 'a client builds with that alone' \
	'${CC:-cc} $extra -o "$work/client" "$work/client.c" $(flags --cflags --libs)'
check 'and runs' '[ "$(LD_LIBRARY_PATH=$library "$work/client")" = 12 ]'
