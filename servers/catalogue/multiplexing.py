"""Multiplexing servers: one thread waits for many descriptors at once."""

import shutil
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

from servers.spec import Spec

_COMPUTES: Final = "a handler that computes holds up everybody"
_SERVERS: Final = Path(__file__).parents[1]


def _without_extension() -> str | None:
    """Look for the file: finding it by import would import the package around it."""
    folder = _SERVERS / "c_extension"
    if any((folder / f"_server{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return None
    return "not built: install gcc and python3-dev, then run make setup"


def without_php() -> str | None:
    """Return why PHP's command line cannot run here and what would help; None: it can."""
    return None if shutil.which("php") else "php is not installed: run sudo apt install php-cli"


SPECS: Final = (
    Spec(
        name="busy-poll",
        title="nonblocking sockets asked in a loop",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="none",
        mode="asking",
        model=(
            "Sockets do not block: recv returns at once, with bytes or with EAGAIN.",
            "The process asks all of them, again and again, without ever sleeping.",
            "It burns a core, busy or idle: on purpose, to show what waiting is for.",
        ),
        sleeps=("nowhere: it asks until the answer is not EAGAIN", "nowhere: recv copies at once"),
        good="showing model M2; microseconds of latency where a core is free to burn",
        bad="everything else",
        neighbours=("iterative", "select"),
        source="servers/multiplexing/busy_poll.py",
        limits=("a core is always used up", _COMPUTES),
        claims=("M2", "K4"),
        target="servers.multiplexing.busy_poll:BusyPoll",
    ),
    Spec(
        name="select",
        title="readiness by select",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="select",
        mode="level",
        model=(
            "select is handed all descriptors at each call, as three sets of 1,024 bits;",
            "the process sleeps until one of them is ready, and walks what comes back.",
            "Then recv and send do not block.",
        ),
        sleeps=("in select(2), for all connections at once", "nowhere: recv copies at once"),
        good="some dozen descriptors, on any platform",
        bad="many: every call copies and scans them all; above 1,023 it ends",
        neighbours=("poll", "epoll-lt", "iterative", "busy-poll", "php-select"),
        source="servers/multiplexing/readiness.py",
        limits=("descriptors below 1,024: who gets another is answered 503", _COMPUTES),
        claims=("M3", "M4", "E1", "E2", "E3", "E6", "S7"),
        target="servers.multiplexing.readiness:SelectServer",
    ),
    Spec(
        name="poll",
        title="readiness by poll",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="poll",
        mode="level",
        model=(
            "poll is handed an array of descriptors and events at each call;",
            "the process sleeps until one is ready. No limit of 1,024,",
            "but the kernel still walks the whole array, each time.",
        ),
        sleeps=("in poll(2), for all connections at once", "nowhere: recv copies at once"),
        good="some hundred descriptors",
        bad="thousands, most of them idle",
        neighbours=("select", "epoll-lt"),
        source="servers/multiplexing/readiness.py",
        limits=(_COMPUTES,),
        claims=("M3", "E3", "E5", "S7"),
        target="servers.multiplexing.readiness:PollServer",
    ),
    Spec(
        name="epoll-lt",
        title="readiness by epoll, level-triggered",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="level",
        model=(
            "The kernel keeps the set of descriptors; epoll_ctl changes it, one by one.",
            "epoll_wait sleeps until some are ready and returns those only:",
            "its cost follows the ready ones, not the watched ones.",
            "Level-triggered: what is not taken is reported again.",
        ),
        sleeps=("in epoll_wait(2), for all connections at once", "nowhere: recv copies at once"),
        good="ten thousand connections, most of them idle",
        bad="descriptors whose interest changes all the time: a call for each change",
        neighbours=("select", "poll", "epoll-et", "coroutine"),
        source="servers/multiplexing/readiness.py",
        limits=(_COMPUTES,),
        claims=("M3", "E4", "E7", "E8", "E9", "E10", "E15", "S7", "S9"),
        target="servers.multiplexing.readiness:EpollServer",
    ),
    Spec(
        name="epoll-et",
        title="epoll, edge-triggered",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="edge",
        model=(
            "The kernel reports once that something has come.",
            "The server notes it and reads until EAGAIN, a read a turn, so that nobody",
            "starves; only when all it knows of is drained does it sleep again.",
            "Interest is registered once, for reading and writing together.",
        ),
        sleeps=("in epoll_wait(2), for all connections at once", "nowhere: recv copies at once"),
        good="busy connections: fewer reports, no epoll_ctl between them",
        bad="code that forgets to drain: the connection hangs for ever",
        neighbours=("epoll-lt", "epoll-oneshot"),
        source="servers/multiplexing/epoll_et.py",
        limits=(_COMPUTES,),
        claims=("E10", "E11", "E12"),
        target="servers.multiplexing.epoll_et:EpollEdge",
    ),
    Spec(
        name="epoll-oneshot",
        title="several threads on one epoll, oneshot",
        family="multiplexing",
        processes="one",
        threads="N that serve, one that keeps the time",
        multiplexer="epoll",
        mode="edge, oneshot",
        model=(
            "N threads sleep in epoll_wait on the same epoll.",
            "A report disarms its descriptor, so one thread owns the connection",
            "until it arms it again by epoll_ctl.",
        ),
        sleeps=("in epoll_wait(2), N threads", "nowhere: recv copies at once"),
        good="languages whose threads run at the same time; handlers that release the GIL",
        bad="CPython: the threads take turns, and each wait costs an epoll_ctl more",
        neighbours=("epoll-et", "epoll-exclusive", "thread-pool"),
        source="servers/multiplexing/epoll_oneshot.py",
        limits=("Python code runs in one thread at a time (GIL)",),
        claims=("E13",),
        target="servers.multiplexing.epoll_oneshot:EpollOneshot",
    ),
    Spec(
        name="epoll-exclusive",
        title="N processes, an epoll each, one listener",
        family="multiplexing",
        processes="a master and N children",
        threads="one",
        multiplexer="epoll",
        mode="level, EPOLLEXCLUSIVE",
        model=(
            "N processes, each with the level-triggered loop and its own epoll.",
            "The one listener is in all of them with EPOLLEXCLUSIVE: a client wakes",
            "one process, not the herd. This is nginx's and our gateway's model.",
        ),
        sleeps=("in epoll_wait(2), each process", "nowhere: recv copies at once"),
        good="many connections and more than one core",
        bad="balance: who accepts quickly gets more connections, and keeps them",
        neighbours=("epoll-lt", "prefork", "prefork-reuseport"),
        source="servers/multiplexing/epoll_exclusive.py",
        limits=("a handler that computes holds up the connections of its process",),
        claims=("E4", "S6", "S7"),
        target="servers.multiplexing.epoll_exclusive:EpollExclusive",
    ),
    Spec(
        name="php-select",
        title="PHP: stream_select and callbacks",
        family="multiplexing",
        processes="one, and one in Python that started it and waits",
        threads="one",
        multiplexer="select",
        mode="level",
        model=(
            "PHP's command line as a server: stream_select is told all sockets at each call.",
            "An object for each connection names a callback for what it waits for next;",
            "a request that waits is a deadline. HTTP is written from scratch, too.",
        ),
        sleeps=("in select(2), for all connections at once", "nowhere: recv copies at once"),
        good="seeing the model in the language that usually has a process for each request",
        bad="many connections; conversations cut into callbacks",
        neighbours=("select", "php-coroutine"),
        source="servers/php/select.php",
        limits=(
            "descriptors below 1,024: who gets another is answered 503",
            "one process",
            _COMPUTES,
        ),
        claims=("M3", "E1", "E2", "S1", "S2", "S7", "S9"),
        target="servers.outside.php_cli:PhpSelect",
        probe=without_php,
    ),
    Spec(
        name="c-extension",
        title="a loop and an HTTP server in C, called from Python",
        family="multiplexing",
        processes="one",
        threads="one",
        multiplexer="epoll",
        mode="edge",
        model=(
            "An extension of CPython: the epoll loop, the parser and the sending are C,",
            "and call the handlers, which are Python. Interest is registered once for each",
            "connection. The GIL is given away while epoll_wait sleeps.",
        ),
        sleeps=("in epoll_wait(2), without the GIL", "nowhere: recv copies at once"),
        good="the least a request can cost while a Python handler answers it",
        bad="changing it: a mistake in C ends the process, or is a hole in it",
        neighbours=("epoll-et", "bjoern", "io-uring"),
        source="servers/c_extension/loop.c",
        limits=("it needs a compiler when it is installed", _COMPUTES),
        claims=("S11", "S2", "E10", "E12"),
        target="servers.c_extension.server:CExtension",
        probe=_without_extension,
    ),
)
