"""Sends its request, shuts down its sending side, and waits for a server that does not close."""

import socket

from ends import ready, server, wait_for_data, wait_for_state


def serve(connection):
    wait_for_data(connection)
    connection.recv(4096)
    connection.sendall(b"the answer")


connection = socket.create_connection(server(serve))
connection.sendall(b"a request")
assert connection.recv(4096) == b"the answer"
connection.shutdown(socket.SHUT_WR)
wait_for_state(connection, "FIN_WAIT2")
ready(connection)
