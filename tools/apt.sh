# SPDX-License-Identifier: MIT
# Debian packages fetched through apt and not installed; to be sourced.  What it says goes to standard error.
# shellcheck shell=sh

say() { echo "anykvm: $*" >&2; }

update_lists() {
	say "refreshing apt's lists"
	if [ "$(id -u)" = 0 ]; then
		apt-get update -qq >&2 </dev/null
	elif command -v sudo >/dev/null 2>&1; then
		sudo apt-get update -qq >&2 </dev/null
	else
		return 1
	fi
}

# fresh COMMAND...: run it, and if it fails once more with new lists.
fresh() {
	"$@" || { update_lists && "$@"; }
}

# download DIR PACKAGE: the package's file, into that folder, which is there.
download() {
	say "fetching $2"
	# apt's own sandbox user may not write here; what it fetches is checked against signed lists either way.
	(cd "$1" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$2" >&2 </dev/null)
}

# unpacked DIR PACKAGE: DIR with what the package holds below it; nothing is done where that is there.
unpacked() {
	[ ! -d "$1" ] || return 0
	rm -rf "$1.part"
	mkdir -p "$1.part/deb" || return
	fresh download "$1.part/deb" "$2" && dpkg-deb -x "$1.part/deb"/*.deb "$1.part" || {
		say "cannot fetch $2 through apt"
		return 1
	}
	rm -rf "$1.part/deb"
	mv "$1.part" "$1"
}
