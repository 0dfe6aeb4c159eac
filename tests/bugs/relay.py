"""A proxy: passes its clients' end-of-file on, and waits for a backend that does not close.

There are ten pairs: on a busy machine the proxy may sometimes be too slow for an observer to see that
it passed the end-of-file on because it came.
"""

import socket

from ends import listen, ready, server, visit, wait_for_data, wait_for_state

PAIRS = 10


def talk(connection):
    wait_for_data(connection)
    connection.recv(4096)
    connection.close()


# Peers first: they are not to inherit a socket of the proxy.
backends = [server(lambda connection: None) for _ in range(PAIRS)]
listener = listen()
for _ in range(PAIRS):
    visit(listener, talk)

fronts, backs = [], []
for backend in backends:
    front, back = listener.accept()[0], socket.create_connection(backend)
    fronts.append(front)
    backs.append(back)
    front.sendall(b"what do you want?")
    assert front.recv(4096) == b""
    back.shutdown(socket.SHUT_WR)
    wait_for_state(back, "FIN_WAIT2")
listener.close()
ready(*fronts, *backs)
