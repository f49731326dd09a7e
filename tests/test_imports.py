"""The import arrows of the house, read from the source, down to files.

`chainlab.wire` imports the standard library only, and nothing of it that does I/O; `servers.app`
imports nothing of ours. `gateway`, `fcgi_worker` and `servers` import `chainlab`, never each other.
`loadtest` and `experiments` drive the others from outside. `lab` may import all; nobody imports
`lab`. No two files import each other, not even for type checkers.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"chainlab", "gateway", "fcgi_worker", "servers", "loadtest", "experiments", "lab"}
WIRE = "chainlab.wire"
MAY_IMPORT: dict[str, set[str]] = {
    "chainlab/wire": {WIRE},
    "chainlab/transport": {WIRE, "chainlab.transport"},
    "chainlab/pages": {"chainlab.pages"},
    "chainlab/otlp": {"chainlab.otlp"},
    "servers/app": {"servers.app"},
    "servers": {WIRE, "chainlab.transport", "servers"},
    "gateway": {WIRE, "chainlab.transport", "gateway"},
    "fcgi_worker": {WIRE, "chainlab.transport", "fcgi_worker"},
    "loadtest": {"loadtest", "chainlab.pages"},
    "experiments": {"experiments", "loadtest", "chainlab.pages"},
    "lab": ROOMS,
}
"""By folder: the packages of ours that its files may import. The longest folder holds."""

INPUT_OUTPUT = {
    "asyncio", "http", "io", "os", "pathlib", "select", "selectors", "signal", "socket",
    "socketserver", "subprocess", "threading", "time",
}  # fmt: skip


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sources()}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, those for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield name if name in MODULES else module


def folder_of(path: Path) -> str:
    inside = [room for room in MAY_IMPORT if (ROOT / room) in path.parents]
    return max(inside, key=len, default="")


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    files = [path for path in sources() if folder_of(path) == room]
    assert files
    for path in files:
        for name in imports(path):
            if name.partition(".")[0] in ROOMS:
                allowed = MAY_IMPORT[room]
                assert any(name == ours or name.startswith(f"{ours}.") for ours in allowed), (
                    f"{path} imports {name}"
                )


def test_every_room_has_its_arrows() -> None:
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert there == ROOMS, "a new room needs a line in MAY_IMPORT"
    for path in sources():
        assert folder_of(path) or path.parent == ROOT / "chainlab", f"{path} is in no room"


def circles() -> Iterator[frozenset[str]]:
    """Yield each group of files that import each other."""
    graph = {
        name: {other for other in imports(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
    }
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            start = error.args[1][0]
        else:
            return
        group = frozenset(reachable(graph, start) & reachable(reverse(graph), start))
        yield group
        graph = {name: found - group for name, found in graph.items() if name not in group}


def reverse(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    turned: dict[str, set[str]] = {name: set() for name in graph}
    for name, found in graph.items():
        for other in found:
            turned.setdefault(other, set()).add(name)
    return turned


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, left = {start}, [start]
    while left:
        new = graph.get(left.pop(), set()) - seen
        seen |= new
        left += new
    return seen


def test_no_two_files_import_each_other() -> None:
    assert not list(circles())


def test_wire_does_no_input_or_output() -> None:
    files = sorted((ROOT / "chainlab" / "wire").rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            top = name.partition(".")[0]
            assert name.startswith(WIRE) or top in sys.stdlib_module_names, f"{path} imports {name}"
            assert top not in INPUT_OUTPUT or name == "http", f"{path} imports {name}"
        assert "open(" not in path.read_text(), f"{path} opens a file"
