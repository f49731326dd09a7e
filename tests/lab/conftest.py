"""What several tests of the lab take part in."""

from pathlib import Path

import pytest

from lab.compare.drive.targets import Target, make_baseline


@pytest.fixture
def baseline(tmp_path: Path) -> Target:
    found = make_baseline(tmp_path)
    if found is None:
        pytest.skip("gcc is not installed: sudo apt install gcc libc6-dev")
    return found
