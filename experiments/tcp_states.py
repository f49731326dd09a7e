"""The states of TCP sockets, from two sources.

/proc/net/tcp (man proc_net(5)) lists every socket of this network namespace, including those that
no process holds any more, such as TIME_WAIT. TCP_INFO (man tcp(7)) asks a socket we hold.
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
"""The kernel's numbers (include/net/tcp_states.h); its name for CLOSED is CLOSE."""

_TABLE: Final = Path("/proc/net/tcp")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_TIME_WAIT_TIMER: Final = "03"
_UNACKED: Final = struct.Struct("@24xI")  # of struct tcp_info (linux/tcp.h)


class Row(NamedTuple):
    """A line of /proc/net/tcp."""

    state: str
    seconds: float | None
    """Seconds until TIME_WAIT ends; None if another timer runs, or none."""


def rows() -> dict[tuple[int, int], Row]:
    """Return the table by (local port, remote port); a listener's remote port is 0.

    NotHere if the table cannot be read.
    """
    try:
        lines = _TABLE.read_text().splitlines()[1:]
    except OSError as error:
        raise NotHere(
            f"{_TABLE} cannot be read: {error.strerror}", "use a Linux with /proc mounted"
        ) from None
    found = {}
    for line in lines:
        fields = line.split()
        local, remote = (int(end.rpartition(":")[2], 16) for end in fields[1:3])
        kind, _, left = fields[5].partition(":")
        seconds = int(left, 16) / _TICKS if kind == _TIME_WAIT_TIMER else None
        found[local, remote] = Row(STATES.get(int(fields[3], 16), fields[3]), seconds)
    return found


def socket_state(sock: socket.socket | None) -> str:
    """Return a socket's state by TCP_INFO; "" if it is None or closed."""
    if sock is None or sock.fileno() < 0:
        return ""
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0]
    return STATES.get(state, str(state))


def queued(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted: a listener's tcpi_unacked."""
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    waiting: int = _UNACKED.unpack_from(info)[0]
    return waiting
