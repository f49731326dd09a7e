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
    """Return the span that `line` tells of; None when it tells of none, or it is not sampled."""
    try:
        told = json.loads(line)
        if not told.get("sampled"):
            return None
        return _of_gateway(told) if "span" in told else _of_worker(told)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # not a line of ours


def _of_gateway(told: dict[str, Any]) -> ReadableSpan:
    method, target, version = told["request"].split(" ")
    attributes = {
        **_attributes(told, method, target),
        "network.protocol.version": version.removeprefix("HTTP/"),
        "user_agent.original": told["agent"],
        "chainlab.upstream": told["upstream"],
    }
    return _make("chain-gateway", told, method, told["span"], told["parent"], attributes)


def _of_worker(told: dict[str, Any]) -> ReadableSpan:
    attributes = {
        **_attributes(told, told["method"], told["path"]),
        "process.pid": told["pid"],
    }
    own = f"{_IDS.generate_span_id():016x}"
    return _make("fcgi-worker", told, told["method"], own, told["parent"], attributes)


def _attributes(told: dict[str, Any], method: str, target: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    found: dict[str, Any] = {
        "http.request.method": method,
        "url.scheme": "http",
        "url.path": path,
        "http.response.status_code": told["status"],
        "http.response.body.size": told["bytes"],
        "client.address": told["remote"],
        "http.request.header.x-request-id": [told["id"]],
        "chainlab.cut": told["cut"],
    }
    if query:
        found["url.query"] = query
    for part, spent in told["milliseconds"].items():
        if spent is not None:
            found[f"chainlab.{part}_ms"] = spent
    return found


def _make(
    service: str,
    told: dict[str, Any],
    method: str,
    span_id: str,
    parent_id: str | None,
    attributes: dict[str, Any],
) -> ReadableSpan:
    trace_id = int(told["trace"], 16)
    flags = TraceFlags(TraceFlags.SAMPLED)
    start = round(told["start"] * 1e6) * 1000
    spent = told["milliseconds"]
    end = start + round(spent.get("total", spent.get("application")) * 1e6)
    failed = told["status"] >= 500 or told["cut"]
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
    """Return who tells it, with what OTEL_RESOURCE_ATTRIBUTES adds."""
    return Resource.create({"service.name": service})
