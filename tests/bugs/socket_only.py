"""Makes the socket, and then fails to find out where to connect to."""

import socket

from ends import ready

attempts = []
for _ in range(3):
    attempt = socket.socket()
    attempts.append(attempt)
    try:
        attempt.connect(("no-such-host.invalid", 80))
    except socket.gaierror:
        pass
ready(*attempts)
