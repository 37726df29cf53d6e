# SPDX-License-Identifier: MIT
# Completion of anykvm in bash.  The words come from the program itself: "help --words [COMMAND]".

_anykvm_values() { # OPTION COMMAND: what the option takes: f (a file), a (anything), - (nothing), and known values
	anykvm help --words "$2" 2>/dev/null | while read -r name kind values; do
		[ "$name" != "$1" ] || echo "$kind $values"
	done
}

_anykvm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} takes
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(anykvm help --words)" -- "$cur")
		return
	fi
	if [ "$command" = help ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(anykvm help --words)" -- "$cur")
		return
	fi
	if [[ $prev == -* ]]; then
		takes=$(_anykvm_values "$prev" "$command")
		case $takes in
		f*)
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
			;;
		a*)
			mapfile -t COMPREPLY < <(compgen -W "${takes#a}" -- "$cur")
			return
			;;
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$(anykvm help --words "$command" | cut -d ' ' -f 1) --help" -- "$cur")
}

complete -F _anykvm anykvm
