"""Results to make pages of: the sample, and many architectures made from it."""

import gzip
import re
from base64 import b64decode
from dataclasses import replace

from lab.compare.judge.ranking import standings
from lab.compare.result import Cell, Result, Standing, from_json
from tests.lab.compare.sample import SAMPLE

PACKED = re.compile(r'<script type="text/plain">([A-Za-z0-9+/=]*)</script>')


def unpacked(page: str) -> str:
    """The page with what its figures draw as text."""
    return PACKED.sub(lambda found: gzip.decompress(b64decode(found[1])).decode(), page)


def sample() -> Result:
    return from_json(SAMPLE.read_text())


def opened() -> Result:
    """An open loop at 8 connections: one rate for all, and shares of each one's own peak."""
    base = sample()
    chosen = [
        each
        for each in base.cells
        if each.verdict == "valid" and (each.route, each.connections) == ("hello", 8)
    ]
    cells = [replace(each, mode="open", rate=1000.0) for each in chosen] + [
        replace(each, mode="open", rate=1000.0 * at * number, of_peak=at)
        for number, each in enumerate(chosen, start=2)
        for at in (0.5, 0.75, 0.9)
    ]
    return replace(base, cells=cells, standings=standings(cells), crossings=[])


def many(times: int, routes: list[str]) -> Result:
    """The sample's architectures, so many times each, on each of the routes."""
    base = sample()

    def names(name: str) -> list[str]:
        return [f"{name}-{number}" for number in range(times)]

    def cells(route: str) -> list[Cell]:
        return [
            replace(cell, architecture=name, route=route)
            for cell in base.cells
            if cell.route == ("wait" if route == "wait" else "hello")
            for name in names(cell.architecture)
        ]

    def placed(route: str) -> list[Standing]:
        return [
            replace(
                each,
                route=route,
                places=[
                    replace(at, architectures=[x for name in at.architectures for x in names(name)])
                    for at in each.places
                ],
                unplaced={x: why for name, why in each.unplaced.items() for x in names(name)},
            )
            for each in base.standings
            if each.route == ("wait" if route == "wait" else "hello")
        ]

    return replace(
        base,
        architectures=[
            replace(each, name=name) for each in base.architectures for name in names(each.name)
        ],
        cells=[cell for route in routes for cell in cells(route)],
        standings=[each for route in routes for each in placed(route)],
    )
