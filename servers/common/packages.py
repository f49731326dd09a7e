"""Check whether a Python package is installed, without importing it (which may take a second)."""

import importlib.util


def without_package(package: str, remedy: str) -> str | None:
    """Return an error message that suggests `remedy`, or None if `package` is installed."""
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed: run {remedy}"
    return None
