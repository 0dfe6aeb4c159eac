"""Takes a read of 0 bytes for "nothing yet"."""

from ends import client, ready, wait_for_state


def talk(connection):
    connection.sendall(b"good day")
    connection.close()


connection = client(talk)
wait_for_state(connection, "CLOSE_WAIT")
received = b""
for _ in range(3):
    received += connection.recv(4096)
assert received == b"good day"
ready(connection)
