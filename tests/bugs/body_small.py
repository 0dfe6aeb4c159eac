"""Leaves a body alone that came with the header; the server closes later."""

from body import Exchange
from ends import Turn, ready, wait_for_state

header_is_read = Turn()
exchange = Exchange(200, header_is_read)
exchange.look_at_status()
header_is_read.give()
wait_for_state(exchange.sock, "CLOSE_WAIT")
ready(exchange.sock)
