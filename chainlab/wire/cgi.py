"""The head of a CGI response (RFC 3875 section 6): field lines, an empty line, then the content.

A FastCGI application's STDOUT begins with this head. Unlike HTTP, it has no status line: the field
`Status` carries the status, which defaults to 200, or to 302 if there is a `Location` (section
6.2). Scripts use their system's line endings, so a bare LF is accepted here; the gateway then
rewrites the head as strict HTTP.
"""

import re
from typing import Final

from chainlab.wire.http1 import Fields, RemoteProtocolError

_END: Final = re.compile(rb"\r?\n\r?\n")
_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r?\n"
)
_STATUS: Final = re.compile(rb"([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


def find_end(data: bytes) -> int:
    """Return where the content begins; -1 if the head is incomplete."""
    end = data.find(b"\r\n\r\n")
    # An earlier empty line ends before `end`, or shares its CR LF: b"\n" + b"\r\n\r\n".
    if end >= 0 and data.find(b"\n\n", 0, end) < 0 and data.find(b"\n\r\n", 0, end + 2) < 0:
        return end + 4
    match = _END.search(data)
    return match.end() if match else -1


def parse_head(head: bytes) -> tuple[int, bytes | None, Fields]:
    """Return (status, reason or None, fields without Status) of a complete head.

    Field names keep the application's spelling. Raises RemoteProtocolError (502) for a malformed
    line, an invalid Status, or a head without fields.
    """
    at = 0
    fields: list[tuple[bytes, bytes]] = []
    status: tuple[int, bytes | None] | None = None
    while line := _LINE.match(head, at):
        at = line.end()
        name, value = line.groups()
        if name.lower() != b"status":
            fields.append((name, value))
            continue
        if status:
            continue  # nginx, too, takes the first of several
        parts = _STATUS.fullmatch(value)
        if not parts:
            raise RemoteProtocolError(502, f"an invalid Status: {value[:40]!r}")
        status = int(parts[1]), parts[2]
    if head[at:] not in (b"\r\n", b"\n") or not at:
        raise RemoteProtocolError(502, f"a malformed CGI header line: {head[at : at + 40]!r}")
    if status is None:
        redirects = any(name.lower() == b"location" for name, _ in fields)
        status = (302 if redirects else 200), None
    return status[0], status[1], tuple(fields)
