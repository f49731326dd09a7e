"""Turns a session's measurements into a result: judged, ranked, and with its manifest."""

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
"""Packages whose versions go into the manifest."""
_ROOT: Final = Path(next(iter(lab.__path__))).parent


def make_result(
    session: Session,
    settings: Settings,
    targets: list[Target],
    *,
    started: float,
    seconds: float,
    complete: bool,
) -> Result:
    """Return the result; `started` is in seconds since the epoch."""
    cells = session.cells()
    return Result(
        manifest=make_manifest(session, settings, started, seconds, complete=complete),
        architectures=[_describe(target, cells, session) for target in targets],
        ceilings=session.ceilings(),
        cells=cells,
        standings=standings(cells),
        crossings=crossings(cells),
    )


def _describe(target: Target, cells: list[Cell], session: Session) -> Architecture:
    """Return a target's description; `unavailable` says why it has no round at all."""
    own = [cell for cell in cells if cell.architecture == target.name]
    why = target.described.unavailable
    if not why and own and not any(cell.rounds for cell in own):
        why = next((note for cell in own for note in cell.notes), "")
    idle, missing = session.idle_of(target.name)
    return replace(target.described, unavailable=why, idle_bytes=idle, idle_missing=why or missing)


def make_manifest(
    session: Session, settings: Settings, started: float, seconds: float, *, complete: bool
) -> Manifest:
    """Return when, where and how the session ran."""
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
