"""The report's sentences and what is on the page; a browser opens it in test_report_browser.py."""

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from chainlab.pages.formatting import number
from lab.compare import report
from lab.compare.report import LIMIT, TooLarge, render
from lab.compare.report.bars import stacked
from lab.compare.report.evidence import manifest
from lab.compare.report.formatting import with_names
from lab.compare.report.headline import stories, subtitle, title, warnings
from lab.compare.report.selection import legend
from lab.compare.result import Cell, Interval, Metric, Place, Result, Standing, from_json
from loadtest.manifest import REACHED
from tests.lab.compare.report_pages import PACKED, many, opened, sample, unpacked
from tests.lab.compare.sample import SAMPLE

FIGURES = {"a": (900.0, 1000.0, 1100.0), "b": (850.0, 950.0, 1050.0), "c": (480.0, 500.0, 520.0)}


def made(
    groups: Mapping[int, list[list[str]]],
    unplaced: Mapping[str, str] | None = None,
    metric: Metric = "throughput",
) -> Result:
    """A result on /hello: tie groups by connections; a, b and c have the FIGURES."""
    base = sample()
    cell = next(each for each in base.cells if each.verdict == "valid")
    assert cell.summary
    cells: list[Cell] = []
    for connections in groups:
        for name, (low, middle, high) in FIGURES.items():
            interval = Interval(middle, low, high)
            summary = replace(cell.summary, throughput=interval, cpu_us=interval, p99_ms=interval)
            where = replace(cell, architecture=name, route="hello", connections=connections)
            cells.append(replace(where, summary=summary))
    return replace(
        base,
        architectures=[replace(base.architectures[0], name=name) for name in FIGURES],
        cells=cells,
        crossings=[],
        standings=[
            standing("hello", at, places, unplaced, metric) for at, places in groups.items()
        ],
    )


def standing(
    route: str,
    connections: int,
    groups: list[list[str]],
    unplaced: Mapping[str, str] | None = None,
    metric: Metric = "throughput",
) -> Standing:
    places, taken = [], 1
    for names in groups:
        places.append(Place(taken, names))
        taken += len(names)
    return Standing(route, connections, None, None, metric, places, dict(unplaced or {}))


def told(result: Result) -> list[str]:
    return [
        sentence.replace("\u00a0", " ")
        for story in stories(result)
        for topic in story.topics
        for sentence in topic.sentences
    ]


def test_a_leader_is_named_with_its_figures_and_who_follows() -> None:
    (sentence,) = told(made({8: [["a"], ["b"], ["c"]]}))
    assert sentence == (
        "At 8 connections, a leads in throughput (1,000 answers/s, 95 % interval 900–1,100); "
        "b follows, 5 % behind."
    )


def test_leaders_that_share_a_place_are_inside_the_noise() -> None:
    (sentence,) = told(made({1: [["a", "b"], ["c"]]}))
    assert sentence == (
        "At 1 connection, a and b share the lead in throughput (850–1,100 answers/s), within the "
        "noise; c follows, 47 % behind."
    )


def test_nobody_leads_where_all_are_inside_the_noise() -> None:
    (sentence,) = told(made({8: [["a", "b", "c"]]}))
    assert sentence == (
        "At 8 connections, a, b and c cannot be told apart in throughput (480–1,100 answers/s)."
    )


def test_neighbouring_connections_with_the_same_leaders_make_one_sentence() -> None:
    groups = [["a"], ["b"], ["c"]]
    first, second = told(made({1: groups, 8: groups, 64: [["b"], ["a", "c"]]}))
    assert first.startswith("At 1 and 8 connections, a leads in throughput (1,000 answers/s at 8,")
    assert first.endswith("; at 8 b follows, 5 % behind.")
    assert second.startswith("At 64 connections, b leads")
    assert "a and c follow together" in second


@pytest.mark.parametrize(
    ("metric", "leads", "behind"),
    [
        (
            "cpu",
            "costs the least CPU per request (500 µs, 95 % interval 480–520)",
            "more expensive",
        ),
        ("p99", "has the lowest p99 latency (500 ms, 95 % interval 480–520)", "slower"),
    ],
)
def test_less_is_better_for_costs(metric: Metric, leads: str, behind: str) -> None:
    sentence = f"At 8 connections, c {leads}; b follows, 90 % {behind}."
    assert told(made({8: [["c"], ["b"], ["a"]]}, metric=metric)) == [sentence]


def test_many_times_the_cost_is_said_as_times() -> None:
    (sentence,) = told(made({8: [["c"], ["a"]]}, metric="cpu"))
    assert sentence.endswith("a follows, at 2 times the cost.")


def test_who_was_bound_by_the_generator_is_named_beside_the_leader() -> None:
    (sentence,) = told(made({8: [["b"], ["c"]]}, {"a": "generator-bound", "x": "noisy"}))
    assert sentence.endswith("Not ranked: a is generator-bound and may be faster than shown.")


