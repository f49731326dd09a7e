"""uvloop: asyncio's interface on libuv, with the same protocol class (S8).

Compared with asyncio: the loop, the transports and their buffers are in C. The protocol, which does
the server's work for each connection, is the same Python code.
"""

from functools import partial
from typing import Final

from servers.common.packages import without_package
from servers.common.spec import Spec
from servers.coroutine.asyncio_server import AsyncioServer

SPEC: Final = Spec(
    name="uvloop",
    title="asyncio's interface on libuv",
    family="coroutine",
    processes="one",
    threads="one",
    multiplexer="epoll",
    mode="level",
    model=(
        "The same protocol class as asyncio, on libuv:",
        "loop, transports and buffers are in C; the protocol is still Python.",
    ),
    sleeps=(
        "in epoll_wait(2), for all connections at once",
        "nowhere: recv copies immediately",
    ),
    good="asyncio programs that spend their time in the event loop",
    bad="looking inside the loop",
    neighbours=("asyncio", "c-extension"),
    source="servers/coroutine/uvloop_server.py",
    limits=("a CPU-bound handler stalls every connection",),
    claims=("S8",),
    target="servers.coroutine.uvloop_server:UvloopServer",
    probe=partial(without_package, "uvloop", "pip install uvloop"),
)


class UvloopServer(AsyncioServer):
    """The server, on libuv."""

    loop_module = "uvloop"
    has_sendfile = False
