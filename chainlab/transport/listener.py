"""Bind a listener, and report which process holds a busy address.

A unix socket's file outlives its process, so an existing file may be stale (its process is gone:
replace the file) or live (refuse). Connecting decides: ECONNREFUSED means stale; on a live socket,
SO_PEERCRED identifies the listening process. TCP has no such call, so the socket's inode from
/proc/net/tcp is looked up among the descriptors in /proc.
"""

import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from chainlab.transport.address import Address

BACKLOG: Final = 4096
"""Connections that may wait in the kernel to be accepted; somaxconn lowers it (man listen(2))."""


class ListenError(OSError):
    """The address cannot be listened on; the message says why and what helps."""


def bind_listener(address: Address, backlog: int = BACKLOG) -> socket.socket:
    """Return a nonblocking listener bound to `address`; port 0 lets the kernel choose.

    A stale unix socket is replaced. Raises ListenError: in use (by whom), no such folder, no
    right, a file that is no socket in the way.
    """
    if address.path:
        _clear_stale_socket(address)
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if not address.path:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address.sockaddr)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ListenError(_why(address, error)) from None
    return listener


def bound_address(listener: socket.socket) -> Address:
    """Return the address that `listener` has, with the port that the kernel chose."""
    if listener.family == socket.AF_UNIX:
        return Address(path=str(listener.getsockname()))
    host, port = listener.getsockname()[:2]
    return Address(host=host, port=port)


def remove_socket(listener: socket.socket) -> None:
    """Remove the file of a unix listener; leave it when another process has put its own there."""
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
            pass  # nobody accepts there, so nobody else can have taken it over
    Path(path).unlink(missing_ok=True)


def _clear_stale_socket(address: Address) -> None:
    path = Path(address.path)
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # nothing there, or bind will say what is wrong
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{address}: the file there is no socket; remove it or use another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # its backlog is full: very much alive
            raise ListenError(f"{address}: address in use") from None
        except OSError as error:
            raise ListenError(_why(address, error)) from None
        raise ListenError(f"{address}: address in use by pid {_peer_pid(probe)}")


def _peer_pid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[0])


def _why(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = find_listening_pid(address.port)
        by = f" by pid {holder}" if holder else ""
        return f"{address}: address in use{by}; stop it or choose another port"
    if isinstance(error, socket.gaierror):
        return f"{address}: no such host; write an address of this machine, as 127.0.0.1"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: no address of this machine; `ip address` lists them"
    if error.errno == errno.ENOENT:
        return f"{address}: the folder does not exist; make it first"
    if error.errno == errno.EACCES:
        return f"{address}: permission denied; choose a port above 1023 or a folder of yours"
    return f"{address}: {error.strerror}"


def find_listening_pid(port: int) -> int | None:
    """Return the process that listens on a TCP `port`; None when /proc does not tell us."""
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
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(descriptor.readlink()) in inodes:
                return int(descriptor.parts[2])
        except OSError:
            continue  # gone, or another user's
    return None
