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
  connection that another child registered if it holds the same file at the same number.
- Only SCM_RIGHTS can pass a descriptor to another process (pidfd_getfd needs ptrace rights).

Decision: an idle connection has a slot, and its descriptor is `base + slot` in every process that
holds it. The master holds every connection and passes one to a child the first time that child
takes it. Shared memory holds a generation per slot, which shows a child that its descriptor is
stale, and the owner of each taken slot, so that the master can close the connection of a killed
child.

Trade-off: one epoll_ctl per request to rearm, and about 50 microseconds once per pair of connection
and child. Connections that are not kept never get a slot and pay nothing. Slot descriptors start at
1024 if the limit allows, so that the application keeps the numbers that select() can watch.
"""

import contextlib
import fcntl
import mmap
import os
import resource
import select
import socket
from collections import deque
from typing import Final

ONE_SHOT: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLONESHOT

_PREFERRED_BASE: Final = 1024
_MAX_FILES: Final = 65536

# Messages between child and master: one letter and a slot number.
READY: Final = b"R"  # child: the application is imported
KEEP: Final = b"P"  # child: keep this connection; master: its slot, or FULL
FETCH: Final = b"F"  # child: send me this slot's connection; master: its descriptor, or GONE
FREE: Final = b"C"  # child: close this slot's connection for good
FULL: Final = b"X"
GONE: Final = b"G"
_MESSAGE: Final = 5


def encode_message(kind: bytes, slot: int = 0) -> bytes:
    """Return a message, five bytes long."""
    return kind + slot.to_bytes(4, "big")


def decode_message(message: bytes) -> tuple[bytes, int]:
    """Return the letter and the slot number of a message."""
    return message[:1], int.from_bytes(message[1:_MESSAGE], "big")


class IdleConnections:
    """The state shared by all processes, created before the fork: epoll, owners, generations."""

    def __init__(self, listener: socket.socket, connections: int) -> None:
        files = _raise_file_limit()
        self.base = min(_PREFERRED_BASE, files // 2)
        self.slots = min(connections, files - self.base)
        self.listener = listener
        self.epoll = select.epoll()
        self.epoll.register(listener, ONE_SHOT)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self.epoll.register(self._stop, select.EPOLLIN)
        self.stop_descriptor = self._stop
        # Anonymous shared memory: every process forked from here sees the same arrays.
        memory = memoryview(mmap.mmap(-1, max(self.slots, 1) * 6))
        self.generations = memory[: self.slots * 4].cast("I")
        self.owners = memory[self.slots * 4 : self.slots * 6].cast("H")  # child's number; 0: idle

    def arm(self, descriptor: int) -> None:
        """Let the next event on `descriptor` wake an idle child again."""
        self.epoll.modify(descriptor, ONE_SHOT)

    def stop(self) -> None:
        """Wake every child, waiting now or later: the stop descriptor stays readable."""
        os.eventfd_write(self._stop, 1)


def _raise_file_limit() -> int:
    """Raise the soft descriptor limit, at most to `_MAX_FILES`; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


