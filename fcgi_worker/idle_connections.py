"""Shared idle connections: any child can take any of them, so no connection pins a child.

In php-fpm and flup, a kept connection occupies the child that accepted it: 64 idle connections
block a pool of 64, and a request on a busy child's connection waits while other children idle.
Here, a connection between two requests belongs to no child; its next request wakes one idle child.

Facts (man epoll(7); fs/eventpoll.c):
- The children inherit one epoll instance from the master. An event wakes one of the waiting
  children, and EPOLLONESHOT disarms the connection in the same step: taking it is atomic. Only idle
  children wait; the last to become idle is woken first (warm caches). Requests are taken in order
  of arrival.
- epoll identifies a registration by the pair (open file, descriptor number). A child can rearm a
  connection that another process registered if it holds the same file at the same number.
- Only SCM_RIGHTS can pass a descriptor to another process (pidfd_getfd needs ptrace rights).

Decision: an idle connection has a slot, and its descriptor is `base + slot` in every process that
holds it. The master (`fcgi_worker.keeper`) holds every connection and passes one to a child the
first time that child takes it. Shared memory holds a generation per slot, which shows a child that
its descriptor is stale, the owner of each taken slot, so that the master can close the connection
of a killed child, and the time since which a slot is idle.

Trade-off: one epoll_ctl per request to rearm, and about 50 microseconds once per pair of connection
and child. Connections that are not kept never get a slot and pay nothing. Slot descriptors start at
4096 if the limit allows, above the numbers that an application uses. If it uses one nevertheless,
the child serves that connection under another number and asks the master to rearm it.
"""

import contextlib
import fcntl
import mmap
import os
import resource
import select
import socket
from typing import TYPE_CHECKING, Final

from fcgi_worker.log import log

if TYPE_CHECKING:  # for type checkers only
    from chainlab.wire.fastcgi import ServerConnection

ONE_SHOT: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT

_PREFERRED_BASE: Final = 4096
_MAX_FILES: Final = 65536

# Messages between child and master: one letter and a slot number.
READY: Final = b"R"  # child: the application is imported
KEEP: Final = b"P"  # child: keep this connection; master: its slot, or FULL
FETCH: Final = b"F"  # child: send me this slot's connection; master: its descriptor, or GONE
FREE: Final = b"C"  # child: close this slot's connection for good
ARM: Final = b"A"  # child: make this slot's connection idle; I have no descriptor of that number
PAUSE: Final = b"W"  # child: accept failed; rearm the listener in a moment
DUE: Final = b"D"  # child: I have served my number of requests; start my successor
FULL: Final = b"X"
GONE: Final = b"G"
MESSAGE: Final = 5


def encode_message(kind: bytes, slot: int = 0) -> bytes:
    """Return a message, five bytes long."""
    return kind + slot.to_bytes(4, "big")


def decode_message(message: bytes) -> tuple[bytes, int]:
    """Return the letter and the slot number of a message."""
    return message[:1], int.from_bytes(message[1:MESSAGE], "big")


