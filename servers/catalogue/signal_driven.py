"""Signal-driven servers."""

from typing import Final

from servers.spec import Spec

SPECS: Final = (
    Spec(
        name="sigio",
        title="real-time signals, taken by sigtimedwait",
        family="signal-driven",
        processes="one",
        threads="one",
        multiplexer="sigtimedwait",
        mode="edge",
        model=(
            "Each socket has O_ASYNC and a real-time signal (F_SETSIG).",
            "The kernel queues a signal for each event, with the descriptor in it;",
            "sigtimedwait sleeps for the next. When the queue is full a plain SIGIO says",
            "that events were lost, and everybody is asked.",
        ),
        sleeps=("in sigtimedwait(2); it could do other work instead", "nowhere: recv copies"),
        good="datagrams, serial lines: few descriptors, rare events",
        bad="TCP under load: a signal, and a call to take it, for every event",
        neighbours=("epoll-et", "io-uring"),
        source="servers/signal_driven/sigio.py",
        limits=(
            "the queue of signals is bounded (ulimit -i)",
            "a handler that computes holds up everybody",
        ),
        claims=("M5",),
        target="servers.signal_driven.sigio:Sigio",
    ),
)
