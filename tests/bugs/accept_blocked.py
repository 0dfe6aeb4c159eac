"""Does not call accept(); its client gives up."""

from ends import listen, ready, states_in_queue, visit, wait_until

listener = listen()
visit(listener, lambda connection: connection.close())
wait_until("a client that has left", lambda: states_in_queue(listener) == ["CLOSE_WAIT"])
ready(listener)
