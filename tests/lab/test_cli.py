"""The command line of the lab: help, list, claims, and what it says without its extra."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from lab.claims import claims
from lab.cli import SECTIONS, main
from servers.common.registry import SPECS


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments, terminal_width=100)
    assert done.exit_code == 0, done.output
    return done.output


def test_every_command_is_in_one_section_with_its_whole_description() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(main.commands)
    text = shown("--help")
    assert "..." not in text.partition("Options:")[2]
    for title in SECTIONS:
        assert f"{title}:" in text


def test_the_list_says_what_each_architecture_is_in_100_columns() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "lab", "list"], capture_output=True, text=True, check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    assert max(map(len, text.splitlines())) <= 100
    for spec in SPECS.values():
        assert spec.title in text


def test_a_claim_is_explained_with_where_to_see_it() -> None:
    text = shown("explain", "e10")
    assert text.startswith("E10")
    assert "experiments/e10_level_edge.py" in text
    assert "epoll-et" in text


def test_every_id_that_a_spec_names_is_a_claim() -> None:
    for spec in SPECS.values():
        assert set(spec.claims) <= set(claims()), spec.name


def test_an_unknown_name_is_refused_with_both_remedies() -> None:
    done = CliRunner().invoke(main, ["explain", "nonsense"])
    assert done.exit_code == 1
    assert "lab list" in done.output
    assert "E10" in done.output


@pytest.mark.parametrize(
    ("package", "arguments"), [("rich", ""), ("psutil", ""), ("docker", "status --docker")]
)
def test_without_the_extra_it_says_in_one_line_what_to_install(
    package: str, arguments: str
) -> None:
    program = f"import sys; sys.modules[{package!r}] = None\nfrom lab.entry import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"lab needs the package {package}: run pip install 'chainlab[lab]'\n"
