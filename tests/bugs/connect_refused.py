"""Tries again with a new socket after each refusal, and keeps the old ones."""

import socket

from ends import listen, ready

with listen() as listener:
    nobody = listener.getsockname()

attempts = []
for _ in range(3):
    attempt = socket.socket()
    attempts.append(attempt)
    assert attempt.connect_ex(nobody) != 0
ready(*attempts)
