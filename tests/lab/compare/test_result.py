"""The result file: what is written is read again; what does not fit is refused by its name."""

import json
from typing import Any, get_args

import pytest

from lab.compare.result import Reached, from_json, to_json
from loadtest.manifest import REACHED
from tests.lab.compare.sample import SAMPLE


def sample() -> Any:
    return json.loads(SAMPLE.read_text())


def test_the_sample_is_read_and_written_as_it_was() -> None:
    text = SAMPLE.read_text()
    result = from_json(text)
    assert to_json(result) == text
    assert {cell.verdict for cell in result.cells} == {
        "valid", "noisy", "errors", "wrong-answers", "generator-bound", "unavailable",
    }  # fmt: skip
    assert "made up" in result.manifest.command


def test_what_the_sample_does_not_have_has_its_reason() -> None:
    result = from_json(SAMPLE.read_text())
    for cell in result.cells:
        assert bool(cell.system_calls) != bool(cell.calls_missing)
    for each in result.architectures:
        assert bool(each.idle_bytes) != bool(each.idle_missing)
    (absent,) = [each for each in result.architectures if each.unavailable]
    cells = [cell for cell in result.cells if cell.architecture == absent.name]
    assert {cell.verdict for cell in cells} == {"unavailable"}
    assert all(cell.notes == [absent.unavailable] for cell in cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(schema=2), "schema: 2 is not 1"),
        (lambda v: v.pop("schema"), "schema: None is not 1"),
        (lambda v: v["manifest"].pop("kernel"), "manifest.kernel: missing (schema 1)"),
        (lambda v: v.update(more=1), "more: unknown (schema 1)"),
        (lambda v: v["cells"][2].update(connections="8"),
         "cells[2].connections: expected a whole number, found '8'"),
        (lambda v: v["cells"][0]["rounds"][1].update(rate=True),
         "cells[0].rounds[1].rate: expected a number, found True"),
        (lambda v: v["cells"][0].update(verdict="best"), "cells[0].verdict: expected one of valid"),
        (lambda v: v["cells"][0]["rounds"][0]["cost"].update(back=[]),
         "cells[0].rounds[0].cost.back: expected an object"),
        (lambda v: v.update(cells={}), "cells: expected a list"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(change: Any, message: str) -> None:
    values = sample()
    change(values)
    with pytest.raises(ValueError, match="schema") as error:
        from_json(json.dumps(values))
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '"1"'])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no JSON|schema: None"):
        from_json(text)


def test_a_field_with_a_default_may_lack() -> None:
    values = sample()
    for cell in values["cells"]:
        del cell["calls_missing"]
        for each in cell["rounds"]:
            del each["settled"]
            for cost in each["cost"].values():
                del cost["switches"]
    cell = from_json(json.dumps(values)).cells[0]
    assert cell.calls_missing == ""
    assert cell.rounds[0].settled
    assert cell.rounds[0].cost["back"].switches is None


def test_every_way_to_the_servers_has_its_words() -> None:
    assert set(REACHED) == set(get_args(Reached))
