"""Accepts, and does not come to read the request; the client gives up."""

from ends import client, ready, wait_for_state


def talk(connection):
    connection.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
    connection.close()


connection = client(talk)
wait_for_state(connection, "CLOSE_WAIT")
ready(connection)
