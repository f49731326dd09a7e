"""Processes that the application forks from a child: multiprocessing, os.fork, preexec_fn.

A fork copies everything of the child's: the listener, the shared epoll, the control socket and
every connection. A connection that a copy holds open never ends for its web server, and the
child's signal handlers would act in the wrong process. So a forked process gives up what belongs to
the child before any of the application's code runs in it. Programs that the application starts
(subprocess) inherit nothing of this: the descriptors close on exec, and handlers end with it.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from threading import get_ident
from typing import NoReturn

from fcgi_worker.log import log

Handlers = Mapping[signal.Signals, Callable[..., None]]

forked = False
"""True in a process that the application forked."""


def disown(
    handlers: Handlers,
    descriptors: Callable[[], tuple[Iterable[int], Iterable[int]]],
    stack_signal: int,
) -> None:
    """Arrange that forked processes lose the given handlers and descriptors.

    `descriptors` returns those to replace by /dev/null, because an object in the process still
    refers to them, and those to close.
    """
    masks: dict[int, set[int]] = {}  # by thread: a signal must not meet the child's handlers

    def before() -> None:
        masks[get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(get_ident()))

    def in_child() -> None:
        global forked
        if not forked:  # a fork of a fork has nothing left to give up
            forked = True
            _reset(handlers)
            faulthandler.unregister(stack_signal)
            log.abandon()
            _close(*descriptors())
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _reset(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) == handler:  # not one of the application's own
            interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)


def _close(replaced: Iterable[int], closed: Iterable[int]) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in replaced:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)
    for descriptor in closed:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def leave() -> NoReturn:
    """End a forked process that returns from the application, or raises out of it.

    Its exit handlers are the child's and do not run, as in multiprocessing.
    """
    error = sys.exc_info()[1]
    code = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif isinstance(error, SystemExit):
        print(error.code, file=sys.stderr)
        code = 1
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code & 0xFF)
