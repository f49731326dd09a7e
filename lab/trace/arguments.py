"""Arguments of a system call as strace writes them: cut apart, decoded, and made readable.

With `-xx` every string is written as `"\\x47\\x45…"`, paths too; with `-yy` a descriptor carries
what it leads to: `9<TCP:[127.0.0.1:80->127.0.0.1:45198]>`, `6<UNIX-STREAM:[47138->47133,"path"]>`.
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
"""Characters of a string that are shown."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A file descriptor and what it leads to; for a connected socket its two ends.

    An end is `ADDRESS:PORT` for TCP and `unix:INODE` for a unix socket; "" where it is not known.
    """

    number: int
    target: str
    local: str = ""
    remote: str = ""


def split(arguments: str) -> list[str]:
    """Return the arguments: cut at commas that stand in no bracket and no string."""
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
    """Return the descriptor that an argument, or a result, is; None when it is none."""
    match = _DESCRIPTOR.match(argument)
    if not match:
        return None
    number, target = int(match[1]), plain(match[2])
    if tcp := _TCP.fullmatch(target):
        return Descriptor(number, target, normal(tcp[1]), normal(tcp[2]))
    if unix := _UNIX.fullmatch(target):
        peer = f"unix:{unix[2]}" if unix[2] and unix[2] != "0" else ""
        return Descriptor(number, target, f"unix:{unix[1]}", peer)
    if inode := _SOCKET.fullmatch(target):  # of another network namespace: it may be a unix socket
        return Descriptor(number, target, f"unix:{inode[1]}")
    return Descriptor(number, target)


def normal(end: str) -> str:
    """Return an end in one form: without brackets, and an IPv4 address as such."""
    host, _, port = end.rpartition(":")
    return f"{host.strip('[]').removeprefix('::ffff:')}:{port}"


def content(argument: str, length: int) -> bytes:
    """Return `length` bytes that a buffer, or a vector of them, holds.

    What strace left out, or never sees (sendfile), is zeros.
    """
    strings = _VECTOR.findall(argument) or [argument]
    data = b"".join(map(_bytes, strings))[:length]
    return data + bytes(length - len(data))


def _bytes(string: str) -> bytes:
    match = _HEX.match(string)
    return _unhex(match[1]) if match else b""


def plain(text: str) -> str:
    """Return `text` with its hexadecimal digits as the characters that they stand for."""
    return _BARE_HEX.sub(lambda match: _unhex(match[0]).decode("latin-1"), text)


def _unhex(digits: str) -> bytes:
    return bytes.fromhex(digits.replace("\\x", ""))


def readable(arguments: str) -> str:
    """Return arguments for a reader: descriptors as numbers, strings as text, cut short."""
    return _HEX.sub(_shown, _NOTED.sub(r"\1", arguments))


def _shown(match: re.Match[str]) -> str:
    text = _unhex(match[1]).decode("latin-1")
    short = text[:SHOWN].encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{short}"' + ("…" if len(text) > SHOWN or match[2] else "")
