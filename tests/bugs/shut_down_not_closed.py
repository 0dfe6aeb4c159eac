"""Shuts down both directions, and takes that for a close."""

import socket

from ends import client, ready, wait_for_data, wait_for_state


def talk(connection):
    wait_for_data(connection)  # end-of-file
    connection.close()


connection = client(talk)
connection.shutdown(socket.SHUT_RDWR)
wait_for_state(connection, "CLOSE")
ready(connection)
