"""Entry point of `lab`; if a package is missing, says how to install it."""

import sys
from typing import Final

_OURS: Final = {"chainlab", "experiments", "fcgi_worker", "gateway", "lab", "loadtest", "servers"}


def main() -> None:
    """Run `lab`; if a package of the extra `lab` is missing, say so in one line and exit 1."""
    try:
        from lab.cli import main as command
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OURS:
            raise
        sys.exit(f"lab needs the package {missing}: run pip install 'chainlab[lab]'")
    command(prog_name="lab")
