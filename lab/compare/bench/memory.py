"""Checks that many requests do not grow the memory of gateway and worker once they are warm."""

from typing import Final

from rich.console import Console

from lab.chain.processes import resident_bytes
from lab.chain.rundir import Part
from lab.compare.bench.measuring import Bench, load, repeat_until, side

SOAK: Final = 100_000  # requests between the two readings
GROWTH: Final = 1 << 20  # bytes allowed


def run(console: Console, bench: Bench, _seconds: float, _rounds: int) -> bool:
    """Measure and print; return whether neither grew."""
    with console.status(f"memory over {SOAK:,} requests"):
        worker = bench.back("fcgi-worker", 4)
        gateway = bench.front("gateway", worker, 4)
        grown = measure(side(gateway).url, {"gateway": gateway, "worker": worker})
    for name, size in grown.items():
        verdict = "flat" if size <= GROWTH else "[red]grows[/]"
        console.print(f"{name}: {size / 1024:+.0f} KiB over {SOAK:,} requests: {verdict}")
    return max(grown.values()) <= GROWTH


def measure(url: str, parts: dict[str, Part]) -> dict[str, int]:
    """Return by how many bytes each part's resident memory grew over SOAK requests."""
    repeat_until(SOAK // 5, lambda: load(url, 32, 1))
    before = {name: resident_bytes(part) for name, part in parts.items()}
    repeat_until(SOAK, lambda: load(url, 32, 1))
    return {name: resident_bytes(part) - before[name] for name, part in parts.items()}
