"""Answers, and its client leaves without reading that: its kernel sends RST. Never looks again."""

from ends import client, ready, wait_for_data, wait_for_state


def talk(connection):
    wait_for_data(connection)
    connection.close()


connection = client(talk)
connection.sendall(b"an answer")
wait_for_state(connection, "CLOSE")
ready(connection)
