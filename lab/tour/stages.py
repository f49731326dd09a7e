"""All stages of the tour, in the order of the notes."""

from collections.abc import Iterable
from typing import Final

from lab.chain.rundir import LabError
from lab.tour.s1_s2_server import S1, S2
from lab.tour.s3_packets import S3
from lab.tour.s4_connection import S4
from lab.tour.s5_chain import S5
from lab.tour.s6_s8_models import S6, S7, S8
from lab.tour.s9_s11 import S9, S10, S11
from lab.tour.stage import Stage

STAGES: Final = {each.name: each for each in (S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11)}


def choose(names: Iterable[str]) -> list[Stage]:
    """Return the named stages in order, or all if none is named; LabError for an unknown name."""
    wanted = {name.upper() for name in names}
    for name in wanted:
        if name not in STAGES:
            raise LabError(f"no stage {name}; choose from {', '.join(STAGES)}")
    return [stage for stage in STAGES.values() if not wanted or stage.name in wanted]
