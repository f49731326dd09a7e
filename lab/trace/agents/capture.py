"""`python -m lab.trace.agents.capture PORT…`: the TCP segments from and to these ports.

An AF_PACKET socket (man packet(7)) gets a copy of each frame on every interface of its network
namespace, with the kernel's time stamp. Two traps:

- The loopback interface delivers each frame twice, outgoing and incoming: drop the outgoing copy.
- The kernel enables time stamps when the first socket asks for them, but asynchronously, from a
  work queue; until then a frame is stamped when it is read. So we send ourselves datagrams until
  one has a stamp from while it was being sent. This also proves that both clocks are the same.

After its standard input has ended, it waits until the connections to the first port are closed at
both ends and no more segments arrive. Then it writes the frames and the kernel's socket table, as
lines of JSON.
"""

import base64
import re
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from lab.trace.agents import fail, ports_filter, say, wait_for_the_end

SO_TIMESTAMPNS: Final = 35
"""man socket(7); not in Python's socket module."""
ETH_P_ALL: Final = 3
SOL_PACKET: Final = 263
PACKET_STATISTICS: Final = 6
PACKET_OUTGOING: Final = 4

BUFFER: Final = 32 << 20
"""Receive buffer in bytes: more than the traced requests ever produce."""

CLOSING: Final = 5.0
"""Seconds for the client's connections to be closed at both ends."""

QUIET: Final = 0.1
"""Seconds without a segment after which no more are expected."""

_TRIES: Final = 500
_UDP_SOURCE: Final = slice(34, 36)  # after the Ethernet and IPv4 headers
_FIN, _SYN, _RST = 1, 2, 4


class Frame(NamedTuple):
    """One frame: the kernel's time stamp (ns since the epoch), the interface, the bytes."""

    time: int
    interface: str
    data: bytes


class Capture:
    """The packet socket."""

    def __init__(self) -> None:
        """Open the socket; PermissionError without CAP_NET_RAW."""
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def calibrate(self) -> tuple[int, int]:
        """Send datagrams until one is stamped while being sent.

        Return its stamp relative to before (≥ 0) and after (≤ 0) the send, in ns. TimeoutError if
        no stamp ever is in between.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = struct.pack(">H", probe.getsockname()[1])
            for _ in range(_TRIES):
                before = time.time_ns()
                probe.sendto(b"chainlab", probe.getsockname())
                after = time.time_ns()
                for frame in self.read(0.01):
                    ours = frame.data[_UDP_SOURCE] == port
                    if ours and before <= frame.time <= after:
                        return frame.time - before, frame.time - after
                probe.recv(64)
        raise TimeoutError("the kernel does not time-stamp frames")

    def only(self, ports: list[int]) -> None:
        """Receive only TCP from or to `ports` from now on; frames already queued still come."""
        ports_filter.attach(self._socket, ports)

    def read(self, seconds: float) -> Iterator[Frame]:
        """Yield the frames that have arrived; wait up to `seconds` for the first."""
        while select.select([self._socket], [], [], seconds)[0]:
            seconds = 0
            data, ancillary, _flags, address = self._socket.recvmsg(1 << 17, 64)
            interface, kind = address[0], address[2]
            if interface == "lo" and kind == PACKET_OUTGOING:
                continue
            for level, name, stamp in ancillary:
                if level == socket.SOL_SOCKET and name == SO_TIMESTAMPNS:
                    whole, nanoseconds = struct.unpack("qq", stamp[:16])
                    yield Frame(whole * 10**9 + nanoseconds, interface, data)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dropped(self) -> int:
        """Return how many frames were dropped because the buffer was full."""
        return int(
            struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        )


class Ends(NamedTuple):
    """A TCP segment's ports and flags."""

    source: int
    destination: int
    flags: int


def tcp_ends(frame: bytes) -> Ends | None:
    """Return the TCP ports and flags in an Ethernet frame; None if it is not TCP."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23:24] == b"\x06":
        at = 14 + (frame[14] & 15) * 4
    elif kind == b"\x86\xdd" and frame[20:21] == b"\x06":
        at = 54
    else:
        return None
    if len(frame) < at + 14:
        return None
    source, destination = struct.unpack_from(">HH", frame, at)
    return Ends(source, destination, frame[at + 13])


class Connections:
    """The connections to one port that are not yet closed at both ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: dict[int, set[int]] = {}  # client port → the ports that have sent a FIN

    @property
    def open(self) -> bool:
        """Whether any connection is open."""
        return bool(self._open)

    def see(self, ends: Ends) -> None:
        """Process one segment."""
        if self._port not in ends[:2]:
            return
        client = ends.source if ends.destination == self._port else ends.destination
        if ends.flags & _SYN:
            self._open.setdefault(client, set())
        elif ends.flags & _RST:
            self._open.pop(client, None)
        elif ends.flags & _FIN and client in self._open:
            self._open[client].add(ends.source)
            if len(self._open[client]) == 2:
                del self._open[client]


def record(capture: Capture, ports: list[int]) -> list[Frame]:
    """Collect frames from and to `ports` until stdin has ended and all connections are closed."""
    frames: list[Frame] = []
    connections = Connections(ports[0])
    ended = threading.Thread(target=wait_for_the_end, daemon=True)
    ended.start()
    deadline: float | None = None
    last = time.monotonic()
    while True:
        for frame in capture.read(QUIET):
            ends = tcp_ends(frame.data)
            if ends and (ends.source in ports or ends.destination in ports):
                frames.append(frame)
                connections.see(ends)
                last = time.monotonic()
        now = time.monotonic()
        if ended.is_alive():
            continue
        deadline = deadline or now + CLOSING
        if now > deadline or (now - last >= QUIET and not connections.open):
            return frames


def socket_table(ports: list[int]) -> list[dict[str, Any]]:
    """Return the connections with these ports in /proc/net/tcp and tcp6 (man proc_net(5))."""
    found = []
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net") / name
        lines = path.read_text().splitlines()[1:] if path.exists() else []
        for line in lines:
            match = re.match(r"\s*\d+: \S+:(\w+) \S+:(\w+) (\w+)", line)
            if match:
                local, remote, state = (int(group, 16) for group in match.groups())
                if remote and (local in ports or remote in ports):
                    found.append({"local": local, "remote": remote, "state": state})
    return found


def refusal() -> tuple[str, str] | None:
    """Return why packets cannot be captured here, and the remedy; None if they can."""
    try:
        Capture().close()
    except PermissionError:
        return "no right to capture packets (CAP_NET_RAW)", "run it as root: sudo lab trace"
    except OSError as error:
        return f"cannot capture packets: {error}", "use a Linux kernel with AF_PACKET"
    return None


def main(arguments: list[str]) -> int:
    """Capture until standard input ends."""
    ports = [int(argument) for argument in arguments]
    if refused := refusal():
        return fail(*refused)
    capture = Capture()
    try:
        after, before = capture.calibrate()
    except TimeoutError as error:
        return fail(str(error), "use a kernel with SO_TIMESTAMPNS")
    capture.only(ports)
    say(ready=True, after=after, before=before)
    for frame in record(capture, ports):
        data = base64.b64encode(frame.data).decode()
        say(time=frame.time, interface=frame.interface, frame=data)
    say(dropped=capture.dropped(), sockets=socket_table(ports))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
