"""The server architectures by id, in the order of the notes.

Each architecture describes itself: its module has a `SPEC` at the top. Importing these modules must
stay cheap and must never fail, so a module imports another project's package only when its server
runs. A machine that lacks one server's package can still list and run the others.
"""

import importlib
from typing import Final

from servers.common.spec import Options, Server, Spec

__all__ = ["SPECS", "Options", "Server", "Spec"]

_MODULES: Final = (
    "blocking.iterative",
    "blocking.fork",
    "blocking.prefork",
    "blocking.prefork_reuseport",
    "blocking.thread",
    "blocking.thread_pool",
    "multiplexing.busy_poll",
    "multiplexing.select_server",
    "multiplexing.poll_server",
    "multiplexing.epoll_level",
    "multiplexing.epoll_et",
    "multiplexing.epoll_oneshot",
    "multiplexing.epoll_exclusive",
    "php.php_select",
    "c_extension.server",
    "signal_driven.sigio",
    "asynchronous.posix_aio",
    "asynchronous.io_uring",
    "coroutine.generators",
    "coroutine.asyncio_server",
    "coroutine.uvloop_server",
    "coroutine.gevent_server",
    "php.php_coroutine",
    "go.go_http",
    "third_party.flup_fork",
    "third_party.flup_thread",
    "third_party.wsgiref_http",
    "third_party.gunicorn_http",
    "third_party.bjoern_http",
    "third_party.uwsgi_fcgi",
    "third_party.libfcgi_prefork",
    "go.go_fcgi",
)

SPECS: Final[dict[str, Spec]] = {
    spec.name: spec
    for spec in (importlib.import_module(f"servers.{name}").SPEC for name in _MODULES)
}
"""Every architecture by its id."""
