"""Interpret system calls: each call's role, its socket's ends, and the bytes it moved.

A socket's ends are in the call's own line (`strace -yy`), or in another call's line.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from lab.trace.arguments import Descriptor, content, descriptor, readable, split
from lab.trace.model import Call, LaneId, Note, Role
from lab.trace.strace_lines import Note as RawNote
from lab.trace.strace_lines import RawCall

_ROLES: Final[Mapping[Role, tuple[str, ...]]] = {
    "read": ("read", "readv", "recvfrom", "recvmsg", "pread64", "preadv"),
    "write": ("write", "writev", "sendto", "sendmsg", "sendfile", "pwrite64", "splice"),
    "connect": ("connect",),
    "accept": ("accept", "accept4"),
    "close": ("close", "shutdown"),
    "wait": (
        "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6",
        "restart_syscall", "futex", "nanosleep", "clock_nanosleep", "wait4", "waitid",
        "rt_sigtimedwait", "rt_sigsuspend", "pause", "io_uring_enter", "io_getevents", "flock",
    ),
}  # fmt: skip
_ROLE_OF: Final = {name: role for role, names in _ROLES.items() for name in names}


def understand(lane: LaneId, raw: Iterable[RawCall | RawNote]) -> tuple[list[Call], list[Note]]:
    """Return a lane's calls, with their socket's ends and the bytes they moved, and its notes."""
    calls: list[Call] = []
    notes: list[Note] = []
    for entry in raw:
        if isinstance(entry, RawNote):
            notes.append(Note(entry.time, lane, entry.tid, entry.text))
        else:
            calls.append(_call(lane, entry))
    return calls, notes


def _call(lane: LaneId, raw: RawCall) -> Call:
    arguments = split(raw.arguments)
    role = _ROLE_OF.get(raw.name, "other")
    # splice(in, in_offset, out, …): the socket written to is the third argument
    at = 1 if raw.name == "splice" and len(arguments) > 2 else 0
    named = arguments[2 * at] if len(arguments) > 2 * at else ""
    found = descriptor(raw.result if role == "accept" else named) or Descriptor(-1, "")
    if found.target.startswith("/"):
        role = "other"  # a regular file: reading it does not wait for a peer
    return Call(
        lane, raw.tid, raw.name, readable(", ".join(arguments)), readable(raw.result), role,
        raw.start, raw.end, raw.latest,
        descriptor=found.number if found.number >= 0 else None,
        local=found.local, remote=found.remote,
        data=_data(raw, role, arguments),
    )  # fmt: skip


def _data(raw: RawCall, role: Role, arguments: list[str]) -> bytes:
    """Return the bytes that the call moved; MSG_PEEK moves none."""
    moved = raw.result.split(" ")[0]
    if role not in ("read", "write") or not moved.isdigit() or len(arguments) < 2:
        return b""
    if "MSG_PEEK" in raw.arguments:
        return b""
    buffer = "" if raw.name in ("sendfile", "splice") else arguments[1]
    return content(buffer, int(moved))


def complete_ends(calls: Sequence[Call]) -> None:
    """Fill in the ends of sockets that a call's own line does not name.

    At connect(), a socket has no remote end yet; a later call of the same thread on the same
    descriptor names both ends. For a unix socket connected from another container, strace knows
    only the inode; the connecting side's line names both ends.
    """
    peers = {call.local: call.remote for call in calls if call.remote.startswith("unix:")}
    peers |= {remote: local for local, remote in list(peers.items())}
    later: dict[tuple[LaneId, int, int], tuple[str, str]] = {}
    for call in sorted(calls, key=lambda call: call.start, reverse=True):
        if call.descriptor is None:
            continue
        key = (call.lane, call.tid, call.descriptor)
        # Going backwards in time: earlier calls used this number for another socket.
        if call.name == "socket" or call.role == "accept":
            later.pop(key, None)
        if call.local.startswith("unix:") and not call.remote:
            call.remote = peers.get(call.local, "")
        if call.remote:
            later[key] = (call.local, call.remote)
        elif call.role == "connect":
            call.local, call.remote = later.get(key, ("", ""))
