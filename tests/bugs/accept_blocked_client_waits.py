"""Does not call accept(); its client still waits."""

from ends import listen, ready, states_in_queue, visit, wait_until

listener = listen()
visit(listener, lambda connection: connection.sendall(b"hello?"))
wait_until("a client", lambda: states_in_queue(listener) == ["ESTABLISHED"])
ready(listener)
