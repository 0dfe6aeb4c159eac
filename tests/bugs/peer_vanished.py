"""Sends to a peer that is gone without a word."""

import socket

from ends import client, ready, vanish, wait_for_data, wait_until


def talk(connection):
    vanish(connection)
    connection.sendall(b"gone")


def retransmits():
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[2]


connection = client(talk)
wait_for_data(connection)
connection.sendall(b"are you there?")
wait_until("a retransmission", retransmits)
ready(connection)
