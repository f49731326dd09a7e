"""Fetch one answer before the load, as the reference for all others if none is given."""

import socket
import time
from typing import Any

from loadtest.openloop.answer import Broken, Reader
from loadtest.openloop.plan import PlanError, Target


def fetch_body(target: Target, request: bytes, status: int, timeout: float) -> bytes:
    """Return the body of one answer; PlanError if there is none with the expected status."""
    reader = Reader()
    deadline = time.monotonic() + timeout
    try:
        with socket.socket(target.family) as client:
            client.settimeout(timeout)
            client.connect(target.address)
            client.sendall(request)
            complete = False
            while not complete and (data := client.recv(65536)):
                complete = reader.feed(data)
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")
    except OSError as error:
        raise PlanError(f"URL: {_text(target.address)}: {error}; is the server up?") from None
    except Broken as error:
        raise PlanError(f"URL: the server does not speak HTTP: {error}") from None
    if not complete and not reader.eof():
        raise PlanError("URL: the server closed the connection mid-answer; see its log")
    if reader.status != status:
        raise PlanError(f"--status: expected {status}, the server answered {reader.status}")
    return bytes(reader.body)


def _text(address: Any) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"
