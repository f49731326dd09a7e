"""The master's side of the idle connections: holds them all and answers the children.

See `fcgi_worker.idle_connections` for the design.
"""

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Iterable

from fcgi_worker.idle_connections import (
    ARM,
    FETCH,
    FREE,
    FULL,
    GONE,
    KEEP,
    MESSAGE,
    ONE_SHOT,
    IdleConnections,
    decode_message,
    encode_message,
    place_descriptor,
)


class Keeper:
    """Holds every idle connection of a pool."""

    def __init__(self, idle: IdleConnections) -> None:
        self._idle = idle
        self._free = deque(range(idle.slots))
        self._held: set[int] = set()
        self._suspects: set[int] = set()  # slots that may have lost an event
        self._seen: dict[int, float] = {}  # readable suspects, and since when they are idle

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
                control, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC
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
            elif kind == ARM:
                self._arm(slot)
        except OSError:
            pass  # the child died; its slots are freed when it is reaped
        return kind

    def _keep(self, child: int, control: socket.socket, descriptors: list[int]) -> None:
        # At our descriptor limit, the kernel drops the passed descriptor.
        slot = self._place(descriptors[0]) if descriptors else None
        if slot is None:
            control.send(encode_message(FULL))
            return
        self._idle.owners[slot] = child
        control.send(encode_message(KEEP, slot))

    def _place(self, received: int) -> int | None:
        """Move a descriptor to the number of a free slot; None if there is no free slot."""
        try:
            for _ in range(len(self._free)):
                slot = self._free.popleft()
                if place_descriptor(received, self._idle.base + slot):
                    self._held.add(slot)
                    self._next_generation(slot)
                    return slot
                self._free.append(slot)  # another descriptor of this process has that number
            return None
        finally:
            os.close(received)

    def _hand_out(self, control: socket.socket, slot: int) -> None:
        if slot in self._held:
            answer = encode_message(FETCH, slot)
            socket.send_fds(control, [answer], [self._idle.base + slot])
        else:
            control.send(encode_message(GONE))

    def _arm(self, slot: int) -> None:
        """Let the next event on a slot wake an idle child."""
        if slot not in self._held:
            return
        try:
            self._idle.epoll.modify(self._idle.base + slot, ONE_SHOT)
        except FileNotFoundError:
            self._idle.epoll.register(self._idle.base + slot, ONE_SHOT)

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
        self._idle.arm_listener()
        self._suspects |= self._held

    def revive(self, now: float) -> None:
        """Rearm connections whose event was lost; call this about once a second.

        A child that dies between taking a connection and recording itself as the owner leaves the
        connection disarmed. Such a connection is readable, unowned and idle since the same moment
        in two calls. One that is merely waiting for a child loses nothing by being rearmed.
        """
        looked_at = self._suspects | self._seen.keys()
        if not looked_at:
            return
        waiting = self._readable(slot for slot in looked_at if not self._owned(slot))
        seen = {slot: self._idle_since(slot, now) for slot in waiting}
        for slot in [slot for slot, since in seen.items() if self._seen.get(slot) == since]:
            self._arm(slot)
            del seen[slot]
        self._suspects, self._seen = set(), seen

    def _idle_since(self, slot: int, now: float) -> float:
        """Return when an idle slot was first seen idle, which may be now."""
        if not self._idle.since[slot]:
            self._idle.since[slot] = now
        return self._idle.since[slot]

    def _owned(self, slot: int) -> bool:
        return slot not in self._held or self._idle.owners[slot] != 0

    def _readable(self, slots: Iterable[int]) -> set[int]:
        """Return those of the slots that have something to read, or whose peer has closed."""
        poll = select.poll()
        for slot in slots:
            poll.register(self._idle.base + slot, select.POLLIN)
        return {descriptor - self._idle.base for descriptor, _ in poll.poll(0)}

    # Ending idle connections

    def close_idle(self, now: float, limit: float) -> None:
        """Close the connections that have been idle for `limit` seconds; call this regularly.

        One on which a request has arrived is left to the children. Disarm first, look then: what
        is disarmed and not readable cannot have woken a child.
        """
        idle = [slot for slot in self._held if not self._owned(slot)]
        old = {slot for slot in idle if now - self._idle_since(slot, now) >= limit}
        quiet = old - self._readable(old)
        for slot in quiet:
            with contextlib.suppress(OSError):
                self._idle.epoll.modify(self._idle.base + slot, select.EPOLLONESHOT)
        late = {slot for slot in quiet if self._owned(slot)} | self._readable(quiet)
        self._suspects |= late  # a request came in between: a child has it, or `revive` will see
        for slot in quiet - late:
            self._release(slot)

    def adopt(self, descriptor: int) -> None:
        """Make a connection idle that no child has accepted; close it if there is no room."""
        slot = self._place(descriptor)
        if slot is not None:
            self._idle.since[slot] = 0.0
            self._idle.owners[slot] = 0
            self._arm(slot)

    def close_all(self) -> None:
        """Close every connection; their peers see the end even if a stranger holds a copy."""
        for slot in list(self._held):
            self._release(slot)
