"""Answers a client that has half-closed and does not read."""

import socket

from ends import client, ready, wait_for_state


def talk(connection):
    connection.sendall(b"everything, please")
    connection.shutdown(socket.SHUT_WR)


connection = client(talk)
wait_for_state(connection, "CLOSE_WAIT")
assert connection.recv(4096) == b"everything, please"
assert connection.recv(4096) == b""
connection.setblocking(False)
try:
    while connection.send(bytes(65536)):
        pass
except BlockingIOError:
    pass
ready(connection)
