"""PHP's command line as a server: the language of the notes, without a web server in front.

select.php and coroutine.php serve HTTP on the same loop over stream_select, one with callbacks, the
other with one generator per connection. They inherit the listener as an open descriptor, which PHP
opens as php://fd/N, and accept as many connections as the limit of open files allows.
"""

import shutil
from pathlib import Path
from typing import ClassVar, Final

from servers.common.event_server import descriptor_limit
from servers.common.program import Program

_SCRIPTS: Final = Path(__file__).parent


class PhpScript(Program):
    """A script of `servers/php`; a subclass sets its name."""

    script: ClassVar[str]

    def command(self, fd: int, folder: Path) -> list[str]:
        """Return `php SCRIPT --fd N --connections M`."""
        del folder  # it needs none
        connections = min(self._options.connections, descriptor_limit())
        script = str(_SCRIPTS / self.script)
        return ["php", script, "--fd", str(fd), "--connections", str(connections)]


def without_php() -> str | None:
    """Return why PHP's command line cannot run here and how to fix that, or None if it can."""
    return None if shutil.which("php") else "php is not installed: run sudo apt install php-cli"
