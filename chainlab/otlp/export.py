"""Reading logs and sending their spans, a batch at a time, until a signal says to stop.

A batch that the collector does not take is offered again, at growing intervals, and nothing is
read meanwhile: the log holds what has come since, so memory stays bounded and a collector that is
away for an hour gets that hour afterwards. A batch that is refused for long may be the cause
itself, so it is given up in the end.
"""

import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from chainlab.otlp.follow import Follower
from chainlab.otlp.spans import read_span

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_BATCH: Final = 512  # lines; OpenTelemetry's own default for spans
_LOOK: Final = 0.5  # seconds between two looks at logs that do not grow
_TIMEOUT: Final = 5.0  # seconds for the collector to take a batch
_FIRST_DELAY: Final = 0.5  # seconds until a batch is offered again
_LONGEST_DELAY: Final = 30.0
_LAST: Final = 5.0  # seconds to send what has come, when told to stop
_PATIENCE: Final = 900.0  # seconds that a batch is offered before it is given up


class Export:
    """What goes from some logs to one collector. `endpoint`: its base URL; None: OTEL_… says."""

    def __init__(self, logs: Sequence[Path], endpoint: str | None, *, from_start: bool) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # taken where we sleep
        # What it says of each attempt would be said again and again; we say it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT)
        self._followers = [Follower(path, from_start=from_start) for path in logs]
        self._stopping = False
        self._complained = False

    def run(self) -> None:
        """Follow and send until SIGTERM or SIGINT; what has come by then is offered once."""
        _say("following " + ", ".join(str(follower.path) for follower in self._followers))
        while not self._stopping:
            if not self._send_what_came():
                self._sleep(_LOOK)
        last = time.monotonic() + _LAST
        while self._send_what_came() and time.monotonic() < last:
            pass
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send_what_came(self) -> bool:
        """Send a batch; False when there was none, or it was not taken and we are stopping."""
        lines = [line for follower in self._followers for line in follower.read(_BATCH)]
        spans = [span for span in map(read_span, lines) if span is not None]
        return self._send(spans) if spans else bool(lines)

    def _send(self, spans: list[ReadableSpan]) -> bool:
        delay, give_up_at = _FIRST_DELAY, time.monotonic() + _PATIENCE
        while self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            if self._stopping or time.monotonic() >= give_up_at:
                _say(f"{len(spans)} spans given up: the collector does not take them")
                return False
            if not self._complained:
                self._complained = True
                _say("the collector does not take spans; trying on, the logs keep what comes")
            self._sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
        if self._complained:
            self._complained = False
            _say("the collector takes spans again")
        return True

    def _sleep(self, seconds: float) -> None:
        if signal.sigtimedwait(_SIGNALS, seconds) is not None:
            self._stopping = True


def _say(text: str) -> None:
    print(f"chain-otlp: {text}", file=sys.stderr, flush=True)
