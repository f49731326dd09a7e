"""Format numbers, lists and durations for readers."""

from collections.abc import Sequence


def number(value: float | None) -> str:
    """Format a non-negative number with up to three significant digits: 75,100, 3.21, 0.042."""
    if value is None:
        return "–"
    if 0 < value < 0.001:
        return "<0.001"
    if value >= 999.5:
        return f"{round(value, 3 - len(str(round(value)))):,.0f}"
    return f"{value:.3g}"


def joined(names: Sequence[str], last: str = "and") -> str:
    """Join names: `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def plural(count: int, one: str) -> str:
    """Format a count with its noun: `1 round`, `2 rounds`."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format a duration: `45 s`, `12 min 5 s`, `2 h 3 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
