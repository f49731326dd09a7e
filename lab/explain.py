"""`lab explain ID`: one architecture on one screen, with its system calls measured live."""

import textwrap
from collections.abc import Iterable
from typing import Final

from rich.console import Console
from rich.text import Text

from lab.chain.backends import Backend
from lab.chain.rundir import LabError
from lab.claims import Claim, experiment_of, shown_by
from lab.trace import syscall_counts as system_calls

WIDTH: Final = 100
"""Maximum columns, however wide the terminal: longer lines are hard to read."""

_LABEL: Final = 11  # width of the label column


def show_claim(console: Console, claim: Claim) -> None:
    """Print a claim of the notes, and which command and file show it."""
    shown = [Text.assemble((claim.id, "bold"), ", a claim of the notes (docs/claims.md)")]
    measured = experiment_of(claim.id)
    for label, text in (
        ("notes say", claim.says),
        ("run shows", claim.shown),
        ("measure it", f"lab experiment {claim.id.lower()}" if measured else "lab tour"),
        ("read", measured or "lab/tour"),
        ("shown by", " ".join(shown_by(claim.id)) or "-"),
    ):
        shown += _labelled(label, [text], min(console.width, WIDTH))
    for line in shown:
        console.print(line, highlight=False)


def run(console: Console, backend: Backend) -> None:
    """Print the screen for `backend`."""
    with console.status(f"counting the system calls of {backend.name}"):
        calls = measured_calls(backend)
    for line in lines(backend, calls, min(console.width, WIDTH)):
        console.print(line, highlight=False)


def measured_calls(backend: Backend) -> str:
    """Return the system calls per request as text, or why they could not be counted."""
    reason = backend.unavailable() or system_calls.unavailable()
    if reason is None:
        try:
            rates = system_calls.count_per_request(backend)
        except LabError as error:
            reason = str(error)
        else:
            return "  ".join(f"{name} {rate:.3g}" for name, rate in rates.items())
    return f"not measured: {reason}"


def lines(backend: Backend, calls: str, width: int) -> list[Text]:
    """Return the lines of the screen; `calls` comes from `measured_calls`."""
    spec = backend.spec
    speaks = "FastCGI" if spec.protocol == "fastcgi" else "HTTP"
    screen = [
        Text.assemble((spec.name, "bold"), f": {spec.title} ({spec.family}, {speaks})"),
        *(Text(f"  {line}") for line in spec.model),
        Text(),
    ]
    waits = ", ".join(filter(None, (spec.multiplexer, spec.mode)))
    kept = "on a kept connection" if spec.keep_alive else "one connection per request"
    where = "" if spec.protocol == "http" else ", without the gateway's calls"
    for label, texts in (
        ("processes", [f"{spec.processes}; threads: {spec.threads}"]),
        ("waits by", [waits] if waits else []),
        ("sleeps", [f"waiting for data: {spec.sleeps[0]}", f"copying data: {spec.sleeps[1]}"]),
        ("calls", [f"per request, GET /hello, {kept}{where}:", calls]),
        ("good for", [spec.good]),
        ("bad for", [spec.bad]),
        ("limits", spec.limits),
        ("similar", [", ".join(spec.neighbours)]),
        ("claims", [" ".join(spec.claims)]),
        ("read", [spec.source]),
    ):
        screen += _labelled(label, texts, width)
    return screen


def _labelled(label: str, texts: Iterable[str], width: int) -> list[Text]:
    wrapped = [line for text in texts for line in textwrap.wrap(text, width - _LABEL)]
    heads = [label, *[""] * len(wrapped)]
    return [
        Text.assemble((head.ljust(_LABEL), "cyan"), line)
        for head, line in zip(heads, wrapped, strict=False)
    ]
