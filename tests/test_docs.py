"""The documentation names only files, methods and commands that exist."""

import ast
import re
from pathlib import Path

import pytest

from lab.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def methods() -> set[str]:
    """Return Class.method for every method of gateway, worker, libraries and application."""
    found = set()
    for room in ("gateway", "fcgi_worker", "chainlab", "servers/app"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    names = (each.name for each in node.body if isinstance(each, ast.FunctionDef))
                    found |= {f"{node.name}.{name}" for name in names}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = [page.parent / link for link in re.findall(r"\]\(([^):]+)\)", text)]
    paths = [
        ROOT / path
        for path in re.findall(r"`([\w.-]+/[\w./-]*)`", text)
        if path.partition("/")[0] in FOLDERS and "FAMILY" not in path
    ]
    assert [str(path) for path in [*links, *paths] if not path.exists()] == []


def test_every_method_on_the_path_of_a_request_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([A-Z]\w+\.\w+)`", text))
    assert named
    assert named - methods() == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_lab_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"^(?:\.venv/bin/)?lab ([a-z]+)", text, re.MULTILINE))
    named |= set(re.findall(r"`(?:\.venv/bin/)?lab ([a-z]+)", text))
    assert named - set(main.commands) == set()
