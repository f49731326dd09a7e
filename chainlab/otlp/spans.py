"""Convert an access log line to a span.

The gateway's span has the id that the gateway passed upstream, so spans that continue the trace
there become its children: the worker's span, and spans created by the application. Names and
attributes follow OpenTelemetry's semantic conventions for HTTP servers, where they exist;
`chainlab.*` are the durations of the phases, in milliseconds.
"""

import json
from functools import cache
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

_SCOPE: Final = InstrumentationScope("chainlab")
_IDS: Final = RandomIdGenerator()


def read_span(line: str) -> ReadableSpan | None:
    """Convert a log line to a span; None if it is not an access log line, or not sampled."""
    try:
        entry = json.loads(line)
        if not entry.get("sampled"):
            return None
        return _of_gateway(entry) if "span" in entry else _of_worker(entry)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # not a line of gateway or worker


def _of_gateway(entry: dict[str, Any]) -> ReadableSpan:
    method, target, version = entry["request"].split(" ")
    attributes = {
        **_attributes(entry, method, target),
        "network.protocol.version": version.removeprefix("HTTP/"),
        "user_agent.original": entry["agent"],
        "chainlab.upstream": entry["upstream"],
    }
    return _make("chain-gateway", entry, method, entry["span"], entry["parent"], attributes)


def _of_worker(entry: dict[str, Any]) -> ReadableSpan:
    attributes = {
        **_attributes(entry, entry["method"], entry["path"]),
        "process.pid": entry["pid"],
    }
    own = f"{_IDS.generate_span_id():016x}"
    return _make("fcgi-worker", entry, entry["method"], own, entry["parent"], attributes)


def _attributes(entry: dict[str, Any], method: str, target: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    found: dict[str, Any] = {
        "http.request.method": method,
        "url.scheme": "http",
        "url.path": path,
        "http.response.status_code": entry["status"],
        "http.response.body.size": entry["bytes"],
        "client.address": entry["remote"],
        "http.request.header.x-request-id": [entry["id"]],
        "chainlab.cut": entry["cut"],
    }
    if query:
        found["url.query"] = query
    for part, spent in entry["milliseconds"].items():
        if spent is not None:
            found[f"chainlab.{part}_ms"] = spent
    return found


def _make(
    service: str,
    entry: dict[str, Any],
    method: str,
    span_id: str,
    parent_id: str | None,
    attributes: dict[str, Any],
) -> ReadableSpan:
    trace_id = int(entry["trace"], 16)
    flags = TraceFlags(TraceFlags.SAMPLED)
    start = round(entry["start"] * 1e6) * 1000
    spent = entry["milliseconds"]
    end = start + round(spent.get("total", spent.get("application")) * 1e6)
    failed = entry["status"] >= 500 or entry["cut"]
    return ReadableSpan(
        name=method,
        context=SpanContext(trace_id, int(span_id, 16), is_remote=False, trace_flags=flags),
        parent=SpanContext(trace_id, int(parent_id, 16), is_remote=True, trace_flags=flags)
        if parent_id
        else None,
        resource=_resource(service),
        attributes=attributes,
        kind=SpanKind.SERVER,
        status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
        start_time=start,
        end_time=end,
        instrumentation_scope=_SCOPE,
    )


@cache
def _resource(service: str) -> Resource:
    """Return the service as a resource, with the attributes of OTEL_RESOURCE_ATTRIBUTES."""
    return Resource.create({"service.name": service})
