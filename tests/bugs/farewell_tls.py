"""Keeps a TLS connection for later; the server sends close_notify and closes it."""

import socket
import ssl

from ends import ready, server, wait_for_state


def context(protocol):
    """Without a certificate: TLS 1.2 with an anonymous key exchange."""
    anonymous = ssl.SSLContext(protocol)
    anonymous.check_hostname = False
    anonymous.verify_mode = ssl.CERT_NONE
    anonymous.maximum_version = ssl.TLSVersion.TLSv1_2
    anonymous.set_ciphers("AECDH-AES256-SHA:@SECLEVEL=0")
    return anonymous


def serve(connection):
    with context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(connection, server_side=True) as secure:
        secure.sendall(b"ok")
        assert secure.recv(3) == b"bye"
        secure.setblocking(False)
        try:
            secure.unwrap()
        except ssl.SSLWantReadError:
            pass  # close_notify has been sent; the client's does not come


connection = socket.create_connection(server(serve))
secure = context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(connection)
assert secure.recv(2) == b"ok"
secure.sendall(b"bye")
wait_for_state(secure, "CLOSE_WAIT")
ready(secure)
