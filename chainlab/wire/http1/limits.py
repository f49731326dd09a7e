"""Limits on what a peer can make us store; each has a name, a default and a status."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in bytes unless noted; each is enforced while the bytes are still arriving."""

    request_line: int = 8 * KIB
    """Method, target and version; longer: 414 (a status line: 502)."""
    header_block: int = 32 * KIB
    """All field lines of a head together; longer: 431."""
    fields: int = 100
    """Number of field lines in a head; more: 431."""
    chunk_line: int = 4 * KIB
    """Size and extensions of one chunk; longer: 400."""
    trailer_block: int = 8 * KIB
    """All field lines after the last chunk; longer: 431."""
    body: int | None = 64 * MIB
    """A message's content; longer: 413. None: unlimited."""
    chunk_overhead: int | None = 16 * KIB
    """Framing of chunks beyond twice their content; more: 400. None: unlimited."""
