"""Whether standings repeat: ties contradict nothing, two orders do."""

from dataclasses import replace
from pathlib import Path

from lab.compare.drive.levels import CLOSED
from lab.compare.judge.rank_changes import RankChange, Where, repeats
from lab.compare.result import Place, Result, Standing, from_json, to_json
from tests.lab.compare.sample import SAMPLE
from tests.support.lab import Lab

WHERE: Where = ("hello", 64, CLOSED, "throughput")


def run(*groups: str, connections: int = 64) -> Result:
    """A result in which each group, names by spaces, shares a place."""
    places, place = [], 1
    for group in groups:
        names = group.split()
        places.append(Place(place, names))
        place += len(names)
    standing = Standing("hello", connections, None, None, "throughput", places, {})
    return replace(from_json(SAMPLE.read_text()), standings=[standing])


def test_a_tie_contradicts_nothing() -> None:
    found = repeats([run("a", "b", "c"), run("a b", "c"), run("b a c")])
    assert (found.runs, found.pairs, found.turned) == (3, 2, []), "a-c and b-c, each told twice"


def test_two_orders_are_told_once_with_the_more_frequent_first() -> None:
    found = repeats([run("a", "b"), run("b", "a"), run("b", "a")])
    assert found.turned == [RankChange(WHERE, "b", "a", 2, 1)]
    assert found.pairs == 1
    (even,) = repeats([run("a", "b"), run("b", "a")]).turned
    assert (even.ahead, even.behind) == (1, 1)


def test_other_connections_are_another_question() -> None:
    assert repeats([run("a", "b"), run("b", "a", connections=8)]).turned == []


def test_the_command_says_it_and_its_exit_code_too(tmp_path: Path) -> None:
    files = [tmp_path / "1.json", tmp_path / "2.json", tmp_path / "3.json"]
    for file, found in zip(files, (run("a", "b"), run("a", "b"), run("b", "a")), strict=True):
        file.write_text(to_json(found))
    lab = Lab(tmp_path)
    one, two, three = map(str, files)
    agreed = lab.run("standings", one, two)
    assert (agreed.returncode, agreed.stdout) == (
        0, "2 runs tell 1 pair apart; none of them changed the order\n",
    )  # fmt: skip
    turned = lab.run("standings", one, two, three)
    assert turned.returncode == 1
    assert "1 of them changed the order" in turned.stdout
    assert "hello × 64, by throughput" in turned.stdout
    alone = lab.run("standings", one)
    assert alone.returncode != 0
    assert "two files or more" in alone.stderr
