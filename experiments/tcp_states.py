"""The states of TCP sockets, by both of the kernel's words.

/proc/net/tcp (man proc_net(5)) has every socket of this network namespace, those too that no
process holds any more; TCP_INFO (man tcp(7)) is what a socket that is held says of itself.
"""

import os
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple

from experiments.frame import NotHere

STATES: Final = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2",
    6: "TIME_WAIT", 7: "CLOSED", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
"""The kernel's numbers (include/net/tcp_states.h); it calls CLOSED CLOSE."""

_TABLE: Final = Path("/proc/net/tcp")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TIME_WAIT_TIMER: Final = "03"
_UNACKED: Final = struct.Struct("@24xI")  # of struct tcp_info (linux/tcp.h)


class Row(NamedTuple):
    """A line of /proc/net/tcp."""

    state: str
    seconds: float | None
    """Until TIME_WAIT ends; None: another timer, or none."""


def rows() -> dict[tuple[int, int], Row]:
    """Return the table, by local and remote port; a listener's remote port is 0.

    NotHere when there is none.
    """
    try:
        lines = _TABLE.read_text().splitlines()[1:]
    except OSError as error:
        raise NotHere(f"{_TABLE} cannot be read: {error.strerror}", "a Linux with /proc") from None
    found = {}
    for line in lines:
        fields = line.split()
        local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
        kind, _, left = fields[5].partition(":")
        seconds = int(left, 16) / _TICKS if kind == _TIME_WAIT_TIMER else None
        found[local, remote] = Row(STATES.get(int(fields[3], 16), fields[3]), seconds)
    return found


def told(sock: socket.socket | None) -> str:
    """Return the state that a socket says it is in; "" when the process holds none."""
    if sock is None or sock.fileno() < 0:
        return ""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]
    return STATES.get(state, str(state))


def queued(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted: what a listener says as tcpi_unacked."""
    told: int = _UNACKED.unpack_from(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))[
        0
    ]
    return told
