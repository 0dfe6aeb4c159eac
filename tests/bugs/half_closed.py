"""No bug: sends a long answer, row by row, to a client that has half-closed."""

import socket
import threading
import time

from ends import client, ready, wait_for_data, wait_for_state


def talk(connection):
    connection.sendall(b"all rows, please")
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(4096):
        pass


def answer():
    while True:
        connection.sendall(b"a row\n")
        time.sleep(0.05)


connection = client(talk)
wait_for_state(connection, "CLOSE_WAIT")
assert connection.recv(4096) == b"all rows, please"
threading.Thread(target=answer, daemon=True).start()
ready(connection)
