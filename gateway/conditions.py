"""Conditional and range requests for a file (RFC 9110 sections 13 and 14), without I/O.

Where the RFC leaves a choice, the answer is nginx's. A request for several ranges gets the whole
file, unless they overlap into one or only one of them lies inside the file.
"""

import calendar
import re
import time
from typing import Final, NamedTuple

from chainlab.wire.http1 import RequestHead
from chainlab.wire.http1.fields import values

_TAG: Final = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_RANGE: Final = re.compile(rb"([0-9]*)-([0-9]*)")
_UNIT: Final = b"bytes="
_HUGE: Final = 10**18  # stands for any number of more than 18 digits

_TIME: Final = r"(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
_MONTHS: Final = {name: n for n, name in enumerate(calendar.month_abbr) if name}
_DATES: Final = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<d>\d\d) (?P<b>[A-Z][a-z]{{2}}) (?P<Y>\d{{4}}) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]+day, (?P<d>\d\d)-(?P<b>[A-Z][a-z]{{2}})-(?P<Y>\d\d) {_TIME} GMT"),
    re.compile(rf"[A-Z][a-z]{{2}} (?P<b>[A-Z][a-z]{{2}}) (?P<d>[ \d]\d) {_TIME} (?P<Y>\d{{4}})"),
)
"""IMF-fixdate, and the obsolete forms of RFC 850 and asctime (section 5.6.7); all are UTC."""


class Part(NamedTuple):
    """The bytes of a file to send, from `first` up to `end`, and the status that says so."""

    status: int  # 200: the whole file, 206: a part, 416: no such part
    first: int
    end: int


def judge(head: RequestHead, etag: bytes, modified: int) -> int:
    """Return 200 to go on, or the status of an unmet condition: 304 or 412 (section 13.2.2)."""
    wanted = _joined(head, b"if-match")
    if wanted is not None:
        if not _lists(wanted, etag, weak=False):
            return 412
    else:
        unchanged_since = read_date(head.get(b"if-unmodified-since"))
        if unchanged_since is not None and modified > unchanged_since:
            return 412
    known = _joined(head, b"if-none-match")
    if known is not None:
        return 304 if _lists(known, etag, weak=True) else 200
    since = read_date(head.get(b"if-modified-since"))
    return 304 if since is not None and modified <= since else 200


def choose_part(head: RequestHead, etag: bytes, modified: int, size: int) -> Part:
    """Return which bytes of a file of `size` bytes to send (section 14.2)."""
    whole = Part(200, 0, size)
    asked = head.get(b"range")
    if asked is None or head.method != b"GET" or asked[: len(_UNIT)].lower() != _UNIT:
        return whole
    condition = head.get(b"if-range")  # both validators compare strongly (section 13.1.5)
    if condition is not None and condition != etag and read_date(condition) != modified:
        return whole
    spans = _read_spans(asked[len(_UNIT) :], size)
    if spans is None:
        return whole
    if not spans:
        return Part(416, 0, 0)
    joined = _join(spans)
    return Part(206, *joined[0]) if len(joined) == 1 else whole


def _read_spans(text: bytes, size: int) -> list[tuple[int, int]] | None:
    """Return the (first, end) of every range that has bytes; None if the field is to be ignored."""
    spans = []
    items = [item.strip(b" \t") for item in text.split(b",")]
    for item in filter(None, items):
        match = _RANGE.fullmatch(item)
        if not match or item == b"-":
            return None
        if not match[1]:
            first, end = size - min(_number(match[2]), size), size
        else:
            first, end = _number(match[1]), size
            if match[2]:
                last = _number(match[2])
                if last < first:
                    return None
                end = min(last + 1, size)
        if first < end:
            spans.append((first, end))
        elif not first:
            return None  # of an empty file; nginx sends it, because 416 would surprise clients
    return spans if any(items) else None


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= 18 else _HUGE


def _join(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    return joined


def _joined(head: RequestHead, name: bytes) -> bytes | None:
    """Return the values of a field on several lines as one list; None if it is absent."""
    found = values(head.fields, name)
    return b", ".join(found) if found else None


def _lists(tags: bytes, etag: bytes, *, weak: bool) -> bool:
    """Return True if a list of entity tags, or `*`, contains `etag` (section 8.8.3.2)."""
    if tags == b"*":
        return True
    return any(tag == etag and (weak or not mark) for mark, tag in _TAG.findall(tags))


def read_date(value: bytes | None) -> int | None:
    """Return an HTTP date as seconds since the epoch; None if it is missing or invalid."""
    text = value.decode("latin-1") if value else ""
    match = next(filter(None, (form.fullmatch(text) for form in _DATES)), None)
    if match is None or match["b"] not in _MONTHS:
        return None
    day, hour, minute, second = (int(match[part]) for part in "dHMS")
    if not (1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    year = int(match["Y"])
    if len(match["Y"]) == 2:  # at most 50 years ahead (section 5.6.7)
        now = time.gmtime().tm_year
        year += now // 100 * 100
        year -= 100 if year > now + 50 else 0
    return calendar.timegm((year, _MONTHS[match["b"]], day, hour, minute, second))
