"""Blocking reads and writes on a taken connection, with timeouts.

The descriptors are nonblocking, because a child may read an idle connection and find nothing. The
functions below wait in poll(2), with the timeouts of the settings. They use os.read and os.write on
descriptor numbers: a socket object would cost a microsecond per call and three system calls to
create.
"""

import os
import select
import socket
import time

from fcgi_worker.log import log
from fcgi_worker.settings import Settings

READ_SIZE = 65536
"""Maximum bytes per read of a request body."""

_LINGER = 2.0
"""Seconds a peer has to receive the response and close."""


class PeerGone(ConnectionError):
    """The connection is unusable: the web server closed, reset or stalled it."""


def accept(listener: socket.socket, settings: Settings) -> int:
    """Return the descriptor of a new connection; -1 if there is none, or none that may connect.

    Raises OSError if a resource is missing, or the connection has failed already.
    """
    try:
        accepted, address = listener.accept()
    except BlockingIOError:
        return -1
    if accepted.family != socket.AF_UNIX:
        if settings.web_servers and address[0] not in settings.web_servers:
            log.warning("connection refused: %s is not in FCGI_WEB_SERVER_ADDRS", address[0])
            accepted.close()
            return -1
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    accepted.setblocking(False)
    return accepted.detach()


def wait_for(descriptor: int, event: int, seconds: float) -> bool:
    """Wait for `event` (POLLIN or POLLOUT); return False on timeout."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(seconds * 1000))


def read_some(descriptor: int, settings: Settings) -> bytes:
    """Return the next bytes, b"" at end of file; PeerGone after `read_timeout` seconds."""
    while True:
        try:
            return os.read(descriptor, READ_SIZE)
        except BlockingIOError:
            if not wait_for(descriptor, select.POLLIN, settings.read_timeout):
                raise PeerGone(f"nothing read for {settings.read_timeout:g} s") from None
        except OSError as error:
            raise PeerGone(error.strerror) from None


def write_all(descriptor: int, data: bytes, settings: Settings) -> None:
    """Write all of `data`; PeerGone if the peer closed, or accepts nothing for `write_timeout`."""
    try:
        sent = os.write(descriptor, data)
        if sent == len(data):
            return
    except BlockingIOError:
        sent = 0
    except OSError as error:
        raise PeerGone(error.strerror) from None
    rest = memoryview(data)[sent:]
    while rest:
        if not wait_for(descriptor, select.POLLOUT, settings.write_timeout):
            raise PeerGone(f"nothing accepted for {settings.write_timeout:g} s")
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            continue
        except OSError as error:
            raise PeerGone(error.strerror) from None


def linger(descriptor: int) -> None:
    """Discard the unread rest of a request until the peer closes, for at most `_LINGER` seconds.

    Closing a socket that has unread bytes sends RST, which can destroy the response in flight.
    """
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        try:
            connection.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _LINGER
            while (left := deadline - time.monotonic()) > 0:
                if not wait_for(descriptor, select.POLLIN, left) or not os.read(
                    descriptor, READ_SIZE
                ):
                    return
        except OSError:
            return
