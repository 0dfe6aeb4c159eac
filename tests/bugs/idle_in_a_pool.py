"""Keeps a connection for the next request; the server closes it meanwhile."""

import http.client

from ends import Turn, ready, server, wait_for_data, wait_for_state


def serve(connection):
    wait_for_data(connection)
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    client_has_read.wait()
    connection.close()


client_has_read = Turn()
pooled = http.client.HTTPConnection(*server(serve))
pooled.request("GET", "/")
assert pooled.getresponse().read() == b"ok"
client_has_read.give()
wait_for_state(pooled.sock, "CLOSE_WAIT")
ready(pooled.sock)
