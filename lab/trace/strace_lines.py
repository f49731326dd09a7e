"""Parse strace's output line by line: system calls with entry and exit, signals, exits.

With `-f -ttt -T` a line is `TID TIME name(arguments) = result <DURATION>`. If another thread's line
comes between entry and exit, the call is split in two: `name(arguments <unfinished ...>`, and at
its exit `<... name resumed>rest) = result <DURATION>`. A call that never returned (strace detached
first, or the process was killed) has no end.

The entry time is exact: strace takes it while the process is stopped before the call. The duration
starts a little later, when strace has written the entry (it may look up a socket's name for that).
So entry plus duration is the earliest time at which the call may have ended; the entry of the same
thread's next call is the latest.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_LINE: Final = re.compile(r"(\d+) +(\d+)\.(\d{9}) (.*)")
_WHOLE: Final = re.compile(r"(\w+)\((.*)\) += (.*?)(?: <(\d+)\.(\d{9})>)?")
_BEGUN: Final = re.compile(r"(\w+)\((.*?),? *<(?:unfinished|detached) \.\.\.>")
_RESUMED: Final = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_SIGNAL: Final = re.compile(r"--- (SIG\w+|stopped by SIG\w+)\b.*---")
_END: Final = re.compile(r"\+\+\+ (.*) \+\+\+")


@dataclass(slots=True)
class RawCall:
    """One system call, in strace's notation; times in nanoseconds since the epoch."""

    tid: int
    name: str
    arguments: str
    start: int
    end: int | None = None  # None: it did not return
    result: str = ""
    latest: int | None = None  # entry of the thread's next call; None: no next call


@dataclass(frozen=True, slots=True)
class Note:
    """A signal that a thread received, or how the thread ended."""

    tid: int
    time: int
    text: str


def parse(lines: Iterable[str]) -> Iterator[RawCall | Note]:
    """Parse strace's lines; return calls and notes in the order of entry. Skip other lines.

    Nothing is yielded before all lines are read, because a call's end may be on a later line.
    """
    found: list[RawCall | Note] = []
    running: dict[int, RawCall] = {}
    last: dict[int, RawCall] = {}
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if not match:
            continue
        tid, time, text = int(match[1]), int(match[2] + match[3]), match[4]
        if resumed := _RESUMED.fullmatch(text):
            call = running.pop(tid, None)
            if call is not None and call.name == resumed[1]:
                _complete(call, call.arguments + resumed[2], time)
        elif note := _SIGNAL.fullmatch(text) or _END.fullmatch(text):
            found.append(Note(tid, time, note[1]))
        elif call := _begin(tid, time, text):
            if tid in last:
                last[tid].latest = time
            last[tid] = call
            if call.end is None:
                running[tid] = call
            found.append(call)
    yield from found


def _begin(tid: int, time: int, text: str) -> RawCall | None:
    if begun := _BEGUN.fullmatch(text):
        separator = ", " if begun[2] and text[begun.end(2)] == "," else ""
        return RawCall(tid, begun[1], begun[2] + separator, time)
    if whole := _WHOLE.fullmatch(text):
        call = RawCall(tid, whole[1], whole[2], time)
        call.result = whole[3].strip()
        call.end = time + _nanoseconds(whole)
        return call
    return None


def _complete(call: RawCall, arguments: str, time: int) -> None:
    """Join the two halves of a call; `time` is when strace saw the exit."""
    whole = _WHOLE.fullmatch(f"{call.name}({arguments}")
    if whole:
        call.arguments, call.result = whole[2], whole[3].strip()
        call.end = max(call.start + _nanoseconds(whole), time)
    else:  # `<... exit_group resumed>) = ?` and the like
        call.end = time


def _nanoseconds(whole: re.Match[str]) -> int:
    return int(whole[4]) * 10**9 + int(whole[5]) if whole[4] else 0
