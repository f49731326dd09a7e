"""What every part of one serving process shares: the loop, the logs, request ids, settings.

Services act on no request and know no part by name. A reload replaces the settings and logs in
place, so no part keeps an old one by accident.
"""

import os
from itertools import count

from gateway.config import Config
from gateway.logs import open_logs
from gateway.loop import Loop
from gateway.spool import SpoolSpace


class Services:
    """The loop, logs, ids and current settings of one serving process."""

    __slots__ = (
        "_id_prefix",
        "_ids",
        "access_log",
        "error_log",
        "leaving",
        "limits",
        "loop",
        "requests",
        "spool_space",
        "timeouts",
    )

    def __init__(self, config: Config, loop: Loop) -> None:
        self.loop = loop
        self.leaving = False  # finish running requests, keep no client connection
        self.requests = 0
        self.access_log, self.error_log = open_logs(config.log, loop)
        self.spool_space = SpoolSpace(config.spool)
        self._id_prefix = os.urandom(8).hex().encode()
        self._ids = count(1)
        self.apply(config)

    def apply(self, config: Config) -> None:
        """Use the settings of `config` for clients between requests and for new ones."""
        self.timeouts = config.timeouts
        self.limits = config.limits
        self.spool_space.limit = config.spool

    def next_request_id(self) -> bytes:
        """Return an id unique across all gateways: 16 random hex digits and a counter."""
        return b"%b%08x" % (self._id_prefix, next(self._ids) & 0xFFFFFFFF)
