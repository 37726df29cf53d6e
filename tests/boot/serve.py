# SPDX-License-Identifier: MIT
"""serve.py DIR PORTFILE: serve DIR on a free port of the loopback, and write its number into PORTFILE."""
import functools
import http.server
import os
import sys


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        """Say nothing: standard error is the test's."""


handler = functools.partial(Quiet, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    with open(sys.argv[2] + '.part', 'w', encoding='ascii') as port:
        port.write('%d\n' % server.server_port)
    os.replace(sys.argv[2] + '.part', sys.argv[2])
    server.serve_forever()
