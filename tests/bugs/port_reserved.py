"""No bug: keeps a port, so that nobody else takes it."""

import socket

from ends import ready

kept = socket.socket()
kept.bind(("127.0.0.1", 0))
ready(kept)
