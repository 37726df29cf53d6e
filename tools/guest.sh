#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the test guest: fetch Debian's kernel and build its initramfs.
# Usage: tools/guest.sh BUILDDIR [FLAVOUR...]
set -eu
tools=$(dirname "$0")
build=$1
shift
for flavour in "${@:-cloud-amd64}"; do
	"$tools/fetch-kernel.sh" "$build/guest/$flavour" "$flavour"
	"$tools/initramfs.sh" "$build/guest/$flavour"
done
