"""The page of `lab trace --html` in a real Chromium, offline: rows, pointing, filters, zoom."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lab.trace.agents import capture
from tests.support.lab import Lab

CHROMIUM = shutil.which("chromium")
REFUSED = capture.refusal()

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: run sudo apt install chromium"),
    pytest.mark.skipif(REFUSED is not None, reason=REFUSED[0] if REFUSED else ""),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trace")
    with Lab(folder / "run") as lab:
        page = str(folder / "page.html")
        lab.good("trace", "--compare", "epoll-lt", "thread", "--html", page, seconds=250)
    return folder / "page.html"


@pytest.fixture(params=[(1400, False), (390, True)], ids=["light", "dark phone"])
def page(browser: Browser, written: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, dark = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light",
        offline=True,
    )  # fmt: skip
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(written.as_uri())
    opened.wait_for_selector("html[data-drawn]")
    yield opened
    assert said == []
    assert asked == [written.as_uri()]
    context.close()


def test_the_ladders_are_there_and_the_page_is_no_wider_than_the_screen(page: Page) -> None:
    assert page.locator(".ladder").count() == 2
    for at in range(2):
        ladder = page.locator(".ladder").nth(at)
        for text in ("SYN", "GET /hello HTTP/1.1", "TIME_WAIT", "sendto"):
            assert ladder.locator(".row", has_text=text).count() > 0, text
        assert ladder.locator(".copying").count() > 0
        assert ladder.locator(".waiting").count() > 0
        assert page.locator(".timeline").nth(at).locator(".sleeps").count() > 0
    width = page.viewport_size["width"] if page.viewport_size else 0
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.get_by_role("heading", name="What differs").count() == 1


def test_one_row_is_pointed_at_at_a_time(page: Page) -> None:
    trace = page.locator(".trace").first
    asked = trace.locator(".row.message", has_text="GET /hello")
    asked.hover()
    assert trace.locator(".row.pointed").count() == 1
    assert "chainlab-trace" in trace.locator(".details").inner_text()
    answer = trace.locator(".row.packet", has_text="SYN ACK")
    answer.hover()
    assert trace.locator(".row.pointed").count() == 1
    assert "acknowledges" in trace.locator(".details").inner_text()
    assert trace.locator(".timeline .now").count() == 1
    before = trace.locator(".row.pointed").get_attribute("data-number")
    trace.locator(".ladder").focus()
    page.keyboard.press("ArrowDown")
    after = trace.locator(".row.pointed").get_attribute("data-number")
    assert int(after or 0) == int(before or 0) + 1


def test_a_read_has_two_phases(page: Page) -> None:
    trace = page.locator(".trace").first
    trace.locator(".row.call", has_text="recvfrom").first.hover()
    told = trace.locator(".details").inner_text()
    assert "first phase, waiting for data" in told
    assert "second phase, copying it" in told


def test_kinds_are_filtered_and_the_picture_zooms(page: Page) -> None:
    ladder = page.locator(".ladder").first
    states = ladder.locator(".row.state")
    assert states.count() > 0
    page.get_by_label("socket states").uncheck()
    assert states.count() == 0
    width = float(ladder.get_attribute("width") or 0)
    page.get_by_label("larger").click()
    assert float(ladder.get_attribute("width") or 0) == pytest.approx(1.25 * width)
    timeline = page.locator(".timeline").first
    ticks = timeline.locator(".tick").all_text_contents()
    page.get_by_role("button", name="zoom in").first.click()
    assert timeline.locator(".tick").all_text_contents() != ticks
    page.get_by_role("button", name="show all").first.click()
    assert timeline.locator(".tick").all_text_contents() == ticks
