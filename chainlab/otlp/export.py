"""Read logs and send their spans in batches, until a signal.

If the collector does not accept a batch, the batch is retried at growing intervals, and nothing is
read meanwhile. The logs hold what arrives in the meantime, so memory stays bounded, and a collector
that is down for an hour gets that hour's spans afterwards. A batch that keeps failing may itself be
the cause, so it is dropped after 15 minutes.
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
_BATCH: Final = 512  # lines per log; OpenTelemetry's default batch size for spans
_LOOK: Final = 0.5  # seconds between reads of logs that do not grow
_TIMEOUT: Final = 5.0  # seconds for the collector to accept a batch
_FIRST_DELAY: Final = 0.5  # seconds until the first retry of a batch
_LONGEST_DELAY: Final = 30.0
_LAST: Final = 5.0  # seconds to send what is left after a stop signal
_PATIENCE: Final = 900.0  # seconds after which a failing batch is dropped


class Export:
    """Sends logs to a collector. `endpoint` is its base URL; None: use OTEL_… variables."""

    def __init__(self, logs: Sequence[Path], endpoint: str | None, *, from_start: bool) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # _sleep() waits for them
        # OpenTelemetry logs every failed attempt; we report an outage once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
        self._exporter = OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT)
        self._followers = [Follower(path, from_start=from_start) for path in logs]
        self._stopping = False
        self._complained = False

    def run(self) -> None:
        """Follow and send until SIGTERM or SIGINT; then send what is left, without retries."""
        _say("following " + ", ".join(str(follower.path) for follower in self._followers))
        while not self._stopping:
            if not self._send_what_came():
                self._sleep(_LOOK)
        last = time.monotonic() + _LAST
        while self._send_what_came() and time.monotonic() < last:
            pass
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _send_what_came(self) -> bool:
        """Send a batch; False if there were no new lines, or if it was dropped."""
        lines = [line for follower in self._followers for line in follower.read(_BATCH)]
        spans = [span for span in map(read_span, lines) if span is not None]
        return self._send(spans) if spans else bool(lines)

    def _send(self, spans: list[ReadableSpan]) -> bool:
        delay, give_up_at = _FIRST_DELAY, time.monotonic() + _PATIENCE
        while self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            if self._stopping or time.monotonic() >= give_up_at:
                _say(f"spans dropped: {len(spans)} (the collector does not accept them)")
                return False
            if not self._complained:
                self._complained = True
                _say("the collector does not accept spans; retrying, new lines wait in the logs")
            self._sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY)
        if self._complained:
            self._complained = False
            _say("the collector accepts spans again")
        return True

    def _sleep(self, seconds: float) -> None:
        if signal.sigtimedwait(_SIGNALS, seconds) is not None:
            self._stopping = True


def _say(text: str) -> None:
    print(f"chain-otlp: {text}", file=sys.stderr, flush=True)
