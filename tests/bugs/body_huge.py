"""Leaves a body alone that does not fit into the receive buffer: the server cannot even close."""

from body import Exchange
from ends import peer_probes, ready, wait_until

exchange = Exchange(64 << 20)
exchange.look_at_status()
wait_until("a closed window", lambda: peer_probes(exchange.sock))
ready(exchange.sock)
