"""Takes the socket out of its event loop at end-of-file, and does not close it."""

import selectors

from ends import client, ready

connections = {}
connection = client(lambda connection: connection.close())
connections[connection.fileno()] = connection
with selectors.DefaultSelector() as selector:
    selector.register(connection, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            if not key.fileobj.recv(4096):
                selector.unregister(key.fileobj)
ready(connection)
