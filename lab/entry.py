"""The command `lab`: says what to install where the packages of the lab are missing."""

import sys
from typing import Final

_OURS: Final = {"chainlab", "experiments", "fcgi_worker", "gateway", "lab", "loadtest", "servers"}


def main() -> None:
    """Run `lab`; where a package of the extra `lab` is missing, say so in one line and exit 1."""
    try:
        from lab.cli import main as command
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OURS:
            raise
        sys.exit(f"lab needs the package {missing}: run pip install 'chainlab[lab]'")
    command(prog_name="lab")
