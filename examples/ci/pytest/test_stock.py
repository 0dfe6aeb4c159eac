"""Tests of the client against a service of their own."""

import contextlib
import http.server
import json
import threading
import time

import pytest

from stock import Stock


class Warehouse(http.server.BaseHTTPRequestHandler):
    """Answers, and hangs up soon, as servers do with idle connections."""

    protocol_version = "HTTP/1.1"
    timeout = 0.05

    def do_GET(self):
        body = json.dumps({"count": len(self.path)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def warehouse():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Warehouse) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address
        server.shutdown()


def test_counts(warehouse):
    stock = Stock(*warehouse)
    assert stock.count("apple") == len("/stock/apple")
    CLIENTS.append(stock)


def test_counts_and_closes(warehouse):
    with contextlib.closing(Stock(*warehouse)) as stock:
        assert stock.count("pear") == len("/stock/pear")


def test_takes_its_time():
    time.sleep(0.3)


# A registry that outlives the tests, as connection pools do.
CLIENTS = []
