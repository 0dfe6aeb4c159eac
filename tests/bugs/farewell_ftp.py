"""Keeps an FTP session; the server says 421 and closes it."""

import ftplib

from ends import Turn, ready, server, wait_for_data, wait_for_state


def serve(connection):
    connection.sendall(b"220 Welcome.\r\n")
    for answer in [b"331 Password?\r\n", b"230 Come in.\r\n", b"200 Nothing done.\r\n"]:
        wait_for_data(connection)
        connection.recv(65536)
        connection.sendall(answer)
    client_has_read.wait()
    connection.sendall(b"421 Timeout.\r\n")
    connection.close()


client_has_read = Turn()
session = ftplib.FTP()
session.connect(*server(serve))
session.login("somebody", "secret")
session.voidcmd("NOOP")
client_has_read.give()
wait_for_state(session.sock, "CLOSE_WAIT")
ready(session.sock)
