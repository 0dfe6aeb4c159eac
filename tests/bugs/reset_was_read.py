"""Is told of the reset by its read, and does not close."""

from ends import client, ready, wait_for_data, wait_for_state


def talk(connection):
    wait_for_data(connection)
    connection.close()


connection = client(talk)
connection.sendall(b"an answer")
wait_for_state(connection, "CLOSE")
try:
    connection.recv(4096)
except ConnectionResetError:
    pass
else:
    raise AssertionError("no error")
ready(connection)
