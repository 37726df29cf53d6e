#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""vmlinux.py BZIMAGE OUT [--no-note]: the ELF kernel inside a bzImage that is compressed with XZ.

With --no-note its PVH entry is hidden, so that only the 64-bit entry is left.
"""
import lzma
import struct
import sys

XEN_PHYS32_ENTRY = struct.pack('<I4s', 18, b'Xen\0')  # type and name of the note; its sizes stand before


def main():
    with open(sys.argv[1], 'rb') as image:
        data = image.read()
    # Documentation/x86/boot.rst: setup_sects, payload_offset and payload_length
    start = (data[0x1f1] + 1) * 512 + struct.unpack_from('<I', data, 0x248)[0]
    length = struct.unpack_from('<I', data, 0x24c)[0]
    elf = lzma.LZMADecompressor().decompress(data[start:start + length])
    if sys.argv[3:] == ['--no-note']:
        if elf.count(XEN_PHYS32_ENTRY) != 1:
            sys.exit('not one PVH note')
        elf = elf.replace(XEN_PHYS32_ENTRY, struct.pack('<I4s', 18, b'Nox\0'))
    with open(sys.argv[2], 'wb') as out:
        out.write(elf)


main()
