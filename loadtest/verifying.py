"""What makes an answer to a locust user right; the same for every locustfile of ours."""

from collections.abc import Callable

from locust.contrib.fasthttp import ResponseContextManager


def verify(response: ResponseContextManager, good: Callable[[bytes], bool]) -> None:
    """Make anything but 200 with a content that is `good` a failure, and say what it was."""
    content = response.content or b""
    if response.status_code != 200:
        response.failure(f"status {response.status_code}")
    elif not good(content):
        response.failure(f"a wrong answer of {len(content)} bytes: {content[:40]!r}")
