"""A project for each file; where there can be no container, all that needs one is skipped."""

from collections.abc import Iterator

import pytest

from tests.support.compose import Compose, why_no_engine


@pytest.fixture(scope="module")
def project() -> Iterator[Compose]:
    if reason := why_no_engine():
        pytest.skip(reason)
    with Compose() as found:
        yield found
