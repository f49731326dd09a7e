"""Reads what gateway and worker report about a request: Server-Timing and access logs."""

import http.client
import json
from pathlib import Path
from typing import Any

from tests.support.processes import wait_until


def server_timing(head: http.client.HTTPResponse) -> dict[str, float]:
    """Return the durations of a response by name, in milliseconds, in order."""
    found = {}
    for field in head.headers.get_all("Server-Timing") or []:
        for metric in field.split(","):
            name, duration = metric.strip().split(";dur=")
            assert name not in found, field
            found[name] = float(duration)
    return found


def log_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """Wait for the first `count` lines of an access log and return them."""
    wait_until(lambda: path.read_text().count("\n") >= count, f"{path} has {count} lines")
    return [json.loads(line) for line in path.read_text().splitlines()[:count]]


def line_of(path: Path, request_id: str) -> dict[str, Any]:
    """Wait for the access log line of one request and return it."""
    wait_until(lambda: request_id in path.read_text(), f"{path} has request {request_id}")
    lines = path.read_text().splitlines()
    return next(json.loads(line) for line in lines if request_id in line)
