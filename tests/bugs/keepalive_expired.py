"""Its peer vanishes, keepalive finds out, and nobody looks."""

import socket

from ends import client, ready, vanish, wait_for_state

connection = client(vanish)
for option, value in [("KEEPIDLE", 1), ("KEEPINTVL", 1), ("KEEPCNT", 1)]:
    connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)
connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
wait_for_state(connection, "CLOSE")
ready(connection)
