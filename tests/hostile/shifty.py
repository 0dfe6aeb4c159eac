"""A process that does not want to be known: 2 MB of arguments, which change all the time.

Usage: shifty.py ARGUMENT…. It leaks a connection, prints its number, and writes escapes, newlines,
invisible letters and nothing at all over its arguments until stdin ends.
"""

import json
import os
import socket
import sys
import threading

TITLES = [
    b"\x1b[2J\x1b]0;title\x07",
    b"a\nb\r\n",
    "\u202ereversed\u200b\ufeff".encode(),
    b"\xff\xfe\x80",
    b"\0\0\0",
]


def shift(begin, size):
    """Writes over all arguments, with one title after the other."""
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        while True:
            for title in TITLES:
                memory.seek(begin)
                memory.write((title * (size // len(title) + 1))[:size])


def main():
    """Leaks, and shifts."""
    with open("/proc/self/stat", encoding="utf-8") as stat:
        fields = stat.read().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        leak = listener.accept()[0]
    threading.Thread(target=shift, args=(begin, end - begin), daemon=True).start()
    print(json.dumps({"pid": os.getpid(), "fd": leak.fileno(), "size": end - begin}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
