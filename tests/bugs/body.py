"""A response whose body is neither read nor closed, for the programs that differ in its size."""

import http.client

from ends import server, wait_for_data


class Exchange:
    """A request to a server that answers with `size` bytes, waits for its turn, and closes."""

    def __init__(self, size, turn=None):
        def serve(connection):
            wait_for_data(connection)
            connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode() + bytes(size))
            if turn:
                turn.wait()
            connection.close()

        self.connection = http.client.HTTPConnection(*server(serve))
        self.connection.request("GET", "/")
        self.sock = self.connection.sock

    def look_at_status(self):
        """Reads the header. What is read with it, http.client buffers."""
        self.response = self.connection.getresponse()
        assert self.response.status == 200