def test_a_leaders_verdict_stands_beside_its_figure() -> None:
    base = made({8: [["c"], ["b"]]}, metric="cpu")
    cells = [replace(cell, verdict="generator-bound") for cell in base.cells]
    (sentence,) = told(replace(base, cells=cells))
    assert "(500 µs, 95 % interval 480–520, generator-bound)" in sentence


def test_who_was_not_measured_has_no_colour() -> None:
    names = [entry.name for members in legend(sample()).values() for entry in members]
    assert "sigio" not in names
    assert "asyncio" in names


def test_no_place_is_told_with_its_verdict() -> None:
    many = {f"n{number}": "noisy" for number in range(8)}
    (sentence,) = told(made({8: []}, {"a": "unavailable", "b": "wrong-answers", **many}))
    assert sentence == (
        "At 8 connections, no architecture has a place by throughput: a was not measured; "
        "b gave wrong answers; n0, n1, n2, n3, n4 and 3 more are noisy."
    )


def test_pairs_that_turn_round_are_counted_and_ties_are_not() -> None:
    base = made({8: [["a"], ["b", "c"]]})
    there = [replace(cell, route="wait") for cell in base.cells]
    standings = [*base.standings, standing("wait", 8, [["c"], ["a"], ["b"]])]
    turned = replace(base, cells=[*base.cells, *there], standings=standings)
    assert (
        "On wait, at 8 connections, 1 of 2 pairs that can be told apart has a different order than "
        "on hello: for example, a is ahead of c there and behind it here." in told(turned)
    )


def test_a_reader_is_warned() -> None:
    base = sample()
    measured = [cell for cell in base.cells if cell.verdict != "unavailable"]
    invalid = [cell for cell in measured if cell.verdict != "valid"]
    broke = f"{len(invalid)} of {len(measured)} measurements broke a rule (errors, "
    assert any(text.startswith(broke) for text in warnings(base))
    assert "Not measured: sigio. The verdicts below say why." in warnings(base)
    broken_off = replace(base, manifest=replace(base.manifest, complete=False))
    assert any(text.startswith("Interrupted") for text in warnings(broken_off))
    assert title(base) == "9 server architectures on hello and wait"


def test_servers_in_containers_are_said() -> None:
    base = sample()
    images = {"chainlab/servers:latest": "sha256:0123"}
    about = replace(base.manifest, reached="container-address", images=images)
    inside = replace(base, manifest=about)
    assert ", servers in containers; " in subtitle(inside)
    assert ("images", "chainlab/servers:latest sha256:0123") in manifest(inside)
    assert ("servers reached by", REACHED["container-address"]) in manifest(inside)
    assert "containers" not in subtitle(base)
    assert ("servers reached by", "loopback") in manifest(base)


def test_each_familys_best_has_a_colour() -> None:
    families = legend(many(4, ["hello"]))
    slots = sorted(e.slot for members in families.values() for e in members if e.slot >= 0)
    assert slots == list(range(8))
    assert all(members[0].slot >= 0 for members in families.values())


