"""Draw the ladder in a terminal: time runs down, one column per part, arrows between them.

On the left are two times in milliseconds: in the run without strace, for segments that it has too,
and in the run under strace. A part's line is thick while any of its processes runs, dotted while
all sleep, thin where unknown.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

import click
from rich.console import Console, RenderableType
from rich.text import Text

from lab.trace import rows, wording
from lab.trace.model import LaneId, Trace
from lab.trace.rows import Row

WIDTH: Final = 100
"""Maximum width in columns; also the width when the output is not a terminal."""

_NARROWEST: Final = 72
_TIMES: Final = 18
_STYLES: Final[Mapping[str, str]] = {
    "packet": "cyan", "message": "bold", "call": "", "state": "magenta", "note": "red",
    "fields": "green",
}  # fmt: skip

_LIVES: Final = {"runs": ("┃", "green"), "sleeps": ("┊", "dim"), "unknown": ("│", "dim")}


def width_of(console: Console) -> int:
    """Return the width of the ladder in columns."""
    return max(_NARROWEST, min(console.width, WIDTH)) if console.is_terminal else WIDTH


def show(console: Console, output: Sequence[RenderableType]) -> None:
    """Print everything; use a pager if it does not fit on the terminal."""
    if not console.is_terminal or len(output) <= console.height:
        _print(console, output)
        return
    with console.capture() as captured:
        _print(console, output)
    click.echo_via_pager(captured.get())


def _print(console: Console, output: Sequence[RenderableType]) -> None:
    for each in output:
        console.print(each, highlight=False, soft_wrap=isinstance(each, Text))


def lines(trace: Trace, width: int = WIDTH) -> list[Text]:
    """Return the whole output for one trace; drawn lines are at most `width` wide."""
    ladder = _Ladder(trace, width)
    drawn = [*_head(trace, width), Text(), *ladder.head()]
    drawn += (ladder.draw(together) for together in _in_lines(rows.rows(trace)))
    return [*drawn, Text(), *_foot(trace, width)]


def _head(trace: Trace, width: int) -> Iterator[Text]:
    yield Text.assemble(
        (f"GET {trace.asked.url}", "bold"), f"   {wording.parts(trace)}"
    )  # fmt: skip
    yield Text(wording.cost(trace))
    for line in wording.clocks(trace):
        yield Text(f"clocks: {line}"[:width], style="dim")
    for lane in trace.lanes:
        if names := rows.threads(trace, lane.id):
            yield Text(f"{lane.title}: {', '.join(names)}"[:width], style="dim")


def _foot(trace: Trace, width: int) -> Iterator[Text]:
    agreeing = sum(row["agrees"] for row in trace.kernel_states)
    if trace.kernel_states:
        text = f"{agreeing} of {len(trace.kernel_states)} final socket states match the kernel's"
        yield Text(f"{text} (/proc/net/tcp)"[:width], style="dim")
    yield Text(
        "times in ms; ┃ runs; ┊ sleeps; a read: ┊waiting for data+copying it"[:width],
        style="dim",
    )
    for lack in trace.missing:
        yield Text(f"missing: {lack.what}", style="yellow")
        yield Text(f"   remedy: {lack.remedy}", style="yellow")


def _in_lines(found: list[Row]) -> list[list[Row]]:
    """Group rows into lines: simultaneous new states of both ends share a line."""
    lines: list[list[Row]] = []
    for row in found:
        last = lines[-1][-1] if lines else row
        if row.kind == last.kind == "state" and row.time == last.time and row.lane != last.lane:
            lines[-1].append(row)
        else:
            lines.append([row])
    return lines


class _Line:
    """A line of characters; later writes overwrite earlier ones."""

    def __init__(self, width: int) -> None:
        self._characters = [" "] * width
        self._styles = [""] * width

    def put(self, at: int, text: str, style: str = "") -> None:
        for offset, character in enumerate(text):
            if 0 <= at + offset < len(self._characters):
                self._characters[at + offset] = character
                self._styles[at + offset] = style

    def text(self) -> Text:
        text = Text()
        placed = zip(self._characters, self._styles, strict=True)
        for style, run in groupby(placed, key=itemgetter(1)):
            text.append("".join(character for character, _ in run), style or None)
        text.rstrip()
        return text


class _Ladder:
    def __init__(self, trace: Trace, width: int) -> None:
        self._trace = trace
        self._width = width
        self._cell = (width - _TIMES) // len(trace.lanes)
        self._at = {lane.id: _TIMES + place * self._cell for place, lane in enumerate(trace.lanes)}
        self._lives = rows.Lives(trace)

    def head(self) -> Iterator[Text]:
        line = _Line(self._width)
        line.put(0, "no strace" if self._trace.alone else "")
        line.put(11, "strace" if self._trace.traced else "")
        for lane in self._trace.lanes:
            line.put(self._at[lane.id], lane.title[: self._cell - 1], "bold")
        yield line.text()

    def draw(self, together: list[Row]) -> Text:
        """Return one line."""
        line = _Line(self._width)
        first = together[0]
        self._times(line, first)
        for lane_id, at in self._at.items():
            line.put(at, *_LIVES[self._lives.at(lane_id, first.time)])
        for row in together:
            self._put(line, row)
        return line.text()

    def _put(self, line: _Line, row: Row) -> None:
        style = _STYLES[row.kind]
        if row.to is None:
            line.put(self._at[row.lane] + 2, _cut(row.text, self._room(row.lane)), style)
        elif row.kind == "packet":
            self._arrow(line, row)
        else:
            left = min(self._at[row.lane], self._at[row.to]) + 2
            room = self._width - left if row.kind == "fields" else self._cell - 3
            line.put(left, _cut(row.text, room), style)

    def _times(self, line: _Line, row: Row) -> None:
        if row.kind in ("message", "fields", "state"):
            return  # same time as the row above
        at = (row.time - self._trace.origin) / 1e6
        if self._trace.traced:
            line.put(8, f"{at:9.3f}", "dim")
            if row.alone is not None:
                line.put(0, f"{row.alone / 1e6:8.3f}")
        else:
            line.put(0, f"{at:8.3f}")

    def _room(self, lane: LaneId) -> int:
        last = self._at[lane] + 2 * self._cell > self._width
        return self._width - self._at[lane] - 2 if last else self._cell - 2

    def _arrow(self, line: _Line, row: Row) -> None:
        assert row.to is not None
        start, stop = self._at[row.lane], self._at[row.to]
        left, right = min(start, stop), max(start, stop)
        style = _STYLES["packet"]
        line.put(left + 1, "─" * (right - left - 1), style)
        line.put(left + 3, f" {_cut(row.text, right - left - 8)} ", style)
        if start < stop:
            line.put(right - 1, "▶", style)
        else:
            line.put(left + 1, "◀", style)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"
