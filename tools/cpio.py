#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write an initramfs (cpio, "newc" format) from a list, device nodes included, without being root.

Usage: cpio.py OUTPUT <LIST
Each line of LIST is one of
    dir PATH
    file PATH SOURCE [MODE]
    link PATH TARGET
    node PATH MAJOR MINOR
The format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""
import os
import sys

S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR = 0o040000, 0o100000, 0o120000, 0o020000


class Archive:
    def __init__(self, out):
        self.out = out
        self.inode = 0

    def add(self, path, mode, data=b'', major=0, minor=0):
        self.inode += 1
        name = path.strip('/').encode() + b'\0'
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name), 0)
        header = b'070701' + b''.join(b'%08X' % field for field in fields) + name
        self.out.write(header + b'\0' * (-len(header) % 4))
        self.out.write(data + b'\0' * (-len(data) % 4))

    def finish(self):
        self.add('TRAILER!!!', 0)
        self.out.write(b'\0' * (-self.out.tell() % 512))


def read(path):
    with open(path, 'rb') as source:
        return source.read()


def add_line(archive, words):
    kind, path, *rest = words
    if kind == 'dir':
        archive.add(path, S_IFDIR | 0o755)
    elif kind == 'file':
        mode = int(rest[1], 8) if len(rest) > 1 else 0o755
        archive.add(path, S_IFREG | mode, read(rest[0]))
    elif kind == 'link':
        archive.add(path, S_IFLNK | 0o777, rest[0].encode())
    elif kind == 'node':
        archive.add(path, S_IFCHR | 0o600, major=int(rest[0]), minor=int(rest[1]))
    else:
        raise ValueError(kind)


def main():
    output = sys.argv[1]
    part = '%s.%d' % (output, os.getpid())
    with open(part, 'wb') as out:
        archive = Archive(out)
        for number, line in enumerate(sys.stdin, 1):
            words = line.rstrip('\n').split('\t') if '\t' in line else line.split()
            if not words or words[0].startswith('#'):
                continue
            try:
                add_line(archive, words)
            except (OSError, ValueError, IndexError) as error:
                os.unlink(part)
                sys.exit('cpio.py: line %d: %s: %s' % (number, line.strip(), error))
        archive.finish()
    os.replace(part, output)


main()
