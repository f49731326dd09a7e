"""E8: an epoll is a descriptor like any other; epolls that are never closed use them all up.

/proc/self/fd shows the descriptor. Epolls created in a loop and never closed, as by a server that
leaks one per request, take every number up to the limit; then accept, open and everything else that
needs a descriptor fails. Closing them frees the numbers.
"""

import errno
import os
import resource
import select
from pathlib import Path
from typing import Final

from experiments.frame import Experiment, Finding, Limits, Numbers, verdict
from experiments.sockets import used_descriptors

LIMIT: Final = 256
"""Descriptor limit while leaking: low, so that it is reached quickly."""


def measure(_limits: Limits) -> Numbers:
    """Create one epoll, count it, close it; then create epolls until one is refused."""
    before = used_descriptors()
    with select.epoll() as epoll:
        link = str(Path(f"/proc/self/fd/{epoll.fileno()}").readlink())
        with_one = used_descriptors()
    after = used_descriptors()
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (LIMIT, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    leaked: list[select.epoll] = []
    try:
        leak_error = _leak(leaked)
        open_error = _try_open()
    finally:
        for each in leaked:
            each.close()
    return {
        "link": link,
        "before": before,
        "with_one": with_one,
        "after_close": after,
        "limit": LIMIT,
        "leaked": len(leaked),
        "leak_error": leak_error,
        "open_error": open_error,
        "after_leak": used_descriptors(),
        "open_again": _try_open(),
    }


def _leak(leaked: list[select.epoll]) -> str:
    while len(leaked) <= LIMIT:
        try:
            leaked.append(select.epoll())
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return "none"


def _try_open() -> str:
    """Open a file, as other code would; return "opened" or the error's name."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "opened"


def judge(numbers: Numbers) -> list[Finding]:
    """One epoll must take one descriptor; leaked epolls must take all, until closed."""
    one = numbers["with_one"] - numbers["before"]
    takes = one == 1 and numbers["after_close"] == numbers["before"]
    exhausts = (
        numbers["leaked"] == numbers["limit"] - numbers["before"]
        and numbers["leak_error"] == numbers["open_error"] == "EMFILE"
        and numbers["open_again"] == "opened"
    )
    key = (
        f"one epoll took {one} descriptor ({numbers['link']}); with a limit of "
        f"{numbers['limit']}, {numbers['leaked']} leaked epolls led to {numbers['leak_error']}; "
        f"opening a file then: {numbers['open_error']}, after closing the epolls: "
        f"{numbers['open_again']}"
    )
    return [Finding("E8", verdict(takes and exhausts), key)]


EXPERIMENT = Experiment(
    claims={
        "E8": "The epoll handle takes a descriptor, seen in /proc/PID/fd; unclosed handles "
        "exhaust the descriptors."
    },
    title="The epoll handle is a descriptor",
    method="The entries of /proc/self/fd are counted before an epoll is created, while it is open, "
    "and after it is closed. Then, under a low limit, epolls are created and not closed until one "
    "is refused.",
    measure=measure,
    judge=judge,
    limits=Limits(seconds=15, cpu_seconds=10),
)
