# SPDX-License-Identifier: MIT
"""fetch.py PORT SECONDS: connect to that port of the loopback until something is sent by it, and print that."""
import socket
import sys
import time

end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        with socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=10) as connection:
            data = connection.recv(1000)
    except OSError:
        data = b''
    if data:
        sys.stdout.write(data.decode())
        sys.exit(0)
    time.sleep(0.3)
sys.exit(1)
