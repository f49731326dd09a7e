"""What several tests of the lab take part in."""

from pathlib import Path

import pytest

from lab.compare.drive.targets import Target, null_server


@pytest.fixture
def floor(tmp_path: Path) -> Target:
    found = null_server(tmp_path)
    if found is None:
        pytest.skip("gcc is not installed: sudo apt install gcc libc6-dev")
    return found
