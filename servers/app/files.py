"""`GET /file/NAME`: a file of the public folder, with validators and ranges (RFC 9110).

A request cannot escape this folder: a name is one path segment (no slash, no NUL, neither . nor ..)
and is opened with O_NOFOLLOW, so symbolic links are not followed. The metadata comes from fstat on
the open file, so no second look-up by name can see another file. The price is a flat folder.

The entity tag is nginx's, mtime and size in hex: strong as long as no file changes twice within
a second while keeping its size. Preconditions are taken in the order of section 13.2.2;
If-Match and If-Unmodified-Since protect changes; they are ignored, because files are only read.
"""

import calendar
import errno
import os
import re
import stat
import sys
from email.utils import formatdate
from pathlib import Path
from typing import Final

from servers.app.messages import File, Headers, Refused, Request, Response, text

PUBLIC: Path = Path(os.environ.get("CHAINLAB_PUBLIC") or Path(__file__).with_name("public"))
"""The folder that /file serves; the environment variable CHAINLAB_PUBLIC overrides it."""

PREFIX: Final = "/file/"

_TYPES: Final = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
}
_NOT_THERE: Final = {
    errno.ENOENT,
    errno.EACCES,
    errno.ELOOP,  # a symbolic link
    errno.ENAMETOOLONG,
    errno.ENXIO,  # a unix socket
}
_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)
_TAG: Final = re.compile(r'(?:W/)?("[^"]*")')
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
)  # fmt: skip
_CLOCK: Final = "([0-9]{2}):([0-9]{2}):([0-9]{2})"
# The three forms of section 5.6.7; each gives day, month, year and time in this order or the next.
_IMF: Final = re.compile(
    rf"[A-Z][a-z]{{2}}, ([0-9]{{2}}) ([A-Z][a-z]{{2}}) ([0-9]{{4}}) {_CLOCK} GMT"
)
_RFC850: Final = re.compile(
    rf"[A-Z][a-z]{{5,8}}, ([0-9]{{2}})-([A-Z][a-z]{{2}})-([0-9]{{2}}) {_CLOCK} GMT"
)
_ASCTIME: Final = re.compile(
    rf"[A-Z][a-z]{{2}} ([A-Z][a-z]{{2}}) ([ 0-9][0-9]) {_CLOCK} ([0-9]{{4}})"
)


def serve_file(request: Request) -> Response:
    """Answer for `/file/NAME`: 200, 206, 304, 404 or 416."""
    name = request.path.removeprefix(PREFIX)
    descriptor = _open(name)
    try:
        details = os.fstat(descriptor)
        if not stat.S_ISREG(details.st_mode):
            raise _not_found()
        response = _choose(request, name, descriptor, details)
    except BaseException:
        os.close(descriptor)
        raise
    if not isinstance(response.body, File):
        os.close(descriptor)
    return response


def _not_found() -> Refused:
    return Refused(404, "no such file: /file/ has hello.txt, index.html, pattern.bin, pixel.svg")


def _open(name: str) -> int:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise _not_found()
    try:
        path = os.fsencode(PUBLIC) + b"/" + name.encode("latin-1")
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(path, flags)
    except UnicodeEncodeError:
        raise _not_found() from None
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise _not_found() from None
        raise


def _choose(request: Request, name: str, descriptor: int, details: os.stat_result) -> Response:
    size, modified = details.st_size, int(details.st_mtime)
    tag = f'"{modified:x}-{size:x}"'
    validators = (("Last-Modified", formatdate(modified, usegmt=True)), ("ETag", tag))
    if _is_fresh(request, tag, modified):
        return Response(304, validators, b"")
    kind = ("Content-Type", _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream"))
    span = _range_asked(request, tag, modified, size)
    if span is None:
        headers = (kind, ("Content-Length", str(size)), *validators, ("Accept-Ranges", "bytes"))
        return Response(200, headers, File(descriptor, 0, size))
    begin, length = span
    if not length:
        reason = f"the range begins beyond the file: it has {size} bytes"
        return text(416, reason, ("Content-Range", f"bytes */{size}"))
    part: Headers = (
        kind,
        ("Content-Length", str(length)),
        ("Content-Range", f"bytes {begin}-{begin + length - 1}/{size}"),
        *validators,
        ("Accept-Ranges", "bytes"),
    )
    return Response(206, part, File(descriptor, begin, length))


def _is_fresh(request: Request, tag: str, modified: int) -> bool:
    """Whether the client's copy is current, by If-None-Match or else If-Modified-Since."""
    headers = request.headers
    wanted = headers.get("if-none-match")
    if wanted is not None:
        return wanted.strip() == "*" or tag in _TAG.findall(wanted)
    since = headers.get("if-modified-since")
    if since is None:
        return False
    moment = parse_date(since)
    return moment is not None and modified <= moment


def _range_asked(request: Request, tag: str, modified: int, size: int) -> tuple[int, int] | None:
    """Return (begin, length) of a single range, length 0 if unsatisfiable; None: the whole file."""
    asked = request.headers.get("range")
    if asked is None or request.method != "GET":
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition != tag and parse_date(condition) != modified:
        return None
    match = _RANGE.fullmatch(asked)
    if match is None:
        return None  # another unit, several ranges, or invalid: send the whole file
    first, last = match.groups()
    if not first:
        if not last:
            return None
        length = min(_number(last), size)
        return size - length, length
    begin, end = _number(first), _number(last) if last else sys.maxsize
    if end < begin:
        return None
    return begin, max(0, min(end, size - 1) - begin + 1)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else sys.maxsize


def parse_date(value: str) -> int | None:
    """Return the seconds since 1970 of an HTTP date (RFC 9110 section 5.6.7); None: no date."""
    if match := _IMF.fullmatch(value):
        day, month, year, hour, minute, second = match.groups()
    elif match := _RFC850.fullmatch(value):
        day, month, year, hour, minute, second = match.groups()
        year = ("19" if year >= "70" else "20") + year
    elif match := _ASCTIME.fullmatch(value):
        month, day, hour, minute, second, year = match.groups()
    else:
        return None
    if month not in _MONTHS or hour > "23" or minute > "59" or second > "60" or year < "1970":
        return None
    number = _MONTHS.index(month) + 1
    if not 1 <= int(day) <= calendar.monthrange(int(year), number)[1]:
        return None
    return calendar.timegm((int(year), number, int(day), int(hour), int(minute), int(second)))
