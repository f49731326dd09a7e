"""Binds a listener, and reports which process holds a busy address.

A unix socket's file outlives its process, so an existing file may be stale (replace it) or live
(refuse). A test connection decides: ECONNREFUSED means stale; on a live socket, SO_PEERCRED
identifies the listening process. TCP has no such call, so the socket's inode from /proc/net/tcp is
looked up among the descriptors in /proc.
"""

import errno
import os
import socket
import stat
import struct
from itertools import chain
from pathlib import Path
from typing import Final

from chainlab.transport.address import Address
from chainlab.transport.socket_file import SocketFile

BACKLOG: Final = 4096
"""Maximum connections waiting for accept; the kernel caps it at somaxconn (listen(2))."""


class ListenError(OSError):
    """Listening on the address failed; the message names the cause and the remedy."""


def bind_listener(
    address: Address, backlog: int = BACKLOG, socket_file: SocketFile | None = None
) -> socket.socket:
    """Return a nonblocking listener bound to `address`; port 0 lets the kernel choose.

    An IPv6 listener takes no IPv4 clients (IPV6_V6ONLY, as nginx), so that both wildcards can
    listen on one port. A stale unix socket is replaced; `socket_file` is its mode and owner. Raises
    ListenError if the address is in use, its folder is missing, permission is denied, or the path
    is a file other than a socket.
    """
    if address.path:
        _clear_stale_socket(address)
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if not address.path:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address.sockaddr)
        if address.path and socket_file is not None:
            _set_owner(address, socket_file)
        listener.listen(backlog)
        listener.setblocking(False)
    except ListenError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise ListenError(_why(address, error)) from None
    return listener


def _set_owner(address: Address, socket_file: SocketFile) -> None:
    try:
        socket_file.apply(address.path)
    except OSError as error:
        Path(address.path).unlink(missing_ok=True)
        raise ListenError(
            f"{address}: cannot set the socket's mode and owner: {error.strerror}; only root may "
            "give it to another user, others to a group of their own"
        ) from None


def bound_address(listener: socket.socket) -> Address:
    """Return the address of `listener`, with the actual port."""
    if listener.family == socket.AF_UNIX:
        return Address(path=str(listener.getsockname()))
    host, port = listener.getsockname()[:2]
    return Address(host=host, port=port)


def remove_socket(listener: socket.socket) -> None:
    """Remove the file of a unix listener, unless another process has replaced it."""
    if listener.family != socket.AF_UNIX:
        return
    path = str(listener.getsockname())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            if _peer_pid(probe) != os.getpid():
                return
        except OSError:
            pass  # no process listens there, so none has replaced the file
    Path(path).unlink(missing_ok=True)


def _clear_stale_socket(address: Address) -> None:
    path = Path(address.path)
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # no file, or bind will report the error
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{address}: a file that is not a socket; remove it or use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # the backlog is full, so a process is listening
            raise ListenError(f"{address}: address in use; use another path") from None
        except OSError as error:
            raise ListenError(_why(address, error)) from None
        raise ListenError(
            f"{address}: address in use by pid {_peer_pid(probe)}; stop it or use another path"
        )


def _peer_pid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[0])


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = find_listening_pid(address.port)
        if holder == os.getpid():
            return f"{address}: address in use by another listener of this program; remove one"
        by = f" by pid {holder}; stop it or" if holder else ";"
        return f"{address}: address in use{by} use another port"
    if isinstance(error, socket.gaierror):
        return f"{address}: unknown host; use an address of this machine, for example 127.0.0.1"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: not an address of this machine; `ip address` lists them"
    if error.errno == errno.ENOENT:
        return f"{address}: the folder does not exist; create it first"
    if error.errno == errno.EACCES:
        return f"{address}: permission denied; use a port above 1023 or a writable folder"
    return f"{address}: {error.strerror}"


def find_listening_pid(port: int) -> int | None:
    """Return the process that listens on TCP `port`; None if /proc does not show it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    own = Path(f"/proc/{os.getpid()}/fd").iterdir()  # first: children may hold our listeners, too
    for descriptor in chain(own, Path("/proc").glob("[0-9]*/fd/*")):
        try:
            if str(descriptor.readlink()) in inodes:
                return int(descriptor.parts[2])
        except OSError:
            continue  # the process is gone or belongs to another user
    return None
