"""The options of the whole suite; pytest wants them in the conftest that it loads first."""

import fcntl
import os
import random
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# `nohup make test &` starts pytest with SIGINT ignored, and a child would inherit that: a program
# that the tests interrupt would not notice. A handler is reset to the default by exec.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw Hypothesis' seed here, so that it can be printed; xdist hands it to its processes."""
    if config.option.hypothesis_seed is None and not hasattr(config, "workerinput"):
        config.option.hypothesis_seed = str(random.randrange(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"random tests: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--base-url",
        metavar="URL",
        default=None,
        help="run tests/contract against http://HOST:PORT instead of a server of its own",
    )


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Each test goes to whoever is free, but those with containers to one process.

    They share a chain, which each process would start for itself. (`--dist loadgroup` would do it,
    but its groups are not seen by pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return "tests/compose" if nodeid.startswith("tests/compose/") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold a lock for `burns` (alone) or `times` (shared), across all processes of xdist.

    A test waits for it outside pytest-timeout's wrapper: not the waiter is limited but the holder.
    """
    burns = item.get_closest_marker("burns") is not None
    if not burns and item.get_closest_marker("times") is None:
        return (yield)
    path = Path(tempfile.gettempdir(), f"chainlab-tests-{os.getuid()}.lock")
    with path.open("a") as lock:  # closing it frees it, also when the test fails
        fcntl.flock(lock, fcntl.LOCK_EX if burns else fcntl.LOCK_SH)
        return (yield)
