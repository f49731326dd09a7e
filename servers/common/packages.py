"""Whether a Python package is there: asked without importing it, which may cost a second."""

import importlib.util


def without_package(package: str, remedy: str) -> str | None:
    """Return why `package` cannot be used, and that `remedy` helps; None: it is installed."""
    if importlib.util.find_spec(package) is None:
        return f"the package {package} is not installed: run {remedy}"
    return None
