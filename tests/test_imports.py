"""The import arrows of the house: who may import whom, read from the source.

`wire` imports the standard library only, and of that nothing that does I/O; `servers.app` nothing
of ours. `gateway`, `fcgi_worker` and `servers` build on `wire` and `transport`, never on each
other. `otlp` knows the others by their logs. `loadtest` and `experiments` drive the others from
outside. `pages` is what their HTML pages share. `lab` may import all; nobody imports `lab`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "wire", "transport", "gateway", "fcgi_worker", "otlp", "servers", "pages", "loadtest",
    "experiments", "lab",
}  # fmt: skip
MAY_IMPORT = {
    "wire": {"wire"},
    "transport": {"transport"},
    "servers/app": {"servers"},
    "servers": {"wire", "transport", "servers"},
    "gateway": {"wire", "transport", "gateway"},
    "fcgi_worker": {"wire", "transport", "fcgi_worker"},
    "otlp": {"otlp"},
    "pages": {"pages"},
    "loadtest": {"loadtest", "pages"},
    "experiments": {"experiments", "loadtest", "pages"},
    "lab": ROOMS,
}
INPUT_OUTPUT = {
    "asyncio", "http", "io", "os", "pathlib", "select", "selectors", "signal", "socket",
    "socketserver", "subprocess", "threading", "time",
}  # fmt: skip


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str) -> None:
    for path in sources(room):
        if room == "servers" and "app" in path.relative_to(ROOT).parts:
            continue
        for name in imports(path):
            top = name.partition(".")[0]
            assert top not in ROOMS or top in MAY_IMPORT[room], f"{path} imports {name}"
            if room == "servers/app" and top in ROOMS:
                assert name.startswith("servers.app"), f"{path} imports {name}"


def test_every_room_has_its_arrows() -> None:
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert there <= set(MAY_IMPORT), "a new room needs a line in MAY_IMPORT"


def test_wire_does_no_input_or_output() -> None:
    assert sources("wire")
    for path in sources("wire"):
        for name in imports(path):
            top = name.partition(".")[0]
            assert top == "wire" or top in sys.stdlib_module_names, f"{path} imports {name}"
            assert top not in INPUT_OUTPUT or name == "http", f"{path} imports {name}"
        assert "open(" not in path.read_text(), f"{path} opens a file"
