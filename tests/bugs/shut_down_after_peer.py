"""Answers end-of-file with a shutdown, and takes that for a close."""

import socket

from ends import client, ready, wait_for_data, wait_for_state

connection = client(lambda connection: connection.close())
wait_for_data(connection)
assert connection.recv(4096) == b""
connection.shutdown(socket.SHUT_WR)
wait_for_state(connection, "CLOSE")
ready(connection)
