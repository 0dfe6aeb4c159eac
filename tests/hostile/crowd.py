"""A crowd that an unprivileged user can make: PROCESSES processes that hold the same SOCKETS leaks.

Usage: crowd.py shared|copied PROCESSES SOCKETS. They share one table of descriptors (CLONE_FILES), or
each has a copy. It prints a line with their numbers. On stdin it takes, one a line, the number of a
process to kill, and answers once that is gone; at the end of stdin, all end.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import sys

CLONE_FILES, SYS_CLONE, PR_SET_PDEATHSIG = 0x400, 56, 1
NOBODY = 65534


def leak(listener):
    """A connection whose peer is gone."""
    with socket.socket() as client:
        client.connect(listener.getsockname())
        return listener.accept()[0]


def start(libc, flags):
    """A process that does nothing until its parent ends."""
    pid = libc.syscall(SYS_CLONE, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid:
        return pid
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    while True:
        libc.pause()


def main():
    """Makes the crowd, and has some of it end."""
    how, processes, sockets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    libc = ctypes.CDLL(None)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        leaks = [leak(listener) for _ in range(sockets)]
    flags = CLONE_FILES if how == "shared" else 0
    pids = [os.getpid()] + [start(libc, flags) for _ in range(processes - 1)]
    print(json.dumps({"pids": pids, "fds": [each.fileno() for each in leaks]}), flush=True)
    for line in sys.stdin:
        pid = int(line)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print(json.dumps({"gone": pid}), flush=True)


if __name__ == "__main__":
    main()
