"""Which module tests which claim, in the order of the notes. Modules are imported on demand."""

import importlib
import re
from collections.abc import Iterable
from typing import Final

from experiments.frame import Experiment

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "k1_address_space": ("K1",),
    "k2_crossing": ("K2",),
    "k3_switch": ("K3",),
    "k4_blocked": ("K4",),
    "k5_descriptors": ("K5",),
    "k6_copies": ("K6",),
    "m0_two_phases": ("M0", "M1"),
    "m2_nonblocking": ("M2",),
    "m3_one_process": ("M3",),
    "m4_crossing": ("M4",),
    "m5_signal": ("M5",),
    "m6_asynchronous": ("M6",),
    "e1_select_sets": ("E1",),
    "e2_select_limit": ("E2",),
    "e3_e4_poller_cost": ("E3", "E4", "E15"),
    "e5_poll_array": ("E5",),
    "e6_portability": ("E6",),
    "e7_epoll_size": ("E7",),
    "e8_epoll_descriptor": ("E8",),
    "e9_epoll_timeout": ("E9",),
    "e10_level_edge": ("E10",),
    "e11_starvation": ("E11",),
    "e12_notifications": ("E12",),
    "e13_oneshot": ("E13",),
    "e14_events": ("E14",),
    "s3_tcpdump": ("S3",),
    "s4_connection_life": ("S4",),
}
"""For each module of this package, the claims that its EXPERIMENT tests."""

CLAIMS: Final = tuple(claim for claims in MODULES.values() for claim in claims)
"""All claim ids, in order."""

_GROUP = re.compile(r"([A-Z])(\d+)-(?:\1)?(\d+)")


class UnknownClaim(Exception):
    """No experiment has this id; the message lists the valid ids."""


def find(claim: str) -> Experiment:
    """Return the experiment that tests a claim, an id from CLAIMS."""
    name = next(module for module, claims in MODULES.items() if claim in claims)
    found = importlib.import_module(f"experiments.{name}").EXPERIMENT
    assert isinstance(found, Experiment)
    return found


def choose(names: Iterable[str]) -> list[Experiment]:
    """Return experiments by id, by range (E10-E13) or `all`: each once, in the notes' order."""
    wanted: set[str] = set()
    for name in names:
        wanted |= set(_expand(name))
    keys = [claims[0] for claims in MODULES.values() if wanted & set(claims)]
    return [find(key) for key in keys]


def _expand(name: str) -> list[str]:
    wanted = name.upper().replace("–", "-")
    if wanted == "ALL":
        return list(CLAIMS)
    if group := _GROUP.fullmatch(wanted):
        letter, first, last = group.groups()
        group_ids = [f"{letter}{number}" for number in range(int(first), int(last) + 1)]
        found = [claim for claim in group_ids if claim in CLAIMS]
    else:
        found = [claim for claim in CLAIMS if claim == wanted]
    if not found:
        raise UnknownClaim(f"{name}: no such experiment; choose from {', '.join(CLAIMS)}, or all")
    return found