class IdleConnections:
    """The state that all processes of a pool share, created before the first fork."""

    def __init__(self, listener: socket.socket, connections: int) -> None:
        files = _raise_file_limit()
        self.base = min(_PREFERRED_BASE, files // 2)
        self.slots = min(connections, files - self.base)
        self.listener = listener
        self.epoll = select.epoll()
        self.epoll.register(listener, ONE_SHOT)
        # Readable while a child that waits in epoll has been told to leave; see `interrupts`.
        self.nudges = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        self.epoll.register(self.nudges, select.EPOLLIN)
        # Anonymous shared memory: every process forked from here sees the same arrays.
        memory = memoryview(mmap.mmap(-1, 8 + max(self.slots, 1) * 16))
        count = self.slots
        # Monotonic seconds at which the master first saw the slot idle; a child writes 0.
        self.since = memory[8 : 8 + count * 8].cast("d")
        rest = memory[8 + count * 8 :]
        self.generations = rest[: count * 4].cast("I")
        self.owners = rest[count * 4 : count * 6].cast("H")  # child's number; 0: idle
        self._flags = memory[:8]

    @property
    def stopping(self) -> bool:
        """True once the pool stops: then a connection closes after its request."""
        return bool(self._flags[0])

    def stop(self) -> None:
        """Tell every process that the pool stops."""
        self._flags[0] = 1

    def close(self) -> None:
        """Let go of the listener: what is left of this process takes no more connections."""
        self.listener.close()
        self.epoll.close()

    def take_nudges(self) -> None:
        """Take what a dead child may have left; a living one then wakes at its next tick."""
        with contextlib.suppress(BlockingIOError):
            while True:
                os.eventfd_read(self.nudges)

    def arm_listener(self) -> None:
        """Let the next new connection wake an idle child again; nothing once it has stopped."""
        with contextlib.suppress(OSError):
            self.epoll.modify(self.listener, ONE_SHOT)


def _raise_file_limit() -> int:
    """Raise the soft descriptor limit, at most to `_MAX_FILES`; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def place_descriptor(descriptor: int, number: int) -> bool:
    """Duplicate `descriptor` to exactly `number`; False if that number is in use."""
    try:
        placed = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, number)
    except OSError:
        return False
    if placed == number:
        return True
    os.close(placed)
    return False


class Connection:
    """A connection as one child holds it."""

    __slots__ = ("deadline", "descriptor", "generation", "protocol", "slot")

    def __init__(self, descriptor: int, slot: int = -1, generation: int = 0) -> None:
        self.descriptor = descriptor
        self.slot = slot  # -1: it was never idle and belongs to this child alone
        self.generation = generation  # of the slot, when this child took hold of it
        self.protocol: ServerConnection | None = None  # while a request is incomplete
        self.deadline = 0.0  # for the rest of an incomplete request


class Borrower:
    """A child's side: takes idle connections and gives them back."""

    def __init__(
        self, idle: IdleConnections, child: int, control: socket.socket, inherited: frozenset[int]
    ) -> None:
        self._idle = idle
        self._child = child
        self._control = control
        self._held = {
            slot: Connection(idle.base + slot, slot, idle.generations[slot]) for slot in inherited
        }

    @property
    def descriptors(self) -> list[int]:
        """The descriptors of the connections that this child holds."""
        return [connection.descriptor for connection in self._held.values()]

    def add(self, connection: Connection) -> bool:
        """Make a new connection idle: give it a slot.

        Returns False if there is no room; the caller still owns `connection`.
        """
        descriptor = connection.descriptor
        socket.send_fds(self._control, [encode_message(KEEP)], [descriptor])
        kind, slot = decode_message(self._control.recv(MESSAGE))
        if kind != KEEP:
            return False
        number = self._idle.base + slot
        self._drop(slot)
        self._idle.since[slot] = 0.0
        self._idle.owners[slot] = 0
        if place_descriptor(descriptor, number):
            os.close(descriptor)
            held = self._held[slot] = Connection(number, slot, self._idle.generations[slot])
            try:
                self._idle.epoll.register(number, ONE_SHOT)
            except OSError as error:  # the kernel's limit of registrations, or of memory
                log.error("connection closed: cannot watch it: %s", error.strerror)
                self.close(held)
        else:
            os.close(descriptor)
            self._control.send(encode_message(ARM, slot))
        return True

    def take(self, slot: int) -> Connection | None:
        """Take ownership of an idle connection; None if it is unavailable."""
        self._idle.owners[slot] = self._child
        held = self._held.get(slot)
        if held is not None and held.generation == self._idle.generations[slot]:
            return held
        self._drop(slot)
        received = self._fetch(slot)
        if received < 0:
            self._control.send(encode_message(FREE, slot))
            return None
        generation = self._idle.generations[slot]
        if not place_descriptor(received, self._idle.base + slot):
            return Connection(received, slot, generation)  # the application has that number
        os.close(received)
        self._held[slot] = Connection(self._idle.base + slot, slot, generation)
        return self._held[slot]

    def _fetch(self, slot: int) -> int:
        """Return a descriptor of the slot's connection from the master, -1 if there is none."""
        self._control.send(encode_message(FETCH, slot))
        message, descriptors, _, _ = socket.recv_fds(
            self._control, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
        )
        return descriptors[0] if message[:1] == FETCH and descriptors else -1

    def give_back(self, connection: Connection) -> None:
        """Make a taken connection idle again: any child may take its next request."""
        slot = connection.slot
        self._idle.since[slot] = 0.0
        self._idle.owners[slot] = 0
        if self._held.get(slot) is connection:
            self._idle.epoll.modify(connection.descriptor, ONE_SHOT)
        else:
            os.close(connection.descriptor)
            self._control.send(encode_message(ARM, slot))

    def close(self, connection: Connection) -> None:
        """Close a taken connection in every process."""
        if self._held.get(connection.slot) is connection:
            del self._held[connection.slot]
        os.close(connection.descriptor)
        self._control.send(encode_message(FREE, connection.slot))

    def sweep(self) -> None:
        """Close the descriptors of connections that another process has ended."""
        generations = self._idle.generations
        stale = [slot for slot, held in self._held.items() if held.generation != generations[slot]]
        for slot in stale:
            self._drop(slot)

    def _drop(self, slot: int) -> None:
        if (held := self._held.pop(slot, None)) is not None:
            os.close(held.descriptor)
