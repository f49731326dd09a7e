"""Failures of an upstream as values, and the one policy that decides about a second attempt."""

import errno
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from gateway.backend import Backend

LOCAL_ERRORS: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors of this machine; the backend is not to blame."""

_REPEATABLE: Final = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
"""Methods that may be sent twice without harm (RFC 9110 section 9.2.2)."""


class Kind(Enum):
    """What went wrong between gateway and backend."""

    REFUSED = auto()  # no connection, so the backend never saw the request
    UNANSWERED = auto()  # closed before the first byte of the response
    LOCAL = auto()  # a resource of this machine is missing
    OTHER = auto()  # timed out, broken off, or not understood: the backend may have acted


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an upstream gave no complete response."""

    kind: Kind
    status: int
    """The status that a client gets if nothing else helps."""
    cause: str
    backend: Backend | None = None
    """The backend that failed; None if none did, as in the queue."""
    stale: bool = False
    """The connection had served before, and ended at once: it may have died while idle."""


def may_retry(failure: Failure, method: bytes, *, retried: bool, others: bool) -> bool:
    """Return True if the request may go out again; `others`: a backend that was not tried is left.

    A backend that refused never saw the request, so any request may go to another one. A backend
    that closed without a byte may have acted on it: as with nginx's proxy_next_upstream, only an
    idempotent request goes out again, and only once. If its connection may have died while idle, a
    new one may work; otherwise the request itself may have ended the backend, and only another one
    can help.
    """
    if failure.kind is Kind.REFUSED:
        return others
    if failure.kind is not Kind.UNANSWERED or retried:
        return False
    return method in _REPEATABLE and (failure.stale or others)
