"""How a child learns that it is to leave, at any moment and without losing anything.

Signal handlers only set flags, with two exceptions:

- While the application runs, SIGTERM raises Stopped in the middle of it.
- While the child waits, a handler must end epoll_wait, which Python resumes after a handler
  (PEP 475). An exception would do it, but could hit just when an event has been taken, and that
  event would be lost. So the handler writes to an eventfd in the shared epoll, a nudge, and the
  child takes it back before it does anything else. Other children may see the nudge and ignore it.

`waiting` must be set before `leaving` is read: then a signal in between still nudges.
"""

import contextlib
import faulthandler
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from fcgi_worker.log import log

STACK_SIGNAL: Final = signal.SIGRTMIN
"""Makes a child write its Python stacks to its stack file, whatever it is doing."""

_EXIT_LIMIT: Final = 5  # seconds from SIGTERM until the kernel ends the process

Handler = Callable[[int, FrameType | None], None]


class Stopped(SystemExit):
    """SIGTERM arrived while the application ran: the process exits now."""


class Interrupts:
    """The signal handlers of a child and the flags that they set. `nudges` is the eventfd."""

    __slots__ = ("_master", "_nudged", "_nudges", "at_once", "exposed", "leaving", "waiting")

    def __init__(self, nudges: int) -> None:
        self._nudges = nudges
        self._nudged = False
        self._master = os.getppid()
        self.leaving = False  # take nothing new
        self.at_once = False  # finish nothing, either
        self.waiting = False  # set by the child: in epoll_wait, or about to be
        self.exposed = False  # set by the child: the application runs

    def install(
        self, on_usr1: Callable[[], None], stack_file: int
    ) -> dict[signal.Signals, Handler]:
        """Install the handlers and return them. `stack_file` is -1 if there is none."""
        handlers: dict[signal.Signals, Handler] = {
            signal.SIGTERM: self._on_term,
            signal.SIGQUIT: self._on_quit,
            signal.SIGUSR1: lambda _number, _frame: on_usr1(),
            # A terminal sends these to the whole group, and the master acts on them. They are
            # handled, not ignored: a program that the application starts would inherit that.
            signal.SIGINT: _do_nothing,
            signal.SIGHUP: _do_nothing,
        }
        for number, handler in handlers.items():
            signal.signal(number, handler)
            # Only SIGTERM is urgent enough to interrupt the application's system calls.
            signal.siginterrupt(number, number == signal.SIGTERM)
        if stack_file >= 0:
            faulthandler.register(STACK_SIGNAL, stack_file, all_threads=True, chain=False)
        return handlers

    def _on_quit(self, _number: int, _frame: FrameType | None) -> None:
        self.leaving = True
        self._nudge()

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        if os.getppid() != self._master:
            log.critical("the master is gone: exiting")
        # A master that lives kills this process before; but it may be gone, and whether it is
        # cannot be asked yet: the kernel closes its descriptors first and its children's parent
        # changes later.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_EXIT_LIMIT)
        self.leaving = self.at_once = True
        if self.exposed:
            self.exposed = False
            raise Stopped
        self._nudge()

    def _nudge(self) -> None:
        if self.waiting and not self._nudged:
            self._nudged = True
            os.eventfd_write(self._nudges, 1)

    def take_nudge(self) -> None:
        """Take back a nudge of this child, if there is one."""
        if self._nudged:
            self._nudged = False
            with contextlib.suppress(BlockingIOError):  # the master takes a dead child's nudge
                os.eventfd_read(self._nudges)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass
