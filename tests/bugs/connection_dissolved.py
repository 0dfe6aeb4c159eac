"""Disconnects with connect(AF_UNSPEC), to connect again later; that never comes."""

import ctypes
import os
import socket
import struct

from ends import ready, server, wait_for_state

libc = ctypes.CDLL(None, use_errno=True)
connection = socket.create_connection(server(lambda connection: None))
nowhere = struct.pack("H14x", socket.AF_UNSPEC)
if libc.connect(connection.fileno(), nowhere, len(nowhere)) != 0:
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
wait_for_state(connection, "CLOSE")
ready(connection)
