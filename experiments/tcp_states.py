"""The states of TCP sockets, by both of the kernel's words, and a way to hold a connection still.

/proc/net/tcp (man proc_net(5)) has every socket of this network namespace, those too that no
process holds any more; TCP_INFO (man tcp(7)) is what a socket that is held says of itself.

On the loopback a segment has arrived before the call that sent it returns, so most states last for
microseconds. A filter on the receiving socket (SO_ATTACH_FILTER, man socket(7); no privilege is
needed) loses what arrives, as a bad network would: the sender keeps its state and sends again,
until the filter is taken off.
"""

import ctypes
import errno
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

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_SYN: Final = 2
_EVERYTHING: Final = [(0x06, 0, 0, 0)]  # return 0: nothing of it is taken
_WITHOUT_SYN: Final = [
    (0x30, 0, 0, 13),  # A = the flags, the TCP header's byte 13
    (0x45, 0, 1, _SYN),  # A & SYN?
    (0x06, 0, 0, 1 << 18),  # return: all of it
    (0x06, 0, 0, 0),
]


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


def keep_out(sock: socket.socket, *, all_but_syn: bool = False) -> None:
    """Lose what arrives at a socket from now on; with `all_but_syn` a SYN comes through."""
    program = _WITHOUT_SYN if all_but_syn else _EVERYTHING
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    described = struct.pack("HP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)


def let_in(sock: socket.socket) -> None:
    """Let everything in again."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def name_of(error: OSError) -> str:
    """Return an error's symbol: ECONNRESET."""
    return errno.errorcode.get(error.errno or 0, str(error))
