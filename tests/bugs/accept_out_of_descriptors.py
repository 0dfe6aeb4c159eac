"""Cannot accept: it has no descriptor left. Its client gives up."""

import errno
import os
import resource

from ends import listen, ready, states_in_queue, visit, wait_until

listener = listen()
visit(listener, lambda connection: connection.close())
wait_until("a client that has left", lambda: states_in_queue(listener) == ["CLOSE_WAIT"])
next_fd = os.dup(0)
os.close(next_fd)
resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd, next_fd))
try:
    listener.accept()
except OSError as error:
    assert error.errno == errno.EMFILE
else:
    raise AssertionError("a descriptor was left")
ready(listener)
