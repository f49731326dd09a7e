"""The report in a real Chromium, offline: charts, console, sorting, colours, a phone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from lab.compare.report import write
from tests.lab.compare.report_pages import many, sample
from tests.lab.compare.report_pages import opened as opened_loop
from tests.support.browser import Opened, needs_chromium, running_chromium

pytestmark = [pytest.mark.long, *needs_chromium]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(sample(), path)
    return path


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    found = Opened(browser, report)
    yield found
    found.context.close()


def test_every_chart_is_drawn_quietly_and_from_the_file_alone(opened: Opened, report: Path) -> None:
    charts = opened.page.locator(".chart")
    assert charts.count() == 9
    assert opened.page.locator(".chart svg").count() == charts.count()
    for chart in charts.all():
        assert chart.locator("svg path").count() > 5
        assert "undefined" not in chart.inner_text()
        assert "NaN" not in chart.inner_text()
    assert opened.said == []
    assert [url for url in opened.asked if not url.startswith("data:")] == [report.as_uri()]


def column(page: Page, at: int) -> list[str]:
    return page.locator(f".sortable tbody tr > :nth-child({at})").all_inner_texts()


def rates_shown(page: Page) -> list[float]:
    """The answers per second, of those who have some."""
    return [float(text.replace(",", "")) for text in column(page, 7) if text != "–"]


def test_the_table_sorts_by_click_and_by_key(opened: Opened) -> None:
    page = opened.page
    rates = page.locator(".sortable thead th").filter(has_text="answers/s")
    rates.locator("button").click()
    rising = rates_shown(page)
    assert rising == sorted(rising)
    assert rising[0] < rising[-1]
    assert rates.get_attribute("aria-sort") == "ascending"
    rates.locator("button").press("Enter")
    assert rates_shown(page) == sorted(rising)[::-1]
    assert rates.get_attribute("aria-sort") == "descending"
    names = page.locator(".sortable thead th").first
    names.locator("button").focus()
    page.keyboard.press("Space")
    assert column(page, 1) == sorted(column(page, 1))
    assert rates.get_attribute("aria-sort") == "none"


def test_what_was_not_measured_is_sorted_last(browser: Browser, tmp_path: Path) -> None:
    base = sample()
    lost = [
        replace(cell, rounds=[], summary=None, histogram="", verdict="unavailable")
        if cell.architecture == "thread"
        else cell
        for cell in base.cells
    ]
    path = tmp_path / "lost.html"
    write(replace(base, cells=lost), path)
    opened = Opened(browser, path)
    rates = opened.page.locator(".sortable thead th").filter(has_text="answers/s")
    count = sum(cell.summary is None for cell in lost)
    for _ in ("rising", "falling"):
        rates.locator("button").click()
        shown = column(opened.page, 7)
        assert shown[-count:] == ["–"] * count
        assert "–" not in shown[:-count]
    assert opened.said == []
    opened.context.close()


def test_a_view_is_chosen_and_drawn(opened: Opened) -> None:
    figure = opened.page.locator("figure#latency-hello-closed-0")
    before = figure.locator(".chart").inner_html()
    figure.locator("select").select_option(label="max")
    opened.page.wait_for_function(
        "before => document.querySelector('#latency-hello-closed-0 .chart').innerHTML !== before",
        arg=before,
    )
    assert figure.locator(".chart svg").count() == 1
    assert opened.said == []


def test_a_ninth_colour_takes_the_place_of_the_first(opened: Opened) -> None:
    page = opened.page
    checked = page.locator(".picker input:checked")
    grey = page.locator(".picker input:not(:checked)").first
    name = grey.get_attribute("value") or "none"
    assert checked.count() == 8
    page.locator(f".picker input[value={name}]").check()
    page.wait_for_function(
        "name => document.getElementById('picked').textContent.includes(name)", arg=name
    )
    assert checked.count() == 8
    assert name in page.locator("#throughput-hello-closed-0 .keys").inner_text()


def test_a_figure_that_is_not_valid_is_a_cross(opened: Opened) -> None:
    shown = [each for each in sample().cells if each.route == "hello" and each.summary]
    broken = [each for each in shown if each.verdict != "valid"]
    crosses = opened.page.locator("#throughput-hello-closed-0 svg text", has_text="✕")
    assert crosses.count() == len(broken) > 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, report: Path, width: int, dark: bool
) -> None:
    opened = Opened(browser, report, width, dark)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    widest = "Math.max(...[...document.querySelectorAll('.chart svg')].map(e => e.clientWidth))"
    assert opened.page.evaluate(widest) <= width
    back = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = opened.page.evaluate(
        "getComputedStyle(document.querySelector('.chart svg .role-axis-label text')).fill"
    )
    assert (back, ink) == (
        ("rgb(20, 22, 26)", "rgb(165, 173, 187)")
        if dark
        else ("rgb(255, 255, 255)", "rgb(86, 93, 107)")
    )
    assert opened.said == []
    opened.context.close()


def test_a_result_in_which_nothing_is_valid_is_drawn(browser: Browser, tmp_path: Path) -> None:
    base = sample()
    cells = [replace(cell, verdict="noisy") for cell in base.cells if cell.summary]
    path = tmp_path / "noisy.html"
    write(replace(base, cells=cells, standings=[], crossings=[]), path)
    opened = Opened(browser, path)
    assert opened.page.locator(".chart svg").count() == 9
    assert opened.said == []
    opened.context.close()


def test_an_open_loop_is_drawn(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "open.html"
    write(opened_loop(), path)
    opened = Opened(browser, path)
    page = opened.page
    charts = page.locator("figure:has(.chart)")
    assert page.locator(".chart svg").count() == charts.count() == 6
    for key, across in [
        ("throughput-hello-open-8", "intended requests per second"),
        ("latency-hello-open-8", "intended requests per second"),
        ("latency-hello-share-8", "% of its own peak"),
    ]:
        drawing = page.locator(f"figure#{key} .chart")
        assert across in drawing.inner_text()
        assert drawing.locator(".mark-line path").count() > 0
        assert "NaN" not in drawing.inner_text()
    told = page.locator("#latency-hello-share-8 table").text_content() or ""
    assert "50 % of its own peak" in told
    assert opened.said == []
    opened.context.close()


def test_thirty_six_architectures_are_drawn_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "many.html"
    write(many(4, ["hello", "json", "wait", "cpu"]), path)
    opened = Opened(browser, path, 360)
    assert opened.page.locator(".chart svg").count() == 13
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 360
    assert opened.said == []
    opened.context.close()
