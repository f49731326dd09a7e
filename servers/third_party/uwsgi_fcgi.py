"""uWSGI as a FastCGI responder: a master and N C processes, each embedding Python (S5, S6).

A worker sleeps in epoll_wait on the listener, accepts, and handles the records in C; only the
application is Python, so a request costs little more than the application. uWSGI closes the
connection after each response even if the web server asked to keep it: one handshake per request,
and no idle connection ever holds a worker.

uWSGI comes as the wheel `pyuwsgi`, a module whose `run` never returns, so it runs in a process of
its own.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Final

from servers.common.packages import without_package
from servers.common.program import Program
from servers.common.spec import Spec
from servers.common.stopping import GRACE

SPEC: Final = Spec(
    name="uwsgi",
    title="uWSGI as a FastCGI responder",
    family="third-party",
    protocol="fastcgi",
    processes="a master and N workers",
    threads="one",
    concurrency="workers",
    keep_alive=False,
    model=(
        "A C master keeps N processes with embedded Python. Each accepts a connection,",
        "reads the records in C, calls the application, answers and closes.",
    ),
    sleeps=("in epoll_wait(2), then recv(2)", "in recv(2)"),
    good="WSGI behind a web server, with most of the work in C",
    bad="keep-alive: it closes the connection even when asked to keep it",
    neighbours=("flup-fork", "libfcgi", "gunicorn"),
    source="servers/third_party/uwsgi_fcgi.py",
    limits=(
        "at most N concurrent requests",
        "closes the connection after each response",
        "ignores a stop signal during startup, and is then killed after ten seconds",
    ),
    claims=("S5", "S6"),
    target="servers.third_party.uwsgi_fcgi:UwsgiFcgi",
    probe=partial(without_package, "pyuwsgi", "pip install 'pyuwsgi>=2.0.28'"),
)


_OPTIONS: Final = (
    "--module=servers.app.wsgi:application",
    "--need-app",  # exit rather than serve without the application
    "--master",
    "--no-orphans",  # workers end with their master
    "--single-interpreter",
    "--buffer-size=65535",  # bytes for a request's parameters; the gateway's limit is lower
    "--ignore-sigpipe",  # a client that disconnects is normal
    "--ignore-write-errors",
    "--disable-write-exception",
    "--disable-logging",
    "--log-5xx",
    # SIGTERM: accept no more clients, finish running requests, exit. Without --die-on-term, a
    # SIGTERM that comes before the hook is installed would reload uWSGI.
    "--die-on-term",
    "--hook-master-start=unix_signal:15 gracefully_kill_them_all",
    f"--worker-reload-mercy={GRACE:.0f}",
)


class UwsgiFcgi(Program):
    """uWSGI as a separate process; on SIGTERM it finishes running requests."""

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return uWSGI's command line."""
        del folder  # it writes nothing
        start = [sys.executable, "-c", "import pyuwsgi; pyuwsgi.run()"]
        workers = f"--processes={self._options.workers}"
        return [*start, f"--fastcgi-socket=fd://{fd}", workers, *_OPTIONS]
