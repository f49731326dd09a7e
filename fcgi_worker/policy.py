"""Which children a pool starts, replaces and ends: pure functions over what the pool knows.

They read no clock and touch no process. `Pool` asks them and does what they say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LONGEST_DELAY: Final = 30.0
_YOUNG: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class View:
    """A living child that nobody has told to leave."""

    number: int
    ready: bool  # it has loaded the application
    current: bool  # False: it runs old code, or has reached a limit; a successor is due
    busy: bool = False


def static(children: Sequence[View], wanted: int, proven: bool) -> tuple[int, list[int]]:
    """Keep `wanted` children: return how many to fork, and the numbers of those to send away.

    A child that is due to be replaced goes on serving until its successor is ready. As long as
    the code that a successor would load is not `proven`, by a child that loaded it and became
    ready, one successor tries it alone: if it fails, nothing is lost.
    """
    current = sum(child.current for child in children)
    due = [child for child in children if not child.current]
    fork = max(wanted - current, 0)
    if due and not proven:
        fork = min(fork, max(wanted - len(children), 1 - current, 0))
    ready = sum(child.ready and child.current for child in children)
    surplus = max(ready + len(due) - wanted, 0)
    leaving = sorted(due, key=lambda child: (child.ready, child.busy, child.number))[:surplus]
    return fork, [child.number for child in leaving]


def failed_to_start(ready: bool, requests: int, lived: float) -> bool:
    """Return whether a child that died counts as a failed start.

    A child that was ready and crashed on a request does not: whatever comes next is another
    request. A child that dies at once, without a request, would do so again and again.
    """
    return not ready or (requests == 0 and lived < _YOUNG)


def respawn_delay(failures: int) -> float:
    """Return the seconds to wait before the next fork, after `failures` failed starts in a row."""
    if failures == 0:
        return 0.0
    return min(0.1 * 2.0 ** min(failures - 1, 10), _LONGEST_DELAY)
