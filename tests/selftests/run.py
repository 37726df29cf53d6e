#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the kernel's KVM selftests, as they are, by 'anykvm exec', and say in TAP whether each did what it must.

Usage: run.py ANYKVM BINDIR LIST WHEN [NAME]...

BINDIR is what tools/selftests.sh built, WHEN the rows of the file LIST that are meant; names choose among them.
"""
import os
import re
import signal
import subprocess
import sys
import time

SKIP = 4            # KSFT_SKIP
PATIENCE_S = 1500   # for the longest of them, beside others
ENGINE = re.compile(r'^anykvm: \S+ \d+ opened the engine: anykvm .*$', re.MULTILINE)


class Row:
    """A line of the list."""

    def __init__(self, line):
        text, _, self.why = (part.strip() for part in line.partition('#'))
        self.when, self.expect, *words = text.split()
        if self.when not in ('check', 'all') or self.expect not in ('pass', 'skip', 'host', 'none'):
            raise ValueError('bad line: %s' % line)
        self.options = []
        while words[0].startswith(('--cpu=', '--param=')):
            self.options.append(words.pop(0))
        self.command = words
        self.name = ' '.join(self.options + words)


def rows(path):
    """All of the list."""
    with open(path, encoding='utf-8') as lines:
        return [Row(line) for line in lines if line.partition('#')[0].strip()]


def run(anykvm, bindir, row):
    """Run one: its status, None if it did not end, and what it said."""
    command = [anykvm, 'exec', '-v', *row.options, '--', os.path.join(bindir, row.command[0]), *row.command[1:]]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True, encoding='utf-8', errors='replace') as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return None, output


def judge(row, status, output):
    """What is wrong, or None; and whether it was skipped."""
    allowed = {'pass': (0,), 'skip': (SKIP,), 'host': (0, SKIP)}[row.expect]
    if status is None:
        return 'not ended in %d s' % PATIENCE_S, False
    if status not in allowed:
        return 'status %d, not %s' % (status, ' or '.join(map(str, allowed))), False
    # One that looks at the CPU first may skip before it opens anything; none passes so.
    if status == 0 and not ENGINE.search(output):
        return "not on anykvm's engine", False
    return None, status == SKIP


def reason(row, output):
    """Why it skipped: its own words, and ours."""
    own = [line for line in output.splitlines() if 'skip' in line.lower() or 'Requirement' in line]
    words = [own[-1].partition('SKIP')[2].lstrip(' -') or own[-1]] if own else []
    return '; '.join(words + ([row.why] if row.why else []))


def unlisted(bindir, listed):
    """Programs that were built and that the list does not know."""
    names = {row.command[0] for row in listed}
    for folder in ('', 'x86_64'):
        for name in sorted(os.listdir(os.path.join(bindir, folder))):
            path = os.path.join(folder, name)
            full = os.path.join(bindir, path)
            if os.path.isfile(full) and os.access(full, os.X_OK) and '.' not in name and path not in names:
                yield path


def main():
    """Run what is asked for."""
    anykvm, bindir, path, when, *names = sys.argv[1:]
    if not os.path.isdir(bindir):
        print('1..0 # SKIP not built: tools/selftests.sh does that')
        return 0
    listed = rows(path)
    chosen = [row for row in listed if row.when == when and (not names or row.command[0] in names)]
    unknown = [] if names else list(unlisted(bindir, listed))
    print('1..%d' % (len(chosen) + 1))
    bad = 0
    for number, row in enumerate(chosen, 1):
        if row.expect == 'none':
            print('ok %d - %s # SKIP not run: %s' % (number, row.name, row.why), flush=True)
            continue
        start = time.monotonic()
        status, output = run(anykvm, bindir, row)
        wrong, skipped = judge(row, status, output)
        took = '%.1f s' % (time.monotonic() - start)
        if wrong:
            bad += 1
            print('\n'.join('# ' + line for line in output.splitlines()[-25:]))
            print('not ok %d - %s: %s (%s)' % (number, row.name, wrong, took), flush=True)
        elif skipped:
            print('ok %d - %s # SKIP %s' % (number, row.name, reason(row, output)), flush=True)
        else:
            print('ok %d - %s (%s)' % (number, row.name, took), flush=True)
    for path in unknown:
        print('# not in the list: %s' % path)
    print('%sok %d - every selftest is in the list' % ('not ' if unknown else '', len(chosen) + 1))
    return 1 if bad or unknown else 0


if __name__ == '__main__':
    sys.exit(main())
