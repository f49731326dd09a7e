"""Trial: reloads, every second one of them with a broken configuration, under load."""

import re
import signal
from collections.abc import Callable
from typing import Final

from lab.trials.load import Load, generation, require_right, rest
from lab.trials.programs import Program, configuration, gateway, wait_for, worker
from lab.trials.trial import Settings, Trial, Verdict

_RELOADS: Final = 50


def _insert(line: str) -> Callable[[str], str]:
    return lambda config: f"{line}\n{config}"


def _replace(old: str, new: str) -> Callable[[str], str]:
    return lambda config: config.replace(old, new)


BROKEN: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("listen", _replace('listen = ["127.0.0.1:0"]', 'listen = ["a..b:80"]')),
    ("listen", _replace('listen = ["127.0.0.1:0"]', 'listen = ["80"]')),
    ("workers", _replace("workers = 2", "workers = 0")),
    ("workers", _replace("workers = 2", 'workers = "two"')),
    ("wrokers", _insert("wrokers = 2")),
    ("protocol", _replace('"fastcgi"', '"fcgi"')),
    ("addresses", _replace('addresses = ["unix', 'addresses = ["unx')),
    ("timeouts.read", lambda config: config + "\n[timeouts]\nread = " + "9" * 400 + "\n"),
    ("timeouts.read", lambda config: config + "\n[timeouts]\nread = -1\n"),
    ("root", lambda config: config + '\n[[route]]\nprefix = "/s/"\nroot = "/a\\u0000b"\n'),
    ("upstream", lambda config: config + '\n[[route]]\nprefix = "/s/"\nupstream = "none"\n'),
    ("log.level", _replace("[log]\n", '[log]\nlevel = "loud"\n')),
    ("", _replace("[log]", "[log")),  # no TOML: a line, but no field
)
"""Broken configurations: the field that the refusal has to name, and how to break a good one."""


def run(settings: Settings, verdict: Verdict) -> None:
    """Reload under load; each broken configuration is refused by name, each good one is served."""
    count = settings.scaled(_RELOADS, 4)
    path = settings.folder / "gateway.toml"
    unnamed: list[str] = []
    with (
        worker(settings.folder) as back,
        gateway(settings.folder, configuration(back.address, workers=2)) as front,
        Load(front.address) as load,
        Load(front.address, kept=False, rate=20.0) as fresh,
    ):
        good = path.read_text()
        begun = rest(min(1.0, settings.seconds))
        for number in range(count):
            if number % 2:
                path.write_text(f"{good}queue = {100 + number}\n")
                expected = generation(front.address) + 1
                front.signal(signal.SIGHUP)
                wait_for(_reached(front, expected), f"configuration {expected} is served")
            else:
                field, break_it = BROKEN[number // 2 % len(BROKEN)]
                path.write_text(break_it(good))
                unnamed += _refusal(front, field)
        rest(min(1.0, settings.seconds))
        masters = front.wait(0) is None
    verdict.note(f"{count} reloads, {count // 2} of them taken by every process")
    verdict.require(masters, "the gateway runs" if masters else "the gateway ended")
    samples = load.between(begun) + fresh.between(begun)
    require_right(verdict, samples, "requests, on kept and on new connections")
    named = (count + 1) // 2 - len(unnamed)
    verdict.require(
        not unnamed, f"{named} refusals name line and field {' '.join(unnamed)}".strip()
    )


def _reached(front: Program, expected: int) -> Callable[[], bool]:
    return lambda: generation(front.address) >= expected


def _refusal(front: Program, field: str) -> list[str]:
    """Reload a broken configuration; return the refusal if it does not name line and field."""
    before = len(front.said)
    front.signal(signal.SIGHUP)
    wait_for(
        lambda: front.said.endswith("\n") and "refused" in front.said[before:],
        f"a mistake in {field} is refused",
    )
    return [] if _names(front.said[before:], field) else [front.said[before:]]


def _names(said: str, field: str) -> bool:
    found = re.search(r"gateway\.toml:\d+: (.*)", said)
    return found is not None and field in found[1].partition(": ")[0]


TRIAL: Final = Trial(
    "reloads",
    f"{_RELOADS} reloads, a broken configuration and a good one in turn, under load",
    "no failed request; each refusal names line and field",
    run,
)
