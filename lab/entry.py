"""The command `lab`: names the package to install where one of the lab's is missing."""

import sys
from typing import Final

_OURS: Final = {"chainlab", "experiments", "fcgi_worker", "gateway", "lab", "loadtest", "servers"}


def main() -> None:
    """Run `lab`; if a package of the extra `lab` is missing, say so in one line and exit 1."""
    try:
        from lab.cli import main as command

        command(prog_name="lab")  # some commands import more: `--docker` needs docker
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OURS:
            raise
        sys.exit(f"lab needs the package {missing}: run pip install 'chainlab[lab]'")
