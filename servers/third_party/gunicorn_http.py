"""gunicorn with sync workers: a master and N processes, one request at a time (S5, S6).

A worker sleeps in select on the listener, accepts, reads one request, answers and closes. Sync
workers have no keep-alive, so every request costs a handshake, and no idle connection ever holds a
worker. Everything is Python, including the parser, and that dominates the cost of a request.

Only our settings apply: the file below replaces any gunicorn.conf.py in the working directory, and
GUNICORN_CMD_ARGS is cleared. The worker timeout is longer than any /wait; the heartbeat file is in
our directory; gunicorn's control socket is off, so nothing is left behind.
"""

import socket
import sys
from functools import partial
from pathlib import Path
from typing import Final

from servers.common.packages import without_package
from servers.common.program import Program
from servers.common.spec import Spec
from servers.common.stopping import GRACE

SPEC: Final = Spec(
    name="gunicorn",
    title="gunicorn, sync workers",
    family="third-party",
    processes="a master and N workers",
    threads="one",
    concurrency="workers",
    keep_alive=False,
    model=(
        "A master keeps N processes, each asleep in select on one listener. Each accepts a",
        "client, reads one request, calls the application, answers and closes.",
        "Parser and loop are in Python.",
    ),
    sleeps=("in select(2), then recv(2)", "in recv(2)"),
    good="WSGI behind a web server that buffers slow clients",
    bad="direct clients: a handshake per request, and a slow client holds a worker",
    neighbours=("prefork", "wsgiref", "uwsgi", "bjoern"),
    source="servers/third_party/gunicorn_http.py",
    limits=(
        "at most N concurrent requests",
        "closes the connection after each response",
        "a silent client holds a worker for 90 seconds, and delays a stop by ten",
    ),
    lacks=("timeouts",),
    claims=("S5", "S6"),
    target="servers.third_party.gunicorn_http:GunicornHttp",
    probe=partial(without_package, "gunicorn", "pip install 'gunicorn>=23'"),
)


_CONFIG: Final = """\
from servers.common.stopping import die_with_parent

bind = "fd://{fd}"
workers = {workers}
worker_class = "sync"
timeout = 90
graceful_timeout = {grace:.0f}
worker_tmp_dir = {folder!r}
control_socket_disable = True
loglevel = "warning"
forwarder_headers = ""


def post_fork(server, worker):
    die_with_parent(worker.ppid)
"""


class GunicornHttp(Program):
    """gunicorn as a separate process; on SIGTERM it finishes running requests."""

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return gunicorn's command line."""
        config = folder / "gunicorn.conf.py"
        workers = self._options.workers
        config.write_text(_CONFIG.format(fd=fd, workers=workers, grace=GRACE, folder=str(folder)))
        command = [sys.executable, "-m", "gunicorn", "--config", str(config)]
        module = "third_party.unix_peer" if self._listener.family == socket.AF_UNIX else "app.wsgi"
        return [*command, f"servers.{module}:application"]

    def environment(self) -> dict[str, str]:
        """Return the environment without the user's options."""
        return {"GUNICORN_CMD_ARGS": ""}
