"""The notes, measured in a container: the image of the tests, as a user runs it."""

import re
from collections.abc import Iterator

import pytest

from tests.support.compose import Compose

pytestmark = [pytest.mark.long, pytest.mark.compose, pytest.mark.timeout(900)]

RUN = ("run", "--rm", "--no-TTY")
RIGHTS = (
    "--user", "root", "--cap-add", "NET_RAW", "--cap-add", "SETUID", "--cap-add", "SETGID",
)  # fmt: skip


@pytest.fixture(scope="module")
def image(project: Compose) -> Iterator[Compose]:
    project.compose("build", "tests")
    yield project
    project.compose("--profile", "tests", "down", "--volumes", "--timeout", "2")
    project.remove_images()
    assert project.leftovers() == {}


def verdicts(image: Compose, *claims: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
    """Return what was printed in one line, and the count of verdicts at its end."""
    printed = image.compose(*RUN, *options, "--entrypoint", "lab", "tests", "experiment", *claims)
    told = re.sub(r"\s+", " ", printed)
    counted = re.search(r"\d+ confirmed, \d+ refuted, \d+ not measured here(; \d+ broke)?", told)
    assert counted, printed
    return told, counted[0]


def test_what_the_kernel_promises_holds_in_a_container(image: Compose) -> None:
    _, counted = verdicts(image, "k1", "e7", "s4")
    assert counted == "6 confirmed, 1 refuted, 0 not measured here"


def test_what_the_container_withholds_is_named_with_its_remedy(image: Compose) -> None:
    told, counted = verdicts(image, "s3")
    assert counted == "0 confirmed, 0 refuted, 1 not measured here"
    assert "CAP_NET_RAW" in told
    assert " ".join(RIGHTS) in told


def test_with_the_remedy_it_is_measured(image: Compose) -> None:
    told, counted = verdicts(image, "s3", options=RIGHTS)
    assert counted == "4 confirmed, 0 refuted, 0 not measured here", told
    assert "tcpdump reads" in told
