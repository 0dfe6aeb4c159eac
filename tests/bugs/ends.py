"""The two ends of a connection: the program's, and a peer's in another process.

Each program beside this file has one bug. It prints one line once its socket is in the condition
that the bug leads to, and waits on its stdin.
"""

import ctypes
import json
import os
import select
import socket
import struct
import sys
import threading
import time

DEADLINE = 30
STATES = ["", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT",
          "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"]


def listen(backlog=16):
    """A listener on a free port of the loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=backlog)


def in_another_process(work):
    """Runs `work` in a child that ends with this process, and shares none of its later sockets."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return
    os.close(writing)

    def end_with_the_parent():
        os.read(reading, 1)
        os._exit(0)

    threading.Thread(target=end_with_the_parent, daemon=True).start()
    try:
        kept = work()  # the peer's sockets are not to be collected
    except ConnectionError:
        os._exit(0)  # the parent has ended
    threading.Event().wait()
    del kept


class Turn:
    """Tells another process, which was started after it was made, that it may go on."""

    def __init__(self):
        self.reading, self.writing = os.pipe()

    def give(self):
        os.write(self.writing, b"!")

    def wait(self):
        os.read(self.reading, 1)


def client(talk):
    """The server's end of a connection. The client runs `talk(connection)`."""
    with listen() as listener:
        visit(listener, talk)
        return listener.accept()[0]


def visit(listener, talk):
    """Has a client connect to a listener and run `talk(connection)`."""
    address = listener.getsockname()

    def work():
        listener.close()
        connection = socket.create_connection(address)
        return connection, talk(connection)

    in_another_process(work)


def server(serve):
    """The address of a server that accepts one connection and runs `serve(connection)`."""
    listener = listen()
    address = listener.getsockname()

    def work():
        connection = listener.accept()[0]
        return listener, connection, serve(connection)

    in_another_process(work)
    listener.close()
    return address


def wait_until(what, holds):
    """Waits for a condition, with a deadline."""
    end = time.monotonic() + DEADLINE
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"waited {DEADLINE} s: {what}")
        time.sleep(0.005)


def state(connection):
    """The TCP state of a socket."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return STATES[info[0]]


def wait_for_state(connection, wanted):
    """Waits until a socket is in a state."""
    wait_until(f"{wanted}, not {state(connection)}", lambda: state(connection) == wanted)


def connections():
    """Of each socket in this network namespace: local end, remote end, state and timer."""
    with open("/proc/self/net/tcp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            _, local, remote, number, _, timer, *_ = line.split()
            yield port_in(local), port_in(remote), STATES[int(number, 16)], timer[:2]


def port_in(end):
    """The port of an end such as 0100007F:1F90."""
    return int(end.split(":")[1], 16)


def states_in_queue(listener):
    """The states of the connections to a listener that has accepted none."""
    port = listener.getsockname()[1]
    return [state for local, _, state, _ in connections() if local == port and state != "LISTEN"]


def peer_probes(connection):
    """Whether the peer, stopped by a closed window, sends window probes."""
    port, probe_timer = connection.getsockname()[1], "04"
    return any(remote == port and timer == probe_timer for _, remote, _, timer in connections())


def wait_for_data(connection):
    """Waits until there is something to read, and leaves it there."""
    if not select.select([connection], [], [], DEADLINE)[0]:
        sys.exit(f"waited {DEADLINE} s for data")


def vanish(connection):
    """Drops all that arrives, as if the host had lost its power."""
    drop_all = struct.pack("HBBI", 6, 0, 0, 0)  # BPF_RET | BPF_K, 0 bytes
    program = ctypes.create_string_buffer(drop_all)
    so_attach_filter, length = 26, 1
    description = struct.pack("HL", length, ctypes.addressof(program))
    connection.setsockopt(socket.SOL_SOCKET, so_attach_filter, description)


def ready(*sockets):
    """Names the sockets that have the bug, and waits for the end of stdin."""
    fds = [each.fileno() for each in sockets]
    print(json.dumps({"pid": os.getpid(), "fds": fds}), flush=True)
    sys.stdin.read()
