"""Verification of answers, shared by our locustfiles."""

from collections.abc import Callable

from locust.contrib.fasthttp import ResponseContextManager


def verify(response: ResponseContextManager, good: Callable[[bytes], bool]) -> None:
    """Mark an answer as failed, with the reason, unless it is 200 and `good` accepts its body."""
    content = response.content or b""
    if response.status_code != 200:
        response.failure(f"status {response.status_code}")
    elif not good(content):
        response.failure(f"a wrong answer of {len(content)} bytes: {content[:40]!r}")