class Keeper:
    """The master's side: holds every idle connection and answers the children."""

    def __init__(self, idle: IdleConnections) -> None:
        self._idle = idle
        self._free = deque(range(idle.slots))
        self._held: set[int] = set()
        self._suspects: set[int] = set()

    @property
    def held(self) -> frozenset[int]:
        """The slots in use; a child forked now inherits their descriptors."""
        return frozenset(self._held)

    def handle(self, child: int, control: socket.socket) -> bytes | None:
        """Read and answer one message of child number `child`.

        Returns its letter, None if there is no message, or b"" if the child has closed.
        """
        try:
            message, descriptors, _, _ = socket.recv_fds(
                control, _MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if not message:
            return b""
        kind, slot = decode_message(message)
        try:
            if kind == KEEP:
                self._keep(child, control, descriptors)
            elif kind == FETCH:
                self._hand_out(control, slot)
            elif kind == FREE:
                self._release(slot)
        except OSError:
            pass  # the child died; its slots are freed when it is reaped
        return kind

    def _keep(self, child: int, control: socket.socket, descriptors: list[int]) -> None:
        if not descriptors:  # at our descriptor limit, the kernel drops the passed descriptor
            control.send(encode_message(FULL))
            return
        received = descriptors[0]
        try:
            slot = self._place(received)
        finally:
            os.close(received)
        if slot is None:
            control.send(encode_message(FULL))
            return
        self._held.add(slot)
        self._next_generation(slot)
        self._idle.owners[slot] = child
        control.send(encode_message(KEEP, slot))

    def _place(self, received: int) -> int | None:
        """Duplicate a descriptor to a free slot's number; None if there is no free slot."""
        for _ in range(len(self._free)):
            slot = self._free.popleft()
            if place_descriptor(received, self._idle.base + slot):
                return slot
            self._free.append(slot)  # another descriptor of this process has that number
        return None

    def _hand_out(self, control: socket.socket, slot: int) -> None:
        if slot in self._held:
            answer = encode_message(FETCH, slot)
            socket.send_fds(control, [answer], [self._idle.base + slot])
        else:
            control.send(encode_message(GONE))

    def _release(self, slot: int) -> None:
        """Close a connection for every process that holds it."""
        if slot not in self._held:
            return
        self._held.remove(slot)
        self._next_generation(slot)
        self._idle.owners[slot] = 0
        self._free.append(slot)
        descriptor = self._idle.base + slot
        with contextlib.suppress(OSError):  # a child that died may not have registered it yet
            self._idle.epoll.unregister(descriptor)
        # The children's duplicates keep the socket open, so close alone would send no FIN.
        with socket.socket(fileno=descriptor) as connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _next_generation(self, slot: int) -> None:
        self._idle.generations[slot] = (self._idle.generations[slot] + 1) & 0xFFFFFFFF

    def bury(self, child: int) -> None:
        """Close the connections that a dead child had taken, so that their peers see EOF."""
        for slot in [slot for slot in self._held if self._idle.owners[slot] == child]:
            self._release(slot)
        # The child may have died right after an event disarmed its descriptor. Rearm the listener
        # (harmless if armed) and check for readable connections that no child owns.
        self._idle.arm(self._idle.listener.fileno())
        self._suspects = set(self._held)

    def revive(self) -> None:
        """Rearm connections that were readable and unowned in two calls, a second apart.

        Needed only after a child's death: a child killed between taking a connection and recording
        itself as the owner would leave the connection disarmed permanently.
        """
        if not self._suspects:
            return
        poll = select.poll()
        for slot in self._suspects:
            if slot in self._held and not self._idle.owners[slot]:
                poll.register(self._idle.base + slot, select.POLLIN)
        waiting = {descriptor - self._idle.base for descriptor, _ in poll.poll(0)}
        for slot in self._suspects & waiting:
            self._idle.arm(self._idle.base + slot)
        self._suspects = waiting


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


class Borrower:
    """A child's side: takes idle connections and gives them back."""

    def __init__(
        self, idle: IdleConnections, child: int, control: socket.socket, inherited: frozenset[int]
    ) -> None:
        self._idle = idle
        self._child = child
        self._control = control
        # Slot -> generation of the connection whose descriptor this process holds.
        self._held = {slot: idle.generations[slot] for slot in inherited}

    def add(self, descriptor: int) -> bool:
        """Add a new connection to the idle ones, under its slot's number.

        Returns False if there is no room; the caller still owns `descriptor`.
        """
        socket.send_fds(self._control, [encode_message(KEEP)], [descriptor])
        kind, slot = decode_message(self._control.recv(_MESSAGE))
        if kind != KEEP:
            return False
        held = self._hold(slot, descriptor)
        os.close(descriptor)
        if held:
            self._idle.owners[slot] = 0
            self._idle.epoll.register(self._idle.base + slot, ONE_SHOT)
        return True

    def take(self, descriptor: int) -> bool:
        """Take ownership of the idle connection `descriptor`; False if it is unavailable."""
        slot = descriptor - self._idle.base
        self._idle.owners[slot] = self._child
        if self._held.get(slot) == self._idle.generations[slot]:
            return True
        self._control.send(encode_message(FETCH, slot))
        message, descriptors, _, _ = socket.recv_fds(
            self._control, _MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
        )
        if message[:1] != FETCH or not descriptors:
            self._control.send(encode_message(FREE, slot))
            return False
        held = self._hold(slot, descriptors[0])
        os.close(descriptors[0])
        return held

    def give_back(self, descriptor: int) -> None:
        """Make a taken connection idle again: any child may take its next request."""
        self._idle.owners[descriptor - self._idle.base] = 0
        self._idle.epoll.modify(descriptor, ONE_SHOT)

    def close(self, descriptor: int) -> None:
        """Close a taken connection in every process."""
        slot = descriptor - self._idle.base
        self._drop(slot)
        self._control.send(encode_message(FREE, slot))

    def sweep(self) -> None:
        """Close the descriptors of connections that another process has ended."""
        generations = self._idle.generations
        stale = [slot for slot, generation in self._held.items() if generation != generations[slot]]
        for slot in stale:
            self._drop(slot)

    def _hold(self, slot: int, descriptor: int) -> bool:
        """Duplicate a descriptor to its slot's number; release the slot if that fails."""
        if slot in self._held:
            self._drop(slot)
        if place_descriptor(descriptor, self._idle.base + slot):
            self._held[slot] = self._idle.generations[slot]
            return True
        self._control.send(encode_message(FREE, slot))  # the application uses this number
        return False

    def _drop(self, slot: int) -> None:
        del self._held[slot]
        os.close(self._idle.base + slot)
