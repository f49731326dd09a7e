"""E11: with edge triggering one connection can starve the rest; how, for how long, and the cure.

An edge-triggered reader must read until EAGAIN. A blocking socket never returns EAGAIN: the last
recv(2) sleeps until that peer sends again or closes, and no other connection is served. With a
nonblocking socket EAGAIN never comes either if the peer sends as fast as the server reads. So
nonblocking sockets are necessary but not enough: the cure is one read per turn, and a queue of
connections that may have more, as in servers/multiplexing/epoll_et.py.

Each run has two clients. The quiet one sent a byte before the loop began; the run measures how long
it waited, and how often the other client was read before it.
"""

import hashlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from chainlab.pages.charts import Chart
from experiments import drawing
from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import PATIENCE, await_bytes, pairs

STEP: Final = 1024
FLOOD: Final = 2 << 20
"""Bytes that the fast client sends."""

WORK: Final = 150
"""Rounds of PBKDF2 per read, a tenth of a millisecond: the work of a real server, which makes a
client on the same machine the faster of the two."""

HOLD: Final = 0.3
"""Seconds that the silent client stays silent before it closes."""

STARVED: Final = 64
"""Reads of the other client (64 KiB) before the quiet one from which it counts as starved."""

FAIR: Final = 2
"""Fair number of reads before the quiet client: one turn, and one that was already under way."""


class Loop:
    """An edge-triggered loop over two connections; ends when both clients have closed."""

    def __init__(self, other: socket.socket, quiet: socket.socket, *, drain: bool) -> None:
        self._other, self._quiet = other, quiet
        self._drain = drain
        self._open = {other.fileno(): other, quiet.fileno(): quiet}
        self.reads = 0
        self.before: int | None = None
        self.waited = 0.0

    def run(self) -> dict[str, Any]:
        """Serve; return the quiet client's wait, and how many reads of the other came first."""
        self._begin = time.monotonic()
        queue: deque[int] = deque()
        with select.epoll() as epoll:
            for fd in self._open:
                epoll.register(fd, select.EPOLLIN | select.EPOLLET)
            while self._open:
                events = epoll.poll(0 if queue else PATIENCE)
                queue.extend(fd for fd, _ in events if fd in self._open and fd not in queue)
                for _ in range(len(queue)):
                    fd = queue.popleft()
                    while (more := self._read(fd)) and self._drain:
                        pass
                    if more:
                        queue.append(fd)
        return {
            "waited_ms": self.waited * 1000,
            "reads_before": self.before,
            "reads": self.reads,
            "ms": (time.monotonic() - self._begin) * 1000,
        }

    def _read(self, fd: int) -> bool:
        """Read once and process the data; return True if there may be more."""
        sock = self._open[fd]
        try:
            data = sock.recv(STEP)
        except BlockingIOError:
            return False
        if not data:
            del self._open[fd]
            return False
        if sock is self._other:
            hashlib.pbkdf2_hmac("sha256", data, b"", WORK)
            self.reads += 1
        else:
            self.before, self.waited = self.reads, time.monotonic() - self._begin
        return True


def measure(_limits: Limits) -> Numbers:
    """Run a silent and a fast client, each with a loop that starves and with one that does not."""
    return {
        "blocking": _run(_silent, blocking=True, drain=True),
        "blocking_cured": _run(_silent, blocking=False, drain=False),
        "endless": _run(_fast, blocking=False, drain=True),
        "endless_cured": _run(_fast, blocking=False, drain=False),
        "flood_reads": FLOOD // STEP,
        "hold_ms": HOLD * 1000,
    }


def _run(client: Callable[[socket.socket], None], *, blocking: bool, drain: bool) -> dict[str, Any]:
    with pairs(2) as ((other, other_client), (quiet, quiet_client)):
        for server in (other, quiet):
            server.setblocking(blocking)
        other_client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, FLOOD)
        thread = threading.Thread(target=client, args=[other_client], daemon=True)
        thread.start()
        await_bytes(other, STEP)
        quiet_client.sendall(b"?")
        await_bytes(quiet, 1)
        quiet_client.shutdown(socket.SHUT_WR)
        found = Loop(other, quiet, drain=drain).run()
        thread.join()
        return found


def _silent(client: socket.socket) -> None:
    """Send one piece, stay silent for a while, close."""
    client.sendall(bytes(STEP))
    time.sleep(HOLD)  # this silence is what is measured
    client.shutdown(socket.SHUT_WR)


def _fast(client: socket.socket) -> None:
    """Send as fast as possible, then close."""
    client.sendall(bytes(FLOOD))
    client.shutdown(socket.SHUT_WR)


def judge(numbers: Numbers) -> list[Finding]:
    """Judge the blocking case by the quiet client's wait, the endless case by reads before it."""
    held = numbers["blocking"]["waited_ms"] >= numbers["hold_ms"] / 2
    freed = numbers["blocking_cured"]["waited_ms"] < numbers["hold_ms"] / 2
    starved = numbers["endless"]["reads_before"] >= STARVED
    cured = numbers["endless_cured"]["reads_before"] <= FAIR
    key = (
        f"the quiet client waited {numbers['blocking']['waited_ms']:.0f} ms for a silent one with "
        f"blocking sockets, {numbers['blocking_cured']['waited_ms']:.1f} ms with nonblocking ones"
    )
    scope = (
        f"Nonblocking sockets are not enough: while the loop read from a fast client until "
        f"EAGAIN, the quiet one waited for {numbers['endless']['reads_before']} reads "
        f"({numbers['endless']['waited_ms']:.0f} ms); with one read per turn, for "
        f"{numbers['endless_cured']['reads_before']}."
    )
    return [Finding("E11", verdict(held and freed and starved and cured), key, scope)]


def figures(numbers: Numbers) -> list[Chart]:
    """Draw how long the quiet client waited."""
    rows = {
        "silent: blocking": numbers["blocking"]["waited_ms"],
        "silent: nonblocking": numbers["blocking_cured"]["waited_ms"],
        "fast: until EAGAIN": numbers["endless"]["waited_ms"],
        "fast: one read per turn": numbers["endless_cured"]["waited_ms"],
    }
    text = (
        "Wait of a client whose byte had arrived before the loop began, beside a client that sent "
        f"a piece and then stayed silent for {numbers['hold_ms']:g} ms, or one that sent "
        f"{numbers['flood_reads'] >> 10} MiB without a pause."
    )
    return [drawing.bars("e11-waits", "The quiet client's wait", text, rows, "ms")]


EXPERIMENT = Experiment(
    claims={
        "E11": "Edge-triggered epoll needs nonblocking sockets, or one descriptor starves the rest."
    },
    title="Starvation under edge triggering",
    method="A quiet client's byte has arrived; another client sends a piece and stays silent, or "
    "sends without a pause. An edge-triggered loop serves both: with blocking sockets, nonblocking "
    "until EAGAIN, and nonblocking with one read per turn.",
    measure=measure,
    judge=judge,
    figures=figures,
    limits=Limits(seconds=30, cpu_seconds=20),
)
