"""No bug: reads slowly what a finished peer has sent."""

import threading
import time

from ends import client, ready, wait_for_state


def talk(connection):
    connection.sendall(bytes(40_000))
    connection.close()


def read():
    while connection.recv(10):
        time.sleep(0.05)


connection = client(talk)
wait_for_state(connection, "CLOSE_WAIT")
threading.Thread(target=read, daemon=True).start()
ready(connection)
