#!/bin/sh
# SPDX-License-Identifier: MIT
# Whatever is wrong with what the user gives is named, in one line, without a crash.
. "$(dirname "$0")/lib.sh"
tests=$(cd "$(dirname "$0")" && pwd)
echo 1..53
cd "$work" || exit 1

python3 "$tests/kernels.py"
mv ends kernel
# One that is shorter than it says, and one that is for 32 bits.
python3 - <<'P'
import struct
setup = bytearray(open('kernel', 'rb').read(2560))
setup[0x1f4:0x1f8] = struct.pack('<I', 0x1000)
open('cut', 'wb').write(setup)
setup[0x236] = 0
open('kernel32', 'wb').write(setup)
open('elf', 'wb').write(b'\x7fELF\2\1\1'.ljust(16, b'\0') + struct.pack('<HHI', 2, 62, 1))
P
: >empty
mkdir dir
mkfifo pipe
echo hello >text
gzip -c text >text.gz
truncate -s 1M disk
truncate -s 700M big
cp kernel holes
truncate -s 300G holes

run
is 'no kernel' 2 'anykvm: no kernel: give one with -k*'
run -k
is 'no argument' 2 'anykvm: -k: needs an argument*'
run -k kernel extra
is 'an operand' 2 'anykvm: extra: *'
run --nonsense
is 'an unknown option' 2 'anykvm: --nonsense: no such option*'
run -Z
is 'an unknown letter' 2 'anykvm: -Z: no such option*'
run -k kernel -m 0
is 'no memory' 2 'anykvm: -m 0: too little*'
run -k kernel -m 99999999G
is 'absurd memory' 2 'anykvm: -m 99999999G: too much: this host has * MiB*'
run -k kernel -m -5
is 'negative memory' 2 'anykvm: -m -5: not a size*'
run -k kernel -m 99999999999999999999999
is 'memory beyond numbers' 2 'anykvm: -m 9*: too much*'
run -k kernel -c 0
is 'no vCPU' 2 'anykvm: -c 0: not a number of vCPUs*'
run -k kernel -c 100000
is 'absurd vCPUs' 2 'anykvm: -c 100000: *give 1 to *'
run -k kernel -c +1
is 'a number with a sign' 2 'anykvm: -c +1: not a number of vCPUs*'
run -k kernel -c 99999999999999999999
is 'vCPUs beyond numbers' 2 'anykvm: -c 9*: not a number of vCPUs*'
run -k kernel -m 1
is 'a mebibyte' 2 'anykvm: -m 1: too little*'
run -k kernel -m 1P
is 'an unknown unit' 2 'anykvm: -m 1P: not a size*'
run -k ''
is 'a kernel without a name' 2 'anykvm: -k : no file named*'
run -k kernel -i ''
is 'an initrd without a name' 2 'anykvm: -i : no file named*'
run -k kernel --stats ''
is 'statistics without a name' 2 'anykvm: --stats : no file named*'
run -k kernel -n none,hostfwd=tcp::1234-:80
is 'a forward without a network' 2 'anykvm: -n none,*: unknown network*'
run -k kernel --accel quantum
is 'an unknown engine' 2 'anykvm: --accel quantum: unknown*'
run -k kernel --hyperv full
is 'an unknown way to be Hyper-V' 2 'anykvm: --hyperv full: unknown*'
run -k kernel --accel host --hyperv nested
is 'Hyper-V where the KVM is the host'\''s' 1 'anykvm: --hyperv nested: *--accel soft only*'
run -k kernel --console vga
is 'an unknown console' 2 'anykvm: --console vga: unknown*'
run -k kernel -n bridge
is 'an unknown network' 2 'anykvm: -n bridge: unknown network*'
run -k kernel -n user,hostfwd=tcp:99999-:22
is 'a bad forward' 2 'anykvm: *'
run -k kernel --share :x
is 'a share without a folder' 2 'anykvm: --share :x: no folder named*'

run -k missing
is 'a missing kernel' 1 'anykvm: missing: cannot open: No such file or directory'
run -k dir
is 'a folder as kernel' 1 'anykvm: dir: is a directory*'
run -k pipe
is 'a pipe as kernel' 1 'anykvm: pipe: is a pipe*'
run -k empty
is 'an empty kernel' 1 'anykvm: empty: is empty'
run -k text
is 'text as kernel' 1 'anykvm: text: is of an unknown kind*'
run -k text.gz
is 'a compressed kernel' 1 'anykvm: text.gz: is a gzip file*'
run -k /bin/true
is 'a program as kernel' 1 'anykvm: /bin/true: is an ELF *x86-64*'
run -k cut
is 'a kernel cut short' 1 'anykvm: cut: truncated: header says 68096 bytes, file has 2560'
run -k elf
is 'an ELF kernel cut short' 1 'anykvm: elf: truncated: *'
run -k kernel --cpu amd,+nonsense
is 'an unknown feature' 2 'anykvm: --cpu amd,+nonsense: unknown CPU or feature*'
run -k kernel32
is 'a kernel for 32 bits' 1 'anykvm: kernel32: is a 32-bit Linux kernel*'
run -k disk
is 'a disk as kernel' 1 'anykvm: disk: is of an unknown kind*'
run -k kernel -m 2M
is 'a kernel larger than memory' 1 'anykvm: kernel: kernel needs *give more with -m'
run -k kernel -i missing
is 'a missing initrd' 1 'anykvm: missing: cannot open: *'
run -k kernel -i dir
is 'a folder as initrd' 1 'anykvm: dir: is a directory*'
run -k kernel -i big
is 'an initrd larger than memory' 1 'anykvm: big: initrd of 700 MiB does not fit*give more with -m'
run -k kernel -p "$(head -c 5000 /dev/zero | tr '\0' x)"
is 'too many parameters' 1 'anykvm: kernel parameters: * bytes are too long: this kernel takes 2047'
run -k kernel -d missing
is 'a missing disk' 1 'anykvm: missing: *No such file or directory*'
run -k kernel -d /dev/null
is 'a device that is no disk' 1 'anykvm: /dev/null: not a disk image*'
run -k kernel -d empty
is 'an empty disk' 1 'anykvm: empty: *is empty'
run -k kernel -d dir
is 'a folder as disk' 1 'anykvm: dir: *'
run -k kernel --share missing
is 'a missing share' 1 'anykvm: missing: *No such file or directory*'
run -k kernel --cpu z80
is 'an unknown CPU' 2 'anykvm: --cpu z80: unknown CPU or feature*'
run -k kernel --stats missing/file
is 'statistics that cannot be written' 7 '*missing/file: cannot write statistics: No such file or directory*'
run -k holes -d disk
is 'and what is right runs, whatever follows a kernel' 7 ''
if [ "$(id -u)" = 0 ]; then
	number=$((number + 1))
	echo "ok $number # SKIP root may read everything"
else
	chmod 0 text
	run -k text
	is 'a kernel that may not be read' 1 'anykvm: text: cannot open: Permission denied'
fi
run -k kernel -c 2 --stats stats
python3 -c 'import json; s = json.load(open("stats")); assert s["vm"] and len(s["vcpus"]) == 2 and s["vcpus"][0]' ||
	status=bad
is 'statistics are JSON' 7 ''
