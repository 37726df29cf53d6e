#!/bin/sh
# SPDX-License-Identifier: MIT
# Install the Debian packages that a target of the Makefile needs and this machine lacks.
# Usage: tools/deps.sh TARGET...       (tools/packages says which target needs what)
# Everything it says goes to standard error.  NO_INSTALL=1 only says what is missing.
set -eu
table=$(dirname "$0")/packages

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "anykvm: not a Debian system: install by hand what $table lists" >&2
	exit 0
fi

wanted=$(awk -v targets="$*" '
	BEGIN { n = split(targets, t, " "); for (i = 1; i <= n; i++) want[t[i]] = 1; want["all"] = 1 }
	/^#/ || NF < 3 { next }
	{ n = split($2, t, ","); for (i = 1; i <= n; i++) if (t[i] in want) { print $1; next } }' "$table")
# shellcheck disable=SC2086
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p')
missing=
for package in $wanted; do
	case "
$installed
" in
	*"
$package
"*) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

echo "anykvm: these Debian packages are missing:" >&2
for package in $missing; do
	awk -v p="$package" '$1 == p { $1 = $2 = ""; sub(/^ +/, ""); printf "  %-16s %s\n", p, $0 }' "$table" >&2
done
if [ -n "${NO_INSTALL:-}" ]; then
	exit 1
fi

sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1; then
		echo "anykvm: neither root nor sudo here; as root run: apt-get install$missing" >&2
		exit 1
	fi
	sudo=sudo
	echo "anykvm: installing them with apt-get, through sudo" >&2
else
	echo "anykvm: installing them with apt-get" >&2
fi
# Settings go through env, as sudo clears the environment.
apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get"
$apt update -qq >&2 </dev/null || echo "anykvm: apt-get update failed; trying with the old lists" >&2
# shellcheck disable=SC2086
$apt install -y -qq --no-install-recommends $missing >&2 </dev/null || {
	echo "anykvm: apt-get could not install:$missing" >&2
	exit 1
}
