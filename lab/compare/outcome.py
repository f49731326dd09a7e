"""What a session has taken, as a result: judged, placed, and with its manifest."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import lab
from lab.chain.fronts import find_nginx
from lab.compare.drive.session import Session
from lab.compare.drive.targets import Target
from lab.compare.judge.ranking import crossings, standings
from lab.compare.result import Architecture, Cell, Manifest, Result
from lab.compare.settings import Settings
from loadtest import manifest

PACKAGES: Final = ["chainlab", "bjoern", "flup", "gevent", "gunicorn", "pyuwsgi", "uvloop"]
"""Whose versions matter."""
_ROOT: Final = Path(next(iter(lab.__path__))).parent


def make_result(
    session: Session,
    settings: Settings,
    contestants: list[Target],
    *,
    started: float,
    seconds: float,
    complete: bool,
) -> Result:
    """Return the result; `started` is in seconds since the epoch."""
    cells = session.cells()
    return Result(
        manifest=make_manifest(session, settings, started, seconds, complete=complete),
        architectures=[_described(each, cells, session) for each in contestants],
        ceilings=session.ceilings(),
        cells=cells,
        standings=standings(cells),
        crossings=crossings(cells),
    )


def _described(contestant: Target, cells: list[Cell], session: Session) -> Architecture:
    """Return a contestant's description, with why it has no round at all, if it has none."""
    own = [cell for cell in cells if cell.architecture == contestant.name]
    why = contestant.described.unavailable
    if not why and own and not any(cell.rounds for cell in own):
        why = next((note for cell in own for note in cell.notes), "")
    idle, missing = session.idle_of(contestant.name)
    return replace(
        contestant.described, unavailable=why, idle_bytes=idle, idle_missing=why or missing
    )


def make_manifest(
    session: Session, settings: Settings, started: float, seconds: float, *, complete: bool
) -> Manifest:
    """Return where, when and how."""
    programs = {"wrk": ["wrk", "--version"], "perf": ["perf", "--version"]}
    programs |= {"go": ["go", "version"], "php": ["php", "--version"]}
    if nginx := find_nginx():
        programs["nginx"] = [nginx, "-v"]
    return Manifest(
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 1),
        complete=complete,
        command=settings.command,
        commit=manifest.commit(_ROOT),
        seed=settings.seed,
        rounds=settings.rounds,
        duration=settings.duration,
        paths={name: route.path for name, route in settings.routes.items()},
        kernel=manifest.kernel(),
        cpu_model=manifest.cpu_model(),
        cores=len(manifest.cores()),
        cpus=str(session.cores),
        governor=manifest.governor(),
        congestion=manifest.congestion(),
        limits=manifest.limits(),
        versions=manifest.versions(PACKAGES, programs),
    )
