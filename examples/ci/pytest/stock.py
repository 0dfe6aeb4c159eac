"""A client of a warehouse's HTTP service."""

import http.client
import json


class Stock:
    """The stock of a warehouse."""

    def __init__(self, host, port):
        self.connection = http.client.HTTPConnection(host, port, timeout=10)

    def count(self, item):
        """How many there are of an item."""
        self.connection.request("GET", f"/stock/{item}")
        return json.load(self.connection.getresponse())["count"]

    def close(self):
        """Gives the connection back."""
        self.connection.close()
