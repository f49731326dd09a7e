"""The book: what is in the page, and the page in a real Chromium, offline."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from experiments import book
from experiments.catalogue import MODULES, find
from experiments.frame import NOT_MEASURED, NotHere
from experiments.outcome import failure, not_here
from experiments.record import Entry, Record
from tests.experiments.sample import sample
from tests.support.browser import Opened, needs_chromium, running_chromium


def test_the_sample_has_every_experiment_and_judges_as_it_did() -> None:
    assert [each.experiment.key for each in sample().entries] == [
        claims[0] for claims in MODULES.values()
    ]
    for entry in sample().entries:
        assert entry.experiment.judge(entry.outcome.numbers) == entry.outcome.findings


def test_figures_have_keys_of_their_own_and_tables() -> None:
    charts = [
        (entry.experiment.key.lower(), chart)
        for entry in sample().entries
        for chart in entry.experiment.figures(entry.outcome.numbers)
    ]
    assert len({chart.key for _, chart in charts}) == len(charts) > 10
    for key, chart in charts:
        assert chart.key.startswith(f"{key}-")
        assert chart.title
        assert chart.text
        assert chart.table.rows
        assert {len(row) for row in chart.table.rows} == {len(chart.table.head)}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the JavaScript that draws: to take it out of its package costs seconds."""
    monkeypatch.setattr("chainlab.pages._vega", lambda: "")


@pytest.mark.usefixtures("undrawn")
def test_it_holds_verdicts_commands_and_sources() -> None:
    text = book.render(sample())
    for entry in sample().entries:
        assert f'id="{entry.experiment.key.lower()}"' in text
        assert entry.command in text
        assert entry.experiment.source in text
    assert "def _two_processes(folder: Path)" in text
    assert text.count('class="finding refuted"') == sample().count("refuted") > 0


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_measured_says_why() -> None:
    lack = NotHere("no <such> thing here", "get one")
    entries = [
        Entry(find("K1"), not_here(find("K1"), 0.1, lack)),
        Entry(find("M0"), failure(find("M0"), 0.1, "it broke")),
    ]
    record = replace(sample(), entries=entries)
    text = book.render(record)
    assert record.count(NOT_MEASURED) == 3
    assert "no &lt;such&gt; thing here; get one" in text
    assert text.count("it broke") == 2
    assert "<figure" not in text


def test_the_json_says_what_was_run_and_found() -> None:
    found = json.loads(sample().to_json())
    first = found["experiments"][0]
    assert found["machine"]["kernel"]
    assert first["command"] == "lab experiment k1"
    assert (Path(__file__).parents[2] / first["source"]).is_file()
    assert first["findings"][0]["verdict"] == "confirmed"


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_nothing_outside_a_repository_is_a_page() -> None:
    machine = {name: text for name, text in sample().machine.items() if name != "commit"}
    text = book.render(Record(sample().started, machine, []))
    assert "The notes, measured" in text
    assert "at commit" not in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.html"
    book.write(sample(), path)
    return path


class TestInChromium:
    """The page as a reader has it."""

    pytestmark = needs_chromium

    def test_figures_are_drawn_quietly_and_from_the_file_alone(
        self, browser: Browser, page: Path
    ) -> None:
        opened = Opened(browser, page)
        charts = opened.page.locator(".chart")
        figures = sum(
            len(entry.experiment.figures(entry.outcome.numbers)) for entry in sample().entries
        )
        assert charts.count() == figures
        for chart in charts.all():
            assert chart.locator("svg path").count() > 3
            assert "undefined" not in chart.inner_text()
            assert "NaN" not in chart.inner_text()
        assert opened.said == []
        assert [url for url in opened.asked if not url.startswith("data:")] == [page.as_uri()]
        opened.context.close()

    def test_the_whole_read_is_a_view_to_choose(self, browser: Browser, page: Path) -> None:
        opened = Opened(browser, page)
        figure = opened.page.locator("figure#m0-phases")
        before = figure.locator(".chart").inner_html()
        figure.locator("select").select_option(label="the whole read")
        opened.page.wait_for_function(
            "before => document.querySelector('#m0-phases .chart').innerHTML !== before",
            arg=before,
        )
        assert "ms after the datagram arrived" in figure.locator(".chart").inner_text()
        assert opened.said == []
        opened.context.close()

    @pytest.mark.parametrize("dark", [False, True])
    @pytest.mark.parametrize("width", [360, 1280])
    def test_nothing_is_wider_than_the_screen(
        self, browser: Browser, page: Path, width: int, dark: bool
    ) -> None:
        opened = Opened(browser, page, width, dark)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        widest = "Math.max(...[...document.querySelectorAll('.chart svg')].map(e => e.clientWidth))"
        assert opened.page.evaluate(widest) <= width
        back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == ("rgb(20, 22, 26)" if dark else "rgb(255, 255, 255)")
        assert opened.said == []
        opened.context.close()
