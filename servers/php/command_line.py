"""PHP's command line as a server: the notes' own language, without a web server before it.

select.php and coroutine.php hold the same conversations on the same loop over stream_select: one
cut into callbacks, the other as a generator for each connection. They get the listener as an open
descriptor, which PHP opens as php://fd/N, and as many connections as the limit of open files
leaves room for.
"""

import shutil
from pathlib import Path
from typing import ClassVar, Final

from servers.common.event_server import descriptor_limit
from servers.common.program import Program

_SCRIPTS: Final = Path(__file__).parent


class PhpScript(Program):
    """A script of `servers/php`; a subclass names it."""

    script: ClassVar[str]

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return `php SCRIPT --fd N --connections M`."""
        del folder  # it needs none
        connections = min(self._options.connections, descriptor_limit())
        script = str(_SCRIPTS / self.script)
        return ["php", script, "--fd", str(fd), "--connections", str(connections)]


def without_php() -> str | None:
    """Return why PHP's command line cannot run here, and the remedy; None: it can."""
    return None if shutil.which("php") else "php is not installed: run sudo apt install php-cli"
