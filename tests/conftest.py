"""The options of the whole suite; pytest wants them in the conftest that it loads first."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--base-url",
        metavar="URL",
        default=None,
        help="run tests/contract against http://HOST:PORT instead of a server of its own",
    )
