"""Defers interrupts, so that Ctrl-C is handled only after the owner knows what was started.

A KeyboardInterrupt inside subprocess.Popen would leave a child that no one can end.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Final

INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each ends a command as Ctrl-C does: the command stops what it started."""


def ignore_interrupts() -> None:
    """Ignore further interrupts while stopping: one Ctrl-C is enough."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Finish the block before handling an interrupt that arrives inside it.

    Ignored interrupts stay ignored. Main thread only.
    """
    pending: list[int] = []
    deferred = [each for each in INTERRUPTS if signal.getsignal(each) != signal.SIG_IGN]
    before = {
        each: signal.signal(each, lambda number, _: pending.append(number)) for each in deferred
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in pending:
            signal.raise_signal(received)
