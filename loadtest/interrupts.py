"""Interrupts that wait: what is started is known to its owner before Ctrl-C is acted on.

A KeyboardInterrupt inside subprocess.Popen would leave a child that nobody can end.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Final

INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""All end a command the way Ctrl-C does: it stops what it started."""


def ignore_interrupts() -> None:
    """Let what is being stopped be stopped: one Ctrl-C is enough."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def interrupts_later() -> Iterator[None]:
    """Finish the block before an interrupt that arrives inside it is handled.

    Ignored interrupts stay ignored. Main thread only.
    """
    came: list[int] = []
    heeded = [each for each in INTERRUPTS if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, lambda which, _: came.append(which)) for each in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in came:
            signal.raise_signal(received)