@pytest.mark.parametrize(
    ("value", "text"),
    [(75123.4, "75,100"), (999.96, "1,000"), (3.14159, "3.14"), (0.0421, "0.0421"), (0, "0"),
     (None, "–"), (0.00001234, "<0.001"), (999.4, "999"), (1234567, "1,230,000")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_names_are_bold_and_the_rest_is_escaped() -> None:
    text = with_names("epoll-lt < epoll, not poll", ["epoll", "epoll-lt"])
    assert text == "<b>epoll-lt</b> &lt; <b>epoll</b>, not poll"
    assert with_names("a & b", []) == "a &amp; b"


def test_a_bar_that_is_not_valid_says_so() -> None:
    bars = [("a", "user", 2.0, "valid"), ("b", "user", 1.0, "noisy"), ("b", "kernel", 3.0, "noisy")]
    ends = stacked(bars, {"user": "x", "kernel": "y"}, "µs")["layer"][1]["data"]["values"]
    assert [(end["r"], end["end"]) for end in ends] == [("a", "2"), ("b", "4 ≈ noisy")]


class Page(HTMLParser):
    """What the page would load, and the rows of its sortable table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.rows: list[list[str]] = []
        self.sortable = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                self.loads.append(value or "")
        if tag == "table":
            self.sortable = ("class", "sortable") in attrs
        if tag == "tr" and self.sortable:
            self.rows.append([])

    def handle_data(self, data: str) -> None:
        if self.sortable and self.rows and data.strip():
            self.rows[-1].append(data.strip())


@pytest.fixture(scope="module")
def page() -> str:
    return render(sample())


def test_the_page_loads_nothing(page: str) -> None:
    loads = [target for target in Page(page).loads if not target.startswith("#")]
    assert loads == ["data:,"], "the icon, which is empty"
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"@import|url\(", style)


def test_every_cell_is_there_with_its_verdict(page: str) -> None:
    rows = Page(page).rows[1:]
    result = sample()
    assert len(rows) == len(result.cells)
    shown = {(row[0], row[2], row[3], row[1].split()[1]) for row in rows}
    assert shown == {
        (cell.architecture, cell.route, str(cell.connections), cell.verdict)
        for cell in result.cells
    }


def test_what_broke_a_rule_is_there_with_its_evidence(page: str) -> None:
    text = page.replace("&#39;", "'").replace("&#34;", '"')
    for cell in sample().cells:
        for check in cell.checks:
            assert check.holds or check.evidence in text
    assert "this kernel has no SIGIO: made up" in text


def test_sections_stand_in_the_order_of_the_issue(page: str) -> None:
    order = ["headline", "load", "distributions", "cost", "system-calls", "memory", "turning",
             "verdicts", "manifest", "all"]  # fmt: skip
    assert re.findall(r'<section id="([\w-]+)"', page) == order
    charts = page.count('<div class="chart"')
    assert charts == page.count("<summary>as a table</summary>") == len(PACKED.findall(page))


def test_what_was_not_measured_says_why() -> None:
    base = sample()
    bare = replace(
        base,
        architectures=[
            replace(each, idle_bytes={}, idle_missing="nobody looked")
            for each in base.architectures
        ],
        cells=[
            replace(cell, histogram="", system_calls={}, calls_missing="no perf")
            for cell in base.cells
            if cell.route == "hello"
        ],
        standings=[],
        crossings=[],
    )
    text = render(bare)
    assert "Not measured: no perf." in text
    assert "Not measured: nobody looked." in text
    absent = ("no idle conn", "no system calls were counted", "keeps histograms", "requested only")
    for why in absent:
        assert re.search(f"Not measured here: [^<]*{why}", text), why


def test_what_one_cell_lacks_is_told_beside_those_that_have_it() -> None:
    base = sample()
    first, *others = base.cells
    lost = replace(first, system_calls={}, calls_missing="perf <fell> over")
    text = render(replace(base, cells=[lost, *others]))
    assert f"Not measured for <b>{first.architecture}</b>: perf &lt;fell&gt; over." in text
    assert "<td>perf &lt;fell&gt; over</td>" in text


def test_a_result_without_a_cell_is_a_page_all_the_same() -> None:
    text = render(replace(sample(), cells=[], standings=[], crossings=[]))
    assert "no round was completed" in text


def test_a_cell_without_a_round_has_its_verdict_and_no_figure() -> None:
    base = sample()
    lost = replace(base.cells[0], rounds=[], summary=None, histogram="", verdict="unavailable")
    rows = Page(render(replace(base, cells=[lost, *base.cells[1:8]]))).rows[1:]
    (row,) = [row for row in rows if row[1] == "– unavailable"]
    assert row[0] == lost.architecture
    assert row[6:] == ["–"] * 10


def test_an_open_loop_is_drawn_against_its_rates() -> None:
    base = sample()
    cell = next(each for each in base.cells if each.verdict == "valid")
    cells = [replace(cell, mode="open", rate=rate) for rate in (1000.0, 2000.0)]
    text = unpacked(render(replace(base, cells=cells, standings=[], crossings=[])))
    assert "intended requests per second" in text
    assert "From the intended time to the end of the answer, on a" in text


def test_shares_of_each_ones_own_peak_have_a_figure_and_sentences_of_their_own() -> None:
    result = opened()
    assert {each.metric for each in result.standings if each.of_peak} >= {"p99"}
    text = render(result)
    assert "Latency against load on hello, open loop, 8 connections" in text
    for at in (50, 75, 90):
        assert f"<th>{at} % of its own peak</th>" in re.sub(r"<th[^>]*>", "<th>", text)
    said = " ".join(told(result))
    assert "At 8 connections and 1,000/s intended, " in said
    assert "At 8 connections, each at 90 % of its own peak, " in said


def test_names_from_a_file_are_not_markup() -> None:
    text = SAMPLE.read_text().replace('"asyncio"', '"<script>x"')
    page = render(from_json(text))
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page


def test_thirty_six_architectures_on_four_routes_fit() -> None:
    result = many(4, ["hello", "json", "wait", "cpu"])
    assert len(result.cells) == 640
    assert len(render(result).encode()) <= LIMIT * 2 / 3, "and half as many again"


def test_a_page_above_the_limit_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "LIMIT", 300_000)
    file = tmp_path / "report.html"
    with pytest.raises(TooLarge, match=r"of 80 figures .* the limit is 0\.3 MB: compare fewer"):
        report.write(sample(), file)
    assert not file.exists()
