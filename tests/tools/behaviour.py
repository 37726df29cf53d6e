#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/BEHAVIOUR.md: each test that it names is in a file's list of tests, and each counter in a table of counters.

Usage: behaviour.py SOURCE
"""
import os
import re
import sys

COLUMNS = ['behaviour', 'from', 'test', 'counter']
NOTHING = '–'


def read(*path):
    """A file's text, or None."""
    try:
        with open(os.path.join(*path), encoding='utf-8') as text:
            return text.read()
    except OSError:
        return None


def table_rows(text):
    """The cells of each row of each table, below its heading."""
    for line in text.splitlines():
        if not line.startswith('|') or set(line) <= set('|-'):
            continue
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells != COLUMNS:
            yield cells


def runs(source, test):
    """Does the program of FILE:NAME run NAME?  It is defined there, by name or by a macro, and named once more."""
    file, _, name = test.partition(':')
    text = read(source, file)
    bare = re.sub(r'^test_', '', name)
    if not text or not name:
        return False
    by_macro = re.search(r'^[A-Z_]+\(%s\)$' % re.escape(bare), text, re.M)
    defined = by_macro or re.search(r'^static void %s\(void \*\*state\)' % re.escape(name), text, re.M)
    listed = re.search(r'\b(cmocka_unit_test|UNIT|RIG_TEST|T)\(%s\)' % re.escape(name), text)
    return bool(defined and listed)


def counters(source):
    """Every counter that KVM_GET_STATS_FD shows."""
    text = (read(source, 'src/kvm/stats.c') or '') + (read(source, 'src/x86/state/stats.c') or '')
    return set(re.findall(r'^\t(?:KVM_STAT_[A-Z_]+|HIST)\("(\w+)"', text, re.M))


def wrong_in(source, cells, known):
    """What is wrong with a row, in words."""
    if len(cells) != len(COLUMNS) or not all(cells):
        return ['not %d cells' % len(COLUMNS)]
    tests = re.findall(r'`([^`]+)`', cells[2])
    named = re.findall(r'`([^`]+)`', cells[3])
    wrong = ['no test %s' % test for test in tests if not runs(source, test)]
    wrong += ['no counter %s' % name for name in named if name not in known]
    if not tests:
        wrong.append('no test')
    if not named and cells[3] != NOTHING:
        wrong.append('no counter, and no dash')
    return wrong


def main():
    """Speaks TAP."""
    source = sys.argv[1]
    rows = list(table_rows(read(source, 'docs/BEHAVIOUR.md') or ''))
    known = counters(source)
    print('1..%d' % (len(rows) + 3))
    print('%sok 1 - there are rows' % ('' if len(rows) > 20 else 'not '))
    print('%sok 2 - and counters' % ('' if len(known) > 20 else 'not '))
    # What it would say of names that are nowhere.
    bad = wrong_in(source, ['x', 'y', '`tests/api/test_x86_pae.c:test_nothing`', '`nothing`'], known)
    print('%sok 3 - what is not there is missed' % ('' if len(bad) == 2 else 'not '))
    for number, cells in enumerate(rows, 4):
        wrong = wrong_in(source, cells, known)
        print('%sok %d - %s' % ('not ' if wrong else '', number, cells[0].replace('#', '')[:60]))
        for what in wrong:
            print('# %s' % what)


if __name__ == '__main__':
    main()
