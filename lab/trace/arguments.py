"""Parse a system call's arguments as strace writes them: split, decode, make readable.

With `-xx` strace writes every string as `"\\x47\\x45…"`, paths too. With `-yy` it adds to each
descriptor what the descriptor refers to: `9<TCP:[127.0.0.1:80->127.0.0.1:45198]>`,
`6<UNIX-STREAM:[47138->47133,"path"]>`.
"""

import re
from dataclasses import dataclass
from typing import Final

_HEX: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_BARE_HEX: Final = re.compile(r"(?:\\x[0-9a-f]{2})+")
_VECTOR: Final = re.compile(r'iov_base=("(?:\\x[0-9a-f]{2})*"(?:\.\.\.)?)')
_DESCRIPTOR: Final = re.compile(r"(-?\d+)<(.*)>")
_NOTED: Final = re.compile(r"\b(\d+|AT_FDCWD)<(?:->|[^<>])*>(?:\(deleted\))?")
_TCP: Final = re.compile(r"TCP(?:v6)?:\[(.+)->(.+)\]")
_UNIX: Final = re.compile(r'UNIX(?:-STREAM)?:\[(\d+)(?:->(\d+))?(?:,".*")?\]')
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")

SHOWN: Final = 24
"""Characters of a string to show; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A file descriptor and what it refers to; for a connected socket, both ends.

    An end is `ADDRESS:PORT` for TCP and `unix:INODE` for a unix socket; "" if unknown.
    """

    number: int
    target: str
    local: str = ""
    remote: str = ""


def split(arguments: str) -> list[str]:
    """Split the arguments at commas outside brackets and strings."""
    parts, depth, begin, quoted = [], 0, 0, False
    for at, character in enumerate(arguments):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and not depth:
            parts.append(arguments[begin:at].strip())
            begin = at + 1
    rest = arguments[begin:].strip()
    return [*parts, rest] if rest or parts else []


def descriptor(argument: str) -> Descriptor | None:
    """Parse an argument or a result as a descriptor; None if it is not one."""
    match = _DESCRIPTOR.match(argument)
    if not match:
        return None
    number, target = int(match[1]), plain(match[2])
    if tcp := _TCP.fullmatch(target):
        return Descriptor(number, target, normal(tcp[1]), normal(tcp[2]))
    if unix := _UNIX.fullmatch(target):
        peer = f"unix:{unix[2]}" if unix[2] and unix[2] != "0" else ""
        return Descriptor(number, target, f"unix:{unix[1]}", peer)
    if inode := _SOCKET.fullmatch(target):  # in another network namespace; may be a unix socket
        return Descriptor(number, target, f"unix:{inode[1]}")
    return Descriptor(number, target)


def normal(end: str) -> str:
    """Normalise an end: no brackets; an IPv4-mapped IPv6 address becomes IPv4."""
    host, _, port = end.rpartition(":")
    return f"{host.strip('[]').removeprefix('::ffff:')}:{port}"


def content(argument: str, length: int) -> bytes:
    """Return the first `length` bytes of a buffer, or of a vector of buffers.

    Bytes that strace cut off or never sees (sendfile) are zeros.
    """
    strings = _VECTOR.findall(argument) or [argument]
    data = b"".join(map(_bytes, strings))[:length]
    return data + bytes(length - len(data))


def _bytes(string: str) -> bytes:
    match = _HEX.match(string)
    return _unhex(match[1]) if match else b""


def plain(text: str) -> str:
    """Return `text` with each `\\xNN` replaced by its character."""
    return _BARE_HEX.sub(lambda match: _unhex(match[0]).decode("latin-1"), text)


def _unhex(digits: str) -> bytes:
    return bytes.fromhex(digits.replace("\\x", ""))


def readable(arguments: str) -> str:
    """Return the arguments in readable form: plain descriptor numbers, strings as short text."""
    return _HEX.sub(_shown, _NOTED.sub(r"\1", arguments))


def _shown(match: re.Match[str]) -> str:
    text = _unhex(match[1]).decode("latin-1")
    short = text[:SHOWN].encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{short}"' + ("…" if len(text) > SHOWN or match[2] else "")
