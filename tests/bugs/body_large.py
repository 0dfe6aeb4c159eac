"""Leaves a body alone that is larger than what is read with the header."""

from body import Exchange
from ends import ready, wait_for_state

exchange = Exchange(40_000)
exchange.look_at_status()
wait_for_state(exchange.sock, "CLOSE_WAIT")
ready(exchange.sock)
