"""The master: passes signals to its pool and runs until the last child has ended.

The master runs no application code, so it always answers promptly, and a reload needs no new
master: the children load the new code. Its signal handlers only record; see
`chainlab.transport.supervisor`.

    SIGHUP   replace the children, one by one, by children that load the application anew
    SIGUSR1  reopen the access log
    SIGQUIT  finish running requests within `grace` seconds, then exit
    SIGTERM  exit now, ending the children in mid-request
    SIGINT   like SIGQUIT; the second time, like SIGTERM
"""

import gc
import signal
from typing import Final

from chainlab.transport.supervisor import Supervisor
from fcgi_worker.log import log
from fcgi_worker.pool import Pool
from fcgi_worker.settings import Settings

_SIGNALS: Final = (
    signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1,
)  # fmt: skip
_LAST_LINES: Final = 1.0  # seconds that the reader of the log has at the end


class Master:
    """A worker manager. The constructor binds; it raises ListenError or LogError."""

    def __init__(self, settings: Settings) -> None:
        self._supervisor = Supervisor(_SIGNALS)
        self._pool = Pool(settings, self._supervisor)
        self._stopping = 0  # the stop signal in progress, or 0

    def run(self) -> int:
        """Serve until stopped; return the exit code. In a new child, raises Forked."""
        supervisor, pool = self._supervisor, self._pool
        supervisor.install()
        gc.freeze()  # keep the collector from writing to pages shared with the children
        while True:
            while number := supervisor.take_signal():
                self._on_signal(number)
            for process, code in supervisor.reap():
                pool.bury(process, code)
            if pool.exit_code and not self._stopping:
                self._on_signal(signal.SIGTERM)
            pool.act()
            if self._stopping and pool.empty:
                break
            for process in supervisor.wait(pool.seconds_to_wait()):
                pool.receive(process)
            for process in supervisor.kill_late():
                log.warning("killing child %d, which did not stop in time", process.pid)
        pool.close()
        if not pool.exit_code:
            log.info("stopped")
        log.drain(_LAST_LINES)
        return pool.exit_code

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._pool.reopen_logs()
        elif number == signal.SIGHUP:
            self._pool.reload()
        else:
            self._stop(number)

    def _stop(self, number: int) -> None:
        if number == signal.SIGINT:
            number = signal.SIGTERM if self._stopping else signal.SIGQUIT
        if self._stopping in (number, signal.SIGTERM):
            return
        self._stopping = number
        at_once = number == signal.SIGTERM
        log.info("stopping %s", "now" if at_once else "after running requests finish")
        self._pool.stop(at_once=at_once)
